//! What hosts say at their links, as lines of the tables in force, against what their tables say by
//! themselves, over random worlds and histories.

#[path = "../../thalweg-policy/tests/policy/random.rs"]
#[expect(dead_code, reason = "the tests of the other crate use all of it, these a part")]
mod random;

use random::{Dice, address, arrivals_at_hosts, gather, packet};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_abi::policy::{
    LOCAL, Line, PAGE, WORDS, allows, cause, flag, fork, gate, goes_on, head, local, logs,
};
use thalweg_compile::{Cause, Compiler};
use thalweg_core::flow::Flows as _;
use thalweg_core::{Cells as _, Tables as _};
use thalweg_image::{Capacity, Memory, NoReaders, Plane as _, Writer, halves};
use thalweg_model::cluster::Cluster;
use thalweg_model::host::{Address, Link, Update};
use thalweg_model::intent::Limits;
use thalweg_model::policy::ToHost;
use thalweg_model::{Intent, ObjectName};
use thalweg_native::{CellsAt, MemoryCells};
use thalweg_policy::decide::{self, Decision};
use thalweg_policy::model::{Direction, Stage};
use thalweg_policy::resolve::ChainKind;
use thalweg_policy::table::Cell;
use thalweg_policy::{Objects, Packet, ThisHost, Verdict};
use thalweg_testkit::World as Journey;

/// Links of the host, each with its address.
const LINKS: [(&str, &str); 3] = [("eth0", "192.0.2.1"), ("eth1", "10.0.0.3"), ("eth2", "fd00::5")];

fn limits(policy_lines: u32) -> Limits {
    Limits { policy_lines, ..Journey::new(0).intent.router.limits }
}

/// A world in force, and the tables that it is laid out of.
struct Bench {
    compiler: Compiler,
    writer: Writer,
    cells: MemoryCells,
    reference: thalweg_policy::Compiler,
    settings: thalweg_model::PolicySettings,
    /// Cells that were reached past rules that log.
    logged: std::cell::Cell<usize>,
}

impl Bench {
    fn of(objects: &Objects, cluster: &Cluster) -> Self {
        Self::within(1 << 16, objects, cluster)
    }

    /// The same with room for so many lines.
    fn within(lines: u32, objects: &Objects, cluster: &Cluster) -> Self {
        let limits = limits(lines);
        let memory = Memory::heap(&Capacity::for_limits(&thalweg_compile::table_limits(&limits)));
        let writer = Writer::new(memory.clone(), Box::new(NoReaders));
        let mut compiler = Compiler::new(limits);
        for (index, (name, address)) in (1..).zip(LINKS) {
            compiler.update_host(Update::Link(link(index, name)));
            compiler.update_host(Update::Address(own(index, address)));
        }
        let cells = MemoryCells::new(memory);
        let (reference, settings, logged) = Default::default();
        let mut made = Self { compiler, writer, cells, reference, settings, logged };
        made.follow(objects, cluster);
        made
    }

    /// Brings another world into force.
    fn follow(&mut self, objects: &Objects, cluster: &Cluster) {
        let mut intent = Intent::default();
        intent.router.limits = self.compiler.limits().clone();
        intent.router.node = Some("n1".into());
        intent.router.unlisted_links = true;
        intent.cluster = cluster.clone();
        self.compiler.set_policies(objects.clone());
        self.compiler.set_intent(intent);
        self.apply();
        let addresses = LINKS.iter().map(|(_, own)| own.parse().unwrap()).collect();
        let host = ThisHost { node: Some("n1".into()), addresses };
        let nobody: BTreeSet<ObjectName> = BTreeSet::new();
        self.reference.update(objects, cluster, &nobody, &host);
        self.settings = objects.settings.clone();
    }

    fn apply(&mut self) {
        let applied = self.writer.apply(&self.compiler.plan()).unwrap();
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    }

    /// Tells of a change of the host, which is in force then.
    fn tell(&mut self, update: Update) {
        self.compiler.update_host(update);
        self.apply();
    }

