//! The tables as kernel maps. Sizes here are the least; the loader sets the real ones.
//!
//! Names, row sizes and flags are compared with [`thalweg_abi::TableId`] by a test that reads the
//! object file.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use thalweg_abi::flow::{FlowRow, Slots};
use thalweg_abi::meter::MeterRow;
use thalweg_abi::policy::Line;
use thalweg_abi::service::RangeRow;
use thalweg_abi::shelf::{Board, KeptRow, ROOM};
use thalweg_abi::socket::{PeerKey, PeerRow};
use thalweg_abi::table::{Row16, Row32};
use thalweg_abi::{
    BackendRow, ControlRow, Counter, FrontendRow, LinkRow, NextHopRow, Node6, SettingsRow, VrfRow,
};
use thalweg_core::flow::Tracked;
use thalweg_core::{Packet, Verdict};

const MAPPED: usize = BPF_F_MMAPABLE as usize;

macro_rules! tables {
    ($($name:ident = $map:literal: $row:ty;)+) => {$(
        #[btf_map(name = $map)]
        pub static $name: Array<$row, 1, MAPPED> = Array::new();
    )+};
}

tables! {
    CONTROL = "control": ControlRow;
    STATES = "states": u64;
    BEHIND = "behind": u64;
    SETTINGS = "settings": SettingsRow;
    LINKS = "links": LinkRow;
    VLANS = "vlans": Row32;
    VRFS = "vrfs": VrfRow;
    FIB4_PAGES = "fib4_pages": Row32;
    FIB4_ROOT = "fib4_root": u64;
    FIB4_LEAVES = "fib4_leaves": Row16;
    FIB4_LONG = "fib4_long": Row16;
    FIB6_DIR = "fib6_dir": Row32;
    FIB6_PAGES = "fib6_pages": Row32;
    FIB6_NODES = "fib6_nodes": Node6;
    FIB6_LEAVES = "fib6_leaves": Row16;
    LFIB = "lfib": u64;
    GROUPS = "groups": u64;
    GROUP_LINKS = "group_links": u64;
    BUCKETS = "buckets": Row32;
    NEXTHOPS = "nexthops": NextHopRow;
    OWN = "own": u64;
    VIPS = "vips": u64;
    INDEX = "service_index": u64;
    FRONTENDS = "frontends": FrontendRow;
    RINGS = "rings": Row16;
    BACKENDS = "backends": BackendRow;
    RANGES = "ranges": RangeRow;
    POLICY = "policy": Line;
    FLOW_SLOTS = "flow_slots": Slots;
    FLOWS = "flows": FlowRow;
    BOARDS = "shelf_boards": Board;
    KEPT = "shelf_frames": KeptRow;
}

/// Whether tc stands behind XDP on a device.
#[inline(always)]
pub fn is_behind(device: u32) -> bool {
    BEHIND.get(device).is_some_and(|word| *word != 0)
}

/// Frames and octets by verdict, per processor.
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<Counter, { thalweg_abi::counter::COUNTERS as usize }> =
    PerCpuArray::new();

/// Token buckets by link and class, per processor.
#[btf_map(name = "meters")]
pub static METERS: PerCpuArray<MeterRow, 1> = PerCpuArray::new();

/// What policies decided, by the number of the rule, per processor.
#[btf_map(name = "policy_hits")]
static HITS: PerCpuArray<u64, { thalweg_abi::policy::CAUSES as usize }> = PerCpuArray::new();

/// Counts what has decided about a flow.
#[inline(always)]
pub fn hit(cause: u32) {
    if let Some(row) = HITS.get_ptr_mut(cause) {
        // SAFETY: the map holds valid rows for its whole life; only this processor writes this one.
        unsafe { *row += 1 };
    }
}

/// Under which address a socket reached whom it speaks to: [`thalweg_abi::socket`].
#[btf_map(name = "peers")]
pub static PEERS: LruHashMap<PeerKey, PeerRow, { thalweg_abi::socket::PEERS as usize }> =
    LruHashMap::new();

/// Counts a frame. The row belongs to this processor, and programs of one hook do not interrupt
/// each other, so plain additions do.
#[inline(always)]
pub fn count(verdict: Verdict, octets: u32) {
    if let Some(row) = COUNTERS.get_ptr_mut(verdict.counter()) {
        // SAFETY: the map holds valid rows for its whole life; only this processor writes this one.
        let row = unsafe { &mut *row };
        row.packets += 1;
        row.bytes += u64::from(octets);
    }
}

/// The packet in hand of programs that know flows, per processor: the stack is too small for it.
#[btf_map(name = "packets")]
static PACKETS: PerCpuArray<Packet, 1> = PerCpuArray::new();

/// What is known of its flow.
#[btf_map(name = "tracked")]
static TRACKED: PerCpuArray<Tracked, 1> = PerCpuArray::new();

/// Room for the packet in hand.
#[inline(always)]
pub fn packet() -> Option<&'static mut Packet> {
    // SAFETY: the row is this processor's; programs run with softirqs off, which do not nest.
    PACKETS.get_ptr_mut(0).map(|row| unsafe { &mut *row })
}

/// What is known of the flow of the packet in hand.
#[inline(always)]
pub fn tracked() -> Option<&'static mut Tracked> {
    // SAFETY: as above.
    TRACKED.get_ptr_mut(0).map(|row| unsafe { &mut *row })
}

/// A frame that is put aside while others arrive in its place.
#[repr(C)]
pub struct Aside {
    /// Octets of it.
    pub octets: u64,
    /// As they came.
    pub frame: [u64; ROOM / 8],
}

/// The frame that this processor has put aside.
#[btf_map(name = "aside")]
static ASIDE: PerCpuArray<Aside, 1> = PerCpuArray::new();

/// Room for a frame that is put aside.
#[inline(always)]
pub fn aside() -> Option<&'static mut Aside> {
    // SAFETY: as for `packet`.
    ASIDE.get_ptr_mut(0).map(|row| unsafe { &mut *row })
}
