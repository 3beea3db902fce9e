//! Small stories: what one change of the world does to the plane.

use crate::fixture::{World, world};
use crate::maps::{Maps, Shares, vrf_names};
use std::net::IpAddr;
use thalweg_abi::nexthop::kind;
use thalweg_abi::{GroupId, LinkRow, VrfId, link, own};
use thalweg_compile::{Compiler, diff};
use thalweg_image::{Change, Failure, Plan};
use thalweg_model::host::Update;
use thalweg_model::{Problem, Severity};
use thalweg_policy::Objects;

const TWO_LINKS: &str = "
    link 2 eth0
    link 3 eth1
    link 4 eth2
    addr eth0 10.0.0.1/24
    addr eth1 10.0.1.1/24
    addr eth2 10.0.2.1/24
    kernel 10.0.0.0/24 proto kernel nexthop dev eth0
    kernel 10.0.1.0/24 proto kernel nexthop dev eth1
    kernel 10.0.2.0/24 proto kernel nexthop dev eth2
    neigh 10.0.0.254 eth0 02:00:00:00:01:fe
    neigh 10.0.1.254 eth1 02:00:00:00:02:fe
    neigh 10.0.2.254 eth2 02:00:00:00:03:fe
    ours eth*
";

/// A compiler with the plane it feeds.
struct Bench {
    world: World,
    compiler: Compiler,
    maps: Maps,
}

impl Bench {
    fn new(text: &str) -> Self {
        let world = world(text);
        let mut compiler = Compiler::new(world.intent.router.limits.clone());
        compiler.load_host(world.host.clone());
        compiler.set_intent(world.intent.clone());
        let mut bench = Self { world, compiler, maps: Maps::default() };
        bench.plan();
        bench
    }

    fn plan(&mut self) -> Plan {
        let plan = self.compiler.plan();
        self.maps.apply(&plan);
        plan
    }

    /// Adds lines about the host and compiles.
    fn host(&mut self, lines: &str) -> Plan {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let update = self.world.update(line);
            self.update(update);
        }
        self.plan()
    }

    fn update(&mut self, update: Update) {
        self.world.host.apply(update.clone());
        self.compiler.update_host(update);
    }

    /// Adds lines about intent and compiles.
    fn intent(&mut self, lines: &str) -> Plan {
        lines.lines().for_each(|line| self.world.add(line));
        self.compiler.set_intent(self.world.intent.clone());
        self.plan()
    }

    fn forget(&mut self, route: &str) -> Plan {
        self.world.intent.routes.remove(route);
        self.compiler.set_intent(self.world.intent.clone());
        self.plan()
    }

    fn group(&self, address: &str) -> GroupId {
        self.group_in(0, address).unwrap_or_else(|| panic!("no route to {address}"))
    }

    fn group_in(&self, vrf: u16, address: &str) -> Option<GroupId> {
        self.maps.group_of(VrfId(vrf), address.parse().unwrap())
    }

    fn shares(&self, address: &str) -> Shares {
        self.maps.shares(self.group(address), &vrf_names(&self.compiler))
    }

    /// `kind:link:last octet of the MAC:labels` of each member.
    fn to(&self, address: &str) -> Vec<String> {
        self.shares(address)
            .into_keys()
            .map(|m| format!("{}:{}:{:x}:{:?}", m.kind, m.link, m.mac[4], m.labels))
            .collect()
    }

    fn errors(&self) -> Vec<Problem> {
        let problems = self.compiler.problems().into_iter();
        problems.filter(|problem| problem.severity == Severity::Error).collect()
    }

    fn error(&self) -> String {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors[0].to_string()
    }
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    let mut kinds: Vec<_> = plan
        .changes
        .iter()
        .map(|change| match change {
            Change::Settings(_) => "settings",
            Change::Link(..) => "link",
            Change::Vlan { .. } => "vlan",
            Change::NextHop(..) => "nexthop",
            Change::Group(..) => "group",
            Change::Route4(..) | Change::Route6(..) => "route",
            Change::Label(..) => "label",
            Change::Own(_) => "own",
            Change::FreeGroup(_) => "free group",
            Change::FreeNextHop(_) => "free nexthop",
            Change::Backends(..) => "backends",
            Change::Frontend(..) => "frontend",
            Change::RemoveFrontend(_) => "remove frontend",
            Change::FreeBackends(_) => "free backends",
            Change::Policy(_) => "policy",
        })
        .collect();
    kinds.dedup();
    kinds
}

fn adjacent(link: u32, mac: u8) -> String {
    format!("{}:{link}:{mac:x}:[]", kind::ADJACENT)
}

#[test]
fn a_kernel_route_through_a_known_neighbor_is_an_adjacency() {
    let bench =
        Bench::new(&format!("{TWO_LINKS}\nkernel 10.9.0.0/16 nexthop via 10.0.0.254 dev eth0"));
    assert_eq!(bench.to("10.9.1.1"), [adjacent(2, 1)]);
    assert_eq!(bench.to("10.0.0.254"), [adjacent(2, 1)], "the neighbor's host route");
    assert_eq!(bench.group("10.9.1.1"), bench.group("10.0.0.254"), "one target, one group");
    assert_eq!(bench.to("10.0.0.77"), [format!("{}:2:0:[]", kind::UNRESOLVED)]);
    assert_eq!(bench.to("10.0.0.1"), [format!("{}:0:0:[]", kind::DELIVER)]);
    assert_eq!(bench.to("10.0.0.255"), [format!("{}:2:0:[]", kind::BROADCAST)]);
    assert!(bench.group_in(0, "11.0.0.1").is_none());
    let row = bench.maps.links[&2];
    assert_eq!(row.flags & 0xf, link::flag::UP | link::flag::IPV4 | link::flag::IPV6);
    assert_eq!((row.address4, row.mtu, row.device), ([10, 0, 0, 1], 1500, 2));
    let bit = own::bit4(0x0a00_0001);
    assert_ne!(bench.maps.own[bit as usize / 64] >> (bit % 64) & 1, 0);
    assert!(bench.errors().is_empty());
}

