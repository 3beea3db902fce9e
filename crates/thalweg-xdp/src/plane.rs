//! The eBPF plane: tables in kernel memory, programs at the hooks of links.

use crate::counters::{Counts, Tested};
use crate::events::{EventCounts, Events};
use crate::facts::{self, Right};
use crate::grace::Membarrier;
use crate::hook::{HookStatus, WantedHook};
use crate::hooks::{Held, Hooks};
use crate::load::{LoadError, Loaded, Program, Run};
use crate::pins::{self, Pins, PinsError};
use crate::sockets::{SocketStatus, Sockets};
use crate::{namespace, words};
use aya::maps::{MapInfo, MapType};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use thalweg_abi::counter::COUNTERS;
use thalweg_abi::event::{self, EventGate, EventRow};
use thalweg_abi::socket::{PEERS, PEERS_NAME, PeerKey, PeerRow};
use thalweg_abi::{Counter, TableId, Verdict};
use thalweg_fault::point;
use thalweg_image::{Applied, Capacity, Occupancy, Plan, Plane, PlaneError, Writer};

/// How to start a plane.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The object with the programs and the tables.
    pub object: &'a [u8],
    /// Sizes of the tables.
    pub capacity: Capacity,
    /// Directory of the pins of this instance, in a BPF file system: `/sys/fs/bpf/thalweg/NAME`.
    pub pins: PathBuf,
    /// Whether the BPF file system may be mounted at `/sys/fs/bpf` if it is missing there.
    pub mount: bool,
    /// Whether tcx links may be used where the kernel has them; else tc means clsact.
    pub tcx: bool,
    /// Whether [`XdpPlane::try_frame`] will be asked of the programs that know no flows: the verifier then
    /// gets them beside those that links get.
    pub trial: bool,
    /// The cgroup whose sockets may be served, of the second version; none takes its root.
    pub cgroup: Option<PathBuf>,
}

impl<'a> Options<'a> {
    /// The usual: mounts what is missing, uses what the kernel has.
    pub fn new(object: &'a [u8], capacity: Capacity, pins: impl Into<PathBuf>) -> Self {
        let (mount, tcx, trial) = (true, true, false);
        Self { object, capacity, pins: pins.into(), mount, tcx, trial, cgroup: None }
    }
}

/// Why the plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Rights are missing.
    #[error("the eBPF plane needs {}, which this process lacks: run as root on the host, or {REMEDY}", list(.0))]
    Rights(Vec<Right>),
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A plan could not be applied to new tables.
    #[error("the tables could not be filled anew: {0}")]
    Renew(String),
    /// The namespace of the calling thread is not shown.
    #[error("/proc/thread-self/ns/net: {0}: is /proc mounted?")]
    Namespace(io::Error),
}

const REMEDY: &str = "`setcap cap_bpf,cap_net_admin,cap_perfmon+ep` the program";

fn list(rights: &[Right]) -> String {
    let names: Vec<_> = rights.iter().map(Right::to_string).collect();
    names.join(" and ")
}

/// The plane in the kernel.
///
/// Dropping it changes nothing in the kernel: hooks, programs and tables stay in force, until
/// another plane with the same directory takes over or [`crate::detach()`] removes them. All calls
/// belong on threads in the network namespace where the plane was started.
pub struct XdpPlane {
    loaded: Loaded,
    writer: Writer,
    pub(crate) hooks: Hooks,
    capacity: Capacity,
    succeeds: bool,
    wanted: Vec<WantedHook>,
    statuses: Vec<HookStatus>,
    notes: Vec<String>,
    /// What of the counters were frames of our own.
    tested: Option<Tested>,
    pub(crate) sockets: Sockets,
}

