//! Policies against the oracle: the octets choose a world and packets, for pods, tables and hosts.
#![no_main]
#![allow(dead_code, reason = "tests of the crate use more of these files")]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/thalweg-policy/tests/policy/chosen.rs"]
mod chosen;
#[path = "../../crates/thalweg-policy/tests/policy/hosts.rs"]
mod hosts;
#[path = "../../crates/thalweg-policy/tests/policy/oracle.rs"]
mod oracle;
#[path = "../../crates/thalweg-policy/tests/policy/random.rs"]
mod random;

fuzz_target!(|data: &[u8]| chosen::holds(data));
