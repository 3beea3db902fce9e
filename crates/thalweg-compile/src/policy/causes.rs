//! What decides, by numbers that stay the same from plan to plan: counters go by them.

use std::collections::HashMap;
use std::fmt;
use thalweg_abi::policy::CAUSES;
use thalweg_policy::Resolution;
use thalweg_policy::decide;
use thalweg_policy::model::Direction;
use thalweg_policy::object::PolicyId;

/// What decides about a flow.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// A rule of a policy, by its number in the object's list, from 1.
    Rule(PolicyId, Direction, usize),
    /// The end of a tier of which policies apply.
    EndOfTier(String, Direction),
    /// The profiles of the workload or host: no policy speaks of it.
    Profile(Direction),
    /// A port of a host, or one that it speaks to, stays open whatever policies say.
    FailSafe(Direction),
    /// Anything else: nothing applies.
    Other,
    /// There is no room for the rules of the workload or host.
    Closed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(policy, direction, number) => {
                write!(f, "{policy} {} rule {number}", direction.word())
            }
            Self::EndOfTier(tier, direction) => {
                write!(f, "end of tier {tier} ({})", direction.word())
            }
            Self::Profile(direction) => write!(f, "no policy ({})", direction.word()),
            Self::FailSafe(direction) => write!(f, "fail-safe port ({})", direction.word()),
            Self::Other => f.write_str("no policy"),
            Self::Closed => f.write_str("no room for its policies"),
        }
    }
}

/// Numbers of causes, from 1. Where they run out, 0 stands for any.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    numbers: HashMap<Cause, u32>,
    causes: Vec<Cause>,
}

impl Numbers {
    fn number(&mut self, cause: Cause) -> u32 {
        if let Some(known) = self.numbers.get(&cause) {
            return *known;
        }
        let number = self.causes.len() as u32 + 1;
        if number >= CAUSES {
            return 0;
        }
        self.causes.push(cause.clone());
        self.numbers.insert(cause, number);
        number
    }

    /// What a number stands for.
    pub fn cause(&self, number: u32) -> Option<&Cause> {
        self.causes.get(number.checked_sub(1)? as usize)
    }

    /// All causes with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Cause)> {
        (1..).zip(&self.causes)
    }
}

/// Numbers for what a resolution decides in one direction.
pub(super) struct Causes<'a> {
    pub resolution: &'a Resolution,
    pub numbers: &'a mut Numbers,
}

impl Causes<'_> {
    /// The number of what decides.
    pub fn number(&mut self, cause: decide::Cause, direction: Direction) -> u32 {
        let of = &self.resolution;
        let cause = match cause {
            decide::Cause::Rule { policy, rule } => {
                let policy = &of.policies[policy].policy;
                let rules = policy.rules(direction).unwrap_or_default();
                let number = rules.get(rule).map_or(0, |rule| rule.number);
                Cause::Rule(policy.id.clone(), direction, number)
            }
            decide::Cause::EndOfTier(tier) => {
                let name = of.model.tiers.get(tier).map(|tier| tier.name.clone());
                Cause::EndOfTier(name.unwrap_or_default(), direction)
            }
            decide::Cause::Profile => Cause::Profile(direction),
            decide::Cause::FailSafe => Cause::FailSafe(direction),
            _ => Cause::Other,
        };
        self.numbers.number(cause)
    }

    /// The number of "there is no room".
    pub fn closed(&mut self) -> u32 {
        self.numbers.number(Cause::Closed)
    }
}