#[test]
fn a_neighbor_that_moves_re_issues_groups_and_leaves_routes_alone() {
    let mut text = TWO_LINKS.to_owned();
    for i in 0..200 {
        text.push_str(&format!("\nkernel 20.0.{i}.0/24 nexthop via 10.0.0.254 dev eth0"));
    }
    let mut bench = Bench::new(&text);
    let group = bench.group("20.0.7.1");
    let plan = bench.host("neigh 10.0.0.254 eth0 02:00:00:00:77:fe");
    assert_eq!(kinds(&plan), ["nexthop", "group", "free nexthop"]);
    assert_eq!(plan.changes.len(), 3);
    assert_eq!(bench.group("20.0.7.1"), group);
    assert_eq!(bench.to("20.0.7.1"), [adjacent(2, 0x77)]);
    // A neighbor that is merely confirmed changes nothing.
    let plan = bench.host("neigh 10.0.0.254 eth0 02:00:00:00:77:fe stale");
    assert!(plan.changes.is_empty());
    assert_eq!(plan.generation, 2);
}

#[test]
fn a_neighbor_that_fails_leaves_packets_to_the_kernel() {
    let mut bench =
        Bench::new(&format!("{TWO_LINKS}\nkernel 10.9.0.0/16 nexthop via 10.0.0.254 dev eth0"));
    bench.host("neigh 10.0.0.254 eth0 02:00:00:00:01:fe failed");
    assert_eq!(bench.to("10.9.0.1"), [format!("{}:2:0:[]", kind::UNRESOLVED)]);
    assert_eq!(bench.to("10.0.0.254"), [format!("{}:2:0:[]", kind::UNRESOLVED)]);
    bench.update(Update::NeighborGone(2, "10.0.0.254".parse().unwrap()));
    assert!(bench.plan().changes.is_empty());
    bench.host("neigh 10.0.0.254 eth0 02:00:00:00:01:fe delay");
    assert_eq!(bench.to("10.9.0.1"), [adjacent(2, 1)]);
}

#[test]
fn a_host_route_of_somebody_else_keeps_the_neighbor_s_away() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         neigh 10.0.0.9 eth0 02:00:00:00:09:09
         static 10.0.0.9/32 nexthop via 10.0.1.254"
    ));
    assert_eq!(bench.to("10.0.0.9"), [adjacent(3, 2)]);
    // It cannot be resolved any more, but is still wanted: the kernel decides.
    bench.intent("static 10.0.0.9/32 nexthop via 99.0.0.1");
    assert_eq!(bench.to("10.0.0.9"), [format!("{}:2:0:[]", kind::UNRESOLVED)]);
    bench.forget("10.0.0.9/32");
    assert_eq!(bench.to("10.0.0.9"), [adjacent(2, 9)]);
}

const THREE_WAYS: &str = "static 30.0.0.0/8 nexthop via 10.0.0.254 nexthop via 10.0.1.254 \
                          nexthop via 10.0.2.254";

fn buckets(bench: &Bench, address: &str) -> Vec<u8> {
    let members = &bench.maps.groups[&bench.group(address)];
    members.buckets.iter().map(|row| bench.maps.nexthops[&row.0].addresses[4]).collect()
}

/// Only flows of the member `gone` moved.
fn assert_resilient(before: &[u8], after: &[u8], gone: u8) {
    for slot in 0..before.len().max(after.len()) {
        let (old, new) = (before[slot % before.len()], after[slot % after.len()]);
        assert_ne!(new, gone);
        assert!(old == new || old == gone, "slot {slot} moved from {old} to {new}");
    }
}

#[test]
fn a_link_that_fails_moves_only_its_own_flows() {
    let mut bench = Bench::new(&format!("{TWO_LINKS}\n{THREE_WAYS}"));
    let group = bench.group("30.1.1.1");
    let before = buckets(&bench, "30.1.1.1");
    let plan = bench.host("link 3 eth1 down");
    assert!(!kinds(&plan).contains(&"route"), "{:?}", kinds(&plan));
    let after = buckets(&bench, "30.1.1.1");
    assert_resilient(&before, &after, 2);
    assert_eq!(bench.group("30.1.1.1"), group);
    // It comes back: others give up a fair share and keep the rest.
    bench.host("link 3 eth1");
    let back = buckets(&bench, "30.1.1.1");
    let moved = back.iter().zip(&after).filter(|(new, old)| new != old).count();
    assert!(moved <= back.len() / 3 + 1);
    assert!(back.iter().zip(&after).all(|(new, old)| new == old || *new == 2));
}

#[test]
fn a_route_that_loses_a_member_keeps_the_flows_of_the_others() {
    let ways = "nexthop via 10.0.0.254 dev eth0 nexthop via 10.0.1.254 dev eth1";
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}\nkernel 30.0.0.0/8 {ways} nexthop via 10.0.2.254 dev eth2"
    ));
    let before = buckets(&bench, "30.1.1.1");
    bench.host(&format!("kernel 30.0.0.0/8 {ways}"));
    assert_resilient(&before, &buckets(&bench, "30.1.1.1"), 3);
}

#[test]
fn weights_become_shares() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 nexthop via 10.0.0.254 weight 3 nexthop via 10.0.1.254 weight 1
         static 31.0.0.0/8 nexthop via 10.0.0.254 weight 6 nexthop via 10.0.1.254 weight 2
         static 32.0.0.0/8 nexthop via 10.0.0.254 weight 200 nexthop via 10.0.1.254 weight 99"
    ));
    assert_eq!(buckets(&bench, "30.0.0.1").len(), 4);
    let shares: Vec<f64> = bench.shares("30.0.0.1").into_values().collect();
    assert_eq!(shares, [0.75, 0.25]);
    let shares: Vec<f64> = bench.shares("32.0.0.1").into_values().collect();
    assert!((shares[0] - 200.0 / 299.0).abs() < 0.01);
}

