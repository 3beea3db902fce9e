//! The flow hash: equal for all packets of a flow, spread evenly, different from router to router.

use crate::packet::Packet;
use thalweg_wire::mpls::reserved;

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn mix(sum: u64, value: u64) -> u64 {
    let x = (sum ^ value).wrapping_mul(MIX);
    x ^ x >> 29
}

/// Hash over addresses, protocol and ports. Fragments hash without ports, so that all fragments of
/// a datagram stay together.
#[inline(always)]
fn ip(packet: &Packet, seed: u64) -> u64 {
    let low = mix(mix(seed, packet.source[1]), packet.destination[1]);
    let high = match packet.family() {
        6 => mix(mix(low, packet.source[0]), packet.destination[0]),
        _ => low,
    };
    mix(high, u64::from(packet.ports()) << 8 | u64::from(packet.protocol()))
}

/// Hash of the flow a packet belongs to.
///
/// Behind labels: the entropy label alone if there is one (RFC 6790 §4.3), else all labels but
/// special-purpose ones, and the IP header if there is one.
#[inline(always)]
pub fn flow(packet: &Packet, seed: u64) -> u32 {
    let mut sum = seed;
    let mut entropy = false;
    for index in 0..crate::packet::DEPTH as u32 {
        if index >= packet.depth() {
            break;
        }
        let label = packet.entry(index) >> 12;
        if entropy {
            return finish(mix(seed, u64::from(label)));
        }
        entropy = label == reserved::ENTROPY;
        if label >= reserved::FIRST_FREE {
            sum = mix(sum, u64::from(label));
        }
    }
    finish(if packet.family() == 0 { sum } else { ip(packet, sum) })
}

#[inline(always)]
fn finish(sum: u64) -> u32 {
    let x = (sum ^ sum >> 32).wrapping_mul(MIX);
    (x >> 32) as u32
}

/// The entropy label of a packet: 20 bits of its flow hash, never a special-purpose value.
#[inline(always)]
pub fn entropy_label(packet: &Packet, seed: u64) -> u32 {
    let label = flow(packet, seed) & 0xf_ffff;
    if label < reserved::FIRST_FREE { label + reserved::FIRST_FREE } else { label }
}
