//! Services: from what resolving says to frontends and sets of backends in the tables.

use crate::compiler::Compiler;
use crate::key::is_link_local;
use crate::nat::Nat;
use crate::others::Others;
use crate::pool::Pool;
use crate::rings::{self, Content};
use crate::twins::{self, Twins};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_abi::BackendRow;
use thalweg_abi::service::{RangeRow, flag};
use thalweg_image::{BackendSet, Change, Frontend, FrontendKey, SetId, halves};
use thalweg_model::cluster::{Cluster, Family, Protocol, Service, ServiceType, TrafficPolicy};
use thalweg_model::host::Address;
use thalweg_model::{ObjectName, Prefix, Problem, Severity};
use thalweg_service::{
    Backend, Changes, Choice, Class, Difference, Empty, Here, NodeAddress, Resolver,
};

/// The set of no backends.
pub(crate) const NOBODY: SetId = SetId(0);

/// What services come to, and what of it is in force.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) resolver: Resolver,
    pub(crate) here: Here,
    /// Sets in force by content, with how many frontends have them.
    sets: HashMap<Arc<Content>, (SetId, u32)>,
    contents: HashMap<SetId, Arc<Content>>,
    /// Rings that were computed ahead.
    filled: HashMap<Content, Vec<u16>>,
    pub(crate) frontends: HashMap<FrontendKey, [SetId; 2]>,
    pub(crate) numbers: Pool,
    /// Whether the set of no backends was written.
    begun: bool,
    todo: Changes,
    /// Rows beside those of services.
    pub(crate) nat: Nat,
    /// Frontends for packets out of tunnels.
    twins: Twins,
    /// Addresses of other nodes.
    pub(crate) others: Others,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            resolver: Resolver::default(),
            here: Here::default(),
            sets: HashMap::new(),
            contents: HashMap::new(),
            filled: HashMap::new(),
            frontends: HashMap::new(),
            numbers: Pool::new(1, u32::MAX - 1),
            begun: false,
            todo: Changes::default(),
            nat: Nat::default(),
            twins: Twins::default(),
            others: Others::default(),
        }
    }
}

impl Services {
    /// Notes which objects differ.
    pub fn note(&mut self, old: &Cluster, new: &Cluster) {
        let services = old.services.differences(&new.services);
        self.todo.services.extend(services.iter().map(|change| change.key.clone()));
        let slices = old.slices.differences(&new.slices);
        self.todo.slices.extend(slices.iter().map(|change| change.key.clone()));
        self.todo.here |= old.nodes != new.nodes;
    }

    /// The changes to the tables since the last call: first those that add, then those that take out.
    pub fn plan(&mut self, cluster: &Cluster, here: Here) -> (Vec<Change>, Vec<Change>) {
        // What is as it was for the resolver, and has other rows.
        let turned = self.others.take_changed()
            || (here.settings.dsr, here.settings.ring)
                != (self.here.settings.dsr, self.here.settings.ring);
        self.todo.here |= turned || here != self.here;
        self.here = here;
        let again = self.todo != Changes::default();
        let (mut more, mut less) = self.plan_services(cluster, turned);
        if self.nat.take_changed() || again {
            self.plan_nat(&mut more, &mut less);
        }
        (more, less)
    }

    fn plan_services(&mut self, cluster: &Cluster, turned: bool) -> (Vec<Change>, Vec<Change>) {
        if self.todo == Changes::default() {
            return (Vec::new(), Vec::new());
        }
        let todo = std::mem::take(&mut self.todo);
        let mut difference = self.resolver.update(cluster, &self.here, &todo);
        if turned {
            difference.changed = self.resolver.frontends().cloned().collect();
        }
        self.changes(&difference)
    }

