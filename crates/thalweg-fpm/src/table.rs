//! What was told, and what of it was passed on.
//!
//! Everything carries the number of the connection that told it last. A new connection makes all of
//! it stale without taking it away; a sweep takes away what is still stale.

use crate::acknowledge;
use crate::read::{ReadError, Word, read};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use thalweg_model::FpmUpdate;
use thalweg_model::host::{LabelRoute, NextHopObject, Route, RouteKey};
use thalweg_netlink::message::route::{Destination, Parsed};
use thalweg_netlink::tracked::{Epoch, Tracked};

/// Bodies that are kept before those nobody uses are looked for.
const FEW: usize = 1024;

/// What many routes have in common, as value and as octets.
#[derive(Clone, Debug)]
pub(crate) struct Body(Arc<(Route, Box<[u8]>)>);

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        // Octets may differ in what means nothing to us.
        Arc::ptr_eq(&self.0, &other.0) || self.0.0 == other.0.0
    }
}

/// A route: metric and body.
type Entry = (u32, Body);

/// Everything a routing suite told.
#[derive(Debug, Default)]
pub struct Table {
    epoch: Epoch,
    routes: Tracked<Destination, Entry>,
    nexthops: Tracked<u32, NextHopObject>,
    labels: Tracked<u32, LabelRoute>,
    /// Objects, as they were passed on, that are gone once no route that is still to be passed on
    /// needs them.
    leaving: BTreeMap<u32, NextHopObject>,
    bodies: HashMap<Box<[u8]>, Body>,
    /// Number of bodies at which unused ones are dropped.
    crowded: usize,
    key: Vec<u8>,
    /// Routes that are to be acknowledged.
    owed: BTreeSet<Destination>,
    /// Routes that were acknowledged as not in the data plane.
    failed: BTreeSet<Destination>,
    /// Messages that were nothing for us.
    pub others: u64,
}

/// A destination without its metric, and with no bits set outside the length of its prefix.
fn plain(to: Destination) -> (Destination, u32) {
    Destination::from(&to.key(0)).split_metric()
}

/// How much was told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// Routes.
    pub routes: usize,
    /// Next hop objects.
    pub nexthops: usize,
    /// Labels.
    pub labels: usize,
}

