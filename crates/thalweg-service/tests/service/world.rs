//! A small cluster to ask questions of.

use std::net::IpAddr;
use thalweg_model::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, Node, Protocol, Service, ServicePort,
    ServiceSettings,
};
use thalweg_model::{Cluster, ObjectName, Prefix};
use thalweg_service::{
    Changes, Choice, Difference, Fate, From, Frontend, FrontendKey, Here, NodeAddress, Resolver,
};

/// A cluster, with this node called `a` in zone `east`.
pub struct World {
    pub cluster: Cluster,
    pub here: Here,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

pub fn port(name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol, port, node_port: None }
}

/// A service at TCP port 80 of an address.
pub fn service(address: &str) -> Service {
    Service {
        cluster_ips: vec![ip(address)],
        ports: vec![port("", Protocol::Tcp, 80)],
        ..Service::default()
    }
}

/// A ready endpoint on a node: nodes `a` and `b` are in `east`, `c` is in `west`.
pub fn ready(address: &str, node: &str) -> Endpoint {
    Endpoint {
        addresses: vec![ip(address)],
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        zone: Some(if node == "c" { "west" } else { "east" }.into()),
        for_zones: Default::default(),
        for_nodes: Default::default(),
        weight: 1,
    }
}

/// One that still serves, but is about to end.
pub fn leaving(address: &str, node: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..ready(address, node) }
}

/// A slice of IPv4 endpoints at TCP port 8080.
pub fn slice(service: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = EndpointPort { name: String::new(), protocol: Protocol::Tcp, port: 8_080 };
    EndpointSlice { service: service.into(), family: Family::V4, ports: vec![port], endpoints }
}

pub fn tcp(address: &str, port: u16) -> FrontendKey {
    FrontendKey { address: ip(address), port, protocol: Protocol::Tcp }
}

/// Backends that get new flows, as words.
pub fn words(choice: &Choice) -> String {
    let weighty = choice.backends.iter().filter(|backend| backend.weight > 0);
    let words: Vec<String> = weighty.map(|b| format!("{}:{}", b.address, b.port)).collect();
    words.join(" ")
}

impl World {
    /// Three nodes and nothing else. This one has 192.0.2.1 and 2001:db8::1, and others besides.
    pub fn new() -> Self {
        let mut cluster = Cluster::default();
        for (node, zone) in [("a", "east"), ("b", "east"), ("c", "west")] {
            let zone = Some(zone.to_owned());
            cluster.nodes.insert(node.into(), Node { zone, ..Node::default() });
        }
        let own = |address: &str, primary| NodeAddress { address: ip(address), primary };
        let addresses = vec![
            own("192.0.2.1", true),
            own("198.51.100.1", false),
            own("2001:db8::1", true),
            own("127.0.0.1", true),
        ];
        let settings = ServiceSettings {
            service_cidrs: vec![prefix("10.96.0.0/16")],
            ..ServiceSettings::default()
        };
        Self { cluster, here: Here { node: "a".into(), addresses, settings } }
    }

    /// One with a service `web` and its endpoints.
    pub fn with(service: Service, endpoints: Vec<Endpoint>) -> Self {
        let mut world = Self::new();
        world.cluster.services.insert(name("web"), service);
        world.cluster.slices.insert(name("web-1"), slice("web", endpoints));
        world
    }

    pub fn resolver(&self) -> Resolver {
        Resolver::new(&self.cluster, &self.here)
    }

    pub fn frontend(&self, key: FrontendKey) -> Frontend {
        let resolver = self.resolver();
        resolver.frontend(key).map(|frontend| (**frontend).clone()).expect("there is a frontend")
    }

    /// What becomes of a packet, in words: `drop`, `reject`, `nothing`, or its backends.
    pub fn ask(&self, from: From, key: FrontendKey) -> String {
        let source = match from {
            From::Workload => "10.1.0.9",
            From::Host => "192.0.2.1",
            From::Outside => "203.0.113.9",
        };
        self.ask_as(from, source, key)
    }

    /// The same for a source.
    pub fn ask_as(&self, from: From, source: &str, key: FrontendKey) -> String {
        match self.resolver().ask(from, ip(source), key) {
            Fate::NotAService => "nothing".into(),
            Fate::Drop => "drop".into(),
            Fate::Reject => "reject".into(),
            Fate::Serve(choice) => words(&choice),
        }
    }
}

/// Tells a resolver of changes in objects.
pub fn update(
    resolver: &mut Resolver,
    world: &World,
    services: &[&str],
    slices: &[&str],
) -> Difference {
    let names = |all: &[&str]| all.iter().map(|one| name(one)).collect();
    let changes = Changes { services: names(services), slices: names(slices), here: false };
    resolver.update(&world.cluster, &world.here, &changes)
}
