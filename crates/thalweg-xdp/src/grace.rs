//! Grace periods: eBPF programs run inside RCU read-side sections.

use crate::raw;
use std::time::Duration;
use thalweg_image::Grace;

/// Waits until every eBPF program that was running has ended.
pub struct Membarrier;

/// How long to wait where the kernel refuses the barrier (`nohz_full` processors). Programs run for
/// microseconds; this is five orders of magnitude more.
const FALLBACK: Duration = Duration::from_millis(500);

impl Grace for Membarrier {
    fn wait(&self) {
        if raw::membarrier().is_err() {
            std::thread::sleep(FALLBACK);
        }
    }
}
