//! The addresses of one family as tables that stay: whole addresses come and go one by one. Where shorter
//! prefixes are others, everything is laid out anew, since others may have led to them.

use super::addresses::{Addresses, PLACES, pieces, put4, put6};
use super::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::policy::{self, BUCKET6, ENTRIES6, Line, PROBES, VALUE};
use thalweg_image::halves;

/// First and last address, and the class of all between.
pub(super) type Stretch = (IpAddr, IpAddr, u32);

/// An entry: length, place and value.
type Entry = (u8, [u64; 2], u32);

/// The tables of a family.
#[derive(Debug)]
pub(super) struct Family {
    family: u8,
    /// The first line, and how many buckets there are; none before anything is laid out.
    pub first: u32,
    pub buckets: u32,
    /// Lengths that are looked for beside whole addresses, ascending.
    pub lengths: Vec<u8>,
    entries: u32,
    stretches: Vec<Stretch>,
    /// Addresses with a value of their own.
    locals: BTreeMap<IpAddr, u32>,
}

impl Family {
    pub fn new(family: u8) -> Self {
        let (stretches, locals) = (Vec::new(), BTreeMap::new());
        Self { family, first: 0, buckets: 0, lengths: Vec::new(), entries: 0, stretches, locals }
    }

    fn bits(&self) -> u8 {
        if self.family == 4 { 32 } else { 128 }
    }

    fn per_bucket(&self) -> usize {
        if self.family == 4 { policy::WORDS as usize } else { ENTRIES6 }
    }

    fn lines_of_bucket(&self) -> u32 {
        if self.family == 4 { 1 } else { BUCKET6 }
    }

    /// Brings the tables to other stretches and addresses.
    pub fn update(
        &mut self,
        store: &mut Store,
        stretches: Vec<Stretch>,
        locals: BTreeMap<IpAddr, u32>,
    ) {
        let others = self.others(&stretches, &locals);
        (self.stretches, self.locals) = (stretches, locals);
        let others = others.filter(|_| self.buckets > 0);
        let follows = others.is_some_and(|all| all.into_iter().all(|one| self.follow(store, one)));
        if !follows || !self.is_balanced() {
            self.lay_out(store);
        }
    }

    /// Addresses that may come to something else than before; none at all where whole prefixes do.
    fn others(
        &self,
        stretches: &[Stretch],
        locals: &BTreeMap<IpAddr, u32>,
    ) -> Option<BTreeSet<IpAddr>> {
        let mut found = BTreeSet::new();
        let (mut old, mut new) = (&self.stretches[..], stretches);
        loop {
            let which = match (old.first(), new.first()) {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => {
                    (old, new) = (&old[1..], &new[1..]);
                    continue;
                }
                (Some(a), Some(b)) if b.0 < a.0 => &mut new,
                (None, Some(_)) => &mut new,
                (Some(_), _) => &mut old,
            };
            let (first, last, _) = which[0];
            *which = &which[1..];
            for (length, place) in pieces(first, last) {
                if length != self.bits() {
                    return None;
                }
                found.insert(self.address(place));
            }
        }
        let differs = |address: &&IpAddr| self.locals.get(*address) != locals.get(*address);
        found.extend(self.locals.keys().chain(locals.keys()).filter(differs));
        Some(found)
    }

