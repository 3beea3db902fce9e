//! A whole agent on tables in memory, asked over its control socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thalweg_agent::{HostSource, MemoryPlane, Parts, RunError, Settings};
use thalweg_api::drops::DropQuery;
use thalweg_api::view::{Phase, StatusView};
use thalweg_api::{Answer, Call, Client, ClientError, Code, RouteQuery};
use tokio::sync::oneshot;

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

const LINK: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1], mpls: true}
";

fn route(prefix: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: lan}}
spec:
  prefix: {prefix}
  nextHops: [{{via: 10.0.1.254}}]
"
    )
}

/// An agent with its files, until it is dropped.
struct Lab {
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<JoinHandle<Result<(), RunError>>>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let mut lab = Self { dir, stop: None, agent: None };
        lab.write("link.yaml", LINK);
        lab.write("route.yaml", &route("10.0.2.0/24"));
        lab.start();
        lab.until(|status| status.phase == Phase::InForce);
        lab
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("etc").join(name), text).unwrap();
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.dir.path().join("etc"), "lab");
        settings.socket = self.socket();
        settings
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/lab.sock")
    }

    fn parts(stop: oneshot::Receiver<()>) -> Parts {
        let host = thalweg_agent::offline::read_host(Path::new("/dev/null")).unwrap();
        assert!(host.links.is_empty());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), HOST).unwrap();
        let host = thalweg_agent::offline::read_host(file.path()).unwrap();
        Parts {
            opener: MemoryPlane::opener(),
            host: HostSource::Fixed(Box::new(host)),
            stop: Some(stop),
        }
    }

    fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let settings = self.settings();
        self.stop = Some(stop);
        self.agent =
            Some(std::thread::spawn(move || thalweg_agent::run(settings, Self::parts(stopped))));
    }

    fn end(&mut self) {
        if let (Some(stop), Some(agent)) = (self.stop.take(), self.agent.take()) {
            let _ = stop.send(());
            agent.join().unwrap().unwrap();
        }
    }

    fn call(&self, call: Call) -> Result<Answer, ClientError> {
        Client::connect(&self.socket())?.call(call)
    }

    fn status(&self) -> Option<StatusView> {
        match self.call(Call::Status) {
            Ok(Answer::Status(view)) => Some(*view),
            _ => None,
        }
    }

    #[track_caller]
    fn until(&self, wished: impl Fn(&StatusView) -> bool) -> StatusView {
        let start = Instant::now();
        loop {
            let status = self.status();
            match status {
                Some(view) if wished(&view) => return view,
                _ if start.elapsed() > Duration::from_secs(30) => panic!("{status:#?}"),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn prefixes(&self, query: RouteQuery) -> (Vec<String>, Option<String>) {
        match self.call(Call::Routes(query)) {
            Ok(Answer::Routes(page)) => {
                (page.routes.into_iter().map(|route| route.prefix).collect(), page.next)
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

fn to(destination: &str) -> RouteQuery {
    RouteQuery { destination: Some(destination.into()), ..RouteQuery::default() }
}

#[test]
fn files_are_followed_and_wrong_ones_change_nothing() {
    let lab = Lab::new();
    assert!(lab.status().unwrap().is_well());
    assert_eq!(lab.prefixes(to("10.0.2.7")).0, ["10.0.2.0/24"]);
    lab.write("route.yaml", &route("10.0.3.0/24"));
    lab.until(|status| status.generation == 2);
    assert_eq!(lab.prefixes(to("10.0.3.7")).0, ["10.0.3.0/24"]);
    assert!(lab.prefixes(to("10.0.2.7")).0.is_empty());
    lab.write("route.yaml", &route("10.0.3.1/24"));
    let status = lab.until(|status| !status.config.problems.is_empty());
    assert!(!status.is_well());
    assert!(status.config.last_good && !status.config.in_force);
    let problem = &status.config.problems[0];
    assert!(problem.origin.file.ends_with("route.yaml"), "{problem}");
    assert_eq!((problem.origin.line, problem.field.as_deref()), (5, Some("spec.prefix")));
    assert!(problem.remedy.contains("10.0.3.0/24"), "{problem}");
    assert_eq!(lab.prefixes(to("10.0.3.7")).0, ["10.0.3.0/24"]);
}

#[test]
fn every_call_is_answered() {
    let lab = Lab::new();
    for call in [
        Call::Links,
        Call::Labels,
        Call::NextHops,
        Call::Groups,
        Call::Neighbors,
        Call::Vrfs,
        Call::Drops { all: true },
        Call::DropEvents(DropQuery::default()),
        Call::Tables,
        Call::Host,
        Call::Describe { kind: "link".into(), name: "eth0".into() },
        Call::Describe { kind: "route".into(), name: "lan".into() },
        Call::Describe { kind: "reason".into(), name: "no-route".into() },
    ] {
        let name = format!("{call:?}");
        lab.call(call).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let packet = "eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53".into();
    match lab.call(Call::Explain { packet }) {
        Ok(Answer::Explain(view)) => {
            assert_eq!((view.verdict.as_str(), view.link.as_deref()), ("forward", Some("eth1")));
            assert_eq!(view.source.as_deref(), Some("Route/lan"));
        }
        other => panic!("{other:?}"),
    }
    let files = vec![("new.yaml".into(), format!("{LINK}---\n{}", route("10.0.9.0/24")))];
    match lab.call(Call::Diff { files }) {
        Ok(Answer::Diff(view)) => assert_eq!(view.changes.len(), 2, "{view:?}"),
        other => panic!("{other:?}"),
    }
    for (call, code) in [
        (Call::Explain { packet: "eth9 < ip 10.0.0.9 > 10.0.2.7".into() }, Code::NotFound),
        (Call::Explain { packet: "what?".into() }, Code::Invalid),
        (Call::Describe { kind: "link".into(), name: "eth9".into() }, Code::NotFound),
        (
            Call::DropEvents(DropQuery { link: Some("eth9".into()), ..DropQuery::default() }),
            Code::NotFound,
        ),
        (Call::Describe { kind: "dream".into(), name: "eth9".into() }, Code::Invalid),
        (Call::Routes(to("10.0.2.1/24")), Code::Invalid),
        (Call::Routes(RouteQuery { vrf: Some("x".into()), ..to("1.1.1.1") }), Code::NotFound),
    ] {
        match lab.call(call.clone()) {
            Err(ClientError::Fault(fault)) => assert_eq!(fault.code, code, "{call:?}"),
            other => panic!("{call:?}: {other:?}"),
        }
    }
}

#[test]
fn pages_together_are_the_whole_list() {
    let lab = Lab::new();
    let (all, none) = lab.prefixes(RouteQuery::default());
    assert_eq!(none, None);
    let mut pieces = Vec::new();
    let mut after = None;
    loop {
        let query = RouteQuery { after, limit: 2, ..RouteQuery::default() };
        let (page, next) = lab.prefixes(query);
        pieces.extend(page);
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(pieces, all);
    assert!(all.len() > 5, "{all:?}");
    assert!(all.contains(&"10.0.1.254/32".to_owned()), "the neighbor's host route: {all:?}");
}

#[test]
fn who_watches_is_told_of_changes() {
    let lab = Lab::new();
    let client = Client::connect(&lab.socket()).unwrap();
    let mut watch = client.watch(Call::Routes(to("10.0.2.0/24"))).unwrap();
    let count = |answer: Option<Result<Answer, ClientError>>| match answer {
        Some(Ok(Answer::Routes(page))) => page.routes.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(watch.next()), 1);
    lab.write("route.yaml", &route("10.0.3.0/24"));
    assert_eq!(count(watch.next()), 0);
    lab.write("route.yaml", &route("10.0.2.0/24"));
    assert_eq!(count(watch.next()), 1);
}

#[test]
fn a_second_agent_of_the_name_is_refused_and_a_dead_socket_replaced() {
    let mut lab = Lab::new();
    let (_stop, stopped) = oneshot::channel();
    match thalweg_agent::run(lab.settings(), Lab::parts(stopped)) {
        Err(error @ RunError::Socket(_)) => {
            let words = format!("instance `lab` is already running: pid {}", std::process::id());
            assert!(error.to_string().contains(&words), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(lab.status().is_some(), "the first goes on");
    lab.end();
    assert!(!lab.socket().exists());
    // What an agent leaves behind that is killed.
    drop(std::os::unix::net::UnixListener::bind(lab.socket()).unwrap());
    lab.start();
    lab.until(|status| status.phase == Phase::InForce);
}

#[test]
fn nonsense_on_the_socket_is_answered_and_survived() {
    use std::io::{BufRead, BufReader, Write};
    let lab = Lab::new();
    let stream = std::os::unix::net::UnixStream::connect(lab.socket()).unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    for (request, answer) in [
        ("hello", "\"code\":\"invalid\""),
        ("{}", "\"code\":\"version\""),
        ("{\"version\":9,\"call\":\"status\"}", "\"code\":\"version\""),
        ("{\"version\":1,\"call\":\"dream\"}", "\"code\":\"invalid\""),
        ("{\"version\":1,\"call\":\"status\"}", "\"phase\":\"inForce\""),
    ] {
        writeln!(&stream, "{request}").unwrap();
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        assert!(line.contains(answer), "{request}: {line}");
    }
    (&stream).write_all(&[0xff; 1000]).unwrap();
    drop(stream);
    assert!(lab.status().is_some());
}

#[test]
fn the_socket_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let mode = fs::metadata(lab.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn before_a_good_configuration_the_status_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let mut lab = Lab { dir, stop: None, agent: None };
    lab.write("route.yaml", "kind: Nonsense\n");
    lab.start();
    let status = lab.until(|status| !status.config.problems.is_empty());
    assert_eq!(status.phase, Phase::AwaitsConfig);
    match lab.call(Call::Links) {
        Err(ClientError::Fault(fault)) => assert_eq!(fault.code, Code::NotReady),
        other => panic!("{other:?}"),
    }
    lab.write("route.yaml", LINK);
    lab.until(|status| status.phase == Phase::InForce);
}
