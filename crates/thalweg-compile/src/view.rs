//! Compiled state in words: what `get`, `describe` and `explain` show.

use crate::compiler::Compiler;
use crate::groups::Group;
use crate::key::NetKey;
use crate::rib::{Class, Offer, Source};
use crate::slab::NIL;
use crate::target::{Member, State, Way};
use crate::tunnels;
use crate::vrfs::Feed;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::nexthop::kind;
use thalweg_abi::{GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, TunnelRow, VrfId};
use thalweg_model::host::{self, RouteKey};
use thalweg_model::intent::XdpWish;
use thalweg_model::{Key, Origin, Prefix, Teller};
use thalweg_wire::Mac;

/// Where a route comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RouteOrigin {
    /// An intent object and its place.
    Intent(Key, Origin),
    /// The kernel: table and protocol.
    Kernel {
        /// Kernel table.
        table: u32,
        /// `kernel`, `static`, `bgp`, ….
        protocol: String,
    },
    /// A routing suite, over FPM: table and protocol.
    Fpm {
        /// Kernel table that it stands for.
        table: u32,
        /// `bgp`, `ospf`, `static`, ….
        protocol: String,
    },
    /// An address of a link.
    Address(String),
    /// A resolved neighbor on a link.
    Neighbor(String),
}

/// How a route stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RouteState {
    /// Packets follow it.
    InForce,
    /// Another route to the same prefix is better.
    Shadowed,
    /// No next hop can be resolved.
    Unresolved,
    /// There was no number left for its group or next hops.
    NoRoom,
    /// Its table belongs to no VRF, or it has a TOS or is a multicast route.
    NotUsed,
}

/// A route as shown.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// VRF by name; the kernel table's number where no VRF has it.
    pub vrf: String,
    /// Number of the VRF, if it is in one.
    pub vrf_id: Option<VrfId>,
    /// Destinations.
    pub prefix: Prefix,
    /// Who wants it.
    pub origin: RouteOrigin,
    /// Metric.
    pub metric: u32,
    /// How it stands.
    pub state: RouteState,
    /// Its group, if in force.
    pub group: Option<GroupId>,
    /// What it does: `via 10.0.0.1 dev eth0`, `blackhole`, ….
    pub action: String,
}

/// A group as shown.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its number.
    pub id: GroupId,
    /// Prefixes and labels in force through it.
    pub uses: u32,
    /// Number of buckets.
    pub buckets: u32,
    /// Members with what they hold.
    pub members: Vec<MemberView>,
}

/// A member of a group as shown.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// Its row.
    pub nexthop: NextHopId,
    /// Weight after resolution.
    pub weight: u64,
    /// Buckets it holds.
    pub buckets: u32,
    /// In words.
    pub action: String,
}

/// A next hop row as shown.
#[derive(Clone, Debug)]
pub struct NextHopView {
    /// Its number.
    pub id: NextHopId,
    /// The row itself.
    pub row: NextHopRow,
    /// Name of its link, if it has one.
    pub link: Option<String>,
    /// Gateway or neighbor, if it is an adjacency or is to become one.
    pub gateway: Option<IpAddr>,
    /// Groups and rows that hold it.
    pub holders: u32,
    /// In words.
    pub action: String,
}

/// A label as shown.
#[derive(Clone, Debug)]
pub struct LabelView {
    /// The label.
    pub label: u32,
    /// The object and its place; for what was learned, `kernel` or `fpm` with the protocol.
    pub object: Key,
    /// Where it stands.
    pub origin: Origin,
    /// What is in force; none when nothing is.
    pub word: Option<IlmWord>,
    /// Its group.
    pub group: Option<GroupId>,
    /// In words.
    pub action: String,
}

/// A link as shown.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Whether packets that arrive there are routed.
    pub ours: bool,
    /// Whether a hook is needed there: it is ours and no VLAN sub-interface, or one of ours is
    /// stacked on it.
    pub attach: bool,
    /// Which hook the user wishes.
    pub wish: XdpWish,
    /// Why it is ours, or why not.
    pub reason: String,
    /// The deciding intent object.
    pub object: Option<String>,
    /// VRF by name.
    pub vrf: String,
    /// Whether it is up.
    pub up: bool,
    /// The MTU packets are held to.
    pub mtu: u32,
    /// Link address.
    pub mac: Mac,
    /// Its row in the data plane, if any.
    pub row: Option<LinkRow>,
}

