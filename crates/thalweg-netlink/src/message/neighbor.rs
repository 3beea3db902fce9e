//! Neighbors: `RTM_NEWNEIGH`, `RTM_DELNEIGH`.

use super::{Message, names, raw};
use std::net::IpAddr;
use thalweg_model::host::Neighbor;
use thalweg_wire::Mac;

/// The neighbor's address.
pub const NDA_DST: u16 = 1;
/// The neighbor's link address.
pub const NDA_LLADDR: u16 = 2;
/// More flags: `NTF_EXT_*`.
pub const NDA_FLAGS_EXT: u16 = 15;

/// The kernel has not tried yet.
const NUD_NONE: u16 = 0x00;
/// Needs no resolution.
pub const NUD_NOARP: u16 = 0x40;
/// Put there by hand.
pub const NUD_PERMANENT: u16 = 0x80;
/// Not yet, or no longer, resolved: none, incomplete, failed.
const NUD_UNUSABLE: u16 = 0x21;
/// An address that is answered for, no neighbor.
const NTF_PROXY: u8 = 0x08;

/// A neighbor entry as the kernel holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Interface index.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_EXT_*`.
    pub flags_ext: u32,
    /// Its link address if usable.
    pub mac: Option<Mac>,
}

impl Parsed {
    /// The neighbor, or `None` when the entry is no neighbor in our sense.
    ///
    /// The kernel makes entries it never tells about: not yet tried ones, and link addresses it
    /// computes for groups and broadcast. They would appear in a dump and never go away.
    pub fn neighbor(&self) -> Option<Neighbor> {
        let computed = self.state & NUD_NOARP != 0 && self.mac.is_none_or(|mac| mac.is_group());
        if self.state == NUD_NONE || computed || self.address.is_multicast() {
            return None;
        }
        Some(Neighbor {
            link: self.link,
            address: self.address,
            mac: self.mac,
            state: names::neighbor_state(self.state),
        })
    }
}

/// Reads a neighbor entry; `None` for bridge forwarding entries and proxied addresses.
pub fn parse(message: &Message<'_>) -> Option<Parsed> {
    let (header, attributes) = message.split::<12>()?;
    let [family, _, _, _, link @ .., state_low, state_high, flags, _kind] = *header;
    let state = u16::from_ne_bytes([state_low, state_high]);
    if !matches!(family, raw::AF_INET | raw::AF_INET6) || flags & NTF_PROXY != 0 {
        return None;
    }
    let (mut address, mut mac, mut flags_ext) = (None, None, 0);
    for attribute in attributes {
        match attribute.kind {
            NDA_DST => address = attribute.ip(),
            NDA_LLADDR => mac = attribute.value.try_into().map(Mac).ok(),
            NDA_FLAGS_EXT => flags_ext = attribute.u32()?,
            _ => {}
        }
    }
    let usable = state & NUD_UNUSABLE == 0 && state != NUD_NONE;
    Some(Parsed {
        link: u32::from_ne_bytes(link),
        address: address?,
        state,
        flags_ext,
        mac: mac.filter(|mac| usable && *mac != Mac::ZERO),
    })
}
