//! What is resolved against what objects say literally.

use crate::random::{Arrival, Dice, address, arrivals, gather, packet, served_at_ports};
use std::net::IpAddr;
use thalweg_model::Origin;
use thalweg_model::cluster::ObjectName;
use thalweg_oracle::policy::{Answer, Policies, Question, Why};
use thalweg_policy::decide::{Cause, Decision, Logs, Step, Trace, Verdict};
use thalweg_policy::model::Direction;
use thalweg_policy::object::PolicyId;
use thalweg_policy::resolve::ChainKind;
use thalweg_policy::table::Tables;
use thalweg_policy::world::{Endpoint, EndpointName};
use thalweg_policy::{Model, Packet, Resolution, View, World};

/// The pods at both ends, where there are any.
type Ends = [Option<ObjectName>; 2];

/// Packets asked of each world.
const PACKETS: usize = 24;

pub fn worlds() -> u64 {
    std::env::var("THALWEG_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

pub fn resolve(arrivals: &[Arrival]) -> Resolution {
    let (objects, cluster) = gather(arrivals);
    let world = World::new(&objects, &cluster, |_| Origin::default());
    Resolution::new(world, Model::new(&objects, View::Enforced))
}

/// A decision in the words of the oracle.
pub fn answer(resolution: &Resolution, decision: Decision, direction: Direction) -> Answer {
    let why = match decision.cause {
        Cause::Rule { policy, rule } => {
            let resolved = &resolution.policies[policy].policy;
            let rules = resolved.rules(direction).unwrap();
            Why::Rule(resolved.id.clone(), rules[rule].number)
        }
        Cause::EndOfTier(tier) => Why::EndOfTier(resolution.model.tiers[tier].name.clone()),
        Cause::Profile => Why::Nobody,
        Cause::Itself => Why::Itself,
        Cause::OwnNode => Why::OwnNode,
        Cause::NoPolicy => Why::Nobody,
        Cause::FailSafe => Why::FailSafe,
        Cause::ToHost => Why::ToHost,
    };
    Answer { allowed: decision.verdict == Verdict::Allow, why }
}

/// Rules that log by their names, as the oracle has them.
pub fn logs(resolution: &Resolution, logs: &Logs, direction: Direction) -> Vec<(PolicyId, usize)> {
    let name = |(policy, rule): (usize, usize)| {
        let policy = &resolution.policies[policy].policy;
        (policy.id.clone(), policy.rules(direction).unwrap()[rule].number)
    };
    logs.iter().map(name).collect()
}

/// An end: one of the pods with an address of it, or an address that is no pod's.
fn end(dice: &mut Dice, resolution: &Resolution) -> (Option<ObjectName>, IpAddr) {
    let pods: Vec<_> = resolution.world.endpoints.iter().filter(|one| !one.is_host()).collect();
    if !pods.is_empty() && !dice.one_in(4) {
        let pod = dice.of(&pods);
        let EndpointName::Pod(name) = &pod.name else { unreachable!() };
        if !pod.addresses.is_empty() {
            return (Some(name.clone()), dice.of(&pod.addresses));
        }
    }
    (None, address(dice))
}

/// A packet between two ends of a world, which are of one family; one of some goes to an endpoint that serves.
fn between(dice: &mut Dice, resolution: &Resolution) -> Option<(Ends, Packet)> {
    let (from, source) = end(dice, resolution);
    let (to, destination) = end(dice, resolution);
    let mut ends = [from, to];
    let mut packet = packet(dice, source, destination);
    let served = served_at_ports(&resolution.world);
    if !served.is_empty() && dice.one_in(3) {
        let (address, protocol, port) = dice.of(&served);
        let has = |one: &&Endpoint| !one.is_host() && one.addresses.contains(&address);
        let pod = resolution.world.endpoints.iter().find(has).map(|one| one.name.clone());
        ends[1] = match pod {
            Some(EndpointName::Pod(name)) => Some(name),
            _ => None,
        };
        let ports = Some((packet.ports.map_or(9, |(source, _)| source), port));
        packet = Packet { source, destination: address, protocol, ports, icmp: None };
    }
    (packet.source.is_ipv4() == packet.destination.is_ipv4()).then_some((ends, packet))
}

/// How much of something was seen.
#[derive(Default)]
pub struct Counts {
    asked: usize,
    denied: usize,
    ruled: usize,
    logged: usize,
}

/// Holds one world against the oracle.
pub fn pods(dice: &mut Dice, counts: &mut Counts) {
    let all = arrivals(dice);
    let (objects, cluster) = gather(&all);
    let resolution = resolve(&all);
    let oracle = Policies::new(&objects, &cluster);
    for _ in 0..PACKETS {
        let Some(([from, to], packet)) = between(dice, &resolution) else { continue };
        let Packet { source, destination, protocol, ports, icmp } = packet;
        let question = Question { source, destination, protocol, ports, icmp };
        let number =
            |name: &Option<ObjectName>| name.as_ref().and_then(|n| resolution.world.pod(n));
        let Trace { steps, judgement: judged } =
            resolution.trace(number(&from), number(&to), &packet);
        let mut logged = Vec::new();
        for direction in [Direction::Egress, Direction::Ingress] {
            let steps = steps.iter().filter(|(of, _)| *of == direction);
            let steps: Vec<Step> = steps.map(|(_, step)| *step).collect();
            logged.extend(logs(&resolution, &resolution.logs(direction, &steps), direction));
        }
        let found = (
            judged.egress.map(|one| answer(&resolution, one, Direction::Egress)),
            judged.ingress.map(|one| answer(&resolution, one, Direction::Ingress)),
        );
        let expected = oracle.ask(from.as_ref(), to.as_ref(), &question);
        assert_eq!(
            found, expected,
            "{packet:?} from {from:?} to {to:?}\n{objects:#?}\n{resolution}"
        );
        assert_eq!(logged, oracle.take_logs(), "{packet:?} from {from:?} to {to:?}\n{resolution}");
        counts.asked += 1;
        counts.logged += usize::from(!logged.is_empty());
        counts.denied += usize::from(!judged.is_allowed());
        let is_rule =
            |one: &Option<Decision>| one.is_some_and(|one| matches!(one.cause, Cause::Rule { .. }));
        counts.ruled += usize::from(is_rule(&judged.egress) || is_rule(&judged.ingress));
    }
}

#[test]
fn decides_as_the_objects_say() {
    let mut counts = Counts::default();
    each_world(0, |dice| pods(dice, &mut counts));
    // Worlds in which nothing happens prove nothing.
    let Counts { asked, denied, ruled, logged } = counts;
    assert!(denied * 6 > asked && ruled * 14 > asked, "{denied} denied, {ruled} ruled of {asked}");
    assert!(logged * 500 > asked, "{logged} logged of {asked}");
}

/// Makes worlds from seeds; the one that breaks is told.
pub fn each_world(salt: u64, mut holds: impl FnMut(&mut Dice)) {
    for seed in 0..worlds() {
        let world = || holds(&mut Dice::new(seed ^ salt));
        if let Err(fault) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(world)) {
            eprintln!("seed {seed} ^ {salt:#x}");
            std::panic::resume_unwind(fault);
        }
    }
}

/// Holds the tables of one world against what they are made of.
pub fn tables(dice: &mut Dice) {
    let resolution = resolve(&arrivals(dice));
    let tables = Tables::new(&resolution, |_| true);
    for _ in 0..PACKETS {
        let Some(([from, to], packet)) = between(dice, &resolution) else { continue };
        for (pod, direction) in [(&from, Direction::Egress), (&to, Direction::Ingress)] {
            let Some(at) = pod.as_ref().and_then(|name| resolution.world.pod(name)) else {
                continue;
            };
            let chain = resolution.chain_at(at, ChainKind::normal(direction)).unwrap();
            let mut steps = Vec::new();
            let expected = resolution.decide(chain, &packet, &mut |step| steps.push(step));
            let expected = (expected, resolution.logs(direction, &steps));
            let found = tables.cell(at, direction, &packet);
            let found = found.map(|cell| (cell.decision, cell.logs.clone()));
            assert_eq!(found, Some(expected), "{packet:?} {direction:?} of {pod:?}\n{resolution}");
        }
    }
}

#[test]
fn tables_decide_as_what_they_are_made_of() {
    each_world(0x7ab1e, tables);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    for seed in 0..worlds() / 10 {
        let mut dice = Dice::new(seed);
        let mut all = arrivals(&mut dice);
        let text = resolve(&all).to_string();
        for at in (1..all.len()).rev() {
            all.swap(at, dice.below(at + 1));
        }
        assert_eq!(resolve(&all).to_string(), text, "seed {seed}");
    }
}