impl XdpPlane {
    /// Loads programs and empty tables. Nothing is attached, and what an earlier agent attached
    /// goes on with its own tables, until [`Self::attach`].
    ///
    /// # Errors
    ///
    /// [`StartError`], each with what to do.
    pub fn start(options: &Options<'_>) -> Result<Self, StartError> {
        let missing = facts::missing();
        if !missing.is_empty() {
            return Err(StartError::Rights(missing));
        }
        let pins = Pins::create(&options.pins, options.mount)?;
        pins.set_namespace(namespace::current().map_err(StartError::Namespace)?)?;
        point("pins-namespace");
        let succeeds = !pins.marks().is_empty();
        let mut notes = Vec::new();
        notes.extend(take_counters(&pins));
        notes.extend(take_flows(&pins, &options.capacity));
        notes.extend(take_peers(&pins, &options.capacity));
        take_events(&pins);
        notes.extend(private(pins.dir()));
        let beside: &[Program] = if options.trial { &[Program::Xdp, Program::Tc] } else { &[] };
        let loaded = load(options.object, &options.capacity, &pins, beside);
        let (loaded, [xdp, tc], out) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                pins.forsake();
                return Err(error.into());
            }
        };
        let tcx = options.tcx && words::has_tcx();
        let pair = Program::pair(&options.capacity);
        let hooks = Hooks { pins, xdp, tc, out, pair, tcx, silent: BTreeSet::new() };
        let writer = writer_of(&loaded);
        let capacity = options.capacity.clone();
        let (wanted, statuses) = (Vec::new(), Vec::new());
        let tested = Tested::open(&hooks.pins.tested());
        let sockets = Sockets { cgroup: options.cgroup.clone(), ..Sockets::default() };
        Ok(Self {
            loaded,
            writer,
            hooks,
            capacity,
            succeeds,
            wanted,
            statuses,
            notes,
            tested,
            sockets,
        })
    }

    /// Brings the programs to the wanted links, and off all others of this instance.
    ///
    /// Call it when the first complete image is in the tables, and again when links appear or
    /// disappear or wishes change. Hooks of an earlier agent are taken over one by one, each at
    /// once. Doing it twice changes nothing.
    pub fn attach(&mut self, wanted: Vec<WantedHook>) -> Vec<HookStatus> {
        self.wanted = wanted;
        self.reconcile()
    }

    /// Looks again at the links wanted last: call it when [`crate::FeatureWatch`] hears something
    /// or links change.
    pub fn reconcile(&mut self) -> Vec<HookStatus> {
        let before: Vec<u32> = self.behind().collect();
        // While hooks move, each program decides what it sees: the same, at worst counted twice.
        for device in before {
            self.writer.set_behind(device, false);
        }
        point("behind-cleared");
        self.statuses = self.hooks.reconcile(&self.wanted);
        for device in self.behind().collect::<Vec<_>>() {
            self.writer.set_behind(device, true);
        }
        point("behind-set");
        self.sockets.reconcile(&mut self.loaded, &self.hooks.pins);
        self.statuses.clone()
    }

    /// Says whether processes may connect to services themselves, and brings the programs for that to the
    /// cgroup or off it. Nothing else suffers where the kernel lets them not: [`Self::socket_status`] says.
    pub fn serve_sockets(&mut self, wanted: bool) {
        self.sockets.wanted = Some(wanted && knows_flows(&self.capacity));
        self.sockets.reconcile(&mut self.loaded, &self.hooks.pins);
    }

    /// How the hooks of sockets stand; none while they are not wanted.
    pub fn socket_status(&self) -> Option<&SocketStatus> {
        self.sockets.status.as_ref()
    }

    /// Sizes of the tables.
    pub(crate) fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Goes on with other programs and tables.
    pub(crate) fn replace(&mut self, loaded: Loaded, writer: Writer) {
        (self.loaded, self.writer) = (loaded, writer);
    }

    /// Devices where tc stands behind XDP.
    fn behind(&self) -> impl Iterator<Item = u32> {
        let there = self.statuses.iter().filter(|status| status.behind.is_some());
        there.map(|status| status.ifindex)
    }

    /// What came of the last [`Self::attach`] or [`Self::reconcile`].
    pub fn statuses(&self) -> &[HookStatus] {
        &self.statuses
    }

    /// Whether an agent before left hooks, which go on with its tables until [`Self::attach`].
    pub fn succeeds(&self) -> bool {
        self.succeeds
    }

    /// What a person should know about how the plane was started.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why the pins are of no use any more, and the way out; none while they are there.
    pub fn pins_gone(&self) -> Option<(String, String)> {
        self.hooks.pins.gone()
    }

    /// Frames and octets by verdict since the instance was first started, without those of
    /// [`Self::tested`].
    ///
    /// # Errors
    ///
    /// [`LoadError::Map`].
    pub fn counts(&self) -> Result<Counts, LoadError> {
        let mut counts = self.loaded.counts()?;
        if let Some(tested) = &self.tested {
            tested.take_off(&mut counts)?;
        }
        Ok(counts)
    }

    /// The reader of drop events; one at a time. After [`Self::renew`] another one is needed: where pins had
    /// gone, the programs have another ring.
    ///
    /// # Errors
    ///
    /// [`LoadError`], as for [`Loaded::events`].
    pub fn events(&self) -> Result<Events, LoadError> {
        self.loaded.events()
    }

    /// What became of drop events since the instance was first started.
    ///
    /// # Errors
    ///
    /// [`LoadError::Map`].
    pub fn event_counts(&self) -> Result<EventCounts, LoadError> {
        self.loaded.event_counts()
    }

    /// Runs `work`, whose frames are nobody's, without any events.
    pub fn in_silence<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let events = self.events().ok();
        let until = events.as_ref().map_or(0, Events::pause);
        let result = work(self);
        events.iter().for_each(|events| events.resume(until));
        result
    }

    /// How often what decides about flows has decided since these programs were loaded, by number up to
    /// `last` ([`thalweg_abi::policy::cause`]).
    ///
    /// # Errors
    ///
    /// [`LoadError::Map`].
    pub fn policy_hits(&self, last: u32) -> Result<Vec<u64>, LoadError> {
        self.loaded.policy_hits(last)
    }

    /// Runs a program on a frame that arrives at a link, attached to nothing (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    ///
    /// [`LoadError::Program`] with the kernel's words.
    pub fn try_frame(&mut self, which: Program, frame: &[u8], link: u32) -> Result<Run, LoadError> {
        self.loaded.test_run(which, frame, link, 1)
    }

    /// Remembers that a frame of [`Self::try_frame`] was counted with a verdict: it was nobody's.
    pub fn tested(&mut self, verdict: Verdict, octets: usize) {
        if self.tested.is_none() {
            self.tested = Tested::create(&self.hooks.pins.tested());
        }
        if let Some(tested) = &mut self.tested {
            // A frame too many in the counters is no reason not to forward.
            let _ = tested.add(verdict, octets as u64);
        }
    }

    /// Takes back what was pinned for a plane that was never attached; what an earlier agent left
    /// stays.
    pub fn forsake(self) {
        self.hooks.pins.forsake();
    }

    /// Says whether a link (by interface index) or a session can be used, at once and outside of all
    /// plans. False when there is no such state.
    pub fn set_state(&mut self, state: u32, up: bool) -> bool {
        self.writer.set_state(state, up)
    }

    /// See [`Writer::ready`].
    pub fn ready(&mut self) {
        self.writer.ready();
    }

    /// The writer of the tables: what is in force.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The programs and tables in the kernel, for test runs.
    pub fn loaded(&mut self) -> &mut Loaded {
        &mut self.loaded
    }
}

