//! Traffic through real links: a generator, and a sink that counts.

use crate::frames::{Shape, fresh};
use crate::maps;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use thalweg_core::{Reason, Verdict};

#[inline(always)]
fn generate(context: XdpContext, shape: Shape) -> u32 {
    match fresh(&context, shape) {
        // SAFETY: a helper without pointer arguments.
        Some(link) => unsafe { bpf_redirect(link, 0) as u32 },
        None => xdp_action::XDP_ABORTED,
    }
}

/// Sends IPv4 frames out of the link of the template.
#[xdp]
pub fn generate4(context: XdpContext) -> u32 {
    generate(context, Shape::Ipv4)
}

/// Sends IPv6 frames out of the link of the template.
#[xdp]
pub fn generate6(context: XdpContext) -> u32 {
    generate(context, Shape::Ipv6)
}

/// Counts what arrives and drops it.
#[xdp]
pub fn sink(context: XdpContext) -> u32 {
    let octets = (context.data_end() - context.data()) as u32;
    maps::count(Verdict::deliver(Reason::Local), octets);
    xdp_action::XDP_DROP
}
