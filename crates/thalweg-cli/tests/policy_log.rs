//! Rules that log, with real sockets: a node with two pods, a client at a link with a host endpoint, and another
//! behind the kernel.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::inside;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

/// Addresses of the pods.
const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
/// Who is denied waits as long.
const SHORT: Duration = Duration::from_millis(600);

/// The files, without policies.
fn config() -> String {
    let mut text = String::from(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplink}\n\
         spec: {interfaces: [eth0]}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {name: router}\nspec: {node: n1, limits: {flows: 4096, ringSlots: 1048576}}\n",
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, &format!("  labels: {{app: p{number}}}\n"));
    }
    text + "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  ports: [{name: who, port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: who, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.9.0.3]}]
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: outer, labels: {side: outer}}
spec: {node: n1, interfaceName: eth0}
"
}

/// Who comes to the second pod is logged; what the host says by its link as well. What is staged is not asked.
const POLICIES: &str = "---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: watch}
spec:
  selector: app == 'p1'
  types: [Ingress]
  ingress:
  - action: Log
    protocol: TCP
  - {action: Deny, source: {nets: [10.0.0.0/24]}}
  - {action: Allow, destination: {ports: [8080]}, protocol: TCP}
---
apiVersion: projectcalico.org/v3
kind: StagedGlobalNetworkPolicy
metadata: {name: later}
spec: {types: [Ingress, Egress], ingress: [{action: Log}], egress: [{action: Log}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: out}
spec:
  selector: side == 'outer'
  types: [Egress]
  egress: [{action: Log, protocol: TCP}, {action: Allow}]
";

struct Node(Pods);

impl Node {
    fn new(tag: &str) -> Option<Self> {
        let mut pods = Pods::new(tag, &PODS)?;
        fs::write(pods.lab.config(), config() + POLICIES).unwrap();
        if !pods.lab.start() {
            return None;
        }
        for host in ["p1", "a"] {
            pods.serve(host, 8080, |stream, _| drop(stream));
        }
        Some(Self(pods))
    }

    /// Whether a host can connect to another, which then ends.
    fn connects(&self, host: &str, at: &str) -> bool {
        inside(&self.0.namespace(host), || {
            let stream = TcpStream::connect_timeout(&at.parse().unwrap(), SHORT);
            stream.is_ok_and(|mut stream| matches!(stream.read(&mut [0]), Ok(0)))
        })
    }

    fn value(&self, line: &[&str]) -> Value {
        let text = self.0.lab.text(&[line, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What was logged, once there is so much of it.
    fn logged(&self, more: &[&str], count: usize) -> Vec<Value> {
        let line = [&["policy", "log", "-n", "1000"], more].concat();
        let events = || self.value(&line)["events"].as_array().unwrap().clone();
        self.0.lab.until(|| events().len() >= count);
        events()
    }

    /// The place of a rule: the line of the file with these words, or the last before that with others.
    fn line_of(&self, words: &str) -> String {
        let text = fs::read_to_string(self.0.lab.config()).unwrap();
        let (before, _) = text.split_once(words).unwrap();
        format!(".yaml:{}:", before.lines().count() + usize::from(before.ends_with('\n')))
    }
}

/// The only rule that logged it, as policy, direction, and number.
fn rule(event: &Value) -> (String, String, u64) {
    let rules = event["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1, "{event}");
    let text = |field: &str| rules[0][field].as_str().unwrap().to_owned();
    (text("policy"), text("direction"), rules[0]["rule"].as_u64().unwrap())
}

#[test]
fn a_rule_that_logs_says_who_spoke_to_whom_and_what_decided() {
    let Some(node) = Node::new("la") else { return };
    assert_eq!(node.logged(&[], 0), [] as [Value; 0]);
    assert!(node.0.lab.text(&["policy", "log"]).contains("no rule has logged"));
    // By the service: the pod behind it is told, not its address.
    assert!(node.connects("p0", "10.96.0.10:80"));
    let events = node.logged(&["--from", "pod/shop/p0"], 1);
    let event = &events[0];
    assert_eq!(rule(event), ("watch".into(), "ingress".into(), 1), "{event}");
    assert_eq!(event["rules"][0]["tier"], "default");
    assert_eq!(event["rules"][0]["kind"], "GlobalNetworkPolicy");
    let origin = event["rules"][0]["origin"].as_str().unwrap();
    assert!(origin.contains(&node.line_of("- action: Log")), "{origin}");
    let because = event["because"].as_str().unwrap();
    assert!(because.starts_with("ingress: tier default, GlobalNetworkPolicy/watch, rule 3 ("));
    assert!(because.contains(&node.line_of("- {action: Allow, destination")), "{because}");
    assert_eq!((&event["verdict"], &event["link"]), (&"allow".into(), &"pod0".into()), "{event}");
    assert_eq!((&event["protocol"], &event["hook"]), (&"TCP".into(), &"tc".into()), "{event}");
    assert_eq!(event["source"]["name"], "pod/shop/p0");
    assert_eq!(event["destination"]["name"], "pod/shop/p1");
    assert_eq!(event["destination"]["port"], 8080);
    assert!(event["source"]["port"].as_u64().unwrap() > 1024);
    // The connection was one flow, and so it was told once.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(node.logged(&["--from", "pod/shop/p0"], 1).len(), 1);
    // What is denied is a packet that was dropped as well, and says there what logged it.
    assert!(!node.connects("a", "10.9.0.3:8080"));
    let events = node.logged(&["--from", "10.0.0.9"], 1);
    let event = &events[0];
    assert_eq!((rule(event).0, &event["verdict"]), ("watch".into(), &"deny".into()), "{event}");
    assert!(event["because"].as_str().unwrap().contains("watch, rule 2 ("), "{event}");
    assert_eq!(event["link"], "eth0");
    let drops = node.0.lab.text(&["drops", "--reason", "policy"]);
    assert!(drops.contains("; logged by ingress: tier default, GlobalNetworkPolicy/watch, rule 1"));
    // What the kernel routes to the pod is seen as it leaves.
    assert!(node.connects("b", "10.9.0.3:8080"));
    let event = &node.logged(&["--from", "10.0.1.254"], 1)[0];
    assert_eq!((rule(event).0, &event["verdict"]), ("watch".into(), &"allow".into()), "{event}");
    assert_eq!((&event["link"], &event["hook"]), (&"pod1".into(), &"out".into()), "{event}");
    // So is what the host says by its own link.
    assert!(node.connects("r", "10.0.0.9:8080"));
    let event = &node.logged(&["--to", "10.0.0.9", "--link", "eth0"], 1)[0];
    assert_eq!(rule(event), ("out".into(), "egress".into(), 1), "{event}");
    assert_eq!((&event["link"], &event["hook"]), (&"eth0".into(), &"out".into()), "{event}");
    // Rules that log are counted, and those that decide behind them.
    let described = node.0.lab.text(&["describe", "policy", "watch"]);
    let [logs, denies, allows] = ["1 log TCP", "2 deny", "3 allow TCP"].map(|words| {
        let line = described.lines().find(|line| line.contains(words)).unwrap();
        let hits = line.rsplit(": ").next().unwrap().split(' ').next().unwrap();
        hits.parse::<u64>().unwrap()
    });
    assert!(denies >= 1 && allows >= 2 && logs == denies + allows, "{described}");
    // Whoever asks what would become of a packet sees them on its way.
    let packet = "pod0 < ip 10.9.0.2 > 10.9.0.3 tcp 4000 > 8080 syn";
    let explained = node.0.lab.text(&["explain", packet]);
    let [log, allow] = ["rule 1 (", "rule 3 ("].map(|rule| {
        let line = explained.lines().position(|line| line.contains(rule));
        line.unwrap_or_else(|| panic!("{rule}: {explained}"))
    });
    let lines: Vec<&str> = explained.lines().collect();
    assert!(log < allow && lines[log].ends_with(": log"), "{explained}");
    assert!(lines[allow].ends_with(": allow"), "{explained}");
    let line = ["policy", "explain", "shop/p0", "shop/p1", "tcp", "8080"];
    let explained = node.0.lab.text(&line);
    assert!(explained.contains("matches: logged, and the next rule is asked"), "{explained}");
    let value = node.value(&line);
    let logs = value["ingress"]["logs"].as_array().unwrap();
    assert!(logs.len() == 1 && logs[0].as_str().unwrap().starts_with("rule 1 of "), "{value}");
    assert_eq!(value["egress"]["logs"], Value::Array(Vec::new()));
    // As people see it.
    let text = node.0.lab.text(&["policy", "log", "--from", "pod/shop/p0"]);
    for part in ["TIME", "pod0 tc", "pod/shop/p1:8080", "TCP", "allow", "  log: ingress: tier"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("later"), "{text}");
    for (line, part) in [
        (["policy", "log", "--from", "shop/nobody"], "there is no pod `shop/nobody`"),
        (["policy", "log", "--link", "eth9"], "there is no link `eth9`"),
    ] {
        let output = node.0.lab.ask(&line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(part), "{line:?}: {error}");
    }
}

#[test]
fn who_follows_is_told_at_once() {
    let Some(mut node) = Node::new("lf") else { return };
    let mut command = node.0.lab.thalweg(&["policy", "log", "-f", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|text| drop(line.send(text)));
    });
    let mut first = None;
    for _ in 0..50 {
        assert!(node.connects("p0", "10.9.0.3:8080"));
        first = lines.recv_timeout(Duration::from_millis(100)).ok();
        if first.is_some() {
            break;
        }
    }
    if first.is_none() {
        let _ = child.kill();
    }
    let event: Value = serde_json::from_str(&first.expect("it is told")).unwrap();
    assert_eq!(event["rules"][0]["policy"], "watch", "{event}");
    // The agent ends, and so does whoever follows.
    node.0.lab.end("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let output = node.0.lab.ask(&["policy", "log"]);
    assert_eq!(output.status.code(), Some(3));
}
