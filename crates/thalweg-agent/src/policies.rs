//! Policies in force: what they decided, in words.

use crate::plane::DataPlane;
use std::collections::BTreeMap;
use thalweg_abi::{Reason, SettingsRow, TableId};
use thalweg_api::log::LogRule;
use thalweg_api::policy::{PoliciesView, PolicyHits, SETTING, TIER};
use thalweg_compile::{Cause, Compiler, Logged};
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
    let mut sums: BTreeMap<PolicyHits, u64> = BTreeMap::new();
    for (number, cause) in compiler.policy_causes() {
        let Some(hits) = counts.get(number as usize).copied().filter(|hits| *hits > 0) else {
            continue;
        };
        let (logs, decides) = cause.parts();
        let logs = logs.iter().map(|(policy, direction, rule)| ruled(policy, *direction, *rule));
        for one in logs.chain(decides.map(named)) {
            *sums.entry(one).or_default() += hits;
        }
    }
    let hits = sums.into_iter().map(|(one, hits)| PolicyHits { hits, ..one }).collect();
    let closed = compiler.policy_closed().map(ToString::to_string);
    let hosts = compiler.policy_closed_hosts().map(|host| format!("host {host}"));
    let closed = closed.chain(hosts).collect();
    Ok(PoliciesView { lines, room, closed, hits })
}

/// A rule, without hits.
fn ruled(policy: &PolicyId, direction: Direction, rule: usize) -> PolicyHits {
    PolicyHits {
        kind: policy.kind.name().into(),
        policy: policy.short(),
        direction: direction.word().into(),
        rule: rule as u32,
        hits: 0,
    }
}

/// What decides, without hits.
fn named(cause: &Cause) -> PolicyHits {
    let direction = |of: &Direction| of.word().to_owned();
    let blank = PolicyHits::default();
    match cause {
        Cause::Rule(policy, of, number) => ruled(policy, *of, *number),
        Cause::EndOfTier(tier, of) => PolicyHits {
            kind: TIER.into(),
            policy: tier.clone(),
            direction: direction(of),
            ..blank
        },
        Cause::Profile(of) | Cause::FailSafe(of) => {
            PolicyHits { direction: direction(of), ..blank }
        }
        Cause::ToHost => PolicyHits {
            kind: SETTING.into(),
            policy: "endpointToHost".into(),
            direction: direction(&Direction::Ingress),
            ..blank
        },
        Cause::Logged(..) | Cause::Other | Cause::Closed => blank,
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
        let Some(cause) = compiler.policy_cause(*number) else {
            push("policy", format!("cause {number}: {verdict}"));
            continue;
        };
        let (logs, decides) = cause.parts();
        for log in logs {
            push("policy", format!("{}: log", rule_words(compiler.policies(), log)));
        }
        if let Some(decides) = decides {
            push("policy", format!("{}: {verdict}", words(compiler.policies(), decides)));
        }
    }
}

/// What a number of the data plane stands for, in words; none of one that is not known any more.
pub(crate) fn decided(compiler: &Compiler, number: u32) -> Option<String> {
    compiler.policy_cause(number).map(|cause| words(compiler.policies(), cause))
}

/// A rule that logs, as those see it who read what it logs.
pub(crate) fn log_rule(resolution: &Resolution, rule: &Logged) -> LogRule {
    let (policy, direction, number) = rule;
    let (tier, origin) = found(resolution, policy, *direction, *number).unzip();
    let PolicyHits { kind, policy, direction, rule, .. } = ruled(policy, *direction, *number);
    LogRule { tier, kind, policy, direction, rule, origin }
}

/// A rule with its place.
fn rule_words(resolution: &Resolution, (policy, direction, number): &Logged) -> String {
    let word = direction.word();
    match found(resolution, policy, *direction, *number) {
        Some((tier, place)) => format!("{word}: tier {tier}, {policy}, rule {number} ({place})"),
        None => format!("{word}: {policy}, rule {number}, which is gone"),
    }
}

/// What decides, with its place.
pub(crate) fn words(resolution: &Resolution, cause: &Cause) -> String {
    match cause {
        Cause::Rule(policy, direction, number) => {
            rule_words(resolution, &(policy.clone(), *direction, *number))
        }
        Cause::Logged(logs, decides) => {
            let decides = decides.as_ref().map(|cause| words(resolution, cause));
            let mut said = decides.unwrap_or_else(|| "no rule decides".into());
            for log in logs {
                said += &format!("; logged by {}", rule_words(resolution, log));
            }
            said
        }
        Cause::ToHost => "spec.policy.endpointToHost of the Router says so".into(),
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
