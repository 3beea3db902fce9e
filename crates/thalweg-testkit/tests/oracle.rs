//! Core against oracle, many worlds.

use thalweg_testkit::engine::Native;
use thalweg_testkit::random::Chance;
use thalweg_testkit::{against_oracle, failures};

#[test]
fn packets_go_where_the_rules_say() {
    let mut native = Native::new();
    for seed in 0..40 {
        let mut chance = Chance::new(5_000 + seed);
        if let Err(story) = against_oracle::run(&mut native, &mut chance, 300) {
            panic!("seed {seed}\n{story}");
        }
    }
}

#[test]
fn states_alone_lead_packets_around_dead_links() {
    let mut native = Native::new();
    for seed in 0..60 {
        let mut chance = Chance::new(9_000 + seed);
        if let Err(story) = failures::run(&mut native, &mut chance, 300) {
            panic!("seed {seed}\n{story}");
        }
    }
}
