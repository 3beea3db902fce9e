//! The rules of services, each with its test. Numbers are those of the project's reference.

use crate::world::{World, ip, leaving, name, port, prefix, ready, service, slice, tcp, words};
use std::time::Duration;
use thalweg_model::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, Protocol, Service, ServiceType, TrafficPolicy,
};
use thalweg_service::{Changes, Choice, Class, From, FrontendKey};

const ANYWHERE: [From; 3] = [From::Workload, From::Host, From::Outside];

/// A load balancer's service at 10.96.0.1, 203.0.113.1 and node port 30080, and at 203.0.113.2.
fn balanced(external: TrafficPolicy) -> Service {
    let mut service = service("10.96.0.1");
    service.kind = ServiceType::LoadBalancer;
    service.external_ips = vec![ip("203.0.113.2")];
    service.load_balancer_ips = vec![ip("203.0.113.1")];
    service.ports[0].node_port = Some(30_080);
    Service { external, ..service }
}

/// What external traffic is sent to.
fn external() -> [FrontendKey; 3] {
    [tcp("203.0.113.1", 80), tcp("203.0.113.2", 80), tcp("192.0.2.1", 30_080)]
}

fn two_nodes() -> Vec<Endpoint> {
    vec![ready("10.1.0.1", "a"), ready("10.1.1.1", "b")]
}

#[test]
fn rule_1_cluster_ip_traffic_from_outside_is_masqueraded() {
    let frontend = World::with(service("10.96.0.1"), two_nodes()).frontend(tcp("10.96.0.1", 80));
    assert!(frontend.external.masquerade && !frontend.internal.masquerade);
    assert_eq!(frontend.class, Class::ClusterIp);
    assert_eq!(words(&frontend.external), "10.1.0.1:8080 10.1.1.1:8080");
    assert_eq!(words(&frontend.internal), "10.1.0.1:8080 10.1.1.1:8080");
}

#[test]
fn rule_2_policy_cluster_takes_any_endpoint_and_masquerades_where_configured() {
    let mut world = World::with(balanced(TrafficPolicy::Cluster), two_nodes());
    for key in external() {
        assert_eq!(world.ask(From::Outside, key), "10.1.0.1:8080 10.1.1.1:8080");
        assert!(!world.frontend(key).external.masquerade);
    }
    world.here.settings.masquerade_external = true;
    for key in external() {
        assert!(world.frontend(key).external.masquerade);
        assert!(!world.frontend(key).internal.masquerade);
    }
}

#[test]
fn rule_2_policy_local_takes_local_endpoints_and_keeps_the_client() {
    let mut world = World::with(balanced(TrafficPolicy::Local), two_nodes());
    world.here.settings.masquerade_external = true;
    for key in external() {
        assert_eq!(world.ask(From::Outside, key), "10.1.0.1:8080");
        assert!(!world.frontend(key).external.masquerade);
    }
}

#[test]
fn rule_2_from_here_policy_local_is_cut_short_to_the_whole_cluster() {
    let mut world = World::with(balanced(TrafficPolicy::Local), two_nodes());
    // Neither policy has a say.
    let service = world.cluster.services.get_mut(&name("web")).unwrap();
    service.internal = TrafficPolicy::Local;
    for key in external() {
        assert_eq!(world.ask(From::Workload, key), "10.1.0.1:8080 10.1.1.1:8080");
        assert_eq!(world.ask(From::Host, key), "10.1.0.1:8080 10.1.1.1:8080");
        assert!(!world.frontend(key).internal.masquerade);
    }
}