/// A neighbor as shown.
#[derive(Clone, Debug)]
pub struct NeighborView {
    /// Interface index.
    pub link: u32,
    /// Interface name.
    pub link_name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, if known.
    pub mac: Option<Mac>,
    /// NUD state.
    pub state: String,
    /// Whether next hops use it.
    pub used: bool,
    /// Whether it has a host route of its own.
    pub host_route: bool,
}

/// A VRF as shown.
#[derive(Clone, Debug)]
pub struct VrfView {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: VrfId,
    /// Kernel table it learns.
    pub table: Option<u32>,
    /// Links of ours in it.
    pub links: Vec<String>,
    /// IPv4 prefixes known.
    pub ipv4: u32,
    /// IPv6 prefixes known.
    pub ipv6: u32,
}

impl Compiler {
    /// The routes of one VRF by name, or of all; sorted by VRF and prefix, best first. Includes
    /// kernel routes of tables without VRF when `vrf` is none.
    pub fn routes(&self, vrf: Option<&str>) -> Vec<RouteView> {
        let wanted = vrf.map(|name| self.vrfs.get(name).map(|vrf| vrf.rib));
        let mut nodes: Vec<(NetKey, u32)> = self
            .rib
            .nodes()
            .map(|(index, node)| (node.key, index))
            .filter(|(key, _)| wanted.is_none_or(|rib| rib == Some(key.rib)))
            .collect();
        nodes.sort_unstable();
        let mut views: Vec<RouteView> =
            nodes.into_iter().flat_map(|(_, node)| self.route_views(node)).collect();
        let unused = self.unused.iter().filter(|(key, _)| {
            let rib = self.ribs.find_table(key.table);
            wanted.is_none_or(|wanted| wanted.is_some() && wanted == rib)
        });
        views.extend(unused.filter_map(|(key, body)| self.unused_view(key, *body)));
        views
    }

    /// The candidates of one prefix, best first.
    pub fn routes_of(&self, vrf: &str, prefix: Prefix) -> Vec<RouteView> {
        let node = self.vrfs.get(vrf).and_then(|v| self.rib.find(NetKey::new(v.rib, prefix)));
        node.map(|node| self.route_views(node)).unwrap_or_default()
    }

    /// The route that packets to an address follow.
    pub fn route_for(&self, vrf: VrfId, address: IpAddr) -> Option<RouteView> {
        let rib = self.vrfs.iter().find(|(_, found)| found.id == vrf)?.1.rib;
        let node = self
            .rib
            .covers(rib, address)
            .find(|node| self.rib.node(*node).is_some_and(|node| node.force != NIL))?;
        self.route_views(node).into_iter().find(|view| view.state == RouteState::InForce)
    }

    /// The intent route that is in force at a prefix, by name.
    pub(crate) fn owner(&self, vrf: VrfId, prefix: Prefix) -> Option<String> {
        let rib = self.vrfs.iter().find(|(_, found)| found.id == vrf)?.1.rib;
        let node = self.rib.find(NetKey::new(rib, prefix))?;
        let force = self.rib.node(node)?.force;
        let mut offers = self.rib.candidates(node).map(|(_, offer)| offer);
        let offer = offers.find(|o| o.target == force && o.source == Source::Intent)?;
        self.route_names.get(offer.data).cloned()
    }

    fn route_views(&self, node: u32) -> Vec<RouteView> {
        let Some((key, force)) = self.rib.node(node).map(|node| (node.key, node.force)) else {
            return Vec::new();
        };
        let mut chosen = false;
        let views = self.rib.ranked(node).into_iter().map(|offer| {
            let in_force = !chosen && force != NIL && offer.target == force;
            chosen |= in_force;
            self.route_view(key, offer, in_force)
        });
        views.collect()
    }

