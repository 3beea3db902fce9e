//! Flows: what the data plane remembers of packets it has decided. The one part of shared memory that
//! programs write.
//!
//! A *flow row* stands for one direction of a conversation: its key is the tuple that packets bring, and
//! beside it stand the tuple they leave with and where they go. Rows lie in buckets of [`WAYS`]; a *slot
//! word* per row says whether it is in use and holds a tag, so that a lookup reads one cache line of
//! slots and then the row. Each key has two buckets to be in.
//!
//! Rows are written by whoever holds their slot ([`slot::PENDING`]); of a row in use only words that
//! packets keep up to date change ([`word::STATE`], [`word::SEEN`] and what follows them).
//!
//! A row whose [`word::STAMP`] is that of the tables in force is in use, whatever its slot says: it is
//! stamped after its slot was taken, and the stamp goes before anything else of a row does. So packets of
//! known flows read no slots.

/// Number of the layout of flow rows and slots: they outlive programs, also of other versions, and whoever
/// changes them takes the next.
pub const LAYOUT: u32 = 2;
/// Slots of a bucket.
pub const WAYS: u32 = 8;
/// Words of a row: 128 octets.
pub const WORDS: usize = 16;
/// A row as the kernel map holds it.
pub type FlowRow = [u64; WORDS];
/// The slots of a bucket.
pub type Slots = [u64; WAYS as usize];

/// Slot words: the tag in the low half, the state above.
pub mod slot {
    /// Nothing is here.
    pub const EMPTY: u64 = 0;
    /// A row is being written.
    pub const PENDING: u64 = 1 << 32;
    /// A row is in use.
    pub const LIVE: u64 = 2 << 32;

    /// The tag of a slot word.
    #[inline(always)]
    pub const fn tag(word: u64) -> u64 {
        word & 0xffff_ffff
    }
}

/// Places of words in a row.
pub mod word {
    /// Source: high and low half, as in a packet.
    pub const SOURCE: usize = 0;
    /// Destination, likewise.
    pub const DESTINATION: usize = 2;
    /// Ports (high half), VRF (16 bits), protocol, family: see [`super::tail`].
    pub const TAIL: usize = 4;
    /// The source that packets leave with.
    pub const NEW_SOURCE: usize = 5;
    /// The destination that packets leave with.
    pub const NEW_DESTINATION: usize = 7;
    /// The ports that packets leave with (high half), bits of [`super::kind`] (low half).
    pub const REWRITE: usize = 9;
    /// State of the protocol (low octet, [`super::state`]), the place of the token that the flow has taken
    /// (24 bits; of flows that workloads begin, where they have a quota), packets so far (high half).
    pub const STATE: usize = 10;
    /// When the last packet came, and how long the flow lives without one: seconds, 32 bits each.
    pub const SEEN: usize = 11;
    /// The version of the tables that said where packets go ([`super::stamp`]).
    pub const STAMP: usize = 12;
    /// The next hop that version said (low half), the link that packets come from (high half; 0 for any).
    pub const WAY: usize = 13;
    /// The backend, as [`crate::service`] names it, or the node ([`crate::tunnel::node_id`]); 0 for none.
    pub const BACKEND: usize = 14;
    /// Octets of packets so far, without link headers.
    pub const OCTETS: usize = 15;
}

/// Bits of the low half of [`word::REWRITE`].
pub mod kind {
    /// The addresses or ports that packets leave with are others than those they came with.
    pub const REWRITES: u32 = 1;
    /// This is the direction of answers.
    pub const ANSWERS: u32 = 1 << 1;
    /// The other direction goes to a workload or comes from one by a service.
    pub const SERVICE: u32 = 1 << 2;
    /// The flow came out of a tunnel, from the node that [`super::word::BACKEND`] names: answers go back
    /// there.
    pub const TUNNEL: u32 = 1 << 6;
    /// The backend has an address of another node itself: packets go there by the tunnel to it.
    pub const HOST: u32 = 1 << 10;
    /// Packets through a tunnel go as they came: the node that has the backend translates them, and its
    /// answers do not come by here.
    pub const DIRECT: u32 = 1 << 8;
    /// Not a flow of packets: the backend that a client keeps.
    pub const AFFINITY: u32 = 1 << 3;
    /// Who began the flow has another source where it leads to.
    pub const NAT: u32 = 1 << 4;
    /// Not a flow of packets: what became of the first fragment of one.
    pub const FRAGMENT: u32 = 1 << 5;
    /// Not a flow of packets: what a source is translated to, whatever the destination.
    pub const MAPPING: u32 = 1 << 7;
    /// Not a flow of packets: tokens of a workload, one for each flow that it has begun
    /// ([`super::QUOTA_TOKENS`]).
    pub const QUOTA: u32 = 1 << 9;
}

/// Tokens that a row of kind [`kind::QUOTA`] holds, from [`word::NEW_SOURCE`] and [`word::WAY`] on: the row
/// of a flow, counted from 1 (low half), and its tag.
pub const QUOTA_TOKENS: u32 = 7;

