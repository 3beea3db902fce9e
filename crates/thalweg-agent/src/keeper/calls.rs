//! Calls that the keeper answers: `apply`, `attach`, `confirm`, `rollback`, `history`.

use crate::brain::{Brain, Level};
use crate::history::{self, Cause};
use crate::keeper::Keeper;
use crate::keeper::job::{Refusal, Wanted, Wish};
use crate::keeper::record::{entry_view, is_kept};
use crate::log;
use crate::serve::{Asked, Peer};
use crate::trial;
use crate::workload::Workload;
use std::collections::BTreeSet;
use thalweg_api::view::{ApplyView, EventSeverity, GenerationView, Phase};
use thalweg_api::{Answer, Call, Code, Fault};
use tokio::sync::oneshot;

/// The longest trial, in seconds: a week.
const LONGEST: u64 = 7 * 86_400;
/// The longest message, in characters.
const MESSAGE: usize = 500;

/// Where an answer goes.
pub type Answerer = oneshot::Sender<Result<Answer, Fault>>;

/// Somebody who waits for a job.
pub struct Waiting {
    pub(super) answer: Answerer,
    /// The generation before.
    pub(super) before: u64,
    pub(super) refusal: Option<Refusal>,
}

impl Waiting {
    /// Answers, after everything came in force.
    pub fn answer(self, keeper: &Keeper, brain: &Brain) {
        let view = match self.refusal {
            Some(Refusal::Fault(fault)) => {
                let _ = self.answer.send(Err(fault));
                return;
            }
            Some(Refusal::Problems(problems)) => {
                ApplyView { generation: keeper.generation(), problems, ..ApplyView::default() }
            }
            None => keeper.outcome(brain, self.before),
        };
        // Who asked may be gone.
        let _ = self.answer.send(Ok(Answer::Apply(Box::new(view))));
    }
}

impl Keeper {
    /// Answers what the keeper knows; gives back what others must answer.
    pub fn take(&mut self, asked: Asked, brain: &Brain) -> Option<Asked> {
        let answer = match asked.call {
            Call::Apply { files, confirm, message } => {
                self.apply(brain, files, confirm, message, &asked.peer, asked.answer);
                return None;
            }
            Call::Rollback { generation, confirm, message } => {
                self.rollback(brain, generation, confirm, message, &asked.peer, asked.answer);
                return None;
            }
            Call::Attach { interface, pod, addresses } => {
                let workload = Workload::attach(&pod, interface, addresses);
                self.attach(brain, workload, &asked.peer, asked.answer);
                return None;
            }
            Call::Detach { pod } => {
                self.attach(brain, Workload::detach(&pod), &asked.peer, asked.answer);
                return None;
            }
            Call::Confirm => self.confirm(brain, &asked.peer),
            Call::History { limit } => Ok(Answer::History(self.views(limit))),
            Call::Describe { ref kind, ref name } if kind.starts_with("generation") => {
                self.describe(name)
            }
            _ => return Some(asked),
        };
        let _ = asked.answer.send(answer);
        None
    }

    fn apply(
        &mut self,
        brain: &Brain,
        files: Vec<(String, String)>,
        confirm: Option<u64>,
        message: Option<String>,
        peer: &Peer,
        answer: Answerer,
    ) {
        let user = peer.user();
        let wish = self.may(brain, false).and_then(|()| self.wish(confirm, &user));
        let wish = match wish {
            Ok(wish) => wish,
            Err(fault) => return drop(answer.send(Err(fault))),
        };
        let message = short(message);
        let cause = Cause { user: Some(user), message, ..Cause::of("apply") };
        self.start_job(Wanted::Files(files), cause, wish, false, Some(answer));
    }

    fn attach(
        &mut self,
        brain: &Brain,
        workload: Result<Workload, Fault>,
        peer: &Peer,
        answer: Answerer,
    ) {
        let fit = workload.and_then(|workload| {
            self.may(brain, false)?;
            let links = brain.compiler.iter().flat_map(|all| all.host_facts().links.values());
            workload.stands_among(links.map(|link| &link.name[..]))?;
            Ok(workload)
        });
        match fit {
            Ok(workload) => {
                let cause = Cause { user: Some(peer.user()), ..Cause::of(workload.source()) };
                let wanted = Wanted::Changed(workload, brain.config_problems.clone());
                self.start_job(wanted, cause, None, false, Some(answer));
            }
            Err(fault) => drop(answer.send(Err(fault))),
        }
    }

    fn rollback(
        &mut self,
        brain: &Brain,
        generation: u64,
        confirm: Option<u64>,
        message: Option<String>,
        peer: &Peer,
        answer: Answerer,
    ) {
        let user = peer.user();
        // The way back from a trial may be gone early.
        let back = self.trial.as_ref().is_some_and(|trial| trial.back_to == generation);
        let found = self.may(brain, back).and_then(|()| self.way_back(generation, back));
        let found = found.and_then(|id| Ok((id, self.wish(confirm.filter(|_| !back), &user)?)));
        let (id, wish) = match found {
            Ok(found) => found,
            Err(fault) => return drop(answer.send(Err(fault))),
        };
        let message = short(message);
        let cause = Cause {
            source: "rollback".into(),
            user: Some(user),
            message,
            back_to: Some(generation),
        };
        self.start_job(Wanted::Kept(id), cause, wish, back, Some(answer));
    }

