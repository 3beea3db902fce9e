//! A router with an agent between two hosts, in network namespaces and a BPF file system of its own.

use crate::flows;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thalweg_api::view::{Phase, StatusView};
use thalweg_api::{Answer, Call, Client};
use thalweg_testkit::inventory::{self, Inventory};
use thalweg_testkit::stream::{Flow, Stream, Tally};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Lab {
    pub dir: tempfile::TempDir,
    pub name: String,
    pub agent: Option<Child>,
    /// The program that runs as agent.
    pub program: PathBuf,
    /// Rows of the table of next hops: nobody else has chosen that many.
    nexthops: u32,
    mounts: Vec<PathBuf>,
    /// Streams want the processors for themselves.
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Builds the lab; none, with the reason told, where this machine does not let us.
    pub fn new(xdp: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut lab = Self {
            dir: tempfile::tempdir().unwrap(),
            name: format!("twk{}x{number}", std::process::id()),
            agent: None,
            program: env!("CARGO_BIN_EXE_thalweg").into(),
            nexthops: 2_000 + (std::process::id() * 16 + number) % 50_000,
            mounts: Vec::new(),
            _turn: turn,
        };
        for name in ["etc", "bpf"] {
            fs::create_dir(lab.path(name)).unwrap();
        }
        if let Err(why) = lab.build() {
            thalweg_testkit::skipped(&why);
            return None;
        }
        lab.steady(xdp);
        lab.write("changing.yaml", &flows::changing(false, 0));
        Some(lab)
    }

    fn build(&mut self) -> Result<(), String> {
        let n = self.name.clone();
        let bpffs = self.path("bpf");
        run("mount", &format!("-t bpf bpf {}", bpffs.display()))?;
        self.mounts.push(bpffs);
        for host in ["a", "r", "b"] {
            run("ip", &format!("netns add {n}{host}"))?;
            run("ip", &format!("-n {n}{host} link set lo up"))?;
        }
        let (into, out) = (text(flows::IN), text(flows::OUT));
        for line in [
            format!("link add eth0 netns {n}r address {into} type veth peer name eth0 netns {n}a"),
            format!("link add eth1 netns {n}r address {out} type veth peer name eth0 netns {n}b"),
            format!("-n {n}a addr add 10.0.0.9/24 dev eth0"),
            format!("-n {n}b addr add 10.0.1.9/24 dev eth0"),
            format!("-n {n}r addr add 10.0.0.1/24 dev eth0"),
            format!("-n {n}r addr add 10.0.1.1/24 dev eth1"),
            format!("-n {n}r addr add 2001:db8:1::1/64 dev eth1 nodad"),
            format!("-n {n}r addr add 2001:db8::1/64 dev eth0 nodad"),
            format!("-n {n}a link set eth0 up"),
            format!("-n {n}b link set eth0 up"),
            format!("-n {n}r link set eth0 up"),
            format!("-n {n}r link set eth1 up"),
            format!("-n {n}a route add default via 10.0.0.1"),
        ] {
            run("ip", &line)?;
        }
        for gateway in flows::GATEWAYS {
            let mac = text(flows::mac(gateway));
            for address in [format!("10.0.1.{gateway}"), format!("2001:db8:1::{gateway}")] {
                run(
                    "ip",
                    &format!("-n {n}r neigh add {address} lladdr {mac} dev eth1 nud permanent"),
                )?;
            }
        }
        for host in ["a", "b"] {
            // Hosts finish their frames, and take those that a native program sends.
            run("ip", &format!("netns exec {n}{host} ethtool -K eth0 gro on tx off"))?;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn netns(&self, host: &str) -> PathBuf {
        format!("/run/netns/{}{host}", self.name).into()
    }

    /// Puts a file in the place of another at once.
    pub fn write(&self, name: &str, text: &str) {
        replace(&self.path("etc"), name, text);
    }

    /// Writes what never changes but for the wished hook.
    pub fn steady(&self, xdp: &str) {
        self.write("steady.yaml", &flows::steady(xdp, self.nexthops));
    }

    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(line)
            .args(["--instance", &self.name, "--socket"])
            .arg(self.path("sock"))
            .env("STATE_DIRECTORY", self.path("state"))
            .env_remove("THALWEG_FAULT");
        command
    }

    /// The command line of an agent.
    pub fn run(&self) -> Command {
        let netns = format!("{}r", self.name);
        let mut command = self.command(&["run", "--netns", &netns]);
        command.arg("-f").arg(self.path("etc")).arg("--bpffs").arg(self.path("bpf"));
        command
    }

    /// Starts an agent that dies at a point, if one is given.
    pub fn start(&mut self, fault: Option<&str>) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.run();
        command.stderr(log).stdout(Stdio::null());
        if let Some(fault) = fault {
            command.env("THALWEG_FAULT", fault);
        }
        self.agent = Some(command.spawn().unwrap());
    }

    /// Starts an agent and waits until its programs are at the hooks; false, with the reason told,
    /// where the kernel refuses.
    pub fn starts(&mut self) -> bool {
        self.start(None);
        let start = Instant::now();
        while !self.in_force() {
            if let Some(status) = self.ended() {
                assert_eq!(status, Some(4), "{}", self.log());
                thalweg_testkit::skipped(self.log().trim());
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Lets agents be of the next version; false, with the reason told, where that was not built.
    pub fn next_version(&mut self) -> bool {
        let this = PathBuf::from(env!("CARGO_BIN_EXE_thalweg"));
        let next = this.with_file_name("thalweg-next");
        if !next.exists() {
            thalweg_testkit::skipped("the next version was not built (scripts/next.sh)");
            return false;
        }
        self.program = next;
        true
    }

    /// Lets agents be of this version.
    pub fn this_version(&mut self) {
        self.program = env!("CARGO_BIN_EXE_thalweg").into();
    }

    /// Frames that were forwarded since the instance was first started.
    pub fn forwarded(&self) -> u64 {
        match Client::connect(&self.path("sock")).unwrap().call(Call::Drops { all: true }) {
            Ok(Answer::Drops(views)) => {
                let forward = views.iter().filter(|view| view.verdict == "forward");
                forward.map(|view| view.packets).sum()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Exit code of an agent that ended by itself: none if it was killed.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.agent.as_mut()?.try_wait().unwrap()?;
        self.agent = None;
        Some(status.code())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            agent.wait().unwrap();
        }
    }

    pub fn status(&self) -> Option<StatusView> {
        match Client::connect(&self.path("sock")).ok()?.call(Call::Status) {
            Ok(Answer::Status(view)) => Some(*view),
            _ => None,
        }
    }

    pub fn in_force(&self) -> bool {
        self.status().is_some_and(|s| s.phase == Phase::InForce && !s.hooks.is_empty())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[track_caller]
    pub fn until(&self, what: &str, wished: impl Fn() -> bool) {
        let start = Instant::now();
        while !wished() {
            assert!(start.elapsed() < PATIENCE, "{what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What of this instance is in the kernel.
    pub fn inventory(&self) -> Inventory {
        // Row 0 stands for none.
        inventory::of("nexthops", self.nexthops + 1)
    }

    /// All names in the BPF file system, in order; the kernel puts two there by itself.
    pub fn names(&self) -> Vec<String> {
        let root = self.path("bpf");
        let mut names = Vec::new();
        collect(&root, &mut names);
        let short = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
        let mut names: Vec<String> = names.iter().map(short).collect();
        names.retain(|name| !name.ends_with(".debug"));
        names.sort();
        names
    }

    pub fn detach(&self, fault: Option<&str>) -> Output {
        let mut command = self.command(&["detach"]);
        command.arg("--bpffs").arg(self.path("bpf"));
        if let Some(fault) = fault {
            command.env("THALWEG_FAULT", fault);
        }
        command.output().unwrap()
    }

    pub fn stream(&self, flows: Vec<Flow>) -> Stream {
        Stream::new(&self.netns("a"), &self.netns("b"), flows).unwrap()
    }

    /// The flows, each that is spread over next hops with the one that it has now.
    pub fn settled(&self) -> Vec<Flow> {
        let mut flows = flows::all();
        let tally = during(&self.stream(flows.clone()), || {
            std::thread::sleep(Duration::from_millis(100));
        });
        assert!(tally.lost == 0 && tally.changed == 0, "{tally:#?}\n{}", self.log());
        for (flow, counts) in flows.iter_mut().zip(&tally.answers).skip(flows::SPREAD) {
            let used: Vec<usize> = (0..counts.len()).filter(|at| counts[*at] > 0).collect();
            assert_eq!(used.len(), 1, "a flow has one next hop: {counts:?}");
            flow.answers = vec![flow.answers.swap_remove(used[0])];
        }
        flows
    }

    /// What changes files and kernel routes.
    pub fn noisy(&self) -> Noise {
        Noise { etc: self.path("etc"), batch: self.path("batch"), netns: format!("{}r", self.name) }
    }
}

/// Changes files and kernel routes all the time, and leaves the steady flows alone.
pub struct Noise {
    etc: PathBuf,
    batch: PathBuf,
    netns: String,
}

impl Noise {
    /// Until told to stop.
    pub fn run(&self, stop: &AtomicBool) {
        for turn in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if turn % 8 == 0 {
                let text = flows::changing(turn % 16 == 0, turn);
                replace(&self.etc, "changing.yaml", &text);
            }
            let route = |number: usize| {
                let (third, gateway) = ((turn * 3 + number) % 100, 101 + (turn + number) % 7);
                format!("route replace 10.60.{third}.0/24 via 10.0.1.{gateway}\n")
            };
            fs::write(&self.batch, (0..30).map(route).collect::<String>()).unwrap();
            run("ip", &format!("-n {} -batch {}", self.netns, self.batch.display())).unwrap();
            std::thread::sleep(Duration::from_millis(15));
        }
    }
}

/// Puts a file in the place of another at once.
fn replace(etc: &Path, name: &str, text: &str) {
    let aside = etc.join(format!(".{name}"));
    fs::write(&aside, text).unwrap();
    fs::rename(aside, etc.join(name)).unwrap();
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
        let _ = self.detach(None);
        for path in self.mounts.drain(..) {
            let _ = run("umount", &format!("-l {}", path.display()));
        }
        for host in ["a", "r", "b"] {
            let _ = run("ip", &format!("netns del {}{host}", self.name));
        }
    }
}

/// Streams while `work` is done.
pub fn during(stream: &Stream, work: impl FnOnce()) -> Tally {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| stream.run(&stop));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let tally = running.join().unwrap();
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        tally
    })
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), into);
        }
        into.push(entry.path());
    }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// Runs a program; what it said.
pub fn run(program: &str, line: &str) -> Result<String, String> {
    match Command::new(program).args(line.split_whitespace()).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            Err(format!("{program} {line}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("`{program}` does not run: {error}")),
    }
}
