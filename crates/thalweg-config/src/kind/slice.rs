//! `discovery.k8s.io/v1 EndpointSlice`: who serves a service.

use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::foreign::{protocol, reachable};
use crate::kind::service::port_name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use thalweg_model::cluster::{Endpoint, EndpointPort, EndpointSlice, Family};

/// Label that names the service.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// Annotation that gives endpoints weights.
pub(crate) const WEIGHTS: &str = "thalweg.io/weights";
/// The largest weight.
const MAX_WEIGHT: u16 = 256;

/// Fields of the object.
pub(crate) const FIELDS: &[&str] =
    &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"];
/// Fields of `endpoints[]`.
const ENDPOINT: &[&str] = &[
    "addresses",
    "conditions",
    "deprecatedTopology",
    "hints",
    "hostname",
    "nodeName",
    "targetRef",
    "zone",
];
/// Fields of `ports[]`.
const PORT: &[&str] = &["appProtocol", "name", "port", "protocol"];

/// `addressType`; none are names, which have no data plane.
const FAMILIES: &[(&str, Option<Family>)] =
    &[("IPv4", Some(Family::V4)), ("IPv6", Some(Family::V6)), ("FQDN", None)];

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let kind = object.required("addressType", "write IPv4 or IPv6", report);
    let family = kind.as_ref().and_then(|field| field.choice(FAMILIES, report));
    let (Some(kind), Some(family)) = (kind, family) else { return };
    let Some(family) = family else {
        let what = "endpoints that are names have no data plane: the slice is ignored";
        kind.warning(what, "remove it, or write addresses", report);
        return;
    };
    let service = meta.label(SERVICE);
    if service.is_none() {
        let what = format!("without the label `{SERVICE}` the slice belongs to no service");
        let remedy = format!("write `labels: {{{SERVICE}: NAME}}`");
        report.warning(meta.at, &object.path().below("metadata"), what, remedy);
    }
    let ports = ports(object, report);
    let annotation = meta.annotation(WEIGHTS);
    let weights = annotation.as_ref().map(|field| weights(field, report)).unwrap_or_default();
    let list = object.given("endpoints");
    let items = list.iter().flat_map(|list| list.members(report)).collect::<Vec<_>>();
    let whole = report.errors() == before;
    // There may be half a million of them all in all: no room for others.
    let mut endpoints = Vec::with_capacity(items.len());
    endpoints.extend(items.iter().filter_map(|item| fit(item, family, &weights, report)));
    let all = endpoints.len() == items.len();
    // One that was left out may be who a weight is meant for.
    if let (Some(field), false, true) = (&annotation, weights.is_empty(), all) {
        strange_weights(field, &weights, &endpoints, report);
    }
    if let (Some(service), true) = (service, whole) {
        let slice = EndpointSlice { service: service.into(), family, ports, endpoints };
        draft.cluster.slice(meta, slice);
    }
}

/// Reports weights of addresses that no endpoint has first.
fn strange_weights(
    field: &Field,
    weights: &HashMap<IpAddr, u16>,
    endpoints: &[Endpoint],
    report: &mut Report,
) {
    let has = |address: &&IpAddr| endpoints.iter().any(|e| e.addresses.first() == Some(address));
    let mut strange: Vec<_> = weights.keys().filter(|address| !has(address)).collect();
    strange.sort();
    for address in strange {
        let what = format!("{address} is the first address of no endpoint of this slice");
        field.warning(what, "remove it", report);
    }
}

fn ports(object: &Fields, report: &mut Report) -> Vec<EndpointPort> {
    let Some(list) = object.given("ports") else { return Vec::new() };
    let mut ports: Vec<EndpointPort> = Vec::new();
    for item in list.members(report) {
        let Some(port) = port(&item, report) else { continue };
        if ports.iter().any(|other| other.name == port.name) {
            let what = format!("there already is a port named `{}`", port.name);
            item.error(what, "rename one of them, or remove it", report);
            continue;
        }
        ports.push(port);
    }
    ports
}

fn port(item: &Field, report: &mut Report) -> Option<EndpointPort> {
    let fields = Fields::open_foreign(item.node, &item.path, PORT, report)?;
    let name = fields.given("name").map(|field| port_name(&field, report));
    let protocol = protocol(&fields, report);
    let Some(number) = fields.given("port") else {
        let what = "a port without a number leads nowhere: it is ignored";
        item.warning(what, "write `port: NUMBER`", report);
        return None;
    };
    let port = number.number(1..=65_535, report);
    let name = match name {
        Some(name) => name?,
        None => String::new(),
    };
    Some(EndpointPort { name, protocol: protocol?, port: port? })
}

