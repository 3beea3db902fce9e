//! The very first packets between nodes: none is lost because a link address is not known yet.

use crate::cluster::Cluster;
use crate::{DIRECT, VXLAN};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After what time nobody has waited for a second try of anybody: TCP tries again after a second, and so do those
/// who look for neighbors.
const SOON: Duration = Duration::from_millis(900);
/// Within what time a link address is found once its owner can be heard.
const FOUND: Duration = Duration::from_millis(2500);

/// Words for what of a cluster matters where something was lost.
fn told(cluster: &Cluster) -> String {
    let of = |number| {
        let looks = ip_of(cluster, number, "neigh");
        let drops = cluster.text(number, &["get", "drops", "--all"]);
        let flows = cluster.text(number, &["get", "flows"]);
        format!("node {number}:\n{}{looks}{drops}{flows}", cluster.log(number))
    };
    of(1) + &of(2)
}

fn ip_of(cluster: &Cluster, number: usize, what: &str) -> String {
    crate::cluster::ip(&format!("-n {}{number} {what}", cluster.name)).unwrap_or_else(|error| error)
}

/// The first that anybody says, right after agents are ready, is heard and answered at once.
fn fresh(tag: &str, router: &str) {
    let Some(mut cluster) = Cluster::new(tag, 3) else { return };
    cluster.configure(router, &[1, 2, 3]);
    if !cluster.start() {
        return;
    }
    for pod in ["p1", "p2", "p3"] {
        cluster.serve_datagrams(pod);
    }
    for (host, at, datagrams) in [
        ("c", "192.0.2.1:30080", "192.0.2.1:30081"),
        ("p1", "10.96.0.10:80", "10.96.0.10:81"),
        ("p2", "[fd96::10]:80", "[fd96::10]:81"),
        ("c", "[2001:db8::3]:30080", "[2001:db8::3]:30081"),
    ] {
        let mut heard = BTreeMap::new();
        for _ in 0..8 {
            let start = Instant::now();
            let words = cluster.hears(host, at);
            let took = start.elapsed();
            assert!(words.is_ok() && took < SOON, "{at} {words:?} {took:?}\n{}", told(&cluster));
            *heard.entry(words).or_insert(0) += 1;
            let words = cluster.asks(host, datagrams);
            assert!(words.is_ok(), "{datagrams} {words:?}\n{}", told(&cluster));
        }
    }
}

#[test]
fn nothing_is_lost_once_agents_are_ready() {
    fresh("fa", VXLAN);
    fresh("fb", DIRECT);
    fresh("fc", "  tunnel: {protocol: Ipip, underlay: IPv6}\n");
}

/// A host says something to a service while somebody cannot be found, who is let be found a little later: it is
/// heard.
fn heard_late(cluster: &Cluster, host: &str, at: [&str; 2], show: &[String]) {
    let start = Instant::now();
    let heard = std::thread::scope(|scope| {
        let datagram = scope.spawn(|| cluster.asks(host, at[0]));
        let stream = scope.spawn(|| cluster.hears(host, at[1]));
        std::thread::sleep(Duration::from_millis(300));
        cluster.run(show);
        [datagram, stream].map(|thread| thread.join().unwrap())
    });
    let took = start.elapsed();
    let all = heard.iter().all(|words| words.as_ref().is_ok_and(|words| words.starts_with("p2 ")));
    assert!(all && took < FOUND, "{at:?} {heard:?} {took:?}\n{}", told(cluster));
}

/// How often a node asks for a neighbor before it gives what waits up.
fn patient(cluster: &Cluster, link: &str) {
    let n = &cluster.name;
    cluster.run(&["1", "2"].map(|node| {
        format!(
            "netns exec {n}{node} sysctl -qw net.ipv4.neigh.{link}.mcast_solicit=60 \
         net.ipv6.neigh.{link}.mcast_solicit=60"
        )
    }));
}

/// Lets the switch bring what is for all to some of its ports, or not.
fn flood(cluster: &Cluster, ports: &[&str], word: &str) -> Vec<String> {
    let n = &cluster.name;
    let line = |port| {
        format!("-n {n}w link set {port} type bridge_slave bcast_flood {word} mcast_flood {word}")
    };
    ports.iter().map(line).collect()
}

