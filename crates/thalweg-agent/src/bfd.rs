//! BFD sessions: wanted by the files, run by a thread of their own, told to the data plane at once.

mod memory;
mod view;

use crate::brain::{Event, Level};
use crate::log;
use crate::plane::DataPlane;
use crate::state::State;
use memory::Memory;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_bfd::{Key, Report, Runner, Settings, Wanted};
use thalweg_compile::{Compiler, SessionPlace};
use thalweg_model::intent::{BfdAuth, BfdKey, BfdSession};
use thalweg_model::{Key as ObjectKey, Problem, Severity, Update};
use tokio::sync::mpsc;

/// How long neighbors are asked to wait for an agent that is stopped in good order.
pub const ABSENCE: Duration = Duration::from_secs(30);
/// How long they have to agree.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the thread of the sessions needs to take a path down by itself: the agent may be compiling.
#[derive(Default)]
struct Direct {
    memory: Option<thalweg_image::Memory>,
    /// Index of the state, by name.
    states: BTreeMap<String, u32>,
}

/// All sessions, and what the data plane was told of them.
pub struct Sessions {
    runner: Option<Runner>,
    sender: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
    wanted: Vec<Wanted>,
    places: BTreeMap<String, SessionPlace>,
    /// Whether the path of a session can be used, as last reported.
    paths: BTreeMap<String, bool>,
    /// Words of the data plane, by state.
    written: BTreeMap<u32, bool>,
    /// The files changed since the sessions were last made to follow them.
    reread: bool,
    direct: Arc<Mutex<Direct>>,
    memory: Memory,
    problems: Vec<Problem>,
}

impl Sessions {
    /// No sessions; what an agent before left is in the state directory.
    pub fn open(state: Option<Arc<State>>) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        Self {
            runner: None,
            sender,
            reports,
            wanted: Vec::new(),
            places: BTreeMap::new(),
            paths: BTreeMap::new(),
            written: BTreeMap::new(),
            reread: false,
            direct: Arc::default(),
            memory: Memory::open(state),
            problems: Vec::new(),
        }
    }

    /// Waits for a session to change; forever without one. Safe to cancel.
    pub async fn next(&mut self) -> Report {
        match self.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// The files are others now: keys may be, too.
    pub fn files_changed(&mut self) {
        self.reread = true;
    }

    /// Takes up where an agent before left the paths: before the first plan, so that it leaves
    /// nothing that works.
    pub fn take_up(&mut self, compiler: &mut Compiler) {
        let known: Vec<String> = compiler
            .intent()
            .sessions
            .iter()
            .filter(|(name, session)| self.memory.of(name, session).is_some_and(|b| b.path))
            .map(|(name, _)| name.clone())
            .collect();
        for name in known {
            self.paths.insert(name.clone(), true);
            compiler.update_host(Update::Session(name, true));
        }
    }

    /// A session changed: the data plane knows already if its path is down. Gives what the plan has
    /// to follow.
    pub fn told(
        &mut self,
        report: Report,
        plane: Option<&mut Box<dyn DataPlane>>,
    ) -> Option<Event> {
        self.remember();
        let Report { name, status, news } = report;
        if !news {
            return None;
        }
        let place = self.places.get(&name)?;
        let peer = self.wanted.iter().find(|wanted| wanted.name == name)?.peer;
        let (state, theirs) = (status.state.name(), status.remote_state.name());
        let line = format!(
            "session {name}: {state} with {peer} (it is {theirs}), diagnostic {}",
            status.diagnostic.name()
        );
        log::write(Level::Info, &line);
        let before = self.paths.insert(name.clone(), status.path).unwrap_or_default();
        if before == status.path {
            return None;
        }
        let state = place.state;
        // A path that works again over a link that is down is the plan's.
        if let Some(plane) = plane.filter(|_| !status.path) {
            self.written.insert(state, false);
            plane.set_state(state, false);
        }
        Some(Event::Host(vec![Update::Session(name, status.path)]))
    }

    /// A link went down: what goes over it is down as well.
    pub fn link_down(&mut self, link: u32, plane: &mut Box<dyn DataPlane>) {
        for place in self.places.values().filter(|place| place.link == Some(link)) {
            self.written.insert(place.state, false);
            plane.set_state(place.state, false);
        }
    }

    /// Makes the words of the data plane say what is known. To be called when a plan was put in
    /// force, before packets come to it.
    pub fn write(&mut self, compiler: &Compiler, plane: &mut Box<dyn DataPlane>) {
        let links = &compiler.host_facts().links;
        let mut words = BTreeMap::new();
        for place in compiler.session_places() {
            let path = self.paths.get(&place.name).copied().unwrap_or_default();
            let link = place.link.and_then(|link| links.get(&link)).is_some_and(|link| link.up);
            words.insert(place.state, path && link);
        }
        let gone = self.written.keys().filter(|state| !words.contains_key(state));
        let gone: Vec<_> = gone.map(|state| (*state, false)).collect();
        for (state, up) in gone.into_iter().chain(words.iter().map(|(state, up)| (*state, *up))) {
            if self.written.get(&state).copied().unwrap_or_default() != up {
                plane.set_state(state, up);
            }
        }
        self.written = words;
        if let Ok(mut direct) = self.direct.lock()
            && direct.memory.is_none()
        {
            direct.memory = Some(plane.memory().clone());
        }
    }

    /// The plane has other tables now: all states are to be written again.
    pub fn rewrite(&mut self) {
        self.written.clear();
        if let Ok(mut direct) = self.direct.lock() {
            direct.memory = None;
        }
    }

    /// Begins, changes and ends sessions as the files and the host's links ask for.
    pub fn follow(&mut self, compiler: &Compiler) {
        let strip = |place: SessionPlace| (place.name.clone(), SessionPlace { up: false, ..place });
        let places: BTreeMap<_, _> = compiler.session_places().map(strip).collect();
        if !std::mem::take(&mut self.reread) && places == self.places {
            return;
        }
        self.places = places;
        if let Ok(mut direct) = self.direct.lock() {
            let states = self.places.values();
            direct.states = states.map(|place| (place.name.clone(), place.state)).collect();
        }
        self.problems.clear();
        let mut wanted = Vec::new();
        for (name, session) in &compiler.intent().sessions {
            let Some(link) = self.places.get(name).and_then(|place| place.link) else { continue };
            match settings(session) {
                Ok(settings) => wanted.push(Wanted {
                    name: name.clone(),
                    link,
                    device: session.link.clone(),
                    peer: session.peer,
                    local: session.local,
                    settings,
                    before: self.memory.of(name, session),
                }),
                Err((what, remedy)) => self.problems.push(Problem {
                    severity: Severity::Error,
                    origin: compiler.intent().origin("BfdSession", name),
                    object: Some(ObjectKey { kind: "BfdSession".into(), name: name.clone() }),
                    field: Some("spec.authentication".into()),
                    what,
                    remedy,
                }),
            }
        }
        let ended: Vec<String> =
            self.paths.keys().filter(|n| !wanted.iter().any(|w| w.name == **n)).cloned().collect();
        for name in ended {
            self.paths.remove(&name);
            self.memory.forget(&name);
        }
        if wanted == self.wanted {
            return;
        }
        self.run(&wanted);
        self.wanted = wanted;
        for wanted in &self.wanted {
            self.memory.forget(&wanted.name);
        }
    }

    fn run(&mut self, wanted: &[Wanted]) {
        if self.runner.is_none() {
            let sender = self.sender.clone();
            let direct = self.direct.clone();
            let listener = Box::new(move |report: Report| {
                if !report.status.path {
                    take_down(&direct, &report.name);
                }
                // Nobody listens any more when the agent stops.
                let _ = sender.send(report);
            });
            match Runner::start(listener) {
                Ok(runner) => self.runner = Some(runner),
                Err(error) => {
                    let line = format!("no thread for BFD sessions: {error}; they stay down");
                    log::write(Level::Error, &line);
                }
            }
        }
        if let Some(runner) = &self.runner {
            runner.set(wanted);
        }
    }

    /// Notes for a next agent how the sessions stand.
    fn remember(&mut self) {
        let Some(runner) = &self.runner else { return };
        self.memory.keep(runner);
    }

    /// The agent stops: neighbors are asked to wait for the next one.
    pub fn leave(&mut self) {
        let Some(runner) = self.runner.take() else { return };
        if !self.wanted.is_empty() && self.memory.is_lasting() {
            let all = runner.go_away(ABSENCE, PATIENCE);
            let seconds = ABSENCE.as_secs();
            log::write(
                Level::Info,
                &match all {
                    true => format!("BFD neighbors wait {seconds} s for the next agent"),
                    false => format!("not all BFD neighbors agreed to wait {seconds} s"),
                },
            );
            self.memory.keep_now(&runner);
        }
    }

    /// What is wrong with sessions: keys that cannot be read, sockets that cannot be had.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        let Some(runner) = &self.runner else { return problems };
        problems.extend(runner.look(|engine| {
            let troubled = engine.entries().filter(|(_, entry)| entry.is_wanted());
            let troubled = troubled
                .filter_map(|(_, entry)| Some((entry.wanted.name.clone(), entry.trouble.clone()?)));
            troubled.map(|(name, what)| trouble(name, what)).collect::<Vec<_>>()
        }));
        problems
    }
}

