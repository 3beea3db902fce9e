//! What a text says, before it is bytes.

use std::net::{Ipv4Addr, Ipv6Addr};
use thalweg_wire::Mac;

/// Headers from the outside in, then what is done to the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    pub layers: Vec<Layer>,
    pub edits: Vec<Edit>,
}

/// What is done to a finished frame, in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// So many zeros behind it.
    Pad(usize),
    /// Only so many octets are left.
    Truncate(usize),
}

/// A header, or what it carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    Ethernet(Ethernet),
    Vlan(Vlan),
    Mpls(Vec<Entry>),
    Arp(Arp),
    Ip4(Ip4),
    Ip6(Ip6),
    Extension(u8, Vec<u8>),
    Fragment {
        offset: u16,
        more: bool,
        id: u32,
    },
    Udp(Udp),
    Tcp(Tcp),
    Sctp(Sctp),
    Icmp(Icmp),
    /// A quoted packet in brackets.
    Quote(Frame),
    /// RFC 4950: the label stack a packet had.
    Stack(Vec<Entry>),
    Data(Vec<u8>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ethernet {
    pub source: Option<Mac>,
    pub destination: Option<Mac>,
    pub ethertype: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Vlan {
    pub tpid: u16,
    /// Priority, eligibility and identifier.
    pub tci: u16,
    pub ethertype: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub label: u32,
    pub class: u8,
    pub ttl: u8,
    pub bottom: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Arp {
    pub operation: u16,
    pub sender: (Option<Mac>, Ipv4Addr),
    pub target: (Mac, Ipv4Addr),
}

/// A checksum that is right, spoiled, or a given value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sum {
    #[default]
    Right,
    Bad,
    Value(u16),
}

/// What a bad checksum differs in from the right one.
pub const BAD: u16 = 0x5555;

impl Sum {
    /// The checksum to store where `right` would be right.
    pub fn of(self, right: u16) -> u16 {
        match self {
            Self::Right => right,
            Self::Bad => right ^ BAD,
            Self::Value(value) => value,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ip4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub version: u8,
    pub header_words: Option<u8>,
    pub tos: u8,
    pub total_len: Option<u16>,
    pub id: u16,
    /// Flags and offset as they stand in the header.
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: Option<u8>,
    pub sum: Sum,
    pub options: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ip6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub version: u8,
    pub class: u8,
    pub flow: u32,
    pub payload_len: Option<u16>,
    pub next_header: Option<u8>,
    pub hop_limit: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Udp {
    pub ports: Ports,
    pub len: Option<u16>,
    pub sum: Sum,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    pub ports: Ports,
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
    pub window: u16,
    pub sum: Sum,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sctp {
    pub ports: Ports,
    pub tag: u32,
    /// Types of the chunks that words name, in their order.
    pub chunks: Vec<u8>,
    /// The CRC as it stands in the header; none for the right one.
    pub crc: Option<Crc>,
}

/// A CRC that is not the right one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crc {
    Bad,
    /// Read from network order.
    Value(u32),
}

/// What a bad CRC differs in from the right one.
pub const BAD_CRC: u32 = 0x5555_5555;

/// Names of SCTP chunks and their types (RFC 9260 §3.2).
pub const CHUNKS: [(&str, u8); 12] = [
    ("init", 1),
    ("init-ack", 2),
    ("sack", 3),
    ("heartbeat", 4),
    ("heartbeat-ack", 5),
    ("abort", 6),
    ("shutdown", 7),
    ("shutdown-ack", 8),
    ("error", 9),
    ("cookie-echo", 10),
    ("cookie-ack", 11),
    ("shutdown-complete", 14),
];

/// The octets of a chunk that a word names: with the fields that its type must have, and no more.
pub fn chunk(kind: u8) -> Vec<u8> {
    let body: &[u8] = match kind {
        // Initiate tag, window, streams out and in, first number (§3.3.2).
        1 | 2 => &[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1],
        // Number, window, no gaps and no duplicates (§3.3.4).
        3 => &[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
        // Heartbeat information without content (§3.3.5).
        4 | 5 => &[0, 1, 0, 4],
        // The last number that came (§3.3.8).
        7 => &[0, 0, 0, 1],
        _ => &[],
    };
    let mut chunk = vec![kind, 0, 0, body.len() as u8 + 4];
    chunk.extend_from_slice(body);
    chunk
}

#[derive(Clone, Debug, PartialEq)]
pub struct Icmp {
    pub six: bool,
    pub kind: u8,
    pub code: u8,
    /// Second word; the length of a quote with extensions (RFC 4884) is added unless given.
    pub rest: Option<u32>,
    /// MTU, identifier or what else the type keeps in the second word.
    pub value: u32,
    pub sum: Sum,
}

/// Names of TCP flags and their bits.
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];

/// Names of IPv4 options with their octets.
pub const OPTIONS: [(&str, &[u8]); 8] = [
    ("nop", &[1]),
    ("eol", &[0]),
    ("lsrr", &[131, 7, 4, 192, 0, 2, 1]),
    ("ssrr", &[137, 7, 4, 192, 0, 2, 1]),
    ("rr", &[7, 7, 4, 0, 0, 0, 0]),
    ("ts", &[68, 8, 5, 0, 0, 0, 0, 0]),
    ("ra", &[148, 4, 0, 0]),
    ("unknown", &[30, 4, 0xab, 0xcd]),
];

/// Router alert as a hop-by-hop option, padded (RFC 2711).
pub const ALERT6: [u8; 6] = [5, 2, 0, 0, 1, 0];
/// Six octets of padding (RFC 8200 §4.2).
pub const PAD6: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// Names of ICMP messages: whether of IPv6, type, code if the name says it.
pub const MESSAGES: [(&str, bool, u8, Option<u8>); 16] = [
    ("echo", false, 8, Some(0)),
    ("reply", false, 0, Some(0)),
    ("unreachable", false, 3, None),
    ("redirect", false, 5, None),
    ("time-exceeded", false, 11, Some(0)),
    ("parameter-problem", false, 12, None),
    ("echo", true, 128, Some(0)),
    ("reply", true, 129, Some(0)),
    ("unreachable", true, 1, None),
    ("too-big", true, 2, Some(0)),
    ("time-exceeded", true, 3, Some(0)),
    ("parameter-problem", true, 4, None),
    ("router-solicitation", true, 133, Some(0)),
    ("router-advertisement", true, 134, Some(0)),
    ("neighbor-solicitation", true, 135, Some(0)),
    ("neighbor-advertisement", true, 136, Some(0)),
];

/// Names of "unreachable" codes.
pub const CODES: [(&str, bool, u8); 12] = [
    ("net", false, 0),
    ("host", false, 1),
    ("protocol", false, 2),
    ("port", false, 3),
    ("fragmentation-needed", false, 4),
    ("source-route", false, 5),
    ("prohibited", false, 13),
    ("no-route", true, 0),
    ("prohibited", true, 1),
    ("beyond-scope", true, 2),
    ("address", true, 3),
    ("port", true, 4),
];

/// Octets of a payload that the text describes only by its length.
pub fn pattern(len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(|at| at as u8)
}
