//! Fragments go the way of their first (RFC 791 §3.2, RFC 8200 §4.5): only that has ports.
//!
//! The first fragment of a packet whose addresses change leaves a row in the flow table, whose key is the
//! packet's identification; those behind it find there what becomes of their addresses. Such a row lives
//! as long as a receiver waits for fragments. What comes before the first waits on the [`super::shelf`], where
//! its address is a service's or this host's: then the first may be told to leave other addresses there.

use super::key::Key;
use super::service::{frontend_of, may_be_vip};
use super::track::{Tracked, what};
use super::{Flows, Words, shelf, table};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, NO_PACKET, kind, tail, word};
use thalweg_abi::shelf::TIME as SHORT;
use thalweg_wire::ipv6::Fragment;
use thalweg_wire::l4::protocol;
use thalweg_wire::{Ipv4, Ipv6};

/// Seconds that a row lives: as long as Linux waits for fragments (`net.ipv4.ipfrag_time`).
const TIME: u32 = 30;
/// Bit of a tail's family octet, beside [`NO_PACKET`].
const IDENTIFICATION: u64 = 0x40;

/// The key of all fragments of a packet; none where its identification was not found.
#[inline(always)]
fn key_of_fragments<F: Frame>(frame: &F, packet: &Packet) -> Option<Key> {
    let id = if packet.family() == 4 {
        frame.header::<Ipv4>(Offset::new(packet.ip()))?.id.get().into()
    } else {
        // Behind other extension headers it is not looked for.
        if frame.header::<Ipv6>(Offset::new(packet.ip()))?.next_header != protocol::FRAGMENT {
            return None;
        }
        frame.header::<Fragment>(Offset::new(packet.ip() + Ipv6::LEN as u32))?.id.get()
    };
    let ([a, b], [c, d]) = (packet.source, packet.destination);
    // What follows an IPv6 fragment header counts in the first fragment only (RFC 8200 §4.5).
    let number = if packet.family() == 4 { packet.protocol() } else { protocol::FRAGMENT };
    let tail = tail(id, packet.vrf() as u16, number, packet.family());
    Some([a, b, c, d, tail | NO_PACKET | IDENTIFICATION])
}

/// Notes which packet a first fragment is of, before its addresses change.
#[inline(always)]
pub fn note<F: Frame>(frame: &F, packet: &Packet, tracked: &mut Tracked) {
    if let Some(key) = key_of_fragments(frame, packet) {
        tracked.note(what::FRAGMENT);
        tracked.quote = key;
    }
}

/// Gives a fragment behind the first the addresses that the first left with. Its key stays behind, for the
/// shelf.
#[inline(always)]
pub fn follow<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> ControlFlow<Verdict> {
    tracked.quote = key_of_fragments(frame, packet).unwrap_or([0; 5]);
    let key = &tracked.quote;
    let seed = cells.settings().map_or(0, |row| row.seed);
    let found = if key[4] == 0 { 0 } else { table::find(cells, key, flow::hash(*key, seed)) };
    let row = match cells.flow(found.wrapping_sub(1)) {
        Some(row) if !table::is_expired(&row, cells.now()) => row,
        _ => return alone(cells, packet),
    };
    let from = (row.get(word::WAY) >> 32) as u32;
    if from != packet.link() && !crate::decide::is_believable(packet, cells) {
        return ControlFlow::Break(Verdict::drop(Reason::ReversePath));
    }
    if row.get(word::REWRITE) as u32 & kind::REWRITES == 0 {
        tracked.note(what::LED);
        return ControlFlow::Continue(());
    }
    tracked.note(what::REWRITES);
    tracked.key = super::key::key(packet, 0);
    packet.source = [row.get(word::NEW_SOURCE), row.get(word::NEW_SOURCE + 1)];
    packet.destination = [row.get(word::NEW_DESTINATION), row.get(word::NEW_DESTINATION + 1)];
    packet.flags |= u64::from(flag::BELIEVED);
    ControlFlow::Continue(())
}

/// A fragment whose first is not known goes on as it is, but for a service's address nowhere.
#[inline(always)]
fn alone<C: Flows>(cells: &C, packet: &Packet) -> ControlFlow<Verdict> {
    let vip = may_be_vip(cells, packet.destination);
    if vip && frontend_of(cells, packet.destination, 0, 0) != 0 {
        return ControlFlow::Break(Verdict::drop(Reason::NoFirstFragment));
    }
    ControlFlow::Continue(())
}

/// Writes the row that fragments behind the first find; of one whose addresses stay only if they are to be led
/// all the same (`leads`): it is for this host, or policies were asked about it. Whether others wait for it already.
#[inline(always)]
pub fn remember<C: Flows>(cells: &C, packet: &Packet, tracked: &Tracked, leads: bool) -> bool {
    let Some(settings) = cells.settings() else { return false };
    let rewrites = tracked.facts().is(what::REWRITES);
    if !rewrites && !leads {
        return false;
    }
    if super::sctp::is_unfit(packet) && tracked.new_key(packet)[4] != tracked.key[4] {
        // The first goes nowhere.
        return false;
    }
    let (key, now) = (tracked.quote, cells.now());
    let hash = flow::hash(key, settings.seed);
    // An identification is used again sooner than it is forgotten.
    table::forget(cells, table::find(cells, &key, hash), hash);
    let ([a, b], [c, d]) = (packet.source, packet.destination);
    table::insert(cells, &key, hash, now, 0, |row| {
        row.set(word::NEW_SOURCE, a);
        row.set(word::NEW_SOURCE + 1, b);
        row.set(word::NEW_DESTINATION, c);
        row.set(word::NEW_DESTINATION + 1, d);
        let kind = kind::FRAGMENT | if rewrites { kind::REWRITES } else { 0 };
        row.set(word::REWRITE, u64::from(kind));
        row.set(word::STATE, 0);
        let time = if rewrites { TIME } else { SHORT };
        row.set(word::SEEN, u64::from(time) << 32 | u64::from(now));
        row.set(word::WAY, u64::from(packet.link()) << 32);
        row.set(word::BACKEND, 0);
        row.set(word::OCTETS, 0);
    });
    shelf::waits(cells, tracked)
}
