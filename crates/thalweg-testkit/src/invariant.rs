//! What must hold whatever a router does with a frame.

use crate::engine::Fate;
use crate::{translated, tunnelled};
use thalweg_abi::{Kind, Reason, Verdict};
use thalweg_core::packet::DEPTH;

/// As [`check`], where other nodes are behind tunnels: what is around a packet there counts as no part of it.
/// Without them, packets within packets are payload like any other.
///
/// # Errors
///
/// The rule that was broken.
pub fn check_with_tunnels(before: &[u8], fate: &Fate) -> Result<(), String> {
    let kind = fate.verdict.kind();
    // What waits for the neighbor of a tunnel is ready to be sent but for its link address.
    let waits = kind == Kind::Punt && fate.frame != before && tunnelled::without(before).is_none();
    if (kind == Kind::Forward || waits)
        && let Some((before, frame)) = tunnelled::aligned(before, &fate.frame)
    {
        tunnelled::check(&fate.frame)?;
        let verdict = if waits { Verdict::forward(Reason::Route) } else { fate.verdict };
        return check(&before, &Fate { frame, verdict, ..fate.clone() });
    }
    match tunnelled::without(before) {
        Some(inner) if kind == Kind::Answer && answered(before, &fate.frame).is_err() => {
            answered(&inner, &fate.frame)
        }
        Some(inner) if matches!(kind, Kind::Deliver | Kind::Punt) && fate.frame != before => {
            taken_out(before, &inner, &fate.frame)
        }
        _ => check(before, fate),
    }
}

/// Checks a frame and its fate against rules that hold for every packet.
///
/// # Errors
///
/// The rule that was broken.
pub fn check(before: &[u8], fate: &Fate) -> Result<(), String> {
    let kept = |kind| matches!(kind, Kind::Forward | Kind::Deliver | Kind::Punt);
    match fate.verdict.kind() {
        kind if kept(kind) && translated::has_other_ends(before, &fate.frame) => {
            translated::check(before, &fate.frame)
        }
        Kind::Forward => forwarded(before, &fate.frame),
        Kind::Answer if fate.verdict == Verdict::answer(Reason::Echo) => {
            translated::echoed(before, &fate.frame)
        }
        Kind::Answer if is_reset(fate) => reset(before, &fate.frame),
        Kind::Answer => answered(before, &fate.frame),
        Kind::Drop => Ok(()),
        Kind::Deliver | Kind::Punt if fate.frame != before => unlabeled(before, &fate.frame),
        Kind::Pass | Kind::Deliver | Kind::Punt => match fate.frame == before {
            true => Ok(()),
            false => Err("a frame that is handed to the kernel must stay as it was".into()),
        },
    }
}

/// What the kernel gets out of a tunnel is the packet within, as it came but for the marks of congestion, on
/// the link that it came by; or it has been translated, which is checked like any other.
fn taken_out(before: &[u8], inner: &[u8], after: &[u8]) -> Result<(), String> {
    if before.get(..12) != after.get(..12) {
        return Err("link addresses changed for the kernel".into());
    }
    if translated::has_other_ends(inner, after) {
        return translated::check(inner, after);
    }
    let (Some(old), Some(new)) = (Parts::of(inner), Parts::of(after)) else {
        return Err("what came out of the tunnel ends within its headers".into());
    };
    match old.kept() == new.kept() && old.ttl() == new.ttl() {
        true => Ok(()),
        false => Err("what came out of the tunnel is not what went in".into()),
    }
}

/// The kernel, which knows no labels, may get a packet without those that led here; nothing else of
/// the frame may change but TTL and class.
fn unlabeled(before: &[u8], after: &[u8]) -> Result<(), String> {
    let (Some(old), Some(new)) = (Parts::of(before), Parts::of(after)) else {
        return Err("a frame that ends within its headers was changed for the kernel".into());
    };
    if old.labels.is_empty() || !new.labels.is_empty() {
        return Err("a frame that is handed to the kernel must stay as it was".into());
    }
    if before.get(..12) != after.get(..12) {
        return Err("link addresses changed for the kernel".into());
    }
    let (Some(from), Some(to)) = (old.packet(), new.packet()) else {
        return Err("the kernel gets no whole IP packet from behind labels".into());
    };
    if old.kept() != new.kept() {
        return Err(differ("octets other than TTL, class and checksum", from, to));
    }
    if old.ttl() < new.ttl() || header_is_right(from) && !header_is_right(to) {
        return Err("the kernel gets a larger TTL or a wrong checksum".into());
    }
    Ok(())
}

