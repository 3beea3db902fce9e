//! The last free slots of a ring, by asking who comes to each of them first.
//!
//! Members that walk look at ten slots or a hundred for one that is still free, once few are. When a
//! member comes to a slot is known without walking, though: its order is a progression through the
//! shuffle, so the step is a quotient modulo the size of the ring, a prime.

use super::{FREE, Walk, wrap};
use crate::hash::mix;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};

/// The shuffle that orders go through, and what leads back.
#[derive(Debug)]
pub(super) struct Shuffle {
    /// The numbers below the size of the ring in an order that never changes (Fisher and Yates).
    pub numbers: Vec<u32>,
    /// Where each number stands.
    places: Vec<u32>,
    /// What each number but 0 gives 1 with, modulo the size.
    inverses: Vec<u32>,
    /// 2^64 divided by the size, rounded up: divides what is far smaller by a multiplication.
    reciprocal: u64,
    size: u32,
}

/// Shuffles that were made, by size. There are as many as there are sizes of rings in use.
static SHUFFLES: Mutex<BTreeMap<u32, Arc<Shuffle>>> = Mutex::new(BTreeMap::new());

impl Shuffle {
    /// That of a size, a prime.
    pub fn of(size: u32) -> Arc<Self> {
        let mut made = SHUFFLES.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(size).or_insert_with(|| Arc::new(Self::new(size))).clone()
    }

    fn new(size: u32) -> Self {
        let mut numbers: Vec<u32> = (0..size).collect();
        for last in (1..size).rev() {
            let other = mix(u64::from(size) << 32 | u64::from(last)) % u64::from(last + 1);
            numbers.swap(last as usize, other as usize);
        }
        let mut places = vec![0; size as usize];
        (0..).zip(&numbers).for_each(|(place, number)| places[*number as usize] = place);
        // size = q * n + r, so that 0 = q + r / n and 1 / n = -q / r modulo the size.
        let (all, mut inverses) = (u64::from(size), vec![1; size as usize]);
        for number in 2..all {
            let of_rest: u32 = inverses[(all % number) as usize];
            inverses[number as usize] = ((all - all / number) * u64::from(of_rest) % all) as u32;
        }
        let reciprocal = (u64::MAX / all).saturating_add(1);
        Self { numbers, places, inverses, reciprocal, size }
    }

    /// A product of two numbers below the size, modulo the size.
    fn product(&self, a: u32, b: u32) -> u32 {
        let product = u64::from(a) * u64::from(b);
        let times = (u128::from(product) * u128::from(self.reciprocal)) >> 64;
        (product - times as u64 * u64::from(self.size)) as u32
    }

    /// How many looks of a member from now on come before that at a slot which it has not looked at.
    fn looks(&self, walk: &Walk, slot: u32) -> u32 {
        let minus = |a: u32, b: u32| wrap(a + self.size - b, self.size);
        let place = self.places[minus(slot, walk.offset) as usize];
        self.product(minus(place, walk.at), self.inverses[walk.skip as usize])
    }
}

/// Who comes to a slot after how many looks. Of two that come after as many, the one whose turn is
/// first does.
type Coming = (u32, u16, u32);

/// Gives the slots that are free to members whose turn it is again and again, as walking would.
pub(super) fn give(shuffle: &Shuffle, walks: &mut [Walk], ring: &mut [u16]) {
    let mut turns: Vec<u16> = (0..walks.len() as u16).collect();
    let first = |walks: &[Walk], turns: &[u16], slot: u32| -> Option<Coming> {
        let coming = |turn: &u16| (shuffle.looks(&walks[usize::from(*turn)], slot), *turn, slot);
        turns.iter().map(coming).min()
    };
    let free = (0..).zip(&*ring).filter(|(_, member)| **member == FREE);
    let mut all: Vec<Coming> = free.filter_map(|(slot, _)| first(walks, &turns, slot)).collect();
    all.sort_unstable();
    let mut all = all.into_iter().peekable();
    // Slots to which somebody came who had its share already.
    let mut again: BinaryHeap<Reverse<Coming>> = BinaryHeap::new();
    loop {
        let sooner = again.peek().is_some_and(|Reverse(b)| all.peek().is_none_or(|a| b < a));
        let next = if sooner { again.pop().map(|Reverse(next)| next) } else { all.next() };
        let Some((_, turn, slot)) = next else { return };
        let walk = &mut walks[usize::from(turn)];
        if walk.left == 0 {
            again.extend(first(walks, &turns, slot).map(Reverse));
            continue;
        }
        walk.left -= 1;
        ring[slot as usize] = walk.member;
        if walk.left == 0 {
            turns.retain(|other| *other != turn);
        }
    }
}
