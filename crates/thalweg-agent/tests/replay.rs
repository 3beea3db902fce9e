//! A capture through a configuration, on both engines.

use expect_test::expect;
use std::fs;
use std::path::PathBuf;
use thalweg_agent::capture::{self, CaptureError, CaptureWriter, Way};
use thalweg_agent::offline::OfflineError;
use thalweg_agent::replay::{self, Engine, Options, Summary};
use thalweg_wire::Mac;

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
- {name: eth1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}
addresses:
- {address: 10.0.0.1/24, dev: eth0}
- {address: 10.0.1.1/24, dev: eth1}
neighbors:
- {address: 10.0.0.9, dev: eth0, mac: '02:00:00:00:00:09', state: reachable}
- {address: 10.0.1.254, dev: eth1, mac: '02:00:00:00:00:fe', state: reachable}
routes:
- {prefix: 10.0.0.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
- {prefix: 10.0.1.0/24, protocol: kernel, nexthops: [{dev: eth1}]}
";

const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1], mpls: true}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: lan}
spec:
  prefix: 10.0.2.0/24
  nextHops: [{via: 10.0.1.254, labels: [300]}]
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: hole}
spec: {prefix: 10.0.3.0/24, action: Blackhole}
---
apiVersion: thalweg.dev/v1alpha1
kind: LabelRoute
metadata: {name: swap}
spec:
  label: 100
  nextHops: [{via: 10.0.1.254, labels: [200]}]
";

const PACKETS: [&str; 8] = [
    "ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53",
    "ip 10.0.0.9 > 10.0.3.7 ttl 64 udp 4000 > 53",
    "ip 10.0.0.9 > 192.0.2.1 ttl 64 udp 4000 > 53",
    "mpls 100 ttl 64 ip 10.0.0.9 > 10.0.2.7 icmp echo",
    "mpls 101 ttl 64 ip 10.0.0.9 > 10.0.2.7 icmp echo",
    "ip 10.0.0.9 > 10.0.2.7 ttl 1 udp 4000 > 53",
    "ip 10.0.0.9 > 10.0.0.1 udp 4000 > 53",
    "arp who-has 10.0.0.1 tell 10.0.0.9",
];

struct Files {
    _dir: tempfile::TempDir,
    options: Options,
    output: PathBuf,
}

fn files(engine: Engine) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("config.yaml"), CONFIG).unwrap();
    fs::write(path("host.yaml"), HOST).unwrap();
    let file = fs::File::create(path("in.pcapng")).unwrap();
    let mut writer = CaptureWriter::new(file).unwrap();
    for (at, packet) in (0..).zip(PACKETS) {
        let frame = thalweg_packet::frame(packet, Mac([2, 0, 0, 0, 0, 1])).unwrap();
        writer.frame("eth0", Way::In, 1_000 + at, &frame, "").unwrap();
    }
    writer.finish().unwrap();
    let output = path("out.pcapng");
    let options = Options {
        config: path("config.yaml"),
        host: path("host.yaml"),
        link: "eth0".into(),
        input: path("in.pcapng"),
        output: Some(output.clone()),
        engine,
        color: false,
    };
    Files { _dir: dir, options, output }
}

fn frames(path: &PathBuf) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    capture::read::<CaptureError>(fs::File::open(path).unwrap(), |captured| {
        all.push((captured.at, thalweg_packet::describe(captured.frame)));
        Ok(())
    })
    .unwrap();
    all
}

