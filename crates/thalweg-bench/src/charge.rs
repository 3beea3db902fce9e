//! What the kernel allocates for work, whatever others do meanwhile: a memory control group of one's own is charged
//! for it.

use crate::Measured;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

/// How long the kernel may take to free what was given back.
const SETTLED: Duration = Duration::from_secs(1);

/// A control group that this process is in until it is dropped, with all that it starts.
struct Group {
    path: PathBuf,
    /// Where the process was before.
    home: PathBuf,
    version: Version,
}

/// Where kernels keep control groups of memory.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Group {
    fn new() -> Measured<Self> {
        let (home, version) = home()?;
        let path = home.join(format!("thalweg-bench-{}", process::id()));
        fs::create_dir(&path).map_err(|error| format!("no control group of memory: {error}"))?;
        let group = Self { path, home, version };
        enter(&group.path)?;
        Ok(group)
    }

    /// Octets of the kernel's memory that are charged to it.
    fn charged(&self) -> Measured<f64> {
        let (file, name) = match self.version {
            Version::One => ("memory.kmem.usage_in_bytes", ""),
            Version::Two => ("memory.stat", "kernel "),
        };
        let text = fs::read_to_string(self.path.join(file))?;
        let size = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        size.ok_or_else(|| format!("the kernel does not tell {name} in {file}").into())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left to hear of it; an empty group takes nothing.
        let _ = enter(&self.home);
        let _ = fs::remove_dir(&self.path);
    }
}

fn enter(group: &Path) -> Measured<()> {
    Ok(fs::write(group.join("cgroup.procs"), process::id().to_string())?)
}

/// The group of memory that this process is in.
fn home() -> Measured<(PathBuf, Version)> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (place, kind, options) = (*fields.get(1)?, *fields.get(2)?, *fields.get(3)?);
        let (key, version) = match kind {
            "cgroup" if options.split(',').any(|one| one == "memory") => (":memory:", Version::One),
            "cgroup2" if has_memory(place) => ("0::", Version::Two),
            _ => return None,
        };
        let own = groups.lines().find_map(|line| Some(line.split_once(key)?.1))?;
        Some((Path::new(place).join(own.trim_start_matches('/')), version))
    });
    found.ok_or_else(|| "the kernel has no control groups of memory here".into())
}

fn has_memory(place: &str) -> bool {
    let text = fs::read_to_string(Path::new(place).join("cgroup.controllers"));
    text.is_ok_and(|text| text.split_whitespace().any(|one| one == "memory"))
}

/// Does work that leaves something in the kernel: what that is, and the octets that it takes.
pub fn of<T>(work: impl FnOnce() -> Measured<T>) -> Measured<(T, f64)> {
    let group = Group::new()?;
    let before = group.charged()?;
    let left = work()?;
    std::thread::sleep(SETTLED);
    let after = group.charged()?;
    Ok((left, after - before))
}
