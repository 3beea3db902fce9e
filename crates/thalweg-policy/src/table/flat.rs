//! The rules of an endpoint at one of its addresses: what they ask of that side is answered, and what they
//! ask of the other is a list of atoms.

use super::class::{Atom, Atoms};
use super::ports::Ports;
use crate::decide::Cause;
use crate::model::{Direction, Rule, Side};
use crate::object::EndAction;
use crate::object::calico::{Action, Icmp};
use crate::object::kubernetes::PortMatch;
use crate::resolve::{Chain, Resolution, SideSets};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::cluster::Family;

/// Protocols with ports.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// All rules in order.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Flat {
    pub tiers: Vec<FlatTier>,
    /// Whether what no tier decides is allowed.
    pub open: bool,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct FlatTier {
    pub tier: usize,
    pub end: EndAction,
    pub rules: Vec<FlatRule>,
}

/// A rule that may be about packets of the endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct FlatRule {
    pub cause: Cause,
    pub action: Action,
    pub protocol: Option<u8>,
    pub not_protocol: Option<u8>,
    pub icmp: Ports,
    /// Atoms that must hold for the other side.
    pub within: Vec<u32>,
    /// Atoms that must not.
    pub without: Vec<u32>,
    /// Of the other side: a service whose ports the destination must have.
    pub service: Option<Vec<(u32, u8, u16)>>,
    pub source: PortWish,
    pub destination: PortWish,
}

/// What is asked of a port.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct PortWish {
    /// Whether it must be one of those below.
    pub asks: bool,
    pub is: PortList,
    pub not: PortList,
}

/// Ports by number, of a protocol, or of a protocol where an atom holds for the other side.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct PortList {
    pub numbers: Ports,
    pub of: Vec<(u8, u16)>,
    pub at: Vec<(u32, u8, u16)>,
}

impl Flat {
    pub fn new(resolution: &Resolution, chain: &Chain, local: IpAddr, atoms: &mut Atoms) -> Self {
        let mut tiers = Vec::new();
        for tier in &chain.tiers {
            let mut rules = Vec::new();
            for policy in &tier.policies {
                let all = resolution.rules(*policy, chain.kind.direction);
                for (at, (rule, sets)) in all.enumerate() {
                    let cause = Cause::Rule { policy: *policy, rule: at };
                    let ingress = chain.kind.direction == Direction::Ingress;
                    let mut maker = Maker { resolution, atoms, local, ingress };
                    let sides = [sets.source, sets.destination];
                    rules.extend(maker.rule(rule, sides, cause));
                }
            }
            let end = resolution.model.tiers[tier.tier].end;
            tiers.push(FlatTier { tier: tier.tier, end, rules });
        }
        Self { tiers, open: chain.open }
    }
}

struct Maker<'a> {
    resolution: &'a Resolution,
    atoms: &'a mut Atoms,
    local: IpAddr,
    ingress: bool,
}

impl Maker<'_> {
    /// The rule as far as the other side goes; none where it is never about this one.
    fn rule(&mut self, rule: &Rule, sets: [SideSets; 2], cause: Cause) -> Option<FlatRule> {
        let local = self.local;
        if rule.family.is_some_and(|family| family != Family::of(local))
            || rule.action == Action::Log
        {
            return None;
        }
        let (own, other) = match self.ingress {
            true => ((&rule.destination, sets[1]), (&rule.source, sets[0])),
            false => ((&rule.source, sets[0]), (&rule.destination, sets[1])),
        };
        // Both sides are of one family.
        let speaks = |nets: &[Prefix]| {
            nets.is_empty() || nets.iter().any(|net| net.is_v4() == local.is_ipv4())
        };
        if !speaks(&own.0.not_nets) || !speaks(&other.0.not_nets) || !self.is_own(own.0, own.1) {
            return None;
        }
        let mut flat = FlatRule {
            cause,
            action: rule.action,
            protocol: rule.protocol,
            not_protocol: rule.not_protocol,
            icmp: icmp(rule.icmp, rule.not_icmp),
            within: Vec::new(),
            without: Vec::new(),
            service: None,
            source: self.wish(&rule.source, !self.ingress),
            destination: self.wish(&rule.destination, self.ingress),
        };
        self.other(&mut flat, other.0, other.1);
        if let Some(service) = &rule.destination.service
            && self.ingress
        {
            // A service that the endpoint itself must serve: ports of its own.
            let served = self.resolution.served(service).iter();
            let own = served.filter(|(address, ..)| *address == local);
            let of: Vec<(u8, u16)> = own.map(|(_, protocol, port)| (*protocol, *port)).collect();
            flat.service = Some(of.into_iter().map(|(of, port)| (OWN, of, port)).collect());
        }
        Some(flat)
    }

    /// Whether what is asked of the own address holds.
    fn is_own(&self, side: &Side, sets: SideSets) -> bool {
        let within = |nets: &[Prefix]| nets.iter().any(|net| net.contains(self.local));
        let among = |set: usize| self.resolution.peers[set].ranges.contains(self.local);
        let serves = |service| {
            let served = self.resolution.served(service);
            self.ingress || served.iter().any(|(address, ..)| *address == self.local)
        };
        (side.nets.is_empty() || within(&side.nets))
            && !within(&side.not_nets)
            && sets.within.is_none_or(among)
            && sets.without.is_none_or(|set| !among(set))
            && side.service.as_ref().is_none_or(serves)
    }

    fn other(&mut self, flat: &mut FlatRule, side: &Side, sets: SideSets) {
        let mut number = |atom| self.atoms.number(atom);
        if !side.nets.is_empty() {
            flat.within.push(number(Atom::Nets(side.nets.clone())));
        }
        if !side.not_nets.is_empty() {
            flat.without.push(number(Atom::Nets(side.not_nets.clone())));
        }
        flat.within.extend(sets.within.map(|set| number(Atom::Peers(set))));
        flat.without.extend(sets.without.map(|set| number(Atom::Peers(set))));
        let Some(service) = &side.service else { return };
        if self.ingress {
            flat.within.push(number(Atom::Serves(service.clone())));
            return;
        }
        let mut at: Vec<(u8, u16)> = self
            .resolution
            .served(service)
            .iter()
            .map(|(_, protocol, port)| (*protocol, *port))
            .collect();
        at.sort_unstable();
        at.dedup();
        let at = at.into_iter().map(|(protocol, port)| {
            (number(Atom::ServesAt(service.clone(), protocol, port)), protocol, port)
        });
        flat.service = Some(at.collect());
    }

    fn wish(&mut self, side: &Side, own: bool) -> PortWish {
        PortWish {
            asks: !side.ports.is_empty(),
            is: self.list(&side.ports, own),
            not: self.list(&side.not_ports, own),
        }
    }

    fn list(&mut self, ports: &[PortMatch], own: bool) -> PortList {
        let range = |port: &PortMatch| match port {
            PortMatch::Range(first, last) => Some((*first, *last)),
            PortMatch::Named(_) => None,
        };
        let mut list =
            PortList { numbers: ports.iter().filter_map(range).collect(), ..PortList::default() };
        for name in ports.iter().filter_map(PortMatch::name) {
            let mut named: Vec<(IpAddr, u8, u16)> = self.resolution.named(name).collect();
            if own {
                named.retain(|(address, ..)| *address == self.local);
            }
            let mut of: Vec<(u8, u16)> = named.iter().map(|(_, of, port)| (*of, *port)).collect();
            of.sort_unstable();
            of.dedup();
            match own {
                true => list.of.extend(of),
                false => list.at.extend(of.into_iter().map(|(protocol, port)| {
                    let atom = Atom::Named(name.to_owned(), protocol, port);
                    (self.atoms.number(atom), protocol, port)
                })),
            }
        }
        list
    }
}

