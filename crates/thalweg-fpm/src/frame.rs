//! Frames: version, type, and a length in network order that counts the header (`fpm/fpm.h` of FRR).

/// Octets of a frame's header.
pub const HEADER: usize = 4;
/// The only version there is.
const VERSION: u8 = 1;
/// Netlink messages inside.
const NETLINK: u8 = 1;
/// Protocol buffers inside.
const PROTOBUF: u8 = 2;

/// Why octets are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Another version.
    #[error("a frame of version {0}, and only version 1 is known; is it zebra that connects?")]
    Version(u8),
    /// No netlink inside.
    #[error(
        "a frame with {}, not netlink; load zebra's module dplane_fpm_nl (`-M dplane_fpm_nl`)",
        if *.0 == PROTOBUF { "protocol buffers".to_owned() } else { format!("type {}", .0) }
    )]
    Type(u8),
    /// Shorter than its own header.
    #[error("a frame that says it has {0} octets, less than its header")]
    Length(u16),
}

/// Frames out of a stream of octets.
#[derive(Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
}

impl Frames {
    /// Where octets of the stream are to be added, with room for as many as a frame can have.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.octets.drain(..self.at);
        self.at = 0;
        self.octets.reserve(usize::from(u16::MAX) * 4);
        &mut self.octets
    }

    /// What the next frame holds; none until it is complete.
    ///
    /// # Errors
    ///
    /// [`FrameError`] as soon as the header makes no sense. There is no way to go on then: where the
    /// next frame begins is not known.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(rest) = self.octets.get(self.at..) else { return Ok(None) };
        if let Some(version) = rest.first().filter(|version| **version != VERSION) {
            return Err(FrameError::Version(*version));
        }
        if let Some(kind) = rest.get(1).filter(|kind| **kind != NETLINK) {
            return Err(FrameError::Type(*kind));
        }
        let Some([_, _, high, low]) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let len = u16::from_be_bytes([*high, *low]);
        if usize::from(len) < HEADER {
            return Err(FrameError::Length(len));
        }
        let Some(frame) = rest.get(HEADER..usize::from(len)) else { return Ok(None) };
        self.at += usize::from(len);
        Ok(Some(frame))
    }

    /// Octets of a frame that is not complete.
    pub fn pending(&self) -> usize {
        self.octets.len() - self.at
    }
}

/// A frame around messages, if they fit one.
pub fn frame(messages: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(messages.len() + HEADER).ok()?;
    let [high, low] = len.to_be_bytes();
    Some([&[VERSION, NETLINK, high, low], messages].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out of a stream that arrives in pieces, and the error that ends it.
    fn frames(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<FrameError>, usize) {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.room().extend_from_slice(piece);
            loop {
                match frames.next_frame() {
                    Ok(Some(frame)) => found.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error), frames.pending()),
                }
            }
        }
        (found, None, frames.pending())
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let payloads = [vec![1, 2, 3], vec![], vec![9; 700]];
        let stream: Vec<u8> = payloads.iter().flat_map(|p| frame(p).unwrap()).collect();
        for at in 0..=stream.len() {
            let (front, back) = stream.split_at(at);
            assert_eq!(frames(&[front, back]), (payloads.to_vec(), None, 0), "cut at {at}");
            let (found, error, pending) = frames(&[front]);
            assert!(error.is_none() && payloads.starts_with(&found));
            let whole: usize = found.iter().map(|payload| payload.len() + HEADER).sum();
            assert_eq!(pending, at - whole);
        }
    }

    #[test]
    fn a_header_that_makes_no_sense_ends_the_stream_at_once() {
        assert_eq!(frames(&[&[2]]).1, Some(FrameError::Version(2)));
        assert_eq!(frames(&[&[1, 2]]).1, Some(FrameError::Type(2)));
        assert_eq!(frames(&[&[1, 1, 0, 3]]).1, Some(FrameError::Length(3)));
        let text = FrameError::Type(2).to_string();
        assert!(text.contains("protocol buffers") && text.contains("dplane_fpm_nl"), "{text}");
        let good = frame(&[7]).unwrap();
        let stream = [&good[..], &[0, 0]].concat();
        assert_eq!(frames(&[&stream]), (vec![vec![7]], Some(FrameError::Version(0)), 2));
    }

    #[test]
    fn what_does_not_fit_a_frame_gets_none() {
        assert!(frame(&vec![0; usize::from(u16::MAX) - HEADER]).is_some());
        assert!(frame(&vec![0; usize::from(u16::MAX)]).is_none());
    }

    proptest! {
        #[test]
        fn any_octets_are_frames_or_refused(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let together = pieces.concat();
            let (found, error, _) = frames(&pieces);
            prop_assert_eq!((found, error), { let (f, e, _) = frames(&[&together]); (f, e) });
        }
    }
}
