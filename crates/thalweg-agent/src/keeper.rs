//! Keeps what an agent must not forget: generations and their configurations, what happened, and
//! the configuration that waits to be confirmed.
//!
//! The brain decides what is in force and knows nothing of this. The keeper stands beside it: it sees
//! each event before the brain does, and each plan before the plane does. Work on files is done by
//! a [`job`], in a thread of its own.

mod calls;
mod job;
mod open;
mod record;

use crate::brain::{Brain, Event};
use crate::events::Events;
use crate::history::{Cause, History};
use crate::install::Place;
use crate::scribe::Scribe;
use crate::state::State;
use crate::steady;
use crate::summary;
use crate::texts::Texts;
use crate::trial::{Clocks, Trial};
use crate::witness;
use job::{Done, Gate, Job, Outcome, Wanted};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thalweg_api::model::Problem;
use thalweg_api::view::{ChangeView, EventSeverity, ObjectView, Phase};
use thalweg_compile::Compiler;
use thalweg_config::{Change, Library, Loaded};
use thalweg_image::Plan;
use tokio::sync::mpsc;

/// How soon going back is tried again when the files refuse.
const AGAIN: Duration = Duration::from_secs(10);
/// Replaced files that never were in force and are kept.
const REPLACED: usize = 5;

/// Files as they were read, or why they were not.
pub struct Read {
    /// Which state of the files was read; see [`Gate`].
    epoch: u64,
    result: Result<Box<Loaded>, Box<Problem>>,
    texts: Option<(String, Texts)>,
}

/// Reads files, but not while they are being replaced.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    gate: Arc<Gate>,
    library: Arc<Mutex<Library>>,
    /// How often the files had been replaced when they were read last.
    epoch: Arc<AtomicU64>,
}

impl Reader {
    /// What the files say now.
    pub fn read(&self) -> Read {
        self.look(None)
    }

    /// What the files say after a change.
    pub fn changed(&self, change: &Change) -> Read {
        match change {
            Change::File(name) => self.look(Some(name)),
            Change::Any => self.look(None),
        }
    }

    fn look(&self, only: Option<&OsStr>) -> Read {
        let guard = self.gate.close();
        let user = rustix::process::geteuid().as_raw();
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        // A replacement changes several files at once, and is told file by file.
        let replaced = self.epoch.swap(guard.epoch(), Ordering::SeqCst) != guard.epoch();
        let only = only.filter(|_| !replaced);
        let one = only.and_then(|name| library.load_changed(&self.path, name, user));
        let mut loaded = one
            .unwrap_or_else(|| steady::read(&self.path, || library.load_guarded(&self.path, user)));
        drop(library);
        let texts = Texts::take(&mut loaded).map(|texts| (texts.id(), texts));
        Read { epoch: guard.epoch(), result: Ok(Box::new(loaded)), texts }
    }

    /// That they cannot be watched.
    pub fn failed(&self, problem: Box<Problem>) -> Read {
        Read { epoch: u64::MAX, result: Err(problem), texts: None }
    }
}

/// What the keeper waits for.
pub enum Wake {
    /// A job on the files is done.
    Job(Box<Done>),
    /// Nobody confirmed in time.
    Deadline,
    /// An entry of the history is complete.
    Flush,
}

/// See the module.
pub struct Keeper {
    state: Option<Arc<State>>,
    scribe: Scribe,
    path: PathBuf,
    gate: Arc<Gate>,
    /// The files as they were read, so that only what changed is read again.
    library: Arc<Mutex<Library>>,
    events: Events,
    history: History,
    trial: Option<Trial>,
    deadline: Option<Instant>,
    /// Why the way back could not be gone.
    overdue: Option<String>,
    /// Why nothing is kept.
    stateless: Option<String>,
    /// Name of the configuration in force.
    config: Option<String>,
    /// Why the next generation comes.
    cause: Cause,
    /// Why the first generation comes.
    start: Cause,
    /// Objects that the next generation changes.
    objects: Vec<ObjectView>,
    /// What the plan under way changes.
    draft: Option<(ChangeView, u64)>,
    /// Files that an apply replaced and that never were in force.
    replaced: VecDeque<String>,
    busy: bool,
    held: Option<Read>,
    jobs: mpsc::UnboundedSender<Done>,
    done: mpsc::UnboundedReceiver<Done>,
}

