//! `thalweg policy explain`: tiers, policies and rules up to the one that decides.

use super::show;
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_agent::offline::policy::Policies;
use thalweg_model::cluster::{ObjectName, ServicePort};
use thalweg_policy::decide::host::{Gate, Way};
use thalweg_policy::decide::{Cause, Judgement, Miss, Step, Trace};
use thalweg_policy::model::{Direction, Stage};
use thalweg_policy::object::EndAction;
use thalweg_policy::object::calico::Action;
use thalweg_policy::world::{Endpoint, EndpointName};
use thalweg_policy::{Packet, Resolution, Verdict, View, words};

/// The port of clients where none is given.
const CLIENT_PORT: u16 = 49_152;

/// What is asked.
pub(super) struct Question<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub protocol: &'a str,
    pub port: Option<u16>,
    pub source_port: Option<u16>,
}

/// One end: an endpoint with addresses, or an address.
struct End {
    endpoint: Option<usize>,
    addresses: Vec<IpAddr>,
}

/// Explains what becomes of a packet.
pub(super) fn explain(
    read: &Policies,
    question: &Question<'_>,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let resolution = read.resolve(View::Enforced);
    let [from, to] = [question.from, question.to].map(|who| end(read, &resolution, who));
    let (from, to) = (from?, to?);
    let packet = packet(&from, &to, question)?;
    if let Some(service) = served_at_node(read, question, &packet) {
        let (address, port) = (packet.destination, question.port.unwrap_or_default());
        let message = format!(
            "{address} answers for {service} at port {port}; policies see the pod behind it: name that one"
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let trace = trace(&resolution, &from, &to, &packet);
    let staged = read.has_staged().then(|| {
        let pending = read.resolve(View::Pending);
        let trace = self::trace(&pending, &from, &to, &packet);
        (pending, trace)
    });
    let mut lines = Lines::default();
    let ports = packet.ports.map(|(from, to)| format!(" {from} > {to}")).unwrap_or_default();
    let (source, destination) = (packet.source, packet.destination);
    let protocol = words::protocol(packet.protocol);
    lines.add("packet", format!("{source} > {destination} {protocol}{ports}"));
    let names = [(question.from, from.endpoint), (question.to, to.endpoint)];
    lines.ends(&resolution, &trace, names);
    lines.add("verdict", verdict(&resolution, &trace));
    let host = [&from, &to].into_iter().any(|end| is_host(&resolution, end));
    if host {
        lines.add("note", "a host is asked at links that its endpoint stands for");
    }
    if let Some((pending, trace)) = &staged {
        lines
            .add("staged", format!("{}, if what is staged were in force", verdict(pending, trace)));
    }
    let value = json!({
        "allowed": trace.judgement.is_allowed(),
        "verdict": verdict(&resolution, &trace),
        "staged": staged.as_ref().map(|(pending, trace)| verdict(pending, trace)),
        "egress": decision(&resolution, &trace, Direction::Egress),
        "ingress": decision(&resolution, &trace, Direction::Ingress),
    });
    show(writer, value, &lines.text)?;
    Ok(Exit::Ok)
}

fn end(read: &Policies, resolution: &Resolution, who: &str) -> Result<End, Failure> {
    if let Ok(address) = who.parse::<IpAddr>() {
        let of_service = |vip: &&thalweg_model::cluster::Service| {
            let own = vip.cluster_ips.iter().chain(&vip.external_ips);
            own.chain(&vip.load_balancer_ips).any(|ip| *ip == address)
        };
        if read.cluster.services.values().find(of_service).is_some() {
            let message = format!(
                "{address} is an address of a service; policies see the pod behind it: name that one"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        return Ok(End { endpoint: resolution.world.at(address), addresses: vec![address] });
    }
    let pod = who.strip_prefix("pod/");
    let host = who.strip_prefix("host/");
    if let Some(host) = host
        && let Some(end) = host_end(resolution, host)?
    {
        return Ok(end);
    }
    let who = pod.unwrap_or(who);
    let (namespace, name) = who.split_once('/').unwrap_or(("default", who));
    let name = ObjectName::new(namespace, name);
    if let Some(at) = resolution.world.pod(&name) {
        let addresses = resolution.world.endpoints[at].addresses.clone();
        return Ok(End { endpoint: Some(at), addresses });
    }
    let message = match host {
        Some(host) => no_host(resolution, host),
        None => format!(
            "there is no pod `{name}` with a network of its own; write NAMESPACE/NAME, \
             host/NAME for a HostEndpoint, or an address"
        ),
    };
    Err(Failure::new(Exit::NotAsWished, message))
}

/// The service that has a node port at the address that a question names.
fn served_at_node(read: &Policies, question: &Question<'_>, packet: &Packet) -> Option<ObjectName> {
    question.to.parse::<IpAddr>().ok()?;
    let mut nodes = read.cluster.nodes.values().flat_map(|node| &node.addresses);
    nodes.find(|address| **address == packet.destination)?;
    let port = question.port?;
    let is =
        |one: &ServicePort| one.node_port == Some(port) && one.protocol.number() == packet.protocol;
    let mut services = read.cluster.services.iter();
    services.find(|(_, service)| service.ports.iter().any(is)).map(|(name, _)| name.clone())
}

/// The most host endpoints that an error lists.
const LISTED: usize = 8;

/// That there is no such `HostEndpoint`, and which there are.
fn no_host(resolution: &Resolution, name: &str) -> String {
    let hosts = resolution.world.endpoints.iter().filter_map(|one| match &one.name {
        EndpointName::Host(name) => Some(name.as_str()),
        EndpointName::Pod(_) => None,
    });
    let mut hosts: Vec<&str> = hosts.collect();
    hosts.sort_unstable();
    let Some(first) = hosts.first().copied() else {
        return format!(
            "there is no HostEndpoint `{name}`, nor any other: nothing is asked at hosts; add one, or write \
             the address of the host"
        );
    };
    let more = hosts.len().saturating_sub(LISTED);
    hosts.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "there is no HostEndpoint `{name}`, only {}{more}: write host/{first}, for example",
        hosts.join(", ")
    )
}

/// A `HostEndpoint` by its name, with its addresses or else those of its node; none if there is no such one.
fn host_end(resolution: &Resolution, name: &str) -> Result<Option<End>, Failure> {
    let world = &resolution.world;
    let is = |one: &Endpoint| matches!(&one.name, EndpointName::Host(is) if is == name);
    let Some(at) = world.endpoints.iter().position(is) else { return Ok(None) };
    let endpoint = &world.endpoints[at];
    let of_node = || endpoint.node.as_ref().and_then(|node| world.nodes.get(node));
    let addresses = match endpoint.addresses.is_empty() {
        true => of_node().cloned().unwrap_or_default(),
        false => endpoint.addresses.clone(),
    };
    if addresses.is_empty() {
        let message = format!(
            "neither HostEndpoint/{name} nor its node has addresses; add its Node object or expectedIPs"
        );
        return Err(Failure::new(Exit::NotAsWished, message));
    }
    Ok(Some(End { endpoint: Some(at), addresses }))
}

/// The way to what both ends say. Between a pod and its own host, the host decides by its settings.
fn trace(resolution: &Resolution, from: &End, to: &End, packet: &Packet) -> Trace {
    let host = if is_host(resolution, from) { from } else { to };
    let own: BTreeSet<IpAddr> = host.addresses.iter().copied().collect();
    match way_within(resolution, from, to, &own) {
        Some(way) => {
            let (passing, steps) = resolution.trace_pass(&way, packet, packet);
            let said = |direction| passing.said.iter().find(|said| said.direction == direction);
            let [egress, ingress] = [Direction::Egress, Direction::Ingress]
                .map(|direction| said(direction).map(|said| said.decision));
            let steps = passing
                .said
                .iter()
                .zip(steps)
                .flat_map(|(said, steps)| steps.into_iter().map(|step| (said.direction, step)));
            let steps = steps.collect();
            Trace { steps, judgement: Judgement { egress, ingress } }
        }
        None => resolution.trace(from.endpoint, to.endpoint, packet),
    }
}

/// The way between a pod and the host that it is on, which has its `own` addresses.
fn way_within<'a>(
    resolution: &Resolution,
    from: &End,
    to: &End,
    own: &'a BTreeSet<IpAddr>,
) -> Option<Way<'a>> {
    let world = &resolution.world;
    let ends = [from.endpoint?, to.endpoint?];
    let [a, b] = ends.map(|at| &world.endpoints[at]);
    let node = a.node.as_deref().filter(|_| a.node == b.node && a.is_host() != b.is_host())?;
    let [from, to] = ends.map(|at| match world.endpoints[at].is_host() {
        true => Gate::Host,
        false => Gate::Pod(at),
    });
    Some(Way { from, to, all: world.host_of_all(node), own })
}

/// Whether an end is a host.
fn is_host(resolution: &Resolution, end: &End) -> bool {
    end.endpoint.is_some_and(|at| resolution.world.endpoints[at].is_host())
}

fn packet(from: &End, to: &End, question: &Question<'_>) -> Result<Packet, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let pair = from.addresses.iter().find_map(|source| {
        let same = |to: &&IpAddr| to.is_ipv4() == source.is_ipv4();
        Some((*source, *to.addresses.iter().find(same)?))
    });
    let Some((source, destination)) = pair else {
        let message = "the two have no addresses of one family; give addresses";
        return Err(Failure::new(Exit::NotAsWished, message));
    };
    let known = words::PROTOCOLS.iter();
    let known = known.clone().find(|(name, _)| name.eq_ignore_ascii_case(question.protocol));
    let number = known.map(|(_, number)| *number).or_else(|| question.protocol.parse().ok());
    let protocol = number.ok_or_else(|| {
        usage(format!(
            "`{}` is no protocol; write tcp, udp, sctp, icmp or a number",
            question.protocol
        ))
    })?;
    let has_ports = matches!(protocol, 6 | 17 | 132 | 136);
    if has_ports != question.port.is_some() {
        let word = words::protocol(protocol);
        return Err(usage(match has_ports {
            true => format!("{word} has ports; write the destination's behind it"),
            false => format!("{word} has no ports; leave the port out"),
        }));
    }
    let echo = if source.is_ipv4() { 8 } else { 128 };
    let client = question.source_port.unwrap_or(CLIENT_PORT);
    Ok(Packet {
        source,
        destination,
        protocol,
        ports: question.port.map(|port| (client, port)),
        icmp: matches!(protocol, 1 | 58).then_some((echo, 0)),
    })
}

