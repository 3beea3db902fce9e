//! `NetworkPolicy` and `ClusterNetworkPolicy` of Kubernetes.

use super::parts::{at_most, label_selector, nets, peer_selector, place, port, sound};
use crate::kind::foreign::{protocol, range};
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::Value;
use thalweg_model::cluster::Protocol;
use thalweg_policy::object::PolicyKind;
use thalweg_policy::object::kubernetes::{
    ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, LabelSelector,
    NetworkPolicy, Peer, PodsOf, Port, PortMatch, Rule,
};

/// Rules of a `ClusterNetworkPolicy` in a direction, and items of their lists.
const MOST: usize = 25;

/// The priority behind all others of a tier.
const LAST: u32 = 1_000;

/// `policyTypes`.
const TYPES: &[(&str, bool)] = &[("Ingress", true), ("Egress", false)];

/// Reads `spec` of a `NetworkPolicy`. Whatever is wrong but for its `podSelector` leaves the isolation as it
/// is: a rule that is wrong allows nobody.
pub(super) fn network_policy(
    spec: &Field,
    kind: PolicyKind,
    report: &mut Report,
) -> Option<NetworkPolicy> {
    let known = ["podSelector", "policyTypes", "ingress", "egress", "stagedAction"];
    let known = if kind == PolicyKind::Kubernetes { &known[..4] } else { &known };
    let fields = Fields::open_foreign(spec.node, &spec.path, known, report)?;
    let pods = fields.given("podSelector");
    let pods = sound(report, |report| pods.map(|field| label_selector(&field, report)))?;
    let list = |name, report: &mut Report| {
        let list = fields.given(name);
        let items: Vec<Field> = list.iter().flat_map(|list| list.members(report)).collect();
        items.iter().map(|item| rule_or_nobody(item, name == "ingress", report)).collect()
    };
    let (ingress, egress): (Vec<Rule>, Vec<Rule>) =
        (list("ingress", report), list("egress", report));
    let is_empty =
        |field: Field| matches!(&field.node.value, Value::List(list) if list.members.is_empty());
    let (mut isolates_ingress, mut isolates_egress) =
        (true, fields.given("egress").is_some_and(|field| !is_empty(field)));
    if let Some(types) = fields.given("policyTypes") {
        let given = sound(report, |report| {
            types.members(report).filter_map(|item| item.choice(TYPES, report)).collect::<Vec<_>>()
        });
        // Of types that are wrong, those hold that there are without any.
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            isolates_ingress = given.contains(&true);
            isolates_egress = given.contains(&false);
        }
    }
    Some(NetworkPolicy {
        pods: pods.unwrap_or_default(),
        isolates_ingress,
        isolates_egress,
        ingress,
        egress,
    })
}

/// A rule, or in the place of a wrong one a rule that allows nobody.
fn rule_or_nobody(item: &Field, ingress: bool, report: &mut Report) -> Rule {
    if let Some(rule) = sound(report, |report| rule(item, ingress, report)).flatten() {
        return rule;
    }
    let what = "the rule is left out; its policy stays, and isolates whom it selects";
    item.warning(what, "mend what is wrong in the rule", report);
    Rule { place: place(item, report), left_out: true, ..Rule::default() }
}

fn rule(item: &Field, ingress: bool, report: &mut Report) -> Option<Rule> {
    let peers = if ingress { "from" } else { "to" };
    let fields = Fields::open(item.node, &item.path, &[peers, "ports"], report)?;
    let mut rule = Rule { place: place(item, report), ..Rule::default() };
    if let Some(list) = fields.given(peers) {
        for item in list.members(report) {
            rule.peers.extend(peer(&item, report));
        }
    }
    if let Some(list) = fields.given("ports") {
        for item in list.members(report) {
            rule.ports.extend(policy_port(&item, report));
        }
    }
    Some(rule)
}

