//! `v1 Service`: addresses and ports that backends serve together.

use crate::draft::{Draft, PortClaim};
use crate::foreign::Meta;
use crate::kind::foreign::{beyond_link, protocol, range, reachable, unicast};
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::suggest;
use crate::tree::short;
use std::net::IpAddr;
use std::time::Duration;
use thalweg_model::cluster::{
    Distribution, Family, Protocol, Service, ServicePort, ServiceType, TrafficPolicy,
};

/// Label that leaves a service to another proxy, as kube-proxy does.
const PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// Fields of its `spec`.
const SPEC: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamily",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "topologyKeys",
    "trafficDistribution",
    "type",
];
/// Fields of `spec.ports[]`.
const PORT: &[&str] = &["appProtocol", "name", "nodePort", "port", "protocol", "targetPort"];
/// Fields of `status.loadBalancer.ingress[]`.
const INGRESS: &[&str] = &["hostname", "ip", "ipMode", "ports"];

/// `type`.
pub(crate) const TYPES: &[(&str, ServiceType)] = &[
    ("ClusterIP", ServiceType::ClusterIp),
    ("NodePort", ServiceType::NodePort),
    ("LoadBalancer", ServiceType::LoadBalancer),
    ("ExternalName", ServiceType::ExternalName),
];
/// `internalTrafficPolicy`, `externalTrafficPolicy`.
pub(crate) const POLICIES: &[(&str, TrafficPolicy)] =
    &[("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)];
/// `trafficDistribution`.
pub(crate) const DISTRIBUTIONS: &[(&str, Distribution)] = &[
    ("PreferSameZone", Distribution::SameZone),
    ("PreferClose", Distribution::SameZone),
    ("PreferSameNode", Distribution::SameNode),
];
/// `sessionAffinity`.
const AFFINITIES: &[(&str, bool)] = &[("None", false), ("ClientIP", true)];

/// The usual `timeoutSeconds` of a session, and the longest.
pub(crate) const SESSION: Duration = Duration::from_secs(10_800);
const LONGEST_SESSION: u64 = 86_400;

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let Some(spec) = object.required("spec", "write what it serves under `spec`", report) else {
        return;
    };
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, SPEC, report) else { return };
    let mut service = Service { created: meta.created, ..Service::default() };
    service.kind = fields.choice_of("type", TYPES, report).unwrap_or_default();
    service.cluster_ips = cluster_ips(&fields, service.kind, report);
    service.external_ips = list(&fields, "externalIPs", report, reachable);
    service.source_ranges = list(&fields, "loadBalancerSourceRanges", report, range);
    service.internal = policy(&fields, "internalTrafficPolicy", report);
    service.external = policy(&fields, "externalTrafficPolicy", report);
    service.affinity = affinity(&fields, report);
    service.distribution = distribution(&fields, report);
    service.publish_not_ready =
        fields.flag_of("publishNotReadyAddresses", report).unwrap_or_default();
    let mut claims = Vec::new();
    ports(&fields, &mut service, &mut claims, report);
    health(&fields, &mut service, &mut claims, report);
    if let Some(status) = object.given("status") {
        read_status(&status, &mut service, report);
    }
    check_claims(&fields, &claims, report);
    if let Some(proxy) = meta.label(PROXY) {
        let what =
            format!("it is left to another proxy, `{}`: nothing of it is in force", short(proxy));
        let remedy = format!("remove the label `{PROXY}`, if it is to be carried out here");
        report.warning(meta.at, &object.path().below("metadata"), what, remedy);
        return;
    }
    if report.errors() == before {
        draft.cluster.service(meta, service, claims);
    }
}

fn list<T>(
    fields: &Fields,
    name: &'static str,
    report: &mut Report,
    mut read: impl FnMut(&Field, &mut Report) -> Option<T>,
) -> Vec<T> {
    let Some(field) = fields.given(name) else { return Vec::new() };
    field.members(report).filter_map(|item| read(&item, report)).collect()
}

fn policy(fields: &Fields, name: &'static str, report: &mut Report) -> TrafficPolicy {
    fields.choice_of(name, POLICIES, report).unwrap_or_default()
}

