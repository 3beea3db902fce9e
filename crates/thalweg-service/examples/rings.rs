//! Measures rings: slots that move beyond the share of a member that leaves, by members and size, and
//! how long filling takes. `src/size.rs` has its rule from this table.

use std::time::Instant;
use thalweg_service::{PRIMES, maglev};

fn members(set: u64, count: u64) -> Vec<(u64, u16)> {
    // Any ids do, as long as they are spread as hashes are.
    let id = |index: u64| (set << 32 | index).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    (0..count).map(|index| (id(index), 1)).collect()
}

/// Percent of all slots that move when one member leaves, beyond its own share.
fn moved(set: u64, count: u64, size: u32) -> f64 {
    let before = members(set, count);
    let mut after = before.clone();
    after.remove((set % count) as usize);
    let (a, b) = (maglev::fill(&before, size), maglev::fill(&after, size));
    let id = |members: &[(u64, u16)], member: u16| members[usize::from(member)].0;
    let moved = a.iter().zip(&b).filter(|(a, b)| id(&before, **a) != id(&after, **b)).count();
    100.0 * (moved as f64 / f64::from(size) - 1.0 / count as f64)
}

fn main() {
    println!("percent of slots moved beyond 1/n: mean/worst");
    for count in [2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80, 100, 160, 300, 500, 1_000, 2_000] {
        print!("n={count:<5}");
        for size in PRIMES {
            let sets = (4_000_000 / u64::from(size)).clamp(10, 1_000);
            let all: Vec<f64> = (0..sets).map(|set| moved(set, count, size)).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let worst = all.iter().fold(0f64, |worst, one| worst.max(*one));
            print!(" {mean:6.2}/{worst:5.2}");
        }
        println!();
    }
    for (count, size) in
        [(10, 1_021), (10, 2_039), (10, 4_093), (10, 8_191), (10, 16_381), (5_000, 131_071)]
    {
        let sets: Vec<_> = (0..100).map(|set| members(set, count)).collect();
        let start = Instant::now();
        let slots: usize = sets.iter().map(|set| maglev::fill(set, size).len()).sum();
        println!("{count} members, {size} slots: {:?} a ring", start.elapsed() / 100);
        assert_eq!(slots, 100 * size as usize);
    }
}
