//! Pushes a capture through a compiled configuration without touching the host.

use crate::capture::{self, CaptureError, CaptureWriter, Captured, Way};
use crate::judge::{Judgement, judge};
use crate::offline::{Offline, OfflineError, read_config, read_host};
use crate::plane::{DataPlane, capacity};
use crate::views;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use thalweg_abi::{Counter, Verdict};
use thalweg_api::Fault;
use thalweg_image::{NoReaders, Plane, PlaneError, Writer};
use thalweg_model::HostState;
use thalweg_model::host::NextHopObject;
use thalweg_native::MemoryCells;
use thalweg_xdp::{Loaded, Program};

/// The interface index that exists in every network namespace.
const LOOPBACK: u32 = 1;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// Configuration: directory or file.
    pub config: PathBuf,
    /// Host state file.
    pub host: PathBuf,
    /// Link that the frames arrive at.
    pub link: String,
    /// Capture to read.
    pub input: PathBuf,
    /// Capture to write, if any.
    pub output: Option<PathBuf>,
    /// What decides.
    pub engine: Engine,
    /// Whether messages are in color.
    pub color: bool,
}

/// What decides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Engine {
    /// The packet core in this process.
    #[default]
    Native,
    /// The packet core as eBPF in the kernel, by test runs. Takes rights.
    Ebpf,
}

/// One line for one packet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    index: u64,
    verdict: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vrf: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nexthop: Option<u32>,
    octets: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// What the native core says where the kernel's program says something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    native: Option<String>,
}

/// How many packets got which verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Packets in all.
    pub packets: u64,
    /// Packets on which the engines disagree; 0 with the native engine.
    pub disagreements: u64,
}

/// Replays a capture; writes one JSON line per packet to `lines`.
///
/// # Errors
///
/// [`OfflineError`].
pub fn run(options: &Options, lines: &mut dyn Write) -> Result<Summary, OfflineError> {
    let (intent, policies) = read_config(&options.config, options.color)?;
    let mut host = read_host(&options.host)?;
    let mut device = host.link_named(&options.link).map(|link| link.index).ok_or_else(|| {
        let message = format!("{} has no link `{}`", options.host.display(), options.link);
        Fault::not_found(message, "name one of its links with --link")
    })?;
    if options.engine == Engine::Ebpf {
        // A test run wants a device that exists here: the link takes the loopback's number.
        host = swapped(host, device, LOOPBACK);
        device = LOOPBACK;
    }
    let offline = Offline::of(intent, policies, host)?;
    let kernel = match options.engine {
        Engine::Native => None,
        Engine::Ebpf => Some(Kernel::new(&offline)?),
    };
    let input = File::open(&options.input).map_err(io(&options.input))?;
    let capture = match &options.output {
        None => None,
        Some(path) => {
            let file = File::create(path).map_err(io(path))?;
            Some(CaptureWriter::new(BufWriter::new(file)).map_err(io(path))?)
        }
    };
    let cells = MemoryCells::new(offline.plane.memory().clone());
    let mut replay =
        Replay { offline, cells, kernel, device, capture, lines, summary: Summary::default() };
    let read = capture::read::<Stop>(input, |captured| replay.packet(captured, options));
    let summary = replay.summary;
    if let (Some(capture), Some(path)) = (replay.capture, &options.output) {
        capture.finish().map_err(io(path))?;
    }
    match read {
        Ok(()) => Ok(summary),
        Err(Stop::Capture(error)) => {
            Err(OfflineError::Capture { path: options.input.clone(), error })
        }
        Err(Stop::Other(error)) => Err(error),
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OfflineError {
    move |error| OfflineError::Io { path: path.into(), error }
}

enum Stop {
    Capture(CaptureError),
    Other(OfflineError),
}

impl From<CaptureError> for Stop {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

struct Replay<'a> {
    offline: Offline,
    cells: MemoryCells,
    kernel: Option<Kernel>,
    device: u32,
    capture: Option<CaptureWriter<BufWriter<File>>>,
    lines: &'a mut dyn Write,
    summary: Summary,
}

impl Replay<'_> {
    fn packet(&mut self, captured: Captured<'_>, options: &Options) -> Result<(), Stop> {
        let index = self.summary.packets;
        self.summary.packets += 1;
        let judged = judge(&self.offline.compiler, &self.cells, captured.frame, self.device);
        let native = judged.journey.verdict;
        let (verdict, frame) = match &mut self.kernel {
            None => (native, judged.journey.frame.clone()),
            Some(kernel) => {
                kernel.run(captured.frame, self.device).map_err(|e| Stop::Other(e.into()))?
            }
        };
        let same = verdict == native
            && (self.kernel.is_none() || !judged.leaves() || frame == judged.journey.frame);
        self.summary.disagreements += u64::from(!same);
        let line = self.line(index, &captured, &judged, verdict, &frame, same);
        self.write(&line, &captured, &judged, &frame, options)
    }

    fn line(
        &self,
        index: u64,
        captured: &Captured<'_>,
        judged: &Judgement,
        verdict: Verdict,
        frame: &[u8],
        same: bool,
    ) -> Line<'static> {
        let compiler = &self.offline.compiler;
        let vrf = judged.second.as_ref().map_or(judged.vrf, |second| second.0);
        let route = judged.deciding();
        Line {
            index,
            verdict: verdict.kind().name(),
            reason: verdict.reason().name(),
            link: judged.leaves().then(|| compiler.link_name(judged.journey.device)),
            vrf: route.and_then(|_| compiler.vrf_name_of(vrf)).map(str::to_owned),
            route: route.map(|route| route.prefix.to_string()),
            source: route.map(|route| views::source(&route.origin)),
            labels: judged.popped.clone(),
            group: judged.group().map(|group| group.0),
            nexthop: judged.nexthop().map(|id| id.0),
            octets: if judged.leaves() { frame.len() } else { captured.frame.len() },
            truncated: (captured.frame.len() as u32) < captured.octets,
            native: (!same).then(|| judged.journey.verdict.to_string()),
        }
    }

    fn write(
        &mut self,
        line: &Line<'_>,
        captured: &Captured<'_>,
        judged: &Judgement,
        frame: &[u8],
        options: &Options,
    ) -> Result<(), Stop> {
        let broken = |error: std::io::Error| Stop::Other(io(Path::new("standard output"))(error));
        serde_json::to_writer(&mut self.lines, line).map_err(|e| broken(e.into()))?;
        self.lines.write_all(b"\n").map_err(broken)?;
        let (Some(capture), Some(path)) = (&mut self.capture, &options.output) else {
            return Ok(());
        };
        let comment = format!("{} {}", line.verdict, line.reason);
        let written = match (&line.link, judged.leaves()) {
            (Some(link), true) => capture.frame(link, Way::Out, captured.at, frame, &comment),
            _ => capture.frame(&options.link, Way::In, captured.at, captured.frame, &comment),
        };
        written.map_err(|error| Stop::Other(io(path)(error)))
    }
}

