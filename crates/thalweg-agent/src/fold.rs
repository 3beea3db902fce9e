//! Problems that many objects of a cluster share, told once.

use std::collections::HashMap;
use thalweg_model::{Problem, Severity};

/// Kinds of objects that come from elsewhere, in numbers. Others stand in files that people write: each
/// of their problems has its own place.
const KINDS: &[&str] = &["Service", "EndpointSlice", "Pod", "Node", "IPPool", "ServiceCIDR"];
/// Objects that are named beside the first.
const NAMES: usize = 3;

/// What problems have in common.
type Kind = (Severity, String, Option<String>, String, String);

/// Lets the first of problems that differ in their object alone stand for all.
pub fn fold(problems: Vec<Problem>) -> Vec<Problem> {
    let mut places: HashMap<Kind, usize> = HashMap::new();
    let mut folded: Vec<(Problem, Vec<String>, usize)> = Vec::new();
    for problem in problems {
        let Some((kind, name)) = shared(&problem) else {
            folded.push((problem, Vec::new(), 0));
            continue;
        };
        match places.get(&kind).and_then(|place| folded.get_mut(*place)) {
            Some((_, names, more)) => {
                *more += 1;
                if names.len() < NAMES {
                    names.push(name);
                }
            }
            None => {
                places.insert(kind, folded.len());
                folded.push((problem, Vec::new(), 0));
            }
        }
    }
    folded.into_iter().map(|(problem, names, more)| summary(problem, &names, more)).collect()
}

/// What of a problem others may share, and the name of its object.
fn shared(problem: &Problem) -> Option<(Kind, String)> {
    let key = problem.object.as_ref().filter(|key| KINDS.contains(&&key.kind[..]))?;
    let (what, remedy) = (problem.what.clone(), problem.remedy.clone());
    let kind = (problem.severity, key.kind.clone(), problem.field.clone(), what, remedy);
    Some((kind, key.name.clone()))
}

fn summary(mut problem: Problem, names: &[String], more: usize) -> Problem {
    if more == 0 {
        return problem;
    }
    let names = names.join(", ");
    let rest = if more > NAMES { ", …" } else { "" };
    problem.what.push_str(&format!(" (and {more} more: {names}{rest})"));
    if problem.object.as_ref().is_some_and(|key| key.kind == "Service") {
        problem.remedy.push_str("; `thalweg get services -o wide` shows which have problems");
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::{Key, Origin};

    fn problem(kind: &str, name: &str, what: &str) -> Problem {
        Problem {
            severity: Severity::Error,
            origin: Origin::default(),
            object: Some(Key { kind: kind.into(), name: name.into() }),
            field: None,
            what: what.into(),
            remedy: "use TCP".into(),
        }
    }

    fn told(problems: Vec<Problem>) -> Vec<String> {
        let line = |problem: Problem| format!("{}: {}", problem.object.unwrap(), problem.what);
        fold(problems).into_iter().map(line).collect()
    }

    #[test]
    fn what_many_share_is_told_once_in_the_place_of_the_first() {
        let sctp = |name: &str| problem("Service", name, "SCTP");
        let mut problems = vec![sctp("a/a"), problem("Route", "lan", "gone"), sctp("a/b")];
        problems.push(problem("Service", "a/b", "taken"));
        problems.push(problem("Route", "wan", "gone"));
        assert_eq!(
            told(problems.clone()),
            [
                "Service/a/a: SCTP (and 1 more: a/b)",
                "Route/lan: gone",
                "Service/a/b: taken",
                "Route/wan: gone",
            ]
        );
        problems.extend((0..40).map(|number| sctp(&format!("b/{number:02}"))));
        problems.push(problem("Pod", "a/a", "SCTP"));
        let told = told(problems);
        assert_eq!(told[0], "Service/a/a: SCTP (and 41 more: a/b, b/00, b/01, …)");
        assert_eq!(told.len(), 5);
    }

    #[test]
    fn warnings_are_not_told_as_errors() {
        let mut warning = problem("Service", "a/b", "SCTP");
        warning.severity = Severity::Warning;
        assert_eq!(fold(vec![problem("Service", "a/a", "SCTP"), warning]).len(), 2);
    }
}