/// Nothing was dropped for want of a neighbor, and that it waited is counted.
fn waited(cluster: &Cluster) {
    let drops = cluster.text(1, &["get", "drops"]);
    assert!(!drops.contains("unresolved"), "{drops}");
    let all = cluster.text(1, &["get", "drops", "--all"]);
    assert!(all.contains("punt     unresolved"), "{all}");
}

/// Nodes that cannot find each other: what goes into the tunnel waits.
fn node_unknown(tag: &str, protocol: &str, underlay: &str) {
    let Some(mut cluster) = Cluster::new(tag, 2) else { return };
    cluster.configure(&format!("  tunnel: {{protocol: {protocol}, underlay: {underlay}}}\n"), &[2]);
    patient(&cluster, "eth0");
    let [hide, show] = ["off", "on"].map(|word| flood(&cluster, &["p1", "p2"], word));
    cluster.run(&hide);
    if !cluster.start() {
        return;
    }
    cluster.serve_datagrams("p2");
    let known = ip_of(&cluster, 1, "neigh show dev eth0");
    let end = if underlay == "IPv4" { "192.0.2.2 " } else { "2001:db8::2 " };
    let known = known.lines().find(|line| line.starts_with(end)).unwrap_or_default();
    assert!(!known.contains("lladdr"), "{known}");
    heard_late(&cluster, "p1", ["10.96.0.10:81", "10.96.0.10:80"], &show);
    waited(&cluster);
}

#[test]
fn what_is_for_a_node_that_is_not_found_yet_waits() {
    node_unknown("fd", "Vxlan", "IPv4");
    node_unknown("fe", "Geneve", "IPv6");
    node_unknown("ff", "Ipip", "IPv4");
}

/// A client at a link with XDP: only behind it, at tc, can a packet wait.
#[test]
fn what_came_by_xdp_waits_for_a_node_that_is_not_found_yet() {
    let Some(mut cluster) = Cluster::new("fh", 2) else { return };
    let n = cluster.name.clone();
    if let Err(why) = cluster.fit_for_xdp() {
        return crate::cluster::skip(&why);
    }
    cluster.configure(VXLAN, &[2]);
    patient(&cluster, "eth0");
    // The other node asks for nobody: the first would learn of it.
    cluster.run(&[
        format!("-n {n}2 neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0"),
        format!("-n {n}c neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0"),
        format!("-n {n}1 neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0"),
    ]);
    let [hide, show] = ["off", "on"].map(|word| flood(&cluster, &["p2"], word));
    cluster.run(&hide);
    if !cluster.start() {
        return;
    }
    let links = cluster.text(1, &["get", "links"]);
    let uplink = links.lines().find(|line| line.starts_with("eth0")).unwrap_or_default();
    assert!(uplink.contains("xdp"), "{links}");
    cluster.serve_datagrams("p2");
    let known = ip_of(&cluster, 1, "neigh show 192.0.2.2 dev eth0");
    assert!(!known.contains("lladdr"), "{known}");
    heard_late(&cluster, "c", ["192.0.2.1:30081", "192.0.2.1:30080"], &show);
    waited(&cluster);
    assert_eq!(cluster.echoes("c", "192.0.2.1:30007", 100_000), Ok(()));
}

#[test]
fn what_comes_for_a_pod_that_is_not_found_yet_waits() {
    let Some(mut cluster) = Cluster::new("fg", 2) else { return };
    cluster.configure(VXLAN, &[2]);
    patient(&cluster, "pod");
    let n = cluster.name.clone();
    let answers =
        |ignore| vec![format!("netns exec {n}p2 sysctl -qw net.ipv4.conf.all.arp_ignore={ignore}")];
    let address = |word| vec![format!("-n {n}p2 -6 addr {word} fd00:2::2/128 dev eth0 nodad")];
    cluster.run(&answers(8));
    cluster.run(&address("del"));
    if !cluster.start() {
        return;
    }
    cluster.serve_datagrams("p2");
    heard_late(&cluster, "p1", ["10.96.0.10:81", "10.96.0.10:80"], &answers(0));
    heard_late(&cluster, "p1", ["[fd96::10]:81", "[fd96::10]:80"], &address("add"));
    // They go on, both ways.
    assert_eq!(cluster.echoes("p1", "10.96.0.10:7", 100_000), Ok(()));
}
