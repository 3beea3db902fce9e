//! Table reads over kernel maps.

use crate::maps;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use thalweg_abi::flow::{WAYS, WORDS};
use thalweg_abi::group::{GroupWord, LinksWord};
use thalweg_abi::meter::{CLASSES, Class};
use thalweg_abi::policy::Line;
use thalweg_abi::service::RangeRow;
use thalweg_abi::shelf::{BOARD, HEADER};
use thalweg_abi::{
    BackendRow, FrontendRow, IlmWord, IndexWord, LinkRow, NextHopRow, Node6, Row, SettingsRow,
    VrfRow,
};
use thalweg_core::flow::{self, Flows, InForce, Key, Words, table};
use thalweg_core::{Cells, Reason, Verdict, meter};

/// Always zero, which the verifier cannot know.
static mut ZERO: u64 = 0;

/// The clock as it was read last: ticks of the kernel (high half), seconds (low half).
static mut CLOCK: u64 = 0;
/// Ticks are looked at in steps of 32: a third of a second at a hundred of them in a second.
const STEP: u32 = 5;

/// One version of the maps of this object.
#[derive(Clone, Copy)]
pub struct MapCells {
    epoch: u32,
}

impl MapCells {
    /// The version of an epoch.
    #[inline(always)]
    pub const fn at(epoch: u32) -> Self {
        Self { epoch }
    }

    /// The epoch in force.
    #[inline(always)]
    pub fn epoch_now() -> u32 {
        match maps::CONTROL.get(0) {
            // SAFETY: a valid reference; volatile, because user space writes the word meanwhile.
            Some(row) => unsafe { core::ptr::read_volatile(&raw const row.epoch) as u32 },
            None => 0,
        }
    }

    /// Where this version of a cell lies.
    ///
    /// The sum of [`thalweg_abi::table::versioned`], but the compiler must not know that: it would mask
    /// both parts of a packed place and put them together by an "or", at which the verifier of Linux
    /// 6.1 forgets all bounds.
    #[inline(always)]
    fn place(self, index: u32) -> u32 {
        let (mut place, version) = (u64::from(index) << 1, u64::from(self.epoch & 1));
        // SAFETY: an addition.
        unsafe {
            core::arch::asm!(
                "{0} += {1}",
                inout(reg) place,
                in(reg) version,
                options(pure, nomem, nostack),
            );
        }
        place as u32
    }
}

macro_rules! cell {
    ($map:ident [$index:expr]) => {
        match maps::$map.get($index) {
            Some(word) => *word,
            None => 0,
        }
    };
    ($map:ident [$index:expr] by $per_row:literal) => {{
        let index = $index;
        match maps::$map.get(index / $per_row) {
            Some(row) => row[index as usize % $per_row],
            None => 0,
        }
    }};
}

impl Cells for MapCells {
    type Ref<T: Row> = &'static T;

    #[inline(always)]
    fn epoch(&self) -> u32 {
        self.epoch
    }

    #[inline(always)]
    fn holds(&self) -> bool {
        maps::CONTROL.get(0).is_some_and(|row| {
            // SAFETY: as in `epoch_now`; the processors this runs on keep loads in order.
            let writing = unsafe { core::ptr::read_volatile(&raw const row.writing) };
            thalweg_abi::control::holds(self.epoch, writing as u32)
        })
    }

    #[inline(always)]
    fn is_up(&self, state: u32) -> bool {
        cell!(STATES[state]) != 0
    }

