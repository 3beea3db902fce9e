//! Flows: a known one repeats what was decided for it, a new one is decided once and remembered.
//!
//! Only programs on hosts with services or workloads know flows; a plain router has no use for them.
//! [`process`] is their pipeline. In front of the stages of a router stands [`track`]: it finds the flow
//! or the service that a packet belongs to, and gives the packet the addresses it will leave with, so
//! that the stages behind decide what will really be sent. The frame is rewritten when all is decided.

mod affinity;
mod error;
pub mod fast;
pub mod first;
mod floating;
mod fragment;
pub mod gate;
mod hairpin;
pub mod inward;
mod key;
mod leave;
pub mod log;
pub mod mapping;
pub mod nat;
mod pipeline;
pub mod policy;
pub mod quota;
pub mod sctp;
mod service;
pub mod shelf;
pub mod socket;
mod state;
pub mod table;
mod track;
mod translate;

pub use affinity::keep;
pub use fragment::remember as remember_fragments;
pub use hairpin::hairpin;
pub use key::{Key, key_of, reversed};
pub use leave::{RETURNED, UNTOUCHED, leave, passage};
pub use pipeline::{FlowDirect, FlowStages, pipeline, process};
pub(crate) use service::row_of;
pub use service::{backend_of, frontend_of, is_admitted, search, slot_of};
pub use state::{ANEW, next, timeout_of};
pub use table::{find, find_stamped, forget as take_out, insert, is_expired, is_stamped, stamp};
pub use track::what;
pub use track::{Facts, Tracked, remember, track};
pub use translate::translate;

use crate::cells::Cells;
use thalweg_abi::service::RangeRow;
use thalweg_abi::{BackendRow, FrontendRow, IndexWord};

/// Words in shared memory: a flow row, or the slots of a bucket.
pub trait Words {
    /// Reads a word; 0 beyond the end.
    fn get(&self, at: usize) -> u64;
    /// Stores a word.
    fn set(&self, at: usize, value: u64);
    /// Where the first word lies, for those that are given to the kernel's helpers; else 0.
    #[inline(always)]
    fn address(&self) -> usize {
        0
    }
}

/// Puts the addresses that a packet leaves with into its frame; of an ICMP error also into the quote.
/// False if the frame is too short: it must be dropped then.
#[inline(always)]
pub fn rewrite<F: crate::Frame>(frame: &mut F, packet: &crate::Packet, tracked: &Tracked) -> bool {
    if tracked.facts().is(what::RELATED) {
        return error::translate(frame, packet, tracked);
    }
    let (old, new) = (tracked.key, tracked.new_key(packet));
    translate(frame, packet, &old, &new)
}

/// What a lookup of a known flow wants to know of the tables.
#[derive(Clone, Copy)]
pub struct InForce {
    /// Buckets of the flow table minus one.
    pub mask: u32,
    /// What rows that are valid now are stamped with.
    pub stamp: u64,
}

/// Why a packet could not be given other addresses.
#[inline(always)]
pub(crate) fn unfit(packet: &crate::Packet) -> crate::Reason {
    if sctp::is_unfit(packet) { crate::Reason::NatUnfit } else { crate::Reason::Truncated }
}

/// Table memory as flows and services need it, all of one version but for what packets write.
pub trait Flows: Cells {
    /// The slots of a bucket.
    type Slots: Words;
    /// A flow row.
    type Row: Words;
    /// A board of the shelf.
    type Board: Words;
    /// A kept frame with its header.
    type Kept: Words;