fn peer(item: &Field, report: &mut Report) -> Option<Peer> {
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    let fields = Fields::open(item.node, &item.path, &known, report)?;
    let [pods, namespaces, block] = known.map(|name| fields.given(name));
    if let Some(block) = block {
        if pods.is_some() || namespaces.is_some() {
            let what = "`ipBlock` stands beside a selector";
            item.error(what, "make it a peer of its own", report);
            return None;
        }
        return ip_block(&block, report);
    }
    if pods.is_none() && namespaces.is_none() {
        let what = "the peer says nobody";
        item.error(what, "write podSelector, namespaceSelector or ipBlock", report);
        return None;
    }
    let mut read = |field: Option<Field>| field.map(|field| peer_selector(&field, report));
    Some(Peer::Pods { pods: read(pods), namespaces: read(namespaces) })
}

fn ip_block(block: &Field, report: &mut Report) -> Option<Peer> {
    let fields = Fields::open(block.node, &block.path, &["cidr", "except"], report)?;
    let cidr = fields.required("cidr", "write the range: `cidr: 10.0.0.0/8`", report);
    let cidr = cidr.and_then(|field| range(&field, report))?;
    let mut except = Vec::new();
    if let Some(list) = fields.given("except") {
        for item in list.members(report) {
            let Some(one) = range(&item, report) else { continue };
            if !cidr.contains(one.address()) || one.len() <= cidr.len() {
                let what = format!("{one} is no smaller part of {cidr}");
                item.error(what, "write ranges within the block", report);
            }
            except.push(one);
        }
    }
    Some(Peer::Block { cidr, except })
}

fn policy_port(item: &Field, report: &mut Report) -> Option<Port> {
    let known = ["protocol", "port", "endPort"];
    let fields = Fields::open(item.node, &item.path, &known, report)?;
    let protocol = protocol(&fields, report)?;
    let first = fields.given("port").map(|field| port(&field, report));
    let end = fields.given("endPort");
    let port = match (first, &end) {
        (None, None) => None,
        (None, Some(end)) => {
            end.error("`endPort` needs a `port`", "write where the range begins", report);
            return None;
        }
        (Some(port), None) => Some(port?),
        (Some(port), Some(end)) => {
            let last = end.number(1..=65_535, report)?;
            match port? {
                PortMatch::Range(first, _) if first <= last => Some(PortMatch::Range(first, last)),
                PortMatch::Range(first, _) => {
                    let what = format!("the range from {first} to {last} ends before it begins");
                    end.error(what, "write the larger number here", report);
                    return None;
                }
                PortMatch::Named(_) => {
                    let what = "a range cannot begin at a name";
                    end.error(what, "write numbers, or remove `endPort`", report);
                    return None;
                }
            }
        }
    };
    Some(Port { protocol, port })
}

/// `action` of a `ClusterNetworkPolicy`.
const ACTIONS: &[(&str, ClusterAction)] = &[
    ("Accept", ClusterAction::Accept),
    ("Deny", ClusterAction::Deny),
    ("Pass", ClusterAction::Pass),
];

/// `tier`: whether it is the one behind all others.
const TIERS: &[(&str, bool)] = &[("Admin", false), ("Baseline", true)];

/// Reads `spec` of a `ClusterNetworkPolicy`. A rule that is wrong fails closed, as its API wants it, and a
/// policy without a right priority is the last of its tier.
pub(super) fn cluster_policy(spec: &Field, report: &mut Report) -> Option<ClusterNetworkPolicy> {
    let known = ["tier", "priority", "subject", "ingress", "egress"];
    let fields = Fields::open_foreign(spec.node, &spec.path, &known, report)?;
    let tier = fields.required("tier", "write Admin or Baseline", report);
    let tier = tier.and_then(|field| field.choice(TIERS, report));
    let priority = fields.required("priority", "write 0 to 1000; lower goes first", report);
    let priority = priority.and_then(|field| field.number(0..=LAST, report));
    let remedy = "write `subject: {namespaces: {}}` for all pods";
    let subject = sound(report, |report| {
        let field = fields.required("subject", remedy, report)?;
        let pods = pods_of(&field, false, report);
        if pods.is_none() {
            field.error("the subject is neither namespaces nor pods", remedy, report);
        }
        pods
    });
    let list = |name, report: &mut Report| {
        let list = fields.given(name);
        let items: Vec<Field> = list.iter().flat_map(|list| list.members(report)).collect();
        if let Some(list) = &list {
            at_most(list, items.len(), MOST, report);
        }
        items.iter().map(|item| cluster_rule(item, name == "ingress", report)).collect()
    };
    let (ingress, egress): (Vec<ClusterRule>, Vec<ClusterRule>) =
        (list("ingress", report), list("egress", report));
    Some(ClusterNetworkPolicy {
        baseline: tier?,
        priority: priority.unwrap_or(LAST),
        subject: subject.flatten()?,
        ingress,
        egress,
    })
}

