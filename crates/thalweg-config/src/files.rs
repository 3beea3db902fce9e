//! Which files are read, and how: a directory is not walked, and no file may be endless.

use crate::library::Library;
use crate::report::{Path as Field, Report};
use crate::sources::{Locator, Source, Sources, Span};
use crate::stamp::Stamp;
use crate::{Loaded, parse_sources};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_model::{Origin, Problem, Severity};

/// The largest file, in octets: two million routes and room for comments.
pub(crate) const MAX_FILE: u64 = 64 << 20;

/// What the names of files of a directory that are read end with, as for `kubectl`.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads a file, or all `*.yaml`, `*.yml` and `*.json` of a directory by name. Hidden files, backups of
/// editors and directories below it are left out. JSON is YAML, too.
pub fn load(path: &Path) -> Loaded {
    let gathered = Gathered::at(path, None);
    parse_sources(gathered.sources, &gathered.unfit, gathered.problems)
}

/// Whether a directory's entry of this name is configuration.
pub fn is_config(name: &OsStr) -> bool {
    let hidden = matches!(name.as_encoded_bytes().first(), None | Some(b'.' | b'#' | b'~'));
    let extension = Path::new(name).extension();
    let read = |ext: &OsStr| EXTENSIONS.iter().any(|one| ext == *one);
    !hidden && extension.is_some_and(read)
}

/// The configuration files of a directory, by name.
///
/// # Errors
///
/// The system's, for a directory that cannot be read.
pub fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if is_config(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Checks a text before it is parsed; returns whether it may be.
pub(crate) fn check(file: u32, report: &mut Report) -> bool {
    let len = report.sources.text(file).len() as u64;
    if len > MAX_FILE {
        let (what, remedy) = too_large();
        report.error(Span { file, start: 0, end: 0 }, &Field::Root, what, remedy);
        return false;
    }
    true
}

fn too_large() -> (String, String) {
    (format!("the file is larger than {} MiB", MAX_FILE >> 20), "split it into several".into())
}

/// What was found on disk.
pub(crate) struct Gathered<'l> {
    /// The texts.
    pub sources: Sources,
    /// Numbers of files that are there to be quoted only.
    pub unfit: Vec<u32>,
    /// What cannot be read.
    pub problems: Vec<Problem>,
    /// Who knows files of before.
    library: Option<&'l mut Library>,
}

impl<'l> Gathered<'l> {
    /// Gathers a file, or those of a directory.
    pub fn at(path: &Path, library: Option<&'l mut Library>) -> Self {
        let (sources, unfit, problems) = Default::default();
        let mut gathered = Self { sources, unfit, problems, library };
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => gathered.directory(path),
            Ok(meta) => gathered.file(path, &meta),
            Err(error) => gathered.unreadable(path, &error),
        }
        gathered
    }

    fn directory(&mut self, path: &Path) {
        let paths = match entries(path) {
            Ok(paths) => paths,
            Err(error) => return self.unreadable(path, &error),
        };
        if paths.is_empty() {
            let what =
                "the directory has no *.yaml, *.yml or *.json files, so nothing is configured";
            let remedy = "add files, or name another directory";
            self.problem(Severity::Warning, whole(path), what, remedy);
        }
        if let Some(library) = self.library.as_deref_mut() {
            library.prepare(&paths);
        }
        for path in paths {
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(meta) => self.file(&path, &meta),
                Err(error) => self.unreadable(&path, &error),
            }
        }
    }

    fn file(&mut self, path: &Path, meta: &Metadata) {
        let name = path.display().to_string();
        let library = self.library.as_deref();
        if let Some(source) = library.and_then(|library| library.seen(&name, library.stamp(meta))) {
            self.sources.share(source);
            return;
        }
        match read(path, &name, self.library.as_deref_mut()) {
            Ok(Reading::Same(source)) => {
                self.sources.share(source);
            }
            Ok(Reading::Octets(octets, _)) if octets.len() as u64 > MAX_FILE => {
                let (what, remedy) = too_large();
                self.problem(Severity::Error, whole(path), what, remedy);
            }
            Ok(Reading::Octets(octets, stamp)) => self.text(name, octets, stamp),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn text(&mut self, name: String, octets: Vec<u8>, stamp: Option<Stamp>) {
        let (error, octets) = match (String::from_utf8(octets), &mut self.library) {
            (Ok(text), Some(library)) => {
                self.sources.share(library.take(&name, stamp, text));
                return;
            }
            (Ok(text), None) => {
                self.sources.add(name, text);
                return;
            }
            (Err(error), _) => (error.utf8_error(), error.into_bytes()),
        };
        let first = error.valid_up_to();
        let file = self.sources.add(name, String::from_utf8_lossy(&octets).into_owned());
        self.unfit.push(file);
        let at = Span { file, start: first as u32, end: first as u32 };
        let origin = Locator::default().origin(&self.sources, at);
        let what = match octets.as_slice() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16, not UTF-8".into(),
            _ => format!("the octet 0x{:02x} is not UTF-8", octets.get(first).unwrap_or(&0)),
        };
        self.problem(Severity::Error, origin, what, "save the file as UTF-8");
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let (what, remedy) = match error.kind() {
            io::ErrorKind::NotFound if path.is_symlink() => {
                ("the symbolic link leads nowhere".into(), "mend or remove it")
            }
            io::ErrorKind::NotFound => {
                ("there is no such file or directory".into(), "check the path, or create it")
            }
            io::ErrorKind::PermissionDenied => {
                ("it may not be read".into(), "give this process the right to read it")
            }
            _ => (format!("it cannot be read: {error}"), "name a readable file or directory"),
        };
        self.problem(Severity::Error, whole(path), what, remedy);
    }

    fn problem(
        &mut self,
        severity: Severity,
        origin: Origin,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (what, remedy) = (what.into(), remedy.into());
        self.problems.push(Problem { severity, origin, object: None, field: None, what, remedy });
    }
}