    /// The slots of a bucket.
    fn slots(&self, bucket: u32) -> Option<Self::Slots>;
    /// A flow row.
    fn flow(&self, index: u32) -> Option<Self::Row>;
    /// Puts `new` in the place of `old`, if it is still there; other processors may do the same.
    fn claim(&self, bucket: u32, way: usize, old: u64, new: u64) -> bool;
    /// A board of the shelf.
    fn board(&self, board: u32) -> Option<Self::Board>;
    /// A kept frame.
    fn kept(&self, row: u32) -> Option<Self::Kept>;
    /// Puts `new` in the place of `old` on a board, if it is still there.
    fn claim_place(&self, board: u32, at: usize, old: u64, new: u64) -> bool;
    /// Counts a kept fragment whose first has not come.
    #[inline(always)]
    fn lose(&self, _octets: u32) {}
    /// [`thalweg_abi::ControlRow::masks`].
    fn masks(&self) -> u64;
    /// [`thalweg_abi::ControlRow::image`].
    fn image(&self) -> u32;
    /// Seconds since some moment, the same for all processors and for user space.
    fn now(&self) -> u32;

    /// 64 bits of the set over addresses of frontends.
    fn vip(&self, word: u32) -> u64;
    /// A cell of the index.
    fn index(&self, place: u32) -> IndexWord;
    /// A frontend.
    fn frontend(&self, row: u32) -> Option<Self::Ref<FrontendRow>>;
    /// A slot of a ring.
    fn ring(&self, cell: u32) -> u16;
    /// A backend.
    fn backend(&self, row: u32) -> Option<Self::Ref<BackendRow>>;
    /// A bound of ranges of sources.
    fn range(&self, row: u32) -> Option<Self::Ref<RangeRow>>;

    /// A line of table `policy`.
    fn policy(&self, line: u32) -> Option<Self::Ref<thalweg_abi::policy::Line>>;
    /// Counts what has decided about a flow, by its number.
    #[inline(always)]
    fn hit(&self, _cause: u32) {}
    /// Tells of a packet that passed rules that log ([`log`]); in the kernel a shell does that.
    #[inline(always)]
    fn tell(&self, _event: &thalweg_abi::DropEvent) {}
    /// Notes what denies the packet in hand, for the event of it ([`thalweg_abi::event::cause`]).
    #[inline(always)]
    fn blame(&self, _reason: crate::Reason, _cause: u32) {}

    /// [`table::find_elsewhere`], in the kernel as a function that the verifier checks once.
    #[inline(always)]
    fn find_elsewhere(&self, key: &Key, hash: u64) -> u32
    where
        Self: Sized,
    {
        table::find_elsewhere(self, key, hash)
    }

    /// [`table::claim`], likewise.
    #[inline(always)]
    fn take(&self, hash: u64, now: u32) -> u32
    where
        Self: Sized,
    {
        table::claim(self, hash, now)
    }

    /// [`table::publish`], likewise.
    #[inline(always)]
    fn publish(&self, claimed: u32, hash: u64) -> u32
    where
        Self: Sized,
    {
        table::publish(self, claimed, hash)
    }

    /// [`table::weakest`], likewise.
    #[inline(always)]
    fn weakest(&self, hash: u64, now: u32, nat: u32) -> u64
    where
        Self: Sized,
    {
        table::weakest(self, hash, now, nat)
    }

    /// [`policy::find`], in the kernel as a function that the verifier checks once.
    #[inline(always)]
    fn policy_find(&self, prefix: [u64; 2], length: u8, family: u8) -> u32
    where
        Self: Sized,
    {
        policy::find(self, prefix, length, family)
    }

    /// [`policy::value`], likewise.
    #[inline(always)]
    fn policy_value(&self, address: [u64; 2], family: u8) -> u32
    where
        Self: Sized,
    {
        policy::value(self, address, family, |prefix, length| {
            self.policy_find(prefix, length, family)
        })
    }

    /// [`policy::cell`], likewise.
    #[inline(always)]
    fn policy_cell(&self, set: u32, class: u32, protocol: u8, ports: u32) -> u64
    where
        Self: Sized,
    {
        policy::cell(self, set, class, protocol, ports)
    }

    /// [`policy::note`], likewise.
    #[inline(always)]
    fn policy_note(&self, tracked: &mut Tracked, cell: u64) -> bool
    where
        Self: Sized,
    {
        policy::note(self, tracked, cell)
    }

