//! Rule 11: readiness first, then hints, then what the service prefers.

use crate::world::{World, leaving, ready, service, tcp};
use thalweg_model::cluster::{Distribution, Endpoint, Service};
use thalweg_service::From;

fn hinted(address: &str, node: &str, zones: &[&str], nodes: &[&str]) -> Endpoint {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Endpoint { for_zones: set(zones), for_nodes: set(nodes), ..ready(address, node) }
}

fn ask(distribution: Distribution, endpoints: Vec<Endpoint>) -> String {
    let service = Service { distribution, ..service("10.96.0.1") };
    World::with(service, endpoints).ask(From::Workload, tcp("10.96.0.1", 80))
}

#[test]
fn rule_11_same_zone_prefers_the_zone_of_the_node() {
    let all = || vec![ready("10.1.0.1", "a"), ready("10.1.1.1", "b"), ready("10.1.2.1", "c")];
    assert_eq!(ask(Distribution::SameZone, all()), "10.1.0.1:8080 10.1.1.1:8080");
    assert_eq!(ask(Distribution::SameZone, vec![ready("10.1.2.1", "c")]), "10.1.2.1:8080");
}

#[test]
fn rule_11_same_node_prefers_the_node_and_then_its_zone() {
    let mut all = vec![ready("10.1.0.1", "a"), ready("10.1.1.1", "b"), ready("10.1.2.1", "c")];
    assert_eq!(ask(Distribution::SameNode, all.clone()), "10.1.0.1:8080");
    all.remove(0);
    assert_eq!(ask(Distribution::SameNode, all.clone()), "10.1.1.1:8080");
    all.remove(0);
    assert_eq!(ask(Distribution::SameNode, all), "10.1.2.1:8080");
}

#[test]
fn rule_11_hints_for_zones_are_followed() {
    let all = vec![
        hinted("10.1.0.1", "a", &["west"], &[]),
        hinted("10.1.2.1", "c", &["east", "west"], &[]),
    ];
    assert_eq!(ask(Distribution::Even, all.clone()), "10.1.2.1:8080");
    assert_eq!(
        ask(Distribution::SameZone, all),
        "10.1.2.1:8080",
        "hints are the controller's word"
    );
}

#[test]
fn rule_11_hints_for_nodes_come_before_those_for_zones() {
    let mut all = vec![
        hinted("10.1.0.1", "a", &["east"], &["b"]),
        hinted("10.1.2.1", "c", &["west"], &["a"]),
    ];
    assert_eq!(ask(Distribution::Even, all.clone()), "10.1.2.1:8080");
    all[1].for_nodes = ["c".to_owned()].into();
    assert_eq!(ask(Distribution::Even, all), "10.1.0.1:8080", "hints of zones remain");
}

#[test]
fn rule_11_hints_that_leave_no_backend_are_ignored() {
    let all = vec![
        hinted("10.1.0.1", "a", &["west"], &["c"]),
        hinted("10.1.2.1", "c", &["west"], &["c"]),
    ];
    assert_eq!(ask(Distribution::Even, all.clone()), "10.1.0.1:8080 10.1.2.1:8080");
    assert_eq!(ask(Distribution::SameZone, all), "10.1.0.1:8080", "the service's wish remains");
}

#[test]
fn rule_11_hints_that_an_endpoint_lacks_are_ignored() {
    let all = vec![hinted("10.1.2.1", "c", &["east"], &["a"]), ready("10.1.0.1", "a")];
    assert_eq!(ask(Distribution::Even, all), "10.1.0.1:8080 10.1.2.1:8080");
}

#[test]
fn rule_11_readiness_comes_before_topology() {
    // The one of this node is leaving: the ready one elsewhere serves. Hints of endpoints that do not
    // serve, or the lack of them, do not count.
    let all = vec![leaving("10.1.0.1", "a"), hinted("10.1.2.1", "c", &["west"], &[])];
    assert_eq!(ask(Distribution::SameNode, all), "10.1.2.1:8080");
    let all = vec![
        leaving("10.1.0.1", "a"),
        hinted("10.1.1.1", "b", &["west"], &[]),
        hinted("10.1.2.1", "c", &["east"], &[]),
    ];
    assert_eq!(ask(Distribution::Even, all), "10.1.2.1:8080");
    let all = vec![leaving("10.1.0.1", "a"), leaving("10.1.2.1", "c")];
    assert_eq!(ask(Distribution::SameNode, all), "10.1.0.1:8080 10.1.2.1:8080");
}

#[test]
fn rule_11_a_node_without_a_zone_prefers_none() {
    let service = Service { distribution: Distribution::SameZone, ..service("10.96.0.1") };
    let mut nowhere = ready("10.1.1.1", "b");
    nowhere.zone = None;
    let mut world = World::with(service, vec![nowhere, ready("10.1.2.1", "c")]);
    world.cluster.nodes.clear();
    let answer = world.ask(From::Workload, tcp("10.96.0.1", 80));
    assert_eq!(answer, "10.1.1.1:8080 10.1.2.1:8080");
}
