//! Policies of Kubernetes: `NetworkPolicy` and `ClusterNetworkPolicy`.

use super::Place;
use crate::selector::{Selector, Term};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_model::Prefix;
use thalweg_model::cluster::Protocol;

/// `matchLabels` and `matchExpressions`, which must all hold; without any, everything is selected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub expressions: Vec<Requirement>,
}

/// One of `matchExpressions`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirement {
    /// `key`.
    pub key: String,
    /// `operator`.
    pub operator: Operator,
    /// `values`.
    pub values: BTreeSet<String>,
}

/// `operator` of a requirement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or there is none.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is no such label.
    DoesNotExist,
}

impl LabelSelector {
    /// The same as a selector, with `prefix` in front of each key.
    pub fn selector(&self, prefix: &str) -> Selector {
        let labels =
            self.labels.iter().map(|(key, value)| Selector::is(format!("{prefix}{key}"), value));
        let expressions = self.expressions.iter().map(|one| {
            let key = format!("{prefix}{}", one.key);
            match one.operator {
                Operator::In => Term::In(key, one.values.clone()).into(),
                Operator::NotIn => Term::NotIn(key, one.values.clone()).into(),
                Operator::Exists => Selector::has(key),
                Operator::DoesNotExist => Selector::has(key).negated(),
            }
        });
        Selector::and(labels.chain(expressions))
    }
}

/// `networking.k8s.io/v1 NetworkPolicy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkPolicy {
    /// `spec.podSelector`, within its namespace.
    pub pods: LabelSelector,
    /// Whether it isolates for ingress (`spec.policyTypes`).
    pub isolates_ingress: bool,
    /// Whether it isolates for egress.
    pub isolates_egress: bool,
    /// `spec.ingress`.
    pub ingress: Vec<Rule>,
    /// `spec.egress`.
    pub egress: Vec<Rule>,
}

/// What a `NetworkPolicy` allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// `from` or `to`; empty for everybody.
    pub peers: Vec<Peer>,
    /// `ports`; empty for all, and for protocols without ports.
    pub ports: Vec<Port>,
    /// Whether it is wrong and allows nobody, since half of it allows too much. It keeps its number.
    pub left_out: bool,
}

/// Somebody to speak with.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods: of the policy's namespace, or of those that `namespaces` selects; all of them, or those that
    /// `pods` selects.
    Pods {
        /// `namespaceSelector`.
        namespaces: Option<LabelSelector>,
        /// `podSelector`.
        pods: Option<LabelSelector>,
    },
    /// Addresses, without some of them.
    Block {
        /// `ipBlock.cidr`.
        cidr: Prefix,
        /// `ipBlock.except`.
        except: Vec<Prefix>,
    },
}

/// Ports of a protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// `protocol`.
    pub protocol: Protocol,
    /// `port` and `endPort`; none is all.
    pub port: Option<PortMatch>,
}

/// A port by number or name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PortMatch {
    /// From the first to the last.
    Range(u16, u16),
    /// As the endpoint names it.
    Named(String),
}

/// `policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterNetworkPolicy {
    /// Whether `spec.tier` is `Baseline`; else it is `Admin`.
    pub baseline: bool,
    /// `spec.priority`.
    pub priority: u32,
    /// `spec.subject`.
    pub subject: PodsOf,
    /// `spec.ingress`.
    pub ingress: Vec<ClusterRule>,
    /// `spec.egress`.
    pub egress: Vec<ClusterRule>,
}

/// Pods of namespaces: all, or those selected.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PodsOf {
    /// `namespaces` or `pods.namespaceSelector`.
    pub namespaces: LabelSelector,
    /// `pods.podSelector`.
    pub pods: LabelSelector,
}

/// `action` of a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterAction {
    /// Allow.
    Accept,
    /// Deny.
    Deny,
    /// Go on to the next tier.
    Pass,
}

/// A rule of a `ClusterNetworkPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRule {
    /// Where it stands.
    pub place: Place,
    /// `name`; may be empty.
    pub name: String,
    /// `action`.
    pub action: ClusterAction,
    /// `from` or `to`.
    pub peers: Vec<ClusterPeer>,
    /// `protocols`; empty for all.
    pub ports: Vec<ClusterPort>,
}

/// A peer of such a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterPeer {
    /// `namespaces` or `pods`.
    Pods(PodsOf),
    /// `networks`.
    Networks(Vec<Prefix>),
    /// `nodes`, by their addresses.
    Nodes(LabelSelector),
    /// `domainNames`, in rules that accept: nobody, as long as no DNS is watched.
    Domains(Vec<String>),
    /// Something that is not known here, or not yet: the rule fails closed.
    Unknown,
}

/// One of `protocols`.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterPort {
    /// Destination ports of a protocol; none is all.
    Of(Protocol, Option<(u16, u16)>),
    /// `destinationNamedPort`, of whatever protocol it is.
    Named(String),
}
