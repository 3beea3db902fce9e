//! Hairpins between mappings against a model that cannot be wrong in the same way: a list of who has which
//! port outside.

mod net;

use std::collections::HashMap;
use thalweg_abi::{Kind, Reason};
use thalweg_image::sample::SplitMix;
use thalweg_testkit::{Native, World};

/// The address outside of all pods.
const OUTSIDE: &str = "10.0.0.1";
/// The first port outside, and how many there are: fewer than sources.
const FIRST: u16 = 20_000;
const COUNT: u16 = 8;

fn native() -> (Native, World) {
    net::build(&[
        "pool pods 10.1.0.0/16 nat",
        "pod one 10.1.0.2 dev pod1",
        "pod two 10.1.0.3 dev pod2",
        "router independent nat-ports 20000 20007",
    ])
}

/// What became of a frame: verdict, and both ends of the one that left.
fn send(native: &mut Native, world: &World, line: &str) -> (Kind, Reason, [(String, u16); 2]) {
    let fate = net::run(native, world, line);
    let end = |address: usize, port: usize| {
        let [a, b, c, d] = fate.frame[address..address + 4].try_into().unwrap();
        let port = u16::from_be_bytes([fate.frame[port], fate.frame[port + 1]]);
        (format!("{a}.{b}.{c}.{d}"), port)
    };
    (fate.verdict.kind(), fate.verdict.reason(), [end(26, 34), end(30, 36)])
}

/// A pod and its port.
type Source = (String, u16);

#[test]
fn each_is_reached_at_its_port_outside_and_seen_from_there() {
    let (mut native, world) = native();
    let mut random = SplitMix(3);
    let mut ports: HashMap<Source, u16> = HashMap::new();
    let (mut turned, mut refused) = (0, 0);
    for step in 0..20_000 {
        let pod = random.below(2);
        let address = format!("10.1.0.{}", 2 + pod);
        let own = if random.below(4) == 0 { FIRST } else { 1_000 } + random.below(5) as u16;
        let source: Source = (address.clone(), own);
        let outward = random.below(4) == 0;
        let to = FIRST + random.below(COUNT.into()) as u16;
        let host = if outward { "10.0.0.9" } else { OUTSIDE };
        let line = format!("pod{} < ip {address} > {host} udp {own} > {to}", pod + 1);
        let (kind, reason, [from, at]) = send(&mut native, &world, &line);
        let owner = ports.iter().find(|(_, port)| **port == to).map(|(owner, _)| owner.clone());
        let at_host = !outward && owner.as_ref().is_none_or(|owner| *owner == source);
        if at_host {
            assert_eq!(kind, Kind::Deliver, "step {step}: {line}: nobody's or its own");
            continue;
        }
        let known = ports.get(&source).copied();
        if kind == Kind::Drop {
            assert_eq!((reason, known), (Reason::NatPorts, None), "step {step}: {line}");
            assert_eq!(ports.len(), usize::from(COUNT), "step {step}: refused with a free port");
            refused += 1;
            continue;
        }
        assert_eq!((kind, &from.0[..]), (Kind::Forward, OUTSIDE), "step {step}: {line}");
        match known {
            Some(port) => assert_eq!(from.1, port, "step {step}: {line}: another port outside"),
            None => {
                let other = ports.values().any(|port| *port == from.1);
                assert!(!other && (FIRST..FIRST + COUNT).contains(&from.1), "step {step}: {line}");
                ports.insert(source, from.1);
            }
        }
        let expected = if outward { ("10.0.0.9".into(), to) } else { owner.unwrap() };
        assert_eq!(at, expected, "step {step}: {line}");
        turned += u32::from(!outward);
    }
    assert!(turned > 3_000 && refused > 500, "{turned} {refused}");
}
