//! Maglev's ring (Eisenbud et al., NSDI 2016, §3.4), with weights: which member a slot belongs to.
//!
//! Each member has an order of its own over the slots, derived from its id. Members take turns; in its
//! turn each looks at the next slot of its order, takes it if it is still free, and is done when it has its
//! share. So shares are exact to a slot, and a member that leaves gives up its slots while most others
//! stay.
//!
//! In the paper a member looks on in its turn until it finds a free slot. Then it comes to each slot behind
//! sooner or later by how many others took, and one that leaves shifts all who come after: of 16,381 slots
//! up to 1.8 % move beyond the share of the one that left, at 160 members. Where each looks at one slot
//! at a time, whoever comes to a slot comes at the same turn, whoever else is there, until it has its
//! share: less than 1 % then, at any number of members (`examples/rings.rs`).
//!
//! The paper derives an order from an offset and a skip, and says that better permutations do as well.
//! Plain ones are arithmetic progressions: two members with similar skips run one behind the other, and
//! one set in a few hundred moves ten times the slots it should when a member leaves. So the progression
//! goes through one fixed shuffle here, which costs a read per step.

mod rest;

use crate::hash::mix;
use rest::Shuffle;
use std::hint::select_unpredictable;

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
        order => take(members, order, size),
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

/// Whose turn it is, as positions in `order`: again and again from the front. Who has a larger quota has
/// more turns.
fn turns(quotas: &[u32], size: u32) -> Vec<u16> {
    let members = 0..quotas.len() as u16;
    // Turn k of q stands at (2k + 1) / 2q of the way, so that each member's turns are spread evenly.
    let size = u64::from(size);
    let places = |quota: u32| {
        let quota = u64::from(quota);
        (0..quota).map(move |turn| ((2 * turn + 1) * size / (2 * quota)) as usize)
    };
    let mut starts = vec![0u32; size as usize + 1];
    quotas.iter().for_each(|quota| places(*quota).for_each(|place| starts[place + 1] += 1));
    (1..starts.len()).for_each(|place| starts[place] += starts[place - 1]);
    let mut turns = vec![0; size as usize];
    for (member, quota) in members.zip(quotas) {
        for place in places(*quota) {
            turns[starts[place] as usize] = member;
            starts[place] += 1;
        }
    }
    turns
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
    /// The index of the member.
    member: u16,
    /// Where in the shuffle it is.
    at: u32,
    /// How far the next step goes.
    skip: u32,
    /// Added to what the shuffle says.
    offset: u32,
    /// Slots that it has still to get.
    left: u32,
    /// Slots that it has not looked at yet.
    ahead: u32,
    /// What its turns have come to: it looks at a slot when this reaches the size of the ring.
    credit: u32,
}

impl Walk {
    fn new(id: u64, member: u16, size: u32, left: u32) -> Self {
        let (first, second) = (mix(id), mix(mix(id)));
        // The high half of a product: a number below `below`, without a division.
        let scale = |number: u64, below: u32| (((number >> 32) * u64::from(below)) >> 32) as u32;
        Self {
            member,
            at: scale(first, size),
            skip: 1 + scale(second, size - 1),
            offset: scale(first << 32, size),
            left,
            ahead: size,
            credit: 0,
        }
    }

    /// Whether it may look in its turn. All slots that are free are ahead of everybody, so who has looked at
    /// many finds more of them at each look: members of different weights must look the more seldom for it,
    /// or the heavy ones get their shares first, and get others when one leaves.
    fn may_look(&mut self, size: u32) -> bool {
        self.credit += self.ahead;
        let may = self.credit >= size;
        if may {
            self.credit -= size;
        }
        may
    }

    /// The next slot of its order.
    fn look(&mut self, shuffle: &[u32], size: u32) -> usize {
        let slot = wrap(shuffle[self.at as usize] + self.offset, size);
        self.at = wrap(self.at + self.skip, size);
        self.ahead -= 1;
        slot as usize
    }
}

/// How often members of different weights go through their turns until who has a turn may look: six times
/// leave a few slots of a thousand free.
const MEASURED: u32 = 6;

/// Lets members look for slots, turn by turn, until none is free.
fn take(members: &[(u64, u16)], order: &[u16], size: u32) -> Vec<u16> {
    let shuffle = Shuffle::of(size);
    let member = |turn: usize| members[usize::from(order[turn])];
    let weights: Vec<u16> = (0..order.len()).map(|turn| member(turn).1).collect();
    let quotas = quotas(&weights, size);
    let walk = |(turn, quota): (usize, &u32)| Walk::new(member(turn).0, order[turn], size, *quota);
    let walks: Vec<Walk> = quotas.iter().enumerate().map(walk).collect();
    match is_even(&weights) {
        true => take_evenly(walks, &shuffle, size),
        false => take_weighted(walks, &turns(&quotas, size), &shuffle, size),
    }
}

/// For members of one weight, who all have one turn after the other.
fn take_evenly(mut walks: Vec<Walk>, shuffle: &Shuffle, size: u32) -> Vec<u16> {
    let mut ring = vec![FREE; size as usize];
    let (mut free, few) = (size, rest_of(walks.len(), size));
    // More members than slots: some get none.
    let mut done = true;
    while free > few {
        if std::mem::take(&mut done) {
            walks.retain(|walk| walk.left > 0);
        }
        for walk in &mut walks {
            let slot = &mut ring[walk.look(&shuffle.numbers, size)];
            let takes = *slot == FREE;
            // No processor guesses which looks find one.
            *slot = select_unpredictable(takes, walk.member, *slot);
            walk.left -= u32::from(takes);
            free -= u32::from(takes);
            done |= walk.left == 0;
        }
    }
    walks.retain(|walk| walk.left > 0);
    rest::give(shuffle, &mut walks, &mut ring);
    ring
}

/// For members of different weights, who have more turns the more they weigh.
fn take_weighted(mut walks: Vec<Walk>, turns: &[u16], shuffle: &Shuffle, size: u32) -> Vec<u16> {
    let (mut turns, mut measured) = (turns.to_vec(), MEASURED);
    let mut ring = vec![FREE; size as usize];
    let (mut free, mut done) = (size, true);
    // An order has every slot, so whoever has not got its share comes to one that is free.
    while free > 0 {
        if std::mem::take(&mut done) {
            turns.retain(|turn| walks[usize::from(*turn)].left > 0);
        }
        for turn in &turns {
            let walk = &mut walks[usize::from(*turn)];
            if walk.left == 0 || measured > 0 && !walk.may_look(size) {
                continue;
            }
            let slot = &mut ring[walk.look(&shuffle.numbers, size)];
            if *slot == FREE {
                *slot = walk.member;
                walk.left -= 1;
                done |= walk.left == 0;
                free -= 1;
            }
        }
        measured = measured.saturating_sub(1);
    }
    ring
}

/// How many slots are left when it is quicker to ask all members about each than to let them walk on.
/// Measured with 10 members; the more there are, the more looks it takes, and the more are asked.
fn rest_of(members: usize, size: u32) -> u32 {
    size / (4 * members as u32)
}

/// Whether all weigh alike.
fn is_even(weights: &[u16]) -> bool {
    weights.windows(2).all(|pair| pair[0] == pair[1])
}

/// A sum of two numbers below `size`, back below it.
const fn wrap(sum: u32, size: u32) -> u32 {
    if sum >= size { sum - size } else { sum }
}

#[cfg(test)]
mod tests;
