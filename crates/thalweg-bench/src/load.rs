//! `load/…`, `update/…`, `memory/…`: from routes as the agent has parsed them to tables in force.
//!
//! What is timed is everything the agent does: the compiler takes each route in, makes a plan, and
//! the writer puts it into mapped kernel memory, with real grace periods. The kernel's turn is the
//! same routes into its own FIB, by netlink in large batches.

use crate::image::{self, TABLES4, TABLES6};
use crate::network::Namespace;
use crate::object::{Object, key4, key6};
use crate::prefixes::{Full, GROUPS, Routes};
use crate::report::Row;
use crate::routes::{gateway4, gateway6, install4, install6, open, replace4};
use crate::samples::{median, percentile, pin, processors};
use crate::traffic::links;
use crate::{Bench, Measured, say};
use std::net::IpAddr;
use std::time::Instant;
use thalweg_abi::VrfId;
use thalweg_compile::Compiler;
use thalweg_image::sample::SplitMix;
use thalweg_image::{Plane as _, Writer};
use thalweg_model::host::{Link, Neighbor, NextHop, Route, RouteKey, RouteKind, Update};
use thalweg_model::{Intent, Prefix};
use thalweg_wire::{Mac, Prefix4, Prefix6};
use thalweg_xdp::{Loaded, Membarrier};

const LOAD: [&str; 2] = ["load/ipv4-1m", "load/ipv6-250k"];
const UPDATE: &str = "update/one-route";
const MEMORY: [&str; 2] = ["memory/ipv4-1m", "memory/ipv6-250k"];
/// Times that a table is loaded.
const LOADS: usize = 3;
/// Single changes.
const CHANGES: usize = 5000;
/// The only link of the host state.
const LINK: u32 = 2;
const KERNEL: &str = "kernel FIB, netlink";

/// All rows.
pub fn measure(bench: &mut Bench, full: &Full) {
    pin(0, processors() - 1);
    bench.measure(&LOAD.map(ToOwned::to_owned), |bench| {
        say("load: full tables through compiler and writer, and into the kernel's FIB");
        for (name, six) in LOAD.into_iter().zip([false, true]) {
            if bench.wants(&[name.to_owned()]) {
                load(bench, name, full, six)?;
            }
        }
        Ok(())
    });
    bench.measure(&[UPDATE.to_owned()], |bench| {
        say("update: single changes of a full table");
        update(bench, full)
    });
    bench.measure(&MEMORY.map(ToOwned::to_owned), |bench| {
        say("memory: as the kernel accounts for it");
        memory(bench, full)
    });
}

/// Compiler and writer over fresh kernel tables, and a host with a link and its neighbors.
struct Plant {
    compiler: Compiler,
    writer: Writer,
    /// Keeps the kernel's maps.
    _loaded: Loaded,
}

impl Plant {
    fn new() -> Measured<Self> {
        let mut intent = Intent::default();
        intent.router.unlisted_links = true;
        let limits = &mut intent.router.limits;
        let capacity = image::capacity(limits.ipv4_routes, limits.ipv6_routes, 16);
        (limits.links, limits.vrfs, limits.labels) = (1024, 1, 16);
        (limits.nexthops, limits.groups, limits.vlan_links) = (1024, 1024, 0);
        let mut compiler = Compiler::new(limits.clone());
        compiler.set_intent(intent);
        compiler.update_host(Update::Link(Link {
            index: LINK,
            name: "r1".to_owned(),
            mac: Mac(image::ROUTER[1]),
            mtu: 1500,
            up: true,
            medium: "ether".to_owned(),
            ..Link::default()
        }));
        for group in 1..=GROUPS {
            for address in [IpAddr::from(gateway4(group)), IpAddr::from(gateway6(group))] {
                compiler.update_host(Update::Neighbor(Neighbor {
                    link: LINK,
                    address,
                    mac: Some(Mac(image::neighbor(group))),
                    state: "permanent".to_owned(),
                }));
            }
        }
        let loaded = Loaded::load(thalweg_bpf_object::object(), &capacity)?;
        let mut writer = Writer::new(loaded.memory().clone(), Box::new(Membarrier));
        image::apply(&mut writer, &compiler.plan())?;
        Ok(Self { compiler, writer, _loaded: loaded })
    }

    /// Takes updates in and puts what follows in force. Returns the seconds until the plan was made,
    /// and until it was in force.
    fn take(&mut self, updates: Vec<Update>) -> Measured<[f64; 2]> {
        let start = Instant::now();
        for update in updates {
            self.compiler.update_host(update);
        }
        let plan = self.compiler.plan();
        let planned = start.elapsed().as_secs_f64();
        let applied = self.writer.apply(&plan)?;
        let took = start.elapsed().as_secs_f64();
        match applied.failures.len() {
            0 => Ok([planned, took]),
            some => Err(format!("{some} changes did not fit").into()),
        }
    }
}

