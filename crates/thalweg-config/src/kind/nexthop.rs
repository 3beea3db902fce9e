//! Next hops: of routes and label routes, in a list or right in the `spec`.

use crate::draft::{Draft, ObjectId};
use crate::kind::{TTL_MODELS, prefix};
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use std::collections::HashSet;
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::intent::{NextHop, TtlModel};
use thalweg_wire::Label;

/// Fields of an item of `nextHops`.
const FIELDS: &[&str] = &[
    "via", "dev", "weight", "labels", "ttlModel", "ttl", "class", "entropy", "onlink", "backup",
    "bfd",
];
/// Fields of a `backup`: it has no weight and no backup of its own.
const BACKUP_FIELDS: &[&str] =
    &["via", "dev", "labels", "ttlModel", "ttl", "class", "entropy", "onlink", "bfd"];

/// The most labels that a next hop pushes.
const MAX_LABELS: usize = 4;

/// Where a next hop stands: what it names is looked for there at the end.
pub(crate) struct Within<'a> {
    /// The intent so far.
    pub draft: &'a mut Draft,
    /// The object.
    pub user: ObjectId,
}

/// Reads `nextHops`. `prefixes` are what the gateways must be able to serve.
pub(crate) fn list(
    field: &Field,
    prefixes: &[Prefix],
    within: &mut Within,
    report: &mut Report,
) -> Option<Vec<NextHop>> {
    let items = field.list(report)?.len();
    let (mut hops, mut seen) = (Vec::new(), HashSet::new());
    for item in field.items(report) {
        let Some(fields) = Fields::open(item.node, &item.path, FIELDS, report) else { continue };
        let Some(hop) = read(&fields, FIELDS, prefixes, within, report) else { continue };
        if !seen.insert(NextHop { weight: 1, ..hop.clone() }) {
            let remedy = "give one of them a `weight` instead";
            item.warning("the same next hop stands twice", remedy, report);
        }
        hops.push(hop);
    }
    (hops.len() == items).then_some(hops)
}

/// Reads a next hop from those of `fields` that are in `mine`.
pub(crate) fn read(
    fields: &Fields,
    mine: &[&str],
    prefixes: &[Prefix],
    within: &mut Within,
    report: &mut Report,
) -> Option<NextHop> {
    let before = report.errors();
    let mut hop = NextHop::default();
    let get = |name, report: &mut Report| match mine.contains(&name) {
        true => fields.get(name, report),
        false => None,
    };
    let via = get("via", report);
    hop.via = via.as_ref().and_then(|field| prefix::gateway(field, report));
    if let Some(dev) = get("dev", report) {
        hop.dev = device(&dev, report);
    }
    if let Some(weight) = get("weight", report) {
        hop.weight = weight.number(1..=256, report).unwrap_or(1);
    }
    if let Some(stack) = get("labels", report) {
        hop.labels = labels(&stack, report);
    }
    if let Some(model) = get("ttlModel", report) {
        hop.ttl_model = model.choice(TTL_MODELS, report).unwrap_or_default();
    }
    if let Some(ttl) = get("ttl", report) {
        hop.ttl = ttl.number(1..=255, report).unwrap_or(255);
    }
    hop.class = get("class", report).and_then(|field| field.number(0..=7, report));
    let flag = |name, report: &mut Report| {
        get(name, report).and_then(|field| field.flag(report)).unwrap_or_default()
    };
    hop.entropy = flag("entropy", report);
    hop.onlink = flag("onlink", report);
    if let Some(field) = get("backup", report) {
        hop.backup = backup(&field, prefixes, within, report).map(Box::new);
    }
    if let Some(field) = get("bfd", report) {
        hop.bfd = within.draft.session_name(&field, within.user, report);
    }
    check_gateway(fields, via.as_ref(), &hop, prefixes, report);
    check_labels(fields, mine, &hop, report);
    (report.errors() == before).then_some(hop)
}

