//! Intent to YAML: what [`crate::parse`] reads back to the same intent.

mod cluster;

use crate::kind::bfd::KINDS;
use crate::kind::link::{ROLES, RPF, XDP};
use crate::kind::router::{LIMITS, SOURCES, limit};
use crate::kind::{TTL_MODELS, route};
use crate::object::API_VERSION;
use crate::tree;
use std::fmt::{Display, Write};
use thalweg_model::intent::{
    BfdKey, BfdSession, LabelAction, LabelRoute, Limits, Link, NextHop, Route, RouteAction, Router,
    TtlModel, Vrf,
};
use thalweg_model::{Intent, Prefix};

/// Writes an intent as documents of one file, settings that have their default left out.
///
/// Routes that came from one object with several prefixes become one object again.
pub fn to_yaml(intent: &Intent) -> String {
    let mut out = Yaml::default();
    if intent.router != Router::default() {
        router(&intent.router, &mut out);
    }
    for (name, vrf) in &intent.vrfs {
        write_vrf(name, vrf, &mut out);
    }
    for (name, link) in &intent.links {
        write_link(name, link, &mut out);
    }
    write_routes(intent, &mut out);
    for (name, label) in &intent.labels {
        write_label(name, label, &mut out);
    }
    for (name, session) in &intent.sessions {
        write_session(name, session, &mut out);
    }
    cluster::objects(&intent.cluster, &mut out);
    out.text
}

/// Text that grows line by line.
#[derive(Default)]
struct Yaml {
    text: String,
}

impl Yaml {
    fn object(&mut self, kind: &str, name: &str) {
        self.object_of(API_VERSION, kind, name);
    }

    fn object_of(&mut self, version: &str, kind: &str, name: &str) {
        if !self.text.is_empty() {
            self.line(0, "---");
        }
        self.field(0, "apiVersion", version);
        self.field(0, "kind", kind);
        self.line(0, "metadata:");
        self.field(1, "name", quoted(name));
    }

    fn line(&mut self, depth: usize, text: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}{text}", "  ".repeat(depth));
    }

    fn field(&mut self, depth: usize, name: &str, value: impl Display) {
        self.line(depth, format_args!("{name}: {value}"));
    }

    /// A field that is left out when it has its default.
    fn differing<T: PartialEq + Display>(
        &mut self,
        depth: usize,
        name: &str,
        value: T,
        default: T,
    ) {
        if value != default {
            self.field(depth, name, value);
        }
    }
}

/// A text, in quotes if it could be read as something else, also by YAML 1.1.
fn quoted(text: &str) -> String {
    let old_bool =
        ["yes", "no", "on", "off", "y", "n"].iter().any(|word| word.eq_ignore_ascii_case(text));
    let simple = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let letter = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    match simple && letter && !old_bool && tree::is_text(text) {
        true => text.into(),
        false => format!("\"{}\"", text.escape_default().to_string().replace("\\'", "'")),
    }
}

fn word<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
    choices.iter().find(|(_, choice)| choice == value).map_or("", |(word, _)| word)
}

