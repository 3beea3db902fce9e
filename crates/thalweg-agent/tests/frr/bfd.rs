//! BFD against FRR's bfdd, and against another agent: tables in memory, packets on a real link.

use crate::lab::{A, B, Lab};
use std::fs;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_agent::{HostSource, MemoryPlane, Parts, RunError, Settings};
use thalweg_api::view::{SessionView, StatusView};
use thalweg_api::{Answer, Call, Client, RouteQuery};
use thalweg_model::Severity;
use tokio::sync::oneshot;

/// An agent in a namespace of the lab, with its files; ends with it.
struct Agent {
    etc: PathBuf,
    socket: PathBuf,
    settings: Settings,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
    )
}

/// A session with the other side, and a route over it with a way out.
fn files(sessions: &[(&str, &str)]) -> String {
    let router = "{limits: {ipv4Routes: 1000, ipv6Routes: 1000, labels: 1024}}";
    let mut text =
        object("Router", "router", router) + &object("Link", "lab", "{interfaces: [e0]}");
    for (name, spec) in sessions {
        text.push_str(&object("BfdSession", name, spec));
    }
    text
}

fn route(side: usize, session: &str) -> String {
    let via = ["10.0.0.2", "10.0.0.1"][side];
    let hops = format!(
        "{{prefix: 192.0.2.0/24, via: {via}, dev: e0, bfd: {session}, \
         backup: {{via: 10.0.0.9, dev: e0}}}}"
    );
    object("Route", "watched", &hops)
}

impl Agent {
    fn start(lab: &Lab, side: usize, text: &str) -> Self {
        let folder = lab.path(side).join("agent");
        let etc = folder.join("etc");
        fs::create_dir_all(&etc).unwrap();
        let mut settings = Settings::new(&etc, ["bfd-a", "bfd-b"][side]);
        settings.socket = folder.join("sock");
        settings.state = Some(folder.join("state"));
        settings.netns = Some(lab.name(side).to_owned());
        let socket = settings.socket.clone();
        let mut agent = Self { etc, socket, settings, stop: None, thread: None };
        agent.write(text);
        agent.run();
        agent
    }

    fn run(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let parts =
            Parts { opener: MemoryPlane::opener(), host: HostSource::Kernel, stop: Some(stopped) };
        let settings = self.settings.clone();
        self.stop = Some(stop);
        self.thread = Some(std::thread::spawn(move || thalweg_agent::run(settings, parts)));
    }

    fn write(&self, text: &str) {
        fs::write(self.etc.join("new"), text).unwrap();
        fs::rename(self.etc.join("new"), self.etc.join("lab.yaml")).unwrap();
    }

    /// Ends it in good order.
    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    fn call(&self, call: Call) -> Option<Answer> {
        Client::connect(&self.socket).ok()?.call(call).ok()
    }

    fn status(&self) -> Option<StatusView> {
        match self.call(Call::Status)? {
            Answer::Status(view) => Some(*view),
            _ => None,
        }
    }

    fn session(&self, name: &str) -> Option<SessionView> {
        match self.call(Call::Sessions)? {
            Answer::Sessions(views) => views.into_iter().find(|view| view.name == name),
            _ => None,
        }
    }

    /// Where packets for the watched prefix go.
    fn action(&self) -> Option<String> {
        match self.call(Call::Routes(RouteQuery::default()))? {
            Answer::Routes(page) => {
                let mut routes = page.routes.into_iter();
                Some(routes.find(|route| route.prefix == "192.0.2.0/24")?.action)
            }
            _ => None,
        }
    }

