//! What people do to a host, command by command.

use crate::lab::{drowsy_lab, lab, run_batch, skip};
use std::time::{Duration, Instant};
use thalweg_model::host::{NextHopObject, RouteKind};
use thalweg_netlink::Options;

/// Two links with addresses, up at both ends.
const TWO_LINKS: &str = "
    link add name east type veth peer name east-peer
    link add name west type veth peer name west-peer
    link set dev east up
    link set dev east-peer up
    link set dev west up
    link set dev west-peer up
    address add 10.0.1.1/24 dev east
    address add 10.0.2.1/24 dev west
    -6 address add 2001:db8:1::1/64 dev east nodad
    -6 address add 2001:db8:2::1/64 dev west nodad
";

#[test]
fn links_come_change_and_go() {
    lab(|lab| {
        lab.each(
            "link set dev lo up
             link add name veth-a mtu 1400 address 02:00:00:00:00:0a type veth peer name veth-b
             link set dev veth-a up
             link set dev veth-b up",
        );
        let link = lab.host.link_named("veth-a").unwrap().clone();
        assert_eq!((link.mtu, link.kind.as_str(), link.medium.as_str()), (1400, "veth", "ether"));
        assert_eq!(link.mac.to_string(), "02:00:00:00:00:0a");
        assert_eq!(link.lower, Some(lab.index("veth-b")));
        assert!(link.up);
        assert_eq!(lab.host.link_named("lo").unwrap().medium, "loopback");
        lab.each(
            "link add link veth-a name above type macvlan
             link set dev above up
             link set dev veth-a mtu 1300
             link set dev veth-b down",
        );
        let above = lab.host.link_named("above").unwrap();
        assert_eq!((above.kind.as_str(), above.lower), ("macvlan", Some(link.index)));
        assert!(!lab.host.link_named("veth-a").unwrap().up, "no carrier");
        lab.each(
            "link set dev veth-b up
             link set dev veth-b down
             link set dev veth-b name renamed
             link add name bridge type bridge
             link set dev renamed master bridge",
        );
        assert_eq!(lab.host.link_named("renamed").unwrap().master, Some(lab.index("bridge")));
        lab.each(
            "link set dev renamed nomaster
             link del dev bridge
             link del dev veth-a",
        );
        assert_eq!(lab.host.links.len(), 1);
    });
}

#[test]
fn vlans() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        if let Err(why) = lab.namespace.try_ip("link add link east name east.7 type vlan id 7") {
            return skip(&why);
        }
        lab.each(
            "link add link east name qinq type vlan protocol 802.1ad id 9
             link set dev east.7 up
             route add 10.1.0.0/16 dev east.7",
        );
        let vlan = lab.host.link_named("east.7").unwrap().clone();
        assert_eq!((vlan.kind.as_str(), vlan.vlan), ("vlan", Some((7, 0x8100))));
        assert_eq!(vlan.lower, Some(lab.index("east")));
        assert_eq!(lab.host.link_named("qinq").unwrap().vlan, Some((9, 0x88a8)));
        lab.each("link set dev east down\nlink del dev east");
    });
}

#[test]
fn the_peer_in_another_namespace_is_not_a_local_link() {
    let Some(other) = crate::lab::Namespace::new() else { return };
    lab(|lab| {
        lab.each(
            "link add name here type veth peer name there
             link set dev here up",
        );
        lab.ip(&format!("link set dev there netns {}", other.0));
        assert_eq!(lab.host.link_named("here").unwrap().lower, None);
        assert!(lab.host.link_named("there").is_none());
    });
}

#[test]
fn addresses_of_both_families() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "address add 10.0.1.1/25 dev east
             address add 192.0.2.1 peer 192.0.2.2/32 dev west
             -6 address add 2001:db8:9::1 peer 2001:db8:9::2 dev west nodad",
        );
        let west = lab.index("west");
        let address = |text: &str| lab.host.addresses.get(&(west, text.parse().unwrap())).unwrap();
        assert_eq!(address("192.0.2.1").peer, Some("192.0.2.2".parse().unwrap()));
        assert_eq!(address("2001:db8:9::1").peer, Some("2001:db8:9::2".parse().unwrap()));
        assert_eq!((address("10.0.2.1").len, address("10.0.2.1").scope.as_str()), (24, "global"));
        assert_eq!(lab.route("2001:db8:1::/64").nexthops[0].link, lab.index("east"));
        lab.each(
            "address del 10.0.1.1/24 dev east
             address del 10.0.1.1/25 dev east
             address add 10.0.1.2/24 dev east
             address add 10.0.1.3/24 dev east
             address del 10.0.1.2/24 dev east
             -6 address flush dev west",
        );
        assert!(lab.routes("2001:db8:2::/64").is_empty());
    });
}

