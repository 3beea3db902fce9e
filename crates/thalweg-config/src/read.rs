//! Typed reading of fields: every reader reports what is wrong and lets the others go on.

mod foreign;

use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::{Entry, Node, Scalar, Value, short};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A mapping whose fields are known.
pub(crate) struct Fields<'n, 's, 'p> {
    /// Where the mapping stands.
    pub span: Span,
    path: &'p Path<'p>,
    entries: &'n [Entry<'s>],
}

/// A field that is set.
pub(crate) struct Field<'n, 's, 'p> {
    /// Its value.
    pub node: &'n Node<'s>,
    /// Its path in the object.
    pub path: Path<'p>,
    /// Where its name stands; the value's place for an item of a list.
    pub key_span: Span,
}

impl<'n, 's, 'p> Fields<'n, 's, 'p> {
    /// Opens a mapping and reports fields that are not in `known`.
    pub fn open(
        node: &'n Node<'s>,
        path: &'p Path<'p>,
        known: &[&str],
        report: &mut Report,
    ) -> Option<Self> {
        Self::open_beside(node, path, known, &[], report)
    }

    /// Like [`Fields::open`], but takes `others` without a word and never proposes them.
    pub fn open_beside(
        node: &'n Node<'s>,
        path: &'p Path<'p>,
        known: &[&str],
        others: &[&str],
        report: &mut Report,
    ) -> Option<Self> {
        let fields = Self::any(node, path, report)?;
        let strange = |key: &str| !known.contains(&key) && !others.contains(&key);
        for entry in fields.entries.iter().filter(|entry| strange(&entry.key)) {
            let name = short(&entry.key);
            let remedy = suggest::remedy(&entry.key, known.iter().copied());
            report.error(
                entry.key_span,
                &Path::Field(path, &name),
                format!("unknown field `{name}`"),
                remedy,
            );
        }
        Some(fields)
    }

    /// Opens a mapping whose field names are free.
    pub fn any(node: &'n Node<'s>, path: &'p Path<'p>, report: &mut Report) -> Option<Self> {
        if let Value::Map(map) = &node.value {
            return Some(Self { span: node.span, path, entries: &map.members });
        }
        let what = format!("expected a mapping, found {}", node.describe());
        report.error(node.span, path, what, "write fields as `name: value`, indented below");
        None
    }

    /// A mapping without fields, for a `spec` that was left out.
    pub fn none(span: Span, path: &'p Path<'p>) -> Self {
        Self { span, path, entries: &[] }
    }

    /// The field `name`, if it is set. One that is named but has no value is reported.
    pub fn get(&self, name: &'p str, report: &mut Report) -> Option<Field<'n, 's, 'p>> {
        let field = self.peek(name)?;
        if field.node.is_null() {
            let what = format!("`{name}` has no value");
            report.error(field.key_span, &field.path, what, "give it one or remove the field");
            return None;
        }
        Some(field)
    }

    /// The field `name`, whether it has a value or not.
    pub fn peek(&self, name: &'p str) -> Option<Field<'n, 's, 'p>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        let path = Path::Field(self.path, name);
        Some(Field { node: &entry.value, path, key_span: entry.key_span })
    }

    /// The field `name`; reported when it is not set. `remedy` says what it is for.
    pub fn need(
        &self,
        name: &'p str,
        remedy: &str,
        report: &mut Report,
    ) -> Option<Field<'n, 's, 'p>> {
        if self.peek(name).is_none() {
            self.missing(name, remedy, report);
        }
        self.get(name, report)
    }

    /// Reports that `name` is missing.
    pub fn missing(&self, name: &str, remedy: &str, report: &mut Report) {
        let what = format!("`{name}` is missing");
        let path = Path::Field(self.path, name);
        report.error(Span { end: self.span.start, ..self.span }, &path, what, remedy);
    }

    /// Whether the field is named.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name)
    }

    /// All fields in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Field<'n, 's, '_>> {
        self.entries.iter().map(|entry| Field {
            node: &entry.value,
            path: Path::Field(self.path, &entry.key),
            key_span: entry.key_span,
        })
    }

    /// Where the mapping stands in the object.
    pub fn path(&self) -> &'p Path<'p> {
        self.path
    }
}

impl<'n, 's, 'p> Field<'n, 's, 'p> {
    /// The name of the field.
    pub fn name(&self) -> &str {
        match self.path {
            Path::Field(_, name) => name,
            _ => "",
        }
    }

    /// Reports something about the value.
    pub fn error(&self, what: impl Into<String>, remedy: impl Into<String>, report: &mut Report) {
        report.error(self.node.span, &self.path, what, remedy);
    }

    /// Reports something doubtful about the value.
    pub fn warning(&self, what: impl Into<String>, remedy: impl Into<String>, report: &mut Report) {
        report.warning(self.node.span, &self.path, what, remedy);
    }

    fn wrong(&self, expected: &str, remedy: impl Into<String>, report: &mut Report) {
        let what = format!("expected {expected}, found {}", self.node.describe());
        self.error(what, remedy, report);
    }

