//! Builder of the IPv6 FIB (see [`thalweg_abi::fib6`]): directory and pages; nodes are next door.
//!
//! A directory word whose 13 bits hold no longer prefix is a leaf; otherwise it has a page. Below a
//! page word, [`crate::tree6`] changes as little of the tree as the change asks for.

use crate::rib::{Prefix, Rib, Touched};
use crate::routes::Fib;
use crate::tables::{Full, Tables};
use crate::tree6::{Region, Run, Slot, Tree};
use thalweg_abi::fib6::{DIR_BITS, PAGE_BITS, Word6};
use thalweg_abi::{GroupId, Node6, TableId, VrfId, VrfRow};
use thalweg_wire::Prefix6;

/// Bits below the directory, and below a page.
const BELOW_DIR: u32 = 128 - DIR_BITS;
const BELOW_PAGE: u32 = BELOW_DIR - PAGE_BITS;
/// Words of a page.
const PAGE: u32 = 1 << PAGE_BITS;
/// The longest prefix that is wider than one page word, and one directory word.
const PAGE_LEN: u8 = (DIR_BITS + PAGE_BITS) as u8;
const DIR_LEN: u8 = DIR_BITS as u8;

/// Builder of the IPv6 FIB.
#[derive(Debug, Default)]
pub(crate) struct Fib6;

impl Fib for Fib6 {
    type Prefix = Prefix6;

    fn part(touched: &[Touched<Prefix6>]) -> usize {
        let Some(first) = touched.first() else { return 0 };
        let mut last = first.prefix.last() >> BELOW_DIR;
        let joins = |touched: &&Touched<Prefix6>| {
            let joined = touched.prefix.first() >> BELOW_DIR <= last;
            if joined {
                last = last.max(touched.prefix.last() >> BELOW_DIR);
            }
            joined
        };
        touched.iter().take_while(joins).count()
    }

    fn draft(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        rib: &Rib<Prefix6>,
        part: &[Touched<Prefix6>],
    ) -> Result<(), Full> {
        let (Some(first), Some(last)) = (
            part.iter().map(|touched| touched.prefix.first() >> BELOW_DIR).min(),
            part.iter().map(|touched| touched.prefix.last() >> BELOW_DIR).max(),
        ) else {
            return Ok(());
        };
        let wide: Vec<Prefix6> = part.iter().map(|touched| touched.prefix).collect();
        let (wide, narrow): (Vec<_>, Vec<_>) =
            wide.into_iter().partition(|prefix| prefix.len() <= DIR_LEN);
        let mut walk = Walk { tables, rib, vrf };
        let mut narrow = &narrow[..];
        for number in first..=last {
            let region = Prefix6::containing((number << BELOW_DIR).into(), DIR_LEN);
            let within = narrow.partition_point(|prefix| prefix.bits() <= region.last());
            let (inside, others) = narrow.split_at(within);
            narrow = others;
            let whole = wide.iter().any(|prefix| prefix.covers(region));
            if whole || !inside.is_empty() {
                walk.directory(region, whole, inside)?;
            }
        }
        Ok(())
    }

    fn published(&mut self) {}

    fn default_group(row: &mut VrfRow) -> &mut u32 {
        &mut row.default6
    }
}

/// One change of directory and pages.
struct Walk<'a> {
    tables: &'a mut Tables,
    rib: &'a Rib<Prefix6>,
    vrf: VrfId,
}

