//! A host, a router with an agent, and another host, in network namespaces of their own.
#![allow(dead_code)] // Each test takes what it needs.

pub mod pods;
pub mod sctp;
pub mod sockets;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use thalweg_testkit::cgroup::Cgroup;

pub const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: lan}
spec:
  prefix: 10.0.2.0/24
  nextHops: [{via: 10.0.1.254}]
";

pub fn skip(why: &str) {
    use std::io::Write;
    println!("skipped: {why}");
    if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
        let file = fs::OpenOptions::new().append(true).create(true).open(log);
        file.and_then(|mut file| writeln!(file, "skipped: {why}")).unwrap();
    }
}

/// A host, a router and another host, each in its namespace.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub name: String,
    pub agent: Option<Child>,
    /// A group of this lab's own; none where this machine has no such groups.
    pub cgroup: Option<Cgroup>,
    /// The group whose sockets agents serve.
    pub serves: Option<PathBuf>,
    program: PathBuf,
}

/// Runs `ip` with these words; what it said.
pub fn ip(line: &str) -> Result<String, String> {
    let output = Command::new("ip").args(line.split_whitespace()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(format!("ip {line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("`ip` does not run: {error}")),
    }
}

impl Lab {
    /// Builds the hosts; none, with the reason told, where this machine does not let us.
    pub fn new(tag: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("tw{tag}{}", std::process::id());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_thalweg"));
        let cgroup = Cgroup::new(&name).ok();
        let serves = cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let lab = Self { dir, name, agent: None, cgroup, serves, program };
        fs::create_dir(lab.dir.path().join("etc")).unwrap();
        fs::write(lab.config(), CONFIG).unwrap();
        if let Err(why) = ip(&format!("netns add {}r", lab.name)) {
            skip(&why);
            return None;
        }
        lab.build();
        Some(lab)
    }

    fn build(&self) {
        let n = &self.name;
        for line in [
            format!("netns add {n}a"),
            format!("netns add {n}b"),
            format!("-n {n}a link set lo up"),
            format!("-n {n}b link set lo up"),
            format!("-n {n}r link set lo up"),
            format!("link add eth0 netns {n}r type veth peer name up netns {n}a"),
            format!("link add eth1 netns {n}r type veth peer name up netns {n}b"),
            format!("-n {n}a addr add 10.0.0.9/24 dev up"),
            format!("-n {n}b addr add 10.0.1.254/24 dev up"),
            format!("-n {n}b addr add 10.0.2.7/24 dev lo"),
            format!("-n {n}b addr add 10.0.4.7/24 dev lo"),
            format!("-n {n}r addr add 10.0.0.1/24 dev eth0"),
            format!("-n {n}r addr add 10.0.1.1/24 dev eth1"),
            format!("-n {n}a link set dev up up"),
            format!("-n {n}b link set dev up up"),
            format!("-n {n}r link set eth0 up"),
            format!("-n {n}r link set eth1 up"),
            format!("-n {n}a route add default via 10.0.0.1"),
            format!("-n {n}b route add default via 10.0.1.1"),
            format!("netns exec {n}r sysctl -qw net.ipv4.ip_forward=1"),
        ] {
            ip(&line).unwrap();
        }
    }

    /// Lets agents be of the next version, whose tables are laid out differently; false, with the reason
    /// told, where that was not built.
    pub fn next_version(&mut self) -> bool {
        let next = self.program.with_file_name("thalweg-next");
        if !next.exists() {
            skip("the next version was not built (scripts/next.sh)");
            return false;
        }
        self.program = next;
        true
    }

    /// Lets agents be of this version.
    pub fn this_version(&mut self) {
        self.program = env!("CARGO_BIN_EXE_thalweg").into();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("etc/config.yaml")
    }

    pub fn thalweg(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line).args(["--instance", &self.name, "--socket"]);
        command.arg(self.dir.path().join("sock"));
        command.env("STATE_DIRECTORY", self.dir.path().join("state"));
        command
    }

    pub fn ask(&self, line: &[&str]) -> Output {
        self.thalweg(line).output().unwrap()
    }

    pub fn text(&self, line: &[&str]) -> String {
        String::from_utf8_lossy(&self.ask(line).stdout).into_owned()
    }

    /// Starts an agent; false, with the reason told, where the kernel refuses.
    pub fn start(&mut self) -> bool {
        self.start_with(|_| ())
    }

    /// The same with more on its command line or in its environment.
    pub fn start_with(&mut self, more: impl FnOnce(&mut Command)) -> bool {
        self.spawn(more);
        let start = Instant::now();
        while !self.text(&["status", "-o", "json"]).contains("\"phase\": \"inForce\"")
            || self.text(&["status", "-o", "json"]).contains("\"hooks\": []")
        {
            let ended = self.agent.as_mut().and_then(|agent| agent.try_wait().unwrap());
            if let Some(status) = ended {
                assert_eq!(status.code(), Some(4), "{}", self.log());
                skip(self.log().trim());
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Starts an agent that dies by itself, killed, and waits for that.
    pub fn dies(&mut self, more: impl FnOnce(&mut Command)) {
        self.spawn(more);
        let status = self.agent.take().map(|mut agent| agent.wait().unwrap());
        assert_eq!(status.and_then(|status| status.code()), None, "{}", self.log());
    }

    fn spawn(&mut self, more: impl FnOnce(&mut Command)) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let etc = self.dir.path().join("etc");
        let mut command = self.thalweg(&["run", "--netns", &format!("{}r", self.name)]);
        command.arg("-f").arg(etc).stderr(log).stdout(Stdio::null());
        if let Some(cgroup) = &self.serves {
            command.arg("--cgroup").arg(cgroup);
        }
        more(&mut command);
        let child = command.spawn().unwrap();
        self.agent = Some(child);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends the agent by a signal and waits for it.
    pub fn end(&mut self, signal: &str) {
        let Some(mut agent) = self.agent.take() else { return };
        let kill = Command::new("kill").args([signal, &agent.id().to_string()]).status();
        assert!(kill.unwrap().success());
        agent.wait().unwrap();
    }

    /// Whether a ping comes back within some tries.
    pub fn pings(&self, to: &str) -> bool {
        let line = format!("netns exec {}a ping -c 1 -W 1 {to}", self.name);
        (0..5).any(|_| ip(&line).is_ok())
    }

    /// Whether the first ping comes back.
    pub fn pings_once(&self, to: &str) -> bool {
        ip(&format!("netns exec {}a ping -c 1 -W 1 {to}", self.name)).is_ok()
    }

    /// Frames that were forwarded so far.
    pub fn forwarded(&self) -> u64 {
        let views: serde_json::Value =
            serde_json::from_str(&self.text(&["get", "drops", "--all", "-o", "json"])).unwrap();
        let views = views.as_array().cloned().unwrap_or_default();
        let of = |view: &serde_json::Value| view["packets"].as_u64().unwrap_or(0);
        views.iter().filter(|view| view["verdict"] == "forward").map(of).sum()
    }

    #[track_caller]
    pub fn until(&self, wished: impl Fn() -> bool) {
        let start = Instant::now();
        while !wished() {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end("-KILL");
        let _ = self.thalweg(&["detach"]).output();
        for host in ["a", "r", "b"] {
            let _ = ip(&format!("netns del {}{host}", self.name));
        }
    }
}
