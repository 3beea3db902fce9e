//! What the kernel is known to have, and what of it was told.
//!
//! Messages go in, updates come out; there is no I/O here. Listings mark what they show with an
//! epoch, and what a finished listing did not show is gone. Events are exact where the kernel is:
//! where it changes things in silence, or where the meaning of an event hangs on an order that is
//! not known, the mirror asks for a listing ([`Doubts`]).

pub mod routes;

use crate::message::{Message, address, label, link, neighbor, nexthop, raw, route};
use crate::tracked::{Epoch, Tracked};
use routes::{Outcome, Routes, Scope};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_model::Update;
use thalweg_model::host::{Address, LabelRoute, Neighbor, NextHopObject};

/// More listings by link than this cost more than one of everything.
const MANY_LINKS: usize = 8;

/// One thing the kernel can be asked to list.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Listing {
    /// All links.
    Links,
    /// All addresses.
    Addresses,
    /// All neighbors.
    Neighbors,
    /// All next hop objects.
    NextHops,
    /// All MPLS routes.
    Labels,
    /// Routes.
    Routes(Scope),
}

impl Listing {
    /// Everything, in the order to ask for it.
    pub fn everything() -> BTreeSet<Self> {
        let routes = |v4| Self::Routes(Scope { v4, table: None, link: None });
        let others = [Self::Links, Self::Addresses, Self::Neighbors, Self::NextHops, Self::Labels];
        others.into_iter().chain([true, false].map(routes)).collect()
    }
}

/// How a message came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// As it happened.
    Live,
    /// It happened while a listing was under way, which may or may not show it.
    Replayed,
}

/// What the kernel has, as far as it told.
#[derive(Default)]
pub struct Mirror {
    links: Tracked<u32, link::Parsed>,
    addresses: Tracked<(u32, IpAddr), Vec<Address>>,
    neighbors: Tracked<(u32, IpAddr), Neighbor>,
    nexthops: Tracked<u32, NextHopObject>,
    labels: Tracked<u32, LabelRoute>,
    routes: Routes,
    epoch: Epoch,
    doubts: BTreeSet<Listing>,
    /// Destinations that replayed events left with several routes.
    manifold: Vec<route::Destination>,
}

impl Mirror {
    /// Begins a listing; its messages go to [`Mirror::listed`].
    pub fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes a message of the listing under way.
    pub fn listed(&mut self, message: &Message<'_>, listing: Listing) {
        let epoch = self.epoch;
        match (message.kind, listing) {
            (raw::NEWLINK, Listing::Links) => {
                if let Some(parsed) = link::parse(message) {
                    self.link(parsed, false);
                }
            }
            (raw::NEWADDR, Listing::Addresses) => {
                if let Some(address) = address::parse(message) {
                    let key = (address.link, address.address);
                    let old = self.addresses.seen(key, epoch).cloned();
                    self.addresses.set(key, with(old, address), epoch);
                }
            }
            (raw::NEWNEIGH, Listing::Neighbors) => {
                if let Some(neighbor) = neighbor::parse(message).and_then(|n| n.neighbor()) {
                    self.neighbors.set((neighbor.link, neighbor.address), neighbor, epoch);
                }
            }
            (raw::NEWNEXTHOP, Listing::NextHops) => {
                if let Some((id, object)) = nexthop::parse(message) {
                    self.nexthops.set(id, object, epoch);
                }
            }
            (raw::NEWROUTE, Listing::Labels) => {
                if let Some((label, route)) = label::parse(message) {
                    self.labels.set(label, route, epoch);
                }
            }
            (raw::NEWROUTE, Listing::Routes(scope)) => {
                if let Some(parsed) = route::parse(message) {
                    let outcome = self.routes.listed(&parsed, scope, epoch);
                    self.note(outcome);
                }
            }
            _ => {}
        }
    }

