//! Builder of the IPv4 FIB "19-5-8" (see [`thalweg_abi::fib4`]).
//!
//! A changed range of addresses is swept once in the RIB copy, word by word of `fib4_root`. The leaves
//! of a word that changes are written aside, and the word leads to them in the version to come.

use crate::rib::{Prefix, Rib, Touched};
use crate::routes::Fib;
use crate::tables::{Full, Tables};
use thalweg_abi::fib4::{BLOCK, LONG, PAGE, RootWord};
use thalweg_abi::{GroupId, TableId, VrfId, VrfRow};
use thalweg_wire::Prefix4;

/// Bits that a word of `fib4_root` does not look at.
const WORD_BITS: u32 = 13;
/// Words between two changes that are swept along rather than searched for twice.
const GAP: u32 = 16;

/// Builder of the IPv4 FIB.
#[derive(Debug, Default)]
pub(crate) struct Fib4 {
    /// Words in use of each page, by page; pages of the default VRF are not counted.
    live: Vec<u16>,
    /// Counts that hold once the draft is published.
    drafted: Vec<(u32, u16)>,
}

impl Fib for Fib4 {
    type Prefix = Prefix4;

    fn part(touched: &[Touched<Prefix4>]) -> usize {
        let Some(first) = touched.first() else { return 0 };
        let octet = first.prefix.first() >> 24;
        let mut last = first.prefix.last() >> WORD_BITS;
        let joins = |touched: &&Touched<Prefix4>| {
            let from = touched.prefix.first() >> WORD_BITS;
            let joined =
                from <= last || from - last <= GAP && touched.prefix.first() >> 24 == octet;
            if joined {
                last = last.max(touched.prefix.last() >> WORD_BITS);
            }
            joined
        };
        touched.iter().take_while(joins).count()
    }

    fn draft(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        rib: &Rib<Prefix4>,
        part: &[Touched<Prefix4>],
    ) -> Result<(), Full> {
        self.drafted.clear();
        let Some(first) = part.iter().map(|touched| touched.prefix.first()).min() else {
            return Ok(());
        };
        let last = part.iter().map(|touched| touched.prefix.last()).max().unwrap_or(first);
        let (first, last) = (first & !(BLOCK - 1), last | (BLOCK - 1));
        let runs = Vec::with_capacity(64);
        let mut walk = Walk { fib: self, tables, vrf, page: None, last, runs };
        rib.sweep(first, last, |from, to, group| walk.emit(from, to, group))?;
        walk.leave_page();
        Ok(())
    }

    fn published(&mut self) {
        for (page, live) in self.drafted.drain(..) {
            let page = page as usize;
            if self.live.len() <= page {
                self.live.resize(page + 1, 0);
            }
            self.live[page] = live;
        }
    }

    fn default_group(row: &mut VrfRow) -> &mut u32 {
        &mut row.default4
    }
}

/// One sweep over words in the order of addresses.
struct Walk<'a> {
    fib: &'a mut Fib4,
    tables: &'a mut Tables,
    vrf: VrfId,
    page: Option<Page>,
    /// Last address of the sweep, which ends, as it begins, with a /24.
    last: u32,
    /// First address and group of each run of the word in hand.
    runs: Vec<(u32, u16)>,
}

/// The page that the sweep is in.
#[derive(Clone, Copy)]
struct Page {
    octet: u32,
    /// Number; none while the VRF has no page for this first octet.
    number: Option<u32>,
    live: u16,
}

