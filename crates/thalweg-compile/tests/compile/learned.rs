//! What a routing suite tells beside the kernel, and labels that no file names.

use crate::fixture::{World, world};
use crate::maps::Maps;
use thalweg_abi::{IlmWord, VrfId};
use thalweg_compile::{Compiler, RouteState};
use thalweg_image::{Change, Failure};
use thalweg_model::FpmUpdate;
use thalweg_model::host::{LabelRoute, NextHop, RouteKey, Update};

const LINKS: &str = "
    link 1 lo medium loopback
    link 2 eth0
    link 3 eth1
    addr eth0 10.0.0.1/24
    addr eth1 10.0.1.1/24
    kernel 10.0.0.0/24 proto kernel nexthop dev eth0
    kernel 10.0.1.0/24 proto kernel nexthop dev eth1
    neigh 10.0.0.254 eth0 02:00:00:00:01:fe
    neigh 10.0.1.254 eth1 02:00:00:00:02:fe
    ours eth* mpls
";

/// A compiler with the plane it feeds.
struct Bench {
    world: World,
    compiler: Compiler,
    maps: Maps,
}

impl Bench {
    fn new(text: &str) -> Self {
        let world = world(&format!("{LINKS}{text}"));
        let mut compiler = Compiler::new(world.intent.router.limits.clone());
        compiler.load_host(world.host.clone());
        compiler.set_intent(world.intent.clone());
        let mut bench = Self { world, compiler, maps: Maps::default() };
        bench.plan();
        bench
    }

    fn plan(&mut self) -> Vec<Change> {
        let plan = self.compiler.plan();
        self.maps.apply(&plan);
        plan.changes
    }

    fn tell(&mut self, update: Update) -> Vec<Change> {
        self.compiler.update_host(update);
        self.plan()
    }

    /// A line as the kernel says it, said by the suite.
    fn fpm(&mut self, line: &str) -> Vec<Change> {
        let update = match self.world.update(line) {
            Update::Route(key, route) => FpmUpdate::Route(key, route),
            Update::NextHop(id, object) => FpmUpdate::NextHop(id, object),
            other => panic!("no word of a suite: {other:?}"),
        };
        self.tell(Update::Fpm(update))
    }

    fn key(&self, line: &str) -> RouteKey {
        match self.world.update(line) {
            Update::Route(key, _) => key,
            other => panic!("no route: {other:?}"),
        }
    }

    /// Who offers a prefix, best first: source, whether in force, what it does.
    fn offers(&self, prefix: &str) -> Vec<String> {
        let routes = self.compiler.routes_of("default", prefix.parse().unwrap());
        let words = routes.into_iter().map(|route| {
            let state = if route.state == RouteState::InForce { "*" } else { "" };
            let origin = format!("{:?}", route.origin);
            let source = origin.split([' ', '(']).next().unwrap().to_lowercase();
            format!("{state}{source} {}", route.action)
        });
        words.collect()
    }

    fn word(&self, label: u32) -> IlmWord {
        let view =
            self.compiler.labels().into_iter().find(|l| l.label == label && l.word.is_some());
        view.and_then(|view| view.word).unwrap_or_default()
    }

    fn label(&self, label: u32) -> Vec<String> {
        let views = self.compiler.labels().into_iter().filter(|view| view.label == label);
        let words = views.map(|view| {
            let mark = if view.word.is_some() { "*" } else { "" };
            format!("{mark}{} {}", view.object.name, view.action)
        });
        words.collect()
    }
}

fn hop(link: u32, via: Option<&str>, labels: &[u32]) -> NextHop {
    NextHop {
        via: via.map(|via| via.parse().unwrap()),
        link,
        weight: 1,
        labels: labels.to_vec(),
        ttl: None,
        encap: None,
        onlink: false,
        dead: false,
    }
}

fn lsp(protocol: &str, nexthops: &[NextHop]) -> LabelRoute {
    LabelRoute { protocol: protocol.into(), nexthops: nexthops.to_vec(), propagate: None }
}

fn told(label: u32, route: LabelRoute) -> Update {
    Update::Fpm(FpmUpdate::Label(label, route))
}