fn take_down(direct: &Mutex<Direct>, name: &str) {
    let Ok(direct) = direct.lock() else { return };
    if let (Some(memory), Some(state)) = (&direct.memory, direct.states.get(name)) {
        memory.take_down(*state);
    }
}

fn trouble(name: String, what: String) -> Problem {
    let (what, remedy) = match what.split_once("; ") {
        Some((what, remedy)) => (what.to_owned(), remedy.to_owned()),
        None => (what, "see the agent's log".into()),
    };
    Problem {
        severity: Severity::Error,
        origin: Default::default(),
        object: Some(ObjectKey { kind: "BfdSession".into(), name }),
        field: None,
        what,
        remedy,
    }
}

/// What a session is to do; its key is read from its file, if it has one.
fn settings(session: &BfdSession) -> Result<Settings, (String, String)> {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    Ok(Settings {
        transmit: micros(session.transmit),
        receive: micros(session.receive),
        multiplier: session.multiplier,
        hold_up: session.hold_up.as_micros() as u64,
        passive: session.passive,
        key: session.authentication.as_ref().map(key).transpose()?,
    })
}

fn key(auth: &BfdAuth) -> Result<Key, (String, String)> {
    let secret = match &auth.key {
        BfdKey::Text(text) => text.clone().into_bytes(),
        BfdKey::File(path) => read_key(path).map_err(|error| {
            let what = format!("the key file {} cannot be read: {error}", path.display());
            (what, "put the key there, for the agent to read; the session is down".into())
        })?,
    };
    Key::new(auth.kind, auth.key_id, &secret).ok_or_else(|| {
        let most = auth.kind.longest_key();
        let what = format!("the key has {} octets", secret.len());
        (what, format!("its kind takes 1 to {most}; the session is down"))
    })
}

/// A line end behind a key is the editor's.
fn read_key(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = std::fs::read(path)?;
    while octets.last().is_some_and(|last| b"\r\n".contains(last)) {
        octets.pop();
    }
    Ok(octets)
}

#[cfg(test)]
mod tests;
