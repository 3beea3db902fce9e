//! Captures: reads pcap and pcapng, writes pcapng with comments.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use std::io::{self, Read, Write};

/// Octets read at once; larger blocks make the buffer grow up to [`MAX_BLOCK`].
const GULP: usize = 256 << 10;
/// The largest block that is read.
const MAX_BLOCK: usize = 64 << 20;
/// Nanoseconds of a second.
const NANOS: u128 = 1_000_000_000;

/// A frame of a capture.
pub struct Captured<'a> {
    /// Nanoseconds since 1970.
    pub at: u64,
    /// What was captured of the frame.
    pub frame: &'a [u8],
    /// Octets that the frame had on the wire.
    pub octets: u32,
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is something else.
    #[error("it is neither pcap nor pcapng; write one with `tcpdump -w FILE`")]
    Format,
    /// It ends early or contradicts itself.
    #[error("it is damaged behind packet {0}; what stands before was used")]
    Damaged(u64),
    /// It is not of Ethernet.
    #[error("its link type is {0}, not Ethernet (1); capture on one interface, not on `any`")]
    LinkType(i32),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Calls `on_frame` for each frame of a capture.
///
/// # Errors
///
/// [`CaptureError`], and what `on_frame` returns.
pub fn read<E: From<CaptureError>>(
    from: impl Read + Send + 'static,
    mut on_frame: impl FnMut(Captured<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = create_reader(GULP, from).map_err(|_| CaptureError::Format)?;
    let mut clock = Clock::default();
    let mut frames = 0;
    let mut capacity = GULP;
    loop {
        let more = match reader.next() {
            Ok((octets, block)) => {
                if let Some(captured) = clock.take(block)? {
                    frames += 1;
                    on_frame(captured)?;
                }
                reader.consume(octets);
                continue;
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::HeaderNotRecognized) => return Err(CaptureError::Format.into()),
            Err(PcapError::Incomplete(_)) => capacity,
            Err(PcapError::BufferTooSmall) => capacity * 4,
            Err(_) => return Err(CaptureError::Damaged(frames).into()),
        };
        let grown = more == capacity || more <= MAX_BLOCK && reader.grow(more);
        capacity = more;
        if !grown || reader.reader_exhausted() || reader.refill().is_err() {
            return Err(CaptureError::Damaged(frames).into());
        }
    }
}

/// What the blocks so far say about times: units per second and offset, by interface.
#[derive(Default)]
struct Clock {
    interfaces: Vec<(u64, i64)>,
    nanoseconds: bool,
}

impl Clock {
    /// The frame in a block, if there is one.
    fn take<'a>(
        &mut self,
        block: PcapBlockOwned<'a>,
    ) -> Result<Option<Captured<'a>>, CaptureError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                ethernet(header.network)?;
                self.nanoseconds = header.is_nanosecond_precision();
                Ok(None)
            }
            PcapBlockOwned::Legacy(packet) => {
                let unit = if self.nanoseconds { 1 } else { 1000 };
                let at = u64::from(packet.ts_sec) * NANOS as u64 + u64::from(packet.ts_usec) * unit;
                Ok(Some(Captured {
                    at,
                    frame: cut(packet.data, packet.caplen),
                    octets: packet.origlen,
                }))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                Ok(None)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                ethernet(interface.linktype)?;
                let units = interface.ts_resolution().unwrap_or(1_000_000);
                self.interfaces.push((units.max(1), interface.ts_offset()));
                Ok(None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let ticks = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let at = self.nanos(packet.if_id, ticks);
                Ok(Some(Captured {
                    at,
                    frame: cut(packet.data, packet.caplen),
                    octets: packet.origlen,
                }))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let frame = cut(packet.data, packet.origlen);
                Ok(Some(Captured { at: 0, frame, octets: packet.origlen }))
            }
            PcapBlockOwned::NG(_) => Ok(None),
        }
    }

    fn nanos(&self, interface: u32, ticks: u128) -> u64 {
        let (units, offset) =
            self.interfaces.get(interface as usize).copied().unwrap_or((1_000_000, 0));
        let nanos = ticks * NANOS / u128::from(units);
        let offset = i128::from(offset).saturating_mul(NANOS as i128);
        u64::try_from((nanos as i128).saturating_add(offset)).unwrap_or(0)
    }
}

fn ethernet(link_type: Linktype) -> Result<(), CaptureError> {
    match link_type {
        Linktype::ETHERNET => Ok(()),
        other => Err(CaptureError::LinkType(other.0)),
    }
}

/// A frame without the padding of its block.
fn cut(data: &[u8], octets: u32) -> &[u8] {
    &data[..data.len().min(octets as usize)]
}

