//! Processes of the host itself as clients of services: a node with two pods that serve, and real sockets
//! in the node's own network namespace.

mod lab;

use lab::ip;
use lab::pods::Pods;
use lab::sockets::{LONG, connect, inside, listen};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_testkit::cgroup::Inside;

/// Addresses of the pods.
const PODS: [(&str, &str); 2] = [("10.9.0.2", "fd00:9::2"), ("10.9.0.3", "fd00:9::3")];

/// Which pods serve.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Serving {
    Both,
    One,
    Nobody,
}

/// The files, with settings of `spec.services`.
fn config(serving: Serving, settings: &str) -> String {
    let mut text = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {{name: uplink}}\n\
         spec: {{interfaces: [eth0]}}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {{name: router}}\nspec:\n  limits: {{flows: 4096, ringSlots: 1048576}}\n  \
         services: {{{settings}}}\n"
    );
    for (number, (ipv4, ipv6)) in PODS.iter().enumerate() {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  namespace: shop\n  \
             annotations: {{thalweg.io/interface: pod{number}}}\n\
             status: {{podIPs: [{{ip: {ipv4}}}, {{ip: \"{ipv6}\"}}]}}\n"
        );
    }
    text += "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, \"fd00:96::10\"]
  ports:
  - {name: who, port: 80, nodePort: 30080, protocol: TCP}
  - {name: udp, port: 9, nodePort: 30009, protocol: UDP}
";
    text + &slice("IPv4", 0, serving) + &slice("IPv6", 1, serving)
}

fn slice(family: &str, at: usize, serving: Serving) -> String {
    let address = |number: usize| if at == 0 { PODS[number].0 } else { PODS[number].1 };
    let endpoint = |number| format!("- {{addresses: [\"{}\"]}}\n", address(number));
    let endpoints = match serving {
        Serving::Both => endpoint(0) + &endpoint(1),
        Serving::One => endpoint(0),
        Serving::Nobody => "  []\n".into(),
    };
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-{at}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: {family}\nports:\n- {{name: who, port: 8080, protocol: TCP}}\n\
         - {{name: udp, port: 8009, protocol: UDP}}\nendpoints:\n{endpoints}"
    )
}

/// The node with its pods; this process is in its control group.
struct Node {
    _inside: Inside,
    pods: Pods,
}

impl Node {
    fn new(tag: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &PODS.map(|(ipv4, _)| ipv4))?;
        let Some(cgroup) = &pods.lab.cgroup else {
            lab::skip("this machine has no control groups of version 2");
            return None;
        };
        let inside = cgroup.enter().unwrap();
        fs::write(pods.lab.config(), config(Serving::Both, "")).unwrap();
        dual_stack(&pods);
        if !pods.lab.start() {
            return None;
        }
        let mut node = Self { _inside: inside, pods };
        for number in 0..PODS.len() {
            node.serve(number);
        }
        node.until_served();
        Some(node)
    }

    /// Servers of a pod say who they are and whom they see, and send datagrams back with their name.
    fn serve(&mut self, number: usize) {
        let stop = self.pods.stop.clone();
        let who = move |mut stream: TcpStream, peer: SocketAddr| {
            let words = format!("p{number} saw {}", peer.ip().to_canonical());
            let _ = stream.write_all(words.as_bytes());
            let mut octet = [0];
            std::thread::spawn(move || {
                while matches!(stream.read(&mut octet), Ok(1..)) {
                    let _ = stream.write_all(&octet);
                }
            });
        };
        let namespace = self.pods.namespace(&format!("p{number}"));
        self.pods.servers.push(datagrams(&namespace, number, stop.clone()));
        self.pods.servers.push(listen(&namespace, ("::", 8080), stop, who));
    }

    /// Waits until pods and services are reached.
    fn until_served(&self) {
        for at in ["10.96.0.10:80", "[fd00:96::10]:80"] {
            self.pods.lab.until(|| self.talks("r", at).is_ok());
        }
    }

    fn set(&self, serving: Serving, settings: &str) {
        fs::write(self.pods.lab.config(), config(serving, settings)).unwrap();
    }

    /// Connects from a host's namespace: what is heard first, and the connection.
    fn talks(&self, host: &str, at: &str) -> Result<(String, TcpStream), String> {
        inside(&self.pods.namespace(host), || talk(at))
    }

    /// Whom the kernel of a host speaks to by IPv4 TCP, other than the process believes.
    fn kernel_peers(&self, host: &str) -> String {
        inside(&self.pods.namespace(host), || {
            let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            // Those that are established.
            let is_up = |line: &&str| line.split_whitespace().nth(3) == Some("01");
            table.lines().filter(is_up).map(|line| format!("{line}\n")).collect()
        })
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.pods.lab.text(&["status", "-o", "json"])).unwrap()
    }
}

