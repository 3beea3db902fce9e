//! Whose rings are steady: those of the services that are first by age.
//!
//! Rings that move little when a backend leaves take 32 kB each, too much for every service of a large
//! cluster. Who has one must not depend on what this node happened to see, or nodes would choose
//! differently; and one service more must not move the connections of all others. So the oldest services have
//! them, by their creation and then by name: one that comes or goes makes at most one other change sides.

use crate::size::Goal;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_model::ObjectName;
use thalweg_model::cluster::STEADY_SERVICES;

/// When a service was created, and its name.
type Age = (u64, ObjectName);

/// Services by age.
#[derive(Debug)]
pub(crate) struct Elders {
    /// How many may have steady rings.
    room: usize,
    /// Those that have.
    first: BTreeSet<Age>,
    /// All others; there are none while there is room.
    others: BTreeSet<Age>,
    created: BTreeMap<ObjectName, u64>,
}

impl Default for Elders {
    fn default() -> Self {
        Self::new(STEADY_SERVICES)
    }
}

impl Elders {
    fn new(room: usize) -> Self {
        Self { room, first: BTreeSet::new(), others: BTreeSet::new(), created: BTreeMap::new() }
    }

    /// What is promised of a service's rings.
    pub(crate) fn goal(&self, name: &ObjectName) -> Goal {
        let age = self.created.get(name).map(|created| (*created, name.clone()));
        match age.is_some_and(|age| self.first.contains(&age)) {
            true => Goal::Steady,
            false => Goal::Balance,
        }
    }

    /// Notes when a service was created, none where it is gone, and returns the other services of which
    /// something else is promised now.
    pub(crate) fn set(&mut self, name: &ObjectName, created: Option<u64>) -> Vec<ObjectName> {
        if self.created.get(name) == created.as_ref() {
            return Vec::new();
        }
        if let Some(old) = self.created.remove(name) {
            let old = (old, name.clone());
            let _ = self.first.remove(&old) || self.others.remove(&old);
        }
        if let Some(created) = created {
            self.created.insert(name.clone(), created);
            self.others.insert((created, name.clone()));
        }
        self.settle().into_iter().filter(|moved| moved != name).collect()
    }

    /// Moves services until the oldest are first, and returns those that it moved.
    fn settle(&mut self) -> Vec<ObjectName> {
        let mut moved = Vec::new();
        while let Some(next) = self.others.first() {
            let last = self.first.last();
            if self.first.len() >= self.room && last.is_none_or(|last| last < next) {
                break;
            }
            let leaving = if self.first.len() < self.room { None } else { self.first.pop_last() };
            moved.extend(leaving.iter().map(|(_, name)| name.clone()));
            self.others.extend(leaving);
            if let Some(next) = self.others.pop_first() {
                moved.push(next.1.clone());
                self.first.insert(next);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: u8) -> ObjectName {
        ObjectName::new("shop", format!("s{number:03}"))
    }

    #[test]
    fn one_more_service_moves_one_other_at_most() {
        let mut elders = Elders::new(2);
        for number in [3, 5, 7] {
            assert_eq!(elders.set(&name(number), Some(number.into())), []);
        }
        let goals = |elders: &Elders| [3, 4, 5, 7].map(|number| elders.goal(&name(number)));
        let (steady, balance) = (Goal::Steady, Goal::Balance);
        assert_eq!(goals(&elders), [steady, balance, steady, balance]);
        assert_eq!(elders.set(&name(4), Some(4)), [name(5)]);
        assert_eq!(goals(&elders), [steady, steady, balance, balance]);
        assert_eq!(elders.set(&name(3), None), [name(5)]);
        assert_eq!(goals(&elders), [balance, steady, steady, balance]);
        assert_eq!(elders.set(&name(4), Some(9)), [name(7)]);
    }

    proptest! {
        #[test]
        fn who_is_first_depends_on_ages_alone(
            room in 0usize..6,
            steps in prop::collection::vec((0u8..12, prop::option::of(0u64..6)), 0..60),
        ) {
            let mut elders = Elders::new(room);
            let mut ages: BTreeMap<ObjectName, u64> = BTreeMap::new();
            let goals = |elders: &Elders| (0..12).map(|n| elders.goal(&name(n))).collect::<Vec<_>>();
            for (number, created) in steps {
                let before = goals(&elders);
                let moved = elders.set(&name(number), created);
                match created {
                    Some(created) => drop(ages.insert(name(number), created)),
                    None => drop(ages.remove(&name(number))),
                }
                let mut wanted: Vec<(u64, ObjectName)> =
                    ages.iter().map(|(name, created)| (*created, name.clone())).collect();
                wanted.sort_unstable();
                wanted.truncate(room);
                let after = goals(&elders);
                for other in 0..12 {
                    let first = wanted.iter().any(|(_, first)| *first == name(other));
                    let at = usize::from(other);
                    prop_assert_eq!(after[at] == Goal::Steady, first);
                    let told = moved.contains(&name(other)) || other == number;
                    prop_assert!(told || before[at] == after[at], "{} is not told of", other);
                }
                prop_assert!(moved.len() <= 1, "{:?}", moved);
            }
        }
    }
}
