//! Socket hooks: programs at a cgroup, for processes that connect to services themselves.
//!
//! ```text
//! <dir>/sockets/connect4       the kernel's link that holds our program at that hook of a cgroup
//! ```
//!
//! All eight hooks get their programs or none does: who is sent to a backend must hear of the service.
//! Whatever is in the way is told and nothing else suffers.

use crate::hooks::Held;
use crate::load::{LoadError, Loaded};
use crate::pins::Pins;
use crate::raw;
use crate::words::errno;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thalweg_fault::point;

/// A hook of a cgroup at which sockets come by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketHook {
    /// Its name, in the object and in file names.
    pub name: &'static str,
    /// Name of its program in the object.
    pub program: &'static str,
    /// The kernel's number of it (`enum bpf_attach_type`, include/uapi/linux/bpf.h).
    attach: u32,
}

impl SocketHook {
    const fn new(name: &'static str, program: &'static str, attach: u32) -> Self {
        Self { name, program, attach }
    }

    /// All of them, in the order in which they are attached: none sends a process to a backend before
    /// answers can be told as the service's. They come off in the opposite order.
    pub const ALL: [Self; 8] = [
        Self::new("getpeername4", "thalweg_getpeername4", 29),
        Self::new("getpeername6", "thalweg_getpeername6", 30),
        Self::new("recvmsg4", "thalweg_recvmsg4", 19),
        Self::new("recvmsg6", "thalweg_recvmsg6", 20),
        Self::new("sendmsg4", "thalweg_sendmsg4", 14),
        Self::new("sendmsg6", "thalweg_sendmsg6", 15),
        Self::new("connect4", "thalweg_connect4", 10),
        Self::new("connect6", "thalweg_connect6", 11),
    ];
}

/// What is in the way of socket hooks, and the way out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// What is in the way.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How socket hooks stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketStatus {
    /// The cgroup whose processes are served; none if it could not be found.
    pub cgroup: Option<PathBuf>,
    /// Why no hook has a program; none if all have.
    pub obstacle: Option<Obstacle>,
}

/// The socket hooks of a plane.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// The cgroup; none takes the root of the hierarchy.
    pub cgroup: Option<PathBuf>,
    /// Whether sockets are to be served; what an agent before left stays as long as that is not known.
    pub wanted: Option<bool>,
    /// What came of it last; none while they are not wanted.
    pub status: Option<SocketStatus>,
}

impl Sockets {
    /// Brings programs to all hooks or takes them off; doing it twice changes nothing.
    pub fn reconcile(&mut self, loaded: &mut Loaded, pins: &Pins) {
        match self.wanted {
            None => return,
            Some(true) => {}
            Some(false) => {
                detach(pins);
                self.status = None;
                return;
            }
        }
        let cgroup = self.cgroup.clone().map_or_else(root, Ok);
        let come = cgroup.and_then(|cgroup| match bring(&cgroup, loaded, pins) {
            Ok(()) => Ok(cgroup),
            Err(obstacle) => Err(obstacle),
        });
        self.status = Some(match come {
            Ok(cgroup) => SocketStatus { cgroup: Some(cgroup), obstacle: None },
            Err(obstacle) => {
                // Half of them, or those of another agent with its tables, would tell lies.
                detach(pins);
                SocketStatus { cgroup: self.cgroup.clone(), obstacle: Some(obstacle) }
            }
        });
    }

    /// How many hooks have programs of ours.
    pub fn count(&self) -> usize {
        let stand = self.status.as_ref().is_some_and(|status| status.obstacle.is_none());
        if stand { SocketHook::ALL.len() } else { 0 }
    }

    /// Hooks whose program is gone or another's, in words.
    pub fn lost(&self, pins: &Pins) -> Vec<String> {
        let Some(cgroup) = self.status.as_ref().and_then(|status| status.cgroup.as_ref()) else {
            return Vec::new();
        };
        if self.count() == 0 {
            return Vec::new();
        }
        let id = fs::metadata(cgroup).map(|data| data.ino()).unwrap_or_default();
        let is_lost = |hook: &&SocketHook| pins.socket(hook.name).is_none_or(|(_, at)| at != id);
        let lost = SocketHook::ALL.iter().filter(is_lost);
        lost.map(|hook| {
            format!("cgroup {}: the program at {} is gone", cgroup.display(), hook.name)
        })
        .collect()
    }
}

