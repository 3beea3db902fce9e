//! Floating addresses against a model that cannot be wrong in the same way: outside, the address stands
//! in the place of the pod's own, and nothing else changes.

mod net;

use thalweg_abi::{Kind, Reason};
use thalweg_image::sample::SplitMix;
use thalweg_testkit::{Native, World};

const NET: [&str; 2] = ["pool pods 10.1.0.0/16 nat", "router nat-ports 20000 20063"];

/// What became of a frame: verdict, addresses and ports of the one that left.
#[derive(Debug, PartialEq)]
struct Sent {
    kind: Kind,
    reason: Reason,
    source: String,
    destination: String,
}

fn send(native: &mut Native, world: &World, line: &str) -> Sent {
    let fate = net::run(native, world, line);
    let end = |address: usize, port: usize| {
        let [a, b, c, d] = fate.frame[address..address + 4].try_into().unwrap();
        let port = u16::from_be_bytes([fate.frame[port], fate.frame[port + 1]]);
        format!("{a}.{b}.{c}.{d}:{port}")
    };
    Sent {
        kind: fate.verdict.kind(),
        reason: fate.verdict.reason(),
        source: end(26, 34),
        destination: end(30, 36),
    }
}

fn native(more: &[&str]) -> (Native, World) {
    let lines: Vec<&str> = NET.iter().chain(more).copied().collect();
    net::build(&lines)
}

#[test]
fn outside_the_address_stands_in_the_place_of_the_pods_own() {
    let (mut native, world) = native(&[
        "pod one 10.1.0.2 dev pod1 floating 192.0.2.50",
        "pod two 10.1.0.3 dev pod2 floating 192.0.2.51",
    ]);
    let mut random = SplitMix(11);
    let (mut now, mut known) = (1, 0);
    for step in 0..40_000 {
        if random.below(16) == 0 {
            now += random.below(40) as u32;
            native.cells().set_clock(now);
        }
        let pod = random.below(2);
        let (inner, outer) = (format!("10.1.0.{}", 2 + pod), format!("192.0.2.{}", 50 + pod));
        let host = format!("10.0.0.{}", 8 + random.below(2));
        // Few ports, so that flows of both directions meet; none that others are translated to.
        let (own, other) = (40_000 + random.below(6), 50 + random.below(6));
        let (own_end, host_end) = (|of: &str| format!("{of}:{own}"), format!("{host}:{other}"));
        let (line, source, destination) = match random.below(2) {
            0 => {
                let line = format!("pod{} < ip {inner} > {host} udp {own} > {other}", pod + 1);
                (line, own_end(&outer), host_end)
            }
            _ => {
                let line = format!("eth0 < ip {host} > {outer} udp {other} > {own}");
                (line, host_end, own_end(&inner))
            }
        };
        let sent = send(&mut native, &world, &line);
        known += u32::from(sent.reason == Reason::Flow);
        let reason = sent.reason;
        let expected = Sent { kind: Kind::Forward, reason, source, destination };
        assert_eq!(sent, expected, "step {step}: {line}");
    }
    assert!(known > 5_000, "{known} packets of known flows");
}

/// Beside a pod that shares the node's address, and one flow that another pod's service began.
#[test]
fn of_two_flows_that_nothing_else_tells_apart_one_gets_another_port() {
    let (mut native, world) = native(&[
        "pod one 10.1.0.2 dev pod1 floating 192.0.2.50",
        "pod two 10.1.0.3 dev pod2",
        "service far 10.96.0.10:53/udp",
        "endpoints far 10.0.0.9:53",
    ]);
    let by_service = "pod1 < ip 10.1.0.2 > 10.96.0.10 udp 40000 > 53";
    let first = send(&mut native, &world, by_service);
    assert_eq!((&first.source[..], &first.destination[..]), ("192.0.2.50:40000", "10.0.0.9:53"));
    let plain = "pod1 < ip 10.1.0.2 > 10.0.0.9 udp 40000 > 53";
    let second = send(&mut native, &world, plain);
    let (address, port) = second.source.split_once(':').unwrap();
    assert!(address == "192.0.2.50" && port != "40000", "{second:?}");
    let back = |port: &str| format!("eth0 < ip 10.0.0.9 > 192.0.2.50 udp 53 > {port}");
    let told = send(&mut native, &world, &back("40000"));
    assert_eq!((&told.source[..], &told.destination[..]), ("10.96.0.10:53", "10.1.0.2:40000"));
    let told = send(&mut native, &world, &back(port));
    assert_eq!((&told.source[..], &told.destination[..]), ("10.0.0.9:53", "10.1.0.2:40000"));
    // The other pod is masqueraded as ever.
    let sent = send(&mut native, &world, "pod2 < ip 10.1.0.3 > 10.0.0.9 udp 20000 > 53");
    assert_eq!(sent.source, "10.0.0.1:20000");
}
