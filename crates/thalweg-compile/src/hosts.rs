//! Host routes of resolved neighbors on connected prefixes.

use crate::compiler::Compiler;
use crate::key::{AddrKey, NetKey, is_link_local};
use crate::neighbor;
use crate::plan::{Draft, on_link_key};
use crate::rib::{Class, Offer, Source};
use crate::slab::NIL;
use crate::target::{Member, Way};
use std::net::IpAddr;
use thalweg_model::Prefix;

impl Compiler {
    /// Marks the neighbors whose covering route may have changed with a prefix.
    pub(crate) fn mark_neighbors(&mut self, node: u32) {
        if self.watched.is_empty() {
            return;
        }
        let Some(node) = self.rib.node(node) else { return };
        let (first, last) = node.key.span();
        let hit = self.watched.range((first, 0)..=(last, u32::MAX));
        self.pending.neighbors.extend(hit.map(|(key, link)| (*link, key.address())));
    }

    /// The same for many prefixes: where there are more of them than neighbors to look at, all are.
    pub(crate) fn mark_neighbors_of(&mut self, nodes: &[u32]) {
        if nodes.len() <= self.watched.len() {
            return nodes.iter().for_each(|node| self.mark_neighbors(*node));
        }
        self.pending
            .neighbors
            .extend(self.watched.iter().map(|(key, link)| (*link, key.address())));
    }

    /// Gives resolved neighbors on connected prefixes their host routes.
    pub(crate) fn host_routes(&mut self, draft: &mut Draft) {
        for (link, address) in std::mem::take(&mut self.pending.neighbors) {
            let net = self.host_route(link, address);
            let old = self.hosts.get(&(link, address)).copied();
            let at = old.and_then(|old| {
                let node = self.rib.find(net?)?;
                self.rib.candidates(node).any(|(candidate, _)| candidate == old).then_some(())
            });
            if at.is_some() {
                continue;
            }
            if let Some(old) = old {
                self.remove_candidate(old);
                self.hosts.remove(&(link, address));
            }
            if let Some(net) = net {
                let target = self.targets.intern(on_link_key(link, Some(address), None));
                let offer = Offer {
                    class: Class::Neighbor,
                    metric: 0,
                    source: Source::Neighbor,
                    instance: link,
                    data: link,
                    target,
                };
                let candidate = self.rib.add(net, offer);
                self.hosts.insert((link, address), candidate);
            }
        }
        let nodes = self.rib.take_dirty();
        self.settle();
        for node in &nodes {
            self.select(*node, draft);
        }
        draft.nodes.extend(nodes);
        for node in self.rib.take_dirty() {
            self.select(node, draft);
            draft.nodes.push(node);
        }
    }

    /// The host route that a neighbor deserves, if any; keeps the list of watched addresses.
    pub(crate) fn host_route(&mut self, link: u32, address: IpAddr) -> Option<NetKey> {
        let neighbor = self.host.neighbors.get(&(link, address));
        let usable = neighbor.and_then(neighbor::resolved).is_some()
            && !is_link_local(address)
            && !address.is_multicast()
            && !address.is_unspecified();
        let rib = self.links.rib(link);
        let watch = usable.then(|| AddrKey::new(rib, address));
        let before = match watch {
            Some(watch) => self.watching.insert((link, address), watch),
            None => self.watching.remove(&(link, address)),
        };
        if before != watch {
            before.map(|before| self.watched.remove(&(before, link)));
            watch.map(|watch| self.watched.insert((watch, link)));
        }
        if !usable {
            return None;
        }
        let net = NetKey::new(rib, Prefix::host(address));
        if self.rib.find(net).is_some_and(|node| self.rib.is_explicit(node)) {
            return None;
        }
        let cover = self.rib.covers(rib, address).find(|&node| {
            self.rib.is_explicit(node) && self.rib.node(node).is_some_and(|n| n.force != NIL)
        })?;
        let target = self.targets.get(self.rib.node(cover)?.force)?;
        let here =
            |member: &Member| member.way == Way::Link(link) && member.dress == Default::default();
        (!target.outcome.members.is_empty() && target.outcome.members.iter().all(here))
            .then_some(net)
    }
}
