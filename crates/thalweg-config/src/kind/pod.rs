//! `v1 Pod`: a workload, as far as its network goes.

use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::floating;
use crate::kind::foreign::{address, protocol, reachable};
use crate::kind::host_ports;
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::{Value, short};
use std::net::IpAddr;
use thalweg_model::cluster::{HostPort, NamedPort, Pod, Protocol};

/// Annotation that names the host's side of its veth.
pub(crate) const INTERFACE: &str = "thalweg.io/interface";
/// Annotation with the link address within.
pub(crate) const MAC: &str = "thalweg.io/mac";

/// Fields of its `spec`.
const SPEC: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
    "workloadRef",
];
/// Fields of `spec.containers[]`.
const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];
/// Fields of `spec.containers[].ports[]`.
const PORT: &[&str] = &["containerPort", "hostIP", "hostPort", "name", "protocol"];
/// Fields of its `status`.
const STATUS: &[&str] = &[
    "allocatedResources",
    "conditions",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "extendedResourceClaimStatus",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "message",
    "nominatedNodeName",
    "observedGeneration",
    "phase",
    "podIP",
    "podIPs",
    "qosClass",
    "reason",
    "resize",
    "resourceClaimStatuses",
    "resources",
    "startTime",
];

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let mut pod = Pod { labels: meta.labels(), ..Pod::default() };
    if let Some(spec) = object.given("spec") {
        read_spec(&spec, &mut pod, report);
    }
    let mut over = false;
    if let Some(status) = object.given("status") {
        over = read_status(&status, &mut pod, report);
    }
    let interface = meta.annotation(INTERFACE);
    if let Some(field) = &interface {
        pod.interface = device(field, report);
        if pod.host_network {
            let what = "a pod that shares the host's network has no interface of its own";
            field.warning(what, "remove the annotation", report);
            pod.interface = None;
        }
    }
    if let Some(field) = meta.annotation(MAC) {
        let text = field.text(report);
        pod.mac = text.and_then(|text| text.parse().ok());
        if let (Some(text), None) = (text, pod.mac) {
            let what = format!("`{}` is no link address", short(text));
            field.error(what, "write six octets, as in 02:00:00:00:00:01", report);
        }
    }
    let wrong = report.errors() > before;
    // What it cannot have of its host does not take its network from it.
    outside(meta, &mut pod, report);
    // What ran to its end has given its addresses back.
    if !wrong && !over {
        let at = interface.map_or(meta.at, |field| field.node.span);
        draft.cluster.pod(meta, pod, at);
    }
}

/// Floating addresses, and ports of the host in a row.
fn outside(meta: &Meta, pod: &mut Pod, report: &mut Report) {
    if let Some(field) = meta.annotation(floating::ANNOTATION) {
        pod.floating = floating::read(&field, report);
        if pod.host_network && !pod.floating.is_empty() {
            let what = "a pod that shares the host's network has no floating address";
            field.warning(what, "remove the annotation", report);
            pod.floating.clear();
        }
    }
    if let Some(field) = meta.annotation(host_ports::ANNOTATION) {
        let ports = host_ports::read(&field, report);
        if pod.host_network && !ports.is_empty() {
            let what = "a pod that shares the host's network has all its ports";
            field.warning(what, "remove the annotation", report);
        } else {
            pod.host_ports.extend(ports);
        }
    }
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

fn read_spec(spec: &Field, pod: &mut Pod, report: &mut Report) {
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, SPEC, report) else { return };
    pod.node = fields.text_of("nodeName", report).map(Into::into);
    pod.service_account = fields.text_of("serviceAccountName", report).map(Into::into);
    pod.host_network = fields.flag_of("hostNetwork", report).unwrap_or_default();
    for (name, init) in [("containers", false), ("initContainers", true)] {
        let Some(list) = fields.given(name) else { continue };
        for item in list.members(report) {
            let inner = Fields::open_foreign(item.node, &item.path, CONTAINER, report);
            let Some(inner) = inner else { continue };
            // Of those that run first, only sidecars stay.
            if init && inner.text_of("restartPolicy", report) != Some("Always") {
                continue;
            }
            if let Some(ports) = inner.given("ports") {
                for port in ports.members(report) {
                    pod.host_ports.extend(host_port(&port, report));
                    pod.ports.extend(named_port(&port));
                }
            }
        }
    }
    if pod.host_network {
        // Its ports are the host's already.
        pod.host_ports.clear();
    }
}

/// A port of a container that has a name. What is wrong with it is told with its other fields.
fn named_port(item: &Field) -> Option<NamedPort> {
    let fields = Fields::of(item.node, &item.path)?;
    let text = |name| match &fields.peek_any(name)?.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some(text.as_ref()),
        _ => None,
    };
    let word = text("protocol").unwrap_or("TCP");
    let (_, protocol) = *Protocol::ALL.iter().find(|(known, _)| *known == word)?;
    let port = text("containerPort")?.parse().ok().filter(|port| *port > 0)?;
    Some(NamedPort { name: text("name")?.into(), protocol, port })
}

/// A port of a container; none where the host does not answer at it.
fn host_port(item: &Field, report: &mut Report) -> Option<HostPort> {
    let fields = Fields::open_foreign(item.node, &item.path, PORT, report)?;
    let port = fields.required("containerPort", "write the port, 1 to 65535", report);
    let port = port.and_then(|field| field.number(1..=65_535, report));
    let protocol = protocol(&fields, report);
    let host_port = fields.given("hostPort").and_then(|field| field.number(0..=65_535, report));
    let field = fields.given("hostIP").filter(|field| !field.is_empty_text());
    let any = |field: &Field| {
        let text = field.text(&mut Report::new(report.sources));
        text.and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_unspecified())
    };
    let host_port = host_port.filter(|port| *port > 0)?;
    let address = match field.filter(|field| !any(field)) {
        Some(field) => Some(host_address(&field, report)?),
        None => None,
    };
    Some(HostPort { address, host_port, port: port?, protocol: protocol? })
}

/// The address that a port is for. At loopback, which Kubernetes knows as well, nobody answers: the pod and its
/// other ports stay.
fn host_address(field: &Field, report: &mut Report) -> Option<IpAddr> {
    let loopback = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if field.text(report).is_some_and(loopback) {
        let what = "a port of the host at loopback leads nowhere: it is left out";
        field.warning(what, "leave hostIP out, or name an address of the node", report);
        return None;
    }
    address(field, report)
}

/// Reads addresses; returns whether the pod ran to its end.
fn read_status(status: &Field, pod: &mut Pod, report: &mut Report) -> bool {
    let fields = Fields::open_foreign(status.node, &status.path, STATUS, report);
    let Some(fields) = fields else { return false };
    if let Some(list) = fields.given("podIPs") {
        for item in list.members(report) {
            let inner = Fields::open_foreign(item.node, &item.path, &["ip"], report);
            let Some(field) = inner.and_then(|inner| inner.required("ip", "write it", report))
            else {
                continue;
            };
            pod.addresses.extend(pod_address(&field, pod.host_network, report));
        }
    } else if let Some(one) = fields.given("podIP").filter(|field| !field.is_empty_text()) {
        pod.addresses.extend(pod_address(&one, pod.host_network, report));
    }
    matches!(fields.text_of("phase", report), Some("Succeeded" | "Failed"))
}

fn pod_address(field: &Field, host_network: bool, report: &mut Report) -> Option<IpAddr> {
    if host_network { address(field, report) } else { reachable(field, report) }
}
