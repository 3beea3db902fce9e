//! Longest-prefix match: the reader's side of the FIBs laid out in [`thalweg_abi::fib4`] and
//! [`thalweg_abi::fib6`].

use crate::cells::Cells;
use thalweg_abi::fib4::{self, RootWord};
use thalweg_abi::fib6::{self, Word6};

/// Set bits of a word. The kernel's instruction set has no population count.
#[inline(always)]
fn count(word: u32) -> u32 {
    if cfg!(target_arch = "bpf") {
        let pairs = word - (word >> 1 & 0x5555_5555);
        let nibbles = (pairs & 0x3333_3333) + (pairs >> 2 & 0x3333_3333);
        let octets = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f;
        octets.wrapping_mul(0x0101_0101) >> 24
    } else {
        word.count_ones()
    }
}

/// Set bits of a double word.
#[inline(always)]
fn count64(word: u64) -> u32 {
    if cfg!(target_arch = "bpf") {
        let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
        let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
        let octets = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        (octets.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
    } else {
        word.count_ones()
    }
}

/// The group of the longest IPv4 prefix that covers `address`, 0 for none.
#[inline(always)]
pub fn route4<C: Cells>(cells: &C, vrf: u32, address: u32) -> u32 {
    let page = if vrf == 0 {
        address >> 24
    } else {
        match cells.fib4_page(vrf << 8 | address >> 24) {
            0 => return default4(cells, vrf),
            page => page,
        }
    };
    let word = RootWord(cells.fib4_root(page * fib4::PAGE + (address >> 13 & 0x7ff)));
    let mut leaf = word.leaf();
    if word.has_runs() {
        let run = count(word.bitmap() & ((2u64 << (address >> 8 & 31)) - 1) as u32);
        leaf = cells.fib4_leaf(word.first().wrapping_add(run).wrapping_sub(1));
        if leaf & fib4::LONG != 0 {
            let block = u32::from(leaf & !fib4::LONG);
            leaf = cells.fib4_long(block * fib4::BLOCK + (address & 0xff));
        }
    }
    match leaf {
        0 => default4(cells, vrf),
        leaf => u32::from(leaf),
    }
}

#[inline(always)]
fn default4<C: Cells>(cells: &C, vrf: u32) -> u32 {
    cells.vrf(vrf).map_or(0, |row| row.default4)
}

/// The group of the longest IPv6 prefix that covers the address, 0 for none.
///
/// A function of its own in the kernel: its loop would otherwise be unrolled wherever it is used.
#[inline(never)]
pub fn route6<C: Cells>(cells: &C, vrf: u32, [high, low]: [u64; 2]) -> u32 {
    let mut word = Word6(cells.fib6_dir(vrf << fib6::DIR_BITS | (high >> 51) as u32));
    if word.is_page() {
        let slot = (high >> 40) as u32 & 0x7ff;
        word = Word6(cells.fib6_page(word.index() << fib6::PAGE_BITS | slot));
    }
    let leaf = if word.is_node() {
        let rest = [high << 24 | low >> 40, low << 24];
        u32::from(walk6(cells, word.index(), rest))
    } else {
        word.index()
    };
    match leaf {
        0 => cells.vrf(vrf).map_or(0, |row| row.default6),
        leaf => leaf,
    }
}

/// Follows nodes with the address bits that are left, left-aligned.
#[inline(always)]
fn walk6<C: Cells>(cells: &C, from: u32, rest: [u64; 2]) -> u16 {
    let mut index = from;
    let [mut high, mut low] = rest;
    for _ in 0..fib6::MAX_DEPTH {
        let Some(node) = cells.fib6_node(index) else { return 0 };
        let skip = node.skip & 63;
        if skip != 0 {
            if high & node.runs != node.children {
                return node.first_leaf as u16;
            }
            high = high << skip | low >> (64 - skip);
            low <<= skip;
            index = node.first_child;
            continue;
        }
        let slot = high >> 58;
        if node.children >> slot & 1 == 0 {
            let run = count64(node.runs & (2u64 << slot).wrapping_sub(1));
            return cells.fib6_leaf(node.first_leaf.wrapping_add(run).wrapping_sub(1));
        }
        let rank = count64(node.children & ((1u64 << slot) - 1));
        index = node.first_child.wrapping_add(rank);
        high = high << 6 | low >> 58;
        low <<= 6;
    }
    0
}
