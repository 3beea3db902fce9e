//! A YAML document as a tree in which every value knows its place.
//!
//! Documents come one at a time, so a file of many costs the memory of one. An alias shares the
//! nodes of its anchor; what it would expand to is counted, so a file that multiplies itself
//! ("billion laughs") is refused before anything walks it.

mod plain;

use crate::report::{Path, Report};
use crate::sources::Span;
use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, StrInput, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The deepest nesting of lists and mappings, aliases included.
pub(crate) const MAX_DEPTH: usize = 64;
/// The most values that all aliases of a file may stand for.
pub(crate) const MAX_EXPANSION: u64 = 1_000_000;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node<'s> {
    /// Where it stands; that of the anchored value for an alias.
    pub span: Span,
    /// What it is.
    pub value: Value<'s>,
}

/// A scalar, a list or a mapping.
#[derive(Clone, Debug)]
pub(crate) enum Value<'s> {
    /// A scalar; `plain` ones, without quotes, may be numbers, booleans or null.
    Scalar {
        /// The text, escapes resolved.
        text: Cow<'s, str>,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A list.
    List(Rc<Group<Node<'s>>>),
    /// A mapping.
    Map(Rc<Group<Entry<'s>>>),
}

/// The members of a list or mapping.
#[derive(Debug)]
pub(crate) struct Group<T> {
    /// In the order of the file.
    pub members: Vec<T>,
    /// Values in it at any depth, itself included, aliases expanded.
    size: u64,
    /// Levels below and including this one.
    depth: usize,
}

/// One field of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'s> {
    /// The name.
    pub key: Cow<'s, str>,
    /// Where the name stands.
    pub key_span: Span,
    /// What it is set to.
    pub value: Node<'s>,
}

/// What a plain scalar means (YAML 1.2 core schema).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scalar {
    /// Nothing at all, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole or broken number.
    Number,
    /// Anything else, and whatever is quoted.
    Text,
}

impl<'s> Node<'s> {
    /// What the scalar means; none for lists and mappings.
    pub fn scalar(&self) -> Option<Scalar> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(meaning(text)),
            Value::Scalar { .. } => Some(Scalar::Text),
            _ => None,
        }
    }

    /// Whether nothing is there.
    pub fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    /// The value in words, for messages.
    pub fn describe(&self) -> String {
        match (&self.value, self.scalar()) {
            (Value::List(_), _) => "a list".into(),
            (Value::Map(_), _) => "a mapping".into(),
            (_, Some(Scalar::Null)) => "nothing".into(),
            (Value::Scalar { text, .. }, Some(Scalar::Number)) => {
                format!("the number {}", short(text))
            }
            (Value::Scalar { text, .. }, _) => format!("`{}`", short(text)),
        }
    }

    fn size(&self) -> u64 {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(group) => group.size,
            Value::Map(group) => group.size,
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(group) => group.depth,
            Value::Map(group) => group.depth,
        }
    }
}

/// Whether a plain scalar is a text, and neither number, boolean nor null.
pub(crate) fn is_text(text: &str) -> bool {
    meaning(text) == Scalar::Text
}

fn meaning(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ if is_number(text) => Scalar::Number,
        _ => Scalar::Text,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    match digits.as_bytes() {
        [b'0', b'x', rest @ ..] => !rest.is_empty() && rest.iter().all(u8::is_ascii_hexdigit),
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => digits.parse::<f64>().is_ok(),
        _ => false,
    }
}

/// `text` fit for a message: cut, without control characters.
pub(crate) fn short(text: &str) -> String {
    if text.len() <= 60 && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\') {
        // Nothing of it has to be written otherwise.
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        cut.push('…');
    }
    cut.replace("\\'", "'").replace("\\\"", "\"")
}

/// Calls `each` for every document of `file` that has content; items of a list may come before it, and
/// are not in it then. What is not YAML is reported, and
/// reading goes on with the next document. Returns whether all of the file could be read.
pub(crate) fn documents<'s>(
    report: &mut Report<'s>,
    file: u32,
    mut each: impl FnMut(&Node<'s>, &mut Report<'s>),
) -> bool {
    let text: &'s str = report.sources.text(file);
    let (mut from, mut given) = (0, 0);
    while let Some((node, next)) = plain::document(file, text, from, &mut |item| {
        given += 1;
        each(item, report);
    }) {
        given = 0;
        if let Some(node) = node {
            each(&node, report);
        }
        if next >= text.len() {
            return true;
        }
        from = next;
    }
    parsed(report, file, from, |node, report| match std::mem::take(&mut given) {
        0 => each(node, report),
        given => each(&without_items(node, given), report),
    })
}

/// A list without the first of its items, which were read already.
fn without_items<'s>(list: &Node<'s>, given: usize) -> Node<'s> {
    let Value::Map(map) = &list.value else { return list.clone() };
    let mut members = map.members.clone();
    for entry in members.iter_mut().filter(|entry| entry.key == "items") {
        if let Value::List(items) = &entry.value.value {
            let rest = items.members.iter().skip(given).cloned().collect();
            let group = Group { members: rest, size: items.size, depth: items.depth };
            entry.value.value = Value::List(Rc::new(group));
        }
    }
    let group = Group { members, size: map.size, depth: map.depth };
    Node { span: list.span, value: Value::Map(Rc::new(group)) }
}

