//! Bytes to text.

mod icmp;
mod ip;

use crate::encode;
use crate::layer::{BAD, BAD_CRC, CHUNKS, Entry, TCP_FLAGS, chunk, pattern};
use crate::sum::{crc32c, internet};
use std::fmt::Write;
use thalweg_wire::Mac;

/// The text of a frame. Parsed again it gives the same bytes: what the words of the language cannot
/// say is written as `bytes hex:…`.
pub fn describe(frame: &[u8]) -> String {
    let exact = |text: &String| {
        crate::parse::frame(text).is_ok_and(|read| encode::frame(&read, Mac::ZERO) == frame)
    };
    structured(frame).filter(exact).unwrap_or_else(|| format!("bytes hex:{}", hex(frame)))
}

fn structured(frame: &[u8]) -> Option<String> {
    let mut to = Text::default();
    let (ethernet, rest) = frame.split_at_checked(14)?;
    let mac = |at: usize| ethernet.get(at..at + 6)?.try_into().ok().map(Mac);
    to.word(format_args!("eth {} > {}", mac(6)?, mac(0)?));
    link(&mut to, u16::from_be_bytes([ethernet[12], ethernet[13]]), rest)?;
    Some(to.finish())
}

/// Text that grows, and what follows at its end.
#[derive(Default)]
struct Text {
    text: String,
    padding: usize,
}

impl Text {
    fn word(&mut self, word: impl std::fmt::Display) {
        let space = if self.text.is_empty() || self.text.ends_with('[') { "" } else { " " };
        let _ = write!(self.text, "{space}{word}");
    }

    fn option(&mut self, name: &str, value: u32, default: u32) {
        if value != default {
            self.word(format_args!("{name} {value}"));
        }
    }

    fn data(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if pattern(data.len()).eq(data.iter().copied()) {
            self.word(format_args!("len {}", data.len()));
        } else {
            self.word(format_args!("data hex:{}", hex(data)));
        }
    }

    fn finish(mut self) -> String {
        if self.padding > 0 {
            let padding = self.padding;
            self.word(format_args!("pad {padding}"));
        }
        self.text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an EtherType announces.
fn link(to: &mut Text, ethertype: u16, rest: &[u8]) -> Option<()> {
    match ethertype {
        0x8100 | 0x88a8 => {
            let (tag, rest) = rest.split_at_checked(4)?;
            let tci = u16::from_be_bytes([tag[0], tag[1]]);
            to.word(format_args!("vlan {}", tci & 0xfff));
            to.option("prio", u32::from(tci >> 13), 0);
            if tci & 1 << 12 != 0 {
                to.word("dei");
            }
            if ethertype != 0x8100 {
                to.word(format_args!("tpid {ethertype:#06x}"));
            }
            link(to, u16::from_be_bytes([tag[2], tag[3]]), rest)
        }
        0x8847 => mpls(to, rest),
        0x0806 => arp(to, rest),
        0x0800 => ip::four(to, rest),
        0x86dd => ip::six(to, rest),
        _ => {
            to.word(format_args!("type {ethertype:#06x}"));
            to.data(rest);
            Some(())
        }
    }
}

fn mpls(to: &mut Text, rest: &[u8]) -> Option<()> {
    to.word("mpls");
    let rest = stack(to, rest)?;
    match rest.first().map(|first| first >> 4) {
        Some(4) if rest.len() >= 20 => ip::four(to, rest),
        Some(6) if rest.len() >= 40 => ip::six(to, rest),
        _ => {
            to.data(rest);
            Some(())
        }
    }
}

/// Writes label stack entries up to the bottom; returns what follows.
fn stack<'a>(to: &mut Text, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        let (word, behind) = rest.split_first_chunk::<4>()?;
        let word = u32::from_be_bytes(*word);
        let bottom = word & 0x100 != 0;
        let (class, ttl) = ((word >> 9) as u8 & 7, word as u8);
        entry(to, Entry { label: word >> 12, class, ttl, bottom: None });
        if bottom || behind.len() < 4 {
            if !bottom {
                to.word("bos 0");
            }
            return Some(behind);
        }
        to.word("/");
        rest = behind;
    }
}

fn entry(to: &mut Text, entry: Entry) {
    to.word(entry.label);
    to.option("tc", entry.class.into(), 0);
    to.word(format_args!("ttl {}", entry.ttl));
}

