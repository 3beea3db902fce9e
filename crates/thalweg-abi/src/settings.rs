//! Settings that hold for the whole data plane.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The only row of table `settings`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SettingsRow {
    /// Mixed into flow hashes, so that two routers in a row do not choose alike.
    pub seed: u64,
    /// Nanoseconds that one answer costs on its link's bucket: 10^9 ÷ packets per second.
    pub answer_cost: u64,
    /// Nanoseconds that one punted frame costs.
    pub punt_cost: u64,
    /// The most credit a bucket holds, in packets.
    pub burst: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Default for SettingsRow {
    fn default() -> Self {
        Self {
            seed: 0x9e37_79b9_7f4a_7c15,
            answer_cost: 1_000_000_000 / 1_000,
            punt_cost: 1_000_000_000 / 10_000,
            burst: 100,
            reserved: [0; 4],
        }
    }
}