    /// Ends a listing: what it did not show is gone.
    pub fn end(&mut self, listing: Listing) {
        let epoch = self.epoch;
        match listing {
            Listing::Links => {
                for index in self.links.unseen(epoch) {
                    self.link_gone(index);
                }
            }
            Listing::Addresses => {
                for key in self.addresses.unseen(epoch) {
                    self.addresses.remove(key);
                }
            }
            Listing::Neighbors => {
                for key in self.neighbors.unseen(epoch) {
                    self.neighbors.remove(key);
                }
            }
            Listing::NextHops => {
                for id in self.nexthops.unseen(epoch) {
                    self.nexthop_gone(id);
                }
            }
            Listing::Labels => {
                for label in self.labels.unseen(epoch) {
                    self.labels.remove(label);
                }
            }
            Listing::Routes(scope) => self.routes.sweep(scope, epoch),
        }
    }

    /// Takes an event.
    pub fn event(&mut self, message: &Message<'_>, how: How) {
        match message.kind {
            raw::NEWLINK => {
                if let Some(parsed) = link::parse(message) {
                    self.link(parsed, true);
                }
            }
            raw::DELLINK => {
                if let Some(index) = link::index(message) {
                    self.link_gone(index);
                }
            }
            raw::NEWADDR | raw::DELADDR => {
                if let Some(address) = address::parse(message) {
                    self.address(address, message.kind == raw::NEWADDR);
                }
            }
            raw::NEWNEIGH | raw::DELNEIGH => {
                if let Some(parsed) = neighbor::parse(message) {
                    let there = parsed.neighbor().filter(|_| message.kind == raw::NEWNEIGH);
                    let key = (parsed.link, parsed.address);
                    match there {
                        Some(neighbor) => self.neighbors.set(key, neighbor, self.epoch),
                        None => self.neighbors.remove(key),
                    }
                }
            }
            raw::NEWNEXTHOP => {
                if let Some((id, object)) = nexthop::parse(message) {
                    if message.flags & raw::F_EXCL != 0 {
                        // A new one: if there was one of this number, it went in silence.
                        self.nexthop_gone(id);
                    }
                    self.nexthops.set(id, object, self.epoch);
                }
            }
            raw::DELNEXTHOP => {
                if let Some(id) = nexthop::id(message) {
                    self.nexthop_gone(id);
                }
            }
            raw::NEWROUTE | raw::DELROUTE => {
                if let Some((label, route)) = label::parse(message) {
                    match message.kind {
                        raw::NEWROUTE => self.labels.set(label, route, self.epoch),
                        _ => self.labels.remove(label),
                    }
                } else if let Some(parsed) = route::parse(message) {
                    self.route(&parsed, message, how);
                }
            }
            _ => {}
        }
    }

    fn route(&mut self, parsed: &route::Parsed<'_>, message: &Message<'_>, how: How) {
        let new = message.kind == raw::NEWROUTE;
        let outcome = match new {
            true => self.routes.added(parsed, message.flags, self.epoch),
            false => self.routes.removed(parsed, self.epoch),
        };
        match how {
            How::Live => self.note(outcome),
            // The listing may have shown already that it is gone.
            How::Replayed if !new => {}
            How::Replayed => {
                self.note(outcome);
                if parsed.destination.v4 && self.routes.is_manifold(&parsed.destination) {
                    self.manifold.push(parsed.destination);
                }
            }
        }
    }

    /// Ends a replay. Where its events left several IPv4 routes for one destination, some of them
    /// may have been outdated news.
    pub fn replayed(&mut self) {
        for to in std::mem::take(&mut self.manifold) {
            if self.routes.is_manifold(&to) {
                let scope = Scope { v4: true, table: Some(to.key(0).table), link: None };
                self.note(Outcome::Doubtful(scope));
            }
        }
    }

    /// Sets a link. Where its state changed, the kernel dropped, revived or marked routes and next
    /// hop objects, and tells of some only (`fib_sync_down_dev`, `fib_sync_up`,
    /// `nexthop_flush_dev`).
    ///
    /// A link without carrier may have had one for a moment since it was last announced, so any
    /// event about it counts as a change.
    fn link(&mut self, parsed: link::Parsed, event: bool) {
        let index = parsed.link.index;
        let old = self.links.get(index);
        let touched = old.is_some_and(|old| {
            (event && !parsed.has_carrier())
                || old.state != parsed.state
                || old.link.master != parsed.link.master
                || old.link.mtu != parsed.link.mtu
        });
        if old.is_none() && event && link::is_paired(&parsed.link) {
            // Its peer was announced before the two were joined, and is not announced again.
            self.doubt(Listing::Links);
        }
        let down = !parsed.has_carrier();
        self.links.set(index, parsed, self.epoch);
        if touched {
            self.doubt_link(index);
            self.doubt_labels(index);
        }
        if touched && down {
            self.doubt_objects(index);
        }
    }

