//! Labels that the kernel or a routing suite binds, beside the objects that files name.
//!
//! For a label, an object of the files wins, then the suite's binding, then the kernel's.

use crate::compiler::Compiler;
use crate::key::RibId;
use crate::target::{Hops, Member, State, TargetKey, Way};
use crate::{kernel, vrfs};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::IlmWord;
use thalweg_model::Teller;
use thalweg_model::host::LabelRoute;

/// Index of the loopback link in every network namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK: u32 = 1;
/// Labels below have a fixed meaning and cannot be bound (RFC 3032 §2.1).
const FIRST: u32 = 16;

/// A binding as told.
#[derive(Debug)]
struct Lsp {
    route: LabelRoute,
    /// Where it leads; none for labels that cannot be in the table.
    target: Option<u32>,
}

/// All bindings that were told.
#[derive(Debug, Default)]
pub(crate) struct Lsps {
    /// By label; of each, the suite's comes first.
    bindings: BTreeMap<(u32, Teller), Lsp>,
    /// Labels by target.
    by_target: BTreeMap<u32, BTreeSet<u32>>,
    /// Targets in force by label.
    used: BTreeMap<u32, u32>,
}

impl Lsps {
    /// All bindings: label, who tells of it, what it does.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Teller, &LabelRoute)> {
        self.bindings.iter().map(|((label, teller), lsp)| (*label, *teller, &lsp.route))
    }

    /// The bindings of one label, best first, with their targets.
    fn of(&self, label: u32) -> impl Iterator<Item = (Teller, &Lsp)> {
        let range = (label, Teller::Fpm)..=(label, Teller::Kernel);
        self.bindings.range(range).map(|((_, teller), lsp)| (*teller, lsp))
    }

    /// Labels that lead to a target.
    pub fn to(&self, target: u32) -> impl Iterator<Item = u32> {
        self.by_target.get(&target).into_iter().flatten().copied()
    }

    /// What a binding does.
    pub fn route(&self, label: u32, teller: Teller) -> Option<&LabelRoute> {
        self.bindings.get(&(label, teller)).map(|lsp| &lsp.route)
    }

    /// The target of a binding.
    pub fn target(&self, label: u32, teller: Teller) -> Option<u32> {
        self.bindings.get(&(label, teller))?.target
    }

    /// Targets of the suite's bindings, whose gateways nobody else asks the kernel for.
    pub fn own_targets(&self) -> impl Iterator<Item = u32> {
        let own = self.bindings.iter().filter(|((_, teller), _)| *teller == Teller::Fpm);
        own.filter_map(|(_, lsp)| lsp.target)
    }

    /// Labels that were told.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Labels that do not fit a table of `limit` labels.
    pub fn beyond(&self, limit: u32) -> impl Iterator<Item = (u32, Teller)> {
        self.bindings.range((limit, Teller::Fpm)..).map(|(key, _)| *key)
    }
}

impl Compiler {
    /// Notes what somebody tells of a label.
    pub(crate) fn set_lsp(&mut self, teller: Teller, label: u32, route: Option<LabelRoute>) {
        let key = (label, teller);
        if self.lsps.bindings.get(&key).map(|old| &old.route) == route.as_ref() {
            return;
        }
        let lsp = route.map(|route| {
            let fits = (FIRST..self.limits.labels).contains(&label);
            let target = fits.then(|| self.targets.intern(target(&route)));
            Lsp { route, target }
        });
        if let Some(target) = lsp.as_ref().and_then(|lsp| lsp.target) {
            self.hold_target(target, 1);
        }
        let old = match lsp {
            Some(lsp) => self.lsps.bindings.insert(key, lsp),
            None => self.lsps.bindings.remove(&key),
        };
        let old = old.and_then(|old| old.target);
        self.relist(label, old);
        if let Some(old) = old {
            self.hold_target(old, -1);
        }
        self.pending.lost_labels.insert(label);
    }

    /// Keeps the list of labels by target.
    fn relist(&mut self, label: u32, old: Option<u32>) {
        if let Some(old) = old
            && let Some(labels) = self.lsps.by_target.get_mut(&old)
        {
            labels.remove(&label);
            if labels.is_empty() {
                self.lsps.by_target.remove(&old);
            }
        }
        let targets: Vec<u32> = self.lsps.of(label).filter_map(|(_, lsp)| lsp.target).collect();
        for target in targets {
            self.lsps.by_target.entry(target).or_default().insert(label);
        }
    }

    /// Notes the labels that lead to a target which is another now.
    pub(crate) fn mark_lsps(&mut self, target: u32) {
        self.pending.lost_labels.extend(self.lsps.to(target));
    }

    /// Who binds a label that no object binds, and its target: the best that works.
    pub(crate) fn lsp_in_force(&self, label: u32) -> Option<(Teller, u32)> {
        if self.index.label_owner(label).is_some() {
            return None;
        }
        let usable = |target: &u32| self.targets.state(*target) != State::Unresolvable;
        let mut bindings = self.lsps.of(label);
        bindings.find_map(|(teller, lsp)| Some((teller, lsp.target.filter(usable)?)))
    }

    /// Takes the target of a label in use, or lets go of the one it had.
    pub(crate) fn employ_lsp(&mut self, label: u32) {
        let wanted = self.lsp_in_force(label).map(|(_, target)| target);
        // What only looks up needs no group.
        let wanted = wanted.filter(|target| self.lookup_of(*target).is_none());
        let before = self.lsps.used.get(&label).copied();
        if wanted == before {
            return;
        }
        match wanted.filter(|target| self.employ(*target, before)) {
            Some(target) => self.lsps.used.insert(label, target),
            None => self.lsps.used.remove(&label),
        };
        if let Some(before) = before {
            self.unuse(before);
        }
    }

    /// The word of a label that no object binds.
    pub(crate) fn lsp_word(&self, label: u32) -> Option<IlmWord> {
        let (teller, target) = self.lsp_in_force(label)?;
        let flags = match self.lsps.route(label, teller)?.propagate {
            Some(false) => IlmWord::PIPE,
            Some(true) => 0,
            None => IlmWord::LINK,
        };
        match self.lookup_of(target) {
            Some(rib) => self.ribs.vrf(rib).map(|vrf| IlmWord::lookup(vrf, flags)),
            None if self.lsps.used.get(&label) != Some(&target) => None,
            None => self.groups.get(target).map(|group| IlmWord::forward(group.id, flags)),
        }
    }

    /// The RIB that a target looks up in, if it does nothing else.
    fn lookup_of(&self, target: u32) -> Option<RibId> {
        match self.targets.get(target)?.outcome.members.as_slice() {
            [Member { way: Way::Lookup(rib), dress, .. }] if dress.labels.is_empty() => Some(*rib),
            _ => None,
        }
    }
}

/// Where a label leads.
fn target(route: &LabelRoute) -> TargetKey {
    if let [only] = route.nexthops.as_slice()
        && (only.link, only.via, only.labels.is_empty()) == (LOOPBACK, None, true)
    {
        return TargetKey::Way(Way::Lookup(vrfs::DEFAULT));
    }
    let mut hops: Vec<_> = route.nexthops.iter().map(|hop| kernel::hop(hop, None)).collect();
    if let [only] = hops.as_mut_slice() {
        only.weight = 1;
    }
    TargetKey::Hops(Hops { rib: vrfs::DEFAULT, own: None, hops })
}
