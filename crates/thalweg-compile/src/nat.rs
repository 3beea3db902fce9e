//! Rows of source translation: the ranges of the cluster, and the ports that sources are translated to.

use crate::compiler::Compiler;
use crate::floating::{self, Floating};
use crate::pods::{self, Refusal};
use crate::services::{NOBODY, Services};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::service::{RANGE, flag};
use thalweg_abi::settings::RANGES;
use thalweg_image::{Change, Frontend, FrontendKey, SetId};
use thalweg_model::cluster::{Cluster, Family, IpPool, Pod, Protocol};
use thalweg_model::{Intent, ObjectName, Prefix, Problem, Severity};
use thalweg_service::{Choice, Frontend as Served};

/// The lowest port that sources are translated to by default: below it are servers.
const FIRST_PORT: u16 = 16_384;

/// Rows beside those of services.
#[derive(Debug, Default)]
pub(crate) struct Nat {
    ranges: Ranges,
    /// Pods with ports or addresses of this host.
    pods: Vec<(ObjectName, Pod)>,
    host_ports: BTreeMap<thalweg_service::FrontendKey, Served>,
    /// What pods cannot have: the field, what is wrong, and the way out.
    refused: Vec<(ObjectName, Refusal)>,
    pub(crate) floating: Floating,
    in_force: BTreeMap<FrontendKey, Lead>,
    changed: bool,
}

/// A row that leads to one backend or none.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lead {
    /// Bits of [`flag`].
    pub(crate) flags: u8,
    pub(crate) choice: Option<Choice>,
}

/// Ranges of the cluster, and whether what leaves it from there is masqueraded. Packets are told by the
/// longest range that they are in.
#[derive(Debug, Default, PartialEq)]
struct Ranges {
    all: BTreeMap<Prefix, bool>,
    lens: [[u8; RANGES]; 2],
    /// Lengths that there was no room for.
    beyond: BTreeSet<(Family, u8)>,
}

impl Ranges {
    /// Ranges of a cluster of which a pool is masqueraded, or in which a pod has a floating address; none
    /// of any other, for nobody asks.
    fn of(intent: &Intent) -> Self {
        let mut new = Self::default();
        let cluster = &intent.cluster;
        if !masquerades(cluster) && cluster.pods.values().all(|pod| pod.floating.is_empty()) {
            return new;
        }
        let nodes = || cluster.nodes.values();
        let node_addresses = nodes().flat_map(|node| node.addresses.iter().copied());
        let own = intent.router.services.cluster_cidrs.iter().copied();
        let inside = nodes().flat_map(|node| node.pod_cidrs.iter().copied()).chain(own);
        // The part of a pool that a node has is still the pool's.
        new.all.extend(inside.map(|range| (range, pool_masquerades(cluster, range))));
        new.all.extend(node_addresses.map(|address| (Prefix::host(address), false)));
        new.all.extend(cluster.pools.values().map(|pool| (pool.cidr, pool.nat_outgoing)));
        let pods = cluster.pods.values().flat_map(|pod| pod.addresses.iter().copied());
        let strays: Vec<IpAddr> =
            pods.filter(|address| !new.all.keys().any(|range| range.contains(*address))).collect();
        new.all.extend(strays.into_iter().map(|address| (Prefix::host(address), false)));
        new.measure();
        new
    }

    /// Finds the lengths, longest first; ranges of lengths that have no room go.
    fn measure(&mut self) {
        for (family, places) in [Family::V4, Family::V6].into_iter().zip(&mut self.lens) {
            let of_family = self.all.keys().filter(|range| family_of(range) == family);
            let lens: BTreeSet<u8> = of_family.map(|range| range.len()).collect();
            for (at, len) in lens.into_iter().rev().enumerate() {
                match places.get_mut(at) {
                    Some(place) => *place = len + 1,
                    None => drop(self.beyond.insert((family, len))),
                }
            }
        }
        let beyond = &self.beyond;
        self.all.retain(|range, _| !beyond.contains(&(family_of(range), range.len())));
    }

    fn rows(&self) -> BTreeMap<FrontendKey, u8> {
        let row = |(range, nat): (&Prefix, &bool)| {
            let version = if family_of(range) == Family::V6 { 256 } else { 0 };
            let key = FrontendKey::new(range.address(), version | u16::from(range.len()), RANGE);
            (key, if *nat { flag::MASQUERADE } else { 0 })
        };
        self.all.iter().map(row).collect()
    }
}

fn family_of(range: &Prefix) -> Family {
    Family::of(range.address())
}

