//! Objects of Kubernetes, and how a router carries them out, as YAML.

use super::{Yaml, quoted, word};
use crate::kind::foreign::time_text;
use crate::kind::policy::settings::TO_HOST;
use crate::kind::service::{DISTRIBUTIONS, POLICIES, TYPES};
use crate::kind::traffic::{
    EXTERNAL, MAPPING, MID_FLOW, RANGES, SOCKETS, TIMEOUTS, WITHOUT, timeout,
};
use crate::kind::tunnel::FAMILIES;
use crate::kind::{floating, node, pod, slice};
use std::collections::BTreeSet;
use std::fmt::Display;
use thalweg_model::cluster::{
    Cluster, Distribution, Endpoint, EndpointSlice, Family, FlowSettings, FlowTimeouts, IpPool,
    Node, ObjectName, Pod, Protocol, Service, ServiceSettings, ServiceType, TrafficPolicy,
};
use thalweg_model::{PolicySettings, TunnelSettings};

/// Writes all objects of a cluster.
pub(super) fn objects(cluster: &Cluster, out: &mut Yaml) {
    cluster.nodes.iter().for_each(|(name, node)| write_node(name, node, out));
    cluster.pools.iter().for_each(|(name, pool)| write_pool(name, pool, out));
    for (name, cidrs) in &cluster.service_cidrs {
        out.object_of("networking.k8s.io/v1", "ServiceCIDR", name);
        out.line(0, "spec:");
        list(1, "cidrs", cidrs, out);
    }
    cluster.pods.iter().for_each(|(name, pod)| write_pod(name, pod, out));
    cluster.services.iter().for_each(|(name, service)| write_service(name, service, out));
    cluster.slices.iter().for_each(|(name, slice)| write_slice(name, slice, out));
}

