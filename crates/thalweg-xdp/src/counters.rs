//! Reads the verdict counters: one row per verdict, summed over processors.

use crate::raw::Raw;
use aya::maps::{Map, MapError, PerCpuArray};
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
