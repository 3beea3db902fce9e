//! The writer from outside: plans in, tables as readers see them out.

mod full_table;
mod index;
mod plain;
mod readers;
mod routes;
mod rows;

use thalweg_abi::TableId;
use thalweg_image::{Applied, Capacity, Change, Limits, Plan, Plane, Writer};

/// Limits that no small test meets.
pub const LIMITS: Limits = Limits {
    links: 16,
    vrfs: 3,
    ipv4_routes: 1000,
    ipv6_routes: 1000,
    labels: 64,
    nexthops: 64,
    groups: 600,
    vlan_links: 1,
    frontends: 64,
    backends: 256,
    ring_slots: 4096,
    flows: 64,
    policy_lines: 64,
    sessions: 16,
};

/// Tables for [`LIMITS`] with some of them of another size.
pub fn capacity(cells: &[(TableId, u32)]) -> Capacity {
    let usual = Capacity::for_limits(&LIMITS);
    Capacity::new(|table| match cells.iter().find(|(other, _)| *other == table) {
        Some((_, cells)) => (cells * table.versions()).div_ceil(table.cells_per_row() as u32),
        None => usual.rows(table),
    })
}

/// Applies changes as one plan.
pub fn apply(writer: &mut Writer, changes: Vec<Change>) -> Applied {
    writer.apply(&Plan { generation: 1, changes }).expect("a writer always works")
}

/// Cells in use of all tables but the settings, which hold the number of the image.
pub fn used(writer: &Writer) -> Vec<(TableId, u32)> {
    let tables = writer.occupancy().into_iter().map(|table| (table.table, table.used));
    tables.filter(|(table, _)| *table != TableId::Settings).collect()
}

#[test]
fn a_writer_may_move_to_another_thread() {
    fn movable<T: Send>() {}
    movable::<Writer>();
}