/// The programs in the kernel, on tables of their own.
struct Kernel {
    loaded: Loaded,
    counts: Vec<(Verdict, Counter)>,
}

impl Kernel {
    fn new(offline: &Offline) -> Result<Self, PlaneError> {
        let refused = |error: thalweg_xdp::LoadError| PlaneError {
            message: format!("{error}; run as root, or use --engine native"),
        };
        let limits = offline.compiler.limits();
        let loaded =
            Loaded::load(thalweg_bpf_object::object(), &capacity(limits)).map_err(refused)?;
        // Nothing reads while this writes: there is no grace to wait for.
        let mut writer = Writer::new(loaded.memory().clone(), Box::new(NoReaders));
        let mut compiler = thalweg_compile::Compiler::new(limits.clone());
        compiler.load_host(offline.compiler.host());
        compiler.set_policies(offline.compiler.policy_objects().clone());
        compiler.set_intent(offline.compiler.intent().clone());
        writer.apply(&compiler.plan())?;
        let counts = loaded.counts().map_err(refused)?;
        Ok(Self { loaded, counts })
    }

    /// Runs the XDP program on a frame; the counters tell the verdict.
    fn run(&mut self, frame: &[u8], device: u32) -> Result<(Verdict, Vec<u8>), PlaneError> {
        let failed = |error: thalweg_xdp::LoadError| PlaneError { message: error.to_string() };
        let run = self.loaded.test_run(Program::Xdp, frame, device, 1).map_err(failed)?;
        let counts = self.loaded.counts().map_err(failed)?;
        let before = |verdict: Verdict| {
            let found = self.counts.iter().find(|(known, _)| *known == verdict);
            found.map_or(0, |(_, counter)| counter.packets)
        };
        let grown = counts.iter().find(|(verdict, c)| c.packets != before(*verdict));
        let verdict = grown.map(|(verdict, _)| *verdict).ok_or_else(|| PlaneError {
            message: format!("the program counted no verdict (it returned {})", run.code),
        })?;
        self.counts = counts;
        Ok((verdict, run.frame))
    }
}

/// Host state in which two interface indices have changed places.
fn swapped(host: HostState, one: u32, two: u32) -> HostState {
    let swap = |index: u32| match index {
        index if index == one => two,
        index if index == two => one,
        index => index,
    };
    let mut out = HostState::default();
    for mut link in host.links.into_values() {
        link.index = swap(link.index);
        link.lower = link.lower.map(swap);
        link.master = link.master.map(swap);
        out.links.insert(link.index, link);
    }
    for mut own in host.addresses.into_values() {
        own.link = swap(own.link);
        out.addresses.insert((own.link, own.address), own);
    }
    for mut neighbor in host.neighbors.into_values() {
        neighbor.link = swap(neighbor.link);
        out.neighbors.insert((neighbor.link, neighbor.address), neighbor);
    }
    for (id, mut object) in host.nexthops {
        if let NextHopObject::Single(hop) = &mut object {
            hop.link = swap(hop.link);
        }
        out.nexthops.insert(id, object);
    }
    for (key, mut route) in host.routes {
        for hop in &mut route.nexthops {
            hop.link = swap(hop.link);
        }
        out.routes.insert(key, route);
    }
    out
}
