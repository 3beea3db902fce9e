//! `load/100k-rules`, `update/one-…`, `memory/100k-rules`: the policies of a large cluster.
//!
//! 10,000 policies of ten rules each speak of 100,000 pods, of which 200 are on this node. What is timed is
//! everything from objects to tables in force: the compiler takes them, makes a plan, and the writer puts it
//! into mapped kernel memory, with real grace periods. The kernel's filters take as many rules for addresses,
//! one below the other.

use crate::daemon::Daemon;
use crate::guarded::{capacity, fits, limits, parse};
use crate::http;
use crate::network::Namespace;
use crate::pods::{CLIENT, Node, SERVERS, address, spread};
use crate::report::Row;
use crate::rules::{self, Peer, fed, pods};
use crate::samples::{median, percentile, pin, processors};
use crate::{Bench, Measured, charge, image, say};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use thalweg_compile::Compiler;
use thalweg_config::Loaded;
use thalweg_image::{Plan, Writer};
use thalweg_model::host::{Link, Update};
use thalweg_model::{Intent, ObjectName};
use thalweg_policy::Objects;
use thalweg_policy::object::kubernetes::PortMatch;
use thalweg_policy::object::{PolicyId, PolicyKind, Spec};
use thalweg_wire::Mac;
use thalweg_xdp::{Membarrier, trim_memory};

const LOAD: [&str; 2] = ["load/100k-rules", "load/100k-rules/vs-iptables"];
const START: &str = "load/100k-rules/start";
const UPDATE: [&str; 2] = ["update/one-label", "update/one-rule"];
const MEMORY: [&str; 2] = ["memory/100k-rules", "memory/100k-rules/heap"];
/// What is in the cluster, and on this node.
const POLICIES: usize = 10_000;
const PER_POLICY: usize = 10;
const PODS: usize = 100_000;
const LOCAL: usize = 200;
/// Pods of a namespace, and apps among which they are shared.
const PER_NAMESPACE: usize = 100;
const APPS: usize = 20;
/// Objects of a file.
const OBJECTS: usize = 1_000;
/// Room for policies and flows: what is not measured is small.
const LINES: u32 = 1 << 21;
const FLOWS: u32 = 1 << 16;
/// Times that all is loaded.
const LOADS: usize = 3;
/// Single changes, and how long they are made at most.
const CHANGES: usize = 200;
const ENOUGH: Duration = Duration::from_secs(60);
/// Changes of the peer: each takes long.
const FEW: usize = 30;
/// How long an agent may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The port of the pod that is reached when all is in force.
const PORT: u16 = 8080;

/// All rows.
pub fn measure(bench: &mut Bench) {
    let names: Vec<String> =
        [&LOAD[..], &UPDATE, &MEMORY].concat().iter().map(|n| (*n).to_owned()).collect();
    bench.measure(&names, |bench| {
        pin(0, processors() - 1);
        say("100k-rules: 10,000 policies, 100,000 pods, 200 of them here");
        let world = World::new(&files())?;
        if bench.wants(&LOAD.map(ToOwned::to_owned)) {
            load(bench, &world)?;
        }
        if bench.wants(&UPDATE.map(ToOwned::to_owned)) {
            update(bench, &world)?;
        }
        if bench.wants(&MEMORY.map(ToOwned::to_owned)) {
            memory(bench, &world)?;
        }
        Ok(())
    });
    spread();
    bench.measure(&[START.to_owned()], |bench| {
        say("load: the same from files, by an agent");
        let ours = start()?;
        let theirs = peer(Peer::Nftables)?.1;
        bench.add(Row::cost(START, ours, "s", &linear(Peer::Nftables), theirs));
        Ok(())
    });
}

/// The objects of the cluster.
struct World {
    intent: Intent,
    objects: Objects,
}

