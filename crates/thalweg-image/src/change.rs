//! One step from an image to the next, and the ordered list of them.

use thalweg_abi::{GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, SettingsRow, VrfId};
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
    /// A group that nothing refers to any more.
    FreeGroup(GroupId),
    /// A next hop that nothing refers to any more.
    FreeNextHop(NextHopId),
}

/// Members of a group as the data plane wants them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct GroupMembers {
    /// Next hop of each bucket: one, or 2^n up to 2^16.
    pub buckets: Vec<NextHopId>,
    /// Interface indices of all members, for strict reverse path checks.
    pub links: Vec<u32>,
}
