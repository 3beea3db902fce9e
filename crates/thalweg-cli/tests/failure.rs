//! Links that fail and come back, with a second way out of the router.

mod lab;

use lab::{Lab, ip};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use thalweg_bfd::{Runner, Settings, Wanted};

/// Two ways to host b: by eth1, and by eth2 while eth1 is down.
fn config(hold: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0, eth1, eth2], holdUp: {hold}}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: lan}}
spec:
  prefix: 10.0.2.0/24
  nextHops:
  - via: 10.0.1.254
    backup: {{via: 10.0.3.254}}
"
    )
}

/// The same with many more routes and labels over the link, all with a backup.
fn many() -> String {
    let count = |name: &str, usual: u32| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (routes, labels) =
        (count("THALWEG_FAILURE_ROUTES", 10_000), count("THALWEG_FAILURE_LABELS", 1_000));
    let mut text = config("0s");
    // The kernel knows none of them: it cannot stand in.
    text += "---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: router}\n\
             spec: {kernelRoutes: false}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Route\n\
             metadata: {name: many}\nspec:\n  \
             nextHops: [{via: 10.0.1.254, backup: {via: 10.0.3.254}}]\n  prefixes:\n";
    for route in 0..routes {
        let net = std::net::Ipv4Addr::from_bits(0x1400_0000 + (route << 8));
        let _ = writeln!(text, "  - {net}/24");
    }
    for label in 0..labels {
        let _ = write!(
            text,
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: LabelRoute\n\
             metadata: {{name: l{label}}}\nspec: {{label: {}, nextHops: [{{via: 10.0.1.254, \
             labels: [16], backup: {{via: 10.0.3.254, labels: [17, 18]}}}}]}}\n",
            1_000 + label
        );
    }
    text.replace("holdUp: 0s", "mpls: true")
}

/// A lab with a second link between router and host b.
fn lab(tag: &str, config: &str, more: impl FnOnce(&mut Command)) -> Option<Lab> {
    let mut lab = Lab::new(tag)?;
    let n = &lab.name;
    for line in [
        format!("link add eth2 netns {n}r type veth peer name up2 netns {n}b"),
        format!("-n {n}b addr add 10.0.3.254/24 dev up2"),
        format!("-n {n}r addr add 10.0.3.1/24 dev eth2"),
        format!("-n {n}b link set up2 up"),
        format!("-n {n}r link set eth2 up"),
        format!("-n {n}b route add default via 10.0.3.1 metric 50"),
    ] {
        ip(&line).unwrap();
    }
    // The kernel may take a second to tell of a carrier: a link that an agent saw without one is held
    // down when it comes.
    let up = format!("-n {n}r -o link show up");
    lab.until(|| ip(&up).unwrap().lines().filter(|line| line.contains("state UP")).count() == 3);
    fs::write(lab.config(), config).unwrap();
    lab.start_with(more).then_some(lab)
}

/// The link that packets leave through.
fn way(lab: &Lab) -> String {
    way_of(lab, "ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53")
}

fn way_of(lab: &Lab, packet: &str) -> String {
    let text = lab.text(&["explain", &format!("eth0 < {packet}")]);
    let found = ["eth1", "eth2"].into_iter().find(|link| text.contains(&format!("out {link}\n")));
    found.unwrap_or("none").to_owned()
}

/// Sets the other end of eth1 up or down, which takes or gives its carrier.
fn far(lab: &Lab, state: &str) {
    ip(&format!("-n {}b link set dev up {state}", lab.name)).unwrap();
}

/// A socket of one of the hosts.
fn socket(lab: &Lab, host: &str, address: &str) -> UdpSocket {
    let (namespace, address) = (format!("{}{host}", lab.name), address.to_owned());
    let open = move || {
        thalweg_netlink::enter_netns(&namespace).unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    };
    std::thread::spawn(open).join().unwrap()
}

/// Packets from host a to host b, numbered.
#[derive(Default)]
struct Stream {
    /// The number of the next one.
    next: AtomicU64,
    arrived: Mutex<BTreeSet<u64>>,
    end: AtomicBool,
}

