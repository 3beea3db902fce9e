//! A whole agent on tables in memory, told over FPM by frames made by hand.

#[path = "../../thalweg-fpm/tests/fpm/words.rs"]
mod words;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thalweg_agent::{HostSource, MemoryPlane, Parts, RunError, Settings};
use thalweg_api::view::{FpmView, LabelView, Phase, RouteView, StatusView};
use thalweg_api::{Answer, Call, Client, RouteQuery};
use thalweg_netlink::message::{Messages, raw};
use tokio::sync::oneshot;
use words::{PORT, frames, lsp, object, route};

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
addresses:
- {address: 192.0.2.254/24, dev: eth0}
neighbors:
- {address: 192.0.2.1, dev: eth0, mac: '02:00:00:00:00:fe', state: reachable}
routes:
- {prefix: 192.0.2.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
";

/// An agent with its files, until it is dropped.
struct Lab {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<JoinHandle<Result<(), RunError>>>,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        // A port that was free a moment ago, where no outgoing connection takes one.
        let address = TcpListener::bind("127.77.0.2:0").unwrap().local_addr().unwrap();
        let mut lab = Self { dir, address, stop: None, agent: None };
        lab.write("Link", "{interfaces: [eth0], mpls: true}");
        lab.write("Router", &format!("{{fpm: {{listen: '{address}', quietTime: 2s}}}}"));
        let host = lab.dir.path().join("host.yaml");
        fs::write(&host, HOST).unwrap();
        let host = thalweg_agent::offline::read_host(&host).unwrap();
        let mut settings = Settings::new(lab.dir.path().join("etc"), "lab");
        settings.socket = lab.dir.path().join("lab.sock");
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            opener: MemoryPlane::opener(),
            host: HostSource::Fixed(Box::new(host)),
            stop: Some(stopped),
        };
        lab.stop = Some(stop);
        lab.agent = Some(std::thread::spawn(move || thalweg_agent::run(settings, parts)));
        lab.until("it listens", |lab| {
            let status = lab.status()?;
            (status.phase == Phase::InForce && lab.connect().is_some()).then_some(())
        });
        lab
    }

    fn write(&self, kind: &str, spec: &str) {
        let name = kind.to_lowercase();
        let head = "apiVersion: thalweg.dev/v1alpha1";
        let text = format!("{head}\nkind: {kind}\nmetadata: {{name: lab}}\nspec: {spec}\n");
        fs::write(self.dir.path().join("etc").join(format!("{name}.yaml")), text).unwrap();
    }

    fn connect(&self) -> Option<TcpStream> {
        TcpStream::connect(self.address).ok()
    }

    fn call(&self, call: Call) -> Option<Answer> {
        Client::connect(&self.dir.path().join("lab.sock")).ok()?.call(call).ok()
    }

    fn status(&self) -> Option<StatusView> {
        match self.call(Call::Status)? {
            Answer::Status(view) => Some(*view),
            _ => None,
        }
    }

    fn fpm(&self) -> Option<FpmView> {
        self.status()?.fpm
    }

    fn routes(&self) -> Vec<RouteView> {
        match self.call(Call::Routes(RouteQuery::default())) {
            Some(Answer::Routes(page)) => page.routes,
            _ => Vec::new(),
        }
    }

    fn labels(&self) -> Vec<LabelView> {
        match self.call(Call::Labels) {
            Some(Answer::Labels(labels)) => labels,
            _ => Vec::new(),
        }
    }

    fn of_suite(&self) -> usize {
        self.routes().iter().filter(|route| route.source == "fpm bgp").count()
    }

    #[track_caller]
    fn until<T>(&self, what: &str, wished: impl Fn(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = wished(self) {
                return found;
            }
            let patience = start.elapsed() < Duration::from_secs(20);
            assert!(patience, "{what}: {:#?} {:#?}", self.status(), self.routes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Connects when the connection that `new` looked with has come and gone: before it was
    /// taken nobody is connected either, and a second one would be refused.
    fn zebra(&self) -> TcpStream {
        self.until("nobody is connected", |lab| {
            let fpm = lab.fpm()?;
            (fpm.connections > 0 && fpm.peer.is_none()).then_some(())
        });
        self.connect().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(agent) = self.agent.take() {
            agent.join().unwrap().unwrap();
        }
    }
}

/// Reads answers until one has these flags; returns its prefix.
fn answer(zebra: &mut TcpStream, wanted: u32) -> [u8; 4] {
    loop {
        let mut header = [0; 4];
        zebra.read_exact(&mut header).unwrap();
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 4];
        zebra.read_exact(&mut body).unwrap();
        let message = Messages(&body).next().unwrap();
        let flags = u32::from_ne_bytes(message.body[8..12].try_into().unwrap());
        let (_, mut attributes) = message.split::<12>().unwrap();
        let prefix = attributes.find(|a| a.kind == 1).unwrap().value.try_into().unwrap();
        if flags == wanted {
            return prefix;
        }
    }
}

#[test]
fn routes_and_labels_are_in_force_and_acknowledged() {
    let lab = Lab::new();
    let mut zebra = lab.zebra();
    let told = [
        lsp(PORT, raw::NEWROUTE, 100, 200),
        object(PORT, 7, 1),
        route(PORT, raw::NEWROUTE, 1, 7),
        // Its object is not there.
        route(PORT, raw::NEWROUTE, 2, 8),
    ];
    zebra.write_all(&frames(&told)).unwrap();
    let label = lab.until("the label", |lab| lab.labels().into_iter().find(|l| l.in_force));
    assert_eq!((label.label, label.object.as_str()), (100, "fpm ldp"));
    assert_eq!(label.action, "via 192.0.2.1 dev eth0 labels 200");
    assert_eq!(answer(&mut zebra, 0x4000), [10, 0, 1, 0], "in the data plane");
    let fpm = lab.until("both answers", |lab| lab.fpm().filter(|fpm| fpm.failed == 1));
    assert_eq!((fpm.routes, fpm.nexthops, fpm.labels, fpm.acknowledged), (2, 1, 1, 1));
    // What was not in force is acknowledged when it is.
    zebra.write_all(&frames(&[object(PORT, 8, 1)])).unwrap();
    assert_eq!(answer(&mut zebra, 0x4000), [10, 0, 2, 0]);
    let states: Vec<_> = lab.routes().into_iter().filter(|r| r.source == "fpm bgp").collect();
    assert!(states.iter().all(|route| route.state == "in-force"), "{states:?}");
    assert_eq!(lab.status().unwrap().counts.labels, 1);
}

#[test]
fn a_connection_that_goes_wrong_loses_nothing_and_is_counted() {
    let lab = Lab::new();
    let mut zebra = lab.zebra();
    zebra.write_all(&frames(&[object(PORT, 7, 1), route(PORT, raw::NEWROUTE, 1, 7)])).unwrap();
    lab.until("the route", |lab| (lab.of_suite() == 1).then_some(()));
    zebra.write_all(b"nonsense").unwrap();
    let fpm = lab.until("the end", |lab| lab.fpm().filter(|fpm| fpm.peer.is_none()));
    assert_eq!((fpm.errors, fpm.routes), (1, 1));
    assert!(fpm.last_error.unwrap().contains("a frame of version 110"));
    assert_eq!(lab.of_suite(), 1, "still in force");
}

#[test]
fn without_fpm_in_the_files_nobody_listens_and_nothing_is_left() {
    let lab = Lab::new();
    let mut zebra = lab.zebra();
    zebra.write_all(&frames(&[object(PORT, 7, 1), route(PORT, raw::NEWROUTE, 1, 7)])).unwrap();
    lab.until("the route", |lab| (lab.of_suite() == 1).then_some(()));
    lab.write("Router", "{burst: 50}");
    lab.until("it is gone", |lab| (lab.of_suite() == 0).then_some(()));
    assert_eq!(lab.fpm(), None);
    assert!(lab.connect().is_none());
    let taken = TcpListener::bind(lab.address).unwrap();
    lab.write("Router", &format!("{{fpm: {{listen: '{}'}}}}", lab.address));
    let problem = lab.until("the problem", |lab| lab.status()?.problems.into_iter().next());
    assert!(problem.what.contains("cannot listen") && !lab.status().unwrap().is_well());
    drop(taken);
    lab.until("it listens again", |lab| lab.status()?.is_well().then_some(()));
}
