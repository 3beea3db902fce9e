//! `projectcalico.org/v3 IPPool`: a range that workloads have their addresses from.

use crate::draft::Draft;
use crate::foreign::Meta;
use crate::kind::foreign::range;
use crate::read::Fields;
use crate::report::Report;
use thalweg_model::cluster::IpPool;

/// Fields of its `spec`.
const SPEC: &[&str] = &[
    "allowedUses",
    "assignmentMode",
    "blockSize",
    "cidr",
    "disableBGPExport",
    "disabled",
    "ipip",
    "ipipMode",
    "namespaceSelector",
    "nat-outgoing",
    "natOutgoing",
    "nodeSelector",
    "vxlanMode",
];

/// Reads an object.
pub(crate) fn read(object: &Fields, meta: &Meta, draft: &mut Draft, report: &mut Report) {
    let before = report.errors();
    let Some(spec) = object.required("spec", "write `spec: {cidr: …}`", report) else { return };
    let Some(fields) = Fields::open_foreign(spec.node, &spec.path, SPEC, report) else { return };
    let cidr = fields.required("cidr", "write the range: `cidr: 10.244.0.0/16`", report);
    let cidr = cidr.and_then(|field| range(&field, report));
    let mut flag = |name| fields.flag_of(name, report).unwrap_or_default();
    let (nat_outgoing, disabled) = (flag("natOutgoing"), flag("disabled"));
    if let (Some(cidr), true) = (cidr, report.errors() == before) {
        draft.cluster.pool(meta, IpPool { cidr, nat_outgoing, disabled });
    }
}
