//! The intent while it is being read: objects, and what must hold between them.

use crate::name;
use crate::part::Part;
use crate::read::Field;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::tree::short;
use crate::uses::{self, Use};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use thalweg_model::intent::{BfdSession, LabelRoute, Link, Route, Router, Vrf};
use thalweg_model::{Catalog, Intent, Key, Origin, Prefix};

/// The VRF that always exists, and the kernel table it learns.
pub(crate) const DEFAULT_VRF: &str = "default";
/// The kernel's table `main`.
pub(crate) const MAIN_TABLE: u32 = 254;

/// The kinds of objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Router,
    Link,
    Vrf,
    Route,
    LabelRoute,
    BfdSession,
}

impl Kind {
    /// All kinds as `kind` spells them.
    pub const ALL: [(&str, Self); 6] = [
        ("Router", Self::Router),
        ("Link", Self::Link),
        ("Vrf", Self::Vrf),
        ("Route", Self::Route),
        ("LabelRoute", Self::LabelRoute),
        ("BfdSession", Self::BfdSession),
    ];

    /// As `kind` spells it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Number of an object, in the order of the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ObjectId(u32);

struct Object {
    kind: Kind,
    name: String,
    at: Span,
}

/// One prefix of a `Route`, where it stands and whose it is.
struct Claim {
    name: String,
    route: Route,
    /// Number of the route's VRF.
    vrf: u32,
    at: Span,
    owner: ObjectId,
}

/// What a route claims, where it stands, and its number: small enough to sort a full table of.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct ClaimKey {
    /// VRF, metric, prefix length (above 128 for IPv4) and bits.
    what: (u32, u32, u8, u128),
    at: Span,
    index: u32,
}

impl ClaimKey {
    fn new((index, claim): (usize, &Claim)) -> Self {
        let (len, bits) = match claim.route.prefix {
            Prefix::V4(prefix) => (0x80 + 1 + prefix.len(), u128::from(prefix.bits())),
            Prefix::V6(prefix) => (prefix.len(), prefix.bits()),
        };
        let what = (claim.vrf, claim.route.metric, len, bits);
        Self { what, at: claim.at, index: index as u32 }
    }
}

