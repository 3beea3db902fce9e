//! Addresses that no endpoint and no node has, in groups of those that rules treat alike.

use super::{Access, Change, Edges, Group, Party};
use crate::ranges::{last, next, previous};
use crate::resolve::Resolution;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;

/// Most stretches of addresses that are looked at.
pub const MOST: usize = 1_024;
/// Most ranges that a name lists.
const LISTED: usize = 2;

/// Addresses outside that are treated alike, and what may pass between them and groups of pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outside {
    /// What they are called together.
    pub name: String,
    /// One that stands for all.
    pub address: IpAddr,
    /// What may pass from them to each group.
    pub to: Vec<Access>,
    /// What may pass from each group to them.
    pub from: Vec<Access>,
}

/// Addresses that nothing tells apart, by the narrowest ranges that hold them: none of what no range holds.
struct Class {
    address: IpAddr,
    nets: BTreeSet<Option<Prefix>>,
}

impl Class {
    fn party(&self) -> Party<'_> {
        Party { endpoint: None, addresses: std::slice::from_ref(&self.address) }
    }
}

/// Ranges that nothing tells apart, with one of their addresses.
type Nets = (IpAddr, BTreeSet<Option<Prefix>>);

/// What ranges are called together, of all that there are. Of what is as all that no range holds, only
/// ranges within others that are not must be named.
fn name((address, nets): &Nets, all: &BTreeSet<Prefix>) -> String {
    let rest = if address.is_ipv4() { "outside" } else { "outside (IPv6)" };
    let within = |net: &Prefix| {
        let around = all.iter().filter(|one| one.len() < net.len() && one.contains(net.address()));
        let next = around.max_by_key(|one| one.len());
        next.is_some_and(|one| !nets.contains(&Some(*one)))
    };
    let is_rest = nets.contains(&None);
    let named = nets.iter().filter(|net| !is_rest || net.is_none_or(|net| within(&net)));
    let word = |net: &Option<Prefix>| net.map_or_else(|| rest.into(), |net| net.to_string());
    let words: Vec<String> = named.map(word).collect();
    let listed = words.get(..LISTED).unwrap_or(&words);
    match words.len().saturating_sub(LISTED) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// How many stretches of addresses rules and sets tell apart; of more than [`MOST`], the others are in no
/// matrix.
pub fn stretches(all: &[&Resolution]) -> usize {
    bounds(&ranges(all)).len()
}

/// All ranges that rules, sets and services with endpoints elsewhere speak of, but for whole families.
fn ranges(all: &[&Resolution]) -> BTreeSet<Prefix> {
    let mut found = BTreeSet::new();
    for one in all {
        found.extend(one.all_nets().copied());
        found.extend(one.world.sets.iter().flat_map(|set| set.nets.iter().copied()));
        for service in one.all_services() {
            found.extend(one.served(service).iter().map(|(address, ..)| Prefix::host(*address)));
        }
    }
    found.retain(|net| net.len() > 0);
    found
}

/// Where stretches begin.
fn bounds(ranges: &BTreeSet<Prefix>) -> BTreeSet<IpAddr> {
    let mut bounds =
        BTreeSet::from([Ipv4Addr::UNSPECIFIED.into(), IpAddr::from(Ipv6Addr::UNSPECIFIED)]);
    for net in ranges {
        bounds.insert(net.address());
        bounds.extend(next(last(*net)));
    }
    bounds
}

/// Classes of addresses outside, of the families that pods have, among these ranges.
fn classes(all: &[&Resolution], ranges: &BTreeSet<Prefix>) -> Vec<Class> {
    let pods = |one: &&Resolution| {
        let pods = one.world.endpoints.iter().filter(|one| !one.is_host());
        pods.flat_map(|pod| pod.addresses.iter().map(IpAddr::is_ipv4)).collect::<BTreeSet<bool>>()
    };
    let families: BTreeSet<bool> = all.iter().flat_map(pods).collect();
    let mut taken: HashSet<IpAddr> = HashSet::new();
    for one in all {
        taken.extend(one.world.endpoints.iter().flat_map(|one| one.addresses.iter().copied()));
        taken.extend(one.world.nodes.values().flatten().copied());
    }
    let bounds: Vec<IpAddr> = bounds(ranges).into_iter().take(MOST).collect();
    let mut by: BTreeMap<Vec<u64>, Class> = BTreeMap::new();
    for (at, from) in bounds.iter().enumerate() {
        let end = bounds.get(at + 1).filter(|end| end.is_ipv4() == from.is_ipv4());
        let end = end.and_then(|end| previous(*end));
        let free = std::iter::successors(Some(*from), |address| next(*address))
            .take_while(|address| end.is_none_or(|end| *address <= end))
            .find(|address| !taken.contains(address));
        let Some(address) = free.filter(|address| families.contains(&address.is_ipv4())) else {
            continue;
        };
        let mut signature = vec![u64::from(address.is_ipv4())];
        for one in all {
            signature.extend(one.seen_of(address));
        }
        let class = Class { address, nets: BTreeSet::new() };
        by.entry(signature).or_insert(class).nets.insert(narrowest(ranges, address));
    }
    let mut classes: Vec<Class> = by.into_values().collect();
    classes.sort_by_key(|class| (!class.address.is_ipv4(), class.nets.first().copied()));
    classes
}

/// The narrowest range that holds an address.
fn narrowest(ranges: &BTreeSet<Prefix>, address: IpAddr) -> Option<Prefix> {
    ranges.iter().filter(|net| net.contains(address)).max_by_key(|net| net.len()).copied()
}

/// Adds a class to those of its family of which the same is found.
fn add<T: PartialEq>(found: &mut Vec<(Nets, T)>, class: &Class, what: T) {
    let v4 = class.address.is_ipv4();
    let same = |one: &&mut (Nets, T)| one.1 == what && one.0.0.is_ipv4() == v4;
    match found.iter_mut().find(same) {
        Some(((_, nets), _)) => nets.extend(class.nets.iter().copied()),
        None => found.push(((class.address, class.nets.clone()), what)),
    }
}

impl Resolution {
    /// What may pass between groups of pods and addresses outside. Those to which all the same may pass are
    /// one.
    pub(super) fn outside(&self, groups: &[Group], edges: &Edges) -> Vec<Outside> {
        let ranges = ranges(&[self]);
        let mut found: Vec<(Nets, [Vec<Access>; 2])> = Vec::new();
        for class in classes(&[self], &ranges) {
            let pods = groups.iter().filter_map(|group| group.members.first());
            let pods: Vec<Party> = pods.map(|at| self.party(*at)).collect();
            let to = pods.iter().map(|pod| self.access(&class.party(), pod, edges)).collect();
            let from = pods.iter().map(|pod| self.access(pod, &class.party(), edges)).collect();
            add(&mut found, &class, [to, from]);
        }
        let made = found.into_iter().map(|(nets, [to, from])| {
            let name = name(&nets, &ranges);
            Outside { name, address: nets.0, to, from }
        });
        made.collect()
    }

    /// What differs between groups of pods, each with its first pod there and in `after`, and addresses
    /// outside.
    pub(super) fn changes_outside(
        &self,
        after: &Self,
        groups: &[(&Group, usize, usize)],
        edges: &[Edges; 2],
    ) -> Vec<Change> {
        let ranges = ranges(&[self, after]);
        let classes = classes(&[self, after], &ranges);
        let mut found = Vec::new();
        for (group, old, new) in groups {
            let pods = [self.party(*old), after.party(*new)];
            for sends in [true, false] {
                let mut told: Vec<(Nets, [Access; 2])> = Vec::new();
                for class in &classes {
                    let other = class.party();
                    let ends = |pod| if sends { (pod, &other) } else { (&other, pod) };
                    let (from, to) = ends(&pods[0]);
                    let was = self.access(from, to, &edges[0]);
                    let (from, to) = ends(&pods[1]);
                    let is = after.access(from, to, &edges[1]);
                    if was != is {
                        add(&mut told, class, [is.without(&was), was.without(&is)]);
                    }
                }
                found.extend(told.into_iter().map(|(nets, [opened, closed])| {
                    let (pods, others) = (group.name.clone(), name(&nets, &ranges));
                    let (from, to) = if sends { (pods, others) } else { (others, pods) };
                    Change { from, to, opened, closed }
                }));
            }
        }
        found
    }
}