#[test]
fn neighbors_by_hand() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev east nud permanent
             neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:09 dev east nud reachable
             neigh add proxy 10.0.1.77 dev east
             neigh replace 10.0.1.9 lladdr 02:00:00:00:00:19 dev east nud permanent",
        );
        let east = lab.index("east");
        let found = lab.host.neighbors.get(&(east, "10.0.1.9".parse().unwrap())).unwrap();
        assert_eq!(found.mac.unwrap().to_string(), "02:00:00:00:00:19");
        assert_eq!(found.state, "permanent");
        assert!(!lab.host.neighbors.contains_key(&(east, "10.0.1.77".parse().unwrap())));
        lab.each(
            "neigh del 10.0.1.9 dev east
             link set dev east down",
        );
        assert!(lab.host.neighbors.keys().all(|(link, _)| *link != east));
    });
}

#[test]
fn ipv4_routes_of_every_kind() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "route add 10.1.0.0/16 via 10.0.1.9 proto bgp mtu 1400
             route add 10.2.0.0/16 dev west metric 50
             route add 10.2.0.0/16 via 10.0.1.9 metric 60
             route add blackhole 10.3.0.0/16
             route add unreachable 10.4.0.0/16
             route add prohibit 10.5.0.0/16
             route add throw 10.6.0.0/16 table 100
             route add 10.7.0.0/16 via 10.0.1.9 table 70000
             route add 10.8.0.0/16 via 10.0.1.9 tos 0x10
             route add 10.9.0.0/16 via inet6 2001:db8:1::9 dev east
             route add default via 10.0.9.9 dev east onlink
             route add local 10.10.0.1 dev lo table local
             route add broadcast 10.10.0.255 dev east table local",
        );
        let route = lab.route("10.1.0.0/16");
        assert_eq!((route.protocol.as_str(), route.mtu), ("bgp", Some(1400)));
        assert_eq!(route.nexthops[0].via, Some("10.0.1.9".parse().unwrap()));
        assert_eq!(lab.routes("10.2.0.0/16").len(), 2);
        assert_eq!(lab.route("10.3.0.0/16").kind, RouteKind::Blackhole);
        assert_eq!(lab.route("10.4.0.0/16").kind, RouteKind::Unreachable);
        assert_eq!(lab.route("10.5.0.0/16").kind, RouteKind::Prohibit);
        assert_eq!(lab.route("10.6.0.0/16").kind, RouteKind::Throw);
        assert_eq!(lab.routes("10.7.0.0/16")[0].0.table, 70000);
        assert_eq!(lab.routes("10.8.0.0/16")[0].0.tos, 0x10);
        assert_eq!(
            lab.route("10.9.0.0/16").nexthops[0].via,
            Some("2001:db8:1::9".parse().unwrap())
        );
        assert!(lab.route("0.0.0.0/0").nexthops[0].onlink);
        lab.each(
            "route replace 10.1.0.0/16 via 10.0.2.9
             route change 10.1.0.0/16 via 10.0.2.8
             route replace blackhole 10.1.0.0/16
             route del 10.2.0.0/16 metric 50
             route del 10.3.0.0/16
             route flush table 100
             route flush table 70000",
        );
        assert_eq!(lab.route("10.1.0.0/16").kind, RouteKind::Blackhole);
        assert!(lab.routes("10.7.0.0/16").is_empty());
    });
}

