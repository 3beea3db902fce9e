//! A router with one way in and two ways out, and numbered packets through it.
//!
//! Four hosts without names: a sender, the router, and a sink behind each of the two ways. Both sinks
//! have the same address, so where a packet arrives tells which way it went.

use crate::network::{Namespace, index, ip, run, set};
use crate::{Measured, samples};
use nix::sys::socket::{setsockopt, sockopt};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Gateways of the two ways.
pub const GATEWAYS: [&str; 2] = ["10.1.0.2", "10.2.0.2"];
/// Packets per second that are offered.
const RATE: f64 = 100_000.0;
/// Room for packets that a sink has not read yet.
const BUFFER: usize = 256 << 20;
/// The longest that anybody waits for a packet.
const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;

/// The hosts.
pub struct Crossing {
    /// The router.
    pub router: Namespace,
    sinks: [Namespace; 2],
    /// Kept for the sender's end of the link.
    _outside: Namespace,
    from: UdpSocket,
    to: [UdpSocket; 2],
}

impl Crossing {
    /// Hosts with links and addresses; packets go to `target`.
    pub fn new(target: Ipv4Addr) -> Measured<Self> {
        let [outside, router] = [Namespace::new()?, Namespace::new()?];
        let sinks = [Namespace::new()?, Namespace::new()?];
        router.inside(|| {
            ip(&format!(
                "link add r0 address 02:00:00:00:01:00 type veth peer name g0 netns {}\n\
                 link add r1 address 02:00:00:00:01:01 type veth peer name s0 \
                 address 02:00:00:00:02:01 netns {}\n\
                 link add r2 address 02:00:00:00:01:02 type veth peer name s0 \
                 address 02:00:00:00:02:02 netns {}\n",
                outside.path(),
                sinks[0].path(),
                sinks[1].path()
            ))?;
            let mut commands = String::from("addr add 10.0.0.1/24 dev r0\n");
            for way in 1..=2 {
                let _ = write!(
                    commands,
                    "addr add 10.{way}.0.1/24 dev r{way}\n\
                     neigh add 10.{way}.0.2 lladdr 02:00:00:00:02:0{way} dev r{way} nud permanent\n\
                     neigh add 198.18.0.{way} lladdr 02:00:00:00:02:0{way} dev r{way} \
                     nud permanent\n"
                );
            }
            ip(&(commands + "link set r0 up\nlink set r1 up\nlink set r2 up\n"))?;
            set("ipv4/conf/all/rp_filter", "0")?;
            set("ipv4/conf/all/ignore_routes_with_linkdown", "1")?;
            set("ipv4/ip_forward", "1")
        })?;
        let open = |socket: Measured<UdpSocket>| -> Measured<UdpSocket> {
            let socket = socket?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            Ok(socket)
        };
        let from = outside.inside(|| {
            ip("addr add 10.0.0.9/24 dev g0\nlink set g0 up\n\
                neigh add 10.0.0.1 lladdr 02:00:00:00:01:00 dev g0 nud permanent\n\
                route add default via 10.0.0.1\n")?;
            finished("g0")?;
            let socket = UdpSocket::bind("10.0.0.9:0")?;
            socket.connect((target, PORT))?;
            Ok(socket)
        })?;
        let sink = |way: usize| {
            sinks[way].inside(|| {
                ip(&format!(
                    "link set lo up\naddr add {target}/32 dev lo\n\
                     addr add {}/24 dev s0\nlink set s0 up\n",
                    GATEWAYS[way]
                ))?;
                set("ipv4/conf/all/rp_filter", "0")?;
                set("ipv4/conf/s0/rp_filter", "0")?;
                finished("s0")?;
                open(Ok(UdpSocket::bind((target, PORT))?))
            })
        };
        let to = [sink(0)?, sink(1)?];
        Ok(Self { router, sinks, _outside: outside, from, to })
    }

    /// The number of the link of a way.
    pub fn link(&self, way: usize) -> Measured<u32> {
        self.router.inside(|| index(["r1", "r2"][way]))
    }

