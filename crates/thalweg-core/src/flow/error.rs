//! ICMP errors belong to the flow that they quote (RFC 5508 §4, RFC 1812 §4.3, RFC 4443 §2.4).
//!
//! Whoever tells an error quotes the packet as it arrived there, that is, as it left here. The key of the
//! quote, turned around, is that of the flow's other direction, whose row tells the addresses that the
//! sender of the packet knows: those are put into the quote and around it. An error changes nothing of its
//! flow.

use super::key::{Key, key, reversed};
use super::service::{frontend_of, may_be_vip};
use super::track::{Tracked, leaving, returns, what};
use super::translate::{addresses, fold, network, words};
use super::{Flows, Words, table};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::flow::{self, kind, tail, word};
use thalweg_abi::link;
use thalweg_wire::icmp::{Icmp, v4};
use thalweg_wire::l4::protocol;
use thalweg_wire::{Ipv4, Ipv6, U16, U32, checksum};

/// Octets of the ICMP header in front of the quote.
const ICMP: u32 = size_of::<Icmp>() as u32;

/// Whether an ICMP type tells of a packet that it quotes. Redirects are for hosts and their routers.
#[inline(always)]
pub const fn quotes(family: u8, kind: u8) -> bool {
    match family {
        4 => matches!(kind, v4::UNREACHABLE | v4::TIME_EXCEEDED | v4::PARAMETER),
        _ => matches!(kind, 1..=4),
    }
}

/// Finds the flow that an error quotes, and gives the packet the addresses that it leaves with.
#[inline(always)]
pub fn related<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
) -> ControlFlow<Verdict> {
    let kind = frame.header::<U16>(Offset::new(packet.l4())).map_or(0, |word| word.get() >> 8);
    if packet.l4() == 0 || !quotes(packet.family(), kind as u8) {
        return ControlFlow::Continue(());
    }
    tracked.note(what::ERROR);
    let quote = quoted(frame, packet);
    let back = reversed(quote);
    let Some(settings) = cells.settings() else { return ControlFlow::Continue(()) };
    let found = match quote[4] {
        0 => 0,
        _ => table::find(cells, &back, flow::hash(back, settings.seed)),
    };
    let row = cells.flow(found.wrapping_sub(1));
    let Some(row) = row.filter(|row| !table::is_expired(row, cells.now())) else {
        return unrelated(cells, packet);
    };
    if packet.destination != [quote[0], quote[1]] {
        return ControlFlow::Break(Verdict::drop(Reason::Unrelated));
    }
    let own = packet.source == [quote[2], quote[3]];
    if packet.link_has(link::flag::WORKLOAD) && !own {
        return ControlFlow::Break(Verdict::drop(Reason::Unrelated));
    }
    if !crate::decide::is_believable(packet, cells) {
        return ControlFlow::Break(Verdict::drop(Reason::ReversePath));
    }
    tracked.note(what::RELATED);
    returns(tracked, &row);
    if row.get(word::REWRITE) as u32 & kind::REWRITES == 0 {
        return ControlFlow::Continue(());
    }
    tracked.note(what::REWRITES);
    tracked.key = key(packet, 0);
    tracked.quote = quote;
    tracked.told = reversed(leaving(&row, &back));
    let [a, b, c, d, _] = tracked.told;
    packet.destination = [a, b];
    // A router between tells it by its own address; who was spoken to has another one there.
    if own {
        packet.source = [c, d];
    }
    packet.flags |= u64::from(flag::BELIEVED);
    ControlFlow::Continue(())
}

/// An error that quotes no known flow tells an address of services or of a workload nothing: all that these
/// send is known. Routed by its address, it would go in circles. To others it is routed as ever.
#[inline(always)]
fn unrelated<C: Flows>(cells: &C, packet: &Packet) -> ControlFlow<Verdict> {
    let vip = may_be_vip(cells, packet.destination);
    if vip && frontend_of(cells, packet.destination, 0, 0) != 0 {
        return ControlFlow::Break(Verdict::drop(Reason::Unrelated));
    }
    ControlFlow::Continue(())
}

/// Where the quoted packet begins, and its L4 header (high half; 0 if that is not told).
#[inline(always)]
fn places<F: Frame>(frame: &F, packet: &Packet) -> (u32, u32) {
    let at = packet.l4() + ICMP;
    if packet.family() == 6 {
        return (at, at + Ipv6::LEN as u32);
    }
    match frame.header::<Ipv4>(Offset::new(at)) {
        Some(ip) if ip.fragment.get() & Ipv4::OFFSET == 0 => (at, at + ip.header_len()),
        _ => (at, 0),
    }
}

