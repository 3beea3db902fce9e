//! Rings as backends and services come and go: which connections move.

use crate::fixture::{World, world};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use thalweg_compile::Compiler;
use thalweg_image::{BackendSet, Change, FrontendKey, SetId};
use thalweg_model::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, STEADY_SERVICES, Service, ServicePort,
};
use thalweg_model::{Intent, ObjectName};

/// A compiler, and sets of backends with who has them as its plans say.
struct Lab {
    world: World,
    compiler: Compiler,
    sets: BTreeMap<SetId, BackendSet>,
    frontends: BTreeMap<Ipv4Addr, SetId>,
    /// Services with another set since the last step.
    turned: BTreeSet<u32>,
}

impl Lab {
    fn new() -> Self {
        let mut world = world("");
        world.intent.router.limits.flows = 1024;
        let compiler = Compiler::new(world.intent.limits());
        let (sets, frontends) = (BTreeMap::new(), BTreeMap::new());
        Self { world, compiler, sets, frontends, turned: BTreeSet::new() }
    }

    /// The same files, and an agent that just started.
    fn again(&self) -> Self {
        let mut new = Self { world: self.world.clone(), ..Self::new() };
        new.step();
        new
    }

    /// A service with backends of these last octets and weights.
    fn service(&mut self, number: u32, backends: &[(u8, u16)]) {
        let cluster = &mut self.world.intent.cluster;
        let service = Service {
            cluster_ips: vec![address(number).into()],
            ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
            created: Some(number.into()),
            ..Service::default()
        };
        cluster.services.insert(name(number), service);
        let endpoint = |(last, weight): &(u8, u16)| Endpoint {
            addresses: vec![IpAddr::from([10, 1, 0, *last])],
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            for_zones: BTreeSet::new(),
            for_nodes: BTreeSet::new(),
            weight: *weight,
        };
        let slice = EndpointSlice {
            service: name(number).name,
            family: Family::V4,
            ports: vec![EndpointPort { port: 8080, ..EndpointPort::default() }],
            endpoints: backends.iter().map(endpoint).collect(),
        };
        cluster.slices.insert(name(number), slice);
    }

    fn step(&mut self) {
        self.compiler.set_intent(self.world.intent.clone());
        self.turned.clear();
        for change in self.compiler.plan().changes {
            match change {
                Change::Backends(id, set) => drop(self.sets.insert(id, set)),
                Change::FreeBackends(id) => drop(self.sets.remove(&id)),
                Change::Frontend(FrontendKey { address: [_, four], port: 80, .. }, row) => {
                    let four = Ipv4Addr::from_bits(four as u32);
                    self.frontends.insert(four, row.internal);
                    self.turned.insert(four.to_bits() - address(0).to_bits());
                }
                _ => {}
            }
        }
    }

    /// How many slots a service's ring has, and who serves each hundredth of a percent of connections.
    fn serving(&self, number: u32) -> (usize, Vec<u8>) {
        let set = &self.sets[&self.frontends[&address(number)]];
        let slots = set.ring.len().max(1);
        let last = |member: usize| set.backends[member].address[1] as u8;
        let at = |part: usize| match set.ring.as_slice() {
            [] => last(0),
            ring => last(ring[part * slots / 10_000].into()),
        };
        (slots, (0..10_000).map(at).collect())
    }
}

fn name(number: u32) -> ObjectName {
    ObjectName::new("shop", format!("s{number:05}"))
}

/// Every third backend has twice the weight.
const fn weight(last: u8) -> u16 {
    1 + last.is_multiple_of(3) as u16
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a60_0000 + number)
}

/// Connections that have another backend, except those of one; beyond the hundredth that may.
fn strays(before: &[u8], after: &[u8], own: u8) -> usize {
    let both = before.iter().zip(after);
    both.filter(|(a, b)| a != b && **a != own && **b != own).count().saturating_sub(100)
}