#[test]
fn rule_3_no_local_endpoint_drops_and_no_endpoint_at_all_rejects() {
    let elsewhere = vec![ready("10.1.1.1", "b")];
    let mut world = World::with(balanced(TrafficPolicy::Local), elsewhere);
    for key in external() {
        assert_eq!(world.ask(From::Outside, key), "drop");
        assert_eq!(world.ask(From::Workload, key), "10.1.1.1:8080");
    }
    world.cluster.slices.clear();
    for key in external().into_iter().chain([tcp("10.96.0.1", 80)]) {
        assert!(ANYWHERE.iter().all(|from| world.ask(*from, key) == "reject"));
    }
    world.here.settings.drop_without_backends = true;
    for key in external().into_iter().chain([tcp("10.96.0.1", 80)]) {
        assert!(ANYWHERE.iter().all(|from| world.ask(*from, key) == "drop"));
    }
}

#[test]
fn rule_4_internal_policy_local_without_local_endpoint_drops() {
    let local = Service { internal: TrafficPolicy::Local, ..service("10.96.0.1") };
    let world = World::with(local.clone(), vec![ready("10.1.1.1", "b")]);
    assert!(ANYWHERE.iter().all(|from| world.ask(*from, tcp("10.96.0.1", 80)) == "drop"));
    let world = World::with(local.clone(), two_nodes());
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "10.1.0.1:8080");
    let world = World::with(local, Vec::new());
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "reject");
}

#[test]
fn rule_5_source_ranges_guard_external_frontends_and_not_the_cluster_ip() {
    let ranges = vec![prefix("198.18.0.0/15")];
    let guarded = Service { source_ranges: ranges, ..balanced(TrafficPolicy::Cluster) };
    let mut world = World::with(guarded, two_nodes());
    let all = "10.1.0.1:8080 10.1.1.1:8080";
    for key in external() {
        assert_eq!(world.ask_as(From::Outside, "198.18.0.1", key), all);
        assert_eq!(world.ask_as(From::Outside, "198.20.0.1", key), "drop");
        assert_eq!(world.ask(From::Workload, key), "drop");
    }
    assert_eq!(world.ask(From::Outside, tcp("10.96.0.1", 80)), all);
    world.here.settings.ranges_for_all = false;
    assert_eq!(world.ask(From::Outside, tcp("203.0.113.1", 80)), "drop");
    assert_eq!(world.ask(From::Outside, tcp("203.0.113.2", 80)), all);
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 30_080)), all);
}

#[test]
fn rule_5_a_range_with_the_node_in_it_admits_the_nodes_own_vip_traffic() {
    let ask = |range: &str| {
        let source_ranges = vec![prefix(range)];
        let guarded = Service { source_ranges, ..balanced(TrafficPolicy::Cluster) };
        let world = World::with(guarded, two_nodes());
        world.ask_as(From::Host, "203.0.113.1", tcp("203.0.113.1", 80))
    };
    assert_eq!(ask("192.0.2.0/24"), "10.1.0.1:8080 10.1.1.1:8080");
    assert_eq!(ask("192.0.3.0/24"), "drop");
}

#[test]
fn rule_6_an_unallocated_cluster_ip_drops_and_a_wrong_port_rejects() {
    let world = World::with(balanced(TrafficPolicy::Cluster), two_nodes());
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.2", 80)), "drop");
    assert_eq!(world.ask(From::Workload, tcp("10.97.0.2", 80)), "nothing");
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 81)), "reject");
    assert_eq!(world.ask(From::Outside, tcp("203.0.113.1", 81)), "reject");
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 81)), "nothing");
    let vip = world.resolver().vip(ip("10.96.0.1")).expect("pings are answered");
    assert_eq!(vip.services, [name("web")]);
}

#[test]
fn an_address_that_the_node_holds_is_left_to_its_own_stack() {
    let mut world = World::with(balanced(TrafficPolicy::Cluster), two_nodes());
    let service = world.cluster.services.get_mut(&name("web")).unwrap();
    service.external_ips = vec![ip("192.0.2.1")];
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 80)), "10.1.0.1:8080 10.1.1.1:8080");
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 22)), "nothing");
    assert_eq!(world.resolver().vip(ip("192.0.2.1")), None);
}

