//! Layers to bytes, from the inside out.

use crate::SENDER;
use crate::layer::{
    Arp, BAD_CRC, Crc, Edit, Entry, Ethernet, Frame, Icmp, Ip4, Ip6, Layer, Sctp, Tcp, Udp, chunk,
};
use crate::sum::{crc32c, internet};
use thalweg_wire::Mac;

/// The bytes of a frame that arrives at a link with the address `own`.
pub fn frame(frame: &Frame, own: Mac) -> Vec<u8> {
    let around = Around { own, pseudo: Vec::new() };
    edited(frame, &around)
}

/// What a layer needs to know of those in front of it.
#[derive(Clone)]
struct Around {
    own: Mac,
    /// Addresses for L4 checksums, source first; empty outside of IP.
    pseudo: Vec<u8>,
}

fn edited(frame: &Frame, around: &Around) -> Vec<u8> {
    let mut bytes = layers(&frame.layers, around);
    for edit in &frame.edits {
        match edit {
            Edit::Pad(octets) => bytes.resize(bytes.len() + octets, 0),
            Edit::Truncate(octets) => bytes.truncate(*octets),
        }
    }
    bytes
}

fn layers(all: &[Layer], around: &Around) -> Vec<u8> {
    let Some((layer, rest)) = all.split_first() else { return Vec::new() };
    let mut inner = around.clone();
    match layer {
        Layer::Ip4(ip) => {
            inner.pseudo = [ip.source.octets(), ip.destination.octets()].concat();
        }
        Layer::Ip6(ip) => {
            inner.pseudo = [ip.source.octets(), ip.destination.octets()].concat();
        }
        _ => {}
    }
    let payload = layers(rest, &inner);
    let header = match layer {
        Layer::Ethernet(ethernet) => self::ethernet(ethernet, rest, around),
        Layer::Vlan(vlan) => {
            let ethertype = vlan.ethertype.unwrap_or_else(|| ethertype(rest));
            [vlan.tci.to_be_bytes(), ethertype.to_be_bytes()].concat()
        }
        Layer::Mpls(stack) => entries(stack),
        Layer::Arp(arp) => self::arp(arp),
        Layer::Ip4(ip) => ip4(ip, rest, payload.len()),
        Layer::Ip6(ip) => ip6(ip, rest, payload.len()),
        Layer::Extension(_, body) => {
            let mut header = vec![protocol(rest), ((body.len() + 2) / 8 - 1) as u8];
            header.extend_from_slice(body);
            header
        }
        Layer::Fragment { offset, more, id } => {
            let mut header = vec![protocol(rest), 0];
            header.extend_from_slice(&(offset << 3 | u16::from(*more)).to_be_bytes());
            header.extend_from_slice(&id.to_be_bytes());
            header
        }
        Layer::Udp(udp) => self::udp(udp, &payload, around),
        Layer::Tcp(tcp) => self::tcp(tcp, &payload, around),
        Layer::Sctp(sctp) => self::sctp(sctp, &payload),
        Layer::Icmp(icmp) => self::icmp(icmp, rest, &payload, around),
        Layer::Quote(quoted) => edited(quoted, around),
        Layer::Stack(stack) => extension(stack),
        Layer::Data(data) => data.clone(),
    };
    [header, payload].concat()
}

fn ethernet(ethernet: &Ethernet, rest: &[Layer], around: &Around) -> Vec<u8> {
    let mut header = ethernet.destination.unwrap_or_else(|| natural(rest, around)).0.to_vec();
    header.extend_from_slice(&ethernet.source.unwrap_or(SENDER).0);
    header.extend_from_slice(&ethernet.ethertype.unwrap_or_else(|| ethertype(rest)).to_be_bytes());
    header
}

/// Where a frame goes that names no link address: to the link itself, and questions to everybody.
fn natural(rest: &[Layer], around: &Around) -> Mac {
    let asks = |layer: &Layer| matches!(layer, Layer::Arp(arp) if arp.operation == 1);
    if rest.iter().any(asks) { Mac::BROADCAST } else { around.own }
}

fn ethertype(rest: &[Layer]) -> u16 {
    match rest.first() {
        Some(Layer::Vlan(vlan)) => vlan.tpid,
        Some(Layer::Mpls(_)) => 0x8847,
        Some(Layer::Arp(_)) => 0x0806,
        Some(Layer::Ip4(_)) => 0x0800,
        Some(Layer::Ip6(_)) => 0x86dd,
        // An experimental type (IEEE 802).
        _ => 0x88b5,
    }
}

fn protocol(rest: &[Layer]) -> u8 {
    match rest.first() {
        Some(Layer::Ip4(_)) => 4,
        Some(Layer::Ip6(_)) => 41,
        Some(Layer::Mpls(_)) => 137,
        Some(Layer::Extension(kind, _)) => *kind,
        Some(Layer::Fragment { .. }) => 44,
        Some(Layer::Udp(_)) => 17,
        Some(Layer::Tcp(_)) => 6,
        Some(Layer::Sctp(_)) => 132,
        Some(Layer::Icmp(icmp)) => {
            if icmp.six {
                58
            } else {
                1
            }
        }
        // No next header, or an experimental protocol (RFC 3692).
        None => 59,
        Some(_) => 253,
    }
}

fn entries(stack: &[Entry]) -> Vec<u8> {
    let last = stack.len().saturating_sub(1);
    let word = |(index, entry): (usize, &Entry)| {
        let bottom = entry.bottom.unwrap_or(index == last);
        let word = entry.label << 12 | u32::from(entry.class) << 9 | u32::from(bottom) << 8;
        (word | u32::from(entry.ttl)).to_be_bytes()
    };
    stack.iter().enumerate().flat_map(word).collect()
}