    #[inline(always)]
    fn settings(&self) -> Option<&'static SettingsRow> {
        maps::SETTINGS.get(self.place(0))
    }

    #[inline(always)]
    fn link(&self, index: u32) -> Option<&'static LinkRow> {
        maps::LINKS.get(self.place(index))
    }

    #[inline(always)]
    fn vrf(&self, index: u32) -> Option<&'static VrfRow> {
        maps::VRFS.get(self.place(index))
    }

    #[inline(always)]
    fn fib6_node(&self, index: u32) -> Option<&'static Node6> {
        maps::FIB6_NODES.get(index)
    }

    #[inline(always)]
    fn nexthop(&self, index: u32) -> Option<&'static NextHopRow> {
        maps::NEXTHOPS.get(index)
    }

    #[inline(always)]
    fn vlan(&self, index: u32) -> u32 {
        cell!(VLANS[self.place(index)] by 16)
    }

    #[inline(always)]
    fn fib4_page(&self, index: u32) -> u32 {
        cell!(FIB4_PAGES[self.place(index)] by 16)
    }

    #[inline(always)]
    fn fib4_root(&self, index: u32) -> u64 {
        cell!(FIB4_ROOT[self.place(index)])
    }

    #[inline(always)]
    fn fib4_leaf(&self, index: u32) -> u16 {
        cell!(FIB4_LEAVES[index] by 32)
    }

    #[inline(always)]
    fn fib4_long(&self, index: u32) -> u16 {
        cell!(FIB4_LONG[index] by 32)
    }

    #[inline(always)]
    fn fib6_dir(&self, index: u32) -> u32 {
        cell!(FIB6_DIR[self.place(index)] by 16)
    }

    #[inline(always)]
    fn fib6_page(&self, index: u32) -> u32 {
        cell!(FIB6_PAGES[self.place(index)] by 16)
    }

    #[inline(always)]
    fn fib6_leaf(&self, index: u32) -> u16 {
        cell!(FIB6_LEAVES[index] by 32)
    }

    #[inline(always)]
    fn lfib(&self, label: u32) -> IlmWord {
        IlmWord(cell!(LFIB[self.place(label)]))
    }

    #[inline(always)]
    fn group(&self, index: u32) -> GroupWord {
        GroupWord(cell!(GROUPS[self.place(index)]))
    }

    #[inline(always)]
    fn group_links(&self, index: u32) -> LinksWord {
        LinksWord(cell!(GROUP_LINKS[self.place(index)]))
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> u32 {
        cell!(BUCKETS[index] by 16)
    }

    #[inline(always)]
    fn own(&self, index: u32) -> u64 {
        cell!(OWN[self.place(index)])
    }

    #[inline(always)]
    fn blur(&self, value: u64) -> u64 {
        // SAFETY: nobody ever writes the word; volatile, so that the compiler does not know.
        value + unsafe { core::ptr::read_volatile(&raw const ZERO) }
    }

    #[inline(always)]
    fn admit(&self, link: u32, class: Class) -> bool {
        let Some(row) = maps::METERS.get_ptr_mut(link * CLASSES + class as u32) else {
            return true;
        };
        let Some(settings) = self.settings() else { return true };
        let cost = if class as u32 == Class::Punt as u32 {
            settings.punt_cost
        } else {
            settings.answer_cost
        };
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: the map holds valid rows for its whole life; only this processor writes this one.
        meter::take(unsafe { &mut *row }, now, cost, settings.burst)
    }
}

/// Words of a row of a table that programs write, by their place in the kernel's map.
#[derive(Clone, Copy)]
pub struct Shared<const N: usize>(*mut [u64; N]);

impl<const N: usize> Shared<N> {
    #[inline(always)]
    fn place(&self, at: usize) -> *mut u64 {
        // SAFETY: the map holds valid rows for its whole life; the mask keeps the place within one.
        unsafe { self.0.cast::<u64>().add(at & (N - 1)) }
    }
}

impl<const N: usize> Words for Shared<N> {
    #[inline(always)]
    fn get(&self, at: usize) -> u64 {
        // SAFETY: as in `place`; volatile, because other processors write the word meanwhile.
        unsafe { core::ptr::read_volatile(self.place(at)) }
    }

    #[inline(always)]
    fn set(&self, at: usize, value: u64) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(self.place(at), value) }
    }

    #[inline(always)]
    fn address(&self) -> usize {
        self.0 as usize
    }
}

/// Puts `new` in the place of `old`, if it is still there.
///
/// # Safety
///
/// `word` must be an aligned word of a map.
#[inline(always)]
unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // SAFETY: the caller's promise; the map holds valid rows for its whole life. The target knows no compare
    // and exchange to the compiler, but the kernel does (Linux 5.12).
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") found,
            options(nostack),
        );
    }
    found == old
}

impl Flows for MapCells {
    type Slots = Shared<{ WAYS as usize }>;
    type Row = Shared<{ WORDS }>;
    type Board = Shared<{ BOARD }>;
    /// The header of a kept frame.
    type Kept = Shared<HEADER>;

