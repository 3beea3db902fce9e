//! Sums over blocks of words: whether memory is as its writer left it.
//!
//! Tables are in kernel maps, and whoever may use bpf(2) may write there. Each store adds what it
//! changes to the sum of its block; whoever adds the words up later finds another sum where somebody
//! else stored. Any one foreign store to a block is found; several at once escape with a chance of
//! 2^-64, unless they were computed to. This is against mistakes, not against attackers, who with the
//! rights that it takes would write to the agent as well.

use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_abi::TableId;

/// Words of a block.
const BLOCK: usize = 512;

/// Cells that are not as the writer left them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Damage {
    /// The table.
    pub table: TableId,
    /// Octets of the table's memory, from the first to before the last, among which they are.
    pub octets: (u64, u64),
}

/// A sum for each block of each table, over zeroed memory at first.
pub(crate) struct Sums {
    tables: [Box<[AtomicU64]>; TableId::ALL.len()],
}

/// The weight of a word in the sum of its block: odd, so that no change of one word adds nothing.
const fn weight(at: usize) -> u64 {
    (2 * (at % BLOCK) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Sums {
    /// Sums for tables of so many words.
    pub fn new(words: impl Fn(TableId) -> usize) -> Self {
        let zeros = |count: usize| std::iter::repeat_with(|| AtomicU64::new(0)).take(count);
        Self { tables: TableId::ALL.map(|table| zeros(words(table).div_ceil(BLOCK)).collect()) }
    }

    /// Notes a store. One writer only.
    pub fn note(&self, table: TableId, at: usize, old: u64, new: u64) {
        if let Some(sum) = self.tables[table as usize].get(at / BLOCK) {
            let change = new.wrapping_sub(old).wrapping_mul(weight(at));
            sum.store(sum.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
        }
    }

    /// Notes a store to a table that others write as well.
    pub fn note_shared(&self, table: TableId, at: usize, old: u64, new: u64) {
        if let Some(sum) = self.tables[table as usize].get(at / BLOCK) {
            let change = new.wrapping_sub(old).wrapping_mul(weight(at));
            sum.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// The blocks of a table whose words do not add up; neighbors are one.
    pub fn compare(&self, table: TableId, words: &[AtomicU64]) -> Vec<Damage> {
        let mut damages: Vec<Damage> = Vec::new();
        let sums = &self.tables[table as usize];
        for ((number, block), sum) in words.chunks(BLOCK).enumerate().zip(sums.iter()) {
            let words = block.iter().enumerate();
            let found = words.fold(0_u64, |sum, (at, word)| {
                sum.wrapping_add(word.load(Ordering::Relaxed).wrapping_mul(weight(at)))
            });
            if found == sum.load(Ordering::Relaxed) {
                continue;
            }
            let first = (number * BLOCK * 8) as u64;
            let end = first + block.len() as u64 * 8;
            match damages.last_mut() {
                Some(last) if last.octets.1 == first => last.octets.1 = end,
                _ => damages.push(Damage { table, octets: (first, end) }),
            }
        }
        damages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_store_is_found_and_an_own_one_is_not() {
        let words: Vec<_> = (0..3 * BLOCK + 7).map(|_| AtomicU64::new(0)).collect();
        let table = TableId::Lfib;
        let sums = Sums::new(|_| words.len());
        let mut random = 7_u64;
        for _ in 0..5000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (at, new) = ((random >> 33) as usize % words.len(), random.rotate_left(17));
            sums.note(table, at, words[at].load(Ordering::Relaxed), new);
            words[at].store(new, Ordering::Relaxed);
        }
        assert_eq!(sums.compare(table, &words), []);
        for at in [0, BLOCK - 1, BLOCK, 3 * BLOCK + 6] {
            for bit in [0, 31, 63] {
                let old = words[at].fetch_xor(1 << bit, Ordering::Relaxed);
                let first = (at / BLOCK * BLOCK * 8) as u64;
                let end = (first + 4096).min(words.len() as u64 * 8);
                let found = sums.compare(table, &words);
                assert_eq!(found, [Damage { table, octets: (first, end) }]);
                words[at].store(old, Ordering::Relaxed);
            }
        }
        assert_eq!(sums.compare(table, &words), []);
        words[5].fetch_add(1, Ordering::Relaxed);
        words[BLOCK + 5].fetch_add(1, Ordering::Relaxed);
        assert_eq!(sums.compare(table, &words).len(), 1, "neighbors are told as one");
    }
}
