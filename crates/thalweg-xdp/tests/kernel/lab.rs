//! Two hosts with a router between them, in network namespaces of their own, and a BPF file system.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use thalweg_abi::{GroupId, LinkRow, NextHopId, NextHopRow, SettingsRow, VrfId, link, nexthop};
use thalweg_image::change::GroupMembers;
use thalweg_image::{Capacity, Change, Limits, Plan, Plane};
use thalweg_wire::Prefix4;
use thalweg_xdp::{
    Detached, HookStatus, Mode, Options, PinsError, StartError, WantedHook, Wish, XdpPlane,
};

/// Host 1 (10.1.0.2) at `r1`, host 2 (10.2.0.2) at `r2` of the router, whose kernel does not forward:
/// what arrives was forwarded by us.
pub struct Lab {
    tag: String,
    /// The BPF file system.
    bpffs: PathBuf,
}

/// Settings of the links of one lab.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// GRO on and checksums finished at the hosts, so that frames may be redirected natively.
    pub native: bool,
}

impl Lab {
    /// Builds the lab and moves the calling thread into the router, or says why not.
    pub fn new(setup: Setup) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("thwx{}x{number}", std::process::id());
        let bpffs = std::env::temp_dir().join(&tag);
        let lab = Self { tag, bpffs };
        if let Err(why) = lab.build(setup) {
            skip(&why);
            return None;
        }
        lab.enter("r");
        Some(lab)
    }

    fn build(&self, setup: Setup) -> Result<(), String> {
        std::fs::create_dir_all(&self.bpffs).map_err(|e| e.to_string())?;
        run(&format!("mount -t bpf bpf {}", self.bpffs.display()))?;
        for name in ["h1", "h2", "r"] {
            run(&format!("ip netns add {}", self.netns(name)))?;
            self.sh(name, "ip link set lo up")?;
            self.sh(name, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")?;
        }
        self.make_link(1, setup)?;
        self.make_link(2, setup)
    }

    /// Makes the link between a host and the router.
    pub fn make_link(&self, host: u8, setup: Setup) -> Result<(), String> {
        let (router, link, inside) = (self.netns("r"), format!("r{host}"), format!("h{host}"));
        let ns = self.netns(&inside);
        run(&format!(
            "ip link add {link} netns {router} address 02:00:00:00:00:1{host} type veth \
             peer name eth0 netns {ns} address 02:00:00:00:00:2{host}"
        ))?;
        self.sh("r", &format!("ip addr add 10.{host}.0.1/24 dev {link}"))?;
        self.sh("r", &format!("ip link set {link} up"))?;
        self.sh(&inside, &format!("ip addr add 10.{host}.0.2/24 dev eth0"))?;
        self.sh(&inside, "ip link set eth0 up")?;
        self.sh(&inside, &format!("ip route add default via 10.{host}.0.1"))?;
        if setup.native {
            self.sh(&inside, "ethtool -K eth0 gro on tx off")?;
        }
        Ok(())
    }

    fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// Directory of pins for an instance.
    pub fn pins(&self, instance: &str) -> PathBuf {
        self.bpffs.join("thalweg").join(instance)
    }

    /// Takes an instance out whose agent is gone. A program that another test starts at this very moment
    /// holds all files of this process, the lock as well, until it runs.
    pub fn detach(&self, instance: &str) -> Detached {
        let start = std::time::Instant::now();
        loop {
            match thalweg_xdp::detach(&self.pins(instance)) {
                Err(PinsError::Busy(_)) if start.elapsed().as_secs() < 5 => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                result => return result.unwrap(),
            }
        }
    }

    /// Names that someone put in the BPF file system; the kernel puts two there by itself.
    pub fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.bpffs).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".debug")).collect()
    }

    /// Runs a command in `h1`, `h2` or `r`.
    pub fn sh(&self, name: &str, command: &str) -> Result<String, String> {
        run(&format!("nsenter --net=/run/netns/{} {command}", self.netns(name)))
    }

    /// Moves the calling thread.
    pub fn enter(&self, name: &str) {
        let file = File::open(format!("/run/netns/{}", self.netns(name))).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Whether host 1 reaches host 2, by a few pings.
    pub fn reaches(&self) -> bool {
        self.sh("h1", "ping -q -c 5 -i 0.05 -W 1 10.2.0.2").is_ok()
    }

    /// Interface index of a router's link.
    pub fn index(&self, link: &str) -> u32 {
        let line = self.sh("r", &format!("ip -o link show {link}")).unwrap();
        line.split(':').next().unwrap().trim().parse().unwrap()
    }

    /// Both links of the router with a wish.
    pub fn wanted(&self, wish: Wish) -> Vec<WantedHook> {
        let hook = |name: &str| WantedHook { ifindex: self.index(name), name: name.into(), wish };
        ["r1", "r2"].map(hook).to_vec()
    }

    /// A plane with the tables of the router in force, nothing attached.
    pub fn start(&self, instance: &str) -> XdpPlane {
        self.start_with(instance, true)
    }

    /// The same, with or without tcx.
    pub fn start_with(&self, instance: &str, tcx: bool) -> XdpPlane {
        let mut plane = self.try_start_with(&self.pins(instance), tcx).unwrap();
        let applied = plane.apply(&self.image()).unwrap();
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
        plane
    }

    /// A plane with empty tables, if it can be had.
    pub fn try_start(&self, instance: &str) -> Result<XdpPlane, StartError> {
        self.try_start_with(&self.pins(instance), true)
    }

    /// The same with its pins anywhere.
    pub fn try_start_with(&self, pins: &Path, tcx: bool) -> Result<XdpPlane, StartError> {
        let mut options = Options::new(thalweg_bpf_object::object(), capacity(), pins);
        options.tcx = tcx;
        XdpPlane::start(&options)
    }

    /// Takes all routes out.
    pub fn without_routes(&self) -> Plan {
        let out = |number| {
            let prefix = Prefix4::new(Ipv4Addr::new(10, number, 0, 0), 24).unwrap();
            Change::Route4(VrfId(0), prefix, GroupId::NONE)
        };
        Plan { generation: 2, changes: vec![out(1), out(2)] }
    }

    /// The router's image, by hand.
    pub fn image(&self) -> Plan {
        let mut changes = vec![Change::Settings(SettingsRow::default())];
        for number in [1u8, 2] {
            let index = self.index(&format!("r{number}"));
            let (own, host) = ([2, 0, 0, 0, 0, 0x10 + number], [2, 0, 0, 0, 0, 0x20 + number]);
            let id = NextHopId(number.into());
            let group = GroupId(number.into());
            changes.push(Change::Link(index, link_row(index, own)));
            changes.push(Change::NextHop(id, adjacency(index, own, host)));
            let members = GroupMembers { buckets: vec![id], links: vec![index] };
            changes.push(Change::Group(group, members));
            let prefix = Prefix4::new(Ipv4Addr::new(10, number, 0, 0), 24).unwrap();
            changes.push(Change::Route4(VrfId(0), prefix, group));
        }
        Plan { generation: 1, changes }
    }
}

