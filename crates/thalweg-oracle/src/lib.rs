//! A slow, obvious reading of intent and host state: where may a packet go?
//!
//! No tables, no ids, no increments: every question scans everything, so that what the compiler does
//! cleverly can be held against what the rules say plainly. Used only by tests.
#![forbid(unsafe_code)]

mod candidates;
pub mod policy;
mod resolve;
pub mod service;
mod vrfs;

pub use vrfs::DEFAULT;

use candidates::Candidate;
use resolve::Found;
use std::net::IpAddr;
use thalweg_model::intent::LabelAction;
use thalweg_model::{HostState, Intent, Prefix};
use thalweg_wire::Mac;

/// Intent and host state to be asked.
pub struct Oracle<'a> {
    intent: &'a Intent,
    host: &'a HostState,
}

/// What may happen to a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// No route or label binding in force covers it.
    Nothing,
    /// One of these, each with its share of the flows, shares adding up to 1.
    Exits(Vec<(Exit, f64)>),
    /// The label comes off and the rest is looked up in this VRF.
    Lookup(String),
}

/// One way a packet may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// What happens.
    pub kind: ExitKind,
    /// Labels pushed, outermost first; empty where the kernel takes over.
    pub labels: Vec<u32>,
    /// Used while the link is down.
    pub backup: Option<Box<Exit>>,
}

/// What happens to a packet on one way.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ExitKind {
    /// Sent out of a link to a link address.
    Adjacent(u32, Mac),
    /// Left to the kernel, which resolves or sends it on a link.
    Unresolved(u32),
    /// Delivered to this host.
    Deliver,
    /// Broadcast on a link.
    Broadcast(u32),
    /// Discarded silently.
    Blackhole,
    /// Discarded with "unreachable".
    Unreachable,
    /// Discarded with "prohibited".
    Prohibit,
    /// As if there were no route.
    Throw,
    /// Looked up again in the VRF of this name.
    Lookup(String),
}

impl<'a> Oracle<'a> {
    /// An oracle over one state of affairs.
    pub fn new(intent: &'a Intent, host: &'a HostState) -> Self {
        Self { intent, host }
    }

    /// Where packets to an address may go in a VRF.
    pub fn route(&self, vrf: &str, address: IpAddr) -> Answer {
        if !self.vrf_exists(vrf) {
            return Answer::Nothing;
        }
        let candidates = self.candidates(vrf);
        let Some(found) = self.in_force(&candidates, address) else { return Answer::Nothing };
        let is_host = candidates.iter().any(|c| c.prefix == Prefix::host(address));
        match self.neighbor_exit(vrf, address, &found).filter(|_| !is_host) {
            Some(exit) => Answer::Exits(vec![(exit, 1.0)]),
            None => self.exits(found),
        }
    }

    /// The prefixes that have candidates in a VRF.
    pub fn prefixes(&self, vrf: &str) -> Vec<Prefix> {
        let mut prefixes: Vec<_> = self.candidates(vrf).iter().map(|c| c.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// What a label asks for.
    pub fn label(&self, label: u32) -> Answer {
        let bound = self.intent.labels.values().find(|object| object.label.get() == label);
        let Some(object) = bound else { return Answer::Nothing };
        match &object.action {
            LabelAction::Vrf(name) if self.vrf_exists(name) => Answer::Lookup(name.clone()),
            LabelAction::Vrf(_) => Answer::Nothing,
            LabelAction::Forward(hops) => {
                let hops = self.intent_hops(hops);
                let found = self.resolve_hops(&hops, DEFAULT, &mut Vec::new());
                if found.is_empty() { Answer::Nothing } else { self.exits(found) }
            }
        }
    }

    /// The longest prefix with a candidate that can be resolved.
    fn in_force(&self, all: &[Candidate], address: IpAddr) -> Option<Vec<Found>> {
        let mut covers: Vec<Prefix> =
            all.iter().map(|c| c.prefix).filter(|prefix| prefix.contains(address)).collect();
        covers.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        covers.dedup();
        covers.into_iter().find_map(|prefix| {
            let found = self.at_prefix(all, prefix, &mut None);
            Some(found).filter(|found| !found.is_empty())
        })
    }

    /// A neighbor on a connected prefix is reached directly.
    fn neighbor_exit(&self, vrf: &str, address: IpAddr, found: &[Found]) -> Option<Exit> {
        let link = match found.first()?.way {
            resolve::Way::Link(link) => link,
            _ => return None,
        };
        let plain = |f: &Found| f.way == resolve::Way::Link(link) && f.is_plain();
        if !found.iter().all(plain) || self.vrf_of_link(link) != vrf {
            return None;
        }
        if resolve::is_link_local(address) || address.is_multicast() || address.is_unspecified() {
            return None;
        }
        self.neighbor(link, address)?;
        let way = resolve::Way::Neighbor(link, address);
        Some(self.exit(&found.first()?.by(way)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::host::{Address, Link, NextHop, Route, RouteKey, RouteKind};

    /// One link with an address, its connected prefix, and a route through a gateway there.
    fn host() -> HostState {
        let mut host = HostState::default();
        let link = Link { index: 2, name: "eth0".into(), up: true, ..Link::default() };
        host.links.insert(2, Link { mac: Mac([2; 6]), medium: "ether".into(), ..link });
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let own = Address { link: 2, address, len: 24, peer: None, scope: "global".into() };
        host.addresses.insert((2, address), own);
        for (prefix, via) in [("10.0.0.0/24", None), ("20.0.0.0/8", Some("10.0.0.9"))] {
            let prefix = prefix.parse().unwrap();
            let key = RouteKey { table: 254, prefix, metric: 0, tos: 0, instance: 0 };
            let hop = NextHop {
                via: via.map(|via| via.parse().unwrap()),
                link: 2,
                weight: 1,
                labels: Vec::new(),
                ttl: None,
                encap: None,
                onlink: false,
                dead: false,
            };
            let route = Route {
                kind: RouteKind::Unicast,
                protocol: if via.is_none() { "kernel".into() } else { "static".into() },
                nexthops: vec![hop],
                object: None,
                mtu: None,
            };
            host.routes.insert(key, route);
        }
        host
    }

    #[test]
    fn plain_questions_have_plain_answers() {
        let (intent, host) = (Intent::default(), host());
        let oracle = Oracle::new(&intent, &host);
        let kind = |address: &str| match oracle.route(DEFAULT, address.parse().unwrap()) {
            Answer::Exits(exits) if exits.len() == 1 => Some(exits[0].0.kind.clone()),
            _ => None,
        };
        assert_eq!(kind("10.0.0.1"), Some(ExitKind::Deliver));
        assert_eq!(kind("10.0.0.255"), Some(ExitKind::Broadcast(2)));
        assert_eq!(kind("10.0.0.7"), Some(ExitKind::Unresolved(2)));
        assert_eq!(kind("20.1.1.1"), Some(ExitKind::Unresolved(2)));
        assert_eq!(kind("30.1.1.1"), None);
        assert_eq!(oracle.route("blue", "10.0.0.1".parse().unwrap()), Answer::Nothing);
        assert_eq!(oracle.label(100), Answer::Nothing);
    }
}
