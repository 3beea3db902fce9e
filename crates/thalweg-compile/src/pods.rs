//! What pods have of this host: its ports (`hostPort`).

use crate::nat::Lead;
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_image::FrontendKey;
use thalweg_model::cluster::{Family, HostPort, Pod};
use thalweg_model::{Intent, ObjectName};
use thalweg_service::{Frontend, Here, Resolver};

/// The field, what is wrong, and the way out.
pub(crate) type Refusal = (&'static str, String, &'static str);

/// What leads to pods.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) leads: BTreeMap<FrontendKey, Lead>,
    pub(crate) host_ports: BTreeMap<thalweg_service::FrontendKey, Frontend>,
    pub(crate) refused: Vec<(ObjectName, Refusal)>,
}

/// Whether a pod has a link of its own on this host.
pub(crate) fn is_here(intent: &Intent, pod: &Pod) -> bool {
    let node = &intent.router.node;
    let elsewhere = node.is_some() && pod.node.is_some() && *node != pod.node;
    pod.interface.is_some() && !pod.host_network && !elsewhere
}

/// Whether a pod is on this host by its object, and nobody knows at which of its links.
pub(crate) fn is_unguarded(intent: &Intent, pod: &Pod) -> bool {
    let on = pod.node.is_some() && intent.router.node == pod.node;
    on && pod.interface.is_none() && !pod.host_network && !pod.addresses.is_empty()
}

/// Pods on this host with anything of it.
pub(crate) fn of(intent: &Intent) -> Vec<(ObjectName, Pod)> {
    let here = |pod: &Pod| is_here(intent, pod);
    let has_any = |pod: &Pod| !pod.host_ports.is_empty();
    let pods = intent.cluster.pods.iter().filter(|(_, pod)| here(pod) && has_any(pod));
    pods.map(|(name, pod)| (name.clone(), pod.clone())).collect()
}

/// Rows that lead to pods. What a service has stays the service's; of two pods the first by name counts.
pub(crate) fn leads(pods: &[(ObjectName, Pod)], services: &Resolver, here: &Here) -> Found {
    let mut found = Found::default();
    for (name, pod) in pods {
        for port in &pod.host_ports {
            host_port(name, pod, port, services, here, &mut found);
        }
    }
    found
}

fn host_port(
    name: &ObjectName,
    pod: &Pod,
    port: &HostPort,
    services: &Resolver,
    here: &Here,
    found: &mut Found,
) {
    let mut refuse = |what: String, remedy| {
        found.refused.push((name.clone(), ("spec.containers", what, remedy)));
    };
    if let Some(address) = port.address.filter(|address| !here.holds(*address)) {
        let what = format!("{address} is no address of this host that links have");
        refuse(what, "leave hostIP out, or name an address of the node");
        return;
    }
    let own = here.addresses.iter().map(|own| own.address);
    let wanted: Vec<IpAddr> =
        own.filter(|own| port.address.is_none_or(|address| address == *own)).collect();
    for address in wanted {
        let family = |other: &&IpAddr| Family::of(**other) == Family::of(address);
        let Some(target) = pod.addresses.iter().find(family) else { continue };
        let key =
            thalweg_service::FrontendKey { address, port: port.host_port, protocol: port.protocol };
        let other = match (services.frontend(key), found.host_ports.get(&key)) {
            (Some(service), _) => Some(format!("Service/{}", service.service)),
            (None, Some(pod)) => Some(format!("Pod/{}", pod.service)),
            (None, None) => None,
        };
        if let Some(other) = other {
            let what =
                format!("{address}:{}/{} already belongs to {other}", key.port, key.protocol);
            let refusal = ("spec.containers", what, "give one of them another port");
            found.refused.push((name.clone(), refusal));
            continue;
        }
        let frontend = Frontend::of_pod(name.clone(), key, *target, port.port);
        let row = FrontendKey::new(address, key.port, key.protocol.number());
        let lead = Lead { flags: 0, choice: Some(frontend.internal.clone()) };
        found.leads.insert(row, lead);
        found.host_ports.insert(key, frontend);
    }
}
