//! IPv6 and its extension headers (RFC 8200).

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed 40 octets of an IPv6 header.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6 {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Octets after this header.
    pub payload_len: U16,
    /// What follows; see [`crate::l4::protocol`].
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Sender: the high and the low half.
    pub source: [U64; 2],
    /// Receiver: the high and the low half.
    pub destination: [U64; 2],
}

impl Ipv6 {
    /// Octets of the fixed header.
    pub const LEN: usize = 40;

    /// 6 in a sane packet.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// DSCP (6 bits) and ECN (2).
    #[inline(always)]
    pub fn class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }
}

/// The first two octets that hop-by-hop, routing and destination options headers share.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Extension {
    /// What follows this header.
    pub next_header: u8,
    /// Length in units of 8 octets, not counting the first 8.
    pub len: u8,
}

/// The fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Fragment {
    /// What follows this header.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 octets (13 bits), reserved (2), more fragments (1).
    pub offset_more: U16,
    /// Names the packet a fragment belongs to.
    pub id: U32,
}
