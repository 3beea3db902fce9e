//! BFD against FRR's bfdd, and against another agent: tables in memory, packets on a real link.

use crate::lab::{A, B, Lab};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use thalweg_agent::{HostSource, MemoryPlane, Parts, Settings};
use thalweg_api::view::{SessionView, StatusView};
use thalweg_api::{Answer, Call, Client};
use thalweg_model::Severity;

/// An agent in a namespace of the lab, in a process of its own; killed with it.
struct Agent {
    folder: PathBuf,
    netns: String,
    process: Option<Child>,
}

/// What the process of an agent runs.
#[test]
fn agent_process() {
    let Some(folder) = std::env::var_os("THALWEG_BFD_LAB").map(PathBuf::from) else { return };
    let settings = Settings {
        socket: folder.join("sock"),
        state: Some(folder.join("state")),
        netns: std::env::var("THALWEG_BFD_NETNS").ok(),
        ..Settings::new(folder.join("etc"), "bfd")
    };
    let parts = Parts { opener: MemoryPlane::opener(), host: HostSource::Kernel, stop: None };
    thalweg_agent::run(settings, parts).unwrap();
}

/// The way of a packet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Primary,
    Backup,
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
         backup: {{via: {via}, dev: e0, labels: [100]}}}}"
    );
    object("Route", "watched", &hops)
}

impl Agent {
    fn start(lab: &Lab, side: usize, text: &str) -> Self {
        let folder = lab.path(side).join("agent");
        fs::create_dir_all(folder.join("etc")).unwrap();
        let mut agent = Self { folder, netns: lab.name(side).to_owned(), process: None };
        agent.write(text);
        agent.run();
        agent
    }

    fn run(&mut self) {
        let log = self.folder.join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "bfd::agent_process", "--nocapture"])
            .env("THALWEG_BFD_LAB", &self.folder)
            .env("THALWEG_BFD_NETNS", &self.netns)
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    fn write(&self, text: &str) {
        let etc = self.folder.join("etc");
        fs::write(etc.join("new"), text).unwrap();
        fs::rename(etc.join("new"), etc.join("lab.yaml")).unwrap();
    }

    /// Ends it in good order.
    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let kill = Command::new("kill").arg(process.id().to_string()).status();
        assert!(kill.unwrap().success());
        process.wait().unwrap();
    }

    /// Ends it without giving it time for anything.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    fn call(&self, call: Call) -> Option<Answer> {
        Client::connect(&self.folder.join("sock")).ok()?.call(call).ok()
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

    /// Whether packets for the watched prefix go by the next hop itself or by its backup, as the
    /// tables in force decide it; none while there is no answer.
    fn way(&self) -> Option<Way> {
        let packet = "e0 < ip 10.0.0.77 > 192.0.2.9 ttl 64 udp 4000 > 53".into();
        match self.call(Call::Explain { packet })? {
            Answer::Explain(view) => match view.result {
                Some(result) if result.contains("mpls") => Some(Way::Backup),
                Some(_) if view.verdict == "forward" => Some(Way::Primary),
                _ => None,
            },
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
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        }
    }
}

/// Waits until packets go that way.
#[track_caller]
fn goes(lab: &Lab, agent: &Agent, way: Way) {
    lab.until(&format!("{way:?}"), |_| agent.way().filter(|now| *now == way));
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
    goes(&lab, &agent, Way::Primary);

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
    goes(&lab, &agent, Way::Backup);
    let events = agent.events("v4");
    assert_eq!(events, ["up: next hops use it", "down: next hops leave it"]);

    // It comes back, and all is as before.
    lab.daemon(A, "bfdd", "", &format!("bfd\n{peers}"));
    for name in ["v4", "v6", "ll"] {
        until(&lab, &agent, name, is_up);
    }
    goes(&lab, &agent, Way::Primary);
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

const KEY: &str = "authentication: {kind: MeticulousSha1, keyId: 3, keyFile: KEYFILE}";

/// An agent on each side with an authenticated session to the other, at 50 ms.
fn pair(lab: &Lab) -> [Agent; 2] {
    patient_pair(lab, 3)
}

/// The same with another multiplier.
fn patient_pair(lab: &Lab, multiplier: u8) -> [Agent; 2] {
    let key = lab.path(A).join("key");
    fs::write(&key, "a secret\n").unwrap();
    let auth = KEY.replace("KEYFILE", &key.display().to_string());
    [A, B].map(|side| {
        let peer = ["10.0.0.2", "10.0.0.1"][side];
        let timers = format!("transmit: 50ms, receive: 50ms, multiplier: {multiplier}");
        let spec = format!("{{peer: {peer}, link: e0, {timers}, {auth}}}");
        let text = files(&[("s", &spec)]) + &route(side, "s");
        Agent::start(lab, side, &text)
    })
}

#[test]
fn a_dead_agent_is_missed_and_comes_back() {
    let Some(lab) = Lab::bare() else { return };
    let [mut a, b] = pair(&lab);
    for agent in [&a, &b] {
        until(&lab, agent, "s", is_up);
        goes(&lab, agent, Way::Primary);
    }
    a.kill();
    let view = until(&lab, &b, "s", is_down);
    assert_eq!((view.diagnostic.as_str(), view.flaps), ("time-expired", 1));
    goes(&lab, &b, Way::Backup);
    a.run();
    until(&lab, &b, "s", is_up);
    goes(&lab, &b, Way::Primary);
    assert_eq!(b.events("s").len(), 3, "{:?}", b.events("s"));
}

/// Sends octets as if they were of a session's neighbor.
fn spoof(lab: &Lab, ttl: u32, octets: &[u8]) {
    let text: String = octets.iter().map(|octet| format!("\\\\x{octet:02x}")).collect();
    let script = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
         s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, {ttl}); s.bind(('10.0.0.1', 0)); \
         s.sendto(b'{}', ('10.0.0.2', 3784))",
        text.replace("\\\\", "\\")
    );
    let status =
        Command::new("ip").args(["netns", "exec", lab.name(A), "python3", "-c", &script]).status();
    assert!(status.unwrap().success());
}

