//! SCTP (RFC 9260): what a packet says of its association, and the checksum when ports change.
//!
//! Chunks are read as the flags of TCP that mean the same, so that both go through one set of states.

use super::state::{ANEW, tcp};
use crate::frame::{Frame, Offset};
use crate::packet::{Packet, flag};
use thalweg_abi::flow::state;
use thalweg_wire::sctp::{Chunk, Sctp, chunk};

/// Octets of the common header.
const HEADER: u32 = size_of::<Sctp>() as u32;
/// A flag that TCP has not: the association is not agreed on yet.
pub const ASKING: u8 = 0x40;

/// [`flags_of`] of a packet.
#[inline(always)]
pub(super) fn flags<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    flags_of(frame, packet.l4() + HEADER, packet.ip() + packet.len())
}

/// What the chunks between two places of a frame say, as flags of [`tcp`] and [`ASKING`]; 0 for data and whatever else goes on
/// within an association.
///
/// Chunks that say something come first (§6.10), but for what acknowledges data (§9.2) or authenticates the
/// others (RFC 4895 §6.3): one such chunk is passed over. A function of its own: rare, and its callers' room
/// on the kernel's stack is scarce.
#[inline(never)]
pub fn flags_of<F: Frame>(frame: &F, first: u32, end: u32) -> u8 {
    let (kind, len) = chunk_at(frame, Offset::new(first), end);
    let kind = match kind {
        chunk::SACK | chunk::AUTH => {
            // What would lie beyond all offsets comes out before the first chunk, or in none.
            let next = Offset::new(first + ((len + 3) & !3));
            let within = len <= Offset::MAX && next.get() > first;
            if within { chunk_at(frame, next, end).0 } else { chunk::DATA }
        }
        kind => kind,
    };
    match kind {
        chunk::INIT => tcp::SYN,
        chunk::INIT_ACK => tcp::SYN | tcp::ACK,
        chunk::COOKIE_ECHO | chunk::ERROR => ASKING,
        chunk::SHUTDOWN | chunk::SHUTDOWN_ACK | chunk::SHUTDOWN_COMPLETE => tcp::FIN,
        chunk::ABORT => tcp::RST,
        _ => 0,
    }
}

/// Type and length of the chunk at a place; as of data if it is not there to be read.
#[inline(always)]
fn chunk_at<F: Frame>(frame: &F, at: Offset, end: u32) -> (u8, u32) {
    if at.get() + size_of::<Chunk>() as u32 > end {
        return (chunk::DATA, 0);
    }
    match frame.header::<Chunk>(at) {
        Some(head) => (head.kind, head.len.get().into()),
        None => (chunk::DATA, 0),
    }
}

/// [`super::next`] of an association. Either side may begin it anew once it is over: ports are often the
/// same on both.
///
/// As with TCP, an abort is believed as long as nothing else comes. A tag that is wrong is not looked for:
/// the next packet of the association, at the latest a heartbeat (every 30 seconds, §16), gives the flow its
/// life back.
#[inline(always)]
pub fn next(now: u8, answers: bool, flags: u8) -> u8 {
    let init = flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    if flags & tcp::RST != 0 {
        return state::RESET;
    }
    if init && now > state::ESTABLISHED {
        return ANEW;
    }
    if flags & tcp::FIN != 0 {
        return match (now, answers) {
            (state::FIN_BACK, false) | (state::FIN, true) | (state::CLOSED, _) => state::CLOSED,
            (_, false) => state::FIN,
            (_, true) => state::FIN_BACK,
        };
    }
    match now {
        state::NONE | state::SYN | state::SYN_ACK if init && !answers => state::SYN,
        state::SYN if answers && flags & tcp::SYN != 0 => state::SYN_ACK,
        // The cookie was the right one, or both sides send data.
        state::SYN_ACK if flags & (tcp::SYN | ASKING) == 0 => state::ESTABLISHED,
        // Amid an association, or after an abort that nobody meant.
        state::NONE | state::RESET => state::ESTABLISHED,
        now => now,
    }
}

/// Gives a packet other ports, and the checksum that goes with them. False if the frame is too short, or
/// [`is_unfit`]: it must be dropped then.
///
/// No checksum is no mistake: a kernel that leaves it to a device wants zero there until it is made
/// (`skb_crc32c_csum_help`, net/core/dev.c), and there is a way to do without (RFC 9653). Of packets that do
/// have one, one of 2^32 is zero by chance, and is lost.
#[inline(always)]
pub(super) fn translate<F: Frame>(frame: &mut F, packet: &Packet, [old, new]: [u32; 2]) -> bool {
    if old == new {
        return true;
    }
    if is_unfit(packet) {
        return false;
    }
    let octets = packet.len().wrapping_sub(packet.l4().wrapping_sub(packet.ip()));
    let change = F::crc32c(old ^ new, octets);
    let Some(header) = frame.header_mut::<Sctp>(Offset::new(packet.l4())) else { return false };
    header.ports = new.into();
    if header.checksum.get() != 0 {
        header.checksum = (header.checksum.get() ^ change).into();
    }
    true
}

/// Whether a packet cannot be given other ports: of one in fragments only the last tells how long it is, and
/// the checksum depends on that.
#[inline(always)]
pub(super) fn is_unfit(packet: &Packet) -> bool {
    packet.protocol() == thalweg_wire::l4::protocol::SCTP && packet.has(flag::FRAGMENT)
}
