//! What a frame carries from XDP to tc: 8 octets of metadata in front of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The metadata of a frame that XDP leaves to tc, which sees the socket buffer. Host order.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Handover {
    /// [`MARK`]; other programs leave metadata, too.
    pub mark: u32,
    /// Low half of the epoch that decides the frame ([`crate::control`]), so that both hooks read one
    /// version of the tables.
    pub epoch: u32,
}

/// What [`Handover::mark`] is: the layout's number in the last octet.
pub const MARK: u32 = 0x7468_7701;
