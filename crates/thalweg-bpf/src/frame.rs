//! Packet memory in the kernel: the room of `unsafe` where pointers meet the verifier.
//!
//! Pointers are read from the context for every access. Moving an end of the frame takes it mutably
//! and so ends every borrowed header, exactly when the kernel invalidates its pointers.

use crate::maps;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_head,
    bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use aya_ebpf::programs::{TcContext, XdpContext};
use thalweg_abi::shelf::{HEADER, ROOM};
use thalweg_abi::tunnel::protocol as tunnel;
use thalweg_core::flow::Words;
use thalweg_core::{Frame, Offset};
use thalweg_wire::{EtherType, Header};

/// The header at `at` between two packet pointers, if it ends before `end`.
///
/// # Safety
///
/// `data` and `end` must be the packet pointers of the running program, valid while `'a` lasts.
#[inline(always)]
unsafe fn header_at<'a, H: Header>(data: usize, end: usize, at: Offset) -> Option<&'a H> {
    const { assert!(size_of::<H>() > 1, "the verifier learns nothing from a check of one octet") };
    let start = data + at.get() as usize;
    if start + size_of::<H>() > end {
        return None;
    }
    // SAFETY: the comparison keeps `H` inside the packet; `H: FromBytes + Unaligned` accepts any
    // bytes at any address.
    Some(unsafe { &*(start as *const H) })
}

/// As [`header_at`], for writing.
///
/// # Safety
///
/// As for [`header_at`], and nothing else may borrow the packet.
#[inline(always)]
unsafe fn header_at_mut<'a, H: Header>(data: usize, end: usize, at: Offset) -> Option<&'a mut H> {
    const { assert!(size_of::<H>() > 1, "the verifier learns nothing from a check of one octet") };
    let start = data + at.get() as usize;
    if start + size_of::<H>() > end {
        return None;
    }
    // SAFETY: as above; `H: IntoBytes` has no padding to leak.
    Some(unsafe { &mut *(start as *mut H) })
}

/// A packet pointer as the context holds it.
///
/// Volatile, because the compiler would otherwise pass the 32-bit field to a function and widen it
/// there, which the verifier takes for arithmetic on a pointer.
///
/// # Safety
///
/// `field` must point into the context of the running program.
#[inline(always)]
unsafe fn pointer(field: *const u32) -> usize {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::read_volatile(field) as usize }
}

/// A frame at the XDP hook.
pub struct XdpFrame {
    context: XdpContext,
}

impl XdpFrame {
    /// The frame of a running program.
    #[inline(always)]
    pub fn new(context: XdpContext) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the context is valid while the program runs.
        unsafe { pointer(&raw const (*self.context.ctx).data) }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { pointer(&raw const (*self.context.ctx).data_end) }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn octets(&self) -> u32 {
        (self.data_end() - self.data()) as u32
    }

    #[inline(always)]
    fn header<H: Header>(&self, at: Offset) -> Option<&H> {
        // SAFETY: the context's own pointers; the borrow of `self` forbids moving the ends.
        unsafe { header_at(self.data(), self.data_end(), at) }
    }

    #[inline(always)]
    fn header_mut<H: Header>(&mut self, at: Offset) -> Option<&mut H> {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { header_at_mut(self.data(), self.data_end(), at) }
    }

    #[inline(always)]
    fn crc32c(difference: u32, octets: u32) -> u32 {
        crate::stages::sctp_crc32c(difference, octets)
    }

    #[inline(always)]
    fn grow_head(&mut self, by: u32) -> bool {
        // SAFETY: the helper checks headroom and keeps the context valid.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, -(by as i32)) == 0 }
    }

    #[inline(always)]
    fn shrink_head(&mut self, by: u32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, by as i32) == 0 }
    }

    #[inline(always)]
    fn set_octets(&mut self, octets: u32) -> bool {
        let delta = octets as i32 - self.octets() as i32;
        // SAFETY: as above.
        delta == 0 || unsafe { bpf_xdp_adjust_tail(self.context.ctx, delta) == 0 }
    }
}