/// Nodes' addresses as external IPs, as bare-metal clusters have them: what else a node listens at (its
/// API server, its kubelet) is reached there as before.
#[test]
fn an_address_of_another_node_refuses_no_port() {
    let mut world = World::with(balanced(TrafficPolicy::Cluster), two_nodes());
    let other = ip("192.0.2.2");
    let service = world.cluster.services.get_mut(&name("web")).unwrap();
    service.external_ips = vec![other];
    let mut resolver = world.resolver();
    assert!(resolver.vip(other).is_some(), "nobody says that it is a node's");
    world.cluster.nodes.get_mut("b").unwrap().addresses = vec![other];
    let changes = Changes { here: true, ..Changes::default() };
    let difference = resolver.update(&world.cluster, &world.here, &changes);
    assert_eq!(difference.vips_removed, [other]);
    for port in [22, 6443] {
        assert_eq!(world.ask(From::Workload, tcp("192.0.2.2", port)), "nothing");
    }
    assert_eq!(world.ask(From::Workload, tcp("192.0.2.2", 80)), "10.1.0.1:8080 10.1.1.1:8080");
}

#[test]
fn rules_7_and_9_terminating_endpoints_serve_only_where_none_is_ready() {
    let gone = Endpoint { serving: false, ..leaving("10.1.0.3", "a") };
    let starting = Endpoint { ready: false, serving: false, ..ready("10.1.0.4", "a") };
    let mut all = vec![leaving("10.1.0.1", "a"), gone, starting];
    let key = tcp("203.0.113.1", 80);
    let world = World::with(balanced(TrafficPolicy::Local), all.clone());
    assert_eq!(world.ask(From::Outside, key), "10.1.0.1:8080");
    assert!(world.frontend(key).external.backends[0].terminating);
    // The relevant set of external traffic is local: a ready one elsewhere changes nothing for it.
    all.push(ready("10.1.1.1", "b"));
    let world = World::with(balanced(TrafficPolicy::Local), all.clone());
    assert_eq!(world.ask(From::Outside, key), "10.1.0.1:8080");
    assert_eq!(world.ask(From::Workload, key), "10.1.1.1:8080");
    all.push(ready("10.1.0.2", "a"));
    let world = World::with(balanced(TrafficPolicy::Local), all);
    assert_eq!(world.ask(From::Outside, key), "10.1.0.2:8080");
}

#[test]
fn rule_9_addresses_that_are_not_ready_are_published_on_request() {
    let starting = Endpoint { ready: false, serving: false, ..ready("10.1.0.4", "a") };
    let hidden = service("10.96.0.1");
    let published = Service { publish_not_ready: true, ..hidden.clone() };
    let ask = |service| {
        World::with(service, vec![starting.clone()]).ask(From::Workload, tcp("10.96.0.1", 80))
    };
    assert_eq!(ask(hidden), "reject");
    assert_eq!(ask(published), "10.1.0.4:8080");
}

#[test]
fn rule_8_node_ports_answer_at_primary_addresses_and_never_at_loopback() {
    let mut world = World::with(balanced(TrafficPolicy::Cluster), two_nodes());
    let all = "10.1.0.1:8080 10.1.1.1:8080";
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 30_080)), all);
    assert_eq!(world.ask(From::Outside, tcp("198.51.100.1", 30_080)), "nothing");
    assert_eq!(world.ask(From::Host, tcp("127.0.0.1", 30_080)), "nothing");
    world.here.settings.node_port_addresses =
        vec![prefix("198.51.100.0/24"), prefix("127.0.0.0/8")];
    assert_eq!(world.ask(From::Outside, tcp("192.0.2.1", 30_080)), "nothing");
    assert_eq!(world.ask(From::Outside, tcp("198.51.100.1", 30_080)), all);
    assert_eq!(world.ask(From::Host, tcp("127.0.0.1", 30_080)), "nothing");
    world.cluster.services.get_mut(&name("web")).unwrap().kind = ServiceType::ClusterIp;
    assert_eq!(world.ask(From::Outside, tcp("198.51.100.1", 30_080)), "nothing");
}