#[test]
fn a_prefix_that_both_tell_counts_once_and_follows_the_suite() {
    let kernel = "kernel 10.5.0.0/16 proto bgp metric 20 nexthop via 10.0.0.254 dev eth0";
    let suite = "kernel 10.5.0.0/16 proto bgp metric 20 nexthop via 10.0.1.254 dev eth1";
    let mut bench = Bench::new(kernel);
    let before = bench.compiler.vrfs()[0].ipv4;
    assert_eq!(bench.offers("10.5.0.0/16"), ["*kernel via 10.0.0.254 dev eth0"]);
    bench.fpm(suite);
    assert_eq!(bench.compiler.vrfs()[0].ipv4, before, "one prefix, however many tell of it");
    let both = ["*fpm via 10.0.1.254 dev eth1", "kernel via 10.0.0.254 dev eth0"];
    assert_eq!(bench.offers("10.5.0.0/16"), both);
    let key = bench.key(suite);
    assert!(bench.compiler.follows_fpm(&key));
    // The kernel's copy goes and comes without a word to the data plane.
    assert!(bench.tell(Update::RouteGone(key.clone())).is_empty());
    let again = bench.world.update(kernel);
    assert!(bench.tell(again).is_empty());
    bench.tell(Update::Fpm(FpmUpdate::RouteGone(key.clone())));
    assert_eq!(bench.offers("10.5.0.0/16"), ["*kernel via 10.0.0.254 dev eth0"]);
    assert!(!bench.compiler.follows_fpm(&key));
}

#[test]
fn the_same_route_from_both_changes_nothing_in_the_data_plane() {
    let line = "kernel 10.5.0.0/16 proto bgp metric 20 nexthop via 10.0.0.254 dev eth0";
    let mut bench = Bench::new(line);
    assert!(bench.fpm(line).is_empty());
    assert!(bench.compiler.follows_fpm(&bench.key(line)));
}

#[test]
fn a_better_metric_wins_whoever_tells_it() {
    let mut bench = Bench::new("kernel 10.5.0.0/16 metric 5 nexthop via 10.0.0.254 dev eth0");
    let suite = "kernel 10.5.0.0/16 proto bgp metric 20 nexthop via 10.0.1.254 dev eth1";
    bench.fpm(suite);
    let both = ["*kernel via 10.0.0.254 dev eth0", "fpm via 10.0.1.254 dev eth1"];
    assert_eq!(bench.offers("10.5.0.0/16"), both);
    assert!(!bench.compiler.follows_fpm(&bench.key(suite)));
}

#[test]
fn objects_of_the_suite_are_not_the_kernels() {
    let mut bench = Bench::new(
        "object 7 nexthop via 10.0.0.254 dev eth0
         kernel 10.5.0.0/16 metric 20 nhid 7",
    );
    bench.fpm("kernel 10.6.0.0/16 metric 20 nhid 7");
    let key = bench.key("kernel 10.6.0.0/16 metric 20 nhid 7");
    assert!(!bench.compiler.follows_fpm(&key), "its object 7 was not told yet");
    let problems = bench.compiler.problems();
    let problem = problems.iter().find(|p| p.what.contains("10.6.0.0/16")).unwrap();
    assert_eq!((problem.origin.file.as_str(), &problem.remedy[..4]), ("fpm", "`sho"));
    bench.fpm("object 7 nexthop via 10.0.1.254 dev eth1");
    assert!(bench.compiler.follows_fpm(&key));
    assert_eq!(bench.offers("10.5.0.0/16"), ["*kernel via 10.0.0.254 dev eth0"]);
    assert_eq!(bench.offers("10.6.0.0/16"), ["*fpm via 10.0.1.254 dev eth1"]);
    // A change of the object re-issues its group and touches no route.
    let changes = bench.fpm("object 7 nexthop via 10.0.0.254 dev eth0");
    assert!(!changes.iter().any(|change| matches!(change, Change::Route4(..))), "{changes:?}");
    bench.fpm("object 8 nexthop via 10.0.1.254 dev eth1");
    bench.fpm("object 9 group 7,8*3");
    bench.fpm("kernel 10.6.0.0/16 metric 20 nhid 9");
    assert!(bench.offers("10.6.0.0/16")[0].contains("weight 3"));
    assert!(bench.compiler.problems().is_empty(), "{:?}", bench.compiler.problems());
}

#[test]
fn routes_that_do_not_fit_are_not_followed() {
    let mut bench = Bench::new("");
    let line = "kernel 10.5.0.0/16 metric 20 nexthop via 10.0.0.254 dev eth0";
    let changes = bench.fpm(line);
    let change = changes.into_iter().find(|c| matches!(c, Change::Route4(..))).unwrap();
    let table = thalweg_abi::TableId::Fib4Leaves;
    bench.compiler.refused(&[Failure { change, table, used: 1, capacity: 1 }]);
    assert!(!bench.compiler.follows_fpm(&bench.key(line)));
}

