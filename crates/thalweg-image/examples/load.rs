//! Loads full tables and changes single routes: time and memory.
//!
//! `cargo run --release -p thalweg-image --example load [FILE.gz]`: the file has one prefix a line;
//! without one the tables are made up.

use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Error};
use std::time::{Duration, Instant};
use thalweg_abi::{GroupId, TableId, VrfId};
use thalweg_image::sample::{self, SplitMix};
use thalweg_image::{Capacity, Change, Limits, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_wire::{Prefix4, Prefix6};

const VRF: VrfId = VrfId(0);

fn main() -> Result<(), Error> {
    let (real, count) = (std::env::args().nth(1), 1_000_000);
    let (table4, table6) = match &real {
        Some(file) => read(file)?,
        None => (sample::table4(count, 1), sample::table6(count / 4, 2)),
    };
    println!("{} IPv4 and {} IPv6 prefixes", table4.len(), table6.len());
    run("full tables", &table4, &table6);

    let host = |at: u32| Prefix4::host((0x0a00_0000 + at).into());
    let hosts4: Vec<_> = (0..200_000).map(host).collect();
    let mut random = SplitMix(7);
    let mut host = |_| {
        let low = u128::from(random.below(1 << 24));
        Prefix6::host((0x2001_0db8_u128 << 96 | low).into())
    };
    let hosts6: Vec<_> = (0..100_000).map(&mut host).collect();
    run("host routes, close", &hosts4, &hosts6);
    let mut random = SplitMix(8);
    let mut host = |_| Prefix6::host((0x2001_0db8_u128 << 96 | u128::from(random.next())).into());
    let hosts6: Vec<_> = (0..100_000).map(&mut host).collect();
    run("host routes, scattered", &[], &hosts6);
    Ok(())
}

/// Prefixes of both families from a packed file with one a line.
fn read(file: &str) -> Result<(Vec<Prefix4>, Vec<Prefix6>), Error> {
    let (mut table4, mut table6) = (Vec::new(), Vec::new());
    for line in BufReader::new(GzDecoder::new(File::open(file)?)).lines() {
        let line = line?;
        match (line.parse(), line.parse()) {
            (Ok(prefix), _) => table4.push(prefix),
            (_, Ok(prefix)) => table6.push(prefix),
            (_, Err(error)) => eprintln!("{file}: `{line}`: {error}"),
        }
    }
    Ok((table4, table6))
}

fn run(name: &str, table4: &[Prefix4], table6: &[Prefix6]) {
    println!("\n{name}");
    let capacity = Capacity::for_limits(&Limits {
        links: 256,
        vrfs: 4,
        ipv4_routes: table4.len() as u32,
        ipv6_routes: table6.len() as u32,
        labels: 1000,
        nexthops: 1000,
        groups: 1000,
        vlan_links: 0,
        sessions: 16,
        ..Limits::default()
    });
    let mut writer = Writer::new(Memory::heap(&capacity), Box::new(NoReaders));
    let mut random = SplitMix(3);
    let mut group = || GroupId(random.below(256) as u16 + 1);
    let load4 = table4.iter().map(|prefix| Change::Route4(VRF, *prefix, group())).collect();
    let load6 = table6.iter().map(|prefix| Change::Route6(VRF, *prefix, group())).collect();
    load(&mut writer, "load IPv4", load4);
    load(&mut writer, "load IPv6", load6);
    memory(&writer);
    singles(&mut writer, table4, table6);
    let again4 = table4.iter().map(|prefix| Change::Route4(VRF, *prefix, group())).collect();
    let again6 = table6.iter().map(|prefix| Change::Route6(VRF, *prefix, group())).collect();
    load(&mut writer, "other groups, IPv4", again4);
    load(&mut writer, "other groups, IPv6", again6);
    let none = GroupId::NONE;
    let gone4 = table4.iter().map(|prefix| Change::Route4(VRF, *prefix, none)).collect();
    let gone6 = table6.iter().map(|prefix| Change::Route6(VRF, *prefix, none)).collect();
    load(&mut writer, "remove IPv4", gone4);
    load(&mut writer, "remove IPv6", gone6);
}

fn load(writer: &mut Writer, what: &str, changes: Vec<Change>) {
    let plan = Plan { generation: 1, changes };
    let (start, worked) = (Instant::now(), processor_time());
    let failures = writer.apply(&plan).map_or(0, |applied| applied.failures.len());
    let (took, worked) = (start.elapsed(), processor_time().saturating_sub(worked));
    let routes = plan.changes.len();
    println!(
        "  {what:<24} {took:>10.1?} ({worked:.1?} of a processor) for {routes} routes, {failures} left out"
    );
}

/// Time that this thread has run: other programs disturb it less.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn memory(writer: &Writer) {
    let tables = [
        TableId::Fib4Root,
        TableId::Fib4Leaves,
        TableId::Fib4Long,
        TableId::Fib6Dir,
        TableId::Fib6Pages,
        TableId::Fib6Nodes,
        TableId::Fib6Leaves,
    ];
    for table in writer.occupancy().into_iter().filter(|table| tables.contains(&table.table)) {
        let (used, capacity) = (table.used, table.capacity);
        let size = table.table.cell_bytes() as u64;
        println!(
            "  {:<12} {used:>9} of {capacity:>9} cells, {:>5} KiB of {:>5} KiB",
            table.table.name(),
            u64::from(used) * size / 1024,
            table.bytes / 1024,
        );
    }
}