#[derive(Default)]
struct Lines {
    text: String,
    /// The stage of the policy that was asked last.
    stage: Stage,
}

impl Lines {
    fn add(&mut self, word: &str, text: impl AsRef<str>) {
        self.text.push_str(&format!("{word:<9} {}\n", text.as_ref()));
    }

    /// What both ends say, step by step.
    fn ends(&mut self, resolution: &Resolution, trace: &Trace, names: [(&str, Option<usize>); 2]) {
        let said = [
            (Direction::Egress, trace.judgement.egress),
            (Direction::Ingress, trace.judgement.ingress),
        ];
        for ((direction, decided), (name, endpoint)) in said.into_iter().zip(names) {
            let Some(decided) = decided else {
                let why = match endpoint {
                    Some(_) => "is not asked",
                    None => "is no endpoint: nobody is asked",
                };
                self.add(direction.word(), format!("{name} {why}"));
                continue;
            };
            self.add(direction.word(), name);
            let steps = trace.steps.iter().filter(|(of, _)| *of == direction);
            steps.for_each(|(_, step)| self.step(resolution, direction, *step));
            let (word, why) = (decided.verdict.word(), cause(resolution, direction, decided.cause));
            self.add("  result", format!("{word}: {why}"));
        }
    }

    fn step(&mut self, resolution: &Resolution, direction: Direction, step: Step) {
        match step {
            Step::Tier(tier) => {
                let tier = &resolution.model.tiers[tier];
                let order = tier.order.map_or_else(|| "last".into(), |order| order.to_string());
                self.add("  tier", format!("{}, order {order}", tier.name));
            }
            Step::Policy(policy) => {
                let policy = &resolution.policies[policy].policy;
                self.stage = policy.stage;
                let stage = match policy.stage {
                    Stage::Normal => "",
                    Stage::PreDnat => ", before services are translated",
                    Stage::Untracked => ", untracked",
                };
                self.add("  policy", format!("{} ({}){stage}", policy.id, policy.origin));
            }
            Step::Rule { policy, rule, miss } => {
                let (words, place) = rule_words(resolution, direction, policy, rule);
                let result = result(resolution, direction, (policy, rule), miss);
                self.add("  rule", format!("{words} ({place}): {result}"));
            }
            Step::End { tier, passed } => {
                self.add("  end", end_words(resolution, tier, passed, self.stage));
            }
        }
    }
}

