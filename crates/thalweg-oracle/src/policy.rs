//! What policies say of a packet, read literally from the objects themselves: no common model, no sets of
//! addresses, no shared chains.
//!
//! Each question walks all tiers, all policies in them, and all who could have an address.

mod host;
pub mod selector;
mod who;

pub use host::{Gate, Said};

use std::cell::RefCell;
use std::cmp::Ordering;
use std::net::IpAddr;
use thalweg_model::cluster::{Cluster, Family, ObjectName, Protocol};
use thalweg_policy::object::calico::{Action, Entity, Icmp, Rule};
use thalweg_policy::object::kubernetes::{
    ClusterAction, ClusterPeer, ClusterPort, ClusterRule, Peer, PortMatch,
};
use thalweg_policy::object::{EndAction, Objects, PolicyId, PolicyObject, Spec};
use who::{Holder, Who};

/// Everything that is asked.
pub struct Policies<'a> {
    objects: &'a Objects,
    cluster: &'a Cluster,
    everybody: Vec<Holder>,
    logs: RefCell<Vec<(PolicyId, usize)>>,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
    /// Type and code of ICMP.
    pub icmp: Option<(u8, u8)>,
}

/// Whether an end lets a packet pass, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Whether it does.
    pub allowed: bool,
    /// Why.
    pub why: Why,
}

/// What decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Why {
    /// A rule of an object, by its number from 1.
    Rule(PolicyId, usize),
    /// A tier ended.
    EndOfTier(String),
    /// No policy spoke.
    Nobody,
    /// It is the endpoint's own packet.
    Itself,
    /// It is from the node that the pod is on.
    OwnNode,
    /// The port of a host stays open.
    FailSafe,
    /// What pods say to their host, a setting decides.
    ToHost,
}

/// Which policies are asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    /// Those about what ends or begins at an endpoint.
    Normal,
    /// Those about what passes a host.
    Forwarded,
    PreDnat,
    Untracked,
}

/// What a policy says.
enum Word {
    Allow(usize),
    Deny(usize),
    Pass,
    Nothing,
}

impl<'a> Policies<'a> {
    /// To be asked about these.
    pub fn new(objects: &'a Objects, cluster: &'a Cluster) -> Self {
        let logs = RefCell::default();
        Self { objects, cluster, everybody: who::everybody(objects, cluster), logs }
    }

    /// Rules that log which were passed by what was asked since this was asked last, in order: the object of
    /// each and its number from 1.
    pub fn take_logs(&self) -> Vec<(PolicyId, usize)> {
        self.logs.take()
    }

    fn log(&self, id: &PolicyId, number: usize) {
        self.logs.borrow_mut().push((id.clone(), number));
    }

    /// What the source pod says for egress and the destination pod for ingress.
    pub fn ask(
        &self,
        from: Option<&ObjectName>,
        to: Option<&ObjectName>,
        packet: &Question,
    ) -> (Option<Answer>, Option<Answer>) {
        let yes = |why| Some(Answer { allowed: true, why });
        if from.is_some() && from == to {
            return (yes(Why::Itself), yes(Why::Itself));
        }
        let egress = from.map(|pod| self.end(pod, false, packet));
        let ingress = to.map(|pod| {
            let node = self.cluster.pods.get(pod).and_then(|pod| pod.node.clone());
            let node = node.and_then(|node| self.cluster.nodes.get(&node));
            match node.is_some_and(|node| node.addresses.contains(&packet.source)) {
                true => Answer { allowed: true, why: Why::OwnNode },
                false => self.end(pod, true, packet),
            }
        });
        (egress, ingress)
    }

    /// What one pod says in a direction.
    fn end(&self, pod: &ObjectName, ingress: bool, packet: &Question) -> Answer {
        let same = |holder: &&Holder| holder.who == Who::Pod(pod.clone());
        let holder = self.everybody.iter().find(same);
        let said = holder.and_then(|one| self.tiers_say(one, Asked::Normal, ingress, packet));
        said.unwrap_or(Answer { allowed: true, why: Why::Nobody })
    }

