//! Selectors of rules by number, with the addresses that they mean.

use super::Compiler;
use super::members::{Members, Touched};
use super::watch::Watch;
use crate::ranges::Ranges;
use crate::resolve::Peers;
use crate::selector::{Selector, Term};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Who uses which selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Selectors {
    numbers: HashMap<Selector, usize>,
    uses: Vec<usize>,
    watch: Watch,
    /// Those that mean nodes.
    of_nodes: BTreeSet<usize>,
    free: Vec<usize>,
    /// Those that were not there when the change began, and are up to date.
    fresh: BTreeSet<usize>,
    /// Those that nobody uses, or nobody did at some time, and those of the change before: sets of rules
    /// that ask for them go with the next change.
    unused: BTreeSet<usize>,
    doomed: BTreeSet<usize>,
}

impl Selectors {
    /// The number of a selector, which is used once more.
    pub fn take(
        &mut self,
        selector: &Selector,
        members: &mut Members,
        peers: &mut Vec<Peers>,
    ) -> usize {
        if let Some(known) = self.numbers.get(selector) {
            self.uses[*known] += 1;
            return *known;
        }
        let ranges = members.meant(selector);
        // How many they belong to is asked by nobody here.
        let made = Peers { selector: selector.clone(), ranges, members: 0 };
        let number = self.free.pop().unwrap_or(peers.len());
        match peers.get_mut(number) {
            Some(place) => {
                *place = made;
                self.uses[number] = 1;
            }
            None => {
                peers.push(made);
                self.uses.push(1);
            }
        }
        match selector.term() {
            Term::Nodes(_) => drop(self.of_nodes.insert(number)),
            _ => self.watch.add(number, selector),
        }
        self.numbers.insert(selector.clone(), number);
        self.fresh.insert(number);
        number
    }

    /// A selector is used once less.
    pub fn release(&mut self, number: usize) {
        self.uses[number] -= 1;
        if self.uses[number] == 0 {
            self.unused.insert(number);
        }
    }

    /// Drops what nobody has used since the change before.
    pub fn clean(&mut self, peers: &mut [Peers]) {
        self.fresh.clear();
        let unused = std::mem::take(&mut self.unused);
        for number in std::mem::replace(&mut self.doomed, unused) {
            if self.uses[number] == 0 {
                let unused = &mut peers[number];
                self.numbers.remove(&unused.selector);
                self.watch.remove(number, &unused.selector);
                self.of_nodes.remove(&number);
                unused.selector = Selector::all();
                unused.ranges = Ranges::default();
                self.free.push(number);
            }
        }
    }
}

impl Compiler {
    /// Brings the addresses that selectors mean up to date. Returns what came and what went. `nodes` tells
    /// whether nodes are others.
    pub(super) fn move_peers(
        &mut self,
        touched: &Touched,
        nodes: bool,
    ) -> BTreeMap<usize, [Ranges; 2]> {
        let mut anew: BTreeSet<usize> = BTreeSet::new();
        if nodes {
            anew.extend(self.peers.of_nodes.difference(&self.peers.fresh));
        }
        let mut places: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
        for (number, old) in touched {
            let both = [old.as_ref(), self.members.get(*number)];
            let found = both.iter().flatten().flat_map(|one| self.peers.watch.candidates(*one));
            for peers in found.filter(|peers| !self.peers.fresh.contains(peers)) {
                let selector = &self.ground.peers[peers].selector;
                let selects = both.map(|one| one.filter(|one| selector.selects(*one)));
                let addresses = selects.map(|one| one.map_or(&[][..], |one| one.addresses()));
                if selects.iter().flatten().any(|one| !one.nets().is_empty()) {
                    anew.insert(peers);
                } else if addresses[0] != addresses[1] {
                    places.entry(peers).or_default().extend(addresses.concat());
                }
            }
        }
        let mut moved = BTreeMap::new();
        for (peers, places) in places.into_iter().filter(|(peers, _)| !anew.contains(peers)) {
            let Peers { selector, ranges, .. } = &mut self.ground.peers[peers];
            let [mut came, mut went] = [Ranges::default(), Ranges::default()];
            for address in places {
                match (ranges.contains(address), self.members.means(selector, address)) {
                    (false, true) => {
                        ranges.insert(address);
                        came.insert(address);
                    }
                    (true, false) => {
                        ranges.remove(address);
                        went.insert(address);
                    }
                    _ => {}
                }
            }
            moved.insert(peers, [came, went]);
        }
        for peers in anew {
            let new = self.members.meant(&self.ground.peers[peers].selector);
            let old = std::mem::replace(&mut self.ground.peers[peers].ranges, new);
            let new = &self.ground.peers[peers].ranges;
            moved.insert(peers, [new.without(&old), old.without(new)]);
        }
        moved.retain(|_, [came, went]| !came.is_empty() || !went.is_empty());
        moved
    }
}
