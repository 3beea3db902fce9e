//! From what changed to a plan: one transaction in make-before-break order.

use crate::compiler::Compiler;
use crate::key::AddrKey;
use crate::key::{NetKey, is_link_local};
use crate::neighbor;
use crate::objects::{self, RouteEntry};
use crate::resolve::Resolver;
use crate::rib::{Class, Offer, Source};
use crate::slab::NIL;
use crate::target::{Hop, Hops, State, TargetKey, Way};
use crate::vrfs::changed_names;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::{GroupId, IlmWord, LinkRow, SettingsRow, VrfId, link};
use thalweg_image::{Change, Plan};
use thalweg_model::Prefix;
use thalweg_model::intent::TtlModel;

/// Cost of a packet where none may pass: eleven days of credit.
const NEVER: u64 = 1_000_000_000_000_000;

/// What a plan collects on the way.
#[derive(Default)]
struct Draft {
    vlans: Vec<Change>,
    /// Routes of VRFs that ceased to exist or changed their number.
    unbound: Vec<Change>,
    /// Nodes looked at, to forget those that are empty.
    nodes: Vec<u32>,
    /// Nodes with the target that was in force before.
    touched: Vec<(u32, u32)>,
    labels: Vec<Change>,
}

/// The key of a target directly on a link.
pub(crate) fn on_link_key(link: u32, via: Option<IpAddr>) -> TargetKey {
    let hop = Hop { link, via, weight: 1, onlink: true, ..Hop::default() };
    TargetKey::Hops(Hops { rib: 0, own: None, hops: vec![hop] })
}

