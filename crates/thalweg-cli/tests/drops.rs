//! Dropped packets, told one by one, with real sockets.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::inside;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];

fn config() -> String {
    let mut text = "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplinks}\n\
                    spec: {interfaces: [eth0, eth1]}\n---\napiVersion: thalweg.dev/v1alpha1\n\
                    kind: Route\nmetadata: {name: hole}\n\
                    spec: {prefix: 10.66.0.0/16, action: Blackhole}\n"
        .to_owned();
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, "");
    }
    text
}

/// Sends a datagram from a pod, from port 4000.
fn send(pods: &Pods, number: usize, to: &str) {
    inside(&pods.namespace(&format!("p{number}")), || {
        let socket = UdpSocket::bind((PODS[number], 4000)).unwrap();
        // An answer to the one before may be told instead.
        let _ = socket.send_to(b"hello", to);
    });
}

/// The packets that are told with these words.
fn told(pods: &Pods, more: &[&str]) -> Vec<Value> {
    let line = [&["drops", "-n", "1000", "-o", "json"], more].concat();
    let page: Value = serde_json::from_str(&pods.lab.text(&line)).unwrap();
    page["events"].as_array().unwrap().clone()
}

/// Sends datagrams until one is told with these words.
fn one(pods: &Pods, number: usize, to: &str, more: &[&str]) -> Value {
    for _ in 0..100 {
        send(pods, number, to);
        std::thread::sleep(Duration::from_millis(50));
        if let Some(event) = told(pods, more).pop() {
            return event;
        }
    }
    panic!("nothing is told of packets to {to}: {}", pods.lab.text(&["get", "drops"]));
}

