//! Loads the object: maps of the wanted sizes, both programs, tables mapped into this process.

use crate::counters::{self, Counts};
use crate::events::{self, EventCounts, Events};
use crate::hooks::Held;
use crate::raw::{Mapping, namespace_number};
use crate::sockets::SocketHook;
use aya::maps::{Map, MapError};
use aya::programs::{CgroupSockAddr, ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thalweg_abi::TableId;
use thalweg_abi::meter::CLASSES;
use thalweg_abi::policy::HITS_NAME;
use thalweg_abi::socket::{PEERS, PEERS_NAME};
use thalweg_fault::point;
use thalweg_image::{Capacity, Memory, Region};

/// The programs of the object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// At the XDP hook.
    Xdp,
    /// At the tc hook.
    Tc,
    /// At the XDP hook of hosts with services or workloads.
    FlowXdp,
    /// At the tc hook of hosts with services or workloads.
    FlowTc,
    /// At the tc hook of such hosts, for what leaves.
    FlowOut,
}

impl Program {
    /// Name of the program in the object and, cut to 15 octets, in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "thalweg_xdp",
            Self::Tc => "thalweg_tc",
            Self::FlowXdp => "thalweg_flow_xdp",
            Self::FlowTc => "thalweg_flow_tc",
            Self::FlowOut => "thalweg_flow_out",
        }
    }

    /// The programs that links get, XDP and tc: those that know flows, if there is room for any.
    pub fn pair(capacity: &Capacity) -> [Self; 2] {
        match capacity.rows(TableId::FlowSlots) {
            0 | 1 => [Self::Xdp, Self::Tc],
            _ => [Self::FlowXdp, Self::FlowTc],
        }
    }

    /// The program for what leaves, beside [`Self::pair`].
    pub fn out(capacity: &Capacity) -> Option<Self> {
        (Self::pair(capacity)[1] == Self::FlowTc).then_some(Self::FlowOut)
    }

    /// Whether it stands at the XDP hook.
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::FlowXdp)
    }
}

