//! How long a large cluster takes from objects to tables, from nothing and after single changes, and how
//! large these are: `cargo run --release -p thalweg-policy --example compile [POLICIES [RULES [PODS [LOCAL
//! [ROUNDS]]]]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use thalweg_model::cluster::{Cluster, ObjectName, Pod, Protocol};
use thalweg_model::{Origin, Prefix};
use thalweg_policy::object::kubernetes::{
    ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterRule, LabelSelector,
    NetworkPolicy, Peer, PodsOf, Port, PortMatch, Rule,
};
use thalweg_policy::object::{PolicyId, PolicyKind, PolicyObject, Spec};
use thalweg_policy::table::{Change, Tables};
use thalweg_policy::{Compiler, Model, Objects, Resolution, ThisHost, View, World};

/// Pods in a namespace, and apps among which they are shared.
const PODS: usize = 100;
const APPS: usize = 20;

fn selector(key: &str, value: String) -> LabelSelector {
    LabelSelector { labels: [(key.to_owned(), value)].into(), ..LabelSelector::default() }
}

/// A rule that lets pods of an app, here or in another namespace, come to some ports.
fn rule(number: usize, namespaces: usize) -> Rule {
    let app = selector("app", format!("app-{}", number * 7 % APPS));
    let name = format!("ns-{}", number * 13 % namespaces);
    let elsewhere = selector("kubernetes.io/metadata.name", name);
    let peer = Peer::Pods {
        namespaces: Some(elsewhere).filter(|_| !number.is_multiple_of(3)),
        pods: Some(app),
    };
    let port = 1_000 + (number * 31 % 500) as u16;
    let port = Port { protocol: Protocol::Tcp, port: Some(PortMatch::Range(port, port + 3)) };
    Rule { peers: vec![peer], ports: vec![port], ..Rule::default() }
}

fn pod(at: usize) -> Pod {
    let address: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + at as u32).into();
    let labels = [("app".to_owned(), format!("app-{}", at % APPS))].into();
    Pod { addresses: vec![address], labels, ..Pod::default() }
}

fn pod_name(at: usize) -> ObjectName {
    ObjectName::new(format!("ns-{}", at / PODS), format!("pod-{at}"))
}

/// How many of everything there are.
#[derive(Clone, Copy)]
struct Size {
    policies: usize,
    rules: usize,
    pods: usize,
    local: usize,
    rounds: usize,
}

impl Size {
    fn namespaces(self) -> usize {
        (self.pods / PODS).max(1)
    }

    fn is_local(self, pod: usize) -> bool {
        pod.is_multiple_of((self.pods / self.local.max(1)).max(1))
    }

    /// A policy for an app in a namespace.
    fn policy(self, at: usize) -> (PolicyId, NetworkPolicy) {
        let namespaces = self.namespaces();
        let name = ObjectName::new(format!("ns-{}", at % namespaces), format!("policy-{at}"));
        let each = self.rules / self.policies.max(1);
        let spec = NetworkPolicy {
            pods: selector("app", format!("app-{}", at / namespaces % APPS)),
            isolates_ingress: true,
            ingress: (0..each).map(|rule_at| rule(at * each + rule_at, namespaces)).collect(),
            ..NetworkPolicy::default()
        };
        (PolicyId { kind: PolicyKind::Kubernetes, name }, spec)
    }

    /// A policy that selects a pod that is here.
    fn policy_here(self, number: usize) -> (PolicyId, NetworkPolicy) {
        let pod = self.local_pod(number);
        let mut at = pod % APPS * self.namespaces() + pod / PODS;
        at += number % 3 * self.namespaces() * APPS;
        self.policy(at % self.policies.max(1))
    }

    /// The pod that is here and comes after a number.
    fn local_pod(self, number: usize) -> usize {
        let here = (0..self.pods).filter(|at| self.is_local(*at));
        here.clone().nth(number % here.count().max(1)).unwrap_or(0)
    }
}

