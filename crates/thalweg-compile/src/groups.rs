//! Next hop groups in force: one per target in use, with buckets that move as little as they can.

use crate::buckets;
use crate::pool::Pool;
use crate::rows::Rows;
use crate::target::Member;
use crate::tunnels;
use std::collections::BTreeMap;
use thalweg_abi::{GroupId, NextHopId};
use thalweg_image::Change;
use thalweg_image::change::GroupMembers;

/// A group in force.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its members.
    pub members: Vec<Member>,
    /// Row of each member.
    pub rows: Vec<u32>,
    /// Position of the member of each bucket.
    pub buckets: Vec<usize>,
    links: Vec<u32>,
}

/// All groups by target.
#[derive(Debug)]
pub struct Groups {
    by_target: BTreeMap<u32, Group>,
    targets: BTreeMap<GroupId, u32>,
    egress: BTreeMap<u32, u32>,
    pool: Pool,
    limit: u32,
    /// Groups that this plan adds or re-issues, in order.
    pub issued: Vec<Change>,
    /// Links that next hops began or ceased to use.
    pub touched_links: Vec<u32>,
}

/// Numbers are used up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NoRoom {
    /// Of groups.
    Groups,
    /// Of next hops.
    NextHops,
}

impl Groups {
    /// No groups; numbers go to `limit`.
    pub fn new(limit: u32) -> Self {
        let limit = limit.min(u32::from(GroupId::MAX));
        Self {
            by_target: BTreeMap::new(),
            targets: BTreeMap::new(),
            egress: BTreeMap::new(),
            pool: Pool::new(1, limit),
            limit,
            issued: Vec::new(),
            touched_links: Vec::new(),
        }
    }

    /// The group of a target.
    pub fn get(&self, target: u32) -> Option<&Group> {
        self.by_target.get(&target)
    }

    /// The target of a group.
    pub fn target(&self, id: GroupId) -> Option<u32> {
        self.targets.get(&id).copied()
    }

    /// All groups, by target.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Group)> {
        self.by_target.iter().map(|(target, group)| (*target, group))
    }

    /// Whether next hops use a link.
    pub fn uses_link(&self, link: u32) -> bool {
        self.egress.contains_key(&link)
    }

    /// Gives a target a group, or re-issues the one it has. A new group starts from the buckets of
    /// `heir_of`, the target its first route led to before.
    pub fn issue(
        &mut self,
        target: u32,
        members: &[Member],
        heir_of: Option<u32>,
        rows: &mut Rows,
    ) -> Result<GroupId, NoRoom> {
        let (members, held) = hold_all(members, rows).ok_or(NoRoom::NextHops)?;
        let old = self.by_target.get(&target);
        let id = match old {
            Some(group) => group.id,
            None => match self.pool.take() {
                Some(id) => GroupId(id as u16),
                None => {
                    held.iter().for_each(|row| rows.release(*row));
                    return Err(NoRoom::Groups);
                }
            },
        };
        let ancestor = old.or_else(|| self.by_target.get(&heir_of?));
        let weights: Vec<u64> = members.iter().map(|member| member.weight).collect();
        let table = buckets::table(&weights, &inherited(ancestor, &members));
        let mut links: Vec<u32> = members.iter().flat_map(Member::links).collect();
        links.sort_unstable();
        links.dedup();
        let group = Group { id, members, rows: held, buckets: table, links };
        if old.is_none_or(|old| image(old) != image(&group)) {
            self.issued.push(Change::Group(id, image(&group)));
        }
        self.count_links(&group, 1);
        if let Some(old) = self.by_target.insert(target, group) {
            self.count_links(&old, -1);
            old.rows.iter().for_each(|row| rows.release(*row));
        }
        self.targets.insert(id, target);
        Ok(id)
    }

    /// Takes a target's group back.
    pub fn free(&mut self, target: u32, rows: &mut Rows) -> Option<Change> {
        let group = self.by_target.remove(&target)?;
        self.targets.remove(&group.id);
        group.rows.iter().for_each(|row| rows.release(*row));
        self.count_links(&group, -1);
        self.pool.give(u32::from(group.id.0));
        Some(Change::FreeGroup(group.id))
    }

    /// The members of a group as the plane wants them.
    pub fn image_of(&self, id: GroupId) -> Option<GroupMembers> {
        self.by_target.get(self.targets.get(&id)?).map(image)
    }

    fn count_links(&mut self, group: &Group, step: i32) {
        // Rows may stand on link 0, the kernel, where a member's own link has no row.
        let kernel = group.members.iter().any(|m| m.links().next().is_some() && m.row.link == 0);
        for link in group.links.iter().copied().chain(kernel.then_some(0)) {
            let count = self.egress.entry(link).or_insert(0);
            if *count == 0 {
                self.touched_links.push(link);
            }
            *count = count.saturating_add_signed(step);
            if *count == 0 {
                self.egress.remove(&link);
                self.touched_links.push(link);
            }
        }
    }

    /// The numbers that plans take from.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Groups in use and groups there may be.
    pub fn usage(&self) -> (u32, u32) {
        (self.by_target.len() as u32, self.limit)
    }

    /// Whether another group would fit.
    pub fn has_room(&self) -> bool {
        self.pool.has_free()
    }
}

/// The members with the row of each, or none when they do not all fit. Members relieve each other
/// only where there is room for that.
fn hold_all(members: &[Member], rows: &mut Rows) -> Option<(Vec<Member>, Vec<u32>)> {
    let mut members = members.to_vec();
    let mut held = Vec::with_capacity(members.len());
    for member in &mut members {
        let mut row = hold(member, rows);
        if row.is_none() && member.own_backup().is_none() {
            member.backup = None;
            row = hold(member, rows);
        }
        match row {
            Some(row) => held.push(row),
            None => {
                held.iter().for_each(|row| rows.release(*row));
                return None;
            }
        }
    }
    Some((members, held))
}

/// The row of a backup, or of outer headers, is held by the row it backs, once, however many groups use that.
fn hold(member: &Member, rows: &mut Rows) -> Option<u32> {
    let behind = match (&member.dress.tunnel, &member.backup) {
        (Some(tunnel), _) => tunnels::row(tunnel),
        (None, Some(backup)) => backup.row,
        (None, None) => return rows.hold(member.row),
    };
    let spare = rows.hold(behind)?;
    let Some((row, is_new)) = rows.hold_with_backup(member.row, spare) else {
        rows.release(spare);
        return None;
    };
    if !is_new {
        rows.release(spare);
    }
    Some(row)
}

/// The table of an ancestor with its members renamed to positions in `members`.
fn inherited(ancestor: Option<&Group>, members: &[Member]) -> Vec<Option<usize>> {
    let Some(group) = ancestor else { return Vec::new() };
    let find = |old: &Member| {
        let exact = members.iter().position(|member| member.identity() == old.identity());
        exact.or_else(|| members.iter().position(|m| m.identity().0 == old.identity().0))
    };
    let renamed: Vec<Option<usize>> = group.members.iter().map(find).collect();
    group.buckets.iter().map(|bucket| renamed[*bucket]).collect()
}

fn image(group: &Group) -> GroupMembers {
    GroupMembers {
        buckets: group.buckets.iter().map(|bucket| NextHopId(group.rows[*bucket])).collect(),
        links: group.links.clone(),
    }
}
