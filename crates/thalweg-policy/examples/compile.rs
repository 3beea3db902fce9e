//! How long a large cluster takes from objects to tables, and how large these are:
//! `cargo run --release -p thalweg-policy --example compile [POLICIES [RULES [PODS [LOCAL]]]]`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;
use thalweg_model::Origin;
use thalweg_model::cluster::{Cluster, ObjectName, Pod, Protocol};
use thalweg_policy::object::kubernetes::{
    LabelSelector, NetworkPolicy, Peer, Port, PortMatch, Rule,
};
use thalweg_policy::object::{PolicyId, PolicyKind, PolicyObject, Spec};
use thalweg_policy::table::Tables;
use thalweg_policy::{Model, Objects, Resolution, View, World};

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

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |usual: usize| args.next().and_then(Result::ok).unwrap_or(usual);
    let (policies, rules, pods, local) = (next(10_000), next(100_000), next(100_000), next(200));
    let namespaces = (pods / PODS).max(1);
    let all_pods = (0..pods)
        .map(|at| {
            let name = ObjectName::new(format!("ns-{}", at / PODS), format!("pod-{at}"));
            let address: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + at as u32).into();
            let labels = [("app".to_owned(), format!("app-{}", at % APPS))].into();
            (name, Pod { addresses: vec![address], labels, ..Pod::default() })
        })
        .collect();
    let cluster = Cluster { pods: all_pods, ..Cluster::default() };
    let all_policies = (0..policies)
        .map(|at| {
            let name = ObjectName::new(format!("ns-{}", at % namespaces), format!("policy-{at}"));
            let id = PolicyId { kind: PolicyKind::Kubernetes, name };
            let each = rules / policies.max(1);
            let spec = NetworkPolicy {
                pods: selector("app", format!("app-{}", at / namespaces % APPS)),
                isolates_ingress: true,
                ingress: (0..each).map(|rule_at| rule(at * each + rule_at, namespaces)).collect(),
                ..NetworkPolicy::default()
            };
            let spec = Spec::Kubernetes(spec);
            (id, PolicyObject { origin: Origin::default(), staged: Default::default(), spec })
        })
        .collect();
    let objects = Objects { policies: all_policies, ..Objects::default() };
    let start = Instant::now();
    let model = Model::new(&objects, View::Enforced);
    println!("{:>8.3} s  model", start.elapsed().as_secs_f64());
    let world = World::new(&objects, &cluster, |_| Origin::default());
    println!(
        "{:>8.3} s  world: {} endpoints",
        start.elapsed().as_secs_f64(),
        world.endpoints.len()
    );
    let step = (pods / local.max(1)).max(1);
    let is_local = |at: usize| at.is_multiple_of(step);
    let resolution = Resolution::within(world, model, is_local);
    let time = start.elapsed().as_secs_f64();
    println!(
        "{time:>8.3} s  resolution: {} selectors, {} chains",
        resolution.peers.len(),
        resolution.chains.len()
    );
    let tables = Tables::new(&resolution, is_local);
    println!("{:>8.3} s  tables: {:?}", start.elapsed().as_secs_f64(), tables.sizes());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("memory      {}", line.trim_start_matches("VmHWM:").trim());
    }
}
