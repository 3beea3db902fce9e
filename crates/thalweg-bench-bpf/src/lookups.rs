//! Longest-prefix match in a loop: ours, the kernel's map for it, the kernel's FIB, and nothing.
//!
//! Each engine has an independent and a dependent form. In the dependent one an address is not known
//! before the last answer is, so that lookups cannot overlap.

use crate::cells::MapCells;
use crate::trace::{self, CHUNK, TRACE4, TRACE6};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::LpmTrie;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use thalweg_abi::fib6::{self, Word6};
use thalweg_core::{Cells, fib};

/// The kernel's map for prefixes, IPv4; addresses in network order.
#[btf_map(name = "trie4")]
pub static TRIE4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
/// The same for IPv6.
#[btf_map(name = "trie6")]
static TRIE6: LpmTrie<[u8; 16], u32, 1> = LpmTrie::new();

/// `AF_INET` and `AF_INET6`.
const FAMILY: [u64; 2] = [2, 10];
/// `BPF_FIB_LOOKUP_SKIP_NEIGH`: the route alone, as the other engines do.
const SKIP_NEIGH: u32 = 4;

/// The kernel's answer about a route: the last two octets of the gateway, which name our group.
#[inline(always)]
fn kernel(context: *mut xdp_md, family: u64, destination: [u64; 2]) -> u64 {
    // `struct bpf_fib_lookup` as words: family; link; source; destination; tag; link addresses.
    // SAFETY: the context is valid while the program runs.
    let link = u64::from(unsafe { (*context).ingress_ifindex });
    let [high, low] = destination;
    let mut words = [family, link, 0, 0, high, low, 0, 0];
    // SAFETY: 64 octets are the size of the structure.
    let code = unsafe { bpf_fib_lookup(context.cast(), words.as_mut_ptr().cast(), 64, SKIP_NEIGH) };
    if code != 0 {
        return 0;
    }
    let gateway = if family == FAMILY[0] { words[4] << 32 } else { words[5] };
    u64::from((gateway >> 48) as u16).swap_bytes() >> 48
}

#[inline(always)]
fn none4(_: MapCells, address: u32) -> u64 {
    u64::from(address)
}

#[inline(always)]
fn ours4(cells: MapCells, address: u32) -> u64 {
    u64::from(fib::route4(&cells, 0, address))
}

/// The two reads that any such table takes, of the same memory, with next to no arithmetic: the limit.
#[inline(always)]
fn reads4(cells: MapCells, address: u32) -> u64 {
    let word = cells.fib4_root(address >> 13);
    u64::from(cells.fib4_leaf(word as u32 & 0x7fff_ffff))
}

#[inline(always)]
fn trie4(_: MapCells, address: u32) -> u64 {
    TRIE4.get(&Key::new(32, address.to_be_bytes())).map_or(0, |group| u64::from(*group))
}

#[inline(always)]
fn kernel4(context: *mut xdp_md, address: u32) -> u64 {
    kernel(context, FAMILY[0], [u64::from(address.to_be()), 0])
}

#[inline(always)]
fn none6(_: MapCells, [high, low]: [u64; 2]) -> u64 {
    high ^ low
}

#[inline(always)]
fn ours6(cells: MapCells, address: [u64; 2]) -> u64 {
    u64::from(fib::route6(&cells, 0, address))
}

/// The first two reads of the tables, with next to no arithmetic.
#[inline(always)]
fn reads6(cells: MapCells, [high, _]: [u64; 2]) -> u64 {
    let word = Word6(cells.fib6_dir((high >> 51) as u32));
    let slot = (high >> 40) as u32 & 0x7ff;
    u64::from(cells.fib6_page(word.index() << fib6::PAGE_BITS | slot))
}

#[inline(always)]
fn trie6(_: MapCells, [high, low]: [u64; 2]) -> u64 {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&high.to_be_bytes());
    octets[8..].copy_from_slice(&low.to_be_bytes());
    TRIE6.get(&Key::new(128, octets)).map_or(0, |group| u64::from(*group))
}

