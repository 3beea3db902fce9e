//! `services` and `flows` of a `Router`: how this node carries out services, and its table of flows.

use crate::kind::prefix;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::suggest;
use crate::tree::{Node, Value, short};
use std::ops::RangeInclusive;
use std::time::Duration;
use thalweg_model::Prefix;
use thalweg_model::cluster::{FlowSettings, FlowTimeouts, ServiceSettings, SocketScope};

/// Fields of `services`.
const SERVICES: &[&str] = &[
    "serviceCIDRs",
    "clusterCIDRs",
    "nodePortAddresses",
    "nodePortRange",
    "ring",
    "withoutBackends",
    "externalTraffic",
    "sourceRangesFor",
    "dsr",
    "socket",
];
/// Fields of `flows`.
const FLOWS: &[&str] = &["limit", "perWorkload", "midFlow", "timeouts", "natPorts", "natMapping"];

/// `ring`: primes.
const RINGS: &[u32] = &[251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 65_537, 131_071];
/// `withoutBackends`: whether it drops.
pub(crate) const WITHOUT: &[(&str, bool)] = &[("Reject", false), ("Drop", true)];
/// `externalTraffic`: whether it is masqueraded.
pub(crate) const EXTERNAL: &[(&str, bool)] = &[("PreserveClient", false), ("Masquerade", true)];
/// `sourceRangesFor`: whether all external frontends are guarded.
pub(crate) const RANGES: &[(&str, bool)] = &[("All", true), ("LoadBalancer", false)];
/// `socket`: whose processes are served as they connect.
pub(crate) const SOCKETS: &[(&str, SocketScope)] =
    &[("Host", SocketScope::Host), ("All", SocketScope::All), ("Off", SocketScope::Off)];
/// `midFlow`: whether it begins a flow.
pub(crate) const MID_FLOW: &[(&str, bool)] = &[("Drop", false), ("Accept", true)];
/// `natMapping`: whether it is independent of the destination.
pub(crate) const MAPPING: &[(&str, bool)] =
    &[("PerDestination", false), ("EndpointIndependent", true)];

/// Flows that a table may have room for.
const LIMIT: RangeInclusive<u32> = 1_024..=64_000_000;
/// Seconds that a flow may live without a packet.
const TIMEOUT: RangeInclusive<u64> = 1..=604_800;

/// `timeouts`, in the order of the documentation.
pub(crate) const TIMEOUTS: &[&str] = &[
    "tcpSyn",
    "tcpEstablished",
    "tcpClosed",
    "tcpReset",
    "sctpInit",
    "sctpEstablished",
    "sctpClosed",
    "sctpAborted",
    "udp",
    "icmp",
    "other",
];

/// The time-out of that name; [`TIMEOUTS`] lists the same ones.
pub(crate) fn timeout<'t>(timeouts: &'t mut FlowTimeouts, name: &str) -> Option<&'t mut Duration> {
    Some(match name {
        "tcpSyn" => &mut timeouts.tcp_syn,
        "tcpEstablished" => &mut timeouts.tcp_established,
        "tcpClosed" => &mut timeouts.tcp_closed,
        "tcpReset" => &mut timeouts.tcp_reset,
        "sctpInit" => &mut timeouts.sctp_init,
        "sctpEstablished" => &mut timeouts.sctp_established,
        "sctpClosed" => &mut timeouts.sctp_closed,
        "sctpAborted" => &mut timeouts.sctp_aborted,
        "udp" => &mut timeouts.udp,
        "icmp" => &mut timeouts.icmp,
        "other" => &mut timeouts.other,
        _ => return None,
    })
}

