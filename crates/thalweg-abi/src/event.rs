//! Drop events: what the data plane tells of single frames that it discards, and of those for which a policy says
//! that they are to be told ([`flag::LOG`]).
//!
//! ```text
//!   a frame is discarded ──► gate open? ──► token bucket ──► ring `events` ──► reader
//!                              │ no           │ empty            │ full
//!                              ▼              ▼                  ▼
//!                           nothing        `left_out`          `lost`
//! ```
//!
//! Whoever listens opens the [`EventGate`] until a moment, and opens it again before that comes: should it be
//! killed, the gate closes by itself. Programs never wait: what does not fit into the ring is lost, and counted.

use crate::meter::MeterRow;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Number of the layout of the maps that this module names. It is part of the names of their pins.
pub const LAYOUT: u32 = 2;

/// Name of the ring.
pub const RING: &str = "events";
/// Name of the map of one [`EventGate`].
pub const GATE: &str = "event_gate";
/// Name of the map of one [`EventRow`] per processor.
pub const ROWS: &str = "event_rows";

/// Octets of the ring: a power of two and whole pages. Each event takes [`DropEvent`] and 8 octets more.
pub const RING_BYTES: u32 = 256 << 10;

/// Whether anybody listens, and how many events it wants. The only row of map `event_gate`, written by
/// user space, one word at a time.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct EventGate {
    /// Until when events are taken, in nanoseconds of the monotonic clock; 0 while nobody listens.
    pub until: u64,
    /// Nanoseconds that one event costs on a processor: 10^9 ÷ events per second.
    pub cost: u64,
    /// The most that a processor's bucket holds, in events.
    pub burst: u64,
    /// Zero.
    pub reserved: [u64; 5],
}

/// What a processor knows of its events. The row of map `event_rows`.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct EventRow {
    /// The bucket that limits how many events are taken.
    pub meter: MeterRow,
    /// Events that were put into the ring.
    pub taken: u64,
    /// Frames that were discarded while somebody listened, of which nothing is told: beyond the rate.
    pub left_out: u64,
    /// Events that found the ring full.
    pub lost: u64,
    /// What decided about the frame in hand: see [`cause`]. 0 for nothing in particular.
    pub cause: u64,
    /// The event in the making.
    pub event: DropEvent,
}

/// A word of [`EventRow::cause`]: the number of what decided that a frame is discarded, together with the
/// number of the reason.
///
/// A stage that knows what decided stores this word right before it returns such a verdict, for the row of its
/// processor, whether anybody listens or not. The event of a frame that is discarded for the same reason tells
/// the number; a word that was left behind by another frame has another reason, or is overwritten by the stage
/// that gives that reason. So nothing has to be cleared for frames that are forwarded.
#[inline(always)]
pub const fn cause(reason: u8, number: u32) -> u64 {
    (reason as u64) << 32 | number as u64
}

/// The number in a word of [`cause`] for this reason, or 0.
#[inline(always)]
pub const fn cause_of(word: u64, reason: u8) -> u32 {
    if word >> 32 == reason as u64 { word as u32 } else { 0 }
}

/// Bit of a number in a word of [`cause`]: rules that log were passed on the way ([`flag::LOGGED`]).
pub const LOGGED: u32 = 1 << 31;

/// A frame that was discarded: 64 octets. With [`flag::LOG`] one that passed rules that log: then source and
/// destination are those whom policies were asked about, behind the address of a service.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct DropEvent {
    /// When, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// Source as the frame came: high and low half; an IPv4 address stands in the low half.
    pub source: [u64; 2],
    /// Destination, likewise.
    pub destination: [u64; 2],
    /// Interface index of the link that it came from, or at hook [`hook::OUT`] left by; of a tagged frame
    /// that of the sub-interface, where that is known.
    pub link: u32,
    /// Source port; of ICMP the type.
    pub source_port: u16,
    /// Destination port; of ICMP the code.
    pub destination_port: u16,
    /// Octets of the frame as it came; with [`flag::LOG`] the number of what decided last, 0 for nothing.
    pub octets: u32,
    /// Number of what decided, in the terms of its reason; 0 where the reason says all.
    pub cause: u32,
    /// VRF that it came in.
    pub vrf: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Number of the [`crate::Reason`]; with [`flag::LOG`] that of [`crate::Reason::Policy`] if policies denied it
    /// at last, else 0.
    pub reason: u8,
    /// One of [`hook`].
    pub hook: u8,
    /// 4, 6, or 0 where no IP header was found.
    pub family: u8,
    /// L4 protocol.
    pub protocol: u8,
}

/// Hooks of [`DropEvent::hook`].
pub mod hook {
    /// None: the core outside of the kernel.
    pub const NATIVE: u8 = 0;
    /// XDP, native or generic.
    pub const XDP: u8 = 1;
    /// tc, on arrival.
    pub const TC: u8 = 2;
    /// tc, of what this host sends.
    pub const OUT: u8 = 3;
}

/// Bits of [`DropEvent::flags`].
pub mod flag {
    /// The sender was told by an ICMP error.
    pub const ANSWERED: u16 = 1;
    /// Ports, or ICMP type and code, were found.
    pub const PORTS: u16 = 1 << 1;
    /// A fragment other than the first.
    pub const LATER_FRAGMENT: u16 = 1 << 2;
    /// The packet was behind labels.
    pub const LABELLED: u16 = 1 << 3;
    /// Rules that log were passed on the way to what decided: `cause` stands for them, too.
    pub const LOGGED: u16 = 1 << 4;
    /// What is told is that such rules were passed, not that the frame was discarded.
    pub const LOG: u16 = 1 << 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_cache_line_and_rows_are_whole_words() {
        assert_eq!(size_of::<DropEvent>(), 64);
        assert_eq!(size_of::<EventGate>(), 64);
        assert_eq!(size_of::<EventRow>() % 8, 0);
        assert!(RING_BYTES.is_power_of_two() && RING_BYTES >= 4096);
        for name in [RING, GATE, ROWS] {
            assert!(name.len() <= 15, "{name}");
        }
    }

    #[test]
    fn a_cause_belongs_to_its_reason() {
        let word = cause(59, 4_000_000_000);
        assert_eq!(cause_of(word, 59), 4_000_000_000);
        assert_eq!(cause_of(word, 16), 0);
        assert_eq!(cause_of(0, 16), 0);
    }
}
