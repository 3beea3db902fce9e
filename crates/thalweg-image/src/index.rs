//! The index that leads keys to rows.
//!
//! A key stands within [`PROBES`] places from its first one, and no empty cell before it: readers go no
//! further. Where all of these are taken, others make room: one that may stand further on moves there
//! (hopscotch hashing; Herlihy, Shavit, Tzafrir, DISC 2008). Without that one key in some hundred thousand
//! would find no place in a table that is an eighth full.

use crate::tables::{Full, Tables};
use thalweg_abi::TableId;
use thalweg_abi::service::{self, IndexWord, PROBES};

/// A cell that holds nothing but may stand before one that does: no key's, and not empty.
const GRAVE: IndexWord = IndexWord(1 << 32);

/// How far a free cell is looked for.
const FAR: u32 = 1 << 12;

/// Table `service_index`.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// How far from its first place the key in each cell stands.
    offsets: Vec<u8>,
}

impl Index {
    /// Makes a key lead to a row, where it led to `before`.
    pub fn put(
        &mut self,
        tables: &mut Tables,
        key: u64,
        before: Option<u32>,
        row: u32,
    ) -> Result<(), Full> {
        let place = match before {
            Some(before) => place_of(tables, key, before),
            None => self.make_room(tables, key),
        };
        let place = place.ok_or(Full::beyond(TableId::Index))?;
        tables.write_u64(TableId::Index, place, IndexWord::new(key, row).0);
        if before.is_none() {
            tables.count(TableId::Index, false, true);
        }
        Ok(())
    }

    /// A cell for a key, free now; none, and nothing is changed, where nobody can make room.
    fn make_room(&mut self, tables: &mut Tables, key: u64) -> Option<u32> {
        let mask = tables.masks().1;
        self.offsets.resize(mask as usize + 1, 0);
        let first = service::first_place(key, mask);
        let at = |step: u32| first.wrapping_add(step) & mask;
        let is_free = |step: &u32| {
            let cell = cell(tables, at(*step));
            cell.is_empty() || cell == GRAVE
        };
        let mut free = (0..FAR.min(mask + 1)).find(is_free)?;
        let mut moves = Vec::new();
        while free >= PROBES {
            // The one that stands furthest ahead brings the free cell furthest back.
            let may_go =
                |step: &u32| u32::from(self.offsets[at(*step) as usize]) + (free - *step) < PROBES;
            let from = (free - (PROBES - 1)..free).find(may_go)?;
            moves.push((from, free));
            free = from;
        }
        for (from, to) in moves {
            let (word, offset) = (cell(tables, at(from)), self.offsets[at(from) as usize]);
            tables.write_u64(TableId::Index, at(to), word.0);
            self.offsets[at(to) as usize] = offset + (to - from) as u8;
        }
        self.offsets[at(free) as usize] = free as u8;
        Some(at(free))
    }

    /// Makes a key lead nowhere.
    pub fn remove(&mut self, tables: &mut Tables, key: u64, row: u32) {
        let Some(place) = place_of(tables, key, row) else { return };
        let mask = tables.masks().1;
        let next = cell(tables, place.wrapping_add(1) & mask);
        if !next.is_empty() {
            tables.write_u64(TableId::Index, place, GRAVE.0);
        } else {
            tables.write_u64(TableId::Index, place, 0);
            // Nothing stands behind the graves before it any more.
            let mut place = place.wrapping_sub(1) & mask;
            while cell(tables, place) == GRAVE {
                tables.write_u64(TableId::Index, place, 0);
                place = place.wrapping_sub(1) & mask;
            }
        }
        tables.count(TableId::Index, true, false);
    }
}

fn cell(tables: &Tables, place: u32) -> IndexWord {
    IndexWord(tables.draft().u64(TableId::Index, place).unwrap_or(0))
}

/// Where the cell stands that leads a key to a row.
fn place_of(tables: &Tables, key: u64, row: u32) -> Option<u32> {
    let mask = tables.masks().1;
    let first = service::first_place(key, mask);
    let mut places = (0..PROBES).map(|probe| first.wrapping_add(probe) & mask);
    places.find(|place| cell(tables, *place) == IndexWord::new(key, row))
}
