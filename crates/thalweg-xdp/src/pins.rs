//! Names in the BPF file system: what keeps links, programs and counters alive without an agent.
//!
//! ```text
//! <dir>/netns-4026531840/17/   the network namespace that the indices below belong to, and its cookie
//! <dir>/links/7-native         the kernel's link that holds our program at a hook of device 7
//! <dir>/links/7-clsact/        our filter stands on the clsact qdisc of device 7
//! <dir>/links/7-qdisc/         we made that qdisc
//! <dir>/sockets/connect4       the kernel's link that holds our program at a hook of a cgroup
//! <dir>/v1/{thalweg_xdp,thalweg_tc,counters,tested,events_2,event_gate_2,event_rows_2}
//! ```
//!
//! The number behind the `v` is that of the layout ([`thalweg_abi::LAYOUT`]): programs and counters of
//! one version stay apart from those of another until that one has taken over all hooks.
//!
//! The file system knows pins and directories only, so what is not a pin is an empty directory.

use crate::hook::Mode;
use crate::namespace::Identity;
use crate::raw;
use crate::rights;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thalweg_abi::{TableId, event, socket};
use thalweg_fault::point;

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const MAGIC: u64 = 0xcafe_4a11;
/// Where the BPF file system is mounted by convention.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Name of the directory of a layout.
/// Pins of the flow table in the directory of a version, by map. Their layout has a number of its own.
fn flow_pins(dir: &Path) -> [(&'static str, PathBuf); 2] {
    [TableId::Flows, TableId::FlowSlots].map(|table| {
        let name = table.name();
        (name, dir.join(format!("{name}_{}", thalweg_abi::flow::LAYOUT)))
    })
}

/// Pins of the maps of drop events in the directory of a version, by map: their layout has a number, too.
fn event_pins(dir: &Path) -> [(&'static str, PathBuf); 3] {
    [event::RING, event::GATE, event::ROWS]
        .map(|name| (name, dir.join(format!("{name}_{}", event::LAYOUT))))
}

/// Name of the pin of the table of sockets: its layout has a number of its own, too.
fn peers_name() -> String {
    format!("{}_{}", socket::PEERS_NAME, socket::LAYOUT)
}

fn layout(number: u32) -> String {
    format!("v{number}")
}

/// Whether a name is that of the directory of a layout.
fn is_layout(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Why the directory of pins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// No BPF file system there.
    #[error(
        "{dir}: no BPF file system is mounted there{why}: run `mount -t bpf bpf {mount}` or choose \
         another directory"
    )]
    NoFileSystem {
        /// The directory asked for.
        dir: String,
        /// Where to mount.
        mount: String,
        /// Why it could not be mounted, with a colon in front.
        why: String,
    },
    /// The file system refuses dots in names.
    #[error("{0}: the BPF file system takes no names with a dot: choose another instance name")]
    Dot(String),
    /// Another process holds it.
    #[error("{0}: another agent uses this directory: stop it first, or choose another instance")]
    Busy(String),
    /// Hooks in another network namespace stand in it.
    #[error(
        "{dir}: belongs to network namespace {other}, this is {this}: choose another instance, or \
         run `thalweg detach` for that one first"
    )]
    Namespace {
        /// The directory.
        dir: String,
        /// The namespace that its indices belong to.
        other: String,
        /// Ours.
        this: String,
    },
    /// The file system's words.
    #[error("{path}: {error}")]
    Io {
        /// What failed.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// What a name under `links` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    /// Our program stands at this hook.
    Hook(Mode),
    /// We made the clsact qdisc.
    Qdisc,
}

impl Mark {
    const ALL: [Self; 7] = [
        Self::Hook(Mode::Native),
        Self::Hook(Mode::Generic),
        Self::Hook(Mode::Tcx),
        Self::Hook(Mode::Clsact),
        Self::Hook(Mode::TcxOut),
        Self::Hook(Mode::ClsactOut),
        Self::Qdisc,
    ];

    const fn tag(self) -> &'static str {
        match self {
            Self::Hook(mode) => mode.tag(),
            Self::Qdisc => "qdisc",
        }
    }
}

/// The directory of one instance, held by this process.
#[derive(Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
    /// Holds the lock; the kernel lets go of it when the process ends, however it ends. It also keeps
    /// the file system, and so the pins, when somebody unmounts that.
    lock: File,
}