/// As [`documents`], by the parser and for what stands from `from` on.
fn parsed<'s>(
    report: &mut Report<'s>,
    file: u32,
    from: usize,
    mut each: impl FnMut(&Node<'s>, &mut Report<'s>),
) -> bool {
    let text = &report.sources.text(file)[from..];
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut loader = Loader::new(file, text, from as u32, options);
    loop {
        match loader.document(report) {
            Ok(Some(node)) => {
                if !node.is_null() {
                    each(&node, report);
                }
            }
            Ok(None) => return loader.whole,
            Err(error) => {
                loader.complain(&error, report);
                if !loader.parser.proceed_next_document().unwrap_or(false) {
                    return false;
                }
            }
        }
    }
}

/// A list or mapping that is still open.
struct Open<'s> {
    span: Span,
    anchor: usize,
    size: u64,
    depth: usize,
    members: Members<'s>,
}

enum Members<'s> {
    List(Vec<Node<'s>>),
    /// The entries and the key that waits for its value.
    Map(Vec<Entry<'s>>, Option<(Cow<'s, str>, Span)>),
}

struct Loader<'s> {
    file: u32,
    text: &'s str,
    /// Where in the file the text begins.
    from: u32,
    parser: Parser<'s, StrInput<'s>>,
    open: Vec<Open<'s>>,
    /// Anchored values; none while the value is still open.
    anchors: HashMap<usize, Option<Node<'s>>>,
    /// Values that aliases stood for so far.
    expanded: u64,
    /// No fault in this document so far.
    ok: bool,
    /// No fault in this file so far.
    whole: bool,
}

impl<'s> Loader<'s> {
    fn new(file: u32, text: &'s str, from: u32, options: Options) -> Self {
        let parser = Parser::new_from_str_with_options(text, options);
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self { file, text, from, parser, open, anchors, expanded: 0, ok: true, whole: true }
    }

