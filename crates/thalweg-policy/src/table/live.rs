//! Tables that follow changes: who uses what, so that only what is another is made anew.

mod forks;

use forks::{ForkKey, Forked};

use super::class::{Atom, Atoms, Edges, Edited};
use super::flat::Flat;
use super::index::Index;
use super::mixer::Mixing;
use super::own::Own;
use super::row::Rows;
use super::{Change, Set, SetChange, Tables};
use crate::model::Direction;
use crate::ranges::Ranges;
use crate::resolve::{Chain, Resolution};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::Prefix;
use thalweg_model::cluster::ObjectName;

/// An endpoint at one of its addresses, by direction.
pub(crate) type Key = (usize, IpAddr, Direction);

/// Whose addresses are others than before.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Of selectors by number: addresses that are meant now and were not, and the other way around.
    pub peers: BTreeMap<usize, [Ranges; 2]>,
    /// Services with others who serve them.
    pub services: BTreeSet<ObjectName>,
    /// Names of ports that others have.
    pub names: BTreeSet<String>,
}

/// Tables with what is needed to change them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub tables: Tables,
    atoms: Atoms,
    /// By number of the atom.
    held: Vec<Held>,
    flats: HashMap<Arc<Flat>, u32, Mixing>,
    /// By number of the set.
    users: Vec<User>,
    free: Vec<u32>,
    rows: Rows,
    forks: BTreeMap<ForkKey, Forked>,
    /// Addresses of this host.
    own: Vec<Prefix>,
    /// Atoms that forks ask for and did not, and the other way around.
    asked: BTreeSet<u32>,
    /// Sets that were made, or lost somebody who has them.
    fresh: BTreeSet<u32>,
    left: BTreeSet<u32>,
    /// Sets that nobody has since the change before. Until then they followed classes, for those who moved
    /// on to another set only after addresses had moved to other classes.
    doomed: BTreeSet<u32>,
    change: Change,
}

/// What is known of an atom.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Sets whose rules ask for it.
    users: BTreeSet<u32>,
    /// How many forks ask for it.
    forks: u32,
    /// Whether classes know of it.
    placed: bool,
    /// The addresses that they know; of what a selector means, the resolution has them.
    ranges: Ranges,
}

impl Held {
    fn is_used(&self) -> bool {
        !self.users.is_empty() || self.forks > 0
    }
}

/// What is known of a set.
#[derive(Clone, Debug, Default)]
struct User {
    flat: Arc<Flat>,
    index: Index,
    /// Atoms that its rules ask for, ascending.
    atoms: Vec<u32>,
    /// How many endpoints have it, and forks.
    uses: u32,
    /// Groups by the atoms that hold for them.
    groups: HashMap<Vec<u32>, u32, Mixing>,
    /// Of each group the atoms, and how many classes are in it.
    members: Vec<(Vec<u32>, u32)>,
    /// Groups that no class is in, or was at some time.
    emptied: BTreeSet<u32>,
    free: Vec<u32>,
}

impl Live {
    /// Gives an endpoint what its chain comes to at one of its addresses.
    pub fn assign(&mut self, resolution: &Resolution, chain: &Chain, key: Key) {
        let flat = Flat::new(resolution, chain, &mut Own::At(key.1), &mut self.atoms);
        let number = self.number(flat);
        self.users[number as usize].uses += 1;
        let old = self.tables.of.insert(key, number);
        self.leave(old);
        if old != Some(number) {
            self.change.endpoints.insert(key, Some(number));
        }
    }

    /// There is no such endpoint any more.
    pub fn unassign(&mut self, key: Key) {
        let old = self.tables.of.remove(&key);
        self.leave(old);
        if old.is_some() {
            self.change.endpoints.insert(key, None);
        }
    }

    fn leave(&mut self, set: Option<u32>) {
        if let Some(set) = set {
            self.users[set as usize].uses -= 1;
            self.left.insert(set);
        }
    }

    /// The number of the set of these rules.
    fn number(&mut self, flat: Flat) -> u32 {
        match self.flats.get(&flat) {
            Some(known) => *known,
            None => self.add(flat),
        }
    }

    fn add(&mut self, flat: Flat) -> u32 {
        let flat = Arc::new(flat);
        let index = Index::new(&flat);
        let user = User { atoms: flat.atoms(), flat: flat.clone(), index, ..User::default() };
        let number = self.free.pop().unwrap_or(self.users.len() as u32);
        if number as usize == self.users.len() {
            self.users.push(User::default());
            self.tables.sets.push(Set::default());
        }
        self.held.resize_with(self.atoms.end(), Held::default);
        for atom in &user.atoms {
            self.held[*atom as usize].users.insert(number);
        }
        self.users[number as usize] = user;
        self.flats.insert(flat, number);
        self.fresh.insert(number);
        number
    }

