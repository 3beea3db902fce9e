//! Lines that stay where they are while others change: who has which, and where there is room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use thalweg_abi::policy::{Line, WORDS};

/// Words with the line where they begin; whoever has the same words shares them.
#[derive(Debug, Default)]
pub(super) struct Store {
    all: Vec<Line>,
    /// Lines that are others than when this was asked last.
    changed: BTreeSet<u32>,
    /// By words where they begin, and the other way around with how many have them.
    known: HashMap<Arc<[u64]>, u32>,
    blocks: HashMap<u32, (Arc<[u64]>, u32)>,
    /// Where there is room: first lines, with how many there are. No two touch.
    free: BTreeMap<u32, u32>,
    free_lines: u32,
}

impl Store {
    /// All lines.
    pub fn lines(&self) -> &[Line] {
        &self.all
    }

    /// How many lines nobody has.
    pub fn unused(&self) -> u32 {
        self.free_lines
    }

    /// Numbers of lines that changed since this was asked before, ascending.
    pub fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// A line.
    pub fn line(&self, at: u32) -> Line {
        self.all[at as usize]
    }

    /// Puts a line in the place of another.
    pub fn set(&mut self, at: u32, line: Line) {
        let place = &mut self.all[at as usize];
        if *place != line {
            *place = line;
            self.changed.insert(at);
        }
    }

    /// Finds room for lines of one's own.
    pub fn reserve(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let fits = self.free.iter().find(|(_, free)| **free >= count);
        if let Some((first, free)) = fits.map(|(first, free)| (*first, *free)) {
            self.free.remove(&first);
            if free > count {
                self.free.insert(first + count, free - count);
            }
            self.free_lines -= count;
            return first;
        }
        let first = self.all.len() as u32;
        self.all.resize((first + count) as usize, Line::default());
        self.changed.extend(first..first + count);
        first
    }

    /// Gives lines up. They keep what they say, which nothing leads to.
    pub fn give_up(&mut self, mut first: u32, mut count: u32) {
        if count == 0 {
            return;
        }
        self.free_lines += count;
        if let Some(behind) = self.free.remove(&(first + count)) {
            count += behind;
        }
        if let Some((before, free)) = self.free.range(..first).next_back()
            && before + free == first
        {
            (first, count) = (*before, count + free);
        }
        self.free.insert(first, count);
    }

    /// Puts words from a line on.
    pub fn write(&mut self, first: u32, words: &[u64]) {
        for (at, chunk) in (first..).zip(words.chunks(WORDS as usize)) {
            let mut line = Line::default();
            line[..chunk.len()].copy_from_slice(chunk);
            self.set(at, line);
        }
    }

    /// Where words are, which are used once more.
    pub fn take(&mut self, words: Vec<u64>) -> u32 {
        if words.is_empty() {
            return 0;
        }
        if let Some(known) = self.known.get(&words[..]).copied() {
            self.again(known);
            return known;
        }
        let first = self.reserve(count(&words));
        self.write(first, &words);
        let words: Arc<[u64]> = words.into();
        self.known.insert(words.clone(), first);
        self.blocks.insert(first, (words, 1));
        first
    }

    /// Words that are somewhere are used once more.
    pub fn again(&mut self, first: u32) {
        if let Some((_, uses)) = self.blocks.get_mut(&first) {
            *uses += 1;
        }
    }

    /// Words are used once less.
    pub fn release(&mut self, first: u32) {
        let Some((_, uses)) = self.blocks.get_mut(&first) else { return };
        *uses -= 1;
        if *uses == 0
            && let Some((words, _)) = self.blocks.remove(&first)
        {
            self.known.remove(&words);
            self.give_up(first, count(&words));
        }
    }
}

/// How many lines words take.
pub(super) fn count(words: &[u64]) -> u32 {
    (words.len() as u32).div_ceil(WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_as_it_was_written_and_what_is_given_up_is_given_away_again() {
        let mut random = thalweg_image::sample::SplitMix(7);
        let mut store = Store::default();
        store.reserve(1);
        let mut held: Vec<(Vec<u64>, u32)> = Vec::new();
        for _ in 0..20_000 {
            if !held.is_empty() && (random.below(2) == 0 || held.len() > 40) {
                let (_, first) = held.swap_remove(random.below(held.len() as u64) as usize);
                store.release(first);
            } else {
                let (len, of) = (1 + random.below(40), random.below(6));
                let words: Vec<u64> = (0..len).map(|at| at + of).collect();
                held.push((words.clone(), store.take(words)));
            }
            let mut used: BTreeSet<u32> = BTreeSet::new();
            let each: BTreeMap<u32, &Vec<u64>> =
                held.iter().map(|(words, first)| (*first, words)).collect();
            for (first, words) in each {
                let lines = (first..).take(count(words) as usize);
                let found: Vec<u64> = lines.clone().flat_map(|at| store.line(at)).collect();
                assert_eq!(&found[..words.len()], &words[..]);
                lines.for_each(|at| assert!(at > 0 && used.insert(at)));
            }
            assert_eq!(used.len() as u32 + store.unused() + 1, store.lines().len() as u32);
        }
        assert!(store.lines().len() < 400, "{}", store.lines().len());
    }
}
