//! `policy/…`: what a first packet costs where policies decide, and how it is beside the kernel's filters.
//!
//! Packets come from where the last rule alone lets them in. What one costs by itself is one
//! `BPF_PROG_TEST_RUN` for each, as in [`crate::balance`]; beside the kernel's filters they are real frames from
//! one namespace through the node to a pod, as in [`crate::flood`].

use crate::balance::frame;
use crate::flood::Flood;
use crate::guarded::{Guarded, PROGRAM, mac};
use crate::network::index;
use crate::object::{Object, key4};
use crate::pods::{CLIENT, Node, SERVERS, address, spread};
use crate::report::Row;
use crate::rules::{self, PORT, Peer, SOURCES};
use crate::samples::{ROUNDS, median, pin, processors};
use crate::{Bench, Measured, lpm, say};
use std::net::{Ipv4Addr, SocketAddrV4};
use thalweg_wire::Prefix4;

/// Numbers of rules.
const SIZES: [(usize, &str); 4] = [(1, "1"), (100, "100"), (10_000, "10k"), (100_000, "100k")];
/// Those that peers have, with the frames of a turn: peers ask every rule.
const BESIDE: [(usize, &str, u64); 2] = [(100, "100", 100_000), (10_000, "10k", 16_384)];
const GROWTH: [&str; 2] = ["policy/new-flow/growth", "policy/new-flow/growth/few-sources"];
/// The same from addresses that stand in tables one by one, as those of pods.
const WHOLE: &str = "policy/new-flow/growth/whole-addresses";
/// A set of addresses: rows by peer.
const SET: [&str; 2] = ["policy/3-rules-1m-set/vs-ipset", "policy/3-rules-1m-set/vs-nftables"];
/// The same set beside the kernel's map for prefixes.
const TRIE: &str = "policy/3-rules-1m-set/vs-lpm-trie";
/// Addresses in the set.
const ADDRESSES: usize = 1_000_000;
/// Those of them that packets come from.
const SPEAKING: usize = 1 << 17;
/// Lines that there is room for: enough for a million addresses.
const LINES: u32 = 1 << 20;
/// First packets of a turn, by themselves.
const PACKETS: u32 = 20_000;
/// Turns of each engine with real frames.
const TURNS: usize = 5;
/// Sources of first packets, and the same where tables of policies are to stay in the nearest cache.
const MANY: u32 = 50_000;
const FEW: u32 = 16;
/// `XDP_REDIRECT` and `XDP_DROP`.
const REDIRECT: u32 = 4;
const DROP: u32 = 1;
/// Flag of TCP.
const SYN: u8 = 2;

/// All rows.
pub fn measure(bench: &mut Bench) {
    let names: Vec<String> =
        SIZES.iter().map(|(_, size)| alone(size)).chain(GROWTH.map(ToOwned::to_owned)).collect();
    bench.measure(&names, by_size);
    spread();
    bench.measure(&[WHOLE.to_owned()], from_whole);
    spread();
    for (count, size, frames) in BESIDE {
        let names = Peer::ALL.map(|peer| format!("{}/vs-{}", alone(size), peer.name()));
        bench.measure(&names.clone(), |bench| {
            say(&format!("policy: {count} rules, first packets beside the kernel's filters"));
            let done = beside(bench, count, frames, &names);
            spread();
            done
        });
    }
    bench.measure(&[TRIE.to_owned()], |bench| {
        say("policy: the set of 1,000,000 addresses by itself");
        let done = beside_trie(bench);
        spread();
        done
    });
    bench.measure(&SET.map(ToOwned::to_owned), |bench| {
        say("policy: three rules, one of them with a set of 1,000,000 addresses");
        let done = with_set(bench);
        spread();
        done
    });
}

/// What policies with the set cost, beside one lookup in the kernel's map for prefixes.
fn beside_trie(bench: &mut Bench) -> Measured<()> {
    pin(0, processors() - 1);
    let (set, sources) = large_set();
    let mut stages = [Stage::new(&[])?, Stage::new(&rules::with_set(&set))?];
    let times = turns(&mut stages, &sources)?;
    say(&format!(
        "first packets take {:.0} ns without policies, {:.0} with them",
        times[0], times[1]
    ));
    let link = stages[0].link;
    let theirs = stages[0].guarded.node.router.inside(|| trie(&set, &sources, link))?;
    let words = "one lookup in BPF LPM_TRIE, 1,000,000 addresses";
    bench.add(Row::cost(TRIE, times[1] - times[0], "ns", words, theirs));
    Ok(())
}

