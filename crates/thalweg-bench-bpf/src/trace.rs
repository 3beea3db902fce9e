//! The addresses that are looked up, in the order in which they are.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;

/// Addresses of one row.
pub const CHUNK: u32 = 32;
/// Rows: 2^18 addresses.
pub const ROWS: u32 = 8192;
/// Rows that one run of a lookup program takes: 4096 addresses.
const ROWS_PER_RUN: u32 = 128;

/// IPv4 addresses, or labels.
#[btf_map(name = "trace4")]
pub static TRACE4: Array<[u32; CHUNK as usize], { ROWS as usize }> = Array::new();
/// IPv6 addresses: high and low half, one after the other.
#[btf_map(name = "trace6")]
pub static TRACE6: Array<[u64; 2 * CHUNK as usize], { ROWS as usize }> = Array::new();
/// Where the next run goes on: a row for lookups, an address for frames.
#[btf_map(name = "position")]
static POSITION: Array<u64, 1> = Array::new();
/// Sum of all answers, so that engines can be compared.
#[btf_map(name = "answers")]
static ANSWERS: Array<u64, 1> = Array::new();

/// The position before `step` is added to it.
#[inline(always)]
pub fn advance(step: u32) -> u32 {
    match POSITION.get_ptr_mut(0) {
        // SAFETY: the map holds a valid number for its whole life; one processor runs at a time.
        Some(position) => unsafe {
            let at = *position;
            *position = at + u64::from(step);
            at as u32
        },
        None => 0,
    }
}

/// Calls `chunk` with the number of each row of this run and the sum so far.
#[inline(always)]
pub fn run(chunk: impl Fn(u32, u64) -> u64) -> u32 {
    let first = advance(ROWS_PER_RUN);
    let mut sum = 0;
    for row in 0..ROWS_PER_RUN {
        sum = chunk((first + row) & (ROWS - 1), sum);
    }
    if let Some(answers) = ANSWERS.get_ptr_mut(0) {
        // SAFETY: as in `advance`.
        unsafe { *answers += sum };
    }
    0
}