fn arp(arp: &Arp) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, arp.operation as u8];
    body.extend_from_slice(&arp.sender.0.unwrap_or(SENDER).0);
    body.extend_from_slice(&arp.sender.1.octets());
    body.extend_from_slice(&arp.target.0.0);
    body.extend_from_slice(&arp.target.1.octets());
    body
}

/// RFC 791 §3.1.
fn ip4(ip: &Ip4, rest: &[Layer], payload: usize) -> Vec<u8> {
    let len = 20 + ip.options.len();
    let words = ip.header_words.unwrap_or((len / 4) as u8);
    let total = ip.total_len.unwrap_or((len + payload) as u16);
    let mut header = vec![ip.version << 4 | words & 15, ip.tos];
    header.extend_from_slice(&total.to_be_bytes());
    header.extend_from_slice(&ip.id.to_be_bytes());
    header.extend_from_slice(&ip.fragment.to_be_bytes());
    header.extend_from_slice(&[ip.ttl, ip.protocol.unwrap_or_else(|| protocol(rest)), 0, 0]);
    header.extend_from_slice(&ip.source.octets());
    header.extend_from_slice(&ip.destination.octets());
    header.extend_from_slice(&ip.options);
    let sum = ip.sum.of(internet(&[&header]));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 8200 §3.
fn ip6(ip: &Ip6, rest: &[Layer], payload: usize) -> Vec<u8> {
    let first = u32::from(ip.version) << 28 | u32::from(ip.class) << 20 | ip.flow;
    let mut header = first.to_be_bytes().to_vec();
    header.extend_from_slice(&ip.payload_len.unwrap_or(payload as u16).to_be_bytes());
    header.push(ip.next_header.unwrap_or_else(|| protocol(rest)));
    header.push(ip.hop_limit);
    header.extend_from_slice(&ip.source.octets());
    header.extend_from_slice(&ip.destination.octets());
    header
}

/// Checksum over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) and the message.
fn l4_sum(protocol: u8, header: &[u8], payload: &[u8], around: &Around) -> u16 {
    let len = (header.len() + payload.len()) as u32;
    let tail = [len.to_be_bytes(), [0, 0, 0, protocol]].concat();
    // Headers have even lengths, so pieces may be summed one by one.
    internet(&[&around.pseudo, &tail, header, payload])
}

fn udp(udp: &Udp, payload: &[u8], around: &Around) -> Vec<u8> {
    let len = udp.len.unwrap_or((payload.len() + 8) as u16);
    let words = [udp.ports.source, udp.ports.destination, len, 0];
    let mut header: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
    let right = match l4_sum(17, &header, payload, around) {
        // Zero means "none" (RFC 768).
        0 => 0xffff,
        right => right,
    };
    header[6..8].copy_from_slice(&udp.sum.of(right).to_be_bytes());
    header
}

fn tcp(tcp: &Tcp, payload: &[u8], around: &Around) -> Vec<u8> {
    let mut header = tcp.ports.source.to_be_bytes().to_vec();
    header.extend_from_slice(&tcp.ports.destination.to_be_bytes());
    header.extend_from_slice(&tcp.sequence.to_be_bytes());
    header.extend_from_slice(&tcp.acknowledged.to_be_bytes());
    header.extend_from_slice(&[5 << 4, tcp.flags]);
    header.extend_from_slice(&tcp.window.to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    let right = l4_sum(6, &header, payload, around);
    header[16..18].copy_from_slice(&tcp.sum.of(right).to_be_bytes());
    header
}

/// RFC 9260 §3.1.
fn sctp(sctp: &Sctp, payload: &[u8]) -> Vec<u8> {
    let mut header = sctp.ports.source.to_be_bytes().to_vec();
    header.extend_from_slice(&sctp.ports.destination.to_be_bytes());
    header.extend_from_slice(&sctp.tag.to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend(sctp.chunks.iter().flat_map(|kind| chunk(*kind)));
    let right = u32::from_be_bytes(crc32c(&[&header[..], payload].concat()));
    let crc = match sctp.crc {
        None => right,
        Some(Crc::Bad) => right ^ BAD_CRC,
        Some(Crc::Value(value)) => value,
    };
    header[8..12].copy_from_slice(&crc.to_be_bytes());
    header
}

fn icmp(icmp: &Icmp, rest: &[Layer], payload: &[u8], around: &Around) -> Vec<u8> {
    let word = icmp.rest.unwrap_or_else(|| icmp.value | quoted(icmp.six, rest, around));
    let mut header = vec![icmp.kind, icmp.code, 0, 0];
    header.extend_from_slice(&word.to_be_bytes());
    let right = match icmp.six {
        true => l4_sum(58, &header, payload, around),
        false => internet(&[&header, payload]),
    };
    header[2..4].copy_from_slice(&icmp.sum.of(right).to_be_bytes());
    header
}

/// RFC 4884 §4: where extensions follow a quote, its length stands in the second word, in words of
/// 4 octets (ICMP) or 8 (ICMPv6).
fn quoted(six: bool, rest: &[Layer], around: &Around) -> u32 {
    match rest {
        [Layer::Quote(quote), Layer::Stack(_), ..] => {
            let len = edited(quote, around).len() as u32;
            if six { (len / 8) << 24 } else { (len / 4) << 16 }
        }
        _ => 0,
    }
}

/// RFC 4950: extension header, object header, label stack.
fn extension(stack: &[Entry]) -> Vec<u8> {
    let stack = entries(stack);
    let mut bytes = vec![0x20, 0, 0, 0];
    bytes.extend_from_slice(&(stack.len() as u16 + 4).to_be_bytes());
    bytes.extend_from_slice(&[1, 1]);
    bytes.extend_from_slice(&stack);
    let sum = internet(&[&bytes]);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}