    fn address(&self, [high, low]: [u64; 2]) -> IpAddr {
        match self.family {
            4 => IpAddr::V4((low as u32).into()),
            _ => IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into()),
        }
    }

    /// What a whole address comes to, if it stands by itself.
    fn wanted(&self, address: IpAddr) -> Option<u32> {
        if let Some(local) = self.locals.get(&address) {
            return Some(*local);
        }
        let after = self.stretches.partition_point(|(first, ..)| *first <= address);
        let (first, last, class) = *self.stretches.get(after.checked_sub(1)?)?;
        let whole = (self.bits(), halves(address));
        (address <= last && pieces(first, last).contains(&whole)).then_some(class)
    }

    /// Brings a whole address up to date. Returns whether there was room.
    fn follow(&mut self, store: &mut Store, address: IpAddr) -> bool {
        let key = halves(address);
        match self.wanted(address) {
            Some(value) => self.put(store, key, value),
            None => {
                self.remove(store, key);
                true
            }
        }
    }

    /// Whether there are neither too many entries for so many buckets nor far too few.
    fn is_balanced(&self) -> bool {
        let usual = self.buckets * if self.family == 4 { 4 } else { 2 };
        self.entries <= usual && (self.entries >= usual / 8 || self.buckets == 1)
    }

    fn lay_out(&mut self, store: &mut Store) {
        let mut all = Addresses::new(self.family);
        self.stretches.iter().for_each(|(first, last, class)| all.stretch(*first, *last, *class));
        self.locals.iter().for_each(|(address, value)| all.host(*address, *value));
        let laid = all.lay_out();
        store.give_up(self.first, self.buckets * self.lines_of_bucket());
        self.first = store.reserve(laid.lines.len() as u32);
        for (at, line) in (self.first..).zip(laid.lines) {
            store.set(at, line);
        }
        (self.lengths, self.buckets, self.entries) = (laid.lengths, laid.buckets, laid.entries);
    }

    fn probes(&self, key: [u64; 2]) -> impl Iterator<Item = u32> + use<> {
        let mask = self.buckets - 1;
        let home = policy::bucket(key, self.bits(), mask);
        (0..PROBES.min(self.buckets)).map(move |step| (home + step) & mask)
    }

    fn put(&mut self, store: &mut Store, key: [u64; 2], value: u32) -> bool {
        for bucket in self.probes(key) {
            let mut entries = self.read(store, bucket);
            if let Some(known) = entries.iter_mut().find(|one| self.is(one, key)) {
                known.2 = value;
                self.write(store, bucket, &entries);
                return true;
            }
            if entries.len() < self.per_bucket() {
                entries.push((self.bits(), key, value));
                self.write(store, bucket, &entries);
                self.entries += 1;
                return true;
            }
        }
        false
    }

    fn is(&self, entry: &Entry, key: [u64; 2]) -> bool {
        entry.0 == self.bits() && entry.1 == key
    }

    fn remove(&mut self, store: &mut Store, key: [u64; 2]) {
        for bucket in self.probes(key) {
            let mut entries = self.read(store, bucket);
            let was_full = entries.len() == self.per_bucket();
            if let Some(at) = entries.iter().position(|one| self.is(one, key)) {
                entries.swap_remove(at);
                self.write(store, bucket, &entries);
                self.entries -= 1;
                if was_full {
                    self.refill(store, bucket);
                }
                return;
            }
            if !was_full {
                return;
            }
        }
    }

    /// A search ends at a bucket with room. What it would have found behind one that had none moves up.
    fn refill(&mut self, store: &mut Store, mut bucket: u32) {
        let mask = self.buckets - 1;
        let mut step = 1;
        while step < PROBES.min(self.buckets) {
            let behind = (bucket + step) & mask;
            let mut entries = self.read(store, behind);
            let was_full = entries.len() == self.per_bucket();
            let passed = |(length, place, _): &Entry| {
                let home = policy::bucket(*place, *length, mask);
                (bucket.wrapping_sub(home) & mask) < (behind.wrapping_sub(home) & mask)
            };
            step += 1;
            if let Some(at) = entries.iter().position(passed) {
                let moved = entries.swap_remove(at);
                self.write(store, behind, &entries);
                let mut entries = self.read(store, bucket);
                entries.push(moved);
                self.write(store, bucket, &entries);
                (bucket, step) = (behind, 1);
            }
            if !was_full {
                return;
            }
        }
    }

    fn read(&self, store: &Store, bucket: u32) -> Vec<Entry> {
        let first = self.first + bucket * self.lines_of_bucket();
        if self.family == 4 {
            let words = store.line(first).into_iter().filter(|word| *word != 0);
            let entry = |word: u64| ((word >> 26 & 63) as u8, [0, word >> 32], word as u32 & VALUE);
            return words.map(entry).collect();
        }
        let lines = [store.line(first), store.line(first + 1)];
        let words = PLACES.map(|place| place.map(|(line, word)| lines[line][word]));
        let words = words.into_iter().filter(|words| words[2] != 0);
        let entry = |[high, low, last]: [u64; 3]| {
            ((last >> 32 & 0xff) as u8, [high, low], last as u32 & VALUE)
        };
        words.map(entry).collect()
    }

    fn write(&self, store: &mut Store, bucket: u32, entries: &[Entry]) {
        let first = self.first + bucket * self.lines_of_bucket();
        let mut lines = [Line::default(); BUCKET6 as usize];
        for (length, place, value) in entries {
            match self.family {
                4 => put4(&mut lines[0], place[1] as u32, *length, *value),
                _ => put6(&mut lines, *place, *length, *value),
            };
        }
        for (at, line) in (first..).zip(lines).take(self.lines_of_bucket() as usize) {
            store.set(at, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use thalweg_image::sample::SplitMix;

    fn find(family: &Family, store: &Store, key: [u64; 2]) -> Option<u32> {
        for bucket in family.probes(key) {
            let entries = family.read(store, bucket);
            if let Some(known) = entries.iter().find(|one| family.is(one, key)) {
                return Some(known.2);
            }
            if entries.len() < family.per_bucket() {
                return None;
            }
        }
        None
    }

    fn of(family: u8, number: u64) -> IpAddr {
        match family {
            4 => IpAddr::V4((0x0a00_0000 + number as u32).into()),
            _ => IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(number))),
        }
    }

    #[test]
    fn addresses_that_come_and_go_are_found_as_in_tables_from_nothing() {
        for seed in 0..24 {
            let (mut random, version) = (SplitMix(seed), if seed % 2 == 0 { 4 } else { 6 });
            let (mut held, mut store) = (Family::new(version), Store::default());
            store.reserve(1);
            let space = 64 << (seed / 2 % 6);
            let mut classes: BTreeMap<u64, u32> = BTreeMap::new();
            let mut locals = BTreeMap::new();
            let mut followed = 0;
            for step in 0..120 {
                for _ in 0..1 + random.below(space / 8) {
                    // Neighbors with one class would be longer stretches; some are.
                    let number = random.below(space);
                    let class = 1 + (number % 2) as u32 + 2 * random.below(3) as u32;
                    match random.below(3 + step % 40 / 10) {
                        0 => drop(classes.remove(&number)),
                        1 if random.below(30) == 0 => drop(classes.insert(number, 9)),
                        _ => drop(classes.insert(number, class)),
                    }
                    let (at, value) = (of(version, random.below(space)), 7);
                    match random.below(2) {
                        0 => drop(locals.remove(&at)),
                        _ => drop(locals.insert(at, value)),
                    }
                }
                let mut stretches: Vec<(u64, u64, u32)> = Vec::new();
                for (number, class) in &classes {
                    match stretches.last_mut() {
                        Some(last) if last.1 + 1 == *number && last.2 == *class => last.1 = *number,
                        _ => stretches.push((*number, *number, *class)),
                    }
                }
                let stretches: Vec<Stretch> = stretches
                    .into_iter()
                    .map(|(first, last, class)| (of(version, first), of(version, last), class))
                    .collect();
                let before = held.others(&stretches, &locals).is_some();
                followed += usize::from(before && held.buckets > 0);
                held.update(&mut store, stretches.clone(), locals.clone());
                let (mut fresh, mut other) = (Family::new(version), Store::default());
                other.reserve(1);
                fresh.update(&mut other, stretches, locals.clone());
                assert_eq!(held.lengths, fresh.lengths);
                assert_eq!(held.entries, fresh.entries);
                for number in 0..space {
                    let key = halves(of(version, number));
                    let expected = find(&fresh, &other, key);
                    assert_eq!(find(&held, &store, key), expected, "seed {seed}, step {step}");
                }
            }
            assert!(followed > 30, "{followed}");
        }
    }
}
