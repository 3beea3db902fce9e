//! The sequence of an agent's life, without I/O.

use super::*;
use thalweg_abi::{GroupId, TableId};
use thalweg_image::{Change, Failure};
use thalweg_model::HostState;

/// Two links with addresses; the gateway behind eth1 is resolved.
pub(crate) const HOST: &str = "
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

/// Routes both links, and one route by a gateway.
pub(crate) fn config(gateway: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0, eth1]}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: lan}}
spec:
  prefix: 10.0.2.0/24
  nextHops: [{{via: {gateway}}}]
"
    )
}

fn files(text: &str) -> Event {
    Event::Config(Box::new(thalweg_config::parse(&[("lan.yaml".into(), text.into())])))
}

fn host(text: &str) -> HostState {
    thalweg_netlink::file::from_yaml(text).unwrap()
}

/// A compiler with the usual configuration on a host.
pub(crate) fn compiled(text: &str) -> Compiler {
    let mut compiler = Compiler::new(Limits::default());
    compiler.load_host(host(text));
    compiler.set_intent(thalweg_config::parse(&[("lan.yaml".into(), config("10.0.1.254"))]).intent);
    compiler.plan();
    compiler
}

fn updates(state: HostState) -> Event {
    let HostState { links, addresses, neighbors, routes, .. } = state;
    let all = links.into_values().map(Update::Link);
    let all = all.chain(addresses.into_values().map(Update::Address));
    let all = all.chain(neighbors.into_values().map(Update::Neighbor));
    Event::Host(all.chain(routes.into_iter().map(|(k, r)| Update::Route(k, r))).collect())
}

/// Effects in short.
fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Open(_) => "open".into(),
        Effect::Follow => "follow".into(),
        Effect::Apply(plan) => format!("apply {}", plan.generation),
        Effect::Hook(wishes) => {
            let names: Vec<_> = wishes.iter().map(|wish| wish.name.as_str()).collect();
            format!("hook {}", names.join(","))
        }
        Effect::Sockets(wanted) => format!("sockets {wanted}"),
        Effect::Passage(wanted) => format!("passage {wanted}"),
        Effect::Export { routes, first } => {
            let word = |route: &Export| format!(" {} via {:?}", route.prefix, route.hops);
            let words: String = routes.iter().map(word).collect();
            format!("export{}{words}", if *first { " all" } else { "" })
        }
        Effect::Resolve(link, address) => format!("resolve {link} {address}"),
        Effect::Forget(link, address) => format!("forget {link} {address}"),
        Effect::Suite(fpm) => match fpm {
            Some(fpm) => format!("suite {}", fpm.listen),
            None => "no suite".into(),
        },
        Effect::Renew(plan) => format!("renew {} with {}", plan.generation, plan.changes.len()),
        Effect::RestorePins => "restore pins".into(),
        Effect::Log(level, line) => format!("{level:?} {line}"),
    };
    effects.iter().map(word).collect()
}

/// An agent that forwards.
pub(crate) fn running() -> Brain {
    let mut brain = Brain::new("lan.yaml".into(), 7);
    brain.handle(files(&config("10.0.1.254")));
    brain.handle(updates(host(HOST)));
    brain.handle(Event::HostComplete);
    brain
}

#[test]
fn a_suite_may_connect_as_long_as_the_files_say_so() {
    let with = |spec: &str| {
        let router = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\nspec: ";
        files(&format!("{}---\n{router}{spec}\n", config("10.0.1.254")))
    };
    let suites = |brain: &mut Brain, event| -> Vec<String> {
        let all = words(&brain.handle(event)).into_iter();
        all.filter(|word| word.contains("suite")).collect()
    };
    let mut brain = running();
    assert_eq!(suites(&mut brain, with("{fpm: {}}")), ["suite 127.0.0.1:2620"]);
    assert!(suites(&mut brain, with("{burst: 7, fpm: {}}")).is_empty());
    assert!(suites(&mut brain, with("{fpm: {listen: nowhere}}")).is_empty(), "wrong files");
    assert_eq!(suites(&mut brain, with("{burst: 7}")), ["no suite"]);
}

