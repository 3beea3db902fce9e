//! Trees of [`Node6`] below a page word: built from runs of addresses, changed in place.
//!
//! A node's children are one array of rows and its leaves one array of cells. In a published row
//! only the two positions may change, and they share a word: a node whose bitmaps stay the same
//! gets new children or leaves by a single store, and nothing above it is touched. Bitmaps change
//! only in rows that no reader has seen.
//!
//! Skip nodes take whole strides, so every node stands at a multiple of a stride, and a subtree fits
//! again wherever a skip above it is split or joined. A node of one child and one leaf is always
//! written as skip node: whatever came before, the same routes give the same tree, but for where a
//! path of more than [`MAX_SKIP`] bits is cut.

use crate::rib::Rib;
use crate::tables::{Full, Tables};
use thalweg_abi::fib6::STRIDE;
use thalweg_abi::{Node6, TableId};
use thalweg_wire::Prefix6;

/// Slots of a node.
const SLOTS: usize = 1 << STRIDE;
/// 64-bit words of a row, and the word that holds both positions.
/// The most bits that a skip node compares: whole strides below 64.
const MAX_SKIP: u32 = 63 / STRIDE * STRIDE;
/// Stands for a subtree among runs; no group has this number.
const GRAFT: u16 = u16::MAX;
/// Runs per change up to which one sweep over all is cheaper than a search for each.
const RUNS_PER_CHANGE: usize = 16;

/// Adjacent addresses with one group: from `start` to the start of the next run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    /// First address.
    pub start: u128,
    /// Group, 0 for none.
    pub group: u16,
}

/// An aligned block of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Region {
    /// First address.
    pub first: u128,
    /// The block holds 2^bits addresses; 1 to 104.
    pub bits: u32,
}

impl Region {
    /// The block of a page word.
    pub const fn word(address: u128) -> Self {
        Self { first: address >> 104 << 104, bits: 104 }
    }

    const fn last(self) -> u128 {
        self.first | ((1 << self.bits) - 1)
    }

    /// The block that a slot stands for. In the last node of a path, whose slots have more bits
    /// than are left, several slots stand for one address; readers come to the first of them.
    const fn slot(self, slot: usize) -> Self {
        match self.bits {
            0..=STRIDE => {
                Self { first: self.first + (slot >> (STRIDE - self.bits)) as u128, bits: 0 }
            }
            bits => {
                let bits = bits - STRIDE;
                Self { first: self.first + ((slot as u128) << bits), bits }
            }
        }
    }

    /// The block that a skip node leads to.
    fn below_skip(self, row: &Node6) -> Self {
        let bits = self.bits - row.skip;
        let expected = u128::from(row.children) << 64 >> (128 - self.bits);
        Self { first: self.first | expected, bits }
    }

    fn prefix(self) -> Prefix6 {
        Prefix6::containing(self.first.into(), (128 - self.bits) as u8)
    }

    /// Whether a prefix lies within without being all of it.
    fn holds_part(self, prefix: Prefix6) -> bool {
        let own = self.prefix();
        own.covers(prefix) && own != prefix
    }
}

/// What has become of a slot, or of a whole word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// As it was.
    Keep,
    /// One group for all addresses.
    Leaf(u16),
    /// A node; its row is not written yet.
    Node(Node6),
}

/// Work on the trees below page words.
pub(crate) struct Tree<'a> {
    tables: &'a mut Tables,
    rib: &'a Rib<Prefix6>,
    /// The node that [`GRAFT`] stands for.
    graft: Node6,
}

impl<'a> Tree<'a> {
    /// Works on `tables` by the routes in `rib`.
    pub fn new(tables: &'a mut Tables, rib: &'a Rib<Prefix6>) -> Self {
        Self { tables, rib, graft: Node6::default() }
    }

    /// The row of a node in force.
    pub fn node(&self, at: u32) -> Result<Node6, Full> {
        self.tables.draft().row(TableId::Fib6Nodes, at).ok_or(Full::beyond(TableId::Fib6Nodes))
    }

    /// Takes in changed prefixes, sorted, all within `region`, below which `old` is in force.
    pub fn change(
        &mut self,
        old: Option<Node6>,
        region: Region,
        changes: &[Prefix6],
    ) -> Result<Slot, Full> {
        let Some(row) = old else { return self.refit(old, region) };
        let most = changes.len() * RUNS_PER_CHANGE;
        if changes.len() > 1
            && let Some(runs) = self.runs(region, most)
        {
            return self.fit(old, region, &runs);
        }
        if row.skip != 0 {
            return self.change_skip(&row, region, changes);
        }
        if region.bits <= STRIDE || !changes.iter().all(|prefix| region.holds_part(*prefix)) {
            return self.refit(old, region);
        }
        self.change_slots(&row, region, changes)
    }

