//! Next hop rows in force: interned, counted, never changed while published.

use crate::hash::Fold;
use crate::pool::Pool;
use hashbrown::HashMap;
use std::hash::BuildHasherDefault;
use thalweg_abi::{NextHopId, NextHopRow};
use thalweg_image::Change;

/// All rows by content.
#[derive(Debug)]
pub struct Rows {
    ids: HashMap<NextHopRow, u32, BuildHasherDefault<Fold>>,
    rows: Vec<Option<(NextHopRow, u32)>>,
    pool: Pool,
    limit: u32,
    /// Rows that this plan adds, in order.
    pub added: Vec<Change>,
    idle: Vec<u32>,
}

impl Rows {
    /// No rows; numbers go to `limit`.
    pub fn new(limit: u32) -> Self {
        Self {
            ids: HashMap::default(),
            rows: Vec::new(),
            pool: Pool::new(1, limit),
            limit,
            added: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// The number of a row, with one more holder; none when numbers are used up.
    pub fn hold(&mut self, row: NextHopRow) -> Option<u32> {
        self.hold_with_backup(row, row.backup).map(|(id, _)| id)
    }

    /// Like [`Self::hold`] with a backup; tells whether the row is new and so keeps the backup.
    pub fn hold_with_backup(&mut self, row: NextHopRow, backup: u32) -> Option<(u32, bool)> {
        let row = NextHopRow { backup, ..row };
        if let Some(id) = self.ids.get(&row) {
            if let Some((_, holders)) = self.rows.get_mut(*id as usize).and_then(Option::as_mut) {
                *holders += 1;
            }
            return Some((*id, false));
        }
        let id = self.pool.take()?;
        if self.rows.len() <= id as usize {
            self.rows.resize(id as usize + 1, None);
        }
        self.rows[id as usize] = Some((row, 1));
        self.ids.insert(row, id);
        self.added.push(Change::NextHop(NextHopId(id), row));
        Some((id, true))
    }

    /// One holder less.
    pub fn release(&mut self, id: u32) {
        if let Some((_, holders)) = self.rows.get_mut(id as usize).and_then(Option::as_mut) {
            *holders -= 1;
            if *holders == 0 {
                self.idle.push(id);
            }
        }
    }

    /// Frees the rows that nobody holds any more; they and their backups rest until the next plan.
    pub fn collect(&mut self) -> Vec<Change> {
        let mut freed = Vec::new();
        while let Some(id) = self.idle.pop() {
            let Some((row, 0)) = self.rows.get(id as usize).copied().flatten() else { continue };
            self.rows[id as usize] = None;
            self.ids.remove(&row);
            self.pool.give(id);
            freed.push(Change::FreeNextHop(NextHopId(id)));
            if row.backup != 0 {
                self.release(row.backup);
            }
        }
        freed
    }

    /// The numbers that plans take from.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// A row by number.
    pub fn get(&self, id: NextHopId) -> Option<&NextHopRow> {
        self.rows.get(id.0 as usize)?.as_ref().map(|(row, _)| row)
    }

    /// All rows with their numbers and holders.
    pub fn iter(&self) -> impl Iterator<Item = (NextHopId, &NextHopRow, u32)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(id, cell)| cell.as_ref().map(|(row, n)| (NextHopId(id as u32), row, *n)))
    }

    /// Rows in use and rows there may be.
    pub fn usage(&self) -> (u32, u32) {
        (self.ids.len() as u32, self.limit)
    }

    /// Whether another row would fit.
    pub fn has_room(&self) -> bool {
        self.pool.has_free()
    }
}
