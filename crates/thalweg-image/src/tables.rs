//! The tables as builders see them: memory, room, and the draft of the version to come.
//!
//! Cells that lead somewhere have two versions, one in force and one for the draft
//! ([`thalweg_abi::control`]). A builder takes room, writes there what no reader can reach, and notes
//! the stores of a part of the plan; [`Tables::publish`] takes them into the draft, or
//! [`Tables::abandon`] drops them. [`Tables::commit`] puts the draft in force with one store.
//!
//! What the draft no longer leads to is *leaving*: the version in force still leads there. When the
//! next plan begins no version does, and it is *retired*: free again after a grace period, which is
//! waited for only when the room (or a row's number) is wanted.

use crate::extent::Extents;
use crate::memory::{Memory, View, set_control};
use crate::plane::{Grace, Occupancy};
use crate::services::{masks as masks_of, masks_word};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_abi::table::Change;
use thalweg_abi::{NextHopRow, Row, TableId, control, fib4};
use thalweg_fault::point;
use zerocopy::FromZeros;

/// A table has no room, or ends before the index asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full {
    /// The table.
    pub table: TableId,
    /// Cells that were asked for.
    pub wanted: u32,
}

impl Full {
    /// The index asked for lies beyond the end of `table`.
    pub const fn beyond(table: TableId) -> Self {
        Self { table, wanted: u32::MAX }
    }

    /// Whether no room would ever help.
    pub const fn is_beyond(self) -> bool {
        self.wanted == u32::MAX
    }
}

#[derive(Clone, Copy, Debug)]
struct Range {
    table: TableId,
    first: u32,
    len: u32,
}

/// One aligned store that makes a change visible.
#[derive(Clone, Copy, Debug)]
struct Store {
    table: TableId,
    index: u32,
    value: u64,
}

/// Memory, room and the draft in hand.
pub(crate) struct Tables {
    memory: Memory,
    grace: Box<dyn Grace>,
    /// The epoch in force; the draft is the version of the next one.
    epoch: u64,
    /// Whether the draft's version has been made equal to the one in force, and may be written.
    open: bool,
    /// Cells in which the version in force differs from the other.
    changed: Vec<(TableId, u32)>,
    room: [Option<Extents>; TableId::ALL.len()],
    /// Rows in use of tables without allocator.
    counts: [u32; TableId::ALL.len()],
    stores: Vec<Store>,
    taken: Vec<Range>,
    replaced: Vec<Range>,
    /// What the draft has made unreachable, but the version in force still leads to.
    leaving: Retired,
    /// What no version leads to; a reader may still be looking at it.
    retired: Retired,
    urgent: bool,
    /// Waits for readers since the plan began.
    waits: u32,
    /// Whether the plan had to be put in force piece by piece.
    split: bool,
}

/// Room and next hops that nothing will lead to.
#[derive(Default)]
struct Retired {
    ranges: Vec<Range>,
    cells: [u32; TableId::ALL.len()],
    nexthops: HashSet<u32>,
}

impl Retired {
    fn push(&mut self, range: Range) {
        self.cells[range.table as usize] += range.len;
        self.ranges.push(range);
    }

    fn append(&mut self, mut other: Self) {
        self.ranges.append(&mut other.ranges);
        for (mine, theirs) in self.cells.iter_mut().zip(other.cells) {
            *mine += theirs;
        }
        self.nexthops.extend(other.nexthops);
    }

    fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.nexthops.is_empty()
    }
}

/// Waits for readers that a plan may cause for little room.
const FREE_WAITS: u32 = 8;

impl Tables {
    /// Tables over zeroed memory.
    pub fn new(memory: Memory, grace: Box<dyn Grace>) -> Self {
        let room = TableId::ALL.map(|table| extents(table, memory.cells(table)));
        let masks = [TableId::FlowSlots, TableId::Index].map(|table| memory.cells(table));
        let (word, value) = masks_word(masks_of(masks[0], masks[1]));
        set_control(&memory, word, value);
        set_control(&memory, control::IMAGE, number());
        Self {
            epoch: memory.epoch(),
            memory,
            grace,
            open: false,
            changed: Vec::new(),
            room,
            counts: [0; TableId::ALL.len()],
            stores: Vec::new(),
            taken: Vec::new(),
            replaced: Vec::new(),
            leaving: Retired::default(),
            retired: Retired::default(),
            urgent: false,
            waits: 0,
            split: false,
        }
    }

