//! One side of a rule of Calico's.

use super::parts::{beyond, calico_port, nets, selector_of};
use crate::read::{Field, Fields};
use crate::report::Report;
use thalweg_model::cluster::ObjectName;
use thalweg_policy::object::calico::{Accounts, Entity};
use thalweg_policy::object::kubernetes::PortMatch;

/// Most ranges of a list that Calico takes today.
const NETS: usize = 256;
/// Most ports of a list.
const PORTS: usize = 50;
/// Longest selector of a rule.
const SELECTOR: usize = 1_024;

const FIELDS: &[&str] = &[
    "nets",
    "notNets",
    "selector",
    "notSelector",
    "namespaceSelector",
    "ports",
    "notPorts",
    "serviceAccounts",
    "services",
];
/// What says the same as `services`, in another way.
const BESIDE_SERVICES: [&str; 6] =
    ["selector", "notSelector", "namespaceSelector", "nets", "notNets", "serviceAccounts"];

/// Reads `source` or `destination` of a rule, whose protocol `has_ports`; `remote` is the side of the peer.
pub(super) fn read<'p>(
    rule: &Fields<'_, '_, 'p>,
    name: &'p str,
    has_ports: bool,
    remote: bool,
    report: &mut Report,
) -> Entity {
    let Some(field) = rule.given(name) else { return Entity::default() };
    let fields = Fields::open(field.node, &field.path, FIELDS, report);
    let Some(fields) = fields else { return Entity::default() };
    for name in ["selector", "notSelector", "namespaceSelector"] {
        let long = fields.text_of(name, report).is_some_and(|text| text.len() > SELECTOR);
        if let (true, Some(field)) = (long, fields.given(name)) {
            let what = format!(
                "the selector has more than {SELECTOR} characters, which Calico does not take"
            );
            field.warning(what, "select by a label of its own", report);
        }
    }
    let entity = Entity {
        nets: nets(&fields, "nets", report),
        not_nets: nets(&fields, "notNets", report),
        selector: selector_of(&fields, "selector", false, report),
        not_selector: selector_of(&fields, "notSelector", false, report),
        namespaces: selector_of(&fields, "namespaceSelector", true, report),
        ports: ports(&fields, "ports", has_ports, report),
        not_ports: ports(&fields, "notPorts", has_ports, report),
        accounts: fields.given("serviceAccounts").and_then(|field| accounts(&field, report)),
        service: fields.given("services").and_then(|field| service(&field, report)),
    };
    for (name, all) in [("nets", &entity.nets), ("notNets", &entity.not_nets)] {
        if let Some(list) = fields.given(name) {
            beyond(&list, all.len(), NETS, report);
        }
    }
    if let Some(field) = fields.given("services") {
        let beside = BESIDE_SERVICES.iter().find(|name| fields.given(name).is_some());
        if let Some(name) = beside {
            let what = format!("`services` stands beside `{name}`");
            field.error(what, "make them two rules", report);
        }
        let is_source = name == "source";
        let with_ports = !entity.ports.is_empty() || !entity.not_ports.is_empty();
        if !remote {
            let what = "a service can be the other side alone";
            field.error(what, "select the pods that the policy is about by labels", report);
        } else if with_ports && !is_source {
            let what = "the ports of a destination come from its service";
            field.error(what, "remove `ports`", report);
        }
    }
    entity
}

fn ports<'p>(
    fields: &Fields<'_, '_, 'p>,
    name: &'p str,
    has_ports: bool,
    report: &mut Report,
) -> Vec<PortMatch> {
    let Some(list) = fields.given(name) else { return Vec::new() };
    let ports: Vec<PortMatch> =
        list.members(report).filter_map(|item| calico_port(&item, report)).collect();
    beyond(&list, ports.len(), PORTS, report);
    if !ports.is_empty() && !has_ports {
        let what = "ports without a protocol that has them";
        list.error(what, "write `protocol: TCP`, UDP or SCTP in the rule", report);
    }
    ports
}

fn accounts(field: &Field, report: &mut Report) -> Option<Accounts> {
    let fields = Fields::open(field.node, &field.path, &["names", "selector"], report)?;
    let mut accounts = Accounts::default();
    if let Some(list) = fields.given("names") {
        for item in list.members(report) {
            accounts.names.extend(item.text(report).map(str::to_owned));
        }
    }
    accounts.selector = selector_of(&fields, "selector", false, report);
    Some(accounts)
}

fn service(field: &Field, report: &mut Report) -> Option<ObjectName> {
    let fields = Fields::open(field.node, &field.path, &["name", "namespace"], report)?;
    let name = fields.required("name", "write the name of a Service", report);
    let name = name.and_then(|field| field.text(report));
    let namespace = fields.required("namespace", "write the namespace of the Service", report);
    let namespace = namespace.and_then(|field| field.text(report));
    Some(ObjectName::new(namespace?, name?))
}
