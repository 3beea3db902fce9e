//! Core against oracle, many worlds.

use thalweg_testkit::against_oracle;
use thalweg_testkit::engine::Native;
use thalweg_testkit::random::Chance;

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
