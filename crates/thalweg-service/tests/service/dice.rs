//! Random clusters, small enough that everything meets everything else.

use crate::world::{World, ip, prefix};
use std::net::IpAddr;
use std::time::Duration;
use thalweg_model::cluster::{
    Distribution, Endpoint, EndpointPort, EndpointSlice, Family, Protocol, Service, ServicePort,
    ServiceType, TrafficPolicy,
};
use thalweg_model::{ObjectName, Prefix};
use thalweg_service::NodeAddress;

/// Numbers from a seed (SplitMix64): a case is found again by its number.
pub struct Dice(pub u64);

const ADDRESSES: [&str; 12] = [
    "10.96.0.1",
    "10.96.0.2",
    "203.0.113.1",
    "192.0.2.1",
    "192.0.2.2",
    "127.0.0.1",
    "fd00::1",
    "fd00::2",
    "2001:db8::1",
    "2001:db8::2",
    "::ffff:10.96.0.1",
    "10.96.0.9",
];
const TARGETS: [&str; 9] = [
    "10.1.0.1",
    "10.1.0.2",
    "10.1.0.3",
    "10.1.0.4",
    "127.0.0.1",
    "fd01::1",
    "fd01::2",
    "fd01::3",
    "fd01::4",
];
const PORTS: [u16; 4] = [80, 81, 30_080, 30_081];
const NODES: [&str; 3] = ["a", "b", "c"];
const ZONES: [&str; 2] = ["east", "west"];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((b ^ (b >> 31)) % end as u64) as usize
    }

    /// True in `n` of 8 cases.
    pub fn eighths(&mut self, n: usize) -> bool {
        self.below(8) < n
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T: Copy>(&mut self, all: &[T], most: usize) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| self.one(all)).collect()
    }

    fn addresses(&mut self, most: usize) -> Vec<IpAddr> {
        self.some(&ADDRESSES, most).into_iter().map(ip).collect()
    }

    fn policy(&mut self) -> TrafficPolicy {
        self.one(&[TrafficPolicy::Cluster, TrafficPolicy::Local])
    }

    /// Mostly TCP.
    fn protocol(&mut self) -> Protocol {
        if self.eighths(5) { Protocol::Tcp } else { self.one(&PROTOCOLS) }
    }

    fn ranges(&mut self) -> Vec<Prefix> {
        let all = ["203.0.113.0/24", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"];
        self.some(&all, 2).into_iter().map(prefix).collect()
    }

    pub fn name(&mut self, kinds: &[&str]) -> ObjectName {
        ObjectName::new(if self.eighths(6) { "one" } else { "two" }, self.one(kinds))
    }

    pub fn service(&mut self) -> Service {
        let kinds = [
            ServiceType::ClusterIp,
            ServiceType::NodePort,
            ServiceType::LoadBalancer,
            ServiceType::LoadBalancer,
            ServiceType::ExternalName,
        ];
        let ports = (0..self.below(3) + 1).map(|_| ServicePort {
            name: self.one(&["", "p", "q"]).into(),
            protocol: self.protocol(),
            port: if self.eighths(7) { self.one(&PORTS[..2]) } else { self.one(&[0, 30_080]) },
            node_port: if self.eighths(5) { Some(self.one(&[30_080, 30_081, 80])) } else { None },
        });
        let ports = ports.collect();
        Service {
            kind: self.one(&kinds),
            cluster_ips: if self.eighths(7) { self.addresses(3) } else { Vec::new() },
            external_ips: self.addresses(2),
            load_balancer_ips: self.addresses(2),
            source_ranges: if self.eighths(2) { self.ranges() } else { Vec::new() },
            ports,
            internal: self.policy(),
            external: self.policy(),
            affinity: self.eighths(2).then_some(Duration::from_secs(10_800)),
            distribution: self.one(&[
                Distribution::Even,
                Distribution::SameZone,
                Distribution::SameNode,
            ]),
            health_check_port: None,
            publish_not_ready: self.eighths(1),
            created: self.eighths(6).then_some(self.below(3) as u64),
        }
    }

    fn words(&mut self, all: &[&str], of_eight: usize) -> std::collections::BTreeSet<String> {
        let most = if self.eighths(of_eight) { 2 } else { 0 };
        self.some(all, most).into_iter().map(str::to_owned).collect()
    }

    fn endpoint(&mut self, family: Family, hints: usize) -> Endpoint {
        let targets = match family {
            _ if self.below(20) == 0 => &TARGETS[..],
            Family::V4 => &TARGETS[..4],
            Family::V6 => &TARGETS[5..],
        };
        let addresses =
            if self.eighths(7) { vec![self.one(targets)] } else { self.some(targets, 2) };
        let addresses = addresses.into_iter().map(ip).collect();
        Endpoint {
            addresses,
            ready: self.eighths(4),
            serving: self.eighths(5),
            terminating: self.eighths(4),
            node: self.eighths(7).then(|| self.one(&NODES).to_owned()),
            zone: self.eighths(7).then(|| self.one(&ZONES).to_owned()),
            for_zones: self.words(&ZONES, hints),
            for_nodes: self.words(&NODES, hints),
            weight: self.one(&[0, 1, 1, 1, 5]),
        }
    }

    pub fn slice(&mut self) -> EndpointSlice {
        let family = if self.eighths(4) { Family::V4 } else { Family::V6 };
        let hints = self.one(&[0, 4, 8]);
        // Most of what services may ask for, so that most of them find somebody; some twice.
        let names = ["", "p", "q", ""].iter().flat_map(|name| PROTOCOLS.map(|p| (*name, p)));
        let mut ports = Vec::new();
        for (name, protocol) in names {
            if self.eighths(6) {
                let port = self.one(&[8_080, 8_080, 8_080, 9_090, 0]);
                ports.push(EndpointPort { name: name.into(), protocol, port });
            }
        }
        let endpoints = (0..self.below(6)).map(|_| self.endpoint(family, hints)).collect();
        EndpointSlice { service: self.one(&["web", "app"]).into(), family, ports, endpoints }
    }

    /// Changes what this node is and how it is set up.
    pub fn here(&mut self, world: &mut World) {
        let here = &mut world.here;
        here.node = self.one(&NODES).into();
        let own = self.addresses(4).into_iter();
        here.addresses =
            own.map(|address| NodeAddress { address, primary: self.eighths(5) }).collect();
        here.settings.node_port_addresses =
            if self.eighths(3) { self.ranges() } else { Vec::new() };
        here.settings.drop_without_backends = self.eighths(2);
        here.settings.masquerade_external = self.eighths(4);
        here.settings.ranges_for_all = self.eighths(4);
        here.settings.node_ports = self.one(&[(30_000, 32_767), (30_081, 30_081)]);
    }

    pub fn zone(&mut self, world: &mut World) {
        let zone = self.eighths(7).then(|| self.one(&ZONES).to_owned());
        // Some services have an address of a node, too.
        let node = self.one(&NODES);
        let addresses = if self.eighths(4) { self.addresses(2) } else { Vec::new() };
        if let Some(node) = world.cluster.nodes.get_mut(node) {
            node.addresses = addresses;
        }
        if let Some(node) = world.cluster.nodes.get_mut(&world.here.node) {
            node.zone = zone;
        }
    }

    pub fn world(&mut self) -> World {
        let mut world = World::new();
        self.here(&mut world);
        self.zone(&mut world);
        for _ in 0..self.below(8) + 1 {
            let name = self.name(&["web", "app"]);
            world.cluster.services.insert(name, self.service());
        }
        for _ in 0..self.below(20) {
            let name = self.name(&["s", "t", "u", "v", "w", "x"]);
            world.cluster.slices.insert(name, self.slice());
        }
        world
    }

    /// All that can be asked: address, port, protocol.
    pub fn questions() -> impl Iterator<Item = (IpAddr, u16, Protocol)> {
        let ports = PORTS.iter().chain([&0, &9]);
        let places = ADDRESSES.iter().flat_map(move |a| ports.clone().map(|p| (ip(a), *p)));
        places.flat_map(|(address, port)| PROTOCOLS.map(|protocol| (address, port, protocol)))
    }

    pub fn source(&mut self, destination: IpAddr) -> IpAddr {
        let all = ["203.0.113.9", "10.1.0.1", "192.0.2.1", "2001:db8::1", "fd01::1"];
        if self.eighths(2) { destination } else { ip(self.one(&all)) }
    }
}
