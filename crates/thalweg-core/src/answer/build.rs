//! Builds the answer in place: cuts or pads what is quoted, grows the front, writes the headers.

use super::error::Error;
use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::{DEPTH, Packet, flag};
use thalweg_wire::icmp::{ExtensionHeader, ExtensionObject, Icmp};
use thalweg_wire::l4::protocol;
use thalweg_wire::{Ethernet, Ipv4, Ipv6, Lse, U16, U32, checksum};

/// Octets of an Ethernet header.
const LINK_HEADER: u32 = size_of::<Ethernet>() as u32;
/// Octets of the ICMP header.
const ICMP: u32 = size_of::<Icmp>() as u32;
/// RFC 1812 §4.3.2.3: an answer has at most 576 octets.
const QUOTE4: u32 = 576 - Ipv4::LEN as u32 - ICMP;
/// RFC 4443 §2.4 (c): an answer has at most 1280 octets.
const QUOTE6: u32 = 1280 - Ipv6::LEN as u32 - ICMP;
/// RFC 4884 §3: with extensions, exactly this much of the packet is quoted, padded with zeros.
const QUOTE_EXTENDED: u32 = 128;
/// Octets of the extension and object headers.
const EXTENSION: u32 = 8;
/// Hops an answer may travel.
const TTL: u8 = 64;
/// Internetwork control (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xc0;

/// Turns `packet` into the values of its answer from `sender`, as the next decision needs them.
#[inline(always)]
fn turn(packet: &mut Packet, sender: [u64; 2]) {
    packet.flags = u64::from(flag::OWN | flag::DONT_FRAGMENT);
    packet.ip = u64::from(LINK_HEADER + packet.depth() * 4);
    let icmp = if packet.family() == 4 { protocol::ICMP } else { protocol::ICMPV6 };
    packet.set_header(TTL, TOS, icmp);
    packet.ports = 0;
    packet.destination = packet.source;
    packet.source = sender;
    // The stack starts a new journey, in the class of the answer (RFC 3032 §2.3.1).
    packet.stack[0] = packet.stack[0] & !0xe00 | u32::from(TOS >> 5) << 9 | 0xff;
}

/// Makes `frame` carry the answer to `packet`, and `packet` describe it. False when the frame cannot
/// be resized: it is then spoiled and must be dropped.
#[inline(always)]
pub fn build<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &mut Packet,
    sender: [u64; 2],
    error: &Error,
) -> bool {
    let ip_len = if packet.family() == 4 { Ipv4::LEN as u32 } else { Ipv6::LEN as u32 };
    let quoted = match quote(frame, packet) {
        0 => return false,
        quoted => quoted,
    };
    let body = match packet.depth() {
        0 => quoted,
        depth => QUOTE_EXTENDED + EXTENSION + depth * 4,
    };
    let end = packet.ip() + body;
    // Some buffers end where the frame does: then the front grows by what is missing behind.
    let missing = if frame.octets() == end || frame.set_octets(end) { 0 } else { body - quoted };
    let (start, received) = (packet.ip(), packet.entry(0));
    turn(packet, sender);
    let front = packet.ip() + ip_len + ICMP;
    if !frame.grow_head(front.wrapping_sub(start) + missing) {
        return false;
    }
    if missing > 0 {
        shift(frame, cells, front, quoted, missing);
    }
    packet.len = u64::from(ip_len + ICMP + body);
    packet.l4 = u64::from(packet.ip() + ip_len);
    stack(frame, packet);
    if packet.depth() > 0 {
        extension(frame, front + QUOTE_EXTENDED, packet, received);
    }
    let sum = sum(frame, cells, packet.l4() + ICMP, body);
    icmp(frame, packet, error, body, sum);
    if packet.family() == 4 {
        ipv4(frame, packet);
    } else {
        ipv6(frame, packet);
    }
    true
}