/// A kernel route as the netlink reader hands it over.
fn route(prefix: Prefix, gateway: IpAddr) -> Update {
    let nexthop = NextHop {
        via: Some(gateway),
        link: LINK,
        weight: 1,
        labels: Vec::new(),
        ttl: None,
        encap: None,
        onlink: true,
        dead: false,
    };
    let key = RouteKey { table: 254, prefix, metric: 0, tos: 0, instance: 0 };
    let route = Route {
        kind: RouteKind::Unicast,
        protocol: "static".to_owned(),
        nexthops: vec![nexthop],
        object: None,
        mtu: None,
    };
    Update::Route(key, route)
}

fn routes4(list: &Routes<Prefix4>) -> Vec<Update> {
    list.iter().map(|(prefix, group)| route(Prefix::V4(*prefix), gateway4(*group).into())).collect()
}

fn routes6(list: &Routes<Prefix6>) -> Vec<Update> {
    list.iter().map(|(prefix, group)| route(Prefix::V6(*prefix), gateway6(*group).into())).collect()
}

fn load(bench: &mut Bench, name: &str, full: &Full, six: bool) -> Measured<()> {
    let mut samples = [const { Vec::new() }; 2];
    for _ in 0..LOADS {
        let mut plant = Plant::new()?;
        let updates = if six { routes6(&full.six) } else { routes4(&full.four) };
        let count = updates.len();
        let [planned, took] = plant.take(updates)?;
        say(&format!("{count} routes: planned after {planned:.2} s, in force after {took:.2} s"));
        samples[0].push(took);
        let vrf = VrfId(0);
        let held =
            if six { plant.writer.routes6(vrf).count() } else { plant.writer.routes4(vrf).count() };
        if held < count {
            return Err(format!("{held} of {count} routes are in force").into());
        }
        samples[1].push(Namespace::new()?.inside(|| {
            let [_, out] = links()?;
            let start = Instant::now();
            if six {
                install6(&full.six, out)?
            } else {
                install4(&full.four, out)?
            }
            Ok(start.elapsed().as_secs_f64())
        })?);
    }
    let [ours, kernel] = samples.map(|samples| median(&samples));
    bench.add(Row::cost(name, ours, "s", KERNEL, kernel));
    Ok(())
}

fn update(bench: &mut Bench, full: &Full) -> Measured<()> {
    let mut plant = Plant::new()?;
    plant.take(routes4(&full.four))?;
    plant.take(routes6(&full.six))?;
    let mut random = SplitMix(5);
    let mut changes = Vec::with_capacity(CHANGES);
    for _ in 0..CHANGES {
        let (prefix, group) = full.four[random.below(full.four.len() as u64) as usize];
        changes.push((prefix, group % GROUPS + 1));
    }
    let mut ours = Vec::with_capacity(CHANGES);
    for (prefix, group) in &changes {
        let update = route(Prefix::V4(*prefix), gateway4(*group).into());
        ours.push(plant.take(vec![update])?[1] * 1e3);
    }
    let kernel = Namespace::new()?.inside(|| {
        let [_, out] = links()?;
        install4(&full.four, out)?;
        let socket = open()?;
        let mut samples = Vec::with_capacity(CHANGES);
        for (prefix, group) in &changes {
            let start = Instant::now();
            replace4(&socket, *prefix, *group, out)?;
            samples.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(samples)
    })?;
    let [ours, kernel] = [ours, kernel].map(|samples| percentile(&samples, 99));
    bench.add(Row::cost(UPDATE, ours, "ms, p99", KERNEL, kernel));
    Ok(())
}

fn memory(bench: &mut Bench, full: &Full) -> Measured<()> {
    let (four, six) = (full.four.len() as u32, full.six.len() as u32);
    let capacity = image::capacity(four, six, 16);
    let sizes = [("trie4", four), ("trie6", six)];
    let mut object = Object::helpers(&[], &sizes, Some(&capacity))?;
    let mut trie = object.trie::<[u8; 4]>("trie4")?;
    for (prefix, group) in &full.four {
        trie.insert(&key4(*prefix), u32::from(*group), 0)?;
    }
    let mut trie = object.trie::<[u8; 16]>("trie6")?;
    for (prefix, group) in &full.six {
        trie.insert(&key6(*prefix), u32::from(*group), 0)?;
    }
    for ((name, tables), trie) in MEMORY.into_iter().zip([TABLES4, TABLES6]).zip(["trie4", "trie6"])
    {
        let mut ours = 0;
        for table in tables {
            ours += object.memory(table.name())?;
        }
        let theirs = object.memory(trie)?;
        bench.add(Row::cost(name, ours as f64, "bytes", "BPF LPM_TRIE", theirs as f64));
    }
    Ok(())
}