/// The parts of a frame, by position.
struct Parts<'a> {
    /// TTLs of the label stack, outermost first.
    labels: Vec<u8>,
    /// Whether the stack goes on below.
    open: bool,
    /// The IP packet (or what else follows) with padding.
    inner: &'a [u8],
}

impl<'a> Parts<'a> {
    /// What a router reads of a frame: what lies deeper in a label stack is none of its business.
    fn of(frame: &'a [u8]) -> Option<Self> {
        Self::to_depth(frame, DEPTH)
    }

    /// All of a frame that a router has made.
    fn whole(frame: &'a [u8]) -> Option<Self> {
        Self::to_depth(frame, usize::MAX)
    }

    fn to_depth(frame: &'a [u8], depth: usize) -> Option<Self> {
        let mut at = 12;
        let mut ethertype = word(frame, at)?;
        at += 2;
        while matches!(ethertype, 0x8100 | 0x88a8) {
            ethertype = word(frame, at + 2)?;
            at += 4;
        }
        let (mut labels, mut open) = (Vec::new(), ethertype == 0x8847);
        while open && labels.len() < depth {
            let entry = frame.get(at..at + 4)?;
            labels.push(entry[3]);
            at += 4;
            open = entry[2] & 1 == 0;
        }
        Some(Self { labels, open, inner: frame.get(at..)? })
    }

    fn family(&self) -> Option<u8> {
        self.inner.first().map(|first| first >> 4).filter(|version| matches!(version, 4 | 6))
    }

