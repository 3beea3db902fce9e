//! Tunnels to other nodes: outer headers come around a packet, and off it again.
//!
//! The client's address stays as it is: what a node sends to a backend elsewhere is the packet itself,
//! within a packet from node to node.

mod open;
mod wrap;

pub use open::{OPENED, is_for_tunnel, open};
pub use wrap::{send, tunnel_of};

use crate::decide::{self, Decision};
use crate::flow::{Flows, row_of};
use crate::packet::Packet;
use thalweg_abi::service;
use thalweg_abi::tunnel;

/// Octets of an Ethernet header.
const LINK_HEADER: u32 = size_of::<thalweg_wire::Ethernet>() as u32;

/// Decides a packet that goes to the node with this number, whatever routes say of its receiver. False, and
/// nothing is decided, if there is no such node.
#[inline(always)]
pub fn give_back<C: Flows>(cells: &C, packet: &Packet, node: u64, decision: &mut Decision) -> bool {
    match group_of(cells, node) {
        0 => false,
        group => {
            decide::towards(packet, cells, group, decision);
            true
        }
    }
}

/// The group that leads to a node with this number; 0 if there is no such node.
#[inline(always)]
pub fn group_of<C: Flows>(cells: &C, node: u64) -> u32 {
    let is = |row| {
        let found = cells.backend(row);
        found.is_some_and(|row| row.id == node && tunnel::node_id(row.address) == node)
    };
    let row = row_of(cells, service::backend_key(node), is);
    cells.backend(row.wrapping_sub(1)).map_or(0, |row| row.node)
}
