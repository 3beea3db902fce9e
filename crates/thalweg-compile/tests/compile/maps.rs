//! A plane made of plain maps that holds every plan to its promises.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::nexthop::kind;
use thalweg_abi::tunnel::node_id;
use thalweg_abi::{GroupId, IlmWord, LinkRow, NextHopRow, VrfId};
use thalweg_compile::Compiler;
use thalweg_image::change::GroupMembers;
use thalweg_image::{Change, Plan, SetId};
use thalweg_model::Prefix;
use thalweg_oracle::{Answer, Exit, ExitKind};

/// Tables as maps.
#[derive(Clone, Default)]
pub struct Maps {
    pub links: BTreeMap<u32, LinkRow>,
    pub vlans: BTreeMap<(u32, u16), u32>,
    pub nexthops: BTreeMap<u32, NextHopRow>,
    pub groups: BTreeMap<GroupId, GroupMembers>,
    pub routes: BTreeMap<(VrfId, Prefix), GroupId>,
    pub labels: BTreeMap<u32, IlmWord>,
    pub own: Vec<u64>,
    /// Groups that lead to other nodes, by the set that names those.
    pub nodes: BTreeMap<SetId, Vec<GroupId>>,
    pub generation: u64,
}

/// A member as both sides can name it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seen {
    pub kind: u8,
    pub link: u32,
    pub vrf: String,
    pub mac: [u8; 6],
    pub labels: Vec<u32>,
    pub backup: Option<Box<Seen>>,
}

/// Shares by member.
pub type Shares = BTreeMap<Seen, f64>;

impl Maps {
    /// Puts a plan in force and checks that it keeps its promises on the way.
    pub fn apply(&mut self, plan: &Plan) {
        assert_eq!(plan.generation, self.generation + u64::from(!plan.changes.is_empty()));
        self.generation = plan.generation;
        let mut phase = 0;
        let mut freed: BTreeSet<(bool, u32)> = BTreeSet::new();
        for change in &plan.changes {
            let at = order(change);
            assert!(at >= phase, "out of order: {change:?}");
            phase = at;
            match change {
                Change::Settings(_)
                | Change::Frontend(..)
                | Change::RemoveFrontend(_)
                | Change::Policy(_) => {}
                Change::Backends(id, set) => {
                    let nodes = set.backends.iter().filter(|row| row.id == node_id(row.address));
                    self.nodes.insert(*id, nodes.map(|row| GroupId(row.node as u16)).collect());
                }
                Change::FreeBackends(id) => drop(self.nodes.remove(id)),
                Change::Link(link, row) if *row == LinkRow::default() => {
                    assert!(self.links.remove(link).is_some(), "link {link} taken out twice");
                }
                Change::Link(link, row) => {
                    assert_ne!(self.links.insert(*link, *row), Some(*row), "needless {change:?}");
                }
                Change::Vlan { page, vid, link: 0 } => {
                    assert!(self.vlans.remove(&(*page, *vid)).is_some());
                }
                Change::Vlan { page, vid, link } => {
                    self.vlans.insert((*page, *vid), *link);
                }
                Change::NextHop(id, row) => {
                    assert!(!freed.contains(&(false, id.0)));
                    assert!(id.0 != 0 && self.nexthops.insert(id.0, *row).is_none(), "{id:?}");
                    assert!(row.backup == 0 || self.nexthops.contains_key(&row.backup));
                }
                Change::Group(id, members) => {
                    assert!(id.0 != 0 && !freed.contains(&(true, u32::from(id.0))));
                    assert!(members.buckets.len().is_power_of_two());
                    for row in &members.buckets {
                        assert!(self.nexthops.contains_key(&row.0), "{id:?} uses {row:?}");
                    }
                    let before = self.groups.insert(*id, members.clone());
                    assert_ne!(before.as_ref(), Some(members), "needless {change:?}");
                }
                Change::Route4(vrf, prefix, group) => {
                    self.route(*vrf, Prefix::V4(*prefix), *group);
                }
                Change::Route6(vrf, prefix, group) => {
                    self.route(*vrf, Prefix::V6(*prefix), *group);
                }
                Change::Label(label, word) if *word == IlmWord::default() => {
                    assert!(self.labels.remove(label).is_some());
                }
                Change::Label(label, word) => {
                    assert_ne!(self.labels.insert(*label, *word), Some(*word));
                }
                Change::Own(words) => self.own.clone_from(words),
                Change::FreeGroup(id) => {
                    assert!(self.groups.remove(id).is_some());
                    freed.insert((true, u32::from(id.0)));
                }
                Change::FreeNextHop(id) => {
                    assert!(self.nexthops.remove(&id.0).is_some());
                    freed.insert((false, id.0));
                }
            }
        }
        self.check();
    }

    fn route(&mut self, vrf: VrfId, prefix: Prefix, group: GroupId) {
        if group == GroupId::NONE {
            assert!(self.routes.remove(&(vrf, prefix)).is_some(), "{prefix} taken out twice");
        } else {
            assert!(self.groups.contains_key(&group), "{prefix} uses {group:?}");
            assert_ne!(self.routes.insert((vrf, prefix), group), Some(group), "needless {prefix}");
        }
    }

