//! Which rules may be about an address, without asking each of them.

use super::flat::{Flat, FlatRule, FlatTier};
use super::mixer::Mixing;
use std::collections::HashMap;

/// Of tiers with no more rules each is asked.
const FEW: usize = 32;

/// For each tier, rules by an atom that they ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(Vec<Tier>);

/// The rules of a tier.
#[derive(Clone, Debug, Default)]
struct Tier {
    /// Those that ask for no atom.
    always: Vec<u32>,
    /// Atoms, ascending, with the rules for which they stand: of what a rule asks for, the one that fewest others
    /// do.
    by_atom: Vec<(u32, u32)>,
}

impl Index {
    pub fn new(flat: &Flat) -> Self {
        Self(flat.tiers.iter().map(Tier::new).collect())
    }

    /// The rules of a tier of `flat`, by their place, that are about addresses for which these atoms (ascending)
    /// hold; in their order.
    pub fn holding<'a>(&self, flat: &'a Flat, tier: usize, holds: &[u32]) -> Vec<&'a FlatRule> {
        let rules = &flat.tiers[tier].rules;
        let known = self.0[tier].asking(holds).into_iter().map(|at| &rules[at as usize]);
        known.filter(|rule| rule.holds(holds)).collect()
    }
}

impl Tier {
    fn new(tier: &FlatTier) -> Self {
        let rules = (0..).zip(&tier.rules);
        if tier.rules.len() <= FEW {
            return Self { always: rules.map(|(at, _)| at).collect(), by_atom: Vec::new() };
        }
        let mut asked: HashMap<u32, u32, Mixing> = HashMap::default();
        let all = tier.rules.iter().flat_map(|rule| &rule.within);
        all.for_each(|atom| *asked.entry(*atom).or_default() += 1);
        let mut made = Self::default();
        for (at, rule) in rules {
            match rule.within.iter().min_by_key(|atom| asked[atom]) {
                Some(atom) => made.by_atom.push((*atom, at)),
                None => made.always.push(at),
            }
        }
        made.by_atom.sort_unstable();
        made
    }

    /// Rules that may hold where these atoms do, ascending.
    fn asking(&self, holds: &[u32]) -> Vec<u32> {
        let mut found = self.always.clone();
        for atom in holds.iter().filter(|_| !self.by_atom.is_empty()) {
            let from = self.by_atom.partition_point(|(of, _)| of < atom);
            let of_atom = self.by_atom[from..].iter().take_while(|(of, _)| of == atom);
            found.extend(of_atom.map(|(_, rule)| *rule));
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Cause, Decision, Verdict};
    use crate::table::flat::{Does, PortWish};
    use crate::table::ports::Ports;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    fn rule(at: usize, within: Vec<u32>, without: Vec<u32>) -> FlatRule {
        FlatRule {
            cause: Cause::Rule { policy: 0, rule: at },
            does: Does::Decide(Verdict::Allow),
            protocol: None,
            not_protocol: None,
            icmp: Ports::all(),
            within,
            without,
            service: None,
            source: PortWish::default(),
            destination: PortWish::default(),
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_asking_every_rule_finds(
            rules in vec((vec(0u32..12, 0..4), vec(0u32..12, 0..2)), 0..120),
            holds in btree_set(0u32..12, 0..8),
        ) {
            let rules = rules.into_iter().enumerate();
            let rules: Vec<FlatRule> =
                rules.map(|(at, (within, without))| rule(at, within, without)).collect();
            let end = Decision { verdict: Verdict::Deny, cause: Cause::NoPolicy };
            let tiers = vec![FlatTier::default(), FlatTier { denies: None, rules }];
            let flat = Flat { tiers, end };
            let holds: Vec<u32> = holds.into_iter().collect();
            let index = Index::new(&flat);
            for (at, tier) in flat.tiers.iter().enumerate() {
                let asked: Vec<&FlatRule> =
                    tier.rules.iter().filter(|rule| rule.holds(&holds)).collect();
                prop_assert_eq!(index.holding(&flat, at, &holds), asked);
            }
        }
    }
}
