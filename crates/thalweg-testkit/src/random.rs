//! Worlds and frames by chance, repeatable by their seed.

use crate::engine::{Course, Native};
use crate::world::World;
use std::fmt::Write;
use thalweg_packet::Line;

/// Numbers by chance (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// Links of a world by chance.
const LINKS: usize = 6;
/// Labels it binds.
const LABELS: usize = 12;

/// The lines of a world: six links in three VRFs, neighbors, routes and labels of every kind.
pub fn world(chance: &mut Chance) -> String {
    let mut text = "vrf red table 10\nvrf blue\n".to_owned();
    for link in 0..LINKS {
        let vrf = ["", "", "", "", " vrf red", " vrf blue"][link];
        let mpls = if chance.once_in(3) { "" } else { " mpls" };
        let more =
            chance.pick(&["", "", "", "", " pipe", " rpf loose", " rpf strict", " mtu 1400"]);
        let _ = writeln!(
            text,
            "link eth{link} 10.0.{link}.1/24 2001:db8:{link}::1/64{vrf}{mpls}{more}"
        );
    }
    let _ = writeln!(text, "link eth3.9 10.0.9.1/24 2001:db8:9::1/64 vlan 9 on eth3 mpls");
    for link in ["0", "1", "2", "3", "4", "5"].into_iter().chain(["3.9"]) {
        let net = link.rsplit('.').next().unwrap_or(link);
        for host in 2..6 {
            if !chance.once_in(4) {
                let mac = format!("02:00:00:00:0{net}:0{host}");
                let _ = writeln!(text, "neigh 10.0.{net}.{host} lladdr {mac} dev eth{link}");
                let _ = writeln!(text, "neigh 2001:db8:{net}::{host} lladdr {mac} dev eth{link}");
            }
        }
    }
    for _ in 0..60 {
        let line = route(chance);
        text.push_str(&line);
    }
    for label in 0..LABELS {
        let line = binding(chance, 100 + label);
        text.push_str(&line);
    }
    if chance.once_in(3) {
        let _ = writeln!(text, "link eth{} down", chance.below(3));
    }
    text
}

/// A prefix among few, so that prefixes cover each other.
fn prefix(chance: &mut Chance) -> (String, bool) {
    if chance.once_in(2) {
        let len = *chance.pick(&[&0, &8, &9, &16, &19, &22, &24, &25, &31, &32]);
        let address = (20 + chance.below(2) as u32) << 24
            | (chance.below(3) as u32) << 16
            | (chance.below(4) as u32) << 8
            | chance.below(4) as u32;
        let bits = address & u32::MAX.checked_shl(32 - len).unwrap_or(0);
        (format!("{}/{len}", std::net::Ipv4Addr::from_bits(bits)), true)
    } else {
        let len = *chance.pick(&[&0, &16, &29, &32, &48, &56, &64, &127, &128]);
        let address = 0x2a00_u128 << 112
            | (chance.below(3) as u128) << 96
            | (chance.below(3) as u128) << 64
            | chance.below(4) as u128;
        let bits = address & u128::MAX.checked_shl(128 - len).unwrap_or(0);
        (format!("{}/{len}", std::net::Ipv6Addr::from_bits(bits)), false)
    }
}

fn route(chance: &mut Chance) -> String {
    let (prefix, four) = prefix(chance);
    let vrf = chance.pick(&["default", "default", "default", "red", "blue"]);
    let head = format!("{prefix} vrf {vrf} metric {}", chance.below(2));
    match chance.below(10) {
        0 => format!("route blackhole {head}\n"),
        1 => format!("route unreachable {head}\n"),
        2 => format!("route prohibit {head}\n"),
        3 if *vrf != *"red" => format!("route {head} lookup red\n"),
        4 | 5 => {
            let members: Vec<String> = (0..2 + chance.below(3))
                .map(|_| format!("nexthop {} weight {}", hop(chance, four), 1 + chance.below(4)))
                .collect();
            format!("route {head} {}\n", members.join(" "))
        }
        6 => format!("route {head} {} backup {}\n", hop(chance, four), hop(chance, four)),
        _ => format!("route {head} {}\n", hop(chance, four)),
    }
}

fn hop(chance: &mut Chance, four: bool) -> String {
    let link = chance.pick(&["0", "1", "2", "3", "3.9", "4", "5"]);
    let net = link.rsplit('.').next().unwrap_or(link);
    let host = 2 + chance.below(5);
    let via = match four {
        true => format!("10.0.{net}.{host}"),
        false => format!("2001:db8:{net}::{host}"),
    };
    let labels = match chance.below(6) {
        0 => " labels 200",
        1 => " labels 200/300",
        2 => " labels 200/300/400/500",
        _ => "",
    };
    let more = match chance.below(8) {
        _ if labels.is_empty() => "",
        0 => " ttl 99",
        1 => " tc 6",
        2 => " entropy",
        _ => "",
    };
    format!("via {via} dev eth{link}{labels}{more}")
}

fn binding(chance: &mut Chance, label: usize) -> String {
    let hop = hop(chance, true);
    match chance.below(6) {
        0 => format!("label {label} vrf default\n"),
        1 => format!("label {label} vrf red pipe\n"),
        2 => format!("label {label} pop {hop}\n"),
        3 => format!("label {label} pop pipe {hop}\n"),
        4 => format!("label {label} as 700/800 {}\n", hop.split(" labels").next().unwrap_or("")),
        _ => format!("label {label} as 700 {}\n", hop.split(" labels").next().unwrap_or("")),
    }
}

