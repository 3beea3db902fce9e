//! Policies: who may begin a flow with whom.
//!
//! Whoever begins a flow is judged once, and again when the tables have changed since: what then is not
//! allowed any more ends at its next packet, in either direction. Answers follow their flow. What is asked is
//! who really speaks to whom: the source before, the destination after translation.
//!
//! A decision takes the same few reads whatever the number of rules and addresses; see
//! [`thalweg_abi::policy`].

use super::key::reversed;
use super::track::{Tracked, leaving, what};
use super::{Flows, Words, gate, log, table};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, kind, word};
use thalweg_abi::policy::{
    self, BUCKET6, ENTRIES6, HEAD, LOCAL, Line, PAGE, PROBES, VALUE, head, local, local_flag, root,
    set,
};
use thalweg_abi::{link, settings};
use thalweg_wire::l4::protocol;

/// No cell: what cannot be read allows nothing.
pub const NOTHING: u64 = 0;
/// The cell of a side that has no rules.
pub const SILENT: u64 = policy::cell(u16::MAX, true, 0);
/// Most steps of a search among ports.
const PORT_STEPS: u32 = 17;
/// Most steps of a search among lengths of prefixes.
const LENGTH_STEPS: u32 = 8;

/// A conversation as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Who began it; halves as in a packet.
    pub source: [u64; 2],
    /// Whom it reaches.
    pub destination: [u64; 2],
    /// Source port (high half) and destination port; of ICMP type × 256 + code.
    pub ports: u32,
    /// Whom it was for when it came first, before any translation.
    pub first: [u64; 2],
    /// The ports that it had then, likewise.
    pub first_ports: u32,
    /// Whether the packet in hand answers it.
    pub answers: bool,
    /// Whose link it came by, if the source is the workload there: [`link::flag::WORKLOAD`]'s
    /// [`thalweg_abi::LinkRow::policy`]. Its link-local addresses are nobody's elsewhere.
    pub from: u32,
}

impl Talk {
    /// The first packet of one that is not translated.
    pub const fn plain(source: [u64; 2], destination: [u64; 2], ports: u32) -> Self {
        let (first, first_ports) = (destination, ports);
        Self { source, destination, ports, first, first_ports, answers: false, from: 0 }
    }
}

/// Breaks with the verdict of a packet that policies do not allow. What decides is noted.
#[inline(always)]
pub fn permit<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> ControlFlow<Verdict> {
    tracked.cause = 0;
    let at = cells.settings().map_or(0, |row| row.policy);
    if at == 0 || !is_asked(packet, tracked, what::ERROR) {
        return ControlFlow::Continue(());
    }
    let found = tracked.facts().found();
    let Some(talk) = talk(cells, packet, tracked, found) else { return ControlFlow::Continue(()) };
    if talk.source == talk.destination {
        return ControlFlow::Continue(());
    }
    match judge(cells, packet, &talk, tracked) {
        true => ControlFlow::Break(deny(cells, tracked, found, at)),
        false => ControlFlow::Continue(()),
    }
}

/// The verdict of a packet that is denied; its flow ends, if it has one (`found`).
#[inline(always)]
pub(super) fn deny<C: Flows>(cells: &C, tracked: &Tracked, found: u32, at: u32) -> Verdict {
    cells.blame(Reason::Policy, tracked.cause as u32);
    if found != 0 {
        revoke(cells, tracked, found);
    }
    let rejects =
        cells.policy(at).is_some_and(|line| line[head::FLAGS] & policy::flag::REJECTS != 0);
    match rejects {
        true => Verdict::answer(Reason::Policy),
        false => Verdict::drop(Reason::Policy),
    }
}

/// Whether policies are asked about a packet: not about errors (those with the fact `follows`) and fragments, which
/// follow what they belong to, nor about how hosts of a link find each other on it (RFC 4861, RFC 2710, RFC 3810). What only looks like
/// that, and would leave the link, is asked about like anything else.
#[inline(always)]
pub(super) fn is_asked(packet: &Packet, tracked: &Tracked, follows: u16) -> bool {
    let passes = flag::LATER_FRAGMENT | flag::UNTRACKED;
    let follows = tracked.facts().is(follows) || packet.has(passes);
    let here = packet.destination[0] >> 54 == 0x3fa || packet.destination[0] >> 56 == 0xff;
    let neighbors = packet.protocol() == protocol::ICMPV6
        && packet.family() == 6
        && here
        && matches!((tracked.icmp >> 8) as u8, 130..=137 | 143);
    packet.depth() == 0 && packet.family() != 0 && !follows && !neighbors
}

