//! Services and workloads with real sockets: a node with three pods, and a client outside.

mod lab;

use lab::ip;
use lab::pods::{Pods, pod};
use lab::sockets::{LONG, connect, inside, listen};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Addresses of the pods; the first is a client, the others serve.
const PODS: [&str; 3] = ["10.9.0.2", "10.9.0.3", "10.9.0.4"];

/// The files: pods, a service with two ports, and those of its endpoints that are given.
fn config(endpoints: &str) -> String {
    let mut text = String::from(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplink}\n\
         spec: {interfaces: [eth0]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {name: router}\nspec: {limits: {flows: 4096, ringSlots: 1048576}}\n",
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, "");
    }
    text + "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports:
  - {name: who, port: 80, nodePort: 30080, protocol: TCP}
  - {name: echo, port: 7, nodePort: 30007, protocol: TCP}
  - {name: udp, port: 9, nodePort: 30009, protocol: UDP}
  - {name: nobody, port: 10, nodePort: 30010, protocol: UDP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: who, port: 8080, protocol: TCP}
- {name: echo, port: 8007, protocol: TCP}
- {name: udp, port: 8009, protocol: UDP}
- {name: nobody, port: 8010, protocol: UDP}
endpoints:
" + endpoints
}

const BOTH: &str = "- {addresses: [10.9.0.3]}\n- {addresses: [10.9.0.4]}\n";
const ONE: &str = "- {addresses: [10.9.0.3]}\n";
/// The node itself.
const HOST: &str = "- {addresses: [10.0.0.1]}\n";
const NONE: &str = "  []\n";

/// The node with its pods.
struct Node(Pods);

impl Node {
    fn new(tag: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &PODS)?;
        fs::write(pods.lab.config(), config(BOTH)).unwrap();
        if !pods.lab.start() {
            return None;
        }
        let mut node = Self(pods);
        for number in [1, 2] {
            node.serve(&format!("p{number}"));
        }
        Some(node)
    }

    /// Servers of a host: one says who it is and whom it sees, two say everything again.
    fn serve(&mut self, host: &str) {
        let stop = self.0.stop.clone();
        let name = host.to_owned();
        let who = move |mut stream: TcpStream, peer: SocketAddr| {
            let _ = write!(stream, "{name} saw {}", peer.ip());
        };
        let echo = move |mut stream: TcpStream, _| {
            std::thread::spawn(move || {
                let mut octets = [0; 1024];
                while let Ok(len @ 1..) = stream.read(&mut octets) {
                    if stream.write_all(&octets[..len]).is_err() {
                        break;
                    }
                }
            });
        };
        let namespace = self.0.namespace(host);
        self.0.servers.push(echo_datagrams(&namespace, stop.clone()));
        self.0.servers.push(listen(&namespace, ("0.0.0.0", 8080), stop.clone(), who));
        self.0.servers.push(listen(&namespace, ("0.0.0.0", 8007), stop, echo));
    }

    /// Connects from a host's namespace; what is heard until the other side closes.
    fn hears(&self, host: &str, at: &str) -> Result<String, String> {
        inside(&self.0.namespace(host), || {
            let mut stream = connect(at)?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok(text)
        })
    }

    /// Many connections from a host: how often each was heard.
    fn many(&self, host: &str, at: &str, count: u32) -> BTreeMap<String, u32> {
        let mut heard = BTreeMap::new();
        for _ in 0..count {
            let words = self.hears(host, at).unwrap_or_else(|error| error);
            *heard.entry(words).or_insert(0) += 1;
        }
        heard
    }
}

/// Sends every datagram back to whom it came from.
fn echo_datagrams(namespace: &str, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let socket = inside(namespace, || UdpSocket::bind(("0.0.0.0", 8009)).unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    std::thread::spawn(move || {
        let mut octets = [0; 9000];
        while !stop.load(SeqCst) {
            if let Ok((len, peer)) = socket.recv_from(&mut octets) {
                let _ = socket.send_to(&octets[..len], peer);
            }
        }
    })
}

/// Sends a datagram of so many octets and waits for the answer: how long that is.
fn asks(namespace: &str, at: &str, len: usize) -> std::io::Result<usize> {
    let (at, namespace) = (at.to_owned(), namespace.to_owned());
    inside(&namespace, move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(LONG))?;
        socket.connect(at)?;
        socket.send(&vec![7; len])?;
        socket.recv(&mut [0; 9000])
    })
}