    /// What the endpoint of a link says of a packet to a port of the host, and what decides.
    fn asks(&self, link: u32, forwarded: bool, port: u16) -> Option<(bool, Option<Cause>)> {
        let kind = ChainKind { forwarded, ..ChainKind::normal(Direction::Ingress) };
        let (source, destination) = ("10.9.9.9".parse().unwrap(), LINKS[0].1.parse().unwrap());
        let ports = Some((49_152, port));
        let packet = Packet { source, destination, protocol: 6, ports, icmp: None };
        let cell = self.cell(self.gate_of(link), kind, &packet)?;
        Some((allows(cell), self.compiler.policy_cause(cause(cell)).cloned()))
    }

    /// What is wrong with host endpoints.
    fn problems(&self) -> Vec<String> {
        let all = self.compiler.problems().into_iter().filter_map(|one| {
            let object = one.object.filter(|object| object.kind == "HostEndpoint")?;
            Some(format!("{}: {}", object.name, one.what))
        });
        all.collect()
    }

    fn cells(&self) -> CellsAt<'_> {
        self.cells.at(self.cells.epoch())
    }

    fn first(&self) -> Line {
        let at = self.cells().settings().unwrap().policy;
        *self.cells().policy(at).unwrap()
    }

    fn class(&self, address: IpAddr) -> u32 {
        let cells = self.cells();
        let family = if address.is_ipv4() { 4 } else { 6 };
        let value = cells.policy_value(halves(address), family);
        if value & LOCAL == 0 {
            return value;
        }
        let (number, each) = (value & (LOCAL - 1), WORDS / local::WORDS);
        let line = cells.policy(self.first()[head::LOCALS] as u32 + number / each).unwrap();
        line[(number % each * local::WORDS) as usize + local::CLASS] as u32
    }

    /// The cell of a gate about a packet; none where it says nothing.
    fn cell(&self, gate: u32, kind: ChainKind, packet: &Packet) -> Option<u64> {
        let cells = self.cells();
        let word = match (kind.stage, kind.forwarded) {
            (Stage::Untracked, _) => gate::UNTRACKED,
            (Stage::PreDnat, _) => gate::BEFORE,
            (Stage::Normal, false) => gate::LOCAL,
            (Stage::Normal, true) => gate::FORWARD,
        };
        let ends = (self.class(packet.source), self.class(packet.destination));
        let (shift, own, other) = match kind.direction {
            Direction::Ingress => (0, ends.1, ends.0),
            Direction::Egress => (32, ends.0, ends.1),
        };
        let fork = (cells.policy(gate).filter(|_| gate != 0)?[word] >> shift) as u32;
        let line = cells.policy(fork).filter(|_| fork != 0)?;
        let number = |first: u32, at: u32| {
            let line = cells.policy(first + at / 16).unwrap();
            (line[at as usize % 16 / 2] >> (at % 2 * 32)) as u32
        };
        let (pages, count) = (line[fork::PAGES] as u32, (line[fork::PAGES] >> 32) as u32);
        let page = if own / PAGE < count { number(pages, own / PAGE) } else { 0 };
        let set = if page == 0 { 0 } else { number(page, own % PAGE) };
        let set = if set == 0 { line[fork::OTHERS] as u32 } else { set };
        let ports = match (packet.ports, packet.icmp) {
            (Some((from, to)), _) => u32::from(from) << 16 | u32::from(to),
            (None, Some((kind, code))) => u32::from(kind) << 8 | u32::from(code),
            (None, None) => 0,
        };
        Some(cells.policy_cell(set, other, packet.protocol, ports))
    }

    fn gate_of(&self, link: u32) -> u32 {
        self.compiler.link(link).unwrap().row.map_or(0, |row| row.policy)
    }

    /// The gate of the endpoint for all interfaces.
    fn gate_of_all(&self) -> u32 {
        if self.compiler.policy_room().0 == 0 { 0 } else { self.first()[head::ALL] as u32 }
    }

    /// The name of what a cell says, as far as it has one.
    fn cause(&self, cell: &Cell, direction: Direction) -> Option<Cause> {
        let named = |(policy, rule): (usize, usize)| {
            let policy = &self.reference.resolution().policies[policy].policy;
            (policy.id.clone(), direction, policy.rules(direction).unwrap()[rule].number)
        };
        let decides = cell.decision.verdict != Verdict::Next;
        let decides = decides.then(|| self.decides(&cell.decision, direction));
        match cell.logs.is_empty() {
            true => decides,
            false => {
                let logs = cell.logs.iter().map(named).collect();
                Some(Cause::Logged(logs, decides.map(Box::new)))
            }
        }
    }

    fn decides(&self, decision: &Decision, direction: Direction) -> Cause {
        let of = self.reference.resolution();
        match decision.cause {
            decide::Cause::Rule { policy, rule } => {
                let policy = &of.policies[policy].policy;
                let number = policy.rules(direction).unwrap()[rule].number;
                Cause::Rule(policy.id.clone(), direction, number)
            }
            decide::Cause::EndOfTier(tier) => {
                Cause::EndOfTier(of.model.tiers[tier].name.clone(), direction)
            }
            decide::Cause::Profile => Cause::Profile(direction),
            decide::Cause::FailSafe => Cause::FailSafe(direction),
            _ => Cause::Other,
        }
    }

    /// Compares what all gates say of a packet; how many said anything.
    fn agrees(&self, packet: &Packet, context: &str) -> usize {
        let mut spoken = 0;
        let gates = (1..).zip(LINKS).map(|(index, (name, address))| {
            let addresses = [address.parse().unwrap()];
            (name, self.gate_of(index), self.reference.host_at(name, &addresses))
        });
        let all = ("*", self.gate_of_all(), self.reference.host_of_all());
        for link in (1..).zip(LINKS).map(|(index, _)| index) {
            let row = self.compiler.link(link).unwrap().row.unwrap();
            let line = self.cells().policy(row.policy).filter(|_| row.policy != 0);
            let untracked = line.is_some_and(|line| line[gate::UNTRACKED] as u32 != 0);
            let flagged = row.flags & thalweg_abi::link::flag::UNTRACKED != 0;
            assert_eq!(flagged, untracked, "{context}: link {link}");
        }
        for (name, gate, endpoint) in gates.chain([all]) {
            for kind in ChainKind::of_hosts() {
                let tables = self.reference.tables();
                let expected = endpoint.and_then(|endpoint| tables.ask(endpoint, kind, packet));
                let found = self.cell(gate, kind, packet);
                let context = || format!("{context}, {name}: {kind:?} of {packet:?}: {expected:?}");
                let Some(cell) = found else {
                    let passes = expected.is_none_or(|Cell { decision: one, logs, .. }| {
                        let silent = one.verdict == Verdict::Next
                            || one.verdict == Verdict::Allow
                                && !matches!(one.cause, decide::Cause::Rule { .. });
                        silent && logs.is_empty()
                    });
                    assert!(passes, "{}", context());
                    continue;
                };
                let expected = expected.unwrap_or_else(|| panic!("{}", context()));
                let verdict = expected.decision.verdict;
                assert_eq!(goes_on(cell), verdict == Verdict::Next, "{}", context());
                assert_eq!(allows(cell), verdict == Verdict::Allow, "{}", context());
                assert_eq!(logs(cell), !expected.logs.is_empty(), "{}", context());
                let told = self.compiler.policy_cause(cause(cell)).cloned();
                assert_eq!(told, self.cause(expected, kind.direction), "{}", context());
                spoken += 1;
                self.logged.set(self.logged.get() + usize::from(logs(cell)));
            }
        }
        if self.compiler.policy_room().0 > 0 {
            let bits = flag::TO_HOST_DROPS | flag::TO_HOST_ASKS;
            let expected = match self.settings.to_host {
                ToHost::Accept => 0,
                ToHost::Drop => flag::TO_HOST_DROPS,
                ToHost::Return => flag::TO_HOST_ASKS,
            };
            assert_eq!(self.first()[head::FLAGS] & bits, expected, "{context}");
            let drops = self.first()[head::TO_HOST];
            let told = self.compiler.policy_cause(cause(drops));
            let wanted = (expected == flag::TO_HOST_DROPS).then_some(&Cause::ToHost);
            assert_eq!((told, allows(drops)), (wanted, false), "{context}");
        }
        spoken
    }
}

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mac: thalweg_wire::Mac([2, 0, 0, 0, 0, index as u8]),
        mtu: 1500,
        up: true,
        medium: "ether".into(),
        ..Link::default()
    }
}