impl Walk<'_> {
    /// Takes in a range of addresses with one group; hands on each word that it completes.
    fn emit(&mut self, from: u32, to: u32, group: GroupId) -> Result<(), Full> {
        let mut from = from;
        loop {
            if self.runs.last().is_none_or(|(_, last)| *last != group.0) {
                self.runs.push((from, group.0));
            }
            let last = (from | ((1 << WORD_BITS) - 1)).min(self.last);
            if to < last {
                return Ok(());
            }
            self.word(from >> WORD_BITS)?;
            self.runs.clear();
            match last.checked_add(1) {
                Some(next) if next <= to => from = next,
                _ => return Ok(()),
            }
        }
    }

    /// Drafts the word whose swept part [`Self::runs`] describes.
    fn word(&mut self, word: u32) -> Result<(), Full> {
        let base = word << WORD_BITS;
        let last = base | ((1 << WORD_BITS) - 1);
        let uniform = match self.runs[..] {
            [(first, group)] if first == base && last <= self.last => {
                Some(RootWord::uniform(group))
            }
            _ => None,
        };
        let nothing = matches!(self.runs[..], [(_, 0)]);
        let Some(page) = self.page(word / PAGE, !nothing)? else {
            return Ok(());
        };
        let index = page * PAGE + word % PAGE;
        let old = self.tables.draft().u64(TableId::Fib4Root, index);
        let old = RootWord(old.ok_or(Full::beyond(TableId::Fib4Root))?);
        let new = match uniform {
            Some(new) => {
                if new != old {
                    self.replace_runs(old, &slots(self.tables, old), &[0; 32]);
                }
                new
            }
            None => self.build(base, old)?,
        };
        if new != old {
            self.tables.store(TableId::Fib4Root, index, new.0);
            if let Some(page) = &mut self.page {
                page.live += u16::from(new != RootWord::default());
                page.live = page.live.saturating_sub(u16::from(old != RootWord::default()));
            }
        }
        Ok(())
    }

    /// Drafts a word of which only a part is swept, or that has runs.
    fn build(&mut self, base: u32, old: RootWord) -> Result<RootWord, Full> {
        let was = slots(self.tables, old);
        let now = self.leaves(base, &was)?;
        let bitmap = bitmap(&now);
        if bitmap == 1 {
            self.replace_runs(old, &was, &now);
            return Ok(RootWord::uniform(now[0]));
        }
        if old.has_runs() && was == now {
            return Ok(old);
        }
        let first = self.tables.take(TableId::Fib4Leaves, bitmap.count_ones())?;
        for (at, leaf) in (first..).zip(firsts(bitmap, &now)) {
            self.tables.write_u16(TableId::Fib4Leaves, at, leaf);
        }
        self.replace_runs(old, &was, &now);
        Ok(RootWord::runs(bitmap, first))
    }

    /// The leaf of each /24 of the word in hand; blocks are drafted. What is not swept stays.
    fn leaves(&mut self, base: u32, was: &[u16; 32]) -> Result<[u16; 32], Full> {
        let mut leaves = *was;
        let mut at = 0;
        for (slot, leaf) in (0..).zip(&mut leaves) {
            let first = base + slot * BLOCK;
            let last = first | (BLOCK - 1);
            if last < self.runs[0].0 || first > self.last {
                continue;
            }
            while self.runs.get(at + 1).is_some_and(|(start, _)| *start <= first) {
                at += 1;
            }
            let from = at;
            while self.runs.get(at + 1).is_some_and(|(start, _)| *start <= last) {
                at += 1;
            }
            *leaf = match at == from {
                true => self.runs[at].1,
                false => self.block(first, from..=at, *leaf)?,
            };
        }
        Ok(leaves)
    }

    /// Drafts the block of a /24 with several runs.
    fn block(
        &mut self,
        base: u32,
        runs: std::ops::RangeInclusive<usize>,
        was: u16,
    ) -> Result<u16, Full> {
        let mut cells = [0; BLOCK as usize];
        for (start, group) in &self.runs[runs] {
            cells[start.saturating_sub(base) as usize..].fill(*group);
        }
        if was & LONG != 0 {
            let old = u32::from(was & !LONG) * BLOCK..;
            let draft = self.tables.draft();
            if old.zip(cells).all(|(at, cell)| draft.u16(TableId::Fib4Long, at) == Some(cell)) {
                return Ok(was);
            }
        }
        let block = self.tables.take(TableId::Fib4Long, 1)?;
        for (at, cell) in (block * BLOCK..).zip(cells) {
            self.tables.write_u16(TableId::Fib4Long, at, cell);
        }
        Ok(LONG | block as u16)
    }

    /// Gives up the leaves of a word and the blocks that it no longer refers to.
    fn replace_runs(&mut self, old: RootWord, was: &[u16; 32], now: &[u16; 32]) {
        if old.has_runs() {
            self.tables.replace(TableId::Fib4Leaves, old.first(), old.bitmap().count_ones());
            self.replace_blocks(was, now);
        }
    }

    fn replace_blocks(&mut self, was: &[u16; 32], now: &[u16; 32]) {
        for (before, after) in was.iter().zip(now) {
            if before & LONG != 0 && before != after {
                self.tables.replace(TableId::Fib4Long, u32::from(before & !LONG), 1);
            }
        }
    }

    /// The page of a first octet; made when `wanted`.
    fn page(&mut self, octet: u32, wanted: bool) -> Result<Option<u32>, Full> {
        if self.vrf == VrfId(0) {
            return Ok(Some(octet));
        }
        if self.page.is_none_or(|page| page.octet != octet) {
            self.leave_page();
            self.page = Some(self.enter_page(octet)?);
        }
        let cell = self.cell(octet);
        let Some(page) = &mut self.page else { return Ok(None) };
        if page.number.is_none() && wanted {
            // A page of zeros answers like no page, so it may be seen before its words.
            let number = self.tables.take(TableId::Fib4Root, 1)?;
            self.tables.store(TableId::Fib4Pages, cell, u64::from(number));
            page.number = Some(number);
        }
        Ok(page.number)
    }

    fn cell(&self, octet: u32) -> u32 {
        u32::from(self.vrf.0) * 256 + octet
    }

    fn enter_page(&self, octet: u32) -> Result<Page, Full> {
        let number = self.tables.draft().u32(TableId::Fib4Pages, self.cell(octet));
        let number = number.ok_or(Full::beyond(TableId::Fib4Pages))?;
        let live = self.fib.live.get(number as usize).copied().unwrap_or(0);
        Ok(match number {
            0 => Page { octet, number: None, live: 0 },
            number => Page { octet, number: Some(number), live },
        })
    }

    /// Notes how many words of the page in hand are in use; a page without any is given up.
    fn leave_page(&mut self) {
        let Some(Page { octet, number: Some(number), live }) = self.page.take() else { return };
        self.fib.drafted.push((number, live));
        if live == 0 {
            self.tables.store(TableId::Fib4Pages, self.cell(octet), 0);
            self.tables.replace(TableId::Fib4Root, number, 1);
        }
    }
}

/// The leaf of each /24 of a word in force.
fn slots(tables: &Tables, word: RootWord) -> [u16; 32] {
    let mut slots = [word.leaf(); 32];
    if word.has_runs() {
        let mut at = word.first();
        let mut leaf = 0;
        for (number, slot) in slots.iter_mut().enumerate() {
            if word.bitmap() >> number & 1 != 0 {
                leaf = tables.draft().u16(TableId::Fib4Leaves, at).unwrap_or(0);
                at += 1;
            }
            *slot = leaf;
        }
    }
    slots
}

/// Marks where a new run begins.
fn bitmap(slots: &[u16; 32]) -> u32 {
    let begins = |at: &usize| *at == 0 || slots[*at] != slots[*at - 1];
    (0..32).filter(begins).fold(0, |bitmap, at| bitmap | 1 << at)
}

/// The leaves where runs begin.
fn firsts(bitmap: u32, slots: &[u16; 32]) -> impl Iterator<Item = u16> {
    (0..32).filter(move |at| bitmap >> at & 1 != 0).map(|at| slots[at as usize])
}
