//! The list of tables: their names in the kernel, how wide their cells are, how large they may be.

/// A table of the image: an array in shared memory with one writer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum TableId {
    /// [`crate::ControlRow`], one row.
    Control,
    /// `u64` by state number: not zero while the link or session it stands for is up.
    States,
    /// `u64` by interface index: not zero while tc stands behind XDP on that device.
    Behind,
    /// [`crate::SettingsRow`], one row.
    Settings,
    /// [`crate::LinkRow`] by interface index.
    Links,
    /// `u32` interface index by page × 4096 + VLAN id.
    Vlans,
    /// [`crate::VrfRow`] by VRF.
    Vrfs,
    /// `u32` page of `Fib4Root` by VRF × 256 + first octet (VRFs other than the default).
    Fib4Pages,
    /// `u64` [`crate::fib4::RootWord`] by page × 2048 + next 11 bits.
    Fib4Root,
    /// `u16` leaves of runs.
    Fib4Leaves,
    /// `u16` leaves by block × 256 + last octet.
    Fib4Long,
    /// `u32` [`crate::fib6::Word6`] by VRF × 8192 + first 13 bits.
    Fib6Dir,
    /// `u32` [`crate::fib6::Word6`] by page × 2048 + next 11 bits.
    Fib6Pages,
    /// [`crate::Node6`] rows.
    Fib6Nodes,
    /// `u16` leaves of runs.
    Fib6Leaves,
    /// `u64` [`crate::IlmWord`] by label.
    Lfib,
    /// `u64` [`crate::GroupWord`] by group.
    Groups,
    /// `u64` [`crate::group::LinksWord`] by group.
    GroupLinks,
    /// `u32` next hop numbers.
    Buckets,
    /// [`crate::NextHopRow`] by next hop.
    NextHops,
    /// `u64` words of a bit set over hashed own addresses; a set bit means "look closer".
    Own,
    /// `u64` words of a bit set over hashed addresses of frontends; a set bit means "look closer".
    Vips,
    /// `u64` [`crate::service::IndexWord`] by hash.
    Index,
    /// [`crate::FrontendRow`] rows.
    Frontends,
    /// `u16` backends of a frontend, by ring and slot.
    Rings,
    /// [`crate::BackendRow`] rows.
    Backends,
    /// [`crate::service::RangeRow`] rows.
    Ranges,
    /// [`crate::policy::Line`] by number.
    Policy,
    /// [`crate::flow::Slots`] by bucket.
    FlowSlots,
    /// [`crate::flow::FlowRow`] by bucket × [`crate::flow::WAYS`] + way.
    Flows,
    /// [`crate::shelf::Board`] by board.
    Boards,
    /// [`crate::shelf::KeptRow`] by board × [`crate::shelf::PLACES`] + place.
    Kept,
}

/// Words of table `own`: a power of two; 64 bits each.
pub const OWN_WORDS: u32 = if cfg!(feature = "layout-next") { 128 } else { 64 };

impl TableId {
    /// All tables, in an order in which they may be filled.
    pub const ALL: [Self; 32] = [
        Self::Control,
        Self::States,
        Self::Behind,
        Self::Settings,
        Self::Links,
        Self::Vlans,
        Self::Vrfs,
        Self::Fib4Pages,
        Self::Fib4Root,
        Self::Fib4Leaves,
        Self::Fib4Long,
        Self::Fib6Dir,
        Self::Fib6Pages,
        Self::Fib6Nodes,
        Self::Fib6Leaves,
        Self::Lfib,
        Self::Groups,
        Self::GroupLinks,
        Self::Buckets,
        Self::NextHops,
        Self::Own,
        Self::Vips,
        Self::Index,
        Self::Frontends,
        Self::Rings,
        Self::Backends,
        Self::Ranges,
        Self::Policy,
        Self::FlowSlots,
        Self::Flows,
        Self::Boards,
        Self::Kept,
    ];

