//! `policy/…`: what a first packet costs where policies decide, and how it is beside the kernel's filters.
//!
//! Packets come from where the last rule alone lets them in. What one costs by itself is one
//! `BPF_PROG_TEST_RUN` for each, as in [`crate::balance`]; beside the kernel's filters they are real frames from
//! one namespace through the node to a pod, as in [`crate::flood`].

use crate::balance::frame;
use crate::flood::Flood;
use crate::guarded::{Guarded, PROGRAM, mac};
use crate::network::index;
use crate::object::Object;
use crate::pods::{CLIENT, SERVERS, address, spread};
use crate::report::Row;
use crate::rules::{self, PORT, Peer, SOURCES};
use crate::samples::{ROUNDS, median, pin, processors};
use crate::{Bench, Measured, say};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Numbers of rules.
const SIZES: [(usize, &str); 4] = [(1, "1"), (100, "100"), (10_000, "10k"), (100_000, "100k")];
/// Those that peers have, with the frames of a turn: peers ask every rule.
const BESIDE: [(usize, &str, u64); 2] = [(100, "100", 100_000), (10_000, "10k", 16_384)];
const GROWTH: &str = "policy/new-flow/growth";
/// A set of addresses: rows by peer.
const SET: [&str; 2] = ["policy/3-rules-1m-set/vs-ipset", "policy/3-rules-1m-set/vs-nftables"];
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
/// Sources of first packets: as many as their net has, in steps that are no order.
const SPREAD: u32 = 50_000;
/// `XDP_REDIRECT` and `XDP_DROP`.
const REDIRECT: u32 = 4;
const DROP: u32 = 1;
/// Flag of TCP.
const SYN: u8 = 2;

/// All rows.
pub fn measure(bench: &mut Bench) {
    let names: Vec<String> =
        SIZES.iter().map(|(_, size)| alone(size)).chain([GROWTH.to_owned()]).collect();
    bench.measure(&names, by_size);
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
    bench.measure(&SET.map(ToOwned::to_owned), |bench| {
        say("policy: three rules, one of them with a set of 1,000,000 addresses");
        let done = with_set(bench);
        spread();
        done
    });
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
    let mut samples: Vec<Vec<f64>> = stages.iter().map(|_| Vec::new()).collect();
    let mut empty = Vec::new();
    for round in 0..=ROUNDS {
        for (stage, samples) in stages.iter_mut().zip(&mut samples) {
            let took = stage.new_flows()?;
            // The first turn brings tables into memory that was never touched.
            if round > 0 {
                samples.push(took);
            }
        }
        empty.push(stages[0].empty()?);
    }
    let empty = median(&empty);
    let times: Vec<f64> = samples.iter().map(|samples| median(samples) - empty).collect();
    say(&format!("an empty XDP program takes {empty:.0} ns"));
    for ((_, size), time) in SIZES.iter().zip(&times[1..]) {
        bench.add(Row::cost(&alone(size), *time, "ns", "no policies, same packets", times[0]));
    }
    let growth = times[SIZES.len()] / times[1] * 100.0;
    bench.add(Row::cost(GROWTH, growth, "%", "1 rule; measured with 100,000", 100.0));
    Ok(())
}

/// A node whose tables packets are run through by themselves.
struct Stage {
    guarded: Guarded,
    helpers: Object,
    link: u32,
    /// First packets so far.
    packets: u32,
}

impl Stage {
    fn new(files: &[(String, String)]) -> Measured<Self> {
        let guarded = Guarded::new(files, LINES)?;
        let link = guarded.node.router.inside(|| index("pod0"))?;
        let helpers = Object::helpers(&["empty"], &[], None)?;
        let mut stage = Self { guarded, helpers, link, packets: 0 };
        // Another port is open only where there are no policies.
        let (_, code) = stage.send(PORT + 1)?;
        let wanted = if files.is_empty() { REDIRECT } else { DROP };
        match code == wanted {
            true => Ok(stage),
            false => Err(format!("ours answered {code} where policies want {wanted}").into()),
        }
    }

