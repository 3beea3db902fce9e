//! BFD: whether a neighbor on a link can be reached, told within milliseconds (RFC 5880, RFC 5881).
//!
//! Single hop, asynchronous mode, no echo.
//!
//! - [`session`]: the state machine of one session; time and chance come in as arguments;
//! - [`auth`]: authentication sections, made and checked;
//! - [`Anchor`]: what sequence numbers follow, so that the next agent knows them;
//! - [`engine`]: all sessions, and which of them a packet is for;
//! - [`runner`]: the thread with the sockets.
//!
//! What next hops see of a session is its [`path`](session::Session::path): up once the session was
//! up for the hold time, down at once when it was lost. Two things leave the path as it is, because
//! they say nothing about it: a neighbor that says it is administratively down (RFC 5880 §6.8.16),
//! and our own return from a restart.
#![forbid(unsafe_code)]

pub mod auth;
pub mod engine;
mod numbers;
mod path;
pub mod runner;
pub mod session;
mod sockets;
mod timers;

pub use numbers::Anchor;
pub use timers::RemoteTimers;

pub use auth::Key;
pub use engine::{Engine, Reason, Report, Wanted};
pub use runner::Runner;
pub use session::{Remembered, Session, Settings, Status};

/// A moment, in microseconds since an origin that does not matter.
pub type Micros = u64;

/// The interval at which a session that is not up sends (RFC 5880 §6.8.3), microseconds.
pub const SLOW: u32 = 1_000_000;
