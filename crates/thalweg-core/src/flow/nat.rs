//! Source translation: which new flows leave with another source than their own, and with which port.
//!
//! What leaves the cluster from a range that says so gets the address of the link that it leaves by, and a
//! port of which the host's own sockets have none. Whatever the source is translated to, the tuple that
//! answers will bring belongs to one flow alone: whoever takes it writes its row, and who finds a row takes
//! another port, or none.

use super::key::reversed;
use super::service::frontend_of;
use super::track::{Tracked, what};
use super::{Flows, Words, floating, mapping, table};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, kind, word};
use thalweg_abi::{NextHopRow, SettingsRow, link, nexthop, service, settings};
use thalweg_wire::l4::protocol;

/// Ports that are tried for a new flow until it is given up.
const TRIES: u32 = 32;

/// Chooses the source that a packet leaves with, whose flow begins and whose next hop is known.
///
/// Breaks with the verdict of what must not leave as it is and cannot be translated.
#[inline(always)]
pub fn source<C: Flows>(
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    nexthop: u32,
) -> ControlFlow<Verdict> {
    let Some(hop) = cells.nexthop(nexthop) else { return ControlFlow::Continue(()) };
    let by_service = tracked.facts().is(what::MASQUERADE);
    let inside = hop.flags & nexthop::flag::WORKLOAD != 0;
    let leaves = !inside && leaves(cells, packet);
    let own = if leaves { floating::of(cells, packet.source) } else { [0; 2] };
    let floats = own[1] != 0;
    let hairpins = tracked.facts().is(what::HAIRPIN);
    let translates = by_service || floats || leaves && is_masqueraded(cells, packet);
    if !hairpins && (inside || !translates) {
        return ControlFlow::Continue(());
    }
    if packet.has(flag::LATER_FRAGMENT) {
        return ControlFlow::Break(Verdict::drop(Reason::NoFirstFragment));
    }
    let address = match cells.link(hop.link) {
        // Who is reached at an address outside sees the sender there, too.
        _ if hairpins => [tracked.key[2], tracked.key[3]],
        _ if floats => own,
        Some(link) if packet.family() == 4 => [0, u32::from_be_bytes(link.address4).into()],
        Some(link) => halves(link.address6),
        None => [0; 2],
    };
    let usable = address[1] != 0 && !crate::decide::is_link_local(address);
    if !usable || !tracked.facts().is(what::KEYED) || !has_ports(packet, ports_of(packet, tracked))
    {
        return ControlFlow::Break(Verdict::drop(Reason::NatUnfit));
    }
    packet.source = address;
    packet.flags |= u64::from(flag::BELIEVED);
    tracked.note(what::REWRITES | what::NAT | if floats { what::FLOATING } else { 0 });
    ControlFlow::Continue(())
}

#[inline(always)]
fn halves(address: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(address);
    [(number >> 64) as u64, number as u64]
}

/// Whether a packet of a service that is not masqueraded certainly leaves with its own source by this next
/// hop: of others [`source`] says it.
#[inline(always)]
pub(super) fn is_kept<C: Flows>(cells: &C, packet: &Packet, hop: &NextHopRow) -> bool {
    if hop.flags & nexthop::flag::WORKLOAD != 0 || !leaves(cells, packet) {
        return true;
    }
    let flags = cells.settings().map_or(0, |row| row.flags);
    flags & settings::flag::FLOATING == 0 && !is_masqueraded(cells, packet)
}

/// Whether a packet of a workload leaves the cluster.
#[inline(always)]
fn leaves<C: Flows>(cells: &C, packet: &Packet) -> bool {
    packet.link_has(link::flag::WORKLOAD)
        && cells.range_of(packet.family(), packet.destination) == FOREIGN
}

/// Whether a packet comes from a range that is masqueraded.
#[inline(always)]
fn is_masqueraded<C: Flows>(cells: &C, packet: &Packet) -> bool {
    cells.range_of(packet.family(), packet.source) == MASQUERADED
}

/// The address is in no range of the cluster.
const FOREIGN: u64 = 0;
/// It is in one that keeps its addresses.
const INSIDE: u64 = 1;
/// It is in one that is masqueraded.
const MASQUERADED: u64 = 2;

