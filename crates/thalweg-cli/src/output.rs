//! How results are written: as tables, JSON or YAML, with or without color.

use clap::ValueEnum;
use serde_json::Value;
use std::io::IsTerminal;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// When to use color.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Whether to use color on standard output.
    pub fn on_stdout(self) -> bool {
        self.on(std::io::stdout().is_terminal())
    }

    /// Whether to use color on standard error.
    pub fn on_stderr(self) -> bool {
        self.on(std::io::stderr().is_terminal())
    }

    fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Wraps text in terminal colors, if asked to.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    color: bool,
}

impl Paint {
    /// Colors, or none.
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    /// No colors.
    pub fn plain() -> Self {
        Self::new(false)
    }

    /// Bold text.
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something is wrong.
    pub fn red(&self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Something is doubtful.
    pub fn yellow(&self, text: &str) -> String {
        self.paint("1;33", text)
    }

    /// As it should be.
    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// A value as YAML that YAML 1.1 and 1.2 read alike.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => fields(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => self::items(items, 0, &mut out),
        scalar => {
            out.push_str(&self::scalar(scalar));
            out.push('\n');
        }
    }
    out
}

fn fields(map: &serde_json::Map<String, Value>, depth: usize, out: &mut String) {
    for (at, (name, value)) in map.iter().enumerate() {
        if at > 0 {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str(&text(name));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                out.push_str(&"  ".repeat(depth + 1));
                fields(map, depth + 1, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                out.push_str(&"  ".repeat(depth));
                items(list, depth, out);
            }
            value => {
                out.push(' ');
                out.push_str(&scalar(value));
                out.push('\n');
            }
        }
    }
}

fn items(list: &[Value], depth: usize, out: &mut String) {
    for (at, value) in list.iter().enumerate() {
        if at > 0 {
            out.push_str(&"  ".repeat(depth));
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => fields(map, depth + 1, out),
            Value::Array(list) if !list.is_empty() => items(list, depth + 1, out),
            value => {
                out.push_str(&scalar(value));
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
        value => value.to_string(),
    }
}

/// A text, in quotes if it could be read as something else.
fn text(text: &str) -> String {
    let word = |word: &str| {
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .iter()
            .any(|special| special.eq_ignore_ascii_case(word))
    };
    let simple = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-/".contains(&b))
        && !text.ends_with(' ')
        && !word(text);
    match simple {
        true => text.into(),
        // A JSON string is a YAML string.
        false => Value::String(text.into()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_nests_and_quotes() {
        let value = json!({
            "name": "eth0", "mac": "02:00:00:00:00:01", "up": true, "odd": "yes", "none": null,
            "hook": {"mode": "native", "why": "it: works"},
            "addresses": ["10.0.0.1/24", "::1/128"],
            "routes": [{"prefix": "10.0.0.0/8", "labels": [1, 2]}, {"empty": [], "map": {}}],
            "deep": [[1, 2], [3]]
        });
        expect_test::expect![[r#"
            name: eth0
            mac: "02:00:00:00:00:01"
            up: true
            odd: "yes"
            none: null
            hook:
              mode: native
              why: "it: works"
            addresses:
            - "10.0.0.1/24"
            - "::1/128"
            routes:
            - prefix: "10.0.0.0/8"
              labels:
              - 1
              - 2
            - empty: []
              map: {}
            deep:
            - - 1
              - 2
            - - 3
        "#]]
        .assert_eq(&yaml(&value));
        assert_eq!(yaml(&json!([])), "[]\n");
        assert_eq!(yaml(&json!("a\nb")), "\"a\\nb\"\n");
    }
}
