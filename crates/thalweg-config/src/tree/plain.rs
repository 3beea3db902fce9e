//! A fast way through the YAML that `kubectl` prints: lines of `name: value` and `- item`, indented.
//!
//! It knows little of YAML and leaves a document with anything else in it to the parser: tags, anchors,
//! flow, escapes, values over several lines, comments behind values, letters beyond ASCII, and whatever
//! is wrong. What it does take, it takes as the parser does, which the tests compare.

use super::{Entry, Group, MAX_DEPTH, Node, Value};
use crate::sources::Span;
use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

/// Longer names are left to the parser.
const MAX_KEY: usize = 512;
/// Mappings with more fields are searched for doubles by hashing.
const FEW: usize = 48;

/// Reads the document that begins at `from`, and where the next begins; none leaves it to the parser.
/// An empty document has no node.
///
/// The items of a `kind: List` go to `each`, one at a time, and are not in the document: a tree of all
/// would be as large as the cache is not. Some may be gone when the parser has to read the document.
pub(super) fn document<'s>(
    file: u32,
    text: &'s str,
    from: usize,
    each: &mut dyn FnMut(&Node<'s>),
) -> Option<(Option<Node<'s>>, usize)> {
    let each = is_list(&text[from..]).then_some(each);
    let entries = Vec::new();
    let mut scanner =
        Scanner { file, text, at: from, indent: 0, end: false, entries, each, items: false };
    scanner.settle(from)?;
    if scanner.is_marker() {
        scanner.next_line()?;
    }
    if scanner.end || scanner.is_marker() {
        return Some((None, scanner.at));
    }
    let node = scanner.block(0)?;
    (scanner.end || scanner.is_marker()).then_some((Some(node), scanner.at))
}

/// Whether the document at the beginning of `text` says in its first column that it is a list.
fn is_list(text: &str) -> bool {
    let end = text.get(1..).and_then(|rest| rest.find("\n---")).map_or(text.len(), |end| end + 2);
    let (text, line) = (&text[..end], "kind: List\n");
    text.starts_with(line) || text.contains("\nkind: List\n") || text.ends_with("\nkind: List")
}

struct Scanner<'s, 'e> {
    file: u32,
    text: &'s str,
    /// First octet of the line at hand behind its indentation, or of an item behind its dash.
    at: usize,
    /// Its column, from 0.
    indent: usize,
    /// Whether the text is over.
    end: bool,
    /// Fields of all mappings that are open.
    entries: Vec<Entry<'s>>,
    /// Who takes the items, if the document is a list.
    each: Option<&'e mut dyn FnMut(&Node<'s>)>,
    /// Whether the list at hand is that of the items.
    items: bool,
}

