//! The compiler: holds intent and host state, notes what changes, compiles it when asked.

use crate::groups::Groups;
use crate::kernel::{self, Bodies};
use crate::key::{AddrKey, NetKey, RibId};
use crate::links::Links;
use crate::neighbor;
use crate::objects::{self, LabelEntry, RouteEntry};
use crate::rib::{Class, Offer, Rib, Source};
use crate::rows::Rows;
use crate::slab::Slab;
use crate::target::{Fact, TargetKey, Targets, Way};
use crate::vrfs::{DEFAULT, Feed, LOCAL, MAIN, Ribs, Vrfs};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::{IlmWord, LinkRow, SettingsRow, own, table::OWN_WORDS};
use thalweg_image::Change;
use thalweg_model::host::{self, RouteKey, Update};
use thalweg_model::intent::Limits;
use thalweg_model::{HostState, Intent, Prefix, Problem};

/// Compiles intent and host state into plans, each time only what changed.
///
/// Pure: no I/O, no clock, no randomness. The same sequence of calls gives the same plans.
#[derive(Debug)]
pub struct Compiler {
    pub(crate) intent: Intent,
    /// Without routes: those are in `rib` and `unused`.
    pub(crate) host: HostState,
    pub(crate) limits: Limits,
    pub(crate) seed: u64,
    pub(crate) bodies: Bodies,
    /// Kernel routes that are shown but never in force.
    pub(crate) unused: BTreeMap<RouteKey, u32>,
    pub(crate) rib: Rib,
    pub(crate) ribs: Ribs,
    pub(crate) vrfs: Vrfs,
    pub(crate) links: Links,
    pub(crate) names: BTreeMap<String, u32>,
    pub(crate) targets: Targets,
    pub(crate) rows: Rows,
    pub(crate) groups: Groups,
    pub(crate) routes: BTreeMap<String, RouteEntry>,
    pub(crate) route_names: Slab<String>,
    pub(crate) labels: BTreeMap<String, LabelEntry>,
    pub(crate) index: ObjectIndex,
    /// Candidates made of addresses.
    derived: BTreeMap<(u32, IpAddr), Vec<u32>>,
    /// Host routes of neighbors, and the addresses whose covering route decides about them.
    pub(crate) hosts: BTreeMap<(u32, IpAddr), u32>,
    pub(crate) watched: BTreeSet<(AddrKey, u32)>,
    pub(crate) watching: BTreeMap<(u32, IpAddr), AddrKey>,
    own: OwnBits,
    pub(crate) published: Published,
    pub(crate) pending: Pending,
    pub(crate) refused: BTreeMap<String, (Problem, Change)>,
    pub(crate) generation: u64,
}

/// Intent objects by what they have in common.
#[derive(Debug, Default)]
pub(crate) struct ObjectIndex {
    routes: BTreeMap<(String, Prefix, u32), BTreeSet<String>>,
    labels: BTreeMap<u32, BTreeSet<String>>,
    devices: BTreeMap<String, BTreeSet<(bool, String)>>,
    /// Labels by target.
    pub(crate) by_target: BTreeMap<u32, BTreeSet<String>>,
}

/// What the plane has.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) settings: Option<SettingsRow>,
    pub(crate) links: BTreeMap<u32, LinkRow>,
    /// Words by label.
    pub(crate) labels: BTreeMap<u32, IlmWord>,
    /// Targets in force by object name.
    pub(crate) label_targets: BTreeMap<String, u32>,
    pub(crate) own: Vec<u64>,
}

/// What the next plan must look at.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) structure: bool,
    pub(crate) links: BTreeSet<u32>,
    pub(crate) neighbors: BTreeSet<(u32, IpAddr)>,
    pub(crate) routes: BTreeSet<String>,
    pub(crate) labels: BTreeSet<String>,
    /// Label words to look at again, though the objects are the same.
    pub(crate) words: BTreeSet<String>,
    /// Labels that lost their object.
    pub(crate) lost_labels: BTreeSet<u32>,
    /// Targets that got no number of a group or next hop.
    pub(crate) starved: BTreeSet<u32>,
    /// Groups that could not be re-issued.
    pub(crate) stale: BTreeSet<u32>,
    /// Targets that may be unused now.
    pub(crate) idle: Vec<u32>,
}

