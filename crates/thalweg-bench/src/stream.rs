//! `stream/…`: one TCP connection as fast as it goes, beside links that the kernel routes by itself.
//!
//! From pod to pod and from a pod to a service, with an agent as people run it. The peer is the same
//! node without an agent: plain links, the kernel's router, no rules.

use crate::cluster::Cluster;
use crate::daemon::Daemon;
use crate::pods::{CLIENT, Node, PODS, SERVERS, address, spread};
use crate::report::Row;
use crate::samples::median;
use crate::{Bench, Measured, say};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["stream/pod-pod/vs-veth", "stream/vip/vs-veth"];
const PEER: &str = "kernel routing, no rules";
/// Turns of each engine.
const ROUNDS: usize = 25;
/// What is counted of a turn, and what goes before.
const TURN: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_millis(200);
/// What is written and read at once.
const CHUNK: usize = 256 << 10;
/// The port that listens: that of backends.
const PORT: u16 = crate::cluster::TARGET;

/// Both rows.
pub fn measure(bench: &mut Bench) {
    spread();
    bench.measure(&NAMES.map(ToOwned::to_owned), |bench| {
        say("stream: one connection from pod to pod and to a service");
        let (ours, plain) = (Node::new()?, Node::routed()?);
        let cluster = Cluster { services: 1, backends: 2 };
        let mut daemon = Daemon::new(&ours.router, &cluster.node("", &PODS))?;
        for (name, text) in cluster.files() {
            daemon.write(name, &text)?;
        }
        daemon.start(PODS.len())?;
        let pod: SocketAddr = (address(SERVERS[0]), PORT).into();
        let mut samples = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (samples, (node, at)) in
                samples.iter_mut().zip([(&ours, pod), (&ours, cluster.last()), (&plain, pod)])
            {
                samples.push(throughput(node, at)?);
            }
        }
        let [direct, vip, kernel] = samples.map(|samples| median(&samples));
        for (name, ours) in NAMES.into_iter().zip([direct, vip]) {
            bench.add(Row::rate(name, ours, "bit/s", PEER, kernel));
        }
        Ok(())
    });
}

/// Bits per second that a server takes from one connection to an address.
fn throughput(node: &Node, at: SocketAddr) -> Measured<f64> {
    let listen = |pod| {
        node.inside(pod, || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    };
    // A service leads to either of its pods.
    let listeners = SERVERS.into_iter().map(listen).collect::<Measured<Vec<_>>>()?;
    let sender = node.inside(CLIENT, || connected(at))?;
    std::thread::scope(|scope| {
        let rate = scope.spawn(|| receive(&listeners).map_err(|error| error.to_string()));
        send(sender);
        Ok(rate.join().map_err(|_| "the receiver died")??)
    })
}

/// A connection, as soon as the way is there.
fn connected(at: SocketAddr) -> Measured<TcpStream> {
    let start = Instant::now();
    loop {
        match TcpStream::connect_timeout(&at, Duration::from_secs(1)) {
            Ok(stream) => return Ok(stream),
            Err(error) if start.elapsed() > Duration::from_secs(10) => {
                return Err(format!("nobody answers at {at}: {error}").into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Writes until the receiver has enough.
fn send(mut stream: TcpStream) {
    let octets = vec![0; CHUNK];
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    while stream.write_all(&octets).is_ok() {}
}

/// Bits per second of the connection that has come to one of these.
fn receive(listeners: &[TcpListener]) -> Measured<f64> {
    let start = Instant::now();
    let mut stream = loop {
        match listeners.iter().find_map(|listener| listener.accept().ok()) {
            Some((stream, _)) => break stream,
            None if start.elapsed() > Duration::from_secs(5) => {
                return Err("no connection came".into());
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    taken(&mut stream, START)?;
    taken(&mut stream, TURN)
}

/// Bits per second that come for so long.
fn taken(stream: &mut TcpStream, time: Duration) -> Measured<f64> {
    let (mut buffer, start, mut octets) = (vec![0; CHUNK], Instant::now(), 0);
    while start.elapsed() < time {
        match stream.read(&mut buffer)? {
            0 => return Err("the connection ended early".into()),
            len => octets += len,
        }
    }
    Ok(octets as f64 * 8.0 / start.elapsed().as_secs_f64())
}
