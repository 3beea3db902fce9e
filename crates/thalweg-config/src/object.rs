//! The envelope of an object: `apiVersion`, `kind`, `metadata`, `spec`.

use crate::draft::{Draft, Kind, ObjectId};
use crate::foreign::{self, Owner};
use crate::kind;
use crate::name;
use crate::read::{Field, Fields};
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::{Node, Value, short};
use thalweg_model::Key;

/// The version of the format that this crate reads and writes.
pub(crate) const API_VERSION: &str = "thalweg.dev/v1alpha1";

/// What an API server adds to `metadata`: neither ours nor an error.
const SERVER_FIELDS: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Reads one document: an object, or a `List` of them.
pub(crate) fn read(node: &Node, draft: &mut Draft, report: &mut Report) {
    report.object = None;
    let root = Path::Root;
    let Some(fields) = Fields::any(node, &root, report) else { return };
    let is_list = matches!(
        fields.peek("kind").map(|kind| &kind.node.value),
        Some(Value::Scalar { text, .. }) if text == "List"
    );
    if is_list {
        check_version(&fields, "v1", report);
        read_list(node, None, draft, report);
    } else if let Some(kind) = foreign::listed(&fields) {
        read_list(node, Some(kind), draft, report);
    } else {
        match foreign::owner(&fields) {
            Owner::Own => read_object(node, &fields, draft, report),
            Owner::Known(kind) => foreign::read(node, &fields, kind, false, draft, report),
            Owner::Strange(kind, at) => draft.cluster.strange(kind, at),
        }
    }
    report.object = None;
}

/// `kind: List`, as `kubectl get -o yaml` writes it, or a list of objects of one kind. Its depth is that of
/// the document.
fn read_list(node: &Node, kind: Option<Kind>, draft: &mut Draft, report: &mut Report) {
    let root = Path::Root;
    let known = ["apiVersion", "kind", "metadata", "items"];
    let Some(fields) = Fields::open(node, &root, &known, report) else { return };
    if kind.is_some() && fields.peek("items").is_some_and(|items| items.node.is_null()) {
        return;
    }
    let Some(items) = fields.need("items", "list the objects under it", report) else { return };
    let mut each = |item: &Node| {
        // As API servers write them, such items have neither version nor kind.
        let bare = kind.zip(Fields::of(item, &root)).filter(|(_, item)| !item.has("kind"));
        match bare {
            Some((kind, of)) => foreign::read(item, &of, kind, true, draft, report),
            None => read(item, draft, report),
        }
    };
    match &items.node.value {
        Value::List(list) => list.members.iter().for_each(&mut each),
        _ => items.error(
            format!("expected a list, found {}", items.node.describe()),
            "write each object as an item: `- apiVersion: …`",
            report,
        ),
    }
}

fn read_object(node: &Node, fields: &Fields, draft: &mut Draft, report: &mut Report) {
    let kind = peek_kind(fields);
    let name = peek_name(fields);
    if let (Some(kind), Some((name, _))) = (kind, name) {
        report.object = Some(Key { kind: kind.name().into(), name: short(name) });
    }
    let root = Path::Root;
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    if Fields::open(node, &root, &known, report).is_none() {
        return;
    }
    check_version(fields, API_VERSION, report);
    let kind = read_kind(fields, report);
    let name = read_metadata(fields, kind, report);
    let (Some(kind), Some((name, at))) = (kind, name) else { return };
    let Some(id) = draft.enter(kind, name, at, report) else { return };
    read_spec(fields, kind, name, id, draft, report);
}

fn peek_kind(fields: &Fields) -> Option<Kind> {
    let field = fields.peek("kind")?;
    let Value::Scalar { text, .. } = &field.node.value else { return None };
    Kind::ALL.iter().find(|(name, _)| name == text).map(|(_, kind)| *kind)
}

fn peek_name<'n>(fields: &Fields<'n, '_, '_>) -> Option<(&'n str, Span)> {
    let metadata = fields.peek("metadata")?;
    let Value::Map(map) = &metadata.node.value else { return None };
    let entry = map.members.iter().find(|entry| entry.key == "name")?;
    match &entry.value.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some((text, entry.value.span)),
        _ => None,
    }
}