    /// Takes changes in below a skip node and beside it.
    fn change_skip(
        &mut self,
        row: &Node6,
        region: Region,
        changes: &[Prefix6],
    ) -> Result<Slot, Full> {
        let below = region.below_skip(row);
        if changes.iter().any(|prefix| prefix.covers(below.prefix())) {
            return self.refit(Some(*row), region);
        }
        let (inside, beside): (Vec<Prefix6>, Vec<Prefix6>) =
            changes.iter().partition(|prefix| below.holds_part(**prefix));
        let old = self.node(row.first_child)?;
        let child = match inside[..] {
            [] => Slot::Keep,
            _ => self.change(Some(old), below, &inside)?,
        };
        match child {
            Slot::Keep if beside.is_empty() => Ok(Slot::Keep),
            Slot::Node(child) if beside.is_empty() => self.skip_to(*row, child),
            child => {
                let before = below.first.checked_sub(1).filter(|last| *last >= region.first);
                let left = before.map(|last| self.sweep(region.first, last, usize::MAX));
                let after = (below.last() < region.last()).then(|| below.last() + 1);
                let right = after.map(|first| self.sweep(first, region.last(), usize::MAX));
                let [left, right] = [left, right].map(|runs| runs.flatten().unwrap_or_default());
                self.splice(row, region, child, &left, &right)
            }
        }
    }

