//! The agent with its I/O: one loop that feeds the brain and carries out what it says.

use crate::access::{Access, Group};
use crate::answer::{self, Context};
use crate::audit::{self, Auditor};
use crate::balancers::Balancers;
use crate::bfd::Sessions;
use crate::brain::{Brain, Effect, Event, Level};
use crate::drops::{Drops, Listener};
use crate::events::Note;
use crate::export::Exports;
use crate::fault::point;
use crate::follow::Scene;
use crate::fpm::Suite;
use crate::herald::{self, Herald, State};
use crate::keeper::{Keeper, Read, Wake, at};
use crate::metrics::{self, Exporter, Lent, Record, Snapshot};
use crate::opening::{Opened, Opening};
use crate::passage::Passage;
use crate::plane::{DataPlane, Opener};
use crate::quotas::Quotas;
use crate::selftest::Finding;
use crate::serve::{self, Asked, Askers, Look, SocketError};
use crate::settings::{Settings, check_instance};
use crate::watermark::Watermark;
use crate::{ebpf, lock, log, sysctl};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixListener as StdListener;
use std::time::{Duration, Instant};
use thalweg_api::view::{AuditView, EventSeverity, Phase};
use thalweg_api::{Answer, Call, Fault};
use thalweg_config::Watch;
use thalweg_image::PlaneError;
use thalweg_model::{HostState, Problem, Update};
use thalweg_netlink::{Resolver, Source};
use thalweg_xdp::{Audit, FeatureWatch};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Control calls that may wait.
const CALLS: usize = 64;
/// Changes of a plan after which the memory it was made with is worth giving back.
const LARGE: usize = 10_000;

