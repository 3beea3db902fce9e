//! Addresses that other nodes have themselves: how packets of services get to processes there
//! (`hostNetwork`), and which services have none for clients from outside.

use crate::hash::Fold;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use thalweg_image::FrontendKey;
use thalweg_model::{Intent, ObjectName};
use thalweg_service::{Backend, Frontend, Here};

/// The addresses, and what depends on them.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Whether a tunnel leads there.
    addresses: HashMap<IpAddr, bool, BuildHasherDefault<Fold>>,
    changed: bool,
    /// Frontends whose external clients hear nothing of a backend, with its address.
    lost: BTreeMap<FrontendKey, (ObjectName, IpAddr)>,
}

impl Others {
    /// Reads the nodes of a new intent.
    pub fn learn(&mut self, intent: &Intent) {
        let addresses = intent.hosts().collect();
        if self.addresses != addresses {
            self.addresses = addresses;
            self.changed = true;
        }
    }

    /// Whether the addresses are others than at the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether packets to a backend go by the tunnel to the node whose own address it has.
    pub fn has_tunnel(&self, backend: &Backend) -> bool {
        self.way(backend) == Some(true)
    }

    fn way(&self, backend: &Backend) -> Option<bool> {
        if self.addresses.is_empty() || backend.local {
            return None;
        }
        self.addresses.get(&backend.address).copied()
    }

    /// Notes whether external clients of a frontend reach all backends. Who is masqueraded does.
    pub fn note(&mut self, key: FrontendKey, frontend: &Frontend, here: &Here) {
        let lost = |backend: &&Backend| {
            self.way(backend) == Some(false) && !here.holds(backend.address) && backend.weight > 0
        };
        match frontend.external.backends.iter().find(lost) {
            Some(backend) if !frontend.external.masquerade => {
                self.lost.insert(key, (frontend.service.clone(), backend.address));
            }
            _ => self.forget(key),
        }
    }

    /// A frontend is gone.
    pub fn forget(&mut self, key: FrontendKey) {
        self.lost.remove(&key);
    }

    /// Services with a backend that external clients do not hear, and the address of one.
    pub fn lost(&self) -> BTreeMap<&ObjectName, BTreeSet<IpAddr>> {
        let mut services: BTreeMap<&ObjectName, BTreeSet<IpAddr>> = BTreeMap::new();
        for (service, address) in self.lost.values() {
            services.entry(service).or_default().insert(*address);
        }
        services
    }
}
