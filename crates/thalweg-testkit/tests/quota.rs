//! Quotas of flows against a model that cannot be wrong in the same way: a list of flows and when each was
//! last seen.

mod net;

use std::collections::HashMap;
use thalweg_abi::{Kind, Reason};
use thalweg_image::sample::SplitMix;
use thalweg_testkit::{Native, World};

/// Seconds that datagrams' flows live.
const LIVES: u32 = 60;

fn native(router: &str) -> (Native, World) {
    net::build(&["pod one 10.1.0.2 dev pod1", "pod two 10.1.0.3 dev pod2", router])
}

fn send(native: &mut Native, world: &World, line: &str) -> (Kind, Reason) {
    let fate = net::run(native, world, line);
    (fate.verdict.kind(), fate.verdict.reason())
}

/// When a flow was seen last from either side; it lives by each for itself.
#[derive(Clone, Copy)]
struct Flow {
    sides: [u32; 2],
}

impl Flow {
    fn lives(&self, now: u32) -> bool {
        self.sides.iter().any(|last| now - last <= LIVES)
    }
}

/// Of a quota that one row of tokens holds, exactly so many flows live; of a larger one never more, and
/// nobody is refused with less than half.
fn against_the_model(quota: usize, ports: u64, calm: u64) {
    let (mut native, world) = native(&format!("router quota {quota}"));
    let mut random = SplitMix(5);
    let mut flows: HashMap<(u64, u64), Flow> = HashMap::new();
    let (mut now, mut begun, mut refused) = (1, 0, 0);
    for step in 0..30_000 {
        if random.below(calm) == 0 {
            now += random.below(15) as u32;
            native.cells().set_clock(now);
        }
        let (pod, port) = (random.below(2), 4_000 + random.below(ports));
        let live = |flows: &HashMap<(u64, u64), Flow>| {
            flows.iter().filter(|((of, _), flow)| *of == pod && flow.lives(now)).count()
        };
        let known = flows.get(&(pod, port)).filter(|flow| flow.lives(now)).copied();
        let address = format!("10.1.0.{}", 2 + pod);
        if let Some(mut flow) = known.filter(|_| random.below(3) == 0) {
            // What answers keeps it alive, and is nobody's new flow.
            let line = format!("eth0 < ip 10.0.0.9 > {address} udp 53 > {port}");
            assert_eq!(send(&mut native, &world, &line).0, Kind::Forward, "step {step}");
            flow.sides[1] = now;
            flows.insert((pod, port), flow);
            continue;
        }
        let line = format!("pod{} < ip {address} > 10.0.0.9 udp {port} > 53", pod + 1);
        let (kind, reason) = send(&mut native, &world, &line);
        match (kind, known) {
            (Kind::Forward, Some(mut flow)) => {
                flow.sides[0] = now;
                flows.insert((pod, port), flow);
            }
            (Kind::Forward, None) => {
                assert!(live(&flows) < quota, "step {step}: one flow too many");
                flows.insert((pod, port), Flow { sides: [now; 2] });
                begun += 1;
            }
            (_, known) => {
                assert_eq!((kind, reason), (Kind::Drop, Reason::FlowQuota), "step {step}");
                assert!(known.is_none(), "step {step}: a flow that lives is refused");
                let least = if quota <= 7 { quota } else { quota / 2 };
                assert!(live(&flows) >= least, "step {step}: refused with {}", live(&flows));
                refused += 1;
            }
        }
    }
    assert!(begun > 500 && refused > 500, "{begun} {refused}");
}

#[test]
fn a_small_quota_is_exact() {
    against_the_model(5, 40, 4);
}

#[test]
fn a_large_quota_is_never_exceeded() {
    against_the_model(100, 4_000, 80);
}

#[test]
fn a_flood_of_one_leaves_others_their_flows() {
    const QUOTA: u32 = 200;
    let (mut native, world) = native("router quota 200");
    let (mut open, mut dropped) = (0, 0);
    for number in 0..20_000_u32 {
        let (source, port) = (number % 50_000 + 1_024, 80 + number / 50_000);
        let line = format!("pod1 < ip 10.1.0.2 > 10.0.0.9 tcp {source} > {port} syn");
        match send(&mut native, &world, &line) {
            (Kind::Forward, _) => open += 1,
            (Kind::Drop, Reason::FlowQuota) => dropped += 1,
            other => panic!("{line}: {other:?}"),
        }
        if number % 200 == 0 {
            let line = format!("pod2 < ip 10.1.0.3 > 10.0.0.9 tcp {source} > 443 syn");
            assert_eq!(send(&mut native, &world, &line).0, Kind::Forward, "{line}");
        }
    }
    assert_eq!(open + dropped, 20_000);
    // With so many that ask, the last token is found.
    assert_eq!(open, QUOTA);
}