/// How many own addresses hash to each bit.
#[derive(Debug)]
struct OwnBits(Vec<u32>);

impl OwnBits {
    fn bit(address: IpAddr) -> Option<usize> {
        Some(match address {
            IpAddr::V4(a) => own::bit4(a.to_bits()) as usize,
            IpAddr::V6(_) if crate::key::is_link_local(address) => return None,
            IpAddr::V6(a) => own::bit6((a.to_bits() >> 64) as u64, a.to_bits() as u64) as usize,
        })
    }

    fn count(&mut self, address: IpAddr, step: i32) {
        if let Some(count) = Self::bit(address).and_then(|bit| self.0.get_mut(bit)) {
            *count = count.saturating_add_signed(step);
        }
    }

    fn words(&self) -> Vec<u64> {
        let word = |bits: &[u32]| {
            let set = bits.iter().enumerate().filter(|(_, count)| **count > 0);
            set.fold(0, |word, (bit, _)| word | 1 << bit)
        };
        self.0.chunks(64).map(word).collect()
    }
}

impl Compiler {
    /// A compiler for tables of these sizes, with empty intent on an empty host.
    pub fn new(limits: Limits) -> Self {
        Self {
            intent: Intent::default(),
            host: HostState::default(),
            seed: SettingsRow::default().seed,
            bodies: Bodies::default(),
            unused: BTreeMap::new(),
            rib: Rib::default(),
            ribs: Ribs::default(),
            vrfs: Vrfs::new(limits.vrfs),
            links: Links::new(&limits),
            names: BTreeMap::new(),
            targets: Targets::default(),
            rows: Rows::new(limits.nexthops),
            groups: Groups::new(limits.groups),
            routes: BTreeMap::new(),
            route_names: Slab::default(),
            labels: BTreeMap::new(),
            index: ObjectIndex::default(),
            derived: BTreeMap::new(),
            hosts: BTreeMap::new(),
            watched: BTreeSet::new(),
            watching: BTreeMap::new(),
            own: OwnBits(vec![0; OWN_WORDS as usize * 64]),
            published: Published::default(),
            pending: Pending { structure: true, ..Pending::default() },
            refused: BTreeMap::new(),
            generation: 0,
            limits,
        }
    }

    /// The seed of flow hashes where the intent names none.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// The intent that plans follow.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Sizes of the tables that plans are made for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of the last image.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Links, addresses, neighbors and next hop objects as last reported; no routes.
    pub fn host_facts(&self) -> &HostState {
        &self.host
    }

    /// Everything the kernel reported. Builds the routes anew: not for every packet or event.
    pub fn host(&self) -> HostState {
        let mut host = self.host.clone();
        host.routes = self.kernel_routes().map(|(key, route)| (key, route.clone())).collect();
        host
    }

    /// All kernel routes, in no order.
    pub fn kernel_routes(&self) -> impl Iterator<Item = (RouteKey, &host::Route)> {
        let unused = self.unused.iter().map(|(key, body)| (key.clone(), *body));
        let used = self.rib.nodes().flat_map(|(index, node)| {
            let offers = self.rib.candidates(index);
            offers.filter_map(|(_, offer)| Some((self.route_key(node.key, offer)?, offer.data)))
        });
        unused.chain(used).filter_map(|(key, body)| Some((key, &self.bodies.get(body)?.route)))
    }

