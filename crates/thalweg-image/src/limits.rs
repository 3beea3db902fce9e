//! From what people want to hold to how large each table must be.

use crate::memory::Capacity;
use thalweg_abi::link::VLANS_PER_PAGE;
use thalweg_abi::table::OWN_WORDS;
use thalweg_abi::{GroupId, TableId, fib4, fib6, shelf};

/// How much of everything the tables are to hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Interface indices: the largest plus one.
    pub links: u32,
    /// Sessions that next hops may watch. Their states are numbered from `links` on.
    pub sessions: u32,
    /// VRFs, the default one included.
    pub vrfs: u32,
    /// IPv4 routes in all VRFs together.
    pub ipv4_routes: u32,
    /// IPv6 routes in all VRFs together.
    pub ipv6_routes: u32,
    /// Labels: the largest plus one, at most 2^20.
    pub labels: u32,
    /// Next hops.
    pub nexthops: u32,
    /// Next hop groups, at most 32 767.
    pub groups: u32,
    /// Links that carry VLAN sub-interfaces.
    pub vlan_links: u32,
    /// Frontends of services; an address counts as one more.
    pub frontends: u32,
    /// Backends of all frontends.
    pub backends: u32,
    /// Slots of rings: some hundred for a few backends.
    pub ring_slots: u32,
    /// Flows, each with a row for both directions.
    pub flows: u32,
    /// Lines of policies.
    pub policy_lines: u32,
}

impl Capacity {
    /// Tables that hold `limits`, with room to change routes while readers use the old ones.
    pub fn for_limits(limits: &Limits) -> Self {
        Self::new(|table| {
            let per_row = table.cells_per_row() as u64;
            (cells(table, limits) * u64::from(table.versions()))
                .div_ceil(per_row)
                .clamp(1, u64::from(u32::MAX)) as u32
        })
    }
}

/// Cells of a table. The shares per route are measured on a full table of the Internet and on
/// tables of host routes, with a reserve of a half and more.
fn cells(table: TableId, limits: &Limits) -> u64 {
    let vrfs = u64::from(limits.vrfs.clamp(1, 1 << 16));
    let (routes4, routes6) = (u64::from(limits.ipv4_routes), u64::from(limits.ipv6_routes));
    let groups = (u64::from(limits.groups) + 1).min(u64::from(GroupId::MAX) + 1);
    match table {
        TableId::Control | TableId::Settings => 1,
        TableId::States => u64::from(limits.links) + u64::from(limits.sessions),
        TableId::Links | TableId::Behind => limits.links.into(),
        TableId::Vlans => (u64::from(limits.vlan_links) + 1) * u64::from(VLANS_PER_PAGE),
        TableId::Vrfs => vrfs,
        TableId::Fib4Pages => vrfs * 256,
        TableId::Fib4Root => (256 + pages(vrfs, 256)) * u64::from(fib4::PAGE),
        TableId::Fib4Leaves => routes4 * 5 / 2 + (1 << 16),
        TableId::Fib4Long => (routes4 / 128 + 256).min(0x8000) * u64::from(fib4::BLOCK),
        TableId::Fib6Dir => vrfs << fib6::DIR_BITS,
        TableId::Fib6Pages => (32 + routes6.min(224) + pages(vrfs, 32)) << fib6::PAGE_BITS,
        // A host route far from others takes two nodes of its own; a full table has few of them.
        TableId::Fib6Nodes => routes6.min(1 << 16) * 7 / 4 + routes6 * 3 / 4 + (1 << 12),
        TableId::Fib6Leaves => routes6 * 3 + (1 << 14),
        TableId::Lfib => limits.labels.min(1 << 20).into(),
        TableId::Groups | TableId::GroupLinks => groups,
        TableId::Buckets => groups * 16 + (1 << 16),
        TableId::NextHops => u64::from(limits.nexthops) + 1,
        TableId::Own => OWN_WORDS.into(),
        TableId::Vips => thalweg_abi::service::VIP_WORDS.into(),
        // A quarter full at most: readers come to an empty cell soon, and every key finds a place near its
        // own. Half full, three keys of 64,500 find none.
        TableId::Index => {
            ((u64::from(limits.frontends) + u64::from(limits.backends)) * 4).next_power_of_two()
        }
        TableId::Frontends => limits.frontends.into(),
        TableId::Backends => limits.backends.into(),
        // Few frontends have ranges, and each range takes two rows.
        TableId::Ranges if limits.frontends == 0 => 0,
        TableId::Ranges => u64::from(limits.frontends).max(1 << 12),
        TableId::Rings => limits.ring_slots.into(),
        TableId::Policy => limits.policy_lines.into(),
        TableId::FlowSlots => buckets(limits),
        TableId::Flows => buckets(limits) * u64::from(thalweg_abi::flow::WAYS),
        TableId::Boards | TableId::Kept if limits.flows == 0 => 0,
        TableId::Boards => shelf::BOARDS.into(),
        TableId::Kept => u64::from(shelf::BOARDS * shelf::PLACES),
    }
}

/// Buckets of the flow table: it works until it is all but full.
fn buckets(limits: &Limits) -> u64 {
    (u64::from(limits.flows) * 2).div_ceil(thalweg_abi::flow::WAYS.into()).next_power_of_two()
}

/// Pages of VRFs other than the default: one full table, and a few blocks for each.
fn pages(vrfs: u64, full: u64) -> u64 {
    match vrfs - 1 {
        0 => 0,
        others => full + 4 * others,
    }
}
