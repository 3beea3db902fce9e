//! Services, read from the rules one by one: who serves this packet?
//!
//! Every question scans the whole cluster. Nothing is shared with `thalweg-service`, whose answers are
//! held against these.

use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_model::cluster::{Distribution, Endpoint, EndpointSlice, Family, Protocol, Service};
use thalweg_model::cluster::{ServicePort, ServiceSettings, ServiceType, TrafficPolicy};
use thalweg_model::{Cluster, ObjectName};

/// A cluster and a node of it, to be asked.
#[derive(Clone, Copy)]
pub struct ServiceOracle<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The node that packets are on.
    pub node: &'a str,
    /// Its addresses, and whether each is primary.
    pub addresses: &'a [(IpAddr, bool)],
    /// Its settings.
    pub settings: &'a ServiceSettings,
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Whether it comes from outside: neither from a workload on the node nor from the node itself.
    pub outside: bool,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Who serves a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Served {
    /// It is not for a service.
    NotAService,
    /// Nobody, and nothing is said.
    Drop,
    /// Nobody, and the sender is told.
    Reject,
    /// One of these.
    Backends(BTreeSet<(IpAddr, u16)>),
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Cluster,
    External,
    LoadBalancer,
    NodePort,
}

/// An endpoint, with the port it is reached at.
type Reached<'a> = (IpAddr, u16, &'a Endpoint);

impl<'a> ServiceOracle<'a> {
    /// Who serves the first packet of a flow.
    pub fn ask(&self, packet: &Packet) -> Served {
        let mut claims = Vec::new();
        for (name, service) in &self.cluster.services {
            if let Some((port, way)) = self.reached(service, packet) {
                // "The elder keeps it, ties by name; none counts as the youngest."
                let age = (service.created.is_none(), service.created, name);
                claims.push((age, name, service, port, way));
            }
        }
        claims.sort_by_key(|(age, ..)| *age);
        match claims.first() {
            Some((_, name, service, port, way)) => self.served(name, service, port, *way, packet),
            None => self.by_address(packet.destination),
        }
    }

    /// "Unallocated cluster IP: drop; wrong port of a valid one: reject. What an address of a node does not
    /// serve is that node's."
    fn by_address(&self, address: IpAddr) -> Served {
        let has = |service: &Service| {
            let balanced = service.kind == ServiceType::LoadBalancer;
            self.works(service)
                && self.has_family(service, address)
                && (service.cluster_ips.contains(&address)
                    || service.external_ips.contains(&address)
                    || balanced && service.load_balancer_ips.contains(&address))
        };
        let own = self.addresses.iter().any(|(own, _)| *own == address)
            || self.cluster.nodes.values().any(|node| node.addresses.contains(&address));
        let known = self.cluster.services.values().any(has);
        if known && !own && may_be_destination(address) {
            return Served::Reject;
        }
        match self.settings.service_cidrs.iter().any(|range| range.contains(address)) {
            true => Served::Drop,
            false => Served::NotAService,
        }
    }

    /// "Headless, ExternalName: nothing."
    fn works(&self, service: &Service) -> bool {
        service.kind != ServiceType::ExternalName && !service.cluster_ips.is_empty()
    }

    /// "Each family is a frontend of its own": those that the service has a cluster IP of.
    fn has_family(&self, service: &Service, address: IpAddr) -> bool {
        service
            .cluster_ips
            .iter()
            .any(|ip| may_be_destination(*ip) && ip.is_ipv4() == address.is_ipv4())
    }

