//! IPv6 FIB: a directory on 13 bits, pages on the next 11, then nodes of 6 bits with skips.
//!
//! `fib6_dir[vrf << 13 | bits 0..13]` and `fib6_pages[page << 11 | bits 13..24]` hold [`Word6`]s: a
//! leaf, a page (directory only) or a node. A node covers 6 bits like a poptrie node: a bit in
//! `children` for each of the 64 slots that has a node below, and a bit in `runs` for each slot
//! *without* a child whose leaf differs from the one before it (among slots without child). A
//! *skip* node instead compares up to 63 bits at once and leads to one child, so that host routes
//! do not cost a chain of nodes. Nodes below one word are written first, then published by the
//! single 32-bit store of that word.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits that the directory covers.
pub const DIR_BITS: u32 = 13;
/// Bits that a page covers.
pub const PAGE_BITS: u32 = 11;
/// Bits that a node covers.
pub const STRIDE: u32 = 6;
/// The longest chain of nodes below a word: (128 − 24) / 6, rounded up.
pub const MAX_DEPTH: u32 = 18;

/// A word of the directory or of a page.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct Word6(pub u32);

impl Word6 {
    const NODE: u32 = 1 << 31;
    const PAGE: u32 = 1 << 30;

    /// Every address below has this leaf (a [`crate::GroupId`], 0 for none).
    #[inline(always)]
    pub const fn leaf(leaf: u16) -> Self {
        Self(leaf as u32)
    }

    /// A page; below 2^30.
    #[inline(always)]
    pub const fn page(page: u32) -> Self {
        Self(Self::PAGE | page)
    }

    /// A node; below 2^30.
    #[inline(always)]
    pub const fn node(node: u32) -> Self {
        Self(Self::NODE | node)
    }

    /// Whether the word leads to a page.
    #[inline(always)]
    pub const fn is_page(self) -> bool {
        self.0 & Self::PAGE != 0
    }

    /// Whether the word leads to a node.
    #[inline(always)]
    pub const fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }

    /// The leaf, or the number of the page or node.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 & 0x3fff_ffff
    }
}

/// Row of `fib6_nodes`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Node6 {
    /// Slots with a node below (slot 0 is bit 0). In a skip node: the expected bits, left-aligned.
    pub children: u64,
    /// Slots without child where a new run of leaves begins. In a skip node: the mask of the
    /// expected bits.
    pub runs: u64,
    /// Number of the first child node; children follow one another.
    pub first_child: u32,
    /// Position in `fib6_leaves` of the first run's leaf. In a skip node: the leaf (not a position)
    /// of every address that does not match.
    pub first_leaf: u32,
    /// 0 in a node of 6 bits; else the number of bits a skip node compares, 1 to 63.
    pub skip: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Node6>() == 32);
