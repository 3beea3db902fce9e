//! A map that knows what of it was told, and what a listing did not show again.

use std::collections::BTreeMap;

/// Number of a listing; entries it showed carry it.
pub type Epoch = u32;

/// Values by key, with the difference to what was told last.
#[derive(Debug)]
pub struct Tracked<K, V> {
    now: BTreeMap<K, (Epoch, V)>,
    /// What was told of the keys touched since.
    told: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), told: BTreeMap::new() }
    }
}

impl<K: Copy + Ord, V: Clone + PartialEq> Tracked<K, V> {
    /// The value of `key`.
    pub fn get(&self, key: K) -> Option<&V> {
        self.now.get(&key).map(|(_, value)| value)
    }

    /// The value of `key` if the listing `epoch` has shown it already.
    pub fn seen(&self, key: K, epoch: Epoch) -> Option<&V> {
        self.now.get(&key).filter(|(seen, _)| *seen == epoch).map(|(_, value)| value)
    }

    /// Sets a value that the listing `epoch` or a later event shows.
    pub fn set(&mut self, key: K, value: V, epoch: Epoch) {
        match self.now.get_mut(&key) {
            Some((seen, old)) if *old == value => *seen = epoch,
            Some(slot) => {
                let (_, old) = std::mem::replace(slot, (epoch, value));
                self.told.entry(key).or_insert(Some(old));
            }
            None => {
                self.now.insert(key, (epoch, value));
                self.told.entry(key).or_insert(None);
            }
        }
    }

    /// Removes a value.
    pub fn remove(&mut self, key: K) {
        if let Some((_, old)) = self.now.remove(&key) {
            self.told.entry(key).or_insert(Some(old));
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.now.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty()
    }

    /// The keys that satisfy a condition.
    pub fn keys(&self, wanted: impl Fn(&K, &V) -> bool) -> Vec<K> {
        self.now.iter().filter(|(k, (_, v))| wanted(k, v)).map(|(k, _)| *k).collect()
    }

    /// The keys that the listing `epoch` did not show.
    pub fn unseen(&self, epoch: Epoch) -> Vec<K> {
        self.now.iter().filter(|(_, (seen, _))| *seen != epoch).map(|(k, _)| *k).collect()
    }

    /// Whether there may be something to tell.
    pub fn is_touched(&self) -> bool {
        !self.told.is_empty()
    }

    /// The first key that [`Tracked::some_changes`] has still to tell of.
    pub fn first_touched(&self) -> Option<K> {
        self.told.keys().next().copied()
    }

    /// What changed since the last call: key, what was told, what holds now.
    pub fn changes(&mut self) -> impl Iterator<Item = (K, Option<V>, Option<V>)> {
        let told = std::mem::take(&mut self.told);
        told.into_iter().filter_map(|(key, old)| {
            let new = self.get(key).cloned();
            (old != new).then_some((key, old, new))
        })
    }

    /// Like [`Tracked::changes`], for the first `limit` keys that were touched; the others follow
    /// with the next call.
    pub fn some_changes(&mut self, limit: usize) -> Vec<(K, Option<V>, Option<V>)> {
        let mut changes = Vec::new();
        for _ in 0..limit {
            let Some((key, old)) = self.told.pop_first() else { break };
            let new = self.get(key).cloned();
            if old != new {
                changes.push((key, old, new));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_as_it_was_is_not_told() {
        let mut map = Tracked::default();
        map.set(1, 'a', 1);
        assert_eq!(map.changes().collect::<Vec<_>>(), [(1, None, Some('a'))]);
        map.remove(1);
        map.set(1, 'a', 2);
        map.set(2, 'b', 2);
        map.remove(2);
        assert!(map.is_touched());
        assert_eq!(map.changes().count(), 0);
        assert!(!map.is_touched());
    }

    #[test]
    fn a_listing_leaves_the_others_unseen() {
        let mut map = Tracked::default();
        map.set(1, 'a', 1);
        map.set(2, 'b', 1);
        map.set(1, 'a', 2);
        assert_eq!(map.unseen(2), [2]);
        assert_eq!(map.seen(1, 2), Some(&'a'));
        assert_eq!(map.seen(2, 2), None);
    }
}