/// Why an agent ended, or did not even start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The name of the instance.
    #[error("{0}")]
    Instance(String),
    /// A group that may use the control socket.
    #[error("{0}")]
    Group(String),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The data plane could not be made.
    #[error("no data plane: {0}")]
    Plane(PlaneError),
    /// The programs do not do on this machine what they should.
    #[error(
        "this version fails its self-test and replaces nothing; what was in force goes on, without \
         an agent: start the version before again, or `thalweg detach` to leave all to the kernel. \
         {0}"
    )]
    SelfTest(String),
    /// Wrong files, where they were only to be tried.
    #[error("the configuration has errors, see above: `thalweg check -f {0}` shows them")]
    Files(String),
    /// The kernel cannot be followed, or the namespace not be entered.
    #[error(transparent)]
    Host(#[from] thalweg_netlink::Error),
    /// The files cannot be watched.
    #[error("{0}")]
    Watch(Box<Problem>),
    /// No threads, no signals.
    #[error("the process cannot be set up: {0}; check its limits (`ulimit -a`)")]
    Process(#[from] std::io::Error),
}

/// What an agent works with.
pub struct Parts {
    /// Makes the data plane.
    pub opener: Opener,
    /// Where host state comes from.
    pub host: HostSource,
    /// Ends the agent when its other end fires; signals do, too.
    pub stop: Option<oneshot::Receiver<()>>,
}

/// Where host state comes from.
pub enum HostSource {
    /// The kernel, live.
    Kernel,
    /// A value that never changes, for trials.
    Fixed(Box<HostState>),
}

impl Parts {
    /// The kernel, forwarding by eBPF.
    pub fn kernel(settings: &Settings) -> Self {
        let aside = settings.check.then(|| settings.clone().aside());
        let settings = aside.as_ref().unwrap_or(settings);
        Self { opener: ebpf::opener(settings), host: HostSource::Kernel, stop: None }
    }
}

/// Runs an agent until it is told to stop.
///
/// Enters the network namespace, so call it while there is but one thread.
///
/// # Errors
///
/// [`RunError`], each with what to do. Wrong configuration is none.
pub fn run(settings: Settings, parts: Parts) -> Result<(), RunError> {
    log::start(settings.log, &settings.instance);
    check_instance(&settings.instance).map_err(RunError::Instance)?;
    if let Some(netns) = &settings.netns {
        thalweg_netlink::enter_netns(netns)?;
    }
    let settings = if settings.check { settings.aside() } else { settings };
    let access = access(&settings)?;
    let _lock = lock::lock(&settings)?;
    let listener = serve::listen(&settings.socket, &access)?;
    thalweg_bfd::runner::allow_priority();
    // Whatever takes more is done; threads to come inherit what is left.
    thalweg_xdp::rights::keep_needed().map_err(std::io::Error::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("thalweg")
        .enable_all()
        .build()?;
    let result = runtime.block_on(Shell::run(&settings, parts, (listener, access)));
    runtime.shutdown_background();
    if settings.check {
        let _ = std::fs::remove_file(settings.socket.with_extension("lock"));
    }
    result
}

/// Who may use the control socket.
fn access(settings: &Settings) -> Result<Access, RunError> {
    let find = |name: &Option<String>| name.as_deref().map(Group::find).transpose();
    let read = find(&settings.read_group).map_err(RunError::Group)?;
    Ok(Access { read, admin: find(&settings.admin_group).map_err(RunError::Group)? })
}

/// What the loop is asked.
struct Questions {
    calls: mpsc::Receiver<Asked>,
    flows: mpsc::Receiver<Look>,
    scrapes: metrics::Asks,
}

/// Everything with a file descriptor.
struct Shell {
    brain: Brain,
    /// Makes the plane, once.
    opener: Option<Opener>,
    opening: Option<Opening>,
    plane: Option<Box<dyn DataPlane>>,
    host: Option<HostSource>,
    source: Option<Source>,
    suite: Suite,
    resolver: Option<Resolver>,
    exports: Option<Exports>,
    passage: Passage,
    features: Option<AsyncFd<FeatureWatch>>,
    instance: String,
    started: Instant,
    changes: watch::Sender<u64>,
    keeper: Keeper,
    record: Record,
    exporter: Exporter,
    balancers: Balancers,
    herald: Herald,
    sessions: Sessions,
    auditor: Auditor,
    watermark: Watermark,
    quotas: Quotas,
    /// When to make the tables ready for the plan after a large one.
    ready: Option<Instant>,
    drops: Drops,
    listener: Option<Listener>,
    /// Whether the programs have passed their self-test.
    tried: bool,
    /// Whether they are to be tried only.
    check: bool,
    /// What to say once the hooks of an agent before are taken over.
    took_over: Option<String>,
}

impl Shell {
    async fn run(
        settings: &Settings,
        parts: Parts,
        (listener, access): (StdListener, Access),
    ) -> Result<(), RunError> {
        let listener = UnixListener::from_std(listener)?;
        let (asked, calls) = mpsc::channel::<Asked>(CALLS);
        let (looks, flows) = mpsc::channel::<Look>(1);
        let (changes, changed) = watch::channel(0);
        let keeper = Keeper::open(settings);
        let sessions = Sessions::open(keeper.state());
        let askers = Askers { asked, looks };
        let drops = Drops::default();
        let news = serve::News { changed, events: keeper.events(), drops: drops.clone() };
        tokio::spawn(serve::serve(listener, access, askers, news));
        let mut signals = Signals::new(parts.stop)?;
        let (_watch, mut files) = follow_files(settings, &keeper)?;
        let record = Record::default();
        let (exporter, scrapes) = Exporter::new(record.clone());
        let mut questions = Questions { calls, flows, scrapes };
        let mut shell = Self {
            brain: Brain::new(settings.config.display().to_string(), machine_seed()),
            opener: Some(parts.opener),
            opening: None,
            plane: None,
            host: Some(parts.host),
            source: None,
            suite: Suite::default(),
            resolver: None,
            exports: None,
            passage: Passage::default(),
            features: None,
            instance: settings.instance.clone(),
            started: Instant::now(),
            changes,
            keeper,
            record,
            exporter,
            balancers: Balancers::default(),
            herald: Herald::new(&herald::Environment::read()),
            sessions,
            auditor: Auditor::new(settings.audit),
            watermark: Watermark::new(),
            quotas: Quotas::default(),
            ready: None,
            drops,
            listener: None,
            tried: false,
            took_over: None,
            check: settings.check,
        };
        shell.brain.base = shell.keeper.generation();
        log::write(Level::Info, &format!("listening at {}", settings.socket.display()));
        let result = shell.turn(&mut signals, &mut files, &mut questions).await;
        // A plane that is half made could not be taken back.
        let _ = shell.opened().await;
        if shell.check || matches!(result, Err(RunError::SelfTest(_))) {
            shell.plane.take().into_iter().for_each(DataPlane::forsake);
        }
        if let Some(listener) = shell.listener.take() {
            listener.stop().await;
        }
        shell.herald.stopping();
        shell.sessions.leave();
        // Nobody may find a socket without an agent; the lock is still held.
        let _ = std::fs::remove_file(&settings.socket);
        if result.is_ok() && !shell.check {
            let attached = shell.brain.hooks.iter().any(|state| state.hook.is_some());
            let line = match attached {
                true => {
                    "stopping; forwarding goes on by the image in force (`thalweg detach` ends it)"
                }
                false => "stopping; nothing was attached",
            };
            log::write(Level::Info, line);
        }
        result
    }

    async fn turn(
        &mut self,
        signals: &mut Signals,
        files: &mut mpsc::UnboundedReceiver<Read>,
        Questions { calls, flows, scrapes }: &mut Questions,
    ) -> Result<(), RunError> {
        while !(self.check && self.tried) {
            if self.check && self.brain.phase == Phase::AwaitsConfig && self.brain.has_read() {
                return Err(RunError::Files(self.brain.path().to_owned()));
            }
            tokio::select! {
                () = signals.stop() => return Ok(()),
                Some(mut now) = files.recv() => {
                    // Only the last state of the files counts.
                    while let Ok(newer) = files.try_recv() {
                        now = newer;
                    }
                    self.read(now).await?;
                }
                event = next(&mut self.source) => {
                    let (event, notes) = self.brain.screen(of_host(event?), Instant::now());
                    self.react(&event);
                    notes.into_iter().for_each(|note| self.keeper.events().tell(note));
                    if let Some(event) = self.suite.hold(event) {
                        self.happened(event).await?;
                    }
                }
                told = self.suite.next() => {
                    for event in self.suite.told(told) {
                        self.happened(event).await?;
                    }
                }
                () = at(self.brain.hold_ends()) => {
                    let event = self.brain.release(Instant::now());
                    self.happened(event).await?;
                }
                report = self.sessions.next() => {
                    if let Some(event) = self.sessions.told(report, self.plane.as_mut()) {
                        self.happened(event).await?;
                    }
                }
                wake = self.keeper.wake() => self.woken(wake).await?,
                _ = self.auditor.due() => drop(self.audit().await?),
                () = at(self.ready) => {
                    self.ready = None;
                    self.plane.iter_mut().for_each(|plane| plane.ready());
                }
                () = self.watermark.due() => {
                    if let Some(plane) = &self.plane {
                        let events = self.keeper.events();
                        self.watermark.look(plane.memory(), &events);
                        let counts = plane.counts().unwrap_or_default();
                        if let Some(compiler) = &self.brain.compiler {
                            self.quotas.look(compiler, &counts, plane.memory(), &events);
                        }
                    }
                }
                opened = opened(&mut self.opening) => self.take_plane(opened)?,
                () = heard(&mut self.features) => self.happened(Event::Features).await?,
                Some(asked) = calls.recv() => match asked.call {
                    Call::Audit => {
                        let view = self.audit().await?;
                        // Who asked may be gone.
                        let _ = asked.answer.send(view.map(Answer::Audit));
                    }
                    _ => self.answer(asked),
                },
                Some(question) = scrapes.recv() => self.scraped(question),
                Some(look) = flows.recv() => self.lend(look),
                () = self.herald.due() => self.herald.alive(),
            }
        }
        Ok(())
    }

    /// What cannot wait for a plan: links that went down, so that packets take their backups at once,
    /// whatever the plan has to compute. Links that came up are the plan's.
    fn react(&mut self, event: &Event) {
        let (Event::Host(updates), Some(plane)) = (event, &mut self.plane) else { return };
        for link in gone_down(updates) {
            plane.set_state(link, false);
            self.sessions.link_down(link, plane);
            point("link-down");
        }
    }

    /// Takes files that were read.
    async fn read(&mut self, read: Read) -> Result<(), RunError> {
        match self.keeper.files(read) {
            Some(event) => self.happened(event).await,
            None => Ok(()),
        }
    }

    /// Does what the keeper waited for.
    async fn woken(&mut self, wake: Wake) -> Result<(), RunError> {
        match wake {
            Wake::Job(done) => {
                let (event, waiting) = self.keeper.finished(*done);
                if let Some(event) = event {
                    self.happened(event).await?;
                }
                if let Some(waiting) = waiting {
                    waiting.answer(&self.keeper, &self.brain);
                }
                if let Some(read) = self.keeper.held() {
                    self.read(read).await?;
                }
            }
            Wake::Deadline => self.keeper.late(&self.brain),
            Wake::Flush => {
                self.keeper.flush();
                self.changes.send_modify(|number| *number += 1);
            }
        }
        Ok(())
    }

    /// Takes an event to the brain and does what it says, and what comes of that.
    async fn happened(&mut self, event: Event) -> Result<(), RunError> {
        let since = Instant::now();
        self.keeper.witness(&self.brain, &event);
        if matches!(event, Event::Config(_)) {
            self.herald.reloading();
            self.sessions.files_changed();
        }
        let mut effects = VecDeque::from(self.brain.handle(event));
        while let Some(effect) = effects.pop_front() {
            let event = self.perform(effect, since).await?;
            if self.check && self.tried {
                return Ok(());
            }
            let Some(event) = event else { continue };
            let first = matches!(event, Event::Hooked(_)) && self.brain.hooks.is_empty();
            self.keeper.witness(&self.brain, &event);
            effects.extend(self.brain.handle(event));
            if let Some(words) = self.took_over.take_if(|_| first) {
                self.record.took_over();
                log::write(Level::Info, &words);
                let text = words + "; packets went on by what that left until now";
                self.keeper.events().tell(Note::new(EventSeverity::Info, "start", "agent", text));
            }
            if first {
                let problems = self.host_problems();
                problems.iter().for_each(|problem| log::write(Level::Warn, &problem.to_string()));
            }
        }
        if let (Some(compiler), Phase::InForce, false) =
            (&self.brain.compiler, self.brain.phase, self.check)
        {
            self.sessions.follow(compiler);
            self.balancers.follow(compiler);
        }
        self.write_sessions();
        let intent = self.brain.compiler.as_ref().map(thalweg_compile::Compiler::intent);
        let metrics = intent.filter(|_| !self.check).and_then(|intent| intent.router.metrics);
        self.exporter.serve(metrics);
        self.herald.stands(self.standing());
        self.suite.confirm(&self.brain);
        self.changes.send_modify(|number| *number += 1);
        Ok(())
    }

    /// Tells the data plane how the sessions stand.
    fn write_sessions(&mut self) {
        if let (Some(compiler), Some(plane)) = (&self.brain.compiler, &mut self.plane) {
            self.sessions.write(compiler, plane);
        }
    }

    /// Listens to what the programs tell of frames that they discard; again when their maps may be others.
    async fn listen(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.stop().await;
        }
        self.drops.forget_numbers();
        match self.plane.as_ref().map(|plane| plane.events()) {
            Some(Ok(Some(events))) if !self.check => {
                self.listener = Listener::start(events, self.drops.clone());
            }
            Some(Err(error)) => {
                log::write(Level::Warn, &format!("nothing will be told of single drops: {error}"));
            }
            _ => {}
        }
    }

    /// Waits for the plane, if one is being made.
    async fn opened(&mut self) -> Result<(), RunError> {
        match &mut self.opening {
            Some(opening) => {
                let opened = opening.done().await;
                self.take_plane(opened)
            }
            None => Ok(()),
        }
    }

    /// Takes the plane that was made.
    fn take_plane(&mut self, opened: Opened) -> Result<(), RunError> {
        self.opening = None;
        let plane = opened.map_err(RunError::Plane)?;
        for note in plane.notes() {
            log::write(Level::Warn, &note);
        }
        if plane.kind() == "ebpf" {
            self.features = watch_features();
        }
        if let Some(wait) = plane.succeeds().then(|| self.suite.succeed()).flatten() {
            let text = "what the agent before left stays in force until the routing suite has told all \
                        it has, for at most";
            log::write(Level::Info, &format!("{text} {} s", wait.as_secs()));
        }
        self.took_over = plane.succeeds().then(|| self.keeper.succeeds());
        self.plane = Some(plane);
        Ok(())
    }

    async fn perform(&mut self, effect: Effect, since: Instant) -> Result<Option<Event>, RunError> {
        if effect.needs_plane() {
            self.opened().await?;
        }
        Ok(match effect {
            Effect::Open(limits) => {
                let opener = self.opener.take();
                self.opening = opener.map(|opener| Opening::start(opener, limits)).transpose()?;
                if self.suite.is_awaited() {
                    // How long depends on whether the plane takes over from another.
                    self.opened().await?;
                }
                None
            }
            Effect::Follow => {
                if let Some(compiler) = &mut self.brain.compiler {
                    self.sessions.take_up(compiler);
                    compiler.update_host(Update::Ports(crate::ports::read()));
                }
                return self.follow().await;
            }
            Effect::Apply(plan) => {
                let (generation, changes) = (plan.generation, plan.changes.len());
                self.keeper.planned(&plan, &self.brain);
                point("plan-before");
                let result = match &mut self.plane {
                    Some(plane) => plane.apply(&plan),
                    None => Err(PlaneError { message: "there is no data plane".into() }),
                };
                point("plan-after");
                self.write_sessions();
                let first = !self.tried;
                if result.is_ok() && first {
                    self.self_test()?;
                    self.listen().await;
                }
                let took = since.elapsed();
                let unfit = result.as_ref().ok().map(|applied| applied.failures.len());
                self.record.plan(changes, took, unfit);
                if unfit.is_some() {
                    log::generation(generation);
                }
                if changes >= LARGE {
                    self.ready = Some(Instant::now() + Duration::from_secs(1));
                }
                if changes >= LARGE || first {
                    trim();
                }
                Some(Event::Applied { generation, changes, result, took })
            }
            Effect::Renew(plan) => {
                let (generation, changes) = (plan.generation, plan.changes.len());
                self.keeper.renewing(&plan);
                let result = match &mut self.plane {
                    Some(plane) => plane.renew(&plan),
                    None => Err(PlaneError { message: "there is no data plane".into() }),
                };
                self.sessions.rewrite();
                self.write_sessions();
                self.listen().await;
                if result.is_ok() {
                    self.drops.know_numbers();
                }
                let took = since.elapsed();
                let unfit = result.as_ref().ok().map(|applied| applied.failures.len());
                self.record.plan(changes, took, unfit);
                Some(Event::Applied { generation, changes, result, took })
            }
            Effect::RestorePins => {
                let restored = self.plane.as_mut().map(|plane| plane.restore_pins());
                if let Some(Err(error)) = restored {
                    self.auditor.failed(&error);
                }
                None
            }
            Effect::Hook(wishes) => {
                point("hook-before");
                let hooked = self.plane.as_mut().map(|plane| Event::Hooked(plane.hook(&wishes)));
                point("hook-after");
                self.drops.know_numbers();
                hooked
            }
            Effect::Sockets(wanted) => {
                if let Some(plane) = &mut self.plane {
                    plane.serve_sockets(wanted);
                }
                None
            }
            Effect::Passage(wanted) => {
                if self.exports.is_some() {
                    self.passage.carry_out(wanted);
                }
                None
            }
            Effect::Export { routes, first } => {
                if let Some(exports) = &self.exports {
                    exports.send(routes, first);
                }
                None
            }
            Effect::Resolve(link, address) => {
                let resolver = self.resolver.as_mut();
                let failed = resolver.and_then(|r| r.resolve(link, address).err());
                failed.map(|error| Event::NeighborFailed {
                    link,
                    address,
                    error: error.to_string(),
                })
            }
            Effect::Forget(link, address) => {
                let resolver = self.resolver.as_mut();
                if let Some(error) = resolver.and_then(|r| r.forget(link, address).err()) {
                    log::write(Level::Warn, &error.to_string());
                }
                None
            }
            Effect::Suite(settings) => {
                self.suite.set(settings.filter(|_| !self.check));
                None
            }
            Effect::Log(level, line) => {
                log::write(level, &line);
                None
            }
        })
    }

    /// Begins to follow the host.
    async fn follow(&mut self) -> Result<Option<Event>, RunError> {
        Ok(match self.host.take() {
            Some(HostSource::Kernel) => {
                let options = thalweg_netlink::Options::default();
                self.source = Some(thalweg_netlink::start(options).await?);
                if !self.check {
                    self.resolver = Some(Resolver::open()?);
                    self.exports = Some(Exports::start()?);
                }
                None
            }
            Some(HostSource::Fixed(host)) => {
                if let Some(compiler) = &mut self.brain.compiler {
                    compiler.load_host(*host);
                }
                Some(Event::HostComplete)
            }
            None => None,
        })
    }

    /// Looks whether tables, hooks and pins are as the agent left them, and mends what is not.
    async fn audit(&mut self) -> Result<Result<AuditView, Fault>, RunError> {
        let (Some(plane), Phase::InForce) = (&self.plane, self.brain.phase) else {
            let phase = self.brain.phase.describe();
            return Ok(Err(Fault::not_ready(format!("the agent is {phase}"))));
        };
        let since = Instant::now();
        let found = plane.audit();
        if !audit::is_clean(&found) {
            self.auditor.found(&found, &self.keeper.events());
            self.happened(Event::Tampered(Box::new(found.clone()))).await?;
        }
        let left = match &self.plane {
            Some(plane) if !audit::is_clean(&found) => plane.audit(),
            _ => Audit::default(),
        };
        let view = audit::view(&found, &left, since.elapsed());
        self.auditor.done(&left, &view, &self.keeper.events());
        self.record.audit(&view);
        Ok(Ok(view))
    }

    /// Tries the programs on the first plan, before anything of them is in force.
    fn self_test(&mut self) -> Result<(), RunError> {
        let links = self.brain.compiler.iter().flat_map(thalweg_compile::Compiler::links);
        let links: Vec<u32> = links.filter(|link| link.attach).map(|link| link.index).collect();
        let Some(plane) = &mut self.plane else { return Ok(()) };
        match plane.self_test(&links) {
            Finding::Passed(frames) => {
                let line = format!("self-test passed: {frames} frames, both programs");
                log::write(Level::Info, &line);
            }
            Finding::Untried(why) if plane.kind() == "ebpf" => {
                log::write(Level::Warn, &format!("no self-test: {why}"));
            }
            Finding::Untried(_) => {}
            Finding::Failed(what) => return Err(RunError::SelfTest(what)),
        }
        self.tried = true;
        Ok(())
    }

    /// What is wrong around the agent: the kernel's settings in this network namespace, pins that
    /// are gone, metrics that cannot be served.
    fn host_problems(&self) -> Vec<Problem> {
        let mut problems = match (&self.brain.compiler, &self.source) {
            (Some(compiler), Some(_)) => {
                sysctl::problems(compiler, |path| std::fs::read_to_string(path).ok())
            }
            _ => Vec::new(),
        };
        problems.extend(self.plane.iter().flat_map(|plane| plane.problems()));
        problems.extend(self.exporter.problem());
        problems.extend(self.passage.problem());
        let compiler = self.brain.compiler.as_ref();
        problems.extend(compiler.into_iter().flat_map(|all| self.balancers.problems(all)));
        problems.extend(self.sessions.problems());
        let intent = self.brain.compiler.as_ref().map(thalweg_compile::Compiler::intent);
        let router = intent.and_then(thalweg_model::Intent::router_object);
        problems.extend(self.watermark.problem(router));
        problems.extend(compiler.into_iter().flat_map(|all| self.quotas.problems(all)));
        problems
    }

    /// How the agent stands, in a line for systemd.
    fn standing(&self) -> State {
        let brain = &self.brain;
        let attached = brain.hooks.iter().filter(|state| state.hook.is_some()).count();
        let links = match (attached, brain.hooks.len()) {
            (1, 1) => "1 link".to_owned(),
            (some, all) if some == all => format!("{all} links"),
            (some, all) => format!("{some} of {all} links"),
        };
        let in_force = brain.phase == Phase::InForce;
        let text = match (in_force, brain.config_good) {
            (true, true) => format!("in force on {links}"),
            (true, false) => {
                format!("in force on {links}, by the last good files: those of now have errors")
            }
            (false, _) => brain.phase.describe().to_owned(),
        };
        State { in_force, text }
    }

    /// What the brain does not know.
    fn context(&self, host_problems: Vec<Problem>) -> Context<'_> {
        let compiler = self.brain.compiler.as_ref();
        let sessions = compiler.map(|c| self.sessions.views(c)).unwrap_or_default();
        Context {
            plane: self.plane.as_deref().map(|plane| plane as &dyn DataPlane),
            instance: &self.instance,
            uptime: self.started.elapsed().as_secs(),
            host_problems,
            pending: self.keeper.pending(),
            suite: self.suite.view(),
            drops: &self.drops,
            flows: self.plane.as_ref().and_then(|plane| self.watermark.rows(plane.memory())),
            sessions_whole: self.sessions.whole(&sessions),
            sessions,
        }
    }

    /// Gives what metrics and health are made of.
    fn scraped(&self, question: metrics::Question) {
        // Who asked may be gone.
        match question {
            metrics::Question::Snapshot(asked) => {
                let context = self.context(self.host_problems());
                let _ = asked.send(Snapshot::of(&self.brain, &context));
            }
            metrics::Question::Flows(asked) => {
                let compiler =
                    self.brain.compiler.as_ref().filter(|_| self.brain.phase == Phase::InForce);
                let tables = compiler.zip(self.plane.as_ref());
                let lent = tables.and_then(|(compiler, plane)| Lent::new(compiler, plane.memory()));
                let _ = asked.send(lent);
            }
        }
    }

    /// Lends the tables to somebody who follows flows.
    fn lend(&self, look: Look) {
        let scene = match (&self.brain.compiler, self.brain.phase, &self.plane) {
            (Some(compiler), Phase::InForce, Some(plane)) => {
                Scene::new(compiler, plane.memory(), &look.wanted)
            }
            (_, phase, _) => Err(Fault::not_ready(format!("the agent is {}", phase.describe()))),
        };
        // Who asked may be gone.
        let _ = look.answer.send(scene);
    }

    fn answer(&mut self, asked: Asked) {
        let Some(mut asked) = self.keeper.take(asked, &self.brain) else {
            self.changes.send_modify(|number| *number += 1);
            return;
        };
        if let (Call::Host, Some(compiler), Phase::InForce) =
            (&asked.call, &self.brain.compiler, self.brain.phase)
        {
            // Many routes take long to write down: not in the way of events.
            let host = compiler.host();
            tokio::task::spawn_blocking(move || {
                let _ = asked.answer.send(Ok(Answer::Host(thalweg_netlink::file::to_value(&host))));
            });
            return;
        }
        if let (Call::Diff { files }, Some(compiler), Phase::InForce) =
            (&mut asked.call, &self.brain.compiler, self.brain.phase)
        {
            let comparison = answer::comparison(compiler, std::mem::take(files));
            tokio::task::spawn_blocking(move || {
                let _ = asked.answer.send(Ok(Answer::Diff(comparison())));
            });
            return;
        }
        let context = self.context(match asked.call {
            Call::Status => {
                [self.host_problems(), self.keeper.problems(), self.suite.problems()].concat()
            }
            _ => Vec::new(),
        });
        // Who asked may be gone.
        let _ = asked.answer.send(answer::answer(&self.brain, &context, &asked.call));
    }
}

