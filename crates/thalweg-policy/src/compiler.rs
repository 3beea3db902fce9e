//! Compiles policies again and again: what is the same as before is neither looked at nor made anew.
//!
//! The stages are those of a compilation from nothing, and what each holds is kept by numbers that stay:
//!
//! 1. `members`: pods, hosts and sets with their labels, none copied, in an index;
//! 2. `policies`: tiers and policies; those that select nobody here do not keep their rules;
//! 3. `peers` and `names`: whom selectors, names of ports and services mean;
//! 4. `here` and `hosts`: chains of those who are here;
//! 5. `table`: classes, sets and rows.
//!
//! Each stage tells the next one what is another. What moved is found out by asking how it is now, never by
//! counting what came and went, so that the order in which objects arrive does not matter.

mod here;
mod hosts;
mod member;
mod members;
mod names;
mod peers;
mod policies;
mod watch;

use crate::model::{Policy, Tier};
use crate::object::Objects;
use crate::resolve::Resolution;
use crate::table::{Change, Live, Moved, Tables};
use here::AllHere;
pub use hosts::ThisHost;
use member::Member;
use members::{Members, are_other_nodes};
use peers::Selectors;
use policies::Policies;
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_model::cluster::{Cluster, ObjectName};

/// The tables of those who are here, which follow what objects say.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    objects: Objects,
    cluster: Cluster,
    local: BTreeSet<ObjectName>,
    host: ThisHost,
    members: Members,
    policies: Policies,
    peers: Selectors,
    here: AllHere,
    /// What rules are resolved to. Its policies and tiers stand by number instead of in order, those that
    /// select nobody here without rules, and its world has services and settings alone.
    ground: Resolution,
    live: Live,
    change: Change,
}

/// What one change has come to so far.
#[derive(Default)]
struct Pass {
    /// Policies that have other rules or subjects than before.
    review: BTreeSet<usize>,
    /// Policies whose rules may come to something else.
    changed: BTreeSet<usize>,
    /// Policies that are no more.
    gone: BTreeSet<usize>,
    /// Those here whose chains may come to something else.
    dirty: BTreeSet<usize>,
    moved: Moved,
}

impl Compiler {
    /// Brings the tables to what objects say now. `local` names the pods whose packets are decided here, beside
    /// those of `host`. What nobody has any more goes with the next update, which may be one with the same objects.
    pub fn update(
        &mut self,
        objects: &Objects,
        cluster: &Cluster,
        local: &BTreeSet<ObjectName>,
        host: &ThisHost,
    ) -> &Tables {
        let mut pass = Pass::default();
        let (old, new) = ((&self.objects, &self.cluster), (objects, cluster));
        let nodes = are_other_nodes(old, new);
        let touched = self.members.update(old, new);
        self.come_and_go(local, host, &touched, &mut pass);
        self.settle_hosts(objects, host, &mut pass);
        self.set_policies(objects, &mut pass);
        self.resolve(objects, &mut pass);
        pass.moved = Moved {
            peers: self.move_peers(&touched, nodes),
            services: self.move_services(cluster),
            names: self.move_names(&touched),
        };
        self.note_interested(&mut pass);
        for number in &pass.changed {
            pass.dirty.extend(&self.ground.policies[*number].subjects);
        }
        self.assign(&pass.dirty);
        self.change = self.live.finish(&self.ground, &pass.moved);
        self.members.clean(&touched);
        self.policies.clean(pass.gone);
        self.peers.clean(&mut self.ground.peers);
        self.objects = objects.clone();
        self.cluster = cluster.clone();
        self.local.clone_from(local);
        self.host.clone_from(host);
        &self.live.tables
    }

    /// The tables after the last change.
    pub fn tables(&self) -> &Tables {
        &self.live.tables
    }

    /// What decisions are told by: policies and tiers by number. It has no chains and no endpoints, and
    /// policies that select nobody here stand in it without rules, and those that are no more for a while.
    pub fn resolution(&self) -> &Resolution {
        &self.ground
    }

    /// What the last change made another in the tables.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The number by which tables know a pod.
    pub fn endpoint(&self, name: &ObjectName) -> Option<usize> {
        self.members.pod(name).filter(|number| self.here.contains_key(number))
    }

    /// The name of the pod that tables know by a number.
    pub fn pod(&self, endpoint: usize) -> Option<&ObjectName> {
        match self.members.get(endpoint).filter(|_| self.here.contains_key(&endpoint))? {
            Member::Pod(pod) => Some(pod.name()),
            Member::Host(_) | Member::Set(_) => None,
        }
    }

    /// The policy that decisions know by a number.
    pub fn policy(&self, number: usize) -> Option<&Arc<Policy>> {
        self.policies.interests.get(&number)?;
        self.ground.policies.get(number).map(|held| &held.policy)
    }

    /// The tier that decisions know by a number.
    pub fn tier(&self, number: usize) -> Option<&Tier> {
        self.ground.model.tiers.get(number)
    }
}
