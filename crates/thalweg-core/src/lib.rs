//! The data plane on one screen: *parse → decide → apply*.
//!
//! The same code runs as eBPF in the kernel and natively in tests, `explain` and `replay`. It never
//! allocates, never panics, has no clock and no unsafe code. Two traits are its whole world:
//! [`Frame`] is packet memory, [`Cells`] is table memory.
//!
//! Values that cross stages are plain structs whose every field is always written, because the
//! kernel's verifier rejects registers that may be unwritten: an `Option` or enum with payload is
//! only used where its layout has a niche ([`Verdict`] is never zero for that reason).
#![no_std]
#![forbid(unsafe_code)]

pub mod answer;
pub mod apply;
pub mod cells;
pub mod decide;
pub mod event;
pub mod fast;
pub mod fib;
pub mod flow;
pub mod frame;
pub mod hash;
pub mod meter;
pub mod packet;
pub mod parse;
pub mod tunnel;

pub use cells::{Cells, Tables};
pub use decide::{Decision, decide};
pub use frame::{Frame, Offset};
pub use packet::{Arrival, Packet};
pub use parse::parse;
pub use thalweg_abi::{Kind, Reason, Verdict};

use thalweg_abi::meter::Class;

/// What came of a frame: the verdict, and the interface a forwarded frame leaves through.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Outcome {
    /// What happens to the frame.
    pub verdict: Verdict,
    /// Interface index for [`Kind::Forward`] and [`Kind::Answer`], else 0.
    pub device: u32,
}

/// The stages, as something that carries them out.
///
/// [`Direct`] calls them. In the kernel each stage is a function that the verifier checks on its own,
/// once, so that the paths through one stage do not multiply with those through the next.
pub trait Stages {
    /// Forwards a frame of the common cases; [`fast::fast`].
    fn fast(&mut self, arrival: Arrival) -> Outcome;
    /// Reads the frame into `packet`; [`parse`].
    fn parse(&mut self, packet: &mut Packet) -> Option<Verdict>;
    /// Decides it; [`decide`].
    fn decide(&mut self, packet: &Packet, decision: &mut Decision);
    /// Rewrites the frame; [`apply::forward`].
    fn forward(&mut self, packet: &Packet, decision: &Decision) -> Outcome;
    /// Takes labels off a frame that the kernel gets; [`apply::unlabel`].
    fn unlabel(&mut self, packet: &Packet, decision: &Decision) -> bool;
    /// Whether the way back to the sender is not resolved; [`answer::is_unresolved`].
    fn is_unresolved(&self, packet: &Packet) -> bool;
    /// Turns the frame into an ICMP error; [`answer::answer`].
    fn answer(&mut self, packet: &mut Packet, verdict: Verdict, mtu: u32) -> Verdict;
    /// Whether one more frame may be punted from a link; [`Cells::admit`].
    fn admit(&mut self, link: u32) -> bool;
    /// Whether a program behind this one sees the socket buffer of frames from a device, and with it
    /// what will become of a large one.
    fn can_hand_over(&self, device: u32) -> bool;
    /// Zero that is not known as a constant; [`Cells::blur`].
    fn zero(&self) -> u64;
    /// The epoch in force now; [`Tables::epoch`].
    fn epoch(&self) -> u32;
    /// Whether all that was read at an epoch was of one version; [`Cells::holds`].
    fn holds(&self, epoch: u32) -> bool;
}

/// The stages as plain calls.
pub struct Direct<'a, F, T> {
    /// The frame.
    pub frame: &'a mut F,
    /// The tables.
    pub tables: &'a T,
}

impl<F: Frame, T: Tables> Stages for Direct<'_, F, T> {
    fn fast(&mut self, arrival: Arrival) -> Outcome {
        fast::fast(self.frame, &self.tables.at(arrival.epoch), arrival)
    }

    fn parse(&mut self, packet: &mut Packet) -> Option<Verdict> {
        parse(self.frame, &self.tables.at(packet.epoch()), packet).break_value()
    }

    fn decide(&mut self, packet: &Packet, decision: &mut Decision) {
        *decision = decide(packet, &self.tables.at(packet.epoch()));
    }

    fn forward(&mut self, packet: &Packet, decision: &Decision) -> Outcome {
        apply::forward(self.frame, &self.tables.at(packet.epoch()), packet, decision)
    }

    fn unlabel(&mut self, packet: &Packet, decision: &Decision) -> bool {
        apply::unlabel(self.frame, packet, decision)
    }

    fn is_unresolved(&self, packet: &Packet) -> bool {
        answer::is_unresolved(&self.tables.at(packet.epoch()), packet)
    }

    fn answer(&mut self, packet: &mut Packet, verdict: Verdict, mtu: u32) -> Verdict {
        answer::answer(self.frame, &self.tables.at(packet.epoch()), packet, verdict, mtu)
    }

    fn admit(&mut self, link: u32) -> bool {
        self.tables.at(self.tables.epoch()).admit(link, Class::Punt)
    }

    fn can_hand_over(&self, _device: u32) -> bool {
        false
    }

    fn zero(&self) -> u64 {
        self.tables.at(0).blur(0)
    }

    fn epoch(&self) -> u32 {
        self.tables.epoch()
    }

    fn holds(&self, epoch: u32) -> bool {
        self.tables.at(epoch).holds()
    }
}

/// How often a packet is decided anew because the tables changed twice meanwhile. A plan takes longer
/// than a packet by orders of magnitude, so that one in a row is rare.
pub(crate) const ATTEMPTS: u32 = 3;

