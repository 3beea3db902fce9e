//! Which error a discarded packet is owed, and from whom.

use crate::cells::Cells;
use crate::decide::source_group;
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_abi::meter::Class;
use thalweg_abi::{Kind, Reason, Verdict, link, nexthop};
use thalweg_wire::U16;
use thalweg_wire::icmp::{v4, v6};
use thalweg_wire::l4::protocol;

/// Type, code and the second word of an ICMP error.
#[derive(Clone, Copy)]
pub struct Error {
    /// ICMP or ICMPv6 type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The MTU where the type has one, else 0.
    pub mtu: u32,
    /// The bucket that pays for it.
    pub class: Class,
}

impl Error {
    /// The error that tells a verdict's reason to the sender of a packet of `family`.
    #[inline(always)]
    pub fn for_verdict(family: u8, verdict: Verdict, mtu: u32) -> Self {
        let is = |reason| verdict == Verdict::new(Kind::Answer, reason);
        let six = family == 6;
        let error = |four: (u8, u8), other: (u8, u8), mtu, class| {
            let (kind, code) = if six { other } else { four };
            Self { kind, code, mtu, class }
        };
        if is(Reason::TtlExpired) {
            let (four, other) = ((v4::TIME_EXCEEDED, 0), (v6::TIME_EXCEEDED, 0));
            return error(four, other, 0, Class::TimeExceeded);
        }
        if is(Reason::TooBig) {
            let four = (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED);
            // RFC 8200 §5: no IPv6 link is allowed to be smaller.
            let mtu = if six && mtu < 1280 { 1280 } else { mtu };
            return error(four, (v6::TOO_BIG, 0), mtu, Class::TooBig);
        }
        let codes = if is(Reason::Prohibited) || is(Reason::Policy) {
            (v4::PROHIBITED, v6::PROHIBITED)
        } else if is(Reason::NoBackend) || is(Reason::NoService) {
            (v4::PORT, v6::PORT)
        } else if is(Reason::Scope) {
            (v4::NET, v6::BEYOND_SCOPE)
        } else if is(Reason::Unreachable) {
            // What Linux answers for unreachable routes: host unreachable, and for IPv6 no route.
            (v4::HOST, v6::NO_ROUTE)
        } else {
            (v4::NET, v6::NO_ROUTE)
        };
        error((v4::UNREACHABLE, codes.0), (v6::UNREACHABLE, codes.1), 0, Class::Unreachable)
    }
}

/// Whether an error may be sent about a packet at all: not about errors, later fragments, groups,
/// or senders that are no single host (RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e)). The destination and
/// source were already found to be single hosts where the packet got past admission.
#[inline(always)]
pub fn is_owed<F: Frame>(frame: &F, packet: &Packet) -> bool {
    if packet.family() == 0 || packet.fault().is_some() {
        return false;
    }
    if packet.has(flag::LINK_GROUP | flag::LATER_FRAGMENT | flag::OWN) {
        return false;
    }
    if !is_host(packet.family(), packet.source) || !is_host(packet.family(), packet.destination) {
        return false;
    }
    let kind = match frame.header::<U16>(Offset::new(packet.l4())) {
        Some(first) if packet.l4() != 0 => (first.get() >> 8) as u8,
        _ => return !matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6),
    };
    match packet.protocol() {
        protocol::ICMP => !v4::is_error(kind),
        protocol::ICMPV6 => !v6::is_error(kind),
        _ => true,
    }
}

/// Whether an address can be one host's. Packets inside a label switched path were not admitted by
/// address, so it is asked here.
#[inline(always)]
fn is_host(family: u8, [high, low]: [u64; 2]) -> bool {
    if family == 4 {
        let octet = low as u32 >> 24;
        return octet != 0 && octet != 127 && octet < 224;
    }
    high >> 56 != 0xff && (high != 0 || low > 1)
}

/// Whether the way back to the sender ends at a neighbor whose link address is not known.
#[inline(always)]
pub fn is_unresolved<C: Cells>(cells: &C, packet: &Packet) -> bool {
    let group = source_group(cells, packet.vrf(), packet.family(), packet.source);
    let word = cells.group(group);
    let kind = cells.nexthop(word.first()).map_or(0, |row| row.kind);
    word.exists() && !word.has_buckets() && kind == nexthop::kind::UNRESOLVED
}

/// The address that errors about packets from this link come from; none if it has none of the
/// packet's family.
#[inline(always)]
pub fn sender<C: Cells>(cells: &C, packet: &Packet) -> Option<[u64; 2]> {
    let row = cells.link(packet.link())?;
    let address = if packet.family() == 4 {
        [0, u64::from(u32::from_be_bytes(row.address4))]
    } else {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = row.address6;
        [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
    };
    match address {
        // This host's own stack believes no packet from itself, and whom it speaks to may tell it anything
        // (`fib_validate_source`).
        [0, 0] if row.flags & link::flag::HOST != 0 => Some(packet.destination),
        [0, 0] => None,
        address => Some(address),
    }
}
