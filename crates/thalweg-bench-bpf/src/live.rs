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

/// Sends frames with one label out of the link of the template.
#[xdp]
pub fn generate_mpls(context: XdpContext) -> u32 {
    generate(context, Shape::Mpls)
}

/// Sends first packets of TCP connections out of the link of the template.
#[xdp]
pub fn generate_syn(context: XdpContext) -> u32 {
    generate(context, Shape::Syn)
}

/// Counts first packets of TCP connections and drops them; everything else goes on.
#[xdp]
pub fn syn_sink(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + 54 > end {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: the comparison above.
    let (kind, protocol, flags) = unsafe {
        (*((start + 12) as *const u16), *((start + 23) as *const u8), *((start + 47) as *const u8))
    };
    if kind != 0x0800u16.to_be() || protocol != 6 || flags & 0x12 != 2 {
        return xdp_action::XDP_PASS;
    }
    maps::count(Verdict::deliver(Reason::Local), (end - start) as u32);
    xdp_action::XDP_DROP
}

/// Counts by the last octet of the neighbor that a frame was sent to: 0xa0 as route, 0xb0 as label, any
/// other as broken. What a kernel says by itself is not counted.
#[xdp]
pub fn sorting_sink(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + 14 > end {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the comparison above.
    let (kind, octet) = unsafe { (*(start as *const u16), *((start + 5) as *const u8)) };
    if kind != u16::from_ne_bytes([2, 1]) {
        return xdp_action::XDP_DROP;
    }
    let reason = match octet {
        0xa0 => Reason::Route,
        0xb0 => Reason::Label,
        _ => Reason::Broken,
    };
    maps::count(Verdict::deliver(reason), (end - start) as u32);
    xdp_action::XDP_DROP
}

/// Counts what arrives and drops it.
#[xdp]
pub fn sink(context: XdpContext) -> u32 {
    let octets = (context.data_end() - context.data()) as u32;
    maps::count(Verdict::deliver(Reason::Local), octets);
    xdp_action::XDP_DROP
}
