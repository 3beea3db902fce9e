//! Other addresses and ports in a frame, and checksums that say so (RFC 1624, RFC 3022 §4).

use super::key::Key;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_wire::l4::{Ports, protocol};
use thalweg_wire::{Ipv4, Ipv6, U16, checksum};

/// One's complement sum of the 16-bit words of a value, of which two are added at once.
#[inline(always)]
pub(super) const fn words(value: u64) -> u64 {
    (value & 0xffff_ffff) + (value >> 32)
}

/// What is to be added to a sum when two words of 64 bits change. Complements of words that do not change
/// cancel out.
#[inline(always)]
const fn change(old: [u64; 2], new: [u64; 2]) -> u64 {
    words(!old[0]) + words(!old[1]) + words(new[0]) + words(new[1])
}

/// What is to be added to a sum over addresses when a key changes.
#[inline(always)]
pub(super) const fn addresses(old: &Key, new: &Key) -> u16 {
    if old[4] as u8 == 4 {
        return fold(
            words_of(!old[1] as u32, new[1] as u32) + words_of(!old[3] as u32, new[3] as u32),
        );
    }
    fold(change([old[0], old[1]], [new[0], new[1]]) + change([old[2], old[3]], [new[2], new[3]]))
}

/// The sum of two values.
#[inline(always)]
const fn words_of(one: u32, other: u32) -> u64 {
    one as u64 + other as u64
}

/// Folds a sum of few words to 16 bits.
#[inline(always)]
pub(super) const fn fold(sum: u64) -> u16 {
    let sum = words(sum);
    checksum::fold(((sum & 0xffff) + (sum >> 16)) as u32)
}

/// Gives a frame with the key `old` that of `new`, which has the same family and protocol. False if the
/// frame is too short: it must be dropped then.
#[inline(always)]
pub fn translate<F: Frame>(frame: &mut F, packet: &Packet, old: &Key, new: &Key) -> bool {
    let addresses = addresses(old, new);
    let ports = [(old[4] >> 32) as u32, (new[4] >> 32) as u32];
    if !network(frame, packet, new, addresses) {
        return false;
    }
    // What comes behind the first fragment has no header: its sum stands in the first.
    if packet.has(flag::LATER_FRAGMENT) {
        return true;
    }
    let l4 = packet.l4();
    let change = fold(words(u64::from(!ports[0])) + words(u64::from(ports[1])));
    match packet.protocol() {
        protocol::TCP | protocol::UDP if !write_ports(frame, l4, ports) => false,
        protocol::TCP => frame.repair(Offset::new(l4 + 16), addresses, change, false),
        protocol::UDP => frame.repair(Offset::new(l4 + 6), addresses, change, true),
        protocol::SCTP => super::sctp::translate(frame, packet, ports),
        protocol::ICMP if packet.family() == 4 => write_query(frame, l4, 0, ports),
        protocol::ICMPV6 => write_query(frame, l4, addresses, ports),
        _ => true,
    }
}

#[inline(always)]
fn write_ports<F: Frame>(frame: &mut F, l4: u32, [old, new]: [u32; 2]) -> bool {
    if old == new {
        return true;
    }
    let Some(ports) = frame.header_mut::<Ports>(Offset::new(l4)) else { return false };
    ports.source = ((new >> 16) as u16).into();
    ports.destination = (new as u16).into();
    true
}

/// The identifier of an ICMP query, which stands in the place of both ports, and the checksum.
#[inline(always)]
fn write_query<F: Frame>(frame: &mut F, l4: u32, addresses: u16, [old, new]: [u32; 2]) -> bool {
    let mut change = 0;
    if old != new {
        let Some(id) = frame.header_mut::<U16>(Offset::new(l4 + 4)) else { return false };
        *id = (new as u16).into();
        change = fold(u64::from(!old & 0xffff) + u64::from(new & 0xffff));
    }
    (addresses | change) == 0 || frame.repair(Offset::new(l4 + 2), addresses, change, false)
}

#[inline(always)]
pub(super) fn network<F: Frame>(frame: &mut F, packet: &Packet, new: &Key, change: u16) -> bool {
    let at = Offset::new(packet.ip());
    if packet.family() == 4 {
        let Some(ip) = frame.header_mut::<Ipv4>(at) else { return false };
        ip.source = (new[1] as u32).into();
        ip.destination = (new[3] as u32).into();
        ip.checksum = checksum::update(ip.checksum.get(), 0xffff, change).into();
    } else {
        let Some(ip) = frame.header_mut::<Ipv6>(at) else { return false };
        ip.source = [new[0].into(), new[1].into()];
        ip.destination = [new[2].into(), new[3].into()];
    }
    true
}
