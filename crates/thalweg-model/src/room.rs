//! How much room tables of services get where nobody says: by what there is at the start.
//!
//! Tables are taken whole as the agent starts, so room that nobody uses costs as much as what is used. There
//! is room for half as many again of everything, for twice as much where that costs little, and for some
//! thousand services in any case: who starts with an empty cluster is not to start again for the first
//! hundred services.

use crate::cluster::{Cluster, Family, STEADY_SERVICES, Service, ServiceType, TrafficPolicy};
use crate::intent::{Limits, Router};
use std::collections::{BTreeSet, HashMap};

/// Least room for frontends, backends, and slots of rings: 256 rings of 16,381.
const LEAST: (u64, u64, u64) = (1 << 15, 1 << 16, 1 << 22);
/// Least room for policies, in lines.
const LEAST_LINES: u64 = 1 << 16;
/// Addresses of a node that its ports answer at, as far as anybody knows before it looks.
const NODE_ADDRESSES: u64 = 2;

/// What a cluster takes.
#[derive(Debug, Default)]
struct Demand {
    frontends: u64,
    backends: u64,
    /// Slots of rings of the services with the largest.
    steady: u64,
    /// Slots of all other rings.
    others: u64,
}

/// Endpoints of each port of each service, by namespace and name.
type Endpoints<'a> = HashMap<(&'a str, &'a str), Vec<((Family, &'a str, u8), u64)>>;

impl Limits {
    /// These, with what is 0 chosen for a cluster; nothing for an empty one, unless this host itself is
    /// guarded by policies. Where flows are asked for, there is room for policies in any case.
    pub fn sized(mut self, cluster: &Cluster, router: &Router, guarded: bool) -> Self {
        let Cluster { services, pods, nodes, .. } = cluster;
        // Tunnels between nodes are the work of the same programs.
        let or = |own: &mut u32, other: u64| {
            if *own == 0 {
                *own = other.min(1 << 30) as u32;
            }
        };
        if services.is_empty() && pods.is_empty() && nodes.is_empty() && !guarded {
            if self.flows > 0 {
                or(&mut self.policy_lines, LEAST_LINES);
            }
            return self;
        }
        let demand = Demand::of(cluster, router);
        let (frontends, backends) = demand.rows();
        let slots = demand.slots(cluster.services.len() as u64);
        or(&mut self.frontends, frontends);
        or(&mut self.backends, backends);
        or(&mut self.ring_slots, slots);
        or(&mut self.flows, router.flows.limit.into());
        or(&mut self.policy_lines, LEAST_LINES);
        self
    }
}

impl Demand {
    fn of(cluster: &Cluster, router: &Router) -> Self {
        let endpoints = endpoints(cluster);
        let mut ages: Vec<_> = cluster.services.iter().collect();
        ages.sort_unstable_by_key(|(name, service)| (service.created.unwrap_or(u64::MAX), *name));
        let ports = cluster.pods.values().map(|pod| pod.host_ports.len() as u64);
        let host_ports: u64 = ports.sum();
        let mut all = Self {
            frontends: host_ports * NODE_ADDRESSES,
            backends: host_ports,
            ..Self::default()
        };
        for (age, (name, service)) in ages.into_iter().enumerate() {
            all.frontends += frontends(service, router.services.dsr);
            // Those of this node are a set of their own then.
            let local = [service.internal, service.external].contains(&TrafficPolicy::Local);
            let sets = if local { 2 } else { 1 };
            let key = (name.namespace.as_str(), name.name.as_str());
            let largest = router.services.ring.into();
            for (_, count) in endpoints.get(&key).into_iter().flatten() {
                all.backends += count * sets;
                match (*count, age < STEADY_SERVICES) {
                    (0 | 1, _) => {}
                    (_, true) => all.steady += largest * sets,
                    // As members of one weight have them, within 1 % of their share.
                    (count, _) => {
                        all.others +=
                            (count * 100).next_power_of_two().max(1024).min(largest) * sets
                    }
                }
            }
        }
        all
    }

    /// Room for frontends and backends: twice what there is, or somewhat less where the index over both,
    /// whose size is a power of two, would be twice as large for the rest.
    fn rows(&self) -> (u64, u64) {
        let (frontends, backends) =
            ((self.frontends * 2).max(LEAST.0), (self.backends * 2).max(LEAST.1));
        let all = frontends + backends;
        let lower = 1 << all.ilog2();
        match all * 3 <= lower * 4 {
            true => (frontends * lower / all, backends * lower / all),
            false => (frontends, backends),
        }
    }

    /// Room for slots of rings. The oldest services alone have large ones, so these do not grow with a
    /// large cluster; each that changes takes its next ring before it gives the last one back.
    fn slots(&self, services: u64) -> u64 {
        let oldest = STEADY_SERVICES as u64;
        let now = services.clamp(1, oldest);
        let steady = self.steady * (services * 2).clamp(1, oldest) / now;
        steady + steady / 8 + self.others + self.others / 2 + LEAST.2
    }
}

