//! Tests of host state files.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;
use thalweg_model::host::{Address, Neighbor, NextHop, NextHopObject, Route, RouteKey, RouteKind};
use thalweg_wire::Mac;

#[test]
fn a_file_reads_well() {
    let text = "\
links:
- name: eth0
  index: 2
  mac: 02:00:00:00:00:0a
  mtu: 1500
  up: true
  medium: ether
- name: \"7\"
  index: 3
  mtu: 1500
  up: false
  kind: vlan
  medium: ether
  lower: eth0
  vlan: {id: 7, protocol: 802.1q}
addresses:
- address: 10.0.0.1/24
  dev: eth0
neighbors:
- address: fe80::1
  dev: eth0
  mac: 02:00:00:00:00:fe
  state: reachable
nexthops:
- id: 1
  hop: {via: 10.0.0.254, dev: eth0}
- id: 2
  blackhole: true
- id: 9
  group:
  - {id: 1, weight: 3}
  - {id: 2, weight: 1}
routes:
- prefix: 2001:db8::/32
  table: 100
  kind: blackhole
  protocol: \"42000\"
- prefix: 10.1.0.0/16
  metric: 20
  protocol: bgp
  nexthops:
  - {via: 10.0.0.254, dev: eth0, weight: 3, labels: [100, 200]}
  - {via: 10.0.9.9, link: 77, onlink: true, dead: true}
";
    let host = from_yaml(text).unwrap();
    assert_eq!(to_yaml(&host), text);
    assert_eq!(host.links[&3].lower, Some(2));
    let json = serde_json::to_string_pretty(&to_value(&host)).unwrap();
    assert_eq!(from_yaml(&json).unwrap(), host);
}

#[test]
fn what_is_usual_need_not_be_written() {
    let host = from_yaml(
        "links: [{name: b, index: 1}, {name: a, up: true}]\nroutes:\n- {prefix: 0.0.0.0/0, nexthops: [{via: 10.0.0.1, dev: a}]}\n",
    )
    .unwrap();
    let link = host.link_named("a").unwrap();
    assert_eq!((link.index, link.mtu, link.medium.as_str()), (2, 1500, "ether"));
    let (key, route) = host.routes.iter().next().unwrap();
    assert_eq!((key.table, key.metric, route.kind), (254, 0, RouteKind::Unicast));
    assert_eq!((route.nexthops[0].link, route.nexthops[0].weight), (2, 1));
    assert_eq!(from_yaml("").unwrap(), HostState::default());
    assert_eq!(from_yaml(&to_yaml(&HostState::default())).unwrap(), HostState::default());
}

#[test]
fn faults_are_named_with_line_and_remedy() {
    let fault = |text: &str| from_yaml(text).unwrap_err().to_string();
    assert_eq!(
        fault("links:\n- name: a\nroutes:\n- prefix: 10.0.0.0/24\n  nexthops: [{dev: eth9}]\n"),
        "host state, line 4: route 10.0.0.0/24: there is no link `eth9`; add it to `links`"
    );
    let bits = fault("routes:\n- prefix: 10.0.0.1/24\n");
    assert!(
        bits.starts_with("host state, line 2: route 10.0.0.1/24: prefix `10.0.0.1/24`:"),
        "{bits}"
    );
    let unknown = fault("links:\n- name: a\n  mtv: 9\n");
    assert!(unknown.contains("line 2: link a: unknown field `mtv`"), "{unknown}");
    let twice = fault("links:\n- name: a\n- name: a\n");
    assert!(twice.contains("line 3: link a: there is one like it above"), "{twice}");
    let index = fault("links:\n- {name: a, index: 4}\n- {name: b, index: 4}\n");
    assert!(index.contains("line 3: link b: `b` has the index 4 of `a`"), "{index}");
    assert!(fault("link: []\n").contains("unknown section `link`"));
    assert!(fault("links: {}\n").contains("section `links` is no list"));
    assert!(fault("- a\n").contains("is no map of sections"));
    assert!(fault("links: [\n").contains("not valid YAML"));
    assert!(fault("links: &a []\nroutes: *a\n").contains("line 2: an alias"));
    assert!(fault("links: []\nlinks: []\n").contains("`links` is there twice"));
    let label = fault("routes:\n- {prefix: ::/0, nexthops: [{labels: [1048576]}]}\n");
    assert!(label.contains("label 1048576 is too large"), "{label}");
    let both = fault("nexthops:\n- {id: 1, blackhole: true, group: []}\n");
    assert!(both.contains("line 2: nexthop 1: says not exactly one thing"), "{both}");
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|o| IpAddr::V4(o.into())),
        any::<[u8; 16]>().prop_map(|o| IpAddr::V6(o.into())),
        Just(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        Just(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ]
}

