//! Prefixes and addresses as people write them.

use crate::read::Field;
use crate::report::Report;
use crate::tree::short;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;
use thalweg_wire::PrefixError;

/// Reads a prefix; one with host bits is refused with the two that were probably meant.
pub(crate) fn read(field: &Field, report: &mut Report) -> Option<Prefix> {
    let remedy = "write address/length, such as 192.0.2.0/24 or 2001:db8::/32";
    let text = field.word("a prefix", remedy, report)?;
    match text.parse::<Prefix>() {
        Ok(prefix) => {
            if let Some(why) = unroutable(prefix) {
                field.warning(format!("{prefix} {why}"), "remove it", report);
            }
            Some(prefix)
        }
        Err(error) => {
            let (what, remedy) = explain(text, error)
                .unwrap_or_else(|| (format!("`{}` is no prefix", short(text)), remedy.to_owned()));
            field.error(what, remedy, report);
            None
        }
    }
}

/// What is wrong with `text`, and the prefix to write instead.
fn explain(text: &str, error: PrefixError) -> Option<(String, String)> {
    if text == "default" {
        return Some((
            "`default` does not say which family".into(),
            "write 0.0.0.0/0 or ::/0".into(),
        ));
    }
    let (address, len) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let host = Prefix::host(address);
    match error {
        PrefixError::HostBits => {
            let prefix = Prefix::containing(address, len.parse().ok()?);
            let what = format!("`{text}` has bits set outside its length");
            Some((what, format!("write {prefix}, or {host} for the one address")))
        }
        PrefixError::Length => {
            let what =
                format!("`{}`: the length of such a prefix is at most {}", short(text), host.len());
            Some((what, format!("write {host} for the one address, or a shorter prefix")))
        }
        PrefixError::Syntax if len.is_empty() => {
            Some((format!("`{text}` has no length"), format!("write {host} for the one address")))
        }
        PrefixError::Syntax => {
            let mask = u32::from(len.parse::<Ipv4Addr>().ok()?);
            let prefix = Prefix::containing(address, mask.leading_ones() as u8);
            (address.is_ipv4() && mask.leading_ones() + mask.trailing_zeros() == 32)
                .then(|| (format!("`{text}` has a mask for a length"), format!("write {prefix}")))
        }
    }
}

/// Why packets to a prefix are never routed.
fn unroutable(prefix: Prefix) -> Option<&'static str> {
    let v4 = |a, b, c, d, len| Prefix::containing(Ipv4Addr::new(a, b, c, d).into(), len);
    let v6 = |first, len| Prefix::containing(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(), len);
    let within = |outer: Prefix| outer.len() <= prefix.len() && outer.contains(prefix.address());
    if within(v4(224, 0, 0, 0, 4)) || within(v6(0xff00, 8)) {
        return Some("is multicast, and only unicast packets are routed");
    }
    if within(v6(0xfe80, 10)) {
        return Some("is link-local, and such packets do not leave their link");
    }
    if within(v4(127, 0, 0, 0, 8)) || prefix == Prefix::host(Ipv6Addr::LOCALHOST.into()) {
        return Some("is loopback, and such packets do not leave this host");
    }
    None
}

/// Reads a gateway address.
pub(crate) fn gateway(field: &Field, report: &mut Report) -> Option<IpAddr> {
    let remedy = "write an address, such as 192.0.2.1 or 2001:db8::1";
    let text = field.word("an address", remedy, report)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let (what, remedy) = not_an_address(text)
            .unwrap_or_else(|| (format!("`{}` is no address", short(text)), remedy.into()));
        field.error(what, remedy, report);
        return None;
    };
    let fault = match address {
        _ if address.is_unspecified() => "means no address at all",
        _ if address.is_multicast() => "is a multicast address",
        _ if address.is_loopback() => "is an address of this host",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "is the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "is an IPv4 address in IPv6 dress",
        _ => return Some(address),
    };
    field.error(
        format!("{address} {fault}"),
        "write the unicast address of the next router",
        report,
    );
    None
}

fn not_an_address(text: &str) -> Option<(String, String)> {
    if let Some((address, _)) = text.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        return Some((format!("`{text}` is a prefix, not an address"), format!("write {address}")));
    }
    let (address, zone) = text.split_once('%')?;
    let address: IpAddr = address.parse().ok()?;
    let what = format!("`{}` names a link in the address", short(text));
    Some((what, format!("write `via: {address}` and `dev: {}`", short(zone))))
}
