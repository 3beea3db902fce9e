//! The stages as functions that the verifier checks one by one.
//!
//! A function with global linkage is verified once, for any argument its type allows, instead of once
//! for every path that leads to it (Linux 5.6, `Documentation/bpf/verifier.rst`). Arguments are the
//! context, pointers to memory of known size that may be null, and numbers; a result is a number.

use crate::cells::MapCells;
use crate::event::event_log;
use crate::frame::{TcFrame, XdpFrame};
use crate::maps;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{TcContext, XdpContext};
use core::ops::ControlFlow;
use thalweg_abi::event::hook;
use thalweg_core::decide::decide_into;
use thalweg_core::fast::fast;
use thalweg_core::flow::inward::Exit;
use thalweg_core::flow::{self, Facts, FlowStages, Tracked, first, nat, quota, shelf};
use thalweg_core::{
    Arrival, Cells, Decision, Kind, Outcome, Packet, Reason, Stages, Verdict, answer, apply, parse,
    tunnel,
};

/// What a stage answers when it was given no memory; callers never do that.
const BROKEN: Verdict = Verdict::drop(Reason::Broken);

/// [`decide`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_decide(packet: *const Packet, decision: *mut Decision) -> u32 {
    // SAFETY: the verifier checked that both point to memory of their size, or are null.
    let (packet, decision) = unsafe { (packet.as_ref(), decision.as_mut()) };
    if let (Some(packet), Some(decision)) = (packet, decision) {
        *decision = Decision::new(packet);
        decide_into(packet, &MapCells::at(packet.epoch()), decision);
    }
    0
}

/// [`answer::is_unresolved`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stage_way_back(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    u32::from(answer::is_unresolved(&MapCells::at(packet.epoch()), packet))
}

/// [`flow::remember`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_remember(packet: *const Packet, nexthop: u32, back: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::remember(&MapCells::at(packet.epoch()), packet, tracked, nexthop, back != 0)
}

/// [`first::way`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_first_way(packet: *const Packet) -> u64 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    first::way(&MapCells::at(packet.epoch()), packet, tracked)
}

/// [`first::permits`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_permits(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    u32::from(first::permits(&MapCells::at(packet.epoch()), packet, tracked))
}

/// [`first::begin`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_begin(packet: *const Packet, nexthop: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    u32::from(first::begin(&MapCells::at(packet.epoch()), packet, tracked, nexthop))
}

/// [`flow::keep`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_keep(packet: *mut Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::keep(&MapCells::at(packet.epoch()), packet, tracked);
    0
}

/// [`flow::hairpin`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_hairpin(packet: *mut Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::hairpin(&MapCells::at(packet.epoch()), packet, tracked);
    0
}

/// [`flow::policy::permit`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_permit(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return BROKEN.to_number() };
    let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
    number(flow::policy::permit(&MapCells::at(packet.epoch()), packet, tracked))
}

/// [`flow::gate::pass`]: the same for both hooks. 1 if the packet may pass; else 0, and the decision says what
/// becomes of it. Then at a `hook` what rules said that log is told; 0 leaves that to whoever asks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_pass(packet: *const Packet, decision: *mut Decision, hook: u32) -> u32 {
    // SAFETY: the verifier checked that both point to memory of their size, or are null.
    let (packet, decision) = unsafe { (packet.as_ref(), decision.as_mut()) };
    let (Some(packet), Some(decision)) = (packet, decision) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    let cells = MapCells::at(packet.epoch());
    let passes = match flow::gate::pass(&cells, tracked, &Gates(packet)) {
        ControlFlow::Continue(()) => 1,
        ControlFlow::Break(verdict) => {
            decision.verdict = verdict;
            0
        }
    };
    if hook != 0 && tracked.logged != 0 {
        event_log(packet, decision.verdict.to_number(), hook);
    }
    passes
}

/// [`flow::gate::way`] and [`flow::gate::prepare`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_way(packet: *const Packet, decision: *const Decision, opened: u32) -> u32 {
    // SAFETY: the verifier checked that both point to memory of their size, or are null.
    let (packet, decision) = unsafe { (packet.as_ref(), decision.as_ref()) };
    let (Some(packet), Some(decision)) = (packet, decision) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    let cells = MapCells::at(packet.epoch());
    let way = flow::gate::way(&cells, packet, decision, opened != 0);
    flow::gate::prepare(&cells, packet, tracked, way);
    0
}

/// What gates ask, as functions that the verifier checks once.
struct Gates<'a>(&'a Packet);

