//! Policies of Kubernetes in the words of the model.

use super::{OF_NAMESPACE, ORCHESTRATOR};
use crate::model::{Policy, Rule, Side, Stage};
use crate::object::calico::Action;
use crate::object::kubernetes::{
    self as k8s, ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule,
    LabelSelector, NetworkPolicy, Peer, PodsOf, PortMatch,
};
use crate::object::{PolicyId, PolicyKind};
use crate::selector::{NAMESPACE, Selector, Term};
use thalweg_model::cluster::Protocol;

/// The order of each `NetworkPolicy` in its tier.
const ORDER: f64 = 1_000.0;

/// Pods alone: no sets of addresses, no hosts.
fn pods() -> Selector {
    Selector::is(ORCHESTRATOR.0, ORCHESTRATOR.1)
}

/// A policy without name and place.
fn blank(order: f64, subject: Selector) -> Policy {
    Policy {
        id: PolicyId { kind: PolicyKind::Kubernetes, name: Default::default() },
        origin: Default::default(),
        order: Some(order),
        subject,
        stage: Stage::Normal,
        forwarded: false,
        ingress: None,
        egress: None,
    }
}

/// `networking.k8s.io/v1 NetworkPolicy`: what it allows; all else ends at the end of the tier.
pub fn network_policy(namespace: &str, spec: &NetworkPolicy) -> Policy {
    let subject =
        Selector::and([Selector::is(NAMESPACE, namespace), pods(), spec.pods.selector("")]);
    let rules = |rules: &[k8s::Rule], ingress: bool| {
        let rules = rules.iter().zip(1..).filter(|(rule, _)| !rule.left_out);
        rules.flat_map(|(rule, number)| allowed(namespace, rule, number, ingress)).collect()
    };
    Policy {
        ingress: spec.isolates_ingress.then(|| rules(&spec.ingress, true)),
        egress: spec.isolates_egress.then(|| rules(&spec.egress, false)),
        ..blank(ORDER, subject)
    }
}

/// A rule of a `NetworkPolicy`: one for each peer and protocol.
fn allowed(namespace: &str, rule: &k8s::Rule, number: usize, ingress: bool) -> Vec<Rule> {
    let peers = match rule.peers.is_empty() {
        true => vec![Side::default()],
        false => rule.peers.iter().map(|peer| side(namespace, peer)).collect(),
    };
    let ports = ports(&rule.ports);
    let mut made = Vec::new();
    for peer in &peers {
        for (protocol, ports) in &ports {
            let plain =
                Rule { place: rule.place, number, action: Action::Allow, ..Rule::default() };
            made.push(with(plain, peer.clone(), *protocol, ports.clone(), ingress));
        }
    }
    made
}

/// A rule about a peer and ports of the destination.
fn with(
    rule: Rule,
    peer: Side,
    protocol: Option<u8>,
    ports: Vec<PortMatch>,
    ingress: bool,
) -> Rule {
    let (mut source, mut destination) = match ingress {
        true => (peer, Side::default()),
        false => (Side::default(), peer),
    };
    source.ports = Vec::new();
    destination.ports = ports;
    Rule { protocol, source, destination, ..rule }
}

fn side(namespace: &str, peer: &Peer) -> Side {
    match peer {
        Peer::Block { cidr, except } => {
            Side { nets: vec![*cidr], not_nets: except.clone(), ..Side::default() }
        }
        Peer::Pods { namespaces, pods: of } => {
            let within = match namespaces {
                Some(namespaces) => namespaces.selector(OF_NAMESPACE),
                None => Selector::is(NAMESPACE, namespace),
            };
            let of = of.as_ref().map_or_else(Selector::all, |of| of.selector(""));
            let selector = Selector::and([within, pods(), of]);
            Side { selector: Some(selector), ..Side::default() }
        }
    }
}

/// Ports by protocol; no protocol where there are no ports.
fn ports(ports: &[k8s::Port]) -> Vec<(Option<u8>, Vec<PortMatch>)> {
    if ports.is_empty() {
        return vec![(None, Vec::new())];
    }
    let mut made = Vec::new();
    for (_, protocol) in Protocol::ALL {
        let of = || ports.iter().filter(|port| port.protocol == protocol);
        if of().any(|port| port.port.is_none()) {
            made.push((Some(protocol.number()), Vec::new()));
        } else if of().next().is_some() {
            let ports = of().filter_map(|port| port.port.clone()).collect();
            made.push((Some(protocol.number()), ports));
        }
    }
    made
}

/// `policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy`.
pub fn cluster_policy(spec: &ClusterNetworkPolicy) -> Policy {
    let rules = |rules: &[ClusterRule], ingress: bool| {
        let made = rules.iter().zip(1..).flat_map(|(rule, at)| cluster_rule(rule, at, ingress));
        (!rules.is_empty()).then(|| made.collect())
    };
    Policy {
        ingress: rules(&spec.ingress, true),
        egress: rules(&spec.egress, false),
        ..blank(f64::from(spec.priority), pods_of(&spec.subject))
    }
}

fn pods_of(of: &PodsOf) -> Selector {
    let part = |selector: &LabelSelector, prefix| selector.selector(prefix);
    Selector::and([pods(), part(&of.namespaces, OF_NAMESPACE), part(&of.pods, "")])
}

/// A rule of a `ClusterNetworkPolicy`: one for each peer and protocol. One that is not understood fails
/// closed: it accepts nothing, or denies everything.
fn cluster_rule(rule: &ClusterRule, number: usize, ingress: bool) -> Vec<Rule> {
    let plain = |action| Rule { place: rule.place, number, action, ..Rule::default() };
    let accepts = rule.action == ClusterAction::Accept;
    let is_unknown = |peer: &ClusterPeer| match peer {
        ClusterPeer::Unknown => true,
        ClusterPeer::Domains(_) => !accepts,
        _ => false,
    };
    if rule.peers.iter().any(is_unknown) {
        return match rule.action {
            ClusterAction::Accept => Vec::new(),
            ClusterAction::Deny | ClusterAction::Pass => vec![plain(Action::Deny)],
        };
    }
    let action = match rule.action {
        ClusterAction::Accept => Action::Allow,
        ClusterAction::Deny => Action::Deny,
        ClusterAction::Pass => Action::Pass,
    };
    let ports: Vec<(Option<u8>, Vec<PortMatch>)> = match rule.ports.is_empty() {
        true => vec![(None, Vec::new())],
        false => rule.ports.iter().map(cluster_port).collect(),
    };
    let mut made = Vec::new();
    for peer in &rule.peers {
        let side = match peer {
            ClusterPeer::Pods(of) => Side { selector: Some(pods_of(of)), ..Side::default() },
            ClusterPeer::Networks(nets) => Side { nets: nets.clone(), ..Side::default() },
            ClusterPeer::Nodes(of) => {
                let nodes = Term::Nodes(of.selector("")).into();
                Side { selector: Some(nodes), ..Side::default() }
            }
            ClusterPeer::Domains(_) | ClusterPeer::Unknown => continue,
        };
        for (protocol, ports) in &ports {
            made.push(with(plain(action), side.clone(), *protocol, ports.clone(), ingress));
        }
    }
    made
}

fn cluster_port(port: &ClusterPort) -> (Option<u8>, Vec<PortMatch>) {
    match port {
        ClusterPort::Named(name) => (None, vec![PortMatch::Named(name.clone())]),
        ClusterPort::Of(protocol, range) => {
            let range = range.map(|(first, last)| PortMatch::Range(first, last));
            (Some(protocol.number()), range.into_iter().collect())
        }
    }
}