    /// A new plan begins.
    pub fn begin(&mut self) {
        self.waits = 0;
        self.split = false;
        self.open();
    }

    /// Makes the version that is not in force equal to the one that is, and the draft of the next.
    pub fn open(&mut self) {
        if self.open {
            return;
        }
        // From here on, readers of that version, two epochs old, find out that it does not hold.
        set_control(&self.memory, control::WRITING, self.epoch + 1);
        point("tables-writing");
        if cfg!(not(target_arch = "x86_64")) {
            // Kernel programs cannot ask for the order of two loads; elsewhere they need not.
            self.grace.wait();
        }
        let (draft, force) = (self.memory.at(self.epoch + 1), self.memory.at(self.epoch));
        for (table, index) in self.changed.drain(..) {
            draft.copy_cell(table, index, force);
        }
        point("tables-copied");
        self.retired.append(std::mem::take(&mut self.leaving));
        self.open = true;
    }

    /// Puts the draft in force by one store; says whether it was the whole plan.
    pub fn commit(&mut self, generation: u64) -> bool {
        if self.open && !self.changed.is_empty() {
            self.flip();
        }
        if self.memory.generation() != generation {
            set_control(&self.memory, control::GENERATION, generation);
            point("tables-generation");
        }
        !self.split
    }

    fn flip(&mut self) {
        self.epoch += 1;
        point("tables-drafted");
        set_control(&self.memory, control::EPOCH, self.epoch);
        point("tables-epoch");
        self.open = false;
    }