fn own(link: u32, address: &str) -> Address {
    let address: IpAddr = address.parse().unwrap();
    let len = if address.is_ipv4() { 32 } else { 128 };
    Address { link, address, len, peer: None, scope: "global".into() }
}

fn worlds() -> u64 {
    std::env::var("THALWEG_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

/// A packet to or from the host, or past it.
fn any(dice: &mut Dice) -> Option<Packet> {
    let end = |dice: &mut Dice| match dice.one_in(3) {
        true => dice.of(&LINKS).1.parse().unwrap(),
        false => address(dice),
    };
    let (source, destination) = (end(dice), end(dice));
    (source.is_ipv4() == destination.is_ipv4()).then(|| packet(dice, source, destination))
}

#[test]
fn gates_say_what_host_endpoints_say() {
    let (mut spoken, mut logged) = (0, 0);
    for seed in 0..worlds() / 2 {
        let mut dice = Dice::new(seed ^ 0x6a7e);
        let (objects, cluster) = gather(&arrivals_at_hosts(&mut dice));
        let bench = Bench::of(&objects, &cluster);
        for packet in (0..30).filter_map(|_| any(&mut dice)) {
            spoken += bench.agrees(&packet, &format!("seed {seed}"));
        }
        logged += bench.logged.get();
    }
    assert!(spoken > 5_000 && logged > 100, "{spoken}, {logged}");
}

#[test]
fn after_any_history_gates_say_what_host_endpoints_say_now() {
    for seed in 0..worlds() / 20 {
        let mut dice = Dice::new(seed ^ 0x4157);
        let (mut objects, mut cluster) = gather(&arrivals_at_hosts(&mut dice));
        let mut bench = Bench::of(&objects, &cluster);
        for step in 0..12 {
            for _ in 0..1 + dice.below(3) {
                let all = arrivals_at_hosts(&mut Dice::new(dice.below(1 << 40) as u64));
                let one = dice.of(&all.iter().collect::<Vec<_>>());
                match dice.one_in(4) {
                    true => one.goes(&mut objects, &mut cluster),
                    false => one.comes(&mut objects, &mut cluster),
                }
            }
            bench.follow(&objects, &cluster);
            for packet in (0..12).filter_map(|_| any(&mut dice)) {
                bench.agrees(&packet, &format!("seed {seed}, step {step}"));
            }
        }
        // What nobody has any more gave its room back.
        let fresh = Bench::of(&objects, &cluster).compiler.policy_room().0;
        let held = bench.compiler.policy_room().0;
        assert!(held <= fresh * 2 + 64, "seed {seed}: {held} lines, {fresh} from nothing");
    }
}

/// What text says.
fn said(text: &str) -> (Objects, Cluster) {
    let loaded = thalweg_config::parse(&[("lab.yaml".into(), text.into())]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    (loaded.policies, loaded.intent.cluster)
}

fn calico(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}, \
         labels: {{role: {name}}}}}\nspec: {{{spec}}}\n"
    )
}

