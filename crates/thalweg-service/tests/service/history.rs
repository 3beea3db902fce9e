//! Any history: the state equals one resolved from nothing, and differences lead to it.

use crate::dice::Dice;
use crate::oracle::compare;
use crate::world::World;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::ObjectName;
use thalweg_service::{Changes, Difference, Frontend, FrontendKey, Problem, Resolver, Vip};

/// What somebody knows who only ever heard differences.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    frontends: BTreeMap<FrontendKey, Arc<Frontend>>,
    vips: BTreeMap<IpAddr, Vip>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
}

impl Heard {
    fn of(resolver: &Resolver) -> Self {
        Self {
            frontends: resolver.frontends().map(|f| (f.key, f.clone())).collect(),
            vips: resolver.vips().map(|vip| (vip.address, vip)).collect(),
            problems: resolver.problems(),
        }
    }

    fn hear(&mut self, difference: Difference) {
        for frontend in difference.added {
            assert!(self.frontends.insert(frontend.key, frontend).is_none(), "added twice");
        }
        for frontend in difference.changed {
            let before = self.frontends.insert(frontend.key, frontend.clone());
            assert!(before.is_some_and(|before| before != frontend), "nothing changed");
        }
        for key in difference.removed {
            assert!(self.frontends.remove(&key).is_some(), "removed what was not there");
        }
        for vip in difference.vips {
            assert_ne!(self.vips.insert(vip.address, vip.clone()), Some(vip));
        }
        for address in difference.vips_removed {
            assert!(self.vips.remove(&address).is_some());
        }
        for (service, problems) in difference.problems {
            match problems.is_empty() {
                true => assert!(self.problems.remove(&service).is_some()),
                false => {
                    assert_ne!(self.problems.insert(service, problems.clone()), Some(problems))
                }
            }
        }
    }
}

/// Changes one thing, and says what.
fn step(dice: &mut Dice, world: &mut World, changes: &mut Changes) {
    match dice.below(10) {
        0..4 => {
            let name = dice.name(&["web", "app"]);
            match dice.eighths(6) {
                true => world.cluster.services.insert(name.clone(), dice.service()),
                false => drop(world.cluster.services.remove(&name)),
            }
            changes.services.insert(name);
        }
        4..8 => {
            let name = dice.name(&["s", "t", "u", "v", "w", "x"]);
            match dice.eighths(6) {
                true => world.cluster.slices.insert(name.clone(), dice.slice()),
                false => drop(world.cluster.slices.remove(&name)),
            }
            changes.slices.insert(name);
        }
        8 => {
            if dice.eighths(3) {
                dice.here(world);
            }
            dice.zone(world);
            changes.here = true;
        }
        // Told of what did not change.
        _ => {
            changes.services.insert(dice.name(&["web", "nobody"]));
            changes.slices.insert(dice.name(&["s", "none"]));
        }
    }
}

#[test]
fn after_any_history_the_state_is_as_from_nothing() {
    for case in 0..1_500 {
        let mut dice = Dice(case << 32);
        let mut world = dice.world();
        let mut resolver = world.resolver();
        let mut heard = Heard::of(&resolver);
        for _ in 0..12 {
            let mut changes = Changes::default();
            (0..dice.below(3) + 1).for_each(|_| step(&mut dice, &mut world, &mut changes));
            heard.hear(resolver.update(&world.cluster, &world.here, &changes));
            let expected = Heard::of(&world.resolver());
            assert_eq!(Heard::of(&resolver), expected, "case {case}");
            assert_eq!(heard, expected, "case {case}: differences lead elsewhere");
        }
        compare(case, &world, &resolver, &mut [0; 4]);
    }
}
