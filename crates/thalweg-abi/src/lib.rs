//! What the packet core and user space share: verdicts, table rows and the list of tables.
//!
//! Every row is plain bytes without padding, so that both sides may read the same memory. Every
//! table is an array of 64-bit words in memory that user space maps and the kernel programs index
//! directly; there is one writer. Multi-byte integers are in host order unless their type says
//! otherwise.
#![no_std]
#![forbid(unsafe_code)]

pub mod control;
pub mod counter;
pub mod event;
pub mod fib4;
pub mod fib6;
pub mod flow;
pub mod group;
pub mod handover;
pub mod ilm;
pub mod link;
pub mod meter;
pub mod nexthop;
pub mod own;
pub mod policy;
pub mod service;
pub mod settings;
pub mod shelf;
pub mod socket;
pub mod table;
pub mod tunnel;
pub mod verdict;
pub mod vrf;

pub use control::ControlRow;
pub use counter::Counter;
pub use event::DropEvent;
pub use fib6::Node6;
pub use group::{GroupId, GroupWord};
pub use handover::Handover;
pub use ilm::IlmWord;
pub use link::LinkRow;
pub use nexthop::{NextHopId, NextHopRow};
pub use service::{BackendRow, FrontendRow, IndexWord};
pub use settings::SettingsRow;
pub use table::TableId;
pub use tunnel::TunnelRow;
pub use verdict::{Kind, Reason, Verdict};
pub use vrf::{VrfId, VrfRow};

/// Number of the layout of everything here that lies in shared memory. Programs and tables of one
/// number belong together; whoever changes a row, a table or the meaning of a cell takes the next.
pub const LAYOUT: u32 = if cfg!(feature = "layout-next") { 9 } else { 8 };

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A table row: plain old data without padding whose size is a multiple of 8.
pub trait Row: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static> Row for T {}