/// Cuts the frame to what is quoted at most. Returns how much that is, 0 on failure. Where extensions
/// follow, a whole number of words is quoted (RFC 4884 §3), and padded later.
#[inline(always)]
fn quote<F: Frame>(frame: &mut F, packet: &Packet) -> u32 {
    let most = if packet.depth() > 0 {
        QUOTE_EXTENDED
    } else if packet.family() == 4 {
        QUOTE4
    } else {
        QUOTE6
    };
    let mut quote = if packet.len() < most { packet.len() } else { most };
    if packet.depth() > 0 && quote % 4 != 0 {
        // The last octets of a short packet stay if there is room to pad them.
        let padded = (quote + 3) & !3;
        if frame.set_octets(packet.ip() + quote) && frame.set_octets(packet.ip() + padded) {
            return padded;
        }
        quote &= !3;
    }
    let end = packet.ip() + quote;
    if frame.octets() == end || frame.set_octets(end) { quote } else { 0 }
}

/// Moves `len` octets (a multiple of 4, at most [`QUOTE_EXTENDED`]) from `to + by` to `to`, and fills
/// with zeros up to [`QUOTE_EXTENDED`].
#[inline(always)]
fn shift<F: Frame, C: Cells>(frame: &mut F, cells: &C, to: u32, len: u32, by: u32) {
    let mut done = 0;
    for _ in 0..QUOTE_EXTENDED / 4 {
        done = cells.blur(u64::from(done)) as u32 & 0xff;
        let word = match frame.header::<U32>(Offset::new(to + by + done)) {
            Some(word) if done < len => *word,
            _ => U32::ZERO,
        };
        if let Some(place) = frame.header_mut::<U32>(Offset::new(to + done)) {
            *place = word;
        }
        done += 4;
    }
}

/// Writes the label stack in front of the answer; the link header comes with the rewrite.
#[inline(always)]
fn stack<F: Frame>(frame: &mut F, reply: &Packet) {
    for index in 0..DEPTH as u32 {
        if index >= reply.depth() {
            break;
        }
        if let Some(entry) = frame.header_mut::<Lse>(Offset::new(LINK_HEADER + index * 4)) {
            *entry = Lse(reply.entry(index).into());
        }
    }
}

/// RFC 4950: one object with the stack as it was received, whose first entry was `top`.
#[inline(always)]
fn extension<F: Frame>(frame: &mut F, at: u32, packet: &Packet, top: u32) {
    let len = 4 + packet.depth() * 4;
    let mut sum = 0x2000 + len + 0x0101;
    for index in 0..DEPTH as u32 {
        if index >= packet.depth() {
            break;
        }
        let entry = if index == 0 { top } else { packet.entry(index) };
        sum += (entry >> 16) + (entry & 0xffff);
        if let Some(word) = frame.header_mut::<U32>(Offset::new(at + EXTENSION + index * 4)) {
            *word = entry.into();
        }
    }
    if let Some(object) = frame.header_mut::<ExtensionObject>(Offset::new(at + 4)) {
        *object = ExtensionObject { len: (len as u16).into(), class: 1, kind: 1 };
    }
    if let Some(header) = frame.header_mut::<ExtensionHeader>(Offset::new(at)) {
        let checksum = !checksum::fold(sum);
        *header = ExtensionHeader { version: 0x20, reserved: 0, checksum: checksum.into() };
    }
}

#[inline(always)]
fn icmp<F: Frame>(frame: &mut F, reply: &Packet, error: &Error, body: u32, sum: u32) {
    // RFC 4884 §4: the quote's length in words of 4 octets (second octet) or 8 octets (first).
    let extended = match (reply.depth(), reply.family()) {
        (0, _) => 0,
        (_, 4) => (QUOTE_EXTENDED / 4) << 16,
        _ => (QUOTE_EXTENDED / 8) << 24,
    };
    let rest = error.mtu | extended;
    let start = u32::from(error.kind) << 8 | u32::from(error.code);
    let head = start + (rest >> 16) + (rest & 0xffff);
    let pseudo = if reply.family() == 6 { pseudo6(reply, ICMP + body) } else { 0 };
    let sum = head + pseudo + sum;
    let header = Icmp {
        kind: error.kind,
        code: error.code,
        checksum: (!checksum::fold(sum)).into(),
        rest: rest.into(),
    };
    if let Some(icmp) = frame.header_mut::<Icmp>(Offset::new(reply.l4())) {
        *icmp = header;
    }
}

