//! Fragments in any order against a receiver that cannot be wrong in the same way: it puts together what
//! arrives, and compares.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use thalweg_abi::shelf::{BOARDS, MOST, PLACES, TIME};
use thalweg_abi::{Kind, Reason, SettingsRow, TableId, Verdict, flow};
use thalweg_image::sample::SplitMix;
use thalweg_testkit::engine::Course;
use thalweg_testkit::pieces::{self, Receiver};
use thalweg_testkit::{Engine, Native, World};

/// A node with a client outside, one that serves, and source translation.
const LINES: [&str; 14] = [
    "link eth0 10.0.0.1/24 2001:db8::1/64",
    "link pod1 10.99.0.1/32",
    "link pod2 10.99.0.2/32",
    "neigh 10.0.0.9 lladdr 02:00:00:00:ff:01 dev eth0",
    "neigh 2001:db8::9 lladdr 02:00:00:00:ff:01 dev eth0",
    "neigh 10.1.0.2 lladdr 02:00:00:00:00:a2 dev pod1",
    "neigh 10.1.0.3 lladdr 02:00:00:00:00:a3 dev pod2",
    "neigh fd00::3 lladdr 02:00:00:00:00:a3 dev pod2",
    "pool pods 10.1.0.0/16 nat",
    "pod one 10.1.0.2 dev pod1",
    "pod two 10.1.0.3,fd00::3 dev pod2",
    "service dns 10.96.0.53:53/udp external 203.0.113.7 nodeport 30053",
    "service dns6 [fd00:96::10]:53/udp external 2001:db8:7::7",
    "endpoints dns 10.1.0.3:5353",
];

fn build() -> (Native, World) {
    let mut native = Native::new();
    let mut course = Course::new(&mut native);
    for line in LINES.iter().chain(&["endpoints dns6 [fd00::3]:5353"]) {
        course.change(line).unwrap();
    }
    course.settle().unwrap();
    let world = course.world.clone();
    (native, world)
}

/// Ways through the node: link, sender, receiver as the sender knows it, and as it is. Ports of senders are the
/// number of the datagram; a source that is translated is not compared.
const WAYS: [(&str, &str, &str, &str, bool); 6] = [
    ("pod1", "10.1.0.2", "10.96.0.53:53", "10.1.0.3:5353", true),
    ("eth0", "10.0.0.9", "203.0.113.7:53", "10.1.0.3:5353", true),
    ("eth0", "10.0.0.9", "10.0.0.1:30053", "10.1.0.3:5353", true),
    ("eth0", "2001:db8::9", "[2001:db8:7::7]:53", "[fd00::3]:5353", true),
    ("pod1", "10.1.0.2", "10.0.0.9:7", "10.0.0.9:7", false),
    ("pod1", "10.1.0.2", "10.1.0.3:9", "10.1.0.3:9", true),
];

/// A datagram on its way.
struct Datagram {
    link: &'static str,
    from: SocketAddr,
    to: SocketAddr,
    keeps_source: bool,
    data: Vec<u8>,
    pieces: Vec<Vec<u8>>,
}

fn datagram(number: u16, way: usize, len: usize) -> Datagram {
    let (link, from, to, meant, keeps_source) = WAYS[way];
    let from = SocketAddr::new(from.parse().unwrap(), 20_000 + number);
    let data: Vec<u8> = (0..len).map(|at| (at as u16 ^ number.wrapping_mul(31)) as u8).collect();
    let pieces = pieces::cut(from, to.parse().unwrap(), number.into(), &data, 64);
    Datagram { link, from, to: meant.parse().unwrap(), keeps_source, data, pieces }
}

/// A frame of a packet that arrives at a link.
fn frame(world: &World, link: &str, packet: &[u8]) -> (Vec<u8>, u32) {
    let mut frame = world.mac(link).unwrap().0.to_vec();
    frame.extend([2, 0, 0, 0, 0xff, 1]);
    frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    frame.extend(packet);
    (frame, world.index(link).unwrap())
}

/// The node, what has left it, and what it kept.
struct Node {
    native: Native,
    world: World,
    receiver: Receiver,
    heard: BTreeMap<SocketAddr, Vec<(SocketAddr, Vec<u8>)>>,
    verdicts: Vec<Verdict>,
}