fn router(router: &Router, out: &mut Yaml) {
    let default = Router::default();
    out.object("Router", "router");
    out.line(0, "spec:");
    let (mut limits, mut usual) = (router.limits.clone(), Limits::default());
    if limits != usual {
        out.line(1, "limits:");
        for (name, ..) in LIMITS {
            if let (Some(value), Some(usual)) = (limit(&mut limits, name), limit(&mut usual, name))
            {
                out.differing(2, name, *value, *usual);
            }
        }
    }
    if let Some(seed) = router.hash_seed {
        out.field(1, "hashSeed", format_args!("{seed:#x}"));
    }
    if router.icmp_rate != default.icmp_rate || router.icmp != default.icmp {
        out.line(1, "icmp:");
        out.differing(2, "rate", router.icmp_rate, default.icmp_rate);
        out.differing(2, "source", word(SOURCES, &router.icmp), word(SOURCES, &default.icmp));
    }
    out.differing(1, "puntRate", router.punt_rate, default.punt_rate);
    out.differing(1, "burst", router.burst, default.burst);
    out.differing(1, "unlistedLinks", router.unlisted_links, default.unlisted_links);
    if router.hold_up != default.hold_up {
        out.field(1, "holdUp", format_args!("{}s", router.hold_up.as_secs()));
    }
    out.differing(1, "kernelRoutes", router.kernel_routes, default.kernel_routes);
    if let Some(address) = router.metrics {
        out.line(1, "metrics:");
        out.field(2, "listen", quoted(&address.to_string()));
    }
    if let Some(fpm) = &router.fpm {
        out.line(1, "fpm:");
        out.field(2, "listen", quoted(&fpm.listen.to_string()));
        out.field(2, "staleTime", format_args!("{}s", fpm.stale_time.as_secs()));
        out.field(2, "quietTime", format_args!("{}s", fpm.quiet_time.as_secs()));
    }
    if let Some(node) = &router.node {
        out.field(1, "node", quoted(node));
    }
    cluster::services(&router.services, out);
    cluster::flows(&router.flows, out);
    cluster::policy(&router.policy, out);
    if let Some(tunnel) = &router.tunnel {
        cluster::tunnel(tunnel, out);
    }
}

fn write_vrf(name: &str, vrf: &Vrf, out: &mut Yaml) {
    out.object("Vrf", name);
    if let Some(table) = vrf.table {
        out.line(0, "spec:");
        out.field(1, "table", table);
    }
}

fn write_link(name: &str, link: &Link, out: &mut Yaml) {
    let default = Link::default();
    out.object("Link", name);
    out.line(0, "spec:");
    out.line(1, "interfaces:");
    for interface in &link.interfaces {
        out.line(2, format_args!("- {}", quoted(interface)));
    }
    out.differing(1, "role", word(ROLES, &link.role), word(ROLES, &default.role));
    if let Some(vrf) = &link.vrf {
        out.field(1, "vrf", quoted(vrf));
    }
    if let Some(mtu) = link.mtu {
        out.field(1, "mtu", mtu);
    }
    out.differing(1, "mpls", link.mpls, false);
    out.differing(1, "ttlModel", word(TTL_MODELS, &link.ttl_model), "Uniform");
    out.differing(1, "xdp", word(XDP, &link.xdp), word(XDP, &default.xdp));
    out.differing(1, "rpf", word(RPF, &link.rpf), word(RPF, &default.rpf));
    if let Some(hold) = link.hold_up {
        out.field(1, "holdUp", format_args!("{}s", hold.as_secs()));
    }
    out.differing(1, "sourceRoute", link.source_route, false);
    out.differing(1, "directedBroadcast", link.directed_broadcast, false);
}

/// Routes of one object stand next to each other: their names differ only behind the bracket.
fn write_routes(intent: &Intent, out: &mut Yaml) {
    let mut routes = intent.routes.iter().peekable();
    while let Some((name, first)) = routes.next() {
        let Some(object) = object_of(name, first) else {
            write_route(name, first, &[], out);
            continue;
        };
        let mut prefixes = vec![first.prefix];
        while let Some((_, next)) = routes.next_if(|(name, next)| {
            object_of(name, next) == Some(object)
                && Route { prefix: first.prefix, ..(*next).clone() } == *first
        }) {
            prefixes.push(next.prefix);
        }
        write_route(object, first, &prefixes, out);
    }
}

/// The object that a route with several prefixes comes from.
fn object_of<'n>(name: &'n str, route: &Route) -> Option<&'n str> {
    let (object, _) = name.split_once('[')?;
    (route::name_of(object, route.prefix) == name).then_some(object)
}

