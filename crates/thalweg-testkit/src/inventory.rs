//! What of an instance lives in the kernel: its maps and the programs that read them.

use aya::maps::{Array, MapType, loaded_maps};
use aya::programs::loaded_programs;
use std::collections::BTreeSet;
use std::path::Path;

/// How many maps and programs an instance has in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inventory {
    /// Table maps: a plane has one of each kind.
    pub maps: usize,
    /// Programs that read one of these.
    pub programs: usize,
}

/// Counts the maps called `name` that have this many rows, and the programs that use one of them.
/// With a size that nobody else chooses, these are one instance's, whatever runs beside it.
pub fn of(name: &str, rows: u32) -> Inventory {
    let ours = |info: &aya::maps::MapInfo| {
        info.name_as_str() == Some(name)
            && info.max_entries() == rows
            && info.map_type().is_ok_and(|kind| kind == MapType::Array)
    };
    let maps: BTreeSet<u32> = loaded_maps().flatten().filter(ours).map(|info| info.id()).collect();
    let uses = |info: &aya::programs::ProgramInfo| {
        let ids = info.map_ids().ok().flatten().unwrap_or_default();
        ids.iter().any(|id| maps.contains(id))
    };
    Inventory { maps: maps.len(), programs: loaded_programs().flatten().filter(uses).count() }
}

/// Pins a map of another shape than ours at a path, as another version would have left it.
///
/// # Errors
///
/// What the kernel refuses.
pub fn pin_other(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let other: Array<_, u32> = Array::create(4, 0)?;
    Ok(other.pin(path)?)
}
