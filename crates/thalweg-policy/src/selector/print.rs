//! The canonical text of a selector: what it reads back as is equal to it.

use super::{Selector, Term};
use std::fmt;

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compare = |f: &mut fmt::Formatter<'_>, key: &str, operator: &str, value: &str| {
            write!(f, "{key} {operator} {}", Quoted(value))
        };
        match self.term() {
            Term::All => f.write_str("all()"),
            Term::Global => f.write_str("global()"),
            Term::Has(key) => write!(f, "has({key})"),
            Term::Is(key, value) => compare(f, key, "==", value),
            Term::IsNot(key, value) => compare(f, key, "!=", value),
            Term::Contains(key, value) => compare(f, key, "contains", value),
            Term::StartsWith(key, value) => compare(f, key, "starts with", value),
            Term::EndsWith(key, value) => compare(f, key, "ends with", value),
            Term::In(key, set) => {
                write!(f, "{key} in ")?;
                values(f, set.iter())
            }
            Term::NotIn(key, set) => {
                write!(f, "{key} not in ")?;
                values(f, set.iter())
            }
            Term::Not(inner) => write!(f, "!{inner}"),
            Term::And(parts) => joined(f, parts, " && "),
            Term::Or(parts) => joined(f, parts, " || "),
            Term::Nodes(of) => write!(f, "nodes({of})"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Selector], between: &str) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at == 0 { "(" } else { between })?;
        write!(f, "{part}")?;
    }
    f.write_str(")")
}

fn values<'a>(f: &mut fmt::Formatter<'_>, set: impl Iterator<Item = &'a String>) -> fmt::Result {
    f.write_str("{")?;
    for (at, value) in set.enumerate() {
        write!(f, "{}{}", if at == 0 { "" } else { ", " }, Quoted(value))?;
    }
    f.write_str("}")
}

/// A value in quotes that it does not hold: the grammar has no escapes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}
