//! Loads a file or directory and says how long it takes:
//! `cargo run --release -p thalweg-config --example read -- PATH`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use thalweg_config::{load, render};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: load PATH");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let loaded = load(Path::new(&path));
    let took = start.elapsed();
    print!("{}", render(&loaded.problems, &loaded.sources, false));
    println!("{} routes in {:.3} s", loaded.intent.routes.len(), took.as_secs_f64());
    let start = Instant::now();
    let ok = loaded.is_ok();
    drop(loaded);
    println!("freed in {:.3} s", start.elapsed().as_secs_f64());
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
