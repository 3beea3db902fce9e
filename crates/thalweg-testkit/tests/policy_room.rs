//! Policies that do not fit into their table: who has them is closed, and nobody else notices.

use std::net::IpAddr;
use thalweg_abi::policy::{allows, cause};
use thalweg_compile::{Cause, Compiler};
use thalweg_core::Tables as _;
use thalweg_core::flow::policy::{Talk, ask};
use thalweg_image::{Capacity, Memory, NoReaders, Plane as _, Writer, halves};
use thalweg_native::MemoryCells;
use thalweg_testkit::World;

const BIG: &str = "10.1.0.1";
const SMALL: &str = "10.1.0.2";
const OPEN: &str = "10.1.0.3";
const OUTSIDE: &str = "192.0.2.9";
const TCP: u8 = 6;

/// Three pods; one with a policy of so many ports, one with a policy of one.
fn files(ports: u16) -> String {
    let mut text = String::new();
    for (name, address) in [("big", BIG), ("small", SMALL), ("open", OPEN)] {
        text += &format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  \
             labels: {{app: {name}}}\n  annotations: {{thalweg.io/interface: veth-{name}}}\n\
             status: {{podIPs: [{{ip: {address}}}]}}\n---\n"
        );
    }
    let many = (1..=ports).map(|at| format!("{{port: {}}}", at * 2));
    let many = many.collect::<Vec<_>>().join(", ");
    for (name, ports) in [("big", &many[..]), ("small", "{port: 80}")] {
        text += &format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             podSelector: {{matchLabels: {{app: {name}}}}}\n  ingress: [{{ports: [{ports}]}}]\n---\n"
        );
    }
    text
}

/// Tables with room for so many lines, and what they were made by.
struct Bench {
    compiler: Compiler,
    writer: Writer,
    memory: Memory,
}

impl Bench {
    fn new(lines: u32) -> Self {
        let mut limits = World::new(0).intent.router.limits;
        limits.policy_lines = lines;
        let capacity = Capacity::for_limits(&thalweg_compile::table_limits(&limits));
        let memory = Memory::heap(&capacity);
        let writer = Writer::new(memory.clone(), Box::new(NoReaders));
        Self { compiler: Compiler::new(limits), writer, memory }
    }

    fn apply(&mut self, text: &str) {
        let loaded = thalweg_config::parse(&[("lab.yaml".into(), text.into())]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let mut intent = loaded.intent;
        intent.router.limits = self.compiler.limits().clone();
        self.compiler.set_policies(loaded.policies);
        self.compiler.set_intent(intent);
        let applied = self.writer.apply(&self.compiler.plan()).unwrap();
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    }

    /// Whether both sides allow, and what decides last.
    fn asks(&self, from: &str, to: &str, port: u16) -> (bool, Option<Cause>) {
        let cells = MemoryCells::new(self.memory.clone());
        let cells = cells.at(cells.epoch());
        let [source, destination] = [from, to].map(|ip| halves(ip.parse::<IpAddr>().unwrap()));
        let talk = Talk::plain(source, destination, 49_152 << 16 | u32::from(port));
        let [going, coming] = ask(&cells, &talk, 4, TCP, false);
        let last = if allows(going) { coming } else { going };
        (allows(going) && allows(coming), self.compiler.policy_cause(cause(last)).cloned())
    }

    fn problems(&self) -> Vec<String> {
        let all = self.compiler.problems().into_iter();
        all.filter(|one| one.what.contains("policies")).map(|one| one.to_string()).collect()
    }
}

#[test]
fn a_workload_without_room_is_closed_and_nobody_else_notices() {
    let (mut large, mut tight) = (Bench::new(1 << 15), Bench::new(512));
    for bench in [&mut large, &mut tight] {
        bench.apply(&files(4_000));
    }
    assert!(large.problems().is_empty() && large.compiler.policy_room().0 > 512);
    assert!(large.asks(OPEN, BIG, 80).0);
    let problems = tight.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("shop/big") && problems[0].contains("policyLines"),
        "{problems:?}"
    );
    let closed: Vec<_> = tight.compiler.policy_closed().map(ToString::to_string).collect();
    assert_eq!(closed, ["shop/big"]);
    for port in [79, 80, 81, 443, 8_000] {
        // Neither does it reach anybody, nor anybody it.
        for (from, to) in [(OPEN, BIG), (OUTSIDE, BIG), (BIG, OPEN), (BIG, OUTSIDE)] {
            assert_eq!(tight.asks(from, to, port), (false, Some(Cause::Closed)), "{from} {to}");
        }
        for (from, to) in [(OPEN, SMALL), (SMALL, OPEN), (OUTSIDE, SMALL), (OUTSIDE, OPEN)] {
            let told = tight.asks(from, to, port);
            assert_eq!(told, large.asks(from, to, port), "{from} {to} {port}");
            assert_eq!(told.0, to != SMALL || port == 80, "{from} {to} {port}");
        }
    }
    // With fewer rules it has room again.
    tight.apply(&files(40));
    assert!(tight.problems().is_empty() && tight.compiler.policy_closed().next().is_none());
    assert_eq!((tight.asks(OPEN, BIG, 80).0, tight.asks(OPEN, BIG, 81).0), (true, false));
    assert!(tight.asks(BIG, OPEN, 1).0);
}

#[test]
fn pods_of_this_node_that_nobody_guards_are_told() {
    let mut bench = Bench::new(1 << 15);
    let on = |text: &str| text.replace("status: {podIPs", "spec: {nodeName: n1}\nstatus: {podIPs");
    let here = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\n\
                spec: {node: n1}\n---\n";
    let bare = |text: &str, pod: &str| {
        text.replace(&format!("  annotations: {{thalweg.io/interface: veth-{pod}}}\n"), "")
    };
    bench.apply(&format!("{here}{}", on(&files(2))));
    assert_eq!(bench.problems(), [""; 0]);
    let small = bare(&on(&files(2)), "small");
    bench.apply(&format!("{here}{small}"));
    let problems = bench.problems();
    let says = |text: &str| problems.len() == 1 && problems[0].contains(text);
    assert!(says("shop/small: metadata.annotations: no interface of it is known"), "{problems:?}");
    bench.apply(&format!("{here}{}", bare(&small, "big")));
    let problems = bench.problems();
    let says = |text: &str| problems.len() == 1 && problems[0].contains(text);
    assert!(says("shop/big") && says("of it and of 1 more pods"), "{problems:?}");
    // On another node, others guard them.
    bench.apply(&format!("{}{small}", here.replace("n1", "n2")));
    assert_eq!(bench.problems(), [""; 0]);
    // Without policies there is nothing to ask.
    let pods = small.split("apiVersion: networking.k8s.io").next().unwrap();
    bench.apply(&format!("{here}{pods}"));
    assert_eq!(bench.problems(), [""; 0]);
}
