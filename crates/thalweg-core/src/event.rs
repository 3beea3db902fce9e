//! What is told of a frame that was discarded: who it was from and for, as it came.
//!
//! Only frames of which an event is taken come here, so that nothing is kept for those that are forwarded: the
//! frame is parsed once more, as it is now. [`parse`](crate::parse()) gives what it can; of frames that it
//! refuses, and of those that have become the answer to their sender, the headers are found by types alone. An
//! answer quotes the packet that was discarded.

use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::{DEPTH, Packet, flag as packet_flag};
use thalweg_abi::event::{DropEvent, flag};
use thalweg_abi::{Kind, Reason, Verdict};
use thalweg_wire::icmp::{Icmp, v4, v6};
use thalweg_wire::l4::{Ports, protocol};
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, Lse, U16, VlanTag};

/// Whether a verdict means that a frame was discarded, and is told. The answer to a ping is no loss.
#[inline(always)]
pub fn is_told(verdict: Verdict) -> bool {
    verdict.is(Kind::Drop) || verdict.is(Kind::Answer) && verdict != Verdict::answer(Reason::Echo)
}

/// Describes a frame in an event, apart from its time, its hook and what decided. `packet` is what
/// [`parse`](crate::parse()) made of the frame as it is now, whatever it said; `octets` are those of the frame as
/// it came.
#[inline(always)]
pub fn describe<F: Frame, C: Cells>(
    frame: &F,
    cells: &C,
    packet: &Packet,
    verdict: Verdict,
    octets: u32,
    event: &mut DropEvent,
) {
    *event = DropEvent::default();
    event.link = packet.link();
    event.vrf = packet.vrf() as u16;
    event.octets = octets;
    event.reason = verdict.reason_number();
    let answered = verdict.is(Kind::Answer);
    if answered {
        event.flags |= flag::ANSWERED;
    }
    let parsed = packet.family() != 0 && !answered;
    let found = if parsed { packet.ip() } else { ip_at(frame, cells, event) };
    // An answer that found no way has no link header yet.
    let at = if found == 0 { size_of::<Ethernet>() as u32 } else { found };
    if packet.depth() > 0 {
        event.flags |= flag::LABELLED;
    }
    let mut l4 = header(frame, at, event);
    if parsed {
        l4 = packet.l4();
        event.protocol = packet.protocol();
        if packet.has(packet_flag::LATER_FRAGMENT) {
            event.flags |= flag::LATER_FRAGMENT;
        }
    }
    let l4 = cells.blur(u64::from(l4)) as u32 & Offset::MAX;
    ports(frame, l4, event);
    if is_error(event) && (answered || is_own(cells, packet, event)) {
        event.flags &= !(flag::PORTS | flag::LATER_FRAGMENT);
        let l4 = header(frame, l4 + size_of::<Icmp>() as u32, event);
        ports(frame, l4, event);
    } else if found == 0 {
        // What stood there was no IP header, or nobody knows.
        (event.family, event.protocol) = (0, 0);
        (event.source, event.destination) = ([0; 2], [0; 2]);
        (event.source_port, event.destination_port) = (0, 0);
        event.flags &= !(flag::PORTS | flag::LATER_FRAGMENT);
    }
}

/// Where the IP header begins, by types and labels alone; 0 if none is found.
#[inline(always)]
fn ip_at<F: Frame, C: Cells>(frame: &F, cells: &C, event: &mut DropEvent) -> u32 {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else { return 0 };
    let (mut ethertype, mut at) = (ethernet.ethertype.get(), size_of::<Ethernet>() as u32);
    for _ in 0..2 {
        if !EtherType(ethertype).is_vlan() {
            break;
        }
        let Some(tag) = frame.header::<VlanTag>(Offset::new(at)) else { return 0 };
        ethertype = tag.ethertype.get();
        at += size_of::<VlanTag>() as u32;
    }
    at = cells.blur(u64::from(at)) as u32 & 0x1f;
    match EtherType(ethertype) {
        EtherType::IPV4 | EtherType::IPV6 => at,
        EtherType::MPLS => {
            event.flags |= flag::LABELLED;
            below_labels(frame, at)
        }
        _ => 0,
    }
}

/// Where the label stack at `at` ends; 0 if that is not found.
#[inline(always)]
fn below_labels<F: Frame>(frame: &F, at: u32) -> u32 {
    let mut at = at;
    for _ in 0..DEPTH {
        let Some(entry) = frame.header::<Lse>(Offset::new(at)) else { return 0 };
        at += size_of::<Lse>() as u32;
        if entry.is_bottom() {
            return at;
        }
    }
    0
}

/// Reads addresses and protocol of the IP header at `at`, whatever else is wrong with it. Returns where the L4
/// header begins; 0 if that is not known.
#[inline(always)]
fn header<F: Frame>(frame: &F, at: u32, event: &mut DropEvent) -> u32 {
    let version = frame.header::<U16>(Offset::new(at)).map_or(0, |first| first.get() >> 12);
    if version == 4 {
        let Some(ip) = frame.header::<Ipv4>(Offset::new(at)) else { return 0 };
        event.family = 4;
        event.protocol = ip.protocol;
        event.source = [0, u64::from(ip.source.get())];
        event.destination = [0, u64::from(ip.destination.get())];
        if ip.fragment.get() & Ipv4::OFFSET != 0 {
            event.flags |= flag::LATER_FRAGMENT;
        }
        return at + ip.header_len();
    }
    if version == 6 {
        let Some(ip) = frame.header::<Ipv6>(Offset::new(at)) else { return 0 };
        event.family = 6;
        event.protocol = ip.next_header;
        event.source = [ip.source[0].get(), ip.source[1].get()];
        event.destination = [ip.destination[0].get(), ip.destination[1].get()];
        return at + Ipv6::LEN as u32;
    }
    0
}

/// Reads ports, or ICMP type and code.
#[inline(always)]
fn ports<F: Frame>(frame: &F, at: u32, event: &mut DropEvent) {
    if at == 0 || event.flags & flag::LATER_FRAGMENT != 0 {
        return;
    }
    if protocol::has_ports(event.protocol) {
        let Some(ports) = frame.header::<Ports>(Offset::new(at)) else { return };
        event.source_port = ports.source.get();
        event.destination_port = ports.destination.get();
        event.flags |= flag::PORTS;
    } else if matches!(event.protocol, protocol::ICMP | protocol::ICMPV6) {
        let Some(first) = frame.header::<U16>(Offset::new(at)) else { return };
        event.source_port = first.get() >> 8;
        event.destination_port = first.get() & 0xff;
        event.flags |= flag::PORTS;
    }
}

/// Whether the event is about an ICMP error.
#[inline(always)]
fn is_error(event: &DropEvent) -> bool {
    let kind = event.source_port as u8;
    event.flags & flag::PORTS != 0
        && match event.protocol {
            protocol::ICMP => v4::is_error(kind),
            protocol::ICMPV6 => v6::is_error(kind),
            _ => false,
        }
}

/// Whether the frame is from this router itself: an answer that found no way out. No frame of others gets
/// far with such a source.
#[inline(always)]
fn is_own<C: Cells>(cells: &C, packet: &Packet, event: &DropEvent) -> bool {
    if event.reason == Reason::MartianSource as u8 {
        return false;
    }
    let Some(row) = cells.link(packet.link()) else { return false };
    let own = if event.family == 4 {
        [0, u64::from(u32::from_be_bytes(row.address4))]
    } else {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row.address6;
        [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
    };
    own == event.source
}
