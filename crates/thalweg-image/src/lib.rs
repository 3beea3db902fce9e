//! Compiled tables: the memory they live in, the builders that keep them, and the changes that
//! lead from one image to the next.
//!
//! A [`Plan`] is an ordered list of [`Change`]s; a [`Plane`] puts it in force. [`Writer`] is the one
//! implementation of the tables themselves: it keeps its own copy of all routes and writes
//! [`Memory`], which is plain memory in tests and mapped kernel maps in production. Readers (the
//! packet core, natively or as eBPF) may run at any moment: a plan is drafted in a version of the
//! tables that nobody reads, and put in force with one aligned store.
#![forbid(unsafe_code)]

mod backends;
pub mod change;
mod extent;
mod fib4;
mod fib6;
mod groups;
mod index;
pub mod limits;
pub mod lookup;
pub mod memory;
pub mod plane;
mod rib;
mod routes;
pub mod sample;
mod services;
mod sums;
mod tables;
mod tree6;
pub mod writer;

pub use change::{BackendSet, Change, Frontend, FrontendKey, Plan, SetId, halves};
pub use limits::Limits;
pub use memory::{Audit, Capacity, Memory, Region, View};
pub use plane::{Applied, Failure, Grace, NoReaders, Occupancy, Plane, PlaneError};
pub use sums::Damage;
pub use writer::Writer;
