//! Any octets as a configuration file: no panic, and what is written reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| thalweg_config::fuzz(data));
