//! Sources that have the same port outside whatever their destination (RFC 4787 §4.1, RFC 5382 §4).
//!
//! Two rows of the flow table stand for that: one tells the port of a source, one whose a port is. They are
//! no packet's ([`flow::NO_PACKET`]), and live on from the last flow that began with them. Who is let in
//! from outside they do not say: that is the rows of flows (RFC 4787 §5, address and port-dependent).

use super::key::Key;
use super::track::Tracked;
use super::{Flows, Words, table};
use crate::packet::Packet;
use thalweg_abi::SettingsRow;
use thalweg_abi::flow::{self, NO_PACKET, kind, tail, timeout, word};
use thalweg_wire::l4::protocol;

/// Bits of a tail's family octet, beside [`NO_PACKET`]: of a source, of a port outside.
const SOURCE: u64 = 0x20;
const OUTSIDE: u64 = 0x10;
/// Seconds that datagrams keep their port (RFC 4787 §4.3).
const DATAGRAMS: u32 = 300;

/// The key of a source that is translated to the packet's.
#[inline(always)]
pub fn key(packet: &Packet, tracked: &Tracked) -> Key {
    let [a, b, _, _, old] = tracked.key;
    let [c, d] = packet.source;
    [a, b, c, d, tail_of(packet, (old >> 48) as u32) | SOURCE]
}

/// The key of a port of an address outside, of a packet's protocol.
#[inline(always)]
pub(super) fn outside(packet: &Packet, [a, b]: [u64; 2], port: u32) -> Key {
    [a, b, 0, 0, tail_of(packet, port) | OUTSIDE]
}

#[inline(always)]
fn tail_of(packet: &Packet, port: u32) -> u64 {
    tail(port << 16, packet.vrf() as u16, packet.protocol(), packet.family()) | NO_PACKET
}

/// How long, and from when on, a row lives.
#[inline(always)]
fn seen(settings: &SettingsRow, packet: &Packet, now: u32) -> u64 {
    let time = match packet.protocol() {
        protocol::TCP => settings.timeouts[timeout::ESTABLISHED],
        protocol::SCTP => settings.timeouts[timeout::SCTP_ESTABLISHED],
        _ => DATAGRAMS,
    };
    u64::from(time) << 32 | u64::from(now)
}

/// The port that the source of a packet has outside; 0 if it has none yet. Its time begins anew.
#[inline(always)]
pub fn find<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> u32 {
    let Some(settings) = cells.settings() else { return 0 };
    let now = cells.now();
    tracked.work[0] = key(packet, tracked);
    let hash = flow::hash(tracked.work[0], settings.seed);
    let found = table::find(cells, &tracked.work[0], hash);
    let Some(row) = cells.flow(found.wrapping_sub(1)) else { return 0 };
    if table::is_expired(&row, now) {
        table::forget(cells, found, hash);
        return 0;
    }
    let port = (row.get(word::REWRITE) >> 48) as u32;
    tracked.work[1] = outside(packet, packet.source, port);
    let hash = flow::hash(tracked.work[1], settings.seed);
    let owner = table::find(cells, &tracked.work[1], hash);
    let Some(owner) = cells.flow(owner.wrapping_sub(1)) else {
        // Its port may be another's since the table was full.
        table::forget(cells, found, flow::hash(tracked.work[0], settings.seed));
        return 0;
    };
    if [owner.get(word::NEW_SOURCE), owner.get(word::NEW_SOURCE + 1)]
        != [tracked.key[0], tracked.key[1]]
        || owner.get(word::REWRITE) >> 48 != tracked.key[4] >> 48
    {
        table::forget(cells, found, flow::hash(tracked.work[0], settings.seed));
        return 0;
    }
    row.set(word::SEEN, seen(&settings, packet, now));
    owner.set(word::SEEN, seen(&settings, packet, now));
    port
}

/// Whether the port that a packet leaves with is a source's.
#[inline(always)]
pub fn is_anybodys<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> bool {
    let seed = cells.settings().map_or(0, |row| row.seed);
    tracked.work[0] = outside(packet, packet.source, (tracked.new_key(packet)[4] >> 48) as u32);
    let found = table::find(cells, &tracked.work[0], flow::hash(tracked.work[0], seed));
    let row = cells.flow(found.wrapping_sub(1));
    row.is_some_and(|row| !table::is_expired(&row, cells.now()))
}

/// Gives the source of a packet the port that the packet leaves with, wherever it goes; false if the port is
/// another source's.
#[inline(always)]
pub fn write<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> bool {
    let Some(settings) = cells.settings() else { return false };
    let now = cells.now();
    let port = (tracked.new_key(packet)[4] >> 48) as u32;
    tracked.work = [outside(packet, packet.source, port), key(packet, tracked)];
    let hash = flow::hash(tracked.work[0], settings.seed);
    let found = table::find(cells, &tracked.work[0], hash);
    if let Some(row) = cells.flow(found.wrapping_sub(1)) {
        if !table::is_expired(&row, now) {
            return false;
        }
        table::forget(cells, found, hash);
    }
    let seen = seen(&settings, packet, now);
    let [a, b, _, _, tail] = tracked.key;
    let owner = table::insert(cells, &tracked.work[0], hash, now, 0, |row| {
        fill(row, [a, b], tail >> 48, seen);
    });
    if owner == 0 {
        return false;
    }
    let of_source = flow::hash(tracked.work[1], settings.seed);
    let row = table::insert(cells, &tracked.work[1], of_source, now, 0, |row| {
        fill(row, packet.source, port.into(), seen);
    });
    if row == 0 {
        table::forget(cells, owner, hash);
    }
    row != 0
}

#[inline(always)]
fn fill<W: Words>(row: &W, [a, b]: [u64; 2], port: u64, seen: u64) {
    row.set(word::NEW_SOURCE, a);
    row.set(word::NEW_SOURCE + 1, b);
    row.set(word::NEW_DESTINATION, 0);
    row.set(word::NEW_DESTINATION + 1, 0);
    row.set(word::REWRITE, port << 48 | u64::from(kind::MAPPING));
    row.set(word::STATE, 0);
    row.set(word::SEEN, seen);
    row.set(word::WAY, 0);
    row.set(word::BACKEND, 0);
    row.set(word::OCTETS, 0);
}
