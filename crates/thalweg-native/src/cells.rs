//! Table reads over [`Memory`].

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use thalweg_abi::group::{GroupWord, LinksWord};
use thalweg_abi::meter::{CLASSES, Class, MeterRow};
use thalweg_abi::policy::Line;
use thalweg_abi::service::RangeRow;
use thalweg_abi::{
    BackendRow, DropEvent, FrontendRow, IlmWord, IndexWord, LinkRow, NextHopRow, Node6, Row,
    SettingsRow, TableId, VrfRow,
};
use thalweg_core::flow::{Flows, Words};
use thalweg_core::{Cells, Tables};
use thalweg_image::{Memory, View};

/// Tables in memory, and token buckets of their own.
pub struct MemoryCells {
    memory: Memory,
    meters: Option<Mutex<Vec<MeterRow>>>,
    start: Instant,
    /// What flows take for the time, in seconds.
    clock: AtomicU32,
    /// Whether flows may only be looked at.
    looking: bool,
    /// What policies decided, by the number of the rule.
    hits: Mutex<HashMap<u32, u64>>,
    /// What policies decided while flows may only be looked at, in order.
    decided: Mutex<Vec<u32>>,
    /// What was told of packets that passed rules that log.
    told: Mutex<Vec<DropEvent>>,
    /// What was noted of the frame that was discarded last.
    blamed: AtomicU64,
}

/// Most events that are remembered.
const TOLD: usize = 64;

impl MemoryCells {
    /// Reads `memory`; exceptions are not limited.
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            meters: None,
            start: Instant::now(),
            clock: AtomicU32::new(1),
            looking: false,
            hits: Mutex::default(),
            decided: Mutex::default(),
            told: Mutex::default(),
            blamed: AtomicU64::new(0),
        }
    }

    /// Reads `memory`; exceptions are limited as in the kernel.
    pub fn with_meters(memory: Memory) -> Self {
        let buckets = memory.cells(TableId::Links) as usize * CLASSES as usize;
        let meters = Some(Mutex::new(vec![MeterRow::default(); buckets]));
        Self { meters, ..Self::new(memory) }
    }

    /// Reads `memory`, at a time of the clock that its programs use; what they write stays as it is.
    pub fn looking(memory: Memory, seconds: u32) -> Self {
        Self { clock: AtomicU32::new(seconds), looking: true, ..Self::new(memory) }
    }

    /// Sets the time that flows see, in seconds.
    pub fn set_clock(&self, seconds: u32) {
        self.clock.store(seconds, Ordering::Relaxed);
    }

    /// How often a rule has decided, by its number.
    pub fn hits(&self, cause: u32) -> u64 {
        let hits = self.hits.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        hits.get(&cause).copied().unwrap_or(0)
    }

    /// What policies decided, by the number of the rule and in order: of the side that sends, then of the
    /// side that hears. Nothing but where flows may only be looked at ([`Self::looking`]).
    pub fn decided(&self) -> Vec<u32> {
        self.decided.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// What was told of packets that passed rules that log, since this was asked before; the first few.
    pub fn take_told(&self) -> Vec<DropEvent> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was noted last for the event of a frame that is discarded ([`thalweg_abi::event::cause`]).
    pub fn blamed(&self) -> u64 {
        self.blamed.load(Ordering::Relaxed)
    }

    /// The memory that is read.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Tables for MemoryCells {
    type Cells<'a> = CellsAt<'a>;

    fn epoch(&self) -> u32 {
        self.memory.epoch() as u32
    }

    fn at(&self, epoch: u32) -> CellsAt<'_> {
        CellsAt { tables: self, view: self.memory.at(epoch.into()) }
    }
}

/// One version of the tables.
pub struct CellsAt<'a> {
    tables: &'a MemoryCells,
    view: View<'a>,
}

/// A row that was copied out.
pub struct Copied<T>(T);

