//! First packets beside random policies, in a straight line and through the full pipeline: the same frame, the same
//! verdict, the same words in the flow table, and the same counts of rules.

#[path = "../../thalweg-policy/tests/policy/random.rs"]
#[expect(dead_code, reason = "the tests of the other crate use all of it, these a part")]
mod random;

use random::{Dice, arrivals, arrivals_at_hosts, gather};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;
use thalweg_abi::{TableId, control};
use thalweg_compile::{Compiler, table_limits};
use thalweg_core::flow::{FlowDirect, FlowStages as _, STRAIGHT, first, pipeline};
use thalweg_core::{Arrival, Outcome, Packet, Reason, Tables as _, Verdict};
use thalweg_image::{Capacity, Memory, NoReaders, Plane as _, Writer};
use thalweg_model::ObjectName;
use thalweg_model::cluster::{Cluster, Pod};
use thalweg_model::host::Update;
use thalweg_native::{MemoryCells, VecFrame};
use thalweg_policy::Objects;
use thalweg_testkit::World;
use thalweg_wire::{Mac, checksum};

/// Addresses of pods and others end in a number below this ([`random::address`]).
const ADDRESSES: usize = 12;
/// Numbers of what decides that are compared: more than any of these worlds has.
const CAUSES: u32 = 3_000;
/// The link address of pods and others.
const FAR: [u8; 6] = [2, 0, 0, 0, 0xff, 1];

/// Tables of a world, and what fills them.
struct Node {
    compiler: Compiler,
    writer: Writer,
    cells: MemoryCells,
}

impl Node {
    fn new(world: &World, updates: &[Update]) -> Self {
        let limits = world.intent.router.limits.clone();
        let memory = Memory::heap(&Capacity::for_limits(&table_limits(&limits)));
        let writer = Writer::new(memory.clone(), Box::new(NoReaders));
        let mut compiler = Compiler::new(limits);
        updates.iter().for_each(|update| compiler.update_host(update.clone()));
        Self { compiler, writer, cells: MemoryCells::new(memory) }
    }

    fn follow(&mut self, world: &World, objects: &Objects) {
        self.compiler.set_policies(objects.clone());
        self.compiler.set_intent(world.intent.clone());
        let applied = self.writer.apply(&self.compiler.plan()).unwrap();
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    }

    fn word(&self, table: TableId, at: usize) -> u64 {
        self.cells.memory().words(table)[at].load(Relaxed)
    }
}

/// The same world twice.
struct Both {
    world: World,
    nodes: [Node; 2],
    services: Cluster,
    /// Links and addresses of workloads.
    pods: Vec<(u32, Vec<IpAddr>)>,
    /// Packets that took the straight line.
    straight: u32,
}

