//! Tunnels to the other nodes of a cluster: who is reached how, from what their objects say.

use crate::catalog::Edit;
use crate::cluster::{Family, Node};
use crate::intent::{Link, NextHop, Route, RouteAction, XdpWish};
use crate::{Intent, Key, Prefix};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The pair of interfaces through which this host's own stack reaches tunnels: the end that the kernel's
/// routes name, and the end where its packets arrive.
pub const PASSAGE: [&str; 2] = ["thalweg0", "thalweg1"];

/// What is put around packets between nodes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TunnelProtocol {
    /// RFC 7348.
    #[default]
    Vxlan,
    /// RFC 8926, without options.
    Geneve,
    /// IP within IP (RFC 2003, RFC 4213, RFC 2473).
    Ipip,
    /// Generic UDP encapsulation, variant 0.
    Gue,
}

impl TunnelProtocol {
    /// All, with the words of the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("Vxlan", Self::Vxlan),
        ("Geneve", Self::Geneve),
        ("Ipip", Self::Ipip),
        ("Gue", Self::Gue),
    ];

    /// The UDP port that is usual; 0 without UDP.
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Vxlan => 4789,
            Self::Geneve => 6081,
            Self::Ipip => 0,
            Self::Gue => 6080,
        }
    }

    /// Whether packets tell a network identifier.
    pub const fn has_vni(self) -> bool {
        matches!(self, Self::Vxlan | Self::Geneve)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// How this node reaches the others (`Router`, `spec.tunnel`): the same on all of them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TunnelSettings {
    /// What is put around packets.
    pub protocol: TunnelProtocol,
    /// UDP port that all nodes listen at; 0 without UDP.
    pub port: u16,
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// Largest packet within; none takes what the link to the node leaves room for.
    pub mtu: Option<u32>,
    /// Family of the outer addresses, where nodes have both.
    pub underlay: Family,
}

impl Default for TunnelSettings {
    fn default() -> Self {
        Self {
            protocol: TunnelProtocol::Vxlan,
            port: TunnelProtocol::Vxlan.usual_port(),
            vni: 1,
            mtu: None,
            underlay: Family::V4,
        }
    }
}

/// A tunnel to one node.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tunnel {
    /// How.
    pub settings: TunnelSettings,
    /// Own address.
    pub local: IpAddr,
    /// The node's address.
    pub remote: IpAddr,
}

/// The addresses of two nodes that a tunnel between them has: of the family asked for, else of one that
/// both have.
fn ends(own: &Node, other: &Node, wanted: Family) -> Option<(IpAddr, IpAddr)> {
    let families = match wanted {
        Family::V4 => [Family::V4, Family::V6],
        Family::V6 => [Family::V6, Family::V4],
    };
    let of = |node: &Node, family| {
        node.addresses.iter().copied().find(|address| Family::of(*address) == family)
    };
    families.into_iter().find_map(|family| Some((of(own, family)?, of(other, family)?)))
}

impl Intent {
    /// This host among the cluster's nodes.
    pub fn own_node(&self) -> Option<(&str, &Node)> {
        let name = self.router.node.as_deref()?;
        Some((name, self.cluster.nodes.get(name)?))
    }

    /// The tunnels to the other nodes, by name: none without settings, or where this host is no node.
    pub fn tunnels(&self) -> impl Iterator<Item = (&str, Tunnel)> {
        let own = self.router.tunnel.zip(self.own_node());
        own.into_iter().flat_map(move |(settings, (own_name, own))| {
            let others = self.cluster.nodes.iter().filter(move |(name, _)| *name != own_name);
            others.filter_map(move |(name, node)| {
                let (local, remote) = ends(own, node, settings.underlay)?;
                Some((name.as_str(), Tunnel { settings, local, remote }))
            })
        })
    }

    /// Nodes that no tunnel leads to, though tunnels are asked for, and why.
    pub fn unreachable_nodes(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let own = self.router.tunnel.zip(self.own_node());
        own.into_iter().flat_map(move |(settings, (own_name, own))| {
            let others = self.cluster.nodes.iter().filter(move |(name, _)| *name != own_name);
            let lost = move |node: &Node| ends(own, node, settings.underlay).is_none();
            others.filter(move |(_, node)| lost(node)).map(|(name, _)| {
                (
                    name.as_str(),
                    "it has no address of a family that this node has: no tunnel leads there",
                )
            })
        })
    }

    /// With a route to the pods of each other node, through the tunnel to it: to its pod CIDRs, and to each
    /// pod whose address is in none of them.
    pub(crate) fn with_tunnels(mut self) -> Self {
        let found: Vec<(String, Tunnel)> =
            self.tunnels().map(|(name, tunnel)| (name.into(), tunnel)).collect();
        let mut wanted = Vec::new();
        for (name, tunnel) in &found {
            let ranges = self.cluster.nodes.get(name).map(|node| &node.pod_cidrs);
            let ranges = ranges.into_iter().flatten();
            wanted.extend(ranges.map(|prefix| (("Node", name.clone()), *prefix, *tunnel)));
        }
        wanted.extend(self.strays(&found));
        let (mut origins, mut routes) = (Vec::new(), Vec::new());
        for ((kind, name), prefix, tunnel) in wanted {
            let route = Route {
                vrf: "default".into(),
                prefix,
                metric: 0,
                action: RouteAction::Forward(vec![tunnel.next_hop()]),
            };
            let route_name = match kind {
                // As those of the pods of this host.
                "Pod" => format!("pod/{name}[{}]", prefix.address()),
                _ => format!("node/{name}[{prefix}]"),
            };
            let key = Key { kind: "Route".into(), name: route_name.clone() };
            origins.push(Edit::Set(Arc::new((key, self.origin(kind, &name)))));
            routes.push(Edit::Set(Arc::new((route_name, route))));
        }
        self.origins.edit(origins);
        self.routes.edit(routes);
        self.with_passage()
    }

