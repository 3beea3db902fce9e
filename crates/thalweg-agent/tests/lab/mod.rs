//! An agent on tables in memory in a process of its own, with its files and its state.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use thalweg_agent::{HostSource, MemoryPlane, Parts, Settings};
use thalweg_api::view::{ApplyView, GenerationView, Phase, StatusView};
use thalweg_api::{Answer, Call, Client, ClientError, RouteQuery};

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
- {name: eth1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}
addresses:
- {address: 10.0.0.1/24, dev: eth0}
- {address: 10.0.1.1/24, dev: eth1}
neighbors:
- {address: 10.0.1.254, dev: eth1, mac: '02:00:00:00:00:fe', state: reachable}
routes:
- {prefix: 10.0.0.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
- {prefix: 10.0.1.0/24, protocol: kernel, nexthops: [{dev: eth1}]}
";

pub const LINK: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1], mpls: true}
---
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec: {limits: {ipv4Routes: 1000, ipv6Routes: 1000, labels: 1024, nextHops: 1024, groups: 1024}}
";

/// A `Route` object of this name.
pub fn route(name: &str, prefix: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: {name}}}
spec:
  prefix: {prefix}
  nextHops: [{{via: 10.0.1.254}}]
"
    )
}

/// Files by name.
pub type Files = BTreeMap<String, String>;

pub fn files(routes: &[(&str, &str)]) -> Files {
    let route = |(name, prefix): &(&str, &str)| (format!("{name}.yaml"), route(name, prefix));
    let link = ("link.yaml".to_owned(), LINK.to_owned());
    routes.iter().map(route).chain([link]).collect()
}

/// What the process of [`Lab::start`] runs: to be called by a test named `agent`.
pub fn agent() {
    let Some(dir) = std::env::var_os("THALWEG_LAB").map(PathBuf::from) else { return };
    // One for each: of agents that start at once, one would read what another is writing.
    let file = dir.join(format!("host-{}.yaml", std::process::id()));
    fs::write(&file, HOST).unwrap();
    let host = thalweg_agent::offline::read_host(&file).unwrap();
    let parts = Parts {
        opener: MemoryPlane::opener(),
        host: HostSource::Fixed(Box::new(host)),
        stop: None,
    };
    let settings = Settings {
        socket: dir.join("run/lab.sock"),
        state: Some(dir.join("var/lab")),
        ..Settings::new(dir.join("etc"), "lab")
    };
    thalweg_agent::run(settings, parts).unwrap();
}

/// An agent with its files.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub agent: Option<Child>,
    /// What agents find in their environment besides.
    pub environment: Vec<(String, String)>,
    /// A small file system for one of the directories.
    mounts: Vec<PathBuf>,
}

