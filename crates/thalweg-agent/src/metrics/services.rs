//! Flows and shares of services, counted outside of the loop by one scan of the table of flows.

use super::nat::{Count, LentNat, Nat};
use crate::cluster::{self, Members};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thalweg_abi::TableId;
use thalweg_abi::flow::{NO_PACKET, kind, word};
use thalweg_compile::Compiler;
use thalweg_compile::service::{Choice, Class, Frontend};
use thalweg_image::Memory;
use thalweg_model::ObjectName;

/// Services that have series, the first by name.
pub const SERVICES: usize = 1_000;
/// Backends that have series, the first by service and name.
pub const BACKENDS: usize = 10_000;

/// What the loop lends for counting.
pub struct Lent {
    memory: Memory,
    frontends: Vec<Arc<Frontend>>,
    /// Slots of the largest ring.
    ring: u32,
    nat: LentNat,
}

impl Lent {
    /// None where there is no table of flows.
    pub fn new(compiler: &Compiler, memory: &Memory) -> Option<Self> {
        (compiler.limits().flows > 0).then(|| Self {
            memory: memory.clone(),
            frontends: compiler.shared_frontends(),
            ring: compiler.largest_ring(),
            nat: LentNat::new(compiler),
        })
    }
}

/// How services use the table of flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// Rows that there are.
    pub rows: u32,
    /// Rows in use.
    pub used: u32,
    /// Flows.
    pub flows: u64,
    /// Those whose source is translated.
    pub translated: u64,
    /// Ports that they take.
    pub nat: Nat,
    /// Flows of services, by name.
    pub services: Vec<(String, u64)>,
    /// Their backends, by service, port and protocol.
    pub backends: Vec<BackendSums>,
    /// Services and backends without series.
    pub left_out: [u64; 2],
}

/// A backend of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendSums {
    /// Namespace and name of the service.
    pub service: String,
    /// Name of its port.
    pub port: String,
    /// Protocol.
    pub protocol: String,
    /// Address and port.
    pub backend: String,
    /// Flows that it has.
    pub flows: u64,
    /// Its part of the ring, from 0 to 1.
    pub share: f64,
}

/// What a ring is made of: its slots, and backends by number and weight.
type Content = (u32, Vec<(u64, u16)>);

/// Shares of rings, so that only what changed is computed again.
#[derive(Default)]
pub struct Shares {
    ring: u32,
    known: HashMap<Content, Arc<[f64]>>,
}

impl Shares {
    /// The shares that were asked for since, and no others, stay for the next time.
    fn of(&mut self, choice: &Choice, used: &mut HashMap<Content, Arc<[f64]>>) -> Arc<[f64]> {
        let largest = self.ring;
        let members = choice.backends.iter().map(|b| (b.id, b.weight)).collect();
        let content: Content = (choice.slots(largest), members);
        if let Some(shares) = used.get(&content) {
            return shares.clone();
        }
        let shares = self
            .known
            .remove(&content)
            .unwrap_or_else(|| cluster::shares(choice, |choice| choice.ring(largest)).into());
        used.insert(content, shares.clone());
        shares
    }
}

impl Services {
    /// Counts.
    pub fn count(lent: &Lent, shares: &mut Shares) -> Self {
        shares.ring = lent.ring;
        let mut all = Self { rows: lent.memory.cells(TableId::Flows), ..Self::default() };
        let flows = all.scan(lent);
        let mut by_name: BTreeMap<&ObjectName, Vec<&Frontend>> = BTreeMap::new();
        for frontend in lent.frontends.iter().filter(|f| f.class != Class::HostPort) {
            by_name.entry(&frontend.service).or_default().push(frontend);
        }
        all.left_out[0] = by_name.len().saturating_sub(SERVICES) as u64;
        let mut used = HashMap::new();
        for (name, frontends) in by_name.into_iter().take(SERVICES) {
            let members = cluster::members(&frontends, |choice| shares.of(choice, &mut used));
            all.add(name, members, &flows);
        }
        shares.known = used;
        all
    }

    /// Counts rows; flows by the numbers of their backends.
    fn scan(&mut self, lent: &Lent) -> HashMap<u64, u64> {
        let mut flows = HashMap::new();
        let mut nat = Count::default();
        for row in cluster::all_rows(&lent.memory) {
            self.used += 1;
            nat.row(&row);
            let kinds = row[word::REWRITE] as u32;
            if row[word::TAIL] & NO_PACKET != 0 || kinds & kind::ANSWERS != 0 {
                continue;
            }
            self.flows += 1;
            self.translated += u64::from(kinds & kind::NAT != 0);
            let backend = row[word::BACKEND];
            if backend != 0 && kinds & kind::TUNNEL == 0 {
                *flows.entry(backend).or_insert(0) += 1;
            }
        }
        self.nat = nat.finish(&lent.nat);
        flows
    }

    fn add(&mut self, name: &ObjectName, members: Members<'_>, flows: &HashMap<u64, u64>) {
        let service = name.to_string();
        let mut sum = 0;
        for ((port, protocol, number), (backend, share)) in members {
            let flows = flows.get(&number).copied().unwrap_or(0);
            sum += flows;
            if self.backends.len() == BACKENDS {
                self.left_out[1] += 1;
                continue;
            }
            self.backends.push(BackendSums {
                service: service.clone(),
                port: port.into(),
                protocol: protocol.to_string(),
                backend: cluster::end_of(backend),
                flows,
                share: share / 100.0,
            });
        }
        self.services.push((service, sum));
    }
}

#[cfg(test)]
mod tests;
