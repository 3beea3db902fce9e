//! The packet core over tables in this process's memory: the engine of tests, `explain` and
//! `replay`, and the seed of the user-space plane.
#![forbid(unsafe_code)]

mod cells;
mod frame;

pub use cells::{CellsAt, MemoryCells};
pub use frame::VecFrame;

use thalweg_abi::DropEvent;
use thalweg_core::flow::{self, FlowDirect, Tracked};
use thalweg_core::{Arrival, Cells, Decision, Direct, Packet, Tables, Verdict, tunnel};

/// One packet's journey through the core, step by step.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The parsed values; what was not reached is zero.
    pub packet: Packet,
    /// What was found out about its flow; none where flows are not known, or parsing ended the journey.
    pub tracked: Option<Tracked>,
    /// The decision; none if parsing or its flow ended the journey.
    pub decision: Option<Decision>,
    /// What came of it.
    pub verdict: Verdict,
    /// Interface index the frame leaves through, 0 if it does not.
    pub device: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Takes one frame that arrives at an interface through the core and keeps every step.
pub fn journey(tables: &MemoryCells, frame: &[u8], device: u32) -> Journey {
    let arrival = Arrival { device, epoch: tables.epoch() };
    let cells = tables.at(arrival.epoch);
    let mut work = VecFrame::new(frame);
    let mut packet = Packet::new(arrival, 0);
    let parsed = thalweg_core::parse(&work, &cells, &mut packet);
    let decision = parsed.is_continue().then(|| thalweg_core::decide(&packet, &cells));
    let outcome = thalweg_core::process(&mut Direct { frame: &mut work, tables }, arrival);
    Journey {
        packet,
        tracked: None,
        decision,
        verdict: outcome.verdict,
        device: outcome.device,
        frame: work.into_bytes(),
    }
}

/// What is told of a frame that was discarded: as programs in the kernel tell it, without a time and a hook. None
/// where nothing is told of such a verdict.
///
/// `frame` is what the core left of it, and `octets` those it came with.
pub fn event(
    tables: &MemoryCells,
    frame: &[u8],
    device: u32,
    verdict: Verdict,
    octets: usize,
) -> Option<DropEvent> {
    if !thalweg_core::event::is_told(verdict) {
        return None;
    }
    let arrival = Arrival { device, epoch: tables.epoch() };
    let cells = tables.at(arrival.epoch);
    let frame = VecFrame::new(frame);
    let mut packet = Packet::new(arrival, 0);
    let _ = thalweg_core::parse(&frame, &cells, &mut packet);
    let mut event = DropEvent::default();
    thalweg_core::event::describe(&frame, &cells, &packet, verdict, octets as u32, &mut event);
    Some(event)
}

/// Gives a packet that begins a flow the source and port that it leaves with.
fn leave_with<C: flow::Flows>(
    cells: &C,
    packet: &mut Packet,
    tracked: &mut Tracked,
    decision: &Decision,
) {
    let facts = tracked.facts();
    let begins = facts.is(flow::what::BEGINS) && facts.found() == 0;
    if begins && decision.verdict.is(thalweg_core::Kind::Forward) {
        let _ = flow::nat::source(cells, packet, tracked, decision.nexthop());
        flow::nat::choose_here(cells, packet, tracked);
    }
}

/// As [`journey`], on a host that knows flows; `tables` must be those of [`MemoryCells::looking`], or the
/// frame leaves its traces. The packet is told with the addresses that it leaves with.
pub fn flow_journey(tables: &MemoryCells, frame: &[u8], device: u32) -> Journey {
    let arrival = Arrival { device, epoch: tables.epoch() };
    let cells = tables.at(arrival.epoch);
    let mut work = VecFrame::new(frame);
    let mut packet = Packet::new(arrival, 0);
    let (mut tracked, mut decision) = (None, None);
    let mut found = Tracked::NONE;
    // The tunnel is told by the frame that came out of it.
    let mut inner = VecFrame::new(frame);
    if thalweg_core::parse(&inner, &cells, &mut packet).is_continue()
        && cells.settings().is_some_and(|row| tunnel::is_for_tunnel(row.flags, &packet))
        && tunnel::open(&mut inner, &cells, &packet, &mut found.node) == Some(tunnel::OPENED)
    {
        packet = Packet::new(arrival, 0);
    } else {
        inner = VecFrame::new(frame);
        packet = Packet::new(arrival, 0);
    }
    if thalweg_core::parse(&inner, &cells, &mut packet).is_continue() {
        if flow::track(&inner, &cells, &mut packet, &mut found).is_continue() {
            let (keeps, amid) = (flow::what::KEEPS, flow::what::AMID);
            if found.facts().is(keeps) && !found.facts().is(amid) {
                flow::keep(&cells, &mut packet, &mut found);
            }
            if found.facts().is(flow::what::BEGINS) && !found.facts().is(flow::what::SERVICE) {
                flow::hairpin(&cells, &mut packet, &mut found);
            }
            let mut made = Decision::new(&packet);
            let returns = found.facts().is(flow::what::RETURNS);
            if !(returns && tunnel::give_back(&cells, &packet, found.node, &mut made)) {
                made = thalweg_core::decide(&packet, &cells);
            }
            leave_with(&cells, &mut packet, &mut found, &made);
            decision = Some(made);
        }
        tracked = Some(found);
    }
    let mut stages = FlowDirect::new(&mut work, tables);
    let outcome = flow::process(&mut stages, &mut Packet::new(arrival, 0), arrival);
    Journey {
        packet,
        tracked,
        decision,
        verdict: outcome.verdict,
        device: outcome.device & !flow::STRAIGHT,
        frame: work.into_bytes(),
    }
}
