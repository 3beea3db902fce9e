//! Who may use a service, and which backend a client keeps: against a plain reading of both.

use std::sync::atomic::Ordering::Relaxed;
use thalweg_abi::flow::{hash, kind, slot, tail, word};
use thalweg_abi::service::RangeRow;
use thalweg_abi::{BackendRow, LinkRow, SettingsRow, TableId, link};
use thalweg_core::flow::{self, Flows, Words};
use thalweg_core::{Reason, Tables};
use thalweg_image::sample::SplitMix;
use thalweg_image::{
    BackendSet, Capacity, Change, Frontend, FrontendKey, Limits, Memory, NoReaders, Plan, Plane,
    SetId, Writer,
};
use thalweg_native::{MemoryCells, flow_journey};
use thalweg_wire::Mac;

/// The link that frames come by.
const LINK: u32 = 3;
/// The service's address.
const VIP: &str = "203.0.113.7";

fn writer() -> (Writer, MemoryCells) {
    let limits = Limits {
        links: 8,
        vrfs: 1,
        nexthops: 8,
        groups: 8,
        frontends: 64,
        backends: 512,
        ring_slots: 8192,
        flows: 1024,
        ..Limits::default()
    };
    let memory = Memory::heap(&Capacity::for_limits(&limits));
    let writer = Writer::new(memory.clone(), Box::new(NoReaders));
    (writer, MemoryCells::new(memory))
}

fn apply(writer: &mut Writer, changes: Vec<Change>) {
    let done = writer.apply(&Plan { generation: 1, changes }).expect("a writer always works");
    assert!(done.failures.is_empty(), "{:?}", done.failures);
}

fn surroundings() -> Vec<Change> {
    let flags = link::flag::UP | link::flag::IPV4 | link::flag::IPV6;
    let row =
        LinkRow { flags, mtu: 1500, mac: [2, 0, 0, 0, 0, 3], device: LINK, ..LinkRow::default() };
    vec![Change::Settings(SettingsRow::default()), Change::Link(LINK, row)]
}

/// A set of backends by their last octets, ascending; those in `ending` take no new flows.
fn set(id: u32, hosts: &[u8], ending: &[u8]) -> Change {
    let row = |host: &u8| BackendRow {
        address: [0, 0x0a01_0000 | u64::from(*host)],
        id: u64::from(*host) + 1,
        port: 8080,
        weight: u16::from(!ending.contains(host)),
        ..BackendRow::default()
    };
    let backends: Vec<BackendRow> = hosts.iter().map(row).collect();
    let members: Vec<(u64, u16)> = backends.iter().map(|row| (row.id, row.weight)).collect();
    let ring = if hosts.len() > 1 { maglev(&members) } else { Vec::new() };
    Change::Backends(SetId(id), BackendSet { backends, ring })
}

/// Any ring will do that has all who take new flows.
fn maglev(members: &[(u64, u16)]) -> Vec<u16> {
    let open = (0..).zip(members).filter(|(_, (_, weight))| *weight != 0).map(|(at, _)| at);
    open.cycle().take(127).collect()
}

fn frontend(set: u32, affinity: u32) -> Change {
    let key = FrontendKey::new(VIP.parse().unwrap(), 80, 6);
    let (internal, external) = (SetId(set), SetId(set));
    Change::Frontend(key, Frontend { affinity, internal, external, ..Frontend::default() })
}

/// A frontend without anybody behind it, as addresses have that only stand for themselves.
fn nobody() -> Frontend {
    Frontend { internal: SetId(1), external: SetId(1), ..Frontend::default() }
}

/// The backend that a new connection of a client gets, by its last octet.
fn connect(tables: &MemoryCells, client: u8, port: u16) -> u8 {
    let words = format!("ip 100.64.0.{client} > {VIP} tcp {port} > 80 syn");
    let frame = thalweg_packet::frame(&words, Mac([2, 0, 0, 0, 0, 3])).expect("a frame");
    let journey = flow_journey(tables, &frame, LINK);
    let tracked = journey.tracked.expect("its flow was looked for");
    assert_eq!(journey.verdict.reason(), Reason::NoRoute, "this router knows no way to backends");
    tracked.new_key(&journey.packet)[3] as u8
}

#[test]
fn a_client_keeps_its_backend_as_long_as_that_serves_and_no_longer() {
    let (mut writer, tables) = writer();
    apply(&mut writer, surroundings());
    let mut random = SplitMix(3);
    let (mut clock, mut id) = (100, 0);
    // What each client was given, and until when it keeps it.
    let mut kept: Vec<Option<(u8, u32)>> = vec![None; 40];
    let (mut again, mut moved) = (0, 0);
    for _ in 0..200 {
        let mut hosts: Vec<u8> = (0..20).filter(|_| random.below(3) > 0).collect();
        hosts.push(20);
        let ending: Vec<u8> = (0..20).filter(|_| random.below(8) == 0).collect();
        id += 1;
        apply(&mut writer, vec![set(id, &hosts, &ending), frontend(id, 60)]);
        for _ in 0..50 {
            clock += random.below(4) as u32;
            tables.set_clock(clock);
            let client = random.below(40) as usize;
            let got = connect(&tables, client as u8, 1024 + random.below(60_000) as u16);
            assert!(hosts.contains(&got) && !ending.contains(&got), "{got} takes no new flows");
            if let Some((before, until)) = kept[client] {
                let serves = hosts.contains(&before) && !ending.contains(&before);
                if serves && clock <= until {
                    assert_eq!(got, before, "client {client} lost its backend");
                    again += 1;
                } else {
                    moved += 1;
                }
            }
            kept[client] = Some((got, clock + 60));
        }
        // What is no more in use gives its room back.
        apply(&mut writer, if id > 1 { vec![Change::FreeBackends(SetId(id - 1))] } else { vec![] });
    }
    assert!(again > 1000 && moved > 100, "{again} kept, {moved} moved");
}