/// Who speaks to whom. None for a known flow that was judged by these tables already.
#[inline(always)]
pub(super) fn talk<C: Flows>(
    cells: &C,
    packet: &Packet,
    tracked: &Tracked,
    found: u32,
) -> Option<Talk> {
    let mut came = tracked.key;
    if !tracked.facts().is(what::KEYED) {
        came = super::key::key(packet, packet.ports());
    }
    let (mut answers, mut source, mut destination) =
        (false, [came[0], came[1]], packet.destination);
    let goes = (tracked.new_key(packet)[4] >> 32) as u32;
    let mut ports = (came[4] >> 48 << 16) as u32 | goes & 0xffff;
    let mut asked_for = ([came[2], came[3]], (came[4] >> 32) as u32);
    if let Some(row) = cells.flow(found.wrapping_sub(1)) {
        if is_judged(cells, row.get(word::STAMP)) {
            return None;
        }
        answers = row.get(word::REWRITE) as u32 & kind::ANSWERS != 0;
        let leaves = leaving(&row, &came);
        let (first, last) = match answers {
            true => (reversed(leaves), reversed(came)),
            false => (came, leaves),
        };
        source = [first[0], first[1]];
        destination = [last[2], last[3]];
        ports = (first[4] >> 48 << 16) as u32 | (last[4] >> 32) as u32 & 0xffff;
        asked_for = ([first[2], first[3]], (first[4] >> 32) as u32);
    }
    if !protocol::has_ports(packet.protocol()) {
        ports = asked(packet, tracked.icmp as u16, answers);
        asked_for.1 = ports;
    }
    let (first, first_ports) = asked_for;
    let workload = packet.link_has(link::flag::WORKLOAD) && !answers;
    let from = if workload { cells.link(packet.link()).map_or(0, |row| row.policy) } else { 0 };
    Some(Talk { source, destination, ports, first, first_ports, answers, from })
}

/// Whether what is stamped so was judged by the tables in force.
#[inline(always)]
pub(super) fn is_judged<C: Flows>(cells: &C, stamp: u64) -> bool {
    stamp == cells.stamp() || stamp == flow::stays(cells.stamp())
}

/// Type × 256 + code of what began an ICMP flow; 0 for protocols that have nothing of the kind.
#[inline(always)]
fn asked(packet: &Packet, icmp: u16, answers: bool) -> u32 {
    let query = match (packet.protocol(), packet.family()) {
        (protocol::ICMP, 4) if answers && icmp >> 8 == 0 => 8 << 8,
        (protocol::ICMP, 4) if answers && icmp >> 8 == 14 => 13 << 8,
        (protocol::ICMPV6, 6) if answers && icmp >> 8 == 129 => 128 << 8,
        (protocol::ICMP | protocol::ICMPV6, _) => icmp,
        _ => 0,
    };
    query.into()
}

/// Whether either side's rules deny it.
#[inline(always)]
fn judge<C: Flows>(cells: &C, packet: &Packet, talk: &Talk, tracked: &mut Tracked) -> bool {
    let (family, protocol) = (packet.family(), packet.protocol());
    let host = packet.link_has(link::flag::HOST);
    // Before they are asked: behind that, the kernel's stack is too small to know it still.
    log::speak(tracked, talk.source, talk.destination, talk.ports);
    let [going, coming] = ask(cells, talk, family, protocol, host);
    cells.policy_note(tracked, going) || cells.policy_note(tracked, coming)
}

