//! Words with their columns.

use crate::error::Error;
use std::fmt::Display;
use std::str::FromStr;

/// The words of a text, read from left to right.
pub struct Tokens<'a> {
    words: Vec<(usize, &'a str)>,
    next: usize,
    end: usize,
}

impl<'a> Tokens<'a> {
    /// Splits at white space; brackets are words of their own.
    pub fn new(text: &'a str) -> Self {
        let mut words = Vec::new();
        let mut start = None;
        let mut push = |from: usize, to: usize| {
            let column = text[..from].chars().count() + 1;
            words.push((column, &text[from..to]));
        };
        for (at, c) in text.char_indices() {
            let alone = matches!(c, '[' | ']');
            if alone || c.is_whitespace() {
                if let Some(from) = start.take() {
                    push(from, at);
                }
                if alone {
                    push(at, at + 1);
                }
            } else if start.is_none() {
                start = Some(at);
            }
        }
        if let Some(from) = start {
            push(from, text.len());
        }
        Self { words, next: 0, end: text.trim_end().chars().count() + 1 }
    }

    /// The next word, left in place.
    pub fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(|word| word.1)
    }

    /// Takes the next word.
    pub fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    /// Takes the next word if it is `word`.
    pub fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    /// Takes the next word, which must be `word`.
    pub fn expect(&mut self, word: &str) -> Result<(), Error> {
        if self.accept(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// Reads the next word as a value.
    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, Error> {
        match self.peek().map(str::parse) {
            Some(Ok(value)) => {
                self.next += 1;
                Ok(value)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Reads a number up to `most`, decimal or hexadecimal (`0x…`).
    pub fn number(&mut self, what: &str, most: u64) -> Result<u64, Error> {
        let value = self.peek().and_then(number);
        match value.filter(|value| *value <= most) {
            Some(value) => {
                self.next += 1;
                Ok(value)
            }
            None => Err(self.expected(&format!("{what} (0 to {most})"))),
        }
    }

    /// What should have stood where the next word does.
    pub fn expected(&self, what: &str) -> Error {
        match self.words.get(self.next) {
            Some((column, word)) => {
                Error { column: *column, message: format!("expected {what}, found `{word}`") }
            }
            None => self.at_end(format!("expected {what}, but the text ends")),
        }
    }

    /// Something that is wrong with the word just taken.
    pub fn wrong(&self, message: impl Display) -> Error {
        let column = match self.next.checked_sub(1).and_then(|last| self.words.get(last)) {
            Some((column, _)) => *column,
            None => 1,
        };
        Error { column, message: message.to_string() }
    }

    fn at_end(&self, message: String) -> Error {
        Error { column: self.end, message }
    }
}

/// A number, decimal or hexadecimal.
pub fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if word.starts_with('+') => None,
        None => word.parse().ok(),
    }
}
