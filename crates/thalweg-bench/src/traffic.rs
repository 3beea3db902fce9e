//! `veth/…`: packets per second through a router between two links, ours and the kernel's.
//!
//! Three hosts without names: a generator, the router, a sink. The generator makes real frames
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`) on one processor; the router's receiving end is a thread of the
//! kernel that is kept on another one; the sink counts what arrives and drops it. The kernel's turn
//! has the same links, generator, sink, routes and neighbors, and no program on the router.

use crate::image::{self, ROUTER};
use crate::network::{Namespace, index, ip, run, set};
use crate::object::Object;
use crate::prefixes::{Full, GROUPS};
use crate::report::Row;
use crate::routes::{gateway4, gateway6, install4, install6};
use crate::samples::{ROUNDS, median, pin, processors};
use crate::trace::{self, Kind};
use crate::{Bench, Measured, forward, say};
use aya::programs::XdpMode;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::{Duration, Instant};
use thalweg_abi::{Counter, TableId};

const NAMES: [&str; 2] = ["veth/ipv4-1m", "veth/ipv6-250k"];
/// Frames of one sample.
const FRAMES: u32 = 1 << 22;
/// The kernel's turn.
const KERNEL: &str = "kernel forwarding";

/// What fresh frames are made from; laid out as the helper programs read it.
#[derive(Clone)]
pub struct Template {
    frame: [u8; 64],
    sum: u64,
    mask: u64,
    link: u64,
}

impl Template {
    /// An IPv4 frame with UDP in it.
    pub fn ipv4(ttl: u8) -> Self {
        let mut frame = Self::ethernet(0x0800);
        frame[14..34].copy_from_slice(&ipv4(50, ttl));
        frame[34..42].copy_from_slice(&[0x0f, 0xa0, 0, 53, 0, 30, 0, 0]);
        let sum = frame[14..30].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let sum = sum.map(u64::from).sum();
        Self { frame, sum, mask: 0, link: 0 }
    }

    /// An IPv6 frame with UDP in it.
    pub fn ipv6(hops: u8) -> Self {
        let mut frame = Self::ethernet(0x86dd);
        frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 10, 17, hops]);
        frame[22..38].copy_from_slice(&SOURCE6.octets());
        frame[54..62].copy_from_slice(&[0x0f, 0xa0, 0, 53, 0, 10, 0, 0]);
        Self { frame, sum: 0, mask: 0, link: 0 }
    }

    /// A frame with one label and IPv4 behind it.
    pub fn mpls(ttl: u8) -> Self {
        let mut frame = Self::ethernet(0x8847);
        let mut header = ipv4(46, ttl);
        header[16..].copy_from_slice(&[8, 8, 8, 8]);
        let sum: u32 = header
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame[18..38].copy_from_slice(&header);
        frame[38..46].copy_from_slice(&[0x0f, 0xa0, 0, 53, 0, 26, 0, 0]);
        Self { frame, sum: 0, mask: 0, link: 0 }
    }

    /// A first packet of TCP to an address and port, for a receiver.
    pub fn syn(receiver: [u8; 6], to: SocketAddrV4) -> Self {
        let mut frame = Self::ethernet(0x0800);
        frame[..6].copy_from_slice(&receiver);
        frame[14..34].copy_from_slice(&ipv4(40, 64));
        frame[23] = 6;
        frame[26..30].fill(0);
        frame[30..34].copy_from_slice(&to.ip().octets());
        frame[36..38].copy_from_slice(&to.port().to_be_bytes());
        // Without options, SYN, the largest window.
        frame[46..50].copy_from_slice(&[0x50, 2, 0xff, 0xff]);
        let words = |octets: &[u8]| -> u64 {
            let pair = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair[1]]));
            octets.chunks_exact(2).map(pair).sum()
        };
        let (ip, tcp) = (words(&frame[14..34]), words(&frame[30..34]) + 6 + 20);
        let tcp = tcp + words(&frame[34..54]);
        Self { frame, sum: tcp << 32 | ip, mask: 0, link: 0 }
    }

    /// The same with that many destinations of the trace: a power of two.
    pub fn flows(self, flows: u64) -> Self {
        Self { mask: flows - 1, ..self }
    }

    /// The same, sent out of a link.
    pub fn through(self, link: u32) -> Self {
        Self { link: link.into(), ..self }
    }

    fn ethernet(kind: u16) -> [u8; 64] {
        let mut frame = [0; 64];
        frame[..6].copy_from_slice(&ROUTER[0]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame
    }

    /// As words of the map.
    pub fn words(&self) -> [u64; 11] {
        let mut words = [0; 11];
        for (word, octets) in words.iter_mut().zip(self.frame.chunks_exact(8)) {
            *word = octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
        }
        words[8..].copy_from_slice(&[self.sum, self.mask, self.link]);
        words
    }
}

const SOURCE4: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9);

/// An IPv4 header without checksum and destination.
fn ipv4(len: u8, ttl: u8) -> [u8; 20] {
    let [a, b, c, d] = SOURCE4.octets();
    [0x45, 0, 0, len, 0, 1, 0x40, 0, ttl, 17, 0, 0, a, b, c, d, 0, 0, 0, 0]
}

/// Two links in the namespace of this thread, each with its other end, and neighbors of all groups
/// behind the second. Returns their numbers.
pub fn links() -> Measured<[u32; 2]> {
    let [first, second] = ROUTER.map(mac);
    let mut commands = format!(
        "link add r0 address {first} type veth peer name g0\n\
         link add r1 address {second} type veth peer name s0\n"
    );
    for link in ["r0", "r1", "g0", "s0"] {
        let _ = writeln!(commands, "link set {link} up");
    }
    // Without any address the kernel has no table of its own and takes no gateway for one.
    commands += "addr add 192.0.2.1/32 dev r1\n";
    for group in 1..=GROUPS {
        let (four, six) = (Ipv4Addr::from(gateway4(group)), Ipv6Addr::from(gateway6(group)));
        let mac = mac(image::neighbor(group));
        let _ = writeln!(commands, "neigh add {four} lladdr {mac} dev r1 nud permanent");
        let _ = writeln!(commands, "neigh add {six} lladdr {mac} dev r1 nud permanent");
    }
    set("ipv4/conf/all/rp_filter", "0")?;
    set("ipv4/conf/default/rp_filter", "0")?;
    set("ipv6/conf/default/accept_dad", "0")?;
    ip(&commands)?;
    set("ipv4/ip_forward", "1")?;
    set("ipv6/conf/all/forwarding", "1")?;
    Ok([index("r0")?, index("r1")?])
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Both rows.
pub fn measure(bench: &mut Bench, full: &Full) {
    bench.measure(&NAMES.map(ToOwned::to_owned), |bench| {
        if processors() < 2 {
            return Err("generator and router need a processor each, and there is one".into());
        }
        say("veth: full tables into ours and the kernel's FIB, generator and sink beside");
        let mut lab = Lab::new(full)?;
        for (name, six) in NAMES.into_iter().zip([false, true]) {
            if bench.wants(&[name.to_owned()]) {
                let [ours, kernel] = lab.run(full, six)?;
                bench.add(Row::rate(name, ours, "packets/s", KERNEL, kernel));
            }
        }
        Ok(())
    });
}

/// Generator, router and sink.
struct Lab {
    outside: Namespace,
    router: Namespace,
    /// Kept, because the sink's end of the link lives in it.
    _beyond: Namespace,
    generator: Object,
    sink: Object,
    real: Object,
    arrival: u32,
    feed: u32,
}

impl Lab {
    fn new(full: &Full) -> Measured<Self> {
        let [outside, router, beyond] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        let [arrival, out] = router.inside(|| {
            let numbers = links()?;
            ip(&format!(
                "link set g0 netns {}\nlink set s0 netns {}\n",
                outside.path(),
                beyond.path()
            ))?;
            install4(&full.four, numbers[1])?;
            install6(&full.six, numbers[1])?;
            run("ethtool", &["-K", "r0", "gro", "on"])?;
            own_thread("r0")?;
            Ok(numbers)
        })?;
        let feed = outside.inside(|| {
            ip("link set g0 up\n")?;
            index("g0")
        })?;
        let mut sink = Object::helpers(&["sink"], &[], None)?;
        beyond.inside(|| {
            ip("link set s0 up\n")?;
            sink.program("sink")?.attach("s0", XdpMode::Driver)?;
            Ok(())
        })?;
        let real = tables(full, [arrival, out])?;
        let generator = Object::helpers(&["generate4", "generate6"], &[], None)?;
        Ok(Self { outside, router, _beyond: beyond, generator, sink, real, arrival, feed })
    }

    /// Packets per second: ours, and the kernel's.
    fn run(&mut self, full: &Full, six: bool) -> Measured<[f64; 2]> {
        let template = match six {
            false => {
                let trace = forward::unicast4(trace::four(&full.four, Kind::Prefixes));
                self.generator.trace4(&trace)?;
                Template::ipv4(64)
            }
            true => {
                self.generator.trace6(&trace::six(&full.six, Kind::Prefixes))?;
                Template::ipv6(64)
            }
        };
        self.generator.template(&template.flows(4096).through(self.feed))?;
        let program = if six { "generate6" } else { "generate4" };
        let mut samples = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            let link = self.router.inside(|| {
                let program = self.real.program("thalweg_xdp")?;
                Ok(program.attach_to_if_index(self.arrival, XdpMode::Driver)?)
            })?;
            let ours = self.rate(program);
            self.real.program("thalweg_xdp")?.detach(link)?;
            samples[0].push(ours?);
            samples[1].push(self.rate(program)?);
        }
        Ok(samples.map(|samples| median(&samples)))
    }

    /// Packets per second that reach the sink while the generator runs.
    fn rate(&mut self, program: &str) -> Measured<f64> {
        let Self { outside, generator, sink, feed, .. } = self;
        std::thread::scope(|scope| {
            let source = scope.spawn(|| -> Result<(), String> {
                pin(0, 0);
                let work = || generator.run_live(program, &[0; 64], *feed, FRAMES);
                outside.inside(work).map_err(|error| error.to_string())
            });
            std::thread::sleep(Duration::from_millis(150));
            let (start, before) = (Instant::now(), arrived(sink)?);
            std::thread::sleep(Duration::from_millis(200));
            let (took, after) = (start.elapsed(), arrived(sink)?);
            let early = source.is_finished();
            source.join().map_err(|_| "the generator died")??;
            match early {
                true => Err("the generator was done before it was measured".into()),
                false => Ok((after - before) as f64 / took.as_secs_f64()),
            }
        })
    }
}

/// Frames that the sink has counted.
fn arrived(sink: &mut Object) -> Measured<u64> {
    let verdict = thalweg_abi::Verdict::deliver(thalweg_abi::Reason::Local);
    let rows: Vec<[u64; size_of::<Counter>() / 8]> =
        sink.per_processor("counters", verdict.counter())?;
    Ok(rows.iter().map(|row| row[0]).sum())
}

/// Our program with full tables.
fn tables(full: &Full, links: [u32; 2]) -> Measured<Object> {
    let (four, six) = (full.four.len() as u32, full.six.len() as u32);
    let capacity = image::capacity(four, six, 16);
    let mut writer = image::writer(&capacity);
    for plan in [image::surroundings(links), image::plan4(&full.four), image::plan6(&full.six)] {
        image::apply(&mut writer, &plan)?;
    }
    let mut real = Object::real(&capacity)?;
    real.copy(writer.memory(), &TableId::ALL, false)?;
    Ok(real)
}

/// Gives a link's receiving end a kernel thread of its own, on the last processor: a softirq would
/// run wherever the generator does.
pub fn own_thread(link: &str) -> Measured<()> {
    let script = format!("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{link}/threaded");
    run("unshare", &["--mount", "sh", "-c", &script])?;
    let thread = newest(&format!("napi/{link}-"))?;
    pin(thread, processors() - 1);
    Ok(())
}

/// The newest thread of the kernel whose name begins so.
fn newest(name: &str) -> Measured<i32> {
    let mut found = None;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            found = found.max(id);
        }
    }
    found.ok_or_else(|| format!("the kernel has made no thread {name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_header_of_a_labelled_frame_has_a_right_checksum() {
        let frame = Template::mpls(64).frame;
        let sum: u32 = frame[18..38]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(frame[12..14], [0x88, 0x47]);
    }

    #[test]
    fn a_first_packet_of_tcp_knows_both_sums_without_its_source() {
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 80);
        let template = Template::syn([2, 0, 0, 0, 9, 0], to);
        let mut frame = template.frame;
        frame[26..30].copy_from_slice(&[10, 96, 0, 1]);
        frame[34..36].copy_from_slice(&1024u16.to_be_bytes());
        let whole = thalweg_wire::checksum::sum(&frame[34..54]);
        let pseudo = thalweg_wire::checksum::sum(&frame[26..34]);
        let fold = thalweg_wire::checksum::fold;
        let more = 0x0a60 + 1;
        let ip = template.sum as u32 + more;
        assert_eq!(fold(ip), fold(thalweg_wire::checksum::sum(&frame[14..34])));
        let tcp = (template.sum >> 32) as u32 + more + 1024;
        assert_eq!(fold(tcp), fold(whole + pseudo + 26));
    }

    #[test]
    fn words_are_the_octets_in_memory_order() {
        let template = Template::ipv4(7).flows(4096).through(3);
        let words = template.words();
        let octets: Vec<u8> = words[..8].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(octets, template.frame);
        assert_eq!(words[9..], [4095, 3]);
    }
}
