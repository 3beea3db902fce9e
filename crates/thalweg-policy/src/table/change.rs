//! What a change of policies, or of those whom they are about, comes to in tables.

use super::Tables;
use crate::model::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is another in tables than before.
///
/// Carried out in this order, who reads in between gets an answer of before or of after: `rows`; `sets` that
/// are new or changed, of those first `groups` and then `classes` but for those in `classes_gone`;
/// `stretches`; `endpoints`; whatever is gone. An endpoint whose rules changed gets another set, which never
/// takes the place of the old one. That stays through the change and follows the classes, and goes with the
/// next one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Stretches of addresses (first and last, of one family, ascending) that have another class now.
    pub stretches: Vec<(IpAddr, IpAddr, u32)>,
    /// Classes that no address has any more.
    pub classes_gone: BTreeSet<u32>,
    /// Sets that are new, changed or gone.
    pub sets: BTreeMap<u32, SetChange>,
    /// Rows that are new. A row never changes while somebody uses it.
    pub rows: BTreeSet<u32>,
    /// Rows that nobody uses any more.
    pub rows_gone: BTreeSet<u32>,
    /// Endpoints by address and direction that have another set now; none where there is no such endpoint
    /// any more.
    pub endpoints: BTreeMap<(usize, IpAddr, Direction), Option<u32>>,
}

/// What became of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SetChange {
    /// It was not there.
    New,
    /// Some groups are new, and some classes are in another group.
    Changed {
        /// Classes that are in another group, of those that some address has or had.
        classes: BTreeSet<u32>,
        /// Groups that have rows now and had none, or others. Nobody was in them before.
        groups: BTreeSet<u32>,
    },
    /// Nobody has it any more.
    Gone,
}

impl Change {
    /// Whether nothing is another.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Tables {
    /// The set of each endpoint by address and direction, in no order.
    pub fn assigned(&self) -> impl Iterator<Item = ((usize, IpAddr, Direction), u32)> {
        self.of.iter().map(|(key, set)| (*key, *set))
    }
}