/// What the longest range that an address is in says of it.
#[inline(always)]
pub fn range_of<C: Flows>(cells: &C, family: u8, address: [u64; 2]) -> u64 {
    let Some(settings) = cells.settings() else { return FOREIGN };
    let version = usize::from(family == 6);
    let mut at = 0;
    for _ in 0..thalweg_abi::settings::RANGES {
        let len = u32::from(settings.ranges[version][at]);
        if len == 0 {
            break;
        }
        let port = (len - 1) | (version as u32) << 8;
        let first = first_of(address, if version == 0 { len + 95 } else { len - 1 });
        let row = frontend_of(cells, first, port as u16, service::RANGE);
        if row != 0 {
            let flags = cells.frontend(row - 1).map_or(0, |row| row.flags);
            return if flags & service::flag::MASQUERADE == 0 { INSIDE } else { MASQUERADED };
        }
        at = cells.blur(at as u64 + 1) as usize & (thalweg_abi::settings::RANGES - 1);
    }
    FOREIGN
}

/// The first address of the range of `len` bits (of 128) around an address.
#[inline(always)]
const fn first_of([high, low]: [u64; 2], len: u32) -> [u64; 2] {
    [keep(high, len), keep(low, len.saturating_sub(64))]
}

/// The upper bits of a word.
#[inline(always)]
const fn keep(word: u64, bits: u32) -> u64 {
    match bits {
        0 => 0,
        1..64 => word & u64::MAX << (64 - bits),
        _ => word,
    }
}

/// Whether a packet has ports, or an identifier, that tell flows of one pair of addresses apart.
#[inline(always)]
fn has_ports(packet: &Packet, ports: u32) -> bool {
    ports != 0 || is_icmp(packet)
}

/// The ports that a packet leaves with.
#[inline(always)]
fn ports_of(packet: &Packet, tracked: &Tracked) -> u32 {
    (tracked.new_key(packet)[4] >> 32) as u32
}

#[inline(always)]
fn is_icmp(packet: &Packet) -> bool {
    match packet.family() {
        4 => packet.protocol() == protocol::ICMP,
        _ => packet.protocol() == protocol::ICMPV6,
    }
}

/// A port was found, and it is to be the source's for all destinations.
pub const MAPS: u32 = 1;
/// There is no port.
pub const TAKEN: u32 = 2;

/// Gives the packet the first port whose tuple, turned around, is no flow's. 0, [`MAPS`] or [`TAKEN`].
///
/// `mapped` and `is_taken` are [`mapping::find`] and [`is_taken`]: in the kernel, functions of their own.
#[inline(always)]
pub fn choose<C: Flows>(
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    mapped: impl Fn(&Packet, &mut Tracked) -> u32,
    is_taken: impl Fn(&Packet, &mut Tracked, bool) -> bool,
) -> u32 {
    let Some(settings) = cells.settings() else { return TAKEN };
    let ports = ports_of(packet, tracked);
    // All ports of a floating address are its workload's.
    let nat = tracked.facts().is(what::NAT) && !tracked.facts().is(what::FLOATING);
    let independent = nat && settings.flags & settings::flag::INDEPENDENT != 0;
    let mapped = if independent { mapped(packet, tracked) } else { 0 };
    let maps = independent && mapped == 0;
    // Of a source that has the same port everywhere the destination has no say.
    tracked.work[0] = if independent { mapping::key(packet, tracked) } else { tracked.key };
    let hash = flow::hash(tracked.work[0], settings.seed);
    let (first, size) = range(&settings);
    let own = if mapped != 0 { mapped } else { (tracked.key[4] >> 48) as u32 };
    let moves = nat && mapped == 0 && own.wrapping_sub(first) >= size;
    let mut at = u32::from(moves);
    let last = if mapped != 0 || !has_ports(packet, ports) { 0 } else { size.min(TRIES) };
    for _ in 0..=TRIES {
        let port = if at == 0 { own } else { port_at(&settings, hash, at) };
        let low = if is_icmp(packet) { port } else { ports & 0xffff };
        tracked.set_ports(packet, port << 16 | low);
        if !is_taken(packet, tracked, maps) {
            return if maps { MAPS } else { 0 };
        }
        if at >= last {
            break;
        }
        at = cells.blur(u64::from(at + 1)) as u32 & 63;
    }
    TAKEN
}

