//! Transactions under load: two configurations that differ in four tables take turns, while traffic
//! crosses the router. Every frame must be decided wholly by one of them.
//!
//! What is flipped leads a packet through tables that all change in the same plan: the arrival's VRF
//! (or the label's), the prefix in that VRF, the group of the prefix. Whoever mixes two versions comes
//! to a next hop that neither configuration uses, and the sink, which sorts frames by the address they
//! were sent to, counts it.

use crate::network::{Namespace, index, ip, run};
use crate::object::{self, Object};
use crate::traffic::{Template, own_thread};
use crate::{Measured, image};
use aya::programs::XdpMode;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thalweg_abi::{
    Counter, GroupId, IlmWord, LinkRow, NextHopId, NextHopRow, Reason, SettingsRow, Verdict, VrfId,
    link, nexthop,
};
use thalweg_image::change::GroupMembers;
use thalweg_image::{Capacity, Change, Limits, Plan, Plane};
use thalweg_wire::Prefix4;
use thalweg_xdp::{Mode, Options, WantedHook, Wish, XdpPlane};

/// Labels that are bound.
const LABELS: std::ops::Range<u32> = 100..104;
/// Largest packet of the link to the sink.
const MTU: u32 = 200;
/// Super-frames that are sent in one go.
const SEGMENTED: u32 = 1 << 17;
/// Frames that are sent in one go.
const BURST: u32 = 1 << 22;
/// Time between two plans.
const PACE: Duration = Duration::from_millis(1);
/// Next hop, and group, that no configuration leads to.
const NOBODY: u16 = 3;

/// What became of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Decided by the first configuration.
    pub first: u64,
    /// By the second.
    pub second: u64,
    /// By a mixture.
    pub mixed: u64,
    /// Plans that were put in force meanwhile.
    pub plans: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.first += more.first;
        self.second += more.second;
        self.mixed += more.mixed;
        self.plans += more.plans;
        self.seconds += more.seconds;
    }

    /// Frames that arrived.
    pub fn frames(&self) -> u64 {
        self.first + self.second + self.mixed
    }
}

/// Which frames are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Traffic {
    /// IPv4, whose VRF is that of the link.
    Ipv4,
    /// One label, which names the VRF of the IPv4 packet behind it.
    Label,
    /// Packets that the kernel will cut into segments: larger than the MTU where XDP sees them, so that
    /// it hands them over to tc, with the epoch that it has read.
    Segments,
}

/// A router between a generator and a sink, and a BPF file system.
pub struct Lab {
    outside: Namespace,
    router: Namespace,
    _beyond: Namespace,
    generator: Object,
    sink: Object,
    feed: u32,
    links: [u32; 2],
    bpffs: PathBuf,
}

impl Lab {
    /// Three hosts without names.
    pub fn new() -> Measured<Self> {
        object::build()?;
        let [outside, router, beyond] = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        let links = router.inside(|| {
            let mac = |octets: [u8; 6]| octets.map(|octet| format!("{octet:02x}")).join(":");
            let [first, second] = image::ROUTER.map(mac);
            ip(&format!(
                "link add r0 address {first} type veth peer name g0 netns {}\n\
                 link add r1 address {second} type veth peer name s0 netns {}\n\
                 link set r0 up\nlink set r1 up\n",
                outside.path(),
                beyond.path()
            ))?;
            run("ethtool", &["-K", "r0", "gro", "on"])?;
            own_thread("r0")?;
            Ok([index("r0")?, index("r1")?])
        })?;
        let feed = outside.inside(|| {
            let [a, b, c, d, e, f] = image::ROUTER[0];
            ip(&format!(
                "link set g0 up\naddr add 9.9.9.9/24 dev g0\nroute add 10.1.0.0/16 via 9.9.9.1\n\
                 neigh add 9.9.9.1 lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} dev g0 \
                 nud permanent\n"
            ))?;
            index("g0")
        })?;
        let mut sink = Object::helpers(&["sorting_sink"], &[], None)?;
        beyond.inside(|| {
            ip("link set s0 up\n")?;
            run("ethtool", &["-K", "s0", "tx", "off", "gro", "on"])?;
            sink.program("sorting_sink")?.attach("s0", XdpMode::Driver)?;
            Ok(())
        })?;
        let generator = Object::helpers(&["generate4", "generate_mpls"], &[], None)?;
        let bpffs = std::env::temp_dir().join(format!("thalweg-flips-{}", std::process::id()));
        std::fs::create_dir_all(&bpffs)?;
        run("mount", &["-t", "bpf", "bpf", &bpffs.to_string_lossy()])?;
        Ok(Self { outside, router, _beyond: beyond, generator, sink, feed, links, bpffs })
    }

