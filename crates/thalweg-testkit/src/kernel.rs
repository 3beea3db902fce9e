//! The eBPF programs as engines: loaded once, run by `BPF_PROG_TEST_RUN`.

use crate::engine::{Engine, Fate, Refusal, capacity, put, state, zero};
use crate::links;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use thalweg_abi::event::flag;
use thalweg_abi::{DropEvent, Kind, Reason, Verdict};
use thalweg_image::{Memory, NoReaders, Plan, Writer};
use thalweg_xdp::{EventCounts, Events, Loaded, Program};

/// Links each engine may use.
const LINKS: u32 = 20;
/// Interface indices of the XDP engine's links begin after this number.
const XDP_BASE: u32 = 2_000;
/// Interface indices of the tc engine's links begin after this number.
const TC_BASE: u32 = 3_000;
/// The shortest frame that `BPF_PROG_TEST_RUN` takes is an Ethernet header and one octet.
const SHORTEST: usize = 15;
/// The longest frame that fits one page with the room the kernel keeps around it.
const LONGEST: usize = 3_400;

/// How long nothing arrives when nothing is on its way.
const QUIET: Duration = Duration::from_millis(20);

/// Why the programs cannot be tried.
#[derive(Clone, Debug)]
pub enum Missing {
    /// This process may not, or this kernel has not: nothing is wrong with the programs.
    Rights(String),
    /// The kernel refused the object or a program.
    Refused(String),
}

impl Missing {
    /// Whether nothing is wrong with the programs; else panics with the kernel's words.
    ///
    /// # Panics
    ///
    /// When the kernel refused a program: that is a failure of any test.
    pub fn skip(self, what: &str) {
        match self {
            Self::Rights(why) => crate::skipped(&format!("{what}: {why}")),
            Self::Refused(why) => panic!("{what}: {why}"),
        }
    }
}

/// The object in the kernel, and what was counted last.
pub struct Kernel {
    loaded: Loaded,
    counted: HashMap<u32, u64>,
    /// All that arrives at links; nothing else does than what programs send there.
    tap: OwnedFd,
}

impl Kernel {
    /// Loads the object and moves the calling thread into a network namespace of its own.
    ///
    /// # Errors
    ///
    /// Why that is not possible here.
    pub fn new() -> Result<Self, Missing> {
        let range = |base| base + 1..=base + LINKS;
        links::enter(range(XDP_BASE).chain(range(TC_BASE))).map_err(Missing::Rights)?;
        let tap = links::tap().map_err(Missing::Rights)?;
        let refused = |error| match words(error) {
            why if why.contains("os error 1)") => Missing::Rights(why),
            why => Missing::Refused(why),
        };
        let loaded = Loaded::load(thalweg_bpf_object::object(), &capacity()).map_err(refused)?;
        Ok(Self { loaded, counted: HashMap::new(), tap })
    }

    /// Both programs as engines. They share the tables: one is used at a time, from its
    /// [`Engine::reset`] on.
    pub fn engines(self) -> [KernelEngine; 2] {
        let kernel = Rc::new(RefCell::new(self));
        [(Program::Xdp, XDP_BASE), (Program::Tc, TC_BASE)].map(|(program, base)| {
            let memory = kernel.borrow().loaded.memory().clone();
            let writer = Writer::new(memory, Box::new(NoReaders));
            KernelEngine {
                kernel: kernel.clone(),
                writer,
                program,
                base,
                kept: Vec::new(),
                events: None,
            }
        })
    }

    /// The one verdict that was counted since the last call.
    fn moved(&mut self) -> Result<Verdict, String> {
        let counts = self.loaded.counts().map_err(words)?;
        let mut moved = Vec::new();
        for (verdict, counter) in counts {
            let before = self.counted.insert(verdict.counter(), counter.packets).unwrap_or(0);
            if counter.packets != before {
                moved.push((verdict, counter.packets - before));
            }
        }
        match moved[..] {
            [(verdict, 1)] => Ok(verdict),
            _ => Err(format!("one counter must move by one, these did: {moved:?}")),
        }
    }
}

/// An error with everything that led to it.
fn words(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = error.source();
    }
    text
}

/// One program of the object.
pub struct KernelEngine {
    kernel: Rc<RefCell<Kernel>>,
    writer: Writer,
    program: Program,
    base: u32,
    /// Frames that were kept, with their links' indices.
    kept: Vec<(u32, Vec<u8>)>,
    /// The reader of events, since somebody asks for them.
    events: Option<Events>,
}

impl KernelEngine {
    /// The tables, with what programs write into them.
    pub fn memory(&self) -> Memory {
        self.kernel.borrow().loaded.memory().clone()
    }

    /// The reader of drop events; one at a time.
    ///
    /// # Errors
    ///
    /// That the kernel refuses.
    pub fn events(&self) -> Result<Events, String> {
        self.kernel.borrow().loaded.events().map_err(words)
    }

