//! `thalweg describe policy`: whom it selects and what it allows, in plain words.

use super::{Selects, is_closed, show, watched};
use crate::args::Common;
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use thalweg_agent::offline::policy::Policies;
use thalweg_api::policy::{PoliciesView, TIER};
use thalweg_policy::lower::{policy as lower, tier_of};
use thalweg_policy::model::{Direction, Policy, Side, Stage};
use thalweg_policy::object::{EndAction, PolicyId, PolicyObject, StagedAction};
use thalweg_policy::selector::Term;
use thalweg_policy::{Resolution, Selector, View, words};

/// Most names in a line.
const NAMES: usize = 8;

/// Describes all policies of a name: `web` or `shop/web`, the kind in front if wanted.
pub fn describe(
    common: &Common,
    file: Option<&Path>,
    name: &str,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let (read, agent) = watched(common, file)?;
    let agent = agent.as_ref();
    let named =
        |id: &PolicyId| id.short() == name || id.to_string() == name || id.name.name == name;
    let found: Vec<_> = read.objects.policies.iter().filter(|(id, _)| named(id)).collect();
    if found.is_empty() {
        let message = format!("there is no policy `{name}`; `thalweg get policies` lists them");
        return Err(Failure::new(Exit::NotAsWished, message));
    }
    let resolution = read.resolve(View::Enforced);
    let mut texts = Vec::new();
    let mut values = Vec::new();
    for (id, object) in found {
        let policy = lower(id, object);
        let text = text(&read, &resolution, &policy, object, agent);
        texts.push(text.map_err(std::io::Error::other)?);
        values.push(value(&resolution, &policy, object, agent));
    }
    show(writer, Value::Array(values), &texts.join("\n"))?;
    Ok(Exit::Ok)
}

/// Names of the endpoints that a selector means.
fn members(resolution: &Resolution, selector: &Selector) -> Vec<String> {
    let selected = resolution.world.endpoints.iter().filter(|one| selector.selects(&one.labels));
    selected.map(|one| one.name.to_string()).collect()
}

fn counted(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMES);
    match (names.len(), more) {
        (0, _) => "nobody".into(),
        (_, 0) => shown,
        _ => format!("{shown} and {more} more"),
    }
}

fn text(
    read: &Policies,
    resolution: &Resolution,
    policy: &Policy,
    object: &PolicyObject,
    agent: Option<&PoliciesView>,
) -> Result<String, std::fmt::Error> {
    let agent = agent.filter(|_| policy.id.kind.of_staged().is_none());
    let mut out = String::new();
    writeln!(out, "policy    {} ({})", policy.id, policy.origin)?;
    writeln!(out, "state     {}", state(resolution, policy, object, agent))?;
    if object.staged == StagedAction::Delete {
        // What else it says counts for nothing.
        let gone = read.objects.replaced(&policy.id);
        let gone =
            gone.map_or_else(|| "nothing: there is none of its name".into(), |id| id.to_string());
        writeln!(out, "takes     {gone}")?;
        return Ok(out);
    }
    let order = policy.order.map_or_else(|| "last".into(), |order| order.to_string());
    let tier = resolution.model.tiers.iter().find(|tier| tier.name == tier_of(object));
    let end = match tier.map(|tier| tier.end) {
        Some(EndAction::Deny) => "what no policy of it decides is denied",
        Some(EndAction::Pass) => "what no policy of it decides goes on to the next",
        None => "which does not exist",
    };
    writeln!(out, "tier      {}, at order {order}; {end}", tier_of(object))?;
    match policy.stage {
        Stage::Normal if policy.forwarded => {
            writeln!(out, "asked     also for what hosts pass on")?
        }
        Stage::Normal => {}
        Stage::PreDnat => {
            writeln!(out, "asked     before services are translated, at hosts alone")?
        }
        Stage::Untracked => writeln!(out, "asked     without memory of flows, at hosts alone")?,
    }
    let subjects = members(resolution, &policy.subject);
    writeln!(out, "selects   {} ({})", counted(&subjects), policy.subject)?;
    for direction in [Direction::Ingress, Direction::Egress] {
        let Some(rules) = policy.rules(direction) else {
            writeln!(out, "{:<9} says nothing", direction.word())?;
            continue;
        };
        let count = count(rules.iter().map(|rule| rule.number));
        let word = if count == 1 { "rule" } else { "rules" };
        writeln!(out, "{:<9} {count} {word}", direction.word())?;
        for rule in rules {
            let place = rule.place.within(&policy.origin);
            let hits = agent.map(|agent| times(rule_hits(agent, policy, direction, rule.number)));
            let hits = hits.map(|hits| format!(": {hits}")).unwrap_or_default();
            writeln!(out, "  {} {} ({place}){hits}", rule.number, words::rule(rule))?;
            for side in [&rule.source, &rule.destination] {
                if let Some(who) = who(read, resolution, side) {
                    writeln!(out, "    that is {who}")?;
                }
            }
        }
        // An end that passes on decides nothing.
        let denies = tier.is_some_and(|tier| tier.end == EndAction::Deny);
        if let Some(agent) = agent.filter(|_| denies) {
            let hits = agent.of(TIER, tier_of(object), direction.word(), 0);
            writeln!(out, "  end of tier {}: {}", tier_of(object), times(hits))?;
        }
    }
    Ok(out)
}

