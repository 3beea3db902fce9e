//! Next hops: `via ADDRESS dev LINK weight N labels A/B ttl N pipe tc N entropy onlink backup …`.

use super::World;
use super::words::Words;
use thalweg_model::intent::{NextHop, TtlModel};
use thalweg_wire::Label;

/// One next hop, or several that each begin with `nexthop`.
pub fn hops(world: &World, words: &mut Words) -> Result<Vec<NextHop>, String> {
    let mut hops = Vec::new();
    if words.peek() != Some("nexthop") {
        hops.push(hop(world, words)?);
    }
    while words.accept("nexthop") {
        hops.push(hop(world, words)?);
    }
    Ok(hops)
}

fn hop(world: &World, words: &mut Words) -> Result<NextHop, String> {
    let mut hop = NextHop::default();
    loop {
        if words.accept("via") {
            hop.via = Some(words.value("an address")?);
        } else if words.accept("dev") {
            let name = words.word("a link")?;
            world.index(name).ok_or_else(|| format!("there is no link `{name}`"))?;
            hop.dev = Some(name.to_owned());
        } else if words.accept("weight") {
            hop.weight = words.value("a weight")?;
        } else if words.accept("labels") {
            hop.labels = labels(words.word("labels as in 200/300")?)?;
        } else if words.accept("ttl") {
            hop.ttl = words.value("a TTL")?;
            hop.ttl_model = TtlModel::Pipe;
        } else if words.accept("pipe") {
            hop.ttl_model = TtlModel::Pipe;
        } else if words.accept("tc") {
            hop.class = Some(words.value("a class")?);
        } else if words.accept("entropy") {
            hop.entropy = true;
        } else if words.accept("onlink") {
            hop.onlink = true;
        } else if words.accept("backup") {
            hop.backup = Some(Box::new(self::hop(world, words)?));
        } else {
            return match hop.via.is_some() || hop.dev.is_some() {
                true => Ok(hop),
                false => Err("a next hop needs `via ADDRESS` or `dev LINK`".into()),
            };
        }
    }
}

/// `A/B`, outermost first.
pub fn labels(text: &str) -> Result<Vec<Label>, String> {
    let label = |text: &str| {
        let number: u32 = text.parse().map_err(|_| format!("`{text}` is no label"))?;
        Label::new(number).map_err(|error| error.to_string())
    };
    text.split('/').map(label).collect()
}

/// Interface index of the link named by the next word.
pub fn device(world: &World, words: &mut Words) -> Result<u32, String> {
    let name = words.word("a link")?;
    world.index(name).ok_or_else(|| format!("there is no link `{name}`"))
}
