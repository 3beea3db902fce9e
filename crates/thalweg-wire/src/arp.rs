//! ARP for IPv4 over Ethernet (RFC 826). Read by tests and tools; the router leaves ARP to the kernel.

use crate::eth::Mac;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An ARP message for Ethernet and IPv4: 28 octets.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Arp {
    /// 1 for Ethernet.
    pub hardware: U16,
    /// 0x0800 for IPv4.
    pub protocol: U16,
    /// 6.
    pub hardware_len: u8,
    /// 4.
    pub protocol_len: u8,
    /// 1 request, 2 reply.
    pub operation: U16,
    /// Sender's link address.
    pub sender_mac: Mac,
    /// Sender's IPv4 address.
    pub sender_ip: [u8; 4],
    /// Target's link address.
    pub target_mac: Mac,
    /// Target's IPv4 address.
    pub target_ip: [u8; 4],
}
