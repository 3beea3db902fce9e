//! What whole blocks of addresses of IPv4 come to: most packets from outside need no more than that.

use super::family::Stretch;
use super::lines::packed;
use super::store::{self, Store};
use std::net::IpAddr;
use thalweg_abi::policy::root::{BLOCKS, EXACT, FINAL, SHIFT};

/// Lines that it takes.
const LINES: u32 = BLOCKS / 16;

/// The table, if there is room for it.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// Its first line; 0 if there is none.
    pub first: u32,
}

/// What is in a block that stretches share.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The class of all that does not stand by itself.
    class: Option<u32>,
    /// Whether there are several of these.
    mixed: bool,
    /// Whether some addresses stand by themselves.
    exact: bool,
}

impl Block {
    /// Takes in a part of a stretch.
    fn add(&mut self, addresses: u32, class: u32) {
        if addresses == 1 && class != 0 {
            self.exact = true;
        } else {
            self.mixed |= self.class.is_some_and(|known| known != class);
            self.class = Some(class);
        }
    }

    fn word(self) -> u32 {
        let class = self.class.unwrap_or(0);
        match self {
            Self { mixed: true, .. } => 0,
            Self { exact: true, .. } => EXACT | class,
            _ => FINAL | class,
        }
    }
}

impl Root {
    /// Lines that it takes where it is wanted, in so many of all: a sixteenth at most.
    pub fn is_worth(lines: u32) -> bool {
        lines / 16 >= LINES
    }

    /// Brings it to other stretches and addresses with a value of their own, or gives it up.
    pub fn update<'a>(
        &mut self,
        store: &mut Store,
        stretches: &[Stretch],
        locals: impl Iterator<Item = &'a IpAddr>,
        wanted: bool,
    ) {
        if !wanted {
            if self.first != 0 {
                store.give_up(std::mem::take(&mut self.first), LINES);
            }
            return;
        }
        let words = packed(&words(stretches, locals), 32);
        debug_assert_eq!(store::count(&words), LINES);
        if self.first == 0 {
            self.first = store.reserve(LINES);
        }
        store.write(self.first, &words);
    }
}

/// What each block comes to.
fn words<'a>(stretches: &[Stretch], locals: impl Iterator<Item = &'a IpAddr>) -> Vec<u32> {
    let mut blocks = vec![Block::default(); BLOCKS as usize];
    // What is in no stretch is of class 0.
    let mut next: u64 = 0;
    for (first, last, class) in stretches {
        let (Some(first), Some(last)) = (number(first), number(last)) else { continue };
        if next < u64::from(first) {
            part(&mut blocks, next as u32, first - 1, 0);
        }
        part(&mut blocks, first, last, *class);
        next = u64::from(last) + 1;
    }
    if let Ok(next) = u32::try_from(next) {
        part(&mut blocks, next, u32::MAX, 0);
    }
    for address in locals.filter_map(number) {
        blocks[(address >> SHIFT) as usize].exact = true;
    }
    blocks.into_iter().map(Block::word).collect()
}

/// Takes a stretch into all blocks that it reaches into.
fn part(blocks: &mut [Block], first: u32, last: u32, class: u32) {
    for block in first >> SHIFT..=last >> SHIFT {
        let begins = first.max(block << SHIFT);
        let ends = last.min(begins | ((1 << SHIFT) - 1));
        blocks[block as usize].add(ends - begins + 1, class);
    }
}

fn number(address: &IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(first: &str, last: &str, class: u32) -> Stretch {
        (first.parse().unwrap(), last.parse().unwrap(), class)
    }

    fn at(words: &[u32], address: &str) -> u32 {
        words[(number(&address.parse().unwrap()).unwrap() >> SHIFT) as usize]
    }

    #[test]
    fn blocks_say_how_far_one_must_look() {
        let stretches = [
            stretch("10.0.0.7", "10.0.0.7", 3),
            stretch("10.1.0.0", "10.2.255.255", 4),
            stretch("10.3.0.0", "10.3.0.255", 5),
            stretch("10.4.0.0", "10.4.0.6", 6),
            stretch("10.4.0.7", "10.4.0.7", 7),
            stretch("10.4.0.8", "10.4.255.255", 6),
            stretch("10.5.0.0", "10.5.0.8", 8),
            // A hole of one address has no entry that could be found.
            stretch("10.5.0.10", "10.5.255.255", 8),
            stretch("255.255.255.255", "255.255.255.255", 9),
        ];
        let local: IpAddr = "10.2.0.1".parse().unwrap();
        let words = words(&stretches, [local].iter());
        assert_eq!(words.len(), BLOCKS as usize);
        assert_eq!(at(&words, "9.0.0.1"), FINAL, "nobody speaks of it");
        assert_eq!(at(&words, "10.0.0.1"), EXACT, "one address");
        assert_eq!(at(&words, "10.1.0.1"), FINAL | 4, "one class");
        assert_eq!(at(&words, "10.2.0.1"), EXACT | 4, "a local address in one class");
        assert_eq!(at(&words, "10.3.0.1"), 0, "a net in it");
        assert_eq!(at(&words, "10.4.0.1"), EXACT | 6, "one address in one class");
        assert_eq!(at(&words, "10.5.0.1"), 0, "a hole in it");
        assert_eq!(at(&words, "255.255.255.255"), EXACT, "the last address");
        assert_eq!(at(&words, "255.254.255.255"), FINAL);
    }
}
