//! Allocator of contiguous cells of one table: best fit, free neighbors joined.
//!
//! What was never used is one extent at the end, and best fit turns to it last, so a table fills
//! from the front and a first load costs next to nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Free cells of a table.
#[derive(Debug)]
pub(crate) struct Extents {
    by_start: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
    first: u32,
    end: u32,
    free: u32,
    reserve: u32,
}

impl Extents {
    /// All cells from `first` below `end` are free. The last `reserve` of them are handed out only
    /// to what is urgent.
    pub fn new(first: u32, end: u32, reserve: u32) -> Self {
        let mut extents = Self {
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
            first,
            end: end.max(first),
            free: 0,
            reserve,
        };
        extents.give(first, end.saturating_sub(first));
        extents
    }

    /// Takes `len` cells that follow one another; none when no extent is long enough.
    pub fn take(&mut self, len: u32, urgent: bool) -> Option<u32> {
        if len == 0 || !urgent && self.free < len.saturating_add(self.reserve) {
            return None;
        }
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        self.free -= len;
        Some(start)
    }

    /// Gives `len` cells from `start` back.
    pub fn give(&mut self, start: u32, len: u32) {
        if len == 0 {
            return;
        }
        self.free += len;
        let (mut start, mut len) = (start, len);
        if let Some((&before, &size)) = self.by_start.range(..start).next_back() {
            debug_assert!(before + size <= start, "cells {start}+{len} given back twice");
            if before + size == start {
                self.remove(before, size);
                (start, len) = (before, size + len);
            }
        }
        if let Some(&size) = self.by_start.get(&(start + len)) {
            self.remove(start + len, size);
            len += size;
        }
        self.insert(start, len);
    }

    /// Cells handed out.
    pub fn used(&self) -> u32 {
        self.end - self.first - self.free
    }

    fn insert(&mut self, start: u32, len: u32) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: u32, len: u32) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_hole_that_fits_is_used_first() {
        let mut extents = Extents::new(0, 100, 0);
        let taken: Vec<_> = [10, 1, 4, 1, 20].map(|len| extents.take(len, false)).to_vec();
        assert_eq!(taken, [0, 10, 11, 15, 16].map(Some));
        extents.give(0, 10);
        extents.give(11, 4);
        assert_eq!(extents.take(3, false), Some(11));
        assert_eq!(extents.take(9, false), Some(0));
        assert_eq!(extents.used(), 1 + 3 + 1 + 20 + 9);
    }

    #[test]
    fn the_reserve_is_for_what_is_urgent() {
        let mut extents = Extents::new(1, 11, 4);
        assert_eq!(extents.take(7, false), None);
        assert_eq!(extents.take(6, false), Some(1));
        assert_eq!(extents.take(1, false), None);
        assert_eq!(extents.take(4, true), Some(7));
        assert_eq!(extents.take(1, true), None);
    }

    proptest! {
        #[test]
        fn extents_never_overlap_and_join_again(lens in prop::collection::vec(1..40_u32, 1..60)) {
            let mut extents = Extents::new(0, 600, 0);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (turn, len) in lens.into_iter().enumerate() {
                if turn % 3 == 2 && !held.is_empty() {
                    let (start, len) = held.swap_remove(turn * 7 % held.len());
                    extents.give(start, len);
                } else if let Some(start) = extents.take(len, false) {
                    prop_assert!(start + len <= 600);
                    for &(other, size) in &held {
                        prop_assert!(start + len <= other || other + size <= start);
                    }
                    held.push((start, len));
                }
            }
            for (start, len) in held {
                extents.give(start, len);
            }
            prop_assert_eq!(extents.used(), 0);
            prop_assert_eq!(extents.take(600, false), Some(0));
        }
    }
}
