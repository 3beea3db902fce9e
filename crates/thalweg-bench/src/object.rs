//! eBPF objects in the kernel: loading, filling and running them.

use crate::Measured;
use crate::traffic::Template;
use aya::maps::{Array, LpmTrie, Map, MapData, PerCpuArray, ProgramArray, lpm_trie::Key};
use aya::programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use thalweg_abi::TableId;
use thalweg_abi::table::Change;
use thalweg_image::{Capacity, Memory};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const OBJECT: &str = "target/bpf/thalweg-bench-bpf.o";

/// Builds the helper programs; quick when they are up to date.
pub fn build() -> Measured<()> {
    let status = Command::new("scripts/bpf.sh")
        .arg("crates/thalweg-bench-bpf")
        .current_dir(ROOT)
        .status()
        .map_err(|error| format!("scripts/bpf.sh cannot be run: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the eBPF helpers of the benchmark did not build; run `make setup`".into()),
    }
}

/// An object in the kernel.
pub struct Object {
    ebpf: Ebpf,
}

/// Octets of the row of settings.
const SETTINGS: usize = size_of::<thalweg_abi::SettingsRow>();

impl Object {
    /// Loads the helper programs named, with maps of these sizes (by name) and tables of `capacity`.
    pub fn helpers(
        programs: &[&str],
        sizes: &[(&str, u32)],
        capacity: Option<&Capacity>,
    ) -> Measured<Self> {
        let bytes = fs::read(Path::new(ROOT).join(OBJECT))?;
        Self::load(&bytes, programs, sizes, capacity)
    }

    /// Loads the real XDP program with tables of `capacity`.
    pub fn real(capacity: &Capacity) -> Measured<Self> {
        let meters = capacity.rows(TableId::Links) * thalweg_abi::meter::CLASSES;
        let sizes = [("meters", meters)];
        Self::load(thalweg_bpf_object::object(), &["thalweg_xdp"], &sizes, Some(capacity))
    }

    /// Loads the XDP program that knows flows, with tables of `capacity`.
    pub fn flows(capacity: &Capacity) -> Measured<Self> {
        let meters = capacity.rows(TableId::Links) * thalweg_abi::meter::CLASSES;
        let sizes = [("meters", meters)];
        Self::load(thalweg_bpf_object::object(), &["thalweg_flow_xdp"], &sizes, Some(capacity))
    }