impl Plane for XdpPlane {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        self.writer.apply(plan)
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        self.writer.occupancy()
    }
}

/// The writer of tables that were just loaded.
pub(crate) fn writer_of(loaded: &Loaded) -> Writer {
    Writer::new(loaded.memory().clone(), Box::new(Membarrier))
}

/// Loads the object with the counters and flows that are pinned, and gives both programs. The verifier
/// gets those `beside` as well.
pub(crate) fn load(
    object: &[u8],
    capacity: &Capacity,
    pins: &Pins,
    beside: &[Program],
) -> Result<(Loaded, [Held; 2], Option<Held>), LoadError> {
    let mut pinned = vec![("counters", pins.counters())];
    pinned.extend(pins.events());
    if knows_flows(capacity) {
        pinned.extend(pins.flows());
        pinned.push((PEERS_NAME, pins.peers()));
    }
    let mut loaded = Loaded::load_with(object, capacity, &pinned, beside)?;
    let [xdp, tc] = Program::pair(capacity).map(|which| loaded.program(which));
    let out = Program::out(capacity).map(|which| loaded.program(which)).transpose()?;
    Ok((loaded, [held(xdp?), held(tc?)], out.map(held)))
}

fn held((fd, id): (std::os::fd::OwnedFd, u32)) -> Held {
    Held { fd, id }
}

/// Sees to it that the counters go on: those of this layout, or else those of another version, if
/// they are counters as this version keeps them. Says so if they begin anew.
fn take_counters(pins: &Pins) -> Option<String> {
    let path = pins.counters();
    let others = pins.other_counters();
    let anew = |path: &Path| {
        let path = path.display();
        Some(format!("{path}: counters begin anew: another version's are laid out differently"))
    };
    match is_counters(&path) {
        Some(true) => None,
        Some(false) => {
            let _ = std::fs::remove_file(pins.tested());
            let _ = std::fs::remove_file(&path);
            point("counters-renewed");
            anew(&path)
        }
        None => {
            let found = others.iter().find_map(|other| Some((other, is_counters(other)?)));
            match found {
                Some((other, true)) if pins.pin_again(other, &path).is_ok() => {
                    let _ = pins.pin_again(&other.with_file_name("tested"), &pins.tested());
                    point("counters-carried");
                    None
                }
                Some((other, _)) => anew(other),
                None => None,
            }
        }
    }
}

/// Whether there is room for flows.
fn knows_flows(capacity: &Capacity) -> bool {
    Program::pair(capacity) == [Program::FlowXdp, Program::FlowTc]
}

