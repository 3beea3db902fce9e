//! Host state as a file: YAML (or JSON, which is YAML) that people can read, write and compare.
//!
//! ```yaml
//! links:
//! - name: eth0
//!   mac: 02:00:00:00:00:01
//!   mtu: 1500
//!   up: true
//! addresses:
//! - address: 10.0.0.1/24
//!   dev: eth0
//! neighbors:
//! - address: 10.0.0.254
//!   dev: eth0
//!   mac: 02:00:00:00:00:fe
//!   state: reachable
//! nexthops:
//! - id: 7
//!   hop: {via: 10.0.0.254, dev: eth0}
//! routes:
//! - prefix: 10.1.0.0/16
//!   protocol: bgp
//!   nexthops:
//!   - {via: 10.0.0.254, dev: eth0}
//! ```
//!
//! Links are named where they have a name, and numbered (`link: 7`) where not. What has its usual
//! value is left out: table 254 (main), metric 0, kind `unicast`, weight 1.

mod item;
mod yaml;

use crate::Error;
use item::{AddressItem, LinkItem, Names, NeighborItem, NextHopItem, RouteItem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thalweg_model::HostState;
use thalweg_model::host::Link;
use yaml::Item;

/// Writes host state as YAML.
pub fn to_yaml(host: &HostState) -> String {
    yaml::write(&to_value(host))
}

/// Host state as the value that [`to_yaml`] writes, for other formats.
pub fn to_value(host: &HostState) -> Value {
    let names = Names::of(host);
    let mut out = Map::new();
    let links = host.links.values();
    section(&mut out, "links", links.map(|l| LinkItem::of(l, &names)));
    let addresses = host.addresses.values();
    section(&mut out, "addresses", addresses.map(|a| AddressItem::of(a, &names)));
    let neighbors = host.neighbors.values();
    section(&mut out, "neighbors", neighbors.map(|n| NeighborItem::of(n, &names)));
    let nexthops = host.nexthops.iter();
    section(&mut out, "nexthops", nexthops.map(|(id, o)| NextHopItem::of(*id, o, &names)));
    let routes = host.routes.iter();
    section(&mut out, "routes", routes.map(|(key, r)| RouteItem::of(key, r, &names)));
    Value::Object(out)
}

fn section<T: Serialize>(out: &mut Map<String, Value>, name: &str, items: impl Iterator<Item = T>) {
    // These items are plain structs with text keys, which always have a JSON form.
    let items: Vec<_> = items.filter_map(|item| serde_json::to_value(item).ok()).collect();
    if !items.is_empty() {
        out.insert(name.into(), Value::Array(items));
    }
}

/// Reads host state from YAML.
///
/// Links without `index` are numbered in the order they are written.
///
/// # Errors
///
/// [`Error::Yaml`] when the text is not YAML of the right shape, [`Error::Value`] with line and
/// item when a value makes no sense.
pub fn from_yaml(text: &str) -> Result<HostState, Error> {
    let mut host = HostState::default();
    let mut sections = yaml::read(text)?;
    let mut take = |name: &str| sections.remove(name).unwrap_or_default();
    let (links, addresses) = (take("links"), take("addresses"));
    let (neighbors, nexthops) = (take("neighbors"), take("nexthops"));
    let routes = take("routes");
    if let Some(name) = sections.keys().next() {
        let known = "there are links, addresses, neighbors, nexthops and routes";
        return Err(Error::Yaml(format!("unknown section `{name}`; {known}")));
    }
    let links: Vec<Read<LinkItem>> = items(links, "link", "name")?;
    let names = number(&links)?;
    for read in links {
        let at = At { line: read.line, object: &read.object };
        let link: Link = read.item.into_link(&names, &at)?;
        let (name, taken) = (link.name.clone(), host.links.insert(link.index, link));
        if let Some(other) = taken {
            let what = format!("`{name}` has the index {} of `{}`", other.index, other.name);
            return Err(at.error(what, "give each link its own index, or none"));
        }
    }
    read_all(addresses, "address", "address", |item: AddressItem, at| {
        let address = item.into_address(&names, at)?;
        Ok(host.addresses.insert((address.link, address.address), address).is_none())
    })?;
    read_all(neighbors, "neighbor", "address", |item: NeighborItem, at| {
        let neighbor = item.into_neighbor(&names, at)?;
        Ok(host.neighbors.insert((neighbor.link, neighbor.address), neighbor).is_none())
    })?;
    read_all(nexthops, "nexthop", "id", |item: NextHopItem, at| {
        let (id, object) = item.into_object(&names, at)?;
        Ok(host.nexthops.insert(id, object).is_none())
    })?;
    read_all(routes, "route", "prefix", |item: RouteItem, at| {
        let (key, route) = item.into_route(&names, at)?;
        Ok(host.routes.insert(key, route).is_none())
    })?;
    Ok(host)
}

/// Where an item stands and what it is called, for messages.
pub(crate) struct At<'a> {
    line: u64,
    object: &'a str,
}

impl At<'_> {
    fn error(&self, what: String, remedy: &'static str) -> Error {
        Error::Value { line: self.line, object: self.object.to_owned(), what, remedy }
    }
}

/// An item as it stands in the file.
struct Read<T> {
    line: u64,
    object: String,
    item: T,
}

/// Reads the items of a section; `name` is the field that names one in messages.
fn items<T: DeserializeOwned>(
    section: Vec<Item>,
    kind: &str,
    name: &str,
) -> Result<Vec<Read<T>>, Error> {
    let read = |item: Item| {
        let object = match item.value.get(name) {
            Some(Value::String(text)) => format!("{kind} {text}"),
            Some(value) => format!("{kind} {value}"),
            None => kind.to_owned(),
        };
        let at = At { line: item.line, object: &object };
        let value = serde_json::from_value(item.value).map_err(|error| {
            at.error(error.to_string(), "`thalweg get host -o yaml` shows how it is written")
        })?;
        Ok(Read { line: item.line, item: value, object })
    };
    section.into_iter().map(read).collect()
}

/// Reads the items of a section and adds them; `add` tells whether the item is new.
fn read_all<T: DeserializeOwned>(
    section: Vec<Item>,
    kind: &str,
    name: &str,
    mut add: impl FnMut(T, &At<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    for read in items(section, kind, name)? {
        let at = At { line: read.line, object: &read.object };
        if !add(read.item, &at)? {
            return Err(at.error("there is one like it above".into(), "remove one of the two"));
        }
    }
    Ok(())
}

/// Gives every link its index: its own, or the next that is free.
fn number(links: &[Read<LinkItem>]) -> Result<Names, Error> {
    let mut names = Names { indexes: BTreeMap::new(), names: BTreeMap::new() };
    let own = |index| links.iter().any(|read| read.item.index == Some(index));
    let mut free = (1..).filter(|index| !own(*index));
    for read in links {
        let index = match read.item.index {
            Some(index) => index,
            None => free.next().unwrap_or_default(),
        };
        let name = &read.item.name;
        if names.indexes.insert(name.clone(), index).is_some() {
            let at = At { line: read.line, object: &read.object };
            return Err(at.error("there is one like it above".into(), "remove one of the two"));
        }
        names.names.insert(index, name.clone());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
