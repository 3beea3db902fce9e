//! Policies with real sockets: a node with three pods, a client at a link of ours, another behind the kernel.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::{connect, inside};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Addresses of the pods.
const PODS: [&str; 3] = ["10.9.0.2", "10.9.0.3", "10.9.0.4"];
/// Who is denied waits as long.
const SHORT: Duration = Duration::from_millis(600);

/// The files: three pods, a service of the second, and policies.
fn config(policies: &str) -> String {
    let mut text = String::from(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplink}\n\
         spec: {interfaces: [eth0]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {name: router}\nspec: {limits: {flows: 4096, ringSlots: 1048576}}\n",
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, &format!("  labels: {{app: p{number}}}\n"));
    }
    text + "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports: [{name: who, port: 80, nodePort: 30080, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: who, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.9.0.3]}]
" + policies
}

/// A policy of Kubernetes for one pod.
fn policy(app: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: of-{app}, namespace: shop}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: {app}}}}}\n{spec}"
    )
}

const FROM_P0: &str =
    "  ingress: [{from: [{podSelector: {matchLabels: {app: p0}}}], ports: [{port: 8080}]}]\n";
const FROM_CLIENT: &str =
    "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.9/32}}], ports: [{port: 8080}]}]\n";
const NOBODY_IN: &str = "  policyTypes: [Ingress]\n";
const NOBODY_OUT: &str = "  policyTypes: [Egress]\n";

struct Node(Pods);

impl Node {
    fn new(tag: &str, policies: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &PODS)?;
        fs::write(pods.lab.config(), config(policies)).unwrap();
        if !pods.lab.start() {
            return None;
        }
        for host in ["p0", "p1", "p2", "r"] {
            let name = host.to_owned();
            // Says who it is and whom it sees; then everything again.
            pods.serve(host, 8080, move |mut stream, peer| {
                let name = name.clone();
                std::thread::spawn(move || {
                    let _ = writeln!(stream, "{name} saw {}", peer.ip());
                    let mut octets = [0; 1024];
                    while let Ok(len @ 1..) = stream.read(&mut octets) {
                        if stream.write_all(&octets[..len]).is_err() {
                            break;
                        }
                    }
                });
            });
            let socket = inside(&pods.namespace(host), || UdpSocket::bind("0.0.0.0:9").unwrap());
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let stop = pods.stop.clone();
            pods.servers.push(std::thread::spawn(move || {
                let mut octets = [0; 9000];
                while !stop.load(SeqCst) {
                    if let Ok((len, peer)) = socket.recv_from(&mut octets) {
                        let _ = socket.send_to(&octets[..len], peer);
                    }
                }
            }));
        }
        Some(Self(pods))
    }

    /// Writes other policies and waits until they are in force.
    fn apply(&self, policies: &str) {
        let generation = |node: &Self| {
            let status = node.0.lab.text(&["status", "-o", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            status["generation"].as_u64().unwrap()
        };
        let before = generation(self);
        fs::write(self.0.lab.config(), config(policies)).unwrap();
        self.0.lab.until(|| generation(self) > before);
    }

    /// What a host hears first from another; an error if nothing.
    fn hears(&self, host: &str, at: &str) -> Result<String, String> {
        inside(&self.0.namespace(host), || {
            let at = at.parse().unwrap();
            let stream = TcpStream::connect_timeout(&at, SHORT).map_err(|e| e.to_string())?;
            stream.set_read_timeout(Some(SHORT)).unwrap();
            line(&stream)
        })
    }

    /// Whether a datagram of so many octets comes back.
    fn asks(&self, host: &str, at: &str, len: usize) -> bool {
        inside(&self.0.namespace(host), || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(SHORT)).unwrap();
            socket.connect(at).unwrap();
            socket.send(&vec![7; len]).unwrap();
            matches!(socket.recv(&mut [0; 9000]), Ok(heard) if heard == len)
        })
    }

    /// What was dropped and is known, for those who look.
    fn seen(&self) -> String {
        self.0.lab.text(&["get", "drops"]) + &self.0.lab.text(&["get", "flows"])
    }

    fn dropped(&self, reason: &str) -> u64 {
        let drops = self.0.lab.text(&["get", "drops", "-o", "json"]);
        let drops: serde_json::Value = serde_json::from_str(&drops).unwrap();
        let of = drops.as_array().unwrap().iter().filter(|one| one["reason"] == reason);
        of.filter_map(|one| one["packets"].as_u64()).sum()
    }
}

/// A line of what is heard.
fn line(mut stream: &TcpStream) -> Result<String, String> {
    let (mut heard, mut octet) = (String::new(), [0]);
    while stream.read(&mut octet).map_err(|error| error.to_string())? == 1 && octet[0] != b'\n' {
        heard.push(octet[0] as char);
    }
    Ok(heard)
}

