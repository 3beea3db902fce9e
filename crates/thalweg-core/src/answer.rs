//! ICMP errors made by the data plane: the discarded packet becomes the body of its own answer. A connection
//! that policies deny hears a reset of TCP instead.
//!
//! RFC 792, RFC 1812 §4.3, RFC 4443, RFC 4884. For packets inside a label switched path the answer
//! carries the label stack (RFC 4950) and travels on along the path, because a router inside the
//! path may not know a way back to the sender (RFC 3032 §2.3).

mod build;
mod echo;
mod error;
mod reset;

use crate::cells::Cells;
use crate::frame::{Frame, Offset};
use crate::packet::Packet;
pub use echo::is_ping;
use error::Error;
pub use error::is_unresolved;
use thalweg_abi::meter::Class;
use thalweg_abi::{Kind, Reason, Verdict, link};
use thalweg_wire::{EtherType, Ethernet, Mac};

/// Turns a frame that is discarded for `verdict` into its answer, and `packet` into the answer's
/// values. `mtu` is what a packet too big is told.
///
/// Returns `verdict` if the frame is now the answer. Otherwise the packet is only dropped (no error
/// may be sent about it, RFC 1812 §4.3.2.7, this link has no address to speak from, or the rate is
/// exhausted), or the kernel is to answer instead.
#[inline(always)]
pub fn answer<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &mut Packet,
    verdict: Verdict,
    mtu: u32,
) -> Verdict {
    if !error::is_owed(frame, packet) {
        return verdict.with_kind(Kind::Drop);
    }
    if verdict == Verdict::answer(Reason::Echo) {
        return reply(frame, cells, packet, verdict);
    }
    let denied = verdict == Verdict::answer(Reason::Policy);
    if denied && reset::applies(packet) {
        return refuse(frame, cells, packet, verdict);
    }
    // The kernel would let pass what policies deny.
    if packet.depth() == 0 && packet.link_has(link::flag::KERNEL_ANSWERS) && !denied {
        return verdict.with_kind(Kind::Punt);
    }
    let error = Error::for_verdict(packet.family(), verdict, mtu);
    let Some(sender) = error::sender(cells, packet) else {
        return verdict.with_kind(Kind::Drop);
    };
    if !cells.admit(packet.link(), error.class) {
        return Verdict::drop(Reason::RateLimited);
    }
    if !build::build(frame, cells, packet, sender, &error) {
        return Verdict::drop(Reason::NoRoom);
    }
    if packet.link_has(link::flag::HOST) && !address_to_host(frame, packet) {
        return Verdict::drop(Reason::Truncated);
    }
    verdict
}

/// Gives an answer the link header of what arrives at `lo`, where this host's own stack hears it.
#[inline(always)]
fn address_to_host<F: Frame>(frame: &mut F, packet: &Packet) -> bool {
    let Some(header) = frame.header_mut::<Ethernet>(Offset::new(0)) else { return false };
    let kind = if packet.family() == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    (header.destination, header.source, header.ethertype) =
        (Mac([0; 6]), Mac([0; 6]), kind.0.into());
    true
}

/// Turns a packet of a connection into its reset.
#[inline(always)]
fn refuse<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &mut Packet,
    verdict: Verdict,
) -> Verdict {
    if reset::is_reset(frame, packet) {
        return verdict.with_kind(Kind::Drop);
    }
    if !cells.admit(packet.link(), Class::Unreachable) {
        return Verdict::drop(Reason::RateLimited);
    }
    if !reset::build(frame, packet) {
        return Verdict::drop(Reason::NoRoom);
    }
    if packet.link_has(link::flag::HOST) && !address_to_host(frame, packet) {
        return Verdict::drop(Reason::Truncated);
    }
    verdict
}

/// Turns a ping into its answer.
#[inline(always)]
fn reply<F: Frame, C: Cells>(
    frame: &mut F,
    cells: &C,
    packet: &mut Packet,
    verdict: Verdict,
) -> Verdict {
    if !cells.admit(packet.link(), Class::Echo) {
        return Verdict::drop(Reason::RateLimited);
    }
    if !echo::build(frame, packet) {
        return Verdict::drop(Reason::Truncated);
    }
    verdict
}