#[test]
fn ipv4_routes_with_equal_keys_keep_their_order() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "route add 10.1.0.0/16 via 10.0.1.9
             route append 10.1.0.0/16 via 10.0.2.9
             route append 10.1.0.0/16 via 10.0.2.8
             route prepend 10.1.0.0/16 via 10.0.1.7",
        );
        let first = |lab: &crate::lab::Lab| {
            let routes = lab.routes("10.1.0.0/16");
            (routes[0].1.nexthops[0].via.unwrap().to_string(), routes.len())
        };
        assert_eq!(first(lab), ("10.0.1.7".into(), 4));
        lab.ip("route replace 10.1.0.0/16 via 10.0.1.6");
        assert_eq!(first(lab), ("10.0.1.6".into(), 4));
        lab.ip("route del 10.1.0.0/16 via 10.0.1.6");
        assert_eq!(first(lab), ("10.0.1.9".into(), 3));
        lab.ip("route del 10.1.0.0/16 via 10.0.2.9");
        assert_eq!(first(lab), ("10.0.1.9".into(), 2));
        lab.ip("link set dev east down");
        assert_eq!(first(lab), ("10.0.2.8".into(), 1));
        lab.ip("link set dev west down");
        assert!(lab.routes("10.1.0.0/16").is_empty());
    });
}

#[test]
fn ipv4_multipath_follows_its_links() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "route add 10.1.0.0/16 nexthop via 10.0.1.9 weight 3 nexthop via 10.0.2.9 weight 256
             route add 10.2.0.0/16 via 10.0.1.9",
        );
        let weights: Vec<_> = lab.gateways("10.1.0.0/16").into_iter().map(|g| g.1).collect();
        assert_eq!(weights, [3, 256]);
        // In silence: one route goes, the other has a dead member.
        lab.ip("link set dev east down");
        assert!(lab.routes("10.2.0.0/16").is_empty());
        assert!(lab.route("10.1.0.0/16").nexthops[0].dead);
        // In silence: the member is alive again.
        lab.ip("link set dev east up");
        assert!(!lab.route("10.1.0.0/16").nexthops[0].dead);
        lab.ip("link set dev west-peer down");
        assert!(lab.route("10.1.0.0/16").nexthops[1].dead);
        lab.ip("link del dev east");
        assert!(lab.routes("10.1.0.0/16").is_empty());
    });
}

#[test]
fn ipv4_routes_die_with_their_source_address() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "link set dev lo up
             address add 192.0.2.1/32 dev lo
             route add 10.1.0.0/16 via 10.0.1.9 src 192.0.2.1
             route add 10.2.0.0/16 via 10.0.1.9
             address del 192.0.2.1/32 dev lo",
        );
        assert!(lab.routes("10.1.0.0/16").is_empty());
        // With the last address of a link go all routes through it, in silence.
        lab.ip("address del 10.0.1.1/24 dev east");
        assert!(lab.routes("10.2.0.0/16").is_empty());
    });
}

#[test]
fn ipv6_routes_of_every_kind() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "link set dev lo up
             -6 route add 2001:db8:100::/48 via 2001:db8:1::9 proto bgp
             -6 route add 2001:db8:101::/48 dev west
             -6 route append 2001:db8:101::/48 dev east
             -6 route add blackhole 2001:db8:102::/48
             -6 route add unreachable 2001:db8:103::/48
             -6 route add prohibit 2001:db8:104::/48
             -6 route add throw 2001:db8:105::/48 table 100
             -6 route add default via fe80::1 dev east
             -6 route add 2001:db8:106::/48 via 2001:db8:1::9 metric 5 mtu 1300",
        );
        assert_eq!(lab.routes("2001:db8:101::/48").len(), 2);
        assert_eq!(lab.route("2001:db8:102::/48").kind, RouteKind::Blackhole);
        assert_eq!(lab.route("2001:db8:106::/48").mtu, Some(1300));
        assert_eq!(lab.routes("2001:db8:106::/48")[0].0.metric, 5);
        lab.each(
            "-6 route replace 2001:db8:100::/48 via 2001:db8:2::9
             -6 route replace 2001:db8:101::/48 dev east
             -6 route replace blackhole 2001:db8:100::/48
             -6 route del 2001:db8:103::/48
             -6 route replace 2001:db8:100::/48 via 2001:db8:2::8
             link set dev east mtu 1280
             link set dev west down
             link set dev west up
             link del dev east",
        );
    });
}

