//! IPv4: the checks of RFC 1812 §5.2.2, options, fragments.

use super::{measure, ports};
use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use core::ops::ControlFlow;
use thalweg_abi::{Reason, Verdict, link};
use thalweg_wire::{Ipv4, U16, U32, checksum};

/// Reads the IPv4 header at `packet.ip` and what follows it.
#[inline(always)]
pub fn parse<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
) -> ControlFlow<Verdict> {
    let sum = fixed(frame, packet)?;
    let header_len = packet.l4() - packet.ip();
    if header_len > Ipv4::LEN as u32 {
        with_options(frame, cells, packet, sum, header_len)?;
    } else if checksum::fold(sum) != 0xffff {
        return ControlFlow::Break(Verdict::drop(Reason::Checksum));
    }
    ports(frame, packet, packet.l4());
    measure(frame, packet);
    ControlFlow::Continue(())
}

/// Reads the IPv4 header at `packet.ip` and what follows it if it has no options and no fault.
/// Returns whether that was so.
#[inline(always)]
pub fn parse_plain<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    let sum = match fixed(frame, packet) {
        ControlFlow::Continue(sum) => sum,
        ControlFlow::Break(_) => return false,
    };
    if packet.l4() != packet.ip() + Ipv4::LEN as u32 || checksum::fold(sum) != 0xffff {
        return false;
    }
    ports(frame, packet, packet.ip() + Ipv4::LEN as u32);
    measure(frame, packet);
    true
}

/// Reads the fixed header and finds its end. Returns the sum of the fixed part.
#[inline(always)]
fn fixed<F: Frame>(frame: &F, packet: &mut Packet) -> ControlFlow<Verdict, u32> {
    let at = packet.ip();
    let Some(ip) = frame.header::<Ipv4>(Offset::new(at)) else {
        return ControlFlow::Break(Verdict::drop(Reason::Truncated));
    };
    if ip.version() != 4 {
        return ControlFlow::Break(Verdict::drop(Reason::Version));
    }
    let header_len = ip.header_len();
    if header_len < Ipv4::LEN as u32 {
        return ControlFlow::Break(Verdict::drop(Reason::HeaderLength));
    }
    let len = u32::from(ip.total_len.get());
    if len < header_len || at + len > frame.octets() {
        return ControlFlow::Break(Verdict::drop(Reason::Length));
    }
    let fragment = ip.fragment.get();
    packet.family = 4;
    packet.len = u64::from(len);
    packet.l4 = u64::from(at + header_len);
    packet.set_header(ip.ttl, ip.tos, ip.protocol);
    packet.source = [0, u64::from(ip.source.get())];
    packet.destination = [0, u64::from(ip.destination.get())];
    packet.flags |= u64::from(flags(fragment));
    ControlFlow::Continue(fixed_sum(ip))
}

/// Packet flags of the fragment field.
#[inline(always)]
fn flags(fragment: u16) -> u8 {
    let bit = |set: bool, flag: u8| if set { flag } else { 0 };
    bit(fragment & Ipv4::DF != 0, flag::DONT_FRAGMENT)
        | bit(fragment & (Ipv4::MF | Ipv4::OFFSET) != 0, flag::FRAGMENT)
        | bit(fragment & Ipv4::OFFSET != 0, flag::LATER_FRAGMENT)
}

/// One's complement sum of the fixed header, folded to 16 bits.
///
/// The sum does not depend on the order of octets within words, except that it comes out in that
/// order, too (RFC 1071 §2 (B)): whole words are added as the machine reads them.
#[inline(always)]
fn fixed_sum(ip: &Ipv4) -> u32 {
    let [a, b, c, d, e]: [[u8; 4]; 5] = zerocopy::transmute!(*ip);
    let sum = [b, c, d, e].iter().fold(u64::from(u32::from_ne_bytes(a)), |sum, word| {
        sum + u64::from(u32::from_ne_bytes(*word))
    });
    let halves = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    u32::from(u16::from_be(checksum::fold(halves as u32)))
}

/// What options were found.
mod found {
    pub const BAD_CHECKSUM: u32 = 1;
    pub const SOURCE_ROUTE: u32 = 2;
    pub const ROUTER_ALERT: u32 = 4;
}

/// A header with options goes to the kernel unless it is damaged or carries a source route.
#[inline(always)]
fn with_options<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &Packet,
    sum: u32,
    header_len: u32,
) -> ControlFlow<Verdict> {
    let found =
        options(frame, cells, packet.ip() + Ipv4::LEN as u32, header_len - Ipv4::LEN as u32, sum);
    ControlFlow::Break(if found & found::BAD_CHECKSUM != 0 {
        Verdict::drop(Reason::Checksum)
    } else if found & found::SOURCE_ROUTE != 0 && !packet.link_has(link::flag::SOURCE_ROUTE) {
        Verdict::drop(Reason::SourceRoute)
    } else if found & found::ROUTER_ALERT != 0 {
        Verdict::punt(Reason::RouterAlert)
    } else {
        Verdict::punt(Reason::Options)
    })
}

/// Most options that a header has room for: 40, of one octet each.
const MAX_OPTIONS: u32 = 40;

/// Finishes the header's checksum over `len` octets of options and looks for those that matter
/// (RFC 791 §3.1).
#[inline(never)]
fn options<F: Frame, C: Cells>(frame: &F, cells: &C, at: u32, len: u32, sum: u32) -> u32 {
    let (mut sum, mut done) = (sum, 0);
    for _ in 0..10 {
        if done >= len {
            break;
        }
        let word = frame.header::<U32>(Offset::new(at + done)).map_or(0, |word| word.get());
        sum += (word >> 16) + (word & 0xffff);
        done += 4;
    }
    let bad = if checksum::fold(sum) == 0xffff { 0 } else { found::BAD_CHECKSUM };
    bad | walk(frame, cells, at, len)
}

/// Types: 0 end, 1 no operation, 131 loose and 137 strict source route, 148 router alert (RFC 2113).
#[inline(always)]
fn walk<F: Frame, C: Cells>(frame: &F, cells: &C, at: u32, len: u32) -> u32 {
    let (mut found, mut next) = (0u64, 0u64);
    for _ in 0..MAX_OPTIONS {
        next = cells.blur(next) & 63;
        found = cells.blur(found) & 7;
        if next >= u64::from(len) {
            break;
        }
        let Some(option) = frame.header::<U16>(Offset::new(at + next as u32)) else { break };
        let [kind, octets] = option.get().to_be_bytes();
        match kind {
            0 => break,
            1 => {
                next += 1;
                continue;
            }
            131 | 137 => found |= u64::from(found::SOURCE_ROUTE),
            148 => found |= u64::from(found::ROUTER_ALERT),
            _ => {}
        }
        if !(2..=40).contains(&octets) {
            break;
        }
        next += u64::from(octets);
    }
    found as u32
}
