//! The texts that were read, and places in them.

use std::sync::{Arc, OnceLock};
use thalweg_model::Origin;

/// Where FNV-1a with 128 bits begins, and what it multiplies by.
const FNV_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;

/// The texts that were read, by name: what [`crate::render`] quotes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Arc<Source>>,
}

/// One text by the name of its file.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
    /// See [`Self::digest`].
    digest: OnceLock<u128>,
}

impl Source {
    /// A text by the name of its file.
    pub fn new(name: String, text: String) -> Self {
        Self { name, text, digest: OnceLock::new() }
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A number for what the file says, found once: FNV-1a with 128 bits over the octets.
    pub fn digest(&self) -> u128 {
        let octets = || self.text.bytes();
        let step = |hash: u128, octet| (hash ^ u128::from(octet)).wrapping_mul(FNV_PRIME);
        *self.digest.get_or_init(|| octets().fold(FNV_BASIS, step))
    }
}

/// A stretch of one file, in bytes. Files are limited to far less than 4 GiB.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span {
    /// Number of the file in [`Sources`].
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Sources {
    /// Adds a text; returns its number.
    pub(crate) fn add(&mut self, name: String, text: String) -> u32 {
        self.share(Arc::new(Source::new(name, text)))
    }

    /// Adds a text that others have, too; returns its number.
    pub(crate) fn share(&mut self, source: Arc<Source>) -> u32 {
        self.files.push(source);
        (self.files.len() - 1) as u32
    }

    /// These with another text of the number `at`.
    pub(crate) fn with(&self, at: u32, source: Arc<Source>) -> Self {
        let mut files = self.files.clone();
        if let Some(place) = files.get_mut(at as usize) {
            *place = source;
        }
        Self { files }
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The texts, in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.files.iter()
    }

    /// The text of the file with this number.
    pub(crate) fn text(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.text)
    }

    /// The line on which `origin` stands, without its line break.
    pub fn line(&self, origin: &Origin) -> Option<&str> {
        let source = self.files.iter().find(|source| source.name == origin.file)?;
        let index = (origin.line as usize).checked_sub(1)?;
        source.text.split('\n').nth(index).map(|line| line.trim_end_matches('\r'))
    }
}

/// Turns places into lines and columns. Remembers the last one, so that walking through a file stays
/// linear, however many places are asked for and however long its lines are; no list of lines is kept.
#[derive(Debug)]
pub(crate) struct Locator {
    file: u32,
    byte: usize,
    line: u32,
    column: u32,
}

impl Default for Locator {
    fn default() -> Self {
        Self { file: 0, byte: 0, line: 1, column: 1 }
    }
}

impl Locator {
    /// File, line and column of the first byte of `span`; columns count characters.
    pub(crate) fn origin(&mut self, sources: &Sources, span: Span) -> Origin {
        let Some(source) = sources.files.get(span.file as usize) else {
            return Origin::default();
        };
        let mut end = (span.start as usize).min(source.text.len());
        while !source.text.is_char_boundary(end) {
            end -= 1;
        }
        if self.file != span.file || self.byte > end {
            *self = Self { file: span.file, ..Self::default() };
        }
        let passed = source.text.get(self.byte..end).unwrap_or_default();
        let breaks = passed.bytes().filter(|octet| *octet == b'\n').count();
        if breaks > 0 {
            (self.line, self.column) = (self.line + breaks as u32, 1);
        }
        let line = passed.rsplit('\n').next().unwrap_or_default();
        self.column += line.chars().count() as u32;
        self.byte = end;
        Origin { file: source.name.clone(), line: self.line, column: self.column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_may_go_back() {
        let mut sources = Sources::default();
        sources.add("a".into(), "änne: 1\nb: é x\n".into());
        let mut locator = Locator::default();
        let mut at = |start| {
            let origin = locator.origin(&sources, Span { file: 0, start, end: start });
            (origin.line, origin.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(7), (1, 7));
        assert_eq!(at(2), (1, 2));
        assert_eq!(at(9), (2, 1));
        assert_eq!(at(15), (2, 6));
        assert_eq!(at(4_000), (3, 1));
    }

    #[test]
    fn a_place_in_another_file_starts_anew() {
        let mut sources = Sources::default();
        sources.add("a".into(), "ééééé".into());
        sources.add("b".into(), "0123456789".into());
        let mut locator = Locator::default();
        let mut column =
            |file, start| locator.origin(&sources, Span { file, start, end: start }).column;
        assert_eq!((column(0, 8), column(1, 9), column(0, 10)), (5, 10, 6));
    }

    #[test]
    fn lines_end_before_their_break() {
        let mut sources = Sources::default();
        sources.add("a".into(), "one\r\ntwo".into());
        let line = |line| sources.line(&Origin { file: "a".into(), line, column: 1 });
        assert_eq!((line(0), line(1), line(2), line(3)), (None, Some("one"), Some("two"), None));
    }
}