#[test]
fn a_gateway_behind_routes_resolves_through_them() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 50.0.0.0/8 nexthop via 10.9.0.1 labels 500
         static 10.9.0.0/16 nexthop via 10.0.0.254 labels 100 weight 3 nexthop via 10.0.1.254"
    ));
    assert_eq!(
        bench.to("50.0.0.1"),
        [format!("{}:2:1:[100, 500]", kind::ADJACENT), format!("{}:3:2:[500]", kind::ADJACENT)]
    );
    assert_eq!(bench.shares("50.0.0.1").into_values().collect::<Vec<_>>(), [0.75, 0.25]);
    let group = bench.group("50.0.0.1");
    // A longer route to the gateway appears, and goes again.
    let plan = bench.intent("static 10.9.0.1/32 nexthop via 10.0.2.254");
    assert!(kinds(&plan).contains(&"group"));
    assert_eq!(bench.to("50.0.0.1"), [format!("{}:4:3:[500]", kind::ADJACENT)]);
    assert_eq!(bench.group("50.0.0.1"), group);
    bench.forget("10.9.0.1/32");
    assert_eq!(bench.to("50.0.0.1").len(), 2);
    bench.forget("10.9.0.0/16");
    assert!(bench.group_in(0, "50.0.0.1").is_none());
    assert!(bench.error().contains("no route leads to gateway 10.9.0.1"), "{}", bench.error());
}

#[test]
fn gateways_that_lead_in_a_circle_are_named() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 50.0.0.0/8 nexthop via 60.0.0.1
         static 60.0.0.0/8 nexthop via 50.0.0.1"
    ));
    assert!(bench.group_in(0, "50.0.0.1").is_none() && bench.group_in(0, "60.0.0.1").is_none());
    let errors = bench.errors();
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0].what.contains("circle: 60.0.0.0/8 → 50.0.0.0/8 → 60.0.0.0/8"),
        "{}",
        errors[0]
    );
    assert_eq!(errors[0].origin.file, "fixture");
    // A second route with a higher metric breaks it.
    bench.intent("static 60.0.0.0/8 name spare metric 5 nexthop via 10.0.0.254");
    assert_eq!(bench.to("50.0.0.1"), [adjacent(2, 1)]);
    assert_eq!(bench.to("60.0.0.1"), [adjacent(2, 1)]);
}

#[test]
fn a_route_never_resolves_through_itself() {
    let mut bench = Bench::new(&format!("{TWO_LINKS}\nstatic 0.0.0.0/0 nexthop via 77.0.0.1"));
    assert!(bench.error().contains("no route leads to gateway 77.0.0.1"));
    bench.intent("static 77.0.0.0/8 nexthop via 10.0.0.254");
    assert_eq!(bench.to("8.8.8.8"), [adjacent(2, 1)]);
}

#[test]
fn more_than_four_labels_are_refused() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 50.0.0.0/8 nexthop via 10.9.0.1 labels 500/501/502
         static 10.9.0.0/16 nexthop via 10.0.0.254 labels 100/101"
    ));
    assert!(bench.group_in(0, "50.0.0.1").is_none());
    assert!(bench.error().contains("5 labels would be pushed"), "{}", bench.error());
}

#[test]
fn a_backup_keeps_its_primary_in_the_group() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 nexthop via 10.0.0.254 backup nexthop via 10.0.1.254 labels 900"
    ));
    let row = bench.maps.groups[&bench.group("30.0.0.1")].buckets[0];
    let row = bench.maps.nexthops[&row.0];
    let backup = bench.maps.nexthops[&row.backup];
    assert_eq!((row.link, backup.link, backup.labels), (2, 3, 1));
    let plan = bench.host("link 2 eth0 down");
    assert_eq!(plan.changes.len(), 1, "only the link's state: {:?}", kinds(&plan));
}

#[test]
fn a_member_with_a_backup_outlives_its_link() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 nexthop via 10.0.0.254 backup nexthop via 10.0.1.254 \
                           nexthop via 10.0.2.254"
    ));
    assert_eq!(bench.shares("30.0.0.1").len(), 2);
    bench.host("link 2 eth0 down");
    assert_eq!(bench.shares("30.0.0.1").len(), 2, "its flows go to the backup, not to the other");
    bench.host("link 3 eth1 down");
    assert_eq!(bench.to("30.0.0.1"), [adjacent(4, 3)]);
}

/// Index of the state of the `n`th session with the usual limits.
fn session(n: u32) -> u32 {
    Compiler::new(Default::default()).limits().links + n
}

#[test]
fn a_next_hop_watches_its_session_and_leaves_the_group_with_it() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         session s 10.0.0.254 dev eth0
         session t 10.0.1.254 dev eth1
         bfd s up
         bfd t up
         static 30.0.0.0/8 nexthop via 10.0.0.254 bfd s nexthop via 10.0.1.254 bfd t \
                           nexthop via 10.0.2.254"
    ));
    let watched = |bench: &Bench| {
        let group = &bench.maps.groups[&bench.group("30.0.0.1")];
        let rows = group.buckets.iter().map(|id| bench.maps.nexthops[&id.0]);
        rows.map(|row| (row.link, row.watch)).collect::<std::collections::BTreeSet<_>>()
    };
    let all = watched(&bench);
    assert_eq!(Vec::from_iter(all), [(2, session(1)), (3, session(2)), (4, 4)]);
    let places: Vec<_> = bench.compiler.session_places().collect();
    assert_eq!((places[0].state, places[0].link, places[0].up), (session(1), Some(2), true));

    let plan = bench.host("bfd s down");
    assert!(!kinds(&plan).contains(&"route"), "{:?}", kinds(&plan));
    assert_eq!(Vec::from_iter(watched(&bench)), [(3, session(2)), (4, 4)]);
    bench.host("link 3 eth1 down");
    assert_eq!(Vec::from_iter(watched(&bench)), [(4, 4)], "a link takes its session along");
    bench.host("link 3 eth1\nbfd s up");
    assert_eq!(watched(&bench).len(), 3);
}

#[test]
fn a_session_that_was_never_up_is_down_and_its_backup_serves() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         session s 10.0.0.254 dev eth0
         static 30.0.0.0/8 nexthop via 10.0.0.254 bfd s backup nexthop via 10.0.1.254
         static 31.0.0.0/8 nexthop via 10.0.0.254 bfd s
         static 31.0.0.0/8 metric 9 name floating nexthop via 10.0.2.254"
    ));
    let row = bench.maps.groups[&bench.group("30.0.0.1")].buckets[0];
    let row = bench.maps.nexthops[&row.0];
    let backup = bench.maps.nexthops[&row.backup];
    assert_eq!((row.watch, backup.watch), (session(1), 3));
    assert_eq!(bench.to("31.0.0.1"), [adjacent(4, 3)]);
    assert!(bench.errors().is_empty());
    bench.host("bfd s up");
    assert_eq!(bench.to("31.0.0.1"), [adjacent(2, 1)]);
}

