//! Entering another network namespace.

use crate::Error;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// Moves the calling thread into a network namespace: a name that `ip netns` knows, or a path such
/// as `/proc/1234/ns/net`.
///
/// Threads inherit the namespace of the thread that starts them: call this first thing in `main`,
/// before a runtime exists. Sockets stay in the namespace they were opened in.
///
/// # Errors
///
/// [`Error::Namespace`] when there is no such namespace, or without `CAP_SYS_ADMIN`.
pub fn enter_netns(name_or_path: &str) -> Result<(), Error> {
    let path = match name_or_path.contains('/') {
        true => name_or_path.to_owned(),
        false => format!("/run/netns/{name_or_path}"),
    };
    let failed = |error: Errno| Error::Namespace {
        name: name_or_path.to_owned(),
        path: path.clone(),
        remedy: match error {
            Errno::NOENT => "`ip netns list` shows the names there are",
            Errno::PERM | Errno::ACCESS => "run as root or with CAP_SYS_ADMIN",
            Errno::INVAL => "give the path of a network namespace",
            _ => "check the path",
        },
        error: error.into(),
    };
    let file =
        open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let error = enter_netns("no-such-namespace").unwrap_err().to_string();
        assert!(error.contains("`no-such-namespace` (/run/netns/no-such-namespace)"), "{error}");
        assert!(error.contains("ip netns list"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        let error = enter_netns("/proc/self/comm").unwrap_err().to_string();
        assert!(error.contains("give the path of a network namespace"), "{error}");
    }
}