/// Rows of a service's frontends, and of its addresses.
fn frontends(service: &Service, dsr: bool) -> u64 {
    let ports = service.ports.len() as u64;
    let outside = (service.external_ips.len() + service.load_balancer_ips.len()) as u64;
    let answers = matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer);
    let node_ports = if answers { ports * NODE_ADDRESSES } else { 0 };
    // Each that clients outside use has one more, for packets out of tunnels.
    let twins = if dsr { outside * ports + node_ports } else { 0 };
    (service.cluster_ips.len() as u64 + outside) * (ports + 1) + node_ports + twins
}

fn endpoints(cluster: &Cluster) -> Endpoints<'_> {
    let mut all = Endpoints::new();
    for (name, slice) in &cluster.slices {
        let ports = all.entry((name.namespace.as_str(), slice.service.as_str())).or_default();
        let keys: BTreeSet<_> = slice
            .ports
            .iter()
            .map(|port| (slice.family, port.name.as_str(), port.protocol.number()))
            .collect();
        for key in keys {
            let count = slice.endpoints.len() as u64;
            match ports.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sum)) => *sum += count,
                None => ports.push((key, count)),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Endpoint, EndpointPort, EndpointSlice, ServicePort};
    use crate::{Intent, ObjectName};
    use std::net::{IpAddr, Ipv4Addr};

    fn cluster(services: u32, backends: u32) -> Cluster {
        let name = |number| ObjectName::new("shop", format!("s{number}"));
        let service = |number| Service {
            cluster_ips: vec![Ipv4Addr::from_bits(0x0a60_0000 + number).into()],
            ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
            ..Service::default()
        };
        let endpoint = |address| Endpoint {
            addresses: vec![IpAddr::V4(Ipv4Addr::from_bits(0x0a80_0000 + address))],
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            for_zones: BTreeSet::new(),
            for_nodes: BTreeSet::new(),
            weight: 1,
        };
        let slice = |number| EndpointSlice {
            service: name(number).name,
            family: Family::V4,
            ports: vec![EndpointPort::default()],
            endpoints: (0..backends).map(|index| endpoint(number * backends + index)).collect(),
        };
        Cluster {
            services: (0..services).map(|number| (name(number), service(number))).collect(),
            slices: (0..services).map(|number| (name(number), slice(number))).collect(),
            ..Cluster::default()
        }
    }

    fn sized(services: u32, backends: u32) -> Limits {
        Intent { cluster: cluster(services, backends), ..Intent::default() }.limits()
    }

    #[test]
    fn a_host_without_services_has_no_room_for_them() {
        let limits = sized(0, 0);
        assert_eq!((limits.frontends, limits.ring_slots, limits.flows), (0, 0, 0));
    }

    #[test]
    fn a_host_that_is_guarded_has_room_for_flows_and_policies() {
        let intent = Intent::default();
        let limits = intent.limits_of(true);
        assert_eq!((limits.flows, limits.policy_lines), (intent.router.flows.limit, 1 << 16));
        assert_eq!(intent.limits_of(false), intent.limits());
        // Who asks for flows may get policies later.
        let mut intent = Intent::default();
        intent.router.limits.flows = 1024;
        assert_eq!((intent.limits().policy_lines, intent.limits().ring_slots), (1 << 16, 0));
    }

    #[test]
    fn a_small_cluster_may_become_a_large_one() {
        let limits = sized(3, 2);
        assert_eq!((limits.frontends, limits.backends), (1 << 15, 1 << 16));
        assert!(limits.ring_slots >= (1 << 22) + 3 * 16_381);
    }

    #[test]
    fn there_is_room_for_half_as_much_again() {
        for (services, backends) in [(100, 500), (1_000, 10), (5_000, 3), (11_000, 10), (20_000, 4)]
        {
            let limits = sized(services, backends);
            let (frontends, all) = (services * 2, services * backends);
            assert!(limits.frontends >= frontends * 3 / 2, "{limits:?}");
            assert!(limits.backends >= all * 3 / 2 && limits.backends <= (all * 2).max(1 << 16));
            let oldest = STEADY_SERVICES as u32;
            let grown = services.saturating_mul(3) / 2;
            let others = grown.saturating_sub(oldest) * 1_021;
            assert!(limits.ring_slots >= grown.min(oldest) * 16_381 + others, "{limits:?}");
        }
    }

    #[test]
    fn the_index_is_not_doubled_for_a_little_more() {
        // Four cells for each row of either table, rounded up to a power of two.
        let cells = |limits: Limits| (limits.frontends + limits.backends) * 4;
        assert_eq!(cells(sized(11_000, 10)).next_power_of_two(), 1 << 20);
        assert_eq!(cells(sized(16_000, 10)).next_power_of_two(), 1 << 21);
    }

    #[test]
    fn what_is_said_stays() {
        let mut intent = Intent { cluster: cluster(3, 2), ..Intent::default() };
        intent.router.limits.ring_slots = 7;
        assert_eq!(intent.limits().ring_slots, 7);
        assert_eq!(intent.limits().flows, intent.router.flows.limit);
    }
}
