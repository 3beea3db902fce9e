//! The program `thalweg`; see `thalweg help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    thalweg_cli::run(std::env::args_os())
}
