//! What this host's own stack sends: the answers of backends that have an address of this host, and the
//! errors about what was sent to them, get the addresses that the client knows.
//!
//! Nothing begins here, and nothing is routed: the kernel has done so. What belongs to no translated flow
//! leaves as it is.

use super::state::flags;
use super::track::{Tracked, known, what};
use super::{Flows, Words, error, fragment, key, rewrite, table, unfit};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::parse::{ipv4, ipv6};
use crate::{Reason, Verdict};
use thalweg_abi::flow::{self, kind, word};
use thalweg_wire::{EtherType, Ethernet};

/// The frame is none of ours.
pub const UNTOUCHED: Verdict = Verdict::pass(Reason::NotRouted);

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
    if ended.is_break() || !tracked.facts().is(what::REWRITES) {
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
