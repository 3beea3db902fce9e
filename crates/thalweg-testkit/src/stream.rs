//! A stream of numbered frames through a router in namespaces: what was lost, what was answered
//! otherwise than allowed.
//!
//! Batches go in lockstep: the next is sent when the last has arrived, or when nothing has come for
//! a while. So the stream runs as fast as the machine lets it and overflows no queue: each frame that
//! does not arrive was lost by the router.

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, recvfrom,
    recvmmsg, sendmmsg, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Frames of a batch.
const BATCH: usize = 64;
/// Room for a frame.
const ROOM: usize = 256;
/// How long nothing must come before the next batch is sent nevertheless.
const SILENCE_MS: u64 = 100;
/// Rates are taken over so long.
const SLOT: Duration = Duration::from_millis(100);
/// First octets of the trailer.
const MAGIC: [u8; 4] = *b"thwN";
/// Octets of the trailer: magic, flow, number, in network order, at the end of each frame.
pub const TRAILER: usize = 16;

/// A flow: the frame that is sent, and the frames that may come of it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Without the trailer.
    pub frame: Vec<u8>,
    /// Without the trailer.
    pub answers: Vec<Vec<u8>>,
}

/// What a stream has counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Frames sent.
    pub sent: u64,
    /// Frames that never arrived.
    pub lost: u64,
    /// Frames that arrived more than once.
    pub twice: u64,
    /// Frames that arrived otherwise than allowed.
    pub changed: u64,
    /// The first of those, in words.
    pub samples: Vec<String>,
    /// How often each answer of each flow came.
    pub answers: Vec<Vec<u64>>,
    /// Frames that arrived in each tenth of a second.
    pub slots: Vec<u64>,
    /// How long it ran.
    pub took: Duration,
}

impl Tally {
    /// Frames per second, on average.
    pub fn rate(&self) -> f64 {
        (self.sent - self.lost) as f64 / self.took.as_secs_f64()
    }

    /// Share of tenths of a second in which fewer than `rate` frames per second arrived.
    pub fn below(&self, rate: u64) -> f64 {
        let low = self.slots.iter().filter(|frames| **frames < rate / 10).count();
        low as f64 / self.slots.len().max(1) as f64
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut slots = self.slots.clone();
        slots.sort_unstable();
        let tenth = slots.get(slots.len() / 10).copied().unwrap_or(0) * 10;
        format!(
            "{} frames in {:.1} s: {:.0} per second ({tenth} in the slowest tenth, below 100000 in \
             {:.1} % of the time), {} lost, {} changed, {} twice",
            self.sent,
            self.took.as_secs_f64(),
            self.rate(),
            self.below(100_000) * 100.0,
            self.lost,
            self.changed,
            self.twice,
        )
    }
}

/// The two ends of a stream: sockets in the namespaces of both hosts.
pub struct Stream {
    sender: OwnedFd,
    out: LinkAddr,
    receiver: OwnedFd,
    flows: Vec<Flow>,
    /// Frames that came back so far.
    arrived: AtomicU64,
}