fn endpoint(name: &str, spec: &str) -> String {
    calico("HostEndpoint", name, &format!("node: n1, {spec}"))
}

/// A policy that allows so many ports to whom it selects.
fn ports(name: &str, selector: &str, count: u16) -> String {
    let ports: Vec<String> = (1..=count).map(|at| (at * 2).to_string()).collect();
    // A rule has room for fifty.
    let rules = ports.chunks(50).map(|ports| {
        let ports = ports.join(", ");
        format!("{{action: Allow, protocol: TCP, destination: {{ports: [{ports}]}}}}")
    });
    let rules = rules.collect::<Vec<_>>().join(", ");
    let spec = format!("selector: {selector}, types: [Ingress], ingress: [{rules}]");
    calico("GlobalNetworkPolicy", name, &spec)
}

const POD: &str = "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: one\n  namespace: shop\n  \
    labels: {app: one}\n  annotations: {thalweg.io/interface: pod0}\n\
    status: {podIPs: [{ip: 10.1.0.1}]}\n";

#[test]
fn a_host_without_room_keeps_its_fail_safe_ports_and_nothing_else() {
    let world = |of_pod: u16, of_host: u16, more: &str| {
        let (pod, host) = (ports("pod", "has(app)", of_pod), ports("host", "role == 'a'", of_host));
        let forwarded = host.replace("types:", &format!("{more}types:"));
        said(&(POD.to_owned() + &endpoint("a", "interfaceName: eth0") + &pod + &forwarded))
    };
    let open = |bench: &Bench, port| bench.asks(1, false, port).map(|(allows, _)| allows);
    // Pods go first.
    let (objects, cluster) = world(4_000, 3, "");
    let mut bench = Bench::within(512, &objects, &cluster);
    let closed: Vec<_> = bench.compiler.policy_closed().map(ToString::to_string).collect();
    assert_eq!((closed, bench.problems()), (vec!["shop/one".into()], vec![]));
    assert_eq!([2, 3, 22].map(|port| open(&bench, port)), [true, false, true].map(Some));
    // Then the host, at that link.
    let (objects, cluster) = world(3, 4_000, "");
    bench.follow(&objects, &cluster);
    let problems = bench.problems();
    assert!(problems[0].starts_with("a: there is no room") && problems.len() == 1, "{problems:?}");
    assert_eq!(bench.compiler.policy_closed_hosts().collect::<Vec<_>>(), ["a"]);
    let safe = Some(Cause::FailSafe(Direction::Ingress));
    for (port, expected) in [(22, (true, safe)), (2, (false, Some(Cause::Closed)))] {
        assert_eq!(bench.asks(1, false, port), Some(expected), "{port}");
    }
    assert!(bench.asks(1, true, 2).is_none() && bench.gate_of(2) == 0);
    // What is passed on is closed where policies are about it.
    let (objects, cluster) = world(3, 4_000, "applyOnForward: true, ");
    bench.follow(&objects, &cluster);
    for port in [2, 22] {
        assert_eq!(bench.asks(1, true, port), Some((false, Some(Cause::Closed))), "{port}");
    }
    assert!(open(&bench, 22) == Some(true) && open(&bench, 2) == Some(false));
    // So are early policies, which might have denied.
    let (objects, cluster) = world(3, 4_000, "doNotTrack: true, applyOnForward: true, ");
    bench.follow(&objects, &cluster);
    assert_eq!(bench.asks(1, true, 2), Some((false, Some(Cause::Closed))));
    // With fewer rules it has room again.
    let (objects, cluster) = world(3, 3, "");
    bench.follow(&objects, &cluster);
    assert!(bench.problems().is_empty() && bench.compiler.policy_closed_hosts().next().is_none());
    assert_eq!([2, 3, 22].map(|port| open(&bench, port)), [true, false, true].map(Some));
}

