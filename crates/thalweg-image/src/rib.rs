//! The routes of one VRF and family, in the order of addresses: prefix and group.
//!
//! Sorted by first address and then by length, prefixes stand in the order in which a walk over the
//! address space enters them, so that the answer of every address in a range comes from one sweep
//! with a stack.

use std::collections::BTreeMap;
use std::fmt::Debug;
use thalweg_abi::GroupId;
use thalweg_wire::{Prefix4, Prefix6};

/// What the two families of prefixes have in common.
pub(crate) trait Prefix: Copy + Debug + Ord {
    /// An address as a number.
    type Bits: Copy + Debug + Ord;
    /// Bits of an address.
    const WIDTH: u8;
    /// The whole address space.
    const ALL: Self;

    /// The prefix of this length that contains an address.
    fn containing(bits: Self::Bits, len: u8) -> Self;
    /// The shortest prefix that begins with this address.
    fn shortest(bits: Self::Bits) -> Self;
    /// The first address.
    fn first(self) -> Self::Bits;
    /// The last address.
    fn last(self) -> Self::Bits;
    /// The length.
    fn length(self) -> u8;
    /// The address after this one.
    fn after(bits: Self::Bits) -> Option<Self::Bits>;
    /// The address before this one, which is not the first.
    fn before(bits: Self::Bits) -> Self::Bits;
}

macro_rules! prefix {
    ($name:ident, $bits:ty) => {
        impl Prefix for $name {
            type Bits = $bits;
            const WIDTH: u8 = <$bits>::BITS as u8;
            const ALL: Self = Self::ALL;

            fn containing(bits: $bits, len: u8) -> Self {
                Self::containing(bits.into(), len)
            }

            fn shortest(bits: $bits) -> Self {
                Self::containing(bits.into(), (<$bits>::BITS - bits.trailing_zeros()) as u8)
            }

            fn first(self) -> $bits {
                self.bits()
            }

            fn last(self) -> $bits {
                self.last()
            }

            fn length(self) -> u8 {
                self.len()
            }

            fn after(bits: $bits) -> Option<$bits> {
                bits.checked_add(1)
            }

            fn before(bits: $bits) -> $bits {
                bits.wrapping_sub(1)
            }
        }
    };
}

prefix!(Prefix4, u32);
prefix!(Prefix6, u128);

/// A prefix whose group has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched<P> {
    /// The prefix.
    pub prefix: P,
    /// Its group before.
    pub old: GroupId,
    /// Its group now.
    pub new: GroupId,
}

/// Routes of one VRF and family.
#[derive(Debug)]
pub(crate) struct Rib<P> {
    routes: BTreeMap<P, GroupId>,
    /// Prefixes of each length.
    counts: [u32; 129],
    /// Bit *n* − 1 is set when there are prefixes of length *n*.
    lengths: u128,
}

impl<P: Prefix> Default for Rib<P> {
    fn default() -> Self {
        Self { routes: BTreeMap::new(), counts: [0; 129], lengths: 0 }
    }
}

impl<P: Prefix> Rib<P> {
    /// Sets or, with [`GroupId::NONE`], removes the group of a prefix; returns the one before.
    pub fn set(&mut self, prefix: P, group: GroupId) -> GroupId {
        let old = match group {
            GroupId::NONE => self.routes.remove(&prefix),
            group => self.routes.insert(prefix, group),
        };
        let old = old.unwrap_or(GroupId::NONE);
        self.count(prefix, old, group);
        old
    }

    /// Sets many, sorted and each prefix once. Returns those whose group was another.
    pub fn set_all(&mut self, batch: &[(P, GroupId)]) -> Vec<Touched<P>> {
        if batch.len() < 1024 || batch.len() < self.routes.len() / 4 {
            let set =
                |&(prefix, new): &(P, GroupId)| Touched { prefix, old: self.set(prefix, new), new };
            return batch.iter().map(set).filter(|touched| touched.old != touched.new).collect();
        }
        self.merge(batch)
    }

    /// As [`Self::set_all`], by one walk over all routes instead of a search for each.
    fn merge(&mut self, batch: &[(P, GroupId)]) -> Vec<Touched<P>> {
        let mut before = std::mem::take(&mut self.routes).into_iter().peekable();
        let mut routes = Vec::with_capacity(before.len() + batch.len());
        let mut touched = Vec::with_capacity(batch.len());
        for &(prefix, new) in batch {
            while let Some(route) = before.next_if(|(other, _)| *other < prefix) {
                routes.push(route);
            }
            let old = before.next_if(|(other, _)| *other == prefix);
            let old = old.map_or(GroupId::NONE, |(_, group)| group);
            if new != GroupId::NONE {
                routes.push((prefix, new));
            }
            if old != new {
                self.count(prefix, old, new);
                touched.push(Touched { prefix, old, new });
            }
        }
        routes.extend(before);
        self.routes = routes.into_iter().collect();
        touched
    }