    /// Takes changes in slot by slot: slots without change are not looked at.
    fn change_slots(
        &mut self,
        row: &Node6,
        region: Region,
        changes: &[Prefix6],
    ) -> Result<Slot, Full> {
        let mut slots = [Slot::Keep; SLOTS];
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let from = slot_of(region, first.bits());
            let to = slot_of(region, first.last());
            let end = region.slot(to).last();
            let (now, later) = rest.split_at(rest.partition_point(|prefix| prefix.bits() <= end));
            for (number, slot) in (from..).zip(&mut slots[from..=to]) {
                let below = region.slot(number);
                let child = self.child(row, number)?;
                let strictly = now.iter().all(|prefix| below.holds_part(*prefix));
                *slot = match child {
                    Some(_) if strictly => self.change(child, below, now)?,
                    _ => self.refit(child, below)?,
                };
            }
            rest = later;
        }
        self.assemble(Some(row), region, &slots)
    }

    /// Sweeps a region and makes what is in force below it answer by the result.
    fn refit(&mut self, old: Option<Node6>, region: Region) -> Result<Slot, Full> {
        let runs = self.runs(region, usize::MAX).unwrap_or_default();
        self.fit(old, region, &runs)
    }

    /// The runs of a region; none when there are more than `most`.
    fn runs(&self, region: Region, most: usize) -> Option<Vec<Run>> {
        self.sweep(region.first, region.last(), most)
    }

    fn sweep(&self, first: u128, last: u128, most: usize) -> Option<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let swept = self.rib.sweep(first, last, |from, _, group| {
            push(&mut runs, Run { start: from, group: group.0 });
            if runs.len() > most { Err(()) } else { Ok(()) }
        });
        swept.ok().map(|()| runs)
    }

    /// Makes what is in force below a region answer by `runs`, keeping of it what can be kept.
    pub fn fit(&mut self, old: Option<Node6>, region: Region, runs: &[Run]) -> Result<Slot, Full> {
        let [first, rest @ ..] = runs else { return Ok(Slot::Leaf(0)) };
        match (old, rest) {
            (None, []) if first.group == GRAFT => Ok(Slot::Node(self.graft)),
            (None, []) => Ok(Slot::Leaf(first.group)),
            (Some(row), []) => {
                self.replace_below(&row);
                Ok(Slot::Leaf(first.group))
            }
            (None, _) => self.build(region, runs),
            (Some(row), _) if row.skip != 0 => self.fit_skip(&row, region, runs),
            (Some(row), _) => self.fit_slots(Some(&row), region, runs),
        }
    }

    fn fit_skip(&mut self, row: &Node6, region: Region, runs: &[Run]) -> Result<Slot, Full> {
        let below = region.below_skip(row);
        let child = self.node(row.first_child)?;
        let child = self.fit(Some(child), below, clip(runs, below))?;
        let left = &runs[..runs.partition_point(|run| run.start < below.first)];
        let right = &runs[runs.partition_point(|run| run.start <= below.last())..];
        let mut right = right.to_vec();
        if below.last() < region.last()
            && right.first().is_none_or(|run| run.start > below.last() + 1)
        {
            let last = clip(runs, below).last().map_or(0, |run| run.group);
            right.insert(0, Run { start: below.last() + 1, group: last });
        }
        self.splice(row, region, child, left, &right)
    }

    /// Makes a region answer by `left` and `right` beside the block of the skip node `row`, and by
    /// `child` in it.
    fn splice(
        &mut self,
        row: &Node6,
        region: Region,
        child: Slot,
        left: &[Run],
        right: &[Run],
    ) -> Result<Slot, Full> {
        let mismatch = left.first().or(right.first()).map_or(0, |run| run.group);
        let unique = left.iter().chain(right).all(|run| run.group == mismatch);
        let row = Node6 { first_leaf: u32::from(mismatch), ..*row };
        let below = region.below_skip(&row);
        let group = match child {
            Slot::Keep if unique => {
                let child = self.node(row.first_child)?;
                return self.skip_to(row, child);
            }
            Slot::Node(child) if unique => return self.skip_to(row, child),
            Slot::Keep => {
                self.graft = self.node(row.first_child)?;
                GRAFT
            }
            Slot::Node(child) => {
                self.graft = child;
                GRAFT
            }
            Slot::Leaf(leaf) => leaf,
        };
        self.tables.replace(TableId::Fib6Nodes, row.first_child, 1);
        let mut runs = Vec::with_capacity(left.len() + 1 + right.len());
        let middle = Run { start: below.first, group };
        for run in left.iter().chain([&middle]).chain(right) {
            push(&mut runs, *run);
        }
        self.fit(None, region, &runs)
    }

    /// A skip node whose child has become another.
    fn skip_to(&mut self, row: Node6, child: Node6) -> Result<Slot, Full> {
        if let Some(joined) = joined(&row, &child) {
            self.tables.replace(TableId::Fib6Nodes, row.first_child, 1);
            return Ok(Slot::Node(joined));
        }
        self.tables.replace(TableId::Fib6Nodes, row.first_child, 1);
        let first_child = self.write(&[child])?;
        Ok(Slot::Node(Node6 { first_child, ..row }))
    }

    /// A new tree for at least two runs.
    fn build(&mut self, region: Region, runs: &[Run]) -> Result<Slot, Full> {
        let Some((below, mismatch)) = skip(region, runs) else {
            return self.fit_slots(None, region, runs);
        };
        let Slot::Node(child) = self.fit(None, below, clip(runs, below))? else {
            return Ok(Slot::Leaf(mismatch));
        };
        self.skip_node(region, below, mismatch, child)
    }

    /// A new skip node.
    fn skip_node(
        &mut self,
        region: Region,
        below: Region,
        mismatch: u16,
        child: Node6,
    ) -> Result<Slot, Full> {
        let skip = region.bits - below.bits;
        let mask = u64::MAX << (64 - skip);
        let row = Node6 {
            children: ((below.first << (128 - region.bits)) >> 64) as u64 & mask,
            runs: mask,
            first_child: 0,
            first_leaf: u32::from(mismatch),
            skip,
            reserved: 0,
        };
        if let Some(joined) = joined(&row, &child) {
            return Ok(Slot::Node(joined));
        }
        let first_child = self.write(&[child])?;
        Ok(Slot::Node(Node6 { first_child, ..row }))
    }

    fn fit_slots(
        &mut self,
        old: Option<&Node6>,
        region: Region,
        runs: &[Run],
    ) -> Result<Slot, Full> {
        let mut slots = [Slot::Keep; SLOTS];
        let mut at = 0;
        for (number, slot) in slots.iter_mut().enumerate() {
            let below = region.slot(number);
            let last = below.last();
            while runs.get(at + 1).is_some_and(|run| run.start <= below.first) {
                at += 1;
            }
            let from = at;
            while runs.get(at + 1).is_some_and(|run| run.start <= last) {
                at += 1;
            }
            let child = old.map_or(Ok(None), |row| self.child(row, number))?;
            *slot = self.fit(child, below, &runs[from..=at])?;
        }
        self.assemble(old, region, &slots)
    }

    /// Makes a node of its slots. Those to keep are taken from `old`, whose arrays are used again
    /// where they still fit.
    fn assemble(
        &mut self,
        old: Option<&Node6>,
        region: Region,
        slots: &[Slot; SLOTS],
    ) -> Result<Slot, Full> {
        let was = old.copied().unwrap_or_default();
        let (mut children, mut runs) = (0_u64, 0_u64);
        let (mut leaves, mut values) = ([0_u16; SLOTS], 0);
        for (number, slot) in slots.iter().enumerate() {
            let leaf = match slot {
                Slot::Keep if was.children >> number & 1 == 0 => self.leaf(&was, number),
                Slot::Leaf(leaf) => *leaf,
                Slot::Keep | Slot::Node(_) => {
                    children |= 1 << number;
                    continue;
                }
            };
            if values == 0 || leaves[values - 1] != leaf {
                runs |= 1 << number;
                leaves[values] = leaf;
                values += 1;
            }
        }
        let leaves = &leaves[..values];
        if children == 0 && values == 1 {
            self.replace_arrays(&was);
            return Ok(Slot::Leaf(leaves[0]));
        }
        if children.is_power_of_two() && values == 1 {
            return self.lonely(&was, region, slots, leaves[0]);
        }
        let same = old.is_some() && children == was.children;
        let row = Node6 {
            children,
            runs,
            first_leaf: self.set_leaves(&was, same && runs == was.runs, leaves)?,
            first_child: self.set_children(&was, same, slots)?,
            skip: 0,
            reserved: 0,
        };
        Ok(if old == Some(&row) { Slot::Keep } else { Slot::Node(row) })
    }

    /// A node with one child and one leaf, as skip node.
    fn lonely(
        &mut self,
        was: &Node6,
        region: Region,
        slots: &[Slot; SLOTS],
        leaf: u16,
    ) -> Result<Slot, Full> {
        for (number, slot) in slots.iter().enumerate() {
            let child = match slot {
                Slot::Node(row) => Some(*row),
                Slot::Keep => self.child(was, number)?,
                Slot::Leaf(_) => None,
            };
            if let Some(child) = child {
                self.replace_arrays(was);
                return self.skip_node(region, region.slot(number), leaf, child);
            }
        }
        Ok(Slot::Leaf(leaf))
    }

    /// The position of a node's leaves: the old one when the `same` slots have the same leaves.
    fn set_leaves(&mut self, was: &Node6, same: bool, leaves: &[u16]) -> Result<u32, Full> {
        let draft = self.tables.draft();
        let mut old = was.first_leaf..;
        if same
            && leaves.iter().all(|leaf| {
                old.next().and_then(|at| draft.u16(TableId::Fib6Leaves, at)) == Some(*leaf)
            })
        {
            return Ok(was.first_leaf);
        }
        self.tables.replace(TableId::Fib6Leaves, was.first_leaf, was.runs.count_ones());
        if leaves.is_empty() {
            return Ok(0);
        }
        let first = self.tables.take(TableId::Fib6Leaves, leaves.len() as u32)?;
        for (at, leaf) in (first..).zip(leaves) {
            self.tables.write_u16(TableId::Fib6Leaves, at, *leaf);
        }
        Ok(first)
    }

    /// The position of a node's children: the old one when the same slots have the same ones.
    fn set_children(
        &mut self,
        was: &Node6,
        same: bool,
        slots: &[Slot; SLOTS],
    ) -> Result<u32, Full> {
        if was.children == 0 && !slots.iter().any(|slot| matches!(slot, Slot::Node(_))) {
            return Ok(0);
        }
        let mut rows = [Node6::default(); SLOTS];
        let (mut len, mut fits) = (0, same);
        for (number, slot) in slots.iter().enumerate() {
            let old = self.child(was, number)?;
            rows[len] = match (slot, old) {
                (Slot::Node(row), _) => *row,
                (Slot::Keep, Some(row)) => row,
                _ => continue,
            };
            fits &= old == Some(rows[len]);
            len += 1;
        }
        if fits {
            return Ok(was.first_child);
        }
        self.tables.replace(TableId::Fib6Nodes, was.first_child, was.children.count_ones());
        if len == 0 { Ok(0) } else { self.write(&rows[..len]) }
    }

    /// Writes new rows in a row; returns the position of the first.
    fn write(&mut self, rows: &[Node6]) -> Result<u32, Full> {
        let first = self.tables.take(TableId::Fib6Nodes, rows.len() as u32)?;
        for (at, row) in (first..).zip(rows) {
            self.tables.write_row(TableId::Fib6Nodes, at, row);
        }
        Ok(first)
    }

    /// The child of a node in force at a slot.
    fn child(&self, row: &Node6, slot: usize) -> Result<Option<Node6>, Full> {
        if row.skip != 0 || row.children >> slot & 1 == 0 {
            return Ok(None);
        }
        let rank = (row.children & ((1 << slot) - 1)).count_ones();
        self.node(row.first_child + rank).map(Some)
    }

    /// The leaf of a node in force at a slot without child.
    fn leaf(&self, row: &Node6, slot: usize) -> u16 {
        let rank = (row.runs & u64::MAX >> (SLOTS - 1 - slot)).count_ones();
        let at = row.first_leaf + rank.saturating_sub(1);
        self.tables.draft().u16(TableId::Fib6Leaves, at).unwrap_or(0)
    }

    /// Gives up a node in force, with everything below it.
    pub fn replace_root(&mut self, at: u32) {
        if let Ok(row) = self.node(at) {
            self.replace_below(&row);
        }
        self.tables.replace(TableId::Fib6Nodes, at, 1);
    }

    /// Gives up everything below a row in force.
    fn replace_below(&mut self, row: &Node6) {
        let children = if row.skip != 0 { 1 } else { row.children.count_ones() };
        for at in row.first_child..row.first_child + children {
            if let Ok(child) = self.node(at) {
                self.replace_below(&child);
            }
        }
        self.replace_arrays(row);
    }

    /// Gives up the arrays of a row in force, but nothing below its children.
    fn replace_arrays(&mut self, row: &Node6) {
        if row.skip != 0 {
            self.tables.replace(TableId::Fib6Nodes, row.first_child, 1);
        } else {
            let (children, runs) = (row.children.count_ones(), row.runs.count_ones());
            self.tables.replace(TableId::Fib6Nodes, row.first_child, children);
            self.tables.replace(TableId::Fib6Leaves, row.first_leaf, runs);
        }
    }
}

