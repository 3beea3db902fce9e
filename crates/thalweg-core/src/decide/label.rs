//! The label stage: takes labels off until a group is found or an IP header is exposed.
//!
//! RFC 3031, RFC 3032, RFC 3443 (TTL), RFC 3270 (class), RFC 6790 (entropy).

use super::{Decision, write};
use crate::cells::Cells;
use crate::packet::{DEPTH, Packet};
use core::ops::ControlFlow;
use thalweg_abi::{IlmWord, Reason, Verdict, link};
use thalweg_wire::Lse;
use thalweg_wire::mpls::reserved;

/// How many labels one packet may have looked up.
const LOOKUPS: u32 = 4;

/// What is known while labels come off.
#[derive(Clone, Copy)]
struct Cursor {
    /// Entries taken off.
    pops: u32,
    /// TTL that the path so far leaves, before this router's own hop.
    ttl: u8,
    /// Class, likewise.
    class: u8,
    /// Whether the last label came off in the pipe model.
    pipe: bool,
}

/// Ends with a group in `decision` (labels stay or were swapped), or without one: then the IP header
/// is exposed and must be routed in `decision.vrf()`.
#[inline(always)]
pub fn step<C: Cells>(decision: &mut Decision, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    let top = packet.entry(0);
    let mut at = Cursor { pops: 0, ttl: top as u8, class: class(top), pipe: false };
    for _ in 0..LOOKUPS {
        at.pops = cells.blur(u64::from(at.pops)) as u32 & 0xf;
        if at.pops >= packet.depth() {
            return ControlFlow::Break(too_deep(packet));
        }
        let entry = packet.entry(at.pops);
        at = join(at, entry);
        let label = entry >> 12;
        let word =
            if label < reserved::FIRST_FREE { special(label, packet)? } else { cells.lfib(label) };
        if word.is_forward() {
            // Whether an entropy pair comes off, too, is the next hop's to say.
            at.pops += 1;
            at.pipe = is_pipe(word, packet);
            decision.group = u64::from(word.group());
            return forward(decision, packet, at);
        }
        if !word.is_lookup() {
            return ControlFlow::Break(Verdict::drop(Reason::UnknownLabel));
        }
        at = pop(at, packet, word, label);
        decision.vrf = u64::from(word.vrf());
        if is_bottom(packet, at.pops) {
            return expose(decision, packet, word, at);
        }
    }
    ControlFlow::Break(Verdict::drop(Reason::LabelDepth))
}

#[inline(always)]
const fn class(entry: u32) -> u8 {
    (entry >> 9) as u8 & 7
}

/// Whether the entry before `pops` was the last of the stack.
#[inline(always)]
fn is_bottom(packet: &Packet, pops: u32) -> bool {
    packet.entry(pops.wrapping_sub(1)) & Lse::BOTTOM != 0
}

#[inline(always)]
fn too_deep(packet: &Packet) -> Verdict {
    Verdict::drop(if packet.depth() == DEPTH as u32 {
        Reason::LabelDepth
    } else {
        Reason::MplsTruncated
    })
}

/// TTL and class when `entry` comes to the top: in the uniform model the outer values count, in the
/// pipe model its own. The TTL never grows.
#[inline(always)]
fn join(at: Cursor, entry: u32) -> Cursor {
    let own = entry as u8;
    if at.pops == 0 {
        return at;
    }
    if at.pipe {
        return Cursor { ttl: own, class: class(entry), ..at };
    }
    Cursor { ttl: if own < at.ttl { own } else { at.ttl }, ..at }
}

/// Whether a label comes off in the pipe model: by its own word, or as on its link.
#[inline(always)]
fn is_pipe(word: IlmWord, packet: &Packet) -> bool {
    let link = word.flags() & IlmWord::LINK != 0 && packet.link_has(link::flag::PIPE);
    word.flags() & IlmWord::PIPE != 0 || link
}

/// Special-purpose labels (RFC 7274): explicit null asks for a lookup, the rest is not forwarded.
#[inline(always)]
fn special(label: u32, packet: &Packet) -> ControlFlow<Verdict, IlmWord> {
    let vrf = thalweg_abi::VrfId(packet.vrf() as u16);
    match label {
        reserved::IPV4_NULL => {
            ControlFlow::Continue(IlmWord::lookup(vrf, IlmWord::LINK | IlmWord::IPV4))
        }
        reserved::IPV6_NULL => {
            ControlFlow::Continue(IlmWord::lookup(vrf, IlmWord::LINK | IlmWord::IPV6))
        }
        reserved::ENTROPY => ControlFlow::Continue(IlmWord::lookup(vrf, IlmWord::LINK)),
        reserved::ROUTER_ALERT => ControlFlow::Break(Verdict::punt(Reason::RouterAlert)),
        reserved::GAL | reserved::OAM_ALERT => ControlFlow::Break(Verdict::punt(Reason::Oam)),
        _ => ControlFlow::Break(Verdict::drop(Reason::ReservedLabel)),
    }
}

