//! The object loads on this kernel, and an empty table answers as it must.

use thalweg_image::Capacity;
use thalweg_xdp::{Loaded, Program};

#[test]
fn loads_and_passes_frames_of_links_that_are_not_ours() {
    let capacity = Capacity::new(|_| 64);
    let mut loaded = match Loaded::load(thalweg_bpf_object::object(), &capacity) {
        Ok(loaded) => loaded,
        Err(error) => panic!("{error}: {error:?}"),
    };
    let run = loaded.test_run(Program::Xdp, &[0x42; 64], 1, 1).expect("xdp runs");
    assert_eq!(run.code, 2, "XDP_PASS");
    let run = loaded.test_run(Program::Tc, &[0x42; 64], 1, 1).expect("tc runs");
    assert_eq!(run.code, u32::MAX, "TC_ACT_UNSPEC");
}
