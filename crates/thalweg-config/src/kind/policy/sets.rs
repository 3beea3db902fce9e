//! Calico's `Tier`, `NetworkSet`, `GlobalNetworkSet`, `HostEndpoint` and `Profile`.

use super::calico::{order, protocol, rules};
use super::parts::{nets, sound};
use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::foreign::address;
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use std::collections::BTreeMap;
use thalweg_model::cluster::{NamedPort, Protocol};
use thalweg_policy::lower::FIXED;
use thalweg_policy::object::{EndAction, HostEndpoint, NetworkSet, Profile, Tier};
use thalweg_policy::world::{ALLOW, PROFILE_OF_ACCOUNT, PROFILE_OF_NAMESPACE};

/// `defaultAction`.
const ENDS: &[(&str, EndAction)] = &[("Deny", EndAction::Deny), ("Pass", EndAction::Pass)];

/// Reads a `Tier`. One that is wrong stays, since without it all policies that name it would not count: it
/// is last as far as its order is wrong, and denies at its end as far as that is.
pub(super) fn tier(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let mut tier = Tier { origin: report.origin(meta.at), ..Tier::default() };
    if let Some(spec) = object.given("spec")
        && let Some(fields) =
            Fields::open_foreign(spec.node, &spec.path, &["order", "defaultAction"], report)
    {
        tier.order = fields.given("order").and_then(|field| order(&field, report));
        tier.end = fields.choice_of("defaultAction", ENDS, report).unwrap_or_default();
    }
    let fixed = FIXED.iter().find(|(name, ..)| *name == meta.name.name);
    if let Some((name, order, end)) = fixed
        && (tier.order.is_some_and(|is| is != *order) || tier.end != *end)
    {
        let end = ENDS.iter().find(|(_, one)| one == end).map_or("", |(word, _)| word);
        let what = format!("tier `{name}` always has order {order} and ends with {end}");
        let remedy = "make a tier of another name, or leave this one out";
        report.error(meta.at, &object.path().below("spec"), what, remedy);
        return;
    }
    if report.errors() > before {
        let what = "the tier stays with its policies: without a right order it is the last one, and without a \
                    right end it denies";
        report.warning(meta.at, &object.path().below("spec"), what, "mend what is wrong in it");
    }
    draft.cluster.policies.tiers.push((meta.name.name.clone(), tier));
}

/// Reads a `NetworkSet` or `GlobalNetworkSet`. A range that is wrong is left out alone: without all others,
/// rules that deny them would deny nobody.
pub(super) fn set(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let origin = report.origin(meta.at);
    let mut set = NetworkSet { origin, labels: meta.labels(), nets: Vec::new() };
    if let Some(spec) = object.given("spec")
        && let Some(fields) = Fields::open_foreign(spec.node, &spec.path, &["nets"], report)
    {
        set.nets = nets(&fields, "nets", report);
    }
    if report.errors() > before {
        let what = "what is wrong in the set is left out; all others of its ranges count";
        report.warning(meta.at, &object.path().below("spec"), what, "mend what is wrong in it");
    } else if set.nets.is_empty() {
        let what = "the set has no addresses, so that nobody is meant by it";
        report.warning(meta.at, &object.path().below("spec"), what, "write them as `spec.nets`");
    }
    draft.cluster.policies.sets.push((meta.name.clone(), set));
}

