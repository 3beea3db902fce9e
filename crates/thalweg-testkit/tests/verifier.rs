//! What the programs cost the verifier, against docs/verifier.tsv: complexity is a budget.
//!
//! `UPDATE_EXPECT=1` writes the file. It is compared on kernels of the series it was written on:
//! verifiers differ.

use aya::EbpfLoader;
use aya::programs::{CgroupSockAddr, ProgramError, SchedClassifier, Xdp};
use std::collections::BTreeMap;
use thalweg_abi::TableId;
use thalweg_testkit::{Missing, root, skipped};

/// Less than half of what the kernel allows (`BPF_COMPLEXITY_LIMIT_INSNS` is a million).
const MOST: u64 = 400_000;
/// Octets that one chain of calls may take (`MAX_BPF_STACK`).
const STACK: u64 = 512;

/// Instructions that the verifier walked, and octets of stack of the deepest function.
type Costs = BTreeMap<String, (u64, u64)>;

fn measure() -> Result<Costs, String> {
    let mut loader = EbpfLoader::new();
    for table in TableId::ALL {
        loader.map_max_entries(table.name(), 64);
    }
    loader.map_max_entries("meters", 256);
    let mut ebpf = loader.load(thalweg_bpf_object::object()).map_err(|error| error.to_string())?;
    let mut costs = Costs::new();
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let failed = |error: ProgramError| format!("{name}: {error:?}");
        let program = ebpf.program_mut(&name).ok_or("a program that is listed is there")?;
        let info = match program {
            aya::programs::Program::Xdp(_) => {
                let program: &mut Xdp = program.try_into().map_err(failed)?;
                program.load().map_err(failed)?;
                program.info()
            }
            aya::programs::Program::CgroupSockAddr(_) => {
                let program: &mut CgroupSockAddr = program.try_into().map_err(failed)?;
                program.load().map_err(failed)?;
                program.info()
            }
            _ => {
                let program: &mut SchedClassifier = program.try_into().map_err(failed)?;
                program.load().map_err(failed)?;
                program.info()
            }
        };
        let count = info.map_err(failed)?.verified_instruction_count();
        costs.insert(name, (count.unwrap_or(0).into(), 0));
    }
    // Names of the compiler's own change with every build.
    let ours = |name: &str| !name.starts_with('_') && !name.starts_with("mem");
    for (name, stack) in stacks().into_iter().filter(|(name, _)| ours(name)) {
        let cost = costs.entry(name).or_default();
        cost.1 = stack;
    }
    Ok(costs)
}

/// Octets below the frame pointer that each function of the object touches.
fn stacks() -> Vec<(String, u64)> {
    let object = aya_obj::Object::parse(thalweg_bpf_object::object()).expect("the object parses");
    let functions = object.functions.values();
    functions.map(|function| (function.name.clone(), depth(&function.instructions))).collect()
}

/// The lowest offset from register 10 in accesses, and in addresses made of it.
fn depth(instructions: &[aya_obj::generated::bpf_insn]) -> u64 {
    /// `BPF_ALU64 | BPF_MOV | BPF_X`, `BPF_ALU64 | BPF_ADD | BPF_K`.
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut lowest = 0i64;
    let mut pointer = None;
    for instruction in instructions {
        let class = instruction.code & 7;
        let base = match class {
            1 => instruction.src_reg(),
            2 | 3 => instruction.dst_reg(),
            _ => 0,
        };
        if base == 10 {
            lowest = lowest.min(instruction.off.into());
        }
        if instruction.code == ADD && pointer == Some(instruction.dst_reg()) {
            lowest = lowest.min(instruction.imm.into());
        }
        let moves = instruction.code == MOVE && instruction.src_reg() == 10;
        pointer = moves.then(|| instruction.dst_reg());
    }
    lowest.unsigned_abs()
}

/// Major and minor version of the running kernel.
fn series() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn path() -> std::path::PathBuf {
    root().join("docs/verifier.tsv")
}

fn committed() -> BTreeMap<(String, String), (u64, u64)> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [program, kernel, instructions, stack] = fields[..] else { return None };
        let numbers = (instructions.parse().ok()?, stack.parse().ok()?);
        Some(((program.to_owned(), kernel.to_owned()), numbers))
    };
    text.lines().filter_map(row).collect()
}

fn write(costs: &Costs) {
    let mut rows = committed();
    rows.retain(|(_, kernel), _| *kernel != series());
    for (program, numbers) in costs {
        rows.insert((program.clone(), series()), *numbers);
    }
    let mut text = "program\tkernel\tinstructions\tstack\n".to_owned();
    for ((program, kernel), (instructions, stack)) in rows {
        text.push_str(&format!("{program}\t{kernel}\t{instructions}\t{stack}\n"));
    }
    std::fs::write(path(), text).expect("docs/verifier.tsv can be written");
}

#[test]
fn the_verifier_has_no_more_work_than_agreed() {
    let costs = match measure() {
        Ok(costs) => costs,
        // Without rights there is nothing to measure; a program that is refused is a failure.
        Err(why) => match thalweg_testkit::Kernel::new() {
            Err(Missing::Rights(_)) => return skipped(&format!("verifier budget: {why}")),
            _ => panic!("the programs cannot be loaded: {why}"),
        },
    };
    for (program, (instructions, stack)) in &costs {
        assert!(
            *instructions <= MOST,
            "{program}: {instructions} instructions, {MOST} are allowed"
        );
        assert!(*stack <= STACK, "{program}: {stack} octets of stack, {STACK} are allowed");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(&costs);
    }
    let known = committed();
    for (program, (instructions, stack)) in costs {
        let Some((agreed, agreed_stack)) = known.get(&(program.clone(), series())) else {
            continue;
        };
        assert!(
            instructions * 5 <= agreed * 6,
            "{program}: {instructions} instructions are over {agreed} by more than a fifth; \
             UPDATE_EXPECT=1 if it must be"
        );
        assert!(
            stack <= agreed_stack + 64,
            "{program}: {stack} octets of stack, {agreed_stack} were agreed"
        );
    }
}
