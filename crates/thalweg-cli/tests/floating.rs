//! Floating addresses with real sockets: a client outside, pods, and a process of the node.

mod lab;

use lab::ip;
use lab::pods::Pods;
use lab::sockets::{LONG, connect, inside};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
const FLOATING: &str = "192.0.2.50";
/// A host outside, and the node's address on the link to it.
const OUTSIDE: &str = "10.0.1.254";
const NODE: &str = "10.0.1.1";

/// Pods with floating addresses as their annotations say.
fn config(floating: [&str; 2]) -> String {
    let mut text = "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplinks}\n\
         spec: {interfaces: [eth0, eth1]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {name: router}\nspec: {limits: {flows: 16384, ringSlots: 65536}}\n\
         ---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pods}\n\
         spec: {cidr: 10.9.0.0/24, natOutgoing: true}\n"
        .to_owned();
    for (number, (address, floating)) in PODS.iter().zip(floating).enumerate() {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  namespace: shop\n  \
             annotations:\n    thalweg.io/interface: pod{number}\n    \
             cni.projectcalico.org/floatingIPs: '{floating}'\n\
             status: {{podIPs: [{{ip: {address}}}]}}\n"
        );
    }
    text
}

/// Serves connections by saying whom it sees, and then everything again.
fn serve(pods: &mut Pods, host: &str, port: u16) {
    pods.serve(host, port, |mut stream: TcpStream, peer: SocketAddr| {
        std::thread::spawn(move || {
            let _ = writeln!(stream, "{peer}");
            let mut octets = [0; 1024];
            while let Ok(len @ 1..) = stream.read(&mut octets) {
                if stream.write_all(&octets[..len]).is_err() {
                    break;
                }
            }
        });
    });
}

/// Whom the server sees.
fn seen(stream: &mut TcpStream) -> SocketAddr {
    let mut line = Vec::new();
    let mut octet = [0];
    while stream.read(&mut octet).unwrap() == 1 && octet != *b"\n" {
        line.push(octet[0]);
    }
    String::from_utf8(line).unwrap().parse().unwrap()
}

fn say(stream: &mut TcpStream, what: &[u8]) {
    let mut heard = vec![0; what.len()];
    stream.write_all(what).unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, what);
}

/// A connection from one host to another; whom the server sees, and the client's own end.
fn ask(pods: &Pods, from: &str, to: &str) -> (TcpStream, SocketAddr, SocketAddr) {
    let mut stream = inside(&pods.namespace(from), || connect(to)).unwrap();
    let (peer, own) = (seen(&mut stream), stream.local_addr().unwrap());
    say(&mut stream, b"hello");
    (stream, peer, own)
}

