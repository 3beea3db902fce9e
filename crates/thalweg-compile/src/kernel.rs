//! Routes of the kernel and of a routing suite as the RIB keeps them: a million routes share a few hundred bodies.

use crate::hash::Fold;
use crate::key::{NetKey, is_multicast};
use crate::rib::Class;
use crate::slab::Slab;
use crate::target::{Dress, Hop, Hops, TargetKey, Way};
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use thalweg_abi::nexthop::MAX_PUSH;
use thalweg_model::Teller;
use thalweg_model::host::{NextHop, NextHopObject, Route, RouteKey, RouteKind};
use thalweg_wire::mpls::reserved;

/// What many routes have in common.
#[derive(Debug)]
pub struct Body {
    /// The route without its key.
    pub route: Route,
    refs: u32,
    /// The target, if it is the same in every RIB.
    pub target: Option<u32>,
}

/// All bodies.
#[derive(Debug, Default)]
pub struct Bodies {
    slab: Slab<Body>,
    index: HashTable<u32>,
    last: Option<u32>,
}

impl Bodies {
    /// The number of a body; one more route holds it.
    pub fn hold(&mut self, route: Route) -> u32 {
        let recent = self.last.filter(|&i| self.slab.get(i).is_some_and(|b| b.route == route));
        let found = recent.or_else(|| self.find(&route));
        let index = found.unwrap_or_else(|| self.insert(route));
        if let Some(body) = self.slab.get_mut(index) {
            body.refs += 1;
        }
        self.last = Some(index);
        index
    }

    fn find(&self, route: &Route) -> Option<u32> {
        let same = |&i: &u32| self.slab.get(i).is_some_and(|body| body.route == *route);
        self.index.find(hash(route), same).copied()
    }

    fn insert(&mut self, route: Route) -> u32 {
        let hashed = hash(&route);
        let index = self.slab.insert(Body { route, refs: 0, target: None });
        let slab = &self.slab;
        self.index
            .insert_unique(hashed, index, |&i| slab.get(i).map_or(0, |body| hash(&body.route)));
        index
    }

    /// All bodies.
    pub fn iter(&self) -> impl Iterator<Item = &Body> {
        self.slab.iter().map(|(_, body)| body)
    }

    /// A body by number.
    pub fn get(&self, body: u32) -> Option<&Body> {
        self.slab.get(body)
    }

    /// A body by number.
    pub fn get_mut(&mut self, body: u32) -> Option<&mut Body> {
        self.slab.get_mut(body)
    }

    /// One route less holds the body. Returns the target it held when that was the last.
    pub fn release(&mut self, body: u32) -> Option<u32> {
        let cell = self.slab.get_mut(body)?;
        cell.refs -= 1;
        if cell.refs > 0 {
            return None;
        }
        let gone = self.slab.remove(body)?;
        if let Ok(entry) = self.index.find_entry(hash(&gone.route), |&i| i == body) {
            entry.remove();
        }
        if self.last == Some(body) {
            self.last = None;
        }
        gone.target
    }
}

fn hash(route: &Route) -> u64 {
    let mut state = Fold::default();
    (route.kind, &route.protocol, &route.nexthops, route.object, route.mtu).hash(&mut state);
    state.finish()
}

/// Whether a route can be in force at all; others are only shown.
pub fn is_candidate(key: &RouteKey, route: &Route) -> bool {
    key.tos == 0 && route.kind != RouteKind::Multicast && !is_multicast(key.prefix)
}

/// What is compared before metrics.
pub fn class(route: &Route) -> Class {
    match route.kind {
        RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast => Class::Host,
        RouteKind::Unicast if is_connected(route) => Class::Connected,
        _ => Class::Route,
    }
}

fn is_connected(route: &Route) -> bool {
    route.protocol == "kernel"
        && !route.nexthops.is_empty()
        && route.nexthops.iter().all(|hop| hop.via.is_none() && hop.labels.is_empty())
}

/// Whether a route has a target of its own: to one address, with a next hop that is that address.
pub fn is_own(route: &Route, net: NetKey) -> bool {
    route.object.is_none() && net.prefix().only().is_some() && route.nexthops.iter().any(is_beside)
}