    /// A scalar as it is written, whatever its type.
    pub fn word(&self, expected: &str, remedy: &str, report: &mut Report) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.wrong(expected, remedy, report);
                None
            }
        }
    }

    /// A text; numbers and booleans must be in quotes to be one, as in Kubernetes.
    pub fn text(&self, report: &mut Report) -> Option<&'n str> {
        match (&self.node.value, self.node.scalar()) {
            (Value::Scalar { text, .. }, Some(Scalar::Text)) => Some(text),
            (Value::Scalar { text, .. }, Some(_)) => {
                self.wrong("a text", format!("put it in quotes: \"{}\"", short(text)), report);
                None
            }
            _ => {
                self.wrong("a text", "write one word or a text in quotes", report);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, report: &mut Report) -> Option<bool> {
        if let Some(Scalar::Bool(value)) = self.node.scalar() {
            return Some(value);
        }
        self.wrong("true or false", "write `true` or `false`, without quotes", report);
        None
    }

    /// A whole number within `range`; decimal, or hexadecimal with `0x`.
    pub fn number<T>(&self, range: RangeInclusive<T>, report: &mut Report) -> Option<T>
    where
        T: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        let (min, max) = (*range.start(), *range.end());
        let remedy = format!("write a whole number from {min} to {max}");
        let text = match (&self.node.value, self.node.scalar()) {
            (Value::Scalar { text, .. }, Some(Scalar::Number)) => text.as_ref(),
            (Value::Scalar { text, plain: false }, _) if text.parse::<u64>().is_ok() => {
                self.wrong("a whole number", "remove the quotes", report);
                return None;
            }
            _ => {
                self.wrong("a whole number", remedy, report);
                return None;
            }
        };
        if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) {
            let plain = text.trim_start_matches('0');
            let what = format!("{} may be meant as an octal number", short(text));
            self.error(
                what,
                format!("write {}", if plain.is_empty() { "0" } else { plain }),
                report,
            );
            return None;
        }
        let value = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse::<u64>().ok(),
        };
        match value.and_then(|value| T::try_from(value).ok()).filter(|value| range.contains(value))
        {
            Some(value) => Some(value),
            None => {
                let what = match text.contains(['.', 'e', 'E']) && !text.starts_with("0x") {
                    true => format!("{} is not a whole number", short(text)),
                    false => format!("{} is out of range", short(text)),
                };
                self.error(what, remedy, report);
                None
            }
        }
    }

    /// A time in whole seconds: `120s`, `2m`, `1h`, or a number of seconds.
    pub fn seconds(&self, range: RangeInclusive<u64>, report: &mut Report) -> Option<Duration> {
        let (min, max) = (range.start(), range.end());
        let remedy = format!("write seconds from {min}s to {max}s, or minutes as in 2m");
        let text = self.word("a time", &remedy, report)?;
        let units = [("s", 1), ("m", 60), ("h", 3600)];
        let unit = units.iter().find_map(|(unit, s)| Some((text.strip_suffix(unit)?, *s)));
        let (digits, scale) = unit.unwrap_or((text, 1));
        let digits =
            Some(digits).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
        let seconds = digits.and_then(|d| d.parse::<u64>().ok()).and_then(|n| n.checked_mul(scale));
        match seconds {
            Some(seconds) if range.contains(&seconds) => return Some(Duration::from_secs(seconds)),
            Some(_) => self.error(format!("{} is out of range", short(text)), remedy, report),
            None => self.error(format!("`{}` is no time in seconds", short(text)), remedy, report),
        }
        None
    }

    /// A time in whole milliseconds: `300ms`, `2s`, `1m`. A number needs its unit.
    pub fn time(&self, (min, max): (u64, u64), report: &mut Report) -> Option<Duration> {
        let words = |ms: u64| {
            if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
        };
        let remedy =
            format!("write a time from {} to {}, as in 300ms or 2s", words(min), words(max));
        let text = self.word("a time", &remedy, report)?;
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
        let split = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)));
        let digits = |d: &str| {
            (!d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
                .then(|| d.parse::<u64>().unwrap_or(u64::MAX))
        };
        let count = split.and_then(|(d, ms)| Some(digits(d)?.saturating_mul(ms)));
        match count.or((text == "0").then_some(0)) {
            Some(ms) if (min..=max).contains(&ms) => return Some(Duration::from_millis(ms)),
            Some(_) => self.error(format!("{} is out of range", short(text)), remedy, report),
            None => self.error(format!("`{}` is no time with a unit", short(text)), remedy, report),
        }
        None
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], report: &mut Report) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let known = || suggest::list(words());
        let text = match &self.node.value {
            Value::Scalar { text, .. } => text.as_ref(),
            _ => {
                self.wrong(&format!("one of {}", known()), "write one of them", report);
                return None;
            }
        };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let off = ["off", "false", "no", "disabled"].iter().any(|no| no.eq_ignore_ascii_case(text));
        let remedy = match off && words().any(|word| word == "None") {
            true => format!("write `None` to switch it off; known here: {}", known()),
            false => suggest::remedy(text, words()),
        };
        self.error(format!("unknown value `{}`", short(text)), remedy, report);
        None
    }

    /// A list with at least one item.
    pub fn list(&self, report: &mut Report) -> Option<&'n [Node<'s>]> {
        match &self.node.value {
            Value::List(list) if list.members.is_empty() => {
                self.error(
                    format!("`{}` is an empty list", self.name()),
                    "list at least one item or remove the field",
                    report,
                );
                None
            }
            Value::List(list) => Some(&list.members),
            _ => {
                self.wrong("a list", "write each item on a line of its own: `- item`", report);
                None
            }
        }
    }

    /// The items of a list as fields of their own.
    pub fn items(
        &'p self,
        report: &mut Report,
    ) -> impl Iterator<Item = Field<'n, 's, 'p>> + use<'n, 's, 'p> {
        let items = self.list(report).unwrap_or_default();
        items.iter().enumerate().map(|(index, node)| Field {
            node,
            path: Path::Item(&self.path, index),
            key_span: node.span,
        })
    }
}
