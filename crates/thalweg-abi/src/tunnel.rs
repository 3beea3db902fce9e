//! Tunnels: what is put in front of packets for another node, and how nodes are told apart.

use crate::nexthop::{NextHopRow, kind};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Values of [`TunnelRow::protocol`].
pub mod protocol {
    /// RFC 7348: UDP, a VXLAN header, Ethernet.
    pub const VXLAN: u8 = 1;
    /// RFC 8926: UDP, a Geneve header without options, Ethernet.
    pub const GENEVE: u8 = 2;
    /// RFC 2003, RFC 4213, RFC 2473: the packet itself.
    pub const IPIP: u8 = 3;
    /// Generic UDP encapsulation, variant 0: UDP, a header of four octets, the packet.
    pub const GUE: u8 = 4;
}

/// Row of table `nexthops` of kind [`kind::TUNNEL`]: the outer headers of a tunnel to one node, in the
/// place of a [`NextHopRow`].
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct TunnelRow {
    /// [`kind::TUNNEL`].
    pub kind: u8,
    /// One of [`protocol`].
    pub protocol: u8,
    /// Family of the outer header: 4 or 6.
    pub family: u8,
    /// Zero.
    pub flags: u8,
    /// UDP port of the receiver; 0 without UDP.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
    /// Network identifier, 24 bits; 0 where the protocol has none.
    pub vni: u32,
    /// Outer source: words of the halves of an address as in a packet, the high one first.
    pub local: [u32; 4],
    /// Zero, where a [`NextHopRow`] names another row.
    pub backup: u32,
    /// Outer destination, likewise.
    pub remote: [u32; 4],
    /// Destination and source of the inner Ethernet header, where the protocol has one.
    pub addresses: [u8; 12],
    /// Octets of all outer headers behind the link header ([`room`]).
    pub room: u32,
}

const _: () = assert!(size_of::<TunnelRow>() == size_of::<NextHopRow>());
const _: () =
    assert!(core::mem::offset_of!(TunnelRow, backup) == core::mem::offset_of!(NextHopRow, backup));

impl TunnelRow {
    /// The tunnel behind a row, if it is of that kind.
    #[inline(always)]
    pub fn of(row: &NextHopRow) -> Option<&Self> {
        let tunnel: &Self = zerocopy::transmute_ref!(row);
        if tunnel.kind == kind::TUNNEL { Some(tunnel) } else { None }
    }

    /// The same as a row of table `nexthops`.
    pub fn row(self) -> NextHopRow {
        zerocopy::transmute!(self)
    }
}

/// Words of an address whose halves are as in a packet.
pub const fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
}

/// The halves of such words.
#[inline(always)]
pub const fn halves([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [(a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64]
}

/// Octets that a tunnel puts between the link header and a packet.
pub const fn room(protocol: u8, family: u8) -> u32 {
    let outer = if family == 6 { 40 } else { 20 };
    outer
        + match protocol {
            // UDP, the header of the protocol, Ethernet.
            protocol::VXLAN | protocol::GENEVE => 8 + 8 + 14,
            protocol::GUE => 8 + 4,
            _ => 0,
        }
}

/// Number of a node by the address that its tunnel comes from: nodes stand among backends, whose numbers
/// are made otherwise.
#[inline(always)]
pub const fn node_id(address: [u64; 2]) -> u64 {
    crate::service::key(address, 0xffff, 0xff) | 1
}

/// The link address that an inner Ethernet header has for the node with this address: locally
/// administered, the last four octets are the address's.
pub const fn link_address(address: [u64; 2]) -> [u8; 6] {
    let [a, b, c, d] = (address[1] as u32).to_be_bytes();
    [0x02, 0x00, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_a_row_and_back() {
        let tunnel = TunnelRow {
            kind: kind::TUNNEL,
            protocol: protocol::VXLAN,
            family: 4,
            port: 4789,
            vni: 7,
            room: room(protocol::VXLAN, 4),
            local: words([0, 0xc000_0201]),
            ..TunnelRow::default()
        };
        assert_eq!(TunnelRow::of(&tunnel.row()), Some(&tunnel));
        assert_eq!(tunnel.row().backup, 0);
        assert_eq!(TunnelRow::of(&NextHopRow::default()), None);
        assert_eq!(halves(tunnel.local), [0, 0xc000_0201]);
        assert_eq!(tunnel.room, 50);
        assert_eq!(room(protocol::IPIP, 6), 40);
    }
}
