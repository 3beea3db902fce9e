//! Whom a socket reaches when its process asks for a service: against a plain reading of the rules.

use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::service::flag;
use thalweg_abi::{BackendRow, SettingsRow, settings};
use thalweg_core::Tables;
use thalweg_core::flow::socket::{Asked, Fate, address_of, fate, serve, words_of};
use thalweg_image::sample::SplitMix;
use thalweg_image::{
    BackendSet, Capacity, Change, Frontend, FrontendKey, Limits, Memory, NoReaders, Plan, Plane,
    SetId, Writer,
};
use thalweg_native::MemoryCells;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The namespace of the host.
const HOST: u64 = 4711;

fn writer() -> (Writer, MemoryCells) {
    let limits = Limits {
        frontends: 256,
        backends: 2048,
        ring_slots: 65_536,
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

fn settings(all: bool) -> Change {
    let flags = if all { settings::flag::ALL_SOCKETS } else { 0 };
    Change::Settings(SettingsRow { flags, ..SettingsRow::default() })
}

/// An address of either family, few of each.
fn address(number: u64) -> [u64; 2] {
    match number % 2 {
        0 => [0, 0x0a60_0000 + number],
        _ => [0x2001_0db8 << 32, number],
    }
}

fn ip([high, low]: [u64; 2]) -> std::net::IpAddr {
    match high {
        0 => std::net::Ipv4Addr::from(low as u32).into(),
        _ => std::net::Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into(),
    }
}

/// Addresses and ports.
type Backends = BTreeSet<([u64; 2], u16)>;

/// A frontend as the test knows it.
#[derive(Clone, Default)]
struct Known {
    /// Backends for clients in the cluster, with their ports.
    inside: Backends,
    drops: bool,
    ranges: bool,
    affinity: bool,
}

/// Frontends by address, port and protocol.
#[derive(Default)]
struct World(BTreeMap<([u64; 2], u16, u8), Known>);

impl World {
    /// A world of some frontends, and the changes that tell tables of it.
    fn new(random: &mut SplitMix) -> (Self, Vec<Change>) {
        let (mut world, mut changes, mut set) = (Self::default(), Vec::new(), 0);
        for number in 0..40 {
            let address = address(random.below(12));
            let key = (address, 1 + random.below(3) as u16, [TCP, UDP][random.below(2) as usize]);
            let known = Known {
                inside: (0..random.below(5)).map(|_| backend(address, random.below(30))).collect(),
                drops: random.below(2) == 0,
                ranges: random.below(4) == 0,
                affinity: random.below(3) == 0,
            };
            // Those outside are others, and more of them.
            let outside = (0..9).map(|host| backend(address, 100 + host)).collect();
            let sets = [set_of(set, &known.inside), set_of(set + 1, &outside)];
            changes.extend(sets);
            let frontend = Frontend {
                flags: if known.drops { flag::DROPS_INTERNAL } else { flag::DROPS_EXTERNAL },
                affinity: if known.affinity { 60 } else { 0 },
                service: number,
                internal: SetId(set),
                external: SetId(set + 1),
                ranges: if known.ranges { vec![[0, 5], [0, 9]] } else { Vec::new() },
            };
            set += 2;
            let (address, port, protocol) = key;
            changes.push(Change::Frontend(FrontendKey::new(ip(address), port, protocol), frontend));
            world.0.insert(key, known);
        }
        // Some addresses refuse their other ports.
        changes.push(set_of(set, &BTreeSet::new()));
        for number in (0..12).filter(|number| number % 3 != 0) {
            let nobody =
                Frontend { internal: SetId(set), external: SetId(set), ..Frontend::default() };
            let key = FrontendKey::new(ip(address(number)), 0, 0);
            changes.push(Change::Frontend(key, nobody));
            world.0.insert((address(number), 0, 0), Known::default());
        }
        (world, changes)
    }

    /// Whom a socket may reach, rule by rule: none leaves it alone.
    fn says(&self, asked: &Asked, all: bool) -> Option<Result<Backends, u32>> {
        let ours = asked.namespace == HOST;
        if !(ours || all) || asked.port == 0 || ![TCP, UDP].contains(&asked.protocol) {
            return None;
        }
        let Some(known) = self.0.get(&(asked.address, asked.port, asked.protocol)) else {
            return self.0.get(&(asked.address, 0, 0)).map(|_| Err(fate::REFUSED));
        };
        if known.ranges && !ours {
            return None;
        }
        Some(match (known.inside.is_empty(), known.drops) {
            (false, _) => Ok(known.inside.clone()),
            (true, true) => Err(fate::DROPPED),
            (true, false) => Err(fate::REFUSED),
        })
    }
}

/// A backend of the family of a frontend.
fn backend([high, _]: [u64; 2], host: u64) -> ([u64; 2], u16) {
    let low = if high == 0 { 0x0a01_0000 } else { 0x1_0000 };
    ([high, low + host], 8000 + host as u16)
}

fn set_of(id: u32, backends: &Backends) -> Change {
    let row = |(at, (address, port)): (u64, &([u64; 2], u16))| BackendRow {
        address: *address,
        id: u64::from(id) << 16 | (at + 1),
        port: *port,
        weight: 1,
        ..BackendRow::default()
    };
    let rows: Vec<BackendRow> = (0..).zip(backends).map(row).collect();
    let ring = match rows.len() {
        0 | 1 => Vec::new(),
        len => (0..251).map(|slot| (slot % len) as u16).collect(),
    };
    Change::Backends(SetId(id), BackendSet { backends: rows, ring })
}

fn ask(tables: &MemoryCells, asked: &Asked) -> Fate {
    serve(|| tables.at(tables.epoch()), asked)
}

fn asked(random: &mut SplitMix) -> Asked {
    Asked {
        address: address(random.below(14)),
        port: random.below(5) as u16,
        protocol: [TCP, UDP, TCP, UDP, 1][random.below(5) as usize],
        socket: random.next(),
        namespace: [HOST, HOST, 12][random.below(3) as usize],
        host: HOST,
    }
}

#[test]
fn a_socket_reaches_whom_the_rules_say() {
    let mut random = SplitMix(77);
    let mut seen = BTreeMap::new();
    for round in 0..60 {
        let (mut writer, tables) = writer();
        let (world, changes) = World::new(&mut random);
        let all = round % 2 == 0;
        apply(&mut writer, [vec![settings(all)], changes].concat());
        for _ in 0..600 {
            let asked = asked(&mut random);
            let got = ask(&tables, &asked);
            let rule = world.says(&asked, all);
            match &rule {
                None => assert_eq!(got.kind, fate::LEFT, "{asked:?}"),
                Some(Err(kind)) => assert_eq!(got.kind, *kind, "{asked:?}"),
                Some(Ok(backends)) => {
                    assert_eq!(got.kind, fate::SERVED, "{asked:?}");
                    let whom = (got.address, got.port as u16);
                    assert!(backends.contains(&whom), "{asked:?}: {whom:?}, not {backends:?}");
                }
            }
            assert_eq!(ask(&tables, &asked), got, "the same socket, the same backend");
            *seen.entry(got.kind).or_insert(0) += 1;
        }
    }
    assert!((0..4).all(|kind| seen[&kind] > 500), "{seen:?}");
}

#[test]
fn sockets_choose_for_themselves_and_clients_with_affinity_once() {
    let (mut writer, tables) = writer();
    let address = address(2);
    let backends: BTreeSet<_> = (0..4).map(|host| backend(address, host)).collect();
    let mut changes = vec![settings(true), set_of(1, &backends)];
    for (port, affinity, protocol) in [(1, 0, TCP), (1, 0, UDP), (2, 60, TCP), (2, 60, UDP)] {
        let frontend =
            Frontend { affinity, internal: SetId(1), external: SetId(1), ..Frontend::default() };
        changes.push(Change::Frontend(FrontendKey::new(ip(address), port, protocol), frontend));
    }
    apply(&mut writer, changes);
    for protocol in [TCP, UDP] {
        choose(&mut writer, &tables, address, protocol);
    }
}

fn choose(writer: &mut Writer, tables: &MemoryCells, address: [u64; 2], protocol: u8) {
    let reached = |port: u16, socket: u64, namespace: u64| {
        let asked = Asked { address, port, protocol, socket, namespace, host: HOST };
        ask(tables, &asked).address
    };
    apply(writer, vec![settings(true)]);
    // The kernel counts sockets up, so their numbers are neighbors.
    let mut shares = BTreeMap::new();
    for socket in 1000..5000 {
        *shares.entry(reached(1, socket, HOST)).or_insert(0) += 1;
    }
    assert!(shares.len() == 4 && shares.values().all(|share| *share > 800), "{shares:?}");
    let kept: BTreeSet<_> = (1000..2000).map(|socket| reached(2, socket, HOST)).collect();
    assert_eq!(kept.len(), 1, "a client keeps its backend");
    let others: BTreeSet<_> = (0..100).map(|client| reached(2, 1, client)).collect();
    assert_eq!(others.len(), 4, "clients are told apart");
    // Hosts are told apart by their seeds, since their namespaces have the same number.
    let mut by_seed = BTreeSet::new();
    for seed in 0..40 {
        apply(writer, vec![Change::Settings(SettingsRow { seed, ..SettingsRow::default() })]);
        by_seed.insert(reached(2, 1, HOST));
    }
    assert_eq!(by_seed.len(), 4, "hosts choose for themselves");
}

#[test]
fn addresses_at_ipv6_sockets_mean_what_the_kernel_takes_them_for() {
    let words = |text: &str| {
        let octets = text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        std::array::from_fn(|at| u32::from_be_bytes(octets[at * 4..][..4].try_into().unwrap()))
    };
    let cases = [
        ("::ffff:10.96.0.10", [0, 0x0a60_000a], 4),
        ("2001:db8::1:2", [0x2001_0db8 << 32, 0x1_0002], 6),
        ("64:ff9b::10.96.0.10", [0x64_ff9b << 32, 0x0a60_000a], 6),
        // Without the prefix it is no IPv4 address, although its halves look like one.
        ("::10.96.0.10", [0, 0x0a60_000a], 0),
        ("::1", [0, 1], 0),
        ("::", [0, 0], 0),
        ("::1:ffff:0:1", [0, 0x1_ffff_0000_0001], 6),
    ];
    for (text, halves, family) in cases {
        let [a, b, c, d] = words(text);
        let got = address_of([a, b, c, d]);
        assert_eq!(got, (halves, family), "{text}");
        if family != 0 {
            assert_eq!(words_of(got.0, got.1), [a, b, c, d], "{text}: and back");
        }
    }
}
