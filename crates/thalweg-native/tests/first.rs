//! First packets of services in a straight line and through the full pipeline: the same frame, the same
//! verdict, and the same words in the flow table, for any packet on any tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use thalweg_abi::flow::{WORDS, slot};
use thalweg_abi::link::flag;
use thalweg_abi::service::flag as of;
use thalweg_abi::{
    BackendRow, GroupId, LinkRow, NextHopId, NextHopRow, Reason, SettingsRow, TableId, VrfId,
    nexthop, settings,
};
use thalweg_core::flow::{FlowDirect, FlowStages, STRAIGHT, pipeline, process};
use thalweg_core::{Arrival, Kind, Outcome, Packet, Tables, Verdict};
use thalweg_image::change::GroupMembers;
use thalweg_image::sample::SplitMix;
use thalweg_image::{
    BackendSet, Capacity, Change, Frontend, FrontendKey, Limits, Memory, NoReaders, Plan, Plane,
    SetId, Writer, halves,
};
use thalweg_native::{MemoryCells, VecFrame};
use thalweg_wire::checksum;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Links that frames come by: a wire, one that checks sources, a workload, one that is not ours.
const LINKS: [u32; 4] = [1, 4, 5, 6];
/// Kinds of frontends, by the port that they have.
const PORTS: [u16; 8] = [80, 81, 82, 83, 84, 85, 86, 87];
/// Of [`PORTS`] those that a straight line may serve: ten backends, one, and those that ask for more of
/// clients outside only.
const PLAIN: [u16; 4] = [80, 81, 85, 86];

/// The same tables twice, one for each way.
struct Both {
    writers: [Writer; 2],
    cells: [MemoryCells; 2],
}

impl Both {
    fn new(flows: u32) -> Self {
        let limits = Limits {
            links: 16,
            vrfs: 2,
            ipv4_routes: 100,
            ipv6_routes: 100,
            labels: 16,
            nexthops: 64,
            groups: 64,
            vlan_links: 1,
            sessions: 16,
            frontends: 128,
            backends: 512,
            ring_slots: 8192,
            flows,
            policy_lines: 64,
        };
        let memories = [0, 1].map(|_| Memory::heap(&Capacity::for_limits(&limits)));
        let writers = [0, 1].map(|at| Writer::new(memories[at].clone(), Box::new(NoReaders)));
        Self { writers, cells: memories.map(MemoryCells::new) }
    }

    fn apply(&mut self, changes: &[Change]) {
        for writer in &mut self.writers {
            let plan = Plan { generation: 1, changes: changes.to_vec() };
            let applied = writer.apply(&plan).unwrap();
            assert!(applied.failures.is_empty(), "{:?}", applied.failures);
        }
        // Each writer has an image number of its own, which stamps tell.
        let image = thalweg_abi::control::IMAGE as usize;
        let [one, other] = [0, 1].map(|at| self.cells[at].memory().words(TableId::Control));
        other[image].store(one[image].load(Relaxed), Relaxed);
    }

    fn set_clock(&self, now: u32) {
        self.cells.iter().for_each(|cells| cells.set_clock(now));
    }

    /// A frame through both: verdict and frame must be the same, and the table behind it. The outcome, and
    /// whether it was a straight line that came to it.
    fn run(&self, bytes: &[u8], device: u32) -> Outcome {
        self.run_at(bytes, device, self.cells[0].epoch())
    }

    /// As [`Both::run`], of a packet that came when `epoch` was in force.
    fn run_at(&self, bytes: &[u8], device: u32, epoch: u32) -> Outcome {
        let [straight, full] = [0, 1].map(|way| {
            let cells = &self.cells[way];
            let mut work = VecFrame::new(bytes);
            let arrival = Arrival { device, epoch };
            let packet = &mut Packet::new(arrival, 0);
            let mut stages = FlowDirect::new(&mut work, cells);
            let outcome = match way {
                0 => process(&mut stages, packet, arrival),
                _ => pipeline(&mut stages, packet, arrival),
            };
            (outcome, work.into_bytes())
        });
        let told = |outcome: &Outcome| match outcome.verdict {
            // Of a known flow the straight line says so.
            verdict if verdict == Verdict::forward(Reason::Flow) => Verdict::forward(Reason::Route),
            verdict => verdict,
        };
        let device = |outcome: &Outcome| outcome.device & !STRAIGHT;
        assert_eq!(told(&straight.0), told(&full.0), "frame {bytes:02x?}");
        assert_eq!(device(&straight.0), device(&full.0), "frame {bytes:02x?}");
        assert_eq!(straight.1, full.1, "frame {bytes:02x?}");
        self.assert_same_flows(bytes);
        straight.0
    }