    fn changes(&mut self, difference: &Difference) -> (Vec<Change>, Vec<Change>) {
        let (mut more, mut less) = (Vec::new(), Vec::new());
        if difference.is_empty() {
            return (more, less);
        }
        self.begin(&mut more);
        let mut left: BTreeSet<SetId> = BTreeSet::new();
        let new = difference.added.iter().chain(&difference.changed);
        let choices = new.flat_map(|frontend| [&frontend.internal, &frontend.external]);
        let others = &self.others;
        self.filled = rings::fill(choices, others, self.here.settings.ring, |content| {
            self.sets.contains_key(content)
        });
        for frontend in difference.added.iter().chain(&difference.changed) {
            self.set(frontend, &mut more, &mut left);
        }
        self.filled.clear();
        for vip in &difference.vips {
            let key = FrontendKey::new(vip.address, 0, 0);
            more.push(Change::Frontend(key, Frontend::default()));
        }
        for key in &difference.removed {
            let key = key_of(key);
            self.others.forget(key);
            less.push(Change::RemoveFrontend(key));
            let twin = self.twins.part(key);
            let gone = self.frontends.remove(&key).into_iter().flatten();
            for id in gone.chain(twin.iter().map(|(_, set)| *set)).collect::<Vec<_>>() {
                self.release(id);
                left.insert(id);
            }
            less.extend(twin.map(|(twin, _)| Change::RemoveFrontend(twin)));
        }
        less.extend(
            difference
                .vips_removed
                .iter()
                .map(|address: &IpAddr| Change::RemoveFrontend(FrontendKey::new(*address, 0, 0))),
        );
        for id in left {
            self.release_idle(id, &mut less);
        }
        (more, less)
    }

    /// Writes the set of no backends, once.
    pub(crate) fn begin(&mut self, more: &mut Vec<Change>) {
        if !self.begun {
            self.begun = true;
            more.push(Change::Backends(NOBODY, BackendSet::default()));
        }
    }

    fn set(
        &mut self,
        frontend: &Arc<thalweg_service::Frontend>,
        more: &mut Vec<Change>,
        left: &mut BTreeSet<SetId>,
    ) {
        let key = key_of(&frontend.key);
        let choices = [&frontend.internal, &frontend.external];
        let sets = choices.map(|choice| self.hold(choice, more));
        let drops = |choice: &Choice, bit| if choice.empty == Empty::Drop { bit } else { 0 };
        let mut flags = drops(&frontend.internal, flag::DROPS_INTERNAL)
            | drops(&frontend.external, flag::DROPS_EXTERNAL);
        if frontend.external.masquerade {
            flags |= flag::MASQUERADE;
        }
        if self.here.settings.dsr && goes_straight(frontend) {
            flags |= flag::DIRECT;
        }
        let row = Frontend {
            flags,
            affinity: frontend.affinity.map_or(0, |time| time.as_secs() as u32),
            service: 0,
            internal: sets[0],
            external: sets[1],
            ranges: bounds(frontend),
        };
        more.push(Change::Frontend(key, row));
        self.others.note(key, frontend, &self.here);
        self.set_twin(frontend, key, more, left);
        if let Some(before) = self.frontends.insert(key, sets) {
            for id in before {
                self.release(id);
                left.insert(id);
            }
        }
    }

    /// Sets the frontend that packets out of tunnels find: only backends of this node serve there.
    fn set_twin(
        &mut self,
        frontend: &thalweg_service::Frontend,
        key: FrontendKey,
        more: &mut Vec<Change>,
        left: &mut BTreeSet<SetId>,
    ) {
        let local = Choice {
            backends: frontend.external.backends.iter().filter(|b| b.local).cloned().collect(),
            ..frontend.external.clone()
        };
        let wanted = self.here.settings.dsr && goes_straight(frontend) && !local.is_empty();
        let twin = twins::key_of(frontend);
        let mut gone = Vec::new();
        if !(wanted && self.twins.is(key, twin))
            && let Some((other, set)) = self.twins.part(key)
        {
            more.push(Change::RemoveFrontend(other));
            gone.push(set);
        }
        if wanted {
            let set = self.hold(&local, more);
            let row = Frontend { internal: set, external: set, ..Frontend::default() };
            more.push(Change::Frontend(twin, row));
            gone.extend(self.twins.set(key, twin, set));
        }
        for set in gone {
            self.release(set);
            left.insert(set);
        }
    }

