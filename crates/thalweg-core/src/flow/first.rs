//! First packets of flows in one straight line: a backend, a way, what policies say, two rows, and away.
//!
//! Only what nearly all of them need is here. All else (a client that keeps its backend, a source that is
//! translated, a gate, a rule that logs or denies, a key that may have a row, a full bucket) is left to the full
//! pipeline, which begins anew; so nothing is written before everything is known. The rows are those that
//! [`super::remember`] would write.
//!
//! Most of what a first packet costs is waiting for memory: slots and rows of both directions lie anywhere in
//! the table. All of them are asked for at once ([`table::fetch`]) as soon as both keys are known, and the rest
//! is looked up meanwhile. Both slots are claimed before the first row is written: an exchange waits until all
//! that was written before has arrived.

use super::fast::{is_plain, is_usable, readdress};
use super::key::{Key, key, reversed};
use super::policy::{self, SILENT, Talk};
use super::service::{backend_of, choice_of, frontend_of, may_be_vip};
use super::state::{next, tcp, timeout_of};
use super::table::{self, Home};
use super::track::Tracked;
use super::{Flows, Words, gate, nat, translate, unfit};
use crate::decide::decide_usual;
use crate::frame::Frame;
use crate::packet::{Arrival, Packet};
use crate::{Kind, Outcome, Reason, Verdict};
use thalweg_abi::flow::{self, kind, state, word};
use thalweg_abi::policy as rules;
use thalweg_abi::{BackendRow, NextHopRow, SettingsRow, link, nexthop, service};
use thalweg_wire::l4::protocol;

/// What rows of both directions say alike.
struct Common {
    kind: u32,
    backend: u64,
    state: u8,
    seen: u64,
}

/// Reads a packet that a flow may begin with ([`super::fast::BEGINS`]), finds out whom it is for, and gives it to a
/// backend if that is a service. False if the packet is the full pipeline's.
#[inline(always)]
pub fn serve<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    arrival: Arrival,
) -> bool {
    *packet = Packet::new(arrival, cells.blur(0));
    let plain = is_plain(frame, cells, packet, arrival.device);
    let Some(settings) = cells.settings().filter(|_| plain) else { return false };
    if !is_simple(&settings, packet) {
        return false;
    }
    tracked.key = key(packet, packet.ports());
    tracked.node = 0;
    let vip = may_be_vip(cells, packet.destination);
    let (port, protocol) = (packet.ports() as u16, packet.protocol());
    let found = if vip { frontend_of(cells, packet.destination, port, protocol) } else { 0 };
    if found != 0 {
        // One path for the verifier, whoever serves.
        let at = cells.blur(serving(cells, packet, &tracked.key, found).into()) as u32;
        let Some(backend) = cells.backend(at.wrapping_sub(1)) else { return false };
        if !give(packet, &backend) {
            return false;
        }
        tracked.node = backend.id;
    } else if packet.ports() == 0
        || packet.source == packet.destination
        || vip && frontend_of(cells, packet.destination, 0, 0) != 0
    {
        return false;
    }
    tracked.work = [reversed(key(packet, packet.ports())), reversed(tracked.key)];
    // What leads to nobody who serves may not begin a flow at all.
    if tracked.node != 0 {
        fetch(cells, &settings, tracked);
    }
    true
}

/// Asks for everything in the flow table that the rows of a packet will need.
#[inline(always)]
fn fetch<C: Flows>(cells: &C, settings: &SettingsRow, tracked: &Tracked) {
    let mask = cells.in_force().mask;
    let hashes = [&tracked.key, &tracked.work[0]].map(|key| flow::hash(*key, settings.seed));
    table::fetch(cells, hashes, mask);
}

