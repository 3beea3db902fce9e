//! Which VRFs there are, and to which one a link belongs.

use crate::Oracle;
use std::collections::BTreeMap;
use thalweg_model::host;
use thalweg_model::intent::{Link, Role};

/// Name of the VRF that always exists.
pub const DEFAULT: &str = "default";

impl Oracle<'_> {
    /// Kernel tables by VRF name.
    pub(crate) fn vrf_tables(&self) -> BTreeMap<String, Vec<u32>> {
        let mut all = BTreeMap::from([(DEFAULT.to_owned(), vec![254, 255])]);
        let taken = |all: &BTreeMap<String, Vec<u32>>, table: u32| {
            all.iter().find(|(_, tables)| tables.contains(&table)).map(|(name, _)| name.clone())
        };
        for (name, vrf) in self.intent.vrfs.iter().filter(|(name, _)| *name != DEFAULT) {
            let device =
                self.host.links.values().find(|l| l.name == *name && l.vrf_table.is_some());
            let table = vrf.table.or(device.and_then(|device| device.vrf_table));
            let free = table.filter(|table| taken(&all, *table).is_none());
            all.insert(name.clone(), free.into_iter().collect());
        }
        for device in self.host.links.values() {
            if let Some(table) = device.vrf_table
                && !self.intent.vrfs.contains_key(&device.name)
                && taken(&all, table).is_none()
            {
                all.insert(device.name.clone(), vec![table]);
            }
        }
        all
    }

    pub(crate) fn vrf_exists(&self, name: &str) -> bool {
        self.vrf_tables().contains_key(name)
    }

    /// The VRF that a VRF device stands for.
    pub(crate) fn vrf_of_device(&self, link: u32) -> Option<String> {
        let device = self.host.links.get(&link)?;
        let table = device.vrf_table?;
        if self.intent.vrfs.contains_key(&device.name) && device.name != DEFAULT {
            return Some(device.name.clone());
        }
        let tables = self.vrf_tables();
        tables.into_iter().find(|(_, tables)| tables.contains(&table)).map(|(name, _)| name)
    }

    /// The VRF into which the kernel puts what belongs to a link.
    pub(crate) fn kernel_vrf(&self, link: &host::Link) -> String {
        let master = link.master.and_then(|master| self.vrf_of_device(master));
        master.unwrap_or_else(|| DEFAULT.into())
    }

    /// The VRF in which packets from a link are looked up.
    pub(crate) fn vrf_of_link(&self, index: u32) -> String {
        let Some(link) = self.host.links.get(&index) else { return DEFAULT.into() };
        match self.wish(link).and_then(|wish| wish.vrf.clone()) {
            Some(vrf) if self.is_routable(link) && self.vrf_exists(&vrf) => vrf,
            _ => self.kernel_vrf(link),
        }
    }

    /// The one object that speaks of a link best.
    pub(crate) fn wish(&self, link: &host::Link) -> Option<&Link> {
        let rank = |object: &Link| {
            let ranks = object.interfaces.iter().filter_map(|pattern| {
                if let Some(start) = pattern.strip_suffix('*') {
                    return link.name.starts_with(start).then_some(start.len());
                }
                (*pattern == link.name).then_some(usize::MAX)
            });
            ranks.max()
        };
        let best = self.intent.links.values().filter_map(rank).max()?;
        let mut objects = self.intent.links.values().filter(|object| rank(object) == Some(best));
        let object = objects.next()?;
        Some(object).filter(|object| objects.next().is_none() && object.role == Role::Router)
    }

    fn is_routable(&self, link: &host::Link) -> bool {
        let master = link.master.and_then(|master| self.host.links.get(&master));
        let bridged = master.is_some_and(|m| ["bridge", "bond", "team"].contains(&&*m.kind));
        link.medium == "ether"
            && link.vrf_table.is_none()
            && !bridged
            && link.index < self.intent.router.limits.links
    }
}