/// Why the object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The loader or the kernel refused the object.
    #[error(
        "the kernel refused the eBPF object: {0}; `thalweg run` needs CAP_BPF and CAP_NET_ADMIN"
    )]
    Object(#[from] EbpfError),
    /// The kernel refused a program: its verifier's words are in the source.
    #[error("the kernel refused program {0}: {1}")]
    Program(&'static str, #[source] ProgramError),
    /// The object lacks something this loader expects.
    #[error("the eBPF object has no {0}; it belongs to another version")]
    Missing(&'static str),
    /// A table could not be mapped.
    #[error("table {table} cannot be mapped ({bytes} octets): {source}")]
    Mapping {
        /// Name of the table.
        table: &'static str,
        /// Size asked for.
        bytes: usize,
        /// The kernel's words.
        source: io::Error,
    },
    /// A map could not be read.
    #[error("counters or events cannot be read: {0}")]
    Map(#[from] MapError),
}

/// The object in the kernel, with its tables mapped.
pub struct Loaded {
    pub(crate) ebpf: Ebpf,
    memory: Memory,
    /// Whether the socket programs know which network namespace is this one.
    knows_host: bool,
}

/// One test run of a program.
#[derive(Clone, Debug)]
pub struct Run {
    /// The hook's return code.
    pub code: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Mean time of one repetition.
    pub duration: Duration,
}

impl Loaded {
    /// Loads `object` with tables of `capacity`.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: rights, verifier, memory.
    pub fn load(object: &[u8], capacity: &Capacity) -> Result<Self, LoadError> {
        Self::load_with(object, capacity, &[], &[])
    }

    /// As [`Self::load`]; the maps of these names go on where they are pinned, or begin as new ones that
    /// are pinned there. The verifier gets the programs `beside` as well, which may be refused.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub(crate) fn load_with(
        object: &[u8],
        capacity: &Capacity,
        pinned: &[(&str, PathBuf)],
        beside: &[Program],
    ) -> Result<Self, LoadError> {
        let mut loader = EbpfLoader::new();
        for (name, path) in pinned {
            loader.map_pin_path(name, path);
        }
        for table in TableId::ALL {
            loader.map_max_entries(table.name(), capacity.rows(table).max(1));
        }
        loader.map_max_entries("meters", capacity.rows(TableId::Links).max(1) * CLASSES);
        let flows = Program::out(capacity).is_some();
        loader.map_max_entries(PEERS_NAME, if flows { PEERS } else { 1 });
        let host = namespace_number().unwrap_or(0);
        loader.override_global("HOST_NAMESPACE", &host, true);
        let mut ebpf = loader.load(object)?;
        point("load-maps");
        let mut wanted = Program::pair(capacity).to_vec();
        wanted.extend(Program::out(capacity));
        verify_all(&mut ebpf, &wanted, beside)?;
        let memory = map_tables(&ebpf, capacity)?;
        point("load-mapped");
        Ok(Self { ebpf, memory, knows_host: host != 0 })
    }

    /// A descriptor of a program of its own, and the program's id.
    pub(crate) fn program(&mut self, which: Program) -> Result<(OwnedFd, u32), LoadError> {
        let error = |e| LoadError::Program(which.name(), e);
        let (fd, info) = match which.is_xdp() {
            true => {
                let program = program::<Xdp>(&mut self.ebpf, which)?;
                (program.fd().map_err(error)?.as_fd().try_clone_to_owned(), program.info())
            }
            false => {
                let program = program::<SchedClassifier>(&mut self.ebpf, which)?;
                (program.fd().map_err(error)?.as_fd().try_clone_to_owned(), program.info())
            }
        };
        Ok((fd.map_err(|e| error(e.into()))?, info.map_err(error)?.id()))
    }

    /// Has the kernel's verifier look at the socket programs, attached to nothing.
    ///
    /// # Errors
    ///
    /// [`LoadError::Program`] with the kernel's words.
    pub fn try_sockets(&mut self) -> Result<(), LoadError> {
        self.socket_programs().map(drop)
    }

    /// Whether the socket programs know which network namespace is this one.
    pub(crate) fn knows_host(&self) -> bool {
        self.knows_host
    }

    /// The programs of [`SocketHook::ALL`], which the verifier gets when they are first asked for.
    pub(crate) fn socket_programs(&mut self) -> Result<Vec<Held>, LoadError> {
        let hooks = SocketHook::ALL.iter();
        hooks.map(|hook| socket_program(&mut self.ebpf, hook.program)).collect()
    }

    /// The tables: this process writes, the programs read.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Frames and octets by verdict since the object was loaded.
    ///
    /// # Errors
    ///
    /// [`LoadError::Map`].
    pub fn counts(&self) -> Result<Counts, LoadError> {
        let map = self.ebpf.map("counters").ok_or(LoadError::Missing("counters"))?;
        Ok(counters::read(map)?)
    }

    /// The reader of drop events; one at a time.
    ///
    /// # Errors
    ///
    /// [`LoadError::Missing`], [`LoadError::Mapping`], [`LoadError::Map`].
    pub fn events(&self) -> Result<Events, LoadError> {
        Events::of(&self.ebpf)
    }

    /// What became of drop events.
    ///
    /// # Errors
    ///
    /// [`LoadError::Missing`], [`LoadError::Map`].
    pub fn event_counts(&self) -> Result<EventCounts, LoadError> {
        events::counts(&self.ebpf)
    }

    /// How often what decides about flows has decided, by number up to `last`.
    ///
    /// # Errors
    ///
    /// [`LoadError::Map`].
    pub fn policy_hits(&self, last: u32) -> Result<Vec<u64>, LoadError> {
        let map = self.ebpf.map(HITS_NAME).ok_or(LoadError::Missing(HITS_NAME))?;
        Ok(counters::read_hits(map, last)?)
    }

    /// Runs a program on a frame that arrives at the link with index `device`, which must exist in
    /// this network namespace (`BPF_PROG_TEST_RUN`).
    ///
    /// # Errors
    ///
    /// [`LoadError::Program`] with the kernel's words, for example for frames below 14 octets.
    pub fn test_run(
        &mut self,
        which: Program,
        frame: &[u8],
        device: u32,
        repeat: u32,
    ) -> Result<Run, LoadError> {
        let mut out = vec![0u8; frame.len() + 512];
        let context = match which.is_xdp() {
            true => xdp_context(frame.len() as u32, device),
            false => tc_context(device),
        };
        verify(&mut self.ebpf, which)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::default()
        };
        let result = match which.is_xdp() {
            true => program::<Xdp>(&mut self.ebpf, which)?.test_run(options),
            false => program::<SchedClassifier>(&mut self.ebpf, which)?.test_run(options),
        }
        .map_err(|e| LoadError::Program(which.name(), e))?;
        out.truncate(result.data_size_out as usize);
        Ok(Run { code: result.return_value, frame: out, duration: result.duration })
    }
}

/// `struct xdp_md` (include/uapi/linux/bpf.h): data, data_end, data_meta, ingress_ifindex,
/// rx_queue_index, egress_ifindex.
fn xdp_context(len: u32, device: u32) -> Vec<u8> {
    [0, len, 0, device, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// `struct __sk_buff` up to `ifindex`, its eleventh word.
fn tc_context(device: u32) -> Vec<u8> {
    let mut words = [0u32; 11];
    words[10] = device;
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Gives programs to the kernel's verifier, all at once: each keeps a processor busy for a second, and
/// verifiers of a process with the rights for it do not wait for each other. Those `beside` may be refused.
fn verify_all(ebpf: &mut Ebpf, wanted: &[Program], beside: &[Program]) -> Result<(), LoadError> {
    for which in wanted {
        ebpf.program(which.name()).ok_or(LoadError::Missing(which.name()))?;
    }
    std::thread::scope(|scope| {
        let mut works = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let mut all = wanted.iter().chain(beside);
            let Some(which) = all.find(|which| which.name() == name) else { continue };
            works.push(scope.spawn(|| {
                let result = give(program, *which);
                point(if which.is_xdp() { "load-xdp" } else { "load-tc" });
                result.or_else(|error| if wanted.contains(which) { Err(error) } else { Ok(()) })
            }));
        }
        let results = works
            .into_iter()
            .map(|work| work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Gives a program to the kernel's verifier, if it has not had it yet.
fn verify(ebpf: &mut Ebpf, which: Program) -> Result<(), LoadError> {
    let name = which.name();
    give(ebpf.program_mut(name).ok_or(LoadError::Missing(name))?, which)
}

fn give(program: &mut aya::programs::Program, which: Program) -> Result<(), LoadError> {
    let failed = |error| LoadError::Program(which.name(), error);
    if which.is_xdp() {
        let program: &mut Xdp = program.try_into().map_err(failed)?;
        if program.fd().is_err() {
            patiently(|| program.load()).map_err(failed)?;
        }
    } else {
        let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
        if program.fd().is_err() {
            patiently(|| program.load()).map_err(failed)?;
        }
    }
    Ok(())
}

fn socket_program(ebpf: &mut Ebpf, name: &'static str) -> Result<Held, LoadError> {
    let failed = |error| LoadError::Program(name, error);
    let program: &mut CgroupSockAddr = named(ebpf, name)?;
    if program.fd().is_err() {
        patiently(|| program.load()).map_err(failed)?;
    }
    let fd = program.fd().map_err(failed)?.as_fd().try_clone_to_owned();
    let id = program.info().map_err(failed)?.id();
    Ok(Held { fd: fd.map_err(|error| failed(error.into()))?, id })
}

pub(crate) fn program<P>(ebpf: &mut Ebpf, which: Program) -> Result<&mut P, LoadError>
where
    for<'a> &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    named(ebpf, which.name())
}

fn named<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut P, LoadError>
where
    for<'a> &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    program.try_into().map_err(|e| LoadError::Program(name, e))
}

/// The verifier gives up with EAGAIN when a signal is waiting for the thread, and wants to be asked
/// again (kernel/bpf/verifier.c, `signal_pending`).
fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    const ATTEMPTS: usize = 20;
    for _ in 1..ATTEMPTS {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock =>
            {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
    load()
}

fn map_tables(ebpf: &Ebpf, capacity: &Capacity) -> Result<Memory, LoadError> {
    let mut regions: Vec<Region> = Vec::with_capacity(TableId::ALL.len());
    for table in TableId::ALL {
        let Some(Map::Array(map)) = ebpf.map(table.name()) else {
            return Err(LoadError::Missing(table.name()));
        };
        let bytes = capacity.rows(table).max(1) as usize * table.row_bytes();
        let mapping = Mapping::new(map.fd().as_fd(), bytes)
            .map_err(|source| LoadError::Mapping { table: table.name(), bytes, source })?;
        regions.push(Arc::new(mapping));
    }
    Ok(Memory::from_regions(|table| regions[table as usize].clone()))
}
