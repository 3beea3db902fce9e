//! What the policies of a chain decide about a packet, and why.

pub mod host;
mod logs;
mod rule;
mod trace;

pub use logs::Logs;
pub use rule::Miss;
pub use trace::{Step, Trace};

use crate::model::{Direction, Stage};
use crate::object::EndAction;
use crate::object::calico::Action;
use crate::resolve::{Chain, ChainKind, Resolution};
use std::net::IpAddr;

/// The first packet of a flow, with the addresses and ports that endpoints see.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// The protocol, by its number in the IP header.
    pub protocol: u8,
    /// Source and destination port, of protocols that have them.
    pub ports: Option<(u16, u16)>,
    /// Type and code, of ICMP and ICMPv6.
    pub icmp: Option<(u8, u8)>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may not.
    Deny,
    /// Nobody says anything: the next stage decides.
    Next,
}

impl Verdict {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Next => "next",
        }
    }
}

/// What decided.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// A rule.
    Rule {
        /// Number of the policy.
        policy: usize,
        /// Number of the rule among those of the model, in its direction.
        rule: usize,
    },
    /// Policies of a tier apply, and none decides.
    EndOfTier(usize),
    /// The profiles of the endpoint: those of pods allow what no policy speaks of.
    Profile,
    /// No policy for packets that pass a host, or none of this stage, decides.
    NoPolicy,
    /// An endpoint always reaches itself.
    Itself,
    /// A node always reaches its pods.
    OwnNode,
    /// A port of the host that stays open whatever policies say.
    FailSafe,
    /// The setting about what pods say to their host.
    ToHost,
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// What decided.
    pub cause: Cause,
}

/// What both ends say of a packet; an end that is no endpoint says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// Of the source, by its policies for egress.
    pub egress: Option<Decision>,
    /// Of the destination, by its policies for ingress.
    pub ingress: Option<Decision>,
}

impl Judgement {
    /// Whether both let it pass.
    pub fn is_allowed(&self) -> bool {
        let denies = |end: &Option<Decision>| end.is_some_and(|d| d.verdict == Verdict::Deny);
        !denies(&self.egress) && !denies(&self.ingress)
    }
}

impl Resolution {
    /// What the policies of both ends say of a packet; each end is the number of an endpoint, or none.
    pub fn judge(&self, from: Option<usize>, to: Option<usize>, packet: &Packet) -> Judgement {
        self.judge_with(from, to, packet, &mut |_, _| {})
    }

    pub(crate) fn judge_with(
        &self,
        from: Option<usize>,
        to: Option<usize>,
        packet: &Packet,
        tell: &mut impl FnMut(Direction, Step),
    ) -> Judgement {
        let allow = |cause| Some(Decision { verdict: Verdict::Allow, cause });
        if from.is_some() && from == to {
            return Judgement { egress: allow(Cause::Itself), ingress: allow(Cause::Itself) };
        }
        let mut end =
            |at, direction| self.end(at, direction, packet, &mut |step| tell(direction, step));
        let egress = from.map(|at| end(at, Direction::Egress));
        let ingress = match to {
            Some(at) if self.is_own_node(at, packet.source) => allow(Cause::OwnNode),
            Some(at) => Some(end(at, Direction::Ingress)),
            None => None,
        };
        Judgement { egress, ingress }
    }

    /// Whether an address is that of the node a pod is on.
    fn is_own_node(&self, endpoint: usize, address: IpAddr) -> bool {
        let endpoint = &self.world.endpoints[endpoint];
        let node = endpoint.node.as_ref().and_then(|node| self.world.nodes.get(node));
        !endpoint.is_host() && node.is_some_and(|addresses| addresses.contains(&address))
    }

    /// What an endpoint says of a packet that begins or ends there, and was not translated.
    fn end(
        &self,
        endpoint: usize,
        direction: Direction,
        packet: &Packet,
        tell: &mut impl FnMut(Step),
    ) -> Decision {
        if self.world.endpoints[endpoint].is_host() {
            return self.host_end(endpoint, direction, packet, tell);
        }
        match self.chain_at(endpoint, ChainKind::normal(direction)) {
            Some(chain) => self.decide(chain, packet, tell),
            // Resolved for others alone.
            None => Decision { verdict: Verdict::Deny, cause: Cause::NoPolicy },
        }
    }

    /// What a chain decides about a packet; each step is told.
    pub fn decide(&self, chain: &Chain, packet: &Packet, tell: &mut impl FnMut(Step)) -> Decision {
        let decided = |verdict, cause| Decision { verdict, cause };
        let normal = chain.kind.stage == Stage::Normal;
        for tier in &chain.tiers {
            tell(Step::Tier(tier.tier));
            let mut passed = false;
            'tier: for policy in &tier.policies {
                tell(Step::Policy(*policy));
                for (at, (rule, sets)) in self.rules(*policy, chain.kind.direction).enumerate() {
                    let miss = self.misses(rule, sets, packet);
                    tell(Step::Rule { policy: *policy, rule: at, miss });
                    let cause = Cause::Rule { policy: *policy, rule: at };
                    match rule.action {
                        _ if miss.is_some() => {}
                        Action::Allow => return decided(Verdict::Allow, cause),
                        Action::Deny => return decided(Verdict::Deny, cause),
                        Action::Log => {}
                        Action::Pass => {
                            passed = true;
                            break 'tier;
                        }
                    }
                }
            }
            let end = self.model.tiers[tier.tier].end;
            tell(Step::End { tier: tier.tier, passed });
            if !passed && normal && end == EndAction::Deny {
                return decided(Verdict::Deny, Cause::EndOfTier(tier.tier));
            }
        }
        chain.end()
    }
}

impl Chain {
    /// What is decided where none of its tiers does.
    pub(crate) fn end(&self) -> Decision {
        let (verdict, cause) = match (self.kind.stage, self.kind.forwarded, self.open) {
            (Stage::Untracked | Stage::PreDnat, ..) => (Verdict::Next, Cause::NoPolicy),
            (Stage::Normal, true, _) => (Verdict::Allow, Cause::NoPolicy),
            (Stage::Normal, false, true) => (Verdict::Allow, Cause::Profile),
            (Stage::Normal, false, false) => (Verdict::Deny, Cause::Profile),
        };
        Decision { verdict, cause }
    }
}