    /// The configuration of a generation.
    fn way_back(&self, generation: u64, back: bool) -> Result<String, Fault> {
        if let (true, Some(trial)) = (back, &self.trial) {
            return Ok(trial.back.clone());
        }
        let entry = self.history.find(generation)?;
        let kept = |id: &&String| self.state.as_ref().is_some_and(|state| state.has(id));
        let Some(id) = entry.config.as_ref().filter(kept) else {
            return Err(Fault::not_found(
                format!("the configuration of generation {generation} is no longer kept"),
                "`thalweg history -o wide` shows which are; or apply the files that you mean",
            ));
        };
        match self.config.as_ref() == Some(id) {
            true => Err(Fault::invalid(
                format!("the configuration of generation {generation} is in force already"),
                "name another generation of `thalweg history`",
            )),
            false => Ok(id.clone()),
        }
    }

    /// Whether the files may be replaced now.
    fn may(&self, brain: &Brain, back: bool) -> Result<(), Fault> {
        let not_now =
            |message: String, remedy: String| Err(Fault { code: Code::NotReady, message, remedy });
        if self.state.is_none() {
            let message = self.stateless.clone().unwrap_or_else(|| {
                "the agent keeps no state, so nothing could be gone back to".into()
            });
            return Err(Fault::failed(message, "start it with --state DIR"));
        }
        if brain.phase != Phase::InForce {
            return Err(Fault::not_ready(format!("the agent is {}", brain.phase.describe())));
        }
        if self.busy {
            let message = "another change of the files is under way".into();
            return not_now(message, "try again in a moment".into());
        }
        match self.pending().filter(|_| !back) {
            Some(pending) => not_now(
                format!(
                    "generation {} waits to be confirmed until {} ({} s)",
                    pending.generation, pending.until, pending.seconds
                ),
                format!(
                    "`thalweg confirm` keeps it, `thalweg rollback {}` goes back at once",
                    pending.back_to
                ),
            ),
            None => Ok(()),
        }
    }

    fn wish(&self, confirm: Option<u64>, user: &str) -> Result<Option<Wish>, Fault> {
        let Some(seconds) = confirm else { return Ok(None) };
        if !(1..=LONGEST).contains(&seconds) {
            let message = format!("{seconds} s is no time to wait for a confirmation");
            return Err(Fault::invalid(message, "write 1s to 7d"));
        }
        let Some(back) = self.config.clone() else {
            return Err(Fault::not_ready("no configuration is in force yet"));
        };
        let (back_to, user) = (self.generation(), user.into());
        Ok(Some(Wish { seconds, back, back_to, user }))
    }

    fn confirm(&mut self, brain: &Brain, peer: &Peer) -> Result<Answer, Fault> {
        let Some(trial) = &self.trial else {
            return Err(Fault::not_found(
                "nothing waits to be confirmed",
                "`thalweg history` shows what happened",
            ));
        };
        if self.busy || self.overdue.is_some() {
            let message = format!("it is too late: generation {} comes back", trial.back_to);
            return Err(Fault::not_found(message, "apply the files again"));
        }
        if let Some(state) = &self.state {
            state.remove(trial::FILE).map_err(|error| {
                let path = state.path().join(trial::FILE);
                let what = format!("cannot remove {}: {error}", path.display());
                Fault::failed(what, "mend that and confirm again, or it goes away by itself")
            })?;
        }
        let generation = self.pending().map_or(0, |pending| pending.generation);
        let text = format!("generation {generation} confirmed by {}", peer.user());
        self.say(EventSeverity::Info, "config", &self.path.display().to_string(), &text);
        self.trial = None;
        self.deadline = None;
        Ok(Answer::Apply(Box::new(self.outcome(brain, self.generation()))))
    }

    /// How things stand, for who changed them; `before` was the last generation before.
    fn outcome(&self, brain: &Brain, before: u64) -> ApplyView {
        let kept = self.kept();
        let last = self.history.last().filter(|last| last.generation > before);
        ApplyView {
            accepted: true,
            generation: self.generation(),
            change: last.map(|entry| entry_view(self, &kept, entry)),
            pending: self.pending(),
            problems: [brain.config_problems.clone(), brain.problems(), self.problems()].concat(),
        }
    }

    fn kept(&self) -> BTreeSet<String> {
        self.state.as_ref().map(|state| state.configs()).unwrap_or_default()
    }

    fn views(&self, limit: u32) -> Vec<GenerationView> {
        let kept = self.kept();
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let mut views: Vec<GenerationView> = self
            .history
            .entries()
            .rev()
            .take(limit)
            .map(|entry| entry_view(self, &kept, entry))
            .collect();
        views.reverse();
        views
    }

    fn describe(&self, name: &str) -> Result<Answer, Fault> {
        let number: u64 = name.parse().map_err(|_| {
            let message = format!("`{name}` is no number of a generation");
            Fault::invalid(message, "`thalweg history` lists them")
        })?;
        let entry = self.history.find(number)?;
        let kept = is_kept(&self.kept(), entry);
        Ok(Answer::Describe(history::describe(entry, kept, self.on_trial(entry))))
    }
}

/// A message that fits on a line.
fn short(message: Option<String>) -> Option<String> {
    let line = |c: char| if c.is_control() { ' ' } else { c };
    let message: String = message?.chars().take(MESSAGE).map(line).collect();
    let message = message.trim();
    if message.is_empty() {
        log::write(Level::Debug, "an empty message is none");
        return None;
    }
    Some(message.into())
}
