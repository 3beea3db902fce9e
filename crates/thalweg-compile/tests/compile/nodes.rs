//! Nodes that come, move and go: who is reached through a tunnel, and who may send by one.

use crate::fixture::{World, world};
use crate::maps::Maps;
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_abi::tunnel::{self, TunnelRow, protocol};
use thalweg_abi::{BackendRow, GroupId, VrfId, nexthop};
use thalweg_compile::Compiler;
use thalweg_image::{Change, SetId};
use thalweg_model::cluster::{Endpoint, EndpointPort, EndpointSlice, Family, HostPort, Node, Pod};
use thalweg_model::cluster::{Protocol, Service, ServicePort, ServiceType, TrafficPolicy};
use thalweg_model::{Key, ObjectName, Origin, Severity, TunnelSettings};

const HOST: &str = "link 2 eth0
addr eth0 192.0.2.1/24
kernel 192.0.2.0/24 nexthop dev eth0
kernel 198.51.100.0/24 nexthop via 192.0.2.254 dev eth0
neigh 192.0.2.2 eth0 02:00:00:00:00:02
neigh 192.0.2.254 eth0 02:00:00:00:00:fe
ours eth0";

/// A compiler with its plane, and the nodes that the plane knows.
struct Lab {
    world: World,
    compiler: Compiler,
    maps: Maps,
    sets: BTreeMap<SetId, Vec<BackendRow>>,
}

impl Lab {
    fn new() -> Self {
        Self::on(HOST)
    }

    /// On a host of its own.
    fn on(host: &str) -> Self {
        let mut world = world(host);
        world.intent.router.limits.flows = 1024;
        world.intent.router.node = Some("own".into());
        world.intent.router.tunnel = Some(TunnelSettings::default());
        let mut compiler = Compiler::new(world.intent.limits());
        compiler.load_host(world.host.clone());
        let mut lab = Self { world, compiler, maps: Maps::default(), sets: BTreeMap::new() };
        lab.node("own", "192.0.2.1", "10.1.1.0/24");
        lab
    }

    fn node(&mut self, name: &str, address: &str, pods: &str) {
        let node = Node {
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![pods.parse().unwrap()],
            zone: None,
        };
        self.world.intent.cluster.nodes.insert(name.into(), node);
        self.step();
    }

    fn step(&mut self) {
        self.compiler.set_intent(self.world.intent.clone());
        let plan = self.compiler.plan();
        self.maps.apply(&plan);
        for change in &plan.changes {
            match change {
                Change::Backends(id, set) => {
                    assert!(self.sets.insert(*id, set.backends.clone()).is_none());
                }
                Change::FreeBackends(id) => assert!(self.sets.remove(id).is_some()),
                _ => {}
            }
        }
    }

    /// The outer headers of packets to some pods, and the link address of who gets them.
    fn tunnel_to(&self, pods: &str) -> Option<(TunnelRow, [u8; 6])> {
        let group = self.maps.routes.get(&(VrfId::default(), pods.parse().unwrap()))?;
        self.tunnel_of(*group)
    }

    fn tunnel_of(&self, group: GroupId) -> Option<(TunnelRow, [u8; 6])> {
        let hop = self.maps.nexthops.get(&self.maps.groups.get(&group)?.buckets[0].0)?;
        assert_ne!(hop.flags & nexthop::flag::TUNNEL, 0);
        assert_eq!(hop.mtu, 1450, "what a link of 1,500 octets leaves room for");
        let outer = self.maps.nexthops.get(&hop.backup)?;
        Some((*TunnelRow::of(outer)?, hop.addresses[..6].try_into().unwrap()))
    }

    /// Checks that these nodes and no others may send, and that answers go where packets to their pods do.
    fn knows(&self, nodes: &[(&str, &str)]) {
        let known: Vec<&BackendRow> = self.sets.values().flatten().collect();
        assert_eq!(known.len(), nodes.len(), "{known:?}");
        for (address, pods) in nodes {
            let address = halves(address);
            let row = known.iter().find(|row| row.address == address).expect("the node is known");
            assert_eq!(row.id, tunnel::node_id(address));
            let (tunnel, mac) = self.tunnel_to(pods).expect("its pods are reached");
            assert_eq!(self.tunnel_of(GroupId(row.node as u16)), Some((tunnel, mac)));
            assert_eq!(tunnel::halves(tunnel.remote), address);
            assert_eq!(tunnel::halves(tunnel.local), halves("192.0.2.1"));
            let kind = (tunnel.protocol, tunnel.port, tunnel.vni, tunnel.room);
            assert_eq!(kind, (protocol::VXLAN, 4789, 1, 50));
        }
    }
}

