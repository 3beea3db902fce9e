//! SCTP against what cannot be wrong in the same way: checksums made anew, bit by bit, and a plain account
//! of what each side has said.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use thalweg_abi::flow::{WORDS, kind, slot, word};
use thalweg_abi::{Kind, Reason, TableId};
use thalweg_image::sample::SplitMix;
use thalweg_packet::Line;
use thalweg_testkit::engine::{Course, Fate, Native};
use thalweg_testkit::{Engine, Kernel, World};

/// Seconds that associations live here without a packet: others than those of any other protocol.
const INIT: u64 = 17;
const ESTABLISHED: u64 = 1_700;
const CLOSED: u64 = 27;
const ABORTED: u64 = 37;
/// The longest packet of a link.
const MTU: usize = 9_000;
/// The longest one that engines in the kernel take.
const MTU_OF_KERNEL: usize = 3_000;

fn world(engine: &mut dyn Engine) -> World {
    let mut course = Course::new(engine);
    for line in [
        "link pod1 10.99.0.1/32 2001:db8:99::1/128 mtu 9000",
        "link pod2 10.99.0.2/32 2001:db8:99::2/128 mtu 9000",
        "neigh 10.1.0.2 lladdr 02:00:00:00:00:a2 dev pod1",
        "neigh 10.1.0.3 lladdr 02:00:00:00:00:a3 dev pod2",
        "neigh 2001:db8:1::2 lladdr 02:00:00:00:00:a2 dev pod1",
        "neigh 2001:db8:1::3 lladdr 02:00:00:00:00:a3 dev pod2",
        "pod one 10.1.0.2,2001:db8:1::2 dev pod1",
        "pod two 10.1.0.3,2001:db8:1::3 dev pod2",
        "service web 10.96.0.10:80/sctp",
        "service six [2001:db8:96::10]:80/sctp",
        "endpoints web 10.1.0.3:8080",
        "endpoints six [2001:db8:1::3]:8080",
    ] {
        course.change(line).unwrap();
    }
    let times = &mut course.world.intent.router.flows.timeouts;
    let seconds = Duration::from_secs;
    (times.sctp_init, times.sctp_established) = (seconds(INIT), seconds(ESTABLISHED));
    (times.sctp_closed, times.sctp_aborted) = (seconds(CLOSED), seconds(ABORTED));
    course.settle().unwrap();
    course.world.clone()
}

fn send(engine: &mut dyn Engine, world: &World, line: &str) -> Fate {
    let line = Line::parse(line).unwrap();
    let frame = line.bytes(world.mac(&line.link).unwrap());
    engine.run(&frame, world.index(&line.link).unwrap()).unwrap()
}

/// The IP packet of a line.
fn packet(world: &World, line: &str) -> Vec<u8> {
    let line = Line::parse(&format!("pod1 < {line}")).unwrap();
    line.bytes(world.mac("pod1").unwrap()).split_off(14)
}

/// Sends packets of every length both ways, IPv4 and IPv6.
fn every_length(engine: &mut dyn Engine, most: usize) {
    let world = world(engine);
    let name = engine.name();
    let families = [
        ("ip 10.1.0.2 > 10.96.0.10", "ip 10.1.0.2 > 10.1.0.3 ttl 63", 20),
        ("ip6 2001:db8:1::2 > 2001:db8:96::10", "ip6 2001:db8:1::2 > 2001:db8:1::3 hlim 63", 40),
    ];
    let back = [
        ("ip 10.1.0.3 > 10.1.0.2", "ip 10.96.0.10 > 10.1.0.2 ttl 63"),
        ("ip6 2001:db8:1::3 > 2001:db8:1::2", "ip6 2001:db8:96::10 > 2001:db8:1::2 hlim 63"),
    ];
    for ((to, became, header), (from, seen)) in families.into_iter().zip(back) {
        for (link, ends, ports, chunk) in [
            ("pod1", to, "40000 > 80", "init"),
            ("pod2", from, "8080 > 40000", "init-ack"),
            ("pod1", to, "40000 > 80", "cookie-echo"),
            ("pod2", from, "8080 > 40000", "cookie-ack"),
        ] {
            let fate = send(engine, &world, &format!("{link} < {ends} sctp {ports} {chunk}"));
            assert_eq!(fate.verdict.kind(), Kind::Forward, "{name}: {chunk}");
        }
        for len in 0..=most - header - 12 {
            let rest = format!("tag {} len {len}", len * 0x1_0001);
            let sent = send(engine, &world, &format!("pod1 < {to} sctp 40000 > 80 {rest}"));
            let wanted = packet(&world, &format!("{became} sctp 40000 > 8080 {rest}"));
            assert!(sent.frame[14..] == wanted, "{name}, {len} octets there");
            let sent = send(engine, &world, &format!("pod2 < {from} sctp 8080 > 40000 {rest}"));
            let wanted = packet(&world, &format!("{seen} sctp 80 > 40000 {rest}"));
            assert!(sent.frame[14..] == wanted, "{name}, {len} octets back");
        }
    }
}

