//! The tables as builders see them: memory, room, and a draft that is published or dropped whole.
//!
//! A builder takes room, writes there what no reader can reach yet, and notes the stores that will
//! make it reachable. [`Tables::publish`] does the stores; what they made unreachable is retired:
//! it becomes free again after a grace period, which is waited for only when the room (or a row's
//! number) is wanted.

use crate::extent::Extents;
use crate::memory::Memory;
use crate::plane::{Grace, Occupancy};
use std::collections::HashSet;
use thalweg_abi::{NextHopRow, Row, TableId, fib4};
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
    room: [Option<Extents>; TableId::ALL.len()],
    /// Rows in use of tables without allocator.
    counts: [u32; TableId::ALL.len()],
    stores: Vec<Store>,
    taken: Vec<Range>,
    replaced: Vec<Range>,
    retired: Vec<Range>,
    retired_cells: [u32; TableId::ALL.len()],
    retired_rows: HashSet<(TableId, u32)>,
    urgent: bool,
    /// Waits for readers since the plan began.
    waits: u32,
}

/// Waits for readers that a plan may cause for little room.
const FREE_WAITS: u32 = 8;

impl Tables {
    /// Tables over zeroed memory.
    pub fn new(memory: Memory, grace: Box<dyn Grace>) -> Self {
        let room = TableId::ALL.map(|table| extents(table, memory.cells(table)));
        Self {
            memory,
            grace,
            room,
            counts: [0; TableId::ALL.len()],
            stores: Vec::new(),
            taken: Vec::new(),
            replaced: Vec::new(),
            retired: Vec::new(),
            retired_cells: [0; TableId::ALL.len()],
            retired_rows: HashSet::new(),
            urgent: false,
            waits: 0,
        }
    }

    /// A new plan begins.
    pub fn begin(&mut self) {
        self.waits = 0;
    }

    /// The memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
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

    /// Notes a store of one cell (of one 64-bit word in `fib6_nodes`) for publication.
    pub fn store(&mut self, table: TableId, index: u32, value: u64) {
        self.stores.push(Store { table, index, value });
    }

    /// Notes that publication makes `len` cells from `first` unreachable.
    pub fn replace(&mut self, table: TableId, first: u32, len: u32) {
        if len != 0 {
            self.replaced.push(Range { table, first, len });
        }
    }

    /// Makes the draft visible, store by store.
    pub fn publish(&mut self) {
        let stores = std::mem::take(&mut self.stores);
        for &Store { table, index, value } in &stores {
            if matches!(table, TableId::Fib4Pages | TableId::Fib6Dir) {
                let before = self.memory.u32(table, index).is_some_and(|cell| cell != 0);
                self.count(table, before, value != 0);
            }
            match table.cell_bytes() {
                2 => self.memory.set_u16(table, index, value as u16),
                4 => self.memory.set_u32(table, index, value as u32),
                _ => self.memory.set_u64(table, index, value),
            };
        }
        self.stores = stores;
        self.stores.clear();
        for range in self.replaced.drain(..) {
            self.retired_cells[range.table as usize] += range.len;
            self.retired.push(range);
        }
        self.taken.clear();
    }

    /// Drops the draft: nobody has seen it, so its room is free at once.
    pub fn abandon(&mut self) {
        self.stores.clear();
        self.replaced.clear();
        for Range { table, first, len } in self.taken.drain(..) {
            if let Some(room) = &mut self.room[table as usize] {
                room.give(first, len);
            }
        }
    }

    /// Zeroes a row that nothing refers to any more, after the next grace period.
    pub fn retire_row(&mut self, table: TableId, index: u32) {
        self.retired_rows.insert((table, index));
    }

    /// Makes sure that a row is not one that a reader may still be looking at.
    pub fn reuse_row(&mut self, table: TableId, index: u32) {
        if self.retired_rows.contains(&(table, index)) {
            self.settle();
        }
    }

    /// Whether waiting for readers may yield what was asked for. A plan that does not fit at all
    /// would wait once per change, so after some waits only much room is worth another.
    pub fn may_reclaim(&self, full: Full) -> bool {
        let retired = self.retired_cells[full.table as usize];
        let much = self.memory.cells(full.table) / cells_per_unit(full.table) / 64;
        retired >= full.wanted && (self.waits < FREE_WAITS || retired >= much)
    }

    /// Whether there is anything to wait for.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Waits for readers when much room is retired.
    pub fn tidy(&mut self) {
        let much = |table: &TableId| {
            let retired = self.retired_cells[*table as usize];
            retired > self.memory.cells(*table) / cells_per_unit(*table) / 8
        };
        if self.retired.len() > 1 << 16 || TableId::ALL.iter().any(much) {
            self.settle();
        }
    }

    /// Waits for all readers, then frees everything that is retired.
    pub fn settle(&mut self) {
        if self.retired.is_empty() && self.retired_rows.is_empty() {
            return;
        }
        self.grace.wait();
        self.waits += 1;
        self.retired_cells = [0; TableId::ALL.len()];
        for Range { table, first, len } in self.retired.drain(..) {
            if let Some(room) = &mut self.room[table as usize] {
                room.give(first, len);
            }
        }
        for (table, index) in std::mem::take(&mut self.retired_rows) {
            match table {
                TableId::NextHops => self.memory.set_row(table, index, &NextHopRow::new_zeroed()),
                _ => self.memory.set_u64(table, index, 0),
            };
        }
    }

    /// Writes a row at once and keeps count of rows that are not zero.
    pub fn set_row<T: Row>(&mut self, table: TableId, index: u32, row: &T) -> Result<(), Full> {
        let old: T = self.memory.row(table, index).ok_or(Full::beyond(table))?;
        self.memory.set_row(table, index, row);
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
        let taken = self.room[at].as_ref().map_or(self.counts[at], Extents::used);
        let used = taken - self.retired_cells[at];
        let used = used * cells_per_unit(table);
        let bytes = self.memory.words(table).len() as u64 * 8;
        Occupancy { table, used: used + fixed(table).min(capacity), capacity, bytes }
    }
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
        _ => return None,
    };
    Some(Extents::new(0, end, (end / 16).min(most)))
}
