//! A network namespace with a source in it.

use std::net::IpAddr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use thalweg_model::HostState;
use thalweg_model::host::{Route, RouteKey};
use thalweg_netlink::{Event, Options, Resolver, Source, enter_netns, snapshot, start};
use tokio::runtime::{Builder, Runtime};

/// What the kernel may take to settle: link states are announced up to a second late.
const DEADLINE: Duration = Duration::from_secs(5);

/// A namespace that is deleted when dropped.
#[derive(Debug)]
pub struct Namespace(pub String);

impl Namespace {
    /// A new namespace, or `None` with a line that says why there is none.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("thw-nl-{}-{next}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => Some(Self(name)),
            Ok(output) => {
                skip(&format!("ip netns add: {}", String::from_utf8_lossy(&output.stderr).trim()));
                None
            }
            Err(error) => {
                skip(&format!("`ip` does not run: {error}"));
                None
            }
        }
    }

    /// Runs `ip` with these arguments inside; returns what it says on failure.
    pub fn try_ip(&self, arguments: &str) -> Result<(), String> {
        let mut ip = Command::new("ip");
        let output = ip.args(["-n", &self.0]).args(arguments.split_whitespace()).output();
        let output = output.map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => {
                Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
            }
        }
    }

    /// Runs a batch of `ip` commands, one per line.
    pub fn batch(&self, commands: &str) {
        let output = run_batch(&self.0, &[], commands);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a batch of `ip` commands of which some may fail.
    pub fn batch_any(&self, commands: &str) {
        run_batch(&self.0, &["-force"], commands);
    }
}

/// Runs a batch of `ip` commands in a namespace.
pub fn run_batch(namespace: &str, options: &[&str], commands: &str) -> Output {
    let file = std::env::temp_dir().join(format!("{namespace}.batch"));
    std::fs::write(&file, commands).unwrap();
    let mut ip = Command::new("ip");
    let output = ip.args(["-n", namespace]).args(options).arg("-batch").arg(&file).output();
    std::fs::remove_file(&file).unwrap();
    output.unwrap()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "del", &self.0]).output().ok();
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

/// A namespace, a source that follows it, and what it told.
pub struct Lab {
    pub namespace: Namespace,
    pub host: HostState,
    pub source: Source,
    pub overruns: u32,
    runtime: Runtime,
}

/// Runs a story in a namespace of its own, on a thread that has entered it.
pub fn lab(story: impl FnOnce(&mut Lab) + Send) {
    lab_with(Options::default(), Builder::new_multi_thread(), story);
}

/// Like [`lab`], but the source runs only while the story listens: everything in between comes at
/// once.
pub fn drowsy_lab(options: Options, story: impl FnOnce(&mut Lab) + Send) {
    lab_with(options, Builder::new_current_thread(), story);
}

