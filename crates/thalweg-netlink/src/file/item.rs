//! One item of each section as it is written.

use super::At;
use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use thalweg_model::host::{
    Address, HostState, Link, Neighbor, NextHop, NextHopObject, Route, RouteKey, RouteKind,
};
use thalweg_wire::Mac;

/// The main table, which is left out.
const MAIN: u32 = 254;

/// Names of links by index, and back.
pub struct Names {
    /// Index by name.
    pub indexes: BTreeMap<String, u32>,
    /// Name by index.
    pub names: BTreeMap<u32, String>,
}

impl Names {
    /// The names of the links of `host`; one that two links have is none.
    pub fn of(host: &HostState) -> Self {
        let mut names = Self { indexes: BTreeMap::new(), names: BTreeMap::new() };
        for link in host.links.values() {
            if !link.name.is_empty() && !names.indexes.contains_key(&link.name) {
                names.indexes.insert(link.name.clone(), link.index);
                names.names.insert(link.index, link.name.clone());
            }
        }
        names
    }

    fn reference(&self, index: u32) -> Reference {
        match self.names.get(&index) {
            Some(name) => Reference::Name(name.clone()),
            None => Reference::Index(index),
        }
    }

    /// `dev` and `link` of an item that is on a link.
    fn fields(&self, index: u32) -> (Option<String>, Option<u32>) {
        match self.reference(index) {
            Reference::Name(name) => (Some(name), None),
            Reference::Index(0) => (None, None),
            Reference::Index(index) => (None, Some(index)),
        }
    }

    fn index(&self, dev: Option<&str>, link: Option<u32>, at: &At<'_>) -> Result<u32, Error> {
        match (dev, link) {
            (Some(name), None) => self.named(name, at),
            (None, link) => Ok(link.unwrap_or(0)),
            (Some(name), Some(index)) => {
                let what = format!("both dev `{name}` and link {index} are given");
                Err(at.error(what, "keep one of the two"))
            }
        }
    }

    fn named(&self, name: &str, at: &At<'_>) -> Result<u32, Error> {
        let unknown = || at.error(format!("there is no link `{name}`"), "add it to `links`");
        self.indexes.get(name).copied().ok_or_else(unknown)
    }
}

/// Another link: its name, or its index where it has none.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Reference {
    Index(u32),
    Name(String),
}

