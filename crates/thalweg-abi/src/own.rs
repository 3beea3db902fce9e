//! The bit set over own addresses: a cheap first look before a source is checked in the FIB.

use crate::table::OWN_WORDS;

const SHIFT: u32 = 64 - (OWN_WORDS * 64).ilog2();

/// Bit of an IPv4 address (host order) in table `own`, below [`OWN_WORDS`] × 64.
#[inline(always)]
pub const fn bit4(address: u32) -> u32 {
    ((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> SHIFT) as u32
}

/// Bit of an IPv6 address, given as its high and low half in host order.
#[inline(always)]
pub const fn bit6(high: u64, low: u64) -> u32 {
    ((high ^ low.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> SHIFT) as u32
}
