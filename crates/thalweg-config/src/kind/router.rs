//! `Router`: settings of the router as a whole.

use crate::draft::{Draft, ObjectId};
use crate::read::Fields;
use crate::report::Report;
use thalweg_model::intent::{IcmpSource, Limits, Router};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] =
    &["limits", "hashSeed", "icmp", "puntRate", "burst", "unlistedLinks", "kernelRoutes"];

/// `icmp.source`.
pub(crate) const SOURCES: &[(&str, IcmpSource)] =
    &[("Thalweg", IcmpSource::Thalweg), ("Kernel", IcmpSource::Kernel)];

/// Fields of `limits` with their ranges.
pub(crate) const LIMITS: &[(&str, u32, u32)] = &[
    ("links", 2, 1 << 20),
    ("sessions", 0, 65_536),
    ("vrfs", 1, 65_535),
    ("ipv4Routes", 1, 16_000_000),
    ("ipv6Routes", 1, 16_000_000),
    ("labels", 16, 1 << 20),
    ("nextHops", 16, 1 << 24),
    ("groups", 16, 32_767),
    ("vlanLinks", 0, 4_094),
];

/// The limit of that name; `limits` and [`LIMITS`] list the same ones.
pub(crate) fn limit<'l>(limits: &'l mut Limits, name: &str) -> Option<&'l mut u32> {
    Some(match name {
        "links" => &mut limits.links,
        "sessions" => &mut limits.sessions,
        "vrfs" => &mut limits.vrfs,
        "ipv4Routes" => &mut limits.ipv4_routes,
        "ipv6Routes" => &mut limits.ipv6_routes,
        "labels" => &mut limits.labels,
        "nextHops" => &mut limits.nexthops,
        "groups" => &mut limits.groups,
        "vlanLinks" => &mut limits.vlan_links,
        _ => return None,
    })
}

/// Reads `spec`.
pub(crate) fn read(spec: &Fields, id: ObjectId, draft: &mut Draft, report: &mut Report) {
    let mut router = Router::default();
    read_limits(spec, &mut router.limits, report);
    if let Some(seed) = spec.get("hashSeed", report) {
        router.hash_seed = seed.number(0..=u64::MAX, report);
    }
    read_icmp(spec, &mut router, report);
    set_rate(spec, "puntRate", &mut router.punt_rate, report);
    set_rate(spec, "burst", &mut router.burst, report);
    if let Some(unlisted) = spec.get("unlistedLinks", report) {
        router.unlisted_links = unlisted.flag(report).unwrap_or_default();
    }
    if let Some(kernel) = spec.get("kernelRoutes", report) {
        router.kernel_routes = kernel.flag(report).unwrap_or(true);
    }
    draft.router(router, id, report);
}

fn read_icmp(spec: &Fields, router: &mut Router, report: &mut Report) {
    let Some(field) = spec.get("icmp", report) else { return };
    let Some(icmp) = Fields::open(field.node, &field.path, &["rate", "source"], report) else {
        return;
    };
    set_rate(&icmp, "rate", &mut router.icmp_rate, report);
    if let Some(source) = icmp.get("source", report) {
        router.icmp = source.choice(SOURCES, report).unwrap_or_default();
    }
}

fn read_limits(spec: &Fields, limits: &mut Limits, report: &mut Report) {
    let Some(field) = spec.get("limits", report) else { return };
    let known: Vec<&str> = LIMITS.iter().map(|(name, ..)| *name).collect();
    let Some(fields) = Fields::open(field.node, &field.path, &known, report) else { return };
    for (name, min, max) in LIMITS {
        let Some(field) = fields.get(name, report) else { continue };
        let value = field.number(*min..=*max, report);
        if let (Some(value), Some(limit)) = (value, limit(limits, name)) {
            *limit = value;
        }
    }
}

fn set_rate(fields: &Fields, name: &'static str, rate: &mut u32, report: &mut Report) {
    let value = fields.get(name, report).and_then(|field| field.number(0..=100_000_000, report));
    *rate = value.unwrap_or(*rate);
}