#[test]
fn who_is_not_allowed_hears_nothing() {
    let Some(node) = Node::new("ea", &policy("p1", FROM_P0)) else { return };
    let p1 = "10.9.0.3:8080";
    assert_eq!(node.hears("p0", p1).as_deref(), Ok("p1 saw 10.9.0.2"));
    assert_eq!(
        node.hears("p0", "10.96.0.10:80").as_deref(),
        Ok("p1 saw 10.9.0.2"),
        "by the service"
    );
    for (host, at) in [
        ("p2", p1),
        ("p2", "10.96.0.10:80"),
        ("a", p1),
        ("a", "10.0.0.1:30080"),
        // Routed by the kernel: no link of ours leads there.
        ("b", p1),
    ] {
        let told = node.hears(host, at).unwrap_err();
        assert!(told.contains("timed out"), "{host} to {at}: {told}");
    }
    assert!(node.dropped("policy") >= 5);
    // Each of these drops has a name: by the end of the tier, since no rule allows them.
    let told = node.0.lab.text(&["drops", "--reason", "policy", "-n", "100"]);
    assert!(told.contains("by: ingress: end of tier default"), "{told}");
    for host in ["p0", "p2", "a", "b"] {
        assert!(!node.asks(host, "10.9.0.3:9", 10), "{host}: not that port");
        assert!(!node.asks(host, "10.9.0.3:9", 4000), "{host}: nor in fragments");
    }
    // Others are open, and the pod itself may speak to anybody and hears the answers.
    assert!(node.asks("p0", "10.9.0.4:9", 4000), "{}", node.seen());
    assert!(node.asks("a", "10.9.0.4:9", 10));
    assert!(node.asks("b", "10.9.0.4:9", 10));
    assert_eq!(node.hears("p1", "10.9.0.4:8080").as_deref(), Ok("p2 saw 10.9.0.3"));
    assert!(node.asks("p1", "10.9.0.2:9", 4000));
    // Its own node always reaches it (probes).
    assert_eq!(node.hears("r", p1).as_deref(), Ok("p1 saw 10.0.0.1"));
    assert!(node.asks("r", "10.9.0.3:9", 10));
    // Policies see the client's real address behind a node port.
    node.apply(&policy("p1", FROM_CLIENT));
    assert_eq!(node.hears("a", "10.0.0.1:30080").as_deref(), Ok("p1 saw 10.0.0.9"));
    assert!(node.hears("p0", "10.96.0.10:80").is_err());
}

#[test]
fn a_pod_that_may_not_speak_still_answers() {
    let Some(node) = Node::new("eb", &policy("p1", NOBODY_OUT)) else { return };
    assert_eq!(node.hears("p0", "10.9.0.3:8080").as_deref(), Ok("p1 saw 10.9.0.2"));
    assert_eq!(node.hears("a", "10.0.0.1:30080").as_deref(), Ok("p1 saw 10.0.0.9"));
    let told = node.hears("b", "10.9.0.3:8080");
    assert_eq!(told.as_deref(), Ok("p1 saw 10.0.1.254"), "{}", node.seen());
    assert!(node.asks("a", "10.9.0.3:9", 4000) && node.asks("b", "10.9.0.3:9", 10));
    // The host speaks by no hook of ours, and hears answers of all kinds.
    assert_eq!(node.hears("r", "10.9.0.3:8080").as_deref(), Ok("p1 saw 10.0.0.1"));
    assert!(node.asks("r", "10.9.0.3:9", 10) && node.asks("r", "10.9.0.3:9", 4000));
    // But nobody is spoken to: neither pods, nor the outside, nor the host.
    for at in ["10.9.0.2", "10.0.0.9", "10.0.1.254", "10.0.0.1"] {
        assert!(!node.asks("p1", &format!("{at}:9"), 10), "{at}");
        let told = node.hears("p1", &format!("{at}:8080")).unwrap_err();
        assert!(told.contains("timed out"), "{at}: {told}");
    }
    // What a pod may say to its host is answered.
    node.apply("");
    assert!(node.asks("p1", "10.0.0.1:9", 10));
    assert_eq!(node.hears("p1", "10.0.0.1:8080").as_deref(), Ok("r saw 10.9.0.3"));
}

#[test]
fn what_is_forbidden_while_it_runs_is_cut() {
    let Some(mut node) = Node::new("ec", "") else { return };
    let open = |node: &Node, host: &str, at: &str| {
        let stream = inside(&node.0.namespace(host), || connect(at)).unwrap();
        line(&stream).unwrap();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        stream
    };
    let goes = |mut stream: &TcpStream| {
        let mut heard = [0; 5];
        stream.write_all(b"again").unwrap();
        match stream.read_exact(&mut heard) {
            Ok(()) => true,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                false
            }
        }
    };
    let streams = [
        open(&node, "p0", "10.9.0.3:8080"),
        open(&node, "a", "10.0.0.1:30080"),
        open(&node, "p1", "10.0.0.1:8080"),
        open(&node, "r", "10.9.0.3:8080"),
    ];
    assert!(streams.iter().all(goes));
    // Something else changes: nothing is cut.
    node.apply(&policy("p2", NOBODY_IN));
    assert!(streams.iter().all(goes));
    // Nobody may come; what the pod has begun, and what its node says, goes on.
    node.apply(&policy("p1", NOBODY_IN));
    assert_eq!(streams.each_ref().map(goes), [false, false, true, true]);
    // Nobody may be spoken to, either; the node goes on.
    let neither = "  policyTypes: [Ingress, Egress]\n";
    node.apply(&policy("p1", neither));
    assert_eq!(streams.each_ref().map(goes), [false, false, false, true]);
    assert!(node.hears("p0", "10.9.0.3:8080").is_err());
    // It holds while no agent runs.
    node.0.lab.end("-KILL");
    assert!(node.hears("p0", "10.9.0.3:8080").is_err());
    assert!(goes(&streams[3]));
    assert_eq!(node.hears("p0", "10.9.0.4:8080").as_deref(), Ok("p2 saw 10.9.0.2"));
    assert!(node.0.lab.start());
    node.apply("");
    assert_eq!(node.hears("p0", "10.9.0.3:8080").as_deref(), Ok("p1 saw 10.9.0.2"));
}
