//! Tables that follow changes against those that are compiled from nothing, after each change of random
//! histories.

use crate::hosts::{self, host};
use crate::random::{
    Arrival, Dice, INTERFACES, address, arrivals, arrivals_at_hosts, gather, packet,
    served_at_ports,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use thalweg_model::Origin;
use thalweg_model::cluster::{Cluster, NamedPort, ObjectName, Pod, Protocol};
use thalweg_policy::decide::{Cause, Decision, Logs, Verdict};
use thalweg_policy::model::Direction;
use thalweg_policy::object::calico::{Entity, Policy, Rule};
use thalweg_policy::object::kubernetes::PortMatch;
use thalweg_policy::object::{PolicyId, PolicyKind, PolicyObject, Spec, StagedAction};
use thalweg_policy::resolve::ChainKind;
use thalweg_policy::table::{Cell, Change, Set, SetChange, Tables};
use thalweg_policy::world::EndpointName;
use thalweg_policy::{
    Compiler, Model, Objects, Packet, Resolution, Selector, ThisHost, View, World,
};

fn histories() -> u64 {
    std::env::var("THALWEG_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000) / 10
}

/// What decided, in names.
#[derive(Debug, Eq, PartialEq)]
enum Why {
    Rule(PolicyId, usize),
    Tier(String),
    Other(Cause),
}

/// Rules that log, by name.
type Passed = Vec<(PolicyId, usize)>;

fn reference(resolution: &Resolution, decision: Decision, logs: &Logs) -> (Verdict, Why, Passed) {
    let name =
        |(policy, rule): (usize, usize)| (resolution.policies[policy].policy.id.clone(), rule);
    let why = match decision.cause {
        Cause::Rule { policy, rule } => {
            Why::Rule(resolution.policies[policy].policy.id.clone(), rule)
        }
        Cause::EndOfTier(tier) => Why::Tier(resolution.model.tiers[tier].name.clone()),
        cause => Why::Other(cause),
    };
    (decision.verdict, why, logs.iter().map(name).collect())
}

fn compiled(compiler: &Compiler, cell: &Cell, direction: Direction) -> (Verdict, Why, Passed) {
    let decision = cell.decision;
    let name = |(policy, rule): (usize, usize)| (compiler.policy(policy).unwrap().id.clone(), rule);
    let why = match decision.cause {
        Cause::Rule { policy, rule } => {
            let policy = compiler.policy(policy).unwrap();
            assert!(policy.rules(direction).unwrap().len() > rule);
            Why::Rule(policy.id.clone(), rule)
        }
        Cause::EndOfTier(tier) => Why::Tier(compiler.tier(tier).unwrap().name.clone()),
        cause => Why::Other(cause),
    };
    (decision.verdict, why, cell.logs.iter().map(name).collect())
}

/// A world that changes, object by object.
#[derive(Default)]
struct History {
    objects: Objects,
    cluster: Cluster,
    local: BTreeSet<ObjectName>,
    host: ThisHost,
}

impl History {
    fn set(&mut self, arrival: &Arrival) {
        arrival.comes(&mut self.objects, &mut self.cluster);
    }

    fn remove(&mut self, arrival: &Arrival) {
        arrival.goes(&mut self.objects, &mut self.cluster);
    }

    /// One object comes, goes or becomes another; a pod comes here or leaves; the host is another.
    fn step(&mut self, dice: &mut Dice) {
        let seed = dice.below(1 << 40) as u64;
        let all = match dice.one_in(2) {
            true => arrivals(&mut Dice::new(seed)),
            false => arrivals_at_hosts(&mut Dice::new(seed)),
        };
        let one = &all[dice.below(all.len())];
        match dice.below(9) {
            0 | 1 => self.remove(one),
            3 => match dice.below(6) {
                0 => self.host = ThisHost::default(),
                1 | 2 => self.host = host(dice),
                _ => self.host.addresses = host(dice).addresses,
            },
            2 => {
                let pods: Vec<ObjectName> = self.cluster.pods.keys().cloned().collect();
                if !pods.is_empty() {
                    let name = dice.of(&pods);
                    if !self.local.remove(&name) {
                        self.local.insert(name);
                    }
                }
            }
            _ => self.set(one),
        }
    }

    fn resolve(&self) -> Resolution {
        let world = World::new(&self.objects, &self.cluster, |_| Origin::default());
        Resolution::new(world, Model::new(&self.objects, View::Enforced))
    }

    /// Whether tables decide as the objects do that are there now.
    fn check(&self, compiler: &Compiler, dice: &mut Dice, packets: usize, what: &str) {
        let resolution = self.resolve();
        let endpoints = resolution.world.endpoints.iter().enumerate();
        let mut known = 0;
        for (at, endpoint) in endpoints {
            let EndpointName::Pod(name) = &endpoint.name else { continue };
            let number = compiler.endpoint(name);
            assert_eq!(number.is_some(), self.local.contains(name), "{what}: {name}");
            let Some(number) = number else { continue };
            let addresses: BTreeSet<IpAddr> = endpoint.addresses.iter().copied().collect();
            for own in addresses {
                for direction in [Direction::Ingress, Direction::Egress] {
                    known += 1;
                    let chain = resolution.chain_at(at, ChainKind::normal(direction)).unwrap();
                    for _ in 0..packets {
                        let packet = ask(dice, &resolution, own, direction);
                        let cell = compiler.tables().cell(number, direction, &packet);
                        let found = compiled(compiler, cell.unwrap(), direction);
                        let mut steps = Vec::new();
                        let mut tell = |step| steps.push(step);
                        let expected = resolution.decide(chain, &packet, &mut tell);
                        let passed = resolution.logs(direction, &steps);
                        let expected = reference(&resolution, expected, &passed);
                        assert_eq!(found, expected, "{what}: {packet:?} {direction:?} of {name}");
                    }
                }
            }
        }
        assert_eq!(compiler.tables().assigned().count(), known, "{what}");
        self.check_hosts(&resolution, compiler, dice, packets, what);
    }

    /// The same of hosts.
    fn check_hosts(
        &self,
        resolution: &Resolution,
        compiler: &Compiler,
        dice: &mut Dice,
        packets: usize,
        what: &str,
    ) {
        let mut left: BTreeSet<(usize, ChainKind)> =
            compiler.tables().forks().map(|(at, kind, _)| (at, kind)).collect();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for number in left.iter().map(|(number, _)| *number) {
            numbers.insert(compiler.host(number).unwrap(), number);
        }
        for (at, endpoint) in resolution.world.endpoints.iter().enumerate() {
            let EndpointName::Host(name) = &endpoint.name else { continue };
            let number = numbers.get(name.as_str());
            let is_here = self.host.node.is_some() && self.host.node == endpoint.node;
            assert_eq!(number.is_some(), is_here, "{what}: {name}");
            let Some(number) = number else { continue };
            for kind in ChainKind::of_hosts() {
                left.remove(&(*number, kind));
                for _ in 0..packets {
                    hosts::holds(
                        dice,
                        (resolution, at),
                        (compiler, *number),
                        &self.host,
                        kind,
                        what,
                    );
                }
            }
        }
        assert!(left.is_empty(), "{what}: {left:?}");
        let name = |at: usize| resolution.world.endpoints[at].name.to_string();
        let known = |at: usize| format!("host {}", compiler.host(at).unwrap());
        let node = self.host.node.as_deref().unwrap_or("no such node");
        let expected = resolution.world.host_of_all(node).map(name);
        assert_eq!(compiler.host_of_all().map(known), expected, "{what}");
        for interface in [INTERFACES[0], INTERFACES[1], "eth2"] {
            let addresses = [address(dice), address(dice)];
            let expected = resolution.world.host_at(node, interface, &addresses).map(name);
            let found = compiler.host_at(interface, &addresses).map(known);
            assert_eq!(found, expected, "{what}: {interface}");
        }
    }
}

/// A packet from or to an address, to or from another of its family.
fn ask(dice: &mut Dice, resolution: &Resolution, own: IpAddr, direction: Direction) -> Packet {
    let mut other = address(dice);
    while other.is_ipv4() != own.is_ipv4() {
        other = address(dice);
    }
    let served = served_at_ports(&resolution.world);
    let (source, destination) = match direction {
        Direction::Ingress => (other, own),
        Direction::Egress => (own, other),
    };
    let packet = packet(dice, source, destination);
    if !served.is_empty() && dice.one_in(3) {
        let (address, protocol, port) = dice.of(&served);
        if direction == Direction::Egress && address.is_ipv4() == own.is_ipv4() {
            let ports = Some((9, port));
            return Packet { source: own, destination: address, protocol, ports, icmp: None };
        }
    }
    packet
}

/// What somebody has who only ever hears of changes.
#[derive(Default)]
struct Mirror {
    classes: BTreeMap<IpAddr, u32>,
    sets: BTreeMap<u32, Set>,
    rows: BTreeMap<u32, Vec<Cell>>,
    of: BTreeMap<(usize, IpAddr, Direction), u32>,
}

impl Mirror {
    fn class(&self, address: IpAddr) -> u32 {
        self.classes.range(..=address).next_back().map_or(0, |(_, class)| *class)
    }

    fn hear(&mut self, change: &Change, tables: &Tables) {
        for (first, last, class) in &change.stretches {
            let crossing = last.is_ipv4().then_some(Ipv6Addr::UNSPECIFIED.into());
            let behind = thalweg_policy::ranges::next(*last).or(crossing);
            let behind = behind.map(|behind| (behind, self.class(behind)));
            self.classes.retain(|from, _| from < first || from > last);
            self.classes.insert(*first, *class);
            self.classes.extend(behind);
        }
        for (set, what) in &change.sets {
            let is_known = self.sets.contains_key(set);
            assert_eq!(*what != SetChange::New, is_known);
            match what {
                SetChange::Gone => drop(self.sets.remove(set)),
                _ => drop(self.sets.insert(*set, tables.sets[*set as usize].clone())),
            }
        }
        for row in &change.rows {
            let old = self.rows.insert(*row, tables.rows[*row as usize].clone());
            assert!(old.is_none(), "a row changed that was there");
        }
        for row in &change.rows_gone {
            assert!(self.rows.remove(row).is_some());
        }
        for (key, set) in &change.endpoints {
            match set {
                Some(set) => self.of.insert(*key, *set),
                None => self.of.remove(key),
            };
        }
    }

    fn check(&self, tables: &Tables, what: &str) {
        for (from, class) in tables.classes.iter() {
            assert_eq!(self.class(from), class, "{what}: {from}");
        }
        for from in self.classes.keys() {
            assert_eq!(self.class(*from), tables.classes.of(*from), "{what}: {from}");
        }
        for (number, set) in (0..).zip(&tables.sets) {
            let known = self.sets.get(&number).cloned().unwrap_or_default();
            assert_eq!(&known, set, "{what}: set {number}");
        }
        for (number, row) in (0..).zip(&tables.rows) {
            let known = self.rows.get(&number).cloned().unwrap_or_default();
            assert_eq!(&known, row, "{what}: row {number}");
        }
        assert_eq!(self.of, tables.assigned().collect::<BTreeMap<_, _>>(), "{what}");
    }
}

#[test]
fn after_any_history_tables_decide_as_from_nothing() {
    for seed in 0..histories() {
        let mut dice = Dice::new(seed ^ 0x4157);
        let mut history = History::default();
        let (objects, cluster) = gather(&arrivals_at_hosts(&mut dice));
        history.local = cluster.pods.keys().filter(|_| !dice.one_in(4)).cloned().collect();
        history.host = host(&mut dice);
        (history.objects, history.cluster) = (objects, cluster);
        let (mut compiler, mut mirror) = (Compiler::default(), Mirror::default());
        for step in 0..24 {
            let what = format!("seed {seed}, step {step}");
            compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
            mirror.hear(compiler.change(), compiler.tables());
            mirror.check(compiler.tables(), &what);
            history.check(&compiler, &mut dice, 8, &what);
            for _ in 0..1 + dice.below(3) {
                history.step(&mut dice);
            }
        }
        // Whatever came and went, nothing is left of it in the end.
        for _ in 0..2 {
            compiler.update(
                &Objects::default(),
                &Cluster::default(),
                &BTreeSet::new(),
                &ThisHost::default(),
            );
            mirror.hear(compiler.change(), compiler.tables());
            mirror.check(compiler.tables(), &format!("seed {seed}, end"));
        }
        compiler.update(
            &Objects::default(),
            &Cluster::default(),
            &BTreeSet::new(),
            &ThisHost::default(),
        );
        assert!(compiler.change().is_empty(), "seed {seed}: {:?}", compiler.change());
        let sizes = compiler.tables().sizes();
        assert_eq!((sizes.stretches, sizes.classes), (1, 1), "seed {seed}: {sizes:?}");
        assert_eq!((sizes.sets, sizes.rows, sizes.groups), (0, 0, 0), "seed {seed}: {sizes:?}");
    }
}

#[test]
fn objects_may_arrive_in_any_order_one_by_one() {
    for seed in 0..histories() / 2 {
        let mut dice = Dice::new(seed ^ 0x0dd);
        let mut all = arrivals_at_hosts(&mut dice);
        for at in (1..all.len()).rev() {
            all.swap(at, dice.below(at + 1));
        }
        let mut history = History::default();
        let mut compiler = Compiler::default();
        let arrives = dice.below(all.len());
        for (at, one) in all.iter().enumerate() {
            if let Arrival::Pod(name, _) = one {
                history.local.insert(name.clone());
            }
            if at == arrives {
                history.host = host(&mut dice);
            }
            history.set(one);
            if !dice.one_in(4) || at + 1 == all.len() {
                compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
            }
        }
        history.check(&compiler, &mut dice, 24, &format!("seed {seed}"));
    }
}

/// What somebody said of packets: set, direction and packet of each, with the verdict.
type Said = Vec<(u32, Direction, Packet, Verdict)>;

fn said(history: &History, compiler: &Compiler, dice: &mut Dice) -> Said {
    let resolution = history.resolve();
    let tables = compiler.tables();
    let keys: BTreeMap<_, _> = tables.assigned().collect();
    let mut all = Said::new();
    for ((_, own, direction), set) in keys {
        for _ in 0..16 {
            let packet = ask(dice, &resolution, own, direction);
            let decision = tables.decide_as(set, direction, &packet).unwrap();
            all.push((set, direction, packet, decision.verdict));
        }
    }
    for (_, kind, fork) in tables.forks() {
        for _ in 0..8 {
            let packet = hosts::packet_at(dice, &resolution, &history.host, kind.direction);
            let set = fork.set(tables.classes.of(hosts::own_side(kind.direction, &packet)));
            let decision = tables.decide_as(set, kind.direction, &packet).unwrap();
            all.push((set, kind.direction, packet, decision.verdict));
        }
    }
    all
}

#[test]
fn whoever_still_has_the_old_set_is_judged_as_before_while_rules_change() {
    let mut moved = 0;
    for seed in 0..histories() {
        let mut dice = Dice::new(seed ^ 0x01d);
        let mut history = History::default();
        (history.objects, history.cluster) = gather(&arrivals_at_hosts(&mut dice));
        history.local = history.cluster.pods.keys().cloned().collect();
        history.host = host(&mut dice);
        let mut compiler = Compiler::default();
        compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
        for step in 0..12 {
            let before = said(&history, &compiler, &mut dice);
            let all = arrivals(&mut Dice::new(dice.below(1 << 40) as u64));
            let rules = |one: &&Arrival| matches!(one, Arrival::Policy(..) | Arrival::Tier(..));
            let all: Vec<&Arrival> = all.iter().filter(rules).collect();
            let one = dice.of(&all);
            if dice.one_in(3) {
                history.remove(one)
            } else {
                history.set(one)
            };
            compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
            for (set, direction, packet, verdict) in before {
                let now = compiler.tables().decide_as(set, direction, &packet);
                let now = now.map(|decision| decision.verdict);
                assert_eq!(now, Some(verdict), "seed {seed}, step {step}: {packet:?} of {set}");
            }
            moved += compiler.change().endpoints.len();
        }
    }
    assert!(moved > 100, "{moved}");
}

#[test]
fn what_no_rule_tells_apart_changes_no_table() {
    let mut quiet = 0;
    for seed in 0..histories() {
        let mut dice = Dice::new(seed ^ 0x9e7);
        let mut history = History::default();
        (history.objects, history.cluster) = gather(&arrivals_at_hosts(&mut dice));
        history.local = history.cluster.pods.keys().cloned().collect();
        history.host = host(&mut dice);
        let mut compiler = Compiler::default();
        compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
        let names: Vec<ObjectName> = history.cluster.pods.keys().cloned().collect();
        let name = dice.of(&names);
        let pod = history.cluster.pods.get_mut(&name).unwrap();
        pod.labels.insert("of-no-rule".into(), "1".into());
        for namespace in ["a", "b", "c"] {
            if let Some(labels) = history.objects.namespaces.get_mut(namespace) {
                labels.insert("of-no-rule".into(), "1".into());
            }
        }
        compiler.update(&history.objects, &history.cluster, &history.local, &history.host);
        assert!(compiler.change().is_empty(), "seed {seed}: {:?}", compiler.change());
        quiet += 1;
    }
    assert!(quiet > 0);
}

#[test]
fn a_rule_for_many_addresses_moves_none_of_them_to_other_classes() {
    let pod = |at: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + 2 * at).into();
        let labels = [("app".to_owned(), format!("app-{}", at % 5))].into();
        (
            ObjectName::new("a", format!("p-{at}")),
            Pod { addresses: vec![address], labels, ..Pod::default() },
        )
    };
    let cluster = Cluster { pods: (0..50).map(pod).collect(), ..Cluster::default() };
    let policy = |nets: &[&str]| {
        let apps = (0..5).map(|app| Selector::is("app", format!("app-{app}")));
        let mut sources: Vec<Entity> =
            apps.map(|app| Entity { selector: Some(app), ..Entity::default() }).collect();
        let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
        sources.push(Entity { nets, ..Entity::default() });
        let rules = sources.into_iter().map(|source| Rule { source, ..Rule::default() });
        let spec = Policy {
            tier: "default".into(),
            applies_ingress: true,
            ingress: rules.collect(),
            ..Policy::default()
        };
        let id = PolicyId { kind: PolicyKind::Global, name: ObjectName::new("", "all") };
        let spec = Spec::Calico(Box::new(spec));
        let object = PolicyObject { origin: Origin::default(), staged: StagedAction::Set, spec };
        Objects { policies: [(id, object)].into_iter().collect(), ..Objects::default() }
    };
    let local = BTreeSet::from([ObjectName::new("a", "p-0")]);
    let mut compiler = Compiler::default();
    compiler.update(&policy(&["192.0.2.0/24"]), &cluster, &local, &ThisHost::default());
    compiler.update(
        &policy(&["192.0.2.0/24", "10.0.0.0/8"]),
        &cluster,
        &local,
        &ThisHost::default(),
    );
    // What is in the range and nobody's was of the class of all others.
    let change = compiler.change();
    let owned = |address: &IpAddr| cluster.pods.values().any(|pod| pod.addresses.contains(address));
    assert!(!change.stretches.is_empty() && change.classes_gone.is_empty());
    assert!(change.stretches.iter().all(|(first, last, _)| !owned(first) && !owned(last)));
    assert!(change.sets.values().filter(|what| **what == SetChange::New).count() == 1);
}

