//! Services: frontends, the rings that choose among their backends, and backends.
//!
//! One index leads to all of them. A *key* of 64 bits is hashed from what is looked up (an address, a
//! frontend, a backend); its cell is found within [`PROBES`] places from the key's and leads to a row that
//! says whether it is the right one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Places that a key can be at, one after another.
pub const PROBES: u32 = 8;

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn mix(sum: u64, value: u64) -> u64 {
    let x = (sum ^ value).wrapping_mul(MIX);
    x ^ x >> 29
}

/// Key of an address with a port and a protocol, both 0 for the address as such. Halves of addresses
/// are as in a packet.
#[inline(always)]
pub const fn key(address: [u64; 2], port: u16, protocol: u8) -> u64 {
    mix(
        mix(mix(0x7468_616c_7765_6721, address[0]), address[1]),
        (port as u64) << 8 | protocol as u64,
    )
}

/// The protocol that a frontend for packets out of a tunnel has in its key, in the place of their own: whom
/// such packets may choose from is another matter. No packet has both that protocol and ports.
#[inline(always)]
pub const fn within_tunnel(protocol: u8) -> u8 {
    protocol ^ 0x40
}

/// The address that a node port of any other node has in the key of such a frontend.
#[inline(always)]
pub const fn any_node(family: u8) -> [u64; 2] {
    [0, family as u64]
}

/// Key of a backend by its number.
#[inline(always)]
pub const fn backend_key(id: u64) -> u64 {
    mix(0x6261_636b_656e_6473, id)
}

/// Protocol of keys that stand for a range of addresses: the address is its first one, the port its length,
/// plus 256 for IPv6. Its row says by [`flag::MASQUERADE`] what becomes of packets that leave the cluster.
pub const RANGE: u8 = 255;

/// Protocol of keys that stand for a workload which has a floating address: the address is its own, the
/// port 0. Its row leads to a backend with the floating one, which it leaves the cluster with.
pub const FLOATING: u8 = 254;

/// Where the search for a key begins, in a table of `mask + 1` cells, a power of two.
#[inline(always)]
pub const fn first_place(key: u64, mask: u32) -> u32 {
    (key >> 32) as u32 & mask
}

/// A cell of the index: half of a key, and the row it leads to plus one. 0 is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IndexWord(pub u64);

impl IndexWord {
    /// A cell that leads a key to a row.
    #[inline(always)]
    pub const fn new(key: u64, row: u32) -> Self {
        Self(key << 32 | (row as u64 + 1))
    }

    /// Whether the cell may be this key's.
    #[inline(always)]
    pub const fn is_for(self, key: u64) -> bool {
        self.0 >> 32 == key & 0xffff_ffff && self.0 as u32 != 0
    }

    /// Whether no cell behind this one can be the key's either.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The row.
    #[inline(always)]
    pub const fn row(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }
}

/// Who serves one class of traffic of a frontend.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Choice {
    /// First cell of its ring in table `rings`; cells count from `backends`.
    pub ring: u32,
    /// Cells of the ring, a prime; 1 for a single backend (no ring), 0 for none at all.
    pub size: u32,
    /// First row of its backends.
    pub backends: u32,
}

/// Row of table `frontends`: an address, port and protocol that clients use; or with port and protocol
/// 0 an address of which some ports are services'.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct FrontendRow {
    /// Address, halves as in a packet.
    pub address: [u64; 2],
    /// Port.
    pub port: u16,
    /// Protocol number.
    pub protocol: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Seconds for which a client keeps its backend; 0 lets each connection choose.
    pub affinity: u32,
    /// For traffic of workloads and this host.
    pub internal: Choice,
    /// For traffic from outside.
    pub external: Choice,
    /// First row in table `ranges` of the sources that may use it: [`RangeRow`].
    pub ranges: u32,
    /// How many rows there are; 0 admits everybody.
    pub ranges_len: u32,
    /// Number of the service, for counters.
    pub service: u32,
    /// How many backends stand behind `internal` and `external`; only where clients keep theirs.
    pub counts: [u16; 2],
}

const _: () = assert!(size_of::<FrontendRow>() == 64);

/// Bits of [`FrontendRow::flags`].
pub mod flag {
    /// Without backends internal traffic is dropped instead of refused.
    pub const DROPS_INTERNAL: u8 = 1;
    /// Without backends external traffic is dropped instead of refused.
    pub const DROPS_EXTERNAL: u8 = 1 << 1;
    /// External traffic gets an address of this host as its source.
    pub const MASQUERADE: u8 = 1 << 2;
    /// External traffic for a backend on another node goes there as it came: that node translates it, and
    /// its answers go straight to the client.
    pub const DIRECT: u8 = 1 << 3;
    /// The address is one workload's, with all its ports and protocols: the backend has no port.
    pub const FLOATING: u8 = 1 << 4;
}

/// Row of table `backends`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct BackendRow {
    /// Address, halves as in a packet.
    pub address: [u64; 2],
    /// Number: the same on every node and after every restart, other than 0.
    pub id: u64,
    /// Port.
    pub port: u16,
    /// Its share beside others; with 0 it serves the flows it has and gets no new ones.
    pub weight: u16,
    /// Of a node's row the group that leads to it. Of a service's: not 0 if the address is another node's
    /// own, which packets go to by the tunnel to that node.
    pub node: u32,
}

const _: () = assert!(size_of::<BackendRow>() == 32);

/// Row of table `ranges`: where a range of addresses begins or ends, halves as in a packet. Rows of a
/// frontend ascend; of an address that an odd number of them do not exceed, it is within.
pub type RangeRow = [u64; 2];

/// The most rows of one frontend: a search takes as many steps as this has bits.
pub const MAX_RANGE_ROWS: u32 = (1 << 16) - 1;

/// Words of table `vips`, a bit set over hashed addresses of frontends: a cheap first look.
pub const VIP_WORDS: u32 = 1024;

/// Bit of an address in table `vips`, below [`VIP_WORDS`] × 64.
#[inline(always)]
pub const fn vip_bit(address: [u64; 2]) -> u32 {
    const SHIFT: u32 = 64 - (VIP_WORDS * 64).ilog2();
    ((address[0].rotate_left(31) ^ address[1]).wrapping_mul(MIX) >> SHIFT) as u32
}
