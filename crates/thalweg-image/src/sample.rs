//! Made-up full tables that have the shape of a real one: for tests, benchmarks and demos.
//!
//! Lengths follow the histogram of a full table of the Internet. Prefixes cluster as there: each is
//! drawn inside a block of a pool, whose blocks are drawn inside blocks of a coarser pool, and the
//! pools are as large as the real table has distinct blocks.

use std::collections::BTreeSet;
use thalweg_wire::{Prefix4, Prefix6};

/// How many prefixes of each length a full IPv4 table has.
const LENGTHS4: &[(u8, u32)] = &[
    (8, 16),
    (9, 13),
    (10, 38),
    (11, 103),
    (12, 299),
    (13, 581),
    (14, 1203),
    (15, 2100),
    (16, 13490),
    (17, 8235),
    (18, 13798),
    (19, 24870),
    (20, 42611),
    (21, 50750),
    (22, 108_623),
    (23, 96510),
    (24, 537_698),
    (25, 20),
    (26, 3),
    (27, 11),
    (28, 18),
    (29, 17),
    (30, 3),
    (31, 3),
    (32, 886),
];

/// How many prefixes of each length a full IPv6 table has.
const LENGTHS6: &[(u8, u32)] = &[
    (16, 1),
    (19, 1),
    (20, 16),
    (21, 3),
    (22, 7),
    (23, 8),
    (24, 30),
    (25, 8),
    (26, 15),
    (27, 20),
    (28, 193),
    (29, 4371),
    (30, 650),
    (31, 284),
    (32, 22548),
    (33, 2926),
    (34, 2603),
    (35, 1043),
    (36, 5996),
    (37, 880),
    (38, 1617),
    (39, 1377),
    (40, 13418),
    (41, 903),
    (42, 2301),
    (43, 1001),
    (44, 14365),
    (45, 1553),
    (46, 3039),
    (47, 3153),
    (48, 75488),
    (49, 11),
    (50, 3),
    (52, 1),
    (55, 1),
    (56, 24),
    (58, 20),
    (60, 2),
    (64, 184),
    (112, 2),
    (122, 1),
    (124, 4),
    (125, 9),
    (126, 19),
    (127, 42),
    (128, 6),
];

/// Lengths of the pools, and how many blocks of that length hold longer prefixes in a full table.
const POOLS4: &[(u8, u32)] =
    &[(8, 215), (11, 1562), (16, 25398), (18, 64989), (20, 140_640), (22, 248_380), (24, 451)];
const POOLS6: &[(u8, u32)] = &[
    (13, 13),
    (16, 59),
    (20, 610),
    (24, 7224),
    (28, 18708),
    (32, 10906),
    (36, 14590),
    (40, 19078),
    (44, 25903),
    (64, 82),
];

/// The blocks in which all IPv6 prefixes lie.
const ROOTS6: [u16; 13] = [
    0x2001, 0x2400, 0x2408, 0x2600, 0x2608, 0x2610, 0x2620, 0x2800, 0x2a00, 0x2a08, 0x2a10, 0x2c08,
    0x2408,
];

/// `count` IPv4 prefixes in the order of addresses; the same for the same `seed`.
pub fn table4(count: usize, seed: u64) -> Vec<Prefix4> {
    let mut random = SplitMix(seed);
    let root = |random: &mut SplitMix| loop {
        let octet = random.below(223) as u32 + 1;
        if !matches!(octet, 10 | 127) {
            return u128::from(octet) << 120;
        }
    };
    let table = draw(count, &mut random, LENGTHS4, POOLS4, 32, root);
    table
        .into_iter()
        .map(|(bits, len)| Prefix4::containing(((bits >> 96) as u32).into(), len))
        .collect()
}

/// `count` IPv6 prefixes in the order of addresses; the same for the same `seed`.
pub fn table6(count: usize, seed: u64) -> Vec<Prefix6> {
    let mut random = SplitMix(seed);
    let root = |random: &mut SplitMix| {
        u128::from(ROOTS6[random.below(ROOTS6.len() as u64) as usize]) << 112
    };
    let table = draw(count, &mut random, LENGTHS6, POOLS6, 128, root);
    table.into_iter().map(|(bits, len)| Prefix6::containing(bits.into(), len)).collect()
}

/// A block or prefix: address in the high bits, and length.
type Block = (u128, u8);

fn draw(
    count: usize,
    random: &mut SplitMix,
    lengths: &[(u8, u32)],
    sizes: &[(u8, u32)],
    width: u8,
    root: impl Fn(&mut SplitMix) -> u128,
) -> Vec<Block> {
    let total: u32 = lengths.iter().map(|(_, share)| share).sum();
    let pools = pools(count as f64 / f64::from(total), random, sizes, root);
    let mut table = BTreeSet::new();
    let mut tries = 0_usize;
    while table.len() < count {
        tries += 1;
        // A count beyond what the pools can give is filled up with addresses.
        let len = if tries > count * 64 + 1024 { width } else { length(random, lengths, total) };
        let pool = pools.iter().rev().find(|(size, _)| *size < len);
        let Some((size, blocks)) = pool.or(pools.first()) else { break };
        let block = blocks[random.below(blocks.len() as u64) as usize];
        table.insert((low(random, block, *size, len.max(*size)) & mask(len), len));
    }
    table.into_iter().collect()
}

/// The pools, coarsest first: the blocks of each lie in blocks of the one before.
fn pools(
    scale: f64,
    random: &mut SplitMix,
    sizes: &[(u8, u32)],
    root: impl Fn(&mut SplitMix) -> u128,
) -> Vec<(u8, Vec<u128>)> {
    let mut pools: Vec<(u8, Vec<u128>)> = Vec::new();
    for &(len, full) in sizes {
        let wanted = (f64::from(full) * scale).ceil().max(1.0) as usize;
        let mut blocks = BTreeSet::new();
        for _ in 0..wanted * 16 {
            let block = match pools.last() {
                None => root(random) & mask(len),
                // The first blocks of a pool are the popular ones, as large networks are.
                Some((above, blocks)) => {
                    let at =
                        random.below(blocks.len() as u64).min(random.below(blocks.len() as u64));
                    below(random, blocks[at as usize], *above, len)
                }
            };
            blocks.insert(block);
            if blocks.len() == wanted {
                break;
            }
        }
        pools.push((len, blocks.into_iter().collect()));
    }
    pools
}

/// A block of length `len` inside `block`, rather at its front: addresses are handed out from there.
fn low(random: &mut SplitMix, block: u128, size: u8, len: u8) -> u128 {
    let zeros = random.below(u64::from(len - size) + 1) as u8 / 2;
    below(random, block, size + zeros, len)
}

/// A random block of length `len` inside `block`.
fn below(random: &mut SplitMix, block: u128, size: u8, len: u8) -> u128 {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    block | bits & mask(len) & !mask(size)
}

fn length(random: &mut SplitMix, lengths: &[(u8, u32)], total: u32) -> u8 {
    let mut at = random.below(u64::from(total)) as u32;
    for &(len, share) in lengths {
        match at.checked_sub(share) {
            Some(rest) => at = rest,
            None => return len,
        }
    }
    lengths.last().map_or(0, |(len, _)| *len)
}

const fn mask(len: u8) -> u128 {
    match len {
        0 => 0,
        len => u128::MAX << (128 - len as u32),
    }
}

/// Random numbers that are the same on every machine (Steele, Lea and Flood: SplitMix64).
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}
