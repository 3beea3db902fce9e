//! Counters: one row per verdict, kept per processor.

use crate::verdict::{Kind, REASONS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Rows of the verdict counter table (`counters`): [`crate::Verdict::counter`] indexes it.
pub const COUNTERS: u32 = Kind::ALL.len() as u32 * REASONS;

/// Frames and their octets, link header included.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Counter {
    /// Frames.
    pub packets: u64,
    /// Octets as they arrived.
    pub bytes: u64,
}
