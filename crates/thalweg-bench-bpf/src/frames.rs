//! Fresh frames for a program under test: each run writes the headers anew, with the next destination
//! of the trace, and then enters the program by a tail call. What that costs without the program is
//! measured with [`empty`] in its place.

use crate::trace::{self, CHUNK, ROWS, TRACE4, TRACE6};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// Octets of a template.
pub const OCTETS: usize = 64;

/// What frames are made from.
#[repr(C)]
pub struct Template {
    /// The frame with an empty destination, label and checksum.
    pub frame: [u64; OCTETS / 8],
    /// Sum of the IPv4 header without destination and checksum; in the upper half that of the TCP header
    /// and of the addresses, without source and source port.
    pub sum: u64,
    /// Destinations of the trace that are used, less one: 2^n − 1.
    pub mask: u64,
    /// Link that generated frames leave through.
    pub link: u64,
}

#[btf_map(name = "template")]
static TEMPLATE: Array<Template, 1> = Array::new();
#[btf_map(name = "slots")]
static SLOTS: ProgramArray<1> = ProgramArray::new();

/// What kind of frame, and so where the destination goes.
#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Ipv4,
    Ipv6,
    Mpls,
    /// TCP SYN from an address of the trace: a source port for each turn of [`TURN`] frames.
    Syn,
}

impl Shape {
    /// Octets of a fresh frame.
    const fn octets(self) -> usize {
        match self {
            // As a link pads them: the shortest frame of Ethernet, without its checksum.
            Self::Syn => 60,
            _ => OCTETS,
        }
    }
}

/// Frames with one source port, as a power of two.
const TURN: u32 = 10;
/// Source ports: from the first one on.
const PORTS: u32 = 64_000;
const FIRST_PORT: u32 = 1_024;

/// Writes `value` into the frame at `at`, which the caller has checked to be inside.
///
/// # Safety
///
/// `data` + `at` must be inside the packet.
#[inline(always)]
unsafe fn put<T>(data: usize, at: usize, value: T) {
    // SAFETY: the caller's promise; packet memory takes stores at any address.
    unsafe { core::ptr::write_unaligned((data + at) as *mut T, value) }
}

/// Makes the frame a fresh one. Returns the link for generated frames; none if it cannot be done.
#[inline(always)]
pub fn fresh(context: &XdpContext, shape: Shape) -> Option<u32> {
    let octets = shape.octets();
    // Hidden, or the compiler adds to pointers what is taken off their difference; the verifier refuses that.
    let found = core::hint::black_box(context.data_end() - context.data());
    let grown = found as i32 - octets as i32;
    // SAFETY: the helper checks room and keeps the context valid.
    if grown != 0 && unsafe { bpf_xdp_adjust_head(context.ctx, grown) } != 0 {
        return None;
    }
    let template = TEMPLATE.get(0)?;
    let position = trace::advance(1);
    let at = position & template.mask as u32;
    let (row, index) = (at / CHUNK & (ROWS - 1), (at % CHUNK) as usize);
    let data = context.data();
    if data + octets > context.data_end() {
        return None;
    }
    for (index, word) in template.frame.iter().take(octets / 8).enumerate() {
        // SAFETY: the comparison above.
        unsafe { put(data, index * 8, *word) };
    }
    if octets % 8 != 0 {
        // SAFETY: as above.
        unsafe { put(data, octets / 8 * 8, template.frame[octets / 8] as u32) };
    }
    match shape {
        Shape::Ipv4 | Shape::Syn => {
            let address = TRACE4.get(row)?[index];
            let halves = (address >> 16) + (address & 0xffff);
            let place = if shape == Shape::Syn { 26 } else { 30 };
            // SAFETY: as above.
            unsafe {
                put(data, 24, checksum(template.sum as u32 + halves).to_be());
                put(data, place, address.to_be());
            }
            if shape == Shape::Syn {
                let port = FIRST_PORT + (position >> TURN) % PORTS;
                let sum = (template.sum >> 32) as u32 + halves + port;
                // SAFETY: as above.
                unsafe {
                    put(data, 34, (port as u16).to_be());
                    put(data, 50, checksum(sum).to_be());
                }
            }
        }
        Shape::Ipv6 => {
            let row = TRACE6.get(row)?;
            // SAFETY: as above.
            unsafe {
                put(data, 38, row[2 * index].to_be());
                put(data, 46, row[2 * index + 1].to_be());
            }
        }
        Shape::Mpls => {
            // The only entry: label, bottom of the stack, TTL 64.
            let entry = TRACE4.get(row)?[index] << 12 | 0x100 | 64;
            // SAFETY: as above.
            unsafe { put(data, 14, entry.to_be()) };
        }
    }
    Some(template.link as u32)
}

/// The checksum of a sum of 16-bit words.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// A fresh frame, then the program in the slot.
#[inline(always)]
fn enter(context: XdpContext, shape: Shape) -> u32 {
    if fresh(&context, shape).is_some() {
        // SAFETY: the slot holds an XDP program, or the call falls through.
        unsafe { SLOTS.tail_call(&context, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// IPv4 frames to the destinations of the trace.
#[xdp]
pub fn fresh4(context: XdpContext) -> u32 {
    enter(context, Shape::Ipv4)
}

/// IPv6 frames to the destinations of the trace.
#[xdp]
pub fn fresh6(context: XdpContext) -> u32 {
    enter(context, Shape::Ipv6)
}

/// Frames with one label of the trace and IPv4 behind it.
#[xdp]
pub fn fresh_mpls(context: XdpContext) -> u32 {
    enter(context, Shape::Mpls)
}

/// The program that does nothing: what frames cost without a program under test.
#[xdp]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// The program that only makes room for a label: the next fresh frame takes the room back.
#[xdp]
pub fn grow(context: XdpContext) -> u32 {
    // SAFETY: the helper checks room.
    unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), -4) };
    xdp_action::XDP_DROP
}
