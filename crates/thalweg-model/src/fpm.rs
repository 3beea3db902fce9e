//! What a routing suite tells over FPM: its routes, labels and next hop objects, beside the kernel's.
//!
//! FPM is the Forwarding Plane Manager interface of zebra, FRR's routing table. It speaks of the same
//! links as the kernel; its next hop objects have numbers of their own.

use crate::host::{LabelRoute, NextHopObject, Route, RouteKey, set};
use std::collections::BTreeMap;

/// Everything a routing suite told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fpm {
    /// Routes; the suite keeps one for each table and prefix.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Next hop objects by the suite's id.
    pub nexthops: BTreeMap<u32, NextHopObject>,
    /// Label switched paths by incoming label.
    pub labels: BTreeMap<u32, LabelRoute>,
}

impl Fpm {
    /// Applies one update; returns whether anything changed.
    pub fn apply(&mut self, update: FpmUpdate) -> bool {
        match update {
            FpmUpdate::Route(key, route) => set(&mut self.routes, key, route),
            FpmUpdate::RouteGone(key) => self.routes.remove(&key).is_some(),
            FpmUpdate::NextHop(id, object) => set(&mut self.nexthops, id, object),
            FpmUpdate::NextHopGone(id) => self.nexthops.remove(&id).is_some(),
            FpmUpdate::Label(label, route) => set(&mut self.labels, label, route),
            FpmUpdate::LabelGone(label) => self.labels.remove(&label).is_some(),
        }
    }
}

/// One change of what a routing suite tells.
#[derive(Clone, Debug, PartialEq)]
pub enum FpmUpdate {
    /// A route appeared or was replaced.
    Route(RouteKey, Route),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A next hop object appeared or changed.
    NextHop(u32, NextHopObject),
    /// A next hop object is gone.
    NextHopGone(u32),
    /// A label switched path appeared or was replaced, by incoming label.
    Label(u32, LabelRoute),
    /// A label switched path is gone.
    LabelGone(u32),
}

/// Who tells of a route, label or next hop object.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Teller {
    /// A routing suite, over FPM. Of equal routes its own is followed.
    Fpm,
    /// The kernel.
    Kernel,
}
