//! Classes: addresses that no rule tells apart.
//!
//! What rules ask of the other side's address comes down to *atoms*, each a set of addresses. A sweep over
//! all their ends in order finds the stretches in which the same atoms hold; stretches with the same atoms
//! are one class.

use crate::ranges::{Ranges, next};
use crate::resolve::Resolution;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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

/// Atoms by number.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    pub all: Vec<Atom>,
    numbers: HashMap<Atom, u32>,
}

impl Atoms {
    /// The number of an atom.
    pub fn number(&mut self, atom: Atom) -> u32 {
        if let Some(known) = self.numbers.get(&atom) {
            return *known;
        }
        let number = self.all.len() as u32;
        self.numbers.insert(atom.clone(), number);
        self.all.push(atom);
        number
    }
}

/// Addresses by class. Class 0 is of those for whom no atom holds.
#[derive(Clone, Debug)]
pub struct Classes {
    /// Where stretches begin, ascending, with their class.
    from: Vec<(IpAddr, u32)>,
    /// The atoms of each class.
    pub(super) atoms: Vec<Vec<u32>>,
    /// The classes of each atom.
    pub(super) having: Vec<Vec<u32>>,
}

impl Default for Classes {
    fn default() -> Self {
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { from: vec![(first, 0)], atoms: vec![Vec::new()], having: Vec::new() }
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
    pub(super) fn new(resolution: &Resolution, atoms: &Atoms) -> Self {
        let mut ends: Vec<(IpAddr, u32, bool)> = Vec::new();
        for (number, atom) in (0u32..).zip(&atoms.all) {
            let mut add = |ranges: &Ranges| {
                for (from, to) in ranges.iter() {
                    ends.push((from, number, true));
                    // Behind the last address of IPv4 comes the first of IPv6.
                    let after = next(to).or(to.is_ipv4().then_some(Ipv6Addr::UNSPECIFIED.into()));
                    ends.extend(after.map(|after| (after, number, false)));
                }
            };
            let hosts = |all: &mut dyn Iterator<Item = IpAddr>| all.map(Prefix::host).collect();
            match atom {
                Atom::Peers(set) => add(&resolution.peers[*set].ranges),
                Atom::Nets(nets) => add(&nets.iter().copied().collect()),
                Atom::Serves(service) => {
                    let served = resolution.served(service).iter();
                    add(&hosts(&mut served.map(|(address, ..)| *address)));
                }
                Atom::ServesAt(service, protocol, port) => {
                    let served = resolution.served(service).iter();
                    let at = served.filter(|(_, of, at)| of == protocol && at == port);
                    add(&hosts(&mut at.map(|(address, ..)| *address)));
                }
                Atom::Named(name, protocol, port) => {
                    let at = resolution.named(name);
                    let mut at = at.filter(|(_, of, at)| of == protocol && at == port);
                    add(&hosts(&mut at.by_ref().map(|(address, ..)| address)));
                }
            }
        }
        ends.sort_unstable();
        Self::swept(&ends, atoms.all.len())
    }

    fn swept(ends: &[(IpAddr, u32, bool)], atoms: usize) -> Self {
        let mut made = Self::default();
        let mut numbers: HashMap<u128, u32> = HashMap::from([(0, 0)]);
        let (mut sum, mut active) = (0u128, BTreeSet::new());
        for same in ends.chunk_by(|a, b| a.0 == b.0) {
            for (_, atom, begins) in same {
                sum = match begins {
                    true => sum.wrapping_add(mixed(*atom)),
                    false => sum.wrapping_sub(mixed(*atom)),
                };
                if *begins {
                    active.insert(*atom)
                } else {
                    active.remove(atom)
                };
            }
            let next = made.atoms.len() as u32;
            let class = *numbers.entry(sum).or_insert(next);
            if class == next {
                made.atoms.push(active.iter().copied().collect());
            }
            match made.from.last_mut() {
                Some(last) if last.0 == same[0].0 => last.1 = class,
                Some(last) if last.1 == class => {}
                _ => made.from.push((same[0].0, class)),
            }
        }
        made.having = vec![Vec::new(); atoms];
        for (class, atoms) in (0u32..).zip(&made.atoms) {
            atoms.iter().for_each(|atom| made.having[*atom as usize].push(class));
        }
        made
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

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Whether there is no class but the one of all addresses.
    pub fn is_empty(&self) -> bool {
        self.atoms.len() <= 1
    }
}
