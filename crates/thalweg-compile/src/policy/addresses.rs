//! Addresses by prefix, as the data plane looks them up: hash tables of prefixes, searched by length.
//!
//! A search asks for the whole address first. Then it halves what is left of the list of lengths: where a
//! prefix of the middle length is there it goes on with longer ones, else with shorter ones (Waldvogel et al.,
//! 1997). So on the way to a prefix there must be *markers* of shorter lengths, which carry what the longest
//! prefix around them comes to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_abi::policy::{self, BUCKET6, ENTRIES6, Line, PROBES};
use thalweg_image::halves;

/// Prefixes of one family with what they come to.
#[derive(Debug)]
pub(super) struct Addresses {
    family: u8,
    prefixes: BTreeMap<(u8, [u64; 2]), u32>,
}

/// The tables of one family.
#[derive(Debug)]
pub(super) struct Laid {
    /// Lengths that are looked for beside whole addresses, ascending.
    pub lengths: Vec<u8>,
    /// Buckets, a power of two.
    pub buckets: u32,
    /// How many prefixes and markers there are.
    pub entries: u32,
    pub lines: Vec<Line>,
}

impl Addresses {
    pub fn new(family: u8) -> Self {
        Self { family, prefixes: BTreeMap::new() }
    }

    fn bits(&self) -> u8 {
        if self.family == 4 { 32 } else { 128 }
    }

    /// An address by itself.
    pub fn host(&mut self, address: IpAddr, value: u32) {
        self.prefixes.insert((self.bits(), halves(address)), value);
    }

    /// A stretch of addresses, as the prefixes that make it up.
    pub fn stretch(&mut self, first: IpAddr, last: IpAddr, value: u32) {
        self.prefixes.extend(pieces(first, last).into_iter().map(|piece| (piece, value)));
    }

    /// What the longest prefix of at most this length around an address comes to.
    fn best(&self, lengths: &[u8], address: [u64; 2]) -> u32 {
        let known = |length: &u8| {
            self.prefixes.get(&(*length, policy::masked(address, *length, self.family)))
        };
        lengths.iter().rev().find_map(known).copied().unwrap_or(0)
    }

    /// Lays them out.
    pub fn lay_out(&self) -> Laid {
        let all: BTreeSet<u8> = self.prefixes.keys().map(|(length, _)| *length).collect();
        let short: Vec<u8> = all.iter().copied().filter(|length| *length < self.bits()).collect();
        let mut entries: BTreeMap<(u8, [u64; 2]), u32> = self.prefixes.clone();
        let mut markers: HashMap<(u8, [u64; 2]), u32> = HashMap::new();
        for (length, place) in self.prefixes.keys().filter(|(length, _)| *length < self.bits()) {
            let (mut low, mut high) = (0, short.len());
            while low < high {
                let middle = (low + high) / 2;
                let at = short[middle];
                if at > *length {
                    high = middle;
                    continue;
                }
                low = middle + 1;
                let key = (at, policy::masked(*place, at, self.family));
                if !entries.contains_key(&key) && !markers.contains_key(&key) {
                    markers.insert(key, self.best(&short[..middle], *place));
                }
            }
        }
        entries.extend(markers);
        let per_line = if self.family == 4 { 4 } else { 2 };
        let mut buckets = (entries.len() as u32).div_ceil(per_line).next_power_of_two();
        loop {
            if let Some(lines) = self.fill(&entries, buckets) {
                let entries = entries.len() as u32;
                return Laid { lengths: short, buckets, entries, lines };
            }
            buckets *= 2;
        }
    }

    /// The lines of so many buckets; none if a prefix finds no place in them.
    fn fill(&self, entries: &BTreeMap<(u8, [u64; 2]), u32>, buckets: u32) -> Option<Vec<Line>> {
        let per_bucket = if self.family == 4 { 1 } else { BUCKET6 };
        let mut lines = vec![Line::default(); (buckets * per_bucket) as usize];
        for ((length, place), value) in entries {
            let first = policy::bucket(*place, *length, buckets - 1);
            let mut probes = (0..PROBES).map(|step| (first + step) & (buckets - 1));
            let done = probes.any(|bucket| match self.family {
                4 => put4(&mut lines[bucket as usize], place[1] as u32, *length, *value),
                _ => {
                    let at = (bucket * BUCKET6) as usize;
                    put6(&mut lines[at..at + 2], *place, *length, *value)
                }
            });
            if !done {
                return None;
            }
        }
        Some(lines)
    }
}

/// The prefixes that make up a stretch of addresses of one family.
pub(super) fn pieces(first: IpAddr, last: IpAddr) -> Vec<(u8, [u64; 2])> {
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let (mut from, last) = (number(first), number(last));
    let mut made = Vec::new();
    loop {
        // As many addresses as the first one's zeros at the end allow, and no more than are left.
        let mut free = from.trailing_zeros().min(bits);
        while free > 0 && (free >= 128 || from + ((1u128 << free) - 1) > last) {
            // All of IPv6 is one prefix.
            if free >= 128 && from == 0 && last == u128::MAX {
                break;
            }
            free -= 1;
        }
        made.push(((bits - free) as u8, [(from >> 64) as u64, from as u64]));
        let size = 1u128.checked_shl(free).unwrap_or(0);
        match from.checked_add(size) {
            Some(next) if size != 0 && next <= last && next != 0 => from = next,
            _ => return made,
        }
    }
}

pub(super) fn put4(line: &mut Line, address: u32, length: u8, value: u32) -> bool {
    let entry = policy::entry4(address, length, value);
    let Some(free) = line.iter_mut().find(|word| **word == 0) else { return false };
    // What is zero cannot be told from nothing, and comes to the same.
    *free = entry;
    true
}

/// Line and word of each word of the entries of a bucket of IPv6.
pub(super) const PLACES: [[(usize, usize); 3]; ENTRIES6] = [
    [(0, 0), (0, 1), (0, 2)],
    [(0, 3), (0, 4), (0, 5)],
    [(1, 0), (1, 1), (1, 2)],
    [(1, 3), (1, 4), (1, 5)],
    [(0, 6), (0, 7), (1, 6)],
];

pub(super) fn put6(lines: &mut [Line], [high, low]: [u64; 2], length: u8, value: u32) -> bool {
    let entry = [high, low, policy::entry6(length, value)];
    for place in PLACES {
        if lines[place[2].0][place[2].1] == 0 {
            for ((line, word), value) in place.into_iter().zip(entry) {
                lines[line][word] = value;
            }
            return true;
        }
    }
    false
}

/// An address as a number; IPv4 in the low half.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address in front of another one of the same family; none in front of the first.
pub(super) fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(Ipv4Addr::from_bits(address.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits().checked_sub(1)?).into()),
    }
}
