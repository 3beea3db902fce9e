//! Everybody whom policies may be about or may name: endpoints and sets, with the labels that count.

use crate::lower::{ACCOUNT, OF_ACCOUNT, OF_NAMESPACE, ORCHESTRATOR};
use crate::object::{NetworkSet, Objects};
use crate::selector::{Labels, NAMESPACE};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::catalog::Entry;
use thalweg_model::cluster::{Cluster, EndpointSlice, NamedPort, ObjectName, Pod};
use thalweg_model::{Origin, Prefix};

/// The label with the name of a namespace or service account.
const NAME: &str = "projectcalico.org/name";
/// The label that an API server gives each namespace.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// The service account of pods that name none.
const USUAL_ACCOUNT: &str = "default";
/// The profile that allows everything.
const ALLOW: &str = "projectcalico-default-allow";

/// What an endpoint is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndpointName {
    /// A pod with a network of its own.
    Pod(ObjectName),
    /// A `HostEndpoint`.
    Host(String),
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(name) => name.fmt(f),
            Self::Host(name) => write!(f, "host {name}"),
        }
    }
}

/// The labels of an endpoint: its own, which go first, and those of its namespace and service account.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointLabels {
    own: BTreeMap<String, String>,
    inherited: Vec<Arc<BTreeMap<String, String>>>,
}

impl Labels for EndpointLabels {
    fn label(&self, key: &str) -> Option<&str> {
        let inherited = || self.inherited.iter().find_map(|labels| labels.get(key));
        self.own.get(key).or_else(inherited).map(String::as_str)
    }
}

impl EndpointLabels {
    /// All of them, each once.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for labels in self.inherited.iter().rev() {
            all.extend(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        }
        all.extend(self.own.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        all.into_iter()
    }
}

/// Somebody who sends and receives.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Which one it is.
    pub name: EndpointName,
    /// Where its object stands.
    pub origin: Origin,
    /// The labels that count.
    pub labels: EndpointLabels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports with names.
    pub ports: Vec<NamedPort>,
    /// The node that it is on.
    pub node: Option<String>,
    /// Whether its profiles allow what no policy speaks of.
    pub open: bool,
}

impl Endpoint {
    /// Whether it is a host.
    pub fn is_host(&self) -> bool {
        matches!(self.name, EndpointName::Host(_))
    }
}

/// A set of addresses with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// `NetworkSet`, or `GlobalNetworkSet` with an empty namespace.
    pub name: ObjectName,
    /// The labels that count.
    pub labels: EndpointLabels,
    /// Its addresses.
    pub nets: Vec<Prefix>,
}

/// Everybody.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Endpoints by name: pods, then hosts.
    pub endpoints: Vec<Endpoint>,
    /// Sets by name.
    pub sets: Vec<Set>,
    /// Addresses of each node.
    pub nodes: BTreeMap<String, Vec<IpAddr>>,
    /// Who serves a service: address, protocol and port.
    pub services: BTreeMap<ObjectName, Vec<(IpAddr, u8, u16)>>,
}

/// Labels that members of a namespace, or pods of a service account, inherit.
fn inherited(
    own: Option<&BTreeMap<String, String>>,
    name: &str,
    prefix: &str,
    more: &[&str],
) -> Arc<BTreeMap<String, String>> {
    let own = own.into_iter().flatten();
    let mut labels: BTreeMap<String, String> =
        own.map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect();
    for key in more {
        labels.insert(format!("{prefix}{key}"), name.into());
    }
    Arc::new(labels)
}

/// A pod with the labels that count, none of which is copied.
#[derive(Clone, Debug)]
pub(crate) struct PodEntry {
    entry: Entry<ObjectName, Pod>,
    inherited: [Arc<BTreeMap<String, String>>; 2],
}

impl Labels for PodEntry {
    fn label(&self, key: &str) -> Option<&str> {
        if key == NAMESPACE {
            return Some(&self.name().namespace);
        } else if key == ORCHESTRATOR.0 {
            return Some(ORCHESTRATOR.1);
        } else if key == ACCOUNT {
            return Some(account(self.pod()));
        }
        let inherited = || self.inherited.iter().find_map(|labels| labels.get(key));
        self.pod().labels.get(key).or_else(inherited).map(String::as_str)
    }
}

