//! The tables of policies in the data plane against what the objects come to, over random worlds.

#[path = "../../thalweg-policy/tests/policy/random.rs"]
#[expect(dead_code, reason = "the tests of the other crate use all of it, these a part")]
mod random;

use random::{Dice, address, arrivals, gather, packet};
use std::net::IpAddr;
use thalweg_abi::policy::{VALUE, head, root};
use thalweg_compile::{Cause, Compiler};
use thalweg_core::flow::Flows as _;
use thalweg_core::flow::policy::{SILENT, Talk, ask};
use thalweg_core::{Cells as _, Tables as _};
use thalweg_image::{Capacity, Memory, NoReaders, Plane as _, Writer, halves};
use thalweg_model::cluster::{Cluster, Pod};
use thalweg_model::host::{Address, Update};
use thalweg_model::intent::Limits;
use thalweg_model::{Intent, ObjectName, Prefix};
use thalweg_native::MemoryCells;
use thalweg_policy::decide::{self, Decision, Logs, Step, Trace};
use thalweg_policy::model::Direction;
use thalweg_policy::{Model, Objects, Packet, Resolution, Verdict, View, World};
use thalweg_testkit::World as Journey;

/// An address of the host in all worlds.
const OWN: &str = "192.0.2.1";

/// Lines of policies that there is room for.
const LINES: u32 = 1 << 16;

fn limits(lines: u32) -> Limits {
    Limits { policy_lines: lines, ..Journey::new(0).intent.router.limits }
}

/// A world in force: the tables, and what its policies come to.
struct Bench {
    compiler: Compiler,
    writer: Writer,
    cells: MemoryCells,
    resolution: Resolution,
}

impl Bench {
    fn new(dice: &mut Dice) -> Self {
        let (objects, cluster) = gather(&arrivals(dice));
        Self::of(objects, cluster)
    }

    fn of(objects: Objects, cluster: Cluster) -> Self {
        let limits = limits(LINES);
        let memory = Memory::heap(&Capacity::for_limits(&thalweg_compile::table_limits(&limits)));
        let writer = Writer::new(memory.clone(), Box::new(NoReaders));
        let mut compiler = Compiler::new(limits);
        let own = Address {
            link: 1,
            address: OWN.parse().unwrap(),
            len: 32,
            peer: None,
            scope: "global".into(),
        };
        compiler.update_host(Update::Address(own));
        let (cells, resolution) = (MemoryCells::new(memory), Resolution::default());
        let mut made = Self { compiler, writer, cells, resolution };
        made.follow(objects, cluster);
        made
    }

    /// Brings another world into force.
    fn follow(&mut self, objects: Objects, mut cluster: Cluster) {
        let names: Vec<_> = cluster.pods.keys().cloned().collect();
        for name in names {
            let mut pod = cluster.pods.get(&name).cloned().unwrap();
            pod.interface = Some(format!("veth-{}-{}", name.namespace, name.name));
            cluster.pods.insert(name, pod);
        }
        let world = World::new(&objects, &cluster, |_| Default::default());
        self.resolution = Resolution::new(world, Model::new(&objects, View::Enforced));
        let mut intent = Intent::default();
        intent.router.limits = limits(LINES);
        intent.router.node = Some("n1".into());
        intent.cluster = cluster;
        self.compiler.set_policies(objects);
        self.compiler.set_intent(intent);
        let applied = self.writer.apply(&self.compiler.plan()).unwrap();
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    }

