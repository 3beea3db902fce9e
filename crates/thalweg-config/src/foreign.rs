//! Objects of Kubernetes: the envelope as its API has it.
//!
//! They come from elsewhere, so one that is wrong is set aside and disturbs nothing else: its errors are
//! about itself ([`crate::sets_aside`]). Unknown fields get a warning, as from an API server.

use crate::draft::{Draft, Kind};
use crate::kind;
use crate::kind::foreign::time;
use crate::name;
use crate::read::{Field, Fields};
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::{Node, Value, short};
use std::collections::BTreeMap;
use thalweg_model::Key;
use thalweg_model::cluster::ObjectName;
use thalweg_policy::object::PolicyKind;

/// The namespace of what names none.
const NAMESPACE: &str = "default";

/// Fields of `metadata`.
const METADATA: &[&str] = &[
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Calico's API as people use it, and as it is stored.
const CALICO: &[&str] = &["projectcalico.org/v3", "crd.projectcalico.org/v1"];

/// A kind with the versions of its API that are read, the best first.
const VERSIONS: &[(Kind, &[&str])] = &[
    (Kind::Service, &["v1"]),
    (Kind::EndpointSlice, &["discovery.k8s.io/v1"]),
    (Kind::Node, &["v1"]),
    (Kind::Pod, &["v1"]),
    (Kind::ServiceCidr, &["networking.k8s.io/v1", "networking.k8s.io/v1beta1"]),
    (Kind::IpPool, CALICO),
    (Kind::Namespace, &["v1"]),
    (Kind::ServiceAccount, &["v1"]),
    (Kind::Policy(PolicyKind::Kubernetes), &["networking.k8s.io/v1"]),
    (Kind::Policy(PolicyKind::Cluster), &["policy.networking.k8s.io/v1alpha2"]),
    (Kind::Policy(PolicyKind::Global), CALICO),
    (Kind::Policy(PolicyKind::Calico), CALICO),
    (Kind::Policy(PolicyKind::StagedGlobal), CALICO),
    (Kind::Policy(PolicyKind::StagedCalico), CALICO),
    (Kind::Policy(PolicyKind::StagedKubernetes), CALICO),
    (Kind::Policy(PolicyKind::Profile), CALICO),
    (Kind::Tier, CALICO),
    (Kind::NetworkSet, CALICO),
    (Kind::GlobalNetworkSet, CALICO),
    (Kind::HostEndpoint, CALICO),
];

/// The group of our own objects.
const OWN_GROUP: &str = "thalweg.dev";

/// Whose object this is.
pub(crate) enum Owner<'n> {
    /// Ours, or meant to be.
    Own,
    /// One of Kubernetes that is read.
    Known(Kind),
    /// Somebody else's, with its kind and where that stands.
    Strange(&'n str, Span),
}

/// Tells by `apiVersion` and `kind` whose an object is. One without a version is that of Kubernetes whose
/// kind it names, which then is what is wrong with it.
pub(crate) fn owner<'n>(fields: &Fields<'n, '_, '_>) -> Owner<'n> {
    let Some((kind, at)) = word(fields, "kind") else { return Owner::Own };
    let Some(version) = word(fields, "apiVersion") else {
        let known = VERSIONS.iter().find(|(known, _)| known.word() == kind);
        return known.map_or(Owner::Own, |(known, _)| Owner::Known(*known));
    };
    let group = group(version.0);
    let of_group = |versions: &[&str]| {
        matches!(group, "" | OWN_GROUP) || versions.iter().any(|v| self::group(v) == group)
    };
    let known = VERSIONS.iter().find(|(known, of)| known.word() == kind && of_group(of));
    if let Some((known, _)) = known {
        return Owner::Known(*known);
    }
    // A slip in our own group or kind is an error, not somebody else's object.
    let own_kind = Kind::ALL.iter().any(|(name, _)| *name == kind);
    let slip = suggest::nearest(group, [OWN_GROUP].into_iter()).is_some();
    let core = version.0 == "v1" && !own_kind;
    match !slip && (core || !group.is_empty()) {
        true => Owner::Strange(kind, at),
        false => Owner::Own,
    }
}