    /// Texts of the events that happened to a session.
    fn events(&self, name: &str) -> Vec<String> {
        let query = thalweg_api::EventQuery::default();
        let Some(Answer::Events(page)) = self.call(Call::Events(query)) else { return Vec::new() };
        let object = format!("session {name}");
        page.events.into_iter().filter(|e| e.object == object).map(|e| e.text).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for a session to be so.
#[track_caller]
fn until(
    lab: &Lab,
    agent: &Agent,
    name: &str,
    wished: impl Fn(&SessionView) -> bool,
) -> SessionView {
    lab.until(&format!("session {name}"), |_| agent.session(name).filter(&wished))
}

fn is_up(view: &SessionView) -> bool {
    view.state == "up" && view.remote_state == "up" && view.path == "up"
}

fn is_down(view: &SessionView) -> bool {
    view.state == "down" && view.path == "down"
}

/// `show bfd peers` of bfdd: whether the peer is up.
fn frr_is_up(lab: &Lab, peer: &str) -> bool {
    let text = lab.vtysh(A, &[&format!("show bfd peer {peer} interface e0")]);
    text.contains("Status: up")
}

/// bfdd on side `a`, with a profile for each peer.
fn bfdd(lab: &mut Lab, peers: &str) {
    lab.daemon(A, "zebra", "", "");
    lab.daemon(A, "bfdd", "", &format!("bfd\n{peers}"));
}

const FAST: &str = "  receive-interval 50\n  transmit-interval 50\n  detect-multiplier 3\n";

#[test]
fn sessions_with_bfdd_come_up_change_and_are_missed() {
    let Some(mut lab) = Lab::new() else { return };
    lab.ip(A, "address add 2001:db8::1/64 dev e0 nodad");
    lab.ip(B, "address add 2001:db8::2/64 dev e0 nodad");
    for (side, address) in [(A, "fe80::a"), (B, "fe80::b")] {
        lab.ip(side, &format!("address add {address}/64 dev e0 nodad"));
    }
    let peers = format!(
        " peer 10.0.0.2 interface e0\n{FAST} exit\n \
         peer 2001:db8::2 local-address 2001:db8::1 interface e0\n{FAST} exit\n \
         peer fe80::b local-address fe80::a interface e0\n{FAST} exit\n"
    );
    bfdd(&mut lab, &peers);
    let specs = |transmit: u32| {
        let timers = format!("link: e0, transmit: {transmit}ms, receive: 50ms");
        [
            ("v4", format!("{{peer: 10.0.0.1, {timers}}}")),
            ("v6", format!("{{peer: \"2001:db8::1\", local: \"2001:db8::2\", {timers}}}")),
            ("ll", format!("{{peer: \"fe80::a\", local: \"fe80::b\", {timers}}}")),
        ]
    };
    let text = |transmit| {
        let specs = specs(transmit);
        let specs: Vec<_> = specs.iter().map(|(name, spec)| (*name, &spec[..])).collect();
        files(&specs) + &route(B, "v4")
    };
    let agent = Agent::start(&lab, B, &text(50));
    for (name, own) in [("v4", "10.0.0.2"), ("v6", "2001:db8::2"), ("ll", "fe80::b")] {
        let view = until(&lab, &agent, name, |v| is_up(v) && v.transmit_micros == 50_000);
        assert_eq!((view.flaps, view.remote_multiplier), (0, 3), "{name}");
        lab.until(&format!("bfdd has {name} up"), |lab| frr_is_up(lab, own).then_some(()));
        until(&lab, &agent, name, |v| v.detection_micros == 150_000);
    }
    lab.until("the route goes over the session", |_| {
        agent.action().filter(|action| action.starts_with("via 10.0.0.1 ")).map(|_| ())
    });

    // Other intervals, asked for by either side: agreed on by a poll, and nobody goes down.
    agent.write(&text(200));
    until(&lab, &agent, "v4", |v| v.transmit_micros == 200_000);
    lab.until("bfdd knows", |lab| {
        lab.vtysh(A, &["show bfd peer 10.0.0.2 interface e0"])
            .contains("Transmission interval: 200ms")
            .then_some(())
    });
    let change = ["configure terminal", "bfd", "peer 10.0.0.2 interface e0"];
    lab.vtysh(A, &[&change[..], &["transmit-interval 120", "receive-interval 300"]].concat());
    until(&lab, &agent, "v4", |v| v.transmit_micros == 300_000 && v.detection_micros == 360_000);
    assert!(is_up(&agent.session("v4").unwrap()) && frr_is_up(&lab, "10.0.0.2"));
    assert_eq!(agent.session("v4").unwrap().flaps, 0);

    // bfdd dies: ours are down when the detection time is over, and packets take the backup.
    lab.kill(A, "bfdd");
    for name in ["v4", "v6", "ll"] {
        let view = until(&lab, &agent, name, is_down);
        assert_eq!((view.diagnostic.as_str(), view.flaps), ("time-expired", 1), "{name}");
    }
    lab.until("the backup is in use", |_| {
        agent.action().filter(|a| a.contains("10.0.0.9")).map(|_| ())
    });
    let events = agent.events("v4");
    assert_eq!(events, ["up: next hops use it", "down: next hops leave it"]);

    // It comes back, and all is as before.
    lab.daemon(A, "bfdd", "", &format!("bfd\n{peers}"));
    for name in ["v4", "v6", "ll"] {
        until(&lab, &agent, name, is_up);
    }
    let status = agent.status().unwrap();
    let errors = status.problems.iter().filter(|p| p.severity == Severity::Error).count();
    assert_eq!(errors, 0, "{:?}", status.problems);
    assert_eq!(status.sessions.unwrap().up, 3);
}

#[test]
fn three_times_ten_milliseconds_hold_with_bfdd() {
    let Some(mut lab) = Lab::new() else { return };
    let fast = "  receive-interval 10\n  transmit-interval 10\n  detect-multiplier 3\n";
    bfdd(&mut lab, &format!(" peer 10.0.0.2 interface e0\n{fast} exit\n"));
    let spec = "{peer: 10.0.0.1, link: e0, transmit: 10ms, receive: 10ms}";
    let agent = Agent::start(&lab, B, &files(&[("fast", spec)]));
    let before = until(&lab, &agent, "fast", |v| is_up(v) && v.detection_micros == 30_000);
    std::thread::sleep(Duration::from_secs(3));
    let after = agent.session("fast").unwrap();
    println!("3 s at 10 ms: {} flaps, {} packets", after.flaps, after.sent - before.sent);
    // Whether a machine under test holds 30 ms is its business; that packets flow is ours.
    assert!(after.sent - before.sent > 100 && after.received - before.received > 100);
}
