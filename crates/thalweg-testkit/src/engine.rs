//! Engines: whatever can hold an image and take frames through it.

use crate::world::World;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_abi::event::{LOGGED, cause_of, flag};
use thalweg_abi::{DropEvent, Reason, Verdict};
use thalweg_compile::{Compiler, table_limits};
use thalweg_core::flow::{self, FlowDirect, FlowStages as _};
use thalweg_core::{Arrival, Kind, Outcome, Packet, Tables};
use thalweg_image::{Capacity, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_native::{Journey, MemoryCells, VecFrame, journey};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    /// What and why.
    pub verdict: Verdict,
    /// Interface index it leaves through, 0 for none; nothing where the engine does not tell.
    pub device: Option<u32>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Why an engine cannot say what becomes of a frame.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// It does not take such frames at all; nothing is wrong.
    Unsuited(String),
    /// It broke a rule.
    Broken(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsuited(why) => write!(f, "cannot be run: {why}"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Something that can hold an image and take frames through it.
pub trait Engine {
    /// `native`, `xdp`, `tc`.
    fn name(&self) -> &'static str;

    /// Interface indices of worlds for this engine begin after this number, so that engines which
    /// share rate limits do not use up each other's.
    fn base(&self) -> u32;

    /// Empties all tables.
    fn reset(&mut self);

    /// Puts a plan in force.
    ///
    /// # Errors
    ///
    /// What did not fit.
    fn apply(&mut self, plan: &Plan) -> Result<(), String>;

    /// Whether it knows flows from now on: on hosts with services or workloads.
    fn know_flows(&mut self, know: bool);

    /// Says whether a link is up, in the middle of whatever plan.
    ///
    /// # Errors
    ///
    /// That there is no such link in the tables.
    fn set_state(&mut self, link: u32, up: bool) -> Result<(), String>;

    /// Takes a frame that arrives at the link with index `arrival` through the data plane.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn run(&mut self, frame: &[u8], arrival: u32) -> Result<Fate, Refusal>;

    /// Kept fragments that the last frame has let arrive once more, with their links' indices.
    fn take_arriving(&mut self) -> Vec<(u32, Vec<u8>)>;

    /// What was told since this was asked before of packets that passed rules that log
    /// ([`thalweg_abi::event::flag::LOGGED`]), those included that were discarded. Nobody listens before this is
    /// asked first.
    fn take_logged(&mut self) -> Vec<DropEvent>;
}

/// Table sizes of all worlds.
pub fn capacity() -> Capacity {
    Capacity::for_limits(&table_limits(&World::new(0).intent.router.limits))
}

/// Puts a plan in force with a writer; everything must fit.
pub(crate) fn put(writer: &mut Writer, plan: &Plan) -> Result<(), String> {
    let applied = writer.apply(plan).map_err(|error| error.to_string())?;
    match applied.failures.first() {
        None => Ok(()),
        Some(failure) => Err(format!("{failure:?}")),
    }
}

/// Sets a state with a writer.
pub(crate) fn state(writer: &mut Writer, link: u32, up: bool) -> Result<(), String> {
    writer.set_state(link, up).then_some(()).ok_or_else(|| format!("link {link} has no state"))
}

/// The packet core in this process.
pub struct Native {
    writer: Writer,
    cells: MemoryCells,
    start: Memory,
    flows: bool,
    /// Whether first packets take the full pipeline, too.
    full: bool,
    arriving: Vec<(u32, Vec<u8>)>,
    /// The last frame, if it was discarded past rules that log.
    discarded: Option<DropEvent>,
}

impl Native {
    /// With empty tables.
    pub fn new() -> Self {
        let memory = Memory::heap(&capacity());
        Self {
            writer: Writer::new(memory.clone(), Box::new(NoReaders)),
            cells: MemoryCells::with_meters(memory.clone()),
            start: memory,
            flows: false,
            full: false,
            arriving: Vec::new(),
            discarded: None,
        }
    }

    /// With empty tables, and without the straight line for first packets: it must come to the same.
    pub fn in_full() -> Self {
        Self { full: true, ..Self::new() }
    }

    /// Takes a frame through the data plane of hosts with services or workloads.
    fn flow(&self, work: &mut VecFrame, arrival: Arrival) -> Outcome {
        let mut stages = FlowDirect::new(work, &self.cells);
        let packet = &mut Packet::new(arrival, 0);
        if !self.full {
            return flow::process(&mut stages, packet, arrival);
        }
        match stages.known(arrival) {
            known if known.device != 0 || known.verdict.is(Kind::Drop) => known,
            _ => flow::pipeline(&mut stages, packet, arrival),
        }
    }

    /// A frame's way with every step, for people.
    pub fn explain(&self, frame: &[u8], arrival: u32) -> Journey {
        journey(&self.cells, frame, arrival)
    }

    /// The event of a frame that was discarded past rules that log.
    fn discarded(
        &self,
        frame: &[u8],
        arrival: u32,
        verdict: Verdict,
        octets: usize,
    ) -> Option<DropEvent> {
        let cause = cause_of(self.cells.blamed(), verdict.reason_number());
        let mut event = thalweg_native::event(&self.cells, frame, arrival, verdict, octets)?;
        event.cause = cause & !LOGGED;
        event.flags |= flag::LOGGED;
        Some(event).filter(|_| cause & LOGGED != 0)
    }

    /// The tables.
    pub fn cells(&self) -> &MemoryCells {
        &self.cells
    }

    /// What the tables hold.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }
}

impl Default for Native {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn base(&self) -> u32 {
        1_000
    }

    fn reset(&mut self) {
        zero(&self.start);
        self.writer = Writer::new(self.start.clone(), Box::new(NoReaders));
        self.cells = MemoryCells::with_meters(self.start.clone());
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), String> {
        put(&mut self.writer, plan)
    }

    fn know_flows(&mut self, know: bool) {
        self.flows = know;
    }

    fn set_state(&mut self, link: u32, up: bool) -> Result<(), String> {
        state(&mut self.writer, link, up)
    }

    fn run(&mut self, frame: &[u8], arrival: u32) -> Result<Fate, Refusal> {
        let mut work = VecFrame::new(frame);
        let arrival = Arrival { device: arrival, epoch: self.cells.epoch() };
        let outcome = if self.flows {
            self.flow(&mut work, arrival)
        } else {
            let mut direct = thalweg_core::Direct { frame: &mut work, tables: &self.cells };
            thalweg_core::process(&mut direct, arrival)
        };
        self.arriving = work.take_arriving();
        let (verdict, device) = (outcome.verdict, Some(outcome.device & !flow::STRAIGHT));
        let frame_now = work.into_bytes();
        self.discarded = self.discarded(&frame_now, arrival.device, verdict, frame.len());
        Ok(Fate { verdict, device, frame: frame_now })
    }

    fn take_logged(&mut self) -> Vec<DropEvent> {
        let told = self.cells.take_told();
        told.into_iter().chain(self.discarded.take()).collect()
    }

    fn take_arriving(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.arriving)
    }
}

/// Empties tables.
pub(crate) fn zero(memory: &Memory) {
    use std::sync::atomic::Ordering::Relaxed;
    for table in thalweg_abi::TableId::ALL {
        for word in memory.words(table) {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
    }
}

/// A world that an engine follows.
pub struct Course<'a> {
    /// The world.
    pub world: World,
    /// The engine.
    pub engine: &'a mut dyn Engine,
    compiler: Compiler,
    stale: bool,
    tolerant: bool,
}

impl<'a> Course<'a> {
    /// An empty world on an emptied engine.
    pub fn new(engine: &'a mut dyn Engine) -> Self {
        engine.reset();
        let world = World::new(engine.base());
        let compiler = Compiler::new(world.intent.router.limits.clone());
        Self { world, engine, compiler, stale: true, tolerant: false }
    }

    /// Changes the world by a line. After one that begins with `wrong`, the compiler may find
    /// mistakes in the world, until the next change.
    ///
    /// # Errors
    ///
    /// What is wrong with the line.
    pub fn change(&mut self, line: &str) -> Result<(), String> {
        let wrong = line.strip_prefix("wrong ");
        self.tolerant = wrong.is_some();
        let line = wrong.unwrap_or(line);
        for update in self.world.change(line)? {
            self.compiler.update_host(update);
        }
        self.stale = true;
        Ok(())
    }

    /// Puts the world in force as it is now.
    ///
    /// # Errors
    ///
    /// What the compiler finds wrong with the world, or what did not fit.
    pub fn settle(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.stale) {
            return Ok(());
        }
        self.compiler.set_policies(self.world.policies()?);
        self.compiler.set_intent(self.world.intent.clone());
        let plan = self.compiler.plan();
        let problems = self.compiler.problems();
        let error = thalweg_model::Severity::Error;
        let found = problems.iter().find(|problem| problem.severity == error);
        if let Some(problem) = found.filter(|_| !self.tolerant) {
            return Err(problem.to_string());
        }
        let cluster = &self.world.intent.cluster;
        let hosts = !self.compiler.policy_objects().hosts.is_empty();
        self.engine.know_flows(hosts || !cluster.services.is_empty() || !cluster.pods.is_empty());
        self.engine.apply(&plan)
    }

    /// What an event tells of a packet that passed rules that log.
    pub fn logged(&self, event: &DropEvent) -> String {
        let denied = event.reason == Reason::Policy as u8;
        let cause = self.compiler.policy_cause(event.cause);
        let cause = cause.map_or_else(|| event.cause.to_string(), ToString::to_string);
        let last = (denied && event.flags & flag::LOG != 0).then(|| {
            let last = self.compiler.policy_cause(event.octets);
            last.map_or_else(|| "nothing".into(), ToString::to_string)
        });
        let last = last.map(|last| format!(", then {last}")).unwrap_or_default();
        let link = self.world.name(event.link).unwrap_or("?");
        let address = |[high, low]: [u64; 2]| match event.family {
            4 => IpAddr::from(Ipv4Addr::from(low as u32)),
            _ => IpAddr::from(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low))),
        };
        let [from, to] = [event.source, event.destination].map(address);
        let word = if denied { "deny" } else { "allow" };
        let ports = match event.flags & flag::PORTS {
            0 => String::new(),
            _ => format!(" {} > {}", event.source_port, event.destination_port),
        };
        let protocol = event.protocol;
        format!("log {word} at {link}: {from} > {to} proto {protocol}{ports} by {cause}{last}")
    }
}
