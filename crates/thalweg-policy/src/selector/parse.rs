//! Reads selectors; errors name the column.
//!
//! `&&` binds tighter than `||`, and `!` takes the whole comparison behind it. Only space and tab are
//! blanks. Words of operators count directly behind a key alone, so keys may be called `in` or `all`.

use super::{Selector, Term};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The deepest nesting of parentheses: more is nobody's wish, and each takes a piece of the stack.
const MAX_DEPTH: usize = 100;
/// The longest key.
const MAX_KEY: usize = 512;

/// Why a text is no selector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SelectorError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.what)
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut reader = Reader { text, at: 0 };
        reader.blanks();
        if reader.rest().is_empty() {
            return Ok(Self::all());
        }
        let selector = reader.or(0)?;
        match reader.rest().is_empty() {
            true => Ok(selector),
            false => Err(reader.error("expected `&&`, `||` or the end")),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Octets that are read.
    at: usize,
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, what: impl Into<String>) -> SelectorError {
        self.error_at(self.at, what)
    }

    fn error_at(&self, at: usize, what: impl Into<String>) -> SelectorError {
        SelectorError { column: self.text[..at].chars().count() + 1, what: what.into() }
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// Takes `word` if it stands here.
    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// What stands here, for a message.
    fn found(&self) -> String {
        match self.rest().chars().next() {
            None => "the end".into(),
            Some('\n' | '\r') => "the end of a line".into(),
            Some(c) => format!("`{c}`"),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        let mut parts = vec![self.and(depth)?];
        while self.take("||") {
            parts.push(self.and(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Term::Or(parts).into() })
    }

    fn and(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        let mut parts = vec![self.operand(depth)?];
        while self.take("&&") {
            parts.push(self.operand(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Term::And(parts).into() })
    }

    /// One operand with the blanks around it.
    fn operand(&mut self, depth: usize) -> Result<Selector, SelectorError> {
        let mut negated = false;
        self.blanks();
        while self.take("!") {
            negated = !negated;
            self.blanks();
        }
        let operand = if self.take("(") {
            if depth == MAX_DEPTH {
                return Err(self.error(format!("more than {MAX_DEPTH} nested parentheses")));
            }
            let inner = self.or(depth + 1)?;
            self.close()?;
            inner
        } else if self.take("all(") {
            self.close()?;
            Selector::all()
        } else if self.take("global(") {
            self.close()?;
            Term::Global.into()
        } else if self.take("has(") {
            self.blanks();
            let key = self.key()?;
            self.close()?;
            Selector::has(key)
        } else {
            self.comparison()?
        };
        self.blanks();
        Ok(if negated { operand.negated() } else { operand })
    }

    fn close(&mut self) -> Result<(), SelectorError> {
        self.blanks();
        match self.take(")") {
            true => Ok(()),
            false => Err(self.error(format!("expected `)`, found {}", self.found()))),
        }
    }

    fn key(&mut self) -> Result<&'t str, SelectorError> {
        let rest = self.rest();
        let key = &rest[..rest.find(|c| !is_key(c)).unwrap_or(rest.len())];
        if key.is_empty() {
            return Err(self.error(format!("expected a label, found {}", self.found())));
        }
        if key.len() > MAX_KEY {
            return Err(self.error(format!("a label has at most {MAX_KEY} characters")));
        }
        self.at += key.len();
        Ok(key)
    }

    fn comparison(&mut self) -> Result<Selector, SelectorError> {
        let key = self.key()?.to_owned();
        self.blanks();
        let start = self.at;
        let term = if self.take("==") {
            Term::Is(key, self.value()?)
        } else if self.take("!=") {
            Term::IsNot(key, self.value()?)
        } else if self.word("contains", "") {
            Term::Contains(key, self.value()?)
        } else if self.word("starts", "with") {
            Term::StartsWith(key, self.value()?)
        } else if self.word("ends", "with") {
            Term::EndsWith(key, self.value()?)
        } else if self.word("not", "in") {
            Term::NotIn(key, self.set()?)
        } else if self.word("in", "") {
            Term::In(key, self.set()?)
        } else {
            let what = format!(
                "expected `==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`, \
                 found {}",
                self.found()
            );
            return Err(self.error_at(start, what));
        };
        Ok(term.into())
    }

    /// Takes an operator of one or two words, behind which no key goes on.
    fn word(&mut self, first: &str, second: &str) -> bool {
        let start = self.at;
        if self.take(first) {
            if !second.is_empty() {
                self.blanks();
            }
            if self.take(second) && !self.rest().starts_with(is_key) {
                return true;
            }
        }
        self.at = start;
        false
    }

    fn value(&mut self) -> Result<String, SelectorError> {
        self.blanks();
        let quote = match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => quote,
            _ => {
                let what = format!("expected a value in quotes, found {}", self.found());
                return Err(self.error(what));
            }
        };
        let rest = &self.rest()[1..];
        let Some(len) = rest.find(quote) else {
            return Err(self.error("the quote is not closed"));
        };
        self.at += len + 2;
        Ok(rest[..len].to_owned())
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        self.blanks();
        if !self.take("{") {
            return Err(self.error(format!("expected `{{`, found {}", self.found())));
        }
        let mut set = BTreeSet::new();
        loop {
            self.blanks();
            if self.take("}") {
                return Ok(set);
            }
            set.insert(self.value()?);
            self.blanks();
            if !self.take(",") && !self.rest().starts_with('}') {
                return Err(self.error(format!("expected `,` or `}}`, found {}", self.found())));
            }
        }
    }
}
