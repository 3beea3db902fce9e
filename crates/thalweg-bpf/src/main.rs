//! The packet core in the kernel: programs for XDP, for tc, and for sockets.
//!
//! Nothing is decided here. These shells lend the core a frame and the tables, count the outcome and
//! turn it into the hook's return code.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod cells;
mod event;
mod frame;
mod handover;
mod maps;
mod socket;
mod stages;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use stages::{TcStages, XdpStages};
use thalweg_abi::event::hook;
use thalweg_core::flow::inward::Exit;
use thalweg_core::parse::sub_interface;
use thalweg_core::{Arrival, Cells as _, Kind, Outcome, Packet, Reason, Verdict, flow, process};

/// Routes and label-switches what arrives at a link, before a buffer is allocated.
#[xdp]
#[inline(always)]
pub fn thalweg_xdp(context: XdpContext) -> u32 {
    at_xdp(context, |stages, arrival| process(stages, arrival))
}

/// The same for links where XDP is not wanted or cannot be had, and for frames that XDP hands over:
/// on socket buffers.
#[classifier]
#[inline(always)]
pub fn thalweg_tc(context: TcContext) -> i32 {
    at_tc(context, false, |stages, arrival| process(stages, arrival))
}

/// As [`thalweg_xdp`], on a host with services or workloads: flows are known.
#[xdp]
#[inline(always)]
pub fn thalweg_flow_xdp(context: XdpContext) -> u32 {
    at_xdp(context, |stages, arrival| match maps::packet() {
        Some(packet) => flow::process(stages, packet, arrival),
        None => Outcome::stop(Verdict::drop(Reason::Broken)),
    })
}

/// As [`thalweg_tc`], on a host with services or workloads: flows are known.
#[classifier]
#[inline(always)]
pub fn thalweg_flow_tc(context: TcContext) -> i32 {
    at_tc(context, true, |stages, arrival| match maps::packet() {
        Some(packet) => flow::process(stages, packet, arrival),
        None => Outcome::stop(Verdict::drop(Reason::Broken)),
    })
}

/// On a host with services or workloads: translates what backends on this very host answer, as it leaves, and
/// asks policies about what reaches workloads by no hook in front of them. What else was forwarded is no
/// concern of it.
#[classifier]
#[inline(always)]
pub fn thalweg_flow_out(context: TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let (device, from) =
        unsafe { ((*context.skb.skb).ifindex, (*context.skb.skb).ingress_ifindex) };
    let epoch = cells::MapCells::epoch_now();
    let cells = cells::MapCells::at(epoch);
    // SAFETY: as above. What a sub-interface sends leaves here with its tag beside the frame.
    let (tagged, tag) = unsafe { ((*context.skb.skb).vlan_present, (*context.skb.skb).vlan_tci) };
    let device = match tagged {
        0 => device,
        _ => sub_interface(&cells, device, tag & 0xfff),
    };
    let arrival = Arrival { device, epoch };
    // Only where a program of ours has seen it arrive nobody else can have written that.
    if frame::take_sent(&context) && cells.link(from).is_some_and(|row| row.flags != 0) {
        return TC_ACT_UNSPEC;
    }
    let inward = flow::inward::is_workload(&cells, device);
    let exit = Exit { own: from == 0, gate: flow::gate::is_at(&cells, device) };
    if from != 0 && !inward && !exit.gate {
        return TC_ACT_UNSPEC;
    }
    frame::linearize(&context);
    let left = if from == 0 { leave(&context, arrival) } else { None };
    match left {
        Some(code) => code,
        None if inward || exit.gate => goes_out(&context, arrival, exit),
        None => TC_ACT_UNSPEC,
    }
}