/// Takes the top label off, and an entropy pair that it exposes (RFC 6790 §4.2).
#[inline(always)]
fn pop(at: Cursor, packet: &Packet, word: IlmWord, label: u32) -> Cursor {
    let pops = match label {
        reserved::ENTROPY => at.pops + 2,
        _ => below(packet, at.pops + 1),
    };
    Cursor { pops, pipe: is_pipe(word, packet), ..at }
}

/// The packet leaves by a label's group: swapped, swapped and pushed, or (see [`uncover`]) with its
/// label off.
#[inline(always)]
fn forward(decision: &mut Decision, packet: &Packet, at: Cursor) -> ControlFlow<Verdict> {
    if at.pops > packet.depth() {
        return ControlFlow::Break(too_deep(packet));
    }
    decision.set_pops(at.pops);
    decision.set_class(at.class);
    decision.set_ttl(at.ttl.wrapping_sub(1));
    decision.set_ip_ttl(packet.ttl());
    decision.set_write(write::SWAP);
    if at.pipe {
        decision.set_write(decision.write() | write::PIPE);
    }
    if is_bottom(packet, at.pops) {
        decision.set_write(decision.write() | write::BOTTOM);
    }
    if at.ttl <= 1 {
        return ControlFlow::Break(Verdict::answer(Reason::TtlExpired));
    }
    ControlFlow::Continue(())
}

/// The next hop pushes nothing, so what lies below the label comes to light: an entropy pair comes off
/// with it (RFC 6790 §4.2), and in the uniform model the header below takes over TTL and class.
#[inline(always)]
pub fn uncover(decision: &mut Decision, packet: &Packet) -> ControlFlow<Verdict> {
    let pops = below(packet, decision.pops());
    if pops > packet.depth() {
        return ControlFlow::Break(too_deep(packet));
    }
    decision.set_pops(pops);
    let bottom = is_bottom(packet, pops);
    if bottom {
        decision.set_write(decision.write() | write::BOTTOM);
    }
    if decision.write() & write::PIPE != 0 {
        return ControlFlow::Continue(());
    }
    if bottom {
        decision.set_write(decision.write() | (write::IP_TTL | write::IP_CLASS));
        if decision.ttl() < decision.ip_ttl() {
            decision.set_ip_ttl(decision.ttl());
        }
    } else {
        decision.set_write(decision.write() | write::ENTRY);
    }
    ControlFlow::Continue(())
}

/// Entries that are off when the entropy pair that `pops` exposes, if any, comes off as well.
#[inline(always)]
fn below(packet: &Packet, pops: u32) -> u32 {
    let exposed = !is_bottom(packet, pops) && pops < packet.depth();
    if exposed && packet.entry(pops) >> 12 == reserved::ENTROPY { pops + 2 } else { pops }
}

/// The last label is off and the IP header must be routed: its TTL is what the path leaves.
#[inline(always)]
fn expose(
    decision: &mut Decision,
    packet: &Packet,
    word: IlmWord,
    at: Cursor,
) -> ControlFlow<Verdict> {
    if at.pops > packet.depth() {
        return ControlFlow::Break(too_deep(packet));
    }
    let wanted = match word.flags() & (IlmWord::IPV4 | IlmWord::IPV6) {
        IlmWord::IPV4 => 4,
        IlmWord::IPV6 => 6,
        _ => packet.family(),
    };
    if packet.family() != wanted && packet.fault().is_none() {
        return ControlFlow::Break(Verdict::drop(Reason::MplsPayload));
    }
    decision.set_pops(at.pops);
    decision.set_write(write::BOTTOM);
    // The path's TTL may be spent and the packet still be for this host; the route stage tells.
    decision.set_ttl(at.ttl);
    decision.set_ip_ttl(packet.ttl());
    if !at.pipe {
        decision.set_write(decision.write() | write::IP_CLASS);
        decision.set_class(at.class);
        decision.set_ip_ttl(if packet.ttl() < at.ttl { packet.ttl() } else { at.ttl });
    }
    ControlFlow::Continue(())
}
