//! Counts what objects of Kubernetes claim, so that it is known without a look at all of them whether two
//! claim the same.

use crate::draft::ClusterPart;
use std::collections::HashMap;

/// How often each number is claimed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: HashMap<u64, u32>,
    /// Numbers that are claimed more than once.
    twice: usize,
}

impl Tally {
    /// A part that took the place of another.
    pub fn change(&mut self, old: Option<&ClusterPart>, new: Option<&ClusterPart>) {
        for print in new.into_iter().flat_map(ClusterPart::prints) {
            let count = self.counts.entry(print).or_default();
            *count += 1;
            self.twice += usize::from(*count == 2);
        }
        for print in old.into_iter().flat_map(ClusterPart::prints) {
            let Some(count) = self.counts.get_mut(&print) else { continue };
            *count -= 1;
            self.twice -= usize::from(*count == 1);
            if *count == 0 {
                self.counts.remove(&print);
            }
        }
    }

    /// Whether anything is claimed more than once.
    pub fn any_twice(&self) -> bool {
        self.twice > 0
    }
}