/// `clusterIP` and `clusterIPs`, which say the same; none for a headless service.
fn cluster_ips(fields: &Fields, kind: ServiceType, report: &mut Report) -> Vec<IpAddr> {
    let one = fields.given("clusterIP").filter(|field| !field.is_empty_text());
    let many = fields.given("clusterIPs");
    let mut headless = false;
    let mut take = |field: &Field, report: &mut Report| match field.text(report)? {
        "None" => {
            headless = true;
            None
        }
        "" => None,
        _ => reachable(field, report),
    };
    let first = one.as_ref().and_then(|field| take(field, report));
    let mut all: Vec<IpAddr> = match &many {
        Some(many) => many.members(report).filter_map(|item| take(&item, report)).collect(),
        None => Vec::new(),
    };
    match (first, &many) {
        (Some(first), Some(many)) if !all.is_empty() && all[0] != first => {
            let what = format!("clusterIPs begins with {}, clusterIP is {first}", all[0]);
            many.error(what, "make the first of clusterIPs the clusterIP", report);
        }
        (Some(first), _) if all.is_empty() => all.push(first),
        _ => {}
    }
    let families = |family| all.iter().filter(|ip| Family::of(**ip) == family).count();
    if let Some(many) = &many
        && (families(Family::V4) > 1 || families(Family::V6) > 1)
    {
        let what = "there are two cluster IPs of one family";
        many.error(what, "keep one for each family", report);
    }
    let outside = matches!(kind, ServiceType::NodePort | ServiceType::LoadBalancer);
    match &one {
        _ if kind == ServiceType::ExternalName => all.clear(),
        Some(field) if headless && (outside || !all.is_empty()) => {
            let what = "a service that is reached from outside, or at an address, is not headless";
            field.error(what, "write its cluster IP, or `type: ClusterIP`", report);
        }
        None if !headless && all.is_empty() => {
            let what = "nobody has allotted a cluster IP to this service";
            let remedy = "write `clusterIP: ADDRESS`, `clusterIP: None`, or the object as the cluster has it";
            report.warning(fields.span, &fields.path().below("clusterIP"), what, remedy);
        }
        _ => {}
    }
    all
}

fn affinity(fields: &Fields, report: &mut Report) -> Option<Duration> {
    let timeout = timeout(fields, report);
    let kept = fields.choice_of("sessionAffinity", AFFINITIES, report).unwrap_or_default();
    kept.then(|| timeout.unwrap_or(SESSION))
}

/// `sessionAffinityConfig.clientIP.timeoutSeconds`.
fn timeout(fields: &Fields, report: &mut Report) -> Option<Duration> {
    let config = fields.given("sessionAffinityConfig")?;
    let config = Fields::open_foreign(config.node, &config.path, &["clientIP"], report)?;
    let client = config.given("clientIP")?;
    let client = Fields::open_foreign(client.node, &client.path, &["timeoutSeconds"], report)?;
    let seconds = client.given("timeoutSeconds")?.number(1..=LONGEST_SESSION, report)?;
    Some(Duration::from_secs(seconds))
}

/// A hint: one that is not known yet is ignored, as the API asks for.
fn distribution(fields: &Fields, report: &mut Report) -> Distribution {
    let Some(field) = fields.given("trafficDistribution") else { return Distribution::Even };
    let Some(text) = field.text(report).filter(|text| !text.is_empty()) else {
        return Distribution::Even;
    };
    if let Some((_, known)) = DISTRIBUTIONS.iter().find(|(word, _)| *word == text) {
        return *known;
    }
    let remedy = suggest::remedy(text, DISTRIBUTIONS.iter().map(|(word, _)| *word));
    let what = format!("unknown value `{}`: no backend is preferred", short(text));
    field.warning(what, remedy, report);
    Distribution::Even
}

fn ports(fields: &Fields, service: &mut Service, claims: &mut Vec<PortClaim>, report: &mut Report) {
    let Some(list) = fields.given("ports") else { return };
    for item in list.members(report) {
        let Some(inner) = Fields::open_foreign(item.node, &item.path, PORT, report) else {
            continue;
        };
        let Some(port) = port(&inner, service.kind, claims, report) else { continue };
        let same = |other: &&ServicePort| {
            other.port == port.port && other.protocol == port.protocol || other.name == port.name
        };
        match service.ports.iter().find(same) {
            Some(other) if other.name == port.name => {
                let (what, remedy) = match port.name.as_str() {
                    "" => ("a second port has no name".into(), "give each of several ports a name"),
                    name => (format!("there already is a port `{name}`"), "rename one of them"),
                };
                item.error(what, remedy, report);
            }
            Some(other) => {
                let what = format!(
                    "port {} {} already is port `{}`",
                    port.port, port.protocol, other.name
                );
                item.error(what, "give one of them another number", report);
            }
            None => service.ports.push(port),
        }
    }
    let unnamed = service.ports.iter().position(|port| port.name.is_empty());
    if service.ports.len() > 1 && unnamed.is_some() {
        list.error("of several ports, one has no name", "give each of them a name", report);
    }
}