#[test]
fn rule_10_affinity_is_told_and_at_most_a_day() {
    let affinity = |seconds| {
        let affinity = Some(Duration::from_secs(seconds));
        let world = World::with(Service { affinity, ..service("10.96.0.1") }, two_nodes());
        world.frontend(tcp("10.96.0.1", 80)).affinity
    };
    assert_eq!(affinity(10_800), Some(Duration::from_secs(10_800)));
    assert_eq!(affinity(100_000), Some(Duration::from_secs(86_400)));
}

#[test]
fn rule_12_balancers_hear_how_many_ready_endpoints_are_here() {
    let check = |world: &World| world.resolver().checks().next().map(|(_, check)| check);
    let local = |endpoints: Vec<Endpoint>| {
        let mut service = balanced(TrafficPolicy::Local);
        service.health_check_port = Some(31_234);
        World::with(service, endpoints)
    };
    let told = |endpoints| check(&local(endpoints)).map(|check| (check.port, check.local));
    assert_eq!(told(two_nodes()), Some((31_234, 1)));
    assert_eq!(told(vec![ready("10.1.1.1", "b")]), Some((31_234, 0)), "elsewhere");
    assert_eq!(told(Vec::new()), Some((31_234, 0)), "also without any endpoint");
    assert_eq!(
        told(vec![leaving("10.1.0.1", "a")]),
        Some((31_234, 0)),
        "turn away from those that end"
    );
    let weightless = Endpoint { weight: 0, ..ready("10.1.0.1", "a") };
    assert_eq!(told(vec![weightless, ready("10.1.0.2", "a")]), Some((31_234, 1)));
    // Two ports of one endpoint are one endpoint.
    let mut world = local(two_nodes());
    let named = world.cluster.slices.get_mut(&name("web-1")).unwrap();
    named.ports.push(EndpointPort { name: "more".into(), protocol: Protocol::Tcp, port: 8_081 });
    world.cluster.services.get_mut(&name("web")).unwrap().ports.push(port(
        "more",
        Protocol::Tcp,
        81,
    ));
    assert_eq!(check(&world).map(|check| check.local), Some(1));
    // Of two families, that with more counts: they are the same pods.
    let mut dual = local(two_nodes());
    let service = dual.cluster.services.get_mut(&name("web")).unwrap();
    service.cluster_ips.push(ip("fd96::1"));
    let mut six = slice("web", vec![ready("fd00::1", "a"), ready("fd00::2", "a")]);
    six.family = Family::V6;
    dual.cluster.slices.insert(name("web-6"), six);
    assert_eq!(check(&dual).map(|check| check.local), Some(2));
    // A family that the service does not serve does not count.
    dual.cluster.services.get_mut(&name("web")).unwrap().cluster_ips.pop();
    assert_eq!(check(&dual).map(|check| check.local), Some(1));
    // Only balancers under policy Local ask.
    for change in [
        |service: &mut Service| service.external = TrafficPolicy::Cluster,
        |service: &mut Service| service.kind = ServiceType::NodePort,
        |service: &mut Service| service.health_check_port = None,
        |service: &mut Service| service.cluster_ips.clear(),
    ] {
        let mut world = local(two_nodes());
        change(world.cluster.services.get_mut(&name("web")).unwrap());
        assert_eq!(check(&world), None);
    }
}

