//! Gates: what a host says at its links of what ends or begins at it, and of what it passes on.
//!
//! A packet comes in by a gate and leaves by another, and each says its part, once for a flow and again when
//! tables have changed. What was translated is asked about as it came first, then as those who really speak
//! have it. What no gate stands at passes.

use super::policy::{NOTHING, SILENT, deny, half, is_asked, record, talk};
use super::track::{Tracked, icmp_of, what};
use super::{Flows, link_of, log};
use crate::frame::Frame;
use crate::packet::{self, Packet};
use crate::{Decision, Kind, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::link;
use thalweg_abi::policy::{self, PAGE, flag, fork, gate, head, local};
use thalweg_wire::l4::protocol::has_ports;

/// In the place of a link: this host itself.
pub const HERE: u32 = 0;
/// In the place of a link: somewhere that no gate stands at.
pub const ELSEWHERE: u32 = u32::MAX;

/// One end of a packet's way through this host.
#[derive(Clone, Copy)]
struct End {
    /// Line of the gate; 0 for none.
    gate: u32,
    /// Whether a workload is there.
    workload: bool,
    /// Whether it is this host itself.
    here: bool,
}

/// What a fork is asked about, of what [`prepare`] has noted.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Side {
    /// What comes in, as it came first.
    Before = 0,
    /// What comes in.
    In = 1,
    /// What leaves.
    Out = 2,
}

/// Functions that the kernel's verifier checks once each; elsewhere plain calls.
pub trait Asks {
    /// [`ask`].
    fn ask(&self, tracked: &Tracked, fork: u32, side: u32) -> u64;
}

/// Plain calls.
pub struct Plain<'a, C> {
    /// The tables.
    pub cells: &'a C,
    /// The packet.
    pub packet: &'a Packet,
}

impl<C: Flows> Asks for Plain<'_, C> {
    fn ask(&self, tracked: &Tracked, fork: u32, side: u32) -> u64 {
        ask(self.cells, self.packet, tracked, fork, side)
    }
}

/// A way that no gate is asked about.
pub const UNASKED: u64 = between(ELSEWHERE, ELSEWHERE);

/// Notes what gates are to be asked about a packet, and the way of who began what it belongs to; [`UNASKED`] if
/// there is nothing to ask.
#[inline(always)]
pub fn prepare<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked, way: u64) {
    tracked.work[0][WAY] = UNASKED;
    let at = cells.settings().map_or(0, |row| row.policy);
    let Some(first) = cells.policy(at).filter(|_| at != 0) else { return };
    let all = first[head::ALL] as u32;
    let stands = |link: u64| end(cells, all, link as u32).gate != 0;
    let asks = stands(way >> 32) || stands(way) || first[head::FLAGS] & TO_HOST != 0;
    // An error about nothing that is known is a packet like any other.
    if !asks || !is_asked(packet, tracked, what::RELATED) {
        return;
    }
    let found = tracked.facts().found();
    let Some(talk) = talk(cells, packet, tracked, found) else { return };
    let class = |address| class(cells, address, packet.family());
    let destination = class(talk.destination);
    let first = if talk.first == talk.destination { destination } else { class(talk.first) };
    log::speak(tracked, talk.source, talk.destination, talk.ports);
    tracked.work[0] = [
        pair(class(talk.source), destination),
        pair(first, talk.ports),
        talk.first_ports.into(),
        if talk.answers { way.rotate_left(32) } else { way },
        0,
    ];
}

/// Two numbers of 32 bits.
#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// The word of [`Tracked::work`] with the way.
const WAY: usize = 3;

/// The class of an address, whosever it is.
#[inline(always)]
fn class<C: Flows>(cells: &C, address: [u64; 2], family: u8) -> u32 {
    let at = cells.settings().map_or(0, |row| row.policy);
    record(cells, at, cells.policy_value(address, family))[local::CLASS] as u32
}

/// A way from one link (high half) to another; [`HERE`] for this host, [`ELSEWHERE`] for what no gate stands at.
#[inline(always)]
pub const fn between(came: u32, goes: u32) -> u64 {
    (came as u64) << 32 | goes as u64
}

/// The way of a packet that was decided. What comes out of a tunnel or goes into one passes no gate: the tunnel
/// did.
#[inline(always)]
pub fn way<C: Flows>(cells: &C, packet: &Packet, decision: &Decision, opened: bool) -> u64 {
    let verdict = decision.verdict;
    let here = verdict.is(Kind::Deliver);
    if !here && !verdict.is(Kind::Forward) && !verdict.is(Kind::Punt) {
        return between(ELSEWHERE, ELSEWHERE);
    }
    let goes = match decision.nexthop() {
        _ if here => HERE,
        0 => ELSEWHERE,
        _ if packet.has(packet::flag::TUNNEL) => ELSEWHERE,
        nexthop => link_of(cells, nexthop),
    };
    between(if opened { ELSEWHERE } else { packet.link() }, goes)
}

