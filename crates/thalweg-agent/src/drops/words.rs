//! A dropped frame in words: names instead of numbers, and what to try about it.

use super::memory::Told;
use crate::cluster;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_abi::event::{flag, hook};
use thalweg_abi::{DropEvent, Reason, VrfId};
use thalweg_api::drops::{DropEnd, DropEventView};
use thalweg_api::moment;
use thalweg_compile::Compiler;
use thalweg_compile::service::Class;
use thalweg_model::HostState;
use thalweg_wire::l4::protocol;

/// An address of an event; none where no IP header was found.
pub(super) fn address(event: &DropEvent, [high, low]: [u64; 2]) -> Option<IpAddr> {
    match event.family {
        4 => Some(Ipv4Addr::from(low as u32).into()),
        6 => Some(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()),
        _ => None,
    }
}

/// The reason of an event; none of one that a newer version made.
fn reason(event: &DropEvent) -> Option<Reason> {
    Reason::from_number(event.reason)
}

/// Names of what events speak of.
pub(super) struct Words<'a> {
    host: &'a HostState,
    pub(super) compiler: &'a Compiler,
    names: HashMap<IpAddr, String>,
}

impl<'a> Words<'a> {
    /// Looks for the names of the addresses that occur, and of no others.
    pub fn new(compiler: &'a Compiler, told: &[Told]) -> Self {
        let ends = told.iter().flat_map(|Told { event, .. }| {
            [address(event, event.source), address(event, event.destination)]
        });
        let occur: HashSet<IpAddr> = ends.flatten().collect();
        let mut names = HashMap::new();
        if !occur.is_empty() {
            let mut name = |address: &IpAddr, make: &dyn Fn() -> String| {
                if occur.contains(address) {
                    names.entry(*address).or_insert_with(make);
                }
            };
            let cluster = &compiler.intent().cluster;
            for (pod, of) in cluster.pods.iter().filter(|(_, pod)| !pod.host_network) {
                let all = of.addresses.iter().chain(&of.floating);
                all.for_each(|address| name(address, &|| format!("pod/{pod}")));
            }
            for (node, of) in cluster.nodes.iter() {
                of.addresses.iter().for_each(|address| name(address, &|| format!("node/{node}")));
            }
            let own = |class| !matches!(class, Class::NodePort | Class::HostPort);
            for frontend in compiler.frontends().filter(|frontend| own(frontend.class)) {
                let service = &frontend.service;
                name(&frontend.key.address, &|| format!("service/{service}"));
            }
        }
        Self { host: compiler.host_facts(), compiler, names }
    }

    fn link(&self, index: u32) -> String {
        let link = self.host.links.get(&index);
        link.map_or_else(|| format!("link {index}"), |link| link.name.clone())
    }

    fn vrf(&self, number: u16) -> Option<String> {
        (number != 0).then(|| {
            let named = self.compiler.vrfs().into_iter().find(|vrf| vrf.id == VrfId(number));
            named.map_or_else(|| format!("VRF {number}"), |vrf| vrf.name)
        })
    }

    fn end(&self, event: &DropEvent, halves: [u64; 2], port: u16) -> Option<DropEnd> {
        let address = address(event, halves)?;
        let ports = event.flags & flag::PORTS != 0 && protocol::has_ports(event.protocol);
        Some(DropEnd {
            address: address.to_string(),
            port: ports.then_some(port),
            name: self.names.get(&address).cloned(),
        })
    }

    /// A frame in words.
    pub fn view(&self, told: &Told) -> DropEventView {
        let event = &told.event;
        let icmp = matches!(event.protocol, protocol::ICMP | protocol::ICMPV6)
            && event.flags & flag::PORTS != 0;
        let link = self.link(event.link);
        let reason = reason(event);
        DropEventView {
            number: told.number,
            at: moment::text(told.at),
            vrf: self.vrf(event.vrf),
            hook: match event.hook {
                hook::XDP => "xdp",
                hook::TC => "tc",
                hook::OUT => "out",
                _ => "native",
            }
            .into(),
            verdict: if event.flags & flag::ANSWERED != 0 { "answer" } else { "drop" }.into(),
            reason: reason.map_or_else(|| event.reason.to_string(), |one| one.name().into()),
            cause: Some(event.cause).filter(|cause| *cause != 0),
            because: self.because(event),
            source: self.end(event, event.source, event.source_port),
            destination: self.end(event, event.destination, event.destination_port),
            protocol: (event.family != 0).then(|| cluster::protocol(event.protocol)),
            icmp: icmp.then_some([event.source_port as u8, event.destination_port as u8]),
            later_fragment: event.flags & flag::LATER_FRAGMENT != 0,
            labelled: event.flags & flag::LABELLED != 0,
            octets: event.octets,
            more: more(event, &link),
            link,
        }
    }

    /// What decided, in words.
    fn because(&self, event: &DropEvent) -> Option<String> {
        let policy = reason(event) == Some(Reason::Policy) && event.cause != 0;
        policy.then(|| crate::policies::decided(self.compiler, event.cause)).flatten()
    }
}

/// The command that tells more of an event: what would happen to such a packet now, or where that cannot be
/// said, what the reason means.
pub(super) fn more(event: &DropEvent, link: &str) -> String {
    let known = event.hook != hook::OUT && event.flags & flag::LABELLED == 0;
    match (packet(event), reason(event)) {
        (Some(packet), _) if known => format!("thalweg explain '{link} < {packet}'"),
        (_, Some(reason)) => format!("thalweg describe reason {}", reason.name()),
        (_, None) => "thalweg get drops".into(),
    }
}

/// A packet like that of the event, in words; none where no IP header was found.
fn packet(event: &DropEvent) -> Option<String> {
    let (source, destination) = (address(event, event.source)?, address(event, event.destination)?);
    let six = event.family == 6;
    let ip = if six { "ip6" } else { "ip" };
    let (ports, fields) =
        (event.flags & flag::PORTS != 0, (event.source_port, event.destination_port));
    let (l4, header) = match (event.protocol, fields) {
        (protocol::TCP, (from, to)) if ports => {
            let amid = reason(event) == Some(Reason::NoFlow);
            (format!("tcp {from} > {to} {}", if amid { "ack" } else { "syn" }), 20)
        }
        (protocol::UDP, (from, to)) if ports => (format!("udp {from} > {to}"), 8),
        (protocol::SCTP, (from, to)) if ports => (format!("sctp {from} > {to} init"), 32),
        (protocol::ICMP, (kind, code)) if ports => (format!("icmp type {kind} code {code}"), 8),
        (protocol::ICMPV6, (kind, code)) if ports => (format!("icmp6 type {kind} code {code}"), 8),
        (number, _) if six => (format!("next {number}"), 0),
        (number, _) => {
            // Where it stood in the packet is not known.
            let frag = if event.flags & flag::LATER_FRAGMENT != 0 { "frag 1480 " } else { "" };
            (format!("{frag}proto {number}"), 0)
        }
    };
    let headers = 14 + if six { 40 } else { 20 } + header;
    let rest = event.octets.saturating_sub(headers);
    let len = if rest > 0 { format!(" len {rest}") } else { String::new() };
    Some(format!("{ip} {source} > {destination} {l4}{len}"))
}
