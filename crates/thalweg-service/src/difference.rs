//! What changed: told to the resolver, and told by it.

use crate::frontend::{Frontend, FrontendKey, Problem, Vip};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::ObjectName;

/// Which objects may differ from those that the resolver saw last: made, changed or gone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Services.
    pub services: BTreeSet<ObjectName>,
    /// Slices.
    pub slices: BTreeSet<ObjectName>,
    /// This node, its object, addresses or settings. Where nothing of it matters to services, it costs
    /// nothing; otherwise everything is resolved anew.
    pub here: bool,
}

/// What a data plane has to change. All lists are in order of their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Frontends of keys that had none.
    pub added: Vec<Arc<Frontend>>,
    /// Frontends that differ from the one that the key had.
    pub changed: Vec<Arc<Frontend>>,
    /// Keys that have none any more.
    pub removed: Vec<FrontendKey>,
    /// VIPs that are new or have other services.
    pub vips: Vec<Vip>,
    /// Addresses that are no VIPs any more.
    pub vips_removed: Vec<IpAddr>,
    /// Services with other problems than before, and those that they have now.
    pub problems: BTreeMap<ObjectName, Vec<Problem>>,
}

impl Difference {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Notes what became of a key.
    pub(crate) fn frontend(
        &mut self,
        key: FrontendKey,
        before: Option<&Arc<Frontend>>,
        after: Option<&Arc<Frontend>>,
    ) {
        match (before, after) {
            (None, Some(after)) => self.added.push(after.clone()),
            (Some(_), None) => self.removed.push(key),
            (Some(before), Some(after)) if before != after => self.changed.push(after.clone()),
            _ => {}
        }
    }

    /// Notes what became of an address.
    pub(crate) fn vip(&mut self, address: IpAddr, before: Option<&Vip>, after: Option<Vip>) {
        match after {
            Some(after) if before != Some(&after) => self.vips.push(after),
            None if before.is_some() => self.vips_removed.push(address),
            _ => {}
        }
    }
}
