//! Weights to buckets: 2^n slots that a flow hash indexes (RFC 2992), changed as little as possible.
//!
//! A flow's bucket is `hash & (slots − 1)`, so a table that doubles by repetition moves no flow, and
//! a member that leaves moves only the flows of its own buckets.

/// Slots up to which shares are made exact to [`TOLERANCE`].
const FINE: usize = 256;
/// The most slots a group may have.
const MOST: usize = 1 << 16;
/// Relative error of a share that is good enough, in percent.
const TOLERANCE: u64 = 2;

/// How many slots `weights` need. Zero weights count as one.
pub fn slots(weights: &[u64]) -> usize {
    let weights: Vec<u64> = reduced(weights);
    let sum: u64 = weights.iter().sum();
    if weights.len() <= 1 {
        return 1;
    }
    if sum.is_power_of_two() && sum <= FINE as u64 {
        return sum as usize;
    }
    let mut size = 16.max(weights.len().next_power_of_two());
    while size < FINE && !is_fine(&weights, sum, size) {
        size *= 2;
    }
    if weights.len() * 4 > size {
        size = (weights.len() * 4).next_power_of_two();
    }
    size.min(MOST)
}

fn reduced(weights: &[u64]) -> Vec<u64> {
    let gcd = weights.iter().fold(0, |a, b| gcd(a, (*b).max(1))).max(1);
    weights.iter().map(|weight| (*weight).max(1) / gcd).collect()
}

/// Greatest common divisor; of zero and a number, the number.
pub fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn is_fine(weights: &[u64], sum: u64, size: usize) -> bool {
    let quotas = quotas(weights, size, &[]);
    weights.iter().zip(&quotas).all(|(weight, quota)| {
        let ideal = weight * size as u64;
        (*quota as u64 * sum).abs_diff(ideal) * 100 <= ideal * TOLERANCE
    })
}

/// Slots of each member: its exact share rounded down or up, whichever keeps what it `held`; what
/// remains goes by largest remainder. Every member gets at least one slot while there are enough.
fn quotas(weights: &[u64], size: usize, held: &[usize]) -> Vec<usize> {
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum::<u128>().max(1);
    let exact: Vec<u128> = weights.iter().map(|w| u128::from(*w) * size as u128).collect();
    let floor = |i: usize| (exact[i] / sum) as usize;
    let keep = |i: usize| held.get(i).is_some_and(|held| *held > floor(i));
    let mut quotas: Vec<usize> = (0..weights.len()).map(floor).collect();
    let mut order: Vec<usize> =
        (0..weights.len()).filter(|&i| !exact[i].is_multiple_of(sum)).collect();
    order.sort_by_key(|&i| (!keep(i), std::cmp::Reverse(exact[i] % sum), i));
    let left = size - quotas.iter().sum::<usize>();
    for &i in order.iter().take(left) {
        quotas[i] += 1;
    }
    feed_the_starved(&mut quotas);
    quotas
}

fn feed_the_starved(quotas: &mut [usize]) {
    while let Some(poor) = quotas.iter().position(|q| *q == 0) {
        let Some(rich) = (0..quotas.len()).rev().max_by_key(|&i| quotas[i]) else { return };
        if quotas[rich] <= 1 {
            return;
        }
        quotas[rich] -= 1;
        quotas[poor] += 1;
    }
}

/// A table for `weights`. `old` is the table before, its members already renamed to positions in
/// `weights`; `None` stands for a member that left.
pub fn table(weights: &[u64], old: &[Option<usize>]) -> Vec<usize> {
    let weights = reduced(weights);
    if weights.len() <= 1 {
        return vec![0; weights.len()];
    }
    let survivors = old.iter().any(|slot| slot.is_some());
    let wanted = slots(&weights);
    let size = if survivors { wanted.max(old.len()).min(MOST) } else { wanted };
    if !survivors {
        return interleaved(&quotas(&weights, size, &[]), size);
    }
    let mut slots: Vec<Option<usize>> = (0..size).map(|i| old[i % old.len()]).collect();
    let mut held = vec![0; weights.len()];
    for member in slots.iter().flatten() {
        held[*member] += 1;
    }
    let quotas = quotas(&weights, size, &held);
    release_surplus(&mut slots, &mut held, &quotas);
    fill(&mut slots, &mut held, &quotas);
    slots.into_iter().map(|slot| slot.unwrap_or(0)).collect()
}

