//! Another version, whose tables are laid out differently, takes over; and back.

use crate::kill::{End, ONE, alone, dies, kills, leaves, recovers, under_load};
use crate::lab::Lab;
use thalweg_abi::LAYOUT;
use thalweg_agent::fault;
use thalweg_testkit::inventory;

/// The names of an instance whose programs are of a layout.
fn of_layout(names: &[String], layout: u32) -> Vec<String> {
    let own = format!("/v{LAYOUT}");
    let renamed = |name: &String| name.replace(&own, &format!("/v{layout}"));
    names.iter().map(renamed).collect()
}

#[test]
fn versions_take_over_from_each_other_and_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.next_version() {
        return;
    }
    lab.this_version();
    if !lab.starts() {
        return;
    }
    let this = lab.names();
    let next = of_layout(&this, LAYOUT + 1);
    assert!(this != next, "{this:?}");
    let before = lab.forwarded();
    let tally = under_load(&mut lab, "upgrades and ways back", |lab| {
        for _ in 0..kills().div_ceil(10) {
            lab.next_version();
            recovers(lab, &next);
            lab.this_version();
            recovers(lab, &this);
        }
    });
    assert!(lab.forwarded() >= before + tally.sent, "the counters go on");
    assert!(!lab.log().contains("begin anew"), "{}", lab.log());
    let said = |line: &[&str]| {
        String::from_utf8_lossy(&lab.command(line).output().unwrap().stdout).into_owned()
    };
    let events = said(&["events"]);
    let last = "agent: took over from generation ";
    assert!(events.contains(last) && events.contains("packets went on"), "{events}");
    let history = said(&["history", "--limit", "0"]);
    assert!(history.contains("took over from generation "), "{history}");
    leaves(&mut lab);
}

#[test]
fn kills_in_an_upgrade_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.next_version() {
        return;
    }
    lab.this_version();
    if !lab.starts() {
        return;
    }
    let this = lab.names();
    let next = of_layout(&this, LAYOUT + 1);
    let stale = lab.path("bpf").join("thalweg").join(&lab.name).join(format!("v{}", LAYOUT + 1));
    under_load(&mut lab, "kills in an upgrade", |lab| {
        for point in fault::LAYOUT {
            lab.kill();
            if *point == "counters-renewed" {
                std::fs::create_dir(&stale).unwrap();
                inventory::pin_other(&stale.join("counters")).unwrap();
            }
            lab.next_version();
            assert_eq!(dies(lab, point, 1, false), End::Starting, "{point}");
            // Once the next version comes up, once this one goes on.
            if *point == "counters-carried" {
                recovers(lab, &next);
            }
            lab.this_version();
            recovers(lab, &this);
        }
        for point in ["update-before", "update-after", "program-aside"] {
            lab.kill();
            lab.next_version();
            assert_eq!(dies(lab, point, 2, false), End::Starting, "{point}");
            lab.this_version();
            recovers(lab, &this);
        }
    });
    assert_eq!(lab.inventory(), ONE);
    leaves(&mut lab);
}

#[test]
fn counters_that_cannot_be_read_begin_anew_and_say_so() {
    let Some(mut lab) = Lab::new("Native") else { return };
    let next = format!("v{}", LAYOUT + 1);
    let dir = lab.path("bpf").join("thalweg").join(&lab.name).join(&next);
    std::fs::create_dir_all(&dir).unwrap();
    inventory::pin_other(&dir.join("counters")).unwrap();
    if !lab.starts() {
        return;
    }
    assert!(lab.log().contains(&format!("{next}/counters: counters begin anew")), "{}", lab.log());
    let names = lab.names();
    assert!(names.iter().all(|name| !name.contains(&format!("/{next}"))), "{names:?}");
    alone(&lab, &names);
    leaves(&mut lab);
}
