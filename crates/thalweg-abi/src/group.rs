//! Next hop groups: weighted sets of next hops, chosen by flow hash (RFC 2992).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of a group, 1 to 32 767; 0 is "no route".
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
pub struct GroupId(pub u16);

impl GroupId {
    /// No group.
    pub const NONE: Self = Self(0);
    /// The largest number a leaf can hold.
    pub const MAX: u16 = 0x7fff;
}

/// Word of table `groups`, by [`GroupId`]: first (low 32 bits), bucket mask (next 24), kind (8).
///
/// With one member `first` is its [`crate::NextHopId`]. With more, `first` is the position in
/// table `buckets` of 2^n next hop numbers, and `mask` is 2^n − 1. One store publishes the word.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct GroupWord(pub u64);

impl GroupWord {
    /// A group of one next hop.
    #[inline(always)]
    pub const fn single(nexthop: u32) -> Self {
        Self(1 << 56 | nexthop as u64)
    }

    /// A group of `mask + 1` buckets from position `first`.
    #[inline(always)]
    pub const fn buckets(first: u32, mask: u32) -> Self {
        Self(2 << 56 | ((mask & 0xff_ffff) as u64) << 32 | first as u64)
    }

    /// Whether there is a group at all.
    #[inline(always)]
    pub const fn exists(self) -> bool {
        self.0 >> 56 != 0
    }

    /// Whether a flow hash is needed.
    #[inline(always)]
    pub const fn has_buckets(self) -> bool {
        self.0 >> 56 == 2
    }

    /// The only next hop, or the position of the first bucket.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// Number of buckets − 1.
    #[inline(always)]
    pub const fn mask(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }
}

/// Word of table `group_links`, by [`GroupId`]: up to four interface indices (16 bits each) a packet
/// from there may come in on under strict reverse path checks; all ones means "any link".
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct LinksWord(pub u64);

impl LinksWord {
    /// Any link will do: more than four, or an index beyond 16 bits.
    pub const ANY: Self = Self(u64::MAX);

    /// Whether `link` is among them.
    #[inline(always)]
    pub const fn allows(self, link: u32) -> bool {
        let word = self.0;
        word == u64::MAX
            || word & 0xffff == link as u64
            || word >> 16 & 0xffff == link as u64
            || word >> 32 & 0xffff == link as u64
            || word >> 48 == link as u64
    }
}
