//! The kernel's routes: lists per destination, with bodies shared by all routes that are alike.
//!
//! IPv4 keeps routes with equal keys in order, and the first wins. IPv6 joins those with gateways
//! into one multipath route and keeps others side by side; their order means little and is made
//! canonical here, so that events and a listing give the same result.

use crate::message::raw;
use crate::message::route::{Body, Destination, Parsed};
use crate::tracked::Epoch;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg_model::Update;

/// A body and whether the kernel dropped, without a word, every route that had it.
#[derive(Debug)]
pub struct Shared {
    body: Body,
    gone: AtomicBool,
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

type Bodies = Vec<Arc<Shared>>;

/// The routes of one destination: nearly always one.
#[derive(Clone, Debug)]
enum List {
    One(Arc<Shared>),
    Many(Bodies),
}

impl List {
    fn as_slice(&self) -> &[Arc<Shared>] {
        match self {
            Self::One(body) => std::slice::from_ref(body),
            Self::Many(bodies) => bodies,
        }
    }
}

impl From<Bodies> for List {
    fn from(mut bodies: Bodies) -> Self {
        match bodies.pop() {
            Some(body) if bodies.is_empty() => Self::One(body),
            last => {
                bodies.extend(last);
                Self::Many(bodies)
            }
        }
    }
}

/// What is known of a destination. Its list is empty only until that is told.
#[derive(Debug)]
struct Slot {
    epoch: Epoch,
    /// Whether it waits in the queue.
    queued: bool,
    list: List,
}

/// A part of all routes: what a listing covers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Scope {
    /// Family.
    pub v4: bool,
    /// One table only.
    pub table: Option<u32>,
    /// Only routes with a member through this link.
    pub link: Option<u32>,
}

/// What a message was worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It could be applied.
    Certain,
    /// Its effect depends on an order that is not known: read this table again.
    Doubtful(Scope),
}

/// All routes, and what of them is still to be told.
#[derive(Default)]
pub struct Routes {
    /// In the order the kernel lists them, which keeps caches warm while it does.
    slots: BTreeMap<Destination, Slot>,
    known: HashMap<Box<[u8]>, Arc<Shared>>,
    /// Bodies that no message carried: multipath routes that lost members.
    derived: Bodies,
    /// Length of `known` at which unused bodies are dropped.
    crowded: usize,
    key: Vec<u8>,
    /// Destinations that were touched, with what was told of them.
    queue: VecDeque<(Destination, Bodies)>,
    unsettled: bool,
}

