//! A stream of numbered packets from host 1 to host 2, to count what gets lost.

use crate::lab::Lab;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PORT: u16 = 4789;
/// Time between packets.
const PACE: Duration = Duration::from_micros(150);

/// What a stream counted.
#[derive(Debug, Eq, PartialEq)]
pub struct Count {
    /// Packets sent.
    pub sent: u32,
    /// Packets that did not arrive.
    pub lost: u32,
}

/// Runs `work` while packets flow; counts them.
pub fn during(lab: &Lab, work: impl FnOnce()) -> Count {
    let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(lab, &ready, &stop));
        while !ready.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let sender = scope.spawn(|| send(lab, &stop));
        std::thread::sleep(Duration::from_millis(100));
        work();
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let (sent, received) = (sender.join().unwrap(), receiver.join().unwrap());
        Count { sent, lost: sent - received }
    })
}

fn send(lab: &Lab, stop: &AtomicBool) -> u32 {
    lab.enter("h1");
    let socket = UdpSocket::bind("10.1.0.2:0").unwrap();
    let mut sent = 0u32;
    while !stop.load(Ordering::Relaxed) {
        socket.send_to(&sent.to_be_bytes(), ("10.2.0.2", PORT)).unwrap();
        sent += 1;
        std::thread::sleep(PACE);
    }
    sent
}

/// Counts different numbers until nothing comes for a while after the end.
fn receive(lab: &Lab, ready: &AtomicBool, stop: &AtomicBool) -> u32 {
    lab.enter("h2");
    let socket = UdpSocket::bind(("10.2.0.2", PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    ready.store(true, Ordering::Relaxed);
    let mut seen = std::collections::BTreeSet::new();
    let mut octets = [0; 4];
    loop {
        match socket.recv(&mut octets) {
            Ok(_) => seen.insert(u32::from_be_bytes(octets)),
            Err(_) if stop.load(Ordering::Relaxed) => return seen.len() as u32,
            Err(_) => continue,
        };
    }
}

/// How long a bulk transfer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Sends `octets` by TCP from host 1 to host 2; whether they arrived in time.
pub fn bulk(lab: &Lab, octets: usize) -> bool {
    let ready = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sink = scope.spawn(|| drain(lab, octets, &ready));
        while !ready.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let source = scope.spawn(|| {
            lab.enter("h1");
            let to = SocketAddr::from(([10, 2, 0, 2], PORT));
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(&vec![7; octets])
        });
        source.join().unwrap().is_ok() && sink.join().unwrap().is_some()
    })
}

fn drain(lab: &Lab, octets: usize, ready: &AtomicBool) -> Option<()> {
    lab.enter("h2");
    let listener = TcpListener::bind(("10.2.0.2", PORT)).ok()?;
    listener.set_nonblocking(true).ok()?;
    ready.store(true, Ordering::Relaxed);
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if Instant::now() > end => return None,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let (mut buffer, mut received) = (vec![0; 1 << 16], 0);
    while received < octets && Instant::now() < end {
        received += stream.read(&mut buffer).ok()?;
    }
    (received >= octets).then_some(())
}