/// The key of the quoted packet; zeros if there is none that could be a flow's.
#[inline(always)]
fn quoted<F: Frame>(frame: &F, packet: &Packet) -> Key {
    let (at, l4) = places(frame, packet);
    let (source, destination, number);
    if packet.family() == 6 {
        let Some(ip) = frame.header::<Ipv6>(Offset::new(at)) else { return [0; 5] };
        (source, destination) =
            (ip.source.map(|half| half.get()), ip.destination.map(|half| half.get()));
        number = ip.next_header;
    } else {
        let Some(ip) = frame.header::<Ipv4>(Offset::new(at)) else { return [0; 5] };
        (source, destination) =
            ([0, u64::from(ip.source.get())], [0, u64::from(ip.destination.get())]);
        number = ip.protocol;
    }
    let query = match number {
        protocol::ICMP | protocol::ICMPV6 => 4,
        _ => 0,
    };
    let word = match frame.header::<U32>(Offset::new(l4 + query)) {
        Some(word) if l4 != 0 => word.get(),
        _ => return [0; 5],
    };
    let ports = match query {
        0 if protocol::has_ports(number) => word,
        0 => 0,
        _ => word >> 16 << 16 | word >> 16,
    };
    let tail = tail(ports, packet.vrf() as u16, number, packet.family());
    [source[0], source[1], destination[0], destination[1], tail]
}

/// Puts the addresses and ports that the sender knows into the quote and around it. False if the frame is
/// too short: it must be dropped then.
#[inline(always)]
pub fn translate<F: Frame>(frame: &mut F, packet: &Packet, tracked: &Tracked) -> bool {
    let (old, new) = (tracked.key, tracked.new_key(packet));
    let around = addresses(&old, &new);
    if !network(frame, packet, &new, around) {
        return false;
    }
    let (at, l4) = places(frame, packet);
    let (old, new) = (&tracked.quote, &tracked.told);
    let inner = addresses(old, new);
    let mut sum = u64::from(inner);
    if packet.family() == 6 {
        let Some(ip) = frame.header_mut::<Ipv6>(Offset::new(at)) else { return false };
        ip.source = [new[0].into(), new[1].into()];
        ip.destination = [new[2].into(), new[3].into()];
    } else {
        let Some(ip) = frame.header_mut::<Ipv4>(Offset::new(at)) else { return false };
        ip.source = (new[1] as u32).into();
        ip.destination = (new[3] as u32).into();
        let before = ip.checksum.get();
        let after = checksum::update(before, 0xffff, inner);
        ip.checksum = after.into();
        sum += u64::from(!before) + u64::from(after);
    }
    sum += payload(frame, packet, l4, [old, new], inner);
    let pseudo = if packet.family() == 6 { around } else { 0 };
    frame.repair(Offset::new(packet.l4() + 2), pseudo, fold(sum), false)
}

/// Puts ports into the quoted L4 header and repairs its checksum, if that was quoted. By how much the sum
/// over both has changed.
#[inline(always)]
fn payload<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    l4: u32,
    [old, new]: [&Key; 2],
    addresses: u16,
) -> u64 {
    let number = (old[4] >> 8) as u8;
    let (old, new) = ((old[4] >> 32) as u32, (new[4] >> 32) as u32);
    let is_query = matches!(number, protocol::ICMP | protocol::ICMPV6);
    let mut data = 0;
    if old != new && is_query {
        let Some(id) = frame.header_mut::<U16>(Offset::new(l4 + 4)) else { return 0 };
        *id = (new as u16).into();
        data = u64::from(!(old as u16)) + u64::from(new as u16);
    } else if old != new {
        let Some(ports) = frame.header_mut::<U32>(Offset::new(l4)) else { return 0 };
        *ports = new.into();
        data = words(u64::from(!old)) + words(u64::from(new));
    }
    // ICMP has no pseudo header, ICMPv6 has.
    let (place, pseudo) = match number {
        protocol::TCP => (16, addresses),
        protocol::UDP => (6, addresses),
        protocol::ICMPV6 => (2, addresses),
        protocol::ICMP => (2, 0),
        _ => return data,
    };
    if l4 + place + 2 > packet.ip() + packet.len() {
        return data;
    }
    let Some(field) = frame.header_mut::<U16>(Offset::new(l4 + place)) else { return data };
    let before = field.get();
    if number == protocol::UDP && before == 0 {
        return data;
    }
    let after = checksum::update(checksum::update(before, 0xffff, pseudo), 0xffff, fold(data));
    *field = after.into();
    data + u64::from(!before) + u64::from(after)
}
