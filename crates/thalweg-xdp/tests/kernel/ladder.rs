//! Which hook is taken, and the reason given.

use crate::lab::{Lab, Setup, modes};
use crate::stream::{bulk, during};
use thalweg_abi::Kind;
use thalweg_xdp::{FeatureWatch, Mode, Wish};

const POLLING: Setup = Setup { native: true };
const PLAIN: Setup = Setup { native: false };

#[test]
fn frames_are_forwarded_natively_where_the_other_ends_poll() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    assert!(!lab.reaches(), "nothing is attached, and the kernel does not forward");
    let statuses = plane.attach(lab.wanted(Wish::Auto));
    assert_eq!(modes(&statuses), [Mode::Native; 2], "{statuses:#?}");
    let behind = statuses[0].behind.expect("tc behind");
    assert_eq!(statuses[0].reason, format!("native accepted; {behind} behind it for large frames"));
    assert!(lab.reaches(), "{:?}", plane.counts());
    let counts = plane.counts().unwrap();
    let forwarded = counts.iter().find(|(verdict, _)| verdict.kind() == Kind::Forward);
    assert!(forwarded.is_some_and(|(_, counter)| counter.packets >= 10), "{counts:?}");
    assert_eq!(plane.reconcile(), statuses, "a second time changes nothing");
}

#[test]
fn a_link_whose_other_end_does_not_poll_keeps_all_generic_until_it_does() {
    let Some(lab) = Lab::new(POLLING) else { return };
    lab.sh("h2", "ethtool -K eth0 gro off").unwrap();
    let mut plane = lab.start("one");
    let statuses = plane.attach(lab.wanted(Wish::Auto));
    assert_eq!(modes(&statuses), [Mode::Generic; 2], "{statuses:#?}");
    for status in &statuses {
        assert!(status.reason.contains("redirected natively to `r2`"), "{status:?}");
        assert!(status.reason.contains("`eth0` in network namespace thwx"), "{status:?}");
        assert!(status.reason.contains("ethtool -K PEER gro on"), "{status:?}");
    }
    assert!(lab.reaches(), "{:?}", plane.counts());

    let watch = FeatureWatch::new().unwrap().unwrap();
    assert!(!watch.drain());
    lab.sh("h2", "ethtool -K eth0 gro on").unwrap();
    assert!(watch.drain(), "the kernel tells that r2 takes frames now");
    let mut up = Vec::new();
    let count = during(&lab, || up = plane.reconcile());
    assert_eq!(modes(&up), [Mode::Native; 2], "{up:#?}");
    assert!(count.sent > 100 && count.lost == 0, "{count:?}");

    lab.sh("h2", "ethtool -K eth0 gro off").unwrap();
    assert_eq!(modes(&plane.reconcile()), [Mode::Generic; 2]);
    assert!(lab.reaches());
}

#[test]
fn tcp_flows_by_default_whatever_the_other_ends_leave_undone() {
    let Some(lab) = Lab::new(PLAIN) else { return };
    let mut plane = lab.start("one");
    let statuses = plane.attach(lab.wanted(Wish::Auto));
    assert_eq!(modes(&statuses), [Mode::Tcx; 2], "{statuses:#?}");
    assert!(statuses[0].reason.contains("generic not used: `eth0`"), "{statuses:#?}");
    assert!(bulk(&lab, 1 << 22), "{:?}", plane.counts());

    for host in ["h1", "h2"] {
        lab.sh(host, "ethtool -K eth0 tso off gso off tx-udp-segmentation off").unwrap();
    }
    let statuses = plane.reconcile();
    assert_eq!(modes(&statuses), [Mode::Generic; 2], "{statuses:#?}");
    assert!(bulk(&lab, 1 << 22), "{:?}", plane.counts());

    for host in ["h1", "h2"] {
        lab.sh(host, "ethtool -K eth0 tx off gro on").unwrap();
    }
    let statuses = plane.reconcile();
    assert_eq!(modes(&statuses), [Mode::Native; 2], "{statuses:#?}");
    assert!(bulk(&lab, 1 << 22), "{:?}", plane.counts());
}

