//! Floating addresses: each is one workload's, with all its ports (RFC 3022 §2.1, static assignment).
//!
//! What comes for one goes to the workload as it goes to a service's only backend, but keeps its port. What
//! the workload begins outside of the cluster leaves with it. Both are asked when a flow begins.

use super::Flows;
use super::key::is_query;
use super::service::frontend_of;
use super::track::{Tracked, hairpin, what};
use crate::frame::Frame;
use crate::packet::Packet;
use crate::{Reason, Verdict};
use core::ops::ControlFlow;
use thalweg_abi::{FrontendRow, service, settings};
use thalweg_wire::l4::protocol;

/// Gives a packet for a floating address to the workload that has it.
///
/// Breaks with the verdict of one that is of no flow that can be told from others.
#[inline(always)]
pub fn served<F: Frame, C: Flows>(
    frame: &F,
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    row: &FrontendRow,
) -> ControlFlow<Verdict> {
    let at = row.external.backends;
    let Some(backend) = cells.backend(at) else {
        return ControlFlow::Break(Verdict::drop(Reason::Broken));
    };
    if !protocol::has_ports(packet.protocol()) && !is_query(frame, packet) {
        return ControlFlow::Break(Verdict::drop(Reason::NatUnfit));
    }
    tracked.note(what::BEGINS | what::REWRITES | what::SERVICE);
    tracked.facts = tracked.facts >> 32 << 32 | u64::from(at);
    packet.destination = backend.address;
    tracked.set_ports(packet, (tracked.key[4] >> 32) as u32);
    hairpin(packet, row.address, &backend);
    ControlFlow::Continue(())
}

/// The floating address of a workload, halves as in a packet; zeros if it has none.
#[inline(always)]
pub fn of<C: Flows>(cells: &C, source: [u64; 2]) -> [u64; 2] {
    let flags = cells.settings().map_or(0, |row| row.flags);
    let found = match flags & settings::flag::FLOATING {
        0 => 0,
        _ => frontend_of(cells, source, 0, service::FLOATING),
    };
    let row = cells.frontend(found.wrapping_sub(1));
    let backend = row.and_then(|row| cells.backend(row.external.backends));
    backend.map_or([0; 2], |backend| backend.address)
}
