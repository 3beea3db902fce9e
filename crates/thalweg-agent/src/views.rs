//! Compiled state to views: names instead of numbers, words instead of bits.

use crate::hold::Holds;
use crate::plane::{HookState, wish_word};
use std::collections::BTreeMap;
use std::time::Instant;
use thalweg_abi::{Kind, NextHopRow, Reason, Verdict, link, nexthop};
use thalweg_api::view::{
    DropView, GroupView, HookView, LabelView, LinkView, MemberView, NeighborView, NextHopView,
    RouteView, SocketsView, TableView, VrfView,
};
use thalweg_compile::{Compiler, RouteOrigin, RouteState};
use thalweg_image::Occupancy;
use thalweg_model::cluster::SocketScope;
use thalweg_model::{HostState, Key, Origin};
use thalweg_wire::Mac;
use thalweg_xdp::SocketStatus;

/// A hook in words.
pub fn hook(state: &HookState) -> HookView {
    HookView {
        link: state.wish.name.clone(),
        wish: wish_word(state.wish.wish).into(),
        hook: state.hook.clone().unwrap_or_else(|| "none".into()),
        reason: state.reason.clone(),
        attached: state.hook.is_some(),
    }
}

/// How processes connect to services.
pub fn sockets(compiler: &Compiler, status: &SocketStatus) -> SocketsView {
    let scope = match compiler.intent().router.services.sockets {
        SocketScope::Host => "Host",
        SocketScope::All => "All",
        SocketScope::Off => "Off",
    };
    SocketsView {
        scope: scope.into(),
        cgroup: status.cgroup.as_ref().map(|path| path.display().to_string()),
        served: status.obstacle.is_none(),
    }
}

/// All links, by index.
pub fn links(compiler: &Compiler, hooks: &[HookState], holds: &Holds) -> Vec<LinkView> {
    let now = Instant::now();
    let mut addresses: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for own in compiler.host_facts().addresses.values() {
        addresses.entry(own.link).or_default().push(format!("{}/{}", own.address, own.len));
    }
    let view = |view: thalweg_compile::LinkView| LinkView {
        index: view.index,
        routed: view.ours,
        reason: view.reason,
        object: view.object,
        vrf: view.vrf,
        up: view.up,
        held: holds.left(view.index, compiler, now),
        mtu: view.mtu,
        mac: view.mac.to_string(),
        addresses: addresses.remove(&view.index).unwrap_or_default(),
        flags: link_flags(view.row.map_or(0, |row| row.flags)),
        hook: hooks.iter().find(|state| state.wish.link == view.index).map(hook),
        name: view.name,
    };
    compiler.links().into_iter().map(view).collect()
}

/// What a link does beyond routing.
fn link_flags(flags: u32) -> Vec<String> {
    let plain = link::flag::UP | link::flag::IPV4 | link::flag::IPV6;
    thalweg_compile::flag_words(flags & !plain).into_iter().map(str::to_owned).collect()
}

/// A route in words.
pub fn route(view: thalweg_compile::RouteView) -> RouteView {
    RouteView {
        source: source(&view.origin),
        origin: match &view.origin {
            RouteOrigin::Intent(_, origin) => Some(origin.clone()),
            _ => None,
        },
        vrf: view.vrf,
        prefix: view.prefix.to_string(),
        action: view.action,
        metric: view.metric,
        state: state_word(view.state).into(),
        group: view.group.map(|group| u32::from(group.0)),
    }
}

/// Who wants a route.
pub fn source(origin: &RouteOrigin) -> String {
    match origin {
        RouteOrigin::Intent(key, _) => key.to_string(),
        RouteOrigin::Kernel { protocol, .. } if protocol == "kernel" => "kernel".into(),
        RouteOrigin::Kernel { protocol, .. } => format!("kernel {protocol}"),
        RouteOrigin::Fpm { protocol, .. } => format!("fpm {protocol}"),
        RouteOrigin::Address(link) => format!("address {link}"),
        RouteOrigin::Neighbor(link) => format!("neighbor {link}"),
    }
}

/// The word for how a route stands.
pub const fn state_word(state: RouteState) -> &'static str {
    match state {
        RouteState::InForce => "in-force",
        RouteState::Shadowed => "shadowed",
        RouteState::Unresolved => "unresolved",
        RouteState::NoRoom => "no-room",
        RouteState::NotUsed => "not-used",
    }
}

/// All label bindings.
pub fn labels(compiler: &Compiler) -> Vec<LabelView> {
    let view = |view: thalweg_compile::LabelView| {
        let Key { name, .. } = view.object;
        let origin: Origin = view.origin;
        LabelView {
            label: view.label,
            object: name,
            origin,
            in_force: view.word.is_some(),
            group: view.group.map(|group| u32::from(group.0)),
            action: view.action,
        }
    };
    compiler.labels().into_iter().map(view).collect()
}