    /// The kernel's key of a candidate, if it is the kernel's.
    pub(crate) fn route_key(&self, key: NetKey, offer: &Offer) -> Option<RouteKey> {
        let table = match (offer.source, self.ribs.feed(key.rib)?) {
            (Source::KernelLocal, _) => LOCAL,
            (Source::Kernel, Feed::Table(table)) => *table,
            _ => return None,
        };
        let (metric, instance) = (offer.metric, offer.instance);
        Some(RouteKey { table, prefix: key.prefix(), metric, tos: 0, instance })
    }

    /// Feeds a whole host state, for example the kernel's first dump.
    pub fn load_host(&mut self, host: HostState) {
        let HostState { links, addresses, neighbors, routes, nexthops } = host;
        let updates = links.into_values().map(Update::Link);
        let updates = updates.chain(addresses.into_values().map(Update::Address));
        let updates = updates.chain(neighbors.into_values().map(Update::Neighbor));
        let updates = updates.chain(nexthops.into_iter().map(|(id, o)| Update::NextHop(id, o)));
        for update in updates.chain(routes.into_iter().map(|(key, r)| Update::Route(key, r))) {
            self.update_host(update);
        }
    }

    /// Replaces the intent and notes which objects changed.
    pub fn set_intent(&mut self, intent: Intent) {
        let old = std::mem::replace(&mut self.intent, intent);
        if old.links != self.intent.links
            || old.vrfs != self.intent.vrfs
            || old.router != self.intent.router
        {
            self.pending.structure = true;
        }
        if old.router != self.intent.router {
            self.pending.links.extend(self.host.links.keys());
        }
        for (name, route) in &old.routes {
            if self.intent.routes.get(name) != Some(route) {
                self.index.forget_route(name, route, &mut self.pending);
            }
        }
        for (name, route) in &self.intent.routes {
            if old.routes.get(name) != Some(route) {
                self.index.learn_route(name, route, &mut self.pending);
            }
        }
        for (name, label) in &old.labels {
            if self.intent.labels.get(name) != Some(label) {
                self.index.forget_label(name, label, &mut self.pending);
            }
        }
        for (name, label) in &self.intent.labels {
            if old.labels.get(name) != Some(label) {
                self.index.learn_label(name, label, &mut self.pending);
            }
        }
    }

    /// Notes one change of the host.
    pub fn update_host(&mut self, update: Update) {
        match update {
            Update::Route(key, route) => self.set_route(key, Some(route)),
            Update::RouteGone(key) => self.set_route(key, None),
            Update::Link(link) => self.set_link(link),
            Update::LinkGone(link) => self.drop_link(link),
            Update::Address(address) => self.set_address(address),
            Update::AddressGone(link, address) => self.drop_address(link, address),
            Update::Neighbor(neighbor) => {
                let key = (neighbor.link, neighbor.address);
                self.set_neighbor(key, Update::Neighbor(neighbor));
            }
            Update::NeighborGone(link, address) => {
                self.set_neighbor((link, address), Update::NeighborGone(link, address));
            }
            Update::NextHop(id, object) => self.set_object(id, Update::NextHop(id, object)),
            Update::NextHopGone(id) => self.set_object(id, Update::NextHopGone(id)),
        }
    }

    fn set_route(&mut self, key: RouteKey, route: Option<host::Route>) {
        let used = route.as_ref().is_some_and(|route| kernel::is_candidate(&key, route));
        let Some(rib) = self.ribs.of_table(key.table) else { return };
        let source = if key.table == LOCAL { Source::KernelLocal } else { Source::Kernel };
        let net = NetKey::new(rib, key.prefix);
        let old = self.rib.find(net).and_then(|node| {
            let mut offers = self.rib.candidates(node);
            offers.find(|(_, o)| {
                o.source == source && o.metric == key.metric && o.instance == key.instance
            })
        });
        let old = old.filter(|_| key.tos == 0).map(|(index, offer)| (index, offer.data));
        let body = route.map(|route| self.bodies.hold(route));
        if used && body.is_some() && old.map(|(_, body)| body) == body {
            self.release_body(body);
            return;
        }
        if let Some((candidate, body)) = old {
            self.remove_candidate(candidate);
            self.release_body(Some(body));
        }
        if !self.unused.is_empty() {
            let gone = self.unused.remove(&key);
            self.release_body(gone);
        }
        match body {
            Some(body) if used => self.offer_kernel(net, &key, source, body),
            Some(body) => {
                self.unused.insert(key, body);
            }
            None => {}
        }
    }

