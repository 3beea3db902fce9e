//! `load/50k-services`, `update/one-service-50k`: a large cluster from files to packets.
//!
//! 50,000 services with 500,000 endpoints lie in files of 100 objects each, as a mirror of a cluster
//! writes them. What counts is when a packet is served: the pods behind the last service say who they
//! are. The kernel takes the same number of kube-proxy's nftables in no bearable time, so the peer is
//! smaller, and the row says how much.

use crate::cluster::{self, Cluster, TARGET};
use crate::daemon::Daemon;
use crate::network::run;
use crate::pods::{CLIENT, Node, PODS, SERVERS, address, spread};
use crate::report::Row;
use crate::samples::percentile;
use crate::vip::rules;
use crate::{Bench, Measured, say};
use nix::sys::socket::{Shutdown, shutdown};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

const START: &str = "load/50k-services/start";
const FILES: &str = "load/50k-services/files";
const UPDATE: [(&str, usize); 2] =
    [("update/one-service-50k/p50", 50), ("update/one-service-50k/p99", 99)];
const PEER: &str = "nft -f, 10,000 services with 2 endpoints";
/// What is measured, and what the peer takes.
const CLUSTER: Cluster = Cluster { services: 50_000, backends: 10 };
const SMALLER: Cluster = Cluster { services: 10_000, backends: 2 };
/// Objects of a file.
const OBJECTS: u32 = 100;
/// Changes of one service.
const CHANGES: usize = 100;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// All rows.
pub fn measure(bench: &mut Bench) {
    spread();
    let mut names = vec![START.to_owned(), FILES.to_owned()];
    names.extend(UPDATE.map(|(name, _)| name.to_owned()));
    bench.measure(&names, |bench| {
        say("load: 50,000 services with 500,000 endpoints in files of 100 objects");
        let ours = ours()?;
        let theirs = theirs()?;
        bench.add(Row::cost(START, ours.start, "s", PEER, theirs.start));
        bench.add(Row::cost(FILES, ours.files, "s", PEER, theirs.start));
        for (name, percent) in UPDATE {
            let [ours, theirs] = [&ours, &theirs].map(|took| percentile(&took.changes, percent));
            bench.add(Row::cost(name, ours, "ms", PEER, theirs));
        }
        Ok(())
    });
}

/// How long it took.
struct Took {
    /// Seconds from the start of an agent that finds all files, or from the start of `nft`.
    start: f64,
    /// Seconds from when the files appear before a running agent.
    files: f64,
    /// Milliseconds from a change until a packet follows.
    changes: Vec<f64>,
}

fn ours() -> Measured<Took> {
    let start = {
        let stage = Stage::new(Node::new()?, CLUSTER.last())?;
        let router = stage.node.router.again()?;
        let mut daemon = Daemon::new(&router, &CLUSTER.node("", &PODS))?;
        for (name, text) in files() {
            daemon.write(&name, &text)?;
        }
        let start = Instant::now();
        daemon.spawn()?;
        stage.until(None, || daemon.lives())?;
        let start = start.elapsed().as_secs_f64();
        told("from the start of the agent", start, daemon.cpu()?);
        start
    };
    let stage = Stage::new(Node::new()?, CLUSTER.last())?;
    let router = stage.node.router.again()?;
    let limits = "frontends: 400000, backends: 2000000, ringSlots: 256000000, flows: 1000000";
    let mut daemon = Daemon::new(&router, &CLUSTER.node(limits, &PODS))?;
    daemon.start(PODS.len())?;
    let names: Vec<String> = files()
        .map(|(name, text)| daemon.prepare(&name, &text).map(|()| name))
        .collect::<Measured<_>>()?;
    let (appeared, before) = (Instant::now(), daemon.cpu()?);
    for name in names {
        daemon.publish(&name)?;
    }
    stage.until(None, || daemon.lives())?;
    let files = appeared.elapsed().as_secs_f64();
    told("from the rename of the files", files, daemon.cpu()? - before);
    // What comes after: the second look at files that were written just now.
    std::thread::sleep(Duration::from_secs(5));
    let name = format!("slices-{}.yaml", CLUSTER.services / OBJECTS - 1);
    let (mut changes, before) = (Vec::with_capacity(CHANGES), daemon.cpu()?);
    for turn in 0..CHANGES {
        let pod = SERVERS[turn % SERVERS.len()];
        daemon.prepare(&name, &one_pod(pod))?;
        let changed = Instant::now();
        daemon.publish(&name)?;
        stage.until(Some(pod), || Ok(()))?;
        changes.push(changed.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(20));
    }
    let [middle, worst] = [50, 99].map(|percent| percentile(&changes, percent));
    let cpu = (daemon.cpu()? - before) * 1e3 / CHANGES as f64;
    say(&format!(
        "one service changed: {middle:.2} ms, p99 {worst:.2} ms, {cpu:.2} ms of processor time each"
    ));
    Ok(Took { start, files, changes })
}

