//! Selectors: expressions over labels, in Calico's grammar.
//!
//! A [`Selector`] is always in the form that its canonical text reads back as: of two that print alike,
//! both are equal. Selectors of Kubernetes (`matchLabels`, `matchExpressions`) are built from the same
//! parts.

mod parse;
mod print;

pub use parse::SelectorError;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The label that tells the namespace of what belongs to one.
pub const NAMESPACE: &str = "projectcalico.org/namespace";

/// What labels are looked up in.
pub trait Labels {
    /// The value of a label, if it is set.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// An expression over labels. Copies are cheap.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selector(Arc<Term>);

/// A part of a selector.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Term {
    /// `all()`
    All,
    /// `global()`: what belongs to no namespace.
    Global,
    /// `has(key)`
    Has(String),
    /// `key == "value"`
    Is(String, String),
    /// `key != "value"`: also where there is no such label.
    IsNot(String, String),
    /// `key contains "text"`
    Contains(String, String),
    /// `key starts with "text"`
    StartsWith(String, String),
    /// `key ends with "text"`
    EndsWith(String, String),
    /// `key in {"a", "b"}`
    In(String, BTreeSet<String>),
    /// `key not in {"a", "b"}`: also where there is no such label.
    NotIn(String, BTreeSet<String>),
    /// `!…`; what is negated is no negation itself.
    Not(Selector),
    /// `… && …`, at least two.
    And(Vec<Selector>),
    /// `… || …`, at least two.
    Or(Vec<Selector>),
    /// Nodes with such labels, by their addresses: none of the endpoints and sets. It stands alone, and no
    /// text reads as it.
    Nodes(Selector),
}

impl Default for Selector {
    fn default() -> Self {
        Self::all()
    }
}

impl From<Term> for Selector {
    fn from(term: Term) -> Self {
        Self(Arc::new(term))
    }
}

impl Selector {
    /// Selects everything.
    pub fn all() -> Self {
        Term::All.into()
    }

    /// Selects what has a label.
    pub fn has(key: impl Into<String>) -> Self {
        Term::Has(key.into()).into()
    }

    /// Selects what has a label with a value.
    pub fn is(key: impl Into<String>, value: impl Into<String>) -> Self {
        Term::Is(key.into(), value.into()).into()
    }

    /// Selects what this one does not.
    pub fn negated(&self) -> Self {
        match &*self.0 {
            Term::Not(inner) => inner.clone(),
            _ => Term::Not(self.clone()).into(),
        }
    }

    /// Selects what all of these do; `all()` adds nothing.
    pub fn and(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts: Vec<Self> = parts.into_iter().filter(|part| !part.is_all()).collect();
        match parts.len() {
            0 => Self::all(),
            1 => parts.remove(0),
            _ => Term::And(parts).into(),
        }
    }

    /// Whether it is `all()`.
    pub fn is_all(&self) -> bool {
        *self.0 == Term::All
    }

    /// Its outermost part.
    pub fn term(&self) -> &Term {
        &self.0
    }

    /// Whether it selects an endpoint or set that has these labels.
    pub fn selects(&self, labels: &impl Labels) -> bool {
        let value = |key: &str| labels.label(key);
        match &*self.0 {
            Term::All => true,
            Term::Global => value(NAMESPACE).is_none(),
            Term::Has(key) => value(key).is_some(),
            Term::Is(key, wanted) => value(key).is_some_and(|is| is == wanted),
            Term::IsNot(key, wanted) => value(key).is_none_or(|is| is != wanted),
            Term::Contains(key, part) => value(key).is_some_and(|is| is.contains(part.as_str())),
            Term::StartsWith(key, part) => {
                value(key).is_some_and(|is| is.starts_with(part.as_str()))
            }
            Term::EndsWith(key, part) => value(key).is_some_and(|is| is.ends_with(part.as_str())),
            Term::In(key, set) => value(key).is_some_and(|is| set.contains(is)),
            Term::NotIn(key, set) => value(key).is_none_or(|is| !set.contains(is)),
            Term::Not(inner) => !inner.selects(labels),
            Term::And(parts) => parts.iter().all(|part| part.selects(labels)),
            Term::Or(parts) => parts.iter().any(|part| part.selects(labels)),
            Term::Nodes(_) => false,
        }
    }

    /// Whether `global()` stands anywhere in it.
    pub fn mentions_global(&self) -> bool {
        match &*self.0 {
            Term::Global => true,
            Term::Not(inner) => inner.mentions_global(),
            Term::And(parts) | Term::Or(parts) => parts.iter().any(Self::mentions_global),
            _ => false,
        }
    }

    /// The same about labels of the namespace (`pcns.`) or the service account (`pcsa.`): each key with a
    /// prefix in front. Where `owner` is the label that tells whose they are, `all()` is whatever has one
    /// and `global()` whatever has none.
    pub fn with_prefix(&self, prefix: &str, owner: Option<&str>) -> Self {
        let key = |key: &String| format!("{prefix}{key}");
        let each = |parts: &[Self]| {
            parts.iter().map(|part| part.with_prefix(prefix, owner)).collect::<Vec<_>>()
        };
        match (&*self.0, owner) {
            (Term::All, Some(owner)) => return Self::has(owner),
            (Term::Global, Some(owner)) => return Self::has(owner).negated(),
            _ => {}
        }
        match &*self.0 {
            Term::All => Self::all(),
            Term::Global => Term::Global.into(),
            Term::Has(k) => Self::has(key(k)),
            Term::Is(k, v) => Self::is(key(k), v),
            Term::IsNot(k, v) => Term::IsNot(key(k), v.clone()).into(),
            Term::Contains(k, v) => Term::Contains(key(k), v.clone()).into(),
            Term::StartsWith(k, v) => Term::StartsWith(key(k), v.clone()).into(),
            Term::EndsWith(k, v) => Term::EndsWith(key(k), v.clone()).into(),
            Term::In(k, set) => Term::In(key(k), set.clone()).into(),
            Term::NotIn(k, set) => Term::NotIn(key(k), set.clone()).into(),
            Term::Not(inner) => inner.with_prefix(prefix, owner).negated(),
            Term::And(parts) => Term::And(each(parts)).into(),
            Term::Or(parts) => Term::Or(each(parts)).into(),
            Term::Nodes(_) => self.clone(),
        }
    }

    /// A label with the values of which everything that is selected must have one; none where the
    /// expression does not say so plainly. Lets candidates be found by an index.
    pub fn required(&self) -> Vec<(&str, Vec<&str>)> {
        match &*self.0 {
            Term::Is(key, value) => vec![(key, vec![value])],
            Term::In(key, set) => vec![(key, set.iter().map(String::as_str).collect())],
            Term::And(parts) => parts.iter().flat_map(Self::required).collect(),
            _ => Vec::new(),
        }
    }
}