/// The root of the second version's hierarchy of cgroups.
fn root() -> Result<PathBuf, Obstacle> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    hierarchy(&table).ok_or_else(|| Obstacle {
        what: "no cgroup2 file system is mounted".into(),
        remedy: "`mount -t cgroup2 none /sys/fs/cgroup/unified`, or name a cgroup by --cgroup"
            .into(),
    })
}

/// Mount point of the whole hierarchy in a mount table (proc(5), mountinfo), or of a part of it.
pub fn hierarchy(table: &str) -> Option<PathBuf> {
    let mounts = table.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        Some((root != "/", point))
    });
    let (_, point) = mounts.min_by_key(|(is_part, _)| *is_part)?;
    Some(PathBuf::from(point.replace("\\040", " ")))
}

/// Makes sure that this agent's programs stand at all hooks of a cgroup.
fn bring(cgroup: &Path, loaded: &mut Loaded, pins: &Pins) -> Result<(), Obstacle> {
    if !loaded.knows_host() {
        return Err(Obstacle {
            what: "this kernel (before 5.14) does not say which network namespace a process is in"
                .into(),
            remedy: "use a newer kernel, or set spec.services.socket: Off".into(),
        });
    }
    let programs = loaded.socket_programs().map_err(|error| Obstacle {
        what: refused(&error),
        remedy: "use Linux 6.1 or newer, or set spec.services.socket: Off".into(),
    })?;
    let at = |error: io::Error| Obstacle {
        what: format!("{}: {}", cgroup.display(), errno(&error)),
        remedy: "name a cgroup of the second version by --cgroup".into(),
    };
    let directory = File::open(cgroup).map_err(at)?;
    let id = directory.metadata().map_err(at)?.ino();
    pins.make_sockets().map_err(at)?;
    for (hook, program) in SocketHook::ALL.iter().zip(programs) {
        settle(hook, &program, (&directory, id), pins).map_err(|error| Obstacle {
            what: format!("{} of cgroup {}: {}", hook.name, cgroup.display(), errno(&error)),
            remedy: "`bpftool cgroup tree` shows whose programs are in the way".into(),
        })?;
        point("socket-settled");
    }
    Ok(())
}

/// The kernel's words, without those of its verifier.
fn refused(error: &LoadError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Puts a program in the place of the one at a hook, at once, or attaches it anew. One at another cgroup
/// comes off after that.
fn settle(hook: &SocketHook, program: &Held, at: (&File, u64), pins: &Pins) -> io::Result<()> {
    let before = pins.socket(hook.name);
    if let Some((link, _)) = before.as_ref().filter(|(_, cgroup)| *cgroup == at.1) {
        return raw::link_update(link.as_fd(), program.fd.as_fd());
    }
    let cgroup = at.0.as_raw_fd() as u32;
    let link = raw::link_create(program.fd.as_fd(), cgroup, hook.attach, 0)?;
    point("socket-created");
    pins.pin_socket(hook.name, link.as_fd())?;
    point("socket-pinned");
    match before {
        Some((old, _)) => raw::link_detach(old.as_fd()),
        None => Ok(()),
    }
}

/// Takes our programs off all socket hooks; says which there were.
pub(crate) fn detach(pins: &Pins) -> Vec<String> {
    let mut removed = Vec::new();
    for hook in SocketHook::ALL.iter().rev() {
        if let Some((link, _)) = pins.socket(hook.name)
            && raw::link_detach(link.as_fd()).is_ok()
        {
            removed.push(format!("program at {}", hook.name));
            point("socket-detached");
        }
        let _ = pins.unpin_socket(hook.name);
    }
    let _ = pins.leave_sockets();
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_is_preferred_to_a_part() {
        let table = "\
            25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            33 25 0:29 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
            80 30 0:51 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            81 30 0:29 / /run/the\\040root rw - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchy(table).as_deref(), Some(Path::new("/run/the root")));
        let part: String = table.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(hierarchy(&part).as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(hierarchy(table.lines().next().unwrap()), None);
    }
}
