//! `Router`: settings of the router as a whole.

use crate::draft::{Draft, ObjectId};
use crate::kind::policy::settings;
use crate::kind::{traffic, tunnel};
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use thalweg_model::intent::{Fpm, IcmpSource, Limits, Router};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "limits",
    "hashSeed",
    "icmp",
    "puntRate",
    "burst",
    "unlistedLinks",
    "holdUp",
    "kernelRoutes",
    "metrics",
    "fpm",
    "node",
    "services",
    "flows",
    "tunnel",
    "policy",
];

/// `icmp.source`.
pub(crate) const SOURCES: &[(&str, IcmpSource)] =
    &[("Thalweg", IcmpSource::Thalweg), ("Kernel", IcmpSource::Kernel)];

/// Seconds of `holdUp`, here and in a `Link`.
pub(crate) const HOLD: RangeInclusive<u64> = 0..=3_600;

/// Fields of `fpm`.
const FPM: &[&str] = &["listen", "staleTime", "quietTime"];

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
    ("frontends", 0, 1 << 24),
    ("backends", 0, 1 << 24),
    ("ringSlots", 0, 1 << 30),
    ("flows", 0, 1 << 24),
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
        "frontends" => &mut limits.frontends,
        "backends" => &mut limits.backends,
        "ringSlots" => &mut limits.ring_slots,
        "flows" => &mut limits.flows,
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
    if let Some(hold) = spec.get("holdUp", report) {
        router.hold_up = hold.seconds(HOLD, report).unwrap_or_default();
    }
    if let Some(kernel) = spec.get("kernelRoutes", report) {
        router.kernel_routes = kernel.flag(report).unwrap_or(true);
    }
    router.metrics = read_metrics(spec, report);
    read_fpm(spec, &mut router, report);
    router.node = spec.get("node", report).and_then(|field| node(&field, report));
    router.services = traffic::services(spec, report);
    router.flows = traffic::flows(spec, report);
    router.tunnel = tunnel::read(spec, report);
    router.policy = settings::read(spec, report);
    if router.services.dsr
        && router.tunnel.is_none()
        && let Some(services) = spec.get("services", report)
    {
        let what = "dsr is on without tunnels: what goes to other nodes goes by routes, translated";
        services.warning(what, "set spec.tunnel, or leave dsr out", report);
    }
    draft.router(router, id, report);
}

/// The name of a node.
fn node(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    if let Some(fault) = name::subdomain(text) {
        let what = format!("the name `{}` {fault} (RFC 1123)", short(text));
        field.error(what, "write the name as `kubectl get nodes` shows it", report);
        return None;
    }
    Some(text.into())
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

fn read_fpm(spec: &Fields, router: &mut Router, report: &mut Report) {
    let Some(field) = spec.get("fpm", report) else { return };
    let Some(fields) = Fields::open(field.node, &field.path, FPM, report) else { return };
    let mut fpm = Fpm::default();
    if let Some(listen) = fields.get("listen", report) {
        fpm.listen = read_listen(&listen, report).unwrap_or(fpm.listen);
    }
    let time = |name, range, report: &mut Report| fields.get(name, report)?.seconds(range, report);
    fpm.stale_time = time("staleTime", 1..=86_400, report).unwrap_or(fpm.stale_time);
    fpm.quiet_time = time("quietTime", 2..=600, report).unwrap_or(fpm.quiet_time);
    if let Some(quiet) = fields.peek("quietTime").filter(|_| fpm.quiet_time > fpm.stale_time) {
        quiet.error(
            format!(
                "{} s of quiet are more than the {} s that routes stay",
                fpm.quiet_time.as_secs(),
                fpm.stale_time.as_secs()
            ),
            "make quietTime at most staleTime",
            report,
        );
    }
    router.fpm = Some(fpm);
}

/// An address with a port; no name, and one address.
fn read_listen(field: &Field, report: &mut Report) -> Option<SocketAddr> {
    let remedy = "write an address and a port, as in 127.0.0.1:2620 or \"[::1]:2620\"";
    let text = field.word("an address with a port", remedy, report)?;
    let Ok(listen) = text.parse::<SocketAddr>() else {
        let (what, remedy) = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => (format!("`{ip}` has no port"), format!("write {ip}:2620")),
            Ok(IpAddr::V6(ip)) => (format!("`{ip}` has no port"), format!("write \"[{ip}]:2620\"")),
            Err(_) => (format!("`{}` is no address with a port", short(text)), remedy.into()),
        };
        field.error(what, remedy, report);
        return None;
    };
    if listen.port() == 0 {
        field.error("port 0 is none to connect to", "write the port zebra connects to", report);
        return None;
    }
    if !listen.ip().is_loopback() {
        field.warning(
            format!("whoever reaches {listen} decides where packets go: FPM asks for no password"),
            "listen at 127.0.0.1, or let a firewall keep others away",
            report,
        );
    }
    Some(listen)
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