fn arp(to: &mut Text, body: &[u8]) -> Option<()> {
    let (body, rest) = body.split_at_checked(28)?;
    let ip = |at: usize| {
        let octets: [u8; 4] = body.get(at..at + 4)?.try_into().ok()?;
        Some(std::net::Ipv4Addr::from(octets))
    };
    let mac = |at: usize| body.get(at..at + 6)?.try_into().ok().map(Mac);
    match body[7] {
        1 => to.word(format_args!("arp who-has {} tell {}", ip(24)?, ip(14)?)),
        _ => to.word(format_args!(
            "arp reply {} is-at {} to {} {}",
            ip(14)?,
            mac(8)?,
            mac(18)?,
            ip(24)?
        )),
    }
    zeros(to, rest)
}

/// Notes padding, if it is that.
fn zeros(to: &mut Text, rest: &[u8]) -> Option<()> {
    to.padding = rest.len();
    rest.iter().all(|octet| *octet == 0).then_some(())
}

/// What an IP protocol announces; `addresses` are the packet's, source first.
fn transport(to: &mut Text, protocol: u8, addresses: &[u8], body: &[u8]) -> Option<()> {
    let sum = |to: &mut Text, at: usize| checksum(to, protocol, addresses, body, at);
    let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    match protocol {
        17 if body.len() >= 8 => {
            to.word(format_args!("udp {} > {}", port(0)?, port(2)?));
            to.option("udplen", port(4)?.into(), body.len() as u32);
            sum(to, 6)?;
            to.data(&body[8..]);
        }
        6 if body.len() >= 20 => {
            to.word(format_args!("tcp {} > {}", port(0)?, port(2)?));
            for (name, bit) in TCP_FLAGS {
                if body[13] & bit != 0 {
                    to.word(name);
                }
            }
            to.option("seq", u32::from_be_bytes(*body[4..].first_chunk()?), 0);
            to.option("acked", u32::from_be_bytes(*body[8..].first_chunk()?), 0);
            to.option("win", port(14)?.into(), 0x2000);
            sum(to, 16)?;
            to.data(&body[20..]);
        }
        132 if body.len() >= 12 => {
            to.word(format_args!("sctp {} > {}", port(0)?, port(2)?));
            sctp(to, body)?;
        }
        1 if body.len() >= 8 => return icmp::message(to, false, &[], body),
        58 if body.len() >= 8 => return icmp::message(to, true, addresses, body),
        _ => return None,
    }
    Some(())
}

/// What stands behind the ports of SCTP: tag, a CRC that is not right, chunks as words for them make them.
fn sctp(to: &mut Text, body: &[u8]) -> Option<()> {
    let word = |at: usize| Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?));
    to.option("tag", word(4)?, 0);
    let right = u32::from_be_bytes(crc32c(&[&body[..8], &[0; 4], &body[12..]].concat()));
    match word(8)? {
        crc if crc == right => {}
        crc if crc == right ^ BAD_CRC => to.word("csum bad"),
        crc => to.word(format_args!("csum {crc:#010x}")),
    }
    let mut rest = &body[12..];
    while let Some((name, octets)) =
        CHUNKS.iter().map(|(name, kind)| (name, chunk(*kind))).find(|(_, c)| rest.starts_with(c))
    {
        to.word(name);
        rest = &rest[octets.len()..];
    }
    to.data(rest);
    Some(())
}

/// Notes a checksum at `at` that is not right; without `addresses` there is no pseudo header.
fn checksum(to: &mut Text, protocol: u8, addresses: &[u8], body: &[u8], at: usize) -> Option<()> {
    let stored = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
    let len = match addresses {
        [] => Vec::new(),
        _ => [&(body.len() as u32).to_be_bytes()[..], &[0, 0, 0, protocol]].concat(),
    };
    let right = match internet(&[addresses, &len, &body[..at], &body[at + 2..]]) {
        0 if protocol == 17 => 0xffff,
        right => right,
    };
    if stored == right ^ BAD {
        to.word("csum bad");
    } else if stored != right {
        to.word(format_args!("csum {stored:#06x}"));
    }
    Some(())
}

/// Where the payload of an L4 header begins that a text describes by length only.
fn payload_at(protocol: u8) -> Option<usize> {
    match protocol {
        17 | 1 | 58 => Some(8),
        6 => Some(20),
        132 => Some(12),
        _ => None,
    }
}
