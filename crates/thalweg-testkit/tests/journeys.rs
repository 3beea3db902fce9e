//! Every journey of tests/journeys on every engine that runs here, with one expectation for all.
//!
//! `UPDATE_EXPECT=1` writes down what the native engine does; read the difference before you believe
//! it.

use std::sync::Once;
use thalweg_testkit::engine::{Engine, Native};
use thalweg_testkit::journey::{self, Journey};
use thalweg_testkit::{Kernel, journeys, runner};

fn all() -> Vec<Journey> {
    static UPDATED: Once = Once::new();
    UPDATED.call_once(|| {
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            update();
        }
    });
    read()
}

fn read() -> Vec<Journey> {
    journey::read_all(&journeys()).unwrap_or_else(|error| panic!("{error}"))
}

/// `THALWEG_JOURNEY=NAME` runs those whose names contain it.
fn wanted(all: Vec<Journey>) -> Vec<Journey> {
    let only = std::env::var("THALWEG_JOURNEY").unwrap_or_default();
    all.into_iter().filter(|journey| journey.name.contains(&only)).collect()
}

fn run(engine: &mut dyn Engine) -> Vec<String> {
    let mut failures = Vec::new();
    let (mut frames, mut count) = (0, 0);
    for journey in wanted(all()) {
        let report = runner::run(&journey, engine);
        failures.extend(report.failures);
        frames += report.frames;
        count += 1;
    }
    println!("{count} journeys, {frames} frames on {}", engine.name());
    failures
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn on_the_native_core() {
    assert_none(&run(&mut Native::new()));
}

#[test]
fn on_the_native_core_without_the_straight_line_for_first_packets() {
    assert_none(&run(&mut Native::in_full()));
}

#[test]
fn on_the_programs_in_the_kernel() {
    // A thread of its own: it moves into a network namespace.
    let thread = std::thread::spawn(|| match Kernel::new() {
        Ok(kernel) => {
            let mut engines = kernel.engines();
            assert_none(&engines.iter_mut().flat_map(|engine| run(engine)).collect::<Vec<_>>());
        }
        Err(missing) => missing.skip("journeys on eBPF"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn update() {
    let mut native = Native::new();
    let journeys = wanted(read());
    let mut files: Vec<_> = journeys.iter().map(|journey| journey.file.clone()).collect();
    files.dedup();
    for file in files {
        let of_file = journeys.iter().filter(|journey| journey.file == file);
        let observed: Vec<_> =
            of_file.flat_map(|journey| runner::run(journey, &mut native).observed).collect();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, journey::rewritten(&text, &observed)).unwrap();
    }
}

#[test]
fn every_row_of_the_checklist_has_a_journey() {
    let names: Vec<String> = all().into_iter().map(|journey| journey.name).collect();
    for row in 1..=40 {
        let name = format!("row-{row:02}");
        assert!(names.iter().any(|have| have.starts_with(&name)), "{name} is missing");
    }
}
