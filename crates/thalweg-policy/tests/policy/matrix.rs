//! What the matrix and the difference of two say holds for all pods of their groups, and all ports.

use crate::oracle::{resolve, worlds};
use crate::random::{Arrival, Dice, address, arrivals};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_policy::decide::Cause;
use thalweg_policy::matrix::{Access, Outside};
use thalweg_policy::{Packet, Resolution};

/// A world in which each pod has addresses of its own.
fn world(dice: &mut Dice) -> Vec<Arrival> {
    let mut all = arrivals(dice);
    let mut next = 0;
    for one in &mut all {
        match one {
            Arrival::Pod(_, pod) => {
                next += 1;
                pod.addresses = vec![format!("10.0.0.{next}").parse().unwrap()];
                if dice.one_in(3) {
                    pod.addresses.insert(0, format!("fd00::{next}").parse().unwrap());
                }
            }
            // Names of ports at addresses of others are nobody's.
            Arrival::Host(_, host) => host.ports.clear(),
            _ => {}
        }
    }
    all
}

/// Whether access has a packet.
fn has(access: &Access, packet: &Packet) -> bool {
    let known = [1, 6, 17, 58, 132].contains(&packet.protocol);
    let protocol = if known { packet.protocol } else { 255 };
    let ports = access.protocols.get(&protocol).map_or(&[][..], Vec::as_slice);
    let port = packet.ports.map_or(0, |(_, port)| port);
    ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
}

/// A packet of what the matrix is about: from a client's port, between the first addresses of one family.
fn between(dice: &mut Dice, resolution: &Resolution, from: usize, to: usize) -> Option<Packet> {
    let of = |at: usize| &resolution.world.endpoints[at].addresses;
    let same = |source: &IpAddr| {
        let other = of(to).iter().find(|to| to.is_ipv4() == source.is_ipv4())?;
        Some((*source, *other))
    };
    let (source, destination) = of(from).iter().find_map(same)?;
    Some(from_client(dice, source, destination))
}

/// A packet from a client's port.
fn from_client(dice: &mut Dice, source: IpAddr, destination: IpAddr) -> Packet {
    let icmp = if source.is_ipv4() { 1 } else { 58 };
    let protocol = dice.of(&[6, 6, 17, 132, icmp, 47]);
    let port = dice.below(9) as u16;
    let port = if port == 8 { u16::MAX } else { port };
    let ports = matches!(protocol, 6 | 17 | 132).then_some((49_152, port));
    let echo = if source.is_ipv4() { (8, 0) } else { (128, 0) };
    let icmp = (protocol == icmp).then_some(echo);
    Packet { source, destination, protocol, ports, icmp }
}

/// Whether an address is nobody's.
fn is_outside(resolution: &Resolution, address: IpAddr) -> bool {
    let pods = resolution.world.endpoints.iter().flat_map(|one| &one.addresses);
    !pods.chain(resolution.world.nodes.values().flatten()).any(|one| *one == address)
}

/// Whether a packet passes; none where that hangs on what the matrix does not ask.
fn passes(resolution: &Resolution, from: usize, to: usize, packet: &Packet) -> Option<bool> {
    let judged = resolution.judge(Some(from), Some(to), packet);
    let own = judged.ingress.is_some_and(|one| one.cause == Cause::OwnNode);
    (!own).then(|| judged.is_allowed())
}

