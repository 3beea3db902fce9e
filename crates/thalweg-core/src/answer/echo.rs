//! Answers to pings (RFC 792, RFC 4443 §4): the frame turns around as it is.

use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_wire::icmp::{v4, v6};
use thalweg_wire::{Ipv4, Ipv6, U16, checksum};

/// Hops an answer may travel.
const TTL: u8 = 64;

/// Whether a packet asks for an echo.
#[inline(always)]
pub fn is_ping<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let ask = if packet.family() == 4 { v4::ECHO } else { v6::ECHO };
    let word = frame.header::<U16>(Offset::new(packet.l4()));
    packet.l4() != 0 && word.is_some_and(|word| word.get() == u16::from(ask) << 8)
}

/// Turns an echo request into its reply, and `packet` into the values of that. False if the frame is too
/// short: it must be dropped then.
#[inline(always)]
pub fn build<F: Frame>(frame: &mut F, packet: &mut Packet) -> bool {
    let (ask, reply) =
        if packet.family() == 4 { (v4::ECHO, v4::ECHO_REPLY) } else { (v6::ECHO, v6::ECHO_REPLY) };
    if !turn(frame, packet) {
        return false;
    }
    let l4 = packet.l4();
    let Some(kind) = frame.header_mut::<U16>(Offset::new(l4)) else { return false };
    *kind = (u16::from(reply) << 8).into();
    let change = checksum::fold(u32::from(!(u16::from(ask) << 8)) + (u32::from(reply) << 8));
    if !frame.repair(Offset::new(l4 + 2), 0, change, false) {
        return false;
    }
    packet.set_header(TTL, packet.class(), packet.protocol());
    (packet.source, packet.destination) = (packet.destination, packet.source);
    packet.flags |= u64::from(flag::OWN);
    true
}

/// Swaps the addresses and begins to count hops anew. Only the hops change a sum.
#[inline(always)]
fn turn<F: Frame>(frame: &mut F, packet: &Packet) -> bool {
    let at = Offset::new(packet.ip());
    if packet.family() == 4 {
        let Some(ip) = frame.header_mut::<Ipv4>(at) else { return false };
        (ip.source, ip.destination) = (ip.destination, ip.source);
        let word = |ttl: u8| u16::from(ttl) << 8;
        ip.checksum = checksum::update(ip.checksum.get(), word(ip.ttl), word(TTL)).into();
        ip.ttl = TTL;
    } else {
        let Some(ip) = frame.header_mut::<Ipv6>(at) else { return false };
        (ip.source, ip.destination) = (ip.destination, ip.source);
        ip.hop_limit = TTL;
    }
    true
}
