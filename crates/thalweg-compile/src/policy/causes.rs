//! What decides, by numbers that stay the same from plan to plan: counters go by them.

use std::collections::HashMap;
use std::fmt;
use thalweg_abi::policy::CAUSES;
use thalweg_policy::Resolution;
use thalweg_policy::decide::{self, Logs};
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
    /// The setting about what workloads say to their host ([`thalweg_model::policy::ToHost`]).
    ToHost,
    /// Any of the others past rules that log, or of nothing: whoever is next decides.
    Logged(Vec<Logged>, Option<Box<Cause>>),
    /// Anything else: nothing applies.
    Other,
    /// There is no room for the rules of the workload or host.
    Closed,
}

/// A rule that logs: of a policy, by its number in the object's list, from 1.
pub type Logged = (PolicyId, Direction, usize);

impl Cause {
    /// The rules that log which were passed, and what decided behind them, if anything did.
    pub fn parts(&self) -> (&[Logged], Option<&Self>) {
        match self {
            Self::Logged(logs, decides) => (logs, decides.as_deref()),
            decides => (&[], Some(decides)),
        }
    }
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
            Self::ToHost => f.write_str("endpointToHost"),
            Self::Logged(logs, decides) => {
                match decides {
                    Some(decides) => write!(f, "{decides}")?,
                    None => f.write_str("no rule")?,
                }
                for (policy, direction, number) in logs {
                    write!(f, ", past {policy} {} rule {number}", direction.word())?;
                }
                Ok(())
            }
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
        let cause = self.named(cause, direction);
        self.numbers.number(cause)
    }

    /// The number of what decides, or of nothing, past rules that log.
    pub fn logged(
        &mut self,
        logs: &Logs,
        decides: Option<decide::Cause>,
        direction: Direction,
    ) -> u32 {
        let rule = |(policy, rule)| {
            let (policy, number) = self.rule(policy, rule, direction);
            (policy, direction, number)
        };
        let logs = logs.iter().map(rule).collect();
        let decides = decides.map(|cause| Box::new(self.named(cause, direction)));
        self.numbers.number(Cause::Logged(logs, decides))
    }

    /// The number of the setting about what workloads say to their host.
    pub fn host_setting(&mut self) -> u32 {
        self.numbers.number(Cause::ToHost)
    }

    /// A rule by its policy and its number in the object's list.
    fn rule(&self, policy: usize, rule: usize, direction: Direction) -> (PolicyId, usize) {
        let policy = &self.resolution.policies[policy].policy;
        let rules = policy.rules(direction).unwrap_or_default();
        (policy.id.clone(), rules.get(rule).map_or(0, |rule| rule.number))
    }

    fn named(&self, cause: decide::Cause, direction: Direction) -> Cause {
        let of = &self.resolution;
        match cause {
            decide::Cause::Rule { policy, rule } => {
                let (policy, number) = self.rule(policy, rule, direction);
                Cause::Rule(policy, direction, number)
            }
            decide::Cause::EndOfTier(tier) => {
                let name = of.model.tiers.get(tier).map(|tier| tier.name.clone());
                Cause::EndOfTier(name.unwrap_or_default(), direction)
            }
            decide::Cause::Profile => Cause::Profile(direction),
            decide::Cause::FailSafe => Cause::FailSafe(direction),
            _ => Cause::Other,
        }
    }

    /// The number of "there is no room".
    pub fn closed(&mut self) -> u32 {
        self.numbers.number(Cause::Closed)
    }
}
