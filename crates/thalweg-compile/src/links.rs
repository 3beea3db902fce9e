//! Which links are ours and why, and their rows in the data plane.

use crate::key::RibId;
use crate::pool::Pool;
use crate::vrfs::{DEFAULT, Vrfs};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use thalweg_abi::link::flag;
use thalweg_abi::{LinkRow, VrfId};
use thalweg_model::intent::{IcmpSource, Role, Rpf, TtlModel};
use thalweg_model::tunnel::PASSAGE;
use thalweg_model::{HostState, Intent, Key, Problem, Severity, host, intent};
use thalweg_wire::Mac;

/// How a link stands to the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Whether packets that arrive there are routed.
    pub ours: bool,
    /// Why, or why not, for people.
    pub reason: String,
    /// The intent object that decides.
    pub object: Option<String>,
    /// The RIB its packets are looked up in.
    pub rib: RibId,
    /// The RIB into which the kernel puts its connected prefixes.
    pub kernel_rib: RibId,
    /// The wishes of the object; defaults without one.
    pub wish: intent::Link,
    /// Page of VLAN sub-interfaces, 0 for none.
    pub page: u32,
}

/// Standing of all links, with VLAN pages.
#[derive(Debug)]
pub struct Links {
    standing: BTreeMap<u32, Standing>,
    pages: BTreeMap<u32, u32>,
    vlans: BTreeMap<(u32, u16), u32>,
    pool: Pool,
    page_limit: u32,
    link_limit: u32,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

/// What a refresh changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// Links whose standing is another.
    pub links: Vec<u32>,
    /// VLAN entries as (page, VLAN id, link).
    pub vlans: Vec<(u32, u16, u32)>,
}

impl Links {
    /// No links yet.
    pub fn new(limits: &intent::Limits) -> Self {
        Self {
            standing: BTreeMap::new(),
            pages: BTreeMap::new(),
            vlans: BTreeMap::new(),
            pool: Pool::new(1, limits.vlan_links),
            page_limit: limits.vlan_links,
            link_limit: limits.links,
            problems: Vec::new(),
        }
    }

    /// The standing of a link.
    pub fn get(&self, link: u32) -> Option<&Standing> {
        self.standing.get(&link)
    }

