//! Sockets whose process speaks to a service while the kernel speaks to its backend.
//!
//! The table `peers` remembers under which address a socket reached a backend, so that the process never
//! sees another. Programs write it, user space only keeps it: it outlives the agent and its restarts, and
//! what was used longest ago gives way.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of the layout of table `peers`, apart from that of all others ([`crate::LAYOUT`]): sockets outlive
/// versions. Whoever changes [`PeerKey`] or [`PeerRow`] takes the next.
pub const LAYOUT: u32 = 1;

/// Pairs of a socket and a backend that table `peers` has room for: some 7 MB. A connection takes one until
/// others need the room, and so does each backend that an unconnected socket sends to.
pub const PEERS: u32 = 65_536;

/// Name of the table in the kernel.
pub const PEERS_NAME: &str = "peers";

/// Key of table `peers`: a socket, and whom it speaks to in truth.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct PeerKey {
    /// The kernel's number of the socket (`bpf_get_socket_cookie`).
    pub socket: u64,
    /// Address of the backend, halves as in a packet.
    pub address: [u64; 2],
    /// Port of the backend (low half); 4 or 6 for its family (high half).
    pub port: u64,
}

/// Row of table `peers`: whom the process believes to speak to.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct PeerRow {
    /// Address of the service, halves as in a packet.
    pub address: [u64; 2],
    /// Port of the service.
    pub port: u64,
}

/// The half of [`PeerKey::port`] for both.
#[inline(always)]
pub const fn port_of(port: u16, family: u8) -> u64 {
    (family as u64) << 32 | port as u64
}