    fn offer_kernel(&mut self, net: NetKey, key: &RouteKey, source: Source, number: u32) {
        let Some(body) = self.bodies.get(number) else { return };
        let class = kernel::class(&body.route);
        let target = match body.target {
            Some(target) => target,
            None => {
                let (wanted, plain) = kernel::target(&body.route, net.rib);
                let target = self.targets.intern(wanted);
                if plain {
                    if let Some(body) = self.bodies.get_mut(number) {
                        body.target = Some(target);
                    }
                    self.hold_target(target, 1);
                }
                target
            }
        };
        let (metric, instance) = (key.metric, key.instance);
        self.rib.add(net, Offer { class, metric, source, instance, data: number, target });
    }

    fn release_body(&mut self, body: Option<u32>) {
        if let Some(target) = body.and_then(|body| self.bodies.release(body)) {
            self.hold_target(target, -1);
        }
    }

    /// Counts a holder of a target in or out.
    pub(crate) fn hold_target(&mut self, target: u32, step: i32) {
        if let Some(cell) = self.targets.get_mut(target) {
            cell.holders = cell.holders.saturating_add_signed(step);
            if step < 0 {
                self.pending.idle.push(target);
            }
        }
    }

    pub(crate) fn remove_candidate(&mut self, candidate: u32) {
        if let Some(offer) = self.rib.remove(candidate) {
            self.pending.idle.push(offer.target);
        }
    }

    fn set_link(&mut self, link: host::Link) {
        let index = link.index;
        let old = self.host.links.get(&index).cloned();
        if old.as_ref() == Some(&link) {
            return;
        }
        let moved = old.as_ref().is_some_and(|old| old.up != link.up);
        let shape = |l: &host::Link| {
            let name = (l.name.clone(), l.kind.clone(), l.medium.clone());
            (name, l.lower, l.master, l.vlan, l.vrf_table)
        };
        self.pending.structure |= old.as_ref().map(shape) != Some(shape(&link));
        self.host.apply(Update::Link(link));
        self.pending.links.insert(index);
        self.targets.mark_fact(Fact::Link(index));
        if moved && self.links.get(index).is_some_and(|s| s.rib != s.kernel_rib) {
            self.derive_all(index);
        }
    }

    fn drop_link(&mut self, index: u32) {
        if !self.host.links.contains_key(&index) {
            return;
        }
        for address in self.addresses_of(index) {
            self.drop_address(index, address);
        }
        for address in self.neighbors_of(index) {
            self.set_neighbor((index, address), Update::NeighborGone(index, address));
        }
        self.host.apply(Update::LinkGone(index));
        self.pending.structure = true;
        self.pending.links.insert(index);
        self.targets.mark_fact(Fact::Link(index));
    }

    fn addresses_of(&self, link: u32) -> Vec<IpAddr> {
        self.host.addresses.range(of_link(link)).map(|((_, address), _)| *address).collect()
    }

    pub(crate) fn neighbors_of(&self, link: u32) -> Vec<IpAddr> {
        self.host.neighbors.range(of_link(link)).map(|((_, address), _)| *address).collect()
    }

    fn set_address(&mut self, address: host::Address) {
        let key = (address.link, address.address);
        let known = self.host.addresses.contains_key(&key);
        if !self.host.apply(Update::Address(address)) {
            return;
        }
        if !known {
            self.own.count(key.1, 1);
        }
        self.address_changed(key);
    }

    fn drop_address(&mut self, link: u32, address: IpAddr) {
        if self.host.apply(Update::AddressGone(link, address)) {
            self.own.count(address, -1);
            self.address_changed((link, address));
        }
    }

