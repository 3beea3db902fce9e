//! Routes page by page: a million of them never stand in memory as views at once.

use crate::views;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::VrfId;
use thalweg_api::view::RoutePage;
use thalweg_api::{Fault, MAX_PAGE, RouteQuery};
use thalweg_compile::Compiler;
use thalweg_model::Prefix;

/// Kernel tables that feed the default VRF: main and local.
const DEFAULT_TABLES: [u32; 2] = [254, 255];

/// Answers a query.
///
/// # Errors
///
/// [`Fault`] for VRFs that are not there and destinations that are none.
pub fn page(compiler: &Compiler, query: &RouteQuery) -> Result<RoutePage, Fault> {
    let vrfs: Vec<(VrfId, String, Option<u32>)> =
        compiler.vrfs().into_iter().map(|vrf| (vrf.id, vrf.name, vrf.table)).collect();
    let wanted = match &query.vrf {
        None => None,
        Some(name) => Some(
            vrfs.iter().find(|vrf| vrf.1 == *name).map(|vrf| vrf.0).ok_or_else(|| no_vrf(name))?,
        ),
    };
    if let Some(destination) = &query.destination {
        return to(compiler, &vrfs, wanted, destination);
    }
    let limit = match query.limit {
        0 => MAX_PAGE,
        limit => limit.min(MAX_PAGE),
    } as usize;
    let after = query.after.as_deref().map(cursor).transpose()?;
    let keys = smallest(compiler, &vrfs, wanted, after, limit);
    let more = keys.len() > limit;
    let names: BTreeMap<u16, &str> = vrfs.iter().map(|vrf| (vrf.0.0, vrf.1.as_str())).collect();
    let mut page = RoutePage::default();
    for (vrf, prefix) in keys.iter().take(limit) {
        let name = names.get(vrf).copied().unwrap_or_default();
        page.routes.extend(compiler.routes_of(name, *prefix).into_iter().map(views::route));
    }
    let last = keys.iter().take(limit).next_back();
    page.next = last.filter(|_| more).map(|(vrf, prefix)| format!("{vrf} {prefix}"));
    Ok(page)
}

fn no_vrf(name: &str) -> Fault {
    Fault::not_found(format!("there is no VRF `{name}`"), "`thalweg get vrfs` lists them")
}

fn cursor(text: &str) -> Result<(u16, Prefix), Fault> {
    let parts = text.split_once(' ');
    let parsed = parts.and_then(|(vrf, prefix)| Some((vrf.parse().ok()?, prefix.parse().ok()?)));
    parsed.ok_or_else(|| Fault::invalid(format!("`{text}` is no place in a list"), "leave it out"))
}

/// The candidates for one prefix, or the route that an address follows.
fn to(
    compiler: &Compiler,
    vrfs: &[(VrfId, String, Option<u32>)],
    wanted: Option<VrfId>,
    destination: &str,
) -> Result<RoutePage, Fault> {
    let vrfs = vrfs.iter().filter(|vrf| wanted.is_none_or(|wanted| wanted == vrf.0));
    let mut routes = Vec::new();
    if let Ok(address) = destination.parse::<IpAddr>() {
        for (vrf, ..) in vrfs {
            routes.extend(compiler.route_for(*vrf, address).map(views::route));
        }
    } else {
        let prefix: Prefix = destination.parse().map_err(|error| {
            let message = format!("`{destination}` is no address and no prefix: {error}");
            Fault::invalid(message, "write 10.0.0.1 or 10.0.0.0/24")
        })?;
        for (_, name, _) in vrfs {
            routes.extend(compiler.routes_of(name, prefix).into_iter().map(views::route));
        }
    }
    Ok(RoutePage { routes, next: None })
}

/// The `limit` + 1 smallest keys behind `after`.
fn smallest(
    compiler: &Compiler,
    vrfs: &[(VrfId, String, Option<u32>)],
    wanted: Option<VrfId>,
    after: Option<(u16, Prefix)>,
    limit: usize,
) -> BTreeSet<(u16, Prefix)> {
    let mut keys = BTreeSet::new();
    let mut offer = |vrf: VrfId, prefix: Prefix| {
        let key = (vrf.0, prefix);
        let fits = wanted.is_none_or(|wanted| wanted == vrf)
            && after.is_none_or(|after| key > after)
            && (keys.len() <= limit || keys.last().is_some_and(|last| key < *last));
        if fits {
            keys.insert(key);
            if keys.len() > limit + 1 {
                keys.pop_last();
            }
        }
    };
    let by_table: BTreeMap<u32, VrfId> = vrfs
        .iter()
        .filter_map(|(id, _, table)| Some(((*table)?, *id)))
        .chain(DEFAULT_TABLES.map(|table| (table, VrfId(0))))
        .collect();
    let by_name: BTreeMap<&str, VrfId> =
        vrfs.iter().map(|(id, name, _)| (name.as_str(), *id)).collect();
    for (key, _) in compiler.kernel_routes().chain(compiler.fpm_routes()) {
        if let Some(vrf) = by_table.get(&key.table) {
            offer(*vrf, key.prefix);
        }
    }
    for route in compiler.intent().routes.values() {
        if let Some(vrf) = by_name.get(route.vrf.as_str()) {
            offer(*vrf, route.prefix);
        }
    }
    let links: BTreeMap<u32, VrfId> = compiler
        .links()
        .into_iter()
        .filter_map(|link| Some((link.index, *by_name.get(link.vrf.as_str())?)))
        .collect();
    let host = compiler.host_facts();
    for own in host.addresses.values() {
        if let Some(vrf) = links.get(&own.link) {
            offer(*vrf, Prefix::host(own.address));
            offer(*vrf, Prefix::containing(own.peer.unwrap_or(own.address), own.len));
            if let Prefix::V4(net) = Prefix::containing(own.address, own.len) {
                offer(*vrf, Prefix::host(std::net::Ipv4Addr::from_bits(net.last()).into()));
            }
        }
    }
    for neighbor in host.neighbors.values() {
        if let Some(vrf) = links.get(&neighbor.link) {
            offer(*vrf, Prefix::host(neighbor.address));
        }
    }
    keys
}