/// `namespaces` or `pods` of a subject or `peer`; none where neither is there.
fn pods_of(field: &Field, peer: bool, report: &mut Report) -> Option<PodsOf> {
    let read = if peer { peer_selector } else { label_selector };
    let fields = Fields::of(field.node, &field.path)?;
    one_of(&fields, &["namespaces", "pods"], report);
    if let Some(namespaces) = fields.given("namespaces") {
        let namespaces = read(&namespaces, report);
        return Some(PodsOf { namespaces, pods: LabelSelector::default() });
    }
    let pods = fields.given("pods")?;
    let known = ["namespaceSelector", "podSelector"];
    let inner = match peer {
        true => Fields::open(pods.node, &pods.path, &known, report),
        false => Fields::open_foreign(pods.node, &pods.path, &known, report),
    }?;
    let [namespaces, pods] = known.map(|name| {
        let field = inner.given(name);
        field.map(|field| read(&field, report)).unwrap_or_default()
    });
    Some(PodsOf { namespaces, pods })
}

/// Tells that one of these fields excludes the others.
fn one_of(fields: &Fields, names: &[&'static str], report: &mut Report) {
    let mut given = names.iter().filter_map(|name| fields.given(name));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let what = format!("`{}` stands beside `{}`", second.name(), first.name());
        second.error(what, "keep one of them", report);
    }
}

/// A rule; one that is wrong has the peer that nobody knows, and denies if it does not say what else.
fn cluster_rule(item: &Field, ingress: bool, report: &mut Report) -> ClusterRule {
    let place = place(item, report);
    let before = report.errors();
    let known = ["name", "action", if ingress { "from" } else { "to" }, "protocols"];
    let fields = Fields::open(item.node, &item.path, &known, report);
    let action = fields.as_ref().and_then(|fields| {
        let field = fields.required("action", "write Accept, Deny or Pass", report)?;
        field.choice(ACTIONS, report)
    });
    let mut rule = ClusterRule {
        place,
        name: String::new(),
        action: action.unwrap_or(ClusterAction::Deny),
        peers: Vec::new(),
        ports: Vec::new(),
    };
    if let Some(fields) = &fields {
        rule.name = fields.text_of("name", report).unwrap_or_default().to_owned();
        read_peers(fields, known[2], &mut rule, report);
        if let Some(list) = fields.given("protocols") {
            let items = list.members(report);
            rule.ports = items.filter_map(|item| cluster_port(&item, report)).collect();
            at_most(&list, rule.ports.len(), MOST, report);
        }
    }
    if report.errors() > before {
        (rule.peers, rule.ports) = (vec![ClusterPeer::Unknown], Vec::new());
        let what = match rule.action {
            ClusterAction::Accept => "the rule fails closed: it accepts nobody",
            _ => "the rule fails closed: it denies everybody",
        };
        item.warning(what, "mend what is wrong in the rule", report);
    }
    rule
}

fn read_peers<'p>(
    fields: &Fields<'_, '_, 'p>,
    side: &'p str,
    rule: &mut ClusterRule,
    report: &mut Report,
) {
    let Some(list) = fields.required(side, "list at least one peer", report) else { return };
    for item in list.items(report) {
        rule.peers.push(cluster_peer(&item, side == "from", rule.action, report));
    }
    at_most(&list, rule.peers.len(), MOST, report);
}

