//! A netlink socket under tokio.

use crate::Error;
use netlink_sys::{Socket as Raw, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::sockopt;
use std::io;
use tokio::io::unix::AsyncFd;

/// Room for one datagram: dumps come in pieces of up to 32 KiB, and a link with many virtual
/// functions may need more.
const DATAGRAM: usize = 128 << 10;
/// `MSG_TRUNC`: tell the real length of a datagram.
const MSG_TRUNC: i32 = 0x20;

/// A socket to the kernel's rtnetlink.
#[derive(Debug)]
pub struct Socket(AsyncFd<Raw>);

/// What came of reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// Everything there was, or as much as was asked for.
    Whole,
    /// The kernel had to drop something.
    Overrun,
}

/// Opens a socket that receives these multicast groups (`RTNLGRP_*`), with about `room` octets of
/// receive buffer.
pub fn open(groups: &[u32], room: usize) -> Result<Raw, Error> {
    let mut raw = Raw::new(NETLINK_ROUTE).map_err(Error::Socket)?;
    raw.bind_auto().map_err(Error::Socket)?;
    // Without CAP_NET_ADMIN the limit is `net.core.rmem_max`: overruns are likelier, not worse.
    if sockopt::set_socket_recv_buffer_size_force(&raw, room).is_err() {
        sockopt::set_socket_recv_buffer_size(&raw, room).map_err(io::Error::from)?;
    }
    // Without it (before Linux 4.20) listings are not narrowed down, which costs time only.
    raw.set_netlink_get_strict_chk(true).ok();
    raw.set_ext_ack(true).ok();
    for group in groups {
        match raw.add_membership(*group) {
            // The kernel does not know the group: it has no such objects.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
            result => result.map_err(Error::Socket)?,
        }
    }
    Ok(raw)
}

impl Socket {
    /// Opens a socket for the current runtime; see [`open`].
    pub fn open(groups: &[u32], room: usize) -> Result<Self, Error> {
        let raw = open(groups, room)?;
        raw.set_non_blocking(true)?;
        // `Raw` owns one descriptor from `open` to `drop` and gives out no other, which is all that
        // the unsafe replacement asks for.
        #[allow(deprecated, reason = "the replacement is unsafe")]
        let socket = AsyncFd::new(raw)?;
        Ok(Self(socket))
    }

    /// Sends a request to the kernel, which handles it at once or begins a dump.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        self.0.get_ref().send_to(request, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    /// Waits for datagrams and appends what is there to `buffer`, up to about `limit` octets.
    ///
    /// Safe to cancel: nothing that was read gets lost.
    pub async fn read(&self, buffer: &mut Vec<u8>, limit: usize) -> io::Result<Read> {
        let mut ready = self.0.readable().await?;
        let mut result = Read::Whole;
        while buffer.len() < limit {
            match ready.try_io(|raw| receive(raw.get_ref(), buffer)) {
                Err(_would_block) => break,
                Ok(Ok(Read::Whole)) => {}
                Ok(Ok(Read::Overrun)) => result = Read::Overrun,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(result)
    }
}

/// Appends one datagram of the kernel to `buffer`.
pub fn receive(raw: &Raw, buffer: &mut Vec<u8>) -> io::Result<Read> {
    let start = buffer.len();
    buffer.reserve(DATAGRAM);
    let (len, from) = loop {
        match raw.recv_from(buffer, MSG_TRUNC) {
            Ok(received) => break received,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOBUFS) => return Ok(Read::Overrun),
                Some(Errno::INTR) => {}
                _ => return Err(error),
            },
        }
    };
    let truncated = buffer.len() - start < len;
    if truncated || from.port_number() != 0 {
        // Any process may write to our port; only the kernel's is 0.
        buffer.truncate(start);
    }
    // The last message of a datagram may lack padding.
    buffer.resize(buffer.len().next_multiple_of(4), 0);
    Ok(if truncated { Read::Overrun } else { Read::Whole })
}
