//! What objects of Kubernetes share: addresses, ranges, ports and times.

use crate::read::Field;
use crate::report::Report;
use crate::tree::short;
use std::net::{IpAddr, Ipv6Addr};
use thalweg_model::Prefix;
use thalweg_model::cluster::Protocol;
use thalweg_wire::PrefixError;

/// An address that packets can have, of whatever scope.
pub(crate) fn address(field: &Field, report: &mut Report) -> Option<IpAddr> {
    let text = field.word("an address", ADDRESS, report)?;
    match unicast(text) {
        Ok(address) => Some(address),
        Err((what, remedy)) => {
            field.error(what, remedy, report);
            None
        }
    }
}

/// What an address looks like.
const ADDRESS: &str = "write an address, as in 10.0.0.1 or \"2001:db8::1\"";

/// An address that packets can have, or what is wrong and the way out.
pub(crate) fn unicast(text: &str) -> Result<IpAddr, (String, String)> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err((format!("`{}` is no address", short(text)), ADDRESS.into()));
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let what = format!("{v6} is an IPv4 address in IPv6 dress");
        return Err((what, format!("write {v4}")));
    }
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let fault = match address {
        _ if address.is_unspecified() => "means no address at all",
        _ if address.is_loopback() => "is loopback, and such packets do not leave a host",
        _ if address.is_multicast() => "is a multicast address",
        _ if broadcast => "is the broadcast address",
        _ => return Ok(address),
    };
    Err((format!("{address} {fault}"), "write a unicast address".into()))
}

/// An address that others can reach beyond their link, as the API asks of endpoints.
pub(crate) fn reachable(field: &Field, report: &mut Report) -> Option<IpAddr> {
    let address = address(field, report)?;
    match beyond_link(address) {
        Ok(address) => Some(address),
        Err((what, remedy)) => {
            field.error(what, remedy, report);
            None
        }
    }
}

/// An address of wider scope than a link, or what is wrong and the way out.
pub(crate) fn beyond_link(address: IpAddr) -> Result<IpAddr, (String, String)> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => is_link_local(v6),
    };
    if !link_local {
        return Ok(address);
    }
    let what = format!("{address} is link-local, and such packets do not leave their link");
    Err((what, "write an address of wider scope".into()))
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// A range of addresses; spaces around it do not count, bits outside its length are masked.
pub(crate) fn range(field: &Field, report: &mut Report) -> Option<Prefix> {
    let remedy = "write address/length, such as 192.0.2.0/24 or 2001:db8::/32";
    let text = field.word("a range of addresses", remedy, report)?.trim();
    let prefix = match text.parse::<Prefix>() {
        Ok(prefix) => prefix,
        Err(error) => {
            let Some(prefix) = masked(text).filter(|_| error == PrefixError::HostBits) else {
                let what = format!("`{}` is no range of addresses", short(text));
                field.error(what, remedy, report);
                return None;
            };
            let what = format!("`{text}` has bits set outside its length: {prefix} is taken");
            field.warning(what, format!("write {prefix}"), report);
            prefix
        }
    };
    let mapped = matches!(prefix.address(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    if mapped && prefix.len() >= 96 {
        let what = format!("{prefix} is an IPv4 range in IPv6 dress");
        field.error(what, "write the IPv4 range", report);
        return None;
    }
    Some(prefix)
}

fn masked(text: &str) -> Option<Prefix> {
    let (address, len) = text.split_once('/')?;
    Some(Prefix::containing(address.parse().ok()?, len.parse().ok()?))
}

/// `protocol`; TCP where it is not set.
pub(crate) fn protocol(fields: &crate::read::Fields, report: &mut Report) -> Option<Protocol> {
    match fields.given("protocol").filter(|field| !field.is_empty_text()) {
        Some(field) => field.choice(&Protocol::ALL, report),
        None => Some(Protocol::Tcp),
    }
}

/// Seconds since 1970 of a time as RFC 3339 writes it, which ends in `Z` or an offset. Times before 1970
/// count as 1970.
pub(crate) fn time(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let octets = text.as_bytes();
    if marks.iter().any(|(at, mark)| octets.get(*at) != Some(mark)) {
        return None;
    }
    if !matches!(octets.get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let ranges = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !ranges || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(u64::try_from(seconds - offset(rest)?).unwrap_or_default())
}

/// Seconds of `Z` or `+01:30`.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60)
        .then_some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the day that leap
/// years have more is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months = (month + 9) % 12;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (months * 306 + 5) / 10
        + day
        - 1
        - 719_468
}

/// The time `seconds` after 1970 began, as RFC 3339 writes it.
pub(crate) fn time_text(seconds: u64) -> String {
    let (day, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // The year is found by going on from a guess that is never too late.
    let mut year = 1970 + day / 366;
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    let in_month = day - days(year, month, 1) + 1;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{in_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time("2000-02-29T12:00:00Z"), Some(951_825_600));
        assert_eq!(time("2026-01-02T03:04:05Z"), Some(1_767_323_045));
        assert_eq!(time("2026-01-02T03:04:05.678+01:30"), Some(1_767_323_045 - 5_400));
        assert_eq!(time("1969-01-01T00:00:00Z"), Some(0));
        for wrong in ["", "now", "2026-13-02T03:04:05Z", "2026-01-02", "2026-01-02T03:04:05", "é"]
        {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for seconds in (0..4_000_000_000u64).step_by(12_345_677).chain([951_782_400, 951_868_799]) {
            assert_eq!(time(&time_text(seconds)), Some(seconds), "{}", time_text(seconds));
        }
        assert_eq!(time_text(951_825_600), "2000-02-29T12:00:00Z");
    }
}