#[test]
fn ipv6_multipath_gains_and_loses_members() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.ip("-6 route add 2001:db8:100::/48 nexthop via 2001:db8:1::9 weight 2 \
             nexthop via 2001:db8:2::9"
            .trim());
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 2);
        lab.ip("-6 route append 2001:db8:100::/48 via 2001:db8:2::8");
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 3);
        lab.ip(
            "-6 route append 2001:db8:100::/48 nexthop via 2001:db8:1::7 nexthop via 2001:db8:1::6",
        );
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 5);
        lab.ip("-6 route del 2001:db8:100::/48 via 2001:db8:1::9");
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 4);
        lab.ip(
            "-6 route del 2001:db8:100::/48 nexthop via 2001:db8:1::7 nexthop via 2001:db8:2::8",
        );
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 2);
        lab.ip("link set dev east-peer down");
        lab.ip("link set dev east down");
        lab.ip("link set dev east up");
        lab.ip("-6 route replace 2001:db8:100::/48 nexthop via 2001:db8:2::4 nexthop via 2001:db8:2::5");
        assert_eq!(lab.gateways("2001:db8:100::/48").len(), 2);
        lab.ip("-6 route append blackhole 2001:db8:100::/48");
        lab.ip("-6 route replace blackhole 2001:db8:100::/48");
        lab.ip("-6 route replace 2001:db8:100::/48 via 2001:db8:2::5");
        // Another member now would hide the black hole from the kernel's own listing, which skips
        // what stands between two members.
        lab.ip("-6 route del 2001:db8:100::/48");
        lab.ip("link del dev west");
    });
}

#[test]
fn next_hop_objects_and_groups() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        if let Err(why) = lab.namespace.try_ip("nexthop add id 1 via 10.0.1.9 dev east") {
            return skip(&why);
        }
        lab.each(
            "link set dev lo up
             nexthop add id 2 via 10.0.2.9 dev west
             nexthop add id 3 blackhole
             nexthop add id 10 group 1,5/2,200
             nexthop add id 6 via 2001:db8:1::9 dev east
             nexthop add id 7 via 2001:db8:2::9 dev west
             nexthop add id 60 group 6/7
             route add 10.1.0.0/16 nhid 10
             route add 10.2.0.0/16 nhid 1
             route add 10.3.0.0/16 nhid 3
             -6 route add 2001:db8:100::/48 nhid 60
             -6 route add 2001:db8:101::/48 nhid 6",
        );
        assert_eq!(lab.host.nexthops.get(&10), Some(&NextHopObject::Group(vec![(1, 5), (2, 200)])));
        assert_eq!(lab.host.nexthops.get(&3), Some(&NextHopObject::Blackhole));
        let route = lab.route("10.1.0.0/16");
        assert_eq!((route.object, route.nexthops.len()), (Some(10), 0));
        assert_eq!(lab.route("10.3.0.0/16").kind, RouteKind::Unicast);
        lab.each(
            "nexthop replace id 10 group 2
             nexthop replace id 1 via 10.0.1.8 dev east
             nexthop replace id 3 via 10.0.1.7 dev east
             nexthop replace id 10 group 1/2
             nexthop del id 3",
        );
        // In silence: IPv4 routes with the object.
        assert!(lab.routes("10.3.0.0/16").is_empty());
        // In silence: objects through the link, groups that lose a member, routes with them.
        lab.ip("link set dev east down");
        assert!(!lab.host.nexthops.contains_key(&1));
        assert!(lab.routes("10.2.0.0/16").is_empty());
        assert_eq!(lab.host.nexthops.get(&10), Some(&NextHopObject::Group(vec![(2, 1)])));
        lab.each(
            "link set dev east up
             nexthop add id 1 via 10.0.1.9 dev east
             route add 10.2.0.0/16 nhid 1
             nexthop del id 1
             nexthop del id 2
             nexthop flush",
        );
        assert!(lab.host.nexthops.is_empty());
    });
}

#[test]
fn an_object_made_anew_does_not_bring_old_routes_back() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        if let Err(why) = lab.namespace.try_ip("nexthop add id 1 via 10.0.1.9 dev east") {
            return skip(&why);
        }
        lab.each("route add 10.1.0.0/16 nhid 1\nroute add 10.2.0.0/16 nhid 1");
        lab.namespace.batch(
            "nexthop del id 1
             nexthop add id 1 via 10.0.1.8 dev east
             route add 10.2.0.0/16 nhid 1",
        );
        lab.settle("del and add");
        assert!(lab.routes("10.1.0.0/16").is_empty());
        assert_eq!(lab.route("10.2.0.0/16").object, Some(1));
    });
}