impl Compiler {
    /// Everything pending as one transaction. Empty, with the old generation, when nothing that
    /// matters to the data plane changed.
    pub fn plan(&mut self) -> Plan {
        let mut draft = Draft::default();
        if std::mem::take(&mut self.pending.structure) {
            self.restructure(&mut draft);
        }
        self.retry_starved();
        self.rebuild_routes();
        self.rebuild_labels();
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
            self.mark_neighbors(draft.nodes[at]);
        }
        self.host_routes(&mut draft);
        self.label_words(&mut draft);
        self.finish(draft)
    }

    /// Finds VRFs, standing of links and names anew.
    fn restructure(&mut self, draft: &mut Draft) {
        let ribs_of = |vrfs: &crate::vrfs::Vrfs| -> BTreeMap<String, u16> {
            vrfs.iter().map(|(name, vrf)| (name.to_owned(), vrf.rib)).collect()
        };
        let before = ribs_of(&self.vrfs);
        let devices: BTreeMap<u32, u16> =
            self.host.links.keys().filter_map(|i| Some((*i, self.vrfs.device(*i)?))).collect();
        let rebound = self.vrfs.refresh(&self.intent, &self.host, &mut self.ribs);
        for change in &rebound {
            self.rebind(change.rib, change.before, draft);
            self.targets.mark_fact(crate::target::Fact::Rib(change.rib));
        }
        if !rebound.is_empty() {
            self.pending.links.extend(self.host.links.keys());
            self.pending.words.extend(self.intent.labels.keys().cloned());
        }
        for link in self.host.links.keys().chain(devices.keys()) {
            if devices.get(link).copied() != self.vrfs.device(*link) {
                self.targets.mark_fact(crate::target::Fact::Link(*link));
            }
        }
        if before != ribs_of(&self.vrfs) {
            self.pending.routes.extend(self.intent.routes.keys().cloned());
            self.pending.labels.extend(self.intent.labels.keys().cloned());
        }
        let names: BTreeMap<String, u32> =
            self.host.links.values().map(|link| (link.name.clone(), link.index)).collect();
        for name in changed_names(&self.names, &names) {
            self.index.mark_device(name, &mut self.pending);
        }
        self.names = names;
        self.restand(draft);
    }

    /// Classifies links anew and follows up where their standing changed.
    fn restand(&mut self, draft: &mut Draft) {
        let ribs: BTreeMap<u32, (u16, u16)> = self
            .host
            .links
            .keys()
            .filter_map(|i| self.links.get(*i).map(|s| (*i, (s.rib, s.kernel_rib))))
            .collect();
        let changed = self.links.refresh(&self.intent, &self.host, &self.vrfs);
        draft.vlans = changed
            .vlans
            .into_iter()
            .map(|(page, vid, link)| Change::Vlan { page, vid, link })
            .collect();
        for link in changed.links {
            self.pending.links.insert(link);
            self.targets.mark_fact(crate::target::Fact::Link(link));
            let now = self.links.get(link).map(|s| (s.rib, s.kernel_rib));
            if ribs.get(&link).copied() != now {
                self.derive_all(link);
                let neighbors = self.neighbors_of(link);
                self.pending.neighbors.extend(neighbors.into_iter().map(|a| (link, a)));
            }
        }
    }

    /// Takes the routes of a RIB out of the VRF they were in and marks them for the new one.
    fn rebind(&mut self, rib: u16, before: Option<VrfId>, draft: &mut Draft) {
        let nodes: Vec<u32> =
            self.rib.nodes().filter(|(_, n)| n.key.rib == rib).map(|(index, _)| index).collect();
        for index in nodes {
            self.rib.mark(index);
            let Some(node) = self.rib.node_mut(index) else { continue };
            let force = std::mem::replace(&mut node.force, NIL);
            let prefix = node.key.prefix();
            if force != NIL {
                self.unuse(force);
                if let Some(vrf) = before {
                    draft.unbound.push(route_change(vrf, prefix, GroupId::NONE));
                }
            }
        }
    }

    /// Gives targets that got no numbers another chance when there are some.
    fn retry_starved(&mut self) {
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

    fn rebuild_routes(&mut self) {
        for name in std::mem::take(&mut self.pending.routes) {
            let Some(route) = self.intent.routes.get(&name) else {
                if let Some(entry) = self.routes.remove(&name) {
                    self.withdraw(&entry);
                    self.route_names.remove(entry.number);
                }
                continue;
            };
            let twin = self.index.route_twin(&name, route);
            let (found, findings) = objects::route(&name, route, &self.intent, &self.names(), twin);
            let metric = route.metric;
            let found = found.map(|(key, target)| (key, self.targets.intern(target)));
            self.offer_route(name, metric, found, findings);
        }
    }

    fn offer_route(
        &mut self,
        name: String,
        metric: u32,
        found: Option<(NetKey, u32)>,
        findings: Vec<objects::Finding>,
    ) {
        let old = match self.routes.remove(&name) {
            Some(old) => old,
            None => {
                RouteEntry { number: self.route_names.insert(name.clone()), ..Default::default() }
            }
        };
        let number = old.number;
        let mut entry = RouteEntry { number, findings, ..RouteEntry::default() };
        if let Some((key, target)) = found {
            let offer = Offer {
                class: Class::Route,
                metric,
                source: Source::Intent,
                instance: 0,
                data: number,
                target,
            };
            let node = self.rib.find(key);
            let same = old.candidate.filter(|candidate| {
                self.rib.offer(*candidate) == Some(&offer)
                    && node.is_some_and(|n| self.rib.candidates(n).any(|(c, _)| c == *candidate))
            });
            entry.target = Some(target);
            entry.candidate = same;
            if same.is_none() {
                self.withdraw(&old);
                entry.candidate = Some(self.rib.add(key, offer));
            }
        } else {
            self.withdraw(&old);
        }
        self.routes.insert(name, entry);
    }

    fn withdraw(&mut self, entry: &RouteEntry) {
        if let Some(candidate) = entry.candidate {
            self.remove_candidate(candidate);
        }
    }

    fn rebuild_labels(&mut self) {
        for name in std::mem::take(&mut self.pending.labels) {
            let mut entry = objects::LabelEntry::default();
            if let Some(label) = self.intent.labels.get(&name) {
                let twin = self.index.label_twin(&name, label.label.get());
                let limit = self.limits.labels;
                let (found, findings) =
                    objects::label(label, &self.intent, &self.names(), twin, limit);
                entry.findings = findings;
                entry.valid = found.is_some();
                match found {
                    Some(Ok(target)) => entry.target = Some(self.targets.intern(target)),
                    Some(Err(rib)) => entry.lookup = Some(rib),
                    None => {}
                }
            }
            self.set_label(name, entry);
        }
    }

    fn set_label(&mut self, name: String, entry: objects::LabelEntry) {
        if let Some(target) = entry.target {
            self.hold_target(target, 1);
            self.index.by_target.entry(target).or_default().insert(name.clone());
        }
        let target = entry.target;
        let old = match self.intent.labels.contains_key(&name) {
            true => self.labels.insert(name.clone(), entry),
            false => self.labels.remove(&name),
        };
        if let Some(old) = old.and_then(|old| old.target) {
            self.hold_target(old, -1);
            if Some(old) != target
                && let Some(names) = self.index.by_target.get_mut(&old)
            {
                names.remove(&name);
                if names.is_empty() {
                    self.index.by_target.remove(&old);
                }
            }
        }
        self.pending.words.insert(name);
    }

    fn mark_words(&mut self, target: u32) {
        if let Some(names) = self.index.by_target.get(&target) {
            self.pending.words.extend(names.iter().cloned());
        }
    }

    /// Resolves the marked targets and follows up where the result is another.
    fn settle(&mut self) {
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
            };
            let outcome = resolver.resolve(&key);
            let (state, members) = (outcome.state, outcome.members.clone());
            let Some(before) = self.targets.settle(target, outcome) else { continue };
            if before.members == members && before.state == state {
                continue;
            }
            if before.state != state {
                let all = before.state.min(state) == State::Unresolvable;
                let nodes: Vec<u32> = self.rib.nodes_of(target, !all).collect();
                nodes.into_iter().for_each(|node| self.rib.mark(node));
                self.mark_words(target);
            }
            let is_on_link = |m: &crate::target::Member| matches!(m.way, Way::Link(_));
            if before.members.iter().chain(&members).any(is_on_link) {
                let nodes: Vec<u32> = self.rib.nodes_of(target, false).collect();
                nodes.into_iter().for_each(|node| self.mark_neighbors(node));
            }
            if state != State::Unresolvable && self.groups.get(target).is_some() {
                self.reissue(target);
            }
        }
    }

    /// Issues the group of a target anew; what does not fit stays as it is until there is room.
    fn reissue(&mut self, target: u32) {
        let Some(cell) = self.targets.get(target) else { return };
        let members = &cell.outcome.members;
        if self.groups.issue(target, members, None, &mut self.rows).is_err() {
            self.pending.stale.insert(target);
        }
    }

    /// Decides which candidate of a prefix is in force.
    fn select(&mut self, index: u32, draft: &mut Draft) {
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
    fn best(&self, node: u32) -> u32 {
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
    fn employ(&mut self, target: u32, heir_of: Option<u32>) -> bool {
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

    fn unuse(&mut self, target: u32) {
        if let Some(cell) = self.targets.get_mut(target) {
            cell.uses = cell.uses.saturating_sub(1);
            if cell.uses == 0 {
                self.pending.idle.push(target);
            }
        }
    }

    /// Marks the neighbors whose covering route may have changed with a prefix.
    fn mark_neighbors(&mut self, node: u32) {
        if self.watched.is_empty() {
            return;
        }
        let Some(node) = self.rib.node(node) else { return };
        let (first, last) = node.key.span();
        let hit = self.watched.range((first, 0)..=(last, u32::MAX));
        self.pending.neighbors.extend(hit.map(|(key, link)| (*link, key.address())));
    }

    /// Gives resolved neighbors on connected prefixes their host routes.
    fn host_routes(&mut self, draft: &mut Draft) {
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
                let target = self.targets.intern(on_link_key(link, Some(address)));
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
    fn host_route(&mut self, link: u32, address: IpAddr) -> Option<NetKey> {
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
        let here = |member: &crate::target::Member| {
            member.way == Way::Link(link) && member.dress == Default::default()
        };
        (!target.outcome.members.is_empty() && target.outcome.members.iter().all(here))
            .then_some(net)
    }

    /// Finds the words of labels anew.
    fn label_words(&mut self, draft: &mut Draft) {
        let mut numbers: BTreeSet<u32> = std::mem::take(&mut self.pending.lost_labels);
        for name in std::mem::take(&mut self.pending.words) {
            if let Some(label) = self.intent.labels.get(&name) {
                numbers.insert(label.label.get());
            }
            self.employ_label(&name);
        }
        for number in numbers {
            let word = self.label_word(number).unwrap_or_default();
            let old = self.published.labels.get(&number).copied().unwrap_or_default();
            if old != word {
                draft.labels.push(Change::Label(number, word));
                match word == IlmWord::default() {
                    true => self.published.labels.remove(&number),
                    false => self.published.labels.insert(number, word),
                };
            }
        }
    }

    /// Takes a label's target in use, or lets go of the one it had.
    fn employ_label(&mut self, name: &str) {
        let wanted = self
            .labels
            .get(name)
            .and_then(|entry| entry.target)
            .filter(|target| self.targets.state(*target) != State::Unresolvable);
        let before = self.published.label_targets.get(name).copied();
        if wanted == before {
            return;
        }
        match wanted.filter(|target| self.employ(*target, before)) {
            Some(target) => self.published.label_targets.insert(name.to_owned(), target),
            None => self.published.label_targets.remove(name),
        };
        if let Some(before) = before {
            self.unuse(before);
        }
    }

    fn label_word(&self, number: u32) -> Option<IlmWord> {
        let name = self.index.label_owner(number)?;
        let (entry, label) = (self.labels.get(name)?, self.intent.labels.get(name)?);
        let flags = if label.ttl_model == Some(TtlModel::Pipe) { IlmWord::PIPE } else { 0 };
        if let Some(rib) = entry.lookup {
            return self.ribs.vrf(rib).map(|vrf| IlmWord::lookup(vrf, flags));
        }
        let target = self.published.label_targets.get(name)?;
        self.groups.get(*target).map(|group| IlmWord::forward(group.id, flags))
    }

    /// Puts the changes in order and frees what is left over.
    fn finish(&mut self, draft: Draft) -> Plan {
        let mut changes = Vec::with_capacity(draft.touched.len() + 64);
        self.settings_change(&mut changes);
        let routes = self.route_changes(&draft);
        for node in draft.nodes {
            self.rib.drop_if_empty(node);
        }
        let mut left_over = self.free();
        let (gone, links): (Vec<_>, Vec<_>) = self.link_changes().into_iter().partition(is_zero);
        changes.extend(links);
        changes.extend(draft.vlans);
        changes.append(&mut self.rows.added);
        changes.append(&mut self.groups.issued);
        changes.extend(draft.unbound);
        changes.extend(routes);
        changes.extend(draft.labels);
        self.own_change(&mut changes);
        changes.append(&mut left_over);
        changes.extend(gone);
        self.retry_refused(&mut changes);
        self.end_plan();
        if !changes.is_empty() {
            self.generation += 1;
        }
        Plan { generation: self.generation, changes }
    }

    fn settings_change(&mut self, changes: &mut Vec<Change>) {
        let router = &self.intent.router;
        let cost = |rate: u32| 1_000_000_000u64.checked_div(u64::from(rate)).unwrap_or(NEVER);
        let row = SettingsRow {
            seed: router.hash_seed.unwrap_or(self.seed),
            answer_cost: cost(router.icmp_rate),
            punt_cost: cost(router.punt_rate),
            burst: u64::from(router.burst),
            generation: 0,
            reserved: [0; 3],
        };
        if self.published.settings != Some(row) {
            self.published.settings = Some(row);
            changes.push(Change::Settings(row));
        }
    }

    fn link_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.pending.links.extend(self.groups.touched_links.drain(..));
        for index in std::mem::take(&mut self.pending.links) {
            if !self.links.has_row(index) {
                continue;
            }
            let row = self.link_row(index);
            let old = self.published.links.get(&index).copied().unwrap_or_default();
            if old == row {
                continue;
            }
            changes.push(Change::Link(index, row));
            match row == LinkRow::default() {
                true => self.published.links.remove(&index),
                false => self.published.links.insert(index, row),
            };
        }
        changes
    }

    fn link_row(&self, index: u32) -> LinkRow {
        let egress = self.groups.uses_link(index);
        if index == 0 {
            // Row 0 stands for the kernel: next hops out of links without a row lead there.
            let flags = if egress { link::flag::UP } else { 0 };
            return LinkRow { flags, ..LinkRow::default() };
        }
        let vrf = self.ribs.vrf(self.links.rib(index)).unwrap_or_default();
        self.links.row(index, &self.intent, &self.host, vrf, egress)
    }

    fn route_changes(&mut self, draft: &Draft) -> Vec<Change> {
        let mut changes = Vec::with_capacity(draft.touched.len());
        for (index, before) in &draft.touched {
            let Some(node) = self.rib.node_mut(*index) else { continue };
            node.touched = false;
            let (force, key) = (node.force, node.key);
            if force == *before {
                continue;
            }
            let Some(vrf) = self.ribs.vrf(key.rib) else { continue };
            let group = self.groups.get(force).map_or(GroupId::NONE, |group| group.id);
            changes.push(route_change(vrf, key.prefix(), group));
        }
        changes
    }

    fn own_change(&mut self, changes: &mut Vec<Change>) {
        let words = self.own_words();
        if self.published.own.is_empty() && words.iter().all(|word| *word == 0) {
            return;
        }
        if self.published.own != words {
            self.published.own.clone_from(&words);
            changes.push(Change::Own(words));
        }
    }

    /// Frees groups, next hops and targets that nobody uses any more.
    fn free(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for target in std::mem::take(&mut self.pending.idle) {
            let Some(cell) = self.targets.get(target) else { continue };
            if cell.uses > 0 {
                continue;
            }
            let unused = cell.holders == 0 && self.rib.users(target) == 0;
            changes.extend(self.groups.free(target, &mut self.rows));
            self.pending.stale.remove(&target);
            if unused {
                self.pending.starved.remove(&target);
                self.targets.remove(target);
            }
        }
        changes.extend(self.rows.collect());
        changes
    }

    fn end_plan(&mut self) {
        self.rows.end_plan();
        self.groups.end_plan();
        self.links.end_plan();
        self.vrfs.end_plan();
    }
}

/// Whether a change takes a link out.
fn is_zero(change: &Change) -> bool {
    matches!(change, Change::Link(_, row) if *row == LinkRow::default())
}

/// The change that sets the group of a prefix.
pub(crate) fn route_change(vrf: VrfId, prefix: Prefix, group: GroupId) -> Change {
    match prefix {
        Prefix::V4(prefix) => Change::Route4(vrf, prefix, group),
        Prefix::V6(prefix) => Change::Route6(vrf, prefix, group),
    }
}