/// Writes the rows of the flow of a packet whose [`way`] is known. False, and nothing is written, if that
/// is the full pipeline's.
#[inline(always)]
pub fn begin<C: Flows>(cells: &C, packet: &Packet, tracked: &Tracked, nexthop: u32) -> bool {
    let Some(settings) = cells.settings() else { return false };
    let in_force = cells.in_force();
    let hashes = [&tracked.key, &tracked.work[0]].map(|key| flow::hash(*key, settings.seed));
    let forth = Home::of(cells, hashes[0], in_force.mask);
    let back = Home::of(cells, hashes[1], in_force.mask);
    let (Some(forth), Some(back)) = (forth, back) else { return false };
    if !back.has_none() || !forth.has_none() || !cells.holds() {
        return false;
    }
    // As the full pipeline does: that of answers first.
    let answers = cells.blur(back.claim_free(cells).into()) as u32;
    let own = if answers != 0 { forth.claim_free(cells) } else { 0 };
    let own = cells.blur(own.into()) as u32;
    let rows = (cells.flow(own.wrapping_sub(1)), cells.flow(answers.wrapping_sub(1)));
    // Each claims before it looks, so that of two processors with one key one sees the other at least.
    let alone = own != 0 && forth.has_one() && back.has_one();
    let (Some(row), Some(other), true) = (rows.0, rows.1, alone) else {
        back.settle(cells, answers, false);
        forth.settle(cells, own, false);
        return false;
    };
    let common = common(&settings, packet, tracked.node, cells.now());
    table::put(&other, &tracked.work[0], |row| {
        fill(row, &tracked.work[1], kind::ANSWERS, &common, 0);
    });
    let way = u64::from(nexthop) | u64::from(packet.link()) << 32;
    table::put(&row, &tracked.key, |row| fill(row, &reversed(tracked.work[0]), 0, &common, way));
    back.settle(cells, answers, true);
    forth.settle(cells, own, true);
    forth.stamp(cells, &row, own, in_force.stamp);
    if settings.policy != 0 {
        count(cells, tracked.talk[0]);
        count(cells, tracked.talk[1]);
    }
    true
}

/// Counts what has decided, as [`policy::note`] does.
#[inline(always)]
fn count<C: Flows>(cells: &C, cell: u64) {
    if cell != SILENT && !rules::goes_on(cell) {
        cells.hit(rules::cause(cell));
    }
}

/// Rewrites the frame of a packet that was given to a backend by [`serve`], and has its rows by [`begin`].
#[inline(always)]
pub fn depart<F: Frame, C: Flows>(
    frame: &mut F,
    cells: &C,
    packet: &Packet,
    tracked: &Tracked,
    nexthop: u32,
) -> Outcome {
    let Some(hop) = cells.nexthop(nexthop) else {
        return Outcome::stop(Verdict::drop(Reason::Broken));
    };
    let rewrites = tracked.node != 0;
    if rewrites && !translate(frame, packet, &tracked.key, &key(packet, packet.ports())) {
        return Outcome::stop(Verdict::drop(unfit(packet)));
    }
    readdress(frame, packet, &hop);
    Outcome { verdict: Verdict::forward(Reason::Route), device: hop.device }
}

/// Whether nothing but services and policies has a say in what becomes of a packet.
#[inline(always)]
fn is_simple(settings: &SettingsRow, packet: &Packet) -> bool {
    let unlimited = settings.quota == 0 || !packet.link_has(link::flag::WORKLOAD);
    unlimited && !packet.link_has(link::flag::UNTRACKED | link::flag::HOST)
}

/// The next hop has to be asked for by [`permits`].
pub const ASKS: u64 = 1 << 32;

/// The next hop of a packet that [`serve`] has seen, which leaves as it is, with [`ASKS`] where there are policies;
/// 0 if there is none, or it asks for more, or no flow begins.
#[inline(always)]
pub fn way<C: Flows>(cells: &C, packet: &Packet, tracked: &Tracked) -> u64 {
    let decision = decide_usual(packet, cells);
    let Some(hop) = cells.nexthop(decision.nexthop()) else { return 0 };
    let forwards = decision.verdict.is(Kind::Forward);
    if !forwards || !is_usable(cells, &hop, packet) || !nat::is_kept(cells, packet, &hop) {
        return 0;
    }
    let Some(settings) = cells.settings() else { return 0 };
    if tracked.node == 0 {
        if !is_remembered(packet, &hop) {
            return 0;
        }
        fetch(cells, &settings, tracked);
    }
    let asks = settings.policy != 0;
    if asks && gate::stands_between(cells, packet.link(), hop.link) {
        return 0;
    }
    u64::from(decision.nexthop()) | if asks { ASKS } else { 0 }
}