fn rule_hits(agent: &PoliciesView, policy: &Policy, direction: Direction, number: usize) -> u64 {
    let id = &policy.id;
    agent.of(id.kind.name(), &id.short(), direction.word(), number as u32)
}

fn times(hits: u64) -> String {
    match hits {
        0 => "no hits".into(),
        1 => "1 hit".into(),
        hits => format!("{hits} hits"),
    }
}

/// What becomes of a policy, in a sentence.
fn state(
    resolution: &Resolution,
    policy: &Policy,
    object: &PolicyObject,
    agent: Option<&PoliciesView>,
) -> &'static str {
    match (policy.id.kind.of_staged(), object.staged) {
        (None, _) => {}
        (Some(_), StagedAction::Set) => return "staged: would be set",
        (Some(_), StagedAction::Delete) => return "staged: would take the policy of its name away",
        (Some(_), _) => return "staged: changes nothing",
    }
    if resolution.model.policies().all(|(_, one)| one.id != policy.id) {
        return "set aside: it names a tier that nobody has";
    }
    if is_closed(resolution, policy, agent) {
        return "closed: rules of workloads or hosts that it selects have no room (`thalweg status`)";
    }
    let selects = Selects::of(resolution, policy);
    match (selects.state(policy), policy.stage, &selects) {
        ("selects nobody", ..) => "selects nobody now",
        ("selects no host", ..) => "selects no host now, and is about hosts alone",
        (_, Stage::Normal, Selects { hosts: 0, .. }) => {
            "in force: each host enforces it for its own pods"
        }
        (_, Stage::Normal, Selects { pods: 1.., .. }) => {
            "in force: each host enforces it for its own pods, and at its own links"
        }
        _ => "in force: each host enforces it at its own links",
    }
}

fn count(numbers: impl Iterator<Item = usize>) -> usize {
    numbers.collect::<BTreeSet<_>>().len()
}

/// Whom a side means now, if it goes by labels.
fn who(read: &Policies, resolution: &Resolution, side: &Side) -> Option<String> {
    let selector = side.selector.as_ref()?;
    if let Term::Nodes(of) = selector.term() {
        let nodes = resolution.world.nodes_of(of).map(|(name, _)| format!("node {name}"));
        return Some(counted(&nodes.collect::<Vec<_>>()));
    }
    let without = side.not_selector.as_ref().map(Selector::negated);
    let selector = Selector::and([selector.clone()].into_iter().chain(without));
    let mut names = members(resolution, &selector);
    let sets = resolution.world.sets.iter().filter(|set| selector.selects(&set.labels));
    names.extend(sets.map(|set| {
        let nets = read.objects.sets.get(&set.name).map_or(0, |set| set.nets.len());
        format!("set {} ({nets} ranges)", set.name.name)
    }));
    Some(counted(&names))
}

fn value(
    resolution: &Resolution,
    policy: &Policy,
    object: &PolicyObject,
    agent: Option<&PoliciesView>,
) -> Value {
    let agent = agent.filter(|_| policy.id.kind.of_staged().is_none());
    let end = |direction: Direction| {
        let applies = policy.rules(direction).is_some();
        agent.filter(|_| applies).map(|a| a.of(TIER, tier_of(object), direction.word(), 0))
    };
    let rules = |direction| {
        let rules = policy.rules(direction)?;
        let rules = rules.iter().map(|rule| {
            json!({
                "rule": rule.number,
                "hits": agent.map(|agent| rule_hits(agent, policy, direction, rule.number)),
                "words": words::rule(rule),
                "origin": rule.place.within(&policy.origin).to_string(),
            })
        });
        Some(rules.collect::<Vec<_>>())
    };
    json!({
        "policy": policy.id.to_string(),
        "state": state(resolution, policy, object, agent),
        "endOfTier": { "ingress": end(Direction::Ingress), "egress": end(Direction::Egress) },
        "origin": policy.origin.to_string(),
        "tier": tier_of(object),
        "order": policy.order,
        "selector": policy.subject.to_string(),
        "selects": members(resolution, &policy.subject),
        "ingress": rules(Direction::Ingress),
        "egress": rules(Direction::Egress),
    })
}
