//! The label stack, and the IP header below it if there is one.

use crate::frame::{Frame, Offset};
use crate::packet::{DEPTH, Packet, flag};
use core::ops::ControlFlow;
use thalweg_abi::{Reason, Verdict};
use thalweg_wire::{Lse, U16};

/// Reads the label stack at `packet.l3`. Returns the IP version of what lies below, 0 for none.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> ControlFlow<Verdict, u64> {
    if packet.has(flag::LINK_GROUP) {
        // Multicast label switching is not done here (RFC 5332).
        return ControlFlow::Break(Verdict::drop(Reason::NoBroadcast));
    }
    let (mut at, mut bottom) = (packet.l3(), false);
    for index in 0..DEPTH {
        let Some(entry) = frame.header::<Lse>(Offset::new(at)) else {
            return ControlFlow::Break(Verdict::drop(Reason::MplsTruncated));
        };
        let entry = *entry;
        packet.stack[index] = entry.0.get();
        packet.depth = index as u64 + 1;
        at += size_of::<Lse>() as u32;
        bottom = entry.is_bottom();
        if bottom {
            break;
        }
    }
    packet.ip = u64::from(at);
    if !bottom {
        return ControlFlow::Continue(0);
    }
    // The first nibble below the stack: 4 and 6 are taken for IP (RFC 4928, RFC 4385).
    let nibble = frame.header::<U16>(Offset::new(at)).map_or(0, |octets| octets.get() >> 12);
    ControlFlow::Continue(if nibble == 4 || nibble == 6 { u64::from(nibble) } else { 0 })
}