/// Writes frames with comments.
pub struct CaptureWriter<W> {
    out: W,
    links: Vec<String>,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// It arrived.
    In = 1,
    /// It leaves.
    Out = 2,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, links: Vec::new() };
        let mut body = Vec::new();
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&1u16.to_le_bytes());
        body.extend_from_slice(&0u16.to_le_bytes());
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut body, 4, b"thalweg");
        end(&mut body);
        writer.block(0x0a0d_0d0a, &body)?;
        Ok(writer)
    }

    /// Writes a frame.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn frame(
        &mut self,
        link: &str,
        way: Way,
        at: u64,
        frame: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        let interface = self.interface(link)?;
        let mut body = Vec::with_capacity(frame.len() + comment.len() + 64);
        let octets = frame.len() as u32;
        for word in [interface, (at >> 32) as u32, at as u32, octets, octets] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.extend_from_slice(frame);
        pad(&mut body);
        option(&mut body, 1, comment.as_bytes());
        option(&mut body, 2, &(way as u32).to_le_bytes());
        end(&mut body);
        self.block(6, &body)
    }

    /// The number of a link; its description is written when it is new.
    fn interface(&mut self, link: &str) -> io::Result<u32> {
        if let Some(found) = self.links.iter().position(|known| known == link) {
            return Ok(found as u32);
        }
        let mut body = Vec::new();
        body.extend_from_slice(&1u16.to_le_bytes());
        body.extend_from_slice(&0u16.to_le_bytes());
        body.extend_from_slice(&0u32.to_le_bytes());
        option(&mut body, 2, link.as_bytes());
        // Times are in nanoseconds.
        option(&mut body, 9, &[9]);
        end(&mut body);
        self.block(1, &body)?;
        self.links.push(link.into());
        Ok(self.links.len() as u32 - 1)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let octets = (body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&octets)?;
        self.out.write_all(body)?;
        self.out.write_all(&octets)
    }

    /// Makes sure that everything is written.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX as usize)];
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(capture: Vec<u8>) -> Result<Vec<(u64, Vec<u8>, u32)>, CaptureError> {
        let mut all = Vec::new();
        read::<CaptureError>(io::Cursor::new(capture), |captured| {
            all.push((captured.at, captured.frame.to_vec(), captured.octets));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut out = Vec::new();
        let mut writer = CaptureWriter::new(&mut out).unwrap();
        let at = 1_700_000_000_123_456_789;
        writer.frame("eth0", Way::In, at, &[1; 61], "drop no-route").unwrap();
        writer.frame("eth1", Way::Out, at + 1, &[2; 70_000], "forward route").unwrap();
        writer.frame("eth0", Way::In, at + 2, &[3; 300_000], "pass not-ip").unwrap();
        writer.finish().unwrap();
        let read = frames(out).unwrap();
        let shape: Vec<_> =
            read.iter().map(|(at, frame, octets)| (*at, frame.len(), *octets)).collect();
        assert_eq!(shape, [(at, 61, 61), (at + 1, 70_000, 70_000), (at + 2, 300_000, 300_000)]);
        assert!(read[0].1.iter().all(|octet| *octet == 1));
    }

    fn pcap(magic: u32, link_type: u32, unit: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [magic, 0x0004_0002, 0, 0, 65_535, link_type] {
            out.extend_from_slice(&u32::to_le_bytes(word));
        }
        for word in [10, unit, 4, 60] {
            out.extend_from_slice(&u32::to_le_bytes(word));
        }
        out.extend_from_slice(&[9; 4]);
        out
    }

    #[test]
    fn pcap_in_micro_and_nanoseconds() {
        let frame = |at| vec![(at, vec![9; 4], 60)];
        assert_eq!(frames(pcap(0xa1b2_c3d4, 1, 7)).unwrap(), frame(10_000_007_000));
        assert_eq!(frames(pcap(0xa1b2_3c4d, 1, 7)).unwrap(), frame(10_000_000_007));
    }

    #[test]
    fn what_is_no_capture_of_ethernet_is_refused() {
        assert!(matches!(
            frames(b"hello, world, this is text".to_vec()),
            Err(CaptureError::Format)
        ));
        assert!(matches!(frames(Vec::new()), Err(CaptureError::Format)));
        assert!(matches!(frames(pcap(0xa1b2_c3d4, 113, 0)), Err(CaptureError::LinkType(113))));
        let mut torn = pcap(0xa1b2_c3d4, 1, 7);
        torn.truncate(torn.len() - 2);
        assert!(matches!(frames(torn), Err(CaptureError::Damaged(0))));
    }
}