/// Gives the node and its pods IPv6.
fn dual_stack(pods: &Pods) {
    let n = &pods.lab.name;
    ip(&format!("-n {n}r addr add fd00:1::1/64 dev eth0 nodad")).unwrap();
    for (number, (_, ipv6)) in PODS.iter().enumerate() {
        for line in [
            format!("-n {n}p{number} addr add {ipv6}/128 dev eth0 nodad"),
            format!("-n {n}p{number} neigh add fe80::1 dev eth0 lladdr 02:00:00:00:09:0{number}"),
            format!("-n {n}p{number} route add default via fe80::1 dev eth0"),
        ] {
            ip(&line).unwrap();
        }
    }
}

/// Connects and hears who answers.
fn talk(at: &str) -> Result<(String, TcpStream), String> {
    let mut stream = connect(at)?;
    let mut octets = [0; 100];
    let len = stream.read(&mut octets).map_err(|error| error.to_string())?;
    Ok((String::from_utf8_lossy(&octets[..len]).into_owned(), stream))
}

/// Sends every datagram back, behind the name of the pod.
fn datagrams(namespace: &str, number: usize, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let socket = inside(namespace, || UdpSocket::bind(("::", 8009)).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 100];
        while !stop.load(SeqCst) {
            if let Ok((len, peer)) = socket.recv_from(&mut octets) {
                let name = format!("p{number} ");
                let _ = socket.send_to(&[name.as_bytes(), &octets[..len]].concat(), peer);
            }
        }
    })
}

#[test]
fn processes_of_the_host_connect_to_services_and_see_services() {
    let Some(node) = Node::new("ka") else { return };
    for (at, seen) in [
        ("10.96.0.10:80", "saw 10."),
        ("[fd00:96::10]:80", "saw fd00:1::1"),
        // An IPv6 socket that speaks IPv4.
        ("[::ffff:10.96.0.10]:80", "saw 10."),
        // A node port of its own.
        ("10.0.0.1:30080", "saw 10."),
    ] {
        let mut who = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let (heard, stream) =
                node.talks("r", at).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert!(heard.contains(seen), "{at}: {heard}");
            assert_eq!(stream.peer_addr().unwrap(), at.parse().unwrap(), "{heard}");
            who.insert(heard[..2].to_owned());
        }
        assert_eq!(who.len(), 2, "both serve {at}");
    }
    // No packet was translated.
    let (_, stream) = node.talks("r", "10.96.0.10:80").unwrap();
    let peers = node.kernel_peers("r");
    assert!(peers.contains("00090A:1F90"), "10.9.0.x:8080 in {peers}");
    assert!(!peers.contains("0A00600A:0050"), "10.96.0.10:80 in {peers}");
    drop(stream);
    // A port that the service does not have is refused at once; what is no service's goes its way.
    let refused = node.talks("r", "10.96.0.10:81").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    let refused = node.talks("r", "[fd00:96::10]:81").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    let (heard, stream) = node.talks("r", "10.9.0.2:8080").unwrap();
    assert_eq!(
        (&heard[..2], stream.peer_addr().unwrap().to_string()),
        ("p0", "10.9.0.2:8080".into())
    );
    // Others are in the same control group, but not in the node's network namespace.
    let (_, stream) = node.talks("p0", "10.96.0.10:80").unwrap();
    let peers = node.kernel_peers("p0");
    assert!(peers.contains("0A00600A:0050"), "translated as packets: {peers}");
    drop(stream);
    let sockets = &node.status()["sockets"];
    assert_eq!((&sockets["scope"], &sockets["served"]), (&"Host".into(), &true.into()));
    let told = node.pods.lab.text(&["status"]);
    assert!(told.contains("processes of this host reach services, by the cgroup /"), "{told}");
}

