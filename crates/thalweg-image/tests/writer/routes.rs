//! Routes in the tables against routes kept in the plainest way.

use crate::plain::{Plain, Route};
use crate::{apply, capacity, used};
use proptest::prelude::*;
use thalweg_abi::{GroupId, TableId, VrfId};
use thalweg_image::sample::SplitMix;
use thalweg_image::{Capacity, Memory, NoReaders, Writer};
use thalweg_wire::{Prefix4, Prefix6};

/// One change of one route: VRF, prefix, group.
type Step<P> = (u16, P, u16);

/// Prefixes close to one another: few values of each part of the address.
fn prefix4() -> impl Strategy<Value = Prefix4> {
    let bytes = (
        prop::sample::select(vec![0_u8, 10, 11, 255]),
        prop::sample::select(vec![0_u8, 1, 0x80, 255]),
        prop_oneof![0_u8..4, 28_u8..36, 252_u8..=255],
        any::<u8>(),
    );
    let len = prop_oneof![
        1 => 0_u8..=8, 2 => 9_u8..=18, 3 => 19_u8..=23, 4 => Just(24), 4 => 25_u8..=32
    ];
    (bytes, len).prop_map(|((a, b, c, d), len)| Prefix4::containing([a, b, c, d].into(), len))
}

fn prefix6() -> impl Strategy<Value = Prefix6> {
    let word = || prop::sample::select(vec![0_u16, 1, 0x40, 0x8000, 0xff00, 0xffff]);
    let words = (
        prop::sample::select(vec![0_u16, 0x2001, 0x2002, 0x2a00, 0xfe80, 0xffff]),
        prop::sample::select(vec![0_u16, 0xdb8, 0xdb9, 0xffff]),
        word(),
        word(),
        prop::sample::select(vec![0_u16, 0, 0, 0xffff]),
        prop::sample::select(vec![0_u16, 0, 0, 0xffff]),
        word(),
        prop_oneof![0_u16..8, Just(0xffff)],
    );
    let len = prop_oneof![
        1 => 0_u8..=13, 2 => 14_u8..=24, 4 => 25_u8..=64, 1 => 65_u8..=126, 2 => 127_u8..=128
    ];
    (words, len).prop_map(|((a, b, c, d, e, f, g, h), len)| {
        Prefix6::containing([a, b, c, d, e, f, g, h].into(), len)
    })
}

/// Steps among few prefixes, so that they are replaced and removed as often as added.
fn steps<P: Route + 'static>(
    prefix: impl Strategy<Value = P> + 'static,
) -> impl Strategy<Value = Vec<Vec<Step<P>>>> {
    prop::collection::vec(prefix, 1..40).prop_flat_map(|prefixes| {
        let group = prop_oneof![3 => Just(0_u16), 6 => 1_u16..4, 1 => 500_u16..510];
        let step =
            (prop_oneof![3 => Just(0_u16), 1 => 1_u16..3], prop::sample::select(prefixes), group);
        let plan = prop_oneof![
            4 => prop::collection::vec(step.clone(), 1..2),
            1 => prop::collection::vec(step, 1..30),
        ];
        prop::collection::vec(plan, 1..40)
    })
}

/// Tables that hold even the shortest prefixes in every VRF.
fn roomy() -> Capacity {
    capacity(&[(TableId::Fib4Root, 3 * 256 * 2048)])
}

