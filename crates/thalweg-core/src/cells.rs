//! Table memory as the core reads it: single cells and rows, by index.
//!
//! Lookups that take more than one read are written once, above this trait ([`crate::fib`]).
//!
//! All reads of one packet see one version of the tables, that of an *epoch*
//! ([`thalweg_abi::control`]). A version that is rewritten meanwhile shows itself in [`Cells::holds`].

use core::ops::Deref;
use thalweg_abi::meter::Class;
use thalweg_abi::{IlmWord, LinkRow, NextHopRow, Node6, Row, SettingsRow, VrfRow};

/// Tables with their versions.
pub trait Tables {
    /// One version of them.
    type Cells<'a>: Cells
    where
        Self: 'a;

    /// The epoch in force.
    fn epoch(&self) -> u32;
    /// The version of an epoch.
    fn at(&self, epoch: u32) -> Self::Cells<'_>;
}

/// Reads of table cells, all of one version. An index beyond a table reads as absent or zero, never
/// as a fault.
pub trait Cells {
    /// How a row is lent out: a reference into the kernel's map, or a copy.
    type Ref<T: Row>: Deref<Target = T>;

    /// The epoch whose version is read.
    fn epoch(&self) -> u32;
    /// Whether all that was read so far was of that version: false once it is being rewritten. What
    /// was decided on it then is void.
    fn holds(&self) -> bool;
    /// Whether the link or session with this state number is up. Not part of any version: it holds
    /// for the packet at once.
    fn is_up(&self, state: u32) -> bool;

    /// The settings.
    fn settings(&self) -> Option<Self::Ref<SettingsRow>>;
    /// A link by interface index.
    fn link(&self, index: u32) -> Option<Self::Ref<LinkRow>>;
    /// The defaults of a VRF.
    fn vrf(&self, index: u32) -> Option<Self::Ref<VrfRow>>;
    /// An IPv6 node.
    fn fib6_node(&self, index: u32) -> Option<Self::Ref<Node6>>;
    /// A next hop.
    fn nexthop(&self, index: u32) -> Option<Self::Ref<NextHopRow>>;
    /// The sub-interface of a VLAN (page × 4096 + id), 0 for none.
    fn vlan(&self, index: u32) -> u32;
    /// Page of a VRF's octet.
    fn fib4_page(&self, index: u32) -> u32;
    /// A root word.
    fn fib4_root(&self, index: u32) -> u64;
    /// A leaf of a run.
    fn fib4_leaf(&self, index: u32) -> u16;
    /// A leaf of a block.
    fn fib4_long(&self, index: u32) -> u16;
    /// A directory word.
    fn fib6_dir(&self, index: u32) -> u32;
    /// A page word.
    fn fib6_page(&self, index: u32) -> u32;
    /// A leaf of a run.
    fn fib6_leaf(&self, index: u32) -> u16;
    /// What a label asks for.
    fn lfib(&self, label: u32) -> IlmWord;
    /// A group.
    fn group(&self, index: u32) -> thalweg_abi::GroupWord;
    /// The links a group leads out of.
    fn group_links(&self, index: u32) -> thalweg_abi::group::LinksWord;
    /// A bucket's next hop.
    fn bucket(&self, index: u32) -> u32;
    /// 64 bits of the set over own addresses.
    fn own(&self, index: u32) -> u64;

    /// The same value, as if it came from outside.
    ///
    /// The kernel's verifier follows every constant through every branch; where paths with different
    /// constants meet, this makes them one path again. Callers mask the result to the range they
    /// need. Elsewhere it does nothing.
    #[inline(always)]
    fn blur(&self, value: u64) -> u64 {
        value
    }

    /// Whether one more exception of this class is let through for this link. Only exceptions ask,
    /// so the shell reads its clock here and not for every frame.
    fn admit(&self, link: u32, class: Class) -> bool;
}
