//! What of services and flows can be seen, on tables in memory: flows are rows that the test writes.

use expect_test::expect;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thalweg_abi::TableId;
use thalweg_abi::flow::{WORDS, kind, slot, state, tail, word};
use thalweg_agent::{DataPlane, HostSource, MemoryPlane, Parts, Settings};

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
- {name: vp1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}
addresses:
- {address: 192.0.2.1/24, dev: eth0}
routes:
- {prefix: 192.0.2.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
";

const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec: {node: worker-1, limits: {flows: 4096, ringSlots: 1048576}}
---
apiVersion: v1
kind: Pod
metadata:
  name: one
  namespace: shop
  annotations: {thalweg.io/interface: vp1}
status: {podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, nodePort: 30080, protocol: TCP}
  - {name: odd, port: 81, protocol: SCTP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {name: http, port: 8080, protocol: TCP}
endpoints:
- {addresses: [10.1.0.3], nodeName: worker-1}
- {addresses: [10.1.0.4], nodeName: worker-2}
- {addresses: [10.1.0.5], nodeName: worker-2, conditions: {ready: false}}
- {addresses: [10.1.0.6], conditions: {ready: false, serving: false, terminating: true}}
";

/// Stores a word of a table.
type Store = Box<dyn Fn(TableId, usize, u64) + Send>;

/// An agent on tables in memory. It ends with the process.
struct Lab {
    dir: tempfile::TempDir,
    store: Arc<Mutex<Option<Store>>>,
}

/// A flow as its row says.
#[derive(Clone, Copy)]
struct Flow {
    source: (u32, u16),
    destination: (u32, u16),
    backend: (u32, u16),
    id: u64,
    state: u8,
}

const POD: u32 = 0x0a01_0002;
const VIP: u32 = 0x0a60_000a;

impl Lab {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("host.yaml"), HOST).unwrap();
        let lab = Self { dir, store: Arc::default() };
        lab.write(config);
        let host = thalweg_agent::offline::read_host(&lab.path().join("host.yaml")).unwrap();
        let settings = Settings {
            socket: lab.path().join("sock"),
            state: Some(lab.path().join("state")),
            ..Settings::new(lab.path().join("etc"), "lab")
        };
        let store = lab.store.clone();
        let opener = Box::new(move |limits: &_| {
            let plane = MemoryPlane::new(limits);
            let memory = plane.memory().clone();
            *store.lock().unwrap() = Some(Box::new(move |table, at, value| {
                memory.words(table)[at].store(value, std::sync::atomic::Ordering::SeqCst);
            }));
            Ok(Box::new(plane) as Box<dyn DataPlane>)
        });
        let host = HostSource::Fixed(Box::new(host));
        std::thread::spawn(move || {
            thalweg_agent::run(settings, Parts { opener, host, stop: None })
        });
        lab.until(|| lab.run(&["status"]).contains("in force, generation 1"));
        lab
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, config: &str) {
        fs::write(self.path().join("etc/config.yaml"), config).unwrap();
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line).args(["--socket", "sock"]).current_dir(self.path());
        command
    }

    /// Output, errors and exit code.
    fn run(&self, line: &[&str]) -> String {
        let output = self.command(line).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let text = text(&output.stdout) + &text(&output.stderr);
        let text = text.replace(&self.path().display().to_string(), "LAB");
        format!("{text}exit {}\n", output.status.code().unwrap_or(-1))
    }

    fn json(&self, line: &[&str]) -> serde_json::Value {
        let line = [line, &["-o", "json"]].concat();
        serde_json::from_slice(&self.command(&line).output().unwrap().stdout).unwrap()
    }

    #[track_caller]
    fn until(&self, wished: impl Fn() -> bool) {
        let start = Instant::now();
        while !wished() {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", self.run(&["status"]));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn store(&self, table: TableId, at: usize, value: u64) {
        self.store.lock().unwrap().as_ref().unwrap()(table, at, value);
    }

    /// Writes the row of one direction of a flow.
    fn put(&self, at: usize, flow: &Flow) {
        let ports = |a: u16, b: u16| u32::from(a) << 16 | u32::from(b);
        let mut row = [0; WORDS];
        row[word::SOURCE + 1] = u64::from(flow.source.0);
        row[word::DESTINATION + 1] = u64::from(flow.destination.0);
        row[word::TAIL] = tail(ports(flow.source.1, flow.destination.1), 0, 6, 4);
        row[word::NEW_SOURCE + 1] = u64::from(flow.source.0);
        row[word::NEW_DESTINATION + 1] = u64::from(flow.backend.0);
        let ports = u64::from(ports(flow.source.1, flow.backend.1));
        row[word::REWRITE] = ports << 32 | u64::from(kind::REWRITES | kind::SERVICE);
        row[word::STATE] = u64::from(flow.state) | 3 << 32;
        row[word::OCTETS] = 321;
        let clock = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        row[word::SEEN] = 3_600 << 32 | clock.tv_sec as u64;
        row[word::BACKEND] = flow.id;
        for (word, value) in row.into_iter().enumerate() {
            self.store(TableId::Flows, at * WORDS + word, value);
        }
        self.store(TableId::FlowSlots, at, slot::LIVE | 1);
    }

    fn take(&self, at: usize) {
        self.store(TableId::FlowSlots, at, slot::EMPTY);
    }

    /// A flow from the pod through the service to one of its backends.
    fn flow(&self, port: u16, backend: &str) -> Flow {
        let backends = self.json(&["get", "backends"]);
        let found = backends.as_array().unwrap().iter().find(|b| b["backend"] == backend).unwrap();
        let address: std::net::SocketAddrV4 = backend.parse().unwrap();
        Flow {
            source: (POD, port),
            destination: (VIP, 80),
            backend: (address.ip().to_bits(), address.port()),
            id: u64::from_str_radix(found["id"].as_str().unwrap(), 16).unwrap(),
            state: state::ESTABLISHED,
        }
    }
}