impl World {
    fn new(files: &[(String, String)]) -> Measured<Self> {
        let Loaded { mut intent, policies: objects, .. } = parse(files)?;
        intent.router.unlisted_links = true;
        intent.router.limits = limits(LINES, FLOWS);
        Ok(Self { intent, objects })
    }
}

/// Files of the cluster.
fn files() -> Vec<(String, String)> {
    let chunk = |kind: &str, count: usize, item: fn(usize) -> String| -> Vec<(String, String)> {
        let file = |file: usize| {
            let numbers = file * OBJECTS..(file * OBJECTS + OBJECTS).min(count);
            (format!("{kind}-{file}.yaml"), numbers.map(item).collect())
        };
        (0..count.div_ceil(OBJECTS)).map(file).collect()
    };
    [chunk("pods", PODS, pod), chunk("policies", POLICIES, policy)].concat()
}

/// The link of a pod of this node; none of others.
fn interface(number: usize) -> Option<String> {
    number.is_multiple_of(PODS / LOCAL).then(|| format!("veth{number}"))
}

fn pod(number: usize) -> String {
    let here = interface(number).map_or(String::new(), |name| {
        format!("  annotations: {{thalweg.io/interface: {name}, thalweg.io/mac: \"02:00:00:00:00:01\"}}\n")
    });
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{number}\n  namespace: ns-{}\n  \
         labels: {{app: app-{}}}\n{here}status: {{podIPs: [{{ip: {}}}]}}\n",
        number / PER_NAMESPACE,
        number % APPS,
        Ipv4Addr::from_bits(0x0a00_0000 + number as u32 + 1),
    )
}

/// A policy for the pods of an app of a namespace.
fn policy(number: usize) -> String {
    let namespaces = PODS / PER_NAMESPACE;
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: policy-{number}, \
         namespace: ns-{}}}\nspec:\n  podSelector: {{matchLabels: {{app: app-{}}}}}\n  \
         policyTypes: [Ingress]\n  ingress:\n",
        number % namespaces,
        number / namespaces % APPS,
    );
    for at in number * PER_POLICY..(number + 1) * PER_POLICY {
        // Pods of an app, here or in another namespace, come to some ports.
        let elsewhere = match at % 3 {
            0 => String::new(),
            _ => format!(
                "namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: ns-{}}}}}, ",
                at * 13 % namespaces
            ),
        };
        let (app, port) = (at * 7 % APPS, 1_000 + at * 31 % 500);
        let _ = writeln!(
            text,
            "  - {{from: [{{{elsewhere}podSelector: {{matchLabels: {{app: app-{app}}}}}}}], \
             ports: [{{protocol: TCP, port: {port}, endPort: {}}}]}}",
            port + 3
        );
    }
    text
}

/// Compiler and writer over fresh kernel tables, and the links of the pods.
struct Plant {
    compiler: Compiler,
    writer: Writer,
    /// Keeps the kernel's maps.
    _loaded: thalweg_xdp::Loaded,
}

impl Plant {
    fn new() -> Measured<Self> {
        let mut intent = Intent::default();
        intent.router.unlisted_links = true;
        let limits = limits(LINES, FLOWS);
        intent.router.limits = limits.clone();
        let mut compiler = Compiler::new(limits.clone());
        compiler.set_intent(intent);
        for (index, name) in (2..).zip((0..PODS).filter_map(interface)) {
            compiler.update_host(Update::Link(Link {
                index,
                name,
                mac: Mac(image::ROUTER[1]),
                mtu: 1500,
                up: true,
                kind: "veth".to_owned(),
                medium: "ether".to_owned(),
                ..Link::default()
            }));
        }
        let loaded = thalweg_xdp::Loaded::load(thalweg_bpf_object::object(), &capacity(&limits))?;
        let mut writer = Writer::new(loaded.memory().clone(), Box::new(Membarrier));
        image::apply(&mut writer, &compiler.plan())?;
        Ok(Self { compiler, writer, _loaded: loaded })
    }

