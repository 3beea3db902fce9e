//! `networking.k8s.io/v1 ServiceCIDR`: ranges that cluster IPs are given from.

use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::foreign::range;
use crate::read::Fields;
use crate::report::Report;
use thalweg_model::Prefix;

/// Fields of its `spec`.
const SPEC: &[&str] = &["cidrs"];

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let Some(spec) = object.required("spec", "write `spec: {cidrs: […]}`", report) else {
        return;
    };
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, SPEC, report) else { return };
    let remedy = "write one range, or one of each family: `cidrs: [10.96.0.0/16]`";
    let Some(list) = fields.required("cidrs", remedy, report) else { return };
    let cidrs: Vec<Prefix> = list.members(report).filter_map(|item| range(&item, report)).collect();
    let of_family = |v4: bool| cidrs.iter().filter(|cidr| cidr.is_v4() == v4).count();
    if of_family(true).max(of_family(false)) > 1 {
        list.error("there are two ranges of one family", remedy, report);
    }
    if cidrs.is_empty() && report.errors() == before {
        list.error("there is no range", remedy, report);
    }
    if report.errors() == before {
        draft.cluster.service_cidr(meta, cidrs);
    }
}