    /// Sends frames while the configurations take turns, until `frames` of them came through.
    pub fn run(&mut self, wish: Wish, traffic: Traffic, frames: u64) -> Measured<Tally> {
        let [arrival, _] = self.links;
        let pins = self.bpffs.join("thalweg").join("flips");
        let mut plane = self.router.inside(|| {
            let mut plane =
                XdpPlane::start(&Options::new(thalweg_bpf_object::object(), capacity(), &pins))?;
            put(&mut plane, &self.surroundings())?;
            put(&mut plane, &self.configuration(1, 2))?;
            let hook = WantedHook { ifindex: arrival, name: "r0".into(), wish };
            let statuses = plane.attach(vec![hook]);
            match statuses.first() {
                Some(status) if status.mode != Mode::None => Ok(plane),
                status => Err(format!("not attached: {status:?}").into()),
            }
        })?;
        let mut tally = Tally::default();
        let mut result = Ok(());
        while result.is_ok() && tally.frames() < frames {
            result = self.race(&mut plane, traffic).map(|round| tally.add(round));
        }
        let counts = plane.counts()?;
        let handed = Verdict::pass(Reason::HandedOver);
        if traffic == Traffic::Segments && !counts.iter().any(|(verdict, _)| *verdict == handed) {
            return Err(format!("XDP has handed nothing over: {counts:?}").into());
        }
        drop(plane);
        self.router.inside(|| Ok(thalweg_xdp::detach(Path::new(&pins))?))?;
        result.map(|()| tally)
    }

    /// Traffic and plans at once; what the sink has counted since before.
    fn race(&mut self, plane: &mut XdpPlane, traffic: Traffic) -> Measured<Tally> {
        let (template, program) = match traffic {
            Traffic::Segments => {
                return self.race_with(plane, |outside, _, _| {
                    outside.inside(|| Ok(segments(SEGMENTED)?)).map_err(|error| error.to_string())
                });
            }
            Traffic::Ipv4 => {
                let addresses: Vec<u32> = (0..1 << 12).map(|at| 0x0a01_0000 + at * 13).collect();
                self.generator.trace4(&addresses)?;
                (Template::ipv4(64), "generate4")
            }
            Traffic::Label => {
                let labels: Vec<u32> = (0..1 << 12).map(|at| LABELS.start + at % 4).collect();
                self.generator.trace4(&labels)?;
                (Template::mpls(64), "generate_mpls")
            }
        };
        self.generator.template(&template.flows(1 << 12).through(self.feed))?;
        self.race_with(plane, |outside, generator, feed| {
            let work = || generator.run_live(program, &[0; 64], feed, BURST);
            outside.inside(work).map_err(|error| error.to_string())
        })
    }

    /// The same with any source of traffic, which runs in a thread of its own.
    fn race_with(
        &mut self,
        plane: &mut XdpPlane,
        source: impl FnOnce(&Namespace, &mut Object, u32) -> Result<(), String> + Send,
    ) -> Measured<Tally> {
        let turns = [self.configuration(2, 3), self.configuration(1, 4)];
        let before = self.counted()?;
        let start = Instant::now();
        let Self { outside, generator, feed, .. } = self;
        let plans = std::thread::scope(|scope| -> Measured<u64> {
            let source = scope.spawn(|| source(outside, generator, *feed));
            let mut plans = 0;
            while !source.is_finished() {
                let due = start + PACE * plans as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                put(plane, &turns[plans as usize % 2])?;
                plans += 1;
            }
            source.join().map_err(|_| "the generator died")??;
            Ok(plans)
        })?;
        // What still stands in queues comes in.
        std::thread::sleep(Duration::from_millis(100));
        let seconds = start.elapsed().as_secs_f64();
        let after = self.counted()?;
        let [first, second, mixed] = [0, 1, 2].map(|at| after[at] - before[at]);
        Ok(Tally { first, second, mixed, plans, seconds })
    }

    fn counted(&mut self) -> Measured<[u64; 3]> {
        let mut counts = [0; 3];
        let reasons = [Reason::Route, Reason::Label, Reason::Broken];
        for (count, reason) in counts.iter_mut().zip(reasons) {
            let row = Verdict::deliver(reason).counter();
            let rows: Vec<[u64; size_of::<Counter>() / 8]> =
                self.sink.per_processor("counters", row)?;
            *count = rows.iter().map(|row| row[0]).sum();
        }
        Ok(counts)
    }

