//! Sets of addresses of both families, as sorted stretches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;

/// Addresses in stretches that neither overlap nor touch, ascending, IPv4 first.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Ranges(Vec<(IpAddr, IpAddr)>);

/// The last address of a prefix.
pub fn last(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(first) => {
            let host = u32::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            Ipv4Addr::from_bits(first.to_bits() | host).into()
        }
        IpAddr::V6(first) => {
            let host = u128::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            Ipv6Addr::from_bits(first.to_bits() | host).into()
        }
    }
}

/// The address after one of the same family, if there is one.
pub fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// The address before one of the same family, if there is one.
pub fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

impl FromIterator<Prefix> for Ranges {
    fn from_iter<T: IntoIterator<Item = Prefix>>(prefixes: T) -> Self {
        let mut all: Vec<(IpAddr, IpAddr)> =
            prefixes.into_iter().map(|prefix| (prefix.address(), last(prefix))).collect();
        all.sort_unstable();
        let mut joined: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (from, to) in all {
            match joined.last_mut() {
                Some(before) if from <= before.1 || next(before.1) == Some(from) => {
                    before.1 = before.1.max(to);
                }
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }
}

impl Ranges {
    /// Whether an address is among them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }

    /// Adds an address.
    pub fn insert(&mut self, address: IpAddr) {
        if self.contains(address) {
            return;
        }
        let at = self.0.partition_point(|(from, _)| *from <= address);
        let joins_before = at > 0 && next(self.0[at - 1].1) == Some(address);
        let joins_after = self.0.get(at).is_some_and(|(from, _)| next(address) == Some(*from));
        match (joins_before, joins_after) {
            (true, true) => self.0[at - 1].1 = self.0.remove(at).1,
            (true, false) => self.0[at - 1].1 = address,
            (false, true) => self.0[at].0 = address,
            (false, false) => self.0.insert(at, (address, address)),
        }
    }

    /// Takes an address away.
    pub fn remove(&mut self, address: IpAddr) {
        let after = self.0.partition_point(|(from, _)| *from <= address);
        let Some(at) = after.checked_sub(1).filter(|at| address <= self.0[*at].1) else { return };
        let (from, to) = self.0[at];
        let before = previous(address).filter(|_| from < address).map(|last| (from, last));
        let behind = next(address).filter(|_| address < to).map(|first| (first, to));
        self.0.splice(at..=at, before.into_iter().chain(behind));
    }

    /// Those that are not in another.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().peekable();
        for (from, to) in self.iter() {
            while cuts.next_if(|(_, end)| *end < from).is_some() {}
            let mut first = Some(from);
            while let (Some(at), Some(cut)) = (first, cuts.peek().filter(|cut| cut.0 <= to)) {
                if let Some(last) = previous(cut.0).filter(|_| at < cut.0) {
                    left.push((at, last));
                }
                first = next(cut.1).filter(|at| *at <= to);
                // One that goes on behind this stretch may cut the next one, too.
                if cut.1 > to {
                    break;
                }
                cuts.next();
            }
            left.extend(first.map(|at| (at, to)));
        }
        Self(left)
    }

    /// The stretches, first and last address of each.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.0.iter().copied()
    }

    /// How many stretches there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Few addresses at both ends of both families.
    fn all() -> Vec<IpAddr> {
        let v4 = |bits| Ipv4Addr::from_bits(bits).into();
        let v6 = |bits| Ipv6Addr::from_bits(bits).into();
        let low = (0..4).map(v4).chain((u32::MAX - 3..=u32::MAX).map(v4));
        low.chain((0..4).map(v6)).chain((u128::MAX - 3..=u128::MAX).map(v6)).collect()
    }

    fn ranges(of: &BTreeSet<IpAddr>) -> Ranges {
        of.iter().copied().map(Prefix::host).collect()
    }

    /// A set for each number.
    fn set(number: u64) -> BTreeSet<IpAddr> {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        all()
            .into_iter()
            .enumerate()
            .filter(|(at, _)| mixed >> at & 1 == 1)
            .map(|(_, a)| a)
            .collect()
    }

    #[test]
    fn single_addresses_come_and_go_as_in_a_set() {
        for number in 0..200 {
            for address in all() {
                let mut of = set(number);
                let mut changed = ranges(&of);
                changed.insert(address);
                of.insert(address);
                assert_eq!(changed, ranges(&of));
                changed.remove(address);
                of.remove(&address);
                assert_eq!(changed, ranges(&of));
                changed.remove(address);
                assert_eq!(changed, ranges(&of));
            }
        }
    }

    #[test]
    fn what_is_left_without_others_is_what_is_left_of_a_set() {
        for number in 0..400 {
            let (a, b) = (set(number), set(number.wrapping_mul(77) + 5));
            let left: BTreeSet<IpAddr> = a.difference(&b).copied().collect();
            assert_eq!(ranges(&a).without(&ranges(&b)), ranges(&left), "{a:?} without {b:?}");
        }
        let wide = |text: &str| text.parse::<Prefix>().into_iter().collect::<Ranges>();
        let left = wide("10.0.0.0/8").without(&wide("10.1.0.0/16"));
        assert_eq!(left.len(), 2);
        assert!(wide("10.1.0.0/16").without(&wide("10.0.0.0/8")).is_empty());
    }
}
