//! Forks: what hosts say of packets whose *own* side (the destination of what comes, the source of what goes)
//! may have any address. The class of that address leads to an ordinary set of rules about the other side.

use super::{Cell, Tables};
use crate::decide::Packet;
use crate::model::Direction;
use crate::resolve::ChainKind;
use std::collections::BTreeMap;

/// The sets of a host endpoint at one of its stages, by the class of the own address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fork {
    pub(super) others: u32,
    pub(super) by_class: BTreeMap<u32, u32>,
}

impl Fork {
    /// The set of all classes that are not among [`Self::by_class`].
    pub fn others(&self) -> u32 {
        self.others
    }

    /// Sets of classes that rules about the own side tell apart from all others, each another one than that
    /// of these.
    pub fn by_class(&self) -> &BTreeMap<u32, u32> {
        &self.by_class
    }

    /// The set of a class.
    pub fn set(&self, class: u32) -> u32 {
        self.by_class.get(&class).copied().unwrap_or(self.others)
    }
}

impl Tables {
    /// The forks of host endpoints, by number and kind.
    pub fn forks(&self) -> impl Iterator<Item = (usize, ChainKind, &Fork)> {
        self.forks.iter().map(|((endpoint, kind), fork)| (*endpoint, *kind, fork))
    }

    /// What a host endpoint says of a packet at one of its stages; none where it says nothing at all there.
    pub fn ask(&self, endpoint: usize, kind: ChainKind, packet: &Packet) -> Option<&Cell> {
        let own = match kind.direction {
            Direction::Ingress => packet.destination,
            Direction::Egress => packet.source,
        };
        let fork = self.forks.get(&(endpoint, kind))?;
        self.cell_as(fork.set(self.classes.of(own)), kind.direction, packet)
    }
}
