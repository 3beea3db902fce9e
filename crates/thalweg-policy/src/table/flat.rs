//! The rules of an endpoint where its own address, or what holds for that, is known: what they ask of this side
//! is answered, and what they ask of the other is a list of atoms.

use super::class::{Atom, Atoms};
use super::own::Own;
use super::ports::Ports;
use crate::decide::{Cause, Decision, Verdict};
use crate::model::{Direction, Rule, Side, Stage};
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
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Flat {
    pub tiers: Vec<FlatTier>,
    /// What is decided where no tier does.
    pub end: Decision,
}

impl Default for Flat {
    fn default() -> Self {
        let end = Decision { verdict: Verdict::Deny, cause: Cause::NoPolicy };
        Self { tiers: Vec::new(), end }
    }
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct FlatTier {
    /// The number of the tier, if it denies what none of its rules decides.
    pub denies: Option<usize>,
    pub rules: Vec<FlatRule>,
}

/// What a rule does about a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Does {
    /// It decides.
    Decide(Verdict),
    /// It passes on to the next tier.
    Pass,
    /// It logs; the next rule is asked.
    Log,
}

/// A rule that may be about packets of the endpoint.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct FlatRule {
    pub cause: Cause,
    pub does: Does,
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
    /// What a chain comes to where the own side is known so far.
    pub fn new(
        resolution: &Resolution,
        chain: &Chain,
        own: &mut Own<'_>,
        atoms: &mut Atoms,
    ) -> Self {
        let ingress = chain.kind.direction == Direction::Ingress;
        let mut maker = Maker { resolution, atoms, own, ingress };
        let mut tiers = Vec::new();
        for tier in &chain.tiers {
            let mut rules = Vec::new();
            for policy in &tier.policies {
                let all = resolution.rules(*policy, chain.kind.direction);
                for (at, (rule, sets)) in all.enumerate() {
                    let cause = Cause::Rule { policy: *policy, rule: at };
                    rules.extend(maker.rule(rule, [sets.source, sets.destination], cause));
                }
            }
            // At other stages tiers have no end.
            let denies = chain.kind.stage == Stage::Normal
                && resolution.model.tiers[tier.tier].end == EndAction::Deny;
            tiers.push(FlatTier { denies: denies.then_some(tier.tier), rules });
        }
        Self { tiers, end: chain.end() }
    }
}

struct Maker<'a, 'o> {
    resolution: &'a Resolution,
    atoms: &'a mut Atoms,
    own: &'a mut Own<'o>,
    ingress: bool,
}

impl Maker<'_, '_> {
    /// The rule as far as the other side goes; none where it is never about this one.
    fn rule(&mut self, rule: &Rule, sets: [SideSets; 2], cause: Cause) -> Option<FlatRule> {
        let does = match rule.action {
            Action::Allow => Does::Decide(Verdict::Allow),
            Action::Deny => Does::Decide(Verdict::Deny),
            Action::Pass => Does::Pass,
            Action::Log => Does::Log,
        };
        let (own, other) = match self.ingress {
            true => ((&rule.destination, sets[1]), (&rule.source, sets[0])),
            false => ((&rule.source, sets[0]), (&rule.destination, sets[1])),
        };
        let family = self.family(rule)?;
        if !self.is_own(own.0, own.1) {
            return None;
        }
        let mut flat = FlatRule {
            cause,
            does,
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
            let served = self.resolution.served_at_ports(service);
            let of = self.own_ports(served, |of, port| Atom::ServesAt(service.clone(), of, port));
            flat.service = Some(of.into_iter().map(|(of, port)| (OWN, of, port)).collect());
        }
        // Both sides are of one family.
        match family {
            Some(Family::V4) => flat.within.push(self.atoms.number(Atom::v4())),
            Some(Family::V6) => flat.without.push(self.atoms.number(Atom::v4())),
            None => {}
        }
        Some(flat)
    }

    /// The family that a rule asks for, if that is still to be asked; none at all where it can never be.
    fn family(&self, rule: &Rule) -> Option<Option<Family>> {
        let speaks = |nets: &[Prefix], v4| nets.is_empty() || nets.iter().any(|n| n.is_v4() == v4);
        let may = |family: Family| {
            let v4 = family == Family::V4;
            rule.family.is_none_or(|of| of == family)
                && speaks(&rule.source.not_nets, v4)
                && speaks(&rule.destination.not_nets, v4)
        };
        if let Own::At(address) = *self.own {
            return may(Family::of(address)).then_some(None);
        }
        match (may(Family::V4), may(Family::V6)) {
            (true, true) => Some(None),
            (true, false) => Some(Some(Family::V4)),
            (false, true) => Some(Some(Family::V6)),
            (false, false) => None,
        }
    }

    fn own_is(&mut self, atom: Atom, wanted: bool) -> bool {
        self.own.is(atom, wanted, self.resolution, self.atoms)
    }

    /// Whether what is asked of the own address holds.
    fn is_own(&mut self, side: &Side, sets: SideSets) -> bool {
        let nets = |of: &Vec<Prefix>| Atom::Nets(of.clone());
        (side.nets.is_empty() || self.own_is(nets(&side.nets), true))
            && (side.not_nets.is_empty() || self.own_is(nets(&side.not_nets), false))
            && sets.within.is_none_or(|set| self.own_is(Atom::Peers(set), true))
            && sets.without.is_none_or(|set| self.own_is(Atom::Peers(set), false))
            && (self.ingress || {
                let service = side.service.as_ref();
                service.is_none_or(|of| self.own_is(Atom::Serves(of.clone()), true))
            })
    }

    /// Of ports at addresses, each known by an atom, those of the own side.
    fn own_ports(
        &mut self,
        mut all: Vec<(IpAddr, u8, u16)>,
        atom: impl Fn(u8, u16) -> Atom,
    ) -> Vec<(u8, u16)> {
        if let Own::At(own) = *self.own {
            all.retain(|(address, ..)| *address == own);
            return unique(&all);
        }
        let mut ports = unique(&all);
        ports.retain(|(protocol, port)| self.own_is(atom(*protocol, *port), true));
        ports
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
        let at = unique(&self.resolution.served_at_ports(service));
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
            let named: Vec<(IpAddr, u8, u16)> = self.resolution.named(name).collect();
            let atom = |protocol, port| Atom::Named(name.to_owned(), protocol, port);
            match own {
                true => list.of.extend(self.own_ports(named, atom)),
                false => list.at.extend(unique(&named).into_iter().map(|(protocol, port)| {
                    (self.atoms.number(atom(protocol, port)), protocol, port)
                })),
            }
        }
        list
    }
}

/// Protocols and ports, ascending, each once.
fn unique(all: &[(IpAddr, u8, u16)]) -> Vec<(u8, u16)> {
    let mut ports: Vec<(u8, u16)> = all.iter().map(|(_, of, port)| (*of, *port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
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