#[test]
fn clients_reach_backends_which_see_their_real_addresses() {
    let Some(mut node) = Node::new("sa") else { return };
    for (host, at, seen) in
        [("p0", "10.96.0.10:80", "10.9.0.2"), ("a", "10.0.0.1:30080", "10.0.0.9")]
    {
        let heard = node.many(host, at, 40);
        let wished = |number| format!("p{number} saw {seen}");
        assert_eq!(heard.len(), 2, "{at}: {heard:?}");
        assert!(heard.contains_key(&wished(1)) && heard.contains_key(&wished(2)), "{heard:?}");
    }
    // The host's own processes and its workloads talk as on any host.
    let told = node.hears("r", "10.9.0.3:8080");
    assert_eq!(told.as_deref(), Ok("p1 saw 10.0.0.1"), "from the host to a pod");
    let stop = node.0.stop.clone();
    let greet = |mut stream: TcpStream, _| drop(stream.write_all(b"the host"));
    let server = listen(&node.0.namespace("r"), ("0.0.0.0", 8022), stop, greet);
    let told = node.hears("p0", "10.0.0.1:8022");
    assert_eq!(told.as_deref(), Ok("the host"), "from a pod to the host");
    node.0.servers.push(server);
    // Who serves reaches itself, too, and then hears the service.
    let heard = node.many("p1", "10.96.0.10:80", 20);
    let wished = ["p1 saw 10.96.0.10", "p2 saw 10.9.0.3"];
    assert_eq!(heard.keys().map(String::as_str).collect::<Vec<_>>(), wished);
    // A port that the service does not have is refused at once, by an ICMP error.
    let start = Instant::now();
    let refused = node.hears("p0", "10.96.0.10:81").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    assert!(start.elapsed() < LONG / 2);
    let flows = node.0.lab.text(&["get", "flows", "--from", "pod/shop/p0", "-o", "wide"]);
    assert!(flows.contains("10.96.0.10:80") && flows.contains("shop/web"), "{flows}");
    let backends = node.0.lab.text(&["get", "backends"]);
    assert!(backends.contains("10.9.0.3:8080") && backends.contains("serving"), "{backends}");
    let told = node.0.lab.text(&["explain", "pod0 < ip 10.9.0.2 > 10.96.0.10 tcp 5 > 80 syn"]);
    assert!(told.contains("shop/web at 10.96.0.10:80/TCP (ClusterIP): backend 10.9.0."), "{told}");
}

#[test]
fn a_backend_leaves_under_load_and_no_request_fails() {
    let Some(node) = Node::new("sb") else { return };
    let (mut done, mut failed) = (0, Vec::new());
    let mut last = BTreeMap::new();
    for round in 0..6 {
        let endpoints = if round % 2 == 0 { ONE } else { BOTH };
        fs::write(node.0.lab.config(), config(endpoints)).unwrap();
        last = node.many("a", "10.0.0.1:30080", 50);
        done += last.values().sum::<u32>();
        failed.extend(last.keys().filter(|words| !words.starts_with('p')).cloned());
    }
    assert_eq!((done, failed), (300, Vec::new()));
    assert!(!last.is_empty());
    // When the last is gone, clients are told at once.
    fs::write(node.0.lab.config(), config(NONE)).unwrap();
    node.0.lab.until(|| node.hears("a", "10.0.0.1:30080").is_err_and(|e| e.contains("refused")));
}