#[test]
fn a_port_that_gets_another_number_elsewhere_is_found_by_its_name() {
    let pod = |address: &str, port: u16| {
        let ports = vec![NamedPort { name: "web".into(), protocol: Protocol::Tcp, port }];
        Pod { addresses: vec![address.parse().unwrap()], ports, ..Pod::default() }
    };
    let destination = Entity { ports: vec![PortMatch::Named("web".into())], ..Entity::default() };
    let rule = Rule { protocol: Some(6), destination, ..Rule::default() };
    let spec = Policy {
        tier: "default".into(),
        applies_egress: true,
        egress: vec![rule],
        ..Policy::default()
    };
    let id = PolicyId { kind: PolicyKind::Global, name: ObjectName::new("", "all") };
    let spec = Spec::Calico(Box::new(spec));
    let object = PolicyObject { origin: Origin::default(), staged: StagedAction::Set, spec };
    let objects = Objects { policies: [(id, object)].into_iter().collect(), ..Objects::default() };
    let [own, other] = ["own", "other"].map(|name| ObjectName::new("a", name));
    let mut cluster = Cluster::default();
    cluster.pods.insert(own.clone(), pod("10.0.0.1", 80));
    let mut compiler = Compiler::default();
    for number in [8080, 9090, 80] {
        cluster.pods.insert(other.clone(), pod("10.0.0.2", number));
        compiler.update(&objects, &cluster, &BTreeSet::from([own.clone()]), &ThisHost::default());
        for port in [80, 8080, 9090] {
            let packet = Packet {
                source: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.2".parse().unwrap(),
                protocol: 6,
                ports: Some((40_000, port)),
                icmp: None,
            };
            let at = compiler.endpoint(&own).unwrap();
            let allows = compiler.tables().allows(at, Direction::Egress, &packet);
            assert_eq!(allows, port == number, "{port} while it is {number}");
        }
    }
}