/// Whether the smallest pool that has all of a range is masqueraded.
fn pool_masquerades(cluster: &Cluster, range: Prefix) -> bool {
    let has =
        |pool: &&IpPool| pool.cidr.len() <= range.len() && pool.cidr.contains(range.address());
    let smallest = cluster.pools.values().filter(has).max_by_key(|pool| pool.cidr.len());
    smallest.is_some_and(|pool| pool.nat_outgoing)
}

/// Whether a pool of the cluster is masqueraded.
fn masquerades(cluster: &Cluster) -> bool {
    cluster.pools.values().any(|pool| pool.nat_outgoing)
}

/// Whether sources may be translated, so that each link needs an address for that.
pub(crate) fn is_wanted(intent: &Intent) -> bool {
    masquerades(&intent.cluster) || intent.router.services.masquerade_external
}

impl Nat {
    /// [`thalweg_abi::SettingsRow::ranges`].
    pub(crate) fn lens(&self) -> [[u8; RANGES]; 2] {
        self.ranges.lens
    }

    /// Whether there may be anything to plan.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether pods have ports or addresses of this host.
    pub(crate) fn has_pods(&self) -> bool {
        !self.pods.is_empty() || self.floating.is_wanted()
    }

    /// Ports of pods at addresses of this host.
    pub(crate) fn host_ports(&self) -> impl Iterator<Item = &Served> {
        self.host_ports.values()
    }

    /// The one at an address, port and protocol.
    pub(crate) fn host_port(&self, key: thalweg_service::FrontendKey) -> Option<&Served> {
        self.host_ports.get(&key)
    }
}

impl Services {
    /// The changes to the rows beside those of services since the last call.
    pub(crate) fn plan_nat(&mut self, more: &mut Vec<Change>, less: &mut Vec<Change>) {
        let found = pods::leads(&self.nat.pods, &self.resolver, &self.here);
        let mut leads = found.leads;
        (self.nat.host_ports, self.nat.refused) = (found.host_ports, found.refused);
        self.nat.floating.lead(&self.resolver, &self.here, &mut leads);
        leads.extend(
            self.nat
                .ranges
                .rows()
                .into_iter()
                .map(|(key, flags)| (key, Lead { flags, choice: None })),
        );
        self.begin(more);
        // What a service has left in this plan may lead elsewhere now.
        less.retain(
            |change| !matches!(change, Change::RemoveFrontend(key) if leads.contains_key(key)),
        );
        // A set is held twice by each row.
        let mut left: Vec<SetId> = Vec::new();
        for (key, lead) in &leads {
            if self.nat.in_force.get(key) != Some(lead) {
                let set = lead.choice.as_ref().map_or(NOBODY, |choice| self.hold(choice, more));
                let second = lead.choice.as_ref().map_or(NOBODY, |choice| self.hold(choice, more));
                let (internal, external) = (set, second);
                let row = Frontend { flags: lead.flags, internal, external, ..Frontend::default() };
                more.push(Change::Frontend(*key, row));
                left.extend(self.frontends.insert(*key, [set, second]).into_iter().flatten());
            }
        }
        let gone: Vec<FrontendKey> =
            self.nat.in_force.keys().filter(|key| !leads.contains_key(key)).copied().collect();
        for key in gone {
            let served = self.is_served(key);
            if served && key.protocol != 0 {
                continue;
            }
            if !served {
                less.push(Change::RemoveFrontend(key));
            }
            // Of an address as such a service holds no set.
            left.extend(self.frontends.remove(&key).into_iter().flatten());
        }
        left.iter().for_each(|id| self.release(*id));
        for id in left.into_iter().collect::<BTreeSet<_>>() {
            self.release_idle(id, less);
        }
        self.nat.in_force = leads;
    }

    /// Whether a service has a key.
    fn is_served(&self, key: FrontendKey) -> bool {
        let known = Protocol::ALL.iter().find(|(_, known)| known.number() == key.protocol);
        let address = key.address();
        match known {
            Some((_, protocol)) => {
                let key =
                    thalweg_service::FrontendKey { address, port: key.port, protocol: *protocol };
                self.resolver.frontend(key).is_some()
            }
            None => key.protocol == 0 && self.resolver.vip(address).is_some(),
        }
    }
}

impl Compiler {
    /// Notes what of another intent source translation depends on.
    pub(crate) fn note_nat(&mut self, old: &Intent) {
        let (before, now) = (&old.cluster, &self.intent.cluster);
        let same = before.pools == now.pools
            && before.nodes == now.nodes
            && before.pods == now.pods
            && old.router.node == self.intent.router.node
            && old.router.services.service_cidrs == self.intent.router.services.service_cidrs
            && old.router.services.cluster_cidrs == self.intent.router.services.cluster_cidrs;
        if same {
            return;
        }
        if is_wanted(old) != is_wanted(&self.intent) || before.nodes != now.nodes {
            self.pending.links.extend(self.host.links.keys());
        }
        let ranges = Ranges::of(&self.intent);
        let nat = &mut self.services.nat;
        nat.changed |= nat.ranges != ranges;
        nat.ranges = ranges;
        let pods = pods::of(&self.intent);
        nat.changed |= nat.pods != pods;
        nat.pods = pods;
        nat.changed |= nat.floating.set(floating::of(&self.intent));
    }

