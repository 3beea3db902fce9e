//! Targets: where routes and labels lead, before and after resolution.
//!
//! A target is interned by what its source says, so that all routes through the same gateways share
//! one target and one next hop group. When a neighbor, a link or a covering route changes, targets
//! are resolved anew and their groups re-issued; the routes stay untouched.

use crate::hash;
use crate::key::{AddrKey, NetKey, RibId};
use crate::slab::Slab;
use hashbrown::HashTable;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_abi::NextHopRow;
use thalweg_model::{Teller, Tunnel};

/// Where packets go in the end.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// A gateway or neighbor on a link.
    Neighbor(u32, IpAddr),
    /// Any destination directly on a link.
    Link(u32),
    /// This host.
    Deliver,
    /// The broadcast address of a link.
    Broadcast(u32),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere, answered "unreachable".
    Unreachable,
    /// Nowhere, answered "prohibited".
    Prohibit,
    /// As if the VRF had no route.
    Throw,
    /// Another RIB.
    Lookup(RibId),
}

/// A next hop as its source says.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Hop {
    /// Interface index; 0 for none.
    pub link: u32,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// The only address that the route is for, where no gateway is named: on a link it is its own
    /// next hop.
    pub only: Option<IpAddr>,
    /// Share of the flows.
    pub weight: u16,
    /// What it does to packets besides.
    pub dress: Dress,
    /// The gateway need not be on a connected prefix of the link.
    pub onlink: bool,
    /// The kernel says it does not work.
    pub dead: bool,
    /// Used while the link is down.
    pub backup: Option<Box<Hop>>,
}

impl Hop {
    /// The same of a route that is for this address alone, if for one alone.
    #[must_use]
    pub fn for_only(mut self, only: Option<IpAddr>) -> Self {
        self.only = only.filter(|_| self.link != 0 && self.via.is_none());
        self.backup = self.backup.map(|backup| Box::new(backup.for_only(only)));
        self
    }
}

/// What a next hop adds to packets.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dress {
    /// Labels to push, outermost first.
    pub labels: Vec<u32>,
    /// TTL of pushed labels in the pipe model; none in the uniform model.
    pub pipe: Option<u8>,
    /// Class of pushed labels; none copies the packet's.
    pub class: Option<u8>,
    /// Whether an entropy label is pushed (RFC 6790).
    pub entropy: bool,
    /// Path MTU of the route.
    pub mtu: Option<u32>,
    /// Only the kernel can add what the route asks for.
    pub kernel: bool,
    /// BFD session whose state counts instead of the link's, by number; 0 for none.
    pub session: u32,
    /// Outer headers.
    pub tunnel: Option<Tunnel>,
}

impl Dress {
    /// Clothes of a recursive next hop under those of the route that resolves it.
    pub fn under(&self, outer: &Self) -> Self {
        let labels = outer.labels.iter().chain(&self.labels).copied().collect();
        Self {
            labels,
            pipe: self.pipe.or(outer.pipe),
            class: self.class.or(outer.class),
            entropy: self.entropy || outer.entropy,
            mtu: self.mtu.into_iter().chain(outer.mtu).min(),
            kernel: self.kernel || outer.kernel,
            session: if self.session != 0 { self.session } else { outer.session },
            tunnel: self.tunnel.or(outer.tunnel),
        }
    }
}

/// What routes and labels lead to, as their source says: the interning key.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TargetKey {
    /// Something without next hops.
    Way(Way),
    /// Next hops, named one by one.
    Hops(Hops),
    /// A next hop object of the kernel or of a routing suite.
    Object {
        /// Whose.
        teller: Teller,
        /// Its id.
        id: u32,
        /// RIB in which gateways without link are resolved.
        rib: RibId,
        /// Path MTU of the route.
        mtu: Option<u32>,
        /// The only address that the route is for, where next hops of the object name no gateway.
        only: Option<IpAddr>,
    },
}

/// Next hops with what resolving them needs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Hops {
    /// RIB in which gateways are resolved; 0 when none needs to be.
    pub rib: RibId,
    /// The route itself, if it covers a gateway of its own: it is passed over on the way.
    pub own: Option<NetKey>,
    /// The next hops.
    pub hops: Vec<Hop>,
}

/// What became of a next hop.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where packets go.
    pub way: Way,
    /// With what.
    pub dress: Dress,
    /// Share of the flows.
    pub weight: u64,
    /// Whether packets get away there now.
    pub alive: bool,
    /// Used while the link is down.
    pub backup: Option<Box<Member>>,
    /// It is a backup that nobody asked for: another member of the same group.
    pub relief: bool,
    /// The row of the data plane, without its backup's number.
    pub row: NextHopRow,
}

/// What a member stands for.
pub type Identity<'a> = (Way, &'a Dress);

impl Member {
    /// Interface indices it sends through.
    pub fn links(&self) -> impl Iterator<Item = u32> {
        let backup = self.backup.iter().map(|backup| backup.way);
        std::iter::once(self.way).chain(backup).filter_map(|way| match way {
            Way::Neighbor(link, _) | Way::Link(link) => Some(link),
            _ => None,
        })
    }

    /// The backup that was asked for.
    pub fn own_backup(&self) -> Option<&Self> {
        self.backup.as_deref().filter(|backup| !backup.relief)
    }

    /// What it stands for, however it is resolved at the moment, and its own backup likewise.
    pub fn identity(&self) -> (Identity<'_>, Option<Identity<'_>>) {
        let backup = self.own_backup();
        ((self.way, &self.dress), backup.map(|backup| (backup.way, &backup.dress)))
    }
}

/// Whether a route can use a target.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// No next hop can be resolved.
    #[default]
    Unresolvable,
    /// Next hops are resolved, but none of them works.
    Dead,
    /// At least one next hop works.
    Alive,
}

