//! Walks through a catalog: over all entries, or beside another one.

use super::{Catalog, Entry, Leaf};
use std::sync::Arc;

/// A place in a catalog.
pub(super) struct Walk<'a, K, V> {
    leaves: &'a [Leaf<K, V>],
    at: usize,
}

impl<'a, K, V> Walk<'a, K, V> {
    /// The first place.
    pub fn new(catalog: &'a Catalog<K, V>) -> Self {
        Self { leaves: &catalog.leaves, at: 0 }
    }

    /// What stands there.
    pub fn entry(&self) -> Option<&'a Entry<K, V>> {
        self.leaves.first()?.get(self.at)
    }

    /// Goes to the next place.
    pub fn step(&mut self) {
        self.at += 1;
        if self.leaves.first().is_some_and(|leaf| self.at >= leaf.len()) {
            self.next_leaf();
        }
    }

    /// Goes to the first place of the next leaf.
    pub fn next_leaf(&mut self) {
        self.leaves = self.leaves.split_first().map_or(&[], |(_, rest)| rest);
        self.at = 0;
    }

    /// Whether both stand at the same place of the same leaf.
    pub fn is_at(&self, other: &Self) -> bool {
        match (self.leaves.first(), other.leaves.first()) {
            (Some(a), Some(b)) => self.at == other.at && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Entries by key.
pub struct Iter<'a, K, V> {
    pub(super) leaves: std::slice::Iter<'a, Leaf<K, V>>,
    pub(super) leaf: std::slice::Iter<'a, Entry<K, V>>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return Some((&entry.0, &entry.1));
            }
            self.leaf = self.leaves.next()?.iter();
        }
    }
}