    /// The set of a choice, with one more holder; written if it is new.
    pub(crate) fn hold(&mut self, choice: &Choice, more: &mut Vec<Change>) -> SetId {
        if choice.is_empty() {
            return NOBODY;
        }
        let content = rings::content(choice, &self.others, self.here.settings.ring);
        if let Some((id, users)) = self.sets.get_mut(&content) {
            *users += 1;
            return *id;
        }
        let Some(number) = self.numbers.take() else { return NOBODY };
        let id = SetId(number);
        let row = |backend| row_of(backend, &self.others);
        let backends: Vec<BackendRow> = choice.backends.iter().map(row).collect();
        let ring = match self.filled.remove(&content) {
            Some(ring) => ring,
            None if backends.len() == 1 => Vec::new(),
            None => self.ring(choice),
        };
        more.push(Change::Backends(id, BackendSet { backends, ring }));
        let content = Arc::new(content);
        self.contents.insert(id, content.clone());
        self.sets.insert(content, (id, 1));
        id
    }

    fn ring(&self, choice: &Choice) -> Vec<u16> {
        choice.ring(self.here.settings.ring)
    }

    pub(crate) fn release(&mut self, id: SetId) {
        let Some(content) = self.contents.get(&id) else { return };
        if let Some((_, users)) = self.sets.get_mut(content) {
            *users = users.saturating_sub(1);
        }
    }

    /// Takes a set out that nobody holds any more.
    pub(crate) fn release_idle(&mut self, id: SetId, less: &mut Vec<Change>) {
        let Some(content) = self.contents.get(&id) else { return };
        if self.sets.get(content).is_some_and(|(_, users)| *users == 0) {
            self.sets.remove(content);
            self.contents.remove(&id);
            self.numbers.give(id.0);
            less.push(Change::FreeBackends(id));
        }
    }
}

/// Whether answers may go straight to external clients. Who keeps clients at their backends sees both
/// directions.
fn goes_straight(frontend: &thalweg_service::Frontend) -> bool {
    frontend.class != Class::ClusterIp && frontend.affinity.is_none()
}

/// The bounds of the sources that a frontend admits, as the tables have them.
fn bounds(frontend: &thalweg_service::Frontend) -> Vec<RangeRow> {
    frontend.bounds().into_iter().map(split).collect()
}

/// The halves of an address.
const fn split(address: u128) -> RangeRow {
    [(address >> 64) as u64, address as u64]
}

fn key_of(key: &thalweg_service::FrontendKey) -> FrontendKey {
    FrontendKey::new(key.address, key.port, key.protocol.number())
}

fn row_of(backend: &Backend, others: &Others) -> BackendRow {
    BackendRow {
        address: halves(backend.address),
        id: backend.id,
        port: backend.port,
        weight: backend.weight,
        node: others.has_tunnel(backend).into(),
    }
}

impl Compiler {
    /// Frontends in force.
    pub fn frontends(&self) -> impl Iterator<Item = &thalweg_service::Frontend> {
        let of_services = self.services.resolver.frontends().map(|frontend| &**frontend);
        of_services.chain(self.services.nat.host_ports())
    }

    /// The same, to be kept and looked at elsewhere.
    pub fn shared_frontends(&self) -> Vec<Arc<thalweg_service::Frontend>> {
        let of_pods = self.services.nat.host_ports().cloned().map(Arc::new);
        self.services.resolver.frontends().cloned().chain(of_pods).collect()
    }

    /// What is to be answered at the `healthCheckNodePort`s of services, and at which addresses: those
    /// that node ports answer at. Nothing while services are not carried out.
    pub fn health_checks(&self) -> impl Iterator<Item = (&ObjectName, thalweg_service::Check)> {
        self.services.resolver.checks()
    }

    /// Addresses of this node that its ports answer at.
    pub fn node_port_addresses(&self) -> Vec<IpAddr> {
        self.services.resolver.here().node_port_addresses()
    }

    /// The frontend at an address, port and protocol number.
    pub fn frontend_at(
        &self,
        address: IpAddr,
        port: u16,
        protocol: u8,
    ) -> Option<&thalweg_service::Frontend> {
        let known = Protocol::ALL.iter().find(|(_, known)| known.number() == protocol);
        let key = thalweg_service::FrontendKey { address, port, protocol: known?.1 };
        let of_service = self.services.resolver.frontend(key).map(|frontend| &**frontend);
        of_service.or_else(|| self.services.nat.host_port(key))
    }

    /// The ring that chooses among backends, by their position.
    pub fn ring(&self, choice: &Choice) -> Vec<u16> {
        self.services.ring(choice)
    }

