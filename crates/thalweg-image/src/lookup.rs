//! The tables of routes as a reader sees them: the plain form of what the packet core does.

use crate::memory::View;
use std::net::{Ipv4Addr, Ipv6Addr};
use thalweg_abi::fib4::{BLOCK, LONG, PAGE, RootWord};
use thalweg_abi::fib6::{DIR_BITS, MAX_DEPTH, PAGE_BITS, STRIDE, Word6};
use thalweg_abi::{GroupId, Node6, TableId, VrfId, VrfRow};

/// The group of an IPv4 address; [`GroupId::NONE`] when no route covers it.
pub fn route4(memory: View<'_>, vrf: VrfId, address: Ipv4Addr) -> GroupId {
    match leaf4(memory, vrf, address.to_bits()).unwrap_or(0) {
        0 => default(memory, vrf, |row| row.default4),
        leaf => GroupId(leaf),
    }
}

/// The group of an IPv6 address; [`GroupId::NONE`] when no route covers it.
pub fn route6(memory: View<'_>, vrf: VrfId, address: Ipv6Addr) -> GroupId {
    match leaf6(memory, vrf, address.to_bits()).unwrap_or(0) {
        0 => default(memory, vrf, |row| row.default6),
        leaf => GroupId(leaf),
    }
}

fn default(memory: View<'_>, vrf: VrfId, group: impl Fn(VrfRow) -> u32) -> GroupId {
    let row = memory.row(TableId::Vrfs, u32::from(vrf.0));
    GroupId(row.map_or(0, |row| group(row) as u16))
}

fn leaf4(memory: View<'_>, vrf: VrfId, dst: u32) -> Option<u16> {
    let page = match vrf.0 {
        0 => dst >> 24,
        vrf => match memory.u32(TableId::Fib4Pages, u32::from(vrf) * 256 + (dst >> 24))? {
            0 => return None,
            page => page,
        },
    };
    let word = RootWord(memory.u64(TableId::Fib4Root, page * PAGE + (dst >> 13 & (PAGE - 1)))?);
    let mut leaf = word.leaf();
    if word.has_runs() {
        let upto = word.bitmap() & (2_u32 << (dst >> 8 & 31)).wrapping_sub(1);
        leaf = memory.u16(TableId::Fib4Leaves, word.first() + upto.count_ones() - 1)?;
    }
    if leaf & LONG != 0 {
        leaf = memory.u16(TableId::Fib4Long, u32::from(leaf & !LONG) * BLOCK + (dst & 255))?;
    }
    Some(leaf)
}

fn leaf6(memory: View<'_>, vrf: VrfId, dst: u128) -> Option<u16> {
    let directory = u32::from(vrf.0) << DIR_BITS | (dst >> (128 - DIR_BITS)) as u32;
    let mut word = Word6(memory.u32(TableId::Fib6Dir, directory)?);
    if word.is_page() {
        let below = (dst << DIR_BITS >> (128 - PAGE_BITS)) as u32;
        word = Word6(memory.u32(TableId::Fib6Pages, word.index() << PAGE_BITS | below)?);
    }
    if !word.is_node() {
        return Some(word.index() as u16);
    }
    let (mut rest, mut at) = (dst << (DIR_BITS + PAGE_BITS), word.index());
    for _ in 0..MAX_DEPTH {
        let node: Node6 = memory.row(TableId::Fib6Nodes, at)?;
        if node.skip != 0 {
            if (rest >> 64) as u64 & node.runs != node.children {
                return Some(node.first_leaf as u16);
            }
            (rest, at) = (rest << node.skip, node.first_child);
            continue;
        }
        let slot = (rest >> (128 - STRIDE)) as u32;
        if node.children >> slot & 1 == 0 {
            let upto = node.runs & (2_u64 << slot).wrapping_sub(1);
            return memory.u16(TableId::Fib6Leaves, node.first_leaf + upto.count_ones() - 1);
        }
        let before = node.children & ((1_u64 << slot) - 1);
        (rest, at) = (rest << STRIDE, node.first_child + before.count_ones());
    }
    None
}
