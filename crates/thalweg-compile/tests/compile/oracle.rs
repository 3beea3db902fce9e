//! Compiler against oracle over random worlds and random histories: after every plan the plane's
//! maps answer as the plain reading of intent and host state does, and they hold what compiling
//! from nothing yields.

use crate::maps::{Maps, assert_close, expected, vrf_names};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_abi::GroupId;
use thalweg_compile::Compiler;
use thalweg_model::host::{
    Address, Link, Neighbor, NextHop, NextHopObject, Route, RouteKey, RouteKind, Update,
};
use thalweg_model::intent::{self, LabelAction, RouteAction};
use thalweg_model::{Catalog, HostState, Intent, Prefix};
use thalweg_oracle::{Answer, Oracle};
use thalweg_wire::{Label, Mac};

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Host(Update),
    Route(u8, Option<intent::Route>),
    Label(u8, Option<intent::LabelRoute>),
    Link(u8, Option<intent::Link>),
    Vrf(u8, Option<intent::Vrf>),
    Unlisted(bool),
    Plan,
}

const LINKS: [&str; 8] = ["", "lo", "eth0", "eth1", "eth2", "eth0.9", "blue", "far"];
const VRFS: [&str; 3] = ["default", "blue", "red"];

/// Interface indices: the last is beyond the table.
fn index(slot: u8) -> u32 {
    if slot == 7 { 70 } else { u32::from(slot) }
}

fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (prop::sample::select(vec![[10, 0, 0], [10, 0, 1], [10, 9, 0], [20, 1, 1]]), 0u8..8)
        .prop_map(|([a, b, c], d)| IpAddr::from([a, b, c, if d == 7 { 255 } else { d }]));
    let v6 = (0u16..3, 1u16..5)
        .prop_map(|(net, host)| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, host]));
    let local = (1u16..3).prop_map(|host| IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, host]));
    prop_oneof![6 => v4, 3 => v6, 1 => local]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let lens = prop::sample::select(vec![0u8, 8, 16, 24, 30, 32]);
    (address(), lens, any::<bool>()).prop_map(|(address, len, host)| match address {
        IpAddr::V4(_) => Prefix::containing(address, len),
        IpAddr::V6(_) => Prefix::containing(address, if host { 128 } else { len * 2 }),
    })
}

fn link_slot() -> impl Strategy<Value = u8> {
    prop_oneof![8 => 2u8..5, 1 => Just(5u8), 1 => Just(6u8), 1 => Just(7u8)]
}

fn mac() -> impl Strategy<Value = Mac> {
    (0u8..6).prop_map(|last| Mac([2, 0, 0, 0, 1, last]))
}

fn link() -> impl Strategy<Value = Link> {
    (1u8..8, prop::bool::weighted(0.8), any::<bool>(), 0u8..3).prop_map(
        |(slot, up, enslaved, flavor)| {
            let mut link = Link {
                index: index(slot),
                name: LINKS[usize::from(slot)].into(),
                mac: Mac([2, 0, 0, 0, 0, slot]),
                mtu: 1500,
                up,
                medium: "ether".into(),
                ..Link::default()
            };
            match slot {
                1 => link.medium = "loopback".into(),
                3 if enslaved => link.master = Some(6),
                4 if flavor == 0 => link.mac = Mac::ZERO,
                5 => {
                    link.kind = "vlan".into();
                    link.vlan = Some((9, 0x8100));
                    link.lower = Some(2);
                }
                6 => {
                    link.kind = "vrf".into();
                    link.vrf_table = Some(if flavor == 0 { 11 } else { 10 });
                }
                _ => {}
            }
            link
        },
    )
}

fn host_hop() -> impl Strategy<Value = NextHop> {
    let labels = prop::collection::vec(16u32..20, 0..4);
    let labels = prop_oneof![3 => Just(Vec::new()), 1 => labels];
    (link_slot(), prop::option::weighted(0.8, address()), 1u16..4, labels, 0u8..20).prop_map(
        |(slot, via, weight, labels, odd)| NextHop {
            via,
            link: if odd == 0 { 0 } else { index(slot) },
            weight,
            labels,
            ttl: None,
            encap: (odd == 1).then(|| "seg6".into()),
            onlink: false,
            dead: odd == 2,
        },
    )
}

