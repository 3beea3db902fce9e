//! Network namespaces by their number, which is how a directory of pins remembers its own.

use crate::rights;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Number of the namespace that the calling thread is in.
pub fn current() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// Runs `work` in the namespace with this number; none if no name and no process shows it.
pub fn run<T: Send>(number: u64, work: impl FnOnce() -> T + Send) -> io::Result<Option<T>> {
    if current()? == number {
        return Ok(Some(work()));
    }
    match find(|path| fs::metadata(path).is_ok_and(|data| data.ino() == number)) {
        Some(path) => run_at(&path, work).map(Some),
        None => Ok(None),
    }
}

/// Runs `work` in the namespace that a path opens.
pub fn run_at<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let file = File::open(path)?;
    // A thread of its own: this one stays where it is.
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            rights::raised(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            })?;
            Ok(work())
        });
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread in it ended early")))
    })
}

/// A path that opens a namespace with some property: a name of `ip netns`, or a process in it. Each
/// namespace is asked about once.
pub fn find(is_it: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    let named = entries("/run/netns");
    let processes = entries("/proc").into_iter().map(|process| process.join("ns/net"));
    named
        .into_iter()
        .chain(processes)
        .find(|path| fs::metadata(path).is_ok_and(|data| seen.insert(data.ino())) && is_it(path))
}

fn entries(dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_needs_no_thread() {
        let own = current().unwrap();
        let here = std::thread::current().id();
        assert_eq!(run(own, || std::thread::current().id()).unwrap(), Some(here));
        assert_eq!(run(1, || ()).unwrap(), None, "no namespace has the number 1");
    }
}
