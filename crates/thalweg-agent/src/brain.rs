//! The agent without I/O: events in, effects out.
//!
//! ```text
//! no config ──good config──► reading the host ──complete──► in force ──change──► in force
//!                Open, Follow                  Apply, Hook             Apply, Hook
//! ```
//!
//! Nothing is attached before the first plan is in force. A wrong configuration changes nothing but
//! what status and log say.

use crate::events::Note;
use crate::hold::Holds;
use crate::passage;
use crate::plane::{HookState, HookWish};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use thalweg_api::view::Phase;
use thalweg_compile::{Compiler, Export};
use thalweg_config::Loaded;
use thalweg_image::{Applied, Plan, PlaneError};
use thalweg_model::cluster::SocketScope;
use thalweg_model::intent::{Fpm, Limits};
use thalweg_model::{Origin, Problem, Severity, Update};
use thalweg_xdp::Audit;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The files were read.
    Config(Box<Loaded>),
    /// The files cannot be watched at the moment.
    WatchFailed(Box<Problem>),
    /// The kernel changed something.
    Host(Vec<Update>),
    /// Everything the kernel had at the start was told.
    HostComplete,
    /// The kernel had more events than could be read; a correction follows by itself.
    Overrun,
    /// A plan was carried out.
    Applied {
        /// Number of the image.
        generation: u64,
        /// Steps of the plan.
        changes: usize,
        /// What came of it.
        result: Result<Applied, PlaneError>,
        /// How long it took to compile and apply.
        took: Duration,
    },
    /// A driver may be able to do something it could not before.
    Features,
    /// How the hooks stand now.
    Hooked(Vec<HookState>),
    /// Somebody changed tables, hooks or pins.
    Tampered(Box<Audit>),
    /// A neighbor could not be asked for.
    NeighborFailed {
        /// Interface index.
        link: u32,
        /// Its address.
        address: IpAddr,
        /// Why, and what to do.
        error: String,
    },
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Begin to make the data plane, attached to nothing.
    Open(Limits),
    /// Begin to follow the kernel.
    Follow,
    /// Put a plan in force and report [`Event::Applied`].
    Apply(Plan),
    /// Go on with new tables, put this plan with everything in force there, and report
    /// [`Event::Applied`].
    Renew(Plan),
    /// Make the pins anew if they are gone.
    RestorePins,
    /// Make the hooks so and report [`Event::Hooked`].
    Hook(Vec<HookWish>),
    /// Let processes connect to services themselves, or not any more.
    Sockets(bool),
    /// Let this host's own stack reach tunnels ([`thalweg_model::tunnel::PASSAGE`]), or not any more.
    Passage(bool),
    /// Make the kernel's tables follow; all that is ours and not named goes when this is the `first`.
    Export {
        /// Routes.
        routes: Vec<Export>,
        /// Whether this is all of them.
        first: bool,
    },
    /// Have the kernel resolve a neighbor and keep it resolved.
    Resolve(u32, IpAddr),
    /// Give up a neighbor.
    Forget(u32, IpAddr),
    /// Listen for a routing suite there, or nowhere.
    Suite(Option<Fpm>),
    /// Say something.
    Log(Level, String),
}

