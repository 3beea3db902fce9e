//! The program between network namespaces: real links, real packets, real signals.

mod lab;

use lab::{CONFIG, Lab, ip};
use std::fs;

#[test]
fn routes_of_files_and_of_the_kernel_are_forwarded_by() {
    let Some(mut lab) = Lab::new("f") else { return };
    if !lab.start() {
        return;
    }
    let before = lab.forwarded();
    assert!(lab.pings("10.0.2.7"), "a route of the files: {}", lab.log());
    assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    assert!(!lab.pings_once("10.0.4.7"), "nobody knows this way yet");
    ip(&format!("-n {}r route add 10.0.4.0/24 via 10.0.1.254", lab.name)).unwrap();
    lab.until(|| lab.ask(&["get", "routes", "10.0.4.7"]).status.success());
    let before = lab.forwarded();
    assert!(lab.pings("10.0.4.7"), "a route of the kernel: {}", lab.log());
    assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    let text = lab.text(&["explain", "eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53"]);
    assert!(text.contains("forward route"), "{text}");
    // The file changes: the way is gone.
    fs::write(lab.config(), CONFIG.replace("10.0.2.0/24", "10.0.9.0/24")).unwrap();
    lab.until(|| !lab.ask(&["get", "routes", "10.0.2.7"]).status.success());
    assert!(!lab.pings_once("10.0.2.7"));
    let text = lab.text(&["get", "drops"]);
    assert!(text.contains("no-route"), "{text}");
}

/// An address with a route to it alone, as CNI plugins give pods, is its own next hop.
#[test]
fn routes_of_the_kernel_to_one_address_need_no_gateway() {
    let Some(mut lab) = Lab::new("o") else { return };
    if !lab.start() {
        return;
    }
    for line in [
        "b addr add 10.0.5.9/32 dev lo",
        "b addr add 2001:db8:5::9/128 dev up nodad",
        "r route add 10.0.5.9/32 dev eth1 proto static",
        "r route add 2001:db8:5::9/128 dev eth1 proto static",
    ] {
        ip(&format!("-n {}{line}", lab.name)).unwrap();
    }
    let way = |packet: &str| lab.text(&["explain", &format!("eth0 < {packet} udp 4 > 53")]);
    lab.until(|| {
        lab.pings_once("10.0.5.9") && way("ip 10.0.0.9 > 10.0.5.9").contains("out eth1\n")
    });
    let before = lab.forwarded();
    assert!(lab.pings("10.0.5.9"), "{}", lab.log());
    assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    // Whoever speaks of the neighbor first has its link address learned.
    let ask = format!("netns exec {}r ping -c 1 -W 1 2001:db8:5::9", lab.name);
    lab.until(|| {
        let _ = ip(&ask);
        way("ip6 2001:db8::9 > 2001:db8:5::9").contains("out eth1\n")
    });
}

/// The same by one next hop object of the kernel for several addresses, which names a link alone.
#[test]
fn routes_by_a_next_hop_object_to_one_address_need_no_gateway() {
    let Some(mut lab) = Lab::new("n") else { return };
    let object = format!("-n {}r nexthop add id 1 dev eth1", lab.name);
    if let Err(why) = ip(&object) {
        return lab::skip(&why);
    }
    if !lab.start() {
        return;
    }
    for line in [
        "b addr add 10.0.5.9/32 dev lo",
        "b addr add 10.0.5.10/32 dev lo",
        "r route add 10.0.5.9/32 nhid 1",
        "r route add 10.0.5.10/32 nhid 1",
    ] {
        ip(&format!("-n {}{line}", lab.name)).unwrap();
    }
    let way = |to: &str| lab.text(&["explain", &format!("eth0 < ip 10.0.0.9 > {to} udp 4 > 53")]);
    for to in ["10.0.5.9", "10.0.5.10"] {
        lab.until(|| lab.pings_once(to) && way(to).contains("out eth1\n"));
        let before = lab.forwarded();
        assert!(lab.pings(to), "{}", lab.log());
        assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    }
}

/// Row 13 of the checklist on real sockets: the kernel fragments what we hand it, by a route that files
/// alone have.
#[test]
fn packets_too_large_for_a_route_of_files_are_fragmented() {
    let Some(mut lab) = Lab::new("m") else { return };
    for line in ["r link set eth1 mtu 1000", "b link set dev up mtu 1000"] {
        ip(&format!("-n {}{line}", lab.name)).unwrap();
    }
    if !lab.start() {
        return;
    }
    let ours = || ip(&format!("-n {}r route show proto 116", lab.name)).unwrap();
    lab.until(|| ours().contains("10.0.2.0/24 via 10.0.1.254 dev eth1"));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let large = format!("netns exec {}a ping -c 3 -i 0.05 -W 1 -s 1400 -M", lab.name);
    assert!(ip(&format!("{large} dont 10.0.2.7")).is_ok(), "{}", lab.text(&["get", "drops"]));
    assert!(ip(&format!("{large} do 10.0.2.7")).is_err(), "must not be fragmented");
    let drops = lab.text(&["get", "drops", "--all"]);
    assert!(drops.contains("needs-fragmentation") && drops.contains("too-big"), "{drops}");
    let routes = lab.text(&["get", "routes", "10.0.2.0/24"]);
    assert_eq!(routes.matches("10.0.2.0/24").count(), 1, "not learned back: {routes}");
    fs::write(lab.config(), CONFIG.replace("10.0.2.0/24", "10.0.9.0/24")).unwrap();
    lab.until(|| ours().contains("10.0.9.0/24") && !ours().contains("10.0.2.0/24"));
}

