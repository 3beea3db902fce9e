//! The memory that tables live in: arrays of 64-bit words with one writer and any readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_abi::{Row, TableId};

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

    /// Cells of a table: what its indices count.
    pub fn cells(&self, table: TableId) -> u32 {
        self.rows(table).saturating_mul(table.cells_per_row() as u32)
    }
}

/// All tables of one image.
#[derive(Clone)]
pub struct Memory {
    regions: [Region; TableId::ALL.len()],
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

    /// Memory from a function of the table.
    pub fn from_regions(region: impl Fn(TableId) -> Region) -> Self {
        Self { regions: TableId::ALL.map(region) }
    }

    /// The words of a table.
    pub fn words(&self, table: TableId) -> &[AtomicU64] {
        (*self.regions[table as usize]).as_ref()
    }

    /// Cells of a table: what its indices count.
    pub fn cells(&self, table: TableId) -> u32 {
        (self.words(table).len() * 8 / table.cell_bytes()) as u32
    }

    /// Reads a cell of 8 octets; none beyond the end.
    pub fn u64(&self, table: TableId, index: u32) -> Option<u64> {
        self.words(table).get(index as usize).map(|word| word.load(Ordering::Acquire))
    }

    /// Reads a cell of 4 octets; none beyond the end.
    pub fn u32(&self, table: TableId, index: u32) -> Option<u32> {
        let word = self.u64(table, index / 2)?;
        Some((word >> (index % 2 * 32)) as u32)
    }

    /// Reads a cell of 2 octets; none beyond the end.
    pub fn u16(&self, table: TableId, index: u32) -> Option<u16> {
        let word = self.u64(table, index / 4)?;
        Some((word >> (index % 4 * 16)) as u16)
    }

    /// Reads a row; none beyond the end.
    ///
    /// A row of several words is not read at once: it must not change while published.
    pub fn row<T: Row>(&self, table: TableId, index: u32) -> Option<T> {
        let mut row = T::new_zeroed();
        let len = size_of::<T>() / 8;
        let from = index as usize * len;
        let words = self.words(table).get(from..from + len)?;
        for (octets, word) in row.as_mut_bytes().chunks_exact_mut(8).zip(words) {
            octets.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
        }
        Some(row)
    }

    /// Writes a cell of 8 octets with release order. One writer only. False beyond the end.
    pub fn set_u64(&self, table: TableId, index: u32, value: u64) -> bool {
        let Some(word) = self.words(table).get(index as usize) else { return false };
        word.store(value, Ordering::Release);
        true
    }

    /// Writes a cell of 4 octets; its neighbor in the word is stored again unchanged. One writer
    /// only. False beyond the end.
    pub fn set_u32(&self, table: TableId, index: u32, value: u32) -> bool {
        self.merge(table, index / 2, index % 2 * 32, 0xffff_ffff, u64::from(value))
    }

    /// Writes a cell of 2 octets; its neighbors in the word are stored again unchanged. One writer
    /// only. False beyond the end.
    pub fn set_u16(&self, table: TableId, index: u32, value: u16) -> bool {
        self.merge(table, index / 4, index % 4 * 16, 0xffff, u64::from(value))
    }

    fn merge(&self, table: TableId, index: u32, shift: u32, mask: u64, value: u64) -> bool {
        let Some(word) = self.words(table).get(index as usize) else { return false };
        let old = word.load(Ordering::Relaxed);
        word.store(old & !(mask << shift) | value << shift, Ordering::Release);
        true
    }

    /// Writes a row word by word, the first word last. One writer only. False beyond the end.
    pub fn set_row<T: Row>(&self, table: TableId, index: u32, row: &T) -> bool {
        let len = size_of::<T>() / 8;
        let from = index as usize * len;
        let Some(words) = self.words(table).get(from..from + len) else { return false };
        let bytes = row.as_bytes();
        for (word, octets) in words.iter().zip(bytes.chunks_exact(8)).rev() {
            let mut value = [0; 8];
            value.copy_from_slice(octets);
            word.store(u64::from_ne_bytes(value), Ordering::Release);
        }
        true
    }
}
