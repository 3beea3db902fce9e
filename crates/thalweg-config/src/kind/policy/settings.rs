//! `policy` of a `Router`: how policies are carried out.

use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::{Value, short};
use thalweg_model::cluster::Protocol;
use thalweg_model::policy::{PolicySettings, ToHost};

/// Fields of `policy`.
const FIELDS: &[&str] =
    &["denied", "failSafeInbound", "failSafeOutbound", "endpointToHost", "autoHostEndpoints"];
/// `denied`: whether who is denied is told so.
pub(crate) const DENIED: &[(&str, bool)] = &[("Drop", false), ("Reject", true)];
/// `endpointToHost`.
pub(crate) const TO_HOST: &[(&str, ToHost)] =
    &[("Accept", ToHost::Accept), ("Drop", ToHost::Drop), ("Return", ToHost::Return)];

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
    for (name, ports) in [
        ("failSafeInbound", &mut settings.fail_safe_in),
        ("failSafeOutbound", &mut settings.fail_safe_out),
    ] {
        if let Some(list) = fields.get(name, report) {
            *ports = list.members(report).filter_map(|item| port(&item, report)).collect();
        }
    }
    if let Some(to_host) = fields.get("endpointToHost", report) {
        settings.to_host = to_host.choice(TO_HOST, report).unwrap_or_default();
    }
    if let Some(auto) = fields.get("autoHostEndpoints", report) {
        settings.auto_hosts = auto.flag(report).unwrap_or_default();
    }
    settings
}

/// A protocol and a port: `tcp:22`.
fn port(field: &Field, report: &mut Report) -> Option<(Protocol, u16)> {
    let remedy = "write protocol and port, as in \"tcp:22\"; `[]` keeps no port open";
    // Without quotes, some such words are numbers to base 60.
    let text = field.word("a protocol and a port", remedy, report)?;
    let read = text.split_once(':').and_then(|(word, number)| {
        let of = Protocol::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?.1;
        let plain = number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse::<u16>().ok().filter(|number| plain && *number > 0)?;
        Some((of, number))
    });
    if read.is_none() && matches!(field.node.value, Value::Scalar { .. }) {
        let what = format!("`{}` is no protocol with a port", short(text));
        field.error(what, remedy, report);
    }
    read
}
