//! `lpm4/…`, `lpm6/…`: longest-prefix match inside eBPF, beside the kernel's map and the kernel's FIB.
//!
//! All engines get the same addresses in the same order, and their answers must be the same.

use crate::network::Namespace;
use crate::object::{Object, key4, key6};
use crate::prefixes::{Full, Routes, some};
use crate::report::Row;
use crate::samples::{ROUNDS, median, pin, processors};
use crate::trace::{self, Kind};
use crate::traffic::links;
use crate::{Bench, Measured, image, routes, say};
use aya::Pod;
use aya::maps::lpm_trie::Key;
use std::hash::Hash;
use thalweg_abi::TableId;
use thalweg_image::Plan;
use thalweg_wire::{Prefix4, Prefix6};

/// Addresses that a program looks up in one run.
pub const PER_RUN: u32 = 4096;
/// Runs of one sample, after runs that warm up.
pub const RUNS: u32 = 16;
const WARM_UP: u32 = 4;
/// The engines, as their programs are called.
const ENGINES: [&str; 5] = ["none", "ours", "trie", "kernel", "reads"];
/// What ours is compared with: name in rows, and in words. The last is no peer but the limit: two
/// reads of the same memory without a lookup around them.
const PEERS: [(&str, &str); 3] = [
    ("lpm-trie", "BPF LPM_TRIE"),
    ("fib-lookup", "bpf_fib_lookup"),
    ("two-reads", "two reads of our tables alone"),
];

