//! Services to what a data plane looks up: frontends, the backends of each, and rings to choose by.
//!
//! ```text
//! Cluster ──► endpoints ──► choose ────► resolve ─────► claims ─────► Difference
//!             of a port     readiness,   one service    who has       what a data
//!             and family    topology     by itself      which key     plane changes
//! ```
//!
//! [`Resolver`] keeps the results and takes changes over; [`Choice::ring`] makes a ring of them.
//!
//! Pure: no I/O, no clock, no randomness. Every node that is told the same answers alike.
#![forbid(unsafe_code)]

mod ask;
mod check;
mod choose;
mod claims;
mod difference;
mod elders;
mod endpoints;
mod frontend;
mod hash;
mod here;
pub mod maglev;
mod resolve;
mod resolver;
mod size;

pub use ask::{Fate, From};
pub use check::Check;
pub use difference::{Changes, Difference};
pub use frontend::{Backend, Choice, Class, Empty, Frontend, FrontendKey, Problem, Vip};
pub use here::{Here, NodeAddress};
pub use resolver::Resolver;
pub use size::{Goal, PRIMES, size_for};