#[test]
fn sessions_that_go_or_do_not_exist_are_told() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         session s 10.0.0.254 dev eth0
         bfd s up
         static 30.0.0.0/8 nexthop via 10.0.0.254 bfd s"
    ));
    bench.world.intent.sessions.clear();
    bench.intent("");
    assert!(bench.error().contains("BFD session s has no number"), "{}", bench.error());
    bench.intent("session other 10.0.0.253 dev eth9\nsession s 10.0.0.254 dev eth0");
    assert!(bench.errors().is_empty());
    let places: Vec<_> = bench.compiler.session_places().map(|p| (p.name, p.link, p.up)).collect();
    // What it was before it went does not count.
    assert_eq!(places, [("other".into(), None, false), ("s".into(), Some(2), false)]);
    let problems = bench.compiler.problems();
    assert!(problems.iter().any(|p| p.what.contains("no interface eth9")), "{problems:?}");
}

#[test]
fn a_session_belongs_to_the_next_hop_that_names_it() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         session s 10.0.0.254 dev eth0
         bfd s up
         static 20.0.0.0/8 nexthop via 10.0.0.254 bfd s
         static 30.0.0.0/8 nexthop via 20.0.0.9"
    ));
    let row = bench.maps.groups[&bench.group("30.0.0.1")].buckets[0];
    assert_eq!(
        bench.maps.nexthops[&row.0].watch,
        session(1),
        "also where it is resolved through it"
    );
}

#[test]
fn a_vrf_of_intent_alone_has_the_connected_prefixes_of_its_links() {
    let mut bench = Bench::new(
        "link 2 eth0
         addr eth0 10.0.0.1/24
         kernel 10.0.0.0/24 proto kernel nexthop dev eth0
         neigh 10.0.0.9 eth0 02:00:00:00:01:09
         vrf blue
         static 20.0.0.0/8 vrf blue nexthop via 10.0.0.9
         ours eth0 vrf blue",
    );
    let blue = bench.maps.links[&2].vrf;
    assert_ne!(blue, 0);
    let names = vrf_names(&bench.compiler);
    let gateway = bench.group_in(blue, "20.0.0.1").unwrap();
    let mac = bench.maps.shares(gateway, &names).into_keys().next().unwrap().mac;
    assert_eq!(mac[4..], [1, 9]);
    assert!(bench.group_in(blue, "10.0.0.9").is_some());
    bench.host("link 2 eth0 down");
    assert!(bench.group_in(blue, "10.0.0.9").is_none(), "as the kernel does with its own");
    assert!(bench.group_in(blue, "20.0.0.1").is_none());
    bench.host("link 2 eth0");
    assert!(bench.group_in(blue, "20.0.0.1").is_some());
}

#[test]
fn a_floating_static_route_takes_over() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 name main nexthop via 10.0.0.254
         static 30.0.0.0/8 name spare metric 9 nexthop via 10.0.1.254"
    ));
    assert_eq!(bench.to("30.0.0.1"), [adjacent(2, 1)]);
    bench.host("link 2 eth0 down");
    assert_eq!(bench.to("30.0.0.1"), [adjacent(3, 2)]);
    bench.host("link 2 eth0");
    assert_eq!(bench.to("30.0.0.1"), [adjacent(2, 1)]);
}

#[test]
fn vrfs_learn_their_tables_and_leak_where_asked() {
    let mut bench = Bench::new(
        "link 2 eth0
         link 3 eth1 master 9
         link 9 blue table 10
         addr eth0 10.0.0.1/24
         addr eth1 10.0.0.1/24
         kernel 10.0.0.0/24 proto kernel nexthop dev eth0
         kernel 10.0.0.0/24 table 10 proto kernel nexthop dev eth1
         kernel 10.0.0.1/32 table 10 local nexthop dev eth1
         kernel 20.0.0.0/8 table 10 nexthop via 10.0.0.9 dev eth1
         kernel 21.0.0.0/8 nexthop dev blue
         neigh 10.0.0.9 eth1 02:00:00:00:02:09
         kernel 99.0.0.0/8 table 77 blackhole
         ours eth*
         static 40.0.0.0/8 vrf blue lookup default",
    );
    let blue = bench.compiler.vrfs().into_iter().find(|vrf| vrf.name == "blue").unwrap();
    assert_eq!((blue.table, blue.links.as_slice()), (Some(10), ["eth1".to_owned()].as_slice()));
    let id = blue.id.0;
    assert!(bench.group_in(0, "20.0.0.1").is_none() && bench.group_in(id, "20.0.0.1").is_some());
    assert!(bench.group_in(id, "99.0.0.1").is_none() && bench.group_in(0, "99.0.0.1").is_none());
    let shown = bench.compiler.routes(None);
    assert!(shown.iter().any(|route| route.vrf == "table 77"));
    assert_eq!(bench.maps.links[&3].vrf, id);
    let names = vrf_names(&bench.compiler);
    let leak = bench.maps.shares(bench.group("21.0.0.1"), &names);
    assert_eq!(leak.keys().next().unwrap().vrf, "blue");
    let leak = bench.maps.shares(bench.group_in(id, "40.0.0.1").unwrap(), &names);
    assert_eq!(leak.keys().next().unwrap().vrf, "default");
    // An intent VRF takes table 77; the device goes and takes its routes along.
    bench.intent("vrf red table 77");
    let red = bench.compiler.vrfs().into_iter().find(|vrf| vrf.name == "red").unwrap().id.0;
    assert!(bench.group_in(red, "99.0.0.1").is_some());
    bench.update(Update::LinkGone(9));
    bench.plan();
    assert!(bench.maps.routes.keys().all(|(vrf, _)| vrf.0 != id));
    let error = bench.error();
    assert!(error.contains("VRF blue does not exist"), "{error}");
}

