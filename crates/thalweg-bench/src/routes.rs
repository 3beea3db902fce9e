//! Routes into the kernel's own FIB, many to a message.

use crate::Measured;
use crate::prefixes::Routes;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use thalweg_wire::{Prefix4, Prefix6};

const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const NLMSG_ERROR: u16 = 2;
/// The gateway needs no route of its own.
const RTNH_F_ONLINK: u32 = 4;
/// Octets that are sent at once.
const BATCH: usize = 64 << 10;

/// The gateway that stands for a group: its last two octets are the group's number.
pub fn gateway4(group: u16) -> [u8; 4] {
    let [high, low] = group.to_be_bytes();
    [198, 18, high, low]
}

/// The same in IPv6.
pub fn gateway6(group: u16) -> [u8; 16] {
    (0xfe80_u128 << 112 | u128::from(group)).to_be_bytes()
}

/// Routes of IPv4 by gateways on `link`, in the namespace of this thread.
pub fn install4(routes: &Routes<Prefix4>, link: u32) -> Measured<()> {
    let encode = |(prefix, group): &(Prefix4, u16), flags| {
        route(2, &prefix.bits().to_be_bytes(), prefix.len(), &gateway4(*group), link, flags)
    };
    install(routes, encode)
}

/// Routes of IPv6 by gateways on `link`.
pub fn install6(routes: &Routes<Prefix6>, link: u32) -> Measured<()> {
    let encode = |(prefix, group): &(Prefix6, u16), flags| {
        route(10, &prefix.bits().to_be_bytes(), prefix.len(), &gateway6(*group), link, flags)
    };
    install(routes, encode)
}

fn install<T>(routes: &[T], encode: impl Fn(&T, u16) -> Vec<u8>) -> Measured<()> {
    let socket = open()?;
    let mut batch = Vec::with_capacity(BATCH + 256);
    for (index, one) in routes.iter().enumerate() {
        let last = index + 1 == routes.len();
        batch.extend(encode(one, if last { NLM_F_ACK } else { 0 }));
        if last || batch.len() >= BATCH {
            send(&socket, &batch)?;
            batch.clear();
        }
    }
    match routes.is_empty() {
        true => Ok(()),
        false => acknowledged(&socket),
    }
}

/// A socket for route messages in the namespace of this thread.
pub fn open() -> Measured<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Puts one IPv4 route in place of the one there is, and waits until the kernel has.
pub fn replace4(socket: &Socket, prefix: Prefix4, group: u16, link: u32) -> Measured<()> {
    let address = prefix.bits().to_be_bytes();
    let flags = NLM_F_ACK | NLM_F_REPLACE;
    send(socket, &route(2, &address, prefix.len(), &gateway4(group), link, flags))?;
    acknowledged(socket)
}

fn send(socket: &Socket, octets: &[u8]) -> Measured<()> {
    match socket.send(octets, 0)? {
        sent if sent == octets.len() => Ok(()),
        sent => Err(format!("the kernel took {sent} of {} octets", octets.len()).into()),
    }
}

/// Reads answers until the one without an error.
fn acknowledged(socket: &Socket) -> Measured<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            // More refusals than fit: the first of them are there to be read.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => continue,
            other => other?,
        };
        let kind = buffer.get(4..6).map(|octets| u16::from_ne_bytes([octets[0], octets[1]]));
        let code = buffer.get(16..20).and_then(|octets| octets.try_into().ok());
        match (kind, code.map(i32::from_ne_bytes)) {
            (Some(NLMSG_ERROR), Some(0)) => return Ok(()),
            (Some(NLMSG_ERROR), Some(code)) => {
                let error = std::io::Error::from_raw_os_error(-code);
                return Err(format!("the kernel refused a route: {error}").into());
            }
            _ => {}
        }
    }
}

/// A message of `struct nlmsghdr`, `struct rtmsg` and attributes (rtnetlink(7)).
fn route(family: u8, address: &[u8], len: u8, gateway: &[u8], link: u32, flags: u16) -> Vec<u8> {
    const MAIN: u8 = 254;
    const PROTOCOL_STATIC: u8 = 4;
    const TYPE_UNICAST: u8 = 1;
    let mut message = vec![0; 16];
    message.extend([family, len, 0, 0, MAIN, PROTOCOL_STATIC, 0, TYPE_UNICAST]);
    message.extend(RTNH_F_ONLINK.to_ne_bytes());
    for (kind, value) in
        [(RTA_DST, address), (RTA_GATEWAY, gateway), (RTA_OIF, &link.to_ne_bytes()[..])]
    {
        message.extend((value.len() as u16 + 4).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
    }
    let total = message.len() as u32;
    message[..4].copy_from_slice(&total.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
    let flags = NLM_F_REQUEST | NLM_F_CREATE | flags;
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_message_is_laid_out_as_the_kernel_reads_it() {
        let message = route(2, &[192, 0, 2, 0], 24, &gateway4(0x102), 7, NLM_F_ACK);
        assert_eq!(message.len(), 16 + 12 + 3 * 8);
        assert_eq!(message[..4], 52u32.to_ne_bytes());
        assert_eq!(message[16..20], [2, 24, 0, 0]);
        assert_eq!(message[32..36], [192, 0, 2, 0]);
        assert_eq!(message[40..44], [198, 18, 1, 2]);
        assert_eq!(message[48..52], 7u32.to_ne_bytes());
    }
}
