//! Detaching takes out what is ours and nothing else.

use crate::lab::{Lab, Setup, modes};
use thalweg_xdp::{Mode, Wish};

const POLLING: Setup = Setup { native: true };

#[test]
fn nothing_is_left_after_detaching() {
    let Some(lab) = Lab::new(POLLING) else { return };
    for wish in [Wish::Native, Wish::Generic, Wish::Tc] {
        let mut plane = lab.start("one");
        plane.attach(lab.wanted(wish));
        drop(plane);
        assert!(lab.reaches(), "{wish:?}: the agent is gone, forwarding goes on");
        let done = lab.detach("one");
        assert!(done.left.is_empty(), "{done:?}");
        assert!(done.removed[0].contains("of link `r1`"), "{done:?}");
        assert!(!lab.reaches(), "{wish:?}");
        assert_eq!(lab.left_behind(), [""; 0], "{wish:?}: {done:?}");
        assert!(!lab.sh("r", "ip link show").unwrap().contains("xdp"), "{wish:?}");
        assert_eq!(lab.detach("one").removed, [""; 0], "{wish:?}: once more");
    }
}

#[test]
fn foreign_filters_and_their_qdisc_stay() {
    let Some(lab) = Lab::new(POLLING) else { return };
    // On r2 the qdisc is someone else's; on r1 it is ours, but someone adds a filter to it.
    lab.sh("r", "tc qdisc add dev r2 clsact").unwrap();
    let mut plane = lab.start_with("one", false);
    assert_eq!(modes(&plane.attach(lab.wanted(Wish::Tc))), [Mode::Clsact; 2]);
    assert!(lab.reaches());
    let filter = "tc filter add dev r1 egress protocol ip prio 7 u32 match u32 0 0";
    if let Err(why) = lab.sh("r", filter) {
        return crate::lab::skip(&why);
    }
    drop(plane);
    // Another namespace is no obstacle.
    lab.enter("h1");
    let done = lab.detach("one");
    assert!(done.left.is_empty(), "{done:?}");
    assert!(!lab.reaches());
    for link in ["r1", "r2"] {
        let ours = lab.sh("r", &format!("tc filter show dev {link} ingress")).unwrap();
        assert_eq!(ours, "", "{link}");
        let qdisc = lab.sh("r", &format!("tc qdisc show dev {link} clsact")).unwrap();
        assert!(qdisc.contains("clsact"), "{link}");
    }
    assert!(lab.sh("r", "tc filter show dev r1 egress").unwrap().contains("pref 7"));
    assert_eq!(lab.left_behind(), [""; 0], "{done:?}");
}

#[test]
fn links_no_longer_wanted_are_left() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start_with("one", false);
    for wish in [Wish::Native, Wish::Tc] {
        plane.attach(lab.wanted(wish));
        assert!(lab.reaches());
        plane.attach(lab.wanted(wish).split_off(1));
        assert!(!lab.reaches());
        assert!(!lab.sh("r", "ip link show r1").unwrap().contains("xdp"));
        assert_eq!(lab.sh("r", "tc qdisc show dev r1 clsact").unwrap(), "");
    }
}
