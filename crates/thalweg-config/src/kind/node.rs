//! `v1 Node`: where pods run, and the addresses of those hosts.

use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::foreign::{address, range};
use crate::read::{Field, Fields};
use crate::report::Report;
use thalweg_model::cluster::Node;

/// Labels that name the zone, the present one first.
pub(crate) const ZONES: [&str; 2] =
    ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];

/// Fields of its `spec`.
const SPEC: &[&str] =
    &["configSource", "externalID", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"];
/// Fields of its `status`.
const STATUS: &[&str] = &[
    "addresses",
    "allocatable",
    "capacity",
    "conditions",
    "config",
    "daemonEndpoints",
    "declaredFeatures",
    "features",
    "images",
    "nodeInfo",
    "phase",
    "runtimeHandlers",
    "volumesAttached",
    "volumesInUse",
];

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let zone = ZONES.iter().find_map(|label| meta.label(label)).filter(|zone| !zone.is_empty());
    let mut node = Node { zone: zone.map(Into::into), ..Node::default() };
    if let Some(spec) = object.given("spec") {
        read_spec(&spec, &mut node, report);
    }
    if let Some(status) = object.given("status") {
        read_status(&status, &mut node, report);
    }
    if report.errors() == before {
        draft.cluster.node(meta, node);
        draft.cluster.policies.nodes.push((meta.name.name.clone(), meta.labels()));
    }
}

fn read_spec(spec: &Field, node: &mut Node, report: &mut Report) {
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, SPEC, report) else { return };
    if let Some(many) = fields.given("podCIDRs") {
        node.pod_cidrs = many.members(report).filter_map(|item| range(&item, report)).collect();
    } else if let Some(one) = fields.given("podCIDR").filter(|field| !field.is_empty_text()) {
        node.pod_cidrs.extend(range(&one, report));
    }
}

fn read_status(status: &Field, node: &mut Node, report: &mut Report) {
    let Some(fields) = Fields::open_foreign(status.node, &status.path, STATUS, report) else {
        return;
    };
    let Some(list) = fields.given("addresses") else { return };
    for item in list.members(report) {
        let inner = Fields::open_foreign(item.node, &item.path, &["address", "type"], report);
        let Some(inner) = inner else { continue };
        // Host names and addresses beyond a translator are not what packets of the cluster carry.
        if inner.text_of("type", report) != Some("InternalIP") {
            continue;
        }
        let field = inner.required("address", "write the address of the node", report);
        node.addresses.extend(field.and_then(|field| address(&field, report)));
    }
}
