//! `Vrf`: a routing instance.

use crate::draft::{DEFAULT_VRF, Draft, MAIN_TABLE, ObjectId};
use crate::read::Fields;
use crate::report::Report;
use thalweg_model::intent::Vrf;

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &["table"];

/// The kernel's table `local`: addresses, not routes.
const LOCAL_TABLE: u32 = 255;

/// Reads `spec`.
pub(crate) fn read(
    spec: &Fields,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let field = spec.get("table", report);
    let table = field.as_ref().and_then(|field| field.number(1..=u32::MAX, report));
    if let (Some(field), Some(table)) = (&field, table) {
        if table == LOCAL_TABLE {
            let what = "table 255 (local) holds addresses of this host, not routes";
            field.error(what, "name the table that `ip route show table N` lists", report);
        } else if name == DEFAULT_VRF && table != MAIN_TABLE {
            let what = format!("the VRF `default` learns kernel table 254 (main), not {table}");
            field.error(what, "remove the field, or give the Vrf another name", report);
        } else if name != DEFAULT_VRF && table == MAIN_TABLE {
            let what = "kernel table 254 (main) already belongs to the VRF `default`";
            field.error(what, "give each VRF a table of its own", report);
        } else {
            draft.table(field, table, id, report);
        }
    }
    // `default` is the main table, whether its object says so or not.
    let table = if name == DEFAULT_VRF { Some(MAIN_TABLE) } else { table };
    draft.vrf(name, Vrf { table });
}
