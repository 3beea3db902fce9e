//! What would change between two compiled states, in words.

use crate::compiler::Compiler;
use crate::view::RouteState;
use std::collections::BTreeMap;
use std::fmt;

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// What it is about: `route default 10.0.0.0/8`.
    pub what: String,
    /// In force before.
    pub before: Option<String>,
    /// In force after.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {what} {after}"),
            (Some(before), None) => write!(f, "- {what} {before}"),
            (Some(before), Some(after)) => write!(f, "~ {what} {before} -> {after}"),
            (None, None) => write!(f, "= {what}"),
        }
    }
}

/// The differences between two compiled states, sorted.
pub fn diff(old: &Compiler, new: &Compiler) -> Vec<Difference> {
    let (mut before, after) = (old.digest(), new.digest());
    let mut differences = Vec::new();
    for (what, after) in after {
        let before = before.remove(&what);
        if before.as_ref() != Some(&after) {
            differences.push(Difference { what, before, after: Some(after) });
        }
    }
    let gone = before.into_iter().map(|(what, before)| Difference {
        what,
        before: Some(before),
        after: None,
    });
    differences.extend(gone);
    differences.sort_by(|a, b| a.what.cmp(&b.what));
    differences
}

impl Compiler {
    /// A compiler for another intent on the same host, for `diff`.
    pub fn what_if(&self, intent: thalweg_model::Intent) -> Self {
        let mut other = Self::new(self.limits.clone());
        other.set_seed(self.seed);
        other.load_host(self.host());
        other.set_intent(intent);
        other.plan();
        other
    }

    /// Everything in force, in words, without numbers that mean nothing to people.
    fn digest(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for link in self.links().into_iter().filter(|link| link.ours) {
            let flags = link.row.map_or(0, |row| row.flags);
            let words = format!("vrf {} mtu {} flags {flags:#x}", link.vrf, link.mtu);
            all.insert(format!("link {}", link.name), words);
        }
        for vrf in self.vrfs() {
            let table = vrf.table.map_or("none".into(), |table| table.to_string());
            all.insert(format!("vrf {}", vrf.name), format!("table {table}"));
        }
        for route in self.routes(None) {
            if route.state == RouteState::InForce {
                all.insert(format!("route {} {}", route.vrf, route.prefix), route.action);
            }
        }
        for label in self.labels().into_iter().filter(|label| label.word.is_some()) {
            all.insert(format!("label {}", label.label), label.action);
        }
        all
    }
}