impl Both {
    /// A node with an uplink that everybody is behind who is no pod here, and services of both families.
    fn new(dice: &mut Dice) -> Self {
        let mut world = World::new(0);
        let mut lines = vec!["link eth0 10.0.0.254/24 192.0.2.254/24 fd00::fe/64".to_owned()];
        for last in 0..ADDRESSES {
            for net in ["10.0.0.", "192.0.2.", "fd00::"] {
                let mac = Mac(FAR);
                lines.push(format!("neigh {net}{last} lladdr {mac} dev eth0"));
            }
        }
        for number in 0..24 {
            lines.push(format!("link veth{number} 169.254.1.1/32"));
        }
        let mut backends = |net: &str, from: usize| {
            let some = (0..3).map(|_| format!("{net}{}:{}", from + dice.below(8), dice.below(7)));
            some.collect::<Vec<_>>().join(" ")
        };
        lines.push("service one 10.96.0.1:3/tcp".to_owned());
        lines.push(format!("endpoints one {}", backends("10.0.0.", 1)));
        lines.push("service two 10.96.0.2:4/udp".to_owned());
        lines.push(format!("endpoints two {}", backends("10.0.0.", 2)));
        let mut updates = Vec::new();
        for line in lines {
            updates.extend(world.change(&line).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
        // What makes them a workload's is a pod.
        world.intent.links.retain(|_, link| link.interfaces.iter().any(|name| name == "eth0"));
        world.intent.router.node = Some("n1".into());
        let nodes = [0, 1].map(|_| Node::new(&world, &updates));
        let services = world.intent.cluster.clone();
        Self { world, nodes, services, pods: Vec::new(), straight: 0 }
    }

    /// Other policies, other pods.
    fn follow(&mut self, dice: &mut Dice) {
        let all = if dice.one_in(3) { arrivals_at_hosts(dice) } else { arrivals(dice) };
        let (objects, mut cluster) = gather(&all);
        let mut pods: Vec<(ObjectName, Pod)> =
            cluster.pods.iter().map(|(name, pod)| (name.clone(), pod.clone())).collect();
        self.pods.clear();
        for (number, (_, pod)) in pods.iter_mut().enumerate().take(24) {
            if pod.host_network || pod.node.as_deref().is_some_and(|node| node != "n1") {
                continue;
            }
            let link = format!("veth{number}");
            (pod.interface, pod.mac) = (Some(link.clone()), Some(Mac(FAR)));
            let index = self.world.index(&link).unwrap();
            self.pods.push((index, pod.addresses.clone()));
        }
        for (name, pod) in pods {
            cluster.pods.insert(name, pod);
        }
        for (name, service) in self.services.services.iter() {
            cluster.services.insert(name.clone(), service.clone());
        }
        for (name, slice) in self.services.slices.iter() {
            cluster.slices.insert(name.clone(), slice.clone());
        }
        self.world.intent.cluster = cluster;
        self.put(&objects);
    }

    /// Brings the world into force on both.
    fn put(&mut self, objects: &Objects) {
        for node in &mut self.nodes {
            node.follow(&self.world, objects);
        }
        // Each writer has an image number of its own, which stamps tell.
        let [one, other] = [0, 1].map(|at| self.nodes[at].cells.memory().words(TableId::Control));
        let image = control::IMAGE as usize;
        other[image].store(one[image].load(Relaxed), Relaxed);
    }

    /// A frame through both.
    fn run(&mut self, bytes: &[u8], device: u32) -> Outcome {
        let [one, other] = &self.nodes;
        let arrival = Arrival { device, epoch: one.cells.epoch() };
        assert_eq!(arrival.epoch, other.cells.epoch());
        let (mut short, mut long) = (VecFrame::new(bytes), VecFrame::new(bytes));
        let straight = in_a_line(&mut short, &one.cells, arrival);
        self.straight += u32::from(straight.1);
        let packet = &mut Packet::new(arrival, 0);
        let full = pipeline(&mut FlowDirect::new(&mut long, &other.cells), packet, arrival);
        let told = |outcome: &Outcome| match outcome.verdict {
            // Of a known flow the straight line says so.
            verdict if verdict == Verdict::forward(Reason::Flow) => Verdict::forward(Reason::Route),
            verdict => verdict,
        };
        let outcome = straight.0;
        assert_eq!(told(&outcome), told(&full), "frame {bytes:02x?} by {device}");
        assert_eq!(outcome.device & !STRAIGHT, full.device & !STRAIGHT, "frame {bytes:02x?}");
        assert_eq!(short.into_bytes(), long.into_bytes(), "frame {bytes:02x?} by {device}");
        self.compare(bytes);
        outcome
    }

    fn compare(&self, bytes: &[u8]) {
        let [one, other] = &self.nodes;
        for table in [TableId::FlowSlots, TableId::Flows] {
            for at in 0..one.cells.memory().words(table).len() {
                let words = [one.word(table, at), other.word(table, at)];
                assert_eq!(words[0], words[1], "word {at} of {} {bytes:02x?}", table.name());
            }
        }
        for cause in 0..CAUSES {
            let hits = [one.cells.hits(cause), other.cells.hits(cause)];
            assert_eq!(hits[0], hits[1], "hits of {cause} after {bytes:02x?}");
        }
        let told = [one, other].map(|node| format!("{:?}", node.cells.take_told()));
        assert_eq!(told[0], told[1], "what logs told of {bytes:02x?}");
    }
}

/// What [`thalweg_core::flow::process`] does, and whether it was the straight line for first packets.
fn in_a_line(work: &mut VecFrame, cells: &MemoryCells, arrival: Arrival) -> (Outcome, bool) {
    let packet = &mut Packet::new(arrival, 0);
    let mut stages = FlowDirect::new(work, cells);
    let known = stages.known(arrival);
    if known.device != 0 {
        return (known, false);
    }
    let begins = known.verdict == Verdict::pass(Reason::NoFlow);
    if begins && stages.serve(packet, arrival) {
        let way = stages.way(packet);
        let passes = way != 0 && (way & first::ASKS == 0 || stages.permits(packet));
        if passes && stages.begin(packet, way as u32) {
            return (stages.depart(packet, way as u32), true);
        }
    }
    (pipeline(&mut stages, packet, arrival), false)
}

/// A frame between two addresses of one family; none between others.
fn frame(dice: &mut Dice, to: [u8; 6], ends: [IpAddr; 2]) -> Option<Vec<u8>> {
    let protocol = dice.of(&[6u8, 6, 6, 6, 17, 17, 1, 132]);
    let ports = [dice.below(7) as u8, dice.below(7) as u8];
    let flags = dice.of(&[2u8, 2, 2, 2, 0xc2, 0x10, 0x12, 0x11, 4]);
    let mut l4 = vec![0, ports[0], 0, ports[1]];
    match protocol {
        6 => l4.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0x12, 0x34, 0, 0]),
        17 => l4.extend([0, 8, 0, 0]),
        _ => l4.extend([0; 8]),
    }
    let mut frame = to.to_vec();
    frame.extend(FAR);
    match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            frame.extend([8, 0]);
            frame.extend(header4(l4.len() as u16, protocol, source, destination));
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            frame.extend([0x86, 0xdd]);
            frame.extend(header6(l4.len() as u16, protocol, source, destination));
        }
        _ => return None,
    }
    frame.extend(l4);
    Some(frame)
}