impl Stream {
    /// A stream from the only link of one network namespace to another, both named by path. The
    /// calling thread comes back to its own.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    pub fn new(from: &Path, to: &Path, flows: Vec<Flow>) -> Result<Self, String> {
        let home = File::open("/proc/thread-self/ns/net").map_err(|e| e.to_string())?;
        let opened = Self::open(from, to);
        setns(home, CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string())?;
        let (sender, out, receiver) = opened?;
        Ok(Self { sender, out, receiver, flows, arrived: AtomicU64::new(0) })
    }

    fn open(from: &Path, to: &Path) -> Result<(OwnedFd, LinkAddr, OwnedFd), String> {
        enter(from)?;
        let out = link_address().map_err(|error| format!("no link to send by: {error}"))?;
        let sender = packets(None).map_err(|error| error.to_string())?;
        enter(to)?;
        let receiver = packets(Some(SockProtocol::EthAll)).map_err(|error| error.to_string())?;
        let wait = TimeVal::new(0, SILENCE_MS as i64 * 1000);
        setsockopt(&receiver, RcvBufForce, &(64 << 20)).map_err(|e| e.to_string())?;
        setsockopt(&receiver, ReceiveTimeout, &wait).map_err(|e| e.to_string())?;
        Ok((sender, out, receiver))
    }

    /// Frames that arrived so far, while it runs.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Runs until told to stop.
    ///
    /// # Panics
    ///
    /// When a socket fails.
    pub fn run(&self, stop: &AtomicBool) -> Tally {
        let mut run = Run::new(self);
        while !stop.load(Ordering::Relaxed) {
            let wanted = run.distinct + run.send() as u64;
            while run.distinct < wanted && run.receive() {}
            self.arrived.store(run.distinct, Ordering::Relaxed);
        }
        // What is late may still come.
        while run.distinct < run.tally.sent && run.receive() {}
        run.end()
    }
}

/// A stream under way.
struct Run<'a> {
    stream: &'a Stream,
    tally: Tally,
    /// One bit per number that arrived.
    seen: Vec<u64>,
    distinct: u64,
    start: Instant,
}

impl<'a> Run<'a> {
    fn new(stream: &'a Stream) -> Self {
        let answers = stream.flows.iter().map(|flow| vec![0; flow.answers.len()]).collect();
        let tally = Tally { answers, ..Tally::default() };
        Self { stream, tally, seen: Vec::new(), distinct: 0, start: Instant::now() }
    }

