//! Known flows in one straight line: one lookup, one rewrite, and away.
//!
//! What is unusual (a state that changes, tables that have changed since, a fragment) is left to the full
//! pipeline, which begins anew; so nothing is written before everything is known.
//!
//! Untracked rules are not asked again: they say the same of all packets of a tuple, and were asked about it when
//! its row was stamped.

use super::key::key_of;
use super::service::may_be_vip;
use super::track::leaving;
use super::{Flows, Words, sctp, state, table, translate};
use crate::frame::{Frame, Offset};
use crate::packet::{Arrival, Packet, flag};
use crate::parse::{ipv4, ipv6};
use crate::{Outcome, Reason, Verdict};
use thalweg_abi::flow::{self, kind, state as states, word};
use thalweg_abi::{NextHopRow, link, nexthop};
use thalweg_wire::l4::protocol;
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, Mac, U16, checksum};

/// Octets of an Ethernet header.
const LINK_HEADER: u32 = size_of::<Ethernet>() as u32;
/// The frame was not touched: take the full pipeline.
const UNUSUAL: Outcome = Outcome::stop(Verdict::pass(Reason::NotRouted));
/// The frame was not touched, and a flow may begin with it: [`super::first`] is worth a try.
pub(super) const BEGINS: Verdict = Verdict::pass(Reason::NoFlow);

/// Forwards a frame of a known flow. An outcome without device means that it was none; with that of [`BEGINS`]
/// one may begin.
#[inline(always)]
pub fn fast<F: Frame, C: Flows>(frame: &mut F, cells: &C, arrival: Arrival) -> Outcome {
    let mut packet = Packet::new(arrival, 0);
    match is_plain(frame, cells, &mut packet, arrival.device) {
        true => known(frame, cells, &packet),
        false => UNUSUAL,
    }
}

/// Reads a frame of an untagged packet without options or extension headers that is no fragment and has hops
/// left. False if it is anything else.
#[inline(always)]
pub(super) fn is_plain<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    device: u32,
) -> bool {
    let Some(ethernet) = frame.header::<Ethernet>(Offset::new(0)) else { return false };
    let (ethertype, receiver) = (ethernet.ethertype.get(), halves(ethernet.destination));
    let Some(row) = cells.link(device) else { return false };
    let own = halves(Mac(row.mac));
    if receiver[0] ^ own[0] | receiver[1] ^ own[1] != 0 {
        return false;
    }
    let flags = row.flags;
    packet.link_flags = u64::from(flags);
    packet.vrf = u64::from(row.vrf);
    packet.ip = u64::from(LINK_HEADER);
    let plain = match EtherType(ethertype) {
        EtherType::IPV4 if flags & link::flag::IPV4 != 0 => ipv4::parse_plain(frame, packet),
        EtherType::IPV6 if flags & link::flag::IPV6 != 0 => ipv6::parse_plain(frame, packet),
        _ => false,
    };
    plain && !packet.has(flag::FRAGMENT) && packet.ttl() > 1
}

/// A link address as two numbers: the compiler reads one of six octets as six.
#[inline(always)]
const fn halves(Mac([a, b, c, d, e, f]): Mac) -> [u32; 2] {
    [u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]) as u32]
}

#[inline(always)]
fn known<F: Frame, C: Flows>(frame: &mut F, cells: &C, packet: &Packet) -> Outcome {
    let Some(settings) = cells.settings() else { return UNUSUAL };
    if crate::tunnel::is_for_tunnel(settings.flags, packet) {
        return UNUSUAL;
    }
    let flags = said(frame, packet);
    if packet.protocol() == protocol::TCP && flags & OPENING == state::tcp::SYN {
        // It changes whatever flow there is.
        return begins(frame, cells, packet);
    }
    let key = key_of(frame, packet);
    let hash = flow::hash(key, settings.seed);
    let in_force = cells.in_force();
    let Some(row) = table::find_stamped(cells, &key, hash, in_force) else {
        return if packet.protocol() == protocol::UDP {
            begins(frame, cells, packet)
        } else {
            UNUSUAL
        };
    };
    let now = cells.now();
    if !goes_on(packet, &row, flags) || row.get(word::STAMP) != in_force.stamp {
        return UNUSUAL;
    }
    let way = row.get(word::WAY);
    let Some(hop) = cells.nexthop(way as u32) else { return UNUSUAL };
    // A known tuple from another workload's link is a lie.
    let strange = way >> 32 != 0 && (way >> 32) as u32 != packet.link();
    if strange
        || frame.is_padded(LINK_HEADER + packet.len())
        || !is_usable(cells, &hop, packet)
        || table::is_expired(&row, now)
    {
        return UNUSUAL;
    }
    let new = leaving(&row, &key);
    let rewrites = row.get(word::REWRITE) as u32 & kind::REWRITES != 0;
    if !table::is_stamped(&row, &key, in_force.stamp) || !cells.holds() {
        return UNUSUAL;
    }
    count(&row, packet, now);
    if rewrites && !translate(frame, packet, &key, &new) {
        return Outcome::stop(Verdict::drop(Reason::Truncated));
    }
    send(frame, packet, &hop)
}

