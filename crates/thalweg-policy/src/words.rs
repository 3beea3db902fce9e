//! Rules in plain words, the same everywhere.

use crate::model::{Rule, Side};
use crate::object::calico::{Action, Icmp};
use crate::object::kubernetes::PortMatch;
use thalweg_model::cluster::Family;

impl Action {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Log => "log",
            Self::Pass => "pass",
        }
    }
}

/// Protocols by name, as Calico writes them.
pub const PROTOCOLS: [(&str, u8); 6] =
    [("TCP", 6), ("UDP", 17), ("ICMP", 1), ("ICMPv6", 58), ("SCTP", 132), ("UDPLite", 136)];

/// The name of a protocol, or its number.
pub fn protocol(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| format!("protocol {number}"), |(name, _)| (*name).into())
}

/// Items with commas between them.
fn listed<T>(items: &[T], word: impl Fn(&T) -> String) -> String {
    items.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A port, a range or a name.
pub fn port(port: &PortMatch) -> String {
    match port {
        PortMatch::Range(first, last) if first == last => first.to_string(),
        PortMatch::Range(first, last) => format!("{first}-{last}"),
        PortMatch::Named(name) => format!("`{name}`"),
    }
}

fn icmp(icmp: Icmp) -> String {
    let part = |name: &str, value: Option<u8>| value.map(|value| format!("{name} {value}"));
    let parts = [part("type", icmp.kind), part("code", icmp.code)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What a rule asks of a side; nothing where it asks nothing.
pub fn side(side: &Side) -> Option<String> {
    let mut parts = Vec::new();
    if !side.nets.is_empty() {
        parts.push(listed(&side.nets, ToString::to_string));
    }
    if !side.not_nets.is_empty() {
        parts.push(format!("not {}", listed(&side.not_nets, ToString::to_string)));
    }
    if let Some(selector) = &side.selector {
        parts.push(selector.to_string());
    }
    if let Some(selector) = &side.not_selector {
        parts.push(format!("none of {selector}"));
    }
    if let Some(service) = &side.service {
        parts.push(format!("service {service}"));
    }
    if !side.ports.is_empty() {
        let word = if side.ports.len() == 1 { "port" } else { "ports" };
        parts.push(format!("{word} {}", listed(&side.ports, port)));
    }
    if !side.not_ports.is_empty() {
        parts.push(format!("other ports than {}", listed(&side.not_ports, port)));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// A rule: what it does about which packets.
pub fn rule(rule: &Rule) -> String {
    let mut text = rule.action.word().to_owned();
    let mut add = |part: String| {
        text.push(' ');
        text.push_str(&part);
    };
    // An ICMP protocol has its family in its name.
    let implied = matches!(rule.protocol, Some(1 | 58));
    match rule.family.filter(|_| !implied) {
        Some(Family::V4) => add("IPv4".into()),
        Some(Family::V6) => add("IPv6".into()),
        None => {}
    }
    match (rule.protocol, rule.not_protocol) {
        (Some(number), _) => add(protocol(number)),
        (None, Some(number)) => add(format!("all but {}", protocol(number))),
        (None, None) => add("everything".into()),
    }
    if let Some(is) = rule.icmp {
        add(icmp(is));
    }
    if let Some(not) = rule.not_icmp {
        add(format!("but not {}", icmp(not)));
    }
    if let Some(from) = side(&rule.source) {
        add(format!("from {from}"));
    }
    if let Some(to) = side(&rule.destination) {
        add(format!("to {to}"));
    }
    text
}