    /// The standing of all links, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Standing)> {
        self.standing.iter().map(|(link, standing)| (*link, standing))
    }

    /// The RIB that packets from a link are looked up in.
    pub fn rib(&self, link: u32) -> RibId {
        self.standing.get(&link).map_or(DEFAULT, |standing| standing.rib)
    }

    /// Whether a link leads to a workload.
    pub fn is_workload(&self, link: u32) -> bool {
        self.standing.get(&link).is_some_and(|standing| standing.ours && standing.wish.workload)
    }

    /// The largest packet a link takes, by kernel and intent.
    pub fn mtu(&self, link: &host::Link) -> u32 {
        let wish = self.standing.get(&link.index).and_then(|standing| standing.wish.mtu);
        wish.map_or(link.mtu, |wish| wish.min(link.mtu))
    }

    /// How long a link that came up again must stay up until packets use it.
    pub fn hold_up(&self, link: u32, router: &intent::Router) -> Duration {
        let wish = self.standing.get(&link).and_then(|standing| standing.wish.hold_up);
        wish.unwrap_or(router.hold_up)
    }

    /// Whether table `links` has a row for this index.
    pub fn has_row(&self, link: u32) -> bool {
        link < self.link_limit
    }

    /// The numbers that plans take from.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Classifies all links anew.
    pub fn refresh(&mut self, intent: &Intent, host: &HostState, vrfs: &Vrfs) -> Changed {
        self.problems.clear();
        self.report_objects(intent, host);
        let mut standing: BTreeMap<u32, Standing> = host
            .links
            .values()
            .map(|link| (link.index, self.classify(link, intent, host, vrfs)))
            .collect();
        let mut changed = Changed { vlans: self.pages(&mut standing, host), links: Vec::new() };
        for link in self.standing.keys().chain(standing.keys()) {
            if self.standing.get(link) != standing.get(link) {
                changed.links.push(*link);
            }
        }
        self.standing = standing;
        changed
    }

    fn classify(
        &mut self,
        link: &host::Link,
        intent: &Intent,
        host: &HostState,
        vrfs: &Vrfs,
    ) -> Standing {
        let by_master = link.master.and_then(|master| vrfs.device(master)).unwrap_or(DEFAULT);
        let mut standing = Standing {
            ours: false,
            reason: String::new(),
            object: None,
            rib: by_master,
            kernel_rib: by_master,
            wish: intent::Link::default(),
            page: 0,
        };
        let found = object_for(intent, &link.name);
        match found.as_slice() {
            [] if !intent.router.unlisted_links || link.name == PASSAGE[0] => {
                standing.reason = "no Link object names it".into();
                return standing;
            }
            [] => standing.reason = "routed like all links (unlistedLinks)".into(),
            [(name, object)] => {
                standing.object = Some((*name).to_owned());
                standing.wish = (*object).clone();
                standing.reason = format!("Link/{name}");
            }
            many => return self.conflict(link, many, intent, standing),
        }
        self.admit(link, intent, host, vrfs, standing)
    }

    /// Checks what a wished link is, and where it belongs.
    fn admit(
        &mut self,
        link: &host::Link,
        intent: &Intent,
        host: &HostState,
        vrfs: &Vrfs,
        mut standing: Standing,
    ) -> Standing {
        let object = standing.object.clone();
        if standing.wish.role == Role::Ignored {
            standing.reason = format!("ignored by {}", standing.reason);
            return standing;
        }
        if let Some(reason) = unroutable(link, host) {
            let exact = standing.wish.interfaces.contains(&link.name);
            if let Some(object) = object.filter(|_| exact) {
                let what = format!("interface {} is not routed: {reason}", link.name);
                let remedy = "name another interface, or set spec.role to Ignored";
                self.problem(intent, &object, Severity::Warning, "spec.interfaces", what, remedy);
            }
            standing.reason = reason;
            return standing;
        }
        if !self.has_row(link.index) {
            standing.reason = format!("its index {} is beyond spec.limits.links", link.index);
            let what = format!(
                "interface {} has index {}, but table links ends at {}; it is left to the kernel",
                link.name,
                link.index,
                self.link_limit.saturating_sub(1)
            );
            let remedy = "raise spec.limits.links of the Router object and restart the agent";
            let name = object.unwrap_or_default();
            self.problem(intent, &name, Severity::Error, "spec.interfaces", what, remedy);
            return standing;
        }
        if let Some(name) = standing.wish.vrf.clone() {
            let Some(vrf) = vrfs.get(&name) else {
                standing.reason = format!("its VRF {name} does not exist");
                let what =
                    format!("VRF {name} does not exist; {} is left to the kernel", link.name);
                let remedy = "add a Vrf object of that name, or correct the name";
                let object = object.unwrap_or_default();
                self.problem(intent, &object, Severity::Error, "spec.vrf", what, remedy);
                return standing;
            };
            standing.rib = vrf.rib;
        }
        standing.ours = true;
        standing
    }

    fn conflict(
        &mut self,
        link: &host::Link,
        objects: &[(&str, &intent::Link)],
        intent: &Intent,
        mut standing: Standing,
    ) -> Standing {
        let names: Vec<_> = objects.iter().map(|(name, _)| format!("Link/{name}")).collect();
        standing.reason = format!("claimed by {}", names.join(" and "));
        for (name, _) in objects {
            let others: Vec<_> = objects
                .iter()
                .filter(|(other, _)| other != name)
                .map(|(other, _)| format!("Link/{other} ({})", intent.origin("Link", other)))
                .collect();
            let what = format!(
                "interface {} is also claimed by {}; it is left to the kernel",
                link.name,
                others.join(" and ")
            );
            let remedy = "let one object name it, or name it exactly in one of them";
            self.problem(intent, name, Severity::Error, "spec.interfaces", what, remedy);
        }
        standing
    }

    /// Names that no interface has.
    fn report_objects(&mut self, intent: &Intent, host: &HostState) {
        // The agent makes what this host's stack needs.
        for (name, object) in intent.links.iter().filter(|(_, object)| !object.host) {
            for interface in object.interfaces.iter().filter(|name| !name.ends_with('*')) {
                if host.link_named(interface).is_none() {
                    let what = format!("there is no interface {interface} on this host (yet)");
                    let remedy = "correct the name, or create the interface";
                    self.problem(intent, name, Severity::Warning, "spec.interfaces", what, remedy);
                }
            }
        }
    }

    /// Finds the VLAN pages anew: one for every link under which a sub-interface of ours lies.
    fn pages(
        &mut self,
        standing: &mut BTreeMap<u32, Standing>,
        host: &HostState,
    ) -> Vec<(u32, u16, u32)> {
        let mut wanted: BTreeMap<(u32, u16), u32> = BTreeMap::new();
        let ours = host.links.values().filter(|l| standing.get(&l.index).is_some_and(|s| s.ours));
        for link in ours {
            let mut at = link;
            for _ in 0..thalweg_abi::nexthop::MAX_TAGS {
                let (Some((vid, _)), Some(lower)) = (at.vlan, at.lower) else { break };
                let Some(below) = host.links.get(&lower).filter(|l| self.has_row(l.index)) else {
                    break;
                };
                wanted.entry((lower, vid)).or_insert(at.index);
                at = below;
            }
        }
        let mut changes = Vec::new();
        let gone: Vec<_> = self.vlans.keys().filter(|k| !wanted.contains_key(k)).copied().collect();
        for (parent, vid) in gone {
            self.vlans.remove(&(parent, vid));
            if let Some(page) = self.pages.get(&parent) {
                changes.push((*page, vid, 0));
            }
        }
        let parents: Vec<u32> = self.pages.keys().copied().collect();
        for parent in parents {
            if wanted.range((parent, 0)..=(parent, u16::MAX)).next().is_none()
                && let Some(page) = self.pages.remove(&parent)
            {
                self.pool.give(page);
            }
        }
        for ((parent, vid), link) in wanted {
            let Some(page) = self.page(parent, host) else { continue };
            if self.vlans.insert((parent, vid), link) != Some(link) {
                changes.push((page, vid, link));
            }
            if let Some(standing) = standing.get_mut(&parent) {
                standing.page = page;
            }
        }
        changes
    }

    fn page(&mut self, parent: u32, host: &HostState) -> Option<u32> {
        if let Some(page) = self.pages.get(&parent) {
            return Some(*page);
        }
        if let Some(page) = self.pool.take() {
            self.pages.insert(parent, page);
            return Some(page);
        }
        let name = host.links.get(&parent).map_or("?", |link| &link.name);
        let what = format!(
            "VLANs of interface {name} are left to the kernel: all {} VLAN tables are taken",
            self.page_limit
        );
        if !self.problems.iter().any(|problem| problem.what == what) {
            self.problems.push(Problem {
                severity: Severity::Error,
                origin: Default::default(),
                object: None,
                field: None,
                what,
                remedy: "raise spec.limits.vlanLinks of the Router object and restart the agent"
                    .into(),
            });
        }
        None
    }

    /// The row of a link; `egress` tells whether next hops use it. Zero when nobody needs it.
    pub fn row(
        &self,
        link: u32,
        intent: &Intent,
        host: &HostState,
        vrf: VrfId,
        egress: bool,
    ) -> LinkRow {
        let (Some(facts), Some(standing)) = (host.links.get(&link), self.standing.get(&link))
        else {
            return LinkRow::default();
        };
        if !standing.ours && !egress && standing.page == 0 {
            return LinkRow::default();
        }
        let mut row = LinkRow {
            flags: if facts.up { flag::UP } else { 0 },
            mtu: self.mtu(facts),
            vlan_page: standing.page,
            mac: facts.mac.0,
            device: device(facts, host).map_or(link, |(device, _)| device),
            ..LinkRow::default()
        };
        if standing.ours {
            row.flags |= flags(&standing.wish, intent);
            row.vrf = vrf.0;
            let own = own_node(intent);
            (row.address4, row.address6) = primary_addresses(link, host, own);
            if standing.wish.workload || crate::nat::is_wanted(intent) {
                self.lend_addresses(&mut row, host, own);
            }
        }
        row
    }

    /// A link without an address, as workloads' often are, has another of this host's: errors come from
    /// there, and sources are translated to it.
    fn lend_addresses(&self, row: &mut LinkRow, host: &HostState, own: &[IpAddr]) {
        // A link-local address is known on its own link alone.
        let is_local = |address: &[u8; 16]| address[..2] == [0xfe, 0x80];
        for (other, facts) in &host.links {
            if facts.medium == "loopback" || self.is_workload(*other) {
                continue;
            }
            let (four, six) = primary_addresses(*other, host, own);
            if row.address4 == [0; 4] {
                row.address4 = four;
            }
            let none = row.address6 == [0; 16] || is_local(&row.address6);
            if none && six != [0; 16] && !is_local(&six) {
                row.address6 = six;
            }
        }
    }

    /// Links that lead to workloads.
    pub fn workloads(&self) -> impl Iterator<Item = u32> {
        self.iter().filter(|(_, standing)| standing.wish.workload).map(|(link, _)| link)
    }

    /// Whether frames of a link of ours come in through this one.
    pub fn is_carrier(&self, link: u32) -> bool {
        self.pages.contains_key(&link)
    }

    fn problem(
        &mut self,
        intent: &Intent,
        name: &str,
        severity: Severity,
        field: &str,
        what: String,
        remedy: &str,
    ) {
        let object = Key { kind: "Link".into(), name: name.into() };
        self.problems.push(Problem {
            severity,
            origin: intent.origin("Link", name),
            field: Some(field.to_owned()).filter(|_| !name.is_empty()),
            object: Some(object).filter(|_| !name.is_empty()),
            what,
            remedy: remedy.into(),
        });
    }
}