fn whole(path: &Path) -> Origin {
    Origin { file: path.display().to_string(), line: 0, column: 0 }
}

/// A regular file as it was read.
enum Reading {
    /// It says what it said.
    Same(Arc<Source>),
    /// Its octets, one more than allowed at most, and how it looked before.
    Octets(Vec<u8>, Option<Stamp>),
}

/// Reads a regular file. Anything else could block for ever, so it is refused before it is opened.
fn read(path: &Path, name: &str, library: Option<&mut Library>) -> io::Result<Reading> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    let stamp = library.as_ref().and_then(|library| library.stamp(&meta));
    if let Some(library) = library
        && let Some(text) = library.text(name).filter(|text| text.len() as u64 == meta.len())
    {
        if says(&mut file, text.as_bytes())?
            && let Some(source) = library.confirm(name, stamp)
        {
            return Ok(Reading::Same(source));
        }
        file.rewind()?;
    }
    let mut octets = Vec::with_capacity(meta.len().min(MAX_FILE) as usize + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut octets)?;
    Ok(Reading::Octets(octets, stamp))
}

/// Reads a regular file for the first time; none where that is for [`Gathered`] to tell of.
pub(crate) fn first(path: &Path, stamp: impl Fn(&Metadata) -> Option<Stamp>) -> Option<First> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = std::fs::File::open(path).ok()?;
    let meta = file.metadata().ok().filter(|meta| meta.len() <= MAX_FILE)?;
    let stamp = stamp(&meta);
    let mut text = String::with_capacity(meta.len() as usize + 1);
    file.by_ref().take(MAX_FILE + 1).read_to_string(&mut text).ok()?;
    Some(First { name: path.display().to_string(), stamp, text })
        .filter(|first| first.text.len() as u64 <= MAX_FILE)
}

/// A file that was read for the first time.
pub(crate) struct First {
    /// As in [`Source::name`].
    pub name: String,
    /// How it looked before.
    pub stamp: Option<Stamp>,
    /// What it says.
    pub text: String,
}

/// Reads a regular file of a directory anew; none where that is for [`Gathered`] to tell of.
pub(crate) fn again(path: &Path, name: &str, library: &mut Library) -> Option<Arc<Source>> {
    match read(path, name, Some(library)).ok()? {
        Reading::Same(source) => Some(source),
        Reading::Octets(octets, _) if octets.len() as u64 > MAX_FILE => None,
        Reading::Octets(octets, stamp) => {
            Some(library.take(name, stamp, String::from_utf8(octets).ok()?))
        }
    }
}

/// Whether a file says this and no more.
fn says(file: &mut impl Read, text: &[u8]) -> io::Result<bool> {
    let (mut rest, mut buffer) = (text, vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(rest.is_empty()),
            Ok(count) => match rest.strip_prefix(&buffer[..count]) {
                Some(left) => rest = left,
                None => return Ok(false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
