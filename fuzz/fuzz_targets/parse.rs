//! Any octets as a frame: no panic, and no rule of a router broken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use thalweg_testkit::engine::{Engine, Native};
use thalweg_testkit::{World, invariant, random};

thread_local! {
    static NATIVE: RefCell<(Native, World)> = RefCell::new(random::settled());
}

fuzz_target!(|data: &[u8]| {
    // The first octet chooses the link.
    let Some((link, frame)) = data.split_first() else { return };
    NATIVE.with_borrow_mut(|(native, world)| {
        let arrival = world.index(&format!("eth{}", link % 6)).unwrap_or(1);
        let fate = native.run(frame, arrival).expect("the core takes any frame");
        if let Err(rule) = invariant::check(frame, &fate) {
            panic!("{}: {rule}: {}", fate.verdict, thalweg_packet::describe(frame));
        }
    });
});