/// Sends a datagram from a socket bound to `from`; who answered, by the address that the process is told.
fn asks(socket: &UdpSocket, at: &str) -> std::io::Result<(String, SocketAddr)> {
    socket.send_to(b"hello", at)?;
    let mut octets = [0; 100];
    let (len, peer) = socket.recv_from(&mut octets)?;
    Ok((String::from_utf8_lossy(&octets[..len]).into_owned(), peer))
}

/// A socket of the node.
fn datagram_socket(node: &Node, host: &str, from: &str) -> UdpSocket {
    let socket = inside(&node.pods.namespace(host), || UdpSocket::bind(from).unwrap());
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

/// Destinations with the sockets that may speak to them.
const DATAGRAMS: [(&str, &str); 4] = [
    ("0.0.0.0:0", "10.96.0.10:9"),
    ("[::]:0", "[fd00:96::10]:9"),
    ("[::]:0", "[::ffff:10.96.0.10]:9"),
    ("0.0.0.0:0", "10.0.0.1:30009"),
];

#[test]
fn datagrams_come_from_the_service_that_was_asked() {
    let Some(node) = Node::new("kb") else { return };
    for (from, at) in DATAGRAMS {
        // One socket keeps its backend, others have others.
        let mut who = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let socket = datagram_socket(&node, "r", from);
            let (heard, peer) = asks(&socket, at).unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(peer, at.parse().unwrap(), "{heard}");
            assert_eq!(asks(&socket, at).unwrap(), (heard.clone(), peer), "{at}");
            who.insert(heard);
        }
        assert_eq!(who.iter().map(String::as_str).collect::<Vec<_>>(), ["p0 hello", "p1 hello"]);
        // The same where the socket is connected.
        let socket = datagram_socket(&node, "r", from);
        inside(&node.pods.namespace("r"), || socket.connect(at)).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), at.parse().unwrap());
        socket.send(b"again").unwrap();
        let mut octets = [0; 100];
        let (len, peer) = socket.recv_from(&mut octets).unwrap();
        assert_eq!((&octets[2..len], peer), (&b" again"[..], at.parse().unwrap()));
        // A port that the service does not have.
        let socket = datagram_socket(&node, "r", from);
        let wrong = at.replace("]:9", "]:10").replace(".10:9", ".10:10");
        if wrong != at {
            let refused = socket.send_to(b"hello", &wrong).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{wrong}");
        }
    }
    // Several services and pods at one socket are told apart.
    let socket = datagram_socket(&node, "r", "0.0.0.0:0");
    for at in ["10.96.0.10:9", "10.0.0.1:30009", "10.96.0.10:9"] {
        assert_eq!(asks(&socket, at).unwrap().1.to_string(), at);
    }
    // A backend that is gone loses a socket with its next datagram.
    let sockets: Vec<UdpSocket> =
        (0..12).map(|_| datagram_socket(&node, "r", "0.0.0.0:0")).collect();
    let ask_all =
        || sockets.iter().map(|socket| asks(socket, "10.96.0.10:9").map(|(heard, _)| heard));
    assert!(ask_all().any(|heard| heard.unwrap() == "p1 hello"));
    node.set(Serving::One, "");
    node.pods.lab.until(|| !node.pods.lab.text(&["get", "backends"]).contains("10.9.0.3:8009"));
    assert!(ask_all().all(|heard| heard.unwrap() == "p0 hello"));
}

