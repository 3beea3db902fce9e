//! Frames that fuzzing has kept, those that once broke a rule among them: none breaks one now.

use std::fs;
use thalweg_testkit::engine::Engine;
use thalweg_testkit::{invariant, random, root};

#[test]
fn no_frame_that_was_found_breaks_a_rule() {
    let (mut native, world) = random::settled();
    let seeds: Vec<_> = fs::read_dir(root().join("fuzz/seeds/parse")).unwrap().collect();
    assert!(seeds.len() > 40, "{} seeds", seeds.len());
    for seed in seeds {
        let path = seed.unwrap().path();
        let data = fs::read(&path).unwrap();
        // As the fuzz target reads it: the first octet chooses the link.
        let Some((link, frame)) = data.split_first() else { continue };
        let arrival = world.index(&format!("eth{}", link % 6)).unwrap_or(1);
        let fate = native.run(frame, arrival).expect("the core takes any frame");
        let (name, verdict) = (path.display(), fate.verdict);
        assert_eq!(invariant::check(frame, &fate), Ok(()), "{name}: {verdict}");
    }
}