    /// Runs a program once on `frame`: its time, its code, and the frame afterwards.
    pub fn run_once(
        &mut self,
        name: &str,
        frame: &[u8],
        link: u32,
    ) -> Measured<(Duration, u32, Vec<u8>)> {
        let context = context(frame.len() as u32, link);
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = self.program(name)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.duration, result.return_value, out))
    }

    fn load(
        bytes: &[u8],
        programs: &[&str],
        sizes: &[(&str, u32)],
        capacity: Option<&Capacity>,
    ) -> Measured<Self> {
        let mut loader = EbpfLoader::new();
        for (name, size) in sizes {
            loader.map_max_entries(name, *size);
        }
        for table in TableId::ALL.into_iter().filter(|_| capacity.is_some()) {
            let rows = capacity.map_or(1, |capacity| capacity.rows(table));
            loader.map_max_entries(table.name(), rows.max(1));
        }
        let mut object = Self { ebpf: loader.load(bytes)? };
        for name in programs {
            object.program(name)?.load().map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                format!("program {name}: {error} {}", cause.unwrap_or_default())
            })?;
        }
        Ok(object)
    }

    /// A program by name.
    pub fn program(&mut self, name: &str) -> Measured<&mut Xdp> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// A loaded program, for the slot of another object.
    pub fn fd(&mut self, name: &str) -> Measured<ProgramFd> {
        Ok(self.program(name)?.fd()?.try_clone()?)
    }

    fn map(&mut self, name: &str) -> Measured<&mut Map> {
        self.ebpf.map_mut(name).ok_or_else(|| format!("no map {name}").into())
    }

    /// An array map.
    pub fn array<V: Pod>(&mut self, name: &str) -> Measured<Array<&mut MapData, V>> {
        Ok(Array::try_from(self.map(name)?)?)
    }

    /// A hash map of 32-bit keys.
    pub fn hash<V: Pod>(
        &mut self,
        name: &str,
    ) -> Measured<aya::maps::HashMap<&mut MapData, u32, V>> {
        Ok(aya::maps::HashMap::try_from(self.map(name)?)?)
    }

    /// A trie; keys are addresses in network order.
    pub fn trie<K: Pod>(&mut self, name: &str) -> Measured<LpmTrie<&mut MapData, K, u32>> {
        Ok(LpmTrie::try_from(self.map(name)?)?)
    }

    /// The IPv4 addresses, or labels, that programs draw.
    pub fn trace4(&mut self, addresses: &[u32]) -> Measured<()> {
        let mut array = self.array::<[u32; 32]>("trace4")?;
        for (row, addresses) in (0..).zip(addresses.chunks_exact(32)) {
            array.set(row, <[u32; 32]>::try_from(addresses)?, 0)?;
        }
        Ok(())
    }

    /// The IPv6 addresses that programs draw.
    pub fn trace6(&mut self, addresses: &[u128]) -> Measured<()> {
        let mut array = self.array::<[u64; 64]>("trace6")?;
        for (index, addresses) in (0..).zip(addresses.chunks_exact(32)) {
            let mut row = [0; 64];
            for (halves, address) in row.chunks_exact_mut(2).zip(addresses) {
                halves.copy_from_slice(&[(address >> 64) as u64, *address as u64]);
            }
            array.set(index, row, 0)?;
        }
        Ok(())
    }

    /// What fresh frames are made from.
    pub fn template(&mut self, template: &Template) -> Measured<()> {
        Ok(self.array::<[u64; 11]>("template")?.set(0, template.words(), 0)?)
    }

    /// The row of each processor.
    pub fn per_processor<V: Pod>(&mut self, name: &str, index: u32) -> Measured<Vec<V>> {
        let map = PerCpuArray::<_, V>::try_from(self.map(name)?)?;
        Ok(map.get(&index, 0)?.to_vec())
    }

    /// Puts a program into the slot that fresh frames enter.
    pub fn enter(&mut self, program: &ProgramFd) -> Measured<()> {
        Ok(ProgramArray::try_from(self.map("slots")?)?.set(0, program, 0)?)
    }

    /// Memory that the kernel accounts for a map, in octets.
    pub fn memory(&mut self, name: &str) -> Measured<u64> {
        let map = match self.map(name)? {
            Map::Array(map) | Map::LpmTrie(map) => map,
            _ => return Err(format!("{name} is neither array nor trie").into()),
        };
        let fd = map.fd().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let memory = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok(memory.ok_or("the kernel does not tell the memory of maps")?.trim().parse()?)
    }

    /// Copies tables that were built in this process into the maps. With `whole` zero rows, too.
    /// Tables that programs write themselves ([`Change::Shared`]) stay as the programs have them.
    pub fn copy(&mut self, memory: &Memory, tables: &[TableId], whole: bool) -> Measured<()> {
        for table in tables.iter().filter(|table| table.change() != Change::Shared) {
            match table.row_bytes() {
                8 => self.copy_rows::<1>(memory, *table, whole)?,
                16 => self.copy_rows::<2>(memory, *table, whole)?,
                32 => self.copy_rows::<4>(memory, *table, whole)?,
                64 => self.copy_rows::<8>(memory, *table, whole)?,
                SETTINGS => self.copy_rows::<{ SETTINGS / 8 }>(memory, *table, whole)?,
                other => return Err(format!("rows of {other} octets are not known here").into()),
            }
        }
        Ok(())
    }

    fn copy_rows<const WORDS: usize>(
        &mut self,
        memory: &Memory,
        table: TableId,
        whole: bool,
    ) -> Measured<()> {
        let mut array = self.array::<[u64; WORDS]>(table.name())?;
        for (index, words) in memory.words(table).chunks_exact(WORDS).enumerate() {
            let mut row = [0; WORDS];
            for (to, from) in row.iter_mut().zip(words) {
                *to = from.load(std::sync::atomic::Ordering::Relaxed);
            }
            if whole || row != [0; WORDS] {
                array.set(index as u32, row, 0)?;
            }
        }
        Ok(())
    }

    /// Runs a program on `frame` arriving at a link; the mean time of one of `repeat` runs, and the
    /// code of the last.
    pub fn run(
        &mut self,
        name: &str,
        frame: &[u8],
        link: u32,
        repeat: u32,
    ) -> Measured<(Duration, u32)> {
        let context = context(frame.len() as u32, link);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::default()
        };
        let result = self.program(name)?.test_run(options)?;
        Ok((result.duration, result.return_value))
    }

    /// Runs a program on `frames` real frames that arrive at a link, and carries out its verdicts.
    pub fn run_live(&mut self, name: &str, frame: &[u8], link: u32, frames: u32) -> Measured<()> {
        let context = context(frame.len() as u32, link);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::default()
        };
        self.program(name)?.test_run(options)?;
        Ok(())
    }
}

/// An address of IPv4 as a key of a trie.
pub fn key4(prefix: thalweg_wire::Prefix4) -> Key<[u8; 4]> {
    Key::new(prefix.len().into(), prefix.bits().to_be_bytes())
}

/// An address of IPv6 as a key of a trie.
pub fn key6(prefix: thalweg_wire::Prefix6) -> Key<[u8; 16]> {
    Key::new(prefix.len().into(), prefix.bits().to_be_bytes())
}

/// `struct xdp_md` (include/uapi/linux/bpf.h): data, data_end, data_meta, ingress_ifindex,
/// rx_queue_index, egress_ifindex.
fn context(len: u32, link: u32) -> Vec<u8> {
    [0, len, 0, link, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_table_can_be_copied() {
        let copied = TableId::ALL.into_iter().filter(|table| table.change() != Change::Shared);
        for table in copied {
            let octets = table.row_bytes();
            assert!(matches!(octets, 8 | 16 | 32 | 64 | SETTINGS), "{table:?}: {octets} octets");
        }
    }
}
