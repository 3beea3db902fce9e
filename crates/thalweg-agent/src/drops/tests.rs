//! What is remembered of dropped frames, and how it is told.

use super::words::more;
use super::*;
use crate::brain::tests::{HOST, compiled};
use std::net::Ipv4Addr;
use thalweg_abi::event::{flag, hook};
use thalweg_api::drops::{DropEnd, DropEventView};
use thalweg_model::cluster::Pod;
use thalweg_model::intent::Limits;
use thalweg_model::{Intent, ObjectName};
use thalweg_wire::l4::protocol;

fn four(text: &str) -> [u64; 2] {
    [0, u32::from(text.parse::<Ipv4Addr>().unwrap()).into()]
}

/// A datagram that came from eth0 of [`HOST`].
fn datagram(source: &str, destination: &str) -> DropEvent {
    DropEvent {
        source: four(source),
        destination: four(destination),
        link: 2,
        source_port: 4000,
        destination_port: 53,
        octets: 42,
        flags: flag::PORTS,
        reason: Reason::Blackhole as u8,
        hook: hook::XDP,
        family: 4,
        protocol: protocol::UDP,
        ..DropEvent::default()
    }
}

/// [`HOST`] with pods.
fn with_pods(pods: &[(&str, &str, bool)]) -> Compiler {
    let mut intent = Intent::default();
    for (name, address, host_network) in pods {
        let addresses = vec![address.parse().unwrap()];
        let pod = Pod { addresses, host_network: *host_network, ..Pod::default() };
        intent.cluster.pods.insert(ObjectName::new("shop", *name), pod);
    }
    let mut compiler = Compiler::new(Limits::default());
    compiler.load_host(thalweg_netlink::file::from_yaml(HOST).unwrap());
    compiler.set_intent(intent);
    compiler.plan();
    compiler
}

fn page(drops: &Drops, compiler: &Compiler, query: DropQuery) -> DropPage {
    drops.page(compiler, EventCounts::default(), &query).unwrap()
}

fn all() -> DropQuery {
    DropQuery { limit: 5_000, ..DropQuery::default() }
}

#[test]
fn the_last_thousand_are_remembered_and_readers_learn_what_they_missed() {
    let (drops, compiler) = (Drops::default(), compiled(HOST));
    let mut changed = drops.watch();
    let events = (0..1_500).map(|at| (at, datagram("10.0.0.9", "10.2.0.7")));
    drops.tell(events);
    assert!(changed.has_changed().unwrap());
    changed.borrow_and_update();
    drops.tell(std::iter::empty());
    assert!(!changed.has_changed().unwrap(), "nothing came");
    let all = page(&drops, &compiler, all());
    let numbers: Vec<u64> = all.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (501..=1_500).collect::<Vec<_>>());
    assert_eq!((all.missed, all.last), (0, 1_500), "who begins has missed nothing");
    let after =
        |place| page(&drops, &compiler, DropQuery { after: Some(place), ..DropQuery::default() });
    assert_eq!((after(100).missed, after(100).events.len()), (400, 1_000));
    assert_eq!((after(500).missed, after(500).events.len()), (0, 1_000));
    assert_eq!((after(1_499).missed, after(1_499).events.len()), (0, 1));
    assert_eq!((after(1_500).missed, after(1_500).events.len()), (0, 0));
    let two = page(&drops, &compiler, DropQuery { limit: 2, ..DropQuery::default() });
    assert_eq!(two.events.iter().map(|event| event.number).collect::<Vec<_>>(), [1_499, 1_500]);
    assert_eq!(page(&drops, &compiler, DropQuery::default()).events, []);
}