/// Reads `services`.
pub(crate) fn services(spec: &Fields, report: &mut Report) -> ServiceSettings {
    let mut settings = ServiceSettings::default();
    let Some(field) = spec.get("services", report) else { return settings };
    let Some(fields) = Fields::open(field.node, &field.path, SERVICES, report) else {
        return settings;
    };
    settings.service_cidrs = prefixes(&fields, "serviceCIDRs", report);
    settings.cluster_cidrs = prefixes(&fields, "clusterCIDRs", report);
    settings.node_port_addresses = node_port_addresses(&fields, report);
    if let Some(range) = fields.get("nodePortRange", report) {
        settings.node_ports = ports(&range, report).unwrap_or(settings.node_ports);
    }
    if let Some(ring) = fields.get("ring", report) {
        settings.ring = read_ring(&ring, report).unwrap_or(settings.ring);
    }
    let flag = |name, words, usual, report: &mut Report| {
        fields.get(name, report).and_then(|field| field.choice(words, report)).unwrap_or(usual)
    };
    settings.drop_without_backends = flag("withoutBackends", WITHOUT, false, report);
    settings.masquerade_external = flag("externalTraffic", EXTERNAL, false, report);
    settings.ranges_for_all = flag("sourceRangesFor", RANGES, true, report);
    if let Some(direct) = fields.get("dsr", report) {
        settings.dsr = direct.flag(report).unwrap_or_default();
    }
    if let Some(socket) = fields.get("socket", report) {
        settings.sockets = socket.choice(SOCKETS, report).unwrap_or_default();
    }
    settings
}

/// Ranges; kube-proxy's word for what holds without any, `[primary]`, is none.
fn node_port_addresses(fields: &Fields, report: &mut Report) -> Vec<Prefix> {
    let name = "nodePortAddresses";
    let Some(field) = fields.get(name, report) else { return Vec::new() };
    let is_primary =
        |node: &Node| matches!(&node.value, Value::Scalar { text, .. } if text == "primary");
    match field.list(report) {
        Some([only]) if is_primary(only) => Vec::new(),
        Some(_) => prefixes(fields, name, report),
        None => Vec::new(),
    }
}

fn prefixes(fields: &Fields, name: &'static str, report: &mut Report) -> Vec<Prefix> {
    let Some(field) = fields.get(name, report) else { return Vec::new() };
    field.items(report).filter_map(|item| prefix::read(&item, report)).collect()
}

/// `FIRST-LAST`.
fn ports(field: &Field, report: &mut Report) -> Option<(u16, u16)> {
    let remedy = "write the first and the last port, as in 30000-32767";
    let text = field.word("a range of ports", remedy, report)?;
    let range = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match range {
        Some((first, last)) if first > 0 && first <= last => Some((first, last)),
        _ => {
            field.error(format!("`{}` is no range of ports", short(text)), remedy, report);
            None
        }
    }
}

fn read_ring(field: &Field, report: &mut Report) -> Option<u32> {
    let ring = field.number(0..=u32::MAX, report)?;
    if !RINGS.contains(&ring) {
        let words: Vec<String> = RINGS.iter().map(ToString::to_string).collect();
        let remedy = format!("known are {}", suggest::list(words.iter().map(String::as_str)));
        field.error(format!("a ring has no {ring} slots"), remedy, report);
        return None;
    }
    Some(ring)
}

/// Reads `flows`.
pub(crate) fn flows(spec: &Fields, report: &mut Report) -> FlowSettings {
    let mut settings = FlowSettings::default();
    let Some(field) = spec.get("flows", report) else { return settings };
    let Some(fields) = Fields::open(field.node, &field.path, FLOWS, report) else {
        return settings;
    };
    if let Some(limit) = fields.get("limit", report) {
        settings.limit = limit.number(LIMIT, report).unwrap_or(settings.limit);
    }
    if let Some(quota) = fields.get("perWorkload", report) {
        settings.per_workload = quota.number(1..=settings.limit, report);
    }
    if let Some(middle) = fields.get("midFlow", report) {
        settings.mid_flow = middle.choice(MID_FLOW, report).unwrap_or_default();
    }
    if let Some(range) = fields.get("natPorts", report) {
        settings.nat_ports = ports(&range, report);
    }
    if let Some(mapping) = fields.get("natMapping", report) {
        settings.nat_independent = mapping.choice(MAPPING, report).unwrap_or_default();
    }
    let Some(field) = fields.get("timeouts", report) else { return settings };
    let Some(times) = Fields::open(field.node, &field.path, TIMEOUTS, report) else {
        return settings;
    };
    for name in TIMEOUTS {
        let time = times.get(name, report).and_then(|field| field.seconds(TIMEOUT, report));
        if let (Some(time), Some(into)) = (time, timeout(&mut settings.timeouts, name)) {
            *into = time;
        }
    }
    settings
}
