//! Next hop groups and next hops: rows, buckets, and who still uses them.
//!
//! Users are counted because a change that did not fit leaves what it should have replaced in
//! force: the group and next hops of such a route must not be freed by the rest of the plan.

use crate::change::GroupMembers;
use crate::tables::{Full, Tables};
use std::collections::HashSet;
use thalweg_abi::group::LinksWord;
use thalweg_abi::{GroupId, GroupWord, NextHopId, NextHopRow, TableId};

/// The most buckets of a group.
const MAX_BUCKETS: usize = 1 << 16;

/// Counts of users, and rows that did not fit.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Routes and labels that use a group, by group.
    users: Vec<u32>,
    /// Buckets that use a next hop, by next hop.
    nexthop_users: Vec<u32>,
    refused_groups: HashSet<GroupId>,
    refused_nexthops: HashSet<NextHopId>,
}

impl Groups {
    /// No groups, in tables of this many groups and next hops.
    pub fn new(groups: u32, nexthops: u32) -> Self {
        Self {
            users: vec![0; groups.min(u32::from(GroupId::MAX) + 1) as usize],
            nexthop_users: vec![0; nexthops as usize],
            refused_groups: HashSet::new(),
            refused_nexthops: HashSet::new(),
        }
    }

    /// Writes a next hop under an id not in use.
    pub fn set_nexthop(
        &mut self,
        tables: &mut Tables,
        id: NextHopId,
        row: &NextHopRow,
    ) -> Result<(), Full> {
        tables.reuse_row(id.0);
        let set = tables.set_row(TableId::NextHops, id.0, row);
        match set {
            Ok(()) => self.refused_nexthops.remove(&id),
            Err(_) => self.refused_nexthops.insert(id),
        };
        set
    }

    /// Whether a route or label may refer to a group: not when the group itself did not fit.
    pub fn usable(&self, id: GroupId) -> bool {
        usize::from(id.0) < self.users.len() && !self.refused_groups.contains(&id)
    }

    /// Writes a group, or replaces it at once.
    pub fn set_group(
        &mut self,
        tables: &mut Tables,
        id: GroupId,
        members: &GroupMembers,
    ) -> Result<(), Full> {
        let set = self.write_group(tables, id, members);
        if set.is_ok() {
            self.refused_groups.remove(&id);
        } else if !exists(tables, id) {
            self.refused_groups.insert(id);
        }
        set
    }

    fn write_group(
        &mut self,
        tables: &mut Tables,
        id: GroupId,
        members: &GroupMembers,
    ) -> Result<(), Full> {
        let buckets = &members.buckets[..];
        if id == GroupId::NONE || usize::from(id.0) >= self.users.len() {
            return Err(Full::beyond(TableId::Groups));
        }
        if !buckets.len().is_power_of_two() || buckets.len() > MAX_BUCKETS {
            return Err(Full::beyond(TableId::Buckets));
        }
        let lies_beyond = |id: &NextHopId| id.0 as usize >= self.nexthop_users.len();
        if buckets.iter().any(|id| lies_beyond(id) || self.refused_nexthops.contains(id)) {
            return Err(Full::beyond(TableId::NextHops));
        }
        let index = u32::from(id.0);
        let old = word(tables, id);
        let new = self.bucket_word(tables, buckets)?;
        let was = self.buckets(tables, old);
        self.count(buckets, true);
        self.count(&was, false);
        tables.store(TableId::GroupLinks, index, links_word(&members.links).0);
        tables.store(TableId::Groups, index, new.0);
        if old.has_buckets() {
            tables.replace(TableId::Buckets, old.first(), old.mask() + 1);
        }
        tables.publish();
        tables.count(TableId::Groups, old.exists(), true);
        tables.count(TableId::GroupLinks, old.exists(), true);
        Ok(())
    }

