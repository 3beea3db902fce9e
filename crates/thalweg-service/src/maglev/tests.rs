//! Rings against what is promised of them.

use super::*;
use crate::{Goal, PRIMES, size_for};
use proptest::prelude::*;

fn counts(members: &[(u64, u16)], ring: &[u16]) -> Vec<u32> {
    let mut counts = vec![0; members.len()];
    ring.iter().for_each(|member| counts[usize::from(*member)] += 1);
    counts
}

/// Members of some set, one for each weight.
fn members(set: u64, weights: &[u16]) -> Vec<(u64, u16)> {
    (0..).zip(weights).map(|(index, weight)| (mix(set << 20 | index), *weight)).collect()
}

/// Slots that have somebody else without the member at `leaving`.
fn moved(members: &[(u64, u16)], leaving: usize, size: u32) -> usize {
    let mut after = members.to_vec();
    after.remove(leaving);
    let (a, b) = (fill(members, size), fill(&after, size));
    let differs = |(a, b): &(&u16, &u16)| members[usize::from(**a)].0 != after[usize::from(**b)].0;
    a.iter().zip(&b).filter(differs).count()
}

/// Members that shares are to be tested with: few are as likely as many.
fn count() -> impl Strategy<Value = usize> {
    prop_oneof![2usize..16, 16usize..160, 160usize..2_000]
}

#[test]
fn a_ring_says_the_same_in_every_version() {
    let ring = fill(&[(1, 1), (2, 1), (3, 2)], 13);
    assert_eq!(ring, [2, 2, 1, 0, 2, 0, 1, 0, 1, 2, 2, 2, 2]);
    let weighty: Vec<(u64, u16)> = (0..5).map(|id| (id, 1 + id as u16)).collect();
    assert_eq!(
        fill(&weighty, 23),
        [4, 4, 3, 3, 4, 4, 2, 2, 2, 4, 4, 4, 0, 3, 4, 2, 3, 1, 1, 2, 1, 3, 3]
    );
    let even: Vec<(u64, u16)> = (0..5).map(|id| (id, 7)).collect();
    assert_eq!(
        fill(&even, 23),
        [4, 2, 1, 3, 0, 0, 1, 2, 2, 4, 4, 4, 0, 3, 0, 2, 3, 1, 1, 2, 0, 1, 3]
    );
}

/// The ring of members of one weight, found by walking to the last slot.
fn walked(members: &[(u64, u16)], size: u32) -> Vec<u16> {
    let shuffle = Shuffle::of(size);
    let order = order(members);
    let weights = vec![1; members.len()];
    let quotas = quotas(&weights, size);
    let walk = |(turn, member): (usize, &u16)| {
        Walk::new(members[usize::from(*member)].0, *member, size, quotas[turn])
    };
    let mut walks: Vec<Walk> = order.iter().enumerate().map(walk).collect();
    let mut ring = vec![FREE; size as usize];
    while ring.contains(&FREE) {
        for (walk, member) in walks.iter_mut().zip(&order).filter(|(walk, _)| walk.left > 0) {
            let slot = walk.look(&shuffle.numbers, size);
            if ring[slot] == FREE {
                ring[slot] = *member;
                walk.left -= 1;
            }
        }
    }
    ring
}

#[test]
fn nobody_with_a_weight_makes_an_empty_ring() {
    assert_eq!(fill(&[], 251), []);
    assert_eq!(fill(&[(1, 0), (2, 0)], 251), []);
    assert_eq!(size_for(&[0, 0], 16_381, Goal::Balance), 1);
}

#[test]
fn one_member_has_every_slot() {
    assert_eq!(size_for(&[0, 7], 16_381, Goal::Steady), 1);
    assert_eq!(fill(&[(1, 0), (2, 7)], 1), [1]);
    assert_eq!(fill(&[(1, 0), (2, 7)], 5), [1; 5]);
}

#[test]
fn members_with_similar_ids_are_members_like_others() {
    let members: Vec<(u64, u16)> = (1..=10).map(|id| (id, 1)).collect();
    assert!(
        counts(&members, &fill(&members, 1_021)).iter().all(|count| [102, 103].contains(count))
    );
    assert!((0..10).all(|leaving| moved(&members, leaving, 16_381) <= 1_638 + 164));
}

#[test]
fn five_thousand_members_share_one_ring() {
    let members = members(1, &[1; 5_000]);
    let counts = counts(&members, &fill(&members, 131_071));
    assert!(counts.iter().all(|count| [26, 27].contains(count)));
}

#[test]
fn rings_that_are_to_be_steady_are_of_one_size() {
    let size = |count, goal| size_for(&vec![1; count], 16_381, goal);
    let steady = [1, 2, 3, 4, 5, 6, 15, 16, 100, 2_000].map(|count| size(count, Goal::Steady));
    assert_eq!(steady, [1, 16_381, 16_381, 16_381, 16_381, 16_381, 16_381, 16_381, 16_381, 16_381]);
    assert_eq!(size_for(&[1; 3], 13, Goal::Steady), 13);
}