#[inline(always)]
fn kernel6(context: *mut xdp_md, [high, low]: [u64; 2]) -> u64 {
    kernel(context, FAMILY[1], [high.to_be(), low.to_be()])
}

/// Looks up the addresses of a row. In the dependent form zero bits of the sum are mixed in.
#[inline(always)]
fn chunk4(row: u32, sum: u64, dependent: bool, look: impl Fn(MapCells, u32) -> u64) -> u64 {
    let cells = MapCells::at(MapCells::epoch_now());
    let zero = cells.blur(0);
    let Some(row) = TRACE4.get(row) else { return sum };
    let mut sum = sum;
    for index in 0..CHUNK as usize {
        let address = if dependent { row[index] ^ (sum & zero) as u32 } else { row[index] };
        sum += look(cells, address);
    }
    sum
}

/// The same for IPv6.
#[inline(always)]
fn chunk6(row: u32, sum: u64, dependent: bool, look: impl Fn(MapCells, [u64; 2]) -> u64) -> u64 {
    let cells = MapCells::at(MapCells::epoch_now());
    let zero = cells.blur(0);
    let Some(row) = TRACE6.get(row) else { return sum };
    let mut sum = sum;
    for index in 0..CHUNK as usize {
        let [high, low] = [row[2 * index], row[2 * index + 1]];
        let high = if dependent { high ^ (sum & zero) } else { high };
        sum += look(cells, [high, low]);
    }
    sum
}

/// Every chunk is a function that the verifier checks once, and not for every row.
macro_rules! programs {
    ($($name:ident, $function:ident: $chunk:ident($look:ident, $dependent:literal);)+) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $function(row: u32, sum: u64) -> u64 {
            $chunk(row, sum, $dependent, $look)
        }

        /// One engine on one run of the trace.
        #[xdp]
        pub fn $name(_: XdpContext) -> u32 {
            trace::run(|row, sum| $function(row, sum))
        }
    )+};
}

/// The same for the engine that needs the context.
macro_rules! kernel_programs {
    ($($name:ident, $function:ident: $chunk:ident($look:ident, $dependent:literal);)+) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $function(context: *mut xdp_md, row: u32, sum: u64) -> u64 {
            $chunk(row, sum, $dependent, |_, address| $look(context, address))
        }

        /// The kernel's FIB on one run of the trace.
        #[xdp]
        pub fn $name(context: XdpContext) -> u32 {
            trace::run(|row, sum| $function(context.ctx, row, sum))
        }
    )+};
}

programs! {
    lpm4_none, chunk4_none: chunk4(none4, false);
    lpm4_ours, chunk4_ours: chunk4(ours4, false);
    lpm4_reads, chunk4_reads: chunk4(reads4, false);
    lpm4_trie, chunk4_trie: chunk4(trie4, false);
    lpm4_none_dep, chunk4_none_dep: chunk4(none4, true);
    lpm4_ours_dep, chunk4_ours_dep: chunk4(ours4, true);
    lpm4_reads_dep, chunk4_reads_dep: chunk4(reads4, true);
    lpm4_trie_dep, chunk4_trie_dep: chunk4(trie4, true);
    lpm6_none, chunk6_none: chunk6(none6, false);
    lpm6_ours, chunk6_ours: chunk6(ours6, false);
    lpm6_reads, chunk6_reads: chunk6(reads6, false);
    lpm6_trie, chunk6_trie: chunk6(trie6, false);
    lpm6_none_dep, chunk6_none_dep: chunk6(none6, true);
    lpm6_ours_dep, chunk6_ours_dep: chunk6(ours6, true);
    lpm6_reads_dep, chunk6_reads_dep: chunk6(reads6, true);
    lpm6_trie_dep, chunk6_trie_dep: chunk6(trie6, true);
}

kernel_programs! {
    lpm4_kernel, chunk4_kernel: chunk4(kernel4, false);
    lpm4_kernel_dep, chunk4_kernel_dep: chunk4(kernel4, true);
    lpm6_kernel, chunk6_kernel: chunk6(kernel6, false);
    lpm6_kernel_dep, chunk6_kernel_dep: chunk6(kernel6, true);
}
