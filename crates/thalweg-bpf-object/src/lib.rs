//! The compiled eBPF object, as bytes: the one place that knows where it comes from.
#![forbid(unsafe_code)]

/// Alignment that ELF readers expect of the bytes.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static BYTES: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/thalweg-bpf.o")));

/// The ELF file with the programs `thalweg_xdp` and `thalweg_tc` and their maps.
pub fn object() -> &'static [u8] {
    &BYTES.0
}
