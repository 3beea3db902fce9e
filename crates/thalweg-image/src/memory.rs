//! The memory that tables live in: arrays of 64-bit words with one writer and any readers.

use crate::sums::{Damage, Sums};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use thalweg_abi::{Row, TableId, control};

/// Memory of one table.
pub type Region = Arc<dyn AsRef<[AtomicU64]> + Send + Sync>;

/// Rows that each table holds: kernel maps are created with these sizes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capacity {
    rows: [u32; TableId::ALL.len()],
}

impl Capacity {
    /// Capacity from a function of the table.
    pub fn new(rows: impl Fn(TableId) -> u32) -> Self {
        Self { rows: TableId::ALL.map(rows) }
    }

    /// Rows of a table (see [`TableId::row_bytes`]).
    pub fn rows(&self, table: TableId) -> u32 {
        self.rows[table as usize]
    }

    /// Cells of a table: what its indices count. Each may have several versions.
    pub fn cells(&self, table: TableId) -> u32 {
        self.rows(table).saturating_mul(table.cells_per_row() as u32) / table.versions()
    }
}

/// What an audit found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// Octets that were looked at.
    pub octets: u64,
    /// Where they are not as the writer left them, in the order of tables.
    pub damages: Vec<Damage>,
}

/// All tables of one image.
#[derive(Clone)]
pub struct Memory {
    regions: [Region; TableId::ALL.len()],
    sums: Arc<Sums>,
}

struct Heap(Box<[AtomicU64]>);

impl AsRef<[AtomicU64]> for Heap {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}

impl Memory {
    /// Zeroed memory of this process.
    pub fn heap(capacity: &Capacity) -> Self {
        Self::from_regions(|table| {
            let words = capacity.rows(table) as usize * table.row_bytes() / 8;
            Arc::new(Heap(std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect()))
        })
    }

    /// Memory from a function of the table; all of it zero.
    pub fn from_regions(region: impl Fn(TableId) -> Region) -> Self {
        let regions = TableId::ALL.map(region);
        // What programs write adds up to nothing.
        let kept = |table: TableId| table.change() != thalweg_abi::table::Change::Shared;
        let words = |table: TableId| (*regions[table as usize]).as_ref().len();
        let sums = Sums::new(|table| if kept(table) { words(table) } else { 0 });
        Self { regions, sums: Arc::new(sums) }
    }

    /// Looks whether every word is as the writer left it. Reads all tables; not to be called while a
    /// plan is applied.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for table in TableId::ALL {
            if table.change() == thalweg_abi::table::Change::Shared {
                continue;
            }
            let words = self.words(table);
            audit.octets += words.len() as u64 * 8;
            let damages = self.sums.compare(table, words);
            if !damages.is_empty() {
                // A state that is taken down meanwhile adds up the next time.
                let again = self.sums.compare(table, words);
                audit.damages.extend(damages.into_iter().filter(|damage| again.contains(damage)));
            }
        }
        audit
    }

    /// Stores a word of a table without versions, before which all stores so far are seen; gives what
    /// was there, none beyond the end. Any number of writers.
    pub(crate) fn set_live(&self, table: TableId, at: u32, value: u64) -> Option<u64> {
        let old = self.words(table).get(at as usize)?.swap(value, Ordering::SeqCst);
        self.sums.note_shared(table, at as usize, old, value);
        Some(old)
    }

    /// Stores a word; false beyond the end. One writer only.
    fn store(&self, table: TableId, at: usize, value: u64, order: Ordering) -> bool {
        let Some(word) = self.words(table).get(at) else { return false };
        self.sums.note(table, at, word.load(Ordering::Relaxed), value);
        word.store(value, order);
        true
    }

    /// Says at once that a link or session cannot be used: the one store that others than the writer
    /// may make, since only the writer says that it can. False when there is no such state.
    pub fn take_down(&self, state: u32) -> bool {
        self.set_live(TableId::States, state, 0).is_some()
    }

    /// The words of a table.
    pub fn words(&self, table: TableId) -> &[AtomicU64] {
        (*self.regions[table as usize]).as_ref()
    }

    /// Cells of a table: what its indices count. Each may have several versions.
    pub fn cells(&self, table: TableId) -> u32 {
        (self.words(table).len() * 8 / table.cell_bytes()) as u32 / table.versions()
    }

    /// The epoch in force.
    pub fn epoch(&self) -> u64 {
        self.control(control::EPOCH)
    }

    /// Number of the image in force.
    pub fn generation(&self) -> u64 {
        self.control(control::GENERATION)
    }

    /// Whether all that was read at `epoch` until now was of one version.
    pub fn holds(&self, epoch: u64) -> bool {
        // The reads before must not come after this one.
        fence(Ordering::Acquire);
        control::holds(epoch as u32, self.control(control::WRITING) as u32)
    }

    fn control(&self, word: u32) -> u64 {
        self.words(TableId::Control)
            .get(word as usize)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The version of an epoch.
    pub fn at(&self, epoch: u64) -> View<'_> {
        View { memory: self, epoch }
    }

    /// Reads one version as often as it takes for it to hold meanwhile.
    pub fn read<T>(&self, read: impl Fn(View<'_>) -> T) -> T {
        loop {
            let view = self.in_force();
            let answer = read(view);
            if self.holds(view.epoch) {
                return answer;
            }
        }
    }

    /// The version in force now. It may be rewritten when two plans come meanwhile.
    pub fn in_force(&self) -> View<'_> {
        self.at(self.epoch())
    }
}

