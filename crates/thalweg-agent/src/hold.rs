//! Links that came up again and must stay up for a while before packets use them (`holdUp`).
//!
//! The kernel's news passes through here before anybody else sees it. While a link is held, all
//! others see it down; when it stayed up long enough, it is told once more as it is.

use crate::events::Note;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use thalweg_api::view::EventSeverity;
use thalweg_compile::Compiler;
use thalweg_model::{Update, host};

/// The links that are held down.
#[derive(Debug, Default)]
pub struct Holds {
    links: BTreeMap<u32, Held>,
}

#[derive(Debug)]
struct Held {
    /// The link as it is.
    link: host::Link,
    /// Since when it is up.
    since: Instant,
}

impl Holds {
    /// Passes on what the kernel tells, with links that came up again shown down while they must
    /// prove themselves, and says which those are. A flap begins the time anew.
    pub fn screen(
        &mut self,
        compiler: &Compiler,
        updates: Vec<Update>,
        now: Instant,
    ) -> (Vec<Update>, Vec<Note>) {
        // Links of these updates, as they were passed on.
        let mut passed = BTreeMap::new();
        let mut notes = Vec::new();
        let screened = updates.into_iter().map(|update| match update {
            Update::Link(link) => {
                let known = || compiler.host_facts().links.get(&link.index).map(|link| link.up);
                let before = passed.get(&link.index).copied().unwrap_or_else(known);
                let link = self.link(compiler, link, before, now, &mut notes);
                passed.insert(link.index, Some(link.up));
                Update::Link(link)
            }
            Update::LinkGone(index) => {
                self.links.remove(&index);
                passed.insert(index, None);
                Update::LinkGone(index)
            }
            other => other,
        });
        (screened.collect(), notes)
    }

    /// A link as others see it; `before` tells whether they saw it up.
    fn link(
        &mut self,
        compiler: &Compiler,
        link: host::Link,
        before: Option<bool>,
        now: Instant,
        notes: &mut Vec<Note>,
    ) -> host::Link {
        if !link.up {
            self.links.remove(&link.index);
            return link;
        }
        let hold = compiler.hold_up(link.index);
        if !self.links.contains_key(&link.index) && (before != Some(false) || hold.is_zero()) {
            return link;
        }
        let down = host::Link { up: false, ..link.clone() };
        let held = self.links.entry(link.index).or_insert_with(|| {
            let text = format!("up, held down until it stayed up for {} s", hold.as_secs());
            let object = format!("link {}", link.name);
            notes.push(Note::new(EventSeverity::Info, "link", object, text));
            Held { link: link.clone(), since: now }
        });
        held.link = link;
        down
    }

    /// When the next link has been up long enough.
    pub fn due(&self, compiler: &Compiler) -> Option<Instant> {
        let due = |(index, held): (&u32, &Held)| held.since + compiler.hold_up(*index);
        self.links.iter().map(due).min()
    }

    /// The links that have been up long enough.
    pub fn release(&mut self, compiler: &Compiler, now: Instant) -> Vec<Update> {
        let due = |(index, held): &(&u32, &Held)| held.since + compiler.hold_up(**index) <= now;
        let due: Vec<u32> = self.links.iter().filter(due).map(|(index, _)| *index).collect();
        due.iter()
            .filter_map(|i| self.links.remove(i))
            .map(|held| Update::Link(held.link))
            .collect()
    }

    /// Seconds until a held link is used, rounded up; none for a link that is not held.
    pub fn left(&self, link: u32, compiler: &Compiler, now: Instant) -> Option<u64> {
        let until = self.links.get(&link)?.since + compiler.hold_up(link);
        let left = until.saturating_duration_since(now);
        Some((left + Duration::from_millis(999)).as_secs())
    }
}

#[cfg(test)]
mod tests;
