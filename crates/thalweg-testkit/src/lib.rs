//! The test kit: journeys of packets, told in iproute2 words, and the engines that live them.
//!
//! A [`World`] is intent and host state made from lines as `ip` would print them; an [`Engine`] puts
//! it in force and takes frames through it: the packet core natively, or loaded as eBPF at the XDP
//! or tc hook. A [`Journey`] is a world, frames, and what must become of them. docs/journeys.md
//! explains the files.
#![forbid(unsafe_code)]

pub mod against_oracle;
pub mod cgroup;
pub mod engine;
pub mod failures;
pub mod invariant;
pub mod inventory;
pub mod journey;
pub mod kernel;
pub mod links;
pub mod pieces;
pub mod random;
pub mod runner;
pub mod stream;
mod translated;
mod tunnelled;
pub mod world;

pub use engine::{Engine, Fate, Native, Refusal};
pub use journey::Journey;
pub use kernel::{Kernel, KernelEngine, Missing};
pub use world::World;

use std::path::PathBuf;

/// Notes a test that cannot run, with its reason, where `make test` counts them.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    let Some(log) = std::env::var_os("THALWEG_SKIP_LOG") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
    if let Ok(mut file) = file {
        use std::io::Write;
        let _ = writeln!(file, "skipped: {why}");
    }
}

/// The root of the source tree that this crate was built in.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the journeys are: in the source tree, or `/tests/journeys` where there is none.
pub fn journeys() -> PathBuf {
    let here = root().join("tests/journeys");
    if here.is_dir() { here } else { PathBuf::from("/tests/journeys") }
}
