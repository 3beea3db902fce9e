//! What this host's own stack sends: the answers of backends that have an address of this host, and the
//! errors about what was sent to them, get the addresses that the client knows.
//!
//! Nothing begins here, and nothing is routed: the kernel has done so. What belongs to no translated flow
//! leaves as it is. Answers to what came out of a tunnel are led to the link where what this host sends into
//! tunnels arrives, and are looked at there like packets of any other link.

use super::state::flags;
use super::track::{Tracked, known, what};
use super::{Flows, Words, error, fragment, key, rewrite, table, unfit};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::parse::{ipv4, ipv6};
use crate::{Reason, Verdict};
use thalweg_abi::flow::{self, kind, word};
use thalweg_abi::link;
use thalweg_wire::{EtherType, Ethernet};

/// The frame is none of ours.
pub const UNTOUCHED: Verdict = Verdict::pass(Reason::NotRouted);
/// The frame goes back through a tunnel: it is to arrive at the link of [`passage`], which it is addressed to
/// by now.
pub const RETURNED: Verdict = Verdict::pass(Reason::Tunnelled);

/// Translates a frame that leaves through the packet's link. [`UNTOUCHED`], or what came of it.
#[inline(always)]
pub fn leave<F: Frame, C: Flows>(
    frame: &mut F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> Verdict {
    (tracked.key, tracked.facts, tracked.query) = ([0; 5], 0, 0);
    if !read(frame, cells, packet) {
        return UNTOUCHED;
    }
    let ended = match packet.has(flag::LATER_FRAGMENT) {
        true => fragment::follow(frame, cells, packet, tracked),
        false if key::is_error(frame, packet) => error::related(frame, cells, packet, tracked),
        false => {
            answer(frame, cells, packet, tracked);
            core::ops::ControlFlow::Continue(())
        }
    };
    if ended.is_break() {
        return UNTOUCHED;
    }
    if tracked.facts().is(what::RETURNS) {
        return give_back(frame, cells, packet);
    }
    if !tracked.facts().is(what::REWRITES) {
        return UNTOUCHED;
    }
    if tracked.facts().is(what::FRAGMENT) {
        fragment::remember(cells, packet, tracked, false);
    }
    match rewrite(frame, packet, tracked) {
        true => Verdict::pass(Reason::Flow),
        false => Verdict::drop(unfit(packet)),
    }
}

/// The link where what this host's own stack sends into tunnels arrives; 0 for none.
#[inline(always)]
pub fn passage<C: Flows>(cells: &C) -> u32 {
    cells.settings().map_or(0, |row| row.passage)
}

/// Addresses a frame to the link where all is known that a tunnel asks for: what does not fit is told there.
#[inline(always)]
fn give_back<F: Frame, C: Flows>(frame: &mut F, cells: &C, packet: &Packet) -> Verdict {
    let passage = passage(cells);
    let Some(link) = cells.link(passage) else { return UNTOUCHED };
    if passage == 0 || link.flags & link::flag::UP == 0 || passage == packet.link() {
        return UNTOUCHED;
    }
    let mac = link.mac;
    let Some(receiver) = frame.header_mut::<[u8; 6]>(Offset::new(0)) else { return UNTOUCHED };
    *receiver = mac;
    RETURNED
}

/// Reads a frame that this host has made: nothing is checked of it but that it can be read. What stands
/// behind IPv6 extension headers is not looked for: Linux 6.1 loses the bounds of such an offset here.
#[inline(always)]
fn read<F: Frame, C: Flows>(frame: &F, cells: &C, packet: &mut Packet) -> bool {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else { return false };
    let ethertype = EtherType(ethernet.ethertype.get());
    let Some(link) = cells.link(packet.link()) else { return false };
    packet.vrf = u64::from(link.vrf);
    packet.ip = size_of::<Ethernet>() as u64;
    match ethertype {
        EtherType::IPV4 => ipv4::parse_plain(frame, packet),
        EtherType::IPV6 => ipv6::parse_plain(frame, packet),
        _ => false,
    }
}

/// Finds the flow that a packet answers.
#[inline(always)]
fn answer<F: Frame, C: Flows>(frame: &F, cells: &C, packet: &mut Packet, tracked: &mut Tracked) {
    tracked.key = key::key_of(frame, packet);
    tracked.query = tracked.key[4] >> 32;
    let Some(settings) = cells.settings() else { return };
    let found = table::find(cells, &tracked.key, flow::hash(tracked.key, settings.seed));
    let Some(row) = cells.flow(found.wrapping_sub(1)) else { return };
    let kinds = row.get(word::REWRITE) as u32;
    if kinds & kind::ANSWERS != 0 && kinds & kind::TUNNEL != 0 {
        // Its state and its time are kept where it arrives next.
        return tracked.note(what::RETURNS);
    }
    if kinds & kind::ANSWERS == 0 || kinds & kind::REWRITES == 0 {
        return;
    }
    if packet.has(flag::FRAGMENT) {
        fragment::note(frame, packet, tracked);
    }
    let flags = flags(frame, packet);
    if known(cells, packet, tracked, found, flags) {
        super::renew(cells, packet, found, 0);
    }
}
