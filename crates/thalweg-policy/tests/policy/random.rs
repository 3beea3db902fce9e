//! Random worlds, small enough that everything meets everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::cluster::{
    Cluster, Endpoint, EndpointPort, EndpointSlice, Family, NamedPort, Node, ObjectName, Pod,
    Protocol,
};
use thalweg_model::policy::{PolicySettings, ToHost};
use thalweg_policy::object::calico::{self, Accounts, Action, Entity, Icmp};
use thalweg_policy::object::kubernetes::{
    self as k8s, ClusterAction, ClusterPeer, ClusterPort, ClusterRule, LabelSelector, Operator,
    Peer, PodsOf, PortMatch, Requirement,
};
use thalweg_policy::object::{
    EndAction, HostEndpoint, NetworkSet, Objects, PolicyId, PolicyKind, PolicyObject, Profile,
    Spec, StagedAction, Tier,
};
use thalweg_policy::selector::Term;
use thalweg_policy::{Packet, Selector, World};

/// Numbers that are the same for the same seed (splitmix64), once octets that were given are used up.
#[derive(Clone)]
pub struct Dice(u64, Vec<u8>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635, Vec::new())
    }

    /// Numbers that octets choose.
    pub fn chosen(octets: &[u8]) -> Self {
        Self(Self::new(octets.len() as u64).0, octets.iter().rev().copied().collect())
    }

    pub fn below(&mut self, end: usize) -> usize {
        if let Some(octet) = self.1.pop() {
            return usize::from(octet) % end;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// Whether one of so many comes up.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// One of several with its place, if there is any.
    pub fn some_of<'a, T>(&mut self, all: &'a [T]) -> Option<(usize, &'a T)> {
        let at = (!all.is_empty()).then(|| self.below(all.len()))?;
        Some((at, &all[at]))
    }

    fn some<T>(&mut self, one_in: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(one_in).then(|| make(self))
    }

    fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 3] = ["x", "y", "in"];
const VALUES: [&str; 3] = ["1", "2", "12"];
const PORTS: [&str; 2] = ["web", "dns"];

pub fn address(dice: &mut Dice) -> IpAddr {
    let last = dice.below(12);
    let text = match dice.below(5) {
        0 => format!("fd00::{last}"),
        1 => format!("192.0.2.{last}"),
        _ => format!("10.0.0.{last}"),
    };
    text.parse().unwrap()
}

fn prefix(dice: &mut Dice) -> Prefix {
    let address = address(dice);
    let width = if address.is_ipv4() { 32 } else { 128 };
    let len = match dice.below(6) {
        0 => 0,
        1 => width - 8,
        2 => width,
        _ => width - dice.below(4) as u8,
    };
    Prefix::containing(address, len)
}

pub fn labels(dice: &mut Dice) -> BTreeMap<String, String> {
    dice.list(3, |dice| (dice.of(&KEYS).to_owned(), dice.of(&VALUES).to_owned()))
        .into_iter()
        .collect()
}

/// A selector; `global` may be among it where namespaces are selected.
pub fn selector(dice: &mut Dice, depth: usize, namespaces: bool) -> Selector {
    let set = |dice: &mut Dice| -> BTreeSet<String> {
        dice.list(2, |dice| dice.of(&VALUES).to_owned()).into_iter().collect()
    };
    let mut keys = KEYS.to_vec();
    if !namespaces {
        keys.extend(["pcns.x", "pcsa.y", "projectcalico.org/namespace"]);
    }
    let key = dice.of(&keys).to_owned();
    let value = dice.of(&VALUES).to_owned();
    let parts = |dice: &mut Dice| {
        let first = selector(dice, depth - 1, namespaces);
        vec![first, selector(dice, depth - 1, namespaces)]
    };
    match dice.below(if depth == 0 { 11 } else { 15 }) {
        0 => Selector::all(),
        1 => Selector::has(key),
        2 | 3 => Selector::is(key, value),
        4 => Term::IsNot(key, value).into(),
        5 => Term::Contains(key, value).into(),
        6 => Term::StartsWith(key, value).into(),
        7 => Term::EndsWith(key, value).into(),
        8 => Term::In(key, set(dice)).into(),
        9 => Term::NotIn(key, set(dice)).into(),
        10 if namespaces => Term::Global.into(),
        10 => Selector::is("x", "1"),
        11 => Term::And(parts(dice)).into(),
        12 => Term::Or(parts(dice)).into(),
        _ => selector(dice, depth - 1, namespaces).negated(),
    }
}