#[test]
fn others_are_as_large_as_their_shares_want() {
    let size = |count, largest| size_for(&vec![1; count], largest, Goal::Balance);
    let sizes = [2, 3, 5, 10, 20, 100, 1_000].map(|count| size(count, 131_071));
    assert_eq!(sizes, [1_021, 1_021, 1_021, 1_021, 2_039, 16_381, 65_537]);
    assert_eq!(size(100, 4_093), 4_093, "the configured ring is the limit");
    assert_eq!(size(2, 251), 251, "also where it is a very small one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_last_slots_belong_to_those_who_would_have_walked_there(
        set in any::<u64>(),
        count in 2usize..300,
        size in prop::sample::select(&PRIMES[..7]),
    ) {
        let members = members(set, &vec![1; count]);
        prop_assert_eq!(fill(&members, size), walked(&members, size));
    }

    #[test]
    fn equal_members_have_shares_within_one_percent(set in any::<u64>(), count in 2usize..1_300) {
        let weights = vec![1; count];
        let size = size_for(&weights, 131_071, Goal::Balance);
        let members = members(set, &weights);
        let mean = f64::from(size) / count as f64;
        for count in counts(&members, &fill(&members, size)) {
            prop_assert!((f64::from(count) - mean).abs() <= mean / 100.0, "{count} of {mean}");
        }
    }

    #[test]
    fn weights_have_shares_within_one_percent(
        set in any::<u64>(),
        weights in prop::collection::vec(0u16..5, 2..80),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let size = size_for(&weights, 131_071, Goal::Balance);
        let members = members(set, &weights);
        let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
        for (count, weight) in counts(&members, &fill(&members, size)).into_iter().zip(&weights) {
            let share = f64::from(size) * f64::from(*weight) / f64::from(total);
            prop_assert!((f64::from(count) - share).abs() <= share / 100.0, "{count} of {share}");
        }
    }

    #[test]
    fn any_weights_have_their_share_to_a_slot(
        set in any::<u64>(),
        weights in prop::collection::vec(any::<u16>(), 1..300),
    ) {
        let members = members(set, &weights);
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (count, weight) in counts(&members, &fill(&members, 1_021)).into_iter().zip(&weights) {
            let share = 1_021.0 * f64::from(*weight) / total;
            prop_assert!((f64::from(count) - share).abs() < 1.0, "{count} of {share}");
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(
        set in any::<u64>(),
        weights in prop::collection::vec(0u16..4, 1..40),
        seed in any::<u64>(),
    ) {
        let members = members(set, &weights);
        let mut shuffled = members.clone();
        shuffled.sort_by_key(|(id, _)| mix(id ^ seed));
        let ids = |members: &[(u64, u16)]| -> Vec<u64> {
            fill(members, 509).into_iter().map(|member| members[usize::from(member)].0).collect()
        };
        prop_assert_eq!(ids(&members), ids(&shuffled));
    }

    #[test]
    fn one_that_leaves_or_comes_moves_its_share_and_one_percent(
        set in any::<u64>(),
        count in count(),
        leaving in any::<prop::sample::Index>(),
        largest in prop::sample::select(vec![16_381u32, 65_537]),
    ) {
        let weights = vec![1; count];
        let size = size_for(&weights, largest, Goal::Steady);
        let moved = moved(&members(set, &weights), leaving.index(count), size) as f64;
        let share = moved / f64::from(size);
        prop_assert!(share <= 1.0 / count as f64 + 0.01, "{share} of {size} for {count}");
    }

    #[test]
    fn one_with_a_weight_that_leaves_or_comes_moves_its_share_and_one_percent(
        set in any::<u64>(),
        (largest, weights) in prop_oneof![
            (Just(16_381u32), prop::collection::vec(1u16..5, 2..50)),
            (Just(65_537u32), prop::collection::vec(1u16..5, 2..500)),
        ],
        leaving in any::<prop::sample::Index>(),
    ) {
        let size = size_for(&weights, largest, Goal::Steady);
        let leaving = leaving.index(weights.len());
        let total: u32 = weights.iter().map(|w| u32::from(*w)).sum();
        let own = f64::from(weights[leaving]) / f64::from(total);
        let share = moved(&members(set, &weights), leaving, size) as f64 / f64::from(size);
        prop_assert!(share <= own + 0.01, "{share} of {size} for {own}");
    }

    #[test]
    fn whoever_comes_and_leaves_moves_shares_alone(
        set in any::<u64>(),
        start in prop::collection::vec(0u16..4, 0..8),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0u16..4, any::<bool>()), 1..12),
    ) {
        // Sizes are those that the rule gives to each set by itself.
        let ring = |members: &[(u64, u16)]| -> Vec<u64> {
            let weights: Vec<u16> = members.iter().map(|(_, weight)| *weight).collect();
            let ring = fill(members, size_for(&weights, 16_381, Goal::Steady));
            let ids: Vec<u64> = ring.iter().map(|member| members[usize::from(*member)].0).collect();
            if ids.len() == 1 { vec![ids[0]; 16_381] } else { ids }
        };
        let mut now = members(set, &start);
        for (number, (at, weight, comes)) in (1_000..).zip(steps) {
            let before = now.clone();
            let part = |members: &[(u64, u16)], weight: u16| {
                let total: u32 = members.iter().map(|(_, weight)| u32::from(*weight)).sum();
                f64::from(weight) / f64::from(total)
            };
            let own = if comes || now.is_empty() {
                now.push((mix(set << 20 | number), weight));
                part(&now, weight)
            } else {
                let gone = now.remove(at.index(before.len()));
                part(&before, gone.1)
            };
            let rings = (ring(&before), ring(&now));
            if rings.0.is_empty() || rings.1.is_empty() {
                continue;
            }
            let moved = rings.0.iter().zip(&rings.1).filter(|(a, b)| a != b).count();
            let share = moved as f64 / rings.0.len() as f64;
            prop_assert!(share <= own + 0.01, "{share} for {own}: {before:?} to {now:?}");
        }
    }
}
