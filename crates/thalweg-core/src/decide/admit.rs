//! Which IP packets may be routed at all: addresses that make sense, a believable source.

use super::Decision;
use crate::cells::Cells;
use crate::fib;
use crate::packet::{Packet, flag};
use core::ops::ControlFlow;
use thalweg_abi::{NextHopRow, Reason, Verdict, link, nexthop, own};

/// Breaks for packets that are not routed.
#[inline(always)]
pub fn step<C: Cells>(decision: &mut Decision, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    if let Some(fault) = packet.fault() {
        return ControlFlow::Break(fault);
    }
    if packet.has(flag::OWN) {
        return ControlFlow::Continue(());
    }
    addresses(packet)?;
    if packet.has(flag::BELIEVED) {
        return ControlFlow::Continue(());
    }
    if may_be_own(packet, cells) && !packet.link_has(link::flag::HOST) {
        not_own(decision, packet, cells)?;
    }
    if packet.link_has(CHECKED) {
        reverse_path(decision.vrf(), packet, cells)?;
    }
    ControlFlow::Continue(())
}

/// Whether the addresses make sense, and nothing else has to be looked at: what [`step`] comes to
/// without a look-up of the source.
#[inline(always)]
pub fn is_plain<C: Cells>(packet: &Packet, cells: &C) -> bool {
    addresses(packet).is_continue() && !may_be_own(packet, cells) && !packet.link_has(CHECKED)
}

/// As [`is_plain`], but with a look at the source where its link asks for one.
#[inline(always)]
pub fn is_usual<C: Cells>(packet: &Packet, cells: &C) -> bool {
    addresses(packet).is_continue() && !may_be_own(packet, cells) && is_believable(packet, cells)
}

/// Links that check sources.
const CHECKED: u32 = link::flag::RPF_STRICT | link::flag::RPF_LOOSE;

#[inline(always)]
fn addresses(packet: &Packet) -> ControlFlow<Verdict> {
    match packet.family() {
        4 => addresses4(packet),
        6 => addresses6(packet),
        _ => ControlFlow::Break(Verdict::drop(Reason::MplsPayload)),
    }
}

/// RFC 1812 §5.3.7, RFC 6890; multicast and broadcast are the kernel's.
#[inline(always)]
fn addresses4(packet: &Packet) -> ControlFlow<Verdict> {
    let [source, destination] = [packet.source[1] as u32, packet.destination[1] as u32];
    let group = destination >> 28 == 0xe || destination == u32::MAX;
    // Hosts that have no address yet (DHCP) or never will (IGMP, RFC 4541) speak from 0.0.0.0, to
    // the link alone.
    let unspecified = source == 0 && group;
    if is_martian4(source) && !unspecified {
        return ControlFlow::Break(Verdict::drop(Reason::MartianSource));
    }
    if group {
        let reason = if destination == u32::MAX { Reason::Broadcast } else { Reason::Multicast };
        return ControlFlow::Break(Verdict::deliver(reason));
    }
    if is_martian4(destination) {
        return ControlFlow::Break(Verdict::drop(Reason::MartianDestination));
    }
    ControlFlow::Continue(())
}

/// 0/8, 127/8, 224/4 and 240/4.
#[inline(always)]
const fn is_martian4(address: u32) -> bool {
    let octet = address >> 24;
    octet == 0 || octet == 127 || octet >= 224
}

/// RFC 4291 §2.5 to §2.7; multicast and link-local destinations are the kernel's.
#[inline(always)]
fn addresses6(packet: &Packet) -> ControlFlow<Verdict> {
    let (source, destination) = (packet.source, packet.destination);
    let group = destination[0] >> 56 == 0xff;
    let nobody = source[0] == 0 && source[1] == 0;
    if is_martian6(source) && !(nobody && group) {
        return ControlFlow::Break(Verdict::drop(Reason::MartianSource));
    }
    if group {
        let scope = destination[0] >> 48 & 0xf;
        return ControlFlow::Break(if scope < 2 {
            Verdict::drop(Reason::MartianDestination)
        } else {
            Verdict::deliver(Reason::Multicast)
        });
    }
    if is_link_local(destination) {
        return ControlFlow::Break(Verdict::deliver(Reason::LinkLocal));
    }
    if is_martian6(destination) {
        return ControlFlow::Break(Verdict::drop(Reason::MartianDestination));
    }
    ControlFlow::Continue(())
}

/// ::, ::1, ::ffff:0:0/96 and ff00::/8.
#[inline(always)]
const fn is_martian6([high, low]: [u64; 2]) -> bool {
    let mapped = low >> 32 == 0xffff;
    high >> 56 == 0xff || high == 0 && (low <= 1 || mapped)
}

/// fe80::/10.
#[inline(always)]
pub const fn is_link_local([high, _]: [u64; 2]) -> bool {
    high >> 54 == 0x3fa
}

/// Whether the source may be an own address: the bit set says "no" or "perhaps".
#[inline(always)]
fn may_be_own<C: Cells>(packet: &Packet, cells: &C) -> bool {
    let [high, low] = packet.source;
    let bit = if packet.family() == 4 { own::bit4(low as u32) } else { own::bit6(high, low) };
    cells.own(bit / 64) >> (bit % 64) & 1 != 0
}

/// An own address as the source of a frame from a wire is a lie or a loop (RFC 1812 §5.3.7).
#[inline(always)]
fn not_own<C: Cells>(decision: &Decision, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    let group = source_group(cells, decision.vrf(), packet.family(), packet.source);
    let word = cells.group(group);
    let kind = cells.nexthop(word.first()).map_or(0, |row| row.kind);
    if word.exists() && !word.has_buckets() && kind == nexthop::kind::DELIVER {
        return ControlFlow::Break(Verdict::drop(Reason::MartianSource));
    }
    ControlFlow::Continue(())
}

/// The group that leads back to a source.
///
/// A function of its own in the kernel: rare, and large where it would be repeated.
#[inline(never)]
pub fn source_group<C: Cells>(cells: &C, vrf: u32, family: u8, source: [u64; 2]) -> u32 {
    match family {
        4 => fib::route4(cells, vrf, source[1] as u32),
        _ => fib::route6(cells, vrf, source),
    }
}

/// Whether the link that a packet came from lets this source in.
#[inline(always)]
pub fn is_believable<C: Cells>(packet: &Packet, cells: &C) -> bool {
    !packet.link_has(CHECKED) || reverse_path(packet.vrf(), packet, cells).is_continue()
}

/// RFC 3704: strict asks for a route back through the same link, loose for any usable one.
#[inline(always)]
fn reverse_path<C: Cells>(vrf: u32, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    if packet.family() == 6 && is_link_local(packet.source) {
        return ControlFlow::Continue(());
    }
    let group = source_group(cells, vrf, packet.family(), packet.source);
    let word = cells.group(group);
    let first = if word.has_buckets() { cells.bucket(word.first()) } else { word.first() };
    let usable = word.exists() && cells.nexthop(first).is_some_and(|row| leads_back(&row));
    let strict = packet.link_has(link::flag::RPF_STRICT);
    if usable && (!strict || cells.group_links(group).allows(packet.link())) {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(Verdict::drop(Reason::ReversePath))
}

#[inline(always)]
fn leads_back(row: &NextHopRow) -> bool {
    row.kind == nexthop::kind::ADJACENT || row.kind == nexthop::kind::UNRESOLVED
}
