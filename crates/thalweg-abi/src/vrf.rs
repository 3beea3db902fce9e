//! Routing instances.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A routing instance (RFC 4364 §3). Number 0 is the default VRF (kernel table `main`).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    FromBytes,
    Hash,
    Immutable,
    IntoBytes,
    KnownLayout,
    Ord,
    PartialEq,
    PartialOrd,
)]
#[repr(transparent)]
pub struct VrfId(pub u16);

/// Row of table `vrfs`, by [`VrfId`]: what a lookup that finds nothing answers with.
///
/// The default routes live here, so that changing one costs one store instead of one per root word.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct VrfRow {
    /// [`crate::GroupId`] of `0.0.0.0/0`, 0 for none.
    pub default4: u32,
    /// [`crate::GroupId`] of `::/0`, 0 for none.
    pub default6: u32,
}