/// Reads the files now and after each change, in a thread of their own.
fn follow_files(
    settings: &Settings,
    keeper: &Keeper,
) -> Result<(Watch, mpsc::UnboundedReceiver<Read>), RunError> {
    let (sender, files) = mpsc::unbounded_channel();
    let reader = keeper.reader();
    let first = reader.clone();
    let again = sender.clone();
    // Nobody listens any more when the agent stops.
    let watch = thalweg_config::watch(&settings.config, move |change| {
        let _ = again.send(match change {
            Ok(change) => reader.changed(&change),
            Err(problem) => reader.failed(problem),
        });
    })
    .map_err(RunError::Watch)?;
    std::thread::Builder::new().name("read-config".into()).spawn(move || {
        let _ = sender.send(first.read());
    })?;
    Ok((watch, files))
}

/// Links that are down, or gone, after these updates.
fn gone_down(updates: &[Update]) -> impl Iterator<Item = u32> {
    let mut last = BTreeMap::new();
    for update in updates {
        match update {
            Update::Link(link) => last.insert(link.index, link.up),
            Update::LinkGone(link) => last.insert(*link, false),
            _ => None,
        };
    }
    last.into_iter().filter(|(_, up)| !up).map(|(link, _)| link)
}

fn of_host(event: thalweg_netlink::Event) -> Event {
    match event {
        thalweg_netlink::Event::Updates(updates) => Event::Host(updates),
        thalweg_netlink::Event::Complete => Event::HostComplete,
        thalweg_netlink::Event::Overrun => Event::Overrun,
    }
}