impl Routes {
    /// Takes a route that a listing shows.
    pub fn listed(&mut self, parsed: &Parsed<'_>, scope: Scope, epoch: Epoch) -> Outcome {
        let Some(body) = self.share(parsed) else { return Outcome::Certain };
        let to = parsed.destination;
        let slot = match self.slots.entry(to) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.queue.push_back((to, Vec::new()));
                entry.insert(Slot { epoch, queued: true, list: List::One(body) });
                return Outcome::Certain;
            }
        };
        let first = slot.epoch != epoch;
        if first
            && let List::One(old) = &slot.list
            && Arc::ptr_eq(old, &body)
        {
            slot.epoch = epoch;
            return Outcome::Certain;
        }
        // A listing by link shows some of a list only. The others stay.
        let stays = |b: &Arc<Shared>| !first || scope.link.is_some_and(|l| !b.body.uses(l));
        let mut list: Bodies = live(&slot.list).filter(stays).collect();
        if first && to.v4 && !list.is_empty() {
            // What order the two kinds have is not shown.
            slot.epoch = epoch;
            return Outcome::Doubtful(whole_table(to));
        }
        if !list.iter().any(|b| Arc::ptr_eq(b, &body)) {
            list.push(body);
        }
        self.put(to, ordered(to, list), epoch);
        Outcome::Certain
    }

    /// Removes what a finished listing did not show.
    pub fn sweep(&mut self, scope: Scope, epoch: Epoch) {
        let inside = |to: &Destination, slot: &Slot| {
            to.v4 == scope.v4
                && slot.epoch != epoch
                && scope.table.is_none_or(|table| table == to.table)
                && scope.link.is_none_or(|l| slot.list.as_slice().iter().any(|b| b.body.uses(l)))
        };
        let unseen = self.slots.iter().filter(|(to, slot)| inside(to, slot));
        for to in unseen.map(|(to, _)| *to).collect::<Vec<_>>() {
            let Some(slot) = self.slots.get(&to) else { continue };
            let left = match scope.link {
                None => Vec::new(),
                Some(link) => live(&slot.list).filter(|b| !b.body.uses(link)).collect(),
            };
            self.put(to, left, epoch);
        }
    }

    /// Takes an event: a route that was added or replaced.
    pub fn added(&mut self, parsed: &Parsed<'_>, flags: u16, epoch: Epoch) -> Outcome {
        let Some(body) = self.share(parsed) else { return Outcome::Certain };
        let to = parsed.destination;
        let mut list: Bodies =
            self.slots.get(&to).map_or_else(Vec::new, |s| live(&s.list).collect());
        let outcome = match to.v4 {
            true => add_v4(&mut list, body, flags),
            false => add_v6(&mut list, body, flags),
        };
        self.put(to, ordered(to, list), epoch);
        match outcome {
            true => Outcome::Certain,
            false => Outcome::Doubtful(whole_table(to)),
        }
    }

    /// Takes an event: a route, or members of one, are gone.
    pub fn removed(&mut self, parsed: &Parsed<'_>, epoch: Epoch) -> Outcome {
        let to = parsed.destination;
        let Some(slot) = self.slots.get(&to) else { return Outcome::Certain };
        let Some(gone) = parsed.body() else { return Outcome::Certain };
        let list: Bodies = live(&slot.list).collect();
        if list.is_empty() {
            return Outcome::Certain;
        }
        let (left, found) = match to.v4 {
            true => remove_v4(list, &gone),
            false => self.remove_v6(list, &gone),
        };
        self.put(to, ordered(to, left), epoch);
        match found {
            true => Outcome::Certain,
            false => Outcome::Doubtful(whole_table(to)),
        }
    }

    fn remove_v6(&mut self, list: Bodies, gone: &Body) -> (Bodies, bool) {
        let (mut left, mut found) = (Vec::new(), false);
        for shared in list {
            if !shared.body.overlaps(gone) {
                left.push(shared);
                continue;
            }
            found = true;
            if let Some(body) = shared.body.without(gone).filter(|_| gone.route.object.is_none()) {
                let shared = Arc::new(Shared { body, gone: AtomicBool::new(false) });
                self.derived.push(shared.clone());
                left.push(shared);
            }
        }
        (left, found)
    }

    /// Drops every route whose body satisfies the condition: the kernel did so in silence.
    ///
    /// Routes that are added later with an equal body are others.
    pub fn kill(&mut self, doomed: impl Fn(&Body) -> bool) {
        let mut killed = false;
        let mut spare = |shared: &Arc<Shared>| {
            let doomed = doomed(&shared.body);
            if doomed {
                shared.gone.store(true, Ordering::Relaxed);
                killed = true;
            }
            !doomed
        };
        self.known.retain(|_, shared| spare(shared));
        self.derived.retain(&mut spare);
        self.unsettled |= killed;
    }

    /// Whether a route may have a body that satisfies the condition.
    pub fn any(&self, wanted: impl Fn(&Body) -> bool) -> bool {
        let mut used = self.known.values().chain(&self.derived);
        used.any(|shared| Arc::strong_count(shared) > 1 && wanted(&shared.body))
    }

    /// Whether a destination that counts as doubtful still has several routes.
    pub fn is_manifold(&self, to: &Destination) -> bool {
        self.slots.get(to).is_some_and(|slot| live(&slot.list).count() > 1)
    }

    /// Whether there may be something to tell.
    pub fn is_touched(&self) -> bool {
        self.unsettled || !self.queue.is_empty()
    }

    /// Destinations with something to tell.
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// Adds what changed to `updates`, up to about `limit` in all.
    pub fn changes(&mut self, updates: &mut Vec<Update>, limit: usize) {
        self.settle();
        while updates.len() < limit {
            let Some((to, old)) = self.queue.pop_front() else { break };
            let Entry::Occupied(mut entry) = self.slots.entry(to) else { continue };
            let slot = entry.get_mut();
            slot.queued = false;
            tell(to, &old, slot.list.as_slice(), updates);
            if slot.list.as_slice().is_empty() {
                entry.remove();
            }
        }
        if self.queue.is_empty() {
            // What once held a full table keeps its room otherwise.
            self.queue.shrink_to(1 << 12);
        }
    }

    /// Takes killed bodies out of the lists.
    fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        let hit = |slot: &Slot| slot.list.as_slice().iter().any(|b| b.is_gone());
        let hit = self.slots.iter().filter(|(_, slot)| hit(slot));
        for (to, epoch) in hit.map(|(to, slot)| (*to, slot.epoch)).collect::<Vec<_>>() {
            let Some(slot) = self.slots.get(&to) else { continue };
            self.put(to, live(&slot.list).collect(), epoch);
        }
    }

    /// Sets the list of a destination and queues it with what was told of it.
    fn put(&mut self, to: Destination, list: Bodies, epoch: Epoch) {
        match self.slots.entry(to) {
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                if !std::mem::replace(&mut slot.queued, true) {
                    self.queue.push_back((to, slot.list.as_slice().to_vec()));
                }
                (slot.epoch, slot.list) = (epoch, list.into());
            }
            Entry::Vacant(entry) if !list.is_empty() => {
                self.queue.push_back((to, Vec::new()));
                entry.insert(Slot { epoch, queued: true, list: list.into() });
            }
            Entry::Vacant(_) => {}
        }
    }

    /// The body of a message, shared with the routes that have the same.
    fn share(&mut self, parsed: &Parsed<'_>) -> Option<Arc<Shared>> {
        parsed.body_key(&mut self.key);
        if let Some(shared) = self.known.get(self.key.as_slice()) {
            return Some(shared.clone());
        }
        let shared = Arc::new(Shared { body: parsed.body()?, gone: AtomicBool::new(false) });
        if self.known.len() + self.derived.len() > self.crowded {
            self.known.retain(|_, shared| Arc::strong_count(shared) > 1);
            self.derived.retain(|shared| Arc::strong_count(shared) > 1);
            self.crowded = 1024 + 2 * (self.known.len() + self.derived.len());
        }
        self.known.insert(self.key.as_slice().into(), shared.clone());
        Some(shared)
    }
}