    fn route_view(&self, key: NetKey, offer: &Offer, in_force: bool) -> RouteView {
        let vrf_id = self.ribs.vrf(key.rib);
        let state = match self.targets.state(offer.target) {
            _ if in_force => RouteState::InForce,
            _ if vrf_id.is_none() => RouteState::NotUsed,
            State::Unresolvable => RouteState::Unresolved,
            _ if self.pending.starved.contains(&offer.target) => RouteState::NoRoom,
            _ => RouteState::Shadowed,
        };
        let group = self.groups.get(offer.target).map(|group| group.id);
        RouteView {
            vrf: self.vrf_name(key),
            vrf_id,
            prefix: key.prefix(),
            origin: self.route_origin(key, offer),
            metric: if offer.class == Class::Host { 0 } else { offer.metric },
            state,
            group: group.filter(|_| in_force),
            action: self.action(offer.target),
        }
    }

    fn vrf_name(&self, key: NetKey) -> String {
        let id = self.ribs.vrf(key.rib);
        match id.and_then(|id| self.vrfs.name(id)) {
            Some(name) => name.into(),
            None => match self.ribs.feed(key.rib) {
                Some(Feed::Table(table)) => format!("table {table}"),
                Some(Feed::Vrf(name)) => name.clone(),
                None => String::new(),
            },
        }
    }

    fn route_origin(&self, key: NetKey, offer: &Offer) -> RouteOrigin {
        match offer.source {
            Source::Intent => {
                let name = self.route_names.get(offer.data).cloned().unwrap_or_default();
                let origin = self.intent.origin("Route", &name);
                RouteOrigin::Intent(Key { kind: "Route".into(), name }, origin)
            }
            Source::Kernel | Source::KernelLocal | Source::Fpm => {
                let table = self.route_key(key, offer).map_or(0, |key| key.table);
                let body = self.bodies.get(offer.data);
                let protocol = body.map(|body| body.route.protocol.clone()).unwrap_or_default();
                match offer.source {
                    Source::Fpm => RouteOrigin::Fpm { table, protocol },
                    _ => RouteOrigin::Kernel { table, protocol },
                }
            }
            Source::Own | Source::Broadcast | Source::Connected => {
                RouteOrigin::Address(self.link_name(offer.data))
            }
            Source::Neighbor => RouteOrigin::Neighbor(self.link_name(offer.data)),
        }
    }

    fn unused_view(&self, key: &RouteKey, body: u32) -> Option<RouteView> {
        let route = &self.bodies.get(body)?.route;
        let rib = self.ribs.find_table(key.table);
        let net = NetKey::new(rib.unwrap_or_default(), key.prefix);
        Some(RouteView {
            vrf: match rib {
                Some(_) => self.vrf_name(net),
                None => format!("table {}", key.table),
            },
            vrf_id: rib.and_then(|rib| self.ribs.vrf(rib)),
            prefix: key.prefix,
            origin: RouteOrigin::Kernel { table: key.table, protocol: route.protocol.clone() },
            metric: key.metric,
            state: RouteState::NotUsed,
            group: None,
            action: self.kernel_action(route),
        })
    }

    fn kernel_action(&self, route: &host::Route) -> String {
        let hop = |hop: &host::NextHop| {
            let via = hop.via.map(|via| format!("via {via} ")).unwrap_or_default();
            format!("{via}dev {}", self.link_name(hop.link))
        };
        match route.kind {
            host::RouteKind::Unicast => {
                route.nexthops.iter().map(hop).collect::<Vec<_>>().join(", ")
            }
            kind => format!("{kind:?}").to_lowercase(),
        }
    }

    /// What a target does, in words.
    fn action(&self, target: u32) -> String {
        let Some(target) = self.targets.get(target) else { return String::new() };
        let members = &target.outcome.members;
        if members.is_empty() {
            let cause = target.outcome.issues.first();
            return cause.map_or_else(|| "unresolved".into(), |issue| issue.what.clone());
        }
        let total = members.len();
        let words = members.iter().map(|member| self.member_action(member, total));
        words.collect::<Vec<_>>().join(", ")
    }