/// RFC 8200 §8.1, folded to 16 bits.
#[inline(always)]
fn pseudo6(reply: &Packet, len: u32) -> u32 {
    u32::from(checksum::fold(folded(reply) + len + u32::from(protocol::ICMPV6)))
}

/// Sum of the words of both addresses; less than 2^20.
#[inline(always)]
pub(super) fn folded(reply: &Packet) -> u32 {
    let halves = |half: u64| {
        let words = (half >> 32) + (half & 0xffff_ffff);
        (words >> 48) + (words >> 32 & 0xffff) + (words >> 16 & 0xffff) + (words & 0xffff)
    };
    let [source, destination] = [reply.source, reply.destination];
    let sum = halves(source[0]) + halves(source[1]) + halves(destination[0]);
    (sum + halves(destination[1])) as u32
}

/// One's complement sum of `len` octets at `at`, folded to 16 bits; at most 1,280 octets.
#[inline(always)]
fn sum<F: Frame, C: Cells>(frame: &F, cells: &C, at: u32, len: u32) -> u32 {
    let mut sum = 0u32;
    let mut done = 0;
    for _ in 0..QUOTE6 / 16 + 1 {
        if done + 16 > len {
            break;
        }
        let Some(chunk) = frame.header::<[U16; 8]>(Offset::new(at + done)) else { break };
        let [a, b, c, d, e, f, g, h] = chunk.map(|word| u32::from(word.get()));
        sum += a + b + c + d + e + f + g + h;
        done += 16;
    }
    for _ in 0..8 {
        // One path for the verifier, however much was read so far.
        done = cells.blur(u64::from(done)) as u32 & Offset::MAX;
        sum = cells.blur(u64::from(sum)) as u32;
        if done + 2 > len {
            break;
        }
        let Some(word) = frame.header::<U16>(Offset::new(at + done)) else { break };
        sum += u32::from(word.get());
        done += 2;
    }
    sum = cells.blur(u64::from(sum)) as u32;
    if done < len {
        // An odd last octet is read together with the one before it.
        let last = frame.header::<U16>(Offset::new(at + len - 2));
        sum += last.map_or(0, |word| u32::from(word.get() & 0xff) << 8);
    }
    u32::from(checksum::fold(sum))
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &mut F, reply: &Packet) {
    let [source, destination] = [reply.source[1] as u32, reply.destination[1] as u32];
    let first = 0x4500 | u32::from(TOS);
    let hops = u32::from(TTL) << 8 | u32::from(protocol::ICMP);
    let ends = (source >> 16) + (source & 0xffff) + (destination >> 16) + (destination & 0xffff);
    let sum = first + reply.len() + u32::from(Ipv4::DF) + hops + ends;
    let header = Ipv4 {
        version_ihl: 0x45,
        tos: TOS,
        total_len: (reply.len() as u16).into(),
        // An atomic datagram needs no identification (RFC 6864 §4).
        id: 0.into(),
        fragment: Ipv4::DF.into(),
        ttl: TTL,
        protocol: protocol::ICMP,
        checksum: (!checksum::fold(sum)).into(),
        source: source.into(),
        destination: destination.into(),
    };
    if let Some(ip) = frame.header_mut::<Ipv4>(Offset::new(reply.ip())) {
        *ip = header;
    }
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &mut F, reply: &Packet) {
    let header = Ipv6 {
        version_class_flow: (6 << 28 | u32::from(TOS) << 20).into(),
        payload_len: ((reply.len() - Ipv6::LEN as u32) as u16).into(),
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        source: reply.source.map(Into::into),
        destination: reply.destination.map(Into::into),
    };
    if let Some(ip) = frame.header_mut::<Ipv6>(Offset::new(reply.ip())) {
        *ip = header;
    }
}
