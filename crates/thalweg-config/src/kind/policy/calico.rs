//! Calico's `GlobalNetworkPolicy` and `NetworkPolicy`, staged or not.

use super::entity;
use super::parts::{beyond, place, selector_of, sound};
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::{Scalar, Value, short};
use thalweg_model::cluster::Family;
use thalweg_policy::object::PolicyKind;
use thalweg_policy::object::calico::{Action, Entity, Icmp, Policy, Rule};
use thalweg_policy::words::PROTOCOLS;

/// Most rules of a direction.
const RULES: usize = 1_024;

/// Fields of `spec` of both kinds.
const SPEC: [&str; 8] = [
    "tier",
    "order",
    "selector",
    "serviceAccountSelector",
    "types",
    "ingress",
    "egress",
    "performanceHints",
];
/// Fields of global ones alone.
const GLOBAL: [&str; 4] = ["namespaceSelector", "doNotTrack", "preDNAT", "applyOnForward"];
/// Fields of a rule.
const RULE: [&str; 10] = [
    "action",
    "ipVersion",
    "protocol",
    "notProtocol",
    "icmp",
    "notICMP",
    "source",
    "destination",
    "http",
    "metadata",
];
/// `types`: whether it is ingress.
const TYPES: &[(&str, bool)] = &[("Ingress", true), ("Egress", false)];
/// `action`.
const ACTIONS: &[(&str, Action)] = &[
    ("Allow", Action::Allow),
    ("Deny", Action::Deny),
    ("Log", Action::Log),
    ("Pass", Action::Pass),
];

/// Reads `spec`. One that is `stored` and has no `types` is about both directions. None where it cannot be
/// told whom it selects and where it is asked; rules that are wrong fail closed.
pub(super) fn policy(
    spec: &Field,
    kind: PolicyKind,
    stored: bool,
    report: &mut Report,
) -> Option<Policy> {
    let is_global = matches!(kind, PolicyKind::Global | PolicyKind::StagedGlobal);
    let mut known = SPEC.to_vec();
    known.extend(GLOBAL.iter().filter(|_| is_global));
    known.extend(kind.of_staged().map(|_| "stagedAction"));
    let fields = Fields::open_foreign(spec.node, &spec.path, &known, report)?;
    let flag = |name, report: &mut Report| is_global && fields.flag_of(name, report) == Some(true);
    let read = |report: &mut Report| Policy {
        tier: fields.text_of("tier", report).unwrap_or("default").to_owned(),
        selector: selector_of(&fields, "selector", false, report).unwrap_or_default(),
        namespaces: match is_global {
            true => selector_of(&fields, "namespaceSelector", false, report),
            false => None,
        },
        accounts: selector_of(&fields, "serviceAccountSelector", false, report),
        do_not_track: flag("doNotTrack", report),
        pre_dnat: flag("preDNAT", report),
        apply_on_forward: flag("applyOnForward", report),
        ..Policy::default()
    };
    let policy = sound(report, read);
    // What else is wrong is told in any case.
    let mut policy = Policy {
        order: fields.given("order").and_then(|field| order(&field, report)),
        ingress: rules(&fields, "ingress", report),
        egress: rules(&fields, "egress", report),
        ..policy?
    };
    read_types(&fields, &mut policy, stored, report);
    sound(report, |report| check(&fields, &policy, report))?;
    Some(policy)
}

fn read_types(fields: &Fields, policy: &mut Policy, stored: bool, report: &mut Report) {
    let types = fields.given("types").and_then(|list| {
        sound(report, |report| {
            list.members(report).filter_map(|item| item.choice(TYPES, report)).collect::<Vec<_>>()
        })
    });
    // Of types that are wrong, those hold that there are without any.
    let types = types.filter(|types| !types.is_empty());
    policy.applies_ingress = match &types {
        Some(types) => types.contains(&true),
        None => stored || !policy.ingress.is_empty() || policy.egress.is_empty(),
    };
    policy.applies_egress = match &types {
        Some(types) => types.contains(&false),
        None => (stored && !policy.pre_dnat) || !policy.egress.is_empty(),
    };
}

/// What the fields must hold together.
fn check(fields: &Fields, policy: &Policy, report: &mut Report) {
    let mut wrong = |name, what, remedy: &str| {
        if let Some(field) = fields.peek(name) {
            report.error(field.key_span, &field.path, what, remedy);
        }
    };
    if policy.pre_dnat && (policy.applies_egress || !policy.egress.is_empty()) {
        let what = "`preDNAT` is about what arrives, and this policy is about egress, too";
        wrong("preDNAT", what, "write `types: [Ingress]`, and no egress rules");
    }
    if policy.pre_dnat && policy.do_not_track {
        wrong("preDNAT", "`preDNAT` and `doNotTrack` exclude each other", "remove one of them");
    }
    let forward = "write `applyOnForward: true`, which this asks for";
    if policy.pre_dnat && !policy.apply_on_forward {
        wrong("preDNAT", "`preDNAT` without `applyOnForward`", forward);
    }
    if policy.do_not_track && !policy.apply_on_forward {
        wrong("doNotTrack", "`doNotTrack` without `applyOnForward`", forward);
    }
}

/// `order`: any number.
pub(super) fn order(field: &Field, report: &mut Report) -> Option<f64> {
    let remedy = "write a number; lower goes first";
    let text = field.word("a number", remedy, report)?;
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    if number.is_none() {
        field.error(format!("`{}` is no number", short(text)), remedy, report);
    }
    number
}