    /// Takes objects in and puts what follows in force. Returns the seconds until the plan was made, and until
    /// it was in force.
    fn take(&mut self, intent: Option<Intent>, objects: Option<Objects>) -> Measured<[f64; 2]> {
        let start = Instant::now();
        if let Some(objects) = objects {
            self.compiler.set_policies(objects);
        }
        if let Some(intent) = intent {
            self.compiler.set_intent(intent);
        }
        let plan: Plan = self.compiler.plan();
        let planned = start.elapsed().as_secs_f64();
        image::apply(&mut self.writer, &plan)?;
        let took = start.elapsed().as_secs_f64();
        fits(&self.compiler)?;
        Ok([planned, took])
    }

    /// The same with a whole cluster.
    fn full(world: &World) -> Measured<(Self, [f64; 2])> {
        let mut plant = Self::new()?;
        let took = plant.take(Some(world.intent.clone()), Some(world.objects.clone()))?;
        let (lines, room) = plant.compiler.policy_room();
        let policies = plant.compiler.policies().policies.iter();
        let ruled = policies.filter(|one| !one.subjects.is_empty()).count();
        if lines < 1_000 || ruled == 0 {
            return Err(format!(
                "{lines} of {room} lines and {ruled} policies are no such cluster"
            )
            .into());
        }
        Ok((plant, took))
    }
}

/// A peer in words.
fn linear(peer: Peer) -> String {
    match peer {
        Peer::Nftables => "nft -f, 100,000 linear rules".to_owned(),
        Peer::Iptables => format!("{}-restore, 100,000 linear rules", peer.words()),
    }
}

/// A namespace in which a peer has as many rules, and the seconds that it took.
fn peer(peer: Peer) -> Measured<(Namespace, f64)> {
    let text = peer.linear(&rules::rules(POLICIES * PER_POLICY));
    let namespace = Namespace::new()?;
    let start = Instant::now();
    peer.read(&namespace, &text)?;
    Ok((namespace, start.elapsed().as_secs_f64()))
}

fn load(bench: &mut Bench, world: &World) -> Measured<()> {
    let mut samples = Vec::new();
    for _ in 0..LOADS {
        let (plant, [planned, took]) = Plant::full(world)?;
        let lines = plant.compiler.policy_room().0;
        say(&format!("{lines} lines: planned after {planned:.2} s, in force after {took:.2} s"));
        samples.push(took);
    }
    let ours = median(&samples);
    for (name, kind) in LOAD.into_iter().zip(Peer::ALL) {
        if !bench.wants(&[name.to_owned()]) {
            continue;
        }
        let turns = (0..LOADS).map(|_| Ok(peer(kind)?.1)).collect::<Measured<Vec<f64>>>();
        let (words, theirs) = match turns {
            Ok(turns) => (linear(kind), median(&turns)),
            Err(error) => (error.to_string(), f64::NAN),
        };
        bench.add(Row::cost(name, ours, "s", &words, theirs));
    }
    Ok(())
}

fn update(bench: &mut Bench, world: &World) -> Measured<()> {
    let theirs = replaced();
    let (mut plant, _) = Plant::full(world)?;
    // The first change after a large one brings the other version of the tables to the same state.
    plant.take(Some(relabelled(world, 0)), None)?;
    for (name, work) in UPDATE.into_iter().zip([one_label as Change, one_rule]) {
        if !bench.wants(&[name.to_owned()]) {
            continue;
        }
        let (begun, mut samples) = (Instant::now(), Vec::new());
        while samples.len() < CHANGES && (begun.elapsed() < ENOUGH || samples.len() < 5) {
            let (intent, objects) = work(world, samples.len());
            samples.push(plant.take(intent, objects)?[1] * 1e3);
        }
        let ours = percentile(&samples, 99);
        say(&format!(
            "{name}: {} changes, {:.2} ms in the middle, p99 {ours:.2} ms",
            samples.len(),
            median(&samples)
        ));
        let (words, theirs) = match &theirs {
            Ok(theirs) => (format!("{} -R, one of 100,000 rules", Peer::Iptables.words()), *theirs),
            Err(error) => (error.to_string(), f64::NAN),
        };
        bench.add(Row::cost(name, ours, "ms, p99", &words, theirs));
    }
    Ok(())
}