    /// Sends a batch; how many the kernel took.
    fn send(&mut self) -> usize {
        let flows = &self.stream.flows;
        let frames: Vec<Vec<u8>> = (self.tally.sent..)
            .take(BATCH)
            .map(|number| {
                let flow = number as usize % flows.len();
                let mut frame = flows[flow].frame.clone();
                frame.extend(MAGIC);
                frame.extend((flow as u32).to_be_bytes());
                frame.extend(number.to_be_bytes());
                frame
            })
            .collect();
        let slices: Vec<[IoSlice<'_>; 1]> =
            frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let to = [Some(self.stream.out); BATCH];
        let socket = self.stream.sender.as_raw_fd();
        let sent = sendmmsg(socket, &mut headers, &slices, to, [], MsgFlags::empty());
        let sent = match sent {
            Ok(results) => results.count(),
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => 0,
            Err(error) => panic!("frames cannot be sent: {error}"),
        };
        self.tally.sent += sent as u64;
        self.seen.resize(self.tally.sent.div_ceil(64) as usize, 0);
        sent
    }

    /// Takes what has arrived; false when nothing came for a while.
    fn receive(&mut self) -> bool {
        let mut room = vec![0; BATCH * ROOM];
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            room.chunks_exact_mut(ROOM).map(|frame| [IoSliceMut::new(frame)]).collect();
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
        let socket = self.stream.receiver.as_raw_fd();
        let got = recvmmsg(socket, &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None);
        let lengths: Vec<usize> = match got {
            Ok(results) => results.map(|message| message.bytes).collect(),
            Err(Errno::EAGAIN) => return false,
            Err(Errno::EINTR) => return true,
            Err(error) => panic!("frames cannot be received: {error}"),
        };
        for (frame, len) in room.chunks_exact(ROOM).zip(lengths) {
            self.arrives(&frame[..len.min(ROOM)]);
        }
        true
    }

    fn arrives(&mut self, frame: &[u8]) {
        let Some((frame, trailer)) = frame.split_last_chunk::<TRAILER>() else { return };
        let Some(rest) = trailer.strip_prefix(&MAGIC) else { return };
        let flow = rest[..4].iter().fold(0usize, |flow, octet| flow << 8 | usize::from(*octet));
        let number = rest[4..].iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
        let Some(word) = self.seen.get_mut((number / 64) as usize) else { return };
        if *word >> (number % 64) & 1 != 0 {
            self.tally.twice += 1;
            return;
        }
        *word |= 1 << (number % 64);
        self.distinct += 1;
        let slot = (self.start.elapsed().as_millis() / SLOT.as_millis()) as usize;
        if self.tally.slots.len() <= slot {
            self.tally.slots.resize(slot + 1, 0);
        }
        self.tally.slots[slot] += 1;
        let answers = &self.stream.flows[flow].answers;
        match answers.iter().position(|answer| answer == frame) {
            Some(at) => self.tally.answers[flow][at] += 1,
            None => {
                self.tally.changed += 1;
                if self.tally.samples.len() < 8 {
                    let octets: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
                    self.tally.samples.push(format!("flow {flow} number {number}: {octets}"));
                }
            }
        }
    }

    fn end(mut self) -> Tally {
        self.tally.lost = self.tally.sent - self.distinct;
        self.tally.took = self.start.elapsed();
        // The last one is not whole.
        self.tally.slots.pop();
        self.tally
    }
}

fn enter(namespace: &Path) -> Result<(), String> {
    let file = File::open(namespace).map_err(|e| format!("{}: {e}", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| format!("{}: {e}", namespace.display()))
}

fn packets(protocol: Option<SockProtocol>) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
}

/// The address of the link of this namespace: what the kernel says of a frame that leaves by it.
fn link_address() -> Result<LinkAddr, Box<dyn std::error::Error>> {
    let socket = packets(Some(SockProtocol::EthAll))?;
    let wait = TimeVal::new(1, 0);
    setsockopt(&socket, ReceiveTimeout, &wait)?;
    let speaker = UdpSocket::bind("0.0.0.0:0")?;
    speaker.set_broadcast(true)?;
    speaker.send_to(b"thalweg", "255.255.255.255:9")?;
    let mut room = [0; ROOM];
    loop {
        let (len, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut room)?;
        let ours = room.get(..len).is_some_and(|frame| frame.ends_with(b"thalweg"));
        if let (true, Some(address)) = (ours, from) {
            return Ok(address);
        }
    }
}

/// Builds the frames of flows.
pub mod frame {
    /// An Ethernet header: destination, source, type.
    pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16) -> Vec<u8> {
        [&to[..], &from, &kind.to_be_bytes()].concat()
    }

    /// An MPLS label stack entry, class 0 (RFC 3032).
    pub fn label(label: u32, bottom: bool, ttl: u8) -> Vec<u8> {
        (label << 12 | u32::from(bottom) << 8 | u32::from(ttl)).to_be_bytes().to_vec()
    }

    /// IPv4 and UDP without checksum, with room for the trailer.
    pub fn ipv4(from: [u8; 4], to: [u8; 4], ports: [u16; 2], ttl: u8) -> Vec<u8> {
        let udp = udp(ports);
        let len = (20 + udp.len() + super::TRAILER) as u16;
        let mut header = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, ttl, 17, 0, 0];
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header.extend(from);
        header.extend(to);
        let sum: u32 =
            header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, udp].concat()
    }

    /// IPv6 and UDP, with room for the trailer. The checksum is none that a host would take.
    pub fn ipv6(from: [u8; 16], to: [u8; 16], ports: [u16; 2], hops: u8) -> Vec<u8> {
        let udp = udp(ports);
        let len = (udp.len() + super::TRAILER) as u16;
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(len.to_be_bytes());
        header.extend([17, hops]);
        header.extend(from);
        header.extend(to);
        [header, udp].concat()
    }

    fn udp([from, to]: [u16; 2]) -> Vec<u8> {
        let len = (8 + super::TRAILER) as u16;
        [from, to, len, 0].into_iter().flat_map(u16::to_be_bytes).collect()
    }
}