#[test]
fn packets_follow_an_apply_and_its_end() {
    let Some(mut lab) = Lab::new("c") else { return };
    if !lab.start() {
        return;
    }
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let new = lab.dir.path().join("new.yaml");
    fs::write(&new, CONFIG.replace("10.0.2.0/24", "10.0.4.0/24")).unwrap();
    let new = new.display().to_string();
    let before = lab.text(&["status", "-o", "json"]);
    // The file is another than the agent's by name: it takes its place all the same.
    let applied = lab.ask(&["apply", "-f", &new, "--confirm", "6s"]);
    let said = String::from_utf8_lossy(&applied.stdout).into_owned();
    assert!(applied.status.success(), "{said}{}{before}", String::from_utf8_lossy(&applied.stderr));
    assert!(lab.pings("10.0.4.7") && !lab.pings_once("10.0.2.7"), "{}", lab.log());
    assert!(fs::exists(lab.dir.path().join("etc/new.yaml")).unwrap());
    lab.until(|| lab.text(&["history"]).contains("not confirmed within 6 s"));
    assert!(lab.pings("10.0.2.7") && !lab.pings_once("10.0.4.7"), "{}", lab.log());
    assert!(lab.config().exists());
    let events = lab.text(&["events", "--severity", "info"]);
    assert!(events.contains("hook of eth0: attached at"), "{events}");
    ip(&format!("-n {}r link set eth1 down", lab.name)).unwrap();
    lab.until(|| lab.text(&["events"]).contains("warning link eth1: down"));
}

#[test]
fn packets_go_on_when_the_agent_dies_within_a_change() {
    let Some(mut lab) = Lab::new("k") else { return };
    if !lab.start() {
        return;
    }
    let moved = CONFIG.replace("10.0.2.0/24", "10.0.4.0/24");
    let new = lab.dir.path().join("new.yaml");
    let mut here = true;
    // The first plan and the first hooks are those of the start.
    for (fault, dies, moves) in [
        ("install-write-new:1", true, false),
        ("install-replace:1", true, true),
        ("plan-before:2", true, true),
        ("plan-after:2", true, true),
        ("history-append:9", false, true),
    ] {
        lab.end("-TERM");
        assert!(
            lab.start_with(|command| {
                command.env("THALWEG_FAULT", fault);
            }),
            "{fault}: {}",
            lab.log()
        );
        fs::write(&new, if here { &moved } else { CONFIG }).unwrap();
        let renamed = lab.dir.path().join("config.yaml");
        fs::rename(&new, &renamed).unwrap();
        let applied = lab.ask(&["apply", "-f", &renamed.display().to_string()]);
        assert_eq!(applied.status.success(), !dies, "{fault}: {}", lab.log());
        let (old, new) = if here { ("10.0.2.7", "10.0.4.7") } else { ("10.0.4.7", "10.0.2.7") };
        let both = (lab.pings_once(old), lab.pings_once(new));
        assert!(both.0 != both.1, "{fault}: forwarding goes on by one of them, not {both:?}");
        lab.end("-KILL");
        assert!(lab.start(), "{fault}: {}", lab.log());
        here ^= moves;
        let (there, gone) = if here { ("10.0.2.7", "10.0.4.7") } else { ("10.0.4.7", "10.0.2.7") };
        assert!(lab.pings(there) && !lab.pings_once(gone), "{fault}: {}", lab.log());
        assert_eq!(lab.ask(&["status"]).status.code(), Some(0), "{}", lab.text(&["status"]));
        let names: Vec<_> = fs::read_dir(lab.dir.path().join("etc")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{fault}: {names:?}");
    }
}

#[test]
fn forwarding_outlives_the_agent_and_detach_takes_it_out() {
    let Some(mut lab) = Lab::new("o") else { return };
    if !lab.start() {
        return;
    }
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let line = ["detach"];
    assert_eq!(lab.ask(&line).status.code(), Some(1), "an agent runs");
    lab.end("-KILL");
    assert_eq!(lab.ask(&["status"]).status.code(), Some(3));
    assert!(lab.pings_once("10.0.2.7"), "killed, and forwarding goes on");
    assert!(lab.start(), "it comes back: {}", lab.log());
    assert!(lab.pings_once("10.0.2.7"));
    lab.end("-TERM");
    assert!(lab.log().contains("forwarding goes on"), "{}", lab.log());
    assert!(lab.pings_once("10.0.2.7"), "stopped, and forwarding goes on");
    let text = lab.text(&line);
    assert!(text.contains("removed"), "{text}");
    assert!(!lab.pings_once("10.0.2.7"), "the kernel has no such route");
    let text = lab.text(&line);
    assert!(text.contains("nothing of instance"), "{text}");
}