    /// The port of a service that a packet is for, and how it is reached.
    fn reached(&self, service: &'a Service, packet: &Packet) -> Option<(&'a ServicePort, Way)> {
        let address = packet.destination;
        if !self.works(service)
            || !self.has_family(service, address)
            || !may_be_destination(address)
            || packet.port == 0
        {
            return None;
        }
        for port in service.ports.iter().filter(|port| port.protocol == packet.protocol) {
            // A port without a number is none, its node port included.
            if port.port == 0 {
                continue;
            }
            if port.port == packet.port {
                if service.cluster_ips.contains(&address) {
                    return Some((port, Way::Cluster));
                }
                if service.external_ips.contains(&address) {
                    return Some((port, Way::External));
                }
                let balanced = service.kind == ServiceType::LoadBalancer;
                if balanced && service.load_balancer_ips.contains(&address) {
                    return Some((port, Way::LoadBalancer));
                }
            }
            if port.node_port == Some(packet.port) && self.has_node_ports(service, packet) {
                return Some((port, Way::NodePort));
            }
        }
        None
    }

    /// "Node ports answer at the chosen addresses of the node, else its primary ones, never at a
    /// loopback one", and have to be in their range.
    fn has_node_ports(&self, service: &Service, packet: &Packet) -> bool {
        if !matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer) {
            return false;
        }
        if packet.port < self.settings.node_ports.0 || packet.port > self.settings.node_ports.1 {
            return false;
        }
        self.addresses.iter().any(|(own, primary)| {
            let ranges = &self.settings.node_port_addresses;
            let chosen = ranges.iter().any(|range| range.contains(*own));
            *own == packet.destination
                && !own.is_loopback()
                && (if ranges.is_empty() { *primary } else { chosen })
        })
    }

    /// Who of a service serves a packet.
    fn served(
        &self,
        name: &ObjectName,
        service: &Service,
        port: &ServicePort,
        way: Way,
        packet: &Packet,
    ) -> Served {
        let guarded = match way {
            Way::Cluster => false,
            Way::LoadBalancer => true,
            Way::External | Way::NodePort => self.settings.ranges_for_all,
        };
        if guarded && !self.admitted(service, packet) {
            return Served::Drop;
        }
        let local = match way {
            Way::Cluster => service.internal == TrafficPolicy::Local,
            // "Pod-origin traffic to the external IP goes to the cluster set, node-origin as well."
            _ => packet.outside && service.external == TrafficPolicy::Local,
        };
        let all = self.endpoints(name, service, port, packet.destination);
        let everywhere = self.conditions(service, &all);
        if everywhere.is_empty() {
            return match self.settings.drop_without_backends {
                true => Served::Drop,
                false => Served::Reject,
            };
        }
        let chosen = if local {
            let here: Vec<Reached<'_>> =
                all.into_iter().filter(|(_, _, endpoint)| self.is_here(endpoint)).collect();
            self.conditions(service, &here)
        } else {
            self.topology(service, everywhere)
        };
        if chosen.is_empty() {
            return Served::Drop;
        }
        Served::Backends(chosen.into_iter().map(|(address, port, _)| (address, port)).collect())
    }

    /// "Source ranges; one that contains an address of the node admits the node's own VIP traffic."
    fn admitted(&self, service: &Service, packet: &Packet) -> bool {
        let within =
            |address: IpAddr| service.source_ranges.iter().any(|range| range.contains(address));
        if service.source_ranges.is_empty() || within(packet.source) {
            return true;
        }
        packet.source == packet.destination && self.addresses.iter().any(|(own, _)| within(*own))
    }

    /// Endpoints of a port: "the better condition counts, then the first slice by name".
    fn endpoints(
        &self,
        name: &ObjectName,
        service: &Service,
        port: &ServicePort,
        destination: IpAddr,
    ) -> Vec<Reached<'a>> {
        let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
        let mut all: Vec<Reached<'a>> = Vec::new();
        for (slice_name, slice) in &self.cluster.slices {
            if slice_name.namespace != name.namespace || slice.service != name.name {
                continue;
            }
            if slice.family != family {
                continue;
            }
            for (address, number, endpoint) in of_slice(slice, port) {
                let twin = all.iter_mut().find(|(a, p, _)| (*a, *p) == (address, number));
                match twin {
                    None => all.push((address, number, endpoint)),
                    Some(twin) if rank(service, endpoint) < rank(service, twin.2) => {
                        twin.2 = endpoint;
                    }
                    Some(_) => {}
                }
            }
        }
        all
    }

    /// "Ready ones serve; when none is ready in the relevant set, serving and terminating ones; others
    /// never. Weight 0 takes no new flows."
    fn conditions(&self, service: &Service, set: &[Reached<'a>]) -> Vec<Reached<'a>> {
        let of_rank = |wanted: u8| -> Vec<Reached<'a>> {
            let serves = |e: &&Reached<'a>| rank(service, e.2) == wanted && e.2.weight > 0;
            set.iter().filter(serves).copied().collect()
        };
        let ready = of_rank(0);
        if ready.is_empty() { of_rank(1) } else { ready }
    }

    /// "Readiness first, then topology; a hint set that leaves nobody, or that an endpoint lacks, is
    /// ignored."
    fn topology(&self, service: &Service, set: Vec<Reached<'a>>) -> Vec<Reached<'a>> {
        if set.iter().any(|(_, _, endpoint)| rank(service, endpoint) != 0) {
            return set;
        }
        let zone = self.cluster.nodes.get(self.node).and_then(|node| node.zone.clone());
        let of = |keep: &dyn Fn(&Endpoint) -> bool| -> Vec<Reached<'a>> {
            set.iter().filter(|(_, _, endpoint)| keep(endpoint)).copied().collect()
        };
        let mut attempts: Vec<Vec<Reached<'a>>> = Vec::new();
        if set.iter().all(|(_, _, endpoint)| !endpoint.for_nodes.is_empty()) {
            attempts.push(of(&|endpoint| endpoint.for_nodes.contains(self.node)));
        }
        if let Some(zone) = &zone
            && set.iter().all(|(_, _, endpoint)| !endpoint.for_zones.is_empty())
        {
            attempts.push(of(&|endpoint| endpoint.for_zones.contains(zone)));
        }
        if service.distribution == Distribution::SameNode {
            attempts.push(of(&|endpoint| self.is_here(endpoint)));
        }
        if let Some(zone) = &zone
            && service.distribution != Distribution::Even
        {
            attempts.push(of(&|endpoint| endpoint.zone.as_ref() == Some(zone)));
        }
        attempts.into_iter().find(|attempt| !attempt.is_empty()).unwrap_or(set)
    }

    fn is_here(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_deref() == Some(self.node)
    }
}