#[test]
fn a_service_is_described_with_all_that_belongs_to_it() {
    let lab = Lab::new(CONFIG);
    lab.put(7, &lab.flow(40_000, "10.1.0.3:8080"));
    lab.put(9, &lab.flow(40_001, "10.1.0.3:8080"));
    expect![[r#"
        service shop/web
          In force:                yes
          Type:                    NodePort
          Affinity:                ClientIP, 10800 s
          External traffic policy: Local
          Flows:                   2
        Frontends
          http 10.96.0.10:80/TCP ClusterIP, backends: 2 internal, 2 external
          odd 10.96.0.10:81/SCTP ClusterIP, backends: 0 internal, 0 external: new flows are refused
          http 192.0.2.1:30080/TCP NodePort, backends: 2 internal, 1 external
        Backends
          http 10.1.0.3:8080/TCP serving on worker-1, 50.0 % of new flows, 2 flows
          http 10.1.0.4:8080/TCP serving on worker-2, 50.0 % of new flows, 0 flows
        Endpoints that are no backends
          10.1.0.5 on worker-2: not ready (EndpointSlice/shop/web-1)
          10.1.0.6: terminating (EndpointSlice/shop/web-1)
        exit 0
    "#]]
    .assert_eq(&lab.run(&["describe", "service", "shop/web"]));
    let view = lab.json(&["describe", "service", "shop/web"]);
    assert_eq!(view["backends"][0]["flows"], 2, "{view:#}");
    assert_eq!(view["frontends"][0]["frontend"], "10.96.0.10:80", "{view:#}");
    // Lists may be asked about one service as well.
    for (list, lines) in [("services", 3), ("backends", 2)] {
        let all = lab.run(&["get", list]);
        assert_eq!(lab.run(&["get", list, "--service", "shop/web"]), all, "there is no other one");
        assert_eq!(all.lines().filter(|line| line.starts_with("shop/web")).count(), lines, "{all}");
        let missing = lab.run(&["get", list, "--service", "shop/none"]);
        assert!(missing.contains("there is no service `shop/none`"), "{missing}");
    }
    let links = lab.run(&["get", "links", "--service", "shop/web"]);
    assert!(links.contains("--service goes with `thalweg get services|backends|flows`"), "{links}");
    let missing = lab.run(&["describe", "service", "web"]);
    assert!(
        missing.contains("there is no service `default/web`; `thalweg get services`"),
        "{missing}"
    );
    assert!(missing.ends_with("exit 1\n"), "{missing}");
    // One that is wrong is set aside, and says why.
    lab.write(&CONFIG.replace("sessionAffinity: ClientIP", "sessionAffinity: Often"));
    lab.until(|| lab.run(&["describe", "service", "shop/web"]).contains("In force: no"));
    let told = lab.run(&["describe", "service", "shop/web"]);
    assert!(told.contains("Often"), "{told}");
}

#[test]
fn who_is_in_no_source_range_is_told_so() {
    let ranges = "type: NodePort\n  loadBalancerSourceRanges: [198.51.100.0/24, 10.0.0.0/8]";
    let lab = Lab::new(&CONFIG.replace("type: NodePort", ranges));
    let told = lab.run(&["explain", "eth0 < ip 203.0.113.9 > 192.0.2.1 tcp 5 > 30080 syn"]);
    let wished = "flow      new\n\
                  service   shop/web at 192.0.2.1:30080/TCP (NodePort): not for this client, who is in none \
                  of its source ranges: 198.51.100.0/24, 10.0.0.0/8\n\
                  verdict   drop source-range";
    assert!(told.contains(wished), "{told}");
}

#[test]
fn flows_are_followed_until_the_reader_goes() {
    let lab = Lab::new(CONFIG);
    let mut flow = lab.flow(40_000, "10.1.0.3:8080");
    lab.put(7, &flow);
    let line = ["flows", "-f", "--service", "shop/web", "--from", "pod/shop/one", "-o", "json"];
    let mut child = lab.command(&line).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = move || -> serde_json::Value {
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    // What is there at first is no news, so something has to come after it.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_millis(1_500) {
        std::thread::sleep(Duration::from_millis(50));
    }
    flow.source.1 = 40_001;
    flow.state = state::SYN;
    lab.put(9, &flow);
    let told = next();
    assert_eq!((&told["change"], &told["source"]), (&"begun".into(), &"10.1.0.2:40001".into()));
    assert_eq!(told["newDestination"], "10.1.0.3:8080", "{told}");
    assert_eq!(told["service"], "shop/web", "{told}");
    assert!(told["at"].as_str().unwrap().ends_with('Z'), "{told}");
    flow.state = state::ESTABLISHED;
    lab.put(9, &flow);
    let told = next();
    assert_eq!((&told["before"], &told["state"]), (&"syn-sent".into(), &"established".into()));
    lab.take(9);
    let told = next();
    assert_eq!((&told["change"], &told["octets"]), (&"ended".into(), &321.into()));
    // Nobody reads any more: the next line ends it, and that is no error.
    drop(next);
    lab.put(9, &flow);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn flows_are_listed_and_followed_by_the_same_words() {
    let lab = Lab::new(CONFIG);
    lab.put(7, &lab.flow(40_000, "10.1.0.4:8080"));
    let line = ["--service", "shop/web", "--state", "established"];
    let listed = lab.run(&[&["flows"], &line[..]].concat());
    assert!(
        listed.contains("10.1.0.2:40000  10.96.0.10:80  > 10.1.0.4:8080  established"),
        "{listed}"
    );
    assert_eq!(listed, lab.run(&[&["get", "flows"], &line[..]].concat()));
    for (line, words) in [
        (&["flows", "-f", "--from", "pod/shop/nobody"][..], "there is no pod `shop/nobody`"),
        (&["flows", "-f", "--service", "no"], "there is no service `default/no`"),
        (&["flows", "-f", "--interval", "2h"], "choose a time from 100 ms to 3600 s"),
        (&["flows", "--interval", "2s"], "--follow"),
        (&["flows", "--state", "asleep"], "flows have no state `asleep`; choose one of new,"),
        (&["flows", "-f", "--state", "asleep"], "flows have no state `asleep`"),
        (&["flows", "-f", "--limit", "2"], "--limit"),
    ] {
        let told = lab.run(line);
        assert!(told.contains(words) && !told.ends_with("exit 0\n"), "{line:?}: {told}");
    }
}

#[test]
fn metrics_tell_flows_of_services_and_backends() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("spec: {{metrics: {{listen: {}}}, node", free.port());
    let lab = Lab::new(&CONFIG.replace("spec: {node", &listen));
    lab.put(7, &lab.flow(40_000, "10.1.0.3:8080"));
    lab.put(9, &lab.flow(40_001, "10.1.0.3:8080"));
    let mut stream = TcpStream::connect(free).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let backend = "{service=\"shop/web\",port=\"http\",protocol=\"TCP\",backend=\"10.1.0.3:8080\"}";
    for line in [
        "thalweg_flow_rows 8192.0",
        "thalweg_flow_rows_used 2.0",
        "thalweg_flows_translated 0.0",
        "thalweg_nat_ports 13616.0",
        "thalweg_table_used{table=\"flows\"} 2.0",
        "thalweg_service_flows{service=\"shop/web\"} 2.0",
        &format!("thalweg_backend_flows{backend} 2.0"),
        &format!("thalweg_backend_share{backend} 0.50"),
        "thalweg_services_left_out 0.0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_table_of_flows_that_fills_up_is_a_warning_until_there_is_room_again() {
    let lab = Lab::new(CONFIG);
    let flow = lab.flow(40_000, "10.1.0.3:8080");
    let full = || lab.run(&["status"]).contains("the table of flows is 85 % full");
    let warned = || lab.run(&["status"]).contains("the table of flows is");
    assert!(lab.run(&["status"]).contains("0.0% of 8192 rows in use") && !warned());
    (0..7_000).for_each(|at| lab.put(at, &flow));
    lab.until(full);
    let tables = lab.json(&["get", "tables"]);
    let table = tables.as_array().unwrap().iter().find(|table| table["name"] == "flows");
    assert_eq!(table.unwrap()["used"], 7_000);
    (0..3_000).for_each(|at| lab.take(at));
    lab.until(|| !warned());
    let events = lab.run(&["events"]);
    let told: Vec<_> = events.lines().filter(|line| line.contains("table flows:")).collect();
    assert_eq!(told.len(), 2, "{events}");
    assert!(told[0].contains("warning") && told[0].ends_with("more than 80 %"), "{events}");
    assert!(told[1].contains("info") && told[1].ends_with("less than 70 %"), "{events}");
}

#[test]
fn what_many_services_lack_is_told_once() {
    let service = |number: u32| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number:02}, namespace: far}}\n\
             spec:\n  clusterIP: 10.96.1.{number}\n  clusterIPs: [10.96.1.{number}]\n  \
             externalIPs: [203.0.113.9]\n  ports: [{{port: 81}}]\n"
        )
    };
    let lab = Lab::new(&(CONFIG.to_owned() + &(0..20).map(service).collect::<String>()));
    let status = lab.run(&["status"]);
    let told: Vec<_> = status.lines().filter(|line| line.contains("203.0.113.9")).collect();
    assert_eq!(told.len(), 1, "{status}");
    assert!(told[0].contains("Service/far/s01") && told[0].contains("(and 18 more: far/s02"));
    assert!(status.ends_with("exit 1\n"), "{status}");
    let described = lab.run(&["describe", "service", "far/s07"]);
    assert!(
        described.contains("error: Service/far/s07: 203.0.113.9:81/TCP already belongs to"),
        "{described}"
    );
    let services = lab.json(&["get", "services"]);
    let problems = |name: &str| {
        let found = services.as_array().unwrap().iter().find(|view| view["service"] == name);
        found.unwrap()["problems"].as_u64()
    };
    assert_eq!((problems("far/s07"), problems("shop/web")), (Some(1), Some(0)));
}
