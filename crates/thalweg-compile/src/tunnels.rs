//! Tunnels to other nodes: their outer headers as rows, and the nodes that packets may come from.

use crate::compiler::Compiler;
use crate::objects;
use crate::target::{Dress, State};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::nexthop::{self, NextHopRow, flag};
use thalweg_abi::tunnel::{self, TunnelRow, protocol};
use thalweg_abi::{BackendRow, settings};
use thalweg_image::{BackendSet, Change, SetId, halves};
use thalweg_model::{Intent, Tunnel, TunnelProtocol, TunnelSettings};

/// The other nodes, and what of them is in force.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// Whether objects may have changed.
    pub todo: bool,
    /// Targets by the address that a node's tunnel comes from.
    targets: BTreeMap<IpAddr, Standing>,
    /// Further addresses of nodes, with the one that the tunnel comes from.
    also: BTreeMap<IpAddr, IpAddr>,
    /// What the tables have.
    published: Vec<BackendRow>,
    set: Option<SetId>,
}

impl Nodes {
    /// Targets of the tunnels to other nodes, also of those without pods, to which no route leads.
    pub fn own_targets(&self) -> impl Iterator<Item = u32> {
        self.targets.values().map(|standing| standing.target)
    }
}

/// A node's target.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    target: u32,
    /// Whether its group is in use.
    employed: bool,
}

/// The number of a protocol in rows.
const fn number(protocol: TunnelProtocol) -> u8 {
    match protocol {
        TunnelProtocol::Vxlan => protocol::VXLAN,
        TunnelProtocol::Geneve => protocol::GENEVE,
        TunnelProtocol::Ipip => protocol::IPIP,
        TunnelProtocol::Gue => protocol::GUE,
    }
}

const fn family(address: IpAddr) -> u8 {
    if address.is_ipv6() { 6 } else { 4 }
}

/// The outer headers of a tunnel.
pub(crate) fn row(tunnel: &Tunnel) -> NextHopRow {
    let kind = number(tunnel.settings.protocol);
    let ends = [tunnel.remote, tunnel.local].map(|end| tunnel::link_address(halves(end)));
    let mut addresses = [0; 12];
    addresses[..6].copy_from_slice(&ends[0]);
    addresses[6..].copy_from_slice(&ends[1]);
    TunnelRow {
        kind: nexthop::kind::TUNNEL,
        protocol: kind,
        family: family(tunnel.remote),
        port: tunnel.settings.port,
        vni: if tunnel.settings.protocol.has_vni() { tunnel.settings.vni } else { 0 },
        room: tunnel::room(kind, family(tunnel.remote)),
        local: tunnel::words(halves(tunnel.local)),
        remote: tunnel::words(halves(tunnel.remote)),
        addresses,
        ..TunnelRow::default()
    }
    .row()
}

/// Makes a next hop's row one through the tunnel of its dress.
pub(crate) fn dress(row: &mut NextHopRow, dress: &Dress) {
    let Some(tunnel) = &dress.tunnel else { return };
    if !matches!(row.kind, nexthop::kind::ADJACENT | nexthop::kind::UNRESOLVED) {
        return;
    }
    row.flags |= flag::TUNNEL;
    let room = tunnel::room(number(tunnel.settings.protocol), family(tunnel.remote));
    let mtu = row.mtu.saturating_sub(room);
    row.mtu = tunnel.settings.mtu.map_or(mtu, |limit| limit.min(mtu));
    // Labels of the route below would stand in front of the outer headers.
    row.labels = 0;
}

/// What programs must know to tell packets of tunnels from others.
pub(crate) fn settings_flags(tunnel: Option<&TunnelSettings>) -> u32 {
    tunnel.map_or(0, |tunnel| settings::flag::TUNNEL | u32::from(tunnel.port) << 16)
}

/// A tunnel in words.
pub(crate) fn words(tunnel: &Tunnel) -> String {
    in_words(tunnel.settings.protocol.name(), tunnel.remote, &row(tunnel))
}

/// A row of outer headers in words.
pub(crate) fn row_words(tunnel: &TunnelRow) -> String {
    let known = TunnelProtocol::ALL.iter().find(|(_, known)| number(*known) == tunnel.protocol);
    let [high, low] = tunnel::halves(tunnel.remote);
    let remote: IpAddr = match tunnel.family {
        6 => std::net::Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
        _ => std::net::Ipv4Addr::from_bits(low as u32).into(),
    };
    in_words(known.map_or("?", |(name, _)| name), remote, &tunnel.row())
}