/// A fresh table: members take turns, so that low bits of the hash spread them, too.
fn interleaved(quotas: &[usize], size: usize) -> Vec<usize> {
    let mut slots = vec![None; size];
    let mut held = vec![0; quotas.len()];
    fill(&mut slots, &mut held, quotas);
    slots.into_iter().map(|slot| slot.unwrap_or(0)).collect()
}

/// Takes slots from members that hold more than their quota.
fn release_surplus(slots: &mut [Option<usize>], held: &mut [usize], quotas: &[usize]) {
    for slot in slots.iter_mut() {
        if let Some(member) = *slot
            && held[member] > quotas[member]
        {
            held[member] -= 1;
            *slot = None;
        }
    }
}

/// Gives empty slots to members below their quota, in turns.
fn fill(slots: &mut [Option<usize>], held: &mut [usize], quotas: &[usize]) {
    let mut turn = 0;
    for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
        let Some(member) =
            (0..quotas.len()).map(|i| (turn + i) % quotas.len()).find(|&i| held[i] < quotas[i])
        else {
            return;
        };
        held[member] += 1;
        *slot = Some(member);
        turn = member + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(table: &[usize], member: usize) -> usize {
        table.iter().filter(|slot| **slot == member).count()
    }

    #[test]
    fn equal_powers_of_two_stay_small() {
        assert_eq!(table(&[1], &[]), [0]);
        assert_eq!(table(&[7, 7], &[]), [0, 1]);
        assert_eq!(slots(&[3, 3, 3, 3]), 4);
        assert_eq!(slots(&[1, 3]), 4);
        assert_eq!(slots(&[1, 1, 1]), 128);
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_slots() {
        let old = table(&[1; 4], &[]);
        let renamed: Vec<_> = old.iter().map(|m| (*m < 3).then_some(*m)).collect();
        let new = table(&[1; 3], &renamed);
        for (slot, member) in new.iter().enumerate() {
            let before = old[slot % old.len()];
            assert!(
                before == 3 || before == *member,
                "slot {slot} moved from {before} to {member}"
            );
        }
        // And back: the returning member takes a fair share, nobody else's flows move between others.
        let renamed: Vec<_> = new.iter().map(|m| Some(*m)).collect();
        let back = table(&[1; 4], &renamed);
        assert_eq!(count(&back, 3), back.len() / 4);
        for (slot, member) in back.iter().enumerate() {
            assert!(*member == 3 || *member == new[slot]);
        }
    }

    #[test]
    fn rounding_takes_no_slot_from_those_who_stay() {
        let weights = [13, 7, 6, 2, 6, 15, 6, 13, 1];
        let old: Vec<_> =
            table(&weights, &[]).into_iter().map(|m| Some(m).filter(|m| *m < 8)).collect();
        let new = table(&weights[..8], &old);
        let kept = |slot: usize| old[slot % old.len()].is_none_or(|member| member == new[slot]);
        assert!((0..new.len()).all(kept));
    }

    proptest! {
        #[test]
        fn shares_are_as_close_as_slots_allow(weights in prop::collection::vec(1u64..=256, 1..40)) {
            let table = table(&weights, &[]);
            prop_assert!(table.len().is_power_of_two());
            let sum: u64 = weights.iter().sum();
            for (i, weight) in weights.iter().enumerate() {
                let got = count(&table, i) as f64 / table.len() as f64;
                let want = *weight as f64 / sum as f64;
                prop_assert!(count(&table, i) > 0);
                // Members that a rounding would starve are fed by the richest.
                let slack = if weights.len() > 1 { weights.len() as f64 } else { 0.0 };
                prop_assert!((got - want).abs() * table.len() as f64 <= slack.max(1.0));
            }
        }

        #[test]
        fn only_orphans_move_when_a_member_leaves(
            weights in prop::collection::vec(1u64..=16, 2..12),
            gone in 0usize..12,
        ) {
            let gone = gone % weights.len();
            let old = table(&weights, &[]);
            let mut left = weights.clone();
            left.remove(gone);
            let renamed: Vec<_> = old
                .iter()
                .map(|m| (*m != gone).then_some(if *m > gone { m - 1 } else { *m }))
                .collect();
            let new = table(&left, &renamed);
            let moved = new
                .iter()
                .enumerate()
                .filter(|(slot, member)| {
                    renamed[slot % old.len()].is_some_and(|before| before != **member)
                })
                .count();
            prop_assert_eq!(moved, 0);
        }
    }
}