    /// The pod on this host with an address; none where several have it.
    fn at(&self, address: IpAddr) -> Result<Option<usize>, ()> {
        let endpoints = self.resolution.world.endpoints.iter().enumerate();
        let mut found = endpoints.filter(|(_, one)| !one.is_host()).filter(|(_, one)| {
            one.addresses.contains(&address) && one.node.as_deref().is_none_or(|on| on == "n1")
        });
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|(at, _)| at)),
            _ => Err(()),
        }
    }

    /// What both sides' cells say.
    fn asked(&self, packet: &Packet) -> [u64; 2] {
        let cells = self.cells.at(self.cells.epoch());
        let ports = match (packet.ports, packet.icmp) {
            (Some((from, to)), _) => u32::from(from) << 16 | u32::from(to),
            (None, Some((kind, code))) => u32::from(kind) << 8 | u32::from(code),
            (None, None) => 0,
        };
        let talk = Talk::plain(halves(packet.source), halves(packet.destination), ports);
        let family = if packet.source.is_ipv4() { 4 } else { 6 };
        ask(&cells, &talk, family, packet.protocol, false)
    }

    /// The name of what decided, with that of rules that log before it.
    fn cause(&self, decision: &Decision, logs: &Logs, direction: Direction) -> Option<Cause> {
        let decides = self.decides(decision, direction);
        let named = |(policy, rule): (usize, usize)| {
            let policy = &self.resolution.policies[policy].policy;
            (policy.id.clone(), direction, policy.rules(direction).unwrap()[rule].number)
        };
        match logs.is_empty() {
            true => decides,
            false => Some(Cause::Logged(logs.iter().map(named).collect(), decides.map(Box::new))),
        }
    }

    fn decides(&self, decision: &Decision, direction: Direction) -> Option<Cause> {
        Some(match decision.cause {
            decide::Cause::Rule { policy, rule } => {
                let policy = &self.resolution.policies[policy].policy;
                let number = policy.rules(direction).unwrap()[rule].number;
                Cause::Rule(policy.id.clone(), direction, number)
            }
            decide::Cause::EndOfTier(tier) => {
                Cause::EndOfTier(self.resolution.model.tiers[tier].name.clone(), direction)
            }
            decide::Cause::Profile => Cause::Profile(direction),
            _ => return None,
        })
    }

    fn agrees(&self, packet: &Packet) {
        let (Ok(from), Ok(to)) = (self.at(packet.source), self.at(packet.destination)) else {
            return;
        };
        // Itself, and its own node, are not asked of tables.
        if packet.source == packet.destination || packet.source == OWN.parse::<IpAddr>().unwrap() {
            return;
        }
        if from.is_some() && from == to {
            return;
        }
        let cells = self.asked(packet);
        let Trace { steps, judgement: judged } = self.resolution.trace(from, to, packet);
        let sides = [(judged.egress, Direction::Egress), (judged.ingress, Direction::Ingress)];
        for (cell, (decision, direction)) in cells.into_iter().zip(sides) {
            let Some(decision) = decision else {
                assert_eq!(cell, SILENT, "{direction:?} of nobody: {packet:?}");
                continue;
            };
            let allows = decision.verdict == Verdict::Allow;
            assert_eq!(
                thalweg_abi::policy::allows(cell),
                allows,
                "{direction:?} of {packet:?}: {decision:?}"
            );
            let cause = self.compiler.policy_cause(thalweg_abi::policy::cause(cell));
            let steps = steps.iter().filter(|(of, _)| *of == direction);
            let steps: Vec<Step> = steps.map(|(_, step)| *step).collect();
            let logs = self.resolution.logs(direction, &steps);
            assert_eq!(thalweg_abi::policy::logs(cell), !logs.is_empty(), "{packet:?}");
            if cell != SILENT {
                assert_eq!(cause, self.cause(&decision, &logs, direction).as_ref(), "{packet:?}");
            }
        }
    }
}

