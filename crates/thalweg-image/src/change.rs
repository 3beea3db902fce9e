//! One step from an image to the next, and the ordered list of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use thalweg_abi::policy::Line;
use thalweg_abi::service::RangeRow;
use thalweg_abi::{
    BackendRow, GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, SettingsRow, VrfId,
};
use thalweg_wire::{Prefix4, Prefix6};

/// An ordered list of changes, make before break: rows before what refers to them, removals last. All
/// of it is in force at once.
///
/// An id that a plan frees may be used again by a later plan, never by the same one.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Number of the image that the plan leads to.
    pub generation: u64,
    /// The steps.
    pub changes: Vec<Change>,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Change {
    /// Settings of the data plane.
    Settings(SettingsRow),
    /// The link with this index and, at once, its state; a zero row takes it out.
    Link(u32, LinkRow),
    /// The sub-interface that carries a VLAN id of a page; link 0 takes it out.
    Vlan {
        /// Page, from 1.
        page: u32,
        /// VLAN id, 0 to 4095.
        vid: u16,
        /// Interface index of the sub-interface.
        link: u32,
    },
    /// A next hop row under an id not in use.
    NextHop(NextHopId, NextHopRow),
    /// A group and its members; replaces the group of the same id at once.
    Group(GroupId, GroupMembers),
    /// The group of an IPv4 prefix in a VRF; [`GroupId::NONE`] takes the prefix out.
    Route4(VrfId, Prefix4, GroupId),
    /// The group of an IPv6 prefix in a VRF; [`GroupId::NONE`] takes the prefix out.
    Route6(VrfId, Prefix6, GroupId),
    /// What a label asks for; the zero word takes it out.
    Label(u32, IlmWord),
    /// The bit set over hashed own addresses, [`thalweg_abi::table::OWN_WORDS`] words.
    Own(Vec<u64>),
    /// Backends under a number not in use.
    Backends(SetId, BackendSet),
    /// A frontend; replaces the one with the same key at once.
    Frontend(FrontendKey, Frontend),
    /// A frontend that is no more.
    RemoveFrontend(FrontendKey),
    /// Backends that no frontend has any more.
    FreeBackends(SetId),
    /// Lines of table `policy`, by number.
    Policy(Vec<(u32, Line)>),
    /// A group that nothing refers to any more.
    FreeGroup(GroupId),
    /// A next hop that nothing refers to any more.
    FreeNextHop(NextHopId),
}

/// Number of a set of backends.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SetId(pub u32);

/// Backends that one choice is made among.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackendSet {
    /// The backends, no two with the same number.
    pub backends: Vec<BackendRow>,
    /// The ring: positions in `backends`; empty where there is one at most.
    pub ring: Vec<u16>,
}

/// What clients use. Port and protocol 0 stand for the address as such.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FrontendKey {
    /// Address, halves as in a packet.
    pub address: [u64; 2],
    /// Port.
    pub port: u16,
    /// Protocol number.
    pub protocol: u8,
}

/// What becomes of packets to a frontend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontend {
    /// Bits of [`thalweg_abi::service::flag`].
    pub flags: u8,
    /// Seconds for which a client keeps its backend, or 0.
    pub affinity: u32,
    /// Number of its service.
    pub service: u32,
    /// Who serves traffic of workloads and this host.
    pub internal: SetId,
    /// Who serves traffic from outside.
    pub external: SetId,
    /// Who may use it, as table `ranges` says it; empty admits everybody.
    pub ranges: Vec<RangeRow>,
}

/// Members of a group as the data plane wants them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GroupMembers {
    /// Next hop of each bucket: one, or 2^n up to 2^16.
    pub buckets: Vec<NextHopId>,
    /// Interface indices of all members, for strict reverse path checks.
    pub links: Vec<u32>,
}

impl FrontendKey {
    /// The key of an address, port and protocol number.
    pub fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self { address: halves(address), port, protocol }
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        match self.address {
            [0, low] if low >> 32 == 0 => IpAddr::V4(Ipv4Addr::from_bits(low as u32)),
            [high, low] => IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into()),
        }
    }
}

impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => write!(f, "{}", self.address()),
            port => write!(f, "{}/{}", SocketAddr::new(self.address(), port), self.protocol),
        }
    }
}

/// An address as a packet has it: high and low half.
pub fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}
