//! Tiers and policies by number, and whom of those who are here policies select.

use super::watch::Watch;
use super::{Compiler, Pass};
use crate::lower::{PROFILES, View, profile, tier_of};
use crate::model::{Direction, Model, Policy, Rule, Side, Tier};
use crate::object::{EndAction, Objects, PolicyId, PolicyKind, PolicyObject};
use crate::resolve::{Resolved, RuleSets, SideSets};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use thalweg_model::Catalog;
use thalweg_model::catalog::{Edit, Entry};
use thalweg_model::cluster::ObjectName;

/// So many policies are lowered at once: those that select nobody here do not keep their rules.
const AT_ONCE: usize = 256;

type PolicyEntry = Entry<PolicyId, PolicyObject>;

/// Policies by name, and what is known of each beside its resolution.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    pub numbers: HashMap<PolicyId, usize>,
    /// Tiers by name; numbers are never given to others.
    tiers: HashMap<String, usize>,
    /// Of those, which exist.
    there: BTreeSet<usize>,
    /// The tier of the rules of profiles.
    profiles: Option<usize>,
    /// Who is selected.
    pub subjects: Watch,
    /// Of policies that select somebody here: what they look at.
    pub interests: BTreeMap<usize, Interest>,
    free: Vec<usize>,
    /// Numbers of policies that went with the last change: they still stand in sets that go with the next.
    doomed: BTreeSet<usize>,
}

/// What the rules of a policy look at beside the other side's address.
#[derive(Clone, Debug, Default)]
pub(super) struct Interest {
    /// Names of ports.
    pub names: BTreeSet<String>,
    /// Services.
    pub services: BTreeSet<ObjectName>,
    /// Selectors of the endpoint's own side, by number.
    pub own: BTreeSet<usize>,
}

impl Interest {
    fn look(&mut self, rule: &Rule, sets: RuleSets, direction: Direction) {
        for side in [&rule.source, &rule.destination] {
            let ports = side.ports.iter().chain(&side.not_ports);
            self.names.extend(ports.filter_map(|port| port.name()).map(str::to_owned));
            self.services.extend(side.service.clone());
        }
        let own = match direction {
            Direction::Ingress => sets.destination,
            Direction::Egress => sets.source,
        };
        self.own.extend(own.within.into_iter().chain(own.without));
    }
}

/// The policies of some objects, each with its tier, as the one model has them.
fn lowered(objects: &Objects, entries: &[PolicyEntry]) -> Vec<(String, Arc<Policy>)> {
    let mut policies = Catalog::default();
    policies.edit(entries.iter().cloned().map(Edit::Set).collect());
    let some = Objects { policies, tiers: objects.tiers.clone(), ..Objects::default() };
    let tiers = Model::new(&some, View::Enforced).tiers.into_iter();
    let of = |tier: Tier| tier.policies.into_iter().map(move |one| (tier.name.clone(), one));
    tiers.flat_map(of).collect()
}

impl Compiler {
    /// Takes over tiers. Returns the names of those that exist now and did not, or the other way around.
    pub(super) fn set_tiers(&mut self, objects: &Objects, pass: &mut Pass) -> BTreeSet<String> {
        let is_first = self.policies.tiers.is_empty();
        if !is_first && self.objects.tiers.differences(&objects.tiers).is_empty() {
            return BTreeSet::new();
        }
        let none = Objects { tiers: objects.tiers.clone(), ..Objects::default() };
        let before = std::mem::take(&mut self.policies.there);
        let mut named = BTreeSet::new();
        for tier in Model::new(&none, View::Enforced).tiers {
            let next = self.ground.model.tiers.len();
            let number = *self.policies.tiers.entry(tier.name.clone()).or_insert(next);
            self.policies.there.insert(number);
            named.extend((!before.contains(&number)).then(|| tier.name.clone()));
            match self.ground.model.tiers.get_mut(number) {
                Some(place) => *place = tier,
                None => self.ground.model.tiers.push(tier),
            }
        }
        let gone = before.difference(&self.policies.there);
        named.extend(gone.map(|number| self.ground.model.tiers[*number].name.clone()));
        pass.dirty.extend(self.here.keys());
        named
    }

