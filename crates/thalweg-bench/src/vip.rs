//! `http/…` and `first-packet/…`: what clients feel of services, beside the rules of kube-proxy.
//!
//! A client pod, a router and two pods that serve: once with an agent as people run it, and once more for
//! each peer, with the rules that kube-proxy writes for iptables and nftables and the kernel's conntrack.
//! All stand at the same time and take turns on the same machine.

use crate::cluster::{self, Cluster, TARGET};
use crate::daemon::Daemon;
use crate::http::{self, Keep, Server};
use crate::pods::{CLIENT, Node, PODS, SERVERS, spread};
use crate::report::Row;
use crate::samples::{median, percentile};
use crate::{Bench, Measured, say};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sizes of clusters.
const SIZES: [(u32, &str); 2] = [(100, "100"), (10_000, "10k")];
const KEEPS: [(Keep, &str); 2] = [(Keep::Close, "close"), (Keep::Alive, "keepalive")];
const PERCENTS: [(usize, &str); 2] = [(50, "p50"), (99, "p99")];
/// Peers: their names in rows.
const PEERS: [&str; 2] = ["iptables", "nftables"];
/// Backends of each service.
const BACKENDS: u32 = 2;
/// Turns of each engine.
const ROUNDS: usize = 7;
/// One turn of requests.
const TURN: Duration = Duration::from_millis(1_500);
/// Connections of one turn.
const CONNECTS: usize = 1_000;

/// All rows.
pub fn measure(bench: &mut Bench) {
    spread();
    for (services, size) in SIZES {
        let mut names = Vec::new();
        for peer in PEERS {
            names.extend(KEEPS.map(|(_, keep)| http_row(keep, size, peer)));
            if services > 1_000 {
                names.extend(PERCENTS.map(|(_, percent)| first_row(percent, size, peer)));
            }
        }
        bench.measure(&names.clone(), |bench| {
            say(&format!("http: {services} services beside kube-proxy's rules for as many"));
            sized(bench, Cluster { services, backends: BACKENDS }, size, &names)
        });
    }
}

fn http_row(keep: &str, size: &str, peer: &str) -> String {
    format!("http/{keep}/{size}-services/vs-{peer}")
}

fn first_row(percent: &str, size: &str, peer: &str) -> String {
    format!("first-packet/{percent}/{size}-services/vs-{peer}")
}

/// A node whose pods serve.
pub struct Standing {
    /// In front of the node, so that servers end before their pods.
    _servers: Vec<Server>,
    /// The node.
    pub node: Node,
}

impl Standing {
    /// Starts the servers.
    pub fn new(node: Node) -> Measured<Self> {
        let start = |pod| node.inside(pod, || Server::start(TARGET, http::CONNECTIONS * 2));
        let servers = SERVERS.into_iter().map(start).collect::<Measured<Vec<_>>>()?;
        Ok(Self { _servers: servers, node })
    }

    /// A node with kube-proxy's rules: its name in words, and the node.
    pub fn peer(cluster: Cluster, peer: &str) -> Measured<(String, Self)> {
        let standing = Self::new(Node::routed()?)?;
        let words = rules(&standing.node, cluster, peer)?;
        standing.served(cluster.last())?;
        Ok((words, standing))
    }

    /// Waits until the pods are reached at an address.
    pub fn served(&self, at: SocketAddr) -> Measured<()> {
        self.node.inside(CLIENT, || {
            let start = Instant::now();
            while let Err(error) = http::connect(at) {
                if start.elapsed() > Duration::from_secs(60) {
                    return Err(format!("nobody answers at {at}: {error}").into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })
    }
}

/// Reads kube-proxy's rules into the router of a node; what reads them, in words.
pub fn rules(node: &Node, cluster: Cluster, peer: &str) -> Measured<String> {
    if peer == "nftables" {
        node.rules("nft", &["-f"], &cluster::nftables(cluster))?;
        return Ok("nftables, kube-proxy's rules".to_owned());
    }
    // The kernel's own iptables is quicker than the one on top of nftables.
    let legacy = "iptables-legacy-restore";
    let there = ["/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join(legacy).exists());
    let program = if there { legacy } else { "iptables-restore" };
    node.rules(program, &[], &cluster::iptables(cluster))?;
    Ok(format!("{}, kube-proxy's rules", program.trim_end_matches("-restore")))
}

/// The rows of a size.
fn sized(bench: &mut Bench, cluster: Cluster, size: &str, names: &[String]) -> Measured<()> {
    let ours = Standing::new(Node::new()?)?;
    let mut daemon = Daemon::new(&ours.node.router, &cluster.node("", &PODS))?;
    for (name, text) in cluster.files() {
        daemon.write(name, &text)?;
    }
    daemon.start(PODS.len())?;
    ours.served(cluster.last())?;
    let mut peers = Vec::new();
    for peer in PEERS {
        let rows = |name: &&String| name.ends_with(peer);
        let rows: Vec<String> = names.iter().filter(rows).cloned().collect();
        bench.measure(&rows, |_| {
            let (words, standing) = Standing::peer(cluster, peer)?;
            peers.push((peer, words, standing));
            Ok(())
        });
    }
    let engines: Vec<&Standing> =
        [&ours].into_iter().chain(peers.iter().map(|(_, _, standing)| standing)).collect();
    for (keep, name) in KEEPS {
        let rows = PEERS.map(|peer| http_row(name, size, peer));
        if !bench.wants(&rows) {
            continue;
        }
        let rates = turns(&engines, || http::rate(cluster.last(), keep, TURN))?;
        for ((peer, words, _), theirs) in peers.iter().zip(&rates[1..]) {
            let [ours, theirs] = [&rates[0], theirs].map(|samples| median(samples));
            bench.add(Row::rate(&http_row(name, size, peer), ours, "requests/s", words, theirs));
        }
    }
    let wanted = |name: &&String| name.starts_with("first-packet");
    let rows: Vec<String> = names.iter().filter(wanted).cloned().collect();
    if !bench.wants(&rows) {
        return Ok(());
    }
    let times = turns(&engines, || connects(cluster.last()))?;
    let times: Vec<Vec<f64>> = times.into_iter().map(|rounds| rounds.concat()).collect();
    for (percent, name) in PERCENTS {
        for ((peer, words, _), theirs) in peers.iter().zip(&times[1..]) {
            let [ours, theirs] = [&times[0], theirs].map(|samples| percentile(samples, percent));
            bench.add(Row::cost(&first_row(name, size, peer), ours, "µs", words, theirs));
        }
    }
    Ok(())
}

/// Turns of all engines, one after the other in each round: what their clients measured.
fn turns<T>(engines: &[&Standing], turn: impl Fn() -> Measured<T>) -> Measured<Vec<Vec<T>>> {
    let mut samples: Vec<Vec<T>> = engines.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (engine, samples) in engines.iter().zip(&mut samples) {
            samples.push(engine.node.inside(CLIENT, &turn)?);
        }
    }
    Ok(samples)
}

/// New flows, one after the other: microseconds until each is established.
fn connects(at: SocketAddr) -> Measured<Vec<f64>> {
    let mut samples = Vec::with_capacity(CONNECTS);
    for _ in 0..CONNECTS {
        let start = Instant::now();
        let stream = http::connect(at)?;
        samples.push(start.elapsed().as_secs_f64() * 1e6);
        drop(stream);
        // The other end closes meanwhile, so that the next one finds an idle machine.
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(samples)
}