    /// Nothing dangles, nothing is left over.
    fn check(&self) {
        let mut groups: BTreeSet<GroupId> = self.routes.values().copied().collect();
        groups.extend(self.labels.values().filter(|w| w.is_forward()).map(|w| GroupId(w.group())));
        groups.extend(self.nodes.values().flatten());
        assert_eq!(groups, self.groups.keys().copied().collect(), "groups in use and groups there");
        let mut rows: BTreeSet<u32> =
            self.groups.values().flat_map(|g| g.buckets.iter().map(|row| row.0)).collect();
        let backups: Vec<u32> = rows.iter().map(|row| self.nexthops[row].backup).collect();
        rows.extend(backups.into_iter().filter(|row| *row != 0));
        assert_eq!(rows, self.nexthops.keys().copied().collect(), "rows in use and rows there");
    }

    /// The group that packets to an address meet.
    pub fn group_of(&self, vrf: VrfId, address: IpAddr) -> Option<GroupId> {
        (0..=128u8).rev().find_map(|len| {
            let prefix = Prefix::containing(address, len);
            (prefix.len() == len).then(|| self.routes.get(&(vrf, prefix)).copied())?
        })
    }

    /// Members of a group with their shares.
    pub fn shares(&self, group: GroupId, names: &BTreeMap<u16, String>) -> Shares {
        let mut shares = Shares::new();
        let buckets = &self.groups[&group].buckets;
        for row in buckets {
            *shares.entry(self.seen(row.0, names)).or_insert(0.0) += 1.0 / buckets.len() as f64;
        }
        shares
    }

    /// The same, without backups that nobody `wants` and that are members of the group: the oracle
    /// does not know them. They are held to what they promise here. Where a relief is the very backup that
    /// another member of the same kind asks for, rows cannot tell the two apart: together they must have
    /// what both are to have.
    pub fn wanted(&self, group: GroupId, names: &BTreeMap<u16, String>, wants: &Shares) -> Shares {
        let members: Vec<&NextHopRow> =
            self.groups[&group].buckets.iter().map(|row| &self.nexthops[&row.0]).collect();
        let mut shares = Shares::new();
        let mut alike = BTreeSet::new();
        for row in &members {
            let mut seen = self.seen_row(row, names);
            let is_relief = |spare: &NextHopRow| {
                members.iter().any(|other| NextHopRow { backup: 0, ..**other } == *spare)
            };
            let spare = self.nexthops.get(&row.backup);
            if let Some(spare) = spare.filter(|s| is_relief(s)) {
                let without = Seen { backup: None, ..seen.clone() };
                match (wants.contains_key(&seen), wants.contains_key(&without)) {
                    (true, true) => drop(alike.insert(seen.clone())),
                    (true, false) => {}
                    (false, _) => {
                        assert_eq!((spare.kind, spare.backup), (kind::ADJACENT, 0));
                        assert_ne!(spare.watch, row.watch, "it would fail together with {row:?}");
                        seen = without;
                    }
                }
            }
            *shares.entry(seen).or_insert(0.0) += 1.0 / members.len() as f64;
        }
        for with in alike {
            let without = Seen { backup: None, ..with.clone() };
            let [a, b] = [&with, &without].map(|seen| wants[seen]);
            let both: f64 = [&with, &without].iter().filter_map(|seen| shares.get(seen)).sum();
            shares.insert(with, both * a / (a + b));
            shares.insert(without, both * b / (a + b));
        }
        shares
    }

    fn seen(&self, row: u32, names: &BTreeMap<u16, String>) -> Seen {
        self.seen_row(&self.nexthops[&row], names)
    }

    fn seen_row(&self, row: &NextHopRow, names: &BTreeMap<u16, String>) -> Seen {
        let stack = &row.stack[..usize::from(row.labels)];
        let lookup = row.kind == kind::LOOKUP;
        Seen {
            kind: row.kind,
            link: if lookup { 0 } else { row.link },
            vrf: if lookup { names[&(row.link as u16)].clone() } else { String::new() },
            mac: row.addresses[..6].try_into().unwrap(),
            labels: stack.iter().map(|lse| u32::from_be_bytes(*lse) >> 12).collect(),
            backup: (row.backup != 0).then(|| Box::new(self.seen(row.backup, names))),
        }
    }

