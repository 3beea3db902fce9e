//! Events of frames that were discarded, and of those that passed rules that log: functions that nothing else calls,
//! so that all other frames pay nothing.

use crate::cells::MapCells;
use crate::frame::{TcFrame, XdpFrame};
use crate::maps;
use crate::stages::{TcStages, XdpStages};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::programs::{TcContext, XdpContext};
use thalweg_abi::event::{EventRow, LOGGED, cause_of, flag, hook};
use thalweg_core::flow::log;
use thalweg_core::{Arrival, Cells as _, Frame, Packet, Stages, Verdict, event, meter};

/// When it is, while somebody listens: 0 for nobody. Reads one word of shared memory where nobody does.
#[inline(always)]
fn time_to_tell() -> u64 {
    let Some(gate) = maps::GATE.get(0) else { return 0 };
    // SAFETY: a valid reference; volatile, because user space writes the word meanwhile.
    let until = unsafe { core::ptr::read_volatile(&raw const gate.until) };
    if until == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if now < until { now } else { 0 }
}

/// Whether this processor may tell one more event.
#[inline(always)]
fn is_admitted(now: u64) -> bool {
    let (Some(gate), Some(row)) = (maps::GATE.get(0), maps::event_row()) else { return false };
    let [cost, burst] = [&raw const gate.cost, &raw const gate.burst];
    // SAFETY: valid references; volatile, because user space writes the words meanwhile.
    let (cost, burst) = unsafe { (cost.read_volatile(), burst.read_volatile()) };
    let admitted = meter::take(&mut row.meter, now, cost, burst);
    if !admitted {
        row.left_out += 1;
    }
    admitted
}

/// Begins an event of a frame that is discarded: when it is, or 0 where nothing is to be told.
#[inline(always)]
fn begin(verdict: Verdict) -> u64 {
    let now = time_to_tell();
    if now != 0 && event::is_told(verdict) && is_admitted(now) { now } else { 0 }
}

/// Parses the frame as it is now. The packet in hand is taken for that: nobody needs it any more.
#[inline(always)]
fn parse<S: Stages>(stages: &mut S, device: u32) {
    let Some(packet) = maps::packet() else { return };
    let epoch = MapCells::epoch_now();
    *packet = Packet::new(Arrival { device, epoch }, MapCells::at(0).blur(0));
    // Whatever it says: what could be read is there.
    let _ = stages.parse(packet);
}

/// Describes the frame in this processor's row, by the packet that [`parse`] read.
#[inline(always)]
fn describe<F: Frame>(frame: &F, verdict: u32, octets: u32) -> u32 {
    let (Some(packet), Some(row)) = (maps::packet(), maps::event_row()) else { return 0 };
    let Some(verdict) = Verdict::from_number(verdict) else { return 0 };
    let cells = MapCells::at(packet.epoch());
    event::describe(frame, &cells, packet, verdict, octets, &mut row.event);
    0
}

/// Puts the event of this processor's row into the ring.
#[inline(always)]
fn put(now: u64, hook: u8) -> u32 {
    let Some(row) = maps::event_row() else { return 0 };
    row.event.time = now;
    row.event.hook = hook;
    let cause = cause_of(row.cause, row.event.reason);
    row.event.cause = cause & !LOGGED;
    if cause & LOGGED != 0 {
        row.event.flags |= flag::LOGGED;
    }
    send(row)
}

/// Sends the event of a processor's row on its way.
#[inline(always)]
fn send(row: &mut EventRow) -> u32 {
    match maps::EVENTS.output(&row.event, 0) {
        Ok(()) => row.taken += 1,
        Err(_) => row.lost += 1,
    }
    0
}

/// Tells that a packet passed rules that log, as [`log`] has noted it: once for each side that says so.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn event_log(packet: *const Packet, verdict: u32, hook: u32) -> u32 {
    // SAFETY: the verifier checked that it points to a packet, or is null.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let (Some(tracked), Some(row)) = (maps::tracked(), maps::event_row()) else { return 0 };
    let Some(verdict) = Verdict::from_number(verdict) else { return 0 };
    let count = log::describe(packet, tracked, verdict, &mut row.event);
    let now = time_to_tell();
    if now == 0 {
        return 0;
    }
    (row.event.time, row.event.hook) = (now, hook as u8);
    for at in 0..log::MOST {
        if at as u64 >= count {
            break;
        }
        if is_admitted(now) {
            log::put(tracked, at, &mut row.event);
            send(row);
        }
    }
    0
}

/// [`describe`] at the XDP hook. A function of its own, so that its stack is not there while the frame is
/// parsed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn xdp_describe(context: *mut xdp_md, verdict: u32, octets: u32) -> u32 {
    describe(&XdpFrame::new(XdpContext::new(context)), verdict, octets)
}

/// [`describe`] at the tc hooks, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tc_describe(context: *mut __sk_buff, verdict: u32, octets: u32) -> u32 {
    describe(&TcFrame::new(TcContext::new(context)), verdict, octets)
}

/// Tells of a frame at the XDP hook.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn event_xdp(context: *mut xdp_md, device: u32, verdict: u32, octets: u32) -> u32 {
    let now = Verdict::from_number(verdict).map_or(0, begin);
    if now == 0 {
        return 0;
    }
    parse(&mut XdpStages(context), device);
    xdp_describe(context, verdict, octets);
    put(now, hook::XDP)
}

/// Tells of a frame at a tc hook: [`hook::TC`], or [`hook::OUT`] for one that this host would have sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn event_tc(
    context: *mut __sk_buff,
    device: u32,
    verdict: u32,
    octets: u32,
    hook: u32,
) -> u32 {
    let now = Verdict::from_number(verdict).map_or(0, begin);
    if now == 0 {
        return 0;
    }
    parse(&mut TcStages(context), device);
    tc_describe(context, verdict, octets);
    put(now, hook as u8)
}
