//! All candidate routes of a VRF, and their order.

use crate::Oracle;
use crate::resolve::{Hop, Way};
use std::net::{IpAddr, Ipv4Addr};
use thalweg_model::Prefix;
use thalweg_model::host::{NextHopObject, Route, RouteKey, RouteKind};
use thalweg_model::intent::RouteAction;

/// What a candidate leads to.
#[derive(Clone, Debug)]
pub(crate) enum Lead {
    /// Something without next hops.
    Way(Way),
    /// Next hops.
    Hops(Vec<Hop>),
}

/// A candidate route; lower ranks win.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Destinations.
    pub(crate) prefix: Prefix,
    /// VRF in which gateways are resolved.
    pub(crate) vrf: String,
    /// Class, metric, source, instance.
    pub(crate) rank: (u8, u32, u8, u32),
    /// Where it leads.
    pub(crate) lead: Lead,
}

impl Oracle<'_> {
    /// All candidates of a VRF.
    pub(crate) fn candidates(&self, vrf: &str) -> Vec<Candidate> {
        let mut all = Vec::new();
        self.of_intent(vrf, &mut all);
        self.of_kernel(vrf, &mut all);
        self.of_addresses(vrf, &mut all);
        all
    }

    fn of_intent(&self, vrf: &str, all: &mut Vec<Candidate>) {
        let mut taken = Vec::new();
        for route in self.intent.routes.values().filter(|route| route.vrf == vrf) {
            if taken.contains(&(route.prefix, route.metric)) {
                continue;
            }
            taken.push((route.prefix, route.metric));
            // "Of several the first by name whose interfaces are there, else the first."
            let twins = self.intent.routes.values().filter(|twin| {
                twin.vrf == vrf && (twin.prefix, twin.metric) == (route.prefix, route.metric)
            });
            let route = twins.into_iter().find(|twin| self.has_interfaces(twin)).unwrap_or(route);
            let lead = match &route.action {
                RouteAction::Blackhole => Lead::Way(Way::Blackhole),
                RouteAction::Unreachable => Lead::Way(Way::Unreachable),
                RouteAction::Prohibit => Lead::Way(Way::Prohibit),
                RouteAction::Vrf(name) if self.vrf_exists(name) => {
                    Lead::Way(Way::Lookup(name.clone()))
                }
                RouteAction::Vrf(_) => continue,
                RouteAction::Forward(hops) => Lead::Hops(self.intent_hops(hops)),
            };
            if matches!(&lead, Lead::Hops(hops) if hops.is_empty()) {
                continue;
            }
            let rank = (2, route.metric, 0, 0);
            all.push(Candidate { prefix: route.prefix, vrf: vrf.into(), rank, lead });
        }
    }

    /// Whether all interfaces that a route names are there.
    fn has_interfaces(&self, route: &thalweg_model::intent::Route) -> bool {
        let RouteAction::Forward(hops) = &route.action else { return true };
        let is_there = |name: &String| self.host.links.values().any(|link| link.name == *name);
        let both = hops.iter().flat_map(|hop| [Some(hop), hop.backup.as_deref()]).flatten();
        both.filter_map(|hop| hop.dev.as_ref()).all(is_there)
    }

    fn of_kernel(&self, vrf: &str, all: &mut Vec<Candidate>) {
        let tables = self.vrf_tables().remove(vrf).unwrap_or_default();
        for (key, route) in self.host.routes.iter().filter(|(key, _)| tables.contains(&key.table)) {
            let multicast = match key.prefix {
                Prefix::V4(p) => p.len() >= 4 && p.address().is_multicast(),
                Prefix::V6(p) => p.len() >= 8 && p.address().is_multicast(),
            };
            if key.tos != 0 || multicast || route.kind == RouteKind::Multicast {
                continue;
            }
            all.push(self.of_kernel_route(vrf, key, route));
        }
    }

    fn of_kernel_route(&self, vrf: &str, key: &RouteKey, route: &Route) -> Candidate {
        let connected = route.protocol == "kernel"
            && !route.nexthops.is_empty()
            && route.nexthops.iter().all(|hop| hop.via.is_none() && hop.labels.is_empty());
        let class = match route.kind {
            RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast => 0,
            RouteKind::Unicast if connected => 1,
            _ => 2,
        };
        let lead = match route.kind {
            RouteKind::Local | RouteKind::Anycast => Lead::Way(Way::Deliver),
            RouteKind::Broadcast => {
                Lead::Way(Way::Broadcast(route.nexthops.first().map_or(0, |hop| hop.link)))
            }
            RouteKind::Blackhole => Lead::Way(Way::Blackhole),
            RouteKind::Unreachable => Lead::Way(Way::Unreachable),
            RouteKind::Prohibit => Lead::Way(Way::Prohibit),
            RouteKind::Throw => Lead::Way(Way::Throw),
            RouteKind::Unicast | RouteKind::Multicast => self.unicast(route),
        };
        let source = if key.table == 255 { 1 } else { 2 };
        let rank = (class, key.metric, source, key.instance);
        Candidate { prefix: key.prefix, vrf: vrf.into(), rank, lead }
    }

    fn unicast(&self, route: &Route) -> Lead {
        let hop = |hop| Hop::of_kernel(hop, route.mtu);
        let Some(id) = route.object else {
            return Lead::Hops(route.nexthops.iter().map(hop).collect());
        };
        match self.host.nexthops.get(&id) {
            None => Lead::Hops(Vec::new()),
            Some(NextHopObject::Blackhole) => Lead::Way(Way::Blackhole),
            Some(NextHopObject::Single(single)) => Lead::Hops(vec![hop(single)]),
            Some(NextHopObject::Group(members)) => {
                let mut hops = Vec::new();
                for (id, weight) in members {
                    match self.host.nexthops.get(id) {
                        Some(NextHopObject::Single(single)) => {
                            hops.push(Hop { weight: (*weight).max(1), ..hop(single) });
                        }
                        Some(NextHopObject::Blackhole) => return Lead::Way(Way::Blackhole),
                        _ => {}
                    }
                }
                Lead::Hops(hops)
            }
        }
    }

    /// Own addresses, their broadcast addresses, and connected prefixes that the kernel keeps in
    /// another VRF.
    fn of_addresses(&self, vrf: &str, all: &mut Vec<Candidate>) {
        for address in self.host.addresses.values() {
            if self.vrf_of_link(address.link) != vrf {
                continue;
            }
            let mut add = |prefix, class, source, lead| {
                let rank = (class, u32::MAX, source, address.link);
                all.push(Candidate { prefix, vrf: vrf.into(), rank, lead });
            };
            add(Prefix::host(address.address), 0, 3, Lead::Way(Way::Deliver));
            let numbered = address.peer.is_none_or(|peer| peer == address.address);
            if let IpAddr::V4(own) = address.address
                && numbered
                && address.len <= 30
            {
                let hosts = u32::MAX.checked_shr(u32::from(address.len)).unwrap_or(0);
                let last = Ipv4Addr::from_bits(own.to_bits() | hosts);
                let way = Way::Broadcast(address.link);
                add(Prefix::host(last.into()), 0, 4, Lead::Way(way));
            }
            let Some(link) = self.host.links.get(&address.link) else { continue };
            if self.kernel_vrf(link) != vrf && link.up {
                let base = address.peer.unwrap_or(address.address);
                let hop = Hop { link: address.link, weight: 1, onlink: true, ..Hop::default() };
                add(Prefix::containing(base, address.len), 1, 5, Lead::Hops(vec![hop]));
            }
        }
    }
}
