//! What forwarding is measured against: programs as people write them by hand.
//!
//! [`forward4`] and [`forward6`] do what the kernel's sample `xdp_fwd` does: the kernel's FIB decides.
//! The label programs use the kernel's maps: a hash for labels, a trie for prefixes.

use crate::lookups::TRIE4;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use thalweg_wire::{EtherType, Ethernet, Ipv4, Ipv6, Lse, Mac, checksum};

/// Where a labelled packet goes: label, link, and both link addresses (network order).
#[repr(C)]
pub struct Hop {
    label: u32,
    link: u32,
    addresses: [u8; 16],
}

#[btf_map(name = "labels")]
static LABELS: HashMap<u32, Hop, 1> = HashMap::new();
#[btf_map(name = "hops")]
static HOPS: Array<Hop, 1024> = Array::new();

/// The header at `at`, if the frame holds it.
///
/// # Safety
///
/// The reference must not outlive a move of the frame's ends.
#[inline(always)]
unsafe fn header<'a, H>(context: &XdpContext, at: usize) -> Option<&'a mut H> {
    let start = context.data() + at;
    if start + size_of::<H>() > context.data_end() {
        return None;
    }
    // SAFETY: the comparison; headers are unaligned plain bytes.
    Some(unsafe { &mut *(start as *mut H) })
}

#[inline(always)]
fn link(ethernet: &mut Ethernet, addresses: &[u8; 16]) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *addresses;
    ethernet.destination = Mac([a, b, c, d, e, f]);
    ethernet.source = Mac([g, h, i, j, k, l]);
}

/// Asks the kernel, neighbor included. The words are those of `struct bpf_fib_lookup`.
#[inline(always)]
fn ask(context: &XdpContext, words: &mut [u64; 8]) -> bool {
    // SAFETY: 64 octets are the size of the structure.
    unsafe { bpf_fib_lookup(context.ctx.cast(), words.as_mut_ptr().cast(), 64, 0) == 0 }
}

/// Link addresses and link of an answer, into the frame.
#[inline(always)]
fn send(ethernet: &mut Ethernet, words: &[u64; 8]) -> u32 {
    let [low, high] = [words[6].to_le_bytes(), words[7].to_le_bytes()];
    ethernet.source = Mac([low[4], low[5], low[6], low[7], high[0], high[1]]);
    ethernet.destination = Mac([high[2], high[3], high[4], high[5], high[6], high[7]]);
    // SAFETY: a helper without pointer arguments.
    unsafe { bpf_redirect(words[1] as u32, 0) as u32 }
}

#[inline(always)]
fn route4(context: &XdpContext) -> Option<u32> {
    // SAFETY: nothing moves the frame's ends here.
    let (ethernet, ip) = unsafe { (header::<Ethernet>(context, 0)?, header::<Ipv4>(context, 14)?) };
    if ethernet.ethertype.get() != EtherType::IPV4.0 || ip.ttl <= 1 {
        return None;
    }
    let len = u64::from(ip.total_len.get());
    let source = u64::from(ip.source.get().to_be());
    let destination = u64::from(ip.destination.get().to_be());
    let family = 2 | u64::from(ip.protocol) << 8 | len << 48;
    let arrival = context.ingress_ifindex() as u64 | u64::from(ip.tos) << 32;
    let mut words = [family, arrival, source, 0, destination, 0, 0, 0];
    if !ask(context, &mut words) {
        return None;
    }
    let [old, new] = [ip.ttl, ip.ttl - 1].map(|ttl| u16::from_be_bytes([ttl, ip.protocol]));
    ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
    ip.ttl -= 1;
    Some(send(ethernet, &words))
}

#[inline(always)]
fn route6(context: &XdpContext) -> Option<u32> {
    // SAFETY: nothing moves the frame's ends here.
    let (ethernet, ip) = unsafe { (header::<Ethernet>(context, 0)?, header::<Ipv6>(context, 14)?) };
    if ethernet.ethertype.get() != EtherType::IPV6.0 || ip.hop_limit <= 1 {
        return None;
    }
    let len = u64::from(ip.payload_len.get());
    let family = 10 | u64::from(ip.next_header) << 8 | len << 48;
    let arrival = context.ingress_ifindex() as u64;
    let [source, destination] =
        [ip.source, ip.destination].map(|halves| halves.map(|half| half.get().to_be()));
    let mut words = [family, arrival, source[0], source[1], destination[0], destination[1], 0, 0];
    if !ask(context, &mut words) {
        return None;
    }
    ip.hop_limit -= 1;
    Some(send(ethernet, &words))
}

