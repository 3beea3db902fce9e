//! Quotas of flows with real sockets: one pod floods, and another goes on connecting.

mod lab;

use lab::pods::{Pods, pod};
use lab::sockets::{LONG, connect, inside};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

const PODS: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
/// Flows that a pod may have begun.
const QUOTA: usize = 100;

fn config() -> String {
    let mut text = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: Link\nmetadata: {{name: uplinks}}\n\
         spec: {{interfaces: [eth0, eth1]}}\n---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\n\
         metadata: {{name: router}}\n\
         spec: {{limits: {{flows: 16384, ringSlots: 65536}}, flows: {{perWorkload: {QUOTA}, \
         timeouts: {{udp: 3s}}}}}}\n"
    );
    for (number, address) in PODS.iter().enumerate() {
        text += &pod(number, address, "");
    }
    text
}

/// How many packets were dropped for a quota.
fn dropped(pods: &Pods) -> u64 {
    let told = pods.lab.text(&["get", "drops"]);
    let line = told.lines().find(|line| line.contains("flow-quota"));
    line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok()).unwrap_or(0)
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < 8 * LONG, "{what}");
        std::thread::sleep(LONG / 40);
    }
}

#[test]
fn a_pod_that_floods_uses_up_its_own_flows_alone() {
    let Some(mut pods) = Pods::new("fq", &PODS) else { return };
    fs::write(pods.lab.config(), config()).unwrap();
    for pod in PODS {
        // The server answers pods without any translation.
        lab::ip(&format!("-n {}b route replace {pod} via 10.0.1.1", pods.lab.name)).unwrap();
    }
    if !pods.lab.start() {
        return;
    }
    pods.serve("b", 8080, |mut stream: TcpStream, _: SocketAddr| {
        let mut octets = [0; 16];
        let _ = stream.read(&mut octets).and_then(|len| stream.write_all(&octets[..len]));
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            inside(&pods.namespace("p0"), || {
                let socket = UdpSocket::bind("10.9.0.2:4000").unwrap();
                let mut sent = 0_u64;
                while !stop.load(SeqCst) {
                    let port = 10_000 + (sent % 20_000) as u16;
                    let _ = socket.send_to(b"flood", ("10.0.1.254", port));
                    sent += 1;
                    if sent.is_multiple_of(64) {
                        std::thread::sleep(LONG / 1000);
                    }
                }
            });
        });
        wait("nothing is dropped", || dropped(&pods) > 1_000);
        // The other pod connects as if nothing were.
        for number in 0..50 {
            let mut stream = inside(&pods.namespace("p1"), || connect("10.0.1.254:8080")).unwrap();
            let mut heard = [0; 5];
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"hello", "connection {number}");
        }
        // The pod that floods gets nothing new, and is named.
        let refused = inside(&pods.namespace("p0"), || connect("10.0.1.254:8080"));
        assert!(refused.is_err(), "a flow beyond the quota");
        let flows = pods.lab.text(&["get", "flows", "--from", "pod/shop/p0"]);
        let begun = flows.lines().filter(|line| line.contains(" 10.9.0.2:4000 ")).count();
        assert!((QUOTA * 9 / 10..=2 * QUOTA).contains(&begun), "{begun}\n{flows}");
        wait("status names nobody", || {
            let told = pods.lab.text(&["status"]);
            told.contains("Pod/shop/p0") && told.contains("flow-quota")
        });
        let told = pods.lab.text(&["events"]);
        assert!(told.contains("Pod/shop/p0") && !told.contains("Pod/shop/p1"), "{told}");
        stop.store(true, SeqCst);
        flood.join().unwrap();
    });
    // Its flows end by themselves, and it may begin others.
    wait("it is refused for ever", || {
        inside(&pods.namespace("p0"), || connect("10.0.1.254:8080")).is_ok()
    });
    wait("the status remembers it", || !pods.lab.text(&["status"]).contains("flow-quota"));
}
