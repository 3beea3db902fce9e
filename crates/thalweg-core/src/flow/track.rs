//! The stage in front of a router's: which flow or service a packet belongs to.

use super::key::{Key, is_error, key, key_of, reversed};
use super::service::{
    backend_of, choice_of, frontend_of, frontend_within, is_admitted, is_backend, may_be_vip,
};
use super::state::{self as states, ANEW, next, next_of_one, tcp, timeout_of};
use super::{Flows, Words, error, floating, fragment, quota, table};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, kind, state, word};
use thalweg_abi::{BackendRow, link, service, settings, tunnel};
use thalweg_wire::U16;
use thalweg_wire::l4::protocol;

/// What was found out about the flow of a packet; the key that it leaves with is the packet's own.
/// Fields are 8 octets wide for the reason given at [`Packet`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tracked {
    /// The key that the packet came with.
    pub key: Key,
    /// The row of its flow, counted from 1, or 0 if it has none yet; or with [`what::SERVICE`] that of the
    /// backend which was chosen (low half). The state that its flow begins in, bits of [`what`] (16 of them).
    pub(super) facts: u64,
    /// With [`what::RELATED`] the key of the packet that an error quotes; of fragments that
    /// of all of their packet.
    pub quote: Key,
    /// The key that the quote is to have.
    pub told: Key,
    /// What an ICMP query leaves with in the place of both ports.
    pub(super) query: u64,
    /// Two keys at work: the kernel's stack is too small for them.
    pub(crate) work: [Key; 2],
    /// The node whose tunnel the packet came out of, or with [`what::RETURNS`] the one it goes to
    /// ([`thalweg_abi::tunnel::node_id`]); 0 for none.
    pub node: u64,
    /// Of ICMP its type × 256 + code.
    pub(super) icmp: u64,
    /// The number of the rule that has decided last ([`thalweg_abi::policy::cause`]), with
    /// [`thalweg_abi::event::LOGGED`]; 0 for none.
    pub cause: u64,
    /// Where the token lies that a flow takes ([`super::quota`]): a row, counted from 1, times 8, and its
    /// number there; 0 for none.
    pub(super) token: u64,
    /// How many of [`Self::logs`] are there.
    pub logged: u64,
    /// What was said past rules that log and is to be told ([`super::log`]): numbers as of a cell.
    pub(super) logs: [u64; super::log::MOST],
    /// Whom policies were asked about, where there is anything to tell: source, destination, ports as of a
    /// [`super::policy::Talk`].
    pub(super) talk: Key,
}

/// What is known of a packet beside its key.
pub mod what {
    /// The packet has a key: a flow can be remembered for it.
    pub const KEYED: u16 = 1;
    /// A flow begins, whatever its way.
    pub const BEGINS: u16 = 2;
    /// The key changes.
    pub const REWRITES: u16 = 4;
    /// The flow is a service's.
    pub const SERVICE: u16 = 8;
    /// The packet cannot begin a flow: TCP that is no SYN, SCTP that is no INIT.
    pub const AMID: u16 = 16;
    /// The source is translated.
    pub const NAT: u16 = 32;
    /// The source is to be translated where the packet leaves this host.
    pub const MASQUERADE: u16 = 64;
    /// An ICMP error.
    pub const ERROR: u16 = 128;
    /// The first of several fragments.
    pub const FRAGMENT: u16 = 256;
    /// An ICMP error about a packet of a known flow.
    pub const RELATED: u16 = 8192;
    /// The packet goes to a node by its tunnel, whatever routes say: it answers one that came from there, or
    /// its backend has an address of that node itself.
    pub const RETURNS: u16 = 512;
    /// If the packet goes through a tunnel, it goes as it came ([`thalweg_abi::flow::kind::DIRECT`]).
    pub const DIRECT: u16 = 1024;
    /// Its frontend keeps clients at their backends: [`super::super::keep`] has the last word.
    pub const KEEPS: u16 = 2048;
    /// The source becomes its floating address.
    pub const FLOATING: u16 = 4096;
    /// The destination was another source's port outside: [`super::super::hairpin`].
    pub const HAIRPIN: u16 = 16384;
    /// A fragment whose first went as it came.
    pub const LED: u16 = 32768;
}

/// The facts of a [`Tracked`] beside its key.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Facts(u64);

impl Facts {
    /// Nothing is known.
    pub const NONE: Self = Self(0);

