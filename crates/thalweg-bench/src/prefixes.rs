//! The tables that are measured: prefixes with their groups.

use flate2::read::GzDecoder;
use std::collections::HashSet;
use std::fs::File;
use std::hash::Hash;
use std::io::{BufRead, BufReader};
use std::path::Path;
use thalweg_image::sample::{self, SplitMix};
use thalweg_wire::{Prefix4, Prefix6};

/// Groups that routes lead to: 256, not correlated with prefixes, is the worst case for the leaves.
pub const GROUPS: u16 = 256;
/// A full table of the Internet, where it is there: one prefix a line.
const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/prefixes.txt.gz");

/// A prefix and the number of its group, from 1.
pub type Routes<P> = Vec<(P, u16)>;

/// Both families, as large as the largest measurement needs.
pub struct Full {
    /// IPv4, 1,000,000.
    pub four: Routes<Prefix4>,
    /// IPv6, 250,000.
    pub six: Routes<Prefix6>,
    /// Where they come from, in words.
    pub origin: String,
}

impl Full {
    /// The real table where it is there, filled up with made-up prefixes; else made-up ones.
    pub fn read() -> Self {
        let (four, six) = real(Path::new(REAL));
        let origin = match four.len() {
            0 => "made-up tables in the shape of a full table".to_owned(),
            len => format!(
                "a real table of {len} IPv4 and {} IPv6 prefixes, filled up with made-up ones",
                six.len()
            ),
        };
        let four = fill(four, 1_000_000, |count| sample::table4(count, 1));
        let six = fill(six, 250_000, |count| sample::table6(count, 2));
        Self { four: groups(four), six: groups(six), origin }
    }
}

/// `count` of `routes`, evenly spread.
pub fn some<P: Copy>(routes: &Routes<P>, count: usize) -> Routes<P> {
    let count = count.min(routes.len());
    (0..count).map(|at| routes[at * routes.len() / count]).collect()
}

fn real(file: &Path) -> (Vec<Prefix4>, Vec<Prefix6>) {
    let (mut four, mut six) = (Vec::new(), Vec::new());
    let Ok(file) = File::open(file) else { return (four, six) };
    for line in BufReader::new(GzDecoder::new(file)).lines().map_while(Result::ok) {
        match (line.parse::<Prefix4>(), line.parse::<Prefix6>()) {
            (Ok(prefix), _) if prefix.len() > 0 => four.push(prefix),
            (_, Ok(prefix)) if prefix.len() > 0 => six.push(prefix),
            _ => {}
        }
    }
    (four, six)
}

/// `prefixes` with made-up ones added until there are `count`, in the order of addresses.
fn fill<P: Copy + Eq + Hash + Ord>(
    prefixes: Vec<P>,
    count: usize,
    made_up: impl Fn(usize) -> Vec<P>,
) -> Vec<P> {
    let mut known: HashSet<P> = prefixes.into_iter().take(count).collect();
    let mut wanted = count;
    while known.len() < count {
        let more = made_up(wanted);
        let missing = count - known.len();
        // Evenly from the whole of the made-up table, or it would all lie in one corner.
        let fresh: Vec<P> = more.into_iter().filter(|prefix| !known.contains(prefix)).collect();
        let take = missing.min(fresh.len());
        known.extend((0..take).map(|at| fresh[at * fresh.len() / take]));
        wanted += count;
    }
    let mut all: Vec<P> = known.into_iter().collect();
    all.sort();
    all
}

fn groups<P>(prefixes: Vec<P>) -> Routes<P> {
    let mut random = SplitMix(3);
    let mut group = || random.below(u64::from(GROUPS)) as u16 + 1;
    prefixes.into_iter().map(|prefix| (prefix, group())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filling_up_keeps_what_is_there_and_adds_no_prefix_twice() {
        let few = sample::table4(500, 9);
        let all = fill(few.clone(), 2000, |count| sample::table4(count, 1));
        assert_eq!(all.len(), 2000);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(few.iter().all(|prefix| all.binary_search(prefix).is_ok()));
    }

    #[test]
    fn some_routes_are_spread_over_all() {
        let routes = groups(sample::table4(1000, 9));
        let few = some(&routes, 10);
        assert_eq!(few.len(), 10);
        assert_eq!((few[0], few[9]), (routes[0], routes[900]));
    }
}