/// The cells of both sides about a conversation: of the source's rules for what goes, and of the destination's
/// for what comes; [`SILENT`] where it has none. `number` is that of the protocol.
#[inline(always)]
pub fn ask<C: Flows>(cells: &C, talk: &Talk, family: u8, number: u8, host: bool) -> [u64; 2] {
    let at = cells.settings().map_or(0, |row| row.policy);
    let mut value = cells.policy_value(talk.source, family);
    if value & LOCAL == 0 && talk.from != 0 {
        value = LOCAL | (talk.from - 1);
    }
    let source = record(cells, at, value);
    let destination = record(cells, at, cells.policy_value(talk.destination, family));
    let going = (source[local::SETS] >> 32) as u32;
    let coming = destination[local::SETS] as u32;
    let is_host = |record: [u64; 2]| (record[local::CLASS] >> 32) as u32 & local_flag::HOST != 0;
    let host = host || is_host(source);
    // A host asks its workloads where they are, from whatever address it has.
    let neighbors = number == protocol::ICMPV6 && matches!(talk.ports >> 8, 133..=136);
    [
        match going {
            0 => SILENT,
            _ if neighbors && is_host(destination) => SILENT,
            set => cells.policy_cell(set, destination[local::CLASS] as u32, number, talk.ports),
        },
        match coming {
            // A host reaches its workloads.
            0 => SILENT,
            _ if host => SILENT,
            set => cells.policy_cell(set, source[local::CLASS] as u32, number, talk.ports),
        },
    ]
}

/// Notes what has decided, and which rules were passed that log. Whether it denies: what cannot be read does.
#[inline(always)]
pub fn note<C: Flows>(cells: &C, tracked: &mut Tracked, cell: u64) -> bool {
    let (goes_on, number) = (policy::goes_on(cell), policy::cause(cell));
    // What denies is told with the frame that is discarded.
    let tells = policy::logs(cell) && (goes_on || policy::allows(cell));
    let told = tells && log::note(tracked, number);
    if cell == SILENT || goes_on && !told {
        return false;
    }
    cells.hit(number);
    if goes_on {
        return false;
    }
    tracked.cause = log::cause(cell);
    !policy::allows(cell)
}

/// The words of a local record; of any other address its class, and no sets.
#[inline(always)]
pub(super) fn record<C: Flows>(cells: &C, at: u32, value: u32) -> [u64; 2] {
    if value & LOCAL == 0 {
        return [value.into(), 0];
    }
    let number = value & (LOCAL - 1);
    let Some(first) = cells.policy(at) else { return [0; 2] };
    let first = first[head::LOCALS] as u32;
    let place = (number % (policy::WORDS / local::WORDS) * local::WORDS) as usize & 6;
    match cells.policy(first.wrapping_add(number / (policy::WORDS / local::WORDS))) {
        Some(line) => [line[place], line[place + 1]],
        None => [0; 2],
    }
}

/// Ends a flow: both of its rows go.
#[inline(always)]
fn revoke<C: Flows>(cells: &C, tracked: &Tracked, found: u32) {
    let seed = cells.settings().map_or(0, |row| row.seed);
    let Some(row) = cells.flow(found - 1) else { return };
    let back = reversed(leaving(&row, &tracked.key));
    table::forget(cells, found, flow::hash(tracked.key, seed));
    let hash = flow::hash(back, seed);
    table::forget(cells, table::find(cells, &back, hash), hash);
}

/// What the longest prefix around an address comes to; 0 if there is none. Blocks of IPv4 may say it at once;
/// else the whole address is asked first, then what is left of the lengths is halved.
#[inline(always)]
pub fn value<C: Flows>(
    cells: &C,
    address: [u64; 2],
    family: u8,
    find: impl Fn([u64; 2], u8) -> u32,
) -> u32 {
    let at = cells.settings().map_or(0, |row| row.policy);
    let Some(first) = cells.policy(at) else { return 0 };
    let counts = first[head::LOCALS] >> 32;
    let (lengths, count, bits) = match family {
        4 => (at + 1, counts & 0xffff, 32),
        _ => (at + 2, counts >> 16, 128),
    };
    let block = block_of(cells, &first, address, family);
    if block & root::FINAL != 0 {
        return block & VALUE;
    }
    let whole = find(address, bits);
    if whole != 0 {
        return whole - 1;
    }
    if block & root::EXACT != 0 {
        return block & VALUE;
    }
    let (mut low, mut high) = (0u32, (count as u32).min(255));
    let mut best = 0;
    for _ in 0..LENGTH_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let length = match cells.policy(lengths + middle / 64) {
            Some(line) => (line[(middle as usize / 8) & 7] >> (middle % 8 * 8)) as u8,
            None => 0,
        };
        let found = find(policy::masked(address, length, family), length);
        if found != 0 {
            // One more than the value, so that nothing is told from class 0.
            best = found - 1;
            low = middle + 1;
        } else {
            high = middle;
        }
        low = cells.blur(low.into()) as u32 & 0xff;
        high = cells.blur(high.into()) as u32 & 0xff;
    }
    best
}

