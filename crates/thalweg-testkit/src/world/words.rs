//! Words of a line, read from left to right.

use std::str::FromStr;

/// The words of a line.
pub struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    pub fn new(line: &'a str) -> Self {
        Self { words: line.split_whitespace().collect(), next: 0 }
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

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

    /// Takes the next word, whatever `what` it is.
    pub fn word(&mut self, what: &str) -> Result<&'a str, String> {
        self.take().ok_or_else(|| format!("expected {what}, but the line ends"))
    }

    /// Reads the next word.
    pub fn value<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        word.parse().map_err(|_| format!("expected {what}, found `{word}`"))
    }

    /// Reads the next word, which must be `word`.
    pub fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.take() {
            Some(found) if found == word => Ok(()),
            Some(found) => Err(format!("expected `{word}`, found `{found}`")),
            None => Err(format!("expected `{word}`, but the line ends")),
        }
    }

    /// Complains about a word that is left over.
    pub fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(format!("`{word}` has no meaning here")),
        }
    }
}
