//! Those whose packets are decided here: which policies select them, and what that comes to.

use super::member::Member;
use super::members::Touched;
use super::{Compiler, Pass, ThisHost};
use crate::model::Direction;
use crate::resolve::{ChainKind, sort_profiles};
use crate::table::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::cluster::ObjectName;

/// Those who are here, by number.
pub(super) type AllHere = BTreeMap<usize, Here>;

/// Somebody who is here.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    /// Policies that select it.
    pub policies: BTreeSet<usize>,
    /// Addresses that it has in the tables.
    addresses: BTreeSet<IpAddr>,
}

impl Compiler {
    /// Finds who is here now, and which of the known policies select those who are others.
    pub(super) fn come_and_go(
        &mut self,
        local: &BTreeSet<ObjectName>,
        host: &ThisHost,
        touched: &Touched,
        pass: &mut Pass,
    ) {
        let moved = self.local.symmetric_difference(local);
        let mut others: BTreeSet<usize> = moved.filter_map(|name| self.members.pod(name)).collect();
        others.extend(touched.keys());
        if self.host.node != host.node {
            others.extend(self.members.hosts().map(|(number, _)| number));
        }
        for number in others {
            let is_here = match self.members.get(number) {
                Some(Member::Pod(pod)) => local.contains(pod.name()),
                Some(Member::Host(one)) => one.node.is_some() && one.node == host.node,
                Some(Member::Set(_)) | None => false,
            };
            if is_here {
                self.select_for(number, pass);
            } else if self.here.contains_key(&number) {
                self.leave(number, pass);
            }
        }
    }

    /// Finds the policies that select somebody.
    fn select_for(&mut self, endpoint: usize, pass: &mut Pass) {
        let Some(member) = self.members.get(endpoint) else { return };
        let selects = |number: &usize| {
            let policy = &self.ground.policies[*number].policy;
            member.is_subject(policy)
        };
        let policies: BTreeSet<usize> =
            self.policies.subjects.candidates(member).filter(selects).collect();
        let here = self.here.entry(endpoint).or_default();
        let old = std::mem::replace(&mut here.policies, policies.clone());
        for number in old.difference(&policies) {
            self.drop_subject(*number, endpoint, pass);
        }
        for number in policies.difference(&old) {
            let subjects = &mut self.ground.policies[*number].subjects;
            pass.review.extend(subjects.is_empty().then_some(*number));
            subjects.push(endpoint);
        }
        pass.dirty.insert(endpoint);
    }

    fn drop_subject(&mut self, policy: usize, endpoint: usize, pass: &mut Pass) {
        let subjects = &mut self.ground.policies[policy].subjects;
        subjects.retain(|one| *one != endpoint);
        pass.review.extend(subjects.is_empty().then_some(policy));
    }

    fn leave(&mut self, endpoint: usize, pass: &mut Pass) {
        let Some(here) = self.here.remove(&endpoint) else { return };
        for policy in here.policies {
            self.drop_subject(policy, endpoint, pass);
        }
        keys(endpoint, &here.addresses).for_each(|key| self.live.unassign(key));
        ChainKind::of_hosts().for_each(|kind| self.live.unfork((endpoint, kind)));
        pass.dirty.remove(&endpoint);
    }

    /// Gives those whose rules may be others what they come to.
    pub(super) fn assign(&mut self, dirty: &BTreeSet<usize>) {
        for endpoint in dirty {
            let Some(here) = self.here.get(endpoint) else { continue };
            let policies = self.in_order(here.policies.iter().copied().collect());
            match self.members.get(*endpoint) {
                Some(Member::Pod(_)) => self.assign_pod(*endpoint, &policies),
                Some(Member::Host(_)) => self.assign_host(*endpoint, policies),
                Some(Member::Set(_)) | None => {}
            }
        }
    }

    /// Policies in the order in which they are asked.
    fn in_order(&self, mut policies: Vec<usize>) -> Vec<usize> {
        let tiers = &self.ground.model.tiers;
        policies.sort_by(|a, b| {
            let [a, b] = [a, b].map(|one| &self.ground.policies[*one]);
            let in_tier = || a.policy.before(&b.policy);
            tiers[a.tier].before(&tiers[b.tier]).then_with(in_tier)
        });
        policies
    }

    fn assign_pod(&mut self, endpoint: usize, policies: &[usize]) {
        let (Some(here), Some(member)) = (self.here.get_mut(&endpoint), self.members.get(endpoint))
        else {
            return;
        };
        let addresses: BTreeSet<IpAddr> = member.addresses().iter().copied().collect();
        let old = std::mem::replace(&mut here.addresses, addresses.clone());
        let gone: BTreeSet<IpAddr> = old.difference(&addresses).copied().collect();
        keys(endpoint, &gone).for_each(|key| self.live.unassign(key));
        for direction in [Direction::Ingress, Direction::Egress] {
            // Profiles of pods allow what no policy speaks of.
            let chain = self.ground.chain_of(ChainKind::normal(direction), policies, true);
            for address in &addresses {
                self.live.assign(&self.ground, &chain, (endpoint, *address, direction));
            }
        }
    }

    fn assign_host(&mut self, endpoint: usize, mut policies: Vec<usize>) {
        let Some(Member::Host(host)) = self.members.get(endpoint) else { return };
        sort_profiles(host, &mut policies, |number| &self.ground.policies[number].policy);
        for kind in ChainKind::of_hosts() {
            let chain = self.ground.chain_of(kind, &policies, host.open);
            match chain.is_idle() {
                true => self.live.unfork((endpoint, kind)),
                false => self.live.fork(&self.ground, chain, endpoint),
            }
        }
    }
}

fn keys(endpoint: usize, addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = Key> {
    let directions = [Direction::Ingress, Direction::Egress];
    addresses
        .iter()
        .flat_map(move |address| directions.map(|direction| (endpoint, *address, direction)))
}
