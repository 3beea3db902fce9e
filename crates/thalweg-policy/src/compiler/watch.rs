//! Finds the selectors that may mean somebody without asking all of them.

use crate::selector::{Labels, Selector};
use std::collections::{BTreeSet, HashMap};

/// Selectors by number, each listed by values of one label that it demands.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    by: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Those that demand no value of any label.
    rest: BTreeSet<usize>,
    /// The label by which each is listed.
    placed: HashMap<usize, String>,
}

impl Watch {
    /// Lists a selector: by that label which fewest others are listed by.
    pub fn add(&mut self, number: usize, selector: &Selector) {
        let load = |key: &str, values: &[&str]| {
            let lists = self.by.get(key);
            let found = values.iter().filter_map(|value| lists?.get(*value));
            found.map(Vec::len).sum::<usize>()
        };
        let required = selector.required();
        let least = required.into_iter().min_by_key(|(key, values)| load(key, values));
        let Some((key, values)) = least else {
            self.rest.insert(number);
            return;
        };
        let lists = self.by.entry(key.into()).or_default();
        for value in values {
            lists.entry(value.into()).or_default().push(number);
        }
        self.placed.insert(number, key.into());
    }

    /// Takes a selector off.
    pub fn remove(&mut self, number: usize, selector: &Selector) {
        self.rest.remove(&number);
        let Some(key) = self.placed.remove(&number) else { return };
        let Some(lists) = self.by.get_mut(&key) else { return };
        let required = selector.required();
        for value in required.into_iter().filter(|(of, _)| *of == key).flat_map(|(_, all)| all) {
            if let Some(list) = lists.get_mut(value) {
                list.retain(|one| *one != number);
                if list.is_empty() {
                    lists.remove(value);
                }
            }
        }
        if lists.is_empty() {
            self.by.remove(&key);
        }
    }

    /// Those that may mean who has these labels; all others do not.
    pub fn candidates(&self, labels: &impl Labels) -> impl Iterator<Item = usize> {
        let lists = self.by.iter();
        let lists = lists.filter_map(|(key, lists)| lists.get(labels.label(key)?));
        lists.flatten().chain(&self.rest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Term;
    use std::collections::BTreeMap;

    #[test]
    fn whoever_is_meant_is_a_candidate_and_what_is_taken_off_is_not() {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let is = |key: &str, value: &str| Selector::is(key, value);
        let selectors = [
            is("a", "1"),
            is("b", "1"),
            Selector::and([is("a", "1"), is("b", "2")]),
            Selector::and([is("a", "2"), is("a", "1")]),
            Term::In("a".into(), set(&["1", "2"])).into(),
            Term::In("b".into(), set(&[])).into(),
            Term::NotIn("b".into(), set(&["1"])).into(),
            Selector::has("a"),
            Selector::all(),
        ];
        let mut watch = Watch::default();
        selectors.iter().enumerate().for_each(|(at, selector)| watch.add(at, selector));
        for removed in 0..=selectors.len() {
            for (a, b) in [("1", "1"), ("1", "2"), ("2", "1"), ("", "2"), ("1", ""), ("", "")] {
                let pairs = [("a", a), ("b", b)].into_iter().filter(|(_, value)| !value.is_empty());
                let labels: BTreeMap<String, String> =
                    pairs.map(|(key, value)| (key.into(), value.into())).collect();
                let found: Vec<usize> = watch.candidates(&labels).collect();
                let unique: BTreeSet<usize> = found.iter().copied().collect();
                assert_eq!(found.len(), unique.len());
                for (at, selector) in selectors.iter().enumerate() {
                    assert!(at < removed || !selector.selects(&labels) || unique.contains(&at));
                    assert!(at >= removed || !unique.contains(&at));
                }
            }
            if let Some(selector) = selectors.get(removed) {
                watch.remove(removed, selector);
            }
        }
        assert!(watch.by.is_empty() && watch.rest.is_empty() && watch.placed.is_empty());
    }
}