/// A number that stands for what is claimed: the same for the same, hardly ever for another.
fn print(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Everything that was read so far.
#[derive(Default)]
pub(crate) struct Draft {
    objects: Vec<Object>,
    by_name: HashMap<(Kind, String), ObjectId>,
    router: Option<(Router, ObjectId)>,
    links: BTreeMap<String, Link>,
    vrfs: BTreeMap<String, Vrf>,
    routes: Vec<Claim>,
    labels: BTreeMap<String, LabelRoute>,
    label_owners: HashMap<u32, (Span, ObjectId)>,
    interfaces: HashMap<String, (Span, ObjectId)>,
    tables: HashMap<u32, (Span, ObjectId)>,
    vrf_uses: Vec<Use>,
    vrf_numbers: HashMap<String, u32>,
    sessions: BTreeMap<String, BfdSession>,
    session_owners: HashMap<(String, IpAddr), (Span, ObjectId)>,
    session_uses: Vec<Use>,
}

impl Draft {
    /// Enters an object; none when another one has its name, which is reported.
    pub fn enter(
        &mut self,
        kind: Kind,
        name: &str,
        at: Span,
        report: &mut Report,
    ) -> Option<ObjectId> {
        let field = Path::Field(&Path::Field(&Path::Root, "metadata"), "name");
        let key = (kind, name.to_owned());
        if let Some(first) = self.by_name.get(&key) {
            let place = report.origin(self.object(*first).at);
            let what = format!("there already is a {} `{}` at {place}", kind.name(), short(name));
            report.error(at, &field, what, "rename one of them, or remove it");
            return None;
        }
        let id = ObjectId(self.objects.len() as u32);
        self.objects.push(Object { kind, name: key.1.clone(), at });
        self.by_name.insert(key, id);
        Some(id)
    }

    fn object(&self, id: ObjectId) -> &Object {
        &self.objects[id.0 as usize]
    }

    fn key(&self, id: ObjectId) -> Key {
        let object = self.object(id);
        Key { kind: object.kind.name().into(), name: object.name.clone() }
    }

    /// Sets the router's settings; at most one object may.
    pub fn router(&mut self, router: Router, id: ObjectId, report: &mut Report) {
        if let Some((_, first)) = &self.router {
            let (key, place) = (self.key(*first), report.origin(self.object(*first).at));
            let field = Path::Field(&Path::Field(&Path::Root, "metadata"), "name");
            let what = format!("there is one Router at most, and {key} stands at {place}");
            report.error(self.object(id).at, &field, what, "merge the two");
            return;
        }
        self.router = Some((router, id));
    }

    /// Adds a `Link`.
    pub fn link(&mut self, name: &str, link: Link) {
        self.links.insert(name.into(), link);
    }

    /// Claims an interface name or pattern for a `Link`.
    pub fn interface(&mut self, field: &Field, name: &str, id: ObjectId, report: &mut Report) {
        let at = field.node.span;
        if let Some((first, owner)) = self.interfaces.get(name) {
            let (key, place) = (self.key(*owner), report.origin(*first));
            let what = match *owner == id {
                true => format!("`{}` stands twice, first at {place}", short(name)),
                false => format!("`{}` already belongs to {key} at {place}", short(name)),
            };
            field.error(what, "name it in one place", report);
            return;
        }
        self.interfaces.insert(name.into(), (at, id));
    }

    /// Adds a `Vrf`.
    pub fn vrf(&mut self, name: &str, vrf: Vrf) {
        self.vrfs.insert(name.into(), vrf);
    }

    /// Claims a kernel table for a VRF: its routes can be in one only.
    pub fn table(&mut self, field: &Field, table: u32, id: ObjectId, report: &mut Report) {
        if let Some((first, owner)) = self.tables.get(&table) {
            let (key, place) = (self.key(*owner), report.origin(*first));
            let what = format!("kernel table {table} already belongs to {key} at {place}");
            field.error(what, "give each VRF a table of its own", report);
            return;
        }
        self.tables.insert(table, (field.node.span, id));
    }

    /// Adds the prefixes of a `Route` object, each with its name and place.
    pub fn routes(
        &mut self,
        route: &Route,
        prefixes: impl Iterator<Item = (String, Prefix, Span)>,
        owner: ObjectId,
    ) {
        let next = self.vrf_numbers.len() as u32;
        let vrf = *self.vrf_numbers.entry(route.vrf.clone()).or_insert(next);
        self.routes.extend(prefixes.map(|(name, prefix, at)| {
            let route = Route { prefix, ..route.clone() };
            Claim { name, route, vrf, at, owner }
        }));
    }

    /// Adds a `LabelRoute`; a label may be bound once.
    pub fn label(
        &mut self,
        name: &str,
        field: &Field,
        bound: LabelRoute,
        id: ObjectId,
        report: &mut Report,
    ) {
        let label = bound.label.get();
        if let Some((first, owner)) = self.label_owners.get(&label) {
            let (key, place) = (self.key(*owner), report.origin(*first));
            let what = format!("label {label} already belongs to {key} at {place}");
            field.error(what, "use another label, or remove one of the objects", report);
            return;
        }
        self.label_owners.insert(label, (field.node.span, id));
        self.labels.insert(name.into(), bound);
    }

    /// Adds a `BfdSession`; a neighbor on a link has one.
    pub fn session(
        &mut self,
        name: &str,
        field: &Field,
        session: BfdSession,
        id: ObjectId,
        report: &mut Report,
    ) {
        let place = (session.link.clone(), session.peer);
        if let Some((first, owner)) = self.session_owners.get(&place) {
            let (key, at) = (self.key(*owner), report.origin(*first));
            let what = format!("{} at {} already has {key} at {at}", session.peer, session.link);
            field.error(what, "let next hops name that one, and remove this", report);
            return;
        }
        self.session_owners.insert(place, (field.node.span, id));
        self.sessions.insert(name.into(), session);
    }

    /// Reads the name of a session; whether it exists is seen at the end.
    pub fn session_name(
        &mut self,
        field: &Field,
        user: ObjectId,
        report: &mut Report,
    ) -> Option<String> {
        let session = field.text(report)?;
        let (at, path) = (field.node.span, field.path.to_string());
        self.session_uses.push(Use { name: session.into(), at, field: path.into(), user });
        Some(session.into())
    }

    /// Reads the name of a VRF; whether it exists is seen at the end.
    pub fn vrf_name(
        &mut self,
        field: &Field,
        path: &'static str,
        user: ObjectId,
        report: &mut Report,
    ) -> Option<String> {
        let vrf = field.text(report)?;
        if let Some(fault) = name::label(vrf) {
            let what = format!("`{}` {fault}, so it names no VRF", short(vrf));
            field.error(what, "write the metadata.name of a Vrf", report);
            return None;
        }
        if vrf != DEFAULT_VRF {
            let at = field.node.span;
            self.vrf_uses.push(Use { name: vrf.into(), at, field: path.into(), user });
        }
        Some(vrf.into())
    }

    /// The intent, after checking what must hold between objects.
    pub fn finish(self, broken: bool, report: &mut Report) -> Intent {
        // A file that could not be read may hold the very VRF that seems to be missing.
        if !broken {
            self.check_uses(Kind::Vrf, &self.vrf_uses, report);
            self.check_uses(Kind::BfdSession, &self.session_uses, report);
        }
        self.check_prefixes(&self.route_prints(), report);
        let mut intent = Intent { origins: self.origins(report), ..Intent::default() };
        if let Some((router, _)) = self.router {
            intent.router = router;
        }
        intent.links = self.links;
        intent.vrfs = self.vrfs;
        intent.labels = self.labels.into_iter().collect();
        intent.sessions = self.sessions;
        intent.routes = self.routes.into_iter().map(|claim| (claim.name, claim.route)).collect();
        intent
    }

    /// All that was read, as the part that one file has in the whole.
    pub fn part(self, whole: bool, mut report: Report) -> Part {
        let mut prints = self.route_prints();
        let conflicts = self.check_prefixes(&prints, &mut report);
        prints.extend(self.object_prints());
        prints.sort_unstable();
        prints.dedup();
        let origins = self.origins(&mut report);
        let named = |kind| {
            let of = self.objects.iter().filter(move |object| object.kind == kind);
            of.map(|object| object.name.clone()).collect()
        };
        let names = [named(Kind::Vrf), named(Kind::BfdSession)];
        let key = |one: Use| {
            let key = self.key(one.user);
            (one, key)
        };
        let uses = [&self.vrf_uses, &self.session_uses]
            .map(|uses| uses.iter().cloned().map(key).collect::<Vec<_>>());
        let wanted = uses.each_ref().map(|uses| {
            let mut names: Vec<String> = uses.iter().map(|(one, _)| one.name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        });
        let mut part = Part {
            findings: report.findings(),
            whole,
            conflicts,
            prints,
            names,
            wanted,
            uses,
            intent: Intent { origins, ..Intent::default() },
            router: self.router.is_some(),
        };
        part.intent.router = self.router.map(|(router, _)| router).unwrap_or_default();
        part.intent.links = self.links;
        part.intent.vrfs = self.vrfs;
        part.intent.labels = self.labels.into_iter().collect();
        part.intent.sessions = self.sessions;
        let routes = self.routes.into_iter().map(|claim| (claim.name, claim.route));
        part.intent.routes = routes.collect();
        part
    }

    /// Where each object stands.
    fn origins(&self, report: &mut Report) -> Catalog<Key, Origin> {
        report.object = None;
        let origin = |object: &Object| {
            let key = Key { kind: object.kind.name().into(), name: object.name.clone() };
            (key, report.origin(object.at))
        };
        self.objects.iter().map(origin).collect()
    }

    /// What the routes claim, as numbers in order: two that are equal may exclude each other.
    fn route_prints(&self) -> Vec<u64> {
        let vrfs: HashMap<u32, u64> =
            self.vrf_numbers.iter().map(|(name, number)| (*number, print(name))).collect();
        let routes = self.routes.iter().map(|claim| {
            let vrf = vrfs.get(&claim.vrf).copied().unwrap_or_default();
            print(&(vrf, claim.route.metric, claim.route.prefix))
        });
        let mut prints: Vec<u64> = routes.collect();
        prints.sort_unstable();
        prints
    }

    /// What else objects claim that only one may have, as numbers.
    fn object_prints(&self) -> impl Iterator<Item = u64> {
        let names = self.by_name.keys().map(|key| print(&(0u8, key)));
        let names = names.chain(self.router.iter().map(|_| print(&1u8)));
        let names = names.chain(self.interfaces.keys().map(|name| print(&(2u8, name))));
        let names = names.chain(self.tables.keys().map(|table| print(&(3u8, table))));
        let names = names.chain(self.label_owners.keys().map(|label| print(&(4u8, label))));
        names.chain(self.session_owners.keys().map(|place| print(&(5u8, place))))
    }

    /// Reports fields that name objects of a kind that do not exist.
    fn check_uses(&self, kind: Kind, uses: &[Use], report: &mut Report) {
        let exists = |name: &str| self.by_name.contains_key(&(kind, name.to_owned()));
        let missing = uses.iter().filter(|one| !exists(&one.name));
        let missing = missing.map(|one| (one, one.at.file, self.key(one.user)));
        let names = self.objects.iter().filter(|object| object.kind == kind);
        uses::missing(kind, missing, names.map(|object| object.name.as_str()), report);
    }

    /// Reports prefixes that two routes claim with the same metric in the same VRF; returns whether
    /// there are any. `prints` are those of the routes.
    fn check_prefixes(&self, prints: &[u64], report: &mut Report) -> bool {
        if prints.is_sorted_by(|a, b| a < b) {
            return false;
        }
        // Sorting keys beats a set of them: no hashing, and the places decide who was first.
        let mut keys: Vec<_> = self.routes.iter().enumerate().map(ClaimKey::new).collect();
        keys.sort_unstable();
        let mut any = false;
        for same in keys.chunk_by(|a, b| a.what == b.what) {
            let Some((first, others)) = same.split_first() else { continue };
            for other in others {
                let claim = |key: &ClaimKey| &self.routes[key.index as usize];
                self.conflict(claim(first), claim(other), report);
                any = true;
            }
        }
        any
    }

    fn conflict(&self, first: &Claim, second: &Claim, report: &mut Report) {
        let (key, place) = (self.key(first.owner), report.origin(first.at));
        let Route { vrf, prefix, metric, .. } = &second.route;
        let what = match first.owner == second.owner {
            true => format!("{prefix} stands twice, first at {place}"),
            false => format!(
                "VRF `{vrf}` already has a route to {prefix} with metric {metric}: {key} at {place}"
            ),
        };
        let remedy = match first.owner == second.owner {
            true => "remove one of them",
            false => "give one of them another metric, or list both next hops in one route",
        };
        report.object = Some(self.key(second.owner));
        let one = second.name == self.object(second.owner).name;
        let field = if one { "spec.prefix" } else { "spec.prefixes" };
        report.error(second.at, &Path::Field(&Path::Root, field), what, remedy);
    }
}
