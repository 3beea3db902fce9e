//! Drop events: what the kernel's programs tell of frames that they discard.

use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_abi::event::{DropEvent, flag, hook};
use thalweg_abi::{Kind, Reason, Verdict};
use thalweg_testkit::engine::{Course, Engine as _, Native, Refusal};
use thalweg_testkit::random::{self, Chance};
use thalweg_testkit::{Kernel, KernelEngine};
use thalweg_xdp::Events;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
/// More than any test has frames.
const ALL: u64 = 1_000_000;

/// What is there in all tests.
const WORLD: &[&str] = &[
    "link eth0 10.0.0.1/24 fd00::1/64",
    "link eth1 10.1.0.1/24 fd01::1/64",
    "route blackhole 10.2.0.0/16",
    "route prohibit 10.3.0.0/16",
    "route blackhole fd02::/16",
];

/// In a thread of its own, because it enters a network namespace.
fn in_kernel(test: fn(&mut KernelEngine)) {
    let thread = std::thread::spawn(move || match Kernel::new() {
        Ok(kernel) => kernel.engines().iter_mut().for_each(test),
        Err(missing) => missing.skip("drop events"),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// An engine in a world, and its reader.
fn course<'a>(engine: &'a mut KernelEngine, more: &[&str]) -> (Course<'a>, Events) {
    let events = engine.events().unwrap();
    events.leave();
    let mut course = Course::new(engine);
    for line in WORLD.iter().chain(more) {
        course.change(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    course.settle().unwrap();
    (course, events)
}

/// Runs a frame in words; its verdict.
fn send(course: &mut Course<'_>, line: &str) -> Verdict {
    let (link, packet) = line.split_once(" < ").unwrap();
    let own = course.world.mac(link).unwrap();
    let frame = thalweg_packet::frame(packet, own).unwrap_or_else(|e| panic!("{line}: {e}"));
    let index = course.world.index(link).unwrap();
    course.engine.run(&frame, index).unwrap_or_else(|e| panic!("{line}: {e}")).verdict
}

/// All that is in the ring.
fn all(events: &mut Events) -> Vec<DropEvent> {
    std::iter::from_fn(|| events.take()).collect()
}

/// The only event in the ring.
fn one(events: &mut Events) -> DropEvent {
    match all(events)[..] {
        [event] => event,
        ref others => panic!("{others:?}"),
    }
}

fn four(text: &str) -> [u64; 2] {
    let address: std::net::Ipv4Addr = text.parse().unwrap();
    [0, u32::from(address).into()]
}

fn six(text: &str) -> [u64; 2] {
    let number = u128::from(text.parse::<std::net::Ipv6Addr>().unwrap());
    [(number >> 64) as u64, number as u64]
}

#[test]
fn nobody_is_told_what_nobody_listens_to() {
    in_kernel(|engine| {
        let counts = engine.event_counts();
        let (mut course, mut events) = course(engine, &[]);
        let before = counts();
        let line = "eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53";
        assert_eq!(send(&mut course, line), Verdict::drop(Reason::Blackhole));
        assert_eq!((all(&mut events).len(), counts()), (0, before));
        // Not any more, either.
        events.listen(Duration::from_millis(1), ALL, ALL);
        std::thread::sleep(Duration::from_millis(5));
        send(&mut course, line);
        events.listen(LONG, ALL, ALL);
        events.leave();
        send(&mut course, line);
        assert_eq!((all(&mut events).len(), counts()), (0, before));
    });
}

#[test]
fn a_frame_that_is_dropped_is_told_as_it_came() {
    in_kernel(|engine| {
        let at = if engine.name() == "xdp" { hook::XDP } else { hook::TC };
        let (mut course, mut events) = course(engine, &[]);
        events.listen(LONG, ALL, ALL);
        let since = thalweg_xdp::events::now();
        let line = "eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53";
        assert_eq!(send(&mut course, line), Verdict::drop(Reason::Blackhole));
        let event = one(&mut events);
        assert!((since..=thalweg_xdp::events::now()).contains(&event.time), "{}", event.time);
        let expected = DropEvent {
            time: event.time,
            source: four("10.0.0.9"),
            destination: four("10.2.0.7"),
            link: course.world.index("eth0").unwrap(),
            source_port: 4000,
            destination_port: 53,
            octets: 14 + 20 + 8,
            flags: flag::PORTS,
            reason: Reason::Blackhole as u8,
            hook: at,
            family: 4,
            protocol: 17,
            ..DropEvent::default()
        };
        assert_eq!(event, expected);
        let line = "eth0 < ip6 fd00::9 > fd02::7 tcp 4001 > 80 syn";
        assert_eq!(send(&mut course, line), Verdict::drop(Reason::Blackhole));
        let event = one(&mut events);
        let ends = (event.family, event.source, event.destination);
        assert_eq!(ends, (6, six("fd00::9"), six("fd02::7")));
        let (ports, octets) = ((event.source_port, event.destination_port), event.octets);
        assert_eq!((event.protocol, ports, octets), (6, (4001, 80), 14 + 40 + 20));
    });
}

#[test]
fn what_is_forwarded_is_not_told() {
    in_kernel(|engine| {
        let neighbor = "neigh 10.1.0.7 lladdr 02:00:00:00:01:07 dev eth1";
        let (mut course, mut events) = course(engine, &[neighbor]);
        events.listen(LONG, ALL, ALL);
        let verdict = send(&mut course, "eth0 < ip 10.0.0.9 > 10.1.0.7 udp 1 > 2");
        assert_eq!(verdict.kind(), Kind::Forward);
        send(&mut course, "eth0 < ip 10.0.0.9 > 10.0.0.1 udp 1 > 2");
        assert_eq!(all(&mut events), []);
    });
}

#[test]
fn of_what_is_answered_the_packet_is_told_and_not_the_answer() {
    in_kernel(|engine| {
        let neighbor = "neigh 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0";
        let (mut course, mut events) = course(engine, &[neighbor]);
        events.listen(LONG, ALL, ALL);
        let verdict = send(&mut course, "eth0 < ip 10.0.0.9 > 10.3.0.7 udp 4000 > 53");
        assert_eq!(verdict, Verdict::answer(Reason::Prohibited));
        let event = one(&mut events);
        assert_eq!((event.source, event.destination), (four("10.0.0.9"), four("10.3.0.7")));
        assert_eq!((event.protocol, event.source_port, event.destination_port), (17, 4000, 53));
        assert_eq!(event.flags, flag::ANSWERED | flag::PORTS);
        assert_eq!(event.octets, 14 + 20 + 8, "those that came");
        // Where nobody can be told, too.
        let verdict = send(&mut course, "eth0 < ip 10.9.0.9 > 10.3.0.7 udp 4000 > 53");
        assert_eq!(verdict, Verdict::drop(Reason::Prohibited));
        let event = one(&mut events);
        assert_eq!((event.source, event.destination), (four("10.9.0.9"), four("10.3.0.7")));
        assert_eq!((event.protocol, event.flags), (17, flag::PORTS));
        assert_eq!((event.source_port, event.destination_port, event.octets), (4000, 53, 42));
    });
}

#[test]
fn icmp_has_a_type_and_a_code_and_later_fragments_have_no_ports() {
    in_kernel(|engine| {
        let (mut course, mut events) = course(engine, &[]);
        events.listen(LONG, ALL, ALL);
        send(&mut course, "eth0 < ip 10.0.0.9 > 10.2.0.7 icmp echo");
        let event = one(&mut events);
        assert_eq!((event.protocol, event.source_port, event.destination_port), (1, 8, 0));
        send(&mut course, "eth0 < ip 10.0.0.9 > 10.2.0.7 frag 1480 proto 17 len 8");
        let event = one(&mut events);
        assert_eq!((event.protocol, event.source_port, event.destination_port), (17, 0, 0));
        assert_eq!(event.flags, flag::LATER_FRAGMENT);
    });
}

#[test]
fn a_header_that_is_wrong_is_told_as_far_as_it_goes() {
    in_kernel(|engine| {
        let (course, mut events) = course(engine, &[]);
        events.listen(LONG, ALL, ALL);
        let own = course.world.mac("eth0").unwrap();
        let index = course.world.index("eth0").unwrap();
        let line = "ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53";
        let mut frame = thalweg_packet::frame(line, own).unwrap();
        // A length beyond the frame's.
        frame[16] = 7;
        let fate = course.engine.run(&frame, index).unwrap();
        assert_eq!(fate.verdict, Verdict::drop(Reason::Length));
        let event = one(&mut events);
        assert_eq!((event.source, event.destination), (four("10.0.0.9"), four("10.2.0.7")));
        assert_eq!((event.protocol, event.source_port, event.destination_port), (17, 4000, 53));
    });
}

#[test]
fn beyond_the_rate_frames_are_counted_and_not_told() {
    in_kernel(|engine| {
        let engine_is_first = engine.name() == "xdp";
        let counts = engine.event_counts();
        let (mut course, mut events) = course(engine, &[]);
        let before = counts();
        // One in ten seconds, and five at once. Which processor a run gets is the kernel's choice.
        events.listen(LONG, 1, 5);
        const FRAMES: u64 = 400;
        for _ in 0..FRAMES {
            send(&mut course, "eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53");
        }
        let told = all(&mut events).len() as u64;
        let now = counts();
        // Both engines have one bucket.
        let least = if engine_is_first { 5 } else { 0 };
        let processors = std::thread::available_parallelism().unwrap().get() as u64;
        assert!((least..=7 * processors).contains(&told), "{told}");
        assert_eq!(now.taken - before.taken, told);
        assert_eq!(now.left_out - before.left_out, FRAMES - told);
        assert_eq!(now.lost, before.lost);
    });
}

#[test]
fn a_full_ring_loses_events_and_counts_them() {
    in_kernel(|engine| {
        let counts = engine.event_counts();
        let (mut course, mut events) = course(engine, &[]);
        let before = counts();
        events.listen(LONG, 1_000_000_000, ALL);
        // 72 octets each.
        const FIT: u64 = thalweg_abi::event::RING_BYTES as u64 / 72;
        for _ in 0..FIT + 50 {
            send(&mut course, "eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53");
        }
        let now = counts();
        let (taken, lost) = (now.taken - before.taken, now.lost - before.lost);
        assert_eq!(taken + lost, FIT + 50);
        assert!((FIT - 1..=FIT).contains(&taken), "{taken}");
        assert_eq!(all(&mut events).len() as u64, taken);
        send(&mut course, "eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53");
        assert_eq!(all(&mut events).len(), 1, "there is room again");
    });
}

#[test]
fn programs_that_know_flows_tell_packets_as_they_came() {
    const SERVICES: &[&str] = &[
        "link pod1 10.99.0.1/32",
        "neigh 10.1.0.2 lladdr 02:00:00:00:00:a2 dev pod1",
        "pod one 10.1.0.2 dev pod1",
        "service web 10.96.0.10:80/tcp",
        "endpoints web",
    ];
    in_kernel(|engine| {
        let (mut course, mut events) = course(engine, SERVICES);
        events.listen(LONG, ALL, ALL);
        let pod = course.world.index("pod1").unwrap();
        // A service without backends: its sender is told.
        let line = "pod1 < ip 10.1.0.2 > 10.96.0.10 tcp 40005 > 80 syn";
        assert_eq!(send(&mut course, line), Verdict::answer(Reason::NoBackend));
        let event = one(&mut events);
        assert_eq!((event.source, event.destination), (four("10.1.0.2"), four("10.96.0.10")));
        assert_eq!((event.source_port, event.destination_port), (40_005, 80));
        assert_eq!((event.link, event.flags), (pod, flag::ANSWERED | flag::PORTS));
        assert_eq!((event.reason, event.octets), (Reason::NoBackend as u8, 54));
        let line = "pod1 < ip 10.1.0.2 > 10.2.0.7 tcp 40006 > 80 syn";
        assert_eq!(send(&mut course, line), Verdict::drop(Reason::Blackhole));
        let event = one(&mut events);
        assert_eq!((event.source, event.destination), (four("10.1.0.2"), four("10.2.0.7")));
        assert_eq!((event.link, event.flags), (pod, flag::PORTS));
        // The answer to a ping is an answer, and nothing is lost.
        let line = "pod1 < ip 10.1.0.2 > 10.96.0.10 icmp echo id 7 seq 1";
        assert_eq!(send(&mut course, line), Verdict::answer(Reason::Echo));
        assert_eq!(all(&mut events), []);
    });
}

/// Any world, any frame: programs tell of it what the core outside of the kernel tells.
#[test]
fn programs_tell_what_the_core_tells() {
    in_kernel(|engine| {
        let name = engine.name();
        let mut events = engine.events().unwrap();
        let mut native = Native::new();
        let mut told = BTreeMap::<String, usize>::new();
        for seed in 0..6 {
            let mut chance = Chance::new(5_000 + seed);
            let text = random::world(&mut chance);
            let settled = |course: &mut Course<'_>| {
                for line in text.lines() {
                    course.change(&format!("wrong {line}")).unwrap();
                }
                course.settle().unwrap();
            };
            let mut kernel = Course::new(engine);
            settled(&mut kernel);
            let (frames, links) = {
                let mut core = Course::new(&mut native);
                settled(&mut core);
                let frames: Vec<_> =
                    (0..400).map(|_| random::frame(&mut chance, &core.world)).collect();
                let index = |link: &str| core.world.index(link).unwrap();
                let links: Vec<u32> = frames.iter().map(|(link, _)| index(link)).collect();
                (frames, links)
            };
            events.listen(LONG, ALL, ALL);
            for ((link, frame), here) in frames.into_iter().zip(links) {
                let there = kernel.world.index(&link).unwrap();
                let fate = match kernel.engine.run(&frame, there) {
                    Ok(fate) => fate,
                    Err(Refusal::Unsuited(_)) => continue,
                    Err(error) => panic!("{name}: {error}"),
                };
                let expected = native.run(&frame, here).unwrap();
                let event = all(&mut events);
                // What tc cannot do, and meters that stand elsewhere.
                if fate.verdict != expected.verdict {
                    assert_eq!(event.len(), usize::from(fate.verdict.kind() == Kind::Drop));
                    continue;
                }
                let left = &expected.frame;
                let cells = native.cells();
                let octets = frame.len();
                let told_here = thalweg_native::event(cells, left, here, fate.verdict, octets);
                let event = event.first().map(|event| DropEvent {
                    time: 0,
                    hook: hook::NATIVE,
                    link: here + event.link - there,
                    ..*event
                });
                let story = thalweg_packet::describe(&frame);
                assert_eq!(event, told_here, "seed {seed} {name} {link} < {story}");
                if event.is_some() {
                    *told.entry(fate.verdict.to_string()).or_default() += 1;
                }
            }
            events.leave();
        }
        assert!(told.values().sum::<usize>() > 300 && told.len() > 8, "{told:?}");
    });
}
