//! Single frames that were discarded, for `thalweg drops`: the last thousand, as the data plane told them.
//!
//! ```text
//!   programs ──ring──► listener ──► memory ──► whoever asks
//! ```
//!
//! The data plane waits for nobody, and neither does the listener: it takes what is in the kernel's ring, and
//! the oldest frames in memory make room. Names are looked for when somebody asks.

mod listen;
mod words;

pub use listen::Listener;

use crate::cluster;
use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_abi::{DropEvent, Reason};
use thalweg_api::Fault;
use thalweg_api::drops::{DropEventCounts, DropPage, DropQuery};
use thalweg_compile::Compiler;
use thalweg_xdp::EventCounts;
use tokio::sync::watch;
use words::{Words, address};

/// Frames that are remembered.
pub const MOST: usize = 1_000;

/// A frame that was discarded, with its number and its moment in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    number: u64,
    at: u64,
    event: DropEvent,
}

/// The memory. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Drops {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    told: VecDeque<Told>,
    last: u64,
}

impl Default for Drops {
    fn default() -> Self {
        Self { ring: Arc::default(), changed: watch::channel(0).0 }
    }
}

impl Drops {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events in, each with its moment in milliseconds since 1970.
    fn tell(&self, events: impl Iterator<Item = (u64, DropEvent)>) {
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

    /// Changes when there are new frames.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// All frames behind a number, with how many are gone that were behind it, and the last number.
    fn after(&self, place: Option<u64>) -> (Vec<Told>, u64, u64) {
        let ring = self.ring();
        let oldest = ring.told.front().map_or(ring.last + 1, |told| told.number);
        let missed = place.map_or(0, |place| oldest.saturating_sub(place + 1));
        let place = place.unwrap_or(0);
        let told = ring.told.iter().filter(|told| told.number > place).copied().collect();
        (told, missed, ring.last)
    }

    /// What is wanted of the frames, in words.
    ///
    /// # Errors
    ///
    /// A pod, reason or link that is not known.
    pub fn page(
        &self,
        compiler: &Compiler,
        counts: EventCounts,
        query: &DropQuery,
    ) -> Result<DropPage, Fault> {
        let wanted = Wanted::new(compiler, query)?;
        let (mut told, missed, last) = self.after(query.after);
        told.retain(|told| wanted.takes(&told.event));
        if query.after.is_none() {
            let many = told.len().saturating_sub(query.limit as usize);
            told.drain(..many);
        }
        let words = Words::new(compiler, &told);
        let EventCounts { taken, left_out, lost } = counts;
        Ok(DropPage {
            missed,
            counts: DropEventCounts { taken, left_out, lost },
            last,
            events: told.iter().map(|told| words.view(told)).collect(),
        })
    }
}

/// What somebody wants to be told of.
struct Wanted {
    from: Option<HashSet<IpAddr>>,
    to: Option<HashSet<IpAddr>>,
    reason: Option<Reason>,
    link: Option<u32>,
}

impl Wanted {
    fn new(compiler: &Compiler, query: &DropQuery) -> Result<Self, Fault> {
        let who = |who: &Option<String>| {
            who.as_deref().map(|who| cluster::addresses(compiler, who)).transpose()
        };
        let link = query.link.as_deref().map(|name| {
            compiler.host_facts().link_named(name).map(|link| link.index).ok_or_else(|| {
                let what = format!("there is no link `{name}`");
                Fault::not_found(what, "`thalweg get links` lists them")
            })
        });
        let reason = query.reason.as_deref().map(|word| {
            crate::views::reason_named(word).ok_or_else(|| {
                let what = format!("there is no reason `{word}`");
                Fault::not_found(what, "`thalweg get drops` lists those that occurred")
            })
        });
        Ok(Self {
            from: who(&query.from)?,
            to: who(&query.to)?,
            reason: reason.transpose()?,
            link: link.transpose()?,
        })
    }

    fn takes(&self, event: &DropEvent) -> bool {
        let is = |wanted: &Option<HashSet<IpAddr>>, halves| match wanted {
            Some(wanted) => address(event, halves).is_some_and(|found| wanted.contains(&found)),
            None => true,
        };
        is(&self.from, event.source)
            && is(&self.to, event.destination)
            && self.reason.is_none_or(|reason| reason as u8 == event.reason)
            && self.link.is_none_or(|link| link == event.link)
    }
}

#[cfg(test)]
mod tests;
