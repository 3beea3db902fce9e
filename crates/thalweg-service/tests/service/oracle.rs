//! Any cluster: what the resolver says is what the rules say.

use crate::dice::Dice;
use crate::world::World;
use std::net::IpAddr;
use thalweg_oracle::service::{Packet, Served, ServiceOracle};
use thalweg_service::{Fate, From, FrontendKey, Resolver};

/// `THALWEG_CLUSTERS=1000000` makes it thorough.
fn clusters() -> u64 {
    let wanted = std::env::var("THALWEG_CLUSTERS").ok();
    wanted.and_then(|number| number.parse().ok()).unwrap_or(40_000)
}

fn in_words_of_the_oracle(fate: Fate) -> Served {
    match fate {
        Fate::NotAService => Served::NotAService,
        Fate::Drop => Served::Drop,
        Fate::Reject => Served::Reject,
        Fate::Serve(choice) => {
            let weighty = choice.backends.iter().filter(|backend| backend.weight > 0);
            Served::Backends(weighty.map(|backend| (backend.address, backend.port)).collect())
        }
    }
}

/// Asks both everything, and counts the answers of each kind.
pub fn compare(case: u64, world: &World, resolver: &Resolver, counts: &mut [usize; 4]) {
    let mut dice = Dice(case);
    let addresses: Vec<(IpAddr, bool)> =
        world.here.addresses.iter().map(|own| (own.address, own.primary)).collect();
    let oracle = ServiceOracle {
        cluster: &world.cluster,
        node: &world.here.node,
        addresses: &addresses,
        settings: &world.here.settings,
    };
    for (address, port, protocol) in Dice::questions() {
        let source = dice.source(address);
        let key = FrontendKey { address, port, protocol };
        if let Some(frontend) = resolver
            .frontend(key)
            .filter(|_| source != address && source.is_ipv4() == address.is_ipv4())
        {
            let number = match source {
                IpAddr::V4(source) => source.to_bits().into(),
                IpAddr::V6(source) => source.to_bits(),
            };
            let bounds = frontend.bounds();
            assert!(bounds.is_sorted(), "case {case}: {bounds:x?}");
            let below = bounds.iter().filter(|bound| **bound <= number).count();
            let admits = bounds.is_empty() || below % 2 == 1;
            assert_eq!(admits, frontend.admits(source, []), "case {case}: {source} in {bounds:x?}");
        }
        for from in [From::Workload, From::Host, From::Outside] {
            let outside = from == From::Outside;
            let packet = Packet { outside, source, destination: address, port, protocol };
            let found = in_words_of_the_oracle(resolver.ask(from, source, key));
            let expected = oracle.ask(&packet);
            assert_eq!(found, expected, "case {case}: {from:?} {packet:?}\n{:#?}", world.cluster);
            counts[match expected {
                Served::NotAService => 0,
                Served::Drop => 1,
                Served::Reject => 2,
                Served::Backends(_) => 3,
            }] += 1;
        }
    }
}

#[test]
fn any_cluster_is_resolved_as_the_rules_say() {
    let mut counts = [0; 4];
    for case in 0..clusters() {
        let world = Dice(case).world();
        compare(case, &world, &world.resolver(), &mut counts);
    }
    println!("nothing, drop, reject, backends: {counts:?}");
    // Most questions are for places where nobody is: what counts is how many are not.
    let is_frequent = |count: &usize| *count as u64 > 2 * clusters();
    assert!(counts.iter().all(is_frequent), "questions are too much alike: {counts:?}");
}