    /// Removes a link and what the kernel removes with it.
    fn link_gone(&mut self, index: u32) {
        if !self.links.keys(|_, other| other.link.lower == Some(index)).is_empty() {
            // They go, too, or lose what is below them without a word.
            self.doubt(Listing::Links);
        }
        self.links.remove(index);
        for key in self.addresses.keys(|key, _| key.0 == index) {
            self.addresses.remove(key);
        }
        for key in self.neighbors.keys(|key, _| key.0 == index) {
            self.neighbors.remove(key);
        }
        // IPv4 drops a multipath route with the first link that is unregistered.
        self.routes.kill(|b| b.uses(index) && (b.v4 || b.route.nexthops.len() == 1));
        if self.routes.any(|b| b.uses(index)) {
            let scope = Scope { v4: false, table: None, link: None };
            self.doubt(Listing::Routes(scope));
        }
        self.doubt_objects(index);
        self.doubt_labels(index);
    }

    /// MPLS routes through a link change with it: some are told of, some only marked.
    fn doubt_labels(&mut self, index: u32) {
        let uses = |route: &LabelRoute| route.nexthops.iter().any(|hop| hop.link == index);
        if !self.labels.keys(|_, route| uses(route)).is_empty() {
            self.doubt(Listing::Labels);
        }
    }

    /// Sets or removes an address. With an IPv4 address go, in silence, the routes that prefer it
    /// as source, and with the last one of a link all routes through it.
    fn address(&mut self, address: Address, there: bool) {
        let key = (address.link, address.address);
        let old = self.addresses.get(key).cloned();
        let list = match there {
            true => with(old, address.clone()),
            false => {
                let same = |a: &Address| a.len == address.len && a.peer == address.peer;
                old.into_iter().flatten().filter(|a| !same(a)).collect()
            }
        };
        match list.is_empty() {
            true => self.addresses.remove(key),
            false => self.addresses.set(key, list, self.epoch),
        }
        if address.address.is_ipv4() {
            let source = Some(address.address);
            if !there && self.routes.any(|b| b.source == source && b.v4 && !is_own(b)) {
                let scope = Scope { v4: true, table: None, link: None };
                self.doubt(Listing::Routes(scope));
            }
            self.doubt_link(address.link);
        }
    }

    fn doubt_link(&mut self, link: u32) {
        for v4 in [true, false] {
            if self.routes.any(|b| b.v4 == v4 && b.uses(link)) {
                let scope = Scope { v4, table: None, link: Some(link) };
                self.doubt(Listing::Routes(scope));
            }
        }
    }

    /// A link lost its carrier or more: objects through it may be gone in silence, and made anew
    /// by somebody since, and routes that had them are gone then.
    fn doubt_objects(&mut self, link: u32) {
        let single = |object: &NextHopObject| matches!(object, NextHopObject::Single(hop) if hop.link == link);
        let mut through = self.nexthops.keys(|_, object| single(object));
        let groups = self.nexthops.keys(|_, object| {
            matches!(object, NextHopObject::Group(m) if m.iter().any(|(id, _)| through.contains(id)))
        });
        through.extend(groups);
        if through.is_empty() {
            return;
        }
        self.doubt(Listing::NextHops);
        for v4 in [true, false] {
            let has = |b: &route::Body| b.route.object.is_some_and(|id| through.contains(&id));
            if self.routes.any(|b| b.v4 == v4 && has(b)) {
                self.doubt(Listing::Routes(Scope { v4, table: None, link: None }));
            }
        }
    }

    /// Removes a next hop object with the routes that refer to it, as the kernel does.
    fn nexthop_gone(&mut self, id: u32) {
        self.nexthops.remove(id);
        self.routes.kill(|b| b.route.object == Some(id));
    }

