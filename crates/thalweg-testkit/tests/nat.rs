//! Source translation against a model that cannot be wrong in the same way: a list of flows.

mod net;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_abi::flow::{WORDS, kind, slot, state, word};
use thalweg_abi::{Kind, Reason};
use thalweg_image::sample::SplitMix;
use thalweg_testkit::{Native, World};

/// Seconds that datagrams' flows live.
const LIVES: u32 = 60;

fn native(router: &str) -> (Native, World) {
    net::build(&[
        "pool pods 10.1.0.0/16 nat",
        "pod one 10.1.0.2 dev pod1",
        "pod two 10.1.0.3 dev pod2",
        router,
    ])
}

/// What became of a frame: verdict, and the four ends of the one that left.
struct Sent {
    kind: Kind,
    reason: Reason,
    source: [u8; 4],
    destination: [u8; 4],
    ports: [u16; 2],
}

fn send(native: &mut Native, world: &World, line: &str) -> Sent {
    let fate = net::run(native, world, line);
    let four = |at: usize| fate.frame[at..at + 4].try_into().unwrap();
    let port = |at: usize| u16::from_be_bytes([fate.frame[at], fate.frame[at + 1]]);
    Sent {
        kind: fate.verdict.kind(),
        reason: fate.verdict.reason(),
        source: four(26),
        destination: four(30),
        ports: [port(34), port(36)],
    }
}

/// Workload, its port, host outside, its port.
type Ends = (u8, u16, u8, u16);

/// A flow of the model.
#[derive(Clone, Copy)]
struct Flow {
    port: u16,
    last: u32,
}

#[test]
fn no_two_flows_that_live_share_the_tuple_of_their_answers() {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 6;
    let (mut native, world) = native("router nat-ports 20000 20005");
    let mut random = SplitMix(7);
    let mut flows: HashMap<Ends, Flow> = HashMap::new();
    let (mut now, mut begun, mut refused, mut answered) = (1, 0, 0, 0);
    for step in 0..60_000 {
        if random.below(8) == 0 {
            now += random.below(25) as u32;
            native.cells().set_clock(now);
        }
        let pod = 2 + random.below(2) as u8;
        let sports = [FIRST, FIRST + 1, 1_000, 40_000, 50_000];
        let ends: Ends = (
            pod,
            sports[random.below(5) as usize],
            8 + random.below(2) as u8,
            if random.below(2) == 0 { 53 } else { 123 },
        );
        let lives = |flow: &Flow| now - flow.last <= LIVES;
        let (pod, sport, host, dport) = ends;
        let taken = |flows: &HashMap<Ends, Flow>, port| {
            let holder = |(other, flow): (&Ends, &Flow)| {
                let same = (other.2, other.3, flow.port) == (host, dport, port) && lives(flow);
                same.then_some(*other)
            };
            flows.iter().find_map(holder)
        };
        if random.below(3) > 0 {
            let link = pod - 1;
            let line = format!("pod{link} < ip 10.1.0.{pod} > 10.0.0.{host} udp {sport} > {dport}");
            let sent = send(&mut native, &world, &line);
            let known = flows.get(&ends).filter(|flow| lives(flow)).copied();
            if sent.kind == Kind::Drop {
                assert_eq!(sent.reason, Reason::NatPorts, "step {step}");
                assert!(known.is_none(), "step {step}: a flow that lives is refused");
                let free = (FIRST..FIRST + COUNT).find(|port| taken(&flows, *port).is_none());
                assert_eq!(free, None, "step {step}: refused with a free port");
                refused += 1;
                continue;
            }
            assert_eq!((sent.kind, sent.source), (Kind::Forward, [10, 0, 0, 1]), "step {step}");
            let port = sent.ports[0];
            assert!((FIRST..FIRST + COUNT).contains(&port), "step {step}: {port}");
            match known {
                Some(flow) => assert_eq!(port, flow.port, "step {step}: a flow changes its port"),
                None => {
                    assert_eq!(taken(&flows, port), None, "step {step}: {port} is another's");
                    begun += 1;
                }
            }
            flows.insert(ends, Flow { port, last: now });
        } else {
            let port = FIRST + random.below(COUNT.into()) as u16;
            let line = format!("eth0 < ip 10.0.0.{host} > 10.0.0.1 udp {dport} > {port}");
            let sent = send(&mut native, &world, &line);
            match taken(&flows, port) {
                Some(holder) => {
                    let (kind, to) = (Kind::Forward, [10, 1, 0, holder.0]);
                    assert_eq!((sent.kind, sent.destination), (kind, to), "step {step}");
                    assert_eq!(sent.ports, [dport, holder.1], "step {step}");
                    flows.entry(holder).and_modify(|flow| flow.last = now);
                    answered += 1;
                }
                None => assert_eq!(sent.kind, Kind::Deliver, "step {step}: nobody's answer"),
            }
        }
    }
    assert!(begun > 1_000 && refused > 1_000 && answered > 1_000, "{begun} {refused} {answered}");
}

