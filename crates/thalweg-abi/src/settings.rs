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
    pub timeouts: [u32; crate::flow::timeout::COUNT],
    /// Bits of [`flag`].
    pub flags: u32,
    /// Lengths of the ranges that are told apart inside the cluster ([`crate::service::RANGE`]), plus
    /// one, longest first; 0 ends the list. First those of IPv4, then those of IPv6.
    pub ranges: [[u8; RANGES]; 2],
    /// First and last port that sources are translated to.
    pub nat_ports: [u16; 2],
    /// Flows that a workload may have begun at once; 0 for any number.
    pub quota: u32,
    /// Interface index of the link where what this host's own stack sends into tunnels arrives; 0 for none.
    pub passage: u32,
    /// Line of table `policy` where policies begin ([`crate::policy::HEAD`]); 0 for none.
    pub policy: u32,
}

/// Lengths of ranges of a family that are told apart.
pub const RANGES: usize = 8;

impl Default for SettingsRow {
    fn default() -> Self {
        Self {
            seed: 0x9e37_79b9_7f4a_7c15,
            answer_cost: 1_000_000_000 / 1_000,
            punt_cost: 1_000_000_000 / 10_000,
            burst: 100,
            timeouts: [20, 3600, 30, 40, 60, 5, 600, 20, 3600, 30, 40],
            flags: 0,
            ranges: [[0; RANGES]; 2],
            nat_ports: [16_384, 29_999],
            quota: 0,
            passage: 0,
            policy: 0,
        }
    }
}

/// Bits of [`SettingsRow::flags`].
pub mod flag {
    /// A packet of TCP or SCTP amid a connection that is not known begins a flow.
    pub const MID_FLOW: u32 = 1;
    /// Sources keep their translated port for all destinations (RFC 4787 §4.1).
    pub const INDEPENDENT: u32 = 1 << 1;
    /// Sockets of all network namespaces reach services, not only those of the agent's own.
    pub const ALL_SOCKETS: u32 = 1 << 2;
    /// Other nodes send packets through tunnels: by UDP to [`super::tunnel_port`], or where that is 0 as
    /// the payload of IP.
    pub const TUNNEL: u32 = 1 << 3;
    /// Workloads of this host have floating addresses ([`crate::service::FLOATING`]).
    pub const FLOATING: u32 = 1 << 4;
}

/// The UDP port that tunnels arrive at, in the high half of [`SettingsRow::flags`].
#[inline(always)]
pub const fn tunnel_port(flags: u32) -> u16 {
    (flags >> 16) as u16
}
