//! Tells when a file or directory may say something new.
//!
//! Not only the directory itself is watched, but every directory in which a step of the path
//! stands, symbolic links included. So it is noticed when the directory goes and comes back, and
//! when a link on the way is turned (as Kubernetes updates a ConfigMap: `..data` is renamed over).
//! After each change the watches are made anew, *before* the change is told: whatever happens
//! while the receiver reads is told again. Where one file of the directory was written or put in place,
//! they stand as they did, and the file is named.

use crate::files;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_model::{Origin, Problem, Severity};

/// A change is told when nothing more has happened for this long …
const QUIET: Duration = Duration::from_millis(50);
/// … or for this long, when all that happened is that one file was written or put in place …
const QUICK: Duration = Duration::from_millis(2);
/// … or after this long, if it never gets quiet.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before watching is tried again after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// The most symbolic links on the way to one file, as in the kernel.
const MAX_LINKS: usize = 40;

/// What may say something new.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// This file of the directory alone, by name: it is complete, and no symbolic link.
    File(OsString),
    /// Anything.
    Any,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<OwnedFd>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An event counter takes eight octets; it can only fail when it is full, and then it is set.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
    }
}

/// Calls `on_change`, in a thread of its own, each time that [`crate::load`] of `path` may have
/// something new to say: `Ok` after a change, `Err` when watching failed (it is tried again). What it is
/// not told of is as it was when it was called last.
///
/// Changes within 50 ms of each other are told once; that one file was written or moved there is told
/// after 2 ms. `path` need not exist yet.
///
/// # Errors
///
/// A [`Problem`] when the kernel refuses to watch: limits, rights.
pub fn watch(
    path: &Path,
    on_change: impl FnMut(Result<Change, Box<Problem>>) + Send + 'static,
) -> Result<Watch, Box<Problem>> {
    let failed = |error| problem(path, error);
    let absolute = std::path::absolute(path)
        .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)))?;
    let eye = Eye::open(&absolute).map_err(failed)?;
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?);
    let watcher = Watcher { path: absolute, eye, stop: stop.clone(), on_change };
    std::thread::Builder::new()
        .name("watch-config".into())
        .spawn(move || watcher.run())
        .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
    Ok(Watch { stop })
}

fn problem(path: &Path, error: Errno) -> Box<Problem> {
    let remedy = match error {
        Errno::MFILE => {
            "raise the sysctl fs.inotify.max_user_instances, or the limit of open files"
        }
        Errno::NOSPC => "raise the sysctl fs.inotify.max_user_watches",
        Errno::ACCESS => "give this process the right to read the directory",
        _ => "restart, or reload by hand after a change",
    };
    Box::new(Problem {
        severity: Severity::Error,
        origin: Origin { file: path.display().to_string(), line: 0, column: 0 },
        object: None,
        field: None,
        what: format!("changes cannot be watched: {error}"),
        remedy: remedy.into(),
    })
}

/// What happened while waiting.
enum Seen {
    Change(Touch),
    Nothing,
    Stop,
}

/// What a change is about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Touch {
    /// The one file that it is about; none when it is about more, or about directories.
    file: Option<OsString>,
    /// Whether that file is complete: closed after writing, or moved here.
    complete: bool,
    /// Whether it stands in the directory of the configuration, and nothing else hangs on its name.
    member: bool,
}

impl Touch {
    fn of(event: &inotify::Event, interest: Option<&Interest>) -> Self {
        let file = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        let complete = event.events().intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO);
        let member = interest
            .zip(file.as_ref())
            .is_some_and(|(interest, name)| interest.config && !interest.names.contains(name));
        Self { file, complete, member }
    }

    /// This and then another.
    fn and(self, next: Self) -> Self {
        let member = self.member && next.member;
        if self.file == next.file { Self { member, ..next } } else { Self::default() }
    }

    /// The name of the file in the directory `path` that alone changed.
    fn alone(self, path: &Path) -> Option<OsString> {
        let name = self.file.filter(|_| self.complete && self.member)?;
        let meta = std::fs::symlink_metadata(path.join(&name)).ok()?;
        meta.is_file().then_some(name)
    }

    /// How long nothing must happen until it is told.
    fn quiet(&self) -> Duration {
        if self.file.is_some() && self.complete { QUICK } else { QUIET }
    }
}

struct Watcher<F> {
    path: PathBuf,
    eye: Eye,
    stop: Arc<OwnedFd>,
    on_change: F,
}

impl<F: FnMut(Result<Change, Box<Problem>>)> Watcher<F> {
    fn run(mut self) {
        loop {
            match self.wait(None) {
                Seen::Stop => return,
                Seen::Nothing => {}
                Seen::Change(touch) => {
                    let Some(touch) = self.settle(touch) else { return };
                    if let Some(name) = touch.alone(&self.path) {
                        // The watches stand as they did: what happens from here on is told next.
                        (self.on_change)(Ok(Change::File(name)));
                        continue;
                    }
                    let Some(before) = self.renew() else { return };
                    (self.on_change)(Ok(Change::Any));
                    // The kernel takes its time to end watches.
                    drop(before);
                }
            }
        }
    }

