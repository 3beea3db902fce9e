//! Everybody whom policies may be about or may name: endpoints and sets, with the labels that count.

use crate::lower::{ACCOUNT, OF_ACCOUNT, OF_NAMESPACE, ORCHESTRATOR};
use crate::object::{HostEndpoint, NetworkSet, Objects};
use crate::selector::{Labels, NAMESPACE, Selector};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::catalog::Entry;
use thalweg_model::cluster::{Cluster, EndpointSlice, NamedPort, Node, ObjectName, Pod};
use thalweg_model::{Catalog, Origin, PolicySettings, Prefix};

/// The label with the name of a namespace or service account.
const NAME: &str = "projectcalico.org/name";
/// The label that an API server gives each namespace.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// The service account of pods that name none.
const USUAL_ACCOUNT: &str = "default";
/// The profile that allows everything.
pub const ALLOW: &str = "projectcalico-default-allow";
/// What the profile of a namespace is called: it allows everything, and has the namespace's labels.
pub const PROFILE_OF_NAMESPACE: &str = "kns.";
/// What the profile of a service account is called (`NAMESPACE.NAME` behind it): it has its labels alone.
pub const PROFILE_OF_ACCOUNT: &str = "ksa.";
/// The label that tells who made a host endpoint, and its value for those of nodes.
const CREATED_BY: (&str, &str) = ("projectcalico.org/created-by", "calico-kube-controllers");
/// What stands for all interfaces of a node.
const ALL_INTERFACES: &str = "*";

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
    /// The interface that it stands for, if it is a host's that names one; `*` is all that no other
    /// endpoint of its node stands for.
    pub interface: Option<String>,
    /// Profiles whose rules decide what no policy does, in this order.
    pub profiles: Vec<String>,
    /// Whether what these do not decide either is allowed.
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
    /// Labels of each node that has any.
    pub node_labels: BTreeMap<String, BTreeMap<String, String>>,
    /// Who serves a service: address, protocol and port.
    pub services: BTreeMap<ObjectName, Vec<(IpAddr, u8, u16)>>,
    /// What else decides at hosts.
    pub settings: PolicySettings,
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
            interface: None,
            profiles: Vec::new(),
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

    /// All hosts, by name: those of objects, then those that nodes have without.
    pub fn hosts(&mut self, nodes: &Catalog<String, Node>) -> Vec<Endpoint> {
        let objects = self.objects;
        let mut made: Vec<Endpoint> =
            objects.hosts.iter().map(|(name, host)| self.host(name, host)).collect();
        made.extend(self.auto_hosts(nodes));
        made
    }

    fn host(&mut self, name: &str, host: &HostEndpoint) -> Endpoint {
        let inherited = host.profiles.iter().filter_map(|name| self.labels_of(name)).collect();
        // The first profile that decides everything is the last one that is asked: one that allows, or
        // one that nobody has.
        let decides = |name: &&String| {
            !self.objects.profiles.contains_key(name.as_str()) && !self.is_account(name)
        };
        let last = host.profiles.iter().find(decides);
        let asked = host.profiles.iter().take_while(|name| Some(*name) != last);
        Endpoint {
            name: EndpointName::Host(name.into()),
            origin: host.origin.clone(),
            labels: EndpointLabels { own: host.labels.clone(), inherited },
            addresses: host.addresses.clone(),
            ports: host.ports.clone(),
            node: Some(host.node.clone()),
            interface: host.interface.clone(),
            profiles: asked.filter(|name| !self.is_account(name)).cloned().collect(),
            open: last.is_some_and(|name| self.allows(name)),
        }
    }

    /// Whether a profile is that of a service account, which has no rules.
    fn is_account(&self, profile: &str) -> bool {
        account_of(profile).is_some_and(|name| self.objects.accounts.contains_key(&name))
    }

    /// Whether a profile allows everything.
    fn allows(&self, profile: &str) -> bool {
        let namespace = profile.strip_prefix(PROFILE_OF_NAMESPACE);
        profile == ALLOW || namespace.is_some_and(|name| self.objects.namespaces.contains_key(name))
    }

    /// Labels that a profile gives to those who list it.
    fn labels_of(&mut self, profile: &str) -> Option<Arc<BTreeMap<String, String>>> {
        if self.is_account(profile) {
            return account_of(profile).map(|name| self.account(&name));
        }
        match profile.strip_prefix(PROFILE_OF_NAMESPACE) {
            Some(namespace) => self.allows(profile).then(|| self.namespace(namespace)),
            None => {
                let known = self.objects.profiles.get(profile);
                known.map(|profile| Arc::new(profile.labels.clone()))
            }
        }
    }

    /// Host endpoints for all interfaces of nodes that have none by an object.
    fn auto_hosts(&mut self, nodes: &Catalog<String, Node>) -> Vec<Endpoint> {
        let objects = self.objects;
        if !objects.settings.auto_hosts {
            return Vec::new();
        }
        let of_all = |host: &&HostEndpoint| host.interface.as_deref() == Some(ALL_INTERFACES);
        let have: BTreeSet<&str> =
            objects.hosts.values().filter(of_all).map(|host| host.node.as_str()).collect();
        let mut made = Vec::new();
        for (node, of) in nodes.iter().filter(|(node, _)| !have.contains(node.as_str())) {
            let name = format!("{node}-auto-hep");
            if objects.hosts.contains_key(&name) {
                continue;
            }
            let mut labels = objects.nodes.get(node).cloned().unwrap_or_default();
            labels.insert(CREATED_BY.0.into(), CREATED_BY.1.into());
            let host = HostEndpoint {
                labels,
                node: node.clone(),
                interface: Some(ALL_INTERFACES.into()),
                addresses: of.addresses.clone(),
                profiles: vec![ALLOW.into()],
                ..HostEndpoint::default()
            };
            made.push(self.host(&name, &host));
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

/// Whether there is such a profile: by an object, or of a namespace or service account.
pub(crate) fn is_known(objects: &Objects, profile: &str) -> bool {
    let namespace = profile.strip_prefix(PROFILE_OF_NAMESPACE);
    profile == ALLOW
        || objects.profiles.contains_key(profile)
        || namespace.is_some_and(|name| objects.namespaces.contains_key(name))
        || account_of(profile).is_some_and(|name| objects.accounts.contains_key(&name))
}

/// The service account that a profile is of, by its name.
fn account_of(profile: &str) -> Option<ObjectName> {
    let (namespace, name) = profile.strip_prefix(PROFILE_OF_ACCOUNT)?.split_once('.')?;
    Some(ObjectName::new(namespace, name))
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
        endpoints.extend(maker.hosts(&cluster.nodes));
        let nodes = cluster.nodes.iter();
        Self {
            endpoints,
            sets: maker.sets(),
            nodes: nodes.map(|(name, node)| (name.clone(), node.addresses.clone())).collect(),
            node_labels: objects
                .nodes
                .iter()
                .map(|(name, of)| (name.clone(), of.clone()))
                .collect(),
            services: services(cluster),
            settings: objects.settings.clone(),
        }
    }

    /// Nodes whose labels are as a selector says, with their addresses.
    pub fn nodes_of<'w>(
        &'w self,
        selector: &'w Selector,
    ) -> impl Iterator<Item = (&'w str, &'w [IpAddr])> {
        let none = BTreeMap::new();
        let selected = move |name: &&String| {
            selector.selects(self.node_labels.get(name.as_str()).unwrap_or(&none))
        };
        let nodes = self.nodes.iter().filter(move |(name, _)| selected(name));
        nodes.map(|(name, addresses)| (name.as_str(), addresses.as_slice()))
    }

    /// The host endpoint that stands for an interface of a node: the one that names it, else one that
    /// names none and has one of its addresses, else the one for all. Of several, the first by name.
    pub fn host_at(&self, node: &str, interface: &str, addresses: &[IpAddr]) -> Option<usize> {
        stands_for(|| self.hosts_of(node), interface, addresses)
    }

    /// The host endpoint for all interfaces of a node that no other one stands for, and for what its pods
    /// send and receive.
    pub fn host_of_all(&self, node: &str) -> Option<usize> {
        stands_for_all(self.hosts_of(node))
    }

    fn hosts_of(&self, node: &str) -> impl Iterator<Item = (usize, &Endpoint)> {
        let of = move |one: &Endpoint| one.is_host() && one.node.as_deref() == Some(node);
        self.endpoints.iter().enumerate().filter(move |(_, one)| of(one))
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

/// Of the host endpoints of a node, by name, the one that stands for an interface ([`World::host_at`]).
pub(crate) fn stands_for<'e, I: Iterator<Item = (usize, &'e Endpoint)>>(
    hosts: impl Fn() -> I,
    interface: &str,
    addresses: &[IpAddr],
) -> Option<usize> {
    let has = |one: &Endpoint| one.addresses.iter().any(|of| addresses.contains(of));
    let named = hosts().find(|(_, one)| one.interface.as_deref() == Some(interface));
    let named = named.or_else(|| hosts().find(|(_, one)| one.interface.is_none() && has(one)));
    named.map(|(at, _)| at).or_else(|| stands_for_all(hosts()))
}

/// Of the host endpoints of a node, the one for all interfaces ([`World::host_of_all`]).
pub(crate) fn stands_for_all<'e>(
    mut hosts: impl Iterator<Item = (usize, &'e Endpoint)>,
) -> Option<usize> {
    let found = hosts.find(|(_, one)| one.interface.as_deref() == Some(ALL_INTERFACES));
    found.map(|(at, _)| at)
}

/// Who serves a service: address, protocol and port. Who serves it at no port has [`NO_PORT`].
pub(crate) type Served = Vec<(IpAddr, u8, u16)>;

/// Protocol and port of who serves a service without ports, as one without an address of its own may be.
pub(crate) const NO_PORT: (u8, u16) = (0, 0);

/// Who serves each service.
pub(crate) fn services(cluster: &Cluster) -> BTreeMap<ObjectName, Served> {
    let mut served: BTreeMap<ObjectName, Served> = BTreeMap::new();
    for (name, slice) in &cluster.slices {
        let service = ObjectName::new(&name.namespace, &slice.service);
        add_served(served.entry(service).or_default(), slice);
    }
    served.values_mut().for_each(sort_served);
    served
}

/// Who serves one service; none where it has no slice.
pub(crate) fn served(cluster: &Cluster, service: &ObjectName) -> Option<Served> {
    let first = ObjectName::new(&service.namespace, "");
    let slices = cluster.slices.starting_at(&first);
    let slices = slices.take_while(|entry| entry.0.namespace == service.namespace);
    let mut made: Option<Served> = None;
    for entry in slices.filter(|entry| entry.1.service == service.name) {
        add_served(made.get_or_insert_default(), &entry.1);
    }
    made.iter_mut().for_each(sort_served);
    made
}

/// All endpoints count, ready or not: who is becoming ready may need what a policy allows it, and the
/// connections of who is ending go on.
fn add_served(who: &mut Served, slice: &EndpointSlice) {
    let ports = slice.ports.iter().map(|port| (port.protocol.number(), port.port));
    let ports = ports.chain(slice.ports.is_empty().then_some(NO_PORT));
    for address in slice.endpoints.iter().flat_map(|one| &one.addresses) {
        who.extend(ports.clone().map(|(protocol, port)| (*address, protocol, port)));
    }
}

fn sort_served(who: &mut Served) {
    who.sort_unstable();
    who.dedup();
}