fn object(spec: Spec) -> PolicyObject {
    PolicyObject { origin: Origin::default(), staged: Default::default(), spec }
}

/// What is compiled.
#[derive(Clone)]
struct State {
    objects: Objects,
    cluster: Cluster,
    local: BTreeSet<ObjectName>,
}

/// A change of one object, by the number of its round.
type Act = fn(&mut State, Size, usize);

const ACTS: [(&str, Act); 10] = [
    ("label of a pod elsewhere", |state, size, round| {
        let at = (round * 7_919 + 1) % size.pods;
        relabel(state, at, at + round);
    }),
    ("label of a pod beside one that is here", |state, size, round| {
        let at = (size.local_pod(round) + 1 + round % 7) % size.pods;
        relabel(state, at, round * 7);
    }),
    ("label of a pod that is here", |state, size, round| {
        relabel(state, size.local_pod(round), round % APPS);
    }),
    ("label of a namespace", |state, size, round| {
        let labels: BTreeMap<String, String> = [("team".into(), format!("t{round}"))].into();
        let namespace = size.local_pod(round) / PODS;
        state.objects.namespaces.insert(format!("ns-{namespace}"), labels);
    }),
    ("rule of a policy that applies here", |state, size, round| {
        let (id, mut spec) = size.policy_here(round);
        spec.ingress.push(rule(round * 17 + 5, size.namespaces()));
        state.objects.policies.insert(id, object(Spec::Kubernetes(spec)));
    }),
    ("rule for 0.0.0.0/0 but 10.0.0.0/9", |state, size, round| {
        let (id, mut spec) = size.policy_here(round);
        let cidr = Prefix::containing(Ipv4Addr::UNSPECIFIED.into(), 0);
        let except = vec![Prefix::containing(Ipv4Addr::new(10, 0, 0, 0).into(), 9)];
        let block = Peer::Block { cidr, except };
        spec.ingress.push(Rule { peers: vec![block], ..Rule::default() });
        state.objects.policies.insert(id, object(Spec::Kubernetes(spec)));
    }),
    ("rule of a policy for all pods of the cluster", |state, _, round| {
        let peer = ClusterPeer::Pods(PodsOf {
            pods: selector("app", format!("app-{}", round % APPS)),
            ..PodsOf::default()
        });
        let port = ClusterPort::Of(Protocol::Tcp, Some((1_000, 1_000 + round as u16)));
        let rule = |peer| ClusterRule {
            place: Default::default(),
            name: String::new(),
            action: ClusterAction::Deny,
            peers: vec![peer],
            ports: vec![port.clone()],
        };
        let networks = vec![Prefix::containing(Ipv4Addr::new(192, 0, 2, 0).into(), 24)];
        let spec = ClusterNetworkPolicy {
            ingress: vec![rule(peer), rule(ClusterPeer::Networks(networks))],
            ..ClusterNetworkPolicy::default()
        };
        let id = PolicyId { kind: PolicyKind::Cluster, name: ObjectName::new("", "all") };
        state.objects.policies.insert(id, object(Spec::Cluster(spec)));
    }),
    ("one more pod elsewhere", |state, size, round| {
        let at = size.pods + round;
        let namespace = size.local_pod(round) / PODS;
        let name = ObjectName::new(format!("ns-{namespace}"), format!("new-{at}"));
        state.cluster.pods.insert(name, pod(at));
    }),
    ("one more pod here", |state, size, round| {
        let at = (size.pods / APPS + round) * APPS;
        let namespace = size.local_pod(round) / PODS;
        let name = ObjectName::new(format!("ns-{namespace}"), format!("new-{at}"));
        state.cluster.pods.insert(name.clone(), pod(at));
        state.local.insert(name);
    }),
    ("one more policy that applies here", |state, size, round| {
        let (mut id, spec) = size.policy_here(round);
        id.name.name = format!("new-{round}");
        state.objects.policies.insert(id, object(Spec::Kubernetes(spec)));
    }),
];