fn halves(address: &str) -> [u64; 2] {
    match address.parse().unwrap() {
        IpAddr::V4(four) => [0, u32::from(four).into()],
        IpAddr::V6(six) => [(six.to_bits() >> 64) as u64, six.to_bits() as u64],
    }
}

#[test]
fn nodes_come_move_and_go() {
    let mut lab = Lab::new();
    let rows = lab.maps.nexthops.len();
    lab.knows(&[]);
    lab.node("b", "192.0.2.2", "10.1.2.0/24");
    lab.knows(&[("192.0.2.2", "10.1.2.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0x02);
    // Behind a router, reached as any other address there.
    lab.node("c", "198.51.100.3", "10.1.3.0/24");
    lab.knows(&[("192.0.2.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.3.0/24").unwrap().1[5], 0xfe);
    // One moves.
    lab.node("b", "198.51.100.2", "10.1.2.0/24");
    lab.knows(&[("198.51.100.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0xfe);
    // The router gets another link address: tunnels follow.
    let update = lab.world.update("neigh 192.0.2.254 eth0 02:00:00:00:00:aa");
    lab.compiler.update_host(update);
    lab.step();
    lab.knows(&[("198.51.100.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0xaa);
    // One goes, then all.
    lab.world.intent.cluster.nodes.remove("c");
    lab.step();
    lab.knows(&[("198.51.100.2", "10.1.2.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.3.0/24"), None);
    lab.world.intent.router.tunnel = None;
    lab.step();
    lab.knows(&[]);
    lab.step();
    assert_eq!(lab.maps.nexthops.len(), rows, "nothing is left over");
}

impl Lab {
    /// Adds a service with two endpoints: an address of node `b` itself, and the first pod of its range.
    fn service(&mut self) {
        let cluster = &mut self.world.intent.cluster;
        let name = ObjectName::new("shop", "web");
        let port = ServicePort { port: 80, node_port: Some(30_080), ..ServicePort::default() };
        let service = Service {
            kind: ServiceType::NodePort,
            cluster_ips: vec!["10.96.0.10".parse().unwrap()],
            ports: vec![port],
            ..Service::default()
        };
        cluster.services.insert(name.clone(), service);
        let endpoint = |address: &str| Endpoint {
            addresses: vec![address.parse().unwrap()],
            node: Some("b".into()),
            ready: true,
            serving: true,
            terminating: false,
            zone: None,
            for_zones: Default::default(),
            for_nodes: Default::default(),
            weight: 1,
        };
        let slice = EndpointSlice {
            service: "web".into(),
            family: Family::V4,
            ports: vec![EndpointPort { port: 8_080, ..EndpointPort::default() }],
            endpoints: vec![endpoint("192.0.2.2"), endpoint("10.1.2.2")],
        };
        cluster.slices.insert(name, slice);
        self.step();
    }

    /// Whether packets to an address of backends go by the tunnel to the node that has it itself.
    fn tunnelled(&self, address: &str) -> bool {
        let backends = self.sets.values().flatten();
        let mut found = backends
            .filter(|row| row.address == halves(address) && row.id != tunnel::node_id(row.address));
        let first = found.next().expect("it is a backend").node;
        assert!(found.all(|row| row.node == first), "all sets agree");
        first != 0
    }

    /// What is said of the service.
    fn said(&self) -> Option<String> {
        let problems = self.compiler.problems().into_iter();
        let mut said = problems.filter(|p| p.object.as_ref().is_some_and(|o| o.kind == "Service"));
        said.next().map(|problem| format!("{}: {}", problem.what, problem.remedy))
    }
}

#[test]
fn a_backend_with_the_address_of_a_node_is_reached_by_its_tunnel() {
    let mut lab = Lab::new();
    lab.node("b", "192.0.2.2", "10.1.2.0/24");
    lab.service();
    assert_eq!(["192.0.2.2", "10.1.2.2"].map(|at| lab.tunnelled(at)), [true, false]);
    assert_eq!(lab.said(), None);
    // The kernel of that node has no way back into the tunnel.
    lab.world.intent.router.kernel_routes = false;
    lab.step();
    assert!(!lab.tunnelled("192.0.2.2"));
    assert!(lab.said().is_some_and(|said| said.contains("kernelRoutes")), "{:?}", lab.said());
    lab.world.intent.router.kernel_routes = true;
    lab.world.intent.router.tunnel = None;
    lab.step();
    assert!(!lab.tunnelled("192.0.2.2"));
    let said = lab.said().unwrap_or_default();
    assert!(
        said.starts_with("192.0.2.2 of its endpoints") && said.contains("spec.tunnel"),
        "{said}"
    );
    lab.world.intent.router.services.masquerade_external = true;
    lab.step();
    assert_eq!(lab.said(), None, "it hears this node's address");
    lab.world.intent.router.services.masquerade_external = false;
    lab.world.intent.router.tunnel = Some(TunnelSettings::default());
    lab.step();
    assert!(lab.tunnelled("192.0.2.2"));
    // The node moves: its old address is nobody's any more.
    lab.node("b", "192.0.2.3", "10.1.2.0/24");
    assert!(!lab.tunnelled("192.0.2.2"));
    assert_eq!(lab.said(), None);
    // The address is this host's own by now.
    lab.node("own", "192.0.2.2", "10.1.1.0/24");
    assert!(!lab.tunnelled("192.0.2.2"));
}

#[test]
fn further_addresses_of_a_node_lead_into_its_tunnel() {
    let mut lab = Lab::new();
    let node = Node {
        addresses: ["192.0.2.2", "2001:db8::2"].map(|address| address.parse().unwrap()).into(),
        pod_cidrs: vec!["10.1.2.0/24".parse().unwrap()],
        ..Node::default()
    };
    lab.world.intent.cluster.nodes.insert("b".into(), node);
    lab.step();
    let rows: BTreeMap<_, _> =
        lab.sets.values().flatten().map(|row| (row.address, (row.id, row.node))).collect();
    let [first, second] = ["192.0.2.2", "2001:db8::2"].map(halves);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[&second], (tunnel::node_id(second), rows[&first].1));
}

/// The kernel's routes to pods of other nodes lead to a link of ours, and say what fits into the tunnel.
#[test]
fn the_kernel_is_told_what_fits_into_tunnels() {
    let mut lab = Lab::new();
    lab.node("b", "192.0.2.2", "10.1.2.0/24");
    let tell = |lab: &mut Lab, line: &str| {
        let update = lab.world.update(line);
        lab.compiler.update_host(update);
        let plan = lab.compiler.plan();
        let routes = lab.compiler.exports(&plan).into_iter();
        let told = routes.map(|r| (r.prefix.to_string(), r.hops, r.source, r.mtu));
        told.collect::<Vec<_>>()
    };
    assert_eq!(tell(&mut lab, "link 3 eth1"), [], "there is no way into tunnels yet");
    let to = |mtu| {
        let (prefix, hops) = ("10.1.2.0/24".to_owned(), vec![(9, None, 1)]);
        [(prefix, hops, Some("192.0.2.1".parse::<IpAddr>().unwrap()), Some(mtu))]
    };
    assert_eq!(tell(&mut lab, "link 9 thalweg0"), to(1_450));
    assert_eq!(tell(&mut lab, "link 2 eth0 mtu 1400"), to(1_350));
    assert_eq!(tell(&mut lab, "link 2 eth0 mtu 9000"), to(8_950));
}

#[test]
fn the_kernel_is_asked_for_nodes_before_anybody_speaks_to_them() {
    let mut lab = Lab::new();
    let wanted = |lab: &Lab| -> Vec<IpAddr> {
        lab.compiler.own_gateways().into_iter().map(|(_, address)| address).collect()
    };
    assert!(wanted(&lab).is_empty());
    lab.node("b", "192.0.2.3", "10.1.3.0/24");
    lab.node("far", "198.51.100.4", "10.1.4.0/24");
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let [three, gateway] = ["192.0.2.3", "192.0.2.254"].map(address);
    assert_eq!(wanted(&lab), [three, gateway]);
    // Also for those to whose pods no route leads, for processes of the host itself are reached there.
    lab.world.intent.cluster.nodes.get_mut("b").unwrap().pod_cidrs.clear();
    lab.step();
    assert_eq!(wanted(&lab), [three, gateway]);
    lab.world.intent.cluster.nodes.remove("b");
    lab.step();
    assert_eq!(wanted(&lab), [gateway]);
}

/// A host with more addresses than the one that the cluster knows it by: a router's own on `lo`, one for
/// management, and one that moves between hosts.
#[test]
fn node_ports_answer_at_the_address_that_the_cluster_knows_the_node_by() {
    let more = "link 1 lo\naddr lo 203.0.113.77/32\naddr eth0 10.0.2.15/24\naddr eth0 192.0.2.1/24";
    let mut lab = Lab::on(&format!("{HOST}\n{more}"));
    lab.world.intent.router.tunnel = None;
    lab.world.intent.cluster.nodes = Default::default();
    lab.service();
    let at = |lab: &Lab| lab.compiler.node_port_addresses();
    let ips = |text: &str| -> Vec<IpAddr> { vec![text.parse().unwrap()] };
    assert_eq!(at(&lab), ips("10.0.2.15"), "no Node object tells");
    lab.node("own", "192.0.2.1", "10.1.1.0/24");
    assert_eq!(at(&lab), ips("192.0.2.1"));
    lab.node("own", "192.0.2.99", "10.1.1.0/24");
    assert_eq!(at(&lab), ips("10.0.2.15"), "no link has the one that it tells");
}

#[test]
fn node_ports_that_answer_nowhere_are_told() {
    let mut lab = Lab::new();
    lab.service();
    let key = Key { kind: "Router".into(), name: "own".into() };
    lab.world.intent.origins.insert(key, Origin::default());
    let told = |lab: &mut Lab, ranges: &[&str]| {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        lab.world.intent.router.services.node_port_addresses = ranges;
        lab.step();
        let problems = lab.compiler.problems().into_iter();
        problems.filter(|problem| problem.what.ends_with("node ports answer nowhere")).count()
    };
    assert_eq!(told(&mut lab, &[]), 0);
    assert_eq!(told(&mut lab, &["192.0.2.0/24", "::/0"]), 0);
    assert_eq!(told(&mut lab, &["10.99.0.0/16"]), 1);
}

/// Several links may have one such address, and what comes to it cannot be passed on to a pod.
#[test]
fn ports_of_pods_are_not_at_link_local_addresses() {
    let more = "link 3 veth1\naddr eth0 fe80::1/64\naddr eth0 2001:db8::1/64";
    let mut lab = Lab::on(&format!("{HOST}\n{more}"));
    let port =
        HostPort { address: None, host_port: 8_081, port: 8_080, protocol: Protocol::default() };
    let pod = Pod {
        addresses: vec!["10.1.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        interface: Some("veth1".into()),
        host_ports: vec![port],
        ..Pod::default()
    };
    lab.world.intent.cluster.pods.insert(ObjectName::new("shop", "a"), pod);
    lab.step();
    let at: Vec<String> = lab.compiler.frontends().map(|f| f.key.address.to_string()).collect();
    assert_eq!(at, ["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn who_asks_for_endpoints_of_a_node_without_a_name_is_told() {
    let mut lab = Lab::new();
    lab.world.intent.router.tunnel = None;
    lab.service();
    let told = |lab: &mut Lab, node: Option<&str>, external| {
        lab.world.intent.router.node = node.map(Into::into);
        let services = &mut lab.world.intent.cluster.services;
        let name = ObjectName::new("shop", "web");
        let service = Service { external, ..services.get(&name).unwrap().clone() };
        services.insert(name, service);
        lab.step();
        let problems = lab.compiler.problems().into_iter();
        problems.filter(|problem| problem.what.starts_with("under a policy `Local`")).count()
    };
    assert_eq!(told(&mut lab, None, TrafficPolicy::Cluster), 0);
    assert_eq!(told(&mut lab, None, TrafficPolicy::Local), 1);
    assert_eq!(told(&mut lab, Some("onw"), TrafficPolicy::Local), 1, "a slip");
    assert_eq!(told(&mut lab, Some("own"), TrafficPolicy::Local), 0);
    lab.world.intent.cluster.nodes = Default::default();
    assert_eq!(told(&mut lab, Some("own"), TrafficPolicy::Local), 0, "endpoints may name it");
}

/// Balancers of two families announce both addresses, also for a service of one: nothing is amiss.
#[test]
fn an_address_of_a_family_that_a_service_does_not_serve_is_no_error() {
    let mut lab = Lab::new();
    lab.service();
    let name = ObjectName::new("shop", "web");
    let services = &mut lab.world.intent.cluster.services;
    let both = ["203.0.113.80", "2001:db8::80"].map(|text| text.parse().unwrap()).to_vec();
    let service = Service {
        kind: ServiceType::LoadBalancer,
        load_balancer_ips: both,
        ..services.get(&name).unwrap().clone()
    };
    services.insert(name, service);
    lab.step();
    let problems: Vec<_> = lab
        .compiler
        .problems()
        .into_iter()
        .map(|problem| (problem.severity, problem.what))
        .collect();
    let what = "2001:db8::80 is of a family that the service has no cluster IP of";
    assert_eq!(problems, [(Severity::Warning, what.into())]);
}