/// What became of a rule that was asked.
fn result(
    resolution: &Resolution,
    direction: Direction,
    (policy, rule): (usize, usize),
    miss: Option<Miss>,
) -> &'static str {
    match miss {
        Some(miss) => miss.words(),
        None if is_log(resolution, direction, policy, rule) => {
            "matches: logged, and the next rule is asked"
        }
        None => "matches",
    }
}

/// What became of the end of a tier, at a stage.
fn end_words(resolution: &Resolution, tier: usize, passed: bool, stage: Stage) -> &'static str {
    match (passed, resolution.model.tiers[tier].end) {
        (true, _) => "passed on by that rule",
        (false, _) if stage != Stage::Normal => "no rule decides: go on",
        (false, EndAction::Deny) => "no rule decides: deny",
        (false, EndAction::Pass) => "no rule decides: pass on",
    }
}

/// The steps of a direction, as the text has them, in order.
fn steps(resolution: &Resolution, direction: Direction, steps: &[Step]) -> Vec<Value> {
    let mut stage = Stage::Normal;
    let one = |step: &Step| match *step {
        Step::Tier(tier) => {
            let tier = &resolution.model.tiers[tier];
            json!({ "tier": tier.name, "order": tier.order })
        }
        Step::Policy(policy) => {
            let policy = &resolution.policies[policy].policy;
            stage = policy.stage;
            json!({ "policy": policy.id.to_string(), "origin": policy.origin.to_string() })
        }
        Step::Rule { policy, rule, miss } => {
            let (words, place) = rule_words(resolution, direction, policy, rule);
            let (number, words) = words.split_once(' ').unwrap_or_default();
            json!({
                "rule": number.parse::<usize>().ok(),
                "words": words,
                "origin": place,
                "matches": miss.is_none(),
                "result": result(resolution, direction, (policy, rule), miss),
            })
        }
        Step::End { tier, passed } => json!({ "end": end_words(resolution, tier, passed, stage) }),
    };
    steps.iter().map(one).collect()
}