fn write_route(name: &str, route: &Route, prefixes: &[Prefix], out: &mut Yaml) {
    out.object("Route", name);
    out.line(0, "spec:");
    out.differing(1, "vrf", quoted(&route.vrf), "default".into());
    out.differing(1, "metric", route.metric, 0);
    match &route.action {
        RouteAction::Forward(hops) => next_hops(hops, out),
        RouteAction::Blackhole => out.field(1, "action", "Blackhole"),
        RouteAction::Unreachable => out.field(1, "action", "Unreachable"),
        RouteAction::Prohibit => out.field(1, "action", "Prohibit"),
        RouteAction::Vrf(vrf) => out.field(1, "lookupVrf", quoted(vrf)),
    }
    match prefixes {
        [] => out.field(1, "prefix", route.prefix),
        _ => {
            out.line(1, "prefixes:");
            prefixes.iter().for_each(|prefix| out.line(2, format_args!("- {prefix}")));
        }
    }
}

fn write_label(name: &str, label: &LabelRoute, out: &mut Yaml) {
    out.object("LabelRoute", name);
    out.line(0, "spec:");
    out.field(1, "label", label.label);
    if let Some(model) = &label.ttl_model {
        out.field(1, "ttlModel", word(TTL_MODELS, model));
    }
    match &label.action {
        LabelAction::Forward(hops) => next_hops(hops, out),
        LabelAction::Vrf(vrf) => out.field(1, "lookupVrf", quoted(vrf)),
    }
}

fn write_session(name: &str, session: &BfdSession, out: &mut Yaml) {
    out.object("BfdSession", name);
    out.line(0, "spec:");
    out.field(1, "peer", quoted(&session.peer.to_string()));
    if let Some(local) = session.local {
        out.field(1, "local", quoted(&local.to_string()));
    }
    out.field(1, "link", quoted(&session.link));
    out.field(1, "transmit", format_args!("{}ms", session.transmit.as_millis()));
    out.field(1, "receive", format_args!("{}ms", session.receive.as_millis()));
    out.field(1, "multiplier", session.multiplier);
    out.field(1, "holdUp", format_args!("{}ms", session.hold_up.as_millis()));
    out.differing(1, "passive", session.passive, false);
    if let Some(auth) = &session.authentication {
        out.line(1, "authentication:");
        out.field(2, "kind", word(KINDS, &auth.kind));
        out.field(2, "keyId", auth.key_id);
        match &auth.key {
            BfdKey::Text(key) => out.field(2, "key", quoted(key)),
            BfdKey::File(path) => out.field(2, "keyFile", quoted(&path.to_string_lossy())),
        }
    }
}

fn next_hops(hops: &[NextHop], out: &mut Yaml) {
    out.line(1, "nextHops:");
    for hop in hops {
        let mut inner = Yaml::default();
        next_hop(hop, 0, &mut inner);
        for (index, line) in inner.text.lines().enumerate() {
            out.line(2, format_args!("{}{line}", if index == 0 { "- " } else { "  " }));
        }
    }
}

fn next_hop(hop: &NextHop, depth: usize, out: &mut Yaml) {
    if let Some(via) = hop.via {
        // An address may begin or end with a colon, which YAML would take for a field name.
        let text = via.to_string();
        let bare = !text.starts_with(':') && !text.ends_with(':');
        out.field(depth, "via", if bare { text } else { format!("\"{text}\"") });
    }
    if let Some(dev) = &hop.dev {
        out.field(depth, "dev", quoted(dev));
    }
    out.differing(depth, "weight", hop.weight, 1);
    if !hop.labels.is_empty() {
        let labels: Vec<_> = hop.labels.iter().map(ToString::to_string).collect();
        out.field(depth, "labels", format_args!("[{}]", labels.join(", ")));
    }
    out.differing(
        depth,
        "ttlModel",
        word(TTL_MODELS, &hop.ttl_model),
        word(TTL_MODELS, &TtlModel::Uniform),
    );
    out.differing(depth, "ttl", hop.ttl, 255);
    if let Some(class) = hop.class {
        out.field(depth, "class", class);
    }
    out.differing(depth, "entropy", hop.entropy, false);
    out.differing(depth, "onlink", hop.onlink, false);
    if let Some(session) = &hop.bfd {
        out.field(depth, "bfd", quoted(session));
    }
    if let Some(backup) = &hop.backup {
        out.line(depth, "backup:");
        next_hop(backup, depth + 1, out);
    }
}
