//! Frames as zebra writes them, from a few words. Tests of the agent use them, too.

use thalweg_fpm::frame::frame;
use thalweg_netlink::message::{raw, request};

/// Netlink port of the zebra that speaks.
pub const PORT: u32 = 0x93ab_0001;
/// `NLM_F_CREATE | NLM_F_REPLACE`.
const FLAGS: u16 = raw::F_CREATE | raw::F_REPLACE;

/// One message, from a zebra with this port.
pub fn message(port: u32, kind: u16, header: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut octets = request(kind, FLAGS, 0, header, attributes);
    octets[12..16].copy_from_slice(&port.to_ne_bytes());
    octets
}

/// A route of BGP to a /24 of 10/8 by a next hop object, new or gone.
pub fn route(port: u32, kind: u16, n: u16, object: u32) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    let header = [raw::AF_INET, 24, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0];
    let (metric, object) = (20u32.to_ne_bytes(), object.to_ne_bytes());
    message(port, kind, &header, &[(1, &[10, high, low, 0]), (6, &metric), (30, &object)])
}

/// A next hop object: a gateway on link 2.
pub fn object(port: u32, id: u32, last: u8) -> Vec<u8> {
    let (id, link) = (id.to_ne_bytes(), 2u32.to_ne_bytes());
    let list: &[(u16, &[u8])] = &[(1, &id), (6, &[192, 0, 2, last]), (5, &link)];
    message(port, raw::NEWNEXTHOP, &[raw::AF_INET, 0, 11, 0, 0, 0, 0, 0], list)
}

/// A label that is swapped for another, as `netlink_mpls_multipath_msg_encode` writes it.
pub fn lsp(port: u32, kind: u16, label: u32, new: u32) -> Vec<u8> {
    let entry = |label: u32| (label << 12 | 0x100).to_be_bytes();
    let header = [raw::AF_MPLS, 20, 0, 0, 254, 193, 0, 1, 0, 0, 0, 0];
    let (label, new, link) = (entry(label), entry(new), 2u32.to_ne_bytes());
    let via = [raw::AF_INET, 0, 192, 0, 2, 1];
    message(port, kind, &header, &[(1, &label), (19, &new), (18, &via), (4, &link)])
}

/// Each message in a frame of its own.
pub fn frames(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| frame(message).unwrap()).collect()
}
