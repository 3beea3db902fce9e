//! VRFs and the RIBs that feed them: stable numbers, one RIB per kernel table.

use crate::key::RibId;
use crate::pool::Pool;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_abi::VrfId;
use thalweg_model::{HostState, Intent, Key, Problem, Severity};

/// Kernel table `main`.
pub const MAIN: u32 = 254;
/// Kernel table `local`.
pub const LOCAL: u32 = 255;
/// RIB of the default VRF.
pub const DEFAULT: RibId = 0;
/// Name of the default VRF.
pub const DEFAULT_NAME: &str = "default";

/// What a RIB holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Feed {
    /// Routes of a kernel table (and intent routes of the VRF bound to it).
    Table(u32),
    /// Intent routes of a VRF without kernel table.
    Vrf(String),
}

/// A RIB and the VRF it is in force in.
#[derive(Clone, Debug)]
pub struct Ribs {
    feeds: Vec<Feed>,
    tables: BTreeMap<u32, RibId>,
    names: BTreeMap<String, RibId>,
    vrfs: Vec<Option<VrfId>>,
}

impl Default for Ribs {
    fn default() -> Self {
        Self {
            feeds: vec![Feed::Table(MAIN)],
            tables: BTreeMap::from([(MAIN, DEFAULT), (LOCAL, DEFAULT)]),
            names: BTreeMap::new(),
            vrfs: vec![Some(VrfId(0))],
        }
    }
}

impl Ribs {
    /// The RIB of a kernel table; none when RIBs are used up.
    pub fn of_table(&mut self, table: u32) -> Option<RibId> {
        if let Some(rib) = self.tables.get(&table) {
            return Some(*rib);
        }
        let rib = self.grow(Feed::Table(table))?;
        self.tables.insert(table, rib);
        Some(rib)
    }

    /// The RIB of a kernel table, if it has one.
    pub fn find_table(&self, table: u32) -> Option<RibId> {
        self.tables.get(&table).copied()
    }

    fn of_name(&mut self, name: &str) -> Option<RibId> {
        if let Some(rib) = self.names.get(name) {
            return Some(*rib);
        }
        let rib = self.grow(Feed::Vrf(name.into()))?;
        self.names.insert(name.into(), rib);
        Some(rib)
    }

    fn grow(&mut self, feed: Feed) -> Option<RibId> {
        let rib = RibId::try_from(self.feeds.len()).ok()?;
        self.feeds.push(feed);
        self.vrfs.push(None);
        Some(rib)
    }

    /// The VRF in which a RIB is in force.
    pub fn vrf(&self, rib: RibId) -> Option<VrfId> {
        self.vrfs.get(usize::from(rib)).copied().flatten()
    }

    /// What a RIB holds.
    pub fn feed(&self, rib: RibId) -> Option<&Feed> {
        self.feeds.get(usize::from(rib))
    }
}

/// A routing instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vrf {
    /// Its number.
    pub id: VrfId,
    /// Where its routes are.
    pub rib: RibId,
    /// Kernel table it learns, if any.
    pub table: Option<u32>,
}

/// All routing instances in force.
#[derive(Debug)]
pub struct Vrfs {
    by_name: BTreeMap<String, Vrf>,
    devices: BTreeMap<u32, RibId>,
    pool: Pool,
    limit: u32,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

/// A RIB that changed its VRF.
#[derive(Clone, Copy, Debug)]
pub struct Rebound {
    /// The RIB.
    pub rib: RibId,
    /// The VRF before.
    pub before: Option<VrfId>,
}

/// What a VRF is to be made of, before it has a number.
#[derive(Default)]
struct Wish {
    table: Option<u32>,
    device: Option<u32>,
}

impl Vrfs {
    /// Only the default VRF.
    pub fn new(limit: u32) -> Self {
        let vrf = Vrf { id: VrfId(0), rib: DEFAULT, table: Some(MAIN) };
        Self {
            by_name: BTreeMap::from([(DEFAULT_NAME.into(), vrf)]),
            devices: BTreeMap::new(),
            pool: Pool::new(1, limit.clamp(1, 1 << 16) - 1),
            limit,
            problems: Vec::new(),
        }
    }

    /// The VRF of a name.
    pub fn get(&self, name: &str) -> Option<&Vrf> {
        self.by_name.get(name)
    }

    /// All VRFs by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Vrf)> {
        self.by_name.iter().map(|(name, vrf)| (name.as_str(), vrf))
    }

    /// Name of the VRF with this number.
    pub fn name(&self, id: VrfId) -> Option<&str> {
        self.iter().find(|(_, vrf)| vrf.id == id).map(|(name, _)| name)
    }

    /// RIB of a VRF device, by interface index.
    pub fn device(&self, link: u32) -> Option<RibId> {
        self.devices.get(&link).copied()
    }

    /// The numbers that plans take from.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Finds the VRFs anew; returns the RIBs that changed hands.
    pub fn refresh(&mut self, intent: &Intent, host: &HostState, ribs: &mut Ribs) -> Vec<Rebound> {
        self.problems.clear();
        let wishes = self.wishes(intent, host);
        let gone: Vec<String> =
            self.by_name.keys().filter(|name| !wishes.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(vrf) = self.by_name.remove(&name) {
                self.pool.give(u32::from(vrf.id.0));
            }
        }
        self.devices.clear();
        for (name, wish) in &wishes {
            self.place(name, wish, intent, ribs);
        }
        self.bind(ribs)
    }