/// Takes one frame through the data plane and leaves it rewritten, ready for its verdict.
#[inline(always)]
pub fn process<S: Stages>(stages: &mut S, arrival: Arrival) -> Outcome {
    match stages.fast(arrival) {
        outcome if outcome.device != 0 => outcome,
        _ => pipeline(stages, arrival),
    }
}

/// The full pipeline, for every frame there is.
///
/// A packet that is owed an ICMP error becomes that error, which is then decided like any packet of
/// this router: hence at most two rounds.
#[inline(always)]
pub fn pipeline<S: Stages>(stages: &mut S, arrival: Arrival) -> Outcome {
    let mut arrival = arrival;
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = attempt(stages, arrival) {
            return outcome;
        }
        arrival.epoch = stages.epoch();
    }
    Outcome::stop(Verdict::drop(Reason::Overtaken))
}

/// The pipeline on one version of the tables; none, and the frame is untouched, if that did not hold.
#[inline(always)]
fn attempt<S: Stages>(stages: &mut S, arrival: Arrival) -> Option<Outcome> {
    let mut packet = Packet::new(arrival, stages.zero());
    let verdict = match stages.parse(&mut packet) {
        Some(_) if !stages.holds(arrival.epoch) => return None,
        Some(verdict) => verdict,
        None => match dispatch(stages, &mut packet, arrival.device)? {
            outcome if outcome.device != 0 => return Some(outcome),
            outcome => outcome.verdict,
        },
    };
    Some(limited(stages, verdict, packet.link()))
}

#[inline(always)]
pub(crate) fn limited<S: Stages>(stages: &mut S, verdict: Verdict, link: u32) -> Outcome {
    // Exceptions pay for the kernel's time; beyond the limit they are dropped.
    if verdict.is(Kind::Punt) && !stages.admit(link) {
        return Outcome::stop(Verdict::drop(Reason::RateLimited));
    }
    Outcome::stop(verdict)
}

/// Decides a packet and carries the decision out. None, and the frame is untouched, if the version of
/// the tables did not hold until the decision was made.
#[inline(always)]
fn dispatch<S: Stages>(stages: &mut S, packet: &mut Packet, device: u32) -> Option<Outcome> {
    let mut decision = Decision::new(packet);
    stages.decide(packet, &mut decision);
    let verdict = decision.verdict;
    // A frame that is too large may be one that the kernel segments before it leaves.
    if verdict.is_about_size() && stages.can_hand_over(device) {
        return Some(Outcome::stop(Verdict::pass(Reason::HandedOver)));
    }
    let owed = verdict.is(Kind::Answer);
    let unresolved = owed && packet.depth() == 0 && stages.is_unresolved(packet);
    if !stages.holds(packet.epoch()) {
        return None;
    }
    Some(if unresolved {
        // The kernel answers in our place and finds the sender's link address on the way.
        Outcome::stop(verdict.with_kind(Kind::Punt))
    } else if owed {
        tell(stages, packet, &mut decision)
    } else {
        carry_out(stages, packet, &decision)
    })
}

#[inline(always)]
pub(crate) fn carry_out<S: Stages>(
    stages: &mut S,
    packet: &Packet,
    decision: &Decision,
) -> Outcome {
    let verdict = decision.verdict;
    if verdict.is(Kind::Forward) {
        return stages.forward(packet, decision);
    }
    let given = verdict.is(Kind::Deliver) || verdict.is(Kind::Punt);
    if given && decision.exposes_ip() && !stages.unlabel(packet, decision) {
        return Outcome::stop(Verdict::drop(Reason::NoRoom));
    }
    Outcome::stop(verdict)
}

/// Turns the packet into the ICMP error it is owed, and sends that where its sender is. An answer that
/// finds no way out, or whose tables did not hold, is only a drop: the frame cannot be had back.
#[inline(always)]
pub(crate) fn tell<S: Stages>(
    stages: &mut S,
    packet: &mut Packet,
    decision: &mut Decision,
) -> Outcome {
    if packet.depth() > 0 {
        packet.vrf = decision.vrf;
    }
    let told = stages.answer(packet, decision.verdict, decision.mtu());
    if !told.is(Kind::Answer) {
        return Outcome::stop(told);
    }
    stages.decide(packet, decision);
    if packet.link_has(thalweg_abi::link::flag::HOST) && decision.verdict.is(Kind::Deliver) {
        // Who is told is this host's own stack.
        return Outcome::stop(told);
    }
    if !decision.verdict.is(Kind::Forward) || !stages.holds(packet.epoch()) {
        return Outcome::stop(told.with_kind(Kind::Drop));
    }
    match stages.forward(packet, decision) {
        sent if sent.device != 0 => Outcome { verdict: told, ..sent },
        sent => sent,
    }
}

impl Outcome {
    /// The frame leaves through no link.
    #[inline(always)]
    pub const fn stop(verdict: Verdict) -> Self {
        Self { verdict, device: 0 }
    }

    /// Both values as one number, as a kernel function can return it.
    #[inline(always)]
    pub const fn to_number(self) -> u64 {
        (self.device as u64) << 32 | self.verdict.to_number() as u64
    }

    /// The outcome behind a number.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        match Verdict::from_number(number as u32) {
            Some(verdict) => Self { verdict, device: (number >> 32) as u32 },
            None => Self::stop(Verdict::drop(Reason::Broken)),
        }
    }
}