    /// Slots of the largest ring.
    pub fn largest_ring(&self) -> u32 {
        self.services.here.settings.ring
    }

    /// What of services cannot be put in force.
    pub(crate) fn service_problems(&self, all: &mut BTreeSet<Problem>) {
        for (name, problems) in self.services.resolver.problems() {
            let name = name.to_string();
            for problem in problems {
                let (field, what, remedy) = words(&problem);
                // Balancers announce addresses of both families whatever a service serves.
                let severity = match problem {
                    thalweg_service::Problem::Family(_) => Severity::Warning,
                    _ => Severity::Error,
                };
                all.insert(self.of_object("Service", &name, severity, field, what, remedy));
            }
        }
    }

    /// Changes to the tables of services: those that add, then those that take out. None where the tables
    /// were made without room for them.
    pub(crate) fn service_changes(&mut self) -> (Vec<Change>, Vec<Change>) {
        if self.limits.flows == 0 {
            return (Vec::new(), Vec::new());
        }
        let here = self.here();
        self.services.plan(&self.intent.cluster, here)
    }

    /// That the tables were made without room for services and workloads, if there are any now.
    fn service_room(&self) -> Option<Problem> {
        let cluster = &self.intent.cluster;
        let service = cluster.services.keys().next().map(|name| ("Service", name));
        let (kind, name) = service.or(cluster.pods.keys().next().map(|name| ("Pod", name)))?;
        (self.limits.flows == 0).then(|| {
            let what = "the agent started without services and workloads, so its tables have no room for \
                        flows: none of them is carried out";
            let remedy = "restart the agent; packets go on meanwhile";
            let name = name.to_string();
            self.of_object(kind, &name, Severity::Error, None, what.into(), remedy.into())
        })
    }

    /// That no address of this host is one that node ports are to answer at.
    fn no_node_ports(&self) -> Option<Problem> {
        let here = self.services.resolver.here();
        if here.settings.node_port_addresses.is_empty()
            || here.addresses.is_empty()
            || !here.node_port_addresses().is_empty()
        {
            return None;
        }
        let (own, _) = self.intent.router_object()?;
        let field = Some("spec.services.nodePortAddresses".into());
        let what = "no address of this host's links lies within: node ports answer nowhere";
        let remedy = "name a range with an address of this host, or take the field out";
        let severity = Severity::Warning;
        Some(self.of_object("Router", &own.name, severity, field, what.into(), remedy.into()))
    }

    /// What this version does not carry out yet, said aloud.
    pub(crate) fn service_gaps(&self, all: &mut BTreeSet<Problem>) {
        all.extend(self.service_room());
        all.extend(self.no_node_ports());
        let mut gap = |kind: &str, name: &str, severity, field: &str, what: &str, remedy: &str| {
            let (what, remedy) = (what.into(), remedy.into());
            all.insert(self.of_object(kind, name, severity, Some(field.into()), what, remedy));
        };
        let warning = Severity::Warning;
        for (name, what) in self.intent.unreachable_nodes() {
            let remedy = "give both an InternalIP of one family";
            gap("Node", name, warning, "status.addresses", what, remedy);
        }
        for name in self.without_own() {
            let what = "under a policy `Local` nobody serves: no endpoint counts as one of this node, for \
                        spec.node of the Router object names none of the cluster's nodes";
            let remedy = "set it to the name of this host that `kubectl get nodes` shows";
            gap("Service", &name.to_string(), warning, "spec", what, remedy);
        }
        let router = &self.intent.router;
        let own = self.intent.router_object().map(|(key, _)| key.clone());
        let alone = router.tunnel.is_some() && self.intent.own_node().is_none();
        if let Some(own) = own.filter(|_| alone) {
            let what = "this host is none of the cluster's nodes: nothing is tunnelled";
            let remedy = "name it in spec.node, and add its Node object";
            gap("Router", &own.name, warning, "spec.tunnel", what, remedy);
        }
        for (service, addresses) in self.services.others.lost() {
            let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let what = format!(
                "{} of its endpoints is another node's own (hostNetwork): what it answers external clients \
                 goes past this node, and they do not know it",
                addresses.join(", ")
            );
            let remedy = match router.tunnel {
                Some(_) if !router.kernel_routes => {
                    "leave spec.kernelRoutes of the Router object true"
                }
                Some(_) => "give both nodes an InternalIP of one family",
                None => {
                    "set spec.tunnel of the Router object, or spec.services.externalTraffic: \
                         Masquerade, or externalTrafficPolicy: Local"
                }
            };
            gap("Service", &service.to_string(), warning, "endpoints", &what, remedy);
        }
        self.nat_problems(all);
    }

