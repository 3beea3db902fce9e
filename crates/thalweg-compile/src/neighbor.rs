//! Neighbors: which of the kernel's entries can be used, and for which destinations.

use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::host::{HostState, Neighbor};
use thalweg_wire::Mac;

/// The link address of a neighbor whose state allows to use it.
pub fn resolved(neighbor: &Neighbor) -> Option<Mac> {
    let state = neighbor.state.to_ascii_lowercase();
    let usable = !matches!(state.as_str(), "failed" | "incomplete" | "none");
    neighbor.mac.filter(|mac| usable && *mac != Mac::ZERO && !mac.is_group())
}

/// Whether an address lies on a connected prefix of a link and is not the link's own.
pub fn is_on_link(host: &HostState, link: u32, address: IpAddr) -> bool {
    let (first, last) = (IpAddr::from([0; 4]), IpAddr::from([0xff; 16]));
    let mut of_link = host.addresses.range((link, first)..=(link, last)).map(|(_, a)| a);
    of_link.any(|own| {
        let base = own.peer.unwrap_or(own.address);
        own.address != address && Prefix::containing(base, own.len).contains(address)
    })
}
