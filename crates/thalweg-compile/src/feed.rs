//! What the host reports: each update notes what it touches, nothing is compiled yet.

use crate::compiler::Compiler;
use crate::kernel;
use crate::key::{NetKey, RibId};
use crate::neighbor;
use crate::rib::{Class, Offer, Source};
use crate::target::{Fact, TargetKey, Way};
use crate::vrfs::{DEFAULT, LOCAL};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::host::{self, NextHopObject, RouteKey, Update};
use thalweg_model::{FpmUpdate, HostState, Prefix, Teller};

impl Compiler {
    /// Notes one change of the host.
    pub fn update_host(&mut self, update: Update) {
        match update {
            Update::Route(key, route) => self.set_route(Teller::Kernel, key, Some(route)),
            Update::RouteGone(key) => self.set_route(Teller::Kernel, key, None),
            Update::Link(link) => self.set_link(link),
            Update::LinkGone(link) => self.drop_link(link),
            Update::Address(address) => {
                self.policies.note();
                self.set_address(address);
            }
            Update::AddressGone(link, address) => {
                self.policies.note();
                self.drop_address(link, address);
            }
            Update::Neighbor(neighbor) => {
                let key = (neighbor.link, neighbor.address);
                self.set_neighbor(key, Update::Neighbor(neighbor));
            }
            Update::NeighborGone(link, address) => {
                self.set_neighbor((link, address), Update::NeighborGone(link, address));
            }
            Update::NextHop(id, _) | Update::NextHopGone(id) => {
                self.set_object(Teller::Kernel, id, update);
            }
            Update::Label(label, route) => self.set_lsp(Teller::Kernel, label, Some(route)),
            Update::LabelGone(label) => self.set_lsp(Teller::Kernel, label, None),
            Update::Fpm(update) => self.update_fpm(update),
            Update::Session(name, up) => self.set_session(name, up),
            Update::Ports(_) => {
                self.host.apply(update);
            }
        }
    }

    /// Notes one change of what a routing suite tells.
    fn update_fpm(&mut self, update: FpmUpdate) {
        match update {
            FpmUpdate::Route(key, route) => self.set_route(Teller::Fpm, key, Some(route)),
            FpmUpdate::RouteGone(key) => self.set_route(Teller::Fpm, key, None),
            FpmUpdate::NextHop(id, _) | FpmUpdate::NextHopGone(id) => {
                self.set_object(Teller::Fpm, id, Update::Fpm(update));
            }
            FpmUpdate::Label(label, route) => self.set_lsp(Teller::Fpm, label, Some(route)),
            FpmUpdate::LabelGone(label) => self.set_lsp(Teller::Fpm, label, None),
        }
    }

