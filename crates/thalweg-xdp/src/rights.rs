//! Rights (capabilities(7)) that a running agent keeps, and the one that it raises for a moment.
//!
//! All of this is per thread, and new threads inherit it: keep to what is needed before there are
//! any. A right that is *held* only can be raised again; what is given up is gone for good.

use rustix::io;
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What the plane works with: programs and maps, links and filters, pointers in programs.
pub const WORKING: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// What is raised for a moment only: looking into the network namespace of a veth's other end,
/// mounting the BPF file system, reading the names of other people's programs.
pub const HELD: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Gives up everything but [`WORKING`] and [`HELD`], for the calling thread and those it starts:
/// permitted, inheritable, ambient and bounding sets. No program it might run gains any
/// (`no_new_privs`). What was missing before stays missing.
///
/// # Errors
///
/// The kernel's.
pub fn keep_needed() -> io::Result<()> {
    let kept = WORKING.union(HELD);
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept)?;
    }
    clear_ambient_capability_set()?;
    let mut next = now;
    next.permitted = now.permitted.intersection(kept);
    next.effective = now.permitted.intersection(WORKING);
    next.inheritable = CapabilitySet::empty();
    set_capabilities(None, next)?;
    set_no_new_privs(true)
}

/// Takes all but `kept` from the bounding set.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // The kernel has no such right.
            Err(io::Errno::INVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Whether the calling thread holds [`HELD`].
pub fn may_raise() -> bool {
    capabilities(None).is_ok_and(|sets| sets.permitted.contains(HELD))
}

/// Runs `work` with [`HELD`] raised on this thread, if it is held, and lowers it again.
pub fn raised<T>(work: impl FnOnce() -> T) -> T {
    let Ok(before) = capabilities(None) else { return work() };
    let mut more = before;
    more.effective |= HELD.intersection(before.permitted);
    if more.effective == before.effective || set_capabilities(None, more).is_err() {
        return work();
    }
    let result = work();
    // Less than now is always granted.
    let _ = set_capabilities(None, before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_gone_and_what_is_held_comes_for_a_moment() {
        std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            keep_needed().unwrap();
            let own = capabilities(None).unwrap();
            assert_eq!(own.permitted, before.permitted.intersection(WORKING.union(HELD)));
            assert_eq!(own.effective, before.permitted.intersection(WORKING));
            assert!(own.inheritable.is_empty());
            assert!(rustix::thread::no_new_privs().unwrap());
            let held = HELD.intersection(before.permitted);
            let inside = raised(|| capabilities(None).unwrap().effective);
            assert_eq!(inside, own.effective.union(held));
            assert_eq!(capabilities(None).unwrap(), own);
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            if before.effective.contains(CapabilitySet::SETPCAP) {
                assert!(status.contains("CapBnd:\t000000c000201000"), "{status}");
            }
        })
        .join()
        .unwrap();
    }
}