    /// Name of the kernel map, at most 15 octets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::States => "states",
            Self::Behind => "behind",
            Self::Settings => "settings",
            Self::Links => "links",
            Self::Vlans => "vlans",
            Self::Vrfs => "vrfs",
            Self::Fib4Pages => "fib4_pages",
            Self::Fib4Root => "fib4_root",
            Self::Fib4Leaves => "fib4_leaves",
            Self::Fib4Long => "fib4_long",
            Self::Fib6Dir => "fib6_dir",
            Self::Fib6Pages => "fib6_pages",
            Self::Fib6Nodes => "fib6_nodes",
            Self::Fib6Leaves => "fib6_leaves",
            Self::Lfib => "lfib",
            Self::Groups => "groups",
            Self::GroupLinks => "group_links",
            Self::Buckets => "buckets",
            Self::NextHops => "nexthops",
            Self::Own => "own",
            Self::Vips => "vips",
            Self::Index => "service_index",
            Self::Frontends => "frontends",
            Self::Rings => "rings",
            Self::Backends => "backends",
            Self::Ranges => "ranges",
            Self::Policy => "policy",
            Self::FlowSlots => "flow_slots",
            Self::Flows => "flows",
            Self::Boards => "shelf_boards",
            Self::Kept => "shelf_frames",
        }
    }

    /// How a table changes while programs read it.
    pub const fn change(self) -> Change {
        match self {
            Self::Control | Self::States | Self::Behind => Change::Live,
            Self::Fib4Leaves
            | Self::Fib4Long
            | Self::Fib6Nodes
            | Self::Fib6Leaves
            | Self::Buckets
            | Self::NextHops
            | Self::Frontends
            | Self::Rings
            | Self::Backends
            | Self::Ranges => Change::Aside,
            Self::Settings
            | Self::Links
            | Self::Vlans
            | Self::Vrfs
            | Self::Fib4Pages
            | Self::Fib4Root
            | Self::Fib6Dir
            | Self::Fib6Pages
            | Self::Lfib
            | Self::Groups
            | Self::GroupLinks
            | Self::Own
            | Self::Vips
            | Self::Index
            | Self::Policy => Change::Versioned,
            Self::FlowSlots | Self::Flows | Self::Boards | Self::Kept => Change::Shared,
        }
    }

    /// Versions of each cell that the table holds, side by side.
    pub const fn versions(self) -> u32 {
        match self.change() {
            Change::Versioned => 2,
            Change::Aside | Change::Live | Change::Shared => 1,
        }
    }

    /// Where the cell number `index` of a version lies: versions of a cell are neighbors, so that
    /// readers find the next version in the cache line of the last.
    #[inline(always)]
    pub const fn place(self, index: u32, epoch: u32) -> u32 {
        match self.change() {
            Change::Versioned => versioned(index, epoch),
            Change::Aside | Change::Live | Change::Shared => index,
        }
    }

    /// Octets of one row as the kernel map holds it: cells narrower than 8 octets are packed 64
    /// octets to a row, because the kernel rounds rows up to 8.
    pub const fn row_bytes(self) -> usize {
        match self {
            Self::Control => size_of::<crate::ControlRow>(),
            Self::Settings => size_of::<crate::SettingsRow>(),
            Self::Links => size_of::<crate::LinkRow>(),
            Self::Vrfs => size_of::<crate::VrfRow>(),
            Self::Fib6Nodes => size_of::<crate::Node6>(),
            Self::NextHops => size_of::<crate::NextHopRow>(),
            Self::Frontends => size_of::<crate::FrontendRow>(),
            Self::Backends => size_of::<crate::BackendRow>(),
            Self::Ranges => size_of::<crate::service::RangeRow>(),
            Self::Policy => size_of::<crate::policy::Line>(),
            Self::FlowSlots => size_of::<crate::flow::Slots>(),
            Self::Flows => size_of::<crate::flow::FlowRow>(),
            Self::Boards => size_of::<crate::shelf::Board>(),
            Self::Kept => size_of::<crate::shelf::KeptRow>(),
            Self::States
            | Self::Behind
            | Self::Fib4Root
            | Self::Lfib
            | Self::Groups
            | Self::GroupLinks
            | Self::Own
            | Self::Vips
            | Self::Index => 8,
            Self::Vlans
            | Self::Fib4Pages
            | Self::Fib4Leaves
            | Self::Fib4Long
            | Self::Fib6Dir
            | Self::Fib6Pages
            | Self::Fib6Leaves
            | Self::Rings
            | Self::Buckets => 64,
        }
    }

    /// Octets of one cell: what an index of this table counts.
    pub const fn cell_bytes(self) -> usize {
        match self {
            Self::Fib4Leaves | Self::Fib4Long | Self::Fib6Leaves | Self::Rings => 2,
            Self::Vlans | Self::Fib4Pages | Self::Fib6Dir | Self::Fib6Pages | Self::Buckets => 4,
            _ => self.row_bytes(),
        }
    }

    /// Cells of one row.
    pub const fn cells_per_row(self) -> usize {
        self.row_bytes() / self.cell_bytes()
    }
}

/// How a table changes while programs read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Two versions of each cell: one in force, one in the making. See [`crate::ControlRow`].
    Versioned,
    /// Written where no reader can come; a cell of another table then leads there.
    Aside,
    /// One store is in force at once, outside of all plans.
    Live,
    /// Written by the programs themselves.
    Shared,
}

/// Place of a cell of a [`Change::Versioned`] table, in cells.
#[inline(always)]
pub const fn versioned(index: u32, epoch: u32) -> u32 {
    index << 1 | epoch & 1
}

/// `u16` cells of a 64-octet row.
pub type Row16 = [u16; 32];
/// `u32` cells of a 64-octet row.
pub type Row32 = [u32; 16];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_rows_are_whole_words() {
        for (index, table) in TableId::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, index);
            assert!(table.name().len() <= 15, "{table:?}");
            assert_eq!(table.row_bytes() % 8, 0, "{table:?}");
            assert_eq!(table.row_bytes() % table.cell_bytes(), 0, "{table:?}");
        }
    }
}