/// The best objects for an interface: exact names before patterns, longer patterns before shorter.
fn object_for<'a>(intent: &'a Intent, interface: &str) -> Vec<(&'a str, &'a intent::Link)> {
    let rank = |object: &intent::Link| {
        object.interfaces.iter().filter_map(|pattern| rank(pattern, interface)).max()
    };
    let ranked =
        intent.links.iter().filter_map(|(name, object)| Some((rank(object)?, name, object)));
    let mut best: Vec<(usize, &str, &intent::Link)> = Vec::new();
    for (rank, name, object) in ranked {
        if best.first().is_some_and(|first| first.0 > rank) {
            continue;
        }
        best.retain(|other| other.0 == rank);
        best.push((rank, name, object));
    }
    best.into_iter().map(|(_, name, object)| (name, object)).collect()
}

fn rank(pattern: &str, interface: &str) -> Option<usize> {
    match pattern.strip_suffix('*') {
        Some(start) => interface.starts_with(start).then_some(start.len()),
        None => (pattern == interface).then_some(usize::MAX),
    }
}

/// Why a link cannot be routed, from what it is.
fn unroutable(link: &host::Link, host: &HostState) -> Option<String> {
    if link.medium == "loopback" {
        return Some("loopback".into());
    }
    if link.vrf_table.is_some() || link.kind == "vrf" {
        return Some("a VRF device".into());
    }
    if !is_ethernet(link) {
        let what = if link.kind.is_empty() { &link.medium } else { &link.kind };
        return Some(format!("{what} without Ethernet header"));
    }
    let master = host.links.get(&link.master?)?;
    match master.kind.as_str() {
        "bridge" | "bond" | "team" | "openvswitch" => {
            Some(format!("member of {} {}", master.kind, master.name))
        }
        _ => None,
    }
}