    /// Waits until nothing happens any more; returns what did, or nothing to stop.
    fn settle(&mut self, mut touch: Touch) -> Option<Touch> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(touch.quiet());
            match self.wait(Some(left)) {
                Seen::Stop => return None,
                Seen::Change(next) if left.is_zero() => return Some(touch.and(next)),
                Seen::Change(next) => touch = touch.and(next),
                Seen::Nothing => return Some(touch),
            }
        }
    }

    /// Watches anew, as long as it takes; returns the watches of before, or nothing to stop.
    fn renew(&mut self) -> Option<Eye> {
        loop {
            match Eye::open(&self.path) {
                Ok(eye) => return Some(std::mem::replace(&mut self.eye, eye)),
                Err(error) => (self.on_change)(Err(problem(&self.path, error))),
            }
            let mut fds = [PollFd::new(&*self.stop, PollFlags::IN)];
            if poll(&mut fds, Some(&timespec(RETRY))).is_ok_and(|ready| ready > 0) {
                return None;
            }
        }
    }

    /// Waits for an event that matters, at most `limit`.
    fn wait(&mut self, limit: Option<Duration>) -> Seen {
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = deadline.map(|end| timespec(end.saturating_duration_since(Instant::now())));
            let mut fds = [
                PollFd::new(&*self.stop, PollFlags::IN),
                PollFd::new(&self.eye.inotify, PollFlags::IN),
            ];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Seen::Nothing,
                Ok(_) if !fds[0].revents().is_empty() => return Seen::Stop,
                Ok(_) => {
                    if let Some(touch) = self.eye.drain() {
                        return Seen::Change(touch);
                    }
                }
                Err(Errno::INTR) => {}
                // Without poll there is no watching; that cannot happen with two good descriptors.
                Err(_) => return Seen::Stop,
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Which events of a directory matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Interest {
    /// Those of configuration files.
    config: bool,
    /// Those of these entries.
    names: BTreeSet<OsString>,
}

impl Interest {
    fn cares_for(&self, name: &OsStr) -> bool {
        self.config && files::is_config(name) || self.names.contains(name)
    }
}

/// Watches that stand.
struct Eye {
    inotify: OwnedFd,
    interests: HashMap<i32, Interest>,
}

impl Eye {
    fn open(path: &Path) -> Result<Self, Errno> {
        let mut wanted = interests(path);
        // What is looked at may change while the watches are set: look again until it did not.
        for _ in 0..16 {
            let eye = Self::set(&wanted)?;
            let now = interests(path);
            if now == wanted {
                return Ok(eye);
            }
            wanted = now;
        }
        Self::set(&wanted)
    }

    fn set(wanted: &BTreeMap<PathBuf, Interest>) -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut interests: HashMap<i32, Interest> = HashMap::new();
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for (directory, interest) in wanted {
            match inotify::add_watch(&inotify, directory, flags) {
                // Two paths may name one directory (bind mounts): then both interests hold.
                Ok(wd) => {
                    let known = interests.entry(wd).or_default();
                    known.config |= interest.config;
                    known.names.extend(interest.names.iter().cloned());
                }
                // Gone meanwhile: its parent, which is watched, tells when it comes back.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                // A directory on the way may be closed to us; the last one must not be.
                Err(Errno::ACCESS) if !interest.config => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { inotify, interests })
    }

    /// Takes all events; returns what those that matter are about.
    fn drain(&mut self) -> Option<Touch> {
        let mut buffer = [MaybeUninit::uninit(); 8_192];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut seen: Option<Touch> = None;
        loop {
            match reader.next() {
                Ok(event) if is_change(&self.interests, &event) => {
                    let touch = Touch::of(&event, self.interests.get(&event.wd()));
                    seen = Some(match seen {
                        Some(before) => before.and(touch),
                        None => touch,
                    });
                }
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return seen,
                Err(_) => return Some(Touch::default()),
            }
        }
    }
}

fn is_change(interests: &HashMap<i32, Interest>, event: &inotify::Event) -> bool {
    let Some(interest) = interests.get(&event.wd()) else {
        // Too many events: some were lost, so anything may have happened.
        return event.events().contains(ReadFlags::QUEUE_OVERFLOW);
    };
    match event.file_name() {
        Some(name) => interest.cares_for(OsStr::from_bytes(name.to_bytes())),
        None => interest.config || !event.events().contains(ReadFlags::ATTRIB),
    }
}

/// All directories that decide what `path` says, and which of their entries do.
fn interests(path: &Path) -> BTreeMap<PathBuf, Interest> {
    let mut interests = BTreeMap::new();
    let Some(real) = trace(path, &mut interests) else { return interests };
    if real.is_dir() {
        interests.entry(real.clone()).or_default().config = true;
        for file in files::entries(&real).unwrap_or_default() {
            if file.is_symlink() {
                trace(&file, &mut interests);
            }
        }
    }
    interests
}

/// Follows an absolute path step by step and notes each step; returns where it leads, if anywhere.
fn trace(path: &Path, interests: &mut BTreeMap<PathBuf, Interest>) -> Option<PathBuf> {
    let steps = |path: &Path| -> Vec<OsString> {
        path.components().map(|step| step.as_os_str().to_owned()).collect()
    };
    let mut left: VecDeque<OsString> = steps(path).into();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        match Path::new(&step).components().next()? {
            Component::RootDir => here = PathBuf::from("/"),
            Component::ParentDir => {
                here.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                interests.entry(here.clone()).or_default().names.insert(name.to_owned());
                let next = here.join(name);
                let Ok(meta) = std::fs::symlink_metadata(&next) else { return None };
                if !meta.is_symlink() {
                    here = next;
                    continue;
                }
                links += 1;
                let target = std::fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS)?;
                for step in steps(&target).into_iter().rev() {
                    left.push_front(step);
                }
            }
        }
    }
    Some(here)
}
