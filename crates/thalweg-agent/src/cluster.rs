//! Services, backends and flows as they are shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thalweg_abi::flow::{NO_PACKET, WAYS, WORDS, kind, slot, state, word};
use thalweg_abi::{Reason, TableId};
use thalweg_api::Fault;
use thalweg_api::cluster::{BackendView, FlowQuery, FlowView, ServiceView};
use thalweg_compile::Compiler;
use thalweg_compile::service::{Backend, Choice, Class, Empty, Frontend};
use thalweg_core::flow::{Tracked, what};
use thalweg_image::{FrontendKey, Memory};
use thalweg_model::ObjectName;
use thalweg_model::cluster::Protocol;
use thalweg_native::Journey;

/// Source ranges of a service that are named in the explanation of a packet.
const RANGES: usize = 4;

/// The frontends of all services, by service.
pub fn services(compiler: &Compiler) -> Vec<ServiceView> {
    services_of(compiler, |_| true)
}

/// Those of wanted frontends.
pub(crate) fn services_of(
    compiler: &Compiler,
    wanted: impl Fn(&Frontend) -> bool,
) -> Vec<ServiceView> {
    let frontends = compiler.frontends().filter(|frontend| wanted(frontend));
    let mut views: Vec<ServiceView> = frontends.map(|f| service(compiler, f)).collect();
    views.sort_by(|a, b| {
        (&a.service, &a.class, &a.frontend).cmp(&(&b.service, &b.class, &b.frontend))
    });
    views
}

fn service(compiler: &Compiler, frontend: &Frontend) -> ServiceView {
    let usable = |choice: &Choice| choice.backends.iter().filter(|b| b.weight > 0).count() as u32;
    let internal = usable(&frontend.internal);
    ServiceView {
        service: frontend.service.to_string(),
        port: frontend.port_name.clone(),
        frontend: SocketAddr::new(frontend.key.address, frontend.key.port).to_string(),
        protocol: frontend.key.protocol.to_string(),
        class: class(frontend.class).into(),
        internal,
        external: usable(&frontend.external),
        empty: empty(&frontend.internal).into(),
        empty_external: empty(&frontend.external).into(),
        affinity: frontend.affinity.map(|time| time.as_secs()),
        ring: if internal > 1 { compiler.ring(&frontend.internal).len() as u32 } else { 0 },
        problems: 0,
    }
}

fn empty(choice: &Choice) -> &'static str {
    if choice.empty == Empty::Drop { "drop" } else { "reject" }
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::ClusterIp => "ClusterIP",
        Class::ExternalIp => "ExternalIP",
        Class::LoadBalancer => "LoadBalancer",
        Class::NodePort => "NodePort",
        Class::HostPort => "HostPort",
    }
}

/// The backends of all services, by service, port and address.
pub fn backends(compiler: &Compiler, memory: Option<&Memory>) -> Vec<BackendView> {
    backends_of(compiler, memory, |_| true)
}

/// Those of wanted frontends.
pub(crate) fn backends_of(
    compiler: &Compiler,
    memory: Option<&Memory>,
    wanted: impl Fn(&Frontend) -> bool,
) -> Vec<BackendView> {
    let flows = memory.map(flows_of_backends).unwrap_or_default();
    let mut by_name: BTreeMap<&ObjectName, Vec<&Frontend>> = BTreeMap::new();
    for frontend in compiler.frontends().filter(|frontend| wanted(frontend)) {
        by_name.entry(&frontend.service).or_default().push(frontend);
    }
    let mut views = Vec::new();
    for (service, frontends) in by_name {
        let members =
            members(&frontends, |choice| shares(choice, |choice| compiler.ring(choice)).into());
        views.extend(members.into_iter().map(|((port, protocol, number), (backend, share))| {
            BackendView {
                service: service.to_string(),
                port: port.into(),
                backend: end_of(backend),
                protocol: protocol.to_string(),
                weight: backend.weight,
                share,
                node: backend.node.clone(),
                state: if backend.terminating { "terminating" } else { "serving" }.into(),
                flows: flows.get(&number).copied().unwrap_or(0),
                id: format!("{number:016x}"),
            }
        }));
    }
    views.sort_by(|a, b| (&a.service, &a.port, &a.backend).cmp(&(&b.service, &b.port, &b.backend)));
    views
}