    /// Writes the buckets aside and drafts the word that leads to them.
    fn bucket_word(&self, tables: &mut Tables, buckets: &[NextHopId]) -> Result<GroupWord, Full> {
        if let [only] = buckets {
            return Ok(GroupWord::single(only.0));
        }
        let len = buckets.len() as u32;
        let first = match tables.take(TableId::Buckets, len) {
            Err(full) if tables.reclaim(full) => tables.take(TableId::Buckets, len)?,
            first => first?,
        };
        for (at, nexthop) in (first..).zip(buckets) {
            tables.write_u32(TableId::Buckets, at, nexthop.0);
        }
        Ok(GroupWord::buckets(first, len - 1))
    }

    fn buckets(&self, tables: &Tables, word: GroupWord) -> Vec<NextHopId> {
        if !word.has_buckets() {
            return if word.exists() { vec![NextHopId(word.first())] } else { Vec::new() };
        }
        let cells = word.first()..=word.first() + word.mask();
        cells.filter_map(|at| tables.draft().u32(TableId::Buckets, at)).map(NextHopId).collect()
    }

    fn count(&mut self, buckets: &[NextHopId], more: bool) {
        for id in buckets {
            if let Some(users) = self.nexthop_users.get_mut(id.0 as usize) {
                *users = if more { *users + 1 } else { users.saturating_sub(1) };
            }
        }
    }

    /// Counts a user of a group in or out.
    pub fn use_group(&mut self, id: GroupId, more: bool) {
        if id != GroupId::NONE
            && let Some(users) = self.users.get_mut(usize::from(id.0))
        {
            *users = if more { *users + 1 } else { users.saturating_sub(1) };
        }
    }

    /// Frees a group that nothing uses; says whether.
    pub fn free_group(&mut self, tables: &mut Tables, id: GroupId) -> bool {
        self.refused_groups.remove(&id);
        if self.users.get(usize::from(id.0)).is_some_and(|users| *users > 0) {
            return false;
        }
        let old = word(tables, id);
        if old.exists() {
            let was = self.buckets(tables, old);
            self.count(&was, false);
            if old.has_buckets() {
                tables.replace(TableId::Buckets, old.first(), old.mask() + 1);
            }
            let index = u32::from(id.0);
            for table in [TableId::Groups, TableId::GroupLinks] {
                tables.count(table, true, false);
                tables.store(table, index, 0);
            }
            tables.publish();
        }
        true
    }

    /// Frees those next hops of `ids` that neither a group uses nor, as backup, a next hop that
    /// stays. Returns the others.
    pub fn free_nexthops(&mut self, tables: &mut Tables, ids: &[NextHopId]) -> Vec<NextHopId> {
        let row = |tables: &Tables, id: NextHopId| {
            tables.draft().row::<NextHopRow>(TableId::NextHops, id.0)
        };
        let used =
            |id: &NextHopId| self.nexthop_users.get(id.0 as usize).is_some_and(|users| *users > 0);
        let mut kept: Vec<NextHopId> = ids.iter().copied().filter(used).collect();
        let mut at = 0;
        while let Some(id) = kept.get(at) {
            let backup = row(tables, *id).map_or(NextHopId(0), |row| NextHopId(row.backup));
            if backup != NextHopId(0) && ids.contains(&backup) && !kept.contains(&backup) {
                kept.push(backup);
            }
            at += 1;
        }
        let keep: HashSet<NextHopId> = kept.iter().copied().collect();
        for id in ids.iter().filter(|id| !keep.contains(id)) {
            self.refused_nexthops.remove(id);
            if row(tables, *id).is_some_and(|row| row != NextHopRow::default()) {
                tables.count(TableId::NextHops, true, false);
                tables.retire_row(id.0);
            }
        }
        kept
    }
}

fn word(tables: &Tables, id: GroupId) -> GroupWord {
    GroupWord(tables.draft().u64(TableId::Groups, u32::from(id.0)).unwrap_or(0))
}

fn exists(tables: &Tables, id: GroupId) -> bool {
    word(tables, id).exists()
}

/// The links of a group in one word: any link when they are too many or too large for it.
fn links_word(links: &[u32]) -> LinksWord {
    let mut links = links.to_vec();
    links.sort_unstable();
    links.dedup();
    if links.len() > 4 || links.iter().any(|link| *link > 0xfffe) {
        return LinksWord::ANY;
    }
    LinksWord(links.iter().rev().fold(0, |word, link| word << 16 | u64::from(*link)))
}
