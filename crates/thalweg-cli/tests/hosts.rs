//! Policies of a host itself, with real sockets: a node with two links, a client outside on each side, and a
//! pod. The first link has a host endpoint.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::{connect, inside};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Who is denied waits as long.
const SHORT: Duration = Duration::from_millis(600);
/// The pod's address.
const POD: &str = "10.9.0.2";

/// The files: two links, the endpoint of the first, a pod behind a node port, and policies. What stands in
/// front of the first line is the policies' part of the router.
fn config(policies: &str) -> String {
    let (router, policies) = policies.split_once("---").unwrap_or((policies, ""));
    let text = "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: all}\n\
        spec: {interfaces: [eth0, eth1]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
        metadata: {name: router}\nspec:\n  node: n1\n  limits: {flows: 4096, ringSlots: 1048576}\n";
    text.to_owned()
        + router
        + &pod(0, POD, "  labels: {app: p0}\n")
        + "---
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
endpoints: [{addresses: [10.9.0.2]}]
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: outer, labels: {side: outer}}
spec: {node: n1, interfaceName: eth0}
---" + policies
}

/// A policy for the endpoint.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
         metadata: {{name: {name}}}\nspec:\n  selector: side == 'outer'\n{spec}"
    )
}

/// Anybody may come to port 8080, and the host may speak to that of others.
const WEB: &str = "  types: [Ingress, Egress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [8080]}}]
  egress: [{action: Allow, protocol: TCP, destination: {ports: [8080]}}]
";

struct Node(Pods);