impl Lab {
    /// Files that wait for an agent.
    pub fn new(files: &Files) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let lab = Self { dir, agent: None, environment: Vec::new(), mounts: Vec::new() };
        files.iter().for_each(|(name, text)| lab.write(name, text));
        lab
    }

    /// With an agent that is in force.
    pub fn running(files: &Files) -> Self {
        let mut lab = Self::new(files);
        lab.start(None);
        lab.until(|status| status.phase == Phase::InForce);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path("etc").join(name), text).unwrap();
    }

    /// Mounts a file system of so many octets; needs root.
    pub fn mount(&mut self, name: &str, size: &str) -> bool {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "thalweg-test"])
            .arg(&path)
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        if mounted {
            self.mounts.push(path);
        }
        mounted
    }

    /// Starts an agent that dies at a point, if one is given.
    pub fn start(&mut self, fault: Option<&str>) {
        self.agent = Some(self.spawn(fault, "log"));
    }

    /// An agent with a log of its own.
    pub fn spawn(&self, fault: Option<&str>, log: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "agent", "--nocapture"])
            .env("THALWEG_LAB", self.dir.path())
            .env_remove("THALWEG_FAULT")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path(log)).unwrap());
        if let Some(fault) = fault {
            command.env("THALWEG_FAULT", fault);
        }
        command.spawn().unwrap()
    }

    /// Whether the agent died by itself.
    pub fn died(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| agent.try_wait().unwrap().is_some())
    }

    pub fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            agent.wait().unwrap();
        }
    }

    /// Stops the agent as systemd does; returns whether it ended by itself.
    pub fn stop(&mut self) -> bool {
        let Some(mut agent) = self.agent.take() else { return true };
        let pid = rustix::process::Pid::from_child(&agent);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        agent.wait().unwrap().success()
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start(None);
        self.until(|status| status.phase == Phase::InForce);
    }

    pub fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&self.path("run/lab.sock"))
    }

    pub fn call(&self, call: Call) -> Result<Answer, ClientError> {
        self.client()?.call(call)
    }

    pub fn status(&self) -> Option<StatusView> {
        match self.call(Call::Status) {
            Ok(Answer::Status(view)) => Some(*view),
            _ => None,
        }
    }

    #[track_caller]
    pub fn until(&self, wished: impl Fn(&StatusView) -> bool) -> StatusView {
        let start = Instant::now();
        loop {
            let status = self.status();
            match status {
                Some(view) if wished(&view) => return view,
                _ if start.elapsed() > Duration::from_secs(30) => {
                    let log = fs::read_to_string(self.path("log")).unwrap_or_default();
                    panic!("{status:#?}\n{log}");
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    pub fn try_apply(
        &self,
        files: &Files,
        confirm: Option<u64>,
        message: Option<&str>,
    ) -> Result<ApplyView, ClientError> {
        let files = files.iter().map(|(name, text)| (format!("new/{name}"), text.clone()));
        let call =
            Call::Apply { files: files.collect(), confirm, message: message.map(str::to_owned) };
        match self.call(call)? {
            Answer::Apply(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn apply(&self, files: &Files, confirm: Option<u64>) -> ApplyView {
        let view = self.try_apply(files, confirm, None).unwrap();
        assert!(view.accepted, "{view:?}");
        view
    }

    pub fn rollback(&self, generation: u64) -> Result<ApplyView, ClientError> {
        match self.call(Call::Rollback { generation, confirm: None, message: None })? {
            Answer::Apply(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    pub fn history(&self) -> Vec<GenerationView> {
        match self.call(Call::History { limit: 0 }) {
            Ok(Answer::History(views)) => views,
            other => panic!("{other:?}"),
        }
    }

    /// Sources of the history, with numbers.
    pub fn sources(&self) -> Vec<String> {
        let words = |view: GenerationView| format!("{} {}", view.generation, view.source);
        self.history().into_iter().map(words).collect()
    }

    /// The files as they are, with anything that should not be there.
    pub fn on_disk(&self) -> Files {
        let entries = fs::read_dir(self.path("etc")).unwrap();
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read_to_string(entry.path()).unwrap_or_default())
        };
        entries.map(read).collect()
    }

    /// Prefixes in force that come from `Route` objects.
    pub fn prefixes(&self) -> Vec<String> {
        match self.call(Call::Routes(RouteQuery::default())) {
            Ok(Answer::Routes(page)) => page
                .routes
                .into_iter()
                .filter(|route| route.source.starts_with("Route/") && route.state == "in-force")
                .map(|route| route.prefix)
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self) -> PathBuf {
        self.path("var/lab")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
        for path in self.mounts.drain(..) {
            let _ = Command::new("umount").arg(path).status();
        }
    }
}

/// The words of a refusal.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Fault(fault)) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Says that a test cannot run.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("THALWEG_SKIP_LOG") {
        use std::io::Write;
        let file = fs::OpenOptions::new().append(true).create(true).open(Path::new(&log));
        let _ = file.and_then(|mut file| writeln!(file, "skipped: {why}"));
    }
}