/// Replays; none where the kernel does not let us.
fn run(engine: Engine) -> Option<(String, Vec<(u64, String)>)> {
    let files = files(engine);
    let mut lines = Vec::new();
    match replay::run(&files.options, &mut lines) {
        Ok(summary) => {
            let text = String::from_utf8(lines).unwrap();
            let packets = PACKETS.len() as u64;
            assert_eq!(summary, Summary { packets, disagreements: 0 }, "{text}");
            Some((text, frames(&files.output)))
        }
        Err(OfflineError::Plane(error)) if engine == Engine::Ebpf => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn skip(why: &str) {
    use std::io::Write;
    println!("skipped: {why}");
    if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
        let file = fs::OpenOptions::new().append(true).create(true).open(log);
        file.and_then(|mut file| writeln!(file, "skipped: {why}")).unwrap();
    }
}

#[test]
fn one_line_per_packet_and_the_resulting_frames() {
    let (lines, frames) = run(Engine::Native).unwrap();
    expect![[r#"
        {"index":0,"verdict":"forward","reason":"route","link":"eth1","vrf":"default","route":"10.0.2.0/24","source":"Route/lan","group":7,"nexthop":7,"octets":46}
        {"index":1,"verdict":"drop","reason":"blackhole","vrf":"default","route":"10.0.3.0/24","source":"Route/hole","group":6,"nexthop":6,"octets":42}
        {"index":2,"verdict":"answer","reason":"no-route","link":"eth0","octets":70}
        {"index":3,"verdict":"forward","reason":"label","link":"eth1","labels":[100],"group":10,"nexthop":10,"octets":46}
        {"index":4,"verdict":"drop","reason":"unknown-label","octets":46}
        {"index":5,"verdict":"answer","reason":"ttl-expired","link":"eth0","vrf":"default","route":"10.0.2.0/24","source":"Route/lan","group":7,"nexthop":7,"octets":70}
        {"index":6,"verdict":"deliver","reason":"local","vrf":"default","route":"10.0.0.1/32","source":"address eth0","group":1,"nexthop":1,"octets":42}
        {"index":7,"verdict":"pass","reason":"not-ip","octets":42}
    "#]].assert_eq(&lines);
    let text: String = frames.iter().map(|(at, text)| format!("{at} {text}\n")).collect();
    expect![[r#"
        1000 eth 02:00:00:00:00:02 > 02:00:00:00:00:fe mpls 300 ttl 63 ip 10.0.0.9 > 10.0.2.7 ttl 63 udp 4000 > 53
        1001 eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 10.0.3.7 ttl 64 udp 4000 > 53
        1002 eth 02:00:00:00:00:01 > 02:00:00:00:00:09 ip 10.0.0.1 > 10.0.0.9 ttl 64 tos 0xc0 df icmp unreachable net [ip 10.0.0.9 > 192.0.2.1 ttl 64 udp 4000 > 53]
        1003 eth 02:00:00:00:00:02 > 02:00:00:00:00:fe mpls 200 ttl 63 ip 10.0.0.9 > 10.0.2.7 ttl 64 icmp echo
        1004 eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 mpls 101 ttl 64 ip 10.0.0.9 > 10.0.2.7 ttl 64 icmp echo
        1005 eth 02:00:00:00:00:01 > 02:00:00:00:00:09 ip 10.0.0.1 > 10.0.0.9 ttl 64 tos 0xc0 df icmp time-exceeded [ip 10.0.0.9 > 10.0.2.7 ttl 1 udp 4000 > 53]
        1006 eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 10.0.0.1 ttl 64 udp 4000 > 53
        1007 eth 02:00:00:00:ff:01 > ff:ff:ff:ff:ff:ff arp who-has 10.0.0.1 tell 10.0.0.9
    "#]].assert_eq(&text);
}

#[test]
fn both_engines_say_the_same() {
    let Some(ebpf) = run(Engine::Ebpf) else { return };
    assert_eq!(ebpf, run(Engine::Native).unwrap());
}

#[test]
fn what_is_not_there_is_named() {
    let good = files(Engine::Native).options;
    let fails = |options: Options| replay::run(&options, &mut Vec::new()).unwrap_err().to_string();
    let files = files(Engine::Native);
    let error = fails(Options { link: "eth7".into(), ..files.options.clone() });
    assert!(error.contains("has no link `eth7`"), "{error}");
    let error = fails(Options { input: files.options.host.clone(), ..files.options.clone() });
    assert!(error.contains("neither pcap nor pcapng"), "{error}");
    let error = fails(good);
    assert!(error.contains("check the path"), "its files are gone: {error}");
}
