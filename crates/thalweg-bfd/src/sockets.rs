//! UDP sockets of sessions: one per link and family to receive, one per session to send.
//!
//! Each is bound to its link, so that a session hears and speaks there alone, in whatever VRF the link
//! is.

use crate::Micros;
use crate::engine::{Engine, Outgoing, TTL, Wanted};
use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use thalweg_wire::bfd::PORT;

/// Source ports (RFC 5881 §4).
const FIRST_PORT: u16 = 49_152;
/// How many there are.
const PORTS: u32 = 65_536 - FIRST_PORT as u32;
/// Internetwork control (RFC 4594 §3.1): the class of packets that keep a network together.
const CS6: u32 = 0xc0;
/// Packets taken from a socket before others get their turn.
const BATCH: usize = 64;
/// How long to wait until something that failed is tried again.
const AGAIN: Micros = 1_000_000;

/// Where packets of a family arrive: interface index, and whether it is IPv4.
type Door = (u32, bool);

/// All sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    doors: BTreeMap<Door, Socket>,
    senders: BTreeMap<u32, (Wanted, Socket)>,
    /// When to try again what failed.
    again: Option<Micros>,
}

impl Sockets {
    /// Opens what sessions need and closes what they do not. What fails is told to the engine and
    /// tried again.
    pub fn fit(&mut self, engine: &mut Engine, now: Micros) {
        self.again = None;
        let all: Vec<(u32, Wanted)> =
            engine.entries().map(|(id, entry)| (id, entry.wanted.clone())).collect();
        let door = |wanted: &Wanted| (wanted.link, wanted.peer.is_ipv4());
        self.doors.retain(|key, _| all.iter().any(|(_, wanted)| door(wanted) == *key));
        self.senders.retain(|id, (old, _)| {
            all.iter()
                .any(|(other, w)| other == id && w.local == old.local && w.device == old.device)
        });
        for (id, wanted) in all {
            let result = self.open_door(&wanted).and_then(|()| self.open_sender(id, &wanted));
            if result.is_err() {
                self.again = Some(now + AGAIN);
            }
            engine.trouble(id, result.err());
        }
    }

    fn open_door(&mut self, wanted: &Wanted) -> Result<(), String> {
        let v4 = wanted.peer.is_ipv4();
        if self.doors.contains_key(&(wanted.link, v4)) {
            return Ok(());
        }
        let socket = door(&wanted.device, v4).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "end the other BFD daemon in this network namespace",
                _ => "tried again every second",
            };
            format!("port {PORT} at {}: {error}; {remedy}", wanted.device)
        })?;
        self.doors.insert((wanted.link, v4), socket);
        Ok(())
    }

    fn open_sender(&mut self, id: u32, wanted: &Wanted) -> Result<(), String> {
        if self.senders.contains_key(&id) {
            return Ok(());
        }
        let socket = sender(id, wanted).map_err(|error| {
            let from = wanted.local.map_or_else(String::new, |local| format!(" from {local}"));
            format!("sending{from} at {}: {error}; tried again every second", wanted.device)
        })?;
        self.senders.insert(id, (wanted.clone(), socket));
        Ok(())
    }

    /// When to call [`Self::fit`] again at the latest.
    pub fn due(&self) -> Option<Micros> {
        self.again
    }

    /// Descriptors to wait for.
    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.doors.values().map(|socket| socket.as_fd())
    }

    /// Takes what arrived to the engine.
    pub fn receive(&self, engine: &mut Engine, now: Micros) {
        for ((link, _), socket) in &self.doors {
            for _ in 0..BATCH {
                let mut octets = [0; 512];
                let Some((source, ttl, len)) = take(socket, &mut octets) else { break };
                let octets = octets.get(..len).unwrap_or_default();
                // Who is not believed gets no answer; the engine counts.
                let _ = engine.receive((*link, source), ttl, octets, now);
            }
        }
    }

    /// Sends packets. One that the kernel does not take is lost as if the link had lost it.
    pub fn send(&self, packets: &[Outgoing]) {
        for packet in packets {
            let Some((wanted, socket)) = self.senders.get(&packet.session) else { continue };
            let to = scoped(wanted.peer, PORT, wanted.link);
            let _ = socket.send_to(&packet.octets, &to.into());
        }
    }
}

fn scoped(address: IpAddr, port: u16, link: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, link).into(),
        other => SocketAddr::new(other, port),
    }
}

fn socket(v4: bool, device: &str) -> io::Result<Socket> {
    let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind_device(Some(device.as_bytes()))?;
    if !v4 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn door(device: &str, v4: bool) -> io::Result<Socket> {
    let socket = socket(v4, device)?;
    match v4 {
        true => setsockopt(&socket, Ipv4RecvTtl, &true)?,
        false => setsockopt(&socket, Ipv6RecvHopLimit, &true)?,
    }
    socket.bind(&SocketAddr::new(unspecified(v4), PORT).into())?;
    Ok(socket)
}

fn sender(id: u32, wanted: &Wanted) -> io::Result<Socket> {
    let v4 = wanted.peer.is_ipv4();
    let socket = socket(v4, &wanted.device)?;
    match v4 {
        true => {
            socket.set_ttl_v4(u32::from(TTL))?;
            socket.set_tos_v4(CS6)?;
        }
        false => {
            socket.set_unicast_hops_v6(u32::from(TTL))?;
            socket.set_tclass_v6(CS6)?;
        }
    }
    let local = wanted.local.unwrap_or(unspecified(v4));
    let mut last = io::ErrorKind::AddrInUse.into();
    for step in 0..PORTS.min(1_000) {
        // Begins where chance put the session's number: hard to guess, and rarely taken.
        let port = FIRST_PORT + (id.wrapping_add(step) % PORTS) as u16;
        match socket.bind(&scoped(local, port, wanted.link).into()) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn unspecified(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// A packet with its source and TTL, if there is one.
fn take(socket: &Socket, octets: &mut [u8]) -> Option<(IpAddr, Option<u8>, usize)> {
    let mut space = cmsg_space!(i32);
    let mut into = [IoSliceMut::new(octets)];
    let fd = socket.as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(fd, &mut into, Some(&mut space), flags).ok()?;
    let source = message.address?;
    let v4 = source.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    let source = v4.or_else(|| source.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))?;
    let ttl = message.cmsgs().ok()?.find_map(|part| match part {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
            u8::try_from(ttl).ok()
        }
        _ => None,
    });
    Some((source, ttl, message.bytes))
}