    /// Whether a bit of [`what`] is set.
    #[inline(always)]
    pub const fn is(self, bit: u16) -> bool {
        (self.0 >> 40) as u16 & bit != 0
    }

    /// The row of the packet's flow, counted from 1, or 0.
    #[inline(always)]
    pub const fn found(self) -> u32 {
        if self.is(what::SERVICE) { 0 } else { self.0 as u32 }
    }

    #[inline(always)]
    const fn state(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

impl Tracked {
    /// Nothing is known.
    pub const NONE: Self = Self {
        key: [0; 5],
        facts: 0,
        quote: [0; 5],
        told: [0; 5],
        query: 0,
        work: [[0; 5]; 2],
        node: 0,
        icmp: 0,
        cause: 0,
        token: 0,
        logged: 0,
        logs: [0; super::log::MOST],
        talk: [0; 5],
    };

    #[inline(always)]
    pub(super) fn note(&mut self, bits: u16) {
        self.facts |= (bits as u64) << 40;
    }

    /// What is known beside the key.
    #[inline(always)]
    pub const fn facts(&self) -> Facts {
        Facts(self.facts)
    }

    /// Gives the packet the addresses and ports back that it came with.
    #[inline(always)]
    pub fn restore(&self, packet: &mut Packet) {
        let [a, b, c, d, tail] = self.key;
        (packet.source, packet.destination) = ([a, b], [c, d]);
        if packet.ports() != 0 {
            packet.ports = tail >> 32;
        }
        packet.flags &= !u64::from(flag::BELIEVED);
    }

    /// The key that the packet leaves with.
    #[inline(always)]
    pub fn new_key(&self, packet: &Packet) -> Key {
        match packet.ports() {
            0 => key(packet, self.query as u32),
            ports => key(packet, ports),
        }
    }

    /// Gives the packet the ports that it leaves with, or a query its identifier.
    #[inline(always)]
    pub(crate) fn set_ports(&mut self, packet: &mut Packet, ports: u32) {
        match protocol::has_ports(packet.protocol()) {
            true => packet.ports = u64::from(ports),
            false => self.query = u64::from(ports),
        }
        if ports != (self.key[4] >> 32) as u32 {
            self.note(what::REWRITES);
        }
    }
}

/// Finds the flow or the service of a packet, and gives the packet the addresses that it leaves with.
///
/// Breaks with the verdict of packets that end here: a service refuses them, or they belong to no flow.
#[inline(always)]
pub fn track<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> ControlFlow<Verdict> {
    // The quote is only read where it was written.
    (tracked.key, tracked.facts, tracked.query) = ([0; 5], 0, 0);
    tracked.icmp = icmp_of(frame, packet);
    let nothing = flag::LINK_GROUP | flag::UNTRACKED;
    if packet.depth() > 0 || packet.family() == 0 || packet.has(nothing) {
        return ControlFlow::Continue(());
    }
    if packet.has(flag::LATER_FRAGMENT) {
        return fragment::follow(frame, cells, packet, tracked);
    }
    if is_error(frame, packet) {
        return error::related(frame, cells, packet, tracked);
    }
    if packet.has(flag::FRAGMENT) {
        fragment::note(frame, packet, tracked);
    }
    tracked.key = key_of(frame, packet);
    tracked.query = tracked.key[4] >> 32;
    tracked.note(what::KEYED);
    let flags = states::flags(frame, packet);
    let seed = cells.settings().map_or(0, |row| row.seed);
    let hash = flow::hash(tracked.key, seed);
    let found = table::find(cells, &tracked.key, hash);
    if found != 0 {
        from_where(cells, packet, found)?;
    }
    if found != 0 && known(cells, packet, tracked, found, flags) {
        return ControlFlow::Continue(());
    }
    let connection = states::is_connection(packet.protocol());
    let amid = connection && flags & (tcp::SYN | tcp::ACK) != tcp::SYN;
    if amid && !takes_amid(cells) {
        tracked.note(what::AMID);
    }
    tracked.facts |= u64::from(next(state::NONE, packet.protocol(), false, flags)) << 32;
    begin(frame, cells, packet, tracked)
}

/// Type and code of ICMP; 0 of anything else.
#[inline(always)]
pub(super) fn icmp_of<F: Frame>(frame: &F, packet: &Packet) -> u64 {
    let icmp = matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6);
    if !icmp || packet.l4() == 0 || packet.has(flag::LATER_FRAGMENT) {
        return 0;
    }
    frame.header::<U16>(Offset::new(packet.l4())).map_or(0, |word| word.get().into())
}

/// A known tuple from another link than before is looked at again: workloads may not speak for others.
#[inline(always)]
fn from_where<C: Flows>(cells: &C, packet: &Packet, found: u32) -> ControlFlow<Verdict> {
    let way = cells.flow(found - 1).map_or(0, |row| row.get(word::WAY));
    if (way >> 32) as u32 == packet.link() || crate::decide::is_believable(packet, cells) {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(Verdict::drop(Reason::ReversePath))
}

/// Goes on with a flow. False if the packet begins another one in its place.
#[inline(always)]
pub(super) fn known<C: Flows>(
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    found: u32,
    flags: u8,
) -> bool {
    let Some(row) = cells.flow(found - 1) else { return false };
    let now = cells.now();
    let kind = row.get(word::REWRITE) as u32;
    let before = row.get(word::STATE);
    let after = match kind & kind::DIRECT {
        0 => next(before as u8, packet.protocol(), kind & kind::ANSWERS != 0, flags),
        _ => next_of_one(before as u8, packet.protocol(), flags),
    };
    let backend = row.get(word::BACKEND);
    let tunnelled = kind & kind::TUNNEL != 0;
    // An attempt that nobody has answered, as far as is known, chooses anew when tables have changed.
    let again = kind & kind::DIRECT != 0 && before as u8 == state::SYN && flags & tcp::SYN != 0;
    let gone = row.get(word::STAMP) != cells.stamp()
        && (again || !tunnelled && is_gone(cells, packet, backend));
    let Some(settings) = cells.settings() else { return false };
    let new = leaving(&row, &tracked.key);
    let back = reversed(new);
    let timeout = settings.timeouts[timeout_of(packet.protocol(), after) % settings.timeouts.len()];
    let expired = table::is_expired(&row, now);
    if expired || gone || after != before as u8 {
        let hash = flow::hash(back, settings.seed);
        let other = table::find(cells, &back, hash);
        let other_row = cells.flow(other.wrapping_sub(1));
        // A flow lives as long as packets come from either side.
        let over = expired && other_row.as_ref().is_none_or(|row| table::is_expired(row, now));
        if over || after == ANEW || gone {
            // Both directions go; what comes next begins anew.
            table::forget(cells, found, flow::hash(tracked.key, settings.seed));
            table::forget(cells, other, hash);
            return false;
        }
        if let Some(row) = other_row.filter(|_| after != before as u8) {
            touch(&row, after, now, timeout);
        }
    }
    touch(&row, after, now, timeout);
    tracked.facts |= u64::from(found);
    returns(tracked, &row);
    if kind & (kind::NAT | kind::ANSWERS) == kind::NAT {
        tracked.note(what::NAT);
    }
    if kind & kind::DIRECT != 0 {
        tracked.note(what::DIRECT);
    }
    adopt(packet, tracked, &new, kind & kind::REWRITES != 0);
    true
}

/// What answers a packet that came out of a tunnel goes back to where that came from, and what is for
/// another node itself goes there by its tunnel.
#[inline(always)]
pub(super) fn returns<W: Words>(tracked: &mut Tracked, row: &W) {
    const BOTH: u32 = kind::TUNNEL | kind::ANSWERS;
    let kinds = row.get(word::REWRITE) as u32;
    if kinds & BOTH == BOTH {
        tracked.node = row.get(word::BACKEND);
        tracked.note(what::RETURNS);
    } else if kinds & (kind::HOST | kind::ANSWERS) == kind::HOST {
        tracked.node =
            tunnel::node_id([row.get(word::NEW_DESTINATION), row.get(word::NEW_DESTINATION + 1)]);
        tracked.note(what::RETURNS);
    }
}

/// A backend that is gone loses its datagrams to others at once; connections it keeps to the end.
#[inline(always)]
fn is_gone<C: Flows>(cells: &C, packet: &Packet, backend: u64) -> bool {
    backend != 0 && !states::is_connection(packet.protocol()) && !is_backend(cells, backend)
}

/// The key that packets of a row leave with.
#[inline(always)]
pub fn leaving<W: Words>(row: &W, key: &Key) -> Key {
    let ports = row.get(word::REWRITE) >> 32;
    [
        row.get(word::NEW_SOURCE),
        row.get(word::NEW_SOURCE + 1),
        row.get(word::NEW_DESTINATION),
        row.get(word::NEW_DESTINATION + 1),
        ports << 32 | key[4] & 0xffff_ffff,
    ]
}

#[inline(always)]
fn touch<W: Words>(row: &W, state: u8, now: u32, timeout: u32) {
    row.set(word::STATE, row.get(word::STATE) >> 8 << 8 | u64::from(state));
    row.set(word::SEEN, u64::from(timeout) << 32 | u64::from(now));
}

/// Gives the packet its new key, so that what follows decides what will really be sent.
#[inline(always)]
fn adopt(packet: &mut Packet, tracked: &mut Tracked, new: &Key, rewrites: bool) {
    if rewrites {
        tracked.note(what::REWRITES);
        let [a, b, c, d, tail] = *new;
        packet.source = [a, b];
        packet.destination = [c, d];
        tracked.set_ports(packet, (tail >> 32) as u32);
    }
    packet.flags |= u64::from(flag::BELIEVED);
}

/// A packet of no flow: a service's, or one whose way says whether it is to be remembered.
#[inline(always)]
fn begin<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> ControlFlow<Verdict> {
    if packet.link_has(link::flag::WORKLOAD) {
        tracked.note(what::BEGINS);
    }
    if tracked.node != 0 {
        // The node that it came through has believed the source, which may be this very host: it has asked a
        // frontend of that node.
        packet.flags |= u64::from(flag::BELIEVED);
    }
    let ports = (tracked.key[4] >> 32) as u32;
    let within = match tracked.node {
        0 => 0,
        _ => frontend_within(
            cells,
            packet.destination,
            ports as u16,
            packet.protocol(),
            packet.family(),
        ),
    };
    let within = cells.blur(within.into()) as u32;
    if within == 0 && !may_be_vip(cells, packet.destination) {
        return ControlFlow::Continue(());
    }
    let found = match protocol::has_ports(packet.protocol()) {
        true if within != 0 => within,
        true => frontend_of(cells, packet.destination, ports as u16, packet.protocol()),
        false => 0,
    };
    if found == 0 {
        return no_frontend(frame, cells, packet, tracked);
    }
    let Some(row) = cells.frontend(found - 1) else { return ControlFlow::Continue(()) };
    if row.ranges_len != 0 && !is_admitted(cells, row.ranges, row.ranges_len, packet.source) {
        return ControlFlow::Break(Verdict::drop(Reason::SourceRange));
    }
    let (choice, _) = choice_of(&row, packet);
    if choice.size == 0 {
        let inside = packet.link_has(link::flag::WORKLOAD);
        let drops =
            if inside { service::flag::DROPS_INTERNAL } else { service::flag::DROPS_EXTERNAL };
        return ControlFlow::Break(match row.flags & drops {
            0 => Verdict::answer(Reason::NoBackend),
            _ => Verdict::drop(Reason::NoBackend),
        });
    }
    let at = backend_of(cells, &choice, &tracked.key);
    let Some(backend) = cells.backend(at) else {
        return ControlFlow::Break(Verdict::drop(Reason::Broken));
    };
    tracked.note(what::BEGINS | what::REWRITES | what::SERVICE);
    if row.affinity != 0 {
        tracked.note(what::KEEPS);
    }
    if row.flags & service::flag::MASQUERADE != 0 && !packet.link_has(link::flag::WORKLOAD) {
        tracked.note(what::MASQUERADE);
    }
    if row.flags & service::flag::DIRECT != 0 && !packet.link_has(link::flag::WORKLOAD) {
        tracked.note(what::DIRECT);
    }
    served(packet, tracked, row.address, at, &backend);
    ControlFlow::Continue(())
}

/// Gives a packet for a service to one of its backends.
#[inline(always)]
pub(super) fn served(
    packet: &mut Packet,
    tracked: &mut Tracked,
    address: [u64; 2],
    at: u32,
    backend: &BackendRow,
) {
    tracked.facts = tracked.facts >> 32 << 32 | u64::from(at);
    tracked.facts &= !((what::RETURNS as u64) << 40);
    // Who is masqueraded hears answers wherever they come from.
    if backend.node != 0 && !tracked.facts().is(what::MASQUERADE) {
        tracked.node = tunnel::node_id(backend.address);
        tracked.note(what::RETURNS);
    }
    packet.destination = backend.address;
    let ports = (tracked.key[4] >> 32) as u32;
    packet.ports = u64::from(ports >> 16 << 16 | u32::from(backend.port));
    hairpin(packet, address, backend);
}

/// Who reaches itself through an address must hear the answer from that address.
#[inline(always)]
pub(super) fn hairpin(packet: &mut Packet, address: [u64; 2], backend: &BackendRow) {
    if packet.source == backend.address {
        packet.source = address;
        packet.flags |= u64::from(flag::BELIEVED);
    }
}

/// An address of services without this port refuses; one that is this host's as well is the host's. A
/// floating address has all ports.
#[inline(always)]
fn no_frontend<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> ControlFlow<Verdict> {
    let found = frontend_of(cells, packet.destination, 0, 0);
    let Some(row) = cells.frontend(found.wrapping_sub(1)) else {
        return ControlFlow::Continue(());
    };
    if row.flags & service::flag::FLOATING != 0 {
        return floating::served(frame, cells, packet, tracked, &row);
    }
    if !matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6) {
        return ControlFlow::Break(Verdict::answer(Reason::NoService));
    }
    // Others than pings find no route.
    match crate::answer::is_ping(frame, packet) && !packet.has(flag::FRAGMENT) {
        true => ControlFlow::Break(Verdict::answer(Reason::Echo)),
        false => ControlFlow::Continue(()),
    }
}

/// Writes the row of one direction of a flow that begins with this packet, whose way is known now: of the
/// packet's own, or with `back` of answers. The number of the row, from 1; 0 if there is no room.
#[inline(always)]
pub fn remember<C: Flows>(
    cells: &C,
    packet: &Packet,
    tracked: &mut Tracked,
    nexthop: u32,
    back: bool,
) -> u32 {
    let Some(settings) = cells.settings() else { return 0 };
    let (facts, now) = (tracked.facts(), cells.now());
    let state = facts.state();
    let timeout = settings.timeouts[timeout_of(packet.protocol(), state) % settings.timeouts.len()];
    let new = tracked.new_key(packet);
    tracked.work = if back { [reversed(new), reversed(tracked.key)] } else { [tracked.key, new] };
    let [key, new] = &tracked.work;
    let kind = if facts.is(what::REWRITES) { kind::REWRITES } else { 0 }
        | if facts.is(what::SERVICE) { kind::SERVICE } else { 0 }
        | if facts.is(what::NAT) { kind::NAT } else { 0 }
        | if back { kind::ANSWERS } else { 0 };
    // Who answers for a service answers from here.
    let tunnelled = tracked.node != 0 && !facts.is(what::SERVICE);
    let host = facts.is(what::SERVICE) && facts.is(what::RETURNS);
    let kind = kind
        | if tunnelled { kind::TUNNEL } else { 0 }
        | if host { kind::HOST } else { 0 }
        // A backend of this host answers by this host.
        | if facts.is(what::DIRECT) && packet.has(flag::TUNNEL) { kind::DIRECT } else { 0 };
    let backend = match facts.is(what::SERVICE) {
        true => cells.backend(tracked.facts as u32).map_or(0, |row| row.id),
        false => tracked.node,
    };
    // The way of answers is looked up when the first comes.
    let stamp = match nexthop {
        _ if back => 0,
        0 => flow::stays(cells.stamp()),
        _ => cells.stamp(),
    };
    let hash = flow::hash(*key, settings.seed);
    let found = table::insert(cells, key, hash, now, stamp, |row| {
        row.set(word::NEW_SOURCE, new[0]);
        row.set(word::NEW_SOURCE + 1, new[1]);
        row.set(word::NEW_DESTINATION, new[2]);
        row.set(word::NEW_DESTINATION + 1, new[3]);
        row.set(word::REWRITE, new[4] >> 32 << 32 | u64::from(kind));
        row.set(word::STATE, u64::from(state) | if back { 0 } else { quota::mark(tracked) << 8 });
        row.set(word::SEEN, u64::from(timeout) << 32 | u64::from(now));
        let way = u64::from(nexthop) | u64::from(packet.link()) << 32;
        row.set(word::WAY, if back { 0 } else { way });
        row.set(word::BACKEND, backend);
        row.set(word::OCTETS, 0);
    });
    if !back {
        quota::take(cells, tracked, found, hash);
    }
    found
}

/// Whether TCP or SCTP amid a connection that is not known begins a flow.
#[inline(always)]
pub fn takes_amid<C: Flows>(cells: &C) -> bool {
    cells.settings().is_some_and(|row| row.flags & settings::flag::MID_FLOW != 0)
}
