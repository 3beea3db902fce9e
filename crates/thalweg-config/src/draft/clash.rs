//! What objects of Kubernetes do to each other: of several that claim the same, one keeps it.

use super::Kind;
use super::cluster::{Claims, ClusterPart, Interface};
use crate::foreign;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::short;
use std::collections::{BTreeMap, HashMap};
use thalweg_model::catalog::Edit;
use thalweg_model::cluster::{ObjectName, Protocol};
use thalweg_model::{Catalog, Key};

/// Parts in the order of their files, each with the number of its file, where it was read by itself and
/// its places do not tell.
pub(crate) type Parts<'p> = [(Option<u32>, &'p ClusterPart)];

/// A place within one of them.
fn place(file: Option<u32>, at: Span) -> Span {
    Span { file: file.unwrap_or(at.file), ..at }
}

fn key(kind: Kind, name: &ObjectName) -> Key {
    Key { kind: kind.name().into(), name: name.to_string() }
}

/// Services whose node ports are out of range or belong to others: the eldest keeps a port.
pub(crate) fn node_ports(
    parts: &Parts<'_>,
    range: (u16, u16),
    report: &mut Report,
) -> Vec<ObjectName> {
    let mut all: Vec<(Option<u32>, &Claims)> = Vec::new();
    for (file, part) in parts {
        all.extend(part.claims.iter().map(|claims| (*file, claims)));
    }
    all.sort_by_key(|(file, claims)| (claims.created, place(*file, claims.at)));
    let mut taken: HashMap<(u16, Protocol), (&ObjectName, Span)> = HashMap::new();
    let mut aside = Vec::new();
    for (file, claims) in all {
        let before = report.errors();
        report.object = Some(key(Kind::Service, &claims.name));
        let spec = Path::Field(&Path::Root, "spec");
        for claim in &claims.ports {
            let (port, protocol) = (claim.port, claim.protocol);
            if !(range.0..=range.1).contains(&port) {
                let what = format!("node port {port} is none of {}-{}", range.0, range.1);
                let remedy =
                    "choose one of those, or widen spec.services.nodePortRange of the Router";
                report.error(place(file, claim.at), &spec.below(claim.field), what, remedy);
            } else if let Some((owner, at)) = taken.get(&(port, protocol)) {
                let (owner, first) = (key(Kind::Service, owner), report.origin(*at));
                let what =
                    format!("node port {port} {protocol} already belongs to {owner} at {first}");
                let remedy = "give one of them another node port";
                report.error(place(file, claim.at), &spec.below(claim.field), what, remedy);
            }
        }
        if report.errors() > before {
            aside.push(claims.name.clone());
            continue;
        }
        let ports = claims.ports.iter();
        taken.extend(ports.map(|claim| {
            let at = place(file, claim.at);
            ((claim.port, claim.protocol), (&claims.name, at))
        }));
    }
    aside
}

/// Pods whose interface belongs to another one of their node: the eldest keeps it, and of those of one age
/// the first by name. Where their files stand must not decide: one more file would take the link of a pod
/// that runs.
pub(crate) fn interfaces(parts: &Parts<'_>, report: &mut Report) -> Vec<ObjectName> {
    let mut all: Vec<(Span, &Interface)> = Vec::new();
    for (file, part) in parts {
        all.extend(part.interfaces.iter().map(|one| (place(*file, one.at), one)));
    }
    all.sort_by_key(|(_, one)| (one.created, &one.pod));
    let mut taken: HashMap<(&Option<String>, &String), (Span, &ObjectName)> = HashMap::new();
    let mut aside = Vec::new();
    for (at, one) in all {
        let Some((first, owner)) = taken.get(&(&one.node, &one.interface)) else {
            taken.insert((&one.node, &one.interface), (at, &one.pod));
            continue;
        };
        let (owner, first) = (key(Kind::Pod, owner), report.origin(*first));
        report.object = Some(key(Kind::Pod, &one.pod));
        let what = format!("`{}` already belongs to {owner} at {first}", short(&one.interface));
        let path = Path::Field(&Path::Root, "metadata.annotations");
        report.error(at, &path, what, "name the interface of one pod only");
        aside.push(one.pod.clone());
    }
    aside
}

/// Tells which kinds of objects are not read.
pub(crate) fn tell_strange(parts: &Parts<'_>, report: &mut Report) {
    report.object = None;
    let mut strange: BTreeMap<&str, (Span, usize)> = BTreeMap::new();
    for (file, part) in parts {
        for (kind, (at, count)) in &part.strange {
            strange.entry(kind).or_insert((place(*file, *at), 0)).1 += count;
        }
    }
    for (kind, (at, count)) in strange {
        let remedy = strange_remedy(kind);
        let what = match count {
            1 => format!("an object of kind `{}` is ignored", short(kind)),
            _ => format!("{count} objects of kind `{}` are ignored", short(kind)),
        };
        report.warning(at, &Path::Field(&Path::Root, "kind"), what, remedy);
    }
}

/// Kinds of settings of Calico, and where what they say of policies is said here.
const SETTINGS: [(&str, &str); 2] = [
    (
        "FelixConfiguration",
        "say its fail-safe ports and defaultEndpointToHostAction in `spec.policy` of the Router: \
         failSafeInbound, failSafeOutbound, endpointToHost",
    ),
    (
        "KubeControllersConfiguration",
        "where it makes host endpoints of nodes, write `spec.policy.autoHostEndpoints: true` in the Router",
    ),
];

/// What is to be done about a kind that is not read. Rules that are not in force are nothing to leave alone.
fn strange_remedy(kind: &str) -> String {
    if let Some((_, remedy)) = SETTINGS.iter().find(|(known, _)| *known == kind) {
        return (*remedy).into();
    }
    let known = Kind::foreign_words();
    let item = kind.strip_suffix("List").unwrap_or(kind);
    let lost = if kind.contains("NetworkPolicy") { "its rules are not in force: " } else { "" };
    if known.clone().any(|word| word == item) {
        let versions = suggest::list(foreign::versions(item));
        return format!("{lost}`{item}` is read of {versions}, and of no other API");
    }
    if !lost.is_empty() {
        return format!("{lost}write them as a ClusterNetworkPolicy or a NetworkPolicy");
    }
    match suggest::nearest(kind, known.clone()) {
        Some(near) => format!("did you mean `{near}`? else nothing is to be done"),
        None => format!("of Kubernetes, {} are read", suggest::list(known)),
    }
}

/// Leaves objects out.
pub(crate) fn set_aside<V: Clone>(all: &mut Catalog<ObjectName, V>, names: &[ObjectName]) {
    let entry = |name| all.entry(name).cloned().map(Edit::Remove);
    let edits = names.iter().filter_map(entry).collect();
    all.edit(edits);
}