impl Reference {
    fn resolve(self, names: &Names, at: &At<'_>) -> Result<u32, Error> {
        match self {
            Self::Index(index) => Ok(index),
            Self::Name(name) => names.named(&name, at),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a value of its own text form.
fn parse<T: FromStr<Err: Display>>(field: &str, text: &str, at: &At<'_>) -> Result<T, Error> {
    let fault = |error: T::Err| at.error(format!("{field} `{text}`: {error}"), "correct the value");
    text.parse().map_err(fault)
}

/// A link.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkItem {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(default = "usual_mtu")]
    mtu: u32,
    #[serde(default)]
    up: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    kind: String,
    #[serde(default = "ether")]
    medium: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lower: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vlan: Option<VlanItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vrf_table: Option<u32>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VlanItem {
    id: u16,
    #[serde(default = "dot1q")]
    protocol: String,
}

fn usual_mtu() -> u32 {
    1500
}

fn ether() -> String {
    "ether".into()
}

fn dot1q() -> String {
    "802.1q".into()
}

impl LinkItem {
    /// Writes a link.
    pub fn of(link: &Link, names: &Names) -> Self {
        let vlan = |(id, tpid)| VlanItem {
            id,
            protocol: match tpid {
                0x8100 => "802.1q".into(),
                0x88a8 => "802.1ad".into(),
                other => format!("{other:#06x}"),
            },
        };
        Self {
            name: link.name.clone(),
            index: Some(link.index),
            mac: (link.mac != Mac::ZERO).then(|| link.mac.to_string()),
            mtu: link.mtu,
            up: link.up,
            kind: link.kind.clone(),
            medium: link.medium.clone(),
            lower: link.lower.map(|index| names.reference(index)),
            master: link.master.map(|index| names.reference(index)),
            vlan: link.vlan.map(vlan),
            vrf_table: link.vrf_table,
        }
    }

    /// Reads a link.
    pub fn into_link(self, names: &Names, at: &At<'_>) -> Result<Link, Error> {
        let vlan = |vlan: VlanItem| {
            let number = vlan.protocol.strip_prefix("0x").map(|hex| u16::from_str_radix(hex, 16));
            match (vlan.protocol.to_ascii_lowercase().as_str(), number) {
                ("802.1q", _) => Ok((vlan.id, 0x8100)),
                ("802.1ad", _) => Ok((vlan.id, 0x88a8)),
                (_, Some(Ok(tpid))) => Ok((vlan.id, tpid)),
                (other, _) => {
                    let what = format!("vlan protocol `{other}` is unknown");
                    Err(at.error(what, "write 802.1q, 802.1ad or 0x and four hex digits"))
                }
            }
        };
        Ok(Link {
            index: self.index.unwrap_or(names.named(&self.name, at)?),
            mac: self.mac.map_or(Ok(Mac::ZERO), |text| parse("mac", &text, at))?,
            mtu: self.mtu,
            up: self.up,
            kind: self.kind,
            medium: self.medium,
            lower: self.lower.map(|link| link.resolve(names, at)).transpose()?,
            master: self.master.map(|link| link.resolve(names, at)).transpose()?,
            vlan: self.vlan.map(vlan).transpose()?,
            vrf_table: self.vrf_table,
            name: self.name,
        })
    }
}

/// An address.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddressItem {
    address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(default = "global", skip_serializing_if = "is_global")]
    scope: String,
}

fn global() -> String {
    "global".into()
}

fn is_global(scope: &str) -> bool {
    scope == "global"
}

impl AddressItem {
    /// Writes an address.
    pub fn of(address: &Address, names: &Names) -> Self {
        let (dev, link) = names.fields(address.link);
        let text = format!("{}/{}", address.address, address.len);
        Self { address: text, dev, link, peer: address.peer, scope: address.scope.clone() }
    }

    /// Reads an address.
    pub fn into_address(self, names: &Names, at: &At<'_>) -> Result<Address, Error> {
        let Some((address, len)) = self.address.split_once('/') else {
            let what = format!("address `{}` has no length", self.address);
            return Err(at.error(what, "write it with the length of its prefix: 10.0.0.1/24"));
        };
        let address: IpAddr = parse("address", address, at)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        match len.parse::<u8>() {
            Ok(len) if len <= width => Ok(Address {
                link: names.index(self.dev.as_deref(), self.link, at)?,
                address,
                len,
                peer: self.peer,
                scope: self.scope,
            }),
            _ => {
                let what = format!("address `{}` has an impossible length", self.address);
                Err(at.error(what, "write 0 to 32 for IPv4, 0 to 128 for IPv6"))
            }
        }
    }
}

/// A neighbor.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborItem {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    state: String,
}

impl NeighborItem {
    /// Writes a neighbor.
    pub fn of(neighbor: &Neighbor, names: &Names) -> Self {
        let (dev, link) = names.fields(neighbor.link);
        let mac = neighbor.mac.map(|mac| mac.to_string());
        Self { address: neighbor.address, dev, link, mac, state: neighbor.state.clone() }
    }

    /// Reads a neighbor.
    pub fn into_neighbor(self, names: &Names, at: &At<'_>) -> Result<Neighbor, Error> {
        Ok(Neighbor {
            link: names.index(self.dev.as_deref(), self.link, at)?,
            address: self.address,
            mac: self.mac.map(|text| parse("mac", &text, at)).transpose()?,
            state: self.state,
        })
    }
}

/// A member of a route or a next hop object.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HopItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    via: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encap: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    onlink: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    dead: bool,
}

impl HopItem {
    fn of(hop: &NextHop, names: &Names) -> Self {
        let (dev, link) = names.fields(hop.link);
        Self {
            via: hop.via,
            dev,
            link,
            weight: Some(hop.weight).filter(|weight| *weight != 1),
            labels: hop.labels.clone(),
            ttl: hop.ttl,
            encap: hop.encap.clone(),
            onlink: hop.onlink,
            dead: hop.dead,
        }
    }

