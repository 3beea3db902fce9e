//! Hairpins (RFC 4787 §6, REQ-9; RFC 5382 §8): what a workload sends to the port that another one has
//! outside comes to that other one, and from the port that the sender has there.
//!
//! Asked when a flow of a workload begins, and only where sources keep their port for all destinations.

use super::track::{Tracked, what};
use super::{Flows, Words, mapping, table};
use crate::packet::Packet;
use thalweg_abi::flow::{self, word};
use thalweg_abi::{link, settings};
use thalweg_wire::l4::protocol;

/// Gives a packet for a source's port outside the destination that this port stands for; its source is
/// chosen by [`super::nat::source`]. A packet to the sender's own port stays as it is.
#[inline(always)]
pub fn hairpin<C: Flows>(cells: &C, packet: &mut Packet, tracked: &mut Tracked) {
    let Some(settings) = cells.settings() else { return };
    let datagram = matches!(packet.protocol(), protocol::TCP | protocol::UDP);
    let independent = settings.flags & settings::flag::INDEPENDENT != 0;
    if !independent || !datagram || !packet.link_has(link::flag::WORKLOAD) {
        return;
    }
    let ports = (tracked.key[4] >> 32) as u32;
    tracked.work[0] = mapping::outside(packet, packet.destination, ports & 0xffff);
    let hash = flow::hash(tracked.work[0], settings.seed);
    let found = table::find(cells, &tracked.work[0], hash);
    let Some(owner) = cells.flow(found.wrapping_sub(1)) else { return };
    let inside = [owner.get(word::NEW_SOURCE), owner.get(word::NEW_SOURCE + 1)];
    let port = (owner.get(word::REWRITE) >> 48) as u32;
    let own = inside == [tracked.key[0], tracked.key[1]] && port == ports >> 16;
    if own || table::is_expired(&owner, cells.now()) {
        return;
    }
    packet.destination = inside;
    tracked.set_ports(packet, ports >> 16 << 16 | port);
    tracked.note(what::REWRITES | what::HAIRPIN);
}
