//! What policies are made of: policies of Kubernetes and Calico, tiers, sets, hosts, and the labels of
//! namespaces and service accounts.

mod calico;
mod entity;
mod kubernetes;
mod parts;
mod sets;
pub(crate) mod settings;

use crate::draft::{Draft, Kind};
use crate::foreign::Meta;
use crate::read::Fields;
use crate::report::{Path, Report};
use crate::tree::short;
use thalweg_policy::object::kubernetes::NetworkPolicy;
use thalweg_policy::object::{PolicyId, PolicyKind, PolicyObject, Spec, StagedAction};

/// Fields of a `ServiceAccount`.
pub(crate) const ACCOUNT: &[&str] = &[
    "apiVersion",
    "automountServiceAccountToken",
    "imagePullSecrets",
    "kind",
    "metadata",
    "secrets",
];

/// `stagedAction`.
const STAGED: &[(&str, StagedAction)] = &[
    ("Set", StagedAction::Set),
    ("Delete", StagedAction::Delete),
    ("Learn", StagedAction::Learn),
    ("Ignore", StagedAction::Ignore),
];

/// What Calico puts in front of the name of a `NetworkPolicy` of Kubernetes where it shows it as its own.
const COPY: &str = "knp.default.";

/// Reads an object.
pub(crate) fn read(
    kind: Kind,
    object: &Fields,
    meta: &Meta,
    draft: &mut Draft,
    report: &mut Report,
) {
    match kind {
        Kind::Policy(PolicyKind::Profile) => sets::profile(object, meta, draft, report),
        Kind::Policy(of) => policy(of, object, meta, draft, report),
        Kind::Namespace => {
            draft.cluster.policies.namespaces.push((meta.name.name.clone(), meta.labels()));
        }
        Kind::ServiceAccount => {
            draft.cluster.policies.accounts.push((meta.name.clone(), meta.labels()));
        }
        Kind::Tier => sets::tier(object, meta, draft, report),
        Kind::NetworkSet | Kind::GlobalNetworkSet => sets::set(object, meta, draft, report),
        Kind::HostEndpoint => sets::host(object, meta, draft, report),
        _ => {}
    }
}

/// Reads a policy. It stays as long as whom it selects is known, whatever else is wrong: without it,
/// pods that it alone selects would be open.
fn policy(kind: PolicyKind, object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let Some(spec) = object.given("spec") else {
        without_spec(kind, object, meta, draft, report);
        return;
    };
    // What is stored without `types` says both; people get a default by the rules that there are.
    let stored = object.text_of("apiVersion", report).is_some_and(|v| v.starts_with("crd."));
    let read = match kind {
        PolicyKind::Kubernetes | PolicyKind::StagedKubernetes => {
            kubernetes::network_policy(&spec, kind, report).map(Spec::Kubernetes)
        }
        PolicyKind::Cluster => kubernetes::cluster_policy(&spec, report).map(Spec::Cluster),
        _ => calico::policy(&spec, kind, stored, report).map(|one| Spec::Calico(Box::new(one))),
    };
    let staged = parts::sound(report, |report| {
        kind.of_staged()?;
        let fields = Fields::of(spec.node, &spec.path)?;
        fields.choice_of("stagedAction", STAGED, report)
    });
    if let (Some(read), Some(staged)) = (read, staged) {
        let origin = report.origin(meta.at);
        let id = PolicyId { kind, name: meta.name.clone() };
        let staged = staged.unwrap_or_default();
        draft.cluster.policies.policies.push((id, PolicyObject { origin, staged, spec: read }));
        tell_copy(kind, meta, report);
    }
}

/// Tells that a policy is what Calico shows of one of Kubernetes: it counts, and goes on to count when that
/// one is changed or removed.
fn tell_copy(kind: PolicyKind, meta: &Meta, report: &mut Report) {
    let original = meta.name.name.strip_prefix(COPY);
    let Some(original) = original.filter(|_| kind == PolicyKind::Calico) else { return };
    let what = format!(
        "this is what Calico shows of the NetworkPolicy `{}` of Kubernetes, and counts whatever becomes of that",
        short(original)
    );
    let remedy = "keep the one of Kubernetes, and leave this one out";
    report.warning(meta.at, &Path::Root.below("metadata.name"), what, remedy);
}

/// Takes a `NetworkPolicy` of Kubernetes without `spec` as an API server does, like one that selects all
/// pods of its namespace and allows nobody: set aside, it would leave them open. Policies of other kinds
/// do not say enough without it.
fn without_spec(
    kind: PolicyKind,
    object: &Fields,
    meta: &Meta,
    draft: &mut Draft,
    report: &mut Report,
) {
    if !matches!(kind, PolicyKind::Kubernetes | PolicyKind::StagedKubernetes) {
        object.missing("spec", "write what it allows under `spec`", report);
        return;
    }
    let what =
        "without `spec` it selects all pods of its namespace, and allows nobody to reach them";
    let remedy = "write whom it selects and what it allows under `spec`, or remove the policy";
    report.warning(meta.at, &object.path().below("spec"), what, remedy);
    let spec = NetworkPolicy { isolates_ingress: true, ..NetworkPolicy::default() };
    let (origin, staged) = (report.origin(meta.at), StagedAction::default());
    let id = PolicyId { kind, name: meta.name.clone() };
    let object = PolicyObject { origin, staged, spec: Spec::Kubernetes(spec) };
    draft.cluster.policies.policies.push((id, object));
}
