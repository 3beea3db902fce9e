//! Rules that log, which a packet passes on its way to what decides.

use super::Step;
use crate::model::Direction;
use crate::object::calico::Action;
use crate::resolve::Resolution;
use std::sync::Arc;

/// Rules that log, in the order in which they were passed: of each the number of the policy, and that of the
/// rule among those of the model, in its direction. Nearly always there are none, which takes no memory.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Logs(Option<Arc<Vec<(usize, usize)>>>);

impl FromIterator<(usize, usize)> for Logs {
    fn from_iter<T: IntoIterator<Item = (usize, usize)>>(rules: T) -> Self {
        let rules: Vec<_> = rules.into_iter().collect();
        Self((!rules.is_empty()).then(|| Arc::new(rules)))
    }
}

impl Logs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The rules.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.0.iter().flat_map(|rules| rules.iter().copied())
    }
}

impl Resolution {
    /// The rules that log among steps in a direction: those that were about the packet.
    pub fn logs(&self, direction: Direction, steps: &[Step]) -> Logs {
        let logs = steps.iter().filter_map(|step| match *step {
            Step::Rule { policy, rule, miss: None } => Some((policy, rule)),
            _ => None,
        });
        logs.filter(|(policy, rule)| self.is_log(*policy, direction, *rule)).collect()
    }

    /// Whether a rule only logs.
    fn is_log(&self, policy: usize, direction: Direction, rule: usize) -> bool {
        let mut rules = self.rules(policy, direction);
        rules.nth(rule).is_some_and(|(rule, _)| rule.action == Action::Log)
    }
}
