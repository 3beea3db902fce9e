//! Facts about this kernel and this process that decide what can be done, for status and `doctor`.

use crate::device::Devices;
use crate::words;
use rustix::system::uname;
use std::fmt;
use std::fs;

/// A right that the eBPF plane needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// To load programs and maps.
    Bpf,
    /// To attach programs to links.
    NetAdmin,
    /// A user namespace that is not the first one gives no rights over the kernel's programs.
    FirstUserNamespace,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::FirstUserNamespace => "the host's user namespace",
        })
    }
}

/// What is so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Release of the kernel.
    pub kernel: String,
    /// tcx links can be had (Linux 6.6); else clsact.
    pub tcx: bool,
    /// The kernel tells what drivers can do with XDP (Linux 6.3).
    pub xdp_features: bool,
    /// Programs are compiled; none when the kernel does not tell.
    pub jit: Option<bool>,
    /// Rights that are missing; empty if the plane can work.
    pub missing: Vec<Right>,
}

impl Facts {
    /// Looks at the kernel and the calling thread.
    pub fn read() -> Self {
        Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            tcx: words::has_tcx(),
            xdp_features: Devices::new().is_ok_and(|devices| devices.know_features()),
            jit: jit(),
            missing: missing(),
        }
    }
}

fn jit() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(text.trim() != "0")
}

/// Rights of the calling thread that the plane needs and that are not there.
pub fn missing() -> Vec<Right> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let map = fs::read_to_string("/proc/thread-self/uid_map").unwrap_or_default();
    missing_in(&status, &map)
}

/// The same of what the kernel says about a thread. Unknown rights count as there: loading will
/// tell.
fn missing_in(status: &str, uid_map: &str) -> Vec<Right> {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const BPF: u32 = 39;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(u64::MAX);
    let has = |right: u32| set >> right & 1 != 0;
    // The first user namespace maps all numbers to themselves.
    let whole = uid_map.is_empty() || uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    [
        (Right::Bpf, has(BPF) || has(SYS_ADMIN)),
        (Right::NetAdmin, has(NET_ADMIN)),
        (Right::FirstUserNamespace, whole),
    ]
    .into_iter()
    .filter_map(|(right, there)| (!there).then_some(right))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "         0          0 4294967295\n";

    #[test]
    fn missing_rights_are_named() {
        let status = |set: &str| format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{set}\nCapBnd:\t0\n");
        assert_eq!(missing_in(&status("000001ffffffffff"), WHOLE), []);
        assert_eq!(missing_in(&status("0000000000000000"), WHOLE), [Right::Bpf, Right::NetAdmin]);
        assert_eq!(missing_in(&status("0000000000200000"), WHOLE), [Right::NetAdmin]);
        assert_eq!(missing_in(&status("0000008000001000"), WHOLE), []);
        let inner = missing_in(&status("000001ffffffffff"), "0 1000 1\n");
        assert_eq!(inner, [Right::FirstUserNamespace]);
        assert_eq!(missing_in("", ""), [], "nothing known: loading will tell");
    }

    #[test]
    fn facts_name_the_kernel() {
        assert!(Facts::read().kernel.contains('.'));
    }
}
