//! Who has a port of a name, and who serves a service.

use super::members::Touched;
use super::{Compiler, Pass};
use crate::world::{self, Served};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_model::cluster::{Cluster, ObjectName};

/// With more services than this that may be others, all are looked at.
const FEW: usize = 32;

impl Compiler {
    /// Brings up to date who serves services. Returns those that others serve now.
    pub(super) fn move_services(&mut self, cluster: &Cluster) -> BTreeSet<ObjectName> {
        let mut asked: BTreeSet<ObjectName> = BTreeSet::new();
        for one in self.cluster.slices.differences(&cluster.slices) {
            let slices = one.old.into_iter().chain(one.new);
            asked.extend(slices.map(|of| ObjectName::new(&one.key.namespace, &of.service)));
        }
        let mut all: Option<BTreeMap<ObjectName, Served>> =
            (asked.len() > FEW).then(|| world::services(cluster));
        let known = &mut self.ground.world.services;
        asked.retain(|service| {
            let new = match &mut all {
                Some(all) => all.remove(service),
                None => world::served(cluster, service),
            };
            let is_other = known.get(service) != new.as_ref();
            match new {
                Some(new) if is_other => drop(known.insert(service.clone(), new)),
                Some(_) => {}
                None => drop(known.remove(service)),
            }
            is_other
        });
        asked
    }

    /// Brings up to date who has ports of the names that rules use. Returns the names that others have
    /// now.
    pub(super) fn move_names(&mut self, touched: &Touched) -> BTreeSet<String> {
        let interests = self.policies.interests.values();
        let used: BTreeSet<&String> = interests.flat_map(|interest| &interest.names).collect();
        self.ground.named.retain(|name, _| used.contains(name));
        let mut fresh: BTreeSet<&str> = BTreeSet::new();
        for name in used {
            if !self.ground.named.contains_key(name) {
                self.ground.named.insert(name.clone(), Default::default());
                fresh.insert(name);
            }
        }
        // Sets that nobody has any more may know of it as it was.
        let mut moved: BTreeSet<String> = fresh.iter().map(|name| (*name).to_owned()).collect();
        let mut places: BTreeSet<(&str, (IpAddr, u8, u16))> = BTreeSet::new();
        for (number, old) in touched {
            for member in old.iter().chain(self.members.get(*number)) {
                let used = |(name, _): &(&str, _)| self.ground.named.contains_key(*name);
                places.extend(member.named().filter(used));
            }
        }
        if !fresh.is_empty() {
            let all = self.members.iter().flat_map(|member| member.named());
            places.extend(all.filter(|(name, _)| fresh.contains(name)));
        }
        for (name, place) in places {
            let has = self.members.at(place.0).any(|one| one.named().any(|is| is == (name, place)));
            let Some(known) = self.ground.named.get_mut(name) else { continue };
            let is_other = if has { known.insert(place) } else { known.remove(&place) };
            if is_other {
                moved.insert(name.to_owned());
            }
        }
        moved
    }

    /// Notes policies that look at something that moved.
    pub(super) fn note_interested(&self, pass: &mut Pass) {
        let moved = &pass.moved;
        let is_still = moved.peers.is_empty() && moved.services.is_empty();
        if is_still && moved.names.is_empty() {
            return;
        }
        let looks = self.policies.interests.iter().filter(|(_, interest)| {
            interest.own.iter().any(|peers| moved.peers.contains_key(peers))
                || !interest.services.is_disjoint(&moved.services)
                || !interest.names.is_disjoint(&moved.names)
        });
        pass.changed.extend(looks.map(|(number, _)| *number));
    }
}
