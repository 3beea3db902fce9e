//! Rows of backends by number: the same one may stand in several sets.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Which rows are a backend's. There are as many backends as anything here, and nearly all have one row.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    /// The last row of each.
    last: Numbers<u32>,
    /// Rows before the last, of those that have some.
    earlier: Numbers<Vec<u32>>,
}

type Numbers<T> = HashMap<u64, T, BuildHasherDefault<Fold>>;

impl Backends {
    /// The row of a backend that came last.
    pub fn last(&self, id: u64) -> Option<u32> {
        self.last.get(&id).copied()
    }

    /// Adds a row.
    pub fn push(&mut self, id: u64, row: u32) {
        if let Some(before) = self.last.insert(id, row) {
            self.earlier.entry(id).or_default().push(before);
        }
    }

    /// Takes a row out. Returns the last one from then on.
    pub fn remove(&mut self, id: u64, row: u32) -> Option<u32> {
        let last = self.last(id)?;
        let Some(earlier) = self.earlier.get_mut(&id) else {
            if last == row {
                self.last.remove(&id);
                return None;
            }
            return Some(last);
        };
        match last == row {
            true => self.last.extend(earlier.pop().map(|last| (id, last))),
            false => earlier.retain(|other| *other != row),
        }
        if earlier.is_empty() {
            self.earlier.remove(&id);
        }
        self.last(id)
    }
}

/// Numbers of backends are hashes of what they are: they are only spread over all bits.
#[derive(Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|octet| self.write_u64(u64::from(*octet)));
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn rows_are_those_that_came_and_did_not_go(
            steps in prop::collection::vec((0u64..4, 0u32..6, any::<bool>()), 0..60),
        ) {
            let (mut backends, mut rows) = (Backends::default(), BTreeMap::<u64, Vec<u32>>::new());
            for (id, row, comes) in steps {
                let known = rows.entry(id).or_default();
                match comes {
                    true if known.contains(&row) => {}
                    true => {
                        backends.push(id, row);
                        known.push(row);
                    }
                    false => {
                        known.retain(|other| *other != row);
                        prop_assert_eq!(backends.remove(id, row), known.last().copied());
                    }
                }
                prop_assert_eq!(backends.last(id), known.last().copied());
            }
        }
    }
}