    /// [`search`], in the kernel as a function that the verifier checks once: it is asked at many places.
    #[inline(always)]
    fn search(&self, address: [u64; 2], port: u16, protocol: u8) -> u32
    where
        Self: Sized,
    {
        search(self, address, port, protocol)
    }

    /// [`nat::range_of`], likewise.
    #[inline(always)]
    fn range_of(&self, family: u8, address: [u64; 2]) -> u64
    where
        Self: Sized,
    {
        nat::range_of(self, family, address)
    }

    /// What lookups of known flows want to know of these tables, at once.
    #[inline(always)]
    fn in_force(&self) -> InForce {
        InForce { mask: self.masks() as u32, stamp: self.stamp() }
    }

    /// What rows that are valid now are stamped with.
    #[inline(always)]
    fn stamp(&self) -> u64 {
        thalweg_abi::flow::stamp(self.image(), self.epoch())
    }
}

/// Bit of [`crate::Outcome::device`]: the frame goes straight to the far end of the veth.
pub const STRAIGHT: u32 = 1 << 31;

/// [`STRAIGHT`] if frames to a next hop may go straight to the far end of its link.
#[inline(always)]
pub(crate) const fn straight(hop: &thalweg_abi::NextHopRow) -> u32 {
    if hop.flags & thalweg_abi::nexthop::flag::STRAIGHT != 0 { STRAIGHT } else { 0 }
}

/// Notes the way that the tables in force say for a known flow, and one more packet of it. Whoever has not asked
/// policies about it yet takes it out again if they do not allow it.
#[inline(always)]
pub fn renew<C: Flows>(cells: &C, packet: &crate::Packet, found: u32, nexthop: u32) {
    use thalweg_abi::flow::word;
    let Some(row) = cells.flow(found.wrapping_sub(1)) else { return };
    count(&row, packet);
    row.set(word::WAY, u64::from(nexthop) | u64::from(packet.link()) << 32);
    mark(cells, &row, found, nexthop);
}

/// Counts a packet of a known flow.
#[inline(always)]
pub(crate) fn count<W: Words>(row: &W, packet: &crate::Packet) {
    use thalweg_abi::flow::word;
    row.set(word::STATE, row.get(word::STATE).wrapping_add(1 << 32));
    row.set(word::OCTETS, row.get(word::OCTETS).wrapping_add(u64::from(packet.len())));
}

/// Notes that policies were asked about a known flow that the kernel carries on.
#[inline(always)]
pub fn judged<C: Flows>(cells: &C, found: u32) {
    if let Some(row) = cells.flow(found.wrapping_sub(1)) {
        mark(cells, &row, found, 0);
    }
}

/// Stamps a row with the tables in force; without a next hop, as one that goes nowhere from here.
#[inline(always)]
fn mark<C: Flows>(cells: &C, row: &C::Row, found: u32, nexthop: u32) {
    let Some(settings) = cells.settings() else { return };
    let hash = thalweg_abi::flow::hash([0, 1, 2, 3, 4].map(|at| row.get(at)), settings.seed);
    let stamp = match nexthop {
        0 => thalweg_abi::flow::stays(cells.stamp()),
        _ => cells.stamp(),
    };
    table::stamp(cells, row, found, hash, stamp);
}

/// Whether a next hop leads to a workload.
#[inline(always)]
pub fn is_to_workload<C: Flows>(cells: &C, nexthop: u32) -> bool {
    let flag = thalweg_abi::nexthop::flag::WORKLOAD;
    cells.nexthop(nexthop).is_some_and(|hop| hop.flags & flag != 0)
}

/// Interface index of the link that a next hop is on; 0 for none.
#[inline(always)]
pub fn link_of<C: Flows>(cells: &C, nexthop: u32) -> u32 {
    cells.nexthop(nexthop).map_or(0, |hop| hop.link)
}