impl Effect {
    /// Whether it is about the data plane, which [`Self::Open`] only begins to make.
    pub fn needs_plane(&self) -> bool {
        match self {
            Self::Apply(_)
            | Self::Renew(_)
            | Self::RestorePins
            | Self::Hook(_)
            | Self::Sockets(_) => true,
            Self::Open(_)
            | Self::Follow
            | Self::Passage(_)
            | Self::Export { .. }
            | Self::Resolve(..)
            | Self::Forget(..)
            | Self::Suite(_)
            | Self::Log(..) => false,
        }
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// What happens all the time.
    Debug,
    /// As it should be.
    Info,
    /// Works, but probably not as meant.
    Warn,
    /// Not as wished.
    Error,
}

/// The agent without I/O.
pub struct Brain {
    path: String,
    seed: u64,
    /// The last generation of the agent before.
    pub(crate) base: u64,
    pub(crate) compiler: Option<Compiler>,
    pub(crate) phase: Phase,
    /// Findings about the files as they are now.
    pub(crate) config_problems: Vec<Problem>,
    /// Whether the files as they are now are in force.
    pub(crate) config_good: bool,
    watch_problem: Option<Problem>,
    plane_problem: Option<Problem>,
    wishes: Vec<HookWish>,
    /// Whether processes are to connect to services; none as long as the plane was not told.
    sockets: Option<bool>,
    /// Whether the way into tunnels was wanted and there when that was last asked.
    passage: Option<(bool, bool)>,
    pub(crate) hooks: Vec<HookState>,
    /// Links that came up again and are not used yet.
    pub(crate) holds: Holds,
    /// Neighbors the kernel was asked for, with what went wrong.
    asked: BTreeMap<(u32, IpAddr), Option<String>>,
    pub(crate) overruns: u64,
    pub(crate) last_plan: Option<(usize, Duration)>,
    told: BTreeSet<Problem>,
    /// Whether the kernel was told of routes.
    exporting: bool,
    /// Whether the plan under way follows the host, which changes all the time.
    routine: bool,
    /// Where a routing suite may connect.
    suite: Option<Fpm>,
}

impl Brain {
    /// An agent for the files at `path`; `seed` is for flow hashes where the files name none.
    pub fn new(path: String, seed: u64) -> Self {
        Self {
            path,
            seed,
            base: 0,
            compiler: None,
            phase: Phase::AwaitsConfig,
            config_problems: Vec::new(),
            config_good: false,
            watch_problem: None,
            plane_problem: None,
            wishes: Vec::new(),
            sockets: None,
            passage: None,
            hooks: Vec::new(),
            holds: Holds::default(),
            asked: BTreeMap::new(),
            overruns: 0,
            last_plan: None,
            told: BTreeSet::new(),
            exporting: false,
            routine: false,
            suite: None,
        }
    }

    /// Whether the kernel is asked to keep this neighbor resolved.
    pub(crate) fn asks_for(&self, key: (u32, IpAddr)) -> bool {
        self.asked.contains_key(&key)
    }

    /// Whether files were read, right or wrong.
    pub fn has_read(&self) -> bool {
        self.config_good || !self.config_problems.is_empty()
    }

    /// Where the configuration comes from.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the kernel tells, as it is to be taken: links that came up again are held down for a
    /// while. To be asked before anybody else sees it. Tells of links that are held from now on.
    pub fn screen(&mut self, event: Event, now: Instant) -> (Event, Vec<Note>) {
        match (event, &self.compiler) {
            (Event::Host(updates), Some(compiler)) => {
                let (updates, notes) = self.holds.screen(compiler, updates, now);
                (Event::Host(updates), notes)
            }
            (event, _) => (event, Vec::new()),
        }
    }

    /// When to ask for [`Self::release`].
    pub fn hold_ends(&self) -> Option<Instant> {
        self.holds.due(self.compiler.as_ref()?)
    }

    /// The links that stayed up long enough, to be told as the kernel's news.
    pub fn release(&mut self, now: Instant) -> Event {
        let compiler = self.compiler.as_ref();
        Event::Host(compiler.map(|c| self.holds.release(c, now)).unwrap_or_default())
    }