    fn into_hop(self, names: &Names, at: &At<'_>) -> Result<NextHop, Error> {
        if let Some(label) = self.labels.iter().find(|label| **label > 0xf_ffff) {
            let what = format!("label {label} is too large");
            return Err(at.error(what, "labels have 20 bits: 0 to 1048575"));
        }
        Ok(NextHop {
            via: self.via,
            link: names.index(self.dev.as_deref(), self.link, at)?,
            weight: self.weight.unwrap_or(1),
            labels: self.labels,
            ttl: self.ttl,
            encap: self.encap,
            onlink: self.onlink,
            dead: self.dead,
        })
    }
}

/// A next hop object: one next hop, a group, or a black hole.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NextHopItem {
    id: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    blackhole: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Vec<MemberItem>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hop: Option<HopItem>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MemberItem {
    id: u32,
    #[serde(default = "one")]
    weight: u16,
}

fn one() -> u16 {
    1
}

impl NextHopItem {
    /// Writes a next hop object.
    pub fn of(id: u32, object: &NextHopObject, names: &Names) -> Self {
        let mut item = Self { id, blackhole: false, group: None, hop: None };
        match object {
            NextHopObject::Single(hop) => item.hop = Some(HopItem::of(hop, names)),
            NextHopObject::Blackhole => item.blackhole = true,
            NextHopObject::Group(members) => {
                let member = |(id, weight): &(u32, u16)| MemberItem { id: *id, weight: *weight };
                item.group = Some(members.iter().map(member).collect());
            }
        }
        item
    }

    /// Reads a next hop object and its id.
    pub fn into_object(self, names: &Names, at: &At<'_>) -> Result<(u32, NextHopObject), Error> {
        let object = match (self.hop, self.group, self.blackhole) {
            (Some(hop), None, false) => NextHopObject::Single(hop.into_hop(names, at)?),
            (None, Some(members), false) => {
                NextHopObject::Group(members.into_iter().map(|m| (m.id, m.weight)).collect())
            }
            (None, None, true) => NextHopObject::Blackhole,
            _ => {
                let what = "says not exactly one thing".into();
                return Err(at.error(what, "give one of hop, group and blackhole"));
            }
        };
        Ok((self.id, object))
    }
}

/// A route.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteItem {
    prefix: String,
    #[serde(default = "main", skip_serializing_if = "is_main")]
    table: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    metric: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    tos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    instance: u32,
    #[serde(default = "unicast", skip_serializing_if = "is_unicast")]
    kind: RouteKind,
    #[serde(default = "fixed")]
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nexthops: Vec<HopItem>,
}

fn main() -> u32 {
    MAIN
}

fn is_main(table: &u32) -> bool {
    *table == MAIN
}

fn unicast() -> RouteKind {
    RouteKind::Unicast
}

fn is_unicast(kind: &RouteKind) -> bool {
    *kind == RouteKind::Unicast
}

fn fixed() -> String {
    "static".into()
}

impl RouteItem {
    /// Writes a route.
    pub fn of(key: &RouteKey, route: &Route, names: &Names) -> Self {
        Self {
            prefix: key.prefix.to_string(),
            table: key.table,
            metric: key.metric,
            tos: key.tos,
            instance: key.instance,
            kind: route.kind,
            protocol: route.protocol.clone(),
            object: route.object,
            mtu: route.mtu,
            nexthops: route.nexthops.iter().map(|hop| HopItem::of(hop, names)).collect(),
        }
    }

    /// Reads a route and its key.
    pub fn into_route(self, names: &Names, at: &At<'_>) -> Result<(RouteKey, Route), Error> {
        let key = RouteKey {
            table: self.table,
            prefix: parse("prefix", &self.prefix, at)?,
            metric: self.metric,
            tos: self.tos,
            instance: self.instance,
        };
        let hops = self.nexthops.into_iter().map(|hop| hop.into_hop(names, at));
        let route = Route {
            kind: self.kind,
            protocol: self.protocol,
            nexthops: hops.collect::<Result<_, _>>()?,
            object: self.object,
            mtu: self.mtu,
        };
        Ok((key, route))
    }
}
