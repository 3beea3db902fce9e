//! `BfdSession`: whether a neighbor on a link can be reached.

use crate::draft::{Draft, ObjectId};
use crate::name;
use crate::read::{Field, Fields};
use crate::report::Report;
use crate::tree::short;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use thalweg_model::intent::{BfdAuth, BfdAuthKind, BfdKey, BfdSession};

/// Fields of its `spec`.
pub(crate) const FIELDS: &[&str] = &[
    "peer",
    "local",
    "link",
    "transmit",
    "receive",
    "multiplier",
    "holdUp",
    "passive",
    "authentication",
];

/// `authentication.kind`.
pub(crate) const KINDS: &[(&str, BfdAuthKind)] = &[
    ("Simple", BfdAuthKind::Simple),
    ("Md5", BfdAuthKind::Md5),
    ("MeticulousMd5", BfdAuthKind::MeticulousMd5),
    ("Sha1", BfdAuthKind::Sha1),
    ("MeticulousSha1", BfdAuthKind::MeticulousSha1),
];

/// Intervals in milliseconds.
const INTERVALS: (u64, u64) = (10, 60_000);
/// The usual interval.
const INTERVAL: Duration = Duration::from_millis(300);
/// The usual multiplier.
const MULTIPLIER: u8 = 3;
/// Most milliseconds of `holdUp`.
const LONGEST_HOLD: u64 = 3_600_000;

/// Reads `spec`.
pub(crate) fn read(
    spec: &Fields,
    name: &str,
    id: ObjectId,
    draft: &mut Draft,
    report: &mut Report,
) {
    let before = report.errors();
    let peer = spec.need("peer", "write the address of the neighbor", report);
    let address = peer.as_ref().and_then(|field| address(field, report));
    let link = spec.need("link", "name the interface towards the neighbor", report);
    let link = link.and_then(|field| device(&field, report));
    let local = spec.get("local", report);
    let own = local.as_ref().and_then(|field| self::address(field, report));
    if let (Some(field), Some(own), Some(address)) = (&local, own, address)
        && own.is_ipv4() != address.is_ipv4()
    {
        let what = format!("{own} and the peer {address} are of different families");
        field.error(what, "write an own address of the peer's family, or remove the field", report);
    }
    let transmit = time(spec, "transmit", INTERVALS, INTERVAL, report);
    let receive = time(spec, "receive", INTERVALS, INTERVAL, report);
    let multiplier = spec.get("multiplier", report);
    let multiplier = multiplier.and_then(|field| field.number(1..=255, report));
    let hold_up = time(spec, "holdUp", (0, LONGEST_HOLD), Duration::ZERO, report);
    let passive = spec.get("passive", report).and_then(|field| field.flag(report));
    let authentication = authentication(spec, report);
    let (Some(field), Some(peer), Some(link)) = (peer, address, link) else { return };
    if report.errors() > before {
        return;
    }
    let session = BfdSession {
        peer,
        local: own,
        link,
        transmit,
        receive,
        multiplier: multiplier.unwrap_or(MULTIPLIER),
        hold_up,
        authentication,
        passive: passive.unwrap_or_default(),
    };
    draft.session(name, &field, session, id, report);
}

fn time(
    spec: &Fields,
    name: &'static str,
    range: (u64, u64),
    usual: Duration,
    report: &mut Report,
) -> Duration {
    spec.get(name, report).and_then(|field| field.time(range, report)).unwrap_or(usual)
}

/// An address that a neighbor can have.
fn address(field: &Field, report: &mut Report) -> Option<IpAddr> {
    let remedy = "write an address, as in 10.0.0.2 or \"fe80::2\"";
    let text = field.word("an address", remedy, report)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        field.error(format!("`{}` is no address", short(text)), remedy, report);
        return None;
    };
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast {
        let what = format!("{address} is no address of a neighbor on a link");
        field.error(what, "write the address of one router", report);
        return None;
    }
    Some(address)
}

fn device(field: &Field, report: &mut Report) -> Option<String> {
    let text = field.text(report)?;
    if let Some(fault) = name::device(text) {
        let what = format!("`{}` {fault}", short(text));
        field.error(what, "write the name as `ip link` shows it", report);
        return None;
    }
    Some(text.into())
}

fn authentication(spec: &Fields, report: &mut Report) -> Option<BfdAuth> {
    let field = spec.get("authentication", report)?;
    let known = ["kind", "keyId", "key", "keyFile"];
    let fields = Fields::open(field.node, &field.path, &known, report)?;
    let kind =
        fields.need("kind", "write `kind: MeticulousSha1`, or as the neighbor has it", report);
    let kind = kind.and_then(|field| field.choice(KINDS, report));
    let key_id = fields.need("keyId", "write the number of the key, 0 to 255", report);
    let key_id = key_id.and_then(|field| field.number(0..=255, report));
    let key = match (fields.get("key", report), fields.get("keyFile", report)) {
        (Some(_), Some(file)) => {
            let what = "`key` and `keyFile` exclude each other";
            report.error(file.key_span, &file.path, what, "keep one of them");
            None
        }
        (Some(text), None) => key(&text, kind, report),
        (None, Some(file)) => key_file(&file, report),
        (None, None) => {
            if !fields.has("key") && !fields.has("keyFile") {
                fields.missing("keyFile", "name the file that holds the key", report);
            }
            None
        }
    };
    Some(BfdAuth { kind: kind?, key_id: key_id?, key: key? })
}

fn key(field: &Field, kind: Option<BfdAuthKind>, report: &mut Report) -> Option<BfdKey> {
    let text = field.text(report)?;
    let most = kind?.longest_key();
    if !(1..=most).contains(&text.len()) {
        let what = format!("the key has {} octets", text.len());
        field.error(what, format!("write 1 to {most} octets"), report);
        return None;
    }
    Some(BfdKey::Text(text.into()))
}

fn key_file(field: &Field, report: &mut Report) -> Option<BfdKey> {
    let path = PathBuf::from(field.text(report)?);
    if !path.is_absolute() {
        let what = format!("`{}` does not begin at /", short(&path.to_string_lossy()));
        field.error(what, "write the whole path", report);
        return None;
    }
    Some(BfdKey::File(path))
}
