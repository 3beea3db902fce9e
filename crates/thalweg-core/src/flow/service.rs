//! Services: from an address and port to a frontend, from a frontend to a backend.

use super::Flows;
use super::key::Key;
use crate::packet::Packet;
use thalweg_abi::FrontendRow;
use thalweg_abi::link;
use thalweg_abi::service::{self, Choice, PROBES};

/// The row of a frontend, counted from 1, or 0. Port and protocol 0 ask for the address as such.
#[inline(always)]
pub fn frontend_of<C: Flows>(cells: &C, address: [u64; 2], port: u16, protocol: u8) -> u32 {
    cells.search(address, port, protocol)
}

/// [`frontend_of`], probe by probe.
#[inline(always)]
pub fn search<C: Flows>(cells: &C, address: [u64; 2], port: u16, protocol: u8) -> u32 {
    let key = service::key(address, port, protocol);
    row_of(cells, key, |row| {
        cells.frontend(row).is_some_and(|row| {
            row.address == address && row.port == port && row.protocol == protocol
        })
    })
}

/// The row that the index leads a key to, counted from 1, or 0: of those that may be its, the one that `is`
/// its.
#[inline(always)]
pub(crate) fn row_of<C: Flows>(cells: &C, key: u64, is: impl Fn(u32) -> bool) -> u32 {
    let mask = (cells.masks() >> 32) as u32;
    let first = service::first_place(key, mask);
    for probe in 0..PROBES {
        let cell = cells.index(first.wrapping_add(probe) & mask);
        if cell.is_empty() {
            break;
        }
        if cell.is_for(key) && is(cell.row()) {
            return cell.row() + 1;
        }
    }
    0
}

/// The row of the frontend for a packet out of a tunnel, counted from 1, or 0: of its own address, or of the
/// node port that it has at another node. A function of its own: rare but on nodes that others send to.
#[inline(never)]
pub fn frontend_within<C: Flows>(
    cells: &C,
    address: [u64; 2],
    port: u16,
    protocol: u8,
    family: u8,
) -> u32 {
    let protocol = service::within_tunnel(protocol);
    match frontend_of(cells, address, port, protocol) {
        0 => frontend_of(cells, service::any_node(family), port, protocol),
        found => found,
    }
}

/// Whether a backend still serves.
#[inline(always)]
pub fn is_backend<C: Flows>(cells: &C, id: u64) -> bool {
    let is = |row| cells.backend(row).is_some_and(|row| row.id == id);
    row_of(cells, service::backend_key(id), is) != 0
}

/// Whether an address may be a frontend's: "no" or "perhaps".
#[inline(always)]
pub fn may_be_vip<C: Flows>(cells: &C, address: [u64; 2]) -> bool {
    let bit = service::vip_bit(address);
    cells.vip(bit / 64) >> (bit % 64) & 1 != 0
}

/// Who serves a packet of a frontend, and how many they are: by where it comes from.
#[inline(always)]
pub fn choice_of(row: &FrontendRow, packet: &Packet) -> (Choice, u32) {
    if packet.link_has(link::flag::WORKLOAD) {
        (row.internal, row.counts[0].into())
    } else {
        (row.external, row.counts[1].into())
    }
}

/// Whether a frontend admits a source: everybody where it has no ranges. A function of its own: few
/// frontends have any.
#[inline(never)]
pub fn is_admitted<C: Flows>(cells: &C, ranges: u32, len: u32, source: [u64; 2]) -> bool {
    // How many bounds the source has reached; an even number of them is outside.
    let (mut low, mut high) = (0, len & service::MAX_RANGE_ROWS);
    for _ in 0..MAX_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let Some(bound) = cells.range(ranges.wrapping_add(middle)) else { return false };
        if at_least(source, *bound) {
            low = middle + 1;
        } else {
            high = middle;
        }
        (low, high) = (cells.blur(low.into()) as u32, cells.blur(high.into()) as u32);
    }
    len == 0 || low & 1 != 0
}

/// Steps of a search among as many rows as one frontend or one choice can have.
pub(super) const MAX_STEPS: u32 = 17;

/// Whether an address is not below another.
#[inline(always)]
pub(super) const fn at_least([high, low]: [u64; 2], other: [u64; 2]) -> bool {
    high > other[0] || high == other[0] && low >= other[1]
}

/// Slot of a flow in a ring of `size`: by the key alone, so that every node chooses alike.
#[inline(always)]
pub const fn slot_of(key: &Key, size: u32) -> u32 {
    let hash = thalweg_abi::flow::hash(*key, 0x5851_f42d_4c95_7f2d);
    (((hash >> 32) * size as u64) >> 32) as u32
}

/// The row of the backend that a choice holds for a flow.
#[inline(always)]
pub fn backend_of<C: Flows>(cells: &C, choice: &Choice, key: &Key) -> u32 {
    let member = match choice.size {
        0 | 1 => 0,
        size => u32::from(cells.ring(choice.ring.wrapping_add(slot_of(key, size)))),
    };
    choice.backends.wrapping_add(member)
}