    fn count(&mut self, prefix: P, old: GroupId, new: GroupId) {
        let len = usize::from(prefix.length());
        let count = &mut self.counts[len];
        *count -= u32::from(old != GroupId::NONE);
        *count += u32::from(new != GroupId::NONE);
        if len > 0 {
            let bit = 1 << (len - 1);
            self.lengths = if *count == 0 { self.lengths & !bit } else { self.lengths | bit };
        }
    }

    /// All routes in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = (P, GroupId)> {
        self.routes.iter().map(|(prefix, group)| (*prefix, *group))
    }

    /// The longest prefix of at most `len` bits that contains an address.
    pub fn longest(&self, bits: P::Bits, len: u8) -> Option<(P, GroupId)> {
        let mut lengths = self.lengths & low_bits(len);
        while lengths != 0 {
            let len = 128 - lengths.leading_zeros();
            let prefix = P::containing(bits, len as u8);
            if let Some(group) = self.routes.get(&prefix) {
                return Some((prefix, *group));
            }
            lengths &= !(1 << (len - 1));
        }
        self.routes.get(&P::ALL).map(|group| (P::ALL, *group))
    }

    /// Whether any prefix lies within `region` without being it.
    pub fn any_within(&self, region: P) -> bool {
        let longer = P::containing(region.first(), region.length() + 1);
        self.routes.range(longer..=P::containing(region.last(), P::WIDTH)).next().is_some()
    }

    /// Calls `emit(from, to, group)` for adjacent ranges that together are `first..=last`, each
    /// with the group of its addresses; 0 where only the default route is left.
    pub fn sweep<E>(
        &self,
        first: P::Bits,
        last: P::Bits,
        mut emit: impl FnMut(P::Bits, P::Bits, GroupId) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut open = self.covers(first, last);
        let mut next = Some(first);
        let range = P::shortest(first)..=P::containing(last, P::WIDTH);
        for (prefix, group) in self.routes.range(range) {
            if prefix.length() == 0 {
                continue;
            }
            close::<P, E>(&mut open, &mut next, Some(prefix.first()), &mut emit)?;
            if let Some(from) = next.filter(|from| *from < prefix.first()) {
                let group = open.last().map_or(GroupId::NONE, |(_, group)| *group);
                emit(from, P::before(prefix.first()), group)?;
            }
            next = Some(prefix.first());
            open.push((prefix.last().min(last), *group));
        }
        close::<P, E>(&mut open, &mut next, None, &mut emit)?;
        match next.filter(|from| *from <= last) {
            Some(from) => emit(from, last, GroupId::NONE),
            None => Ok(()),
        }
    }

    /// The prefixes that contain `first` and begin before it, shortest first, each with its last
    /// address, but at most `last`.
    fn covers(&self, first: P::Bits, last: P::Bits) -> Vec<(P::Bits, GroupId)> {
        let mut open = Vec::with_capacity(16);
        let mut lengths = self.lengths & low_bits(P::shortest(first).length().saturating_sub(1));
        while lengths != 0 {
            let len = lengths.trailing_zeros() as u8 + 1;
            let prefix = P::containing(first, len);
            if let Some(group) = self.routes.get(&prefix) {
                open.push((prefix.last().min(last), *group));
            }
            lengths &= lengths - 1;
        }
        open
    }
}

/// Leaves the prefixes that end before `until`.
fn close<P: Prefix, E>(
    open: &mut Vec<(P::Bits, GroupId)>,
    next: &mut Option<P::Bits>,
    until: Option<P::Bits>,
    emit: &mut impl FnMut(P::Bits, P::Bits, GroupId) -> Result<(), E>,
) -> Result<(), E> {
    while let Some((last, group)) = open.pop_if(|(last, _)| until.is_none_or(|until| *last < until))
    {
        if let Some(from) = next.filter(|from| *from <= last) {
            emit(from, last, group)?;
            *next = P::after(last);
        }
    }
    Ok(())
}

/// The lowest `len` bits.
const fn low_bits(len: u8) -> u128 {
    match len {
        0 => 0,
        len => u128::MAX >> (128 - len as u32),
    }
}
