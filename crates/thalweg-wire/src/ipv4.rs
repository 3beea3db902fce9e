//! IPv4 (RFC 791).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed 20 octets of an IPv4 header.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2).
    pub tos: u8,
    /// Octets of header and payload.
    pub total_len: U16,
    /// Names the datagram a fragment belongs to.
    pub id: U16,
    /// Reserved, DF, MF, and the fragment offset in units of 8 octets (13 bits).
    pub fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// What follows; see [`crate::l4::protocol`].
    pub protocol: u8,
    /// One's complement of the one's complement sum of the header.
    pub checksum: U16,
    /// Sender, network order when read as a number.
    pub source: U32,
    /// Receiver.
    pub destination: U32,
}

impl Ipv4 {
    /// Octets of the fixed header.
    pub const LEN: usize = 20;
    /// Don't fragment, in [`Ipv4::fragment`].
    pub const DF: u16 = 0x4000;
    /// More fragments, in [`Ipv4::fragment`].
    pub const MF: u16 = 0x2000;
    /// The fragment offset's bits.
    pub const OFFSET: u16 = 0x1fff;

    /// 4 in a sane packet.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Octets of the header with its options: 0 to 60.
    #[inline(always)]
    pub fn header_len(&self) -> u32 {
        u32::from(self.version_ihl & 0xf) * 4
    }
}