#[test]
fn rule_13_each_family_is_a_frontend_of_its_own() {
    let mut dual = balanced(TrafficPolicy::Cluster);
    dual.cluster_ips.push(ip("fd00::1"));
    let mut world = World::with(dual, two_nodes());
    let mut six = slice("web", vec![ready("fd01::1", "a")]);
    six.family = Family::V6;
    world.cluster.slices.insert(name("web-2"), six);
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), "10.1.0.1:8080 10.1.1.1:8080");
    assert_eq!(world.ask(From::Workload, tcp("fd00::1", 80)), "fd01::1:8080");
    assert_eq!(world.ask(From::Outside, tcp("2001:db8::1", 30_080)), "fd01::1:8080");
    world.cluster.services.get_mut(&name("web")).unwrap().cluster_ips.pop();
    assert_eq!(world.ask(From::Outside, tcp("2001:db8::1", 30_080)), "nothing");
}

#[test]
fn rules_13_and_14_protocols_are_frontends_of_their_own() {
    let mut several = service("10.96.0.1");
    several.ports = Protocol::ALL.map(|(word, protocol)| port(word, protocol, 53)).to_vec();
    let mut world = World::with(several, two_nodes());
    let target = |(word, protocol): (&str, Protocol)| EndpointPort {
        name: word.into(),
        protocol,
        port: 1_000 + u16::from(protocol.number()),
    };
    let slice = world.cluster.slices.get_mut(&name("web-1")).unwrap();
    slice.ports = Protocol::ALL.map(target).to_vec();
    slice.endpoints.pop();
    for (_, protocol) in Protocol::ALL {
        let key = FrontendKey { protocol, ..tcp("10.96.0.1", 53) };
        let expected = format!("10.1.0.1:{}", 1_000 + u16::from(protocol.number()));
        assert_eq!(world.ask(From::Workload, key), expected);
    }
}

#[test]
fn rule_13_named_target_ports_may_differ_between_slices() {
    let mut world = World::with(service("10.96.0.1"), two_nodes());
    let other = EndpointSlice {
        ports: vec![EndpointPort { name: String::new(), protocol: Protocol::Tcp, port: 9_090 }],
        ..slice("web", vec![ready("10.1.1.2", "b")])
    };
    world.cluster.slices.insert(name("web-2"), other);
    let expected = "10.1.0.1:8080 10.1.1.1:8080 10.1.1.2:9090";
    assert_eq!(world.ask(From::Workload, tcp("10.96.0.1", 80)), expected);
}

#[test]
fn rule_15_every_node_numbers_backends_alike_and_fills_the_same_ring() {
    let mut world = World::with(service("10.96.0.1"), two_nodes());
    let choice = |world: &World| -> Choice { world.frontend(tcp("10.96.0.1", 80)).internal };
    let here = choice(&world);
    world.here.node = "b".into();
    // Slices are cut otherwise, and others come first.
    let endpoints = world.cluster.slices.remove(&name("web-1")).unwrap().endpoints;
    for (slice_name, endpoint) in ["z", "y"].iter().zip(endpoints) {
        world.cluster.slices.insert(name(slice_name), slice("web", vec![endpoint]));
    }
    let there = choice(&world);
    let ids = |choice: &Choice| choice.backends.iter().map(|b| b.id).collect::<Vec<_>>();
    assert_eq!(ids(&here), ids(&there));
    assert_eq!(ids(&here), [12_134_211_619_228_418_464, 17_255_695_524_111_576_467]);
    assert_eq!(here.ring(16_381), there.ring(16_381));
    assert_eq!(here.ring(16_381).len(), 16_381);
    assert!(here.backends[0].local && there.backends[1].local);
}

#[test]
fn headless_services_and_external_names_are_nothing_here() {
    let headless = Service { cluster_ips: Vec::new(), ..balanced(TrafficPolicy::Cluster) };
    let kind = ServiceType::ExternalName;
    let elsewhere = Service { kind, ..balanced(TrafficPolicy::Cluster) };
    for service in [headless, elsewhere] {
        let resolver = World::with(service, two_nodes()).resolver();
        assert_eq!((resolver.frontends().count(), resolver.vips().count()), (0, 0));
        assert!(resolver.problems().is_empty());
    }
}
