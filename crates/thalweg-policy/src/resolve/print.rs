//! What was resolved, as text: chains, policies with their rules, and sets of addresses.

use super::{Chain, Resolution, SideSets};
use crate::model::{Direction, Stage};
use crate::object::EndAction;
use crate::words;
use std::fmt;

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, endpoint) in self.world.endpoints.iter().enumerate() {
            write!(f, "endpoint {}", endpoint.name)?;
            endpoint.addresses.iter().try_for_each(|address| write!(f, " {address}"))?;
            writeln!(f)?;
            let mut numbers: Vec<usize> =
                self.of.get(at).map(|of| of.values().copied().collect()).unwrap_or_default();
            numbers.sort_unstable();
            numbers.iter().try_for_each(|number| self.chain_line(f, *number))?;
        }
        for (number, chain) in self.chains.iter().enumerate() {
            self.write_chain(f, number, chain)?;
        }
        for (number, peers) in self.peers.iter().enumerate() {
            write!(f, "set {number} {}:", peers.selector)?;
            for (from, to) in peers.ranges.iter() {
                match from == to {
                    true => write!(f, " {from}")?,
                    false => write!(f, " {from}-{to}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Resolution {
    fn chain_line(&self, f: &mut fmt::Formatter<'_>, number: usize) -> fmt::Result {
        let Some(chain) = self.chains.get(number) else { return Ok(()) };
        writeln!(f, "  {}: chain {number}", name(chain))
    }

    fn write_chain(&self, f: &mut fmt::Formatter<'_>, number: usize, chain: &Chain) -> fmt::Result {
        writeln!(f, "chain {number} {}", name(chain))?;
        for tier in &chain.tiers {
            let of = &self.model.tiers[tier.tier];
            writeln!(f, "  tier {}", of.name)?;
            for policy in &tier.policies {
                writeln!(f, "    policy {}", self.policies[*policy].policy.id)?;
                for (rule, sets) in self.rules(*policy, chain.kind.direction) {
                    write!(f, "      {} {}", rule.number, words::rule(rule))?;
                    sides(f, "source", sets.source)?;
                    sides(f, "destination", sets.destination)?;
                    writeln!(f)?;
                }
            }
            let end = match (chain.kind.stage, of.end) {
                (Stage::Normal, EndAction::Deny) => "deny",
                _ => "pass",
            };
            writeln!(f, "    end {end}")?;
        }
        writeln!(f, "  profiles {}", if chain.open { "allow" } else { "deny" })
    }
}

fn sides(f: &mut fmt::Formatter<'_>, side: &str, sets: SideSets) -> fmt::Result {
    let mut part = |word: &str, set: Option<usize>| match set {
        Some(set) => write!(f, " [{side} {word} set {set}]"),
        None => Ok(()),
    };
    part("in", sets.within)?;
    part("not in", sets.without)
}

fn name(chain: &Chain) -> String {
    let direction = match chain.kind.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    match (chain.kind.stage, chain.kind.forwarded) {
        (Stage::Normal, false) => direction.into(),
        (Stage::Normal, true) => format!("{direction} forwarded"),
        (Stage::PreDnat, _) => format!("{direction} before translation"),
        (Stage::Untracked, _) => format!("{direction} untracked"),
    }
}
