//! The parsed values of a frame that decisions use.

use thalweg_abi::Verdict;

/// How many label stack entries are read at most.
pub const DEPTH: usize = 8;

/// What a frame brings with it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Index of the interface that the frame arrived at.
    pub device: u32,
    /// Epoch of the tables that decide it ([`thalweg_abi::control`]).
    pub epoch: u32,
}

/// Bits of [`Packet::flags`].
pub mod flag {
    /// The link-level destination is a group or broadcast address.
    pub const LINK_GROUP: u8 = 1;
    /// A fragment other than the first: there are no ports.
    pub const LATER_FRAGMENT: u8 = 2;
    /// A fragment of any position.
    pub const FRAGMENT: u8 = 4;
    /// IPv4 says "don't fragment".
    pub const DONT_FRAGMENT: u8 = 8;
    /// Made by this router itself: no hop is spent, the source may be an own address.
    pub const OWN: u8 = 16;
    /// The source was believed when the flow began, and may be another one now.
    pub const BELIEVED: u8 = 32;
    /// Its next hop is on the far side of a tunnel.
    pub const TUNNEL: u8 = 64;
    /// Untracked rules let it pass: it belongs to no flow, and nobody else is asked about it.
    pub const UNTRACKED: u8 = 128;
}

/// The parsed values of a frame. Every field is always written; numbers are in host order.
///
/// Fields are stored 8 octets wide whatever they hold: the kernel's verifier refuses stack accesses
/// that are not aligned to their width, and the compiler joins neighboring narrow stores into wide
/// ones. The methods give each value its own type back.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Packet {
    /// Epoch (high half) and logical link: the kernel has 512 octets of stack for all.
    origin: u64,
    pub(crate) link_flags: u64,
    pub(crate) vrf: u64,
    pub(crate) ip: u64,
    pub(crate) l4: u64,
    pub(crate) depth: u64,
    pub(crate) len: u64,
    pub(crate) family: u64,
    /// TTL, class and protocol, an octet each.
    pub(crate) header: u64,
    pub(crate) flags: u64,
    pub(crate) ports: u64,
    /// Source: high and low half; an IPv4 address stands in the low half.
    pub source: [u64; 2],
    /// Destination, likewise.
    pub destination: [u64; 2],
    /// Label stack entries as numbers, outermost first.
    pub stack: [u32; DEPTH],
    pub(crate) fault: u64,
}

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty;)+) => {
        $($(#[doc = $doc])+ #[inline(always)] pub fn $name(&self) -> $type {
            self.$name as $type
        })+
    };
}
pub(crate) use values;

#[expect(clippy::len_without_is_empty, reason = "octets of a packet, not a container")]
impl Packet {
    values! {
        /// [`thalweg_abi::link::flag`] bits of that link.
        link_flags: u32;
        /// VRF of that link.
        vrf: u32;
        /// Where the IP header begins.
        ip: u32;
        /// Where the L4 header begins; 0 if that could not be found.
        l4: u32;
        /// Label stack entries in front of the IP header that were read.
        depth: u32;
        /// Octets of the IP packet, header included; 0 if there is none. Of a frame that the kernel
        /// will segment: of one segment with its headers.
        len: u32;
        /// 4, 6, or 0 if the payload is neither.
        family: u8;
        /// Bits of [`flag`].
        flags: u8;
        /// Source port (high half) and destination port, or 0.
        ports: u32;
    }

    /// A packet of which only the arrival is known. `zero` is 0 in a form that the verifier does not
    /// know as a constant ([`crate::Cells::blur`]), or it would tell parsed from unparsed fields apart on
    /// every path.
    #[inline(always)]
    pub fn new(arrival: Arrival, zero: u64) -> Self {
        Self {
            origin: u64::from(arrival.epoch) << 32 | u64::from(arrival.device),
            link_flags: zero,
            vrf: zero,
            ip: zero,
            l4: zero,
            depth: zero,
            len: zero,
            family: zero,
            header: zero,
            flags: zero,
            ports: zero,
            source: [zero; 2],
            destination: [zero; 2],
            stack: [zero as u32; DEPTH],
            fault: zero,
        }
    }

    /// Epoch of the tables that decide it.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        (self.origin >> 32) as u32
    }

    /// Interface index of the logical link: the arrival's, or its VLAN sub-interface.
    #[inline(always)]
    pub fn link(&self) -> u32 {
        self.origin as u32
    }

    #[inline(always)]
    pub(crate) fn set_link(&mut self, link: u32) {
        self.origin = self.origin >> 32 << 32 | u64::from(link);
    }

    /// Hops left in the IP header.
    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        self.header as u8
    }

    /// TOS or traffic class octet.
    #[inline(always)]
    pub fn class(&self) -> u8 {
        (self.header >> 8) as u8
    }

    /// L4 protocol; behind extension headers where they could be followed.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.header >> 16) as u8
    }

    #[inline(always)]
    pub(crate) fn set_header(&mut self, ttl: u8, class: u8, protocol: u8) {
        self.header = u64::from(ttl) | u64::from(class) << 8 | u64::from(protocol) << 16;
    }

    /// What is wrong with an IP header behind labels: counts once the header is exposed.
    #[inline(always)]
    pub fn fault(&self) -> Option<Verdict> {
        Verdict::from_number(self.fault as u32)
    }

    /// Where the label stack, or without one the IP header, begins.
    #[inline(always)]
    pub fn l3(&self) -> u32 {
        self.ip().wrapping_sub(self.depth() * 4)
    }

    /// Whether a bit of [`flag`] is set.
    #[inline(always)]
    pub fn has(&self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    /// Whether a bit of [`thalweg_abi::link::flag`] is set on the arrival link.
    #[inline(always)]
    pub fn link_has(&self, flag: u32) -> bool {
        self.link_flags() & flag != 0
    }

    /// An entry of the label stack; beyond the depth it is meaningless, beyond [`DEPTH`] it wraps.
    #[inline(always)]
    pub fn entry(&self, index: u32) -> u32 {
        self.stack[index as usize % DEPTH]
    }
}