    #[inline(always)]
    fn slots(&self, bucket: u32) -> Option<Self::Slots> {
        maps::FLOW_SLOTS.get_ptr_mut(bucket).map(Shared)
    }

    #[inline(always)]
    fn flow(&self, index: u32) -> Option<Self::Row> {
        maps::FLOWS.get_ptr_mut(index).map(Shared)
    }

    #[inline(always)]
    fn claim(&self, bucket: u32, way: usize, old: u64, new: u64) -> bool {
        let Some(slots) = self.slots(bucket) else { return false };
        // SAFETY: an aligned word of the map.
        unsafe { exchange(slots.place(way), old, new) }
    }

    #[inline(always)]
    fn board(&self, board: u32) -> Option<Self::Board> {
        maps::BOARDS.get_ptr_mut(board).map(Shared)
    }

    #[inline(always)]
    fn kept(&self, row: u32) -> Option<Self::Kept> {
        maps::KEPT.get_ptr_mut(row).map(|row| Shared(row.cast()))
    }

    #[inline(always)]
    fn claim_place(&self, board: u32, at: usize, old: u64, new: u64) -> bool {
        let Some(places) = self.board(board) else { return false };
        // SAFETY: an aligned word of the map.
        unsafe { exchange(places.place(at), old, new) }
    }

    #[inline(always)]
    fn lose(&self, octets: u32) {
        maps::count(Verdict::drop(Reason::NoFirstFragment), octets);
    }

    #[inline(always)]
    fn masks(&self) -> u64 {
        maps::CONTROL.get(0).map_or(0, |row| row.masks)
    }

    #[inline(always)]
    fn image(&self) -> u32 {
        maps::CONTROL.get(0).map_or(0, |row| row.image as u32)
    }

    #[inline(always)]
    fn in_force(&self) -> InForce {
        match maps::CONTROL.get(0) {
            Some(row) => InForce {
                mask: row.masks as u32,
                stamp: thalweg_abi::flow::stamp(row.image as u32, self.epoch),
            },
            None => InForce { mask: 0, stamp: 0 },
        }
    }

    /// The clock is asked once for all packets of a few ticks, which the kernel counts in memory: asking
    /// is a call, and seconds are a division.
    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: a helper without arguments, in place of which the kernel puts a load.
        let ticks = unsafe { bpf_jiffies64() } >> STEP;
        // SAFETY: one aligned word; volatile, because other processors write it meanwhile.
        let clock = unsafe { core::ptr::read_volatile(&raw const CLOCK) };
        if clock >> 32 == ticks & 0xffff_ffff {
            return clock as u32;
        }
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000;
        // SAFETY: as above; whoever writes last has read the clock last, or a moment before.
        unsafe { core::ptr::write_volatile(&raw mut CLOCK, ticks << 32 | now & 0xffff_ffff) };
        now as u32
    }

    #[inline(always)]
    fn search(&self, [high, low]: [u64; 2], port: u16, protocol: u8) -> u32 {
        service_search(high, low, u32::from(port) << 8 | u32::from(protocol), self.epoch)
    }

    #[inline(always)]
    fn range_of(&self, family: u8, [high, low]: [u64; 2]) -> u64 {
        service_range(high, low, family.into(), self.epoch)
    }

    #[inline(always)]
    fn vip(&self, word: u32) -> u64 {
        cell!(VIPS[self.place(word)])
    }

    #[inline(always)]
    fn index(&self, place: u32) -> IndexWord {
        IndexWord(cell!(INDEX[self.place(place)]))
    }

    #[inline(always)]
    fn frontend(&self, row: u32) -> Option<&'static FrontendRow> {
        maps::FRONTENDS.get(row)
    }

    #[inline(always)]
    fn ring(&self, cell: u32) -> u16 {
        cell!(RINGS[cell] by 32)
    }

    #[inline(always)]
    fn backend(&self, row: u32) -> Option<&'static BackendRow> {
        maps::BACKENDS.get(row)
    }

    #[inline(always)]
    fn range(&self, row: u32) -> Option<&'static RangeRow> {
        maps::RANGES.get(row)
    }

    #[inline(always)]
    fn policy(&self, line: u32) -> Option<&'static Line> {
        maps::POLICY.get(self.place(line))
    }

    #[inline(always)]
    fn hit(&self, cause: u32) {
        maps::hit(cause);
    }

    #[inline(always)]
    fn blame(&self, reason: Reason, cause: u32) {
        maps::note_cause(reason, cause);
    }

    #[inline(always)]
    fn policy_note(&self, _: &mut flow::Tracked, cell: u64) -> bool {
        policy_note(cell) != 0
    }

    #[inline(always)]
    fn policy_find(&self, [high, low]: [u64; 2], length: u8, family: u8) -> u32 {
        policy_find(high, low, u32::from(length) << 8 | u32::from(family), self.epoch)
    }

    #[inline(always)]
    fn policy_value(&self, [high, low]: [u64; 2], family: u8) -> u32 {
        policy_value(high, low, family.into(), self.epoch)
    }

    #[inline(always)]
    fn policy_cell(&self, set: u32, class: u32, protocol: u8, ports: u32) -> u64 {
        policy_cell(set, class, protocol.into(), ports, self.epoch)
    }

    #[inline(always)]
    fn find_elsewhere(&self, key: &Key, hash: u64) -> u32 {
        row_elsewhere(key, hash)
    }

    #[inline(always)]
    fn take(&self, hash: u64, now: u32) -> u32 {
        row_claim(hash, now)
    }

    #[inline(always)]
    fn publish(&self, claimed: u32, hash: u64) -> u32 {
        row_publish(claimed, hash)
    }

    #[inline(always)]
    fn weakest(&self, hash: u64, now: u32, nat: u32) -> u64 {
        row_weakest(hash, now, nat)
    }
}