fn in_words(name: &str, remote: IpAddr, row: &NextHopRow) -> String {
    let mut text = format!("tunnel {} to {remote}", name.to_lowercase());
    let Some(tunnel) = TunnelRow::of(row) else { return text };
    if tunnel.vni != 0 {
        text.push_str(&format!(" vni {}", tunnel.vni));
    }
    if tunnel.port != 0 {
        text.push_str(&format!(" port {}", tunnel.port));
    }
    text
}

/// Addresses of other nodes that no tunnel comes from, each with the one that its node's does.
fn also(intent: &Intent) -> BTreeMap<IpAddr, IpAddr> {
    let tunnels: Vec<(&str, Tunnel)> = intent.tunnels().collect();
    let ends: BTreeSet<IpAddr> = tunnels.iter().map(|(_, tunnel)| tunnel.remote).collect();
    let mut also = BTreeMap::new();
    for (name, tunnel) in tunnels {
        let own = intent.cluster.nodes.get(name).map(|node| &node.addresses);
        let further = own.into_iter().flatten().filter(|address| !ends.contains(address));
        also.extend(further.map(|address| (*address, tunnel.remote)));
    }
    also
}

impl Compiler {
    /// Finds the targets of all nodes anew, if nodes may have changed.
    pub(crate) fn rebuild_tunnels(&mut self) {
        if !std::mem::take(&mut self.nodes.todo) {
            return;
        }
        let tunnels: Vec<Tunnel> = self.intent.tunnels().map(|(_, tunnel)| tunnel).collect();
        self.nodes.also = also(&self.intent);
        let mut found = BTreeMap::new();
        for tunnel in tunnels {
            let key = objects::tunnel(tunnel, &self.names());
            let Some(key) = key else { continue };
            let target = self.targets.intern(key);
            self.hold_target(target, 1);
            found.insert(tunnel.remote, Standing { target, employed: false });
        }
        let before = std::mem::take(&mut self.nodes.targets);
        for (address, old) in &before {
            match found.get_mut(address) {
                Some(new) if new.target == old.target => new.employed = old.employed,
                _ if old.employed => self.unuse(old.target),
                _ => {}
            }
            self.hold_target(old.target, -1);
        }
        self.nodes.targets = found;
    }

    /// Takes the groups of nodes in use whose targets are resolved.
    pub(crate) fn employ_tunnels(&mut self) {
        let all: Vec<(IpAddr, Standing)> =
            self.nodes.targets.iter().map(|(address, standing)| (*address, *standing)).collect();
        for (address, standing) in all {
            let usable = self.targets.state(standing.target) != State::Unresolvable;
            let employed = match (usable, standing.employed) {
                (true, false) => self.employ(standing.target, None),
                (false, true) => {
                    self.unuse(standing.target);
                    false
                }
                (_, employed) => employed,
            };
            self.nodes.targets.insert(address, Standing { employed, ..standing });
        }
    }

    /// Changes to the nodes in the tables: those that add, then those that take out.
    pub(crate) fn node_changes(&mut self) -> (Vec<Change>, Vec<Change>) {
        let (groups, targets) = (&self.groups, &self.nodes.targets);
        let also = self.nodes.also.iter().filter_map(|(own, end)| Some((own, targets.get(end)?)));
        let standing = targets.iter().chain(also).filter(|(_, standing)| standing.employed);
        let rows: Vec<BackendRow> = standing
            .filter_map(|(address, standing)| {
                let address = halves(*address);
                Some(BackendRow {
                    address,
                    id: tunnel::node_id(address),
                    node: groups.get(standing.target)?.id.0.into(),
                    ..BackendRow::default()
                })
            })
            .collect();
        if rows == self.nodes.published {
            return (Vec::new(), Vec::new());
        }
        let old = self.nodes.set.take();
        let less = old.map(|id| {
            self.services.numbers.give(id.0);
            Change::FreeBackends(id)
        });
        let mut more = Vec::new();
        if !rows.is_empty()
            && let Some(number) = self.services.numbers.take()
        {
            let set =
                BackendSet { ring: vec![0; usize::from(rows.len() > 1)], backends: rows.clone() };
            more.push(Change::Backends(SetId(number), set));
            self.nodes.set = Some(SetId(number));
        }
        self.nodes.published = rows;
        (more, less.into_iter().collect())
    }

    /// The addresses that tunnels of the other nodes come from, by their number in flows.
    pub fn node_of(&self, id: u64) -> Option<String> {
        let mut tunnels = self.intent.tunnels();
        let found = tunnels.find(|(_, t)| tunnel::node_id(halves(t.remote)) == id);
        found.map(|(name, _)| name.to_owned())
    }
}