fn host_route() -> impl Strategy<Value = Route> {
    let kind = prop_oneof![
        8 => Just(RouteKind::Unicast),
        1 => prop::sample::select(vec![
            RouteKind::Local, RouteKind::Broadcast, RouteKind::Anycast, RouteKind::Multicast,
            RouteKind::Blackhole, RouteKind::Unreachable, RouteKind::Prohibit, RouteKind::Throw,
        ]),
    ];
    let hops = prop_oneof![
        3 => prop::collection::vec(host_hop(), 1..4),
        2 => link_slot().prop_map(|slot| vec![NextHop {
            via: None, link: index(slot), weight: 1, labels: Vec::new(), ttl: None, encap: None,
            onlink: false, dead: false,
        }]),
    ];
    let object = prop::option::weighted(0.2, 1u32..5);
    (kind, hops, object, any::<bool>()).prop_map(|(kind, nexthops, object, kernel)| Route {
        kind,
        protocol: if kernel { "kernel".into() } else { "bgp".into() },
        nexthops: if object.is_some() { Vec::new() } else { nexthops },
        object,
        mtu: None,
    })
}

fn route_key() -> impl Strategy<Value = RouteKey> {
    let tables = prop::sample::select(vec![254u32, 254, 254, 255, 10, 11]);
    let metrics = prop::sample::select(vec![0u32, 100]);
    (tables, prefix(), metrics, prop::bool::weighted(0.05)).prop_map(
        |(table, prefix, metric, tos)| RouteKey {
            table,
            prefix,
            metric,
            tos: if tos { 8 } else { 0 },
            instance: 0,
        },
    )
}

fn update() -> impl Strategy<Value = Update> {
    let address_of = |(slot, address, len): (u8, IpAddr, u8)| {
        let len = if address.is_ipv6() { 64 } else { len };
        Address { link: index(slot), address, len, peer: None, scope: "global".into() }
    };
    let state = prop::sample::select(vec!["reachable", "stale", "failed", "permanent"]);
    let object = prop_oneof![
        4 => host_hop().prop_map(NextHopObject::Single),
        2 => prop::collection::vec((1u32..5, 1u16..4), 1..3).prop_map(NextHopObject::Group),
        1 => Just(NextHopObject::Blackhole),
    ];
    prop_oneof![
        4 => link().prop_map(Update::Link),
        1 => (1u8..8).prop_map(|slot| Update::LinkGone(index(slot))),
        3 => (link_slot(), address(), prop::sample::select(vec![24u8, 30, 32]))
            .prop_map(move |parts| Update::Address(address_of(parts))),
        1 => (link_slot(), address()).prop_map(|(s, a)| Update::AddressGone(index(s), a)),
        6 => (link_slot(), address(), mac(), state).prop_map(|(slot, address, mac, state)| {
            let (link, state) = (index(slot), state.into());
            Update::Neighbor(Neighbor { link, address, mac: Some(mac), state })
        }),
        1 => (link_slot(), address()).prop_map(|(s, a)| Update::NeighborGone(index(s), a)),
        8 => (route_key(), host_route()).prop_map(|(key, route)| Update::Route(key, route)),
        3 => route_key().prop_map(Update::RouteGone),
        2 => (1u32..5, object).prop_map(|(id, object)| Update::NextHop(id, object)),
        1 => (1u32..5).prop_map(Update::NextHopGone),
    ]
}

fn hop(depth: u32) -> BoxedStrategy<intent::NextHop> {
    let backup = match depth {
        0 => Just(None).boxed(),
        _ => prop::option::weighted(0.15, hop(0).prop_map(Box::new)).boxed(),
    };
    let labels = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((16u32..20).prop_map(|l| Label::new(l).unwrap()), 1..4),
    ];
    let dev = prop::option::weighted(0.3, link_slot().prop_map(|s| LINKS[usize::from(s)].into()));
    let via = prop::option::weighted(0.9, address());
    (via, dev, 1u16..4, labels, prop::bool::weighted(0.2), backup)
        .prop_map(|(via, dev, weight, labels, onlink, backup)| intent::NextHop {
            via,
            dev,
            weight,
            labels,
            onlink,
            backup,
            ..intent::NextHop::default()
        })
        .boxed()
}

