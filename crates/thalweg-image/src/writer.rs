//! The one implementation of the tables: keeps its own copy of all routes and writes memory.

use crate::change::{Change, Plan};
use crate::fib4::Fib4;
use crate::fib6::Fib6;
use crate::groups::Groups;
use crate::memory::Memory;
use crate::plane::{Applied, Failure, Grace, Occupancy, Plane, PlaneError};
use crate::routes::{Misfit, Routes};
use crate::services::Services;
use crate::tables::{Full, Tables};
use std::net::{Ipv4Addr, Ipv6Addr};
use thalweg_abi::policy::Line;
use thalweg_abi::{
    GroupId, IlmWord, LinkRow, SettingsRow, TableId, VrfId, link, link::VLANS_PER_PAGE,
};
use thalweg_wire::{Prefix4, Prefix6};

/// Keeps the tables in [`Memory`] by plans; readers may use them at any moment.
///
/// The memory must be zero at first: a writer does not read back what another has left there.
/// A plan is in force when [`Plane::apply`] returns. What it has replaced is not used again before
/// a grace period, which is waited for when room or a number runs out, not after every plan.
pub struct Writer {
    tables: Tables,
    routes4: Routes<Fib4>,
    routes6: Routes<Fib6>,
    groups: Groups,
    services: Services,
}

impl Writer {
    /// A writer over zeroed memory whose readers `grace` waits for.
    pub fn new(memory: Memory, grace: Box<dyn Grace>) -> Self {
        let vrfs = memory.cells(TableId::Vrfs);
        let groups = memory.cells(TableId::Groups);
        let nexthops = memory.cells(TableId::NextHops);
        Self {
            tables: Tables::new(memory, grace),
            routes4: Routes::new(vrfs),
            routes6: Routes::new(vrfs),
            groups: Groups::new(groups, nexthops),
            services: Services::default(),
        }
    }

    /// The memory that the writer writes.
    pub fn memory(&self) -> &Memory {
        self.tables.memory()
    }

    /// The IPv4 routes of a VRF in force, in the order of addresses.
    pub fn routes4(&self, vrf: VrfId) -> impl Iterator<Item = (Prefix4, GroupId)> {
        self.routes4.rib(vrf).into_iter().flat_map(|rib| rib.iter())
    }

    /// The IPv6 routes of a VRF in force, in the order of addresses.
    pub fn routes6(&self, vrf: VrfId) -> impl Iterator<Item = (Prefix6, GroupId)> {
        self.routes6.rib(vrf).into_iter().flat_map(|rib| rib.iter())
    }

    /// The longest prefix in force that contains an address, and its group.
    pub fn lookup4(&self, vrf: VrfId, address: Ipv4Addr) -> Option<(Prefix4, GroupId)> {
        self.routes4.rib(vrf)?.longest(address.to_bits(), 32)
    }

    /// The longest prefix in force that contains an address, and its group.
    pub fn lookup6(&self, vrf: VrfId, address: Ipv6Addr) -> Option<(Prefix6, GroupId)> {
        self.routes6.rib(vrf)?.longest(address.to_bits(), 128)
    }

    /// Waits for all readers and frees everything that plans have replaced so far.
    pub fn settle(&mut self) {
        self.tables.free_all();
    }

    /// Does now what the next plan would have to do first: copies what the last one changed to the other
    /// version of the tables. Changes nothing that is in force.
    pub fn ready(&mut self) {
        self.tables.open();
    }

    /// Says whether a link (by interface index) or a session can be used: in force at once, in the
    /// middle of whatever plan. Next hops that watch it change over to their backups or back. False
    /// when there is no such state.
    pub fn set_state(&mut self, state: u32, up: bool) -> bool {
        self.tables.set_live(TableId::States, state, up).is_ok()
    }

    /// Says whether tc stands behind XDP on a device: in force at once. False when the device has no
    /// cell.
    pub fn set_behind(&mut self, device: u32, behind: bool) -> bool {
        self.tables.set_live(TableId::Behind, device, behind).is_ok()
    }

    /// A link's row, and its state at once.
    fn set_link(&mut self, index: u32, row: &LinkRow) -> Result<(), Full> {
        self.tables.set_row(TableId::Links, index, row)?;
        self.tables.set_live(TableId::States, index, row.flags & link::flag::UP != 0)
    }

    fn set_label(&mut self, label: u32, word: IlmWord) -> Result<(), Full> {
        if word.is_forward() && !self.groups.usable(GroupId(word.group())) {
            return Err(Full::beyond(TableId::Groups));
        }
        let old = self.tables.draft().u64(TableId::Lfib, label);
        let old = IlmWord(old.ok_or(Full::beyond(TableId::Lfib))?);
        self.tables.set_row(TableId::Lfib, label, &word.0)?;
        for (word, more) in [(word, true), (old, false)] {
            if word.is_forward() {
                self.groups.use_group(GroupId(word.group()), more);
            }
        }
        Ok(())
    }

    fn set_vlan(&mut self, page: u32, vid: u16, link: u32) -> Result<(), Full> {
        let beyond = Full::beyond(TableId::Vlans);
        let vid = u32::from(vid);
        let cell = page.checked_mul(VLANS_PER_PAGE).and_then(|first| first.checked_add(vid));
        let cell = cell.filter(|_| vid < VLANS_PER_PAGE).ok_or(beyond)?;
        let old = self.tables.draft().u32(TableId::Vlans, cell).ok_or(beyond)?;
        self.tables.write_u32(TableId::Vlans, cell, link);
        self.tables.count(TableId::Vlans, old != 0, link != 0);
        Ok(())
    }