impl Node {
    fn new(tag: &str, policies: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &[POD])?;
        fs::write(pods.lab.config(), config(policies)).unwrap();
        if !pods.lab.start() {
            return None;
        }
        for (host, port) in [
            ("p0", 8080),
            ("r", 8080),
            ("r", 22),
            ("a", 8080),
            ("a", 179),
            ("b", 8080),
            ("b", 8081),
            ("r", 8081),
        ] {
            let name = host.to_owned();
            // Says who it is and whom it sees; then everything again.
            pods.serve(host, port, move |mut stream, peer| {
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
        }
        Some(Self(pods))
    }

    /// Writes other policies and waits until they are in force.
    fn apply(&self, policies: &str) {
        self.write(&config(policies));
    }

    /// Writes other files and waits until they are in force.
    fn write(&self, text: &str) {
        let generation = || {
            let status = self.0.lab.text(&["status", "-o", "json"]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            status["generation"].as_u64().unwrap()
        };
        let before = generation();
        fs::write(self.0.lab.config(), text).unwrap();
        self.0.lab.until(|| generation() > before);
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

    #[track_caller]
    fn open(&self, host: &str, at: &str, said: &str) {
        assert_eq!(self.hears(host, at).as_deref(), Ok(said), "{host} to {at}: {}", self.seen());
    }

    #[track_caller]
    fn cut(&self, host: &str, at: &str) {
        let told = self.hears(host, at).expect_err(at);
        assert!(told.contains("timed out"), "{host} to {at}: {told}");
    }

    /// A connection that has said something.
    fn connected(&self, host: &str, at: &str) -> TcpStream {
        let stream = inside(&self.0.namespace(host), || connect(at)).unwrap();
        line(&stream).unwrap();
        stream.set_read_timeout(Some(SHORT)).unwrap();
        stream
    }

    /// Both ends of a connection that nobody has said anything on: the client's and the server's.
    fn pair(&self, client: &str, server: &str, at: (&str, u16)) -> (TcpStream, TcpStream) {
        let listener = inside(&self.0.namespace(server), || TcpListener::bind(at)).unwrap();
        let client = inside(&self.0.namespace(client), || connect(&format!("{}:{}", at.0, at.1)));
        let pair = (client.unwrap(), listener.accept().unwrap().0);
        for stream in [&pair.0, &pair.1] {
            stream.set_read_timeout(Some(SHORT)).unwrap();
        }
        pair
    }

    /// What was dropped and is known, for those who look.
    fn seen(&self) -> String {
        let drops = self.0.lab.text(&["drops", "--reason", "policy", "-n", "9"]);
        drops + &self.0.lab.text(&["get", "drops"]) + &self.0.lab.text(&["get", "flows"])
    }
}

/// Whether a connection still carries something there and back.
fn goes(mut stream: &TcpStream) -> bool {
    let mut heard = [0; 5];
    stream.write_all(b"again").is_ok() && stream.read_exact(&mut heard).is_ok()
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
fn a_host_endpoint_without_policies_leaves_fail_safe_ports_open() {
    let Some(node) = Node::new("ha", "") else { return };
    node.cut("a", "10.0.0.1:8080");
    node.cut("a", "10.0.1.1:8080");
    node.open("a", "10.0.0.1:22", "r saw 10.0.0.9");
    assert!(!node.0.lab.pings_once("10.0.0.1"));
    node.cut("r", "10.0.0.9:8080");
    node.open("r", "10.0.0.9:179", "a saw 10.0.0.1");
    // The other link has no endpoint, and what is passed on is nobody's business here.
    node.open("b", "10.0.1.1:8080", "r saw 10.0.1.254");
    node.open("b", "10.0.0.1:8080", "r saw 10.0.1.254");
    node.open("r", "10.0.1.254:8080", "b saw 10.0.1.1");
    node.open("a", "10.0.1.254:8080", "b saw 10.0.0.9");
    node.open("b", "10.0.0.9:8080", "a saw 10.0.1.254");
    node.open("a", "10.9.0.2:8080", "p0 saw 10.0.0.9");
    node.open("a", "10.0.0.1:30080", "p0 saw 10.0.0.9");
    node.open("p0", "10.0.0.9:8080", "a saw 10.9.0.2");
    node.open("p0", "10.0.0.1:8080", "r saw 10.9.0.2");
    node.open("r", "10.9.0.2:8080", "p0 saw 10.0.0.1");
    let told = node.0.lab.text(&["drops", "--reason", "policy", "-n", "100"]);
    assert!(told.contains("by: ingress: no policy decides"), "{told}");
    let told = ["eth0", "eth1"].map(|link| node.0.lab.text(&["describe", "link", link]));
    let said = told.each_ref().map(|told| told.contains("HostEndpoint/outer"));
    assert_eq!(said, [true, false], "{told:?}");
    // It holds while no agent runs.
    let mut node = node;
    node.0.lab.end("-KILL");
    node.cut("a", "10.0.0.1:8080");
    node.open("a", "10.0.0.1:22", "r saw 10.0.0.9");
}

#[test]
fn what_policies_allow_at_a_host_is_open_and_answered() {
    let Some(node) = Node::new("hb", &policy("web", WEB)) else { return };
    node.open("a", "10.0.0.1:8080", "r saw 10.0.0.9");
    node.open("a", "10.0.0.1:22", "r saw 10.0.0.9");
    node.open("r", "10.0.0.9:8080", "a saw 10.0.0.1");
    node.open("a", "10.0.1.254:8081", "b saw 10.0.0.9");
    let policies = node.0.lab.text(&["get", "policies", "-o", "json"]);
    let policies: serde_json::Value = serde_json::from_str(&policies).unwrap();
    assert_eq!(policies[0]["state"], "in force", "{policies}");
    assert!(policies[0]["hits"].as_u64().unwrap() >= 2, "{policies}");
    // Those of one direction alone.
    node.apply(&policy("web", &WEB.replace("[Ingress, Egress]", "[Ingress]")));
    node.open("a", "10.0.0.1:8080", "r saw 10.0.0.9");
    node.cut("r", "10.0.0.9:8080");
    node.apply(&policy("web", &WEB.replace("[Ingress, Egress]", "[Egress]")));
    node.cut("a", "10.0.0.1:8080");
    node.open("r", "10.0.0.9:8080", "a saw 10.0.0.1");
}

#[test]
fn what_is_passed_on_is_asked_of_policies_for_it_alone() {
    let deny = "  types: [Ingress]\n  ingress:\n  - action: Deny\n    protocol: TCP\n    \
                destination: {nets: [10.0.1.254/32], ports: [8080]}\n  \
                - {action: Allow}\n";
    let Some(node) = Node::new("hc", &policy("some", deny)) else { return };
    node.open("a", "10.0.1.254:8080", "b saw 10.0.0.9");
    node.apply(&policy("some", &format!("  applyOnForward: true\n{deny}")));
    node.cut("a", "10.0.1.254:8080");
    node.open("a", "10.0.1.254:8081", "b saw 10.0.0.9");
    node.open("a", "10.0.0.1:8080", "r saw 10.0.0.9");
    node.open("a", "10.0.0.1:30080", "p0 saw 10.0.0.9");
    node.open("b", "10.0.0.9:8080", "a saw 10.0.1.254");
    // What leaves by the link is asked about the other way.
    let out = "  applyOnForward: true\n  types: [Egress]\n  egress:\n  \
               - {action: Deny, source: {nets: [10.0.1.254/32]}}\n  - {action: Allow}\n";
    node.apply(&policy("some", out));
    node.cut("b", "10.0.0.9:8080");
    node.open("p0", "10.0.0.9:8080", "a saw 10.9.0.2");
    node.open("r", "10.0.0.9:8080", "a saw 10.0.0.1");
    // What a may begin is answered nevertheless.
    node.open("a", "10.0.1.254:8080", "b saw 10.0.0.9");
}

#[test]
fn before_translation_the_port_of_a_node_is_seen() {
    let deny = "  preDNAT: true\n  applyOnForward: true\n  types: [Ingress]\n  \
                ingress: [{action: Deny, protocol: TCP, destination: {ports: [30080]}}]\n";
    let Some(node) = Node::new("hd", &policy("ports", deny)) else { return };
    node.cut("a", "10.0.0.1:30080");
    node.open("b", "10.0.0.1:30080", "p0 saw 10.0.1.254");
    node.open("a", "10.9.0.2:8080", "p0 saw 10.0.0.9");
    node.open("a", "10.0.1.254:8080", "b saw 10.0.0.9");
    // What it allows is asked of nobody else at this link.
    let allow = deny.replace("Deny", "Allow").replace("30080", "8080");
    node.apply(&policy("ports", &allow));
    node.open("a", "10.0.0.1:30080", "p0 saw 10.0.0.9");
    node.open("a", "10.0.0.1:8080", "r saw 10.0.0.9");
}

#[test]
fn untracked_policies_decide_about_each_packet() {
    let deny = "  doNotTrack: true\n  applyOnForward: true\n  types: [Ingress]\n  \
                ingress: [{action: Deny, protocol: TCP, destination: {ports: [8080, 22]}}]\n";
    let both = |untracked: &str| policy("raw", untracked) + &policy("web", WEB);
    let Some(node) = Node::new("he", &both(deny)) else { return };
    node.cut("a", "10.0.0.1:8080");
    node.cut("a", "10.0.1.254:8080");
    node.open("a", "10.0.1.254:8081", "b saw 10.0.0.9");
    // Fail-safe ports are open to it as well, and the answers of what the host says.
    node.open("a", "10.0.0.1:22", "r saw 10.0.0.9");
    node.open("r", "10.0.0.9:8080", "a saw 10.0.0.1");
    // What is allowed so needs a rule for its answers.
    let allow = "  doNotTrack: true\n  applyOnForward: true\n  types: [Ingress, Egress]\n  \
                 ingress: [{action: Allow, protocol: TCP, destination: {ports: [8080]}}]\n  \
                 egress: [{action: Allow, protocol: TCP, source: {ports: [8080]}}]\n";
    node.apply(&policy("raw", allow));
    let stream = node.connected("a", "10.0.0.1:8080");
    assert!(goes(&stream));
    let flows = node.0.lab.text(&["get", "flows"]);
    assert!(!flows.contains("10.0.0.1:8080"), "{flows}");
    node.apply(&policy("raw", &allow.replace("[Ingress, Egress]", "[Ingress]")));
    assert!(!goes(&stream));
    node.cut("a", "10.0.0.1:8080");
}

#[test]
fn what_is_forbidden_at_a_host_while_it_runs_is_cut() {
    let Some(node) = Node::new("hf", &policy("web", WEB)) else { return };
    let streams = [
        node.connected("a", "10.0.0.1:8080"),
        node.connected("r", "10.0.0.9:8080"),
        node.connected("a", "10.0.0.1:22"),
        node.connected("a", "10.0.1.254:8080"),
    ];
    assert!(streams.iter().all(goes));
    // Something else changes: nothing is cut.
    node.apply(&(policy("web", WEB) + &policy("more", WEB)));
    assert!(streams.iter().all(goes));
    node.apply("");
    assert_eq!(streams.each_ref().map(goes), [false, false, true, true]);
}

#[test]
fn connections_older_than_their_guard_go_on_where_they_may() {
    let out = "  types: [Ingress, Egress]\n  egress: [{action: Allow}]\n";
    let Some(node) = Node::new("hi", &policy("out", out)) else { return };
    // No link has the endpoint yet.
    let before = config(&policy("out", out)).replace("interfaceName: eth0", "interfaceName: eth7");
    node.write(&before);
    let streams = [
        node.connected("a", "10.0.0.1:22"),
        node.connected("r", "10.0.0.9:8080"),
        node.connected("a", "10.0.0.1:8080"),
    ];
    assert!(streams.iter().all(goes));
    node.apply(&policy("out", out));
    // The last may not come in, and that the host may say anything to anybody makes it no answer.
    assert_eq!(streams.each_ref().map(goes), [true, true, false]);
    assert_eq!(streams.each_ref().map(goes), [true, true, false]);
}

#[test]
fn who_serves_may_speak_first_on_a_connection_older_than_its_guard() {
    // Where the other side may have begun it, and nowhere else, whatever the host itself may say.
    let served = "  types: [Ingress, Egress]\n  ingress:\n  \
                  - {action: Allow, protocol: TCP, destination: {ports: [7001]}}\n  egress:\n  \
                  - {action: Allow, protocol: TCP, source: {ports: [7000]}}\n";
    let Some(node) = Node::new("hj", &policy("served", served)) else { return };
    node.write(
        &config(&policy("served", served)).replace("interfaceName: eth0", "interfaceName: eth7"),
    );
    let pairs = [7000, 7001].map(|port| node.pair("a", "r", ("10.0.0.1", port)));
    // What the client says is heard, and nothing after that but what the server says by itself.
    for (client, server) in &pairs {
        assert_eq!(said(client, server), Ok(()));
    }
    node.apply(&policy("served", served));
    let heard = pairs.each_ref().map(|(client, server)| said(server, client).is_ok());
    assert_eq!(heard, [false, true], "{}", node.seen());
}

/// Says something to the other end of a connection, which hears it.
fn said(mut from: &TcpStream, mut to: &TcpStream) -> Result<(), String> {
    let mut heard = [0; 5];
    from.write_all(b"first").and_then(|()| to.read_exact(&mut heard)).map_err(|e| e.to_string())
}

/// The endpoint for all links that have none of their own, and for what pods send and get.
const ALL: &str = "---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: all, labels: {side: all}}
spec: {node: n1, interfaceName: '*'}
";

#[test]
fn what_a_pod_says_to_its_host_is_a_setting() {
    let setting = |word: &str| format!("  policy: {{endpointToHost: {word}}}\n");
    let Some(node) = Node::new("hg", &setting("Drop")) else { return };
    node.cut("p0", "10.0.0.1:8081");
    node.cut("p0", "10.0.0.1:22");
    node.open("p0", "10.0.0.9:8080", "a saw 10.9.0.2");
    node.open("r", "10.9.0.2:8080", "p0 saw 10.0.0.1");
    // Asked is the endpoint for all links, if there is one.
    node.apply(&setting("Return"));
    node.open("p0", "10.0.0.1:8081", "r saw 10.9.0.2");
    let web = policy("web", WEB).replace("'outer'", "'all'");
    node.apply(&(setting("Return") + ALL + &web));
    node.open("p0", "10.0.0.1:8080", "r saw 10.9.0.2");
    node.open("p0", "10.0.0.1:22", "r saw 10.9.0.2");
    node.cut("p0", "10.0.0.1:8081");
    node.open("r", "10.9.0.2:8080", "p0 saw 10.0.0.1");
    node.apply(&(ALL.to_owned() + &web));
    node.open("p0", "10.0.0.1:8081", "r saw 10.9.0.2");
}

#[test]
fn the_endpoint_for_all_links_is_asked_about_what_pods_get() {
    let deny = "  applyOnForward: true\n  types: [Egress]\n  egress:\n  \
                - {action: Deny, destination: {nets: [10.9.0.2/32]}}\n  - {action: Allow}\n";
    let deny = policy("pods", deny).replace("'outer'", "'all'");
    let Some(node) = Node::new("hh", &(ALL.to_owned() + &deny)) else { return };
    for host in ["a", "b"] {
        node.cut(host, "10.9.0.2:8080");
    }
    node.cut("a", "10.0.0.1:30080");
    node.open("r", "10.9.0.2:8080", "p0 saw 10.0.0.1");
    node.open("a", "10.0.1.254:8080", "b saw 10.0.0.9");
    node.open("p0", "10.0.1.254:8080", "b saw 10.9.0.2");
    // It stands for the other link.
    node.cut("b", "10.0.1.1:8080");
    node.open("b", "10.0.1.1:22", "r saw 10.0.1.254");
}
