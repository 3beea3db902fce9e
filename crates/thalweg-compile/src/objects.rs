//! Intent routes and label bindings as candidates and targets.

use crate::key::{NetKey, RibId};
use crate::sessions::Sessions;
use crate::target::{Dress, Hop, Hops, TargetKey, Way};
use crate::vrfs::Vrfs;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_model::intent::{LabelAction, LabelRoute, NextHop, Route, RouteAction, TtlModel};
use thalweg_model::{Intent, Prefix, Severity, Tunnel};

/// A finding about a field of an object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The field.
    pub field: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// A route object as compiled.
#[derive(Debug, Default)]
pub struct RouteEntry {
    /// Number that candidates carry.
    pub number: u32,
    /// Its candidate, unless something is wrong.
    pub candidate: Option<u32>,
    /// The target of the candidate.
    pub target: Option<u32>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A label object as compiled.
#[derive(Debug, Default)]
pub struct LabelEntry {
    /// Its target, unless it is a lookup or something is wrong.
    pub target: Option<u32>,
    /// Its RIB, if it is a lookup.
    pub lookup: Option<RibId>,
    /// Whether it may be in force.
    pub valid: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Names by which objects refer to the host.
pub struct Names<'a> {
    /// Interface indices by name.
    pub links: &'a BTreeMap<String, u32>,
    /// VRFs by name.
    pub vrfs: &'a Vrfs,
    /// Numbers of BFD sessions.
    pub sessions: &'a Sessions,
}

/// Where a route object puts its candidate and what that leads to.
pub fn route(
    name: &str,
    route: &Route,
    intent: &Intent,
    names: &Names,
    twin: Option<&str>,
) -> (Option<(NetKey, TargetKey)>, Vec<Finding>) {
    let mut findings = Vec::new();
    if let Some(twin) = twin {
        findings.push(error(
            "spec.prefix",
            format!(
                "Route/{twin} ({}) has the same VRF {}, prefix {} and metric {}; {name} is not in \
                 force",
                intent.origin("Route", twin),
                route.vrf,
                route.prefix,
                route.metric
            ),
            "give them different metrics, or make them next hops of one route",
        ));
        return (None, findings);
    }
    let Some(vrf) = names.vrfs.get(&route.vrf) else {
        findings.push(unknown_vrf("spec.vrf", &route.vrf));
        return (None, findings);
    };
    let key = NetKey::new(vrf.rib, route.prefix);
    let target = match &route.action {
        RouteAction::Blackhole => Some(TargetKey::Way(Way::Blackhole)),
        RouteAction::Unreachable => Some(TargetKey::Way(Way::Unreachable)),
        RouteAction::Prohibit => Some(TargetKey::Way(Way::Prohibit)),
        RouteAction::Vrf(other) => match names.vrfs.get(other) {
            Some(vrf) => Some(TargetKey::Way(Way::Lookup(vrf.rib))),
            None => {
                findings.push(unknown_vrf("spec.lookup", other));
                None
            }
        },
        RouteAction::Forward(hops) => {
            self::hops(hops, vrf.rib, Some((key, route.prefix)), names, &mut findings)
        }
    };
    (target.map(|target| (key, target)), findings)
}

/// What a label object leads to: a target, or the RIB to look up in.
pub fn label(
    route: &LabelRoute,
    intent: &Intent,
    names: &Names,
    twin: Option<&str>,
    limit: u32,
) -> (Option<Result<TargetKey, RibId>>, Vec<Finding>) {
    let mut findings = Vec::new();
    let label = route.label.get();
    if let Some(twin) = twin {
        findings.push(error(
            "spec.label",
            format!(
                "label {label} is bound by LabelRoute/{twin} ({})",
                intent.origin("LabelRoute", twin)
            ),
            "choose another label, or remove one of the objects",
        ));
        return (None, findings);
    }
    if label >= limit {
        findings.push(error(
            "spec.label",
            format!(
                "label {label} is beyond the label table, which ends at {}",
                limit.saturating_sub(1)
            ),
            "choose a smaller label, or raise spec.limits.labels of the Router object and restart \
             the agent",
        ));
        return (None, findings);
    }
    let found = match &route.action {
        LabelAction::Vrf(name) => match names.vrfs.get(name) {
            Some(vrf) => Some(Err(vrf.rib)),
            None => {
                findings.push(unknown_vrf("spec.vrf", name));
                None
            }
        },
        LabelAction::Forward(hops) => {
            self::hops(hops, crate::vrfs::DEFAULT, None, names, &mut findings).map(Ok)
        }
    };
    (found, findings)
}

fn hops(
    hops: &[NextHop],
    rib: RibId,
    own: Option<(NetKey, Prefix)>,
    names: &Names,
    findings: &mut Vec<Finding>,
) -> Option<TargetKey> {
    let only = own.and_then(|(_, prefix)| prefix.only());
    let mut found: Vec<Hop> = Vec::new();
    for (position, hop) in hops.iter().enumerate() {
        let field = format!("spec.nextHops[{position}]");
        if let Some(hop) = self::hop(hop, &field, names, findings) {
            found.push(hop.for_only(only));
        }
    }
    if let [only] = found.as_mut_slice() {
        only.weight = 1;
    }
    if found.is_empty() {
        return None;
    }
    let all = || found.iter().flat_map(|hop| std::iter::once(hop).chain(hop.backup.as_deref()));
    let own = own
        .filter(|(_, prefix)| {
            all().any(|hop| hop.link == 0 && hop.via.is_some_and(|via| prefix.contains(via)))
        })
        .map(|(key, _)| key);
    let searches = all().any(|hop| hop.via.is_some() && !(hop.link != 0 && hop.onlink));
    Some(TargetKey::Hops(Hops { rib: if searches { rib } else { 0 }, own, hops: found }))
}

/// The target that a tunnel to a node is.
pub fn tunnel(tunnel: Tunnel, names: &Names) -> Option<TargetKey> {
    hops(&[tunnel.next_hop()], crate::vrfs::DEFAULT, None, names, &mut Vec::new())
}

fn hop(hop: &NextHop, field: &str, names: &Names, findings: &mut Vec<Finding>) -> Option<Hop> {
    let link = match &hop.dev {
        None => 0,
        Some(dev) => match names.links.get(dev) {
            Some(index) => *index,
            None => {
                findings.push(error(
                    &format!("{field}.dev"),
                    format!("there is no interface {dev} on this host (yet)"),
                    "correct the name, or create the interface",
                ));
                return None;
            }
        },
    };
    let session = match &hop.bfd {
        None => 0,
        Some(name) => match names.sessions.number(name) {
            Some(number) => number,
            None => {
                findings.push(no_session(&format!("{field}.bfd"), name));
                return None;
            }
        },
    };
    let backup = hop
        .backup
        .as_deref()
        .and_then(|backup| self::hop(backup, &format!("{field}.backup"), names, findings))
        .map(|backup| Box::new(Hop { backup: None, weight: 1, ..backup }));
    Some(Hop {
        link,
        via: hop.via,
        only: None,
        weight: hop.weight.max(1),
        dress: Dress {
            labels: hop.labels.iter().map(|label| label.get()).collect(),
            pipe: Some(hop.ttl).filter(|_| hop.ttl_model == TtlModel::Pipe),
            class: hop.class,
            entropy: hop.entropy,
            mtu: None,
            kernel: false,
            session,
            tunnel: hop.tunnel,
        },
        onlink: hop.onlink || hop.via.is_some_and(crate::key::is_link_local),
        dead: false,
        backup,
    })
}

/// What next hops refer to by name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mention<'a> {
    /// An interface.
    Device(&'a str),
    /// A BFD session.
    Session(&'a str),
}

fn mentions(hops: &[NextHop]) -> BTreeSet<Mention<'_>> {
    let all = || hops.iter().flat_map(|hop| std::iter::once(hop).chain(hop.backup.as_deref()));
    let devices = all().filter_map(|hop| hop.dev.as_deref()).map(Mention::Device);
    devices.chain(all().filter_map(|hop| hop.bfd.as_deref()).map(Mention::Session)).collect()
}

/// What a route's next hops refer to.
pub fn route_mentions(route: &Route) -> BTreeSet<Mention<'_>> {
    match &route.action {
        RouteAction::Forward(hops) => mentions(hops),
        _ => BTreeSet::new(),
    }
}

/// What a label's next hops refer to.
pub fn label_mentions(label: &LabelRoute) -> BTreeSet<Mention<'_>> {
    match &label.action {
        LabelAction::Forward(hops) => mentions(hops),
        LabelAction::Vrf(_) => BTreeSet::new(),
    }
}

fn no_session(field: &str, name: &str) -> Finding {
    error(
        field,
        format!("BFD session {name} has no number: it does not exist, or all are taken"),
        "add a BfdSession object of that name, or raise spec.limits.sessions of the Router object \
         and restart the agent",
    )
}

fn unknown_vrf(field: &str, name: &str) -> Finding {
    error(
        field,
        format!("VRF {name} does not exist"),
        "add a Vrf object of that name, or correct the name",
    )
}

fn error(field: &str, what: String, remedy: &str) -> Finding {
    Finding { severity: Severity::Error, field: field.into(), what, remedy: remedy.into() }
}
