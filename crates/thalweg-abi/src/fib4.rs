//! IPv4 FIB "19-5-8": a root word per /19, runs of leaves per /24, blocks for what is longer.
//!
//! `fib4_root[page * 2048 + bits 8..19]` is one `u64`. Its page is the first octet in the default
//! VRF and `fib4_pages[vrf * 256 + first octet]` elsewhere. The word is either *uniform* (all 32
//! /24s have the same leaf) or *runs* (a bitmap that marks where a new leaf begins among the 32
//! /24s, and the position of the leaves). A leaf is a `u16`: a [`crate::GroupId`], 0 for none, or
//! with [`LONG`] a block of `fib4_long`, 256 leaves, one per address. One aligned store publishes a
//! word, so a reader never sees a bitmap of one version with leaves of another.

/// A leaf with this bit is a block of 256 leaves.
pub const LONG: u16 = 0x8000;
/// Root words per page (one page is a /8).
pub const PAGE: u32 = 2048;
/// Leaves of one block.
pub const BLOCK: u32 = 256;

/// A word of `fib4_root`: bitmap (high 32 bits), runs flag (bit 31), leaf position or leaf (low 31).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct RootWord(pub u64);

impl RootWord {
    const RUNS: u64 = 1 << 31;

    /// All 32 /24s have this leaf.
    #[inline(always)]
    pub const fn uniform(leaf: u16) -> Self {
        Self(leaf as u64)
    }

    /// `bitmap` bit *i* says that the /24 number *i* begins a new run; bit 0 is always set. The
    /// leaves of the runs stand at `first` and following, below 2^31.
    #[inline(always)]
    pub const fn runs(bitmap: u32, first: u32) -> Self {
        Self((bitmap as u64) << 32 | Self::RUNS | first as u64)
    }

    /// Whether the word has runs.
    #[inline(always)]
    pub const fn has_runs(self) -> bool {
        self.0 & Self::RUNS != 0
    }

    /// The leaf of a uniform word.
    #[inline(always)]
    pub const fn leaf(self) -> u16 {
        self.0 as u16
    }

    /// The bitmap of a word with runs.
    #[inline(always)]
    pub const fn bitmap(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Position of the first leaf of a word with runs.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.0 as u32 & 0x7fff_ffff
    }
}