/// What the block of an address is known to come to ([`root`]); 0 for nothing.
#[inline(always)]
fn block_of<C: Flows>(cells: &C, first: &Line, address: [u64; 2], family: u8) -> u32 {
    match (family, first[head::ROOT4] as u32) {
        (4, table) if table != 0 => half(cells, table, address[1] as u32 >> root::SHIFT),
        _ => 0,
    }
}

/// What this very prefix comes to, plus one; 0 if it is not there.
#[inline(always)]
pub fn find<C: Flows>(cells: &C, prefix: [u64; 2], length: u8, family: u8) -> u32 {
    let at = cells.settings().map_or(0, |row| row.policy);
    let Some(first) = cells.policy(at) else { return 0 };
    let place = if family == 4 { first[head::ADDRESSES4] } else { first[head::ADDRESSES6] };
    let (lines, mask) = (place as u32, (place >> 32) as u32);
    let bucket = policy::bucket(prefix, length, mask);
    for step in 0..PROBES {
        let bucket = bucket.wrapping_add(step) & mask;
        let found = match family {
            4 => find4(cells, lines.wrapping_add(bucket), prefix[1] as u32, length),
            _ => find6(cells, lines.wrapping_add(bucket.wrapping_mul(BUCKET6)), prefix, length),
        };
        if found != NEXT {
            return found;
        }
    }
    0
}

/// The bucket is full, and has it not.
const NEXT: u32 = u32::MAX;

#[inline(always)]
fn find4<C: Flows>(cells: &C, line: u32, prefix: u32, length: u8) -> u32 {
    let Some(line) = cells.policy(line) else { return 0 };
    let wanted = policy::entry4(prefix, length, 0);
    let mut next = NEXT;
    for word in *line {
        if word ^ wanted <= u64::from(VALUE) && word != 0 {
            return (word as u32 & VALUE) + 1;
        }
        if word == 0 {
            next = 0;
        }
    }
    next
}

#[inline(always)]
fn find6<C: Flows>(cells: &C, line: u32, [high, low]: [u64; 2], length: u8) -> u32 {
    let (Some(first), Some(second)) = (cells.policy(line), cells.policy(line.wrapping_add(1)))
    else {
        return 0;
    };
    let wanted = policy::entry6(length, 0);
    let mut next = NEXT;
    for at in 0..ENTRIES6 {
        let entry = entry6(&first, &second, at);
        if entry[2] == 0 {
            next = 0;
        } else if entry[0] == high && entry[1] == low && entry[2] ^ wanted <= u64::from(VALUE) {
            return (entry[2] as u32 & VALUE) + 1;
        }
    }
    next
}

#[inline(always)]
fn entry6(a: &Line, b: &Line, at: usize) -> [u64; 3] {
    match at {
        0 => [a[0], a[1], a[2]],
        1 => [a[3], a[4], a[5]],
        2 => [b[0], b[1], b[2]],
        3 => [b[3], b[4], b[5]],
        _ => [a[6], a[7], b[6]],
    }
}

/// The cell that decides about a class, a protocol and ports (source in the high half) by a set of rules;
/// [`NOTHING`] if a line is missing.
#[inline(always)]
pub fn cell<C: Flows>(cells: &C, set: u32, class: u32, protocol: u8, ports: u32) -> u64 {
    let Some(line) = cells.policy(set) else { return NOTHING };
    if line[set::FIXED] != 0 {
        return line[set::FIXED];
    }
    let group = group_of(cells, &line, class);
    let positions = line[set::PROTOCOLS] as u32 + u32::from(protocol) / 64;
    let Some(octets) = cells.policy(positions) else { return NOTHING };
    let position = octets[usize::from(protocol) / 8 % 8] >> (u32::from(protocol) % 8 * 8) & 0xff;
    let sources = (line[set::PROTOCOLS] >> 32) as u32;
    let source = match sources {
        0 | 1 => 0,
        _ => source_of(cells, line[set::ENTRIES] as u32, sources, (ports >> 16) as u16),
    };
    let stride = line[set::STRIDE] as u32;
    let row = group.wrapping_mul(stride).wrapping_add(position as u32);
    let row = row.wrapping_mul(sources).wrapping_add(source);
    let row = half(cells, (line[set::ENTRIES] >> 32) as u32, row);
    in_row(cells, row, ports as u16)
}

