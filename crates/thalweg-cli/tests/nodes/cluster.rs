//! Some nodes with a pod each, and a client, around a switch: every node in a namespace with an agent of its
//! own.

use crate::lab::sockets::{LONG, connect, inside, listen};
pub use crate::lab::{ip, skip};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thalweg_testkit::cgroup::Cgroup;

/// Among those that serve: the host of a node itself, not its pod.
pub const HOST: usize = 100;

/// Nodes, numbered from 1, and the client: host `c`.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub name: String,
    nodes: usize,
    agents: BTreeMap<usize, Child>,
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
    /// The group whose sockets agents serve; none where this machine has no such groups.
    cgroup: Option<Cgroup>,
}

impl Cluster {
    /// Builds the hosts and links; none, with the reason told, where this machine does not let us.
    pub fn new(tag: &str, nodes: usize) -> Option<Self> {
        let name = format!("tn{tag}{}", std::process::id());
        let cgroup = Cgroup::new(&name).ok();
        let cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            name,
            nodes,
            agents: BTreeMap::new(),
            stop: Arc::default(),
            servers: Vec::new(),
            cgroup,
        };
        if let Err(why) = ip(&format!("netns add {}w", cluster.name)) {
            skip(&why);
            return None;
        }
        let n = &cluster.name;
        cluster.run(&[format!("-n {n}w link add br0 up type bridge")]);
        cluster.host("c", 9);
        for number in 1..=nodes {
            cluster.host(&number.to_string(), number);
            cluster.pod(number);
            fs::create_dir(cluster.dir.path().join(number.to_string())).unwrap();
        }
        Some(cluster)
    }

    pub fn run(&self, lines: &[String]) {
        for line in lines {
            ip(line).unwrap();
        }
    }

    /// Lets XDP stand at the nodes' links: what comes there has its checksums, and is no larger than the link lets.
    ///
    /// # Errors
    ///
    /// What there is not on this machine.
    pub fn fit_for_xdp(&self) -> Result<(), String> {
        let n = &self.name;
        [("w", "p1"), ("w", "p2"), ("c", "eth0")].into_iter().try_for_each(|(host, device)| {
            let off = "tx off tso off gso off gro on";
            ip(&format!("netns exec {n}{host} ethtool -K {device} {off}")).map(drop)
        })
    }

    /// A host on the switch: 192.0.2.NUMBER and 2001:db8::NUMBER.
    fn host(&self, host: &str, number: usize) {
        let n = &self.name;
        self.run(&[
            format!("netns add {n}{host}"),
            format!("-n {n}{host} link set lo up"),
            format!(
                "link add eth0 netns {n}{host} address 02:00:00:00:00:0{number} type veth peer \
                 name p{host} netns {n}w"
            ),
            format!("-n {n}w link set p{host} master br0 up"),
            format!("netns exec {n}{host} sysctl -qw net.ipv6.conf.all.accept_dad=0"),
            format!("netns exec {n}{host} sysctl -qw net.ipv6.conf.eth0.accept_dad=0"),
            format!("-n {n}{host} addr add 192.0.2.{number}/24 dev eth0"),
            format!("-n {n}{host} -6 addr add 2001:db8::{number}/64 dev eth0 nodad"),
            format!("-n {n}{host} link set eth0 up"),
            format!("netns exec {n}{host} sysctl -qw net.ipv4.ip_forward=1"),
            format!("netns exec {n}{host} sysctl -qw net.ipv6.conf.all.forwarding=1"),
        ]);
    }

    /// The pod of a node: 10.1.NUMBER.2 and fd00:NUMBER::2.
    fn pod(&self, number: usize) {
        let n = &self.name;
        let mac = format!("02:00:00:00:09:0{number}");
        self.run(&[
            format!("netns add {n}p{number}"),
            format!(
                "link add pod netns {n}{number} address {mac} type veth peer name eth0 netns \
                 {n}p{number}"
            ),
            format!("netns exec {n}p{number} sysctl -qw net.ipv6.conf.eth0.accept_dad=0"),
            format!("-n {n}p{number} link set lo up"),
            format!("-n {n}p{number} link set eth0 up"),
            format!("-n {n}{number} link set pod up"),
            format!("-n {n}p{number} addr add 10.1.{number}.2/32 dev eth0"),
            format!("-n {n}p{number} route add 169.254.1.1 dev eth0 scope link"),
            format!("-n {n}p{number} route add default via 169.254.1.1 dev eth0"),
            format!("-n {n}p{number} neigh add 169.254.1.1 dev eth0 lladdr {mac}"),
            format!("-n {n}p{number} -6 addr add fd00:{number}::2/128 dev eth0 nodad"),
            format!("-n {n}p{number} -6 route add fe80::1 dev eth0"),
            format!("-n {n}p{number} -6 route add default via fe80::1 dev eth0"),
            format!("-n {n}p{number} neigh add fe80::1 dev eth0 lladdr {mac}"),
        ]);
    }

    /// Writes the files of all nodes: what `router` says besides, and the pods that serve.
    pub fn configure(&self, router: &str, serving: &[usize]) {
        for number in 1..=self.nodes {
            let path = self.dir.path().join(number.to_string()).join("config.yaml");
            // At once: half a file may be a right one with fewer nodes.
            let new = self.path(number, "new");
            fs::write(&new, self.config(number, router, serving)).unwrap();
            fs::rename(new, path).unwrap();
        }
    }

    fn config(&self, own: usize, router: &str, serving: &[usize]) -> String {
        let mut text = format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {{name: uplink}}\n\
             spec: {{interfaces: [eth0]}}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
             metadata: {{name: router}}\nspec:\n  node: n{own}\n  \
             limits: {{flows: 4096, ringSlots: 1048576}}\n{router}"
        );
        for number in 1..=self.nodes {
            text += &format!(
                "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\n\
                 spec: {{podCIDRs: [10.1.{number}.0/24, 'fd00:{number}::/64']}}\n\
                 status:\n  addresses:\n  - {{type: InternalIP, address: 192.0.2.{number}}}\n  \
                 - {{type: InternalIP, address: '2001:db8::{number}'}}\n\
                 ---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  namespace: shop\n  \
                 annotations: {{thalweg.io/interface: pod}}\nspec: {{nodeName: n{number}}}\n\
                 status: {{podIPs: [{{ip: 10.1.{number}.2}}, {{ip: 'fd00:{number}::2'}}]}}\n"
            );
        }
        text += "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd96::10']
  ipFamilies: [IPv4, IPv6]
  ports:
  - {name: who, port: 80, nodePort: 30080, protocol: TCP}
  - {name: echo, port: 7, nodePort: 30007, protocol: TCP}
  - {name: asked, port: 81, nodePort: 30081, protocol: UDP}
  - {name: nobody, port: 82, nodePort: 30082, protocol: UDP}
