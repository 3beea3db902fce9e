//! What hosts say of packets that end or begin at them, or pass them.
//!
//! A packet comes in by a gate and leaves by another, and each says its part. At an interface of the
//! network a host endpoint is asked, untracked policies first, then (of what comes in) those before
//! translation, then those about what ends or begins here, or those about what is passed on. At a pod, its
//! own policies are asked, and the host endpoint for all interfaces, if the node has one.

use super::{Cause, Decision, Packet, Step, Verdict};
use crate::model::{Direction, Stage};
use crate::resolve::{ChainKind, Resolution};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use thalweg_model::cluster::Protocol;
use thalweg_model::policy::ToHost;

/// Where a packet comes in, or leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gate {
    /// An interface of the network, with the endpoint that stands for it
    /// ([`World::host_at`](crate::World::host_at)); without one, everything passes.
    Network(Option<usize>),
    /// A pod of this host.
    Pod(usize),
    /// The host itself.
    Host,
}

/// The way of a packet through a host.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Where it comes in.
    pub from: Gate,
    /// Where it leaves.
    pub to: Gate,
    /// The endpoint for all interfaces ([`World::host_of_all`](crate::World::host_of_all)).
    pub all: Option<usize>,
    /// Addresses of the host.
    pub own: &'a BTreeSet<IpAddr>,
}

/// Addresses that mean whichever host asks for its own ones, beside those that it has.
pub const OWN: [Ipv4Addr; 2] = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST];

/// Whether an address is one of a host that has these, or one of those that mean any host ([`OWN`]).
pub fn is_own(addresses: &BTreeSet<IpAddr>, address: IpAddr) -> bool {
    addresses.contains(&address) || OWN.iter().any(|own| *own == address)
}

impl Way<'_> {
    /// Whether it ends or begins here, so that it does not pass the host.
    fn is_local(&self) -> bool {
        self.from == Gate::Host || self.to == Gate::Host
    }

    /// Whether a packet is for this host or from it, by its address alone.
    fn is_own(&self, direction: Direction, packet: &Packet) -> bool {
        let address = match direction {
            Direction::Ingress => packet.destination,
            Direction::Egress => packet.source,
        };
        is_own(self.own, address)
    }
}

/// What an endpoint said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Said {
    /// Its number.
    pub endpoint: usize,
    /// Whether the packet came to it (ingress) or from it, as it sees it.
    pub direction: Direction,
    /// What it said.
    pub decision: Decision,
}

/// All that was said, in order; nobody is asked behind a denial, nor behind an untracked rule that allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Passing {
    /// What was said.
    pub said: Vec<Said>,
    /// Whether an untracked rule let it pass: such packets begin no flow, and an answer is asked for
    /// anew.
    pub untracked: bool,
}

impl Passing {
    /// Whether the packet may pass.
    pub fn is_allowed(&self) -> bool {
        self.said.last().is_none_or(|said| said.decision.verdict == Verdict::Allow)
    }
}

/// Who is asked at a gate.
#[derive(Clone, Copy)]
enum Guard {
    Pod(usize),
    /// An endpoint of an interface.
    Network(usize),
    /// The endpoint for all interfaces, of what the host passes on from a pod or to one.
    OfPod(usize),
    /// The setting about what this pod says to its host, and the endpoint for all interfaces.
    ToHost(usize),
}

impl Resolution {
    /// What is said of the first packet of a flow on its way through a host. `arrived` is how it came in,
    /// and `packet` how it is once services are translated.
    pub fn pass(&self, way: &Way<'_>, arrived: &Packet, packet: &Packet) -> Passing {
        self.pass_with(way, arrived, packet, &mut |_, _| {})
    }

    /// As [`Resolution::pass`], with the steps to each thing that was said.
    pub fn trace_pass(
        &self,
        way: &Way<'_>,
        arrived: &Packet,
        packet: &Packet,
    ) -> (Passing, Vec<Vec<Step>>) {
        let mut steps: Vec<(usize, Step)> = Vec::new();
        let passing = self.pass_with(way, arrived, packet, &mut |at, step| steps.push((at, step)));
        let of = |at| steps.iter().filter(move |(of, _)| *of == at).map(|(_, step)| *step);
        let steps = (0..passing.said.len()).map(|at| of(at).collect()).collect();
        (passing, steps)
    }