/// Nanoseconds of a lookup that waits for the last one.
fn trie(set: &[Ipv4Addr], sources: &[u32], link: u32) -> Measured<f64> {
    let programs = ["lpm4_none_dep", "lpm4_trie_dep"];
    let mut object = Object::helpers(&programs, &[("trie4", set.len() as u32)], None)?;
    let mut trie = object.trie::<[u8; 4]>("trie4")?;
    for address in set {
        trie.insert(&key4(Prefix4::containing(*address, 32)), 1, 0)?;
    }
    object.trace4(&[sources, sources].concat())?;
    let mut samples = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (program, samples) in programs.iter().zip(&mut samples) {
            let (took, _) = object.run(program, &[0; 64], link, lpm::RUNS)?;
            samples.push(took.as_nanos() as f64 / f64::from(lpm::PER_RUN));
        }
    }
    let [none, trie] = samples.map(|samples| median(&samples));
    Ok(trie - none)
}

/// The addresses of the set, and those of them that packets come from.
fn large_set() -> (Vec<Ipv4Addr>, Vec<u32>) {
    let set = rules::addresses(ADDRESSES);
    let step = set.len() / SPEAKING;
    let mut sources: Vec<u32> =
        set.iter().step_by(step).take(SPEAKING).map(|one| one.to_bits()).collect();
    shuffle(&mut sources);
    (set, sources)
}

fn alone(size: &str) -> String {
    format!("policy/new-flow/{size}-rules")
}

/// First packets by themselves, beside those of a node without policies.
fn by_size(bench: &mut Bench) -> Measured<()> {
    say("policy: first packets by themselves, which the last rule lets in");
    pin(0, processors() - 1);
    let mut stages = vec![Stage::new(&[])?];
    for (count, size) in SIZES {
        let stage = Stage::new(&rules::policies(&rules::rules(count)))?;
        say(&format!("{size} rules are {} lines", stage.guarded.lines));
        stages.push(stage);
    }
    let [many, few] = crowds();
    let spread = turns(&mut stages, &many)?;
    let near = turns(&mut stages, &few)?;
    for ((_, size), time) in SIZES.iter().zip(&spread[1..]) {
        bench.add(Row::cost(&alone(size), *time, "ns", "no policies, same packets", spread[0]));
    }
    say(&format!("from few sources: {near:.0?} ns, the first without policies"));
    for (name, times) in GROWTH.into_iter().zip([spread, near]) {
        let growth = times[SIZES.len()] / times[1] * 100.0;
        bench.add(Row::cost(name, growth, "%", "1 rule; measured with 100,000", 100.0));
    }
    Ok(())
}

/// First packets from whole addresses, each of which stands in tables by itself, beside one rule and many.
fn from_whole(bench: &mut Bench) -> Measured<()> {
    say("policy: first packets from addresses that are known one by one");
    pin(0, processors() - 1);
    // Every other one, so that no prefix has two.
    let set: Vec<Ipv4Addr> =
        (0..MANY).map(|at| Ipv4Addr::from_bits(SOURCES.to_bits() + (1 << 17) + 2 * at)).collect();
    let mut stages = Vec::new();
    for (count, _) in [SIZES[0], SIZES[SIZES.len() - 1]] {
        let files = [rules::policies(&rules::rules(count)), rules::with_set(&set)].concat();
        stages.push(Stage::new(&files)?);
    }
    let mut sources: Vec<u32> = set.iter().map(|address| address.to_bits()).collect();
    shuffle(&mut sources);
    let times = turns(&mut stages, &sources)?;
    say(&format!("from whole addresses: {times:.0?} ns"));
    let words = "1 rule; measured with 100,000";
    bench.add(Row::cost(WHOLE, times[1] / times[0] * 100.0, "%", words, 100.0));
    Ok(())
}

