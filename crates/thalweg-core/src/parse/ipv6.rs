//! IPv6: length, extension headers as far as they matter to a router, fragments.

use super::{measure, ports};
use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use core::ops::ControlFlow;
use thalweg_abi::{Reason, Verdict};
use thalweg_wire::ipv6::{Extension, Fragment};
use thalweg_wire::l4::protocol;
use thalweg_wire::{Ipv6, U16};

/// Extension headers that are followed at most; behind more, a packet simply has no ports.
const MAX_EXTENSIONS: u32 = 6;

/// Reads the IPv6 header at `packet.ip` and what follows it.
#[inline(always)]
pub fn parse<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
) -> ControlFlow<Verdict> {
    fixed(frame, packet)?;
    let mut l4 = packet.ip() + Ipv6::LEN as u32;
    if is_extension(packet.protocol()) {
        let walked = extensions(frame, cells, l4, packet.protocol());
        packet.set_header(packet.ttl(), packet.class(), walked as u8);
        packet.flags |= u64::from((walked >> 8) as u8 & (flag::FRAGMENT | flag::LATER_FRAGMENT));
        l4 = walked >> 16;
        if walked >> 8 & ALERT != 0 {
            return ControlFlow::Break(Verdict::punt(Reason::RouterAlert));
        }
    }
    if l4 != 0 {
        ports(frame, packet, l4);
    }
    measure(frame, packet);
    ControlFlow::Continue(())
}

/// Reads the IPv6 header at `packet.ip` and what follows it if that is no extension header and there
/// is no fault. Returns whether that was so.
#[inline(always)]
pub fn parse_plain<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    if fixed(frame, packet).is_break() || is_extension(packet.protocol()) {
        return false;
    }
    ports(frame, packet, packet.ip() + Ipv6::LEN as u32);
    measure(frame, packet);
    true
}

#[inline(always)]
fn fixed<F: Frame>(frame: &F, packet: &mut Packet) -> ControlFlow<Verdict> {
    let at = packet.ip();
    let Some(ip) = frame.header::<Ipv6>(Offset::new(at)) else {
        return ControlFlow::Break(Verdict::drop(Reason::Truncated));
    };
    if ip.version() != 6 {
        return ControlFlow::Break(Verdict::drop(Reason::Version));
    }
    let len = u32::from(ip.payload_len.get()) + Ipv6::LEN as u32;
    if at + len > frame.octets() {
        return ControlFlow::Break(Verdict::drop(Reason::Length));
    }
    packet.family = 6;
    packet.len = u64::from(len);
    packet.set_header(ip.hop_limit, ip.class(), ip.next_header);
    packet.source = [ip.source[0].get(), ip.source[1].get()];
    packet.destination = [ip.destination[0].get(), ip.destination[1].get()];
    ControlFlow::Continue(())
}

/// Whether a next header is an extension header that is followed.
#[inline(always)]
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION
    )
}

/// Set beside the packet flags when a router alert option was found.
const ALERT: u32 = 0x80;

/// Follows extension headers. Returns place of the L4 header (high half; 0 if not found), packet
/// flags and [`ALERT`] (next octet), protocol (last octet).
#[inline(never)]
fn extensions<F: Frame, C: Cells>(frame: &F, cells: &C, at: u32, next_header: u8) -> u32 {
    let (mut at, mut next_header, mut flags) = (at, next_header, 0u32);
    // Hop-by-hop options stand first or not at all (RFC 8200 §4.1).
    if next_header == protocol::HOP_BY_HOP && has_alert(frame, cells, at) {
        flags |= ALERT;
    }
    for _ in 0..MAX_EXTENSIONS {
        at = cells.blur(u64::from(at)) as u32 & Offset::MAX;
        flags = cells.blur(u64::from(flags)) as u32 & 0xff;
        next_header = cells.blur(u64::from(next_header)) as u8;
        if !is_extension(next_header) {
            return at << 16 | flags << 8 | u32::from(next_header);
        }
        if next_header == protocol::FRAGMENT {
            let Some(fragment) = frame.header::<Fragment>(Offset::new(at)) else { break };
            flags |= u32::from(fragment_flags(fragment));
            next_header = fragment.next_header;
            at += 8;
            if flags & u32::from(flag::LATER_FRAGMENT) != 0 {
                break;
            }
            continue;
        }
        let Some(extension) = frame.header::<Extension>(Offset::new(at)) else { break };
        let len = (u32::from(extension.len) + 1) * 8;
        if at + len > Offset::MAX {
            break;
        }
        next_header = extension.next_header;
        at += len;
    }
    flags << 8 | u32::from(next_header)
}

#[inline(always)]
fn fragment_flags(fragment: &Fragment) -> u8 {
    let offset_more = fragment.offset_more.get();
    match offset_more >> 3 {
        0 if offset_more & 1 == 0 => 0,
        0 => flag::FRAGMENT,
        _ => flag::FRAGMENT | flag::LATER_FRAGMENT,
    }
}

/// Whether one of the first hop-by-hop options is a router alert (type 5, RFC 2711).
#[inline(always)]
fn has_alert<F: Frame, C: Cells>(frame: &F, cells: &C, at: u32) -> bool {
    let len = match frame.header::<Extension>(Offset::new(at)) {
        Some(extension) => (u32::from(extension.len) + 1) * 8,
        None => return false,
    };
    let mut next = 2;
    for _ in 0..8 {
        next = cells.blur(u64::from(next)) as u32 & Offset::MAX;
        if next + 2 > len {
            return false;
        }
        let Some(option) = frame.header::<U16>(Offset::new(at + next)) else { return false };
        let [kind, octets] = option.get().to_be_bytes();
        match kind {
            5 => return true,
            0 => next += 1,
            _ => next += u32::from(octets) + 2,
        }
    }
    false
}