    /// First and last port that sources are translated to: those asked for, else the most in a row that the
    /// host gives none of its sockets by itself, and no service.
    pub fn nat_ports(&self) -> (u16, u16) {
        let router = &self.intent.router;
        if let Some(ports) = router.flows.nat_ports {
            return ports;
        }
        let mut busy = self.host.ports.given();
        busy.push(router.services.node_ports);
        busy.sort_unstable();
        let (mut best, mut next) = ((0, 0), u32::from(FIRST_PORT));
        for (first, last) in busy.into_iter().chain([(u16::MAX, u16::MAX)]) {
            let (first, last) = (u32::from(first), u32::from(last));
            if first > next && first - next > best.1 - best.0 {
                best = (next, first - 1);
            }
            next = next.max(last + 1);
        }
        match best {
            (0, 0) => (FIRST_PORT, u16::MAX),
            (first, last) => (first as u16, last as u16),
        }
    }

    /// What of source translation cannot be carried out as asked.
    pub(crate) fn nat_problems(&self, all: &mut BTreeSet<Problem>) {
        let cluster = &self.intent.cluster;
        for (name, pool) in &cluster.pools {
            let place = (family_of(&pool.cidr), pool.cidr.len());
            if self.services.nat.ranges.beyond.contains(&place) {
                let what = format!(
                    "{} has a length that there is no room for: {RANGES} lengths of ranges are told \
                     apart in each family, those of pools, pod CIDRs and nodes",
                    pool.cidr
                );
                let remedy = "give pools of one family the same length".into();
                let field = Some("spec.cidr".into());
                let severity = Severity::Error;
                all.insert(self.of_object("IPPool", name, severity, field, what, remedy));
            }
        }
        for (pod, (field, what, remedy)) in &self.services.nat.refused {
            let (name, field) = (pod.to_string(), Some((*field).into()));
            let (what, remedy) = (what.clone(), (*remedy).into());
            all.insert(self.of_object("Pod", &name, Severity::Warning, field, what, remedy));
        }
        self.floating_problems(all);
        let own = self.intent.router_object().map(|(key, _)| key);
        let Some((first, last)) = self.intent.router.flows.nat_ports else { return };
        let shared = (first..=last).filter(|port| self.host.ports.gives(*port)).count();
        if let Some(own) = own.filter(|_| shared > 0) {
            let what = format!(
                "{shared} of the ports {first}-{last} are among those that the kernel gives to sockets of \
                 this host: packets for one of these may be taken for a workload's"
            );
            let remedy = "take others, or add them to net.ipv4.ip_local_reserved_ports".into();
            let field = Some("spec.flows.natPorts".into());
            let severity = Severity::Warning;
            all.insert(self.of_object("Router", &own.name, severity, field, what, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::cluster::Node;

    /// As with `kubeadm`: each node has a part of the one pool.
    #[test]
    fn parts_of_a_pool_are_masqueraded_as_it_is() {
        let range = |text: &str| text.parse::<Prefix>().unwrap();
        let mut intent = Intent::default();
        let pod_cidrs = ["10.244.1.0/24", "fd00:244:1::/64", "10.9.0.0/24"].map(range).into();
        let addresses = vec!["10.244.0.1".parse().unwrap()];
        let node = Node { addresses, pod_cidrs, zone: None };
        intent.cluster.nodes.insert("one".into(), node);
        intent.router.services.cluster_cidrs = vec![range("10.244.2.0/25")];
        let pools = [("10.244.0.0/16", true), ("10.244.2.0/24", false), ("fd00:244::/32", true)];
        for (cidr, nat_outgoing) in pools {
            let pool = IpPool { cidr: range(cidr), nat_outgoing, disabled: false };
            intent.cluster.pools.insert(cidr.into(), pool);
        }
        let ranges = Ranges::of(&intent).all;
        let masqueraded = |text: &str| ranges[&range(text)];
        assert!(masqueraded("10.244.1.0/24"), "a node's part");
        assert!(masqueraded("fd00:244:1::/64"), "of the other family");
        assert!(!masqueraded("10.9.0.0/24"), "of no pool");
        assert!(!masqueraded("10.244.2.0/25"), "of the smaller pool");
        assert!(!masqueraded("10.244.0.1/32"), "a node itself");
    }
}
