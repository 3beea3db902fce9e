//! Who can talk to whom, on which ports.
//!
//! Pods that differ in nothing that policies look at are one [`Group`]. Between two groups every protocol
//! is asked at each port where any rule begins or ends, so that what is found holds for all ports. Addresses
//! that no pod, host endpoint or node has are [`Outside`].

mod outside;

pub use outside::{MOST as MOST_OUTSIDE, Outside, stretches};

use crate::decide::Packet;
use crate::model::{Direction, Side};
use crate::object::kubernetes::PortMatch;
use crate::resolve::{ChainKind, Resolution};
use crate::words;
use crate::world::EndpointName;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::cluster::ObjectName;

/// The port that questions come from: of those that kernels give to clients.
const CLIENT_PORT: u16 = 49_152;
/// Protocols with ports that are asked.
const WITH_PORTS: [u8; 3] = [6, 17, 132];
/// Protocols that are asked, by family: the last stands for all others.
const PROTOCOLS: [[u8; 5]; 2] = [[6, 17, 132, 1, 255], [6, 17, 132, 58, 255]];

/// What may pass between two ends: for each protocol the ports, all of them where there are none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// First and last port, ascending, by protocol; 255 stands for all that are not named here.
    pub protocols: BTreeMap<u8, Vec<(u16, u16)>>,
}

/// Most pods that a name lists.
const LISTED: usize = 3;

/// All ports.
const ALL: (u16, u16) = (0, u16::MAX);

impl Access {
    /// Everything that is asked of a family.
    fn whole(v4: bool) -> Self {
        let protocols = PROTOCOLS[usize::from(!v4)];
        Self { protocols: protocols.into_iter().map(|one| (one, vec![ALL])).collect() }
    }

    /// Whether nothing may pass.
    pub fn is_none(&self) -> bool {
        self.protocols.is_empty()
    }

    /// Whether everything may pass.
    pub fn is_all(&self) -> bool {
        [true, false].into_iter().any(|v4| *self == Self::whole(v4))
    }

    /// What may pass here and not there.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = BTreeMap::new();
        for (protocol, ports) in &self.protocols {
            let there = other.protocols.get(protocol).map_or(&[][..], Vec::as_slice);
            let ports = subtract(ports, there);
            if !ports.is_empty() {
                left.insert(*protocol, ports);
            }
        }
        Self { protocols: left }
    }
}

/// Stretches of `from` that are in none of `these`; both ascend.
fn subtract(from: &[(u16, u16)], these: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut left = Vec::new();
    for (first, last) in from {
        let mut next = u32::from(*first);
        for (start, end) in these.iter().filter(|(start, end)| end >= first && start <= last) {
            if u32::from(*start) > next {
                left.push((next as u16, start - 1));
            }
            next = next.max(u32::from(*end) + 1);
        }
        if next <= u32::from(*last) {
            left.push((next as u16, *last));
        }
    }
    left
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("-");
        }
        if self.is_all() {
            return f.write_str("all");
        }
        for (at, (protocol, ports)) in self.protocols.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "; " })?;
            match protocol {
                255 => f.write_str("others")?,
                _ => f.write_str(&words::protocol(*protocol))?,
            }
            if *ports != [ALL] {
                let port =
                    |(first, last): &(u16, u16)| words::port(&PortMatch::Range(*first, *last));
                write!(f, " {}", ports.iter().map(port).collect::<Vec<_>>().join(","))?;
            }
        }
        Ok(())
    }
}

/// Endpoints that are treated alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// What they are called together.
    pub name: String,
    /// Numbers of the endpoints.
    pub members: Vec<usize>,
}

/// Who can talk to whom.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The groups: rows are sources, columns destinations.
    pub groups: Vec<Group>,
    /// Of each source, what may pass to each destination.
    pub cells: Vec<Vec<Access>>,
    /// Addresses outside.
    pub outside: Vec<Outside>,
}

/// Ports that are asked of, by protocol.
type Edges = [BTreeSet<u16>; 3];

/// An end: an endpoint, or addresses of nobody.
struct Party<'a> {
    endpoint: Option<usize>,
    addresses: &'a [IpAddr],
}

/// What differs between two resolutions, for two groups of both, or one of them and addresses outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The source.
    pub from: String,
    /// The destination.
    pub to: String,
    /// What may pass that could not.
    pub opened: Access,
    /// What could pass and may no more.
    pub closed: Access,
}

impl Resolution {
    /// Everything about an endpoint that rules of anybody may look at, but for its own address.
    fn signature(&self, endpoint: usize) -> Vec<u64> {
        let one = &self.world.endpoints[endpoint];
        let directions = [Direction::Ingress, Direction::Egress];
        let chains = directions.map(|d| self.chain_number(endpoint, ChainKind::normal(d)));
        let mut signature: Vec<u64> =
            chains.iter().map(|n| n.map_or(0, |n| n as u64 + 1)).collect();
        for address in &one.addresses {
            signature.push(if address.is_ipv4() { 4 } else { 6 });
            signature.extend(self.seen_of(*address));
        }
        for port in &one.ports {
            signature.extend(port.name.bytes().map(u64::from));
            signature
                .push(u64::from(port.protocol.number()) << 16 | u64::from(port.port) | 1 << 40);
        }
        signature
    }

