//! SCTP: the common header and the chunks behind it (RFC 9260 §3).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian};

/// The common header: 12 octets.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Sctp {
    /// Sender's and receiver's port.
    pub ports: U32,
    /// What tells packets of this association from those of another with the same ports.
    pub tag: U32,
    /// CRC32c over header and chunks, least significant octet first ([`crate::crc32c`]). Zero where there is
    /// none: the kernel has not made it yet, or the receiver asks for none (RFC 9653).
    pub checksum: little_endian::U32,
}

/// What each chunk begins with; the next one begins at the following multiple of four octets.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Chunk {
    /// One of [`chunk`].
    pub kind: u8,
    /// What it means depends on the type.
    pub flags: u8,
    /// Octets with these four, without padding.
    pub len: U16,
}

/// Types of chunks.
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// An association is asked for.
    pub const INIT: u8 = 1;
    /// It is granted, with a cookie.
    pub const INIT_ACK: u8 = 2;
    /// Data was received.
    pub const SACK: u8 = 3;
    /// Is this way open?
    pub const HEARTBEAT: u8 = 4;
    /// It is.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// The association is no more.
    pub const ABORT: u8 = 6;
    /// The sender has no more data.
    pub const SHUTDOWN: u8 = 7;
    /// Nor has the other side.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Something went wrong that ends nothing.
    pub const ERROR: u8 = 9;
    /// The cookie comes back.
    pub const COOKIE_ECHO: u8 = 10;
    /// It was the right one: the association is established.
    pub const COOKIE_ACK: u8 = 11;
    /// Both sides have heard that the other has no more data.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
    /// What follows is authenticated (RFC 4895).
    pub const AUTH: u8 = 15;
}
