//! Puts files in the place of an agent's configuration files: all of them or none.
//!
//! ```text
//! prepare   .NAME.thalweg-old  a second name for each file that goes
//!           .NAME.thalweg-new  each file that comes, synced
//! decide    apply.json in the state directory, synced
//! commit    new names over old ones; removals; the directory synced
//! end       apply.json goes, then what prepared it
//! ```
//!
//! Whatever takes room happens before the decision, so a full disk changes nothing. An agent that
//! starts after a crash looks for `apply.json`: with it, it goes on to the new files; without, the
//! old ones are all there and only leftovers go. The directory itself stays, with everything in it
//! that is no configuration, and may be a mount point or a link.

use crate::fault::point;
use crate::state::{State, sync_directory};
use crate::texts::{Text, Texts, id_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use thalweg_api::Fault;
use thalweg_config::Loaded;

/// The decision, in the state directory.
const JOURNAL: &str = "apply.json";
/// Ends of the names of what is prepared.
const NEW: &str = ".thalweg-new";
const OLD: &str = ".thalweg-old";

/// Where an agent's files are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    directory: PathBuf,
    /// The one file, where the configuration is a file.
    only: Option<String>,
}

/// One file of a decision, with the names of its contents before and after.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Step {
    name: String,
    old: Option<String>,
    new: Option<String>,
}

/// A decision.
#[derive(Debug, Deserialize, Serialize)]
struct Journal {
    version: u32,
    place: Place,
    /// The texts to be, as kept in the state directory.
    config: String,
    steps: Vec<Step>,
}

/// What became of a decision that a crash cut short.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What to tell.
    pub notes: Vec<String>,
    /// The configuration that was completed.
    pub config: Option<String>,
}

impl Place {
    /// The place that a path given with `-f` means.
    pub fn new(config: &Path) -> Self {
        let file = fs::metadata(config).is_ok_and(|meta| meta.is_file());
        match (file, config.file_name()) {
            (true, Some(name)) => Self {
                directory: match config.parent() {
                    Some(parent) if parent.as_os_str().is_empty() => ".".into(),
                    Some(parent) => parent.into(),
                    None => ".".into(),
                },
                only: Some(name.to_string_lossy().into_owned()),
            },
            _ => Self { directory: config.into(), only: None },
        }
    }

    /// The path of a file, as it is shown.
    pub fn path(&self, name: &str) -> PathBuf {
        match (&self.only, self.directory.as_os_str() == ".") {
            (Some(_), true) => name.into(),
            _ => self.directory.join(name),
        }
    }

    /// Names files that come from elsewhere as they are to stand here.
    ///
    /// # Errors
    ///
    /// [`Fault`] for names that would not be read here.
    pub fn adopt(&self, texts: Texts) -> Result<Texts, Fault> {
        if let Some(only) = &self.only {
            return match <[_; 1]>::try_from(texts.0) {
                Ok([file]) => Ok(Texts(vec![Text::new(only.clone(), file.text().to_owned())])),
                Err(files) => Err(Fault::invalid(
                    format!("the agent runs on the one file {only}, and here are {}", files.len()),
                    "apply one file, or run the agent on a directory",
                )),
            };
        }
        let files = &texts.0;
        if let Some(pair) = files.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
            let message = format!("two of the files have the name {}", pair[0].name());
            return Err(Fault::invalid(message, "give one another name"));
        }
        match files.iter().find(|file| !thalweg_config::is_config(file.name().as_ref())) {
            Some(file) => Err(Fault::invalid(
                format!("{} would not be read in the agent's directory", file.name()),
                "give it a name that ends in .yaml and does not begin with a dot",
            )),
            None => Ok(texts),
        }
    }

    /// The configuration files that are there, with their contents.
    ///
    /// # Errors
    ///
    /// [`Fault`]: what cannot be read, and symbolic links, which nobody wants replaced.
    fn present(&self) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
        let names = match &self.only {
            Some(only) => vec![self.directory.join(only)],
            None => thalweg_config::entries(&self.directory)
                .map_err(|error| cannot("read", &self.directory, &error))?,
        };
        let mut files = BTreeMap::new();
        for path in names {
            let meta = fs::symlink_metadata(&path).map_err(|e| cannot("read", &path, &e))?;
            if meta.is_symlink() {
                return Err(Fault::failed(
                    format!(
                        "{} is a symbolic link, and what it leads to is not ours",
                        path.display()
                    ),
                    "change the files where they are, or replace the link by a file",
                ));
            }
            if meta.is_file() {
                let octets = fs::read(&path).map_err(|error| cannot("read", &path, &error))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name, octets);
            }
        }
        Ok(files)
    }

    /// The texts of the directory.
    ///
    /// # Errors
    ///
    /// [`Fault`]: what cannot be read, and where there is one file instead of a directory.
    pub fn members(&self) -> Result<Texts, Fault> {
        if let Some(only) = &self.only {
            return Err(Fault::invalid(
                format!("the agent runs on the one file {only}, which is not ours to write into"),
                "add the Pod object to it, or run the agent on a directory",
            ));
        }
        self.present()?;
        let cannot = || {
            let what = format!("a file in {} is not UTF-8", self.directory.display());
            Fault::invalid(what, "`thalweg check -f` shows which")
        };
        self.texts().ok_or_else(cannot)
    }

    /// The texts that are there, if they are texts.
    pub fn texts(&self) -> Option<Texts> {
        let files = self.present().ok()?;
        let text = |(name, octets)| Some(Text::new(name, String::from_utf8(octets).ok()?));
        Some(Texts(files.into_iter().map(text).collect::<Option<_>>()?))
    }

    /// What texts say here: with the names that files have in problems.
    pub fn parse(&self, texts: Texts) -> (Loaded, Texts) {
        let path = |name: &str| self.path(name).display().to_string();
        let files = texts.0.iter().map(|file| (path(file.name()), file.text().to_owned()));
        let files: Vec<_> = files.collect();
        let mut loaded = thalweg_config::parse(&files);
        loaded.sources = Default::default();
        (loaded, texts)
    }

    fn temp(&self, name: &str, end: &str) -> PathBuf {
        self.directory.join(format!(".{name}{end}"))
    }

    /// Removes everything that was prepared.
    fn sweep(&self) -> io::Result<()> {
        let mut any = false;
        for entry in fs::read_dir(&self.directory)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let bare = name.strip_suffix(NEW).or_else(|| name.strip_suffix(OLD));
            let Some(bare) = bare.and_then(|bare| bare.strip_prefix('.')) else { continue };
            if self.only.as_deref().is_none_or(|only| only == bare) {
                fs::remove_file(entry.path())?;
                any = true;
            }
        }
        if any { sync_directory(&self.directory) } else { Ok(()) }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Fault {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull => "make room; nothing changed",
        io::ErrorKind::ReadOnlyFilesystem => {
            "nothing changed; change the files where they come from, or let the agent write there"
        }
        io::ErrorKind::PermissionDenied => {
            "give the agent the right to write there; nothing changed"
        }
        _ => "mend that and apply again; nothing changed",
    };
    Fault::failed(format!("cannot {what} {}: {error}", path.display()), remedy)
}

