//! What can hold an image and forward by it.

use crate::change::{Change, Plan};
use std::fmt;
use thalweg_abi::TableId;

/// Something that can hold an image and forward by it.
pub trait Plane {
    /// Puts a plan in force.
    ///
    /// Changes that do not fit are left out and named in [`Applied::failures`]; what they would
    /// have replaced stays in force.
    ///
    /// # Errors
    ///
    /// [`PlaneError`] when the plane itself is gone or refuses to work.
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError>;

    /// How full each table is.
    fn occupancy(&self) -> Vec<Occupancy>;
}

/// Waits until every reader that may have seen the state before the call is done with it.
pub trait Grace: Send {
    /// Returns after a grace period.
    fn wait(&self);
}

/// For memory without concurrent readers.
pub struct NoReaders;

impl Grace for NoReaders {
    fn wait(&self) {}
}

/// What came of a plan.
#[derive(Debug)]
pub struct Applied {
    /// Changes that did not fit.
    pub failures: Vec<Failure>,
    /// Whether the plan came in force at once. It does not when it finds no room beside what it
    /// replaces: then it comes in force step by step, each of which is right by itself.
    pub whole: bool,
}

/// A change that did not fit, with numbers.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The change that was left out.
    pub change: Change,
    /// The table that is full, or whose indices end before the one asked for.
    pub table: TableId,
    /// Cells in use.
    pub used: u32,
    /// Cells there are.
    pub capacity: u32,
}

/// How full a table is.
#[derive(Clone, Copy, Debug)]
pub struct Occupancy {
    /// The table.
    pub table: TableId,
    /// Cells in use.
    pub used: u32,
    /// Cells there are.
    pub capacity: u32,
    /// Memory of the whole table in octets.
    pub bytes: u64,
}

/// The plane does not work at all.
#[derive(Debug)]
pub struct PlaneError {
    /// What failed and what to do.
    pub message: String,
}

impl fmt::Display for PlaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PlaneError {}