    fn member_action(&self, member: &Member, total: usize) -> String {
        let mut words = self.way_action(member.way);
        if !member.dress.labels.is_empty() {
            let labels: Vec<_> = member.dress.labels.iter().map(u32::to_string).collect();
            words.push_str(&format!(" labels {}", labels.join("/")));
        }
        if member.dress.entropy {
            words.push_str(" entropy");
        }
        if let Some(tunnel) = &member.dress.tunnel {
            words.push_str(&format!(" {}", tunnels::words(tunnel)));
        }
        if let Some(session) = self.sessions.name(member.dress.session) {
            words.push_str(&format!(" bfd {session}"));
        }
        if total > 1 {
            words.push_str(&format!(" weight {}", member.weight));
        }
        if let Some(backup) = member.own_backup() {
            words.push_str(&format!(" (backup {})", self.member_action(backup, 1)));
        }
        if !member.alive {
            words.push_str(" (down)");
        }
        words
    }

    fn way_action(&self, way: Way) -> String {
        match way {
            Way::Neighbor(link, via) => format!("via {via} dev {}", self.link_name(link)),
            Way::Link(link) => format!("dev {}", self.link_name(link)),
            Way::Deliver => "local".into(),
            Way::Broadcast(link) => format!("broadcast dev {}", self.link_name(link)),
            Way::Blackhole => "blackhole".into(),
            Way::Unreachable => "unreachable".into(),
            Way::Prohibit => "prohibit".into(),
            Way::Throw => "throw".into(),
            Way::Lookup(rib) => {
                let name = self.ribs.vrf(rib).and_then(|id| self.vrfs.name(id)).unwrap_or("?");
                format!("lookup vrf {name}")
            }
        }
    }

    /// Name of a link, or its index where it is gone.
    pub fn link_name(&self, link: u32) -> String {
        self.host.links.get(&link).map_or_else(|| format!("if{link}"), |link| link.name.clone())
    }

    /// A group in force.
    pub fn group(&self, id: GroupId) -> Option<GroupView> {
        let target = self.groups.target(id)?;
        self.groups.get(target).map(|group| self.group_view(target, group))
    }