/// Breaks with the verdict of a packet that gates do not let pass, by what [`prepare`] has noted.
#[inline(always)]
pub fn pass<C: Flows>(cells: &C, tracked: &mut Tracked, asks: &impl Asks) -> ControlFlow<Verdict> {
    let way = tracked.work[0][WAY];
    if way == UNASKED {
        return ControlFlow::Continue(());
    }
    let at = cells.settings().map_or(0, |row| row.policy);
    let Some(first) = cells.policy(at).filter(|_| at != 0) else {
        return ControlFlow::Continue(());
    };
    let (all, flags) = (first[head::ALL] as u32, first[head::FLAGS]);
    let ends = [end(cells, all, (way >> 32) as u32), end(cells, all, way as u32)];
    let to_host = if flags & flag::TO_HOST_DROPS != 0 { first[head::TO_HOST] } else { SILENT };
    let entry = comes_in(cells, tracked, asks, ends, (flags, to_host));
    let denied = cells.policy_note(tracked, entry) || {
        let exit = leaves(cells, tracked, asks, ends);
        cells.policy_note(tracked, exit)
    };
    match denied {
        // Its flow stays, so that either side is asked about who began it as long as they go on: what is amid a
        // connection and not known would be asked about as if it began one.
        true => ControlFlow::Break(deny(cells, tracked, 0, at)),
        false => ControlFlow::Continue(()),
    }
}

/// What workloads say to their host is not let through as it is.
const TO_HOST: u64 = flag::TO_HOST_DROPS | flag::TO_HOST_ASKS;

#[inline(always)]
fn end<C: Flows>(cells: &C, all: u32, link: u32) -> End {
    match cells.link(link) {
        _ if link == HERE => End { gate: 0, workload: false, here: true },
        Some(row) if row.flags & link::flag::WORKLOAD != 0 => {
            End { gate: all, workload: true, here: false }
        }
        Some(row) => End { gate: row.policy, workload: false, here: false },
        None => End { gate: 0, workload: false, here: false },
    }
}

/// The cell about what comes in. `drops` is that of what workloads say to their host, if it denies.
#[inline(always)]
fn comes_in<C: Flows>(
    cells: &C,
    tracked: &mut Tracked,
    asks: &impl Asks,
    [from, to]: [End; 2],
    (flags, drops): (u64, u64),
) -> u64 {
    let to_host = from.workload && to.here;
    let Some(gate) = cells.policy(from.gate).filter(|_| from.gate != 0) else {
        return if to_host { drops } else { SILENT };
    };
    let before = asks.ask(tracked, gate[gate::BEFORE] as u32, Side::Before as u32);
    let decides = before != SILENT && !policy::goes_on(before);
    if decides && !(to_host && drops != SILENT && policy::allows(before)) {
        return before;
    }
    // What goes on may have passed rules that log.
    cells.policy_note(tracked, before);
    if to_host && flags & flag::TO_HOST_ASKS == 0 {
        return drops;
    }
    let stage = if to.here { gate[gate::LOCAL] } else { gate[gate::FORWARD] };
    asks.ask(tracked, stage as u32, Side::In as u32)
}

/// The cell about what leaves. A host reaches its workloads.
#[inline(always)]
fn leaves<C: Flows>(
    cells: &C,
    tracked: &mut Tracked,
    asks: &impl Asks,
    [from, to]: [End; 2],
) -> u64 {
    if to.gate == 0 || from.here && to.workload {
        return SILENT;
    }
    let Some(gate) = cells.policy(to.gate) else { return NOTHING };
    if !to.workload {
        let untracked = (gate[gate::UNTRACKED] >> 32) as u32;
        let cell = asks.ask(tracked, untracked, Side::Out as u32);
        if cell != SILENT && !policy::goes_on(cell) {
            return cell;
        }
        cells.policy_note(tracked, cell);
    }
    let stage = if from.here { gate[gate::LOCAL] } else { gate[gate::FORWARD] };
    asks.ask(tracked, (stage >> 32) as u32, Side::Out as u32)
}

