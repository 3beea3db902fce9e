//! What resolving comes to: frontends with their backends, VIPs, and what stands in the way.

use crate::hash::Content;
use crate::{Goal, maglev, size_for};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use thalweg_model::cluster::Protocol;
use thalweg_model::{ObjectName, Prefix};

/// What a packet is looked up by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FrontendKey {
    /// Destination address.
    pub address: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Why a service is reached at an address. Where a port of a service has two reasons for the same key,
/// the first of this order counts; of two ports of one service, the first does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// A node port at an address of this node.
    NodePort,
    /// A port of a pod at an address of this node (`hostPort`); no service has it.
    HostPort,
}

/// Address, port and protocol that clients use, and who serves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    /// Where it is reached.
    pub key: FrontendKey,
    /// The service.
    pub service: ObjectName,
    /// Name of the service's port.
    pub port_name: String,
    /// Why it is reached here.
    pub class: Class,
    /// Who serves workloads and this host.
    pub internal: Choice,
    /// Who serves traffic that comes from outside.
    pub external: Choice,
    /// Sources that are admitted, whatever their family; empty admits everybody. See
    /// [`Frontend::admits`].
    pub ranges: Vec<Prefix>,
    /// How long a client keeps its backend; none lets each connection choose.
    pub affinity: Option<Duration>,
}

impl Frontend {
    /// What leads to one port of a pod on this node.
    pub fn of_pod(pod: ObjectName, key: FrontendKey, address: IpAddr, port: u16) -> Self {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let id = Content::new().text("pod").text(&pod.namespace).text(&pod.name);
        let id = id.number(key.protocol.number().into()).number(bits).number(port.into());
        let backend = Backend {
            id: id.finish(),
            address,
            port,
            weight: 1,
            node: None,
            local: true,
            terminating: false,
        };
        let choice = Choice {
            backends: Arc::new([backend]),
            empty: Empty::Reject,
            masquerade: false,
            goal: Goal::Balance,
        };
        Self {
            key,
            service: pod,
            port_name: String::new(),
            class: Class::HostPort,
            internal: choice.clone(),
            external: choice,
            ranges: Vec::new(),
            affinity: None,
        }
    }

    /// Whether a source may use it. A range with an address of this node in it admits packets of this
    /// node which, as its kernel does for addresses that it holds, have the VIP itself as their source.
    pub fn admits(&self, source: IpAddr, node: impl IntoIterator<Item = IpAddr>) -> bool {
        let admitted = |address| self.ranges.iter().any(|range| range.contains(address));
        self.ranges.is_empty()
            || admitted(source)
            || source == self.key.address && node.into_iter().any(admitted)
    }
}

impl Frontend {
    /// Where the sources that it admits begin and end, as numbers, ascending and disjoint: a source that an
    /// odd number of them do not exceed is admitted. None where everybody is.
    pub fn bounds(&self) -> Vec<u128> {
        let v4 = self.key.address.is_ipv4();
        let own = self.ranges.iter().filter(|range| range.is_v4() == v4);
        let mut ranges: Vec<(u128, u128)> = own.map(|range| first_and_last(*range)).collect();
        if ranges.is_empty() && !self.ranges.is_empty() {
            // All are of the other family: nobody is within a range that ends where it begins.
            return vec![u128::MAX; 2];
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        let ends = merged.into_iter().flat_map(|(first, last)| [Some(first), last.checked_add(1)]);
        ends.flatten().collect()
    }
}

/// The first and the last address of a prefix.
fn first_and_last(prefix: Prefix) -> (u128, u128) {
    match prefix {
        Prefix::V4(prefix) => (prefix.bits().into(), prefix.last().into()),
        Prefix::V6(prefix) => (prefix.bits(), prefix.last()),
    }
}

/// What becomes of new flows that nobody serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Empty {
    /// The client is told.
    Reject,
    /// Nothing is said: somebody else may serve them.
    Drop,
}

/// Backends that traffic of one kind may choose from.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// By address and port, each once. Those of weight 0 serve flows that they have and get no new ones.
    pub backends: Arc<[Backend]>,
    /// What becomes of new flows if no backend has a weight.
    pub empty: Empty,
    /// Whether the packet gets an address of this node as its source. Hairpin (a workload that reaches
    /// itself) is masqueraded, whatever this says.
    pub masquerade: bool,
    /// What is promised of the ring.
    pub goal: Goal,
}

impl Choice {
    /// Whether there is nobody for new flows.
    pub fn is_empty(&self) -> bool {
        self.backends.iter().all(|backend| backend.weight == 0)
    }

    /// How many slots the ring has, where the largest has `largest`; 1 where there is nothing to choose.
    pub fn slots(&self, largest: u32) -> u32 {
        let weights: Vec<u16> = self.backends.iter().map(|backend| backend.weight).collect();
        size_for(&weights, largest, self.goal)
    }

    /// The ring: for each slot the index of a backend; no slots where [`Choice::is_empty`].
    pub fn ring(&self, largest: u32) -> Vec<u16> {
        let members: Vec<(u64, u16)> = self.backends.iter().map(|b| (b.id, b.weight)).collect();
        maglev::fill(&members, self.slots(largest))
    }
}

/// One that serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// Derived from service, port name, protocol, address and port: the same on every node and after
    /// every restart, and never 0.
    pub id: u64,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its share beside the others; 0 gets no new flows.
    pub weight: u16,
    /// The node it is on.
    pub node: Option<String>,
    /// Whether that is this node.
    pub local: bool,
    /// Whether it is about to end.
    pub terminating: bool,
}

/// An address of services: pings to it are answered, and ports that no frontend has are rejected.
///
/// Cluster IPs, external IPs and addresses of load balancers are, unless this node holds the address:
/// then its own stack answers. Node ports make none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Services that have it, by name.
    pub services: Vec<ObjectName>,
}

/// What of a service cannot be put in force. The rest of it is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Problem {
    /// Another service, or an earlier port of this one, has the same address, port and protocol.
    Taken {
        /// What both want.
        key: FrontendKey,
        /// Who has it: the elder, by name where both are of the same age.
        by: ObjectName,
    },
    /// The node port is not one that node ports may have (`ServiceSettings::node_ports`).
    NodePortRange(u16),
    /// No packet may have this address as its destination, or it is an IPv4 address in IPv6 clothes.
    Address(IpAddr),
    /// The service has no cluster IP of this address' family, so it does not serve the family.
    Family(IpAddr),
    /// Endpoints of the slice that cannot be used: without an address, with one of another family than
    /// the slice's, or with one that no packet may have.
    Endpoints {
        /// The slice.
        slice: ObjectName,
        /// How many.
        count: usize,
    },
}
