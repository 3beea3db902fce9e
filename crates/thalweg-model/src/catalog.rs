//! A sorted map whose copies share what they have in common, so that two states of a million objects
//! cost little more than one and are compared in the time of what differs.
//!
//! Entries stand in *leaves* of a few hundred; leaves and entries are counted references. A copy is
//! one reference. A change copies the list of leaves and the leaves that it touches.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::iter::Peekable;
use std::ops::Index;
use std::sync::Arc;

mod walk;

pub use walk::Iter;
use walk::Walk;

/// Entries of a leaf at most.
const MOST: usize = 512;

/// A key with its value; copies of a catalog share it.
pub type Entry<K, V> = Arc<(K, V)>;

type Leaf<K, V> = Arc<Vec<Entry<K, V>>>;

/// A sorted map with cheap copies and cheap comparisons of them.
pub struct Catalog<K, V> {
    /// None of them empty; sorted, and their entries are.
    leaves: Arc<Vec<Leaf<K, V>>>,
    len: usize,
}

/// One change of a [`Catalog`].
#[derive(Debug)]
pub enum Edit<K, V> {
    /// This entry takes the place of any with its key.
    Set(Entry<K, V>),
    /// The key of this entry goes.
    Remove(Entry<K, V>),
}

impl<K, V> Edit<K, V> {
    fn key(&self) -> &K {
        match self {
            Self::Set(entry) | Self::Remove(entry) => &entry.0,
        }
    }
}

impl<K, V> Catalog<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All entries by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { leaves: self.leaves.iter(), leaf: [].iter() }
    }

    /// All entries by key, to be shared.
    pub fn entries(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.leaves.iter().flat_map(|leaf| leaf.iter())
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> Catalog<K, V> {
    /// The leaf in which a key stands or would stand.
    fn leaf<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let first = |leaf: &Leaf<K, V>| leaf.first().is_some_and(|e| e.0.borrow() <= key);
        self.leaves.partition_point(first).saturating_sub(1)
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entry(key).map(|entry| &entry.1)
    }

    /// The entry of a key, to be shared.
    pub fn entry<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Entry<K, V>>
    where
        K: Borrow<Q>,
    {
        let leaf = self.leaves.get(self.leaf(key))?;
        let at = leaf.binary_search_by(|entry| entry.0.borrow().cmp(key)).ok()?;
        leaf.get(at)
    }

    /// Whether there is a value for a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The first entry at or behind a key.
    pub fn next<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let at = self.leaf(key);
        let leaf = self.leaves.get(at)?;
        let within = leaf.partition_point(|entry| entry.0.borrow() < key);
        let entry = leaf.get(within).or_else(|| self.leaves.get(at + 1)?.first())?;
        Some((&entry.0, &entry.1))
    }

    /// All entries at or behind a key, in order, to be shared.
    pub fn starting_at<Q: Ord + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &Entry<K, V>>
    where
        K: Borrow<Q>,
    {
        let at = self.leaf(key);
        let before = |leaf: &Leaf<K, V>| leaf.partition_point(|entry| entry.0.borrow() < key);
        let within = self.leaves.get(at).map_or(0, before);
        let leaves = self.leaves.get(at..).unwrap_or_default();
        leaves.iter().flat_map(|leaf| leaf.iter()).skip(within)
    }

    /// The value of a key, to be changed here and in no copy.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q> + Clone,
        V: Clone,
    {
        let at = self.leaf(key);
        let leaf = self.leaves.get(at)?;
        let within = leaf.binary_search_by(|entry| entry.0.borrow().cmp(key)).ok()?;
        let leaf = Arc::make_mut(Arc::make_mut(&mut self.leaves).get_mut(at)?);
        Some(&mut Arc::make_mut(leaf.get_mut(within)?).1)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        self.edit(vec![Edit::Set(Arc::new((key, value)))]);
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let entry = self.entry(key)?.clone();
        self.edit(vec![Edit::Remove(entry.clone())]);
        Some(entry.1.clone())
    }

    /// Carries out many changes at once; of several for one key, the last counts.
    pub fn edit(&mut self, mut edits: Vec<Edit<K, V>>) {
        if edits.is_empty() {
            return;
        }
        if !edits.is_sorted_by(|a, b| a.key() < b.key()) {
            edits.sort_by(|a, b| a.key().cmp(b.key()));
        }
        let old = std::mem::take(&mut self.leaves);
        let mut leaves: Vec<Leaf<K, V>> = Vec::with_capacity(old.len() + edits.len() / MOST + 1);
        let mut edits = edits.into_iter().peekable();
        for (at, leaf) in old.iter().enumerate() {
            let end = old.get(at + 1).and_then(|next| next.first());
            let here = |edit: &Edit<K, V>| end.is_none_or(|end| *edit.key() < end.0);
            match edits.peek().is_some_and(here) {
                false => leaves.push(leaf.clone()),
                true => append(&mut leaves, merged(leaf, &mut edits, here)),
            }
        }
        append(&mut leaves, merged(&[], &mut edits, |_| true));
        self.len = leaves.iter().map(|leaf| leaf.len()).sum();
        self.leaves = Arc::new(leaves);
    }

    /// What is another in `new`: each key with what was and what is.
    pub fn differences<'a>(&'a self, new: &'a Self) -> Vec<Difference<'a, K, V>>
    where
        V: PartialEq,
    {
        let mut found = Vec::new();
        self.compare(new, |old, new| {
            let Some(entry) = new.or(old) else { return };
            let value = |entry: Option<&'a Entry<K, V>>| entry.map(|entry| &entry.1);
            found.push(Difference { key: &entry.0, old: value(old), new: value(new) });
        });
        found
    }

    /// What makes this one hold the same as `new`.
    pub fn edits(&self, new: &Self) -> Vec<Edit<K, V>>
    where
        V: PartialEq,
    {
        let mut edits = Vec::new();
        self.compare(new, |old, new| {
            edits.extend(match (old, new) {
                (_, Some(new)) => Some(Edit::Set(new.clone())),
                (old, None) => old.cloned().map(Edit::Remove),
            });
        });
        edits
    }

    /// Takes from `other` all that is the same there, so that it is kept once.
    pub fn share(&mut self, other: &Self)
    where
        V: PartialEq,
    {
        let mut shared = other.clone();
        shared.edit(other.edits(self));
        *self = shared;
    }

    /// Calls `each` for every key that differs, with its entries here and in `new`.
    fn compare<'a>(
        &'a self,
        new: &'a Self,
        mut each: impl FnMut(Option<&'a Entry<K, V>>, Option<&'a Entry<K, V>>),
    ) where
        V: PartialEq,
    {
        let (mut old, mut new) = (Walk::new(self), Walk::new(new));
        loop {
            while old.is_at(&new) {
                old.next_leaf();
                new.next_leaf();
            }
            let (was, is) = (old.entry(), new.entry());
            let order = match (was, is) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(is)) if Arc::ptr_eq(was, is) => Ordering::Equal,
                (Some(was), Some(is)) => was.0.cmp(&is.0),
            };
            if order.is_le() {
                old.step();
            }
            if order.is_ge() {
                new.step();
            }
            let same = |a: &Entry<K, V>, b: &Entry<K, V>| Arc::ptr_eq(a, b) || a.1 == b.1;
            match order {
                Ordering::Less => each(was, None),
                Ordering::Greater => each(None, is),
                Ordering::Equal if was.zip(is).is_some_and(|(was, is)| same(was, is)) => {}
                Ordering::Equal => each(was, is),
            }
        }
    }
}

