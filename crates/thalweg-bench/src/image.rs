//! Full tables of ours, built in this process; [`crate::object::Object::copy`] brings them to maps.

use crate::Measured;
use crate::prefixes::{GROUPS, Routes};
use thalweg_abi::{
    GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, TableId, VrfId, link, nexthop,
};
use thalweg_image::change::GroupMembers;
use thalweg_image::{Capacity, Change, Limits, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_wire::{Prefix4, Prefix6};

/// Link addresses of the router's two links.
pub const ROUTER: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 1, 1]];
/// Labels that are bound, from 16 on: even ones are swapped, odd ones taken off.
pub const LABELS: u32 = 1 << 20;
/// Tables of IPv4 routes.
pub const TABLES4: &[TableId] = &[
    TableId::Control,
    TableId::Vrfs,
    TableId::Fib4Pages,
    TableId::Fib4Root,
    TableId::Fib4Leaves,
    TableId::Fib4Long,
];
/// Tables of IPv6 routes.
pub const TABLES6: &[TableId] = &[
    TableId::Control,
    TableId::Vrfs,
    TableId::Fib6Dir,
    TableId::Fib6Pages,
    TableId::Fib6Nodes,
    TableId::Fib6Leaves,
];
/// Link address of the neighbor of a group.
pub fn neighbor(group: u16) -> [u8; 6] {
    let [high, low] = group.to_be_bytes();
    [2, 1, 0, 0, high, low]
}

/// The label that a group pushes when it pushes one.
pub fn label(group: u16) -> u32 {
    50_000 + u32::from(group)
}

/// How large the tables must be.
pub fn capacity(ipv4_routes: u32, ipv6_routes: u32, labels: u32) -> Capacity {
    Capacity::for_limits(&Limits {
        links: 1024,
        vrfs: 1,
        ipv4_routes,
        ipv6_routes,
        labels,
        nexthops: 1024,
        groups: 1024,
        vlan_links: 0,
        sessions: 16,
        ..Limits::default()
    })
}

/// Changes that put IPv4 routes in force.
pub fn plan4(routes: &Routes<Prefix4>) -> Plan {
    let route =
        |(prefix, group): &(Prefix4, u16)| Change::Route4(VrfId(0), *prefix, GroupId(*group));
    Plan { generation: 1, changes: routes.iter().map(route).collect() }
}

/// Changes that put IPv6 routes in force.
pub fn plan6(routes: &Routes<Prefix6>) -> Plan {
    let route =
        |(prefix, group): &(Prefix6, u16)| Change::Route6(VrfId(0), *prefix, GroupId(*group));
    Plan { generation: 1, changes: routes.iter().map(route).collect() }
}

/// Changes for two links and next hops behind the second: groups 1 to 256 send as is, groups 257 to
/// 512 to the same neighbors with one label more.
pub fn surroundings([arrival, out]: [u32; 2]) -> Plan {
    let flags = link::flag::UP | link::flag::IPV4 | link::flag::IPV6 | link::flag::MPLS;
    let link =
        |index: u32, mac| LinkRow { flags, mtu: 1500, mac, device: index, ..LinkRow::default() };
    let mut changes = vec![
        Change::Settings(thalweg_abi::SettingsRow::default()),
        Change::Link(arrival, link(arrival, ROUTER[0])),
        Change::Link(out, link(out, ROUTER[1])),
    ];
    for id in 1..=2 * GROUPS {
        let group = if id > GROUPS { id - GROUPS } else { id };
        let [a, b, c, d, e, f] = neighbor(group);
        let [g, h, i, j, k, l] = ROUTER[1];
        let row = NextHopRow {
            kind: nexthop::kind::ADJACENT,
            labels: u8::from(id > GROUPS),
            link: out,
            watch: out,
            device: out,
            mtu: 1500,
            addresses: [a, b, c, d, e, f, g, h, i, j, k, l],
            stack: [(label(group) << 12).to_be_bytes(), [0; 4], [0; 4], [0; 4]],
            ..NextHopRow::default()
        };
        changes.push(Change::NextHop(NextHopId(id.into()), row));
        changes.push(group_to(id, id, out));
    }
    Plan { generation: 1, changes }
}

/// The change that leads a group to a next hop.
fn group_to(group: u16, nexthop: u16, link: u32) -> Change {
    let members = GroupMembers { buckets: vec![NextHopId(nexthop.into())], links: vec![link] };
    Change::Group(GroupId(group), members)
}

/// Changes that make the groups of routes push a label, or not.
pub fn pushing(push: bool, out: u32) -> Plan {
    let more = if push { GROUPS } else { 0 };
    let changes = (1..=GROUPS).map(|group| group_to(group, group + more, out)).collect();
    Plan { generation: 1, changes }
}

/// Changes that bind all labels.
pub fn labels() -> Plan {
    let bind = |label: u32| {
        let group = GroupId((label / 2 % u32::from(GROUPS)) as u16 + 1);
        let group = if label.is_multiple_of(2) { GroupId(group.0 + GROUPS) } else { group };
        Change::Label(label, IlmWord::forward(group, 0))
    };
    Plan { generation: 1, changes: (16..LABELS).map(bind).collect() }
}

/// Tables on the heap of this process.
pub fn writer(capacity: &Capacity) -> Writer {
    Writer::new(Memory::heap(capacity), Box::new(NoReaders))
}

/// Puts a plan in force; whatever does not fit is an error.
pub fn apply(writer: &mut Writer, plan: &Plan) -> Measured<()> {
    match writer.apply(plan)?.failures.first() {
        None => Ok(()),
        Some(failure) => Err(format!(
            "{:?} does not fit: table {} holds {} of {}",
            failure.change,
            failure.table.name(),
            failure.used,
            failure.capacity
        )
        .into()),
    }
}