    /// Brings tables to what endpoints were given and to where addresses moved. Returns what changed.
    pub fn finish(&mut self, resolution: &Resolution, moved: &Moved) -> Change {
        let mut doomed = std::mem::take(&mut self.doomed);
        doomed.retain(|set| self.users[*set as usize].uses == 0);
        let mut touched = self.moved(moved);
        touched.append(&mut self.asked);
        for set in self.fresh.iter().chain(&doomed) {
            touched.extend(&self.users[*set as usize].atoms);
        }
        doomed.iter().for_each(|set| self.withdraw(*set));
        let edges = self.edges(resolution, moved, &touched);
        let edited = self.tables.classes.edit(edges);
        self.follow(resolution);
        let fresh = std::mem::take(&mut self.fresh);
        let is_unused = |set: &u32| self.users[*set as usize].uses == 0 && !doomed.contains(set);
        self.doomed = std::mem::take(&mut self.left).into_iter().filter(is_unused).collect();
        self.regroup(&edited, &fresh);
        for set in &fresh {
            self.change.sets.insert(*set, SetChange::New);
            self.fill(*set);
        }
        for set in self.change.sets.keys() {
            self.users[*set as usize].forget();
        }
        for set in &doomed {
            self.drop_set(*set);
            self.change.sets.insert(*set, SetChange::Gone);
        }
        let unused = |atom: &&u32| !self.held[**atom as usize].is_used();
        touched.iter().filter(unused).for_each(|atom| self.atoms.let_go(*atom));
        self.change.stretches = edited.stretches;
        self.change.classes_gone = edited.gone.into_keys().collect();
        [self.change.rows, self.change.rows_gone] = self.rows.sweep(&mut self.tables.rows);
        std::mem::take(&mut self.change)
    }

    /// Atoms whose addresses may be others.
    fn moved(&self, moved: &Moved) -> BTreeSet<u32> {
        let peers = moved.peers.keys();
        let mut found: BTreeSet<u32> =
            peers.filter_map(|peers| self.atoms.known(&Atom::Peers(*peers))).collect();
        if moved.services.is_empty() && moved.names.is_empty() {
            return found;
        }
        found.extend(self.atoms.iter().filter_map(|(atom, number)| {
            let is = match atom {
                Atom::Serves(service) | Atom::ServesAt(service, ..) => {
                    moved.services.contains(service)
                }
                Atom::Named(name, ..) => moved.names.contains(name),
                Atom::Peers(_) | Atom::Nets(_) => false,
            };
            is.then_some(number)
        }));
        found
    }

    /// Where touched atoms hold now and did not, and the other way around.
    fn edges(&mut self, resolution: &Resolution, moved: &Moved, touched: &BTreeSet<u32>) -> Edges {
        let mut edges = Edges::default();
        for number in touched {
            let atom = self.atoms.get(*number);
            let held = &mut self.held[*number as usize];
            let is_used = held.is_used();
            let peers = match atom {
                Atom::Peers(peers) => Some(&resolution.peers[*peers].ranges),
                _ => None,
            };
            if let (Atom::Peers(peers), true) = (atom, held.placed)
                && let Some([gained, lost]) = moved.peers.get(peers)
            {
                edges.gain(*number, gained);
                edges.lose(*number, lost);
            }
            match (peers, held.placed, is_used) {
                (Some(ranges), false, true) => edges.gain(*number, ranges),
                (Some(ranges), true, false) => edges.lose(*number, ranges),
                (Some(_), ..) => {}
                // Prefixes never move.
                (None, true, true) if matches!(atom, Atom::Nets(_)) => {}
                (None, _, true) => {
                    let ranges = atom.ranges(resolution);
                    edges.gain(*number, &ranges.without(&held.ranges));
                    edges.lose(*number, &held.ranges.without(&ranges));
                    held.ranges = ranges;
                }
                (None, _, false) => edges.lose(*number, &std::mem::take(&mut held.ranges)),
            }
            held.placed = is_used;
        }
        edges
    }