    /// Everything in force without ids: what two planes must agree on.
    pub fn logical(&self, names: &BTreeMap<u16, String>) -> Logical {
        let shares = |group: &GroupId| self.shares(*group, names);
        let routes = self
            .routes
            .iter()
            .map(|((vrf, prefix), group)| ((names[&vrf.0].clone(), *prefix), shares(group)));
        let labels = self.labels.iter().map(|(label, word)| {
            let lookup = word.is_lookup().then(|| names[&word.vrf()].clone());
            let group = word.is_forward().then(|| shares(&GroupId(word.group())));
            (*label, (lookup, group, word.flags()))
        });
        let links = self.links.iter().map(|(index, row)| {
            let row = LinkRow { vrf: 0, vlan_page: row.vlan_page.min(1), ..*row };
            let vrf = names[&self.links[index].vrf].clone();
            (*index, (row, vrf))
        });
        let page_of = |page: u32| self.links.iter().find(|(_, row)| row.vlan_page == page);
        let vlans = self
            .vlans
            .iter()
            .map(|((page, vid), link)| ((page_of(*page).map(|found| *found.0), *vid), *link));
        Logical {
            routes: routes.collect(),
            labels: labels.collect(),
            links: links.collect(),
            vlans: vlans.collect(),
            own: self.own.iter().copied().filter(|word| *word != 0).collect(),
        }
    }
}

/// Content of a plane without ids.
#[derive(Debug)]
pub struct Logical {
    pub routes: BTreeMap<(String, Prefix), Shares>,
    pub labels: BTreeMap<u32, (Option<String>, Option<Shares>, u8)>,
    pub links: BTreeMap<u32, (LinkRow, String)>,
    pub vlans: BTreeMap<(Option<u32>, u16), u32>,
    pub own: Vec<u64>,
}

impl Logical {
    /// Demands the same content; shares may differ by what buckets round.
    pub fn assert_same(&self, other: &Self) {
        assert_eq!(self.links, other.links);
        assert_eq!(self.vlans, other.vlans);
        assert_eq!(self.own, other.own);
        let keys = |l: &Self| l.routes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(self), keys(other));
        for (key, shares) in &self.routes {
            assert_close(shares, &other.routes[key], &format!("{key:?}"));
        }
        let keys = |l: &Self| l.labels.keys().copied().collect::<Vec<_>>();
        assert_eq!(keys(self), keys(other));
        for (label, (lookup, group, flags)) in &self.labels {
            let theirs = &other.labels[label];
            assert_eq!((lookup, flags), (&theirs.0, &theirs.2), "label {label}");
            assert_eq!(group.is_some(), theirs.1.is_some(), "label {label}");
            if let (Some(ours), Some(theirs)) = (group, &theirs.1) {
                assert_close(ours, theirs, &format!("label {label}"));
            }
        }
    }
}

/// Demands the same members with nearly the same shares.
pub fn assert_close(ours: &Shares, theirs: &Shares, what: &str) {
    let keys = |shares: &Shares| shares.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(ours), keys(theirs), "{what}");
    for (member, share) in ours {
        let other = theirs[member];
        assert!((share - other).abs() < 0.07, "{what}: {member:?} has {share}, not {other}");
    }
}

/// Names of VRFs by number.
pub fn vrf_names(compiler: &Compiler) -> BTreeMap<u16, String> {
    compiler.vrfs().into_iter().map(|vrf| (vrf.id.0, vrf.name)).collect()
}

/// What the oracle says, in the words of the plane.
pub fn expected(answer: &Answer) -> Option<Shares> {
    let Answer::Exits(exits) = answer else { return None };
    let mut shares = Shares::new();
    for (exit, share) in exits {
        *shares.entry(seen(exit)).or_insert(0.0) += share;
    }
    Some(shares)
}

fn seen(exit: &Exit) -> Seen {
    let (kind, link, mac, vrf) = match &exit.kind {
        ExitKind::Adjacent(link, mac) => (kind::ADJACENT, *link, mac.0, String::new()),
        ExitKind::Unresolved(link) => (kind::UNRESOLVED, *link, [0; 6], String::new()),
        ExitKind::Broadcast(link) => (kind::BROADCAST, *link, [0; 6], String::new()),
        ExitKind::Deliver => (kind::DELIVER, 0, [0; 6], String::new()),
        ExitKind::Blackhole => (kind::BLACKHOLE, 0, [0; 6], String::new()),
        ExitKind::Unreachable => (kind::UNREACHABLE, 0, [0; 6], String::new()),
        ExitKind::Prohibit => (kind::PROHIBIT, 0, [0; 6], String::new()),
        ExitKind::Throw => (kind::THROW, 0, [0; 6], String::new()),
        ExitKind::Lookup(vrf) => (kind::LOOKUP, 0, [0; 6], vrf.clone()),
    };
    let backup = exit.backup.as_deref().map(|backup| Box::new(seen(backup)));
    Seen { kind, link, vrf, mac, labels: exit.labels.clone(), backup }
}

fn order(change: &Change) -> u8 {
    match change {
        Change::Settings(_) => 0,
        Change::Link(_, row) if *row == LinkRow::default() => 9,
        Change::Link(..) => 1,
        Change::Vlan { .. } => 2,
        Change::NextHop(..) => 3,
        Change::Group(..) => 4,
        Change::Route4(..) | Change::Route6(..) => 5,
        Change::Label(..) => 6,
        Change::Backends(..) | Change::Frontend(..) | Change::Policy(_) => 6,
        Change::Own(_) => 7,
        Change::RemoveFrontend(_)
        | Change::FreeBackends(_)
        | Change::FreeGroup(_)
        | Change::FreeNextHop(_) => 8,
    }
}