/// What leaves for a workload or through a gate. A packet that begins a flow is remembered, in both directions.
#[inline(always)]
fn goes_out(context: &TcContext, arrival: Arrival, exit: Exit) -> i32 {
    let Some(packet) = maps::packet() else { return TC_ACT_UNSPEC };
    *packet = Packet::new(arrival, cells::MapCells::at(0).blur(0));
    let mut verdict = stages::inward(context.skb.skb, packet, exit);
    let alone = if exit.gate { stages::alone(packet) } else { flow::gate::NOTHING_SAID };
    verdict = match alone {
        flow::gate::LET_PASS => flow::UNTOUCHED,
        flow::gate::DENIED => Verdict::drop(Reason::Policy),
        _ if verdict.is(Kind::Punt) => asked(packet, verdict, exit),
        _ => verdict,
    };
    stages::tell(packet, verdict);
    if verdict == flow::inward::BEGINS {
        let rows = stages::remember(packet, true) != 0 && stages::remember(packet, false) != 0;
        // What this host says reaches a workload in any case. Through a gate nobody could answer it.
        let passes = rows || exit.own && !exit.gate;
        verdict = if passes { flow::UNTOUCHED } else { Verdict::drop(Reason::FlowsFull) };
    }
    if verdict == flow::UNTOUCHED {
        return TC_ACT_UNSPEC;
    }
    maps::count(verdict, context.len());
    discard(context, arrival, verdict)
}

/// What policies say of a packet that is seen as it leaves. Nobody hears of it here.
#[inline(always)]
fn asked(packet: &mut Packet, verdict: Verdict, exit: Exit) -> Verdict {
    let came = if exit.own { flow::gate::HERE } else { flow::gate::ELSEWHERE };
    let goes = packet.link();
    let passes = match exit.gate {
        true if verdict == flow::inward::ASKS_BACK => {
            stages::turn(packet);
            stages::passes(packet, goes, came)
        }
        true => stages::passes(packet, came, goes),
        false => !stages::denies(packet),
    };
    if !passes {
        return Verdict::drop(Reason::Policy);
    }
    if verdict == flow::inward::ASKS_TO_BEGIN {
        return flow::inward::BEGINS;
    }
    stages::judged(packet);
    flow::UNTOUCHED
}

/// A frame does not leave.
#[inline(always)]
fn discard(context: &TcContext, arrival: Arrival, verdict: Verdict) -> i32 {
    let (number, octets) = (verdict.to_number(), context.len());
    event::event_tc(context.skb.skb, arrival.device, number, octets, hook::OUT.into());
    TC_ACT_SHOT
}

/// What this host's own stack says; none if it is none of ours.
#[inline(always)]
fn leave(context: &TcContext, arrival: Arrival) -> Option<i32> {
    let packet = maps::packet()?;
    *packet = Packet::new(arrival, cells::MapCells::at(0).blur(0));
    let number = stages::flow_leave(context.skb.skb, packet);
    Some(match Verdict::from_number(number) {
        Some(verdict) if verdict == flow::UNTOUCHED => return None,
        // It is counted where it arrives.
        Some(verdict) if verdict == flow::RETURNED => {
            arrive(flow::passage(&cells::MapCells::at(arrival.epoch)))
        }
        Some(verdict) => {
            maps::count(verdict, context.len());
            if verdict.is(Kind::Drop) { discard(context, arrival, verdict) } else { TC_ACT_UNSPEC }
        }
        None => TC_ACT_UNSPEC,
    })
}

