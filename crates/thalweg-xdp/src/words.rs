//! Errors of the kernel in words: the name of the number, and what the kernel adds if asked nicely.

use crate::hook::Mode;
use crate::netlink::{Refusal, Request, Talk, nested};
use crate::raw;
use crate::rights;
use aya::programs::loaded_programs;
use libc::{IFLA_XDP, RTM_SETLINK};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `XDP_FLAGS_*` (include/uapi/linux/if_link.h).
const UPDATE_IF_NOEXIST: u32 = 1;
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;
const REPLACE: u32 = 1 << 4;

/// Attributes within `IFLA_XDP`.
const FD: u16 = 1;
const FLAGS: u16 = 3;
const EXPECTED_FD: u16 = 8;

/// Flags that ask for a mode of XDP.
pub fn xdp_flags(mode: Mode) -> u32 {
    if mode == Mode::Native { DRV_MODE } else { SKB_MODE }
}

/// `EBUSY (Device or resource busy)`.
pub fn errno(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match error.raw_os_error().and_then(name) {
        Some(name) => format!("{name} ({text})"),
        None => text.to_owned(),
    }
}

fn name(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::E2BIG => "E2BIG",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::ENODEV => "ENODEV",
        libc::EINVAL => "EINVAL",
        libc::ENOSPC => "ENOSPC",
        libc::ERANGE => "ERANGE",
        libc::ENOLINK => "ENOLINK",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        _ => return None,
    })
}

/// A refusal by netlink.
pub fn refusal(refusal: &Refusal) -> String {
    join(&refusal.error, &refusal.words)
}

fn join(error: &io::Error, words: &str) -> String {
    match words {
        "" => errno(error),
        words => format!("{}: {words}", errno(error)),
    }
}

/// Why the kernel refused an XDP link. A link gives a number only, so the question is put once more
/// by netlink, which answers in words; should it succeed there, it is taken back at once.
pub fn xdp_refused(device: u32, mode: Mode, program: BorrowedFd<'_>, error: &io::Error) -> String {
    let asked = Talk::route().map_err(Refusal::from).and_then(|talk| {
        set_xdp(&talk, device, program.as_raw_fd(), xdp_flags(mode) | UPDATE_IF_NOEXIST, None)?;
        let flags = xdp_flags(mode) | REPLACE;
        set_xdp(&talk, device, -1, flags, Some(program.as_raw_fd()))
    });
    match asked {
        Err(refusal) => join(error, &refusal.words),
        Ok(()) => errno(error),
    }
}

fn set_xdp(
    talk: &Talk,
    device: u32,
    program: i32,
    flags: u32,
    expected: Option<i32>,
) -> Result<(), Refusal> {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&device.to_ne_bytes());
    let (program, flags) = (program.to_ne_bytes(), flags.to_ne_bytes());
    let expected = expected.map(i32::to_ne_bytes);
    let mut rows: Vec<(u16, &[u8])> = vec![(FD, &program), (FLAGS, &flags)];
    rows.extend(expected.iter().map(|fd| (EXPECTED_FD, &fd[..])));
    talk.ask(Request::new(RTM_SETLINK, 0, &fixed).attribute(IFLA_XDP, &nested(&rows))).map(drop)
}

/// How to name a program by its id: `` `name` (id 7) ``, or the id where names are not for us.
pub fn program(id: u32) -> String {
    match program_name(id) {
        Some(name) if !name.is_empty() => format!("`{name}` (id {id})"),
        _ => format!("id {id}"),
    }
}

/// Name of a program; none where names are not for us.
pub fn program_name(id: u32) -> Option<String> {
    let all = || loaded_programs().flatten().find(|info| info.id() == id);
    rights::raised(all)?.name_as_str().map(str::to_owned)
}

/// Whether the kernel has tcx links (Linux 6.6), asked on the loopback, which is always there.
pub fn has_tcx() -> bool {
    raw::query(1, raw::ATTACH_TCX).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_name_and_their_meaning() {
        let busy = io::Error::from_raw_os_error(libc::EBUSY);
        assert_eq!(errno(&busy), "EBUSY (Device or resource busy)");
        let unknown = io::Error::from_raw_os_error(libc::EDOM);
        assert_eq!(errno(&unknown), "Numerical argument out of domain");
        let words = Refusal { error: busy, words: "XDP program already attached".to_owned() };
        assert_eq!(
            refusal(&words),
            "EBUSY (Device or resource busy): XDP program already attached"
        );
    }
}
