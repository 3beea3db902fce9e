//! Ports of this host in a row that lead to a pod: an annotation of our own, since Kubernetes has one port
//! for each entry of a container.

use crate::kind::foreign::unicast;
use crate::read::Field;
use crate::report::Report;
use crate::tree::short;
use std::net::IpAddr;
use thalweg_model::cluster::{HostPort, Protocol};

/// The annotation.
pub(crate) const ANNOTATION: &str = "thalweg.io/hostPorts";
/// Ports that a pod may have by it: each is a frontend of its own on each address of the host.
const MOST: usize = 4_096;

/// What it looks like.
const SHAPE: &str = "write ranges, as in 30000-30099/udp, 5000-5009:6000-6009 or \
                     192.0.2.1:8000-8010:9000-9010/tcp, with commas between them";

/// A range of ports as it stands there.
struct Range {
    address: Option<IpAddr>,
    host: (u16, u16),
    /// The first port of the pod.
    first: u16,
    protocol: Protocol,
}

/// Reads the annotation.
pub(crate) fn read(field: &Field, report: &mut Report) -> Vec<HostPort> {
    let Some(text) = field.text(report) else { return Vec::new() };
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let range = match range(word) {
            Ok(range) => range,
            Err((what, remedy)) => {
                field.error(what, remedy, report);
                continue;
            }
        };
        let (from, to) = range.host;
        if all.len() + usize::from(to - from) >= MOST {
            let what = format!("these are more than {MOST} ports");
            field.error(what, "give the pod a floating address: it has all ports", report);
            return Vec::new();
        }
        all.extend((from..=to).map(|port| HostPort {
            address: range.address,
            host_port: port,
            port: range.first + (port - from),
            protocol: range.protocol,
        }));
    }
    all
}

/// `[ADDRESS:]FIRST[-LAST][:FIRST[-LAST]][/PROTOCOL]`; IPv6 addresses stand in brackets.
fn range(word: &str) -> Result<Range, (String, String)> {
    let wrong = || (format!("`{}` is no range of ports", short(word)), SHAPE.to_owned());
    let (rest, protocol) = match word.rsplit_once('/') {
        None => (word, Protocol::Tcp),
        Some((rest, "tcp" | "TCP")) => (rest, Protocol::Tcp),
        Some((rest, "udp" | "UDP")) => (rest, Protocol::Udp),
        Some((rest, "sctp" | "SCTP")) => (rest, Protocol::Sctp),
        Some(_) => return Err(wrong()),
    };
    let (address, ports) = address_of(rest).ok_or_else(wrong)?;
    let address = address.map(unicast).transpose()?;
    let (host, pod) = match ports.split_once(':') {
        Some((host, pod)) => (span(host).ok_or_else(wrong)?, span(pod).ok_or_else(wrong)?),
        None => {
            let host = span(ports).ok_or_else(wrong)?;
            (host, host)
        }
    };
    if host.1 - host.0 != pod.1 - pod.0 {
        let what = format!("`{}` has other numbers of ports for host and pod", short(word));
        return Err((what, "give both as many ports".into()));
    }
    Ok(Range { address, host, first: pod.0, protocol })
}

/// The address before the ports, if there is one.
fn address_of(text: &str) -> Option<(Option<&str>, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, ports) = inner.split_once("]:")?;
        return Some((Some(address), ports));
    }
    match text.split_once(':') {
        Some((address, ports)) if address.contains('.') => Some((Some(address), ports)),
        _ => Some((None, text)),
    }
}

/// The first and the last port.
fn span(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ADDRESS FIRST-LAST > FIRST PROTOCOL`
    fn told(word: &str) -> Option<String> {
        let range = range(word).ok()?;
        let address = range.address.map_or("any".into(), |address| address.to_string());
        let ((from, to), first, protocol) = (range.host, range.first, range.protocol);
        Some(format!("{address} {from}-{to} > {first} {protocol}"))
    }

    #[test]
    fn ranges_are_read() {
        for (word, wished) in [
            ("80", "any 80-80 > 80 TCP"),
            ("80:8080", "any 80-80 > 8080 TCP"),
            ("30000-30099/udp", "any 30000-30099 > 30000 UDP"),
            ("5000-5009:6000-6009", "any 5000-5009 > 6000 TCP"),
            ("192.0.2.1:1-2:3-4/SCTP", "192.0.2.1 1-2 > 3 SCTP"),
            ("[2001:db8::1]:65535", "2001:db8::1 65535-65535 > 65535 TCP"),
        ] {
            assert_eq!(told(word).as_deref(), Some(wished));
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for word in [
            "",
            "0",
            "2-1",
            "65536",
            "80/icmp",
            "1-3:4-5",
            "[::1]:80",
            "127.0.0.1:80",
            "a:80",
            "1:2:3",
        ] {
            assert!(range(word).is_err(), "{word}");
        }
    }
}