impl PodEntry {
    /// Its name.
    pub fn name(&self) -> &ObjectName {
        &self.entry.0
    }

    /// What its object says.
    pub fn pod(&self) -> &Pod {
        &self.entry.1
    }

    /// Whether nothing that policies see is another.
    pub fn is_alike(&self, other: &Self) -> bool {
        let (a, b) = (self.pod(), other.pod());
        let is_one = Arc::ptr_eq(&self.entry, &other.entry);
        let same = a.labels == b.labels
            && a.addresses == b.addresses
            && a.ports == b.ports
            && account(a) == account(b);
        (is_one || same) && self.inherited == other.inherited
    }
}

/// The service account of a pod.
pub(crate) fn account(pod: &Pod) -> &str {
    pod.service_account.as_deref().unwrap_or(USUAL_ACCOUNT)
}

/// Makes endpoints, and remembers labels that many inherit.
pub(crate) struct Maker<'a> {
    pub objects: &'a Objects,
    pub namespaces: HashMap<String, Arc<BTreeMap<String, String>>>,
    pub accounts: HashMap<ObjectName, Arc<BTreeMap<String, String>>>,
}

impl Maker<'_> {
    /// Labels of a namespace. One that has an object nowhere is there nevertheless: Kubernetes keeps no
    /// pod without it.
    fn namespace(&mut self, name: &str) -> Arc<BTreeMap<String, String>> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        let own = self.objects.namespaces.get(name);
        let made = inherited(own, name, OF_NAMESPACE, &[NAME, METADATA_NAME]);
        self.namespaces.insert(name.into(), made.clone());
        made
    }

    fn account(&mut self, name: &ObjectName) -> Arc<BTreeMap<String, String>> {
        if let Some(known) = self.accounts.get(name) {
            return known.clone();
        }
        let made = inherited(self.objects.accounts.get(name), &name.name, OF_ACCOUNT, &[NAME]);
        self.accounts.insert(name.clone(), made.clone());
        made
    }

    fn pod(&mut self, name: &ObjectName, pod: &Pod, origin: Origin) -> Endpoint {
        let account = account(pod);
        let mut own = pod.labels.clone();
        own.insert(NAMESPACE.into(), name.namespace.clone());
        own.insert(ORCHESTRATOR.0.into(), ORCHESTRATOR.1.into());
        own.insert(ACCOUNT.into(), account.into());
        let account = ObjectName::new(&name.namespace, account);
        let inherited = vec![self.namespace(&name.namespace), self.account(&account)];
        Endpoint {
            name: EndpointName::Pod(name.clone()),
            origin,
            labels: EndpointLabels { own, inherited },
            addresses: pod.addresses.clone(),
            ports: pod.ports.clone(),
            node: pod.node.clone(),
            open: true,
        }
    }

    /// The same of a pod, without copies.
    pub fn pod_entry(&mut self, entry: &Entry<ObjectName, Pod>) -> PodEntry {
        let namespace = &entry.0.namespace;
        let account = ObjectName::new(namespace, account(&entry.1));
        let inherited = [self.namespace(namespace), self.account(&account)];
        PodEntry { entry: entry.clone(), inherited }
    }

    /// All hosts, by name.
    pub fn hosts(&mut self) -> Vec<Endpoint> {
        let objects = self.objects;
        let namespace = |profile: &str| Some(profile.strip_prefix("kns.")?.to_owned());
        let mut made = Vec::new();
        for (name, host) in &objects.hosts {
            // A profile that nobody has denies, as does no profile at all.
            let known = |profile: &String| {
                let known = |name| objects.namespaces.contains_key(&name);
                profile == ALLOW || namespace(profile).is_some_and(known)
            };
            let inherited: Vec<_> = host.profiles.iter().filter_map(|p| namespace(p)).collect();
            let inherited = inherited.iter().map(|name| self.namespace(name)).collect();
            made.push(Endpoint {
                name: EndpointName::Host(name.clone()),
                origin: host.origin.clone(),
                labels: EndpointLabels { own: host.labels.clone(), inherited },
                addresses: host.addresses.clone(),
                ports: host.ports.clone(),
                node: Some(host.node.clone()),
                open: host.profiles.first().is_some_and(known),
            });
        }
        made
    }

    fn sets(&mut self) -> Vec<Set> {
        let objects = self.objects;
        objects.sets.iter().map(|(name, set)| self.set(name, set)).collect()
    }

    /// What a set comes to.
    pub fn set(&mut self, name: &ObjectName, set: &NetworkSet) -> Set {
        let mut own = set.labels.clone();
        let mut inherited = Vec::new();
        if !name.namespace.is_empty() {
            own.insert(NAMESPACE.into(), name.namespace.clone());
            inherited.push(self.namespace(&name.namespace));
        }
        let labels = EndpointLabels { own, inherited };
        Set { name: name.clone(), labels, nets: set.nets.clone() }
    }
}