/// A destination that routes by chance may cover.
pub fn destination(chance: &mut Chance, four: bool) -> String {
    let near = chance.once_in(4);
    match (four, near) {
        (true, true) => format!("10.0.{}.{}", chance.below(10), chance.below(8)),
        (true, false) => format!(
            "{}.{}.{}.{}",
            20 + chance.below(2),
            chance.below(3),
            chance.below(4),
            chance.below(5)
        ),
        (false, true) => format!("2001:db8:{}::{}", chance.below(10), chance.below(8)),
        (false, false) => {
            format!("2a00:{}:0:{}::{}", chance.below(3), chance.below(3), chance.below(5))
        }
    }
}

/// A frame and the name of the link it arrives at: mostly well-formed, sometimes damaged.
pub fn frame(chance: &mut Chance, world: &World) -> (String, Vec<u8>) {
    let text = line(chance);
    let (link, mut frame) = match Line::parse(&text) {
        Ok(line) => {
            let own = world.mac(&line.link).unwrap_or(thalweg_wire::Mac::ZERO);
            (line.link.clone(), line.bytes(own))
        }
        Err(error) => unreachable!("{text}: {error}"),
    };
    if chance.once_in(8) {
        let at = chance.below(frame.len());
        frame[at] ^= 1 << chance.below(8);
    }
    if chance.once_in(12) {
        let at = chance.below(frame.len().min(64));
        frame[at] = chance.number() as u8;
    }
    if chance.once_in(12) {
        frame.truncate(15 + chance.below(frame.len()));
    }
    (link, frame)
}

fn line(chance: &mut Chance) -> String {
    let four = chance.once_in(2);
    let link = chance.below(LINKS);
    let mut text = format!("eth{link} < ");
    if link == 3 && chance.once_in(2) {
        text.push_str("vlan 9 ");
    } else if chance.once_in(16) {
        text.push_str("vlan 5 prio 3 ");
    }
    if chance.once_in(3) {
        let depth = 1 + chance.below(4);
        let labels: Vec<String> = (0..depth)
            .map(|_| {
                let label = match chance.below(8) {
                    0 => chance.below(16),
                    1 => 7,
                    _ => 100 + chance.below(LABELS + 1),
                };
                let (class, ttl) =
                    (chance.below(8), chance.pick(&["0", "1", "2", "9", "64", "255"]));
                format!("{label} tc {class} ttl {ttl}")
            })
            .collect();
        let _ = write!(text, "mpls {} ", labels.join(" / "));
    }
    let ttl = chance.pick(&["0", "1", "2", "9", "64", "64", "64", "255"]);
    let host = 2 + chance.below(6);
    let to = destination(chance, four);
    if four {
        let source = match chance.below(12) {
            0 => "127.0.0.1".into(),
            1 => format!("10.0.{link}.1"),
            2 => "20.0.0.3".into(),
            _ => format!("10.0.{link}.{host}"),
        };
        let more = chance.pick(&["", "", "", "df", "tos 0xb8", "mf", "options rr", "options lsrr"]);
        let _ = write!(text, "ip {source} > {to} ttl {ttl} {more} id {} ", chance.below(65_536));
        if chance.once_in(16) {
            let _ = write!(text, "frag 64 proto 17 len 20");
            return text;
        }
    } else {
        let source = match chance.below(12) {
            0 => "fe80::9".into(),
            1 => "::1".into(),
            _ => format!("2001:db8:{link}::{host}"),
        };
        let more = chance.pick(&["", "", "", "class 0xb8", "flow 5"]);
        let _ = write!(text, "ip6 {source} > {to} hlim {ttl} {more} ");
        text.push_str(chance.pick(&[
            "",
            "",
            "",
            "hbh ",
            "hbh ra ",
            "dstopt ",
            "fragment 0 mf ",
            "routing ",
        ]));
    }
    let (from, to) = (chance.below(65_536), chance.below(65_536));
    let _ = match chance.below(5) {
        0 => write!(text, "tcp {from} > {to} ack "),
        1 => write!(text, "{} echo id {from} ", if four { "icmp" } else { "icmp6" }),
        2 => write!(text, "{} time-exceeded ", if four { "icmp" } else { "icmp6" }),
        _ => write!(text, "udp {from} > {to} "),
    };
    let len = match chance.below(6) {
        0 => 1_300 + chance.below(250),
        1 => 500 + chance.below(60),
        _ => chance.below(64),
    };
    let _ = write!(text, "len {len}");
    if chance.once_in(4) {
        let _ = write!(text, " pad {}", chance.below(40));
    }
    text
}

/// A world with routes, labels and VRFs, in force on the core in this process: what fuzzed frames meet.
///
/// # Panics
///
/// If a line of a random world is none.
pub fn settled() -> (Native, World) {
    let mut native = Native::new();
    let mut course = Course::new(&mut native);
    for line in world(&mut Chance::new(7)).lines() {
        course.change(&format!("wrong {line}")).expect("lines by chance are lines");
    }
    course.settle().expect("what makes sense of them is in force");
    let world = course.world.clone();
    (native, world)
}
