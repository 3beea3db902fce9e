//! SCTP by hand, over raw sockets: kernels without SCTP sockets carry its packets as well.

use super::sockets::{LONG, inside};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, sockopt};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const DATA: u8 = 0;
pub const INIT: u8 = 1;
pub const INIT_ACK: u8 = 2;
pub const ABORT: u8 = 6;
pub const SHUTDOWN: u8 = 7;
pub const SHUTDOWN_ACK: u8 = 8;
pub const COOKIE_ECHO: u8 = 10;
pub const COOKIE_ACK: u8 = 11;
pub const SHUTDOWN_COMPLETE: u8 = 14;

/// A packet as it arrived, with one chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub from: SocketAddrV4,
    /// The port that it came to.
    pub to: u16,
    pub tag: u32,
    pub chunk: u8,
    pub body: Vec<u8>,
    /// Whether its checksum is right.
    pub right: bool,
}

/// CRC32c, bit by bit (RFC 9260, appendix A).
fn crc(octets: &[u8]) -> [u8; 4] {
    let mut register = u32::MAX;
    for octet in octets {
        register ^= u32::from(*octet);
        for _ in 0..8 {
            register = register >> 1 ^ if register & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!register).to_le_bytes()
}

/// One end of associations: a socket that gets all packets of SCTP to an address.
pub struct End {
    socket: OwnedFd,
    port: u16,
}

impl End {
    /// Opens it in a namespace, for one port.
    pub fn new(namespace: &str, address: &str, port: u16, wait: Duration) -> Self {
        let at = SocketAddrV4::new(address.parse().unwrap(), 0);
        let socket = inside(namespace, || {
            let socket =
                net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP)).unwrap();
            net::bind(&socket, &at).unwrap();
            socket
        });
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(wait)).unwrap();
        Self { socket, port }
    }

    /// Sends a packet with one chunk.
    pub fn say(&self, to: SocketAddrV4, tag: u32, chunk: u8, body: &[u8]) {
        let mut packet = self.port.to_be_bytes().to_vec();
        packet.extend_from_slice(&to.port().to_be_bytes());
        packet.extend_from_slice(&tag.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&[chunk, 0]);
        packet.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
        packet.extend_from_slice(body);
        let sum = crc(&packet);
        packet[8..12].copy_from_slice(&sum);
        let to = SocketAddrV4::new(*to.ip(), 0);
        net::sendto(&self.socket, &packet, SendFlags::empty(), &to).unwrap();
    }

    /// The next packet to this end's port; none if none comes.
    pub fn hear(&self) -> Option<Heard> {
        let start = Instant::now();
        while start.elapsed() < LONG {
            let mut octets = [0; 9_100];
            let (_, len) = net::recv(&self.socket, &mut octets[..], RecvFlags::empty()).ok()?;
            let heard = read(&octets[..len])?;
            if heard.to == self.port {
                return Some(heard);
            }
        }
        None
    }
}

fn read(octets: &[u8]) -> Option<Heard> {
    let from: [u8; 4] = octets.get(12..16)?.try_into().ok()?;
    let packet = octets.get(usize::from(octets.first()? & 15) * 4..)?;
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let mut blank = packet.to_vec();
    blank.get_mut(8..12)?.fill(0);
    Some(Heard {
        from: SocketAddrV4::new(Ipv4Addr::from(from), word(0)?),
        to: word(2)?,
        tag: u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?),
        chunk: *packet.get(12)?,
        body: packet.get(16..)?.to_vec(),
        right: crc(&blank)[..] == packet[8..12],
    })
}

/// Answers to all associations until `stop`, and says data again. What it heard with a wrong sum it does
/// not answer.
pub fn serve(namespace: &str, address: &str, port: u16, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let end = End::new(namespace, address, port, Duration::from_millis(20));
    let address = address.to_owned();
    std::thread::spawn(move || {
        while !stop.load(SeqCst) {
            let Some(heard) = end.hear().filter(|heard| heard.right) else { continue };
            // The tag of its INIT is the client's port; ours is that of the server.
            let tag = u32::from(heard.from.port());
            let name = format!("{address} saw {}", heard.from);
            match heard.chunk {
                INIT => end.say(heard.from, tag, INIT_ACK, &[0, 0, 0, 9]),
                COOKIE_ECHO => end.say(heard.from, tag, COOKIE_ACK, name.as_bytes()),
                DATA => end.say(heard.from, tag, DATA, &heard.body),
                SHUTDOWN => end.say(heard.from, tag, SHUTDOWN_ACK, &[]),
                _ => {}
            }
        }
    })
}

/// A client's association.
pub struct Association {
    pub end: End,
    pub to: SocketAddrV4,
    /// What the server said as it began.
    pub name: String,
}

impl Association {
    /// Begins one from a port of a namespace.
    ///
    /// # Errors
    ///
    /// What was heard instead.
    pub fn begin(namespace: &str, from: (&str, u16), to: &str) -> Result<Self, String> {
        let end = End::new(namespace, from.0, from.1, LONG / 4);
        let to: SocketAddrV4 = to.parse().unwrap();
        let mut association = Self { end, to, name: String::new() };
        association.asks(0, INIT, &[0; 16], INIT_ACK)?;
        let body = association.asks(9, COOKIE_ECHO, b"cookie", COOKIE_ACK)?;
        association.name = String::from_utf8_lossy(&body).into_owned();
        Ok(association)
    }

    /// Says a chunk and waits for one, which must come from where it was sent to, whole.
    fn asks(&self, tag: u32, chunk: u8, body: &[u8], answer: u8) -> Result<Vec<u8>, String> {
        self.end.say(self.to, tag, chunk, body);
        match self.end.hear() {
            Some(heard) if heard.from == self.to && heard.chunk == answer && heard.right => {
                Ok(heard.body)
            }
            Some(heard) => Err(format!("to {chunk} came {heard:?}")),
            None => Err(format!("nothing came to {chunk}")),
        }
    }

    /// Says so many octets of data and hears them again.
    ///
    /// # Errors
    ///
    /// What was heard instead.
    pub fn echo(&self, len: usize) -> Result<(), String> {
        let data: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let heard = self.asks(9, DATA, &data, DATA)?;
        if heard == data { Ok(()) } else { Err(format!("{len} octets came back as others")) }
    }

    /// Ends it as both sides want.
    ///
    /// # Errors
    ///
    /// What was heard instead.
    pub fn shut_down(&self) -> Result<(), String> {
        self.asks(9, SHUTDOWN, &[0; 4], SHUTDOWN_ACK)?;
        self.end.say(self.to, 9, SHUTDOWN_COMPLETE, &[]);
        Ok(())
    }
}
