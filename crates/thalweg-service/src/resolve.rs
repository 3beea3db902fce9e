//! One service to what it wants of a data plane, as if it were alone.

use crate::check::Check;
use crate::choose::{self, Chosen, Place};
use crate::endpoints;
use crate::frontend::{Backend, Choice, Class, Empty, Frontend, FrontendKey, Problem};
use crate::hash::Content;
use crate::here::{Here, is_usable};
use crate::size::Goal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use thalweg_model::ObjectName;
use thalweg_model::catalog::Entry;
use thalweg_model::cluster::TrafficPolicy;
use thalweg_model::cluster::{EndpointSlice, Family, Service, ServicePort, ServiceType};

/// The longest affinity that the API knows.
const LONGEST_AFFINITY: Duration = Duration::from_secs(86_400);

/// What does not differ between services.
pub(crate) struct Context<'a> {
    here: &'a Here,
    place: Place<'a>,
    node_port_addresses: Vec<IpAddr>,
    /// Addresses of nodes.
    nodes: &'a BTreeSet<IpAddr>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(here: &'a Here, zone: Option<&'a str>, nodes: &'a BTreeSet<IpAddr>) -> Self {
        let place = Place { node: &here.node, zone };
        Self { here, place, node_port_addresses: here.node_port_addresses(), nodes }
    }

    /// Whether an address is a host's: what it does not serve is that host's, which listens there itself.
    fn is_of_host(&self, address: IpAddr) -> bool {
        self.here.holds(address) || self.nodes.contains(&address)
    }
}

/// What a service wants.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Frontends, each key once.
    pub(crate) frontends: BTreeMap<FrontendKey, Arc<Frontend>>,
    /// Addresses to answer pings at.
    pub(crate) vips: Vec<IpAddr>,
    /// What it cannot have, others aside.
    pub(crate) problems: Vec<Problem>,
    /// What balancers are answered.
    pub(crate) check: Option<Check>,
}

/// Whether a service may have frontends at all: others are names, or have no address.
pub(crate) fn has_address(service: &Service) -> bool {
    service.kind != ServiceType::ExternalName && !service.cluster_ips.is_empty()
}

/// Resolves one service with its slices, in the order of their names.
pub(crate) fn resolve(
    context: &Context<'_>,
    (name, service, goal): (&ObjectName, Option<&Service>, Goal),
    slices: &[Entry<ObjectName, EndpointSlice>],
) -> Wanted {
    let mut wanted = Wanted::default();
    let service = service.filter(|service| has_address(service));
    let Some(service) = service else { return wanted };
    count_useless(slices, &mut wanted.problems);
    let slices: Vec<&EndpointSlice> = slices.iter().map(|slice| &slice.1).collect();
    wanted.check = Check::of(service, &slices, context.place);
    let addresses = addresses(service, &mut wanted.problems);
    let one = One { context, name, service, goal, addresses };
    for port in &service.ports {
        for family in [Family::V4, Family::V6] {
            one.port(port, family, &slices, &mut wanted);
        }
    }
    let vips = one.addresses.iter().map(|(_, address)| *address);
    wanted.vips = vips.filter(|address| !context.is_of_host(*address)).collect();
    wanted.vips.sort_unstable();
    wanted.vips.dedup();
    wanted.vips.shrink_to_fit();
    wanted.problems.sort_unstable();
    wanted.problems.dedup();
    wanted
}

/// Endpoints that cannot be used, by slice.
fn count_useless(slices: &[Entry<ObjectName, EndpointSlice>], problems: &mut Vec<Problem>) {
    for (name, slice) in slices.iter().map(|entry| &**entry) {
        let useless = |endpoint: &&_| endpoints::address(slice, endpoint).is_none();
        let count = slice.endpoints.iter().filter(useless).count();
        if count > 0 {
            problems.push(Problem::Endpoints { slice: name.clone(), count });
        }
    }
}

/// Addresses of a service, in the order in which they count. It serves the families of its cluster IPs.
fn addresses(service: &Service, problems: &mut Vec<Problem>) -> Vec<(Class, IpAddr)> {
    let balanced = service.kind == ServiceType::LoadBalancer;
    let load_balancer: &[IpAddr] = if balanced { &service.load_balancer_ips } else { &[] };
    let all = [
        (Class::ClusterIp, service.cluster_ips.as_slice()),
        (Class::ExternalIp, service.external_ips.as_slice()),
        (Class::LoadBalancer, load_balancer),
    ];
    let mut usable = Vec::new();
    for (class, addresses) in all {
        for address in addresses {
            if !is_usable(*address) {
                problems.push(Problem::Address(*address));
            } else if !has_family(service, Family::of(*address)) {
                problems.push(Problem::Family(*address));
            } else {
                usable.push((class, *address));
            }
        }
    }
    usable
}

/// Whether a service serves a family.
pub(crate) fn has_family(service: &Service, family: Family) -> bool {
    let usable = service.cluster_ips.iter().filter(|address| is_usable(**address));
    usable.into_iter().any(|address| Family::of(*address) == family)
}

/// One service at work.
struct One<'a> {
    context: &'a Context<'a>,
    name: &'a ObjectName,
    service: &'a Service,
    goal: Goal,
    addresses: Vec<(Class, IpAddr)>,
}

