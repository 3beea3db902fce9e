//! What is wrong with a text.

use std::fmt;

/// What was expected in a text, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// Column from 1 at which it was expected.
    pub column: usize,
    /// What was expected and what stood there.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for Error {}
