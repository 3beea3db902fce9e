//! Rules that log: what is noted of them while policies are asked about a packet, and told when all have been.
//!
//! A cell that is reached past such rules says so, and its number stands for them. What denies a packet is told as
//! any frame that is discarded ([`thalweg_abi::event`]), with that number; all else here, once it is known what
//! became of the packet. Packets of flows that are known begin none, and are not told again when they are judged
//! anew.

use super::track::Tracked;
use crate::packet::{Packet, flag as packet_flag};
use crate::{Kind, Reason, Verdict};
use thalweg_abi::event::{DropEvent, LOGGED, flag};
use thalweg_abi::policy;
use thalweg_wire::l4::protocol::{self, has_ports};

/// Room for what is told of one packet; at most five are asked about it, of whom one may be asked twice.
pub const MOST: usize = 8;

/// Notes a number that is to be told; whether it was not noted yet.
#[inline(always)]
pub(super) fn note(tracked: &mut Tracked, number: u32) -> bool {
    let count = tracked.logged;
    for at in 0..MOST {
        if (at as u64) < count && tracked.logs[at] == u64::from(number) {
            return false;
        }
    }
    if count < MOST as u64 {
        tracked.logs[count as usize % MOST] = number.into();
        tracked.logged = count + 1;
    }
    true
}

/// Notes whom policies are asked about.
#[inline(always)]
pub(super) fn speak(tracked: &mut Tracked, source: [u64; 2], destination: [u64; 2], ports: u32) {
    tracked.talk = [source[0], source[1], destination[0], destination[1], ports.into()];
}

/// The number of what a cell says, as [`Tracked::cause`] has it.
#[inline(always)]
pub(super) const fn cause(cell: u64) -> u64 {
    let logged = if policy::logs(cell) { LOGGED } else { 0 };
    (policy::cause(cell) | logged) as u64
}

/// Begins the events of a packet with this verdict: how many there are, of which [`put`] tells one by one. All
/// that is noted is forgotten.
#[inline(always)]
pub fn describe(
    packet: &Packet,
    tracked: &mut Tracked,
    verdict: Verdict,
    event: &mut DropEvent,
) -> u64 {
    let count = core::mem::take(&mut tracked.logged);
    if tracked.facts().found() != 0 && !packet.has(packet_flag::UNTRACKED) {
        return 0;
    }
    let talk = tracked.talk;
    *event = DropEvent::default();
    (event.source, event.destination) = ([talk[0], talk[1]], [talk[2], talk[3]]);
    (event.link, event.vrf) = (packet.link(), packet.vrf() as u16);
    (event.family, event.protocol) = (packet.family(), packet.protocol());
    event.flags = flag::LOG | flag::LOGGED;
    event.octets = tracked.cause as u32 & !LOGGED;
    let ended = verdict.is(Kind::Drop) || verdict.is(Kind::Answer);
    if ended && verdict.reason_number() == Reason::Policy as u8 {
        event.reason = Reason::Policy as u8;
    }
    let ports = talk[4] as u32;
    if packet.has(packet_flag::LATER_FRAGMENT) {
        event.flags |= flag::LATER_FRAGMENT;
    } else if has_ports(packet.protocol()) {
        event.flags |= flag::PORTS;
        (event.source_port, event.destination_port) = ((ports >> 16) as u16, ports as u16);
    } else if matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6) {
        event.flags |= flag::PORTS;
        (event.source_port, event.destination_port) = (ports as u16 >> 8, ports as u16 & 0xff);
    }
    count
}

/// Puts one of what was noted into the event.
#[inline(always)]
pub fn put(tracked: &Tracked, at: usize, event: &mut DropEvent) {
    event.cause = tracked.logs[at % MOST] as u32;
}

/// Tells of a packet with this verdict what was noted.
#[inline(always)]
pub fn tell<C: super::Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked, verdict: Verdict) {
    let mut event = DropEvent::default();
    let count = describe(packet, tracked, verdict, &mut event);
    for at in 0..count as usize {
        put(tracked, at, &mut event);
        cells.tell(&event);
    }
}