fn label_selector(dice: &mut Dice) -> LabelSelector {
    let requirement = |dice: &mut Dice| {
        let operator =
            dice.of(&[Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist]);
        let values = dice.list(2, |dice| dice.of(&VALUES).to_owned());
        Requirement { key: dice.of(&KEYS).into(), operator, values: values.into_iter().collect() }
    };
    LabelSelector {
        labels: dice.some(3, labels).unwrap_or_default(),
        expressions: dice.some(4, |dice| vec![requirement(dice)]).unwrap_or_default(),
    }
}

fn port(dice: &mut Dice) -> PortMatch {
    match dice.below(3) {
        0 => PortMatch::Named(dice.of(&PORTS).into()),
        _ => {
            let first = dice.below(6) as u16;
            PortMatch::Range(first, first + dice.below(3) as u16)
        }
    }
}

fn protocol(dice: &mut Dice) -> Protocol {
    dice.of(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn name(dice: &mut Dice) -> ObjectName {
    ObjectName::new(dice.of(&NAMESPACES), dice.of(&["one", "two", "three"]))
}

fn network_policy(dice: &mut Dice) -> k8s::NetworkPolicy {
    let peer = |dice: &mut Dice| match dice.below(3) {
        0 => {
            let cidr = prefix(dice);
            let mut except = dice.list(2, prefix);
            except.retain(|one| one.is_v4() == cidr.is_v4());
            Peer::Block { cidr, except }
        }
        _ => Peer::Pods {
            namespaces: dice.some(2, label_selector),
            pods: dice.some(2, label_selector),
        },
    };
    let port =
        |dice: &mut Dice| k8s::Port { protocol: protocol(dice), port: dice.some(2, self::port) };
    let rule = |dice: &mut Dice| k8s::Rule {
        peers: dice.list(2, peer),
        ports: dice.list(2, port),
        left_out: dice.one_in(9),
        ..k8s::Rule::default()
    };
    k8s::NetworkPolicy {
        pods: label_selector(dice),
        isolates_ingress: !dice.one_in(4),
        isolates_egress: dice.one_in(2),
        ingress: dice.list(3, rule),
        egress: dice.list(3, rule),
    }
}

fn cluster_policy(dice: &mut Dice) -> k8s::ClusterNetworkPolicy {
    let pods_of =
        |dice: &mut Dice| PodsOf { namespaces: label_selector(dice), pods: label_selector(dice) };
    let peer = |dice: &mut Dice| match dice.below(12) {
        0 => ClusterPeer::Unknown,
        8 => ClusterPeer::Domains(vec!["example.org".into()]),
        9 | 10 => ClusterPeer::Nodes(label_selector(dice)),
        1 | 2 => ClusterPeer::Networks(vec![prefix(dice), prefix(dice)]),
        _ => ClusterPeer::Pods(pods_of(dice)),
    };
    let port = |dice: &mut Dice| match dice.below(3) {
        0 => ClusterPort::Named(dice.of(&PORTS).into()),
        1 => ClusterPort::Of(protocol(dice), None),
        _ => ClusterPort::Of(protocol(dice), Some((1, 1 + dice.below(4) as u16))),
    };
    let rule = |dice: &mut Dice| {
        let action = dice.of(&[ClusterAction::Accept, ClusterAction::Deny, ClusterAction::Pass]);
        let mut peers = vec![peer(dice)];
        peers.extend(dice.list(1, peer));
        let ports = dice.list(2, port);
        ClusterRule { place: Default::default(), name: String::new(), action, peers, ports }
    };
    k8s::ClusterNetworkPolicy {
        baseline: dice.one_in(2),
        priority: dice.below(3) as u32,
        subject: pods_of(dice),
        ingress: dice.list(2, rule),
        egress: dice.list(2, rule),
    }
}

fn entity(dice: &mut Dice, ports: bool) -> Entity {
    let mut side = Entity::default();
    match dice.below(4) {
        0 => {}
        1 => {
            side.nets = dice.list(2, prefix);
            side.not_nets = dice.list(1, prefix);
        }
        // Most have a slice.
        2 => side.service = Some(ObjectName::new(dice.of(&NAMESPACES), dice.of(&["one", "two"]))),
        _ => {
            side.selector = dice.some(2, |dice| selector(dice, 2, false));
            side.not_selector = dice.some(4, |dice| selector(dice, 1, false));
            // What `all()` and `global()` of namespaces mean shows at sets and hosts alone.
            side.namespaces = dice.some(3, |dice| match dice.below(4) {
                0 => Selector::all(),
                1 => Term::Global.into(),
                _ => selector(dice, 1, true),
            });
            side.accounts = dice.some(6, |dice| Accounts {
                names: dice.list(2, |dice| dice.of(&["default", "robot"]).to_owned()),
                selector: dice.some(2, |dice| selector(dice, 1, true)),
            });
            // `global()` belongs to namespaces alone.
            if let Some(accounts) = &mut side.accounts {
                accounts.selector = accounts.selector.take().filter(|of| !of.mentions_global());
            }
        }
    }
    if ports {
        side.ports = dice.list(2, port);
        side.not_ports = dice.some(4, |dice| vec![port(dice)]).unwrap_or_default();
    }
    side
}

fn calico_rule(dice: &mut Dice) -> calico::Rule {
    let protocol = dice.of(&[None, None, Some(6), Some(6), Some(17), Some(132), Some(1), Some(58)]);
    let ports = matches!(protocol, Some(6 | 17 | 132));
    let icmp = |dice: &mut Dice| {
        let kind = dice.below(3) as u8;
        Icmp { kind: Some(kind), code: dice.some(2, |dice| dice.below(2) as u8) }
    };
    let is_icmp = matches!(protocol, Some(1 | 58));
    let few = dice.one_in(8);
    calico::Rule {
        place: Default::default(),
        action: dice.of(&[Action::Allow, Action::Allow, Action::Deny, Action::Log, Action::Pass]),
        family: dice.some(6, |dice| dice.of(&[Family::V4, Family::V6])),
        protocol,
        not_protocol: dice.some(6, |dice| dice.of(&[6, 17, 1])),
        icmp: if is_icmp { dice.some(2, icmp) } else { None },
        not_icmp: if is_icmp { dice.some(3, icmp) } else { None },
        source: entity(dice, ports && few),
        destination: entity(dice, ports),
        left_out: dice.one_in(9),
    }
}

fn calico_policy(dice: &mut Dice, global: bool) -> calico::Policy {
    let stage = if global { dice.below(8) } else { 9 };
    calico::Policy {
        tier: dice.of(&["default", "default", "early", "early", "late", "open", "missing"]).into(),
        order: dice.some(2, |dice| dice.of(&[1.0, 1000.0, -5.5])),
        selector: dice.some(2, |dice| selector(dice, 2, false)).unwrap_or_default(),
        namespaces: if global { dice.some(3, |dice| selector(dice, 1, true)) } else { None },
        accounts: dice.some(6, |dice| match dice.one_in(2) {
            true => Selector::is("y", "1"),
            false => Selector::all(),
        }),
        applies_ingress: !dice.one_in(3),
        applies_egress: dice.one_in(2),
        ingress: dice.list(4, calico_rule),
        egress: dice.list(4, calico_rule),
        do_not_track: stage == 0,
        pre_dnat: stage == 1,
        apply_on_forward: stage < 3,
    }
}

fn policy(dice: &mut Dice) -> (PolicyId, PolicyObject) {
    let mut named = name(dice);
    let (kind, spec) = match dice.below(9) {
        0..3 => (PolicyKind::Kubernetes, Spec::Kubernetes(network_policy(dice))),
        3 => (PolicyKind::Cluster, Spec::Cluster(cluster_policy(dice))),
        4..6 => (PolicyKind::Global, Spec::Calico(Box::new(calico_policy(dice, true)))),
        6..8 => (PolicyKind::Calico, Spec::Calico(Box::new(calico_policy(dice, false)))),
        _ => (PolicyKind::StagedCalico, Spec::Calico(Box::new(calico_policy(dice, false)))),
    };
    if matches!(kind, PolicyKind::Cluster | PolicyKind::Global) {
        named.namespace.clear();
    }
    let id = PolicyId { kind, name: named };
    (id, PolicyObject { origin: Default::default(), staged: StagedAction::Set, spec })
}

fn pod(dice: &mut Dice) -> Pod {
    let port = |dice: &mut Dice| NamedPort {
        name: dice.of(&PORTS).into(),
        protocol: protocol(dice),
        port: dice.below(6) as u16,
    };
    Pod {
        addresses: dice.list(2, address),
        labels: labels(dice),
        node: dice.some(2, |_| "n1".into()),
        host_network: dice.one_in(10),
        service_account: dice.some(3, |_| "robot".into()),
        ports: dice.list(2, port),
        ..Pod::default()
    }
}

fn slice(dice: &mut Dice) -> EndpointSlice {
    let endpoint = |dice: &mut Dice| Endpoint {
        addresses: (0..=dice.below(4) / 3).map(|_| address(dice)).collect(),
        ready: !dice.one_in(4),
        serving: true,
        terminating: false,
        node: None,
        zone: None,
        for_zones: Default::default(),
        for_nodes: Default::default(),
        weight: 1,
    };
    let port = |dice: &mut Dice| EndpointPort {
        name: String::new(),
        protocol: protocol(dice),
        port: dice.below(6) as u16,
    };
    EndpointSlice {
        service: dice.of(&["one", "two"]).into(),
        family: Family::V4,
        ports: dice.list(2, port),
        endpoints: dice.list(4, endpoint),
    }
}

/// Who serves anything at a port.
pub fn served_at_ports(world: &World) -> Vec<(IpAddr, u8, u16)> {
    let all = world.services.values().flatten();
    all.filter(|(_, protocol, _)| *protocol != 0).copied().collect()
}

/// Nodes with their addresses.
pub const NODES: [(&str, &str); 3] = [("n1", "192.0.2.1"), ("n2", "192.0.2.2"), ("n3", "10.0.0.3")];
/// Interfaces that host endpoints may name.
pub const INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// A rule that is about much.
fn loose_rule(dice: &mut Dice) -> calico::Rule {
    let mut rule = calico_rule(dice);
    rule.icmp = None;
    rule.not_protocol = None;
    for side in [&mut rule.source, &mut rule.destination] {
        if !dice.one_in(4) {
            *side = Entity { ports: std::mem::take(&mut side.ports), ..Entity::default() };
        }
    }
    rule
}

/// A random world with more policies about hosts.
pub fn arrivals_at_hosts(dice: &mut Dice) -> Vec<Arrival> {
    let mut all = arrivals(dice);
    for at in 0..1 + dice.below(5) {
        let mut policy = calico_policy(dice, true);
        let stage = dice.below(4);
        (policy.do_not_track, policy.pre_dnat) = (stage == 0, stage == 1);
        policy.apply_on_forward = stage < 3;
        policy.tier = dice.of(&["default", "early", "open"]).into();
        policy.namespaces = None;
        // Hosts have no account: this is about none of them.
        policy.accounts = dice.one_in(6).then(Selector::all);
        if !dice.one_in(3) {
            policy.selector = Selector::all();
        }
        policy.ingress = dice.list(3, loose_rule);
        policy.egress = dice.list(3, loose_rule);
        let name = ObjectName::new("", format!("of-hosts-{at}"));
        let id = PolicyId { kind: PolicyKind::Global, name };
        let spec = Spec::Calico(Box::new(policy));
        let object = PolicyObject { origin: Default::default(), staged: Default::default(), spec };
        all.push(Arrival::Policy(id, object));
    }
    all
}

fn host(dice: &mut Dice) -> HostEndpoint {
    let profiles = [
        "mine",
        "mine",
        "ours",
        "ours",
        "kns.a",
        "kns.b",
        "ksa.a.robot",
        "missing",
        "projectcalico-default-allow",
    ];
    let port = |dice: &mut Dice| NamedPort {
        name: dice.of(&PORTS).into(),
        protocol: protocol(dice),
        port: dice.below(6) as u16,
    };
    HostEndpoint {
        labels: labels(dice),
        node: dice.of(&["n1", "n1", "n2"]).into(),
        interface: dice.of(&[None, Some("*"), Some("eth0"), Some("eth1")]).map(Into::into),
        addresses: dice.list(2, address),
        profiles: dice.list(3, |dice| dice.of(&profiles).to_owned()),
        ports: dice.list(1, port),
        ..HostEndpoint::default()
    }
}

fn settings(dice: &mut Dice) -> PolicySettings {
    let port = |dice: &mut Dice| (protocol(dice), dice.below(6) as u16);
    PolicySettings {
        rejects: false,
        fail_safe_in: dice.list(2, port),
        fail_safe_out: dice.list(2, port),
        to_host: dice.of(&[ToHost::Accept, ToHost::Drop, ToHost::Return, ToHost::Return]),
        auto_hosts: dice.one_in(2),
    }
}

/// Objects one by one, in the order in which they arrive.
#[derive(Clone)]
pub enum Arrival {
    Policy(PolicyId, PolicyObject),
    Tier(String, Tier),
    Set(ObjectName, NetworkSet),
    Host(String, HostEndpoint),
    Profile(String, Profile),
    Settings(PolicySettings),
    Namespace(String, BTreeMap<String, String>),
    Account(ObjectName, BTreeMap<String, String>),
    Pod(ObjectName, Pod),
    Node(String, Node, BTreeMap<String, String>),
    Slice(ObjectName, EndpointSlice),
}

/// A random world.
pub fn arrivals(dice: &mut Dice) -> Vec<Arrival> {
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..1 + dice.below(9) {
        let (id, object) = policy(dice);
        if seen.insert(id.clone()) {
            all.push(Arrival::Policy(id, object));
        }
    }
    for (name, order) in [("early", Some(5.0)), ("late", None), ("open", Some(2e6))] {
        let end = dice.of(&[EndAction::Deny, EndAction::Pass]);
        all.push(Arrival::Tier(name.into(), Tier { order, end, ..Tier::default() }));
    }
    for name in ["s1", "s2"] {
        let set =
            NetworkSet { labels: labels(dice), nets: dice.list(3, prefix), ..Default::default() };
        let namespace = dice.of(&["", "a", "b"]);
        all.push(Arrival::Set(ObjectName::new(namespace, name), set));
    }
    for name in ["h1", "h2", "h3"] {
        if !dice.one_in(3) {
            all.push(Arrival::Host(name.into(), host(dice)));
        }
    }
    for name in ["mine", "ours"] {
        if !dice.one_in(4) {
            let profile = Profile {
                labels: labels(dice),
                ingress: dice.list(3, loose_rule),
                egress: dice.list(3, loose_rule),
                ..Profile::default()
            };
            all.push(Arrival::Profile(name.into(), profile));
        }
    }
    all.push(Arrival::Settings(settings(dice)));
    for name in NAMESPACES {
        if !dice.one_in(5) {
            all.push(Arrival::Namespace(name.into(), labels(dice)));
        }
        all.push(Arrival::Account(ObjectName::new(name, "robot"), labels(dice)));
        for pod_name in ["p", "q"] {
            all.push(Arrival::Pod(ObjectName::new(name, pod_name), pod(dice)));
        }
        all.push(Arrival::Slice(ObjectName::new(name, "s"), slice(dice)));
    }
    for (name, address) in NODES {
        let node = Node { addresses: vec![address.parse().unwrap()], ..Node::default() };
        all.push(Arrival::Node(name.into(), node, labels(dice)));
    }
    all
}

impl Arrival {
    /// What tells objects apart.
    pub fn key(&self) -> String {
        match self {
            Self::Policy(id, _) => format!("policy {id}"),
            Self::Tier(name, _) => format!("tier {name}"),
            Self::Set(name, _) => format!("set {name}"),
            Self::Host(name, _) => format!("host {name}"),
            Self::Profile(name, _) => format!("profile {name}"),
            Self::Settings(_) => "settings".into(),
            Self::Namespace(name, _) => format!("namespace {name}"),
            Self::Account(name, _) => format!("account {name}"),
            Self::Pod(name, _) => format!("pod {name}"),
            Self::Node(name, ..) => format!("node {name}"),
            Self::Slice(name, _) => format!("slice {name}"),
        }
    }

    /// It comes, or takes the place of what has its name.
    pub fn comes(&self, objects: &mut Objects, cluster: &mut Cluster) {
        match self {
            Self::Policy(id, object) => objects.policies.insert(id.clone(), object.clone()),
            Self::Tier(name, tier) => objects.tiers.insert(name.clone(), tier.clone()),
            Self::Set(name, set) => objects.sets.insert(name.clone(), set.clone()),
            Self::Host(name, host) => objects.hosts.insert(name.clone(), host.clone()),
            Self::Profile(name, one) => objects.profiles.insert(name.clone(), one.clone()),
            Self::Settings(settings) => objects.settings = settings.clone(),
            Self::Namespace(name, of) => objects.namespaces.insert(name.clone(), of.clone()),
            Self::Account(name, of) => objects.accounts.insert(name.clone(), of.clone()),
            Self::Pod(name, pod) => cluster.pods.insert(name.clone(), pod.clone()),
            Self::Node(name, node, labels) => {
                cluster.nodes.insert(name.clone(), node.clone());
                objects.nodes.insert(name.clone(), labels.clone());
            }
            Self::Slice(name, slice) => cluster.slices.insert(name.clone(), slice.clone()),
        }
    }

    /// It goes.
    pub fn goes(&self, objects: &mut Objects, cluster: &mut Cluster) {
        match self {
            Self::Policy(id, _) => drop(objects.policies.remove(id)),
            Self::Tier(name, _) => drop(objects.tiers.remove(name)),
            Self::Set(name, _) => drop(objects.sets.remove(name)),
            Self::Host(name, _) => drop(objects.hosts.remove(name)),
            Self::Profile(name, _) => drop(objects.profiles.remove(name)),
            Self::Settings(_) => objects.settings = PolicySettings::default(),
            Self::Namespace(name, _) => drop(objects.namespaces.remove(name)),
            Self::Account(name, _) => drop(objects.accounts.remove(name)),
            Self::Pod(name, _) => drop(cluster.pods.remove(name)),
            Self::Node(name, ..) => {
                cluster.nodes.remove(name);
                objects.nodes.remove(name);
            }
            Self::Slice(name, _) => drop(cluster.slices.remove(name)),
        }
    }
}

/// What arrived.
pub fn gather(arrivals: &[Arrival]) -> (Objects, Cluster) {
    let (mut objects, mut cluster) = (Objects::default(), Cluster::default());
    arrivals.iter().for_each(|one| one.comes(&mut objects, &mut cluster));
    (objects, cluster)
}

/// A packet between two addresses.
pub fn packet(dice: &mut Dice, source: IpAddr, destination: IpAddr) -> Packet {
    let protocol = dice.of(&[6, 6, 17, 132, 1, 58, 47]);
    let ports = matches!(protocol, 6 | 17 | 132);
    let icmp = matches!(protocol, 1 | 58);
    Packet {
        source,
        destination,
        protocol,
        ports: ports.then(|| (dice.below(7) as u16, dice.below(7) as u16)),
        icmp: icmp.then(|| (dice.below(3) as u8, dice.below(2) as u8)),
    }
}