impl flow::gate::Asks for Gates<'_> {
    #[inline(always)]
    fn ask(&self, _: &Tracked, fork: u32, side: u32) -> u64 {
        flow_ask(self.0, fork, side)
    }
}

/// [`flow::gate::ask`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_ask(packet: *const Packet, fork: u32, side: u32) -> u64 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::gate::ask(&MapCells::at(packet.epoch()), packet, tracked, fork, side)
}

/// [`flow::gate::prepare`] of a packet that is seen as it leaves.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_prepare(packet: *const Packet, way: u64) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::gate::prepare(&MapCells::at(packet.epoch()), packet, tracked, way);
    0
}

/// [`flow::policy::is_guarded`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_is_guarded(packet: *const Packet, nexthop: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 1 };
    u32::from(flow::policy::is_guarded(&MapCells::at(packet.epoch()), packet, nexthop))
}

/// [`flow::policy::is_seen`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_is_seen(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    u32::from(flow::policy::is_seen(&MapCells::at(packet.epoch()), packet))
}

/// [`flow::remember_fragments`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_fragments(packet: *const Packet, here: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    let cells = MapCells::at(packet.epoch());
    u32::from(flow::remember_fragments(&cells, packet, tracked, here != 0))
}

/// [`shelf::keep`]: only a socket buffer can be sent to its link again.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tc_shelve(context: *mut __sk_buff, device: u32, epoch: u32) -> u32 {
    let Some(tracked) = maps::tracked() else { return shelf::NO_PLACE };
    shelf::keep(&TcFrame::new(TcContext::new(context)), &MapCells::at(epoch), tracked, device)
}

/// [`shelf::release`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tc_release(context: *mut __sk_buff, epoch: u32) -> u32 {
    let Some(tracked) = maps::tracked() else { return 0 };
    let mut frame = TcFrame::new(TcContext::new(context));
    u32::from(shelf::release(&mut frame, &MapCells::at(epoch), tracked))
}

/// [`nat::is_taken`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_is_taken(packet: *const Packet, maps: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 1 };
    let Some(tracked) = maps::tracked() else { return 1 };
    u32::from(nat::is_taken(&MapCells::at(packet.epoch()), packet, tracked, maps != 0))
}

/// [`flow::mapping::find`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_mapped(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::mapping::find(&MapCells::at(packet.epoch()), packet, tracked)
}

/// [`flow::mapping::write`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_map(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    u32::from(flow::mapping::write(&MapCells::at(packet.epoch()), packet, tracked))
}

/// [`nat::make_room`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_make_room(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    u32::from(nat::make_room(&MapCells::at(packet.epoch()), tracked))
}

/// [`quota::admit`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_admit(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return quota::NONE };
    let Some(tracked) = maps::tracked() else { return quota::NONE };
    let look = |packet: &Packet, _: &mut Tracked, row| flow_tokens(packet, row);
    quota::admit(&MapCells::at(packet.epoch()), packet, tracked, look)
}

/// [`quota::look`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_tokens(packet: *const Packet, row: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return quota::NONE };
    let Some(tracked) = maps::tracked() else { return quota::NONE };
    let epoch = packet.epoch();
    let taken = |_: &mut Tracked, token, at| flow_token(token, at, epoch) != 0;
    quota::look(&MapCells::at(epoch), packet, tracked, row, taken)
}

/// [`quota::is_taken`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_token(token: u64, at: u32, epoch: u32) -> u32 {
    let Some(tracked) = maps::tracked() else { return 1 };
    u32::from(quota::is_taken(&MapCells::at(epoch), tracked, token, at))
}

/// [`nat::source`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_source(packet: *mut Packet, nexthop: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
    let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
    let cells = MapCells::at(packet.epoch());
    number(nat::source(&cells, packet, tracked, nexthop))
}

/// [`nat::choose`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_choose(packet: *mut Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return nat::TAKEN };
    let Some(tracked) = maps::tracked() else { return nat::TAKEN };
    let cells = MapCells::at(packet.epoch());
    let mapped = |packet: &Packet, _: &mut Tracked| flow_mapped(packet);
    let is_taken =
        |packet: &Packet, _: &mut Tracked, maps| flow_is_taken(packet, u32::from(maps)) != 0;
    nat::choose(&cells, packet, tracked, mapped, is_taken)
}

/// [`nat::forget`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_forget(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    nat::forget(&MapCells::at(packet.epoch()), packet, tracked);
    0
}