/// Octets of a socket buffer that are made directly readable: link header with tags, labels, and the
/// largest IP header with ports.
const LINEAR: u32 = 160;
/// `BPF_ADJ_ROOM_MAC`: room right behind the link header.
const ROOM_MAC: u32 = 1;

/// `BPF_F_ADJ_ROOM_FIXED_GSO`: segments stay as large as they were. Whoever asks has looked at their size.
const FIXED_GSO: u64 = 1;
/// `BPF_F_ADJ_ROOM_ENCAP_L3_IPV4` and `_IPV6`: the family of the outer header.
const ENCAP: [u64; 2] = [1 << 1, 1 << 2];
/// `BPF_F_ADJ_ROOM_ENCAP_L4_UDP`.
const ENCAP_UDP: u64 = 1 << 4;
/// `BPF_F_ADJ_ROOM_ENCAP_L2_ETH`: the inner packet has a link header of its own.
const ENCAP_ETH: u64 = 1 << 6;
/// Where the octets of that stand (`BPF_ADJ_ROOM_ENCAP_L2_SHIFT`).
const ENCAP_L2_SHIFT: u32 = 56;
/// `BPF_F_ADJ_ROOM_DECAP_L3_IPV4` and `_IPV6`: the family of the inner header (Linux 6.3).
const DECAP: [u64; 2] = [1 << 7, 1 << 8];

/// `BPF_F_PSEUDO_HDR`: what changed is in the pseudo header alone.
const PSEUDO_HDR: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: zero means that there is no sum.
const MARK_MANGLED_0: u64 = 1 << 5;

/// `BPF_F_RECOMPUTE_CSUM`: of what the device has summed up.
const RECOMPUTE_CSUM: u64 = 1;
/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;
/// What the field of a socket buffer that classifiers have for themselves holds (`tc_index`, 16 bits), where it
/// is a kept frame that arrives once more.
const ARRIVED: u32 = 0x7468;
/// The same where the program at a link that knows flows has sent the frame on: it is decided.
const SENT: u32 = 0x7469;

/// A frame at the tc hook.
pub struct TcFrame {
    context: TcContext,
}

/// `GSO_BY_FRAGS`: the kernel cuts SCTP where its sender has put it together.
const BY_FRAGMENTS: u32 = 0xffff;

/// Makes the headers of a socket buffer directly readable.
///
/// Not of one that is to be cut by its fragments, which must stay as they are: its headers stand before
/// them.
#[inline(always)]
pub fn linearize(context: &TcContext) {
    // SAFETY: the context is valid while the program runs.
    if unsafe { (*context.skb.skb).gso_size } == BY_FRAGMENTS {
        return;
    }
    let (len, linear) = (context.len(), (context.data_end() - context.data()) as u32);
    if linear < LINEAR && linear < len {
        let wanted = if len < LINEAR { len } else { LINEAR };
        // SAFETY: the helper takes any length; on failure less is readable and parsing says so.
        unsafe { bpf_skb_pull_data(context.skb.skb, wanted) };
    }
}

/// Octets that a frame may have for the shelf, or 0. The verifier of Linux 6.12 wants to see both bounds of the
/// very register; of two comparisons the compiler would make one, of another.
#[inline(always)]
fn bounded(octets: u32) -> u32 {
    let mut octets = u64::from(octets);
    // SAFETY: comparisons, and a zero.
    unsafe {
        core::arch::asm!(
            "if {0} < 14 goto +1",
            "if {0} <= {most} goto +1",
            "{0} = 0",
            inout(reg) octets,
            most = const ROOM,
            options(pure, nomem, nostack),
        );
    }
    octets as u32
}

/// Copies a frame out of its buffer, to `to`, where [`ROOM`] octets of a map are. Octets, or 0.
#[inline(always)]
fn copy_out(skb: *mut __sk_buff, to: usize) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let octets = bounded(unsafe { (*skb).len });
    // SAFETY: the helper is given no more than there is room for.
    if octets == 0 || unsafe { bpf_skb_load_bytes(skb.cast(), 0, to as *mut _, octets) } != 0 {
        return 0;
    }
    octets
}

