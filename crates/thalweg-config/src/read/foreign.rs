//! Reading as an API server of Kubernetes does: unknown fields are told and ignored, null is nothing,
//! and lists may be empty.

use super::{Field, Fields};
use crate::report::{Path, Report};
use crate::suggest;
use crate::tree::{Entry, Node, Value, short};

impl<'n, 's, 'p> Fields<'n, 's, 'p> {
    /// Like [`Fields::open`], but a field that is not in `known` gets a warning.
    pub fn open_foreign(
        node: &'n Node<'s>,
        path: &'p Path<'p>,
        known: &[&str],
        report: &mut Report,
    ) -> Option<Self> {
        let fields = Self::any(node, path, report)?;
        let strange = |entry: &&Entry| !known.contains(&entry.key.as_ref());
        for entry in fields.entries.iter().filter(strange) {
            let name = short(&entry.key);
            let remedy = suggest::remedy(&entry.key, known.iter().copied());
            let what = format!("unknown field `{name}`, which is ignored");
            report.warning(entry.key_span, &Path::Field(path, &name), what, remedy);
        }
        Some(fields)
    }

    /// A mapping that is known to be one; none for anything else.
    pub fn of(node: &'n Node<'s>, path: &'p Path<'p>) -> Option<Self> {
        let Value::Map(map) = &node.value else { return None };
        Some(Self { span: node.span, path, entries: &map.members })
    }

    /// The value of the field `name`, whether there is one or not.
    pub fn peek_any(&self, name: &str) -> Option<&'n Node<'s>> {
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value)
    }

    /// The field `name`, if it has a value.
    pub fn given(&self, name: &'p str) -> Option<Field<'n, 's, 'p>> {
        self.peek(name).filter(|field| !field.node.is_null())
    }

    /// The field `name`; reported when it has no value. `remedy` says what it is for.
    pub fn required(
        &self,
        name: &'p str,
        remedy: &str,
        report: &mut Report,
    ) -> Option<Field<'n, 's, 'p>> {
        let field = self.given(name);
        if field.is_none() {
            self.missing(name, remedy, report);
        }
        field
    }

    /// A text that is set and not empty.
    pub fn text_of(&self, name: &'p str, report: &mut Report) -> Option<&'n str> {
        self.given(name)?.text(report).filter(|text| !text.is_empty())
    }

    /// `true` or `false`, if it is set.
    pub fn flag_of(&self, name: &'p str, report: &mut Report) -> Option<bool> {
        self.given(name)?.flag(report)
    }

    /// One of several words, if it is set and not empty.
    pub fn choice_of<T: Copy>(
        &self,
        name: &'p str,
        choices: &[(&str, T)],
        report: &mut Report,
    ) -> Option<T> {
        self.given(name).filter(|field| !field.is_empty_text())?.choice(choices, report)
    }
}

impl<'n, 's, 'p> Field<'n, 's, 'p> {
    /// Whether it is the empty text, which is as good as nothing for the API.
    pub fn is_empty_text(&self) -> bool {
        matches!(&self.node.value, Value::Scalar { text, .. } if text.is_empty())
    }

    /// The items of a list that may be empty.
    pub fn members(
        &'p self,
        report: &mut Report,
    ) -> impl Iterator<Item = Field<'n, 's, 'p>> + use<'n, 's, 'p> {
        let empty = matches!(&self.node.value, Value::List(list) if list.members.is_empty());
        let items = if empty { &[] } else { self.list(report).unwrap_or_default() };
        items.iter().enumerate().map(|(index, node)| Field {
            node,
            path: Path::Item(&self.path, index),
            key_span: node.span,
        })
    }
}