#[test]
fn without_room_for_addresses_what_was_in_force_stays() {
    let (objects, cluster) = said(&endpoint("a", "interfaceName: eth0"));
    let mut bench = Bench::within(6, &objects, &cluster);
    let stuck = |bench: &Bench| {
        bench.compiler.problems().iter().any(|one| one.what.contains("no room even for"))
    };
    // Of lines that are not there nobody is told.
    assert!(stuck(&bench) && bench.gate_of(1) == 0 && bench.compiler.policy_room().0 == 0);
    bench.follow(&Objects::default(), &Cluster::default());
    assert!(!stuck(&bench));
}

#[test]
fn gates_follow_links_and_their_addresses() {
    let text = endpoint("by-name", "interfaceName: eth9")
        + &endpoint("by-address", "expectedIPs: [192.0.2.77]");
    let (objects, cluster) = said(&text);
    let mut bench = Bench::of(&objects, &cluster);
    let gates = |bench: &Bench| {
        [1, 2, 3, 9].map(|link| {
            bench.compiler.link(link).and_then(|link| link.row).is_some_and(|row| row.policy != 0)
        })
    };
    assert_eq!(gates(&bench), [false; 4]);
    bench.tell(Update::Link(link(9, "eth9")));
    assert_eq!(gates(&bench), [false, false, false, true]);
    bench.tell(Update::Address(own(2, "192.0.2.77")));
    assert_eq!(gates(&bench), [false, true, false, true]);
    let endpoints = [1, 2, 9].map(|link| bench.compiler.host_endpoint_at(link));
    assert_eq!(endpoints, [None, Some("by-address"), Some("by-name")]);
    bench.tell(Update::Link(link(9, "eth8")));
    assert_eq!(gates(&bench), [false, true, false, false]);
    bench.tell(Update::AddressGone(2, "192.0.2.77".parse().unwrap()));
    assert_eq!(gates(&bench), [false; 4]);
    assert!(bench.problems().len() == 2);
    bench.tell(Update::Link(link(3, "eth9")));
    assert_eq!(gates(&bench), [false, false, true, false]);
    // Without endpoints nobody is asked.
    bench.follow(&Objects::default(), &Cluster::default());
    assert_eq!((gates(&bench), bench.compiler.policy_room().0), ([false; 4], 0));
}

