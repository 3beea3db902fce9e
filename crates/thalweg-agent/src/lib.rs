//! The control plane: files and kernel state to plans, plans to a plane, and answers to people.
//!
//! ```text
//! files ──► config ─┐            ┌─► plan ─► DataPlane (ebpf, memory)
//!                   ├─► Brain ───┼─► hooks
//! kernel ─► netlink ┤  compiler  └─► neighbors to resolve
//! zebra ──► fpm ────┘     ▲      └─► acknowledgements
//! control socket ─────────┘ answers
//! ```
//!
//! [`brain::Brain`] takes events in and gives effects out, without I/O; [`run()`] is the loop around
//! it; the keeper beside it remembers generations, events and configurations on trial. [`offline`] and [`replay`] do the same work on files alone, for the command line.
#![forbid(unsafe_code)]

pub mod access;
pub mod answer;
mod audit;
mod balancers;
mod bfd;
mod brain;
pub mod capture;
mod cluster;
mod describe;
pub mod doctor;
mod drops;
pub mod ebpf;
pub mod events;
mod export;
mod fold;
mod follow;
mod fpm;
mod herald;
mod history;
mod hold;
mod http;
mod install;
pub mod judge;
mod keeper;
mod lock;
mod log;
mod metrics;
mod nat;
pub mod offline;
mod opening;
mod passage;
pub mod plane;
mod policies;
mod ports;
mod quotas;
pub mod replay;
mod routes;
mod run;
mod scribe;
pub mod selftest;
mod serve;
pub mod settings;
mod state;
mod steady;
mod summary;
mod sysctl;
mod texts;
mod trial;
mod views;
mod watermark;
mod witness;
mod workload;

pub use plane::{DataPlane, MemoryPlane};
pub use run::{HostSource, Parts, RunError, run};
pub use serve::SocketError;
pub use settings::{LogFormat, Settings};
/// Places where a test build dies on request.
pub use thalweg_fault as fault;
pub use thalweg_xdp::{Detached, PinsError};

use std::path::Path;
use thalweg_model::tunnel::PASSAGE;

/// Takes an instance's programs, pins and tables out of the kernel, and nothing else.
///
/// # Errors
///
/// [`PinsError`]: while an agent of the instance runs, without rights.
pub fn detach(bpffs: &Path, instance: &str) -> Result<Detached, PinsError> {
    let dir = bpffs.join("thalweg").join(instance);
    let routes = thalweg_xdp::inside(&dir, thalweg_netlink::withdraw);
    let pair = thalweg_xdp::inside(&dir, || thalweg_netlink::pair::remove(PASSAGE));
    let mut detached = thalweg_xdp::detach(&dir)?;
    match pair {
        Some(Ok(true)) => detached.removed.push(format!("interface {}", PASSAGE[0])),
        Some(Ok(false)) | None => {}
        Some(Err(error)) => detached.left.push(error.to_string()),
    }
    match routes {
        Some(Ok(0)) | None => {}
        Some(Ok(count)) => detached.removed.push(format!("{count} kernel routes of protocol 116")),
        Some(Err(error)) => detached.left.push(error.to_string()),
    }
    Ok(detached)
}
