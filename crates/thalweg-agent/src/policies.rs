//! Policies in force: what they decided, in words.

use crate::plane::DataPlane;
use thalweg_abi::{Reason, SettingsRow, TableId};
use thalweg_api::policy::{PoliciesView, PolicyHits, TIER};
use thalweg_compile::{Cause, Compiler};
use thalweg_core::flow::what;
use thalweg_image::{Memory, PlaneError};
use thalweg_native::Journey;
use thalweg_policy::Resolution;
use thalweg_policy::model::Direction;
use thalweg_policy::object::PolicyId;

/// What of policies is in force, and what they decided.
///
/// # Errors
///
/// What the kernel says when counters cannot be read.
pub fn view(compiler: &Compiler, plane: &dyn DataPlane) -> Result<PoliciesView, PlaneError> {
    let (lines, room) = compiler.policy_room();
    let last = compiler.policy_causes().last().map_or(0, |(number, _)| number);
    let counts = if last > 0 { plane.policy_hits(last)? } else { Vec::new() };
    let hits = compiler.policy_causes().filter_map(|(number, cause)| {
        let hits = counts.get(number as usize).copied().filter(|hits| *hits > 0)?;
        Some(PolicyHits { hits, ..named(cause) })
    });
    let mut hits: Vec<PolicyHits> = hits.collect();
    hits.sort();
    let closed = compiler.policy_closed().map(ToString::to_string);
    let hosts = compiler.policy_closed_hosts().map(|host| format!("host {host}"));
    let closed = closed.chain(hosts).collect();
    Ok(PoliciesView { lines, room, closed, hits })
}

fn named(cause: &Cause) -> PolicyHits {
    let direction = |of: &Direction| of.word().to_owned();
    let blank = PolicyHits::default();
    match cause {
        Cause::Rule(policy, of, number) => PolicyHits {
            kind: policy.kind.name().into(),
            policy: policy.short(),
            direction: direction(of),
            rule: *number as u32,
            ..blank
        },
        Cause::EndOfTier(tier, of) => PolicyHits {
            kind: TIER.into(),
            policy: tier.clone(),
            direction: direction(of),
            ..blank
        },
        Cause::Profile(of) | Cause::FailSafe(of) => {
            PolicyHits { direction: direction(of), ..blank }
        }
        Cause::Other | Cause::Closed => blank,
    }
}

/// What policies say of a packet on its journey, in words; `decided` is what decided, in order.
pub fn steps(
    compiler: &Compiler,
    memory: &Memory,
    journey: &Journey,
    decided: &[u32],
    mut push: impl FnMut(&str, String),
) {
    let settings = memory.in_force().row::<SettingsRow>(TableId::Settings, 0);
    let Some(tracked) = journey.tracked.filter(|_| settings.is_some_and(|row| row.policy != 0))
    else {
        return;
    };
    let denies = journey.verdict.reason() == Reason::Policy;
    if decided.is_empty() {
        let facts = tracked.facts();
        let words = match (denies, facts.found()) {
            (true, _) => "what cannot be judged is denied",
            (_, 0) if facts.is(what::ERROR) => "an error goes where what it is about may go",
            (_, 0) => "no policy speaks of either side",
            _ => "its flow was judged by these tables before",
        };
        return push("policy", words.into());
    }
    for (at, number) in decided.iter().enumerate() {
        let verdict = if denies && at + 1 == decided.len() { "deny" } else { "allow" };
        let words = compiler
            .policy_cause(*number)
            .map_or_else(|| format!("cause {number}"), |cause| words(compiler.policies(), cause));
        push("policy", format!("{words}: {verdict}"));
    }
}

/// What a number of the data plane stands for, in words; none of one that is not known any more.
pub(crate) fn decided(compiler: &Compiler, number: u32) -> Option<String> {
    compiler.policy_cause(number).map(|cause| words(compiler.policies(), cause))
}

/// What decides, with its place.
fn words(resolution: &Resolution, cause: &Cause) -> String {
    match cause {
        Cause::Rule(policy, direction, number) => {
            let word = direction.word();
            match found(resolution, policy, *direction, *number) {
                Some((tier, place)) => {
                    format!("{word}: tier {tier}, {policy}, rule {number} ({place})")
                }
                None => format!("{word}: {policy}, rule {number}, which is gone"),
            }
        }
        Cause::EndOfTier(tier, direction) => {
            format!("{}: end of tier {tier}, policies of which apply", direction.word())
        }
        Cause::Profile(direction) => {
            format!("{}: no policy decides", direction.word())
        }
        Cause::FailSafe(direction) => {
            format!("{}: a port that stays open whatever policies say", direction.word())
        }
        Cause::Other => "no policy applies".into(),
        Cause::Closed => "there is no room for the policies of this workload or host".into(),
    }
}

/// Tier and place of a rule.
fn found(
    resolution: &Resolution,
    id: &PolicyId,
    direction: Direction,
    number: usize,
) -> Option<(String, String)> {
    let resolved = resolution.policies.iter().find(|one| one.policy.id == *id)?;
    let tier = resolution.model.tiers.get(resolved.tier)?.name.clone();
    let rules = resolved.policy.rules(direction)?;
    let rule = rules.iter().find(|rule| rule.number == number)?;
    Some((tier, rule.place.within(&resolved.policy.origin).to_string()))
}