#[test]
fn a_cell_holds_for_all_of_both_groups() {
    let (mut asked, mut open) = (0, 0);
    for seed in 0..worlds() / 6 {
        let mut dice = Dice::new(seed ^ 0x3a7);
        let resolution = resolve(&world(&mut dice));
        let matrix = resolution.matrix();
        let names: BTreeSet<&str> = matrix.groups.iter().map(|group| &*group.name).collect();
        assert_eq!(names.len(), matrix.groups.len(), "seed {seed}: {:?}", matrix.groups);
        for (from, row) in matrix.groups.iter().zip(&matrix.cells) {
            for (to, cell) in matrix.groups.iter().zip(row) {
                let (source, destination) = (dice.of(&from.members), dice.of(&to.members));
                if source == destination && to.members.len() > 1 {
                    continue;
                }
                for _ in 0..4 {
                    let packet = between(&mut dice, &resolution, source, destination);
                    let Some(packet) = packet else { continue };
                    let Some(passes) = passes(&resolution, source, destination, &packet) else {
                        continue;
                    };
                    let names = (&from.name, &to.name);
                    assert_eq!(
                        has(cell, &packet),
                        passes,
                        "seed {seed}: {packet:?} {names:?} {cell}\n{resolution}"
                    );
                    asked += 1;
                    open += usize::from(passes);
                }
            }
        }
    }
    assert!(open * 5 > asked && open * 5 < asked * 4, "{open} open of {asked}");
}

#[test]
fn what_is_outside_is_treated_as_one_of_its_rows_says() {
    let (mut asked, mut open) = (0, 0);
    for seed in 0..worlds() / 6 {
        let mut dice = Dice::new(seed ^ 0x07d);
        let resolution = resolve(&world(&mut dice));
        let matrix = resolution.matrix();
        for one in &matrix.outside {
            assert!(is_outside(&resolution, one.address), "seed {seed}: {}", one.name);
        }
        let other = address(&mut dice);
        if !is_outside(&resolution, other) || matrix.outside.is_empty() {
            continue;
        }
        // Each row by the address that stands for it, and one of all rows by any address.
        let mut rows: Vec<_> =
            matrix.outside.iter().filter(|one| one.address.is_ipv4() == other.is_ipv4()).collect();
        for _ in 0..12 {
            let Some((at, group)) = dice.some_of(&matrix.groups) else { break };
            let pod = dice.of(&group.members);
            let mut holds = |row: &Outside, address: IpAddr, dice: &mut Dice| {
                let of_family = |one: &&IpAddr| one.is_ipv4() == address.is_ipv4();
                let own = resolution.world.endpoints[pod].addresses.iter().find(of_family)?;
                let sends = dice.one_in(2);
                let (source, destination) = if sends { (*own, address) } else { (address, *own) };
                let packet = from_client(dice, source, destination);
                let (from, to) = if sends { (Some(pod), None) } else { (None, Some(pod)) };
                let passes = resolution.judge(from, to, &packet).is_allowed();
                let cell = if sends { &row.from[at] } else { &row.to[at] };
                (asked, open) = (asked + 1, open + usize::from(passes));
                Some(has(cell, &packet) == passes)
            };
            for row in &matrix.outside {
                let held = holds(row, row.address, &mut dice);
                assert_ne!(held, Some(false), "seed {seed}: {}\n{resolution}", row.name);
            }
            let state = dice.clone();
            rows.retain(|row| holds(row, other, &mut state.clone()) != Some(false));
        }
        let of_family = |one: &Outside| one.address.is_ipv4() == other.is_ipv4();
        let none = !matrix.outside.iter().any(of_family);
        assert!(none || !rows.is_empty(), "seed {seed}: {other} is as no row says\n{resolution}");
    }
    assert!(open * 10 > asked && open * 10 < asked * 9, "{open} open of {asked}");
}

/// Whether a group of that name may hold a pod of that name.
fn is_in(group: &str, pod: &str) -> bool {
    if let Some((namespace, names)) = group.split_once('{') {
        let names = names.split_once('}').map_or("", |(names, _)| names);
        return names.split(',').any(|name| format!("{namespace}{name}") == pod);
    }
    match group.split_once('*') {
        Some((start, _)) => pod.starts_with(start),
        None => group == pod,
    }
}