    /// The memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The version that the plan in hand makes.
    pub fn draft(&self) -> View<'_> {
        self.memory.at(self.epoch + 1)
    }

    /// Writes a cell of the draft. In tables without versions it must be one that no reader can come
    /// to; this holds for all of these functions.
    pub fn write_u16(&mut self, table: TableId, index: u32, value: u16) -> bool {
        self.note(table, index);
        self.draft().set_u16(table, index, value)
    }

    /// As [`Self::write_u16`], cells that follow one another in a table without versions.
    pub fn write_u16s(&mut self, table: TableId, first: u32, values: &[u16]) -> bool {
        debug_assert!(table.versions() == 1, "{table:?}");
        self.note(table, first);
        self.draft().set_u16s(table, first, values)
    }

    /// As [`Self::write_u16`], 4 octets.
    pub fn write_u32(&mut self, table: TableId, index: u32, value: u32) -> bool {
        self.note(table, index);
        self.draft().set_u32(table, index, value)
    }

    /// As [`Self::write_u16`], 8 octets.
    pub fn write_u64(&mut self, table: TableId, index: u32, value: u64) -> bool {
        self.note(table, index);
        self.draft().set_u64(table, index, value)
    }

    /// As [`Self::write_u16`], a row.
    pub fn write_row<T: Row>(&mut self, table: TableId, index: u32, row: &T) -> bool {
        self.note(table, index);
        self.draft().set_row(table, index, row)
    }

    /// Notes that the versions of a cell will differ.
    fn note(&mut self, table: TableId, index: u32) {
        debug_assert!(self.open, "{table:?} is written outside of a plan");
        if table.change() == Change::Versioned {
            self.changed.push((table, index));
        }
    }

    /// Buckets of the flow table and cells of the service index, each minus one.
    pub fn masks(&self) -> (u32, u32) {
        let cells = |table| self.memory.cells(table);
        crate::services::masks(cells(TableId::FlowSlots), cells(TableId::Index))
    }

    /// Sets a cell that is in force at once, whatever plan is under way.
    pub fn set_live(&mut self, table: TableId, index: u32, value: bool) -> Result<(), Full> {
        debug_assert!(table.change() == Change::Live, "{table:?}");
        let Some(before) = self.memory.set_live(table, index, u64::from(value)) else {
            return Err(Full::beyond(table));
        };
        self.count(table, before != 0, value);
        Ok(())
    }

    /// Whether the draft may use the reserve: true for what will set room free.
    pub fn set_urgent(&mut self, urgent: bool) {
        self.urgent = urgent;
    }

    /// Takes `len` cells in a row for the draft.
    pub fn take(&mut self, table: TableId, len: u32) -> Result<u32, Full> {
        let room = self.room[table as usize].as_mut();
        let first = room.and_then(|room| room.take(len, self.urgent));
        let first = first.ok_or(Full { table, wanted: len })?;
        self.taken.push(Range { table, first, len });
        Ok(first)
    }

    /// Notes a store of one cell of a table with versions.
    pub fn store(&mut self, table: TableId, index: u32, value: u64) {
        debug_assert!(table.change() == Change::Versioned, "{table:?}");
        self.stores.push(Store { table, index, value });
    }

    /// Notes that publication makes `len` cells from `first` unreachable.
    pub fn replace(&mut self, table: TableId, first: u32, len: u32) {
        if len != 0 {
            self.replaced.push(Range { table, first, len });
        }
    }

    /// Takes a part of the plan into the draft.
    pub fn publish(&mut self) {
        let stores = std::mem::take(&mut self.stores);
        for &Store { table, index, value } in &stores {
            if matches!(table, TableId::Fib4Pages | TableId::Fib6Dir) {
                let before = self.draft().u32(table, index).is_some_and(|cell| cell != 0);
                self.count(table, before, value != 0);
            }
            match table.cell_bytes() {
                4 => self.write_u32(table, index, value as u32),
                _ => self.write_u64(table, index, value),
            };
        }
        self.stores = stores;
        self.stores.clear();
        self.replaced.drain(..).for_each(|range| self.leaving.push(range));
        self.taken.clear();
        point("tables-part");
    }

    /// Drops a part of the plan before it is taken into the draft: its room is free at once.
    pub fn abandon(&mut self) {
        self.stores.clear();
        self.replaced.clear();
        for Range { table, first, len } in self.taken.drain(..) {
            if let Some(room) = &mut self.room[table as usize] {
                room.give(first, len);
            }
        }
    }

    /// Zeroes a next hop that nothing will lead to, when no reader can be looking at it.
    pub fn retire_row(&mut self, index: u32) {
        self.leaving.nexthops.insert(index);
    }

    /// Makes sure that a next hop is not one that a reader may still be looking at.
    pub fn reuse_row(&mut self, index: u32) {
        if self.leaving.nexthops.contains(&index) {
            self.give_way();
        }
        if self.retired.nexthops.contains(&index) {
            self.settle();
        }
    }

    /// Waits for readers if that may yield what was asked for; says whether to try again. A plan that
    /// does not fit at all would wait once per change, so after some waits only much room is worth
    /// another.
    ///
    /// What the version in force leads to is given up last: then the plan is in force piece by piece.
    pub fn reclaim(&mut self, full: Full) -> bool {
        let at = full.table as usize;
        let (retired, leaving) = (self.retired.cells[at], self.leaving.cells[at]);
        let much = self.memory.cells(full.table) / cells_per_unit(full.table) / 64;
        let all = retired + leaving;
        if all < full.wanted || self.waits >= FREE_WAITS && all < much {
            return false;
        }
        if retired < full.wanted.max(much) && leaving > 0 {
            self.give_way();
        }
        self.settle();
        true
    }

    /// Frees whatever waits can free; says whether that was anything.
    pub fn reclaim_all(&mut self) -> bool {
        if !self.leaving.is_empty() {
            self.give_way();
        }
        let any = !self.retired.is_empty();
        self.settle();
        any
    }

    /// Puts the draft as it is in force, so that nothing leads to what it has replaced.
    fn give_way(&mut self) {
        self.split = true;
        self.flip();
        self.open();
    }

    /// Waits for readers when much room is retired.
    pub fn tidy(&mut self) {
        let much = |table: &TableId| {
            let retired = self.retired.cells[*table as usize];
            retired > self.memory.cells(*table) / cells_per_unit(*table) / 8
        };
        if self.retired.ranges.len() > 1 << 16 || TableId::ALL.iter().any(much) {
            self.settle();
        }
    }

    /// Between plans: frees everything that plans have replaced so far.
    pub fn free_all(&mut self) {
        self.open();
        self.settle();
    }

    /// Waits for all readers, then frees everything that is retired.
    fn settle(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        self.grace.wait();
        self.waits += 1;
        let retired = std::mem::take(&mut self.retired);
        for Range { table, first, len } in retired.ranges {
            if let Some(room) = &mut self.room[table as usize] {
                room.give(first, len);
            }
        }
        for index in retired.nexthops {
            self.draft().set_row(TableId::NextHops, index, &NextHopRow::new_zeroed());
        }
    }

    /// Writes a row of the draft and keeps count of rows that are not zero.
    pub fn set_row<T: Row>(&mut self, table: TableId, index: u32, row: &T) -> Result<(), Full> {
        let old: T = self.draft().row(table, index).ok_or(Full::beyond(table))?;
        self.write_row(table, index, row);
        self.count(table, in_use(&old), in_use(row));
        Ok(())
    }

    /// Counts a row in or out.
    pub fn count(&mut self, table: TableId, before: bool, after: bool) {
        let count = &mut self.counts[table as usize];
        *count = (*count + u32::from(after)).saturating_sub(u32::from(before));
    }

    /// How full a table is: retired room counts as free.
    pub fn occupancy(&self, table: TableId) -> Occupancy {
        let (capacity, at) = (self.memory.cells(table), table as usize);
        let taken = match table {
            // Others than the writer take states down, see [`Memory::take_down`].
            TableId::States => {
                let up = |cell: &&AtomicU64| cell.load(Ordering::Relaxed) != 0;
                self.memory.words(table).iter().filter(up).count() as u32
            }
            _ => self.room[at].as_ref().map_or(self.counts[at], Extents::used),
        };
        let used = taken - self.retired.cells[at] - self.leaving.cells[at];
        let used = used * cells_per_unit(table);
        let bytes = self.memory.words(table).len() as u64 * 8;
        Occupancy { table, used: used + fixed(table).min(capacity), capacity, bytes }
    }
}