#[test]
fn a_connection_outlives_the_agent_and_a_service_that_changes() {
    let Some(mut node) = Node::new("sc") else { return };
    let mut stream = inside(&node.0.namespace("a"), || connect("10.0.0.1:30007")).unwrap();
    let mut say = |what: &[u8]| {
        let mut heard = vec![0; what.len()];
        stream.write_all(what).unwrap();
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard, what);
    };
    say(b"before");
    node.0.lab.end("-KILL");
    say(b"nobody there");
    assert!(node.0.lab.start());
    say(b"another agent");
    // A version with other tables takes the flows over, and gives them back.
    if node.0.lab.next_version() {
        for words in [&b"another layout"[..], b"this one again"] {
            node.0.lab.end("-KILL");
            assert!(node.0.lab.start());
            say(words);
            node.0.lab.this_version();
        }
    }
    fs::write(node.0.lab.config(), config(NONE)).unwrap();
    node.0.lab.until(|| node.0.lab.text(&["get", "backends"]).contains("no backends"));
    say(b"no backend any more");
    let flows = node.0.lab.text(&["get", "flows", "--state", "established"]);
    assert!(flows.contains("10.0.0.1:30007"), "{flows}");
}

#[test]
fn what_goes_beside_connections_arrives_too() {
    let Some(node) = Node::new("sd") else { return };
    let name = |host: &str| node.0.namespace(host);
    for (host, vip, node_port) in [("p0", "10.96.0.10:9", false), ("a", "10.0.0.1:30009", true)] {
        // In one piece, and in several.
        for len in [10, 4000] {
            let heard = asks(&name(host), vip, len);
            let heard = heard.map_err(|error| error.to_string());
            let why = || node.0.lab.text(&["get", "drops"]) + &node.0.lab.text(&["get", "flows"]);
            assert_eq!(heard, Ok(len), "{len} octets to {vip}\n{}", why());
        }
        // Nobody listens: the backend's error is heard as the service's.
        let nobody = if node_port { "10.0.0.1:30010" } else { "10.96.0.10:10" };
        let refused = asks(&name(host), nobody, 10).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{nobody}");
    }
    ip(&format!("netns exec {} ping -c 1 -W 2 10.96.0.10", name("p0"))).expect("a service answers");
    // A link that is narrower than both ends believe: who answers hears of it.
    ip(&format!("-n {} link set eth0 mtu 1300", name("r"))).unwrap();
    let mut stream = inside(&name("a"), || connect("10.0.0.1:30007")).unwrap();
    let (sent, mut heard) = (vec![5; 200_000], vec![0; 200_000]);
    std::thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        let sent = &sent;
        scope.spawn(move || writer.write_all(sent).unwrap());
        stream.read_exact(&mut heard).expect("large answers find out how large they may be");
    });
    assert!(heard == sent);
}

#[test]
fn a_backend_may_be_the_host_itself() {
    let Some(mut node) = Node::new("se") else { return };
    node.serve("r");
    fs::write(node.0.lab.config(), config(HOST)).unwrap();
    node.0.lab.until(|| node.0.lab.text(&["get", "backends"]).contains("10.0.0.1:8080"));
    for (host, at, seen) in
        [("p0", "10.96.0.10:80", "10.9.0.2"), ("a", "10.0.0.1:30080", "10.0.0.9")]
    {
        assert_eq!(node.hears(host, at), Ok(format!("r saw {seen}")), "{at}");
        let namespace = node.0.namespace(host);
        let datagrams = if host == "a" { "10.0.0.1:30009" } else { "10.96.0.10:9" };
        for len in [10, 4000] {
            let heard = asks(&namespace, datagrams, len).map_err(|error| error.to_string());
            assert_eq!(heard, Ok(len), "{len} octets to {datagrams}");
        }
        // The kernel's own errors about what was sent to it are the service's.
        let nobody = if host == "a" { "10.0.0.1:30010" } else { "10.96.0.10:10" };
        let refused = asks(&namespace, nobody, 10).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{nobody}");
    }
    let flows = node.0.lab.text(&["get", "flows", "--from", "pod/shop/p0"]);
    assert!(flows.contains("10.0.0.1:8080"), "{flows}");
    // Its programs go with the others.
    node.0.lab.end("-TERM");
    let detached = node.0.lab.text(&["detach"]);
    assert!(detached.contains("leaving"), "{detached}");
}