/// Reads a `HostEndpoint`. One of which it is known what it stands for stays, whatever else is wrong:
/// without it, its interface would let everything pass.
pub(super) fn host(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let Some(spec) = object.required("spec", "write `spec: {node: …}`", report) else { return };
    let known = ["node", "interfaceName", "expectedIPs", "profiles", "ports"];
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, &known, report) else { return };
    let node = fields.required("node", "write the name of the node", report);
    let node = node.and_then(|field| field.text(report)).unwrap_or_default();
    let mut host = HostEndpoint {
        origin: report.origin(meta.at),
        labels: meta.labels(),
        node: node.to_owned(),
        interface: fields.given("interfaceName").and_then(|field| interface(&field, report)),
        ..HostEndpoint::default()
    };
    let is_known = report.errors() == before;
    if let Some(list) = fields.given("expectedIPs") {
        host.addresses = list.members(report).filter_map(|item| address(&item, report)).collect();
    }
    if let Some(list) = fields.given("profiles") {
        for item in list.members(report) {
            host.profiles.extend(item.text(report).map(str::to_owned));
        }
    }
    if let Some(list) = fields.given("ports") {
        for item in list.members(report) {
            host.ports.extend(port(&item, report));
        }
    }
    if !is_known {
        return;
    }
    if host.interface.is_none() && host.addresses.is_empty() {
        let what = "neither an interface nor addresses are given";
        spec.error(what, "write `interfaceName`, or `expectedIPs`", report);
        return;
    }
    if report.errors() > before {
        let what =
            "what is wrong in the endpoint is left out; it stands for its interface all the same";
        report.warning(meta.at, &object.path().below("spec"), what, "mend what is wrong in it");
    }
    draft.cluster.policies.hosts.push((meta.name.name.clone(), host));
}

/// Reads a `Profile`. Rules that are wrong fail closed, as in policies.
pub(super) fn profile(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let name = &meta.name.name;
    if [PROFILE_OF_NAMESPACE, PROFILE_OF_ACCOUNT].iter().any(|of| name.starts_with(*of))
        || name == ALLOW
    {
        let what = format!(
            "`{}` comes with its Namespace or ServiceAccount, and is ignored here",
            short(name)
        );
        let remedy = "leave it out, and keep the object that it comes with";
        report.warning(meta.at, &object.path().below("metadata.name"), what, remedy);
        return;
    }
    let mut profile = Profile { origin: report.origin(meta.at), ..Profile::default() };
    if let Some(spec) = object.given("spec") {
        let known = ["labelsToApply", "ingress", "egress"];
        let fields = Fields::open_foreign(spec.node, &spec.path, &known, report);
        let Some(fields) = fields else { return };
        let labels = sound(report, |report| labels(&fields, report));
        profile.ingress = rules(&fields, "ingress", report);
        profile.egress = rules(&fields, "egress", report);
        // Without its labels, policies would not select those who have it.
        let Some(labels) = labels else { return };
        profile.labels = labels;
    }
    draft.cluster.policies.profiles.push((name.clone(), profile));
}

fn labels(fields: &Fields, report: &mut Report) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if let Some(field) = fields.given("labelsToApply")
        && let Some(all) = Fields::any(field.node, &field.path, report)
    {
        for label in all.iter() {
            let value = label.text(report);
            labels.extend(value.map(|value| (label.name().to_owned(), value.to_owned())));
        }
    }
    labels
}

fn interface(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report).filter(|text| !text.is_empty())?;
    if let Some(fault) = name::device(text).filter(|_| text != "*") {
        let what = format!("`{}` {fault}", short(text));
        field.error(what, "write the name as `ip link` shows it, or `*` for all", report);
        return None;
    }
    Some(text.to_owned())
}

fn port(item: &Field, report: &mut Report) -> Option<NamedPort> {
    let known = ["name", "protocol", "port"];
    let fields = Fields::open_foreign(item.node, &item.path, &known, report)?;
    let name = fields.required("name", "write its name", report);
    let name = name.and_then(|field| field.text(report));
    let field = fields.required("protocol", "write TCP, UDP or SCTP", report);
    let number = field.as_ref().and_then(|field| protocol(field, report));
    let protocol = Protocol::ALL.iter().find(|(_, one)| Some(one.number()) == number);
    if let (Some(field), Some(_), None) = (&field, number, protocol) {
        field.error("this protocol has no ports", "write TCP, UDP or SCTP", report);
    }
    let port = fields.required("port", "write its number", report);
    let port = port.and_then(|field| field.number(1..=65_535, report));
    Some(NamedPort { name: name?.to_owned(), protocol: protocol?.1, port: port? })
}