/// The cell of a fork about a [`Side`] of what [`prepare`] has noted; [`SILENT`] where there is no fork.
#[inline(always)]
pub fn ask<C: Flows>(cells: &C, packet: &Packet, tracked: &Tracked, fork: u32, side: u32) -> u64 {
    if fork == 0 {
        return SILENT;
    }
    let work = &tracked.work[0];
    let (source, destination) = (work[0] as u32, (work[0] >> 32) as u32);
    let (own, other, ports) = match side {
        0 => (work[1] as u32, source, work[2]),
        1 => (destination, source, work[1] >> 32),
        _ => (source, destination, work[1] >> 32),
    };
    cells.policy_cell(set_of(cells, fork, own), other, packet.protocol(), ports as u32)
}

/// The set that a fork leads a class to.
#[inline(always)]
fn set_of<C: Flows>(cells: &C, line: u32, class: u32) -> u32 {
    let Some(line) = cells.policy(line) else { return 0 };
    let page = class / PAGE;
    let others = line[fork::OTHERS] as u32;
    if page >= (line[fork::PAGES] >> 32) as u32 {
        return others;
    }
    let set = match half(cells, line[fork::PAGES] as u32, page) {
        0 => 0,
        page => half(cells, page, class % PAGE),
    };
    if set == 0 { others } else { set }
}

/// Untracked rules say nothing.
pub const NOTHING_SAID: u32 = 0;
/// Untracked rules let a packet pass: it belongs to no flow, and nobody else is asked.
pub const LET_PASS: u32 = 1;
/// Untracked rules deny a packet.
pub const DENIED: u32 = 2;

/// Asks the untracked rules at a link about a packet that came in by it, whatever it belongs to. True if they deny
/// it; of one that they allow it is noted ([`packet::flag::UNTRACKED`]).
#[inline(always)]
pub fn untracked<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> bool {
    (tracked.cause, tracked.facts, tracked.icmp) = (0, 0, icmp_of(frame, packet));
    match alone(cells, packet, tracked, false) {
        NOTHING_SAID => false,
        DENIED => true,
        _ => {
            packet.flags |= u64::from(packet::flag::UNTRACKED);
            false
        }
    }
}

/// What the untracked rules at a link say of a packet that comes in by it or leaves by it (`out`), by itself.
#[inline(always)]
pub fn alone<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked, out: bool) -> u32 {
    let gate = cells.link(packet.link()).map_or(0, |row| row.policy);
    let forks = cells.policy(gate).map_or(0, |line| line[gate::UNTRACKED]);
    let fork = if out { (forks >> 32) as u32 } else { forks as u32 };
    if fork == 0 || gate == 0 || packet.depth() != 0 || packet.family() == 0 {
        return NOTHING_SAID;
    }
    let class = |address| class(cells, address, packet.family());
    let (mut own, mut other) = (packet.destination, packet.source);
    if out {
        core::mem::swap(&mut own, &mut other);
    }
    let ports = match has_ports(packet.protocol()) {
        true => packet.ports(),
        false => tracked.icmp as u32,
    };
    let set = set_of(cells, fork, class(own));
    let cell = cells.policy_cell(set, class(other), packet.protocol(), ports);
    if policy::logs(cell) {
        log::speak(tracked, packet.source, packet.destination, ports);
    }
    let denies = cells.policy_note(tracked, cell);
    if policy::goes_on(cell) {
        return NOTHING_SAID;
    }
    if !denies {
        return LET_PASS;
    }
    cells.blame(crate::Reason::Policy, tracked.cause as u32);
    DENIED
}

/// Whether a gate stands at a link.
#[inline(always)]
pub fn is_at<C: Flows>(cells: &C, link: u32) -> bool {
    let stands = |row: C::Ref<thalweg_abi::LinkRow>| {
        row.flags & link::flag::WORKLOAD == 0 && row.policy != 0
    };
    link != ELSEWHERE && link != HERE && cells.link(link).is_some_and(stands)
}

/// Whether a gate stands at the link that a packet came by, or at that of its next hop.
#[inline(always)]
pub fn is_between<C: Flows>(cells: &C, packet: &Packet, nexthop: u32) -> bool {
    is_at(cells, packet.link()) || nexthop != 0 && is_at(cells, link_of(cells, nexthop))
}

/// Whether anybody is asked about what comes by one link and leaves by another: at a gate of either, or at that
/// which stands before all workloads.
#[inline(always)]
pub(super) fn stands_between<C: Flows>(cells: &C, came: u32, goes: u32) -> bool {
    let at = cells.settings().map_or(0, |row| row.policy);
    let all = cells.policy(at).map_or(0, |first| first[head::ALL] as u32);
    end(cells, all, came).gate | end(cells, all, goes).gate != 0
}