    /// Brings sets that stay to the classes that there are now.
    fn regroup(&mut self, edited: &Edited, fresh: &BTreeSet<u32>) {
        let none = Vec::new();
        let made = edited.made.iter().map(|class| (*class, &none));
        let before = edited.gone.iter().chain(&edited.turned).map(|(class, had)| (*class, had));
        for (class, had) in made.chain(before) {
            let has = match edited.gone.contains_key(&class) {
                true => Vec::new(),
                false => self.tables.classes.atoms[class as usize].clone(),
            };
            let is_other =
                |atom: &&u32| had.binary_search(atom).is_err() || has.binary_search(atom).is_err();
            let others: BTreeSet<u32> = had.iter().chain(&has).filter(is_other).copied().collect();
            let users = others.iter().flat_map(|atom| &self.held[*atom as usize].users);
            let sets: BTreeSet<u32> = users.filter(|set| !fresh.contains(set)).copied().collect();
            for set in sets {
                let holds = both(&has, &self.users[set as usize].atoms);
                self.put(set, class, &holds);
            }
        }
    }

    /// Puts a class into the group of addresses for which these atoms hold.
    fn put(&mut self, set: u32, class: u32, holds: &[u32]) {
        let user = &mut self.users[set as usize];
        let table = &mut self.tables.sets[set as usize];
        let (group, is_new) = user.group(holds);
        if is_new {
            let rows = user.flat.rows(&user.index, holds, &table.protocols, &table.sources);
            let from = group as usize * rows.len();
            for (at, row) in (from..).zip(rows) {
                let number = self.rows.take(&mut self.tables.rows, row);
                match table.rows.get_mut(at) {
                    Some(place) => self.rows.release(std::mem::replace(place, number)),
                    None => table.rows.push(number),
                }
            }
        }
        let old = match group {
            0 => table.groups.remove(&class),
            _ => table.groups.insert(class, group),
        };
        let old = old.unwrap_or(0);
        user.members[group as usize].1 += u32::from(group != 0);
        user.leave(old);
        if old == group && !is_new {
            return;
        }
        let change = self.change.sets.entry(set).or_insert_with(|| SetChange::Changed {
            classes: BTreeSet::new(),
            groups: BTreeSet::new(),
        });
        if let SetChange::Changed { classes, groups } = change {
            classes.insert(class);
            groups.extend(is_new.then_some(group));
        }
    }

    /// Compiles a new set.
    fn fill(&mut self, set: u32) {
        let user = &self.users[set as usize];
        let table = Set {
            protocols: user.flat.protocols(),
            sources: user.flat.sources(),
            ..Set::default()
        };
        let held = self.tables.classes.holding(&user.atoms);
        self.tables.sets[set as usize] = table;
        // The one of all others.
        self.put(set, 0, &[]);
        let mut holds = Vec::new();
        for of_class in held.chunk_by(|a, b| a.0 == b.0) {
            holds.clear();
            holds.extend(of_class.iter().map(|(_, atom)| *atom));
            self.put(set, of_class[0].0, &holds);
        }
    }

    /// Nobody comes to have a set any more, which goes with this change.
    fn withdraw(&mut self, set: u32) {
        let User { flat, atoms, .. } = &self.users[set as usize];
        self.flats.remove(flat);
        for atom in atoms {
            self.held[*atom as usize].users.remove(&set);
        }
    }

    fn drop_set(&mut self, set: u32) {
        self.users[set as usize] = User::default();
        let table = std::mem::take(&mut self.tables.sets[set as usize]);
        table.rows.into_iter().for_each(|row| self.rows.release(row));
        self.free.push(set);
    }

    /// The tables alone.
    pub fn into_tables(self) -> Tables {
        self.tables
    }
}

impl User {
    /// The group of addresses for which these atoms hold, and whether it is new.
    fn group(&mut self, holds: &[u32]) -> (u32, bool) {
        if let Some(known) = self.groups.get(holds) {
            return (*known, false);
        }
        let holds = holds.to_vec();
        let number = self.free.pop().unwrap_or(self.members.len() as u32);
        self.groups.insert(holds.clone(), number);
        match self.members.get_mut(number as usize) {
            Some(place) => *place = (holds, 0),
            None => self.members.push((holds, 0)),
        }
        (number, true)
    }

    /// A class is not in a group any more. Group 0 is there whoever is in it.
    fn leave(&mut self, group: u32) {
        if group != 0 {
            self.members[group as usize].1 -= 1;
            self.emptied.insert(group);
        }
    }

    /// Groups that nobody is in may become others.
    fn forget(&mut self) {
        for group in std::mem::take(&mut self.emptied) {
            let (holds, classes) = &mut self.members[group as usize];
            if *classes == 0 {
                self.groups.remove(&std::mem::take(holds));
                self.free.push(group);
            }
        }
    }
}

/// What is in both of two ascending lists.
fn both(a: &[u32], b: &[u32]) -> Vec<u32> {
    a.iter().filter(|one| b.binary_search(one).is_ok()).copied().collect()
}
