//! For each endpoint and direction the policies that apply, in order, with peers as addresses.
//!
//! Endpoints to which the same policies apply share a [`Chain`], and rules with the same selector share
//! one set of addresses, so that what is held grows with what is said, not with endpoints times rules.

mod index;
mod print;
mod profile;

use crate::model::{Direction, Model, Policy, Rule, Side, Stage};
use crate::ranges::Ranges;
use crate::selector::Selector;
use crate::world::{NO_PORT, World};
use index::Index;
pub(crate) use profile::sort as sort_profiles;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::Prefix;
use thalweg_model::cluster::ObjectName;

/// Everything resolved.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// Everybody.
    pub world: World,
    /// The model that was resolved.
    pub model: Model,
    /// All policies in the order of the model.
    pub policies: Vec<Resolved>,
    /// Addresses of those whom selectors mean, each selector once.
    pub peers: Vec<Peers>,
    /// What chains there are, each once.
    pub chains: Vec<Chain>,
    /// Of each endpoint, the chains it has.
    of: Vec<HashMap<ChainKind, usize>>,
    /// Who has a port of that name: address, protocol and number.
    pub(crate) named: HashMap<String, HashSet<(IpAddr, u8, u16)>>,
}

/// A policy with its rules resolved.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Number of its tier.
    pub tier: usize,
    /// Endpoints that it selects, ascending.
    pub subjects: Vec<usize>,
    /// The sets of its rules, by direction and in their order.
    pub(crate) sides: [Vec<RuleSets>; 2],
}

/// Numbers of the sets of addresses that a rule asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RuleSets {
    /// Of the source.
    pub source: SideSets,
    /// Of the destination.
    pub destination: SideSets,
}

/// Numbers of the sets of one side.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SideSets {
    /// The address must be in this one.
    pub within: Option<usize>,
    /// And not in this one.
    pub without: Option<usize>,
}

/// Whom a selector means.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The selector.
    pub selector: Selector,
    /// Addresses.
    pub ranges: Ranges,
    /// How many endpoints and sets they belong to.
    pub members: usize,
}

/// Which of its chains an endpoint is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChainKind {
    /// The direction.
    pub direction: Direction,
    /// The stage.
    pub stage: Stage,
    /// Whether the packet only passes a host.
    pub forwarded: bool,
}

impl ChainKind {
    /// What ends or begins at the endpoint.
    pub fn normal(direction: Direction) -> Self {
        Self { direction, stage: Stage::Normal, forwarded: false }
    }

    /// All that hosts have. What leaves is not asked before translation.
    pub fn of_hosts() -> impl Iterator<Item = Self> {
        let kind = |direction, stage, forwarded| Self { direction, stage, forwarded };
        let both = [Direction::Ingress, Direction::Egress].into_iter();
        both.flat_map(move |direction| {
            let before = (direction == Direction::Ingress).then_some(Stage::PreDnat);
            let first = [Stage::Untracked].into_iter().chain(before).chain([Stage::Normal]);
            let first = first.map(move |stage| kind(direction, stage, false));
            first.chain([kind(direction, Stage::Normal, true)])
        })
    }
}

/// Policies that apply to an endpoint, in order.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Chain {
    /// What it is for.
    pub kind: ChainKind,
    /// Tiers with the policies in them; those without any are left out.
    pub tiers: Vec<ChainTier>,
    /// Whether the profiles of the endpoint allow what no tier decides.
    pub open: bool,
}

impl Chain {
    /// Whether it has nothing to say: it is about no tier, and lets all go on or pass.
    pub(crate) fn is_idle(&self) -> bool {
        let last_word = self.kind.stage == Stage::Normal && !self.kind.forwarded;
        self.tiers.is_empty() && !last_word
    }
}

/// A tier of a chain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ChainTier {
    /// Number of the tier.
    pub tier: usize,
    /// Numbers of the policies.
    pub policies: Vec<usize>,
}

impl Resolution {
    /// Resolves everything for all endpoints.
    pub fn new(world: World, model: Model) -> Self {
        Self::within(world, model, |_| true)
    }