/// Replaces the files at a place by these texts, which must be kept in the state directory under
/// `config`. Returns whether anything was different.
///
/// # Errors
///
/// [`Fault`]; the files are as they were.
pub fn install(state: &State, place: &Place, config: &str, texts: &Texts) -> Result<bool, Fault> {
    let steps = steps(&place.present()?, texts);
    if steps.is_empty() {
        return Ok(false);
    }
    point("install-begin");
    let journal = Journal { version: 1, place: place.clone(), config: config.into(), steps };
    let prepared = prepare(&journal, texts).and_then(|()| {
        let octets = serde_json::to_vec(&journal).unwrap_or_default();
        let written = state.write(JOURNAL, &octets);
        written.map_err(|error| cannot("write", &state.path().join(JOURNAL), &error))
    });
    if let Err(fault) = prepared {
        let _ = state.remove(JOURNAL);
        let _ = place.sweep();
        return Err(fault);
    }
    point("install-journal");
    if let Err(error) = commit(&journal) {
        return Err(undo(state, &journal, &error));
    }
    end(state, place).map_err(|error| cannot("end", &place.directory, &error))?;
    Ok(true)
}

/// The files that are different.
fn steps(present: &BTreeMap<String, Vec<u8>>, texts: &Texts) -> Vec<Step> {
    let mut steps: BTreeMap<&str, Step> = BTreeMap::new();
    for (name, octets) in present {
        let step = Step { name: name.clone(), old: Some(id_of(octets)), new: None };
        steps.insert(name, step);
    }
    for file in &texts.0 {
        let (name, text) = (file.name(), file.text());
        let none = || Step { name: name.to_owned(), old: None, new: None };
        steps.entry(name).or_insert_with(none).new = Some(id_of(text.as_bytes()));
    }
    steps.into_values().filter(|step| step.old != step.new).collect()
}

/// Does all that takes room.
fn prepare(journal: &Journal, texts: &Texts) -> Result<(), Fault> {
    let place = &journal.place;
    for step in &journal.steps {
        let path = place.directory.join(&step.name);
        if step.old.is_some() {
            let old = place.temp(&step.name, OLD);
            let _ = fs::remove_file(&old);
            // Some file systems have no second names.
            fs::hard_link(&path, &old)
                .or_else(|_| fs::copy(&path, &old).map(|_| ()))
                .map_err(|error| cannot("prepare", &path, &error))?;
            point("install-link-old");
        }
        let found = texts.0.iter().find(|file| file.name() == step.name);
        if let (Some(_), Some(file)) = (&step.new, found) {
            let new = place.temp(&step.name, NEW);
            write_like(&new, file.text().as_bytes(), fs::metadata(&path).ok().as_ref())
                .map_err(|error| cannot("write", &path, &error))?;
            point("install-write-new");
        }
    }
    sync_directory(&place.directory).map_err(|error| cannot("sync", &place.directory, &error))
}

