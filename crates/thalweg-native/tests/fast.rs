//! The fast path and the full pipeline agree on every frame.

use thalweg_abi::link::flag;
use thalweg_abi::{GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, SettingsRow, VrfId, nexthop};
use thalweg_core::{Arrival, Direct, Outcome, Tables, pipeline, process};
use thalweg_image::change::GroupMembers;
use thalweg_image::sample::SplitMix;
use thalweg_image::{Capacity, Change, Limits, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_native::{MemoryCells, VecFrame};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn row(id: u32, labels: &[u32], tags: u8, link: u32) -> Change {
    let mut row = NextHopRow {
        kind: nexthop::kind::ADJACENT,
        labels: labels.len() as u8,
        tags,
        link,
        watch: link,
        device: link,
        mtu: 1500,
        addresses: [2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 2],
        ..NextHopRow::default()
    };
    for (entry, label) in row.stack.iter_mut().zip(labels) {
        *entry = (label << 12).to_be_bytes();
    }
    row.vlans[0] = [0x81, 0, 0, 100];
    Change::NextHop(NextHopId(id), row)
}

fn group(id: u16, members: &[u32]) -> Change {
    let buckets = members.iter().copied().map(NextHopId).collect();
    Change::Group(GroupId(id), GroupMembers { buckets, links: vec![2] })
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

/// Groups 1 to 6: plain, one label, two labels, tagged, on a dead link, balanced.
fn groups() -> Vec<Change> {
    vec![
        row(1, &[], 0, 2),
        row(2, &[200], 0, 2),
        row(3, &[200, 201], 0, 2),
        row(4, &[], 1, 2),
        row(5, &[], 0, 3),
        group(1, &[1]),
        group(2, &[2]),
        group(3, &[3]),
        group(4, &[4]),
        group(5, &[5]),
        group(6, &[1, 2, 1, 4]),
    ]
}

fn cells() -> MemoryCells {
    const OURS: u32 = flag::UP | flag::IPV4 | flag::IPV6 | flag::MPLS;
    let limits = Limits {
        links: 16,
        vrfs: 2,
        ipv4_routes: 100,
        ipv6_routes: 100,
        labels: 1_000,
        nexthops: 64,
        groups: 64,
        vlan_links: 1,
        sessions: 16,
        ..Limits::default()
    };
    let memory = Memory::heap(&Capacity::for_limits(&limits));
    let mut writer = Writer::new(memory.clone(), Box::new(NoReaders));
    let mut changes = vec![Change::Settings(SettingsRow::default())];
    changes.extend([link(1, OURS), link(2, OURS), link(3, 0)]);
    changes.extend(groups());
    for index in 1..=6u16 {
        let four = format!("10.0.{index}.0/24").parse().unwrap();
        let six = format!("2001:db8:{index}::/48").parse().unwrap();
        changes.push(Change::Route4(VrfId(0), four, GroupId(index)));
        changes.push(Change::Route6(VrfId(0), six, GroupId(index)));
        let label = IlmWord::forward(GroupId(index), (index % 2) as u8);
        changes.push(Change::Label(100 + u32::from(index), label));
    }
    changes.push(Change::Label(110, IlmWord::lookup(VrfId(0), 0)));
    let applied = writer.apply(&Plan { generation: 1, changes }).unwrap();
    assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    MemoryCells::new(memory)
}

/// One of a few values.
fn pick<T: Copy>(random: &mut SplitMix, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

fn ipv4(random: &mut SplitMix) -> Vec<u8> {
    let payload = random.below(3) * 700 + random.below(24);
    let mut ip = vec![0x45, random.next() as u8];
    ip.extend((28 + payload as u16).to_be_bytes());
    ip.extend([0, 1]);
    ip.extend(pick(random, &[[0x40, 0], [0, 0], [0x20, 0], [0, 8]]));
    ip.extend([pick(random, &[1, 2, 64, 255]), pick(random, &[1, 6, 17, 132]), 0, 0]);
    ip.extend([pick(random, &[10, 10, 10, 127, 192, 224]), 0, 0, random.below(4) as u8]);
    ip.extend([10, 0, random.below(8) as u8, random.next() as u8]);
    let sum = !thalweg_wire::checksum::fold(thalweg_wire::checksum::sum(&ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend((0..8 + payload).map(|_| random.next() as u8));
    ip
}

fn ipv6(random: &mut SplitMix) -> Vec<u8> {
    let payload = random.below(3) * 700 + random.below(24);
    let mut ip = vec![0x60 | random.below(16) as u8, random.next() as u8, 0, 0];
    ip.extend((8 + payload as u16).to_be_bytes());
    ip.extend([pick(random, &[0, 6, 17, 43, 44, 58, 59, 60]), pick(random, &[1, 2, 64, 255])]);
    ip.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, random.below(4) as u8]);
    ip.extend([0x20, 1, 0xd, 0xb8, 0, random.below(8) as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    ip.extend((0..8 + payload).map(|_| random.next() as u8));
    ip
}

fn labels(random: &mut SplitMix, depth: u64) -> Vec<u8> {
    let entry = |index, random: &mut SplitMix| {
        let free = 100 + random.below(12) as u32;
        let label = pick(random, &[0, 2, 7, free, free, free, free]);
        let bottom = if index + 1 == depth { 0x100 } else { 0 };
        let class = (random.below(8) as u32) << 9;
        (label << 12 | bottom | class | pick(random, &[1, 2, 64, 255])).to_be_bytes()
    };
    (0..depth).flat_map(|index| entry(index, random)).collect()
}

fn frame(random: &mut SplitMix) -> Vec<u8> {
    let mut frame = MAC.to_vec();
    if random.below(16) == 0 {
        frame[0] = random.next() as u8;
    }
    frame.extend([2, 0, 0, 0, 0xff, 1]);
    if random.below(8) == 0 {
        frame.extend([0x81, 0, 0, random.below(2) as u8]);
    }
    let six = random.below(2) == 0;
    let depth = random.below(6).saturating_sub(2);
    frame.extend(match (depth, six) {
        (0, true) => [0x86, 0xdd],
        (0, false) => [8, 0],
        _ => [0x88, 0x47],
    });
    frame.extend(labels(random, depth));
    frame.extend(if six { ipv6(random) } else { ipv4(random) });
    frame.extend((0..random.below(3) * random.below(20)).map(|_| 0));
    match random.below(12) {
        0 => frame.truncate(random.below(frame.len() as u64) as usize),
        1 => {
            let at = random.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << random.below(8);
        }
        _ => {}
    }
    frame
}

fn run(take: impl Fn(&mut VecFrame) -> Outcome, frame: &[u8]) -> (String, u32, Vec<u8>) {
    let mut work = VecFrame::new(frame);
    let outcome = take(&mut work);
    (outcome.verdict.to_string(), outcome.device, work.into_bytes())
}

#[test]
fn fast_path_and_pipeline_agree() {
    let cells = cells();
    let mut random = SplitMix(7);
    let arrival = Arrival { device: 1, epoch: cells.epoch() };
    let (mut routed, mut switched) = (0, 0);
    for _ in 0..200_000 {
        let bytes = frame(&mut random);
        let both = run(|frame| process(&mut Direct { frame, tables: &cells }, arrival), &bytes);
        let full = run(|frame| pipeline(&mut Direct { frame, tables: &cells }, arrival), &bytes);
        assert_eq!(both, full, "frame {bytes:02x?}");
        routed += u32::from(both.0 == "forward route");
        switched += u32::from(both.0 == "forward label");
    }
    assert!(routed > 10_000 && switched > 10_000, "{routed} routed, {switched} switched");
}

#[test]
fn answers_do_not_depend_on_tailroom() {
    let cells = cells();
    let mut random = SplitMix(11);
    let mut answers = 0;
    for _ in 0..100_000 {
        let bytes = frame(&mut random);
        let take = |mut frame: VecFrame| {
            let arrival = Arrival { device: 1, epoch: cells.epoch() };
            let outcome = process(&mut Direct { frame: &mut frame, tables: &cells }, arrival);
            (outcome.verdict.to_string(), frame.into_bytes())
        };
        let (verdict, roomy) = take(VecFrame::new(&bytes));
        let (same, tight) = take(VecFrame::without_tailroom(&bytes));
        assert_eq!(verdict, same, "frame {bytes:02x?}");
        if !verdict.starts_with("answer") {
            continue;
        }
        answers += 1;
        // Where up to three octets had to be padded, a tight buffer quotes less; checksums follow.
        let differing = roomy.iter().zip(&tight).filter(|(a, b)| a != b).count();
        assert!(roomy.len() == tight.len() && differing <= 5, "frame {bytes:02x?}");
    }
    assert!(answers > 1_000, "only {answers} answers");
}