/// Whether frames out of a link have an Ethernet header.
pub fn has_header(link: &host::Link) -> bool {
    is_ethernet(link) && link.mac != Mac::ZERO
}

fn is_ethernet(link: &host::Link) -> bool {
    matches!(link.medium.as_str(), "ether" | "")
}

fn flags(wish: &intent::Link, intent: &Intent) -> u32 {
    let rpf = match wish.rpf {
        Rpf::Off => 0,
        Rpf::Strict => flag::RPF_STRICT,
        Rpf::Loose => flag::RPF_LOOSE,
    };
    let when = |condition: bool, bit: u32| if condition { bit } else { 0 };
    flag::IPV4
        | flag::IPV6
        | rpf
        | when(wish.mpls, flag::MPLS)
        | when(wish.workload, flag::WORKLOAD)
        | when(wish.host, flag::HOST)
        | when(wish.source_route, flag::SOURCE_ROUTE)
        | when(wish.directed_broadcast, flag::DIRECTED_BROADCAST)
        | when(wish.ttl_model == TtlModel::Pipe, flag::PIPE)
        | when(intent.router.icmp == IcmpSource::Kernel, flag::KERNEL_ANSWERS)
}

/// Addresses of this host as a node of the cluster.
fn own_node(intent: &Intent) -> &[IpAddr] {
    let name = intent.router.node.as_deref().unwrap_or_default();
    intent.cluster.nodes.get(name).map_or(&[], |node| &node.addresses)
}