fn header4(len: u16, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((20 + len).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    ip.extend(source.octets());
    ip.extend(destination.octets());
    let sum = !checksum::fold(checksum::sum(&ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

fn header6(len: u16, protocol: u8, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend(len.to_be_bytes());
    ip.extend([protocol, 64]);
    ip.extend(source.octets());
    ip.extend(destination.octets());
    ip
}

/// A frame of somebody in the world for somebody, and the link that it comes by.
fn any(dice: &mut Dice, both: &Both) -> Option<(Vec<u8>, u32)> {
    let uplink = both.world.index("eth0").unwrap();
    let mut ends = [0, 1].map(|_| random::address(dice));
    let mut link = uplink;
    if !both.pods.is_empty() && !dice.one_in(3) {
        let (own, addresses) = dice.of(&both.pods);
        link = own;
        if !addresses.is_empty() && !dice.one_in(12) {
            ends[0] = dice.of(&addresses);
        }
    }
    let pods: Vec<IpAddr> = both.pods.iter().flat_map(|(_, all)| all.clone()).collect();
    match dice.below(4) {
        0 => ends[1] = dice.of(&["10.96.0.1", "10.96.0.2"]).parse().unwrap(),
        1 | 2 if !pods.is_empty() => ends[1] = dice.of(&pods),
        _ => {}
    }
    let mac = both.world.host.links[&link].mac.0;
    frame(dice, mac, ends).map(|frame| (frame, link))
}

fn worlds() -> u64 {
    let text = std::env::var("THALWEG_WORLDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn both_ways_agree_beside_random_policies() {
    let (mut straight, mut forwarded, mut denied) = (0, 0, 0);
    for seed in 0..worlds() {
        let mut dice = Dice::new(seed);
        let mut both = Both::new(&mut dice);
        for _ in 0..3 {
            both.follow(&mut dice);
            for _ in 0..60 {
                let Some((bytes, link)) = any(&mut dice, &both) else { continue };
                let outcome = both.run(&bytes, link);
                forwarded += u32::from(outcome.device != 0);
                denied += u32::from(outcome.verdict == Verdict::drop(Reason::Policy));
            }
        }
        straight += both.straight;
    }
    println!("{straight} in a straight line of {forwarded} forwarded, {denied} denied");
    assert!(u64::from(straight) > worlds(), "{straight} took the straight line");
    assert!(u64::from(denied) > worlds(), "{denied} were denied");
}

/// What a policy for all pods of namespace `default` says, as a line of a journey.
const POLICY: &str = "object all {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, \
    metadata: {name: all, namespace: default}, spec: {types: [Ingress], ingress: [RULES]}}";

/// What is allowed takes the straight line; whatever else a policy or a gate has a say in does not.
#[test]
fn the_straight_line_is_taken_where_policies_say_nothing_but_yes() {
    const HOST: &str = "object host {apiVersion: projectcalico.org/v3, kind: HostEndpoint, \
        metadata: {name: h, labels: {role: edge}}, spec: {node: n1, interfaceName: eth0}}";
    const EDGE: &str = "object edge {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, \
        metadata: {name: edge}, spec: {selector: \"role == 'edge'\", applyOnForward: true, \
        types: [Ingress], ingress: [{action: Allow}]}}";
    let from_pod = ["10.0.0.4", "10.0.0.3"];
    let from_outside = ["10.0.0.9", "10.0.0.3"];
    let itself = ["10.0.0.3", "10.0.0.3"];
    for (rules, more, ends, link, takes) in [
        ("{action: Allow}", &[][..], from_outside, "eth0", true),
        ("{action: Allow}", &[][..], from_pod, "veth1", true),
        ("{action: Allow}", &[], itself, "veth0", false),
        ("{action: Allow}", &[HOST, EDGE], from_outside, "eth0", false),
        ("{action: Allow}", &[HOST, EDGE], from_pod, "veth1", true),
        ("{action: Deny}", &[][..], from_outside, "eth0", false),
        ("{action: Log}, {action: Allow}", &[][..], from_outside, "eth0", false),
        ("{action: Allow}", &[], ["10.0.0.9", "10.0.0.8"], "eth0", false),
        ("{action: Allow}", &[], ["10.0.0.3", "10.0.0.8"], "veth0", true),
    ] {
        let mut both = Both::new(&mut Dice::new(1));
        let rules = POLICY.replace("RULES", rules);
        let pods = ["pod a 10.0.0.3 dev veth0", "pod b 10.0.0.4 dev veth1"];
        let neighbors = ["neigh 10.0.0.3 lladdr 02:00:00:00:ff:01 dev veth0"];
        let node = "node n1 10.0.0.254 10.0.0.0/24 own";
        let lines = pods.iter().chain(&neighbors).chain(more).copied().chain([&rules[..], node]);
        for line in lines {
            for update in both.world.change(line).unwrap() {
                for node in &mut both.nodes {
                    node.compiler.update_host(update.clone());
                }
            }
        }
        let objects = both.world.policies().unwrap();
        both.put(&objects);
        let link = both.world.index(link).unwrap();
        let mac = both.world.host.links[&link].mac.0;
        let ends = ends.map(|end| end.parse().unwrap());
        // The first of these dice that make a SYN.
        let syn = |bytes: &Vec<u8>| bytes[23] == 6 && bytes[47] == 2;
        let bytes = (0..).find_map(|seed| frame(&mut Dice::new(seed), mac, ends).filter(syn));
        both.run(&bytes.unwrap(), link);
        assert_eq!(both.straight == 1, takes, "{ends:?} beside {rules} {more:?}");
    }
}
