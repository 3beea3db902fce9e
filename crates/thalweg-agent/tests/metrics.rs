//! Metrics and health of a whole agent on tables in memory, over HTTP, also by hostile clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thalweg_agent::{HostSource, MemoryPlane, Parts, RunError, Settings};
use thalweg_api::view::StatusView;
use thalweg_api::{Answer, Call, Client};
use tokio::sync::oneshot;

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
addresses:
- {address: 10.0.0.1/24, dev: eth0}
routes:
- {prefix: 10.0.0.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
";

fn config(listen: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {{name: router}}
spec: {{metrics: {{listen: {listen}}}}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0]}}
"
    )
}

/// An agent until it is dropped.
struct Lab {
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<JoinHandle<Result<(), RunError>>>,
}

impl Lab {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut lab = Self { dir, stop: Some(stop), agent: None };
        lab.write(config);
        let mut settings = Settings::new(lab.dir.path().join("etc"), "lab");
        settings.socket = lab.socket();
        lab.agent = Some(std::thread::spawn(move || {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), HOST).unwrap();
            let host = thalweg_agent::offline::read_host(file.path()).unwrap();
            let parts = Parts {
                opener: MemoryPlane::opener(),
                host: HostSource::Fixed(Box::new(host)),
                stop: Some(stopped),
            };
            thalweg_agent::run(settings, parts)
        }));
        lab
    }

    fn write(&self, config: &str) {
        fs::write(self.dir.path().join("etc/config.yaml"), config).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("lab.sock")
    }

    fn status(&self) -> Option<StatusView> {
        match Client::connect(&self.socket()).ok()?.call(Call::Status).ok()? {
            Answer::Status(view) => Some(*view),
            _ => None,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let (Some(stop), Some(agent)) = (self.stop.take(), self.agent.take()) {
            let _ = stop.send(());
            agent.join().unwrap().unwrap();
        }
    }
}

/// An address that nobody listens at.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What the server answers to these words; none if it does not.
fn say(address: SocketAddr, words: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(words);
    let mut octets = Vec::new();
    // A connection that breaks off has said what it had to say.
    let _ = stream.read_to_end(&mut octets);
    Some(String::from_utf8_lossy(&octets).into_owned())
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    say(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[track_caller]
fn until<T>(wished: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match wished() {
            Some(value) => return value,
            None if start.elapsed() > Duration::from_secs(30) => panic!("it does not come"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn metrics_and_health_are_where_the_files_say_and_nowhere_else() {
    let (first, second) = (free(), free());
    let lab = Lab::new(&config(&first.port().to_string()));
    let ready = |address| get(address, "/readyz").filter(|text| text.starts_with("HTTP/1.1 200"));
    until(|| ready(first));
    let text = get(first, "/metrics").unwrap();
    assert!(text.contains("application/openmetrics-text; version=1.0.0"), "{text}");
    assert!(text.contains("thalweg_build_info{version=\"0.1.0\",agent=\"lab\"} 1"), "{text}");
    assert!(text.contains("thalweg_in_force 1.0\n"), "{text}");
    assert!(text.contains("thalweg_link_up{link=\"eth0\",vrf=\"default\"} 1.0"), "{text}");
    assert!(text.contains("thalweg_plan_seconds_count 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("thalweg_flow"), "without services there is no table of flows: {text}");
    assert!(get(first, "/healthz").unwrap().ends_with("\r\nok\n"));
    assert!(get(first, "/other").unwrap().starts_with("HTTP/1.1 404"));
    let post = say(first, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.unwrap().starts_with("HTTP/1.1 405"));
    // It follows the files.
    lab.write(&config(&format!("\"{second}\"")));
    until(|| ready(second));
    assert!(get(first, "/healthz").is_none(), "nobody listens there any more");
    // Wrong files: still well, not ready, and it says why.
    lab.write("kind: Nonsense\n");
    let text = until(|| get(second, "/readyz").filter(|text| text.starts_with("HTTP/1.1 503")));
    assert!(text.contains("apiVersion"), "{text}");
    assert!(get(second, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    lab.write(&config("9475").replace("spec: {metrics: {listen: 9475}}", "spec: {burst: 7}"));
    until(|| get(second, "/healthz").is_none().then_some(()));
}

#[test]
fn an_address_that_is_taken_is_a_problem_and_forwarding_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let lab = Lab::new(&config(&port));
    let what = |view: &StatusView| {
        let problem = view.problems.iter().find(|problem| problem.what.contains("metrics"))?;
        Some(problem.to_string())
    };
    let said = until(|| lab.status().as_ref().and_then(what));
    assert!(said.contains(&port) && said.contains("name another port"), "{said}");
    assert_eq!(lab.status().unwrap().generation, 1);
}

#[test]
fn slow_and_hostile_clients_keep_nobody_waiting_but_themselves() {
    let address = free();
    let lab = Lab::new(&config(&address.port().to_string()));
    until(|| get(address, "/readyz").filter(|text| text.starts_with("HTTP/1.1 200")));
    // Far more than are let in, which say nothing, or half a word.
    let held: Vec<TcpStream> = (0..64)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /metrics HT");
            }
            stream
        })
        .collect();
    // Some that ask and do not read.
    for _ in 0..5 {
        let start = Instant::now();
        assert!(lab.status().is_some());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    // Their time ends by itself.
    until(|| get(address, "/healthz").filter(|text| text.starts_with("HTTP/1.1 200")));
    drop(held);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    for nonsense in [&b"\0\x01\x02\x03\r\n\r\n"[..], b"GET\r\n\r\n", long.as_bytes()] {
        let answer = say(address, nonsense).unwrap_or_default();
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(get(address, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(lab.status().is_some());
}
