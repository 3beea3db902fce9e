//! Outer headers around a packet (RFC 7348, RFC 8926, RFC 2003, RFC 2473).

use super::LINK_HEADER;
use crate::apply::{self, dropped};
use crate::cells::Cells;
use crate::decide::Decision;
use crate::frame::{Frame, Offset};
use crate::packet::Packet;
use crate::{Outcome, hash};
use thalweg_abi::tunnel::{TunnelRow, protocol};
use thalweg_abi::{Kind, NextHopRow, Reason, nexthop};
use thalweg_wire::l4::{Udp, protocol as number};
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, Mac, U16, checksum};

/// Hops that an outer packet may go.
const TTL: u8 = 64;
/// Ports that outer packets come from: which of them tells receivers' queues one flow from another.
const FIRST_PORT: u16 = 0xc000;

/// The row of the outer headers that a next hop asks for, or 0.
#[inline(always)]
pub fn tunnel_of<C: Cells>(cells: &C, nexthop: u32) -> u32 {
    match cells.nexthop(nexthop) {
        Some(row) if row.flags & nexthop::flag::TUNNEL != 0 => row.backup,
        _ => 0,
    }
}

/// Rewrites a frame for a next hop through a tunnel. Where the link address there is not known, it stays zero, and
/// the outcome names the link by which the kernel is to find it.
#[inline(always)]
pub fn send<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &Packet,
    decision: &Decision,
) -> Outcome {
    let Some(hop) = cells.nexthop(decision.nexthop()) else { return dropped(Reason::Broken) };
    let Some(outer) = cells.nexthop(hop.backup) else { return dropped(Reason::Broken) };
    let Some(tunnel) = TunnelRow::of(&outer) else { return dropped(Reason::Broken) };
    let Some(inner) = inner_type(packet) else { return dropped(Reason::NoRoom) };
    apply::inner(frame, packet, decision, 0);
    if frame.segment() == 0 && !frame.set_octets(packet.ip() + packet.len()) {
        return dropped(Reason::NoRoom);
    }
    let (family, kind) = (tunnel.family, tunnel.protocol);
    // What the room is, the verifier must see.
    let room = thalweg_abi::tunnel::room(kind, family);
    if !frame.wrap(room, family, kind) {
        return dropped(Reason::NoRoom);
    }
    let (old, new) = (packet.l3(), LINK_HEADER + u32::from(hop.tags) * 4);
    let moved = match (new > old, new < old) {
        (true, _) => frame.grow_head(new - old),
        (_, true) => frame.shrink_head(old - new),
        _ => true,
    };
    if !moved {
        return dropped(Reason::NoRoom);
    }
    let seed = cells.settings().map_or(0, |row| row.seed);
    let hash = hash::flow(packet, seed);
    let outer_type = if family == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    if hop.tags > 0 {
        apply::vlans(frame, &hop, outer_type);
    }
    let len = frame.octets().wrapping_sub(new);
    if !headers(frame, packet, tunnel, new, len, hash, inner) {
        return dropped(Reason::Truncated);
    }
    if !link_header(frame, &hop, outer_type) {
        return dropped(Reason::Truncated);
    }
    let known = decision.verdict.is(Kind::Forward);
    Outcome { verdict: decision.verdict, device: if known { hop.device } else { hop.link } }
}

/// The type of a packet that stands right behind its link header.
#[inline(always)]
fn inner_type(packet: &Packet) -> Option<EtherType> {
    match packet.family() {
        _ if packet.depth() > 0 || packet.len() == 0 => None,
        4 => Some(EtherType::IPV4),
        6 => Some(EtherType::IPV6),
        _ => None,
    }
}

#[inline(always)]
fn link_header<F: Frame>(frame: &mut F, hop: &NextHopRow, ethertype: EtherType) -> bool {
    let Some(ethernet) = frame.header_mut::<Ethernet>(Offset::new(0)) else { return false };
    let [a, b, c, d, e, f, g, h, i, j, k, l] = hop.addresses;
    ethernet.destination = Mac([a, b, c, d, e, f]);
    ethernet.source = Mac([g, h, i, j, k, l]);
    ethernet.ethertype = match hop.tags {
        0 => ethertype.0.into(),
        _ => U16::from_bytes([hop.vlans[0][0], hop.vlans[0][1]]),
    };
    true
}

