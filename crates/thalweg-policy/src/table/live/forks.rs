//! Forks that follow changes.
//!
//! A fork asks for all atoms of its chain, of its own side and of the other, so that classes are told apart by
//! them before any set of it is made. Which sets it needs shows once classes are as they are to be.

use super::Live;
use crate::resolve::{Chain, ChainKind, Resolution};
use crate::table::flat::Flat;
use crate::table::fork::Fork;
use crate::table::own::Own;
use crate::table::safe;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::Prefix;

/// A host endpoint at one of its stages.
pub(crate) type ForkKey = (usize, ChainKind);

/// What is known of a fork.
#[derive(Clone, Debug)]
pub(super) struct Forked {
    chain: Chain,
    /// Atoms that rules ask of the own side.
    own: BTreeSet<u32>,
    /// Atoms that they ask of either.
    atoms: BTreeSet<u32>,
    /// Sets by the atoms that hold for the own side.
    sets: BTreeMap<Vec<u32>, u32>,
    /// Whether rules may come to something else than these sets.
    stale: bool,
}

impl Live {
    /// Takes over the addresses of this host. Chains that may look at them are to be given anew.
    pub fn set_own(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.own = addresses.into_iter().map(Prefix::host).collect();
    }

    /// Gives a host endpoint what a chain comes to.
    pub fn fork(&mut self, resolution: &Resolution, chain: Chain, endpoint: usize) {
        let mut own = BTreeSet::new();
        let flat = self.flat(resolution, &chain, &mut Own::Any(&mut own));
        let mut atoms = own.clone();
        atoms.extend(flat.atoms());
        self.held.resize_with(self.atoms.end(), Default::default);
        atoms.iter().for_each(|atom| self.held[*atom as usize].forks += 1);
        self.asked.extend(&atoms);
        let key = (endpoint, chain.kind);
        let old = self.forks.remove(&key);
        let sets = old.map(|old| self.let_go(old)).unwrap_or_default();
        self.forks.insert(key, Forked { chain, own, atoms, sets, stale: true });
    }

    /// There is no such fork any more.
    pub fn unfork(&mut self, key: ForkKey) {
        let Some(old) = self.forks.remove(&key) else { return };
        let sets = self.let_go(old);
        sets.into_values().for_each(|set| self.leave(Some(set)));
        self.tables.forks.remove(&key);
    }

    /// A fork does not ask for its atoms any more. Returns the sets that it still has.
    fn let_go(&mut self, old: Forked) -> BTreeMap<Vec<u32>, u32> {
        old.atoms.iter().for_each(|atom| self.held[*atom as usize].forks -= 1);
        self.asked.extend(old.atoms);
        old.sets
    }

    /// The rules of a chain of a host, behind those of ports that stay open.
    fn flat(&mut self, resolution: &Resolution, chain: &Chain, own: &mut Own<'_>) -> Flat {
        let first = safe::tier(resolution, chain.kind, own, &self.own, &mut self.atoms);
        let mut flat = Flat::new(resolution, chain, own, &mut self.atoms);
        flat.tiers.splice(0..0, first);
        flat
    }

    /// Brings forks to the classes that there are now.
    pub(super) fn follow(&mut self, resolution: &Resolution) {
        let mut forks = std::mem::take(&mut self.forks);
        for (key, forked) in &mut forks {
            let fork = self.follow_one(resolution, forked);
            self.tables.forks.insert(*key, fork);
        }
        self.forks = forks;
    }

    fn follow_one(&mut self, resolution: &Resolution, forked: &mut Forked) -> Fork {
        let old = std::mem::take(&mut forked.sets);
        let kept = if std::mem::take(&mut forked.stale) { None } else { Some(&old) };
        let mut fork =
            Fork { others: self.set_where(resolution, forked, &[], kept), ..Fork::default() };
        let mut holds = Vec::new();
        for of_class in self.tables.classes.holding(&forked.own).chunk_by(|a, b| a.0 == b.0) {
            holds.clear();
            holds.extend(of_class.iter().map(|(_, atom)| *atom));
            let set = self.set_where(resolution, forked, &holds, kept);
            if set != fork.others {
                fork.by_class.insert(of_class[0].0, set);
            }
        }
        old.into_values().for_each(|set| self.leave(Some(set)));
        fork
    }

    /// The set of a fork where these atoms hold for the own side, of those that are kept if it is there.
    fn set_where(
        &mut self,
        resolution: &Resolution,
        forked: &mut Forked,
        holds: &[u32],
        kept: Option<&BTreeMap<Vec<u32>, u32>>,
    ) -> u32 {
        if let Some(known) = forked.sets.get(holds) {
            return *known;
        }
        let set = match kept.and_then(|kept| kept.get(holds)) {
            Some(kept) => *kept,
            None => {
                let flat = self.flat(resolution, &forked.chain, &mut Own::Where(holds));
                self.number(flat)
            }
        };
        self.users[set as usize].uses += 1;
        forked.sets.insert(holds.to_vec(), set);
        set
    }
}
