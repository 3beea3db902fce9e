//! YAML files to [`Intent`]: every problem with its file, line, column, object, field and remedy.
//!
//! The format is Kubernetes-shaped and described in `docs/configuration.md`. [`parse`] is the pure
//! core: texts in, intent and problems out; it never stops at the first problem. [`load`] reads a
//! file or directory, [`watch`] tells when to do so again, [`render`] quotes the lines in question
//! and [`to_yaml`] writes an intent back. A [`Library`] reads again what changed since, and no more.
//!
//! Only what one object or two objects of the same kind say is checked here; whether an interface
//! exists or a gateway can be reached depends on the host and is the compiler's business.
#![forbid(unsafe_code)]

mod draft;
mod files;
mod foreign;
mod guard;
mod kind;
mod library;
mod name;
mod object;
mod part;
mod read;
mod render;
mod report;
mod sources;
mod stamp;
mod suggest;
mod tally;
mod tree;
mod uses;
mod watch;
mod write;

pub use files::{entries, is_config, load};
pub use guard::load_guarded;
pub use library::Library;
pub use render::render;
pub use sources::{Source, Sources};
pub use watch::{Change, Watch, watch};
pub use write::to_yaml;

use draft::Draft;
use report::Report;
use thalweg_model::{Intent, Problem, Severity};
use thalweg_policy::{Model, Objects, Resolution, View, World};

/// What files say, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What could be read, without the objects that are set aside. With other errors it is
    /// incomplete: take it only if [`Loaded::is_ok`].
    pub intent: Intent,
    /// What policies are made of. They are read and checked, and not enforced.
    pub policies: Objects,
    /// What is wrong or doubtful, in the order of the files.
    pub problems: Vec<Problem>,
    /// The texts, to quote from.
    pub sources: Sources,
}

impl Loaded {
    /// Whether the intent may be put in force: nothing is wrong, but for objects that are set aside.
    /// Warnings do not count.
    pub fn is_ok(&self) -> bool {
        let refuses = |p: &Problem| p.severity == Severity::Error && !sets_aside(p);
        !self.problems.iter().any(refuses)
    }
}

/// Whether a problem leaves its object out and disturbs nothing else: an error of an object of
/// Kubernetes. Those come from elsewhere, and one that is wrong must not hold up the others.
pub fn sets_aside(problem: &Problem) -> bool {
    problem.severity == Severity::Error
        && problem.object.as_ref().is_some_and(draft::Kind::is_foreign_key)
}

/// Reads texts given as pairs of file name and content.
pub fn parse(files: &[(String, String)]) -> Loaded {
    let mut sources = Sources::default();
    for (name, text) in files {
        sources.add(name.clone(), text.clone());
    }
    parse_sources(sources, &[], Vec::new())
}

/// Reads `sources` but for the files in `unfit`; `before` is what went wrong while gathering them.
fn parse_sources(sources: Sources, unfit: &[u32], before: Vec<Problem>) -> Loaded {
    let mut report = Report::new(&sources);
    let mut draft = Draft::default();
    let mut broken = before.iter().any(|problem| problem.severity == Severity::Error);
    for file in (0..sources.len() as u32).filter(|file| !unfit.contains(file)) {
        let whole = files::check(file, &mut report)
            && tree::documents(&mut report, file, |node, report| {
                object::read(node, &mut draft, report);
            });
        broken |= !whole;
    }
    let (intent, policies) = draft.finish(broken, &mut report);
    let mut problems = before;
    problems.extend(report.finish());
    if !broken {
        problems.extend(thalweg_policy::check::all(&policies));
    }
    Loaded { intent, policies, problems, sources }
}

/// Feeds arbitrary octets through reading, rendering and writing; nothing may panic.
pub fn fuzz(data: &[u8]) {
    let loaded = parse(&[("fuzz.yaml".into(), String::from_utf8_lossy(data).into_owned())]);
    render(&loaded.problems, &loaded.sources, true);
    let world = World::new(&loaded.policies, &loaded.intent.cluster, |_| Default::default());
    let model = Model::new(&loaded.policies, View::Pending);
    thalweg_policy::check::doubts(&Resolution::new(world, model));
    if loaded.is_ok() {
        let text = to_yaml(&loaded.intent);
        let again = parse(&[("again.yaml".into(), text.clone())]);
        let same = Intent { origins: Default::default(), ..again.intent };
        let first = Intent { origins: Default::default(), ..loaded.intent };
        assert_eq!(same, first, "what is written must read the same:\n{text}");
    }
}
