//! Changes of classes: atoms that hold for more or fewer addresses.

use super::{Classes, mixed};
use crate::ranges::{Ranges, next, previous};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where atoms begin and cease to hold, in comparison with before: for each address and atom, by how much
/// more it holds from there on.
#[derive(Debug, Default)]
pub(in crate::table) struct Edges {
    all: Vec<(IpAddr, u32, i8)>,
    /// Whether some stretch goes to the last address of all, so that nothing ends it.
    endless: bool,
}

impl Edges {
    /// An atom holds for these addresses now, and did not.
    pub fn gain(&mut self, atom: u32, ranges: &Ranges) {
        self.add(atom, ranges, 1);
    }

    /// An atom held for these addresses, and does not now.
    pub fn lose(&mut self, atom: u32, ranges: &Ranges) {
        self.add(atom, ranges, -1);
    }

    fn add(&mut self, atom: u32, ranges: &Ranges, by: i8) {
        for (from, to) in ranges.iter() {
            self.all.push((from, atom, by));
            // Behind the last address of IPv4 comes the first of IPv6.
            let after = next(to).or(to.is_ipv4().then_some(Ipv6Addr::UNSPECIFIED.into()));
            self.endless |= after.is_none();
            self.all.extend(after.map(|after| (after, atom, -by)));
        }
    }
}

/// What became of classes.
#[derive(Debug, Default)]
pub(in crate::table) struct Edited {
    /// First and last address of stretches that have another class now, ascending, each of one family.
    pub stretches: Vec<(IpAddr, IpAddr, u32)>,
    /// Classes that are there now and were not.
    pub made: BTreeSet<u32>,
    /// Classes that are no more, with the atoms they had.
    pub gone: BTreeMap<u32, Vec<u32>>,
    /// Classes for which other atoms hold than before, which are here.
    pub turned: BTreeMap<u32, Vec<u32>>,
}

/// A stretch amid a change: where it begins, the class it had, and the one it gets.
struct Piece {
    from: IpAddr,
    was: u32,
    is: u32,
}

/// By how much more atoms hold at some place than before.
#[derive(Default)]
struct More {
    atoms: BTreeMap<u32, i8>,
    sum: u128,
}

impl More {
    fn add(&mut self, atom: u32, by: i8) {
        self.sum = match by.cmp(&0) {
            Ordering::Less => self.sum.wrapping_sub(mixed(atom)),
            _ => self.sum.wrapping_add(mixed(atom)),
        };
        let total = self.atoms.entry(atom).or_default();
        *total += by;
        if *total == 0 {
            self.atoms.remove(&atom);
        }
    }
}

impl Classes {
    /// Carries out a change.
    pub(in crate::table) fn edit(&mut self, edges: Edges) -> Edited {
        let mut edited = Edited::default();
        let Edges { all: mut edges, endless } = edges;
        edges.sort_unstable();
        let (Some(first), Some(last)) = (edges.first(), edges.last()) else { return edited };
        let begin = self.from.partition_point(|(from, _)| *from <= first.0) - 1;
        let end = match endless {
            true => self.from.len(),
            false => self.from.partition_point(|(from, _)| *from <= last.0),
        };
        let mut pieces = self.sweep(begin..end, &edges, &mut edited);
        let old = self.from[begin..end].to_vec();
        old.iter().for_each(|(_, class)| self.uses[*class as usize] -= 1);
        self.keep_numbers(&mut pieces, &mut edited);
        edited.stretches = stretches(&pieces);
        self.replace(begin..end, &pieces);
        for class in old.into_iter().map(|(_, class)| class).collect::<BTreeSet<_>>() {
            if class != 0 && self.uses[class as usize] == 0 {
                let atoms = self.drop_class(class);
                edited.gone.insert(class, atoms);
            }
        }
        edited
    }

    /// Goes through old stretches and edges side by side.
    fn sweep(
        &mut self,
        window: std::ops::Range<usize>,
        edges: &[(IpAddr, u32, i8)],
        edited: &mut Edited,
    ) -> Vec<Piece> {
        let mut more = More::default();
        let mut pieces = Vec::with_capacity(window.len() + edges.len());
        let (mut old, mut edges, mut was) = (window.clone(), edges, 0);
        loop {
            let next_old = (old.start < old.end).then(|| self.from[old.start]);
            let next_edge = edges.first().map(|edge| edge.0);
            let next = next_old.map(|(from, _)| from).into_iter().chain(next_edge).min();
            let Some(from) = next else { return pieces };
            if let Some((_, class)) = next_old.filter(|(start, _)| *start == from) {
                was = class;
                old.start += 1;
            }
            while let Some(((at, atom, by), rest)) = edges.split_first()
                && *at == from
            {
                more.add(*atom, *by);
                edges = rest;
            }
            let is = if more.atoms.is_empty() { was } else { self.with(was, &more, edited) };
            pieces.push(Piece { from, was, is });
        }
    }

