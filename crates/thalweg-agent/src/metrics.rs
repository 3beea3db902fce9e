//! Metrics in the words of OpenMetrics; docs/metrics.md lists them, and a test compares.
//!
//! ```text
//!   loop ──Snapshot, when asked──► exporter task ──text──► scrapers
//!     ├────histograms (shared)──────────▲
//!     └────tables (lent)──► one scan of the flows
//! ```
//!
//! The loop gives a snapshot at most once a second, whoever asks how often; everything else happens
//! in tasks of their own. Flows are counted for those who ask for metrics alone, in a thread of its own.

mod export;
mod families;
mod nat;
mod record;
mod server;
mod services;
mod snapshot;

pub use export::Exporter;
pub use record::Record;
pub use server::{Asks, Question};
pub use services::Lent;
pub use snapshot::Snapshot;
