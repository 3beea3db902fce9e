//! Finds whom a selector means without asking everybody.
//!
//! Most selectors demand a value of some label. Whoever has it is listed by it, and only those of the
//! shortest such list are asked for the rest.

use super::{Peers, addresses};
use crate::model::Policy;
use crate::selector::{Labels, Selector, Term};
use crate::world::World;
use std::collections::{BTreeSet, HashMap};
use thalweg_model::Prefix;

/// Endpoints, then sets, by labels that selectors demand.
pub(super) struct Index {
    listed: HashMap<String, HashMap<String, Vec<usize>>>,
}

fn selectors(policy: &Policy) -> impl Iterator<Item = &Selector> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let sides = rules.flat_map(|rule| [&rule.source, &rule.destination]);
    let peers = sides.flat_map(|side| side.selector.iter().chain(&side.not_selector));
    std::iter::once(&policy.subject).chain(peers)
}

impl Index {
    pub fn new<'a>(world: &World, policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut keys: BTreeSet<&str> = BTreeSet::new();
        for selector in policies.flat_map(selectors) {
            keys.extend(selector.required().into_iter().map(|(key, _)| key));
        }
        let mut listed: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
        let endpoints = world.endpoints.iter().map(|one| &one.labels);
        let all = || endpoints.clone().chain(world.sets.iter().map(|set| &set.labels));
        for key in keys {
            let lists = listed.entry(key.into()).or_default();
            for (at, labels) in all().enumerate() {
                let Some(value) = labels.label(key) else { continue };
                match lists.get_mut(value) {
                    Some(list) => list.push(at),
                    None => drop(lists.insert(value.into(), vec![at])),
                }
            }
        }
        Self { listed }
    }

    /// Endpoints, then sets, that a selector means: ascending numbers.
    fn members(&self, world: &World, selector: &Selector) -> Vec<usize> {
        let endpoints = world.endpoints.len();
        let selects = |at: &usize| match world.endpoints.get(*at) {
            Some(endpoint) => selector.selects(&endpoint.labels),
            None => selector.selects(&world.sets[*at - endpoints].labels),
        };
        match self.shortest(selector) {
            Some(mut candidates) => {
                candidates.sort_unstable();
                candidates.retain(selects);
                candidates
            }
            None => (0..endpoints + world.sets.len()).filter(selects).collect(),
        }
    }

    /// The fewest that can be meant, if the selector demands anything.
    fn shortest(&self, selector: &Selector) -> Option<Vec<usize>> {
        let required = selector.required();
        let lists = required.iter().map(|(key, values)| {
            let lists = self.listed.get(*key);
            let found = values.iter().filter_map(|value| lists?.get(*value));
            found.collect::<Vec<_>>()
        });
        let shortest = lists.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        shortest.map(|lists| lists.into_iter().flatten().copied().collect())
    }

    /// Endpoints that a selector means.
    pub fn endpoints(&self, world: &World, selector: &Selector) -> Vec<usize> {
        let mut members = self.members(world, selector);
        members.retain(|at| *at < world.endpoints.len());
        members
    }

    /// The addresses of all that a selector means.
    pub fn peers(&self, world: &World, selector: &Selector) -> Peers {
        if let Term::Nodes(of) = selector.term() {
            return nodes(world, selector, of);
        }
        let members = self.members(world, selector);
        let split = members.partition_point(|at| *at < world.endpoints.len());
        let (endpoints, sets) = members.split_at(split);
        let ranges = addresses(
            endpoints.iter().map(|at| &world.endpoints[*at]),
            sets.iter().map(|at| &world.sets[*at - world.endpoints.len()]),
        );
        Peers { selector: selector.clone(), ranges, members: members.len() }
    }
}

/// The addresses of all nodes that a selector `of` them means.
fn nodes(world: &World, selector: &Selector, of: &Selector) -> Peers {
    let chosen = || world.nodes_of(of).map(|(_, addresses)| addresses);
    let ranges = chosen().flatten().copied().map(Prefix::host).collect();
    Peers { selector: selector.clone(), ranges, members: chosen().count() }
}