    /// What both configurations have: next hops 1 and 2 of the two, and one of nobody.
    fn surroundings(&self) -> Plan {
        let out = self.links[1];
        let mut changes = vec![Change::Settings(SettingsRow::default())];
        changes.push(Change::Link(out, row(out, image::ROUTER[1], 0)));
        for (id, octet) in [(1, 0xa0), (2, 0xb0), (NOBODY, 0xff)] {
            let [g, h, i, j, k, l] = image::ROUTER[1];
            let row = NextHopRow {
                kind: nexthop::kind::ADJACENT,
                link: out,
                watch: out,
                device: out,
                mtu: MTU,
                addresses: [2, 1, 0, 0, 0, octet, g, h, i, j, k, l],
                ..NextHopRow::default()
            };
            changes.push(Change::NextHop(NextHopId(id.into()), row));
        }
        changes.push(self.group(NOBODY, NOBODY));
        Plan { generation: 1, changes }
    }

    /// Configuration 1 or 2: everything the other one leads over ends with nobody.
    fn configuration(&self, number: u16, generation: u64) -> Plan {
        let [arrival, _] = self.links;
        let other = 3 - number;
        let vrf = VrfId(number);
        let row = LinkRow { vrf: number, ..row(arrival, image::ROUTER[0], link::flag::MPLS) };
        let mut changes = vec![self.group(number, number), self.group(other, NOBODY)];
        let prefix: Prefix4 = Prefix4::containing([10, 1, 0, 0].into(), 16);
        changes.push(Change::Route4(vrf, prefix, GroupId(number)));
        changes.push(Change::Route4(VrfId(other), prefix, GroupId(NOBODY)));
        // The address behind the labels.
        let behind = Prefix4::containing([8, 8, 8, 8].into(), 32);
        changes.push(Change::Route4(vrf, behind, GroupId(number)));
        changes.push(Change::Route4(VrfId(other), behind, GroupId(NOBODY)));
        changes.push(Change::Link(arrival, row));
        let word = IlmWord::lookup(vrf, 0);
        changes.extend(LABELS.map(|label| Change::Label(label, word)));
        Plan { generation, changes }
    }

    fn group(&self, id: u16, nexthop: u16) -> Change {
        let members =
            GroupMembers { buckets: vec![NextHopId(nexthop.into())], links: vec![self.links[1]] };
        Change::Group(GroupId(id), members)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.bpffs.to_string_lossy()]);
        let _ = std::fs::remove_dir(&self.bpffs);
    }
}

/// Sends UDP that the kernel is to cut into segments of 100 octets on its way out.
fn segments(frames: u32) -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind("9.9.9.9:0")?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment, &100)?;
    for at in 0..frames {
        let to = std::net::Ipv4Addr::from(0x0a01_0000 + (at * 13) % 0x1_0000);
        match socket.send_to(&[0; 400], (to, 53)) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn row(index: u32, mac: [u8; 6], more: u32) -> LinkRow {
    let flags = link::flag::UP | link::flag::IPV4 | more;
    LinkRow { flags, mtu: 1500, mac, device: index, ..LinkRow::default() }
}

fn put(plane: &mut XdpPlane, plan: &Plan) -> Measured<()> {
    let applied = plane.apply(plan)?;
    match applied.failures.first() {
        None if applied.whole => Ok(()),
        None => Err("the plan came in force piece by piece".into()),
        Some(failure) => Err(format!("{:?} does not fit", failure.change).into()),
    }
}

fn capacity() -> Capacity {
    Capacity::for_limits(&Limits {
        links: 1024,
        sessions: 0,
        vrfs: 3,
        ipv4_routes: 1000,
        ipv6_routes: 1000,
        labels: 1000,
        nexthops: 100,
        groups: 100,
        vlan_links: 0,
        ..Limits::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames at each hook: `THALWEG_FLIPS` for more or fewer.
    fn frames() -> u64 {
        let frames = std::env::var("THALWEG_FLIPS").ok().and_then(|frames| frames.parse().ok());
        frames.unwrap_or(10_000_000)
    }

    #[test]
    fn no_frame_is_decided_by_a_mixture() {
        let mut lab = match Lab::new() {
            Ok(lab) => lab,
            Err(why) => {
                return thalweg_testkit::skipped(&format!("transactions under load: {why}"));
            }
        };
        let runs = [
            (Wish::Native, Traffic::Ipv4, frames() / 2),
            (Wish::Native, Traffic::Label, frames() / 2),
            (Wish::Tc, Traffic::Ipv4, frames()),
            (Wish::Generic, Traffic::Segments, frames() / 20),
        ];
        for (wish, traffic, frames) in runs {
            let tally = lab.run(wish, traffic, frames).expect("a run");
            println!("{wish:?} {traffic:?}: {tally:?}");
            assert_eq!(tally.mixed, 0, "{wish:?} {traffic:?}: {tally:?}");
            let enough = frames / 10;
            assert!(tally.first > enough && tally.second > enough, "{wish:?}: {tally:?}");
            assert!(tally.plans > 100, "{tally:?}");
        }
    }
}
