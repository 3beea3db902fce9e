//! Token buckets for exceptions and answers, kept per link, class and processor.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is limited: each class has its own bucket on every link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Class {
    /// Time exceeded answers.
    TimeExceeded = 0,
    /// Unreachable and prohibited answers.
    Unreachable = 1,
    /// Fragmentation needed and packet too big answers.
    TooBig = 2,
    /// Frames punted to the kernel.
    Punt = 3,
    /// Answers to pings.
    Echo = 4,
}

/// Buckets per link.
pub const CLASSES: u32 = 5;

/// Row of table `meters`, by interface index × [`CLASSES`] + class.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct MeterRow {
    /// When the bucket was last filled, in nanoseconds of the monotonic clock.
    pub at: u64,
    /// Credit, in nanoseconds: one packet costs the interval of its rate.
    pub credit: u64,
}
