//! `LabelRoute`: what to do with packets whose top label is this.

use crate::draft::{Draft, ObjectId};
use crate::kind::nexthop::Within;
use crate::kind::{TTL_MODELS, nexthop, route};
use crate::read::Fields;
use crate::report::Report;
use thalweg_model::intent::{LabelAction, LabelRoute};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "label",
    "ttlModel",
    "nextHops",
    "lookupVrf",
    "via",
    "dev",
    "labels",
    "class",
    "entropy",
    "onlink",
    "backup",
    "bfd",
];

/// Those fields of a next hop that may stand right in the `spec`. `ttlModel` is the label's own
/// there.
const SHORTHAND: &[&str] = &["via", "dev", "labels", "class", "entropy", "onlink", "backup", "bfd"];

/// Reads `spec`.
pub(crate) fn read(
    spec: &Fields,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let before = report.errors();
    let field = spec.need("label", "write the incoming label, 16 to 1048575", report);
    let label = field.as_ref().and_then(|field| nexthop::label(field, report));
    let model = spec.get("ttlModel", report);
    let ttl_model = model.and_then(|field| field.choice(TTL_MODELS, report));
    let action = read_action(spec, id, draft, report);
    if let (Some(field), Some(label), Some(action)) = (field, label, action)
        && report.errors() == before
    {
        draft.label(name, &field, LabelRoute { label, ttl_model, action }, id, report);
    }
}

fn read_action(
    spec: &Fields,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) -> Option<LabelAction> {
    let mut within = Within { draft, user: id };
    match route::way(spec, &["nextHops", "lookupVrf"], SHORTHAND, report)? {
        "nextHops" => {
            let field = spec.get("nextHops", report)?;
            nexthop::list(&field, &[], &mut within, report).map(LabelAction::Forward)
        }
        "lookupVrf" => {
            let field = spec.get("lookupVrf", report)?;
            within.draft.vrf_name(&field, "spec.lookupVrf", id, report).map(LabelAction::Vrf)
        }
        _ => nexthop::read(spec, SHORTHAND, &[], &mut within, report)
            .map(|hop| LabelAction::Forward(vec![hop])),
    }
}
