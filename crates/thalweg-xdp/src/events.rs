//! Drop events as they come out of the kernel: the reader of the ring, and the gate in front of it.

use crate::load::LoadError;
use crate::raw::{Mapping, Raw};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_abi::DropEvent;
use thalweg_abi::event::{EventGate, EventRow, GATE, RING, ROWS};
use zerocopy::FromBytes;

/// What became of the frames that were discarded while somebody listened, since the instance was first started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EventCounts {
    /// Events that were put into the ring.
    pub taken: u64,
    /// Frames of which nothing was told: beyond the rate.
    pub left_out: u64,
    /// Events that found the ring full.
    pub lost: u64,
}

/// The reader of the ring. One at a time: whoever reads takes an event away.
///
/// Its descriptor becomes readable when there are events.
pub struct Events {
    ring: RingBuf<MapData>,
    gate: Mapping,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// The reader of the maps of an object that was loaded.
    pub(crate) fn of(ebpf: &Ebpf) -> Result<Self, LoadError> {
        let gate = data(ebpf, GATE)?;
        let bytes = size_of::<EventGate>();
        let gate = Mapping::new(gate.fd().as_fd(), bytes).map_err(|source| LoadError::Mapping {
            table: GATE,
            bytes,
            source,
        })?;
        let ring = RingBuf::try_from(Map::RingBuf(data(ebpf, RING)?))?;
        Ok(Self { ring, gate })
    }

    /// Has events taken from now on and for so long, at most `rate` a second on each processor, and after a
    /// time without any `burst` at once. To be called again before the time is over.
    pub fn listen(&self, time: Duration, rate: u64, burst: u64) {
        let [until, cost, most] = self.words();
        cost.store(1_000_000_000 / rate.max(1), Ordering::Relaxed);
        most.store(burst, Ordering::Relaxed);
        let end = now().saturating_add(time.as_nanos().try_into().unwrap_or(u64::MAX));
        until.store(end, Ordering::Release);
    }

    /// Has no more events taken. Those in the ring stay there for the next reader.
    pub fn leave(&self) {
        self.words()[0].store(0, Ordering::Release);
    }

    /// Closes the gate for a moment, for frames of our own; what [`Self::resume`] wants.
    pub(crate) fn pause(&self) -> u64 {
        self.words()[0].swap(0, Ordering::AcqRel)
    }

    /// Opens the gate again, until it would have closed.
    pub(crate) fn resume(&self, until: u64) {
        self.words()[0].store(until, Ordering::Release);
    }

    /// [`EventGate::until`], [`EventGate::cost`] and [`EventGate::burst`].
    fn words(&self) -> [&std::sync::atomic::AtomicU64; 3] {
        let [until, cost, burst, ..] = self.gate.as_ref() else {
            unreachable!("the gate is mapped as a whole")
        };
        [until, cost, burst]
    }

    /// The next event, taken out of the ring; none while it is empty.
    pub fn take(&mut self) -> Option<DropEvent> {
        loop {
            let item = self.ring.next()?;
            // Another length would be another version's, which has a ring of its own.
            if let Ok(event) = DropEvent::read_from_bytes(&item) {
                return Some(event);
            }
        }
    }
}

/// What became of them, over all processors.
pub(crate) fn counts(ebpf: &Ebpf) -> Result<EventCounts, LoadError> {
    let map = ebpf.map(ROWS).ok_or(LoadError::Missing(ROWS))?;
    let rows: PerCpuArray<_, Raw<EventRow>> = PerCpuArray::try_from(map)?;
    let add = |sum: EventCounts, row: &Raw<EventRow>| EventCounts {
        taken: sum.taken.wrapping_add(row.0.taken),
        left_out: sum.left_out.wrapping_add(row.0.left_out),
        lost: sum.lost.wrapping_add(row.0.lost),
    };
    Ok(rows.get(&0, 0)?.iter().fold(EventCounts::default(), add))
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// Nanoseconds of the monotonic clock, as programs tell them (`bpf_ktime_get_ns`).
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A map of the object with a descriptor of its own.
fn data(ebpf: &Ebpf, name: &'static str) -> Result<MapData, LoadError> {
    let fd = match ebpf.map(name) {
        Some(Map::Array(map) | Map::RingBuf(map)) => map.fd(),
        _ => return Err(LoadError::Missing(name)),
    };
    let fd = fd.as_fd().try_clone_to_owned().map_err(MapError::from)?;
    Ok(MapData::from_fd(fd)?)
}
