//! Everything about one object.

mod service;

pub use service::{problems_of_services, service};

use crate::brain::Brain;
use crate::plane::Counts;
use crate::views;
use std::net::IpAddr;
use thalweg_abi::{GroupId, NextHopId};
use thalweg_api::Fault;
use thalweg_api::view::{DescribeView, SectionView, SessionView};
use thalweg_compile::{Compiler, RouteState};
use thalweg_model::{Prefix, Problem};

/// Kinds that can be described, with what names one.
const KINDS: &str = "link NAME, vrf NAME, route PREFIX|ADDRESS|OBJECT, label NUMBER|OBJECT, \
                     nexthop NUMBER, group NUMBER, neighbor ADDRESS, session NAME, \
                     service NAMESPACE/NAME, reason WORD, generation NUMBER";
/// Most lines of a section.
const MAX_LINES: usize = 50;

/// Describes an object.
///
/// # Errors
///
/// [`Fault`] for kinds and objects that are not there.
pub fn describe(
    brain: &Brain,
    compiler: &Compiler,
    counts: &Counts,
    kind: &str,
    name: &str,
) -> Result<DescribeView, Fault> {
    match kind {
        "link" | "links" => link(brain, compiler, name),
        "vrf" | "vrfs" => vrf(compiler, name),
        "route" | "routes" => route(compiler, name),
        "label" | "labels" => label(compiler, name),
        "nexthop" | "nexthops" => nexthop(compiler, name),
        "group" | "groups" => group(compiler, name),
        "neighbor" | "neighbors" => neighbor(compiler, name),
        "reason" | "drop" | "drops" => reason(counts, name),
        _ => Err(Fault::invalid(
            format!("there is nothing of kind `{kind}`"),
            format!("there are: {KINDS}"),
        )),
    }
}

/// Describes a BFD session.
///
/// # Errors
///
/// [`Fault`] when there is none of that name.
pub fn session(
    compiler: &Compiler,
    sessions: &[SessionView],
    name: &str,
) -> Result<DescribeView, Fault> {
    let view = sessions.iter().find(|session| session.name == name);
    let view = view.ok_or_else(|| missing("session", name))?;
    let mut draft = Draft::new("session", name);
    let micros = |count: u64| format!("{} ms", count as f64 / 1e3);
    draft
        .field("Peer", &view.peer)
        .field("Link", &view.link)
        .field("Path", &view.path)
        .field("State", format!("{} (neighbor: {})", view.state, view.remote_state))
        .field("Sends every", micros(view.transmit_micros))
        .field("Hears every", micros(view.receive_micros))
        .field("Multiplier", format!("{} (neighbor: {})", view.multiplier, view.remote_multiplier))
        .field("Detection", micros(view.detection_micros))
        .some("Up for", view.up_for.map(|time| format!("{time} s")))
        .field("Flaps", view.flaps)
        .field("Diagnostic", format!("{} (neighbor: {})", view.diagnostic, view.remote_diagnostic))
        .field(
            "Number",
            format!("{} (neighbor: {})", view.discriminator, view.remote_discriminator),
        )
        .field("Authentication", view.authentication.as_deref().unwrap_or("none"))
        .field("Packets", format!("{} sent, {} received", view.sent, view.received))
        .field("Not authentic", view.refused)
        .some("Trouble", view.trouble.as_ref());
    let words = format!(" bfd {name}");
    let hops = compiler.nexthops().into_iter().map(|hop| hop.action);
    draft.section(
        "Next hops",
        hops.filter(|action| format!("{action} ").contains(&format!("{words} "))),
    );
    Ok(draft.problems(compiler, |problem| {
        problem.object.as_ref().is_some_and(|key| key.kind == "BfdSession" && key.name == name)
    }))
}

struct Draft(DescribeView);

impl Draft {
    fn new(kind: &str, name: impl ToString) -> Self {
        let (kind, name) = (kind.into(), name.to_string());
        Self(DescribeView { kind, name, ..DescribeView::default() })
    }

    fn field(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.0.fields.push((name.into(), value.to_string()));
        self
    }

    fn some(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.field(name, value);
        }
        self
    }

    fn section(&mut self, title: &str, lines: impl IntoIterator<Item = String>) -> &mut Self {
        let mut lines = lines.into_iter();
        let mut shown: Vec<String> = lines.by_ref().take(MAX_LINES).collect();
        let more = lines.count();
        if more > 0 {
            shown.push(format!("… and {more} more"));
        }
        if !shown.is_empty() {
            self.0.sections.push(SectionView { title: title.into(), lines: shown });
        }
        self
    }

    fn problems(mut self, compiler: &Compiler, about: impl Fn(&Problem) -> bool) -> DescribeView {
        self.0.problems = compiler.problems().into_iter().filter(about).collect();
        self.0
    }
}

