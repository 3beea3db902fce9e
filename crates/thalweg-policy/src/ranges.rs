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