fn worlds() -> u64 {
    std::env::var("THALWEG_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

#[test]
fn tables_say_what_policies_say() {
    for seed in 0..worlds() {
        let mut dice = Dice::new(seed);
        let bench = Bench::new(&mut dice);
        for packet in (0..40).filter_map(|_| between(&mut dice, &bench)) {
            bench.agrees(&packet);
        }
    }
}

/// A packet between pods of a world, or others.
fn between(dice: &mut Dice, bench: &Bench) -> Option<Packet> {
    let endpoints = bench.resolution.world.endpoints.iter().filter(|one| !one.is_host());
    let pods: Vec<IpAddr> = endpoints.flat_map(|one| one.addresses.clone()).collect();
    let end = |dice: &mut Dice| match pods.is_empty() || dice.one_in(4) {
        true => address(dice),
        false => dice.of(&pods),
    };
    let (source, destination) = (end(dice), end(dice));
    (source.is_ipv4() == destination.is_ipv4()).then(|| packet(dice, source, destination))
}

/// What cells say in words: numbers of what decides depend on what was there before.
fn words(bench: &Bench, packet: &Packet) -> [(bool, bool, Option<Cause>); 2] {
    bench.asked(packet).map(|cell| {
        let cause = bench.compiler.policy_cause(thalweg_abi::policy::cause(cell)).cloned();
        (cell == SILENT, thalweg_abi::policy::allows(cell), cause)
    })
}

#[test]
fn after_any_history_tables_say_what_they_say_from_nothing() {
    let mut spoken = 0;
    for seed in 0..worlds() / 15 {
        let mut dice = Dice::new(seed ^ 0x4157);
        let (mut objects, mut cluster) = gather(&arrivals(&mut dice));
        let mut bench = Bench::of(objects.clone(), cluster.clone());
        for step in 0..16 {
            for _ in 0..1 + dice.below(3) {
                let all = arrivals(&mut Dice::new(dice.below(1 << 40) as u64));
                let one = dice.of(&all.iter().collect::<Vec<_>>());
                match dice.one_in(4) {
                    true => one.goes(&mut objects, &mut cluster),
                    false => one.comes(&mut objects, &mut cluster),
                }
            }
            // Now and then there is no policy at all.
            let known = match dice.one_in(12) {
                true => Objects { policies: Default::default(), ..objects.clone() },
                false => objects.clone(),
            };
            bench.follow(known.clone(), cluster.clone());
            let fresh = Bench::of(known, cluster.clone());
            for packet in (0..20).filter_map(|_| between(&mut dice, &fresh)).collect::<Vec<_>>() {
                bench.agrees(&packet);
                let [now, expected] = [&bench, &fresh].map(|bench| words(bench, &packet));
                assert_eq!(now, expected, "seed {seed}, step {step}: {packet:?}");
                spoken += usize::from(!now[0].0) + usize::from(!now[1].0);
            }
        }
    }
    assert!(spoken > 1_000, "{spoken}");
}

/// A set of many prefixes of all lengths, one within another: what is looked for by halves is found.
#[test]
fn addresses_of_nested_prefixes_are_told_apart() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let four = seed % 2 == 0;
        let nets: Vec<String> = (0..1 + dice.below(300)).map(|_| net(&mut dice, four)).collect();
        let except: Vec<String> = (0..dice.below(100)).map(|_| net(&mut dice, four)).collect();
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: some}}\nspec:\n  \
             types: [Ingress]\n  selector: all()\n  ingress:\n  - action: Allow\n    source: {{nets: [{}], \
             notNets: [{}]}}\n",
            quoted(&nets[..nets.len().min(250)]),
            quoted(&except),
        );
        let loaded = thalweg_config::parse(&[("a.yaml".into(), text)]);
        let error =
            |problem: &&thalweg_model::Problem| problem.severity == thalweg_model::Severity::Error;
        assert_eq!(loaded.problems.iter().find(error), None);
        let pod = if four { "192.0.2.77" } else { "2001:db8:ffff::77" };
        let pod: IpAddr = pod.parse().unwrap();
        let bench = Bench::of(loaded.policies, one_pod(pod));
        for _ in 0..400 {
            let near: Prefix = dice.of(&nets).parse().unwrap();
            let source = near_to(&mut dice, near);
            if source != pod {
                bench.agrees(&packet(&mut dice, source, pod));
            }
        }
    }
}

/// What blocks say at once ([`thalweg_abi::policy::root`]): one thing or several, and of whom; how often each was
/// met.
#[derive(Debug, Default)]
struct Blocks {
    whole: [u32; 2],
    but_for_some: [u32; 2],
    mixed: u32,
}

impl Blocks {
    /// Counts the block of an address.
    fn meet(&mut self, bench: &Bench, address: IpAddr) {
        let IpAddr::V4(address) = address else { return };
        let cells = bench.cells.at(bench.cells.epoch());
        let at = cells.settings().map_or(0, |row| row.policy);
        let table = cells.policy(at).map_or(0, |first| first[head::ROOT4] as u32);
        if at == 0 || table == 0 {
            return;
        }
        let block = address.to_bits() >> root::SHIFT;
        let line = cells.policy(table + block / 16).unwrap();
        let word = (line[block as usize / 2 % 8] >> (block % 2 * 32)) as u32;
        let told = usize::from(word & VALUE != 0);
        match word {
            0 => self.mixed += 1,
            _ if word & root::FINAL != 0 => self.whole[told] += 1,
            _ => self.but_for_some[told] += 1,
        }
    }
}

/// An address at an edge of a block of addresses, or of all of them.
fn edge(dice: &mut Dice) -> u32 {
    let blocks = [0, 1, 0x0a00, 0x0a01, 0x0a02, 0x0a03, 0x7fff, 0x8000, 0xfffe, 0xffff];
    let within = [0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff];
    dice.of(&blocks) << root::SHIFT | dice.of(&within)
}

/// A prefix that fills blocks, a part of one, or nothing but an address.
fn at_edge(dice: &mut Dice) -> Prefix {
    let len = dice.of(&[0, 1, 7, 8, 14, 15, 15, 16, 16, 16, 17, 17, 24, 31, 32, 32]);
    Prefix::containing(IpAddr::V4(edge(dice).into()), len)
}