    fn address_changed(&mut self, key: (u32, IpAddr)) {
        self.derive(key);
        self.pending.links.insert(key.0);
        self.targets.mark_fact(Fact::Addresses(key.0));
    }

    /// The bit set over own addresses.
    pub(crate) fn own_words(&self) -> Vec<u64> {
        self.own.words()
    }

    /// Makes the candidates of all addresses of a link anew.
    pub(crate) fn derive_all(&mut self, link: u32) {
        for address in self.addresses_of(link) {
            self.derive((link, address));
        }
    }

    /// Makes the candidates of an address anew: the address itself, its broadcast address, and its
    /// connected prefix where the kernel keeps that in another VRF than the link's.
    fn derive(&mut self, key: (u32, IpAddr)) {
        for candidate in self.derived.remove(&key).unwrap_or_default() {
            self.remove_candidate(candidate);
        }
        let Some(address) = self.host.addresses.get(&key) else { return };
        let (link, own) = key;
        let (rib, kernel_rib) =
            self.links.get(link).map_or((DEFAULT, DEFAULT), |s| (s.rib, s.kernel_rib));
        let connected = Prefix::containing(address.peer.unwrap_or(own), address.len);
        let broadcast = broadcast(address);
        let up = self.host.links.get(&link).is_some_and(|link| link.up);
        let mut made =
            vec![self.offer_derived(rib, Prefix::host(own), Source::Own, link, Way::Deliver)];
        if let Some(last) = broadcast {
            let way = Way::Broadcast(link);
            made.push(self.offer_derived(rib, Prefix::host(last), Source::Broadcast, link, way));
        }
        if rib != kernel_rib && up {
            made.push(self.offer_derived(rib, connected, Source::Connected, link, Way::Link(link)));
        }
        self.derived.insert(key, made);
    }

    fn offer_derived(
        &mut self,
        rib: RibId,
        prefix: Prefix,
        source: Source,
        link: u32,
        way: Way,
    ) -> u32 {
        let key = match way {
            Way::Link(link) => crate::plan::on_link_key(link, None),
            way => TargetKey::Way(way),
        };
        let class = if source == Source::Connected { Class::Connected } else { Class::Host };
        let target = self.targets.intern(key);
        let (metric, instance, data) = (u32::MAX, link, link);
        let offer = Offer { class, metric, source, instance, data, target };
        self.rib.add(NetKey::new(rib, prefix), offer)
    }

    fn set_neighbor(&mut self, key: (u32, IpAddr), update: Update) {
        let mac = |host: &HostState| host.neighbors.get(&key).and_then(neighbor::resolved);
        let before = mac(&self.host);
        self.host.apply(update);
        let after = mac(&self.host);
        if before != after {
            self.targets.mark_fact(Fact::Neighbor(key.0, key.1));
        }
        if before.is_some() != after.is_some() {
            self.pending.neighbors.insert(key);
        }
    }

    fn set_object(&mut self, id: u32, update: Update) {
        if self.host.apply(update) {
            self.targets.mark_fact(Fact::Object(id));
        }
    }

    pub(crate) fn names(&self) -> objects::Names<'_> {
        objects::Names { links: &self.names, vrfs: &self.vrfs }
    }

    /// Kernel tables `main` and `local` feed the default VRF.
    pub(crate) fn table_of(&self, rib: RibId) -> Option<u32> {
        match self.ribs.feed(rib)? {
            Feed::Table(table) => Some(*table),
            Feed::Vrf(_) => None,
        }
        .filter(|_| rib != DEFAULT)
        .or((rib == DEFAULT).then_some(MAIN))
    }
}

/// All keys of a link in the maps of addresses and neighbors.
fn of_link(link: u32) -> std::ops::RangeInclusive<(u32, IpAddr)> {
    (link, IpAddr::from([0; 4]))..=(link, IpAddr::from([0xff; 16]))
}

