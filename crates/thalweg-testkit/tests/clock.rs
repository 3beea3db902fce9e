//! When a flow's last packet came: programs write it down, user space tells how long ago that was. Both must
//! mean the same clock, though programs do not ask it for each packet.

use nix::time::{ClockId, clock_gettime};
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_abi::TableId;
use thalweg_abi::flow::{WORDS, word};
use thalweg_image::Memory;
use thalweg_packet::Line;
use thalweg_testkit::engine::Course;
use thalweg_testkit::{Engine as _, Kernel};

const WORLD: [&str; 5] = [
    "link pod1 10.99.0.1/32",
    "link pod2 10.99.0.2/32",
    "neigh 10.1.0.3 lladdr 02:00:00:00:00:a3 dev pod2",
    "pod one 10.1.0.2 dev pod1",
    "pod two 10.1.0.3 dev pod2",
];

/// Seconds of the clock that user space reads.
fn clock() -> u32 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap().tv_sec() as u32
}

/// When the last packet of any flow came.
fn seen(memory: &Memory) -> u32 {
    let rows = memory.words(TableId::Flows).chunks(WORDS);
    rows.map(|row| row[word::SEEN].load(Ordering::Relaxed) as u32).max().unwrap()
}

#[test]
fn packets_of_a_flow_are_seen_by_the_clock_of_user_space() {
    let kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(missing) => return missing.skip("the clock of programs"),
    };
    for mut engine in kernel.engines() {
        engine.reset();
        let memory = engine.memory();
        let mut course = Course::new(&mut engine);
        for line in WORLD {
            course.change(line).unwrap();
        }
        course.settle().unwrap();
        let line = Line::parse("pod1 < ip 10.1.0.2 > 10.1.0.3 udp 4000 > 53").unwrap();
        let world = course.world.clone();
        let frame = line.bytes(world.mac("pod1").unwrap());
        // The first packet is a new flow, the others are of a known one.
        for packet in 0..3 {
            let before = clock();
            course.engine.run(&frame, world.index("pod1").unwrap()).unwrap();
            let (seen, after) = (seen(&memory), clock());
            // What was read last counts for a third of a second.
            assert!(
                (before.saturating_sub(1)..=after).contains(&seen),
                "packet {packet} came between {before} and {after}, and was seen at {seen}"
            );
            std::thread::sleep(Duration::from_millis(2_100));
        }
    }
}
