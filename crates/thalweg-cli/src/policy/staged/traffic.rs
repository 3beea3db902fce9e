//! Traffic as an agent tells of it: the first packet of each flow that lives, and packets that were dropped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use thalweg_api::cluster::FlowView;
use thalweg_api::drops::{DropEnd, DropEventView};
use thalweg_model::Cluster;
use thalweg_model::cluster::{ObjectName, Service};
use thalweg_policy::{Packet, words};

/// A packet that was seen, and what is known of its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// As it came in.
    pub arrived: Packet,
    /// What it may have become once services were translated: of a flow one; of a dropped packet one for each
    /// backend that might have had it.
    pub packets: Vec<Packet>,
    /// The link that it came in by, if it is known.
    pub from: Option<String>,
    /// The link that it left by, if it is known.
    pub to: Option<String>,
    /// Whether it was dropped; else it began a flow that lives.
    pub dropped: bool,
}

/// An address with a port, where the protocol has ports.
fn end(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let with_port = text.parse::<SocketAddr>().map(|end| (end.ip(), Some(end.port())));
    with_port.or_else(|_| text.parse().map(|address| (address, None))).ok()
}

/// The number of a protocol by the word that views have for it.
fn protocol(word: &str, address: IpAddr) -> Option<u8> {
    match word {
        // Both have one word there.
        "ICMP" => Some(if address.is_ipv4() { 1 } else { 58 }),
        word => {
            let known = words::PROTOCOLS.iter().find(|(name, _)| *name == word);
            known.map(|(_, number)| *number).or_else(|| word.parse().ok())
        }
    }
}

/// A packet between two ends; none where something is not told that policies may ask for.
fn packet(
    word: &str,
    source: (IpAddr, Option<u16>),
    destination: (IpAddr, Option<u16>),
    icmp: Option<(u8, u8)>,
) -> Option<Packet> {
    let protocol = protocol(word, source.0)?;
    let ports = source.1.zip(destination.1);
    let has_ports = matches!(protocol, 6 | 17 | 132 | 136);
    (ports.is_some() == has_ports).then_some(Packet {
        source: source.0,
        destination: destination.0,
        protocol,
        ports,
        icmp: icmp.filter(|_| matches!(protocol, 1 | 58)),
    })
}

/// The first packets of flows. Of ICMP, only echo requests begin flows that anybody would miss.
pub(super) fn flows(views: &[FlowView]) -> Vec<Seen> {
    let (forward, answers): (Vec<&FlowView>, Vec<_>) =
        views.iter().partition(|view| view.direction == "forward");
    let key =
        |view: &FlowView| (view.protocol.clone(), view.source.clone(), view.destination.clone());
    let links: HashMap<_, _> = answers.iter().map(|view| (key(view), view.link.clone())).collect();
    let seen = forward.iter().filter_map(|view| {
        let destination = view.new_destination.as_ref().unwrap_or(&view.destination);
        let source = view.new_source.as_ref().unwrap_or(&view.source);
        let (client, to) = (end(&view.source)?, end(destination)?);
        let echo = Some((if client.0.is_ipv4() { 8 } else { 128 }, 0));
        let arrived = packet(&view.protocol, client, end(&view.destination)?, echo)?;
        let answer = (view.protocol.clone(), destination.clone(), source.clone());
        Some(Seen {
            arrived,
            packets: vec![packet(&view.protocol, client, to, echo)?],
            from: view.link.clone(),
            to: links.get(&answer).cloned().flatten(),
            dropped: false,
        })
    });
    seen.collect()
}

/// Packets that were dropped. What cannot be told of them, as of later fragments, leaves them out.
pub(super) fn drops(
    events: &[DropEventView],
    cluster: &Cluster,
    is_own: impl Fn(IpAddr) -> bool,
) -> Vec<Seen> {
    let end = |end: &Option<DropEnd>| {
        let end = end.as_ref()?;
        Some((end.address.parse().ok()?, end.port))
    };
    let seen = events.iter().filter_map(|event| {
        if event.later_fragment || event.labelled {
            return None;
        }
        let icmp = event.icmp.map(|[kind, code]| (kind, code));
        let (source, destination) = (end(&event.source)?, end(&event.destination)?);
        let arrived = packet(event.protocol.as_deref()?, source, destination, icmp)?;
        let out = event.hook == "out";
        let link = Some(event.link.clone());
        Some(Seen {
            arrived,
            // What leaves has been translated.
            packets: if out { vec![arrived] } else { translated(cluster, &arrived, &is_own) },
            from: link.clone().filter(|_| !out),
            to: link.filter(|_| out),
            dropped: true,
        })
    });
    seen.collect()
}

/// A packet as those might get it whom it leads to: who has a floating address, or the backends of a service.
fn translated(cluster: &Cluster, packet: &Packet, is_own: impl Fn(IpAddr) -> bool) -> Vec<Packet> {
    let is_same = |of: &&IpAddr| of.is_ipv4() == packet.source.is_ipv4();
    let floats = cluster.pods.iter().find(|(_, pod)| pod.floating.contains(&packet.destination));
    let target = floats.and_then(|(_, pod)| pod.addresses.iter().find(is_same));
    match target {
        Some(target) => vec![Packet { destination: *target, ..*packet }],
        None => backends(cluster, packet, is_own).unwrap_or_else(|| vec![*packet]),
    }
}

/// A packet to a service, as each backend that is ready would get it; none where no service is there.
fn backends(
    cluster: &Cluster,
    packet: &Packet,
    is_own: impl Fn(IpAddr) -> bool,
) -> Option<Vec<Packet>> {
    let (client, wanted) = packet.ports?;
    let has = |service: &Service| {
        let vips = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
        vips.into_iter().flatten().any(|address| *address == packet.destination)
    };
    let own = is_own(packet.destination);
    let found = cluster.services.iter().find_map(|(name, service)| {
        let has = has(service);
        let port = service.ports.iter().find(|port| {
            port.protocol.number() == packet.protocol
                && (has && port.port == wanted || own && port.node_port == Some(wanted))
        });
        Some((name, port?))
    });
    let (service, port): (&ObjectName, _) = found?;
    let slices = cluster.slices.iter();
    let slices = slices.filter(|(name, slice)| {
        name.namespace == service.namespace && slice.service == service.name
    });
    let mut made = Vec::new();
    for (_, slice) in slices {
        let to =
            slice.ports.iter().filter(|to| to.name == port.name && to.protocol == port.protocol);
        for to in to.map(|to| to.port) {
            let ready = slice.endpoints.iter().filter(|one| one.ready);
            let addresses = ready.filter_map(|one| one.addresses.first());
            let same = addresses.filter(|of| of.is_ipv4() == packet.source.is_ipv4());
            made.extend(same.map(|address| Packet {
                destination: *address,
                ports: Some((client, to)),
                ..*packet
            }));
        }
    }
    Some(made)
}