/// What is to be done with a packet that a flow may begin with.
#[inline(always)]
fn begins<F: Frame, C: Flows>(frame: &F, cells: &C, packet: &Packet) -> Outcome {
    let at = Offset::new(packet.l4());
    // All of its header that is changed.
    let whole = match packet.protocol() {
        protocol::TCP => frame.header::<[u8; 18]>(at).is_some(),
        _ => frame.header::<[u8; 8]>(at).is_some(),
    };
    // Datagrams may be of no flow, however many there are.
    let flow = packet.protocol() == protocol::TCP
        || packet.link_has(link::flag::WORKLOAD)
        || may_be_vip(cells, packet.destination);
    if whole && flow && !frame.is_padded(LINK_HEADER + packet.len()) {
        Outcome::stop(BEGINS)
    } else {
        UNUSUAL
    }
}

/// Flags that tell a first packet of TCP from others.
const OPENING: u8 = state::tcp::SYN | state::tcp::ACK | state::tcp::FIN | state::tcp::RST;

/// What a packet says of its connection: as [`state::flags`], but of TCP without these everything.
#[inline(always)]
fn said<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    match packet.protocol() {
        protocol::TCP => {
            frame.header::<U16>(Offset::new(packet.l4() + 12)).map_or(0xff, |word| word.get() as u8)
        }
        protocol::SCTP => sctp::flags(frame, packet),
        _ => 0,
    }
}

/// Whether the packet changes nothing about the state of its flow.
#[inline(always)]
fn goes_on<W: Words>(packet: &Packet, row: &W, flags: u8) -> bool {
    let now = row.get(word::STATE) as u8;
    if !state::is_connection(packet.protocol()) {
        return now == states::ESTABLISHED || row.get(word::REWRITE) as u32 & kind::ANSWERS == 0;
    }
    let changes = state::tcp::SYN | state::tcp::FIN | state::tcp::RST;
    flags & changes == 0 && matches!(now, states::ESTABLISHED..=states::CLOSED)
}

/// Whether a next hop takes the packet as it is.
#[inline(always)]
pub(super) fn is_usable<C: Flows>(cells: &C, hop: &NextHopRow, packet: &Packet) -> bool {
    const DRESSED: u8 = nexthop::flag::ENTROPY | nexthop::flag::TUNNEL;
    let dressed = hop.labels != 0 || hop.tags != 0 || hop.flags & DRESSED != 0;
    hop.kind == nexthop::kind::ADJACENT
        && !dressed
        && packet.len() <= hop.mtu
        && cells.is_up(hop.watch)
}

/// One more packet, and a sign of life. Only one processor has packets of one direction, but for moments.
#[inline(always)]
fn count<W: Words>(row: &W, packet: &Packet, now: u32) {
    row.set(word::STATE, row.get(word::STATE).wrapping_add(1 << 32));
    row.set(word::OCTETS, row.get(word::OCTETS).wrapping_add(u64::from(packet.len())));
    let seen = row.get(word::SEEN);
    if seen as u32 != now {
        row.set(word::SEEN, seen >> 32 << 32 | u64::from(now));
    }
}

/// One hop less, of at least two. The checksum is repaired by difference: the word that the TTL is the high
/// octet of gets 0x100 less (RFC 1624).
#[inline(always)]
fn spend_hop<F: Frame>(frame: &mut F, packet: &Packet) {
    let at = Offset::new(LINK_HEADER);
    if packet.family() == 4 {
        let Some(ip) = frame.header_mut::<Ipv4>(at) else { return };
        ip.checksum = checksum::update(ip.checksum.get(), 0x100, 0).into();
        ip.ttl = packet.ttl() - 1;
    } else if let Some(ip) = frame.header_mut::<Ipv6>(at) {
        ip.hop_limit = packet.ttl() - 1;
    }
}

#[inline(always)]
fn send<F: Frame>(frame: &mut F, packet: &Packet, hop: &NextHopRow) -> Outcome {
    readdress(frame, packet, hop);
    Outcome { verdict: Verdict::forward(Reason::Flow), device: hop.device | super::straight(hop) }
}

/// Writes the header of the link that a packet leaves by.
#[inline(always)]
pub(super) fn readdress<F: Frame>(frame: &mut F, packet: &Packet, hop: &NextHopRow) {
    spend_hop(frame, packet);
    if let Some(addresses) = frame.header_mut::<[u8; 12]>(Offset::new(0)) {
        *addresses = hop.addresses;
    }
}
