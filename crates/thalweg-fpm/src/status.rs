//! How things stand between a routing suite and us.

use crate::table::Size;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How things stand between a routing suite and us.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Where we are to listen; none if nowhere.
    pub listen: Option<SocketAddr>,
    /// Why we cannot.
    pub deaf: Option<String>,
    /// Who is connected, and since when.
    pub peer: Option<(SocketAddr, Instant)>,
    /// What was told.
    pub size: Size,
    /// How much of it is stale: told by an earlier connection only.
    pub stale: usize,
    /// When what is stale will be taken away.
    pub stale_until: Option<Instant>,
    /// When the last resync ended, and how long it took from the connection to the last frame.
    pub resynced: Option<(Instant, Duration)>,
    /// Connections so far.
    pub connections: u64,
    /// Connections that were ended because of what came.
    pub errors: u64,
    /// Why the last one was.
    pub last_error: Option<String>,
    /// Connections that were turned away because there was one already.
    pub refused: u64,
    /// Frames so far.
    pub frames: u64,
    /// Messages that were nothing for us.
    pub others: u64,
    /// Routes acknowledged as in the data plane.
    pub acknowledged: u64,
    /// Routes acknowledged as not in the data plane.
    pub failed: u64,
}
