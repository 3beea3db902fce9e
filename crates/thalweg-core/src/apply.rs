//! Carries a decision out on the frame: TTL, checksum, labels, tags, link addresses.

use crate::Outcome;
use crate::cells::Cells;
use crate::decide::{Decision, write};
use crate::frame::{Frame, Offset, SHORTEST};
use crate::hash;
use crate::packet::Packet;
use thalweg_abi::{NextHopRow, Reason, Verdict, nexthop};
use thalweg_wire::mpls::reserved;
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, Lse, Mac, U16, checksum};

/// Octets of an Ethernet header.
const LINK_HEADER: u32 = size_of::<Ethernet>() as u32;
/// Most entries that are pushed: labels and an entropy pair.
const MAX_ENTRIES: u32 = nexthop::MAX_PUSH as u32 + 2;

/// Rewrites a frame for the next hop of `decision`.
#[inline(always)]
pub fn forward<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &Packet,
    decision: &Decision,
) -> Outcome {
    let Some(row) = cells.nexthop(decision.nexthop()) else {
        return dropped(Reason::Broken);
    };
    let pushes = crate::decide::pushed(decision, &row);
    let bottom = decision.write() & write::BOTTOM != 0;
    let Some(ethertype) = ethertype(packet, pushes, bottom) else {
        return dropped(Reason::MplsPayload);
    };
    inner(frame, packet, decision, pushes);
    // What is under labels is not this router's to measure.
    if decision.write() & write::SWAP == 0 {
        trim(frame, packet);
    }
    // What stands in front of the part that stays, before and after.
    let old = packet.l3() + decision.pops() * 4;
    let tags = u32::from(row.tags);
    let new = LINK_HEADER + (tags + pushes) * 4;
    if old != new {
        let moved =
            if new > old { frame.grow_head(new - old) } else { frame.shrink_head(old - new) };
        if !moved {
            return dropped(Reason::NoRoom);
        }
    }
    if tags > 0 {
        vlans(frame, &row, ethertype);
    }
    if pushes > 0 {
        let entropy = match row.flags & nexthop::flag::ENTROPY {
            0 => 0,
            _ => hash::entropy_label(packet, cells.settings().map_or(0, |row| row.seed)),
        };
        // One path for the verifier, wherever in the stack it goes.
        labels(frame, decision, &row, cells.blur(entropy.into()) as u32);
    }
    let Some(ethernet) = frame.header_mut::<Ethernet>(Offset::new(0)) else {
        return dropped(Reason::Truncated);
    };
    let [a, b, c, d, e, f, g, h, i, j, k, l] = row.addresses;
    ethernet.destination = Mac([a, b, c, d, e, f]);
    ethernet.source = Mac([g, h, i, j, k, l]);
    ethernet.ethertype = match tags {
        0 => ethertype.0.into(),
        _ => U16::from_bytes([row.vlans[0][0], row.vlans[0][1]]),
    };
    Outcome { verdict: decision.verdict, device: row.device }
}

/// Takes the labels off a frame whose IP packet the kernel gets, which could not read it behind them:
/// what is delivered here, or an exception. The kernel takes its own hop off. False if the frame
/// cannot be changed.
#[inline(always)]
pub fn unlabel<F: Frame>(frame: &mut F, packet: &Packet, decision: &Decision) -> bool {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else { return false };
    let mut ethernet = *ethernet;
    let Some(ethertype) = ethertype(packet, 0, true) else { return false };
    let mut kept = *decision;
    if decision.write() & write::IP_TTL != 0 {
        kept.set_ip_ttl(decision.ip_ttl().wrapping_add(1));
    }
    inner(frame, packet, &kept, 0);
    ethernet.ethertype = ethertype.0.into();
    if !frame.shrink_head(packet.ip().wrapping_sub(LINK_HEADER)) {
        return false;
    }
    match frame.header_mut::<Ethernet>(Offset::new(0)) {
        Some(place) => {
            *place = ethernet;
            true
        }
        None => false,
    }
}

#[inline(always)]
pub(crate) fn dropped(reason: Reason) -> Outcome {
    Outcome { verdict: Verdict::drop(reason), device: 0 }
}

/// What the rewritten frame carries; none if that cannot be known.
#[inline(always)]
fn ethertype(packet: &Packet, pushes: u32, bottom: bool) -> Option<EtherType> {
    if pushes > 0 || !bottom {
        return Some(EtherType::MPLS);
    }
    match packet.family() {
        4 => Some(EtherType::IPV4),
        6 => Some(EtherType::IPV6),
        _ => None,
    }
}

/// Writes TTL and class into the header that stays on top of the payload.
#[inline(always)]
pub fn inner<F: Frame>(frame: &mut F, packet: &Packet, decision: &Decision, pushes: u32) {
    // A swap leaves what is below it alone.
    if decision.write() & write::SWAP != 0 && pushes > 0 {
        return;
    }
    if decision.write() & write::ENTRY != 0 {
        entry(frame, packet.l3() + decision.pops() * 4, decision);
    } else if decision.write() & (write::IP_TTL | write::IP_CLASS) != 0 {
        match packet.family() {
            4 => ipv4(frame, packet, decision),
            6 => ipv6(frame, packet, decision),
            _ => {}
        }
    }
}

