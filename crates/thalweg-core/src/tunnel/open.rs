//! Outer headers off a packet: only those that a node of the cluster has put there.

use super::{LINK_HEADER, group_of};
use crate::flow::Flows;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict, fib};
use thalweg_abi::tunnel::{self, TunnelRow, protocol};
use thalweg_abi::{link, nexthop, settings};
use thalweg_wire::l4::{Udp, protocol as number};
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, U16, checksum};

/// The frame was one of a tunnel, and is now what was in it.
pub const OPENED: Verdict = Verdict::pass(Reason::Tunnelled);
/// Nobody outside of the cluster may put packets into it.
const STRANGE: Verdict = Verdict::drop(Reason::StrangeTunnel);
/// Octets of the headers of VXLAN and Geneve.
const HEADER: u32 = 8;

/// Whether a packet looks like one of a tunnel to this node: its receiver is not looked at.
#[inline(always)]
pub fn is_for_tunnel(flags: u32, packet: &Packet) -> bool {
    if flags & settings::flag::TUNNEL == 0
        || packet.depth() > 0
        || packet.has(flag::FRAGMENT | flag::LINK_GROUP)
        || packet.link_has(link::flag::WORKLOAD)
    {
        return false;
    }
    match settings::tunnel_port(flags) {
        0 => matches!(packet.protocol(), number::IPV4 | number::IPV6),
        port => packet.protocol() == number::UDP && packet.ports() as u16 == port,
    }
}

/// What stands where in a frame of a tunnel.
#[derive(Clone, Copy)]
struct Inside {
    /// Where the inner packet begins; 0 if its headers are not those that nodes send.
    at: u32,
    /// Its family.
    family: u8,
}

/// Takes the outer headers off a frame that is for this node's tunnel, and puts the number of the node it
/// comes from into `node`: [`OPENED`]. None if it is for somebody else; otherwise the verdict.
#[inline(always)]
pub fn open<F: Frame, C: Flows>(
    frame: &mut F,
    cells: &C,
    packet: &Packet,
    node: &mut u64,
) -> Option<Verdict> {
    let id = tunnel::node_id(packet.source);
    let Some(row) = row_of(cells, id) else {
        return is_here(cells, packet).then_some(STRANGE);
    };
    let Some(tunnel) = TunnelRow::of(&row) else { return Some(STRANGE) };
    if tunnel::halves(tunnel.local) != packet.destination
        || tunnel::halves(tunnel.remote) != packet.source
    {
        return is_here(cells, packet).then_some(STRANGE);
    }
    let inside = inside(frame, packet, tunnel.protocol, tunnel.vni);
    // Outer headers are longer than nothing, so that the room is never beyond the frame.
    let (at, keep) = (inside.at, packet.l3());
    if at <= keep {
        return Some(STRANGE);
    }
    if !cells.holds() {
        return Some(Verdict::drop(Reason::Overtaken));
    }
    if !congestion(frame, at, inside.family, packet.class() & 3) {
        return Some(STRANGE);
    }
    if !take_off(frame, at - keep, keep, inside.family) {
        return Some(Verdict::drop(Reason::NoRoom));
    }
    *node = id;
    Some(OPENED)
}

/// The outer headers that packets to a node get, which are those that its own have with the ends changed.
#[inline(always)]
fn row_of<C: Flows>(cells: &C, id: u64) -> Option<C::Ref<thalweg_abi::NextHopRow>> {
    let group = match group_of(cells, id) {
        0 => return None,
        group => cells.group(group),
    };
    let first = if group.has_buckets() { cells.bucket(group.first()) } else { group.first() };
    let hop = cells.nexthop(first)?;
    cells.nexthop(hop.backup)
}

/// Whether the receiver is this host. A function of its own: only strangers ask.
#[inline(never)]
fn is_here<C: Flows>(cells: &C, packet: &Packet) -> bool {
    let group = match packet.family() {
        4 => fib::route4(cells, packet.vrf(), packet.destination[1] as u32),
        _ => fib::route6(cells, packet.vrf(), packet.destination),
    };
    let first = cells.group(group).first();
    group != 0 && cells.nexthop(first).is_some_and(|row| row.kind == nexthop::kind::DELIVER)
}