/// [`table::find_elsewhere`]: a function that the verifier checks once, as those below. All versions of tables have
/// the same rows of flows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_elsewhere(key: *const Key, hash: u64) -> u32 {
    // SAFETY: the verifier checked that it points to a key, or is null.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    table::find_elsewhere(&MapCells::at(0), key, hash)
}

/// [`table::claim`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_claim(hash: u64, now: u32) -> u32 {
    table::claim(&MapCells::at(0), hash, now)
}

/// [`table::publish`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_publish(claimed: u32, hash: u64) -> u32 {
    table::publish(&MapCells::at(0), claimed, hash)
}

/// [`table::weakest`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn row_weakest(hash: u64, now: u32, nat: u32) -> u64 {
    table::weakest(&MapCells::at(0), hash, now, nat)
}

/// [`flow::policy::note`]: a function that the verifier checks once. It reads no table; the compiler would leave out
/// an epoch that nobody asks for, and the verifier refuse a call without it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_note(cell: u64) -> u32 {
    let Some(tracked) = maps::tracked() else { return 1 };
    u32::from(flow::policy::note(&MapCells::at(0), tracked, cell))
}

/// [`flow::policy::find`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_find(high: u64, low: u64, length_and_family: u32, epoch: u32) -> u32 {
    let (length, family) = ((length_and_family >> 8) as u8, length_and_family as u8);
    flow::policy::find(&MapCells::at(epoch), [high, low], length, family)
}

/// [`flow::policy::value`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_value(high: u64, low: u64, family: u32, epoch: u32) -> u32 {
    let cells = MapCells::at(epoch);
    let find = |[high, low]: [u64; 2], length: u8| {
        policy_find(high, low, u32::from(length) << 8 | family & 0xff, epoch)
    };
    flow::policy::value(&cells, [high, low], family as u8, find)
}

/// [`flow::policy::cell`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn policy_cell(set: u32, class: u32, protocol: u32, ports: u32, epoch: u32) -> u64 {
    flow::policy::cell(&MapCells::at(epoch), set, class, protocol as u8, ports)
}

/// [`flow::search`]: a function that the verifier checks once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_search(high: u64, low: u64, port_and_protocol: u32, epoch: u32) -> u32 {
    let (port, protocol) = ((port_and_protocol >> 8) as u16, port_and_protocol as u8);
    flow::search(&MapCells::at(epoch), [high, low], port, protocol)
}

/// [`flow::nat::range_of`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_range(high: u64, low: u64, family: u32, epoch: u32) -> u64 {
    flow::nat::range_of(&MapCells::at(epoch), family as u8, [high, low])
}
