//! Control groups of a test's own, so that its agents serve no socket of anybody else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A control group below the root of the second version's hierarchy; removed in the end.
pub struct Cgroup {
    path: PathBuf,
}

/// This process, with all its threads, in a [`Cgroup`]; dropping it brings the process back.
pub struct Inside {
    before: PathBuf,
    /// There is but one process, so one test at a time.
    _turn: MutexGuard<'static, ()>,
}

impl Cgroup {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Where there is no such hierarchy, or no right to make groups.
    pub fn new(name: &str) -> io::Result<Self> {
        let path = root()?.join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves this process there: sockets that it makes from now on belong to the group.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn enter(&self) -> io::Result<Inside> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fs::read_to_string("/proc/self/cgroup")?;
        let now = now.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let before = root()?.join(now);
        enter(&self.path)?;
        Ok(Inside { before, _turn: turn })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may be in it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = enter(&self.before);
    }
}

fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string())
}

/// Where the hierarchy is mounted (proc(5), mountinfo).
fn root() -> io::Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = table.lines().filter(|line| line.contains(" - cgroup2 "));
    let point = mounts.filter_map(|line| line.split(' ').nth(4)).next();
    point.map(PathBuf::from).ok_or_else(|| io::Error::other("no cgroup2 file system is mounted"))
}
