//! Netlink messages: framing, attributes, requests (RFC 3549, `man 7 netlink`).
//!
//! A full table is a million messages. They are read in place: a message is a slice, an attribute
//! is a slice of it, and nothing is copied before it is known to be new. Octets that make no sense
//! yield nothing; they never panic.
//!
//! The same messages come from zebra over FPM; `thalweg-fpm` reads them with this module.

pub mod address;
pub mod label;
pub mod link;
pub mod names;
pub mod neighbor;
pub mod nexthop;
pub mod route;

use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Message types, flags and families (`linux/netlink.h`, `linux/rtnetlink.h`).
pub mod raw {
    /// Acknowledgement or error.
    pub const ERROR: u16 = 2;
    /// End of a dump.
    pub const DONE: u16 = 3;
    /// A link.
    pub const NEWLINK: u16 = 16;
    /// A link is gone.
    pub const DELLINK: u16 = 17;
    /// Asks for links.
    pub const GETLINK: u16 = 18;
    /// An address.
    pub const NEWADDR: u16 = 20;
    /// An address is gone.
    pub const DELADDR: u16 = 21;
    /// Asks for addresses.
    pub const GETADDR: u16 = 22;
    /// A route.
    pub const NEWROUTE: u16 = 24;
    /// A route is gone.
    pub const DELROUTE: u16 = 25;
    /// Asks for routes.
    pub const GETROUTE: u16 = 26;
    /// A neighbor.
    pub const NEWNEIGH: u16 = 28;
    /// A neighbor is gone.
    pub const DELNEIGH: u16 = 29;
    /// Asks for neighbors.
    pub const GETNEIGH: u16 = 30;
    /// A next hop object.
    pub const NEWNEXTHOP: u16 = 104;
    /// A next hop object is gone.
    pub const DELNEXTHOP: u16 = 105;
    /// Asks for next hop objects.
    pub const GETNEXTHOP: u16 = 106;

    /// This is a request.
    pub const F_REQUEST: u16 = 0x1;
    /// Answer with an acknowledgement.
    pub const F_ACK: u16 = 0x4;
    /// The objects changed while they were listed.
    pub const F_DUMP_INTR: u16 = 0x10;
    /// List everything.
    pub const F_DUMP: u16 = 0x300;
    /// Replace an object.
    pub const F_REPLACE: u16 = 0x100;
    /// Only if there is none yet.
    pub const F_EXCL: u16 = 0x200;
    /// Create an object.
    pub const F_CREATE: u16 = 0x400;
    /// Add behind what is there.
    pub const F_APPEND: u16 = 0x800;

    /// Any family.
    pub const AF_UNSPEC: u8 = 0;
    /// IPv4.
    pub const AF_INET: u8 = 2;
    /// IPv6.
    pub const AF_INET6: u8 = 10;
    /// MPLS.
    pub const AF_MPLS: u8 = 28;
}

/// One netlink message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is about: one of [`raw`].
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Number of the request it answers; in notifications, of the request that caused the event.
    pub sequence: u32,
    /// Netlink port of the process that the message answers or comes from.
    pub port: u32,
    /// Family header and attributes.
    pub body: &'a [u8],
}

/// The messages of one datagram, up to the first that makes no sense.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl Messages<'_> {
    /// Whether the octets are messages up to the last, and nothing else.
    pub fn is_whole(mut self) -> bool {
        self.by_ref().for_each(drop);
        self.0.is_empty()
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.first_chunk::<16>()?;
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = self.0.get(16..len)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            port: u32::from_ne_bytes([header[12], header[13], header[14], header[15]]),
            body,
        };
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some(message)
    }
}

impl<'a> Message<'a> {
    /// The first `N` octets, the family header, and the attributes behind it.
    pub fn split<const N: usize>(&self) -> Option<(&'a [u8; N], Attributes<'a>)> {
        let (header, rest) = self.body.split_first_chunk::<N>()?;
        // All family headers are multiples of 4 octets, so attributes follow without padding.
        Some((header, Attributes(rest)))
    }

    /// The error that [`raw::ERROR`] and [`raw::DONE`] carry; `None` for success.
    pub fn error(&self) -> Option<Errno> {
        match self.body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
            None | Some(0) => None,
            // Any other number is none of the kernel's.
            Some(code @ -4095..=-1) => Some(Errno::from_raw_os_error(-code)),
            Some(_) => Some(Errno::IO),
        }
    }
}

/// An attribute: its type without flag bits, and its value.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Type, as the message's family numbers them.
    pub kind: u16,
    /// Value, without padding.
    pub value: &'a [u8],
}

/// The attributes of a message or of a nest, up to the first that makes no sense.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl Attributes<'_> {
    /// Whether the octets are attributes up to the last, and nothing else.
    pub fn is_whole(mut self) -> bool {
        self.by_ref().for_each(drop);
        self.0.is_empty()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let header = self.0.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = self.0.get(4..len)?;
        // NLA_F_NESTED and NLA_F_NET_BYTEORDER are the top bits.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        self.0 = self.0.get(aligned(len)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

impl<'a> Attribute<'a> {
    /// One octet.
    pub fn u8(&self) -> Option<u8> {
        self.value.first().copied()
    }

    /// A 16 bit number in host order.
    pub fn u16(&self) -> Option<u16> {
        self.value.first_chunk().map(|b| u16::from_ne_bytes(*b))
    }

    /// A 32 bit number in host order.
    pub fn u32(&self) -> Option<u32> {
        self.value.first_chunk().map(|b| u32::from_ne_bytes(*b))
    }

    /// An address; its length tells the family.
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.value)
    }

    /// Text up to its NUL.
    pub fn text(&self) -> String {
        let end = self.value.iter().position(|b| *b == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

/// An address of 4 or 16 octets.
pub fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => octets.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

/// Attributes start at multiples of 4 octets.
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// A request: a message to be sent.
pub fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    header: &[u8],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend_from_slice(header);
    for (kind, value) in attributes {
        out.resize(aligned(out.len()), 0);
        // Our values are an index, a table or an address.
        out.extend_from_slice(&((value.len() as u16).saturating_add(4)).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
    }
    out.resize(aligned(out.len()), 0);
    let len = out.len() as u32;
    out[0..4].copy_from_slice(&len.to_ne_bytes());
    out[4..6].copy_from_slice(&kind.to_ne_bytes());
    out[6..8].copy_from_slice(&(flags | raw::F_REQUEST).to_ne_bytes());
    out[8..12].copy_from_slice(&sequence.to_ne_bytes());
    out
}

#[cfg(test)]
mod tests;
