//! What is measured while it happens: plans.

use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thalweg_api::view::AuditView;

/// Bounds of the time that a plan takes, in seconds: 100 µs to 26 s.
fn seconds() -> impl Iterator<Item = f64> {
    (0..10).map(|step| 1e-4 * f64::from(4u32.pow(step)))
}

/// Bounds of the number of steps of a plan: 1 to 10 million.
fn steps() -> impl Iterator<Item = f64> {
    (0..8).map(|step| f64::from(10u32.pow(step)))
}

/// Plans so far; clones count together.
#[derive(Clone, Debug)]
pub struct Record {
    pub(super) took: Histogram,
    pub(super) steps: Histogram,
    /// Plans that were put in force, and those that the plane refused.
    pub(super) plans: [Arc<AtomicU64>; 2],
    /// Findings of audits: tables, hooks, pins.
    pub(super) findings: [Arc<AtomicU64>; 3],
    /// Audits.
    pub(super) audits: Arc<AtomicU64>,
    /// Changes that did not fit.
    pub(super) unfit: Arc<AtomicU64>,
    /// Whether an agent before had left an image in force.
    pub(super) took_over: Arc<AtomicBool>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            took: Histogram::new(seconds()),
            steps: Histogram::new(steps()),
            plans: Default::default(),
            unfit: Arc::default(),
            took_over: Arc::default(),
            findings: Default::default(),
            audits: Arc::default(),
        }
    }
}

/// What audits look at.
pub(super) const PARTS: [&str; 3] = ["tables", "hooks", "pins"];

impl Record {
    /// The hooks of an agent before were taken over.
    pub fn took_over(&self) {
        self.took_over.store(true, Ordering::Relaxed);
    }

    /// An audit was done.
    pub fn audit(&self, view: &AuditView) {
        self.audits.fetch_add(1, Ordering::Relaxed);
        for (part, count) in PARTS.iter().zip(&self.findings) {
            let found = view.findings.iter().filter(|finding| finding.part == *part).count();
            count.fetch_add(found as u64, Ordering::Relaxed);
        }
    }

    /// A plan of so many steps was carried out, `unfit` of which did not fit; none of which, if the
    /// plane refused it.
    pub fn plan(&self, steps: usize, took: Duration, unfit: Option<usize>) {
        self.took.observe(took.as_secs_f64());
        self.steps.observe(steps as f64);
        self.plans[usize::from(unfit.is_none())].fetch_add(1, Ordering::Relaxed);
        self.unfit.fetch_add(unfit.unwrap_or(0) as u64, Ordering::Relaxed);
    }
}
