//! Runs the journeys without cargo, for kernels that only boot to be tested.
//!
//! ```text
//! thalweg-journeys [--engine native|ebpf|all] [--only NAME] [FOLDER]
//! ```
//!
//! Prints `ok NAME`, `FAIL NAME: why` and `skipped NAME: why`, then the totals. Exit code 1 when
//! anything failed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use thalweg_testkit::engine::{Engine, Native};
use thalweg_testkit::journey::{self, Journey};
use thalweg_testkit::{Kernel, Missing, journeys, runner};

const USAGE: &str = "usage: thalweg-journeys [--engine native|ebpf|all] [--only NAME] [FOLDER]";

#[derive(Default)]
struct Totals {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Totals {
    fn ok(&mut self, name: &str) {
        self.passed += 1;
        println!("ok {name}");
    }

    fn fail(&mut self, name: &str, why: &str) {
        self.failed += 1;
        println!("FAIL {name}: {}", why.replace('\n', "\n    "));
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("skipped {name}: {why}");
    }
}

struct Wish {
    engine: String,
    only: String,
    folder: PathBuf,
}

fn wish() -> Result<Wish, String> {
    let (mut engine, mut only, mut folder) = ("all".to_owned(), String::new(), journeys());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--engine" => engine = value()?,
            "--only" => only = value()?,
            // How it always speaks; older callers ask for it.
            "--tap" => {}
            "-h" | "--help" => return Err(USAGE.into()),
            other if other.starts_with('-') => return Err(format!("unknown {other}\n{USAGE}")),
            path => folder = path.into(),
        }
    }
    match engine.as_str() {
        "native" | "ebpf" | "all" => Ok(Wish { engine, only, folder }),
        other => Err(format!("no engine is named {other}\n{USAGE}")),
    }
}

fn main() -> ExitCode {
    let wish = match wish() {
        Ok(wish) => wish,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::from(2);
        }
    };
    let mut journeys = match journey::read_all(&wish.folder) {
        Ok(journeys) => journeys,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    journeys.retain(|journey| journey.name.contains(&wish.only));
    let mut totals = Totals::default();
    if wish.engine != "ebpf" {
        run(&journeys, &mut Native::new(), &mut totals);
    }
    if wish.engine != "native" {
        ebpf(&journeys, &mut totals);
    }
    println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loading is a test of its own: the verifier differs from kernel to kernel.
fn ebpf(journeys: &[Journey], totals: &mut Totals) {
    let programs = ["load thalweg_xdp", "load thalweg_tc"];
    match Kernel::new() {
        Ok(kernel) => {
            programs.iter().for_each(|program| totals.ok(program));
            kernel.engines().iter_mut().for_each(|engine| run(journeys, engine, totals));
        }
        Err(Missing::Refused(why) | Missing::Rights(why)) => {
            totals.fail("load the eBPF object", &why)
        }
    }
}

/// What an engine cannot do is told once, with how many frames it concerns.
fn run(journeys: &[Journey], engine: &mut dyn Engine, totals: &mut Totals) {
    let mut limits: BTreeMap<String, u32> = BTreeMap::new();
    for journey in journeys {
        let name = format!("{} on {}", journey.name, engine.name());
        let report = runner::run(journey, engine);
        match report.failures.is_empty() {
            true => totals.ok(&name),
            false => totals.fail(&name, &report.failures.join("\n")),
        }
        for why in report.skipped {
            *limits.entry(why).or_insert(0) += 1;
        }
    }
    for (why, frames) in limits {
        totals.skip(&format!("{frames} frames on {}", engine.name()), &why);
    }
}
