//! What staged policies would change is what the two worlds say by themselves, and always comes from one of
//! them.

use crate::hosts::place;
use crate::oracle::each_world;
use crate::random::{Dice, NODES, arrivals_at_hosts, gather, packet};
use std::collections::BTreeSet;
use thalweg_model::Origin;
use thalweg_model::cluster::ObjectName;
use thalweg_policy::decide::Cause;
use thalweg_policy::decide::host::Way;
use thalweg_policy::object::{PolicyId, PolicyKind, PolicyObject, StagedAction};
use thalweg_policy::staged::{Outcome, Staged};
use thalweg_policy::{Model, Objects, Resolution, View, World};

/// Packets asked of each world.
const PACKETS: usize = 16;

/// The kind that is staged for another; none for what cannot be.
fn staged_kind(kind: PolicyKind) -> Option<PolicyKind> {
    let all = PolicyKind::ALL.iter().map(|(_, kind)| *kind);
    all.into_iter().find(|staged| staged.of_staged() == Some(kind))
}

/// Puts some policies on the stage: alone, to take the place of others, or to take them away.
fn stage(dice: &mut Dice, objects: &mut Objects) {
    let all: Vec<(PolicyId, PolicyObject)> =
        objects.policies.iter().map(|(id, object)| (id.clone(), object.clone())).collect();
    for (id, object) in &all {
        let Some(kind) = staged_kind(id.kind) else { continue };
        let staged = PolicyId { kind, name: id.name.clone() };
        let (action, spec) = match dice.below(8) {
            0 => {
                objects.policies.remove(id);
                (StagedAction::Set, object.spec.clone())
            }
            1 => (StagedAction::Delete, object.spec.clone()),
            2 => {
                let others = all.iter().filter(|(other, _)| other.kind == id.kind);
                let others: Vec<_> = others.map(|(_, object)| object.spec.clone()).collect();
                (StagedAction::Set, dice.of(&others))
            }
            3 => (dice.of(&[StagedAction::Learn, StagedAction::Ignore]), object.spec.clone()),
            _ => continue,
        };
        let object = PolicyObject { origin: Origin::default(), staged: action, spec };
        objects.policies.insert(staged, object);
    }
}

/// What was seen.
#[derive(Default)]
struct Counts {
    differ: usize,
    by_rule: usize,
    by_end: usize,
    by_others: usize,
}

fn holds(dice: &mut Dice, counts: &mut Counts) {
    let (mut objects, cluster) = gather(&arrivals_at_hosts(dice));
    stage(dice, &mut objects);
    let world = || World::new(&objects, &cluster, |_: &ObjectName| Origin::default());
    let worlds = Staged::new(&objects, world());
    let alone = [View::Enforced, View::Pending]
        .map(|view| Resolution::new(world(), Model::new(&objects, view)));
    for _ in 0..PACKETS {
        let (node, _) = dice.of(&NODES);
        let [(from, source), (to, destination)] = [(); 2].map(|()| place(dice, &alone[0]));
        if source.is_ipv4() != destination.is_ipv4() {
            continue;
        }
        let packet = packet(dice, source, destination);
        let all = alone[0].world.host_of_all(node);
        let own = BTreeSet::from([destination]);
        let (from, to) = (from.gate(&alone[0], node), to.gate(&alone[0], node));
        let way = Way { from, to, all, own: &own };
        let [now, then] = alone.each_ref().map(|of| of.pass(&way, &packet, &packet));
        let outcome = worlds.compare(&way, &packet, &packet);
        let nobody = now.said.is_empty() && then.said.is_empty();
        assert_eq!(outcome == Outcome::Nobody, nobody, "{way:?} {packet:?}");
        let Outcome::Other(difference) = outcome else {
            assert_eq!(now.is_allowed(), then.is_allowed(), "{way:?} {packet:?}\n{objects:#?}");
            continue;
        };
        assert_eq!(difference.opens(), then.is_allowed(), "{way:?} {packet:?}\n{objects:#?}");
        assert_ne!(now.is_allowed(), then.is_allowed(), "{way:?} {packet:?}\n{objects:#?}");
        assert!(!difference.by.is_empty(), "{difference:?} {way:?} {packet:?}\n{objects:#?}");
        for id in &difference.by {
            let action = objects.policies.get(id).map(|object| object.staged);
            let acts = matches!(action, Some(StagedAction::Set | StagedAction::Delete));
            assert!(id.kind.of_staged().is_some() && acts, "{id}: {action:?}");
        }
        counts.differ += 1;
        match difference.then.cause {
            Cause::Rule { policy, .. } => {
                let id = &worlds.then.policies[policy].policy.id;
                if id.kind.of_staged().is_some() {
                    assert_eq!(difference.by, std::slice::from_ref(id));
                    counts.by_rule += 1;
                } else {
                    counts.by_others += 1;
                }
            }
            Cause::EndOfTier(_) => counts.by_end += 1,
            _ => counts.by_others += 1,
        }
    }
}

#[test]
fn a_difference_comes_from_something_that_is_staged() {
    let mut counts = Counts::default();
    each_world(0x57a6, |dice| holds(dice, &mut counts));
    // Worlds in which nothing differs prove nothing.
    let Counts { differ, by_rule, by_end, by_others } = counts;
    let all = [by_rule, by_end, by_others];
    assert!(all.iter().all(|count| *count * 20 > differ) && differ > 500, "{differ}: {all:?}");
}