    /// The IP packet without padding.
    fn packet(&self) -> Option<&'a [u8]> {
        let (len, least) = match self.family()? {
            4 => (usize::from(word(self.inner, 2)?), 20),
            _ => (usize::from(word(self.inner, 4)?) + 40, 40),
        };
        self.inner.get(..len).filter(|packet| packet.len() >= least)
    }

    fn ttl(&self) -> Option<u8> {
        match self.family()? {
            4 => self.inner.get(8).copied(),
            _ => self.inner.get(7).copied(),
        }
    }

    /// The IP packet with those fields zeroed that a router may write.
    fn kept(&self) -> Option<Vec<u8>> {
        let mut packet = self.packet()?.to_vec();
        match self.family()? {
            4 => {
                packet[1] &= 0x1f;
                packet[8] = 0;
                packet[10..12].fill(0);
            }
            _ => {
                // The upper three bits of the class, which begins in the low half of octet 0.
                packet[0] &= 0xf1;
                packet[7] = 0;
            }
        }
        Some(packet)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// One's complement sum; 0xffff for bytes that contain their own checksum.
fn sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether the IPv4 header checksum is right; true for everything else.
fn header_is_right(packet: &[u8]) -> bool {
    let len = usize::from(packet[0] & 15) * 4;
    packet[0] >> 4 != 4 || packet.get(..len).is_some_and(|header| sum(&[header]) == 0xffff)
}

fn forwarded(before: &[u8], after: &[u8]) -> Result<(), String> {
    let Some(old) = Parts::of(before) else {
        return Err("a frame that ends within its headers was forwarded".into());
    };
    if old.open {
        return match after.ends_with(old.inner) {
            true => Ok(()),
            false => Err("what lies below a deep label stack was changed".into()),
        };
    }
    let new = Parts::whole(after).ok_or("the forwarded frame ends within its headers")?;
    let (Some(from), Some(to)) = (old.packet(), new.packet()) else {
        // Behind labels there may be anything.
        return match !old.labels.is_empty() && before.ends_with(new.inner) {
            true => Ok(()),
            false => Err("a payload that is no whole IP packet was changed".into()),
        };
    };
    if old.kept() != new.kept() {
        return Err(differ("octets other than TTL, class and checksum", from, to));
    }
    if old.ttl() < new.ttl() {
        return Err(format!("the TTL grew from {:?} to {:?}", old.ttl(), new.ttl()));
    }
    if old.labels.is_empty() && Some(old.ttl().unwrap_or(0).wrapping_sub(1)) != new.ttl() {
        return Err("a router takes one hop off the TTL".into());
    }
    if header_is_right(from) && !header_is_right(to) {
        return Err("the IPv4 header checksum is wrong".into());
    }
    if sum(&[&to[10..12]]) == 0xffff && from[0] >> 4 == 4 && sum(&[&from[10..12]]) != 0xffff {
        return Err("an IPv4 checksum of 0xffff is zero written wrongly (RFC 1624)".into());
    }
    Ok(())
}

fn differ(what: &str, from: &[u8], to: &[u8]) -> String {
    let at = from.iter().zip(to).position(|(a, b)| a != b).unwrap_or(from.len().min(to.len()));
    format!("{what} changed, or the length: {} to {} octets, look near {at}", from.len(), to.len())
}

/// Whether the answer is a segment of TCP: what policies deny is told so.
fn is_reset(fate: &Fate) -> bool {
    let packet = Parts::whole(&fate.frame);
    let protocol = packet.as_ref().and_then(|new| match new.family() {
        Some(4) => new.inner.get(9),
        _ => new.inner.get(6),
    });
    fate.verdict == Verdict::answer(Reason::Policy) && protocol == Some(&6)
}

/// A reset goes back from where the packet was to go, says nothing else, and is one that its hearer believes
/// (RFC 9293 §3.10.7).
fn reset(before: &[u8], after: &[u8]) -> Result<(), String> {
    let new = Parts::whole(after).ok_or("the reset ends within its headers")?;
    let old = Parts::of(before).ok_or("a frame that ends within its headers was reset")?;
    let (head, ends) = if new.family() == Some(4) { (20, 12..20) } else { (40, 8..40) };
    let packet = new.packet().ok_or("the reset is no whole IP packet")?;
    if packet.len() != head + 20 || new.inner[packet.len()..].iter().any(|octet| *octet != 0) {
        return Err(format!("the reset has {} octets", packet.len()));
    }
    if !header_is_right(packet) {
        return Err("the reset's IPv4 header checksum is wrong".into());
    }
    let half = ends.len() / 2;
    let (source, destination) = (ends.start..ends.start + half, ends.start + half..ends.end);
    if packet[source.clone()] != old.inner[destination.clone()]
        || packet[destination] != old.inner[source]
    {
        return Err("the reset goes somewhere else".into());
    }
    let (was, is) = (&old.inner[head..], &packet[head..]);
    if is[..2] != was[2..4] || is[2..4] != was[..2] {
        return Err("the reset is of another connection".into());
    }
    if sum(&[&packet[ends], &[0, 6, 0, 20], is]) != 0xffff {
        return Err("the reset's checksum is wrong".into());
    }
    let number = |from: &[u8]| u32::from_be_bytes([from[0], from[1], from[2], from[3]]);
    let believed = match was[13] & 0x10 {
        0 => {
            let all = old.packet().map_or(0, <[u8]>::len) - head - usize::from(was[12] >> 4) * 4;
            let more = u32::from(was[13] & 2 != 0) + u32::from(was[13] & 1 != 0);
            let next = number(&was[4..]).wrapping_add(all as u32 + more);
            is[13] == 0x14 && number(&is[8..]) == next
        }
        _ => is[13] == 0x04 && number(&is[4..]) == number(&was[8..]),
    };
    match believed {
        true => Ok(()),
        false => Err(format!("nobody would believe the reset: {is:02x?}")),
    }
}

fn answered(before: &[u8], after: &[u8]) -> Result<(), String> {
    let new = Parts::whole(after).ok_or("the answer ends within its headers")?;
    let packet = new.packet().ok_or("the answer is no whole IP packet")?;
    let padding = &new.inner[packet.len()..];
    if padding.iter().any(|octet| *octet != 0) {
        return Err("something follows the answer".into());
    }
    if !header_is_right(packet) {
        return Err("the answer's IPv4 header checksum is wrong".into());
    }
    let old = Parts::of(before).ok_or("a frame that ends within its headers was answered")?;
    let (message, most) = match new.family() {
        Some(4) => (&packet[20..], 576),
        _ => (&packet[40..], 1280),
    };
    let right = match new.family() {
        Some(4) => sum(&[message]),
        _ => {
            let len = (message.len() as u32).to_be_bytes();
            sum(&[&packet[8..40], &len, &[0, 0, 0, 58], message])
        }
    };
    if right != 0xffff {
        return Err(format!("the answer's ICMP checksum is wrong: sum {right:#06x}"));
    }
    if packet.len() > most {
        return Err(format!("the answer has {} octets, {most} are allowed", packet.len()));
    }
    let quote = &message[8..];
    let same = quote.iter().zip(old.inner).take_while(|(a, b)| a == b).count();
    let least = old.packet().map_or(0, <[u8]>::len).min(28);
    match same >= least {
        true => Ok(()),
        false => Err(format!("the quote differs from the packet at octet {same}")),
    }
}
