//! What hosts say of packets that pass them, end or begin there, against what objects say literally.

use crate::oracle::{answer, each_world, logs, resolve, worlds};
use crate::random::{
    Dice, INTERFACES, NODES, address, arrivals_at_hosts, gather, packet, served_at_ports,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::Origin;
use thalweg_model::cluster::{Cluster, ObjectName};
use thalweg_oracle::policy::{Gate as AskedGate, Policies, Question, Said as Expected};
use thalweg_policy::decide::host::{Gate, Way};
use thalweg_policy::decide::{Cause, Decision, Logs, Verdict};
use thalweg_policy::model::{Direction, Stage};
use thalweg_policy::object::calico::{self, Action, Entity, Rule};
use thalweg_policy::object::kubernetes::PortMatch;
use thalweg_policy::object::{
    HostEndpoint, PolicyId, PolicyKind, PolicyObject, Spec, StagedAction,
};
use thalweg_policy::resolve::ChainKind;
use thalweg_policy::world::EndpointName;
use thalweg_policy::{Compiler, Model, Objects, Packet, Resolution, ThisHost, View, World};

/// Packets asked of each world.
const PACKETS: usize = 32;

/// Where a packet comes in or leaves, for both sides.
#[derive(Clone, Debug)]
pub enum Place {
    Network(&'static str, Vec<IpAddr>),
    Pod(ObjectName),
    Host,
}

impl Place {
    fn asked(&self) -> AskedGate<'_> {
        match self {
            Self::Network(name, addresses) => AskedGate::Network(name, addresses),
            Self::Pod(name) => AskedGate::Pod(name),
            Self::Host => AskedGate::Host,
        }
    }

    pub fn gate(&self, resolution: &Resolution, node: &str) -> Gate {
        match self {
            Self::Network(name, addresses) => {
                Gate::Network(resolution.world.host_at(node, name, addresses))
            }
            Self::Pod(name) => Gate::Pod(resolution.world.pod(name).unwrap()),
            Self::Host => Gate::Host,
        }
    }
}

/// A place with an address that is there.
pub fn place(dice: &mut Dice, resolution: &Resolution) -> (Place, IpAddr) {
    let any = address(dice);
    match dice.below(4) {
        0 => (Place::Host, any),
        1 => {
            let pods = resolution.world.endpoints.iter().filter(|one| !one.is_host());
            let pods: Vec<_> = pods.filter(|one| !one.addresses.is_empty()).collect();
            if pods.is_empty() {
                return (Place::Host, any);
            }
            let pod = dice.of(&pods);
            let EndpointName::Pod(name) = &pod.name else { unreachable!() };
            (Place::Pod(name.clone()), dice.of(&pod.addresses))
        }
        _ => {
            let name = dice.of(&[INTERFACES[0], INTERFACES[1], "eth2"]);
            let addresses = vec![address(dice), address(dice)];
            (Place::Network(name, addresses), any)
        }
    }
}

/// A host of a node.
pub fn host(dice: &mut Dice) -> ThisHost {
    let (node, address) = dice.of(&[NODES[0], NODES[0], NODES[0], NODES[1]]);
    ThisHost { node: Some(node.into()), addresses: own_addresses(dice, address) }
}

/// The address of a packet that a host takes for its own.
pub fn own_side(direction: Direction, packet: &Packet) -> IpAddr {
    match direction {
        Direction::Ingress => packet.destination,
        Direction::Egress => packet.source,
    }
}

/// A packet that a host may see, often of its own.
pub fn packet_at(
    dice: &mut Dice,
    resolution: &Resolution,
    host: &ThisHost,
    direction: Direction,
) -> Packet {
    let own: Vec<IpAddr> = host.addresses.iter().copied().collect();
    let served = served_at_ports(&resolution.world);
    let one = match dice.below(6) {
        0 | 1 if !own.is_empty() => dice.of(&own),
        2 => dice.of(&["0.0.0.0", "255.255.255.255", "::"]).parse().unwrap(),
        3 if !served.is_empty() => dice.of(&served).0,
        _ => address(dice),
    };
    let families = [address(dice), "10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let other = families.into_iter().find(|of| of.is_ipv4() == one.is_ipv4()).unwrap();
    let ends = if direction == Direction::Ingress { [other, one] } else { [one, other] };
    let packet = packet(dice, ends[0], ends[1]);
    match served.iter().find(|(address, ..)| *address == packet.destination) {
        Some((_, protocol, port)) if dice.one_in(2) => {
            let ports = Some((dice.below(7) as u16, *port));
            Packet { protocol: *protocol, ports, icmp: None, ..packet }
        }
        _ => packet,
    }
}

/// Holds what tables say of one packet against what a host endpoint says at a stage. Returns what that was,
/// if anything.
pub fn holds(
    dice: &mut Dice,
    (resolution, at): (&Resolution, usize),
    (compiler, number): (&Compiler, usize),
    host: &ThisHost,
    kind: ChainKind,
    what: &str,
) -> Option<Cause> {
    let packet = packet_at(dice, resolution, host, kind.direction);
    let own = host.is_own(own_side(kind.direction, &packet));
    let mut steps = Vec::new();
    let expected = resolution.at_stage(at, kind, own, &packet, &mut |step| steps.push(step));
    let expected = expected.unwrap();
    let passed = resolution.logs(kind.direction, &steps);
    let Some(found) = compiler.tables().ask(number, kind, &packet) else {
        // There is no fork where nothing is ever said.
        assert_ne!(expected.verdict, Verdict::Deny, "{what}: {packet:?} {kind:?}");
        assert_eq!(expected.cause, Cause::NoPolicy, "{what}: {packet:?} {kind:?}");
        assert!(passed.is_empty(), "{what}: {packet:?} {kind:?}");
        return None;
    };
    let told = |of: &Resolution, one: Decision, passed: &Logs| {
        let said = answer(of, one, kind.direction);
        (one.verdict, said, logs(of, passed, kind.direction))
    };
    assert_eq!(
        told(compiler.resolution(), found.decision, &found.logs),
        told(resolution, expected, &passed),
        "{what}: {packet:?} {kind:?} of {}\n{resolution}",
        resolution.world.endpoints[at].name
    );
    Some(expected.cause)
}

/// Holds tables of a host against what they are made of.
fn tables(
    dice: &mut Dice,
    (objects, cluster): (&Objects, &Cluster),
    resolution: &Resolution,
    counts: &mut Counts,
) {
    let mut compiler = Compiler::default();
    let host = host(dice);
    compiler.update(objects, cluster, &Default::default(), &host);
    let numbers: BTreeMap<String, usize> = compiler
        .tables()
        .forks()
        .map(|(number, ..)| (format!("host {}", compiler.host(number).unwrap()), number))
        .collect();
    for (at, endpoint) in resolution.world.endpoints.iter().enumerate() {
        if !endpoint.is_host() || endpoint.node != host.node {
            continue;
        }
        let number = numbers[&endpoint.name.to_string()];
        for kind in ChainKind::of_hosts() {
            for _ in 0..PACKETS / 4 {
                let (resolution, compiler) = ((resolution, at), (&compiler, number));
                let cause = holds(dice, resolution, compiler, &host, kind, "from nothing");
                let is_rule = matches!(cause, Some(Cause::Rule { .. }));
                *counts.rules.entry(kind).or_default() += usize::from(is_rule);
            }
        }
    }
    let by_class = compiler.tables().forks().filter(|(.., fork)| !fork.by_class().is_empty());
    for (_, kind, _) in by_class {
        *counts.forks.entry(kind).or_default() += 1;
    }
}

/// Addresses of a node: the first, and others that are somebody else's in other worlds.
pub fn own_addresses(dice: &mut Dice, first: &str) -> BTreeSet<IpAddr> {
    let others = (0..dice.below(6)).map(|_| address(dice));
    others.chain([first.parse().unwrap()]).collect()
}

fn question(packet: &Packet) -> Question {
    let Packet { source, destination, protocol, ports, icmp } = *packet;
    Question { source, destination, protocol, ports, icmp }
}

/// How often what was seen.
#[derive(Default)]
pub struct Counts {
    asked: usize,
    seen: BTreeMap<&'static str, usize>,
    /// How often rules decided, by tables.
    rules: BTreeMap<ChainKind, usize>,
    /// How often the own side mattered.
    forks: BTreeMap<ChainKind, usize>,
}

/// Holds one world against the oracle.
pub fn hosts(dice: &mut Dice, counts: &mut Counts) {
    let all = arrivals_at_hosts(dice);
    let (objects, cluster) = gather(&all);
    let resolution = resolve(&all);
    let oracle = Policies::new(&objects, &cluster);
    for _ in 0..PACKETS {
        let (node, address_of_node) = dice.of(&[NODES[0], NODES[0], NODES[1], NODES[2]]);
        let own = own_addresses(dice, address_of_node);
        let [(from, source), (to, destination)] = [(); 2].map(|()| place(dice, &resolution));
        if source.is_ipv4() != destination.is_ipv4() {
            continue;
        }
        let after = packet(dice, source, destination);
        // A service is translated: another destination, and another port.
        let mut arrived = after;
        if dice.one_in(3) {
            let other = address(dice);
            if other.is_ipv4() == source.is_ipv4() {
                let port = dice.below(7) as u16;
                arrived.destination = other;
                arrived.ports = after.ports.map(|(from, _)| (from, port));
            }
        }
        let way = Way {
            from: from.gate(&resolution, node),
            to: to.gate(&resolution, node),
            all: resolution.world.host_of_all(node),
            own: &own,
        };
        let (passing, steps) = resolution.trace_pass(&way, &arrived, &after);
        assert_eq!(passing, resolution.pass(&way, &arrived, &after));
        let last = passing.said.len();
        let logged = passing.said.iter().zip(&steps).flat_map(|(said, steps)| {
            let passed = resolution.logs(said.direction, steps);
            logs(&resolution, &passed, said.direction)
        });
        let logged: Vec<_> = logged.collect();
        let found = passing.said.iter().zip(1..).map(|(said, at)| Expected {
            who: resolution.world.endpoints[said.endpoint].name.to_string(),
            ingress: said.direction == Direction::Ingress,
            answer: answer(&resolution, said.decision, said.direction),
            untracked: passing.untracked && at == last,
        });
        let found: Vec<Expected> = found.collect();
        let gates = [from.asked(), to.asked()];
        let expected = oracle.pass((node, &own), gates, &question(&arrived), &question(&after));
        assert_eq!(
            found, expected,
            "{arrived:?} as {after:?} at {node} from {from:?} to {to:?}\n{objects:#?}\n{resolution}"
        );
        assert_eq!(logged, oracle.take_logs(), "{arrived:?} as {after:?} at {node}\n{resolution}");
        *counts.seen.entry("logged").or_default() += usize::from(!logged.is_empty());
        let denied = expected.last().is_some_and(|said| !said.answer.allowed);
        assert_eq!(passing.is_allowed(), !denied);
        counts.asked += 1;
        for said in &passing.said {
            *counts.seen.entry(word(&resolution, said.decision.cause)).or_default() += 1;
        }
        *counts.seen.entry("last word").or_default() += usize::from(passing.untracked);
    }
    tables(dice, (&objects, &cluster), &resolution, counts);
}

#[test]
fn hosts_decide_as_the_objects_say() {
    let mut counts = Counts::default();
    each_world(0x4057, |dice| hosts(dice, &mut counts));
    // Worlds in which nothing happens prove nothing.
    let Counts { asked, seen, rules, forks } = counts;
    for kind in ChainKind::of_hosts() {
        let [rules, forks] = [&rules, &forks].map(|all| all.get(&kind).copied().unwrap_or(0));
        assert!(
            rules as u64 > worlds() / 10 && forks as u64 > worlds() / 50,
            "{kind:?}: {rules}, {forks}"
        );
    }
    let rare = ["profile rule", "untracked", "before translation", "forwarded", "fail-safe"];
    for word in rare.into_iter().chain(["rule", "last word", "to host", "logged"]) {
        let count = seen.get(word).copied().unwrap_or_default();
        assert!(count * 1_000 > asked, "{word}: {count} of {asked}; {seen:?}");
    }
}

fn word(resolution: &Resolution, cause: Cause) -> &'static str {
    match cause {
        Cause::Rule { policy, .. } => {
            let policy = &resolution.policies[policy].policy;
            match policy.stage {
                Stage::Untracked => "untracked",
                Stage::PreDnat => "before translation",
                Stage::Normal if policy.forwarded => "forwarded",
                Stage::Normal if policy.id.to_string().starts_with("Profile") => "profile rule",
                Stage::Normal => "rule",
            }
        }
        Cause::EndOfTier(_) => "end",
        Cause::Profile => "profile",
        Cause::NoPolicy => "nobody",
        Cause::Itself => "itself",
        Cause::OwnNode => "own node",
        Cause::FailSafe => "fail-safe",
        Cause::ToHost => "to host",
    }
}

#[test]
fn hosts_stand_for_interfaces_as_the_objects_say() {
    for seed in 0..worlds() / 4 {
        let mut dice = Dice::new(seed ^ 0x1f);
        let all = arrivals_at_hosts(&mut dice);
        let (objects, cluster) = gather(&all);
        let resolution = resolve(&all);
        let oracle = Policies::new(&objects, &cluster);
        for (node, _) in NODES {
            for interface in [INTERFACES[0], INTERFACES[1], "eth2", "*"] {
                let addresses = [address(&mut dice), address(&mut dice)];
                let found = resolution.world.host_at(node, interface, &addresses);
                let found = found.map(|at| resolution.world.endpoints[at].name.to_string());
                let expected = oracle.stands_for(node, interface, &addresses);
                assert_eq!(found, expected.map(|name| format!("host {name}")), "seed {seed}");
            }
        }
    }
}

/// What becomes of a packet to TCP ports of `10.0.0.1`, from the network, by the gate where it goes.
fn passes(objects: &Objects, to: Gate, port: u16) -> bool {
    let cluster = Cluster::default();
    let world = World::new(objects, &cluster, |_| Origin::default());
    let resolution = Resolution::new(world, Model::new(objects, View::Enforced));
    let [source, destination] = ["192.0.2.9", "10.0.0.1"].map(|text| text.parse().unwrap());
    let ports = Some((40_000, port));
    let packet = Packet { source, destination, protocol: 6, ports, icmp: None };
    let host = resolution.world.host_at("n1", "eth0", &[]);
    let own = BTreeSet::from([destination]);
    let way = Way { from: Gate::Network(host), to, all: None, own: &own };
    resolution.pass(&way, &packet, &packet).is_allowed()
}

#[test]
fn a_host_endpoint_denies_what_ends_there_and_nothing_else() {
    let mut objects = Objects::default();
    assert!(passes(&objects, Gate::Host, 80));
    let host = HostEndpoint {
        node: "n1".into(),
        interface: Some("eth0".into()),
        labels: [("role".to_owned(), "edge".to_owned())].into(),
        ..HostEndpoint::default()
    };
    objects.hosts.insert("h".into(), host.clone());
    assert!(!passes(&objects, Gate::Host, 80));
    assert!(passes(&objects, Gate::Host, 22));
    assert!(passes(&objects, Gate::Network(None), 80));
    objects.settings.fail_safe_in.clear();
    assert!(!passes(&objects, Gate::Host, 22));
    let profiles = vec!["projectcalico-default-allow".into()];
    objects.hosts.insert("h".into(), HostEndpoint { profiles, ..host });
    assert!(passes(&objects, Gate::Host, 80));
    // A policy that is not about what passes changes nothing there; one that is denies what it does
    // not allow.
    let policy = |forward| {
        let id = PolicyId { kind: PolicyKind::Global, name: ObjectName::new("", "p") };
        let rule = Rule {
            action: Action::Allow,
            protocol: Some(6),
            destination: Entity { ports: vec![PortMatch::Range(80, 80)], ..Entity::default() },
            ..Rule::default()
        };
        let spec = calico::Policy {
            tier: "default".into(),
            applies_ingress: true,
            ingress: vec![rule],
            apply_on_forward: forward,
            ..calico::Policy::default()
        };
        let spec = Spec::Calico(Box::new(spec));
        let (origin, staged) = (Origin::default(), StagedAction::default());
        (id, PolicyObject { origin, staged, spec })
    };
    for (forward, other_port_passes) in [(false, true), (true, false)] {
        let (id, object) = policy(forward);
        objects.policies.insert(id, object);
        assert!(passes(&objects, Gate::Host, 80));
        assert!(!passes(&objects, Gate::Host, 81));
        assert!(passes(&objects, Gate::Network(None), 80));
        assert_eq!(passes(&objects, Gate::Network(None), 81), other_port_passes);
    }
}