fn cluster_peer(
    item: &Field,
    ingress: bool,
    action: ClusterAction,
    report: &mut Report,
) -> ClusterPeer {
    let fields = Fields::of(item.node, &item.path);
    let mut said = fields.iter().flat_map(Fields::iter).filter(|field| !field.node.is_null());
    // One thing alone, and that known: whatever stands beside it may be a condition.
    let word = said.next().filter(|_| said.next().is_none());
    let known = match word.as_ref().map(Field::name) {
        Some("namespaces" | "pods") => pods_of(item, true, report).map(ClusterPeer::Pods),
        Some("networks") if !ingress => {
            let all = fields.as_ref().map(|of| nets(of, "networks", report));
            if let (Some(list), Some(all)) = (&word, &all) {
                at_most(list, all.len(), MOST, report);
            }
            all.map(ClusterPeer::Networks)
        }
        Some("nodes") if !ingress => {
            word.map(|field| ClusterPeer::Nodes(peer_selector(&field, report)))
        }
        Some("domainNames") if !ingress => word.map(|field| domains(&field, action, report)),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let what = "nothing in this peer is known here, so the rule fails closed: it accepts nobody, or \
                    denies everybody";
        item.warning(what, "use namespaces, pods, or (for egress) networks and nodes", report);
        ClusterPeer::Unknown
    })
}

/// Names that only a resolver knows the addresses of.
fn domains(list: &Field, action: ClusterAction, report: &mut Report) -> ClusterPeer {
    let items: Vec<Field> = list.items(report).collect();
    let names = items.iter().filter_map(|item| item.text(report)).map(str::to_owned).collect();
    at_most(list, items.len(), MOST, report);
    let remedy = "list their addresses as `networks`";
    match action {
        ClusterAction::Accept => {
            let what = "no DNS is watched here, so that the rule accepts nobody by these names";
            list.warning(what, remedy, report);
        }
        _ => list.error("`domainNames` stand in rules that accept alone", remedy, report),
    }
    ClusterPeer::Domains(names)
}

fn cluster_port(item: &Field, report: &mut Report) -> Option<ClusterPort> {
    let known = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let fields = Fields::open(item.node, &item.path, &known, report)?;
    one_of(&fields, &known, report);
    if let Some(name) = fields.text_of("destinationNamedPort", report) {
        return Some(ClusterPort::Named(name.to_owned()));
    }
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let given = known.into_iter().zip(protocols);
    let mut given = given.filter_map(|(name, of)| Some((fields.given(name)?, of)));
    let Some((field, protocol)) = given.next() else {
        item.error("no protocol is given", "write tcp, udp or sctp", report);
        return None;
    };
    let inner = Fields::open(field.node, &field.path, &["destinationPort"], report)?;
    let Some(port) = inner.given("destinationPort") else {
        return Some(ClusterPort::Of(protocol, None));
    };
    let known = ["number", "range"];
    let inner = Fields::open(port.node, &port.path, &known, report)?;
    one_of(&inner, &known, report);
    if let Some(number) = inner.given("number") {
        let number = number.number(1..=65_535, report)?;
        return Some(ClusterPort::Of(protocol, Some((number, number))));
    }
    let range =
        inner.required("range", "write `number`, or `range: {start: …, end: …}`", report)?;
    let inner = Fields::open(range.node, &range.path, &["start", "end"], report)?;
    let first = inner.required("start", "write the first port", report);
    let first = first.and_then(|field| field.number(1..=65_535u16, report));
    let last = inner.required("end", "write the last port", report);
    let last = last.and_then(|field| field.number(1..=65_535u16, report));
    let (first, last) = (first?, last?);
    if first > last {
        range.error("the range ends before it begins", "write the smaller port first", report);
        return None;
    }
    Some(ClusterPort::Of(protocol, Some((first, last))))
}
