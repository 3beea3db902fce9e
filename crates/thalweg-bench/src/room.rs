//! `memory/flow`, `memory/service`: what a flow and a service take.

use crate::cluster::Cluster;
use crate::daemon::Daemon;
use crate::object::Object;
use crate::pods::{Node, PODS, spread};
use crate::report::Row;
use crate::samples::median;
use crate::vip::rules;
use crate::{Bench, Measured, charge, say};
use std::fs;
use std::time::Duration;
use thalweg_abi::TableId;
use thalweg_image::{Capacity, Limits};

const FLOW: &str = "memory/flow";
const SERVICE: &str = "memory/service";
/// Room for flows that is measured.
const FLOWS: u32 = 1 << 20;
/// Services that are compared: what both numbers have in common does not count.
const SERVICES: [u32; 2] = [1_000, 11_000];
/// Backends of each service.
const BACKENDS: u32 = 10;
/// What the peer takes: nftables takes much longer for more.
const PEERS: Cluster = Cluster { services: 2_000, backends: BACKENDS };
/// Turns of the peer.
const ROUNDS: usize = 3;

/// Both rows.
pub fn measure(bench: &mut Bench) {
    spread();
    bench.measure(&[FLOW.to_owned()], |bench| {
        say("memory: a flow, as the kernel accounts for its tables");
        let theirs = slab("nf_conntrack")?;
        let capacity =
            Capacity::for_limits(&Limits { links: 16, flows: FLOWS, ..Limits::default() });
        let mut object = Object::flows(&capacity)?;
        let mut ours = 0;
        for table in [TableId::FlowSlots, TableId::Flows] {
            ours += object.memory(table.name())?;
        }
        let ours = ours as f64 / f64::from(FLOWS);
        bench.add(Row::cost(FLOW, ours, "bytes", "nf_conntrack entry, without extensions", theirs));
        Ok(())
    });
    bench.measure(&[SERVICE.to_owned()], |bench| {
        say("memory: 10,000 services more in an agent, 2,000 in kube-proxy's nftables");
        let [few, many] = SERVICES.map(|services| Cluster { services, backends: BACKENDS });
        let ours = (agent(many)? - agent(few)?) / f64::from(SERVICES[1] - SERVICES[0]);
        let rounds = (0..ROUNDS).map(|_| nftables(PEERS)).collect::<Measured<Vec<_>>>()?;
        let theirs = median(&rounds) / f64::from(PEERS.services);
        bench.add(Row::cost(SERVICE, ours, "bytes", "nftables, the kernel's memory", theirs));
        Ok(())
    });
}

/// Octets of an entry of one of the kernel's slabs.
fn slab(name: &str) -> Measured<f64> {
    let text = fs::read_to_string("/proc/slabinfo")?;
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let size = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    Ok(size.ok_or_else(|| format!("the kernel shows no slab {name}"))?)
}

/// Octets of an agent with these services, whose tables are as large as it chooses.
fn agent(cluster: Cluster) -> Measured<f64> {
    let node = Node::new()?;
    let mut daemon = Daemon::new(&node.router, &cluster.node("", &PODS))?;
    for (name, text) in cluster.files() {
        daemon.write(name, &text)?;
    }
    daemon.start(PODS.len())?;
    // What it was made with is given back after a second.
    std::thread::sleep(Duration::from_secs(4));
    daemon.memory()
}

/// Octets of the kernel's that rules of these services take.
fn nftables(cluster: Cluster) -> Measured<f64> {
    let node = Node::routed()?;
    Ok(charge::of(|| rules(&node, cluster, "nftables"))?.1)
}
