//! Whatever way objects come, change and go: what is left decides alone.

use crate::oracle::worlds;
use crate::random::{Arrival, Dice, address, arrivals_at_hosts, gather, packet};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_model::Origin;
use thalweg_model::cluster::Cluster;
use thalweg_policy::model::Direction;
use thalweg_policy::table::Tables;
use thalweg_policy::{Model, Objects, Resolution, View, World};

/// Something that happens.
enum Event<'a> {
    Comes(&'a Arrival),
    Goes(&'a Arrival),
}

/// Objects come and go in any order: of each, perhaps another version first, which may go before the last
/// one comes; others come and go for good.
fn history(dice: &mut Dice, others: &[Arrival], last: &[Arrival]) -> (Objects, Cluster) {
    let mut lives: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for one in others {
        let life = lives.entry(one.key()).or_default();
        life.push(Event::Comes(one));
        if dice.one_in(2) {
            life.push(Event::Goes(one));
        }
    }
    let staying: BTreeSet<String> = last.iter().map(Arrival::key).collect();
    for one in last {
        lives.entry(one.key()).or_default().push(Event::Comes(one));
    }
    for (key, life) in &mut lives {
        if let (false, Some(Event::Comes(one))) = (staying.contains(key), life.last()) {
            life.push(Event::Goes(one));
        }
    }
    // Interleaved, each life in its order.
    let (mut objects, mut cluster) = (Objects::default(), Cluster::default());
    let mut lives: Vec<_> = lives.into_values().map(|life| life.into_iter()).collect();
    while !lives.is_empty() {
        let at = dice.below(lives.len());
        match lives[at].next() {
            Some(Event::Comes(one)) => one.comes(&mut objects, &mut cluster),
            Some(Event::Goes(one)) => one.goes(&mut objects, &mut cluster),
            None => drop(lives.swap_remove(at)),
        }
    }
    (objects, cluster)
}

#[test]
fn histories_end_in_the_same_tables() {
    for seed in 0..worlds() / 6 {
        let mut dice = Dice::new(seed ^ 0x0de7);
        let (others, last) = (arrivals_at_hosts(&mut dice), arrivals_at_hosts(&mut dice));
        let made = |(objects, cluster): &(Objects, Cluster)| {
            let world = World::new(objects, cluster, |_| Origin::default());
            let resolution = Resolution::new(world, Model::new(objects, View::Enforced));
            let tables = Tables::new(&resolution, |_| true);
            (resolution, tables)
        };
        let after = history(&mut dice, &others, &last);
        let anew = gather(&last);
        assert_eq!(after, anew, "seed {seed}");
        let ((resolution, tables), (expected, wanted)) = (made(&after), made(&anew));
        assert_eq!(resolution.to_string(), expected.to_string(), "seed {seed}");
        assert_eq!(tables.rows, wanted.rows, "seed {seed}");
        assert_eq!(tables.sizes(), wanted.sizes(), "seed {seed}");
        for _ in 0..32 {
            let (one, other) = (address(&mut dice), address(&mut dice));
            assert_eq!(tables.classes.of(one), wanted.classes.of(one), "seed {seed}: {one}");
            let packet = packet(&mut dice, one, other);
            for at in 0..resolution.world.endpoints.len() {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let decided = tables.decide(at, direction, &packet);
                    assert_eq!(decided, wanted.decide(at, direction, &packet), "seed {seed}");
                }
            }
        }
    }
}