/// Puts the frame at `from`, where [`ROOM`] octets of a map are, in the place of the one in the buffer.
#[inline(always)]
fn copy_in(skb: *mut __sk_buff, from: usize, octets: u32) -> bool {
    let octets = bounded(octets);
    // SAFETY: the helpers check bounds, and are given no more than there is room for.
    octets != 0
        && unsafe { bpf_skb_change_tail(skb, octets, 0) == 0 }
        && unsafe { bpf_skb_store_bytes(skb, 0, from as *const _, octets, RECOMPUTE_CSUM) == 0 }
}

/// Notes in a socket buffer that it is a kept frame which arrives once more.
#[inline(always)]
fn mark(skb: *mut __sk_buff, value: u32) {
    // SAFETY: the context is valid while the program runs, and programs at tc may write this field.
    unsafe { core::ptr::write_volatile(&raw mut (*skb).tc_index, value) };
}

/// Whether a frame was kept and arrives once more. Asked once: the note goes.
#[inline(always)]
pub fn take_mark(context: &TcContext) -> bool {
    let skb = context.skb.skb;
    // SAFETY: as in `mark`.
    let value = unsafe { core::ptr::read_volatile(&raw const (*skb).tc_index) };
    if value != 0 {
        // Whoever sent it may have written anything there.
        mark(skb, 0);
    }
    value == ARRIVED
}

/// Notes that a frame is decided, for the program that sees it leave.
#[inline(always)]
pub fn mark_sent(context: &TcContext) {
    mark(context.skb.skb, SENT);
}

/// Whether a frame that leaves says it is decided. Asked once: the note goes.
#[inline(always)]
pub fn take_sent(context: &TcContext) -> bool {
    let skb = context.skb.skb;
    // SAFETY: as in `mark`.
    let sent = unsafe { core::ptr::read_volatile(&raw const (*skb).tc_index) } == SENT;
    if sent {
        mark(skb, 0);
    }
    sent
}

impl TcFrame {
    /// The frame of a running program.
    #[inline(always)]
    pub fn new(context: TcContext) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn data(&self) -> usize {
        // SAFETY: the context is valid while the program runs.
        unsafe { pointer(&raw const (*self.context.skb.skb).data) }
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        // SAFETY: as above.
        unsafe { pointer(&raw const (*self.context.skb.skb).data_end) }
    }
}

impl Frame for TcFrame {
    #[inline(always)]
    fn octets(&self) -> u32 {
        self.context.len()
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: the context is valid while the program runs.
        unsafe { (*self.context.skb.skb).gso_size }
    }

    #[inline(always)]
    fn header<H: Header>(&self, at: Offset) -> Option<&H> {
        // SAFETY: the context's own pointers; the borrow of `self` forbids moving the ends.
        unsafe { header_at(self.data(), self.data_end(), at) }
    }

    #[inline(always)]
    fn header_mut<H: Header>(&mut self, at: Offset) -> Option<&mut H> {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { header_at_mut(self.data(), self.data_end(), at) }
    }

    /// The kernel knows whether the sum is finished, left to the device, or told by one.
    #[inline(always)]
    fn repair(&mut self, at: Offset, pseudo: u16, data: u16, optional: bool) -> bool {
        let skb = self.context.skb.skb;
        let mark = if optional { MARK_MANGLED_0 } else { 0 };
        let diff = |sum: u16| u64::from(sum.swap_bytes());
        // SAFETY: the helper checks the offset and takes a difference where no size is given.
        unsafe {
            bpf_l4_csum_replace(skb, at.get(), 0, diff(pseudo), mark | PSEUDO_HDR) == 0
                && (data == 0 || bpf_l4_csum_replace(skb, at.get(), 0, diff(data), mark) == 0)
        }
    }

    #[inline(always)]
    fn crc32c(difference: u32, octets: u32) -> u32 {
        crate::stages::sctp_crc32c(difference, octets)
    }

    #[inline(always)]
    fn grow_head(&mut self, by: u32) -> bool {
        // SAFETY: the helper checks headroom and keeps the context valid.
        unsafe { bpf_skb_change_head(self.context.skb.skb, by, 0) == 0 }
    }

