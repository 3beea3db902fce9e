//! Readers at work while two configurations take turns as fast as they can: every packet is decided
//! wholly by one of them.
//!
//! Both lead the packet through the VRF of its link, a prefix in that VRF and the prefix's group, all
//! of which the other one leads to a next hop of nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thalweg_abi::{
    GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, Reason, SettingsRow, VrfId, link, nexthop,
};
use thalweg_core::{Arrival, Direct, Kind, Tables, process};
use thalweg_image::change::GroupMembers;
use thalweg_image::{Capacity, Change, Limits, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_native::{MemoryCells, VecFrame};
use thalweg_wire::Mac;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ARRIVAL: u32 = 1;
const NOBODY: u16 = 3;
const LABEL: u32 = 100;
const TIME: Duration = Duration::from_secs(2);

fn row(index: u32, vrf: u16) -> Change {
    let flags = link::flag::UP | link::flag::IPV4 | link::flag::IPV6 | link::flag::MPLS;
    let row = LinkRow { flags, vrf, mtu: 1500, mac: MAC, device: index, ..LinkRow::default() };
    Change::Link(index, row)
}

fn group(id: u16, nexthop: u16) -> Change {
    let buckets = vec![NextHopId(nexthop.into())];
    Change::Group(GroupId(id), GroupMembers { buckets, links: Vec::new() })
}

fn surroundings() -> Vec<Change> {
    let mut changes = vec![Change::Settings(SettingsRow::default()), row(10, 0)];
    for id in [1, 2, NOBODY] {
        let row = NextHopRow {
            kind: nexthop::kind::ADJACENT,
            link: 10,
            watch: 10,
            device: 10 + u32::from(id),
            mtu: 1500,
            ..NextHopRow::default()
        };
        changes.push(Change::NextHop(NextHopId(id.into()), row));
    }
    changes.push(group(NOBODY, NOBODY));
    changes
}

/// Configuration 1 or 2.
fn configuration(number: u16) -> Vec<Change> {
    let other = 3 - number;
    let mut changes = vec![group(number, number), group(other, NOBODY), row(ARRIVAL, number)];
    for (vrf, group) in [(number, number), (other, NOBODY)] {
        let (vrf, group) = (VrfId(vrf), GroupId(group));
        changes.push(Change::Route4(vrf, "10.0.0.0/20".parse().expect("a prefix"), group));
        changes.push(Change::Route4(vrf, "10.0.1.1/32".parse().expect("a prefix"), group));
        changes.push(Change::Route6(vrf, "2001:db8::/48".parse().expect("a prefix"), group));
        changes.push(Change::Route6(vrf, "2001:db8::1/128".parse().expect("a prefix"), group));
    }
    changes.push(Change::Label(LABEL, IlmWord::lookup(VrfId(number), 0)));
    changes
}

/// IPv4 by both lengths of prefix, IPv6, and IPv4 behind the label.
fn frames() -> Vec<Vec<u8>> {
    let parse = |text: &str| thalweg_packet::frame(text, Mac(MAC)).expect("a frame");
    let eth = "eth 02:00:00:00:00:09 > 02:00:00:00:00:01";
    [
        "ip 192.0.2.9 > 10.0.0.7 ttl 64 udp 1 > 2",
        "ip 192.0.2.9 > 10.0.1.1 ttl 64 udp 1 > 2",
        "ip6 2001:db8:9::9 > 2001:db8::1 hlim 64 udp 1 > 2",
        "ip6 2001:db8:9::9 > 2001:db8::77 hlim 64 udp 1 > 2",
        "mpls 100 ttl 64 ip 192.0.2.9 > 10.0.1.1 ttl 64 udp 1 > 2",
    ]
    .iter()
    .map(|packet| parse(&format!("{eth} {packet}")))
    .collect()
}

#[derive(Default)]
struct Tally {
    first: AtomicU64,
    second: AtomicU64,
    overtaken: AtomicU64,
    wrong: AtomicU64,
}

impl Tally {
    fn count(&self, kind: Kind, reason: Reason, device: u32) {
        let place = match (kind, device) {
            (Kind::Forward, 11) => &self.first,
            (Kind::Forward, 12) => &self.second,
            (Kind::Drop, 0) if reason == Reason::Overtaken => &self.overtaken,
            _ => &self.wrong,
        };
        place.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_packet_is_never_decided_by_a_mixture() {
    let limits = Limits {
        links: 16,
        sessions: 0,
        vrfs: 3,
        ipv4_routes: 100,
        ipv6_routes: 100,
        labels: 1_000,
        nexthops: 64,
        groups: 64,
        vlan_links: 0,
        ..Limits::default()
    };
    let memory = Memory::heap(&Capacity::for_limits(&limits));
    // Rows that a reader may be looking at are never used again here: nothing but versions is at stake.
    let mut writer = Writer::new(memory.clone(), Box::new(NoReaders));
    let mut apply = |generation, changes| {
        let applied = writer.apply(&Plan { generation, changes }).expect("a writer always works");
        assert!(applied.failures.is_empty() && applied.whole, "{:?}", applied.failures);
    };
    apply(1, surroundings());
    apply(2, configuration(1));
    let (done, tally, frames) = (AtomicBool::new(false), Tally::default(), frames());
    let mut plans = 0_u64;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let cells = MemoryCells::new(memory.clone());
            let (done, tally, frames) = (&done, &tally, &frames);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for frame in frames {
                        let mut frame = VecFrame::new(frame);
                        let arrival = Arrival { device: ARRIVAL, epoch: cells.epoch() };
                        let mut direct = Direct { frame: &mut frame, tables: &cells };
                        let outcome = process(&mut direct, arrival);
                        let verdict = outcome.verdict;
                        tally.count(verdict.kind(), verdict.reason(), outcome.device);
                    }
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < TIME {
            apply(3 + plans, configuration(2 - (plans % 2) as u16));
            plans += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    let [first, second, overtaken, wrong] =
        [&tally.first, &tally.second, &tally.overtaken, &tally.wrong]
            .map(|count| count.load(Ordering::Relaxed));
    println!("{plans} plans: {first} and {second} packets, {overtaken} overtaken, {wrong} mixed");
    assert_eq!(wrong, 0, "{plans} plans, {first} and {second} packets");
    assert!(plans > 1_000 && first > 1_000 && second > 1_000, "{plans} {first} {second}");
}