fn missing(kind: &str, name: &str) -> Fault {
    Fault::not_found(
        format!("there is no {kind} `{name}`"),
        format!("`thalweg get {kind}s` lists them"),
    )
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn link(brain: &Brain, compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let all = views::links(compiler, &brain.hooks, &brain.holds);
    let view = all.into_iter().find(|link| link.name == name);
    let view = view.ok_or_else(|| missing("link", name))?;
    let guard = compiler.host_endpoint_at(view.index);
    let mut draft = Draft::new("link", name);
    draft
        .field("Index", view.index)
        .field("Up", yes(view.up))
        .some("Held down", view.held.map(|left| format!("it came up again, {left} s left")))
        .field("Routed", yes(view.routed))
        .field("Reason", &view.reason)
        .some("Object", view.object.as_ref().map(|object| format!("Link/{object}")))
        .some("Guarded by", guard.map(|host| format!("HostEndpoint/{host}")))
        .field("VRF", if view.vrf.is_empty() { "-" } else { &view.vrf })
        .field("MTU", view.mtu)
        .field("Link address", &view.mac)
        .field("Flags", if view.flags.is_empty() { "-".into() } else { view.flags.join(", ") });
    match &view.hook {
        Some(hook) => draft
            .field("Hook", &hook.hook)
            .field("Wished hook", &hook.wish)
            .field("Hook reason", &hook.reason),
        None => draft.field("Hook", "none needed"),
    };
    draft.section("Addresses", view.addresses);
    let neighbors = compiler.neighbors().into_iter().filter(|n| n.link == view.index);
    let line = |n: thalweg_compile::NeighborView| {
        let mac = n.mac.map_or_else(|| "unresolved".into(), |mac| mac.to_string());
        format!("{} {mac} {}", n.address, n.state)
    };
    draft.section("Neighbors", neighbors.map(line));
    let object = view.object;
    Ok(draft.problems(compiler, |problem| {
        problem.object.as_ref().is_some_and(|key| {
            key.kind == "Link" && object.as_ref().is_some_and(|object| *object == key.name)
        }) || problem.what.contains(&format!("`{name}`"))
    }))
}

fn vrf(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let view = compiler.vrfs().into_iter().find(|vrf| vrf.name == name);
    let view = view.ok_or_else(|| missing("vrf", name))?;
    let mut draft = Draft::new("vrf", name);
    draft
        .field("Number", view.id.0)
        .field("Kernel table", view.table.map_or("none".into(), |table| table.to_string()))
        .field("IPv4 prefixes", view.ipv4)
        .field("IPv6 prefixes", view.ipv6)
        .section("Links", view.links);
    Ok(draft.problems(compiler, |problem| {
        problem.object.as_ref().is_some_and(|key| key.kind == "Vrf" && key.name == name)
    }))
}

fn route(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let vrfs = compiler.vrfs();
    let intent = compiler.intent().routes.get(name);
    let (prefix, only) = match (intent, name.parse::<Prefix>(), name.parse::<IpAddr>()) {
        (Some(route), ..) => (route.prefix, Some(route.vrf.clone())),
        (None, Ok(prefix), _) => (prefix, None),
        (None, _, Ok(address)) => {
            let found = vrfs.iter().find_map(|vrf| compiler.route_for(vrf.id, address));
            let found = found.ok_or_else(|| {
                Fault::not_found(
                    format!("no route covers {address}"),
                    "`thalweg get routes` lists them",
                )
            })?;
            (found.prefix, Some(found.vrf))
        }
        _ => return Err(missing("route", name)),
    };
    let mut draft = Draft::new("route", name);
    let mut found = false;
    for vrf in vrfs.iter().filter(|vrf| only.as_ref().is_none_or(|only| *only == vrf.name)) {
        let candidates = compiler.routes_of(&vrf.name, prefix);
        if candidates.is_empty() {
            continue;
        }
        found = true;
        draft.field("VRF", &vrf.name).field("Prefix", prefix);
        let in_force = candidates.iter().find(|c| c.state == RouteState::InForce).cloned();
        draft.section(
            "Candidates, best first",
            candidates.into_iter().map(|candidate| {
                let view = views::route(candidate);
                let place = view.origin.map(|o| format!(" ({o})")).unwrap_or_default();
                let (state, metric) = (view.state, view.metric);
                format!("{state}: {}, metric {metric}, from {}{place}", view.action, view.source)
            }),
        );
        if let Some(group) = in_force.and_then(|c| c.group).and_then(|id| compiler.group(id)) {
            draft.field("Group", group.id.0);
            draft.section("Next hops in force", members(views::group(group)));
        }
    }
    if !found {
        return Err(missing("route", name));
    }
    Ok(draft.problems(compiler, |problem| {
        problem.object.as_ref().is_some_and(|key| {
            key.kind == "Route"
                && compiler.intent().routes.get(&key.name).is_some_and(|r| r.prefix == prefix)
        })
    }))
}

fn members(group: thalweg_api::view::GroupView) -> impl Iterator<Item = String> {
    let buckets = group.buckets;
    group.members.into_iter().map(move |member| {
        let (held, weight) = (member.buckets, member.weight);
        format!(
            "next hop {}: {}, weight {weight}, {held} of {buckets} buckets",
            member.nexthop, member.action
        )
    })
}

fn label(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let number = name.parse::<u32>().ok();
    let view = views::labels(compiler)
        .into_iter()
        .find(|view| Some(view.label) == number || view.object == name)
        .ok_or_else(|| missing("label", name))?;
    let mut draft = Draft::new("label", view.label);
    draft
        .field("Object", format!("LabelRoute/{}", view.object))
        .field("Origin", &view.origin)
        .field("In force", yes(view.in_force))
        .field("Action", &view.action)
        .some("Group", view.group);
    if let Some(group) = view.group.and_then(|id| compiler.group(GroupId(id as u16))) {
        draft.section("Next hops in force", members(views::group(group)));
    }
    Ok(draft.problems(compiler, |problem| {
        let key = problem.object.as_ref();
        key.is_some_and(|key| key.kind == "LabelRoute" && key.name == view.object)
    }))
}

fn nexthop(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let id = name.parse().ok().map(NextHopId);
    let view = id.and_then(|id| compiler.nexthop(id)).ok_or_else(|| missing("nexthop", name))?;
    let device = compiler.link_name(view.row.device);
    let view = views::nexthop(view);
    let mut draft = Draft::new("nexthop", name);
    draft
        .field("Kind", &view.kind)
        .field("Action", &view.action)
        .some("Link", view.link.as_ref())
        .some("Leaves by", view.link.as_ref().map(|_| device))
        .some("Gateway", view.gateway)
        .some("Link address", view.mac.as_ref())
        .field("Largest packet", view.mtu)
        .some("Backup", view.backup)
        .field("Held by", view.holders);
    if !view.labels.is_empty() {
        let labels: Vec<_> = view.labels.iter().map(u32::to_string).collect();
        draft.field("Pushes", labels.join("/"));
    }
    Ok(draft.0)
}

fn group(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let id = name.parse().ok().map(GroupId);
    let view = id.and_then(|id| compiler.group(id)).ok_or_else(|| missing("group", name))?;
    let view = views::group(view);
    let mut draft = Draft::new("group", name);
    draft.field("Used by", format!("{} prefixes and labels", view.uses));
    draft.field("Buckets", view.buckets);
    draft.section("Next hops", members(view));
    Ok(draft.0)
}

fn neighbor(compiler: &Compiler, name: &str) -> Result<DescribeView, Fault> {
    let address: Option<IpAddr> = name.parse().ok();
    let found: Vec<_> =
        compiler.neighbors().into_iter().filter(|n| Some(n.address) == address).collect();
    if found.is_empty() {
        return Err(missing("neighbor", name));
    }
    let mut draft = Draft::new("neighbor", name);
    for neighbor in found {
        let mac = neighbor.mac.map_or_else(|| "unresolved".into(), |mac| mac.to_string());
        draft
            .field("Link", &neighbor.link_name)
            .field("Link address", mac)
            .field("State", &neighbor.state)
            .field("Used by next hops", yes(neighbor.used))
            .field("Host route", yes(neighbor.host_route));
    }
    Ok(draft.0)
}

fn reason(counts: &Counts, name: &str) -> Result<DescribeView, Fault> {
    let reason = views::reason_named(name).ok_or_else(|| {
        let all = thalweg_abi::Reason::ALL.iter().map(|reason| reason.name());
        Fault::not_found(
            format!("there is no reason `{name}`"),
            format!("the reasons are: {}", all.collect::<Vec<_>>().join(", ")),
        )
    })?;
    let mut draft = Draft::new("reason", name);
    draft.field("Meaning", reason.describe()).field("Number", reason as u8);
    for (verdict, counter) in counts.iter().filter(|(verdict, _)| verdict.reason() == reason) {
        let text = format!("{} packets, {} octets", counter.packets, counter.bytes);
        draft.field(&format!("As {}", verdict.kind().name()), text);
    }
    Ok(draft.0)
}
