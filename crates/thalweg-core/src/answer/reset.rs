//! Resets of TCP: what a connection hears that policies deny (RFC 9293 §3.10.7.1).

use super::build::folded;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_wire::l4::{Tcp, protocol};
use thalweg_wire::{Ipv4, Ipv6, checksum};

/// Octets of a TCP header without options.
const TCP: u32 = size_of::<Tcp>() as u32;
/// Hops an answer may travel.
const TTL: u8 = 64;

/// Whether a packet may be answered so: TCP right behind the IP header. What has options between is told an
/// ICMP error.
#[inline(always)]
pub fn applies(packet: &Packet) -> bool {
    packet.protocol() == protocol::TCP
        && packet.depth() == 0
        && packet.l4() == packet.ip() + ip_len(packet)
}

/// Whether a packet is a reset itself, which is never answered.
#[inline(always)]
pub fn is_reset<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let header = frame.header::<Tcp>(Offset::new(packet.l4()));
    header.is_none_or(|header| header.flags.get() as u8 & Tcp::RST != 0)
}

#[inline(always)]
fn ip_len(packet: &Packet) -> u32 {
    if packet.family() == 4 { Ipv4::LEN as u32 } else { Ipv6::LEN as u32 }
}

/// Turns a packet of a connection into the reset that answers it, and `packet` into the values of that. False
/// if the frame cannot be resized: it is then spoiled and must be dropped.
#[inline(always)]
pub fn build<F: Frame>(frame: &mut F, packet: &mut Packet) -> bool {
    let (l4, len) = (packet.l4(), ip_len(packet) + TCP);
    let Some(asked) = frame.header::<Tcp>(Offset::new(l4)) else { return false };
    let header = reset(asked, packet.len().wrapping_sub(ip_len(packet)));
    let end = l4 + TCP;
    if frame.octets() != end && !frame.set_octets(end) {
        return false;
    }
    packet.len = len.into();
    (packet.source, packet.destination) = (packet.destination, packet.source);
    packet.set_header(TTL, 0, protocol::TCP);
    packet.flags = u64::from(flag::OWN | flag::DONT_FRAGMENT);
    packet.ports = 0;
    write_ip(frame, packet);
    let Some(place) = frame.header_mut::<Tcp>(Offset::new(l4)) else { return false };
    *place = header;
    // Of a sum that is left to the device, the pseudo header alone counts: the frame knows.
    frame.repair(Offset::new(l4 + 16), pseudo(packet), sum(&header), false)
}

/// The reset for a segment of `octets`, header included. Its sum is that of nothing yet.
#[inline(always)]
fn reset(asked: &Tcp, octets: u32) -> Tcp {
    let word = u32::from(asked.flags.get());
    let flags = word as u8;
    let data = octets.wrapping_sub(word >> 12 << 2);
    let length = data + u32::from(flags & Tcp::SYN != 0) + u32::from(flags & Tcp::FIN != 0);
    let (sequence, acknowledgment, flags) = match flags & Tcp::ACK {
        0 => (0, asked.sequence.get().wrapping_add(length), Tcp::RST | Tcp::ACK),
        _ => (asked.acknowledgment.get(), 0, Tcp::RST),
    };
    Tcp {
        source: asked.destination,
        destination: asked.source,
        sequence: sequence.into(),
        acknowledgment: acknowledgment.into(),
        flags: ((TCP as u16 / 4) << 12 | u16::from(flags)).into(),
        window: 0.into(),
        checksum: 0xffff.into(),
        urgent: 0.into(),
    }
}

/// Sum of the words of a header without that of its checksum, folded to 16 bits.
#[inline(always)]
fn sum(header: &Tcp) -> u16 {
    let both = |word: u32| (word >> 16) + (word & 0xffff);
    let ports = u32::from(header.source.get()) + u32::from(header.destination.get());
    let numbers = both(header.sequence.get()) + both(header.acknowledgment.get());
    checksum::fold(ports + numbers + u32::from(header.flags.get()))
}

/// Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), folded to 16 bits.
#[inline(always)]
fn pseudo(packet: &Packet) -> u16 {
    checksum::fold(folded(packet) + TCP + u32::from(protocol::TCP))
}

#[inline(always)]
fn write_ip<F: Frame>(frame: &mut F, packet: &Packet) {
    let at = Offset::new(packet.ip());
    if packet.family() == 4 {
        let hops = u32::from(TTL) << 8 | u32::from(protocol::TCP);
        let sum = 0x4500 + packet.len() + u32::from(Ipv4::DF) + hops + folded(packet);
        let header = Ipv4 {
            version_ihl: 0x45,
            tos: 0,
            total_len: (packet.len() as u16).into(),
            // An atomic datagram needs no identification (RFC 6864 §4).
            id: 0.into(),
            fragment: Ipv4::DF.into(),
            ttl: TTL,
            protocol: protocol::TCP,
            checksum: (!checksum::fold(sum)).into(),
            source: (packet.source[1] as u32).into(),
            destination: (packet.destination[1] as u32).into(),
        };
        if let Some(ip) = frame.header_mut::<Ipv4>(at) {
            *ip = header;
        }
        return;
    }
    let header = Ipv6 {
        version_class_flow: (6 << 28).into(),
        payload_len: (TCP as u16).into(),
        next_header: protocol::TCP,
        hop_limit: TTL,
        source: packet.source.map(Into::into),
        destination: packet.destination.map(Into::into),
    };
    if let Some(ip) = frame.header_mut::<Ipv6>(at) {
        *ip = header;
    }
}
