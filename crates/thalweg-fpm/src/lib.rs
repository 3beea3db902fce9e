//! Routes that a routing suite tells over FPM, the Forwarding Plane Manager interface of FRR's zebra.
//!
//! zebra with `-M dplane_fpm_nl` connects over TCP and sends frames of netlink messages: label
//! switched paths, next hop objects, routes, and then every change. [`Server`] listens, keeps what
//! was told, and gives the differences as [`FpmUpdate`](thalweg_model::FpmUpdate)s.
//!
//! Nothing in force is lost because a connection is: what was told stays, marked as stale, until it
//! was told again or its time is over (see [`server`]). What makes no sense ends the connection, with
//! a line that says why; zebra comes back by itself and tells everything again.
//!
//! - [`frame`]: octets of the stream to frames;
//! - [`read`]: a frame to what it says;
//! - [`table`]: what was told, and what of it was passed on;
//! - [`acknowledge`]: the answer that a route is in the data plane;
//! - [`server`]: connections and time.
#![forbid(unsafe_code)]

pub mod acknowledge;
pub mod frame;
pub mod read;
mod resync;
pub mod server;
mod status;
pub mod table;

pub use server::{Event, Server};
pub use status::Status;
