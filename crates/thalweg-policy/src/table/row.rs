//! Rows: for a group, a protocol and a stretch of source ports, which destination ports are decided how.

use super::flat::{Does, Flat, FlatRule, OWN};
use super::index::Index;
use super::mixer::Mixing;
use super::ports::Ports;
use super::{Cell, ICMP};
use crate::decide::{Cause, Decision, Logs, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

/// A row.
pub(super) type Row = Vec<Cell>;

/// How often rows are used, and where equal ones are.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    uses: Vec<u32>,
    numbers: BTreeMap<u64, Vec<u32>>,
    hasher: Mixing,
    free: Vec<u32>,
    /// Rows that are used by nobody, or were at some time.
    unused: BTreeSet<u32>,
    /// Rows that were not there when the change began.
    pub made: BTreeSet<u32>,
}

impl Rows {
    /// The number of a row, which is used once more.
    pub fn take(&mut self, rows: &mut Vec<Row>, row: Row) -> u32 {
        let alike = self.numbers.entry(self.hasher.hash_one(&row)).or_default();
        if let Some(known) = alike.iter().find(|known| rows[**known as usize] == row) {
            self.uses[*known as usize] += 1;
            return *known;
        }
        let number = self.free.pop().unwrap_or(rows.len() as u32);
        alike.push(number);
        self.made.insert(number);
        match rows.get_mut(number as usize) {
            Some(place) => {
                *place = row;
                self.uses[number as usize] = 1;
            }
            None => {
                rows.push(row);
                self.uses.push(1);
            }
        }
        number
    }

    /// A row is used once less.
    pub fn release(&mut self, number: u32) {
        self.uses[number as usize] -= 1;
        if self.uses[number as usize] == 0 {
            self.unused.insert(number);
        }
    }

    /// Drops what nobody uses: such rows are empty from now on. Returns which were made and are used, and
    /// which are gone.
    pub fn sweep(&mut self, rows: &mut [Row]) -> [BTreeSet<u32>; 2] {
        let mut made = std::mem::take(&mut self.made);
        let mut gone = std::mem::take(&mut self.unused);
        gone.retain(|number| self.uses[*number as usize] == 0);
        for number in &gone {
            let row = std::mem::take(&mut rows[*number as usize]);
            let key = self.hasher.hash_one(&row);
            if let Some(alike) = self.numbers.get_mut(&key) {
                alike.retain(|one| one != number);
                if alike.is_empty() {
                    self.numbers.remove(&key);
                }
            }
            self.free.push(*number);
        }
        let never = |number: &u32| gone.contains(number);
        let both: Vec<u32> = made.iter().copied().filter(never).collect();
        for number in both {
            made.remove(&number);
            gone.remove(&number);
        }
        [made, gone]
    }
}

impl Flat {
    /// All rules in order.
    fn rules(&self) -> impl Iterator<Item = &FlatRule> {
        self.tiers.iter().flat_map(|tier| &tier.rules)
    }

    /// Protocols that rules tell apart, ascending.
    pub fn protocols(&self) -> Vec<u8> {
        protocols(self.rules())
    }

    /// Where stretches of source ports begin that rules tell apart, ascending from 0.
    pub fn sources(&self) -> Vec<u16> {
        sources(self.rules())
    }

    /// Atoms that rules ask for, ascending.
    pub fn atoms(&self) -> Vec<u32> {
        let mut used: BTreeSet<u32> = BTreeSet::new();
        for rule in self.rules() {
            used.extend(rule.within.iter().chain(&rule.without));
            let lists =
                [&rule.source.is, &rule.source.not, &rule.destination.is, &rule.destination.not];
            used.extend(lists.iter().flat_map(|list| list.at.iter().map(|(atom, ..)| *atom)));
            used.extend(rule.service.iter().flatten().map(|(atom, ..)| *atom));
        }
        used.remove(&OWN);
        used.into_iter().collect()
    }

