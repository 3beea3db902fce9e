//! Intent and host state from lines in iproute2 words.
//!
//! Each line changes the world; the same line may come again later with other words. `no` in front
//! takes something out. docs/journeys.md lists the lines.

mod cluster;
mod hop;
mod line;
mod link;
mod route;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_model::host::Update;
use thalweg_model::intent::Limits;
use thalweg_model::{HostState, Intent, Key, Origin};
use thalweg_wire::Mac;

/// Intent and host state, and how to find things in them.
#[derive(Clone, Debug)]
pub struct World {
    /// What users asked for.
    pub intent: Intent,
    /// What the kernel would report.
    pub host: HostState,
    /// Texts of objects that policies are made of, by a name of the journey's.
    objects: BTreeMap<String, String>,
    base: u32,
    ordinals: BTreeMap<String, u32>,
}

impl World {
    /// An empty world whose links get the interface indices after `base`.
    pub fn new(base: u32) -> Self {
        let mut intent = Intent::default();
        // Small enough to be emptied between journeys, large enough for all of them.
        intent.router.limits = Limits {
            links: 4_096,
            vrfs: 8,
            ipv4_routes: 8_192,
            ipv6_routes: 8_192,
            labels: 1 << 20,
            nexthops: 4_096,
            groups: 4_096,
            vlan_links: 8,
            frontends: 64,
            backends: 256,
            ring_slots: 8192,
            flows: 1024,
            policy_lines: 1 << 16,
            sessions: 16,
        };
        intent.router.services.ring = 251;
        // Limits of rate are a subject of their own; elsewhere they would only disturb.
        intent.router.icmp_rate = 1_000_000;
        intent.router.punt_rate = 1_000_000;
        intent.router.burst = 1_000_000;
        intent.router.hash_seed = Some(0x7468_616c_7765_6721);
        Self {
            intent,
            host: HostState::default(),
            objects: BTreeMap::new(),
            base,
            ordinals: BTreeMap::new(),
        }
    }

    /// A world from lines of text.
    ///
    /// # Errors
    ///
    /// Line, and what is wrong with it.
    pub fn parse(text: &str, base: u32) -> Result<Self, String> {
        let mut world = Self::new(base);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                world.change(line).map_err(|error| format!("line {number}: `{line}`: {error}"))?;
            }
        }
        Ok(world)
    }

    /// Changes the world by one line. Returns what the kernel would report of it.
    ///
    /// # Errors
    ///
    /// What is wrong with the line; the world may then be half changed.
    pub fn change(&mut self, line: &str) -> Result<Vec<Update>, String> {
        let updates = line::change(self, line)?;
        for update in &updates {
            self.host.apply(update.clone());
        }
        Ok(updates)
    }

    /// What policies are made of.
    ///
    /// # Errors
    ///
    /// What is wrong with an object.
    pub fn policies(&self) -> Result<thalweg_policy::Objects, String> {
        let texts = self.objects.iter().map(|(name, text)| (name.clone(), text.clone()));
        let loaded = thalweg_config::parse(&texts.collect::<Vec<_>>());
        let error = thalweg_model::Severity::Error;
        match loaded.problems.iter().find(|problem| problem.severity == error) {
            None => {
                let settings = self.intent.router.policy.clone();
                Ok(thalweg_policy::Objects { settings, ..loaded.policies })
            }
            Some(problem) => Err(problem.to_string()),
        }
    }

    /// Interface index of a link.
    pub fn index(&self, link: &str) -> Option<u32> {
        self.host.link_named(link).map(|link| link.index)
    }

    /// Name of the link with this index.
    pub fn name(&self, index: u32) -> Option<&str> {
        self.host.links.get(&index).map(|link| link.name.as_str())
    }

    /// Link address of a link.
    pub fn mac(&self, link: &str) -> Option<Mac> {
        self.host.link_named(link).map(|link| link.mac)
    }

    /// Notes that an object comes from here.
    fn origin(&mut self, kind: &str, name: &str) {
        let key = Key { kind: kind.into(), name: name.into() };
        self.intent.origins.insert(key, Origin { file: "journey".into(), line: 0, column: 0 });
    }

    /// Addresses of a link.
    fn addresses(&self, link: u32) -> Vec<(IpAddr, u8)> {
        let all = self.host.addresses.values();
        all.filter(|address| address.link == link).map(|a| (a.address, a.len)).collect()
    }
}

#[cfg(test)]
mod tests;
