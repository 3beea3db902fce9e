//! `flow-create/…`: new flows as fast as they come, and more of them than there is room for.
//!
//! First packets of TCP connections come to a service as real frames (`BPF_F_TEST_XDP_LIVE_FRAMES`), from
//! 1,024 addresses behind one link, each of a flow that was never seen; the router has an agent, or
//! kube-proxy's rules and the kernel's conntrack; the pods that serve count what arrives and drop it.

use crate::cluster::{Cluster, TARGET};
use crate::daemon::Daemon;
use crate::http::{self, Keep, Server};
use crate::network::{Namespace, index, ip, run};
use crate::object::Object;
use crate::pods::{CLIENT, Node, PODS, SERVERS, address, spread};
use crate::report::Row;
use crate::samples::{median, pin};
use crate::traffic::Template;
use crate::vip::rules;
use crate::{Bench, Measured, say};
use aya::programs::XdpMode;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};
use thalweg_abi::{Counter, Reason, Verdict};

const RATE: &str = "flow-create/rate";
const KNOWN: &str = "flow-create/known-at-10x";
const COUNTED: &str = "flow-create/counted-at-10x";
const PEER: &str = "conntrack, kube-proxy's nftables";
/// First packets are for the last service.
const CLUSTER: Cluster = Cluster { services: 1_000, backends: 2 };
/// Addresses that first packets come from: 2^10, as the generator changes ports.
const SOURCES: u32 = 1 << 10;
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 160, 0, 0);
/// The link that they come by is no pod's: a pod speaks for its own addresses alone.
const UPLINK: &str = "---\napiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {name: uplink}\n\
                      spec: {interfaces: [pod0]}\n";
/// Turns of each engine.
const ROUNDS: usize = 5;
/// Frames of one turn that the router takes: conntrack has room for one turn.
const FRAMES: u64 = 150_000;
/// Frames that are sent at once.
const BURST: u32 = 1 << 13;
/// Flows that there is room for when they are too many.
const ROOM: u64 = 1 << 16;
/// Connections that are there before.
const KNOWNS: usize = 500;

/// All rows.
pub fn measure(bench: &mut Bench) {
    for (names, work) in [
        (vec![RATE.to_owned()], rate as fn(&mut Bench) -> Measured<()>),
        (vec![KNOWN.to_owned(), COUNTED.to_owned()], crowd),
    ] {
        bench.measure(&names, |bench| {
            spread();
            let done = work(bench);
            spread();
            done
        });
    }
}

/// New flows per second.
fn rate(bench: &mut Bench) -> Measured<()> {
    say("flow-create: first packets to one of 1,000 services");
    let mut ours = services(Node::new()?)?;
    let router = ours.node.router.again()?;
    let mut daemon = agent(&router, 2_000_000)?;
    ours.sink()?;
    let mut samples = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        samples[0].push(ours.rate(FRAMES)?);
        let mut theirs = services(Node::routed()?)?;
        rules(&theirs.node, CLUSTER, "nftables")?;
        theirs.sink()?;
        samples[1].push(theirs.rate(FRAMES)?);
    }
    daemon.lives()?;
    let [ours, theirs] = samples.map(|samples| median(&samples));
    bench.add(Row::rate(RATE, ours, "flows/s", PEER, theirs));
    Ok(())
}

/// What becomes of known flows, and of ten times as many new ones as there is room for.
fn crowd(bench: &mut Bench) -> Measured<()> {
    say("flow-create: ten times as many new flows as there is room for");
    let ours = {
        let mut flood = services(Node::new()?)?;
        let router = flood.node.router.again()?;
        let mut daemon = agent(&router, ROOM)?;
        let tally = flood.crowd(ROOM, || daemon.counted("drop", "flows-full"))?;
        daemon.lives()?;
        tally
    };
    let theirs = {
        let mut flood = services(Node::routed()?)?;
        rules(&flood.node, CLUSTER, "nftables")?;
        let room = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max")?;
        let router = flood.node.router.again()?;
        flood.crowd(room.trim().parse()?, || router.inside(conntrack_drops))?
    };
    for (name, at) in [(KNOWN, 0), (COUNTED, 1)] {
        bench.add(Row::rate(name, ours[at], "%", PEER, theirs[at]));
    }
    Ok(())
}

/// An agent with the services of the generator and room for so many flows.
fn agent(router: &Namespace, flows: u64) -> Measured<Daemon<'_>> {
    let config = CLUSTER.node(&format!("flows: {flows}"), &SERVERS) + UPLINK;
    let mut daemon = Daemon::new(router, &config)?;
    for (name, text) in CLUSTER.files() {
        daemon.write(name, &text)?;
    }
    daemon.start(PODS.len())?;
    Ok(daemon)
}

/// Packets that conntrack had no room for, in the namespace of this thread.
fn conntrack_drops() -> Measured<u64> {
    dropped(&fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack")?)
}

/// The sum over processors of the column `drop`, which is in hexadecimal.
fn dropped(text: &str) -> Measured<u64> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "drop");
    let column = column.ok_or("the kernel does not count what conntrack drops")?;
    let mut sum = 0;
    for line in lines {
        let word = line.split_whitespace().nth(column).ok_or("a short line of conntrack")?;
        sum += u64::from_str_radix(word, 16)?;
    }
    Ok(sum)
}

/// First packets to the last service.
fn services(node: Node) -> Measured<Flood> {
    let SocketAddr::V4(to) = CLUSTER.last() else { return Err("an IPv4 service".into()) };
    let first = FIRST_SOURCE.to_bits();
    let net = format!("{FIRST_SOURCE}/16");
    Flood::new(node, to, &net, &(first..first + SOURCES).collect::<Vec<_>>())
}