fn relabel(state: &mut State, at: usize, app: usize) {
    let labels = [("app".to_owned(), format!("app-{}", app % APPS))].into();
    state.cluster.pods.insert(pod_name(at), Pod { labels, ..pod(at) });
}

/// How often something was touched.
fn touched(change: &Change) -> String {
    let Change { stretches, sets, rows, endpoints, .. } = change;
    let counts = [stretches.len(), sets.len(), rows.len(), endpoints.len()];
    let [stretches, sets, rows, endpoints] = counts;
    format!("{stretches} stretches, {sets} sets, {rows} rows, {endpoints} endpoints")
}

fn memory(what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.trim_start_matches(name).trim().to_owned()
    };
    println!("memory      {what}: {} now, {} at most", of("VmRSS:"), of("VmHWM:"));
}

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |usual: usize| args.next().and_then(Result::ok).unwrap_or(usual);
    let size = Size {
        policies: next(10_000),
        rules: next(100_000),
        pods: next(100_000),
        local: next(200),
        rounds: next(200),
    };
    let all_pods = (0..size.pods).map(|at| (pod_name(at), pod(at))).collect();
    let all_policies = (0..size.policies).map(|at| {
        let (id, spec) = size.policy(at);
        (id, object(Spec::Kubernetes(spec)))
    });
    let state = State {
        objects: Objects { policies: all_policies.collect(), ..Objects::default() },
        cluster: Cluster { pods: all_pods, ..Cluster::default() },
        local: (0..size.pods).filter(|at| size.is_local(*at)).map(pod_name).collect(),
    };
    memory("objects");
    let start = Instant::now();
    let mut compiler = Compiler::default();
    compiler.update(&state.objects, &state.cluster, &state.local, &ThisHost::default());
    let took = start.elapsed().as_secs_f64();
    println!("{took:>8.3} s  from nothing: {:?}", compiler.tables().sizes());
    memory("and tables that follow");
    for (name, act) in ACTS {
        let mut state = state.clone();
        compiler.update(&state.objects, &state.cluster, &state.local, &ThisHost::default());
        let mut times: Vec<(Duration, String)> = Vec::new();
        for round in 0..size.rounds {
            act(&mut state, size, round);
            let start = Instant::now();
            compiler.update(&state.objects, &state.cluster, &state.local, &ThisHost::default());
            times.push((start.elapsed(), touched(compiler.change())));
        }
        times.sort();
        let at = |part: usize| &times[(times.len() * part / 100).min(times.len() - 1)];
        println!("{name}");
        for (part, word) in [(50, "p50"), (99, "p99")] {
            let (time, touched) = at(part);
            println!("{:>8.3} ms  {word}: {touched}", time.as_secs_f64() * 1e3);
        }
    }
    memory("after all changes");
    drop(compiler);
    once(size, &state);
}

/// The stages one by one, of which nothing is kept.
fn once(size: Size, state: &State) {
    let start = Instant::now();
    let tell = |what: String| println!("{:>8.3} s  {what}", start.elapsed().as_secs_f64());
    let model = Model::new(&state.objects, View::Enforced);
    tell("model".into());
    let world = World::new(&state.objects, &state.cluster, |_| Origin::default());
    tell(format!("world: {} endpoints", world.endpoints.len()));
    let names: Vec<bool> =
        state.cluster.pods.keys().map(|name| state.local.contains(name)).collect();
    let is_local = |at: usize| names[at];
    let resolution = Resolution::within(world, model, is_local);
    let (peers, chains) = (resolution.peers.len(), resolution.chains.len());
    tell(format!("resolution: {peers} selectors, {chains} chains"));
    let tables = Tables::new(&resolution, is_local);
    tell(format!("tables: {:?}, of {} rules", tables.sizes(), size.rules));
    memory("and all stages");
}