#[test]
fn packets_of_every_length_have_the_right_checksum() {
    every_length(&mut Native::new(), MTU);
}

#[test]
fn so_they_have_in_the_kernel() {
    // A thread of its own: it moves into a network namespace.
    let thread = std::thread::spawn(|| match Kernel::new() {
        Ok(kernel) => kernel.engines().iter_mut().for_each(|engine| {
            every_length(engine, MTU_OF_KERNEL);
        }),
        Err(missing) => missing.skip("checksums of SCTP in the kernel"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What both sides have said since an association began.
#[derive(Clone, Copy, Default)]
struct Account {
    granted: bool,
    agreed: bool,
    /// Who began, and who answers, has shut down.
    done: [bool; 2],
    aborted: bool,
    last: u32,
}

impl Account {
    /// Seconds that it lives without a packet.
    fn lives(&self) -> u32 {
        let seconds = match self {
            Self { aborted: true, .. } => ABORTED,
            Self { done: [true, true], .. } => CLOSED,
            Self { agreed: true, .. } | Self { done: [true, _] | [_, true], .. } => ESTABLISHED,
            _ => INIT,
        };
        seconds as u32
    }

    /// Takes down what a side says.
    fn hears(&mut self, answers: bool, chunk: &str, now: u32) {
        let over = self.aborted || self.done != [false; 2];
        match chunk {
            "init" if over => *self = Self::default(),
            "init" if !self.agreed => self.granted = false,
            "abort" => self.aborted = true,
            _ if chunk.contains("shutdown") => {
                if std::mem::take(&mut self.aborted) {
                    self.done = [false; 2];
                }
                self.done[usize::from(answers)] = true;
            }
            // Nobody meant the abort.
            _ if self.aborted => *self = Self { granted: true, agreed: true, ..Self::default() },
            "init-ack" if answers => self.granted = true,
            "cookie-echo" | "error" | "init" | "init-ack" => {}
            _ => self.agreed |= self.granted,
        }
        self.last = now;
    }
}

#[test]
fn associations_live_as_long_as_both_sides_say() {
    const CHUNKS: [&str; 14] = [
        "init",
        "init",
        "init-ack",
        "init-ack",
        "cookie-echo",
        "cookie-ack",
        "len 16",
        "sack",
        "heartbeat",
        "error",
        "abort",
        "shutdown",
        "sack shutdown-ack",
        "shutdown-complete",
    ];
    const PAUSES: [u32; 9] = [1, 5, 16, 18, 26, 28, 36, 38, 1_699];
    let mut native = Native::new();
    let world = world(&mut native);
    let mut random = SplitMix(11);
    let mut accounts: HashMap<u64, Account> = HashMap::new();
    let (mut now, mut ended, mut forwarded, mut dropped) = (1, 0, 0, 0);
    for step in 0..60_000 {
        if random.below(4) == 0 {
            now += PAUSES[random.below(PAUSES.len() as u64) as usize];
        }
        native.cells().set_clock(now);
        let (port, answers) = (40_000 + random.below(3), random.below(2) == 1);
        let chunk = CHUNKS[random.below(CHUNKS.len() as u64) as usize];
        // A backend that begins itself is another flow.
        if answers && chunk == "init" {
            continue;
        }
        let line = match answers {
            false => format!("pod1 < ip 10.1.0.2 > 10.96.0.10 sctp {port} > 80 {chunk}"),
            true => format!("pod2 < ip 10.1.0.3 > 10.1.0.2 sctp 8080 > {port} {chunk}"),
        };
        let sent = send(&mut native, &world, &line);
        let verdict = (sent.verdict.kind(), sent.verdict.reason());
        let known = accounts.get(&port).filter(|account| now - account.last <= account.lives());
        ended += u32::from(known.is_none() && accounts.remove(&port).is_some());
        if !accounts.contains_key(&port) && chunk != "init" {
            assert_eq!(verdict, (Kind::Drop, Reason::NoFlow), "step {step}: {line}");
            dropped += 1;
            continue;
        }
        assert_eq!(verdict.0, Kind::Forward, "step {step}: {line}: {verdict:?}");
        let wanted = match answers {
            false => format!("ip 10.1.0.2 > 10.1.0.3 ttl 63 sctp {port} > 8080 {chunk}"),
            true => format!("ip 10.96.0.10 > 10.1.0.2 ttl 63 sctp 80 > {port} {chunk}"),
        };
        assert!(sent.frame[14..] == packet(&world, &wanted), "step {step}: {line}");
        accounts.entry(port).or_default().hears(answers, chunk, now);
        forwarded += 1;
    }
    assert!(
        ended > 1_000 && forwarded > 10_000 && dropped > 5_000,
        "{ended} {forwarded} {dropped}"
    );
}

#[test]
fn a_source_keeps_its_port_as_long_as_an_association_may_live() {
    let mut native = Native::new();
    let mut course = Course::new(&mut native);
    for line in [
        "link eth0 10.0.0.1/24",
        "link pod1 10.99.0.1/32",
        "neigh 10.0.0.8 lladdr 02:00:00:00:ff:01 dev eth0",
        "neigh 10.0.0.9 lladdr 02:00:00:00:ff:02 dev eth0",
        "neigh 10.1.0.2 lladdr 02:00:00:00:00:a2 dev pod1",
        "pool pods 10.1.0.0/16 nat",
        "pod one 10.1.0.2 dev pod1",
        "router independent",
    ] {
        course.change(line).unwrap();
    }
    course.world.intent.router.flows.timeouts.sctp_established = Duration::from_secs(ESTABLISHED);
    course.settle().unwrap();
    let world = course.world.clone();
    let mut port = |host: u8, now: u64| {
        native.cells().set_clock(now as u32);
        let line = format!("pod1 < ip 10.1.0.2 > 10.0.0.{host} sctp 40000 > 443 init");
        let sent = send(&mut native, &world, &line);
        assert_eq!((sent.verdict.kind(), &sent.frame[26..30]), (Kind::Forward, &[10, 0, 0, 1][..]));
        let port = u16::from_be_bytes([sent.frame[34], sent.frame[35]]);
        let wanted = format!("ip 10.0.0.1 > 10.0.0.{host} ttl 63 sctp {port} > 443 init");
        assert!(sent.frame[14..] == packet(&world, &wanted), "{wanted}");
        port
    };
    let first = port(8, 1);
    assert_eq!((port(9, 2), port(8, ESTABLISHED)), (first, first));
    let owner = |native: &Native| {
        let (slots, rows) = (TableId::FlowSlots, TableId::Flows);
        let (slots, rows) =
            (native.cells().memory().words(slots), native.cells().memory().words(rows));
        let used = |at: &usize| slots[*at].load(SeqCst) & slot::LIVE != 0;
        let row = |at: usize| rows[at * WORDS + word::SEEN].load(SeqCst) >> 32;
        let mapping =
            |at: &usize| rows[at * WORDS + word::REWRITE].load(SeqCst) as u32 & kind::MAPPING;
        (0..slots.len()).filter(used).filter(|at| mapping(at) != 0).map(row).collect::<Vec<u64>>()
    };
    assert_eq!(owner(&native), [ESTABLISHED; 2]);
}