    fn set_own(&mut self, words: &[u64]) -> Result<(), Full> {
        if words.len() > self.memory().cells(TableId::Own) as usize {
            return Err(Full::beyond(TableId::Own));
        }
        for (index, word) in (0..).zip(words) {
            self.tables.set_row(TableId::Own, index, word)?;
        }
        Ok(())
    }

    /// All of these lines, or none.
    fn set_policy(&mut self, lines: &[(u32, Line)]) -> Result<(), Full> {
        let cells = self.memory().cells(TableId::Policy);
        if lines.iter().any(|(number, _)| *number >= cells) {
            return Err(Full::beyond(TableId::Policy));
        }
        for (number, line) in lines {
            self.tables.set_row(TableId::Policy, *number, line)?;
        }
        Ok(())
    }

    /// Applies one change that is neither a route nor a removal.
    fn set(&mut self, change: &Change) -> Result<(), Full> {
        match change {
            Change::Settings(row) => self.tables.set_row::<SettingsRow>(TableId::Settings, 0, row),
            Change::Link(index, row) => self.set_link(*index, row),
            Change::Vlan { page, vid, link } => self.set_vlan(*page, *vid, *link),
            Change::NextHop(id, row) => self.groups.set_nexthop(&mut self.tables, *id, row),
            Change::Group(id, members) => self.groups.set_group(&mut self.tables, *id, members),
            Change::Label(label, word) => self.set_label(*label, *word),
            Change::Own(words) => self.set_own(words),
            Change::Backends(id, set) => self.services.set_backends(&mut self.tables, *id, set),
            Change::Frontend(key, frontend) => {
                self.services.set_frontend(&mut self.tables, *key, frontend)
            }
            Change::RemoveFrontend(key) => {
                self.services.remove_frontend(&mut self.tables, *key);
                Ok(())
            }
            Change::FreeBackends(id) => match self.services.free_backends(&mut self.tables, *id) {
                true => Ok(()),
                false => Err(Full::beyond(TableId::Backends)),
            },
            Change::Policy(lines) => self.set_policy(lines),
            Change::FreeGroup(id) => match self.groups.free_group(&mut self.tables, *id) {
                true => Ok(()),
                false => Err(Full::beyond(TableId::Groups)),
            },
            Change::Route4(..) | Change::Route6(..) | Change::FreeNextHop(_) => Ok(()),
        }
    }

    fn failure(&self, change: Change, full: Full) -> Failure {
        let Occupancy { table, used, capacity, .. } = self.tables.occupancy(full.table);
        Failure { change, table, used, capacity }
    }
}

impl Plane for Writer {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        self.tables.begin();
        let mut failures = Vec::new();
        let mut freed = Vec::new();
        let mut rest = &plan.changes[..];
        while let Some(first) = rest.first() {
            let mut taken = 1;
            match first {
                Change::Route4(..) => {
                    let batch = run(rest, route4);
                    taken = batch.len();
                    let misfits = self.routes4.apply(&mut self.tables, &mut self.groups, batch);
                    failures.extend(misfits.into_iter().map(|misfit| {
                        let Misfit { vrf, prefix, group, full } = misfit;
                        self.failure(Change::Route4(vrf, prefix, group), full)
                    }));
                }
                Change::Route6(..) => {
                    let batch = run(rest, route6);
                    taken = batch.len();
                    let misfits = self.routes6.apply(&mut self.tables, &mut self.groups, batch);
                    failures.extend(misfits.into_iter().map(|misfit| {
                        let Misfit { vrf, prefix, group, full } = misfit;
                        self.failure(Change::Route6(vrf, prefix, group), full)
                    }));
                }
                Change::FreeNextHop(id) => freed.push(*id),
                change => {
                    if let Err(full) = self.set(change) {
                        failures.push(self.failure(change.clone(), full));
                    }
                }
            }
            rest = &rest[taken..];
        }
        for id in self.groups.free_nexthops(&mut self.tables, &freed) {
            let full = Full::beyond(TableId::NextHops);
            failures.push(self.failure(Change::FreeNextHop(id), full));
        }
        let whole = self.tables.commit(plan.generation);
        self.tables.tidy();
        Ok(Applied { failures, whole })
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        TableId::ALL.map(|table| self.tables.occupancy(table)).to_vec()
    }
}

/// The changes at the front of `changes` that are of one kind.
fn run<T>(changes: &[Change], kind: impl Fn(&Change) -> Option<T>) -> Vec<T> {
    changes.iter().map_while(kind).collect()
}

fn route4(change: &Change) -> Option<(VrfId, Prefix4, GroupId)> {
    match change {
        Change::Route4(vrf, prefix, group) => Some((*vrf, *prefix, *group)),
        _ => None,
    }
}

fn route6(change: &Change) -> Option<(VrfId, Prefix6, GroupId)> {
    match change {
        Change::Route6(vrf, prefix, group) => Some((*vrf, *prefix, *group)),
        _ => None,
    }
}
