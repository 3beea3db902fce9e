//! LFIB: what an incoming label asks for (RFC 3031 §3.11).

use crate::group::GroupId;
use crate::vrf::VrfId;

/// What to do with a packet whose top label this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Op {
    /// Nobody allotted the label.
    None = 0,
    /// Take the label off and send the rest to a group, whose next hops may push labels: swap
    /// (one), swap and push (more), penultimate hop pop or per-next-hop label (none).
    Forward = 1,
    /// Take the label off and look the rest up: the next label, or the IP header in a VRF.
    Lookup = 2,
}

/// Word of table `lfib`, by label: group (16 bits), VRF (16), op (8), flags (8).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(transparent)]
pub struct IlmWord(pub u64);

impl IlmWord {
    /// Pipe TTL and class model (RFC 3443): the outer TTL is not copied inwards on pop.
    pub const PIPE: u8 = 1;
    /// The payload below the bottom label is IPv4.
    pub const IPV4: u8 = 2;
    /// The payload below the bottom label is IPv6.
    pub const IPV6: u8 = 4;

    /// The TTL and class model is that of the link the packet came from.
    pub const LINK: u8 = 8;

    /// Sends to `group`.
    #[inline(always)]
    pub const fn forward(group: GroupId, flags: u8) -> Self {
        Self(group.0 as u64 | (Op::Forward as u64) << 32 | (flags as u64) << 40)
    }

    /// Looks up in `vrf`.
    #[inline(always)]
    pub const fn lookup(vrf: VrfId, flags: u8) -> Self {
        Self((vrf.0 as u64) << 16 | (Op::Lookup as u64) << 32 | (flags as u64) << 40)
    }

    /// Whether the label is bound to a group.
    #[inline(always)]
    pub const fn is_forward(self) -> bool {
        (self.0 >> 32) as u8 == Op::Forward as u8
    }

    /// Whether the label asks for a lookup.
    #[inline(always)]
    pub const fn is_lookup(self) -> bool {
        (self.0 >> 32) as u8 == Op::Lookup as u8
    }

    /// Group to send to.
    #[inline(always)]
    pub const fn group(self) -> u16 {
        self.0 as u16
    }

    /// VRF to look up in.
    #[inline(always)]
    pub const fn vrf(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Bits [`Self::PIPE`], [`Self::IPV4`], [`Self::IPV6`].
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> 40) as u8
    }
}
