//! VRFs, links and names found anew after a change of structure.

use crate::compiler::Compiler;
use crate::objects::Mention;
use crate::plan::{Draft, route_change};
use crate::slab::NIL;
use crate::target::Fact;
use crate::vrfs::{Vrfs, changed_names};
use std::collections::BTreeMap;
use thalweg_abi::{GroupId, VrfId};
use thalweg_image::Change;

impl Compiler {
    /// Finds VRFs, standing of links and names anew.
    pub(crate) fn restructure(&mut self, draft: &mut Draft) {
        let ribs_of = |vrfs: &Vrfs| -> BTreeMap<String, u16> {
            vrfs.iter().map(|(name, vrf)| (name.to_owned(), vrf.rib)).collect()
        };
        let before = ribs_of(&self.vrfs);
        let devices: BTreeMap<u32, u16> =
            self.host.links.keys().filter_map(|i| Some((*i, self.vrfs.device(*i)?))).collect();
        let rebound = self.vrfs.refresh(&self.intent, &self.host, &mut self.ribs);
        for change in &rebound {
            self.rebind(change.rib, change.before, draft);
            self.targets.mark_fact(Fact::Rib(change.rib));
        }
        if !rebound.is_empty() {
            self.pending.links.extend(self.host.links.keys());
        }
        for link in self.host.links.keys().chain(devices.keys()) {
            if devices.get(link).copied() != self.vrfs.device(*link) {
                self.targets.mark_fact(Fact::Link(*link));
            }
        }
        if before != ribs_of(&self.vrfs) {
            self.pending.routes.extend(self.intent.routes.keys().cloned());
            self.pending.labels.extend(self.intent.labels.keys().cloned());
        }
        let names: BTreeMap<String, u32> =
            self.host.links.values().map(|link| (link.name.clone(), link.index)).collect();
        for name in changed_names(&self.names, &names) {
            self.index.mark(Mention::Device(name), &mut self.pending);
            // Whether a route has its interface decides which of several is in force.
            let routes = self.index.routes_by(name).filter_map(|name| self.intent.routes.get(name));
            let twins = routes.filter_map(|route| self.index.twins(route)).flatten();
            self.pending.routes.extend(twins.cloned());
        }
        self.names = names;
        self.restand(draft);
        // Other endpoints may stand for links now.
        if self.policies.guards_hosts() {
            self.policies.note();
        }
    }

    /// Classifies links anew and follows up where their standing changed.
    pub(crate) fn restand(&mut self, draft: &mut Draft) {
        let ribs: BTreeMap<u32, (u16, u16)> =
            self.links.iter().map(|(link, s)| (link, (s.rib, s.kernel_rib))).collect();
        let changed = self.links.refresh(&self.intent, &self.host, &self.vrfs);
        draft.vlans = changed
            .vlans
            .into_iter()
            .map(|(page, vid, link)| Change::Vlan { page, vid, link })
            .collect();
        for link in changed.links {
            self.pending.links.insert(link);
            self.targets.mark_fact(Fact::Link(link));
            let now = self.links.get(link).map(|s| (s.rib, s.kernel_rib));
            if ribs.get(&link).copied() != now {
                self.derive_all(link);
                let neighbors = self.neighbors_of(link);
                self.pending.neighbors.extend(neighbors.into_iter().map(|a| (link, a)));
            }
        }
    }

    /// Takes the routes of a RIB out of the VRF they were in and marks them for the new one.
    pub(crate) fn rebind(&mut self, rib: u16, before: Option<VrfId>, draft: &mut Draft) {
        let nodes: Vec<u32> =
            self.rib.nodes().filter(|(_, n)| n.key.rib == rib).map(|(index, _)| index).collect();
        for index in nodes {
            self.rib.mark(index);
            let Some(node) = self.rib.node_mut(index) else { continue };
            let force = std::mem::replace(&mut node.force, NIL);
            let prefix = node.key.prefix();
            if force != NIL {
                self.unuse(force);
                if let Some(vrf) = before {
                    draft.unbound.push(route_change(vrf, prefix, GroupId::NONE));
                }
            }
        }
    }
}