impl<T> Deref for Copied<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Cells for CellsAt<'_> {
    type Ref<T: Row> = Copied<T>;

    fn epoch(&self) -> u32 {
        self.view.epoch() as u32
    }

    fn holds(&self) -> bool {
        self.tables.memory.holds(self.view.epoch())
    }

    fn is_up(&self, state: u32) -> bool {
        self.view.u64(TableId::States, state).is_some_and(|word| word != 0)
    }

    fn settings(&self) -> Option<Copied<SettingsRow>> {
        self.view.row(TableId::Settings, 0).map(Copied)
    }

    fn link(&self, index: u32) -> Option<Copied<LinkRow>> {
        self.view.row(TableId::Links, index).map(Copied)
    }

    fn vrf(&self, index: u32) -> Option<Copied<VrfRow>> {
        self.view.row(TableId::Vrfs, index).map(Copied)
    }

    fn fib6_node(&self, index: u32) -> Option<Copied<Node6>> {
        self.view.row(TableId::Fib6Nodes, index).map(Copied)
    }

    fn nexthop(&self, index: u32) -> Option<Copied<NextHopRow>> {
        self.view.row(TableId::NextHops, index).map(Copied)
    }

    fn vlan(&self, index: u32) -> u32 {
        self.view.u32(TableId::Vlans, index).unwrap_or(0)
    }

    fn fib4_page(&self, index: u32) -> u32 {
        self.view.u32(TableId::Fib4Pages, index).unwrap_or(0)
    }

    fn fib4_root(&self, index: u32) -> u64 {
        self.view.u64(TableId::Fib4Root, index).unwrap_or(0)
    }

    fn fib4_leaf(&self, index: u32) -> u16 {
        self.view.u16(TableId::Fib4Leaves, index).unwrap_or(0)
    }

    fn fib4_long(&self, index: u32) -> u16 {
        self.view.u16(TableId::Fib4Long, index).unwrap_or(0)
    }

    fn fib6_dir(&self, index: u32) -> u32 {
        self.view.u32(TableId::Fib6Dir, index).unwrap_or(0)
    }

    fn fib6_page(&self, index: u32) -> u32 {
        self.view.u32(TableId::Fib6Pages, index).unwrap_or(0)
    }

    fn fib6_leaf(&self, index: u32) -> u16 {
        self.view.u16(TableId::Fib6Leaves, index).unwrap_or(0)
    }

    fn lfib(&self, label: u32) -> IlmWord {
        IlmWord(self.view.u64(TableId::Lfib, label).unwrap_or(0))
    }

    fn group(&self, index: u32) -> GroupWord {
        GroupWord(self.view.u64(TableId::Groups, index).unwrap_or(0))
    }

    fn group_links(&self, index: u32) -> LinksWord {
        LinksWord(self.view.u64(TableId::GroupLinks, index).unwrap_or(0))
    }

    fn bucket(&self, index: u32) -> u32 {
        self.view.u32(TableId::Buckets, index).unwrap_or(0)
    }

    fn own(&self, index: u32) -> u64 {
        self.view.u64(TableId::Own, index).unwrap_or(0)
    }

    fn admit(&self, link: u32, class: Class) -> bool {
        let Some(meters) = &self.tables.meters else { return true };
        let settings = self.settings().map(|row| *row).unwrap_or_default();
        let cost = if class == Class::Punt { settings.punt_cost } else { settings.answer_cost };
        let now = self.tables.start.elapsed().as_nanos() as u64 + 1;
        let mut meters = meters.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match meters.get_mut((link * CLASSES + class as u32) as usize) {
            Some(row) => thalweg_core::meter::take(row, now, cost, settings.burst),
            None => true,
        }
    }
}

/// Words of a shared table.
pub struct Shared<'a> {
    words: &'a [AtomicU64],
    looking: bool,
}

impl Words for Shared<'_> {
    fn get(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.words.get(at).filter(|_| !self.looking) {
            word.store(value, Ordering::Release);
        }
    }
}

