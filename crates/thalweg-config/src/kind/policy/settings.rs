//! `policy` of a `Router`: how policies are carried out.

use crate::read::Fields;
use crate::report::Report;
use thalweg_model::policy::PolicySettings;

/// Fields of `policy`.
const FIELDS: &[&str] = &["denied"];
/// `denied`: whether who is denied is told so.
pub(crate) const DENIED: &[(&str, bool)] = &[("Drop", false), ("Reject", true)];

/// Reads `policy`.
pub(crate) fn read(spec: &Fields, report: &mut Report) -> PolicySettings {
    let mut settings = PolicySettings::default();
    let Some(field) = spec.get("policy", report) else { return settings };
    let Some(fields) = Fields::open(field.node, &field.path, FIELDS, report) else {
        return settings;
    };
    if let Some(denied) = fields.get("denied", report) {
        settings.rejects = denied.choice(DENIED, report).unwrap_or_default();
    }
    settings
}