#[test]
fn without_copies_in_routes_objects_are_followed_all_the_same() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        if let Err(why) = lab.namespace.try_ip("nexthop add id 1 via 10.0.1.9 dev east") {
            return skip(&why);
        }
        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").unwrap();
        lab.each(
            "nexthop add id 6 via 2001:db8:1::9 dev east
             nexthop add id 2 via 10.0.2.9 dev west
             nexthop add id 10 group 1/2
             route add 10.1.0.0/16 nhid 10
             route add 10.2.0.0/16 nhid 1
             -6 route add 2001:db8:100::/48 nhid 6
             nexthop replace id 6 via 2001:db8:1::8 dev east
             nexthop del id 6
             nexthop del id 1
             link set dev west down",
        );
        assert!(lab.routes("2001:db8:100::/48").is_empty());
        assert!(lab.routes("10.1.0.0/16").is_empty());
    });
}

#[test]
fn a_link_that_flaps_in_one_batch() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "route add 10.1.0.0/16 via 10.0.1.9
             -6 route add 2001:db8:100::/48 via 2001:db8:1::9",
        );
        lab.namespace.batch("link set dev east down\nlink set dev east up\n");
        lab.settle("flap");
        assert!(lab.routes("10.1.0.0/16").is_empty());
        lab.namespace.batch(
            "link set dev east down
             link set dev east up
             route add 10.1.0.0/16 via 10.0.1.9
             link set dev east down
             link set dev east up
             route add 10.2.0.0/16 via 10.0.1.9",
        );
        lab.settle("flaps");
        assert_eq!(lab.routes("10.2.0.0/16").len(), 1);
    });
}

#[test]
fn other_links_by_master() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        if let Err(why) = lab.namespace.try_ip("link add name red type vrf table 100") {
            return skip(&why);
        }
        lab.each(
            "link set dev red up
             link set dev east master red
             route add 10.1.0.0/16 via 10.0.1.9 vrf red
             link set dev east nomaster
             link del dev red",
        );
    });
}

#[test]
fn labels_pushed_by_routes() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        let add = "route add 10.1.0.0/16 encap mpls 100/200 ttl 7 via 10.0.1.9";
        if let Err(why) = lab.namespace.try_ip(add) {
            return skip(&why);
        }
        lab.settle(add);
        let hop = &lab.route("10.1.0.0/16").nexthops[0];
        assert_eq!((hop.labels.as_slice(), hop.ttl), (&[100, 200][..], Some(7)));
        lab.ip("-6 route add 2001:db8:100::/48 encap mpls 16 via 2001:db8:1::9");
        assert_eq!(lab.route("2001:db8:100::/48").nexthops[0].labels, [16]);
    });
}

#[test]
fn what_only_the_kernel_encapsulates_is_marked() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        let add =
            "-6 route add 2001:db8:100::/48 encap seg6 mode encap segs 2001:db8:9::1 dev east";
        if let Err(why) = lab.namespace.try_ip(add) {
            return skip(&why);
        }
        lab.settle(add);
        let hop = &lab.route("2001:db8:100::/48").nexthops[0];
        assert_eq!(hop.encap.as_deref(), Some("seg6"));
        lab.ip("-6 route del 2001:db8:100::/48");
    });
}

#[test]
fn lost_events_are_made_up_for() {
    // A buffer for a handful of events, and a burst of thousands.
    let options = Options { receive_buffer: 4096, ..Options::default() };
    drowsy_lab(options, |lab| {
        lab.each(TWO_LINKS);
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let all = |verb: &str, n: u32, way: &str| -> String {
            (0..n).map(|n| format!("route {verb} {} {way}\n", prefix(n))).collect()
        };
        lab.namespace.batch(&all("add", 5000, "via 10.0.1.9"));
        lab.settle("burst");
        lab.namespace.batch(&all("del", 4000, ""));
        lab.namespace.batch(&all("replace", 5000, "via 10.0.2.9"));
        lab.settle("second burst");
        assert!(lab.overruns > 0, "the buffer was never too small");
        assert_eq!(lab.gateways("10.100.0.0/24")[0].0.to_string(), "10.0.2.9");
    });
}