/// What resolution finds wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Issue {
    /// Position of the next hop; none for the whole.
    pub hop: Option<usize>,
    /// Whether the next hop is left out (else it is only a warning).
    pub fatal: bool,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// A fact that a resolution looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fact {
    /// A link.
    Link(u32),
    /// Addresses of a link.
    Addresses(u32),
    /// A neighbor.
    Neighbor(u32, IpAddr),
    /// The routes that cover an address.
    Covers(AddrKey),
    /// A next hop object.
    Object(Teller, u32),
    /// The VRF of a RIB.
    Rib(RibId),
    /// A BFD session, by number.
    Session(u32),
}

/// What resolution finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether routes can use it.
    pub state: State,
    /// The next hops to use: those that work, or all when none does.
    pub members: Vec<Member>,
    /// What is wrong.
    pub issues: Vec<Issue>,
    /// What was looked at.
    pub facts: BTreeSet<Fact>,
}

/// A target with what holds it and what it became.
#[derive(Debug)]
pub struct Target {
    /// What its source says.
    pub key: Arc<TargetKey>,
    /// Holders other than candidates: labels and kernel route bodies.
    pub holders: u32,
    /// Prefixes and labels in force through it.
    pub uses: u32,
    /// What it resolves to.
    pub outcome: Outcome,
    /// Whether it was ever resolved.
    settled: bool,
    dirty: bool,
}

/// All targets.
#[derive(Debug, Default)]
pub struct Targets {
    slab: Slab<Target>,
    index: HashTable<u32>,
    watchers: BTreeSet<(Fact, u32)>,
    dirty: Vec<u32>,
    troubled: BTreeSet<u32>,
}

impl Targets {
    /// The target of a key; a new one is marked for resolution.
    pub fn intern(&mut self, key: TargetKey) -> u32 {
        let hash = hash::of(&key);
        let slab = &self.slab;
        let same = |&i: &u32| slab.get(i).is_some_and(|target| *target.key == key);
        if let Some(found) = self.index.find(hash, same) {
            return *found;
        }
        let target = Target {
            key: Arc::new(key),
            holders: 0,
            uses: 0,
            outcome: Outcome::default(),
            settled: false,
            dirty: false,
        };
        let index = self.slab.insert(target);
        let slab = &self.slab;
        self.index.insert_unique(hash, index, |&i| {
            slab.get(i).map_or(0, |target| hash::of(&*target.key))
        });
        self.mark(index);
        index
    }

    /// A target by index.
    pub fn get(&self, target: u32) -> Option<&Target> {
        self.slab.get(target)
    }

    /// A target by index.
    pub fn get_mut(&mut self, target: u32) -> Option<&mut Target> {
        self.slab.get_mut(target)
    }

    /// How usable a target is.
    pub fn state(&self, target: u32) -> State {
        self.slab.get(target).map_or(State::Unresolvable, |target| target.outcome.state)
    }

    /// Targets with issues.
    pub fn troubled(&self) -> impl Iterator<Item = (u32, &Target)> {
        self.troubled.iter().filter_map(|&i| Some((i, self.slab.get(i)?)))
    }

    /// Marks a target for resolution.
    pub fn mark(&mut self, target: u32) {
        if let Some(cell) = self.slab.get_mut(target)
            && !cell.dirty
        {
            cell.dirty = true;
            self.dirty.push(target);
        }
    }

    /// Marks the targets that looked at a fact.
    pub fn mark_fact(&mut self, fact: Fact) {
        self.mark_facts(fact, fact);
    }

    /// Marks the targets whose resolution asked for the routes to an address of `key`'s span.
    pub fn mark_covers(&mut self, key: NetKey) {
        if self.watchers.is_empty() {
            return;
        }
        let (first, last) = key.span();
        self.mark_facts(Fact::Covers(first), Fact::Covers(last));
    }

    fn mark_facts(&mut self, first: Fact, last: Fact) {
        let found: Vec<u32> =
            self.watchers.range((first, 0)..=(last, u32::MAX)).map(|(_, target)| *target).collect();
        for target in found {
            self.mark(target);
        }
    }

    /// Takes the marked targets.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        let dirty = std::mem::take(&mut self.dirty);
        for target in &dirty {
            if let Some(target) = self.slab.get_mut(*target) {
                target.dirty = false;
            }
        }
        dirty
    }

    /// Whether a target was never resolved: then no route could use it so far.
    pub fn is_new(&self, target: u32) -> bool {
        self.slab.get(target).is_some_and(|target| !target.settled)
    }

    /// Replaces what a target resolves to; returns what it was.
    pub fn settle(&mut self, target: u32, outcome: Outcome) -> Option<Outcome> {
        let cell = self.slab.get_mut(target)?;
        if cell.outcome.facts != outcome.facts {
            for fact in cell.outcome.facts.difference(&outcome.facts) {
                self.watchers.remove(&(*fact, target));
            }
            for fact in outcome.facts.difference(&cell.outcome.facts) {
                self.watchers.insert((*fact, target));
            }
        }
        match outcome.issues.is_empty() {
            true => self.troubled.remove(&target),
            false => self.troubled.insert(target),
        };
        cell.settled = true;
        Some(std::mem::replace(&mut cell.outcome, outcome))
    }

    /// Forgets a target.
    pub fn remove(&mut self, target: u32) {
        let Some(gone) = self.slab.remove(target) else { return };
        let hash = hash::of(&*gone.key);
        if let Ok(entry) = self.index.find_entry(hash, |&i| i == target) {
            entry.remove();
        }
        for fact in &gone.outcome.facts {
            self.watchers.remove(&(*fact, target));
        }
        self.troubled.remove(&target);
    }
}
