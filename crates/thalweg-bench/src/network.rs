//! Hosts without names: network namespaces that end with this process, however it ends.

use crate::Measured;
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

/// A network namespace of our own.
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with nothing in it but a loopback link.
    pub fn new() -> Measured<Self> {
        let home = current()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| {
            format!("no network namespace can be made ({error}): the benchmark must run as root")
        })?;
        let file = current();
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        Ok(Self { file: file? })
    }

    /// The same one once more.
    pub fn again(&self) -> Measured<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Does `work` inside.
    pub fn inside<T>(&self, work: impl FnOnce() -> Measured<T>) -> Measured<T> {
        let home = current()?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        let result = work();
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        result
    }

    /// Where `ip link set … netns` finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

fn current() -> Measured<File> {
    Ok(File::open("/proc/thread-self/ns/net")?)
}

/// Runs `ip` commands, one a line, in the namespace of this thread.
pub fn ip(commands: &str) -> Measured<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`ip` cannot be run ({error}); install iproute2"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

/// Runs a program in the namespace of this thread.
pub fn run(program: &str, arguments: &[&str]) -> Measured<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
        }
    }
}

/// Writes a setting below `/proc/sys/net` of the namespace of this thread.
pub fn set(name: &str, value: &str) -> Measured<()> {
    fs::write(format!("/proc/sys/net/{name}"), value)
        .map_err(|error| format!("setting net/{name} cannot be written: {error}").into())
}

/// The number of a link in the namespace of this thread.
pub fn index(link: &str) -> Measured<u32> {
    Ok(nix::net::if_::if_nametoindex(link)?)
}