#[test]
fn packets_from_afar_and_without_the_key_do_nothing() {
    let Some(lab) = Lab::bare() else { return };
    if Command::new("python3").arg("--version").output().is_err() {
        return crate::lab::skip("no python3 to send packets with");
    }
    let [_a, b] = pair(&lab);
    let before = until(&lab, &b, "s", is_up);
    // Down, from the neighbor's number to ours: what would end the session.
    let mut down = vec![0x20, 0x40, 3, 24];
    down.extend(before.remote_discriminator.to_be_bytes());
    down.extend(before.discriminator.to_be_bytes());
    down.extend([[0, 0, 0xc3, 0x50], [0, 0, 0xc3, 0x50], [0; 4]].concat());
    spoof(&lab, 254, &down);
    spoof(&lab, 255, &down);
    spoof(&lab, 255, &down[..20]);
    let dropped = |reason: &str| b.status().unwrap().sessions.unwrap().dropped[reason];
    lab.until("all three are counted", |_| {
        let counts = ["ttl", "authentication", "malformed"].map(dropped);
        (counts == [1, 1, 1]).then_some(())
    });
    let after = b.session("s").unwrap();
    assert!(is_up(&after) && after.flaps == 0 && after.refused == 1, "{after:?}");
    assert_eq!(b.way(), Some(Way::Primary));
}

/// Lets an agent run and sees that from its first plan on no packet is led elsewhere.
#[track_caller]
fn keeps_its_way(lab: &Lab, agent: &Agent) {
    lab.until("the session is up again", |_| {
        let way = agent.way();
        assert_ne!(way, Some(Way::Backup));
        agent.session("s").filter(is_up).filter(|_| way.is_some())
    });
    for _ in 0..40 {
        assert_eq!(agent.way(), Some(Way::Primary));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_restart_is_not_noticed_and_a_crash_loses_no_packet_of_ours() {
    let Some(lab) = Lab::bare() else { return };
    let [mut a, b] = pair(&lab);
    for agent in [&a, &b] {
        until(&lab, agent, "s", is_up);
        goes(&lab, agent, Way::Primary);
    }
    let number = b.session("s").unwrap().remote_discriminator;

    // Stopped in good order: the neighbor sees one session, longer away than its usual detection.
    a.stop();
    until(&lab, &b, "s", |view| view.detection_micros == 30_000_000);
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_up(&b.session("s").unwrap()));
    a.run();
    until(&lab, &b, "s", |view| view.detection_micros == 150_000);
    keeps_its_way(&lab, &a);
    let view = b.session("s").unwrap();
    assert_eq!((view.flaps, view.remote_discriminator), (0, number));
    assert_eq!(b.way(), Some(Way::Primary));

    // Killed for long enough that the neighbor notices: our packets keep their way all the same.
    a.kill();
    until(&lab, &b, "s", is_down);
    a.run();
    keeps_its_way(&lab, &a);
    until(&lab, &b, "s", is_up);

    // The session ends by a person's will: the neighbor keeps the path, and says why.
    b.write(&files(&[]));
    let view = until(&lab, &a, "s", |view| view.remote_state == "admin-down");
    assert_eq!((view.path.as_str(), view.diagnostic.as_str()), ("up", "neighbor-down"));
    until(&lab, &a, "s", is_down);
}

#[test]
fn after_crashes_the_neighbor_takes_our_numbers() {
    let Some(lab) = Lab::bare() else { return };
    // Ten seconds: longer than an agent takes to start on a busy machine.
    let [mut a, b] = patient_pair(&lab, 200);
    for agent in [&a, &b] {
        until(&lab, agent, "s", is_up);
    }
    let number = b.session("s").unwrap().remote_discriminator;
    for _ in 0..3 {
        // Many numbers further than what was written down when the session came up.
        let sent = a.session("s").unwrap().sent;
        until(&lab, &a, "s", |view| view.sent >= sent + 40);
        a.kill();
        a.run();
        until(&lab, &a, "s", is_up);
        let taken = b.session("s").unwrap().received;
        let view = until(&lab, &b, "s", |view| view.received >= taken + 40);
        assert!(is_up(&view), "{view:?}");
        assert_eq!((view.refused, view.flaps, view.remote_discriminator), (0, 0, number));
    }
}