/// Rules of a direction.
pub(super) fn rules<'p>(
    fields: &Fields<'_, '_, 'p>,
    name: &'p str,
    report: &mut Report,
) -> Vec<Rule> {
    let Some(list) = fields.given(name) else { return Vec::new() };
    let items = sound(report, |report| list.members(report).collect::<Vec<Field>>());
    let Some(items) = items else {
        // No list at all may deny anything.
        let place = place(&list, report);
        return vec![Rule { place, action: Action::Deny, ..Rule::default() }];
    };
    beyond(&list, items.len(), RULES, report);
    items.iter().map(|item| rule(item, name == "ingress", report)).collect()
}

/// A rule. One that is wrong fails closed: one that denies, or whose action cannot be read, denies all
/// that it might mean, and any other is left out.
fn rule(item: &Field, ingress: bool, report: &mut Report) -> Rule {
    let before = report.errors();
    let place = place(item, report);
    let fields = Fields::open(item.node, &item.path, &RULE, report);
    let mut rule = match &fields {
        Some(fields) => conditions(item, fields, ingress, report),
        None => Rule { action: Action::Deny, ..Rule::default() },
    };
    rule.place = place;
    if report.errors() > before {
        rule.left_out = rule.action != Action::Deny;
        let what = match rule.left_out {
            true => "the rule is left out; its policy stays, with all others of its rules",
            false => "the rule denies more than it says: what is wrong in it asks nothing",
        };
        item.warning(what, "mend what is wrong in the rule", report);
    }
    rule
}

/// What a rule asks. Whatever is wrong asks nothing, so that the rule is about more.
fn conditions(item: &Field, fields: &Fields, ingress: bool, report: &mut Report) -> Rule {
    let action = fields.required("action", "write Allow, Deny, Log or Pass", report);
    let action = action.and_then(|field| field.choice(ACTIONS, report));
    if let Some(field) = fields.given("http") {
        let what = "what is said over HTTP cannot be told from packets";
        field.error(what, "remove `http`, and match addresses and ports", report);
    }
    let mut rule = Rule {
        action: action.unwrap_or(Action::Deny),
        family: fields.given("ipVersion").and_then(|field| family(&field, report)),
        ..Rule::default()
    };
    let mut protocol_of = |name| fields.given(name).and_then(|field| protocol(&field, report));
    (rule.protocol, rule.not_protocol) = (protocol_of("protocol"), protocol_of("notProtocol"));
    // Whether a protocol is there that nobody can read: nothing can be said of what needs one.
    let unread = fields.given("protocol").is_some() && rule.protocol.is_none();
    let has_icmp = unread || matches!(rule.protocol, Some(1 | 58));
    let has_ports = unread || matches!(rule.protocol, Some(6 | 17 | 132));
    let mut icmp_of = |name| {
        let field = fields.given(name)?;
        if !has_icmp {
            let what = format!("`{name}` without a protocol that has it");
            field.error(what, "write `protocol: ICMP` or `protocol: ICMPv6`", report);
            return None;
        }
        sound(report, |report| icmp(&field, report)).flatten()
    };
    (rule.icmp, rule.not_icmp) = (icmp_of("icmp"), icmp_of("notICMP"));
    if let (Some(family), Some(of @ (1 | 58))) = (rule.family, rule.protocol)
        && (family == Family::V4) != (of == 1)
    {
        let what = "the protocol belongs to the other IP version, so the rule is about nothing";
        item.error(what, "remove `ipVersion`, or name the other protocol", report);
        (rule.family, rule.protocol, rule.icmp, rule.not_icmp) = (None, None, None, None);
    }
    let mut side = |name, remote| -> Entity {
        let read = |report: &mut Report| entity::read(fields, name, has_ports, remote, report);
        sound(report, read).unwrap_or_default()
    };
    (rule.source, rule.destination) = (side("source", ingress), side("destination", !ingress));
    if unread {
        (rule.icmp, rule.not_icmp) = (None, None);
        for side in [&mut rule.source, &mut rule.destination] {
            (side.ports, side.not_ports) = (Vec::new(), Vec::new());
        }
    }
    rule
}

fn family(field: &Field, report: &mut Report) -> Option<Family> {
    match field.number(0..=255u8, report)? {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        other => {
            field.error(format!("there is no IP version {other}"), "write 4 or 6", report);
            None
        }
    }
}

/// A protocol by name or number.
pub(super) fn protocol(field: &Field, report: &mut Report) -> Option<u8> {
    if field.node.scalar() == Some(Scalar::Number) {
        return field.number(1..=255, report);
    }
    let Value::Scalar { text, .. } = &field.node.value else {
        return field.choice(&PROTOCOLS, report);
    };
    let same = |(name, _): &&(&str, u8)| name.eq_ignore_ascii_case(text);
    match PROTOCOLS.iter().find(same) {
        Some((_, number)) => Some(*number),
        None => field.choice(&PROTOCOLS, report),
    }
}

fn icmp(field: &Field, report: &mut Report) -> Option<Icmp> {
    let fields = Fields::open(field.node, &field.path, &["type", "code"], report)?;
    let kind = fields.given("type").and_then(|field| field.number(0..=254, report));
    let code = fields.given("code");
    if let (Some(code), None) = (&code, kind) {
        code.error("a code means nothing without its type", "write `type` as well", report);
    }
    let code = code.and_then(|field| field.number(0..=255, report));
    Some(Icmp { kind, code })
}