/// Names as the kernel allows them, the nasty ones included.
fn any_name() -> impl Strategy<Value = String> {
    let nasty =
        ["7", "0x1f", "1e5", "true", "null", "~", "no", "a: b", "#x", "-", "{", "12:34", ""];
    prop_oneof![
        "[a-z]{1,4}[0-9.@-]{0,4}",
        "[!-.0-~]{1,15}",
        prop::sample::select(nasty.to_vec()).prop_map(String::from),
    ]
}

fn any_hop() -> impl Strategy<Value = NextHop> {
    (
        option::of(any_ip()),
        0u32..9,
        1u16..300,
        vec(0u32..1 << 20, 0..3),
        option::of(any::<u8>()),
        option::of("[a-z0-9]{1,5}"),
        any::<(bool, bool)>(),
    )
        .prop_map(|(via, link, weight, labels, ttl, encap, (onlink, dead))| NextHop {
            via,
            link,
            weight,
            labels,
            ttl,
            encap,
            onlink,
            dead,
        })
}

fn any_object() -> impl Strategy<Value = NextHopObject> {
    prop_oneof![
        any_hop().prop_map(NextHopObject::Single),
        vec((any::<u32>(), any::<u16>()), 0..3).prop_map(NextHopObject::Group),
        Just(NextHopObject::Blackhole),
    ]
}

fn any_route() -> impl Strategy<Value = (RouteKey, Route)> {
    let kinds = vec![RouteKind::Unicast, RouteKind::Local, RouteKind::Throw, RouteKind::Prohibit];
    let key = (any_ip(), 0u8..129, prop_oneof![Just(254), any::<u32>()], any::<(u32, u8)>());
    let body = (prop::sample::select(kinds), any_name(), vec(any_hop(), 0..3));
    (key, body, option::of(any::<u32>()), option::of(any::<u32>())).prop_map(
        |((address, len, table, (metric, tos)), (kind, protocol, nexthops), object, mtu)| {
            let prefix = Prefix::containing(address, len);
            let key = RouteKey { table, prefix, metric, tos, instance: metric % 2 };
            (key, Route { kind, protocol, nexthops, object, mtu })
        },
    )
}

fn any_link() -> impl Strategy<Value = Link> {
    (
        any_name(),
        any::<(u32, bool, [u8; 6])>(),
        option::of(0u32..9),
        option::of(any::<(u16, u16)>()),
    )
        .prop_map(|(name, (mtu, up, mac), lower, vlan)| Link {
            name,
            mac: Mac(mac),
            mtu,
            up,
            lower,
            vlan,
            kind: "veth".into(),
            medium: "ether".into(),
            ..Link::default()
        })
}

prop_compose! {
    fn any_host()(
        links in vec(any_link(), 0..6),
        addresses in vec((0u32..9, any_ip(), 0u8..33, option::of(any_ip())), 0..4),
        neighbors in vec((0u32..9, any_ip(), option::of(any::<[u8; 6]>()), any_name()), 0..4),
        nexthops in btree_map(any::<u32>(), any_object(), 0..4),
        routes in vec(any_route(), 0..6),
    ) -> HostState {
        let mut host = HostState { nexthops, ..HostState::default() };
        for (index, mut link) in (1..).zip(links) {
            link.index = index;
            if host.link_named(&link.name).is_none() {
                host.links.insert(index, link);
            }
        }
        for (link, address, len, peer) in addresses {
            let scope = if len % 2 == 0 { "global" } else { "link" }.into();
            host.addresses.insert((link, address), Address { link, address, len, peer, scope });
        }
        for (link, address, mac, state) in neighbors {
            let mac = mac.map(Mac);
            host.neighbors.insert((link, address), Neighbor { link, address, mac, state });
        }
        host.routes.extend(routes);
        host
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(host in any_host()) {
        let text = to_yaml(&host);
        prop_assert_eq!(from_yaml(&text).map_err(|e| e.to_string()), Ok(host), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a-z:\\[\\]{}&*!|>'\"#, \n0-9]{0,80}") {
        from_yaml(&text).ok();
    }
}
