//! IPv4, IPv6 and its extension headers.

use super::{Text, hex, payload_at, transport, zeros};
use crate::layer::{ALERT6, BAD, OPTIONS, PAD6};
use crate::sum::internet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An IPv4 packet and padding behind it.
pub fn four(to: &mut Text, bytes: &[u8]) -> Option<()> {
    let first = *bytes.first()?;
    let header_len = usize::from(first & 15).max(5) * 4;
    let (header, _) = bytes.split_at_checked(header_len)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
    to.word(format_args!("ip {} > {} ttl {}", address(12)?, address(16)?, header[8]));
    to.option("version", u32::from(first >> 4), 4);
    to.option("ihl", u32::from(first & 15), (header_len / 4) as u32);
    if header[1] != 0 {
        to.word(format_args!("tos {:#04x}", header[1]));
    }
    to.option("id", word(4).into(), 0);
    let fragment = word(6);
    for (name, bit) in [("evil", 0x8000), ("df", 0x4000), ("mf", 0x2000)] {
        if fragment & bit != 0 {
            to.word(name);
        }
    }
    let offset = fragment & 0x1fff;
    to.option("frag", u32::from(offset) * 8, 0);
    checksum(to, header);
    options(to, &header[20..]);
    let total = usize::from(word(2));
    if total < header_len || total > bytes.len() {
        to.word(format_args!("totlen {total}"));
    } else {
        zeros(to, &bytes[total..])?;
    }
    let end = if total < header_len { bytes.len() } else { total.min(bytes.len()) };
    let body = Body { addresses: &header[12..20], octets: &bytes[header_len..end] };
    payload(to, header[9], offset != 0, body, "proto");
    Some(())
}

fn checksum(to: &mut Text, header: &[u8]) {
    let stored = u16::from_be_bytes([header[10], header[11]]);
    let right = internet(&[&header[..10], &header[12..]]);
    if stored == right ^ BAD {
        to.word("csum bad");
    } else if stored != right {
        to.word(format_args!("csum {stored:#06x}"));
    }
}

fn options(to: &mut Text, options: &[u8]) {
    if options.is_empty() {
        return;
    }
    let alone = OPTIONS.iter().find(|(_, octets)| {
        let padded = octets.len().next_multiple_of(4);
        padded == options.len()
            && options.starts_with(octets)
            && options[octets.len()..].iter().all(|octet| *octet == 0)
    });
    match alone {
        Some((name, _)) => to.word(format_args!("options {name}")),
        None => to.word(format_args!("options hex:{}", hex(options))),
    }
}

/// What an IP header carries; later fragments are data.
fn payload(to: &mut Text, protocol: u8, later: bool, body: Body, word: &str) {
    let (text, padding) = (to.text.len(), to.padding);
    if !later && transport(to, protocol, body.addresses, body.octets).is_some() {
        return;
    }
    to.text.truncate(text);
    to.padding = padding;
    if !(protocol == 59 && body.octets.is_empty()) {
        to.word(format_args!("{word} {protocol}"));
    }
    to.data(body.octets);
}

/// What stands behind an IP header, and the addresses in it.
#[derive(Clone, Copy)]
struct Body<'a> {
    addresses: &'a [u8],
    octets: &'a [u8],
}

/// An IPv6 packet and padding behind it.
pub fn six(to: &mut Text, bytes: &[u8]) -> Option<()> {
    let (header, rest) = bytes.split_at_checked(40)?;
    let first = u32::from_be_bytes(*header.first_chunk()?);
    let address = |at: usize| Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?));
    to.word(format_args!("ip6 {} > {} hlim {}", address(8)?, address(24)?, header[7]));
    to.option("version", first >> 28, 6);
    if first >> 20 & 0xff != 0 {
        to.word(format_args!("class {:#04x}", first >> 20 & 0xff));
    }
    to.option("flow", first & 0xf_ffff, 0);
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if len > rest.len() {
        to.word(format_args!("paylen {len}"));
    } else {
        zeros(to, &rest[len..])?;
    }
    let body = Body { addresses: &header[8..40], octets: &rest[..len.min(rest.len())] };
    extensions(to, header[6], body)
}

/// Extension headers, then the rest. The last of them cannot say what follows unless that is a
/// header, so anything else is given up.
fn extensions(to: &mut Text, next: u8, all: Body) -> Option<()> {
    let body = all.octets;
    let behind = |octets| Body { octets, ..all };
    match next {
        0 | 43 | 60 => {
            let len = (usize::from(*body.get(1)?) + 1) * 8;
            let (header, rest) = body.split_at_checked(len)?;
            to.word(match next {
                0 => "hbh",
                43 => "routing",
                _ => "dstopt",
            });
            match &header[2..] {
                octets if octets == PAD6 && next != 43 => {}
                octets if octets == ALERT6 => to.word("ra"),
                [4, 0, 0, 0, 0, 0] if next == 43 => {}
                octets => to.word(format_args!("hex:{}", hex(octets))),
            }
            extensions(to, header[0], behind(rest))
        }
        44 => {
            let (header, rest) = body.split_at_checked(8)?;
            let offset = u16::from_be_bytes([header[2], header[3]]);
            to.word(format_args!("fragment {}", offset & !7));
            if offset & 1 != 0 {
                to.word("mf");
            }
            to.option("id", u32::from_be_bytes(*header[4..].first_chunk()?), 0);
            match offset >> 3 {
                0 => extensions(to, header[0], behind(rest)),
                _ => {
                    to.data(rest);
                    Some(())
                }
            }
        }
        _ => {
            payload(to, next, false, all, "next");
            Some(())
        }
    }
}

/// A quoted packet of which the end may be missing: completed as the text would, then cut again.
pub fn quoted(to: &mut Text, bytes: &[u8]) -> Option<()> {
    let (whole, at, protocol) = match bytes.first()? >> 4 {
        4 => {
            let total = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
            (usize::from(total), usize::from(bytes[0] & 15) * 4, *bytes.get(9)?)
        }
        6 => {
            let len = u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]);
            (usize::from(len) + 40, 40, *bytes.get(6)?)
        }
        _ => return None,
    };
    let family = |to: &mut Text, bytes: &[u8]| match bytes[0] >> 4 {
        4 => four(to, bytes),
        _ => six(to, bytes),
    };
    if whole <= bytes.len() {
        return family(to, bytes);
    }
    let (at, protocol) = behind_extensions(bytes, at, protocol);
    let data = at + payload_at(protocol)?;
    let mut completed = bytes.to_vec();
    completed.extend((bytes.len()..whole).map(|at| (at.wrapping_sub(data)) as u8));
    family(to, &completed)?;
    to.word(format_args!("truncate {}", bytes.len()));
    Some(())
}

/// Where the L4 header of a cut IPv6 packet begins, and what it is.
fn behind_extensions(bytes: &[u8], mut at: usize, mut protocol: u8) -> (usize, u8) {
    while let (0 | 43 | 44 | 60, Some([next, len])) = (protocol, bytes.get(at..at + 2)) {
        at += if protocol == 44 { 8 } else { (usize::from(*len) + 1) * 8 };
        protocol = *next;
    }
    (at, protocol)
}