/// The addresses that errors come from, and that sources are translated to: of each family the node's
/// own, else the first global one, else the first that is alone in its prefix (which may move to another
/// host), else IPv6 link-local.
fn primary_addresses(link: u32, host: &HostState, own: &[IpAddr]) -> ([u8; 4], [u8; 16]) {
    let lowest = IpAddr::from([0, 0, 0, 0]);
    let highest = IpAddr::from([0xff; 16]);
    let mut best4 = None;
    let mut best6 = None;
    for address in host.addresses.range((link, lowest)..=(link, highest)).map(|(_, a)| a) {
        let global = address.scope == "global" || address.scope.is_empty();
        let node = own.contains(&address.address);
        match address.address {
            IpAddr::V4(a) if global => {
                let rank = if node { 0 } else { 1 + u8::from(address.len == 32) };
                if best4.is_none_or(|(other, _)| rank < other) {
                    best4 = Some((rank, a));
                }
            }
            IpAddr::V6(a) => {
                let rank = match !global || a.is_unicast_link_local() {
                    true => 3,
                    false if node => 0,
                    false => 1 + u8::from(address.len == 128),
                };
                if best6.is_none_or(|(other, _)| rank < other) {
                    best6 = Some((rank, a));
                }
            }
            IpAddr::V4(_) => {}
        }
    }
    (best4.map_or([0; 4], |(_, a)| a.octets()), best6.map_or([0; 16], |(_, a)| a.octets()))
}

/// The device that frames of a link leave through, and the tags they get, outermost first, as
/// (TPID, VLAN id). None when a sub-interface has no parent here.
pub fn device(link: &host::Link, host: &HostState) -> Option<(u32, Vec<(u16, u16)>)> {
    let mut at = link;
    let mut tags = Vec::new();
    while at.kind == "vlan" || at.vlan.is_some() {
        let (vid, tpid) = at.vlan?;
        tags.insert(0, (tpid, vid));
        at = host.links.get(&at.lower?)?;
        if tags.len() > 8 {
            return None;
        }
    }
    Some((at.index, tags))
}

/// The links below a VLAN sub-interface, from the next to the last.
pub fn lowers<'a>(link: &'a host::Link, host: &'a HostState) -> impl Iterator<Item = u32> + 'a {
    let below = |link: &host::Link| link.lower.filter(|_| link.vlan.is_some());
    std::iter::successors(below(link), move |at| below(host.links.get(at)?)).take(8)
}

/// How frames get out of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Egress {
    /// Interface index that frames leave through.
    pub device: u32,
    /// Tags, outermost first, as TPID and TCI.
    pub tags: Vec<[u8; 4]>,
    /// Source link address.
    pub mac: Mac,
}

/// How frames get out of a link, or why only the kernel can send there.
pub fn egress(link: &host::Link, host: &HostState) -> Result<Egress, String> {
    let name = &link.name;
    if !has_header(link) {
        return Err(format!("interface {name} has no Ethernet header"));
    }
    let Some((device, tags)) = device(link, host) else {
        return Err(format!("the parent of VLAN interface {name} is not in this namespace"));
    };
    if tags.len() > thalweg_abi::nexthop::MAX_TAGS {
        return Err(format!("interface {name} adds {} VLAN tags", tags.len()));
    }
    let tag = |(tpid, vid): (u16, u16)| {
        let ([a, b], [c, d]) = (tpid.to_be_bytes(), vid.to_be_bytes());
        [a, b, c, d]
    };
    Ok(Egress { device, tags: tags.into_iter().map(tag).collect(), mac: link.mac })
}