/// The group of a class within a set.
#[inline(always)]
fn group_of<C: Flows>(cells: &C, line: &Line, class: u32) -> u32 {
    let page = class / PAGE;
    if page >= (line[set::PAGES] >> 32) as u32 {
        return 0;
    }
    match half(cells, line[set::PAGES] as u32, page) {
        0 => 0,
        page => half(cells, page, class % PAGE),
    }
}

/// Number `at` of 32 bits each from a line on.
#[inline(always)]
pub(super) fn half<C: Flows>(cells: &C, first: u32, at: u32) -> u32 {
    let Some(line) = cells.policy(first.wrapping_add(at / 16)) else { return 0 };
    (line[(at as usize / 2) & 7] >> (at % 2 * 32)) as u32
}

/// The stretch of source ports that a port is in.
#[inline(always)]
fn source_of<C: Flows>(cells: &C, first: u32, count: u32, port: u16) -> u32 {
    let (mut low, mut high) = (0u32, count & 0x1_ffff);
    for _ in 0..PORT_STEPS {
        if high.wrapping_sub(low) <= 1 || low >= high {
            break;
        }
        let middle = (low + high) / 2;
        let begins = match cells.policy(first.wrapping_add(middle / 32)) {
            Some(line) => (line[(middle as usize / 4) & 7] >> (middle % 4 * 16)) as u16,
            None => 0,
        };
        if begins <= port {
            low = middle;
        } else {
            high = middle;
        }
        low = cells.blur(low.into()) as u32 & 0x1_ffff;
        high = cells.blur(high.into()) as u32 & 0x1_ffff;
    }
    low
}

/// The cell of a port in a row.
#[inline(always)]
fn in_row<C: Flows>(cells: &C, row: u32, port: u16) -> u64 {
    let (mut low, mut high) = (0u32, word_of(cells, row, 0) as u32 & 0x1_ffff);
    for _ in 0..PORT_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) / 2;
        if policy::last(word_of(cells, row, middle + 1)) < port {
            low = middle + 1;
        } else {
            high = middle;
        }
        low = cells.blur(low.into()) as u32 & 0x1_ffff;
        high = cells.blur(high.into()) as u32 & 0x1_ffff;
    }
    word_of(cells, row, low + 1)
}

#[inline(always)]
fn word_of<C: Flows>(cells: &C, first: u32, at: u32) -> u64 {
    match cells.policy(first.wrapping_add(at / 8)) {
        Some(line) => line[at as usize & 7],
        None => 0,
    }
}

/// Whether policies are in force and a packet comes from a workload or through a gate, or its next hop leads there.
#[inline(always)]
pub fn is_guarded<C: Flows>(cells: &C, packet: &Packet, nexthop: u32) -> bool {
    cells.settings().is_some_and(|row| row.policy != 0)
        && (packet.link_has(link::flag::WORKLOAD)
            || super::is_to_workload(cells, nexthop)
            || gate::is_between(cells, packet, nexthop))
}

/// Whether what a packet for this host belongs to is remembered: its stack answers workloads through their links,
/// and others through gates, where that is seen ([`super::inward`]). Where sources keep their ports, a port of this host may become another's
/// at any time, so that only policies are a reason.
#[inline(always)]
pub fn is_seen<C: Flows>(cells: &C, packet: &Packet) -> bool {
    let Some(row) = cells.settings() else { return false };
    if packet.link_has(link::flag::WORKLOAD) {
        return row.policy != 0 || row.flags & settings::flag::INDEPENDENT == 0;
    }
    row.policy != 0 && gate::is_at(cells, packet.link())
}

const _: () = assert!(HEAD == 5, "one line of lengths of IPv4, three of IPv6");