    /// Gives a VRF its RIB and, when new, its number.
    fn place(&mut self, name: &str, wish: &Wish, intent: &Intent, ribs: &mut Ribs) {
        let rib = match wish.table {
            Some(table) => ribs.of_table(table),
            None => ribs.of_name(name),
        };
        let Some(rib) = rib else { return };
        let id = match self.by_name.get(name) {
            Some(vrf) => vrf.id,
            None => match self.pool.take() {
                Some(id) => VrfId(id as u16),
                None => return self.no_room(name, intent),
            },
        };
        if let Some(device) = wish.device {
            self.devices.insert(device, rib);
        }
        self.by_name.insert(name.into(), Vrf { id, rib, table: wish.table });
    }

    fn no_room(&mut self, name: &str, intent: &Intent) {
        let limit = self.limit;
        self.problem(
            intent,
            name,
            Severity::Error,
            None,
            format!("all {limit} VRF numbers are taken, so its routes are not in force"),
            "raise spec.limits.vrfs of the Router object and restart the agent",
        );
    }

    fn bind(&self, ribs: &mut Ribs) -> Vec<Rebound> {
        let mut vrfs = vec![None; ribs.vrfs.len()];
        for vrf in self.by_name.values() {
            vrfs[usize::from(vrf.rib)] = Some(vrf.id);
        }
        let before = std::mem::replace(&mut ribs.vrfs, vrfs);
        let changed = before.into_iter().zip(&ribs.vrfs).enumerate();
        changed
            .filter(|(_, (before, now))| before != *now)
            .map(|(rib, (before, _))| Rebound { rib: rib as RibId, before })
            .collect()
    }

    /// Names with the table and device that each is made of: intent first, then VRF devices.
    fn wishes(&mut self, intent: &Intent, host: &HostState) -> BTreeMap<String, Wish> {
        let devices: Vec<_> = host
            .links
            .values()
            .filter_map(|l| Some((l.index, l.name.as_str(), l.vrf_table?)))
            .collect();
        let mut wishes =
            BTreeMap::from([(DEFAULT_NAME.to_owned(), Wish { table: Some(MAIN), device: None })]);
        let mut owners =
            BTreeMap::from([(MAIN, DEFAULT_NAME.to_owned()), (LOCAL, DEFAULT_NAME.to_owned())]);
        for (name, vrf) in &intent.vrfs {
            let device = devices.iter().find(|(_, device, _)| device == name);
            let table = self.table_of(intent, name, vrf.table, device.map(|d| d.2));
            if name == DEFAULT_NAME {
                continue;
            }
            let table = table.filter(|table| self.claim(intent, name, *table, &mut owners));
            wishes.insert(name.clone(), Wish { table, device: None });
        }
        for (index, name, table) in devices {
            let owner = owners.entry(table).or_insert_with(|| name.to_owned()).clone();
            let wish = match intent.vrfs.contains_key(name) && name != DEFAULT_NAME {
                true => wishes.entry(name.to_owned()).or_default(),
                false => wishes.entry(owner).or_insert(Wish { table: Some(table), device: None }),
            };
            wish.device.get_or_insert(index);
        }
        wishes
    }

    /// The table a VRF learns: its own wish before that of a device of the same name.
    fn table_of(
        &mut self,
        intent: &Intent,
        name: &str,
        wish: Option<u32>,
        device: Option<u32>,
    ) -> Option<u32> {
        if name == DEFAULT_NAME {
            if let Some(table) = wish.filter(|table| *table != MAIN) {
                self.problem(
                    intent,
                    name,
                    Severity::Error,
                    Some("spec.table"),
                    format!(
                        "the default VRF learns the kernel's tables main and local, not {table}"
                    ),
                    "remove spec.table or give the VRF another name",
                );
            }
            return Some(MAIN);
        }
        if let (Some(wish), Some(device)) = (wish, device)
            && wish != device
        {
            self.problem(
                intent,
                name,
                Severity::Warning,
                Some("spec.table"),
                format!("table {wish} is not table {device} of the host's VRF device {name}"),
                "make them equal, or packets and the kernel's own traffic use different routes",
            );
        }
        wish.or(device)
    }

    /// Whether no other VRF learns the table yet.
    fn claim(
        &mut self,
        intent: &Intent,
        name: &str,
        table: u32,
        owners: &mut BTreeMap<u32, String>,
    ) -> bool {
        if let Some(owner) = owners.get(&table).cloned() {
            let place = intent.origin("Vrf", &owner);
            self.problem(
                intent,
                name,
                Severity::Error,
                Some("spec.table"),
                format!(
                    "table {table} is already learned by Vrf/{owner}{}",
                    if place.file.is_empty() { String::new() } else { format!(" ({place})") }
                ),
                "give each VRF a table of its own",
            );
            return false;
        }
        owners.insert(table, name.into());
        true
    }

    fn problem(
        &mut self,
        intent: &Intent,
        name: &str,
        severity: Severity,
        field: Option<&str>,
        what: String,
        remedy: &str,
    ) {
        self.problems.push(Problem {
            severity,
            origin: intent.origin("Vrf", name),
            object: Some(Key { kind: "Vrf".into(), name: name.into() }),
            field: field.map(str::to_owned),
            what,
            remedy: remedy.into(),
        });
    }
}

/// Names that exist in one of two sets only.
pub fn changed_names<'a>(
    before: &'a BTreeMap<String, u32>,
    after: &'a BTreeMap<String, u32>,
) -> BTreeSet<&'a str> {
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).map(String::as_str).collect()
}