    /// Takes an event in; returns what is to be done.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        match &event {
            Event::Host(_) => self.routine = true,
            Event::Config(_) | Event::HostComplete => self.routine = false,
            _ => {}
        }
        match event {
            Event::Config(loaded) => self.config(*loaded),
            Event::WatchFailed(problem) => {
                let line = Effect::Log(Level::Error, problem.to_string());
                self.watch_problem = Some(*problem);
                vec![line]
            }
            Event::Host(updates) => self.host(updates),
            Event::HostComplete => self.complete(),
            Event::Overrun => {
                self.overruns += 1;
                let line = "the kernel had more events than could be read; reading it all again";
                vec![Effect::Log(Level::Warn, line.into())]
            }
            Event::Applied { generation, changes, result, took } => {
                self.applied(generation, changes, result, took)
            }
            Event::Features if self.wishes.is_empty() => Vec::new(),
            Event::Features => vec![Effect::Hook(self.wishes.clone())],
            Event::Hooked(hooks) => self.hooked(hooks),
            Event::Tampered(audit) => self.tampered(&audit),
            Event::NeighborFailed { link, address, error } => {
                let line = Effect::Log(Level::Warn, error.clone());
                self.asked.insert((link, address), Some(error));
                vec![line]
            }
        }
    }

    fn config(&mut self, loaded: Loaded) -> Vec<Effect> {
        self.watch_problem = None;
        self.config_good = loaded.is_ok();
        let mut effects: Vec<Effect> = loaded.problems.iter().map(told).collect();
        self.config_problems = loaded.problems;
        if !self.config_good {
            let line = match self.compiler {
                Some(_) => "the configuration has errors; the last good one stays in force",
                None => "the configuration has errors; nothing is touched until it is right",
            };
            effects.push(Effect::Log(Level::Error, line.into()));
            return effects;
        }
        let suite = loaded.intent.router.fpm.clone();
        if suite != self.suite {
            self.suite.clone_from(&suite);
            effects.push(Effect::Suite(suite));
        }
        if let Some(compiler) = &mut self.compiler {
            compiler.set_policies(loaded.policies);
            compiler.set_intent(loaded.intent);
            effects.extend(self.advance());
            effects.extend(self.tell_problems());
            return effects;
        }
        let limits = thalweg_compile::limits(&loaded.intent, &loaded.policies);
        let mut compiler = Compiler::new(limits.clone());
        compiler.set_seed(self.seed);
        compiler.set_generation(self.base);
        compiler.set_policies(loaded.policies);
        compiler.set_intent(loaded.intent);
        self.compiler = Some(compiler);
        self.phase = Phase::AwaitsHost;
        effects.extend([Effect::Open(limits), Effect::Follow]);
        effects
    }

    fn host(&mut self, updates: Vec<Update>) -> Vec<Effect> {
        let Some(compiler) = &mut self.compiler else { return Vec::new() };
        let mut again = false;
        for update in updates {
            match &update {
                Update::Link(link) => {
                    // What failed on this link may work now.
                    self.asked.retain(|key, error| key.0 != link.index || error.is_none());
                    let index = link.index;
                    again |= self.hooks.iter().any(|h| h.hook.is_none() && h.wish.link == index);
                }
                Update::LinkGone(link) => self.asked.retain(|key, _| key.0 != *link),
                Update::NeighborGone(link, address) => {
                    self.asked.remove(&(*link, *address));
                }
                _ => {}
            }
            compiler.update_host(update);
        }
        if again {
            self.wishes.clear();
        }
        if self.phase == Phase::InForce { self.advance() } else { Vec::new() }
    }

    fn complete(&mut self) -> Vec<Effect> {
        if self.compiler.is_none() {
            return Vec::new();
        }
        self.phase = Phase::InForce;
        let mut effects = self.advance();
        effects.extend(self.tell_problems());
        effects
    }

    /// One transaction: everything that changed since the last.
    fn advance(&mut self) -> Vec<Effect> {
        let Some(compiler) = &mut self.compiler else { return Vec::new() };
        if self.phase != Phase::InForce {
            return Vec::new();
        }
        let mut effects = Vec::new();
        let plan = compiler.plan();
        let changed = !plan.changes.is_empty();
        let routes = compiler.exports(&plan);
        if changed {
            effects.push(Effect::Apply(plan));
        }
        let first = !std::mem::replace(&mut self.exporting, true);
        if first || !routes.is_empty() {
            effects.push(Effect::Export { routes, first });
        }
        let wishes = wishes(compiler);
        if wishes != self.wishes {
            self.wishes = wishes.clone();
            effects.push(Effect::Hook(wishes));
        }
        let sockets = serves_sockets(compiler);
        if self.sockets.replace(sockets) != Some(sockets) {
            effects.push(Effect::Sockets(sockets));
        }
        effects.extend(passage::wish(compiler, &mut self.passage).map(Effect::Passage));
        effects.extend(self.neighbors());
        effects
    }

    /// Keeps the kernel resolving the gateways that only we know of.
    fn neighbors(&mut self) -> Vec<Effect> {
        let Some(compiler) = &self.compiler else { return Vec::new() };
        let wanted = compiler.own_gateways();
        let mut effects = Vec::new();
        self.asked.retain(|key, _| {
            let keep = wanted.contains(key);
            if !keep {
                effects.push(Effect::Forget(key.0, key.1));
            }
            keep
        });
        for key in wanted {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.asked.entry(key) {
                entry.insert(None);
                effects.push(Effect::Resolve(key.0, key.1));
            }
        }
        effects
    }

    fn applied(
        &mut self,
        generation: u64,
        changes: usize,
        result: Result<Applied, PlaneError>,
        took: Duration,
    ) -> Vec<Effect> {
        self.last_plan = Some((changes, took));
        match result {
            Ok(applied) => {
                self.plane_problem = None;
                let refused = applied.failures.len();
                if let (Some(compiler), true) = (&mut self.compiler, refused > 0) {
                    compiler.refused(&applied.failures);
                }
                let micros = took.as_micros();
                let mut line =
                    format!("generation {generation} in force: {changes} changes in {micros} µs");
                if refused == 0 {
                    let level = if self.routine { Level::Debug } else { Level::Info };
                    return vec![Effect::Log(level, line)];
                }
                line.push_str(&format!("; {refused} did not fit, see `thalweg status`"));
                let mut effects = vec![Effect::Log(Level::Error, line)];
                effects.extend(self.tell_problems());
                effects
            }
            Err(error) => {
                let problem = whole(
                    format!("generation {generation} could not be put in force: {error}"),
                    "restart the agent; what was in force before stays",
                );
                let line = told(&problem);
                self.plane_problem = Some(problem);
                vec![line]
            }
        }
    }

    fn hooked(&mut self, hooks: Vec<HookState>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for state in &hooks {
            let HookState { wish, hook, reason } = state;
            if self.hooks.contains(state) {
                continue;
            }
            effects.push(match hook {
                Some(hook) => Effect::Log(Level::Info, format!("{}: {hook}: {reason}", wish.name)),
                None => Effect::Log(Level::Error, format!("{}: not attached: {reason}", wish.name)),
            });
        }
        for old in &self.hooks {
            if !hooks.iter().any(|new| new.wish.link == old.wish.link) {
                let line = format!("{}: taken back", old.wish.name);
                effects.push(Effect::Log(Level::Info, line));
            }
        }
        self.hooks = hooks;
        effects
    }

    /// Mends what somebody else did. Tables are filled anew, all of them: who knows what else is wrong.
    fn tampered(&mut self, audit: &Audit) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase != Phase::InForce {
            return effects;
        }
        if audit.pins.is_some() {
            effects.push(Effect::RestorePins);
        }
        if !audit.tables.is_empty() {
            effects.extend(self.anew());
        }
        effects.push(Effect::Hook(self.wishes.clone()));
        effects
    }

    /// The plan from nothing to what is to be in force.
    fn anew(&mut self) -> Vec<Effect> {
        let Some(old) = self.compiler.take() else { return Vec::new() };
        let mut compiler = Compiler::new(old.limits().clone());
        compiler.set_seed(self.seed);
        compiler.set_generation(old.generation());
        compiler.set_policies(old.policy_objects().clone());
        compiler.set_intent(old.intent().clone());
        compiler.load_host(old.host());
        drop(old);
        let plan = compiler.plan();
        let routes = compiler.exports(&plan);
        self.compiler = Some(compiler);
        vec![Effect::Renew(plan), Effect::Export { routes, first: true }]
    }

    /// Whether the last plan could not be put in force.
    pub fn is_plane_broken(&self) -> bool {
        self.plane_problem.is_some()
    }

    /// Everything that is not as wished, but for what the files say.
    pub fn problems(&self) -> Vec<Problem> {
        let mut all = Vec::new();
        all.extend(self.plane_problem.clone());
        all.extend(self.watch_problem.clone());
        let unhooked = self.hooks.iter().filter(|state| state.hook.is_none());
        all.extend(unhooked.map(|state| Problem {
            what: format!("link {} is not attached: {}", state.wish.name, state.reason),
            ..whole(String::new(), "packets of this link take the kernel's own path meanwhile")
        }));
        all.extend(self.beyond_tc());
        let unasked = self.asked.values().flatten();
        all.extend(unasked.map(|error| Problem {
            severity: Severity::Warning,
            ..whole(error.clone(), "asked again when the link changes")
        }));
        if self.phase == Phase::InForce {
            all.extend(self.compiler.iter().flat_map(Compiler::problems));
        }
        all
    }

    /// Links whose hook cannot do all that the configuration asks of them: labels and tags come off at
    /// XDP only (docs/decisions/0008).
    fn beyond_tc(&self) -> Vec<Problem> {
        let Some(compiler) = &self.compiler else { return Vec::new() };
        let takes_off = compiler.takes_labels_off();
        let at_tc = self
            .hooks
            .iter()
            .filter(|state| state.hook.as_deref().is_some_and(|hook| hook.starts_with("tc")));
        let hit = at_tc.filter(|state| takes_off && compiler.accepts_labels(state.wish.link));
        hit.map(|state| Problem {
            what: format!(
                "link {}: its hook is tc, where no label can come off: labelled frames that arrive \
                 there and are to leave with fewer labels are dropped (no-room)",
                state.wish.name
            ),
            ..whole(
                String::new(),
                "make XDP possible there (`thalweg get links` says what is in the way), or set mpls: \
                 false for the link",
            )
        })
        .collect()
    }

    /// Logs what is wrong and was not said before.
    fn tell_problems(&mut self) -> Vec<Effect> {
        if self.phase != Phase::InForce {
            return Vec::new();
        }
        let now: BTreeSet<Problem> = self.compiler.iter().flat_map(Compiler::problems).collect();
        let lines = now.difference(&self.told).map(told).collect();
        self.told = now;
        lines
    }
}

/// Whether there are services that processes of this host may want.
fn serves_sockets(compiler: &Compiler) -> bool {
    let intent = compiler.intent();
    let scope = intent.router.services.sockets;
    scope != SocketScope::Off && !intent.cluster.services.is_empty()
}

/// The links that need a hook.
fn wishes(compiler: &Compiler) -> Vec<HookWish> {
    let links = compiler.links().into_iter().filter(|link| link.attach);
    links.map(|link| HookWish { link: link.index, name: link.name, wish: link.wish }).collect()
}

fn told(problem: &Problem) -> Effect {
    let level = if problem.severity == Severity::Error { Level::Error } else { Level::Warn };
    let place = problem.to_string();
    Effect::Log(level, place.strip_prefix(": ").unwrap_or(&place).to_owned())
}

/// A problem of the whole rather than of an object.
fn whole(what: String, remedy: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        origin: Origin::default(),
        object: None,
        field: None,
        what,
        remedy: remedy.into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
