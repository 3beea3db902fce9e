//! Metadata in front of a frame: what XDP tells tc about it.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_meta;
use aya_ebpf::programs::{TcContext, XdpContext};
use thalweg_abi::Handover;
use thalweg_abi::handover::MARK;

/// Octets of metadata.
const OCTETS: usize = size_of::<Handover>();

/// An epoch that was handed over, packed so that there may be none in one register.
#[derive(Clone, Copy)]
pub struct Epoch(core::num::NonZeroU64);

impl Epoch {
    /// The epoch.
    #[inline(always)]
    pub fn get(self) -> u32 {
        self.0.get() as u32
    }
}

/// Leaves the epoch for tc. Where the driver has no room for metadata, tc sees none and leaves the
/// frame to the kernel.
#[inline(always)]
pub fn give(context: &XdpContext, epoch: u32) {
    // SAFETY: the helper checks room and keeps the context valid.
    if unsafe { bpf_xdp_adjust_meta(context.ctx, -(OCTETS as i32)) } != 0 {
        return;
    }
    // SAFETY: the context is valid while the program runs; volatile as in `frame::pointer`.
    let (meta, data) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*context.ctx).data_meta) as usize,
            core::ptr::read_volatile(&raw const (*context.ctx).data) as usize,
        )
    };
    if meta + OCTETS > data {
        return;
    }
    // SAFETY: the comparison above keeps it in front of the frame; any address will do.
    unsafe { core::ptr::write_unaligned(meta as *mut Handover, Handover { mark: MARK, epoch }) };
}

/// The epoch that XDP has left, if it has.
#[inline(always)]
pub fn take(context: &TcContext) -> Option<Epoch> {
    let skb = context.skb.skb;
    // SAFETY: as in `give`.
    let (meta, data) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*skb).data_meta) as usize,
            core::ptr::read_volatile(&raw const (*skb).data) as usize,
        )
    };
    if meta + OCTETS > data {
        return None;
    }
    // SAFETY: the comparison above.
    let given = unsafe { core::ptr::read_unaligned(meta as *const Handover) };
    if given.mark != MARK {
        return None;
    }
    core::num::NonZeroU64::new(1 << 32 | u64::from(given.epoch)).map(Epoch)
}
