//! Objects that contradict themselves or each other: what can be in force is, and the rest is told.

use crate::world::{World, ip, leaving, name, port, ready, service, slice, tcp, update, words};
use thalweg_model::cluster::{Endpoint, Protocol, Service, ServiceType};
use thalweg_service::{Class, From, Problem};

fn aged(created: Option<u64>) -> Service {
    Service { created, ..service("10.96.0.1") }
}

/// `web` and `app` at one address, each with an endpoint.
fn rivals(web: Option<u64>, app: Option<u64>) -> World {
    let mut world = World::with(aged(web), vec![ready("10.1.0.1", "a")]);
    world.cluster.services.insert(name("app"), aged(app));
    world.cluster.slices.insert(name("app-1"), slice("app", vec![ready("10.1.0.2", "a")]));
    world
}

#[test]
fn of_two_services_with_one_address_the_elder_keeps_it() {
    for (web, app, winner, loser) in [
        (Some(1), Some(2), "web", "app"),
        (Some(2), Some(1), "app", "web"),
        (Some(1), Some(1), "app", "web"),
        (Some(1), None, "web", "app"),
        (None, None, "app", "web"),
    ] {
        let resolver = rivals(web, app).resolver();
        let key = tcp("10.96.0.1", 80);
        assert_eq!(resolver.frontend(key).unwrap().service, name(winner));
        let taken = Problem::Taken { key, by: name(winner) };
        assert_eq!(resolver.problems(), [(name(loser), vec![taken])].into());
        assert_eq!(resolver.vip(key.address).unwrap().services, [name("app"), name("web")]);
    }
}

#[test]
fn the_other_service_gets_the_address_when_the_elder_leaves() {
    let mut world = rivals(Some(1), Some(2));
    let mut resolver = world.resolver();
    let web = world.cluster.services.remove(&name("web")).unwrap();
    let difference = update(&mut resolver, &world, &["web"], &[]);
    assert_eq!(difference.changed.len(), 1);
    assert_eq!(difference.changed[0].service, name("app"));
    assert_eq!(difference.problems, [(name("app"), Vec::new())].into());
    assert_eq!(difference.vips[0].services, [name("app")]);
    world.cluster.services.insert(name("web"), web);
    let difference = update(&mut resolver, &world, &["web"], &[]);
    assert_eq!(difference.changed[0].service, name("web"));
    assert_eq!(difference.problems[&name("app")].len(), 1);
    assert!(update(&mut resolver, &world, &["web", "app"], &["web-1"]).is_empty());
}

#[test]
fn services_may_share_an_address_at_different_ports() {
    let mut world = rivals(Some(1), Some(2));
    world.cluster.services.get_mut(&name("app")).unwrap().ports[0].port = 81;
    assert!(world.resolver().problems().is_empty());
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 81)), "10.1.0.2:8080");
}

#[test]
fn ports_of_one_service_that_clash_are_told() {
    let mut twice = service("10.96.0.1");
    twice.ports = vec![port("one", Protocol::Tcp, 80), port("two", Protocol::Tcp, 80)];
    let world = World::with(twice, Vec::new());
    let key = tcp("10.96.0.1", 80);
    assert_eq!(world.frontend(key).port_name, "one");
    let taken = Problem::Taken { key, by: name("web") };
    assert_eq!(world.resolver().problems_of(&name("web")), [taken]);
}

#[test]
fn a_node_port_outside_its_range_is_told() {
    let mut outside = service("10.96.0.1");
    outside.kind = ServiceType::NodePort;
    outside.ports[0].node_port = Some(8_080);
    let world = World::with(outside, vec![ready("10.1.0.1", "a")]);
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 8_080)), "nothing");
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "10.1.0.1:8080");
    assert_eq!(world.resolver().problems_of(&name("web")), [Problem::NodePortRange(8_080)]);
}

#[test]
fn endpoints_that_cannot_be_reached_are_counted() {
    let with = |addresses: Vec<&str>| Endpoint {
        addresses: addresses.into_iter().map(ip).collect(),
        ..ready("10.1.0.1", "a")
    };
    let useless =
        vec![with(vec![]), with(vec!["fd00::1"]), with(vec!["127.0.0.1"]), with(vec!["0.0.0.0"])];
    let all = useless.into_iter().chain([with(vec!["10.1.0.1", "10.1.0.2"])]).collect();
    let world = World::with(service("10.96.0.1"), all);
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "10.1.0.1:8080");
    let told = Problem::Endpoints { slice: name("web-1"), count: 4 };
    assert_eq!(world.resolver().problems_of(&name("web")), [told]);
}

#[test]
fn addresses_that_no_packet_has_are_told() {
    let mut odd = service("10.96.0.1");
    odd.external_ips = vec![ip("::ffff:192.0.2.7"), ip("127.0.0.1"), ip("2001:db8::7")];
    let resolver = World::with(odd, Vec::new()).resolver();
    let told = [
        Problem::Address(ip("127.0.0.1")),
        Problem::Address(ip("::ffff:192.0.2.7")),
        Problem::Family(ip("2001:db8::7")),
    ];
    assert_eq!(resolver.problems_of(&name("web")), told);
    assert_eq!(resolver.frontends().count(), 1);
}