    /// `tell` gets each step with the number of the thing said that it leads to.
    fn pass_with(
        &self,
        way: &Way<'_>,
        arrived: &Packet,
        packet: &Packet,
        tell: &mut impl FnMut(usize, Step),
    ) -> Passing {
        let mut passing = Passing::default();
        if way.from == way.to && matches!(way.from, Gate::Pod(_)) {
            return passing;
        }
        for (guard, direction) in guards(way) {
            let at = passing.said.len();
            let mut tell = |step| tell(at, step);
            let asked = self.ask(way, guard, direction, arrived, packet, &mut tell);
            let Some((endpoint, decision)) = asked else { continue };
            passing.said.push(Said { endpoint, direction, decision });
            passing.untracked = self.is_untracked(&decision);
            if decision.verdict == Verdict::Deny || passing.untracked {
                break;
            }
        }
        passing
    }

    fn ask(
        &self,
        way: &Way<'_>,
        guard: Guard,
        direction: Direction,
        arrived: &Packet,
        packet: &Packet,
        tell: &mut impl FnMut(Step),
    ) -> Option<(usize, Decision)> {
        let own = way.is_own(direction, arrived);
        let decided = |verdict, cause| Decision { verdict, cause };
        Some(match guard {
            Guard::Pod(at) if direction == Direction::Ingress && way.from == Gate::Host => {
                (at, decided(Verdict::Allow, Cause::OwnNode))
            }
            Guard::Pod(at) => {
                let (from, to) = match direction {
                    Direction::Egress => (Some(at), None),
                    Direction::Ingress => (None, Some(at)),
                };
                let judged = self.judge_with(from, to, packet, &mut |_, step| tell(step));
                (at, judged.egress.or(judged.ingress)?)
            }
            Guard::Network(at) => {
                let asked = AtHost { endpoint: at, direction, local: way.is_local(), own };
                let before = [Stage::Untracked, Stage::PreDnat];
                let first = self.before(asked, &before, arrived, tell);
                (at, first.unwrap_or_else(|| self.normal(asked, packet, tell)))
            }
            Guard::OfPod(at) => {
                let asked = AtHost { endpoint: at, direction, local: false, own };
                let first = self.before(asked, &[Stage::PreDnat], arrived, tell);
                (at, first.unwrap_or_else(|| self.normal(asked, packet, tell)))
            }
            Guard::ToHost(pod) => {
                let local = true;
                let all = way.all.map(|endpoint| AtHost { endpoint, direction, local, own });
                let first = all.and_then(|all| self.before(all, &[Stage::PreDnat], arrived, tell));
                match (all, first, self.world.settings.to_host) {
                    (Some(all), Some(first), _) if first.verdict == Verdict::Deny => {
                        (all.endpoint, first)
                    }
                    (_, _, ToHost::Drop) => (pod, decided(Verdict::Deny, Cause::ToHost)),
                    (Some(all), first, ToHost::Return) => {
                        let normal = || self.normal(all, packet, tell);
                        (all.endpoint, first.unwrap_or_else(normal))
                    }
                    _ => (pod, decided(Verdict::Allow, Cause::ToHost)),
                }
            }
        })
    }

    /// What a host endpoint says of a packet that ends or begins there, as it was not translated.
    pub(super) fn host_end(
        &self,
        endpoint: usize,
        direction: Direction,
        packet: &Packet,
        tell: &mut impl FnMut(Step),
    ) -> Decision {
        let asked = AtHost { endpoint, direction, local: true, own: true };
        let before = self.before(asked, &[Stage::Untracked, Stage::PreDnat], packet, tell);
        before.unwrap_or_else(|| self.normal(asked, packet, tell))
    }

    /// What the stages before the normal one say of a packet as it came in, if anything.
    fn before(
        &self,
        asked: AtHost,
        stages: &[Stage],
        packet: &Packet,
        tell: &mut impl FnMut(Step),
    ) -> Option<Decision> {
        let AtHost { endpoint, direction, own, .. } = asked;
        let mut said = stages.iter().filter_map(|stage| {
            let kind = ChainKind { direction, stage: *stage, forwarded: false };
            self.at_stage(endpoint, kind, own, packet, tell)
        });
        said.find(|decision| decision.verdict != Verdict::Next)
    }

