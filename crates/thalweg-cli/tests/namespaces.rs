//! The program between network namespaces: real links, real packets, real signals.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
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

fn skip(why: &str) {
    use std::io::Write;
    println!("skipped: {why}");
    if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
        let file = fs::OpenOptions::new().append(true).create(true).open(log);
        file.and_then(|mut file| writeln!(file, "skipped: {why}")).unwrap();
    }
}

/// A host, a router and another host, each in its namespace.
struct Lab {
    dir: tempfile::TempDir,
    name: String,
    agent: Option<Child>,
}

fn ip(line: &str) -> Result<String, String> {
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
    fn new(tag: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("tw{tag}{}", std::process::id());
        let lab = Self { dir, name, agent: None };
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

    fn config(&self) -> PathBuf {
        self.dir.path().join("etc/config.yaml")
    }

    fn thalweg(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line).args(["--instance", &self.name, "--socket"]);
        command.arg(self.dir.path().join("sock"));
        command.env("STATE_DIRECTORY", self.dir.path().join("state"));
        command
    }

    fn ask(&self, line: &[&str]) -> Output {
        self.thalweg(line).output().unwrap()
    }

    fn text(&self, line: &[&str]) -> String {
        String::from_utf8_lossy(&self.ask(line).stdout).into_owned()
    }

    /// Starts an agent; false, with the reason told, where the kernel refuses.
    fn start(&mut self) -> bool {
        self.start_with("")
    }

    /// Starts an agent that dies at a point, if one is named.
    fn start_with(&mut self, fault: &str) -> bool {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let etc = self.dir.path().join("etc");
        let mut command = self.thalweg(&["run", "--netns", &format!("{}r", self.name)]);
        command.env("THALWEG_FAULT", fault);
        let child = command.arg("-f").arg(etc).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        self.agent = Some(child);
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

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends the agent by a signal and waits for it.
    fn end(&mut self, signal: &str) {
        let Some(mut agent) = self.agent.take() else { return };
        let kill = Command::new("kill").args([signal, &agent.id().to_string()]).status();
        assert!(kill.unwrap().success());
        agent.wait().unwrap();
    }

    /// Whether a ping comes back within some tries.
    fn pings(&self, to: &str) -> bool {
        let line = format!("netns exec {}a ping -c 1 -W 1 {to}", self.name);
        (0..5).any(|_| ip(&line).is_ok())
    }

    /// Frames that were forwarded so far.
    fn forwarded(&self) -> u64 {
        let views: serde_json::Value =
            serde_json::from_str(&self.text(&["get", "drops", "--all", "-o", "json"])).unwrap();
        let views = views.as_array().cloned().unwrap_or_default();
        let of = |view: &serde_json::Value| view["packets"].as_u64().unwrap_or(0);
        views.iter().filter(|view| view["verdict"] == "forward").map(of).sum()
    }

    #[track_caller]
    fn until(&self, wished: impl Fn() -> bool) {
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

#[test]
fn routes_of_files_and_of_the_kernel_are_forwarded_by() {
    let Some(mut lab) = Lab::new("f") else { return };
    if !lab.start() {
        return;
    }
    let before = lab.forwarded();
    assert!(lab.pings("10.0.2.7"), "a route of the files: {}", lab.log());
    assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    assert!(!lab.pings_once("10.0.4.7"), "nobody knows this way yet");
    ip(&format!("-n {}r route add 10.0.4.0/24 via 10.0.1.254", lab.name)).unwrap();
    lab.until(|| lab.ask(&["get", "routes", "10.0.4.7"]).status.success());
    let before = lab.forwarded();
    assert!(lab.pings("10.0.4.7"), "a route of the kernel: {}", lab.log());
    assert!(lab.forwarded() > before, "{}", lab.text(&["get", "drops", "--all"]));
    let text = lab.text(&["explain", "eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53"]);
    assert!(text.contains("forward route"), "{text}");
    // The file changes: the way is gone.
    fs::write(lab.config(), CONFIG.replace("10.0.2.0/24", "10.0.9.0/24")).unwrap();
    lab.until(|| !lab.ask(&["get", "routes", "10.0.2.7"]).status.success());
    assert!(!lab.pings_once("10.0.2.7"));
    let text = lab.text(&["get", "drops"]);
    assert!(text.contains("no-route"), "{text}");
}

impl Lab {
    fn pings_once(&self, to: &str) -> bool {
        ip(&format!("netns exec {}a ping -c 1 -W 1 {to}", self.name)).is_ok()
    }
}

/// Row 13 of the checklist on real sockets: the kernel fragments what we hand it, by a route that files
/// alone have.
#[test]
fn packets_too_large_for_a_route_of_files_are_fragmented() {
    let Some(mut lab) = Lab::new("m") else { return };
    for line in ["r link set eth1 mtu 1000", "b link set dev up mtu 1000"] {
        ip(&format!("-n {}{line}", lab.name)).unwrap();
    }
    if !lab.start() {
        return;
    }
    let ours = || ip(&format!("-n {}r route show proto 116", lab.name)).unwrap();
    lab.until(|| ours().contains("10.0.2.0/24 via 10.0.1.254 dev eth1"));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let large = format!("netns exec {}a ping -c 3 -i 0.05 -W 1 -s 1400 -M", lab.name);
    assert!(ip(&format!("{large} dont 10.0.2.7")).is_ok(), "{}", lab.text(&["get", "drops"]));
    assert!(ip(&format!("{large} do 10.0.2.7")).is_err(), "must not be fragmented");
    let drops = lab.text(&["get", "drops", "--all"]);
    assert!(drops.contains("needs-fragmentation") && drops.contains("too-big"), "{drops}");
    let routes = lab.text(&["get", "routes", "10.0.2.0/24"]);
    assert_eq!(routes.matches("10.0.2.0/24").count(), 1, "not learned back: {routes}");
    fs::write(lab.config(), CONFIG.replace("10.0.2.0/24", "10.0.9.0/24")).unwrap();
    lab.until(|| ours().contains("10.0.9.0/24") && !ours().contains("10.0.2.0/24"));
}

#[test]
fn packets_follow_an_apply_and_its_end() {
    let Some(mut lab) = Lab::new("c") else { return };
    if !lab.start() {
        return;
    }
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let new = lab.dir.path().join("new.yaml");
    fs::write(&new, CONFIG.replace("10.0.2.0/24", "10.0.4.0/24")).unwrap();
    let new = new.display().to_string();
    let before = lab.text(&["status", "-o", "json"]);
    // The file is another than the agent's by name: it takes its place all the same.
    let applied = lab.ask(&["apply", "-f", &new, "--confirm", "6s"]);
    let said = String::from_utf8_lossy(&applied.stdout).into_owned();
    assert!(applied.status.success(), "{said}{}{before}", String::from_utf8_lossy(&applied.stderr));
    assert!(lab.pings("10.0.4.7") && !lab.pings_once("10.0.2.7"), "{}", lab.log());
    assert!(fs::exists(lab.dir.path().join("etc/new.yaml")).unwrap());
    lab.until(|| lab.text(&["history"]).contains("not confirmed within 6 s"));
    assert!(lab.pings("10.0.2.7") && !lab.pings_once("10.0.4.7"), "{}", lab.log());
    assert!(lab.config().exists());
    let events = lab.text(&["events", "--severity", "info"]);
    assert!(events.contains("hook of eth0: attached at"), "{events}");
    ip(&format!("-n {}r link set eth1 down", lab.name)).unwrap();
    lab.until(|| lab.text(&["events"]).contains("warning link eth1: down"));
}

#[test]
fn packets_go_on_when_the_agent_dies_within_a_change() {
    let Some(mut lab) = Lab::new("k") else { return };
    if !lab.start() {
        return;
    }
    let moved = CONFIG.replace("10.0.2.0/24", "10.0.4.0/24");
    let new = lab.dir.path().join("new.yaml");
    let mut here = true;
    // The first plan and the first hooks are those of the start.
    for (fault, dies, moves) in [
        ("install-write-new:1", true, false),
        ("install-replace:1", true, true),
        ("plan-before:2", true, true),
        ("plan-after:2", true, true),
        ("history-append:9", false, true),
    ] {
        lab.end("-TERM");
        assert!(lab.start_with(fault), "{fault}: {}", lab.log());
        fs::write(&new, if here { &moved } else { CONFIG }).unwrap();
        let renamed = lab.dir.path().join("config.yaml");
        fs::rename(&new, &renamed).unwrap();
        let applied = lab.ask(&["apply", "-f", &renamed.display().to_string()]);
        assert_eq!(applied.status.success(), !dies, "{fault}: {}", lab.log());
        let (old, new) = if here { ("10.0.2.7", "10.0.4.7") } else { ("10.0.4.7", "10.0.2.7") };
        let both = (lab.pings_once(old), lab.pings_once(new));
        assert!(both.0 != both.1, "{fault}: forwarding goes on by one of them, not {both:?}");
        lab.end("-KILL");
        assert!(lab.start(), "{fault}: {}", lab.log());
        here ^= moves;
        let (there, gone) = if here { ("10.0.2.7", "10.0.4.7") } else { ("10.0.4.7", "10.0.2.7") };
        assert!(lab.pings(there) && !lab.pings_once(gone), "{fault}: {}", lab.log());
        assert_eq!(lab.ask(&["status"]).status.code(), Some(0), "{}", lab.text(&["status"]));
        let names: Vec<_> = fs::read_dir(lab.dir.path().join("etc")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{fault}: {names:?}");
    }
}

#[test]
fn forwarding_outlives_the_agent_and_detach_takes_it_out() {
    let Some(mut lab) = Lab::new("o") else { return };
    if !lab.start() {
        return;
    }
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let line = ["detach"];
    assert_eq!(lab.ask(&line).status.code(), Some(1), "an agent runs");
    lab.end("-KILL");
    assert_eq!(lab.ask(&["status"]).status.code(), Some(3));
    assert!(lab.pings_once("10.0.2.7"), "killed, and forwarding goes on");
    assert!(lab.start(), "it comes back: {}", lab.log());
    assert!(lab.pings_once("10.0.2.7"));
    lab.end("-TERM");
    assert!(lab.log().contains("forwarding goes on"), "{}", lab.log());
    assert!(lab.pings_once("10.0.2.7"), "stopped, and forwarding goes on");
    let text = lab.text(&line);
    assert!(text.contains("removed"), "{text}");
    assert!(!lab.pings_once("10.0.2.7"), "the kernel has no such route");
    let text = lab.text(&line);
    assert!(text.contains("nothing of instance"), "{text}");
}
