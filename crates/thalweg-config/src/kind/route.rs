//! `Route`: where packets to prefixes go.

use crate::draft::{DEFAULT_VRF, Draft, ObjectId};
use crate::kind::nexthop::Within;
use crate::kind::{nexthop, prefix};
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::sources::Span;
use crate::suggest;
use std::fmt::Write;
use thalweg_model::Prefix;
use thalweg_model::intent::{Route, RouteAction};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "vrf",
    "prefix",
    "prefixes",
    "metric",
    "nextHops",
    "action",
    "lookupVrf",
    "via",
    "dev",
    "labels",
    "ttlModel",
    "ttl",
    "class",
    "entropy",
    "onlink",
    "backup",
    "bfd",
];

/// Those fields of a next hop that may stand right in the `spec`.
const SHORTHAND: &[&str] =
    &["via", "dev", "labels", "ttlModel", "ttl", "class", "entropy", "onlink", "backup", "bfd"];

/// `action`.
const ACTIONS: &[(&str, Action)] = &[
    ("Blackhole", Action::Blackhole),
    ("Unreachable", Action::Unreachable),
    ("Prohibit", Action::Prohibit),
];

#[derive(Clone, Copy)]
enum Action {
    Blackhole,
    Unreachable,
    Prohibit,
}

/// The name of the intent's route to one of several prefixes of an object.
pub(crate) fn name_of(object: &str, prefix: Prefix) -> String {
    format!("{object}[{prefix}]")
}

/// Reads `spec`.
pub(crate) fn read(
    spec: &Fields,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let before = report.errors();
    let vrf =
        spec.get("vrf", report).and_then(|field| draft.vrf_name(&field, "spec.vrf", id, report));
    let vrf = vrf.unwrap_or_else(|| DEFAULT_VRF.into());
    let metric = spec.get("metric", report).and_then(|field| field.number(0..=u32::MAX, report));
    let (prefixes, places) = prefixes(spec, report);
    let action = read_action(spec, &vrf, &prefixes, id, draft, report);
    let (Some(action), true) = (action, report.errors() == before) else { return };
    let Some(first) = prefixes.first() else { return };
    let route = Route { vrf, prefix: *first, metric: metric.unwrap_or_default(), action };
    let places = prefixes.into_iter().zip(places);
    if spec.has("prefixes") {
        let named = by_name(places.collect()).into_iter();
        draft.routes(&route, named.map(|(prefix, at)| (name_of(name, prefix), prefix, at)), id);
    } else {
        draft.routes(&route, places.map(|(prefix, at)| (name.to_owned(), prefix, at)), id);
    }
}

/// Sorts prefixes by their text. The routes of a full table are then named, stored and freed in
/// the order of their names, which takes a quarter of the time of a random one.
fn by_name(prefixes: Vec<(Prefix, Span)>) -> Vec<(Prefix, Span)> {
    let mut text = String::new();
    let mut keyed: Vec<_> = prefixes
        .into_iter()
        .map(|(prefix, at)| {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{prefix}");
            let mut key = [0; 20];
            key.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            (key, prefix, at)
        })
        .collect();
    keyed.sort_unstable_by(|(a, one, first), (b, other, second)| {
        // Only long IPv6 prefixes agree in their first 20 letters.
        a.cmp(b).then_with(|| one.to_string().cmp(&other.to_string())).then(first.cmp(second))
    });
    keyed.into_iter().map(|(_, prefix, at)| (prefix, at)).collect()
}

/// The prefixes and where each stands.
fn prefixes(spec: &Fields, report: &mut Report) -> (Vec<Prefix>, Vec<Span>) {
    let (mut prefixes, mut places) = (Vec::new(), Vec::new());
    let mut take = |field: &Field, report: &mut Report| {
        if let Some(prefix) = prefix::read(field, report) {
            prefixes.push(prefix);
            places.push(field.node.span);
        }
    };
    match (spec.get("prefix", report), spec.get("prefixes", report)) {
        (Some(_), Some(many)) => {
            let what = "`prefix` and `prefixes` exclude each other";
            report.error(many.key_span, &many.path, what, "list all of them under `prefixes`");
        }
        (Some(one), None) => take(&one, report),
        (None, Some(many)) => many.items(report).for_each(|item| take(&item, report)),
        (None, None) if !spec.has("prefix") && !spec.has("prefixes") => {
            spec.missing("prefix", "name the destinations: `prefix: 192.0.2.0/24`", report);
        }
        (None, None) => {}
    }
    (prefixes, places)
}

/// Exactly one of the ways to say what happens to a packet; others are reported.
pub(crate) fn way(
    spec: &Fields,
    ways: &[&'static str],
    shorthand: &[&str],
    report: &mut Report,
) -> Option<&'static str> {
    let named = spec.iter().filter_map(|field| {
        let way = ways.iter().find(|way| **way == field.name()).copied();
        let way = way.or(shorthand.contains(&field.name()).then_some("via"))?;
        Some((way, field))
    });
    let mut found: Option<(&'static str, Field)> = None;
    for (way, field) in named {
        match &found {
            Some((first, _)) if *first == way => {}
            Some((_, first)) => {
                let what = format!("`{}` and `{}` exclude each other", first.name(), field.name());
                report.error(field.key_span, &field.path, what, "keep one of them");
                return None;
            }
            None => found = Some((way, field)),
        }
    }
    if found.is_none() {
        let ways = suggest::list(ways.iter().copied());
        let remedy = format!("add `via: ADDRESS`, `dev: INTERFACE`, or one of {ways}");
        report.error(
            Span { end: spec.span.start, ..spec.span },
            spec.path(),
            "nothing says where packets go",
            remedy,
        );
    }
    found.map(|(way, _)| way)
}

fn read_action(
    spec: &Fields,
    vrf: &str,
    prefixes: &[Prefix],
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) -> Option<RouteAction> {
    let mut within = Within { draft, user: id };
    match way(spec, &["nextHops", "action", "lookupVrf"], SHORTHAND, report)? {
        "nextHops" => {
            let field = spec.get("nextHops", report)?;
            nexthop::list(&field, prefixes, &mut within, report).map(RouteAction::Forward)
        }
        "action" => Some(match spec.get("action", report)?.choice(ACTIONS, report)? {
            Action::Blackhole => RouteAction::Blackhole,
            Action::Unreachable => RouteAction::Unreachable,
            Action::Prohibit => RouteAction::Prohibit,
        }),
        "lookupVrf" => {
            let field = spec.get("lookupVrf", report)?;
            let other = within.draft.vrf_name(&field, "spec.lookupVrf", id, report)?;
            if other == vrf {
                let what = format!("the route looks packets up in its own VRF `{vrf}` again");
                field.error(what, "name another VRF", report);
                return None;
            }
            Some(RouteAction::Vrf(other))
        }
        _ => nexthop::read(spec, SHORTHAND, prefixes, &mut within, report)
            .map(|hop| RouteAction::Forward(vec![hop])),
    }
}
