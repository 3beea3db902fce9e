//! What somebody else does to our tables, hooks and pins is seen and mended.

use crate::lab::{Lab, Setup, modes, run};
use crate::stream::during;
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_xdp::{Mode, Wish, XdpPlane};

const POLLING: Setup = Setup { native: true };

fn is_clean(plane: &XdpPlane) {
    let audit = plane.audit();
    assert!(audit.octets > 1 << 20 && audit.hooks >= 2, "{audit:?}");
    assert!(audit.tables.is_empty() && audit.lost.is_empty() && audit.pins.is_none(), "{audit:?}");
}

#[test]
fn a_table_that_somebody_wrote_into_is_filled_anew_without_a_loss() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    plane.attach(lab.wanted(Wish::Native));
    assert!(lab.reaches());
    is_clean(&plane);
    // The route to 10.2.0.0/24, in both versions.
    let cell = (10 << 11 | 2 << 3) * 2;
    let words = plane.writer().memory().clone();
    let words = words.words(TableId::Fib4Root);
    let root = |at: usize| &words[at];
    assert_ne!(root(cell).load(Ordering::Relaxed) | root(cell + 1).load(Ordering::Relaxed), 0);
    (0..2).for_each(|version| root(cell + version).store(0, Ordering::Relaxed));
    assert!(!lab.reaches(), "the edit is in force");
    let audit = plane.audit();
    assert_eq!(audit.tables.len(), 1, "{audit:?}");
    assert!(audit.tables[0].starts_with("table fib4_root: octets"), "{audit:?}");
    plane.renew(thalweg_bpf_object::object(), &lab.image()).unwrap();
    let lost = plane.audit().lost;
    assert_eq!(lost.len(), 4, "the hooks still hold the programs before: {lost:?}");
    plane.reconcile();
    is_clean(&plane);
    assert!(lab.reaches());
    // And once more where nothing is wrong: nobody notices.
    let count = during(&lab, || {
        plane.renew(thalweg_bpf_object::object(), &lab.image()).unwrap();
        plane.reconcile();
    });
    assert!(count.sent > 500 && count.lost == 0, "{count:?}");
}

#[test]
fn a_program_that_was_taken_off_comes_back() {
    let Some(lab) = Lab::new(POLLING) else { return };
    for wish in [Wish::Native, Wish::Generic, Wish::Tc] {
        let mut plane = lab.start("one");
        let before = plane.attach(lab.wanted(wish));
        is_clean(&plane);
        let name = match wish {
            Wish::Native => "native",
            Wish::Generic => "generic",
            _ => "tcx",
        };
        let pin = lab.pins("one").join(format!("links/{}-{name}", lab.index("r1")));
        std::fs::remove_file(&pin).unwrap();
        // The last reference is gone; the kernel takes the program off some time later.
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            !plane.audit().lost.is_empty()
        });
        assert!(gone, "{wish:?}");
        assert!(plane.audit().lost[0].starts_with("link r1: the program at"), "{wish:?}");
        assert_eq!(modes(&plane.reconcile()), modes(&before), "{wish:?}");
        is_clean(&plane);
        assert!(lab.reaches(), "{wish:?}");
    }
}

#[test]
fn a_filter_that_was_deleted_comes_back() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start_with("one", false);
    assert_eq!(modes(&plane.attach(lab.wanted(Wish::Tc))), [Mode::Clsact; 2]);
    is_clean(&plane);
    lab.sh("r", "tc filter del dev r1 ingress").unwrap();
    assert_eq!(plane.audit().lost, ["link r1: the program at tc(clsact) is gone"]);
    plane.reconcile();
    is_clean(&plane);
    assert!(lab.reaches());
    lab.sh("r", "tc qdisc del dev r1 clsact").unwrap();
    plane.reconcile();
    is_clean(&plane);
    assert!(lab.reaches());
}

#[test]
fn pins_come_back_when_the_file_system_was_unmounted_or_emptied() {
    let Some(lab) = Lab::new(POLLING) else { return };
    let mut plane = lab.start("one");
    plane.attach(lab.wanted(Wish::Native));
    let bpffs = lab.pins("one").parent().unwrap().parent().unwrap().to_owned();
    let count = during(&lab, || {
        run(&format!("umount -l {}", bpffs.display())).unwrap();
        assert!(plane.audit().pins.unwrap().contains("is not there any more"));
        assert!(plane.restore_pins(false).is_err(), "there is no BPF file system");
        run(&format!("mount -t bpf bpf {}", bpffs.display())).unwrap();
        assert!(plane.restore_pins(false).unwrap());
        is_clean(&plane);
        assert!(!plane.restore_pins(false).unwrap(), "once is enough");
    });
    assert!(count.sent > 100 && count.lost == 0, "{count:?}");
    // What was taken over holds without the plane.
    drop(plane);
    assert!(lab.reaches());
    let mut plane = lab.start("one");
    plane.attach(lab.wanted(Wish::Native));
    std::fs::remove_dir_all(lab.pins("one")).unwrap();
    assert!(plane.restore_pins(false).unwrap());
    plane.reconcile();
    is_clean(&plane);
    assert!(lab.reaches());
    let done = thalweg_xdp::detach(&lab.pins("one"));
    assert!(done.is_err(), "the plane holds it");
    drop(plane);
    lab.detach("one");
    assert_eq!(lab.left_behind(), [""; 0]);
}
