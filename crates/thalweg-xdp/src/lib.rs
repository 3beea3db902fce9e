//! The eBPF plane: loads the programs, maps their tables, attaches them to links, keeps them pinned.
//!
//! The only crate that knows aya. `unsafe` lives in [`mod@raw`] alone.
#![deny(unsafe_code)]

pub mod counters;
pub mod grace;
pub mod load;
mod raw;

pub use counters::Counts;
pub use grace::Membarrier;
pub use load::{LoadError, Loaded, Program};