    /// Takes over policies that are others than before, or whose tier came or went.
    pub(super) fn set_policies(&mut self, objects: &Objects, pass: &mut Pass) {
        let tiers = self.set_tiers(objects, pass);
        let mut set: BTreeMap<PolicyId, PolicyEntry> = BTreeMap::new();
        let mut gone: BTreeSet<PolicyId> = BTreeSet::new();
        for edit in self.objects.policies.edits(&objects.policies) {
            match edit {
                Edit::Set(entry) => drop(set.insert(entry.0.clone(), entry)),
                Edit::Remove(entry) => drop(gone.insert(entry.0.clone())),
            }
        }
        // Those that are the same as before, in a tier that is not.
        if !tiers.is_empty() && !self.objects.policies.is_empty() {
            let there = objects.policies.entries();
            let moved = there.filter(|entry| tiers.contains(tier_of(&entry.1)));
            set.extend(moved.map(|entry| (entry.0.clone(), entry.clone())));
        }
        let set: Vec<PolicyEntry> = set.into_values().collect();
        for some in set.chunks(AT_ONCE) {
            let policies = lowered(objects, some);
            let counts: BTreeSet<&PolicyId> = policies.iter().map(|(_, one)| &one.id).collect();
            let not = some.iter().map(|entry| &entry.0).filter(|id| !counts.contains(id));
            gone.extend(not.cloned());
            let number = |(tier, policy)| Some((*self.policies.tiers.get(&tier)?, policy));
            let policies = policies.into_iter().filter_map(number).collect();
            self.add_policies(policies, pass);
        }
        gone.extend(self.set_profiles(objects, pass));
        gone.iter().for_each(|id| self.remove_policy(id, pass));
    }

    /// Takes over profiles that are others than before. Returns those that are gone.
    fn set_profiles(&mut self, objects: &Objects, pass: &mut Pass) -> Vec<PolicyId> {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for edit in self.objects.profiles.edits(&objects.profiles) {
            match edit {
                Edit::Set(entry) => {
                    set.push((self.tier_of_profiles(), Arc::new(profile(&entry.0, &entry.1))));
                }
                Edit::Remove(entry) => gone.push(PolicyId {
                    kind: PolicyKind::Profile,
                    name: ObjectName::new("", &entry.0),
                }),
            }
        }
        self.add_policies(set, pass);
        gone
    }

    fn tier_of_profiles(&mut self) -> usize {
        let tiers = &mut self.ground.model.tiers;
        *self.policies.profiles.get_or_insert_with(|| {
            let (name, end) = (PROFILES.into(), EndAction::Pass);
            tiers.push(Tier { name, order: None, end, policies: Vec::new() });
            tiers.len() - 1
        })
    }

    fn add_policies(&mut self, policies: Vec<(usize, Arc<Policy>)>, pass: &mut Pass) {
        let mut others = Watch::default();
        let mut asked = Vec::new();
        for (tier, policy) in policies {
            let next = self.policies.free.last().copied().unwrap_or(self.ground.policies.len());
            let number = *self.policies.numbers.entry(policy.id.clone()).or_insert(next);
            let known = number != next;
            pass.review.insert(number);
            asked.push(number);
            if known {
                let held = &mut self.ground.policies[number];
                held.tier = tier;
                let old = std::mem::replace(&mut held.policy, policy);
                if old.subject == held.policy.subject {
                    continue;
                }
                self.policies.subjects.remove(number, &old.subject);
            } else {
                let made =
                    Resolved { policy, tier, subjects: Vec::new(), sides: Default::default() };
                match self.policies.free.pop() {
                    Some(_) => self.ground.policies[number] = made,
                    None => self.ground.policies.push(made),
                }
            }
            let subject = &self.ground.policies[number].policy.subject;
            self.policies.subjects.add(number, subject);
            others.add(number, subject);
            for endpoint in std::mem::take(&mut self.ground.policies[number].subjects) {
                self.unselect(endpoint, number, pass);
            }
        }
        self.select(&others, pass);
        for number in asked {
            let held = &mut self.ground.policies[number];
            if held.subjects.is_empty() && !self.policies.interests.contains_key(&number) {
                held.policy = bare(&held.policy);
            }
        }
    }

