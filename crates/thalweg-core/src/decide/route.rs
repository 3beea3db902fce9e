//! The route stage: from a destination to a group, from a group to a next hop that can be used.

use super::admit::is_link_local;
use super::{Decision, label, write};
use crate::cells::Cells;
use crate::packet::{Packet, flag};
use crate::{fib, hash};
use core::ops::ControlFlow;
use thalweg_abi::link::flag::DIRECTED_BROADCAST;
use thalweg_abi::{NextHopRow, Reason, Verdict, nexthop};

/// Finds the group for the destination of an IP packet in `decision.vrf`.
#[inline(always)]
pub fn step<C: Cells>(decision: &mut Decision, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    if packet.depth() == 0 {
        decision.set_write(write::BOTTOM);
    }
    destination(decision, packet, cells)
}

#[inline(always)]
fn destination<C: Cells>(
    decision: &mut Decision,
    packet: &Packet,
    cells: &C,
) -> ControlFlow<Verdict> {
    let group = match packet.family() {
        4 => fib::route4(cells, decision.vrf(), packet.destination[1] as u32),
        _ => fib::route6(cells, decision.vrf(), packet.destination),
    };
    decision.group = u64::from(group);
    match group {
        0 => ControlFlow::Break(Verdict::answer(Reason::NoRoute)),
        _ => ControlFlow::Continue(()),
    }
}

/// Chooses the member of `decision.group` for this packet and checks that it can be sent there.
#[inline(always)]
pub fn next_hop<C: Cells>(
    decision: &mut Decision,
    packet: &Packet,
    cells: &C,
) -> ControlFlow<Verdict> {
    let index = member(decision.group(), packet, cells);
    if let Some(row) = cells.nexthop(index)
        && row.kind == nexthop::kind::LOOKUP
    {
        // A next hop may lead into another VRF, once; a second would be a loop.
        decision.vrf = u64::from(row.link);
        destination(decision, packet, cells)?;
    }
    next_hop_here(decision, packet, cells)
}

/// As [`next_hop`], but without a way into another VRF.
#[inline(always)]
pub fn next_hop_here<C: Cells>(
    decision: &mut Decision,
    packet: &Packet,
    cells: &C,
) -> ControlFlow<Verdict> {
    let index = member(decision.group(), packet, cells);
    decision.nexthop = u64::from(index);
    let Some(row) = cells.nexthop(index) else {
        return ControlFlow::Break(Verdict::drop(Reason::Broken));
    };
    terminal(packet, &row)?;
    usable(decision, packet, cells, row)
}

/// The next hop of a group that the packet's flow belongs to.
#[inline(always)]
fn member<C: Cells>(group: u32, packet: &Packet, cells: &C) -> u32 {
    let word = cells.group(group);
    if !word.has_buckets() {
        return word.first();
    }
    let seed = cells.settings().map_or(0, |row| row.seed);
    cells.bucket(word.first().wrapping_add(hash::flow(packet, seed) & word.mask()))
}

/// A next hop whose link or session is down is replaced by its backup.
#[inline(always)]
fn usable<C: Cells>(
    decision: &mut Decision,
    packet: &Packet,
    cells: &C,
    row: C::Ref<NextHopRow>,
) -> ControlFlow<Verdict> {
    const DOWN: ControlFlow<Verdict> = ControlFlow::Break(Verdict::drop(Reason::LinkDown));
    let mut row = row;
    if !cells.is_up(row.watch) {
        decision.nexthop = u64::from(row.backup);
        row = match cells.nexthop(row.backup) {
            Some(backup) => backup,
            None => return DOWN,
        };
        if row.kind != nexthop::kind::ADJACENT || !cells.is_up(row.watch) {
            return DOWN;
        }
    }
    sendable(decision, packet, &row)
}

/// Next hops that are not another router.
#[inline(always)]
fn terminal(packet: &Packet, row: &NextHopRow) -> ControlFlow<Verdict> {
    use nexthop::kind;
    ControlFlow::Break(match row.kind {
        kind::ADJACENT | kind::UNRESOLVED => return ControlFlow::Continue(()),
        kind::DELIVER => Verdict::deliver(Reason::Local),
        kind::BROADCAST if row.link == packet.link() || packet.link_has(DIRECTED_BROADCAST) => {
            Verdict::deliver(Reason::Broadcast)
        }
        kind::BROADCAST => Verdict::drop(Reason::NoBroadcast),
        kind::BLACKHOLE => Verdict::drop(Reason::Blackhole),
        kind::UNREACHABLE => Verdict::answer(Reason::Unreachable),
        kind::PROHIBIT => Verdict::answer(Reason::Prohibited),
        kind::THROW => Verdict::answer(Reason::NoRoute),
        // A second way into another VRF.
        kind::LOOKUP => Verdict::answer(Reason::NoRoute),
        _ => Verdict::drop(Reason::Broken),
    })
}

