//! What of an instance lives in the kernel: its maps and the programs that read them.

use aya::maps::{Array, Map, MapData, MapType, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};
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

/// Writes into a map of 64-bit words that a pinned program reads, as nobody should.
///
/// # Errors
///
/// When there is no such program or map, or the kernel refuses.
pub fn edit(
    program: &Path,
    map: &str,
    index: u32,
    value: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let program = ProgramInfo::from_pin(program)?;
    for id in program.map_ids()?.unwrap_or_default() {
        let data = MapData::from_id(id)?;
        if data.info()?.name_as_str() == Some(map) {
            let mut words = Array::<_, u64>::try_from(Map::Array(data))?;
            return Ok(words.set(index, value, 0)?);
        }
    }
    Err(format!("the program uses no map `{map}`").into())
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
