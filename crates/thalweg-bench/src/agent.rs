//! `agent/…`: what the agent itself costs with a full table, beside FRR's zebra with the same one.
//!
//! Two namespaces without names have the same links and the same kernel routes of both families. In
//! one the agent runs as people run it, in the other zebra does; both learn the routes from the
//! kernel. Then both are left alone for a minute, at the same time.

use crate::network::Namespace;
use crate::prefixes::Full;
use crate::report::Row;
use crate::routes::{install4, install6};
use crate::samples::{pin, processors};
use crate::traffic::links;
use crate::{Bench, Measured, say};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["agent/memory", "agent/idle-cpu"];
const ZEBRA: &str = "/usr/lib/frr/zebra";
const PEER: &str = "FRR zebra";
/// How long both are left alone.
const MINUTE: Duration = Duration::from_secs(60);
/// How long either may take to learn the routes.
const PATIENCE: Duration = Duration::from_secs(300);

const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [r0, r1]}
";

/// Both rows.
pub fn measure(bench: &mut Bench, full: &Full) {
    pin(0, processors() - 1);
    bench.measure(&NAMES.map(ToOwned::to_owned), |bench| {
        let program = program()?;
        if !Path::new(ZEBRA).exists() {
            return Err(format!("{ZEBRA} is not there; install Debian's package frr").into());
        }
        say("agent: full tables of both families, beside zebra with the same ones");
        let folder = Folder::new()?;
        let ours = Process::agent(&program, &folder.0, full)?;
        let theirs = Process::zebra(&folder.0, full)?;
        // What is left over from loading settles.
        std::thread::sleep(Duration::from_secs(10));
        let [mine, peers] = [ours.memory()?, theirs.memory()?];
        bench.add(Row::cost(NAMES[0], mine, "bytes", PEER, peers));
        if !bench.wants(&NAMES[1..].iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()) {
            return Ok(());
        }
        let before = [ours.cpu()?, theirs.cpu()?];
        std::thread::sleep(MINUTE);
        let [mine, peers] = [ours.cpu()? - before[0], theirs.cpu()? - before[1]];
        bench.add(Row::cost(NAMES[1], mine * 1e3, "ms/min", PEER, peers * 1e3));
        Ok(())
    });
}

/// The program `thalweg`, built beside this one.
pub fn program() -> Measured<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("thalweg");
    match program.exists() {
        true => Ok(program),
        false => Err("the agent is not built: cargo build --release -p thalweg-cli".into()),
    }
}

/// The share of memory (PSS) of a process in octets, tables that it maps included.
pub fn pss(process: u32) -> Measured<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(number.ok_or("the kernel does not tell the memory of a process")? * 1024.0)
}

/// Processor time of all threads of a process so far, in seconds.
pub fn cpu(process: u32) -> Measured<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
        sum += nanoseconds.ok_or("the kernel does not tell the time of a thread")?;
    }
    Ok(sum / 1e9)
}

/// A folder that goes away.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one, with room for files and a BPF file system.
    pub fn new() -> Measured<Self> {
        let path = std::env::temp_dir().join(format!("thalweg-bench-{}", std::process::id()));
        fs::create_dir_all(path.join("etc"))?;
        fs::create_dir_all(path.join("bpf"))?;
        fs::write(path.join("etc/config.yaml"), CONFIG)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process in a namespace of its own, with full tables.
struct Process {
    child: Child,
    /// What it says on standard error.
    log: PathBuf,
    /// Keeps the links.
    _namespace: Namespace,
}

impl Process {
    /// The agent. Its BPF file system is in a mount namespace that ends with it.
    fn agent(program: &Path, folder: &Path, full: &Full) -> Measured<Self> {
        let text = |path: &Path| path.display().to_string();
        let socket = text(&folder.join("sock"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c"]);
        command.args(["mount -t bpf bpf \"$0\" && exec \"$@\"", &text(&folder.join("bpf"))]);
        command.arg(program).args(["run", "--socket", &socket]);
        command.args(["-f", &text(&folder.join("etc")), "--bpffs", &text(&folder.join("bpf"))]);
        command.args(["--state", &text(&folder.join("state"))]);
        let process = Self::start(command, &folder.join("agent.log"), full)?;
        let wanted = full.four.len() + full.six.len();
        let learned = || -> Measured<usize> {
            let output = Command::new(program)
                .args(["status", "-o", "json", "--socket", &socket])
                .output()?;
            let status: serde_json::Value =
                serde_json::from_slice(&output.stdout).unwrap_or_default();
            let count = |name: &str| status["counts"][name].as_u64().unwrap_or(0) as usize;
            Ok(count("ipv4Routes") + count("ipv6Routes"))
        };
        process.until("the agent", wanted, learned)
    }

    fn zebra(folder: &Path, full: &Full) -> Measured<Self> {
        let sockets = folder.join("zebra");
        fs::create_dir_all(&sockets)?;
        // It runs as a user of its own.
        fs::set_permissions(&sockets, Permissions::from_mode(0o777))?;
        let text = |name: &str| sockets.join(name).display().to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", ZEBRA, "-P", "0"]);
        command.args(["-f", "/dev/null", "-i", &text("pid"), "-z", &text("zserv")]);
        command.args(["--vty_socket", &text(""), "--log", "stdout"]);
        let process = Self::start(command, &folder.join("zebra.log"), full)?;
        let wanted = full.four.len() + full.six.len();
        let learned = || -> Measured<usize> {
            let mut count = 0;
            for family in ["ip", "ipv6"] {
                let question = format!("show {family} route summary json");
                let output = Command::new("vtysh")
                    .args(["--vty_socket", &text(""), "-d", "zebra", "-c"])
                    .arg(question)
                    .output()
                    .map_err(|error| format!("`vtysh` cannot be run: {error}"))?;
                let summary: serde_json::Value =
                    serde_json::from_slice(&output.stdout).unwrap_or_default();
                count += summary["routesTotal"].as_u64().unwrap_or(0) as usize;
            }
            Ok(count)
        };
        process.until(PEER, wanted, learned)
    }

    fn start(mut command: Command, log: &Path, full: &Full) -> Measured<Self> {
        let namespace = Namespace::new()?;
        let output = fs::File::create(log)?;
        let child = namespace.inside(|| {
            let [_, out] = links()?;
            install4(&full.four, out)?;
            install6(&full.six, out)?;
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
            Ok(quiet.spawn().map_err(|error| format!("`setpriv` cannot be run: {error}"))?)
        })?;
        Ok(Self { child, log: log.to_owned(), _namespace: namespace })
    }

    /// Waits until it has learned so many routes.
    fn until(
        mut self,
        name: &str,
        wanted: usize,
        learned: impl Fn() -> Measured<usize>,
    ) -> Measured<Self> {
        let start = Instant::now();
        loop {
            let count = learned()?;
            if count >= wanted {
                let took = start.elapsed().as_secs_f64();
                say(&format!("{name} has {count} routes after {took:.1} s"));
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("without a word");
                return Err(format!("{name} ended early ({status}): {last}").into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{name} learned {count} of {wanted} routes").into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn memory(&self) -> Measured<f64> {
        pss(self.child.id())
    }

    fn cpu(&self) -> Measured<f64> {
        cpu(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