/// The last checks before a packet leaves: scope, hops, resolution, size.
#[inline(always)]
fn sendable(decision: &mut Decision, packet: &Packet, row: &NextHopRow) -> ControlFlow<Verdict> {
    decision.mtu = u64::from(row.mtu);
    if packet.has(flag::LINK_GROUP) {
        return ControlFlow::Break(Verdict::drop(Reason::NoBroadcast));
    }
    if decision.write() & write::SWAP == 0 && !packet.has(flag::OWN) {
        if packet.family() == 6 && is_link_local(packet.source) {
            // Only the kernel can answer to an address that means something on one link alone.
            return ControlFlow::Break(at_kernel(decision, Reason::Scope));
        }
        spend_hop(decision, packet)?;
    }
    let unresolved = row.kind == nexthop::kind::UNRESOLVED;
    // What goes into a tunnel, the kernel could not make smaller any more.
    if unresolved && row.flags & nexthop::flag::TUNNEL == 0 {
        return ControlFlow::Break(at_kernel(decision, Reason::Unresolved));
    }
    if decision.write() & write::SWAP != 0 && row.labels == 0 {
        label::uncover(decision, packet)?;
    }
    fits(decision, packet, row)?;
    if unresolved {
        return ControlFlow::Break(at_kernel(decision, Reason::Unresolved));
    }
    let reason = if decision.write() & write::SWAP != 0 { Reason::Label } else { Reason::Route };
    ControlFlow::Break(Verdict::forward(reason))
}

/// An exception for the kernel, if it can be handed an IP packet: not while labels stay on it.
#[inline(always)]
fn at_kernel(decision: &Decision, reason: Reason) -> Verdict {
    if decision.write() & write::SWAP == 0 { Verdict::punt(reason) } else { Verdict::drop(reason) }
}

/// Takes this router's hop off an IP packet (RFC 1812 §5.3.1, RFC 8200 §3). Behind labels the TTL
/// they leave counts, too (RFC 3032 §2.4).
#[inline(always)]
fn spend_hop(decision: &mut Decision, packet: &Packet) -> ControlFlow<Verdict> {
    if decision.ip_ttl() <= 1 || packet.depth() > 0 && decision.ttl() <= 1 {
        return ControlFlow::Break(Verdict::answer(Reason::TtlExpired));
    }
    decision.set_ip_ttl(decision.ip_ttl() - 1);
    decision.set_ttl(decision.ip_ttl());
    decision.set_write(decision.write() | write::IP_TTL);
    ControlFlow::Continue(())
}

/// Octets of labels that `row` puts in front of a packet.
#[inline(always)]
pub fn pushed(decision: &Decision, row: &NextHopRow) -> u32 {
    let entropy = row.flags & nexthop::flag::ENTROPY != 0 && decision.write() & write::SWAP == 0;
    u32::from(row.labels) + if entropy { 2 } else { 0 }
}

/// RFC 1191, RFC 8201, RFC 3032 §3: what does not fit is fragmented by the kernel or answered.
#[inline(always)]
fn fits(decision: &mut Decision, packet: &Packet, row: &NextHopRow) -> ControlFlow<Verdict> {
    let kept = packet.depth().saturating_sub(decision.pops());
    let labels = (pushed(decision, row) + kept) * 4;
    // Behind labels without a readable IP header the length is not known; the link checks it.
    if packet.len() + labels <= row.mtu || packet.len() == 0 {
        return ControlFlow::Continue(());
    }
    decision.mtu = u64::from(row.mtu.saturating_sub(labels));
    ControlFlow::Break(if packet.family() == 6 || packet.has(flag::DONT_FRAGMENT) {
        Verdict::answer(Reason::TooBig)
    } else if labels == 0 {
        at_kernel(decision, Reason::NeedsFragmentation)
    } else {
        Verdict::drop(Reason::TooBig)
    })
}