    /// Tells what became of drop events, also while a course has the engine.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    pub fn event_counts(&self) -> impl Fn() -> EventCounts + use<> {
        let kernel = self.kernel.clone();
        move || kernel.borrow().loaded.event_counts().expect("the kernel has counts of events")
    }

    /// What the hook must return for a verdict: redirect, drop or pass. At tc, "next" passes, too.
    fn codes(&self, kind: Kind) -> [u32; 2] {
        let (redirect, drop, pass) = match self.program {
            Program::Xdp | Program::FlowXdp => ([4, 4], [1, 1], [2, 2]),
            Program::Tc | Program::FlowTc | Program::FlowOut => ([7, 7], [2, 2], [0, u32::MAX]),
        };
        match kind {
            // A translated packet whose neighbor the kernel is to find.
            Kind::Punt if self.program == Program::FlowTc => [7, u32::MAX],
            Kind::Forward | Kind::Answer => redirect,
            Kind::Drop => drop,
            Kind::Pass | Kind::Deliver | Kind::Punt => pass,
        }
    }
}

impl Engine for KernelEngine {
    fn name(&self) -> &'static str {
        match self.program {
            Program::Xdp | Program::FlowXdp => "xdp",
            Program::Tc | Program::FlowTc | Program::FlowOut => "tc",
        }
    }

    fn base(&self) -> u32 {
        self.base
    }

    fn reset(&mut self) {
        let memory = self.kernel.borrow().loaded.memory().clone();
        zero(&memory);
        self.writer = Writer::new(memory, Box::new(NoReaders));
        self.kept.clear();
    }

    fn apply(&mut self, plan: &Plan) -> Result<(), String> {
        put(&mut self.writer, plan)
    }

    fn know_flows(&mut self, know: bool) {
        self.program = match (self.program.is_xdp(), know) {
            (true, false) => Program::Xdp,
            (true, true) => Program::FlowXdp,
            (false, false) => Program::Tc,
            (false, true) => Program::FlowTc,
        };
    }

    fn set_state(&mut self, link: u32, up: bool) -> Result<(), String> {
        state(&mut self.writer, link, up)
    }

    fn run(&mut self, frame: &[u8], arrival: u32) -> Result<Fate, Refusal> {
        if !(SHORTEST..=LONGEST).contains(&frame.len()) {
            let len = frame.len();
            return Err(Refusal::Unsuited(format!("BPF_PROG_TEST_RUN takes no {len} octets")));
        }
        if !self.program.is_xdp() && ends_in_header(frame) {
            return Err(Refusal::Unsuited("BPF_PROG_TEST_RUN refuses a cut IP header".into()));
        }
        let mut kernel = self.kernel.borrow_mut();
        let run = kernel
            .loaded
            .test_run(self.program, frame, arrival, 1)
            .map_err(|error| Refusal::Broken(words(error)))?;
        let verdict = kernel.moved().map_err(Refusal::Broken)?;
        // Of what is kept, the copy is left.
        let keeps = verdict == Verdict::pass(Reason::KeptFragment);
        let codes = self.codes(if keeps { Kind::Drop } else { verdict.kind() });
        if !codes.contains(&run.code) {
            let got = run.code;
            return Err(Refusal::Broken(format!("{verdict} must return {codes:?}, not {got}")));
        }
        if keeps {
            self.kept.push((arrival, frame.to_vec()));
        }
        Ok(Fate { verdict, device: None, frame: run.frame })
    }

    fn take_arriving(&mut self) -> Vec<(u32, Vec<u8>)> {
        let (kernel, mut arrived) = (self.kernel.borrow(), Vec::new());
        // Older kernels leave what arrives to a thread: until nothing more comes for a moment.
        while !self.kept.is_empty() {
            std::thread::sleep(QUIET);
            let more = links::arrived(&kernel.tap);
            if more.is_empty() {
                break;
            }
            arrived.extend(more);
        }
        // Links that are up have words of their own.
        arrived.into_iter().filter(|frame| self.kept.contains(frame)).collect()
    }

    fn take_logged(&mut self) -> Vec<DropEvent> {
        if self.events.is_none() {
            let events = self.kernel.borrow().loaded.events().map_err(words);
            let events = events.expect("the kernel has a ring of events");
            events.listen(LONG, ALL, ALL);
            self.events = Some(events);
        }
        let Some(events) = &mut self.events else { return Vec::new() };
        let all = std::iter::from_fn(|| events.take());
        all.filter(|event| event.flags & flag::LOGGED != 0).collect()
    }
}

/// Longer than anybody takes to ask for events again.
const LONG: Duration = Duration::from_secs(600);
/// More events than there are.
const ALL: u64 = 1_000_000;

/// Whether a frame ends within the fixed IP header that its type promises: newer kernels make no
/// socket buffer of it in a test run.
fn ends_in_header(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() < 14 + 20,
        Some([0x86, 0xdd]) => frame.len() < 14 + 40,
        _ => false,
    }
}
