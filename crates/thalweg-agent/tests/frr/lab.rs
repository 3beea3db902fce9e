//! Two routers in namespaces: FRR alone on `a`, FRR beside an agent on `b`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thalweg_agent::plane::{Counts, HookState, HookWish};
use thalweg_agent::{DataPlane, HostSource, MemoryPlane, Parts, RunError, Settings};
use thalweg_api::view::{FpmView, LabelView, RouteView, StatusView};
use thalweg_api::{Answer, Call, Client, RouteQuery};
use thalweg_image::{Applied, Change, Memory, Occupancy, Plan, Plane, PlaneError};
use tokio::sync::oneshot;

/// Where Debian puts FRR's daemons.
const DAEMONS: &str = "/usr/lib/frr";
/// What FRR may take to converge.
const DEADLINE: Duration = Duration::from_secs(60);

/// Says why a test does not run.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
        use std::io::Write;
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        file.and_then(|mut file| writeln!(file, "skipped: {why}")).unwrap();
    }
}

fn run(program: &str, arguments: &str) -> Result<String, String> {
    let output = Command::new(program).args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("{program} {arguments}: {error}"))
        }
    }
}

/// Prefixes that packets must never lose, and those they lost.
#[derive(Debug, Default)]
pub struct Guard {
    /// Whether a prefix is to stay.
    pub stays: Option<fn(u32) -> bool>,
    /// IPv4 prefixes that were taken out though they were to stay.
    pub lost: Vec<String>,
}

/// Tables in memory that notice when a route is taken out, each change as it happens.
struct GuardedPlane {
    inner: MemoryPlane,
    guard: Arc<Mutex<Guard>>,
}

impl Plane for GuardedPlane {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        let mut guard = self.guard.lock().unwrap();
        if let Some(stays) = guard.stays {
            for change in &plan.changes {
                if let Change::Route4(_, prefix, thalweg_abi::GroupId::NONE) = change
                    && stays(prefix.address().to_bits())
                {
                    guard.lost.push(prefix.to_string());
                }
            }
        }
        self.inner.apply(plan)
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        self.inner.occupancy()
    }
}

impl DataPlane for GuardedPlane {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn memory(&self) -> &Memory {
        self.inner.memory()
    }

    fn counts(&self) -> Result<Counts, PlaneError> {
        self.inner.counts()
    }

    fn hook(&mut self, wishes: &[HookWish]) -> Vec<HookState> {
        self.inner.hook(wishes)
    }

    fn set_state(&mut self, link: u32, up: bool) -> bool {
        self.inner.set_state(link, up)
    }
}

/// A daemon of FRR; killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The namespaces, the daemons and the agent.
pub struct Lab {
    pub guard: Arc<Mutex<Guard>>,
    dir: tempfile::TempDir,
    names: [String; 2],
    owner: (u32, u32),
    daemons: BTreeMap<(usize, &'static str), Daemon>,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<JoinHandle<Result<(), RunError>>>,
}

pub const A: usize = 0;
pub const B: usize = 1;

impl Lab {
    /// Two namespaces with a link between them, 10.0.0.1 and 10.0.0.2; none, with the reason said,
    /// where that cannot be.
    pub fn new() -> Option<Self> {
        if !Path::new(DAEMONS).join("zebra").exists() {
            skip("FRR is not installed (apt-get install frr)");
            return None;
        }
        let id = |flag: &str| run("id", &format!("{flag} frr")).ok()?.parse().ok();
        let (Some(user), Some(group)) = (id("-u"), id("-g")) else {
            skip("FRR is installed without its user frr");
            return None;
        };
        Self::of((user, group))
    }

    /// The same without FRR.
    pub fn bare() -> Option<Self> {
        Self::of((0, 0))
    }

    fn of((user, group): (u32, u32)) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("thw-frr-{}-{number}{side}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        // The daemons run as a user of their own.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let lab = Self {
            guard: Arc::default(),
            dir,
            names: [name("a"), name("b")],
            owner: (user, group),
            daemons: BTreeMap::new(),
            stop: None,
            agent: None,
        };
        for (side, name) in lab.names.iter().enumerate() {
            if let Err(error) = run("ip", &format!("netns add {name}")) {
                skip(&error);
                return None;
            }
            fs::create_dir(lab.path(side)).unwrap();
            chown(lab.path(side), Some(user), Some(group)).unwrap();
        }
        let [a, b] = &lab.names;
        lab.ip(A, &format!("link add e0 type veth peer name e0 netns {b}"));
        for (side, address) in [(A, "10.0.0.1/24"), (B, "10.0.0.2/24")] {
            for command in ["link set lo up", "link set e0 up"] {
                lab.ip(side, command);
            }
            lab.ip(side, &format!("address add {address} dev e0"));
        }
        assert_ne!(a, b);
        Some(lab)
    }

    /// Name of a namespace.
    pub fn name(&self, side: usize) -> &str {
        &self.names[side]
    }

    /// The folder of a side.
    pub fn path(&self, side: usize) -> PathBuf {
        self.dir.path().join(["a", "b"][side])
    }

