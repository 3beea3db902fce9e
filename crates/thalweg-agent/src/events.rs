//! What happened, for `thalweg events`: the last few thousand things, and who reads them.
//!
//! The agent writes into a ring and never waits. Each reader has a place of its own in it; one that
//! is too slow finds how many it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_api::view::{EventPage, EventSeverity, EventView};
use thalweg_api::{EventQuery, moment};
use tokio::sync::watch;

/// Events that are remembered.
pub const MOST: usize = 4_096;
/// Characters of a text, so that nobody fills the agent's memory with a wrong file.
const LONG: usize = 1_000;

/// Something worth telling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// How much it matters.
    pub severity: EventSeverity,
    /// What kind of thing happened: `link`, `hook`, `session`, ….
    pub kind: &'static str,
    /// What it happened to.
    pub object: String,
    /// What happened.
    pub text: String,
}

impl Note {
    /// A note.
    pub fn new(
        severity: EventSeverity,
        kind: &'static str,
        object: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self { severity, kind, object: object.into(), text: text.into() }
    }
}

/// The ring. Clones are the same ring.
#[derive(Clone, Debug)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Events with their moment in milliseconds since 1970.
    events: VecDeque<(u64, u64, Note)>,
    last: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Arc::default(), changed: watch::channel(0).0 }
    }
}

impl Events {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of something that happened now.
    pub fn tell(&self, note: Note) {
        self.tell_at(moment::now(), note);
    }

    fn tell_at(&self, at: u64, mut note: Note) {
        if let Some((end, _)) = note.text.char_indices().nth(LONG) {
            note.text.truncate(end);
            note.text.push('…');
        }
        let number = {
            let mut ring = self.ring();
            ring.last += 1;
            let number = ring.last;
            ring.events.push_back((number, at, note));
            if ring.events.len() > MOST {
                ring.events.pop_front();
            }
            number
        };
        self.changed.send_replace(number);
    }

    /// Changes when there are new events.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The events behind a place, as far as they are wanted, and the place to go on from. A reader
    /// begins without one.
    pub fn after(&self, place: Option<u64>, query: &EventQuery) -> (EventPage, u64) {
        let ring = self.ring();
        let oldest = ring.events.front().map_or(ring.last + 1, |event| event.0);
        let lost = place.map_or(0, |place| oldest.saturating_sub(place + 1));
        let place = place.unwrap_or(0);
        let wanted = ring.events.iter().filter(|(number, at, note)| {
            *number > place
                && query.since.is_none_or(|since| *at >= since)
                && query.severity.is_none_or(|least| note.severity >= least)
        });
        let view = |(number, at, note): &(u64, u64, Note)| EventView {
            number: *number,
            at: moment::text(*at),
            severity: note.severity,
            kind: note.kind.into(),
            object: note.object.clone(),
            text: note.text.clone(),
        };
        (EventPage { lost, events: wanted.map(view).collect() }, ring.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(severity: EventSeverity, text: &str) -> Note {
        Note::new(severity, "link", "link eth0", text)
    }

    #[test]
    fn readers_go_on_where_they_were_and_are_told_what_they_missed() {
        let events = Events::default();
        let query = EventQuery::default();
        let (page, place) = events.after(None, &query);
        assert_eq!((page.lost, page.events.len(), place), (0, 0, 0));
        events.tell(note(EventSeverity::Info, "up"));
        let (page, place) = events.after(Some(place), &query);
        assert_eq!((page.lost, page.events.len(), place), (0, 1, 1));
        for _ in 0..MOST + 10 {
            events.tell(note(EventSeverity::Info, "again"));
        }
        let (page, place) = events.after(Some(place), &query);
        assert_eq!((page.lost, page.events.len()), (10, MOST));
        assert_eq!(page.events[0].number, 12);
        assert_eq!(events.after(Some(place), &query).0, EventPage::default());
        assert_eq!(events.after(None, &query).0.lost, 0, "who begins missed nothing");
    }

    #[test]
    fn texts_are_cut() {
        let events = Events::default();
        events.tell(note(EventSeverity::Info, &"é".repeat(5_000)));
        let text = events.after(None, &EventQuery::default()).0.events.remove(0).text;
        assert!(text.chars().count() == LONG + 1 && text.ends_with("é…"), "{text}");
    }

    #[test]
    fn only_what_is_wanted_is_told() {
        let events = Events::default();
        events.tell_at(1_000, note(EventSeverity::Error, "old"));
        events.tell_at(2_000, note(EventSeverity::Debug, "noise"));
        events.tell_at(3_000, note(EventSeverity::Warning, "new"));
        let texts = |query: EventQuery| {
            let page = events.after(None, &query).0;
            page.events.into_iter().map(|event| event.text).collect::<Vec<_>>()
        };
        let severity = Some(EventSeverity::Warning);
        assert_eq!(texts(EventQuery { severity, since: None }), ["old", "new"]);
        assert_eq!(texts(EventQuery { severity, since: Some(1_001) }), ["new"]);
        assert_eq!(texts(EventQuery { severity: None, since: Some(2_000) }), ["noise", "new"]);
    }
}
