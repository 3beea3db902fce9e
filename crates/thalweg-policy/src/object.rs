//! Objects as they are written: values of their APIs, defaults filled in, each with its place.

pub mod calico;
pub mod kubernetes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use thalweg_model::cluster::{NamedPort, ObjectName};
use thalweg_model::{Catalog, Key, Origin, PolicySettings, Prefix};

/// Everything that policies are made of, beside pods, services and nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Policies of all kinds.
    pub policies: Catalog<PolicyId, PolicyObject>,
    /// `Tier`, by name.
    pub tiers: Catalog<String, Tier>,
    /// `NetworkSet`, and `GlobalNetworkSet` with an empty namespace.
    pub sets: Catalog<ObjectName, NetworkSet>,
    /// `HostEndpoint`, by name.
    pub hosts: Catalog<String, HostEndpoint>,
    /// `Profile`, by name.
    pub profiles: Catalog<String, Profile>,
    /// Labels of each `Namespace`.
    pub namespaces: Catalog<String, BTreeMap<String, String>>,
    /// Labels of each `ServiceAccount`.
    pub accounts: Catalog<ObjectName, BTreeMap<String, String>>,
    /// Labels of each `Node`.
    pub nodes: Catalog<String, BTreeMap<String, String>>,
    /// What the `Router` object says of policies.
    pub settings: PolicySettings,
}

impl Objects {
    /// Whether there is nothing that policies would be made of. Nodes and settings alone make none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
            && self.tiers.is_empty()
            && self.sets.is_empty()
            && self.hosts.is_empty()
            && self.profiles.is_empty()
            && self.namespaces.is_empty()
            && self.accounts.is_empty()
    }

    /// The policy whose place a staged one takes, or that it takes away, if there is one.
    pub fn replaced(&self, staged: &PolicyId) -> Option<PolicyId> {
        let kind = staged.kind.of_staged()?;
        Some(PolicyId { kind, name: staged.name.clone() })
            .filter(|id| self.policies.contains_key(id))
    }
}

/// Line and column (from 1) within the file of an object.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Line from 1; 0 when unknown.
    pub line: u32,
    /// Column from 1; 0 when unknown.
    pub column: u32,
}

impl Place {
    /// The place in the file of `origin`.
    pub fn within(self, origin: &Origin) -> Origin {
        Origin { file: origin.file.clone(), line: self.line, column: self.column }
    }
}

impl From<&Origin> for Place {
    fn from(origin: &Origin) -> Self {
        Self { line: origin.line, column: origin.column }
    }
}

/// The kinds of policies.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicyKind {
    /// `policy.networking.k8s.io ClusterNetworkPolicy`.
    Cluster,
    /// `projectcalico.org GlobalNetworkPolicy`.
    Global,
    /// `projectcalico.org NetworkPolicy`.
    Calico,
    /// `networking.k8s.io NetworkPolicy`.
    Kubernetes,
    /// `projectcalico.org StagedGlobalNetworkPolicy`.
    StagedGlobal,
    /// `projectcalico.org StagedNetworkPolicy`.
    StagedCalico,
    /// `projectcalico.org StagedKubernetesNetworkPolicy`.
    StagedKubernetes,
    /// `projectcalico.org Profile`: what host endpoints that list it say where no policy decides.
    Profile,
}

impl PolicyKind {
    /// All, each with its name. Calico's `NetworkPolicy` has its group behind it, as `kubectl` has it where
    /// two kinds share a name.
    pub const ALL: [(&str, Self); 8] = [
        ("ClusterNetworkPolicy", Self::Cluster),
        ("GlobalNetworkPolicy", Self::Global),
        ("NetworkPolicy.projectcalico.org", Self::Calico),
        ("NetworkPolicy", Self::Kubernetes),
        ("StagedGlobalNetworkPolicy", Self::StagedGlobal),
        ("StagedNetworkPolicy", Self::StagedCalico),
        ("StagedKubernetesNetworkPolicy", Self::StagedKubernetes),
        ("Profile", Self::Profile),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind whose place a staged one would take; none for what is not staged.
    pub fn of_staged(self) -> Option<Self> {
        match self {
            Self::StagedGlobal => Some(Self::Global),
            Self::StagedCalico => Some(Self::Calico),
            Self::StagedKubernetes => Some(Self::Kubernetes),
            _ => None,
        }
    }
}

/// Kind and name of a policy; those of no namespace have an empty one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PolicyId {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its name.
    pub name: ObjectName,
}

impl PolicyId {
    /// As problems name objects.
    pub fn key(&self) -> Key {
        Key { kind: self.kind.name().into(), name: self.short() }
    }

    /// Its name, with the namespace if there is one.
    pub fn short(&self) -> String {
        match self.name.namespace.is_empty() {
            true => self.name.name.clone(),
            false => self.name.to_string(),
        }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.short())
    }
}

/// A policy with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyObject {
    /// Where it stands.
    pub origin: Origin,
    /// `spec.stagedAction`, of staged kinds.
    pub staged: StagedAction,
    /// What it says.
    pub spec: Spec,
}

/// What a policy says, by its API.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// `networking.k8s.io/v1`.
    Kubernetes(kubernetes::NetworkPolicy),
    /// `policy.networking.k8s.io/v1alpha2`.
    Cluster(kubernetes::ClusterNetworkPolicy),
    /// `projectcalico.org/v3`.
    Calico(Box<calico::Policy>),
}

/// What is to become of the policy that a staged one names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StagedAction {
    /// The staged one takes its place.
    #[default]
    Set,
    /// It goes away.
    Delete,
    /// Nothing: rules are being learned.
    Learn,
    /// Nothing.
    Ignore,
}

/// What is done at the end of a tier.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EndAction {
    /// Deny.
    #[default]
    Deny,
    /// Go on to the next tier.
    Pass,
}

/// A tier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tier {
    /// Where it stands.
    pub origin: Origin,
    /// `spec.order`; none comes last.
    pub order: Option<f64>,
    /// `spec.defaultAction`.
    pub end: EndAction,
}

/// Addresses with labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSet {
    /// Where it stands.
    pub origin: Origin,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.nets`.
    pub nets: Vec<Prefix>,
}

/// An interface of a node, or all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostEndpoint {
    /// Where it stands.
    pub origin: Origin,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.node`.
    pub node: String,
    /// `spec.interfaceName`; `*` is all that no other one is for, none those with one of `addresses`.
    pub interface: Option<String>,
    /// `spec.expectedIPs`.
    pub addresses: Vec<IpAddr>,
    /// `spec.profiles`.
    pub profiles: Vec<String>,
    /// `spec.ports`.
    pub ports: Vec<NamedPort>,
}

/// What host endpoints say where no policy decides, and labels for those that list it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Where it stands.
    pub origin: Origin,
    /// `spec.labelsToApply`.
    pub labels: BTreeMap<String, String>,
    /// `spec.ingress`.
    pub ingress: Vec<calico::Rule>,
    /// `spec.egress`.
    pub egress: Vec<calico::Rule>,
}
