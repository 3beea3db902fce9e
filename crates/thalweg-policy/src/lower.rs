//! From objects to the one ordered model.

mod calico;
mod kubernetes;

use crate::model::{Model, Policy, Tier};
use crate::object::{
    EndAction, Objects, PolicyId, PolicyKind, PolicyObject, Profile, Spec, StagedAction,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_model::cluster::ObjectName;

/// The tier of policies that name none.
pub const DEFAULT: &str = "default";
/// Tiers that always exist, with what nobody may change: order and end.
pub const FIXED: [(&str, f64, EndAction); 3] = [
    ("kube-admin", 1_000.0, EndAction::Pass),
    (DEFAULT, 1_000_000.0, EndAction::Deny),
    ("kube-baseline", 10_000_000.0, EndAction::Pass),
];
/// The tier behind all others, of the rules of profiles. What it does not decide, the last profile does.
pub const PROFILES: &str = "profiles";
/// The label of what Kubernetes runs, and its value.
pub const ORCHESTRATOR: (&str, &str) = ("projectcalico.org/orchestrator", "k8s");
/// What labels of a namespace are known by.
pub const OF_NAMESPACE: &str = "pcns.";
/// What labels of a service account are known by.
pub const OF_ACCOUNT: &str = "pcsa.";
/// The label with the name of a service account.
pub const ACCOUNT: &str = "projectcalico.org/serviceaccount";

/// Which policies count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum View {
    /// Those that would be in force: staged ones are not.
    #[default]
    Enforced,
    /// As if what is staged were in force.
    Pending,
}

/// The name of the tier that a policy is in.
pub fn tier_of(policy: &PolicyObject) -> &str {
    match &policy.spec {
        Spec::Kubernetes(_) => DEFAULT,
        Spec::Cluster(policy) if policy.baseline => FIXED[2].0,
        Spec::Cluster(_) => FIXED[0].0,
        Spec::Calico(policy) => &policy.tier,
    }
}

/// Whether a tier exists.
pub fn has_tier(objects: &Objects, name: &str) -> bool {
    FIXED.iter().any(|(fixed, ..)| *fixed == name) || objects.tiers.contains_key(name)
}

impl Model {
    /// All policies in order. Those of a tier that does not exist are left out; [`crate::check`] tells of
    /// them.
    pub fn new(objects: &Objects, view: View) -> Self {
        let mut tiers: BTreeMap<&str, Tier> = BTreeMap::new();
        let mut add = |name, order, end| {
            let tier = Tier { name: String::from(name), order, end, policies: Vec::new() };
            tiers.insert(name, tier);
        };
        objects.tiers.iter().for_each(|(name, tier)| add(name.as_str(), tier.order, tier.end));
        FIXED.iter().for_each(|(name, order, end)| add(name, Some(*order), *end));
        let replaced = replaced(objects, view);
        for (id, object) in &objects.policies {
            let counts = match id.kind.of_staged() {
                Some(_) => view == View::Pending && object.staged == StagedAction::Set,
                None => !replaced.contains(id),
            };
            if let (true, Some(tier)) = (counts, tiers.get_mut(tier_of(object))) {
                tier.policies.push(Arc::new(policy(id, object)));
            }
        }
        let mut tiers: Vec<Tier> = tiers.into_values().collect();
        tiers.sort_by(Tier::before);
        tiers.iter_mut().for_each(|tier| tier.policies.sort_by(|a, b| a.before(b)));
        if !objects.profiles.is_empty() {
            let policies = objects.profiles.iter();
            let policies = policies.map(|(name, one)| Arc::new(profile(name, one))).collect();
            let (name, end) = (PROFILES.into(), EndAction::Pass);
            tiers.push(Tier { name, order: None, end, policies });
        }
        Self { tiers }
    }
}

/// What a profile comes to; whom it is about, host endpoints say.
pub(crate) fn profile(name: &str, profile: &Profile) -> Policy {
    let id = PolicyId { kind: PolicyKind::Profile, name: ObjectName::new("", name) };
    Policy { id, origin: profile.origin.clone(), ..calico::profile(profile) }
}

/// Policies whose place is taken by a staged one, or that it takes away.
fn replaced(objects: &Objects, view: View) -> BTreeSet<PolicyId> {
    let staged = objects.policies.iter().filter(|_| view == View::Pending);
    let acts = |action| matches!(action, StagedAction::Set | StagedAction::Delete);
    let staged = staged.filter(|(_, object)| acts(object.staged));
    let place =
        |id: &PolicyId| Some(PolicyId { kind: id.kind.of_staged()?, name: id.name.clone() });
    staged.filter_map(|(id, _)| place(id)).collect()
}

/// What one object comes to.
pub fn policy(id: &PolicyId, object: &PolicyObject) -> Policy {
    let mut policy = match &object.spec {
        Spec::Kubernetes(spec) => kubernetes::network_policy(&id.name.namespace, spec),
        Spec::Cluster(spec) => kubernetes::cluster_policy(spec),
        Spec::Calico(spec) => calico::policy(&id.name.namespace, spec),
    };
    policy.id = id.clone();
    policy.origin = object.origin.clone();
    policy
}