/// Backends of one service, by port, protocol and number, with their shares in percent.
pub(crate) type Members<'a> = BTreeMap<(&'a str, Protocol, u64), (&'a Backend, f64)>;

/// The backends behind frontends of one service. A share is that among internal ones, if it has one there.
pub(crate) fn members<'a>(
    frontends: &[&'a Frontend],
    mut shares: impl FnMut(&Choice) -> Arc<[f64]>,
) -> Members<'a> {
    let mut members = Members::new();
    for frontend in frontends {
        for choice in [&frontend.internal, &frontend.external] {
            let shares = shares(choice);
            for (backend, share) in choice.backends.iter().zip(&*shares) {
                let key = (&frontend.port_name[..], frontend.key.protocol, backend.id);
                members.entry(key).or_insert((backend, *share));
            }
        }
    }
    members
}

/// Address and port of a backend.
pub(crate) fn end_of(backend: &Backend) -> String {
    SocketAddr::new(backend.address, backend.port).to_string()
}

/// The part of the ring that each backend has, in percent.
pub(crate) fn shares(choice: &Choice, ring: impl FnOnce(&Choice) -> Vec<u16>) -> Vec<f64> {
    let mut slots = vec![0_u32; choice.backends.len()];
    if let [only] = &choice.backends[..] {
        return vec![if only.weight > 0 { 100.0 } else { 0.0 }];
    }
    let ring = ring(choice);
    for member in &ring {
        if let Some(count) = slots.get_mut(usize::from(*member)) {
            *count += 1;
        }
    }
    let all = ring.len().max(1) as f64;
    slots.into_iter().map(|count| f64::from(count) * 100.0 / all).collect()
}

/// Flows that the backends have, by their numbers.
fn flows_of_backends(memory: &Memory) -> HashMap<u64, u32> {
    let mut counts = HashMap::new();
    let forward = rows(memory).filter(|row| row[word::REWRITE] as u32 & kind::ANSWERS == 0);
    for row in forward.filter(|row| row[word::BACKEND] != 0) {
        *counts.entry(row[word::BACKEND]).or_insert(0) += 1;
    }
    counts
}

/// Rows of flows that live.
pub(crate) fn rows(memory: &Memory) -> impl Iterator<Item = [u64; WORDS]> + '_ {
    all_rows(memory).filter(|row| row[word::TAIL] & NO_PACKET == 0)
}

/// Rows that live, also those of no packet.
pub(crate) fn all_rows(memory: &Memory) -> impl Iterator<Item = [u64; WORDS]> + '_ {
    let now = clock();
    let slots = memory.words(TableId::FlowSlots);
    let flows = memory.words(TableId::Flows);
    slots.iter().enumerate().filter_map(move |(index, slot)| {
        let held = slot.load(Ordering::Acquire);
        if held & slot::LIVE == 0 {
            return None;
        }
        let words = flows.get(index * WORDS..(index + 1) * WORDS)?;
        let mut row = [0; WORDS];
        row.iter_mut().zip(words).for_each(|(to, from)| *to = from.load(Ordering::Acquire));
        if slot.load(Ordering::Acquire) != held {
            // Another flow took it meanwhile.
            return None;
        }
        lives(row[word::SEEN], now).then_some(row)
    })
}

/// Whether a row seen last then ([`word::SEEN`]) has not outlived its time by [`clock`].
pub(crate) fn lives(seen: u64, now: u32) -> bool {
    i64::from(now) - i64::from(seen as u32) <= (seen >> 32) as i64
}

const _: () = assert!(WAYS == 8, "slots and rows are counted alike");

/// Seconds of the clock that programs read (`bpf_ktime_get_coarse_ns`).
pub fn clock() -> u32 {
    rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse).tv_sec as u32
}

