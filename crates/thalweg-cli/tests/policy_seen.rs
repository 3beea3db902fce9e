//! Policies in force, seen by people: counters, reasons, and what who is denied hears. With real sockets.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::inside;
use serde_json::Value;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

const PODS: [&str; 3] = ["10.9.0.2", "10.9.0.3", "10.9.0.4"];
/// Who is denied in silence waits as long.
const SHORT: Duration = Duration::from_millis(600);

const POLICY: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: p1}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: nobody}}}]
  - from: [{podSelector: {matchLabels: {app: p0}}}]
    ports: [{port: 8080}]
";

/// In the place of that policy, if it were in force: another may connect.
const STAGED: &str = "---
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: p1}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: p2}}}]
    ports: [{port: 8080}]
";

fn config(spec: &str) -> String {
    let mut text = String::from(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplink}\n\
         spec: {interfaces: [eth0]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n",
    );
    text += &format!(
        "metadata: {{name: router}}\nspec: {{limits: {{flows: 4096, ringSlots: 1048576}}, {spec}}}\n"
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, &format!("  labels: {{app: p{number}}}\n"));
    }
    text + POLICY
}

struct Node(Pods);

impl Node {
    fn new(tag: &str, spec: &str) -> Option<Self> {
        Self::with(tag, spec, "")
    }

    /// With more objects.
    fn with(tag: &str, spec: &str, more: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &PODS)?;
        fs::write(pods.lab.config(), config(spec) + more).unwrap();
        if !pods.lab.start() {
            return None;
        }
        pods.serve("p1", 8080, |stream, _| drop(stream));
        Some(Self(pods))
    }

    fn value(&self, line: &[&str]) -> Value {
        let text = self.0.lab.text(&[line, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Why a host cannot connect to another; none if it can.
    fn connects(&self, host: &str, at: &str) -> Option<std::io::ErrorKind> {
        inside(&self.0.namespace(host), || {
            TcpStream::connect_timeout(&at.parse().unwrap(), SHORT).err().map(|error| error.kind())
        })
    }
}

fn hits_of(value: &Value) -> u64 {
    value["hits"].as_u64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn what_policies_decide_is_counted_and_explained() {
    let Some(node) = Node::new("sa", "burst: 100") else { return };
    let policies = node.value(&["get", "policies"]);
    assert_eq!((policies[0]["state"].as_str(), hits_of(&policies[0])), (Some("in force"), 0));
    for _ in 0..3 {
        assert_eq!(node.connects("p0", "10.9.0.3:8080"), None);
    }
    assert_eq!(node.connects("p2", "10.9.0.3:8080"), Some(std::io::ErrorKind::TimedOut));
    let policies = node.value(&["get", "policies"]);
    // Three flows; packets that come when tables have changed since are judged again.
    let hits = hits_of(&policies[0]);
    assert!(hits >= 3, "{policies}");
    let table = node.0.lab.text(&["get", "policies"]);
    let cell = format!("in force  {hits:>4}  ");
    assert!(table.contains("  HITS  ") && table.contains(&cell), "{table}");
    // By rule, and the end of the tier; a segment that is sent again asks again.
    let described = node.value(&["describe", "policy", "shop/web"]);
    let rules = &described[0]["ingress"];
    assert_eq!((hits_of(&rules[0]), hits_of(&rules[1])), (0, hits), "{described}");
    assert!(described[0]["endOfTier"]["ingress"].as_u64() >= Some(1), "{described}");
    assert_eq!(described[0]["endOfTier"]["egress"], Value::Null);
    let text = node.0.lab.text(&["describe", "policy", "shop/web"]);
    assert!(
        text.contains(&format!("): {hits} hits\n")) && text.contains("end of tier default: "),
        "{text}"
    );
    // A packet through the tables names the rule and where it stands.
    let explain = |packet: &str| node.0.lab.text(&["explain", packet]);
    let allowed = explain("pod0 < ip 10.9.0.2 > 10.9.0.3 tcp 4000 > 8080 syn");
    let place = "ingress: tier default, NetworkPolicy/shop/web, rule 2 (";
    let line =
        allowed.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{allowed}"));
    assert!(line.ends_with("): allow") && line.contains(".yaml:"), "{line}");
    let denied = explain("pod2 < ip 10.9.0.4 > 10.9.0.3 tcp 4000 > 8080 syn");
    assert!(
        denied.contains("ingress: end of tier default, policies of which apply: deny"),
        "{denied}"
    );
    let open = explain("pod1 < ip 10.9.0.3 > 10.9.0.4 udp 1 > 2");
    assert!(open.contains("no policy speaks of either side"), "{open}");
    let after = hits_of(&node.value(&["get", "policies"])[0]);
    assert_eq!(after, hits, "looking counts nothing");
}

#[test]
fn who_is_denied_is_told_so_where_that_is_wanted() {
    let Some(node) = Node::new("sb", "policy: {denied: Reject}") else { return };
    assert_eq!(node.connects("p0", "10.9.0.3:8080"), None);
    let refused = Some(std::io::ErrorKind::ConnectionRefused);
    for host in ["p2", "a"] {
        // Whose link address is not known yet hears nothing at first.
        node.0.lab.until(|| node.connects(host, "10.9.0.3:8080") == refused);
    }
    let answer = inside(&node.0.namespace("a"), || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        socket.connect("10.9.0.3:9").unwrap();
        socket.send(b"hello").unwrap();
        socket.recv(&mut [0; 9]).map_err(|error| error.raw_os_error())
    });
    // What Linux makes of "administratively prohibited".
    assert_eq!(answer, Err(Some(113)), "EHOSTUNREACH");
}

#[test]
fn what_is_staged_is_asked_of_the_traffic_that_there_is() {
    let Some(node) = Node::with("sc", "burst: 100", STAGED) else { return };
    assert_eq!(node.connects("p0", "10.9.0.3:8080"), None);
    assert_eq!(node.connects("p2", "10.9.0.3:8080"), Some(std::io::ErrorKind::TimedOut));
    let change = |value: &Value, from: &str| {
        let changes = value["changes"].as_array().unwrap();
        changes.iter().find(|change| change["from"] == from).cloned()
    };
    node.0.lab.until(|| change(&node.value(&["policy", "staged"]), "shop/p2").is_some());
    let value = node.value(&["policy", "staged"]);
    let cut = change(&value, "shop/p0").unwrap_or_else(|| panic!("{value}"));
    let what = |change: &Value| {
        let words = ["to", "protocol", "now", "staged"].map(|key| change[key].clone());
        words.map(|word| word.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(what(&cut), ["shop/p1", "TCP/8080", "allow", "deny"], "{value}");
    assert_eq!((cut["flows"].as_u64(), cut["drops"].as_u64()), (Some(1), Some(0)), "{value}");
    let opened = change(&value, "shop/p2").unwrap_or_else(|| panic!("{value}"));
    assert_eq!(what(&opened), ["shop/p1", "TCP/8080", "deny", "allow"], "{value}");
    assert!(opened["drops"].as_u64() >= Some(1), "{value}");
    let by = opened["by"].as_str().unwrap_or_default();
    assert!(by.starts_with("rule 1 of StagedKubernetesNetworkPolicy/shop/web ("), "{by}");
    assert_eq!(value["policies"][0]["denies"]["flows"], 1, "{value}");
    let text = node.0.lab.text(&["policy", "staged"]);
    assert!(text.contains("would deny 1 live flow, and allow "), "{text}");
}
