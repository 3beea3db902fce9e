//! IPv4, IPv6 and its extension headers.

use super::{at_number, hex, named, sum, unhex};
use crate::error::Error;
use crate::layer::{ALERT6, Ip4, Ip6, Layer, OPTIONS, PAD6, Sum};
use crate::tokens::Tokens;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Names of protocols for `proto` and `next`.
const PROTOCOLS: [(&str, u8); 11] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("icmp6", 58),
    ("none", 59),
    ("ospf", 89),
    ("sctp", 132),
    ("mpls", 137),
];

/// `SOURCE > DESTINATION` and options of an IPv4 header.
pub fn four(tokens: &mut Tokens) -> Result<Layer, Error> {
    let source: Ipv4Addr = tokens.value("an IPv4 source address")?;
    tokens.expect(">")?;
    let destination: Ipv4Addr = tokens.value("an IPv4 destination address")?;
    let mut ip = Ip4 {
        source,
        destination,
        version: 4,
        header_words: None,
        tos: 0,
        total_len: None,
        id: 0,
        fragment: 0,
        ttl: 64,
        protocol: None,
        sum: Sum::Right,
        options: Vec::new(),
    };
    while option4(tokens, &mut ip)? {}
    Ok(Layer::Ip4(ip))
}

fn option4(tokens: &mut Tokens, ip: &mut Ip4) -> Result<bool, Error> {
    match tokens.peek() {
        Some("df") => ip.fragment |= 0x4000,
        Some("mf") => ip.fragment |= 0x2000,
        Some("evil") => ip.fragment |= 0x8000,
        Some("ttl" | "tos" | "id" | "frag" | "proto" | "csum" | "ihl" | "totlen" | "version") => {}
        Some("options") => {}
        _ => return Ok(false),
    }
    match tokens.take() {
        Some("ttl") => ip.ttl = tokens.number("a TTL", 255)? as u8,
        Some("tos") => ip.tos = tokens.number("a TOS octet", 255)? as u8,
        Some("id") => ip.id = tokens.number("an identification", 0xffff)? as u16,
        Some("frag") => ip.fragment |= offset(tokens)?,
        Some("proto") => ip.protocol = Some(protocol(tokens)?),
        Some("csum") => ip.sum = sum(tokens)?,
        Some("ihl") => ip.header_words = Some(tokens.number("words", 15)? as u8),
        Some("totlen") => ip.total_len = Some(tokens.number("octets", 0xffff)? as u16),
        Some("version") => ip.version = tokens.number("a version", 15)? as u8,
        Some("options") => ip.options = options(tokens)?,
        _ => {}
    }
    Ok(true)
}

/// A fragment's offset in octets, as the header stores it.
fn offset(tokens: &mut Tokens) -> Result<u16, Error> {
    let octets = tokens.number("an offset in octets", 65_528)? as u16;
    if !octets.is_multiple_of(8) {
        return Err(tokens.wrong(format!("an offset is a multiple of 8 octets, {octets} is not")));
    }
    Ok(octets / 8)
}

fn protocol(tokens: &mut Tokens) -> Result<u8, Error> {
    match named(tokens, &PROTOCOLS) {
        Some(protocol) => Ok(protocol),
        None => tokens.number("a protocol: its name or number", 255).map(|number| number as u8),
    }
}

/// Names of options or `hex:…`, joined by commas; padded to whole words.
fn options(tokens: &mut Tokens) -> Result<Vec<u8>, Error> {
    const WHAT: &str =
        "options (nop, eol, lsrr, ssrr, rr, ts, ra, unknown or hex:…, joined by commas)";
    let word: String = tokens.value(WHAT)?;
    let mut bytes = Vec::new();
    for name in word.split(',') {
        match OPTIONS.iter().find(|(known, _)| *known == name) {
            Some((_, octets)) => bytes.extend_from_slice(octets),
            None => match name.strip_prefix("hex:").and_then(unhex) {
                Some(octets) => bytes.extend(octets),
                None => return Err(tokens.wrong(format!("`{name}` is no option; {WHAT}"))),
            },
        }
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    if bytes.len() > 40 {
        let len = bytes.len();
        return Err(tokens.wrong(format!("options take {len} octets, there is room for 40")));
    }
    Ok(bytes)
}

/// `SOURCE > DESTINATION` and options of an IPv6 header.
pub fn six(tokens: &mut Tokens) -> Result<Layer, Error> {
    let source: Ipv6Addr = tokens.value("an IPv6 source address")?;
    tokens.expect(">")?;
    let destination: Ipv6Addr = tokens.value("an IPv6 destination address")?;
    let mut ip = Ip6 {
        source,
        destination,
        version: 6,
        class: 0,
        flow: 0,
        payload_len: None,
        next_header: None,
        hop_limit: 64,
    };
    loop {
        if tokens.accept("hlim") {
            ip.hop_limit = tokens.number("a hop limit", 255)? as u8;
        } else if tokens.accept("class") {
            ip.class = tokens.number("a traffic class", 255)? as u8;
        } else if tokens.accept("flow") {
            ip.flow = tokens.number("a flow label", 0xf_ffff)? as u32;
        } else if tokens.accept("paylen") {
            ip.payload_len = Some(tokens.number("octets", 0xffff)? as u16);
        } else if tokens.accept("next") {
            ip.next_header = Some(protocol(tokens)?);
        } else if tokens.accept("version") {
            ip.version = tokens.number("a version", 15)? as u8;
        } else {
            return Ok(Layer::Ip6(ip));
        }
    }
}

/// `hbh`, `dstopt` or `routing`, with `ra` or the octets behind the length.
pub fn extension(tokens: &mut Tokens) -> Result<Layer, Error> {
    let (kind, mut body) = match tokens.take() {
        Some("hbh") => (0, PAD6.to_vec()),
        Some("dstopt") => (60, PAD6.to_vec()),
        _ => (43, vec![4, 0, 0, 0, 0, 0]),
    };
    if tokens.accept("ra") {
        body = ALERT6.to_vec();
    } else if tokens.peek().is_some_and(|word| word.starts_with("hex:")) {
        body = hex(tokens)?;
        if body.len() % 8 != 6 || body.len() > 2046 {
            let len = body.len();
            let rule = "an extension header has 6 octets behind its length, or 14, 22, …";
            return Err(tokens.wrong(format!("{rule}; these are {len}")));
        }
    }
    Ok(Layer::Extension(kind, body))
}

/// `OFFSET [mf] [id N]`
pub fn fragment(tokens: &mut Tokens) -> Result<Layer, Error> {
    let offset = if at_number(tokens) { offset(tokens)? } else { 0 };
    let (mut more, mut id) = (false, 0);
    loop {
        if tokens.accept("mf") {
            more = true;
        } else if tokens.accept("id") {
            id = tokens.number("an identification", u64::from(u32::MAX))? as u32;
        } else {
            return Ok(Layer::Fragment { offset, more, id });
        }
    }
}
