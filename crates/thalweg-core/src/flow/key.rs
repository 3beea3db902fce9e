//! The key of a flow: addresses, ports, protocol and VRF of one direction.

use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_abi::flow::tail;
use thalweg_wire::l4::protocol;
use thalweg_wire::{U16, U32};

/// Source (two words), destination (two words), and the rest ([`thalweg_abi::flow::tail`]).
pub type Key = [u64; 5];

/// The key of a packet. ICMP queries have their identifier in the place of both ports; of other packets
/// without ports, all between two hosts are one flow.
#[inline(always)]
pub fn key_of<F: Frame>(frame: &F, packet: &Packet) -> Key {
    // Of fragments no ports are read, so that all of a packet are hashed alike.
    let first = packet.has(flag::FRAGMENT) && protocol::has_ports(packet.protocol());
    let ports = match packet.ports() {
        0 if first => frame.header::<U32>(Offset::new(packet.l4())).map_or(0, |ports| ports.get()),
        0 if is_query(frame, packet) => {
            let id = frame.header::<U16>(Offset::new(packet.l4() + 4)).map_or(0, |id| id.get());
            u32::from(id) << 16 | u32::from(id)
        }
        ports => ports,
    };
    key(packet, ports)
}

/// The key of a packet with these ports.
#[inline(always)]
pub fn key(packet: &Packet, ports: u32) -> Key {
    let tail = tail(ports, packet.vrf() as u16, packet.protocol(), packet.family());
    let ([a, b], [c, d]) = (packet.source, packet.destination);
    [a, b, c, d, tail]
}

/// The key of the other direction.
#[inline(always)]
pub const fn reversed([a, b, c, d, tail]: Key) -> Key {
    let ports = (tail >> 32) as u32;
    [c, d, a, b, (ports.rotate_left(16) as u64) << 32 | tail & 0xffff_ffff]
}

/// Whether a packet asks or answers by ICMP: echo, timestamp (RFC 792); echo (RFC 4443).
#[inline(always)]
pub fn is_query<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let icmp = packet.protocol() == protocol::ICMP && packet.family() == 4;
    let icmp6 = packet.protocol() == protocol::ICMPV6 && packet.family() == 6;
    if !(icmp || icmp6) || packet.l4() == 0 || packet.has(flag::LATER_FRAGMENT) {
        return false;
    }
    let kind = frame.header::<U16>(Offset::new(packet.l4())).map_or(3, |word| word.get() >> 8);
    if icmp { matches!(kind, 0 | 8 | 13 | 14) } else { matches!(kind, 128 | 129) }
}

/// Whether a packet is ICMP but no query: it belongs to the flow that it quotes.
#[inline(always)]
pub fn is_error<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let icmp = packet.protocol() == protocol::ICMP && packet.family() == 4;
    let icmp6 = packet.protocol() == protocol::ICMPV6 && packet.family() == 6;
    (icmp || icmp6) && !is_query(frame, packet)
}
