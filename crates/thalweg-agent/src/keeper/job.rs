//! Work on the configuration files that takes a while: check, keep, replace.

use crate::fault::point;
use crate::history::Cause;
use crate::install::{self, Place};
use crate::keeper::calls::Answerer;
use crate::state::State;
use crate::texts::Texts;
use crate::trial::{self, Clocks, Trial};
use crate::workload::Workload;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_api::{Code, Fault};
use thalweg_config::Loaded;
use thalweg_model::Problem;

/// Keeps readers from files that are being replaced, and tells what was read before from what was
/// read after.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<()>,
    epoch: AtomicU64,
}

/// The gate, closed.
pub struct Closed<'a> {
    gate: &'a Gate,
    _guard: MutexGuard<'a, ()>,
}

impl Gate {
    /// Waits until nobody else is at the files.
    pub fn close(&self) -> Closed<'_> {
        let guard = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        Closed { gate: self, _guard: guard }
    }

    /// How often the files were replaced.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

impl Closed<'_> {
    /// How often the files were replaced.
    pub fn epoch(&self) -> u64 {
        self.gate.epoch()
    }

    /// The files were replaced.
    fn replaced(&self) {
        self.gate.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

/// Which files are to be.
pub enum Wanted {
    /// These.
    Files(Vec<(String, String)>),
    /// Those kept under this name.
    Kept(String),
    /// Those that are there, with a workload that comes or goes, and what is wrong with them.
    Changed(Workload, Vec<Problem>),
}

/// The trial that is asked for.
pub struct Wish {
    /// Its length in seconds.
    pub seconds: u64,
    /// The configuration that comes back.
    pub back: String,
    /// The generation that has it.
    pub back_to: u64,
    /// Who asks.
    pub user: String,
}

/// What is to be done.
pub struct Job {
    /// The state directory.
    pub state: Arc<State>,
    /// The files.
    pub place: Place,
    /// Closed while files are replaced.
    pub gate: Arc<Gate>,
    /// Fires when everything before this job is written down.
    pub written: Receiver<()>,
    /// The files to be.
    pub wanted: Wanted,
    /// The configuration in force.
    pub in_force: Option<String>,
    /// Only on trial.
    pub trial: Option<Wish>,
    /// Whether it ends a trial: then it must succeed as far as it can.
    pub back: bool,
}

/// What came of a job.
pub struct Done {
    /// The files as they are to be in force, or why not.
    pub result: Result<Outcome, Refusal>,
    /// Why it was done.
    pub cause: Cause,
    /// Whether it ended a trial.
    pub back: bool,
    /// Who waits.
    pub answer: Option<Answerer>,
}

/// Files that are in place.
pub struct Outcome {
    /// What they say.
    pub loaded: Box<Loaded>,
    /// Their name.
    pub id: String,
    /// The trial that began.
    pub trial: Option<Trial>,
    /// Name of the files that were there, if they never were in force.
    pub replaced: Option<String>,
    /// Why they are not in place after all, though they must come in force.
    pub stuck: Option<String>,
}

/// Why nothing changed.
#[derive(Debug)]
pub enum Refusal {
    /// The files have errors.
    Problems(Vec<Problem>),
    /// Something else.
    Fault(Fault),
}

impl Refusal {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Problems(problems) => {
                problems.first().map(Problem::to_string).unwrap_or_default()
            }
            Self::Fault(fault) => fault.to_string(),
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Job {
    /// Does it.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing changed.
    pub fn run(mut self) -> Result<Outcome, Refusal> {
        // Without a scribe there is nothing to wait for.
        let _ = self.written.recv();
        let (mut base, mut own) = (None, None);
        let texts = match std::mem::replace(&mut self.wanted, Wanted::Kept(String::new())) {
            Wanted::Files(files) => self.place.adopt(Texts::new(files))?,
            Wanted::Changed(workload, before) => {
                let present = self.place.members()?;
                let texts = workload.change(&present)?;
                (base, own) = (Some(present), Some((workload, before)));
                self.place.adopt(texts)?
            }
            Wanted::Kept(id) => self.state.kept(&id).map_err(|words| {
                Fault::not_found(words, "apply the files that you mean with `thalweg apply`")
            })?,
        };
        let (loaded, texts) = self.place.parse(texts);
        if !loaded.is_ok() {
            return Err(Refusal::Problems(loaded.problems));
        }
        let wrong = own.map(|(workload, before)| workload.errors(&loaded.problems, &before));
        let wrong = wrong.unwrap_or_default();
        if !wrong.is_empty() {
            return Err(Refusal::Problems(wrong));
        }
        let id = texts.id();
        let closed = self.gate.close();
        let present = self.place.texts();
        if base.is_some() && base != present {
            let message = "the files changed meanwhile".into();
            return Err(Fault { code: Code::NotReady, message, remedy: "try again".into() }.into());
        }
        let mut replaced = present.as_ref().map(Texts::id);
        replaced = replaced.filter(|found| *found != id && Some(found) != self.in_force.as_ref());
        let (trial, stuck) = match self.place(&id, &texts, present, &closed) {
            Ok(trial) => (trial, None),
            Err(fault) if self.back => (None, Some(fault.to_string())),
            Err(fault) => return Err(fault.into()),
        };
        Ok(Outcome { loaded: Box::new(loaded), id, trial, replaced, stuck })
    }

    /// Keeps the way back, then replaces the files.
    fn place(
        &self,
        id: &str,
        texts: &Texts,
        present: Option<Texts>,
        closed: &Closed<'_>,
    ) -> Result<Option<Trial>, Fault> {
        let full = |error: std::io::Error| {
            let what = format!("cannot write to {}: {error}", self.state.path().display());
            Fault::failed(what, "make room, or mend the directory; nothing changed")
        };
        // Also what nobody put in force: whoever wrote it may want it back.
        if let Some(present) = present {
            self.state.keep(&present.id(), &present).map_err(full)?;
        }
        self.state.keep(id, texts).map_err(full)?;
        let trial = match &self.trial {
            Some(wish) if self.in_force.as_deref() != Some(id) => Some(self.begin(wish, id)?),
            _ => None,
        };
        match install::install(&self.state, &self.place, id, texts) {
            Ok(true) => closed.replaced(),
            Ok(false) => {}
            Err(fault) => {
                if trial.is_some() {
                    let _ = self.state.remove(trial::FILE);
                }
                return Err(fault);
            }
        }
        if self.back {
            self.state.remove(trial::FILE).map_err(full)?;
            point("pending-gone");
        }
        Ok(trial)
    }

    /// Writes down that a trial begins, before it does: a crash in between goes back to what is
    /// there.
    fn begin(&self, wish: &Wish, id: &str) -> Result<Trial, Fault> {
        if !self.state.has(&wish.back) {
            return Err(Fault::failed(
                "what is in force is not kept, so nothing could bring it back",
                "apply without --confirm",
            ));
        }
        let trial = Trial {
            version: 1,
            place: self.place.clone(),
            config: id.into(),
            back: wish.back.clone(),
            back_to: wish.back_to,
            seconds: wish.seconds,
            end: Clocks::now().after(wish.seconds),
            user: wish.user.clone(),
        };
        let octets = serde_json::to_vec(&trial).unwrap_or_default();
        self.state.write(trial::FILE, &octets).map_err(|error| {
            let path = self.state.path().join(trial::FILE);
            let what = format!("cannot write {}: {error}", path.display());
            Fault::failed(what, "make room; nothing changed")
        })?;
        Ok(trial)
    }
}