    /// Services that ask for endpoints of this node, where nobody knows which node it is.
    fn without_own(&self) -> Vec<&ObjectName> {
        let (node, cluster) = (&self.intent.router.node, &self.intent.cluster);
        let is_known = node
            .as_ref()
            .is_some_and(|node| cluster.nodes.is_empty() || cluster.nodes.contains_key(node));
        if is_known {
            return Vec::new();
        }
        let local = |service: &Service| {
            let outside = matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer)
                || !service.external_ips.is_empty();
            !service.cluster_ips.is_empty()
                && service.kind != ServiceType::ExternalName
                && (service.internal == TrafficPolicy::Local
                    || outside && service.external == TrafficPolicy::Local)
        };
        let services = cluster.services.iter().filter(|(_, service)| local(service));
        services.map(|(name, _)| name).collect()
    }

    /// This node as services see it.
    pub(crate) fn here(&self) -> Here {
        let router = &self.intent.router;
        let mut addresses: Vec<NodeAddress> = Vec::new();
        if !self.intent.cluster.services.is_empty() || self.services.nat.has_pods() {
            // What comes to a link-local address cannot be passed on, and other links may have it, too.
            let own = self.host.addresses.values().filter(|address| {
                !self.links.is_workload(address.link)
                    && !address.address.is_loopback()
                    && !is_link_local(address.address)
            });
            let own: Vec<&Address> = own.collect();
            let named = self.intent.own_node().map(|(_, node)| &node.addresses[..]);
            let primary = [Family::V4, Family::V6]
                .map(|family| primary(&own, named.unwrap_or_default(), family));
            addresses.extend(own.iter().map(|own| NodeAddress {
                address: own.address,
                primary: primary.contains(&Some(own.address)),
            }));
        }
        let node = router.node.clone().unwrap_or_default();
        Here { node, addresses, settings: router.services.clone() }
    }
}

/// The primary address of a family among those of links: the one that the cluster knows the node by, else
/// the first global one, rather not one that is alone in its prefix (which may move to another host).
fn primary(own: &[&Address], named: &[IpAddr], family: Family) -> Option<IpAddr> {
    let of_family = || own.iter().filter(|own| Family::of(own.address) == family);
    let is_here = |named: &&IpAddr| of_family().any(|own| own.address == **named);
    let is_global = |own: &&&Address| own.scope == "global" || own.scope.is_empty();
    let alone = |own: &&&Address| own.len == Prefix::host(own.address).len();
    let first = || of_family().filter(is_global).min_by_key(alone).map(|own| own.address);
    named.iter().find(is_here).copied().or_else(first)
}

/// Field, what is wrong, and the way out.
fn words(problem: &thalweg_service::Problem) -> (Option<String>, String, String) {
    use thalweg_service::Problem as P;
    let (field, what, remedy) = match problem {
        P::Taken { key, by } => (
            "spec",
            format!(
                "{}:{}/{} already belongs to Service/{by}, which is older",
                key.address, key.port, key.protocol
            ),
            "give one of them another address or port",
        ),
        P::NodePortRange(port) => (
            "spec.ports",
            format!("node port {port} is not one that node ports may have"),
            "choose one of spec.services.nodePortRange of the Router object",
        ),
        P::Address(address) => (
            "spec",
            format!("no packet to one host can have the address {address}"),
            "give the service another address",
        ),
        P::Family(address) => (
            "spec",
            format!("{address} is of a family that the service has no cluster IP of"),
            "add a cluster IP of its family, or take it out",
        ),
        P::Endpoints { slice, count } => (
            "endpoints",
            format!("{count} endpoints of EndpointSlice/{slice} cannot be used"),
            "give each an address of the slice's family that a packet can have",
        ),
    };
    (Some(field.into()), what, remedy.into())
}