impl One<'_> {
    /// Adds the frontends of one port in one family.
    fn port(
        &self,
        port: &ServicePort,
        family: Family,
        slices: &[&EndpointSlice],
        wanted: &mut Wanted,
    ) {
        if port.port == 0 || !has_family(self.service, family) {
            return;
        }
        let choices = self.choices(port, family, slices);
        for (class, address) in &self.addresses {
            if Family::of(*address) == family {
                self.add(port, *class, (*address, port.port), &choices, wanted);
            }
        }
        let Some(node_port) = self.node_port(port, &mut wanted.problems) else { return };
        for address in &self.context.node_port_addresses {
            if Family::of(*address) == family {
                self.add(port, Class::NodePort, (*address, node_port), &choices, wanted);
            }
        }
    }

    fn node_port(&self, port: &ServicePort, problems: &mut Vec<Problem>) -> Option<u16> {
        let has = matches!(self.service.kind, ServiceType::NodePort | ServiceType::LoadBalancer);
        let node_port = port.node_port.filter(|port| has && *port != 0)?;
        let (first, last) = self.context.here.settings.node_ports;
        if (first..=last).contains(&node_port) {
            return Some(node_port);
        }
        problems.push(Problem::NodePortRange(node_port));
        None
    }

    /// Adds a frontend, unless an earlier one of this service has the key.
    fn add(
        &self,
        port: &ServicePort,
        class: Class,
        (address, number): (IpAddr, u16),
        choices: &Choices,
        wanted: &mut Wanted,
    ) {
        let key = FrontendKey { address, port: number, protocol: port.protocol };
        if let Some(earlier) = wanted.frontends.get(&key) {
            if earlier.port_name != port.name {
                wanted.problems.push(Problem::Taken { key, by: self.name.clone() });
            }
            return;
        }
        let (internal, external) = choices.of(class, self.service, self.context);
        let settings = &self.context.here.settings;
        let guarded = match class {
            Class::ClusterIp => false,
            Class::LoadBalancer => true,
            Class::ExternalIp | Class::NodePort | Class::HostPort => settings.ranges_for_all,
        };
        let frontend = Frontend {
            key,
            service: self.name.clone(),
            port_name: port.name.clone(),
            class,
            internal,
            external,
            ranges: if guarded { self.service.source_ranges.clone() } else { Vec::new() },
            affinity: self.service.affinity.map(|time| time.min(LONGEST_AFFINITY)),
        };
        wanted.frontends.insert(key, Arc::new(frontend));
    }

    /// Who serves a port in a family.
    fn choices(&self, port: &ServicePort, family: Family, slices: &[&EndpointSlice]) -> Choices {
        let all = endpoints::gather(self.service, port, family, slices);
        let place = self.context.place;
        let id = Content::new()
            .text(&self.name.namespace)
            .text(&self.name.name)
            .text(&port.name)
            .number(port.protocol.number().into());
        let backends = |chosen: Chosen<'_>| -> Arc<[Backend]> {
            let backend = |candidate| backend(id, candidate, place);
            chosen.into_iter().map(backend).collect()
        };
        let uses_local =
            [self.service.internal, self.service.external].contains(&TrafficPolicy::Local);
        Choices {
            cluster: backends(choose::cluster(&all, place, self.service.distribution)),
            local: backends(if uses_local { choose::local(&all, place) } else { Vec::new() }),
            served: choose::is_served(&all),
            goal: self.goal,
        }
    }
}

fn backend(id: Content, candidate: endpoints::Candidate<'_>, place: Place<'_>) -> Backend {
    let endpoint = candidate.endpoint;
    let bits = match candidate.address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    Backend {
        id: id.number(bits).number(candidate.port.into()).finish(),
        address: candidate.address,
        port: candidate.port,
        weight: endpoint.weight,
        node: endpoint.node.clone(),
        local: place.is_local(endpoint),
        terminating: endpoint.terminating,
    }
}

/// Who serves one port in one family, by policy.
struct Choices {
    cluster: Arc<[Backend]>,
    local: Arc<[Backend]>,
    /// Whether anybody in the cluster could serve.
    served: bool,
    /// What is promised of rings.
    goal: Goal,
}

impl Choices {
    /// The internal and the external choice of a frontend.
    fn of(&self, class: Class, service: &Service, context: &Context<'_>) -> (Choice, Choice) {
        let settings = &context.here.settings;
        let nobody = if settings.drop_without_backends { Empty::Drop } else { Empty::Reject };
        let choice = |policy: TrafficPolicy, masquerade: bool| {
            let (backends, empty) = match policy {
                TrafficPolicy::Cluster => (self.cluster.clone(), nobody),
                // Somebody serves elsewhere: whoever sends here is to try there, and is not told "never".
                TrafficPolicy::Local => {
                    (self.local.clone(), if self.served { Empty::Drop } else { nobody })
                }
            };
            Choice { backends, empty, masquerade, goal: self.goal }
        };
        if class == Class::ClusterIp {
            return (choice(service.internal, false), choice(service.internal, true));
        }
        // From here to an external address is a way out to a load balancer and back, cut short: neither
        // policy has a say.
        let masquerade = settings.masquerade_external && service.external == TrafficPolicy::Cluster;
        (choice(TrafficPolicy::Cluster, false), choice(service.external, masquerade))
    }
}
