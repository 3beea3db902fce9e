//! Rows: for a group, a protocol and a stretch of source ports, which destination ports are decided how.

use super::class::{Atoms, Classes};
use super::flat::{Flat, FlatRule};
use super::ports::Ports;
use super::{ICMP, Set};
use crate::decide::{Cause, Decision, Verdict};
use crate::object::EndAction;
use crate::object::calico::Action;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A row.
type Row = Vec<(u16, Decision)>;

/// All rows, each once.
#[derive(Default)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    numbers: HashMap<Row, u32>,
}

impl Rows {
    fn number(&mut self, row: Row) -> u32 {
        let next = self.rows.len() as u32;
        *self.numbers.entry(row).or_insert_with_key(|row| {
            self.rows.push(row.clone());
            next
        })
    }

    /// Compiles the rules of endpoints that have the same.
    pub fn set(&mut self, flat: &Flat, atoms: &Atoms, classes: &Classes) -> Set {
        let rules = || flat.tiers.iter().flat_map(|tier| &tier.rules);
        let mut set = Set { protocols: protocols(rules()), ..Set::default() };
        set.sources = sources(rules());
        let mut groups: Vec<Vec<u32>> = vec![Vec::new()];
        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::from([(Vec::new(), 0)]);
        for (class, holds) in held(rules(), atoms, classes) {
            let next = groups.len() as u32;
            let number = *numbers.entry(holds).or_insert_with_key(|holds| {
                groups.push(holds.clone());
                next
            });
            set.groups.insert(class, number);
        }
        let named = set.protocols.iter().copied().map(Some);
        let protocols: Vec<Option<u8>> = named.chain([None]).collect();
        for holds in &groups {
            // Rules that are not about this side need not be asked for each protocol.
            let rules: Vec<Vec<&FlatRule>> = flat
                .tiers
                .iter()
                .map(|tier| tier.rules.iter().filter(|rule| rule.holds(holds)).collect())
                .collect();
            for protocol in &protocols {
                for source in &set.sources {
                    let row = row(flat, &rules, holds, *protocol, *source);
                    set.rows.push(self.number(row));
                }
            }
        }
        set
    }
}

fn protocols<'a>(rules: impl Iterator<Item = &'a FlatRule>) -> Vec<u8> {
    // ICMP always has its own, since its numbers mean something else; so has what has ports.
    let mut all = BTreeSet::from([6, 17, 132]);
    all.extend(ICMP);
    for rule in rules {
        all.extend(rule.protocol);
        all.extend(rule.not_protocol);
    }
    all.into_iter().collect()
}

/// Where stretches of source ports begin that rules tell apart.
fn sources<'a>(rules: impl Iterator<Item = &'a FlatRule>) -> Vec<u16> {
    let mut edges = BTreeSet::from([0]);
    for rule in rules {
        for list in [&rule.source.is, &rule.source.not] {
            let of = list.of.iter().map(|(_, port)| (*port, *port));
            let at = list.at.iter().map(|(.., port)| (*port, *port));
            for (first, last) in list.numbers.iter().chain(of).chain(at) {
                edges.insert(first);
                edges.extend(last.checked_add(1));
            }
        }
    }
    edges.into_iter().collect()
}

/// Classes for which any atom of the rules holds, with those that do, ascending.
fn held<'a>(
    rules: impl Iterator<Item = &'a FlatRule>,
    atoms: &Atoms,
    classes: &Classes,
) -> BTreeMap<u32, Vec<u32>> {
    let mut used: BTreeSet<u32> = BTreeSet::new();
    for rule in rules {
        used.extend(rule.within.iter().chain(&rule.without));
        let lists =
            [&rule.source.is, &rule.source.not, &rule.destination.is, &rule.destination.not];
        used.extend(lists.iter().flat_map(|list| list.at.iter().map(|(atom, ..)| *atom)));
        used.extend(rule.service.iter().flatten().map(|(atom, ..)| *atom));
    }
    let mut held: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for atom in used.into_iter().filter(|atom| (*atom as usize) < atoms.all.len()) {
        for class in &classes.having[atom as usize] {
            held.entry(*class).or_default().push(atom);
        }
    }
    held
}

fn row(
    flat: &Flat,
    rules: &[Vec<&FlatRule>],
    holds: &[u32],
    protocol: Option<u8>,
    source: u16,
) -> Row {
    let mut decided: Vec<(u16, u16, Decision)> = Vec::new();
    let mut decide = |ports: &Ports, verdict, cause| {
        decided.extend(ports.iter().map(|(a, b)| (a, b, Decision { verdict, cause })));
    };
    let mut left = Ports::all();
    for (tier, rules) in flat.tiers.iter().zip(rules) {
        let (mut pending, mut passed) = (left, Ports::default());
        for rule in rules {
            if pending.is_empty() {
                break;
            }
            if !rule.is_about(protocol) || !is_from(rule, protocol, source, holds) {
                continue;
            }
            let here = pending.and(&rule.destination(protocol, holds));
            match rule.action {
                Action::Allow => decide(&here, Verdict::Allow, rule.cause),
                Action::Deny => decide(&here, Verdict::Deny, rule.cause),
                Action::Pass => passed = passed.or(&here),
                Action::Log => continue,
            }
            pending = pending.without(&here);
        }
        left = match tier.end {
            EndAction::Deny => {
                decide(&pending, Verdict::Deny, Cause::EndOfTier(tier.tier));
                passed
            }
            EndAction::Pass => passed.or(&pending),
        };
    }
    let verdict = if flat.open { Verdict::Allow } else { Verdict::Deny };
    decide(&left, verdict, Cause::Profile);
    decided.sort_unstable();
    let mut row: Row = Vec::new();
    for (_, last, decision) in decided {
        match row.last_mut().filter(|before| before.1 == decision) {
            Some(before) => before.0 = last,
            None => row.push((last, decision)),
        }
    }
    row
}

/// Whether a rule is about packets from a source port.
fn is_from(rule: &FlatRule, protocol: Option<u8>, source: u16, holds: &[u32]) -> bool {
    match protocol {
        Some(protocol) => rule.source.ports(protocol, holds).contains(source),
        None => !rule.source.asks,
    }
}
