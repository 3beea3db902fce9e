//! A pair of interfaces of our own, through which this host's stack reaches what only our programs know.
//!
//! Both ends have one link address and none of IP, and the first resolves no neighbors: whatever the kernel
//! routes to it arrives at the second, addressed to it.

use crate::Error;
use crate::message::{self, Messages, raw};
use crate::socket;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: u8 = 1;
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
/// Of both ends: administered locally, `thalw` behind.
const ADDRESS: [u8; 6] = [0x02, b't', b'h', b'a', b'l', b'w'];

/// Makes the pair, or makes it right where it is.
///
/// # Errors
///
/// [`Error::Pair`] without `CAP_NET_ADMIN`, without `veth` in the kernel, or where one of the names is
/// another interface's.
pub fn make(names: [&str; 2]) -> Result<(), Error> {
    let mut kernel = Kernel::open()?;
    let failed = |error| failed(names[0], error);
    match kernel.ask(raw::NEWLINK, raw::F_CREATE | raw::F_EXCL, 0, &creation(names)) {
        Err(Errno::EXIST) | Ok(()) => {}
        Err(error) => return Err(failed(error)),
    }
    for (name, flags) in names.into_iter().zip([IFF_UP | IFF_NOARP, IFF_UP]) {
        let mode = nested(&[(IFLA_INET6_ADDR_GEN_MODE, vec![NO_ADDRESSES])]);
        let families = nested(&[(u16::from(raw::AF_INET6), mode)]);
        // Kernels without IPv6 have nothing to be told.
        let _ = kernel.ask(raw::NEWLINK, 0, 0, &[named(name), (IFLA_AF_SPEC, families)]);
        let address = (IFLA_ADDRESS, ADDRESS.to_vec());
        kernel.ask(raw::NEWLINK, 0, flags, &[named(name), address]).map_err(failed)?;
    }
    Ok(())
}

/// Takes the pair out; whether it was there.
///
/// # Errors
///
/// [`Error::Pair`] without `CAP_NET_ADMIN`.
pub fn remove(names: [&str; 2]) -> Result<bool, Error> {
    let mut kernel = Kernel::open()?;
    match kernel.ask(raw::DELLINK, 0, 0, &[named(names[0])]) {
        Ok(()) => Ok(true),
        Err(Errno::NODEV) => Ok(false),
        Err(error) => Err(failed(names[0], error)),
    }
}

fn creation(names: [&str; 2]) -> [(u16, Vec<u8>); 3] {
    let address = || (IFLA_ADDRESS, ADDRESS.to_vec());
    let mut peer = header(0).to_vec();
    peer.extend(nested(&[named(names[1]), address()]));
    let data = nested(&[(VETH_INFO_PEER, peer)]);
    let info = nested(&[(IFLA_INFO_KIND, b"veth".to_vec()), (IFLA_INFO_DATA, data)]);
    [named(names[0]), address(), (IFLA_LINKINFO, info)]
}

fn named(name: &str) -> (u16, Vec<u8>) {
    (IFLA_IFNAME, name.bytes().chain([0]).collect())
}

/// `struct ifinfomsg` without an index; `flags` are set, none is taken away.
fn header(flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Attributes as the value of another.
fn nested(attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (kind, value) in attributes {
        octets.extend((value.len() as u16 + 4).to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(value);
        octets.resize(octets.len().next_multiple_of(4), 0);
    }
    octets
}

/// The kernel's side of links.
struct Kernel {
    socket: Socket,
    sequence: u32,
}

impl Kernel {
    fn open() -> Result<Self, Error> {
        Ok(Self { socket: socket::open(&[], 64 << 10)?, sequence: 0 })
    }

    /// Sends a request about a link and hears what came of it.
    fn ask(
        &mut self,
        kind: u16,
        how: u16,
        flags: u32,
        attributes: &[(u16, Vec<u8>)],
    ) -> Result<(), Errno> {
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        self.sequence += 1;
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        let request =
            message::request(kind, how | raw::F_ACK, self.sequence, &header(flags), &attributes);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0).map_err(errno)?;
        loop {
            let mut answer = Vec::new();
            socket::receive(&self.socket, &mut answer).map_err(errno)?;
            let found = Messages(&answer).find(|message| message.sequence == self.sequence);
            let Some(first) = found else { continue };
            return first.error().filter(|_| first.kind == raw::ERROR).map_or(Ok(()), Err);
        }
    }
}

fn failed(name: &str, error: Errno) -> Error {
    let remedy = match error {
        Errno::PERM | Errno::ACCESS => "run as root or with CAP_NET_ADMIN",
        Errno::OPNOTSUPP => "load the kernel module `veth`",
        Errno::NODEV | Errno::EXIST => "remove the interface of that name that is there",
        _ => "look at it with `ip -d link`",
    };
    Error::Pair { name: name.into(), error: error.into(), remedy }
}
