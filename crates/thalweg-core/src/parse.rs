//! From bytes to values: link header, tags, label stack, IP header, ports.
//!
//! Only what a router must check is checked (RFC 1812 §5.2.2, RFC 8200); everything else about a
//! packet is its receiver's business.

pub(crate) mod ipv4;
pub(crate) mod ipv6;
mod mpls;

use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use core::ops::ControlFlow;
use thalweg_abi::{Reason, Verdict, link};
use thalweg_wire::l4::{Ports, protocol};
use thalweg_wire::{EtherType, Ethernet, U16, VlanTag};

/// Reads a frame into `packet`, whose arrival is already there.
///
/// Breaks with the verdict of a frame that is not ours to decide or not well-formed.
#[inline(always)]
pub fn parse<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
) -> ControlFlow<Verdict> {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else {
        return ControlFlow::Break(Verdict::drop(Reason::Truncated));
    };
    let (ethertype, receiver) = (ethernet.ethertype.get(), ethernet.destination.as_u64());
    let group = ethernet.destination.is_group();
    let (ethertype, at) = link_of(frame, cells, packet, ethertype)?;
    let at = cells.blur(u64::from(at)) as u32 & 0x1f;
    let Some(row) = cells.link(packet.link()) else {
        return ControlFlow::Break(Verdict::pass(Reason::NotRouted));
    };
    packet.link_flags = u64::from(row.flags);
    packet.vrf = u64::from(u32::from(row.vrf));
    packet.ip = u64::from(at);
    if group {
        packet.flags |= u64::from(flag::LINK_GROUP);
    } else if receiver != thalweg_wire::Mac(row.mac).as_u64() {
        return ControlFlow::Break(Verdict::pass(not_for_us(row.flags)));
    }
    network(frame, cells, packet, EtherType(ethertype))
}

/// Why a frame to another station's address is left alone.
#[inline(always)]
fn not_for_us(flags: u32) -> Reason {
    const OURS: u32 = link::flag::IPV4 | link::flag::IPV6 | link::flag::MPLS;
    if flags & OURS == 0 { Reason::NotRouted } else { Reason::OtherHost }
}

/// Follows VLAN tags to the sub-interface they lead to. Returns the type and place of what follows.
#[inline(always)]
fn link_of<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    ethertype: u16,
) -> ControlFlow<Verdict, (u16, u32)> {
    let (mut ethertype, mut at) = (ethertype, size_of::<Ethernet>() as u32);
    for _ in 0..2 {
        if !EtherType(ethertype).is_vlan() {
            break;
        }
        let Some(tag) = frame.header::<VlanTag>(Offset::new(at)) else {
            return ControlFlow::Break(Verdict::drop(Reason::Truncated));
        };
        let vid = u32::from(tag.vid());
        ethertype = tag.ethertype.get();
        at += size_of::<VlanTag>() as u32;
        if vid != 0 {
            packet.set_link(sub_link(cells, packet.link(), vid)?);
        }
    }
    ControlFlow::Continue((ethertype, at))
}

/// The sub-interface of a link for a VLAN id; 0 for none.
#[inline(always)]
pub fn sub_interface<C: Cells>(cells: &C, parent: u32, vid: u32) -> u32 {
    match cells.link(parent).map_or(0, |row| row.vlan_page) {
        0 => 0,
        page => cells.vlan(page.wrapping_mul(link::VLANS_PER_PAGE) | vid),
    }
}

#[inline(always)]
fn sub_link<C: Cells>(cells: &C, parent: u32, vid: u32) -> ControlFlow<Verdict, u32> {
    match sub_interface(cells, parent, vid) {
        0 => ControlFlow::Break(Verdict::pass(Reason::UnknownVlan)),
        link => ControlFlow::Continue(link),
    }
}

/// Reads the label stack if there is one, then the IP header if there is one.
#[inline(always)]
fn network<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    ethertype: EtherType,
) -> ControlFlow<Verdict> {
    let family = match ethertype {
        EtherType::IPV4 if packet.link_has(link::flag::IPV4) => 4,
        EtherType::IPV6 if packet.link_has(link::flag::IPV6) => 6,
        EtherType::MPLS if packet.link_has(link::flag::MPLS) => mpls::parse(frame, packet)?,
        EtherType::MPLS if packet.link_has(link::flag::IPV4 | link::flag::IPV6) => {
            return ControlFlow::Break(Verdict::drop(Reason::MplsDisabled));
        }
        EtherType::IPV4 | EtherType::IPV6 | EtherType::MPLS => {
            return ControlFlow::Break(Verdict::pass(Reason::NotRouted));
        }
        _ => return ControlFlow::Break(Verdict::pass(Reason::NotIp)),
    };
    join(cells, packet);
    let read = match cells.blur(family) & 7 {
        4 => ipv4::parse(frame, cells, packet),
        6 => ipv6::parse(frame, cells, packet),
        _ => ControlFlow::Continue(()),
    };
    if let ControlFlow::Break(fault) = read {
        if packet.depth() == 0 {
            return ControlFlow::Break(fault);
        }
        packet.fault = u64::from(fault.to_number());
    }
    join(cells, packet);
    ControlFlow::Continue(())
}

/// Makes one path of the many that parsing took.
#[inline(always)]
fn join<C: Cells>(cells: &C, packet: &mut Packet) {
    const PLACE: u64 = Offset::MAX as u64;
    packet.ip = cells.blur(packet.ip) & PLACE;
    packet.l4 = cells.blur(packet.l4) & PLACE;
    packet.depth = cells.blur(packet.depth) & 0xf;
    packet.len = cells.blur(packet.len) & 0xffff;
    packet.family = cells.blur(packet.family) & 7;
    packet.header = cells.blur(packet.header) & 0xff_ffff;
    packet.flags = cells.blur(packet.flags) & 0xff;
    packet.fault = cells.blur(packet.fault) & 0xffff_ffff;
}

/// Reads the ports of an L4 header, if the protocol has them and they are there.
#[inline(always)]
fn ports<F: Frame>(frame: &F, packet: &mut Packet, at: u32) {
    packet.l4 = u64::from(at);
    if packet.has(flag::FRAGMENT) || !protocol::has_ports(packet.protocol()) {
        return;
    }
    if let Some(ports) = frame.header::<Ports>(Offset::new(at)) {
        packet.ports =
            u64::from(u32::from(ports.source.get()) << 16 | u32::from(ports.destination.get()));
    }
}

/// A frame that the kernel will segment counts as one of its segments from here on.
#[inline(always)]
fn measure<F: Frame>(frame: &F, packet: &mut Packet) {
    let segment = frame.segment();
    if segment == 0 {
        return;
    }
    let header = match packet.protocol() {
        // The data offset, in words, is the high half of octet 12 (RFC 9293 §3.1).
        protocol::TCP => match frame.header::<U16>(Offset::new(packet.l4() + 12)) {
            Some(offset) => u32::from(offset.get() >> 12) * 4,
            None => 60,
        },
        // Each segment of SCTP has a length of its own, which the kernel does not tell, and its sender has
        // seen to it that it fits (`GSO_BY_FRAGS`, include/linux/skbuff.h).
        protocol::SCTP => {
            packet.len = u64::from(packet.l4().wrapping_sub(packet.ip()) + 12);
            return;
        }
        _ => 8,
    };
    packet.len = u64::from(packet.l4().wrapping_sub(packet.ip()) + header + segment);
}