fn link_row(index: u32, mac: [u8; 6]) -> LinkRow {
    let flags = link::flag::UP | link::flag::IPV4;
    LinkRow { flags, mtu: 1500, mac, device: index, ..LinkRow::default() }
}

fn adjacency(index: u32, own: [u8; 6], host: [u8; 6]) -> NextHopRow {
    let mut addresses = [0; 12];
    addresses[..6].copy_from_slice(&host);
    addresses[6..].copy_from_slice(&own);
    let kind = nexthop::kind::ADJACENT;
    NextHopRow {
        kind,
        link: index,
        watch: index,
        device: index,
        mtu: 1500,
        addresses,
        ..NextHopRow::default()
    }
}

/// The modes of statuses.
pub fn modes(statuses: &[HookStatus]) -> Vec<Mode> {
    statuses.iter().map(|status| status.mode).collect()
}

/// Small tables.
fn capacity() -> Capacity {
    Capacity::for_limits(&Limits {
        links: 256,
        vrfs: 1,
        ipv4_routes: 1000,
        ipv6_routes: 1000,
        labels: 1000,
        nexthops: 100,
        groups: 100,
        vlan_links: 0,
        sessions: 16,
        ..Limits::default()
    })
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Pins hold programs at links of namespaces: the file system goes first.
        let _ = run(&format!("umount -l {}", self.bpffs.display()));
        let _ = std::fs::remove_dir(&self.bpffs);
        for name in ["h1", "h2", "r"] {
            let _ = run(&format!("ip netns del {}", self.netns(name)));
        }
    }
}

/// Runs a command; its output, or what it said on failure.
pub fn run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("{command}: {said}{}", String::from_utf8_lossy(&output.stdout)))
        }
    }
}

/// Says why a test does not run.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        file.and_then(|mut file| writeln!(file, "skipped: {why}")).unwrap();
    }
}