#[test]
fn what_was_decided_by_other_tables_has_no_numbers() {
    let (drops, compiler) = (Drops::default(), compiled(HOST));
    let of = |reason: Reason, flags, time| DropEvent {
        reason: reason as u8,
        flags,
        time,
        cause: 7,
        octets: 9,
        ..datagram("10.0.0.9", "10.2.0.7")
    };
    let denied = |time| of(Reason::Policy, flag::LOGGED, time);
    let logged = |time| of(Reason::Policy, flag::LOG | flag::LOGGED, time);
    let tell = |time| {
        let other = of(Reason::Blackhole, 0, time);
        drops.tell([denied(time), logged(time), other].map(|event| (0, event)).into_iter());
    };
    let numbers = |place| {
        let of = |memory: &Memory| {
            let told = memory.after(Some(place)).0.into_iter();
            told.map(|told| (told.event.cause, told.event.octets)).collect::<Vec<_>>()
        };
        [of(&drops.dropped), of(&drops.logged)]
    };
    let (known, gone) = (
        [vec![(7, 9), (7, 9)], vec![(7, 9), (7, 9)]],
        [vec![(0, 9), (7, 9)], vec![(0, 9), (0, 0)]],
    );
    tell(1);
    assert_eq!(numbers(0), known);
    // Other tables are to come: neither what is remembered nor what the old programs still tell has a number.
    drops.forget_numbers();
    assert_eq!(numbers(0), gone);
    tell(thalweg_xdp::events::now());
    assert_eq!(numbers(2), gone);
    // They are in force: what the others told before is read late.
    let before = thalweg_xdp::events::now();
    drops.know_numbers();
    tell(before);
    assert_eq!(numbers(4), gone);
    tell(thalweg_xdp::events::now());
    assert_eq!(numbers(6), known);
    // That hooks change later is nothing to these.
    drops.know_numbers();
    tell(before);
    assert_eq!(numbers(8), gone);
    let view = &page(&drops, &compiler, all()).events[0];
    assert_eq!((view.cause, &view.because, view.reason.as_str()), (None, &None, "policy"));
}

#[test]
fn an_event_is_told_with_names() {
    let drops = Drops::default();
    let pods = [("front", "10.0.0.9", false), ("agent", "10.2.0.7", true)];
    let compiler = with_pods(&pods);
    drops.tell([(1_000, datagram("10.0.0.9", "10.2.0.7"))].into_iter());
    let told = page(&drops, &compiler, all()).events.remove(0);
    let expected = DropEventView {
        number: 1,
        at: "1970-01-01T00:00:01.000Z".into(),
        link: "eth0".into(),
        vrf: None,
        hook: "xdp".into(),
        verdict: "drop".into(),
        reason: "blackhole".into(),
        cause: None,
        because: None,
        source: Some(DropEnd {
            address: "10.0.0.9".into(),
            port: Some(4000),
            name: Some("pod/shop/front".into()),
        }),
        // The address of a pod in the host's network is the host's.
        destination: Some(DropEnd { address: "10.2.0.7".into(), port: Some(53), name: None }),
        protocol: Some("UDP".into()),
        icmp: None,
        later_fragment: false,
        labelled: false,
        octets: 42,
        more: "thalweg explain 'eth0 < ip 10.0.0.9 > 10.2.0.7 udp 4000 > 53'".into(),
    };
    assert_eq!(told, expected);
}