    /// Pods of nodes behind tunnels with an address outside of their node's pod CIDRs, as Calico gives them
    /// from blocks of its own.
    fn strays(
        &self,
        tunnels: &[(String, Tunnel)],
    ) -> Vec<((&'static str, String), Prefix, Tunnel)> {
        let tunnels: HashMap<&str, (Tunnel, &[Prefix])> = tunnels
            .iter()
            .filter_map(|(name, tunnel)| {
                Some((name.as_str(), (*tunnel, &self.cluster.nodes.get(name)?.pod_cidrs[..])))
            })
            .collect();
        let mut strays = Vec::new();
        if tunnels.is_empty() {
            return strays;
        }
        for (name, pod) in self.cluster.pods.iter().filter(|(_, pod)| !pod.host_network) {
            let Some((tunnel, ranges)) = pod.node.as_deref().and_then(|node| tunnels.get(node))
            else {
                continue;
            };
            for address in &pod.addresses {
                if !ranges.iter().any(|range| range.contains(*address)) {
                    let route = (("Pod", name.to_string()), Prefix::host(*address), *tunnel);
                    strays.push(route);
                }
            }
        }
        strays
    }

    /// With the link where what this host's own stack sends to pods of other nodes arrives.
    fn with_passage(mut self) -> Self {
        if !self.has_passage() {
            return self;
        }
        let router = self.router_object();
        let origin = router.map(|(_, origin)| origin.clone()).unwrap_or_default();
        let link = Link {
            interfaces: vec![PASSAGE[1].into()],
            xdp: XdpWish::Tc,
            hold_up: Some(Duration::ZERO),
            host: true,
            ..Link::default()
        };
        self.origins.insert(Key { kind: "Link".into(), name: "tunnel/host".into() }, origin);
        self.links.insert("tunnel/host".into(), link);
        self
    }

    /// Whether this host's own stack has to be given a way into tunnels ([`PASSAGE`]).
    pub fn has_passage(&self) -> bool {
        self.router.kernel_routes && self.tunnels().next().is_some()
    }

    /// Addresses that other nodes have themselves, with whether packets of services get there by a tunnel:
    /// only if the stack of that node has a way back into it.
    pub fn hosts(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        let passage = self.has_passage();
        let tunnels: BTreeSet<&str> =
            self.tunnels().map(|(name, _)| name).filter(|_| passage).collect();
        let own = self.router.node.as_deref();
        let others = self.cluster.nodes.iter().filter(move |(name, _)| Some(name.as_str()) != own);
        others.flat_map(move |(name, node)| {
            let tunnelled = tunnels.contains(name.as_str());
            node.addresses.iter().map(move |address| (*address, tunnelled))
        })
    }

    /// The address of this host that its own stack reaches pods from, of a prefix's family.
    pub fn passage_source(&self, prefix: Prefix) -> Option<IpAddr> {
        let (_, own) = self.own_node()?;
        own.addresses.iter().copied().find(|own| own.is_ipv4() == prefix.is_v4())
    }
}

impl Tunnel {
    /// The next hop that it is.
    pub fn next_hop(self) -> NextHop {
        NextHop { via: Some(self.remote), tunnel: Some(self), ..NextHop::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Pod;
    use crate::{ObjectName, TunnelSettings};

    /// As with Calico's IPAM: blocks of nodes have nothing to do with their pod CIDRs.
    #[test]
    fn pods_outside_of_their_nodes_ranges_are_reached_through_its_tunnel_as_well() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut intent = Intent::default();
        intent.router.node = Some("a".into());
        intent.router.tunnel = Some(TunnelSettings::default());
        for (name, address, range) in
            [("a", "192.0.2.1", "10.1.1.0/24"), ("b", "192.0.2.2", "10.1.2.0/24")]
        {
            let pod_cidrs = vec![range.parse().unwrap()];
            let node = Node { addresses: vec![ip(address)], pod_cidrs, zone: None };
            intent.cluster.nodes.insert(name.into(), node);
        }
        let pods = [
            ("within", Some("b"), "10.1.2.2", false),
            ("other-range", Some("b"), "10.1.1.77", false),
            ("no-range", Some("b"), "10.9.0.1", false),
            ("host", Some("b"), "192.0.2.2", true),
            ("own", Some("a"), "10.9.0.2", false),
            ("nowhere", None, "10.9.0.3", false),
        ];
        for (name, node, address, host_network) in pods {
            let node = node.map(str::to_owned);
            let pod = Pod { addresses: vec![ip(address)], node, host_network, ..Pod::default() };
            intent.cluster.pods.insert(ObjectName::new("shop", name), pod);
        }
        let made = intent.with_workloads();
        let routes: Vec<String> =
            made.routes.iter().map(|(name, route)| format!("{name} {}", route.prefix)).collect();
        let wished = [
            "node/b[10.1.2.0/24] 10.1.2.0/24",
            "pod/shop/no-range[10.9.0.1] 10.9.0.1/32",
            "pod/shop/other-range[10.1.1.77] 10.1.1.77/32",
        ];
        assert_eq!(routes, wished);
    }
}