    fn assert_same_flows(&self, bytes: &[u8]) {
        for table in [TableId::FlowSlots, TableId::Flows] {
            let [one, other] = [0, 1].map(|at| self.cells[at].memory().words(table));
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                let [one, other] = [one, other].map(|word| word.load(Relaxed));
                assert_eq!(one, other, "word {at} of {} after {bytes:02x?}", table.name());
            }
        }
    }
}

fn adjacent(id: u32, edit: impl Fn(&mut NextHopRow)) -> Change {
    let mut row = NextHopRow {
        kind: nexthop::kind::ADJACENT,
        link: 2,
        watch: 2,
        device: 2,
        mtu: 1500,
        addresses: [2, 0, 0, 0, 0, id as u8, 2, 0, 0, 0, 0, 2],
        ..NextHopRow::default()
    };
    edit(&mut row);
    Change::NextHop(NextHopId(id), row)
}

fn link(index: u32, flags: u32) -> Change {
    let row = LinkRow {
        flags,
        mtu: 1500,
        mac: MAC,
        device: index,
        address4: [10, 0, 0, 1],
        address6: [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ..LinkRow::default()
    };
    Change::Link(index, row)
}

/// Links, and groups 1 to 8: plain, to a workload, several, unresolved, dead with a backup, small, tagged,
/// labelled.
fn surroundings(settings: SettingsRow) -> Vec<Change> {
    const OURS: u32 = flag::UP | flag::IPV4 | flag::IPV6;
    let mut changes = vec![
        Change::Settings(settings),
        link(1, OURS),
        link(2, OURS),
        link(3, 0),
        link(4, OURS | flag::RPF_STRICT),
        link(5, OURS | flag::WORKLOAD),
        adjacent(1, |_| {}),
        adjacent(2, |row| row.flags = nexthop::flag::WORKLOAD | nexthop::flag::STRAIGHT),
        adjacent(3, |row| row.kind = nexthop::kind::UNRESOLVED),
        adjacent(4, |row| (row.watch, row.backup) = (3, 1)),
        adjacent(5, |row| row.mtu = 100),
        adjacent(6, |row| (row.tags, row.vlans[0]) = (1, [0x81, 0, 0, 100])),
        adjacent(7, |row| (row.labels, row.stack[0]) = (1, [0, 0x0c, 0x80, 0])),
        adjacent(8, |row| (row.kind, row.link) = (nexthop::kind::LOOKUP, 0)),
    ];
    let members: [&[u32]; 8] = [&[1], &[2], &[1, 2, 1, 3], &[3], &[4], &[5], &[6], &[7]];
    for (id, members) in (1..).zip(members) {
        let buckets = members.iter().copied().map(NextHopId).collect();
        changes.push(Change::Group(GroupId(id), GroupMembers { buckets, links: vec![1, 2, 4] }));
        // The third octet of a backend's address chooses its way, and that of a client the one back.
        let four = format!("10.1.{id}.0/24").parse().unwrap();
        let six = format!("2001:db8:1:{id}::/64").parse().unwrap();
        changes.push(Change::Route4(VrfId(0), four, GroupId(id)));
        changes.push(Change::Route6(VrfId(0), six, GroupId(id)));
    }
    changes.push(Change::Route4(VrfId(0), "192.0.2.0/24".parse().unwrap(), GroupId(1)));
    changes.push(Change::Route6(VrfId(0), "2001:db8:9::/48".parse().unwrap(), GroupId(1)));
    changes
}

fn backend(six: bool, group: u8, host: u8) -> IpAddr {
    match six {
        true => Ipv6Addr::new(0x2001, 0xdb8, 1, group.into(), 0, 0, 0, host.into()).into(),
        false => Ipv4Addr::new(10, 1, group, host).into(),
    }
}

fn vip(six: bool, number: u8) -> IpAddr {
    match six {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0x96, 0, 0, 0, 0, number.into()).into(),
        false => Ipv4Addr::new(10, 96, 0, number).into(),
    }
}