/// Sees to it that flows go on: those of this layout, or else those of another version, if their table is
/// as large and laid out as this version's. Says so if they begin anew.
fn take_flows(pins: &Pins, capacity: &Capacity) -> Option<String> {
    let own = pins.flows();
    if !knows_flows(capacity) {
        // Programs that still use it keep it until they are replaced.
        for (_, path) in &own {
            let _ = std::fs::remove_file(path);
        }
        return None;
    }
    let shapes = |paths: &[(&str, PathBuf); 2]| {
        let all = paths.iter().zip([TableId::Flows, TableId::FlowSlots]);
        let shapes: Option<Vec<bool>> =
            all.map(|((_, path), table)| has_shape(path, table, capacity)).collect();
        shapes.map(|shapes| shapes.into_iter().all(|right| right))
    };
    if shapes(&own) == Some(true) {
        return None;
    }
    let had = own.iter().any(|(_, path)| path.exists());
    for (_, path) in &own {
        let _ = std::fs::remove_file(path);
    }
    point("flows-cleared");
    let others = pins.other_flows();
    let Some(other) = others.iter().find(|other| shapes(other) == Some(true)) else {
        let known = had || others.iter().flatten().any(|(_, path)| path.exists());
        return known.then(|| {
            "flows begin anew: the table has another size than the one that was in use; keep \
             spec.flows.limit of the Router object to keep flows"
                .to_owned()
        });
    };
    for ((_, from), (_, to)) in other.iter().zip(&own) {
        if pins.pin_again(from, to).is_err() {
            return Some(format!(
                "{}: flows begin anew: it cannot be pinned again",
                from.display()
            ));
        }
        point("flows-carried");
    }
    None
}

/// Sees to it that sockets go on being told whom they speak to, as [`take_flows`] does for flows. Says so if
/// that begins anew.
fn take_peers(pins: &Pins, capacity: &Capacity) -> Option<String> {
    let own = pins.peers();
    if knows_flows(capacity) && is_peers(&own) {
        return None;
    }
    let _ = std::fs::remove_file(&own);
    let other = pins.other_peers().into_iter().find(|other| is_peers(other));
    let from = other.filter(|_| knows_flows(capacity))?;
    let taken = pins.pin_again(&from, &own);
    let what =
        "sockets that are connected to services see their backends: it cannot be pinned again";
    taken.is_err().then(|| format!("{}: {what}", from.display()))
}

/// Sees to it that drop events go on through the ring that was in use, so that its reader finds those of the
/// programs before, too. Where that has another shape they begin anew, which is worth no word.
fn take_events(pins: &Pins) {
    let own = pins.events();
    if is_events(&own) {
        return;
    }
    for (_, path) in &own {
        let _ = std::fs::remove_file(path);
    }
    let others = pins.other_events();
    let Some(other) = others.iter().find(|other| is_events(other)) else { return };
    for ((_, from), (_, to)) in other.iter().zip(&own) {
        let _ = pins.pin_again(from, to);
    }
}

/// Whether the maps that are pinned at these paths are those of drop events.
fn is_events(paths: &[(&str, PathBuf); 3]) -> bool {
    let shapes = [
        (MapType::RingBuf, 0, event::RING_BYTES),
        (MapType::Array, size_of::<EventGate>() as u32, 1),
        (MapType::PerCpuArray, size_of::<EventRow>() as u32, 1),
    ];
    paths.iter().zip(shapes).all(|((_, path), (kind, value, entries))| {
        MapInfo::from_pin(path).is_ok_and(|info| {
            info.map_type().is_ok_and(|found| found == kind)
                && (info.value_size(), info.max_entries()) == (value, entries)
        })
    })
}

/// Whether the map that is pinned at a path is a table of sockets.
fn is_peers(path: &Path) -> bool {
    let Ok(info) = MapInfo::from_pin(path) else { return false };
    let sizes = (info.key_size(), info.value_size(), info.max_entries());
    let wished = (size_of::<PeerKey>() as u32, size_of::<PeerRow>() as u32, PEERS);
    info.map_type().is_ok_and(|kind| kind == MapType::LruHash) && sizes == wished
}

/// Whether the map that is pinned at a path is a table of these sizes; none if there is none.
fn has_shape(path: &Path, table: TableId, capacity: &Capacity) -> Option<bool> {
    let info = MapInfo::from_pin(path).ok()?;
    let shape = (info.map_type().ok()?, info.value_size(), info.max_entries());
    Some(shape == (MapType::Array, table.row_bytes() as u32, capacity.rows(table)))
}

/// Whether the map that is pinned at a path has the shape of our counters; none if there is none.
fn is_counters(path: &Path) -> Option<bool> {
    let info = MapInfo::from_pin(path).ok()?;
    let shape = (info.map_type().ok()?, info.value_size(), info.max_entries());
    Some(shape == (MapType::PerCpuArray, size_of::<Counter>() as u32, COUNTERS))
}

fn private(dir: &Path) -> Option<String> {
    pins::is_private(dir).then(|| {
        format!(
            "{}: only this mount namespace sees these pins (`ip netns exec` makes one): forwarding \
             ends with the last process in it; start with `nsenter --net=/run/netns/NAME` instead",
            dir.display()
        )
    })
}