impl<'s> Scanner<'s, '_> {
    fn octet(&self, at: usize) -> u8 {
        // The end of the text ends its last line.
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    /// Whether the line is `---` alone.
    fn is_marker(&self) -> bool {
        !self.end
            && self.indent == 0
            && self.text[self.at..].starts_with("---")
            && self.blank(self.at + 3).is_some()
    }

    /// Goes to the first line at or behind `from`, the beginning of a line, that is not empty.
    fn settle(&mut self, from: usize) -> Option<()> {
        let mut start = from;
        loop {
            let mut at = start;
            while self.octet(at) == b' ' {
                at += 1;
            }
            (self.at, self.indent) = (at, at - start);
            match self.octet(at) {
                _ if at >= self.text.len() => {
                    (self.end, self.indent) = (true, 0);
                    return Some(());
                }
                b'\n' => start = at + 1,
                b'#' => {
                    while self.octet(at) != b'\n' {
                        printable(self.octet(at)).then_some(())?;
                        at += 1;
                    }
                    start = at + 1;
                }
                _ => return Some(()),
            }
        }
    }

    /// Goes behind the line at hand.
    fn next_line(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let end = rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
        self.settle((self.at + end + 1).min(self.text.len()))
    }

    /// The end of the line, if nothing but spaces stands from `at` to there.
    fn blank(&self, mut at: usize) -> Option<usize> {
        while self.octet(at) == b' ' {
            at += 1;
        }
        (self.octet(at) == b'\n').then_some(at)
    }

    /// A dash and a space.
    fn is_item(&self) -> bool {
        !self.end && self.octet(self.at) == b'-' && self.octet(self.at + 1) == b' '
    }

    /// A list or mapping whose first line is at hand.
    fn block(&mut self, depth: usize) -> Option<Node<'s>> {
        (!self.is_marker()).then_some(())?;
        if self.is_item() { self.list(depth, false) } else { self.map(depth) }
    }

    fn list(&mut self, depth: usize, flush: bool) -> Option<Node<'s>> {
        let (mut start, indent) = (self.at, self.indent);
        let items = std::mem::take(&mut self.items);
        if flush {
            // The parser has a list in the column of its name begin behind the dash.
            start += 1;
            while self.octet(start) == b' ' {
                start += 1;
            }
        }
        let (mut members, mut size, mut deepest) = (Vec::new(), 1u64, 0);
        while self.indent == indent && self.is_item() {
            let mut at = self.at + 1;
            while self.octet(at) == b' ' {
                at += 1;
            }
            let node = if self.key(at).is_some() {
                (self.indent, self.at) = (self.indent + (at - self.at), at);
                self.map(depth + 1)?
            } else {
                let (node, end) = self.scalar(at)?;
                self.settle((end + 1).min(self.text.len()))?;
                node
            };
            if self.indent > indent {
                return None;
            }
            if let Some(each) = self.each.as_mut().filter(|_| items) {
                each(&node);
                continue;
            }
            (size, deepest) = (size + node.size(), deepest.max(node.depth()));
            members.push(node);
        }
        let group = Group { members, size, depth: deepest + 1 };
        Some(Node {
            span: self.span(start, self.at.max(start)),
            value: Value::List(Rc::new(group)),
        })
    }

    fn map(&mut self, depth: usize) -> Option<Node<'s>> {
        // The parser knows best what is too deep.
        (depth + 4 <= MAX_DEPTH).then_some(())?;
        let (start, indent, first) = (self.at, self.indent, self.entries.len());
        let (mut size, mut deepest) = (1u64, 0);
        while !self.end && self.indent == indent && !(indent == 0 && self.is_marker()) {
            let (key_end, value) = self.key(self.at)?;
            let key = Cow::Borrowed(&self.text[self.at..key_end]);
            let key_span = self.span(self.at, key_end);
            let value = match self.blank(value) {
                Some(end) => {
                    self.settle((end + 1).min(self.text.len()))?;
                    // A list may stand in the column of its name.
                    let below = self.indent > indent || self.indent == indent && self.is_item();
                    (below && !self.end).then_some(())?;
                    self.items = depth == 0 && key == "items" && self.is_item();
                    match self.indent == indent {
                        true => self.list(depth + 1, true)?,
                        false => self.block(depth + 1)?,
                    }
                }
                None => self.value(value, indent)?,
            };
            if self.indent > indent {
                return None;
            }
            (size, deepest) = (size + 1 + value.size(), deepest.max(value.depth()));
            self.entries.push(Entry { key, key_span, value });
        }
        let members = self.entries.split_off(first);
        unique(&members).then_some(())?;
        let group = Group { members, size, depth: deepest + 1 };
        Some(Node { span: self.span(start, self.at.max(start)), value: Value::Map(Rc::new(group)) })
    }

    /// The end of the name that begins at `at`, and where its value begins.
    fn key(&self, at: usize) -> Option<(usize, usize)> {
        let simple = |octet: u8| octet.is_ascii_alphanumeric() || b"._/-".contains(&octet);
        let first = self.octet(at);
        (first.is_ascii_alphanumeric() || first == b'.').then_some(())?;
        let mut end = at + 1;
        loop {
            match self.octet(end) {
                b':' => match self.octet(end + 1) {
                    b' ' | b'\n' => break,
                    _ => end += 1,
                },
                octet if simple(octet) => end += 1,
                _ => return None,
            }
        }
        let mut value = end + 1;
        while self.octet(value) == b' ' {
            value += 1;
        }
        (end - at <= MAX_KEY).then_some((end, value))
    }

    /// A value behind a name in column `indent`; goes on to the next line.
    fn value(&mut self, at: usize, indent: usize) -> Option<Node<'s>> {
        if self.octet(at) == b'|' {
            return self.literal(at, indent);
        }
        let (node, end) = self.scalar(at)?;
        self.settle((end + 1).min(self.text.len()))?;
        Some(node)
    }

    /// A value on one line, and the end of that line.
    fn scalar(&self, at: usize) -> Option<(Node<'s>, usize)> {
        let next = self.octet(at + 1);
        match self.octet(at) {
            quote @ (b'"' | b'\'') => self.quoted(at, quote),
            b'{' if next == b'}' => {
                let group = Group { members: Vec::new(), size: 1, depth: 1 };
                self.empty(at, Value::Map(Rc::new(group)))
            }
            b'[' if next == b']' => {
                let group = Group { members: Vec::new(), size: 1, depth: 1 };
                self.empty(at, Value::List(Rc::new(group)))
            }
            b'-' if next.is_ascii_alphanumeric() => self.bare(at),
            b'/' | b'.' | b'_' | b'~' | b'(' | b'+' => self.bare(at),
            octet if octet.is_ascii_alphanumeric() => self.bare(at),
            _ => None,
        }
    }

    fn empty(&self, at: usize, value: Value<'s>) -> Option<(Node<'s>, usize)> {
        Some((Node { span: self.span(at, at + 1), value }, self.blank(at + 2)?))
    }

    fn quoted(&self, at: usize, quote: u8) -> Option<(Node<'s>, usize)> {
        let mut end = at + 1;
        while self.octet(end) != quote {
            let octet = self.octet(end);
            (printable(octet) && octet != b'\\').then_some(())?;
            end += 1;
        }
        let text = Cow::Borrowed(&self.text[at + 1..end]);
        let node =
            Node { span: self.span(at, end + 1), value: Value::Scalar { text, plain: false } };
        // Another quote is an escaped one, which this is no line end for.
        Some((node, self.blank(end + 1)?))
    }

    fn bare(&self, at: usize) -> Option<(Node<'s>, usize)> {
        let (mut end, mut last) = (at, at);
        loop {
            match self.octet(end) {
                b'\n' => break,
                b' ' => {}
                b':' if matches!(self.octet(end + 1), b' ' | b'\n') => return None,
                b'#' if self.octet(end - 1) == b' ' => return None,
                octet if printable(octet) => last = end,
                _ => return None,
            }
            end += 1;
        }
        let text = Cow::Borrowed(&self.text[at..last + 1]);
        let node =
            Node { span: self.span(at, last + 1), value: Value::Scalar { text, plain: true } };
        Some((node, end))
    }

    /// `|`: lines as they stand, deeper than `parent`.
    fn literal(&mut self, at: usize, parent: usize) -> Option<Node<'s>> {
        let strip = self.octet(at + 1) == b'-';
        let mut start = self.blank(at + 1 + usize::from(strip))? + 1;
        let spaces = |from: usize| self.text.as_bytes()[from..].iter().take_while(|b| **b == b' ');
        let indent = spaces(start.min(self.text.len())).count();
        (indent > parent && self.octet(start + indent) != b'\n').then_some(())?;
        let (first, mut text) = (start + indent, String::new());
        while start < self.text.len() {
            let found = spaces(start).count();
            let end = start + self.text[start..].find('\n')?;
            if self.octet(start + found) == b'\n' {
                // Empty lines may belong to the text or not, and their spaces as well.
                return None;
            }
            if found < indent {
                break;
            }
            let line = &self.text[start + indent..end];
            line.bytes().all(printable).then_some(())?;
            text.push_str(line);
            text.push('\n');
            start = end + 1;
        }
        if strip {
            text.pop();
        }
        self.settle(start)?;
        let value = Value::Scalar { text: Cow::Owned(text), plain: false };
        Some(Node { span: self.span(first, start), value })
    }
}

fn printable(octet: u8) -> bool {
    (b' '..=b'~').contains(&octet)
}

fn unique(entries: &[Entry]) -> bool {
    if entries.len() > FEW {
        let mut keys = HashSet::new();
        return entries.iter().all(|entry| keys.insert(entry.key.as_ref()));
    }
    let same = |one: &Entry, other: &Entry| one.key == other.key;
    (1..entries.len()).all(|i| !entries[..i].iter().any(|other| same(&entries[i], other)))
}

#[cfg(test)]
mod tests;