/// A node with a generator and sinks.
pub struct Flood {
    node: Node,
    generator: Object,
    sinks: Vec<Object>,
}

impl Flood {
    /// First packets from these addresses of a net, a power of two, to an address and port.
    pub fn new(node: Node, to: SocketAddrV4, net: &str, sources: &[u32]) -> Measured<Self> {
        // So that the link takes finished frames. Router and sinks run where the generator does, behind
        // each of its batches: nothing is lost in queues, and how busy others are does not matter.
        node.router.inside(|| {
            let uplink = address(CLIENT);
            ip(&format!(
                "route replace {uplink}/32 dev pod0 scope link\n\
                 route add {net} via {uplink} dev pod0 onlink\n"
            ))?;
            run("ethtool", &["-K", "pod0", "gro", "on"])
        })?;
        let feed = node.inside(CLIENT, || index("eth0"))?;
        let mut generator = Object::helpers(&["generate_syn"], &[], None)?;
        generator.trace4(sources)?;
        let template = Template::syn([2, 0, 0, 0, 9, CLIENT as u8], to);
        generator.template(&template.flows(sources.len() as u64).through(feed))?;
        Ok(Self { node, generator, sinks: Vec::new() })
    }

    /// Lets pods count first packets from now on, and drop them.
    pub fn sink(&mut self) -> Measured<()> {
        for pod in SERVERS {
            let mut sink = Object::helpers(&["syn_sink"], &[], None)?;
            self.node.inside(pod, || {
                sink.program("syn_sink")?.attach("eth0", XdpMode::Driver)?;
                Ok(())
            })?;
            self.sinks.push(sink);
        }
        Ok(())
    }

    /// First packets that pods have counted.
    fn arrived(&mut self) -> Measured<u64> {
        let mut sum = 0;
        for sink in &mut self.sinks {
            let row = Verdict::deliver(Reason::Local).counter();
            let rows: Vec<[u64; size_of::<Counter>() / 8]> = sink.per_processor("counters", row)?;
            sum += rows.iter().map(|row| row[0]).sum::<u64>();
        }
        Ok(sum)
    }

    /// Lets the router itself count first packets and drop them: what sending costs alone.
    pub fn sink_at_once(&mut self) -> Measured<()> {
        let mut sink = Object::helpers(&["syn_sink"], &[], None)?;
        self.node.router.inside(|| {
            sink.program("syn_sink")?.attach("pod0", XdpMode::Driver)?;
            Ok(())
        })?;
        self.sinks.push(sink);
        Ok(())
    }

    /// Sends until the router has taken so many frames; how many it has taken.
    fn send(&mut self, frames: u64) -> Measured<u64> {
        pin(0, 0);
        let Self { node, generator, .. } = self;
        let (start, before) = (Instant::now(), node.received(CLIENT)?);
        loop {
            let burst = || generator.run_live("generate_syn", &[0; 60], index("eth0")?, BURST);
            node.inside(CLIENT, burst)?;
            let received = node.received(CLIENT)? - before;
            if received >= frames {
                return Ok(received);
            }
            if start.elapsed() > Duration::from_secs(120) {
                return Err("the router does not take the frames".into());
            }
        }
    }

    /// New flows per second that come through, over so many frames; most of them must.
    pub fn rate(&mut self, frames: u64) -> Measured<f64> {
        let (before, start) = (self.arrived()?, Instant::now());
        let sent = self.send(frames)?;
        let took = start.elapsed().as_secs_f64();
        match self.arrived()? - before {
            arrived if arrived >= sent / 2 => Ok(arrived as f64 / took),
            arrived => Err(format!("{arrived} of {sent} first packets came through").into()),
        }
    }

    /// Known flows that go on while ten times `room` first packets come, and first packets that came
    /// through or were counted as dropped; both in percent.
    fn crowd(&mut self, room: u64, drops: impl Fn() -> Measured<u64>) -> Measured<[f64; 2]> {
        let serve = |pod| self.node.inside(pod, || Server::start(TARGET, KNOWNS));
        let _servers = SERVERS.into_iter().map(serve).collect::<Measured<Vec<_>>>()?;
        let at = CLUSTER.last();
        let open = || {
            let connection = |_| Ok(asked(http::connect(at)?)?);
            (0..KNOWNS).map(connection).collect::<Measured<Vec<_>>>()
        };
        let mut known = self.node.inside(CLIENT, open)?;
        spread();
        self.sink()?;
        let (mut received, dropped) = (0, drops()?);
        for _ in 0..10 {
            received += self.send(room)?;
            known = known.into_iter().filter_map(|stream| asked(stream).ok()).collect();
        }
        // What still stands in queues comes in.
        std::thread::sleep(Duration::from_millis(200));
        let (arrived, dropped) = (self.arrived()?, drops()? - dropped);
        say(&format!("{received} frames received, {arrived} came through, {dropped} dropped"));
        let share = |part: u64, whole: u64| part as f64 / whole as f64 * 100.0;
        Ok([share(known.len() as u64, KNOWNS as u64), share(arrived + dropped, received)])
    }
}

/// A connection that has answered once more.
fn asked(stream: TcpStream) -> std::io::Result<TcpStream> {
    http::ask(stream, Keep::Alive)?.ok_or_else(|| std::io::Error::other("it is closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_all_processors_are_summed() {
        let text = "entries  found drop early_drop\n0001 0 0000000a 1\n0001 0 00000010 2\n";
        assert_eq!(dropped(text).unwrap(), 26);
        assert!(dropped("entries found\n").is_err());
    }
}
