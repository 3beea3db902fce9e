//! Routes: of intent (`route …`) and of the kernel (`kernel route …`).

use super::words::Words;
use super::{World, hop, link};
use thalweg_model::Prefix;
use thalweg_model::host::{self, RouteKey, RouteKind, Update};
use thalweg_model::intent::{Route, RouteAction, TtlModel};

/// `route [blackhole|unreachable|prohibit] PREFIX [metric N] [vrf V] [via … | lookup VRF]`
pub fn change(world: &mut World, words: &mut Words, gone: bool) -> Result<Vec<Update>, String> {
    let discard = discard(words);
    let prefix = prefix(words.word("a prefix")?)?;
    let (mut metric, mut vrf, mut target, mut hops) = (0, "default".to_owned(), None, Vec::new());
    while let Some(word) = words.peek() {
        match word {
            "metric" => {
                words.take();
                metric = words.value("a metric")?;
            }
            "vrf" => {
                words.take();
                vrf = words.word("a VRF")?.to_owned();
            }
            "lookup" => {
                words.take();
                target = Some(words.word("a VRF")?.to_owned());
            }
            _ => hops.extend(hop::hops(world, words)?),
        }
    }
    let name = format!("{vrf}.{prefix}.{metric}");
    if gone {
        world.intent.routes.remove(&name).ok_or("there is no such route")?;
        return Ok(Vec::new());
    }
    let action = match (discard, target) {
        (Some(RouteKind::Blackhole), None) => RouteAction::Blackhole,
        (Some(RouteKind::Unreachable), None) => RouteAction::Unreachable,
        (Some(_), None) => RouteAction::Prohibit,
        (None, Some(vrf)) => RouteAction::Vrf(vrf),
        (None, None) if !hops.is_empty() => RouteAction::Forward(hops),
        _ => return Err("a route either discards, or looks up, or has next hops".into()),
    };
    world.intent.routes.insert(name.clone(), Route { vrf, prefix, metric, action });
    world.origin("Route", &name);
    Ok(Vec::new())
}

fn discard(words: &mut Words) -> Option<RouteKind> {
    let kind = match words.peek()? {
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        _ => return None,
    };
    words.take();
    Some(kind)
}

/// A prefix, or `default`, `default6`, or an address for its host route.
fn prefix(text: &str) -> Result<Prefix, String> {
    let text = match text {
        "default" => "0.0.0.0/0".into(),
        "default6" => "::/0".into(),
        text if text.contains('/') => text.to_owned(),
        text => match text.parse() {
            Ok(address) => Prefix::host(address).to_string(),
            Err(_) => text.to_owned(),
        },
    };
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

/// `kernel route [blackhole|…] PREFIX [metric N] [table N] [via …]`
pub fn kernel(world: &World, words: &mut Words, gone: bool) -> Result<Vec<Update>, String> {
    let discard = discard(words);
    let prefix = prefix(words.word("a prefix")?)?;
    let (mut metric, mut table, mut nexthops) = (0, link::MAIN, Vec::new());
    if !prefix.is_v4() {
        metric = 1024;
    }
    while let Some(word) = words.peek() {
        match word {
            "metric" => {
                words.take();
                metric = words.value("a metric")?;
            }
            "table" => {
                words.take();
                table = words.value("a table")?;
            }
            _ => {
                for hop in hop::hops(world, words)? {
                    nexthops.push(host::NextHop {
                        via: hop.via,
                        link: hop.dev.and_then(|name| world.index(&name)).unwrap_or(0),
                        weight: hop.weight,
                        labels: hop.labels.iter().map(|label| label.get()).collect(),
                        ttl: (hop.ttl_model == TtlModel::Pipe).then_some(hop.ttl),
                        encap: None,
                        onlink: hop.onlink,
                        dead: false,
                    });
                }
            }
        }
    }
    let key = RouteKey { table, prefix, metric, tos: 0, instance: 0 };
    if gone {
        return Ok(vec![Update::RouteGone(key)]);
    }
    let kind = discard.unwrap_or(RouteKind::Unicast);
    let protocol = "static".into();
    Ok(vec![Update::Route(key, host::Route { kind, protocol, nexthops, object: None, mtu: None })])
}
