//! Routes of files that the kernel should know, too: it gets exceptions, such as packets to be
//! fragmented, and sends them by its own tables.

use crate::compiler::Compiler;
use crate::key::NetKey;
use crate::rib::{Offer, Source};
use crate::slab::NIL;
use crate::target::{Dress, Member, Way};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_abi::VrfId;
use thalweg_image::{Change, Plan};
use thalweg_model::Prefix;
use thalweg_model::tunnel::PASSAGE;

/// A route as the kernel is to have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Export {
    /// Routing table.
    pub table: u32,
    /// Prefix.
    pub prefix: Prefix,
    /// Interface index, gateway and weight (1 to 256) of each next hop; none takes the route out.
    pub hops: Vec<(u32, Option<IpAddr>, u16)>,
    /// Source that packets of this host's own get.
    pub source: Option<IpAddr>,
    /// Largest packet that fits, in octets.
    pub mtu: Option<u32>,
}

/// What a way of ours is for the kernel.
type Ways = (Vec<(u32, Option<IpAddr>, u16)>, Option<IpAddr>, Option<u32>);

impl Compiler {
    /// What the kernel's tables must follow of a plan that is in force: routes that files alone know
    /// and that need neither labels nor a table that the kernel has not.
    pub fn exports(&mut self, plan: &Plan) -> Vec<Export> {
        if self.routes.is_empty() && self.exported.is_empty() {
            return Vec::new();
        }
        let mut keys = BTreeSet::new();
        let rib = |compiler: &Self, vrf: VrfId| {
            compiler.vrfs.iter().find(|(_, found)| found.id == vrf).map(|(_, found)| found.rib)
        };
        for change in &plan.changes {
            match change {
                Change::Route4(vrf, prefix, _) => {
                    let key = rib(self, *vrf).map(|rib| NetKey::new(rib, Prefix::V4(*prefix)));
                    keys.extend(key.filter(|key| self.concerns_files(*key)));
                }
                Change::Route6(vrf, prefix, _) => {
                    let key = rib(self, *vrf).map(|rib| NetKey::new(rib, Prefix::V6(*prefix)));
                    keys.extend(key.filter(|key| self.concerns_files(*key)));
                }
                Change::Group(id, _) => {
                    let nodes = self.groups.target(*id).map(|t| self.rib.nodes_of(t, false));
                    let nodes = nodes.into_iter().flatten().filter(|node| self.is_of_files(*node));
                    keys.extend(nodes.filter_map(|node| Some(self.rib.node(node)?.key)));
                }
                _ => {}
            }
        }
        let passage = self.host.link_named(PASSAGE[0]).map(|link| link.index);
        if std::mem::replace(&mut self.passage, passage) != passage {
            keys.extend(self.tunnelled());
        }
        if !self.intent.router.kernel_routes {
            keys = self.exported.clone();
        }
        keys.into_iter().filter_map(|key| self.export(key)).collect()
    }

    fn export(&mut self, key: NetKey) -> Option<Export> {
        let table = self.table_of(key.rib);
        let (hops, source, mtu) = match (table, self.intent.router.kernel_routes) {
            (Some(_), true) => self.export_ways(key).unwrap_or_default(),
            _ => Ways::default(),
        };
        let known = match hops.is_empty() {
            true => self.exported.remove(&key),
            false => !self.exported.insert(key),
        };
        let prefix = key.prefix();
        (known || !hops.is_empty()).then_some(Export { table: table?, prefix, hops, source, mtu })
    }

    /// Prefixes that files send through tunnels.
    fn tunnelled(&self) -> Vec<NetKey> {
        let through = |offer: &Offer| {
            let target = self.targets.get(offer.target);
            target.is_some_and(|target| target.outcome.members.iter().any(is_tunnel))
        };
        let offers = self.routes.values().filter_map(|entry| entry.candidate);
        let tunnelled = offers.filter(|found| self.rib.offer(*found).is_some_and(through));
        tunnelled.filter_map(|found| self.rib.key_of(found)).collect()
    }

    fn concerns_files(&self, key: NetKey) -> bool {
        let node = self.rib.find(key);
        self.exported.contains(&key) || node.is_some_and(|node| self.is_of_files(node))
    }

    /// Whether any candidate of a prefix comes from files.
    fn is_of_files(&self, node: u32) -> bool {
        self.rib.candidates(node).any(|(_, offer)| offer.source == Source::Intent)
    }

    fn export_ways(&self, key: NetKey) -> Option<Ways> {
        let node = self.rib.find(key)?;
        let force = self.rib.node(node)?.force;
        let winner = self.rib.ranked(node).into_iter().find(|offer| offer.target == force)?;
        if force == NIL || winner.source != Source::Intent {
            return None;
        }
        let members = &self.targets.get(force)?.outcome.members;
        if members.iter().any(is_tunnel) {
            // What goes through tunnels, programs of ours have to see.
            let source = self.intent.passage_source(key.prefix());
            let mtu = members.iter().map(|member| member.row.mtu).min();
            return Some((vec![(self.passage?, None, 1)], source, mtu));
        }
        let hops: Option<Vec<_>> = members.iter().map(hop).collect();
        Some((hops?, None, None))
    }
}

fn is_tunnel(member: &Member) -> bool {
    member.dress.tunnel.is_some()
}

/// A next hop that the kernel can have; none for one with labels.
fn hop(member: &Member) -> Option<(u32, Option<IpAddr>, u16)> {
    let plain = Dress { mtu: member.dress.mtu, session: member.dress.session, ..Dress::default() };
    let weight = member.weight.clamp(1, 256) as u16;
    match member.way {
        _ if member.dress != plain => None,
        Way::Neighbor(link, via) => Some((link, Some(via), weight)),
        Way::Link(link) => Some((link, None, weight)),
        _ => None,
    }
}
