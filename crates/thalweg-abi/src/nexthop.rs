//! Next hops with their adjacency: everything a rewrite needs, in one cache line.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of a row of table `nexthops`; 0 is none.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    FromBytes,
    Hash,
    Immutable,
    IntoBytes,
    KnownLayout,
    Ord,
    PartialEq,
    PartialOrd,
)]
#[repr(transparent)]
pub struct NextHopId(pub u32);

/// What kind of next hop a row is: values of [`NextHopRow::kind`].
pub mod kind {
    /// No row.
    pub const NONE: u8 = 0;
    /// Send to a neighbor whose link address is known.
    pub const ADJACENT: u8 = 1;
    /// The neighbor (or, on a connected prefix, the destination) is not resolved: to the kernel.
    pub const UNRESOLVED: u8 = 2;
    /// An address of this host.
    pub const DELIVER: u8 = 3;
    /// A broadcast address of the link in [`super::NextHopRow::link`].
    pub const BROADCAST: u8 = 4;
    /// Discard silently.
    pub const BLACKHOLE: u8 = 5;
    /// Discard, answer unreachable.
    pub const UNREACHABLE: u8 = 6;
    /// Discard, answer prohibited.
    pub const PROHIBIT: u8 = 7;
    /// Look the packet up again in the VRF whose number stands in [`super::NextHopRow::link`]
    /// (once; a second such next hop is dropped).
    pub const LOOKUP: u8 = 8;
    /// `throw`: behave as if this VRF had no route.
    pub const THROW: u8 = 9;
    /// Outer headers that another row puts in front of packets ([`super::flag::TUNNEL`]): a
    /// [`crate::TunnelRow`]. Nothing leads there but such rows.
    pub const TUNNEL: u8 = 10;
}

/// Bits of [`NextHopRow::flags`].
pub mod flag {
    /// Pushed labels get the TTL in [`super::NextHopRow::ttl`] instead of the packet's (RFC 3443).
    pub const PIPE: u8 = 1;
    /// An entropy label indicator and label are pushed below the labels (RFC 6790).
    pub const ENTROPY: u8 = 2;
    /// [`super::NextHopRow::class`] overrides the class of pushed labels.
    pub const CLASS: u8 = 4;
    /// The link leads to a workload: flows to it are tracked.
    pub const WORKLOAD: u8 = 8;
    /// At tc, frames may go straight to the far end of the link, which is a veth.
    pub const STRAIGHT: u8 = 16;
    /// Packets get outer headers: those of the row that [`super::NextHopRow::backup`] names, which is of
    /// kind [`super::kind::TUNNEL`]. There is no backup then.
    pub const TUNNEL: u8 = 32;
}

/// The most labels that a next hop pushes, the entropy pair not counted.
pub const MAX_PUSH: usize = 4;
/// The most VLAN tags that a link adds.
pub const MAX_TAGS: usize = 2;

/// Row of table `nexthops`, by [`NextHopId`]. Never changed while published: a change writes a new
/// row and moves the groups over.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct NextHopRow {
    /// One of [`kind`].
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Labels to push, 0 to [`MAX_PUSH`].
    pub labels: u8,
    /// VLAN tags to add, 0 to [`MAX_TAGS`].
    pub tags: u8,
    /// Interface index of the logical link.
    pub link: u32,
    /// Interface index that the frame leaves through.
    pub device: u32,
    /// Largest L3 packet with labels, in octets.
    pub mtu: u32,
    /// Destination and source link address.
    pub addresses: [u8; 12],
    /// [`NextHopId`] used while `watch` is down; 0 for none.
    pub backup: u32,
    /// Labels to push, outermost first: complete entries in network order with S and TTL zero.
    pub stack: [[u8; 4]; MAX_PUSH],
    /// VLAN tags, outermost first: TPID and TCI in network order.
    pub vlans: [[u8; 4]; MAX_TAGS],
    /// TTL of pushed labels in the pipe model.
    pub ttl: u8,
    /// Class of pushed labels, 0 to 7, if [`flag::CLASS`] is set.
    pub class: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Number of the state (table `states`) that says whether this next hop can be used: its link's,
    /// which is the interface index, or that of a session over it.
    pub watch: u32,
}

const _: () = assert!(size_of::<NextHopRow>() == 64);
