//! SCTP through services and source translation, between network namespaces: every checksum is looked at
//! where its packet arrives.

mod lab;

use lab::ip;
use lab::pods::{Pods, pod};
use lab::sctp::{ABORT, Association, serve};
use std::collections::BTreeSet;
use std::fs;

/// The first is a client, the others serve.
const PODS: [&str; 3] = ["10.9.0.2", "10.9.0.3", "10.9.0.4"];

fn config() -> String {
    let mut text = String::from(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplinks}\n\
         spec: {interfaces: [eth0, eth1]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {name: router}\nspec: {limits: {flows: 16384, ringSlots: 65536}}\n\
         ---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pods}\n\
         spec: {cidr: 10.9.0.0/24, natOutgoing: true}\n",
    );
    for (number, address) in PODS.iter().enumerate() {
        let port = "{containerPort: 3870, hostPort: 3871, protocol: SCTP}";
        let ports = format!("spec: {{containers: [{{name: hss, ports: [{port}]}}]}}\n");
        text += &pod(number, address, if number == 1 { &ports } else { "" });
    }
    text + "---
apiVersion: v1
kind: Service
metadata: {name: hss, namespace: epc}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  externalIPs: [203.0.113.7]
  ports:
  - {name: diameter, port: 3868, nodePort: 30868, protocol: SCTP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hss-1, namespace: epc, labels: {kubernetes.io/service-name: hss}}
addressType: IPv4
ports:
- {name: diameter, port: 3869, protocol: SCTP}
endpoints:
- {addresses: [10.9.0.3]}
- {addresses: [10.9.0.4]}
"
}

/// The node with its pods, two of which serve, and a server outside.
fn start(tag: &str) -> Option<Pods> {
    let mut pods = Pods::new(tag, &PODS)?;
    fs::write(pods.lab.config(), config()).unwrap();
    ip(&format!("-n {}b route del default", pods.lab.name)).unwrap();
    if !pods.lab.start() {
        return None;
    }
    for (host, address, port) in [
        ("p1", PODS[1], 3869),
        ("p2", PODS[2], 3869),
        ("p1", PODS[1], 3870),
        ("b", "10.0.1.254", 443),
    ] {
        let server = serve(&pods.namespace(host), address, port, pods.stop.clone());
        pods.servers.push(server);
    }
    Some(pods)
}

fn begin(pods: &Pods, host: &str, from: (&str, u16), to: &str) -> Association {
    Association::begin(&pods.namespace(host), from, to).unwrap_or_else(|why| panic!("{to}: {why}"))
}

#[test]
fn associations_reach_services_with_every_checksum_right() {
    let Some(mut pods) = start("sa") else { return };
    let mut servers = BTreeSet::new();
    let mut open = Vec::new();
    for port in 40_000..40_016 {
        let association = begin(&pods, "p0", (PODS[0], port), "10.96.0.20:3868");
        let (server, client) = association.name.split_once(" saw ").unwrap();
        assert_eq!(client, format!("{}:{port}", PODS[0]), "the client's own address");
        servers.insert(server.to_owned());
        open.push(association);
    }
    assert_eq!(servers.len(), 2, "both serve");
    // Lengths on both sides of every power of two that a whole frame can have.
    for len in (0..1_400usize).filter(|len| len % 97 == 0 || (len + 17).count_ones() < 3) {
        open[len % 16].echo(len).unwrap();
    }
    let flows = pods.lab.text(&["get", "flows", "--service", "epc/hss", "--state", "established"]);
    assert_eq!(flows.lines().filter(|line| line.starts_with("SCTP")).count(), 32, "{flows}");
    // From outside: node port, external address, host port.
    for (at, port) in
        [("10.0.0.1:30868", 5_000), ("203.0.113.7:3868", 5_001), ("10.0.0.1:3871", 5_002)]
    {
        let association = begin(&pods, "a", ("10.0.0.9", port), at);
        assert!(
            association.name.ends_with(&format!(" saw 10.0.0.9:{port}")),
            "{}",
            association.name
        );
        association.echo(1_111).unwrap();
        open.push(association);
    }
    // Nobody there, and another agent.
    pods.lab.end("-KILL");
    open.iter().for_each(|association| association.echo(500).unwrap());
    assert!(pods.lab.start());
    open.iter().for_each(|association| association.echo(501).unwrap());
    // What is shut down is closed, and its ports begin again.
    open[0].shut_down().unwrap();
    let told = pods.lab.text(&["get", "flows", "--from", "pod/shop/p0", "--state", "closed"]);
    assert!(told.contains("10.9.0.2:40000"), "{told}");
    drop(open.remove(0));
    begin(&pods, "p0", (PODS[0], 40_000), "10.96.0.20:3868").echo(9).unwrap();
    // An abort of nobody's ends nothing.
    let last = open.last().unwrap();
    last.end.say(last.to, 0xbad, ABORT, &[]);
    let told = pods.lab.text(&["get", "flows", "--state", "aborted"]);
    assert!(told.contains("10.0.0.9:5002"), "{told}");
    last.echo(77).unwrap();
    let told = pods.lab.text(&["get", "flows", "--state", "aborted"]);
    assert!(!told.contains("10.0.0.9:5002"), "{told}");
    // Data of no association goes nowhere.
    let stray = Association { to: "10.96.0.20:3868".parse().unwrap(), ..open.remove(0) };
    let stray = Association {
        end: lab::sctp::End::new(&pods.namespace("p0"), PODS[0], 50_000, lab::sockets::LONG / 8),
        ..stray
    };
    assert!(stray.echo(8).is_err());
    let drops = pods.lab.text(&["get", "drops"]);
    assert!(drops.contains("no-flow"), "{drops}");
}

#[test]
fn a_server_outside_sees_the_node_with_a_port_of_its_own_for_each_association() {
    let Some(pods) = start("sb") else { return };
    let mut ports = BTreeSet::new();
    let mut open = Vec::new();
    // One port that may stay, one that may not; of both pods.
    for (host, address, port) in [
        ("p0", PODS[0], 20_000),
        ("p1", PODS[1], 20_000),
        ("p0", PODS[0], 40_000),
        ("p1", PODS[1], 40_000),
    ] {
        let association = begin(&pods, host, (address, port), "10.0.1.254:443");
        let (_, client) = association.name.split_once(" saw ").unwrap();
        let (node, outside) = client.split_once(':').unwrap();
        let outside: u16 = outside.parse().unwrap();
        assert_eq!(node, "10.0.1.1");
        assert!((16_384..30_000).contains(&outside) && ports.insert(outside), "{outside}");
        open.push(association);
    }
    assert!(ports.contains(&20_000), "{ports:?}");
    for len in (0..1_400).step_by(61) {
        open.iter().for_each(|association| association.echo(len).unwrap());
    }
    let told = pods.lab.text(&["get", "nat"]);
    assert!(told.contains("SCTP") && told.contains("4 of 13616"), "{told}");
    let told = pods.lab.text(&["explain", "pod0 < ip 10.9.0.2 > 10.0.1.254 sctp 5 > 80 init"]);
    assert!(told.contains("nat       source 10.9.0.2:5 becomes 10.0.1.1:"), "{told}");
    open.iter().for_each(|association| association.shut_down().unwrap());
}
