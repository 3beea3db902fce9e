//! The packet core over tables in this process's memory: the engine of tests, `explain` and
//! `replay`, and the seed of the user-space plane.
#![forbid(unsafe_code)]

mod cells;
mod frame;

pub use cells::{CellsAt, MemoryCells};
pub use frame::VecFrame;

use thalweg_core::{Arrival, Decision, Direct, Packet, Tables, Verdict};

/// One packet's journey through the core, step by step.
#[derive(Clone, Debug)]
pub struct Journey {
    /// The parsed values; what was not reached is zero.
    pub packet: Packet,
    /// The decision; none if parsing ended the journey.
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
        decision,
        verdict: outcome.verdict,
        device: outcome.device,
        frame: work.into_bytes(),
    }
}
