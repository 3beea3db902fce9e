//! What is wrong with policies beside each other, or with nobody to be about.

use crate::lower::{has_tier, tier_of};
use crate::model::Direction;
use crate::object::{Objects, PolicyId, PolicyKind, PolicyObject, StagedAction};
use crate::resolve::Resolution;
use crate::world::is_known;
use std::collections::BTreeSet;
use thalweg_model::{Key, Origin, Problem, Severity};

/// What is wrong between objects.
pub fn all(objects: &Objects) -> Vec<Problem> {
    let mut found = tiers(objects);
    found.extend(profiles(objects));
    found.extend(deletions(objects));
    found
}

/// Policies of tiers that do not exist: they are left out, and all others count.
pub fn tiers(objects: &Objects) -> Vec<Problem> {
    let mut found = Vec::new();
    for (id, object) in &objects.policies {
        let tier = tier_of(object);
        if !has_tier(objects, tier) {
            found.push(Problem {
                severity: Severity::Error,
                origin: object.origin.clone(),
                object: Some(id.key()),
                field: Some("spec.tier".into()),
                what: format!("there is no Tier `{tier}`"),
                remedy: "add a Tier of that name, or name one that exists".into(),
            });
        }
    }
    found
}

/// What works and is probably not as meant: selectors that mean nobody, names of ports and services that
/// nobody has.
pub fn doubts(resolution: &Resolution) -> Vec<Problem> {
    let mut found = Vec::new();
    for (at, resolved) in resolution.policies.iter().enumerate() {
        let policy = &resolved.policy;
        let mut doubt = |origin: Origin, field: String, what: String, remedy: &str| {
            found.push(Problem {
                severity: Severity::Warning,
                origin,
                object: Some(policy.id.key()),
                field: Some(field),
                what,
                remedy: remedy.into(),
            });
        };
        if resolved.subjects.is_empty() {
            let (what, remedy) = match policy.id.kind {
                PolicyKind::Profile => (
                    "no HostEndpoint lists it".into(),
                    "name it in the `profiles` of a HostEndpoint, or remove it",
                ),
                _ => (
                    format!("selects nobody: {}", policy.subject),
                    "nothing is to be done if such pods are still to come",
                ),
            };
            doubt(policy.origin.clone(), "spec".into(), what, remedy);
            continue;
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            let mut told: BTreeSet<(usize, String)> = BTreeSet::new();
            for (rule, sets) in resolution.rules(at, direction) {
                let field = format!("spec.{}[{}]", direction.word(), rule.number - 1);
                let origin = rule.place.within(&policy.origin);
                let mut doubt = |what: String, remedy: &str| {
                    // Of several rules that were made of one, one tells it.
                    if told.insert((rule.number, what.clone())) {
                        doubt(origin.clone(), field.clone(), what, remedy);
                    }
                };
                let within = [sets.source.within, sets.destination.within];
                for set in within.into_iter().flatten().map(|set| &resolution.peers[set]) {
                    if set.ranges.is_empty() {
                        let what = format!("nobody is meant by {}", set.selector);
                        doubt(what, "nothing is to be done if such pods are still to come");
                    }
                }
                for side in [&rule.source, &rule.destination] {
                    let names = side.ports.iter().chain(&side.not_ports);
                    for name in names.filter_map(|port| port.name()) {
                        if resolution.named(name).next().is_none() {
                            let what = format!("nobody has a port `{name}`");
                            doubt(what, "name it in the `ports` of a container, or write a number");
                        }
                    }
                    if let Some(service) = &side.service
                        && resolution.served(service).is_empty()
                    {
                        let what = format!("nobody serves {service}");
                        doubt(what, "add its EndpointSlice, or name another service");
                    }
                }
            }
        }
    }
    found
}

/// Profiles that host endpoints list and nobody has: they deny what no profile before them decides.
pub fn profiles(objects: &Objects) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, host) in &objects.hosts {
        let missing = host.profiles.iter().find(|profile| !is_known(objects, profile));
        found.extend(missing.map(|profile| Problem {
            severity: Severity::Warning,
            origin: host.origin.clone(),
            object: Some(Key { kind: "HostEndpoint".into(), name: name.clone() }),
            field: Some("spec.profiles".into()),
            what: format!("there is no Profile `{profile}`, which denies what no policy allows"),
            remedy: "add a Profile of that name, or name one that exists".into(),
        }));
    }
    found
}

/// Staged policies that would take one away which nobody has.
pub fn deletions(objects: &Objects) -> Vec<Problem> {
    let missing = |(id, object): &(&PolicyId, &PolicyObject)| {
        object.staged == StagedAction::Delete && objects.replaced(id).is_none()
    };
    let told = |(id, object): (&PolicyId, &PolicyObject)| Problem {
        severity: Severity::Warning,
        origin: object.origin.clone(),
        object: Some(id.key()),
        field: Some("spec.stagedAction".into()),
        what: "there is no policy of this name, so that this would take nothing away".into(),
        remedy: "give it the name of the policy that is to go, or remove it".into(),
    };
    objects.policies.iter().filter(missing).map(told).collect()
}
