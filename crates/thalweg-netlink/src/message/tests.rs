//! Tests of the parsers: messages laid out as the kernel's headers say, and octets of no kind.

use super::*;
use proptest::prelude::*;
use thalweg_model::host::{NextHopObject, RouteKind};

/// Attributes one behind the other.
fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, value) in list {
        out.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
        out.resize(aligned(out.len()), 0);
    }
    out
}

/// Calls `check` with a message.
fn with_message<T>(
    kind: u16,
    header: &[u8],
    list: &[(u16, &[u8])],
    check: impl Fn(&Message<'_>) -> T,
) -> T {
    let octets = request(kind, 0, 7, header, list);
    let message = Messages(&octets).next().unwrap();
    assert_eq!((message.kind, message.sequence), (kind, 7));
    check(&message)
}

/// `struct ifinfomsg` of an Ethernet link that is up with carrier.
fn link_header(index: u32) -> Vec<u8> {
    let mut header = vec![0, 0, 1, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    header.extend_from_slice(&0x1_1043u32.to_ne_bytes());
    header.extend_from_slice(&[0; 4]);
    header
}

/// `struct rtmsg`: family, length, table, protocol, scope, type; the rest 0.
fn route_header(family: u8, len: u8, protocol: u8, kind: u8) -> [u8; 12] {
    [family, len, 0, 0, 254, protocol, 0, kind, 0, 0, 0, 0]
}

#[test]
fn a_vlan_says_its_id_and_protocol() {
    let data = attributes(&[(1, &7u16.to_ne_bytes()), (5, &0x88a8u16.to_be_bytes())]);
    let info = attributes(&[(1, b"vlan\0"), (2, &data)]);
    let list: &[(u16, &[u8])] = &[
        (3, b"eth0.7\0"),
        (1, &[2, 0, 0, 0, 0, 9]),
        (4, &1496u32.to_ne_bytes()),
        (5, &3u32.to_ne_bytes()),
        (10, &4u32.to_ne_bytes()),
        (16, &[6]),
        (18 | 0x8000, &info),
    ];
    let parsed = with_message(raw::NEWLINK, &link_header(9), list, link::parse).unwrap();
    let link = &parsed.link;
    assert_eq!((link.index, link.name.as_str(), link.mtu), (9, "eth0.7", 1496));
    assert_eq!((link.kind.as_str(), link.vlan), ("vlan", Some((7, 0x88a8))));
    assert_eq!((link.lower, link.master, link.up), (Some(3), Some(4), true));
    assert_eq!(link.mac.to_string(), "02:00:00:00:00:09");
    assert!(parsed.has_carrier());
}

#[test]
fn a_vrf_says_its_table() {
    let data = attributes(&[(1, &100u32.to_ne_bytes())]);
    let info = attributes(&[(2, &data), (1, b"vrf\0")]);
    let list: &[(u16, &[u8])] = &[(3, b"red\0"), (18, &info)];
    let parsed = with_message(raw::NEWLINK, &link_header(9), list, link::parse).unwrap();
    assert_eq!((parsed.link.kind.as_str(), parsed.link.vrf_table), ("vrf", Some(100)));
}

#[test]
fn bridge_ports_and_wireless_events_are_no_links() {
    let mut port = link_header(9);
    port[0] = 7;
    assert!(with_message(raw::NEWLINK, &port, &[(3, b"eth0\0")], link::parse).is_none());
    assert!(with_message(raw::DELLINK, &port, &[(3, b"eth0\0")], link::index).is_none());
    assert!(with_message(raw::NEWLINK, &link_header(9), &[(11, &[1])], link::parse).is_none());
}

#[test]
fn a_link_that_is_dormant_or_has_no_carrier_is_not_up() {
    let up = |flags: u32, operstate: u8| {
        let mut header = link_header(9);
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        let list: &[(u16, &[u8])] = &[(3, b"eth0\0"), (16, &[operstate])];
        with_message(raw::NEWLINK, &header, list, link::parse).unwrap().link.up
    };
    assert!(up(0x1_0041, 6));
    assert!(up(0x1_0041, 0));
    assert!(!up(0x1_0041, 5), "dormant");
    assert!(!up(0x1_0001, 2), "down");
    assert!(!up(0x41, 6), "no carrier");
    assert!(!up(0x1_0040, 6), "set down");
}

#[test]
fn labels_of_a_route_come_outermost_first() {
    let mpls = attributes(&[(1, &[0x00, 0x06, 0x40, 0x00, 0x00, 0x0c, 0x81, 0x00]), (2, &[64])]);
    let list: &[(u16, &[u8])] = &[
        (1, &[10, 1, 0, 0]),
        (4, &3u32.to_ne_bytes()),
        (5, &[10, 0, 0, 9]),
        (6, &20u32.to_ne_bytes()),
        (15, &1000u32.to_ne_bytes()),
        (21, &1u16.to_ne_bytes()),
        (22, &mpls),
    ];
    let check = |m: &Message<'_>| {
        let parsed = route::parse(m).unwrap();
        (parsed.destination.key(0), parsed.body().unwrap().route)
    };
    let (key, route) = with_message(raw::NEWROUTE, &route_header(2, 16, 186, 1), list, check);
    assert_eq!((key.prefix.to_string().as_str(), key.metric, key.table), ("10.1.0.0/16", 20, 1000));
    assert_eq!((route.kind, route.protocol.as_str()), (RouteKind::Unicast, "bgp"));
    let hop = &route.nexthops[0];
    assert_eq!((hop.labels.as_slice(), hop.ttl, hop.link), (&[100, 200][..], Some(64), 3));
    assert_eq!((hop.encap.as_ref(), hop.via), (None, Some([10, 0, 0, 9].into())));
}

#[test]
fn an_encapsulation_that_cannot_be_read_is_not_ignored() {
    let of = |kind: u16, value: &[u8]| route::Encapsulation { kind, value }.read();
    assert_eq!(of(0, &[]), (vec![], None, None));
    assert_eq!(of(5, &[1, 2, 3]), (vec![], None, Some("seg6".into())));
    assert_eq!(of(1, &[]), (vec![], None, Some("mpls".into())));
    assert_eq!(of(77, &[]), (vec![], None, Some("77".into())));
}

#[test]
fn members_of_a_multipath_route_with_weights_and_flags() {
    let one = attributes(&[(5, &[10, 0, 0, 1])]);
    let other =
        attributes(&[(18, &[10, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])]);
    let mut list = vec![16, 0, 4, 2, 3, 0, 0, 0];
    list.extend_from_slice(&one);
    list.extend_from_slice(&[8 + other.len() as u8, 0, 16, 255, 4, 0, 0, 0]);
    list.extend_from_slice(&other);
    let body = |m: &Message<'_>| route::parse(m).unwrap().body().unwrap();
    let body = with_message(raw::NEWROUTE, &route_header(2, 0, 4, 1), &[(9, &list)], body);
    let hops = &body.route.nexthops;
    assert_eq!(hops.len(), 2);
    assert_eq!((hops[0].weight, hops[0].link, hops[0].onlink, hops[0].dead), (3, 3, true, false));
    assert_eq!((hops[1].weight, hops[1].link, hops[1].onlink, hops[1].dead), (256, 4, false, true));
    assert_eq!(hops[1].via.unwrap().to_string(), "2001:db8::1");
}

#[test]
fn cached_and_source_specific_routes_are_none_of_ours() {
    let mut cloned = route_header(10, 128, 2, 1);
    cloned[8..12].copy_from_slice(&0x200u32.to_ne_bytes());
    let none =
        |header: &[u8]| with_message(raw::NEWROUTE, header, &[], |m| route::parse(m).is_none());
    assert!(none(&cloned));
    let mut source = route_header(10, 64, 4, 1);
    source[2] = 64;
    assert!(none(&source));
    assert!(none(&route_header(28, 20, 4, 1)), "MPLS");
    assert!(none(&route_header(2, 33, 4, 1)), "length");
    assert!(!none(&route_header(10, 64, 4, 1)));
}

/// `RTA_VIA` of an IPv4 gateway.
const VIA: &[u8] = &[2, 0, 10, 0, 0, 9];

#[test]
fn a_label_is_swapped_for_others() {
    let list: &[(u16, &[u8])] = &[
        (1, &[0x00, 0x06, 0x41, 0x00]),
        (19, &[0x00, 0x0c, 0x80, 0x00, 0x00, 0x12, 0xc1, 0x00]),
        (18, VIA),
        (4, &3u32.to_ne_bytes()),
        (26, &[0]),
    ];
    let found = with_message(raw::NEWROUTE, &route_header(28, 20, 4, 1), list, label::parse);
    let (label, route) = found.unwrap();
    assert_eq!((label, route.protocol.as_str(), route.propagate), (100, "static", Some(false)));
    let hop = &route.nexthops[0];
    assert_eq!((hop.labels.as_slice(), hop.link), (&[200, 300][..], 3));
    assert_eq!(hop.via, Some([10, 0, 0, 9].into()));
}

#[test]
fn a_label_comes_off_or_is_spread() {
    let pop: &[(u16, &[u8])] = &[(1, &[0x00, 0x06, 0x41, 0x00]), (4, &1u32.to_ne_bytes())];
    let header = route_header(28, 20, 4, 1);
    let (label, route) = with_message(raw::NEWROUTE, &header, pop, label::parse).unwrap();
    assert_eq!((label, route.nexthops.len(), route.propagate), (100, 1, None));
    assert_eq!((route.nexthops[0].link, route.nexthops[0].labels.len()), (1, 0));
    let member = attributes(&[(19, &[0x00, 0x0c, 0x81, 0x00]), (18, VIA)]);
    let mut value = Vec::new();
    for link in [3u32, 4] {
        value.extend_from_slice(&(member.len() as u16 + 8).to_ne_bytes());
        value.extend_from_slice(&[0, 0]);
        value.extend_from_slice(&link.to_ne_bytes());
        value.extend_from_slice(&member);
    }
    let spread: &[(u16, &[u8])] = &[(1, &[0x00, 0x06, 0x41, 0x00]), (9, &value)];
    let (_, route) = with_message(raw::NEWROUTE, &header, spread, label::parse).unwrap();
    let links: Vec<_> = route.nexthops.iter().map(|hop| (hop.link, hop.labels.clone())).collect();
    assert_eq!(links, [(3, vec![200]), (4, vec![200])]);
    let bare: &[(u16, &[u8])] = &[(1, &[0x00, 0x06, 0x41, 0x00])];
    let (label, route) = with_message(raw::DELROUTE, &header, bare, label::parse).unwrap();
    assert_eq!((label, route.nexthops.len()), (100, 0));
}

#[test]
fn mpls_routes_that_make_no_sense_are_none() {
    let none = |header: &[u8], list: &[(u16, &[u8])]| {
        with_message(raw::NEWROUTE, header, list, |m| label::parse(m).is_none())
    };
    assert!(none(&route_header(2, 20, 4, 1), &[(1, &[0, 6, 0x41, 0])]), "family");
    assert!(none(&route_header(28, 24, 4, 1), &[(1, &[0, 6, 0x41, 0])]), "length");
    assert!(none(&route_header(28, 20, 4, 1), &[]), "no label");
    assert!(none(&route_header(28, 20, 4, 1), &[(1, &[0, 6])]), "half a label");
    assert!(none(&route_header(28, 20, 4, 1), &[(1, &[0, 6, 0x41, 0]), (19, &[1])]), "new label");
}

#[test]
fn what_is_left_over_is_seen() {
    let octets = request(raw::NEWROUTE, 0, 1, &route_header(2, 0, 4, 1), &[(15, &[1, 0, 0, 0])]);
    assert!(Messages(&octets).is_whole());
    assert!(Messages(&[]).is_whole());
    for cut in 1..octets.len() {
        assert!(!Messages(&octets[..cut]).is_whole(), "{cut}");
    }
    let (_, list) = Messages(&octets).next().unwrap().split::<12>().unwrap();
    assert!(list.is_whole());
    assert!(!Attributes(&list.0[..list.0.len() - 1]).is_whole());
}

#[test]
fn weights_of_a_group_have_sixteen_bits() {
    let group = [1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 255, 2, 0, 0];
    let list: &[(u16, &[u8])] = &[(1, &10u32.to_ne_bytes()), (2, &group)];
    let found = with_message(raw::NEWNEXTHOP, &[0; 8], list, nexthop::parse).unwrap();
    assert_eq!(found, (10, NextHopObject::Group(vec![(1, 5), (2, 768)])));
    let bridge: &[(u16, &[u8])] = &[(1, &10u32.to_ne_bytes()), (11, &[])];
    assert!(with_message(raw::NEWNEXTHOP, &[0; 8], bridge, nexthop::parse).is_none());
}

#[test]
fn errors_have_a_number_or_none() {
    let error = |code: i32| {
        let octets = request(raw::ERROR, 0, 1, &code.to_ne_bytes(), &[]);
        Messages(&octets).next().unwrap().error()
    };
    assert_eq!(error(0), None);
    assert_eq!(error(-19), Some(Errno::NODEV));
    assert_eq!(error(i32::MIN), Some(Errno::IO));
    assert_eq!(error(5), Some(Errno::IO));
}

/// Linux 6.18 on `ip route add 10.1.0.0/16 via 10.0.1.9 proto bgp`.
const SINGLE: &str = "\
    3c00000018000006937d046ba81d000002100000feba00010000000008000f00fe000000080001000a01000008000500\
    0a0001090800040003000000";

/// Linux 6.18 on `ip -6 route add 2001:db8:100::/48` by `nexthop via 2001:db8:1::9 weight 2` and
/// `nexthop via 2001:db8:1::8`.
const DOUBLE: &str = "\
    a800000018000004937d046baa1d00000a300000fe0300010000000008000f00fe0000001400010020010db801000000\
    000000000000000008000600000400003c0009001c000001030000001400050020010db8000100000000000000000009\
    1c000000030000001400050020010db800010000000000000000000824000c0000000000000000000000000000000000\
    000000000000000000000000000000000500140000000000";

/// Octets of a message captured on a little endian machine.
fn captured(digits: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(octet).collect()
}

#[test]
#[cfg(target_endian = "little")]
fn routes_as_the_kernel_sends_them() {
    let read = |digits: &str| {
        let octets = captured(digits);
        let message = Messages(&octets).next().unwrap();
        assert_eq!(message.kind, raw::NEWROUTE);
        let parsed = route::parse(&message).unwrap();
        (parsed.destination.key(0), parsed.body().unwrap().route)
    };
    let (key, route) = read(SINGLE);
    assert_eq!((key.prefix.to_string().as_str(), key.table), ("10.1.0.0/16", 254));
    assert_eq!((route.protocol.as_str(), route.nexthops.len()), ("bgp", 1));
    assert_eq!(route.nexthops[0].via.unwrap().to_string(), "10.0.1.9");
    assert_eq!(route.nexthops[0].link, 3);
    let (key, route) = read(DOUBLE);
    assert_eq!((key.prefix.to_string().as_str(), key.metric), ("2001:db8:100::/48", 1024));
    let hops: Vec<_> =
        route.nexthops.iter().map(|h| (h.via.unwrap().to_string(), h.weight)).collect();
    assert_eq!(hops, [("2001:db8:1::8".into(), 1), ("2001:db8:1::9".into(), 2)]);
}

/// Runs every parser over every message of some octets.
fn parse_all(octets: &[u8]) {
    for message in Messages(octets) {
        let _ = (link::parse(&message), link::index(&message), message.error());
        let _ = (address::parse(&message), neighbor::parse(&message).and_then(|n| n.neighbor()));
        let _ = (nexthop::parse(&message), nexthop::id(&message), label::parse(&message));
        if let Some(parsed) = route::parse(&message) {
            let _ = (parsed.destination.key(0), parsed.body());
            parsed.body_key(&mut Vec::new());
        }
    }
}

/// Attributes of random types and lengths, nested some way down.
fn any_attributes() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop::collection::vec(any::<u8>(), 0..24);
    leaf.prop_recursive(3, 64, 6, |inner| {
        prop::collection::vec((0u16..40, inner), 0..6).prop_map(|list| {
            let list: Vec<_> = list.iter().map(|(kind, value)| (*kind, &value[..])).collect();
            attributes(&list)
        })
    })
}

proptest! {
    #[test]
    fn octets_of_no_kind_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..256)) {
        parse_all(&octets);
    }

    #[test]
    fn messages_of_random_attributes_do_no_harm(
        kind in 0u16..110,
        family in prop::sample::select(vec![0u8, 2, 10, 7, 28]),
        header in prop::collection::vec(any::<u8>(), 7..16),
        body in any_attributes(),
    ) {
        let header: Vec<u8> = [family].into_iter().chain(header).chain(body).collect();
        parse_all(&request(kind, 0, 1, &header, &[]));
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_does_no_harm(
        at in 0usize..168, value in any::<u8>(), len in 0usize..=168,
    ) {
        let mut octets = captured(DOUBLE);
        octets[at] = value;
        octets.truncate(len);
        parse_all(&octets);
    }
}
