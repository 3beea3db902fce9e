//! Asking the kernel to resolve a neighbor and to keep it so: the only things this crate writes.

use crate::Error;
use crate::message::neighbor::{self, NDA_DST, NDA_FLAGS_EXT, NUD_NOARP, NUD_PERMANENT};
use crate::message::{self, Messages, raw};
use crate::socket;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use std::net::IpAddr;

/// `NTF_EXT_MANAGED`: the kernel resolves and refreshes without traffic (Linux 5.16).
const MANAGED: u32 = 1;
/// `NTF_USE`: the kernel resolves once, as if there were traffic.
const NTF_USE: u8 = 1;

/// Has the kernel resolve neighbors.
///
/// What other people put there stays: permanent entries are left alone, and only entries that were
/// asked for here, or alike, are given up.
#[derive(Debug)]
pub struct Resolver {
    socket: Socket,
    sequence: u32,
}

impl Resolver {
    /// Opens a resolver in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`] when there are no sockets to be had.
    pub fn open() -> Result<Self, Error> {
        let socket = socket::open(&[], 64 << 10)?;
        // The answer is there before it is asked for; should it ever not be, do not wait for it.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel resolve `address` on `link` and keep it resolved.
    ///
    /// Returns at once; the outcome comes as an update of the neighbor. Asking again is fine.
    ///
    /// # Errors
    ///
    /// [`Error::Neighbor`] without `CAP_NET_ADMIN`, or when the link is gone or down.
    pub fn resolve(&mut self, link: u32, address: IpAddr) -> Result<(), Error> {
        let failed = |error| failed(link, address, error);
        if let Some(entry) = self.entry(link, address).map_err(failed)?
            && entry.state & (NUD_PERMANENT | NUD_NOARP) != 0
        {
            return Ok(());
        }
        match self.add(link, address, 0, MANAGED) {
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.add(link, address, NTF_USE, 0),
            result => result,
        }
        .map_err(failed)
    }

    /// Gives up a neighbor that [`Resolver::resolve`] asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Neighbor`] without `CAP_NET_ADMIN`. An entry or link that is gone is no error.
    pub fn forget(&mut self, link: u32, address: IpAddr) -> Result<(), Error> {
        let failed = |error| failed(link, address, error);
        let entry = self.entry(link, address).map_err(failed)?;
        if entry.is_none_or(|entry| entry.flags_ext & MANAGED == 0) {
            return Ok(());
        }
        let header = header(link, address, 0);
        match self.ask(raw::DELNEIGH, raw::F_ACK, &header, &[(NDA_DST, &octets(address))]) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            result => result.map(|_| ()).map_err(failed),
        }
    }

    fn add(&mut self, link: u32, address: IpAddr, flags: u8, ext: u32) -> Result<(), Errno> {
        let octets = octets(address);
        let ext = ext.to_ne_bytes();
        let attributes: &[(u16, &[u8])] = &[(NDA_DST, &octets), (NDA_FLAGS_EXT, &ext)];
        let modern = if flags == 0 { attributes } else { &attributes[..1] };
        let how = raw::F_ACK | raw::F_CREATE | raw::F_REPLACE;
        self.ask(raw::NEWNEIGH, how, &header(link, address, flags), modern).map(|_| ())
    }

    /// The kernel's entry, if there is one.
    fn entry(&mut self, link: u32, address: IpAddr) -> Result<Option<neighbor::Parsed>, Errno> {
        let header = header(link, address, 0);
        match self.ask(raw::GETNEIGH, 0, &header, &[(NDA_DST, &octets(address))]) {
            Ok(answer) => Ok(Messages(&answer).find_map(|m| neighbor::parse(&m))),
            // Linux before 5.0 cannot be asked for one.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and reads its answer, which the kernel gives before sending returns.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &[(u16, &[u8])],
    ) -> Result<Vec<u8>, Errno> {
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let sequence = self.sequence;
        let request = message::request(kind, flags, sequence, header, attributes);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0).map_err(errno)?;
        loop {
            let mut answer = Vec::new();
            socket::receive(&self.socket, &mut answer).map_err(errno)?;
            let Some(first) = Messages(&answer).find(|m| m.sequence == sequence) else { continue };
            return match first.error().filter(|_| first.kind == raw::ERROR) {
                Some(error) => Err(error),
                None => Ok(answer),
            };
        }
    }
}

/// `struct ndmsg`.
fn header(link: u32, address: IpAddr, flags: u8) -> [u8; 12] {
    let [a, b, c, d] = link.to_ne_bytes();
    let family = if address.is_ipv4() { raw::AF_INET } else { raw::AF_INET6 };
    [family, 0, 0, 0, a, b, c, d, 0, 0, flags, 0]
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn failed(link: u32, address: IpAddr, error: Errno) -> Error {
    let remedy = match error {
        Errno::PERM | Errno::ACCESS => "run as root or with CAP_NET_ADMIN",
        Errno::NODEV => "the link is gone; wait for it to come back",
        Errno::NETDOWN => "set the link up",
        Errno::NOBUFS => "raise net.ipv4.neigh.default.gc_thresh3 (ipv6: the same)",
        _ => "look at the link with `ip -d link`",
    };
    Error::Neighbor { link, address, error: error.into(), remedy }
}