/// An exposed entry gets the path's TTL and class in the uniform model; its TTL never grows.
#[inline(always)]
fn entry<F: Frame>(frame: &mut F, at: u32, decision: &Decision) {
    if let Some(entry) = frame.header_mut::<Lse>(Offset::new(at)) {
        let ttl = if entry.ttl() < decision.ttl() { entry.ttl() } else { decision.ttl() };
        *entry = Lse::new(entry.label(), decision.class(), entry.is_bottom(), ttl);
    }
}

/// The class octet after a label path's class was copied into its upper three bits (RFC 3270).
#[inline(always)]
fn class(packet: &Packet, decision: &Decision) -> u8 {
    if decision.write() & write::IP_CLASS != 0 {
        decision.class() << 5 | packet.class() & 0x1f
    } else {
        packet.class()
    }
}

/// The checksum is repaired by difference and never recomputed, so a header damaged on the way in
/// still fails at the receiver instead of being blessed by us (RFC 1812 §4.2.2.5).
#[inline(always)]
fn ipv4<F: Frame>(frame: &mut F, packet: &Packet, decision: &Decision) {
    let Some(ip) = frame.header_mut::<Ipv4>(Offset::new(packet.ip())) else { return };
    let class = class(packet, decision);
    if class != packet.class() {
        let [old, new] =
            [packet.class(), class].map(|tos| u16::from_be_bytes([ip.version_ihl, tos]));
        ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
        ip.tos = class;
    }
    if decision.ip_ttl() != packet.ttl() {
        let [old, new] =
            [packet.ttl(), decision.ip_ttl()].map(|ttl| u16::from_be_bytes([ttl, ip.protocol]));
        ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
        ip.ttl = decision.ip_ttl();
    }
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &mut F, packet: &Packet, decision: &Decision) {
    let Some(ip) = frame.header_mut::<Ipv6>(Offset::new(packet.ip())) else { return };
    let class = class(packet, decision);
    if class != packet.class() {
        let word = ip.version_class_flow.get() & !(0xff << 20) | u32::from(class) << 20;
        ip.version_class_flow = word.into();
    }
    ip.hop_limit = decision.ip_ttl();
}

/// Takes off what the link padded a short packet with (RFC 1812 §5.2.2), down to the shortest
/// Ethernet frame.
#[inline(always)]
fn trim<F: Frame>(frame: &mut F, packet: &Packet) {
    let end = packet.ip() + packet.len();
    if packet.len() != 0 && frame.is_padded(end) {
        frame.set_octets(if end < SHORTEST { SHORTEST } else { end });
    }
}

/// Writes the tags of a VLAN sub-interface: the type of the first stands in the Ethernet header.
#[inline(always)]
pub(crate) fn vlans<F: Frame>(frame: &mut F, row: &NextHopRow, ethertype: EtherType) {
    let next = match row.tags {
        1 => ethertype.0.to_be_bytes(),
        _ => [row.vlans[1][0], row.vlans[1][1]],
    };
    let [_, _, high, low] = row.vlans[0];
    if let Some(tag) = frame.header_mut::<[u8; 4]>(Offset::new(LINK_HEADER)) {
        *tag = [high, low, next[0], next[1]];
    }
    if row.tags > 1 {
        let [_, _, high, low] = row.vlans[1];
        let [a, b] = ethertype.0.to_be_bytes();
        if let Some(tag) = frame.header_mut::<[u8; 4]>(Offset::new(LINK_HEADER + 4)) {
            *tag = [high, low, a, b];
        }
    }
}

/// Writes pushed label stack entries, outermost first (RFC 3032 §2.1, RFC 3443 §3, RFC 6790 §4.1).
#[inline(always)]
fn labels<F: Frame>(frame: &mut F, decision: &Decision, row: &NextHopRow, entropy: u32) {
    let (count, pushes) = (u32::from(row.labels), crate::decide::pushed(decision, row));
    let bottom = decision.write() & write::BOTTOM != 0;
    let swap = decision.write() & write::SWAP != 0;
    let pipe = row.flags & nexthop::flag::PIPE != 0;
    let class =
        if row.flags & nexthop::flag::CLASS != 0 { row.class & 7 } else { decision.class() };
    let mut at = LINK_HEADER + u32::from(row.tags) * 4;
    for index in 0..MAX_ENTRIES {
        if index >= pushes {
            break;
        }
        // The entry that replaces a popped one goes on with the path's own TTL.
        let own_path = swap && index + 1 == count;
        let mut ttl = if pipe && !own_path { row.ttl } else { decision.ttl() };
        let mut tc = class;
        let label = if index < count {
            u32::from_be_bytes(row.stack[index as usize % nexthop::MAX_PUSH]) >> 12
        } else if index == count {
            reserved::ENTROPY
        } else {
            (ttl, tc) = (0, 0);
            entropy
        };
        if let Some(entry) = frame.header_mut::<Lse>(Offset::new(at)) {
            *entry = Lse::new(label, tc, bottom && index + 1 == pushes, ttl);
        }
        at += size_of::<Lse>() as u32;
    }
}
