//! The tables as parts, for whoever lays them out for a data plane.

use super::{Set, Tables};
use crate::model::Direction;
use std::collections::HashMap;
use std::net::IpAddr;

impl Tables {
    /// Where stretches of addresses begin, ascending, with their class. Before the first all are of class 0.
    pub fn stretches_of_classes(&self) -> &[(IpAddr, u32)] {
        self.classes.parts()
    }

    /// The number of the set of an endpoint at each of its addresses, by direction; in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = (usize, IpAddr, Direction, u32)> {
        self.of.iter().map(|((at, address, direction), set)| (*at, *address, *direction, *set))
    }
}

impl Set {
    /// Groups of classes; those that are not here are in group 0.
    pub fn groups(&self) -> &HashMap<u32, u32> {
        &self.groups
    }

    /// Protocols that rules tell apart, ascending; behind them one stands for all others.
    pub fn protocols(&self) -> &[u8] {
        &self.protocols
    }

    /// Where stretches of source ports begin, ascending from 0.
    pub fn sources(&self) -> &[u16] {
        &self.sources
    }

    /// The row of each group, protocol and stretch of source ports, the last running fastest.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }
}