/// 0 is ready, 1 serves while it ends, 2 does not serve. "publishNotReadyAddresses: all are ready."
fn rank(service: &Service, endpoint: &Endpoint) -> u8 {
    match (service.publish_not_ready || endpoint.ready, endpoint.serving && endpoint.terminating) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

/// Endpoints of a slice at the port that it has under the service port's name and protocol.
fn of_slice<'a>(slice: &'a EndpointSlice, port: &ServicePort) -> Vec<Reached<'a>> {
    let mut number = None;
    for other in slice.ports.iter().rev() {
        if other.name == port.name && other.protocol == port.protocol && other.port != 0 {
            number = Some(other.port);
        }
    }
    let Some(number) = number else { return Vec::new() };
    let mut reached = Vec::new();
    for endpoint in &slice.endpoints {
        let Some(address) = endpoint.addresses.first() else { continue };
        if address.is_ipv4() == (slice.family == Family::V4) && may_be_destination(*address) {
            reached.push((*address, number, endpoint));
        }
    }
    reached
}

/// An address of one host, that is not this one's loopback nor an IPv4 address within IPv6.
fn may_be_destination(address: IpAddr) -> bool {
    let never = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    match address {
        IpAddr::V4(v4) => !never && !v4.is_broadcast(),
        IpAddr::V6(v6) => !never && v6.segments()[..6] != [0, 0, 0, 0, 0, 0xffff],
    }
}