#[test]
fn whoever_leaves_or_comes_moves_its_own_connections_alone() {
    let mut lab = Lab::new();
    let all: Vec<(u8, u16)> = (1..=40).map(|last| (last, weight(last))).collect();
    // Down over all numbers at which rings had other sizes once, and up again.
    let counts = (1..40).rev().chain(2..=40);
    lab.service(1, &all);
    lab.step();
    let (_, mut before) = lab.serving(1);
    let mut had = 40;
    for count in counts {
        lab.service(1, &all[..count]);
        lab.step();
        let (slots, after) = lab.serving(1);
        assert_eq!(slots, if count == 1 { 1 } else { 16_381 });
        let own = had.max(count) as u8;
        assert_eq!(strays(&before, &after, own), 0, "from {had} backends to {count}");
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        let all: u16 = all[..had.max(count)].iter().map(|(_, weight)| weight).sum();
        let share = 10_000 * usize::from(weight(own)) / usize::from(all);
        assert!(moved >= share * 9 / 10 && moved <= share + 100, "{moved} of {share}");
        assert_eq!(lab.again().serving(1), (slots, after.clone()), "a restart finds the same");
        (before, had) = (after, count);
    }
}

#[test]
fn one_service_more_moves_connections_of_one_other_at_most() {
    let mut lab = Lab::new();
    lab.world.intent.router.services.ring = 8_191;
    let oldest = STEADY_SERVICES as u32;
    (1..=oldest).for_each(|number| lab.service(number * 2, &[(1, 1), (2, 1)]));
    lab.step();
    let all = |lab: &Lab| -> BTreeMap<u32, usize> {
        let number = |at: &Ipv4Addr| at.to_bits() - address(0).to_bits();
        lab.frontends.keys().map(|at| (number(at), lab.serving(number(at)).0)).collect()
    };
    assert!(all(&lab).values().all(|slots| *slots == 8_191));
    lab.service(oldest * 2 + 2, &[(1, 1), (2, 1)]);
    lab.step();
    assert_eq!(lab.turned, [oldest * 2 + 2].into(), "the youngest");
    assert_eq!(lab.serving(oldest * 2 + 2).0, 1_021);
    lab.service(3, &[(1, 1), (2, 1), (3, 1)]);
    lab.step();
    assert_eq!(lab.turned, [3, oldest * 2].into(), "an old one takes the place of one");
    assert_eq!((lab.serving(3).0, lab.serving(oldest * 2).0), (8_191, 1_021));
    assert_eq!(all(&lab), all(&lab.again()), "a restart finds the same");
    lab.world.intent.cluster.services.remove(&name(2));
    lab.step();
    assert_eq!(lab.turned, [oldest * 2].into(), "the next one by age");
    assert_eq!(lab.serving(oldest * 2).0, 8_191);
}

#[test]
fn another_size_of_rings_is_in_force_at_once() {
    let mut lab = Lab::new();
    lab.service(1, &[(1, 1), (2, 1)]);
    lab.step();
    assert_eq!(lab.serving(1).0, 16_381);
    lab.world.intent.router.services.ring = 65_537;
    lab.step();
    assert_eq!(lab.serving(1).0, 65_537);
    assert_eq!(lab.sets.len(), 2, "the old ring and the set of nobody: {:?}", lab.sets.keys());
}

#[test]
fn tables_that_were_sized_for_a_cluster_hold_it() {
    let mut lab = Lab::new();
    for number in 1..=3_000 {
        let backends: Vec<(u8, u16)> =
            (0..=(number % 12) as u8).map(|last| (last + 1, 1)).collect();
        lab.service(number, &backends);
    }
    lab.step();
    let mut limits = lab.world.intent.router.limits.clone();
    (limits.frontends, limits.backends, limits.ring_slots) = (0, 0, 0);
    let mut intent = Intent { cluster: lab.world.intent.cluster.clone(), ..Intent::default() };
    intent.router.limits = limits;
    let limits = intent.limits();
    let sum = |count: fn(&BackendSet) -> usize| lab.sets.values().map(count).sum::<usize>() as u32;
    assert!(limits.ring_slots >= sum(|set| set.ring.len()) * 9 / 8, "{limits:?}");
    assert!(limits.backends >= sum(|set| set.backends.len()) * 3 / 2, "{limits:?}");
    assert!(limits.frontends >= lab.frontends.len() as u32 * 3, "and their addresses: {limits:?}");
}