/// An endpoint without an error. A wrong one is left out alone: without the others of its slice, a service
/// would have no backend for the slip of one.
fn fit(
    item: &Field,
    family: Family,
    weights: &HashMap<IpAddr, u16>,
    report: &mut Report,
) -> Option<Endpoint> {
    let before = report.errors();
    let endpoint = endpoint(item, family, weights, report);
    if report.errors() == before {
        return endpoint;
    }
    let what = "the endpoint is left out; others of its slice stay";
    item.warning(what, "mend what is wrong in it", report);
    None
}

fn endpoint(
    item: &Field,
    family: Family,
    weights: &HashMap<IpAddr, u16>,
    report: &mut Report,
) -> Option<Endpoint> {
    let fields = Fields::open_foreign(item.node, &item.path, ENDPOINT, report)?;
    let list =
        fields.required("addresses", "write the address: `addresses: [10.0.0.1]`", report)?;
    let mut addresses = Vec::with_capacity(1);
    for item in list.members(report) {
        let Some(address) = reachable(&item, report) else { continue };
        if Family::of(address) == family {
            addresses.push(address);
            continue;
        }
        let word = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let what = format!("{address} is no {word} address, which addressType promises");
        item.error(what, "put it into a slice of its family", report);
    }
    if addresses.is_empty() {
        if matches!(&list.node.value, crate::tree::Value::List(all) if all.members.is_empty()) {
            let what = "an endpoint without addresses cannot be reached";
            list.error(what, "write its address, or remove the endpoint", report);
        }
        return None;
    }
    let (ready, serving, terminating) = conditions(&fields, report);
    let (for_zones, for_nodes) = hints(&fields, report);
    Some(Endpoint {
        weight: weights.get(&addresses[0]).copied().unwrap_or(1),
        addresses,
        ready,
        serving,
        terminating,
        node: fields.text_of("nodeName", report).map(Into::into),
        zone: fields.text_of("zone", report).map(Into::into),
        for_zones,
        for_nodes,
    })
}

/// `ready`, `serving`, `terminating`: what is not said is yes, as ready, and no.
fn conditions(fields: &Fields, report: &mut Report) -> (bool, bool, bool) {
    let Some(field) = fields.given("conditions") else { return (true, true, false) };
    let known = ["ready", "serving", "terminating"];
    let Some(inner) = Fields::open_foreign(field.node, &field.path, &known, report) else {
        return (true, true, false);
    };
    let ready = inner.flag_of("ready", report).unwrap_or(true);
    let serving = inner.flag_of("serving", report).unwrap_or(ready);
    (ready, serving, inner.flag_of("terminating", report).unwrap_or(false))
}

fn hints(fields: &Fields, report: &mut Report) -> (BTreeSet<String>, BTreeSet<String>) {
    let Some(field) = fields.given("hints") else { return Default::default() };
    let inner = Fields::open_foreign(field.node, &field.path, &["forNodes", "forZones"], report);
    let Some(inner) = inner else { return Default::default() };
    let mut names = |name| {
        let mut found = BTreeSet::new();
        let Some(list) = inner.given(name) else { return found };
        for item in list.members(report) {
            let Some(hint) = Fields::open_foreign(item.node, &item.path, &["name"], report) else {
                continue;
            };
            let field = hint.required("name", "write its name", report);
            found.extend(field.and_then(|field| field.text(report)).map(str::to_owned));
        }
        found
    };
    (names("forZones"), names("forNodes"))
}

/// `ADDRESS=WEIGHT, ADDRESS=WEIGHT`.
fn weights(field: &Field, report: &mut Report) -> HashMap<IpAddr, u16> {
    let mut weights = HashMap::new();
    let Some(text) = field.text(report) else { return weights };
    let remedy = format!("write ADDRESS=WEIGHT, as in `10.0.0.1=3, 10.0.0.2=0`; 0 to {MAX_WEIGHT}");
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').and_then(|(address, weight)| {
            let weight = weight.trim().parse().ok().filter(|weight| *weight <= MAX_WEIGHT)?;
            Some((address.trim().parse::<IpAddr>().ok()?, weight))
        });
        let Some((address, weight)) = pair else {
            field.error(format!("`{}` is no weight", short(part)), remedy.as_str(), report);
            continue;
        };
        if weights.insert(address, weight).is_some() {
            field.error(format!("{address} has two weights"), "keep one of them", report);
        }
    }
    weights
}