/// First packets through all stages in turns: what they take above an empty program.
fn turns(stages: &mut [Stage], sources: &[u32]) -> Measured<Vec<f64>> {
    let mut samples: Vec<Vec<f64>> = stages.iter().map(|_| Vec::new()).collect();
    let mut empty = Vec::new();
    for round in 0..=ROUNDS as u32 {
        for (stage, samples) in stages.iter_mut().zip(&mut samples) {
            let took = stage.new_flows(sources, round * PACKETS)?;
            // The first turn brings tables into memory that was never touched.
            if round > 0 {
                samples.push(took);
            }
        }
        empty.push(stages[0].empty()?);
    }
    let empty = median(&empty);
    Ok(samples.iter().map(|samples| median(samples) - empty).collect())
}

/// A node whose tables packets are run through by themselves.
struct Stage {
    guarded: Guarded,
    helpers: Object,
    link: u32,
}

impl Stage {
    fn new(files: &[(String, String)]) -> Measured<Self> {
        let guarded = Guarded::new(files, LINES)?;
        let link = guarded.node.router.inside(|| index("pod0"))?;
        let helpers = Object::helpers(&["empty"], &[], None)?;
        let mut stage = Self { guarded, helpers, link };
        // Another port is open only where there are no policies.
        let frame = first(0, &[SOURCES.to_bits()], PORT + 1);
        let (_, code, _) = stage
            .guarded
            .node
            .router
            .inside(|| stage.guarded.real.run_once(PROGRAM, &frame, stage.link))?;
        let wanted = if files.is_empty() { REDIRECT } else { DROP };
        match code == wanted {
            true => Ok(stage),
            false => Err(format!("ours answered {code} where policies want {wanted}").into()),
        }
    }

    /// The median of first packets from sources, from a number on.
    fn new_flows(&mut self, sources: &[u32], number: u32) -> Measured<f64> {
        let Self { guarded: Guarded { node, real, .. }, link, .. } = self;
        node.router.inside(|| {
            let mut samples = Vec::with_capacity(PACKETS as usize);
            for number in number..number + PACKETS {
                let frame = first(number, sources, PORT);
                let (took, code, _) = real.run_once(PROGRAM, &frame, *link)?;
                if code != REDIRECT {
                    return Err(format!("ours answered {code} where it must redirect").into());
                }
                samples.push(took.as_nanos() as f64);
            }
            Ok(median(&samples))
        })
    }

    /// The median of an empty program.
    fn empty(&mut self) -> Measured<f64> {
        let Self { guarded, helpers, link } = self;
        let frame = first(0, &[SOURCES.to_bits()], PORT);
        guarded.node.router.inside(|| {
            let mut samples = Vec::with_capacity(PACKETS as usize);
            for _ in 0..PACKETS {
                samples.push(helpers.run("empty", &frame, *link, 1)?.0.as_nanos() as f64);
            }
            Ok(median(&samples))
        })
    }
}

/// A first packet that was not there before, by its number.
fn first(number: u32, sources: &[u32], port: u16) -> Vec<u8> {
    let len = sources.len() as u32;
    let source = Ipv4Addr::from_bits(sources[(number % len) as usize]);
    let from = 10_000 + (number / len) as u16;
    frame(mac(CLIENT), source, address(SERVERS[0]), [from, port], SYN)
}

/// Sources of the last rule: many of them, in steps that are no order, and few others.
fn crowds() -> [Vec<u32>; 2] {
    let many = (0..MANY).map(|at| SOURCES.to_bits() + at * 7_919 % MANY).collect();
    [many, (0..FEW).map(|at| SOURCES.to_bits() + MANY + at).collect()]
}

/// Where first packets as real frames go.
fn target() -> SocketAddrV4 {
    SocketAddrV4::new(address(SERVERS[0]), PORT)
}

/// The sources of the last rule.
fn sources() -> Vec<u32> {
    (SOURCES.to_bits()..).take(1 << 10).collect()
}

