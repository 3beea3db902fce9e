//! Core against oracle: the octets choose a world and destinations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use thalweg_testkit::against_oracle;
use thalweg_testkit::engine::Native;
use thalweg_testkit::random::Chance;

thread_local! {
    static NATIVE: RefCell<Native> = RefCell::new(Native::new());
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, rest)) = data.split_first_chunk::<8>() else { return };
    let mut chance = Chance::new(u64::from_le_bytes(*seed));
    NATIVE.with_borrow_mut(|native| {
        let packets = 1 + rest.first().map_or(0, |count| usize::from(*count));
        if let Err(story) = against_oracle::run(native, &mut chance, packets) {
            panic!("{story}");
        }
    });
});
