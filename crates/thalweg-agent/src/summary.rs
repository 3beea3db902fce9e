//! What a plan and a change of intent touch, in names and counts.

use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::{GroupId, IlmWord, LinkRow, VrfId};
use thalweg_api::view::{ChangeView, ObjectView, TallyView};
use thalweg_compile::Compiler;
use thalweg_image::{Change, Plan};
use thalweg_model::{Catalog, Intent, Key, Prefix};

/// Names that are told one by one; the rest is counted.
pub const MOST: usize = 20;

/// What a plan does, told by the entries it touches.
pub fn of_plan(plan: &Plan, compiler: &Compiler) -> ChangeView {
    let mut tallies: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut view = ChangeView::default();
    for change in &plan.changes {
        let (table, set) = kind(change);
        let tally = tallies.entry(table).or_default();
        *if set { &mut tally.0 } else { &mut tally.1 } += 1;
        if let Some(named) = named(change, compiler, view.objects.len() < MOST) {
            match named {
                Some(object) => {
                    let change = if set { "set" } else { "removed" };
                    view.objects.push(ObjectView { object, change: change.into() });
                }
                None => view.more += 1,
            }
        }
    }
    let tally = |(table, (set, removed)): (&str, (u64, u64))| TallyView {
        table: table.into(),
        set,
        removed,
    };
    view.tables = tallies.into_iter().map(tally).collect();
    view
}

/// The table of a change, and whether it sets something.
fn kind(change: &Change) -> (&'static str, bool) {
    match change {
        Change::Settings(_) => ("settings", true),
        Change::Link(_, row) => ("links", *row != LinkRow::default()),
        Change::Vlan { link, .. } => ("VLANs", *link != 0),
        Change::NextHop(..) => ("next hops", true),
        Change::Group(..) => ("groups", true),
        Change::Route4(_, _, group) | Change::Route6(_, _, group) => {
            ("routes", *group != GroupId::NONE)
        }
        Change::Label(_, word) => ("labels", *word != IlmWord::default()),
        Change::Own(_) => ("own addresses", true),
        Change::FreeGroup(_) => ("groups", false),
        Change::FreeNextHop(_) => ("next hops", false),
        #[allow(unreachable_patterns, reason = "tables to come are counted without a name")]
        _ => ("others", true),
    }
}

/// What a change is about, for those that mean something to people; the words only if wanted.
fn named(change: &Change, compiler: &Compiler, words: bool) -> Option<Option<String>> {
    let route = |vrf: &VrfId, prefix: Prefix| match compiler.vrf_name_of(*vrf) {
        None | Some("default") => format!("route {prefix}"),
        Some(vrf) => format!("route {vrf} {prefix}"),
    };
    let text = || match change {
        Change::Link(index, _) => format!("link {}", compiler.link_name(*index)),
        Change::Route4(vrf, prefix, _) => route(vrf, Prefix::V4(*prefix)),
        Change::Route6(vrf, prefix, _) => route(vrf, Prefix::V6(*prefix)),
        Change::Label(label, _) => format!("label {label}"),
        _ => String::new(),
    };
    match change {
        Change::Link(..) | Change::Route4(..) | Change::Route6(..) | Change::Label(..) => {
            Some(words.then(text))
        }
        _ => None,
    }
}

/// The objects that are another in a new intent, by name. Several prefixes of one object are one.
pub fn of_intents(old: &Intent, new: &Intent) -> Vec<ObjectView> {
    let mut found = Found::default();
    if old.router != new.router {
        found.0.insert(("Router", "router".into()));
    }
    found.maps("Vrf", &old.vrfs, &new.vrfs);
    found.maps("Link", &old.links, &new.links);
    found.catalogs("Route", &old.routes, &new.routes);
    found.catalogs("LabelRoute", &old.labels, &new.labels);
    let (was, is) = (&old.cluster, &new.cluster);
    found.cluster("Service", &was.services, &is.services);
    found.cluster("EndpointSlice", &was.slices, &is.slices);
    found.cluster("Node", &was.nodes, &is.nodes);
    found.cluster("Pod", &was.pods, &is.pods);
    found.cluster("IPPool", &was.pools, &is.pools);
    found.cluster("ServiceCIDR", &was.service_cidrs, &is.service_cidrs);
    found.finish(old, new)
}

