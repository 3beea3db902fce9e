//! A node with two pods and a link outside, on the native engine.

use thalweg_packet::Line;
use thalweg_testkit::engine::{Course, Fate};
use thalweg_testkit::{Engine, Native, World};

/// Links, and who is known on them.
const LINKS: [&str; 7] = [
    "link eth0 10.0.0.1/24",
    "link pod1 10.99.0.1/32",
    "link pod2 10.99.0.2/32",
    "neigh 10.0.0.8 lladdr 02:00:00:00:ff:01 dev eth0",
    "neigh 10.0.0.9 lladdr 02:00:00:00:ff:02 dev eth0",
    "neigh 10.1.0.2 lladdr 02:00:00:00:00:a2 dev pod1",
    "neigh 10.1.0.3 lladdr 02:00:00:00:00:a3 dev pod2",
];

/// The node, with what these lines say besides.
pub fn build(more: &[&str]) -> (Native, World) {
    let mut native = Native::new();
    let mut course = Course::new(&mut native);
    for line in LINKS.iter().chain(more) {
        course.change(line).unwrap();
    }
    course.settle().unwrap();
    let world = course.world.clone();
    (native, world)
}

/// What becomes of a frame.
pub fn run(native: &mut Native, world: &World, line: &str) -> Fate {
    let line = Line::parse(line).unwrap();
    let frame = line.bytes(world.mac(&line.link).unwrap());
    native.run(&frame, world.index(&line.link).unwrap()).unwrap()
}
