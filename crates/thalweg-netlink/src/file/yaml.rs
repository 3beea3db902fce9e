//! The part of YAML that host state needs: sections of items.

use crate::Error;
use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Deepest nesting: section, item, list of members, member, labels.
const DEEPEST: usize = 16;

/// One item of a section, and the line it begins on, from 1.
#[derive(Debug)]
pub struct Item {
    /// Line from 1.
    pub line: u64,
    /// Its fields.
    pub value: Value,
}

/// Writes a map of lists of flat maps: items in block style, what is inside them in flow style.
pub fn write(document: &Value) -> String {
    let mut out = String::new();
    let Value::Object(sections) = document else { return out };
    for (name, items) in sections {
        let _ = writeln!(out, "{name}:");
        for item in items.as_array().into_iter().flatten() {
            write_item(&mut out, item);
        }
    }
    if sections.is_empty() {
        out.push_str("{}\n");
    }
    out
}

// Writing to a `String` cannot fail, so these results say nothing.
fn write_item(out: &mut String, item: &Value) {
    let mut lead = "- ";
    for (key, value) in item.as_object().into_iter().flatten() {
        let _ = write!(out, "{lead}{key}:");
        lead = "  ";
        match value {
            Value::Array(list) if list.iter().any(Value::is_object) => {
                out.push('\n');
                for member in list {
                    out.push_str("  - ");
                    write_flow(out, member);
                    out.push('\n');
                }
            }
            value => {
                out.push(' ');
                write_flow(out, value);
                out.push('\n');
            }
        }
    }
}

fn write_flow(out: &mut String, value: &Value) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (at, value) in list.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_flow(out, value);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                let _ = write!(out, "{comma}{key}: ");
                write_flow(out, value);
            }
            out.push('}');
        }
        Value::String(text) if is_plain(text) => out.push_str(text),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Whether a text needs no quotes for any reader of YAML 1.1 or 1.2.
fn is_plain(text: &str) -> bool {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    // `12:34` is a number of base 60 in YAML 1.1, and `1e5` or `0x10` are numbers everywhere.
    let number = |c: char| c.is_ascii_hexdigit() || ".-_:xo".contains(c);
    let like_number = text.chars().all(number) && !text.contains('/');
    let address = text.parse::<std::net::IpAddr>().is_ok() && !text.ends_with(':');
    let mac = text.len() == 17 && text.contains(|c: char| c.is_ascii_hexdigit() && !c.is_numeric());
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(ordinary)
        && !text.ends_with(':')
        && !words.contains(&text.to_ascii_lowercase().as_str())
        && (!like_number || address || mac)
}

/// A value with the lines of list members.
enum Node {
    Scalar(Value),
    List(Vec<(u64, Node)>),
    Map(Vec<(String, Node)>),
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::List(list) => list.into_iter().map(|(_, node)| node.into_value()).collect(),
            Self::Map(map) => {
                let fields = map.into_iter().map(|(key, node)| (key, node.into_value()));
                Value::Object(fields.collect())
            }
        }
    }
}

/// Lists and maps that are still open, with the line they began on and, in a map, the key that
/// waits for its value.
#[derive(Default)]
struct Reader {
    open: Vec<(u64, Node, Option<String>)>,
    root: Option<Node>,
}

/// Reads sections of items.
///
/// # Errors
///
/// [`Error::Yaml`] with line and column.
pub fn read(text: &str) -> Result<BTreeMap<String, Vec<Item>>, Error> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| Error::Yaml(format!("not valid YAML: {e}")))?;
        let line = span.start.line() as u64;
        reader.event(event, line).map_err(|what| Error::Yaml(format!("line {line}: {what}")))?;
    }
    let sections = match reader.root {
        None | Some(Node::Scalar(Value::Null)) => Vec::new(),
        Some(Node::Map(sections)) => sections,
        Some(_) => return Err(Error::Yaml("is no map of sections".into())),
    };
    let items = |(name, section)| match section {
        Node::List(list) => {
            let item = |(line, node): (u64, Node)| Item { line, value: node.into_value() };
            Ok((name, list.into_iter().map(item).collect()))
        }
        Node::Scalar(Value::Null) => Ok((name, Vec::new())),
        _ => Err(Error::Yaml(format!("section `{name}` is no list"))),
    };
    sections.into_iter().map(items).collect()
}

impl Reader {
    fn event(&mut self, event: Event<'_>, line: u64) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                self.complete(line, Node::Scalar(scalar(&text, plain)), Some(text.into_owned()))
            }
            Event::SequenceStart(..) => self.start(line, Node::List(Vec::new())),
            Event::MappingStart(..) => self.start(line, Node::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some((line, node, _)) => self.complete(line, node, None),
                None => Ok(()),
            },
            Event::Alias(..) => Err("an alias; write the value itself".into()),
            Event::DocumentStart(..) if self.root.is_some() => {
                Err("a second document; host state is one".into())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, line: u64, node: Node) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err("nested too deep".into());
        }
        self.open.push((line, node, None));
        Ok(())
    }

    /// Puts a complete value into what is open; `text` is what it says as a key.
    fn complete(&mut self, line: u64, node: Node, text: Option<String>) -> Result<(), String> {
        let Some((_, open, key)) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (open, key.take()) {
            (Node::Map(map), Some(key)) => map.push((key, node)),
            (Node::Map(map), None) => match text {
                Some(text) if map.iter().any(|(key, _)| *key == text) => {
                    return Err(format!("`{text}` is there twice"));
                }
                Some(text) => *key = Some(text),
                None => return Err("a key must be a word".into()),
            },
            (Node::List(list), _) => list.push((line, node)),
            (Node::Scalar(_), _) => {}
        }
        Ok(())
    }
}

fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => Value::String(text.to_owned()),
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text.parse::<u64>().map_or_else(|_| Value::String(text.to_owned()), Value::from),
    }
}