    /// Finds whom of all here policies select that are others.
    fn select(&mut self, others: &Watch, pass: &mut Pass) {
        for (endpoint, here) in &mut self.here {
            let Some(member) = self.members.get(*endpoint) else { continue };
            for number in others.candidates(member) {
                let held = &mut self.ground.policies[number];
                if member.is_subject(&held.policy) {
                    held.subjects.push(*endpoint);
                    here.policies.insert(number);
                    pass.dirty.insert(*endpoint);
                }
            }
        }
    }

    /// A policy does not select somebody any more.
    fn unselect(&mut self, endpoint: usize, policy: usize, pass: &mut Pass) {
        if let Some(here) = self.here.get_mut(&endpoint) {
            here.policies.remove(&policy);
            pass.dirty.insert(endpoint);
        }
    }

    fn remove_policy(&mut self, id: &PolicyId, pass: &mut Pass) {
        let Some(number) = self.policies.numbers.remove(id) else { return };
        let subject = self.ground.policies[number].policy.subject.clone();
        self.policies.subjects.remove(number, &subject);
        for endpoint in std::mem::take(&mut self.ground.policies[number].subjects) {
            self.unselect(endpoint, number, pass);
        }
        pass.review.insert(number);
        pass.gone.insert(number);
    }

    /// Resolves the rules of policies that select somebody here, and lets go of those of others.
    pub(super) fn resolve(&mut self, objects: &Objects, pass: &mut Pass) {
        let is_in_use = |number: &usize| !self.ground.policies[*number].subjects.is_empty();
        let bare =
            pass.review.iter().copied().filter(|number| {
                is_in_use(number) && !self.policies.interests.contains_key(number)
            });
        let ids = || bare.clone().map(|number| &self.ground.policies[number].policy.id);
        let entries: Vec<PolicyEntry> =
            ids().filter_map(|id| objects.policies.entry(id).cloned()).collect();
        let profiles = ids().filter(|id| id.kind == PolicyKind::Profile).filter_map(|id| {
            let name = id.name.name.as_str();
            Some(Arc::new(profile(name, objects.profiles.get(name)?)))
        });
        let profiles: Vec<Arc<Policy>> = profiles.collect();
        let policies = lowered(objects, &entries).into_iter().map(|(_, policy)| policy);
        for policy in policies.chain(profiles) {
            if let Some(number) = self.policies.numbers.get(&policy.id) {
                self.ground.policies[*number].policy = policy;
            }
        }
        let mut released = Vec::new();
        for number in std::mem::take(&mut pass.review) {
            let held = &mut self.ground.policies[number];
            let old = std::mem::take(&mut held.sides);
            if held.subjects.is_empty() {
                held.policy = self::bare(&held.policy);
                self.policies.interests.remove(&number);
            } else {
                self.resolve_rules(number, pass);
            }
            released.extend(old.into_iter().flatten());
        }
        for sets in released {
            for side in [sets.source, sets.destination] {
                let both = side.within.into_iter().chain(side.without);
                both.for_each(|peers| self.peers.release(peers));
            }
        }
    }

    fn resolve_rules(&mut self, number: usize, pass: &mut Pass) {
        let policy = self.ground.policies[number].policy.clone();
        let mut interest = Interest::default();
        let sides = [Direction::Ingress, Direction::Egress].map(|direction| {
            let rules = policy.rules(direction).unwrap_or_default().iter();
            let sets = rules.map(|rule| {
                let sets = RuleSets {
                    source: self.side(&rule.source),
                    destination: self.side(&rule.destination),
                };
                interest.look(rule, sets, direction);
                sets
            });
            sets.collect()
        });
        self.ground.policies[number].sides = sides;
        self.policies.interests.insert(number, interest);
        pass.changed.insert(number);
    }

    fn side(&mut self, side: &Side) -> SideSets {
        let mut take = |selector: &Option<_>| {
            let selector = selector.as_ref()?;
            Some(self.peers.take(selector, &mut self.members, &mut self.ground.peers))
        };
        SideSets { within: take(&side.selector), without: take(&side.not_selector) }
    }
}

impl Policies {
    /// Lets go of the numbers of policies that went with the change before this one.
    pub fn clean(&mut self, gone: BTreeSet<usize>) {
        self.free.extend(std::mem::replace(&mut self.doomed, gone));
    }
}

/// A policy without its rules.
fn bare(policy: &Policy) -> Arc<Policy> {
    Arc::new(Policy { ingress: None, egress: None, ..policy.clone() })
}
