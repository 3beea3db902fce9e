//! The lock that makes an agent the only one of its name, and says who holds it.

use crate::serve::{SocketError, failed};
use crate::settings::Settings;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use thalweg_api::moment;

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
        Err(rustix::io::Errno::WOULDBLOCK) => Err(taken(&mut file, settings, &path)),
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

/// Says who holds the lock, as far as that one wrote it down.
fn taken(file: &mut File, settings: &Settings, path: &Path) -> SocketError {
    let mut text = String::new();
    let _ = file.take(4096).read_to_string(&mut text);
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned)
    };
    let holder = match (field("instance"), field("pid"), field("since"), field("socket")) {
        (Some(instance), Some(pid), Some(since), Some(socket)) => format!(
            "instance `{instance}` is already running: pid {pid} since {since}, control socket \
             {socket}; stop it (`kill {pid}`)"
        ),
        _ => format!(
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
}