    /// The next document that has no fault in its form; faulty ones are reported and left out.
    fn document(&mut self, report: &mut Report<'s>) -> Result<Option<Node<'s>>, ScanError> {
        self.open.clear();
        self.anchors.clear();
        self.ok = true;
        let mut root = None;
        while let Some(next) = self.parser.next_event() {
            let (event, span) = next?;
            let span = self.span(&span);
            if matches!(event, Event::DocumentEnd) {
                match root.take().filter(|_| self.ok) {
                    Some(node) => return Ok(Some(node)),
                    None => self.ok = true,
                }
            } else if let Some(node) = self.event(event, span, report) {
                root = Some(node);
            }
        }
        Ok(None)
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let byte = |mark: &granit_parser::Marker| {
            self.from + mark.byte_offset().unwrap_or_default() as u32
        };
        Span { file: self.file, start: byte(&span.start), end: byte(&span.end) }
    }

    /// Takes one event; returns the root when it is complete.
    fn event(&mut self, event: Event<'s>, span: Span, report: &mut Report<'s>) -> Option<Node<'s>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = self.is_text(tag.as_deref(), span, report);
                let plain = style == ScalarStyle::Plain && !text_tag;
                let node = Node { span, value: Value::Scalar { text, plain } };
                self.complete(node, anchor, report)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), span, report);
                self.start(span, anchor, Members::List(Vec::new()));
                None
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), span, report);
                self.start(span, anchor, Members::Map(Vec::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let mut open = self.open.pop()?;
                open.span.end = span.start.max(open.span.start);
                let (anchor, node) = (open.anchor, self.close(open, report));
                self.complete(node, anchor, report)
            }
            Event::Alias(id) => {
                let node = self.alias(id, span, report);
                self.complete(node, 0, report)
            }
            Event::UnresolvedAlias(name) => {
                let what = format!("the alias `*{}` has no anchor before it", short(&name));
                self.fault(
                    span,
                    what,
                    "write `&` and the name in front of the value it repeats",
                    report,
                );
                self.complete(nothing(span), 0, report)
            }
            _ => None,
        }
    }

    /// Whether a tag says that the value is a text. Tags of other applications are refused.
    fn is_text(&mut self, tag: Option<&Tag>, span: Span, report: &mut Report<'s>) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_custom() && tag.original() != "!" {
            let what = format!("the tag `{}` means nothing here", short(&tag.original()));
            self.fault(span, what, "remove the tag", report);
        }
        tag.is_yaml_core_schema_tag("str") || tag.original() == "!"
    }

    fn start(&mut self, span: Span, anchor: usize, members: Members<'s>) {
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { span, anchor, size: 1, depth: 1, members });
    }

    /// Puts a complete value where it belongs; returns it when it is the document.
    fn complete(
        &mut self,
        node: Node<'s>,
        anchor: usize,
        report: &mut Report<'s>,
    ) -> Option<Node<'s>> {
        if anchor > 0 {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        let Some(open) = self.open.last_mut() else { return Some(node) };
        open.size = open.size.saturating_add(node.size());
        open.depth = open.depth.max(node.depth() + 1);
        match &mut open.members {
            Members::List(items) => items.push(node),
            Members::Map(entries, key) => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let span = node.span;
                    match node.value {
                        Value::Scalar { text, .. } => *key = Some((text, span)),
                        _ => {
                            *key = Some((Cow::Borrowed(""), span));
                            let what =
                                format!("a field name must be a word, not {}", node.describe());
                            self.fault(span, what, "write `name: value`", report);
                        }
                    }
                }
            },
        }
        None
    }

    fn close(&mut self, open: Open<'s>, report: &mut Report<'s>) -> Node<'s> {
        let Open { span, size, depth, members, .. } = open;
        let value = match members {
            Members::List(members) => Value::List(Rc::new(Group { members, size, depth })),
            Members::Map(entries, _) => {
                let members = self.merged(entries, report);
                self.check_unique(&members, report);
                Value::Map(Rc::new(Group { members, size, depth }))
            }
        };
        Node { span, value }
    }

    /// Resolves `<<: *defaults`: fields that the mapping itself does not set.
    fn merged(&mut self, entries: Vec<Entry<'s>>, report: &mut Report<'s>) -> Vec<Entry<'s>> {
        if !entries.iter().any(|entry| entry.key == "<<") {
            return entries;
        }
        let (merges, mut own): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.key == "<<");
        let mut set: HashSet<Cow<'s, str>> = own.iter().map(|entry| entry.key.clone()).collect();
        for merge in &merges {
            let sources = match &merge.value.value {
                Value::List(list) => list.members.as_slice(),
                _ => std::slice::from_ref(&merge.value),
            };
            for source in sources {
                let Value::Map(map) = &source.value else {
                    let what = format!("`<<` merges mappings, this is {}", source.describe());
                    self.fault(
                        merge.key_span,
                        what,
                        "write `<<: *name` of an anchored mapping",
                        report,
                    );
                    continue;
                };
                let fresh = map.members.iter().filter(|entry| set.insert(entry.key.clone()));
                own.extend(fresh.cloned());
            }
        }
        own
    }

    fn check_unique(&mut self, entries: &[Entry<'s>], report: &mut Report<'s>) {
        let mut first: HashMap<&str, Span> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            let before = if entries.len() <= 16 {
                entries[..index]
                    .iter()
                    .find(|other| other.key == entry.key)
                    .map(|other| other.key_span)
            } else {
                first.insert(&entry.key, entry.key_span)
            };
            if let Some(before) = before {
                let origin = report.origin(before);
                let what =
                    format!("the field `{}` stands twice, first at {origin}", short(&entry.key));
                self.fault(entry.key_span, what, "remove one of them", report);
            }
        }
    }

    /// What an alias stands for.
    fn alias(&mut self, id: usize, span: Span, report: &mut Report<'s>) -> Node<'s> {
        let Some(Some(node)) = self.anchors.get(&id) else {
            self.fault(
                span,
                "the alias stands inside the value it repeats",
                "remove the alias",
                report,
            );
            return nothing(span);
        };
        let node = node.clone();
        self.expanded = self.expanded.saturating_add(node.size());
        if self.expanded > MAX_EXPANSION {
            let what =
                format!("the aliases of this file stand for more than {MAX_EXPANSION} values");
            self.fault(span, what, "write the values out, or in several files", report);
            return nothing(span);
        }
        if self.open.len() + node.depth() > MAX_DEPTH {
            let what = format!("with this alias, values are nested more than {MAX_DEPTH} deep");
            self.fault(span, what, "nest less", report);
            return nothing(span);
        }
        node
    }

    fn fault(&mut self, at: Span, what: impl Into<String>, remedy: &str, report: &mut Report<'s>) {
        (self.ok, self.whole) = (false, false);
        report.object = None;
        report.error(at, &Path::Root, what, remedy);
    }

    /// Reports what the parser found wrong.
    fn complain(&mut self, error: &ScanError, report: &mut Report<'s>) {
        let start = error.marker().byte_offset().unwrap_or_default().min(self.text.len()) as u32;
        let start = self.from + start;
        let at = Span { file: self.file, start, end: start };
        let remedy = remedy(error.kind());
        self.fault(
            at,
            format!("this is not YAML: {error_text}", error_text = error.info()),
            remedy,
            report,
        );
    }
}

fn nothing<'s>(span: Span) -> Node<'s> {
    Node { span, value: Value::Scalar { text: Cow::Borrowed(""), plain: true } }
}

/// The way out of the most frequent slips.
fn remedy(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "indent with spaces instead of tabs",
        ErrorKind::RecursionLimitExceeded => "nest less: 64 levels are the limit",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::MisplacedFlowCollectionEnd
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping => "check commas, brackets and braces",
        ErrorKind::UnclosedQuotedScalar => "close the quotes",
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "put a value that holds a colon in quotes, and each field on a line of its own"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put the value in quotes",
        _ => "compare the indentation with the lines around it; `name: value` needs the space",
    }
}
