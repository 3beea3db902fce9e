//! What is written down and told: generations as they come in force, and how things stand.

use crate::brain::Level;
use crate::events::Note;
use crate::history::{self, Entry};
use crate::keeper::Keeper;
use crate::trial::Clocks;
use crate::{log, summary};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use thalweg_api::model::{Origin, Problem, Severity};
use thalweg_api::moment;
use thalweg_api::view::{ChangeView, EventSeverity, GenerationView, PendingView};

/// Configurations that are kept whatever their size: the one in force and the way back.
const NEEDED: usize = 2;

impl Keeper {
    /// Writes down a generation.
    pub(super) fn in_force(
        &mut self,
        generation: u64,
        change: ChangeView,
        steps: u64,
        took: Duration,
    ) {
        let objects = std::mem::take(&mut self.objects);
        let cause = self.cause.clone();
        let change = match cause.source.as_str() {
            _ if cause.is_routine() => change,
            // Everything is new then, and says nothing.
            "start" => summary::with_objects(change, Vec::new()),
            _ => summary::with_objects(change, objects),
        };
        let entry = Entry {
            first: generation,
            generation,
            at: moment::now(),
            cause,
            config: self.config.clone(),
            steps,
            micros: took.as_micros() as u64,
            change,
        };
        let complete = self.history.add(entry, Instant::now());
        self.complete(complete);
    }

    /// Tells and writes down what is complete.
    fn complete(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            let severity = match entry.cause.is_routine() {
                true => EventSeverity::Debug,
                false => EventSeverity::Info,
            };
            self.events.tell(Note::new(severity, "generation", entry.name(), told(entry)));
        }
        let people = entries.iter().any(|entry| !entry.cause.is_routine());
        self.scribe.write(entries);
        if people && !self.busy {
            self.prune();
        }
    }

    /// Forgets configurations that nothing leads back to any more.
    fn prune(&self) {
        let needed = self.config.iter().chain(self.trial.as_ref().map(|trial| &trial.back));
        let mut wanted: Vec<String> = Vec::new();
        let older = self.history.entries().rev().filter_map(|entry| entry.config.as_ref());
        for id in needed.chain(&self.replaced).chain(older) {
            if !wanted.contains(id) {
                wanted.push(id.clone());
            }
        }
        self.scribe.prune(wanted, NEEDED);
    }

    /// Completes the open entry.
    pub fn flush(&mut self) {
        let complete = self.history.close().into_iter().collect();
        self.complete(complete);
    }

    /// The configuration on trial.
    pub fn pending(&self) -> Option<PendingView> {
        let trial = self.trial.as_ref()?;
        let mut entries = self.history.entries().rev();
        let entry = entries.find(|entry| self.on_trial(entry));
        let generation = entry.map_or_else(|| self.generation(), |entry| entry.generation);
        Some(trial.view(&Clocks::now(), generation))
    }

    /// Whether an entry waits to be confirmed.
    pub(super) fn on_trial(&self, entry: &Entry) -> bool {
        self.trial.as_ref().is_some_and(|trial| {
            entry.generation > trial.back_to && entry.config.as_ref() == Some(&trial.config)
        })
    }

    /// What does not work.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |severity, what: String, remedy: &str| Problem {
            severity,
            origin: Origin::default(),
            object: None,
            field: None,
            what,
            remedy: remedy.into(),
        };
        let keep = "what is in force is not touched by that";
        let warnings = self.stateless.iter().cloned().chain(self.scribe.trouble());
        let mut all: Vec<Problem> =
            warnings.map(|what| problem(Severity::Warning, what, keep)).collect();
        all.extend(self.overdue.clone().map(|what| {
            let what = format!("the configuration on trial was not confirmed, but: {what}");
            problem(Severity::Error, what, "mend that; it is tried again every 10 s")
        }));
        all
    }

    /// Logs something, and tells it as an event.
    pub(super) fn say(
        &self,
        severity: EventSeverity,
        kind: &'static str,
        object: &str,
        text: &str,
    ) {
        let level = match severity {
            EventSeverity::Debug => Level::Debug,
            EventSeverity::Info => Level::Info,
            EventSeverity::Warning => Level::Warn,
            EventSeverity::Error => Level::Error,
        };
        log::write(level, &format!("{object}: {text}"));
        self.events.tell(Note::new(severity, kind, object, text));
    }

    pub(super) fn say_all(&self, severity: EventSeverity, kind: &'static str, notes: Vec<String>) {
        let object = match kind {
            "state" => "state directory".to_owned(),
            _ => self.path.display().to_string(),
        };
        notes.iter().for_each(|note| self.say(severity, kind, &object, note));
    }
}

/// An entry as the text of an event.
fn told(entry: &Entry) -> String {
    let cause = &entry.cause;
    let mut text = format!("in force by {}", cause.source);
    if let Some(user) = &cause.user {
        text.push_str(&format!(" of {user}"));
    }
    if let Some(number) = cause.back_to {
        text.push_str(&format!(" to generation {number}"));
    }
    text.push_str(&format!(": {}", entry.words()));
    let names: Vec<String> =
        entry.change.objects.iter().take(3).map(|o| format!("{} {}", o.object, o.change)).collect();
    if !names.is_empty() {
        text.push_str(&format!("; {}", names.join(", ")));
    }
    let more = (entry.change.objects.len() - names.len()) as u64 + entry.change.more;
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    if let Some(message) = &cause.message {
        text.push_str(&format!(" ({message})"));
    }
    text
}

/// Whether an entry's configuration can be gone back to.
pub(super) fn is_kept(kept: &BTreeSet<String>, entry: &Entry) -> bool {
    entry.config.as_ref().is_some_and(|id| kept.contains(id))
}

/// An entry as it is shown.
pub(super) fn entry_view(
    keeper: &Keeper,
    kept: &BTreeSet<String>,
    entry: &Entry,
) -> GenerationView {
    history::view(entry, is_kept(kept, entry), keeper.on_trial(entry))
}