/// A change, by its number: what of it is new.
type Change = fn(&World, usize) -> (Option<Intent>, Option<Objects>);

/// Another pod has another label, and the one before its own again.
fn one_label(world: &World, number: usize) -> (Option<Intent>, Option<Objects>) {
    (Some(relabelled(world, number + 1)), None)
}

fn relabelled(world: &World, number: usize) -> Intent {
    let mut intent = world.intent.clone();
    let number = number * 7_919 % PODS;
    let name = ObjectName::new(format!("ns-{}", number / PER_NAMESPACE), format!("pod-{number}"));
    if let Some(mut pod) = intent.cluster.pods.get(&name).cloned() {
        pod.labels.insert("app".to_owned(), format!("app-{}", (number + 7) % APPS));
        intent.cluster.pods.insert(name, pod);
    }
    intent
}

/// Another policy has another port in one of its rules, and the one before its own again. It is one that
/// speaks of a pod here.
fn one_rule(world: &World, number: usize) -> (Option<Intent>, Option<Objects>) {
    let mut objects = world.objects.clone();
    let policy = selecting(number % LOCAL * (PODS / LOCAL));
    let namespaces = PODS / PER_NAMESPACE;
    let name = ObjectName::new(format!("ns-{}", policy % namespaces), format!("policy-{policy}"));
    let id = PolicyId { kind: PolicyKind::Kubernetes, name };
    if let Some(mut object) = objects.policies.get(&id).cloned() {
        if let Spec::Kubernetes(spec) = &mut object.spec {
            let ports = spec.ingress.iter_mut().flat_map(|rule| &mut rule.ports);
            let first = ports.filter_map(|port| port.port.as_mut()).next();
            if let Some(port) = first {
                let at = 3_000 + number as u16;
                *port = PortMatch::Range(at, at);
            }
        }
        objects.policies.insert(id, object);
    }
    (None, Some(objects))
}

/// The policy that selects a pod of an app that has one.
fn selecting(pod: usize) -> usize {
    pod % APPS * (PODS / PER_NAMESPACE) + pod / PER_NAMESPACE
}

/// One rule of the peer's in the place of another: p99 of milliseconds. `nft` reads all rules of a chain
/// back for that, which takes it seconds.
fn replaced() -> Measured<f64> {
    let (namespace, _) = peer(Peer::Iptables)?;
    // Behind the two that a CNI has in front.
    let last = (POLICIES * PER_POLICY + 2).to_string();
    let mut samples = Vec::new();
    for turn in 0..FEW {
        let port = (3_000 + turn).to_string();
        let start = Instant::now();
        let rule =
            ["-s", "10.160.0.0/16", "-p", "tcp", "-m", "tcp", "--dport", &port, "-j", "ACCEPT"];
        let arguments = [&["-R", "FORWARD", &last][..], &rule].concat();
        fed(&namespace, Peer::Iptables.words(), &arguments, "")?;
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(percentile(&samples, 99))
}

fn memory(bench: &mut Bench, world: &World) -> Measured<()> {
    let mut plant = Plant::new()?;
    trim_memory();
    let before = heap()?;
    plant.take(Some(world.intent.clone()), Some(world.objects.clone()))?;
    trim_memory();
    let heap = heap()? - before;
    let lines = f64::from(plant.compiler.policy_room().0);
    drop(plant);
    let rounds = (0..LOADS).map(|_| grown()).collect::<Measured<Vec<f64>>>()?;
    let theirs = median(&rounds);
    let words = "nftables, 100,000 linear rules, the kernel's memory";
    for (name, ours) in MEMORY.into_iter().zip([lines * 64.0, heap]) {
        bench.add(Row::cost(name, ours, "bytes", words, theirs));
    }
    Ok(())
}

/// Octets of this process that are in no file and no table.
fn heap() -> Measured<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(size.ok_or("the kernel does not tell the memory of a process")? * 1024.0)
}

