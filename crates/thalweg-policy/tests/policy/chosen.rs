//! Worlds that octets choose, as fuzzing finds them.

use crate::random::Dice;
use crate::{hosts, oracle};

/// Holds the world that octets choose against the oracle.
pub fn holds(octets: &[u8]) {
    let Some((kind, octets)) = octets.split_first() else { return };
    let dice = &mut Dice::chosen(octets);
    match kind % 3 {
        0 => oracle::pods(dice, &mut Default::default()),
        1 => oracle::tables(dice),
        _ => hosts::hosts(dice, &mut Default::default()),
    }
}

#[test]
fn seeds_of_the_fuzz_target_hold() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/policy");
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        holds(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn worlds_of_few_octets_hold() {
    for seed in 0..300 {
        let dice = &mut Dice::new(seed);
        let octets: Vec<u8> = (0..dice.below(900)).map(|_| dice.below(256) as u8).collect();
        holds(&octets);
    }
}
