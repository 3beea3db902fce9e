//! A full table: loading takes time in proportion, one change afterwards next to none.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use thalweg_compile::Compiler;
use thalweg_image::Change;
use thalweg_model::host::{Address, Link, Neighbor, NextHop, Route, RouteKey, RouteKind, Update};
use thalweg_model::{Prefix, intent};
use thalweg_wire::{Mac, Prefix4};

const GATEWAYS: u32 = 64;

fn gateway(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0002 + number % GATEWAYS))
}

fn route(number: u32, gateway: IpAddr) -> Update {
    let prefix = Prefix4::containing(Ipv4Addr::from_bits(0x1400_0000 + (number << 8)), 24);
    let key = RouteKey { table: 254, prefix: Prefix::V4(prefix), metric: 20, tos: 0, instance: 0 };
    let hop = NextHop {
        via: Some(gateway),
        link: 2,
        weight: 1,
        labels: Vec::new(),
        ttl: None,
        encap: None,
        onlink: false,
        dead: false,
    };
    let (protocol, nexthops) = ("bgp".into(), vec![hop]);
    Update::Route(
        key,
        Route { kind: RouteKind::Unicast, protocol, nexthops, object: None, mtu: None },
    )
}

fn neighbor(number: u32, octet: u8) -> Update {
    Update::Neighbor(Neighbor {
        link: 2,
        address: gateway(number),
        mac: Some(Mac([2, 0, 0, 0, octet, number as u8])),
        state: "reachable".into(),
    })
}

fn loaded(routes: u32) -> Compiler {
    let mut compiler = Compiler::new(intent::Limits::default());
    compiler.update_host(Update::Link(Link {
        index: 2,
        name: "eth0".into(),
        mac: Mac([2, 0, 0, 0, 0, 2]),
        mtu: 1500,
        up: true,
        medium: "ether".into(),
        ..Link::default()
    }));
    let (address, len) = (Ipv4Addr::new(10, 0, 0, 1).into(), 24);
    let scope = "global".into();
    compiler.update_host(Update::Address(Address { link: 2, address, len, peer: None, scope }));
    (0..GATEWAYS).for_each(|number| compiler.update_host(neighbor(number, 1)));
    let start = Instant::now();
    (0..routes).for_each(|number| compiler.update_host(route(number, gateway(number / 7))));
    let fed = start.elapsed();
    let plan = compiler.plan();
    let installed =
        plan.changes.iter().filter(|change| matches!(change, Change::Route4(..))).count() as u32;
    assert!(installed >= routes);
    println!("{routes} routes: fed in {fed:?}, planned in {:?}", start.elapsed() - fed);
    compiler
}

/// The quickest of several runs, so that a busy machine does not decide.
fn quickest(mut run: impl FnMut(u32) -> usize) -> Duration {
    let time = |number| {
        let start = Instant::now();
        let changes = run(number);
        (start.elapsed(), assert!(changes > 0)).0
    };
    (0..30).map(time).min().unwrap_or_default()
}

#[test]
fn the_cost_of_a_change_does_not_grow_with_the_table() {
    let routes = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut compiler = loaded(routes);
    let one_route = quickest(|number| {
        compiler.update_host(route(number * 31, gateway(number / 7 + 1)));
        compiler.plan().changes.len()
    });
    let one_neighbor = quickest(|number| {
        compiler.update_host(neighbor(3, number as u8 + 2));
        let plan = compiler.plan();
        assert!(!plan.changes.iter().any(|change| matches!(change, Change::Route4(..))));
        plan.changes.len()
    });
    println!("one route {one_route:?}, one neighbor {one_neighbor:?}");
    // A scan of the table would take several milliseconds.
    assert!(one_route < Duration::from_millis(1), "{one_route:?}");
    assert!(one_neighbor < Duration::from_millis(1), "{one_neighbor:?}");
}
