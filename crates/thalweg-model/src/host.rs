//! What the kernel says exists: links, addresses, neighbors, routes, labels, next hop objects.

use crate::Prefix;
use crate::fpm::{Fpm, FpmUpdate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_wire::Mac;

/// Everything the kernel reports, keyed so that an update finds what it replaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// By interface index.
    pub links: BTreeMap<u32, Link>,
    /// By interface index and address.
    pub addresses: BTreeMap<(u32, IpAddr), Address>,
    /// By interface index and address.
    pub neighbors: BTreeMap<(u32, IpAddr), Neighbor>,
    /// By table, prefix, metric and TOS: the kernel's own key of a route.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Next hop objects by id (`ip nexthop`).
    pub nexthops: BTreeMap<u32, NextHopObject>,
    /// MPLS routes by incoming label (`ip -f mpls route`).
    pub labels: BTreeMap<u32, LabelRoute>,
    /// What a routing suite tells beside the kernel.
    pub fpm: Fpm,
    /// BFD sessions by object name, and whether the way to their neighbor works. One that never
    /// told is not up.
    pub sessions: BTreeMap<String, bool>,
    /// Ports that the kernel gives its own sockets.
    pub ports: HostPorts,
}

/// Ports that the kernel chooses among for sockets that ask for none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPorts {
    /// `net.ipv4.ip_local_port_range`.
    pub local: (u16, u16),
    /// `net.ipv4.ip_local_reserved_ports`: ranges of these that it leaves out.
    pub reserved: Vec<(u16, u16)>,
}

impl Default for HostPorts {
    fn default() -> Self {
        Self { local: (32_768, 60_999), reserved: Vec::new() }
    }
}

impl HostPorts {
    /// Ranges that the kernel gives away by itself, in order.
    pub fn given(&self) -> Vec<(u16, u16)> {
        let mut reserved = self.reserved.clone();
        reserved.sort_unstable();
        let (mut given, mut next) = (Vec::new(), u32::from(self.local.0));
        let last = u32::from(self.local.1);
        for (from, to) in reserved {
            let end = u32::from(from).min(last + 1);
            if end > next {
                given.push((next as u16, (end - 1) as u16));
            }
            next = next.max(u32::from(to) + 1);
        }
        if next <= last {
            given.push((next as u16, last as u16));
        }
        given
    }

    /// Whether the kernel gives a port away by itself.
    pub fn gives(&self, port: u16) -> bool {
        (self.local.0..=self.local.1).contains(&port)
            && !self.reserved.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

impl HostState {
    /// Applies one update; returns whether anything changed.
    pub fn apply(&mut self, update: Update) -> bool {
        match update {
            Update::Link(link) => set(&mut self.links, link.index, link),
            Update::LinkGone(index) => {
                self.addresses.retain(|key, _| key.0 != index);
                self.neighbors.retain(|key, _| key.0 != index);
                self.links.remove(&index).is_some()
            }
            Update::Address(a) => set(&mut self.addresses, (a.link, a.address), a),
            Update::AddressGone(link, address) => self.addresses.remove(&(link, address)).is_some(),
            Update::Neighbor(n) => set(&mut self.neighbors, (n.link, n.address), n),
            Update::NeighborGone(link, address) => {
                self.neighbors.remove(&(link, address)).is_some()
            }
            Update::Route(key, route) => set(&mut self.routes, key, route),
            Update::RouteGone(key) => self.routes.remove(&key).is_some(),
            Update::NextHop(id, object) => set(&mut self.nexthops, id, object),
            Update::NextHopGone(id) => self.nexthops.remove(&id).is_some(),
            Update::Label(label, route) => set(&mut self.labels, label, route),
            Update::LabelGone(label) => self.labels.remove(&label).is_some(),
            Update::Fpm(update) => self.fpm.apply(update),
            Update::Session(name, up) => set(&mut self.sessions, name, up),
            Update::Ports(ports) => {
                let differs = self.ports != ports;
                self.ports = ports;
                differs
            }
        }
    }

    /// The link with this name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }
}

/// Sets a value; returns whether it is another than before.
pub(crate) fn set<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match map.get_mut(&key) {
        Some(old) if *old == value => false,
        Some(old) => {
            *old = value;
            true
        }
        None => map.insert(key, value).is_none(),
    }
}

/// One change of host state.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A link appeared or changed.
    Link(Link),
    /// A link is gone, by index.
    LinkGone(u32),
    /// An address appeared or changed.
    Address(Address),
    /// An address is gone.
    AddressGone(u32, IpAddr),
    /// A neighbor appeared or changed.
    Neighbor(Neighbor),
    /// A neighbor is gone.
    NeighborGone(u32, IpAddr),
    /// A route appeared or was replaced.
    Route(RouteKey, Route),
    /// A route is gone.
    RouteGone(RouteKey),
    /// A next hop object appeared or changed.
    NextHop(u32, NextHopObject),
    /// A next hop object is gone.
    NextHopGone(u32),
    /// An MPLS route appeared or was replaced, by incoming label.
    Label(u32, LabelRoute),
    /// An MPLS route is gone.
    LabelGone(u32),
    /// A routing suite told something.
    Fpm(FpmUpdate),
    /// The way to the neighbor of a BFD session works or does not, by object name.
    Session(String, bool),
    /// The kernel gives its own sockets these ports.
    Ports(HostPorts),
}