/// Writes all outer headers from `at` on, of a frame that has `len` octets from there.
#[inline(always)]
fn headers<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    tunnel: &TunnelRow,
    at: u32,
    len: u32,
    hash: u32,
    inner: EtherType,
) -> bool {
    let payload = match tunnel.protocol {
        protocol::IPIP if inner.0 == EtherType::IPV6.0 => number::IPV6,
        protocol::IPIP => number::IPV4,
        _ => number::UDP,
    };
    let (written, behind) = match tunnel.family {
        6 => (outer6(frame, packet, tunnel, at, len, hash, payload), Ipv6::LEN as u32),
        _ => (outer4(frame, packet, tunnel, at, len, payload), Ipv4::LEN as u32),
    };
    if !written || tunnel.protocol == protocol::IPIP {
        return written;
    }
    let at = at + behind;
    let Some(udp) = frame.header_mut::<Udp>(Offset::new(at)) else { return false };
    udp.source = (FIRST_PORT | hash as u16 & !FIRST_PORT).into();
    udp.destination = tunnel.port.into();
    udp.len = (len.wrapping_sub(behind) as u16).into();
    // Of what is within, each packet has a sum of its own (RFC 6935, RFC 6936).
    udp.checksum = 0.into();
    within(frame, tunnel, at + size_of::<Udp>() as u32, inner)
}

/// The header of the tunnel's own protocol, and the inner Ethernet header behind it.
#[inline(always)]
fn within<F: Frame>(frame: &mut F, tunnel: &TunnelRow, at: u32, inner: EtherType) -> bool {
    let [_, a, b, c] = tunnel.vni.to_be_bytes();
    if tunnel.protocol == protocol::GUE {
        let number = if inner.0 == EtherType::IPV6.0 { number::IPV6 } else { number::IPV4 };
        let Some(header) = frame.header_mut::<[u8; 4]>(Offset::new(at)) else { return false };
        *header = [0, number, 0, 0];
        return true;
    }
    let Some(header) = frame.header_mut::<[u8; 8]>(Offset::new(at)) else { return false };
    *header = match tunnel.protocol {
        // No options; Ethernet follows (RFC 8926 §3.4).
        protocol::GENEVE => [0, 0, 0x65, 0x58, a, b, c, 0],
        // The identifier is there (RFC 7348 §5).
        _ => [0x08, 0, 0, 0, a, b, c, 0],
    };
    let Some(ethernet) = frame.header_mut::<Ethernet>(Offset::new(at + 8)) else { return false };
    let [a, b, c, d, e, f, g, h, i, j, k, l] = tunnel.addresses;
    ethernet.destination = Mac([a, b, c, d, e, f]);
    ethernet.source = Mac([g, h, i, j, k, l]);
    ethernet.ethertype = inner.0.into();
    true
}

/// An outer IPv4 header. The class, with what tells of congestion, is the packet's own (RFC 6040 §4.1).
#[inline(always)]
fn outer4<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    tunnel: &TunnelRow,
    at: u32,
    len: u32,
    payload: u8,
) -> bool {
    let Some(ip) = frame.header_mut::<Ipv4>(Offset::new(at)) else { return false };
    let (local, remote) = (tunnel.local[3], tunnel.remote[3]);
    let first = u32::from(u16::from_be_bytes([0x45, packet.class()]));
    let fifth = u32::from(u16::from_be_bytes([TTL, payload]));
    let addresses = (local >> 16) + (local & 0xffff) + (remote >> 16) + (remote & 0xffff);
    let sum = first + (len & 0xffff) + u32::from(Ipv4::DF) + fifth + addresses;
    ip.version_ihl = 0x45;
    ip.tos = packet.class();
    ip.total_len = (len as u16).into();
    ip.id = 0.into();
    // What does not fit is told to the sender before it comes here.
    ip.fragment = Ipv4::DF.into();
    ip.ttl = TTL;
    ip.protocol = payload;
    ip.checksum = (!checksum::fold(sum)).into();
    ip.source = local.into();
    ip.destination = remote.into();
    true
}

/// An outer IPv6 header, with a flow label that tells one flow from another (RFC 6438).
#[inline(always)]
fn outer6<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    tunnel: &TunnelRow,
    at: u32,
    len: u32,
    hash: u32,
    payload: u8,
) -> bool {
    let Some(ip) = frame.header_mut::<Ipv6>(Offset::new(at)) else { return false };
    let class = u32::from(packet.class());
    ip.version_class_flow = (6 << 28 | class << 20 | hash & 0xf_ffff).into();
    ip.payload_len = (len.wrapping_sub(Ipv6::LEN as u32) as u16).into();
    ip.next_header = payload;
    ip.hop_limit = TTL;
    let (local, remote) =
        (thalweg_abi::tunnel::halves(tunnel.local), thalweg_abi::tunnel::halves(tunnel.remote));
    ip.source = [local[0].into(), local[1].into()];
    ip.destination = [remote[0].into(), remote[1].into()];
    true
}
