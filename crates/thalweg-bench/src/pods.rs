//! A node with pods: a router, and hosts behind it with an address and a link each.
//!
//! Links are as those of pods are: unnumbered on the node's side, offloads as the kernel sets them.

use crate::network::{Namespace, ip, run, set};
use crate::{Measured, samples};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The pod that asks.
pub const CLIENT: usize = 0;
/// The pods that answer.
pub const SERVERS: [usize; 2] = [1, 2];
/// All of them.
pub const PODS: [usize; 3] = [0, 1, 2];

/// A router and its pods.
pub struct Node {
    /// The router.
    pub router: Namespace,
    pods: Vec<Namespace>,
}

/// The address of a pod.
pub fn address(pod: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 0, 2 + pod as u8)
}

impl Node {
    /// A router that forwards, links, and pods that send everything to the router; no routes to pods.
    pub fn new() -> Measured<Self> {
        let router = Namespace::new()?;
        let pods = PODS.iter().map(|_| Namespace::new()).collect::<Measured<Vec<_>>>()?;
        router.inside(|| {
            let mut commands = String::from("link set lo up\n");
            for (number, pod) in pods.iter().enumerate() {
                let _ = write!(
                    commands,
                    "link add pod{number} address 02:00:00:00:09:0{number} type veth peer name eth0 \
                     address 02:00:00:00:0a:0{number} netns {}\nlink set pod{number} up\n\
                     neigh add {} lladdr 02:00:00:00:0a:0{number} dev pod{number} nud permanent\n",
                    pod.path(),
                    address(number),
                );
            }
            ip(&commands)?;
            set("ipv4/conf/all/rp_filter", "0")?;
            set("ipv4/ip_forward", "1")
        })?;
        for (number, pod) in pods.iter().enumerate() {
            pod.inside(|| {
                ip(&format!(
                    "link set lo up\naddr add {}/32 dev eth0\nlink set eth0 up\n\
                     neigh add 169.254.1.1 lladdr 02:00:00:00:09:0{number} dev eth0 nud permanent\n\
                     route add 169.254.1.1 dev eth0 scope link\n\
                     route add default via 169.254.1.1 dev eth0\n",
                    address(number),
                ))?;
                // More ports, so that a client that asks often finds one that nobody waits for.
                set("ipv4/ip_local_port_range", "1024 65000")
            })?;
        }
        Ok(Self { router, pods })
    }

    /// The same with the kernel's routes to the pods.
    pub fn routed() -> Measured<Self> {
        let node = Self::new()?;
        let routes: String = PODS
            .iter()
            .map(|pod| format!("route add {}/32 dev pod{pod} scope link\n", address(*pod)))
            .collect();
        node.router.inside(|| ip(&routes))?;
        Ok(node)
    }

    /// Does `work` in a pod. Threads that it starts stay there.
    pub fn inside<T>(&self, pod: usize, work: impl FnOnce() -> Measured<T>) -> Measured<T> {
        let pod = self.pods.get(pod).ok_or("there is no such pod")?;
        pod.inside(work)
    }

    /// Frames that the router has received from a pod.
    pub fn received(&self, pod: usize) -> Measured<u64> {
        self.router.inside(|| {
            let (text, name) =
                (std::fs::read_to_string("/proc/thread-self/net/dev")?, format!("pod{pod}:"));
            let line = text.lines().find_map(|line| line.trim().strip_prefix(&name));
            let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            Ok(packets.ok_or_else(|| format!("the kernel does not count packets of {name}"))?)
        })
    }

    /// Lets a program read rules in the router.
    pub fn rules(&self, program: &str, arguments: &[&str], text: &str) -> Measured<()> {
        let file = std::env::temp_dir().join(format!("thalweg-bench-rules-{}", std::process::id()));
        std::fs::write(&file, text)?;
        let path = file.display().to_string();
        let arguments: Vec<&str> = arguments.iter().copied().chain([&path[..]]).collect();
        let done = self.router.inside(|| run(program, &arguments));
        let _ = std::fs::remove_file(&file);
        done
    }
}

/// Lets this thread, and those that it starts, run on all processors: measurements before may have kept
/// it on one.
pub fn spread() {
    let mut set = CpuSet::new();
    let known = (0..samples::processors()).all(|processor| set.set(processor).is_ok());
    if known {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