fn code(pods: &Pods, line: &[&str]) -> (Option<i32>, String) {
    let output = pods.lab.ask(line);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A lab with an agent; none, with the reason told, where this machine does not let us.
fn started(tag: &str) -> Option<Pods> {
    let mut pods = Pods::new(tag, &PODS)?;
    fs::write(pods.lab.config(), config()).unwrap();
    pods.lab.start().then_some(pods)
}

#[test]
fn packets_that_are_dropped_are_told_with_names_and_what_to_try() {
    let Some(pods) = started("dr") else { return };
    let nothing = pods.lab.text(&["drops"]);
    assert!(nothing.contains("no dropped packets") || nothing.contains("TIME"), "{nothing}");
    let event = one(&pods, 0, "10.66.0.7:53", &["--to", "10.66.0.7"]);
    assert_eq!(event["reason"], "blackhole", "{event}");
    assert_eq!(event["verdict"], "drop");
    assert_eq!(event["link"], "pod0");
    assert_eq!(event["protocol"], "UDP");
    assert_eq!(event["octets"], 14 + 20 + 8 + 5);
    assert_eq!(event["source"]["name"], "pod/shop/p0");
    assert_eq!(event["source"]["address"], "10.9.0.2");
    assert_eq!(event["source"]["port"], 4000);
    assert_eq!(event["destination"]["address"], "10.66.0.7");
    assert_eq!(event["destination"]["port"], 53);
    // What is to be tried says the same.
    let more = event["more"].as_str().unwrap();
    let packet = more.strip_prefix("thalweg explain '").and_then(|rest| rest.strip_suffix("'"));
    let explained = pods.lab.text(&["explain", packet.unwrap_or_else(|| panic!("{more}"))]);
    assert!(explained.contains("drop blackhole"), "{more}\n{explained}");
    // Whose sender is told: the packet and not the answer.
    let event = one(&pods, 1, "10.77.0.7:99", &["--to", "10.77.0.7"]);
    assert_eq!(event["reason"], "no-route", "{event}");
    assert_eq!(event["verdict"], "answer");
    assert_eq!(event["source"]["name"], "pod/shop/p1");
    assert_eq!(event["destination"]["port"], 99);
    let text = pods.lab.text(&["drops", "--verbose"]);
    for part in
        ["TIME", "pod0 ", "blackhole", "pod/shop/p0:4000", "10.66.0.7:53", "UDP", "47", more]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Only what is wanted.
    let every = |line: &[&str], field: &str, value: &str| {
        let events = told(&pods, line);
        assert!(!events.is_empty(), "{line:?}");
        assert!(events.iter().all(|event| event[field] == value), "{line:?} {events:?}");
    };
    every(&["--reason", "no-route"], "reason", "no-route");
    every(&["--link", "pod1"], "link", "pod1");
    every(&["--from", "pod/shop/p0"], "link", "pod0");
    every(&["--from", "10.9.0.3"], "link", "pod1");
    assert_eq!(told(&pods, &["--from", "shop/p0", "--link", "pod1"]), [] as [Value; 0]);
    let page: Value =
        serde_json::from_str(&pods.lab.text(&["drops", "-n", "1", "-o", "json"])).unwrap();
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert!(page["counts"]["taken"].as_u64().unwrap() >= 2, "{page}");
    for (line, part) in [
        (["drops", "--from", "shop/nobody"], "there is no pod `shop/nobody`"),
        (["drops", "--reason", "bad-luck"], "there is no reason `bad-luck`"),
        (["drops", "--link", "eth9"], "there is no link `eth9`"),
    ] {
        let (code, error) = code(&pods, &line);
        assert!(code == Some(1) && error.contains(part), "{line:?}: {code:?} {error}");
    }
}

#[test]
fn who_follows_is_told_at_once() {
    let Some(mut pods) = started("df") else { return };
    let mut command = pods.lab.thalweg(&["drops", "-f", "--from", "pod/shop/p0", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (line, lines) = mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|text| drop(line.send(text)));
    });
    let mut first = None;
    for _ in 0..100 {
        // Those of the other pod are not wanted.
        send(&pods, 1, "10.66.0.8:53");
        send(&pods, 0, "10.66.0.7:53");
        first = lines.recv_timeout(Duration::from_millis(100)).ok();
        if first.is_some() {
            break;
        }
    }
    let kill = |child: &mut std::process::Child| {
        let _ = child.kill();
        let _ = child.wait();
    };
    let Some(first) = first else {
        kill(&mut child);
        panic!("who follows is told nothing: {}", pods.lab.text(&["drops"]));
    };
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(event["source"]["name"], "pod/shop/p0", "{event}");
    assert_eq!(event["destination"]["address"], "10.66.0.7");
    // Each comes once, and its number ascends.
    let before = event["number"].as_u64().unwrap();
    send(&pods, 0, "10.66.0.9:53");
    // Those sent before may still come.
    let is_nine = |event: &Value| event["destination"]["address"] == "10.66.0.9";
    let mut next = || -> Option<Value> {
        let text = lines.recv_timeout(Duration::from_secs(2)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    };
    let nine = std::iter::from_fn(&mut next).find(is_nine).expect("it is told");
    assert!(nine["number"].as_u64().unwrap() > before, "{nine}");
    assert!(!std::iter::from_fn(&mut next).any(|event| is_nine(&event)), "once");
    // The agent ends, and so does whoever follows.
    pods.lab.end("-TERM");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(3));
    let (code, error) = code(&pods, &["drops"]);
    assert!(code == Some(3) && error.contains("no agent answers"), "{error}");
}

#[test]
fn what_is_dropped_while_no_agent_runs_is_told_by_the_next() {
    let Some(mut pods) = started("dk") else { return };
    one(&pods, 0, "10.66.0.7:53", &["--to", "10.66.0.7"]);
    pods.lab.end("-KILL");
    // Its lease is not over yet.
    send(&pods, 0, "10.66.1.1:53");
    assert!(pods.lab.start());
    pods.lab.until(|| !told(&pods, &["--to", "10.66.1.1"]).is_empty());
    // The frames of its self-test are nobody's.
    let all = pods.lab.text(&["drops", "-n", "1000", "-o", "json"]);
    assert!(!all.contains("192.0.2.9") && !all.contains("127.0.0.1"), "{all}");
    // The programs of the new agent tell, too, and those before are forgotten.
    one(&pods, 1, "10.66.2.2:53", &["--to", "10.66.2.2"]);
    assert_eq!(told(&pods, &["--to", "10.66.0.7"]), [] as [Value; 0]);
    // Nobody listens to programs whose agent was stopped.
    pods.lab.end("-TERM");
    send(&pods, 0, "10.66.3.3:53");
    assert!(pods.lab.start());
    one(&pods, 1, "10.66.4.4:53", &["--to", "10.66.4.4"]);
    assert_eq!(told(&pods, &["--to", "10.66.3.3"]), [] as [Value; 0]);
}