/// What differs between the families.
trait Family {
    type Prefix: Copy + Eq + Hash + Ord;
    type Octets: Pod;
    const NAME: &'static str;
    const SIZES: [(&'static str, usize); 3];
    const TABLES: &'static [TableId];
    const TRIE: &'static str;

    fn full(full: &Full) -> &Routes<Self::Prefix>;
    fn plan(routes: &Routes<Self::Prefix>) -> Plan;
    fn key(prefix: Self::Prefix) -> Key<Self::Octets>;
    fn install(routes: &Routes<Self::Prefix>, link: u32) -> Measured<()>;
    fn trace(object: &mut Object, routes: &Routes<Self::Prefix>, kind: Kind) -> Measured<()>;
}

struct Four;
struct Six;

impl Family for Four {
    type Prefix = Prefix4;
    type Octets = [u8; 4];
    const NAME: &'static str = "lpm4";
    const SIZES: [(&'static str, usize); 3] = [("1k", 1_000), ("100k", 100_000), ("1m", 1_000_000)];
    const TABLES: &'static [TableId] = image::TABLES4;
    const TRIE: &'static str = "trie4";

    fn full(full: &Full) -> &Routes<Prefix4> {
        &full.four
    }
    fn plan(routes: &Routes<Prefix4>) -> Plan {
        image::plan4(routes)
    }
    fn key(prefix: Prefix4) -> Key<[u8; 4]> {
        key4(prefix)
    }
    fn install(list: &Routes<Prefix4>, link: u32) -> Measured<()> {
        routes::install4(list, link)
    }
    fn trace(object: &mut Object, routes: &Routes<Prefix4>, kind: Kind) -> Measured<()> {
        object.trace4(&trace::four(routes, kind))
    }
}

impl Family for Six {
    type Prefix = Prefix6;
    type Octets = [u8; 16];
    const NAME: &'static str = "lpm6";
    const SIZES: [(&'static str, usize); 3] = [("1k", 1_000), ("100k", 100_000), ("250k", 250_000)];
    const TABLES: &'static [TableId] = image::TABLES6;
    const TRIE: &'static str = "trie6";

    fn full(full: &Full) -> &Routes<Prefix6> {
        &full.six
    }
    fn plan(routes: &Routes<Prefix6>) -> Plan {
        image::plan6(routes)
    }
    fn key(prefix: Prefix6) -> Key<[u8; 16]> {
        key6(prefix)
    }
    fn install(list: &Routes<Prefix6>, link: u32) -> Measured<()> {
        routes::install6(list, link)
    }
    fn trace(object: &mut Object, routes: &Routes<Prefix6>, kind: Kind) -> Measured<()> {
        object.trace6(&trace::six(routes, kind))
    }
}

/// All rows of both families.
pub fn measure(bench: &mut Bench, full: &Full) {
    family::<Four>(bench, full);
    family::<Six>(bench, full);
}

fn family<F: Family>(bench: &mut Bench, full: &Full) {
    for (size, count) in F::SIZES {
        let all: Vec<String> =
            forms().flat_map(|(kind, dependent)| names::<F>(size, kind, dependent)).collect();
        bench.measure(&all, |bench| table::<F>(bench, full, size, count));
    }
}

/// All traces, independent and dependent.
fn forms() -> impl Iterator<Item = (Kind, bool)> {
    Kind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)])
}

fn names<F: Family>(size: &str, kind: Kind, dependent: bool) -> [String; PEERS.len()] {
    let end = if dependent { "/dependent" } else { "" };
    PEERS.map(|(peer, _)| format!("{}/{size}/{}/vs-{peer}{end}", F::NAME, kind.name()))
}

/// One table size: three engines are filled, then looked up in.
fn table<F: Family>(bench: &mut Bench, full: &Full, size: &str, count: usize) -> Measured<()> {
    let routes = some(F::full(full), count);
    say(&format!(
        "{}/{size}: {} prefixes into our tables, a trie, the kernel's FIB",
        F::NAME,
        routes.len()
    ));
    let namespace = Namespace::new()?;
    namespace.inside(|| {
        pin(0, processors() - 1);
        let (link, mut object) = fill::<F>(&routes)?;
        for (kind, dependent) in forms() {
            let names = names::<F>(size, kind, dependent);
            if !bench.wants(&names) {
                continue;
            }
            F::trace(&mut object, &routes, kind)?;
            let times = time::<F>(&mut object, link, dependent)?;
            for ((name, (_, peer)), time) in names.iter().zip(PEERS).zip(&times[1..]) {
                bench.add(Row::cost(name, times[0], "ns", peer, *time));
            }
        }
        Ok(())
    })
}

/// The same routes in every engine. Returns the link that lookups come from.
fn fill<F: Family>(list: &Routes<F::Prefix>) -> Measured<(u32, Object)> {
    let [link, out] = links()?;
    F::install(list, out)?;
    let count = list.len() as u32;
    let capacity = image::capacity(count, count, 16);
    let programs: Vec<String> = ENGINES
        .iter()
        .flat_map(|engine| ["", "_dep"].map(|form| format!("{}_{engine}{form}", F::NAME)))
        .collect();
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let mut object = Object::helpers(&programs, &[(F::TRIE, count)], Some(&capacity))?;
    let mut writer = image::writer(&capacity);
    image::apply(&mut writer, &F::plan(list))?;
    object.copy(writer.memory(), F::TABLES, false)?;
    let mut trie = object.trie::<F::Octets>(F::TRIE)?;
    for (prefix, group) in list {
        trie.insert(&F::key(*prefix), u32::from(*group), 0)?;
    }
    Ok((link, object))
}

/// Nanoseconds of a lookup by ours and each peer, without what drawing an address costs.
fn time<F: Family>(object: &mut Object, link: u32, dependent: bool) -> Measured<[f64; 4]> {
    let form = if dependent { "_dep" } else { "" };
    let mut samples = ENGINES.map(|_| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS {
        let mut answers = [0; ENGINES.len()];
        for (at, engine) in ENGINES.iter().enumerate() {
            let program = format!("{}_{engine}{form}", F::NAME);
            object.array::<u64>("position")?.set(0, round as u64 * 97 * 128, 0)?;
            object.run(&program, &[0; 64], link, WARM_UP)?;
            object.array::<u64>("answers")?.set(0, 0, 0)?;
            let (took, _) = object.run(&program, &[0; 64], link, RUNS)?;
            answers[at] = object.array::<u64>("answers")?.get(&0, 0)?;
            samples[at].push(took.as_nanos() as f64 / f64::from(PER_RUN));
        }
        let [_, ours, trie, kernel, _] = answers;
        if ours != trie || ours != kernel {
            return Err(format!(
                "engines disagree: sums of answers are {ours} (ours), {trie} (trie), {kernel} (kernel)"
            )
            .into());
        }
    }
    let [none, times @ ..] = samples.map(|samples| median(&samples));
    Ok(times.map(|time| (time - none).max(0.1)))
}
