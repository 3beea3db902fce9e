//! Writes the objects of a large cluster into a directory, and tells how long they take to read:
//! `cargo run --release -p thalweg-config --example cluster -- DIR [SERVICES [ENDPOINTS]]`.
//!
//! Objects look as `kubectl get -o yaml` prints them, 5,000 to a file.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

const PER_FILE: u32 = 5_000;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(dir) = words.first().map(Path::new) else {
        eprintln!("usage: cluster DIR [SERVICES [ENDPOINTS]]");
        return Ok(());
    };
    let number =
        |at: usize, usual| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    let (services, endpoints) = (number(1, 50_000u32), number(2, 10u32));
    fs::create_dir_all(dir)?;
    let mut octets = 0;
    for first in (0..services).step_by(PER_FILE as usize) {
        let numbers = first..services.min(first + PER_FILE);
        let mut text = String::from("apiVersion: v1\nitems:\n");
        numbers.clone().for_each(|number| service(number, &mut text));
        text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
        octets += text.len();
        fs::write(dir.join(format!("services-{first}.yaml")), text)?;
        let mut text = String::from("apiVersion: v1\nitems:\n");
        numbers.for_each(|number| slice(number, endpoints, &mut text));
        text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
        octets += text.len();
        fs::write(dir.join(format!("slices-{first}.yaml")), text)?;
    }
    for round in 0..3 {
        let start = Instant::now();
        let loaded = thalweg_config::load(dir);
        let took = start.elapsed();
        let cluster = &loaded.intent.cluster;
        let count: usize = cluster.slices.values().map(|slice| slice.endpoints.len()).sum();
        println!(
            "round {round}: {} services, {} slices, {count} endpoints, {} problems, {:.1} MB in {took:.2?}",
            cluster.services.len(),
            cluster.slices.len(),
            loaded.problems.len(),
            octets as f64 / 1e6,
        );
        if let Some(first) = loaded.problems.first() {
            println!("  first: {first}");
        }
    }
    Ok(())
}

fn service(number: u32, text: &mut String) {
    let (high, low) = (number >> 8, number & 255);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: \"2026-01-02T03:04:05Z\"
    labels:
      app: web-{number}
    name: web-{number}
    namespace: team-{}
    resourceVersion: \"{number}\"
    uid: 6f1d7b3e-0000-4000-8000-{number:012x}
  spec:
    clusterIP: 10.{}.{}.{low}
    clusterIPs:
    - 10.{}.{}.{low}
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 8080
    selector:
      app: web-{number}
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {{}}
",
        number % 100,
        96 + (high >> 8),
        high & 255,
        96 + (high >> 8),
        high & 255,
    );
}

fn slice(number: u32, endpoints: u32, text: &mut String) {
    let _ = write!(
        text,
        "- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
"
    );
    for one in 0..endpoints {
        let address = number * endpoints + one;
        let _ = write!(
            text,
            "  - addresses:
    - 10.{}.{}.{}
    conditions:
      ready: true
      serving: true
      terminating: false
    nodeName: node-{}
    targetRef:
      kind: Pod
      name: web-{number}-{one}
      namespace: team-{}
      uid: 7f1d7b3e-0000-4000-8000-{address:012x}
    zone: zone-{}
",
            128 + (address >> 16),
            address >> 8 & 255,
            address & 255,
            address % 500,
            number % 100,
            address % 3,
        );
    }
    let _ = write!(
        text,
        "  kind: EndpointSlice
  metadata:
    creationTimestamp: \"2026-01-02T03:04:05Z\"
    generateName: web-{number}-
    labels:
      endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
      kubernetes.io/service-name: web-{number}
    name: web-{number}-abcde
    namespace: team-{}
  ports:
  - name: http
    port: 8080
    protocol: TCP
",
        number % 100,
    );
}
