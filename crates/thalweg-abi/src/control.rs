//! Which version of the tables is in force: what makes a plan a transaction.
//!
//! Cells that change while programs read them have two versions, and the lowest bit of a number, the
//! *epoch*, says which is in force. A reader reads the epoch once and uses that version for every
//! cell. The writer prepares the other version and puts it in force by one store: each packet is
//! decided wholly by the old tables or wholly by the new ones.
//!
//! A reader that is still at work when the version it reads is prepared for the epoch after the next
//! finds that out from [`ControlRow::writing`] when it is done, and begins again. So the writer waits
//! for nobody, and neither does a reader.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The only row of table `control`. Each field is one aligned word.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct ControlRow {
    /// Zero.
    #[cfg(feature = "layout-next")]
    pub before: [u64; 4],
    /// How often a version was put in force; the lowest bit is the version.
    pub epoch: u64,
    /// The epoch that is prepared, or was prepared last: the epoch in force or the one after it.
    pub writing: u64,
    /// Number of the image in force, for people.
    pub generation: u64,
    /// Number of the tables' memory, different for each that was ever made here: see [`crate::flow::stamp`].
    pub image: u64,
    /// Buckets of the flow table minus one (low half), cells of the service index minus one (high half).
    pub masks: u64,
    /// Zero.
    pub reserved: [u64; if cfg!(feature = "layout-next") { 7 } else { 3 }],
}

/// Position of [`ControlRow::epoch`] in words of 8 octets.
pub const EPOCH: u32 = if cfg!(feature = "layout-next") { 4 } else { 0 };
/// Position of [`ControlRow::writing`].
pub const WRITING: u32 = EPOCH + 1;
/// Position of [`ControlRow::generation`].
pub const GENERATION: u32 = EPOCH + 2;

/// Position of [`ControlRow::image`].
pub const IMAGE: u32 = EPOCH + 3;
/// Position of [`ControlRow::masks`].
pub const MASKS: u32 = EPOCH + 4;

/// Whether what was read at `epoch` was all of one version, given the epoch that is being written
/// after the last read. The low halves of both are enough.
#[inline(always)]
pub const fn holds(epoch: u32, writing: u32) -> bool {
    writing.wrapping_sub(epoch) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_holds_until_its_next_successor_is_written() {
        assert!(holds(7, 7) && holds(7, 8));
        assert!(!holds(7, 9) && !holds(7, 1000) && !holds(7, 6));
        assert!(holds(u32::MAX, 0) && !holds(u32::MAX, 1));
    }
}