impl World {
    /// Everybody there is. `origin` tells where a pod stands.
    pub fn new(
        objects: &Objects,
        cluster: &Cluster,
        origin: impl Fn(&ObjectName) -> Origin,
    ) -> Self {
        let mut maker = Maker { objects, namespaces: HashMap::new(), accounts: HashMap::new() };
        let mut endpoints = Vec::new();
        for (name, pod) in &cluster.pods {
            // Pods on the network of their host are hosts.
            if !pod.host_network {
                endpoints.push(maker.pod(name, pod, origin(name)));
            }
        }
        endpoints.extend(maker.hosts());
        let nodes = cluster.nodes.iter();
        Self {
            endpoints,
            sets: maker.sets(),
            nodes: nodes.map(|(name, node)| (name.clone(), node.addresses.clone())).collect(),
            services: services(cluster),
        }
    }

    /// The endpoint that has an address.
    pub fn at(&self, address: IpAddr) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| endpoint.addresses.contains(&address))
    }

    /// The pod of that name.
    pub fn pod(&self, name: &ObjectName) -> Option<usize> {
        self.endpoints
            .iter()
            .position(|one| matches!(&one.name, EndpointName::Pod(is) if is == name))
    }
}

/// Who serves a service and is ready, or may be asked before it is: address, protocol and port.
pub(crate) type Served = Vec<(IpAddr, u8, u16)>;

/// Who serves each service.
pub(crate) fn services(cluster: &Cluster) -> BTreeMap<ObjectName, Served> {
    let mut served: BTreeMap<ObjectName, Served> = BTreeMap::new();
    for (name, slice) in &cluster.slices {
        let service = ObjectName::new(&name.namespace, &slice.service);
        let unready = publishes_unready(cluster, &service);
        add_served(served.entry(service).or_default(), slice, unready);
    }
    served.values_mut().for_each(sort_served);
    served
}

/// Who serves one service; none where it has no slice.
pub(crate) fn served(cluster: &Cluster, service: &ObjectName) -> Option<Served> {
    let first = ObjectName::new(&service.namespace, "");
    let slices = cluster.slices.starting_at(&first);
    let slices = slices.take_while(|entry| entry.0.namespace == service.namespace);
    let unready = publishes_unready(cluster, service);
    let mut made: Option<Served> = None;
    for entry in slices.filter(|entry| entry.1.service == service.name) {
        add_served(made.get_or_insert_default(), &entry.1, unready);
    }
    made.iter_mut().for_each(sort_served);
    made
}

fn publishes_unready(cluster: &Cluster, service: &ObjectName) -> bool {
    cluster.services.get(service).is_some_and(|of| of.publish_not_ready)
}

fn add_served(who: &mut Served, slice: &EndpointSlice, unready: bool) {
    for endpoint in slice.endpoints.iter().filter(|one| one.ready || unready) {
        if let Some(address) = endpoint.addresses.first() {
            let ports = slice.ports.iter();
            who.extend(ports.map(|port| (*address, port.protocol.number(), port.port)));
        }
    }
}

fn sort_served(who: &mut Served) {
    who.sort_unstable();
    who.dedup();
}