fn port(
    fields: &Fields,
    kind: ServiceType,
    claims: &mut Vec<PortClaim>,
    report: &mut Report,
) -> Option<ServicePort> {
    let name = match fields.given("name") {
        Some(field) => port_name(&field, report)?,
        None => String::new(),
    };
    let protocol = protocol(fields, report);
    let port = fields.required("port", "write the port, 1 to 65535", report);
    let port = port.and_then(|field| field.number(1..=65_535, report));
    let node_port = fields.given("nodePort").and_then(|field| {
        let number = field.number(0..=65_535u16, report).filter(|number| *number > 0)?;
        if kind == ServiceType::ClusterIp || kind == ServiceType::ExternalName {
            let what = "a service of this type has no node ports";
            field.error(what, "remove the field, or write `type: NodePort`", report);
        }
        let protocol = protocol.unwrap_or_default();
        claims.push(PortClaim { port: number, protocol, field: "ports", at: field.node.span });
        Some(number)
    });
    Some(ServicePort { name, protocol: protocol?, port: port?, node_port })
}

/// The name of a port: a label of RFC 1123, or nothing.
pub(crate) fn port_name(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    if let Some(fault) = name::label(text).filter(|_| !text.is_empty()) {
        let what = format!("the name `{}` {fault} (RFC 1123)", short(text));
        field.error(what, "use a to z, 0 to 9 and `-`", report);
        return None;
    }
    Some(text.into())
}

/// The port at which balancers ask how many backends are here: one of the node's as well.
fn health(
    fields: &Fields,
    service: &mut Service,
    claims: &mut Vec<PortClaim>,
    report: &mut Report,
) {
    let Some(field) = fields.given("healthCheckNodePort") else { return };
    let port = field.number(0..=65_535, report).filter(|port| *port > 0);
    service.health_check_port = port;
    if let Some(port) = port {
        let (protocol, name) = (Protocol::Tcp, "healthCheckNodePort");
        claims.push(PortClaim { port, protocol, field: name, at: field.node.span });
    }
}

/// Node ports that clash within the service.
fn check_claims(fields: &Fields, claims: &[PortClaim], report: &mut Report) {
    for (index, claim) in claims.iter().enumerate() {
        let same =
            |other: &&PortClaim| (other.port, other.protocol) == (claim.port, claim.protocol);
        if claims[..index].iter().any(|other| same(&other)) {
            let what = format!("node port {} {} stands twice", claim.port, claim.protocol);
            let path = fields.path().below(claim.field);
            report.error(claim.at, &path, what, "give one of them another number");
        }
    }
}

/// `status.loadBalancer.ingress`: what a balancer has announced.
fn read_status(status: &Field, service: &mut Service, report: &mut Report) {
    let known = ["conditions", "loadBalancer"];
    let fields = Fields::open_foreign(status.node, &status.path, &known, report);
    let Some(balancer) = fields.as_ref().and_then(|fields| fields.given("loadBalancer")) else {
        return;
    };
    let fields = Fields::open_foreign(balancer.node, &balancer.path, &["ingress"], report);
    let Some(ingress) = fields.as_ref().and_then(|fields| fields.given("ingress")) else { return };
    for item in ingress.members(report) {
        let fields = Fields::open_foreign(item.node, &item.path, INGRESS, report);
        let Some(fields) = fields else { continue };
        let modes = [("VIP", true), ("Proxy", false)];
        let vip = fields.choice_of("ipMode", &modes, report).unwrap_or(true);
        let ip = fields.given("ip").filter(|field| !field.is_empty_text());
        let ip = ip.filter(|_| vip && service.kind == ServiceType::LoadBalancer);
        service.load_balancer_ips.extend(ip.and_then(|field| ingress_address(&field, report)));
    }
}

/// An address that a balancer has announced. Others than the service's owner write it (`minikube tunnel`
/// writes 127.0.0.1): what packets cannot have is left out, and the service stays.
fn ingress_address(field: &Field, report: &mut Report) -> Option<IpAddr> {
    match unicast(field.text(report)?).and_then(beyond_link) {
        Ok(address) => Some(address),
        Err((what, remedy)) => {
            field.warning(format!("{what}: the address is left out"), remedy, report);
            None
        }
    }
}
