//! All services of a cluster, resolved, and kept so as objects change.
//!
//! Each service is resolved as if it were alone; claims then say which of several has a key. So a
//! change costs what its own services cost, however many others there are.

use crate::check::Check;
use crate::claims::Claims;
use crate::difference::{Changes, Difference};
use crate::elders::Elders;
use crate::frontend::{Frontend, FrontendKey, Problem, Vip};
use crate::here::Here;
use crate::resolve::{Context, Wanted, has_address, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::catalog::Entry;
use thalweg_model::cluster::{EndpointSlice, Service};
use thalweg_model::{Catalog, Cluster, ObjectName};

/// Services, resolved for this node.
#[derive(Debug, Default)]
pub struct Resolver {
    here: Here,
    zone: Option<String>,
    /// Addresses of nodes, this one and others.
    nodes: Arc<BTreeSet<IpAddr>>,
    /// Slices as they were seen last.
    slices: Catalog<ObjectName, EndpointSlice>,
    /// Those of each service, by name.
    slices_of: BTreeMap<ObjectName, Vec<Entry<ObjectName, EndpointSlice>>>,
    /// What each service holds.
    held: BTreeMap<ObjectName, Held>,
    /// Services with problems of their own.
    faulty: BTreeSet<ObjectName>,
    claims: Claims,
    /// Whose rings are steady.
    elders: Elders,
    /// Services that have each address, by name.
    vips: BTreeMap<IpAddr, Vec<ObjectName>>,
    /// Services that balancers ask about.
    checks: BTreeMap<ObjectName, Check>,
    /// Keys that services want, and who has them instead.
    taken: BTreeMap<ObjectName, BTreeMap<FrontendKey, ObjectName>>,
}

/// What is known of a service by itself.
#[derive(Debug, Default)]
struct Held {
    keys: Vec<FrontendKey>,
    vips: Vec<IpAddr>,
    problems: Vec<Problem>,
}

/// What was in force at the places that an update touches.
#[derive(Default)]
struct Before {
    frontends: BTreeMap<FrontendKey, Option<Arc<Frontend>>>,
    vips: BTreeMap<IpAddr, Option<Vip>>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
    /// Services that claimed a key before or do now, and whether they do now.
    claimed: BTreeMap<(FrontendKey, ObjectName), bool>,
}

impl Resolver {
    /// Everything, resolved from nothing.
    pub fn new(cluster: &Cluster, here: &Here) -> Self {
        let zone = here.zone(cluster).map(str::to_owned);
        let nodes = Arc::new(addresses_of_nodes(cluster));
        let mut new = Self { here: here.clone(), zone, nodes: nodes.clone(), ..Self::default() };
        cluster.slices.entries().for_each(|slice| new.index(None, Some(slice)));
        new.slices = cluster.slices.clone();
        for (name, service) in &cluster.services {
            new.age(name, Some(service));
        }
        let zone = new.zone.clone();
        let context = Context::new(here, zone.as_deref(), &nodes);
        for (name, service) in &cluster.services {
            let wanted = new.resolve(&context, name, Some(service));
            new.put(name.clone(), service.created, wanted);
        }
        new.taken = new.claims.taken();
        new
    }

    /// Takes changes over, and says what became of it.
    pub fn update(&mut self, cluster: &Cluster, here: &Here, changes: &Changes) -> Difference {
        let moved = self.here != *here || self.zone.as_deref() != here.zone(cluster);
        if changes.here && moved {
            let before = std::mem::replace(self, Self::new(cluster, here));
            return self.since(&before);
        }
        let mut services = changes.services.clone();
        if changes.here {
            services.extend(self.learn_nodes(cluster));
        }
        for name in &changes.services {
            services.extend(self.age(name, cluster.services.get(name)));
        }
        for slice in &changes.slices {
            let old = self.slices.entry(slice).cloned();
            let new = cluster.slices.entry(slice);
            services.extend(old.iter().chain(new).map(service_of));
            self.index(old.as_ref(), new);
        }
        self.slices = cluster.slices.clone();
        let mut before = Before::default();
        self.replace(cluster, services, &mut before);
        self.difference(before)
    }

    /// The frontend in force at a key.
    pub fn frontend(&self, key: FrontendKey) -> Option<&Arc<Frontend>> {
        self.claims.get(key)
    }

    /// All frontends in force, by key.
    pub fn frontends(&self) -> impl Iterator<Item = &Arc<Frontend>> {
        self.claims.iter()
    }

    /// An address, if it is a VIP.
    pub fn vip(&self, address: IpAddr) -> Option<Vip> {
        let services = self.vips.get(&address)?;
        Some(Vip { address, services: services.clone() })
    }

    /// All VIPs, by address.
    pub fn vips(&self) -> impl Iterator<Item = Vip> {
        self.vips.keys().filter_map(|address| self.vip(*address))
    }

    /// What balancers are answered about services, by name.
    pub fn checks(&self) -> impl Iterator<Item = (&ObjectName, Check)> {
        self.checks.iter().map(|(service, check)| (service, *check))
    }

    /// What is wrong with a service.
    pub fn problems_of(&self, service: &ObjectName) -> Vec<Problem> {
        let own = self.held.get(service).map(|held| held.problems.as_slice()).unwrap_or_default();
        let taken = self.taken.get(service).into_iter().flatten();
        let taken = taken.map(|(key, by)| Problem::Taken { key: *key, by: by.clone() });
        let mut all: Vec<Problem> = taken.chain(own.iter().cloned()).collect();
        all.sort_unstable();
        all
    }

    /// All services with problems.
    pub fn problems(&self) -> BTreeMap<ObjectName, Vec<Problem>> {
        let names = self.faulty.iter().chain(self.taken.keys());
        names.map(|name| (name.clone(), self.problems_of(name))).collect()
    }

    /// This node as it was told last.
    pub fn here(&self) -> &Here {
        &self.here
    }

    /// Notes the addresses of nodes, and returns services that have one which is a node's now or no longer.
    fn learn_nodes(&mut self, cluster: &Cluster) -> Vec<ObjectName> {
        let nodes = addresses_of_nodes(cluster);
        let turned: BTreeSet<IpAddr> = self.nodes.symmetric_difference(&nodes).copied().collect();
        if turned.is_empty() {
            return Vec::new();
        }
        self.nodes = Arc::new(nodes);
        let has = |service: &Service| {
            let all = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
            all.into_iter().flatten().any(|address| turned.contains(address))
        };
        let services = cluster.services.iter().filter(|(_, service)| has(service));
        services.map(|(name, _)| name.clone()).collect()
    }

    /// Notes how old a service is, and returns others whose rings are of another kind now.
    fn age(&mut self, name: &ObjectName, service: Option<&Service>) -> Vec<ObjectName> {
        let service = service.filter(|service| has_address(service));
        // Those that do not say are the youngest, as where two want one address.
        self.elders.set(name, service.map(|service| service.created.unwrap_or(u64::MAX)))
    }

    /// Notes which service a slice is of, and what it says.
    fn index(
        &mut self,
        old: Option<&Entry<ObjectName, EndpointSlice>>,
        new: Option<&Entry<ObjectName, EndpointSlice>>,
    ) {
        if let Some(old) = old {
            let service = service_of(old);
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.retain(|slice| slice.0 != old.0);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
        }
        if let Some(new) = new {
            let slices = self.slices_of.entry(service_of(new)).or_insert_with(one);
            let place = slices.partition_point(|slice| slice.0 < new.0);
            slices.insert(place, new.clone());
        }
    }

    fn resolve(
        &self,
        context: &Context<'_>,
        name: &ObjectName,
        service: Option<&Service>,
    ) -> Wanted {
        let slices = self.slices_of.get(name).map_or(&[][..], Vec::as_slice);
        resolve(context, (name, service, self.elders.goal(name)), slices)
    }

    /// Resolves services anew and puts the results in the place of the old ones.
    fn replace(&mut self, cluster: &Cluster, names: BTreeSet<ObjectName>, before: &mut Before) {
        let (here, zone, nodes) = (self.here.clone(), self.zone.clone(), self.nodes.clone());
        let context = Context::new(&here, zone.as_deref(), &nodes);
        for name in names {
            let service = cluster.services.get(&name);
            let wanted = self.resolve(&context, &name, service);
            self.remember(&name, &wanted, before);
            self.put(name, service.and_then(|service| service.created), wanted);
        }
        self.settle(before);
    }

    /// Remembers what is in force where a service has something or wants it.
    fn remember(&self, name: &ObjectName, wanted: &Wanted, before: &mut Before) {
        before.problems.entry(name.clone()).or_insert_with(|| self.problems_of(name));
        let old = self.held.get(name);
        let keys = old.into_iter().flat_map(|old| &old.keys);
        for key in keys.chain(wanted.frontends.keys()) {
            before.frontends.entry(*key).or_insert_with(|| self.claims.get(*key).cloned());
            before.claimed.insert((*key, name.clone()), wanted.frontends.contains_key(key));
        }
        let vips = old.into_iter().flat_map(|old| &old.vips);
        for address in vips.chain(&wanted.vips) {
            before.vips.entry(*address).or_insert_with(|| self.vip(*address));
        }
    }

    /// Puts what a service wants in the place of what it holds.
    fn put(&mut self, name: ObjectName, created: Option<u64>, wanted: Wanted) {
        let old = self.held.remove(&name).unwrap_or_default();
        old.keys.iter().for_each(|key| self.claims.remove(*key, &name));
        let held = Held {
            keys: wanted.frontends.keys().copied().collect(),
            vips: wanted.vips,
            problems: wanted.problems,
        };
        wanted.frontends.into_values().for_each(|frontend| self.claims.add(created, frontend));
        self.put_vips(&name, &old.vips, &held.vips);
        match wanted.check {
            Some(check) => self.checks.insert(name.clone(), check),
            None => self.checks.remove(&name),
        };
        match held.problems.is_empty() {
            true => self.faulty.remove(&name),
            false => self.faulty.insert(name.clone()),
        };
        if !held.keys.is_empty() || !held.vips.is_empty() || !held.problems.is_empty() {
            self.held.insert(name, held);
        }
    }

    fn put_vips(&mut self, name: &ObjectName, old: &[IpAddr], new: &[IpAddr]) {
        for address in old {
            let Some(services) = self.vips.get_mut(address) else { continue };
            services.retain(|service| service != name);
            if services.is_empty() {
                self.vips.remove(address);
            }
        }
        for address in new {
            let services = self.vips.entry(*address).or_insert_with(one);
            if let Err(place) = services.binary_search(name) {
                services.insert(place, name.clone());
            }
        }
    }

    /// Notes who wants a key and does not have it. Those that made no claim now are asked only where
    /// another has the key than before: thousands may want the same one.
    fn settle(&mut self, before: &mut Before) {
        for ((key, service), claims) in std::mem::take(&mut before.claimed) {
            let first = self.claims.get(key).map(|frontend| &frontend.service);
            let by = first.filter(|first| claims && **first != service).cloned();
            self.take(key, service, by, before);
        }
        let service = |frontend: &Arc<Frontend>| frontend.service.clone();
        let earlier: Vec<(FrontendKey, Option<ObjectName>)> =
            before.frontends.iter().map(|(key, old)| (*key, old.as_ref().map(service))).collect();
        for (key, old) in earlier {
            let now = self.claims.get(key).map(service);
            if old == now {
                continue;
            }
            if let Some(now) = &now {
                self.take(key, now.clone(), None, before);
            }
            let losers: Vec<ObjectName> = self.claims.losers(key).cloned().collect();
            losers.into_iter().for_each(|loser| self.take(key, loser, now.clone(), before));
        }
    }

    /// Notes by whom a service is kept from a key, if by anybody.
    fn take(
        &mut self,
        key: FrontendKey,
        service: ObjectName,
        by: Option<ObjectName>,
        before: &mut Before,
    ) {
        let known = self.taken.get(&service).and_then(|taken| taken.get(&key));
        if known == by.as_ref() {
            return;
        }
        if !before.problems.contains_key(&service) {
            before.problems.insert(service.clone(), self.problems_of(&service));
        }
        let taken = self.taken.entry(service.clone()).or_default();
        match by {
            Some(by) => drop(taken.insert(key, by)),
            None => drop(taken.remove(&key)),
        }
        if taken.is_empty() {
            self.taken.remove(&service);
        }
    }

    /// What differs now from what was at the touched places.
    fn difference(&self, before: Before) -> Difference {
        let mut difference = Difference::default();
        for (key, before) in before.frontends {
            difference.frontend(key, before.as_ref(), self.claims.get(key));
        }
        for (address, before) in before.vips {
            difference.vip(address, before.as_ref(), self.vip(address));
        }
        for (service, before) in before.problems {
            let after = self.problems_of(&service);
            if before != after {
                difference.problems.insert(service, after);
            }
        }
        difference
    }

    /// What differs from an earlier state as a whole.
    fn since(&self, earlier: &Self) -> Difference {
        let frontends = |of: &Self| -> Vec<_> {
            of.frontends().map(|frontend| (frontend.key, Some(frontend.clone()))).collect()
        };
        let here = self.frontends().map(|frontend| (frontend.key, None));
        let vips = self.vips.keys().map(|address| (*address, None));
        let problems = self.problems().into_keys().map(|name| (name, Vec::new()));
        self.difference(Before {
            frontends: here.chain(frontends(earlier)).collect(),
            vips: vips.chain(earlier.vips().map(|vip| (vip.address, Some(vip)))).collect(),
            problems: problems.chain(earlier.problems()).collect(),
            claimed: BTreeMap::new(),
        })
    }
}

fn addresses_of_nodes(cluster: &Cluster) -> BTreeSet<IpAddr> {
    cluster.nodes.values().flat_map(|node| node.addresses.iter().copied()).collect()
}

/// The service that a slice is of.
fn service_of(slice: &Entry<ObjectName, EndpointSlice>) -> ObjectName {
    ObjectName::new(slice.0.namespace.as_str(), slice.1.service.as_str())
}

/// Room for one: nearly all lists have no more.
fn one<T>() -> Vec<T> {
    Vec::with_capacity(1)
}