";
        for (family, name) in [("IPv4", "four"), ("IPv6", "six")] {
            text += &format!(
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, \
                 namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
                 addressType: {family}\nports:\n- {{name: who, port: 8080, protocol: TCP}}\n\
                 - {{name: echo, port: 8007, protocol: TCP}}\n\
                 - {{name: asked, port: 8081, protocol: UDP}}\n\
                 - {{name: nobody, port: 8082, protocol: UDP}}\nendpoints:\n"
            );
            for number in serving {
                let (address, number) = match (family, number.checked_sub(HOST)) {
                    ("IPv4", None) => (format!("10.1.{number}.2"), *number),
                    (_, None) => (format!("fd00:{number}::2"), *number),
                    ("IPv4", Some(host)) => (format!("192.0.2.{host}"), host),
                    (_, Some(host)) => (format!("2001:db8::{host}"), host),
                };
                text += &format!("- {{addresses: ['{address}'], nodeName: n{number}}}\n");
            }
            if serving.is_empty() {
                text += "  []\n";
            }
        }
        text
    }

    fn thalweg(&self, number: usize, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line).arg("--instance").arg(format!("{}-{number}", self.name));
        command.arg("--socket").arg(self.path(number, "sock"));
        command.env("STATE_DIRECTORY", self.path(number, "state"));
        command
    }

    fn path(&self, number: usize, what: &str) -> PathBuf {
        self.dir.path().join(format!("{what}{number}"))
    }

    /// What the agent of a node says.
    pub fn text(&self, number: usize, line: &[&str]) -> String {
        let output = self.thalweg(number, line).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    /// Starts the agents of all nodes and the servers of all pods; false, with the reason told, where the
    /// kernel refuses.
    pub fn start(&mut self) -> bool {
        self.start_some(self.nodes)
    }

    /// The same with agents on the first nodes only.
    pub fn start_some(&mut self, agents: usize) -> bool {
        for number in 1..=agents {
            let log = fs::File::create(self.path(number, "log")).unwrap();
            let mut command =
                self.thalweg(number, &["run", "--netns", &format!("{}{number}", self.name)]);
            command.arg("-f").arg(self.dir.path().join(number.to_string()));
            if let Some(cgroup) = &self.cgroup {
                command.arg("--cgroup").arg(cgroup.path());
            }
            let child = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
            self.agents.insert(number, child);
        }
        for number in 1..=agents {
            let start = Instant::now();
            loop {
                let status = self.text(number, &["status", "-o", "json"]);
                if status.contains("\"phase\": \"inForce\"") && !status.contains("\"hooks\": []") {
                    break;
                }
                let ended = self.agents.get_mut(&number).and_then(|a| a.try_wait().unwrap());
                if let Some(status) = ended {
                    assert_eq!(status.code(), Some(4), "{}", self.log(number));
                    skip(self.log(number).trim());
                    return false;
                }
                assert!(start.elapsed() < Duration::from_secs(60), "{}", self.log(number));
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        for number in 1..=self.nodes {
            self.serve(&format!("p{number}"));
        }
        true
    }

    /// Ends the agent of a node at once.
    pub fn kill(&mut self, number: usize) {
        let mut agent = self.agents.remove(&number).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.path(number, "log")).unwrap_or_default()
    }

    /// Servers of a pod or host: one says who it is and whom it sees, one says everything again.
    pub fn serve(&mut self, host: &str) {
        let name = host.to_owned();
        let who = move |mut stream: TcpStream, peer: SocketAddr| {
            let peer = match peer.ip() {
                IpAddr::V6(six) => six.to_ipv4_mapped().map_or(peer.ip(), Into::into),
                four => four,
            };
            let _ = write!(stream, "{name} saw {peer}");
        };
        let echo = move |mut stream: TcpStream, _| {
            std::thread::spawn(move || {
                let mut octets = [0; 1 << 16];
                while let Ok(len @ 1..) = stream.read(&mut octets) {
                    if stream.write_all(&octets[..len]).is_err() {
                        break;
                    }
                }
            });
        };
        let namespace = format!("{}{host}", self.name);
        self.servers.push(listen(&namespace, ("::", 8080), self.stop.clone(), who));
        self.servers.push(listen(&namespace, ("::", 8007), self.stop.clone(), echo));
    }

    /// A server of datagrams, which says who it is and whom it sees.
    pub fn serve_datagrams(&mut self, host: &str) {
        let name = host.to_owned();
        let socket = inside(&format!("{}{host}", self.name), || UdpSocket::bind("[::]:8081"));
        let (socket, stop) = (socket.unwrap(), self.stop.clone());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        self.servers.push(std::thread::spawn(move || {
            let mut octets = [0; 2048];
            while !stop.load(SeqCst) {
                if let Ok((_, peer)) = socket.recv_from(&mut octets) {
                    let seen = format!("{name} saw {}", peer.ip().to_canonical());
                    let _ = socket.send_to(seen.as_bytes(), peer);
                }
            }
        }));
    }

    /// Sends a datagram; the answer, or the error that was told instead.
    pub fn asks(&self, host: &str, at: &str) -> Result<String, String> {
        inside(&format!("{}{host}", self.name), || {
            let socket = UdpSocket::bind("[::]:0").and_then(|socket| {
                let at: SocketAddr = at.parse().unwrap();
                let at = match at.ip() {
                    IpAddr::V4(four) => SocketAddr::new(four.to_ipv6_mapped().into(), at.port()),
                    IpAddr::V6(_) => at,
                };
                socket.connect(at)?;
                socket.set_read_timeout(Some(LONG))?;
                socket.send(b"who")?;
                Ok(socket)
            });
            let mut octets = [0; 2048];
            let heard = socket.and_then(|socket| socket.recv(&mut octets));
            let len = heard.map_err(|error| error.kind().to_string())?;
            Ok(String::from_utf8_lossy(&octets[..len]).into_owned())
        })
    }

    /// Connects from a host's namespace; what is heard until the other side closes.
    pub fn hears(&self, host: &str, at: &str) -> Result<String, String> {
        inside(&format!("{}{host}", self.name), || {
            let mut stream = connect(at)?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok(text)
        })
    }

    /// Many connections from a host: how often each was heard.
    pub fn many(&self, host: &str, at: &str, count: u32) -> BTreeMap<String, u32> {
        let mut heard = BTreeMap::new();
        for _ in 0..count {
            let words = self.hears(host, at).unwrap_or_else(|error| error);
            *heard.entry(words).or_insert(0) += 1;
        }
        heard
    }

    /// How many connections the kernel of each host has reset, and what nodes have dropped.
    fn resets(&self) -> String {
        let mut text = String::new();
        let hosts = (1..=self.nodes).flat_map(|number| [format!("{number}"), format!("p{number}")]);
        for host in hosts.chain(["c".to_owned()]) {
            let line =
                format!("netns exec {}{host} nstat -asz TcpOutRsts TcpRetransSegs", self.name);
            let said = Command::new("ip").args(line.split(' ')).output().unwrap();
            let words = String::from_utf8_lossy(&said.stdout).replace('\n', " ");
            text += &format!("\n{host}: {words}");
        }
        for number in self.agents.keys() {
            text += &format!("\n{}", self.text(*number, &["get", "drops", "--all"]));
            text += &format!("\n{}", self.text(*number, &["get", "flows"]));
        }
        text
    }

    /// Sends and hears again that many octets, through an echo.
    pub fn echoes(&self, host: &str, at: &str, octets: usize) -> Result<(), String> {
        inside(&format!("{}{host}", self.name), || {
            let mut stream = connect(at)?;
            let mut back = stream.try_clone().map_err(|error| error.to_string())?;
            let sent: Vec<u8> = (0..octets).map(|at| ((at * 7) >> 3) as u8).collect();
            let copy = sent.clone();
            let writer = std::thread::spawn(move || stream.write_all(&copy).map(|()| stream));
            let mut heard = vec![0; octets];
            let read = back.read_exact(&mut heard);
            // An error of the connection is told once, to whoever asks first; the other hears of an end.
            let written = writer.join().unwrap();
            match (read, written) {
                (Ok(()), Ok(_)) if heard == sent => Ok(()),
                (Ok(()), Ok(_)) => Err("other octets came back".into()),
                (read, written) => Err(format!(
                    "read: {read:?}; written: {:?}; {}",
                    written.map(drop),
                    self.resets()
                )),
            }
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for server in self.servers.drain(..) {
            let _ = server.join();
        }
        for agent in self.agents.values_mut() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        for number in 1..=self.nodes {
            let _ = self.thalweg(number, &["detach"]).output();
            let _ = ip(&format!("netns del {}{number}", self.name));
            let _ = ip(&format!("netns del {}p{number}", self.name));
        }
        for host in ["c", "w"] {
            let _ = ip(&format!("netns del {}{host}", self.name));
        }
    }
}
