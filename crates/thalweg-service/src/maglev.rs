//! Maglev's ring (Eisenbud et al., NSDI 2016, §3.4), with weights: which member a slot belongs to.
//!
//! Each member has an order of its own over the slots, derived from its id. Members take turns; in its
//! turn each takes the first slot of its order that is still free. So shares are exact to a slot, and a
//! member that leaves gives up its slots while most others stay.
//!
//! The paper derives an order from an offset and a skip, and says that better permutations do as well.
//! Plain ones are arithmetic progressions: two members with similar skips run one behind the other, and
//! one set in a few hundred moves ten times the slots it should when a member leaves. So the progression
//! goes through one fixed shuffle here, which costs a read per step.

use crate::hash::mix;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A slot that nobody has yet.
const FREE: u16 = u16::MAX;

/// Members that a ring can tell apart; those behind get no slots.
pub const MOST_MEMBERS: usize = FREE as usize;

/// The member of each of `size` slots, as its index in `members`: ids that say who it is and weights.
/// It depends on ids and weights only, not on the order of members. Nobody has a slot where no weight is
/// positive: the ring is empty then.
///
/// `size` is a prime; ids differ. Of members with one id, the one with the higher weight comes first.
pub fn fill(members: &[(u64, u16)], size: u32) -> Vec<u16> {
    let order = order(members);
    match order.as_slice() {
        [] => Vec::new(),
        [only] => vec![*only; size as usize],
        order => match turns(members, order, size) {
            Some(turns) => take(members, order, size, turns.into_iter()),
            None => take(members, order, size, (0..order.len() as u16).cycle()),
        },
    }
}

/// Indices of the members with a weight in the order of their turns, which no caller decides.
fn order(members: &[(u64, u16)]) -> Vec<u16> {
    let counted = members.iter().take(MOST_MEMBERS).enumerate();
    let weighty = counted.filter(|(_, (_, weight))| *weight > 0);
    let mut keyed: Vec<(u64, u16, u16)> =
        weighty.map(|(index, (id, weight))| (*id, FREE - *weight, index as u16)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, _, index)| index).collect()
}

/// Whose turn it is, as positions in `order`, for all slots; none where all weigh alike and simply go
/// round.
fn turns(members: &[(u64, u16)], order: &[u16], size: u32) -> Option<Vec<u16>> {
    let weights: Vec<u16> = order.iter().map(|index| members[*index as usize].1).collect();
    let first = weights.first()?;
    if weights.iter().all(|weight| weight == first) {
        return None;
    }
    // Turn k of q stands at (2k + 1) / 2q of the way, so that each member's turns are spread evenly.
    let quotas = quotas(&weights, size);
    let size = u64::from(size);
    let places = |quota: u32| {
        let quota = u64::from(quota);
        (0..quota).map(move |turn| ((2 * turn + 1) * size / (2 * quota)) as usize)
    };
    let mut starts = vec![0u32; size as usize + 1];
    quotas.iter().for_each(|quota| places(*quota).for_each(|place| starts[place + 1] += 1));
    (1..starts.len()).for_each(|place| starts[place] += starts[place - 1]);
    let mut turns = vec![0; size as usize];
    for (member, quota) in quotas.iter().enumerate() {
        for place in places(*quota) {
            turns[starts[place] as usize] = member as u16;
            starts[place] += 1;
        }
    }
    Some(turns)
}

/// How many slots each weight gets: its share, rounded down, and one more for the largest remainders.
fn quotas(weights: &[u16], size: u32) -> Vec<u32> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let product = |weight: u16| u64::from(weight) * u64::from(size);
    let mut quotas: Vec<u32> = weights.iter().map(|w| (product(*w) / total) as u32).collect();
    let mut remainders: Vec<(u64, usize)> =
        weights.iter().enumerate().map(|(i, w)| (total - product(*w) % total, i)).collect();
    remainders.sort_unstable();
    let missing = size - quotas.iter().sum::<u32>();
    remainders.iter().take(missing as usize).for_each(|(_, index)| quotas[*index] += 1);
    quotas
}

/// Where a member stands in its order over the slots.
struct Walk {
    /// Where in the shuffle it is.
    at: u32,
    /// How far the next step goes.
    skip: u32,
    /// Added to what the shuffle says.
    offset: u32,
}

impl Walk {
    fn new(id: u64, size: u32) -> Self {
        let (first, second) = (mix(id), mix(mix(id)));
        // The high half of a product: a number below `below`, without a division.
        let scale = |number: u64, below: u32| (((number >> 32) * u64::from(below)) >> 32) as u32;
        Self {
            at: scale(first, size),
            skip: 1 + scale(second, size - 1),
            offset: scale(first << 32, size),
        }
    }
}

/// Lets members take slots, turn by turn, until none is free.
fn take(
    members: &[(u64, u16)],
    order: &[u16],
    size: u32,
    turns: impl Iterator<Item = u16>,
) -> Vec<u16> {
    let shuffle = shuffle(size);
    let mut walks: Vec<Walk> =
        order.iter().map(|index| Walk::new(members[*index as usize].0, size)).collect();
    let mut ring = vec![FREE; size as usize];
    for turn in turns.take(size as usize) {
        let walk = &mut walks[turn as usize];
        loop {
            let slot = wrap(shuffle[walk.at as usize] + walk.offset, size) as usize;
            walk.at = wrap(walk.at + walk.skip, size);
            if ring[slot] == FREE {
                ring[slot] = order[turn as usize];
                break;
            }
        }
    }
    ring
}

/// A sum of two numbers below `size`, back below it.
const fn wrap(sum: u32, size: u32) -> u32 {
    if sum >= size { sum - size } else { sum }
}

/// Shuffles that were made, by size. There are as many as there are sizes of rings in use.
static SHUFFLES: Mutex<BTreeMap<u32, Arc<[u32]>>> = Mutex::new(BTreeMap::new());

/// The numbers below `size` in an order that never changes (Fisher and Yates).
fn shuffle(size: u32) -> Arc<[u32]> {
    let mut made = SHUFFLES.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let mut numbers: Vec<u32> = (0..size).collect();
        for last in (1..size).rev() {
            let other = mix(u64::from(size) << 32 | u64::from(last)) % u64::from(last + 1);
            numbers.swap(last as usize, other as usize);
        }
        numbers.into()
    };
    made.entry(size).or_insert_with(make).clone()
}

#[cfg(test)]
mod tests;