/// A set of `size` backends whose ways are those of `groups`, in turns.
fn set(id: u32, six: bool, size: u8, groups: &[u8], node: u32) -> Change {
    let row = |at: u8| BackendRow {
        address: halves(backend(six, groups[usize::from(at) % groups.len()], at + 1)),
        id: u64::from(id) << 8 | (u64::from(at) + 1),
        port: 8080 + u16::from(at),
        weight: 1,
        node,
    };
    let backends: Vec<BackendRow> = (0..size).map(row).collect();
    let ring = if size > 1 { (0..u16::from(size)).cycle().take(127).collect() } else { Vec::new() };
    Change::Backends(SetId(id), BackendSet { backends, ring })
}

/// Frontends of all kinds on addresses of both families, whose backends lie behind `groups`.
fn services(groups: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    for six in [false, true] {
        let first = if six { 100 } else { 0 };
        changes.push(set(first + 1, six, 10, groups, 0));
        changes.push(set(first + 2, six, 1, groups, 0));
        changes.push(set(first + 3, six, 0, groups, 0));
        changes.push(set(first + 4, six, 2, groups, 7));
        let of_kind = |port: u16| {
            let set = match port {
                81 => 2,
                82 => 3,
                87 => 4,
                _ => 1,
            };
            let flags = match port {
                85 => of::MASQUERADE,
                86 => of::DIRECT,
                _ => 0,
            };
            let affinity = if port == 83 { 60 } else { 0 };
            let source = halves(client(six, 1));
            let ranges = if port == 84 { vec![source, [u64::MAX; 2]] } else { Vec::new() };
            let (internal, external) = (SetId(first + set), SetId(first + set));
            Frontend { flags, affinity, internal, external, ranges, service: 1 }
        };
        for (protocol, port) in [6, 17].into_iter().flat_map(|of| PORTS.map(|port| (of, port))) {
            let key = FrontendKey::new(vip(six, 1), port, protocol);
            changes.push(Change::Frontend(key, of_kind(port)));
        }
        let nobody = Frontend {
            internal: SetId(first + 3),
            external: SetId(first + 3),
            ..Frontend::default()
        };
        changes.push(Change::Frontend(FrontendKey::new(vip(six, 1), 0, 0), nobody));
    }
    changes
}

fn client(six: bool, number: u8) -> IpAddr {
    match six {
        true => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, number.into()).into(),
        false => Ipv4Addr::new(192, 0, 2, number).into(),
    }
}

fn pick<T: Copy>(random: &mut SplitMix, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

/// What a frame is made of.
struct Made {
    six: bool,
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    protocol: u8,
    flags: u8,
    ttl: u8,
    payload: usize,
    fragment: [u8; 2],
}

impl Made {
    /// Most are first packets of a few clients to services.
    fn any(random: &mut SplitMix, groups: &[u8]) -> Self {
        let six = random.below(2) == 0;
        let sources = [
            client(six, 1),
            client(six, 1 + random.below(20) as u8),
            backend(six, 1, 1),
            vip(six, 1),
        ];
        let destination = match random.below(12) {
            0 => vip(six, 2),
            1 => client(six, 9),
            2 => backend(six, pick(random, groups), 1),
            _ => vip(six, 1),
        };
        let source = pick(random, &[0, 1, 1, 1, 1, 1, 1, 1, 2, 3]);
        let port = if random.below(30) == 0 { 99 } else { pick(random, &PORTS) };
        Self {
            six,
            source: sources[source],
            destination,
            ports: [
                pick(random, &[0, 1, 4000, 4001, 65_535 - 59 * 64]) + random.below(60) as u16 * 64,
                port,
            ],
            protocol: pick(random, &[6, 6, 6, 6, 17, 17, 17, 132, 1]),
            flags: pick(random, &[2, 2, 2, 2, 0xc2, 0x12, 0x10, 0x11, 4, 3, 0]),
            ttl: pick(random, &[64, 64, 64, 64, 255, 2, 1, 0]),
            payload: pick(random, &[0, 0, 0, 1, 7, 20, 90, 600]),
            fragment: pick(random, &[[0x40, 0], [0x40, 0], [0x40, 0], [0, 0], [0x20, 0], [0, 8]]),
        }
    }

    fn frame(&self, random: &mut SplitMix) -> Vec<u8> {
        let mut l4: Vec<u8> = self.ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        match self.protocol {
            6 => {
                l4.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.flags, 1, 0]);
                l4.extend([random.next() as u8, random.next() as u8, 0, 0]);
            }
            17 => {
                l4.extend(((8 + self.payload) as u16).to_be_bytes());
                l4.extend(pick(random, &[[0, 0], [0x12, 0x34], [0xff, 0xff]]));
            }
            _ => l4.extend([0; 8]),
        }
        l4.extend((0..self.payload).map(|_| random.next() as u8));
        let mut frame = MAC.to_vec();
        frame.extend([2, 0, 0, 0, 0xff, 1]);
        frame.extend(if self.six { [0x86, 0xdd] } else { [8, 0] });
        frame.extend(self.header(l4.len() as u16));
        frame.extend(l4);
        frame
    }

    fn header(&self, len: u16) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend(len.to_be_bytes());
                ip.extend([self.protocol, self.ttl]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                ip
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = vec![0x45, 0];
                ip.extend((20 + len).to_be_bytes());
                ip.extend([0, 1]);
                ip.extend(self.fragment);
                ip.extend([self.ttl, self.protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let sum = !checksum::fold(checksum::sum(&ip));
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                ip
            }
            _ => unreachable!("both are of one family"),
        }
    }
}