#[test]
fn sockets_are_served_where_there_are_services_and_the_files_let_them() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
                   spec: {clusterIPs: [10.96.0.10], ports: [{port: 80}]}\n";
    let with = |more: &str, socket: &str| {
        let router = format!(
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {{name: r}}\n\
             spec: {{services: {{socket: {socket}}}}}\n"
        );
        files(&format!("{}{more}{router}", config("10.0.1.254")))
    };
    let said = |brain: &mut Brain, event| -> Vec<String> {
        let all = words(&brain.handle(event)).into_iter();
        all.filter(|word| word.contains("sockets")).collect()
    };
    let mut brain = running();
    assert!(said(&mut brain, with("", "All")).is_empty(), "no services");
    assert_eq!(said(&mut brain, with(service, "Host")), ["sockets true"]);
    assert!(said(&mut brain, with(service, "All")).is_empty(), "that is for the tables to say");
    assert_eq!(said(&mut brain, with(service, "Off")), ["sockets false"]);
    assert_eq!(said(&mut brain, with(service, "Host")), ["sockets true"]);
    assert_eq!(said(&mut brain, with("", "Host")), ["sockets false"]);
}

fn applied(failures: Vec<Failure>) -> Event {
    let result = Ok(Applied { failures, whole: true });
    Event::Applied { generation: 1, changes: 3, result, took: Duration::from_micros(9) }
}

#[test]
fn nothing_is_touched_before_everything_is_known() {
    let mut brain = Brain::new("lan.yaml".into(), 7);
    assert!(brain.handle(updates(host(HOST))).is_empty());
    assert_eq!(words(&brain.handle(files(&config("10.0.1.254")))), ["open", "follow"]);
    assert_eq!(brain.phase, Phase::AwaitsHost);
    assert!(brain.handle(updates(host(HOST))).is_empty());
    let effects = words(&brain.handle(Event::HostComplete));
    let export = "export all 10.0.2.0/24 via [(3, Some(10.0.1.254), 1)]";
    assert_eq!(
        effects,
        ["apply 1", export, "hook eth0,eth1", "sockets false", "resolve 3 10.0.1.254"]
    );
    assert_eq!(brain.phase, Phase::InForce);
}

#[test]
fn a_wrong_first_configuration_waits_for_a_good_one() {
    let mut brain = Brain::new("lan.yaml".into(), 7);
    let effects = words(&brain.handle(files(&config("10.0.1.300"))));
    assert!(effects[0].starts_with("Error lan.yaml:11:"), "{effects:?}");
    assert!(effects[1].contains("nothing is touched until it is right"), "{effects:?}");
    assert_eq!(brain.phase, Phase::AwaitsConfig);
    assert_eq!(words(&brain.handle(files(&config("10.0.1.254")))), ["open", "follow"]);
}

#[test]
fn a_wrong_later_configuration_changes_nothing() {
    let mut brain = running();
    let effects = words(&brain.handle(files("kind: Nonsense")));
    assert!(effects.iter().all(|word| word.starts_with("Error ")), "{effects:?}");
    assert!(effects.last().unwrap().contains("the last good one stays in force"), "{effects:?}");
    assert!(!brain.config_good);
    assert!(!brain.config_problems.is_empty());
    let effects = brain.handle(files(&config("10.0.1.254")));
    assert!(effects.is_empty(), "it is in force already: {:?}", words(&effects));
    assert!(brain.config_good);
}

#[test]
fn a_change_of_the_files_is_one_plan_and_neighbors_follow() {
    let mut brain = running();
    let effects = words(&brain.handle(files(&config("10.0.0.9"))));
    assert_eq!(
        effects,
        [
            "apply 2",
            "export 10.0.2.0/24 via [(2, Some(10.0.0.9), 1)]",
            "forget 3 10.0.1.254",
            "resolve 2 10.0.0.9"
        ],
        "one transaction for one change"
    );
}

