//! Collects what is wrong, with the place, the object and the field at hand.

use crate::draft::Kind;
use crate::sources::{Locator, Sources, Span};
use std::fmt;
use thalweg_model::{Key, Origin, Problem, Severity};

/// More problems than this help nobody; the rest is counted.
const MAX_PROBLEMS: usize = 500;

/// Where in an object a value stands. Built on the stack, printed only when something is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'p> {
    /// The document itself.
    Root,
    /// A field of a mapping.
    Field(&'p Path<'p>, &'p str),
    /// An item of a list.
    Item(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    /// The field of that name below this one.
    pub fn below(&'p self, name: &'p str) -> Self {
        Self::Field(self, name)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// What is wrong in a file, without what its objects and those of others do to each other.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<(Span, Problem)>,
    dropped: usize,
    errors: usize,
    refusals: usize,
}

/// What is wrong, so far.
pub(crate) struct Report<'s> {
    /// The texts that places refer to.
    pub sources: &'s Sources,
    /// The object that is being read.
    pub object: Option<Key>,
    locator: Locator,
    found: Vec<(Span, Problem)>,
    dropped: usize,
    errors: usize,
    /// Errors for which the whole change is refused.
    refusals: usize,
}

impl<'s> Report<'s> {
    /// Nothing wrong so far.
    pub fn new(sources: &'s Sources) -> Self {
        Self {
            sources,
            object: None,
            locator: Locator::default(),
            found: Vec::new(),
            dropped: 0,
            errors: 0,
            refusals: 0,
        }
    }

    /// How many errors were found; tells whether an object that was just read is whole.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// The place as people read it.
    pub fn origin(&mut self, at: Span) -> Origin {
        self.locator.origin(self.sources, at)
    }

    /// Something that must be mended.
    pub fn error(
        &mut self,
        at: Span,
        path: &Path,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors += 1;
        self.refusals += usize::from(!self.object.as_ref().is_some_and(Kind::is_foreign_key));
        self.add(Severity::Error, at, path, what.into(), remedy.into());
    }

    /// Something that is probably not as meant.
    pub fn warning(
        &mut self,
        at: Span,
        path: &Path,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Severity::Warning, at, path, what.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, at: Span, path: &Path, what: String, remedy: String) {
        if self.found.len() >= MAX_PROBLEMS {
            self.dropped += 1;
            return;
        }
        let field = Some(path.to_string()).filter(|path| !path.is_empty());
        let (origin, object) = (self.origin(at), self.object.clone());
        self.found.push((at, Problem { severity, origin, object, field, what, remedy }));
    }

    /// What was found, to be put where a report of all files wants it.
    pub fn findings(self) -> Findings {
        let Self { found, dropped, errors, refusals, .. } = self;
        Findings { found, dropped, errors, refusals }
    }

    /// Takes in what was found in a file by itself, which has the number `file` here.
    pub fn absorb(&mut self, file: u32, findings: &Findings) {
        self.errors += findings.errors;
        self.refusals += findings.refusals;
        let room = MAX_PROBLEMS - self.found.len().min(MAX_PROBLEMS);
        let taken = findings.found.iter().take(room);
        self.found.extend(taken.map(|(at, problem)| (Span { file, ..*at }, problem.clone())));
        self.dropped += findings.dropped + findings.found.len().saturating_sub(room);
    }

    /// All problems in the order of the files.
    pub fn finish(mut self) -> Vec<Problem> {
        self.found
            .sort_by_key(|(at, problem)| (at.file, at.start, problem.severity < Severity::Error));
        let last = self.found.last().map(|(_, problem)| problem.origin.file.clone());
        let mut problems: Vec<_> = self.found.into_iter().map(|(_, problem)| problem).collect();
        if self.dropped > 0 {
            // An error must not be lost among warnings that came first.
            problems.push(Problem {
                severity: if self.refusals > 0 { Severity::Error } else { Severity::Warning },
                origin: Origin { file: last.unwrap_or_default(), line: 0, column: 0 },
                object: None,
                field: None,
                what: format!("{} more problems are not shown", self.dropped),
                remedy: "mend the ones above and check again".into(),
            });
        }
        problems
    }
}