impl<'a> CellsAt<'a> {
    /// The words of a row of a table that programs write.
    fn shared(&self, table: TableId, index: u32) -> Option<Shared<'a>> {
        let len = table.row_bytes() / 8;
        let from = index as usize * len;
        let words = self.tables.memory.words(table).get(from..from + len)?;
        Some(Shared { words, looking: self.tables.looking })
    }

    /// Puts `new` in the place of `old`, if it is still there.
    fn exchange(&self, row: Option<Shared<'a>>, at: usize, old: u64, new: u64) -> bool {
        row.and_then(|row| row.words.get(at)).is_some_and(|word| {
            self.tables.looking
                || word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        })
    }

    fn control(&self, word: u32) -> u64 {
        let words = self.tables.memory.words(TableId::Control);
        words.get(word as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl<'a> Flows for CellsAt<'a> {
    type Slots = Shared<'a>;
    type Row = Shared<'a>;
    type Board = Shared<'a>;
    type Kept = Shared<'a>;

    fn slots(&self, bucket: u32) -> Option<Shared<'a>> {
        self.shared(TableId::FlowSlots, bucket)
    }

    fn flow(&self, index: u32) -> Option<Shared<'a>> {
        self.shared(TableId::Flows, index)
    }

    fn claim(&self, bucket: u32, way: usize, old: u64, new: u64) -> bool {
        self.exchange(self.shared(TableId::FlowSlots, bucket), way, old, new)
    }

    fn board(&self, board: u32) -> Option<Shared<'a>> {
        self.shared(TableId::Boards, board)
    }

    fn kept(&self, row: u32) -> Option<Shared<'a>> {
        self.shared(TableId::Kept, row)
    }

    fn claim_place(&self, board: u32, at: usize, old: u64, new: u64) -> bool {
        self.exchange(self.shared(TableId::Boards, board), at, old, new)
    }

    fn masks(&self) -> u64 {
        self.control(thalweg_abi::control::MASKS)
    }

    fn image(&self) -> u32 {
        self.control(thalweg_abi::control::IMAGE) as u32
    }

    fn now(&self) -> u32 {
        self.tables.clock.load(Ordering::Relaxed)
    }

    fn vip(&self, word: u32) -> u64 {
        self.view.u64(TableId::Vips, word).unwrap_or(0)
    }

    fn index(&self, place: u32) -> IndexWord {
        IndexWord(self.view.u64(TableId::Index, place).unwrap_or(0))
    }

    fn frontend(&self, row: u32) -> Option<Copied<FrontendRow>> {
        self.view.row(TableId::Frontends, row).map(Copied)
    }

    fn ring(&self, cell: u32) -> u16 {
        self.view.u16(TableId::Rings, cell).unwrap_or(0)
    }

    fn backend(&self, row: u32) -> Option<Copied<BackendRow>> {
        self.view.row(TableId::Backends, row).map(Copied)
    }

    fn range(&self, row: u32) -> Option<Copied<RangeRow>> {
        self.view.row(TableId::Ranges, row).map(Copied)
    }

    fn policy(&self, line: u32) -> Option<Copied<Line>> {
        self.view.row(TableId::Policy, line).map(Copied)
    }

    fn tell(&self, event: &DropEvent) {
        let mut told = self.tables.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD {
            told.push(*event);
        }
    }

    fn blame(&self, reason: thalweg_core::Reason, cause: u32) {
        let word = thalweg_abi::event::cause(reason as u8, cause);
        self.tables.blamed.store(word, Ordering::Relaxed);
    }

    fn hit(&self, cause: u32) {
        if self.tables.looking {
            let decided = self.tables.decided.lock();
            decided.unwrap_or_else(|poisoned| poisoned.into_inner()).push(cause);
            return;
        }
        let mut hits = self.tables.hits.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *hits.entry(cause).or_default() += 1;
    }
}