/// Finds the inner packet.
#[inline(always)]
fn inside<F: Frame>(frame: &F, packet: &Packet, kind: u8, vni: u32) -> Inside {
    const NONE: Inside = Inside { at: 0, family: 0 };
    let behind = packet.l4() + size_of::<Udp>() as u32;
    match kind {
        protocol::IPIP => Inside { at: packet.l4(), family: family_of(packet.protocol()) },
        protocol::GUE => {
            let Some(header) = frame.header::<[u8; 4]>(Offset::new(behind)) else { return NONE };
            // Variant 0, data, no optional fields.
            if header[0] != 0 || header[2] != 0 || header[3] != 0 {
                return NONE;
            }
            match family_of(header[1]) {
                0 => NONE,
                family => Inside { at: behind + 4, family },
            }
        }
        _ => {
            let Some(header) = frame.header::<[u8; 8]>(Offset::new(behind)) else { return NONE };
            let [first, second, kind_high, kind_low, a, b, c, _] = *header;
            let geneve = kind == protocol::GENEVE;
            // Version 0 without control packets and critical options; or the bit for the identifier.
            let fine = if geneve { first >> 6 == 0 && second >> 6 == 0 } else { first & 8 != 0 };
            let options = if geneve { u32::from(first & 0x3f) * 4 } else { 0 };
            if !fine || u32::from_be_bytes([0, a, b, c]) != vni {
                return NONE;
            }
            let at = behind + HEADER + options;
            match (geneve, u16::from_be_bytes([kind_high, kind_low])) {
                (true, 0x0800) => Inside { at, family: 4 },
                (true, 0x86dd) => Inside { at, family: 6 },
                (true, other) if other != 0x6558 => NONE,
                _ => ethernet(frame, at),
            }
        }
    }
}

#[inline(always)]
fn ethernet<F: Frame>(frame: &F, at: u32) -> Inside {
    let ethertype = frame.header::<Ethernet>(Offset::new(at)).map_or(0, |e| e.ethertype.get());
    let family = match EtherType(ethertype) {
        EtherType::IPV4 => 4,
        EtherType::IPV6 => 6,
        _ => 0,
    };
    Inside { at: if family == 0 { 0 } else { at + LINK_HEADER }, family }
}

#[inline(always)]
const fn family_of(protocol: u8) -> u8 {
    match protocol {
        number::IPV4 => 4,
        number::IPV6 => 6,
        _ => 0,
    }
}

/// Congestion on the way between the nodes is told to the receiver (RFC 6040 §4.2). False if the packet
/// must be dropped, for its sender would not understand.
#[inline(always)]
fn congestion<F: Frame>(frame: &mut F, at: u32, family: u8, outer: u8) -> bool {
    const MARKED: u8 = 3;
    if family == 4 {
        let Some(ip) = frame.header_mut::<Ipv4>(Offset::new(at)) else { return false };
        let inner = ip.tos & 3;
        let marks = outer == MARKED || outer == 1 && inner == 2;
        if outer == MARKED && inner == 0 {
            return false;
        }
        if marks && inner != outer {
            let tos = ip.tos & !3 | outer;
            let [old, new] = [ip.tos, tos].map(|tos| u16::from_be_bytes([ip.version_ihl, tos]));
            ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
            ip.tos = tos;
        }
        return true;
    }
    let Some(ip) = frame.header_mut::<Ipv6>(Offset::new(at)) else { return false };
    let inner = ip.class() & 3;
    if outer == MARKED && inner == 0 {
        return false;
    }
    if outer == MARKED || outer == 1 && inner == 2 {
        let word = ip.version_class_flow.get() & !(3 << 20) | u32::from(outer) << 20;
        ip.version_class_flow = word.into();
    }
    true
}

/// Takes `octets` out behind a link header of `keep` octets, whose type becomes that of what is left.
#[inline(always)]
fn take_off<F: Frame>(frame: &mut F, octets: u32, keep: u32, family: u8) -> bool {
    let Some(first) = frame.header::<[u8; 12]>(Offset::new(0)) else { return false };
    let first = *first;
    // Up to two tags; without any, what is read here belongs to the packet and is not written again.
    let Some(tags) = frame.header::<[u8; 8]>(Offset::new(12)) else { return false };
    let [a, b, c, d, e, f, g, h] = *tags;
    if !frame.unwrap(octets, family) {
        return false;
    }
    let Some(place) = frame.header_mut::<[u8; 12]>(Offset::new(0)) else { return false };
    *place = first;
    if keep > LINK_HEADER {
        let Some(place) = frame.header_mut::<[u8; 4]>(Offset::new(12)) else { return false };
        *place = [a, b, c, d];
    }
    if keep > LINK_HEADER + 4 {
        let Some(place) = frame.header_mut::<[u8; 4]>(Offset::new(16)) else { return false };
        *place = [e, f, g, h];
    }
    let ethertype = if family == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let Some(place) = frame.header_mut::<U16>(Offset::new(keep.wrapping_sub(2))) else {
        return false;
    };
    *place = ethertype.0.into();
    true
}