/// Octets of the kernel's that the peer's rules take.
fn grown() -> Measured<f64> {
    let (_namespace, octets) = charge::of(|| peer(Peer::Nftables))?;
    Ok(octets)
}

/// Seconds from the start of an agent that finds all files until a pod lets in whom a policy names.
fn start() -> Measured<f64> {
    let node = Node::new()?;
    let pod = SERVERS[0];
    let at = SocketAddr::from((address(pod), PORT));
    let listener = node.inside(pod, || Ok(TcpListener::bind(at)?))?;
    let router = node.router.again()?;
    let allowed = format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod{CLIENT}\n  namespace: bench\n  \
         annotations: {{thalweg.io/interface: pod{CLIENT}, \
         thalweg.io/mac: \"02:00:00:00:0a:0{CLIENT}\"}}\nstatus: {{podIPs: [{{ip: {}}}]}}\n\
         ---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: last, \
         namespace: bench}}\nspec:\n  podSelector: {{}}\n  ingress:\n  - from: [{{podSelector: {{}}}}]\n    \
         ports: [{{port: {PORT}}}]\n",
        address(CLIENT)
    );
    let mut daemon = Daemon::new(&router, &(pods() + &allowed))?;
    for (name, text) in files() {
        daemon.write(&name, &text)?;
    }
    let start = Instant::now();
    daemon.spawn()?;
    node.inside(CLIENT, || {
        while let Err(error) = http::connect(at) {
            daemon.lives()?;
            if start.elapsed() > PATIENCE {
                return Err(format!("nobody answers at {at}: {error}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })?;
    let took = start.elapsed().as_secs_f64();
    drop(listener);
    say(&format!(
        "until the last pod answers: {took:.2} s, {:.2} s of them processor time",
        daemon.cpu()?
    ));
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_as_large_as_it_says() {
        let text: String = files().into_iter().map(|(_, text)| text).collect();
        for (what, count) in [
            ("kind: Pod\n", PODS),
            ("thalweg.io/interface", LOCAL),
            ("kind: NetworkPolicy\n", POLICIES),
            ("endPort", POLICIES * PER_POLICY),
        ] {
            assert_eq!(text.matches(what).count(), count, "{what}");
        }
    }

    #[test]
    fn changes_change_one_object() {
        let some = ["pods-7.yaml", "pods-15.yaml", "policies-0.yaml"];
        let files: Vec<_> =
            files().into_iter().filter(|(name, _)| some.contains(&&name[..])).collect();
        let world = World::new(&files).unwrap();
        for number in [0, 1] {
            let pods = one_label(&world, number).0.unwrap().cluster.pods;
            assert_eq!(world.intent.cluster.pods.differences(&pods).len(), 1);
            let objects = one_rule(&world, number).1.unwrap();
            assert_eq!(world.objects.policies.differences(&objects.policies).len(), 1);
        }
    }

    #[test]
    fn a_policy_whose_rule_changes_selects_a_pod_here() {
        for number in 0..LOCAL {
            let here = number * (PODS / LOCAL);
            assert!(interface(here).is_some());
            let (namespace, app) = (here / PER_NAMESPACE, here % APPS);
            let text = policy(selecting(here));
            assert!(text.contains(&format!("namespace: ns-{namespace}}}")), "{here}");
            assert!(text.contains(&format!("matchLabels: {{app: app-{app}}}}}\n")), "{here}");
        }
    }
}
