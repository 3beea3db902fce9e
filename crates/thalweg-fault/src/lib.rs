//! Places where a test build dies on request, as if the power had gone.
//!
//! With the feature `points`, `THALWEG_FAULT=NAME[:COUNT]` kills the process with SIGKILL the
//! COUNT-th time it comes by the place NAME (the first time without a count). Without the feature
//! the places are nothing.
#![forbid(unsafe_code)]

/// Places in the agent's own state, in the order in which an `apply` comes by them.
pub const STATE: &[&str] = &[
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

/// Places in the writer of the tables, in the order of a plan.
pub const TABLES: &[&str] = &[
    "tables-writing",
    "tables-copied",
    "tables-part",
    "tables-drafted",
    "tables-epoch",
    "tables-generation",
];

/// Places where an agent starts and takes over from the one before, in that order.
pub const START: &[&str] = &[
    "pins-links",
    "pins-held",
    "pins-layout",
    "pins-namespace",
    "load-maps",
    "load-xdp",
    "load-tc",
    "load-mapped",
    "behind-cleared",
    "update-before",
    "update-after",
    "program-aside",
    "program-pinned",
    "behind-set",
];

/// Places where a hook is exchanged for another kind of hook.
pub const MOVE: &[&str] = &[
    "attach-before",
    "attach-created",
    "attach-pinned",
    "remove-before",
    "remove-detached",
    "remove-after",
];

/// Places where an instance is taken out of the kernel.
pub const DETACH: &[&str] = &["detach-hook", "detach-pin"];

/// Places that only the way from one layout to another comes by.
pub const LAYOUT: &[&str] = &["counters-carried", "counters-renewed", "layout-left"];

/// Places where the flow table of another agent is taken over or left.
pub const FLOWS: &[&str] = &["flows-cleared", "flows-carried"];

/// Places where programs come to the hooks of sockets, are exchanged, and come off.
pub const SOCKETS: &[&str] =
    &["socket-created", "socket-pinned", "socket-settled", "socket-detached"];

/// Places of the filters on clsact qdiscs, where the kernel has no tcx.
pub const CLSACT: &[&str] = &["clsact-marked", "clsact-made", "clsact-hook-marked"];

/// Places that only failures come by.
pub const FAILURE: &[&str] = &["link-down"];

/// Dies here if the environment asks for it.
#[cfg(feature = "points")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WISH: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let lists = [STATE, TABLES, START, MOVE, DETACH, LAYOUT, FLOWS, SOCKETS, CLSACT, FAILURE];
    debug_assert!(lists.iter().any(|list| list.contains(&name)), "{name} is in no list");
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

/// Nothing, in builds without the feature `points`.
#[cfg(not(feature = "points"))]
#[inline(always)]
pub fn point(_name: &str) {}