/// A verdict as a number, 0 for none.
#[inline(always)]
fn number(flow: ControlFlow<Verdict>) -> u32 {
    match flow {
        ControlFlow::Break(verdict) => verdict.to_number(),
        ControlFlow::Continue(()) => 0,
    }
}

/// [`thalweg_wire::crc32c::change`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sctp_crc32c(difference: u32, octets: u32) -> u32 {
    thalweg_wire::crc32c::change(difference, octets)
}

/// [`flow::renew`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_renew(packet: *const Packet, found: u32, nexthop: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    flow::renew(&MapCells::at(packet.epoch()), packet, found, nexthop);
    0
}

/// [`flow::leave`]: the verdict on a frame that this host sends.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_leave(context: *mut __sk_buff, packet: *mut Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
    let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
    let cells = MapCells::at(packet.epoch());
    flow::leave(&mut TcFrame::new(TcContext::new(context)), &cells, packet, tracked).to_number()
}

/// [`flow::inward::inward`]: the verdict on a frame that leaves for a workload or through a gate.
#[inline(always)]
pub fn inward(context: *mut __sk_buff, packet: &mut Packet, exit: Exit) -> Verdict {
    Verdict::from_number(flow_inward(context, packet, exit.to_number())).unwrap_or(BROKEN)
}

/// Whether gates let a packet pass on its way from one link to another.
#[inline(always)]
pub fn passes(packet: &Packet, came: u32, goes: u32) -> bool {
    let mut decision = Decision::new(packet);
    flow_prepare(packet, flow::gate::between(came, goes));
    flow_pass(packet, &mut decision, 0) != 0
}

/// Tells of a packet that is seen as it leaves what rules said that log.
#[inline(always)]
pub fn tell(packet: &Packet, verdict: Verdict) {
    if maps::tracked().is_some_and(|tracked| tracked.logged != 0) {
        event_log(packet, verdict.to_number(), hook::OUT.into());
    }
}

/// [`flow::gate::alone`] of a packet that leaves.
#[inline(always)]
pub fn alone(packet: &Packet) -> u32 {
    flow_alone(packet)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_alone(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return flow::gate::DENIED };
    let Some(tracked) = maps::tracked() else { return flow::gate::DENIED };
    flow::gate::alone(&MapCells::at(packet.epoch()), packet, tracked, true)
}

/// [`flow::inward::turn`].
#[inline(always)]
pub fn turn(packet: &mut Packet) {
    if let Some(tracked) = maps::tracked() {
        flow::inward::turn(packet, tracked);
    }
}

/// [`flow::judged`] of the flow of a packet.
#[inline(always)]
pub fn judged(packet: &Packet) {
    flow_judged(packet);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_judged(packet: *const Packet) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    flow::judged(&MapCells::at(packet.epoch()), tracked.facts().found());
    0
}

/// Whether policies do not allow a packet.
#[inline(always)]
pub fn denies(packet: &Packet) -> bool {
    flow_permit(packet) != 0
}

/// Writes a row for one direction of a flow whose way the kernel knows.
#[inline(always)]
pub fn remember(packet: &Packet, back: bool) -> u32 {
    flow_remember(packet, 0, back.into())
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_inward(context: *mut __sk_buff, packet: *mut Packet, exit: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
    let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
    let cells = MapCells::at(packet.epoch());
    let frame = TcFrame::new(TcContext::new(context));
    flow::inward::inward(&frame, &cells, packet, tracked, Exit::from_number(exit)).to_number()
}

/// [`tunnel::give_back`]: the same for both hooks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flow_give_back(packet: *const Packet, decision: *mut Decision) -> u32 {
    // SAFETY: the verifier checked that both point to memory of their size, or are null.
    let (packet, decision) = unsafe { (packet.as_ref(), decision.as_mut()) };
    let (Some(packet), Some(decision)) = (packet, decision) else { return 0 };
    let Some(tracked) = maps::tracked() else { return 0 };
    let cells = MapCells::at(packet.epoch());
    u32::from(tunnel::give_back(&cells, packet, tracked.node, decision))
}

