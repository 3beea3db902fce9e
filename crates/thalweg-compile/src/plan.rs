//! From what changed to a plan: one transaction in make-before-break order.

use crate::compiler::Compiler;
use crate::resolve::Resolver;
use crate::slab::NIL;
use crate::target::{Hop, Hops, State, TargetKey, Way};
use std::net::IpAddr;
use thalweg_abi::{GroupId, VrfId};
use thalweg_image::{Change, Plan};
use thalweg_model::Prefix;

/// What a plan collects on the way.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) vlans: Vec<Change>,
    /// Routes of VRFs that ceased to exist or changed their number.
    pub(crate) unbound: Vec<Change>,
    /// Nodes looked at, to forget those that are empty.
    pub(crate) nodes: Vec<u32>,
    /// Nodes with the target that was in force before.
    pub(crate) touched: Vec<(u32, u32)>,
    pub(crate) labels: Vec<Change>,
}

/// The key of a target directly on a link.
pub(crate) fn on_link_key(link: u32, via: Option<IpAddr>, only: Option<IpAddr>) -> TargetKey {
    let hop = Hop { link, via, weight: 1, onlink: true, ..Hop::default() }.for_only(only);
    TargetKey::Hops(Hops { rib: 0, own: None, hops: vec![hop] })
}

impl Compiler {
    /// Everything pending as one transaction. Empty, with the old generation, when nothing that
    /// matters to the data plane changed.
    pub fn plan(&mut self) -> Plan {
        let mut draft = Draft::default();
        let all = self.refused.is_empty();
        self.pools().into_iter().for_each(|pool| pool.begin_plan(all));
        if std::mem::take(&mut self.pending.structure) {
            self.restructure(&mut draft);
        }
        self.retry_starved();
        self.rebuild_routes();
        self.rebuild_labels();
        self.rebuild_tunnels();
        let changed = self.rib.take_dirty();
        for node in &changed {
            if let Some(node) = self.rib.node(*node) {
                self.targets.mark_covers(node.key);
            }
        }
        self.settle();
        draft.nodes = changed;
        draft.nodes.append(&mut self.rib.take_dirty());
        for at in 0..draft.nodes.len() {
            self.select(draft.nodes[at], &mut draft);
        }
        self.mark_neighbors_of(&draft.nodes);
        self.host_routes(&mut draft);
        self.label_words(&mut draft);
        self.employ_tunnels();
        self.finish(draft)
    }

    /// Gives targets that got no numbers another chance when there are some.
    pub(crate) fn retry_starved(&mut self) {
        if !(self.groups.has_room() && self.rows.has_room()) {
            return;
        }
        for target in std::mem::take(&mut self.pending.starved) {
            let nodes: Vec<u32> = self.rib.nodes_of(target, false).collect();
            nodes.into_iter().for_each(|node| self.rib.mark(node));
            self.mark_words(target);
        }
        for target in std::mem::take(&mut self.pending.stale) {
            self.reissue(target);
        }
    }

    /// Resolves the marked targets and follows up where the result is another.
    pub(crate) fn settle(&mut self) {
        for target in self.targets.take_dirty() {
            let Some(cell) = self.targets.get(target) else { continue };
            if cell.holders == 0 && cell.uses == 0 && self.rib.users(target) == 0 {
                self.pending.idle.push(target);
                continue;
            }
            let key = cell.key.clone();
            let resolver = Resolver {
                host: &self.host,
                rib: &self.rib,
                targets: &self.targets,
                links: &self.links,
                vrfs: &self.vrfs,
                ribs: &self.ribs,
                sessions: &self.sessions,
            };
            let outcome = resolver.resolve(&key);
            let (state, members) = (outcome.state, outcome.members.clone());
            let is_new = self.targets.is_new(target);
            let Some(before) = self.targets.settle(target, outcome) else { continue };
            if before.members == members && before.state == state {
                continue;
            }
            self.mark_lsps(target);
            if before.state != state {
                // Whoever leads to a new target is new as well, and looked at in this plan anyway.
                if !is_new {
                    let all = before.state.min(state) == State::Unresolvable;
                    let nodes: Vec<u32> = self.rib.nodes_of(target, !all).collect();
                    nodes.into_iter().for_each(|node| self.rib.mark(node));
                }
                self.mark_words(target);
            }
            let is_on_link = |m: &crate::target::Member| matches!(m.way, Way::Link(_));
            if !is_new && before.members.iter().chain(&members).any(is_on_link) {
                let nodes: Vec<u32> = self.rib.nodes_of(target, false).collect();
                nodes.into_iter().for_each(|node| self.mark_neighbors(node));
            }
            if state != State::Unresolvable && self.groups.get(target).is_some() {
                self.reissue(target);
            }
        }
    }

    /// Issues the group of a target anew; what does not fit stays as it is until there is room.
    pub(crate) fn reissue(&mut self, target: u32) {
        let Some(cell) = self.targets.get(target) else { return };
        let members = &cell.outcome.members;
        if self.groups.issue(target, members, None, &mut self.rows).is_err() {
            self.pending.stale.insert(target);
        }
    }

    /// Decides which candidate of a prefix is in force.
    pub(crate) fn select(&mut self, index: u32, draft: &mut Draft) {
        let Some(node) = self.rib.node(index) else { return };
        let before = node.force;
        let wanted = match self.ribs.vrf(node.key.rib) {
            Some(_) => self.best(index),
            None => NIL,
        };
        if wanted == before {
            return;
        }
        let heir_of = Some(before).filter(|before| *before != NIL);
        let force = if wanted != NIL && self.employ(wanted, heir_of) { wanted } else { NIL };
        if force == before {
            return;
        }
        if let Some(node) = self.rib.node_mut(index) {
            node.force = force;
            if !std::mem::replace(&mut node.touched, true) {
                draft.touched.push((index, before));
            }
        }
        if before != NIL {
            self.unuse(before);
        }
    }

    /// The target of the best candidate that works; of the best that is resolved if none works.
    pub(crate) fn best(&self, node: u32) -> u32 {
        if let Some(only) = self.rib.only(node) {
            let usable = self.targets.state(only.target) != State::Unresolvable;
            return if usable { only.target } else { NIL };
        }
        let mut dead = NIL;
        for offer in self.rib.ranked(node) {
            match self.targets.state(offer.target) {
                State::Alive => return offer.target,
                State::Dead if dead == NIL => dead = offer.target,
                _ => {}
            }
        }
        dead
    }

    /// One more user in force; false when the target gets no group.
    pub(crate) fn employ(&mut self, target: u32, heir_of: Option<u32>) -> bool {
        if self.groups.get(target).is_none() {
            let Some(cell) = self.targets.get(target) else { return false };
            let members = &cell.outcome.members;
            if self.groups.issue(target, members, heir_of, &mut self.rows).is_err() {
                self.pending.starved.insert(target);
                return false;
            }
        }
        if let Some(cell) = self.targets.get_mut(target) {
            cell.uses += 1;
        }
        true
    }

    pub(crate) fn unuse(&mut self, target: u32) {
        if let Some(cell) = self.targets.get_mut(target) {
            cell.uses = cell.uses.saturating_sub(1);
            if cell.uses == 0 {
                self.pending.idle.push(target);
            }
        }
    }
}

/// The change that sets the group of a prefix.
pub(crate) fn route_change(vrf: VrfId, prefix: Prefix, group: GroupId) -> Change {
    match prefix {
        Prefix::V4(prefix) => Change::Route4(vrf, prefix, group),
        Prefix::V6(prefix) => Change::Route6(vrf, prefix, group),
    }
}