#[test]
fn only_what_is_wanted_is_told() {
    let drops = Drops::default();
    let compiler = with_pods(&[("front", "10.0.0.9", false)]);
    let other =
        DropEvent { reason: Reason::NoRoute as u8, link: 3, ..datagram("10.0.0.8", "10.0.0.9") };
    let none = DropEvent { family: 0, ..other };
    drops.tell([datagram("10.0.0.9", "10.2.0.7"), other, none].map(|event| (0, event)).into_iter());
    let numbers = |query| {
        let page = page(&drops, &compiler, query);
        page.events.iter().map(|event| event.number).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(numbers(all()), [1, 2, 3]);
    assert_eq!(numbers(DropQuery { from: some("pod/shop/front"), ..all() }), [1]);
    assert_eq!(numbers(DropQuery { from: some("10.0.0.8"), ..all() }), [2]);
    assert_eq!(numbers(DropQuery { to: some("shop/front"), ..all() }), [2]);
    assert_eq!(numbers(DropQuery { to: some("10.2.0.7"), ..all() }), [1]);
    assert_eq!(numbers(DropQuery { reason: some("no-route"), ..all() }), [2, 3]);
    assert_eq!(numbers(DropQuery { link: some("eth0"), ..all() }), [1]);
    let both = DropQuery { link: some("eth0"), reason: some("no-route"), ..all() };
    assert_eq!(numbers(both), [0; 0]);
    let refused = |query: DropQuery| {
        drops.page(&compiler, EventCounts::default(), &query).unwrap_err().to_string()
    };
    let text = refused(DropQuery { from: some("shop/nobody"), ..all() });
    assert!(text.contains("there is no pod `shop/nobody`"), "{text}");
    let text = refused(DropQuery { reason: some("bad-luck"), ..all() });
    assert!(text.contains("`bad-luck`") && text.contains("get drops"), "{text}");
    let text = refused(DropQuery { link: some("eth9"), ..all() });
    assert!(text.contains("`eth9`") && text.contains("get links"), "{text}");
}

#[test]
fn what_to_try_is_a_packet_that_can_be_read() {
    let basis = datagram("10.0.0.9", "10.2.0.7");
    let six =
        DropEvent { family: 6, source: [0xfd00 << 48, 9], destination: [0xfd02 << 48, 7], ..basis };
    let events = [
        basis,
        DropEvent { octets: 1_514, ..basis },
        DropEvent { protocol: protocol::TCP, octets: 74, ..basis },
        DropEvent { protocol: protocol::TCP, reason: Reason::NoFlow as u8, ..basis },
        DropEvent { protocol: protocol::SCTP, ..basis },
        DropEvent { protocol: protocol::ICMP, source_port: 8, destination_port: 0, ..basis },
        DropEvent { flags: flag::LATER_FRAGMENT, ..basis },
        DropEvent { protocol: 89, flags: 0, ..basis },
        six,
        DropEvent { protocol: protocol::TCP, ..six },
        DropEvent { protocol: protocol::ICMPV6, source_port: 128, destination_port: 0, ..six },
        DropEvent { protocol: 89, flags: 0, ..six },
    ];
    for event in events {
        let line = more(&event, "eth0");
        let packet = line.strip_prefix("thalweg explain '").and_then(|rest| rest.strip_suffix("'"));
        let packet = packet.unwrap_or_else(|| panic!("{line}"));
        let read = thalweg_packet::Line::parse(packet).unwrap_or_else(|e| panic!("{packet}: {e}"));
        let octets = read.bytes(thalweg_wire::Mac([2, 0, 0, 0, 0, 1]));
        let words = thalweg_packet::describe(&octets);
        let ends = if event.family == 4 { "10.0.0.9 > 10.2.0.7" } else { "fd00::9 > fd02::7" };
        assert!(words.contains(ends), "{packet}: {words}");
        if event.octets > 74 {
            assert_eq!(octets.len(), event.octets as usize, "{packet}");
        }
    }
    // Frames that cannot come like that.
    let out = DropEvent { hook: hook::OUT, ..basis };
    let labelled = DropEvent { flags: flag::LABELLED, ..basis };
    for event in [out, labelled, DropEvent { family: 0, ..basis }] {
        assert_eq!(more(&event, "eth0"), "thalweg describe reason blackhole");
    }
    assert_eq!(more(&DropEvent { family: 0, reason: 63, ..basis }, "eth0"), "thalweg get drops");
}

#[test]
fn what_rules_log_is_remembered_apart_and_what_they_log_and_deny_as_both() {
    let (drops, compiler) = (Drops::default(), compiled(HOST));
    let (mut dropped, mut logged) = (drops.watch(), drops.watch_log());
    let frame = |flags, reason: u8| DropEvent {
        flags: flag::PORTS | flags,
        reason,
        ..datagram("10.0.0.9", "10.2.0.7")
    };
    let policy = Reason::Policy as u8;
    let log = flag::LOG | flag::LOGGED;
    let page = || drops.log(&compiler, EventCounts::default(), &LogQuery::default()).unwrap();
    drops.tell([(1, frame(log, 0)), (2, frame(log, policy))].into_iter());
    assert!(!dropped.has_changed().unwrap() && logged.has_changed().unwrap());
    dropped.borrow_and_update();
    logged.borrow_and_update();
    drops.tell([(3, frame(flag::LOGGED, policy)), (4, frame(0, policy))].into_iter());
    assert!(dropped.has_changed().unwrap() && logged.has_changed().unwrap());
    assert_eq!(page().events, [], "the latest are asked for by their number");
    let query = LogQuery { limit: 10, ..LogQuery::default() };
    let page = drops.log(&compiler, EventCounts::default(), &query).unwrap();
    let verdicts: Vec<&str> = page.events.iter().map(|event| &*event.verdict).collect();
    assert_eq!((verdicts, page.last), (vec!["allow", "deny", "deny"], 3));
    let numbers: Vec<u64> =
        self::page(&drops, &compiler, all()).events.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2], "those that were dropped");
    let query = LogQuery { limit: 10, to: Some("10.2.0.8".into()), ..LogQuery::default() };
    assert_eq!(drops.log(&compiler, EventCounts::default(), &query).unwrap().events, []);
}