/// Flows of a query, those with most octets first.
///
/// # Errors
///
/// A pod, service or state that is not known.
pub fn flows(
    compiler: &Compiler,
    memory: &Memory,
    query: &FlowQuery,
) -> Result<Vec<FlowView>, Fault> {
    let addresses = query.from.as_deref().map(|from| addresses(compiler, from)).transpose()?;
    known_state(query.state.as_deref())?;
    let names = names(compiler.frontends());
    let wanted = query.service.as_deref().map(|name| known_service(compiler, name)).transpose()?;
    let wanted = wanted.map(|name| name.to_string());
    let links = compiler.host_facts();
    let mut views: Vec<FlowView> = rows(memory)
        .filter(|row| addresses.as_ref().is_none_or(|wanted| speaks(row, wanted)))
        .map(|row| view(&row, &names, |link| links.links.get(&link).map(|link| link.name.clone())))
        .filter(|view| wanted.as_ref().is_none_or(|name| view.service.as_ref() == Some(name)))
        .filter(|view| query.state.as_ref().is_none_or(|state| view.state == *state))
        .collect();
    views.sort_by(|a, b| {
        (b.octets, &a.protocol, &a.source, &a.destination).cmp(&(
            a.octets,
            &b.protocol,
            &b.source,
            &b.destination,
        ))
    });
    views.truncate(query.limit as usize);
    Ok(views)
}

/// That there is a state of this name, where one is wanted.
///
/// # Errors
///
/// [`Fault`] with those that there are.
pub(crate) fn known_state(wanted: Option<&str>) -> Result<(), Fault> {
    let sctp = state::SCTP_NAMES.iter().filter(|name| !state::NAMES.contains(name));
    let names: Vec<_> = state::NAMES.iter().chain(sctp).copied().collect();
    match wanted.filter(|wanted| !names.contains(wanted)) {
        Some(wanted) => {
            let what = format!("flows have no state `{wanted}`");
            Err(Fault::invalid(what, format!("choose one of {}", names.join(", "))))
        }
        None => Ok(()),
    }
}

pub(crate) fn addresses(compiler: &Compiler, from: &str) -> Result<HashSet<IpAddr>, Fault> {
    if let Ok(address) = from.parse() {
        return Ok(HashSet::from([address]));
    }
    let name = from.strip_prefix("pod/").unwrap_or(from);
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let pod = compiler.intent().cluster.pods.get(&ObjectName::new(namespace, name));
    pod.map(|pod| pod.addresses.iter().copied().collect()).ok_or_else(|| {
        Fault::not_found(
            format!("there is no pod `{namespace}/{name}`"),
            "name an address, or `pod/NAMESPACE/NAME` of a Pod object",
        )
    })
}

/// The object that `NAME` or `NAMESPACE/NAME` means.
pub(crate) fn object_name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectName::new(namespace, name)
}

/// Whether a frontend is a service's: a pod with ports on the host may have the same name.
pub(crate) fn is_of(frontend: &Frontend, service: &ObjectName) -> bool {
    frontend.service == *service && frontend.class != Class::HostPort
}

/// The service that is meant.
///
/// # Errors
///
/// That there is none.
pub(crate) fn known_service(compiler: &Compiler, name: &str) -> Result<ObjectName, Fault> {
    let name = object_name(name);
    match compiler.intent().cluster.services.contains_key(&name) {
        true => Ok(name),
        false => Err(Fault::not_found(
            format!("there is no service `{name}`"),
            "`thalweg get services` lists them",
        )),
    }
}

/// The services that backends serve, by their numbers.
pub(crate) fn names<'a>(frontends: impl Iterator<Item = &'a Frontend>) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    for frontend in frontends {
        for number in numbers(frontend) {
            names.entry(number).or_insert_with(|| frontend.service.to_string());
        }
    }
    names
}

/// The numbers of the backends of a frontend; some come twice.
pub(crate) fn numbers(frontend: &Frontend) -> impl Iterator<Item = u64> {
    let all = frontend.internal.backends.iter().chain(&*frontend.external.backends);
    all.map(|backend| backend.id)
}

