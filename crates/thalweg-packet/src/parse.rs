//! Text to layers.

mod icmp;
mod ip;

use crate::Line;
use crate::error::Error;
use crate::layer::{
    Arp, CHUNKS, Crc, Edit, Entry, Ethernet, Frame, Layer, Ports, Sctp, Sum, TCP_FLAGS, Tcp, Udp,
    Vlan, pattern,
};
use crate::tokens::{Tokens, number};
use std::net::Ipv4Addr;
use thalweg_wire::Mac;

/// What may begin a header.
const LAYERS: &str = "a header (eth, vlan, mpls, arp, ip, ip6, hbh, dstopt, routing, fragment, udp, \
                      tcp, sctp, icmp, icmp6), a payload (len, data) or an edit (pad, truncate)";

/// Reads `LINK < FRAME`.
pub fn line(text: &str) -> Result<Line, Error> {
    let mut tokens = Tokens::new(text);
    let link: String = tokens.value("the name of a link, as in `eth0 < ip …`")?;
    tokens.expect("<")?;
    let frame = whole(&mut tokens)?;
    Ok(Line { link, frame })
}

/// Reads a frame.
pub fn frame(text: &str) -> Result<Frame, Error> {
    whole(&mut Tokens::new(text))
}

fn whole(tokens: &mut Tokens) -> Result<Frame, Error> {
    if tokens.accept("bytes") {
        let frame = Frame { layers: vec![Layer::Data(hex(tokens)?)], edits: edits(tokens)? };
        return end(tokens, frame);
    }
    let mut frame = layers(tokens)?;
    if !matches!(frame.layers.first(), Some(Layer::Ethernet(_))) {
        frame.layers.insert(0, Layer::Ethernet(Ethernet::default()));
    }
    end(tokens, frame)
}

fn end(tokens: &Tokens, frame: Frame) -> Result<Frame, Error> {
    match tokens.peek() {
        None => Ok(frame),
        Some(_) => Err(tokens.expected(LAYERS)),
    }
}

/// Headers and edits up to the end or a closing bracket.
fn layers(tokens: &mut Tokens) -> Result<Frame, Error> {
    let mut frame = Frame::default();
    if tokens.peek().is_none() {
        return Err(tokens.expected(LAYERS));
    }
    while let Some(layer) = layer(tokens, frame.layers.is_empty())? {
        frame.layers.push(layer);
    }
    frame.edits = edits(tokens)?;
    Ok(frame)
}

fn edits(tokens: &mut Tokens) -> Result<Vec<Edit>, Error> {
    let mut edits = Vec::new();
    loop {
        if tokens.accept("pad") {
            edits.push(Edit::Pad(tokens.number("octets", 65_535)? as usize));
        } else if tokens.accept("truncate") {
            edits.push(Edit::Truncate(tokens.number("octets", 65_535)? as usize));
        } else {
            return Ok(edits);
        }
    }
}

/// The next header; none where none begins.
fn layer(tokens: &mut Tokens, first: bool) -> Result<Option<Layer>, Error> {
    let Some(word) = tokens.peek() else { return Ok(None) };
    let known = match word {
        "eth" | "src-mac" | "dst-mac" | "type" if first => return ethernet(tokens).map(Some),
        "vlan" => vlan,
        "mpls" => |tokens: &mut Tokens| entries(tokens).map(Layer::Mpls),
        "stack" => |tokens: &mut Tokens| entries(tokens).map(Layer::Stack),
        "arp" => arp,
        "ip" => ip::four,
        "ip6" => ip::six,
        "hbh" | "dstopt" | "routing" => return ip::extension(tokens).map(Some),
        "fragment" => ip::fragment,
        "udp" => udp,
        "tcp" => tcp,
        "sctp" => sctp,
        "icmp" => |tokens: &mut Tokens| icmp::message(tokens, false),
        "icmp6" => |tokens: &mut Tokens| icmp::message(tokens, true),
        "[" => quote,
        "len" => |tokens: &mut Tokens| {
            let len = tokens.number("octets of payload", 65_535)? as usize;
            Ok(Layer::Data(pattern(len).collect()))
        },
        "data" => |tokens: &mut Tokens| hex(tokens).map(Layer::Data),
        _ => return Ok(None),
    };
    tokens.take();
    known(tokens).map(Some)
}

