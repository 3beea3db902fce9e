//! The agent ends; the next one takes over.

use crate::lab::{Lab, Setup, modes};
use crate::stream::during;
use aya::maps::Array;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use thalweg_abi::Kind;
use thalweg_image::Plane;
use thalweg_xdp::{Mode, PinsError, StartError, Wish, XdpPlane};

const POLLING: Setup = Setup { native: true };

fn forwarded(plane: &XdpPlane) -> u64 {
    let counts = plane.counts().unwrap();
    counts.iter().filter(|(v, _)| v.kind() == Kind::Forward).map(|(_, c)| c.packets).sum()
}

#[test]
fn no_packet_is_lost_when_an_agent_ends_and_another_takes_over() {
    let Some(lab) = Lab::new(POLLING) else { return };
    for wish in [Wish::Native, Wish::Generic, Wish::Tc] {
        let mut first = Some(lab.start("one"));
        let statuses = first.as_mut().unwrap().attach(lab.wanted(wish));
        let mode = statuses[0].mode;
        assert!(lab.reaches(), "{mode}");
        let counted = first.as_ref().map(forwarded).unwrap();
        let mut second = None;
        let count = during(&lab, || {
            drop(first.take());
            let mut plane = lab.start("one");
            let again = plane.attach(lab.wanted(wish));
            assert_eq!(modes(&again), [mode; 2], "{again:#?}");
            second = Some(plane);
        });
        assert!(count.sent > 500, "{mode}: {count:?}");
        assert_eq!(count.lost, 0, "{mode}: {count:?}");
        let goes_on = second.as_ref().map(forwarded).unwrap();
        assert!(goes_on >= counted + u64::from(count.sent), "{mode}: the counters go on");
        let mut second = second.unwrap();
        assert_eq!(second.notes(), [""; 0]);
        // What is in force is what the second agent says.
        second.apply(&lab.without_routes()).unwrap();
        assert!(!lab.reaches(), "{mode}: the first agent's tables are still in force");
    }
}

#[test]
fn the_same_with_filters_on_clsact() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut first = lab.start_with("one", false);
    let statuses = first.attach(lab.wanted(Wish::Tc));
    assert_eq!(modes(&statuses), [Mode::Clsact; 2], "{statuses:#?}");
    assert!(statuses[0].reason.contains("tc(tcx) refused"), "{statuses:#?}");
    assert!(lab.reaches());
    let count = during(&lab, || {
        drop(first);
        let mut second = lab.start_with("one", false);
        let statuses = second.attach(lab.wanted(Wish::Tc));
        assert_eq!(modes(&statuses), [Mode::Clsact; 2], "{statuses:#?}");
        drop(second);
        // The kernel has tcx after all: the filters and the qdiscs go.
        let statuses = lab.start("one").attach(lab.wanted(Wish::Tc));
        assert_eq!(modes(&statuses), [Mode::Tcx; 2], "{statuses:#?}");
    });
    assert!(count.sent > 500 && count.lost == 0, "{count:?}");
    // The qdiscs stay, because removing one loses packets, until the links are left.
    assert_eq!(lab.sh("r", "tc filter show dev r1 ingress").unwrap(), "");
    assert!(lab.sh("r", "tc qdisc show dev r1 clsact").unwrap().contains("clsact"));
    let done = lab.detach("one");
    assert!(done.removed.contains(&"qdisc clsact of link `r1`".to_owned()), "{done:?}");
    assert_eq!(lab.sh("r", "tc qdisc show dev r1 clsact").unwrap(), "");
}

#[test]
fn modes_change_without_a_loss() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    plane.attach(lab.wanted(Wish::Generic));
    let wishes = [Wish::Native, Wish::Tc, Wish::Generic, Wish::Tc, Wish::Native, Wish::Generic];
    let count = during(&lab, || {
        for wish in wishes {
            plane.attach(lab.wanted(wish));
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
    });
    assert!(count.sent > 500 && count.lost == 0, "{count:?}");
}

#[test]
fn one_agent_at_a_time_and_one_namespace_for_an_instance() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    plane.attach(lab.wanted(Wish::Auto));
    let second = lab.try_start("one").err().unwrap();
    assert!(matches!(second, StartError::Pins(PinsError::Busy(_))), "{second}");
    let running = thalweg_xdp::detach(&lab.pins("one")).unwrap_err();
    assert!(running.to_string().contains("another agent"), "{running}");
    drop(plane);
    lab.enter("h1");
    let elsewhere = lab.try_start("one").err().unwrap();
    assert!(matches!(elsewhere, StartError::Pins(PinsError::Namespace { .. })), "{elsewhere}");
}

#[test]
fn a_directory_that_cannot_hold_pins_is_named_with_the_remedy() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let error = lab.try_start_with("/tmp/no-bpffs/one".as_ref(), true).err().unwrap().to_string();
    assert!(error.contains("run `mount -t bpf bpf /tmp`"), "{error}");
    let error = lab.try_start("a.b").err().unwrap().to_string();
    assert!(error.contains("names with a dot"), "{error}");
}

#[test]
fn counters_of_another_layout_begin_anew() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let dir = lab.pins("one").join(format!("v{}", thalweg_abi::LAYOUT));
    std::fs::create_dir_all(&dir).unwrap();
    let other: Array<_, u32> = Array::create(4, 0).unwrap();
    other.pin(dir.join("counters")).unwrap();
    let plane = lab.start("one");
    assert!(plane.notes()[0].contains("counters begin anew"), "{:?}", plane.notes());
    assert!(plane.counts().unwrap().is_empty());
}

#[test]
fn rights_that_are_missing_are_named() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut sets = capabilities(None).unwrap();
    let missing = CapabilitySet::NET_ADMIN | CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let kept = sets.effective;
    sets.effective = kept - missing;
    set_capabilities(None, sets).unwrap();
    let error = lab.try_start("one").err().unwrap();
    sets.effective = kept;
    set_capabilities(None, sets).unwrap();
    assert!(matches!(error, StartError::Rights(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("needs CAP_BPF and CAP_NET_ADMIN"), "{said}");
    assert!(said.contains("run as root"), "{said}");
}

#[test]
fn a_plane_may_move_to_another_thread() {
    fn moves<T: Send>() {}
    moves::<XdpPlane>();
}
