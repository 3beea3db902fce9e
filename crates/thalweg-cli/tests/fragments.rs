//! Fragments that come in any order, with real sockets: a node with pods, a client and a server outside.

mod lab;

use lab::ip;
use lab::pods::{Pods, pod};
use lab::sockets::inside;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_testkit::pieces;

/// A client and one that serves.
const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
/// The same by their other addresses.
const PODS6: [&str; 2] = ["fd00:9::2", "fd00:9::3"];
/// Octets of datagrams: 14 pieces.
const LEN: usize = 20_000;

fn config(xdp: &str) -> String {
    let mut text = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {{name: uplinks}}\n\
         spec: {{interfaces: [eth0, eth1]{xdp}}}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {{name: router}}\nspec: {{limits: {{flows: 4096, ringSlots: 1048576}}}}\n\
         ---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: pods}}\n\
         spec: {{cidr: 10.9.0.0/24, natOutgoing: true}}\n"
    );
    for (number, address) in PODS.iter().enumerate() {
        let both = format!("{address}}}, {{ip: \"{}\"", PODS6[number]);
        text += &pod(number, &both, "");
    }
    text + "---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, \"fd00:96::10\"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  ports:
  - {name: udp, port: 9, nodePort: 30009, protocol: UDP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-1, namespace: shop, labels: {kubernetes.io/service-name: echo}}
addressType: IPv4
ports:
- {name: udp, port: 8009, protocol: UDP}
endpoints:
- {addresses: [10.9.0.3]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo-2, namespace: shop, labels: {kubernetes.io/service-name: echo}}
addressType: IPv6
ports:
- {name: udp, port: 8009, protocol: UDP}
endpoints:
- {addresses: [\"fd00:9::3\"]}
"
}

/// The node, a pod that sends every datagram back, and a server outside that does so in pieces, the last first.
fn start(tag: &str, xdp: &str) -> Option<Pods> {
    let mut pods = Pods::new(tag, &PODS)?;
    for (host, device) in [("a", "up"), ("b", "up"), ("p0", "eth0"), ("p1", "eth0")] {
        // Hosts finish their frames, and take those that a native program sends.
        let set = format!("ethtool -K {device} tx off tso off gso off gro on");
        ip(&format!("netns exec {} {set}", pods.namespace(host))).unwrap();
    }
    speaks_ipv6(&pods);
    fs::write(pods.lab.config(), config(xdp)).unwrap();
    if !pods.lab.start() {
        return None;
    }
    // The kernel keeps few packets for a neighbor that it does not know yet.
    for (host, to) in [("a", "10.0.0.1"), ("b", "10.0.1.1"), ("p0", "10.9.0.3"), ("p1", "10.9.0.2")]
    {
        ip(&format!("netns exec {} ping -c 3 -i 0.2 -W 2 {to}", pods.namespace(host))).unwrap();
    }
    let links = || pods.lab.text(&["get", "neighbors"]).matches("10.").count();
    pods.lab.until(|| links() >= 4);
    let stop = pods.stop.clone();
    pods.servers.push(echo(&pods.namespace("p1"), "0.0.0.0:8009", stop.clone(), false));
    pods.servers.push(echo(&pods.namespace("p1"), "[fd00:9::3]:8009", stop.clone(), false));
    pods.servers.push(echo(&pods.namespace("b"), "10.0.1.254:7000", stop, true));
    Some(pods)
}

/// Gives all but the server outside addresses of the other family.
fn speaks_ipv6(pods: &Pods) {
    let n = &pods.lab.name;
    let mut lines = vec![
        format!("netns exec {n}r sysctl -qw net.ipv6.conf.all.forwarding=1"),
        format!("-n {n}r addr add 2001:db8::1/64 dev eth0 nodad"),
        format!("-n {n}a addr add 2001:db8::9/64 dev up nodad"),
        format!("-n {n}a route add default via 2001:db8::1"),
    ];
    for (number, address) in PODS6.iter().enumerate() {
        lines.push(format!("-n {n}p{number} addr add {address}/128 dev eth0 nodad"));
        lines.push(format!("-n {n}p{number} route add fe80::1 dev eth0"));
        lines.push(format!("-n {n}p{number} route add default via fe80::1 dev eth0"));
        let mac = format!("02:00:00:00:09:0{number}");
        lines.push(format!("-n {n}p{number} neigh add fe80::1 dev eth0 lladdr {mac}"));
    }
    for line in lines {
        ip(&line).unwrap();
    }
}

/// Sends every datagram back to whom it came from; if told so, in pieces, the last first.
fn echo(namespace: &str, at: &str, stop: Arc<AtomicBool>, reversed: bool) -> JoinHandle<()> {
    let at: SocketAddr = at.parse().unwrap();
    let namespace = namespace.to_owned();
    let (ready, bound) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        inside(&namespace, || {
            let socket = UdpSocket::bind(at).unwrap();
            ready.send(()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut octets = vec![0; 1 << 16];
            for id in 1.. {
                if stop.load(SeqCst) {
                    break;
                }
                let Ok((len, peer)) = socket.recv_from(&mut octets) else { continue };
                if reversed {
                    let mut pieces = pieces::cut(at, peer, id, &octets[..len], 1_432);
                    pieces.reverse();
                    pieces::send(&pieces, peer.ip()).unwrap();
                } else {
                    let _ = socket.send_to(&octets[..len], peer);
                }
            }
        });
    });
    bound.recv().unwrap();
    server
}