/// Real frames beside the kernel's filters with the same rules.
fn beside(bench: &mut Bench, count: usize, frames: u64, names: &[String; 2]) -> Measured<()> {
    let rules = rules::rules(count);
    let mut ours = Guarded::new(&rules::policies(&rules), LINES)?;
    ours.attach()?;
    let Guarded { node, real, .. } = ours;
    let mut ours = Flood::new(node, target(), "default", &sources())?;
    ours.sink()?;
    let mut alone = sending(&sources())?;
    let mut samples = [const { Vec::new() }; 4];
    let mut refused = [const { None }; 2];
    for _ in 0..TURNS {
        samples[3].push(alone.rate(frames.max(50_000))?);
        // Frames of all turns: ours alone has room for more of them.
        samples[0].push(ours.rate(frames.max(50_000))?);
        for (at, peer) in Peer::ALL.into_iter().enumerate() {
            if refused[at].is_some() || !bench.wants(&names[at..=at]) {
                continue;
            }
            let turn = || {
                let node = peer.node(&peer.linear(&rules))?;
                let mut theirs = Flood::new(node, target(), "default", &sources())?;
                theirs.sink()?;
                theirs.rate(frames)
            };
            match turn() {
                Ok(rate) => samples[at + 1].push(rate),
                Err(error) => refused[at] = Some(error.to_string()),
            }
        }
    }
    drop(real);
    let words = Peer::ALL.map(|peer| format!("{}, linear rules, conntrack", peer.words()));
    tell(bench, names, &words, &samples, &refused);
    Ok(())
}

/// Real frames from addresses of a large set.
fn with_set(bench: &mut Bench) -> Measured<()> {
    let (set, sources) = large_set();
    let mut ours = Guarded::new(&rules::with_set(&set), LINES)?;
    say(&format!("the set is {} lines", ours.lines));
    ours.attach()?;
    let Guarded { node, real, .. } = ours;
    let mut ours = Flood::new(node, target(), "default", &sources)?;
    ours.sink()?;
    let mut alone = sending(&sources)?;
    let (mut samples, mut refused) = ([const { Vec::new() }; 4], [const { None }; 2]);
    let peers = [Peer::Iptables, Peer::Nftables];
    for _ in 0..TURNS {
        samples[3].push(alone.rate(SPEAKING as u64)?);
        samples[0].push(ours.rate(SPEAKING as u64)?);
        for (at, peer) in peers.into_iter().enumerate() {
            if refused[at].is_some() || !bench.wants(&[SET[at].to_owned()]) {
                continue;
            }
            match beside_set(peer, &set, &sources) {
                Ok(rate) => samples[at + 1].push(rate),
                Err(error) => refused[at] = Some(error.to_string()),
            }
        }
    }
    drop(real);
    let words = ["iptables, ipset hash:ip, conntrack", "nftables, its set, conntrack"];
    tell(bench, &SET.map(ToOwned::to_owned), &words.map(ToOwned::to_owned), &samples, &refused);
    Ok(())
}

/// Rows of both peers, from rates of ours, theirs and of sending alone.
fn tell(
    bench: &mut Bench,
    names: &[String; 2],
    words: &[String; 2],
    rates: &[Vec<f64>; 4],
    refused: &[Option<String>; 2],
) {
    let [ours, first, second, alone] = rates.each_ref().map(|rates| 1e9 / median(rates));
    say(&format!(
        "sending takes {alone:.0} ns, through ours {ours:.0}, theirs {first:.0}, {second:.0}"
    ));
    for (at, theirs) in [first, second].into_iter().enumerate() {
        bench.add(match &refused[at] {
            Some(why) => Row::skipped(&names[at], why),
            None => Row::cost(&names[at], ours - alone, "ns", &words[at], theirs - alone),
        });
    }
}

/// A generator whose frames come no further than to the node's link.
fn sending(sources: &[u32]) -> Measured<Flood> {
    let mut flood = Flood::new(Node::new()?, target(), "default", sources)?;
    flood.sink_at_once()?;
    Ok(flood)
}

/// One turn of a peer with a set.
fn beside_set(peer: Peer, set: &[Ipv4Addr], sources: &[u32]) -> Measured<f64> {
    let node = match peer {
        Peer::Iptables => {
            let node = Node::routed()?;
            rules::ipset(&node.router, "some", set)?;
            peer.read(&node.router, &peer.three("some"))?;
            node
        }
        Peer::Nftables => {
            let node = peer.node(&peer.three("some"))?;
            rules::nft_set(&node.router, "some", set)?;
            node
        }
    };
    let mut flood = Flood::new(node, target(), "default", sources)?;
    flood.sink()?;
    flood.rate(SPEAKING as u64)
}

/// Another order, the same each time.
fn shuffle(all: &mut [u32]) {
    let mut random = thalweg_image::sample::SplitMix(3);
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
}
