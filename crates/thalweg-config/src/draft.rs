//! The intent while it is being read: objects, and what must hold between them.

use crate::name;
use crate::read::Field;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::short;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use thalweg_model::intent::{BfdSession, LabelRoute, Link, Route, Router, Vrf};
use thalweg_model::{Intent, Key, Prefix};

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

/// A field that names a VRF.
struct VrfUse {
    vrf: String,
    at: Span,
    field: &'static str,
    user: ObjectId,
}

/// A field that names a session.
struct SessionUse {
    session: String,
    at: Span,
    field: String,
    user: ObjectId,
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
    vrf_uses: Vec<VrfUse>,
    vrf_numbers: HashMap<String, u32>,
    sessions: BTreeMap<String, BfdSession>,
    session_owners: HashMap<(String, IpAddr), (Span, ObjectId)>,
    session_uses: Vec<SessionUse>,
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
        self.session_uses.push(SessionUse { session: session.into(), at, field: path, user });
        Some(session.into())
    }

    fn check_sessions(&self, report: &mut Report) {
        let exists = |name: &str| self.by_name.contains_key(&(Kind::BfdSession, name.to_owned()));
        for one in self.session_uses.iter().filter(|one| !exists(&one.session)) {
            report.object = Some(self.key(one.user));
            let names = self.objects.iter().filter(|object| object.kind == Kind::BfdSession);
            let names = names.map(|object| object.name.as_str()).take(1_000);
            let remedy = match suggest::nearest(&one.session, names) {
                Some(near) => format!("did you mean `{near}`? or add a BfdSession of that name"),
                None => "add a BfdSession of that name".into(),
            };
            let what = format!("there is no BfdSession `{}`", short(&one.session));
            report.error(one.at, &Path::Field(&Path::Root, &one.field), what, remedy);
        }
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
            self.vrf_uses.push(VrfUse { vrf: vrf.into(), at: field.node.span, field: path, user });
        }
        Some(vrf.into())
    }

    /// The intent, after checking what must hold between objects.
    pub fn finish(self, broken: bool, report: &mut Report) -> Intent {
        // A file that could not be read may hold the very VRF that seems to be missing.
        if !broken {
            self.check_vrfs(report);
            self.check_sessions(report);
        }
        self.check_prefixes(report);
        report.object = None;
        let mut intent = Intent::default();
        for object in &self.objects {
            let key = Key { kind: object.kind.name().into(), name: object.name.clone() };
            let origin = report.origin(object.at);
            intent.origins.insert(key, origin);
        }
        if let Some((router, _)) = self.router {
            intent.router = router;
        }
        intent.links = self.links;
        intent.vrfs = self.vrfs;
        intent.labels = self.labels;
        intent.sessions = self.sessions;
        intent.routes = self.routes.into_iter().map(|claim| (claim.name, claim.route)).collect();
        intent
    }

    fn check_vrfs(&self, report: &mut Report) {
        let exists = |vrf: &str| self.by_name.contains_key(&(Kind::Vrf, vrf.to_owned()));
        for vrf_use in self.vrf_uses.iter().filter(|vrf_use| !exists(&vrf_use.vrf)) {
            report.object = Some(self.key(vrf_use.user));
            let names = self.objects.iter().filter(|object| object.kind == Kind::Vrf);
            let names = names.map(|object| object.name.as_str()).take(1_000);
            let remedy = match suggest::nearest(&vrf_use.vrf, names.chain([DEFAULT_VRF])) {
                Some(near) => format!("did you mean `{near}`? or add a Vrf of that name"),
                None => "add a Vrf of that name".into(),
            };
            let what = format!("there is no Vrf `{}`", vrf_use.vrf);
            report.error(vrf_use.at, &Path::Field(&Path::Root, vrf_use.field), what, remedy);
        }
    }

    /// Reports prefixes that two routes claim with the same metric in the same VRF.
    fn check_prefixes(&self, report: &mut Report) {
        // Sorting keys beats a set of them: no hashing, and the places decide who was first.
        let mut keys: Vec<_> = self.routes.iter().enumerate().map(ClaimKey::new).collect();
        keys.sort_unstable();
        for same in keys.chunk_by(|a, b| a.what == b.what) {
            let Some((first, others)) = same.split_first() else { continue };
            for other in others {
                let claim = |key: &ClaimKey| &self.routes[key.index as usize];
                self.conflict(claim(first), claim(other), report);
            }
        }
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
