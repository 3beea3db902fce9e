//! Single frames that were discarded, for `thalweg drops`: the last thousand, as the data plane told them. And the
//! last thousand that rules of policies log, for `thalweg policy log`.
//!
//! ```text
//!   programs ──ring──► listener ──► memory ──► whoever asks
//! ```
//!
//! The data plane waits for nobody, and neither does the listener: it takes what is in the kernel's ring, and
//! the oldest frames in memory make room. Names are looked for when somebody asks.

mod listen;
mod log;
mod memory;
mod words;

pub use listen::Listener;

use crate::cluster;
use memory::{Memory, Told};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_abi::event::flag;
use thalweg_abi::{DropEvent, Reason};
use thalweg_api::Fault;
use thalweg_api::drops::{DropEventCounts, DropPage, DropQuery};
use thalweg_api::log::{LogPage, LogQuery};
use thalweg_compile::Compiler;
use thalweg_xdp::EventCounts;
use tokio::sync::watch;
use words::{Words, address};

/// Frames that are remembered of each kind.
pub const MOST: usize = 1_000;

/// The memory. Clones are the same memory.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    dropped: Memory,
    logged: Memory,
    /// Since when, in nanoseconds of the monotonic clock, the numbers of what decides are those of this agent's
    /// tables: programs of the agent before may have told what is in the ring.
    known: Arc<AtomicU64>,
}

impl Drops {
    /// Takes events in, each with its moment in milliseconds since 1970. What was discarded past rules that log is
    /// remembered as both.
    fn tell(&self, events: impl Iterator<Item = (u64, DropEvent)>) {
        let is = |(_, event): &(u64, DropEvent), bit| event.flags & bit != 0;
        let known = self.known.load(Ordering::Relaxed);
        let mut events: Vec<_> = events.collect();
        for (_, event) in events.iter_mut().filter(|(_, event)| event.time < known) {
            forget_number(event);
        }
        let all = || events.iter().copied();
        self.dropped.tell(all().filter(|one| !is(one, flag::LOG)));
        self.logged.tell(all().filter(|one| is(one, flag::LOGGED)));
    }

    /// The numbers of what decides are others in tables to come: what was told before has none any more, nor has
    /// what is told until these are in force.
    pub fn forget_numbers(&self) {
        self.known.store(u64::MAX, Ordering::Relaxed);
        [&self.dropped, &self.logged].into_iter().for_each(Memory::forget_numbers);
    }

    /// Programs with these tables stand at all hooks.
    pub fn know_numbers(&self) {
        let now = thalweg_xdp::events::now();
        // Else they were there before.
        let _ = self.known.compare_exchange(u64::MAX, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Changes when there are new frames.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.dropped.watch()
    }

    /// Changes when there are new packets that rules log.
    pub fn watch_log(&self) -> watch::Receiver<u64> {
        self.logged.watch()
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
        let (mut told, missed, last) = self.dropped.after(query.after);
        wanted.choose(&mut told, query.after, query.limit);
        let words = Words::new(compiler, &told);
        Ok(DropPage {
            missed,
            counts: counted(counts),
            last,
            events: told.iter().map(|told| words.view(told)).collect(),
        })
    }

    /// What is wanted of the packets that rules log, in words.
    ///
    /// # Errors
    ///
    /// A pod or link that is not known.
    pub fn log(
        &self,
        compiler: &Compiler,
        counts: EventCounts,
        query: &LogQuery,
    ) -> Result<LogPage, Fault> {
        let LogQuery { from, to, link, .. } = query.clone();
        let wanted = Wanted::new(compiler, &DropQuery { from, to, link, ..DropQuery::default() })?;
        let (mut told, missed, last) = self.logged.after(query.after);
        wanted.choose(&mut told, query.after, query.limit);
        let words = Words::new(compiler, &told);
        Ok(LogPage {
            missed,
            counts: counted(counts),
            last,
            events: told.iter().map(|told| words.log(told)).collect(),
        })
    }
}

/// Takes out of an event by what number of other tables policies decided.
fn forget_number(event: &mut DropEvent) {
    if event.flags & flag::LOG != 0 {
        (event.cause, event.octets) = (0, 0);
    } else if event.reason == Reason::Policy as u8 {
        event.cause = 0;
    }
}

fn counted(counts: EventCounts) -> DropEventCounts {
    let EventCounts { taken, left_out, lost } = counts;
    DropEventCounts { taken, left_out, lost }
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

    /// Keeps what is wanted, of what has not been asked for before the latest.
    fn choose(&self, told: &mut Vec<Told>, after: Option<u64>, limit: u32) {
        told.retain(|told| self.takes(&told.event));
        if after.is_none() {
            let many = told.len().saturating_sub(limit as usize);
            told.drain(..many);
        }
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
