//! `Link`: which interfaces take part and how.

use crate::draft::{Draft, ObjectId};
use crate::kind::{TTL_MODELS, router};
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use thalweg_model::intent::{Link, Role, Rpf, XdpWish};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "interface",
    "interfaces",
    "role",
    "vrf",
    "mtu",
    "mpls",
    "ttlModel",
    "xdp",
    "rpf",
    "holdUp",
    "sourceRoute",
    "directedBroadcast",
];

/// `role`.
pub(crate) const ROLES: &[(&str, Role)] = &[("Router", Role::Router), ("Ignored", Role::Ignored)];
/// `xdp`.
pub(crate) const XDP: &[(&str, XdpWish)] = &[
    ("Auto", XdpWish::Auto),
    ("Native", XdpWish::Native),
    ("Generic", XdpWish::Generic),
    ("Tc", XdpWish::Tc),
];
/// `rpf`. Not `Off`, which is a boolean in YAML 1.1 and so for a Kubernetes API server.
pub(crate) const RPF: &[(&str, Rpf)] =
    &[("None", Rpf::Off), ("Strict", Rpf::Strict), ("Loose", Rpf::Loose)];

/// Every IPv6 link must carry this many octets (RFC 8200 §5).
const IPV6_MIN_MTU: u32 = 1_280;

/// Reads `spec`.
pub(crate) fn read(
    spec: &Fields,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let mut link = Link { interfaces: interfaces(spec, id, draft, report), ..Link::default() };
    if let Some(role) = spec.get("role", report) {
        link.role = role.choice(ROLES, report).unwrap_or_default();
    }
    if let Some(vrf) = spec.get("vrf", report) {
        link.vrf = draft.vrf_name(&vrf, "spec.vrf", id, report);
    }
    if let Some(mtu) = spec.get("mtu", report) {
        link.mtu = read_mtu(&mtu, report);
    }
    if let Some(model) = spec.get("ttlModel", report) {
        link.ttl_model = model.choice(TTL_MODELS, report).unwrap_or_default();
    }
    if let Some(xdp) = spec.get("xdp", report) {
        link.xdp = xdp.choice(XDP, report).unwrap_or_default();
    }
    if let Some(rpf) = spec.get("rpf", report) {
        link.rpf = rpf.choice(RPF, report).unwrap_or_default();
    }
    link.hold_up = spec.get("holdUp", report).and_then(|hold| hold.seconds(router::HOLD, report));
    let flag = |name, report: &mut Report| {
        spec.get(name, report).and_then(|field| field.flag(report)).unwrap_or_default()
    };
    link.mpls = flag("mpls", report);
    link.source_route = flag("sourceRoute", report);
    link.directed_broadcast = flag("directedBroadcast", report);
    if link.role == Role::Ignored {
        warn_unused(spec, report);
    }
    draft.link(name, link);
}

fn warn_unused(spec: &Fields, report: &mut Report) {
    for field in spec.iter() {
        if !["interface", "interfaces", "role"].contains(&field.name()) {
            let what =
                format!("`{}` has no effect on a link that is left to the kernel", field.name());
            report.warning(field.key_span, &field.path, what, "remove it, or `role: Ignored`");
        }
    }
}

fn read_mtu(field: &Field, report: &mut Report) -> Option<u32> {
    let mtu = field.number(68..=65_535, report)?;
    if mtu < IPV6_MIN_MTU {
        let what =
            format!("IPv6 needs an MTU of at least {IPV6_MIN_MTU} (RFC 8200 §5), this is {mtu}");
        field.warning(what, "raise it, unless the link carries IPv4 only", report);
    }
    Some(mtu)
}

fn interfaces(spec: &Fields, id: ObjectId, draft: &mut Draft, report: &mut Report) -> Vec<String> {
    let mut names = Vec::new();
    let mut take = |field: &Field, draft: &mut Draft, report: &mut Report| {
        if let Some(name) = pattern(field, report) {
            draft.interface(field, name, id, report);
            names.push(name.to_owned());
        }
    };
    let remedy = "name the network device, or several: `interfaces: [eth0, \"eth1*\"]`";
    match (spec.get("interface", report), spec.get("interfaces", report)) {
        (Some(_), Some(many)) => {
            let what = "`interface` and `interfaces` exclude each other";
            report.error(many.key_span, &many.path, what, "list all names under `interfaces`");
        }
        (Some(one), None) => take(&one, draft, report),
        (None, Some(many)) => many.items(report).for_each(|item| take(&item, draft, report)),
        (None, None) if !spec.has("interface") && !spec.has("interfaces") => {
            spec.missing("interface", remedy, report);
        }
        (None, None) => {}
    }
    names
}

/// A device name, or the beginning of one and `*`.
fn pattern<'n>(field: &Field<'n, '_, '_>, report: &mut Report) -> Option<&'n str> {
    let text = field.text(report)?;
    let stem = text.strip_suffix('*').unwrap_or(text);
    if stem.contains('*') {
        let what = format!("`{}` has `*` before its end", short(text));
        field.error(what, "`*` stands for the rest of a name: write `eth*`", report);
        return None;
    }
    // `.` and nothing are no names, but a name may begin like that.
    let open = stem.len() < text.len() && matches!(stem, "" | "." | "..");
    let fault = if open { None } else { name::device(stem) };
    if let Some(fault) = fault {
        let what = format!("`{}` {fault}", short(text));
        field.error(what, "write the name as `ip link` shows it", report);
        return None;
    }
    Some(text)
}
