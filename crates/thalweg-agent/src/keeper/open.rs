//! The start: takes up what an earlier agent left.

use crate::events::Events;
use crate::fault::point;
use crate::history::{Cause, History};
use crate::install;
use crate::keeper::{Keeper, late, not_confirmed};
use crate::scribe::{self, Scribe};
use crate::settings::Settings;
use crate::state::State;
use crate::trial::{self, Clocks, Trial};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use thalweg_api::view::EventSeverity;
use tokio::sync::mpsc;

impl Keeper {
    /// Opens the state directory, completes what a crash cut short, and goes back if a trial ended
    /// meanwhile. To be called before the files are read.
    pub fn open(settings: &Settings) -> Self {
        let (jobs, done) = mpsc::unbounded_channel();
        let mut keeper = Self {
            state: None,
            scribe: Scribe::idle(),
            path: settings.config.clone(),
            gate: Arc::default(),
            library: Arc::default(),
            events: Events::default(),
            history: History::default(),
            trial: None,
            deadline: None,
            overdue: None,
            stateless: None,
            config: None,
            cause: Cause::of("start"),
            start: Cause::of("start"),
            objects: Vec::new(),
            draft: None,
            replaced: VecDeque::new(),
            busy: false,
            held: None,
            jobs,
            done,
        };
        match settings.state.as_ref().map(|path| State::open(path)) {
            Some(Ok((state, notes))) => {
                keeper.say_all(EventSeverity::Warning, "state", notes);
                keeper.remember(Arc::new(state));
            }
            Some(Err(error)) => {
                keeper.say(EventSeverity::Warning, "state", "state directory", &error.to_string());
                keeper.stateless = Some(error.to_string());
            }
            None => {}
        }
        keeper
    }

    /// Takes up what an earlier agent left.
    fn remember(&mut self, state: Arc<State>) {
        let recovered = install::recover(&state, &self.place());
        if recovered.config.is_some() {
            let text = "an apply that was cut short is completed";
            self.say(EventSeverity::Warning, "config", &self.path.display().to_string(), text);
        }
        self.say_all(EventSeverity::Error, "config", recovered.notes);
        let (entries, lines, notes) = scribe::read(&state);
        self.say_all(EventSeverity::Warning, "state", notes);
        self.history = History::new(entries.clone());
        match Scribe::start(state.clone(), entries, lines) {
            Ok(scribe) => self.scribe = scribe,
            Err(error) => self.stateless = Some(format!("no thread to write state: {error}")),
        }
        self.state = Some(state.clone());
        let trial = state.read(trial::FILE).ok().flatten();
        match trial.map(|octets| serde_json::from_slice::<Trial>(&octets)) {
            Some(Ok(trial)) if trial.version == 1 => self.resume(&state, trial),
            Some(_) => {
                let folder = state.set_aside(trial::FILE).unwrap_or_default();
                let text = format!(
                    "the record of a configuration on trial is damaged (kept in {}): it stays in \
                     force",
                    folder.display()
                );
                self.say(EventSeverity::Error, "state", "trial", &text);
            }
            None => {}
        }
    }

    /// Goes on with a trial that an earlier agent began.
    fn resume(&mut self, state: &State, trial: Trial) {
        let now = Clocks::now();
        let left = trial.left(&now);
        if trial.place != self.place() {
            let place = self.path.display().to_string();
            let text = "the agent runs on other files now: the trial of those before is no more";
            self.say(EventSeverity::Warning, "config", &place, text);
            let _ = state.remove(trial::FILE);
            return;
        }
        if trial.place.texts().is_some_and(|texts| texts.is(&trial.back)) {
            // It never began, or its end was cut short.
            let _ = state.remove(trial::FILE);
            return;
        }
        if !left.is_zero() {
            self.deadline = Some(Instant::now() + left);
            self.trial = Some(trial);
            return;
        }
        let gone_back = state.kept(&trial.back).and_then(|texts| {
            install::install(state, &trial.place, &trial.back, &texts)
                .map_err(|fault| fault.to_string())
        });
        match gone_back {
            Ok(_) => {
                self.start = not_confirmed(&trial);
                let text = format!("{}: back to generation {}", late(&trial), trial.back_to);
                self.say(EventSeverity::Warning, "config", &self.path.display().to_string(), &text);
                let _ = state.remove(trial::FILE);
                point("pending-gone");
            }
            Err(words) => {
                self.overdue = Some(words);
                self.start = not_confirmed(&trial);
                self.deadline = Some(Instant::now());
                self.trial = Some(trial);
            }
        }
    }
}