/// A balanced service of which some endpoints are here, beside the rest of the files.
fn balanced(local: &str) -> String {
    config(BOTH)
        + "---
apiVersion: v1
kind: Node
metadata: {name: here}
status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: lb, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20]
  externalTrafficPolicy: Local
  healthCheckNodePort: 31234
  ports: [{name: who, port: 80, nodePort: 30081, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: lb-1, namespace: shop, labels: {kubernetes.io/service-name: lb}}
addressType: IPv4
ports: [{name: who, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.9.0.3], nodeName: here, conditions: {ready: "
        + local
        + "}}
- {addresses: [10.9.1.3], nodeName: elsewhere, conditions: {ready: true}}
"
}

#[test]
fn balancers_hear_whether_endpoints_are_here() {
    let Some(node) = Node::new("sf") else { return };
    let router = "metadata: {name: router}\nspec: {";
    let write = |text: String| {
        let text = text.replace(router, &format!("{router}node: here, "));
        fs::write(node.0.lab.config(), text).unwrap();
    };
    let ask = || {
        inside(&node.0.namespace("a"), || {
            let mut stream = connect("10.0.0.1:31234")?;
            let question = b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";
            stream.write_all(question).map_err(|error| error.to_string())?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok::<_, String>(text)
        })
    };
    assert!(ask().is_err_and(|error| error.contains("refused")), "nobody is asked yet");
    write(balanced("true"));
    node.0.lab.until(|| ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200")));
    let text = ask().unwrap();
    assert!(text.contains("\"localEndpoints\":1") && text.contains("\"name\":\"lb\""), "{text}");
    assert!(text.contains("x-load-balancing-endpoint-weight: 1"), "{text}");
    write(balanced("false"));
    node.0.lab.until(|| ask().is_ok_and(|text| text.starts_with("HTTP/1.1 503")));
    // What has the port is named, and the rest goes on.
    write(config(BOTH));
    node.0.lab.until(|| ask().is_err_and(|error| error.contains("refused")));
    let other = inside(&node.0.namespace("r"), || std::net::TcpListener::bind("10.0.0.1:31234"));
    write(balanced("true"));
    node.0.lab.until(|| node.0.lab.text(&["status"]).contains("cannot be answered"));
    let status = node.0.lab.text(&["status"]);
    assert!(status.contains("another program listens there"), "{status}");
    assert!(node.hears("a", "10.0.0.1:30081").is_ok_and(|text| text == "p1 saw 10.0.0.9"));
    // Once it is free, it is had: tried again when something changes, a second later at the earliest.
    drop(other);
    let ready = std::cell::Cell::new("false");
    node.0.lab.until(|| {
        ready.set(if ready.get() == "true" { "false" } else { "true" });
        write(balanced(ready.get()));
        ask().is_ok()
    });
    node.0.lab.until(|| !node.0.lab.text(&["status"]).contains("cannot be answered"));
}

/// `thalweg.io/hostPorts`: ports of the node in a row, with others of the pod, TCP and UDP.
#[test]
fn ports_of_the_node_in_a_row_lead_to_a_pod() {
    let Some(mut node) = Node::new("sh") else { return };
    let named = |name: &'static str| {
        move |mut stream: TcpStream, peer: SocketAddr| {
            let _ = write!(stream, "{name} saw {}", peer.ip());
        }
    };
    node.0.serve("p1", 8081, named("second"));
    node.0.serve("p1", 8082, named("third"));
    let ports = "thalweg.io/hostPorts: '30200-30202:8080-8082, 30208-30209:8008-8009/udp, \
                 10.0.0.1:30300:8081'";
    let annotation = "thalweg.io/interface: pod1";
    let with = |ports: &str| config(BOTH).replace(annotation, &format!("{annotation}, {ports}"));
    fs::write(node.0.lab.config(), with(ports)).unwrap();
    let hears = |port: u16| node.hears("a", &format!("10.0.0.1:{port}"));
    node.0.lab.until(|| hears(30_202).is_ok());
    for (port, name) in [(30_200, "p1"), (30_201, "second"), (30_202, "third"), (30_300, "second")]
    {
        assert_eq!(hears(port), Ok(format!("{name} saw 10.0.0.9")), "{port}");
    }
    // Pods of this node reach them as well.
    assert_eq!(node.hears("p0", "10.0.0.1:30201"), Ok("second saw 10.9.0.2".into()));
    let datagram = |port: u16| asks(&node.0.namespace("a"), &format!("10.0.0.1:{port}"), 9);
    assert_eq!(datagram(30_209).unwrap(), 9);
    // Beside the row, the host has its ports itself.
    for port in [30_199, 30_203, 30_301] {
        assert!(hears(port).is_err_and(|error| error.contains("refused")), "{port}");
    }
    assert!(datagram(30_210).is_err());
    let services = node.0.lab.text(&["get", "services"]);
    assert!(services.contains("HostPort") && services.contains("10.0.0.1:30202"), "{services}");
    // The row becomes shorter.
    fs::write(node.0.lab.config(), with("thalweg.io/hostPorts: 30200-30201:8080-8081")).unwrap();
    node.0.lab.until(|| hears(30_202).is_err());
    assert_eq!(hears(30_201), Ok("second saw 10.0.0.9".into()));
}

#[test]
fn a_command_makes_a_link_a_workload() {
    let Some(node) = Node::new("sg") else { return };
    let all = config(BOTH);
    let start = all.find("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p0").unwrap();
    let end = all.find("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p1").unwrap();
    fs::write(node.0.lab.config(), all[..start].to_owned() + &all[end..]).unwrap();
    // Without its object it is nobody's link.
    node.0.lab.until(|| node.hears("p0", "10.96.0.10:80").is_err());
    let attach = |words: &[&str]| {
        let done = node.0.lab.ask(&[&["attach"], words].concat());
        (
            done.status.code(),
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
        )
    };
    for (words, why) in [
        (&["pod1", "--pod", "shop/p0", "--ip", "10.9.0.2"][..], "already belongs to"),
        (&["pod0", "--pod", "p0", "--ip", "10.9.0.2"], "NAMESPACE/NAME"),
        (&["pod0", "--pod", "shop/p0", "--ip", "127.0.0.1"], "127.0.0.1"),
        (&["pod0", "--pod", "shop/p0"], "--ip"),
        (&["pod9", "--pod", "shop/p0", "--ip", "10.9.0.2"], "no interface `pod9`"),
        (&["pod0", "--pod", "shop/p0", "--ip", "10.9.0.2", "--ip", "10.9.0.9"], "one family"),
    ] {
        let (code, said) = attach(words);
        assert!(matches!(code, Some(1 | 2)) && said.contains(why), "{words:?}: {code:?} {said}");
    }
    let history = node.0.lab.text(&["history"]);
    assert!(!history.contains("attach"), "what is refused changes nothing: {history}");
    let (code, said) = attach(&["pod0", "--pod", "shop/p0", "--ip", "10.9.0.2"]);
    assert_eq!(code, Some(0), "{said}");
    let heard = node.hears("p0", "10.96.0.10:80");
    assert!(heard.as_ref().is_ok_and(|words| words.ends_with("saw 10.9.0.2")), "{heard:?}");
    let history = node.0.lab.text(&["history"]);
    assert!(history.contains("attach"), "{history}");
    // And away again, alone.
    let gone = node.0.lab.ask(&["detach", "--pod", "shop/p0"]);
    assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
    assert!(node.hears("p0", "10.96.0.10:80").is_err());
    assert!(node.hears("a", "10.0.0.1:30080").is_ok());
    let twice = node.0.lab.ask(&["detach", "--pod", "shop/p0"]);
    assert_eq!(twice.status.code(), Some(1));
}
