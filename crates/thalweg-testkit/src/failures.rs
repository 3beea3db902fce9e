//! Links that fail between two plans: the state words alone move packets, to where the next plan would
//! send them, or to a member that is up.

use crate::against_oracle::{LINKS, allowed, begin, outcome, sent};
use crate::engine::{Course, Engine};
use crate::random::{self, Chance};
use crate::world::World;
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_oracle::{Answer, Exit, ExitKind, Oracle};

/// Takes links of a world by chance down by their states alone, and sends so many packets.
///
/// # Errors
///
/// The story of a packet that went where it must not.
pub fn run(engine: &mut dyn Engine, chance: &mut Chance, packets: usize) -> Result<(), String> {
    let (mut course, text) = begin(engine, chance)?;
    let before = course.world.clone();
    let failed = fail(&mut course, chance)?;
    for _ in 0..packets {
        let four = chance.once_in(2);
        let to = random::destination(chance, four);
        let to: IpAddr = to.parse().map_err(|_| format!("{to} is no address"))?;
        let (link, vrf) = chance.pick(&LINKS);
        let seen = sent(&mut course, link, to, chance.below(60_000))?;
        let exits = exits(&before, vrf, to, 0);
        let mut may = allowed(&course.world, vrf, to, 0);
        may.extend(exits.iter().flat_map(|exit| outcome(&course.world, exit, to, 1)));
        let lost = seen.0 == "link-down" && must_live(&exits, &course.world, failed.len());
        if !may.contains(&seen) || lost {
            return Err(format!(
                "{text}down: {failed:?}\n{link} ({vrf}) to {to}\nmay be {may:?}\nseen   {seen:?}"
            ));
        }
    }
    Ok(())
}

/// Takes one or two links down, with the VLANs on them: in the tables by their states, in the world.
fn fail(course: &mut Course<'_>, chance: &mut Chance) -> Result<BTreeSet<u32>, String> {
    let mut failed = BTreeSet::new();
    for _ in 0..1 + chance.below(2) {
        let name = chance.pick(&["eth0", "eth1", "eth2", "eth3", "eth3.9", "eth4", "eth5"]);
        failed.extend(course.world.index(name));
    }
    let on_top = |link: &thalweg_model::host::Link| link.lower.is_some_and(|l| failed.contains(&l));
    let more: Vec<u32> =
        course.world.host.links.values().filter(|link| on_top(link)).map(|l| l.index).collect();
    let groups = failed.clone();
    failed.extend(more);
    for link in &failed {
        course.engine.set_state(*link, false)?;
        if let Some(link) = course.world.host.links.get_mut(link) {
            link.up = false;
        }
    }
    Ok(groups)
}

/// Where packets to an address may leave, by the plan in force.
fn exits(world: &World, vrf: &str, to: IpAddr, depth: usize) -> Vec<Exit> {
    match Oracle::new(&world.intent, &world.host).route(vrf, to) {
        Answer::Nothing => Vec::new(),
        Answer::Lookup(vrf) if depth < 2 => exits(world, &vrf, to, depth + 1),
        Answer::Lookup(_) => Vec::new(),
        Answer::Exits(found) => {
            let follow = |(exit, _): (Exit, f64)| match exit.kind {
                ExitKind::Lookup(vrf) if depth < 2 => exits(world, &vrf, to, depth + 1),
                _ => vec![exit],
            };
            found.into_iter().flat_map(follow).collect()
        }
    }
}

/// Whether no packet may be lost: one failure at a time, and a member that is up. Of two, one may hit
/// the member that would have stood in.
fn must_live(exits: &[Exit], now: &World, failures: usize) -> bool {
    let up = |link: &u32| now.host.links.get(link).is_some_and(|link| link.up);
    let alive = |exit: &Exit| matches!(&exit.kind, ExitKind::Adjacent(link, _) if up(link));
    failures == 1 && exits.iter().any(alive) && exits.iter().all(|exit| exit.backup.is_none())
}
