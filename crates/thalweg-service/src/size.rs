//! How large a ring has to be for what is promised of it.

/// Sizes that rings may have, all prime.
pub const PRIMES: [u32; 9] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 65_537, 131_071];

/// The smallest ring that is chosen: of this size up to ten equal members have their shares, so that most
/// small services keep their ring's size whoever comes or leaves.
const SMALLEST: u32 = 1_021;

/// What is promised of a ring.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Goal {
    /// Every share is within 1 % of what the weights say. A ring with more members may be larger, and
    /// nothing of it is where it was then.
    #[default]
    Balance,
    /// A member that leaves or comes moves at most its share and 1 % of all slots, as far as the largest
    /// ring has 16,381 slots. So all rings with two members and more are of one size, the largest.
    Steady,
}

/// How many slots a ring has for members of these weights, where the largest has `largest`. Fewer than two
/// members with a weight need no ring: 1. It depends on nothing else: every node finds the same, and does so
/// again after a restart.
pub fn size_for(weights: &[u16], largest: u32, goal: Goal) -> u32 {
    match weights.iter().filter(|weight| **weight > 0).count() {
        0 | 1 => 1,
        _ if goal == Goal::Steady => largest,
        _ => {
            let candidates = PRIMES.into_iter().filter(|size| (SMALLEST..=largest).contains(size));
            candidates.into_iter().find(|size| is_balanced(weights, *size)).unwrap_or(largest)
        }
    }
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
