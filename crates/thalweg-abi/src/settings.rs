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
    /// Seconds that flows live without a packet, by [`crate::flow::timeout`].
    pub timeouts: [u32; 7],
    /// Bits of [`flag`].
    pub flags: u32,
}

impl Default for SettingsRow {
    fn default() -> Self {
        Self {
            seed: 0x9e37_79b9_7f4a_7c15,
            answer_cost: 1_000_000_000 / 1_000,
            punt_cost: 1_000_000_000 / 10_000,
            burst: 100,
            timeouts: [20, 3600, 30, 40, 60, 5, 600],
            flags: 0,
        }
    }
}

/// Bits of [`SettingsRow::flags`].
pub mod flag {
    /// A TCP packet amid a connection that is not known begins a flow.
    pub const MID_FLOW: u32 = 1;
    /// Other nodes send packets through tunnels: by UDP to [`super::tunnel_port`], or where that is 0 as
    /// the payload of IP.
    pub const TUNNEL: u32 = 1 << 3;
}

/// The UDP port that tunnels arrive at, in the high half of [`SettingsRow::flags`].
#[inline(always)]
pub const fn tunnel_port(flags: u32) -> u16 {
    (flags >> 16) as u16
}
