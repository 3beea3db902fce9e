//! Reads the counters of verdicts and of what policies decide: one row each, summed over processors.

use crate::raw::Raw;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use std::path::Path;
use thalweg_abi::counter::COUNTERS;
use thalweg_abi::policy::CAUSES;
use thalweg_abi::{Counter, Kind, Reason, Verdict};

/// Frames and octets by verdict; verdicts that never occurred are left out.
pub type Counts = Vec<(Verdict, Counter)>;

/// Sums the counter map over processors.
///
/// # Errors
///
/// What the kernel says when the map cannot be read.
pub fn read(map: &Map) -> Result<Counts, MapError> {
    let table: PerCpuArray<_, Raw<Counter>> = PerCpuArray::try_from(map)?;
    let mut counts = Counts::new();
    for kind in Kind::ALL {
        for reason in Reason::ALL {
            let verdict = Verdict::new(kind, *reason);
            let rows = table.get(&verdict.counter(), 0)?;
            let sum = rows.iter().fold(Counter::default(), |sum, row| Counter {
                packets: sum.packets.wrapping_add(row.0.packets),
                bytes: sum.bytes.wrapping_add(row.0.bytes),
            });
            if sum.packets > 0 {
                counts.push((verdict, sum));
            }
        }
    }
    Ok(counts)
}

/// How often what decides about flows has decided, by number ([`thalweg_abi::policy::cause`]) up to `last`,
/// summed over processors.
///
/// # Errors
///
/// What the kernel says when the map cannot be read.
pub fn read_hits(map: &Map, last: u32) -> Result<Vec<u64>, MapError> {
    let table: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let mut hits = Vec::with_capacity(last as usize + 1);
    for number in 0..=last.min(CAUSES - 1) {
        let rows = table.get(&number, 0)?;
        hits.push(rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(*row)));
    }
    Ok(hits)
}

/// Frames of our own that programs have counted beside everybody else's: those of self-tests. A map
/// that no program knows, so that the next agent finds it.
pub(crate) struct Tested(Array<MapData, Raw<Counter>>);

impl Tested {
    /// Those that an earlier agent pinned, if any did.
    pub fn open(path: &Path) -> Option<Self> {
        let map = Map::Array(MapData::from_pin(path).ok()?);
        Array::try_from(map).ok().map(Self)
    }

    /// None so far, pinned.
    pub fn create(path: &Path) -> Option<Self> {
        let map: Array<_, Raw<Counter>> = Array::create(COUNTERS, 0).ok()?;
        map.pin(path).ok()?;
        Self::open(path)
    }

    /// One more.
    pub fn add(&mut self, verdict: Verdict, octets: u64) -> Result<(), MapError> {
        let row = verdict.counter();
        let Counter { packets, bytes } = self.0.get(&row, 0)?.0;
        self.0.set(row, Raw(Counter { packets: packets + 1, bytes: bytes + octets }), 0)
    }

    /// Takes them off what was counted.
    pub fn take_off(&self, counts: &mut Counts) -> Result<(), MapError> {
        for (verdict, counter) in counts.iter_mut() {
            let tested = self.0.get(&verdict.counter(), 0)?.0;
            counter.packets = counter.packets.wrapping_sub(tested.packets);
            counter.bytes = counter.bytes.wrapping_sub(tested.bytes);
        }
        counts.retain(|(_, counter)| counter.packets > 0);
        Ok(())
    }
}
