//! Measures services: 50,000 of them with 10 backends each from nothing, their rings, and one change.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use thalweg_model::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, Protocol, Service, ServicePort,
};
use thalweg_model::{Cluster, ObjectName};
use thalweg_service::{Changes, Here, NodeAddress, Resolver};

const SERVICES: u32 = 50_000;
const BACKENDS: u32 = 10;

fn name(number: u32) -> ObjectName {
    ObjectName::new(format!("team-{}", number / 500), format!("service-{number}"))
}

fn slice(number: u32, first: u32) -> EndpointSlice {
    let endpoint = |index: u32| Endpoint {
        addresses: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a80_0000 + number * BACKENDS + index))],
        ready: true,
        serving: true,
        terminating: false,
        node: Some(format!("node-{}", index % 100)),
        zone: Some("east".into()),
        for_zones: BTreeSet::new(),
        for_nodes: BTreeSet::new(),
        weight: 1,
    };
    let port = EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8_080 };
    EndpointSlice {
        service: name(number).name,
        family: Family::V4,
        ports: vec![port],
        endpoints: (first..first + BACKENDS).map(endpoint).collect(),
    }
}

fn service(number: u32) -> Service {
    let name = "http".into();
    Service {
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a60_0000 + number))],
        ports: vec![ServicePort { name, protocol: Protocol::Tcp, port: 80, node_port: None }],
        created: Some(number.into()),
        ..Service::default()
    }
}

fn rings(resolver: &Resolver) -> (Duration, usize) {
    let start = Instant::now();
    let octets = resolver.frontends().map(|f| 2 * f.internal.ring(16_381).len()).sum();
    (start.elapsed(), octets)
}

fn main() {
    let services = (0..SERVICES).map(|n| (name(n), service(n))).collect();
    let slices = (0..SERVICES).map(|n| (name(n), slice(n, 0))).collect();
    let mut cluster = Cluster { services, slices, ..Cluster::default() };
    let own = NodeAddress { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), primary: true };
    let here = Here { node: "node-7".into(), addresses: vec![own], ..Here::default() };

    let start = Instant::now();
    let mut resolver = Resolver::new(&cluster, &here);
    println!("{SERVICES} services of {BACKENDS} backends from nothing: {:?}", start.elapsed());
    assert_eq!(resolver.frontends().count(), SERVICES as usize);
    let (time, octets) = rings(&resolver);
    println!("their rings: {time:?}, {octets} octets");

    let mut times: Vec<Duration> = (0..1_000)
        .map(|round| {
            let number = round * 7_919 % SERVICES;
            cluster.slices.insert(name(number), slice(number, 1 + round % 2));
            let changes = Changes { slices: [name(number)].into(), ..Changes::default() };
            let start = Instant::now();
            let difference = resolver.update(&cluster, &here, &changes);
            let time = start.elapsed();
            assert_eq!(difference.changed.len(), 1);
            time
        })
        .collect();
    times.sort_unstable();
    println!(
        "one slice changed: p50 {:?}, p99 {:?}, most {:?}",
        times[500], times[990], times[999]
    );
}