/// In the place of an atom: no condition on the other side.
pub(super) const OWN: u32 = u32::MAX;

/// Types and codes as numbers of 16 bits.
fn icmp(is: Option<Icmp>, not: Option<Icmp>) -> Ports {
    let numbers = |icmp: Icmp| -> Ports {
        let Some(kind) = icmp.kind else { return Ports::all() };
        let (first, last) = icmp.code.map_or((0, u8::MAX), |code| (code, code));
        let number = |code| u16::from_be_bytes([kind, code]);
        [(number(first), number(last))].into_iter().collect()
    };
    let is = is.map_or_else(Ports::all, numbers);
    not.map_or(is.clone(), |not| is.without(&numbers(not)))
}

impl PortList {
    /// The ports of a protocol, where these atoms (ascending) hold for the other side.
    fn ports(&self, protocol: u8, holds: &[u32]) -> Ports {
        let of = self.of.iter().filter(|(of, _)| *of == protocol).map(|(_, port)| (*port, *port));
        let at = self
            .at
            .iter()
            .filter(|(atom, of, _)| *of == protocol && holds.binary_search(atom).is_ok());
        self.numbers.iter().chain(of).chain(at.map(|(.., port)| (*port, *port))).collect()
    }
}

impl PortWish {
    /// The ports that are wished for; of protocols without ports none, where any are.
    pub fn ports(&self, protocol: u8, holds: &[u32]) -> Ports {
        if !WITH_PORTS.contains(&protocol) {
            return if self.asks { Ports::default() } else { Ports::all() };
        }
        let is = if self.asks { self.is.ports(protocol, holds) } else { Ports::all() };
        is.without(&self.not.ports(protocol, holds))
    }
}

impl FlatRule {
    /// Whether it is about a protocol; none stands for one that no rule names.
    pub fn is_about(&self, protocol: Option<u8>) -> bool {
        self.protocol.is_none_or(|of| Some(of) == protocol)
            && self.not_protocol.is_none_or(|of| Some(of) != protocol)
    }

    /// Whether it is about the other side.
    pub fn holds(&self, holds: &[u32]) -> bool {
        let has = |atom: &u32| holds.binary_search(atom).is_ok();
        self.within.iter().all(has) && !self.without.iter().any(has)
    }

    /// Destination ports, or types and codes, that it is about.
    pub fn destination(&self, protocol: Option<u8>, holds: &[u32]) -> Ports {
        let ports = match protocol {
            Some(protocol) if super::ICMP.contains(&protocol) => {
                match self.destination.asks || self.source.asks {
                    true => Ports::default(),
                    false => self.icmp.clone(),
                }
            }
            Some(protocol) => self.destination.ports(protocol, holds),
            None if self.destination.asks => Ports::default(),
            None => Ports::all(),
        };
        let Some(service) = &self.service else { return ports };
        let served = service.iter().filter(|(atom, of, _)| {
            Some(*of) == protocol && (*atom == OWN || holds.binary_search(atom).is_ok())
        });
        ports.and(&served.map(|(.., port)| (*port, *port)).collect())
    }
}