#[test]
fn vlans_are_pages_of_their_parent_and_tags_of_their_rows() {
    let mut bench = Bench::new(
        "link 2 eth0
         link 5 eth0.100 lower 2 vlan 100/88a8
         link 6 eth0.100.7 lower 5 vlan 7
         addr eth0.100.7 10.7.0.1/24
         kernel 10.7.0.0/24 proto kernel nexthop dev eth0.100.7
         neigh 10.7.0.9 eth0.100.7 02:00:00:00:07:09
         ours eth0.100.7",
    );
    let (outer, inner) = (bench.maps.links[&2].vlan_page, bench.maps.links[&5].vlan_page);
    assert!(outer != 0 && inner != 0 && outer != inner);
    assert_eq!(bench.maps.vlans[&(outer, 100)], 5);
    assert_eq!(bench.maps.vlans[&(inner, 7)], 6);
    let row = bench.maps.groups[&bench.group("10.7.0.9")].buckets[0];
    let row = bench.maps.nexthops[&row.0];
    assert_eq!((row.link, row.device, row.tags), (6, 2, 2));
    assert_eq!(row.vlans, [[0x88, 0xa8, 0, 100], [0x81, 0, 0, 7]]);
    let links = bench.compiler.links();
    let attach: Vec<_> = links.iter().filter(|l| l.attach).map(|l| l.name.as_str()).collect();
    assert_eq!(attach, ["eth0"]);
    bench.update(Update::LinkGone(6));
    bench.plan();
    assert!(bench.maps.vlans.is_empty() && !bench.maps.links.contains_key(&2));
}

/// As of two pods with one address, of which one has lost its interface.
#[test]
fn of_routes_that_are_alike_the_one_with_an_interface_is_in_force() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 20.0.0.0/8 name a nexthop via 10.0.3.254 dev eth3
         static 20.0.0.0/8 name b nexthop via 10.0.1.254 dev eth1"
    ));
    assert_eq!(bench.to("20.0.0.1"), [adjacent(3, 2)]);
    assert!(bench.error().contains("a is not in force"), "{}", bench.error());
    bench.host(
        "link 5 eth3
         addr eth3 10.0.3.1/24
         kernel 10.0.3.0/24 proto kernel nexthop dev eth3
         neigh 10.0.3.254 eth3 02:00:00:00:04:fe",
    );
    assert_eq!(bench.to("20.0.0.1"), [adjacent(5, 4)], "by name");
    assert!(bench.error().contains("b is not in force"), "{}", bench.error());
    bench.update(Update::LinkGone(5));
    bench.plan();
    assert_eq!(bench.to("20.0.0.1"), [adjacent(3, 2)]);
    bench.forget("b");
    assert!(bench.group_in(0, "20.0.0.1").is_none());
    assert!(bench.error().contains("eth3"), "{}", bench.error());
}

#[test]
fn next_hop_objects_and_their_groups_are_followed() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         object 1 nexthop via 10.0.0.254 dev eth0
         object 2 nexthop via 10.0.1.254 dev eth1
         object 3 nexthop via 10.0.2.254 dev eth2
         object 10 group 1,2*3
         kernel 30.0.0.0/8 nhid 10
         kernel 31.0.0.0/8 nhid 10
         kernel 32.0.0.0/8 nhid 99"
    ));
    assert_eq!(bench.shares("30.0.0.1").into_values().collect::<Vec<_>>(), [0.25, 0.75]);
    assert!(bench.group_in(0, "32.0.0.1").is_none());
    assert!(bench.error().contains("route 32.0.0.0/8: next hop object 99 does not exist"));
    let plan = bench.host("object 10 group 1,2,3");
    assert!(!kinds(&plan).contains(&"route"));
    assert_eq!(bench.shares("31.0.0.1").len(), 3);
    let before = buckets(&bench, "31.0.0.1");
    bench.host("object 10 group 2,3");
    assert_resilient(&before, &buckets(&bench, "31.0.0.1"), 1);
    assert_eq!(bench.to("30.0.0.1"), [adjacent(3, 2), adjacent(4, 3)]);
    bench.host("object 99 blackhole");
    assert_eq!(bench.to("32.0.0.1"), [format!("{}:0:0:[]", kind::BLACKHOLE)]);
    bench.host("object 2 nexthop via 10.0.1.254 dev eth1 dead");
    assert_eq!(bench.to("30.0.0.1"), [adjacent(4, 3)]);
}

#[test]
fn labels_forward_look_up_and_conflict() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         ours eth0 mpls
         label 100 nexthop via 10.0.1.254 labels 200
         label 101 lookup default
         label 100 name other lookup default
         label 102 lookup nowhere"
    ));
    assert!(bench.maps.labels[&100].is_forward() && bench.maps.labels[&101].is_lookup());
    assert!(!bench.maps.labels.contains_key(&102));
    let errors = bench.errors();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().any(|e| e.to_string().contains("label 100 is bound by LabelRoute/100")));
    assert!(errors.iter().any(|e| e.to_string().contains("VRF nowhere does not exist")));
    assert_ne!(bench.maps.links[&2].flags & link::flag::MPLS, 0);
    assert_eq!(bench.maps.links[&3].flags & link::flag::MPLS, 0);
    bench.world.intent.labels.remove("100");
    bench.compiler.set_intent(bench.world.intent.clone());
    bench.plan();
    assert!(bench.maps.labels[&100].is_lookup(), "the other object takes over");
}

#[test]
fn two_routes_alike_are_a_conflict_with_both_places() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 name a nexthop via 10.0.0.254
         static 30.0.0.0/8 name b nexthop via 10.0.1.254"
    ));
    assert_eq!(bench.to("30.0.0.1"), [adjacent(2, 1)]);
    let error = bench.error();
    assert!(
        error.starts_with("fixture:3:1: Route/b: spec.prefix: Route/a (fixture:2:1)"),
        "{error}"
    );
}