#[test]
fn nobody_behind_a_service_is_told_at_once() {
    let Some(node) = Node::new("kc") else { return };
    let ends = |settings: &str| -> Vec<ErrorKind> {
        node.set(Serving::Nobody, settings);
        let connects = |at: &str| {
            let at: SocketAddr = at.parse().unwrap();
            inside(&node.pods.namespace("r"), || {
                TcpStream::connect_timeout(&at, LONG).map(drop).unwrap_err().kind()
            })
        };
        let kind = if settings.is_empty() { "refused" } else { "not permitted" };
        let is_so = || node.talks("r", "10.96.0.10:80").is_err_and(|e| e.contains(kind));
        node.pods.lab.until(is_so);
        let mut ends = vec![connects("10.96.0.10:80"), connects("[fd00:96::10]:80")];
        for (from, at) in DATAGRAMS {
            let socket = datagram_socket(&node, "r", from);
            ends.push(socket.send_to(b"hello", at).unwrap_err().kind());
            let connected = inside(&node.pods.namespace("r"), || socket.connect(at));
            ends.push(connected.unwrap_err().kind());
        }
        ends
    };
    assert_eq!(ends(""), [ErrorKind::ConnectionRefused; 10]);
    // Where the service is to say nothing, it is as if a filter had dropped it.
    assert_eq!(ends("withoutBackends: Drop"), [ErrorKind::PermissionDenied; 10]);
    node.set(Serving::Both, "");
    node.until_served();
}

#[test]
fn whose_processes_are_served_is_a_setting() {
    let Some(node) = Node::new("kd") else { return };
    node.set(Serving::Both, "socket: Off");
    node.pods.lab.until(|| node.status()["sockets"].is_null());
    // The node has no route there, and its own packets come by no hook.
    let error = node.talks("r", "10.96.0.10:80").unwrap_err();
    assert!(!error.contains("refused"), "{error}");
    assert!(node.talks("p0", "10.96.0.10:80").is_ok(), "packets are served all the same");
    node.set(Serving::Both, "socket: All");
    node.pods.lab.until(|| node.status()["sockets"]["scope"] == "All");
    node.until_served();
    let (_, stream) = node.talks("p0", "10.96.0.10:80").unwrap();
    assert_eq!(stream.peer_addr().unwrap().to_string(), "10.96.0.10:80");
    let peers = node.kernel_peers("p0");
    assert!(peers.contains("00090A:1F90") && !peers.contains("0A00600A:0050"), "{peers}");
    node.set(Serving::Both, "");
    node.pods.lab.until(|| node.status()["sockets"]["scope"] == "Host");
    let told = node.talks("p0", "10.96.0.10:80").unwrap();
    assert!(node.kernel_peers("p0").contains("0A00600A:0050"), "{}", told.0);
}

#[test]
fn processes_never_wait_for_an_agent() {
    let Some(mut node) = Node::new("ke") else { return };
    let mut early = node.talks("r", "10.96.0.10:80").unwrap().1;
    let sender = datagram_socket(&node, "r", "0.0.0.0:0");
    asks(&sender, "10.96.0.10:9").unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let namespace = node.pods.namespace("r");
    let client = {
        let (stop, done) = (stop.clone(), done.clone());
        std::thread::spawn(move || {
            let mut failed = Vec::new();
            inside(&namespace, || {
                while !stop.load(SeqCst) {
                    match talk("10.96.0.10:80").map(|(_, stream)| stream.peer_addr().unwrap()) {
                        Ok(peer) if peer.to_string() == "10.96.0.10:80" => {}
                        other => failed.push(format!("{other:?}")),
                    }
                    done.fetch_add(1, SeqCst);
                }
            });
            failed
        })
    };
    let some_more = |node: &Node| {
        let before = done.load(SeqCst);
        node.pods.lab.until(|| done.load(SeqCst) > before + 20);
    };
    some_more(&node);
    node.pods.lab.end("-KILL");
    some_more(&node);
    assert!(node.pods.lab.start());
    some_more(&node);
    if node.pods.lab.next_version() {
        node.pods.lab.end("-KILL");
        assert!(node.pods.lab.start(), "another layout of the tables");
        some_more(&node);
        node.pods.lab.this_version();
        node.pods.lab.end("-TERM");
        assert!(node.pods.lab.start());
        some_more(&node);
    }
    stop.store(true, SeqCst);
    assert_eq!(client.join().unwrap(), Vec::<String>::new(), "of {done:?} connections");
    // What began before is as it was, and still called by the service's name.
    early.write_all(b"x").unwrap();
    early.read_exact(&mut [0]).unwrap();
    assert_eq!(early.peer_addr().unwrap().to_string(), "10.96.0.10:80");
    assert_eq!(asks(&sender, "10.96.0.10:9").unwrap().1.to_string(), "10.96.0.10:9");
    // The next agent's tables count, and `detach` takes all of it away.
    node.set(Serving::Nobody, "");
    node.pods
        .lab
        .until(|| node.talks("r", "10.96.0.10:80").is_err_and(|error| error.contains("refused")));
    node.pods.lab.end("-TERM");
    let detached = node.pods.lab.text(&["detach"]);
    assert!(detached.contains("program at connect4"), "{detached}");
    assert!(!node.talks("r", "10.96.0.10:80").unwrap_err().contains("refused"));
    let pins = format!("/sys/fs/bpf/thalweg/{}", node.pods.lab.name);
    assert!(!std::path::Path::new(&pins).exists());
}

