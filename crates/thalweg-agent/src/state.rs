//! The state directory: what an agent remembers over its own end.
//!
//! ```text
//! version         the format, 1
//! lock            held by the agent
//! configs/ID      texts of a configuration, named by their contents
//! history.jsonl   one generation per line
//! pending.json    the configuration that waits to be confirmed
//! apply.json      files that are being replaced
//! aside-TIME/     what could not be read
//! ```
//!
//! Each file but the history is replaced as a whole: written beside, synced, renamed. What cannot be
//! read is set aside and reported; nothing here ever keeps an agent from forwarding.

use crate::fault::point;
use crate::texts::Texts;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use thalweg_api::moment;

/// Version of the format.
const VERSION: &str = "1\n";
/// Folder of configurations.
const CONFIGS: &str = "configs";

/// An open state directory.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// Held while a configuration is written: two threads may keep the same one.
    keeping: Mutex<()>,
    _lock: File,
}

/// Why there is no state directory.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}: {error}; history, `apply` and `rollback` need it: {remedy}", path.display())]
pub struct StateError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
    remedy: &'static str,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull => "make room, and restart the agent",
            io::ErrorKind::WouldBlock => "another agent uses it; give this one another --state",
            _ => "name another --state, or mend its rights, and restart the agent",
        };
        StateError { what, path, error, remedy }
    }
}

impl State {
    /// Opens or makes a state directory, for its owner alone. Returns what was found odd, in words.
    ///
    /// # Errors
    ///
    /// [`StateError`], with what to do.
    pub fn open(path: &Path) -> Result<(Self, Vec<String>), StateError> {
        let cannot = "the state directory cannot be used";
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(cannot, path))?;
        point("state-open");
        let mut notes = Vec::new();
        let mode = fs::metadata(path).map_err(failed(cannot, path))?.mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(failed(cannot, path))?;
            notes.push(format!("{}: others had rights; its mode is 0700 now", path.display()));
        }
        let lock = path.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(failed(cannot, &lock))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(cannot, &lock)(error.into()))?;
        let state = Self { path: path.to_owned(), keeping: Mutex::new(()), _lock: file };
        state.format(&mut notes).map_err(failed(cannot, path))?;
        state.sweep();
        Ok((state, notes))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the version; what another format left is set aside.
    fn format(&self, notes: &mut Vec<String>) -> io::Result<()> {
        match fs::read_to_string(self.path.join("version")) {
            Ok(version) if version == VERSION => return Ok(()),
            Ok(version) => {
                let version = version.trim().chars().take(20).collect::<String>();
                let mut moved = Vec::new();
                for name in ["version", "history.jsonl", "pending.json", "apply.json", CONFIGS] {
                    moved.extend(self.set_aside(name));
                }
                notes.push(format!(
                    "{}: its format is `{version}`, this agent's is `1`; its contents are kept in {}",
                    self.path.display(),
                    moved.last().map_or_else(String::new, |path| path.display().to_string()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.set_aside("version");
                notes.push(format!("{}/version: {error}; it is set aside", self.path.display()));
            }
        }
        self.write("version", VERSION.as_bytes())
    }

    /// Removes what a write that was cut short left.
    fn sweep(&self) {
        for folder in [self.path.clone(), self.path.join(CONFIGS)] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with('.') && name.ends_with(".new") {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    /// A file's contents, if it is there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path.join(name)) {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a file, whole or not at all; it outlives a power cut when this returns.
    ///
    /// # Errors
    ///
    /// The system's; the file is as it was.
    pub fn write(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        replace(&path, octets, 0o600)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Ok(()) => sync_directory(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Moves a file or folder out of the way; returns where it is now.
    pub fn set_aside(&self, name: &str) -> Option<PathBuf> {
        let folder = self.path.join(format!("aside-{}", moment::now() / 1_000));
        let _ = DirBuilder::new().mode(0o700).create(&folder);
        let place = folder.join(name);
        fs::rename(self.path.join(name), &place).ok()?;
        Some(folder)
    }

    /// Keeps the texts of a configuration, on the disk when this returns.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn keep(&self, id: &str, texts: &Texts) -> io::Result<()> {
        let _alone = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.path.join(CONFIGS);
        if !folder.is_dir() {
            DirBuilder::new().mode(0o700).create(&folder)?;
            sync_directory(&self.path)?;
        }
        if self.has(id) {
            // Used again: it is young again.
            let _ = File::open(self.config(id))
                .and_then(|file| file.set_modified(std::time::SystemTime::now()));
            return Ok(());
        }
        replace(&self.config(id), &serde_json::to_vec(texts)?, 0o600)
    }

    /// Names of all configurations that are kept.
    pub fn configs(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path.join(CONFIGS)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether the texts of a configuration are kept.
    pub fn has(&self, id: &str) -> bool {
        self.config(id).is_file()
    }

    /// The texts of a configuration; damaged ones are set aside.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn kept(&self, id: &str) -> Result<Texts, String> {
        let path = self.config(id);
        let wrong = |what: String| format!("{}: {what}", path.display());
        let octets = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let texts: Option<Texts> = serde_json::from_slice(&octets).ok();
        match texts.filter(|texts| texts.is(id)) {
            Some(texts) => Ok(texts),
            None => {
                let _ = fs::rename(&path, path.with_extension("damaged"));
                Err(wrong("it is damaged, and set aside".into()))
            }
        }
    }

    /// Removes configurations but for those named, best first, as far as they fit: `most` of them
    /// with `octets` together. The first `needed` stay in any case.
    pub fn prune(&self, wanted: &[String], needed: usize, most: usize, octets: u64) {
        let mut left = octets;
        let mut stay = Vec::new();
        for (at, id) in wanted.iter().enumerate() {
            let Ok(meta) = fs::metadata(self.config(id)) else { continue };
            if at >= needed && (stay.len() >= most || meta.len() > left) {
                break;
            }
            left = left.saturating_sub(meta.len());
            stay.push(id.as_str());
        }
        for entry in fs::read_dir(self.path.join(CONFIGS)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !stay.contains(&name.as_str()) && !name.ends_with(".damaged") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn config(&self, id: &str) -> PathBuf {
        self.path.join(CONFIGS).join(id)
    }
}

/// Replaces a file by one beside it.
fn replace(path: &Path, octets: &[u8], mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let temp = folder.join(format!(".{}.new", name.to_string_lossy()));
    let written = (|| {
        point("state-temp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temp)?;
        file.write_all(octets)?;
        point("state-data");
        file.sync_all()?;
        point("state-rename");
        fs::rename(&temp, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temp);
        return written;
    }
    sync_directory(folder)?;
    point("state-done");
    Ok(())
}

/// Makes renames and removals in a directory outlive a power cut.
///
/// # Errors
///
/// The system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;