fn quote(tokens: &mut Tokens) -> Result<Layer, Error> {
    let frame = layers(tokens)?;
    if !tokens.accept("]") {
        return Err(tokens.expected("`]` or a header of the quoted packet"));
    }
    Ok(Layer::Quote(frame))
}

/// `eth SOURCE > DESTINATION`, `src-mac`, `dst-mac`, `type`, in any order.
fn ethernet(tokens: &mut Tokens) -> Result<Layer, Error> {
    let mut ethernet = Ethernet::default();
    loop {
        if tokens.accept("eth") {
            if tokens.accept("bcast") {
                ethernet.destination = Some(Mac::BROADCAST);
                continue;
            }
            ethernet.source = Some(tokens.value("a link address or `bcast`")?);
            tokens.expect(">")?;
            ethernet.destination = Some(mac(tokens)?);
        } else if tokens.accept("src-mac") {
            ethernet.source = Some(mac(tokens)?);
        } else if tokens.accept("dst-mac") {
            ethernet.destination = Some(mac(tokens)?);
        } else if tokens.accept("type") {
            ethernet.ethertype = Some(tokens.number("an EtherType", 0xffff)? as u16);
        } else {
            return Ok(Layer::Ethernet(ethernet));
        }
    }
}

fn mac(tokens: &mut Tokens) -> Result<Mac, Error> {
    match tokens.accept("bcast") {
        true => Ok(Mac::BROADCAST),
        false => tokens.value("a link address as in 02:00:00:00:00:01"),
    }
}

fn vlan(tokens: &mut Tokens) -> Result<Layer, Error> {
    let vid = tokens.number("a VLAN identifier", 0xfff)? as u16;
    let mut vlan = Vlan { tpid: 0x8100, tci: vid, ethertype: None };
    loop {
        if tokens.accept("prio") {
            vlan.tci |= (tokens.number("a priority", 7)? as u16) << 13;
        } else if tokens.accept("dei") {
            vlan.tci |= 1 << 12;
        } else if tokens.accept("tpid") {
            vlan.tpid = tokens.number("an EtherType", 0xffff)? as u16;
        } else if tokens.accept("type") {
            vlan.ethertype = Some(tokens.number("an EtherType", 0xffff)? as u16);
        } else {
            return Ok(Layer::Vlan(vlan));
        }
    }
}

/// `LABEL [tc N] [ttl N] [bos 0|1] / …`
fn entries(tokens: &mut Tokens) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    loop {
        let label = tokens.number("a label", 0xf_ffff)? as u32;
        let mut entry = Entry { label, class: 0, ttl: 64, bottom: None };
        loop {
            if tokens.accept("tc") {
                entry.class = tokens.number("a class", 7)? as u8;
            } else if tokens.accept("ttl") {
                entry.ttl = tokens.number("a TTL", 255)? as u8;
            } else if tokens.accept("bos") {
                entry.bottom = Some(tokens.number("0 or 1", 1)? == 1);
            } else {
                break;
            }
        }
        entries.push(entry);
        if !tokens.accept("/") {
            return Ok(entries);
        }
    }
}

/// `who-has TARGET tell SENDER`, `reply SENDER is-at MAC`.
fn arp(tokens: &mut Tokens) -> Result<Layer, Error> {
    const ADDRESS: &str = "an IPv4 address";
    let none = Mac::ZERO;
    if tokens.accept("who-has") {
        let target: Ipv4Addr = tokens.value(ADDRESS)?;
        tokens.expect("tell")?;
        let sender = (None, tokens.value(ADDRESS)?);
        return Ok(Layer::Arp(Arp { operation: 1, sender, target: (none, target) }));
    }
    if tokens.accept("reply") {
        let sender: Ipv4Addr = tokens.value(ADDRESS)?;
        tokens.expect("is-at")?;
        let sender = (Some(mac(tokens)?), sender);
        let target = match tokens.accept("to") {
            true => (mac(tokens)?, tokens.value(ADDRESS)?),
            false => (none, Ipv4Addr::UNSPECIFIED),
        };
        return Ok(Layer::Arp(Arp { operation: 2, sender, target }));
    }
    Err(tokens.expected("`who-has` or `reply`"))
}