/// Whether a flow of no service begins: with what workloads send or get.
#[inline(always)]
fn is_remembered(packet: &Packet, hop: &NextHopRow) -> bool {
    packet.link_has(link::flag::WORKLOAD) || hop.flags & nexthop::flag::WORKLOAD != 0
}

/// Whether policies let a packet pass that [`serve`] has seen, and have nothing to tell. What they said is kept for
/// [`begin`].
#[inline(always)]
pub fn permits<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> bool {
    let [a, b, c, d, tail] = tracked.key;
    let workload = packet.link_has(link::flag::WORKLOAD);
    let ports = (tail >> 48 << 16) as u32 | packet.ports() & 0xffff;
    let talk = Talk {
        source: [a, b],
        destination: packet.destination,
        ports,
        first: [c, d],
        first_ports: (tail >> 32) as u32,
        answers: false,
        from: if workload { cells.link(packet.link()).map_or(0, |row| row.policy) } else { 0 },
    };
    let [going, coming] = policy::ask(cells, &talk, packet.family(), packet.protocol(), false);
    (tracked.talk[0], tracked.talk[1]) = (going, coming);
    passes(going) && passes(coming)
}

/// Whether a cell lets a packet pass and tells nobody.
#[inline(always)]
fn passes(cell: u64) -> bool {
    cell == SILENT || !rules::logs(cell) && (rules::goes_on(cell) || rules::allows(cell))
}

/// The row of the backend that a frontend chooses for a packet, counted from 1; 0 if it has none, or asks for more.
#[inline(always)]
fn serving<C: Flows>(cells: &C, packet: &Packet, key: &Key, frontend: u32) -> u32 {
    let Some(row) = cells.frontend(frontend.wrapping_sub(1)) else { return 0 };
    let (choice, _) = choice_of(&row, packet);
    let special = match packet.link_has(link::flag::WORKLOAD) {
        true => service::flag::FLOATING,
        false => service::flag::FLOATING | service::flag::MASQUERADE | service::flag::DIRECT,
    };
    if row.flags & special != 0 || row.ranges_len != 0 || row.affinity != 0 || choice.size == 0 {
        return 0;
    }
    backend_of(cells, &choice, key).wrapping_add(1)
}

/// Gives a packet to a backend. False if that has an address of another node, or is the sender itself.
#[inline(always)]
fn give(packet: &mut Packet, backend: &BackendRow) -> bool {
    if backend.node != 0 || packet.source == backend.address {
        return false;
    }
    packet.destination = backend.address;
    packet.ports = u64::from(packet.ports() >> 16 << 16 | u32::from(backend.port));
    packet.ports() != 0
}

#[inline(always)]
fn common(settings: &SettingsRow, packet: &Packet, backend: u64, now: u32) -> Common {
    let state = match packet.protocol() {
        protocol::TCP => next(state::NONE, protocol::TCP, false, tcp::SYN),
        other => next(state::NONE, other, false, 0),
    };
    let timeout = settings.timeouts[timeout_of(packet.protocol(), state) % settings.timeouts.len()];
    let kind = if backend != 0 { kind::REWRITES | kind::SERVICE } else { 0 };
    Common { kind, backend, state, seen: u64::from(timeout) << 32 | u64::from(now) }
}

#[inline(always)]
fn fill<W: Words>(row: &W, new: &Key, kind: u32, common: &Common, way: u64) {
    row.set(word::NEW_SOURCE, new[0]);
    row.set(word::NEW_SOURCE + 1, new[1]);
    row.set(word::NEW_DESTINATION, new[2]);
    row.set(word::NEW_DESTINATION + 1, new[3]);
    row.set(word::REWRITE, new[4] >> 32 << 32 | u64::from(common.kind | kind));
    row.set(word::STATE, common.state.into());
    row.set(word::SEEN, common.seen);
    row.set(word::WAY, way);
    row.set(word::BACKEND, common.backend);
    row.set(word::OCTETS, 0);
}