/// Damages one frame in twelve: one with more behind the packet, a cut one, one bit. Pads another as links do, to the
/// shortest frame or a little more.
fn spoil(random: &mut SplitMix, frame: &mut Vec<u8>) {
    match random.below(36) {
        0 => frame.extend([0; 70]),
        3 => frame.resize(frame.len().max(60 + random.below(5) as usize), 0),
        4..9 => frame.resize(frame.len().max(60), 0),
        1 => frame.truncate(random.below(frame.len() as u64) as usize),
        2 => {
            let at = random.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << random.below(8);
        }
        _ => {}
    }
}

/// Many random packets on such tables; how many flows began.
fn against_each_other(seed: u64, flows: u32, row: SettingsRow, groups: &[u8]) -> u32 {
    let mut random = SplitMix(seed);
    let mut both = Both::new(flows);
    both.apply(&surroundings(row));
    both.apply(&services(groups));
    let (mut now, mut begun) = (100, 0);
    for step in 0..4_000 {
        if random.below(40) == 0 {
            now += pick(&mut random, &[1, 5, 30, 90]);
            both.set_clock(now);
        }
        if step % 500 == 499 {
            // What was stamped before is looked at again.
            both.apply(&services(groups));
        }
        let made = Made::any(&mut random, groups);
        let mut frame = made.frame(&mut random);
        spoil(&mut random, &mut frame);
        let outcome = both.run(&frame, pick(&mut random, &LINKS));
        let begins = outcome.verdict == Verdict::forward(Reason::Route);
        begun += u32::from(begins && made.destination == vip(made.six, 1));
    }
    begun
}

#[test]
fn both_ways_agree_on_all_kinds_of_packets_and_ways() {
    let mut begun = 0;
    for (seed, group) in (0..8).map(|seed| (seed, 1 + seed as u8)) {
        begun += against_each_other(seed, 2048, SettingsRow::default(), &[group, 1]);
    }
    assert!(begun > 3_000, "{begun} flows began");
}

#[test]
fn both_ways_agree_where_the_table_is_full() {
    let begun = against_each_other(21, 64, SettingsRow::default(), &[1, 2]);
    assert!(begun > 300, "{begun} flows began");
}

#[test]
fn both_ways_agree_whatever_the_settings() {
    let ranges = [[25, 0, 0, 0, 0, 0, 0, 0], [49, 0, 0, 0, 0, 0, 0, 0]];
    let plain = SettingsRow::default();
    for row in [
        SettingsRow { quota: 3, ..plain },
        SettingsRow { flags: settings::flag::MID_FLOW, ..plain },
        SettingsRow { flags: settings::flag::TUNNEL | 80 << 16, ..plain },
        SettingsRow { flags: settings::flag::FLOATING | settings::flag::INDEPENDENT, ..plain },
        SettingsRow { ranges, ..plain },
        SettingsRow { seed: 1, timeouts: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], ..plain },
    ] {
        let begun = against_each_other(31, 512, row, &[1, 2, 3]);
        assert!(begun > 100, "{begun} flows began with {row:?}");
    }
}

/// A plain first packet of a client to port 80 of the service.
fn first_packet(random: &mut SplitMix, six: bool, number: u8, port: u16) -> Vec<u8> {
    let made = Made {
        six,
        source: client(six, number),
        destination: vip(six, 1),
        ports: [port, 80],
        protocol: 6,
        flags: 2,
        ttl: 64,
        payload: 0,
        fragment: [0x40, 0],
    };
    made.frame(random)
}

