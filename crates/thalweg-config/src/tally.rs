//! Counts what files claim, so that it is known without a look at all of them whether two claim the same.

use std::collections::HashMap;

/// How often each number is claimed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: HashMap<u64, u32>,
    /// Numbers that are claimed more than once.
    twice: usize,
}

impl Tally {
    /// Claims that took the place of others.
    pub fn change(
        &mut self,
        old: impl IntoIterator<Item = u64>,
        new: impl IntoIterator<Item = u64>,
    ) {
        for print in new {
            let count = self.counts.entry(print).or_default();
            *count += 1;
            self.twice += usize::from(*count == 2);
        }
        for print in old {
            let Some(count) = self.counts.get_mut(&print) else { continue };
            *count -= 1;
            self.twice -= usize::from(*count == 1);
            if *count == 0 {
                self.counts.remove(&print);
            }
        }
    }

    /// How often a number is claimed.
    pub fn count(&self, print: u64) -> u32 {
        self.counts.get(&print).copied().unwrap_or(0)
    }

    /// Whether anything is claimed more than once.
    pub fn any_twice(&self) -> bool {
        self.twice > 0
    }
}
