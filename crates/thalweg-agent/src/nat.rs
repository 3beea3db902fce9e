//! Source translation as it is shown: ranges, ports in use, translated sources.

use crate::cluster::{address, addresses, all_rows, clock};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use thalweg_abi::flow::{WORDS, kind, state, word};
use thalweg_api::Fault;
use thalweg_api::cluster::{FlowQuery, NatView};
use thalweg_compile::Compiler;
use thalweg_image::Memory;

type Row = [u64; WORDS];

/// Pools, ports in use and floating addresses, then flows and mappings; with a source only what is of it.
///
/// # Errors
///
/// A pod that is not known.
pub fn views(
    compiler: &Compiler,
    memory: &Memory,
    query: &FlowQuery,
) -> Result<Vec<NatView>, Fault> {
    let wanted = query.from.as_deref().map(|from| addresses(compiler, from)).transpose()?;
    let (first, last) = compiler.nat_ports();
    let of = u32::from(last) - u32::from(first) + 1;
    let floating: HashSet<IpAddr> = compiler.floating().map(|held| held.address).collect();
    let mut flows = Vec::new();
    let mut used: BTreeMap<(IpAddr, String, String), u32> = BTreeMap::new();
    let mut pools: BTreeMap<String, u32> = BTreeMap::new();
    for row in all_rows(memory).filter(is_told) {
        let source = address(&row, word::SOURCE);
        let view = view(&row);
        let outside = address(&row, word::NEW_SOURCE);
        // Whoever has an address alone needs no ports of others.
        let shared = !floating.contains(&outside);
        if let Some(destination) = view.destination.clone().filter(|_| shared) {
            let protocol = view.protocol.clone().unwrap_or_default();
            *used.entry((outside, protocol, destination)).or_default() += 1;
        }
        let of_pool = |(_, pool): &(&String, &thalweg_model::cluster::IpPool)| {
            pool.nat_outgoing && pool.cidr.contains(source)
        };
        let pool = compiler.intent().cluster.pools.iter().find(of_pool).filter(|_| shared);
        if let Some((name, _)) = pool {
            *pools.entry(name.clone()).or_default() += 1;
        }
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&source)) {
            flows.push(view);
        }
    }
    let mut views = Vec::new();
    if wanted.is_none() {
        views.extend(compiler.intent().cluster.pools.iter().map(|(name, pool)| NatView {
            kind: "pool".into(),
            source: Some(pool.cidr.to_string()),
            outside: pool.nat_outgoing.then(|| format!("{first}-{last}")),
            used: pool.nat_outgoing.then(|| pools.get(name).copied().unwrap_or(0)),
            ..NatView::default()
        }));
        let mut ports: Vec<_> = used.into_iter().collect();
        // The fullest are those that may run out.
        ports.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        views.extend(ports.into_iter().map(|((outside, protocol, destination), used)| NatView {
            kind: "ports".into(),
            outside: Some(outside.to_string()),
            protocol: Some(protocol),
            destination: Some(destination),
            used: Some(used),
            of: Some(of),
            ..NatView::default()
        }));
    }
    let held = compiler.floating();
    let held = held.filter(|held| wanted.as_ref().is_none_or(|all| all.contains(&held.target)));
    views.extend(held.map(|held| NatView {
        kind: "floating".into(),
        source: Some(held.target.to_string()),
        outside: Some(held.address.to_string()),
        ..NatView::default()
    }));
    flows.sort_by(|a, b| {
        (&a.kind, &a.source, &a.destination).cmp(&(&b.kind, &b.source, &b.destination))
    });
    views.extend(flows);
    views.truncate(query.limit as usize);
    Ok(views)
}

/// Whether a row is a translated source's: each flow has two rows, and a mapping as well.
fn is_told(row: &Row) -> bool {
    const SOURCE: u64 = 0x20;
    let kinds = row[word::REWRITE] as u32;
    let mapping = kinds & kind::MAPPING != 0 && row[word::TAIL] & SOURCE != 0;
    mapping || kinds & (kind::NAT | kind::ANSWERS) == kind::NAT
}

fn view(row: &Row) -> NatView {
    let (tail, rewrite) = (row[word::TAIL], row[word::REWRITE]);
    let end = |at, port: u64| SocketAddr::new(address(row, at), port as u16).to_string();
    let mapping = rewrite as u32 & kind::MAPPING != 0;
    NatView {
        kind: if mapping { "mapping" } else { "flow" }.into(),
        source: Some(end(word::SOURCE, tail >> 48)),
        outside: Some(end(word::NEW_SOURCE, rewrite >> 48)),
        protocol: Some(crate::cluster::protocol((tail >> 8) as u8)),
        destination: (!mapping).then(|| match (tail >> 8) as u8 {
            1 | 58 => address(row, word::NEW_DESTINATION).to_string(),
            _ => end(word::NEW_DESTINATION, rewrite >> 32),
        }),
        state: (!mapping).then(|| state::name((tail >> 8) as u8, row[word::STATE] as u8).into()),
        used: None,
        of: None,
        idle: Some(u64::from(clock().saturating_sub(row[word::SEEN] as u32))),
    }
}
