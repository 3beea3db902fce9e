//! What somebody else does to the kernel is seen by the agent, mended and told.

mod lab;

use lab::{Lab, ip};
use std::fs;
use std::path::PathBuf;
use thalweg_testkit::inventory;

/// Where the agent's pins are.
fn pins(lab: &Lab) -> PathBuf {
    PathBuf::from("/sys/fs/bpf/thalweg").join(&lab.name)
}

/// The pinned program at XDP.
fn program(lab: &Lab) -> PathBuf {
    let names = fs::read_dir(pins(lab)).unwrap().map(|entry| entry.unwrap().path());
    let is_version = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('v');
    names.filter(is_version).last().unwrap().join("thalweg_xdp")
}

fn start(lab: &mut Lab, every: &str) -> bool {
    lab.start_with(|command| {
        command.args(["--audit", every]);
    })
}

fn index(lab: &Lab, link: &str) -> u32 {
    let line = ip(&format!("-n {}r -o link show {link}", lab.name)).unwrap();
    line.split(':').next().unwrap().trim().parse().unwrap()
}

/// Says that a link is down, where only the agent may.
fn break_state(lab: &Lab) {
    inventory::edit(&program(lab), "states", index(lab, "eth1"), 0).unwrap();
}

#[test]
fn what_was_changed_by_somebody_else_is_mended_and_told() {
    let Some(mut lab) = Lab::new("audit") else { return };
    if !start(&mut lab, "0") {
        return;
    }
    lab.until(|| lab.pings("10.0.2.7"));
    let clean = lab.ask(&["audit"]);
    let text = String::from_utf8_lossy(&clean.stdout).into_owned();
    assert!(clean.status.success() && text.starts_with("as the agent left it: "), "{text}");

    break_state(&lab);
    assert!(!lab.pings_once("10.0.2.7"), "the edit is in force");
    let found = lab.ask(&["audit"]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(text.starts_with("mended: table states: octets 0 to"), "{text}");
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let history = lab.text(&["history"]);
    assert!(history.contains("audit"), "{history}");
    let events = lab.text(&["events"]);
    assert!(events.contains("mended: table states"), "{events}");

    let link = fs::read_dir(pins(&lab).join("links")).unwrap().next().unwrap().unwrap();
    fs::remove_file(link.path()).unwrap();
    lab.until(|| lab.text(&["audit"]).starts_with("mended: link eth"));
    assert!(lab.ask(&["audit"]).status.success());
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());

    fs::remove_dir_all(pins(&lab)).unwrap();
    let text = lab.text(&["audit"]);
    assert!(text.contains("mended: ") && text.contains("not there any more"), "{text}");
    lab.until(|| lab.ask(&["audit"]).status.success());
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    // What was mended outlives the agent, as everything does.
    lab.end("-KILL");
    assert!(lab.pings("10.0.2.7"));

    // And without being asked.
    assert!(start(&mut lab, "1s"));
    lab.until(|| lab.pings_once("10.0.2.7"));
    break_state(&lab);
    lab.until(|| lab.log().contains("audit: mended: table states"));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    lab.end("-TERM");
    assert!(lab.ask(&["detach"]).status.success());
    assert!(!pins(&lab).exists());
}

#[test]
fn interfaces_that_are_renamed_or_made_anew_are_followed() {
    let Some(mut lab) = Lab::new("anew") else { return };
    if !lab.start() {
        return;
    }
    lab.until(|| lab.pings("10.0.2.7"));
    let n = lab.name.clone();
    let hooked = |lab: &Lab, link: &str| {
        let links = lab.text(&["get", "links", "-o", "json"]);
        let links: serde_json::Value = serde_json::from_str(&links).unwrap();
        let links = links.as_array().cloned().unwrap_or_default();
        links.iter().any(|view| view["name"] == link && !view["hook"].is_null())
    };
    let hooked = |link| hooked(&lab, link);
    // Another name is another link: the files do not speak of it.
    ip(&format!("-n {n}r link set eth1 down")).unwrap();
    ip(&format!("-n {n}r link set eth1 name other")).unwrap();
    lab.until(|| lab.text(&["events"]).contains("link other: renamed, it was eth1"));
    lab.until(|| !hooked("other"));
    ip(&format!("-n {n}r link set other name eth1")).unwrap();
    ip(&format!("-n {n}r link set eth1 up")).unwrap();
    lab.until(|| hooked("eth1") && lab.pings_once("10.0.2.7"));
    // The name comes back with another index.
    ip(&format!("-n {n}r link del eth1")).unwrap();
    lab.until(|| !hooked("eth1"));
    for line in [
        format!("link add eth1 netns {n}r type veth peer name up netns {n}b"),
        format!("-n {n}b addr add 10.0.1.254/24 dev up"),
        format!("-n {n}r addr add 10.0.1.1/24 dev eth1"),
        format!("-n {n}b link set dev up up"),
        format!("-n {n}r link set eth1 up"),
        format!("-n {n}b route add default via 10.0.1.1"),
    ] {
        ip(&line).unwrap();
    }
    lab.until(|| hooked("eth1") && lab.pings_once("10.0.2.7"));
    let before = lab.forwarded();
    assert!(lab.pings("10.0.2.7"));
    assert!(lab.forwarded() >= before + 2, "by our hooks");
    assert!(lab.ask(&["audit"]).status.success(), "{}", lab.text(&["audit"]));
}
