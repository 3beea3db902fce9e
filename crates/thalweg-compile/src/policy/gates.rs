//! What hosts say at their links, as lines: gates, which lead to forks, which lead to sets.

use super::causes::Causes;
use super::hosts::Question;
use super::lines::{Layout, Wanted, cell, packed, pages, pair};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::policy::{Line, fork, gate, set};
use thalweg_policy::Verdict;
use thalweg_policy::decide::{Cause, Decision, Logs};
use thalweg_policy::model::Direction;
use thalweg_policy::table::{Cell, Fork};

/// What an endpoint says, laid out.
#[derive(Debug, Default)]
pub(super) struct Gate {
    line: u32,
    /// Words that it has in the store.
    blocks: Vec<u32>,
}

impl Layout {
    /// The line of an endpoint's gate; 0 where it lets everything pass.
    pub fn gate(&self, endpoint: usize) -> u32 {
        self.gates.get(&endpoint).map_or(0, |gate| gate.line)
    }

    /// Lays the gates of all endpoints out anew; what is the same as before stays where it is.
    pub(super) fn lay_gates(&mut self, wanted: Wanted<'_>, causes: &mut Causes<'_>) {
        let mut gates: BTreeMap<usize, Gate> = BTreeMap::new();
        for (endpoint, forks) in &wanted.hosts.forks {
            let (mut line, mut made) = (Line::default(), Gate::default());
            let forks: Vec<(Question, u32)> = match wanted.hosts.closed {
                true => closed(forks.keys())
                    .map(|asked| (asked, self.closed_fork(asked, wanted, causes, &mut made)))
                    .collect(),
                false => forks
                    .iter()
                    .map(|(asked, fork)| (*asked, self.fork(fork, asked.1, &mut made)))
                    .collect(),
            };
            for ((word, direction), fork) in forks {
                line[word] |= half(fork, direction);
            }
            made.line = self.take(line.to_vec(), &mut made);
            gates.insert(*endpoint, made);
        }
        // Last, so that what is as before is still there to be shared.
        let before = std::mem::replace(&mut self.gates, gates);
        let blocks = before.into_values().flat_map(|gate| gate.blocks);
        blocks.for_each(|block| self.store.release(block));
    }

    fn take(&mut self, words: Vec<u64>, gate: &mut Gate) -> u32 {
        let line = self.store.take(words);
        gate.blocks.push(line);
        line
    }

    /// The line of a fork, whose sets are there.
    fn fork(&mut self, of: &Fork, direction: Direction, gate: &mut Gate) -> u32 {
        let line_of = |number: u32| self.sets.get(&(number, direction)).map_or(0, |laid| laid.line);
        let others = line_of(of.others());
        let told_apart: BTreeMap<u32, u32> =
            of.by_class().iter().map(|(class, number)| (*class, line_of(*number))).collect();
        let (first, count) = pages(&mut self.store, &told_apart, &mut gate.blocks);
        self.fork_line((first, count), others, gate)
    }

    fn fork_line(&mut self, (pages, count): (u32, u32), others: u32, gate: &mut Gate) -> u32 {
        let mut line = Line::default();
        line[fork::PAGES] = pair(pages, count);
        line[fork::OTHERS] = others.into();
        self.take(line.to_vec(), gate)
    }

    /// A fork without room for its rules: it denies everything, but for the ports that stay open.
    fn closed_fork(
        &mut self,
        (word, direction): Question,
        wanted: Wanted<'_>,
        causes: &mut Causes<'_>,
        gate: &mut Gate,
    ) -> u32 {
        let set = match word == gate::LOCAL {
            true => self.closed_set(direction, wanted, causes, gate),
            false => self.closed(causes),
        };
        self.fork_line((0, 0), set, gate)
    }

    /// The set that allows ports that stay open whatever policies say, and nothing else.
    fn closed_set(
        &mut self,
        direction: Direction,
        wanted: Wanted<'_>,
        causes: &mut Causes<'_>,
        gate: &mut Gate,
    ) -> u32 {
        let open = match direction {
            Direction::Ingress => &wanted.settings.fail_safe_in,
            Direction::Egress => &wanted.settings.fail_safe_out,
        };
        let mut ports: BTreeMap<u8, BTreeSet<u16>> = BTreeMap::new();
        for (protocol, port) in open {
            ports.entry(protocol.number()).or_default().insert(*port);
        }
        let others = ports.len() as u8;
        let mut positions = [others; 256];
        for (at, protocol) in (0..).zip(ports.keys()) {
            positions[usize::from(*protocol)] = at;
        }
        let none = BTreeSet::new();
        let rows: Vec<u32> = ports
            .values()
            .chain([&none])
            .map(|ports| self.take(closed_row(ports, direction, causes), gate))
            .collect();
        let mut line = Line::default();
        line[set::PROTOCOLS] = pair(self.take(packed(&positions, 8), gate), 1);
        let sources = self.take(packed(&[0u16], 16), gate);
        line[set::ENTRIES] = pair(sources, self.take(packed(&rows, 32), gate));
        line[set::STRIDE] = rows.len() as u64;
        self.take(line.to_vec(), gate)
    }
}

/// The half of a gate's word that is for a direction.
fn half(fork: u32, direction: Direction) -> u64 {
    match direction {
        Direction::Ingress => pair(fork, 0),
        Direction::Egress => pair(0, fork),
    }
}

/// What an endpoint is asked that is closed. Whatever of it would have gone on from an earlier stage, or not,
/// ends at the last ones.
fn closed<'a>(asked: impl Iterator<Item = &'a Question>) -> impl Iterator<Item = Question> {
    let both = |(word, direction): &Question| match *word {
        gate::LOCAL | gate::FORWARD => vec![(*word, *direction)],
        _ => vec![(gate::LOCAL, *direction), (gate::FORWARD, *direction)],
    };
    asked.flat_map(both).collect::<BTreeSet<Question>>().into_iter()
}

/// A row that allows some ports.
fn closed_row(ports: &BTreeSet<u16>, direction: Direction, causes: &mut Causes<'_>) -> Vec<u64> {
    let denied =
        |last, causes: &mut Causes<'_>| thalweg_abi::policy::cell(last, false, causes.closed());
    let allowed = Decision { verdict: Verdict::Allow, cause: Cause::FailSafe };
    let (mut cells, mut next) = (Vec::new(), 0u32);
    for port in ports {
        if u32::from(*port) > next {
            cells.push(denied(*port - 1, causes));
        }
        let allowed = Cell { last: *port, decision: allowed, logs: Logs::default() };
        cells.push(cell(&allowed, direction, causes));
        next = u32::from(*port) + 1;
    }
    if next <= u32::from(u16::MAX) {
        cells.push(denied(u16::MAX, causes));
    }
    [cells.len() as u64].into_iter().chain(cells).collect()
}
