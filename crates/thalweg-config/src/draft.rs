//! The intent while it is being read: objects, and what must hold between them.

pub(crate) mod clash;
mod cluster;
mod kind;

pub(crate) use cluster::{ClusterDraft, ClusterPart, PortClaim};
pub(crate) use kind::Kind;

use crate::name;
use crate::read::Field;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::tree::short;
use crate::uses::Use;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use thalweg_model::intent::{BfdSession, LabelRoute, Link, Route, Router, Vrf};
use thalweg_model::{Key, Prefix};

mod close;

/// The VRF that always exists, and the kernel table it learns.
pub(crate) const DEFAULT_VRF: &str = "default";
/// The kernel's table `main`.
pub(crate) const MAIN_TABLE: u32 = 254;

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
    /// Objects of Kubernetes.
    pub cluster: ClusterDraft,
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
}
