//! Routes of ours in the kernel's tables: the kernel gets exceptions, such as packets to be fragmented,
//! and must know where they go.
//!
//! They carry a routing protocol number of their own ([`PROTOCOL`]) and the highest metric, so that
//! they stand behind everybody else's, are never learned back, and can be told from others.

use crate::Error;
use crate::message::{self, Messages, raw, route};
use crate::socket;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use std::net::IpAddr;
use thalweg_model::Prefix;

/// Routing protocol of our routes (`rtm_protocol`): `ip route show proto 116`.
pub const PROTOCOL: u8 = 116;
/// Their metric.
pub const METRIC: u32 = 0xffff_ff00;

/// What a route of ours is known by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExportKey {
    /// Routing table.
    pub table: u32,
    /// Prefix.
    pub prefix: Prefix,
}

/// A next hop of a route of ours.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ExportHop {
    /// Interface index.
    pub link: u32,
    /// Gateway; none on the link itself.
    pub via: Option<IpAddr>,
    /// Share of the flows, 1 to 256.
    pub weight: u16,
}

/// Where a route of ours leads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExportWay {
    /// Next hops.
    pub hops: Vec<ExportHop>,
    /// Source of packets of this host's own; the kernel's choice without.
    pub source: Option<IpAddr>,
    /// Largest packet, in octets; what the link takes without.
    pub mtu: Option<u32>,
}

/// Writes routes in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Exporter {
    socket: Socket,
    sequence: u32,
}

impl Exporter {
    /// Opens an exporter.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`] when there are no sockets to be had.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: socket::open(&[], 1 << 20)?, sequence: 0 })
    }

    /// Routes of ours that are there, of an earlier agent's for example.
    ///
    /// # Errors
    ///
    /// [`Error::Route`] with the kernel's words.
    pub fn installed(&mut self) -> Result<Vec<ExportKey>, Error> {
        let mut found = Vec::new();
        for family in [raw::AF_INET, raw::AF_INET6] {
            let mut header = [0; 12];
            header[0] = family;
            let sequence = self.send(raw::GETROUTE, raw::F_DUMP, &header, &[]).map_err(dump)?;
            let mut done = false;
            while !done {
                let mut octets = Vec::new();
                socket::receive(&self.socket, &mut octets)
                    .map_err(|error| dump(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
                for message in Messages(&octets).filter(|message| message.sequence == sequence) {
                    done |= message.kind == raw::DONE || message.kind == raw::ERROR;
                    found.extend(route::ours(&message));
                }
            }
        }
        Ok(found)
    }

    /// Puts a route in the place of the one of ours for that prefix, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Route`] without `CAP_NET_ADMIN`, or when the kernel takes no such next hop.
    pub fn put(&mut self, key: ExportKey, way: &ExportWay) -> Result<(), Error> {
        let attributes = route::attributes(key, way);
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        let how = raw::F_ACK | raw::F_CREATE | raw::F_REPLACE;
        self.ask(raw::NEWROUTE, how, &route::header(key, &way.hops), &attributes)
            .map_err(|error| failed(key, error))
    }

    /// Takes a route of ours out; none there is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Route`] without `CAP_NET_ADMIN`.
    pub fn remove(&mut self, key: ExportKey) -> Result<(), Error> {
        let attributes = route::attributes(key, &ExportWay::default());
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        match self.ask(raw::DELROUTE, raw::F_ACK, &route::header(key, &[]), &attributes) {
            Err(Errno::SRCH | Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.map_err(|error| failed(key, error)),
        }
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &[(u16, &[u8])],
    ) -> Result<(), Errno> {
        let sequence = self.send(kind, flags, header, attributes)?;
        loop {
            let mut answer = Vec::new();
            socket::receive(&self.socket, &mut answer)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let Some(first) = Messages(&answer).find(|m| m.sequence == sequence) else { continue };
            return match first.error().filter(|_| first.kind == raw::ERROR) {
                Some(error) => Err(error),
                None => Ok(()),
            };
        }
    }

    fn send(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &[(u16, &[u8])],
    ) -> Result<u32, Errno> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let request = message::request(kind, flags, self.sequence, header, attributes);
        self.socket
            .send_to(&request, &SocketAddr::new(0, 0), 0)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(self.sequence)
    }
}

/// Takes all routes of ours out of this network namespace; returns how many there were.
///
/// # Errors
///
/// As for [`Exporter::remove`].
pub fn withdraw() -> Result<usize, Error> {
    let mut exporter = Exporter::open()?;
    let keys = exporter.installed()?;
    for key in &keys {
        exporter.remove(*key)?;
    }
    Ok(keys.len())
}

fn dump(error: Errno) -> Error {
    Error::Routes { error: error.into() }
}

fn failed(key: ExportKey, error: Errno) -> Error {
    let remedy = match error {
        Errno::PERM | Errno::ACCESS => "run as root or with CAP_NET_ADMIN",
        Errno::NETDOWN | Errno::NETUNREACH | Errno::HOSTUNREACH => {
            "the kernel takes it once the link is up and the gateway on it"
        }
        Errno::NODEV => "the link is gone",
        _ => "set spec.kernelRoutes of the Router object to false to do without",
    };
    Error::Route { prefix: key.prefix, table: key.table, error: error.into(), remedy }
}
