//! Flows that are followed: what of the table of flows changed between two looks.
//!
//! ```text
//!   connection ──every second──► loop ──Scene──► thread: one scan, compared with the last ──► changes
//! ```
//!
//! The loop only lends its tables. Who follows remembers the rows that it saw, [`MOST`] at most, and asks
//! for the next look when the last one was told: a slow reader costs nothing but looks.

use crate::cluster;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_abi::flow::{WORDS, kind, state, word};
use thalweg_api::Fault;
use thalweg_api::cluster::{FlowChange, FlowFollow, FlowPage};
use thalweg_compile::Compiler;
use thalweg_compile::service::Frontend;
use thalweg_image::Memory;
use thalweg_model::ObjectName;

/// Flows that one follower remembers: about 10 MB.
pub const MOST: usize = 50_000;

type Row = [u64; WORDS];
type Key = [u64; 5];

/// What it takes to look at flows outside of the loop.
pub struct Scene {
    memory: Memory,
    frontends: Vec<Arc<Frontend>>,
    links: BTreeMap<u32, String>,
    addresses: Option<HashSet<IpAddr>>,
    service: Option<ObjectName>,
}

impl Scene {
    /// The scene for those who follow these flows.
    ///
    /// # Errors
    ///
    /// A pod, service or state that is not known; tables without room for flows.
    pub fn new(compiler: &Compiler, memory: &Memory, wanted: &FlowFollow) -> Result<Self, Fault> {
        if compiler.limits().flows == 0 {
            return Err(Fault::failed(
                "this agent started without services and workloads, so it has no table of flows",
                "restart it when there are some",
            ));
        }
        cluster::known_state(wanted.state.as_deref())?;
        let from = wanted.from.as_deref();
        let service = wanted.service.as_deref();
        let links = compiler.host_facts().links.values();
        Ok(Self {
            memory: memory.clone(),
            frontends: compiler.shared_frontends(),
            links: links.map(|link| (link.index, link.name.clone())).collect(),
            addresses: from.map(|from| cluster::addresses(compiler, from)).transpose()?,
            service: service.map(|name| cluster::known_service(compiler, name)).transpose()?,
        })
    }

    /// The numbers of the backends of the service in question, if there is one.
    fn backends(&self) -> Option<HashSet<u64>> {
        let service = self.service.as_ref()?;
        let own = self.frontends.iter().filter(|frontend| cluster::is_of(frontend, service));
        Some(own.flat_map(|frontend| cluster::numbers(frontend)).collect())
    }
}

/// A row as it was seen last.
struct Last {
    row: Row,
    look: u64,
}

/// Who follows flows.
pub struct Follower {
    known: HashMap<Key, Last>,
    most: usize,
    looks: u64,
    /// Flows that the last look left out.
    left_out: u64,
    state: Option<String>,
}

impl Follower {
    /// Nothing is known yet: what the first look finds is no news.
    pub fn new(wanted: &FlowFollow) -> Self {
        let state = wanted.state.clone();
        Self { known: HashMap::new(), most: MOST, looks: 0, left_out: 0, state }
    }

    /// Looks at the table once; tells what differs from the look before.
    pub fn look(&mut self, scene: &Scene, at: &str) -> FlowPage {
        self.looks += 1;
        // A flow that was left out before and fits now is no news.
        let news = self.looks > 1 && self.left_out == 0;
        self.left_out = 0;
        let (mut ended, mut others) = (Vec::new(), Vec::new());
        let backends = scene.backends();
        let forward = cluster::rows(&scene.memory).filter(|row| {
            row[word::REWRITE] as u32 & kind::ANSWERS == 0
                && scene.addresses.as_ref().is_none_or(|wanted| cluster::speaks(row, wanted))
                && backends.as_ref().is_none_or(|own| own.contains(&row[word::BACKEND]))
        });
        for row in forward {
            let room = self.known.len() < self.most;
            let seen = Last { row, look: self.looks };
            match self.known.entry(key(&row)) {
                Entry::Occupied(mut known) => {
                    let last = known.insert(seen).row;
                    if row[word::OCTETS] < last[word::OCTETS] {
                        // Another flow of the same addresses and ports counts from nothing.
                        ended.push(last);
                        others.push((row, "begun", None));
                    } else if state(&last) != state(&row) {
                        others.push((row, "changed", Some(state(&last))));
                    }
                }
                Entry::Vacant(place) if room => {
                    place.insert(seen);
                    if news {
                        others.push((row, "begun", None));
                    }
                }
                Entry::Vacant(_) => self.left_out += 1,
            }
        }
        self.known.retain(|_, last| {
            let stays = last.look == self.looks;
            if !stays {
                ended.push(last.row);
            }
            stays
        });
        let ended = ended.into_iter().map(|row| (row, "ended", None));
        FlowPage { left_out: self.left_out, changes: self.told(scene, ended.chain(others), at) }
    }

    /// What of that is wanted, in words.
    fn told(
        &self,
        scene: &Scene,
        changes: impl Iterator<Item = (Row, &'static str, Option<&'static str>)>,
        at: &str,
    ) -> Vec<FlowChange> {
        let wanted = |row: &Row| self.state.as_ref().is_none_or(|wanted| wanted == state(row));
        let mut changes = changes.filter(|(row, ..)| wanted(row)).peekable();
        if changes.peek().is_none() {
            return Vec::new();
        }
        let names = cluster::names(scene.frontends.iter().map(|frontend| &**frontend));
        let change = |(row, change, before): (Row, &str, Option<&str>)| FlowChange {
            at: at.into(),
            change: change.into(),
            before: before.map(Into::into),
            flow: cluster::view(&row, &names, |link| scene.links.get(&link).cloned()),
        };
        changes.map(change).collect()
    }
}

fn key(row: &Row) -> Key {
    [row[0], row[1], row[2], row[3], row[4]]
}

fn state(row: &Row) -> &'static str {
    state::name((row[word::TAIL] >> 8) as u8, row[word::STATE] as u8)
}

#[cfg(test)]
mod tests;