/// States of a conversation; both directions hold the same.
pub mod state {
    /// No packet yet, or a protocol without states.
    pub const NONE: u8 = 0;
    /// TCP: SYN. SCTP: INIT.
    pub const SYN: u8 = 1;
    /// TCP: SYN and ACK came back. SCTP: INIT ACK did.
    pub const SYN_ACK: u8 = 2;
    /// TCP and SCTP: both sides have agreed; others: packets went both ways.
    pub const ESTABLISHED: u8 = 3;
    /// TCP: who began has said FIN. SCTP: SHUTDOWN.
    pub const FIN: u8 = 4;
    /// TCP: who answers has said FIN. SCTP: SHUTDOWN.
    pub const FIN_BACK: u8 = 5;
    /// TCP and SCTP: both have.
    pub const CLOSED: u8 = 6;
    /// TCP: one has said RST. SCTP: ABORT.
    pub const RESET: u8 = 7;

    /// Words for people, by protocol and number.
    pub fn name(protocol: u8, state: u8) -> &'static str {
        let names = if protocol == 132 { &SCTP_NAMES } else { &NAMES };
        names[usize::from(state) % names.len()]
    }

    /// Words for states of SCTP, by number (RFC 9260 §4).
    pub const SCTP_NAMES: [&str; 8] = [
        "new",
        "cookie-wait",
        "cookie-echoed",
        "established",
        "shutdown-sent",
        "shutdown-received",
        "closed",
        "aborted",
    ];
    /// Words for states of all others, by number.
    pub const NAMES: [&str; 8] = [
        "new",
        "syn-sent",
        "syn-received",
        "established",
        "fin-wait",
        "close-wait",
        "closed",
        "reset",
    ];
}

/// Classes of timeouts: places in [`crate::SettingsRow::timeouts`], in seconds.
pub mod timeout {
    /// TCP before it is established.
    pub const SYN: usize = 0;
    /// TCP established.
    pub const ESTABLISHED: usize = 1;
    /// TCP closed by both.
    pub const CLOSED: usize = 2;
    /// TCP reset.
    pub const RESET: usize = 3;
    /// UDP.
    pub const UDP: usize = 4;
    /// ICMP queries.
    pub const ICMP: usize = 5;
    /// Everything else.
    pub const OTHER: usize = 6;
    /// SCTP before it is established.
    pub const SCTP_INIT: usize = 7;
    /// SCTP established.
    pub const SCTP_ESTABLISHED: usize = 8;
    /// SCTP shut down by both.
    pub const SCTP_CLOSED: usize = 9;
    /// SCTP aborted.
    pub const SCTP_ABORTED: usize = 10;
    /// How many there are.
    pub const COUNT: usize = 11;
}

/// The last word of a key.
#[inline(always)]
pub const fn tail(ports: u32, vrf: u16, protocol: u8, family: u8) -> u64 {
    (ports as u64) << 32 | (vrf as u64) << 16 | (protocol as u64) << 8 | family as u64
}

/// Bit of a tail's family octet: the key is no flow's, but a client's and a frontend's
/// ([`kind::AFFINITY`]), or that of a packet's fragments ([`kind::FRAGMENT`]).
pub const NO_PACKET: u64 = 0x80;

/// What a row's [`word::STAMP`] is: valid as long as the same tables are in force. Images of different
/// agents have different numbers, so that no row of one is taken for one of another.
#[inline(always)]
pub const fn stamp(image: u32, epoch: u32) -> u64 {
    (image as u64) << 32 | epoch as u64
}

/// The stamp of a row that was decided by these tables, and goes nowhere from here: to this host, or as the kernel
/// says. Packets of it take the long way, and nobody is asked about them again.
#[inline(always)]
pub const fn stays(stamp: u64) -> u64 {
    stamp ^ 1 << 63
}

/// Hash of a key, seeded: the low half chooses the buckets, the high half is the tag.
#[inline(always)]
pub const fn hash(key: [u64; 5], seed: u64) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = seed ^ key[4].wrapping_mul(MIX);
    sum = (sum ^ sum >> 32 ^ key[1]).wrapping_mul(MIX);
    sum = (sum ^ sum >> 29 ^ key[3]).wrapping_mul(MIX);
    if key[4] as u8 & 0xf == 6 {
        sum = (sum ^ sum >> 32 ^ key[0]).wrapping_mul(MIX);
        sum = (sum ^ sum >> 29 ^ key[2]).wrapping_mul(MIX);
    }
    sum ^ sum >> 32
}

/// Tag of a hash, never 0.
#[inline(always)]
pub const fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

/// Buckets whose slots lie in one page of 4096 octets.
const PAGE: u32 = 4096 / (WAYS * 8);

/// The two buckets of a hash, below `mask + 1`, a power of two. Slots of both lie in one page of memory:
/// of what looking up a flow costs, most is finding out where a page is.
#[inline(always)]
pub const fn buckets(hash: u64, mask: u32) -> [u32; 2] {
    let first = hash as u32 & mask;
    // From either of them and the tag the other follows.
    let step = (tag(hash) as u32).wrapping_mul(0x5bd1_e995) >> (32 - PAGE.ilog2());
    let other = first ^ step & mask;
    [first, other]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_in_one_bit_go_elsewhere() {
        let key = [1, 2, 3, 4, tail(0x0050_1234, 0, 6, 6)];
        for word in 0..5 {
            for bit in 8..64 {
                let mut other = key;
                other[word] ^= 1 << bit;
                assert_ne!(hash(key, 7), hash(other, 7), "{word} {bit}");
            }
        }
        let [first, second] = buckets(hash(key, 7), 0xffff);
        assert!(first <= 0xffff && second <= 0xffff);
        for number in 0..1000 {
            let [first, second] = buckets(hash([0, number, 0, 4, 6], 7), 0xffff);
            assert_eq!(first / PAGE, second / PAGE, "slots lie in one page");
        }
    }
}