macro_rules! stages {
    ($stages:ident, $context:ident, $frame:expr, $hook:expr, $ahead:literal, $parse:ident, $forward:ident, $unlabel:ident, $answer:ident, $untracked:ident, $track:ident, $translate:ident, $known:ident, $serve:ident, $depart:ident, $open:ident, $send:ident, $shelve:expr, $release:expr) => {
        /// The stages of one hook.
        pub struct $stages(pub *mut $context);

        impl Stages for $stages {
            #[inline(always)]
            fn fast(&mut self, arrival: Arrival) -> Outcome {
                fast(&mut $frame(self.0), &MapCells::at(arrival.epoch), arrival)
            }

            #[inline(always)]
            fn parse(&mut self, packet: &mut Packet) -> Option<Verdict> {
                Verdict::from_number($parse(self.0, packet))
            }

            #[inline(always)]
            fn decide(&mut self, packet: &Packet, decision: &mut Decision) {
                stage_decide(packet, decision);
            }

            #[inline(always)]
            fn forward(&mut self, packet: &Packet, decision: &Decision) -> Outcome {
                Outcome::from_number($forward(self.0, packet, decision))
            }

            #[inline(always)]
            fn unlabel(&mut self, packet: &Packet, decision: &Decision) -> bool {
                $unlabel(self.0, packet, decision) != 0
            }

            #[inline(always)]
            fn is_unresolved(&self, packet: &Packet) -> bool {
                stage_way_back(packet) != 0
            }

            #[inline(always)]
            fn answer(&mut self, packet: &mut Packet, verdict: Verdict, mtu: u32) -> Verdict {
                let number = $answer(self.0, packet, verdict.to_number(), mtu);
                Verdict::from_number(number).unwrap_or(BROKEN)
            }

            #[inline(always)]
            fn admit(&mut self, link: u32) -> bool {
                MapCells::at(MapCells::epoch_now()).admit(link, thalweg_abi::meter::Class::Punt)
            }

            #[inline(always)]
            fn can_hand_over(&self, device: u32) -> bool {
                $ahead && maps::is_behind(device)
            }

            #[inline(always)]
            fn zero(&self) -> u64 {
                MapCells::at(0).blur(0)
            }

            #[inline(always)]
            fn epoch(&self) -> u32 {
                MapCells::epoch_now()
            }

            #[inline(always)]
            fn holds(&self, epoch: u32) -> bool {
                MapCells::at(epoch).holds()
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $parse(context: *mut $context, packet: *mut Packet) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
            match parse(&$frame(context), &MapCells::at(packet.epoch()), packet) {
                ControlFlow::Break(verdict) => verdict.to_number(),
                ControlFlow::Continue(()) => 0,
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $forward(
            context: *mut $context,
            packet: *const Packet,
            decision: *const Decision,
        ) -> u64 {
            // SAFETY: the verifier checked that both point to memory of their size, or are null.
            let (packet, decision) = unsafe { (packet.as_ref(), decision.as_ref()) };
            let (Some(packet), Some(decision)) = (packet, decision) else {
                return Outcome::stop(BROKEN).to_number();
            };
            let cells = MapCells::at(packet.epoch());
            apply::forward(&mut $frame(context), &cells, packet, decision).to_number()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $unlabel(
            context: *mut $context,
            packet: *const Packet,
            decision: *const Decision,
        ) -> u32 {
            // SAFETY: the verifier checked that both point to memory of their size, or are null.
            let (packet, decision) = unsafe { (packet.as_ref(), decision.as_ref()) };
            let (Some(packet), Some(decision)) = (packet, decision) else { return 0 };
            u32::from(apply::unlabel(&mut $frame(context), packet, decision))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $answer(
            context: *mut $context,
            packet: *mut Packet,
            verdict: u32,
            mtu: u32,
        ) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
            let verdict = Verdict::from_number(verdict).unwrap_or(BROKEN);
            let cells = MapCells::at(packet.epoch());
            answer::answer(&mut $frame(context), &cells, packet, verdict, mtu).to_number()
        }

        impl FlowStages for $stages {
            #[inline(always)]
            fn known(&mut self, arrival: Arrival) -> Outcome {
                Outcome::from_number($known(self.0, arrival.device, arrival.epoch))
            }

            #[inline(always)]
            fn serve(&mut self, packet: &mut Packet, arrival: Arrival) -> bool {
                $serve(self.0, packet, arrival.device, arrival.epoch) != 0
            }

            #[inline(always)]
            fn way(&self, packet: &Packet) -> u64 {
                flow_first_way(packet)
            }

            #[inline(always)]
            fn permits(&mut self, packet: &Packet) -> bool {
                flow_permits(packet) != 0
            }

            #[inline(always)]
            fn begin(&mut self, packet: &Packet, nexthop: u32) -> bool {
                flow_begin(packet, nexthop) != 0
            }

            #[inline(always)]
            fn depart(&mut self, packet: &Packet, nexthop: u32) -> Outcome {
                Outcome::from_number($depart(self.0, packet, nexthop))
            }

            #[inline(always)]
            fn untracked(&mut self, packet: &mut Packet) -> bool {
                $untracked(self.0, packet) != 0
            }

            #[inline(always)]
            fn track(&mut self, packet: &mut Packet) -> Option<Verdict> {
                Verdict::from_number($track(self.0, packet))
            }

            #[inline(always)]
            fn keep(&mut self, packet: &mut Packet) {
                flow_keep(packet);
            }

            #[inline(always)]
            fn hairpin(&mut self, packet: &mut Packet) {
                flow_hairpin(packet);
            }

            #[inline(always)]
            fn permit(&mut self, packet: &Packet) -> Option<Verdict> {
                Verdict::from_number(flow_permit(packet))
            }

            #[inline(always)]
            fn pass(&mut self, packet: &Packet, decision: &mut Decision, opened: bool) {
                flow_way(packet, decision, opened.into());
                flow_pass(packet, decision, $hook.into());
            }

            #[inline(always)]
            fn is_guarded(&self, packet: &Packet, nexthop: u32) -> bool {
                flow_is_guarded(packet, nexthop) != 0
            }

            #[inline(always)]
            fn is_seen(&self, packet: &Packet) -> bool {
                flow_is_seen(packet) != 0
            }

            #[inline(always)]
            fn facts(&self) -> Facts {
                maps::tracked().map_or(Facts::NONE, |tracked| tracked.facts())
            }

            #[inline(always)]
            fn admit_flow(&mut self, packet: &Packet) -> bool {
                flow_admit(packet) != quota::NONE
            }

            #[inline(always)]
            fn source(&mut self, packet: &mut Packet, nexthop: u32) -> Option<Verdict> {
                Verdict::from_number(flow_source(packet, nexthop))
            }

            #[inline(always)]
            fn remember_fragments(&mut self, packet: &Packet, here: bool) -> bool {
                flow_fragments(packet, here.into()) != 0
            }

            #[inline(always)]
            fn shelve(&mut self, packet: &Packet, device: u32) -> u32 {
                $shelve(self.0, device, packet.epoch())
            }

            #[inline(always)]
            fn release(&mut self, packet: &Packet) -> bool {
                $release(self.0, packet.epoch()) != 0
            }

            #[inline(always)]
            fn choose(&mut self, packet: &mut Packet) -> u32 {
                flow_choose(packet)
            }

            #[inline(always)]
            fn map(&mut self, packet: &Packet) -> bool {
                flow_map(packet) != 0
            }

            #[inline(always)]
            fn remember(&mut self, packet: &Packet, nexthop: u32, back: bool) -> u32 {
                flow_remember(packet, nexthop, back.into())
            }

            #[inline(always)]
            fn make_room(&mut self, packet: &Packet) -> bool {
                flow_make_room(packet) != 0
            }

            #[inline(always)]
            fn forget(&mut self, packet: &Packet) {
                flow_forget(packet);
            }

            #[inline(always)]
            fn restore(&mut self, packet: &mut Packet) {
                if let Some(tracked) = maps::tracked() {
                    tracked.restore(packet);
                }
            }

            #[inline(always)]
            fn renew(&mut self, packet: &Packet, found: u32, nexthop: u32) {
                flow_renew(packet, found, nexthop);
            }

            #[inline(always)]
            fn is_to_workload(&self, packet: &Packet, nexthop: u32) -> bool {
                flow::is_to_workload(&MapCells::at(packet.epoch()), nexthop)
            }

            #[inline(always)]
            fn link_of(&self, packet: &Packet, nexthop: u32) -> u32 {
                flow::link_of(&MapCells::at(packet.epoch()), nexthop)
            }

            #[inline(always)]
            fn translate(&mut self, packet: &Packet) -> bool {
                $translate(self.0, packet) != 0
            }

            #[inline(always)]
            fn enter(&mut self) {
                if let Some(tracked) = maps::tracked() {
                    (tracked.node, tracked.logged) = (0, 0);
                }
            }

            #[inline(always)]
            fn open(&mut self, packet: &Packet) -> Option<Verdict> {
                Verdict::from_number($open(self.0, packet))
            }

            #[inline(always)]
            fn give_back(&mut self, packet: &Packet, decision: &mut Decision) -> bool {
                flow_give_back(packet, decision) != 0
            }

            #[inline(always)]
            fn tunnel_of(&self, packet: &Packet, nexthop: u32) -> u32 {
                tunnel::tunnel_of(&MapCells::at(packet.epoch()), nexthop)
            }

            #[inline(always)]
            fn send(&mut self, packet: &Packet, decision: &Decision) -> Outcome {
                // Only a socket buffer can wait for a neighbor.
                if $ahead && !decision.verdict.is(Kind::Forward) {
                    return Outcome::stop(decision.verdict.with_kind(Kind::Drop));
                }
                Outcome::from_number($send(self.0, packet, decision))
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $open(context: *mut $context, packet: *const Packet) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return BROKEN.to_number() };
            let cells = MapCells::at(packet.epoch());
            let flags = cells.settings().map_or(0, |row| row.flags);
            if !tunnel::is_for_tunnel(flags, packet) {
                return 0;
            }
            let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
            let opened = tunnel::open(&mut $frame(context), &cells, packet, &mut tracked.node);
            let number = opened.map_or(0, |verdict| verdict.to_number());
            if number != 0 && tracked.logged != 0 {
                event_log(packet, number, $hook.into());
            }
            number
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $send(
            context: *mut $context,
            packet: *const Packet,
            decision: *const Decision,
        ) -> u64 {
            // SAFETY: the verifier checked that both point to memory of their size, or are null.
            let (packet, decision) = unsafe { (packet.as_ref(), decision.as_ref()) };
            let (Some(packet), Some(decision)) = (packet, decision) else { return 0 };
            let cells = MapCells::at(packet.epoch());
            tunnel::send(&mut $frame(context), &cells, packet, decision).to_number()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $known(context: *mut $context, device: u32, epoch: u32) -> u64 {
            let arrival = Arrival { device, epoch };
            flow::fast::fast(&mut $frame(context), &MapCells::at(epoch), arrival).to_number()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $serve(
            context: *mut $context,
            packet: *mut Packet,
            device: u32,
            epoch: u32,
        ) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return 0 };
            let Some(tracked) = maps::tracked() else { return 0 };
            let (cells, arrival) = (MapCells::at(epoch), Arrival { device, epoch });
            u32::from(first::serve(&$frame(context), &cells, packet, tracked, arrival))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $depart(context: *mut $context, packet: *const Packet, nexthop: u32) -> u64 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_ref() }) else {
                return Outcome::stop(BROKEN).to_number();
            };
            let Some(tracked) = maps::tracked() else { return Outcome::stop(BROKEN).to_number() };
            let cells = MapCells::at(packet.epoch());
            first::depart(&mut $frame(context), &cells, packet, tracked, nexthop).to_number()
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $untracked(context: *mut $context, packet: *mut Packet) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return 1 };
            let Some(tracked) = maps::tracked() else { return 1 };
            let cells = MapCells::at(packet.epoch());
            u32::from(flow::gate::untracked(&$frame(context), &cells, packet, tracked))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $track(context: *mut $context, packet: *mut Packet) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_mut() }) else { return BROKEN.to_number() };
            let Some(tracked) = maps::tracked() else { return BROKEN.to_number() };
            let cells = MapCells::at(packet.epoch());
            match flow::track(&$frame(context), &cells, packet, tracked) {
                ControlFlow::Break(verdict) => verdict.to_number(),
                ControlFlow::Continue(()) => 0,
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $translate(context: *mut $context, packet: *const Packet) -> u32 {
            // SAFETY: the verifier checked that it points to a packet, or is null.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
            let Some(tracked) = maps::tracked() else { return 0 };
            u32::from(flow::rewrite(&mut $frame(context), packet, tracked))
        }
    };
}

stages!(
    XdpStages,
    xdp_md,
    |context| XdpFrame::new(XdpContext::new(context)),
    hook::XDP,
    true,
    xdp_parse,
    xdp_forward,
    xdp_unlabel,
    xdp_answer,
    xdp_untracked,
    xdp_track,
    xdp_translate,
    xdp_known,
    xdp_serve,
    xdp_depart,
    xdp_open,
    xdp_send,
    |_, _, _| shelf::NO_PLACE,
    |_, _| 1
);
stages!(
    TcStages,
    __sk_buff,
    |context| TcFrame::new(TcContext::new(context)),
    hook::TC,
    false,
    tc_parse,
    tc_forward,
    tc_unlabel,
    tc_answer,
    tc_untracked,
    tc_track,
    tc_translate,
    tc_known,
    tc_serve,
    tc_depart,
    tc_open,
    tc_send,
    |context, device, epoch| tc_shelve(context, device, epoch),
    |context, epoch| tc_release(context, epoch)
);
