//! Table reads over kernel maps.

use crate::maps;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use thalweg_abi::group::{GroupWord, LinksWord};
use thalweg_abi::meter::{CLASSES, Class};
use thalweg_abi::{IlmWord, LinkRow, NextHopRow, Node6, Row, SettingsRow, VrfRow};
use thalweg_core::{Cells, meter};

/// Always zero, which the verifier cannot know.
static mut ZERO: u64 = 0;

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