#[test]
fn hosts_follow_the_nodes_and_profiles_that_they_have_labels_of() {
    let selector = Some(Selector::is("role", "db"));
    let destination = Entity { selector, ..Entity::default() };
    let spec = Policy {
        tier: "default".into(),
        applies_egress: true,
        egress: vec![Rule { destination, ..Rule::default() }],
        ..Policy::default()
    };
    let id = PolicyId { kind: PolicyKind::Global, name: ObjectName::new("", "all") };
    let spec = Spec::Calico(Box::new(spec));
    let object = PolicyObject { origin: Origin::default(), staged: StagedAction::Set, spec };
    let mut objects =
        Objects { policies: [(id, object)].into_iter().collect(), ..Objects::default() };
    let mut cluster = Cluster::default();
    let own = ObjectName::new("a", "own");
    let addresses = vec!["10.0.0.1".parse().unwrap()];
    cluster.pods.insert(own.clone(), Pod { addresses, ..Pod::default() });
    let mut compiler = Compiler::default();
    let mut meant = |objects: &Objects, cluster: &Cluster| {
        compiler.update(objects, cluster, &BTreeSet::from([own.clone()]), &ThisHost::default());
        let at = compiler.endpoint(&own).unwrap();
        ["192.0.2.1", "192.0.2.2"].map(|other| {
            let (source, destination) = ("10.0.0.1".parse().unwrap(), other.parse().unwrap());
            let packet = Packet { source, destination, protocol: 47, ports: None, icmp: None };
            compiler.tables().allows(at, Direction::Egress, &packet)
        })
    };
    let db = || BTreeMap::from([("role".to_owned(), "db".to_owned())]);
    let node = |address: &str| thalweg_model::cluster::Node {
        addresses: vec![address.parse().unwrap()],
        ..Default::default()
    };
    objects.settings.auto_hosts = true;
    cluster.nodes.insert("n1".into(), node("192.0.2.1"));
    assert_eq!(meant(&objects, &cluster), [false, false]);
    objects.nodes.insert("n1".into(), db());
    assert_eq!(meant(&objects, &cluster), [true, false], "labels of a node");
    cluster.nodes.insert("n1".into(), node("192.0.2.2"));
    assert_eq!(meant(&objects, &cluster), [false, true], "addresses of a node");
    objects.settings.auto_hosts = false;
    assert_eq!(meant(&objects, &cluster), [false, false], "the setting");
    let host = thalweg_policy::object::HostEndpoint {
        node: "n1".into(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        profiles: vec!["ours".into()],
        ..Default::default()
    };
    objects.hosts.insert("h".into(), host);
    assert_eq!(meant(&objects, &cluster), [false, false]);
    let profile = thalweg_policy::object::Profile { labels: db(), ..Default::default() };
    objects.profiles.insert("ours".into(), profile);
    assert_eq!(meant(&objects, &cluster), [true, false], "labels of a profile");
}
