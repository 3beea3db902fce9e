//! Datagrams in pieces: fragments as a sender makes them, in whatever order a test wants them.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// UDP.
const UDP: u8 = 17;
/// The IPv6 fragment header.
const FRAGMENT: u8 = 44;

/// The IP packets of a UDP datagram, whose pieces have at most `most` octets without their IP headers, in
/// their order. Both ends are of one family.
pub fn cut(from: SocketAddr, to: SocketAddr, id: u32, data: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut whole = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    whole.extend((data.len() as u16 + 8).to_be_bytes());
    whole.extend([0, 0]);
    whole.extend(data);
    let sum = match !sum_of(from.ip(), to.ip(), &whole) {
        0 => 0xffff,
        sum => sum,
    };
    whole[6..8].copy_from_slice(&sum.to_be_bytes());
    let most = most / 8 * 8;
    let last = whole.len().div_ceil(most) - 1;
    let pieces = whole.chunks(most).enumerate();
    pieces.map(|(n, piece)| packet(from.ip(), to.ip(), id, n * most, n < last, piece)).collect()
}

fn packet(from: IpAddr, to: IpAddr, id: u32, at: usize, more: bool, piece: &[u8]) -> Vec<u8> {
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut head = vec![0x45, 0];
            head.extend((piece.len() as u16 + 20).to_be_bytes());
            head.extend((id as u16).to_be_bytes());
            head.extend(((at / 8) as u16 | u16::from(more) << 13).to_be_bytes());
            head.extend([64, UDP, 0, 0]);
            head.extend(from.octets());
            head.extend(to.octets());
            let sum = !fold(words(&head));
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            head
        }
        (from, to) => {
            let mut head = vec![0x60, 0, 0, 0];
            head.extend((piece.len() as u16 + 8).to_be_bytes());
            head.extend([FRAGMENT, 64]);
            head.extend(octets(from));
            head.extend(octets(to));
            head.extend([UDP, 0]);
            head.extend((at as u16 | u16::from(more)).to_be_bytes());
            head.extend(id.to_be_bytes());
            head
        }
    };
    packet.extend(piece);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn words(octets: &[u8]) -> u32 {
    octets.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |x| (*x).into())).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum over a UDP datagram and its pseudo header; 0xffff where its checksum is right.
fn sum_of(from: IpAddr, to: IpAddr, whole: &[u8]) -> u16 {
    let ends = words(&octets(from)) + words(&octets(to));
    fold(ends + u32::from(UDP) + whole.len() as u32 + words(whole))
}

/// Sends IP packets as they are, one after the other, from this network namespace.
///
/// # Errors
///
/// What the kernel refuses: it needs `CAP_NET_RAW`.
pub fn send(packets: &[Vec<u8>], to: IpAddr) -> Result<(), String> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let told = |error: nix::Error| error.to_string();
    let socket =
        socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).map_err(told)?;
    let to = SockaddrStorage::from(SocketAddr::new(to, 0));
    for packet in packets {
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).map_err(told)?;
    }
    Ok(())
}

/// Pieces by where they begin, and whether more follow.
type Parts = BTreeMap<usize, (Vec<u8>, bool)>;

/// Puts packets together as a receiver does (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Default)]
pub struct Receiver {
    parts: BTreeMap<(IpAddr, IpAddr, u32), Parts>,
}

/// A datagram as its receiver has it: the ends, and the data.
pub type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

impl Receiver {
    /// Takes an IP packet of [`cut`] from wherever it has come through. A datagram that is whole with it;
    /// an error if that is none which its sender has sent.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn take(&mut self, packet: &[u8]) -> Result<Option<Datagram>, String> {
        let (from, to, id, at, more, piece) = read(packet).ok_or("no fragment of UDP")?;
        let parts = self.parts.entry((from, to, id)).or_default();
        if let Some((before, _)) = parts.insert(at, (piece.to_vec(), more))
            && before != piece
        {
            return Err(format!("{from} > {to} id {id}: two pieces at {at}"));
        }
        let mut whole = Vec::new();
        for (at, (piece, more)) in parts.iter() {
            if *at != whole.len() {
                return Ok(None);
            }
            whole.extend(piece);
            if !more {
                let datagram = datagram(from, to, &whole)?;
                self.parts.remove(&(from, to, id));
                return Ok(Some(datagram));
            }
        }
        Ok(None)
    }
}

fn datagram(from: IpAddr, to: IpAddr, whole: &[u8]) -> Result<Datagram, String> {
    if sum_of(from, to, whole) != 0xffff {
        return Err(format!("{from} > {to}: the checksum is wrong"));
    }
    let port = |at: usize| u16::from_be_bytes([whole[at], whole[at + 1]]);
    Ok((SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)), whole[8..].to_vec()))
}

type Piece<'a> = (IpAddr, IpAddr, u32, usize, bool, &'a [u8]);

fn read(packet: &[u8]) -> Option<Piece<'_>> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    if packet.first()? >> 4 == 4 {
        let four =
            |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
        let place = word(6)?;
        let piece = packet.get(20..usize::from(word(2)?))?;
        let at = usize::from(place & 0x1fff) * 8;
        return Some((four(12)?, four(16)?, word(4)?.into(), at, place >> 13 & 1 != 0, piece));
    }
    let long = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
    let place = word(42)?;
    let id = u32::from(word(44)?) << 16 | u32::from(word(46)?);
    let piece = packet.get(48..40 + usize::from(word(4)?))?;
    Some((long(8)?, long(24)?, id, usize::from(place & !7), place & 1 != 0, piece))
}
