//! The eBPF plane: loads the programs, maps their tables, attaches them to links, keeps them pinned.
//!
//! The only crate that knows aya. `unsafe` lives in `raw.rs` alone.
#![deny(unsafe_code)]

pub mod audit;
pub mod counters;
pub mod detach;
pub mod device;
pub mod events;
pub mod facts;
pub mod grace;
pub mod hook;
mod hooks;
mod ladder;
pub mod load;
mod namespace;
mod netlink;
pub mod peer;
pub mod pins;
pub mod plane;
mod raw;
pub mod rights;
pub mod sockets;
pub mod survey;
mod tc;
mod words;

pub use audit::Audit;
pub use counters::Counts;
pub use detach::{Detached, detach, inside};
pub use device::{FeatureWatch, Features};
pub use events::{EventCounts, Events};
pub use facts::Facts;
pub use grace::Membarrier;
pub use hook::{HookStatus, Mode, WantedHook, Wish};
pub use load::{LoadError, Loaded, Program};
pub use pins::PinsError;
pub use plane::{Options, StartError, XdpPlane};
pub use raw::trim_memory;
pub use sockets::{Obstacle, SocketStatus};