#[test]
fn a_route_that_cannot_be_is_told_once() {
    let mut brain = running();
    let effects = words(&brain.handle(files(&config("192.0.2.1"))));
    let told: Vec<_> = effects.iter().filter(|word| word.starts_with("Error")).collect();
    assert_eq!(told.len(), 1, "{effects:?}");
    assert!(told[0].contains("Route/lan"), "{told:?}");
    assert_eq!(brain.problems().len(), 1);
    let effects = words(&brain.handle(files(&config("192.0.2.1"))));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn policies_on_a_host_without_pods_change_nothing() {
    let mut brain = running();
    let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: none}\nspec: {podSelector: {}}\n";
    let text = config("10.0.1.254") + policy + &policy.replace("none", "two");
    let effects = words(&brain.handle(files(&text)));
    assert!(effects.is_empty(), "{effects:?}");
    assert!(brain.config_problems.is_empty(), "{:?}", brain.config_problems);
    let host = "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\n\
                metadata: {name: one}\nspec: {node: n1, interfaceName: eth0}\n";
    let is_said = |effects: &[String], level: &str, what: &str| {
        effects.iter().any(|effect| effect.starts_with(level) && effect.contains(what))
    };
    let effects = words(&brain.handle(files(&(text.clone() + host))));
    let said = "the Router object does not say which node this is";
    assert!(is_said(&effects, "Warn", said), "{effects:?}");
    // Tables that were made without it have no room for what it takes.
    let node = "---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: here}\n\
                spec: {node: n1}\n";
    let effects = words(&brain.handle(files(&(text + host + node))));
    let said = "HostEndpoint/one: the agent started without";
    assert!(is_said(&effects, "Error", said), "{effects:?}");
}

#[test]
fn a_host_that_is_guarded_has_room_for_flows() {
    let host = "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\n\
                metadata: {name: one}\nspec: {node: n1, interfaceName: eth0}\n\
                ---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: here}\n\
                spec: {node: n1}\n";
    for (node, guarded) in [("n1", true), ("n2", false)] {
        let mut brain = Brain::new("etc".into(), 0);
        let text = config("10.0.1.254")
            + &host.replace("spec: {node: n1}", &format!("spec: {{node: {node}}}"));
        let effects = brain.handle(files(&text));
        let limits = effects.iter().find_map(|effect| match effect {
            Effect::Open(limits) => Some(limits),
            _ => None,
        });
        assert_eq!(limits.unwrap().flows > 0, guarded, "{node}");
    }
}

#[test]
fn a_lost_neighbor_is_asked_for_again() {
    let mut brain = running();
    let lost = Update::NeighborGone(3, "10.0.1.254".parse().unwrap());
    let effects = words(&brain.handle(Event::Host(vec![lost])));
    assert!(effects.contains(&"resolve 3 10.0.1.254".into()), "{effects:?}");
}

#[test]
fn a_failed_neighbor_is_asked_for_again_when_its_link_changes() {
    let mut brain = running();
    let address = "10.0.1.254".parse().unwrap();
    let failed = Event::NeighborFailed { link: 3, address, error: "set the link up".into() };
    assert_eq!(words(&brain.handle(failed)), ["Warn set the link up"]);
    assert_eq!(brain.problems().len(), 1);
    let mut link = host(HOST).links[&3].clone();
    link.mtu = 1400;
    let effects = words(&brain.handle(Event::Host(vec![Update::Link(link)])));
    assert!(effects.contains(&"resolve 3 10.0.1.254".into()), "{effects:?}");
    assert!(brain.problems().is_empty());
}

#[test]
fn hooks_that_fail_are_problems_and_are_tried_again() {
    let mut brain = running();
    let state = |link: u32, name: &str, hook: Option<&str>| HookState {
        wish: HookWish { link, name: name.into(), wish: Default::default() },
        hook: hook.map(str::to_owned),
        reason: "because".into(),
    };
    let hooked = vec![state(2, "eth0", Some("xdp-native")), state(3, "eth1", None)];
    let effects = words(&brain.handle(Event::Hooked(hooked.clone())));
    assert_eq!(effects, ["Info eth0: xdp-native: because", "Error eth1: not attached: because"]);
    assert!(words(&brain.handle(Event::Hooked(hooked))).is_empty(), "said already");
    assert!(brain.problems()[0].what.contains("link eth1 is not attached"));
    assert_eq!(words(&brain.handle(Event::Features)), ["hook eth0,eth1"]);
    let link = host(HOST).links[&3].clone();
    let effects = words(&brain.handle(Event::Host(vec![Update::Link(link)])));
    assert_eq!(effects, ["hook eth0,eth1"]);
}

