//! Rings of many services at once, on all processors.

use crate::others::Others;
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg_service::{Backend, Choice};

/// What makes a set: slots of its ring, and backends by number and weight, the latter with a bit for who is
/// reached by a tunnel.
pub(crate) type Content = (u32, Vec<(u64, u32)>);

/// Slots for which it pays to start threads: some milliseconds' work.
const MANY: u64 = 1 << 18;

/// The content of a choice where the largest ring has `largest` slots.
pub(crate) fn content(choice: &Choice, others: &Others, largest: u32) -> Content {
    let backend = |backend: &Backend| {
        (backend.id, u32::from(backend.weight) | u32::from(others.has_tunnel(backend)) << 16)
    };
    (choice.slots(largest), choice.backends.iter().map(backend).collect())
}

/// Rings of choices that are not known, by content; none where these are few.
pub(crate) fn fill<'a>(
    choices: impl Iterator<Item = &'a Choice>,
    others: &Others,
    largest: u32,
    is_known: impl Fn(&Content) -> bool,
) -> HashMap<Content, Vec<u16>> {
    let mut seen = HashSet::new();
    let mut wanted: Vec<(Content, &Choice)> = Vec::new();
    // The same list of backends is behind most addresses and both kinds of traffic.
    for choice in choices.filter(|choice| choice.backends.len() > 1) {
        if seen.insert((choice.backends.as_ptr(), choice.goal)) {
            wanted.push((content(choice, others, largest), choice));
        }
    }
    wanted.retain(|(content, _)| content.0 > 1 && !is_known(content));
    if wanted.iter().map(|(content, _)| u64::from(content.0)).sum::<u64>() < MANY {
        return HashMap::new();
    }
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own = Vec::new();
        while let Some((content, choice)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            own.push((content.clone(), choice.ring(largest)));
        }
        own
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        // What a thread did not finish is computed where it is needed.
        let others = others.into_iter().flat_map(|other| other.join().unwrap_or_default());
        own.into_iter().chain(others).collect()
    })
}