/// Sends a datagram in pieces in this order of theirs; whether it came back whole, from whom it went to.
fn asks(pods: &Pods, host: &str, from: &str, to: &str, order: Order) -> bool {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let data: Vec<u8> = (0..LEN).map(|at| (at * 7 / 5) as u8).collect();
    let packets = order(pieces::cut(from, to, u32::from(from.port()), &data, 1_432));
    inside(&pods.namespace(host), || {
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        pieces::send(&packets, to.ip()).unwrap();
        let mut octets = vec![0; 1 << 16];
        let heard = socket.recv_from(&mut octets);
        heard.is_ok_and(|(len, peer)| peer == to && octets[..len] == data)
    })
}

/// What happens to the order of packets.
type Order = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;

/// The last comes first.
fn reversed(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets.reverse();
    packets
}

/// The first comes in the middle, others twice.
fn shuffled(packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let count = packets.len();
    let mixed = (0..count).map(|at| packets[(at * 5 + 3) % count].clone());
    let mut mixed: Vec<_> = mixed.collect();
    mixed.insert(2, mixed[0].clone());
    mixed.push(mixed[1].clone());
    mixed
}

/// Frames of a verdict so far.
fn counted(pods: &Pods, reason: &str) -> u64 {
    let views: serde_json::Value =
        serde_json::from_str(&pods.lab.text(&["get", "drops", "--all", "-o", "json"])).unwrap();
    let views = views.as_array().cloned().unwrap_or_default();
    let of = |view: &serde_json::Value| view["packets"].as_u64().unwrap_or(0);
    views.iter().filter(|view| view["reason"] == reason).map(of).sum()
}

/// All ways through the node. The ports tell them apart: nothing is asked twice.
fn all_ways(pods: &Pods, first: u16) {
    let mut port = first;
    let orders: [(_, Order); 3] =
        [("in order", |packets| packets), ("reversed", reversed), ("shuffled", shuffled)];
    for (name, order) in orders {
        for (host, address, to) in [
            ("p0", "10.9.0.2", "10.96.0.10:9"),
            ("a", "10.0.0.9", "10.0.0.1:30009"),
            ("p0", "10.9.0.2", "10.0.1.254:7000"),
            ("p0", "[fd00:9::2]", "[fd00:96::10]:9"),
            ("a", "[2001:db8::9]", "[2001:db8::1]:30009"),
            // Nothing is translated.
            ("p0", "10.9.0.2", "10.9.0.3:8009"),
        ] {
            port += 1;
            let from = format!("{address}:{port}");
            let whole = asks(pods, host, &from, to, order);
            assert!(whole, "{name}: {from} > {to}\n{}", pods.lab.text(&["get", "drops", "--all"]));
        }
    }
}

fn in_any_order(tag: &str, xdp: &str, hook: &str) {
    let Some(mut pods) = start(tag, xdp) else { return };
    let links = pods.lab.text(&["get", "links"]);
    assert!(links.contains(hook), "{links}");
    all_ways(&pods, 20_000);
    assert!(counted(&pods, "kept-fragment") >= 10 * 10, "most wait for their first");
    assert_eq!(counted(&pods, "no-first-fragment"), 0, "{}", pods.lab.text(&["get", "drops"]));
    pods.lab.end("-KILL");
    all_ways(&pods, 21_000);
}

#[test]
fn a_datagram_arrives_whatever_the_order_of_its_pieces() {
    in_any_order("fr", ", xdp: Tc", "tcx");
}

#[test]
fn a_datagram_arrives_whatever_the_order_of_its_pieces_behind_native_xdp() {
    in_any_order("fx", ", xdp: Native", "xdp-native");
}

#[test]
fn a_datagram_arrives_whatever_the_order_of_its_pieces_behind_generic_xdp() {
    in_any_order("fg", ", xdp: Generic", "xdp-generic");
}