    /// Rows of addresses for which these atoms hold: of each protocol, behind them of all others, those of
    /// each stretch of source ports.
    pub fn rows(
        &self,
        index: &Index,
        holds: &[u32],
        protocols: &[u8],
        sources: &[u16],
    ) -> Vec<Row> {
        let tiers = 0..self.tiers.len();
        let holding: Vec<Vec<&FlatRule>> =
            tiers.map(|tier| index.holding(self, tier, holds)).collect();
        let mut made = Vec::with_capacity((protocols.len() + 1) * sources.len());
        // Of most protocols no rule is about this side: they all have the same row.
        let mut idle: Option<Row> = None;
        for protocol in protocols.iter().copied().map(Some).chain([None]) {
            let about = |rule: &&FlatRule| rule.is_about(protocol);
            let rules: Vec<Vec<&FlatRule>> =
                holding.iter().map(|rules| rules.iter().copied().filter(about).collect()).collect();
            if rules.iter().all(Vec::is_empty) {
                let row = idle.get_or_insert_with(|| row(self, &rules, holds, protocol, 0));
                made.extend(std::iter::repeat_n(&*row, sources.len()).cloned());
            } else {
                let of = |source: &u16| row(self, &rules, holds, protocol, *source);
                made.extend(sources.iter().map(of));
            }
        }
        made
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
    let mut logged: Vec<(Ports, Cause)> = Vec::new();
    let mut left = Ports::all();
    for (tier, rules) in flat.tiers.iter().zip(rules) {
        let (mut pending, mut passed) = (left, Ports::default());
        for rule in rules {
            if pending.is_empty() {
                break;
            }
            if !is_from(rule, protocol, source, holds) {
                continue;
            }
            let here = pending.and(&rule.destination(protocol, holds));
            match rule.does {
                Does::Decide(verdict) => decide(&here, verdict, rule.cause),
                Does::Pass => passed = passed.or(&here),
                Does::Log if here.is_empty() => continue,
                Does::Log => {
                    logged.push((here, rule.cause));
                    continue;
                }
            }
            pending = pending.without(&here);
        }
        left = match tier.denies {
            Some(tier) => {
                decide(&pending, Verdict::Deny, Cause::EndOfTier(tier));
                passed
            }
            None => passed.or(&pending),
        };
    }
    decide(&left, flat.end.verdict, flat.end.cause);
    decided.sort_unstable();
    let mut row: Row = Vec::new();
    for (first, last, decision) in decided {
        for (last, logs) in passing(&logged, first, last) {
            match row.last_mut().filter(|before| before.decision == decision && before.logs == logs)
            {
                Some(before) => before.last = last,
                None => row.push(Cell { last, decision, logs }),
            }
        }
    }
    row
}

/// Which rules that log are passed on the way to what decides about some ports: the last port of each stretch,
/// with the rules.
fn passing(logged: &[(Ports, Cause)], first: u16, last: u16) -> Vec<(u16, Logs)> {
    let within: Ports = [(first, last)].into_iter().collect();
    let mut ends = BTreeSet::from([last]);
    let edges = logged.iter().map(|(ports, _)| ports.and(&within));
    for (first_logged, last_logged) in edges.flat_map(|ports| ports.iter().collect::<Vec<_>>()) {
        ends.extend(first_logged.checked_sub(1).filter(|before| *before >= first));
        ends.insert(last_logged);
    }
    let logs = |port: u16| {
        let passed = logged.iter().filter(move |(ports, _)| ports.contains(port));
        passed.filter_map(|(_, cause)| match cause {
            Cause::Rule { policy, rule } => Some((*policy, *rule)),
            _ => None,
        })
    };
    ends.into_iter().map(|end| (end, logs(end).collect())).collect()
}

/// Whether a rule is about packets from a source port.
fn is_from(rule: &FlatRule, protocol: Option<u8>, source: u16, holds: &[u32]) -> bool {
    match protocol {
        Some(protocol) => rule.source.ports(protocol, holds).contains(source),
        None => !rule.source.asks,
    }
}
