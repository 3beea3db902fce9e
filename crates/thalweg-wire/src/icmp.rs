//! ICMP (RFC 792), ICMPv6 (RFC 4443) and their multi-part extension (RFC 4884, RFC 4950).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The 8 octets that every ICMP and ICMPv6 error starts with.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Message code.
    pub code: u8,
    /// Over the whole message; ICMPv6 adds the pseudo header.
    pub checksum: U16,
    /// Meaning depends on the type: MTU, RFC 4884 length, identifier and sequence.
    pub rest: U32,
}

/// RFC 4884 §7: version 2 and a checksum over all objects; objects follow.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtensionHeader {
    /// 0x20: version 2, reserved bits zero.
    pub version: u8,
    /// Zero.
    pub reserved: u8,
    /// Over this header and all objects.
    pub checksum: U16,
}

/// RFC 4884 §8: length with this header, class, sub-type. Class 1, sub-type 1 is the incoming
/// MPLS label stack (RFC 4950).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ExtensionObject {
    /// Octets of this header and the object.
    pub len: U16,
    /// Object class.
    pub class: u8,
    /// Sub-type within the class.
    pub kind: u8,
}

/// ICMP types and codes for IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable; codes below.
    pub const UNREACHABLE: u8 = 3;
    /// Code: no route.
    pub const NET: u8 = 0;
    /// Code: host unreachable.
    pub const HOST: u8 = 1;
    /// Code of [`UNREACHABLE`]: nobody listens at the port.
    pub const PORT: u8 = 3;
    /// Code: fragmentation needed and DF set; MTU in the low half of `rest` (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Code: administratively prohibited (RFC 1812).
    pub const PROHIBITED: u8 = 13;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded; code 0 in transit.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER: u8 = 12;

    /// Whether the type reports an error, so that no error may be sent about it (RFC 1812 §4.3.2.7).
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | 4 | REDIRECT | TIME_EXCEEDED | PARAMETER)
    }
}

/// ICMPv6 types and codes.
pub mod v6 {
    /// Destination unreachable; codes below.
    pub const UNREACHABLE: u8 = 1;
    /// Code: no route.
    pub const NO_ROUTE: u8 = 0;
    /// Code: administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// Code: beyond scope of the source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Code of [`UNREACHABLE`]: nobody listens at the port.
    pub const PORT: u8 = 4;
    /// Packet too big; MTU in `rest`.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded; code 0 in transit.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Redirect (RFC 4861), which no error may answer either.
    pub const REDIRECT: u8 = 137;

    /// Whether the type is an error or a redirect, so that no error may be sent about it
    /// (RFC 4443 §2.4 (e)).
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128 || kind == REDIRECT
    }
}