/// Whether a next hop names a link alone: what is sent there goes to the destination itself.
fn is_beside(hop: &NextHop) -> bool {
    hop.via.is_none() && hop.link != 0
}

/// Whether a next hop object has such a next hop: then each route by it to one address has a target of its
/// own; others share one, however many they are.
pub fn names_no_gateway(objects: &BTreeMap<u32, NextHopObject>, id: u32) -> bool {
    let is_beside = |object: Option<&NextHopObject>| matches!(object, Some(NextHopObject::Single(hop)) if is_beside(hop));
    match objects.get(&id) {
        Some(NextHopObject::Group(members)) => {
            members.iter().any(|(member, _)| is_beside(objects.get(member)))
        }
        object => is_beside(object),
    }
}

/// Where a route leads, and whether that is the same in every RIB and whoever tells of it. `beside` tells of
/// its object, if it has one, what [`names_no_gateway`] does.
pub fn target(teller: Teller, route: &Route, net: NetKey, beside: bool) -> (TargetKey, bool) {
    let way = |way| (TargetKey::Way(way), true);
    match route.kind {
        RouteKind::Local | RouteKind::Anycast => way(Way::Deliver),
        RouteKind::Blackhole => way(Way::Blackhole),
        RouteKind::Unreachable => way(Way::Unreachable),
        RouteKind::Prohibit => way(Way::Prohibit),
        RouteKind::Throw => way(Way::Throw),
        RouteKind::Broadcast => {
            way(Way::Broadcast(route.nexthops.first().map_or(0, |hop| hop.link)))
        }
        RouteKind::Unicast | RouteKind::Multicast => match route.object {
            Some(id) => {
                let only = net.prefix().only().filter(|_| beside);
                (TargetKey::Object { teller, id, rib: net.rib, mtu: route.mtu, only }, false)
            }
            None => hops(route, net),
        },
    }
}

fn hops(route: &Route, net: NetKey) -> (TargetKey, bool) {
    let searches = route.nexthops.iter().any(|hop| hop.link == 0);
    let rib = if searches { net.rib } else { 0 };
    let only = net.prefix().only();
    let hop = |hop: &NextHop| self::hop(hop, route.mtu).for_only(only);
    let mut hops: Vec<Hop> = route.nexthops.iter().map(hop).collect();
    let plain = !searches && !is_own(route, net);
    if let [only] = hops.as_mut_slice() {
        only.weight = 1;
    }
    (TargetKey::Hops(Hops { rib, own: None, hops }), plain)
}

/// A next hop as the kernel has it. What we cannot push is left to the kernel.
pub fn hop(hop: &NextHop, mtu: Option<u32>) -> Hop {
    let labels = hop.labels.iter().copied().filter(|label| *label != reserved::IMPLICIT_NULL);
    let labels: Vec<u32> = labels.collect();
    let kernel = hop.encap.is_some() || labels.len() > MAX_PUSH;
    let dress = Dress {
        labels: if kernel { Vec::new() } else { labels },
        pipe: hop.ttl.filter(|_| !hop.labels.is_empty()),
        mtu,
        kernel,
        ..Dress::default()
    };
    Hop {
        link: hop.link,
        via: hop.via,
        only: None,
        weight: hop.weight.max(1),
        dress,
        onlink: true,
        dead: hop.dead,
        backup: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bodies_are_one_until_the_last_route_goes() {
        let route = |protocol: &str| Route {
            kind: RouteKind::Blackhole,
            protocol: protocol.into(),
            nexthops: Vec::new(),
            object: None,
            mtu: None,
        };
        let mut bodies = Bodies::default();
        let a = bodies.hold(route("bgp"));
        let b = bodies.hold(route("static"));
        assert_eq!(bodies.hold(route("bgp")), a);
        assert_ne!(a, b);
        if let Some(body) = bodies.get_mut(a) {
            body.target = Some(7);
        }
        assert_eq!(bodies.release(a), None);
        assert_eq!(bodies.release(a), Some(7));
        assert!(bodies.get(a).is_none());
    }
}
