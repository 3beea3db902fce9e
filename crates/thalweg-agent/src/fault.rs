//! Places where a test build dies on request, as if the power had gone.
//!
//! With the feature `fault-points`, `THALWEG_FAULT=NAME[:COUNT]` kills the process with SIGKILL the
//! COUNT-th time it comes by the place NAME (the first time without a count). Without the feature
//! the places are nothing.

/// All places, in the order in which an `apply` comes by them.
pub const POINTS: &[&str] = &[
    "state-open",
    "state-temp",
    "state-data",
    "state-rename",
    "state-done",
    "install-begin",
    "install-link-old",
    "install-write-new",
    "install-journal",
    "install-replace",
    "install-remove",
    "install-synced",
    "install-journal-gone",
    "install-clean",
    "pending-gone",
    "history-append",
    "plan-before",
    "plan-after",
    "hook-before",
    "hook-after",
];

/// Dies here if the environment asks for it.
#[cfg(feature = "fault-points")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WISH: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    let wish = WISH.get_or_init(|| {
        let text = std::env::var("THALWEG_FAULT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().unwrap_or(1))))
    });
    let Some((wanted, left)) = wish else { return };
    if wanted == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing, in builds without the feature `fault-points`.
#[cfg(not(feature = "fault-points"))]
pub fn point(_name: &str) {}