#[inline(always)]
fn swap(context: &XdpContext) -> Option<u32> {
    // SAFETY: nothing moves the frame's ends here.
    let (ethernet, entry) =
        unsafe { (header::<Ethernet>(context, 0)?, header::<Lse>(context, 14)?) };
    if ethernet.ethertype.get() != EtherType::MPLS.0 || entry.ttl() <= 1 {
        return None;
    }
    // SAFETY: rows are only written before the measurement.
    let hop = unsafe { LABELS.get(&entry.label())? };
    *entry = Lse::new(hop.label, entry.class(), entry.is_bottom(), entry.ttl() - 1);
    link(ethernet, &hop.addresses);
    // SAFETY: a helper without pointer arguments.
    Some(unsafe { bpf_redirect(hop.link, 0) as u32 })
}

#[inline(always)]
fn pop(context: &XdpContext) -> Option<u32> {
    // SAFETY: the frame's end moves after the last use of these.
    let (ethernet, entry) =
        unsafe { (header::<Ethernet>(context, 0)?, header::<Lse>(context, 14)?) };
    if ethernet.ethertype.get() != EtherType::MPLS.0 || entry.ttl() <= 1 {
        return None;
    }
    let ttl = entry.ttl() - 1;
    // SAFETY: as in `swap`.
    let hop = unsafe { LABELS.get(&entry.label())? };
    // SAFETY: as above.
    let ip = unsafe { header::<Ipv4>(context, 18)? };
    let [old, new] = [ip.ttl, ttl].map(|ttl| u16::from_be_bytes([ttl, ip.protocol]));
    ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
    ip.ttl = ttl;
    // SAFETY: the helper checks room.
    if unsafe { bpf_xdp_adjust_head(context.ctx, 4) } != 0 {
        return None;
    }
    // SAFETY: nothing moves the frame's ends from here on.
    let ethernet = unsafe { header::<Ethernet>(context, 0)? };
    link(ethernet, &hop.addresses);
    ethernet.ethertype = EtherType::IPV4.0.into();
    // SAFETY: a helper without pointer arguments.
    Some(unsafe { bpf_redirect(hop.link, 0) as u32 })
}

#[inline(always)]
fn push(context: &XdpContext) -> Option<u32> {
    // SAFETY: the frame's end moves after the last use of these.
    let (ethernet, ip) = unsafe { (header::<Ethernet>(context, 0)?, header::<Ipv4>(context, 14)?) };
    if ethernet.ethertype.get() != EtherType::IPV4.0 || ip.ttl <= 1 {
        return None;
    }
    let group = *TRIE4.get(&Key::new(32, ip.destination.get().to_be_bytes()))?;
    let hop = HOPS.get(group)?;
    let [old, new] = [ip.ttl, ip.ttl - 1].map(|ttl| u16::from_be_bytes([ttl, ip.protocol]));
    ip.checksum = checksum::update(ip.checksum.get(), old, new).into();
    ip.ttl -= 1;
    let (ttl, class) = (ip.ttl, ip.tos >> 5);
    // SAFETY: the helper checks room.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -4) } != 0 {
        return None;
    }
    // SAFETY: nothing moves the frame's ends from here on.
    let (ethernet, entry) =
        unsafe { (header::<Ethernet>(context, 0)?, header::<Lse>(context, 14)?) };
    *entry = Lse::new(hop.label, class, true, ttl);
    link(ethernet, &hop.addresses);
    ethernet.ethertype = EtherType::MPLS.0.into();
    // SAFETY: a helper without pointer arguments.
    Some(unsafe { bpf_redirect(hop.link, 0) as u32 })
}

macro_rules! programs {
    ($($(#[doc = $doc:literal])+ $name:ident = $work:ident;)+) => {$(
        $(#[doc = $doc])+
        #[xdp]
        pub fn $name(context: XdpContext) -> u32 {
            $work(&context).unwrap_or(xdp_action::XDP_PASS)
        }
    )+};
}

programs! {
    /// IPv4 by the kernel's FIB.
    peer_forward4 = route4;
    /// IPv6 by the kernel's FIB.
    peer_forward6 = route6;
    /// One label for another, by a hash map.
    peer_swap = swap;
    /// A label off, by a hash map.
    peer_pop = pop;
    /// A label on, by a trie.
    peer_push = push;
}
