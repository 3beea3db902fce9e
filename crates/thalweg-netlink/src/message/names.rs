//! Numbers of the kernel as `ip` prints them.

use std::borrow::Cow;

/// `RTPROT_*`: who installed a route (`/etc/iproute2/rt_protos` as shipped, and `rt_protos.d/frr.conf`
/// as FRR ships it).
pub fn protocol(number: u8) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        18 => "keepalived",
        42 => "babel",
        99 => "openr",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        190 => "ripng",
        191 => "nhrp",
        192 => "eigrp",
        193 => "ldp",
        194 => "sharp",
        195 => "pbr",
        // Of staticd; a route that people add has 4.
        196 => "static",
        197 => "openfabric",
        other => return Cow::Owned(other.to_string()),
    })
}

/// `RT_SCOPE_*`: how far an address reaches.
pub fn scope(number: u8) -> String {
    match number {
        0 => "global".into(),
        200 => "site".into(),
        253 => "link".into(),
        254 => "host".into(),
        255 => "nowhere".into(),
        other => other.to_string(),
    }
}

/// `ARPHRD_*`: what a link's frames are.
pub fn medium(number: u16) -> String {
    match number {
        1 => "ether".into(),
        24 => "ieee1394".into(),
        32 => "infiniband".into(),
        280 => "can".into(),
        512 => "ppp".into(),
        519 => "rawip".into(),
        768 => "ipip".into(),
        769 => "tunnel6".into(),
        772 => "loopback".into(),
        776 => "sit".into(),
        778 => "gre".into(),
        801 => "ieee802.11".into(),
        803 => "ieee802.11/radiotap".into(),
        823 => "gre6".into(),
        824 => "netlink".into(),
        0xfffe => "none".into(),
        0xffff => "void".into(),
        other => other.to_string(),
    }
}

/// `NUD_*`: the state of a neighbor.
pub fn neighbor_state(bits: u16) -> String {
    match bits {
        0x00 => "none".into(),
        0x01 => "incomplete".into(),
        0x02 => "reachable".into(),
        0x04 => "stale".into(),
        0x08 => "delay".into(),
        0x10 => "probe".into(),
        0x20 => "failed".into(),
        0x40 => "noarp".into(),
        0x80 => "permanent".into(),
        other => format!("{other:#x}"),
    }
}

/// `LWTUNNEL_ENCAP_*`: what a route puts in front of a packet.
pub fn encap(number: u16) -> String {
    match number {
        1 => "mpls".into(),
        2 => "ip".into(),
        3 => "ila".into(),
        4 => "ip6".into(),
        5 => "seg6".into(),
        6 => "bpf".into(),
        7 => "seg6local".into(),
        8 => "rpl".into(),
        9 => "ioam6".into(),
        10 => "xfrm".into(),
        other => other.to_string(),
    }
}
