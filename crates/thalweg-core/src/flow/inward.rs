//! What comes by no hook in front: what this host's own stack says, and what the kernel routes. Both are seen as
//! they leave, through the link of a workload or through a gate ([`super::gate`]).
//!
//! A host always reaches its workloads: what it says is let through, and remembered, so that the workload may
//! answer. What the kernel has routed is judged like any other packet. What was sent there by the hooks of
//! links was judged there: its flow is known.
//!
//! At a gate, what the host says is judged, too, and remembered, so that others may answer.

use super::key::{self, reversed};
use super::policy::is_judged;
use super::state::{self as states, flags, next, tcp};
use super::track::{Tracked, icmp_of, known, what};
use super::{Flows, Words, error, fragment, table};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::parse::{ipv4, ipv6};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, kind, state, word};
use thalweg_abi::link;
use thalweg_wire::{EtherType, Ethernet};

/// The packet begins a flow that is to be remembered.
pub const BEGINS: Verdict = Verdict::pass(Reason::Flow);
/// Policies are to be asked about it ([`super::policy::permit`]); if they allow it, it goes on.
pub const ASKS: Verdict = Verdict::punt(Reason::Flow);
/// Policies are to be asked; if they allow it, it begins a flow that is to be remembered.
pub const ASKS_TO_BEGIN: Verdict = Verdict::punt(Reason::Policy);
/// Policies are to be asked whether the other side may have begun what the packet is amid ([`turn`]).
pub const ASKS_BACK: Verdict = Verdict::punt(Reason::NoFlow);
/// Nothing is to be said of the frame.
const UNTOUCHED: Verdict = super::UNTOUCHED;

/// Who has made a frame, and where it leaves.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Exit {
    /// This host's own stack says it; else the kernel has routed it.
    pub own: bool,
    /// It leaves through a gate; else to a workload.
    pub gate: bool,
}

impl Exit {
    /// As a number, for functions in the kernel.
    #[inline(always)]
    pub const fn to_number(self) -> u32 {
        self.own as u32 | (self.gate as u32) << 1
    }

    /// The other way around.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        Self { own: number & 1 != 0, gate: number & 2 != 0 }
    }
}

/// Whether a link leads to a workload.
#[inline(always)]
pub fn is_workload<C: Flows>(cells: &C, device: u32) -> bool {
    cells.link(device).is_some_and(|row| row.flags & link::flag::WORKLOAD != 0)
}

/// Looks at a frame that leaves through the link of a workload or through a gate.
#[inline(always)]
pub fn inward<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    exit: Exit,
) -> Verdict {
    let Exit { own, gate } = exit;
    (tracked.key, tracked.facts, tracked.query) = ([0; 5], 0, 0);
    (tracked.cause, tracked.node, tracked.token) = (0, 0, 0);
    tracked.logged = 0;
    let Some(plain) = read(frame, cells, packet) else { return UNTOUCHED };
    // What cannot be read cannot be judged.
    let unread = if own { UNTOUCHED } else { Verdict::drop(Reason::Policy) };
    if !plain {
        return unread;
    }
    tracked.icmp = icmp_of(frame, packet);
    if packet.has(flag::LATER_FRAGMENT) {
        let led = fragment::follow(frame, cells, packet, tracked).is_continue()
            && tracked.facts().is(what::LED | what::REWRITES);
        // Through a gate its first went, or did not, and alone it is nothing.
        let passes = led || own || gate;
        return if passes { UNTOUCHED } else { Verdict::drop(Reason::NoFirstFragment) };
    }
    if key::is_error(frame, packet) {
        return match error::related(frame, cells, packet, tracked) {
            _ if own => UNTOUCHED,
            ControlFlow::Break(verdict) => verdict,
            ControlFlow::Continue(()) if tracked.facts().is(what::RELATED) => UNTOUCHED,
            ControlFlow::Continue(()) if tracked.facts().is(what::ERROR) && !gate => {
                Verdict::drop(Reason::Unrelated)
            }
            // Of no conversation: by itself.
            ControlFlow::Continue(()) => ASKS,
        };
    }
    conversation(frame, cells, packet, tracked, exit)
}

/// What belongs to a conversation.
#[inline(always)]
fn conversation<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    exit: Exit,
) -> Verdict {
    let Exit { own, gate } = exit;
    tracked.key = key::key_of(frame, packet);
    tracked.query = tracked.key[4] >> 32;
    tracked.note(what::KEYED);
    let flags = flags(frame, packet);
    let seed = cells.settings().map_or(0, |row| row.seed);
    let found = table::find(cells, &tracked.key, flow::hash(tracked.key, seed));
    let row = cells.flow(found.wrapping_sub(1));
    let row = row.filter(|row| row.get(word::REWRITE) as u32 & kind::REWRITES == 0);
    if let Some(row) = row
        && known(cells, packet, tracked, found, flags)
    {
        super::count(&row, packet);
        let judged = own && !gate || is_judged(cells, row.get(word::STAMP));
        return if judged { UNTOUCHED } else { ASKS };
    }
    let back = reversed(tracked.key);
    let other = table::find(cells, &back, flow::hash(back, seed));
    let answers = cells.flow(other.wrapping_sub(1));
    if answers.is_some_and(|row| !table::is_expired(&row, cells.now())) {
        return UNTOUCHED;
    }
    let connection = states::is_connection(packet.protocol());
    let amid = connection && flags & (tcp::SYN | tcp::ACK) != tcp::SYN;
    tracked.facts = tracked.facts >> 32 << 32;
    tracked.facts |= u64::from(next(state::NONE, packet.protocol(), false, flags)) << 32;
    // It is older than its gate: who has the higher port began it, as far as one can tell.
    let ports = (tracked.key[4] >> 32) as u32;
    if gate && amid && ports >> 16 < ports & 0xffff {
        return ASKS_BACK;
    }
    match own {
        _ if gate => ASKS_TO_BEGIN,
        // It answers what is not known any more, or goes on with what is not.
        true if amid => UNTOUCHED,
        true => BEGINS,
        false if amid => Verdict::drop(Reason::NoFlow),
        false => ASKS_TO_BEGIN,
    }
}

/// Makes a packet one of the other direction, for those who are asked about it; the frame stays.
#[inline(always)]
pub fn turn(packet: &mut Packet, tracked: &mut Tracked) {
    core::mem::swap(&mut packet.source, &mut packet.destination);
    tracked.key = reversed(tracked.key);
    packet.ports = u64::from(packet.ports().rotate_left(16));
}

/// Reads a frame that this host sends: whether it is plain; none for what is not IP. The link is not the one that
/// it came by, so nothing is asked of the link.
#[inline(always)]
fn read<F: Frame, C: Flows>(frame: &F, cells: &C, packet: &mut Packet) -> Option<bool> {
    let ethernet = frame.header::<Ethernet>(Offset::new(0))?;
    let ethertype = EtherType(ethernet.ethertype.get());
    let link = cells.link(packet.link())?;
    packet.vrf = u64::from(link.vrf);
    packet.ip = size_of::<Ethernet>() as u64;
    match ethertype {
        EtherType::IPV4 => Some(ipv4::parse_plain(frame, packet)),
        EtherType::IPV6 => Some(ipv6::parse_plain(frame, packet)),
        _ => None,
    }
}