    fn set_route(&mut self, teller: Teller, key: RouteKey, route: Option<host::Route>) {
        let used = route.as_ref().is_some_and(|route| kernel::is_candidate(&key, route));
        let Some(rib) = self.ribs.of_table(key.table) else { return };
        let source = match teller {
            Teller::Fpm => Source::Fpm,
            Teller::Kernel if key.table == LOCAL => Source::KernelLocal,
            Teller::Kernel => Source::Kernel,
        };
        let net = NetKey::new(rib, key.prefix);
        let node = self.rib.find(net);
        let old = node.and_then(|node| {
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
        if !self.unused.is_empty() && teller == Teller::Kernel {
            let gone = self.unused.remove(&key);
            self.release_body(gone);
        }
        match body {
            Some(body) if used => {
                self.offer_learned((net, node), (key.metric, key.instance), source, body);
            }
            Some(body) if teller == Teller::Kernel => {
                self.unused.insert(key, body);
            }
            body => self.release_body(body),
        }
    }

    /// Offers a route of the kernel or a suite for a prefix and its node, if it has one.
    fn offer_learned(
        &mut self,
        (net, node): (NetKey, Option<u32>),
        (metric, instance): (u32, u32),
        source: Source,
        number: u32,
    ) {
        let Some(body) = self.bodies.get(number) else { return };
        let class = kernel::class(&body.route);
        let target = match body.target {
            Some(target) if !kernel::is_own(&body.route, net) => target,
            _ => {
                let teller = teller_of(source);
                let objects = self.objects_of(teller);
                let beside =
                    body.route.object.is_some_and(|id| kernel::names_no_gateway(objects, id));
                let (wanted, plain) = kernel::target(teller, &body.route, net, beside);
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
        let offer = Offer { class, metric, source, instance, data: number, target };
        self.rib.add_found(net, node, offer);
    }

    /// The next hop objects that somebody tells.
    fn objects_of(&self, teller: Teller) -> &BTreeMap<u32, NextHopObject> {
        match teller {
            Teller::Kernel => &self.host.nexthops,
            Teller::Fpm => &self.host.fpm.nexthops,
        }
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
        let reshaped = old.as_ref().map(shape) != Some(shape(&link));
        self.host.apply(Update::Link(link));
        if reshaped {
            self.reshape(index);
        }
        self.pending.links.insert(index);
        self.targets.mark_fact(Fact::Link(index));
        if moved && self.links.get(index).is_some_and(|s| s.rib != s.kernel_rib) {
            self.derive_all(index);
        }
    }

    /// Notes that a link is another one now, which VLAN sub-interfaces above it feel, too.
    fn reshape(&mut self, index: u32) {
        self.pending.structure = true;
        let mut above = vec![index];
        for _ in 0..=thalweg_abi::nexthop::MAX_TAGS {
            self.pending.links.extend(&above);
            let links = self.host.links.values();
            let next = links.filter(|link| link.lower.is_some_and(|lower| above.contains(&lower)));
            above = next.map(|link| link.index).collect();
        }
    }

    fn drop_link(&mut self, index: u32) {
        for address in self.addresses_of(index) {
            self.drop_address(index, address);
        }
        for address in self.neighbors_of(index) {
            self.set_neighbor((index, address), Update::NeighborGone(index, address));
        }
        self.host.apply(Update::LinkGone(index));
        self.reshape(index);
        self.pending.links.insert(index);
        self.targets.mark_fact(Fact::Link(index));
    }

    pub(crate) fn addresses_of(&self, link: u32) -> Vec<IpAddr> {
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
        self.pending.links.extend(self.links.workloads());
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
            Way::Link(link) => crate::plan::on_link_key(link, None, prefix.only()),
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

    fn set_object(&mut self, teller: Teller, id: u32, update: Update) {
        let before = kernel::names_no_gateway(self.objects_of(teller), id);
        if !self.host.apply(update) {
            return;
        }
        self.targets.mark_fact(Fact::Object(teller, id));
        let objects = self.objects_of(teller);
        if kernel::names_no_gateway(objects, id) == before {
            return;
        }
        let has = |group: &NextHopObject| matches!(group, NextHopObject::Group(members) if members.iter().any(|(m, _)| *m == id));
        let around = objects.iter().filter(|(_, object)| has(object)).map(|(group, _)| *group);
        let felt: BTreeSet<u32> = around.chain([id]).collect();
        self.offer_again(teller, &felt);
    }

    /// Offers routes to one address by these objects anew, whose targets are their own now, or not any more.
    /// Looks at all prefixes: objects with routes seldom get or lose a gateway.
    fn offer_again(&mut self, teller: Teller, objects: &BTreeSet<u32>) {
        let is_by_them = |route: &host::Route| route.object.is_some_and(|id| objects.contains(&id));
        if !self.bodies.iter().any(|body| is_by_them(&body.route)) {
            return;
        }
        let by_them = |offer: &Offer| {
            let learned =
                matches!(offer.source, Source::Kernel | Source::KernelLocal | Source::Fpm);
            let body = self.bodies.get(offer.data).filter(|_| learned);
            teller_of(offer.source) == teller && body.is_some_and(|body| is_by_them(&body.route))
        };
        let nodes = self.rib.nodes().filter(|(_, node)| node.key.prefix().only().is_some());
        let found: Vec<(u32, NetKey, Offer)> = nodes
            .flat_map(|(at, node)| {
                let offers = self.rib.candidates(at).filter(|(_, offer)| by_them(offer));
                offers.map(|(candidate, offer)| (candidate, node.key, *offer))
            })
            .collect();
        for (candidate, net, offer) in found {
            self.remove_candidate(candidate);
            let node = self.rib.find(net);
            let place = (offer.metric, offer.instance);
            self.offer_learned((net, node), place, offer.source, offer.data);
        }
    }
}

/// Who tells routes of a source.
fn teller_of(source: Source) -> Teller {
    if source == Source::Fpm { Teller::Fpm } else { Teller::Kernel }
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