#[test]
fn without_a_cgroup_all_else_works() {
    let Some(mut node) = Node::new("kf") else { return };
    node.pods.lab.end("-TERM");
    node.pods.lab.serves = Some("/nonexistent".into());
    assert!(node.pods.lab.start());
    let told = node.pods.lab.text(&["status"]);
    assert!(told.contains("sockets    not served"), "{told}");
    assert!(
        told.contains("processes of this host reach no services: /nonexistent: ENOENT"),
        "{told}"
    );
    assert!(node.pods.lab.ask(&["status"]).status.success(), "a warning, no error");
    assert!(node.talks("p0", "10.96.0.10:80").is_ok());
    assert!(node.talks("r", "10.96.0.10:80").is_err(), "nothing of the agent before is left");
}

#[test]
fn somebody_who_takes_programs_off_is_noticed() {
    let Some(node) = Node::new("kg") else { return };
    let pin = format!("/sys/fs/bpf/thalweg/{}/sockets/connect4", node.pods.lab.name);
    fs::remove_file(&pin).unwrap();
    node.pods.lab.until(|| node.talks("r", "10.96.0.10:80").is_err());
    let audit = node.pods.lab.text(&["audit"]);
    assert!(audit.contains("the program at connect4 is gone"), "{audit}");
    assert!(node.talks("r", "10.96.0.10:80").is_ok());
    assert!(fs::exists(&pin).unwrap());
}

#[test]
fn wherever_an_agent_is_killed_the_next_one_finishes() {
    let Some(mut node) = Node::new("kh") else { return };
    for point in thalweg_agent::fault::SOCKETS {
        // What is created is new: without programs of an agent before.
        node.pods.lab.end("-TERM");
        if point.contains("created") || point.contains("pinned") {
            node.pods.lab.text(&["detach"]);
        }
        let wish = format!("{point}:3");
        match *point {
            "socket-detached" => {
                let mut detach = node.pods.lab.thalweg(&["detach"]);
                assert_eq!(detach.env("THALWEG_FAULT", wish).status().unwrap().code(), None);
            }
            _ => node.pods.lab.dies(|run| {
                run.env("THALWEG_FAULT", wish);
            }),
        }
        assert!(node.pods.lab.start(), "after {point}");
        for at in ["10.96.0.10:80", "[fd00:96::10]:80"] {
            node.pods.lab.until(|| node.talks("r", at).is_ok());
        }
        let socket = datagram_socket(&node, "r", "0.0.0.0:0");
        assert_eq!(asks(&socket, "10.96.0.10:9").unwrap().1.to_string(), "10.96.0.10:9", "{point}");
    }
    node.pods.lab.end("-TERM");
    node.pods.lab.text(&["detach"]);
    let pins = format!("/sys/fs/bpf/thalweg/{}", node.pods.lab.name);
    assert!(!std::path::Path::new(&pins).exists());
}