    pub fn ip(&self, side: usize, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.names[side])).unwrap();
    }

    /// Runs a batch of `ip` commands, one per line.
    pub fn batch(&self, side: usize, commands: &str) {
        let file = self.dir.path().join("batch");
        fs::write(&file, commands).unwrap();
        self.ip(side, &format!("-batch {}", file.display()));
    }

    /// Starts a daemon with a configuration.
    pub fn daemon(&mut self, side: usize, name: &'static str, options: &str, config: &str) {
        let path = self.path(side);
        let file = path.join(format!("{name}.conf"));
        let log = path.join(format!("{name}.log"));
        fs::write(&file, format!("log file {}\n{config}", log.display())).unwrap();
        chown(&file, Some(self.owner.0), Some(self.owner.1)).unwrap();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[side]])
            .arg(Path::new(DAEMONS).join(name))
            .arg("-f")
            .arg(file)
            .arg("-z")
            .arg(path.join("zserv.api"))
            .arg("-i")
            .arg(path.join(format!("{name}.pid")))
            .arg("--vty_socket")
            .arg(&path)
            .args(["-A", "127.0.0.1"])
            .args(options.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.daemons.insert((side, name), Daemon(command.spawn().unwrap()));
        let socket = path.join(format!("{name}.vty"));
        self.until(&format!("{name} answers"), |_| socket.exists().then_some(()));
    }

    /// Ends a daemon without giving it time for anything.
    pub fn kill(&mut self, side: usize, name: &'static str) {
        self.daemons.remove(&(side, name)).unwrap();
        fs::remove_file(self.path(side).join(format!("{name}.vty"))).unwrap();
    }

    /// Runs commands of vtysh; returns what they print.
    pub fn vtysh(&self, side: usize, commands: &[&str]) -> String {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(self.path(side));
        for command in commands {
            vtysh.args(["-c", command]);
        }
        let output = vtysh.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a daemon logged, for a test that fails.
    pub fn log(&self, side: usize, name: &str) -> String {
        fs::read_to_string(self.path(side).join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Starts the agent on `b`.
    pub fn agent(&mut self, fpm: &str) {
        let etc = self.dir.path().join("etc");
        fs::create_dir_all(&etc).unwrap();
        let object = |kind, spec: &str| {
            format!(
                "apiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: lab}}\nspec: {spec}\n"
            )
        };
        fs::write(etc.join("router.yaml"), object("Router", &format!("{{fpm: {fpm}}}"))).unwrap();
        fs::write(etc.join("link.yaml"), object("Link", "{interfaces: [e0]}")).unwrap();
        let mut settings = Settings::new(etc, "frr");
        settings.socket = self.dir.path().join("agent.sock");
        settings.netns = Some(self.names[B].clone());
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        let guard = self.guard.clone();
        let parts = Parts {
            opener: Box::new(move |limits| {
                let inner = MemoryPlane::new(limits);
                Ok(Box::new(GuardedPlane { inner, guard: guard.clone() }))
            }),
            host: HostSource::Kernel,
            stop: Some(stopped),
        };
        self.agent = Some(std::thread::spawn(move || thalweg_agent::run(settings, parts)));
    }

    fn call(&self, call: Call) -> Option<Answer> {
        Client::connect(&self.dir.path().join("agent.sock")).ok()?.call(call).ok()
    }

    pub fn status(&self) -> Option<StatusView> {
        match self.call(Call::Status)? {
            Answer::Status(view) => Some(*view),
            _ => None,
        }
    }

    pub fn fpm(&self) -> Option<FpmView> {
        self.status()?.fpm
    }

    /// All routes of the agent.
    pub fn routes(&self) -> Vec<RouteView> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = RouteQuery { after, ..RouteQuery::default() };
            let Some(Answer::Routes(page)) = self.call(Call::Routes(query)) else { return all };
            all.extend(page.routes);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// All labels of the agent.
    pub fn labels(&self) -> Vec<LabelView> {
        match self.call(Call::Labels) {
            Some(Answer::Labels(labels)) => labels,
            _ => Vec::new(),
        }
    }

    /// What zebra has in its FIB from one protocol: prefix to gateway.
    pub fn zebra(&self, protocol: &str) -> BTreeMap<String, IpAddr> {
        let text = self.vtysh(B, &[&format!("show ip route {protocol}")]);
        let route = |line: &str| {
            let (_, rest) = line.split_once(">* ")?;
            let (prefix, rest) = rest.split_once(' ')?;
            let (_, via) = rest.split_once("via ")?;
            Some((prefix.to_owned(), via.split(',').next()?.parse().ok()?))
        };
        text.lines().filter_map(route).collect()
    }

    /// What our tables follow of zebra's routes of one protocol: prefix to gateway.
    pub fn ours(&self, protocol: &str) -> BTreeMap<String, IpAddr> {
        let source = format!("fpm {protocol}");
        let of = |route: RouteView| {
            let via = route.action.strip_prefix("via ")?.split(' ').next()?.parse().ok()?;
            Some((route.prefix, via))
        };
        let routes = self.routes().into_iter();
        routes.filter(|r| r.source == source && r.state == "in-force").filter_map(of).collect()
    }

    /// Waits until something is there.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut wished: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = wished(self) {
                return found;
            }
            if start.elapsed() > DEADLINE {
                let logs = [(A, "zebra"), (A, "bgpd"), (B, "zebra"), (B, "bgpd"), (B, "ospfd")];
                let logs = logs.map(|(side, name)| self.log(side, name));
                let logs = logs.iter().map(|log| &log[..log.len().min(2_000)]);
                let logs = logs.collect::<Vec<_>>().join("\n--\n");
                panic!("not in time: {what}\n{:#?}\n{logs}", self.status());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(agent) = self.agent.take() {
            agent.join().ok();
        }
        self.daemons.clear();
        for name in &self.names {
            run("ip", &format!("netns del {name}")).ok();
        }
    }
}