    /// The class of addresses for which more holds than for those of another.
    fn with(&mut self, class: u32, more: &More, edited: &mut Edited) -> u32 {
        let sum = self.sums[class as usize].wrapping_add(more.sum);
        if let Some(known) = self.numbers.get(&sum) {
            return *known;
        }
        let mut atoms: BTreeSet<u32> = self.atoms[class as usize].iter().copied().collect();
        for (atom, by) in &more.atoms {
            if *by > 0 {
                atoms.insert(*atom)
            } else {
                atoms.remove(atom)
            };
        }
        let number = self.free.pop().unwrap_or(self.atoms.len() as u32);
        if number as usize == self.atoms.len() {
            self.atoms.push(Vec::new());
            self.sums.push(0);
            self.uses.push(0);
        }
        for atom in &atoms {
            self.having_mut(*atom).insert(number);
        }
        self.atoms[number as usize] = atoms.into_iter().collect();
        self.sums[number as usize] = sum;
        self.numbers.insert(sum, number);
        edited.made.insert(number);
        number
    }

    fn having_mut(&mut self, atom: u32) -> &mut BTreeSet<u32> {
        if self.having.len() <= atom as usize {
            self.having.resize(atom as usize + 1, BTreeSet::new());
        }
        &mut self.having[atom as usize]
    }

    /// A class all of whose addresses are in one new class takes the place of that.
    fn keep_numbers(&mut self, pieces: &mut [Piece], edited: &mut Edited) {
        let left: BTreeSet<u32> = pieces.iter().map(|piece| piece.is).collect();
        let mut led: BTreeMap<u32, Option<u32>> = BTreeMap::new();
        for piece in pieces.iter() {
            let stays = self.uses[piece.was as usize] > 0 || left.contains(&piece.was);
            if piece.was != 0 && !stays {
                let to = led.entry(piece.was).or_insert(Some(piece.is));
                *to = to.filter(|to| *to == piece.is);
            }
        }
        let mut kept: BTreeMap<u32, u32> = BTreeMap::new();
        for (old, new) in led {
            if let Some(new) =
                new.filter(|new| edited.made.contains(new) && !kept.contains_key(new))
            {
                kept.insert(new, old);
                edited.made.remove(&new);
                edited.turned.insert(old, self.turn(old, new));
            }
        }
        for piece in pieces {
            piece.is = kept.get(&piece.is).copied().unwrap_or(piece.is);
        }
    }

    /// Gives a class what a new one has, and gives that up. Returns the atoms that it had.
    fn turn(&mut self, old: u32, new: u32) -> Vec<u32> {
        let sum = self.sums[new as usize];
        let before = self.unlist(old);
        let atoms = self.drop_class(new);
        for atom in &atoms {
            self.having_mut(*atom).insert(old);
        }
        self.atoms[old as usize] = atoms;
        self.sums[old as usize] = sum;
        self.numbers.insert(sum, old);
        before
    }

    /// Forgets what a class consists of; returns it.
    fn unlist(&mut self, class: u32) -> Vec<u32> {
        let atoms = std::mem::take(&mut self.atoms[class as usize]);
        for atom in &atoms {
            self.having_mut(*atom).remove(&class);
        }
        self.numbers.remove(&self.sums[class as usize]);
        atoms
    }

    fn drop_class(&mut self, class: u32) -> Vec<u32> {
        self.free.push(class);
        self.unlist(class)
    }

    /// Puts pieces in the place of stretches; equal neighbors become one.
    fn replace(&mut self, window: std::ops::Range<usize>, pieces: &[Piece]) {
        let mut before = window.start.checked_sub(1).map(|at| self.from[at].1);
        let mut new = Vec::with_capacity(pieces.len());
        for piece in pieces {
            if before != Some(piece.is) {
                new.push((piece.from, piece.is));
                self.uses[piece.is as usize] += 1;
                before = Some(piece.is);
            }
        }
        self.from.splice(window, new);
    }
}

/// What has another class now.
fn stretches(pieces: &[Piece]) -> Vec<(IpAddr, IpAddr, u32)> {
    let end = IpAddr::from(Ipv6Addr::from_bits(u128::MAX));
    let mut made: Vec<(IpAddr, IpAddr, u32)> = Vec::new();
    for (at, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.was != piece.is) {
        let before = |next: &Piece| previous(next.from).unwrap_or(Ipv4Addr::BROADCAST.into());
        let last = pieces.get(at + 1).map_or(end, before);
        match made.last_mut() {
            Some(joined) if joined.2 == piece.is && next(joined.1) == Some(piece.from) => {
                joined.1 = last;
            }
            _ => made.push((piece.from, last, piece.is)),
        }
        if let Some(crossing) = made.last_mut().filter(|one| one.0.is_ipv4() != one.1.is_ipv4()) {
            crossing.1 = Ipv4Addr::BROADCAST.into();
            made.push((Ipv6Addr::UNSPECIFIED.into(), last, piece.is));
        }
    }
    made
}
