//! Reading a directory that does not change meanwhile.
//!
//! Who removes a directory removes its files first, one by one. What is left of them in between may
//! be a configuration that is right and that nobody wanted.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is read until what is found is taken, though files still come and go.
const ATTEMPTS: u32 = 5;
/// What lies between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A directory and the names of its files; nothing for what is no directory.
#[derive(Eq, PartialEq)]
struct Names(Option<(u64, u64, BTreeSet<PathBuf>)>);

impl Names {
    fn of(path: &Path) -> Self {
        let directory = fs::metadata(path).ok().filter(fs::Metadata::is_dir);
        Self(directory.and_then(|meta| {
            let entries = thalweg_config::entries(path).ok()?;
            Some((meta.dev(), meta.ino(), entries.into_iter().collect()))
        }))
    }
}

/// Reads until no file came or went meanwhile.
pub fn read<T>(path: &Path, mut read: impl FnMut() -> T) -> T {
    let mut before = Names::of(path);
    for _ in 1..ATTEMPTS {
        let found = read();
        let after = Names::of(path);
        if after == before {
            return found;
        }
        before = after;
        std::thread::sleep(PAUSE);
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> usize {
        thalweg_config::entries(path).map_or(0, |entries| entries.len())
    }

    #[test]
    fn a_directory_that_is_removed_meanwhile_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc");
        fs::create_dir(&path).unwrap();
        let files = ["a.yaml", "b.yaml", "c.yaml"].map(|name| path.join(name));
        files.iter().for_each(|file| fs::write(file, "").unwrap());
        let mut left = files.iter();
        let mut counts = Vec::new();
        let last = read(&path, || {
            let count = names(&path);
            counts.push(count);
            match left.next() {
                Some(file) => fs::remove_file(file).unwrap(),
                None => drop(fs::remove_dir(&path)),
            }
            count
        });
        assert_eq!((counts, last), (vec![3, 2, 1, 0, 0], 0));
    }

    #[test]
    fn what_is_at_rest_is_read_once_and_what_never_rests_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "").unwrap();
        for (noise, reads) in [(None, 1), (Some(".hidden"), 1), (Some("more"), 5)] {
            let mut count = 0;
            read(dir.path(), || {
                count += 1;
                if let Some(name) = noise {
                    let name =
                        if name == "more" { format!("{name}{count}.yaml") } else { name.into() };
                    fs::write(dir.path().join(name), "").unwrap();
                }
            });
            assert_eq!(count, reads, "{noise:?}");
        }
    }
}
