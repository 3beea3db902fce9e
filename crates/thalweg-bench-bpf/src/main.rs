//! What the benchmark runs in the kernel: lookups in a loop, makers of fresh frames, and the peers.
//!
//! Lookups are the packet core's own code over maps of the same layout: both are compiled from the
//! sources of the real programs.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../../thalweg-bpf/src/cells.rs"]
mod cells;
mod frames;
mod live;
mod lookups;
#[path = "../../thalweg-bpf/src/maps.rs"]
mod maps;
mod peers;
mod trace;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
