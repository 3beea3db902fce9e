//! The compiler: holds intent and host state, notes what changes, compiles it when asked.

use crate::groups::Groups;
use crate::index::ObjectIndex;
use crate::kernel::Bodies;
use crate::key::{AddrKey, NetKey, RibId};
use crate::links::Links;
use crate::lsp::Lsps;
use crate::objects::{self, LabelEntry, RouteEntry};
use crate::own::OwnBits;
use crate::policy::Policies;
use crate::rib::{Offer, Rib, Source};
use crate::rows::Rows;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::slab::Slab;
use crate::target::Targets;
use crate::tunnels::Nodes;
use crate::vrfs::{DEFAULT, Feed, LOCAL, MAIN, Ribs, Vrfs};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use thalweg_abi::{IlmWord, LinkRow, SettingsRow};
use thalweg_image::Change;
use thalweg_model::host::{self, RouteKey, Update};
use thalweg_model::intent::Limits;
use thalweg_model::{FpmUpdate, HostState, Intent, Problem, Teller};

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
    pub(crate) sessions: Sessions,
    pub(crate) names: BTreeMap<String, u32>,
    pub(crate) targets: Targets,
    pub(crate) rows: Rows,
    pub(crate) groups: Groups,
    pub(crate) routes: BTreeMap<String, RouteEntry>,
    pub(crate) route_names: Slab<String>,
    pub(crate) labels: BTreeMap<String, LabelEntry>,
    /// Labels that the kernel or a routing suite binds.
    pub(crate) lsps: Lsps,
    pub(crate) index: ObjectIndex,
    /// Candidates made of addresses.
    pub(crate) derived: BTreeMap<(u32, IpAddr), Vec<u32>>,
    /// Host routes of neighbors, and the addresses whose covering route decides about them.
    pub(crate) hosts: BTreeMap<(u32, IpAddr), u32>,
    pub(crate) watched: BTreeSet<(AddrKey, u32)>,
    /// Prefixes that the kernel was told of.
    pub(crate) exported: BTreeSet<NetKey>,
    /// The link through which the kernel's routes lead into tunnels.
    pub(crate) passage: Option<u32>,
    pub(crate) watching: BTreeMap<(u32, IpAddr), AddrKey>,
    pub(crate) own: OwnBits,
    pub(crate) published: Published,
    pub(crate) pending: Pending,
    pub(crate) refused: BTreeMap<String, (Problem, Change)>,
    pub(crate) services: Services,
    pub(crate) policies: Policies,
    pub(crate) nodes: Nodes,
    pub(crate) generation: u64,
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
    /// Labels that lost their object, or that the kernel or a routing suite told of.
    pub(crate) lost_labels: BTreeSet<u32>,
    /// Targets that got no number of a group or next hop.
    pub(crate) starved: BTreeSet<u32>,
    /// Groups that could not be re-issued.
    pub(crate) stale: BTreeSet<u32>,
    /// Targets that may be unused now.
    pub(crate) idle: Vec<u32>,
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
            sessions: Sessions::new(&limits),
            names: BTreeMap::new(),
            targets: Targets::default(),
            rows: Rows::new(limits.nexthops),
            groups: Groups::new(limits.groups),
            routes: BTreeMap::new(),
            route_names: Slab::default(),
            labels: BTreeMap::new(),
            lsps: Lsps::default(),
            index: ObjectIndex::default(),
            derived: BTreeMap::new(),
            hosts: BTreeMap::new(),
            watched: BTreeSet::new(),
            exported: BTreeSet::new(),
            passage: None,
            watching: BTreeMap::new(),
            own: OwnBits::default(),
            published: Published::default(),
            pending: Pending { structure: true, ..Pending::default() },
            refused: BTreeMap::new(),
            services: Services::default(),
            policies: Policies::default(),
            nodes: Nodes::default(),
            generation: 0,
            limits,
        }
    }

    /// The seed of flow hashes where the intent names none.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Goes on counting images from the last one of an earlier compiler.
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
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

    /// How long a link that came up again must stay up until packets use it: whoever feeds the
    /// compiler tells it no sooner.
    pub fn hold_up(&self, link: u32) -> Duration {
        self.links.hold_up(link, &self.intent.router)
    }

    /// Everything the kernel reported and a routing suite told. Builds the routes anew: not for
    /// every packet or event.
    pub fn host(&self) -> HostState {
        let mut host = self.host.clone();
        host.routes = self.kernel_routes().map(|(key, route)| (key, route.clone())).collect();
        host.fpm.routes = self.fpm_routes().map(|(key, route)| (key, route.clone())).collect();
        for (label, teller, route) in self.lsps.iter() {
            match teller {
                Teller::Kernel => host.labels.insert(label, route.clone()),
                Teller::Fpm => host.fpm.labels.insert(label, route.clone()),
            };
        }
        host
    }

    /// All kernel routes, in no order.
    pub fn kernel_routes(&self) -> impl Iterator<Item = (RouteKey, &host::Route)> {
        let unused = self.unused.iter().map(|(key, body)| (key.clone(), *body));
        let unused = unused.filter_map(|(key, body)| Some((key, &self.bodies.get(body)?.route)));
        unused.chain(self.learned_routes(Teller::Kernel))
    }

    /// All routes of a routing suite, in no order.
    pub fn fpm_routes(&self) -> impl Iterator<Item = (RouteKey, &host::Route)> {
        self.learned_routes(Teller::Fpm)
    }

    fn learned_routes(&self, teller: Teller) -> impl Iterator<Item = (RouteKey, &host::Route)> {
        let told = move |source| (source == Source::Fpm) == (teller == Teller::Fpm);
        let used = self.rib.nodes().flat_map(move |(index, node)| {
            let offers = self.rib.candidates(index).filter(move |(_, o)| told(o.source));
            offers.filter_map(|(_, offer)| Some((self.route_key(node.key, offer)?, offer.data)))
        });
        used.filter_map(|(key, body)| Some((key, &self.bodies.get(body)?.route)))
    }

    /// The key of a candidate, if it is the kernel's or a routing suite's.
    pub(crate) fn route_key(&self, key: NetKey, offer: &Offer) -> Option<RouteKey> {
        let table = match (offer.source, self.ribs.feed(key.rib)?) {
            (Source::KernelLocal, _) => LOCAL,
            (Source::Kernel | Source::Fpm, Feed::Table(table)) => *table,
            _ => return None,
        };
        let (metric, instance) = (offer.metric, offer.instance);
        Some(RouteKey { table, prefix: key.prefix(), metric, tos: 0, instance })
    }

    /// Feeds a whole host state, for example the kernel's first dump.
    pub fn load_host(&mut self, host: HostState) {
        let HostState {
            links,
            addresses,
            neighbors,
            routes,
            nexthops,
            labels,
            fpm,
            sessions,
            ports,
        } = host;
        self.update_host(Update::Ports(ports));
        let updates = links.into_values().map(Update::Link);
        let updates = updates.chain(addresses.into_values().map(Update::Address));
        let updates = updates.chain(neighbors.into_values().map(Update::Neighbor));
        let updates = updates.chain(nexthops.into_iter().map(|(id, o)| Update::NextHop(id, o)));
        let updates = updates.chain(labels.into_iter().map(|(l, route)| Update::Label(l, route)));
        let told = fpm.nexthops.into_iter().map(|(id, o)| FpmUpdate::NextHop(id, o));
        let told = told.chain(fpm.routes.into_iter().map(|(key, r)| FpmUpdate::Route(key, r)));
        let told = told.chain(fpm.labels.into_iter().map(|(l, route)| FpmUpdate::Label(l, route)));
        let updates = updates.chain(told.map(Update::Fpm));
        let updates = updates.chain(sessions.into_iter().map(|(n, up)| Update::Session(n, up)));
        for update in updates.chain(routes.into_iter().map(|(key, r)| Update::Route(key, r))) {
            self.update_host(update);
        }
    }

    /// Replaces the intent and notes which objects changed. What the two share is not looked at.
    pub fn set_intent(&mut self, intent: Intent) {
        let mut intent = intent;
        if self.limits.flows == 0 {
            // Programs that know no flows know no tunnels either.
            intent.router.tunnel = None;
        }
        let intent = intent.with_workloads();
        let old = std::mem::replace(&mut self.intent, intent);
        self.services.note(&old.cluster, &self.intent.cluster);
        self.note_nat(&old);
        self.note_policies(&old);
        if old.router != self.intent.router || old.cluster.nodes != self.intent.cluster.nodes {
            self.nodes.todo = true;
            self.services.others.learn(&self.intent);
        }
        if old.links != self.intent.links
            || old.vrfs != self.intent.vrfs
            || old.router != self.intent.router
        {
            self.pending.structure = true;
        }
        if old.router != self.intent.router {
            self.pending.links.extend(self.host.links.keys());
        }
        let routes = old.routes.differences(&self.intent.routes);
        for change in &routes {
            if let Some(route) = change.old {
                self.index.forget_route(change.key, route, &mut self.pending);
            }
        }
        for change in &routes {
            if let Some(route) = change.new {
                self.index.learn_route(change.key, route, &mut self.pending);
            }
        }
        let labels = old.labels.differences(&self.intent.labels);
        for change in &labels {
            if let Some(label) = change.old {
                self.index.forget_label(change.key, label, &mut self.pending);
            }
        }
        for change in &labels {
            if let Some(label) = change.new {
                self.index.learn_label(change.key, label, &mut self.pending);
            }
        }
        if old.sessions.keys().ne(self.intent.sessions.keys()) {
            self.renumber_sessions();
        }
    }

    pub(crate) fn names(&self) -> objects::Names<'_> {
        objects::Names { links: &self.names, vrfs: &self.vrfs, sessions: &self.sessions }
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
