//! `tunnel` of a `Router`: how this node reaches the others of its cluster.

use crate::read::Fields;
use crate::report::Report;
use thalweg_model::cluster::Family;
use thalweg_model::{TunnelProtocol, TunnelSettings};

/// Fields of `tunnel`.
const FIELDS: &[&str] = &["protocol", "port", "vni", "mtu", "underlay"];
/// `protocol`, with the word that turns tunnels off.
pub(crate) const PROTOCOLS: &[(&str, Option<TunnelProtocol>)] = &[
    ("None", None),
    ("Vxlan", Some(TunnelProtocol::Vxlan)),
    ("Geneve", Some(TunnelProtocol::Geneve)),
    ("Ipip", Some(TunnelProtocol::Ipip)),
    ("Gue", Some(TunnelProtocol::Gue)),
];
/// `underlay`.
pub(crate) const FAMILIES: &[(&str, Family)] = &[("IPv4", Family::V4), ("IPv6", Family::V6)];

/// Reads `tunnel`.
pub(crate) fn read(spec: &Fields, report: &mut Report) -> Option<TunnelSettings> {
    let field = spec.get("tunnel", report)?;
    let fields = Fields::open(field.node, &field.path, FIELDS, report)?;
    let remedy = "write Vxlan, Geneve, Ipip or Gue";
    let protocol = fields.need("protocol", remedy, report)?.choice(PROTOCOLS, report)??;
    let mut settings =
        TunnelSettings { protocol, port: protocol.usual_port(), ..TunnelSettings::default() };
    if let Some(port) = fields.get("port", report) {
        if protocol.usual_port() == 0 {
            let what = format!("{} has no ports", protocol.name());
            port.error(what, "leave it out, or choose another protocol", report);
        } else {
            settings.port = port.number(1..=u16::MAX, report).unwrap_or(settings.port);
        }
    }
    if let Some(vni) = fields.get("vni", report) {
        if protocol.has_vni() {
            settings.vni = vni.number(0..=0xff_ffff, report).unwrap_or(settings.vni);
        } else {
            let what = format!("{} has no network identifier", protocol.name());
            vni.error(what, "leave it out, or choose Vxlan or Geneve", report);
        }
    }
    if let Some(mtu) = fields.get("mtu", report) {
        settings.mtu = mtu.number(576..=65_535, report);
    }
    if let Some(family) = fields.get("underlay", report) {
        settings.underlay = family.choice(FAMILIES, report).unwrap_or_default();
    }
    Some(settings)
}