    /// What policies for what ends or begins at a host say, or those for what it passes on.
    fn normal(&self, asked: AtHost, packet: &Packet, tell: &mut impl FnMut(Step)) -> Decision {
        let AtHost { endpoint, direction, local, own } = asked;
        let kind = ChainKind { direction, stage: Stage::Normal, forwarded: !local };
        // None where it was resolved for others alone.
        let nobody = Decision { verdict: Verdict::Deny, cause: Cause::NoPolicy };
        self.at_stage(endpoint, kind, own, packet, tell).unwrap_or(nobody)
    }

    /// What a host endpoint says of a packet at one of its stages. `own` tells whether the packet is for an
    /// address of this host, or from one; it counts at the stages before the normal one alone.
    pub fn at_stage(
        &self,
        endpoint: usize,
        kind: ChainKind,
        own: bool,
        packet: &Packet,
        tell: &mut impl FnMut(Step),
    ) -> Option<Decision> {
        let ChainKind { direction, stage, forwarded } = kind;
        let decided = |verdict, cause| Some(Decision { verdict, cause });
        let open = || self.is_fail_safe(direction, packet);
        match stage {
            Stage::Normal if !forwarded && open() => decided(Verdict::Allow, Cause::FailSafe),
            Stage::PreDnat if own && open() => decided(Verdict::Next, Cause::NoPolicy),
            Stage::Untracked if own && (open() || self.answers_fail_safe(direction, packet)) => {
                decided(Verdict::Next, Cause::NoPolicy)
            }
            _ => Some(self.decide(self.chain_at(endpoint, kind)?, packet, tell)),
        }
    }

    /// Whether a rule of an untracked policy let a packet pass: nobody else is asked then, and no flow
    /// begins.
    pub fn is_untracked(&self, decision: &Decision) -> bool {
        let Cause::Rule { policy, .. } = decision.cause else { return false };
        let stage = self.policies.get(policy).map(|one| one.policy.stage);
        decision.verdict == Verdict::Allow && stage == Some(Stage::Untracked)
    }

    /// Whether a packet is for or from a port of a host that stays open.
    fn is_fail_safe(&self, direction: Direction, packet: &Packet) -> bool {
        let to = packet.ports.map(|(_, to)| to);
        is_among(self.fail_safe(direction), packet.protocol, to)
    }

    /// Whether a packet may answer one that was let through for such a port. Untracked policies do not
    /// see it: half of that flow would be tracked, and half not.
    fn answers_fail_safe(&self, direction: Direction, packet: &Packet) -> bool {
        let other = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let from = packet.ports.map(|(from, _)| from);
        is_among(self.fail_safe(other), packet.protocol, from)
    }

    fn fail_safe(&self, direction: Direction) -> &[(Protocol, u16)] {
        match direction {
            Direction::Ingress => &self.world.settings.fail_safe_in,
            Direction::Egress => &self.world.settings.fail_safe_out,
        }
    }
}

/// A host endpoint that is asked: whether the packet ends or begins there, or passes, and whether it came for
/// an address of the host, or from one.
#[derive(Clone, Copy)]
struct AtHost {
    endpoint: usize,
    direction: Direction,
    local: bool,
    own: bool,
}

fn is_among(open: &[(Protocol, u16)], protocol: u8, port: Option<u16>) -> bool {
    let is = |(of, number): &(Protocol, u16)| of.number() == protocol && Some(*number) == port;
    open.iter().any(is)
}

/// Who is asked on a way, in order, and in which direction.
fn guards(way: &Way<'_>) -> Vec<(Guard, Direction)> {
    let (local, mut guards) = (way.is_local(), Vec::new());
    let of_all = way.all.map(Guard::OfPod);
    match way.from {
        Gate::Network(host) => {
            guards.extend(host.map(|at| (Guard::Network(at), Direction::Ingress)));
        }
        Gate::Pod(pod) if way.to == Gate::Host => {
            guards.push((Guard::Pod(pod), Direction::Egress));
            guards.push((Guard::ToHost(pod), Direction::Ingress));
        }
        Gate::Pod(pod) => {
            guards.push((Guard::Pod(pod), Direction::Egress));
            guards.extend(of_all.map(|one| (one, Direction::Ingress)));
        }
        Gate::Host => {}
    }
    match way.to {
        Gate::Network(host) => {
            guards.extend(host.map(|at| (Guard::Network(at), Direction::Egress)));
        }
        Gate::Pod(pod) => {
            guards.extend(of_all.filter(|_| !local).map(|one| (one, Direction::Egress)));
            guards.push((Guard::Pod(pod), Direction::Ingress));
        }
        Gate::Host => {}
    }
    guards
}