impl Table {
    /// A new connection: everything is stale until it is told again.
    pub fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.owed.clear();
        self.failed.clear();
    }

    /// Takes a frame. Returns the netlink port of who sent it, if it holds any message.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when it makes no sense; nothing of it counts then.
    pub fn take(&mut self, frame: &[u8]) -> Result<Option<u32>, ReadError> {
        let (words, port) = read(frame)?;
        for word in words {
            self.note(word);
        }
        Ok(port)
    }

    fn note(&mut self, word: Word<'_>) {
        let epoch = self.epoch;
        match word {
            Word::Route(parsed) => {
                let Some(body) = self.share(&parsed) else { return };
                let (to, metric) = plain(parsed.destination);
                self.routes.set(to, (metric, body), epoch);
                self.owed.insert(to);
            }
            Word::RouteGone(to) => {
                let (to, _) = plain(to);
                self.routes.remove(to);
                self.owed.remove(&to);
                self.failed.remove(&to);
            }
            Word::NextHop(id, object) => self.nexthops.set(id, object, epoch),
            Word::NextHopGone(id) => self.nexthops.remove(id),
            Word::Label(label, route) => self.labels.set(label, route, epoch),
            Word::LabelGone(label) => self.labels.remove(label),
            Word::Other => self.others += 1,
        }
    }

    /// The body of a route; one that was seen before is found by its octets.
    fn share(&mut self, parsed: &Parsed<'_>) -> Option<Body> {
        parsed.body_key(&mut self.key);
        if let Some(body) = self.bodies.get(self.key.as_slice()) {
            return Some(body.clone());
        }
        if self.bodies.len() >= self.crowded {
            self.bodies.retain(|_, body| Arc::strong_count(&body.0) > 1);
            self.crowded = (2 * self.bodies.len()).max(FEW);
        }
        let octets: Box<[u8]> = self.key.as_slice().into();
        let body = Body(Arc::new((parsed.body()?.route, octets.clone())));
        self.bodies.insert(octets, body.clone());
        Some(body)
    }

    /// How much was told.
    pub fn size(&self) -> Size {
        Size { routes: self.routes.len(), nexthops: self.nexthops.len(), labels: self.labels.len() }
    }

    /// How much is stale: walks everything.
    pub fn stale(&self) -> usize {
        self.routes.unseen(self.epoch).len()
            + self.nexthops.unseen(self.epoch).len()
            + self.labels.unseen(self.epoch).len()
    }

    /// Takes away what is stale; returns how much that was.
    pub fn sweep(&mut self) -> usize {
        let routes = self.routes.unseen(self.epoch);
        let nexthops = self.nexthops.unseen(self.epoch);
        let labels = self.labels.unseen(self.epoch);
        let swept = routes.len() + nexthops.len() + labels.len();
        for to in routes {
            self.routes.remove(to);
            self.owed.remove(&to);
            self.failed.remove(&to);
        }
        nexthops.into_iter().for_each(|id| self.nexthops.remove(id));
        labels.into_iter().for_each(|label| self.labels.remove(label));
        swept
    }

    /// Whether there may be something to pass on.
    pub fn is_touched(&self) -> bool {
        self.routes.is_touched()
            || self.nexthops.is_touched()
            || self.labels.is_touched()
            || !self.leaving.is_empty()
            || !self.owed.is_empty()
    }

    /// What changed since the last call, up to about `limit` routes, and the routes whose standing
    /// is asked for. Objects come before the routes that need them, and go after those.
    pub fn changes(&mut self, limit: usize) -> (Vec<FpmUpdate>, Vec<RouteKey>) {
        let mut updates = Vec::new();
        for (id, old, new) in self.nexthops.changes() {
            match (old, new) {
                (_, Some(object)) => {
                    // One that comes back as it was before it left is no news.
                    if self.leaving.remove(&id).as_ref() != Some(&object) {
                        updates.push(FpmUpdate::NextHop(id, object));
                    }
                }
                (Some(object), None) => {
                    self.leaving.insert(id, object);
                }
                (None, None) => {}
            }
        }
        for (label, _, new) in self.labels.changes() {
            let gone = FpmUpdate::LabelGone(label);
            updates.push(new.map_or(gone, |route| FpmUpdate::Label(label, route)));
        }
        for (to, old, new) in self.routes.some_changes(limit) {
            let key = |metric| RouteKey { metric, ..to.key(0) };
            if let Some((metric, _)) = old
                && new.as_ref().is_none_or(|new| new.0 != metric)
            {
                updates.push(FpmUpdate::RouteGone(key(metric)));
            }
            updates
                .extend(new.map(|(metric, body)| FpmUpdate::Route(key(metric), body.0.0.clone())));
        }
        if !self.routes.is_touched() {
            let leaving = std::mem::take(&mut self.leaving);
            updates.extend(leaving.into_keys().map(FpmUpdate::NextHopGone));
        }
        (updates, self.asked(limit))
    }

    /// Routes that were passed on and not acknowledged yet.
    fn asked(&mut self, limit: usize) -> Vec<RouteKey> {
        // What is still to be passed on comes in the same order.
        let passed_on = self.routes.first_touched();
        let mut asked = Vec::new();
        while asked.len() < limit
            && let Some(to) = self.owed.first().copied()
            && passed_on.is_none_or(|first| to < first)
        {
            self.owed.remove(&to);
            asked.extend(self.key(to));
        }
        asked
    }

    /// Asks once more for routes that were not in the data plane.
    pub fn ask_again(&mut self, limit: usize) -> Vec<RouteKey> {
        self.failed.iter().take(limit).filter_map(|to| self.key(*to)).collect()
    }

    fn key(&self, to: Destination) -> Option<RouteKey> {
        let (metric, _) = self.routes.get(to)?;
        Some(RouteKey { metric: *metric, ..to.key(0) })
    }

    /// The message that says whether a route is in the data plane; none when that was said before,
    /// or the route is another by now.
    pub fn acknowledge(&mut self, key: &RouteKey, in_force: bool) -> Option<Vec<u8>> {
        let (to, metric) = Destination::from(key).split_metric();
        let (now, body) = self.routes.get(to)?;
        if *now != metric {
            return None;
        }
        let message = acknowledge::message(&to, metric, &body.0.1, in_force);
        let news = match in_force {
            true => {
                self.failed.remove(&to);
                true
            }
            false => self.failed.insert(to),
        };
        news.then_some(message)
    }
}