/// The entries of a leaf after those edits that belong `here`.
fn merged<K: Ord, V>(
    leaf: &[Entry<K, V>],
    edits: &mut Peekable<std::vec::IntoIter<Edit<K, V>>>,
    here: impl Fn(&Edit<K, V>) -> bool,
) -> Vec<Entry<K, V>> {
    let mut all = Vec::with_capacity(leaf.len() + 1);
    let mut rest = leaf;
    while let Some(edit) = edits.next_if(&here) {
        let before = rest.partition_point(|entry| entry.0 < *edit.key());
        let (passed, left) = rest.split_at(before);
        all.extend_from_slice(passed);
        rest = left;
        if let Some((first, left)) = rest.split_first()
            && first.0 == *edit.key()
        {
            rest = left;
        }
        if edits.peek().is_some_and(|next| next.key() == edit.key()) {
            continue;
        }
        if let Edit::Set(entry) = edit {
            all.push(entry);
        }
    }
    all.extend_from_slice(rest);
    all
}

/// Adds entries as leaves, the last one joined with a small one before it.
fn append<K, V>(leaves: &mut Vec<Leaf<K, V>>, mut entries: Vec<Entry<K, V>>) {
    if entries.is_empty() {
        return;
    }
    if let Some(last) = leaves.last()
        && last.len() + entries.len() <= MOST / 2
    {
        entries.splice(0..0, last.iter().cloned());
        leaves.pop();
    }
    if entries.len() <= MOST {
        leaves.push(Arc::new(entries));
        return;
    }
    // Room is left in each, so that the next entries split none.
    let size = entries.len().div_ceil(entries.len().div_ceil(MOST * 3 / 4));
    let mut left = entries.into_iter().peekable();
    while left.peek().is_some() {
        leaves.push(Arc::new(left.by_ref().take(size).collect()));
    }
}

/// A key whose value is another.
#[derive(Debug)]
pub struct Difference<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// What was; none if it was added.
    pub old: Option<&'a V>,
    /// What is; none if it was removed.
    pub new: Option<&'a V>,
}

impl<'a, K, V> IntoIterator for &'a Catalog<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Catalog<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut all = Self::default();
        all.edit(entries.into_iter().map(|entry| Edit::Set(Arc::new(entry))).collect());
        all
    }
}

impl<K, V> Default for Catalog<K, V> {
    fn default() -> Self {
        Self { leaves: Arc::default(), len: 0 }
    }
}

impl<K, V> Clone for Catalog<K, V> {
    fn clone(&self) -> Self {
        Self { leaves: self.leaves.clone(), len: self.len }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Catalog<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let same = || self.iter().eq(other.iter());
        self.len == other.len && (Arc::ptr_eq(&self.leaves, &other.leaves) || same())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Catalog<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for Catalog<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("the catalog has no such key"),
        }
    }
}

#[cfg(test)]
mod tests;