    /// All groups in force, by number.
    pub fn groups(&self) -> Vec<GroupView> {
        let mut views: Vec<_> =
            self.groups.iter().map(|(target, group)| self.group_view(target, group)).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    fn group_view(&self, target: u32, group: &Group) -> GroupView {
        let mut held = vec![0; group.members.len()];
        for bucket in &group.buckets {
            held[*bucket] += 1;
        }
        let members = group.members.iter().zip(&group.rows).zip(held);
        GroupView {
            id: group.id,
            uses: self.targets.get(target).map_or(0, |target| target.uses),
            buckets: group.buckets.len() as u32,
            members: members
                .map(|((member, row), buckets)| MemberView {
                    nexthop: NextHopId(*row),
                    weight: member.weight,
                    buckets,
                    action: self.member_action(member, 1),
                })
                .collect(),
        }
    }

    /// A next hop in force.
    pub fn nexthop(&self, id: NextHopId) -> Option<NextHopView> {
        let row = *self.rows.get(id)?;
        let holders = self.rows.iter().find(|(other, ..)| *other == id).map_or(0, |found| found.2);
        Some(self.nexthop_view(id, row, holders, &self.ways()))
    }

    /// All next hops in force, by number.
    pub fn nexthops(&self) -> Vec<NextHopView> {
        let ways = self.ways();
        let views = self.rows.iter();
        views.map(|(id, row, holders)| self.nexthop_view(id, *row, holders, &ways)).collect()
    }

    /// What each row stands for.
    fn ways(&self) -> BTreeMap<u32, Member> {
        let mut ways = BTreeMap::new();
        for (_, group) in self.groups.iter() {
            for (member, row) in group.members.iter().zip(&group.rows) {
                ways.entry(*row).or_insert_with(|| member.clone());
                let backup = self.rows.get(NextHopId(*row)).map_or(0, |row| row.backup);
                if let Some(spare) = member.backup.as_deref().filter(|_| backup != 0) {
                    ways.entry(backup).or_insert_with(|| spare.clone());
                }
            }
        }
        ways
    }

    fn nexthop_view(
        &self,
        id: NextHopId,
        row: NextHopRow,
        holders: u32,
        ways: &BTreeMap<u32, Member>,
    ) -> NextHopView {
        let has_link = matches!(row.kind, kind::ADJACENT | kind::UNRESOLVED | kind::BROADCAST);
        let member = ways.get(&id.0);
        NextHopView {
            id,
            row,
            link: has_link.then(|| self.link_name(row.link)),
            gateway: member.and_then(|member| match member.way {
                Way::Neighbor(_, via) => Some(via),
                _ => None,
            }),
            holders,
            action: match TunnelRow::of(&row) {
                Some(tunnel) => tunnels::row_words(tunnel),
                None => member.map(|member| self.member_action(member, 1)).unwrap_or_default(),
            },
        }
    }

    /// All label bindings, by label and object.
    pub fn labels(&self) -> Vec<LabelView> {
        let mut views: Vec<_> = self
            .intent
            .labels
            .iter()
            .map(|(name, label)| {
                let number = label.label.get();
                let ours = self.index.label_owner(number) == Some(name);
                let word = self.published.labels.get(&number).copied().filter(|_| ours);
                let entry = self.labels.get(name);
                let lookup = entry.and_then(|entry| entry.lookup).map(Way::Lookup);
                let target = entry.and_then(|entry| entry.target);
                LabelView {
                    label: number,
                    object: Key { kind: "LabelRoute".into(), name: name.clone() },
                    origin: self.intent.origin("LabelRoute", name),
                    word,
                    group: word.filter(|w| w.is_forward()).map(|word| GroupId(word.group())),
                    action: match (lookup, target) {
                        (Some(way), _) => self.way_action(way),
                        (None, Some(target)) => self.action(target),
                        (None, None) => "not in force".into(),
                    },
                }
            })
            .chain(self.lsps.iter().map(|(label, teller, _)| self.lsp_view(label, teller)))
            .collect();
        views.sort_by(|a, b| (a.label, &a.object).cmp(&(b.label, &b.object)));
        views
    }

    /// Labels that objects bind and that were learned.
    pub fn label_count(&self) -> u32 {
        (self.intent.labels.len() + self.lsps.len()) as u32
    }

    fn lsp_view(&self, label: u32, teller: Teller) -> LabelView {
        let target = self.lsps.target(label, teller);
        let ours = self.lsp_in_force(label).is_some_and(|(best, _)| best == teller);
        let word = self.published.labels.get(&label).copied().filter(|_| ours);
        let origin = crate::problems::origin_of(teller);
        let route = self.lsps.route(label, teller);
        let protocol = route.map(|route| route.protocol.as_str()).unwrap_or_default();
        LabelView {
            label,
            object: Key {
                kind: origin.file.clone(),
                name: format!("{} {protocol}", origin.file).trim_end().into(),
            },
            origin,
            word,
            group: word.filter(|w| w.is_forward()).map(|word| GroupId(word.group())),
            action: target.map_or_else(|| "not in force".into(), |target| self.action(target)),
        }
    }

    /// Whether packets follow what a routing suite told of a prefix.
    pub fn follows_fpm(&self, key: &RouteKey) -> bool {
        let Some(rib) = self.ribs.find_table(key.table) else { return false };
        let net = NetKey::new(rib, key.prefix);
        let Some(node) = self.rib.find(net) else { return false };
        let force = self.rib.node(node).map_or(NIL, |node| node.force);
        let mut offers = self.rib.candidates(node).map(|(_, offer)| offer);
        let ours = |o: &Offer| o.source == Source::Fpm && o.target == force;
        force != NIL
            && self.ribs.vrf(rib).is_some_and(|vrf| !self.is_refused(vrf, key.prefix))
            && offers.any(ours)
    }

    /// The binding of a label that is in force.
    pub fn label(&self, label: u32) -> Option<LabelView> {
        self.labels().into_iter().find(|view| view.label == label && view.word.is_some())
    }

    /// All links, by index.
    pub fn links(&self) -> Vec<LinkView> {
        self.host.links.values().map(|link| self.link_view(link)).collect()
    }

    /// One link.
    pub fn link(&self, index: u32) -> Option<LinkView> {
        self.host.links.get(&index).map(|link| self.link_view(link))
    }

    fn link_view(&self, link: &host::Link) -> LinkView {
        let standing = self.links.get(link.index);
        let ours = standing.is_some_and(|standing| standing.ours);
        let vrf = self.ribs.vrf(self.links.rib(link.index)).and_then(|id| self.vrfs.name(id));
        LinkView {
            index: link.index,
            name: link.name.clone(),
            ours,
            attach: (ours && link.vlan.is_none())
                || (self.links.is_carrier(link.index) && link.vlan.is_none()),
            wish: standing.map(|standing| standing.wish.xdp).unwrap_or_default(),
            reason: standing.map(|standing| standing.reason.clone()).unwrap_or_default(),
            object: standing.and_then(|standing| standing.object.clone()),
            vrf: vrf.unwrap_or_default().into(),
            up: link.up,
            mtu: self.links.mtu(link),
            mac: link.mac,
            row: self.published.links.get(&link.index).copied(),
        }
    }

    /// All neighbors, by link and address.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        let used: BTreeSet<(u32, IpAddr)> = self
            .groups
            .iter()
            .flat_map(|(_, group)| &group.members)
            .flat_map(|member| std::iter::once(member).chain(member.backup.as_deref()))
            .filter_map(|member| match member.way {
                Way::Neighbor(link, via) => Some((link, via)),
                _ => None,
            })
            .collect();
        let view = |neighbor: &host::Neighbor| {
            let key = (neighbor.link, neighbor.address);
            NeighborView {
                link: neighbor.link,
                link_name: self.link_name(neighbor.link),
                address: neighbor.address,
                mac: neighbor.mac,
                state: neighbor.state.clone(),
                used: used.contains(&key),
                host_route: self.hosts.contains_key(&key),
            }
        };
        self.host.neighbors.values().map(view).collect()
    }