/// [`choose`], with plain calls.
#[inline(always)]
pub fn choose_here<C: Flows>(cells: &C, packet: &mut Packet, tracked: &mut Tracked) -> u32 {
    choose(
        cells,
        packet,
        tracked,
        |packet, tracked| mapping::find(cells, packet, tracked),
        |packet, tracked, maps| is_taken(cells, packet, tracked, maps),
    )
}

/// Takes the row of the answers to a packet out again.
#[inline(always)]
pub fn forget<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) {
    let seed = cells.settings().map_or(0, |row| row.seed);
    tracked.work[0] = reversed(tracked.new_key(packet));
    let hash = flow::hash(tracked.work[0], seed);
    table::forget(cells, table::find(cells, &tracked.work[0], hash), hash);
}

/// The port that is tried at some place in the order; place 0 is that of the source's own, if it keeps it.
///
/// A source that is translated keeps its port if that is one of those that the host leaves alone; any other
/// keeps it unless the answers are another flow's.
#[inline(always)]
fn port_at(settings: &SettingsRow, hash: u64, at: u32) -> u32 {
    let (first, size) = range(settings);
    let start = (hash >> 40) as u32;
    // Few are tried one after the other, so that none is left out.
    let step = if size <= TRIES { 1 } else { (hash as u32 >> 8) | 1 };
    let place = start.wrapping_add(at.wrapping_mul(step));
    first + place.checked_rem(size).unwrap_or(0)
}

/// The first port of the range, and how many there are.
#[inline(always)]
const fn range(settings: &SettingsRow) -> (u32, u32) {
    let [first, last] = settings.nat_ports;
    (first as u32, (last as u32).saturating_sub(first as u32) + 1)
}

/// Whether the tuple that answers to a packet will bring is a flow's that lives; with `maps` also whether
/// its port is a source's. The rows of a flow that has outlived its time in both directions are taken out.
#[inline(always)]
pub fn is_taken<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked, maps: bool) -> bool {
    let Some(settings) = cells.settings() else { return true };
    if maps && mapping::is_anybodys(cells, packet, tracked) {
        return true;
    }
    tracked.work[0] = reversed(tracked.new_key(packet));
    let hash = flow::hash(tracked.work[0], settings.seed);
    let found = table::find(cells, &tracked.work[0], hash);
    let Some(row) = cells.flow(found.wrapping_sub(1)) else { return false };
    let now = cells.now();
    if !table::is_expired(&row, now) {
        return true;
    }
    tracked.work[1] = reversed(super::track::leaving(&row, &tracked.work[0]));
    let other_hash = flow::hash(tracked.work[1], settings.seed);
    let other = table::find(cells, &tracked.work[1], other_hash);
    if let Some(row) = cells.flow(other.wrapping_sub(1)) {
        if !table::is_expired(&row, now) {
            return true;
        }
        table::forget(cells, other, other_hash);
    }
    table::forget(cells, found, hash);
    false
}

/// Takes a flow whose source is translated out of the way of the key at work: one that has outlived its time
/// in both directions, or is half open or closing. Both of its rows go, so that nobody else gets the tuple
/// of its answers while it goes on. False if there is none.
#[inline(always)]
pub fn make_room<C: Flows>(cells: &C, tracked: &mut Tracked) -> bool {
    let Some(settings) = cells.settings() else { return false };
    let now = cells.now();
    let hash = flow::hash(tracked.work[0], settings.seed);
    let place = cells.weakest(hash, now, kind::NAT);
    let found = (place >> 32) as u32;
    let Some(row) = cells.flow(found.wrapping_sub(1)) else { return false };
    let tail = row.get(word::TAIL);
    tracked.work[1] = reversed(super::track::leaving(&row, &[0, 0, 0, 0, tail]));
    let other_hash = flow::hash(tracked.work[1], settings.seed);
    let other = table::find(cells, &tracked.work[1], other_hash);
    if let Some(other) = cells.flow(other.wrapping_sub(1))
        && !table::is_weak(row.get(word::STATE) as u8, tail)
        && !table::is_expired(&other, now)
    {
        // It lives by what comes from the other side.
        row.set(word::SEEN, row.get(word::SEEN) >> 32 << 32 | u64::from(now));
        return false;
    }
    table::forget(cells, other, other_hash);
    // Of the hash only the tag counts.
    table::forget(cells, found, place << 32);
    true
}
