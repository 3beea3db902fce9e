//! Frontends, the sets of backends behind them, and the index that leads to both.

use crate::backends::Backends;
use crate::change::{BackendSet, Frontend, FrontendKey, SetId};
use crate::index::Index;
use crate::tables::{Full, Tables};
use std::collections::HashMap;
use thalweg_abi::service::{self, Choice, MAX_RANGE_ROWS, RangeRow, VIP_WORDS};
use thalweg_abi::{BackendRow, FrontendRow, TableId, control};

/// What is in the tables.
#[derive(Debug, Default)]
pub(crate) struct Services {
    frontends: HashMap<FrontendKey, Kept>,
    sets: HashMap<SetId, Place>,
    /// The index leads to the last row of each.
    backends: Backends,
    /// How many frontends have each bit of table `vips`.
    vips: Vec<u32>,
    index: Index,
}

/// A frontend in force.
#[derive(Clone, Copy, Debug)]
struct Kept {
    row: u32,
    sets: [SetId; 2],
    /// First of its ranges, and how many.
    ranges: (u32, u32),
}

/// Where a set lies.
#[derive(Clone, Debug, Default)]
struct Place {
    choice: Choice,
    ids: Box<[u64]>,
    users: u32,
}

impl Services {
    /// Writes a set of backends under a number not in use. Nothing leads to it before a frontend does,
    /// but its backends count as serving.
    pub fn set_backends(
        &mut self,
        tables: &mut Tables,
        id: SetId,
        set: &BackendSet,
    ) -> Result<(), Full> {
        let placed = self.place(tables, set);
        match placed {
            Ok(place) => {
                tables.publish();
                self.sets.insert(id, place);
                Ok(())
            }
            Err(full) => {
                tables.abandon();
                Err(full)
            }
        }
    }

    fn place(&mut self, tables: &mut Tables, set: &BackendSet) -> Result<Place, Full> {
        let mut place = Place::default();
        if set.backends.is_empty() {
            return Ok(place);
        }
        let first = take(tables, TableId::Backends, set.backends.len() as u32)?;
        place.choice = Choice { ring: 0, size: 1, backends: first };
        if set.backends.len() > 1 {
            let ring = take(tables, TableId::Rings, set.ring.len() as u32)?;
            place.choice = Choice { ring, size: set.ring.len() as u32, backends: first };
            tables.write_u16s(TableId::Rings, ring, &set.ring);
        }
        for (row, backend) in (first..).zip(&set.backends) {
            tables.write_row(TableId::Backends, row, backend);
        }
        for (done, (row, backend)) in (first..).zip(&set.backends).enumerate() {
            if let Err(full) = self.enter(tables, row, backend) {
                for (row, backend) in (first..).zip(&set.backends[..done]) {
                    self.leave(tables, row, backend.id);
                }
                return Err(full);
            }
        }
        place.ids = set.backends.iter().map(|backend| backend.id).collect();
        Ok(place)
    }

    /// Makes a backend's number lead to its row.
    fn enter(&mut self, tables: &mut Tables, row: u32, backend: &BackendRow) -> Result<(), Full> {
        let before = self.backends.last(backend.id);
        self.index.put(tables, service::backend_key(backend.id), before, row)?;
        self.backends.push(backend.id, row);
        Ok(())
    }

    /// Makes a backend's number lead to another of its rows, or nowhere if this was the last.
    fn leave(&mut self, tables: &mut Tables, row: u32, id: u64) {
        let last = self.backends.last(id);
        let (key, left) = (service::backend_key(id), self.backends.remove(id, row));
        match (last, left) {
            (Some(last), None) => self.index.remove(tables, key, last),
            (Some(last), Some(left)) if last != left => {
                // The cell is there, so there is room for it.
                let _ = self.index.put(tables, key, Some(last), left);
            }
            _ => {}
        }
    }

    /// Takes a set out that no frontend has; false, and nothing changes, if one has.
    pub fn free_backends(&mut self, tables: &mut Tables, id: SetId) -> bool {
        match self.sets.get(&id) {
            None => return true,
            Some(place) if place.users > 0 => return false,
            Some(_) => {}
        }
        let Some(place) = self.sets.remove(&id) else { return true };
        for (row, id) in (place.choice.backends..).zip(&place.ids) {
            self.leave(tables, row, *id);
        }
        if place.choice.size > 1 {
            tables.replace(TableId::Rings, place.choice.ring, place.choice.size);
        }
        tables.replace(TableId::Backends, place.choice.backends, place.ids.len() as u32);
        tables.publish();
        true
    }