/// The broadcast address of a connected prefix (RFC 919), if it has one.
fn broadcast(address: &host::Address) -> Option<IpAddr> {
    let numbered = address.peer.is_none_or(|peer| peer == address.address);
    match Prefix::containing(address.address, address.len) {
        Prefix::V4(prefix) if numbered && prefix.len() <= 30 => {
            Some(std::net::Ipv4Addr::from_bits(prefix.last()).into())
        }
        _ => None,
    }
}

impl ObjectIndex {
    fn learn_route(
        &mut self,
        name: &str,
        route: &thalweg_model::intent::Route,
        todo: &mut Pending,
    ) {
        let key = (route.vrf.clone(), route.prefix, route.metric);
        let twins = self.routes.entry(key).or_default();
        twins.insert(name.into());
        todo.routes.extend(twins.iter().cloned());
        for device in objects::route_devices(route) {
            self.devices.entry(device.into()).or_default().insert((false, name.into()));
        }
    }

    fn forget_route(
        &mut self,
        name: &str,
        route: &thalweg_model::intent::Route,
        todo: &mut Pending,
    ) {
        let key = (route.vrf.clone(), route.prefix, route.metric);
        if let Some(twins) = self.routes.get_mut(&key) {
            todo.routes.extend(twins.iter().cloned());
            twins.remove(name);
            if twins.is_empty() {
                self.routes.remove(&key);
            }
        }
        for device in objects::route_devices(route) {
            self.forget_device(device, &(false, name.into()));
        }
    }

    fn learn_label(
        &mut self,
        name: &str,
        label: &thalweg_model::intent::LabelRoute,
        todo: &mut Pending,
    ) {
        let twins = self.labels.entry(label.label.get()).or_default();
        twins.insert(name.into());
        todo.labels.extend(twins.iter().cloned());
        for device in objects::label_devices(label) {
            self.devices.entry(device.into()).or_default().insert((true, name.into()));
        }
    }

    fn forget_label(
        &mut self,
        name: &str,
        label: &thalweg_model::intent::LabelRoute,
        todo: &mut Pending,
    ) {
        let number = label.label.get();
        todo.lost_labels.insert(number);
        if let Some(twins) = self.labels.get_mut(&number) {
            todo.labels.extend(twins.iter().cloned());
            twins.remove(name);
            if twins.is_empty() {
                self.labels.remove(&number);
            }
        }
        for device in objects::label_devices(label) {
            self.forget_device(device, &(true, name.into()));
        }
    }

    fn forget_device(&mut self, device: &str, user: &(bool, String)) {
        if let Some(users) = self.devices.get_mut(device) {
            users.remove(user);
            if users.is_empty() {
                self.devices.remove(device);
            }
        }
    }

    /// Notes the objects that mention an interface.
    pub(crate) fn mark_device(&self, device: &str, todo: &mut Pending) {
        for (is_label, name) in self.devices.get(device).into_iter().flatten() {
            match is_label {
                true => todo.labels.insert(name.clone()),
                false => todo.routes.insert(name.clone()),
            };
        }
    }

    /// The route object that has the same VRF, prefix and metric and comes first.
    pub(crate) fn route_twin(
        &self,
        name: &str,
        route: &thalweg_model::intent::Route,
    ) -> Option<&str> {
        let first = self.routes.get(&(route.vrf.clone(), route.prefix, route.metric))?.first()?;
        Some(first.as_str()).filter(|first| *first != name)
    }

    /// The label object that binds the same label and comes first.
    pub(crate) fn label_twin(&self, name: &str, label: u32) -> Option<&str> {
        self.labels.get(&label)?.first().map(String::as_str).filter(|first| *first != name)
    }

    /// The object in force for a label.
    pub(crate) fn label_owner(&self, label: u32) -> Option<&str> {
        self.labels.get(&label)?.first().map(String::as_str)
    }
}
