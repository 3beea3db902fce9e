//! Source translation with real sockets: pods reach a server outside that has no way back to them.

mod lab;

use lab::ip;
use lab::pods::{Pods, pod};
use lab::sockets::{LONG, connect, inside};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
/// The server outside, and the node's address on the link to it.
const SERVER: &str = "10.0.1.254:8080";
const NODE: &str = "10.0.1.1";

fn config(flows: &str) -> String {
    let mut text = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {{name: uplinks}}\n\
         spec: {{interfaces: [eth0, eth1]}}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {{name: router}}\nspec: {{limits: {{flows: 16384, ringSlots: 1048576}}{flows}}}\n\
         ---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: pods}}\n\
         spec: {{cidr: 10.9.0.0/24, natOutgoing: true}}\n"
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, "");
    }
    text
}

/// The node with its pods, and a server outside that says whom it sees, and then everything again.
fn start(tag: &str, flows: &str) -> Option<Pods> {
    let mut pods = Pods::new(tag, &PODS)?;
    fs::write(pods.lab.config(), config(flows)).unwrap();
    ip(&format!("-n {}b route del default", pods.lab.name)).unwrap();
    if !pods.lab.start() {
        return None;
    }
    pods.serve("b", 8080, |mut stream: TcpStream, peer: SocketAddr| {
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
    Some(pods)
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

#[test]
fn a_server_outside_sees_the_node_and_every_connection_has_a_port_of_its_own() {
    let Some(pods) = start("na", "") else { return };
    let mut open = Vec::new();
    let mut ports = BTreeSet::new();
    // The first packet is not lost, though nobody knows the server's link address yet.
    let start = Instant::now();
    for round in 0..200 {
        let namespace = pods.namespace(&format!("p{}", round % 2));
        let mut stream = inside(&namespace, || connect(SERVER)).unwrap();
        let peer = seen(&mut stream);
        assert!(round > 0 || start.elapsed() < LONG / 5, "{:?}", start.elapsed());
        assert_eq!(peer.ip().to_string(), NODE);
        assert!((16_384..30_000).contains(&peer.port()), "{peer}: a port that the host may give");
        assert!(ports.insert(peer.port()), "{peer} has two connections");
        open.push(stream);
    }
    for stream in &mut open {
        say(stream, b"mine");
    }
    let told = pods.lab.text(&["get", "nat", "--from", "pod/shop/p0", "--limit", "10"]);
    assert_eq!(told.lines().filter(|line| line.starts_with("flow")).count(), 10, "{told}");
    assert!(told.contains(NODE) && !told.contains("10.9.0.3"), "{told}");
    let told = pods.lab.text(&["get", "nat"]);
    assert!(told.contains("10.9.0.0/24") && told.contains("16384-29999"), "{told}");
    assert!(told.contains("200 of 13616"), "{told}");
    let told = pods.lab.text(&["explain", "pod0 < ip 10.9.0.2 > 10.0.1.254 tcp 5 > 80 syn"]);
    assert!(told.contains("nat       source 10.9.0.2:5 becomes 10.0.1.1:"), "{told}");
    // The host's own connections to the same server are the host's.
    let mut own = inside(&pods.namespace("r"), || connect(SERVER)).unwrap();
    assert!(!ports.contains(&seen(&mut own).port()));
    say(&mut own, b"the host");
    // Datagrams and pings.
    let echo = inside(&pods.namespace("b"), || UdpSocket::bind("10.0.1.254:7000").unwrap());
    let client = inside(&pods.namespace("p0"), || UdpSocket::bind("10.9.0.2:0").unwrap());
    for socket in [&echo, &client] {
        socket.set_read_timeout(Some(LONG)).unwrap();
    }
    client.send_to(b"hello", "10.0.1.254:7000").unwrap();
    let mut octets = [0; 16];
    let (len, peer) = echo.recv_from(&mut octets).unwrap();
    assert_eq!((&octets[..len], peer.ip().to_string().as_str()), (&b"hello"[..], NODE));
    echo.send_to(b"you", peer).unwrap();
    assert_eq!(client.recv_from(&mut octets).unwrap(), (3, "10.0.1.254:7000".parse().unwrap()));
    for pod in ["p0", "p1"] {
        ip(&format!("netns exec {} ping -c 2 -W 2 10.0.1.254", pods.namespace(pod))).unwrap();
    }
}

#[test]
fn a_connection_outlives_the_agent_and_ports_may_run_out() {
    let Some(mut pods) = start("nb", ", flows: {natPorts: 20000-20003}") else { return };
    let namespace = pods.namespace("p0");
    let mut open: Vec<TcpStream> =
        (0..4).map(|_| inside(&namespace, || connect(SERVER)).unwrap()).collect();
    let ports: BTreeSet<u16> = open.iter_mut().map(|stream| seen(stream).port()).collect();
    assert_eq!(ports, (20_000..=20_003).collect());
    // The fifth gets none, and no other one suffers.
    let refused = inside(&namespace, || connect(SERVER)).unwrap_err();
    assert!(refused.contains("timed out"), "{refused}");
    let drops = pods.lab.text(&["get", "drops"]);
    assert!(drops.contains("nat-ports"), "{drops}");
    open.iter_mut().for_each(|stream| say(stream, b"before"));
    pods.lab.end("-KILL");
    open.iter_mut().for_each(|stream| say(stream, b"nobody there"));
    assert!(pods.lab.start());
    open.iter_mut().for_each(|stream| say(stream, b"another agent"));
    // Its port is free again some time after a connection has ended.
    drop(open);
}

#[test]
fn two_pods_speak_by_their_ports_outside() {
    let Some(pods) = start("nc", ", flows: {natMapping: EndpointIndependent}") else { return };
    let bind = |host: &str, at: &str| {
        let socket = inside(&pods.namespace(host), || UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    };
    let server = bind("b", "10.0.1.254:3478");
    let sockets = [bind("p0", "10.9.0.2:4000"), bind("p1", "10.9.0.3:4000")];
    let mut octets = [0; 64];
    // Each hears from a server where it is seen (RFC 8489), and tells the other.
    let seen = [0, 1].map(|which| {
        sockets[which].send_to(b"who am I", "10.0.1.254:3478").unwrap();
        let (_, peer) = server.recv_from(&mut octets).unwrap();
        assert_eq!(peer.ip().to_string(), NODE);
        peer
    });
    assert_ne!(seen[0], seen[1]);
    for round in 0..3 {
        for (from, to) in [(0, 1), (1, 0)] {
            sockets[from].send_to(&[round, from as u8], seen[to]).unwrap();
            let (len, peer) = sockets[to].recv_from(&mut octets).unwrap();
            assert_eq!((&octets[..len], peer), (&[round, from as u8][..], seen[from]));
        }
    }
    // Both are still seen there by the server.
    for (socket, seen) in sockets.iter().zip(seen) {
        socket.send_to(b"and now", "10.0.1.254:3478").unwrap();
        assert_eq!(server.recv_from(&mut octets).unwrap().1, seen);
    }
    let line = format!("pod0 < ip 10.9.0.2 > 10.0.1.1 udp 4001 > {}", seen[1].port());
    let told = pods.lab.text(&["explain", &line]);
    assert!(told.contains("is what 10.9.0.3:4000 has outside"), "{told}");
    // Connections: the second pod listens where its own connection to the server came from.
    let server_tcp = inside(&pods.namespace("b"), || TcpListener::bind("10.0.1.254:3479").unwrap());
    let (listener, _held) = inside(&pods.namespace("p1"), || {
        let bound = || {
            use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
            let at: SocketAddr = "10.9.0.3:4100".parse().unwrap();
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            sockopt::set_socket_reuseport(&socket, true).unwrap();
            bind(&socket, &at).unwrap();
            socket
        };
        let (listens, connects) = (bound(), bound());
        rustix::net::listen(&listens, 8).unwrap();
        let to: SocketAddr = "10.0.1.254:3479".parse().unwrap();
        rustix::net::connect(&connects, &to).unwrap();
        (TcpListener::from(listens), TcpStream::from(connects))
    });
    let outside = server_tcp.accept().unwrap().1;
    let client = inside(&pods.namespace("p0"), || connect(&outside.to_string())).unwrap();
    let (mut stream, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_string(), NODE);
    stream.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    (&client).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
