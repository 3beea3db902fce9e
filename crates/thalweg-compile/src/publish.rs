//! The end of a plan: changes in make-before-break order, then what is left over is freed.

use crate::compiler::Compiler;
use crate::plan::{Draft, route_change};
use crate::pool::Pool;
use crate::tunnels;
use thalweg_abi::{GroupId, LinkRow, SettingsRow, link, settings};
use thalweg_image::{Change, Plan};
use thalweg_model::cluster::SocketScope;

/// Cost of a packet where none may pass: eleven days of credit.
const NEVER: u64 = 1_000_000_000_000_000;

impl Compiler {
    /// Puts the changes in order and frees what is left over.
    pub(crate) fn finish(&mut self, draft: Draft) -> Plan {
        let mut changes = Vec::with_capacity(draft.touched.len() + 64);
        let policies = self.policy_change();
        self.settings_change(&mut changes);
        changes.extend(policies);
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
        let (serving, served) = self.service_changes();
        changes.extend(serving);
        let (nodes, parted) = self.node_changes();
        changes.extend(nodes);
        self.own_change(&mut changes);
        changes.extend(served);
        changes.extend(parted);
        changes.append(&mut left_over);
        changes.extend(gone);
        self.retry_refused(&mut changes);
        if !changes.is_empty() {
            self.generation += 1;
        }
        Plan { generation: self.generation, changes }
    }

    pub(crate) fn settings_change(&mut self, changes: &mut Vec<Change>) {
        let router = &self.intent.router;
        let cost = |rate: u32| 1_000_000_000u64.checked_div(u64::from(rate)).unwrap_or(NEVER);
        let row = SettingsRow {
            seed: router.hash_seed.unwrap_or(self.seed),
            answer_cost: cost(router.icmp_rate),
            punt_cost: cost(router.punt_rate),
            burst: u64::from(router.burst),
            timeouts: timeouts(&router.flows.timeouts),
            flags: if router.flows.mid_flow { settings::flag::MID_FLOW } else { 0 }
                | if router.flows.nat_independent { settings::flag::INDEPENDENT } else { 0 }
                | if self.services.nat.floating.is_wanted() { settings::flag::FLOATING } else { 0 }
                | match router.services.sockets {
                    SocketScope::All => settings::flag::ALL_SOCKETS,
                    SocketScope::Host | SocketScope::Off => 0,
                }
                | tunnels::settings_flags(router.tunnel.as_ref()),
            ranges: self.services.nat.lens(),
            nat_ports: self.nat_ports().into(),
            quota: router.flows.per_workload.unwrap_or(0),
            passage: self.passage_link(),
            policy: self.policies.first_line(),
        };
        if self.published.settings != Some(row) {
            self.published.settings = Some(row);
            changes.push(Change::Settings(row));
        }
    }

    /// The link where what this host's own stack sends arrives, if it is needed for tunnels.
    fn passage_link(&self) -> u32 {
        let mut links = self.links.iter().filter(|(_, link)| link.ours && link.wish.host);
        match self.intent.router.tunnel {
            Some(_) => links.next().map_or(0, |(index, _)| index),
            None => 0,
        }
    }

    pub(crate) fn link_changes(&mut self) -> Vec<Change> {
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

    pub(crate) fn link_row(&self, index: u32) -> LinkRow {
        let egress = self.groups.uses_link(index);
        if index == 0 {
            // Row 0 stands for the kernel: next hops out of links without a row lead there.
            let flags = if egress { link::flag::UP } else { 0 };
            return LinkRow { flags, ..LinkRow::default() };
        }
        let vrf = self.ribs.vrf(self.links.rib(index)).unwrap_or_default();
        let mut row = self.links.row(index, &self.intent, &self.host, vrf, egress);
        let (policy, flags) = self.link_policy(index);
        (row.policy, row.flags) = (policy, row.flags | flags);
        row
    }

    pub(crate) fn route_changes(&mut self, draft: &Draft) -> Vec<Change> {
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

    pub(crate) fn own_change(&mut self, changes: &mut Vec<Change>) {
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
    pub(crate) fn free(&mut self) -> Vec<Change> {
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

    /// The pools of all numbers that plans free and reuse.
    pub(crate) fn pools(&mut self) -> [&mut Pool; 5] {
        let Self { rows, groups, links, vrfs, sessions, .. } = self;
        [rows.pool(), groups.pool(), links.pool(), vrfs.pool(), sessions.pool()]
    }
}

/// Whether a change takes a link out.
fn is_zero(change: &Change) -> bool {
    matches!(change, Change::Link(_, row) if *row == LinkRow::default())
}

/// Timeouts of flows in whole seconds, by [`thalweg_abi::flow::timeout`].
fn timeouts(
    timeouts: &thalweg_model::cluster::FlowTimeouts,
) -> [u32; thalweg_abi::flow::timeout::COUNT] {
    [
        timeouts.tcp_syn,
        timeouts.tcp_established,
        timeouts.tcp_closed,
        timeouts.tcp_reset,
        timeouts.udp,
        timeouts.icmp,
        timeouts.other,
        timeouts.sctp_init,
        timeouts.sctp_established,
        timeouts.sctp_closed,
        timeouts.sctp_aborted,
    ]
    .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX >> 1).max(1))
}