/// The objects of an intent change, cut to [`MOST`], with the tables of its plan.
pub fn with_objects(mut change: ChangeView, mut objects: Vec<ObjectView>) -> ChangeView {
    change.more = objects.len().saturating_sub(MOST) as u64;
    objects.truncate(MOST);
    change.objects = objects;
    change
}

#[derive(Default)]
struct Found(BTreeSet<(&'static str, String)>);

impl Found {
    fn maps<T: PartialEq>(
        &mut self,
        kind: &'static str,
        old: &BTreeMap<String, T>,
        new: &BTreeMap<String, T>,
    ) {
        let differs = |name: &&String| !is_derived(name) && old.get(*name) != new.get(*name);
        let names = old.keys().chain(new.keys()).filter(differs);
        self.0.extend(names.map(|name| (kind, name.clone())));
    }

    fn catalogs<T: PartialEq>(
        &mut self,
        kind: &'static str,
        old: &Catalog<String, T>,
        new: &Catalog<String, T>,
    ) {
        for change in old.differences(new) {
            let name = bare(change.key);
            if is_derived(name) {
                continue;
            }
            // The prefixes of one object come in a row.
            if self.0.last() != Some(&(kind, name.to_owned())) {
                self.0.insert((kind, name.to_owned()));
            }
        }
    }

    fn cluster<K: Ord + std::fmt::Display, V: PartialEq>(
        &mut self,
        kind: &'static str,
        old: &Catalog<K, V>,
        new: &Catalog<K, V>,
    ) {
        let names = old.differences(new).into_iter().map(|change| (kind, change.key.to_string()));
        self.0.extend(names);
    }

    fn finish(self, old: &Intent, new: &Intent) -> Vec<ObjectView> {
        let view = |(kind, name): (&str, String)| {
            let change = match (has(old, kind, &name), has(new, kind, &name)) {
                (false, _) => "added",
                (_, false) => "removed",
                _ => "changed",
            };
            ObjectView { object: format!("{kind}/{name}"), change: change.into() }
        };
        self.0.into_iter().map(view).collect()
    }
}

/// Whether nobody wrote the object: what pods come to is not in what files say.
fn is_derived(name: &str) -> bool {
    name.contains('/')
}

/// The object's name of a route that is one of several prefixes.
fn bare(name: &str) -> &str {
    name.split_once('[').map_or(name, |(object, _)| object)
}

/// Whether an intent has an object.
fn has(intent: &Intent, kind: &str, name: &str) -> bool {
    match kind {
        "Vrf" => intent.vrfs.contains_key(name),
        "Link" => intent.links.contains_key(name),
        "LabelRoute" => intent.labels.contains_key(name),
        "Route" => {
            let next = intent.routes.next(format!("{name}[").as_str());
            let several = next.is_some_and(|(found, _)| bare(found) == name);
            several || intent.routes.contains_key(name)
        }
        "Router" => true,
        // Those of Kubernetes have a place, or are not there.
        _ => intent.origins.contains_key(&Key { kind: kind.into(), name: name.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(text: &str) -> Intent {
        let loaded = thalweg_config::parse(&[("a.yaml".into(), text.into())]);
        assert!(loaded.is_ok(), "{:?}", loaded.problems);
        loaded.intent
    }

    fn route(name: &str, prefixes: &str) -> String {
        format!(
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: {name}}}\n\
             spec: {{prefixes: [{prefixes}], action: Blackhole}}\n"
        )
    }

    #[test]
    fn objects_are_told_by_name_once() {
        let old = intent(
            &[
                route("gone", "10.0.1.0/24, 10.0.2.0/24"),
                route("same", "10.1.0.0/16"),
                route("wider", "10.2.0.0/16"),
            ]
            .concat(),
        );
        let new = intent(
            &[
                route("same", "10.1.0.0/16"),
                route("wider", "10.2.0.0/16, 10.3.0.0/16"),
                route("come", "10.4.0.0/16, 10.5.0.0/16"),
            ]
            .concat(),
        );
        let words = |old, new| {
            let all = of_intents(old, new).into_iter();
            all.map(|view| format!("{} {}", view.change, view.object)).collect::<Vec<_>>()
        };
        assert_eq!(
            words(&old, &new),
            ["added Route/come", "removed Route/gone", "changed Route/wider"]
        );
        assert!(words(&new, &new).is_empty());
        let link = intent(
            "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: all}\n\
             spec: {interfaces: [eth0]}\n",
        );
        assert_eq!(words(&Intent::default(), &link), ["added Link/all"]);
    }
}
