//! How much of its ports each address outside has given away.

use crate::cluster::address;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use thalweg_abi::flow::{WORDS, kind, word};
use thalweg_compile::Compiler;

/// Addresses that have series: those with most flows.
pub const ADDRESSES: usize = 100;

/// What the loop lends for counting.
#[derive(Clone, Debug, Default)]
pub struct LentNat {
    /// Ports of each address to one destination.
    ports: u32,
    /// Addresses that are one workload's, with all ports.
    floating: BTreeSet<IpAddr>,
}

impl LentNat {
    /// From what is in force.
    pub fn new(compiler: &Compiler) -> Self {
        let (first, last) = compiler.nat_ports();
        Self {
            ports: u32::from(last) - u32::from(first) + 1,
            floating: compiler.floating().map(|held| held.address).collect(),
        }
    }
}

/// How sources are translated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nat {
    /// Ports of each address to one destination.
    pub ports: u32,
    /// Addresses, by number.
    pub addresses: Vec<Outside>,
    /// Addresses without series.
    pub left_out: u64,
}

/// An address that sources are translated to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// The address.
    pub address: String,
    /// Flows that leave with it.
    pub flows: u64,
    /// Ports in use to the destination that has most.
    pub most: u64,
    /// Ports that are a source's, whatever the destination.
    pub mappings: u64,
}

/// Destination: address, ports and protocol.
type End = ([u64; 2], u64);

/// Counts rows.
#[derive(Debug, Default)]
pub struct Count {
    flows: BTreeMap<IpAddr, HashMap<End, u64>>,
    mappings: BTreeMap<IpAddr, u64>,
}

impl Count {
    /// Counts a row that lives.
    pub fn row(&mut self, row: &[u64; WORDS]) {
        const SOURCE: u64 = 0x20;
        let kinds = row[word::REWRITE] as u32;
        let outside = || address(row, word::NEW_SOURCE);
        if kinds & kind::MAPPING != 0 {
            if row[word::TAIL] & SOURCE != 0 {
                *self.mappings.entry(outside()).or_default() += 1;
            }
        } else if kinds & (kind::NAT | kind::ANSWERS) == kind::NAT {
            let at = word::NEW_DESTINATION;
            let protocol = row[word::TAIL] >> 8 & 0xff;
            // An identifier of ICMP stands in the place of both ports.
            let port =
                if matches!(protocol, 1 | 58) { 0 } else { row[word::REWRITE] >> 32 & 0xffff };
            let end = ([row[at], row[at + 1]], port << 8 | protocol);
            *self.flows.entry(outside()).or_default().entry(end).or_default() += 1;
        }
    }

    /// What it comes to; addresses that are one workload's have no ports to run out of.
    pub fn finish(self, lent: &LentNat) -> Nat {
        let all: BTreeSet<IpAddr> =
            self.flows.keys().chain(self.mappings.keys()).copied().collect();
        let shared = all.into_iter().filter(|address| !lent.floating.contains(address));
        let outside = |address: IpAddr| {
            let ends = self.flows.get(&address);
            let counts = || ends.into_iter().flat_map(HashMap::values).copied();
            let mappings = self.mappings.get(&address).copied().unwrap_or(0);
            let (flows, most) = (counts().sum(), counts().max().unwrap_or(0));
            Outside { address: address.to_string(), flows, most, mappings }
        };
        let mut addresses: Vec<Outside> = shared.map(outside).collect();
        addresses.sort_by(|a, b| (b.flows, &a.address).cmp(&(a.flows, &b.address)));
        let left_out = addresses.len().saturating_sub(ADDRESSES) as u64;
        addresses.truncate(ADDRESSES);
        Nat { ports: lent.ports, addresses, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_abi::flow::tail;

    /// A row of a flow from an address outside to a port.
    fn flow(outside: u64, destination: u64, port: u64, kinds: u32) -> [u64; WORDS] {
        let mut row = [0; WORDS];
        row[word::TAIL] = tail(0, 0, 6, 4);
        row[word::NEW_SOURCE + 1] = outside;
        row[word::NEW_DESTINATION + 1] = destination;
        row[word::REWRITE] = port << 32 | u64::from(kinds);
        row
    }

    #[test]
    fn ports_are_counted_by_the_destination_that_has_most() {
        let mut count = Count::default();
        for (outside, destination, port) in
            [(1, 8, 80), (1, 8, 80), (1, 8, 81), (1, 9, 80), (2, 8, 80)]
        {
            count.row(&flow(outside, destination, port, kind::NAT));
            count.row(&flow(outside, destination, port, kind::NAT | kind::ANSWERS));
            count.row(&flow(outside, destination, port, 0));
        }
        let mut mapping = flow(3, 0, 0, kind::MAPPING);
        count.row(&mapping);
        mapping[word::TAIL] |= 0x20;
        count.row(&mapping);
        let lent = LentNat { ports: 7, floating: ["0.0.0.2".parse().unwrap()].into() };
        let nat = count.finish(&lent);
        let of = |number: u8, flows, most, mappings| Outside {
            address: format!("0.0.0.{number}"),
            flows,
            most,
            mappings,
        };
        assert_eq!(nat.addresses, [of(1, 4, 2, 0), of(3, 0, 0, 1)]);
        assert_eq!((nat.ports, nat.left_out), (7, 0));
    }

    #[test]
    fn series_are_bounded() {
        let mut count = Count::default();
        (1..=ADDRESSES as u64 + 3).for_each(|at| count.row(&flow(at, 8, 80, kind::NAT)));
        let nat = count.finish(&LentNat::default());
        assert_eq!((nat.addresses.len(), nat.left_out), (ADDRESSES, 3));
    }
}