/// The kind of the items of a list of one kind, as API servers and `calicoctl` write it:
/// `GlobalNetworkPolicyList`. None where its version is not one that is read.
pub(crate) fn listed(fields: &Fields) -> Option<Kind> {
    let item = word(fields, "kind")?.0.strip_suffix("List")?;
    let version = word(fields, "apiVersion")?.0;
    let is = |(known, of): &&(Kind, &[&str])| known.word() == item && of.contains(&version);
    VERSIONS.iter().find(is).map(|(known, _)| *known)
}

/// Versions that are read of kinds with this word, the best of each first.
pub(crate) fn versions(word: &str) -> impl Iterator<Item = &'static str> {
    let known = VERSIONS.iter().filter(move |(known, _)| known.word() == word);
    known.filter_map(|(_, of)| of.first().copied())
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

fn word<'n>(fields: &Fields<'n, '_, '_>, name: &str) -> Option<(&'n str, Span)> {
    let field = fields.peek_any(name)?;
    match &field.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some((text, field.span)),
        _ => None,
    }
}

/// What `metadata` says.
pub(crate) struct Meta<'f> {
    /// Namespace and name; the namespace is empty for what belongs to none.
    pub name: ObjectName,
    /// Where the name stands.
    pub at: Span,
    /// `creationTimestamp`, seconds since 1970.
    pub created: Option<u64>,
    labels: Option<Fields<'f, 'f, 'f>>,
    annotations: Option<Fields<'f, 'f, 'f>>,
}

impl<'f> Meta<'f> {
    /// The label of that name, if it is not empty.
    pub fn label(&self, name: &str) -> Option<&'f str> {
        word(self.labels.as_ref()?, name).map(|(text, _)| text)
    }

    /// All labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for field in self.labels.iter().flat_map(Fields::iter) {
            if let Value::Scalar { text, .. } = &field.node.value {
                labels.insert(field.name().to_owned(), text.to_string());
            }
        }
        labels
    }

    /// The annotation of that name.
    pub fn annotation(&self, name: &'static str) -> Option<Field<'f, 'f, 'f>> {
        self.annotations.as_ref()?.given(name)
    }
}

/// Reads an object of a known kind; an item of a list of one kind has no version of its own.
pub(crate) fn read(
    node: &Node,
    fields: &Fields,
    kind: Kind,
    item: bool,
    draft: &mut Draft,
    report: &mut Report,
) {
    let before = report.errors();
    let name = place(fields, kind);
    report.object = Some(Key { kind: kind.name().into(), name: short(&shown(&name)) });
    let root = Path::Root;
    let known = match kind {
        Kind::EndpointSlice => kind::slice::FIELDS,
        Kind::ServiceAccount => kind::policy::ACCOUNT,
        _ => &["apiVersion", "kind", "metadata", "spec", "status"],
    };
    let Some(object) = Fields::open_foreign(node, &root, known, report) else { return };
    if !item {
        check_version(&object, kind, report);
    }
    let remedy = "write `metadata: {name: …}`";
    let Some(metadata) = object.required("metadata", remedy, report) else { return };
    let inner = Fields::open_foreign(metadata.node, &metadata.path, METADATA, report);
    let Some(inner) = inner else { return };
    let Some(at) = check_name(&inner, kind, report) else { return };
    let named = report.errors();
    let [labels, annotations] = ["labels", "annotations"].map(|name| inner.given(name));
    let created = inner.given("creationTimestamp").and_then(|field| created(&field, report));
    let meta = Meta {
        created,
        labels: labels.as_ref().and_then(|field| texts(field, report)),
        annotations: annotations.as_ref().and_then(|field| texts(field, report)),
        name,
        at,
    };
    let is_wrong = named > before || (report.errors() > before && !counts_all_the_same(kind));
    if draft.enter(kind, &shown(&meta.name), at, report).is_none() || is_wrong {
        return;
    }
    if report.errors() > named {
        let what = "it counts all the same, each of its labels as it is written";
        report.warning(at, &root.below("metadata"), what, "mend what is wrong in it");
    }
    match kind {
        Kind::Service => kind::service::read(&object, &meta, draft, report),
        Kind::EndpointSlice => kind::slice::read(&object, &meta, draft, report),
        Kind::Node => kind::node::read(&object, &meta, draft, report),
        Kind::Pod => kind::pod::read(&object, &meta, draft, report),
        Kind::ServiceCidr => kind::service_cidr::read(&object, &meta, draft, report),
        Kind::IpPool => kind::pool::read(&object, &meta, draft, report),
        _ => kind::policy::read(kind, &object, &meta, draft, report),
    }
}