    /// The kernel can take octets out only behind the link header of IP frames; labels cannot come
    /// off here, and the caller drops with a counted reason.
    #[inline(always)]
    fn shrink_head(&mut self, by: u32) -> bool {
        // SAFETY: the helper checks bounds and protocol.
        unsafe { bpf_skb_adjust_room(self.context.skb.skb, -(by as i32), ROOM_MAC, 0) == 0 }
    }

    /// The kernel learns what is outer and what inner, so that it can cut segments. It refuses to learn it of frames
    /// that say they are within a tunnel, as those that just came out of one do where drivers have checked inner
    /// sums, and over veth. Of those that are to be cut it still knows: their inner headers have not moved, and all
    /// nodes have one kind of tunnel. Room in front is all that is missing.
    #[inline(always)]
    fn wrap(&mut self, room: u32, family: u8, protocol: u8) -> bool {
        let outer = ENCAP[usize::from(family == 6)] | FIXED_GSO;
        let flags = match protocol {
            tunnel::IPIP => outer,
            tunnel::GUE => outer | ENCAP_UDP,
            _ => outer | ENCAP_UDP | ENCAP_ETH | 14 << ENCAP_L2_SHIFT,
        };
        let skb = self.context.skb.skb;
        // SAFETY: the helper checks bounds and protocol, and keeps the context valid.
        let told = unsafe { bpf_skb_adjust_room(skb, room as i32, ROOM_MAC, flags) == 0 };
        let done = told || self.grow_head(room);
        if done {
            linearize(&self.context);
        }
        done
    }

    /// Before Linux 6.3 the families must be the same.
    #[inline(always)]
    fn unwrap(&mut self, octets: u32, family: u8) -> bool {
        let skb = self.context.skb.skb;
        // SAFETY: the context is valid while the program runs.
        let outer = unsafe { (*skb).protocol };
        let inner = if family == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
        let same = outer == u32::from(inner.0.to_be());
        let flags = FIXED_GSO | if same { 0 } else { DECAP[usize::from(family == 6)] };
        // SAFETY: the helper checks bounds and protocol, and keeps the context valid.
        let done = unsafe { bpf_skb_adjust_room(skb, -(octets as i32), ROOM_MAC, flags) == 0 };
        if done {
            linearize(&self.context);
        }
        done
    }

    #[inline(always)]
    fn copy_out<W: Words>(&self, row: &W) -> u32 {
        match self.segment() {
            0 => copy_out(self.context.skb.skb, row.address() + HEADER * 8),
            _ => 0,
        }
    }

    #[inline(always)]
    fn put_aside(&mut self) -> bool {
        let Some(aside) = maps::aside() else { return false };
        let to = (&raw mut aside.frame) as usize;
        aside.octets = copy_out(self.context.skb.skb, to).into();
        aside.octets != 0
    }

    #[inline(always)]
    fn arrive<W: Words>(&mut self, row: &W, octets: u32, device: u32) -> bool {
        let skb = self.context.skb.skb;
        if !copy_in(skb, row.address() + HEADER * 8, octets) {
            return false;
        }
        mark(skb, ARRIVED);
        // SAFETY: the helper looks for the device, and leaves what it clones in order.
        unsafe { bpf_clone_redirect(skb, device, INGRESS) == 0 }
    }

    #[inline(always)]
    fn take_back(&mut self) -> bool {
        let skb = self.context.skb.skb;
        mark(skb, 0);
        let Some(aside) = maps::aside() else { return false };
        let from = (&raw const aside.frame) as usize;
        let done = copy_in(skb, from, aside.octets as u32);
        linearize(&self.context);
        done
    }

    #[inline(always)]
    fn set_octets(&mut self, octets: u32) -> bool {
        // SAFETY: the helper checks bounds.
        let done = octets == self.octets()
            || unsafe { bpf_skb_change_tail(self.context.skb.skb, octets, 0) == 0 };
        // What was just written or kept must be directly readable for the checksum.
        // SAFETY: as in `new`.
        done && unsafe { bpf_skb_pull_data(self.context.skb.skb, octets) == 0 }
    }
}
