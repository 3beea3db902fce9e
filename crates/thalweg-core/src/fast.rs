//! The common cases in one straight line: untagged IPv4 without options, IPv6 without extension
//! headers, and a plain label swap.
//!
//! Nothing is decided differently here. IP packets go through the very stages of the full pipeline;
//! only what is unusual is left to it, so that the compiler can keep a packet in registers. The full
//! pipeline then starts anew, which is why nothing may be written before everything is known.

use crate::apply;
use crate::cells::Cells;
use crate::decide::{self, decide_plain};
use crate::frame::{Frame, Offset};
use crate::packet::{Arrival, Packet};
use crate::parse::{ipv4, ipv6};
use crate::{Kind, Outcome, Reason, Verdict};
use thalweg_abi::{NextHopRow, link, nexthop};
use thalweg_wire::{EtherType, Ethernet, Lse, Mac};

/// Octets of an Ethernet header.
const LINK_HEADER: u32 = size_of::<Ethernet>() as u32;
/// The frame was not touched: take the full pipeline.
const UNUSUAL: Outcome = Outcome::stop(Verdict::pass(Reason::NotRouted));

/// Forwards a frame of the common cases. An outcome without device means that it was none.
#[inline(always)]
pub fn fast<F: Frame, C: Cells>(frame: &mut F, cells: &C, arrival: Arrival) -> Outcome {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else { return UNUSUAL };
    let (ethertype, receiver) = (ethernet.ethertype.get(), ethernet.destination.as_u64());
    let Some(row) = cells.link(arrival.device) else { return UNUSUAL };
    if receiver != Mac(row.mac).as_u64() {
        return UNUSUAL;
    }
    let flags = row.flags;
    let mut packet = Packet::new(arrival, 0);
    packet.link_flags = u64::from(flags);
    packet.vrf = u64::from(row.vrf);
    packet.ip = u64::from(LINK_HEADER);
    match EtherType(ethertype) {
        EtherType::IPV4 if flags & link::flag::IPV4 != 0 => {
            if ipv4::parse_plain(frame, &mut packet) { ip(frame, cells, &packet) } else { UNUSUAL }
        }
        EtherType::IPV6 if flags & link::flag::IPV6 != 0 => {
            if ipv6::parse_plain(frame, &mut packet) { ip(frame, cells, &packet) } else { UNUSUAL }
        }
        EtherType::MPLS if flags & link::flag::MPLS != 0 => swap(frame, cells),
        _ => UNUSUAL,
    }
}

/// Decides an IP packet and forwards it if its next hop adds nothing to the frame.
#[inline(always)]
fn ip<F: Frame, C: Cells>(frame: &mut F, cells: &C, packet: &Packet) -> Outcome {
    let decision = decide_plain(packet, cells);
    if !decision.verdict.is(Kind::Forward) {
        return UNUSUAL;
    }
    let Some(row) = cells.nexthop(decision.nexthop()) else { return UNUSUAL };
    let padded = frame.is_padded(LINK_HEADER + packet.len());
    if is_dressed(&row) || padded || !cells.holds() {
        return UNUSUAL;
    }
    apply::inner(frame, packet, &decision, 0);
    readdress(frame, &row);
    Outcome { verdict: decision.verdict, device: row.device }
}

/// Whether the next hop adds labels or tags.
#[inline(always)]
fn is_dressed(row: &NextHopRow) -> bool {
    row.labels != 0 || row.tags != 0 || row.flags & nexthop::flag::ENTROPY != 0
}

/// Writes the link addresses; the type stays.
#[inline(always)]
fn readdress<F: Frame>(frame: &mut F, row: &NextHopRow) {
    if let Some(addresses) = frame.header_mut::<[u8; 12]>(Offset::new(0)) {
        *addresses = row.addresses;
    }
}

/// Swaps the top label for one other: what [`decide::decide`] and [`apply::forward`] come to when the
/// label's group has one next hop, which pushes one label and is up.
#[inline(always)]
fn swap<F: Frame, C: Cells>(frame: &mut F, cells: &C) -> Outcome {
    let at = Offset::new(LINK_HEADER);
    let Some(entry) = frame.header::<Lse>(at) else { return UNUSUAL };
    let entry = *entry;
    let word = cells.lfib(entry.label());
    let group = cells.group(u32::from(word.group()));
    if !word.is_forward() || group.has_buckets() || entry.ttl() <= 1 {
        return UNUSUAL;
    }
    let Some(row) = cells.nexthop(group.first()) else { return UNUSUAL };
    let up = cells.is_up(row.watch);
    let fits = frame.octets() <= LINK_HEADER + row.mtu && frame.segment() == 0;
    let plain = row.kind == nexthop::kind::ADJACENT && row.labels == 1 && row.tags == 0;
    // A stack that ends too early is the full pipeline's to find; so is a special-purpose label,
    // whose word is always empty.
    if !plain || !up || !fits || !entry.is_bottom() || !cells.holds() {
        return UNUSUAL;
    }
    let class = if row.flags & nexthop::flag::CLASS != 0 { row.class } else { entry.class() };
    let label = u32::from_be_bytes(row.stack[0]) >> 12;
    if let Some(top) = frame.header_mut::<Lse>(at) {
        *top = Lse::new(label, class, true, entry.ttl() - 1);
    }
    readdress(frame, &row);
    Outcome { verdict: decide::LABEL, device: row.device }
}