/// Whether an object stays if something but its name is wrong with its metadata: what policies are made of,
/// since whom they are about would be open without them.
fn counts_all_the_same(kind: Kind) -> bool {
    use Kind::{EndpointSlice, IpPool, Node, Pod, Service, ServiceCidr};
    !matches!(kind, Service | EndpointSlice | Node | Pod | ServiceCidr | IpPool)
}

/// The name as messages have it: with the namespace, if there is one.
fn shown(name: &ObjectName) -> String {
    if name.namespace.is_empty() { name.name.clone() } else { name.to_string() }
}

fn namespaced(kind: Kind) -> bool {
    use PolicyKind::{Cluster, Global, Profile, StagedGlobal};
    match kind {
        Kind::Policy(kind) => !matches!(kind, Cluster | Global | Profile | StagedGlobal),
        Kind::Service | Kind::EndpointSlice | Kind::Pod => true,
        kind => matches!(kind, Kind::NetworkSet | Kind::ServiceAccount),
    }
}

/// Namespace and name as far as they are there.
fn place(fields: &Fields, kind: Kind) -> ObjectName {
    let root = Path::Root;
    let metadata = fields.peek_any("metadata").and_then(|node| Fields::of(node, &root));
    let find = |name| metadata.as_ref().and_then(|metadata| word(metadata, name));
    let name = find("name").map_or("?", |(text, _)| text);
    let namespace = find("namespace").map_or(NAMESPACE, |(text, _)| text);
    ObjectName::new(if namespaced(kind) { namespace } else { "" }, name)
}

fn check_version(fields: &Fields, kind: Kind, report: &mut Report) {
    let known = VERSIONS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, all)| *all);
    let remedy = format!("write `apiVersion: {}`", known.first().unwrap_or(&""));
    let Some(field) = fields.required("apiVersion", &remedy, report) else { return };
    let Some(found) = field.text(report) else { return };
    if !known.contains(&found) {
        let what = format!("unknown version `{}` of {}", short(found), kind.name());
        field.error(what, remedy, report);
    }
}

/// Checks namespace and name; returns where the name stands.
fn check_name(metadata: &Fields, kind: Kind, report: &mut Report) -> Option<Span> {
    let namespace = metadata.given("namespace").filter(|field| !field.is_empty_text());
    if let Some(field) = namespace {
        if !namespaced(kind) {
            let what = format!("a {} belongs to no namespace", kind.word());
            field.warning(what, "remove the field", report);
        } else if let Some(fault) = name::label(field.text(report)?) {
            let what = format!("the namespace {fault} (RFC 1123)");
            field.error(what, "write the name of a namespace", report);
        }
    }
    let field = metadata.required("name", "give the object a name", report)?;
    let text = field.text(report)?;
    let label = kind == Kind::Service;
    let fault = if label { name::label(text) } else { name::subdomain(text) };
    if let Some(fault) = fault {
        let remedy = match name::mended(text, !label) {
            Some(better) => format!("write for example `{}`", short(&better)),
            None => "use a to z, 0 to 9 and `-`".into(),
        };
        field.error(format!("the name `{}` {fault} (RFC 1123)", short(text)), remedy, report);
    }
    Some(field.node.span)
}

fn created(field: &Field, report: &mut Report) -> Option<u64> {
    let text = field.text(report)?;
    let seconds = time(text);
    if seconds.is_none() {
        let what = format!("`{}` is no time", short(text));
        field.error(what, "write it as RFC 3339 has it: 2026-01-02T03:04:05Z", report);
    }
    seconds
}

/// Labels or annotations, which must be texts.
fn texts<'n, 's, 'p>(
    field: &'p Field<'n, 's, 'p>,
    report: &mut Report,
) -> Option<Fields<'n, 's, 'p>> {
    let fields = Fields::any(field.node, &field.path, report)?;
    for field in fields.iter() {
        field.text(report);
    }
    Some(fields)
}