impl Walk<'_> {
    /// Drafts a directory word. `whole` says that all of it is affected, `inside` which prefixes are.
    fn directory(&mut self, region: Prefix6, whole: bool, inside: &[Prefix6]) -> Result<(), Full> {
        let cell = u32::from(self.vrf.0) << DIR_BITS | (region.bits() >> BELOW_DIR) as u32;
        let old = self.tables.draft().u32(TableId::Fib6Dir, cell);
        let old = Word6(old.ok_or(Full::beyond(TableId::Fib6Dir))?);
        let new = match (self.rib.any_within(region), old.is_page()) {
            (false, _) => Word6::leaf(self.answer(region).0),
            (true, false) => Word6::page(self.new_page(region)?),
            (true, true) if whole => {
                self.words(old.index(), region.first(), region.last())?;
                old
            }
            (true, true) => {
                self.changes(old.index(), inside)?;
                old
            }
        };
        if new != old {
            self.tables.store(TableId::Fib6Dir, cell, u64::from(new.0));
            if old.is_page() {
                self.replace_page(old.index());
            }
        }
        Ok(())
    }

    /// The group of a whole directory word.
    fn answer(&self, region: Prefix6) -> GroupId {
        match self.rib.longest(region.first(), DIR_LEN) {
            Some((prefix, group)) if prefix.len() > 0 => group,
            _ => GroupId::NONE,
        }
    }

    /// A page with all its words, unseen until the directory word is stored.
    fn new_page(&mut self, region: Prefix6) -> Result<u32, Full> {
        let page = self.tables.take(TableId::Fib6Pages, 1)?;
        for word in 0..PAGE {
            self.tables.write_u32(TableId::Fib6Pages, page * PAGE + word, 0);
        }
        self.words(page, region.first(), region.last())?;
        Ok(page)
    }

    fn replace_page(&mut self, page: u32) {
        for word in page * PAGE..(page + 1) * PAGE {
            let word = Word6(self.tables.draft().u32(TableId::Fib6Pages, word).unwrap_or(0));
            if word.is_node() {
                Tree::new(self.tables, self.rib).replace_root(word.index());
            }
        }
        self.tables.replace(TableId::Fib6Pages, page, 1);
    }

    /// Drafts the page words that changes within one page affect.
    fn changes(&mut self, page: u32, inside: &[Prefix6]) -> Result<(), Full> {
        let mut rest = inside;
        while let Some(first) = rest.first() {
            let last = first.last() | ((1 << BELOW_PAGE) - 1);
            let within = rest.partition_point(|prefix| prefix.bits() <= last);
            let (now, later) = rest.split_at(within);
            if first.len() <= PAGE_LEN {
                self.words(page, first.bits(), last)?;
            } else {
                self.word_changes(page, now)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Drafts all page words from `first` to `last` by one sweep.
    fn words(&mut self, page: u32, first: u128, last: u128) -> Result<(), Full> {
        let mut runs: Vec<Run> = Vec::new();
        let rib = self.rib;
        rib.sweep(first, last, |from, to, group| {
            let mut from = from;
            loop {
                if runs.last().is_none_or(|run| run.group != group.0) {
                    runs.push(Run { start: from, group: group.0 });
                }
                let end = from | ((1 << BELOW_PAGE) - 1);
                if to < end {
                    return Ok(());
                }
                self.word(page, Region::word(from), &runs)?;
                runs.clear();
                match end.checked_add(1) {
                    Some(next) if next <= to => from = next,
                    _ => return Ok(()),
                }
            }
        })
    }

    /// Drafts a page word from the runs of its addresses.
    fn word(&mut self, page: u32, region: Region, runs: &[Run]) -> Result<(), Full> {
        let (cell, old) = self.page_word(page, region)?;
        let new = match (runs, old.is_node()) {
            ([run], false) => Slot::Leaf(run.group),
            _ => {
                let root = old.is_node().then(|| old.index());
                let mut tree = Tree::new(self.tables, self.rib);
                let root = root.map(|at| tree.node(at)).transpose()?;
                tree.fit(root, region, runs)?
            }
        };
        self.set_word(cell, old, new)
    }

    /// Drafts a page word from the prefixes below it that have changed.
    fn word_changes(&mut self, page: u32, changes: &[Prefix6]) -> Result<(), Full> {
        let Some(first) = changes.first() else { return Ok(()) };
        let region = Region::word(first.bits());
        let (cell, old) = self.page_word(page, region)?;
        let mut tree = Tree::new(self.tables, self.rib);
        let root = old.is_node().then(|| tree.node(old.index())).transpose()?;
        let new = tree.change(root, region, changes)?;
        self.set_word(cell, old, new)
    }

    fn page_word(&self, page: u32, region: Region) -> Result<(u32, Word6), Full> {
        let cell = page * PAGE + ((region.first >> BELOW_PAGE) as u32 & (PAGE - 1));
        let word = self.tables.draft().u32(TableId::Fib6Pages, cell);
        Ok((cell, Word6(word.ok_or(Full::beyond(TableId::Fib6Pages))?)))
    }

    /// Drafts the store of a page word whose tree has become `new`.
    fn set_word(&mut self, cell: u32, old: Word6, new: Slot) -> Result<(), Full> {
        let word = match new {
            Slot::Keep => return Ok(()),
            Slot::Leaf(leaf) => Word6::leaf(leaf),
            Slot::Node(row) => {
                let at = self.tables.take(TableId::Fib6Nodes, 1)?;
                self.tables.write_row::<Node6>(TableId::Fib6Nodes, at, &row);
                Word6::node(at)
            }
        };
        if word != old {
            if old.is_node() {
                self.tables.replace(TableId::Fib6Nodes, old.index(), 1);
            }
            self.tables.store(TableId::Fib6Pages, cell, u64::from(word.0));
        }
        Ok(())
    }
}