#[test]
fn what_a_hook_cannot_do_is_a_problem() {
    let mut brain = running();
    let labels = config("10.0.1.254").replace("[eth0, eth1]", "[eth0, eth1], mpls: true")
        + "---\napiVersion: thalweg.dev/v1alpha1\nkind: LabelRoute\nmetadata: {name: pop}\n\
           spec: {label: 100, via: 10.0.1.254}\n";
    brain.handle(files(&labels));
    let state = |link: u32, name: &str, hook: &str| HookState {
        wish: HookWish { link, name: name.into(), wish: Default::default() },
        hook: Some(hook.into()),
        reason: "because".into(),
    };
    brain.handle(Event::Hooked(vec![state(2, "eth0", "xdp-native"), state(3, "eth1", "tc(tcx)")]));
    let found: Vec<String> = brain.problems().iter().map(|problem| problem.what.clone()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("link eth1: its hook is tc"), "{found:?}");
    // A label that is swapped stays on the frame.
    brain.handle(files(&labels.replace("via: 10.0.1.254}\n", "via: 10.0.1.254, labels: [200]}\n")));
    assert!(brain.problems().is_empty(), "{:?}", brain.problems());
}

#[test]
fn a_link_that_goes_takes_its_hook_along() {
    let mut brain = running();
    let effects = words(&brain.handle(Event::Host(vec![Update::LinkGone(3)])));
    assert!(effects.contains(&"hook eth0".into()), "{effects:?}");
}

#[test]
fn what_does_not_fit_is_a_problem_with_numbers() {
    let mut brain = running();
    let prefix = "10.0.2.0/24".parse().unwrap();
    let change = Change::Route4(thalweg_abi::VrfId(0), prefix, GroupId(1));
    let failure = Failure { change, table: TableId::Fib4Leaves, used: 10, capacity: 10 };
    let effects = words(&brain.handle(applied(vec![failure])));
    assert!(effects[0].contains("1 did not fit"), "{effects:?}");
    let problems = brain.problems();
    assert!(problems[0].what.contains("10 of 10"), "{problems:?}");
    assert_eq!(problems[0].origin.file, "lan.yaml");
}

#[test]
fn a_broken_plane_is_a_problem_until_it_works() {
    let mut brain = running();
    let result = Err(PlaneError { message: "gone".into() });
    let took = Duration::ZERO;
    brain.handle(Event::Applied { generation: 2, changes: 1, result, took });
    assert!(brain.problems()[0].what.contains("generation 2 could not be put in force: gone"));
    brain.handle(applied(Vec::new()));
    assert!(brain.problems().is_empty());
}

#[test]
fn routine_changes_are_told_quietly() {
    let mut brain = running();
    assert!(words(&brain.handle(applied(Vec::new())))[0].starts_with("Info"));
    let lost = Update::NeighborGone(3, "10.0.1.254".parse().unwrap());
    brain.handle(Event::Host(vec![lost]));
    assert!(words(&brain.handle(applied(Vec::new())))[0].starts_with("Debug"));
}

#[test]
fn what_somebody_else_changed_is_mended_part_by_part() {
    let mut brain = running();
    let generation = brain.compiler.as_ref().unwrap().generation();
    let lost = Audit { lost: vec!["link eth1: gone".into()], ..Audit::default() };
    let effects = brain.handle(Event::Tampered(Box::new(lost)));
    assert_eq!(words(&effects), ["hook eth0,eth1"]);
    let pins = Audit { pins: Some("gone".into()), ..Audit::default() };
    let effects = brain.handle(Event::Tampered(Box::new(pins)));
    assert_eq!(words(&effects), ["restore pins", "hook eth0,eth1"]);
    let tables = Audit { tables: vec!["table lfib".into()], ..Audit::default() };
    let effects = brain.handle(Event::Tampered(Box::new(tables)));
    let [Effect::Renew(plan), rest @ ..] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(plan.generation, generation + 1);
    let adds = |change: &&Change| matches!(change, Change::Route4(_, _, group) if group.0 != 0);
    assert!(plan.changes.iter().filter(adds).count() > 1, "all routes, not the difference");
    assert!(words(rest)[0].starts_with("export all"), "{:?}", words(rest));
    assert_eq!(words(rest).last().unwrap(), "hook eth0,eth1");
    // What comes next is a difference to that.
    assert!(brain.compiler.as_mut().unwrap().plan().changes.is_empty());
}