    /// All VRFs, by number.
    pub fn vrfs(&self) -> Vec<VrfView> {
        let mut views: Vec<_> = self
            .vrfs
            .iter()
            .map(|(name, vrf)| VrfView {
                name: name.into(),
                id: vrf.id,
                table: self.table_of(vrf.rib),
                links: self
                    .host
                    .links
                    .values()
                    .filter(|l| self.links.get(l.index).is_some_and(|s| s.ours && s.rib == vrf.rib))
                    .map(|link| link.name.clone())
                    .collect(),
                ipv4: self.rib.count(vrf.rib, false),
                ipv6: self.rib.count(vrf.rib, true),
            })
            .collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Name of a VRF by number.
    pub fn vrf_name_of(&self, id: VrfId) -> Option<&str> {
        self.vrfs.name(id)
    }

    /// Gateways of intent routes and labels that the kernel must be asked to resolve, because no
    /// packet of its own would make it: by interface index and address.
    pub fn wanted_neighbors(&self) -> BTreeSet<(u32, IpAddr)> {
        let mut wanted = self.own_gateways();
        wanted.retain(|key| {
            let neighbor = self.host.neighbors.get(key);
            neighbor.and_then(crate::neighbor::resolved).is_none()
        });
        wanted
    }

    /// Whether any label in force comes off without another in its place.
    pub fn takes_labels_off(&self) -> bool {
        use thalweg_model::intent::LabelAction;
        self.intent.labels.values().any(|label| match &label.action {
            LabelAction::Vrf(_) => true,
            LabelAction::Forward(hops) => hops.iter().any(|hop| hop.labels.is_empty()),
        })
    }

    /// Whether labelled frames that arrive at a link are switched.
    pub fn accepts_labels(&self, link: u32) -> bool {
        self.published
            .links
            .get(&link)
            .is_some_and(|row| row.flags & thalweg_abi::link::flag::MPLS != 0)
    }

    /// All gateways of intent routes and labels, and of the tunnels to other nodes, resolved or not.
    pub fn own_gateways(&self) -> BTreeSet<(u32, IpAddr)> {
        self.index
            .targets()
            .chain(self.lsps.own_targets())
            .chain(self.nodes.own_targets())
            .filter_map(|target| self.targets.get(target))
            .flat_map(|target| &target.outcome.facts)
            .filter_map(|fact| match fact {
                crate::target::Fact::Neighbor(link, via) => Some((*link, *via)),
                _ => None,
            })
            .collect()
    }
}