#[test]
fn endpoints_that_stand_for_nothing_are_told() {
    let text = endpoint("a", "interfaceName: eth0")
        + &endpoint("b", "interfaceName: eth0")
        + &endpoint("c", "interfaceName: eth7")
        + &endpoint("d", "interfaceName: lo")
        + &endpoint("e", "expectedIPs: [192.0.2.99]")
        + &endpoint("f", "interfaceName: '*'")
        + &endpoint("g", "interfaceName: pod0")
        + &endpoint("h", "interfaceName: eth7").replace("n1", "n2");
    let (objects, cluster) = said(&(text + POD));
    let mut bench = Bench::of(&objects, &cluster);
    bench.tell(Update::Link(Link { medium: "loopback".into(), ..link(10, "lo") }));
    bench.tell(Update::Link(link(11, "pod0")));
    let none = "it stands for no link of this host";
    assert_eq!(
        bench.problems(),
        [
            format!("b: {none}: HostEndpoint/a stands for eth0"),
            format!("c: {none}: there is no interface eth7 (yet)"),
            format!("d: {none}: lo is not routed by Thalweg (loopback), and everything passes"),
            format!(
                "e: {none}: none that is routed here has one of its addresses, or others stand for them"
            ),
            format!("g: {none}: pod0 leads to a workload"),
        ]
    );
}

#[test]
fn the_passage_and_links_of_workloads_have_no_gate() {
    let (objects, cluster) = said(&(POD.to_owned() + &endpoint("all", "interfaceName: '*'")));
    let mut bench = Bench::of(&objects, &cluster);
    bench.tell(Update::Link(link(11, "pod0")));
    let row = |bench: &Bench, link| bench.compiler.link(link).unwrap().row.unwrap();
    assert!(row(&bench, 11).flags & thalweg_abi::link::flag::WORKLOAD != 0);
    let gate = bench.gate_of_all();
    assert!(gate != 0 && [1, 2, 3].iter().all(|link| bench.gate_of(*link) == gate));
    assert_ne!(row(&bench, 11).policy, gate);
}