impl Keeper {
    /// Where the files are.
    fn place(&self) -> Place {
        Place::new(&self.path)
    }

    /// What reads the files.
    pub fn reader(&self) -> Reader {
        // It has read nothing yet.
        let epoch = Arc::new(AtomicU64::new(u64::MAX));
        let (path, gate, library) = (self.path.clone(), self.gate.clone(), self.library.clone());
        Reader { path, gate, library, epoch }
    }

    /// What happened, for those who want to know. Clones tell into the same ring.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// The state directory, if there is one.
    pub fn state(&self) -> Option<Arc<State>> {
        self.state.clone()
    }

    /// The last generation of the agents before this one.
    pub fn generation(&self) -> u64 {
        self.history.last().map_or(0, |entry| entry.generation)
    }

    /// An agent before left an image in force, and this one is to take over from it: the history will
    /// say so. Gives the words for that.
    pub fn succeeds(&mut self) -> String {
        let words = match self.generation() {
            0 => "took over from an agent that left no history".to_owned(),
            last => format!("took over from generation {last}"),
        };
        // The first plan may be made already, before there was a plane to tell.
        if self.cause == self.start {
            self.cause.message = Some(words.clone());
        }
        self.start.message = Some(words.clone());
        words
    }

    /// Takes files that were read: gives them on as an event, unless they are of before a
    /// replacement or must wait for one to be done.
    pub fn files(&mut self, read: Read) -> Option<Event> {
        if read.epoch < self.gate.epoch() {
            return None;
        }
        if self.busy {
            self.held = Some(read);
            return None;
        }
        if let Some(event) = self.instead(&read) {
            return Some(event);
        }
        if let Some((id, texts)) = read.texts {
            if self.config.as_ref() != Some(&id) {
                self.scribe.keep(id.clone(), texts);
            }
            self.config = Some(id);
        }
        self.cause = Cause::of("files");
        Some(match read.result {
            Ok(loaded) => Event::Config(loaded),
            Err(problem) => Event::WatchFailed(problem),
        })
    }

    /// What comes in force instead of files whose trial is over, while they cannot be replaced.
    fn instead(&mut self, read: &Read) -> Option<Event> {
        let trial = self.trial.as_ref().filter(|_| self.overdue.is_some())?;
        let (id, _) = read.texts.as_ref().filter(|(_, texts)| texts.is(&trial.config))?;
        let back = self.state.as_ref().filter(|_| *id != trial.back)?.kept(&trial.back).ok()?;
        let (loaded, _) = trial.place.parse(back);
        self.config = Some(trial.back.clone());
        self.cause = not_confirmed(trial);
        Some(Event::Config(Box::new(loaded)))
    }

    /// Sees an event before the brain does.
    pub fn witness(&mut self, brain: &Brain, event: &Event) {
        for note in witness::notes(brain, event) {
            self.events.tell(note);
        }
        match event {
            Event::Config(loaded) if loaded.is_ok() => {
                let old = brain.compiler.as_ref().map(Compiler::intent);
                self.objects =
                    old.map_or_else(Vec::new, |old| summary::of_intents(old, &loaded.intent));
            }
            Event::Host(_) => self.cause = Cause::of("kernel"),
            Event::HostComplete => self.cause = self.start.clone(),
            Event::Applied { generation, result, took, .. } => {
                let draft = self.draft.take();
                if let (Ok(_), Some((change, steps))) = (result, draft) {
                    self.in_force(*generation, change, steps, *took);
                }
            }
            _ => {}
        }
    }

    /// Sees a plan before the plane does.
    pub fn planned(&mut self, plan: &Plan, brain: &Brain) {
        let Some(compiler) = &brain.compiler else { return };
        self.draft = Some((summary::of_plan(plan, compiler), plan.changes.len() as u64));
    }

    /// Sees a plan that fills the tables anew and changes nothing.
    pub fn renewing(&mut self, plan: &Plan) {
        self.cause = Cause {
            message: Some("tables were changed by somebody else: filled anew".into()),
            ..Cause::of("audit")
        };
        self.draft = Some((ChangeView::default(), plan.changes.len() as u64));
    }