#[test]
fn links_are_ours_by_the_best_name_and_for_a_reason() {
    let mut bench = Bench::new(
        "link 1 lo medium loopback
         link 2 eth0
         link 3 eth1
         link 4 br0 kind bridge
         link 5 eth2 master 4
         link 6 wg0 medium none kind wireguard
         link 7 xeth0
         ours eth*
         ours eth1 ignored
         ours lo
         ours xeth0 vrf nowhere
         ours xe*
         ours wg*",
    );
    let reason = |name: &str| {
        let link = bench.compiler.links().into_iter().find(|link| link.name == name).unwrap();
        (link.ours, link.reason)
    };
    assert_eq!(reason("eth0"), (true, "Link/eth*".into()));
    assert_eq!(reason("eth1"), (false, "ignored by Link/eth1".into()));
    assert_eq!(reason("eth2"), (false, "member of bridge br0".into()));
    assert_eq!(reason("lo"), (false, "loopback".into()));
    assert_eq!(reason("wg0"), (false, "wireguard without Ethernet header".into()));
    assert_eq!(reason("br0"), (false, "no Link object names it".into()));
    assert_eq!(reason("xeth0"), (false, "its VRF nowhere does not exist".into()));
    assert_eq!(bench.maps.links.keys().copied().collect::<Vec<_>>(), [2]);
    bench.intent("ours eth0 name other\nours eth0 name another");
    assert_eq!(bench.errors().len(), 3, "two claims and the unknown VRF");
    assert!(bench.maps.links.is_empty());
}

#[test]
fn an_egress_that_is_not_ours_has_a_row_for_its_state_only() {
    let mut bench = Bench::new(
        "link 2 eth0
         link 3 wan
         kernel 0.0.0.0/0 nexthop via 192.0.2.1 dev wan
         neigh 192.0.2.1 wan 02:00:00:00:09:01
         ours eth0",
    );
    assert_eq!(bench.maps.links[&3].flags, link::flag::UP);
    bench.host("link 3 wan down");
    assert_eq!(bench.maps.links[&3].flags, 0);
    assert_ne!(bench.maps.links[&3], LinkRow::default());
}

#[test]
fn numbers_that_run_out_are_problems_and_heal() {
    let mut world = world(TWO_LINKS);
    world.intent.router.limits.groups = 8;
    let mut compiler = Compiler::new(world.intent.router.limits.clone());
    compiler.load_host(world.host.clone());
    compiler.set_intent(world.intent.clone());
    let mut bench = Bench { world, compiler, maps: Maps::default() };
    bench.plan();
    // Deliver, three broadcasts, three links: one group is left.
    let used = bench.maps.groups.len();
    assert_eq!(used, 8, "three neighbors compete for it");
    assert!(bench.error().contains("8 of 8 groups"), "{}", bench.error());
    bench.update(Update::AddressGone(4, "10.0.2.1".parse().unwrap()));
    bench.plan();
    bench.plan();
    assert_eq!(bench.maps.groups.len(), 8);
    assert!(bench.error().contains("1 routes or labels"), "{}", bench.error());
    bench.update(Update::AddressGone(3, "10.0.1.1".parse().unwrap()));
    bench.plan();
    bench.plan();
    assert!(bench.errors().is_empty());
}

#[test]
fn links_beyond_the_table_are_left_to_the_kernel() {
    let bench = Bench::new(
        "link 9000 eth0
         addr eth0 10.0.0.1/24
         kernel 10.0.0.0/24 proto kernel nexthop dev eth0
         ours eth0",
    );
    assert!(
        bench.error().contains("index 9000, but table links ends at 4095"),
        "{}",
        bench.error()
    );
    assert_eq!(bench.maps.links.keys().copied().collect::<Vec<_>>(), [0]);
    assert_eq!(bench.to("10.0.0.9"), [format!("{}:0:0:[]", kind::UNRESOLVED)]);
}

#[test]
fn what_the_plane_refuses_is_named_and_tried_again() {
    let mut bench = Bench::new(&format!("{TWO_LINKS}\n{THREE_WAYS}\nstatic 31.0.0.0/8 blackhole"));
    let prefix: thalweg_model::Prefix = "30.0.0.0/8".parse().unwrap();
    let group = bench.maps.routes.remove(&(VrfId(0), prefix)).unwrap();
    let thalweg_model::Prefix::V4(prefix4) = prefix else { unreachable!() };
    bench.compiler.refused(&[Failure {
        change: Change::Route4(VrfId(0), prefix4, group),
        table: thalweg_abi::TableId::Fib4Leaves,
        used: 100,
        capacity: 100,
    }]);
    let error = bench.error();
    assert!(error.contains("Route/30.0.0.0/8: route 30.0.0.0/8 did not fit"), "{error}");
    assert!(error.contains("fib4_leaves holds 100 of 100 cells"), "{error}");
    bench.world.intent.routes.remove("31.0.0.0/8");
    bench.compiler.set_intent(bench.world.intent.clone());
    let plan = bench.compiler.plan();
    assert!(
        plan.changes
            .iter()
            .any(|c| matches!(c, Change::Route4(_, p, g) if *p == prefix4 && *g == group))
    );
    assert!(bench.errors().is_empty());
}

#[test]
fn numbers_that_a_refused_change_may_still_follow_are_not_reused() {
    let mut bench = Bench::new(&format!("{TWO_LINKS}\nstatic 30.0.0.0/8 blackhole"));
    let old = bench.group("30.0.0.1");
    let plan = bench.intent("static 30.0.0.0/8 prohibit");
    let change = plan.changes.iter().find(|change| matches!(change, Change::Route4(..))).unwrap();
    bench.compiler.refused(&[Failure {
        change: change.clone(),
        table: thalweg_abi::TableId::Fib4Leaves,
        used: 1,
        capacity: 1,
    }]);
    // The plane still follows the old group, so its number must not mean anything else.
    let plan = bench.intent("static 31.0.0.0/8 unreachable");
    assert!(!plan.changes.iter().any(|c| matches!(c, Change::Group(id, _) if *id == old)));
}

