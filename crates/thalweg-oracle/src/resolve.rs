//! From next hops to ways out of this host.

use crate::candidates::{Candidate, Lead};
use crate::{Answer, Exit, ExitKind, Oracle};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::host;
use thalweg_model::intent::{self, TtlModel};
use thalweg_wire::Mac;

/// A next hop of either source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hop {
    pub(crate) link: u32,
    pub(crate) via: Option<IpAddr>,
    pub(crate) weight: u16,
    pub(crate) dress: Dress,
    pub(crate) onlink: bool,
    pub(crate) dead: bool,
    pub(crate) backup: Option<Box<Hop>>,
}

/// What is done to packets besides sending them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dress {
    labels: Vec<u32>,
    pipe: Option<u8>,
    class: Option<u8>,
    entropy: bool,
    mtu: Option<u32>,
    kernel: bool,
}

/// Where a resolved next hop leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Neighbor(u32, IpAddr),
    Link(u32),
    Deliver,
    Broadcast(u32),
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Lookup(String),
}

/// A resolved next hop.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) way: Way,
    pub(crate) dress: Dress,
    share: f64,
    alive: bool,
    backup: Option<Box<Found>>,
}

impl Found {
    fn new(way: Way, alive: bool) -> Self {
        Self { way, dress: Dress::default(), share: 1.0, alive, backup: None }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.dress == Dress::default()
    }

    /// The same for one address alone: on a link without gateway it is its own next hop.
    fn beside(mut self, address: IpAddr) -> Self {
        if let Way::Link(link) = self.way {
            self.way = Way::Neighbor(link, address);
        }
        self.backup = self.backup.map(|backup| Box::new(backup.beside(address)));
        self
    }

    /// The same by another way, without backup.
    pub(crate) fn by(&self, way: Way) -> Self {
        Self { way, backup: None, ..self.clone() }
    }
}

impl Hop {
    pub(crate) fn of_kernel(hop: &host::NextHop, mtu: Option<u32>) -> Self {
        let labels: Vec<u32> = hop.labels.iter().copied().filter(|label| *label != 3).collect();
        let kernel = hop.encap.is_some() || labels.len() > 4;
        let dress = Dress {
            pipe: hop.ttl.filter(|_| !hop.labels.is_empty()),
            labels: if kernel { Vec::new() } else { labels },
            mtu,
            kernel,
            ..Dress::default()
        };
        Self {
            link: hop.link,
            via: hop.via,
            weight: hop.weight.max(1),
            dress,
            onlink: true,
            dead: hop.dead,
            backup: None,
        }
    }
}

/// Whether an address is in fe80::/10.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

