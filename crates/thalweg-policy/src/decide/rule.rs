//! Whether a rule is about a packet.

use super::Packet;
use crate::model::{Rule, Side};
use crate::object::calico::Icmp;
use crate::object::kubernetes::PortMatch;
use crate::resolve::{Resolution, RuleSets, SideSets};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::cluster::Family;

/// What of a rule does not hold for a packet: the first such thing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Miss {
    /// The family.
    Family,
    /// The protocol.
    Protocol,
    /// Type or code of ICMP.
    Icmp,
    /// The address of the source, or whose it is.
    Source,
    /// The port of the source.
    SourcePort,
    /// The address of the destination, or whose it is.
    Destination,
    /// The port of the destination.
    DestinationPort,
}

impl Miss {
    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Family => "another IP version",
            Self::Protocol => "another protocol",
            Self::Icmp => "another ICMP type or code",
            Self::Source => "another source",
            Self::SourcePort => "another source port",
            Self::Destination => "another destination",
            Self::DestinationPort => "another port",
        }
    }
}

impl PortMatch {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Range(..) => None,
        }
    }
}

/// Whether a list of prefixes has some of the family of an address, or is empty.
fn speaks_of(nets: &[Prefix], address: IpAddr) -> bool {
    nets.is_empty() || nets.iter().any(|net| net.is_v4() == address.is_ipv4())
}

fn is_icmp(wanted: Icmp, (kind, code): (u8, u8)) -> bool {
    wanted.kind.is_none_or(|is| is == kind) && wanted.code.is_none_or(|is| is == code)
}

impl Resolution {
    /// What of a rule does not hold for a packet; none where all of it does.
    pub(crate) fn misses(&self, rule: &Rule, sets: RuleSets, packet: &Packet) -> Option<Miss> {
        if rule.family.is_some_and(|family| family != Family::of(packet.source)) {
            return Some(Miss::Family);
        }
        let protocol = rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && rule.not_protocol.is_none_or(|protocol| protocol != packet.protocol);
        if !protocol {
            return Some(Miss::Protocol);
        }
        let icmp = rule.icmp.is_none_or(|icmp| packet.icmp.is_some_and(|is| is_icmp(icmp, is)))
            && rule.not_icmp.is_none_or(|not| packet.icmp.is_none_or(|is| !is_icmp(not, is)));
        if !icmp {
            return Some(Miss::Icmp);
        }
        if !self.is_side(&rule.source, sets.source, packet.source) {
            return Some(Miss::Source);
        }
        if let Some(service) = &rule.source.service
            && !self.served(service).iter().any(|(address, ..)| *address == packet.source)
        {
            return Some(Miss::Source);
        }
        let ports = packet.ports;
        if !self.is_port(&rule.source, packet.source, packet.protocol, ports.map(|(from, _)| from))
        {
            return Some(Miss::SourcePort);
        }
        if !self.is_side(&rule.destination, sets.destination, packet.destination) {
            return Some(Miss::Destination);
        }
        let to = ports.map(|(_, to)| to);
        if let Some(service) = &rule.destination.service {
            let served = self.served(service);
            let is = |port| served.contains(&(packet.destination, packet.protocol, port));
            if !to.is_some_and(is) {
                return Some(Miss::Destination);
            }
        }
        let port = self.is_port(&rule.destination, packet.destination, packet.protocol, to);
        (!port).then_some(Miss::DestinationPort)
    }

    fn is_side(&self, side: &Side, sets: SideSets, address: IpAddr) -> bool {
        let within = |nets: &[Prefix]| nets.iter().any(|net| net.contains(address));
        let among = |set: usize| self.peers[set].ranges.contains(address);
        // A list that says nothing of this family leaves the rule without meaning for it.
        (side.nets.is_empty() || within(&side.nets))
            && speaks_of(&side.not_nets, address)
            && !within(&side.not_nets)
            && sets.within.is_none_or(among)
            && sets.without.is_none_or(|set| !among(set))
    }

    fn is_port(&self, side: &Side, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let is = |wanted: &PortMatch| match (wanted, port) {
            (_, None) => false,
            (PortMatch::Range(first, last), Some(port)) => (*first..=*last).contains(&port),
            (PortMatch::Named(name), Some(port)) => self.has_named(name, address, protocol, port),
        };
        (side.ports.is_empty() || side.ports.iter().any(is)) && !side.not_ports.iter().any(is)
    }
}