#[test]
fn tables_that_are_overtaken_decide_nothing() {
    let mut random = SplitMix(9);
    let mut both = Both::new(2048);
    both.apply(&surroundings(SettingsRow::default()));
    both.apply(&services(&[1]));
    for round in 0..20 {
        let epoch = both.cells[0].epoch();
        for burst in [1, 2] {
            both.apply(&[Change::Settings(SettingsRow { burst, ..SettingsRow::default() })]);
        }
        assert_eq!(both.cells[0].epoch(), epoch + 2);
        let frame = first_packet(&mut random, round % 2 == 0, 1, 4000 + round);
        let outcome = both.run_at(&frame, 1, epoch);
        assert_eq!(outcome.verdict, Verdict::forward(Reason::Route), "round {round}");
    }
}

/// All writers send the same first packets at once: those of two that meet may be dropped, but no flow has
/// two rows in one direction, and no slot is left claimed.
#[test]
fn one_flow_never_has_two_rows_whoever_begins_it() {
    const WRITERS: u32 = 2;
    let mut both = Both::new(65_536);
    both.apply(&surroundings(SettingsRow::default()));
    both.apply(&services(&[1]));
    let cells = &both.cells[0];
    let arrived = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for round in 0..20_000 {
                    let port = 1_000 + round as u16;
                    let frame = first_packet(&mut SplitMix(1), false, 1, port);
                    let mut work = VecFrame::new(&frame);
                    let arrival = Arrival { device: 1, epoch: cells.epoch() };
                    let mut stages = FlowDirect::new(&mut work, cells);
                    arrived.fetch_add(1, SeqCst);
                    // A barrier of the kernel would let one go long before the other.
                    let mut spins = 0;
                    while arrived.load(SeqCst) < (round + 1) * WRITERS {
                        spins += 1;
                        match spins % 10_000 {
                            0 => std::thread::yield_now(),
                            _ => std::hint::spin_loop(),
                        }
                    }
                    process(&mut stages, &mut Packet::new(arrival, 0), arrival);
                }
            });
        }
    });
    let [slots, rows] =
        [TableId::FlowSlots, TableId::Flows].map(|table| cells.memory().words(table));
    let mut keys = std::collections::HashSet::new();
    for (at, word) in slots.iter().enumerate() {
        let word = word.load(Relaxed);
        assert!(word == slot::EMPTY || word & slot::LIVE != 0, "slot {at} is left claimed");
        let key: [u64; 5] = std::array::from_fn(|of| rows[at * WORDS + of].load(Relaxed));
        assert!(word == slot::EMPTY || keys.insert(key), "two rows of {key:x?}");
    }
    assert!(keys.len() > 20_000, "{} rows", keys.len());
}

/// The straight line is taken where it should be: tables without room for anything else would not tell.
#[test]
fn plain_first_packets_take_the_straight_line() {
    let mut random = SplitMix(5);
    let mut both = Both::new(2048);
    both.apply(&surroundings(SettingsRow::default()));
    both.apply(&services(&[1]));
    for port in PORTS {
        for (device, protocol, six, payload) in [
            (1, 6, false, 40),
            (1, 17, false, 40),
            // Padded by the link.
            (1, 6, false, 0),
            (1, 17, false, 1),
            (5, 6, true, 40),
            (5, 17, false, 40),
            (4, 6, true, 40),
        ] {
            let made = Made {
                six,
                source: client(six, 30),
                destination: vip(six, 1),
                ports: [4000 + device as u16 * 100 + port + payload as u16 * 1000, port],
                protocol,
                flags: 2,
                ttl: 64,
                payload,
                fragment: [0x40, 0],
            };
            let mut frame = made.frame(&mut random);
            frame.resize(frame.len().max(60), 0);
            let cells = &both.cells[0];
            let mut work = VecFrame::new(&frame);
            let arrival = Arrival { device, epoch: cells.epoch() };
            let packet = &mut Packet::new(arrival, 0);
            let mut stages = FlowDirect::new(&mut work, cells);
            let known = stages.known(arrival).verdict;
            let nexthop =
                match known == Verdict::pass(Reason::NoFlow) && stages.serve(packet, arrival) {
                    true => stages.way(packet) as u32,
                    false => 0,
                };
            let begun = nexthop != 0 && stages.begin(packet, nexthop);
            let straight = begun.then(|| stages.depart(packet, nexthop));
            let served = PLAIN[..2].contains(&port) || PLAIN.contains(&port) && device == 5;
            assert_eq!(straight.is_some(), served, "port {port} of {protocol} by link {device}");
            let kind = straight.map(|outcome| outcome.verdict.kind());
            assert!(kind.is_none_or(|kind| kind == Kind::Forward));
        }
    }
}
