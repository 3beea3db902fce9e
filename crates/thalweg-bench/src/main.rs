//! `make bench`: Thalweg beside real peers, in one run on one machine.
//!
//! Nothing here fails because a number is bad: the table says what was measured, beside what was to
//! be reached. What a machine cannot measure is reported as skipped, with the reason.
#![forbid(unsafe_code)]

mod agent;
mod balance;
mod blocked;
mod bulk;
mod charge;
mod cluster;
mod crossing;
mod daemon;
#[cfg(test)]
mod flips;
mod flood;
mod forward;
mod guarded;
mod http;
mod image;
mod load;
mod lpm;
mod network;
mod object;
mod pods;
mod policed;
mod policies;
mod prefixes;
mod report;
mod room;
mod routes;
mod rules;
mod samples;
mod stream;
mod trace;
mod traffic;
mod vip;

use report::{Report, Row};
use std::error::Error;
use std::process::ExitCode;

/// What a measurement yields, or why it cannot be done here.
pub(crate) type Measured<T> = Result<T, Box<dyn Error>>;

/// What is measured: the rows that are wanted, and those that were.
pub(crate) struct Bench {
    only: String,
    rows: Vec<Row>,
}

impl Bench {
    /// Whether any of these rows is wanted.
    pub fn wants(&self, names: &[String]) -> bool {
        names.iter().any(|name| name.starts_with(&self.only))
    }

    /// Takes a row if it is wanted.
    pub fn add(&mut self, row: Row) {
        if self.wants(std::slice::from_ref(&row.name)) {
            println!("    {}", report::line(&row));
            self.rows.push(row);
        }
    }

    /// Runs the measurement of `names`; when it cannot be done, its rows say why.
    pub fn measure(&mut self, names: &[String], work: impl FnOnce(&mut Self) -> Measured<()>) {
        if !self.wants(names) {
            return;
        }
        if let Err(error) = work(self) {
            for name in names {
                if self.rows.iter().all(|row| row.name != *name) {
                    self.add(Row::skipped(name, &error.to_string()));
                }
            }
        }
    }
}

/// Says what is going on.
pub(crate) fn say(words: &str) {
    println!("  {words}");
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Measured<()> {
    let only = arguments()?;
    let report = Report::open()?;
    object::build()?;
    say(&samples::machine());
    let mut bench = Bench { only, rows: Vec::new() };
    let full = prefixes::Full::read();
    say(&full.origin);
    lpm::measure(&mut bench, &full);
    forward::measure(&mut bench, &full);
    traffic::measure(&mut bench, &full);
    load::measure(&mut bench, &full);
    balance::measure(&mut bench);
    agent::measure(&mut bench, &full);
    blocked::measure(&mut bench, &full);
    stream::measure(&mut bench);
    vip::measure(&mut bench);
    room::measure(&mut bench);
    flood::measure(&mut bench);
    bulk::measure(&mut bench);
    policies::measure(&mut bench);
    policed::measure(&mut bench);
    if bench.rows.is_empty() {
        return Err(format!(
            "no row begins with `{}`; rows begin with lpm4, lpm6, forward, lb, flow, veth, load, update, \
             memory, agent, blocked, follow, commit, http, first-packet, stream, \
             flow-create or policy",
            bench.only
        )
        .into());
    }
    report.close(bench.rows)
}

/// The beginning of the names of the rows that are wanted; empty for all.
fn arguments() -> Measured<String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, None, None) => Ok(String::new()),
        (Some("--only"), Some(only), None) => Ok(only),
        _ => Err("usage: thalweg-bench [--only BEGINNING_OF_ROW_NAMES]".into()),
    }
}
