//! States of a conversation, seen from both directions (RFC 9293 §3.3.2, as a third party sees them).

use super::sctp;
use crate::frame::{Frame, Offset};
use crate::packet::Packet;
use thalweg_abi::flow::{state, timeout};
use thalweg_wire::U16;
use thalweg_wire::l4::protocol;

/// FIN, SYN, RST and ACK of a TCP header.
pub mod tcp {
    /// No more data from this side.
    pub const FIN: u8 = 1;
    /// A connection begins.
    pub const SYN: u8 = 2;
    /// The connection is no more.
    pub const RST: u8 = 4;
    /// Something is acknowledged.
    pub const ACK: u8 = 16;
}

/// Whether conversations of a protocol begin and end, so that a packet may come amid one that is not known.
#[inline(always)]
pub const fn is_connection(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::SCTP)
}

/// What a packet says of its conversation: the flags of TCP, those of SCTP ([`sctp::flags`]), or 0.
#[inline(always)]
pub(super) fn flags<F: Frame>(frame: &F, packet: &Packet) -> u8 {
    match packet.protocol() {
        protocol::TCP => {
            frame.header::<U16>(Offset::new(packet.l4() + 12)).map_or(0, |word| word.get() as u8)
        }
        protocol::SCTP => sctp::flags(frame, packet),
        _ => 0,
    }
}

/// What a conversation of this protocol is in after a packet, or 0xff if the packet begins another one.
///
/// A reset is believed only as long as nothing else comes: a forged one shortens the life of a flow, and
/// the next packet of either side gives it back.
#[inline(always)]
pub fn next(now: u8, protocol: u8, answers: bool, flags: u8) -> u8 {
    if protocol == protocol::SCTP {
        return sctp::next(now, answers, flags);
    }
    if protocol != protocol::TCP {
        return if answers { state::ESTABLISHED } else { now };
    }
    let syn = flags & tcp::SYN != 0;
    if flags & tcp::RST != 0 {
        return state::RESET;
    }
    if syn && flags & tcp::ACK == 0 && !answers {
        return match now {
            state::NONE | state::SYN | state::SYN_ACK => state::SYN,
            state::ESTABLISHED => now,
            _ => ANEW,
        };
    }
    if flags & tcp::FIN != 0 {
        return match (now, answers) {
            (state::FIN_BACK, false) | (state::FIN, true) | (state::CLOSED, _) => state::CLOSED,
            (_, false) => state::FIN,
            (_, true) => state::FIN_BACK,
        };
    }
    match now {
        state::SYN if answers && syn => state::SYN_ACK,
        state::SYN_ACK if !answers => state::ESTABLISHED,
        // Amid a connection, or after a reset that nobody meant.
        state::NONE | state::RESET => state::ESTABLISHED,
        now => now,
    }
}

/// As [`next`], where only the packets of who began are seen. What the other side has said is guessed from
/// them: who goes on after its SYN has got an answer, and who says FIN is all but done.
#[inline(always)]
pub fn next_of_one(now: u8, protocol: u8, flags: u8) -> u8 {
    let now = match now {
        state::SYN if flags & tcp::SYN == 0 => state::SYN_ACK,
        now => now,
    };
    match next(now, protocol, false, flags) {
        state::FIN => state::CLOSED,
        after => after,
    }
}

/// The packet begins another conversation with the same tuple.
pub const ANEW: u8 = 0xff;

/// Place of the timeout of a conversation in [`thalweg_abi::SettingsRow::timeouts`].
#[inline(always)]
pub fn timeout_of(protocol: u8, state: u8) -> usize {
    match protocol {
        protocol::TCP => match state {
            state::NONE | state::SYN | state::SYN_ACK => timeout::SYN,
            state::CLOSED => timeout::CLOSED,
            state::RESET => timeout::RESET,
            _ => timeout::ESTABLISHED,
        },
        protocol::SCTP => match state {
            state::NONE | state::SYN | state::SYN_ACK => timeout::SCTP_INIT,
            state::CLOSED => timeout::SCTP_CLOSED,
            state::RESET => timeout::SCTP_ABORTED,
            _ => timeout::SCTP_ESTABLISHED,
        },
        protocol::UDP => timeout::UDP,
        protocol::ICMP | protocol::ICMPV6 => timeout::ICMP,
        _ => timeout::OTHER,
    }
}
