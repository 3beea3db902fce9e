//! The catalog beside the map of the standard library, and what its copies share.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Map = BTreeMap<u32, u8>;

/// Batches of edits: none removes.
fn histories() -> impl Strategy<Value = Vec<Vec<(u32, Option<u8>)>>> {
    let edit = (0u32..3_000, proptest::option::weighted(0.7, 0u8..4));
    let batch = prop_oneof![
        proptest::collection::vec(edit.clone(), 0..4),
        proptest::collection::vec(edit, 0..2_000),
    ];
    proptest::collection::vec(batch, 1..12)
}

fn edits(batch: &[(u32, Option<u8>)]) -> Vec<Edit<u32, u8>> {
    let edit = |(key, value): &(u32, Option<u8>)| match value {
        Some(value) => Edit::Set(Arc::new((*key, *value))),
        None => Edit::Remove(Arc::new((*key, 0))),
    };
    batch.iter().map(edit).collect()
}

fn check(catalog: &Catalog<u32, u8>, map: &Map) {
    assert!(catalog.iter().eq(map.iter()));
    assert_eq!(catalog.len(), map.len());
    assert!(catalog.leaves.iter().all(|leaf| (1..=MOST).contains(&leaf.len())));
    for key in (0..3_001).step_by(7) {
        assert_eq!(catalog.get(&key), map.get(&key));
        assert_eq!(catalog.next(&key), map.range(key..).next());
        let behind = catalog.starting_at(&key).map(|entry| (&entry.0, &entry.1));
        assert!(behind.take(600).eq(map.range(key..).take(600)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_map_and_differences_lead_from_one_to_the_other(history in histories()) {
        let (mut catalog, mut map) = (Catalog::default(), Map::new());
        for batch in history {
            let (before, old) = (catalog.clone(), map.clone());
            catalog.edit(edits(&batch));
            for (key, value) in batch {
                match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
            }
            check(&catalog, &map);
            check(&before, &old);
            prop_assert_eq!(before == catalog, old == map);
            let mut patched = old.clone();
            for Difference { key, old: was, new: is } in before.differences(&catalog) {
                prop_assert!(was != is);
                prop_assert_eq!(was, old.get(key));
                match is {
                    Some(value) => patched.insert(*key, *value),
                    None => patched.remove(key),
                };
            }
            prop_assert_eq!(patched, map.clone());
        }
    }
}

#[test]
fn single_changes_are_those_of_a_map() {
    let mut catalog = Catalog::default();
    (0..2_000u32).for_each(|key| catalog.insert(key, key));
    assert_eq!((catalog.remove(&7), catalog.remove(&7)), (Some(7), None));
    assert_eq!((catalog[&8], catalog.get(&7), catalog.len()), (8, None, 1_999));
    catalog.clear();
    assert!(catalog.is_empty() && catalog.next(&0).is_none());
}

#[test]
fn a_small_change_copies_one_leaf() {
    let old: Catalog<u32, u32> = (0..100_000).map(|key| (key, key)).collect();
    let mut new = old.clone();
    new.insert(50_000, 1);
    let shared = new.leaves.iter().filter(|leaf| old.leaves.iter().any(|o| Arc::ptr_eq(o, leaf)));
    assert_eq!(shared.count() + 1, new.leaves.len());
    assert_eq!(old.differences(&new).len(), 1);
}
