//! Who wants which key, and who has it: of two services with one address, port and protocol the elder.

use crate::frontend::{Frontend, FrontendKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_model::ObjectName;

/// A service that wants a key.
#[derive(Clone, Debug)]
struct Claim {
    /// When the service was made; those that do not tell come last.
    created: u64,
    /// What it would put there; it has the service's name.
    frontend: Arc<Frontend>,
}

impl Claim {
    fn rank(&self) -> (u64, &ObjectName) {
        (self.created, &self.frontend.service)
    }
}

/// All claims, in order of seniority for each key.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<FrontendKey, Vec<Claim>>);

impl Claims {
    /// Adds a claim of a service that has none on the key.
    pub(crate) fn add(&mut self, created: Option<u64>, frontend: Arc<Frontend>) {
        let claim = Claim { created: created.unwrap_or(u64::MAX), frontend };
        let claims = self.0.entry(claim.frontend.key).or_insert_with(|| Vec::with_capacity(1));
        let place = claims.partition_point(|other| other.rank() < claim.rank());
        claims.insert(place, claim);
    }

    /// Takes the claim of a service on a key away.
    pub(crate) fn remove(&mut self, key: FrontendKey, service: &ObjectName) {
        let Some(claims) = self.0.get_mut(&key) else { return };
        claims.retain(|claim| claim.frontend.service != *service);
        if claims.is_empty() {
            self.0.remove(&key);
        }
    }

    /// The frontend in force.
    pub(crate) fn get(&self, key: FrontendKey) -> Option<&Arc<Frontend>> {
        self.0.get(&key)?.first().map(|claim| &claim.frontend)
    }

    /// Services that want a key and do not have it.
    pub(crate) fn losers(&self, key: FrontendKey) -> impl Iterator<Item = &ObjectName> {
        let claims = self.0.get(&key).into_iter().flatten();
        claims.skip(1).map(|claim| &claim.frontend.service)
    }

    /// Keys that services want and do not have, with the one that has each.
    pub(crate) fn taken(&self) -> BTreeMap<ObjectName, BTreeMap<FrontendKey, ObjectName>> {
        let mut taken: BTreeMap<ObjectName, BTreeMap<FrontendKey, ObjectName>> = BTreeMap::new();
        for (key, claims) in &self.0 {
            let Some((first, losers)) = claims.split_first() else { continue };
            for loser in losers {
                let all = taken.entry(loser.frontend.service.clone()).or_default();
                all.insert(*key, first.frontend.service.clone());
            }
        }
        taken
    }

    /// All frontends in force.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Frontend>> {
        self.0.values().filter_map(|claims| claims.first()).map(|claim| &claim.frontend)
    }
}