    /// Sets the far end of a way up or down.
    pub fn far(&self, way: usize, state: &str) -> Measured<()> {
        self.sinks[way].inside(|| ip(&format!("link set s0 {state}\n")))
    }

    /// For how long packets were not forwarded while `work` was done, in ms: lost ÷ offered rate.
    pub fn blocked(&self, work: impl FnOnce() -> Measured<()>) -> Measured<f64> {
        self.drain();
        let (end, received) = (AtomicBool::new(false), AtomicU64::new(0));
        let receive = |socket: &UdpSocket| {
            let mut octets = [0; 64];
            loop {
                match socket.recv(&mut octets) {
                    Ok(_) => _ = received.fetch_add(1, SeqCst),
                    Err(_) if end.load(SeqCst) => return,
                    Err(_) => {}
                }
            }
        };
        let (result, sent, took) = std::thread::scope(|scope| {
            for socket in &self.to {
                scope.spawn(|| receive(socket));
            }
            let sender = scope.spawn(|| self.send(RATE, &end));
            std::thread::sleep(Duration::from_millis(500));
            let result = work();
            std::thread::sleep(Duration::from_millis(1_500));
            end.store(true, SeqCst);
            let (sent, took) = sender.join().unwrap_or_default();
            (result, sent, took)
        });
        result?;
        let lost = sent.saturating_sub(received.load(SeqCst)) as f64;
        let rate = sent as f64 / took.as_secs_f64();
        match rate < RATE * 0.9 {
            true => Err(format!("only {rate:.0} packets per second could be offered").into()),
            false => Ok(lost / rate * 1e3),
        }
    }

    /// From the beginning of each change until the first packet that goes the other way, in ms.
    /// Changes lead by the second way first, then in turns.
    pub fn follows(
        &self,
        count: usize,
        mut change: impl FnMut(usize) -> Measured<()>,
    ) -> Measured<Vec<f64>> {
        let end = AtomicBool::new(false);
        let samples = std::thread::scope(|scope| {
            scope.spawn(|| self.send(RATE / 4.0, &end));
            let mut samples = || -> Measured<Vec<f64>> {
                self.until(0)?;
                let mut samples = Vec::new();
                for turn in 0..count {
                    let way = (turn + 1) % 2;
                    self.drain();
                    let start = Instant::now();
                    change(way)?;
                    self.until(way)?;
                    samples.push(start.elapsed().as_secs_f64() * 1e3);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(samples)
            };
            let result = samples();
            end.store(true, SeqCst);
            result
        })?;
        Ok(samples)
    }

    /// Waits until packets go a way.
    pub fn goes(&self, way: usize) -> Measured<()> {
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.send(1_000.0, &end));
            self.drain();
            let result = self.until(way);
            end.store(true, SeqCst);
            result
        })
    }

    fn until(&self, way: usize) -> Measured<()> {
        let start = Instant::now();
        while self.to[way].recv(&mut [0; 64]).is_err() {
            if start.elapsed() > PATIENCE {
                return Err(format!("no packet went by {} in a minute", GATEWAYS[way]).into());
            }
        }
        Ok(())
    }

    /// Throws away what has arrived.
    fn drain(&self) {
        for socket in &self.to {
            let _ = socket.set_nonblocking(true);
            while socket.recv(&mut [0; 64]).is_ok() {}
            let _ = socket.set_nonblocking(false);
        }
    }

    /// Sends at a rate until the end; how many packets that were, and how long it took.
    fn send(&self, rate: f64, end: &AtomicBool) -> (u64, Duration) {
        samples::pin(0, 0);
        let (start, mut sent, mut tried) = (Instant::now(), 0u64, 0u64);
        while !end.load(SeqCst) {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            if tried >= due {
                std::thread::sleep(Duration::from_micros(50));
            }
            while tried < due {
                sent += u64::from(self.from.send(&tried.to_be_bytes()).is_ok());
                tried += 1;
            }
        }
        (sent, start.elapsed())
    }
}

/// Makes a link hand over finished frames and take redirected ones, as a wire does.
fn finished(link: &str) -> Measured<()> {
    run("ethtool", &["-K", link, "tso", "off", "gso", "off", "tx", "off", "gro", "on"])
}