impl Stream {
    fn send(&self, socket: &UdpSocket) {
        while !self.end.load(SeqCst) {
            let number = self.next.fetch_add(1, SeqCst);
            // Refused where host b is not ready yet.
            let _ = socket.send(&number.to_be_bytes());
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Takes what comes until nothing comes any more.
    fn receive(&self, socket: &UdpSocket) {
        let mut octets = [0; 8];
        while socket.recv(&mut octets).is_ok() || !self.end.load(SeqCst) {
            self.arrived.lock().unwrap().insert(u64::from_be_bytes(octets));
        }
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

/// The agent dies as soon as it has written the state of the link, before any plan: what packets do
/// from then on, they do by the state alone.
#[test]
fn the_state_of_a_link_moves_all_routes_before_any_plan() {
    let fault = |command: &mut Command| {
        command.env("THALWEG_FAULT", "link-down");
    };
    let Some(mut lab) = lab("s", &many(), fault) else { return };
    lab.until(|| way(&lab) == "eth1" && lab.pings_once("10.0.2.7"));
    let (from, to) = (socket(&lab, "a", "10.0.0.9:0"), socket(&lab, "b", "10.0.2.7:7000"));
    from.connect("10.0.2.7:7000").unwrap();
    let stream = Stream::default();
    let first = std::thread::scope(|scope| {
        scope.spawn(|| stream.send(&from));
        scope.spawn(|| stream.receive(&to));
        let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lab.until(|| stream.count() > 100);
            far(&lab, "down");
            let status = lab.agent.take().unwrap().wait().unwrap();
            assert!(!status.success(), "it died where it was to");
            let first = stream.next.load(SeqCst);
            lab.until(|| stream.next.load(SeqCst) > first + 1_000);
            first
        }));
        stream.end.store(true, SeqCst);
        first
    });
    let first = first.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let arrived = stream.arrived.lock().unwrap();
    let lost: Vec<u64> =
        (first..stream.next.load(SeqCst)).filter(|n| !arrived.contains(n)).collect();
    assert!(lost.is_empty(), "{} of the packets after {first} are lost: {lost:?}", lost.len());
}

#[test]
fn labels_take_the_stack_of_their_backup() {
    let Some(lab) = lab("l", &many(), |_| ()) else { return };
    let packet = "mpls 1000 ttl 64 ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53";
    lab.until(|| way_of(&lab, packet) == "eth1");
    far(&lab, "down");
    lab.until(|| way_of(&lab, packet) == "eth2");
    let text = lab.text(&["explain", &format!("eth0 < {packet}")]);
    assert!(text.contains("push 17/18, label ttl 64 -> 63, out eth2\n"), "{text}");
}

#[test]
fn a_link_that_came_back_waits_its_time() {
    let Some(lab) = lab("h", &config("1h"), |_| ()) else { return };
    lab.until(|| lab.pings_once("10.0.2.7"));
    lab.until(|| way(&lab) == "eth1");
    let far = |state: &str| far(&lab, state);
    far("down");
    lab.until(|| way(&lab) == "eth2");
    assert!(lab.pings("10.0.2.7"), "by the backup: {}", lab.log());
    far("up");
    lab.until(|| lab.text(&["get", "links"]).contains("held down, 3"));
    assert!(lab.text(&["describe", "link", "eth1"]).contains("it came up again, 3"));
    let events = lab.text(&["events"]);
    assert!(events.contains("link eth1: up, held down until it stayed up for 3600 s"), "{events}");
    assert_eq!(way(&lab), "eth2");
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    // The files may say otherwise meanwhile.
    fs::write(lab.config(), config("0s")).unwrap();
    lab.until(|| way(&lab) == "eth1");
    assert!(!lab.text(&["get", "links"]).contains("held down"));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    let events = lab.text(&["events"]);
    assert!(events.contains(" link eth1: up\n"), "{events}");
}

/// Two ways to host b: the first while its far end answers by BFD.
const WATCHED: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1, eth2]}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: far}
spec: {peer: 10.0.1.254, link: eth1, transmit: 50ms, receive: 50ms, multiplier: 5}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: lan}
spec:
  prefix: 10.0.2.0/24
  nextHops:
  - via: 10.0.1.254
    bfd: far
    backup: {via: 10.0.3.254}
";

/// The other end of the session, on host b, until it is dropped: then it is silent.
fn far_end(lab: &Lab) -> Runner {
    let namespace = format!("{}b", lab.name);
    // `3: up@if4: …`
    let line = ip(&format!("-n {namespace} -o link show dev up")).unwrap();
    let index = line.split(':').next().unwrap().trim().to_owned();
    let open = move || {
        thalweg_netlink::enter_netns(&namespace).unwrap();
        let settings = Settings {
            transmit: 50_000,
            receive: 50_000,
            multiplier: 5,
            hold_up: 0,
            passive: false,
            key: None,
        };
        let wanted = Wanted {
            name: "router".into(),
            link: index.parse().unwrap(),
            device: "up".into(),
            peer: "10.0.1.1".parse().unwrap(),
            local: None,
            settings,
            before: None,
        };
        let runner = Runner::start(Box::new(|_| ())).unwrap();
        runner.set(&[wanted]);
        runner
    };
    std::thread::spawn(open).join().unwrap()
}

/// Packets that came to host b by a link of it.
fn arrived(lab: &Lab, link: &str) -> u64 {
    let path = format!("/sys/class/net/{link}/statistics/rx_packets");
    let text = ip(&format!("netns exec {}b cat {path}", lab.name)).unwrap();
    text.trim().parse().unwrap()
}

/// Whether ten pings arrive by a link of host b, through the programs.
fn goes_by(lab: &Lab, link: &str) {
    let (before, forwarded) = (arrived(lab, link), lab.forwarded());
    (0..10).for_each(|_| assert!(lab.pings("10.0.2.7"), "{}", lab.log()));
    assert!(arrived(lab, link) >= before + 10, "packets went another way\n{}", lab.log());
    assert!(lab.forwarded() >= forwarded + 10, "the kernel forwarded them");
}

#[test]
fn a_far_end_that_falls_silent_is_left_while_its_link_is_up() {
    let Some(lab) = lab("b", WATCHED, |_| ()) else { return };
    // Nobody has answered yet.
    lab.until(|| way(&lab) == "eth2");
    goes_by(&lab, "up2");
    let end = far_end(&lab);
    lab.until(|| way(&lab) == "eth1");
    goes_by(&lab, "up");
    println!("{}", lab.text(&["get", "sessions"]));
    drop(end);
    lab.until(|| way(&lab) == "eth2");
    assert!(ip(&format!("-n {}r link show eth1", lab.name)).unwrap().contains("LOWER_UP"));
    goes_by(&lab, "up2");
    let sessions = lab.text(&["get", "sessions"]);
    println!("{sessions}");
    assert!(sessions.contains("time-expired"), "{sessions}");
    let end = far_end(&lab);
    lab.until(|| way(&lab) == "eth1");
    goes_by(&lab, "up");
    drop(end);
}
