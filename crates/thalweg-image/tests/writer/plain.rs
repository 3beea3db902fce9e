//! Routes kept in the plainest way, to compare with.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use thalweg_abi::{GroupId, VrfId};
use thalweg_image::{Change, Memory, Writer, lookup};
use thalweg_wire::{Prefix4, Prefix6};

/// A prefix of either family.
pub trait Route: Copy + Ord + std::fmt::Debug {
    type Address: Copy + std::fmt::Debug;
    fn address(bits: u128) -> Self::Address;
    fn first(self) -> u128;
    fn last(self) -> u128;
    fn contains(self, address: Self::Address) -> bool;
    fn length(self) -> u8;
    fn change(self, vrf: VrfId, group: GroupId) -> Change;
    fn of(change: &Change) -> Option<(VrfId, Self)>;
    fn lookup(memory: &Memory, vrf: VrfId, address: Self::Address) -> GroupId;
    fn longest(writer: &Writer, vrf: VrfId, address: Self::Address) -> Option<(Self, GroupId)>;
    fn all(writer: &Writer, vrf: VrfId) -> Vec<(Self, GroupId)>;
}

macro_rules! route {
    ($prefix:ident, $address:ident, $bits:ty, $change:ident, $lookup:ident, $longest:ident, $all:ident) => {
        impl Route for $prefix {
            type Address = $address;
            fn address(bits: u128) -> $address {
                (bits as $bits).into()
            }
            fn first(self) -> u128 {
                self.bits().into()
            }
            fn last(self) -> u128 {
                self.last().into()
            }
            fn contains(self, address: $address) -> bool {
                self.contains(address)
            }
            fn length(self) -> u8 {
                self.len()
            }
            fn change(self, vrf: VrfId, group: GroupId) -> Change {
                Change::$change(vrf, self, group)
            }
            fn of(change: &Change) -> Option<(VrfId, Self)> {
                match change {
                    Change::$change(vrf, prefix, _) => Some((*vrf, *prefix)),
                    _ => None,
                }
            }
            fn lookup(memory: &Memory, vrf: VrfId, address: $address) -> GroupId {
                lookup::$lookup(memory.in_force(), vrf, address)
            }
            fn longest(writer: &Writer, vrf: VrfId, address: $address) -> Option<(Self, GroupId)> {
                writer.$longest(vrf, address)
            }
            fn all(writer: &Writer, vrf: VrfId) -> Vec<(Self, GroupId)> {
                writer.$all(vrf).collect()
            }
        }
    };
}

route!(Prefix4, Ipv4Addr, u32, Route4, route4, lookup4, routes4);
route!(Prefix6, Ipv6Addr, u128, Route6, route6, lookup6, routes6);

/// Routes kept in the plainest way.
#[derive(Clone, Debug)]
pub struct Plain<P>(pub BTreeMap<(VrfId, P), GroupId>);

impl<P: Route> Plain<P> {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn set(&mut self, vrf: VrfId, prefix: P, group: GroupId) {
        match group {
            GroupId::NONE => self.0.remove(&(vrf, prefix)),
            group => self.0.insert((vrf, prefix), group),
        };
    }

    pub fn longest(&self, vrf: VrfId, address: P::Address) -> Option<(P, GroupId)> {
        let here = self.0.iter().filter(|((of, prefix), _)| *of == vrf && prefix.contains(address));
        here.max_by_key(|((_, prefix), _)| prefix.length())
            .map(|((_, prefix), group)| (*prefix, *group))
    }

    /// Compares all answers of a writer at addresses.
    pub fn check(&self, writer: &Writer, vrf: VrfId, addresses: impl IntoIterator<Item = u128>) {
        for bits in addresses {
            let address = P::address(bits);
            let right = self.longest(vrf, address);
            let group = right.map_or(GroupId::NONE, |(_, group)| group);
            let found = P::lookup(writer.memory(), vrf, address);
            assert_eq!(found, group, "{address:?} in {vrf:?} has {right:?}");
            assert_eq!(P::longest(writer, vrf, address), right, "{address:?} in {vrf:?}");
        }
    }

    /// Compares the answers just inside and outside of a prefix.
    pub fn check_edges(&self, writer: &Writer, vrf: VrfId, prefix: P) {
        let (first, last) = (prefix.first(), prefix.last());
        let edges = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        self.check(writer, vrf, edges.into_iter().chain([first + (last - first) / 2]));
    }

    pub fn check_all(&self, writer: &Writer) {
        for vrf in (0..3).map(VrfId) {
            let here = self.0.iter().filter(|((of, _), _)| *of == vrf);
            let here: Vec<_> = here.map(|((_, prefix), group)| (*prefix, *group)).collect();
            assert_eq!(P::all(writer, vrf), here);
            for (prefix, _) in here {
                self.check_edges(writer, vrf, prefix);
            }
        }
    }
}