fn follow<P: Route>(steps: Vec<Vec<Step<P>>>, seed: u64) {
    let memory = Memory::heap(&roomy());
    let mut writer = Writer::new(memory, Box::new(NoReaders));
    let start = used(&writer);
    let mut plain = Plain::new();
    let mut random = SplitMix(seed);
    for plan in steps {
        let change = |(vrf, prefix, group): &Step<P>| prefix.change(VrfId(*vrf), GroupId(*group));
        let applied = apply(&mut writer, plan.iter().map(change).collect());
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
        if random.below(2) == 0 {
            writer.ready();
        }
        for &(vrf, prefix, group) in &plan {
            plain.set(VrfId(vrf), prefix, GroupId(group));
        }
        for (vrf, prefix, _) in plan {
            plain.check_edges(&writer, VrfId(vrf), prefix);
            let within = prefix.last() - prefix.first();
            let low = u128::from(random.next()) << 64 | u128::from(random.next());
            plain.check(&writer, VrfId(vrf), [prefix.first() + (low & within), low]);
        }
    }
    plain.check_all(&writer);
    // Whatever came before, the same routes take the same room.
    let mut fresh = Writer::new(Memory::heap(&roomy()), Box::new(NoReaders));
    let all = plain.0.iter().map(|((vrf, prefix), group)| prefix.change(*vrf, *group));
    assert!(apply(&mut fresh, all.collect()).failures.is_empty());
    for ((table, here), (_, there)) in used(&writer).into_iter().zip(used(&fresh)) {
        // Long skips may be cut elsewhere, which may cost a node.
        let most = if table == TableId::Fib6Nodes { there + there / 2 } else { there };
        assert!((there..=most).contains(&here), "{table:?}: {here} cells, fresh {there}");
    }
    let rest = plain.0.keys().map(|(vrf, prefix)| prefix.change(*vrf, GroupId::NONE)).collect();
    assert!(apply(&mut writer, rest).failures.is_empty());
    assert_eq!(used(&writer), start);
    writer.settle();
    assert_eq!(used(&writer), start);
    let audit = writer.memory().audit();
    assert!(audit.octets > 0 && audit.damages.is_empty(), "{audit:?}");
}

/// Cases of each property: `PROPTEST_CASES` for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default()
    })]

    #[test]
    fn ipv4_answers_are_those_of_the_longest_prefix(steps in steps(prefix4()), seed: u64) {
        follow(steps, seed);
    }

    #[test]
    fn ipv6_answers_are_those_of_the_longest_prefix(steps in steps(prefix6()), seed: u64) {
        follow(steps, seed);
    }

    #[test]
    fn full_ipv4_tables_leave_routes_out_and_never_lie(
        steps in steps(prefix4()), leaves in 1_u32..5, blocks in 1_u32..6, pages in 256_u32..259,
    ) {
        follow_full(steps, &[
            (TableId::Fib4Leaves, leaves * 32),
            (TableId::Fib4Long, blocks * 256),
            (TableId::Fib4Root, pages * 2048),
        ]);
    }

    #[test]
    fn full_ipv6_tables_leave_routes_out_and_never_lie(
        steps in steps(prefix6()), nodes in 1_u32..80, leaves in 1_u32..5, pages in 1_u32..7,
    ) {
        follow_full(steps, &[
            (TableId::Fib6Nodes, nodes),
            (TableId::Fib6Leaves, leaves * 32),
            (TableId::Fib6Pages, pages * 2048),
        ]);
    }
}

/// Follows steps in tables that are too small for them.
fn follow_full<P: Route>(steps: Vec<Vec<Step<P>>>, cells: &[(TableId, u32)]) {
    let mut writer = Writer::new(Memory::heap(&capacity(cells)), Box::new(NoReaders));
    let start = used(&writer);
    let mut plain = Plain::<P>::new();
    for plan in steps {
        let change = |(vrf, prefix, group): &Step<P>| prefix.change(VrfId(*vrf), GroupId(*group));
        let failures = apply(&mut writer, plan.iter().map(change).collect()).failures;
        let failed: Vec<_> = failures.iter().filter_map(|failure| P::of(&failure.change)).collect();
        assert_eq!(failed.len(), failures.len());
        for failure in &failures {
            assert!(cells.iter().any(|(table, _)| *table == failure.table), "{failure:?}");
            assert!(failure.used <= failure.capacity, "{failure:?}");
        }
        for &(vrf, prefix, group) in &plan {
            if !failed.contains(&(VrfId(vrf), prefix)) {
                plain.set(VrfId(vrf), prefix, GroupId(group));
            }
        }
        for (vrf, prefix, _) in plan {
            plain.check_edges(&writer, VrfId(vrf), prefix);
        }
    }
    plain.check_all(&writer);
    // Every route goes in the end, whatever the order; then there is room again.
    for (vrf, prefix) in plain.clone().0.into_keys() {
        let failures = apply(&mut writer, vec![prefix.change(vrf, GroupId::NONE)]).failures;
        if failures.is_empty() {
            plain.set(vrf, prefix, GroupId::NONE);
        }
        plain.check_all(&writer);
    }
    let rest = plain.0.keys().map(|(vrf, prefix)| prefix.change(*vrf, GroupId::NONE)).collect();
    let failures = apply(&mut writer, rest).failures;
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(used(&writer), start);
}
