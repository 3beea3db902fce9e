//! The last events of one kind.

use super::{MOST, forget_number};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_abi::DropEvent;
use tokio::sync::watch;

/// An event with its number and its moment in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub number: u64,
    pub at: u64,
    pub event: DropEvent,
}

/// The memory. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    told: VecDeque<Told>,
    last: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { ring: Arc::default(), changed: watch::channel(0).0 }
    }
}

impl Memory {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events in, each with its moment in milliseconds since 1970.
    pub fn tell(&self, events: impl Iterator<Item = (u64, DropEvent)>) {
        let last = {
            let mut ring = self.ring();
            for (at, event) in events {
                ring.last += 1;
                let number = ring.last;
                ring.told.push_back(Told { number, at, event });
                if ring.told.len() > MOST {
                    ring.told.pop_front();
                }
            }
            ring.last
        };
        self.changed.send_if_modified(|known| std::mem::replace(known, last) != last);
    }

    /// Numbers of what decides mean nothing any more.
    pub fn forget_numbers(&self) {
        self.ring().told.iter_mut().for_each(|told| forget_number(&mut told.event));
    }

    /// Changes when there are new events.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// All events behind a number, with how many are gone that were behind it, and the last number.
    pub fn after(&self, place: Option<u64>) -> (Vec<Told>, u64, u64) {
        let ring = self.ring();
        let oldest = ring.told.front().map_or(ring.last + 1, |told| told.number);
        let missed = place.map_or(0, |place| oldest.saturating_sub(place + 1));
        let place = place.unwrap_or(0);
        let told = ring.told.iter().filter(|told| told.number > place).copied().collect();
        (told, missed, ring.last)
    }
}