#[test]
fn slices_that_contradict_each_other_show_the_better_condition() {
    let mut world = World::with(service("10.96.0.1"), vec![leaving("10.1.0.1", "a")]);
    let again = Endpoint { weight: 7, ..ready("10.1.0.1", "b") };
    let third = Endpoint { weight: 9, ..ready("10.1.0.1", "c") };
    world.cluster.slices.insert(name("web-2"), slice("web", vec![again, third.clone()]));
    world.cluster.slices.insert(name("web-3"), slice("web", vec![third]));
    let backends = world.frontend(tcp("10.96.0.1", 80)).internal.backends;
    assert_eq!(backends.len(), 1);
    assert_eq!((backends[0].weight, backends[0].node.as_deref()), (7, Some("b")));
    assert!(!backends[0].terminating && !backends[0].local);
}

#[test]
fn a_backend_of_weight_zero_keeps_flows_and_gets_none() {
    let resting = Endpoint { weight: 0, ..ready("10.1.0.1", "a") };
    let world = World::with(service("10.96.0.1"), vec![resting.clone(), ready("10.1.0.2", "a")]);
    let choice = world.frontend(tcp("10.96.0.1", 80)).internal;
    assert_eq!((words(&choice).as_str(), choice.backends.len()), ("10.1.0.2:8080", 2));
    assert_eq!(choice.ring(16_381), [1]);
    let world = World::with(service("10.96.0.1"), vec![resting.clone()]);
    let choice = world.frontend(tcp("10.96.0.1", 80)).internal;
    assert!(choice.is_empty() && choice.backends.len() == 1);
    assert!(choice.ring(16_381).is_empty());
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "reject");
    let world = World::with(service("10.96.0.1"), vec![resting, leaving("10.1.0.3", "a")]);
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "10.1.0.3:8080");
}

#[test]
fn a_slice_of_nobody_and_one_that_moves_disturb_nothing() {
    let mut world = rivals(Some(1), Some(2));
    world.cluster.services.get_mut(&name("app")).unwrap().cluster_ips = vec![ip("10.96.0.2")];
    world.cluster.slices.insert(name("stray"), slice("nobody", vec![ready("10.1.0.9", "a")]));
    let mut resolver = world.resolver();
    assert_eq!(resolver.frontends().count(), 2);
    world.cluster.slices.get_mut(&name("web-1")).unwrap().service = "app".into();
    let difference = update(&mut resolver, &world, &[], &["web-1"]);
    let changed: Vec<_> = difference.changed.iter().map(|f| words(&f.internal)).collect();
    assert_eq!(changed, ["", "10.1.0.1:8080 10.1.0.2:8080"]);
}

#[test]
fn five_thousand_endpoints_are_a_service_like_others() {
    let all: Vec<Endpoint> =
        (0..5_000u32).map(|n| ready(&format!("10.2.{}.{}", n / 250, n % 250 + 1), "b")).collect();
    let world = World::with(service("10.96.0.1"), all);
    let choice = world.frontend(tcp("10.96.0.1", 80)).internal;
    assert_eq!(choice.backends.len(), 5_000);
    let mut ids: Vec<u64> = choice.backends.iter().map(|backend| backend.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5_000);
}

#[test]
fn thousands_that_want_one_address_do_not_stop_the_others() {
    let mut world = World::new();
    for number in 0..5_000u32 {
        // Each is elder than all before it in the order of names.
        let service = Service { created: Some(u64::from(9_999 - number)), ..service("10.96.0.1") };
        world.cluster.services.insert(name(&format!("web-{number:04}")), service);
    }
    let mut resolver = world.resolver();
    let key = tcp("10.96.0.1", 80);
    assert_eq!(resolver.frontend(key).unwrap().service, name("web-4999"));
    assert_eq!(resolver.problems().len(), 4_999);
    world.cluster.services.remove(&name("web-0007"));
    let difference = update(&mut resolver, &world, &["web-0007"], &[]);
    assert_eq!(difference.problems, [(name("web-0007"), Vec::new())].into());
    assert!(difference.changed.is_empty());
    world.cluster.services.remove(&name("web-4999"));
    let difference = update(&mut resolver, &world, &["web-4999"], &[]);
    assert_eq!(difference.problems.len(), 4_998);
    assert_eq!(difference.changed[0].service, name("web-4998"));
}

#[test]
fn an_address_that_a_service_has_twice_is_no_problem() {
    let mut twice = service("10.96.0.1");
    twice.kind = ServiceType::LoadBalancer;
    twice.external_ips = vec![ip("203.0.113.1")];
    twice.load_balancer_ips = vec![ip("203.0.113.1")];
    let world = World::with(twice, Vec::new());
    assert_eq!(world.frontend(tcp("203.0.113.1", 80)).class, Class::ExternalIp);
    assert!(world.resolver().problems().is_empty());
}
