//! Links: what a frame's arrival tells.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Row of table `links`, by interface index (VLAN sub-interfaces have their own).
///
/// Flags and VRF share the first word, so a link's state changes with one store.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct LinkRow {
    /// Bits of [`flag`]; 0 means the link is not ours.
    pub flags: u32,
    /// [`crate::VrfId`] the link belongs to.
    pub vrf: u16,
    /// Zero.
    pub reserved: u16,
    /// Largest L3 packet the link takes, in octets.
    pub mtu: u32,
    /// Page of table `vlans` that maps a VLAN id to a sub-interface; 0 for none.
    pub vlan_page: u32,
    /// Own link address.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved2: u16,
    /// Address our ICMP errors come from; all zero for none. Network order.
    pub address4: [u8; 4],
    /// Interface that frames for this link really leave through (its own index, or the parent of
    /// a VLAN sub-interface).
    pub device: u32,
    /// Address our ICMPv6 errors come from; all zero for none. Network order.
    pub address6: [u8; 16],
    /// Of a link to a workload the number of its local record ([`crate::policy::local`]), plus one, for what it
    /// says from an address that is none of its own, on its link alone. Of any other link the line of its gate
    /// ([`crate::policy::gate`]). 0 for none.
    pub policy: u32,
    /// Zero.
    pub reserved3: u32,
    /// Zero.
    pub reserved4: u64,
}

const _: () = assert!(size_of::<LinkRow>() == 64);

/// Bits of [`LinkRow::flags`].
pub mod flag {
    /// The carrier is up, administratively and in fact.
    pub const UP: u32 = 1;
    /// IPv4 is routed.
    pub const IPV4: u32 = 1 << 1;
    /// IPv6 is routed.
    pub const IPV6: u32 = 1 << 2;
    /// Labels are accepted (RFC 3031).
    pub const MPLS: u32 = 1 << 3;
    /// Sources must be routed back through this very link (RFC 3704 §2.2).
    pub const RPF_STRICT: u32 = 1 << 4;
    /// Sources must be routed anywhere (RFC 3704 §2.4).
    pub const RPF_LOOSE: u32 = 1 << 5;
    /// IPv4 source routes are honoured (handed to the kernel) instead of dropped.
    pub const SOURCE_ROUTE: u32 = 1 << 6;
    /// Directed broadcasts are handed to the kernel instead of dropped (RFC 2644).
    pub const DIRECTED_BROADCAST: u32 = 1 << 7;
    /// The kernel answers in our place: time exceeded, unreachable and too big are punted.
    pub const KERNEL_ANSWERS: u32 = 1 << 8;
    /// Explicit null and the labels without a model of their own use the pipe TTL model.
    pub const PIPE: u32 = 1 << 9;
    /// The link leads to a workload: its flows are tracked.
    pub const WORKLOAD: u32 = 1 << 10;
    /// This host's own stack sends there: its addresses are sources like any other.
    pub const HOST: u32 = 1 << 11;
    /// Its gate has something to say of every packet that comes in ([`crate::policy::gate::UNTRACKED`]).
    pub const UNTRACKED: u32 = 1 << 12;
}

/// Entries of one page of table `vlans` (one per VLAN id).
pub const VLANS_PER_PAGE: u32 = 4096;