/// Takes single routes out and puts them back; then adds and removes short prefixes.
fn singles(writer: &mut Writer, table4: &[Prefix4], table6: &[Prefix6]) {
    let mut random = SplitMix(5);
    let (one, none) = (GroupId(300), GroupId::NONE);
    let mut pick = |len: usize| random.below(len as u64) as usize;
    let mut changes = Vec::new();
    for _ in 0..if table4.is_empty() { 0 } else { 20_000 } {
        let prefix = table4[pick(table4.len())];
        changes.extend([none, one].map(|group| Change::Route4(VRF, prefix, group)));
    }
    time(writer, "one IPv4 route", changes);
    let mut changes = Vec::new();
    for _ in 0..20_000 {
        let prefix = table6[pick(table6.len())];
        changes.extend([none, one].map(|group| Change::Route6(VRF, prefix, group)));
    }
    time(writer, "one IPv6 route", changes);
    for len in [8, 1] {
        let prefix4 = |at: u32| Prefix4::containing((at << 24).into(), len);
        let prefix6 = |at: u32| Prefix6::containing((u128::from(at << 24) << 96).into(), len);
        let both = |change: &dyn Fn(GroupId) -> Change| [change(one), change(none)];
        let at = [1, 0x2a, 0x48, 0x67, 0xc0, 0x0a, 0x20];
        let four = at.map(|at| both(&|group| Change::Route4(VRF, prefix4(at), group)));
        time(writer, &format!("one IPv4 /{len}"), four.concat());
        let six = at.map(|at| both(&|group| Change::Route6(VRF, prefix6(at), group)));
        time(writer, &format!("one IPv6 /{len}"), six.concat());
    }
}

fn time(writer: &mut Writer, what: &str, changes: Vec<Change>) {
    let mut failures = 0;
    let mut times: Vec<Duration> = Vec::with_capacity(changes.len());
    for change in changes {
        let plan = Plan { generation: 2, changes: vec![change] };
        let start = Instant::now();
        failures += writer.apply(&plan).map_or(0, |applied| applied.failures.len());
        times.push(start.elapsed());
    }
    times.sort();
    if let (Some(middle), Some(slow), Some(most)) =
        (times.get(times.len() / 2), times.get(times.len() * 99 / 100), times.last())
    {
        println!(
            "  {what:<24} {middle:>10.1?} median, {slow:.1?} p99, {most:.1?} most, {failures} left out"
        );
    }
}