#[test]
fn a_pod_has_an_address_of_its_own_outside() {
    let Some(mut pods) = Pods::new("fa", &PODS) else { return };
    fs::write(pods.lab.config(), config([r#"["192.0.2.50"]"#, "[]"])).unwrap();
    if !pods.lab.start() {
        return;
    }
    for (host, port) in [("b", 8080), ("p0", 8080), ("p0", 22), ("p1", 8080)] {
        serve(&mut pods, host, port);
    }
    // From outside, at every port, the client is seen as it is.
    for port in [8080, 22] {
        let (_, peer, own) = ask(&pods, "b", &format!("{FLOATING}:{port}"));
        assert_eq!(peer, own, "port {port}");
    }
    // What the pod begins has the floating address and its own port; another pod has the node's.
    let (mut long, peer, own) = ask(&pods, "p0", &format!("{OUTSIDE}:8080"));
    assert_eq!((peer.ip().to_string().as_str(), peer.port()), (FLOATING, own.port()));
    let (_, peer, _) = ask(&pods, "p1", &format!("{OUTSIDE}:8080"));
    assert_eq!(peer.ip().to_string(), NODE);
    // Other pods and the node reach it; the pod itself hears it from the address.
    let (_, peer, own) = ask(&pods, "p1", &format!("{FLOATING}:8080"));
    assert_eq!(peer, own);
    let (_, peer, own) = ask(&pods, "p0", &format!("{FLOATING}:8080"));
    assert_eq!((peer.ip().to_string().as_str(), peer.port()), (FLOATING, own.port()));
    // Inside, the pod keeps its own.
    let (_, peer, own) = ask(&pods, "p0", &format!("{}:8080", PODS[1]));
    assert_eq!(peer, own);
    // Datagrams both ways, and pings.
    let [server, client] = [("p0", "10.9.0.2:7000"), ("b", "10.0.1.254:7001")].map(|(host, at)| {
        let socket = inside(&pods.namespace(host), || UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    });
    let mut octets = [0; 16];
    client.send_to(b"one", "192.0.2.50:7000").unwrap();
    assert_eq!(server.recv_from(&mut octets).unwrap(), (3, "10.0.1.254:7001".parse().unwrap()));
    server.send_to(b"two", "10.0.1.254:7001").unwrap();
    assert_eq!(client.recv_from(&mut octets).unwrap(), (3, "192.0.2.50:7000".parse().unwrap()));
    ip(&format!("netns exec {} ping -c 2 -W 2 {FLOATING}", pods.namespace("b"))).unwrap();
    ip(&format!("netns exec {} ping -c 2 -W 2 {OUTSIDE}", pods.namespace("p0"))).unwrap();
    // It is shown, and explained.
    let told = pods.lab.text(&["get", "nat"]);
    let shown = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.starts_with(&["floating", "-", PODS[0], FLOATING])
    };
    assert!(told.lines().any(shown), "{told}");
    let told = pods.lab.text(&["explain", "pod0 < ip 10.9.0.2 > 10.0.1.254 tcp 5 > 80 syn"]);
    let nat = "nat       source 10.9.0.2:5 becomes 192.0.2.50:5, its floating address";
    assert!(told.contains(nat), "{told}");
    let told = pods.lab.text(&["explain", "eth1 < ip 10.0.1.254 > 192.0.2.50 tcp 5 > 80 syn"]);
    let nat = "nat       floating address 192.0.2.50 of Pod/shop/p0 becomes 10.9.0.2";
    assert!(told.contains(nat), "{told}");
    // Connections outlive the agent.
    pods.lab.end("-KILL");
    say(&mut long, b"nobody there");
    assert!(pods.lab.start());
    say(&mut long, b"another agent");
}

#[test]
fn of_two_pods_the_first_has_it_and_the_other_is_told() {
    let Some(mut pods) = Pods::new("fb", &PODS) else { return };
    fs::write(pods.lab.config(), config([r#"["192.0.2.50"]"#; 2])).unwrap();
    if !pods.lab.start() {
        return;
    }
    for host in ["p0", "p1"] {
        serve(&mut pods, host, 8080);
    }
    let told = pods.lab.text(&["status"]);
    assert!(told.contains("192.0.2.50 already belongs to Pod/shop/p0"), "{told}");
    assert!(told.contains("config.yaml:"), "{told}");
    let (_, peer, own) = ask(&pods, "b", &format!("{FLOATING}:8080"));
    assert_eq!(peer, own);
    let told = pods.lab.text(&["get", "nat"]);
    assert_eq!(told.lines().filter(|line| line.starts_with("floating")).count(), 1, "{told}");
    // It moves with the next file. The other one is of the network outside: the kernel answers for it.
    for line in ["neigh add proxy 10.0.1.50 dev eth1", "route add 10.0.1.50 dev pod0"] {
        ip(&format!("-n {} {line}", pods.namespace("r"))).unwrap();
    }
    fs::write(pods.lab.config(), config([r#"["10.0.1.50"]"#, r#"["192.0.2.50"]"#])).unwrap();
    let start = Instant::now();
    let moved = |line: &str| line.starts_with("floating") && line.contains(PODS[1]);
    while !pods.lab.text(&["get", "nat"]).lines().any(moved) {
        assert!(start.elapsed() < 4 * LONG, "{}", pods.lab.text(&["get", "nat"]));
        std::thread::sleep(LONG / 40);
    }
    for to in [FLOATING, "10.0.1.50"] {
        let (_, peer, own) = ask(&pods, "b", &format!("{to}:8080"));
        assert_eq!(peer, own, "{to}");
    }
}