    /// Notes what an outcome asks for.
    fn note(&mut self, outcome: Outcome) {
        if let Outcome::Doubtful(scope) = outcome {
            self.doubt(Listing::Routes(scope));
        }
    }

    /// Asks for a listing.
    pub fn doubt(&mut self, listing: Listing) {
        self.doubts.insert(listing);
    }

    /// Events were lost: nothing is certain any more.
    pub fn doubt_everything(&mut self) {
        self.doubts = Listing::everything();
    }

    /// Whether listings are needed.
    pub fn is_doubtful(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// The listings needed, each thing once, and next hop objects before routes.
    pub fn take_doubts(&mut self) -> BTreeSet<Listing> {
        let mut doubts = std::mem::take(&mut self.doubts);
        for v4 in [true, false] {
            let family = |l: &Listing| matches!(l, Listing::Routes(scope) if scope.v4 == v4);
            let whole = Listing::Routes(Scope { v4, table: None, link: None });
            let by_link =
                |l: &&Listing| matches!(l, Listing::Routes(s) if s.v4 == v4 && s.link.is_some());
            if doubts.contains(&whole) || doubts.iter().filter(by_link).count() > MANY_LINKS {
                doubts.retain(|l| !family(l));
                doubts.insert(whole);
            }
        }
        // A link that is gone cannot be asked for, and took its routes along.
        let known = |l: &Listing| match l {
            Listing::Routes(Scope { link: Some(link), .. }) => self.links.get(*link).is_some(),
            _ => true,
        };
        doubts.retain(known);
        doubts
    }

    /// Whether there may be something to tell.
    pub fn is_touched(&self) -> bool {
        self.links.is_touched()
            || self.addresses.is_touched()
            || self.neighbors.is_touched()
            || self.nexthops.is_touched()
            || self.labels.is_touched()
            || self.routes.is_touched()
    }

    /// Destinations whose routes are still to be told.
    pub fn backlog(&self) -> usize {
        self.routes.backlog()
    }

    /// What changed since the last call: everything but routes, and routes up to about `limit`
    /// updates in all. Links that are gone come first, as they take others along.
    pub fn changes(&mut self, limit: usize) -> Vec<Update> {
        let mut updates = Vec::new();
        let links: Vec<_> = self.links.changes().collect();
        let gone = links.iter().filter(|(_, _, new)| new.is_none());
        updates.extend(gone.map(|(index, ..)| Update::LinkGone(*index)));
        for (_, old, new) in links {
            // A change of flags alone is news to the mirror only.
            if let Some(new) = new.filter(|n| old.is_none_or(|old| old.link != n.link)) {
                updates.push(Update::Link(new.link));
            }
        }
        for ((link, address), old, new) in self.addresses.changes() {
            let (old, new) =
                (old.as_deref().and_then(<[_]>::first), new.as_deref().and_then(<[_]>::first));
            match new {
                Some(new) if old != Some(new) => updates.push(Update::Address(new.clone())),
                Some(_) => {}
                None => updates.push(Update::AddressGone(link, address)),
            }
        }
        for ((link, address), _, new) in self.neighbors.changes() {
            let gone = Update::NeighborGone(link, address);
            updates.push(new.map_or(gone, Update::Neighbor));
        }
        for (id, _, new) in self.nexthops.changes() {
            updates.push(match new {
                Some(object) => Update::NextHop(id, object),
                None => Update::NextHopGone(id),
            });
        }
        for (label, _, new) in self.labels.changes() {
            let gone = Update::LabelGone(label);
            updates.push(new.map_or(gone, |route| Update::Label(label, route)));
        }
        self.routes.changes(&mut updates, limit);
        updates
    }
}

/// Whether the kernel made the route for an address, and so tells when it removes it.
fn is_own(body: &route::Body) -> bool {
    body.route.protocol == "kernel"
}

/// A list of equal addresses of a link (the kernel tells them apart by length and peer) with one
/// more, the widest prefix first.
fn with(list: Option<Vec<Address>>, address: Address) -> Vec<Address> {
    let mut list = list.unwrap_or_default();
    list.retain(|a| (a.len, a.peer) != (address.len, address.peer));
    list.push(address);
    list.sort_by_key(|a| (a.len, a.peer));
    list
}

#[cfg(test)]
mod tests;
