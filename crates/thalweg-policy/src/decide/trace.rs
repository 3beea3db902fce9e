//! The way to a decision: tiers, policies and rules, up to the one that decides.

use super::{Judgement, Miss, Packet};
use crate::model::Direction;
use crate::resolve::Resolution;

/// A step on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A tier with policies that apply begins.
    Tier(usize),
    /// A policy is asked.
    Policy(usize),
    /// A rule is held against the packet.
    Rule {
        /// Number of the policy.
        policy: usize,
        /// Number of the rule among those of the model, in its direction.
        rule: usize,
        /// What does not hold; none where it all does.
        miss: Option<Miss>,
    },
    /// A tier ends without a decision of its rules.
    End {
        /// The tier.
        tier: usize,
        /// Whether a rule passed on to the next one.
        passed: bool,
    },
}

/// The way to a judgement.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Steps of each end.
    pub steps: Vec<(Direction, Step)>,
    /// What came of it.
    pub judgement: Judgement,
}

impl Resolution {
    /// As [`Resolution::judge`], with the way there.
    pub fn trace(&self, from: Option<usize>, to: Option<usize>, packet: &Packet) -> Trace {
        let mut steps = Vec::new();
        let mut tell = |direction, step| steps.push((direction, step));
        let judgement = self.judge_with(from, to, packet, &mut tell);
        Trace { steps, judgement }
    }
}
