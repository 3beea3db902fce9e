//! `Router`: settings of the router as a whole.

use crate::draft::{Draft, ObjectId};
use crate::read::Fields;
use crate::report::Report;
use std::net::{Ipv4Addr, SocketAddr};
use thalweg_model::intent::{IcmpSource, Limits, Router};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "limits",
    "hashSeed",
    "icmp",
    "puntRate",
    "burst",
    "unlistedLinks",
    "kernelRoutes",
    "metrics",
];

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
    router.metrics = read_metrics(spec, report);
    draft.router(router, id, report);
}

fn read_metrics(spec: &Fields, report: &mut Report) -> Option<SocketAddr> {
    let field = spec.get("metrics", report)?;
    let metrics = Fields::open(field.node, &field.path, &["listen"], report)?;
    let remedy = "write a port, or an address and a port: `9475`, `10.0.0.1:9475`, `\"[::]:9475\"`";
    let listen = metrics.need("listen", remedy, report)?;
    let text = listen.word("a port, or an address and a port", remedy, report)?;
    let address = listening(text);
    if address.is_none() {
        listen.error(format!("`{text}` is no address and port to listen at"), remedy, report);
    }
    address
}

/// An address to listen at; a port alone is one of the loopback.
fn listening(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let address = match port {
        Ok(port) => (Ipv4Addr::LOCALHOST, port).into(),
        Err(_) => text.parse::<SocketAddr>().ok()?,
    };
    (address.port() > 0).then_some(address)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_the_loopback() {
        let read = |text: &str| listening(text).map(|address| address.to_string());
        assert_eq!(read("9475").as_deref(), Some("127.0.0.1:9475"));
        assert_eq!(read(":9475").as_deref(), Some("127.0.0.1:9475"));
        assert_eq!(read("0.0.0.0:80").as_deref(), Some("0.0.0.0:80"));
        assert_eq!(read("[::1]:9475").as_deref(), Some("[::1]:9475"));
        for nonsense in ["", "0", "70000", "localhost:1", "10.0.0.1", "::1:80", "[::1]:0"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
