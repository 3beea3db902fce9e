//! Policies of Kubernetes and Calico: who may speak to whom.
//!
//! Everything here is pure and has a printable result at each stage:
//!
//! 1. [`Objects`]: what files or an API server say, kind by kind ([`object`]).
//! 2. [`Model`]: all of it in one order, tiers → policies → rules ([`model`], made by [`lower`]).
//! 3. [`World`]: endpoints with the labels that count for them ([`world`]).
//! 4. [`Resolution`]: for each endpoint and direction the policies that apply, with peers as addresses
//!    ([`resolve`]), and what they decide about a packet ([`decide`]).
//! 5. [`table::Tables`]: the same as tables whose lookup costs the same for one rule and for many.
//!
//! [`Compiler`] makes these tables and lets them follow what objects say.
//!
//! What hosts say of what ends, begins or passes there is asked as a [`decide::host::Way`].
//!
//! `thalweg-compile` puts these tables into the data plane, for the workloads of its host.
#![forbid(unsafe_code)]

pub mod check;
pub mod compiler;
pub mod decide;
pub mod lower;
pub mod matrix;
pub mod model;
pub mod object;
pub mod ranges;
pub mod resolve;
pub mod selector;
pub mod staged;
pub mod table;
pub mod words;
pub mod world;

pub use compiler::{Compiler, ThisHost};
pub use decide::{Packet, Verdict};
pub use lower::View;
pub use model::Model;
pub use object::Objects;
pub use resolve::Resolution;
pub use selector::{Selector, SelectorError};
pub use world::World;
