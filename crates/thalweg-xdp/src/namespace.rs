//! Network namespaces by their number, which is how a directory of pins remembers its own.

use crate::{raw, rights};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells a namespace from others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its inode, by which it is found. The kernel gives it to another when this one is gone.
    pub number: u64,
    /// Its cookie, which no other ever has until the machine starts anew; none if the kernel (before 5.14)
    /// tells none.
    pub cookie: Option<u64>,
}

impl Identity {
    /// Whether another is the same namespace, as far as both are known.
    pub fn is(self, other: Self) -> bool {
        let cookies = self.cookie.zip(other.cookie);
        self.number == other.number && cookies.is_none_or(|(own, other)| own == other)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)?;
        match self.cookie {
            Some(cookie) => write!(f, " (cookie {cookie})"),
            None => Ok(()),
        }
    }
}

/// The namespace that the calling thread is in.
pub fn current() -> io::Result<Identity> {
    let number = fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(Identity { number, cookie: raw::namespace_number().ok() })
}

/// Runs `work` in this namespace; none if no name and no process shows it.
pub fn run<T: Send>(wanted: Identity, work: impl FnOnce() -> T + Send) -> io::Result<Option<T>> {
    let is_it = |found: io::Result<Identity>| found.is_ok_and(|found| found.is(wanted));
    if is_it(current()) {
        return Ok(Some(work()));
    }
    match find(|path| fs::metadata(path).is_ok_and(|data| data.ino() == wanted.number)) {
        // Whether it is that one or has only its number, shows inside.
        Some(path) => run_at(&path, || is_it(current()).then(work)),
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
        let other = Identity { number: 1, cookie: None };
        assert_eq!(run(other, || ()).unwrap(), None, "no namespace has the number 1");
    }

    #[test]
    fn one_that_has_the_number_of_another_is_not_that() {
        let own = current().unwrap();
        let Some(cookie) = own.cookie else { return };
        let gone = Identity { cookie: Some(cookie + 1), ..own };
        assert_eq!(run(gone, || ()).unwrap(), None);
        let unknown = Identity { cookie: None, ..own };
        assert_eq!(run(unknown, || ()).unwrap(), Some(()), "what an older version wrote down");
    }
}