/// Adds the difference between two lists of a destination.
fn tell(to: Destination, old: &[Arc<Shared>], new: &[Arc<Shared>], updates: &mut Vec<Update>) {
    for instance in 0..old.len().max(new.len()) {
        let key = to.key(instance as u32);
        match (old.get(instance), new.get(instance)) {
            (Some(old), Some(new)) if old.body.route == new.body.route => {}
            (_, Some(new)) => updates.push(Update::Route(key, new.body.route.clone())),
            (Some(_), None) => updates.push(Update::RouteGone(key)),
            (None, None) => {}
        }
    }
}

fn whole_table(to: Destination) -> Scope {
    Scope { v4: to.v4, table: Some(to.table), link: None }
}

fn live(list: &List) -> impl Iterator<Item = Arc<Shared>> {
    list.as_slice().iter().filter(|shared| !shared.is_gone()).cloned()
}

/// Brings IPv6 routes of one destination into an order that does not depend on history.
fn ordered(to: Destination, mut list: Bodies) -> Bodies {
    fn key(shared: &Shared) -> impl Ord {
        let route = &shared.body.route;
        let first = route.nexthops.first();
        (route.object, first.map(|hop| (hop.via.is_none(), hop.link, hop.via)), route.kind as u8)
    }
    if !to.v4 && list.len() > 1 {
        list.sort_by(|a, b| key(a).cmp(&key(b)));
    }
    list
}

/// `fib_table_insert`: replaces the first, appends, or goes in front.
fn add_v4(list: &mut Bodies, new: Arc<Shared>, flags: u16) -> bool {
    if let Some(old) = list.iter_mut().find(|b| b.body.same_v4(&new.body)) {
        // The kernel holds no route twice: news of one it told of already.
        *old = new;
        return true;
    }
    match list.first_mut() {
        Some(first) if flags & raw::F_REPLACE != 0 => *first = new,
        Some(_) if flags & raw::F_APPEND == 0 => list.insert(0, new),
        _ => list.push(new),
    }
    true
}

/// `fib6_add_rt2node`: a message tells the whole multipath route it made or joined.
fn add_v6(list: &mut Bodies, new: Arc<Shared>, flags: u16) -> bool {
    let mut certain = true;
    // With an object, `NLM_F_REPLACE` also announces that the object changed.
    let announced = list
        .iter()
        .any(|b| b.body.route.object.is_some() && b.body.route.object == new.body.route.object);
    if flags & raw::F_REPLACE != 0 && !announced {
        let alike = |b: &Arc<Shared>| b.body.joins() == new.body.joins();
        match (list.iter().any(alike), new.body.joins()) {
            (true, true) => list.retain(|b| !alike(b)),
            // The first one of its kind goes, and which was first is not known here.
            (true, false) => {
                certain = list.iter().filter(|b| alike(b)).count() == 1;
                list.retain(|b| !alike(b));
            }
            (false, _) => {
                certain = list.len() <= 1;
                list.clear();
            }
        }
    }
    list.retain(|b| !b.body.overlaps(&new.body));
    list.push(new);
    certain
}

fn remove_v4(mut list: Bodies, gone: &Body) -> (Bodies, bool) {
    match list.iter().position(|b| b.body.same_v4(gone)) {
        Some(at) => {
            list.remove(at);
            (list, true)
        }
        None => (list, false),
    }
}