/// A number for new memory that none before has had, but by a chance of 2^-32.
fn number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) >> 32
}

fn in_use<T: Row>(row: &T) -> bool {
    row.as_bytes().iter().any(|octet| *octet != 0)
}

/// Cells that one allocated unit stands for: some tables are handed out in blocks.
const fn cells_per_unit(table: TableId) -> u32 {
    match table {
        TableId::Fib4Root => fib4::PAGE,
        TableId::Fib4Long => fib4::BLOCK,
        TableId::Fib6Pages => 1 << thalweg_abi::fib6::PAGE_BITS,
        _ => 1,
    }
}

/// Cells in use from the start.
const fn fixed(table: TableId) -> u32 {
    match table {
        TableId::Fib4Root => 256 * fib4::PAGE,
        _ => 0,
    }
}

/// Free room of the tables that are handed out piece by piece. A sixteenth, within bounds, is kept
/// for removals: they may need room before they set some free.
fn extents(table: TableId, cells: u32) -> Option<Extents> {
    let units = cells / cells_per_unit(table);
    let (end, most) = match table {
        // Pages below 256 are those of the default VRF; 0 means "no page" to the others.
        TableId::Fib4Root => return Some(Extents::new(256, units, 0)),
        TableId::Fib4Long => (units.min(u32::from(fib4::LONG)), 16),
        TableId::Fib6Pages => (units, 0),
        TableId::Buckets => (units, 0),
        TableId::Fib4Leaves | TableId::Fib6Nodes | TableId::Fib6Leaves => (units, 1024),
        TableId::Frontends | TableId::Rings | TableId::Backends => (units, 1024),
        TableId::Ranges => (units, 64),
        _ => return None,
    };
    Some(Extents::new(0, end, (end / 16).min(most)))
}