fn backup(
    field: &Field,
    prefixes: &[Prefix],
    within: &mut Within,
    report: &mut Report,
) -> Option<NextHop> {
    let alone = ["weight", "backup"];
    let fields = Fields::open_beside(field.node, &field.path, BACKUP_FIELDS, &alone, report)?;
    for name in alone {
        if let Some(field) = fields.peek(name) {
            let what = format!("a backup stands alone, so it has no `{name}`");
            report.error(field.key_span, &field.path, what, "remove the field");
        }
    }
    read(&fields, BACKUP_FIELDS, prefixes, within, report)
}

fn device(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    if let Some(fault) = name::device(text) {
        let what = format!("`{}` {fault}", short(text));
        field.error(what, "write the name as `ip link` shows it", report);
        return None;
    }
    Some(text.into())
}

/// Reads a label stack, outermost first.
fn labels(field: &Field, report: &mut Report) -> Vec<Label> {
    let labels: Vec<_> = field.items(report).map(|item| label(&item, report)).collect();
    if labels.len() > MAX_LABELS {
        let what = format!("{} labels, but a next hop pushes {MAX_LABELS} at most", labels.len());
        field.error(what, "push fewer, or push the inner ones at another router", report);
    }
    labels.into_iter().flatten().collect()
}

/// Reads a label that may be allotted.
pub(crate) fn label(field: &Field, report: &mut Report) -> Option<Label> {
    let value = field.number(0..=u32::MAX, report)?;
    let fault = match Label::new(value) {
        Ok(label) => return Some(label),
        Err(fault) => fault,
    };
    let text = fault.to_string();
    let (what, remedy) = text.split_once("; ").unwrap_or((&text, "use 16 to 1048575"));
    let remedy = match value {
        3 => "to send without a label, leave `labels` out (implicit null)",
        _ => remedy,
    };
    field.error(what, remedy, report);
    None
}

fn check_gateway(
    fields: &Fields,
    via: Option<&Field>,
    hop: &NextHop,
    prefixes: &[Prefix],
    report: &mut Report,
) {
    if !fields.has("via") && !fields.has("dev") {
        let what = "a next hop needs a gateway or a link";
        let remedy = "write `via: ADDRESS`, or `dev: INTERFACE` for connected destinations";
        report.error(fields.span, fields.path(), what, remedy);
    }
    if hop.onlink && !(fields.has("via") && fields.has("dev")) {
        let what = "`onlink` says that `via` is on `dev`, so it needs both";
        report.error(fields.span, fields.path(), what, "add the missing one, or remove `onlink`");
    }
    let (Some(field), Some(via)) = (via, hop.via) else { return };
    if is_link_local(via) && !fields.has("dev") {
        let what = format!("{via} is link-local, so it exists on every link");
        field.error(what, "add `dev: INTERFACE`", report);
    }
    // With labels it is a tunnel through an IPv4 core (RFC 4798), and all is well.
    let unreachable = prefixes.iter().find(|prefix| !prefix.is_v4());
    if let (true, true, Some(prefix)) = (via.is_ipv4(), !fields.has("labels"), unreachable) {
        let what = format!("IPv4 gateway {via} cannot serve IPv6 prefix {prefix}");
        let remedy = "write an IPv6 gateway (it may serve IPv4 prefixes, too: RFC 8950)";
        field.error(what, remedy, report);
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}

/// Settings of pushed labels need labels to be pushed.
fn check_labels(fields: &Fields, mine: &[&str], hop: &NextHop, report: &mut Report) {
    let idle = |name: &'static str, what: String, remedy: &str, report: &mut Report| {
        if let Some(field) = fields.peek(name).filter(|_| mine.contains(&name)) {
            report.warning(field.key_span, &field.path, what, remedy);
        }
    };
    if !fields.has("labels") {
        for name in ["ttlModel", "ttl", "class", "entropy"] {
            let what = format!("`{name}` is about pushed labels, and none are pushed");
            idle(name, what, "add `labels`, or remove it", report);
        }
    } else if hop.ttl_model == TtlModel::Uniform {
        let what = "`ttl` has no effect in the uniform model, which copies the packet's".into();
        idle("ttl", what, "add `ttlModel: Pipe`, or remove it", report);
    }
}