impl Pins {
    /// Makes and holds the directory; mounts the file system at [`BPFFS`] if that is missing and
    /// `may_mount`.
    pub fn create(dir: &Path, may_mount: bool) -> Result<Self, PinsError> {
        check_file_system(dir, may_mount)?;
        make(&dir.join("links"))?;
        point("pins-links");
        let pins = Self::hold(dir)?;
        point("pins-held");
        make(&pins.layout())?;
        point("pins-layout");
        Ok(pins)
    }

    /// Holds the directory; none if there is none.
    pub fn open(dir: &Path) -> Result<Option<Self>, PinsError> {
        match dir.is_dir() {
            true => Self::hold(dir).map(Some),
            false => Ok(None),
        }
    }

    fn hold(dir: &Path) -> Result<Self, PinsError> {
        let lock = File::open(dir).map_err(|error| at(dir, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| PinsError::Busy(dir.display().to_string()))?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why the directory is not the one that this process holds, and the way out: somebody
    /// unmounted the file system, mounted another above it, or removed the directory.
    pub fn gone(&self) -> Option<(String, String)> {
        let number = |data: fs::Metadata| (data.dev(), data.ino());
        let held = self.lock.metadata().map(number);
        let there = fs::metadata(&self.dir).map(number);
        if matches!((&held, &there), (Ok(held), Ok(there)) if held == there) {
            return None;
        }
        let (dir, mount) = (self.dir.display(), self.dir.parent().and_then(Path::parent));
        let mount = mount.unwrap_or(Path::new(BPFFS)).display();
        Some((
            format!(
                "{dir} is not there any more: the BPF file system was unmounted or the directory \
                 removed. Forwarding goes on, but ends with the agent, and links that come get \
                 their hooks only as long as it lives"
            ),
            format!("`mount -t bpf bpf {mount}` if it is missing, then restart the agent"),
        ))
    }

    /// Name of the filters on clsact qdiscs: tells instances apart.
    pub fn filter_name(&self) -> String {
        let instance = self.dir.file_name().unwrap_or_default().to_string_lossy();
        format!("thalweg/{instance}").chars().take(200).collect()
    }

    /// The network namespace that the indices belong to, if that is written down.
    pub fn namespace(&self) -> Option<Identity> {
        let all = names(&self.dir).ok()?;
        let number = all.iter().find_map(|name| name.strip_prefix("netns-")?.parse().ok())?;
        let inner = names(&self.namespace_mark(number)).unwrap_or_default();
        Some(Identity { number, cookie: inner.iter().find_map(|name| name.parse().ok()) })
    }

    /// Writes down the network namespace; an error if there are hooks in another.
    pub fn set_namespace(&self, this: Identity) -> Result<(), PinsError> {
        match self.namespace() {
            Some(known) if known == this => return Ok(()),
            Some(known) if !known.is(this) && !self.marks().is_empty() => {
                let dir = self.dir.display().to_string();
                let (other, this) = (known.to_string(), this.to_string());
                return Err(PinsError::Namespace { dir, other, this });
            }
            Some(known) => drop(self.forget_namespace(known)?),
            None => {}
        }
        let mark = self.namespace_mark(this.number);
        make(&this.cookie.map_or_else(|| mark.clone(), |cookie| mark.join(cookie.to_string())))
    }

    /// Removes what is written down of a namespace; what that was.
    fn forget_namespace(&self, known: Identity) -> Result<PathBuf, PinsError> {
        let mark = self.namespace_mark(known.number);
        if let Some(cookie) = known.cookie {
            let cookie = mark.join(cookie.to_string());
            remove(&cookie).map_err(|error| at(&cookie, error))?;
        }
        remove(&mark).map_err(|error| at(&mark, error))?;
        Ok(mark)
    }

    fn namespace_mark(&self, number: u64) -> PathBuf {
        self.dir.join(format!("netns-{number}"))
    }

    /// All that stands under `links`, in the order of devices.
    pub fn marks(&self) -> Vec<(u32, Mark)> {
        let names = names(&self.dir.join("links")).unwrap_or_default();
        let read = |name: &String| {
            let (device, tag) = name.split_once('-')?;
            let mark = Mark::ALL.into_iter().find(|mark| mark.tag() == tag)?;
            Some((device.parse().ok()?, mark))
        };
        let mut marks: Vec<_> = names.iter().filter_map(read).collect();
        marks.sort_by_key(|(device, mark)| (*device, mark.tag()));
        marks
    }

    /// Path of a mark.
    pub fn path(&self, device: u32, mark: Mark) -> PathBuf {
        self.dir.join("links").join(format!("{device}-{}", mark.tag()))
    }

    /// Makes a mark that is not a pin.
    pub fn mark(&self, device: u32, mark: Mark) -> io::Result<()> {
        match fs::create_dir(self.path(device, mark)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a mark; nothing happens if there is none.
    pub fn unmark(&self, device: u32, mark: Mark) -> io::Result<()> {
        remove(&self.path(device, mark))
    }

    /// Pins a link of the kernel at a hook of a device.
    pub fn pin(&self, device: u32, mode: Mode, link: BorrowedFd<'_>) -> io::Result<()> {
        raw::pin(link, &c_path(&self.path(device, Mark::Hook(mode)))?)
    }

    /// The pinned link at a hook of a device, if it is still on that device. One that is not (the
    /// device is gone, or another has its index) is removed.
    pub fn link(&self, device: u32, mode: Mode) -> Option<(OwnedFd, raw::LinkInfo)> {
        let mark = Mark::Hook(mode);
        let path = c_path(&self.path(device, mark)).ok()?;
        let link = raw::pinned(&path).ok()?;
        match raw::link_info(link.as_fd()) {
            Ok(info) if info.device == device => Some((link, info)),
            _ => {
                let _ = self.unmark(device, mark);
                None
            }
        }
    }

    /// Takes over what another directory holds, which may not be reachable by its path any more:
    /// links and counters that are still in the kernel, and marks.
    pub fn adopt(&self, other: &Self) -> Result<(), PinsError> {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&other.lock);
        let old = Self { dir: format!("/proc/self/fd/{fd}").into(), lock: clone(&other.lock)? };
        for (device, mark) in old.marks() {
            let taken = match mark {
                Mark::Hook(Mode::Clsact | Mode::ClsactOut) | Mark::Qdisc => self.mark(device, mark),
                Mark::Hook(_) => copy_pin(&old.path(device, mark), &self.path(device, mark)),
            };
            taken.map_err(|error| at(&self.path(device, mark), error))?;
        }
        // Those of a directory that was removed are gone; new ones begin with the next programs.
        let _ = copy_pin(&old.counters(), &self.counters());
        let _ = copy_pin(&old.tested(), &self.tested());
        for ((_, from), (_, to)) in old.flows().iter().zip(self.flows()) {
            let _ = copy_pin(from, &to);
        }
        let _ = copy_pin(&old.peers(), &self.peers());
        for ((_, from), (_, to)) in old.events().iter().zip(self.events()) {
            let _ = copy_pin(from, &to);
        }
        for hook in old.socket_names() {
            self.make_sockets().map_err(|error| at(&self.dir, error))?;
            let (from, to) = (old.socket_path(&hook), self.socket_path(&hook));
            copy_pin(&from, &to).map_err(|error| at(&to, error))?;
        }
        Ok(())
    }

    /// Directory of this version.
    fn layout(&self) -> PathBuf {
        self.dir.join(layout(thalweg_abi::LAYOUT))
    }

    /// Directories of other versions.
    fn others(&self) -> Vec<PathBuf> {
        let own = layout(thalweg_abi::LAYOUT);
        let names = names(&self.dir).unwrap_or_default().into_iter();
        names
            .filter(|name| is_layout(name) && *name != own)
            .map(|name| self.dir.join(name))
            .collect()
    }

    /// Path of the counters.
    pub fn counters(&self) -> PathBuf {
        self.layout().join("counters")
    }

    /// Paths of the tables that programs write, of these names.
    pub fn flows(&self) -> [(&'static str, PathBuf); 2] {
        flow_pins(&self.layout())
    }

    /// The same of other versions.
    pub fn other_flows(&self) -> Vec<[(&'static str, PathBuf); 2]> {
        self.others().iter().map(|dir| flow_pins(dir)).collect()
    }

    /// Path of the table of sockets and whom they speak to.
    pub fn peers(&self) -> PathBuf {
        self.layout().join(peers_name())
    }

    /// The same of other versions.
    pub fn other_peers(&self) -> Vec<PathBuf> {
        self.others().into_iter().map(|dir| dir.join(peers_name())).collect()
    }

    /// Paths of the maps of drop events, of these names.
    pub fn events(&self) -> [(&'static str, PathBuf); 3] {
        event_pins(&self.layout())
    }

    /// The same of other versions.
    pub fn other_events(&self) -> Vec<[(&'static str, PathBuf); 3]> {
        self.others().iter().map(|dir| event_pins(dir)).collect()
    }

    fn socket_path(&self, hook: &str) -> PathBuf {
        self.dir.join("sockets").join(hook)
    }

    /// Names of the socket hooks that have a pin.
    pub fn socket_names(&self) -> Vec<String> {
        names(&self.dir.join("sockets")).unwrap_or_default()
    }

    /// Makes the directory of socket hooks.
    pub fn make_sockets(&self) -> io::Result<()> {
        fs::create_dir_all(self.dir.join("sockets"))
    }

    /// Removes it if it is empty.
    pub fn leave_sockets(&self) -> io::Result<()> {
        remove(&self.dir.join("sockets"))
    }

    /// The pinned link at a socket hook, with the number of its cgroup; that is 0 if the cgroup is gone.
    pub fn socket(&self, hook: &str) -> Option<(OwnedFd, u64)> {
        let link = raw::pinned(&c_path(&self.socket_path(hook)).ok()?).ok()?;
        let info = raw::link_info(link.as_fd()).ok()?;
        Some((link, info.cgroup))
    }

    /// Pins a link at a socket hook, in the place of the one pinned before.
    pub fn pin_socket(&self, hook: &str, link: BorrowedFd<'_>) -> io::Result<()> {
        let aside = self.socket_path(&format!("{hook}_new"));
        remove(&aside)?;
        raw::pin(link, &c_path(&aside)?)?;
        fs::rename(aside, self.socket_path(hook))
    }

    /// Removes the pin of a socket hook, and one that was left half made.
    pub fn unpin_socket(&self, hook: &str) -> io::Result<()> {
        remove(&self.socket_path(&format!("{hook}_new")))?;
        remove(&self.socket_path(hook))
    }

    /// Path of the counts of frames of our own.
    pub fn tested(&self) -> PathBuf {
        self.layout().join("tested")
    }

    /// Paths where other versions may have their counters.
    pub fn other_counters(&self) -> Vec<PathBuf> {
        self.others().into_iter().map(|dir| dir.join("counters")).collect()
    }

    /// Gives an object that is pinned one more name.
    pub fn pin_again(&self, from: &Path, to: &Path) -> io::Result<()> {
        raw::pin(raw::pinned(&c_path(from)?)?.as_fd(), &c_path(to)?)
    }

    /// Removes what other versions have pinned: this one has taken over.
    pub fn leave_others(&self) -> io::Result<()> {
        for dir in self.others() {
            for name in names(&dir)? {
                remove(&dir.join(name))?;
                point("layout-left");
            }
            remove(&dir)?;
        }
        Ok(())
    }

    /// Takes back what [`Self::create`] made, as far as no agent before had use for it.
    pub fn forsake(self) {
        if self.marks().is_empty() && self.socket_names().is_empty() {
            let _ = self.clear();
        } else if !self.others().is_empty() {
            let own = self.layout();
            for name in names(&own).unwrap_or_default() {
                let _ = remove(&own.join(name));
            }
            let _ = remove(&own);
        }
    }

    /// Pins a program in the place of the one pinned before.
    pub fn pin_program(&self, name: &str, program: BorrowedFd<'_>) -> io::Result<()> {
        let path = self.layout().join(name);
        let aside = self.layout().join(format!("{name}_new"));
        remove(&aside)?;
        raw::pin(program, &c_path(&aside)?)?;
        point("program-aside");
        fs::rename(aside, path)?;
        point("program-pinned");
        Ok(())
    }

    /// Removes versioned directories and, when no marks are left, everything else; says what.
    pub fn clear(self) -> Result<Vec<PathBuf>, PinsError> {
        let mut removed = Vec::new();
        let mut take = |path: PathBuf| -> Result<(), PinsError> {
            remove(&path).map_err(|error| at(&path, error))?;
            removed.push(path);
            point("detach-pin");
            Ok(())
        };
        for name in names(&self.dir).map_err(|error| at(&self.dir, error))? {
            if is_layout(&name) {
                let dir = self.dir.join(name);
                for pin in names(&dir).map_err(|error| at(&dir, error))? {
                    take(dir.join(pin))?;
                }
                take(dir)?;
            }
        }
        if self.marks().is_empty() && self.socket_names().is_empty() {
            take(self.dir.join("links"))?;
            if let Some(known) = self.namespace() {
                take(self.forget_namespace(known)?)?;
            }
            take(self.dir.clone())?;
            // The directory of all instances goes with the last of them.
            if let Some(parent) = self.dir.parent().filter(|dir| dir.ends_with("thalweg")) {
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(removed)
    }
}

/// Whether the processes that hold the pins' file system in view are only those of this mount
/// namespace: then pins end with the last of them (`ip netns exec` does that to /sys).
pub fn is_private(dir: &Path) -> bool {
    let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let elsewhere = matches!((space("self"), space("1")), (Some(own), Some(first)) if own != first);
    let table = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo"));
    match (elsewhere, table("self"), table("1")) {
        (true, Ok(own), Ok(first)) => {
            let (own, first) = (file_system(&own, dir), file_system(&first, dir));
            own.is_some() && own != first
        }
        _ => false,
    }
}

/// Device number of the BPF file system that `dir` is in, by a mount table (proc(5), mountinfo).
fn file_system(table: &str, dir: &Path) -> Option<String> {
    let bpf = table.lines().filter(|line| line.contains(" - bpf "));
    let above = bpf.filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let (device, _root, point) = (fields.next()?, fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), device))
    });
    above.max_by_key(|(depth, _)| *depth).map(|(_, device)| device.to_owned())
}

fn check_file_system(dir: &Path, may_mount: bool) -> Result<(), PinsError> {
    let exists = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let magic = |dir: &Path| statfs(dir).is_ok_and(|fs| fs.f_type as u64 == MAGIC);
    if !magic(exists) {
        let point = if dir.starts_with(BPFFS) { Path::new(BPFFS) } else { exists };
        let failed = |why: String| PinsError::NoFileSystem {
            dir: dir.display().to_string(),
            mount: point.display().to_string(),
            why,
        };
        if !may_mount || point != Path::new(BPFFS) {
            return Err(failed(String::new()));
        }
        rights::raised(|| mount("bpf", point, "bpf", MountFlags::empty(), None))
            .map_err(|error| failed(format!(", and mounting it failed with {error}")))?;
    }
    let below = dir.strip_prefix(exists).unwrap_or(dir);
    match below.as_os_str().as_bytes().contains(&b'.') {
        true => Err(PinsError::Dot(dir.display().to_string())),
        false => Ok(()),
    }
}

fn clone(file: &File) -> Result<File, PinsError> {
    file.try_clone().map_err(|error| at(Path::new("/proc/self/fd"), error))
}

/// Gives a pinned object a second name.
fn copy_pin(from: &Path, to: &Path) -> io::Result<()> {
    let object = raw::pinned(&c_path(from)?)?;
    raw::pin(std::os::fd::AsFd::as_fd(&object), &c_path(to)?)
}

fn make(dir: &Path) -> Result<(), PinsError> {
    fs::create_dir_all(dir).map_err(|error| at(dir, error))
}

/// Removes a pin or an empty directory; nothing happens if there is none.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(data) if data.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(dir)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn at(path: &Path, error: io::Error) -> PinsError {
    PinsError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bpf_file_system_of_a_mount_table_counts() {
        let table = "\
            25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            33 25 0:29 / /sys/fs/bpf rw shared:11 - bpf bpf rw,mode=700\n\
            80 30 0:51 / /run/thalweg/bpf rw - bpf bpf rw\n";
        let at = |dir: &str| file_system(table, dir.as_ref());
        assert_eq!(at("/sys/fs/bpf/thalweg/one").as_deref(), Some("0:29"));
        assert_eq!(at("/run/thalweg/bpf/one").as_deref(), Some("0:51"));
        assert_eq!(at("/run/thalweg"), None);
        assert_eq!(at("/sys/fs/bpffoo"), None, "names are compared whole");
    }
}
