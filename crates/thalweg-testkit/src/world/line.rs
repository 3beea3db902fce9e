//! One line to one change.

use super::words::Words;
use super::{World, cluster, hop, link, route};
use std::net::IpAddr;
use thalweg_model::host::{Link, Neighbor, Update};
use thalweg_model::intent::{IcmpSource, LabelAction, LabelRoute, TtlModel, Vrf};
use thalweg_model::policy::ToHost;
use thalweg_wire::Label;

/// Interface indices of VRF devices, counted from the world's base.
const VRF_BASE: u32 = 100;

/// Changes `world` by one line; the caller applies the updates.
pub fn change(world: &mut World, line: &str) -> Result<Vec<Update>, String> {
    if let Some(rest) = line.strip_prefix("object ") {
        return cluster::object(world, rest).map(|()| Vec::new());
    }
    let mut words = Words::new(line);
    let gone = words.accept("no");
    let updates = match (words.word("`link`, `neigh`, `route`, …")?, gone) {
        ("link", false) => link::change(world, &mut words)?,
        ("link", true) => link::remove(world, &mut words)?,
        ("neigh", _) => neighbor(world, &mut words, gone)?,
        ("route", _) => route::change(world, &mut words, gone)?,
        ("kernel", _) => {
            words.expect("route")?;
            route::kernel(world, &mut words, gone)?
        }
        ("label", _) => label(world, &mut words, gone)?,
        ("vrf", false) => vrf(world, &mut words)?,
        ("router", false) => router(world, &mut words)?,
        ("pod", _) => cluster::pod(world, &mut words, gone).map(|()| Vec::new())?,
        ("object", true) => {
            let name = words.word("a name")?;
            world.objects.remove(name).ok_or("there is no such object")?;
            Vec::new()
        }
        ("pool", _) => cluster::pool(world, &mut words, gone).map(|()| Vec::new())?,
        ("service", _) => cluster::service(world, &mut words, gone).map(|()| Vec::new())?,
        ("node", _) => cluster::node(world, &mut words, gone).map(|()| Vec::new())?,
        ("endpoints", false) => cluster::endpoints(world, &mut words).map(|()| Vec::new())?,
        (word, _) => return Err(format!("`{word}` begins no line of a world")),
    };
    words.end()?;
    Ok(updates)
}

/// `neigh ADDRESS lladdr MAC dev LINK`, `neigh ADDRESS dev LINK failed`.
fn neighbor(world: &World, words: &mut Words, gone: bool) -> Result<Vec<Update>, String> {
    let address: IpAddr = words.value("an address")?;
    let (mut mac, mut link, mut state) = (None, None, None);
    while let Some(word) = words.take() {
        match word {
            "lladdr" => mac = Some(words.value("a link address")?),
            "dev" => link = Some(hop::device(world, words)?),
            state_word => state = Some(state_word.to_owned()),
        }
    }
    let link = link.ok_or("a neighbor needs `dev LINK`")?;
    if gone {
        return Ok(vec![Update::NeighborGone(link, address)]);
    }
    let state = state.unwrap_or_else(|| "permanent".into());
    Ok(vec![Update::Neighbor(Neighbor { link, address, mac, state })])
}

/// `label N as A/B via …`, `label N pop via …`, `label N vrf NAME [pipe|uniform]`.
fn label(world: &mut World, words: &mut Words, gone: bool) -> Result<Vec<Update>, String> {
    let number: u32 = words.value("a label")?;
    let name = format!("label-{number}");
    if gone {
        world.intent.labels.remove(&name).ok_or("there is no such label")?;
        return Ok(Vec::new());
    }
    let label = Label::new(number).map_err(|error| error.to_string())?;
    let mut ttl_model = None;
    let action = if words.accept("vrf") {
        LabelAction::Vrf(words.word("a VRF")?.to_owned())
    } else {
        let pushed = if words.accept("as") {
            hop::labels(words.word("labels as in 200/300")?)?
        } else {
            words.expect("pop")?;
            Vec::new()
        };
        // A model of the label itself stands in front of its next hops.
        ttl_model = model(words);
        let mut hops = hop::hops(world, words)?;
        for hop in &mut hops {
            if hop.labels.is_empty() {
                hop.labels.clone_from(&pushed);
            }
        }
        LabelAction::Forward(hops)
    };
    ttl_model = model(words).or(ttl_model);
    world.intent.labels.insert(name.clone(), LabelRoute { label, ttl_model, action });
    world.origin("LabelRoute", &name);
    Ok(Vec::new())
}

fn model(words: &mut Words) -> Option<TtlModel> {
    if words.accept("pipe") {
        Some(TtlModel::Pipe)
    } else if words.accept("uniform") {
        Some(TtlModel::Uniform)
    } else {
        None
    }
}

/// `vrf NAME [table N]`: with a table, the host has a VRF device, too.
fn vrf(world: &mut World, words: &mut Words) -> Result<Vec<Update>, String> {
    let name = words.word("a name")?.to_owned();
    let table = match words.accept("table") {
        true => Some(words.value("a number")?),
        false => None,
    };
    world.intent.vrfs.insert(name.clone(), Vrf { table });
    world.origin("Vrf", &name);
    let Some(table) = table else { return Ok(Vec::new()) };
    let index = world.base + VRF_BASE + world.intent.vrfs.len() as u32;
    Ok(vec![Update::Link(Link {
        index,
        name,
        mtu: 65_575,
        up: true,
        kind: "vrf".into(),
        medium: "ether".into(),
        vrf_table: Some(table),
        ..Link::default()
    })])
}

/// `router [icmp-rate N] [punt-rate N] [burst N] [seed N] [kernel-icmp] [nat-ports FIRST LAST]
/// [reject-denied] [to-host drop|return] [masquerade] [quota N] [independent] [dsr] [tunnel …]`
fn router(world: &mut World, words: &mut Words) -> Result<Vec<Update>, String> {
    let router = &mut world.intent.router;
    while let Some(word) = words.take() {
        match word {
            "icmp-rate" => router.icmp_rate = words.value("packets per second")?,
            "punt-rate" => router.punt_rate = words.value("packets per second")?,
            "burst" => router.burst = words.value("packets")?,
            "seed" => router.hash_seed = Some(words.value("a number")?),
            "reject-denied" => router.policy.rejects = true,
            "to-host" => {
                router.policy.to_host = match words.value::<String>("drop or return")?.as_str() {
                    "drop" => ToHost::Drop,
                    _ => ToHost::Return,
                };
            }
            "kernel-icmp" => router.icmp = IcmpSource::Kernel,
            "nat-ports" => {
                let range = (words.value("the first port")?, words.value("the last port")?);
                router.flows.nat_ports = Some(range);
            }
            "quota" => router.flows.per_workload = Some(words.value("flows")?),
            "masquerade" => router.services.masquerade_external = true,
            "independent" => router.flows.nat_independent = true,
            "dsr" => router.services.dsr = true,
            "tunnel" => router.tunnel = Some(cluster::tunnel(words)?),
            word => return Err(format!("`{word}` is no setting of the router")),
        }
    }
    Ok(Vec::new())
}