#[test]
fn wishes_are_followed() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    let wishes = [
        (Wish::Generic, Mode::Generic),
        (Wish::Tc, Mode::Tcx),
        (Wish::Native, Mode::Native),
        (Wish::Generic, Mode::Generic),
    ];
    for (wish, mode) in wishes {
        let statuses = plane.attach(lab.wanted(wish));
        assert_eq!(modes(&statuses), [mode; 2], "{wish:?}: {statuses:#?}");
        assert!(lab.reaches(), "{wish:?}");
        let pins = std::fs::read_dir(lab.pins("one").join("links")).unwrap().count();
        let each = if mode.is_xdp() { 2 } else { 1 };
        assert_eq!(pins, 2 * each, "{wish:?}: nothing is left at other hooks");
    }
}

#[test]
fn a_wish_for_native_is_granted_with_a_warning() {
    let Some(lab) = Lab::new(PLAIN) else { return };
    let mut plane = lab.start("one");
    let statuses = plane.attach(lab.wanted(Wish::Native));
    assert_eq!(modes(&statuses), [Mode::Native; 2], "{statuses:#?}");
    let said = &statuses[0].reason;
    assert!(said.contains("native as wished, but frames redirected natively to `r1`"), "{said}");
    assert!(said.contains("unfinished checksums"), "{said}");
}

#[test]
fn what_the_driver_says_is_passed_on() {
    let Some(lab) = Lab::new(POLLING) else { return };
    lab.sh("h1", "ip link set eth0 mtu 9000").unwrap();
    let mut plane = lab.start("one");
    let statuses = plane.attach(lab.wanted(Wish::Auto));
    let said = &statuses[0].reason;
    assert!(said.contains("native refused: ERANGE"), "{statuses:#?}");
    assert!(said.contains("MTU"), "the driver's own words: {said}");
    assert_eq!(statuses[0].mode, Mode::Generic, "{said}");
}

#[test]
fn a_foreign_xdp_program_is_left_alone() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut foreign = lab.start("foreign");
    let theirs = foreign.attach(vec![lab.wanted(Wish::Native).remove(0)]);
    assert_eq!(modes(&theirs), [Mode::Native]);

    let mut plane = lab.start("ours");
    let statuses = plane.attach(lab.wanted(Wish::Auto));
    assert_eq!(modes(&statuses), [Mode::Tcx, Mode::Native], "{statuses:#?}");
    let said = &statuses[0].reason;
    assert!(said.contains("native refused: EBUSY"), "{said}");
    assert!(said.contains("`thalweg_xdp` (id"), "{said}");
    assert!(said.contains("someone else is there and left alone"), "{said}");
    assert!(said.contains("generic refused: EEXIST"), "{said}");
    assert!(lab.reaches());

    drop(plane);
    let done = lab.detach("ours");
    assert!(done.left.is_empty(), "{done:?}");
    assert_eq!(modes(&foreign.reconcile()), [Mode::Native]);
    assert!(lab.sh("r", "ip link show r1").unwrap().contains("xdp"), "theirs is still there");
}

#[test]
fn a_link_that_is_not_there_and_one_that_was_made_anew() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    let mut wanted = lab.wanted(Wish::Auto);
    wanted[0].ifindex = 9999;
    let statuses = plane.attach(wanted);
    assert_eq!(modes(&statuses), [Mode::None, Mode::Native], "{statuses:#?}");
    assert_eq!(statuses[0].reason, "there is no link with index 9999");

    let before = lab.index("r2");
    plane.attach(lab.wanted(Wish::Auto));
    lab.sh("r", "ip link del r2").unwrap();
    let gone = plane.reconcile();
    assert_eq!(modes(&gone), [Mode::Native, Mode::None], "{gone:#?}");
    lab.make_link(2, POLLING).unwrap();
    assert_ne!(lab.index("r2"), before);
    let again = plane.attach(lab.wanted(Wish::Auto));
    assert_eq!(modes(&again), [Mode::Native; 2], "{again:#?}");
    let pins = std::fs::read_dir(lab.pins("one").join("links")).unwrap().count();
    assert_eq!(pins, 4, "the pins of the old r2 are gone");
}