/// The slot of a node over `region` (of more than one stride) that an address falls into.
fn slot_of(region: Region, address: u128) -> usize {
    (address >> (region.bits - STRIDE)) as usize & (SLOTS - 1)
}

/// The runs that reach into a region.
fn clip(runs: &[Run], region: Region) -> &[Run] {
    let from = runs.partition_point(|run| run.start <= region.first).saturating_sub(1);
    let to = runs.partition_point(|run| run.start <= region.last());
    &runs[from..to]
}

/// Adds a run unless it goes on with the group of the last.
fn push(runs: &mut Vec<Run>, run: Run) {
    if runs.last().is_none_or(|last| last.group != run.group) {
        runs.push(run);
    }
}

/// One skip node for two, where addresses that leave the path have the same leaf.
fn joined(row: &Node6, child: &Node6) -> Option<Node6> {
    let skip = row.skip + child.skip;
    let joins = child.skip != 0 && skip <= MAX_SKIP && child.first_leaf == row.first_leaf;
    joins.then(|| Node6 {
        children: row.children | child.children >> row.skip,
        runs: u64::MAX << (64 - skip),
        skip,
        ..*child
    })
}

/// The smallest block within `region` outside of which every address has one and the same group,
/// and that group; none when the block is not smaller by a stride. The block is a node's: it holds
/// more than one run, or a graft.
fn skip(region: Region, runs: &[Run]) -> Option<(Region, u16)> {
    let (first, last) = (runs.first()?, runs.last()?);
    let (from, to) = (runs.get(1)?.start, last.start - 1);
    let shared = |from: u128, to: u128, mismatch: u16| match mismatch {
        GRAFT => 0,
        _ => (from ^ to).leading_zeros() + region.bits - 128,
    };
    let (bits, address, mismatch) = if first.group == last.group {
        (shared(from, to, first.group), from, first.group)
    } else {
        let left = (shared(region.first, to, last.group), region.first, last.group);
        let right = (shared(from, region.last(), first.group), from, first.group);
        if left.0 >= right.0 { left } else { right }
    };
    let block = |bits| {
        let below = region.bits - bits;
        Region { first: address >> below << below, bits: below }
    };
    let bits = bits.min(MAX_SKIP).min(region.bits - 1) / STRIDE * STRIDE;
    let bits = match clip(runs, block(bits)) {
        [run] if run.group != GRAFT => bits.saturating_sub(STRIDE),
        _ => bits,
    };
    (bits != 0).then(|| (block(bits), mismatch))
}