/// Rows in use, as words.
fn rows(native: &Native) -> Vec<[u64; WORDS]> {
    let memory = native.cells().memory();
    let (slots, flows) = (memory.words(TableId::FlowSlots), memory.words(TableId::Flows));
    let live = |(index, word): (usize, &std::sync::atomic::AtomicU64)| {
        let row = || std::array::from_fn(|at| flows[index * WORDS + at].load(Ordering::Relaxed));
        (word.load(Ordering::Relaxed) & slot::LIVE != 0).then(row)
    };
    slots.iter().enumerate().filter_map(live).collect()
}

#[test]
fn a_full_table_takes_both_rows_of_a_flow_or_none() {
    let (mut native, world) = native("router nat-ports 20000 29999");
    let open = 40;
    for port in 20_000..20_000 + open {
        for line in [
            format!("pod1 < ip 10.1.0.2 > 10.0.0.9 tcp {port} > 80 syn"),
            format!("eth0 < ip 10.0.0.9 > 10.0.0.1 tcp 80 > {port} syn ack"),
            format!("pod1 < ip 10.1.0.2 > 10.0.0.9 tcp {port} > 80 ack"),
        ] {
            assert_eq!(send(&mut native, &world, &line).kind, Kind::Forward);
        }
    }
    let mut dropped = 0;
    for number in 0..8_000_u32 {
        let (pod, sport) = (2 + number % 2, 20_000 + number / 2);
        let line = format!("pod{} < ip 10.1.0.{pod} > 10.0.0.9 tcp {sport} > 80 syn", pod - 1);
        let sent = send(&mut native, &world, &line);
        match (sent.kind, sent.reason) {
            (Kind::Forward, _) => {}
            (Kind::Drop, Reason::FlowsFull) => dropped += 1,
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(dropped < 800, "{dropped} of 8000 found no room, though others are half open");
    let rows = rows(&native);
    let keys: HashSet<[u64; 5]> = rows.iter().map(|row| row[..5].try_into().unwrap()).collect();
    let mut tuples = HashSet::new();
    let mut established = 0;
    for row in &rows {
        let tail = row[word::REWRITE] >> 32 << 32 | row[word::TAIL] & 0xffff_ffff;
        let ports = (tail >> 32) as u32;
        let back = u64::from(ports.rotate_left(16)) << 32 | tail & 0xffff_ffff;
        let at = word::NEW_SOURCE;
        let other = [row[at + 2], row[at + 3], row[at], row[at + 1], back];
        assert!(keys.contains(&other), "a row whose other direction is gone");
        if row[word::REWRITE] as u32 & kind::ANSWERS == 0 {
            assert!(tuples.insert(other), "two flows with one tuple");
        }
        established += u16::from(row[word::STATE] as u8 == state::ESTABLISHED);
    }
    assert_eq!(established, 2 * open, "connections that were established");
    assert!(rows.len() > 1_500, "{} rows", rows.len());
}
