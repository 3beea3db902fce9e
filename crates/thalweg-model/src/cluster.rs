//! What Kubernetes says of services and those who serve them: the part of its API that decides where
//! packets go.
//!
//! Values are those of the API, defaults filled in; what they come to together (which backend may serve
//! which client) is the compiler's. Names of namespaced objects are `namespace/name`.

use crate::{Catalog, Prefix};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use thalweg_wire::Mac;

/// Services that have rings which move little when a backend leaves: the oldest. Each ring of the default
/// size takes 32 kB, so those of as many services with one port take 67 MB.
pub const STEADY_SERVICES: usize = 2_048;

/// Everything of the cluster that users asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// `v1 Service`.
    pub services: Catalog<ObjectName, Service>,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    pub slices: Catalog<ObjectName, EndpointSlice>,
    /// `v1 Node`, by name.
    pub nodes: Catalog<String, Node>,
    /// `v1 Pod`, as far as its network goes.
    pub pods: Catalog<ObjectName, Pod>,
    /// `projectcalico.org/v3 IPPool`, by name.
    pub pools: Catalog<String, IpPool>,
    /// `networking.k8s.io/v1 ServiceCIDR`, by name: ranges that cluster IPs are given from.
    pub service_cidrs: Catalog<String, Vec<Prefix>>,
}

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectName {
    /// `metadata.namespace`; `default` where none is given.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectName {
    /// A name within a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A transport protocol that services know.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// RFC 9293.
    #[default]
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// All, with the words of the API.
    pub const ALL: [(&'static str, Self); 3] =
        [("TCP", Self::Tcp), ("UDP", Self::Udp), ("SCTP", Self::Sctp)];

    /// The number in an IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// `spec.type` of a service.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ServiceType {
    /// Reached at its cluster IPs.
    #[default]
    ClusterIp,
    /// And at a port of each node.
    NodePort,
    /// And at addresses of a load balancer.
    LoadBalancer,
    /// A name only: nothing for a data plane.
    ExternalName,
}

/// Which backends serve traffic of a class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TrafficPolicy {
    /// All of the cluster.
    #[default]
    Cluster,
    /// Those of the node that the traffic arrives at.
    Local,
}

/// `spec.trafficDistribution`: which of the backends are preferred.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Distribution {
    /// None are.
    #[default]
    Even,
    /// Those in the zone of the node (`PreferSameZone`, `PreferClose`).
    SameZone,
    /// Those on the node, else those in its zone (`PreferSameNode`).
    SameNode,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// `spec.type`.
    pub kind: ServiceType,
    /// `spec.clusterIPs`, first the primary; empty for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is `VIP`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`; empty admits everybody.
    pub source_ranges: Vec<Prefix>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    pub internal: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external: TrafficPolicy,
    /// How long a client keeps its backend (`spec.sessionAffinity: ClientIP`); none lets each
    /// connection choose.
    pub affinity: Option<Duration>,
    /// `spec.trafficDistribution`.
    pub distribution: Distribution,
    /// `spec.healthCheckNodePort`.
    pub health_check_port: Option<u16>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `metadata.creationTimestamp`, seconds since 1970: of two services with one address, the elder
    /// keeps it. None counts as the youngest.
    pub created: Option<u64>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServicePort {
    /// `name`; empty where the service has one port only.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// A slice of the endpoints of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// The service, by the label `kubernetes.io/service-name`, in the slice's namespace.
    pub service: String,
    /// `addressType`.
    pub family: Family,
    /// `ports`.
    pub ports: Vec<EndpointPort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice: the service's port of the same name and protocol leads to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EndpointPort {
    /// `name`; empty where the service has one port only.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
}

/// Somebody who serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// `addresses`: of all of them the first is used, as the API says of pods.
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`.
    pub ready: bool,
    /// `conditions.serving`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<String>,
    /// `zone`.
    pub zone: Option<String>,
    /// `hints.forZones[].name`.
    pub for_zones: BTreeSet<String>,
    /// `hints.forNodes[].name`.
    pub for_nodes: BTreeSet<String>,
    /// Its share beside others (annotation `thalweg.io/weights` of the slice); 1 is usual, 0 takes no new
    /// flows.
    pub weight: u16,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// `status.addresses` of type `InternalIP`, the primary of each family first.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// A pod, as far as its network goes: a workload where its interface is on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pod {
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// The host's side of its veth (annotation `thalweg.io/interface`).
    pub interface: Option<String>,
    /// The link address within (annotation `thalweg.io/mac`); none lets the neighbor table tell.
    pub mac: Option<Mac>,
    /// Whether it shares the host's network (`spec.hostNetwork`).
    pub host_network: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// Its ports on the host: `spec.containers[].ports[]` with a `hostPort`.
    pub host_ports: Vec<HostPort>,
    /// Its floating addresses, one of a family at most (annotation `cni.projectcalico.org/floatingIPs`).
    pub floating: Vec<IpAddr>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// Ports of its containers that have a name.
    pub ports: Vec<NamedPort>,
}

/// A port with a name, which policies may use in the place of its number.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NamedPort {
    /// `name`.
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `containerPort`, or `port` of a `HostEndpoint`.
    pub port: u16,
}

/// A port of a pod that the host answers at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPort {
    /// `hostIP`; none is any address of the host.
    pub address: Option<IpAddr>,
    /// `hostPort`.
    pub host_port: u16,
    /// `containerPort`.
    pub port: u16,
    /// `protocol`.
    pub protocol: Protocol,
}

/// A range of addresses of workloads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IpPool {
    /// `cidr`.
    pub cidr: Prefix,
    /// `natOutgoing`: what leaves for an address in no pool is masqueraded.
    pub nat_outgoing: bool,
    /// `disabled`: no new addresses are taken from it; those in use stay in the pool.
    pub disabled: bool,
}

/// How services are carried out on this node (`Router`, `spec.services`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceSettings {
    /// Ranges that cluster IPs are allotted from: within them, what no service has is dropped.
    pub service_cidrs: Vec<Prefix>,
    /// Where pods are: cluster IP traffic from elsewhere is masqueraded. Empty takes the pod CIDRs of all
    /// nodes and the pools.
    pub cluster_cidrs: Vec<Prefix>,
    /// Addresses of this node that node ports answer at; empty takes its primary addresses.
    pub node_port_addresses: Vec<Prefix>,
    /// Ports that node ports may have.
    pub node_ports: (u16, u16),
    /// Slots of the ring of a service with several backends: a prime.
    pub ring: u32,
    /// Whether a service without backends drops silently instead of telling the client.
    pub drop_without_backends: bool,
    /// Whether external traffic gets this node's address as its source where a backend is elsewhere,
    /// instead of being tunnelled with the client's.
    pub masquerade_external: bool,
    /// Whether source ranges guard node ports and external IPs, too.
    pub ranges_for_all: bool,
    /// Whether backends on other nodes answer external clients straight, not through the node that these
    /// spoke to.
    pub dsr: bool,
    /// Whose processes connect to services themselves.
    pub sockets: SocketScope,
}

/// Whose processes get a backend as they connect, so that no packet needs translation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SocketScope {
    /// Those in the network namespace of the agent.
    #[default]
    Host,
    /// Those of workloads as well.
    All,
    /// Nobody's.
    Off,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            service_cidrs: Vec::new(),
            cluster_cidrs: Vec::new(),
            node_port_addresses: Vec::new(),
            node_ports: (30_000, 32_767),
            ring: 16_381,
            drop_without_backends: false,
            masquerade_external: false,
            ranges_for_all: true,
            dsr: false,
            sockets: SocketScope::Host,
        }
    }
}

/// The table of flows (`Router`, `spec.flows`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowSettings {
    /// Flows that there is room for.
    pub limit: u32,
    /// Flows that one workload may have; none does not limit it.
    pub per_workload: Option<u32>,
    /// Whether a TCP packet amid a connection that is not known begins a flow.
    pub mid_flow: bool,
    /// How long flows live without a packet.
    pub timeouts: FlowTimeouts,
    /// Ports that sources are translated to; none takes those that the host leaves alone.
    pub nat_ports: Option<(u16, u16)>,
    /// Whether a source is translated to the same port whatever its destination.
    pub nat_independent: bool,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            limit: 1_000_000,
            per_workload: None,
            mid_flow: false,
            timeouts: FlowTimeouts::default(),
            nat_ports: None,
            nat_independent: false,
        }
    }
}

/// How long flows live without a packet, whole seconds, at least 1 s.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowTimeouts {
    /// TCP: a SYN without an answer to it, or an answer without the last of three packets.
    pub tcp_syn: Duration,
    /// TCP: established.
    pub tcp_established: Duration,
    /// TCP: both sides have said FIN.
    pub tcp_closed: Duration,
    /// TCP: one side has said RST.
    pub tcp_reset: Duration,
    /// SCTP: an INIT without an answer, or an answer whose cookie nobody has acknowledged.
    pub sctp_init: Duration,
    /// SCTP: established.
    pub sctp_established: Duration,
    /// SCTP: both sides have shut down.
    pub sctp_closed: Duration,
    /// SCTP: one side has said ABORT.
    pub sctp_aborted: Duration,
    /// UDP.
    pub udp: Duration,
    /// ICMP and ICMPv6 queries.
    pub icmp: Duration,
    /// All others.
    pub other: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            tcp_syn: Duration::from_secs(20),
            tcp_established: Duration::from_secs(3_600),
            tcp_closed: Duration::from_secs(30),
            tcp_reset: Duration::from_secs(40),
            sctp_init: Duration::from_secs(20),
            sctp_established: Duration::from_secs(3_600),
            sctp_closed: Duration::from_secs(30),
            sctp_aborted: Duration::from_secs(40),
            udp: Duration::from_secs(60),
            icmp: Duration::from_secs(5),
            other: Duration::from_secs(600),
        }
    }
}
