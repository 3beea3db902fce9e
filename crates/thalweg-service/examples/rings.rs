//! Measures rings: slots that move beyond the share of a member that leaves, by members and size, and
//! how long filling takes. `src/size.rs` and `src/maglev.rs` say what follows from this table.

use std::time::Instant;
use thalweg_service::{PRIMES, maglev};

/// Members of weights from 1 to `heaviest`.
fn members(set: u64, count: u64, heaviest: u64) -> Vec<(u64, u16)> {
    // Any ids do, as long as they are spread as hashes are.
    let id = |index: u64| (set << 32 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (0..count).map(|index| (id(index), 1 + ((id(index) >> 7) % heaviest) as u16)).collect()
}

/// Percent of all slots that move when one member leaves, beyond its own share.
fn moved(set: u64, count: u64, heaviest: u64, size: u32) -> f64 {
    let before = members(set, count, heaviest);
    let mut after = before.clone();
    let (_, weight) = after.remove((set % count) as usize);
    let total: u32 = before.iter().map(|(_, weight)| u32::from(*weight)).sum();
    let (a, b) = (maglev::fill(&before, size), maglev::fill(&after, size));
    let id = |members: &[(u64, u16)], member: u16| members[usize::from(member)].0;
    let moved = a.iter().zip(&b).filter(|(a, b)| id(&before, **a) != id(&after, **b)).count();
    100.0 * (moved as f64 / f64::from(size) - f64::from(weight) / f64::from(total))
}

/// A line for each number of members: mean and worst of many sets, for each size.
fn table(heaviest: u64, sizes: &[u32]) {
    for count in [2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80, 100, 160, 200, 300, 500, 1_000, 2_000] {
        print!("n={count:<5}");
        for size in sizes {
            let sets = (4_000_000 / u64::from(*size)).clamp(10, 1_000);
            let all: Vec<f64> = (0..sets).map(|set| moved(set, count, heaviest, *size)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let worst = all.iter().fold(0f64, |worst, one| worst.max(*one));
            print!(" {mean:6.2}/{worst:5.2}");
        }
        println!();
    }
}

fn main() {
    println!("percent of slots moved beyond the share of one that leaves: mean/worst");
    table(1, &PRIMES);
    for heaviest in [4, 100] {
        println!("with weights from 1 to {heaviest}, and 16,381 slots:");
        table(heaviest, &[16_381]);
    }
    for (count, size) in
        [(10, 1_021), (10, 2_039), (10, 4_093), (10, 8_191), (10, 16_381), (5_000, 131_071)]
    {
        let sets: Vec<_> = (0..100).map(|set| members(set, count, 1)).collect();
        let start = Instant::now();
        let slots: usize = sets.iter().map(|set| maglev::fill(set, size).len()).sum();
        println!("{count} members, {size} slots: {:?} a ring", start.elapsed() / 100);
        assert_eq!(slots, 100 * size as usize);
    }
}
