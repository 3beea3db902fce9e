//! A cluster of two and three nodes with real sockets: packets for a backend elsewhere go there through a
//! tunnel, with the client's address untouched.

mod cluster;
mod first;
#[path = "../lab/mod.rs"]
mod lab;

use cluster::{Cluster, HOST, ip};
use std::collections::BTreeSet;

const VXLAN: &str = "  tunnel: {protocol: Vxlan}\n";
const DIRECT: &str = "  tunnel: {protocol: Geneve}\n  services: {dsr: true}\n";
/// Octets that fill many segments in both directions.
const MUCH: usize = 3_000_000;

/// The words of those who were heard. Where nobody has spoken yet, the kernel may still be looking for
/// neighbors: it gives up a first packet then, and says so.
fn who(cluster: &Cluster, host: &str, at: &str, count: u32) -> BTreeSet<String> {
    let start = std::time::Instant::now();
    let looks = |error: String| error.contains("No route to host");
    while cluster.hears(host, at).is_err_and(looks) && start.elapsed().as_secs() < 5 {}
    cluster.many(host, at, count).into_keys().collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_backend_on_another_node_sees_the_client() {
    let Some(mut cluster) = Cluster::new("a", 2) else { return };
    cluster.configure(VXLAN, &[2]);
    if !cluster.start() {
        return;
    }
    assert_eq!(who(&cluster, "c", "192.0.2.1:30080", 10), set(&["p2 saw 192.0.2.9"]));
    assert_eq!(who(&cluster, "p1", "10.96.0.10:80", 10), set(&["p2 saw 10.1.1.2"]));
    assert_eq!(who(&cluster, "p1", "10.1.2.2:8080", 3), set(&["p2 saw 10.1.1.2"]));
    let routes = cluster.text(1, &["get", "routes"]);
    let wished = "tunnel vxlan to 192.0.2.2 vni 1 port 4789";
    assert!(routes.contains("10.1.2.0/24") && routes.contains(wished), "{routes}");
    let hops = cluster.text(1, &["get", "nexthops"]);
    assert!(hops.contains(wished), "{hops}");
    let told = cluster.text(1, &["explain", "eth0 < ip 192.0.2.9 > 192.0.2.1 tcp 5 > 30080 syn"]);
    assert!(told.contains(wished) && told.contains("backend 10.1.2.2:8080"), "{told}");
    let inner = cluster.text(2, &["get", "flows"]);
    assert!(inner.contains("10.1.2.2:8080"), "{inner}");
}

/// All protocols, each family within each.
fn mixtures(tag: &str, protocol: &str, underlay: &str) {
    let Some(mut cluster) = Cluster::new(tag, 2) else { return };
    let router = format!("  tunnel: {{protocol: {protocol}, underlay: {underlay}}}\n");
    cluster.configure(&router, &[2]);
    if !cluster.start() {
        return;
    }
    for (host, at, wished) in [
        ("c", "192.0.2.1:30080", "p2 saw 192.0.2.9"),
        ("c", "[2001:db8::1]:30080", "p2 saw 2001:db8::9"),
        ("p1", "10.96.0.10:80", "p2 saw 10.1.1.2"),
        ("p1", "[fd96::10]:80", "p2 saw fd00:1::2"),
    ] {
        assert_eq!(who(&cluster, host, at, 5), set(&[wished]), "{protocol} {underlay} {at}");
    }
    for (host, at) in [
        ("c", "192.0.2.1:30007"),
        ("c", "[2001:db8::1]:30007"),
        ("p1", "10.96.0.10:7"),
        ("p1", "[fd96::10]:7"),
    ] {
        assert_eq!(cluster.echoes(host, at, MUCH), Ok(()), "{protocol} {underlay} {host} {at}");
    }
}

#[test]
fn vxlan_carries_both_families_in_both() {
    mixtures("va", "Vxlan", "IPv4");
    mixtures("vb", "Vxlan", "IPv6");
}

#[test]
fn geneve_carries_both_families_in_both() {
    mixtures("ga", "Geneve", "IPv4");
    mixtures("gb", "Geneve", "IPv6");
}

#[test]
fn ip_within_ip_carries_both_families_in_both() {
    mixtures("ia", "Ipip", "IPv4");
    mixtures("ib", "Ipip", "IPv6");
}

#[test]
fn gue_carries_both_families_in_both() {
    mixtures("ua", "Gue", "IPv4");
    mixtures("ub", "Gue", "IPv6");
}

#[test]
fn three_nodes_share_a_service() {
    let Some(mut cluster) = Cluster::new("s", 3) else { return };
    cluster.configure(VXLAN, &[1, 2, 3]);
    if !cluster.start() {
        return;
    }
    let all = ["p1 saw 192.0.2.9", "p2 saw 192.0.2.9", "p3 saw 192.0.2.9"];
    for at in ["192.0.2.1:30080", "192.0.2.2:30080", "192.0.2.3:30080"] {
        assert_eq!(who(&cluster, "c", at, 16), set(&all), "{at}");
    }
}

#[test]
fn a_backend_leaves_under_load_and_every_request_has_an_answer() {
    let Some(mut cluster) = Cluster::new("t", 3) else { return };
    cluster.configure(VXLAN, &[1, 2, 3]);
    if !cluster.start() {
        return;
    }
    let all = ["p1 saw 192.0.2.9", "p2 saw 192.0.2.9", "p3 saw 192.0.2.9"];
    let mut heard = BTreeSet::new();
    for round in 0..4 {
        cluster.configure(VXLAN, if round % 2 == 0 { &[1, 2] } else { &[1, 2, 3] });
        heard.append(&mut who(&cluster, "c", "192.0.2.1:30080", 60));
    }
    assert_eq!(heard, set(&all));
}

/// What a host's own stack says goes through tunnels like what its pods say, and so do the answers of pods.
fn hosts(tag: &str, protocol: &str, underlay: &str) {
    let Some(mut cluster) = Cluster::new(tag, 2) else { return };
    let router = format!("  tunnel: {{protocol: {protocol}, underlay: {underlay}}}\n");
    cluster.configure(&router, &[2]);
    if !cluster.start() {
        return;
    }
    cluster.serve("1");
    let start = std::time::Instant::now();
    let routes = |family: &str| {
        ip(&format!("-n {}1 {family} route show proto 116 dev thalweg0", cluster.name))
    };
    while ["-4", "-6"].map(|family| routes(family).is_ok_and(|text| !text.is_empty())) != [true; 2]
    {
        assert!(start.elapsed().as_secs() < 10, "{}", cluster.log(1));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for (host, at, wished) in [
        ("1", "10.1.2.2:8080", "p2 saw 192.0.2.1"),
        ("1", "[fd00:2::2]:8080", "p2 saw 2001:db8::1"),
        ("p2", "192.0.2.1:8080", "1 saw 10.1.2.2"),
        ("p2", "[2001:db8::1]:8080", "1 saw fd00:2::2"),
    ] {
        assert_eq!(who(&cluster, host, at, 5), set(&[wished]), "{protocol} {underlay} {at}");
    }
    for (host, at) in [
        ("1", "10.1.2.2:8007"),
        ("1", "[fd00:2::2]:8007"),
        ("p2", "192.0.2.1:8007"),
        ("p2", "[2001:db8::1]:8007"),
    ] {
        assert_eq!(cluster.echoes(host, at, MUCH), Ok(()), "{protocol} {underlay} {host} {at}");
    }
    let told = routes("-4").unwrap();
    assert!(told.contains("10.1.2.0/24") && told.contains("src 192.0.2.1"), "{told}");
    assert!(told.contains("mtu 14"), "{told}");
    // Without the agent, all goes on; what it made goes with the rest of its things.
    cluster.kill(1);
    assert_eq!(who(&cluster, "1", "10.1.2.2:8080", 5), set(&["p2 saw 192.0.2.1"]));
    let gone = cluster.text(1, &["detach"]);
    assert!(gone.contains("interface thalweg0"), "{gone}");
    assert!(ip(&format!("-n {}1 link show thalweg0", cluster.name)).is_err());
}

#[test]
fn hosts_and_pods_of_other_nodes_reach_each_other() {
    hosts("ha", "Vxlan", "IPv4");
    hosts("hb", "Ipip", "IPv6");
}

#[test]
fn nobody_outside_puts_packets_into_the_cluster() {
    let Some(mut cluster) = Cluster::new("x", 2) else { return };
    cluster.configure(VXLAN, &[2]);
    if !cluster.start() {
        return;
    }
    let n = &cluster.name;
    cluster.run(&[
        format!(
            "-n {n}c link add vx address 02:00:c0:00:02:09 type vxlan id 1 dstport 4789 remote \
             192.0.2.2 local 192.0.2.9 dev eth0"
        ),
        format!("-n {n}c link set vx up"),
        format!("-n {n}c route add 10.1.2.0/24 dev vx src 192.0.2.9"),
        format!("-n {n}c neigh add 10.1.2.2 lladdr 02:00:c0:00:02:02 dev vx"),
    ]);
    assert!(ip(&format!("netns exec {n}c ping -c 2 -W 1 10.1.2.2")).is_err());
    let drops = cluster.text(2, &["get", "drops"]);
    assert!(drops.contains("strange-tunnel"), "{drops}");
}

#[test]
fn answers_go_straight_to_the_client_where_that_is_wished() {
    let Some(mut cluster) = Cluster::new("d", 2) else { return };
    cluster.configure(DIRECT, &[2]);
    if !cluster.start() {
        return;
    }
    for (at, seen) in
        [("192.0.2.1:30080", "p2 saw 192.0.2.9"), ("[2001:db8::1]:30080", "p2 saw 2001:db8::9")]
    {
        assert_eq!(who(&cluster, "c", at, 10), set(&[seen]), "{at}");
    }
    assert_eq!(cluster.echoes("c", "192.0.2.1:30007", MUCH), Ok(()));
    assert_eq!(cluster.echoes("c", "[2001:db8::1]:30007", MUCH), Ok(()));
    // No answer has come by the entry node; the backend's node has both directions.
    let [entry, backend] = [1, 2].map(|number| cluster.text(number, &["get", "flows"]));
    assert!(entry.contains("> 10.1.2.2:8080") && !entry.contains("192.0.2.1:30080 >"), "{entry}");
    assert!(backend.contains("192.0.2.1:30080 >"), "{backend}");
    // Workloads hear answers by the way they came.
    assert_eq!(who(&cluster, "p1", "192.0.2.1:30080", 5), set(&["p2 saw 10.1.1.2"]));
    assert_eq!(who(&cluster, "p1", "10.96.0.10:80", 5), set(&["p2 saw 10.1.1.2"]));
    // The other way at the next packet, once it is wished; connections go on.
    cluster.configure(VXLAN, &[2]);
    assert_eq!(who(&cluster, "c", "192.0.2.1:30080", 10), set(&["p2 saw 192.0.2.9"]));
}

/// Hosts and pods ask node ports of another node, whose backend is anywhere: on their own node, there, on a third.
fn astray(tag: &str, protocol: &str, underlay: &str) {
    let Some(mut cluster) = Cluster::new(tag, 3) else { return };
    let router = format!("  tunnel: {{protocol: {protocol}, underlay: {underlay}}}\n");
    cluster.configure(&router, &[1, 2, 3]);
    if !cluster.start() {
        return;
    }
    for (host, at, seen) in [
        ("1", "192.0.2.2:30080", "192.0.2.1"),
        ("1", "[2001:db8::2]:30080", "2001:db8::1"),
        ("p1", "192.0.2.2:30080", "10.1.1.2"),
        ("p1", "[2001:db8::2]:30080", "fd00:1::2"),
    ] {
        let all = [1, 2, 3].map(|number| format!("p{number} saw {seen}"));
        // Who reaches itself sees the address that it asked.
        let all = all.map(|said| match said.starts_with(&format!("{host} ")) {
            true => {
                format!("{host} saw {}", at.trim_end_matches(":30080").trim_matches(['[', ']']))
            }
            false => said,
        });
        let heard = who(&cluster, host, at, 24);
        let drops = [1, 2, 3].map(|number| cluster.text(number, &["get", "drops", "--all"]));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(heard, set(&all), "{protocol} {underlay} {host} {at}\n{}", drops.join("\n"));
    }
    for (host, at) in
        [("1", "192.0.2.2:30007"), ("p1", "192.0.2.2:30007"), ("p1", "[2001:db8::2]:30007")]
    {
        for _ in 0..4 {
            let heard = cluster.echoes(host, at, MUCH);
            assert_eq!(heard, Ok(()), "{protocol} {underlay} {host} {at}");
        }
    }
}

#[test]
fn node_ports_of_other_nodes_are_there_for_hosts_and_pods() {
    astray("va", "Vxlan", "IPv4");
    astray("vb", "Ipip", "IPv6");
}

/// A process of the second node's host serves clients of the first node.
fn own_address(tag: &str, protocol: &str, underlay: &str) {
    let Some(mut cluster) = Cluster::new(tag, 2) else { return };
    let router = format!("  tunnel: {{protocol: {protocol}, underlay: {underlay}}}\n");
    cluster.configure(&router, &[HOST + 2]);
    if !cluster.start() {
        return;
    }
    cluster.serve("2");
    cluster.serve_datagrams("2");
    for (host, at, wished) in [
        ("c", "192.0.2.1:30080", "2 saw 192.0.2.9"),
        ("c", "[2001:db8::1]:30080", "2 saw 2001:db8::9"),
        ("p1", "10.96.0.10:80", "2 saw 10.1.1.2"),
        ("p1", "[fd96::10]:80", "2 saw fd00:1::2"),
        // Not by a service.
        ("c", "192.0.2.2:8080", "2 saw 192.0.2.9"),
        ("c", "[2001:db8::2]:8080", "2 saw 2001:db8::9"),
    ] {
        let heard = who(&cluster, host, at, 5);
        let [one, two] = [1, 2].map(|number| cluster.text(number, &["get", "drops", "--all"]));
        assert_eq!(heard, set(&[wished]), "{protocol} {underlay} {at}\n{one}\n{two}");
    }
    for (host, at, wished) in [
        ("c", "192.0.2.1:30081", "2 saw 192.0.2.9"),
        ("c", "[2001:db8::1]:30081", "2 saw 2001:db8::9"),
        ("p1", "10.96.0.10:81", "2 saw 10.1.1.2"),
        ("p1", "[fd96::10]:81", "2 saw fd00:1::2"),
    ] {
        assert_eq!(cluster.asks(host, at), Ok(wished.into()), "{protocol} {underlay} {at}");
    }
    // Errors of the host are told to who asked.
    for (host, at) in [
        ("c", "192.0.2.1:30082"),
        ("c", "[2001:db8::1]:30082"),
        ("p1", "10.96.0.10:82"),
        ("p1", "[fd96::10]:82"),
    ] {
        let heard = cluster.asks(host, at);
        assert_eq!(heard, Err("connection refused".into()), "{protocol} {underlay} {at}");
    }
    // What the host sends is as large as its own link takes, until it is told of the tunnel.
    for (host, at) in [
        ("c", "192.0.2.1:30007"),
        ("c", "[2001:db8::1]:30007"),
        ("p1", "10.96.0.10:7"),
        ("p1", "[fd96::10]:7"),
    ] {
        assert_eq!(cluster.echoes(host, at, MUCH), Ok(()), "{protocol} {underlay} {host} {at}");
    }
    // Without the agents, all goes on.
    cluster.kill(1);
    cluster.kill(2);
    assert_eq!(who(&cluster, "c", "192.0.2.1:30080", 5), set(&["2 saw 192.0.2.9"]));
}

#[test]
fn a_process_of_another_host_sees_the_client() {
    own_address("oa", "Vxlan", "IPv4");
    own_address("ob", "Geneve", "IPv6");
}

#[test]
fn a_process_of_another_host_sees_the_client_without_ethernet_between() {
    own_address("oc", "Ipip", "IPv6");
    own_address("od", "Gue", "IPv4");
}

#[test]
fn a_process_of_another_host_answers_straight_to_the_client() {
    let Some(mut cluster) = Cluster::new("oe", 2) else { return };
    cluster.configure(DIRECT, &[HOST + 2]);
    if !cluster.start() {
        return;
    }
    cluster.serve("2");
    cluster.serve_datagrams("2");
    for (at, seen) in
        [("192.0.2.1:30080", "2 saw 192.0.2.9"), ("[2001:db8::1]:30080", "2 saw 2001:db8::9")]
    {
        assert_eq!(who(&cluster, "c", at, 5), set(&[seen]), "{at}");
    }
    assert_eq!(cluster.asks("c", "192.0.2.1:30081"), Ok("2 saw 192.0.2.9".into()));
    assert_eq!(cluster.echoes("c", "192.0.2.1:30007", MUCH), Ok(()));
    // No answer has come by the entry node.
    let entry = cluster.text(1, &["get", "flows"]);
    assert!(entry.contains("> 192.0.2.2:8080") && !entry.contains("192.0.2.1:30080 >"), "{entry}");
    assert_eq!(who(&cluster, "p1", "10.96.0.10:80", 5), set(&["2 saw 10.1.1.2"]));
}

#[test]
fn who_cannot_be_heard_is_said() {
    let Some(mut cluster) = Cluster::new("of", 2) else { return };
    cluster.configure("", &[HOST + 2]);
    if !cluster.start() {
        return;
    }
    cluster.serve("2");
    let told = |cluster: &Cluster, router: &str, wished: Option<&str>| {
        cluster.configure(router, &[HOST + 2]);
        let start = std::time::Instant::now();
        loop {
            let texts = [&["get", "status"][..], &["describe", "service", "shop/web"]]
                .map(|line| cluster.text(1, if line[1] == "status" { &["status"] } else { line }));
            let says = |text: &String| {
                text.contains("192.0.2.2 of its endpoints")
                    || text.contains("192.0.2.2, 2001:db8::2 of its endpoints")
            };
            let right = texts.iter().all(|text| match wished {
                Some(remedy) => says(text) && text.contains(remedy),
                None => !says(text),
            });
            if right {
                return;
            }
            assert!(start.elapsed().as_secs() < 10, "{router} {texts:#?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    told(&cluster, "", Some("set spec.tunnel"));
    told(&cluster, "  kernelRoutes: false\n  tunnel: {protocol: Vxlan}\n", Some("kernelRoutes"));
    told(&cluster, "  services: {externalTraffic: Masquerade}\n", None);
    assert_eq!(who(&cluster, "c", "192.0.2.1:30080", 5), set(&["2 saw 192.0.2.1"]));
    told(&cluster, VXLAN, None);
}

/// A node with a device of Linux instead of an agent, which sends all that its pods say through it.
fn linux(tag: &str, protocol: &str, device: &str, has_ethernet: bool) {
    let Some(mut cluster) = Cluster::new(tag, 2) else { return };
    let n = cluster.name.clone();
    if protocol == "Gue"
        && let Err(why) = ip(&format!("-n {n}2 fou add port 6080 gue"))
    {
        return cluster::skip(&why);
    }
    cluster.configure(&format!("  tunnel: {{protocol: {protocol}}}\n"), &[2]);
    let address = if has_ethernet { "address 02:00:c0:00:02:02" } else { "" };
    let via = if has_ethernet { "via 10.255.0.1 dev tun onlink" } else { "dev tun" };
    if let Err(why) = ip(&format!("-n {n}2 link add tun {address} type {device}")) {
        return cluster::skip(&why);
    }
    let lines = [
        format!("netns exec {n}2 sysctl -qw net.ipv4.conf.all.rp_filter=0"),
        format!("netns exec {n}2 sysctl -qw net.ipv4.conf.tun.rp_filter=0"),
        format!("netns exec {n}2 sysctl -qw net.ipv4.conf.eth0.rp_filter=0"),
        format!("-n {n}2 link set tun up"),
        format!("-n {n}2 route add 10.1.2.2 dev pod"),
        format!("-n {n}2 neigh add 10.255.0.1 lladdr 02:00:c0:00:02:01 dev tun"),
        format!("-n {n}2 route add default {via} table 100"),
        format!("-n {n}2 rule add from 10.1.2.0/24 table 100"),
    ];
    let without = |line: &&String| has_ethernet || !line.contains("neigh");
    lines.iter().filter(without).for_each(|line| cluster.run(std::slice::from_ref(line)));
    if !cluster.start_some(1) {
        return;
    }
    let heard = who(&cluster, "c", "192.0.2.1:30080", 5);
    assert_eq!(heard, set(&["p2 saw 192.0.2.9"]), "{}", cluster.text(1, &["get", "drops"]));
    assert_eq!(cluster.echoes("c", "192.0.2.1:30007", MUCH), Ok(()), "{protocol}");
    assert_eq!(who(&cluster, "p1", "10.96.0.10:80", 5), set(&["p2 saw 10.1.1.2"]), "{protocol}");
}

#[test]
fn the_far_end_may_be_a_device_of_linux() {
    let ends = "local 192.0.2.2 remote 192.0.2.1";
    linux("lv", "Vxlan", &format!("vxlan id 1 dstport 4789 {ends} dev eth0"), true);
    linux("lg", "Geneve", "geneve id 1 dstport 6081 remote 192.0.2.1", true);
    linux("li", "Ipip", &format!("ipip {ends}"), false);
    linux("lu", "Gue", &format!("ipip {ends} encap gue encap-sport auto encap-dport 6080"), false);
}

#[test]
fn a_load_balancer_at_xdp() {
    let Some(mut cluster) = Cluster::new("o", 2) else { return };
    if let Err(why) = cluster.fit_for_xdp() {
        return cluster::skip(&why);
    }
    cluster.configure(DIRECT, &[2]);
    if !cluster.start() {
        return;
    }
    let links = cluster.text(1, &["get", "links"]);
    let uplink = links.lines().find(|line| line.starts_with("eth0")).unwrap_or_default();
    assert!(uplink.contains("xdp"), "{links}");
    assert_eq!(who(&cluster, "c", "192.0.2.1:30080", 10), set(&["p2 saw 192.0.2.9"]));
    assert_eq!(cluster.echoes("c", "192.0.2.1:30007", MUCH), Ok(()));
}