fn lab_with(options: Options, mut builder: Builder, story: impl FnOnce(&mut Lab) + Send) {
    let Some(namespace) = Namespace::new() else { return };
    let run = move || {
        // Before anything else, so that all of the runtime is inside.
        enter_netns(&namespace.0).unwrap();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let source = runtime.block_on(start(options)).unwrap();
        let host = HostState::default();
        let mut lab = Lab { namespace, host, source, overruns: 0, runtime };
        lab.complete();
        story(&mut lab);
        lab.settle("the end");
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lab".into());
        if let Err(panic) = thread.spawn_scoped(scope, run).unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Lab {
    /// Runs `ip`, then waits until what was told is what there is.
    pub fn ip(&mut self, arguments: &str) {
        self.namespace.try_ip(arguments).unwrap();
        self.settle(arguments);
    }

    /// Several commands, one per line, settling after each.
    pub fn each(&mut self, commands: &str) {
        for command in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.ip(command);
        }
    }

    /// Begins anew, with a source that knows nothing.
    pub fn restart(&mut self) {
        self.source = self.runtime.block_on(start(Options::default())).unwrap();
        self.host = HostState::default();
        self.complete();
    }

    /// Takes everything up to [`Event::Complete`].
    fn complete(&mut self) {
        loop {
            match self.runtime.block_on(self.source.next()).unwrap() {
                Event::Complete => break,
                Event::Updates(updates) => self.apply(updates),
                Event::Overrun => self.overruns += 1,
            }
        }
    }

    fn apply(&mut self, updates: Vec<thalweg_model::Update>) {
        for update in updates {
            self.host.apply(update);
        }
    }

    /// Takes what is told within `time`.
    pub fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let next = async { tokio::time::timeout(left, self.source.next()).await };
            match self.runtime.block_on(next) {
                Ok(Ok(Event::Updates(updates))) => self.apply(updates),
                Ok(Ok(Event::Overrun)) => self.overruns += 1,
                Ok(Ok(Event::Complete)) => panic!("a second Complete"),
                Ok(Err(error)) => panic!("{error}"),
                Err(_elapsed) => break,
            }
        }
    }

    /// A fresh reading.
    pub fn fresh(&self) -> HostState {
        self.runtime.block_on(snapshot()).unwrap()
    }

    /// Waits until what was told equals a fresh reading.
    pub fn settle(&mut self, after: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            self.listen(Duration::from_millis(5));
            let fresh = self.fresh();
            let difference = difference(&self.host, &fresh);
            if difference.is_empty() {
                return;
            }
            if Instant::now() > end {
                panic!("after `{after}`, told and there differ:\n{difference}");
            }
        }
    }

    /// The one route for a prefix in the main table.
    pub fn route(&self, prefix: &str) -> &Route {
        let routes = self.routes(prefix);
        assert_eq!(routes.len(), 1, "{prefix}: {routes:#?}");
        routes[0].1
    }

    /// Routes for a prefix outside the local table.
    pub fn routes(&self, prefix: &str) -> Vec<(&RouteKey, &Route)> {
        let prefix = prefix.parse().unwrap();
        let wanted = |key: &RouteKey| key.prefix == prefix && key.table != 255;
        self.host.routes.iter().filter(|(key, _)| wanted(key)).collect()
    }

    /// Index of a link by name.
    pub fn index(&self, name: &str) -> u32 {
        self.host.link_named(name).unwrap_or_else(|| panic!("no link {name}")).index
    }

    /// A resolver inside the namespace.
    pub fn resolver(&self) -> Resolver {
        Resolver::open().unwrap()
    }

    /// Gateways of a route with their weights.
    pub fn gateways(&self, prefix: &str) -> Vec<(IpAddr, u16)> {
        let hops = &self.route(prefix).nexthops;
        hops.iter().filter_map(|hop| hop.via.map(|via| (via, hop.weight))).collect()
    }
}

/// What differs, one line each; neighbors by usability, as their timers tell nobody.
fn difference(told: &HostState, fresh: &HostState) -> String {
    let mut out = String::new();
    compare(&mut out, "link", &told.links, &fresh.links);
    compare(&mut out, "address", &told.addresses, &fresh.addresses);
    compare(&mut out, "nexthop", &told.nexthops, &fresh.nexthops);
    compare(&mut out, "route", &told.routes, &fresh.routes);
    let usable = |host: &HostState| {
        let usable = host.neighbors.iter().filter_map(|(key, n)| Some((*key, n.mac?)));
        usable.collect::<std::collections::BTreeMap<_, _>>()
    };
    compare(&mut out, "neighbor", &usable(told), &usable(fresh));
    out
}

fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    out: &mut String,
    what: &str,
    told: &std::collections::BTreeMap<K, V>,
    fresh: &std::collections::BTreeMap<K, V>,
) {
    use std::fmt::Write;
    for key in told.keys().chain(fresh.keys().filter(|key| !told.contains_key(key))) {
        let (told, fresh) = (told.get(key), fresh.get(key));
        if told != fresh {
            writeln!(out, "{what} {key:?}\n   told  {told:?}\n   there {fresh:?}").unwrap();
        }
    }
}