impl Node {
    fn new() -> Self {
        let (native, world) = build();
        let (receiver, heard) = (Receiver::default(), BTreeMap::new());
        Self { native, world, receiver, heard, verdicts: Vec::new() }
    }

    /// A frame arrives, and what waited for it behind it.
    fn arrives(&mut self, frame: &[u8], link: u32) {
        let fate = self.native.run(frame, link).unwrap();
        let arriving = self.native.take_arriving();
        self.verdicts.push(fate.verdict);
        if fate.verdict.is(Kind::Forward)
            && let Some((from, to, data)) = self.receiver.take(&fate.frame[14..]).unwrap()
        {
            self.heard.entry(to).or_default().push((from, data));
        }
        for (link, frame) in arriving {
            self.arrives(&frame, link);
        }
    }

    fn sends(&mut self, datagram: &Datagram, piece: usize) {
        let (frame, link) = frame(&self.world, datagram.link, &datagram.pieces[piece]);
        self.arrives(&frame, link);
    }

    fn has(&self, datagram: &Datagram) -> bool {
        self.heard.get(&datagram.to).is_some_and(|all| {
            all.iter().any(|(from, data)| {
                *data == datagram.data && (!datagram.keeps_source || *from == datagram.from)
            })
        })
    }
}

fn plain(frames: usize) -> impl Strategy<Value = (Vec<(usize, usize)>, u64)> {
    (prop::collection::vec((0..WAYS.len(), 80usize..900), 1..frames), any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_order_all_of_a_datagram_arrives_with_the_addresses_of_its_first(
        (wanted, seed) in plain(6)
    ) {
        let mut random = SplitMix(seed);
        let all: Vec<Datagram> = wanted.iter().enumerate()
            .map(|(number, (way, len))| datagram(number as u16 + 1, *way, *len)).collect();
        let mut order: Vec<(usize, usize)> = Vec::new();
        for (number, datagram) in all.iter().enumerate() {
            order.extend((0..datagram.pieces.len()).map(|piece| (number, piece)));
        }
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        let mut node = Node::new();
        for at in 0..order.len() {
            let (number, piece) = order[at];
            node.sends(&all[number], piece);
            if random.below(8) == 0 {
                // Once more, as networks do.
                let (number, piece) = order[random.below(at as u64 + 1) as usize];
                node.sends(&all[number], piece);
            }
        }
        for datagram in &all {
            prop_assert!(node.has(datagram), "{} > {}", datagram.from, datagram.to);
        }
        let meant: BTreeSet<SocketAddr> = all.iter().map(|datagram| datagram.to).collect();
        prop_assert!(node.heard.keys().all(|to| meant.contains(to)));
        let lost = Verdict::drop(Reason::NoFirstFragment);
        prop_assert!(!node.verdicts.contains(&lost));
    }

    #[test]
    fn a_flood_displaces_early_fragments_and_nothing_else(seed in any::<u64>()) {
        let mut random = SplitMix(seed);
        let mut node = Node::new();
        let (early, late) = (datagram(1, 1, 400), datagram(2, 0, 400));
        for piece in (1..early.pieces.len()).rev() {
            node.sends(&early, piece);
        }
        // Many packets that have no first.
        for number in 0..BOARDS * PLACES * 8 {
            let stray = datagram(1_000 + number as u16, random.below(4) as usize, 300);
            node.sends(&stray, 1 + random.below(3) as usize);
        }
        node.sends(&early, 0);
        prop_assert!(!node.has(&early), "what was displaced does not come back");
        for piece in (0..late.pieces.len()).rev() {
            node.sends(&late, piece);
        }
        prop_assert!(node.has(&late));
        // Who loses fragments can send them again, in order.
        for piece in 0..early.pieces.len() {
            node.sends(&early, piece);
        }
        prop_assert!(node.has(&early));
    }
}

#[test]
fn one_packet_takes_its_share_and_no_more() {
    let mut node = Node::new();
    let large = datagram(1, 1, 64 * (MOST as usize + 4));
    for piece in 1..large.pieces.len() {
        node.sends(&large, piece);
    }
    let kept = Verdict::pass(Reason::KeptFragment);
    let count = node.verdicts.iter().filter(|verdict| **verdict == kept).count();
    assert_eq!(count, MOST as usize);
    assert_eq!(node.verdicts.last(), Some(&Verdict::drop(Reason::NoFirstFragment)));
}

#[test]
fn what_has_waited_too_long_is_not_sent() {
    for (waits, comes) in [(TIME, true), (TIME + 1, false)] {
        let mut node = Node::new();
        node.native.cells().set_clock(10);
        let datagram = datagram(1, 1, 200);
        for piece in 1..datagram.pieces.len() {
            node.sends(&datagram, piece);
        }
        node.native.cells().set_clock(10 + waits);
        node.sends(&datagram, 0);
        assert_eq!(node.has(&datagram), comes);
    }
}

/// Two senders and identifications whose fragments lie on one board under one tag.
fn alike(native: &Native, to: Ipv4Addr) -> [(Ipv4Addr, u32); 2] {
    let memory = native.cells().memory();
    let settings: SettingsRow = memory.in_force().row(TableId::Settings, 0).unwrap();
    let mut seen = HashMap::new();
    for host in 10..200 {
        for id in 0..4_096 {
            let from = Ipv4Addr::new(10, 0, 0, host);
            // The key of fragments (thalweg-core, flow/fragment.rs).
            let tail = flow::tail(id, 0, 17, 4) | flow::NO_PACKET | 0x40;
            let key = [0, from.to_bits().into(), 0, to.to_bits().into(), tail];
            let hash = flow::hash(key, settings.seed);
            let place = (hash as u32 % BOARDS, flow::tag(hash));
            if let Some(other) = seen.insert(place, (from, id)) {
                return [other, (from, id)];
            }
        }
    }
    panic!("no two of so many are alike");
}

#[test]
fn packets_of_one_tag_are_not_taken_for_each_other() {
    let mut node = Node::new();
    let to: SocketAddr = "203.0.113.7:53".parse().unwrap();
    let [(waiting, early), (other, id)] = alike(&node.native, Ipv4Addr::new(203, 0, 113, 7));
    let [waits, comes] = [(waiting, early), (other, id)].map(|(from, id)| {
        let pieces = pieces::cut(SocketAddr::new(from.into(), 5), to, id, &[7; 100], 64);
        assert_eq!(pieces.len(), 2);
        pieces
    });
    let mut arrive = |packet: &[u8], verdicts: usize| {
        let (frame, link) = frame(&node.world, "eth0", packet);
        node.arrives(&frame, link);
        assert_eq!(node.verdicts.len(), verdicts, "{:?}", node.verdicts);
        *node.verdicts.last().unwrap()
    };
    let kept = Verdict::pass(Reason::KeptFragment);
    assert_eq!(arrive(&waits[1], 1), kept);
    assert_ne!(arrive(&comes[0], 2), kept, "nobody waits for this one");
    arrive(&comes[1], 3);
    assert_ne!(arrive(&waits[0], 5), kept, "its own is behind it");
    assert_eq!(node.heard.values().flatten().count(), 2);
}

#[test]
fn what_is_too_large_for_a_place_is_dropped() {
    let mut node = Node::new();
    let (from, to) = ("10.0.0.9:5".parse().unwrap(), "203.0.113.7:53".parse().unwrap());
    let pieces = pieces::cut(from, to, 1, &[7; 20_000], 9_600);
    let (frame, link) = frame(&node.world, "eth0", &pieces[1]);
    node.arrives(&frame, link);
    assert_eq!(node.verdicts, [Verdict::drop(Reason::NoFirstFragment)]);
}

#[test]
fn pieces_are_what_they_say() {
    let (from, to): (SocketAddr, SocketAddr) =
        ("[2001:db8::9]:5".parse().unwrap(), "[2001:db8::8]:6".parse().unwrap());
    let data: Vec<u8> = (0..=255).collect();
    let mut receiver = Receiver::default();
    let mut pieces = pieces::cut(from, to, 3, &data, 100);
    assert_eq!(pieces.len(), 3);
    let last = pieces.pop().unwrap();
    for piece in pieces.iter().rev() {
        assert_eq!(receiver.take(piece), Ok(None));
    }
    assert_eq!(receiver.take(&last), Ok(Some((from, to, data))));
    assert!(matches!(from.ip(), IpAddr::V6(_)));
}
