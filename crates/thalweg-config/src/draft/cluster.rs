//! Objects of Kubernetes while they are being read, and what they claim of what others may claim too.

use crate::draft::clash;
use crate::foreign::Meta;
use crate::report::Report;
use crate::sources::Span;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use thalweg_model::Prefix;
use thalweg_model::cluster::{
    Cluster, EndpointSlice, IpPool, Node, ObjectName, Pod, Protocol, Service, ServiceSettings,
};
use thalweg_policy::Objects;
use thalweg_policy::object::{HostEndpoint, NetworkSet, PolicyId, PolicyObject, Profile, Tier};

/// A port of all nodes that a service asks for.
#[derive(Debug)]
pub(crate) struct PortClaim {
    pub port: u16,
    pub protocol: Protocol,
    /// The field of `spec` that it stands in.
    pub field: &'static str,
    /// Where it stands.
    pub at: Span,
}

/// The node ports of a service.
#[derive(Debug)]
pub(crate) struct Claims {
    /// When the service was created.
    pub created: u64,
    /// Where its name stands.
    pub at: Span,
    pub name: ObjectName,
    pub ports: Vec<PortClaim>,
}

/// The interface that a pod asks for.
#[derive(Debug)]
pub(crate) struct Interface {
    /// When the pod was created, in seconds since 1970; one that does not say is the youngest.
    pub created: u64,
    /// Where it stands.
    pub at: Span,
    pub pod: ObjectName,
    pub node: Option<String>,
    pub interface: String,
}

/// Everything that was read so far.
#[derive(Default)]
pub(crate) struct ClusterDraft {
    services: Vec<(ObjectName, Service)>,
    slices: Vec<(ObjectName, EndpointSlice)>,
    nodes: Vec<(String, Node)>,
    pods: Vec<(ObjectName, Pod)>,
    pools: Vec<(String, IpPool)>,
    service_cidrs: Vec<(String, Vec<Prefix>)>,
    claims: Vec<Claims>,
    interfaces: Vec<Interface>,
    strange: BTreeMap<String, (Span, usize)>,
    /// What policies are made of.
    pub policies: PolicyDraft,
}

/// What was read of one file or several, before its objects are held against each other.
#[derive(Debug, Default)]
pub(crate) struct ClusterPart {
    /// All objects that are right by themselves.
    pub cluster: Cluster,
    pub claims: Vec<Claims>,
    pub interfaces: Vec<Interface>,
    /// Kinds that are not read, where the first stands, and how many there are.
    pub strange: BTreeMap<String, (Span, usize)>,
    /// What policies are made of.
    pub policies: Objects,
}

impl ClusterDraft {
    /// Adds a `Service` with its node ports.
    pub fn service(&mut self, meta: &Meta, mut service: Service, ports: Vec<PortClaim>) {
        service.cluster_ips.shrink_to_fit();
        service.ports.shrink_to_fit();
        if !ports.is_empty() {
            let created = service.created.unwrap_or(u64::MAX);
            self.claims.push(Claims { created, at: meta.at, name: meta.name.clone(), ports });
        }
        self.services.push((meta.name.clone(), service));
    }

    /// Adds an `EndpointSlice`.
    pub fn slice(&mut self, meta: &Meta, mut slice: EndpointSlice) {
        slice.ports.shrink_to_fit();
        self.slices.push((meta.name.clone(), slice));
    }

    /// Adds a `Node`.
    pub fn node(&mut self, meta: &Meta, node: Node) {
        self.nodes.push((meta.name.name.clone(), node));
    }

    /// Adds a `Pod`, whose interface is named at `at`.
    pub fn pod(&mut self, meta: &Meta, pod: Pod, at: Span) {
        if let Some(interface) = &pod.interface {
            let (interface, node) = (interface.clone(), pod.node.clone());
            let (created, pod) = (meta.created.unwrap_or(u64::MAX), meta.name.clone());
            self.interfaces.push(Interface { created, at, pod, node, interface });
        }
        self.pods.push((meta.name.clone(), pod));
    }

    /// Adds an `IPPool`.
    pub fn pool(&mut self, meta: &Meta, pool: IpPool) {
        self.pools.push((meta.name.name.clone(), pool));
    }

