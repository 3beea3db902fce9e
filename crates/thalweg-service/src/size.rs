//! How large a ring has to be for what is promised of it.

/// Sizes that rings may have, all prime.
pub const PRIMES: [u32; 9] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 65_537, 131_071];

/// What is promised of a ring.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Goal {
    /// Every share is within 1 % of what the weights say.
    #[default]
    Balance,
    /// That, and a member that leaves moves at most its share and 1 % of all slots. Rings of 3 or more
    /// members are up to 16 times as large for it.
    Steady,
}

/// Most members of a ring of each size that keeps to [`Goal::Steady`]. Read off the table that
/// `cargo run --release --example rings` prints: no set of so many moved more than 0.95 % beyond the share
/// of the one that left. The table has 1,000 sets for small rings, 30 for the largest, and stops at 2,000
/// members; 250 stands between its rows for 160 and 300.
///
/// What moves beyond the share falls with about the root of the size: at 10 members it is 2.5 % of 1,021
/// slots on average, 1.2 % of 4,093 and 0.6 % of 16,381.
const MEMBERS: [(u32, usize); 6] =
    [(251, 2), (4_093, 3), (8_191, 5), (16_381, 15), (65_537, 250), (131_071, usize::MAX)];

/// The smallest of [`PRIMES`] that reaches the goal for members of these weights, and `largest` where
/// none up to it does. Fewer than two members with a weight need no ring: 1.
pub fn size_for(weights: &[u16], largest: u32, goal: Goal) -> u32 {
    let weighty = weights.iter().filter(|weight| **weight > 0).count();
    if weighty < 2 {
        return 1;
    }
    let steady = |size: u32| {
        let (_, most) = MEMBERS.iter().rfind(|(known, _)| *known <= size).unwrap_or(&(0, 0));
        weighty <= *most
    };
    let candidates = PRIMES.into_iter().filter(|size| *size <= largest);
    let mut fitting = candidates
        .filter(|size| is_balanced(weights, *size) && (goal == Goal::Balance || steady(*size)));
    fitting.next().unwrap_or(largest)
}

/// Whether every share is within 1 % of what its weight says, rounded either way.
fn is_balanced(weights: &[u16], size: u32) -> bool {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let mut weighty = weights.iter().filter(|weight| **weight > 0);
    // A share of `exact / total` slots has `rest / total` too many when rounded down.
    weighty.all(|weight| {
        let exact = u64::from(*weight) * u64::from(size);
        let rest = exact % total;
        let off = if rest == 0 { 0 } else { rest.max(total - rest) };
        off * 100 <= exact
    })
}