/// Whether a rule only logs.
fn is_log(resolution: &Resolution, direction: Direction, policy: usize, rule: usize) -> bool {
    let rules = resolution.policies[policy].policy.rules(direction).unwrap_or_default();
    rules.get(rule).is_some_and(|rule| rule.action == Action::Log)
}

fn rule_words(
    resolution: &Resolution,
    direction: Direction,
    policy: usize,
    rule: usize,
) -> (String, String) {
    let policy = &resolution.policies[policy].policy;
    let rules = policy.rules(direction).unwrap_or_default();
    match rules.get(rule) {
        Some(rule) => {
            let place = rule.place.within(&policy.origin);
            (format!("{} {}", rule.number, words::rule(rule)), place.to_string())
        }
        None => (String::new(), String::new()),
    }
}

/// What decided, in words.
pub(super) fn cause(resolution: &Resolution, direction: Direction, cause: Cause) -> String {
    match cause {
        Cause::Rule { policy, rule } => {
            let of = &resolution.policies[policy].policy;
            let rules = of.rules(direction).unwrap_or_default();
            let Some(rule) = rules.get(rule) else { return of.id.to_string() };
            let place = rule.place.within(&of.origin);
            format!("rule {} of {} ({place})", rule.number, of.id)
        }
        Cause::EndOfTier(tier) => {
            format!(
                "policies of tier {} apply, and none allows it",
                resolution.model.tiers[tier].name
            )
        }
        Cause::Profile => "no policy decides".into(),
        Cause::NoPolicy => "no policy applies".into(),
        Cause::Itself => "an endpoint always reaches itself".into(),
        Cause::OwnNode => "a node always reaches its pods".into(),
        Cause::FailSafe => "a port that stays open whatever policies say".into(),
        Cause::ToHost => "spec.policy.endpointToHost of the Router says so".into(),
    }
}

fn verdict(resolution: &Resolution, trace: &Trace) -> String {
    let ends = [
        (Direction::Egress, trace.judgement.egress),
        (Direction::Ingress, trace.judgement.ingress),
    ];
    for (direction, decided) in ends {
        if let Some(decided) = decided.filter(|one| one.verdict == Verdict::Deny) {
            return format!(
                "deny: {} ({})",
                cause(resolution, direction, decided.cause),
                direction.word()
            );
        }
    }
    "allow".into()
}

/// What an end said, with the rules that log which were passed; none of one that was not asked.
fn decision(resolution: &Resolution, trace: &Trace, direction: Direction) -> Option<Value> {
    let decided = match direction {
        Direction::Egress => trace.judgement.egress,
        Direction::Ingress => trace.judgement.ingress,
    }?;
    let steps = trace.steps.iter().filter(|(of, _)| *of == direction);
    let steps: Vec<Step> = steps.map(|(_, step)| *step).collect();
    let logs = resolution.logs(direction, &steps);
    let log = |(policy, rule)| cause(resolution, direction, Cause::Rule { policy, rule });
    Some(json!({
        "verdict": decided.verdict.word(),
        "cause": cause(resolution, direction, decided.cause),
        "logs": logs.iter().map(log).collect::<Vec<_>>(),
        "steps": self::steps(resolution, direction, &steps),
    }))
}
