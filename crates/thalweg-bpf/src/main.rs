//! The packet core in the kernel: one program for XDP, one for tc.
//!
//! Nothing is decided here. These shells lend the core a frame and the tables, count the outcome and
//! turn it into the hook's return code.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod cells;
mod frame;
mod handover;
mod maps;
mod stages;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use stages::{TcStages, XdpStages};
use thalweg_core::{Arrival, Cells as _, Kind, Outcome, Reason, Verdict, process};

/// Routes and label-switches what arrives at a link, before a buffer is allocated.
#[xdp]
#[inline(always)]
pub fn thalweg_xdp(context: XdpContext) -> u32 {
    let epoch = cells::MapCells::epoch_now();
    let arrival = Arrival { device: context.ingress_ifindex() as u32, epoch };
    let octets = (context.data_end() - context.data()) as u32;
    let outcome = process(&mut XdpStages(context.ctx), arrival);
    maps::count(outcome.verdict, octets);
    match outcome.verdict.kind() {
        Kind::Forward | Kind::Answer => redirect(&outcome) as u32,
        Kind::Drop => xdp_action::XDP_DROP,
        _ => {
            if outcome.verdict == Verdict::pass(Reason::HandedOver) {
                handover::give(&context, epoch);
            }
            xdp_action::XDP_PASS
        }
    }
}

/// The same for links where XDP is not wanted or cannot be had, and for frames that XDP hands over:
/// on socket buffers.
#[classifier]
#[inline(always)]
pub fn thalweg_tc(context: TcContext) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let device = unsafe { (*context.skb.skb).ifindex };
    let given = handover::take(&context);
    // What XDP has decided is decided.
    if given.is_none() && maps::is_behind(device) {
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
        process(&mut TcStages(context.skb.skb), Arrival { device, epoch })
    };
    maps::count(outcome.verdict, octets);
    match outcome.verdict.kind() {
        Kind::Forward | Kind::Answer => redirect(&outcome) as i32,
        Kind::Drop => TC_ACT_SHOT,
        // The frame stays the kernel's, and programs behind this one see it, too.
        _ => TC_ACT_UNSPEC,
    }
}

/// Both hooks know the helper; its return code says what the hook must return.
#[inline(always)]
fn redirect(outcome: &Outcome) -> i64 {
    // SAFETY: a helper without pointer arguments.
    unsafe { bpf_redirect(outcome.device, 0) }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