impl Oracle<'_> {
    /// Next hops of an intent object whose interfaces exist.
    pub(crate) fn intent_hops(&self, hops: &[intent::NextHop]) -> Vec<Hop> {
        hops.iter().filter_map(|hop| self.intent_hop(hop)).collect()
    }

    fn intent_hop(&self, hop: &intent::NextHop) -> Option<Hop> {
        let link = match &hop.dev {
            Some(dev) => self.host.link_named(dev)?.index,
            None => 0,
        };
        let backup = hop.backup.as_deref().and_then(|backup| self.intent_hop(backup));
        Some(Hop {
            link,
            via: hop.via,
            weight: hop.weight.max(1),
            dress: Dress {
                labels: hop.labels.iter().map(|label| label.get()).collect(),
                pipe: Some(hop.ttl).filter(|_| hop.ttl_model == TtlModel::Pipe),
                class: hop.class,
                entropy: hop.entropy,
                ..Dress::default()
            },
            onlink: hop.onlink || hop.via.is_some_and(is_link_local),
            dead: false,
            backup: backup.map(|backup| Box::new(Hop { backup: None, ..backup })),
        })
    }

    /// What packets to a prefix meet: the best candidate that works, else the best that can be
    /// resolved. `trail` holds the prefixes on the way; without one the walk starts here.
    pub(crate) fn at_prefix(
        &self,
        all: &[Candidate],
        prefix: Prefix,
        trail: &mut Option<&mut Vec<(String, Prefix)>>,
    ) -> Vec<Found> {
        let mut here: Vec<&Candidate> = all.iter().filter(|c| c.prefix == prefix).collect();
        here.sort_by_key(|candidate| candidate.rank);
        let mut dead = Vec::new();
        for candidate in here {
            let found = match (&candidate.lead, trail.as_deref_mut()) {
                (Lead::Way(Way::Lookup(vrf)), _) if !self.vrf_exists(vrf) => Vec::new(),
                (Lead::Way(way), _) => vec![Found::new(way.clone(), true)],
                (Lead::Hops(hops), Some(trail)) => self.resolve_hops(hops, &candidate.vrf, trail),
                (Lead::Hops(hops), None) => {
                    // A route that covers a gateway of its own is passed over on the way.
                    let own =
                        hops.iter().flat_map(|h| std::iter::once(h).chain(h.backup.as_deref()));
                    let own = own
                        .filter(|hop| hop.link == 0)
                        .any(|hop| hop.via.is_some_and(|via| prefix.contains(via)));
                    let from_intent = candidate.rank.0 == 2 && candidate.rank.2 == 0;
                    let mut trail = match own && from_intent {
                        true => vec![(candidate.vrf.clone(), prefix)],
                        false => Vec::new(),
                    };
                    self.resolve_hops(hops, &candidate.vrf, &mut trail)
                }
            };
            let single = prefix == Prefix::host(prefix.address());
            let found: Vec<Found> = match single {
                true => found.into_iter().map(|f| f.beside(prefix.address())).collect(),
                false => found,
            };
            if found.iter().any(|found| found.alive) {
                return found;
            }
            if dead.is_empty() {
                dead = found;
            }
        }
        dead
    }

    /// Resolves next hops; what does not work is left out while something does.
    pub(crate) fn resolve_hops(
        &self,
        hops: &[Hop],
        vrf: &str,
        trail: &mut Vec<(String, Prefix)>,
    ) -> Vec<Found> {
        let mut parts: Vec<(f64, Vec<Found>)> = Vec::new();
        for hop in hops {
            if let Some(found) = self.resolve_hop(hop, vrf, trail) {
                parts.push((f64::from(hop.weight.max(1)), found));
            }
        }
        let alive = parts.iter().flat_map(|(_, found)| found).any(|found| found.alive);
        for (_, found) in &mut parts {
            found.retain(|found| found.alive || !alive);
        }
        parts.retain(|(_, found)| !found.is_empty());
        let total: f64 = parts.iter().map(|(weight, _)| weight).sum();
        let mut all = Vec::new();
        for (weight, found) in parts {
            let inner: f64 = found.iter().map(|found| found.share).sum();
            for found in found {
                all.push(Found { share: weight / total * found.share / inner, ..found });
            }
        }
        all
    }

    fn resolve_hop(
        &self,
        hop: &Hop,
        vrf: &str,
        trail: &mut Vec<(String, Prefix)>,
    ) -> Option<Vec<Found>> {
        let up = |link: u32| self.host.links.get(&link).is_some_and(|link| link.up);
        let device = self.vrf_of_device(hop.link);
        let found = match (hop.link, hop.via, device) {
            (0, None, _) => return None,
            (0, Some(via), _) => self.through_routes(via, vrf, trail)?,
            (_, None, Some(vrf)) => vec![Found::new(Way::Lookup(vrf), true)],
            (_, Some(via), Some(vrf)) => self.through_routes(via, &vrf, trail)?,
            (link, None, None) => vec![Found::new(Way::Link(link), up(link))],
            (link, Some(via), None) => {
                if !hop.onlink && !is_link_local(via) && !self.is_connected(link, via, vrf) {
                    return None;
                }
                vec![Found::new(Way::Neighbor(link, via), up(link))]
            }
        };
        let backup = hop.backup.as_deref().and_then(|backup| self.resolve_hop(backup, vrf, trail));
        let backup = backup.and_then(|found| {
            let alive = found.iter().position(|found| found.alive).unwrap_or(0);
            found.into_iter().nth(alive).map(|found| Box::new(Found { backup: None, ..found }))
        });
        let dressed = found.into_iter().map(|mut found| {
            found.dress = dress(&hop.dress, &found.dress)?;
            if let Some(inner) = &mut found.backup {
                inner.dress = dress(&hop.dress, &inner.dress)?;
            }
            found.backup = backup.clone().or(found.backup);
            found.alive = found.alive && !hop.dead;
            found.alive |= found.backup.as_ref().is_some_and(|backup| backup.alive);
            Some(found)
        });
        dressed.collect()
    }

    /// A gateway on no link named: the longest prefix around it decides.
    fn through_routes(
        &self,
        via: IpAddr,
        vrf: &str,
        trail: &mut Vec<(String, Prefix)>,
    ) -> Option<Vec<Found>> {
        let all = self.candidates(vrf);
        let here = trail.last().cloned();
        let mut covers: Vec<Prefix> = all
            .iter()
            .map(|candidate| candidate.prefix)
            .filter(|prefix| prefix.contains(via) && Some((vrf.to_owned(), *prefix)) != here)
            .collect();
        covers.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        let step = (vrf.to_owned(), *covers.first()?);
        if trail.contains(&step) {
            return None;
        }
        trail.push(step.clone());
        let found = self.at_prefix(&all, step.1, &mut Some(trail));
        trail.pop();
        if found.is_empty() {
            return None;
        }
        let towards = |found: Found| match found.way {
            Way::Link(link) => Some(Found { way: Way::Neighbor(link, via), ..found }),
            Way::Neighbor(..) | Way::Blackhole | Way::Unreachable | Way::Prohibit => Some(found),
            Way::Deliver | Way::Broadcast(_) | Way::Throw | Way::Lookup(_) => None,
        };
        found.into_iter().map(towards).collect()
    }

    /// Whether a gateway lies on a link: by its addresses, or by the best route's next hops.
    fn is_connected(&self, link: u32, via: IpAddr, vrf: &str) -> bool {
        let by_address = self.host.addresses.values().any(|address| {
            let base = address.peer.unwrap_or(address.address);
            address.link == link
                && address.address != via
                && Prefix::containing(base, address.len).contains(via)
        });
        let all = self.candidates(vrf);
        let cover =
            all.iter().map(|c| c.prefix).filter(|p| p.contains(via)).max_by_key(|p| p.len());
        by_address
            || all.iter().filter(|c| Some(c.prefix) == cover).any(|candidate| {
                matches!(&candidate.lead, Lead::Hops(hops)
                    if hops.iter().any(|hop| hop.link == link && hop.via.is_none()))
            })
    }

    /// The link address of a neighbor in a usable state.
    pub(crate) fn neighbor(&self, link: u32, address: IpAddr) -> Option<Mac> {
        let neighbor = self.host.neighbors.get(&(link, address))?;
        let bad = ["failed", "incomplete", "none"];
        let usable = !bad.contains(&neighbor.state.to_lowercase().as_str());
        neighbor.mac.filter(|mac| usable && *mac != Mac::ZERO && !mac.is_group())
    }

    pub(crate) fn exits(&self, found: Vec<Found>) -> Answer {
        Answer::Exits(found.iter().map(|found| (self.exit(found), found.share)).collect())
    }

    pub(crate) fn exit(&self, found: &Found) -> Exit {
        let kind = match &found.way {
            Way::Neighbor(link, via) => self.sent(*link, Some(*via), found.dress.kernel),
            Way::Link(link) => self.sent(*link, None, true),
            Way::Deliver => ExitKind::Deliver,
            Way::Broadcast(link) => ExitKind::Broadcast(*link),
            Way::Blackhole => ExitKind::Blackhole,
            Way::Unreachable => ExitKind::Unreachable,
            Way::Prohibit => ExitKind::Prohibit,
            Way::Throw => ExitKind::Throw,
            Way::Lookup(vrf) => ExitKind::Lookup(vrf.clone()),
        };
        let adjacent = matches!(kind, ExitKind::Adjacent(..));
        Exit {
            kind,
            labels: if adjacent { found.dress.labels.clone() } else { Vec::new() },
            backup: found.backup.as_ref().map(|backup| Box::new(self.exit(backup))),
        }
    }

    /// Whether a link is a device, or a VLAN on one under at most `tags` tags.
    fn has_device(&self, link: &host::Link, tags: u8) -> bool {
        if link.vlan.is_none() {
            return true;
        }
        let below = link.lower.and_then(|lower| self.host.links.get(&lower));
        tags > 0 && below.is_some_and(|below| self.has_device(below, tags - 1))
    }

    fn sent(&self, link: u32, via: Option<IpAddr>, kernel: bool) -> ExitKind {
        let Some(facts) = self.host.links.get(&link) else { return ExitKind::Unresolved(link) };
        if link >= self.intent.router.limits.links {
            return ExitKind::Unresolved(0);
        }
        let ethernet = facts.medium == "ether" && facts.mac != Mac::ZERO;
        match via.and_then(|via| self.neighbor(link, via)) {
            Some(mac) if ethernet && !kernel && self.has_device(facts, 2) => {
                ExitKind::Adjacent(link, mac)
            }
            _ => ExitKind::Unresolved(link),
        }
    }
}

/// A recursive next hop's labels go below those of the route that resolves it.
fn dress(own: &Dress, outer: &Dress) -> Option<Dress> {
    let labels: Vec<u32> = outer.labels.iter().chain(&own.labels).copied().collect();
    if labels.len() > 4 {
        return None;
    }
    Some(Dress {
        labels,
        pipe: own.pipe.or(outer.pipe),
        class: own.class.or(outer.class),
        entropy: own.entropy || outer.entropy,
        mtu: own.mtu.into_iter().chain(outer.mtu).min(),
        kernel: own.kernel || outer.kernel,
    })
}
