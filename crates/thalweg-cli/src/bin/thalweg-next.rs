//! The program `thalweg` as a next version with another layout of its tables, for the tests of an
//! upgrade: scripts/next.sh builds it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    thalweg_cli::run(std::env::args_os())
}