    /// Sets a frontend, or replaces it at once.
    pub fn set_frontend(
        &mut self,
        tables: &mut Tables,
        key: FrontendKey,
        frontend: &Frontend,
    ) -> Result<(), Full> {
        let choice = |id: SetId| match self.sets.get(&id) {
            Some(place) => Ok(place.choice),
            None => Err(Full::beyond(TableId::Backends)),
        };
        let count = |id: SetId| match self.sets.get(&id) {
            Some(place) if frontend.affinity != 0 => place.ids.len() as u16,
            _ => 0,
        };
        let ranges = write_ranges(tables, &frontend.ranges)?;
        let row = FrontendRow {
            address: key.address,
            port: key.port,
            protocol: key.protocol,
            flags: frontend.flags,
            affinity: frontend.affinity,
            internal: choice(frontend.internal)?,
            external: choice(frontend.external)?,
            service: frontend.service,
            ranges: ranges.0,
            ranges_len: ranges.1,
            counts: [count(frontend.internal), count(frontend.external)],
        };
        let at = match take(tables, TableId::Frontends, 1) {
            Ok(at) => at,
            Err(full) => {
                tables.abandon();
                return Err(full);
            }
        };
        let before = self.frontends.get(&key).copied();
        tables.write_row(TableId::Frontends, at, &row);
        if let Err(full) = self.index.put(tables, key.hash(), before.map(|kept| kept.row), at) {
            tables.abandon();
            return Err(full);
        }
        if let Some(before) = before {
            before.retire(tables);
            self.use_sets(before.sets, false);
        } else {
            self.count_vip(tables, key, true);
        }
        tables.publish();
        let sets = [frontend.internal, frontend.external];
        self.use_sets(sets, true);
        self.frontends.insert(key, Kept { row: at, sets, ranges });
        Ok(())
    }

    /// Takes a frontend out.
    pub fn remove_frontend(&mut self, tables: &mut Tables, key: FrontendKey) {
        let Some(kept) = self.frontends.remove(&key) else { return };
        self.index.remove(tables, key.hash(), kept.row);
        kept.retire(tables);
        self.count_vip(tables, key, false);
        self.use_sets(kept.sets, false);
        tables.publish();
    }

    fn use_sets(&mut self, sets: [SetId; 2], more: bool) {
        for id in sets {
            if let Some(place) = self.sets.get_mut(&id) {
                place.users = if more { place.users + 1 } else { place.users.saturating_sub(1) };
            }
        }
    }

    fn count_vip(&mut self, tables: &mut Tables, key: FrontendKey, more: bool) {
        // No packet is sent to what these stand for.
        if matches!(key.protocol, service::RANGE | service::FLOATING) {
            return;
        }
        self.vips.resize(VIP_WORDS as usize * 64, 0);
        let bit = service::vip_bit(key.address);
        let count = &mut self.vips[bit as usize];
        let before = *count;
        *count = if more { before + 1 } else { before.saturating_sub(1) };
        if (before == 0) == (*count == 0) {
            return;
        }
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        let old = tables.draft().u64(TableId::Vips, word).unwrap_or(0);
        let new = if more { old | mask } else { old & !mask };
        tables.write_u64(TableId::Vips, word, new);
    }
}

impl Kept {
    /// Nothing leads to its rows any more.
    fn retire(&self, tables: &mut Tables) {
        tables.replace(TableId::Frontends, self.row, 1);
        if self.ranges.1 > 0 {
            tables.replace(TableId::Ranges, self.ranges.0, self.ranges.1);
        }
    }
}

/// Writes ranges of sources: the first row, and how many there are.
fn write_ranges(tables: &mut Tables, ranges: &[RangeRow]) -> Result<(u32, u32), Full> {
    if ranges.is_empty() {
        return Ok((0, 0));
    }
    if ranges.len() > MAX_RANGE_ROWS as usize {
        return Err(Full::beyond(TableId::Ranges));
    }
    let first = take(tables, TableId::Ranges, ranges.len() as u32)?;
    for (at, row) in (first..).zip(ranges) {
        tables.write_row(TableId::Ranges, at, row);
    }
    Ok((first, ranges.len() as u32))
}

/// Takes room, waiting for readers where that helps.
fn take(tables: &mut Tables, table: TableId, len: u32) -> Result<u32, Full> {
    match tables.take(table, len) {
        Err(full) if tables.reclaim(full) => tables.take(table, len),
        taken => taken,
    }
}

impl FrontendKey {
    fn hash(self) -> u64 {
        service::key(self.address, self.port, self.protocol)
    }
}

/// Sizes of the flow table and the index, as programs want them: powers of two, minus one.
pub(crate) fn masks(buckets: u32, index: u32) -> (u32, u32) {
    let mask = |cells: u32| match cells {
        0 => 0,
        cells => (1 << cells.ilog2()) - 1,
    };
    (mask(buckets), mask(index))
}

/// The word of table `control` that tells both.
pub(crate) const fn masks_word((buckets, index): (u32, u32)) -> (u32, u64) {
    (control::MASKS, (index as u64) << 32 | buckets as u64)
}