#[test]
fn the_kernel_resolves_and_forgets_a_neighbor() {
    let Some(other) = crate::lab::Namespace::new() else { return };
    lab(|lab| {
        lab.ip("link add name here type veth peer name there");
        lab.ip(&format!("link set dev there netns {}", other.0));
        other.try_ip("link set dev there up").unwrap();
        other.try_ip("address add 10.0.1.2/24 dev there").unwrap();
        other.try_ip("-6 address add 2001:db8:1::2/64 dev there nodad").unwrap();
        lab.each(
            "link set dev here up
             address add 10.0.1.1/24 dev here
             -6 address add 2001:db8:1::1/64 dev here nodad
             neigh add 10.0.1.3 lladdr 02:00:00:00:00:03 dev here nud permanent",
        );
        let here = lab.index("here");
        let mut resolver = lab.resolver();
        for text in ["10.0.1.2", "2001:db8:1::2"] {
            let address = text.parse().unwrap();
            resolver.resolve(here, address).unwrap();
            resolver.resolve(here, address).unwrap();
            let known = |lab: &crate::lab::Lab| {
                lab.host.neighbors.get(&(here, address)).is_some_and(|n| n.mac.is_some())
            };
            for _ in 0..200 {
                lab.listen(Duration::from_millis(10));
                if known(lab) {
                    break;
                }
            }
            assert!(known(lab), "{text}");
            resolver.forget(here, address).unwrap();
            lab.settle("forget");
            assert!(!known(lab), "{text}");
        }
        // What somebody put there stays as it is.
        let fixed = "10.0.1.3".parse().unwrap();
        resolver.resolve(here, fixed).unwrap();
        resolver.forget(here, fixed).unwrap();
        lab.settle("permanent");
        assert_eq!(lab.host.neighbors.get(&(here, fixed)).unwrap().state, "permanent");
        let error = resolver.resolve(9999, fixed).unwrap_err().to_string();
        assert!(error.contains("the link is gone"), "{error}");
        resolver.forget(9999, fixed).unwrap();
    });
}

#[test]
fn a_state_survives_its_file() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "route add 10.1.0.0/16 nexthop via 10.0.1.9 weight 3 nexthop via 10.0.2.9
             route add blackhole 10.3.0.0/16
             neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev east nud permanent",
        );
        let text = thalweg_netlink::file::to_yaml(&lab.host);
        assert_eq!(thalweg_netlink::file::from_yaml(&text).unwrap(), lab.host, "{text}");
    });
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// One command that somebody might give; many fail, which is fine.
fn anything(dice: &mut Dice) -> String {
    let dev = ["east", "west", "third"][dice.roll(3) as usize];
    let net = 1 + ["east", "west", "third"].iter().position(|d| *d == dev).unwrap();
    let (host, prefix, id) = (2 + dice.roll(4), dice.roll(4), 1 + dice.roll(5));
    let verb = ["add", "append", "prepend", "replace", "del", "del"][dice.roll(6) as usize];
    let verb6 = ["add", "append", "replace", "del", "del"][dice.roll(5) as usize];
    let metric = ["", " metric 7"][dice.roll(2) as usize];
    let other = 1 + dice.roll(3);
    match dice.roll(20) {
        0 => format!("link set dev {dev} down"),
        1 | 2 => format!("link set dev {dev} up"),
        3 => format!("link set dev {dev}-peer down"),
        4 => format!("link set dev {dev}-peer up"),
        5 => format!("address add 10.0.{net}.{host}/24 dev {dev}"),
        6 => format!("address del 10.0.{net}.{host}/24 dev {dev}"),
        7 => format!("-6 address add 2001:db8:{net}::{host}/64 dev {dev} nodad"),
        8 => format!("route {verb} 10.1.{prefix}.0/24 via 10.0.{net}.9{metric}"),
        9 => format!("route {verb} 10.1.{prefix}.0/24 dev {dev}{metric}"),
        10 => format!(
            "route {verb} 10.1.{prefix}.0/24{metric} nexthop via 10.0.{net}.9 nexthop via 10.0.{other}.8"
        ),
        11 => format!("route {verb} 10.1.{prefix}.0/24 via 10.0.{net}.9 src 10.0.{net}.{host}"),
        12 => format!("-6 route {verb6} 2001:db8:10{prefix}::/48 via 2001:db8:{net}::9{metric}"),
        13 => format!(
            "-6 route {verb6} 2001:db8:10{prefix}::/48{metric} nexthop via 2001:db8:{net}::9 nexthop via 2001:db8:{other}::8"
        ),
        14 => format!("-6 route {verb6} 2001:db8:20{prefix}::/48 dev {dev}{metric}"),
        15 => format!("nexthop replace id {id} via 10.0.{net}.9 dev {dev}"),
        16 => format!("nexthop replace id 1{id} group {id}/{other}"),
        17 => format!("nexthop del id {}", [id, 10 + id][dice.roll(2) as usize]),
        18 => {
            format!("route {verb} 10.2.{prefix}.0/24 nhid {}", [id, 10 + id][dice.roll(2) as usize])
        }
        _ => format!("neigh replace 10.0.{net}.{host} lladdr 02:00:00:00:00:0{host} dev {dev}"),
    }
}