#[test]
fn a_change_is_told_and_nothing_else() {
    let (mut changed, mut same) = (0, 0);
    for seed in 0..worlds() / 6 {
        let mut dice = Dice::new(seed ^ 0xd1f);
        let before = world(&mut dice);
        // Some policies go, and some of another world come.
        let policy = |one: &Arrival| matches!(one, Arrival::Policy(..));
        let mut after: Vec<Arrival> = Vec::new();
        after.extend(before.iter().filter(|one| !policy(one) || !dice.one_in(3)).cloned());
        let mut more: Vec<Arrival> = arrivals(&mut dice).into_iter().filter(policy).collect();
        more.truncate(1);
        after.extend(more);
        let [old, new] = [&before, &after].map(|all| resolve(all));
        let changes = old.changes(&new);
        let back = new.changes(&old);
        assert_eq!(changes.len(), back.len(), "seed {seed}");
        for (one, other) in changes.iter().zip(&back) {
            assert_eq!((&one.opened, &one.closed), (&other.closed, &other.opened), "seed {seed}");
        }
        let pods: Vec<usize> = (0..old.world.endpoints.len())
            .filter(|at| !old.world.endpoints[*at].is_host())
            .collect();
        for _ in 0..if pods.is_empty() { 0 } else { 24 } {
            let (from, to) = (dice.of(&pods), dice.of(&pods));
            let Some(packet) = between(&mut dice, &old, from, to).filter(|_| from != to) else {
                continue;
            };
            let was = passes(&old, from, to, &packet);
            let is = passes(&new, from, to, &packet);
            let [from, to] = [from, to].map(|at| old.world.endpoints[at].name.to_string());
            let told = changes.iter().filter(|one| is_in(&one.from, &from) && is_in(&one.to, &to));
            let told: Vec<_> = told.collect();
            let opened = told.iter().any(|one| has(&one.opened, &packet));
            let closed = told.iter().any(|one| has(&one.closed, &packet));
            if let (Some(was), Some(is)) = (was, is) {
                assert_eq!(
                    (opened, closed),
                    (!was && is, was && !is),
                    "seed {seed}: {packet:?} {told:?}"
                );
                changed += usize::from(was != is);
                same += usize::from(was == is);
            }
        }
    }
    assert!(changed * 20 > same, "{changed} changed, {same} did not");
}

#[test]
fn a_change_towards_what_is_outside_is_told() {
    let mut changed = 0;
    for seed in 0..worlds() / 6 {
        let mut dice = Dice::new(seed ^ 0x0dd);
        let before = world(&mut dice);
        let mut policies: Vec<Arrival> = arrivals(&mut dice);
        policies.retain(|one| matches!(one, Arrival::Policy(..)));
        let after: Vec<Arrival> = before.iter().cloned().chain(policies).collect();
        let [old, new] = [&before, &after].map(|all| resolve(all));
        let changes = old.changes(&new);
        let other = address(&mut dice);
        let pods = old.world.endpoints.iter().enumerate().filter(|(_, one)| !one.is_host());
        let pods: Vec<usize> = pods.map(|(at, _)| at).collect();
        if pods.is_empty() || !is_outside(&old, other) || !is_outside(&new, other) {
            continue;
        }
        for _ in 0..16 {
            let pod = dice.of(&pods);
            let endpoint = &old.world.endpoints[pod];
            let own = endpoint.addresses.iter().find(|one| one.is_ipv4() == other.is_ipv4());
            let Some(own) = own else { continue };
            let packet = from_client(&mut dice, *own, other);
            let passes = |of: &Resolution| of.judge(Some(pod), None, &packet).is_allowed();
            let (was, is) = (passes(&old), passes(&new));
            let name = endpoint.name.to_string();
            let told = changes
                .iter()
                .filter(|one| is_in(&one.from, &name))
                .any(|one| has(&one.opened, &packet) && is || has(&one.closed, &packet) && was);
            assert!(was == is || told, "seed {seed}: {packet:?} {changes:?}");
            changed += usize::from(was != is);
        }
    }
    assert!(changed > 100, "{changed} changed");
}