#[test]
fn ipv6_has_host_routes_but_none_for_link_local_neighbors() {
    let bench = Bench::new(
        "link 2 eth0
         addr eth0 2001:db8::1/64
         addr eth0 fe80::1/64
         kernel 2001:db8::/64 proto kernel metric 256 nexthop dev eth0
         kernel fe80::/64 proto kernel metric 256 nexthop dev eth0
         kernel ::/0 metric 1024 nexthop via fe80::9 dev eth0
         kernel ff00::/8 table 255 metric 256 multicast nexthop dev eth0
         neigh fe80::9 eth0 02:00:00:00:06:09
         neigh 2001:db8::9 eth0 02:00:00:00:07:09
         ours eth0
         static ::/0 metric 1023 name better nexthop via 2001:db8::9",
    );
    assert_eq!(bench.to("2001:db8::9"), [adjacent(2, 7)]);
    assert_eq!(bench.to("2620::1"), [adjacent(2, 7)], "1023 beats the kernel's 1024");
    assert_eq!(bench.to("fe80::9"), [format!("{}:2:0:[]", kind::UNRESOLVED)]);
    assert_eq!(bench.to("ff02::1"), [adjacent(2, 7)], "multicast routes are nobody's");
    assert_eq!(bench.maps.links[&2].address6[..4], [0x20, 1, 0xd, 0xb8]);
}

#[test]
fn gateways_of_our_own_are_asked_for_until_they_are_known() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 nexthop via 10.0.0.7
         kernel 31.0.0.0/8 nexthop via 10.0.1.7 dev eth1"
    ));
    let gateway: IpAddr = "10.0.0.7".parse().unwrap();
    assert_eq!(bench.compiler.wanted_neighbors().into_iter().collect::<Vec<_>>(), [(2, gateway)]);
    bench.host("neigh 10.0.0.7 eth0 02:00:00:00:04:07");
    assert!(bench.compiler.wanted_neighbors().is_empty());
    assert!(bench.compiler.own_gateways().contains(&(2, gateway)));
}

#[test]
fn host_state_comes_back_as_it_was_fed() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         kernel 30.0.0.0/8 tos 8 blackhole
         kernel 224.0.0.0/4 nexthop dev eth0
         kernel 10.0.0.1/32 table 255 local nexthop dev eth0
         kernel 99.0.0.0/8 table 77 metric 5 instance 2 blackhole"
    ));
    assert_eq!(bench.compiler.host(), bench.world.host);
}

#[test]
fn differences_are_told_in_words() {
    let bench = Bench::new(&format!("{TWO_LINKS}\nstatic 30.0.0.0/8 nexthop via 10.0.0.254"));
    let mut intent = bench.world.clone();
    intent.add("static 30.0.0.0/8 nexthop via 10.0.1.254");
    intent.add("static 31.0.0.0/8 blackhole");
    let other = bench.compiler.what_if(intent.intent, Objects::default());
    let told: Vec<String> = diff(&bench.compiler, &other).iter().map(|d| d.to_string()).collect();
    assert_eq!(
        told,
        [
            "+ next hop blackhole",
            "~ route default 30.0.0.0/8 via 10.0.0.254 dev eth0 -> via 10.0.1.254 dev eth1",
            "+ route default 31.0.0.0/8 blackhole",
        ]
    );
    assert!(diff(&other, &other).is_empty());
}

#[test]
fn differences_name_flags_groups_and_settings_in_words() {
    let bench = Bench::new(&format!("{TWO_LINKS}\nstatic 30.0.0.0/8 nexthop via 10.0.0.254"));
    let mut intent = bench.world.clone();
    intent.add("static 30.0.0.0/8 nexthop via 10.0.0.254 nexthop via 10.0.1.254");
    intent.intent.router.icmp_rate = 7;
    for link in intent.intent.links.values_mut() {
        link.mpls = true;
    }
    let other = bench.compiler.what_if(intent.intent, Objects::default());
    let told: Vec<String> = diff(&bench.compiler, &other).iter().map(|d| d.to_string()).collect();
    let link = |name: &str| {
        let before = "vrf default mtu 1500 up ipv4 ipv6";
        format!("~ link {name} {before} -> {before} mpls")
    };
    let (one, both) = (
        "via 10.0.0.254 dev eth0",
        "via 10.0.0.254 dev eth0 weight 1, via 10.0.1.254 dev eth1 weight 1",
    );
    let rates = "punt-rate 10000 burst 100";
    assert_eq!(
        told,
        [
            "+ group via 10.0.0.254 dev eth0 (1 of 2), via 10.0.1.254 dev eth1 (1 of 2)".into(),
            link("eth0"),
            link("eth1"),
            link("eth2"),
            format!("~ route default 30.0.0.0/8 {one} -> {both}"),
            format!(
                "~ settings icmp thalweg icmp-rate 1000 {rates} -> icmp thalweg icmp-rate 7 {rates}"
            ),
        ]
    );
}

#[test]
fn views_name_what_a_decision_met() {
    let bench = Bench::new(&format!(
        "{TWO_LINKS}
         static 30.0.0.0/8 name lan nexthop via 10.0.0.254 nexthop via 10.0.1.254"
    ));
    let route = bench.compiler.route_for(VrfId(0), "30.9.9.9".parse().unwrap()).unwrap();
    assert_eq!(route.action, "via 10.0.0.254 dev eth0 weight 1, via 10.0.1.254 dev eth1 weight 1");
    let group = bench.compiler.group(route.group.unwrap()).unwrap();
    assert_eq!((group.members.len(), group.buckets, group.uses), (2, 2, 1));
    let hop = bench.compiler.nexthop(group.members[1].nexthop).unwrap();
    assert_eq!(
        (hop.link.as_deref(), hop.gateway),
        (Some("eth1"), Some("10.0.1.254".parse().unwrap()))
    );
    assert!(bench.compiler.neighbors().iter().all(|n| n.used && n.host_route));
}

#[test]
fn a_route_to_one_address_is_its_own_next_hop_whoever_was_first() {
    let lines = ["kernel 20.0.0.0/8 nexthop dev eth1", "kernel 20.1.1.9/32 nexthop dev eth1"];
    for [first, second] in [lines, [lines[1], lines[0]]] {
        let mut bench = Bench::new(TWO_LINKS);
        bench.host(first);
        bench.host(second);
        assert_eq!(bench.to("20.1.1.9"), ["2:3:0:[]"], "nobody knows its link address yet");
        bench.host("neigh 20.1.1.9 eth1 02:00:00:00:07:09");
        assert_eq!(bench.to("20.1.1.9"), ["1:3:7:[]"], "{first}");
        assert_eq!(bench.to("20.2.2.2"), ["2:3:0:[]"], "{first}");
    }
}

