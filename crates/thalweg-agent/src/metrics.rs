//! Metrics in the words of OpenMetrics; docs/metrics.md lists them, and a test compares.
//!
//! ```text
//!   loop ──Snapshot, when asked──► exporter task ──text──► scrapers
//!     └────histograms (shared)──────────▲
//! ```
//!
//! The loop gives a snapshot at most once a second, whoever asks how often; everything else happens
//! in tasks of their own.

mod export;
mod families;
mod record;
mod server;
mod snapshot;

pub use export::Exporter;
pub use record::Record;
pub use server::Asks;
pub use snapshot::Snapshot;