    /// Waits for the next thing to do.
    pub async fn wake(&mut self) -> Wake {
        let (due, deadline) = (self.history.due(), self.deadline.filter(|_| !self.busy));
        tokio::select! {
            Some(done) = self.done.recv() => Wake::Job(Box::new(done)),
            () = at(deadline) => Wake::Deadline,
            () = at(due) => Wake::Flush,
        }
    }

    /// Goes back, since nobody confirmed in time.
    pub fn late(&mut self, brain: &Brain) {
        let Some(trial) = self.trial.clone() else {
            self.deadline = None;
            return;
        };
        if brain.phase != Phase::InForce {
            // There is nothing in force to go back from.
            self.deadline = Some(Instant::now() + Duration::from_secs(1));
            return;
        }
        let cause = not_confirmed(&trial);
        self.start_job(Wanted::Kept(trial.back), cause, None, true, None);
    }

    /// Takes the result of a job: what the brain is to know of it, and who waits for an answer.
    pub fn finished(&mut self, done: Done) -> (Option<Event>, Option<calls::Waiting>) {
        self.busy = false;
        let waiting = done.answer.map(|answer| calls::Waiting {
            answer,
            before: self.generation(),
            refusal: None,
        });
        match done.result {
            Err(refusal) => {
                if done.back {
                    self.overdue = Some(refusal.words());
                    self.deadline = Some(Instant::now() + AGAIN);
                    let place = self.path.display().to_string();
                    self.say(EventSeverity::Error, "config", &place, &refusal.words());
                }
                let waiting = waiting.map(|w| calls::Waiting { refusal: Some(refusal), ..w });
                (None, waiting)
            }
            Ok(Outcome { loaded, id, trial, stuck, replaced }) => {
                self.note_replaced(replaced);
                self.overdue = stuck;
                match &self.overdue {
                    Some(words) => {
                        let place = self.path.display().to_string();
                        self.say(EventSeverity::Error, "config", &place, words);
                        self.deadline = Some(Instant::now() + AGAIN);
                    }
                    None => {
                        let left = trial.as_ref().map(|trial| trial.left(&Clocks::now()));
                        self.deadline = left.map(|left| Instant::now() + left);
                        self.trial = trial;
                    }
                }
                self.config = Some(id);
                self.cause = done.cause;
                (Some(Event::Config(loaded)), waiting)
            }
        }
    }

    /// Remembers files that were replaced and never were in force, for a while.
    fn note_replaced(&mut self, id: Option<String>) {
        let (Some(id), Some(state)) = (id, &self.state) else { return };
        let text = format!(
            "files that were not in force were replaced; they are kept in {}",
            state.path().join("configs").join(&id).display()
        );
        self.say(EventSeverity::Warning, "config", &self.path.display().to_string(), &text);
        self.replaced.push_front(id);
        self.replaced.truncate(REPLACED);
    }

    /// Files that were read while a job was busy.
    pub fn held(&mut self) -> Option<Read> {
        self.held.take()
    }

    /// Begins a job on the files.
    fn start_job(
        &mut self,
        wanted: Wanted,
        cause: Cause,
        trial: Option<job::Wish>,
        back: bool,
        answer: Option<calls::Answerer>,
    ) {
        let Some(state) = self.state.clone() else { return };
        // Its numbers must be on the disk before anything refers to them.
        self.flush();
        self.busy = true;
        let job = Job {
            state,
            place: self.place(),
            gate: self.gate.clone(),
            written: self.scribe.done(),
            wanted,
            in_force: self.config.clone(),
            trial,
            back,
        };
        let jobs = self.jobs.clone();
        tokio::task::spawn_blocking(move || {
            let result = job.run();
            // The agent may be gone.
            let _ = jobs.send(Done { result, cause, back, answer });
        });
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What the history says of a trial that nobody confirmed.
fn not_confirmed(trial: &Trial) -> Cause {
    Cause {
        source: "rollback".into(),
        message: Some(late(trial)),
        back_to: Some(trial.back_to),
        user: None,
    }
}

fn late(trial: &Trial) -> String {
    format!("not confirmed within {} s", trial.seconds)
}

/// Returns at a moment; never without one.
pub async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
