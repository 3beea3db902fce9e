//! `thalweg describe policy`: whom it selects and what it allows, in plain words.

use super::{read, show};
use crate::args::Common;
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use thalweg_agent::offline::policy::Policies;
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
    let read = read(common, file)?;
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
        let text = text(&read, &resolution, &policy, object);
        texts.push(text.map_err(std::io::Error::other)?);
        values.push(value(&resolution, &policy, object));
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
) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "policy    {} ({})", policy.id, policy.origin)?;
    let staged = match (policy.id.kind.of_staged(), object.staged) {
        (None, _) => "NOT enforced by this version",
        (Some(_), StagedAction::Set) => "staged: would be set",
        (Some(_), StagedAction::Delete) => "staged: would take the policy of its name away",
        (Some(_), _) => "staged: changes nothing",
    };
    writeln!(out, "state     {staged}")?;
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
            writeln!(out, "  {} {} ({place})", rule.number, words::rule(rule))?;
            for side in [&rule.source, &rule.destination] {
                if let Some(who) = who(read, resolution, side) {
                    writeln!(out, "    that is {who}")?;
                }
            }
        }
    }
    Ok(out)
}

fn count(numbers: impl Iterator<Item = usize>) -> usize {
    numbers.collect::<BTreeSet<_>>().len()
}

/// Whom a side means now, if it goes by labels.
fn who(read: &Policies, resolution: &Resolution, side: &Side) -> Option<String> {
    let selector = side.selector.as_ref()?;
    let mut names = members(resolution, selector);
    if let Term::Nodes(of) = selector.term() {
        names.extend(resolution.world.nodes_of(of).map(|(name, _)| format!("node {name}")));
    }
    let sets = resolution.world.sets.iter().filter(|set| selector.selects(&set.labels));
    names.extend(sets.map(|set| {
        let nets = read.objects.sets.get(&set.name).map_or(0, |set| set.nets.len());
        format!("set {} ({nets} ranges)", set.name.name)
    }));
    Some(counted(&names))
}

fn value(resolution: &Resolution, policy: &Policy, object: &PolicyObject) -> Value {
    let rules = |direction| {
        let rules = policy.rules(direction)?;
        let rules = rules.iter().map(|rule| {
            json!({
                "rule": rule.number,
                "words": words::rule(rule),
                "origin": rule.place.within(&policy.origin).to_string(),
            })
        });
        Some(rules.collect::<Vec<_>>())
    };
    json!({
        "policy": policy.id.to_string(),
        "enforced": false,
        "origin": policy.origin.to_string(),
        "tier": tier_of(object),
        "order": policy.order,
        "selector": policy.subject.to_string(),
        "selects": members(resolution, &policy.subject),
        "ingress": rules(Direction::Ingress),
        "egress": rules(Direction::Egress),
    })
}