/// A network device.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Link address; zero if it has none of 6 octets.
    #[serde(with = "crate::host::text")]
    pub mac: Mac,
    /// Largest L3 packet in octets.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// What it is (`IFLA_INFO_KIND`): `veth`, `vlan`, `vrf`, …; empty for a plain device.
    #[serde(default)]
    pub kind: String,
    /// `loopback`, `ether`, `none`, … as `ip link` prints it.
    #[serde(default)]
    pub medium: String,
    /// Index of the link below (VLAN parent, veth peer when local), if any.
    #[serde(default)]
    pub lower: Option<u32>,
    /// Index of the master (bridge, bond, VRF device), if any.
    #[serde(default)]
    pub master: Option<u32>,
    /// VLAN id and TPID of a VLAN sub-interface.
    #[serde(default)]
    pub vlan: Option<(u16, u16)>,
    /// Routing table of a VRF device.
    #[serde(default)]
    pub vrf_table: Option<u32>,
}

/// An address of a link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Interface index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its connected prefix.
    pub len: u8,
    /// The other end of a point-to-point link, if the kernel names one.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// `global`, `link`, `host`, … as `ip address` prints it.
    #[serde(default)]
    pub scope: String,
}

/// A neighbor as the kernel learned it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbor {
    /// Interface index.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link address; none while unresolved or failed.
    #[serde(default, with = "crate::host::optional_text")]
    pub mac: Option<Mac>,
    /// NUD state as `ip neigh` prints it.
    #[serde(default)]
    pub state: String,
}

/// The kernel's key of a route.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RouteKey {
    /// Table: 254 main, 255 local, others as configured.
    pub table: u32,
    /// Destinations.
    pub prefix: Prefix,
    /// Priority (metric): lower wins.
    pub metric: u32,
    /// TOS; routes with one other than 0 are shown but not used.
    pub tos: u8,
    /// Tells IPv6 routes with equal prefix and metric apart that are no multipath siblings; 0
    /// otherwise.
    pub instance: u32,
}

/// A kernel route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What it does.
    pub kind: RouteKind,
    /// Who installed it: `kernel`, `static`, `bgp`, … or the number, as `ip route` prints it.
    pub protocol: String,
    /// Members of the route; empty with `object` or without destination.
    pub nexthops: Vec<NextHop>,
    /// Id of a next hop object.
    pub object: Option<u32>,
    /// Path MTU of the route, if the kernel holds one.
    pub mtu: Option<u32>,
}

/// A route for packets whose top label is known: what an MPLS route does.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRoute {
    /// Who installed it: `static`, `ldp`, `isis`, … or the number.
    pub protocol: String,
    /// Where packets go once the label is off; labels of a next hop take its place (swap, or swap
    /// and push). A next hop without gateway on a loopback or VRF device means: look up what the
    /// label stood in front of.
    pub nexthops: Vec<NextHop>,
    /// Whether TTL and class are copied out on pop (uniform) or stay as they are inside (pipe);
    /// none leaves it to the link.
    pub propagate: Option<bool>,
}

/// What a kernel route does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Forward to next hops.
    Unicast,
    /// Address of this host.
    Local,
    /// Broadcast address of a link.
    Broadcast,
    /// Anycast address: delivered like a local one.
    Anycast,
    /// Multicast route.
    Multicast,
    /// Discard silently.
    Blackhole,
    /// Discard, answer unreachable.
    Unreachable,
    /// Discard, answer prohibited.
    Prohibit,
    /// Go on as if this table had no route.
    Throw,
}

/// A member of a kernel route or next hop object.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// Gateway, of either family (RFC 8950); none for connected destinations.
    #[serde(default)]
    pub via: Option<IpAddr>,
    /// Interface index; 0 if the kernel names none.
    pub link: u32,
    /// Share, 1 to 256 (kernel's hops + 1) or what a group says.
    pub weight: u16,
    /// Labels that the route's encapsulation pushes, outermost first.
    #[serde(default)]
    pub labels: Vec<u32>,
    /// TTL of pushed labels if the encapsulation sets one.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// Encapsulation that only the kernel can add (`seg6`, `ip`, `bpf`, …), as `ip route` names
    /// it: what goes this way must be left to the kernel.
    #[serde(default)]
    pub encap: Option<String>,
    /// Gateway is on-link by decree.
    #[serde(default)]
    pub onlink: bool,
    /// The kernel marked it dead or without carrier.
    #[serde(default)]
    pub dead: bool,
}

/// A next hop object (`ip nexthop`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NextHopObject {
    /// One next hop.
    Single(NextHop),
    /// Members by id with their weights.
    Group(Vec<(u32, u16)>),
    /// Discards.
    Blackhole,
}

/// Serializes a value by its text form.
pub mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes `value` as it prints.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads a value from its text.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Serializes an optional value by its text form.
pub mod optional_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the value as it prints, or nothing.
    pub fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    /// Reads an optional value from its text.
    pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        match Option::<String>::deserialize(from)? {
            Some(text) => text.parse().map(Some).map_err(D::Error::custom),
            None => Ok(None),
        }
    }
}
