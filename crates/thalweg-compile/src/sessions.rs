//! BFD sessions: their numbers, and whether the way to their neighbor works.

use crate::compiler::Compiler;
use crate::objects::Mention;
use crate::pool::Pool;
use crate::target::Fact;
use std::collections::BTreeMap;
use thalweg_model::intent::{self, BfdSession};
use thalweg_model::{Key, Problem, Severity, Update};

/// Numbers of sessions, from 1.
#[derive(Debug)]
pub struct Sessions {
    numbers: BTreeMap<String, u32>,
    pool: Pool,
    limit: u32,
    /// Where states of sessions begin: behind those of links.
    first: u32,
}

/// Where a session stands in the data plane and on the host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionPlace {
    /// Name of its object.
    pub name: String,
    /// Index of its state.
    pub state: u32,
    /// Index of its interface, if there is one.
    pub link: Option<u32>,
    /// Whether the way to its neighbor works, as last told.
    pub up: bool,
}

impl Sessions {
    /// No sessions; as many as the limits allow.
    pub fn new(limits: &intent::Limits) -> Self {
        // State 0 of the sessions is nobody's, so that number 0 can mean none.
        let limit = limits.sessions.saturating_sub(1);
        Self { numbers: BTreeMap::new(), pool: Pool::new(1, limit), limit, first: limits.links }
    }

    /// The number of a session.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Index of the state of a session, by number.
    pub fn state(&self, number: u32) -> u32 {
        self.first + number
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> Option<&str> {
        self.numbers.iter().find(|(_, n)| **n == number).map(|(name, _)| name.as_str())
    }

    /// The numbers that plans take from.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Gives numbers to new sessions and takes those of gone ones back. Returns the names whose
    /// number is another now.
    fn refresh(&mut self, wanted: &BTreeMap<String, BfdSession>) -> Vec<String> {
        let gone = |name: &String| !wanted.contains_key(name);
        let mut changed: Vec<String> = self.numbers.keys().filter(|n| gone(n)).cloned().collect();
        for name in &changed {
            if let Some(number) = self.numbers.remove(name) {
                self.pool.give(number);
            }
        }
        for name in wanted.keys() {
            if !self.numbers.contains_key(name)
                && let Some(number) = self.pool.take()
            {
                self.numbers.insert(name.clone(), number);
                changed.push(name.clone());
            }
        }
        changed
    }
}

impl Compiler {
    /// Numbers sessions anew after a change of intent.
    pub(crate) fn renumber_sessions(&mut self) {
        for name in self.sessions.refresh(&self.intent.sessions) {
            self.index.mark(Mention::Session(&name), &mut self.pending);
            if !self.intent.sessions.contains_key(&name) {
                self.host.sessions.remove(&name);
            }
        }
    }

    /// Notes whether the way to a session's neighbor works.
    pub(crate) fn set_session(&mut self, name: String, up: bool) {
        let number = self.sessions.number(&name);
        if self.host.apply(Update::Session(name, up))
            && let Some(number) = number
        {
            self.targets.mark_fact(Fact::Session(number));
        }
    }

    /// All sessions that have a number.
    pub fn session_places(&self) -> impl Iterator<Item = SessionPlace> {
        self.sessions.numbers.iter().map(|(name, number)| SessionPlace {
            name: name.clone(),
            state: self.sessions.state(*number),
            link: self.intent.sessions.get(name).and_then(|s| self.names.get(&s.link)).copied(),
            up: self.host.sessions.get(name).copied().unwrap_or_default(),
        })
    }

    /// Sessions on interfaces that do not exist, or beyond the limit.
    pub(crate) fn session_problems(&self) -> Vec<Problem> {
        let problem = |name: &str, severity, field: Option<&str>, what, remedy: &str| Problem {
            severity,
            origin: self.intent.origin("BfdSession", name),
            object: Some(Key { kind: "BfdSession".into(), name: name.into() }),
            field: field.map(Into::into),
            what,
            remedy: remedy.into(),
        };
        let mut problems = Vec::new();
        for (name, session) in &self.intent.sessions {
            if !self.names.contains_key(&session.link) {
                let what = format!("there is no interface {} on this host (yet)", session.link);
                let remedy = "correct the name, or create the interface";
                let field = Some("spec.link");
                problems.push(problem(name, Severity::Warning, field, what, remedy));
            }
            if self.sessions.number(name).is_none() {
                let what = format!("there are more than {} sessions", self.sessions.limit);
                let remedy =
                    "raise spec.limits.sessions of the Router object and restart the agent";
                problems.push(problem(name, Severity::Error, None, what, remedy));
            }
        }
        problems
    }
}
