//! What the kernel says exists, read and followed over rtnetlink.
//!
//! [`start`] subscribes, reads everything and then follows it; [`snapshot`] reads once. Who applies
//! all updates of a [`Source`] to a [`HostState`](thalweg_model::HostState) always ends up with what
//! the kernel has, also where the kernel changes routes without a word about it: a link that goes
//! down takes its IPv4 routes along in silence. After such an event the routes in question are read
//! again and only the difference is told.
//!
//! - [`message`]: octets of one netlink message to values, without I/O;
//! - `mirror`: values to updates: what the kernel is known to have, and what of it was told
//!   ([`tracked`]);
//! - [`source`]: sockets, dumps, the order of events;
//! - [`resolver`]: asks the kernel to keep a neighbor resolved;
//! - [`pair`]: makes a pair of interfaces for what this host itself sends;
//! - [`exporter`]: writes routes of ours into the kernel's tables;
//! - [`mod@file`]: host state as a YAML file.
#![forbid(unsafe_code)]

mod error;
pub mod exporter;
pub mod file;
pub mod message;
mod mirror;
mod netns;
pub mod pair;
pub mod resolver;
mod socket;
pub mod source;
pub mod tracked;

pub use error::Error;
pub use exporter::{ExportHop, ExportKey, ExportWay, Exporter, withdraw};
pub use netns::enter_netns;
pub use resolver::Resolver;
pub use source::{Event, Options, Source, snapshot, start};
