//! The lock that makes an agent the only one of its name, and says who holds it.

use crate::serve::{SocketError, failed};
use crate::settings::Settings;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};
use thalweg_api::moment;

/// How long whoever holds the lock may take to write down who it is: both may have just started.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of an instance.
///
/// # Errors
///
/// [`SocketError::Taken`] when another agent has it, with what is known of that one.
pub fn lock(settings: &Settings) -> Result<Lock, SocketError> {
    if let Some(directory) = settings.socket.parent() {
        std::fs::create_dir_all(directory).map_err(failed("cannot create", directory))?;
    }
    let path = settings.socket.with_extension("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("cannot open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For people only: a disk that is full is no reason not to forward.
            let _ = inscribe(&mut file, settings);
            Ok(Lock { _file: file })
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let start = Instant::now();
            let holder = loop {
                let holder = holder(&mut file);
                if holder.is_some() || start.elapsed() > PATIENCE {
                    break holder;
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            Err(taken(holder, settings, &path))
        }
        Err(error) => Err(failed("cannot lock", &path)(error.into())),
    }
}

/// Writes down who holds the lock.
fn inscribe(file: &mut File, settings: &Settings) -> std::io::Result<()> {
    let socket = std::path::absolute(&settings.socket)?;
    file.set_len(0)?;
    file.rewind()?;
    write!(
        file,
        "instance {}\npid {}\nsince {}\nsocket {}\n",
        settings.instance,
        std::process::id(),
        moment::text(moment::now()),
        socket.display()
    )
}

/// Who holds a lock.
struct Holder {
    instance: String,
    pid: String,
    since: String,
    socket: String,
}

/// Reads who holds the lock; none as long as that one did not write it down. What one that was killed
/// left in the file is not believed: the kernel knows the process.
fn holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
    };
    let pid = field("pid")?;
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let known = process(&locks, file.metadata().ok()?.ino());
    if known.is_some_and(|known| known != pid) {
        return None;
    }
    Some(Holder {
        instance: field("instance")?,
        pid,
        since: field("since")?,
        socket: field("socket")?,
    })
}

/// The process that holds the lock of an inode, by `/proc/locks` (proc_locks(5)); none if it cannot be
/// seen from here or may be another file's.
fn process(locks: &str, inode: u64) -> Option<&str> {
    // `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; who waits has an arrow in front.
    let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    let mut found = words.filter_map(|words| match words[..] {
        [_, "FLOCK", _, "WRITE", pid, file, ..] => {
            let same = file.rsplit(':').next().and_then(|text| text.parse().ok()) == Some(inode);
            (same && pid.parse::<u32>().is_ok_and(|pid| pid > 0)).then_some(pid)
        }
        _ => None,
    });
    found.next().filter(|_| found.next().is_none())
}

/// Says who holds the lock, as far as that one wrote it down.
fn taken(holder: Option<Holder>, settings: &Settings, path: &Path) -> SocketError {
    let holder = match holder {
        Some(Holder { instance, pid, since, socket }) => format!(
            "instance `{instance}` is already running: pid {pid} since {since}, control socket \
             {socket}; stop it (`kill {pid}`)"
        ),
        None => format!(
            "instance `{}` is already running, and did not write down who it is; find it \
             (`fuser {}`) and stop it",
            settings.instance,
            path.display()
        ),
    };
    SocketError::Taken { holder, lock: path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::new("/etc/thalweg", "lab");
        settings.socket = dir.path().join("run/lab.sock");
        // What an agent left behind that was killed.
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("run/lab.lock"), "instance old\npid 1\n").unwrap();
        let first = lock(&settings).unwrap();
        let error = lock(&settings).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(error.contains(&format!("instance `lab` is already running: pid {pid} since 20")));
        assert!(error.contains(&format!("`kill {pid}`")), "{error}");
        assert!(error.contains("run/lab.sock") && error.contains("run/lab.lock"), "{error}");
        assert!(!error.contains("old"), "{error}");
        drop(first);
        lock(&settings).unwrap();
    }

    #[test]
    fn the_kernel_tells_the_process_of_a_lock() {
        let locks = "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 99 fe:00:5678 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 7 fe:00:5679 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fe:00:5680 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 8 fe:00:5681 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 9 fe:01:5681 0 EOF\n";
        assert_eq!(process(locks, 5678), Some("1234"));
        for inode in [5679, 5680, 5681, 1] {
            assert_eq!(process(locks, inode), None, "{inode}");
        }
    }
}