/// A group in words.
pub fn group(view: thalweg_compile::GroupView) -> GroupView {
    let member = |member: thalweg_compile::MemberView| MemberView {
        nexthop: member.nexthop.0,
        weight: member.weight,
        buckets: member.buckets,
        action: member.action,
    };
    GroupView {
        id: u32::from(view.id.0),
        uses: view.uses,
        buckets: view.buckets,
        members: view.members.into_iter().map(member).collect(),
    }
}

/// A next hop in words.
pub fn nexthop(view: thalweg_compile::NextHopView) -> NextHopView {
    let row = &view.row;
    let adjacent = row.kind == nexthop::kind::ADJACENT;
    NextHopView {
        id: view.id.0,
        kind: kind_word(row.kind).into(),
        mac: adjacent.then(|| destination(row).to_string()),
        labels: pushed(row),
        mtu: row.mtu,
        backup: Some(row.backup).filter(|backup| *backup != 0),
        link: view.link,
        gateway: view.gateway,
        holders: view.holders,
        action: view.action,
    }
}

/// Where frames of a next hop are sent.
pub fn destination(row: &NextHopRow) -> Mac {
    let [a, b, c, d, e, f, ..] = row.addresses;
    Mac([a, b, c, d, e, f])
}

/// The labels that a next hop pushes, outermost first.
pub fn pushed(row: &NextHopRow) -> Vec<u32> {
    let entries = row.stack.iter().take(usize::from(row.labels));
    entries.map(|entry| u32::from_be_bytes(*entry) >> 12).collect()
}

/// The word for a kind of next hop.
pub const fn kind_word(kind: u8) -> &'static str {
    use nexthop::kind;
    match kind {
        kind::ADJACENT => "adjacent",
        kind::UNRESOLVED => "unresolved",
        kind::DELIVER => "deliver",
        kind::BROADCAST => "broadcast",
        kind::BLACKHOLE => "blackhole",
        kind::UNREACHABLE => "unreachable",
        kind::PROHIBIT => "prohibit",
        kind::LOOKUP => "lookup",
        kind::THROW => "throw",
        _ => "none",
    }
}

/// All neighbors.
pub fn neighbors(compiler: &Compiler) -> Vec<NeighborView> {
    let view = |view: thalweg_compile::NeighborView| NeighborView {
        link: view.link_name,
        address: view.address,
        mac: view.mac.map(|mac| mac.to_string()),
        state: view.state,
        used: view.used,
        host_route: view.host_route,
    };
    compiler.neighbors().into_iter().map(view).collect()
}

/// All VRFs.
pub fn vrfs(compiler: &Compiler) -> Vec<VrfView> {
    let view = |view: thalweg_compile::VrfView| VrfView {
        id: u32::from(view.id.0),
        name: view.name,
        table: view.table,
        links: view.links,
        ipv4: view.ipv4,
        ipv6: view.ipv6,
    };
    compiler.vrfs().into_iter().map(view).collect()
}

/// Counters in words: drops and answers first where only those are wanted, else by verdict.
pub fn drops(counts: &[(Verdict, thalweg_abi::Counter)], all: bool) -> Vec<DropView> {
    let order = [Kind::Drop, Kind::Answer, Kind::Punt, Kind::Deliver, Kind::Pass, Kind::Forward];
    let kinds = if all { &order[..] } else { &order[..2] };
    let mut views = Vec::new();
    for kind in kinds {
        let of_kind = counts.iter().filter(|(verdict, _)| verdict.kind() == *kind);
        let mut of_kind: Vec<_> = of_kind.collect();
        of_kind.sort_by_key(|(_, counter)| std::cmp::Reverse(counter.packets));
        views.extend(of_kind.into_iter().map(|(verdict, counter)| DropView {
            verdict: kind.name().into(),
            reason: verdict.reason().name().into(),
            packets: counter.packets,
            bytes: counter.bytes,
            description: verdict.reason().describe().into(),
        }));
    }
    views
}

/// Tables in words.
pub fn tables(occupancy: Vec<Occupancy>) -> Vec<TableView> {
    let view = |of: Occupancy| TableView {
        name: of.table.name().into(),
        used: of.used,
        capacity: of.capacity,
        bytes: of.bytes,
    };
    occupancy.into_iter().map(view).collect()
}

/// The reason behind a word.
pub fn reason_named(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name() == word)
}

/// Host state as the value of a host state file.
pub fn host(host: &HostState) -> serde_json::Value {
    thalweg_netlink::file::to_value(host)
}