/// Rounds of commands that somebody might give, each followed by a comparison.
fn rounds(lab: &mut crate::lab::Lab, seed: u64) {
    let rounds = std::env::var("THALWEG_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    lab.each(TWO_LINKS);
    lab.each(
        "link add name third type veth peer name third-peer
         link set dev third up",
    );
    for round in seed..seed + rounds {
        let mut dice = Dice(round);
        let commands: Vec<String> = (0..150).map(|_| anything(&mut dice)).collect();
        let commands = commands.join("\n");
        lab.namespace.batch_any(&commands);
        lab.settle(&format!("round {round}\n{commands}"));
    }
    assert_eq!(lab.overruns, 0);
}

#[test]
fn whatever_happens_what_is_told_is_what_there_is() {
    lab(|lab| rounds(lab, 0));
}

#[test]
fn whatever_happens_may_be_told_at_once() {
    drowsy_lab(Options::default(), |lab| rounds(lab, 1_000_000));
}

#[test]
fn a_source_may_start_in_the_middle_of_it_all() {
    lab(|lab| {
        lab.each(TWO_LINKS);
        lab.each(
            "link add name third type veth peer name third-peer
             link set dev third up",
        );
        let many: String = (0..20_000)
            .map(|n| format!("route add 10.{}.{}.0/24 via 10.0.1.9\n", 10 + n / 256, n % 256))
            .collect();
        lab.namespace.batch(&many);
        for round in 0..4 {
            let mut dice = Dice(1000 + round);
            let commands: Vec<String> = (0..400).map(|_| anything(&mut dice)).collect();
            let name = lab.namespace.0.clone();
            std::thread::scope(|scope| {
                scope.spawn(|| run_batch(&name, &["-force"], &commands.join("\n")));
                for _ in 0..5 {
                    lab.restart();
                }
            });
            lab.settle(&format!("round {round}"));
        }
    });
}

#[test]
fn a_large_table_is_read_in_one_go() {
    let routes: u32 =
        std::env::var("THALWEG_ROUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    lab(|lab| {
        lab.each(TWO_LINKS);
        let prefix = |n: u32| std::net::Ipv4Addr::from(0x1400_0000 + (n << 8));
        let gateway = |n: u32| if n.is_multiple_of(3) { "10.0.2.9" } else { "10.0.1.9" };
        let commands: String = (0..routes)
            .map(|n| format!("route add {}/24 via {} proto bgp\n", prefix(n), gateway(n)))
            .collect();
        let begin = Instant::now();
        lab.namespace.batch(&commands);
        let added = begin.elapsed();
        let begin = Instant::now();
        let fresh = lab.fresh();
        println!("{routes} routes added by ip in {added:?}, read in {:?}", begin.elapsed());
        assert!(fresh.routes.len() > routes as usize);
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        lab.settle("many routes");
        let begin = Instant::now();
        lab.ip("link set dev west down");
        println!("a third of them gone with their link, compared after {:?}", begin.elapsed());
        assert!(lab.routes("20.0.0.0/24").is_empty());
        assert_eq!(lab.routes("20.0.1.0/24").len(), 1);
        // The only event comes before the kernel begins to drop the others, which takes a while.
        lab.ip("address del 10.0.1.1/24 dev east");
        assert!(lab.routes("20.0.1.0/24").is_empty());
    });
}