/// Writes `services` of a router.
pub(super) fn services(settings: &ServiceSettings, out: &mut Yaml) {
    let usual = ServiceSettings::default();
    if *settings == usual {
        return;
    }
    out.line(1, "services:");
    list(2, "serviceCIDRs", &settings.service_cidrs, out);
    list(2, "clusterCIDRs", &settings.cluster_cidrs, out);
    list(2, "nodePortAddresses", &settings.node_port_addresses, out);
    let range = |(first, last): (u16, u16)| format!("{first}-{last}");
    out.differing(2, "nodePortRange", range(settings.node_ports), range(usual.node_ports));
    out.differing(2, "ring", settings.ring, usual.ring);
    let mut flag = |name, words: &[(&'static str, bool)], value, usual| {
        out.differing(2, name, word(words, value), word(words, usual));
    };
    flag("withoutBackends", WITHOUT, &settings.drop_without_backends, &usual.drop_without_backends);
    flag("externalTraffic", EXTERNAL, &settings.masquerade_external, &usual.masquerade_external);
    flag("sourceRangesFor", RANGES, &settings.ranges_for_all, &usual.ranges_for_all);
    out.differing(2, "dsr", settings.dsr, usual.dsr);
    let sockets = |scope| word(SOCKETS, scope);
    out.differing(2, "socket", sockets(&settings.sockets), sockets(&usual.sockets));
}

/// Writes `policy` of a router.
pub(super) fn policy(settings: &PolicySettings, out: &mut Yaml) {
    let usual = PolicySettings::default();
    if *settings == usual {
        return;
    }
    out.line(1, "policy:");
    let mut ports = |name, ports: &[(Protocol, u16)], usual: &[(Protocol, u16)]| {
        let words = ports.iter().map(|(of, port)| quoted(&format!("{of}:{port}").to_lowercase()));
        let words = words.collect::<Vec<_>>().join(", ");
        if ports != usual {
            out.field(2, name, format_args!("[{words}]"));
        }
    };
    ports("failSafeInbound", &settings.fail_safe_in, &usual.fail_safe_in);
    ports("failSafeOutbound", &settings.fail_safe_out, &usual.fail_safe_out);
    let to_host = |one| word(TO_HOST, one);
    out.differing(2, "endpointToHost", to_host(&settings.to_host), to_host(&usual.to_host));
    out.differing(2, "autoHostEndpoints", settings.auto_hosts, usual.auto_hosts);
}

/// Writes `tunnel` of a router.
pub(super) fn tunnel(settings: &TunnelSettings, out: &mut Yaml) {
    let usual = TunnelSettings::default();
    out.line(1, "tunnel:");
    out.field(2, "protocol", settings.protocol.name());
    out.differing(2, "port", settings.port, settings.protocol.usual_port());
    out.differing(2, "vni", settings.vni, usual.vni);
    if let Some(mtu) = settings.mtu {
        out.field(2, "mtu", mtu);
    }
    let family = |family| word(FAMILIES, family);
    out.differing(2, "underlay", family(&settings.underlay), family(&usual.underlay));
}

/// Writes `flows` of a router.
pub(super) fn flows(settings: &FlowSettings, out: &mut Yaml) {
    let usual = FlowSettings::default();
    if *settings == usual {
        return;
    }
    out.line(1, "flows:");
    out.differing(2, "limit", settings.limit, usual.limit);
    if let Some(quota) = settings.per_workload {
        out.field(2, "perWorkload", quota);
    }
    out.differing(2, "midFlow", word(MID_FLOW, &settings.mid_flow), word(MID_FLOW, &false));
    if let Some((first, last)) = settings.nat_ports {
        out.field(2, "natPorts", format_args!("{first}-{last}"));
    }
    out.differing(2, "natMapping", word(MAPPING, &settings.nat_independent), word(MAPPING, &false));
    let (mut times, mut usual) = (settings.timeouts.clone(), FlowTimeouts::default());
    if times == usual {
        return;
    }
    out.line(2, "timeouts:");
    for name in TIMEOUTS {
        if let (Some(time), Some(usual)) = (timeout(&mut times, name), timeout(&mut usual, name))
            && time != usual
        {
            out.field(3, name, format_args!("{}s", time.as_secs()));
        }
    }
}

/// A list of what may hold colons; an empty one is left out.
fn list<T: Display>(depth: usize, name: &str, items: &[T], out: &mut Yaml) {
    if items.is_empty() {
        return;
    }
    out.line(depth, format_args!("{name}:"));
    items.iter().for_each(|item| out.line(depth, format_args!("- {}", quoted(&item.to_string()))));
}

fn namespaced(version: &str, kind: &str, name: &ObjectName, out: &mut Yaml) {
    out.object_of(version, kind, &name.name);
    out.field(1, "namespace", quoted(&name.namespace));
}

fn write_node(name: &str, node: &Node, out: &mut Yaml) {
    out.object_of("v1", "Node", name);
    if let Some(zone) = &node.zone {
        out.line(1, "labels:");
        out.field(2, node::ZONES[0], quoted(zone));
    }
    if !node.pod_cidrs.is_empty() {
        out.line(0, "spec:");
        list(1, "podCIDRs", &node.pod_cidrs, out);
    }
    if !node.addresses.is_empty() {
        out.line(0, "status:");
        out.line(1, "addresses:");
        for address in &node.addresses {
            out.field(1, "- address", quoted(&address.to_string()));
            out.field(2, "type", "InternalIP");
        }
    }
}

fn write_pool(name: &str, pool: &IpPool, out: &mut Yaml) {
    out.object_of("projectcalico.org/v3", "IPPool", name);
    out.line(0, "spec:");
    out.field(1, "cidr", quoted(&pool.cidr.to_string()));
    out.differing(1, "natOutgoing", pool.nat_outgoing, false);
    out.differing(1, "disabled", pool.disabled, false);
}

fn write_pod(name: &ObjectName, pod: &Pod, out: &mut Yaml) {
    namespaced("v1", "Pod", name, out);
    if pod.interface.is_some() || pod.mac.is_some() || !pod.floating.is_empty() {
        out.line(1, "annotations:");
        if let Some(interface) = &pod.interface {
            out.field(2, pod::INTERFACE, quoted(interface));
        }
        if let Some(mac) = &pod.mac {
            out.field(2, pod::MAC, quoted(&mac.to_string()));
        }
        if !pod.floating.is_empty() {
            out.field(2, floating::ANNOTATION, quoted(&floating::text(&pod.floating)));
        }
    }
    if !pod.labels.is_empty() {
        out.line(1, "labels:");
        pod.labels.iter().for_each(|(key, value)| out.field(2, &quoted(key), quoted(value)));
    }
    let ports = !pod.host_ports.is_empty() || !pod.ports.is_empty();
    if pod.host_network || pod.node.is_some() || pod.service_account.is_some() || ports {
        out.line(0, "spec:");
        out.differing(1, "hostNetwork", pod.host_network, false);
        if let Some(node) = &pod.node {
            out.field(1, "nodeName", quoted(node));
        }
        if let Some(account) = &pod.service_account {
            out.field(1, "serviceAccountName", quoted(account));
        }
        if ports {
            out.line(1, "containers:");
            out.line(1, "- ports:");
        }
        for port in &pod.host_ports {
            out.field(2, "- containerPort", port.port);
            out.field(3, "hostPort", port.host_port);
            out.field(3, "protocol", port.protocol);
            if let Some(address) = port.address {
                out.field(3, "hostIP", quoted(&address.to_string()));
            }
        }
        for port in &pod.ports {
            out.field(2, "- containerPort", port.port);
            out.field(3, "name", quoted(&port.name));
            out.field(3, "protocol", port.protocol);
        }
    }
    if !pod.addresses.is_empty() {
        out.line(0, "status:");
        out.line(1, "podIPs:");
        for address in &pod.addresses {
            out.field(1, "- ip", quoted(&address.to_string()));
        }
    }
}

fn write_service(name: &ObjectName, service: &Service, out: &mut Yaml) {
    namespaced("v1", "Service", name, out);
    if let Some(created) = service.created {
        out.field(1, "creationTimestamp", quoted(&time_text(created)));
    }
    out.line(0, "spec:");
    out.field(1, "type", word(TYPES, &service.kind));
    match service.cluster_ips.first() {
        Some(first) => {
            out.field(1, "clusterIP", quoted(&first.to_string()));
            list(1, "clusterIPs", &service.cluster_ips, out);
        }
        None if service.kind == ServiceType::ClusterIp => out.field(1, "clusterIP", "None"),
        None => {}
    }
    list(1, "externalIPs", &service.external_ips, out);
    list(1, "loadBalancerSourceRanges", &service.source_ranges, out);
    let usual = word(POLICIES, &TrafficPolicy::Cluster);
    out.differing(1, "internalTrafficPolicy", word(POLICIES, &service.internal), usual);
    out.differing(1, "externalTrafficPolicy", word(POLICIES, &service.external), usual);
    if let Some(timeout) = service.affinity {
        out.field(1, "sessionAffinity", "ClientIP");
        out.line(1, "sessionAffinityConfig:");
        out.line(2, "clientIP:");
        out.field(3, "timeoutSeconds", timeout.as_secs());
    }
    if service.distribution != Distribution::Even {
        out.field(1, "trafficDistribution", word(DISTRIBUTIONS, &service.distribution));
    }
    if let Some(port) = service.health_check_port {
        out.field(1, "healthCheckNodePort", port);
    }
    out.differing(1, "publishNotReadyAddresses", service.publish_not_ready, false);
    if !service.ports.is_empty() {
        out.line(1, "ports:");
    }
    for port in &service.ports {
        out.field(1, "- port", port.port);
        out.field(2, "protocol", port.protocol);
        out.differing(2, "name", quoted(&port.name), quoted(""));
        if let Some(port) = port.node_port {
            out.field(2, "nodePort", port);
        }
    }
    if !service.load_balancer_ips.is_empty() {
        out.line(0, "status:");
        out.line(1, "loadBalancer:");
        out.line(2, "ingress:");
        for ip in &service.load_balancer_ips {
            out.field(2, "- ip", quoted(&ip.to_string()));
        }
    }
}

fn write_slice(name: &ObjectName, slice: &EndpointSlice, out: &mut Yaml) {
    namespaced("discovery.k8s.io/v1", "EndpointSlice", name, out);
    out.line(1, "labels:");
    out.field(2, slice::SERVICE, quoted(&slice.service));
    let weight = |endpoint: &Endpoint| format!("{}={}", endpoint.addresses[0], endpoint.weight);
    let other = |endpoint: &&Endpoint| endpoint.weight != 1 && !endpoint.addresses.is_empty();
    // Endpoints with one address share its weight.
    let weights: BTreeSet<_> = slice.endpoints.iter().filter(other).map(weight).collect();
    if !weights.is_empty() {
        let weights: Vec<_> = weights.into_iter().collect();
        out.line(1, "annotations:");
        out.field(2, slice::WEIGHTS, quoted(&weights.join(", ")));
    }
    out.field(0, "addressType", if slice.family == Family::V4 { "IPv4" } else { "IPv6" });
    if !slice.ports.is_empty() {
        out.line(0, "ports:");
    }
    for port in &slice.ports {
        out.field(0, "- port", port.port);
        out.field(1, "protocol", port.protocol);
        out.differing(1, "name", quoted(&port.name), quoted(""));
    }
    if !slice.endpoints.is_empty() {
        out.line(0, "endpoints:");
    }
    slice.endpoints.iter().for_each(|endpoint| write_endpoint(endpoint, out));
}

fn write_endpoint(endpoint: &Endpoint, out: &mut Yaml) {
    out.line(0, "- addresses:");
    for address in &endpoint.addresses {
        out.line(1, format_args!("- {}", quoted(&address.to_string())));
    }
    out.line(1, "conditions:");
    out.field(2, "ready", endpoint.ready);
    out.field(2, "serving", endpoint.serving);
    out.field(2, "terminating", endpoint.terminating);
    if let Some(node) = &endpoint.node {
        out.field(1, "nodeName", quoted(node));
    }
    if let Some(zone) = &endpoint.zone {
        out.field(1, "zone", quoted(zone));
    }
    if !endpoint.for_zones.is_empty() || !endpoint.for_nodes.is_empty() {
        out.line(1, "hints:");
        names("forZones", &endpoint.for_zones, out);
        names("forNodes", &endpoint.for_nodes, out);
    }
}

fn names(field: &str, names: &BTreeSet<String>, out: &mut Yaml) {
    if !names.is_empty() {
        out.line(2, format_args!("{field}:"));
        names.iter().for_each(|name| out.field(2, "- name", quoted(name)));
    }
}
