//! Every way in which people and tools change files is noticed, and nothing else is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tempfile::tempdir;
use thalweg_config::{Change, Watch, load, watch};

/// Long enough on a loaded machine.
const SOON: Duration = Duration::from_secs(10);
/// Several times what a change takes to be told.
const QUIET: Duration = Duration::from_millis(300);

struct Seen {
    changes: Receiver<Change>,
    _watch: Watch,
}

impl Seen {
    fn of(path: &Path) -> Self {
        let (sender, changes) = channel();
        let watch = watch(path, move |change| {
            // The test is over when nobody listens.
            let _ = sender.send(change.unwrap());
        });
        Self { changes, _watch: watch.unwrap() }
    }

    /// One change is told, and only one.
    #[track_caller]
    fn change(&self) -> Change {
        let change = self.changes.recv_timeout(SOON).expect("a change was not told");
        self.nothing();
        change
    }

    /// Of one file alone.
    #[track_caller]
    fn file(&self, name: &str) {
        assert_eq!(self.change(), Change::File(OsString::from(name)));
    }

    /// At least one change is told.
    #[track_caller]
    fn changes(&self) {
        self.changes.recv_timeout(SOON).expect("a change was not told");
        while self.changes.recv_timeout(QUIET).is_ok() {}
    }

    #[track_caller]
    fn nothing(&self) {
        assert_eq!(self.changes.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
    }
}

#[test]
fn files_that_come_change_move_and_go() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let seen = Seen::of(dir.path());
    fs::write(path("a.yaml"), "# 1").unwrap();
    seen.file("a.yaml");
    fs::write(path("a.yaml"), "# 2").unwrap();
    seen.file("a.yaml");
    fs::write(path(".a.yaml.tmp"), "# 3").unwrap();
    seen.nothing();
    fs::rename(path(".a.yaml.tmp"), path("a.yaml")).unwrap();
    seen.file("a.yaml");
    fs::rename(path("a.yaml"), path("b.yml")).unwrap();
    assert_eq!(seen.change(), Change::Any, "one went and one came");
    fs::write(path("b.yml"), "# 4").unwrap();
    seen.file("b.yml");
    symlink(path(".a.yaml.tmp"), path("c.yaml")).unwrap();
    assert_eq!(seen.change(), Change::Any, "what is behind a link is watched, too");
    fs::write(path(".a.yaml.tmp"), "# 5").unwrap();
    assert_eq!(seen.change(), Change::Any);
    fs::remove_file(path("b.yml")).unwrap();
    assert_eq!(seen.change(), Change::Any);
}

#[test]
fn reading_and_other_files_are_no_change() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), "").unwrap();
    let seen = Seen::of(dir.path());
    load(dir.path());
    fs::write(dir.path().join("notes.txt"), "x").unwrap();
    fs::write(dir.path().join("a.yaml~"), "x").unwrap();
    seen.nothing();
}

#[test]
fn many_changes_are_told_once() {
    let dir = tempdir().unwrap();
    let seen = Seen::of(dir.path());
    for index in 0..50 {
        fs::write(dir.path().join(format!("{index}.yaml")), "").unwrap();
    }
    seen.change();
}

#[test]
fn a_config_map_turns_its_link() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let fill = |version: &str| {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("a.yaml"), version).unwrap();
    };
    fill("..1");
    symlink("..1", path("..data")).unwrap();
    symlink("..data/a.yaml", path("a.yaml")).unwrap();
    let seen = Seen::of(dir.path());
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        fill(new);
        symlink(new, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        fs::remove_dir_all(path(old)).unwrap();
        seen.changes();
        assert_eq!(fs::read_to_string(path("a.yaml")).unwrap(), new);
    }
    fs::write(path("..3/a.yaml"), "edited in place").unwrap();
    seen.change();
}

#[test]
fn the_directory_goes_and_comes_back() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("etc/thalweg");
    fs::create_dir_all(&path).unwrap();
    let seen = Seen::of(&path);
    for _ in 0..3 {
        fs::remove_dir_all(dir.path().join("etc")).unwrap();
        seen.changes();
        fs::create_dir_all(&path).unwrap();
        seen.changes();
        fs::write(path.join("a.yaml"), "").unwrap();
        seen.change();
    }
}

#[test]
fn the_directory_comes_later() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("not/yet");
    let seen = Seen::of(&path);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("a.yaml"), "").unwrap();
    seen.changes();
    fs::write(path.join("b.yaml"), "").unwrap();
    seen.change();
}

#[test]
fn a_link_to_the_directory_is_turned() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("old")).unwrap();
    fs::create_dir(path("new")).unwrap();
    symlink("old", path("current")).unwrap();
    let seen = Seen::of(&path("current"));
    symlink("new", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    seen.change();
    fs::write(path("old/a.yaml"), "").unwrap();
    seen.nothing();
    fs::write(path("new/a.yaml"), "").unwrap();
    seen.change();
}

#[test]
fn a_single_file_is_replaced() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("lab.yaml"), "# 1").unwrap();
    let seen = Seen::of(&path("lab.yaml"));
    fs::write(path("other.yaml"), "").unwrap();
    seen.nothing();
    fs::write(path("lab.yaml"), "# 2").unwrap();
    seen.change();
    fs::rename(path("other.yaml"), path("lab.yaml")).unwrap();
    seen.change();
}

#[test]
fn links_in_a_circle_are_survived() {
    let dir = tempdir().unwrap();
    symlink("b", dir.path().join("a")).unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    symlink("x.yaml", dir.path().join("x.yaml")).unwrap();
    Seen::of(&dir.path().join("a")).nothing();
    Seen::of(dir.path()).nothing();
}

#[test]
fn dropping_the_watch_ends_it() {
    let dir = tempdir().unwrap();
    let seen = Seen::of(dir.path());
    let Seen { changes, _watch } = seen;
    drop(_watch);
    // The thread drops its end of the channel when it ends.
    assert_eq!(changes.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
}
