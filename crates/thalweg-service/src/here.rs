//! What of this node decides who serves whom.

use std::net::IpAddr;
use thalweg_model::Cluster;
use thalweg_model::cluster::ServiceSettings;

/// This node, as services see it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Here {
    /// Its name.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<NodeAddress>,
    /// How services are carried out on it.
    pub settings: ServiceSettings,
}

/// An address of this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NodeAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether it is the primary one of its family.
    pub primary: bool,
}

impl Here {
    /// Addresses that node ports answer at: those in the configured ranges, or the primary ones; never
    /// a loopback one.
    pub fn node_port_addresses(&self) -> Vec<IpAddr> {
        let ranges = &self.settings.node_port_addresses;
        let wanted = |own: &&NodeAddress| match ranges.is_empty() {
            true => own.primary,
            false => ranges.iter().any(|range| range.contains(own.address)),
        };
        let found = self.addresses.iter().filter(wanted).map(|own| own.address);
        let mut addresses: Vec<IpAddr> = found.filter(|a| is_usable(*a)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Whether an address is of this node.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// The zone of this node, where its object tells.
    pub(crate) fn zone<'a>(&self, cluster: &'a Cluster) -> Option<&'a str> {
        cluster.nodes.get(&self.node)?.zone.as_deref()
    }
}

/// Whether an address can be the destination of a packet to one host over a wire. IPv4 in IPv6 clothes
/// (`::ffff:0:0/96`) cannot.
pub(crate) fn is_usable(address: IpAddr) -> bool {
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(mapped
        || broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast())
}
