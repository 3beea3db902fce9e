//! Processes of another node's host behind a service, on two native engines, against a model that cannot be
//! wrong in the same way: a set of who has spoken to the service.

use std::collections::HashSet;
use thalweg_abi::{Kind, Reason};
use thalweg_core::flow::{RETURNED, Tracked, UNTOUCHED, leave};
use thalweg_core::{Arrival, Packet, Tables, Verdict};
use thalweg_image::sample::SplitMix;
use thalweg_native::VecFrame;
use thalweg_packet::Line;
use thalweg_testkit::engine::{Course, Fate};
use thalweg_testkit::{Engine, Native, World};

/// What both nodes know of the cluster.
const CLUSTER: [&str; 3] = [
    "router tunnel geneve vni 7",
    "service dns 10.96.0.10:53/udp nodeport 30053",
    "endpoints dns 192.0.2.2:5353@b",
];

/// A node of the two.
struct Node {
    native: Native,
    world: World,
}

impl Node {
    /// Node 1 or 2, whose neighbors have the link addresses 02:00:00:00:ff:NUMBER.
    fn new(own: usize) -> Self {
        let mut native = Native::new();
        let mut course = Course::new(&mut native);
        let node = |number: usize, name: &str| {
            let mine = if number == own { " own" } else { "" };
            format!("node {name} 192.0.2.{number} 10.1.{number}.0/24{mine}")
        };
        let mut lines = vec![
            format!("link eth0 192.0.2.{own}/24"),
            "link inside host".to_owned(),
            node(1, "a"),
            node(2, "b"),
        ];
        let known = (1..10).filter(|number| *number != own);
        lines.extend(known.map(|number| {
            format!("neigh 192.0.2.{number} lladdr 02:00:00:00:ff:0{number} dev eth0")
        }));
        let cluster = CLUSTER.map(str::to_owned);
        for line in cluster[..1].iter().chain(&lines).chain(&cluster[1..]) {
            course.change(line).unwrap();
        }
        course.settle().unwrap();
        let world = course.world.clone();
        Self { native, world }
    }

    fn frame(&self, line: &str) -> Vec<u8> {
        let line = Line::parse(line).unwrap();
        line.bytes(self.world.mac(&line.link).unwrap())
    }

    /// What becomes of a frame that arrives at a link.
    fn run(&mut self, link: &str, frame: &[u8]) -> Fate {
        let mut frame = frame.to_vec();
        frame[..6].copy_from_slice(&self.world.mac(link).unwrap().0);
        self.native.run(&frame, self.world.index(link).unwrap()).unwrap()
    }

    /// What becomes of a frame that the host's own stack sends by eth0.
    fn leaves(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let cells = self.native.cells();
        let arrival = Arrival { device: self.world.index("eth0").unwrap(), epoch: cells.epoch() };
        let (mut packet, mut tracked) = (Packet::new(arrival, 0), Tracked::NONE);
        let mut work = VecFrame::new(frame);
        let verdict = leave(&mut work, &cells.at(arrival.epoch), &mut packet, &mut tracked);
        (verdict, work.into_bytes())
    }
}

/// Addresses and ports of a frame of IPv4.
fn ends(frame: &[u8]) -> (String, String) {
    let end = |address: usize, port: usize| {
        let [a, b, c, d] = frame[address..address + 4].try_into().unwrap();
        format!("{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([frame[port], frame[port + 1]]))
    };
    (end(26, 34), end(30, 36))
}

/// The neighbor that a frame goes to.
fn to(frame: &[u8]) -> u8 {
    frame[5]
}

#[test]
fn answers_of_a_host_come_back_by_the_node_that_was_asked() {
    let [mut one, mut two] = [1, 2].map(Node::new);
    let mut random = SplitMix(7);
    let mut asked: HashSet<String> = HashSet::new();
    let (mut answered, mut plain) = (0, 0);
    for step in 0..10_000 {
        let client = format!("192.0.2.{}", 7 + random.below(3));
        let port = 4_000 + random.below(40);
        let end = format!("{client}:{port}");
        match random.below(3) {
            0 => {
                let line = format!("eth0 < ip {client} > 192.0.2.1 udp {port} > 30053 data 01");
                let fate = one.run("eth0", &one.frame(&line));
                assert_eq!((fate.verdict.kind(), to(&fate.frame)), (Kind::Forward, 2), "{step}");
                let fate = two.run("eth0", &fate.frame);
                assert_eq!(fate.verdict, Verdict::deliver(Reason::Local), "{step}: {line}");
                assert_eq!(ends(&fate.frame), (end.clone(), "192.0.2.2:5353".into()), "{step}");
                asked.insert(end);
            }
            1 => {
                // Not by the service: the host is asked itself, and nothing is remembered.
                let line = format!("eth0 < ip {client} > 192.0.2.2 udp {port} > 53 data 01");
                let fate = two.run("eth0", &two.frame(&line));
                assert_eq!(fate.verdict, Verdict::deliver(Reason::Local), "{step}: {line}");
                let line = format!("eth0 < ip 192.0.2.2 > {client} udp 53 > {port} data 02");
                let frame = two.frame(&line);
                assert_eq!(two.leaves(&frame), (UNTOUCHED, frame), "{step}: {line}");
                plain += 1;
            }
            _ => {
                let line = format!("eth0 < ip 192.0.2.2 > {client} udp 5353 > {port} data 02");
                let frame = two.frame(&line);
                let (verdict, frame) = two.leaves(&frame);
                if !asked.contains(&end) {
                    assert_eq!(verdict, UNTOUCHED, "{step}: {line}: nobody has asked");
                    continue;
                }
                assert_eq!(verdict, RETURNED, "{step}: {line}");
                assert_eq!(frame[..6], two.world.mac("inside").unwrap().0, "{step}");
                let fate = two.run("inside", &frame);
                assert_eq!((fate.verdict.kind(), to(&fate.frame)), (Kind::Forward, 1), "{step}");
                let fate = one.run("eth0", &fate.frame);
                assert_eq!(fate.verdict.kind(), Kind::Forward, "{step}: {line}");
                assert_eq!(ends(&fate.frame), ("192.0.2.1:30053".into(), end), "{step}: {line}");
                answered += 1;
            }
        }
    }
    assert!(answered > 1_000 && plain > 1_000, "{answered} {plain}");
}