    /// Adds a `ServiceCIDR`.
    pub fn service_cidr(&mut self, meta: &Meta, cidrs: Vec<Prefix>) {
        self.service_cidrs.push((meta.name.name.clone(), cidrs));
    }

    /// Counts an object of a kind that is not read.
    pub fn strange(&mut self, kind: &str, at: Span) {
        self.strange.entry(kind.into()).or_insert((at, 0)).1 += 1;
    }

    /// All that was read.
    pub fn part(self) -> ClusterPart {
        ClusterPart {
            cluster: Cluster {
                services: self.services.into_iter().collect(),
                slices: self.slices.into_iter().collect(),
                nodes: self.nodes.into_iter().collect(),
                pods: self.pods.into_iter().collect(),
                pools: self.pools.into_iter().collect(),
                service_cidrs: self.service_cidrs.into_iter().collect(),
            },
            claims: self.claims,
            interfaces: self.interfaces,
            strange: self.strange,
            policies: self.policies.finish(),
        }
    }

    /// The cluster without those that are wrong beside others, and what policies are made of.
    pub fn finish(self, settings: &ServiceSettings, report: &mut Report) -> (Cluster, Objects) {
        let part = self.part();
        let all = [(None, &part)];
        let services = clash::node_ports(&all, settings.node_ports, report);
        let pods = clash::interfaces(&all, report);
        clash::tell_strange(&all, report);
        let mut cluster = part.cluster;
        clash::set_aside(&mut cluster.services, &services);
        clash::set_aside(&mut cluster.pods, &pods);
        (cluster, part.policies)
    }
}

impl ClusterPart {
    /// What only one service, or one pod, may have, as numbers.
    pub fn prints(&self) -> impl Iterator<Item = u64> {
        let ports = self.claims.iter().flat_map(|claims| &claims.ports);
        let ports = ports.map(|claim| print(&(0u8, claim.port, claim.protocol)));
        let interfaces = self.interfaces.iter();
        ports.chain(interfaces.map(|one| print(&(1u8, &one.node, &one.interface))))
    }

    /// Whether all its node ports lie in a range.
    pub fn is_within(&self, range: (u16, u16)) -> bool {
        let mut ports = self.claims.iter().flat_map(|claims| &claims.ports);
        ports.all(|claim| (range.0..=range.1).contains(&claim.port))
    }

    /// Shares objects that are the same with an earlier reading.
    pub fn share(&mut self, before: &Self) {
        let (new, old) = (&mut self.cluster, &before.cluster);
        new.services.share(&old.services);
        new.slices.share(&old.slices);
        new.nodes.share(&old.nodes);
        new.pods.share(&old.pods);
        new.pools.share(&old.pools);
        new.service_cidrs.share(&old.service_cidrs);
        let (new, old) = (&mut self.policies, &before.policies);
        new.policies.share(&old.policies);
        new.sets.share(&old.sets);
        new.namespaces.share(&old.namespaces);
        new.accounts.share(&old.accounts);
        new.nodes.share(&old.nodes);
    }
}

/// A number that stands for what is claimed: the same for the same, hardly ever for another.
fn print(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// What policies are made of, while it is being read.
#[derive(Default)]
pub(crate) struct PolicyDraft {
    pub policies: Vec<(PolicyId, PolicyObject)>,
    pub tiers: Vec<(String, Tier)>,
    pub sets: Vec<(ObjectName, NetworkSet)>,
    pub hosts: Vec<(String, HostEndpoint)>,
    pub profiles: Vec<(String, Profile)>,
    pub namespaces: Vec<(String, BTreeMap<String, String>)>,
    pub accounts: Vec<(ObjectName, BTreeMap<String, String>)>,
    /// Labels of nodes.
    pub nodes: Vec<(String, BTreeMap<String, String>)>,
}

impl PolicyDraft {
    fn finish(self) -> Objects {
        Objects {
            policies: self.policies.into_iter().collect(),
            tiers: self.tiers.into_iter().collect(),
            sets: self.sets.into_iter().collect(),
            hosts: self.hosts.into_iter().collect(),
            profiles: self.profiles.into_iter().collect(),
            namespaces: self.namespaces.into_iter().collect(),
            accounts: self.accounts.into_iter().collect(),
            nodes: self.nodes.into_iter().collect(),
            // Another file may have the router.
            ..Objects::default()
        }
    }
}