/// One version of the tables, for reading.
#[derive(Clone, Copy)]
pub struct View<'a> {
    memory: &'a Memory,
    epoch: u64,
}

impl View<'_> {
    /// The epoch of the version.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Reads a cell of 8 octets; none beyond the end.
    pub fn u64(&self, table: TableId, index: u32) -> Option<u64> {
        self.word(table, self.place(table, index) as usize)
    }

    /// Reads a cell of 4 octets; none beyond the end.
    pub fn u32(&self, table: TableId, index: u32) -> Option<u32> {
        let place = self.place(table, index);
        let word = self.word(table, place as usize / 2)?;
        Some((word >> (place % 2 * 32)) as u32)
    }

    /// Reads a cell of 2 octets; none beyond the end.
    pub fn u16(&self, table: TableId, index: u32) -> Option<u16> {
        let place = self.place(table, index);
        let word = self.word(table, place as usize / 4)?;
        Some((word >> (place % 4 * 16)) as u16)
    }

    /// Reads a row; none beyond the end.
    ///
    /// A row of several words is not read at once: it must not change while it can be seen.
    pub fn row<T: Row>(&self, table: TableId, index: u32) -> Option<T> {
        let mut row = T::new_zeroed();
        let len = size_of::<T>() / 8;
        let from = self.place(table, index) as usize * len;
        let words = self.memory.words(table).get(from..from + len)?;
        for (octets, word) in row.as_mut_bytes().chunks_exact_mut(8).zip(words) {
            octets.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
        }
        Some(row)
    }

    fn place(&self, table: TableId, index: u32) -> u32 {
        table.place(index, self.epoch as u32)
    }

    fn word(&self, table: TableId, at: usize) -> Option<u64> {
        self.memory.words(table).get(at).map(|word| word.load(Ordering::Acquire))
    }

    /// Writes a cell of 8 octets with release order. One writer only. False beyond the end.
    pub(crate) fn set_u64(&self, table: TableId, index: u32, value: u64) -> bool {
        let place = self.place(table, index) as usize;
        self.memory.store(table, place, value, Ordering::Release)
    }

    /// Writes a cell of 4 octets; its neighbor in the word is stored again unchanged. One writer
    /// only. False beyond the end.
    pub(crate) fn set_u32(&self, table: TableId, index: u32, value: u32) -> bool {
        let place = self.place(table, index);
        self.merge(table, place / 2, place % 2 * 32, 0xffff_ffff, u64::from(value))
    }

    /// Writes a cell of 2 octets; its neighbors in the word are stored again unchanged. One writer
    /// only. False beyond the end.
    pub(crate) fn set_u16(&self, table: TableId, index: u32, value: u16) -> bool {
        let place = self.place(table, index);
        self.merge(table, place / 4, place % 4 * 16, 0xffff, u64::from(value))
    }

    /// Writes cells of 2 octets from `first`, in tables without versions, as [`Self::set_u16`] writes each,
    /// four at a time where they are a word of their own. False where one is beyond the end.
    pub(crate) fn set_u16s(&self, table: TableId, first: u32, values: &[u16]) -> bool {
        let ahead = (first.wrapping_neg() % 4) as usize;
        let (head, rest) = values.split_at(ahead.min(values.len()));
        let (words, tail) = rest.as_chunks::<4>();
        let start = first + head.len() as u32;
        let each = |from: u32, cells: &[u16]| {
            (from..).zip(cells).all(|(cell, value)| self.set_u16(table, cell, *value))
        };
        let word = |[a, b, c, d]: &[u16; 4]| {
            u64::from(*a) | u64::from(*b) << 16 | u64::from(*c) << 32 | u64::from(*d) << 48
        };
        each(first, head)
            && (start as usize / 4..)
                .zip(words)
                .all(|(at, cells)| self.memory.store(table, at, word(cells), Ordering::Release))
            && each(start + 4 * words.len() as u32, tail)
    }

    fn merge(&self, table: TableId, at: u32, shift: u32, mask: u64, value: u64) -> bool {
        let Some(word) = self.memory.words(table).get(at as usize) else { return false };
        let old = word.load(Ordering::Relaxed);
        let new = old & !(mask << shift) | value << shift;
        self.memory.store(table, at as usize, new, Ordering::Release)
    }

    /// Writes a row word by word, the first word last. One writer only. False beyond the end.
    pub(crate) fn set_row<T: Row>(&self, table: TableId, index: u32, row: &T) -> bool {
        let len = size_of::<T>() / 8;
        let from = self.place(table, index) as usize * len;
        if self.memory.words(table).len() < from + len {
            return false;
        }
        for (at, octets) in (from..from + len).zip(row.as_bytes().chunks_exact(8)).rev() {
            let mut value = [0; 8];
            value.copy_from_slice(octets);
            self.memory.store(table, at, u64::from_ne_bytes(value), Ordering::Release);
        }
        true
    }

    /// Makes a cell of this version equal to that of another. One writer only.
    pub(crate) fn copy_cell(&self, table: TableId, index: u32, from: View<'_>) {
        match table.cell_bytes() {
            2 => from.u16(table, index).is_some_and(|cell| self.set_u16(table, index, cell)),
            4 => from.u32(table, index).is_some_and(|cell| self.set_u32(table, index, cell)),
            bytes => {
                let len = bytes / 8;
                let [to, from] = [*self, from].map(|view| view.place(table, index) as usize * len);
                let words = self.memory.words(table);
                (0..len).all(|at| {
                    let value = words.get(from + at).map(|word| word.load(Ordering::Relaxed));
                    value.is_some_and(|value| {
                        self.memory.store(table, to + at, value, Ordering::Release)
                    })
                })
            }
        };
    }
}

/// The store of a word of table `control`, before which all stores so far are seen.
pub(crate) fn set_control(memory: &Memory, word: u32, value: u64) {
    memory.set_live(TableId::Control, word, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_cells_are_written_as_each_would_be(
            first in 0u32..40,
            values in prop::collection::vec(any::<u16>(), 0..40),
        ) {
            let capacity = Capacity::new(|_| 3);
            let [one, many] = [0; 2].map(|_| Memory::heap(&capacity));
            for memory in [&one, &many] {
                let all = (0..96).all(|cell| memory.at(0).set_u16(TableId::Rings, cell, 7));
                prop_assert!(all);
            }
            let fits = first as usize + values.len() <= 96;
            for (cell, value) in (first..).zip(&values) {
                one.at(0).set_u16(TableId::Rings, cell, *value);
            }
            prop_assert_eq!(many.at(0).set_u16s(TableId::Rings, first, &values), fits);
            let cells = |memory: &Memory| -> Vec<Option<u16>> {
                (0..96).map(|cell| memory.at(0).u16(TableId::Rings, cell)).collect()
            };
            prop_assert_eq!(cells(&one), cells(&many));
            prop_assert!(many.audit().damages.is_empty(), "sums are kept");
        }
    }
}