/// Some rules about such prefixes.
fn rules_at_edges(dice: &mut Dice) -> (Objects, Vec<Prefix>) {
    let mut nets = Vec::new();
    let mut text = String::from(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: some}\nspec:\n  \
         types: [Ingress, Egress]\n  selector: all()\n",
    );
    for (direction, side) in [("ingress", "source"), ("egress", "destination")] {
        text += &format!("  {direction}:\n");
        for _ in 0..1 + dice.below(3) {
            let [some, except] = [1 + dice.below(4), dice.below(3)]
                .map(|count| (0..count).map(|_| at_edge(dice)).collect::<Vec<_>>());
            let action = dice.of(&["Allow", "Deny", "Log", "Allow"]);
            let words =
                |nets: &[Prefix]| quoted(&nets.iter().map(Prefix::to_string).collect::<Vec<_>>());
            text += &format!(
                "  - {{action: {action}, {side}: {{nets: [{}], notNets: [{}]}}}}\n",
                words(&some),
                words(&except)
            );
            nets.extend(some.into_iter().chain(except));
        }
    }
    let loaded = thalweg_config::parse(&[("a.yaml".into(), text)]);
    let error =
        |problem: &&thalweg_model::Problem| problem.severity == thalweg_model::Severity::Error;
    assert_eq!(loaded.problems.iter().find(error), None);
    (loaded.policies, nets)
}

/// Rules about nets that fill blocks, or begin or end in them, and pods in and beside these; also after others.
#[test]
fn addresses_at_edges_of_blocks_are_told_apart() {
    let mut blocks = Blocks::default();
    for seed in 0..worlds() / 15 {
        let mut dice = Dice::new(seed ^ 0xb10c);
        let mut bench: Option<Bench> = None;
        for _ in 0..3 {
            let (objects, nets) = rules_at_edges(&mut dice);
            let pods: Vec<IpAddr> =
                (0..1 + dice.below(4)).map(|_| IpAddr::V4(edge(&mut dice).into())).collect();
            let cluster = some_pods(&pods);
            match &mut bench {
                Some(bench) => bench.follow(objects, cluster),
                none => *none = Some(Bench::of(objects, cluster)),
            }
            let bench = bench.as_ref().unwrap();
            for _ in 0..150 {
                let other = match dice.below(6) {
                    0 => dice.of(&pods),
                    1 => IpAddr::V4(edge(&mut dice).into()),
                    2 => IpAddr::V4((dice.below(1 << 32) as u32).into()),
                    _ => {
                        let net = dice.of(&nets);
                        near_to(&mut dice, net)
                    }
                };
                let pod = dice.of(&pods);
                let ends = if dice.one_in(2) { (pod, other) } else { (other, pod) };
                blocks.meet(bench, other);
                bench.agrees(&packet(&mut dice, ends.0, ends.1));
            }
        }
    }
    let Blocks { whole, but_for_some, mixed } = blocks;
    let least = whole.into_iter().chain(but_for_some).chain([mixed]).min();
    assert!(least > Some(200), "{blocks:?}");
}

fn quoted(nets: &[String]) -> String {
    nets.iter().map(|net| format!("\"{net}\"")).collect::<Vec<_>>().join(", ")
}

/// A prefix of any length; few first octets, so that many lie within others.
fn net(dice: &mut Dice, four: bool) -> String {
    let mut octet = |end: usize| dice.below(end) as u8;
    let (address, len): (IpAddr, u8) = match four {
        true => {
            let address = [10 + octet(2), octet(4), octet(256), octet(256)];
            (address.into(), 1 + octet(32))
        }
        false => {
            let mut segments = [0x2001, 0xdb8, u16::from(octet(4)), 0, 0, 0, 0, 0];
            segments[3..].fill_with(|| u16::from(octet(256)) << 8 | u16::from(octet(256)));
            (segments.into(), 20 + octet(109))
        }
    };
    Prefix::containing(address, len).to_string()
}

/// The first or last address of a prefix, or one beside it, or any within.
fn near_to(dice: &mut Dice, prefix: Prefix) -> IpAddr {
    let within = dice.below(1 << 16) as u128;
    let step = |at: u128, free: u32, choice: usize| {
        let last = at | if free >= 128 { u128::MAX } else { (1 << free) - 1 };
        match choice {
            0 => at,
            1 => last,
            2 => at.wrapping_sub(1),
            3 => last.wrapping_add(1),
            _ => at | within & (last - at),
        }
    };
    let choice = dice.below(5);
    match prefix.address() {
        IpAddr::V4(at) => {
            let at = step(at.to_bits().into(), 32 - u32::from(prefix.len()), choice);
            IpAddr::V4((at as u32).into())
        }
        IpAddr::V6(at) => {
            IpAddr::V6(step(at.to_bits(), 128 - u32::from(prefix.len()), choice).into())
        }
    }
}

fn one_pod(address: IpAddr) -> Cluster {
    some_pods(&[address])
}

fn some_pods(addresses: &[IpAddr]) -> Cluster {
    let mut cluster = Cluster::default();
    for (number, address) in addresses.iter().enumerate() {
        let pod = Pod { addresses: vec![*address], ..Pod::default() };
        cluster.pods.insert(ObjectName::new("a", format!("p{number}")), pod);
    }
    cluster
}