fn check_version(fields: &Fields, expected: &str, report: &mut Report) {
    let remedy = format!("write `apiVersion: {expected}`");
    let Some(field) = fields.need("apiVersion", &remedy, report) else { return };
    let Some(found) = field.word("a version", &remedy, report) else { return };
    if found != expected {
        field.error(format!("unknown version `{}`", short(found)), remedy, report);
    }
}

fn read_kind(fields: &Fields, report: &mut Report) -> Option<Kind> {
    let known = suggest::list(Kind::ALL.iter().map(|(name, _)| *name));
    let field = fields.need("kind", &format!("known are {known}"), report)?;
    let found = field.word("a kind", &format!("known are {known}"), report)?;
    let kind = Kind::ALL.iter().find(|(name, _)| *name == found).map(|(_, kind)| *kind);
    if kind.is_none() {
        let remedy = suggest::remedy(found, Kind::ALL.iter().map(|(name, _)| *name));
        field.error(format!("unknown kind `{}`", short(found)), remedy, report);
    }
    kind
}

fn read_metadata<'n>(
    fields: &Fields<'n, '_, '_>,
    kind: Option<Kind>,
    report: &mut Report,
) -> Option<(&'n str, Span)> {
    let metadata = fields.need("metadata", "write `metadata: {name: …}`", report)?;
    let known = ["name", "labels", "annotations"];
    let others = ["namespace"].iter().chain(&SERVER_FIELDS).copied().collect::<Vec<_>>();
    let inner = Fields::open_beside(metadata.node, &metadata.path, &known, &others, report)?;
    if let Some(namespace) = inner.peek("namespace") {
        let what = "objects of this group belong to no namespace";
        report.error(namespace.key_span, &namespace.path, what, "remove the field");
    }
    for name in ["labels", "annotations"] {
        if let Some(map) = inner.get(name, report) {
            check_texts(&map, report);
        }
    }
    let field = inner.need("name", "give the object a name that is unique for its kind", report)?;
    let name = field.text(report)?;
    let fault = match kind {
        Some(Kind::Vrf) => name::label(name),
        _ => name::subdomain(name),
    };
    if let Some(fault) = fault {
        let remedy = match name::mended(name, kind != Some(Kind::Vrf)) {
            Some(better) => format!("write for example `{}`", short(&better)),
            None => "use a to z, 0 to 9 and `-`".into(),
        };
        field.error(format!("the name `{}` {fault} (RFC 1123)", short(name)), remedy, report);
        return None;
    }
    Some((name, field.node.span))
}

fn check_texts(map: &Field, report: &mut Report) {
    if let Some(fields) = Fields::any(map.node, &map.path, report) {
        for field in fields.iter() {
            field.text(report);
        }
    }
}

fn read_spec(
    fields: &Fields,
    kind: Kind,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let known = match kind {
        Kind::Router => kind::router::FIELDS,
        Kind::Link => kind::link::FIELDS,
        Kind::Vrf => kind::vrf::FIELDS,
        Kind::Route => kind::route::FIELDS,
        Kind::LabelRoute => kind::label::FIELDS,
        Kind::BfdSession => kind::bfd::FIELDS,
        // Those of Kubernetes have an envelope of their own.
        _ => &[],
    };
    let path = Path::Field(&Path::Root, "spec");
    let spec = match fields.peek("spec").filter(|spec| !spec.node.is_null()) {
        Some(spec) => match Fields::open(spec.node, &path, known, report) {
            Some(spec) => spec,
            None => return,
        },
        None => Fields::none(fields.span, &path),
    };
    match kind {
        Kind::Router => kind::router::read(&spec, id, draft, report),
        Kind::Link => kind::link::read(&spec, name, id, draft, report),
        Kind::Vrf => kind::vrf::read(&spec, name, id, draft, report),
        Kind::Route => kind::route::read(&spec, name, id, draft, report),
        Kind::LabelRoute => kind::label::read(&spec, name, id, draft, report),
        Kind::BfdSession => kind::bfd::read(&spec, name, id, draft, report),
        _ => {}
    }
}