#[test]
fn labels_are_swapped_popped_and_looked_up() {
    let mut bench = Bench::new("");
    bench.tell(told(100, lsp("ldp", &[hop(2, Some("10.0.0.254"), &[200])])));
    bench.tell(told(101, lsp("ldp", &[hop(3, Some("10.0.1.254"), &[])])));
    bench.tell(told(102, lsp("bgp", &[hop(1, None, &[])])));
    bench.tell(Update::Label(103, lsp("static", &[hop(2, Some("10.0.0.254"), &[300, 301])])));
    assert_eq!(bench.label(100), ["*fpm ldp via 10.0.0.254 dev eth0 labels 200"]);
    assert_eq!(bench.label(101), ["*fpm ldp via 10.0.1.254 dev eth1"]);
    assert_eq!(bench.label(102), ["*fpm bgp lookup vrf default"]);
    assert_eq!(bench.label(103), ["*kernel static via 10.0.0.254 dev eth0 labels 300/301"]);
    assert!(bench.word(100).is_forward() && bench.word(101).is_forward());
    assert_eq!(bench.word(102), IlmWord::lookup(VrfId(0), IlmWord::LINK));
    assert_eq!(bench.compiler.label_count(), 4);
    let wanted = bench.compiler.own_gateways();
    assert!(wanted.contains(&(2, "10.0.0.254".parse().unwrap())), "nobody else resolves it");
    for label in [100, 101, 102] {
        bench.tell(Update::Fpm(FpmUpdate::LabelGone(label)));
        assert_eq!((bench.label(label).len(), bench.word(label)), (0, IlmWord::default()));
    }
    bench.tell(Update::LabelGone(103));
    assert!(bench.compiler.labels().is_empty());
}

#[test]
fn a_vrf_device_is_a_lookup_and_follows_its_table() {
    let mut bench = Bench::new("");
    bench.tell(told(100, lsp("bgp", &[hop(9, None, &[])])));
    assert!(bench.word(100).is_forward(), "there is no link 9 yet");
    let device = bench.world.update("link 9 red table 1000");
    bench.tell(device);
    let red = bench.compiler.vrfs().into_iter().find(|vrf| vrf.name == "red").unwrap();
    assert_eq!(bench.word(100), IlmWord::lookup(red.id, IlmWord::LINK));
    let mut pipe = lsp("bgp", &[hop(9, None, &[])]);
    pipe.propagate = Some(false);
    bench.tell(told(100, pipe));
    assert_eq!(bench.word(100), IlmWord::lookup(red.id, IlmWord::PIPE));
}

#[test]
fn files_win_over_the_suite_and_the_suite_over_the_kernel() {
    let mut bench = Bench::new("label 100 nexthop via 10.0.0.254 dev eth0 labels 900");
    bench.tell(Update::Label(100, lsp("static", &[hop(3, Some("10.0.1.254"), &[700])])));
    bench.tell(told(100, lsp("ldp", &[hop(3, Some("10.0.1.254"), &[800])])));
    let mark = |bench: &Bench| -> String {
        let all = bench.label(100);
        all.into_iter().find(|line| line.starts_with('*')).unwrap_or_default()
    };
    assert_eq!(mark(&bench), "*100 via 10.0.0.254 dev eth0 labels 900");
    let mut intent = bench.world.intent.clone();
    intent.labels.clear();
    bench.compiler.set_intent(intent);
    bench.plan();
    assert_eq!(mark(&bench), "*fpm ldp via 10.0.1.254 dev eth1 labels 800");
    bench.tell(Update::Fpm(FpmUpdate::LabelGone(100)));
    assert_eq!(mark(&bench), "*kernel static via 10.0.1.254 dev eth1 labels 700");
    bench.compiler.set_intent(bench.world.intent.clone());
    bench.plan();
    assert_eq!(mark(&bench), "*100 via 10.0.0.254 dev eth0 labels 900");
}

#[test]
fn labels_that_cannot_be_are_named() {
    let mut bench = Bench::new("");
    let limit = bench.compiler.limits().labels;
    bench.tell(told(limit + 5, lsp("ldp", &[hop(2, Some("10.0.0.254"), &[])])));
    bench.tell(told(101, lsp("ldp", &[hop(77, Some("10.0.0.254"), &[])])));
    bench.tell(told(3, lsp("ldp", &[hop(2, Some("10.0.0.254"), &[])])));
    assert!(bench.compiler.labels().iter().all(|view| view.label == 101 || view.word.is_none()));
    let all = bench.compiler.problems();
    let said = |words: &str| all.iter().any(|p| p.what.contains(words) && p.origin.file == "fpm");
    assert!(said(&format!("label {}: beyond the label table", limit + 5)), "{all:?}");
}

#[test]
fn what_if_knows_what_the_suite_told() {
    let mut bench = Bench::new("");
    bench.fpm("object 7 nexthop via 10.0.1.254 dev eth1");
    bench.fpm("kernel 10.6.0.0/16 metric 20 nhid 7");
    bench.tell(told(100, lsp("ldp", &[hop(2, Some("10.0.0.254"), &[200])])));
    let other = bench.compiler.what_if(bench.compiler.intent().clone(), Default::default());
    assert!(thalweg_compile::diff(&bench.compiler, &other).is_empty());
    assert_eq!(other.host(), bench.compiler.host());
    assert_eq!(other.host().fpm.routes.len(), 1);
}