fn hops() -> impl Strategy<Value = Vec<intent::NextHop>> {
    prop::collection::vec(hop(1), 1..4)
}

fn vrf_name() -> impl Strategy<Value = String> {
    (0usize..3).prop_map(|slot| VRFS[slot].into())
}

fn route() -> impl Strategy<Value = intent::Route> {
    let action = prop_oneof![
        8 => hops().prop_map(RouteAction::Forward),
        1 => Just(RouteAction::Blackhole),
        1 => Just(RouteAction::Prohibit),
        1 => vrf_name().prop_map(RouteAction::Vrf),
    ];
    let vrf = prop_oneof![3 => Just("default".to_owned()), 1 => vrf_name()];
    (vrf, prefix(), prop::sample::select(vec![0u32, 50, 100]), action)
        .prop_map(|(vrf, prefix, metric, action)| intent::Route { vrf, prefix, metric, action })
}

fn label() -> impl Strategy<Value = intent::LabelRoute> {
    let action = prop_oneof![
        3 => hops().prop_map(LabelAction::Forward),
        1 => vrf_name().prop_map(LabelAction::Vrf),
    ];
    (100u32..104, action).prop_map(|(label, action)| intent::LabelRoute {
        label: Label::new(label).unwrap(),
        ttl_model: None,
        action,
    })
}