/// What the kernel sends over a VLAN leaves by the same device as what programs send there.
#[test]
fn nobody_is_relieved_by_who_fails_with_it() {
    let bench = Bench::new(
        "link 2 eth0
        link 5 eth0.9 kind vlan lower 2 vlan 9
        neigh fe80::2 eth0.9 02:00:00:00:01:02
        kernel 0.0.0.0/0 nexthop dev eth0.9 labels 16/17/18/19/20 nexthop via fe80::2 dev eth0.9
        ours eth*",
    );
    let rows = bench.maps.nexthops.values();
    let sends: Vec<_> =
        rows.filter(|row| row.link == 5).map(|row| (row.device, row.backup)).collect();
    assert_eq!(sends, [(2, 0), (2, 0)]);
}

/// Link, link of the backup (0 for none) and percent of each member behind an address.
fn members(bench: &Bench, address: &str) -> Vec<(u32, u32, u32)> {
    let group = bench.maps.group_of(VrfId::default(), address.parse().unwrap()).unwrap();
    let shares = bench.maps.shares(group, &vrf_names(&bench.compiler)).into_iter();
    let mut members: Vec<_> = shares
        .map(|(seen, share)| {
            (seen.link, seen.backup.map_or(0, |backup| backup.link), (share * 100.0) as u32)
        })
        .collect();
    members.sort_unstable();
    members
}

#[test]
fn routes_to_a_gateway_that_is_not_known_yet_keep_their_own_backups() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
        static 20.0.0.0/8 nexthop via 10.0.0.9 dev eth0
        static 30.0.0.0/8 nexthop via 10.0.0.9 dev eth0 backup nexthop via 10.0.1.254 dev eth1",
    ));
    let both = |bench: &Bench| ["20.0.0.1", "30.0.0.1"].map(|address| members(bench, address));
    assert_eq!(both(&bench), [[(2, 0, 100)], [(2, 3, 100)]]);
    bench.host("neigh 10.0.0.9 eth0 02:00:00:00:01:09");
    assert_eq!(both(&bench), [[(2, 0, 100)], [(2, 3, 100)]]);
}

#[test]
fn next_hops_that_differ_in_their_backup_alone_have_shares_of_their_own() {
    const HOPS: &str = "static 20.0.0.0/8 nexthop via 10.0.0.9 dev eth0 nexthop via 10.0.0.9 dev eth0 \
                        backup nexthop via 10.0.1.254 dev eth1";
    let mut bench = Bench::new(&format!("{TWO_LINKS}\n{HOPS}"));
    assert_eq!(members(&bench, "20.0.0.1"), [(2, 0, 50), (2, 3, 50)]);
    bench.host("neigh 10.0.0.9 eth0 02:00:00:00:01:09");
    assert_eq!(members(&bench, "20.0.0.1"), [(2, 0, 50), (2, 3, 50)]);
    // A member of the group relieves the one that asked for nobody; it may be what the other asked for.
    let third = "nexthop via 10.0.1.254 dev eth1";
    let bench = Bench::new(&format!("{TWO_LINKS}\n{HOPS} {third} weight 2"));
    assert_eq!(members(&bench, "20.0.0.1"), [(2, 3, 50), (3, 0, 50)]);
}

/// Pods whose routes name an object of the kernel: each is its own next hop, as without objects.
#[test]
fn routes_by_an_object_without_a_gateway_have_next_hops_of_their_own() {
    let mut bench = Bench::new(&format!(
        "{TWO_LINKS}
        link 7 vp1
        object 1 nexthop dev vp1
        object 2 nexthop via 10.0.1.254 dev eth1
        kernel 10.1.0.2/32 nhid 1
        kernel 10.1.0.3/32 nhid 1
        kernel 10.1.0.4/32 nhid 2
        kernel 10.1.0.5/32 nhid 2
        kernel 10.3.0.0/24 nhid 1",
    ));
    let kind = |bench: &Bench, address: &str| {
        let group = bench.maps.group_of(VrfId::default(), address.parse().unwrap()).unwrap();
        (group, bench.maps.nexthops[&bench.maps.groups[&group].buckets[0].0].kind)
    };
    assert_eq!(kind(&bench, "10.1.0.2").1, kind::UNRESOLVED);
    bench.host("neigh 10.1.0.2 vp1 02:00:00:00:07:02");
    assert_eq!(kind(&bench, "10.1.0.2").1, kind::ADJACENT);
    assert_eq!(kind(&bench, "10.1.0.3").1, kind::UNRESOLVED, "the other pod is another neighbor");
    assert_eq!(kind(&bench, "10.3.0.1").1, kind::UNRESOLVED, "a prefix has no neighbor of its own");
    assert_eq!(kind(&bench, "10.1.0.4"), kind(&bench, "10.1.0.5"), "a gateway is shared");
    // Objects change while routes use them.
    bench.host("object 1 nexthop via 10.0.0.254 dev eth0");
    assert_eq!(kind(&bench, "10.1.0.2"), kind(&bench, "10.1.0.3"));
    assert_eq!(kind(&bench, "10.1.0.2").1, kind::ADJACENT);
    bench.host("object 2 nexthop dev vp1\nneigh 10.1.0.5 vp1 02:00:00:00:07:05");
    assert_eq!(kind(&bench, "10.1.0.5").1, kind::ADJACENT);
    assert_eq!(kind(&bench, "10.1.0.4").1, kind::UNRESOLVED);
    // Through a group as well.
    bench.host("object 10 group 2\nkernel 10.1.0.5/32 nhid 10");
    assert_eq!(kind(&bench, "10.1.0.5").1, kind::ADJACENT);
    bench.host("object 2 nexthop via 10.0.1.9 dev eth1");
    assert_eq!(kind(&bench, "10.1.0.5").1, kind::UNRESOLVED);
    bench.host("object 2 nexthop dev vp1");
    assert_eq!(kind(&bench, "10.1.0.5").1, kind::ADJACENT);
}
