//! Links that fail and come back, with a second way out of the router.

mod lab;

use lab::{Lab, ip};
use std::fs;

/// Two ways to host b: by eth1, and by eth2 while eth1 is down.
fn config(hold: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0, eth1, eth2], holdUp: {hold}}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: lan}}
spec:
  prefix: 10.0.2.0/24
  nextHops:
  - via: 10.0.1.254
    backup: {{via: 10.0.3.254}}
"
    )
}

/// A lab with a second link between router and host b.
fn lab(tag: &str, hold: &str) -> Option<Lab> {
    let mut lab = Lab::new(tag)?;
    let n = &lab.name;
    for line in [
        format!("link add eth2 netns {n}r type veth peer name up2 netns {n}b"),
        format!("-n {n}b addr add 10.0.3.254/24 dev up2"),
        format!("-n {n}r addr add 10.0.3.1/24 dev eth2"),
        format!("-n {n}b link set up2 up"),
        format!("-n {n}r link set eth2 up"),
        format!("-n {n}b route add default via 10.0.3.1 metric 50"),
    ] {
        ip(&line).unwrap();
    }
    fs::write(lab.config(), config(hold)).unwrap();
    lab.start().then_some(lab)
}

/// The link that packets leave through.
fn way(lab: &Lab) -> String {
    let text = lab.text(&["explain", "eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53"]);
    let found = ["eth1", "eth2"].into_iter().find(|link| text.contains(&format!("out {link}\n")));
    found.unwrap_or("none").to_owned()
}

#[test]
fn a_link_that_came_back_waits_its_time() {
    let Some(lab) = lab("h", "1h") else { return };
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    lab.until(|| way(&lab) == "eth1");
    let far = |state: &str| ip(&format!("-n {}b link set dev up {state}", lab.name)).unwrap();
    far("down");
    lab.until(|| way(&lab) == "eth2");
    assert!(lab.pings("10.0.2.7"), "by the backup: {}", lab.log());
    far("up");
    lab.until(|| lab.text(&["get", "links"]).contains("held down, 3"));
    assert!(lab.text(&["describe", "link", "eth1"]).contains("it came up again, 3"));
    let events = lab.text(&["events"]);
    assert!(events.contains("link eth1: up, held down until it stayed up for 3600 s"), "{events}");
    assert_eq!(way(&lab), "eth2");
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    // The files may say otherwise meanwhile.
    fs::write(lab.config(), config("0s")).unwrap();
    lab.until(|| way(&lab) == "eth1");
    assert!(!lab.text(&["get", "links"]).contains("held down"));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let events = lab.text(&["events"]);
    assert!(events.contains(" link eth1: up\n"), "{events}");
}