/// The next event of a source; never without one.
async fn next(
    source: &mut Option<Source>,
) -> Result<thalweg_netlink::Event, thalweg_netlink::Error> {
    match source {
        Some(source) => source.next().await,
        None => std::future::pending().await,
    }
}

/// What comes of the plane in the making; never without one.
async fn opened(opening: &mut Option<Opening>) -> Opened {
    match opening {
        Some(opening) => opening.done().await,
        None => std::future::pending().await,
    }
}

fn watch_features() -> Option<AsyncFd<FeatureWatch>> {
    let watch = FeatureWatch::new().ok().flatten()?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the watch owns its socket while it lives"
    )]
    AsyncFd::with_interest(watch, tokio::io::Interest::READABLE).ok()
}

/// Returns when a driver's features may have changed; never without a watch.
async fn heard(features: &mut Option<AsyncFd<FeatureWatch>>) {
    let Some(watch) = features else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = watch.readable_mut().await else {
            return tokio::time::sleep(Duration::from_secs(3600)).await;
        };
        let any = ready.get_inner().drain();
        ready.clear_ready();
        if any {
            return;
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    stop: Option<oneshot::Receiver<()>>,
}

impl Signals {
    fn new(stop: Option<oneshot::Receiver<()>>) -> Result<Self, RunError> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, stop })
    }

    async fn stop(&mut self) {
        let told = async {
            match &mut self.stop {
                Some(stop) => drop(stop.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = told => {}
        }
    }
}

/// A seed of flow hashes that stays the same on this machine: a restart moves no flows.
fn machine_seed() -> u64 {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    // FNV-1a.
    id.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Gives back what a large plan was made with, or the first one and its plane, once that is free, beside
/// the loop.
fn trim() {
    let work = || {
        std::thread::sleep(Duration::from_secs(1));
        thalweg_xdp::trim_memory();
    };
    // Without a thread the memory stays, for the next plan.
    let _ = std::thread::Builder::new().name("memory".into()).spawn(work);
}
