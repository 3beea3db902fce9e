//! The order in which addresses are looked up: three traces, as numbers.

use crate::prefixes::Routes;
use thalweg_image::sample::SplitMix;
use thalweg_wire::{Prefix4, Prefix6};

/// Addresses of a trace.
pub const LEN: usize = 1 << 18;
/// Flows of the Zipf trace.
const FLOWS: usize = 1 << 16;

/// How addresses are drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A route at random, and an address at random below its prefix.
    Prefixes,
    /// Any address; in IPv6 any address below the /32 of a route at random, because the space is
    /// empty elsewhere.
    Addresses,
    /// 65,536 flows drawn as in `Prefixes`, the n-th most popular 1/n times as often as the first.
    Zipf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Prefixes, Self::Addresses, Self::Zipf];

    /// The word in row names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prefixes => "prefixes",
            Self::Addresses => "addresses",
            Self::Zipf => "zipf",
        }
    }
}

/// A trace over IPv4 routes.
pub fn four(routes: &Routes<Prefix4>, kind: Kind) -> Vec<u32> {
    let mut random = SplitMix(11);
    let below = |random: &mut SplitMix| {
        let (prefix, _) = routes[random.below(routes.len() as u64) as usize];
        prefix.bits() | random.next() as u32 & (prefix.last() ^ prefix.bits())
    };
    match kind {
        Kind::Prefixes => (0..LEN).map(|_| below(&mut random)).collect(),
        Kind::Addresses => (0..LEN).map(|_| random.next() as u32).collect(),
        Kind::Zipf => zipf(&mut random, below),
    }
}

/// A trace over IPv6 routes.
pub fn six(routes: &Routes<Prefix6>, kind: Kind) -> Vec<u128> {
    let mut random = SplitMix(12);
    let wide = |random: &mut SplitMix| u128::from(random.next()) << 64 | u128::from(random.next());
    let below = |random: &mut SplitMix, len: u8| {
        let (prefix, _) = routes[random.below(routes.len() as u64) as usize];
        let prefix = Prefix6::containing(prefix.address(), len.min(prefix.len()));
        prefix.bits() | wide(random) & (prefix.last() ^ prefix.bits())
    };
    match kind {
        Kind::Prefixes => (0..LEN).map(|_| below(&mut random, 128)).collect(),
        Kind::Addresses => (0..LEN).map(|_| below(&mut random, 32)).collect(),
        Kind::Zipf => zipf(&mut random, |random| below(random, 128)),
    }
}

/// Draws flows by Zipf's law with exponent 1.
fn zipf<T: Copy>(random: &mut SplitMix, mut flow: impl FnMut(&mut SplitMix) -> T) -> Vec<T> {
    let flows: Vec<T> = (0..FLOWS).map(|_| flow(random)).collect();
    let mut sums = Vec::with_capacity(FLOWS);
    let mut sum = 0.0;
    for rank in 1..=FLOWS {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut draw = || {
        let at = random.next() as f64 / u64::MAX as f64 * sum;
        flows[sums.partition_point(|sum| *sum < at).min(FLOWS - 1)]
    };
    (0..LEN).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use thalweg_image::sample;

    #[test]
    fn addresses_of_the_prefix_trace_lie_below_routes() {
        let table = sample::table4(100, 1);
        let routes: Routes<Prefix4> = table.iter().map(|prefix| (*prefix, 1)).collect();
        let inside = |address: u32| table.iter().any(|prefix| prefix.contains(address.into()));
        assert!(four(&routes, Kind::Prefixes).into_iter().take(1000).all(inside));
        let table = sample::table6(100, 1);
        let routes: Routes<Prefix6> = table.iter().map(|prefix| (*prefix, 1)).collect();
        let inside = |address: u128| table.iter().any(|prefix| prefix.contains(address.into()));
        assert!(six(&routes, Kind::Prefixes).into_iter().take(1000).all(inside));
    }

    #[test]
    fn the_second_flow_comes_half_as_often_as_the_first() {
        let mut next = 0;
        let trace = zipf(&mut SplitMix(1), |_| {
            next += 1;
            next
        });
        let mut counts = HashMap::new();
        trace.iter().for_each(|flow| *counts.entry(*flow).or_insert(0) += 1);
        let ratio = f64::from(counts[&1]) / f64::from(counts[&2]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
    }
}
