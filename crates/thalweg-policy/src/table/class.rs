//! Classes: addresses that no rule tells apart.
//!
//! What rules ask of the other side's address comes down to *atoms*, each a set of addresses. A sweep over
//! all their ends in order finds the stretches in which the same atoms hold; stretches with the same atoms
//! are one class. Classes keep their numbers while the same atoms hold, and where atoms begin or cease to
//! hold for a class as a whole.

mod edit;

pub(super) use edit::{Edges, Edited};

use super::mixer::Mixing;
use crate::ranges::Ranges;
use crate::resolve::Resolution;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use thalweg_model::Prefix;
use thalweg_model::cluster::ObjectName;

/// A set of addresses that a rule asks for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Atom {
    /// Those whom a selector means, by its number.
    Peers(usize),
    /// Those of prefixes.
    Nets(Vec<Prefix>),
    /// Those who serve a service.
    Serves(ObjectName),
    /// Those who serve it at a port of a protocol.
    ServesAt(ObjectName, u8, u16),
    /// Those who have a port of that name, protocol and number.
    Named(String, u8, u16),
}

impl Atom {
    /// All of IPv4.
    pub fn v4() -> Self {
        Self::Nets(vec![Prefix::containing(Ipv4Addr::UNSPECIFIED.into(), 0)])
    }

    /// The addresses for which it holds.
    pub fn ranges(&self, resolution: &Resolution) -> Ranges {
        let served = |service: &ObjectName, at: Option<(u8, u16)>| {
            let all = resolution.served(service).iter();
            let here =
                all.filter(|(_, protocol, port)| at.is_none_or(|at| at == (*protocol, *port)));
            here.map(|(address, ..)| Prefix::host(*address)).collect()
        };
        match self {
            Self::Peers(set) => resolution.peers[*set].ranges.clone(),
            Self::Nets(nets) => nets.iter().copied().collect(),
            Self::Serves(service) => served(service, None),
            Self::ServesAt(service, protocol, port) => served(service, Some((*protocol, *port))),
            Self::Named(name, protocol, port) => {
                let all = resolution.named(name);
                let here = all.filter(|(_, of, at)| of == protocol && at == port);
                here.map(|(address, ..)| Prefix::host(address)).collect()
            }
        }
    }
}

impl Atom {
    /// Whether it holds for an address.
    pub fn holds(&self, resolution: &Resolution, address: IpAddr) -> bool {
        match self {
            Self::Peers(set) => resolution.peers[*set].ranges.contains(address),
            Self::Nets(nets) => nets.iter().any(|net| net.contains(address)),
            Self::Serves(service) => {
                resolution.served(service).iter().any(|(of, ..)| *of == address)
            }
            Self::ServesAt(service, protocol, port) => {
                resolution.served(service).contains(&(address, *protocol, *port))
            }
            Self::Named(name, protocol, port) => {
                resolution.has_named(name, address, *protocol, *port)
            }
        }
    }
}

/// Atoms by number. A number is given to another atom only after it was let go.
#[derive(Clone, Debug, Default)]
pub(super) struct Atoms {
    all: Vec<Atom>,
    numbers: HashMap<Atom, u32>,
    free: Vec<u32>,
}

impl Atoms {
    /// The number of an atom.
    pub fn number(&mut self, atom: Atom) -> u32 {
        if let Some(known) = self.numbers.get(&atom) {
            return *known;
        }
        let number = self.free.pop().unwrap_or(self.all.len() as u32);
        self.numbers.insert(atom.clone(), number);
        match self.all.get_mut(number as usize) {
            Some(place) => *place = atom,
            None => self.all.push(atom),
        }
        number
    }

    /// The atom of a number.
    pub fn get(&self, number: u32) -> &Atom {
        &self.all[number as usize]
    }

    /// The number of an atom that has one.
    pub fn known(&self, atom: &Atom) -> Option<u32> {
        self.numbers.get(atom).copied()
    }

    /// All that have a number.
    pub fn iter(&self) -> impl Iterator<Item = (&Atom, u32)> {
        self.numbers.iter().map(|(atom, number)| (atom, *number))
    }

    /// Gives up a number.
    pub fn let_go(&mut self, number: u32) {
        if self.numbers.remove(&self.all[number as usize]).is_some() {
            self.free.push(number);
        }
    }

    /// Numbers are below this.
    pub fn end(&self) -> usize {
        self.all.len()
    }
}

/// Addresses by class. Class 0 is of those for whom no atom holds.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Where stretches begin, ascending, with their class.
    from: Vec<(IpAddr, u32)>,
    /// The atoms of each class, ascending.
    pub(super) atoms: Vec<Vec<u32>>,
    /// The classes of each atom.
    having: Vec<BTreeSet<u32>>,
    /// The sum of the atoms of each class ([`mixed`]).
    sums: Vec<u128>,
    /// Classes by that sum.
    numbers: HashMap<u128, u32, Mixing>,
    /// How many stretches each class has.
    uses: Vec<u32>,
    /// Numbers of classes that are gone.
    free: Vec<u32>,
}

impl Default for Classes {
    fn default() -> Self {
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            from: vec![(first, 0)],
            atoms: vec![Vec::new()],
            having: Vec::new(),
            sums: vec![0],
            numbers: [(0, 0)].into_iter().collect(),
            uses: vec![1],
            free: Vec::new(),
        }
    }
}

/// A number of 128 bits for each atom, so that sums of them stand for sets of atoms.
fn mixed(atom: u32) -> u128 {
    let half = |salt: u64| {
        let mut z = (u64::from(atom) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    u128::from(half(0)) << 64 | u128::from(half(0x6a09_e667_f3bc_c908))
}

impl Classes {
    /// The classes of an atom, ascending.
    pub(super) fn having(&self, atom: u32) -> impl Iterator<Item = u32> {
        self.having.get(atom as usize).into_iter().flatten().copied()
    }

    /// The classes for which any of some atoms holds, ascending, each with all of these, ascending.
    pub(super) fn holding<'a>(&self, atoms: impl IntoIterator<Item = &'a u32>) -> Vec<(u32, u32)> {
        let of_one = |atom: &'a u32| self.having(*atom).map(move |class| (class, *atom));
        let mut held: Vec<(u32, u32)> = atoms.into_iter().flat_map(of_one).collect();
        held.sort_unstable();
        held
    }

    /// The class of an address.
    pub fn of(&self, address: IpAddr) -> u32 {
        let after = self.from.partition_point(|(from, _)| *from <= address);
        after.checked_sub(1).map_or(0, |at| self.from[at].1)
    }

    /// Where stretches begin, with their class.
    pub(super) fn parts(&self) -> &[(IpAddr, u32)] {
        &self.from
    }

    /// How many stretches of addresses there are.
    pub fn stretches(&self) -> usize {
        self.from.len()
    }

    /// All stretches: where each begins, and its class. It ends where the next begins.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.from.iter().copied()
    }

    /// Classes have numbers below this.
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// How many of these numbers some address has.
    pub fn used(&self) -> usize {
        self.atoms.len() - self.free.len()
    }

    /// Whether there is no class but the one of all addresses.
    pub fn is_empty(&self) -> bool {
        self.used() <= 1
    }
}
