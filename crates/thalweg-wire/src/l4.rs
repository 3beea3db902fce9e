//! What the packet core reads above IP: protocol numbers and ports.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four octets of TCP (RFC 9293), UDP (RFC 768) and SCTP (RFC 9260).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ports {
    /// Sender's port.
    pub source: U16,
    /// Receiver's port.
    pub destination: U16,
}

/// TCP without options: 20 octets (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tcp {
    /// Sender's port.
    pub source: U16,
    /// Receiver's port.
    pub destination: U16,
    /// Number of the first octet of data.
    pub sequence: U32,
    /// Number of the octet that is expected next, with [`Tcp::ACK`].
    pub acknowledgment: U32,
    /// Length of the header in words of 4 octets (4 bits), then flags.
    pub flags: U16,
    /// How much may be sent.
    pub window: U16,
    /// Over pseudo header, header and data.
    pub checksum: U16,
    /// Of urgent data.
    pub urgent: U16,
}

impl Tcp {
    /// No more data from this side.
    pub const FIN: u8 = 1;
    /// A connection begins.
    pub const SYN: u8 = 2;
    /// The connection is no more.
    pub const RST: u8 = 4;
    /// Something is acknowledged.
    pub const ACK: u8 = 16;
}

/// UDP: 8 octets (RFC 768).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Udp {
    /// Sender's port.
    pub source: U16,
    /// Receiver's port.
    pub destination: U16,
    /// Octets of header and payload.
    pub len: U16,
    /// Zero means none on IPv4.
    pub checksum: U16,
}

/// Protocol numbers, as in the IPv4 protocol and IPv6 next header fields.
pub mod protocol {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 within IP (RFC 2003).
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 within IP (RFC 4213).
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;

    /// Whether the first four octets are two ports.
    #[inline(always)]
    pub const fn has_ports(number: u8) -> bool {
        matches!(number, TCP | UDP | SCTP)
    }
}
