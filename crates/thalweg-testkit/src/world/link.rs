//! Links with their addresses, and the routes the kernel makes of them.

use super::World;
use super::words::Words;
use std::net::{IpAddr, Ipv4Addr};
use thalweg_model::Prefix;
use thalweg_model::host::{Address, Link, NextHop, Route, RouteKey, RouteKind, Update};
use thalweg_model::intent::{self, Rpf, TtlModel};
use thalweg_wire::Mac;

/// Kernel tables `main` and `local`.
pub const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// `link NAME [up|down] [ADDRESS/LEN …] [mtu N] [mac M] [vlan N on LINK] [mpls] [rpf strict|loose]
/// [vrf NAME] [pipe|uniform] [source-route] [directed-broadcast] [ignored] [host]
/// [index N]`
///
/// What a link already has stays unless the line says otherwise.
pub fn change(world: &mut World, words: &mut Words) -> Result<Vec<Update>, String> {
    let name = words.word("a name")?.to_owned();
    let mut link = world.host.link_named(&name).cloned().unwrap_or_else(|| Link {
        name: name.clone(),
        mtu: 1500,
        up: true,
        medium: "ether".into(),
        ..Link::default()
    });
    let mut wish = world.intent.links.get(&name).cloned().unwrap_or_default();
    wish.interfaces = vec![name.clone()];
    let mut added = Vec::new();
    let mut ordinal = None;
    while let Some(word) = words.take() {
        match word {
            "up" => link.up = true,
            "down" => link.up = false,
            "mtu" => link.mtu = words.value("an MTU")?,
            "mac" => link.mac = words.value("a link address")?,
            "index" => ordinal = Some(words.value("a number")?),
            "mpls" => wish.mpls = true,
            "pipe" => wish.ttl_model = TtlModel::Pipe,
            "uniform" => wish.ttl_model = TtlModel::Uniform,
            "source-route" => wish.source_route = true,
            "directed-broadcast" => wish.directed_broadcast = true,
            "host" => wish.host = true,
            "ignored" => wish.role = intent::Role::Ignored,
            "rpf" => {
                wish.rpf = match words.word("strict or loose")? {
                    "strict" => Rpf::Strict,
                    "loose" => Rpf::Loose,
                    _ => Rpf::Off,
                }
            }
            "vrf" => vrf(world, words.word("a VRF")?, &mut link, &mut wish)?,
            "vlan" => vlan(world, words, &mut link)?,
            "peer" => return Err("`peer ADDRESS` is not modeled".into()),
            address => added.push(prefix(address)?),
        }
    }
    if link.index == 0 {
        let ordinal = ordinal.unwrap_or(world.ordinals.len() as u32 + 1);
        world.ordinals.insert(name.clone(), ordinal);
        link.index = world.base + ordinal;
        if link.mac == Mac::ZERO {
            link.mac = Mac([2, 0, 0, 0, 0, ordinal as u8]);
        }
    }
    world.intent.links.insert(name.clone(), wish);
    world.origin("Link", &name);
    Ok(reported(world, link, added))
}

/// Enslaves a link: by the host where the VRF has a table, else by intent.
fn vrf(world: &World, name: &str, link: &mut Link, wish: &mut intent::Link) -> Result<(), String> {
    let vrf = world.intent.vrfs.get(name).ok_or_else(|| format!("there is no VRF `{name}`"))?;
    match vrf.table {
        Some(_) => link.master = world.index(name),
        None => wish.vrf = Some(name.to_owned()),
    }
    Ok(())
}

/// `vlan N [tpid N] on LINK`
fn vlan(world: &World, words: &mut Words, link: &mut Link) -> Result<(), String> {
    let vid = words.value("a VLAN identifier")?;
    let tpid = match words.accept("tpid") {
        true => {
            let word = words.word("0x8100 or 0x88a8")?;
            u16::from_str_radix(word.trim_start_matches("0x"), 16)
                .map_err(|_| format!("`{word}` is no EtherType"))?
        }
        false => 0x8100,
    };
    words.expect("on")?;
    let name = words.word("a link")?;
    let below = world.host.link_named(name).ok_or_else(|| format!("there is no link `{name}`"))?;
    link.kind = "vlan".into();
    link.vlan = Some((vid, tpid));
    link.lower = Some(below.index);
    link.mac = below.mac;
    Ok(())
}

fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("`{text}` is neither a word of a link nor an address with its length");
    let (address, len) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let len: u8 = len.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if len <= most { Ok((address, len)) } else { Err(wrong()) }
}

/// What the kernel reports: the link, then its addresses, then the routes it makes while the link is
/// up.
fn reported(world: &World, link: Link, added: Vec<(IpAddr, u8)>) -> Vec<Update> {
    let mut addresses = world.addresses(link.index);
    let (index, up) = (link.index, link.up);
    let table = link.master.and_then(|master| world.host.links.get(&master)?.vrf_table);
    let mut updates = vec![Update::Link(link)];
    for (address, len) in &added {
        let scope = match address {
            IpAddr::V6(a) if a.is_unicast_link_local() => "link",
            _ => "global",
        };
        let (address, scope) = (*address, scope.into());
        updates.push(Update::Address(Address {
            link: index,
            address,
            len: *len,
            peer: None,
            scope,
        }));
    }
    addresses.extend(added);
    for (address, len) in addresses {
        let routes = routes(index, table, address, len);
        updates.extend(routes.map(|(key, route)| match up {
            true => Update::Route(key, route),
            false => Update::RouteGone(key),
        }));
    }
    updates
}

/// Routes that the kernel makes of an address.
fn routes(
    link: u32,
    table: Option<u32>,
    address: IpAddr,
    len: u8,
) -> impl Iterator<Item = (RouteKey, Route)> {
    let route = move |prefix: Prefix, kind: RouteKind, table: u32, metric: u32| {
        // Two links may have fe80::/64: the kernel tells them apart by their next hop.
        let instance = if prefix.is_v4() { 0 } else { link };
        let key = RouteKey { table, prefix, metric, tos: 0, instance };
        let hop = NextHop {
            via: None,
            link,
            weight: 1,
            labels: Vec::new(),
            ttl: None,
            encap: None,
            onlink: false,
            dead: false,
        };
        let protocol = "kernel".into();
        (key, Route { kind, protocol, nexthops: vec![hop], object: None, mtu: None })
    };
    let local = table.unwrap_or(LOCAL);
    let metric = if address.is_ipv4() { 0 } else { 256 };
    let own = route(Prefix::host(address), RouteKind::Local, local, 0);
    let connected = Prefix::containing(address, len);
    let mut routes = vec![own];
    if connected != Prefix::host(address) {
        routes.push(route(connected, RouteKind::Unicast, table.unwrap_or(MAIN), metric));
    }
    if let Some(broadcast) = broadcast(address, len) {
        routes.push(route(Prefix::host(broadcast.into()), RouteKind::Broadcast, local, 0));
    }
    routes.into_iter()
}

fn broadcast(address: IpAddr, len: u8) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(a) if len <= 30 => {
            Some(Ipv4Addr::from_bits(a.to_bits() | u32::MAX.checked_shr(len.into()).unwrap_or(0)))
        }
        _ => None,
    }
}

/// `no link NAME`
pub fn remove(world: &mut World, words: &mut Words) -> Result<Vec<Update>, String> {
    let name = words.word("a link")?;
    let index = world.index(name).ok_or_else(|| format!("there is no link `{name}`"))?;
    let with = |key: &RouteKey, route: &Route| {
        route.nexthops.iter().any(|hop| hop.link == index).then(|| Update::RouteGone(key.clone()))
    };
    let mut updates: Vec<_> =
        world.host.routes.iter().filter_map(|(key, route)| with(key, route)).collect();
    updates.push(Update::LinkGone(index));
    world.intent.links.remove(name);
    Ok(updates)
}
