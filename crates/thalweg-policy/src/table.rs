//! The compiled form: whose cost does not grow with rules, nor with addresses.
//!
//! A lookup takes four steps, each of which is a read of an array (or of a longest prefix match) once the
//! structures here are laid out for a data plane:
//!
//! 1. the *class* of the other side's address: addresses that no rule of any endpoint tells apart;
//! 2. the *group* of that class for the *set* of rules that the endpoint has: classes that these rules
//!    treat alike;
//! 3. the *row* of group, protocol and stretch of source ports;
//! 4. in the row, the stretch of destination ports (of ICMP, of type × 256 + code), with the verdict and
//!    what decided.
//!
//! Endpoints whose rules come to the same share a set, and equal rows are one.
//!
//! Tables can follow changes ([`crate::Compiler`]). Then numbers of classes, sets, groups and rows are kept
//! by what has them, so that little is written anew. A number that is let go names nothing in the change
//! after which it is free; the next one may give it away again. What such a number names is empty.

mod change;
mod class;
mod flat;
mod fork;
mod index;
mod layout;
mod live;
mod mixer;
mod own;
mod ports;
mod row;
mod safe;

pub use change::{Change, SetChange};
pub use class::Classes;
pub use fork::Fork;
pub(crate) use live::{Key, Live, Moved};

use crate::decide::{Decision, Logs, Packet, Verdict};
use crate::model::Direction;
use crate::resolve::{ChainKind, Resolution};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The protocols of ICMP.
const ICMP: [u8; 2] = [1, 58];

/// Everything compiled.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Addresses by class.
    pub classes: Classes,
    /// Sets of rules, each once.
    pub sets: Vec<Set>,
    /// Stretches of ports, ascending by their last one, with what is decided; each once.
    pub rows: Vec<Vec<Cell>>,
    /// The set of an endpoint at one of its addresses, by direction.
    of: HashMap<(usize, IpAddr, Direction), u32>,
    /// The forks of a host endpoint, by kind.
    forks: BTreeMap<(usize, ChainKind), Fork>,
}

/// A stretch of ports of a row (of ICMP, of type × 256 + code).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Cell {
    /// Its last port.
    pub last: u16,
    /// What is decided.
    pub decision: Decision,
    /// The rules that log which are passed before.
    pub logs: Logs,
}

/// What endpoints with the same rules have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Set {
    /// Groups of classes; those that are not here are in group 0.
    groups: HashMap<u32, u32>,
    /// Protocols that rules tell apart, ascending; behind them one for all others.
    protocols: Vec<u8>,
    /// Where stretches of source ports begin, ascending from 0; none where the number names no set.
    sources: Vec<u16>,
    /// Row of each group, protocol and stretch of source ports.
    rows: Vec<u32>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Stretches of addresses.
    pub stretches: usize,
    /// Classes of addresses.
    pub classes: usize,
    /// Sets of rules.
    pub sets: usize,
    /// Entries that lead from a set and a class to a group.
    pub groups: usize,
    /// Entries that lead to rows.
    pub entries: usize,
    /// Rows.
    pub rows: usize,
    /// Stretches of ports in all rows.
    pub ports: usize,
}

impl Tables {
    /// Compiles what pods say of packets that begin or end at them.
    pub fn new(resolution: &Resolution, wanted: impl Fn(usize) -> bool) -> Self {
        let mut live = Live::default();
        for (at, endpoint) in resolution.world.endpoints.iter().enumerate() {
            if endpoint.is_host() || !wanted(at) {
                continue;
            }
            for direction in [Direction::Ingress, Direction::Egress] {
                let Some(chain) = resolution.chain_at(at, ChainKind::normal(direction)) else {
                    continue;
                };
                for address in &endpoint.addresses {
                    live.assign(resolution, chain, (at, *address, direction));
                }
            }
        }
        live.finish(resolution, &Moved::default());
        live.into_tables()
    }

    /// The set of an endpoint at one of its addresses; none where it is no pod with that address.
    pub fn set_of(&self, endpoint: usize, address: IpAddr, direction: Direction) -> Option<u32> {
        self.of.get(&(endpoint, address, direction)).copied()
    }

    /// What an endpoint says of a packet; none where it is no pod with that address.
    pub fn decide(
        &self,
        endpoint: usize,
        direction: Direction,
        packet: &Packet,
    ) -> Option<Decision> {
        self.cell(endpoint, direction, packet).map(|cell| cell.decision)
    }

    /// As [`Tables::decide`], with all that is known of it.
    pub fn cell(&self, endpoint: usize, direction: Direction, packet: &Packet) -> Option<&Cell> {
        let local = match direction {
            Direction::Ingress => packet.destination,
            Direction::Egress => packet.source,
        };
        self.cell_as(self.set_of(endpoint, local, direction)?, direction, packet)
    }

    /// What whoever has a set says of a packet; none where there is no such set.
    pub fn decide_as(&self, set: u32, direction: Direction, packet: &Packet) -> Option<Decision> {
        self.cell_as(set, direction, packet).map(|cell| cell.decision)
    }

    /// As [`Tables::decide_as`], with all that is known of it.
    pub fn cell_as(&self, set: u32, direction: Direction, packet: &Packet) -> Option<&Cell> {
        let remote = match direction {
            Direction::Ingress => packet.source,
            Direction::Egress => packet.destination,
        };
        let set = self.sets.get(set as usize)?;
        let group = set.groups.get(&self.classes.of(remote)).copied().unwrap_or(0) as usize;
        let protocol = set.protocols.binary_search(&packet.protocol);
        let protocol = protocol.unwrap_or(set.protocols.len());
        let (from, to) = match (packet.ports, packet.icmp) {
            (Some(ports), _) => ports,
            (None, Some((kind, code))) => (0, u16::from_be_bytes([kind, code])),
            (None, None) => (0, 0),
        };
        let source = set.sources.partition_point(|first| *first <= from).checked_sub(1)?;
        let at = (group * (set.protocols.len() + 1) + protocol) * set.sources.len() + source;
        let row = self.rows.get(*set.rows.get(at)? as usize)?;
        row.get(row.partition_point(|cell| cell.last < to))
    }

    /// How much there is of everything.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            stretches: self.classes.stretches(),
            classes: self.classes.used(),
            sets: self.sets.iter().filter(|set| !set.sources.is_empty()).count(),
            groups: self.sets.iter().map(|set| set.groups.len()).sum(),
            entries: self.sets.iter().map(|set| set.rows.len()).sum(),
            rows: self.rows.iter().filter(|row| !row.is_empty()).count(),
            ports: self.rows.iter().map(Vec::len).sum(),
        }
    }

    /// Whether an endpoint lets a packet pass.
    pub fn allows(&self, endpoint: usize, direction: Direction, packet: &Packet) -> bool {
        let decided = self.decide(endpoint, direction, packet);
        decided.is_some_and(|one| one.verdict == Verdict::Allow)
    }
}