    /// All tiers in order, each with what its end does.
    fn tiers(&self) -> Vec<(String, EndAction)> {
        let mut all: Vec<(f64, String, EndAction)> = vec![
            (1e3, "kube-admin".into(), EndAction::Pass),
            (1e6, "default".into(), EndAction::Deny),
            (1e7, "kube-baseline".into(), EndAction::Pass),
        ];
        for (name, tier) in &self.objects.tiers {
            if !all.iter().any(|(_, known, _)| known == name) {
                all.push((tier.order.unwrap_or(f64::INFINITY), name.clone(), tier.end));
            }
        }
        all.sort_by(|a, b| match a.0.partial_cmp(&b.0) {
            Some(Ordering::Equal) | None => a.1.cmp(&b.1),
            Some(order) => order,
        });
        all.into_iter().map(|(_, name, end)| (name, end)).collect()
    }

    /// Policies of a tier that are not staged, in order.
    fn of_tier(&self, tier: &str) -> Vec<(&PolicyId, &PolicyObject)> {
        let mut found: Vec<(f64, String, &PolicyId, &PolicyObject)> = Vec::new();
        for (id, object) in &self.objects.policies {
            if id.kind.name().starts_with("Staged") {
                continue;
            }
            let (of, order) = match &object.spec {
                Spec::Kubernetes(_) => ("default", 1000.0),
                Spec::Cluster(one) if one.baseline => ("kube-baseline", f64::from(one.priority)),
                Spec::Cluster(one) => ("kube-admin", f64::from(one.priority)),
                Spec::Calico(one) => (one.tier.as_str(), one.order.unwrap_or(f64::INFINITY)),
            };
            if of == tier {
                found.push((order, id.short(), id, object));
            }
        }
        found.sort_by(|a, b| {
            let order = a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal);
            order.then_with(|| a.1.cmp(&b.1)).then_with(|| a.2.kind.cmp(&b.2.kind))
        });
        found.into_iter().map(|(_, _, id, object)| (id, object)).collect()
    }

    fn applies(
        &self,
        id: &PolicyId,
        object: &PolicyObject,
        holder: &Holder,
        asked: Asked,
        ingress: bool,
    ) -> bool {
        let is_pod = matches!(holder.who, Who::Pod(_));
        let namespace_is = |name: &str| holder.namespace.as_deref() == Some(name);
        match &object.spec {
            Spec::Kubernetes(policy) => {
                let isolates =
                    if ingress { policy.isolates_ingress } else { policy.isolates_egress };
                isolates
                    && is_pod
                    && namespace_is(&id.name.namespace)
                    && who::label_selector(&policy.pods, &holder.own)
            }
            Spec::Cluster(policy) => {
                let rules = if ingress { &policy.ingress } else { &policy.egress };
                !rules.is_empty() && holder.is_pod_of(&policy.subject)
            }
            Spec::Calico(policy) => {
                let stage = match asked {
                    Asked::Untracked => policy.do_not_track,
                    Asked::PreDnat => policy.pre_dnat && !policy.do_not_track,
                    Asked::Normal => !policy.do_not_track && !policy.pre_dnat,
                    Asked::Forwarded => {
                        !policy.do_not_track && !policy.pre_dnat && policy.apply_on_forward
                    }
                };
                let applies = if ingress { policy.applies_ingress } else { policy.applies_egress };
                let namespace = &id.name.namespace;
                let within = namespace.is_empty() || namespace_is(namespace);
                let of = policy.namespaces.as_ref();
                let accounts = policy.accounts.as_ref();
                stage
                    && applies
                    && within
                    && holder.selected(&policy.selector)
                    && of.is_none_or(|of| holder.namespace_selected(of))
                    && accounts.is_none_or(|of| holder.account_chosen(of))
            }
        }
    }

    fn word(&self, id: &PolicyId, object: &PolicyObject, ingress: bool, packet: &Question) -> Word {
        match &object.spec {
            Spec::Kubernetes(policy) => {
                let rules = if ingress { &policy.ingress } else { &policy.egress };
                let peer = if ingress { packet.source } else { packet.destination };
                for (at, rule) in rules.iter().enumerate() {
                    if rule.left_out {
                        continue;
                    }
                    let who = rule.peers.is_empty()
                        || rule.peers.iter().any(|one| self.is_peer(one, &id.name.namespace, peer));
                    let port = rule.ports.is_empty()
                        || rule.ports.iter().any(|port| {
                            self.is_port(port.protocol.number(), port.port.as_ref(), packet)
                        });
                    if who && port {
                        return Word::Allow(at + 1);
                    }
                }
                Word::Nothing
            }
            Spec::Cluster(policy) => {
                let rules = if ingress { &policy.ingress } else { &policy.egress };
                for (at, rule) in rules.iter().enumerate() {
                    if let Some(word) = self.cluster_word(rule, at + 1, ingress, packet) {
                        return word;
                    }
                }
                Word::Nothing
            }
            Spec::Calico(policy) => {
                let rules = if ingress { &policy.ingress } else { &policy.egress };
                for (at, rule) in rules.iter().enumerate() {
                    if rule.left_out || !self.is_about(rule, &id.name.namespace, packet) {
                        continue;
                    }
                    match rule.action {
                        Action::Allow => return Word::Allow(at + 1),
                        Action::Deny => return Word::Deny(at + 1),
                        Action::Pass => return Word::Pass,
                        Action::Log => self.log(id, at + 1),
                    }
                }
                Word::Nothing
            }
        }
    }

    fn is_peer(&self, peer: &Peer, namespace: &str, address: IpAddr) -> bool {
        match peer {
            Peer::Block { cidr, except } => {
                // Exceptions lie within the block, so they are of its family.
                cidr.contains(address) && !except.iter().any(|one| one.contains(address))
            }
            Peer::Pods { namespaces, pods } => self.at(address).any(|holder| {
                let Who::Pod(name) = &holder.who else { return false };
                let within = match namespaces {
                    Some(of) => who::label_selector(of, &holder.namespace_labels),
                    None => name.namespace == namespace,
                };
                within && pods.as_ref().is_none_or(|of| who::label_selector(of, &holder.own))
            }),
        }
    }

    fn cluster_word(
        &self,
        rule: &ClusterRule,
        number: usize,
        ingress: bool,
        packet: &Question,
    ) -> Option<Word> {
        let accepts = rule.action == ClusterAction::Accept;
        let domains = rule.peers.iter().any(|peer| matches!(peer, ClusterPeer::Domains(_)));
        if rule.peers.contains(&ClusterPeer::Unknown) || (domains && !accepts) {
            return (!accepts).then_some(Word::Deny(number));
        }
        let address = if ingress { packet.source } else { packet.destination };
        let who = rule.peers.iter().any(|peer| match peer {
            ClusterPeer::Pods(of) => self.at(address).any(|holder| holder.is_pod_of(of)),
            ClusterPeer::Networks(nets) => nets.iter().any(|net| net.contains(address)),
            ClusterPeer::Nodes(of) => self.cluster.nodes.iter().any(|(name, node)| {
                let labels = self.objects.nodes.get(name).cloned().unwrap_or_default();
                node.addresses.contains(&address) && who::label_selector(of, &labels)
            }),
            ClusterPeer::Domains(_) | ClusterPeer::Unknown => false,
        });
        let port = rule.ports.is_empty()
            || rule.ports.iter().any(|port| match port {
                ClusterPort::Of(protocol, None) => protocol.number() == packet.protocol,
                ClusterPort::Of(protocol, Some((first, last))) => {
                    let range = PortMatch::Range(*first, *last);
                    self.is_port(protocol.number(), Some(&range), packet)
                }
                ClusterPort::Named(name) => {
                    let named = PortMatch::Named(name.clone());
                    Protocol::ALL
                        .iter()
                        .any(|(_, protocol)| self.is_port(protocol.number(), Some(&named), packet))
                }
            });
        (who && port).then_some(match rule.action {
            ClusterAction::Accept => Word::Allow(number),
            ClusterAction::Deny => Word::Deny(number),
            ClusterAction::Pass => Word::Pass,
        })
    }

    /// Whether the destination port is one of a protocol.
    fn is_port(&self, protocol: u8, port: Option<&PortMatch>, packet: &Question) -> bool {
        protocol == packet.protocol
            && match (port, packet.ports) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(port), Some((_, number))) => {
                    self.port_is(port, packet.destination, packet.protocol, number)
                }
            }
    }

    /// Whether a number is that port, at an address.
    fn port_is(&self, port: &PortMatch, address: IpAddr, protocol: u8, number: u16) -> bool {
        match port {
            PortMatch::Range(first, last) => *first <= number && number <= *last,
            PortMatch::Named(name) => self.at(address).any(|holder| {
                holder.ports.iter().any(|one| {
                    one.name == *name && one.protocol.number() == protocol && one.port == number
                })
            }),
        }
    }

    /// Everybody who has an address.
    fn at(&self, address: IpAddr) -> impl Iterator<Item = &Holder> {
        self.everybody.iter().filter(move |one| one.nets.iter().any(|net| net.contains(address)))
    }

    fn is_about(&self, rule: &Rule, namespace: &str, packet: &Question) -> bool {
        let family = Family::of(packet.source);
        if let Some(version) = rule.family {
            if version != family {
                return false;
            }
        } else if (rule.protocol == Some(1) && family == Family::V6)
            || (rule.protocol == Some(58) && family == Family::V4)
        {
            return false;
        }
        if rule.protocol.is_some_and(|protocol| protocol != packet.protocol)
            || rule.not_protocol == Some(packet.protocol)
        {
            return false;
        }
        let is = |icmp: Icmp| match packet.icmp {
            Some((kind, code)) => {
                icmp.kind.unwrap_or(kind) == kind && icmp.code.unwrap_or(code) == code
            }
            None => false,
        };
        if rule.icmp.is_some_and(|icmp| !is(icmp)) || rule.not_icmp.is_some_and(is) {
            return false;
        }
        let protocol = packet.protocol;
        let [from, to] = [packet.ports.map(|ports| ports.0), packet.ports.map(|ports| ports.1)];
        self.is_side(&rule.source, namespace, packet.source, protocol, from, false)
            && self.is_side(&rule.destination, namespace, packet.destination, protocol, to, true)
    }

    fn is_side(
        &self,
        side: &Entity,
        namespace: &str,
        address: IpAddr,
        protocol: u8,
        port: Option<u16>,
        is_destination: bool,
    ) -> bool {
        if !side.nets.is_empty() && !side.nets.iter().any(|net| net.contains(address)) {
            return false;
        }
        if !side.not_nets.is_empty() {
            // Of a list without this family nothing would be left.
            let family = side.not_nets.iter().any(|net| net.is_v4() == address.is_ipv4());
            if !family || side.not_nets.iter().any(|net| net.contains(address)) {
                return false;
            }
        }
        let speaks = side.selector.is_some()
            || side.not_selector.is_some()
            || side.namespaces.is_some()
            || side.accounts.is_some();
        let limited = side.selector.is_some()
            || side.namespaces.is_some()
            || side.accounts.is_some()
            || (speaks && !namespace.is_empty());
        let means = |holder: &Holder| {
            let within = match &side.namespaces {
                Some(of) => holder.namespace_selected(of),
                None => namespace.is_empty() || holder.namespace.as_deref() == Some(namespace),
            };
            let accounts = side.accounts.as_ref();
            within
                && side.selector.as_ref().is_none_or(|of| holder.selected(of))
                && accounts.is_none_or(|of| {
                    let named = holder.account.as_ref();
                    (of.names.is_empty() || named.is_some_and(|name| of.names.contains(name)))
                        && of.selector.as_ref().is_none_or(|of| holder.account_selected(of))
                })
        };
        if limited && !self.at(address).any(means) {
            return false;
        }
        if let Some(not) = &side.not_selector
            && self.at(address).any(|holder| holder.selected(not))
        {
            return false;
        }
        if let Some(service) = &side.service {
            let served = self.serves(service);
            let wanted = port.map(|port| (protocol, port));
            let found = served.iter().any(|(who, at)| {
                *who == address && (!is_destination || (at.is_some() && *at == wanted))
            });
            if !found {
                return false;
            }
        }
        let is = |wanted: &PortMatch| {
            port.is_some_and(|number| self.port_is(wanted, address, protocol, number))
        };
        (side.ports.is_empty() || side.ports.iter().any(is)) && !side.not_ports.iter().any(is)
    }

    /// Who serves a service in all its slices, ready or not; protocol and port are none in a slice without
    /// ports.
    fn serves(&self, service: &ObjectName) -> Vec<(IpAddr, Option<(u8, u16)>)> {
        let mut served = Vec::new();
        for (name, slice) in &self.cluster.slices {
            if name.namespace != service.namespace || slice.service != service.name {
                continue;
            }
            for endpoint in &slice.endpoints {
                for address in &endpoint.addresses {
                    for port in &slice.ports {
                        served.push((*address, Some((port.protocol.number(), port.port))));
                    }
                    if slice.ports.is_empty() {
                        served.push((*address, None));
                    }
                }
            }
        }
        served
    }
}