pub(crate) fn address(row: &[u64; WORDS], at: usize) -> IpAddr {
    FrontendKey { address: [row[at], row[at + 1]], port: 0, protocol: 0 }.address()
}

/// Whether somebody with such an address is at one end.
pub(crate) fn speaks(row: &[u64; WORDS], wanted: &HashSet<IpAddr>) -> bool {
    [word::SOURCE, word::DESTINATION, word::NEW_SOURCE, word::NEW_DESTINATION]
        .into_iter()
        .any(|at| wanted.contains(&address(row, at)))
}

/// A row in words.
pub(crate) fn view(
    row: &[u64; WORDS],
    names: &HashMap<u64, String>,
    link: impl Fn(u32) -> Option<String>,
) -> FlowView {
    let (tail, rewrite) = (row[word::TAIL], row[word::REWRITE]);
    let protocol = (tail >> 8) as u8;
    let end = |at, port: u64| match protocol {
        6 | 17 | 132 => SocketAddr::new(address(row, at), port as u16).to_string(),
        _ => address(row, at).to_string(),
    };
    let (source, destination) = (end(word::SOURCE, tail >> 48), end(word::DESTINATION, tail >> 32));
    let new_source = end(word::NEW_SOURCE, rewrite >> 48);
    let new_destination = end(word::NEW_DESTINATION, rewrite >> 32);
    let answers = rewrite as u32 & kind::ANSWERS != 0;
    let seen = row[word::SEEN];
    FlowView {
        protocol: self::protocol(protocol),
        new_source: (new_source != source).then_some(new_source),
        new_destination: (new_destination != destination).then_some(new_destination),
        source,
        destination,
        direction: if answers { "answer" } else { "forward" }.into(),
        state: state::name(protocol, row[word::STATE] as u8).into(),
        service: names.get(&row[word::BACKEND]).cloned(),
        link: Some((row[word::WAY] >> 32) as u32).filter(|index| *index != 0).and_then(link),
        packets: row[word::STATE] >> 32,
        octets: row[word::OCTETS],
        idle: u64::from(clock().saturating_sub(seen as u32)),
        timeout: seen >> 32,
    }
}

/// Name of a protocol, or its number.
pub(crate) fn protocol(number: u8) -> String {
    match number {
        1 | 58 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        132 => "SCTP".into(),
        other => other.to_string(),
    }
}

/// Flow and service of a packet, as steps of its explanation.
pub fn steps(
    compiler: &Compiler,
    memory: &Memory,
    journey: &Journey,
    mut push: impl FnMut(&str, String),
) {
    if let Some(tracked) = &journey.tracked {
        tunnel(compiler, tracked, &mut push);
    }
    let Some(tracked) = journey.tracked.filter(|tracked| tracked.facts().is(what::KEYED)) else {
        return;
    };
    let mut row = [0; WORDS];
    row[..5].copy_from_slice(&tracked.key);
    let facts = tracked.facts();
    if facts.found() != 0 {
        let from = (facts.found() as usize - 1) * WORDS;
        let words = memory.words(TableId::Flows).get(from..from + WORDS).unwrap_or_default();
        row.iter_mut().zip(words).for_each(|(to, word)| *to = word.load(Ordering::Acquire));
        let flow = view(&row, &names(compiler.frontends()), |_| None);
        let through = flow.service.map(|service| format!(", through service {service}"));
        push("flow", format!("known, {}{}", flow.state, through.unwrap_or_default()));
        return;
    }
    let (tail, to) = (tracked.key[4], address(&row, word::DESTINATION));
    let frontend = compiler.frontend_at(to, (tail >> 32) as u16, (tail >> 8) as u8);
    // Who is refused by a service would have begun one.
    let begins = (facts.is(what::BEGINS) || frontend.is_some()) && !facts.is(what::AMID);
    push("flow", if begins { "new" } else { "none that is known" }.into());
    if let Some(held) = compiler.floating().find(|held| held.address == to) {
        if facts.is(what::SERVICE) {
            let (pod, target) = (&held.pod, held.target);
            push("nat", format!("floating address {to} of Pod/{pod} becomes {target}"));
        }
    } else {
        service_step(&tracked, journey, frontend, &mut push);
    }
    if facts.is(what::HAIRPIN) {
        let new = tracked.new_key(&journey.packet);
        row[word::NEW_DESTINATION..word::NEW_DESTINATION + 2].copy_from_slice(&new[2..4]);
        let end = |at, port: u64| SocketAddr::new(address(&row, at), port as u16);
        let (old, new) = (end(word::DESTINATION, tail >> 32), new[4] >> 32);
        let new = end(word::NEW_DESTINATION, new);
        push("nat", format!("{old} is what {new} has outside: it becomes that"));
    }
    if facts.is(what::NAT) {
        let new = tracked.new_key(&journey.packet);
        row[word::NEW_SOURCE..word::NEW_SOURCE + 2].copy_from_slice(&new[..2]);
        let end = |at, tail: u64| SocketAddr::new(address(&row, at), (tail >> 48) as u16);
        let (old, new) = (end(word::SOURCE, tail), end(word::NEW_SOURCE, new[4]));
        let floats = if facts.is(what::FLOATING) { ", its floating address" } else { "" };
        push("nat", format!("source {old} becomes {new}{floats}"));
    }
}