fn ports(tokens: &mut Tokens) -> Result<Ports, Error> {
    let source = tokens.number("a source port", 0xffff)? as u16;
    tokens.expect(">")?;
    Ok(Ports { source, destination: tokens.number("a destination port", 0xffff)? as u16 })
}

fn udp(tokens: &mut Tokens) -> Result<Layer, Error> {
    let mut udp = Udp { ports: ports(tokens)?, len: None, sum: Sum::Right };
    loop {
        if tokens.accept("csum") {
            udp.sum = sum(tokens)?;
        } else if tokens.accept("udplen") {
            udp.len = Some(tokens.number("a length", 0xffff)? as u16);
        } else {
            return Ok(Layer::Udp(udp));
        }
    }
}

fn tcp(tokens: &mut Tokens) -> Result<Layer, Error> {
    let (ports, sum_) = (ports(tokens)?, Sum::Right);
    let mut tcp = Tcp { ports, sequence: 0, acknowledged: 0, flags: 0, window: 0x2000, sum: sum_ };
    loop {
        if tokens.accept("seq") {
            tcp.sequence = tokens.number("a sequence number", u64::from(u32::MAX))? as u32;
        } else if tokens.accept("acked") {
            tcp.acknowledged = tokens.number("a sequence number", u64::from(u32::MAX))? as u32;
        } else if tokens.accept("win") {
            tcp.window = tokens.number("a window", 0xffff)? as u16;
        } else if tokens.accept("csum") {
            tcp.sum = sum(tokens)?;
        } else if let Some((_, bit)) =
            TCP_FLAGS.iter().find(|(name, _)| tokens.peek() == Some(name))
        {
            tokens.take();
            tcp.flags |= bit;
        } else {
            return Ok(Layer::Tcp(tcp));
        }
    }
}

/// `[tag N] [csum …] CHUNK …`
fn sctp(tokens: &mut Tokens) -> Result<Layer, Error> {
    let mut sctp = Sctp { ports: ports(tokens)?, tag: 0, chunks: Vec::new(), crc: None };
    loop {
        if tokens.accept("tag") {
            sctp.tag = tokens.number("a verification tag", u64::from(u32::MAX))? as u32;
        } else if tokens.accept("csum") {
            sctp.crc = Some(match tokens.accept("bad") {
                true => Crc::Bad,
                false => Crc::Value(tokens.number("`bad` or a CRC", u64::from(u32::MAX))? as u32),
            });
        } else if let Some((_, kind)) = CHUNKS.iter().find(|(name, _)| tokens.peek() == Some(name))
        {
            tokens.take();
            sctp.chunks.push(*kind);
        } else {
            return Ok(Layer::Sctp(sctp));
        }
    }
}

/// `bad` or a value.
fn sum(tokens: &mut Tokens) -> Result<Sum, Error> {
    match tokens.accept("bad") {
        true => Ok(Sum::Bad),
        false => Ok(Sum::Value(tokens.number("`bad` or a checksum", 0xffff)? as u16)),
    }
}

/// `hex:` or nothing, then pairs of hexadecimal digits.
fn hex(tokens: &mut Tokens) -> Result<Vec<u8>, Error> {
    let digits = |word: &str| unhex(word.strip_prefix("hex:").unwrap_or(word));
    match tokens.peek().and_then(digits) {
        Some(bytes) => {
            tokens.take();
            Ok(bytes)
        }
        None => Err(tokens.expected("octets as in hex:4500001c")),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// A number or one of some names.
fn named<T: Copy>(tokens: &mut Tokens, names: &[(&str, T)]) -> Option<T> {
    let word = tokens.peek()?;
    let found = names.iter().find(|(name, _)| *name == word)?.1;
    tokens.take();
    Some(found)
}

/// Whether the next word is a number.
fn at_number(tokens: &Tokens) -> bool {
    tokens.peek().is_some_and(|word| number(word).is_some())
}