    /// Everything that rules may look at of an address.
    fn seen_of(&self, address: IpAddr) -> Vec<u64> {
        let mut bits = Bits::default();
        self.peers.iter().for_each(|peers| bits.add(peers.ranges.contains(address)));
        self.all_nets().for_each(|net| bits.add(net.contains(address)));
        let mut seen = bits.0;
        for service in self.all_services() {
            let here = self.served(service).iter().filter(|(who, ..)| *who == address);
            seen.extend(here.map(|(_, of, port)| u64::from(*of) << 16 | u64::from(*port)));
            seen.push(u64::MAX);
        }
        seen
    }

    /// Both sides of all rules, in a fixed order.
    fn all_sides(&self) -> impl Iterator<Item = &Side> {
        let policies = self.policies.iter().map(|resolved| &resolved.policy);
        let rules = policies.flat_map(|one| one.ingress.iter().chain(&one.egress).flatten());
        rules.flat_map(|rule| [&rule.source, &rule.destination])
    }

    /// All prefixes that rules name.
    fn all_nets(&self) -> impl Iterator<Item = &Prefix> {
        self.all_sides().flat_map(|side| side.nets.iter().chain(&side.not_nets))
    }

    /// All services that rules name, each once.
    fn all_services(&self) -> BTreeSet<&ObjectName> {
        self.all_sides().filter_map(|side| side.service.as_ref()).collect()
    }

    /// Pods in groups of those treated alike, by name.
    fn groups(&self, signature: impl Fn(usize) -> Option<Vec<u64>>) -> Vec<Group> {
        let mut by: BTreeMap<(String, Vec<u64>), Vec<usize>> = BTreeMap::new();
        for (at, endpoint) in self.world.endpoints.iter().enumerate() {
            let EndpointName::Pod(name) = &endpoint.name else { continue };
            if endpoint.addresses.is_empty() {
                continue;
            }
            if let Some(signature) = signature(at) {
                by.entry((name.namespace.clone(), signature)).or_default().push(at);
            }
        }
        let mut groups: Vec<Group> = by
            .into_values()
            .map(|members| Group { name: self.name_of(&members), members })
            .collect();
        let pods = self.world.endpoints.iter().filter(|one| !one.is_host());
        let pods: BTreeSet<String> = pods.map(|pod| pod.name.to_string()).collect();
        for group in &mut groups {
            let Some((start, _)) = group.name.split_once('*') else { continue };
            let alike = pods.range(start.to_owned()..).take_while(|name| name.starts_with(start));
            if alike.count() > group.members.len() {
                group.name = self.listed(&group.members);
            }
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups
    }

    /// What pods are called together where names of others begin so, too: the first of them.
    fn listed(&self, members: &[usize]) -> String {
        let name = |at: &usize| match &self.world.endpoints[*at].name {
            EndpointName::Pod(name) => (name.namespace.as_str(), name.name.as_str()),
            EndpointName::Host(name) => ("", name.as_str()),
        };
        let namespace = members.first().map(name).unwrap_or_default().0;
        let mut listed: Vec<&str> = members.iter().take(LISTED).map(|at| name(at).1).collect();
        let all = members.len();
        if all <= LISTED {
            return format!("{namespace}/{{{}}}", listed.join(","));
        }
        listed.push("…");
        format!("{namespace}/{{{}}} ({all})", listed.join(","))
    }

    /// What pods are called together: what their names begin with.
    fn name_of(&self, members: &[usize]) -> String {
        let names: Vec<String> =
            members.iter().map(|at| self.world.endpoints[*at].name.to_string()).collect();
        let Some((first, others)) = names.split_first() else { return String::new() };
        if others.is_empty() {
            return first.clone();
        }
        let same =
            |other: &String| first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let common = others.iter().map(same).min().unwrap_or(0);
        format!("{}* ({})", first.get(..common).unwrap_or_default(), names.len())
    }

    /// Ports at which any rule of a protocol begins or ends, or an endpoint has one by name.
    fn edges(&self, protocol: u8) -> BTreeSet<u16> {
        let mut edges = BTreeSet::from([0]);
        let mut add = |first: u16, last: u16| {
            edges.insert(first);
            edges.extend(last.checked_add(1));
        };
        for resolved in &self.policies {
            let policy = &resolved.policy;
            for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
                for port in rule.destination.ports.iter().chain(&rule.destination.not_ports) {
                    match port {
                        PortMatch::Range(first, last) => add(*first, *last),
                        PortMatch::Named(name) => self
                            .named(name)
                            .filter(|(_, of, _)| *of == protocol)
                            .for_each(|(.., port)| add(port, port)),
                    }
                }
                if let Some(service) = &rule.destination.service {
                    let served = self.served_at_ports(service);
                    served.iter().for_each(|(.., port)| add(*port, *port));
                }
            }
        }
        edges
    }

