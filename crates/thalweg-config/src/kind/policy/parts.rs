//! What policies share: selectors, ports, ranges and places.

use crate::kind::foreign::range;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::{Scalar, Value, short};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_policy::Selector;
use thalweg_policy::object::Place;
use thalweg_policy::object::kubernetes::{LabelSelector, Operator, PortMatch, Requirement};

/// Where a field stands.
pub(super) fn place(field: &Field, report: &mut Report) -> Place {
    Place::from(&report.origin(field.node.span))
}

/// What was read without an error; none where there was any.
pub(super) fn sound<T>(report: &mut Report, read: impl FnOnce(&mut Report) -> T) -> Option<T> {
    let before = report.errors();
    let read = read(report);
    (report.errors() == before).then_some(read)
}

/// Words of `operator`.
const OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

/// A selector of Calico. Where namespaces are selected, it may say `global()`.
pub(super) fn selector(field: &Field, global: bool, report: &mut Report) -> Option<Selector> {
    let text = field.text(report)?;
    let selector = match text.parse::<Selector>() {
        Ok(selector) => selector,
        Err(error) => {
            let what = format!("no selector, at column {} of it: {}", error.column, error.what);
            field.error(what, "write for example: role == 'db' && has(zone)", report);
            return None;
        }
    };
    if !global && selector.mentions_global() {
        let what = "`global()` selects among namespaces alone";
        field.error(what, "write it in the namespaceSelector of a rule", report);
        return None;
    }
    Some(selector)
}

/// The selector of a field that may be missing or empty.
pub(super) fn selector_of<'p>(
    fields: &Fields<'_, '_, 'p>,
    name: &'p str,
    global: bool,
    report: &mut Report,
) -> Option<Selector> {
    let field = fields.given(name).filter(|field| !field.is_empty_text())?;
    selector(&field, global, report)
}

/// A selector of Kubernetes, of whom a policy is about.
pub(super) fn label_selector(field: &Field, report: &mut Report) -> LabelSelector {
    let open = Fields::open_foreign(field.node, &field.path, &SELECTOR, report);
    open.map(|fields| requirements(&fields, report)).unwrap_or_default()
}

/// A selector of Kubernetes, of whom a rule is about: what is not known in it is an error, since without it
/// the rule would mean more.
pub(super) fn peer_selector(field: &Field, report: &mut Report) -> LabelSelector {
    let open = Fields::open(field.node, &field.path, &SELECTOR, report);
    open.map(|fields| requirements(&fields, report)).unwrap_or_default()
}

/// Fields of a selector of Kubernetes.
const SELECTOR: [&str; 2] = ["matchLabels", "matchExpressions"];

fn requirements(fields: &Fields, report: &mut Report) -> LabelSelector {
    let mut selector = LabelSelector::default();
    if let Some(labels) = fields.given("matchLabels")
        && let Some(labels) = Fields::any(labels.node, &labels.path, report)
    {
        for label in labels.iter() {
            if let Some(value) = label.text(report) {
                selector.labels.insert(label.name().to_owned(), value.to_owned());
            }
        }
    }
    if let Some(list) = fields.given("matchExpressions") {
        for item in list.members(report) {
            selector.expressions.extend(requirement(&item, report));
        }
    }
    selector
}

fn requirement(item: &Field, report: &mut Report) -> Option<Requirement> {
    let known = ["key", "operator", "values"];
    let fields = Fields::open_foreign(item.node, &item.path, &known, report)?;
    let key = fields.required("key", "write the label", report);
    let key = key.and_then(|field| field.text(report));
    let operator = fields.required("operator", "write In, NotIn, Exists or DoesNotExist", report);
    let operator = operator.and_then(|field| field.choice(OPERATORS, report))?;
    let mut values = std::collections::BTreeSet::new();
    if let Some(list) = fields.given("values") {
        for value in list.members(report) {
            values.extend(value.text(report).map(str::to_owned));
        }
    }
    let wants = matches!(operator, Operator::In | Operator::NotIn);
    if wants && values.is_empty() {
        item.error("this operator takes values", "list at least one under `values`", report);
        return None;
    }
    if !wants && !values.is_empty() {
        item.error("this operator takes no values", "remove `values`", report);
        return None;
    }
    Some(Requirement { key: key?.to_owned(), operator, values })
}

/// A range of addresses, or one address.
pub(super) fn net(field: &Field, report: &mut Report) -> Option<Prefix> {
    let mapped =
        |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if let Value::Scalar { text, .. } = &field.node.value
        && let Some(address) = text.parse::<IpAddr>().ok().filter(|address| !mapped(address))
    {
        return Some(Prefix::host(address));
    }
    range(field, report)
}

/// Ranges of addresses, or addresses.
pub(super) fn nets<'p>(
    fields: &Fields<'_, '_, 'p>,
    name: &'p str,
    report: &mut Report,
) -> Vec<Prefix> {
    let Some(list) = fields.given(name) else { return Vec::new() };
    list.members(report).filter_map(|item| net(&item, report)).collect()
}

/// Tells of a list that is longer than Calico takes. All of it counts: what was stored before Calico had such
/// limits is no longer to be had otherwise, and a rule of half of it would be another one.
pub(super) fn beyond(list: &Field, count: usize, most: usize, report: &mut Report) {
    if count > most {
        let what =
            format!("there are {count} items, all of which count; Calico takes {most} at most");
        list.warning(what, "split it over several rules, or name a set by its labels", report);
    }
}

/// Reports a list that is longer than its API allows.
pub(super) fn at_most(list: &Field, count: usize, most: usize, report: &mut Report) {
    if count > most {
        let what = format!("there are {count} items, and {most} are the most");
        list.error(what, "split it over several objects or rules", report);
    }
}

/// A port by number or name, as Kubernetes writes it.
pub(super) fn port(field: &Field, report: &mut Report) -> Option<PortMatch> {
    match field.node.scalar() {
        Some(Scalar::Text) => {
            let text = field.text(report)?;
            if !is_port_name(text) {
                let what = format!("`{}` is no name of a port", short(text));
                field.error(what, "write up to 15 of a to z, 0 to 9 and `-`, or a number", report);
                return None;
            }
            Some(PortMatch::Named(text.to_owned()))
        }
        _ => field.number(1..=65_535, report).map(|port| PortMatch::Range(port, port)),
    }
}

fn is_port_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=15).contains(&text.len())
        && text.chars().all(fits)
        && text.chars().any(|c| c.is_ascii_lowercase())
}

/// A port as Calico writes it: a number, `first:last`, or a name.
pub(super) fn calico_port(field: &Field, report: &mut Report) -> Option<PortMatch> {
    let remedy = "write a number, a range as in 8000:8080, or the name of a port";
    let text = field.word("a port", remedy, report)?;
    let number = |text: &str| text.parse::<u16>().ok();
    let range = match text.split_once(':') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|port| (port, port)),
    };
    match range {
        Some((first, last)) if first <= last => return Some(PortMatch::Range(first, last)),
        None if is_calico_name(text) => return Some(PortMatch::Named(text.to_owned())),
        _ => {}
    }
    field.error(format!("`{}` is no port", short(text)), remedy, report);
    None
}

fn is_calico_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    (1..=128).contains(&text.len()) && text.chars().all(fits) && !digits
}