#[inline(always)]
fn at_xdp(context: XdpContext, decide: impl Fn(&mut XdpStages, Arrival) -> Outcome) -> u32 {
    let epoch = cells::MapCells::epoch_now();
    let arrival = Arrival { device: context.ingress_ifindex() as u32, epoch };
    let octets = (context.data_end() - context.data()) as u32;
    let mut outcome = decide(&mut XdpStages(context.ctx), arrival);
    if outcome.verdict.is(Kind::Answer) && outcome.device == 0 {
        // This hook can hand nothing that it has made to the host itself.
        outcome.verdict = outcome.verdict.with_kind(Kind::Drop);
    }
    maps::count(outcome.verdict, octets);
    match outcome.verdict.kind() {
        Kind::Forward => redirect(outcome.device & !flow::STRAIGHT) as u32,
        Kind::Answer => {
            let number = outcome.verdict.to_number();
            event::event_xdp(context.ctx, arrival.device, number, octets);
            redirect(outcome.device & !flow::STRAIGHT) as u32
        }
        Kind::Drop => {
            let number = outcome.verdict.to_number();
            event::event_xdp(context.ctx, arrival.device, number, octets);
            xdp_action::XDP_DROP
        }
        _ => {
            if outcome.verdict == Verdict::pass(Reason::HandedOver) {
                handover::give(&context, epoch);
            }
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn at_tc(
    context: TcContext,
    flows: bool,
    decide: impl Fn(&mut TcStages, Arrival) -> Outcome,
) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let device = unsafe { (*context.skb.skb).ifindex };
    let given = handover::take(&context);
    // What XDP has decided is decided.
    if !frame::take_mark(&context) && given.is_none() && maps::is_behind(device) {
        return TC_ACT_UNSPEC;
    }
    let epoch = match given {
        Some(epoch) if cells::MapCells::at(epoch.get()).holds() => epoch.get(),
        _ => cells::MapCells::epoch_now(),
    };
    let octets = context.len();
    // The kernel has taken the outer tag out of the frame: only the hook of the sub-interface may
    // decide what is left.
    // SAFETY: as above.
    let tagged = unsafe { (*context.skb.skb).vlan_present } != 0;
    let outcome = if tagged {
        Outcome::stop(Verdict::pass(Reason::UnknownVlan))
    } else {
        frame::linearize(&context);
        decide(&mut TcStages(context.skb.skb), Arrival { device, epoch })
    };
    maps::count(outcome.verdict, octets);
    match outcome.verdict.kind() {
        Kind::Forward => send(&context, flows, outcome.device),
        Kind::Answer => {
            let number = outcome.verdict.to_number();
            event::event_tc(context.skb.skb, device, number, octets, hook::TC.into());
            // Who is told may be this host's own stack.
            match outcome.device {
                0 => arrive(LOOPBACK),
                device => send(&context, flows, device),
            }
        }
        Kind::Punt if outcome.device != 0 => {
            frame::mark_sent(&context);
            // The way is known but for the neighbor, which the kernel finds.
            // SAFETY: without parameters the helper looks the way up itself.
            unsafe { bpf_redirect_neigh(outcome.device, core::ptr::null_mut(), 0, 0) as i32 }
        }
        Kind::Drop => {
            let number = outcome.verdict.to_number();
            event::event_tc(context.skb.skb, device, number, octets, hook::TC.into());
            TC_ACT_SHOT
        }
        // What is left of it is the copy.
        Kind::Pass if outcome.verdict == Verdict::pass(Reason::KeptFragment) => TC_ACT_SHOT,
        // The frame stays the kernel's, and programs behind this one see it, too.
        _ => TC_ACT_UNSPEC,
    }
}

/// Interface index of `lo` (`LOOPBACK_IFINDEX`, include/net/net_namespace.h): what arrives there may have
/// any address of this host as its source.
const LOOPBACK: u32 = 1;
/// `BPF_F_INGRESS`: the frame arrives at the interface instead of leaving through it.
const INGRESS: u64 = 1;

/// Lets the frame arrive at an interface of this host.
#[inline(always)]
fn arrive(device: u32) -> i32 {
    // SAFETY: a helper without pointer arguments.
    unsafe { bpf_redirect(device, INGRESS) as i32 }
}

/// Sends a socket buffer out of a link, or straight into the other end of one. A program that knows `flows`
/// says so to the one that sees it leave.
#[inline(always)]
fn send(context: &TcContext, flows: bool, device: u32) -> i32 {
    if device & flow::STRAIGHT == 0 {
        if flows {
            frame::mark_sent(context);
        }
        return redirect(device) as i32;
    }
    // SAFETY: a helper without pointer arguments.
    unsafe { bpf_redirect_peer(device & !flow::STRAIGHT, 0) as i32 }
}

/// Both hooks know the helper; its return code says what the hook must return.
#[inline(always)]
fn redirect(device: u32) -> i64 {
    // SAFETY: a helper without pointer arguments.
    unsafe { bpf_redirect(device, 0) }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