/// The service of a packet that begins a flow.
fn service_step(
    tracked: &Tracked,
    journey: &Journey,
    frontend: Option<&Frontend>,
    push: &mut impl FnMut(&str, String),
) {
    let facts = tracked.facts();
    let mut row = [0; WORDS];
    let Some(frontend) = frontend else {
        if facts.is(what::SERVICE) {
            let new = tracked.new_key(&journey.packet);
            row[word::NEW_DESTINATION..word::NEW_DESTINATION + 2].copy_from_slice(&new[2..4]);
            let backend = address(&row, word::NEW_DESTINATION);
            let backend = SocketAddr::new(backend, (new[4] >> 32) as u16);
            push("service", format!("of the node it came from: backend {backend}"));
        }
        return;
    };
    let to = frontend.key.address;
    let at = SocketAddr::new(to, frontend.key.port);
    let named = format!(
        "{} at {at}/{} ({})",
        frontend.service,
        frontend.key.protocol,
        class(frontend.class)
    );
    match facts.is(what::SERVICE) {
        true => {
            let new = tracked.new_key(&journey.packet);
            row[word::NEW_DESTINATION..word::NEW_DESTINATION + 2].copy_from_slice(&new[2..4]);
            let backend = address(&row, word::NEW_DESTINATION);
            let backend = SocketAddr::new(backend, (new[4] >> 32) as u16);
            let kept = frontend.affinity.filter(|_| facts.is(what::KEEPS));
            let kept =
                kept.map(|time| format!(", which this client keeps for {} s", time.as_secs()));
            push("service", format!("{named}: backend {backend}{}", kept.unwrap_or_default()));
        }
        false => push("service", format!("{named}: {}", unserved(journey, frontend))),
    }
}

/// Why a frontend does not serve a packet.
fn unserved(journey: &Journey, frontend: &Frontend) -> String {
    if journey.verdict.reason() != Reason::SourceRange {
        return "no backend for this client".into();
    }
    let ranges: Vec<String> =
        frontend.ranges.iter().take(RANGES).map(ToString::to_string).collect();
    let more = frontend.ranges.len() - ranges.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("not for this client, who is in none of its source ranges: {}{more}", ranges.join(", "))
}

/// What tunnels have to do with a packet.
fn tunnel(compiler: &Compiler, tracked: &Tracked, push: &mut impl FnMut(&str, String)) {
    let facts = tracked.facts();
    let node = || compiler.node_of(tracked.node).unwrap_or_else(|| "that is gone".into());
    if facts.is(what::RETURNS) {
        push(
            "tunnel",
            format!("the flow came out of the tunnel from node {0}: back to it", node()),
        );
    } else if tracked.node != 0 {
        push("tunnel", format!("from node {}: taken out", node()));
    }
    if facts.is(what::DIRECT) {
        let text = "a backend on another node gets the packet as it came, and answers straight";
        push("tunnel", text.into());
    }
}