/// Says how long it took, beside what the agent worked: where others work, too, that is less.
fn told(since: &str, took: f64, cpu: f64) {
    say(&format!(
        "{since} until the last service is served: {took:.2} s, {cpu:.2} s of them processor time"
    ));
}

fn theirs() -> Measured<Took> {
    let stage = Stage::new(Node::routed()?, SMALLER.last())?;
    let start = Instant::now();
    rules(&stage.node, SMALLER, "nftables")?;
    stage.until(None, || Ok(()))?;
    let start = start.elapsed().as_secs_f64();
    say(&format!("nft -f of {} services: {start:.2} s", SMALLER.services));
    let file = std::env::temp_dir().join(format!("thalweg-bench-change-{}", std::process::id()));
    let mut changes = Vec::with_capacity(CHANGES);
    for turn in 0..CHANGES {
        let pod = SERVERS[turn % SERVERS.len()];
        std::fs::write(&file, cluster::nft_change(SMALLER.services - 1, address(pod)))?;
        let changed = Instant::now();
        stage.node.router.inside(|| run("nft", &["-f", &file.display().to_string()]))?;
        stage.until(Some(pod), || Ok(()))?;
        changes.push(changed.elapsed().as_secs_f64() * 1e3);
    }
    let _ = std::fs::remove_file(&file);
    Ok(Took { start, files: start, changes })
}

/// All files with their names.
fn files() -> impl Iterator<Item = (String, String)> {
    (0..CLUSTER.services / OBJECTS).flat_map(|file| {
        let numbers = file * OBJECTS..(file + 1) * OBJECTS;
        [
            (format!("services-{file}.yaml"), CLUSTER.list(numbers.clone(), cluster::service)),
            (format!("slices-{file}.yaml"), CLUSTER.list(numbers, cluster::slice)),
        ]
    })
}

/// The last file of slices, with one pod behind the last service.
fn one_pod(pod: usize) -> String {
    let numbers = CLUSTER.services - OBJECTS..CLUSTER.services;
    let text = CLUSTER.list(numbers, cluster::slice);
    let both = cluster::slice(CLUSTER.services - 1, &SERVERS.map(address));
    text.replace(&both, &cluster::slice(CLUSTER.services - 1, &[address(pod)]))
}

/// A node whose pods say who they are.
struct Stage {
    node: Node,
    at: SocketAddr,
    listeners: Vec<Arc<TcpListener>>,
}

impl Stage {
    fn new(node: Node, at: SocketAddr) -> Measured<Self> {
        let listen = |pod: usize| {
            let listener = node.inside(pod, || {
                Ok(Arc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET))?))
            })?;
            let serving = listener.clone();
            std::thread::spawn(move || {
                while let Ok((mut stream, _)) = serving.accept() {
                    let _ = stream.write_all(&[pod as u8]);
                }
            });
            Ok(listener)
        };
        let listeners = SERVERS.into_iter().map(listen).collect::<Measured<Vec<_>>>()?;
        Ok(Self { node, at, listeners })
    }

    /// Waits until a pod answers: that one, or any.
    fn until(&self, pod: Option<usize>, mut well: impl FnMut() -> Measured<()>) -> Measured<()> {
        self.node.inside(CLIENT, || {
            let start = Instant::now();
            while !who(self.at).is_ok_and(|who| pod.is_none_or(|pod| pod == usize::from(who))) {
                well()?;
                if start.elapsed() > PATIENCE {
                    return Err(format!("pod {pod:?} does not answer at {}", self.at).into());
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(())
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for listener in &self.listeners {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
    }
}

/// Who answers at an address.
fn who(at: SocketAddr) -> std::io::Result<u8> {
    let patience = Duration::from_millis(100);
    let mut stream = TcpStream::connect_timeout(&at, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut octet = [0];
    stream.read_exact(&mut octet)?;
    Ok(octet[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_one_endpoint_out_of_the_last_file() {
        let whole = files().last().unwrap().1;
        let [first, second] = SERVERS.map(one_pod);
        assert_ne!(first, second);
        let line = |pod| format!("    - {}\n", address(pod));
        assert_eq!(first, whole.replacen(&endpoint(&line(SERVERS[1])), "", 1));
        assert!(second.contains(&line(SERVERS[1])) && !second.contains(&line(SERVERS[0])));
    }

    fn endpoint(address: &str) -> String {
        format!(
            "  - addresses:\n{address}    conditions:\n      ready: true\n      serving: true\n      \
             terminating: false\n"
        )
    }
}