/// Writes a file with the rights of the one that it is to replace.
fn write_like(path: &Path, octets: &[u8], like: Option<&fs::Metadata>) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mode = like.map_or(0o644, |meta| meta.mode() & 0o777);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    if let Some(meta) = like {
        // Only root may give files away; others own what they replace.
        let _ = fchown(&file, Some(meta.uid()), Some(meta.gid()));
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Puts what was prepared in its place.
fn commit(journal: &Journal) -> io::Result<()> {
    let place = &journal.place;
    for step in &journal.steps {
        let path = place.directory.join(&step.name);
        match step.new {
            Some(_) => fs::rename(place.temp(&step.name, NEW), &path)?,
            None => fs::remove_file(&path)?,
        }
        point(if step.new.is_some() { "install-replace" } else { "install-remove" });
    }
    sync_directory(&place.directory)?;
    point("install-synced");
    Ok(())
}

/// Forgets the decision, then what prepared it.
fn end(state: &State, place: &Place) -> io::Result<()> {
    state.remove(JOURNAL)?;
    point("install-journal-gone");
    place.sweep()?;
    point("install-clean");
    Ok(())
}

/// Goes back to the files as they were.
fn undo(state: &State, journal: &Journal, error: &io::Error) -> Fault {
    let place = &journal.place;
    let back = journal.steps.iter().rev().try_for_each(|step| {
        let path = place.directory.join(&step.name);
        match step.old {
            // Does nothing where both are names of one file, as before its turn.
            Some(_) => fs::rename(place.temp(&step.name, OLD), &path),
            None if path.exists() => fs::remove_file(&path),
            None => Ok(()),
        }
    });
    match back.and_then(|()| end(state, place)) {
        Ok(()) => cannot("replace files in", &place.directory, error),
        Err(worse) => Fault::failed(
            format!(
                "cannot replace files in {}: {error}; nor go back: {worse}",
                place.directory.display()
            ),
            "what was in force stays; mend the directory, and look at its files before the agent \
             is started again",
        ),
    }
}

/// Completes a decision that a crash cut short, and removes leftovers. To be called before the
/// files are read.
pub fn recover(state: &State, place: &Place) -> Recovered {
    let mut recovered = Recovered::default();
    let journal = match state.read(JOURNAL) {
        Ok(None) => None,
        Ok(Some(octets)) => match serde_json::from_slice::<Journal>(&octets) {
            Ok(journal) if journal.version == 1 => Some(journal),
            _ => {
                let folder = state.set_aside(JOURNAL).unwrap_or_default();
                recovered.notes.push(format!(
                    "an apply was cut short and its record is damaged (kept in {}): look at the \
                     files in {}",
                    folder.display(),
                    place.directory.display()
                ));
                None
            }
        },
        Err(error) => {
            recovered.notes.push(format!("{JOURNAL}: {error}; it is not looked at"));
            return recovered;
        }
    };
    if let Some(journal) = journal {
        match resume(state, &journal) {
            Ok(true) => recovered.config = Some(journal.config),
            Ok(false) => recovered.notes.push(format!(
                "an apply was cut short and files in {} were changed since: they stay as they are",
                journal.place.directory.display()
            )),
            Err(error) => {
                let message = "an apply that was cut short cannot be completed; look at the files";
                let directory = journal.place.directory.display();
                recovered.notes.push(format!("{message} in {directory}: {error}"));
                return recovered;
            }
        }
        if let Err(error) = end(state, &journal.place) {
            recovered.notes.push(format!("{JOURNAL}: {error}"));
        }
    }
    // A place that cannot be read is told of when it is read.
    let _ = place.sweep();
    recovered
}

/// Goes on to the new files, unless somebody changed them meanwhile.
fn resume(state: &State, journal: &Journal) -> io::Result<bool> {
    let place = &journal.place;
    let now = |step: &Step| fs::read(place.directory.join(&step.name)).ok().map(|o| id_of(&o));
    let untouched = |step: &Step| [&step.old, &step.new].contains(&&now(step));
    if !journal.steps.iter().all(untouched) {
        return Ok(false);
    }
    let left: Vec<Step> = journal.steps.iter().filter(|s| now(s) != s.new).cloned().collect();
    for step in left.iter().filter(|step| step.new.is_some()) {
        let new = place.temp(&step.name, NEW);
        if fs::read(&new).ok().map(|octets| id_of(&octets)) == step.new {
            continue;
        }
        let texts = state.kept(&journal.config).map_err(io::Error::other)?;
        let found = texts.0.iter().find(|file| file.name() == step.name);
        let file = found.ok_or_else(|| io::Error::other("its texts are not kept"))?;
        write_like(
            &new,
            file.text().as_bytes(),
            fs::metadata(place.directory.join(&step.name)).ok().as_ref(),
        )?;
    }
    let config = journal.config.clone();
    commit(&Journal { version: 1, place: place.clone(), config, steps: left })?;
    Ok(true)
}

#[cfg(test)]
mod tests;