    /// The median of first packets.
    fn new_flows(&mut self) -> Measured<f64> {
        let mut samples = Vec::with_capacity(PACKETS as usize);
        for _ in 0..PACKETS {
            match self.send(PORT)? {
                (took, REDIRECT) => samples.push(took),
                (_, other) => {
                    return Err(format!("ours answered {other} where it must redirect").into());
                }
            }
        }
        Ok(median(&samples))
    }

    /// The median of an empty program.
    fn empty(&mut self) -> Measured<f64> {
        let Self { guarded, helpers, link, .. } = self;
        guarded.node.router.inside(|| {
            let mut samples = Vec::with_capacity(PACKETS as usize);
            for _ in 0..PACKETS {
                samples.push(helpers.run("empty", &first(0, PORT), *link, 1)?.0.as_nanos() as f64);
            }
            Ok(median(&samples))
        })
    }

    /// A first packet to a port: its nanoseconds, and what becomes of it.
    fn send(&mut self, port: u16) -> Measured<(f64, u32)> {
        let Self { guarded: Guarded { node, real, .. }, link, packets, .. } = self;
        let frame = first(*packets, port);
        *packets += 1;
        let (took, code, _) = node.router.inside(|| real.run_once(PROGRAM, &frame, *link))?;
        Ok((took.as_nanos() as f64, code))
    }
}

/// A first packet that was not there before.
fn first(number: u32, port: u16) -> Vec<u8> {
    // A prime as a step leads to all sources before one comes again.
    let source = Ipv4Addr::from_bits(SOURCES.to_bits() + number.wrapping_mul(7_919) % SPREAD);
    let from = 10_000 + (number / SPREAD) as u16;
    frame(mac(CLIENT), source, address(SERVERS[0]), [from, port], SYN)
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
    let mut samples = [const { Vec::new() }; 3];
    let mut refused = [const { None }; 2];
    for _ in 0..TURNS {
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
    let ours = median(&samples[0]);
    for (at, peer) in Peer::ALL.into_iter().enumerate() {
        bench.add(match &refused[at] {
            Some(why) => Row::skipped(&names[at], why),
            None => {
                let words = format!("{}, linear rules, conntrack", peer.words());
                Row::rate(&names[at], ours, "flows/s", &words, median(&samples[at + 1]))
            }
        });
    }
    Ok(())
}

/// Real frames from addresses of a large set.
fn with_set(bench: &mut Bench) -> Measured<()> {
    let set = rules::addresses(ADDRESSES);
    let step = set.len() / SPEAKING;
    let mut sources: Vec<u32> =
        set.iter().step_by(step).take(SPEAKING).map(|one| one.to_bits()).collect();
    shuffle(&mut sources);
    let mut ours = Guarded::new(&rules::with_set(&set), LINES)?;
    say(&format!("the set is {} lines", ours.lines));
    ours.attach()?;
    let Guarded { node, real, .. } = ours;
    let mut ours = Flood::new(node, target(), "default", &sources)?;
    ours.sink()?;
    let (mut samples, mut refused) = ([const { Vec::new() }; 3], [const { None }; 2]);
    let peers = [Peer::Iptables, Peer::Nftables];
    for _ in 0..TURNS {
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
    let ours = median(&samples[0]);
    let words = ["iptables, ipset hash:ip, conntrack", "nftables, its set, conntrack"];
    for (at, words) in words.into_iter().enumerate() {
        bench.add(match &refused[at] {
            Some(why) => Row::skipped(SET[at], why),
            None => Row::rate(SET[at], ours, "flows/s", words, median(&samples[at + 1])),
        });
    }
    Ok(())
}

/// One turn of a peer with a set.
fn beside_set(peer: Peer, set: &[Ipv4Addr], sources: &[u32]) -> Measured<f64> {
    let node = match peer {
        Peer::Iptables => {
            let node = crate::pods::Node::routed()?;
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