fn wish() -> impl Strategy<Value = intent::Link> {
    let names = prop::sample::select(vec!["eth0", "eth1", "eth*", "*", "eth0.9", "far"]);
    (names, prop::option::weighted(0.3, vrf_name()), prop::bool::weighted(0.1)).prop_map(
        |(name, vrf, ignored)| intent::Link {
            interfaces: vec![name.into()],
            vrf,
            role: if ignored { intent::Role::Ignored } else { intent::Role::Router },
            ..intent::Link::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let table = prop::option::of(prop::sample::select(vec![10u32, 11]));
    let some = |weight| prop::option::weighted(weight, Just(()));
    prop_oneof![
        20 => update().prop_map(Step::Host),
        6 => (0u8..8, some(0.8), route()).prop_map(|(n, k, r)| Step::Route(n, k.map(|()| r))),
        2 => (0u8..4, some(0.8), label()).prop_map(|(n, k, l)| Step::Label(n, k.map(|()| l))),
        2 => (0u8..3, some(0.8), wish()).prop_map(|(n, k, w)| Step::Link(n, k.map(|()| w))),
        1 => (1u8..3, some(0.8), table)
            .prop_map(|(n, k, table)| Step::Vrf(n, k.map(|()| intent::Vrf { table }))),
        1 => any::<bool>().prop_map(Step::Unlisted),
        5 => Just(Step::Plan),
    ]
}

/// A world with a few links, so that histories need not begin by inventing them.
fn beginning() -> Vec<Step> {
    let link = |slot: u8| Link {
        index: index(slot),
        name: LINKS[usize::from(slot)].into(),
        mac: Mac([2, 0, 0, 0, 0, slot]),
        mtu: 1500,
        up: true,
        medium: "ether".into(),
        ..Link::default()
    };
    let all = intent::Link { interfaces: vec!["eth*".into()], ..intent::Link::default() };
    let address = |slot, c| Address {
        link: index(slot),
        address: IpAddr::from([10, 0, c, 1]),
        len: 24,
        peer: None,
        scope: "global".into(),
    };
    vec![
        Step::Host(Update::Link(link(2))),
        Step::Host(Update::Link(link(3))),
        Step::Host(Update::Link(link(4))),
        Step::Host(Update::Address(address(2, 0))),
        Step::Host(Update::Address(address(3, 1))),
        Step::Link(0, Some(all)),
    ]
}

struct Bench {
    host: HostState,
    intent: Intent,
    compiler: Compiler,
    maps: Maps,
}

impl Bench {
    fn new() -> Self {
        let mut intent = Intent::default();
        intent.router.limits.links = 64;
        let compiler = Compiler::new(intent.router.limits.clone());
        Self { host: HostState::default(), intent, compiler, maps: Maps::default() }
    }

    fn take(&mut self, step: Step) {
        fn put<T: Clone>(map: &mut Catalog<String, T>, name: String, value: Option<T>) {
            match value {
                Some(value) => map.insert(name, value),
                None => drop(map.remove(&name)),
            }
        }
        fn set<T>(map: &mut BTreeMap<String, T>, name: String, value: Option<T>) {
            match value {
                Some(value) => map.insert(name, value),
                None => map.remove(&name),
            };
        }
        match step {
            Step::Host(update) => {
                self.host.apply(update.clone());
                self.compiler.update_host(update);
                return;
            }
            Step::Route(n, route) => put(&mut self.intent.routes, format!("r{n}"), route),
            Step::Label(n, label) => put(&mut self.intent.labels, format!("l{n}"), label),
            Step::Link(n, link) => set(&mut self.intent.links, format!("k{n}"), link),
            Step::Vrf(n, vrf) => set(&mut self.intent.vrfs, VRFS[usize::from(n)].into(), vrf),
            Step::Unlisted(all) => self.intent.router.unlisted_links = all,
            Step::Plan => {
                self.check();
                return;
            }
        }
        self.compiler.set_intent(self.intent.clone());
    }

    fn check(&mut self) {
        let plan = self.compiler.plan();
        self.maps.apply(&plan);
        assert!(self.compiler.plan().changes.is_empty(), "nothing is left for a second plan");
        self.ask_the_oracle();
        self.compile_from_nothing();
        self.compiler.problems();
        self.compiler.routes(None);
        assert_eq!(self.compiler.host(), self.host);
    }

    fn ask_the_oracle(&self) {
        let oracle = Oracle::new(&self.intent, &self.host);
        let names = vrf_names(&self.compiler);
        for vrf in self.compiler.vrfs() {
            let mut probes: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap()];
            let prefixes = oracle.prefixes(&vrf.name);
            probes.extend(prefixes.iter().map(|prefix| prefix.address()));
            probes.extend(self.host.neighbors.keys().map(|(_, address)| *address));
            for address in probes {
                let answer = oracle.route(&vrf.name, address);
                let group = self.maps.group_of(vrf.id, address);
                let what = format!("{address} in {}", vrf.name);
                match (expected(&answer), group) {
                    (None, None) => {}
                    (Some(want), Some(group)) => {
                        assert_close(&self.maps.wanted(group, &names, &want), &want, &what);
                    }
                    (want, group) => panic!("{what}: {group:?}, but the oracle says {want:?}"),
                }
            }
        }
        for label in 100..104 {
            let word = self.maps.labels.get(&label);
            match (oracle.label(label), word) {
                (Answer::Nothing, None) => {}
                (Answer::Lookup(vrf), Some(word)) => assert_eq!(names[&word.vrf()], vrf),
                (answer @ Answer::Exits(_), Some(word)) => {
                    let want = expected(&answer).unwrap();
                    let shares = self.maps.wanted(GroupId(word.group()), &names, &want);
                    assert_close(&shares, &want, &format!("label {label}"));
                }
                (answer, word) => panic!("label {label}: {word:?}, but the oracle says {answer:?}"),
            }
        }
    }

    fn compile_from_nothing(&self) {
        let mut compiler = Compiler::new(self.intent.router.limits.clone());
        compiler.set_intent(self.intent.clone());
        compiler.load_host(self.host.clone());
        let mut maps = Maps::default();
        maps.apply(&compiler.plan());
        let ours = self.maps.logical(&vrf_names(&self.compiler));
        ours.assert_same(&maps.logical(&vrf_names(&compiler)));
        assert_eq!(self.compiler.problems(), compiler.problems());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_plan_says_what_the_oracle_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bench = Bench::new();
        for step in beginning().into_iter().chain(steps) {
            bench.take(step);
        }
        bench.check();
    }
}
