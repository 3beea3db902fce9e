//! Engine against engine: any world, any frame, the same verdict and the same bytes.
//!
//! `THALWEG_FRAMES=N` takes N frames per world through each engine.

use thalweg_testkit::engine::{Course, Engine, Fate, Native, Refusal};
use thalweg_testkit::random::{self, Chance};
use thalweg_testkit::{Kernel, invariant};

const WORLDS: u64 = 6;

fn frames(default: usize) -> usize {
    std::env::var("THALWEG_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// An engine in the world of `seed`, ready for frames.
fn settled<'a>(engine: &'a mut dyn Engine, text: &str) -> Course<'a> {
    let mut course = Course::new(engine);
    for line in text.lines() {
        // Some of what chance brings together makes no sense; the rest is in force.
        course.change(&format!("wrong {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    course.settle().unwrap_or_else(|error| panic!("{text}{error}"));
    course
}

/// What a frame looked like, for a report.
fn story(seed: u64, text: &str, link: &str, frame: &[u8]) -> String {
    let packet = thalweg_packet::describe(frame);
    format!("seed {seed}, world:\n{text}\n{link} < {packet}")
}

#[test]
fn invariants_hold_for_any_frame() {
    let mut native = Native::new();
    for seed in 0..WORLDS * 4 {
        let mut chance = Chance::new(seed);
        let text = random::world(&mut chance);
        let course = settled(&mut native, &text);
        for _ in 0..frames(4_000) {
            let (link, frame) = random::frame(&mut chance, &course.world);
            let index = course.world.index(&link).unwrap();
            let fate = course.engine.run(&frame, index).unwrap();
            if let Err(rule) = invariant::check(&frame, &fate) {
                let after = thalweg_packet::describe(&fate.frame);
                let story = story(seed, &text, &link, &frame);
                panic!("{story}\n{}: {rule}\n{after}", fate.verdict);
            }
        }
    }
}

#[test]
fn any_bytes_are_a_frame() {
    let mut native = Native::new();
    let mut chance = Chance::new(7);
    let text = random::world(&mut chance);
    let course = settled(&mut native, &text);
    let own = course.world.mac("eth0").unwrap();
    let index = course.world.index("eth0").unwrap();
    for _ in 0..50_000 {
        let mut frame: Vec<u8> = (0..chance.below(120)).map(|_| chance.number() as u8).collect();
        // Mostly for us and of a type that is looked at, or nothing would be read.
        if frame.len() >= 16 && !chance.once_in(8) {
            frame[..6].copy_from_slice(&own.0);
            let ethertype: [u8; 2] =
                *chance.pick(&[&[8, 0], &[0x86, 0xdd], &[0x88, 0x47], &[0x81, 0]]);
            frame[12..14].copy_from_slice(&ethertype);
            if chance.once_in(2) {
                frame[14] = *chance.pick(&[&0x45, &0x60, &0x4f, &0x46]);
            }
        }
        let fate = course.engine.run(&frame, index).unwrap();
        if let Err(rule) = invariant::check(&frame, &fate) {
            panic!("{}\n{}: {rule}", story(7, &text, "eth0", &frame), fate.verdict);
        }
    }
}

/// What engines must agree on: where a frame stays is not looked at once it is dropped.
fn comparable(fate: &Fate) -> (String, Option<&[u8]>) {
    let dropped = fate.verdict.kind() == thalweg_abi::Kind::Drop;
    (fate.verdict.to_string(), (!dropped).then_some(&fate.frame[..]))
}

#[test]
fn programs_in_the_kernel_do_what_the_core_does() {
    let thread = std::thread::spawn(|| match Kernel::new() {
        Ok(kernel) => kernel.engines().iter_mut().for_each(|engine| compare(engine)),
        Err(missing) => missing.skip("engine against engine"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn compare(engine: &mut dyn Engine) {
    let mut native = Native::new();
    let name = engine.name();
    let mut limits = 0;
    for seed in 0..WORLDS {
        let mut chance = Chance::new(1_000 + seed);
        let text = random::world(&mut chance);
        let core = settled(&mut native, &text);
        let kernel = settled(engine, &text);
        for _ in 0..frames(400) {
            let (link, frame) = random::frame(&mut chance, &core.world);
            let [here, there] = [&core, &kernel].map(|course| course.world.index(&link).unwrap());
            let fate = match kernel.engine.run(&frame, there) {
                Ok(fate) => fate,
                Err(Refusal::Unsuited(_)) => continue,
                Err(error) => panic!("{}\n{name}: {error}", story(seed, &text, &link, &frame)),
            };
            let expected = core.engine.run(&frame, here).unwrap();
            if comparable(&fate) == comparable(&expected) {
                continue;
            }
            // The kernel cannot take labels or tags off a socket buffer; the frame is dropped.
            if name == "tc" && fate.verdict.to_string() == "drop no-room" {
                limits += 1;
                continue;
            }
            panic!(
                "{}\nnative: {} {}\n{name}: {} {}",
                story(seed, &text, &link, &frame),
                expected.verdict,
                thalweg_packet::describe(&expected.frame),
                fate.verdict,
                thalweg_packet::describe(&fate.frame),
            );
        }
    }
    println!("{name}: {limits} frames beyond its limits");
}
