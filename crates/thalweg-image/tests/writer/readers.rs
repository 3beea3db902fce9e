//! Readers at work while routes change: no answer that was never right.

use crate::{LIMITS, apply};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};
use thalweg_abi::{GroupId, TableId, VrfId};
use thalweg_image::sample::SplitMix;
use thalweg_image::{Capacity, Change, Grace, Memory, View, Writer, lookup};
use thalweg_wire::{Prefix4, Prefix6};

const READERS: usize = 3;
const VRFS: u16 = 2;
const TIME: Duration = Duration::from_secs(4);

/// Readers count their lookups: odd while one is under way.
#[derive(Default)]
struct Epochs([AtomicU64; READERS]);

impl Epochs {
    fn read<T>(&self, reader: usize, lookup: impl FnOnce() -> T) -> T {
        let epoch = &self.0[reader];
        epoch.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let answer = lookup();
        epoch.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

struct Quiet(Arc<Epochs>);

impl Grace for Quiet {
    fn wait(&self) {
        fence(Ordering::SeqCst);
        let busy = self.0.0.each_ref().map(|epoch| epoch.load(Ordering::SeqCst));
        for (epoch, seen) in self.0.0.iter().zip(busy) {
            while seen % 2 == 1 && epoch.load(Ordering::SeqCst) == seen {
                std::thread::yield_now();
            }
        }
    }
}

/// What the test churns: covering prefixes flip between two groups, and prefixes below them, with
/// their own pair of groups, come and go. An address has one of at most six answers.
fn prefixes() -> (Vec<Prefix4>, Vec<Prefix6>) {
    let four = ["10.0.0.0/8", "10.0.0.0/14", "10.1.0.0/20", "10.1.2.0/24", "10.1.2.64/26"];
    let more = ["10.1.2.65/32", "10.1.3.0/24", "10.1.3.128/25", "10.2.0.0/15", "10.0.128.0/17"];
    let six =
        ["2001:db8::/12", "2001:db8::/20", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::/64"];
    let low = ["2001:db8:1::1/128", "2001:db8:1::2/127", "2001:db8:1:8000::/49", "2001:db8:2::/47"];
    let deep = ["2001:db8:1::ff00:0/104", "2001:db8:1::ff00:77/128", "2001:db9::/33"];
    let parse4 = |text: &&str| containing(text, |a: Ipv4Addr, len| Prefix4::containing(a, len));
    let parse6 = |text: &&str| containing(text, |a: Ipv6Addr, len| Prefix6::containing(a, len));
    (
        four.iter().chain(&more).map(parse4).collect(),
        six.iter().chain(&low).chain(&deep).map(parse6).collect(),
    )
}

fn containing<A: std::str::FromStr<Err: std::fmt::Debug>, P>(
    text: &str,
    prefix: impl FnOnce(A, u8) -> P,
) -> P {
    let (address, len) = text.split_once('/').expect("address/length");
    prefix(address.parse().expect("an address"), len.parse().expect("a length"))
}

/// The groups that prefix number `index` of a VRF may have.
fn groups(vrf: u16, index: usize) -> [GroupId; 2] {
    let first = 1 + vrf * 100 + index as u16 * 2;
    [GroupId(first), GroupId(first + 1)]
}

/// Which prefixes may answer for an address: all that cover it, down to the longest that never goes
/// away. The first one never does.
fn answers(vrf: u16, covering: impl Iterator<Item = usize>) -> Vec<GroupId> {
    covering.flat_map(|index| groups(vrf, index)).collect()
}

fn read4(memory: &Memory, epochs: &Epochs, reader: usize, random: &mut SplitMix, all: &[Prefix4]) {
    let vrf = random.below(VRFS.into()) as u16;
    let prefix = all[random.below(all.len() as u64) as usize];
    let at = prefix.bits() + random.below(u64::from(prefix.last() - prefix.bits()) + 1) as u32;
    let route = |view: View<'_>| lookup::route4(view, VrfId(vrf), at.into());
    let found = epochs.read(reader, || memory.read(route));
    let covering = (0..all.len()).filter(|index| all[*index].contains(at.into()));
    let right = answers(vrf, covering);
    assert!(right.contains(&found), "{} in {vrf}: {found:?}, not {right:?}", Ipv4Addr::from(at));
}

fn read6(memory: &Memory, epochs: &Epochs, reader: usize, random: &mut SplitMix, all: &[Prefix6]) {
    let vrf = random.below(VRFS.into()) as u16;
    let prefix = all[random.below(all.len() as u64) as usize];
    let low = u128::from(random.next()) << 64 | u128::from(random.next());
    let at = prefix.bits() + (low & (prefix.last() - prefix.bits()));
    let route = |view: View<'_>| lookup::route6(view, VrfId(vrf), at.into());
    let found = epochs.read(reader, || memory.read(route));
    let covering = (0..all.len()).filter(|index| all[*index].contains(at.into()));
    let right = answers(vrf, covering);
    assert!(right.contains(&found), "{} in {vrf}: {found:?}, not {right:?}", Ipv6Addr::from(at));
}

/// Small tables, so that room is used again at once.
fn tables() -> Capacity {
    let usual = Capacity::for_limits(&LIMITS);
    Capacity::new(|table| match table {
        TableId::Fib4Leaves => 256 / 32,
        TableId::Fib4Long => 6 * 256 / 32,
        TableId::Fib6Nodes => 72,
        TableId::Fib6Leaves => 224 / 32,
        TableId::Fib6Pages => 6 * 2048 / 16,
        table => usual.rows(table),
    })
}

#[test]
fn readers_never_see_an_answer_that_was_never_right() {
    let (all4, all6) = prefixes();
    let epochs = Arc::new(Epochs::default());
    let memory = Memory::heap(&tables());
    let mut writer = Writer::new(memory.clone(), Box::new(Quiet(epochs.clone())));
    for vrf in 0..VRFS {
        let group = groups(vrf, 0)[0];
        let start = vec![
            Change::Route4(VrfId(vrf), all4[0], group),
            Change::Route6(VrfId(vrf), all6[0], group),
        ];
        assert!(apply(&mut writer, start).failures.is_empty());
    }
    let done = AtomicBool::new(false);
    let (lookups, plans, left_out) = std::thread::scope(|scope| {
        let reader = |reader: usize| {
            let (memory, epochs, done) = (memory.clone(), epochs.clone(), &done);
            let (all4, all6) = (&all4, &all6);
            move || {
                let mut random = SplitMix(reader as u64);
                let mut lookups = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    read4(&memory, &epochs, reader, &mut random, all4);
                    read6(&memory, &epochs, reader, &mut random, all6);
                    lookups += 2;
                }
                lookups
            }
        };
        let readers: Vec<_> = (0..READERS).map(|number| scope.spawn(reader(number))).collect();
        let start = Instant::now();
        let mut random = SplitMix(99);
        let (mut plans, mut left_out) = (0_u64, 0_u64);
        while start.elapsed() < TIME && readers.iter().all(|reader| !reader.is_finished()) {
            let changes = 1 + random.below(3);
            let plan = (0..changes).map(|_| change(&mut random, &all4, &all6)).collect();
            left_out += apply(&mut writer, plan).failures.len() as u64;
            plans += 1;
            if random.below(4) == 0 {
                writer.ready();
            }
        }
        done.store(true, Ordering::Relaxed);
        let lookups = readers.into_iter().map(|reader| reader.join().expect("right answers"));
        (lookups.sum::<u64>(), plans, left_out)
    });
    println!("{lookups} lookups during {plans} plans, {left_out} routes left out");
    assert!(lookups > 10_000 && plans > 1_000);
}

fn change(random: &mut SplitMix, all4: &[Prefix4], all6: &[Prefix6]) -> Change {
    let vrf = random.below(VRFS.into()) as u16;
    let four = random.below(2) == 0;
    let index = random.below(if four { all4.len() } else { all6.len() } as u64) as usize;
    let group = match random.below(3) {
        0 if index > 0 => GroupId::NONE,
        which => groups(vrf, index)[which as usize % 2],
    };
    match four {
        true => Change::Route4(VrfId(vrf), all4[index], group),
        false => Change::Route6(VrfId(vrf), all6[index], group),
    }
}