#[test]
fn what_begins_no_connection_says_nothing_of_a_client() {
    let (mut writer, tables) = writer();
    apply(&mut writer, surroundings());
    apply(&mut writer, vec![set(1, &[1, 2, 3], &[]), frontend(1, 60)]);
    let rows = || {
        let slots = tables.memory().words(TableId::FlowSlots);
        slots.iter().filter(|slot| slot.load(Relaxed) != slot::EMPTY).count()
    };
    let words = format!("ip 100.64.0.7 > {VIP} tcp 4000 > 80 ack");
    let frame = thalweg_packet::frame(&words, Mac([2, 0, 0, 0, 0, 3])).expect("a frame");
    flow_journey(&tables, &frame, LINK);
    assert_eq!(rows(), 0, "amid a connection that nobody knows");
    connect(&tables, 7, 4000);
    assert_eq!(rows(), 1, "the client's row");
}

#[test]
fn pings_are_answered_at_a_limited_rate() {
    let (mut writer, tables) = writer();
    apply(&mut writer, surroundings());
    let vip = FrontendKey::new(VIP.parse().unwrap(), 0, 0);
    apply(&mut writer, vec![set(1, &[], &[]), Change::Frontend(vip, nobody())]);
    let tables = MemoryCells::with_meters(tables.memory().clone());
    let words = format!("ip 100.64.0.7 > {VIP} icmp echo id 1 seq 1");
    let frame = thalweg_packet::frame(&words, Mac([2, 0, 0, 0, 0, 3])).expect("a frame");
    let reasons: Vec<Reason> =
        (0..1000).map(|_| flow_journey(&tables, &frame, LINK).verdict.reason()).collect();
    assert_eq!(reasons[0], Reason::Echo);
    assert!(reasons.contains(&Reason::RateLimited), "a thousand at once are too many");
}

#[test]
fn an_error_about_a_flow_that_has_outlived_its_time_is_related_to_none() {
    let (mut writer, tables) = writer();
    apply(&mut writer, surroundings());
    let (backend, client) = (0x0a01_0001, 0x6440_0007);
    let back = [0, backend, 0, client, tail(8080 << 16 | 4000, 0, 6, 4)];
    let cells = tables.at(tables.epoch());
    let hash = hash(back, SettingsRow::default().seed);
    tables.set_clock(100);
    let row = flow::insert(&cells, &back, hash, 100, 0, |row| {
        row.set(word::NEW_SOURCE + 1, 0xcb00_7107);
        row.set(word::NEW_DESTINATION + 1, client);
        row.set(word::REWRITE, (80 << 16 | 4000) << 32 | u64::from(kind::REWRITES | kind::ANSWERS));
        row.set(word::SEEN, 20 << 32 | 100);
    });
    assert_ne!(row, 0);
    let words = "ip 10.1.0.1 > 100.64.0.7 icmp unreachable port \
                 [ip 100.64.0.7 > 10.1.0.1 tcp 4000 > 8080 syn]";
    let frame = thalweg_packet::frame(words, Mac([2, 0, 0, 0, 0, 3])).expect("a frame");
    for (clock, related) in [(120, true), (121, false)] {
        tables.set_clock(clock);
        let tracked = flow_journey(&tables, &frame, LINK).tracked.expect("it was looked for");
        assert_eq!(tracked.facts().is(flow::what::RELATED), related, "at {clock} s");
    }
}

#[test]
fn without_affinity_connections_choose_for_themselves() {
    let (mut writer, tables) = writer();
    apply(&mut writer, surroundings());
    apply(&mut writer, vec![set(1, &[1, 2, 3, 4], &[]), frontend(1, 0)]);
    let got: std::collections::BTreeSet<u8> =
        (0..40).map(|port| connect(&tables, 1, 2000 + port)).collect();
    assert_eq!(got.len(), 4);
}

#[test]
fn sources_are_within_ranges_as_counting_says() {
    let mut random = SplitMix(9);
    for _ in 0..200 {
        let (mut writer, tables) = writer();
        let mut bounds: Vec<RangeRow> = (0..random.below(40))
            .map(|_| [random.below(3), random.below(3) << 62 | random.below(50)])
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        let key = FrontendKey::new(VIP.parse().unwrap(), 80, 6);
        let row = Frontend {
            internal: SetId(1),
            external: SetId(1),
            ranges: bounds.clone(),
            ..Frontend::default()
        };
        // A row in front, so that the first is not at 0.
        let other = FrontendKey::new(VIP.parse().unwrap(), 81, 6);
        let ahead = Frontend { ranges: vec![[1, 1]], ..row.clone() };
        apply(
            &mut writer,
            vec![set(1, &[1], &[]), Change::Frontend(other, ahead), Change::Frontend(key, row)],
        );
        let cells = tables.at(tables.epoch());
        let found = flow::frontend_of(&cells, key.address, 80, 6);
        let row = cells.frontend(found - 1).expect("the frontend");
        for _ in 0..200 {
            let source = [random.below(4), random.below(4) << 62 | random.below(52)];
            let below = bounds.iter().filter(|bound| **bound <= source).count();
            let admitted = flow::is_admitted(&cells, row.ranges, row.ranges_len, source);
            assert_eq!(admitted, bounds.is_empty() || below % 2 == 1, "{source:x?} in {bounds:x?}");
        }
    }
}
