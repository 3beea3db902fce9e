//! Floating addresses of a pod: an annotation of Calico's, whose text is a list in JSON.

use crate::kind::foreign::{beyond_link, unicast};
use crate::read::Field;
use crate::report::Report;
use crate::tree::short;
use std::net::IpAddr;
use thalweg_model::cluster::Family;

/// The annotation.
pub(crate) const ANNOTATION: &str = "cni.projectcalico.org/floatingIPs";

/// What it looks like.
const SHAPE: &str = r#"write a list in JSON, as in '["192.0.2.50", "2001:db8::50"]'"#;

/// Reads the annotation: an address of each family at most.
pub(crate) fn read(field: &Field, report: &mut Report) -> Vec<IpAddr> {
    let Some(text) = field.text(report) else { return Vec::new() };
    let Some(words) = words(text) else {
        let what = format!("`{}` is no list of addresses", short(text));
        field.error(what, SHAPE, report);
        return Vec::new();
    };
    let mut all: Vec<IpAddr> = Vec::new();
    for word in words {
        let address = match unicast(word).and_then(beyond_link) {
            Ok(address) => address,
            Err((what, remedy)) => {
                field.error(what, remedy, report);
                continue;
            }
        };
        let family = Family::of(address);
        match all.iter().find(|other| Family::of(**other) == family) {
            Some(other) => {
                let what = format!("{other} and {address} are of one family");
                field.error(what, "keep one floating address of each family", report);
            }
            None => all.push(address),
        }
    }
    all
}

/// The texts of a list of texts in JSON. An address has nothing to escape.
fn words<'t>(text: &'t str) -> Option<Vec<&'t str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let word = |part: &'t str| {
        let word = part.trim().strip_prefix('"')?.strip_suffix('"')?;
        (!word.contains(['"', '\\'])).then_some(word)
    };
    inner.split(',').map(word).collect()
}

/// The text of the annotation.
pub(crate) fn text(addresses: &[IpAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", all.join(", "))
}