    /// An endpoint as an end.
    fn party(&self, endpoint: usize) -> Party<'_> {
        Party { endpoint: Some(endpoint), addresses: &self.world.endpoints[endpoint].addresses }
    }

    /// What may pass from one end to another, between their addresses of one family.
    fn access(&self, from: &Party<'_>, to: &Party<'_>, edges: &Edges) -> Access {
        let mut access = Access::default();
        let pair = from.addresses.iter().find_map(|source| {
            let same = |to: &&IpAddr| to.is_ipv4() == source.is_ipv4();
            Some((*source, *to.addresses.iter().find(same)?))
        });
        let Some((source, destination)) = pair else { return access };
        let blank = Packet { source, destination, protocol: 0, ports: None, icmp: None };
        let passes = |packet: &Packet| self.judge(from.endpoint, to.endpoint, packet).is_allowed();
        for protocol in PROTOCOLS[usize::from(!source.is_ipv4())] {
            let packet = Packet { protocol, ..blank };
            let Some(at) = WITH_PORTS.iter().position(|one| *one == protocol) else {
                let echo = (if protocol == 58 { 128 } else { 8 }, 0);
                let icmp = matches!(protocol, 1 | 58).then_some(echo);
                if passes(&Packet { icmp, ..packet }) {
                    access.protocols.insert(protocol, vec![ALL]);
                }
                continue;
            };
            let mut open: Vec<(u16, u16)> = Vec::new();
            let ends = edges[at].iter().skip(1).map(|edge| edge - 1).chain([u16::MAX]);
            for (first, last) in edges[at].iter().copied().zip(ends) {
                if !passes(&Packet { ports: Some((CLIENT_PORT, first)), ..packet }) {
                    continue;
                }
                match open.last_mut().filter(|before| before.1.checked_add(1) == Some(first)) {
                    Some(before) => before.1 = last,
                    None => open.push((first, last)),
                }
            }
            if !open.is_empty() {
                access.protocols.insert(protocol, open);
            }
        }
        access
    }

    /// Two members of groups that stand for all; of one group, two different ones if it has two.
    fn pair(from: &Group, to: &Group) -> Option<(usize, usize)> {
        let first = *from.members.first()?;
        let other = to.members.iter().copied().find(|at| *at != first);
        Some((first, other.or(to.members.first().copied())?))
    }

    /// Who can talk to whom.
    pub fn matrix(&self) -> Matrix {
        let groups = self.groups(|at| Some(self.signature(at)));
        let edges = WITH_PORTS.map(|protocol| self.edges(protocol));
        let cell = |from: &Group, to: &Group| {
            let pair = Self::pair(from, to);
            let between = |(from, to)| self.access(&self.party(from), &self.party(to), &edges);
            pair.map(between).unwrap_or_default()
        };
        let row = |from: &Group| groups.iter().map(|to| cell(from, to)).collect();
        let cells = groups.iter().map(row).collect();
        let outside = self.outside(&groups, &edges);
        Matrix { groups, cells, outside }
    }

    /// Which pairs of pods that both have, and of pods and addresses outside, can talk after, and could not
    /// before, or the other way round.
    pub fn changes(&self, after: &Self) -> Vec<Change> {
        let numbers: BTreeMap<_, usize> =
            after.world.endpoints.iter().enumerate().map(|(at, one)| (&one.name, at)).collect();
        let other = |at: usize| numbers.get(&self.world.endpoints[at].name).copied();
        let groups = self.groups(|at| {
            let after = after.signature(other(at)?);
            let mut both = self.signature(at);
            both.push(u64::MAX);
            both.extend(after);
            Some(both)
        });
        let edges = [self, after].map(|of| WITH_PORTS.map(|protocol| of.edges(protocol)));
        let mut found = Vec::new();
        for from in &groups {
            for to in &groups {
                let Some((source, destination)) = Self::pair(from, to) else { continue };
                let (Some(new_source), Some(new_destination)) = (other(source), other(destination))
                else {
                    continue;
                };
                let ends = (&self.party(source), &self.party(destination));
                let old = self.access(ends.0, ends.1, &edges[0]);
                let ends = (&after.party(new_source), &after.party(new_destination));
                let new = after.access(ends.0, ends.1, &edges[1]);
                if old != new {
                    found.push(Change {
                        from: from.name.clone(),
                        to: to.name.clone(),
                        opened: new.without(&old),
                        closed: old.without(&new),
                    });
                }
            }
        }
        let firsts = groups.iter().filter_map(|group| {
            let first = *group.members.first()?;
            Some((group, first, other(first)?))
        });
        let firsts: Vec<_> = firsts.collect();
        found.extend(self.changes_outside(after, &firsts, &edges));
        found
    }
}

/// Truth values, 64 in a word.
#[derive(Default)]
struct Bits(Vec<u64>, u32);

impl Bits {
    fn add(&mut self, bit: bool) {
        if self.1.is_multiple_of(64) {
            self.0.push(0);
        }
        if let Some(last) = self.0.last_mut() {
            *last |= u64::from(bit) << (self.1 % 64);
        }
        self.1 += 1;
    }
}