    /// Resolves what is needed for some endpoints alone: policies that select none of them have no sets.
    pub fn within(world: World, model: Model, wanted: impl Fn(usize) -> bool) -> Self {
        let mut made = Self { of: vec![HashMap::new(); world.endpoints.len()], ..Self::default() };
        let index = Index::new(&world, model.policies().map(|(_, policy)| &**policy));
        let mut numbers: HashMap<Selector, usize> = HashMap::new();
        for (tier, policy) in model.policies() {
            let mut subjects = match profile::subjects(&world, policy) {
                Some(listed) => listed,
                None => index.endpoints(&world, &policy.subject),
            };
            subjects.retain(|at| wanted(*at));
            let mut resolved =
                Resolved { policy: policy.clone(), tier, subjects, sides: Default::default() };
            if !resolved.subjects.is_empty() {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let rules = policy.rules(direction).unwrap_or_default();
                    let mut peers = |side: &Side| {
                        let mut number = |selector: &Option<Selector>| {
                            let selector = selector.as_ref()?;
                            if let Some(known) = numbers.get(selector) {
                                return Some(*known);
                            }
                            made.peers.push(index.peers(&world, selector));
                            numbers.insert(selector.clone(), made.peers.len() - 1);
                            Some(made.peers.len() - 1)
                        };
                        SideSets {
                            within: number(&side.selector),
                            without: number(&side.not_selector),
                        }
                    };
                    let sets = rules.iter().map(|rule| RuleSets {
                        source: peers(&rule.source),
                        destination: peers(&rule.destination),
                    });
                    resolved.sides[direction as usize] = sets.collect();
                }
            }
            made.policies.push(resolved);
        }
        made.named = named(&world, &model);
        made.model = model;
        made.world = world;
        made.chain(wanted);
        made
    }

    /// Gives each endpoint its chains.
    fn chain(&mut self, wanted: impl Fn(usize) -> bool) {
        let mut applying: Vec<Vec<usize>> = vec![Vec::new(); self.world.endpoints.len()];
        for (at, resolved) in self.policies.iter().enumerate() {
            resolved.subjects.iter().for_each(|endpoint| applying[*endpoint].push(at));
        }
        let mut numbers: HashMap<Chain, usize> = HashMap::new();
        for (at, applying) in applying.iter_mut().enumerate().filter(|(at, _)| wanted(*at)) {
            let endpoint = &self.world.endpoints[at];
            profile::sort(endpoint, applying, |at| &self.policies[at].policy);
            let kinds: Vec<ChainKind> = match endpoint.is_host() {
                true => ChainKind::of_hosts().collect(),
                false => [Direction::Ingress, Direction::Egress].map(ChainKind::normal).into(),
            };
            for kind in kinds {
                let chain = self.chain_of(kind, applying, endpoint.open);
                let next = self.chains.len();
                let number = *numbers.entry(chain.clone()).or_insert(next);
                if number == next {
                    self.chains.push(chain);
                }
                self.of[at].insert(kind, number);
            }
        }
    }

    /// The chain of an endpoint to which these policies apply, given in their order.
    pub(crate) fn chain_of(&self, kind: ChainKind, applying: &[usize], open: bool) -> Chain {
        let mut tiers: Vec<ChainTier> = Vec::new();
        for at in applying {
            let Resolved { policy, tier, .. } = &self.policies[*at];
            let applies = policy.rules(kind.direction).is_some()
                && policy.stage == kind.stage
                && (policy.forwarded || !kind.forwarded);
            if !applies {
                continue;
            }
            match tiers.last_mut().filter(|last| last.tier == *tier) {
                Some(last) => last.policies.push(*at),
                None => tiers.push(ChainTier { tier: *tier, policies: vec![*at] }),
            }
        }
        Chain { kind, tiers, open }
    }

    /// A chain of an endpoint. Pods have none for what passes a host.
    pub fn chain_at(&self, endpoint: usize, kind: ChainKind) -> Option<&Chain> {
        self.chain_number(endpoint, kind).and_then(|number| self.chains.get(number))
    }

    /// The number of a chain of an endpoint.
    pub fn chain_number(&self, endpoint: usize, kind: ChainKind) -> Option<usize> {
        self.of.get(endpoint)?.get(&kind).copied()
    }

    /// The rules of a policy in a direction, each with its sets.
    pub fn rules(
        &self,
        policy: usize,
        direction: Direction,
    ) -> impl Iterator<Item = (&Rule, RuleSets)> {
        let resolved = &self.policies[policy];
        let rules = resolved.policy.rules(direction).unwrap_or_default();
        rules.iter().zip(resolved.sides[direction as usize].iter().copied())
    }

    /// Whether somebody has a port of that name at an address.
    pub fn has_named(&self, name: &str, address: IpAddr, protocol: u8, port: u16) -> bool {
        self.named.get(name).is_some_and(|set| set.contains(&(address, protocol, port)))
    }

    /// Who has a port of that name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = (IpAddr, u8, u16)> {
        self.named.get(name).into_iter().flatten().copied()
    }

    /// Who serves a service, at a port or at none.
    pub fn served(&self, service: &ObjectName) -> &[(IpAddr, u8, u16)] {
        self.world.services.get(service).map_or(&[], Vec::as_slice)
    }

    /// Who serves a service at a port.
    pub(crate) fn served_at_ports(&self, service: &ObjectName) -> Vec<(IpAddr, u8, u16)> {
        let has_port = |(_, protocol, port): &&_| (*protocol, *port) != NO_PORT;
        self.served(service).iter().filter(has_port).copied().collect()
    }
}

/// Ports by the names that rules use.
fn named(world: &World, model: &Model) -> HashMap<String, HashSet<(IpAddr, u8, u16)>> {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for (_, policy) in model.policies() {
        for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
            for side in [&rule.source, &rule.destination] {
                let ports = side.ports.iter().chain(&side.not_ports);
                used.extend(ports.filter_map(|port| port.name()));
            }
        }
    }
    let mut named: HashMap<String, HashSet<(IpAddr, u8, u16)>> = HashMap::new();
    for endpoint in &world.endpoints {
        for port in endpoint.ports.iter().filter(|port| used.contains(port.name.as_str())) {
            let all = named.entry(port.name.clone()).or_default();
            let key = |address: &IpAddr| (*address, port.protocol.number(), port.port);
            all.extend(endpoint.addresses.iter().map(key));
        }
    }
    named
}

/// The addresses of all that a selector means, of everybody.
pub(crate) fn addresses<'a>(
    endpoints: impl Iterator<Item = &'a crate::world::Endpoint>,
    sets: impl Iterator<Item = &'a crate::world::Set>,
) -> Ranges {
    let hosts = endpoints.flat_map(|one| one.addresses.iter().copied().map(Prefix::host));
    hosts.chain(sets.flat_map(|set| set.nets.iter().copied())).collect()
}
